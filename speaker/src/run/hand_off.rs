//! The link to the hand-off, and the addresses that wait for it.
//!
//! An address is announced once its traffic has somewhere to go: a UDP stream that arrives before is
//! lost until it pauses. Nothing waits to be withdrawn, and nobody waits for ever: what cannot be
//! handed off here is announced all the same, because something else may take the traffic.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::{error, warn};

use super::changes::Differences;
use super::translate;
use crate::nft::{Desired, HandOff, Report};
use crate::plan::AddressPlan;

/// The hand-off.
pub(super) struct HandOffLink {
    /// `None`: kube-proxy takes the traffic, and not even the tables are looked at.
    machine: Option<HandOff>,
    /// `None`: it has ended.
    reports: Option<Reports>,
    last_report: Report,
    /// Whether it was ever told anything: a table of an earlier run is repaired only then.
    is_told: bool,
    /// What should be true: kept as the plan changes, because to make it anew takes long with many addresses.
    desired: Desired,
    waiting: Waiting,
    /// What was told first.
    first: Option<u64>,
    /// And last.
    told: u64,
    /// Something is to be told in this turn.
    is_prepared: bool,
}

struct Reports {
    report: watch::Receiver<Report>,
    settled: watch::Receiver<u64>,
}

impl HandOffLink {
    /// Starts it; it touches nothing yet.
    pub(super) fn start() -> Self {
        let machine = HandOff::start();
        let (report, settled) = (machine.report(), machine.settled());
        Self {
            reports: Some(Reports { report, settled }),
            machine: Some(machine),
            ..Self::none()
        }
    }

    /// There is none.
    pub(super) fn none() -> Self {
        Self {
            machine: None,
            reports: None,
            last_report: Report::Idle,
            is_told: false,
            desired: Desired::default(),
            waiting: Waiting::default(),
            first: None,
            told: 0,
            is_prepared: false,
        }
    }

    /// Whether it was ever told anything, or never will be.
    pub(super) fn is_told(&self) -> bool {
        self.is_told || self.machine.is_none()
    }

    /// Whether it is to be told of that.
    pub(super) fn is_to_hear(&self, differs: &Differences) -> bool {
        self.machine.is_some() && differs.hand_off
    }

    /// Another thing should be true of an address; it is told with the rest.
    pub(super) fn note_change(
        &mut self,
        address: IpAddr,
        old: Option<&AddressPlan>,
        new: Option<&AddressPlan>,
    ) {
        if self.machine.is_some() {
            translate::hand_off_changed(&mut self.desired, address, old, new);
        }
    }

    /// It is about to be told what should be true; `fresh` are addresses that were not handed off before.
    pub(super) fn prepare(&mut self, now: Instant, fresh: BTreeSet<IpAddr>) {
        if self.machine.is_none() {
            return;
        }
        self.is_told = true;
        self.is_prepared = true;
        let generation = self.told + 1;
        self.first.get_or_insert(generation);
        // Nobody waits for a table that will not be.
        let is_possible = match self.last_report {
            Report::Refused { .. } => false,
            Report::Idle | Report::Programmed { .. } | Report::Failed { .. } => true,
        };
        if is_possible && self.reports.is_some() {
            self.waiting.add(now, generation, fresh);
        }
    }

    /// Tells it what it was prepared for, if it was. It acts at once, and what it hands off no more nobody
    /// is to be sent here for: layer 2 and the routers are told before.
    pub(super) fn tell(&mut self) {
        if let Some(machine) = &self.machine
            && std::mem::take(&mut self.is_prepared)
        {
            self.told = machine.want(self.desired.clone());
        }
    }

    /// Whether the address is to be announced later.
    pub(super) fn is_waited_for(&self, address: IpAddr) -> bool {
        self.waiting.addresses.contains_key(&address)
    }

    /// Whether addresses wait that were there from the start.
    pub(super) fn is_beginning(&self) -> bool {
        self.first.is_some_and(|first| self.waiting.is_for(first))
    }

    /// The address is not to be announced any more.
    pub(super) fn forget(&mut self, address: IpAddr) {
        self.waiting.addresses.remove(&address);
    }

