//! Giving addresses to those who are first in rank for them, on demand and one after the other: the
//! only thing that moves addresses for balance.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Let the first in rank have it.
    Give(IpAddr),
    /// If nobody has taken it: have it again.
    Check(IpAddr),
}

/// What is still to be given away.
#[derive(Debug, Default)]
pub(super) struct Rebalance {
    queue: VecDeque<IpAddr>,
    every: Duration,
    /// What was given away last, and when that is looked at.
    given: Option<(IpAddr, Instant)>,
    next: Option<Instant>,
}

impl Rebalance {
    /// Begins with these, in place of what is left of an earlier demand.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        addresses: impl IntoIterator<Item = IpAddr>,
        per_minute: u32,
    ) {
        self.queue = addresses.into_iter().collect();
        self.every = Duration::from_secs(60) / per_minute.max(1);
        // Asking twice does not give away twice as fast.
        self.next = Some(self.next.unwrap_or(now).max(now));
    }

    /// When to call `handle_timeout`.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let next = self.next.filter(|_| !self.queue.is_empty());
        self.given.map(|(_, at)| at).or(next)
    }

    /// What is to be done now.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<Step> {
        if let Some((address, at)) = self.given {
            if now < at {
                return None;
            }
            self.given = None;
            return Some(Step::Check(address));
        }
        if self.next.is_none_or(|next| now < next) {
            return None;
        }
        let address = self.queue.pop_front()?;
        self.given = Some((address, now + CHECK));
        self.next = Some(now + self.every);
        Some(Step::Give(address))
    }
}

/// Twice what a hand-over may take.
const CHECK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "where virtual time begins")]
    fn one_after_the_other_is_given_looked_after_and_no_more_than_asked_for() {
        let address = |n: u8| IpAddr::from([10, 0, 0, n]);
        let start = Instant::now();
        let seconds = Duration::from_secs;
        let mut rebalance = Rebalance::default();
        assert_eq!(rebalance.deadline(), None);
        rebalance.begin(start, [address(1), address(2), address(3)], 20);
        let mut steps = Vec::new();
        let mut now = start;
        while let Some(at) = rebalance.deadline() {
            now = at;
            let step = rebalance.handle_timeout(now).unwrap();
            steps.push((now - start, step));
            if steps.len() == 4 {
                // Asked again, for what is left.
                rebalance.begin(now, [address(3)], 20);
            }
        }
        let expected = [1, 2, 3].into_iter().flat_map(|n| {
            let at = seconds(3 * (u64::from(n) - 1));
            [
                (at, Step::Give(address(n))),
                (at + seconds(1), Step::Check(address(n))),
            ]
        });
        assert_eq!(steps, expected.collect::<Vec<_>>());
        assert_eq!(rebalance.handle_timeout(now), None);
        // As fast as can be asked for: not before it is known what became of the last one.
        rebalance.begin(now + seconds(60), [address(1), address(2)], u32::MAX);
        let first = rebalance.deadline().unwrap();
        rebalance.handle_timeout(first);
        let check = rebalance.deadline().unwrap();
        assert_eq!(rebalance.handle_timeout(first), None);
        assert_eq!(check - first, CHECK);
    }
}
