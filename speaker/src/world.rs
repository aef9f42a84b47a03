//! What this speaker knows: the objects a source handed out and what layer 2 hears.
//!
//! A pure index. Every change answers with the addresses whose plan it may have altered, so that
//! work grows with the change and not with the cluster (design invariant I11). What a machine knows
//! comes in as this module's own values: the world knows no machine.
//!
//! A node without a Node object is taken to carry the one label every kubelet sets,
//! `kubernetes.io/hostname`, with its name.

mod cause;
mod draining;
mod segment;
mod watch;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ferrolb_crds::model::{Config, EndpointSlice, Labels, Node, Peer, Pool, Service, ServiceKey};
use ferrolb_crds::source::Change;
use imbl::OrdMap;

pub use cause::Cause;
pub use draining::Draining;
pub use segment::{Heard, LinkState, Segment};
use watch::Watch;

/// All Services. A copy costs nothing.
pub type Services = OrdMap<ServiceKey, Arc<Service>>;

/// EndpointSlices by Service; those of one, of which there is mostly one, by name. A copy costs nothing.
pub type Slices = OrdMap<ServiceKey, Vec<Arc<EndpointSlice>>>;

/// The label by which a kubelet names its node.
pub const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";

/// Who this speaker is, and which Services are its business.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Name of this node.
    pub node: String,
    /// The loadBalancerClass served; `None`: Services without one.
    pub class: Option<String>,
    /// Whether the exclude label of nodes is disregarded.
    pub ignore_exclude_label: bool,
    /// Whether an address that somebody else has, who is no speaker, is left to them.
    pub refuses_conflicts: bool,
    /// Whether the objects are an API server's: then kube-proxy takes the traffic, and a Service
    /// without EndpointSlices has no endpoints.
    pub is_in_cluster: bool,
}

impl Identity {
    /// Whether a Service counts as ready on every node for want of EndpointSlices.
    pub fn assumes_endpoints(&self, slices: &Slices, service: &ServiceKey) -> bool {
        !self.is_in_cluster && !slices.contains_key(service)
    }
}

/// What another node says of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The node.
    pub node: Arc<str>,
    /// Its interface, as it calls it.
    pub interface: Arc<str>,
    /// How it stands to the address there.
    pub standing: Standing,
}

/// How a node stands to an address, in its own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It answers.
    Holds,
    /// It answers until somebody else does.
    Offers,
    /// It does not answer yet, but did before it was started anew.
    Remembers,
}

/// Who else has an address, and is no speaker: hardware addresses by interface of this node.
pub type Others = BTreeMap<String, String>;
/// Which nodes deliver what arrives there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivery {
    /// This one does not, or it is not known yet.
    pub is_failing: bool,
    /// It is not known yet: nothing is withdrawn because of it.
    pub is_unproven: bool,
    /// These say that they do not.
    pub failing: BTreeSet<String>,
    /// These are alive and not heard, so that it is not known.
    pub unheard: BTreeSet<String>,
}

/// What was decided about an address, as far as the next decision depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// This node holds it.
    Held {
        /// On these interfaces.
        on: BTreeSet<String>,
        /// Why it came to hold it.
        cause: Cause,
    },
    /// It does not, for a reason that waiting does not change.
    NotHeld {
        /// Who is to, as far as is known.
        holder: Option<String>,
    },
    /// It is to, once it is known that nobody else has it.
    Withheld,
    /// No interface chosen is up.
    Failed,
    /// It is not known who holds what.
    Open,
}

/// How this node holds an address.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    /// On these interfaces.
    on: BTreeSet<String>,
    /// Why it came to be so.
    cause: Cause,
    /// The preferences that were in force when that was last decided.
    preferences: u64,
}

