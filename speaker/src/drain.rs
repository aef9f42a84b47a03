//! Leaving without losing a packet: the order in which a node gives its traffic away (RFC 8326 §4).
//!
//! ```text
//!            marked, told                 time                    WITHDRAWING
//!   serving ─────────────▶ draining ─────────────▶ withdrawn ─────────────▶ drained
//!      ▲                      │                        │                       │
//!      └──────────────────────┴── no mark, no demand ──┴───────────────────────┘
//! ```
//!
//! It decides when; what each step means is the plan's.

use std::fmt;
use std::time::{Duration, Instant};

use ferrolb_crds::model::DrainMark;

use crate::world::Draining;

/// Why a node is drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Somebody said so to this speaker.
    Demand,
    /// The Node says so.
    Mark(DrainMark),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Demand => f.write_str("`ferrolb-speaker drain` was called"),
            Self::Mark(mark) => mark.fmt(f),
        }
    }
}

/// How far this node is with leaving, and what comes next.
#[derive(Debug)]
pub struct Drain {
    time: Duration,
    mark: Option<DrainMark>,
    /// Somebody demands it, and how long the routes stay.
    demand: Option<Duration>,
    stage: Draining,
    /// When the next step is due.
    next: Option<Instant>,
}

impl Drain {
    /// A node that serves; its routes stay the last resort for so long unless a demand says otherwise.
    pub fn new(time: Duration) -> Self {
        Self {
            time,
            mark: None,
            demand: None,
            stage: Draining::No,
            next: None,
        }
    }

    /// What the Node says before anything was announced: there is nothing to withdraw.
    pub fn begin(&mut self, mark: Option<DrainMark>) {
        self.mark = mark;
        self.next = None;
        self.stage = match self.cause() {
            Some(_) => Draining::Ended,
            None => Draining::No,
        };
    }

    /// The Node says that, or says nothing of the kind.
    pub fn note_mark(&mut self, now: Instant, mark: Option<DrainMark>) {
        self.mark = mark;
        self.settle(now);
    }

    /// Somebody demands it, with the time that the routes stay if they say so, or takes that back.
    pub fn demand(&mut self, now: Instant, is_to_drain: bool, time: Option<Duration>) {
        self.demand = is_to_drain.then(|| time.unwrap_or(self.time));
        self.settle(now);
    }

    fn settle(&mut self, now: Instant) {
        match (self.cause().is_some(), self.stage) {
            (true, Draining::No) => {
                self.stage = Draining::Announced;
                self.next = Some(now + self.demand.unwrap_or(self.time));
                // No time is none: nobody is told what is over at once.
                self.handle_timeout(now);
            }
            (false, _) => {
                self.stage = Draining::No;
                self.next = None;
            }
            (true, Draining::Announced | Draining::Withdrawn | Draining::Ended) => {}
        }
    }

    /// How far it is.
    pub fn stage(&self) -> Draining {
        self.stage
    }

    /// Why, if at all; what the Node says comes first, since that stays.
    pub fn cause(&self) -> Option<Cause> {
        let demand = self.demand.map(|_| Cause::Demand);
        self.mark.map(Cause::Mark).or(demand)
    }

    /// Whether there are steps to come.
    pub fn is_on_its_way(&self) -> bool {
        self.next.is_some()
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// The time has come; true: it is a step further.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        if self.next.is_none_or(|at| now < at) {
            return false;
        }
        (self.stage, self.next) = match self.stage {
            Draining::Announced => (Draining::Withdrawn, Some(now + WITHDRAWING)),
            Draining::No | Draining::Withdrawn | Draining::Ended => (Draining::Ended, None),
        };
        true
    }
}

