//! What is written into which Service next, so that no crash, no pause and no second controller leaves
//! an address with two of them.
//!
//! ```text
//! decision ─▶ ledger: who gives up comes first ─▶ intent in the Lease ─▶ patch ─▶ seen
//! ```
//!
//! A patch carries the resourceVersion that was seen. One that gives an address is logged before; one
//! that takes an address away waits for the log, too, because who cannot write that is not the active
//! controller any more. While it is not known whether a patch came to pass, nobody else gets its
//! addresses.
//!
//! Pure. After each `handle` or `observe` poll the log and the patches, then ask for the deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferrolb_crds::model::{ServiceKey, Timestamp};
use ferrolb_crds::source::kubernetes::Observed;

use crate::lease::{Intent, Log};
use crate::ledger::{Ledger, Report, Write};
use crate::reconcile::{Output, Status};

mod seen;

pub use seen::{Seen, number};

/// One patch of a Service's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// Which Service.
    pub key: ServiceKey,
    /// The resourceVersion it is for.
    pub version: String,
    /// What the status has to say.
    pub status: Arc<Status>,
    /// Since when; `None`: since now.
    pub since: Option<Timestamp>,
}

/// Why a patch did not come to pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The Service is not as it was, or is gone.
    Conflict,
    /// The API server does not take it.
    Refused(String),
    /// It may have come to pass, or may yet.
    Unknown(String),
}

/// A Service that is gone, or that is no load balancer any more and carries still what was written into
/// it: a watch does not tell which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remnant {
    /// Which Service.
    pub key: ServiceKey,
    /// The UID it had: another one of its name is nobody's business.
    pub uid: String,
}

/// Keeps the Services' statuses as they should be.
#[derive(Debug)]
pub struct Publication {
    ledger: Ledger,
    seen: BTreeMap<ServiceKey, Seen>,
    /// The highest resourceVersion of what was written or seen.
    through: u64,
    /// To be logged, being logged, logged.
    unlogged: BTreeMap<ServiceKey, Patch>,
    logging: BTreeMap<ServiceKey, Patch>,
    ready: BTreeMap<ServiceKey, Patch>,
    /// Of which it is not known whether they came to pass: they are sent again until it is.
    unknown: BTreeMap<ServiceKey, Patch>,
    /// What may be written, and what of that stands in the Lease.
    intents: BTreeMap<ServiceKey, Intent>,
    told: BTreeMap<ServiceKey, Intent>,
    /// The number under which `logging` is logged.
    number: Option<u64>,
    /// Nothing would change, but something has to be written: see [`Publication::adopt`].
    forced: BTreeSet<ServiceKey>,
    contests: BTreeMap<ServiceKey, Contest>,
    /// What may have to be taken away, by UID.
    remnants: BTreeMap<ServiceKey, String>,
}

/// Somebody else edits what is written here.
#[derive(Debug)]
struct Contest {
    count: u32,
    last: Instant,
    /// What is written again, and when.
    next: Option<(Instant, Arc<Status>)>,
}

impl Publication {
    /// With these seen, and after a controller that left this log.
    pub fn new(seen: BTreeMap<ServiceKey, Seen>, log: Log) -> Self {
        let statuses = seen.iter();
        let statuses = statuses.map(|(key, seen)| (key.clone(), Arc::clone(&seen.status)));
        let mut publication = Self {
            ledger: Ledger::new(statuses.collect()),
            seen,
            through: log.through,
            unlogged: BTreeMap::new(),
            logging: BTreeMap::new(),
            ready: BTreeMap::new(),
            unknown: BTreeMap::new(),
            intents: BTreeMap::new(),
            told: log.intents.clone(),
            number: None,
            forced: BTreeSet::new(),
            contests: BTreeMap::new(),
            remnants: BTreeMap::new(),
        };
        for (key, intent) in log.intents {
            publication.adopt(key, intent);
        }
        publication
    }

    /// What the one before may yet write: only over the very version it saw. So the Service counts as
    /// having it, and something is written over that version even where nothing has to change.
    fn adopt(&mut self, key: ServiceKey, intent: Intent) {
        let seen = self.seen.get(&key);
        if seen.is_some_and(|seen| *seen.version == *intent.version) {
            self.ledger.doubt(key.clone(), intent.addresses.clone());
            self.forced.insert(key.clone());
            self.intents.insert(key, intent);
        }
    }

