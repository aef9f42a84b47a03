//! What the watches tell becomes batches of changes. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::api::{self, IpAddressPoolStatus};
use crate::model::ServiceKey;
use crate::source::resource::FieldError;
use crate::source::{Change, Unreadable};
use crate::store::{Gaps, Kind, ObjectKey, Resource, Store};
use crate::validate::Problem;

use super::item::{Item, Seen};
use super::watch::Event;
use super::{Batch, Misread, Observed, Reached};

/// What is followed on its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// All objects of a kind.
    Kind(Kind),
    /// One Secret of the configuration's namespace.
    Secret(String),
    /// The Secret with the heartbeat key.
    HeartbeatKey,
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kind) => f.write_str(kind.name()),
            Self::Secret(name) => write!(f, "Secret {name}"),
            Self::HeartbeatKey => f.write_str("Secret with the heartbeat key"),
        }
    }
}

/// One thing a watch told.
pub(super) enum Heard {
    Objects(Stream, Box<Event<Item>>),
    Key(Event<Option<Vec<u8>>>),
}

/// Collects what the watches tell.
pub(super) struct Collector {
    namespace: String,
    store: Store,
    /// What has to be listed before anything is told, beside the Secrets.
    streams: Vec<Stream>,
    /// What has been.
    listed: BTreeSet<Stream>,
    is_synced: bool,
    /// Configuration that is followed in every namespace.
    wide: BTreeSet<Stream>,
    /// The Secrets that BGPPeers refer to.
    references: BTreeMap<ObjectKey, String>,
    pools: BTreeMap<String, Option<IpAddressPoolStatus>>,
    told_pools: Option<BTreeMap<String, Option<IpAddressPoolStatus>>>,
    told_problems: Option<Vec<Problem>>,
    services: BTreeMap<ServiceKey, Option<Box<Observed>>>,
    /// Objects that are there and cannot be understood, and why. They go with the object.
    misread: BTreeMap<ObjectKey, FieldError>,
    told_misread: BTreeSet<Misread>,
    told_unreadable: BTreeSet<ServiceKey>,
    heartbeat_key: Option<Option<Vec<u8>>>,
    reached: Reached,
    told_reached: Reached,
}

impl Collector {
    pub(super) fn new(namespace: &str, streams: Vec<Stream>) -> Self {
        let is_configuration =
            |stream: &&Stream| matches!(stream, Stream::Kind(Kind::Configuration(_)));
        Self {
            namespace: namespace.to_owned(),
            store: Store::new(namespace),
            wide: streams.iter().filter(is_configuration).cloned().collect(),
            streams,
            listed: BTreeSet::new(),
            is_synced: false,
            references: BTreeMap::new(),
            pools: BTreeMap::new(),
            told_pools: None,
            told_problems: None,
            services: BTreeMap::new(),
            misread: BTreeMap::new(),
            told_misread: BTreeSet::new(),
            told_unreadable: BTreeSet::new(),
            heartbeat_key: None,
            reached: Reached::default(),
            told_reached: Reached::default(),
        }
    }

    /// Whether it is configuration, followed in every namespace.
    pub(super) fn is_configuration(&self, stream: &Stream) -> bool {
        self.wide.contains(stream)
    }

    /// It is followed in the configuration's namespace only.
    pub(super) fn narrow(&mut self, stream: &Stream) {
        self.wide.remove(stream);
    }

    /// It may not be read: everything else does not wait for it.
    pub(super) fn do_without(&mut self, stream: Stream) {
        self.listed.insert(stream);
    }

    pub(super) fn snapshot(&self) -> Vec<Change> {
        let mut changes = self.store.snapshot();
        if self.is_synced {
            changes.push(Change::Synced);
        }
        changes
    }

    pub(super) fn handle(&mut self, heard: Heard) {
        match heard {
            Heard::Objects(stream, event) => self.handle_objects(stream, *event),
            Heard::Key(event) => self.handle_key(event),
        }
    }

    fn handle_objects(&mut self, stream: Stream, event: Event<Item>) {
        let is_services = stream == Stream::Kind(Kind::Service);
        let version = match event {
            Event::Listed {
                objects,
                version,
                round,
            } => {
                if is_services {
                    self.reached.round = round;
                }
                self.replace(&stream, objects);
                self.listed.insert(stream);
                version
            }
            Event::Applied(item, version) => {
                self.apply(item);
                version
            }
            Event::Deleted(item, version) => {
                self.delete(&item.key);
                version
            }
            Event::Reached(version) => version,
            Event::Failed(_) | Event::Recovered => return,
        };
        if is_services {
            // The versions of one collection are numbers that grow.
            let number = version.parse().unwrap_or_default();
            self.reached.version = self.reached.version.max(number);
        }
    }

    fn handle_key(&mut self, event: Event<Option<Vec<u8>>>) {
        let key = match event {
            Event::Listed { mut objects, .. } => {
                self.listed.insert(Stream::HeartbeatKey);
                objects.pop().flatten()
            }
            Event::Applied(key, _) => key,
            Event::Deleted(_, _) => None,
            Event::Reached(_) | Event::Failed(_) | Event::Recovered => return,
        };
        self.heartbeat_key = Some(key);
    }

    /// These are all of the stream.
    fn replace(&mut self, stream: &Stream, items: Vec<Item>) {
        let listed: BTreeSet<ObjectKey> = items.iter().map(|item| item.key.clone()).collect();
        for key in self.known(stream) {
            if !listed.contains(&key) {
                self.delete(&key);
            }
        }
        for item in items {
            self.apply(item);
        }
    }