    /// When it has taken too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.deadline()
    }

    /// Nobody waits any longer than the deadline; the addresses that did.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> BTreeSet<IpAddr> {
        let late = self.waiting.give_up(now);
        if !late.is_empty() {
            warn!(limit = ?LIMIT, "hand-off takes long: announcing without it");
        }
        late
    }

    /// Waits for news. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        let Some(reports) = &mut self.reports else {
            return pending().await;
        };
        let is_alive = tokio::select! {
            changed = reports.report.changed() => changed.is_ok(),
            changed = reports.settled.changed() => changed.is_ok(),
        };
        if !is_alive {
            error!("hand-off has ended");
            self.reports = None;
        }
    }

    /// Takes the news in; the addresses that waited for it and wait no longer.
    pub(super) fn note(&mut self) -> BTreeSet<IpAddr> {
        match &mut self.reports {
            Some(reports) => {
                // The report comes first, so that read behind the number it is never older.
                let settled = *reports.settled.borrow_and_update();
                self.last_report = reports.report.borrow_and_update().clone();
                self.waiting.settle(settled)
            }
            None => {
                let error = "the hand-off has ended unexpectedly: restart the speaker".to_owned();
                self.last_report = Report::Failed { error };
                self.waiting.settle(u64::MAX)
            }
        }
    }

    /// How it stood at the last news, if there is one.
    pub(super) fn report(&self) -> Option<&Report> {
        self.machine.as_ref().map(|_| &self.last_report)
    }

    /// Ends it, and gives what it said last.
    pub(super) async fn stop(self, keep: bool) -> Option<Report> {
        self.machine?.stop(keep).await;
        Some(self.last_report)
    }
}

/// Addresses, what each waits for, and until when.
#[derive(Debug, Default)]
struct Waiting {
    addresses: BTreeMap<IpAddr, (u64, Instant)>,
}

impl Waiting {
    fn add(&mut self, now: Instant, generation: u64, fresh: BTreeSet<IpAddr>) {
        let wait = (generation, now + LIMIT);
        self.addresses
            .extend(fresh.into_iter().map(|address| (address, wait)));
    }

    fn is_for(&self, generation: u64) -> bool {
        let mut waiting = self.addresses.values();
        waiting.any(|(waits_for, _)| *waits_for == generation)
    }

    /// Everything up to this generation has been dealt with; who waited for it.
    fn settle(&mut self, generation: u64) -> BTreeSet<IpAddr> {
        self.drop_those(|waits_for, _| waits_for <= generation)
    }

    /// Those have waited long enough.
    fn give_up(&mut self, now: Instant) -> BTreeSet<IpAddr> {
        self.drop_those(|_, until| until <= now)
    }

    fn drop_those(&mut self, is_done: impl Fn(u64, Instant) -> bool) -> BTreeSet<IpAddr> {
        let mut done = BTreeSet::new();
        self.addresses.retain(|address, (waits_for, until)| {
            let is_done = is_done(*waits_for, *until);
            if is_done {
                done.insert(*address);
            }
            !is_done
        });
        done
    }

    fn deadline(&self) -> Option<Instant> {
        self.addresses.values().map(|(_, until)| *until).min()
    }
}

/// Longer than any table of a sound machine takes.
const LIMIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(numbers: &[u8]) -> BTreeSet<IpAddr> {
        let addresses = numbers.iter().map(|number| [192, 0, 2, *number].into());
        addresses.collect()
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "where virtual time begins")]
    fn an_address_waits_for_the_table_that_has_it_and_not_for_ever() {
        let start = Instant::now();
        let mut waiting = Waiting::default();
        assert_eq!(waiting.deadline(), None);
        waiting.add(start, 1, fresh(&[1]));
        waiting.add(start + LIMIT / 2, 2, fresh(&[2]));
        assert_eq!(waiting.deadline(), Some(start + LIMIT));
        assert!(waiting.is_for(1) && waiting.is_for(2) && !waiting.is_for(3));
        assert_eq!(waiting.settle(0), fresh(&[]));
        assert_eq!(waiting.settle(1), fresh(&[1]));
        assert!(!waiting.is_for(1));
        assert!(waiting.addresses.keys().eq(&fresh(&[2])));
        assert_eq!(waiting.deadline(), Some(start + LIMIT / 2 + LIMIT));
        assert_eq!(waiting.give_up(start + LIMIT), fresh(&[]));
        waiting.add(start + LIMIT, 3, fresh(&[3]));
        assert_eq!(waiting.give_up(start + LIMIT / 2 + LIMIT), fresh(&[2]));
        assert!(waiting.addresses.keys().eq(&fresh(&[3])));
        assert_eq!(waiting.settle(4), fresh(&[3]));
        assert_eq!(waiting.settle(4), fresh(&[]));
        assert_eq!(waiting.deadline(), None);
    }
}
