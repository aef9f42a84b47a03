//! How full the pools are, written into their status a moment after that changed. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ferrolb_crds::api::{Condition, IpAddressPoolStatus};

use crate::reconcile::{Reconciler, Usage};

/// Keeps the pools' statuses as they should be.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    seen: BTreeMap<String, Option<IpAddressPoolStatus>>,
    in_flight: BTreeSet<String>,
    due: Option<Instant>,
}

impl Pools {
    /// These are the pools, with what their statuses say.
    pub(crate) fn observe(
        &mut self,
        now: Instant,
        pools: BTreeMap<String, Option<IpAddressPoolStatus>>,
    ) {
        self.seen = pools;
        self.touch(now);
    }

    /// Addresses may have been given or taken.
    pub(crate) fn touch(&mut self, now: Instant) {
        self.due.get_or_insert(now + QUIET);
    }

    #[must_use]
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// What is to be written now.
    #[must_use]
    pub(crate) fn poll(
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
    pub(crate) fn handle_written(&mut self, now: Instant, name: &str, is_written: bool) {
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

#[cfg(test)]
mod tests {
    use ferrolb_crds::source::Change;

    use super::*;
    use crate::fixture::{With as _, config, now, pool, service};
    use crate::reconcile::Settings;

    #[test]
    fn a_status_is_written_a_moment_later_once_and_only_when_it_is_wrong() {
        let start = now();
        let mut reconciler = Reconciler::new(Settings::default(), BTreeMap::new());
        let changes = [
            config(&[pool("p", &["10.0.0.0/30"])]),
            service("s").change(),
            Change::Synced,
        ];
        reconciler.apply(start, changes);
        let mut pools = Pools::default();
        pools.observe(start, BTreeMap::from([("p".to_owned(), None)]));
        let due = pools.poll_timeout().unwrap();
        assert_eq!(due, start + QUIET);
        assert_eq!(pools.poll(start, &reconciler), []);
        let writes = pools.poll(due, &reconciler);
        let [(name, status)] = writes.as_slice() else {
            panic!("one write, not {writes:?}");
        };
        assert_eq!((name.as_str(), status.assigned_ipv4), ("p", 1));
        assert_eq!(status.available_ipv4, 3);
        assert_eq!(pools.poll_timeout(), None);
        // While it is under way, and once it is there, nothing is written.
        pools.touch(due);
        assert_eq!(pools.poll(due + QUIET, &reconciler), []);
        pools.handle_written(due, "p", true);
        let seen = BTreeMap::from([("p".to_owned(), Some(status.clone()))]);
        pools.observe(due, seen);
        assert_eq!(pools.poll(due + QUIET, &reconciler), []);
    }

    #[test]
    fn what_could_not_be_written_is_tried_again() {
        let start = now();
        let mut reconciler = Reconciler::new(Settings::default(), BTreeMap::new());
        reconciler.apply(
            start,
            [config(&[pool("p", &["10.0.0.0/30"])]), Change::Synced],
        );
        let mut pools = Pools::default();
        pools.touch(start);
        assert_eq!(pools.poll(start + QUIET, &reconciler), []);
        pools.observe(start, BTreeMap::from([("p".to_owned(), None)]));
        assert_eq!(pools.poll(start + QUIET, &reconciler).len(), 1);
        pools.handle_written(start, "p", false);
        assert_eq!(pools.poll(start + QUIET, &reconciler).len(), 1);
    }
}
