//! The pure index of objects: what a source read goes in, [`Change`]s come out.
//!
//! A source says what there is (`apply`, `delete`, `replace_all`), what the state directory recorded
//! (`record`) and what it could not read (`unreadable`); [`Store::changes`] then tells what that
//! changes for the rest of the program, and nothing when nothing did. The metallb.io objects are judged
//! together, and only when one of them, a Secret or a Node changed.

mod ledger;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::api;
use crate::model::{Config, EndpointSlice, Hints, Namespace, Node, Service, ServiceKey};
use crate::source::{Change, Unreadable};
use crate::validate::{Facts, Judge, Problem, SecretFacts};

use ledger::Ledger;

/// Every kind that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A metallb.io kind.
    Configuration(api::Kind),
    /// v1 Service.
    Service,
    /// discovery.k8s.io/v1 EndpointSlice.
    EndpointSlice,
    /// v1 Node.
    Node,
    /// v1 Namespace.
    Namespace,
    /// v1 Secret.
    Secret,
}

impl Kind {
    /// The kind as documents spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Configuration(kind) => kind.name(),
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Node => "Node",
            Self::Namespace => "Namespace",
            Self::Secret => "Secret",
        }
    }

    /// Whether its objects live in a namespace.
    pub fn is_namespaced(self) -> bool {
        !matches!(self, Self::Node | Self::Namespace)
    }
}

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Kind.
    pub kind: Kind,
    /// Namespace; empty for kinds without one.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// The key of a Service, if it is one.
    pub fn as_service(&self) -> Option<ServiceKey> {
        (self.kind == Kind::Service).then(|| ServiceKey::new(&self.namespace, &self.name))
    }
}

/// One object, converted. No `Debug`: there are passwords in it.
#[derive(Clone, PartialEq)]
pub enum Resource {
    /// A metallb.io object.
    Configuration(Arc<api::Object>),
    /// A Service with the ingress of its own status.
    Service(Arc<Service>),
    /// An EndpointSlice.
    EndpointSlice(Arc<EndpointSlice>),
    /// A Node.
    Node(Node),
    /// A Namespace.
    Namespace(Namespace),
    /// A Secret, as far as it matters.
    Secret(SecretFacts),
}

/// What the state directory says a Service holds: it outranks the object's own status, also when it
/// says "nothing".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holding {
    /// Addresses in order.
    pub ingress: Vec<IpAddr>,
    /// The pool they are of.
    pub pool: Option<String>,
    /// Who is to hold them when nobody does.
    pub hints: Hints,
}

/// The index.
pub struct Store {
    judge: Judge,
    configuration: BTreeMap<ObjectKey, Arc<api::Object>>,
    facts: Facts,
    must_judge: bool,
    config: Option<Arc<Config>>,
    problems: Vec<Problem>,
    objects: BTreeMap<ServiceKey, Arc<Service>>,
    holdings: BTreeMap<ServiceKey, Holding>,
    withheld: BTreeSet<ServiceKey>,
    services: Ledger<ServiceKey, Arc<Service>>,
    slices: Ledger<ServiceKey, Arc<EndpointSlice>>,
    nodes: Ledger<String, Node>,
    namespaces: Spaces,
    unreadable: Unread,
    orphans: Ledger<(), BTreeMap<ServiceKey, Vec<IpAddr>>>,
}

#[derive(Default)]
struct Spaces {
    written: BTreeMap<String, Namespace>,
    /// How many Services live in each.
    population: BTreeMap<String, usize>,
    known: Ledger<String, Namespace>,
}

/// What could not be read.
pub struct Gaps<'a> {
    /// Objects, and whether records may be missing beyond those of `withheld`.
    pub unreadable: Unreadable,
    /// Services whose record could not: what they hold is unknown, so that nothing is said about them.
    pub withheld: &'a BTreeSet<ServiceKey>,
    /// A pool may be among what was not read.
    pub pools: bool,
    /// Any Namespace may be.
    pub namespaces: bool,
}

#[derive(Default)]
struct Unread {
    known: Unreadable,
    told: Unreadable,
    pools: bool,
    namespaces: bool,
}

