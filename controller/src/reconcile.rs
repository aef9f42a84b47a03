//! Keeps every Service's addresses in accord with the configuration.
//!
//! Pure: changes go in, statuses to write come out, and the time is an argument. After each
//! [`apply`](Reconciler::apply) poll until `None`. There is no deadline to ask for: the end of an
//! address's rest matters only when somebody wants an address, and is looked up then.
//!
//! What was changed together is settled together: first everything that may stay as it is stays
//! (so a restart, or two Services that change their sharing key at once, moves nothing), then what
//! may not is released, and only then is anything given out, in order.

mod queue;
mod settle;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferrolb_crds::model::{Config, Family, Hints, Labels, Namespace, Service, ServiceKey};
use ferrolb_crds::source::{Change, Unreadable};

use crate::allocator::{Allocator, Counters, Cover, Holder, PoolIndex, Request};
use crate::decide::{Decision, Reason, Standing, Wait};
use crate::placement::Placement;

use queue::{Queue, Turn};

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The `loadBalancerClass` this controller is for.
    pub class: Option<String>,
    /// How long released addresses rest.
    pub quarantine: Duration,
}

/// What is recorded of a Service. Shared by whoever decides it and whoever writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// The pool its addresses come from.
    pub pool: Option<String>,
    /// Its addresses, in order.
    pub ingress: Vec<IpAddr>,
    /// Who is to hold them when nobody does.
    pub hints: Hints,
    /// Why, as a PascalCase constant.
    pub reason: Cow<'static, str>,
    /// Why, as a sentence.
    pub message: Arc<str>,
}

impl Status {
    /// As it was read somewhere; a reason that is one of ours takes no room.
    pub fn read(
        pool: Option<String>,
        ingress: Vec<IpAddr>,
        hints: Hints,
        condition: Option<(String, String)>,
    ) -> Self {
        let (reason, message) = condition.unwrap_or_default();
        Self {
            pool,
            ingress,
            hints,
            reason: Reason::shared(reason),
            message: message.into(),
        }
    }
}

/// What has to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Record this.
    Write(ServiceKey, Arc<Status>),
    /// Record nothing about the Service.
    Remove(ServiceKey),
}

/// How full a pool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Its IPv4 addresses.
    pub v4: Counters,
    /// Its IPv6 addresses.
    pub v6: Counters,
}

/// How a Service fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// The Service.
    pub key: &'a ServiceKey,
    /// What became of it, against what it held when it was first seen.
    pub decision: Decision,
    /// What it has.
    pub ingress: &'a [IpAddr],
    /// From where.
    pub pool: Option<&'a str>,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, in a sentence.
    pub message: String,
}

/// Keeps every Service's addresses in accord with the configuration.
#[derive(Debug)]
pub struct Reconciler {
    settings: Settings,
    config: Arc<Config>,
    namespaces: BTreeMap<String, Labels>,
    unreadable: Unreadable,
    /// Recorded before this program started, of Services that nothing describes.
    orphans: BTreeMap<ServiceKey, Vec<IpAddr>>,
    /// All of them, as last told.
    told_orphans: BTreeMap<ServiceKey, Vec<IpAddr>>,
    is_synced: bool,
    allocator: Allocator,
    placement: Placement,
    records: BTreeMap<ServiceKey, Box<Record>>,
    holders: Holders,
    work: Work,
    /// Of those who lost something when everything was last settled.
    losses: BTreeMap<ServiceKey, Loss>,
    queue: Queue,
    written: BTreeMap<ServiceKey, Arc<Status>>,
    outputs: VecDeque<Output>,
}

/// What has changed since the last time everything was settled.
#[derive(Debug, Default)]
struct Work {
    dirty: BTreeSet<ServiceKey>,
    /// Services whose status may have changed.
    touched: BTreeSet<ServiceKey>,
    has_new_pools: bool,
    has_new_ghosts: bool,
    /// Nothing has been settled before: what is held was held before this program started.
    is_first: bool,
}