    /// What the one before may yet write.
    pub fn adopted(&self) -> &BTreeMap<ServiceKey, Intent> {
        &self.intents
    }

    /// What the Services' statuses say.
    pub fn statuses(&self) -> &BTreeMap<ServiceKey, Arc<Status>> {
        self.ledger.all()
    }

    /// The Services as they were last seen.
    pub fn into_seen(self) -> BTreeMap<ServiceKey, Seen> {
        self.seen
    }

    /// The Service as it was last seen.
    pub fn seen(&self, key: &ServiceKey) -> Option<&Seen> {
        self.seen.get(key)
    }

    /// The Service is like this; `desired` is what its status should say, if that is ours to say.
    pub fn observe(
        &mut self,
        now: Instant,
        key: ServiceKey,
        observed: Option<Observed>,
        desired: Option<&Arc<Status>>,
    ) {
        let Some(observed) = observed else {
            return self.lose(key, desired.is_some());
        };
        self.remnants.remove(&key);
        let seen = Seen::new(observed, desired);
        let known = self.seen.get(&key);
        if known.is_some_and(|known| known.uid == seen.uid && seen.is_older(known)) {
            return;
        }
        if known.is_some_and(|known| known.version == seen.version) {
            return;
        }
        self.overtake(&key);
        let is = Arc::clone(&seen.status);
        self.seen.insert(key.clone(), seen);
        self.ledger.observe(key.clone(), Some(Arc::clone(&is)));
        if let Some(desired) = desired.filter(|desired| **desired != is) {
            self.contest(now, key, desired.clone());
        }
    }

    /// The Service is gone, or no load balancer any more. What was written into it, or may have been,
    /// is to go.
    fn lose(&mut self, key: ServiceKey, is_ours: bool) {
        let is_doubtful = self.ledger.is_doubtful(&key);
        if let Some(seen) = self.seen.remove(&key)
            && is_ours
            && (is_doubtful || seen.is_carrying())
        {
            self.remnants.insert(key.clone(), seen.uid.into());
        }
        self.contests.remove(&key);
        self.overtake(&key);
        self.ledger.observe(key.clone(), None);
        self.ledger.forget(&key);
    }

    /// The next remnant to take away.
    #[must_use]
    pub fn poll_remnant(&mut self) -> Option<Remnant> {
        let (key, uid) = self.remnants.pop_first()?;
        Some(Remnant { key, uid })
    }

    /// It could not be taken away, and is to be tried again, unless it is a load balancer by now.
    pub fn keep_remnant(&mut self, remnant: Remnant) {
        if !self.seen.contains_key(&remnant.key) {
            self.remnants.insert(remnant.key, remnant.uid);
        }
    }

    /// The version that was known is no more: nothing can be written over it.
    fn overtake(&mut self, key: &ServiceKey) {
        self.forced.remove(key);
        self.unknown.remove(key);
        self.intents.remove(key);
        for patches in [&mut self.unlogged, &mut self.logging, &mut self.ready] {
            if patches.remove(key).is_some() {
                self.ledger.handle_conflict(key);
                self.ledger.retry(key);
            }
        }
    }

    /// Somebody else wrote. The first time it is put right at once; who insists has it for longer and
    /// longer.
    fn contest(&mut self, now: Instant, key: ServiceKey, desired: Arc<Status>) {
        if self.ledger.is_doubtful(&key) {
            // It may well be what was written here, and something else is wanted since.
            return self.ledger.handle(Output::Write(key, desired));
        }
        let contest = self.contests.entry(key.clone()).or_insert(Contest {
            count: 0,
            last: now,
            next: None,
        });
        if now.duration_since(contest.last) > TRUCE {
            contest.count = 0;
        }
        contest.last = now;
        contest.count += 1;
        let Some(doubling) = contest.count.checked_sub(FREE_EDITS) else {
            return self.ledger.handle(Output::Write(key, desired));
        };
        let pause = FIRST_PAUSE.saturating_mul(1 << doubling.min(6));
        contest.next = Some((now + pause, desired.clone()));
        self.ledger.handle(Output::Write(key.clone(), desired));
        self.ledger.pause(&key);
    }

    /// Every change of a Service up to this resourceVersion has been seen.
    pub fn reach(&mut self, version: u64) {
        self.through = self.through.max(version);
    }

