//! One deadline out of many timers.
//!
//! A machine keeps its timers here and tells its driver only the earliest one. Nothing in here knows
//! a clock: the time is an argument, and a timer that is due stays until somebody takes it with
//! [`TimerTable::expired`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Timers by name, at most one deadline each.
#[derive(Debug, Clone)]
pub struct TimerTable<K> {
    deadlines: BTreeMap<K, Instant>,
    // The same, in the order they are due: every operation is O(log n).
    order: BTreeSet<(Instant, K)>,
}

impl<K: Ord + Clone> TimerTable<K> {
    /// Without timers.
    pub fn new() -> Self {
        Self {
            deadlines: BTreeMap::new(),
            order: BTreeSet::new(),
        }
    }

    /// Starts a timer, or moves it when it is running.
    pub fn set(&mut self, timer: K, at: Instant) {
        self.stop(&timer);
        self.order.insert((at, timer.clone()));
        self.deadlines.insert(timer, at);
    }

    /// Stops a timer, if it is running.
    pub fn stop(&mut self, timer: &K) {
        if let Some(at) = self.deadlines.remove(timer) {
            self.order.remove(&(at, timer.clone()));
        }
    }

    /// Stops all of them.
    pub fn stop_all(&mut self) {
        self.deadlines.clear();
        self.order.clear();
    }

    /// When a timer is due, if it is running.
    pub fn deadline(&self, timer: &K) -> Option<Instant> {
        self.deadlines.get(timer).copied()
    }

    /// The timer that is due first, and when. Of two due at once the lesser one.
    #[must_use]
    pub fn next(&self) -> Option<(Instant, K)> {
        self.order.first().cloned()
    }

    /// Takes the first timer that is due by now; call it until `None`.
    ///
    /// One at a time, because handling a timer may stop or move another one that is due as well.
    #[must_use]
    pub fn expired(&mut self, now: Instant) -> Option<K> {
        let (at, timer) = self.next()?;
        (at <= now).then(|| {
            self.stop(&timer);
            timer
        })
    }
}

impl<K: Ord + Clone> Default for TimerTable<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "an Instant has no other beginning"
)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn expire(table: &mut TimerTable<u8>, now: Instant) -> Vec<u8> {
        std::iter::from_fn(|| table.expired(now)).collect()
    }

    #[test]
    fn a_timer_that_is_set_again_has_one_deadline() {
        let start = Instant::now();
        let mut table = TimerTable::new();
        table.set(1, start);
        table.set(1, start + Duration::from_secs(5));
        assert_eq!(table.next(), Some((start + Duration::from_secs(5), 1)));
        assert_eq!(table.expired(start), None);
        assert_eq!(
            expire(&mut table, start + Duration::from_secs(5)),
            [1],
            "due at its deadline, once"
        );
        assert_eq!(table.next(), None);
    }

    #[test]
    fn a_timer_may_be_stopped_while_it_is_due() {
        let start = Instant::now();
        let mut table = TimerTable::new();
        table.set(1, start);
        table.set(2, start);
        assert_eq!(table.expired(start), Some(1));
        table.stop(&2);
        assert_eq!(table.expired(start), None);
    }

    #[derive(Debug, Clone)]
    enum Op {
        Set(u8, u64),
        Stop(u8),
        Expire(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (0..6_u8, 0..50_u64).prop_map(|(timer, at)| Op::Set(timer, at)),
            (0..6_u8).prop_map(Op::Stop),
            (0..50_u64).prop_map(Op::Expire),
        ]
    }

    proptest! {
        #[test]
        fn it_does_what_a_plain_map_does(ops in proptest::collection::vec(op(), 0..60)) {
            let start = Instant::now();
            let at = |ms: u64| start + Duration::from_millis(ms);
            let mut table = TimerTable::new();
            let mut model: BTreeMap<u8, u64> = BTreeMap::new();
            for op in ops {
                match op {
                    Op::Set(timer, ms) => {
                        table.set(timer, at(ms));
                        model.insert(timer, ms);
                    }
                    Op::Stop(timer) => {
                        table.stop(&timer);
                        model.remove(&timer);
                    }
                    Op::Expire(ms) => {
                        let mut due: Vec<(u64, u8)> =
                            model.iter().filter(|(_, d)| **d <= ms).map(|(t, d)| (*d, *t)).collect();
                        due.sort_unstable();
                        model.retain(|_, d| *d > ms);
                        let due: Vec<u8> = due.into_iter().map(|(_, timer)| timer).collect();
                        prop_assert_eq!(expire(&mut table, at(ms)), due);
                    }
                }
                let first = model.iter().map(|(t, d)| (*d, *t)).min();
                prop_assert_eq!(table.next(), first.map(|(d, t)| (at(d), t)));
                prop_assert_eq!(table.deadline(&3), model.get(&3).map(|d| at(*d)));
            }
        }
    }
}
