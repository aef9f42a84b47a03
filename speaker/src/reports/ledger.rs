//! What should be there against what is there: the next thing to write, until there is none.
//!
//! Every object is written step by step: it is made, then it is given its status, and after each
//! step what the API server answers is compared anew. What it tells later but is older than what is
//! known does not count. An event belongs to the first time that something is to be said of a
//! Service, unless an earlier run has said it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use ferrolb_crds::model::ServiceKey;

use super::{Body, Event, Key, Notice, Seen, Sign, Sort, Wanted};

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Make an object that says nothing yet.
    Create(Key),
    /// Have an object say something else.
    Write {
        /// Which.
        key: Key,
        /// Under which name.
        name: String,
        /// What it should say.
        body: Body,
        /// What it says.
        present: Option<Body>,
    },
    /// Remove an object.
    Delete {
        /// Which.
        key: Key,
        /// Under which name.
        name: String,
    },
    /// Have the ConfigurationState carry a sign.
    Sign {
        /// Under which name it is there.
        name: String,
        /// Which.
        sign: Sign,
    },
    /// Tell that something happened.
    Tell(Event),
    /// Tell that something happened to this node.
    Notice(Notice),
    /// Remove what other nodes have said of these Services at layer 2.
    Sweep(BTreeSet<ServiceKey>),
}

/// What should be there, what is there, and what is to be done about it.
///
/// Whoever takes a task says what came of it: by [`Ledger::see`], [`Ledger::lose`] or
/// [`Ledger::put_off`].
#[derive(Debug)]
pub struct Ledger {
    node: String,
    /// Everything that is wanted has been said: what is not is too much.
    is_complete: bool,
    desired: BTreeMap<Key, Wanted>,
    /// By name, of which there is mostly one.
    present: BTreeMap<Key, Vec<Present>>,
    keys: BTreeMap<(Sort, String), Key>,
    listed: BTreeSet<Sort>,
    /// Kinds that the API server does not know.
    missing: BTreeSet<Sort>,
    /// What has been told of.
    told: BTreeSet<Key>,
    dirty: BTreeSet<Key>,
    put_off: BTreeMap<Key, Instant>,
    uids: BTreeMap<ServiceKey, String>,
    events: VecDeque<Event>,
    notices: VecDeque<Notice>,
    /// What the ConfigurationState is to carry.
    sign: Option<Sign>,
    sweep: Option<(Instant, BTreeSet<ServiceKey>)>,
    /// The API server drops details of sessions: its definition is older than this program.
    has_no_room: bool,
}

#[derive(Debug)]
struct Present {
    name: String,
    version: u64,
    body: Option<Body>,
    sign: Option<Sign>,
    /// It has been removed, and the watch has not said so yet.
    is_gone: bool,
}

impl Ledger {
    /// Nothing is known of what is there, and nothing is wanted.
    pub fn new(node: String) -> Self {
        Self {
            node,
            is_complete: false,
            desired: BTreeMap::new(),
            present: BTreeMap::new(),
            keys: BTreeMap::new(),
            listed: BTreeSet::new(),
            missing: BTreeSet::new(),
            told: BTreeSet::new(),
            dirty: BTreeSet::new(),
            put_off: BTreeMap::new(),
            uids: BTreeMap::new(),
            events: VecDeque::new(),
            notices: VecDeque::new(),
            sign: None,
            sweep: None,
            has_no_room: false,
        }
    }

    /// Everything that is to be there has been said. Before that nothing is written or removed.
    pub fn complete(&mut self) {
        self.is_complete = true;
        let all = self.desired.keys().chain(self.present.keys());
        self.dirty.extend(all.cloned());
    }

    /// This is to be there from now on; `None`: nothing is.
    pub fn want(&mut self, key: Key, wanted: Option<Wanted>) {
        match wanted {
            Some(wanted) => self.desired.insert(key.clone(), wanted),
            None => self.desired.remove(&key),
        };
        self.dirty.insert(key);
    }

    /// This is the Service's UID; `None`: it is no more.
    pub fn know(&mut self, service: ServiceKey, uid: Option<String>) {
        match uid {
            Some(uid) => self.uids.insert(service, uid),
            None => self.uids.remove(&service),
        };
    }

    /// Tells of something, unless too much is waiting to be told.
    pub fn tell(&mut self, event: Event) {
        if self.events.len() < EVENTS {
            self.events.push_back(event);
        }
    }

    /// Tells of what could not be told before anything else: the last that is told is how it stands.
    pub fn notice_again(&mut self, notice: Notice) {
        self.notices.push_front(notice);
        self.notices.truncate(NOTICES);
    }

    /// Tells of something that happened to this node.
    pub fn notice(&mut self, notice: Notice) {
        if self.notices.len() < NOTICES {
            self.notices.push_back(notice);
        }
    }

    /// The ConfigurationState is to carry this.
    pub fn sign(&mut self, sign: Sign) {
        self.sign = Some(sign);
        self.dirty.insert(Key::Configuration);
    }