impl Store {
    /// An empty one, for the configuration of this namespace.
    pub fn new(namespace: &str) -> Self {
        let mut orphans = Ledger::default();
        orphans.set((), Some(BTreeMap::new()));
        // That there are none goes without saying.
        orphans.differences().for_each(drop);
        Self {
            judge: Judge::new(namespace),
            configuration: BTreeMap::new(),
            facts: Facts::default(),
            must_judge: true,
            config: None,
            problems: Vec::new(),
            objects: BTreeMap::new(),
            holdings: BTreeMap::new(),
            withheld: BTreeSet::new(),
            services: Ledger::default(),
            slices: Ledger::default(),
            nodes: Ledger::default(),
            namespaces: Spaces::default(),
            unreadable: Unread::default(),
            orphans,
        }
    }

    /// The object is like this.
    pub fn apply(&mut self, key: ObjectKey, resource: Resource) {
        match resource {
            Resource::Configuration(object) => {
                self.must_judge |= self.configuration.get(&key) != Some(&object);
                self.configuration.insert(key, object);
            }
            Resource::Service(service) => self.set_service(&key, Some(service)),
            Resource::EndpointSlice(slice) => self.slices.set(slice.key.clone(), Some(slice)),
            Resource::Node(node) => self.set_node(key.name, Some(node)),
            Resource::Namespace(namespace) => self.namespaces.write(&key.name, Some(namespace)),
            Resource::Secret(secret) => self.set_secret(key, Some(secret)),
        }
    }

    /// The object is no more.
    pub fn delete(&mut self, key: &ObjectKey) {
        match key.kind {
            Kind::Configuration(_) => self.must_judge |= self.configuration.remove(key).is_some(),
            Kind::Service => self.set_service(key, None),
            Kind::EndpointSlice => self
                .slices
                .set(ServiceKey::new(&key.namespace, &key.name), None),
            Kind::Node => self.set_node(key.name.clone(), None),
            Kind::Namespace => self.namespaces.write(&key.name, None),
            Kind::Secret => self.set_secret(key.clone(), None),
        }
    }

    /// These are all the objects of the kind.
    pub fn replace_all(&mut self, kind: Kind, objects: Vec<(ObjectKey, Resource)>) {
        let listed: BTreeSet<&ObjectKey> = objects.iter().map(|(key, _)| key).collect();
        let gone: Vec<ObjectKey> = self
            .keys(kind)
            .into_iter()
            .filter(|key| !listed.contains(key))
            .collect();
        for key in &gone {
            self.delete(key);
        }
        for (key, resource) in objects {
            self.apply(key, resource);
        }
    }

    /// What is recorded of a Service; `None`: there is no record.
    pub fn record(&mut self, key: ServiceKey, holding: Option<Holding>) {
        match holding {
            Some(holding) => self.holdings.insert(key.clone(), holding),
            None => self.holdings.remove(&key),
        };
        self.refresh(&key);
    }

    /// What could not be read.
    pub fn unreadable(&mut self, gaps: Gaps<'_>) {
        let concerned: Vec<ServiceKey> = self
            .withheld
            .symmetric_difference(gaps.withheld)
            .cloned()
            .collect();
        self.withheld.clone_from(gaps.withheld);
        for key in &concerned {
            self.refresh(key);
        }
        self.must_judge |= self.unreadable.pools != gaps.pools;
        self.unreadable.pools = gaps.pools;
        self.unreadable.namespaces = gaps.namespaces;
        self.unreadable.known = gaps.unreadable;
    }

    /// What all this changes, since this was asked last.
    pub fn changes(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        changes.extend(self.judged().map(Change::Config));
        let nodes = self.nodes.differences();
        changes.extend(nodes.map(|(name, node)| Change::Node(name, node)));
        let namespaces = self.namespaces.known.differences();
        changes.extend(namespaces.map(|(name, space)| Change::Namespace(name, space)));
        let slices = self.slices.differences();
        changes.extend(slices.map(|(key, slice)| Change::EndpointSlice(key, slice)));
        let services = self.services.differences();
        changes.extend(services.map(|(key, service)| Change::Service(key, service)));
        let unreadable = self.unread();
        if self.unreadable.told != unreadable {
            self.unreadable.told = unreadable;
            changes.push(Change::Unreadable(self.unreadable.told.clone()));
        }
        let orphans = self.orphans.differences();
        changes.extend(orphans.map(|(_, orphans)| Change::Orphans(orphans.unwrap_or_default())));
        changes
    }

