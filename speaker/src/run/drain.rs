//! Leaving: when the Node or somebody says so, and on the way out.

use std::time::{Duration, Instant, SystemTime};

use tracing::info;

use super::Speaker;
use crate::drain::Drain;
use crate::reports::Notice;
use crate::status;
use crate::status::request::{DrainDemand, Draining as Answer};
use crate::world::Draining;

/// The steps of leaving, and since when the present one lasts.
#[derive(Debug)]
pub(super) struct DrainLink {
    machine: Drain,
    since: SystemTime,
}

impl DrainLink {
    pub(super) fn new(machine: Drain, since: SystemTime) -> Self {
        Self { machine, since }
    }

    /// When to call `handle_timeout`.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.machine.poll_timeout()
    }

    /// Whether there are steps to come.
    pub(super) fn is_on_its_way(&self) -> bool {
        self.machine.is_on_its_way()
    }

    /// For people; `None`: the node serves.
    pub(super) fn status(&self) -> Option<status::Draining> {
        let why = self.machine.cause()?;
        Some(status::Draining {
            state: self.machine.stage().as_str().to_owned(),
            why: why.to_string(),
            since: status::time(self.since),
        })
    }
}

impl Speaker {
    /// What the Node says may be something else by now.
    pub(super) fn note_drain_mark(&mut self) {
        // A Node that is gone was not taken back.
        if !self.world.is_described() {
            return;
        }
        let mark = self.world.this_node().draining;
        // What this run has not announced need not be withdrawn step by step.
        match self.is_ready {
            true => self.drain.machine.note_mark(Instant::now(), mark),
            false => self.drain.machine.begin(mark),
        }
        self.apply_drain();
    }

    /// Somebody wants this node drained, or no longer.
    pub(super) fn demand_drain(&mut self, demand: DrainDemand) -> Answer {
        if let DrainDemand::Begin { seconds } = demand {
            let time = seconds.map(|seconds| Duration::from_secs(seconds.min(LONGEST)));
            self.drain.machine.demand(Instant::now(), true, time);
        }
        if demand == DrainDemand::Undo {
            self.drain.machine.demand(Instant::now(), false, None);
        }
        self.apply_drain();
        let addresses = self.plan.addresses.values();
        Answer {
            node: self.settings.identity.node.clone(),
            state: self.drain.machine.stage().as_str().to_owned(),
            why: self.drain.machine.cause().map(|cause| cause.to_string()),
            held: addresses.filter(|plan| plan.layer2.is_held()).count(),
            is_done: self.drain.machine.stage() == Draining::Ended,
        }
    }

    /// The next step may be due.
    pub(super) fn handle_drain_timeout(&mut self, now: Instant) {
        if self.drain.machine.handle_timeout(now) {
            self.apply_drain();
        }
    }

    fn apply_drain(&mut self) {
        let stage = self.drain.machine.stage();
        let before = self.world.draining();
        if stage == before {
            return;
        }
        self.drain.since = SystemTime::now();
        let cause = self.drain.machine.cause().map(|cause| cause.to_string());
        let cause = cause.unwrap_or_default();
        info!(from = before.as_str(), to = stage.as_str(), reason = %cause, "node is drained");
        if let (Some(cluster), Some(notice)) = (&self.cluster, notice(stage, &cause)) {
            cluster.notice(notice);
        }
        let touched = self.world.set_draining(stage);
        self.replan(touched);
        // Also where nothing else differs; not before it is known what there is.
        if self.is_ready {
            self.tell_layer2();
            self.apply_sessions();
        }
    }
}

/// What to tell of the node.
fn notice(stage: Draining, cause: &str) -> Option<Notice> {
    let (reason, message) = match stage {
        Draining::No => ("Serving", "this node takes traffic again".to_owned()),
        Draining::Announced => (
            "Draining",
            format!("{cause}: other nodes take its addresses, and its routes are the last resort"),
        ),
        // On the way, and soon over.
        Draining::Withdrawn => return None,
        Draining::Ended => (
            "Drained",
            format!("{cause}: its routes are withdrawn and its BGP sessions have ended"),
        ),
    };
    Some(Notice {
        is_warning: false,
        reason,
        message,
    })
}

/// Seconds that routes may stay as the last resort, as the command line has it.
const LONGEST: u64 = 3600;