    /// Others go by the sign to know that this node lives.
    pub fn is_beating(&self) -> bool {
        self.sign.as_ref().is_some_and(|sign| sign.beat.is_some())
    }

    /// What the object of a key is to carry from the beginning.
    pub fn sign_of(&self, key: &Key) -> Option<&Sign> {
        self.sign.as_ref().filter(|_| *key == Key::Configuration)
    }

    /// The UID of a Service.
    pub fn uid(&self, service: &ServiceKey) -> Option<&str> {
        self.uids.get(service).map(String::as_str)
    }

    /// These are all of a kind, as of a version.
    pub fn list(&mut self, sort: Sort, all: Vec<Seen>, version: u64) {
        self.listed.insert(sort);
        self.missing.remove(&sort);
        let names: BTreeSet<String> = all.iter().map(|seen| seen.name.clone()).collect();
        let is_gone = |(of, name): &&(Sort, String)| *of == sort && !names.contains(name);
        let gone: Vec<String> = self
            .keys
            .keys()
            .filter(is_gone)
            .map(|(_, name)| name.clone())
            .collect();
        for name in gone {
            self.vanish(sort, &name, version);
        }
        for seen in all {
            self.see(seen);
        }
        let desired = self.desired.keys();
        let of_sort = desired.filter(|key| key.sort() == sort).cloned();
        self.dirty.extend(of_sort.collect::<Vec<_>>());
    }

    /// The API server does not know the kind.
    pub fn miss(&mut self, sort: Sort) {
        self.missing.insert(sort);
        let desired = self.desired.keys();
        let of_sort = desired.filter(|key| key.sort() == sort).cloned();
        self.dirty.extend(of_sort.collect::<Vec<_>>());
    }

    /// An object is like this.
    pub fn see(&mut self, seen: Seen) {
        let objects = self.present.entry(seen.key.clone()).or_default();
        let at = objects.binary_search_by(|known| known.name.cmp(&seen.name));
        if at.is_ok_and(|at| objects[at].version >= seen.version) {
            return;
        }
        self.keys
            .insert((seen.key.sort(), seen.name.clone()), seen.key.clone());
        let present = Present {
            name: seen.name,
            version: seen.version,
            body: seen.body,
            sign: seen.sign,
            is_gone: false,
        };
        match at {
            Ok(at) => objects[at] = present,
            Err(at) => {
                objects.reserve_exact(1);
                objects.insert(at, present);
            }
        }
        self.dirty.insert(seen.key);
    }

    /// An object that was to say this is like this.
    pub fn wrote(&mut self, body: &Body, seen: Seen) {
        if let Some(said) = &seen.body {
            let without = body.clone().without_details();
            self.has_no_room |= *said == without && *said != *body;
        }
        self.see(seen);
    }

    /// An object was removed, by us.
    pub fn lose(&mut self, key: &Key, name: &str) {
        let objects = self.present.get_mut(key).into_iter().flatten();
        for object in objects.filter(|object| object.name == name) {
            object.is_gone = true;
        }
        self.dirty.insert(key.clone());
    }

    /// An object is no more, as of a version.
    pub fn vanish(&mut self, sort: Sort, name: &str, version: u64) {
        let Some(key) = self.keys.get(&(sort, name.to_owned())).cloned() else {
            return;
        };
        let Some(objects) = self.present.get_mut(&key) else {
            return;
        };
        let is_newer = |known: &Present| known.name == name && known.version > version;
        if objects.iter().any(is_newer) {
            return;
        }
        objects.retain(|known| known.name != name);
        if objects.is_empty() {
            self.present.remove(&key);
        }
        self.keys.remove(&(sort, name.to_owned()));
        self.dirty.insert(key);
    }

    /// It is not to be looked at before this time.
    pub fn put_off(&mut self, key: Key, until: Instant) {
        self.dirty.insert(key.clone());
        self.put_off.insert(key, until);
    }

