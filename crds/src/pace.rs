//! How many reports may be written: so many at once, then so many a second, and only a few while
//! there is work that users wait for. Pure.

use std::time::{Duration, Instant};

/// The allowance of one writer of reports.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    /// How many a second while nothing else is to be done.
    rate: f64,
    left: f64,
    counted: Instant,
    busy_until: Instant,
}

impl Pace {
    /// So many a second, when there is nothing else to do.
    pub fn new(now: Instant, rate: u32) -> Self {
        Self {
            rate: f64::from(rate),
            left: BURST,
            counted: now,
            busy_until: now,
        }
    }

    /// Something is being done that comes before reports, and more of it may follow.
    pub fn work(&mut self, now: Instant) {
        self.count(now);
        self.busy_until = now + LULL;
    }

    /// Whether one may be written.
    pub fn has_one(&mut self, now: Instant) -> bool {
        self.count(now);
        self.left >= 1.0
    }

    /// One is written.
    pub fn spend(&mut self) {
        self.left = (self.left - 1.0).max(0.0);
    }

    /// When one may be written; a time that has passed if one may be already.
    pub fn next(&self) -> Instant {
        let lacking = (1.0 - self.left).max(0.0);
        let slow = self.busy_until.saturating_duration_since(self.counted);
        let slow_gain = slow.as_secs_f64() * BUSY_RATE;
        let wait = match slow_gain < lacking {
            true => slow.as_secs_f64() + (lacking - slow_gain) / self.rate,
            false => lacking / BUSY_RATE,
        };
        self.counted + Duration::from_secs_f64(wait)
    }

    fn count(&mut self, now: Instant) {
        let slow = now.min(self.busy_until);
        let slow = slow.saturating_duration_since(self.counted);
        let elapsed = now.saturating_duration_since(self.counted);
        let quick = elapsed.saturating_sub(slow);
        let gained = slow.as_secs_f64() * BUSY_RATE + quick.as_secs_f64() * self.rate;
        self.left = (self.left + gained).min(BURST);
        self.counted = now;
    }
}

/// What may be written at once after a rest: whoever changes a few things by hand sees all of it.
const BURST: f64 = 20.0;

/// How many a second while there is work.
const BUSY_RATE: f64 = 2.0;

/// How long nothing is to be done until there is a rest.
const LULL: Duration = Duration::from_millis(300);

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the start of a virtual clock")]
mod tests {
    use super::*;

    /// How many are written within a second, by someone who asks every millisecond.
    fn written(pace: &mut Pace, from: Instant, is_busy: bool) -> usize {
        let mut count = 0;
        for step in 0..1000 {
            let now = from + Duration::from_millis(step);
            if is_busy {
                pace.work(now);
            }
            if pace.has_one(now) {
                pace.spend();
                count += 1;
            }
        }
        count
    }

    #[test]
    fn at_rest_a_burst_and_then_the_rate() {
        let start = Instant::now();
        let mut pace = Pace::new(start, 50);
        assert_eq!(written(&mut pace, start, false), 69);
        assert_eq!(
            written(&mut pace, start + Duration::from_secs(1), false),
            50
        );
    }

    #[test]
    fn while_there_is_work_only_a_few() {
        let start = Instant::now();
        let mut pace = Pace::new(start, 50);
        assert_eq!(written(&mut pace, start, true), 21);
        let later = start + Duration::from_secs(1);
        assert_eq!(written(&mut pace, later, true), 2);
        // Work for good does not silence it, and a rest brings the rate back.
        let later = later + Duration::from_secs(1) + LULL;
        assert!(written(&mut pace, later, false) >= 50);
    }

    #[test]
    fn the_next_one_is_there_when_it_was_said_to_be() {
        let start = Instant::now();
        for busy_for in [0, 100, 1000] {
            let mut pace = Pace::new(start, 20);
            while pace.has_one(start) {
                pace.spend();
            }
            for step in 0..busy_for {
                pace.work(start + Duration::from_millis(step));
                pace.left = 0.0;
            }
            let next = pace.next();
            assert!(!pace.clone().has_one(next - Duration::from_millis(1)));
            assert!(pace.has_one(next + Duration::from_micros(1)));
        }
    }
}