    /// Something should be written, or nothing is to be written of this one any more.
    pub fn want(&mut self, output: Output) {
        match output {
            Output::Write(key, status) => {
                if let Some(contest) = self.contests.get_mut(&key) {
                    contest.next = None;
                }
                let is_there = self.ledger.disk(&key) == Some(&status);
                if is_there && !self.ledger.is_doubtful(&key) {
                    self.ledger.forget(&key);
                } else {
                    self.ledger.handle(Output::Write(key, status));
                }
            }
            Output::Remove(key) => self.ledger.forget(&key),
        }
    }

    /// Services into which something has to be written although nothing may have changed.
    pub fn forced(&self) -> Vec<ServiceKey> {
        self.forced.iter().cloned().collect()
    }

    /// The log to write, when there is something new to say and none is being written. The number it
    /// gets is to be [told](Self::set_number).
    #[must_use]
    pub fn poll_log(&mut self, limit: usize) -> Option<Log> {
        let room = limit.saturating_sub(self.unsent());
        self.collect(room);
        if !self.awaits_log() {
            return None;
        }
        self.logging = std::mem::take(&mut self.unlogged);
        for (key, patch) in &self.logging {
            let seen = self.seen.get(key);
            let gives = seen.is_some_and(|seen| gives(patch, &seen.status.ingress));
            // What was adopted for the same version may be written just as well.
            if gives && !self.forced.contains(key) {
                let intent = Intent {
                    version: patch.version.clone(),
                    addresses: patch.status.ingress.clone(),
                };
                self.intents.insert(key.clone(), intent);
            }
        }
        Some(self.log())
    }

    fn log(&mut self) -> Log {
        self.told.clone_from(&self.intents);
        Log {
            through: self.through,
            intents: self.intents.clone(),
        }
    }

    /// The log without what cannot come to pass any more, when it stands there still: whoever comes next
    /// would carry it out. It need not be written by itself.
    #[must_use]
    pub fn poll_revision(&mut self) -> Option<Log> {
        let is_stale = self.number.is_none() && self.told != self.intents;
        is_stale.then(|| self.log())
    }

    /// Whether a log is to be written, and none is being written.
    pub fn awaits_log(&self) -> bool {
        self.number.is_none() && !self.unlogged.is_empty()
    }

    /// The log from [`poll_log`](Self::poll_log) is written under this number.
    pub fn set_number(&mut self, number: u64) {
        self.number = Some(number);
    }

    /// Everything up to this number stands in the Lease.
    pub fn handle_logged(&mut self, number: u64) {
        if self.number.is_some_and(|awaited| awaited <= number) {
            self.number = None;
            self.ready.append(&mut self.logging);
        }
    }

    /// The next patches to send, at most so many. Each has to be [answered](Self::handle_patched).
    #[must_use]
    pub fn poll(&mut self, limit: usize) -> Vec<Patch> {
        self.collect(limit.saturating_sub(self.unsent()));
        let keys: Vec<ServiceKey> = self.ready.keys().take(limit).cloned().collect();
        let patches = keys.iter().filter_map(|key| self.ready.remove(key));
        patches.collect()
    }

    fn unsent(&self) -> usize {
        self.unlogged.len() + self.logging.len() + self.ready.len()
    }

    /// Takes what may be written from the ledger: what gives an address waits for the log.
    fn collect(&mut self, limit: usize) {
        if limit == 0 {
            return;
        }
        for write in self.ledger.poll(limit) {
            let Some(status) = write.status else {
                continue;
            };
            let Some(seen) = self.seen.get(&write.key) else {
                self.ledger.handle_conflict(&write.key);
                continue;
            };
            if let Some(patch) = self.unknown.get(&write.key) {
                // It stands in the log.
                self.ready.insert(write.key, patch.clone());
                continue;
            }
            let patch = self.patch(write.key, status, seen);
            let doubt = patch.status.ingress.clone();
            let changes = patch.status.ingress != seen.status.ingress;
            self.ledger.doubt(patch.key.clone(), doubt);
            let waits = if changes {
                &mut self.unlogged
            } else {
                &mut self.ready
            };
            waits.insert(patch.key.clone(), patch);
        }
    }