/// What a Service held, and why it may not keep that.
#[derive(Debug)]
struct Loss {
    held: Vec<IpAddr>,
    why: String,
}

/// A Service and how it fares.
#[derive(Debug)]
struct Record {
    /// `None`: it may exist, but could not be read.
    known: Option<Known>,
    /// It never could: all that there is of it is its record.
    is_orphan: bool,
    holder: Holder,
    /// What it held when it was first seen.
    before: Vec<IpAddr>,
    /// What it says it has, until that is judged.
    claim: Vec<IpAddr>,
    /// Who is to hold its addresses when nobody does: given with them, and never again.
    hints: Hints,
    /// What it was given since everything was last settled.
    given: Vec<IpAddr>,
    is_ours: bool,
    standing: Standing,
    extend_from: Option<PoolIndex>,
    turn: Option<Turn>,
    waits: Vec<Wait>,
}

#[derive(Debug)]
struct Known {
    service: Arc<Service>,
    request: Request,
}

impl Reconciler {
    /// With nothing known but what is recorded.
    pub fn new(settings: Settings, written: BTreeMap<ServiceKey, Arc<Status>>) -> Self {
        Self {
            allocator: Allocator::new(settings.quarantine),
            settings,
            placement: Placement::default(),
            config: Arc::default(),
            namespaces: BTreeMap::new(),
            unreadable: Unreadable::default(),
            orphans: BTreeMap::new(),
            told_orphans: BTreeMap::new(),
            is_synced: false,
            records: BTreeMap::new(),
            holders: Holders::default(),
            work: Work::default(),
            losses: BTreeMap::new(),
            queue: Queue::default(),
            written,
            outputs: VecDeque::new(),
        }
    }

