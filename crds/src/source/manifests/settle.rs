//! When a change of a directory takes effect: after some quiet, but not put off for ever.
//!
//! ```text
//!           touched, unsure                quiet, or limit
//! At rest ──────────────────▶ Settling ───────────────────▶ At rest, Output::Read
//!    └── look_every ──▶ Output::Look
//! ```
//!
//! An editor's rename, a truncation and the writing after it, a removal and the creation after it
//! come within the quiet and are one change.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How patient to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settings {
    /// Without news for so long, a change is over.
    pub(super) quiet: Duration,
    /// A change is read at the latest so long after it began.
    pub(super) limit: Duration,
    /// How often to look without being told: other hosts' writes raise no event here.
    pub(super) look_every: Duration,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    /// This path was written, made, renamed or removed.
    Touched(PathBuf),
    /// Something did, nobody knows what: events were lost, or a look found a difference.
    Unsure,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    /// Compare the directory with what is known, and say so by [`Input::Unsure`].
    Look,
    /// Read what changed; the paths were touched even if they look the same.
    Read(BTreeSet<PathBuf>),
}

/// Why there is a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// The change may be over.
    Settled,
    /// It is time to look.
    Look,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    AtRest { next_look: Instant },
    Settling { since: Instant, last: Instant },
}

/// Waits for a change to be over. After any `handle`, `poll` to `None`, then ask for the deadline.
#[derive(Debug)]
pub(super) struct Settle {
    settings: Settings,
    state: State,
    touched: BTreeSet<PathBuf>,
    output: Option<Output>,
}

/// More paths than these are not remembered one by one: comparing finds them too.
const TOUCHED_LIMIT: usize = 10_000;

impl Settle {
    /// At rest, having just read everything.
    pub(super) fn new(settings: Settings, now: Instant) -> Self {
        Self {
            settings,
            state: State::AtRest {
                next_look: now + settings.look_every,
            },
            touched: BTreeSet::new(),
            output: None,
        }
    }

    /// Something happened.
    pub(super) fn handle(&mut self, now: Instant, input: Input) {
        if let Input::Touched(path) = input
            && self.touched.len() < TOUCHED_LIMIT
        {
            self.touched.insert(path);
        }
        let since = match self.state {
            State::AtRest { .. } => now,
            State::Settling { since, .. } => since,
        };
        self.state = State::Settling { since, last: now };
    }

    /// What to do.
    #[must_use]
    pub(super) fn poll(&mut self) -> Option<Output> {
        self.output.take()
    }

    /// When to call `handle_timeout`, and why.
    #[must_use]
    pub(super) fn poll_timeout(&self) -> (Instant, Timer) {
        match self.state {
            State::AtRest { next_look } => (next_look, Timer::Look),
            State::Settling { since, last } => {
                let quiet = last + self.settings.quiet;
                (quiet.min(since + self.settings.limit), Timer::Settled)
            }
        }
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let (deadline, timer) = self.poll_timeout();
        if now < deadline {
            return;
        }
        self.state = State::AtRest {
            next_look: now + self.settings.look_every,
        };
        self.output = Some(match timer {
            Timer::Look => Output::Look,
            Timer::Settled => Output::Read(std::mem::take(&mut self.touched)),
        });
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "an Instant can be had in no other way"
)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings {
        quiet: Duration::from_millis(100),
        limit: Duration::from_secs(1),
        look_every: Duration::from_secs(5),
    };

    fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    fn touched(name: &str) -> Input {
        Input::Touched(PathBuf::from(name))
    }

    fn read(names: &[&str]) -> Option<Output> {
        Some(Output::Read(names.iter().map(PathBuf::from).collect()))
    }

    fn at_rest() -> (Settle, Instant) {
        let start = Instant::now();
        (Settle::new(SETTINGS, start), start)
    }

    #[test]
    fn a_change_takes_effect_after_100_ms_of_quiet() {
        let (mut settle, start) = at_rest();
        settle.handle(start, touched("a"));
        settle.handle(start + ms(60), touched("b"));
        assert_eq!(settle.poll_timeout(), (start + ms(160), Timer::Settled));
        settle.handle_timeout(start + ms(159));
        assert_eq!(settle.poll(), None);
        settle.handle_timeout(start + ms(160));
        assert_eq!(settle.poll(), read(&["a", "b"]));
        assert_eq!(settle.poll(), None);
    }

    #[test]
    fn a_change_takes_effect_at_most_1_s_after_it_began() {
        let (mut settle, start) = at_rest();
        for step in 0..=19 {
            settle.handle(start + ms(step * 50), touched("a"));
        }
        assert_eq!(settle.poll_timeout(), (start + ms(1000), Timer::Settled));
        settle.handle_timeout(start + ms(1000));
        assert_eq!(settle.poll(), read(&["a"]));
    }

    #[test]
    fn a_removal_and_the_creation_after_it_are_one_change() {
        let (mut settle, start) = at_rest();
        settle.handle(start, touched("a"));
        settle.handle(start + ms(99), touched("a"));
        settle.handle_timeout(start + ms(100));
        assert_eq!(settle.poll(), None);
        settle.handle_timeout(start + ms(199));
        assert_eq!(settle.poll(), read(&["a"]));
    }

    #[test]
    fn it_looks_every_few_seconds_and_a_difference_settles_too() {
        let (mut settle, start) = at_rest();
        assert_eq!(settle.poll_timeout(), (start + ms(5000), Timer::Look));
        settle.handle_timeout(start + ms(5000));
        assert_eq!(settle.poll(), Some(Output::Look));
        settle.handle(start + ms(5001), Input::Unsure);
        assert_eq!(settle.poll_timeout(), (start + ms(5101), Timer::Settled));
        settle.handle_timeout(start + ms(5101));
        assert_eq!(settle.poll(), read(&[]));
        assert_eq!(settle.poll_timeout(), (start + ms(10_101), Timer::Look));
    }

    #[test]
    fn paths_are_remembered_within_bounds() {
        let (mut settle, start) = at_rest();
        for number in 0..2 * TOUCHED_LIMIT {
            settle.handle(start, touched(&number.to_string()));
        }
        assert_eq!(settle.touched.len(), TOUCHED_LIMIT);
    }
}