/// Everything this speaker knows.
#[derive(Debug, Clone)]
pub struct World {
    identity: Identity,
    config: Arc<Config>,
    services: Services,
    /// The Services that hold it, of which there is mostly one, ascending.
    by_address: BTreeMap<IpAddr, Vec<ServiceKey>>,
    slices: Slices,
    slice_owners: BTreeMap<ServiceKey, ServiceKey>,
    nodes: BTreeMap<String, Node>,
    segment: Segment,
    /// What the others say, by address.
    claims: BTreeMap<IpAddr, Vec<Claim>>,
    held: BTreeMap<IpAddr, Held>,
    /// Who else is to hold an address.
    others: BTreeMap<IpAddr, Box<str>>,
    /// On whom the decision on each address hangs.
    watch: Watch,
    /// Somebody is known to have held it, or nobody else to have had it when it was asked for.
    known: BTreeSet<IpAddr>,
    /// Who else has an address that is not known.
    conflicts: BTreeMap<IpAddr, Others>,
    /// Held before this speaker was started anew, and not decided on since.
    remembered: BTreeSet<IpAddr>,
    /// To go to whoever is first in rank.
    given: BTreeSet<IpAddr>,
    delivery: Delivery,
    draining: Draining,
    /// Grows when what nodes are preferred may have changed.
    preferences: u64,
    /// Where each pool range begins: its end and the pool's name. Ranges never overlap.
    ranges: BTreeMap<IpAddr, (IpAddr, String)>,
    /// Peers whose node selectors select this node.
    peers_here: BTreeSet<String>,
}

impl World {
    /// A world in which nothing has been read and layer 2 has not been started.
    pub fn new(identity: Identity) -> Self {
        let mut world = Self {
            identity,
            config: Arc::new(Config::default()),
            services: Services::new(),
            by_address: BTreeMap::new(),
            slices: Slices::new(),
            slice_owners: BTreeMap::new(),
            nodes: BTreeMap::new(),
            segment: Segment::Off("layer 2 has not been started".to_owned()),
            claims: BTreeMap::new(),
            held: BTreeMap::new(),
            others: BTreeMap::new(),
            watch: Watch::default(),
            known: BTreeSet::new(),
            conflicts: BTreeMap::new(),
            remembered: BTreeSet::new(),
            given: BTreeSet::new(),
            delivery: Delivery::default(),
            draining: Draining::No,
            preferences: 0,
            ranges: BTreeMap::new(),
            peers_here: BTreeSet::new(),
        };
        world.select_peers();
        world
    }

    /// Takes in one change and says which addresses have to be planned again.
    #[must_use = "the addresses named have to be planned again"]
    pub fn apply(&mut self, change: Change) -> BTreeSet<IpAddr> {
        match change {
            Change::Config(config) => self.apply_config(config),
            Change::Service(key, service) => self.apply_service(key, service),
            Change::EndpointSlice(key, slice) => self.apply_slice(key, slice),
            Change::Node(name, node) => self.apply_node(name, node),
            // Only the controller asks which namespace a pool is for; a Service that could not be
            // read has no ports and no policy to announce it by; and orphans have no Service.
            Change::Namespace(..) | Change::Unreadable(_) | Change::Orphans(_) | Change::Synced => {
                BTreeSet::new()
            }
        }
    }

    /// Takes in what layer 2 reports.
    #[must_use = "the addresses named have to be planned again"]
    pub fn hear(&mut self, segment: Segment) -> BTreeSet<IpAddr> {
        if self.segment == segment {
            return BTreeSet::new();
        }
        let before = std::mem::replace(&mut self.segment, segment);
        // Who does not deliver withdraws what others announce, as far as they live.
        let nodes = self.segment.nodes_unlike(&before);
        let Some(nodes) = nodes.filter(|_| self.takes_traffic()) else {
            return self.all_addresses();
        };
        self.watch.concerned(&nodes)
    }

    /// Takes in which nodes deliver what arrives there.
    #[must_use = "the addresses named have to be planned again"]
    pub fn note_delivery(&mut self, delivery: Delivery) -> BTreeSet<IpAddr> {
        if self.delivery == delivery {
            return BTreeSet::new();
        }
        self.delivery = delivery;
        self.all_addresses()
    }

    /// Which nodes deliver what arrives there.
    pub fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// Takes in how far this node is with leaving.
    #[must_use = "the addresses named have to be planned again"]
    pub fn set_draining(&mut self, draining: Draining) -> BTreeSet<IpAddr> {
        match std::mem::replace(&mut self.draining, draining) == draining {
            true => BTreeSet::new(),
            false => self.all_addresses(),
        }
    }

    /// How far this node is with leaving.
    pub fn draining(&self) -> Draining {
        self.draining
    }

    /// Whether this node is to be given traffic: what arrives is delivered, and it is not leaving.
    pub fn takes_traffic(&self) -> bool {
        !self.delivery.is_failing && !self.draining.is_begun()
    }

