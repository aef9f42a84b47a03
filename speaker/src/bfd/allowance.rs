//! How many packets are read in a while, so that a flood of them takes no more than a part of one
//! processor, however urgent the thread is that reads them.

use std::time::{Duration, Instant};

/// A bucket of packets that is filled up at fixed times.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    size: usize,
    left: usize,
    filled: Instant,
}

impl Allowance {
    /// For so many sessions: several times what they send at most.
    pub fn new(now: Instant, sessions: usize) -> Self {
        let size = sessions.saturating_mul(PER_SESSION).saturating_add(BASE);
        Self {
            size,
            left: size,
            filled: now,
        }
    }

    /// How many may be read by now.
    pub fn left(&mut self, now: Instant) -> usize {
        if now >= self.filled + PERIOD {
            self.filled = now;
            self.left = self.size;
        }
        self.left
    }

    /// So many were read.
    pub fn take(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count);
    }

    /// When there are more, if there are none.
    pub fn refill(&self) -> Option<Instant> {
        (self.left == 0).then(|| self.filled + PERIOD)
    }
}

const PERIOD: Duration = Duration::from_millis(10);
/// A peer sends one in 10 ms at most, and its answers.
const PER_SESSION: usize = 4;
const BASE: usize = 16;

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "an Instant has no other beginning"
)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_read_in_time_is_not_made_up_for() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start, 1);
        assert_eq!(allowance.left(start), 20);
        assert_eq!(allowance.refill(), None);
        allowance.take(15);
        assert_eq!(allowance.left(start + PERIOD / 2), 5);
        allowance.take(9);
        assert_eq!(allowance.left(start + PERIOD / 2), 0);
        assert_eq!(allowance.refill(), Some(start + PERIOD));
        assert_eq!(allowance.left(start + 10 * PERIOD), 20);
    }
}
