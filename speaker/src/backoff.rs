//! Exponential back-off with jitter.
//!
//! Every delay is drawn from the upper quarter below its nominal value (RFC 4271 §10: 75 to 100 %),
//! so that sessions which failed together do not come back together.

use std::time::Duration;

/// How long to wait after the n-th failure in a row.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    nominal: Duration,
}

impl Backoff {
    /// Doubles from `first` to `most`.
    pub fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            nominal: first,
        }
    }

    /// The delay after one more failure.
    pub fn next(&mut self, rng: &mut fastrand::Rng) -> Duration {
        let delay = jitter(self.nominal, rng);
        self.nominal = self.nominal.saturating_mul(2).min(self.most);
        delay
    }

    /// Forgets the failures.
    pub fn reset(&mut self) {
        self.nominal = self.first;
    }
}

/// 75 to 100 % of the duration.
pub fn jitter(nominal: Duration, rng: &mut fastrand::Rng) -> Duration {
    nominal.mul_f64(0.75 + rng.f64() / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_doubles_up_to_its_limit_and_starts_over_when_reset() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut backoff = Backoff::new(SECOND, 5 * SECOND);
        for nominal in [1, 2, 4, 5, 5] {
            let delay = backoff.next(&mut rng);
            assert!(delay <= nominal * SECOND && delay >= nominal * SECOND * 3 / 4);
        }
        backoff.reset();
        assert!(backoff.next(&mut rng) <= SECOND);
    }

    #[test]
    fn jitter_spreads_over_a_quarter() {
        let mut rng = fastrand::Rng::with_seed(2);
        let drawn: Vec<Duration> = (0..1000).map(|_| jitter(SECOND, &mut rng)).collect();
        assert!(drawn.iter().min() < Some(&Duration::from_millis(760)));
        assert!(drawn.iter().max() > Some(&Duration::from_millis(990)));
        assert!(drawn.iter().max() <= Some(&SECOND));
    }
}