    fn known(&self, stream: &Stream) -> Vec<ObjectKey> {
        match stream {
            Stream::Kind(kind) => {
                let mut known = self.store.keys(*kind);
                let misread = self.misread.keys().filter(|key| key.kind == *kind);
                known.extend(misread.cloned());
                known
            }
            Stream::Secret(name) => vec![self.secret_key(name)],
            Stream::HeartbeatKey => Vec::new(),
        }
    }

    fn secret_key(&self, name: &str) -> ObjectKey {
        ObjectKey {
            kind: Kind::Secret,
            namespace: self.namespace.clone(),
            name: name.to_owned(),
        }
    }

    fn apply(&mut self, item: Item) {
        match item.seen {
            Seen::Service(observed) => {
                let key = match &item.resource {
                    Ok(Resource::Service(service)) => Some(service.key.clone()),
                    Ok(_) | Err(_) => item.key.as_service(),
                };
                self.services.extend(key.map(|key| (key, Some(observed))));
            }
            Seen::Pool(status) if item.key.namespace == self.namespace => {
                self.pools.insert(item.key.name.clone(), status);
            }
            Seen::Pool(_) | Seen::Nothing => {}
        }
        match item.resource {
            Ok(resource) => {
                self.refer(&item.key, &resource);
                self.misread.remove(&item.key);
                self.store.apply(item.key, resource);
            }
            // What was understood before stays in force.
            Err(error) => drop(self.misread.insert(item.key, error)),
        }
    }

    fn delete(&mut self, key: &ObjectKey) {
        self.store.delete(key);
        self.references.remove(key);
        self.misread.remove(key);
        if key.namespace == self.namespace
            && key.kind == Kind::Configuration(api::Kind::IpAddressPool)
        {
            self.pools.remove(&key.name);
        }
        if let Some(service) = key.as_service() {
            self.services.insert(service, None);
        }
    }

    /// Services that cannot be understood and were not known before.
    fn unreadable(&self) -> BTreeSet<ServiceKey> {
        let misread = self.misread.keys();
        let unknown = misread.filter(|key| !self.store.contains(key));
        unknown.filter_map(ObjectKey::as_service).collect()
    }

    /// What cannot be understood, when that is different from before.
    fn tell_misread(&mut self) -> Option<BTreeSet<Misread>> {
        let misread = self.misread.iter().map(|(object, error)| Misread {
            object: object.clone(),
            error: error.clone(),
        });
        let misread: BTreeSet<Misread> = misread.collect();
        if self.told_misread == misread {
            return None;
        }
        self.told_misread.clone_from(&misread);
        Some(misread)
    }

    fn refer(&mut self, key: &ObjectKey, resource: &Resource) {
        let Resource::Configuration(object) = resource else {
            return;
        };
        if object.kind != api::Kind::BgpPeer || object.namespace != self.namespace {
            return;
        }
        let name = object.document["spec"]["passwordSecret"]["name"].as_str();
        match name.filter(|name| !name.is_empty()) {
            Some(name) => self.references.insert(key.clone(), name.to_owned()),
            None => self.references.remove(key),
        };
    }

    /// The Secrets to follow.
    pub(super) fn secrets(&self) -> BTreeSet<Stream> {
        self.references
            .values()
            .cloned()
            .map(Stream::Secret)
            .collect()
    }

    /// Whether everything that has to be has been listed.
    fn is_complete(&self) -> bool {
        let mut awaited = self.secrets();
        awaited.extend(self.streams.iter().cloned());
        awaited.is_subset(&self.listed)
    }

    /// It is not followed any more.
    pub(super) fn forget(&mut self, stream: &Stream) {
        self.listed.remove(stream);
        for key in self.known(stream) {
            self.delete(&key);
        }
    }

    /// What all this changes; `None` while not everything has been listed, and where nothing did.
    pub(super) fn batch(&mut self) -> Option<Batch> {
        if !self.is_synced && !self.is_complete() {
            return None;
        }
        let unreadable = self.unreadable();
        if self.told_unreadable != unreadable {
            self.told_unreadable.clone_from(&unreadable);
            self.store.unreadable(Gaps {
                unreadable: Unreadable {
                    services: unreadable,
                    ..Unreadable::default()
                },
                withheld: &BTreeSet::new(),
                pools: false,
                namespaces: false,
            });
        }
        let mut batch = Batch {
            changes: self.store.changes(),
            services: std::mem::take(&mut self.services).into_iter().collect(),
            heartbeat_key: self.heartbeat_key.take(),
            reached: self.reached,
            misread: self.tell_misread(),
            ..Batch::default()
        };
        if self.told_problems.as_deref() != Some(self.store.problems()) {
            batch.problems = Some(self.store.problems().to_vec());
            self.told_problems.clone_from(&batch.problems);
        }
        if self.told_pools.as_ref() != Some(&self.pools) {
            batch.pools = Some(self.pools.clone());
            self.told_pools.clone_from(&batch.pools);
        }
        if !self.is_synced {
            self.is_synced = true;
            batch.changes.push(Change::Synced);
        }
        let is_empty = batch.changes.is_empty()
            && batch.services.is_empty()
            && batch.problems.is_none()
            && batch.misread.is_none()
            && batch.pools.is_none()
            && batch.heartbeat_key.is_none()
            && self.told_reached == self.reached;
        self.told_reached = self.reached;
        (!is_empty).then_some(batch)
    }
}

#[cfg(test)]
mod tests;