    /// Whether a node is to be given traffic: what arrives there is delivered, and it is not being
    /// drained; `None`: it is not known.
    pub fn delivers(&self, node: &str) -> Option<bool> {
        if node == self.identity.node {
            return Some(self.takes_traffic());
        }
        if self
            .nodes
            .get(node)
            .is_some_and(|node| node.draining.is_some())
        {
            return Some(false);
        }
        let is_unheard = self.delivery.unheard.contains(node);
        (!is_unheard).then(|| !self.delivery.failing.contains(node))
    }

    /// Whether a node lives, as its heartbeats show it, and delivers.
    pub fn is_heard_to_deliver(&self, node: &str) -> bool {
        let Segment::Known { heard, .. } = &self.segment else {
            return false;
        };
        node != self.identity.node && heard.contains_key(node) && self.delivers(node) == Some(true)
    }

    /// Takes in what others say of some addresses: all that is said of each.
    #[must_use = "the addresses named have to be planned again"]
    pub fn take_claims(&mut self, claims: BTreeMap<IpAddr, Vec<Claim>>) -> BTreeSet<IpAddr> {
        let mut touched = BTreeSet::new();
        for (address, claims) in claims {
            let was_new = self.is_new(address);
            self.know(address);
            let is_change = was_new
                | match claims.is_empty() {
                    true => self.claims.remove(&address).is_some(),
                    false => self.claims.insert(address, claims.clone()) != Some(claims),
                };
            if is_change && self.by_address.contains_key(&address) {
                self.file(address);
                touched.insert(address);
            }
        }
        touched
    }

    /// Forgets all that others said: nobody listens to them any more.
    #[must_use = "the addresses named have to be planned again"]
    pub fn drop_claims(&mut self) -> BTreeSet<IpAddr> {
        self.claims.clear();
        let all = self.all_addresses();
        all.iter().for_each(|address| self.file(*address));
        all
    }

    /// Takes in who else has some addresses, as far as that was asked.
    #[must_use = "the addresses named have to be planned again"]
    pub fn find(&mut self, findings: BTreeMap<IpAddr, Others>) -> BTreeSet<IpAddr> {
        let mut touched = BTreeSet::new();
        for (address, others) in findings {
            if !self.is_new(address) {
                continue;
            }
            let is_change = match others.is_empty() {
                true => {
                    let was_taken = self.conflicts.contains_key(&address);
                    self.know(address);
                    was_taken || self.identity.refuses_conflicts
                }
                false => self.conflicts.insert(address, others.clone()) != Some(others),
            };
            if is_change {
                touched.insert(address);
            }
        }
        touched
    }

    /// Whether nobody is known to have held the address, and it is not known to be free of others: to
    /// announce it could take it away from somebody who is no speaker.
    pub fn is_new(&self, address: IpAddr) -> bool {
        self.by_address.contains_key(&address)
            && !self.known.contains(&address)
            && !self.claims.contains_key(&address)
    }

    /// Who else has the address and is no speaker.
    pub fn others_with(&self, address: IpAddr) -> Option<&Others> {
        self.conflicts.get(&address)
    }

    /// Whoever takes it from now on takes it over.
    fn know(&mut self, address: IpAddr) {
        self.conflicts.remove(&address);
        if self.by_address.contains_key(&address) {
            self.known.insert(address);
        }
    }

    /// What others say of the address.
    pub fn claims_at(&self, address: IpAddr) -> &[Claim] {
        self.claims.get(&address).map_or(&[], Vec::as_slice)
    }

    /// The nodes that say they hold the address where this node holds it, each with the interface of
    /// this one.
    pub fn rivals_at(&self, address: IpAddr) -> impl Iterator<Item = (&str, &str)> {
        let held = self.held.get(&address);
        let claims = held.map_or(&[][..], |_| self.claims_at(address));
        let holders = claims
            .iter()
            .filter(|claim| claim.standing == Standing::Holds);
        holders.filter_map(move |claim| {
            let Segment::Known { heard, .. } = &self.segment else {
                return None;
            };
            let mut ways = heard.get(&*claim.node)?.iter();
            let (link, _) = ways.find(|(link, from)| {
                held.is_some_and(|held| held.on.contains(*link)) && from.contains(&*claim.interface)
            })?;
            Some((&*claim.node, link.as_str()))
        })
    }