/// For so long after its routes have been withdrawn a session is still there, so that every peer has
/// read it: where graceful restart was negotiated the end of a session alone would keep them.
const WITHDRAWING: Duration = Duration::from_secs(1);

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "where virtual time begins")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIME: Duration = Duration::from_secs(10);

    /// Every step until nothing is to come, with the time it was taken at.
    fn steps(drain: &mut Drain, start: Instant) -> Vec<(Duration, Draining)> {
        let mut steps = vec![(Duration::ZERO, drain.stage())];
        while let Some(at) = drain.poll_timeout() {
            assert!(!drain.handle_timeout(at - Duration::from_millis(1)));
            assert!(drain.handle_timeout(at));
            steps.push((at - start, drain.stage()));
        }
        steps
    }

    #[test]
    fn i9_the_routes_are_the_last_resort_then_gone_then_the_sessions_end() {
        let now = Instant::now();
        let expected = |time: Duration| {
            [
                (Duration::ZERO, Draining::Announced),
                (time, Draining::Withdrawn),
                (time + WITHDRAWING, Draining::Ended),
            ]
        };
        let mut drain = Drain::new(TIME);
        assert_eq!((drain.stage(), drain.cause()), (Draining::No, None));
        drain.note_mark(now, Some(DrainMark::Taint));
        assert_eq!(steps(&mut drain, now), expected(TIME));
        assert_eq!(drain.cause(), Some(Cause::Mark(DrainMark::Taint)));
        let mut drain = Drain::new(TIME);
        drain.demand(now, true, Some(TIME / 2));
        assert_eq!(steps(&mut drain, now), expected(TIME / 2));
        assert_eq!(drain.cause(), Some(Cause::Demand));
    }

    #[test]
    fn without_time_the_routes_are_withdrawn_at_once() {
        let now = Instant::now();
        let mut drain = Drain::new(Duration::ZERO);
        drain.note_mark(now, Some(DrainMark::Label));
        assert_eq!(drain.stage(), Draining::Withdrawn);
    }

    #[test]
    fn who_is_marked_before_it_has_announced_anything_has_nothing_to_withdraw() {
        let mut drain = Drain::new(TIME);
        drain.begin(Some(DrainMark::Taint));
        assert_eq!(
            (drain.stage(), drain.poll_timeout()),
            (Draining::Ended, None)
        );
        drain.begin(None);
        assert_eq!(drain.stage(), Draining::No);
    }

    #[test]
    fn who_is_told_twice_does_not_begin_anew_and_who_is_told_otherwise_serves_again() {
        let now = Instant::now();
        let mut drain = Drain::new(TIME);
        drain.demand(now, true, None);
        let due = drain.poll_timeout();
        drain.note_mark(now + TIME / 2, Some(DrainMark::Annotation));
        drain.demand(now + TIME / 2, true, None);
        assert_eq!(drain.poll_timeout(), due);
        // As long as the Node says so the demand alone cannot be taken back.
        drain.demand(now + TIME / 2, false, None);
        assert_eq!(drain.stage(), Draining::Announced);
        drain.note_mark(now + TIME / 2, None);
        assert_eq!((drain.stage(), drain.poll_timeout()), (Draining::No, None));
    }

    proptest! {
        /// It serves exactly as long as nothing says otherwise, never goes back on the way, and is
        /// always either there or has a next step.
        #[test]
        fn whatever_is_said_in_whatever_order(said in prop::collection::vec((0..5_u8, 0..3_000_u64), 1..40)) {
            let mut now = Instant::now();
            let mut drain = Drain::new(TIME);
            for (what, passed) in said {
                now += Duration::from_millis(passed);
                let before = drain.stage();
                match what {
                    0 => drain.note_mark(now, Some(DrainMark::Label)),
                    1 => drain.note_mark(now, None),
                    2 => drain.demand(now, true, None),
                    3 => drain.demand(now, false, None),
                    _ => drop(drain.handle_timeout(now)),
                }
                prop_assert_eq!(drain.stage().is_begun(), drain.cause().is_some());
                prop_assert!(!drain.stage().is_begun() || drain.stage() >= before);
                let has_more = matches!(drain.stage(), Draining::Announced | Draining::Withdrawn);
                prop_assert_eq!(drain.is_on_its_way(), has_more);
            }
        }
    }
}
