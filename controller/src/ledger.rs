//! Which records are written next, so that no crash leaves an address in two of them.
//!
//! Pure. The order is: who gives an address up is recorded before who gets it. Where Services
//! exchange addresses, first a record is written that only gives up. A record that cannot be written
//! holds back those that want its addresses, and nobody else; it is tried again with growing pauses.
//!
//! After each `handle` poll until `None`, then ask for the deadline.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferrolb_crds::model::ServiceKey;

use crate::reconcile::{Output, Status};

/// One record to write, or with `None` to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Of which Service.
    pub key: ServiceKey,
    /// What it has to say.
    pub status: Option<Arc<Status>>,
}

/// Something to tell people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Records cannot be written; said once for each cause.
    Failed {
        /// The first of them.
        key: ServiceKey,
        /// Why.
        cause: String,
    },
    /// Everything is written again.
    Recovered,
}

/// What is on disk, and what should be.
#[derive(Debug)]
pub struct Ledger {
    disk: BTreeMap<ServiceKey, Arc<Status>>,
    /// Who is on disk with an address.
    holders: BTreeMap<IpAddr, Vec<ServiceKey>>,
    /// What an earlier write, whose end is unknown, may yet put there.
    doubts: BTreeMap<ServiceKey, Vec<IpAddr>>,
    /// What differs from the disk.
    wanted: BTreeMap<ServiceKey, Option<Arc<Status>>>,
    failed: BTreeSet<ServiceKey>,
    /// Not to be written before it is said again that it should be.
    paused: BTreeSet<ServiceKey>,
    in_flight: BTreeSet<ServiceKey>,
    cause: Option<String>,
    attempt: u32,
    retry_at: Option<Instant>,
    reports: VecDeque<Report>,
}

impl Ledger {
    /// With this on disk.
    pub fn new(disk: BTreeMap<ServiceKey, Arc<Status>>) -> Self {
        let mut ledger = Self {
            disk: BTreeMap::new(),
            holders: BTreeMap::new(),
            doubts: BTreeMap::new(),
            wanted: BTreeMap::new(),
            failed: BTreeSet::new(),
            paused: BTreeSet::new(),
            in_flight: BTreeSet::new(),
            cause: None,
            attempt: 0,
            retry_at: None,
            reports: VecDeque::new(),
        };
        for (key, status) in disk {
            ledger.replace(key, Some(status));
        }
        ledger
    }

    /// Something should be on disk, or should not.
    pub fn handle(&mut self, output: Output) {
        let (key, status) = match output {
            Output::Write(key, status) => (key, Some(status)),
            Output::Remove(key) => (key, None),
        };
        // Another record is another try.
        self.failed.remove(&key);
        self.paused.remove(&key);
        self.wanted.insert(key, status);
    }

    /// It was written, or was not: with the cause.
    pub fn handle_written(&mut self, now: Instant, write: Write, result: Result<(), String>) {
        let Write { key, status } = write;
        self.in_flight.remove(&key);
        match result {
            Ok(()) => {
                self.failed.remove(&key);
                if self.wanted.get(&key) == Some(&status) {
                    self.wanted.remove(&key);
                }
                self.settle(&key);
                self.replace(key, status);
            }
            Err(cause) => self.fail(now, key, cause),
        }
        if self.failed.is_empty() && self.in_flight.is_empty() && self.wanted.is_empty() {
            self.recover();
        }
    }

    /// This is on disk, whoever put it there. What was wanted and is there needs no writing.
    pub fn observe(&mut self, key: ServiceKey, status: Option<Arc<Status>>) {
        self.settle(&key);
        self.failed.remove(&key);
        if !self.in_flight.contains(&key) && self.wanted.get(&key) == Some(&status) {
            self.wanted.remove(&key);
        }
        self.replace(key, status);
    }

    /// These addresses may yet come to be on disk: nobody else gets them before something has been
    /// written over it, or seen there.
    pub fn doubt(&mut self, key: ServiceKey, addresses: Vec<IpAddr>) {
        self.doubts
            .entry(key.clone())
            .or_default()
            .extend(addresses);
        self.hold(&key);
    }

    /// Whether it may yet come to be otherwise on disk, or something is being written.
    pub fn is_doubtful(&self, key: &ServiceKey) -> bool {
        self.doubts.contains_key(key) || self.in_flight.contains(key)
    }

    /// Nothing is wanted of this one any more.
    pub fn forget(&mut self, key: &ServiceKey) {
        self.wanted.remove(key);
        self.failed.remove(key);
        self.paused.remove(key);
    }

    /// It is not written for now; what it is to give up, it is still to give up.
    pub fn pause(&mut self, key: &ServiceKey) {
        self.paused.insert(key.clone());
    }

    /// It was not written, because something else had been: what is on disk is known soon, and until
    /// then in doubt.
    pub fn handle_conflict(&mut self, key: &ServiceKey) {
        self.in_flight.remove(key);
        self.failed.insert(key.clone());
    }

    /// It was written, and something else since then, which is known.
    pub fn handle_overwritten(&mut self, key: &ServiceKey) {
        self.in_flight.remove(key);
        if let (Some(Some(wanted)), Some(disk)) = (self.wanted.get(key), self.disk.get(key))
            && wanted == disk
        {
            self.wanted.remove(key);
        }
    }

    /// What is on disk is known: what was held back is tried again.
    pub fn retry(&mut self, key: &ServiceKey) {
        self.failed.remove(key);
    }

    /// What is on disk.
    pub fn disk(&self, key: &ServiceKey) -> Option<&Arc<Status>> {
        self.disk.get(key)
    }

