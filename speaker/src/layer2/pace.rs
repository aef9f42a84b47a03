//! How fast frames may follow each other that nobody waits for.
//!
//! A bucket that fills steadily and is never deep: what a late timer has missed can be made up for,
//! and still no second sees more than was promised. It tells the time to the frame and is asked
//! about a few of them at once, because a timer for each would cost more than the frame.

use std::time::{Duration, Instant};

/// A bound on frames, for whoever asks before sending them.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How long a frame fills.
    cost: Duration,
    /// Frames fill all the time until then.
    full_until: Instant,
}

impl Pace {
    /// So many frames a second, and nothing sent yet. In any second there are at most [`DEPTH`] and
    /// one batch more.
    pub fn new(now: Instant, frames_a_second: u32) -> Self {
        Self {
            cost: Duration::from_secs(1) / frames_a_second.max(1),
            full_until: now.checked_sub(DEPTH).unwrap_or(now),
        }
    }

    /// Whether a frame may go.
    #[must_use]
    pub fn is_open(&self, now: Instant) -> bool {
        self.full_until <= now
    }

    /// When some frames may go.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        self.full_until + GATHER
    }

    /// These frames go now.
    pub fn spend(&mut self, now: Instant, frames: u32) {
        let oldest = now.checked_sub(DEPTH).unwrap_or(now);
        self.full_until = self.full_until.max(oldest) + self.cost.saturating_mul(frames);
    }
}

/// How much time can be made up for.
pub const DEPTH: Duration = Duration::from_millis(50);

/// How long frames are gathered for a batch.
const GATHER: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 1000;

    /// Sends one by one whatever may go, when it is woken, each time that much too late.
    #[expect(clippy::disallowed_methods, reason = "where virtual time begins")]
    fn sent(late: Duration, until: Duration) -> Vec<Duration> {
        let start = Instant::now();
        let mut pace = Pace::new(start, RATE);
        let mut sent = Vec::new();
        let mut now = start;
        while now <= start + until {
            while pace.is_open(now) {
                pace.spend(now, 1);
                sent.push(now - start);
            }
            now = now.max(pace.poll_timeout()) + late;
        }
        sent
    }

    fn most_in_a_second(sent: &[Duration]) -> usize {
        let within = |first: &Duration| {
            let end = *first + Duration::from_secs(1);
            sent.iter()
                .filter(|at| **at >= *first && **at < end)
                .count()
        };
        sent.iter().map(within).max().unwrap_or(0)
    }

    #[test]
    fn a_rate_is_kept_by_whoever_is_late_within_bounds_and_never_exceeded() {
        let five_seconds = Duration::from_secs(5);
        for late in [0, 1, 15, 45].map(Duration::from_millis) {
            let sent = sent(late, five_seconds);
            let expected = 4_950..=5_100;
            assert!(expected.contains(&sent.len()), "{late:?}: {}", sent.len());
            assert!(most_in_a_second(&sent) <= 1_000 + 50 + 3, "{late:?}");
        }
        let late = sent(Duration::from_millis(100), five_seconds);
        assert!(late.len() < 3_000, "what was missed for long is lost");
    }

    #[test]
    fn after_a_rest_the_bucket_is_full_and_not_more() {
        let sent = sent(Duration::from_secs(2), Duration::from_secs(5));
        assert!(most_in_a_second(&sent) <= 52);
    }
}