    /// Notes what was decided about an address: the next decision depends on it.
    pub fn note_decision(&mut self, address: IpAddr, decision: Decision) {
        let was_held = self.held.remove(&address).is_some();
        self.others.remove(&address);
        self.given.remove(&address);
        // Asked for no more: who has it then is not known.
        if !matches!(decision, Decision::Held { .. } | Decision::Withheld) {
            self.conflicts.remove(&address);
        }
        match decision {
            Decision::Held { on, cause } => {
                let preferences = self.preferences;
                let held = Held {
                    on,
                    cause,
                    preferences,
                };
                self.held.insert(address, held);
                self.remembered.remove(&address);
            }
            Decision::NotHeld { holder } => {
                let holder = holder.map(|holder| (address, holder.into()));
                self.others.extend(holder);
                self.remembered.remove(&address);
            }
            // What a dead switch took comes back with it.
            Decision::Failed if was_held => drop(self.remembered.insert(address)),
            Decision::Failed | Decision::Open | Decision::Withheld => {}
        }
        self.file(address);
    }

    /// No Service holds the address any more.
    pub fn forget(&mut self, address: IpAddr) {
        self.held.remove(&address);
        self.others.remove(&address);
        self.known.remove(&address);
        self.conflicts.remove(&address);
        self.remembered.remove(&address);
        self.given.remove(&address);
        self.file(address);
    }

    /// The addresses that this node holds, ascending.
    pub fn held(&self) -> impl Iterator<Item = IpAddr> {
        self.held.keys().copied()
    }

    /// Of these addresses those that this node holds go to whoever is first in rank, with the next
    /// decision on each.
    #[must_use = "the addresses named have to be planned again"]
    pub fn give(&mut self, addresses: impl IntoIterator<Item = IpAddr>) -> BTreeSet<IpAddr> {
        let held = addresses.into_iter();
        let held = held.filter(|address| self.held.contains_key(address));
        self.given = held.collect();
        self.given.clone()
    }

    /// Nobody has taken what this node gave away: it is to have it again.
    #[must_use = "the addresses named have to be planned again"]
    pub fn take_back(&mut self, address: IpAddr) -> BTreeSet<IpAddr> {
        let mut claims = self.claims_at(address).iter();
        let is_taken =
            claims.any(|claim| claim.standing == Standing::Holds && self.segment.hears(claim));
        let is_ours = self.held.contains_key(&address);
        let is_known = self.by_address.contains_key(&address);
        if is_taken || is_ours || !is_known {
            return BTreeSet::new();
        }
        self.remembered.insert(address);
        BTreeSet::from([address])
    }

    /// Whether the address is to go to whoever is first in rank.
    pub fn is_given(&self, address: IpAddr) -> bool {
        self.given.contains(&address)
    }

    /// Whether this node holds the address on an interface.
    pub fn holds_on(&self, address: IpAddr, link: &str) -> bool {
        let held = self.held.get(&address);
        held.is_some_and(|held| held.on.contains(link))
    }

    /// Why this node came to hold the address, if it holds it.
    pub fn cause_of(&self, address: IpAddr) -> Option<Cause> {
        Some(self.held.get(&address)?.cause)
    }

    /// The node that the controller named when it gave the address.
    pub fn hint(&self, address: IpAddr) -> Option<&str> {
        let mut services = self.services_at(address);
        services.find_map(|service| service.hints.node(address).map(|node| &**node))
    }

    /// Whether preferences may have changed since it was decided that this node holds the address.
    pub fn may_prefer_another(&self, address: IpAddr) -> bool {
        let held = self.held.get(&address);
        held.is_some_and(|held| held.preferences != self.preferences)
    }

    /// This node held these addresses before it was started anew.
    #[must_use = "the addresses named have to be planned again"]
    pub fn remember(&mut self, addresses: BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
        for address in &addresses {
            self.know(*address);
        }
        self.remembered = addresses;
        self.remembered.clone()
    }

    /// The addresses that this node held before it was started anew, as far as nothing has been decided
    /// on them since.
    pub fn remembered(&self) -> &BTreeSet<IpAddr> {
        &self.remembered
    }

    /// Who this speaker is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What layer 2 hears.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// All Services, by key.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// All EndpointSlices of Services.
    pub fn slices(&self) -> &Slices {
        &self.slices
    }