    /// Everything there is, as of the last [`Store::changes`], for somebody who knows nothing yet.
    pub fn snapshot(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        changes.extend(self.config.clone().map(Change::Config));
        let nodes = self.nodes.entries();
        changes.extend(nodes.map(|(name, node)| Change::Node(name, Some(node))));
        let namespaces = self.namespaces.known.entries();
        changes.extend(namespaces.map(|(name, space)| Change::Namespace(name, Some(space))));
        let slices = self.slices.entries();
        changes.extend(slices.map(|(key, slice)| Change::EndpointSlice(key, Some(slice))));
        let services = self.services.entries();
        changes.extend(services.map(|(key, service)| Change::Service(key, Some(service))));
        changes.push(Change::Unreadable(self.unreadable.told.clone()));
        let orphans = self.orphans.get(&()).cloned();
        changes.push(Change::Orphans(orphans.unwrap_or_default()));
        changes
    }

    /// What is wrong with the metallb.io objects, as of the last [`Store::changes`].
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// What is recorded of a Service.
    pub fn holding(&self, key: &ServiceKey) -> Option<&Holding> {
        self.holdings.get(key)
    }

    /// Services that have a record but no object.
    pub fn orphans(&self) -> impl Iterator<Item = &ServiceKey> {
        self.orphans.get(&()).into_iter().flat_map(BTreeMap::keys)
    }

    /// What could not be read, with every Service whose record could not, and every namespace that
    /// somebody lives in and that may be written down there.
    fn unread(&self) -> Unreadable {
        let mut unreadable = self.unreadable.known.clone();
        let withheld = self.withheld.iter();
        // Without an object the record is one of a Service that is gone.
        let lives = |key: &&ServiceKey| self.objects.contains_key(*key);
        unreadable.services.extend(withheld.filter(lives).cloned());
        let mut withheld = self.withheld.iter();
        unreadable.records |= withheld.any(|key| unreadable.may_hold(key));
        if self.unreadable.namespaces {
            let Spaces {
                written,
                population,
                ..
            } = &self.namespaces;
            let hidden = population
                .keys()
                .filter(|name| !written.contains_key(*name));
            unreadable.namespaces.extend(hidden.cloned());
        }
        unreadable
    }

    fn judged(&mut self) -> Option<Arc<Config>> {
        if !std::mem::take(&mut self.must_judge) {
            return None;
        }
        let objects: Vec<api::Object> = self
            .configuration
            .values()
            .map(|object| api::Object::clone(object))
            .collect();
        let verdict = self
            .judge
            .judge(&objects, &self.facts, self.unreadable.pools);
        self.problems = verdict.problems;
        if self.config.as_deref() == Some(&verdict.config) {
            return None;
        }
        self.config = Some(Arc::new(verdict.config));
        self.config.clone()
    }

    fn set_service(&mut self, key: &ObjectKey, mut service: Option<Arc<Service>>) {
        let key = match &service {
            Some(service) => service.key.clone(),
            None => ServiceKey::new(&key.namespace, &key.name),
        };
        // Of two that are alike the ledger keeps the older one: so does this, and they are one.
        if self.objects.get(&key) == service.as_ref() {
            return;
        }
        // Whoever names it has the key that it first came with: it keeps that one.
        let fresh = service.as_mut().and_then(Arc::get_mut);
        if let (Some(known), Some(fresh)) = (self.objects.get(&key), fresh) {
            fresh.key.clone_from(&known.key);
        }
        let lives = service.is_some();
        let lived = match service {
            Some(service) => self.objects.insert(key.clone(), service),
            None => self.objects.remove(&key),
        }
        .is_some();
        self.namespaces.count(&key.namespace, lived, lives);
        self.refresh(&key);
    }

    /// Makes what is said of a Service follow from its object and its record.
    fn refresh(&mut self, key: &ServiceKey) {
        let object = self.objects.get(key);
        let holding = self.holdings.get(key);
        let shown = match (object, holding) {
            _ if self.withheld.contains(key) => None,
            (Some(object), Some(holding)) => Some(holding.laid_over(object)),
            (object, _) => object.cloned(),
        };
        let recorded = match holding {
            Some(holding) => Some(holding.ingress.clone()),
            // What it holds is unknown, and that there is a record is not.
            None => self.withheld.contains(key).then(Vec::new),
        };
        let orphan = recorded.filter(|_| object.is_none());
        self.services.set(key.clone(), shown);
        self.set_orphan(key, orphan);
    }