    /// When there may be something to do that there is not yet.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let put_off = self.put_off.values().min().copied();
        let sweep = self.sweep.as_ref().map(|(at, _)| *at);
        put_off.into_iter().chain(sweep).min()
    }

    /// The next thing to do.
    #[must_use]
    pub fn poll(&mut self, now: Instant) -> Option<Task> {
        self.put_off.retain(|_, until| *until > now);
        if let Some(event) = self.events.pop_front() {
            return Some(Task::Tell(event));
        }
        if let Some(notice) = self.notices.pop_front() {
            return Some(Task::Notice(notice));
        }
        let is_due = |put_off: &BTreeMap<Key, Instant>, key: &&Key| !put_off.contains_key(*key);
        while let Some(key) = self.dirty.iter().find(|key| is_due(&self.put_off, key)) {
            let key = key.clone();
            self.dirty.remove(&key);
            if let Some(task) = self.task(now, &key) {
                return Some(task);
            }
            if let Some(event) = self.events.pop_front() {
                return Some(Task::Tell(event));
            }
        }
        self.take_sweep(now)
    }

    /// What is to be said at the end, whatever it was put off for: how the sessions stand that have an
    /// object. All else is true of a node whose speaker is about to come back.
    pub fn last_words(&self) -> Vec<Task> {
        let sessions = self.desired.iter();
        let sessions = sessions.filter(|(key, _)| self.is_complete && key.sort() == Sort::Session);
        let words = sessions.filter_map(|(key, wanted)| {
            let Wanted::This(body) = wanted else {
                return None;
            };
            let mut objects = self.present.get(key)?.iter();
            let object = objects.find(|object| !object.is_gone)?;
            let present = object.body.as_ref();
            let is_said = present.is_some_and(|present| present.says_the_same(body));
            (!is_said).then(|| Task::Write {
                key: key.clone(),
                name: object.name.clone(),
                body: body.clone(),
                present: object.body.clone(),
            })
        });
        words.collect()
    }

    /// One step toward what is wanted.
    fn task(&mut self, now: Instant, key: &Key) -> Option<Task> {
        let is_missing = self.missing.contains(&key.sort());
        let is_known = is_missing || self.listed.contains(&key.sort());
        if !self.is_complete || !is_known {
            return None;
        }
        let wanted = self.desired.get(key).cloned();
        match &wanted {
            Some(Wanted::This(_)) => self.announce(now, key),
            Some(Wanted::AsItIs) => return None,
            None => drop(self.told.remove(key)),
        }
        if is_missing {
            return None;
        }
        let objects = self.present.get(key).into_iter().flatten();
        let mut objects = objects.filter(|object| !object.is_gone);
        let (first, second) = (objects.next(), objects.next());
        let key = key.clone();
        match (wanted, first, second) {
            // One is enough.
            (Some(_), Some(_), Some(object)) | (None, Some(object), _) => {
                let name = object.name.clone();
                Some(Task::Delete { key, name })
            }
            (Some(Wanted::This(mut body)), Some(object), None) => {
                if self.has_no_room {
                    body = body.without_details();
                }
                let present = object.body.as_ref();
                if present.is_some_and(|present| present.says_the_same(&body)) {
                    let sign = self.sign_of(&key).cloned()?;
                    let name = object.name.clone();
                    let is_said = object
                        .sign
                        .as_ref()
                        .is_some_and(|said| sign.is_said_by(said));
                    return (!is_said).then_some(Task::Sign { name, sign });
                }
                Some(Task::Write {
                    key,
                    name: object.name.clone(),
                    body,
                    present: object.body.clone(),
                })
            }
            (Some(Wanted::This(_)), None, _) => Some(Task::Create(key)),
            (Some(Wanted::AsItIs) | None, ..) => None,
        }
    }

    /// Tells that a Service is announced here, the first time and unless it has been told before.
    fn announce(&mut self, now: Instant, key: &Key) {
        let Some((service, protocol)) = key.service() else {
            return;
        };
        if !self.told.insert(key.clone()) {
            return;
        }
        let objects = self.present.get(key);
        let mut objects = objects.into_iter().flatten();
        if objects.any(|object| object.body.is_some() && !object.is_gone) {
            return;
        }
        let node = &self.node;
        let event = Event {
            service: service.clone(),
            uid: self.uids.get(service).cloned().unwrap_or_default(),
            is_warning: false,
            reason: NODE_ASSIGNED,
            message: format!("announcing from node \"{node}\" with protocol \"{protocol}\""),
        };
        if key.sort() == Sort::Layer2 {
            let later = now + YIELD;
            let (_, services) = self.sweep.get_or_insert((later, BTreeSet::new()));
            services.insert(service.clone());
        }
        self.tell(event);
    }

    /// Who announced them before has had the time to say so itself.
    fn take_sweep(&mut self, now: Instant) -> Option<Task> {
        let (_, services) = self.sweep.take_if(|(at, _)| *at <= now)?;
        let is_announced = |service: &ServiceKey| {
            let key = Key::Layer2(service.clone());
            matches!(self.desired.get(&key), Some(Wanted::This(_)))
        };
        let services: BTreeSet<ServiceKey> = services.into_iter().filter(is_announced).collect();
        let is_possible = self.listed.contains(&Sort::Layer2) && !services.is_empty();
        is_possible.then_some(Task::Sweep(services))
    }

    /// A sweep that came to nothing is tried again.
    pub fn sweep_again(&mut self, at: Instant, services: BTreeSet<ServiceKey>) {
        let (_, waiting) = self.sweep.get_or_insert((at, BTreeSet::new()));
        waiting.extend(services);
    }
}

/// The event reason that operators know.
const NODE_ASSIGNED: &str = "nodeAssigned";

/// How many events wait to be told; events are for people, who read no more.
const EVENTS: usize = 10_000;

/// How many notices wait to be told.
const NOTICES: usize = 256;

/// How long another node has to take back what it said.
const YIELD: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