    /// Everything that is on disk.
    pub fn all(&self) -> &BTreeMap<ServiceKey, Arc<Status>> {
        &self.disk
    }

    /// Whether nothing is being written, and nothing can be.
    pub fn is_idle(&self) -> bool {
        let can_be_written = |(key, status): (&ServiceKey, &Option<Arc<Status>>)| {
            self.is_free(status.as_deref()) || self.give_up(key).is_some()
        };
        self.in_flight.is_empty() && !self.waiting().any(can_be_written)
    }

    fn fail(&mut self, now: Instant, key: ServiceKey, cause: String) {
        self.failed.insert(key.clone());
        if self.retry_at.is_none() {
            let pause = FIRST_PAUSE.saturating_mul(1 << self.attempt.min(6));
            self.retry_at = Some(now + pause.min(LONGEST_PAUSE));
            self.attempt += 1;
        }
        if self.cause.as_ref() != Some(&cause) {
            self.cause = Some(cause.clone());
            self.reports.push_back(Report::Failed { key, cause });
        }
    }

    fn recover(&mut self) {
        self.attempt = 0;
        self.retry_at = None;
        if self.cause.take().is_some() {
            self.reports.push_back(Report::Recovered);
        }
    }

    /// Time has passed: what failed is tried again.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.failed.clear();
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.retry_at
    }

    /// The next thing to tell.
    #[must_use]
    pub fn poll_report(&mut self) -> Option<Report> {
        self.reports.pop_front()
    }

    /// The next records to write, in any order, at most so many. Each has to be
    /// [answered](Self::handle_written). Empty when there is nothing to do before an answer or the
    /// deadline.
    #[must_use]
    pub fn poll(&mut self, limit: usize) -> Vec<Write> {
        let mut writes: Vec<_> = self
            .waiting()
            .filter(|(_, status)| self.is_free(status.as_deref()))
            .take(limit)
            .map(|(key, status)| Write {
                key: key.clone(),
                status: status.clone(),
            })
            .collect();
        if writes.is_empty() && self.in_flight.is_empty() {
            let giving_up = self.waiting().filter_map(|(key, _)| self.give_up(key));
            writes = giving_up.take(limit).collect();
        }
        let keys = writes.iter().map(|write| write.key.clone());
        self.in_flight.extend(keys);
        writes
    }

    fn waiting(&self) -> impl Iterator<Item = (&ServiceKey, &Option<Arc<Status>>)> {
        let is_idle = |key: &ServiceKey| {
            let sets = [&self.failed, &self.paused, &self.in_flight];
            !sets.iter().any(|set| set.contains(key))
        };
        self.wanted.iter().filter(move |(key, _)| is_idle(key))
    }

    /// Whether none of the addresses is on disk with a Service that has to give it up. Those that
    /// have it and keep it share it.
    fn is_free(&self, status: Option<&Status>) -> bool {
        let addresses = status.map_or(&[][..], |status| &status.ingress);
        addresses.iter().all(|address| {
            let mut holders = self.holders.get(address).into_iter().flatten();
            holders.all(|holder| self.may_have(holder, *address))
        })
    }

    fn may_have(&self, key: &ServiceKey, address: IpAddr) -> bool {
        let truth = match self.wanted.get(key) {
            Some(wanted) => wanted.as_ref(),
            None => self.disk.get(key),
        };
        truth.is_some_and(|status| status.ingress.contains(&address))
    }

    /// The record without what the Service has to give up, if there is any; what is in doubt is given
    /// up by any record that is written over it.
    fn give_up(&self, key: &ServiceKey) -> Option<Write> {
        let mut status = self.wanted.get(key)?.clone()?;
        let before = &self.disk.get(key)?.ingress;
        let (kept, lost): (Vec<_>, Vec<_>) = before
            .iter()
            .partition(|address| status.ingress.contains(address));
        Arc::make_mut(&mut status).ingress = kept;
        let is_due = !lost.is_empty() || self.doubts.contains_key(key);
        is_due.then(|| Write {
            key: key.clone(),
            status: Some(status),
        })
    }

    fn replace(&mut self, key: ServiceKey, status: Option<Arc<Status>>) {
        self.unhold(&key);
        match status {
            Some(status) => self.disk.insert(key.clone(), status),
            None => self.disk.remove(&key),
        };
        self.hold(&key);
    }

    /// Nothing earlier can come to be on disk any more.
    pub fn settle(&mut self, key: &ServiceKey) {
        self.unhold(key);
        self.doubts.remove(key);
        self.hold(key);
    }

    /// What the Service has on disk, or may come to have.
    fn possessions(&self, key: &ServiceKey) -> Vec<IpAddr> {
        let ingress = self.disk.get(key).map(|status| &status.ingress);
        let doubtful = self.doubts.get(key);
        let all = ingress.into_iter().chain(doubtful).flatten();
        all.copied().collect()
    }

    fn unhold(&mut self, key: &ServiceKey) {
        for address in self.possessions(key) {
            if let Some(holders) = self.holders.get_mut(&address) {
                holders.retain(|holder| holder != key);
                if holders.is_empty() {
                    self.holders.remove(&address);
                }
            }
        }
    }

    fn hold(&mut self, key: &ServiceKey) {
        for address in self.possessions(key) {
            // Most are alone with theirs.
            let holders = self.holders.entry(address);
            let holders = holders.or_insert_with(|| Vec::with_capacity(1));
            if !holders.contains(key) {
                holders.push(key.clone());
            }
        }
    }
}

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
