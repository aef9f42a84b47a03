//! How full the pools are, written into their status a moment after that changed. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ferrolb_crds::api::{Condition, IpAddressPoolStatus};

use crate::reconcile::{Reconciler, Usage};

/// Keeps the pools' statuses as they should be.
#[derive(Debug, Default)]
pub(super) struct Pools {
    seen: BTreeMap<String, Option<IpAddressPoolStatus>>,
    in_flight: BTreeSet<String>,
    due: Option<Instant>,
}

impl Pools {
    /// These are the pools, with what their statuses say.
    pub(super) fn observe(
        &mut self,
        now: Instant,
        pools: BTreeMap<String, Option<IpAddressPoolStatus>>,
    ) {
        self.seen = pools;
        self.touch(now);
    }

    /// Addresses may have been given or taken.
    pub(super) fn touch(&mut self, now: Instant) {
        self.due.get_or_insert(now + QUIET);
    }

    #[must_use]
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// What is to be written now.
    #[must_use]
    pub(super) fn poll(
        &mut self,
        now: Instant,
        reconciler: &Reconciler,
    ) -> Vec<(String, IpAddressPoolStatus)> {
        if self.due.take_if(|due| *due <= now).is_none() {
            return Vec::new();
        }
        let mut writes = Vec::new();
        for (name, usage) in reconciler.pools() {
            let seen = self.seen.get(name);
            let conditions = seen
                .iter()
                .copied()
                .flatten()
                .flat_map(|s| s.conditions.clone());
            let status = status(usage, conditions.collect());
            let is_right = seen.is_none_or(|seen| seen.as_ref() == Some(&status));
            if !is_right && self.in_flight.insert(name.to_owned()) {
                writes.push((name.to_owned(), status));
            }
        }
        writes
    }

    /// It was written, or has to be tried again.
    pub(super) fn handle_written(&mut self, now: Instant, name: &str, is_written: bool) {
        self.in_flight.remove(name);
        if !is_written {
            self.touch(now);
        }
    }
}

fn status(usage: Usage, conditions: Vec<Condition>) -> IpAddressPoolStatus {
    let number = |count: u128| i64::try_from(count).unwrap_or(i64::MAX);
    IpAddressPoolStatus {
        assigned_ipv4: number(usage.v4.assigned),
        assigned_ipv6: number(usage.v6.assigned),
        available_ipv4: number(usage.v4.available),
        available_ipv6: number(usage.v6.available),
        conditions,
    }
}

/// Changes that come together are one write.
const QUIET: Duration = Duration::from_secs(1);