    /// Takes changes in and settles what they lead to. Nothing is decided before everything present
    /// has been seen.
    pub fn apply(&mut self, now: Instant, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            self.take(change);
        }
        if self.is_synced {
            self.settle(now);
        }
    }

    /// The next thing to do.
    #[must_use]
    pub fn poll(&mut self) -> Option<Output> {
        let next = self.outputs.pop_front();
        if next.is_none() {
            // The start leaves room for every Service at once.
            self.outputs.shrink_to(ROOM);
        }
        next
    }

    /// Whether everything present has been seen, and every present assignment adopted.
    pub fn is_synced(&self) -> bool {
        self.is_synced
    }

    /// A Service, if it can be read.
    pub fn service(&self, key: &ServiceKey) -> Option<&Service> {
        let known = self.records.get(key)?.known.as_ref()?;
        Some(&known.service)
    }

    /// What is recorded of a Service, or is to be.
    pub fn status_of(&self, key: &ServiceKey) -> Option<&Arc<Status>> {
        self.written.get(key)
    }

    /// How full every pool is, by name.
    pub fn pools(&self) -> impl Iterator<Item = (&str, Usage)> {
        self.allocator.indices().map(|index| {
            let usage = Usage {
                v4: self.allocator.counters(index, Family::V4),
                v6: self.allocator.counters(index, Family::V6),
            };
            (self.allocator.pool(index).name.as_str(), usage)
        })
    }

    /// Why a Service lost what it held, if that came about when changes were last taken in.
    pub fn loss(&self, key: &ServiceKey) -> Option<&str> {
        let (loss, record) = (self.losses.get(key)?, self.records.get(key)?);
        let has_it_back = self.allocator.held(record.holder) == loss.held;
        (!has_it_back).then_some(&loss.why)
    }

    /// How every Service fares, by namespace and name.
    pub fn outcomes(&self) -> impl Iterator<Item = Outcome<'_>> {
        self.records
            .iter()
            .filter(|(_, record)| record.known.is_some())
            .map(|(key, record)| self.outcome(key, record))
    }

    fn outcome<'a>(&'a self, key: &'a ServiceKey, record: &'a Record) -> Outcome<'a> {
        let ingress = self.allocator.held(record.holder);
        let decision = if record.is_ours {
            Decision::of(&record.before, ingress)
        } else {
            Decision::Ignore
        };
        let Standing { reason, message } = &record.standing;
        let (reason, message) = match (decision, *reason, self.loss(key)) {
            (Decision::Clear, Reason::AllocationFailed, Some(why)) => {
                (Reason::ClearAssignment, format!("{why}; {message}"))
            }
            (Decision::Assign, reason, Some(why)) => (reason, format!("{why}; {message}")),
            (_, reason, _) => (reason, message.to_string()),
        };
        Outcome {
            key,
            decision,
            ingress,
            pool: self.pool_of(ingress),
            reason,
            message,
        }
    }

    fn pool_of(&self, ingress: &[IpAddr]) -> Option<&str> {
        let index = self.owner(*ingress.first()?)?;
        Some(&self.allocator.pool(index).name)
    }

    fn owner(&self, address: IpAddr) -> Option<PoolIndex> {
        match self.allocator.cover(address) {
            Cover::Pool(index) => Some(index),
            Cover::Avoided(_) | Cover::Nothing => None,
        }
    }

    fn take(&mut self, change: Change) {
        match change {
            Change::Config(config) => self.take_config(config),
            Change::Service(key, Some(service)) => self.take_service(key, service),
            Change::Service(key, None) => {
                if let Some(record) = self.records.get_mut(&key) {
                    record.known = None;
                }
                self.work.dirty.insert(key);
            }
            Change::Namespace(name, namespace) => self.take_namespace(name, namespace),
            Change::Unreadable(unreadable) => self.take_unreadable(unreadable),
            Change::Orphans(orphans) => self.take_orphans(orphans),
            Change::Synced if !self.is_synced => {
                self.is_synced = true;
                self.work.is_first = true;
                self.work.has_new_pools = true;
                self.work.has_new_ghosts = true;
            }
            // What is given from now on is placed by it; what has been given stays.
            Change::Node(name, node) => self.placement.set_node(&name, node),
            Change::Synced | Change::EndpointSlice(_, _) => {}
        }
    }

    fn take_config(&mut self, config: Arc<Config>) {
        self.work.has_new_pools |= config.pools != self.config.pools
            || config.pools_incomplete != self.config.pools_incomplete;
        self.config = config;
    }

    /// After the start only those count that could not be read before, of Services that were never
    /// seen: what is recorded of others is older than what has been decided since.
    fn take_orphans(&mut self, orphans: BTreeMap<ServiceKey, Vec<IpAddr>>) {
        let told = mem::replace(&mut self.told_orphans, orphans.clone());
        let is_news = |key: &ServiceKey, addresses: &Vec<IpAddr>| told.get(key) != Some(addresses);
        let is_unseen = |key: &ServiceKey| {
            let record = self.records.get(key);
            record.is_none_or(|r| r.is_orphan && self.allocator.held(r.holder).is_empty())
        };
        let fresh = orphans.into_iter().filter(|(key, addresses)| {
            !self.is_synced || is_news(key, addresses) && is_unseen(key)
        });
        self.orphans = fresh.collect();
        self.work.has_new_ghosts |= !self.orphans.is_empty();
    }

    fn take_unreadable(&mut self, unreadable: Unreadable) {
        self.work.has_new_ghosts |= self.unreadable != unreadable;
        let before = mem::replace(&mut self.unreadable, unreadable);
        if before.records != self.unreadable.records {
            self.work.dirty.extend(self.records.keys().cloned());
        }
        let after = &self.unreadable.namespaces;
        let concerned: Vec<_> = before.namespaces.symmetric_difference(after).collect();
        for namespace in concerned {
            self.work.dirty.extend(self.services_in(namespace));
        }
    }

    fn services_in(&self, namespace: &str) -> Vec<ServiceKey> {
        let first = ServiceKey::new(namespace, "");
        self.records
            .range(first..)
            .map(|(key, _)| key)
            .take_while(|key| key.namespace == namespace)
            .cloned()
            .collect()
    }

    fn take_namespace(&mut self, name: String, namespace: Option<Namespace>) {
        let namespace = namespace.unwrap_or_else(|| Namespace::implied(&name));
        self.work.dirty.extend(self.services_in(&name));
        self.namespaces.insert(name, namespace.labels);
    }

    /// What a Service says it holds counts when it is new, or was not ours. Otherwise this program
    /// knows better.
    fn take_service(&mut self, key: ServiceKey, service: Arc<Service>) {
        if !self.namespaces.contains_key(&key.namespace) {
            let labels = Namespace::implied(&key.namespace).labels;
            self.namespaces.insert(key.namespace.clone(), labels);
        }
        let holders = &mut self.holders;
        let record = self
            .records
            .entry(key.clone())
            .or_insert_with(|| Box::new(Record::new(holders.take())));
        let is_held = !self.allocator.held(record.holder).is_empty();
        if !record.is_ours && !is_held {
            record.claim.clone_from(&service.ingress);
            record.before.clone_from(&service.ingress);
        }
        // Of an orphan nothing but its addresses was known.
        let is_news = record.known.is_none() && record.hints.is_empty();
        if is_news || (!record.is_ours && !is_held) {
            self.placement.remove(record.hints.iter());
            record.hints = service.hints.sound();
            self.placement.add(&record.hints);
        }
        let request = Request::of(&service);
        record.known = Some(Known { service, request });
        record.is_orphan = false;
        self.work.dirty.insert(key);
    }

    /// Puts out what differs from what is recorded.
    fn record(&mut self, key: ServiceKey) {
        let wanted = match self.records.get(&key) {
            Some(record) if record.known.is_none() => return,
            Some(record) if record.is_ours => Some(self.status(&key, record)),
            Some(_) => None,
            None if self.unreadable.may_hide(&key) => return,
            None => None,
        };
        match wanted {
            Some(status) if self.status_of(&key).is_some_and(|s| **s == status) => {}
            Some(status) => {
                let status = Arc::new(status);
                self.written.insert(key.clone(), Arc::clone(&status));
                self.outputs.push_back(Output::Write(key, status));
            }
            None => {
                if self.written.remove(&key).is_some() {
                    self.outputs.push_back(Output::Remove(key));
                }
            }
        }
    }

    fn status(&self, key: &ServiceKey, record: &Record) -> Status {
        let ingress = self.allocator.held(record.holder).to_vec();
        let pool = match (self.pool_of(&ingress), self.written.get(key)) {
            (Some(pool), _) => Some(pool.to_owned()),
            // Its pool is set aside; it is still the pool its addresses came from.
            (None, Some(written)) if !ingress.is_empty() => written.pool.clone(),
            (None, _) => None,
        };
        Status {
            pool,
            ingress,
            hints: record.hints.clone(),
            reason: Cow::Borrowed(record.standing.reason.as_str()),
            message: Arc::clone(&record.standing.message),
        }
    }
}

/// Outputs that there is always room for.
const ROOM: usize = 256;

/// The numbers by which the allocator knows Services: low ones, used again.
#[derive(Debug, Default)]
struct Holders {
    unused: usize,
    free: Vec<Holder>,
}

impl Holders {
    fn take(&mut self) -> Holder {
        self.free.pop().unwrap_or_else(|| {
            self.unused += 1;
            Holder(self.unused - 1)
        })
    }

    /// Who had the number has nothing any more.
    fn give_back(&mut self, holder: Holder) {
        self.free.push(holder);
    }
}

impl Record {
    fn new(holder: Holder) -> Self {
        Self {
            known: None,
            is_orphan: false,
            holder,
            before: Vec::new(),
            claim: Vec::new(),
            hints: Hints::default(),
            given: Vec::new(),
            is_ours: false,
            standing: Standing::new(Reason::AllocationFailed, ""),
            extend_from: None,
            turn: None,
            waits: Vec::new(),
        }
    }

    fn wait(&mut self, queue: &mut Queue, turn: Turn, waits: Vec<Wait>) {
        queue.wait(&turn, &waits);
        self.waits = waits;
        self.turn = Some(turn);
    }
}