    /// Every address some Service holds, ascending.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.by_address.keys().copied()
    }

    /// The Services that hold the address, by key.
    pub fn services_at(&self, address: IpAddr) -> impl Iterator<Item = &Service> {
        let keys = self.by_address.get(&address).into_iter().flatten();
        keys.filter_map(|key| self.services.get(key).map(AsRef::as_ref))
    }

    /// The addresses a Service holds, in order.
    pub fn ingress_of(&self, service: &ServiceKey) -> impl Iterator<Item = IpAddr> {
        let service = self.services.get(service);
        service
            .into_iter()
            .flat_map(|service| service.ingress.iter().copied())
    }

    /// The EndpointSlices of a Service; `None`: there is none, and see [`Self::assumes_endpoints`].
    pub fn slices_of(&self, service: &ServiceKey) -> Option<impl Iterator<Item = &EndpointSlice>> {
        let slices = self.slices.get(service)?;
        Some(slices.iter().map(AsRef::as_ref))
    }

    /// Whether the Service counts as ready on every node for want of EndpointSlices.
    pub fn assumes_endpoints(&self, service: &ServiceKey) -> bool {
        self.identity.assumes_endpoints(&self.slices, service)
    }

    /// The pool whose ranges hold the address.
    pub fn pool_of(&self, address: IpAddr) -> Option<&Pool> {
        let (_, (last, name)) = self.ranges.range(..=address).next_back()?;
        // IpAddr sorts all of IPv4 before IPv6, so an end of the other family is too small.
        (address <= *last && address.is_ipv4() == last.is_ipv4())
            .then(|| self.config.pools.get(name))
            .flatten()
    }

    /// This node, as its object has it or as implied.
    pub fn this_node(&self) -> Cow<'_, Node> {
        self.node(&self.identity.node)
    }

    /// A node, as its object has it or as implied.
    pub fn node(&self, name: &str) -> Cow<'_, Node> {
        match self.nodes.get(name) {
            Some(node) => Cow::Borrowed(node),
            None => Cow::Owned(implied(name)),
        }
    }

    /// Whether the node is to take no traffic from outside.
    pub fn excludes(&self, node: &Node) -> bool {
        node.is_excluded() && !self.identity.ignore_exclude_label
    }

    /// Whether there is a Node object of this node.
    pub fn is_described(&self) -> bool {
        self.nodes.contains_key(&self.identity.node)
    }

    /// Whether there are Node objects, and this node is not among them.
    pub fn is_stranger(&self) -> bool {
        !self.nodes.is_empty() && !self.nodes.contains_key(&self.identity.node)
    }

    /// Every node that may announce at layer 2 as far as its existence goes: those with a Node
    /// object, or else, where there are no Node objects at all, this one and those heard.
    pub fn nodes(&self) -> Vec<Cow<'_, Node>> {
        if !self.nodes.is_empty() {
            return self.nodes.values().map(Cow::Borrowed).collect();
        }
        let heard: Vec<&String> = match &self.segment {
            Segment::Known { heard, waiting, .. } => heard.keys().chain(waiting.keys()).collect(),
            Segment::Listening { .. } | Segment::Off(_) => Vec::new(),
        };
        let mut names = BTreeSet::from([&self.identity.node]);
        names.extend(heard);
        names.iter().map(|name| self.node(name)).collect()
    }

    /// The peers that have a session with this node, by name.
    pub fn peers_here(&self) -> impl Iterator<Item = &Peer> {
        self.peers_here
            .iter()
            .filter_map(|name| self.config.peers.get(name))
    }

    fn apply_config(&mut self, config: Arc<Config>) -> BTreeSet<IpAddr> {
        if self.config == config {
            return BTreeSet::new();
        }
        if self.config.l2_advertisements != config.l2_advertisements {
            self.preferences += 1;
        }
        self.config = config;
        self.ranges = ranges(&self.config);
        self.select_peers();
        self.all_addresses()
    }

    fn apply_service(
        &mut self,
        key: ServiceKey,
        service: Option<Arc<Service>>,
    ) -> BTreeSet<IpAddr> {
        let before = self.services.get(&key);
        if before == service.as_ref() {
            return BTreeSet::new();
        }
        let old: BTreeSet<IpAddr> = addresses_of(before);
        let new: BTreeSet<IpAddr> = addresses_of(service.as_ref());
        for address in &old {
            self.forget_address(*address, &key);
        }
        for address in &new {
            let keys = self.by_address.entry(*address);
            let keys = keys.or_insert_with(|| Vec::with_capacity(1));
            if let Err(at) = keys.binary_search(&key) {
                keys.insert(at, key.clone());
            }
        }
        match service {
            Some(service) => self.services.insert(key, service),
            None => self.services.remove(&key),
        };
        let touched = &old | &new;
        touched.iter().for_each(|address| self.file(*address));
        touched
    }

    fn forget_address(&mut self, address: IpAddr, key: &ServiceKey) {
        if let Some(keys) = self.by_address.get_mut(&address) {
            keys.retain(|other| other != key);
            if keys.is_empty() {
                self.by_address.remove(&address);
            }
        }
    }

    fn apply_slice(
        &mut self,
        key: ServiceKey,
        slice: Option<Arc<EndpointSlice>>,
    ) -> BTreeSet<IpAddr> {
        let mut touched = BTreeSet::new();
        if let Some(owner) = self.slice_owners.get(&key).cloned() {
            let mut held = self.slices.get(&owner).into_iter().flatten();
            if held.find(|held| held.key == key) == slice.as_ref() {
                return touched;
            }
            touched = addresses_of(self.services.get(&owner));
            self.forget_slice(&key, &owner);
        }
        if let Some(slice) = slice {
            let mut owner = ServiceKey::new(&key.namespace, &slice.service);
            if let Some((known, service)) = self.services.get_key_value(&owner) {
                // One and the same in memory.
                owner = known.clone();
                touched.extend(addresses_of(Some(service)));
            }
            let slices = self.slices.entry(owner.clone());
            let slices = slices.or_insert_with(|| Vec::with_capacity(1));
            let at = slices.partition_point(|held| held.key.name < key.name);
            slices.insert(at, slice);
            self.slice_owners.insert(key, owner);
        }
        touched
    }

    fn forget_slice(&mut self, key: &ServiceKey, owner: &ServiceKey) {
        self.slice_owners.remove(key);
        if let Some(slices) = self.slices.get_mut(owner) {
            slices.retain(|held| held.key != *key);
            if slices.is_empty() {
                self.slices.remove(owner);
            }
        }
    }

    fn apply_node(&mut self, name: String, node: Option<Node>) -> BTreeSet<IpAddr> {
        let before = self.nodes.get(&name);
        let is_same = match (before, &node) {
            (Some(before), Some(node)) => {
                before.labels == node.labels
                    && before.network_unavailable == node.network_unavailable
                    && before.draining == node.draining
            }
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let is_this = name == self.identity.node;
        let labels = before.zip(node.as_ref());
        let is_relabelled = labels.is_some_and(|(before, node)| before.labels != node.labels);
        self.preferences += u64::from(is_relabelled);
        match node {
            Some(node) => self.nodes.insert(name, node),
            None => self.nodes.remove(&name),
        };
        if is_same {
            return BTreeSet::new();
        }
        if is_this {
            self.select_peers();
        }
        self.all_addresses()
    }

    fn select_peers(&mut self) {
        let node = self.this_node().into_owned();
        let peers = self.config.peers.values();
        self.peers_here = peers
            .filter(|peer| peer.selects_node(&node.labels))
            .map(|peer| peer.name.clone())
            .collect();
    }

    fn all_addresses(&self) -> BTreeSet<IpAddr> {
        self.addresses().collect()
    }
}

fn implied(name: &str) -> Node {
    Node {
        name: name.to_owned(),
        labels: Labels::from([(HOSTNAME_LABEL.to_owned(), name.to_owned())]),
        ..Node::default()
    }
}

fn addresses_of(service: Option<&Arc<Service>>) -> BTreeSet<IpAddr> {
    let held = service.map(|service| service.ingress.iter().copied());
    held.into_iter().flatten().collect()
}

fn ranges(config: &Config) -> BTreeMap<IpAddr, (IpAddr, String)> {
    let all = config.pools.values().flat_map(|pool| {
        let of_pool = pool.ranges.iter();
        of_pool.map(|range| (range.first(), (range.last(), pool.name.clone())))
    });
    all.collect()
}

#[cfg(test)]
mod tests;