    fn patch(&self, key: ServiceKey, mut status: Arc<Status>, seen: &Seen) -> Patch {
        let is_fence = self.forced.contains(&key);
        if is_fence && !self.is_adopted(&key, &status.ingress, &seen.status.ingress) {
            // First what may yet be written over this version is kept from that.
            let status = Arc::make_mut(&mut status);
            status.ingress.clone_from(&seen.status.ingress);
            status.hints = seen.status.hints.sound();
        }
        let allocated = !status.ingress.is_empty();
        let before = seen.condition;
        let since = before
            .filter(|(was_allocated, _)| *was_allocated == allocated)
            .map(|(_, since)| match is_fence {
                // What changes nothing would not be written.
                true => Timestamp(since.0 + 1),
                false => since,
            });
        Patch {
            version: seen.version.to_string(),
            key,
            status,
            since,
        }
    }

    /// Whether all of this is there, or was adopted.
    fn is_adopted(&self, key: &ServiceKey, addresses: &[IpAddr], present: &[IpAddr]) -> bool {
        let intent = self.intents.get(key).map(|intent| &intent.addresses);
        let mut addresses = addresses.iter();
        addresses.all(|address| {
            present.contains(address) || intent.is_some_and(|intent| intent.contains(address))
        })
    }

    /// What became of a patch: the Service as it is thereby, or why it is not.
    pub fn handle_patched(
        &mut self,
        now: Instant,
        patch: &Patch,
        result: Result<Observed, Refusal>,
    ) {
        let key = patch.key.clone();
        match result {
            Ok(observed) => self.handle_written(now, patch, observed),
            Err(Refusal::Conflict) => {
                self.ledger.handle_conflict(&key);
                let seen = self.seen.get(&key);
                if seen.is_none_or(|seen| *seen.version != *patch.version) {
                    self.ledger.retry(&key);
                }
            }
            Err(Refusal::Refused(cause)) => {
                self.ledger.handle_written(now, write(patch), Err(cause));
                // Unless there is another one that may yet be written over this version.
                if !self.unknown.contains_key(&key) && !self.forced.contains(&key) {
                    self.intents.remove(&key);
                    self.ledger.settle(&key);
                }
            }
            // The intent stays, and so does the doubt.
            Err(Refusal::Unknown(cause)) => {
                let is_current = |seen: &Seen| *seen.version == *patch.version;
                if self.seen(&key).is_some_and(is_current) {
                    self.unknown.insert(key, patch.clone());
                }
                self.ledger.handle_written(now, write(patch), Err(cause));
            }
        }
    }

    fn handle_written(&mut self, now: Instant, patch: &Patch, observed: Observed) {
        let key = patch.key.clone();
        let seen = Seen::new(observed, Some(&patch.status));
        let is_overtaken = |known: &Seen| known.uid != seen.uid || seen.is_older(known);
        if self.seen(&key).is_none_or(is_overtaken) {
            return self.ledger.handle_overwritten(&key);
        }
        self.overtake(&key);
        self.reach(seen.number());
        self.ledger.handle_written(now, write(patch), Ok(()));
        if seen.status != patch.status {
            // The API server changed it; what it says is seen again by the watch.
            self.ledger
                .observe(key.clone(), Some(Arc::clone(&seen.status)));
        }
        self.seen.insert(key, seen);
    }

    /// Whether nothing can be written now.
    pub fn is_idle(&self) -> bool {
        self.ledger.is_idle()
    }

    /// The next thing to tell.
    #[must_use]
    pub fn poll_report(&mut self) -> Option<Report> {
        self.ledger.poll_report()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let contests = self.contests.values();
        let next = contests.filter_map(|contest| contest.next.as_ref().map(|(at, _)| *at));
        next.chain(self.ledger.poll_timeout()).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.ledger.handle_timeout(now);
        for (key, contest) in &mut self.contests {
            let is_due = contest.next.as_ref().is_some_and(|(at, _)| *at <= now);
            if let Some((_, status)) = contest.next.take_if(|_| is_due) {
                self.ledger.handle(Output::Write(key.clone(), status));
            }
        }
        self.contests.retain(|_, contest| {
            contest.next.is_some() || now.duration_since(contest.last) < TRUCE
        });
    }
}

/// Whether it gives an address to who has these.
fn gives(patch: &Patch, present: &[IpAddr]) -> bool {
    let mut addresses = patch.status.ingress.iter();
    addresses.any(|address| !present.contains(address))
}

fn write(patch: &Patch) -> Write {
    Write {
        key: patch.key.clone(),
        status: Some(patch.status.clone()),
    }
}

/// What others edit is put right at once so many times.
const FREE_EDITS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Who has left a status alone for so long has given in.
const TRUCE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;