    fn set_orphan(&mut self, key: &ServiceKey, ingress: Option<Vec<IpAddr>>) {
        let before = self.orphans.get(&());
        if before.and_then(|orphans| orphans.get(key)) == ingress.as_ref() {
            return;
        }
        self.orphans.edit((), |orphans| {
            match ingress {
                Some(ingress) => orphans.insert(key.clone(), ingress),
                None => orphans.remove(key),
            };
        });
    }

    fn set_node(&mut self, name: String, node: Option<Node>) {
        // Selectors are all that the configuration asks of a node.
        let labels = self.facts.nodes.get(&name).map(|node| &node.labels);
        self.must_judge |= labels != node.as_ref().map(|node| &node.labels);
        match &node {
            Some(node) => self.facts.nodes.insert(name.clone(), node.clone()),
            None => self.facts.nodes.remove(&name),
        };
        self.nodes.set(name, node);
    }

    fn set_secret(&mut self, key: ObjectKey, secret: Option<SecretFacts>) {
        let name = (key.namespace, key.name);
        self.must_judge |= self.facts.secrets.get(&name) != secret.as_ref();
        match secret {
            Some(secret) => self.facts.secrets.insert(name, secret),
            None => self.facts.secrets.remove(&name),
        };
    }

    /// Whether the object is known.
    pub(crate) fn contains(&self, key: &ObjectKey) -> bool {
        match key.as_service() {
            Some(service) => self.objects.contains_key(&service),
            None => self.keys(key.kind).contains(key),
        }
    }

    /// Every object of the kind.
    pub(crate) fn keys(&self, kind: Kind) -> Vec<ObjectKey> {
        let named = |namespace: &str, name: &str| ObjectKey {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let of = |key: &ServiceKey| named(&key.namespace, &key.name);
        match kind {
            Kind::Configuration(_) => {
                let keys = self.configuration.keys();
                keys.filter(|key| key.kind == kind).cloned().collect()
            }
            Kind::Service => self.objects.keys().map(of).collect(),
            Kind::EndpointSlice => self.slices.keys().map(of).collect(),
            Kind::Node => self.nodes.keys().map(|name| named("", name)).collect(),
            Kind::Namespace => {
                let names = self.namespaces.written.keys();
                names.map(|name| named("", name)).collect()
            }
            Kind::Secret => {
                let names = self.facts.secrets.keys();
                names.map(|(space, name)| named(space, name)).collect()
            }
        }
    }
}

impl Holding {
    fn laid_over(&self, object: &Arc<Service>) -> Arc<Service> {
        let is_same = object.ingress == self.ingress
            && object.allocated_from == self.pool
            && object.hints == self.hints;
        if is_same {
            return Arc::clone(object);
        }
        let mut service = Service::clone(object);
        service.ingress.clone_from(&self.ingress);
        service.allocated_from.clone_from(&self.pool);
        service.hints.clone_from(&self.hints);
        Arc::new(service)
    }
}

impl Spaces {
    fn write(&mut self, name: &str, namespace: Option<Namespace>) {
        match namespace {
            Some(namespace) => self.written.insert(name.to_owned(), namespace),
            None => self.written.remove(name),
        };
        self.refresh(name);
    }

    fn count(&mut self, name: &str, lived: bool, lives: bool) {
        if lived == lives {
            return;
        }
        let before = self.population.get(name).copied().unwrap_or_default();
        let after = if lives {
            before + 1
        } else {
            before.saturating_sub(1)
        };
        match after {
            0 => self.population.remove(name),
            some => self.population.insert(name.to_owned(), some),
        };
        if before == 0 || after == 0 {
            self.refresh(name);
        }
    }

    /// A namespace that nobody wrote down exists where a Service lives in it.
    fn refresh(&mut self, name: &str) {
        let implied = || {
            let is_lived_in = self.population.contains_key(name);
            is_lived_in.then(|| Namespace::implied(name))
        };
        let namespace = self.written.get(name).cloned().or_else(implied);
        self.known.set(name.to_owned(), namespace);
    }
}

#[cfg(test)]
mod tests;
