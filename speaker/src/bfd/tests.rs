#![expect(
    clippy::disallowed_methods,
    reason = "an Instant has no other beginning"
)]

//! Two ends on one virtual clock, with a link between them that delays and loses.

use std::collections::VecDeque;
use std::num::{NonZeroU8, NonZeroU32};
use std::time::{Duration, Instant};

use super::packet::{Control, Discriminator};
use super::session::{Input, Output, Session};
use super::*;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const DELAY: Duration = Duration::from_millis(2);

fn fast() -> Parameters {
    Parameters {
        desired_min_tx: 50 * MS,
        required_min_rx: 50 * MS,
        ..Parameters::DEFAULT
    }
}

/// Everything that happens on a link with a session at either end.
struct Link {
    now: Instant,
    ends: [Session; 2],
    /// Packets under way, and to which end.
    under_way: VecDeque<(Instant, usize, Vec<u8>)>,
    /// Share of packets lost toward each end.
    loss: [f64; 2],
    rng: fastrand::Rng,
    /// State changes: when, at which end, to what, and whether that is a failure.
    changes: Vec<(Instant, usize, State, bool)>,
}

impl Link {
    fn new(seed: u64, parameters: [Parameters; 2]) -> Self {
        let now = Instant::now();
        let end = |number: u32, parameters| {
            let discriminator = Discriminator(NonZeroU32::new(number).unwrap());
            let rng = fastrand::Rng::with_seed(seed * 2 + u64::from(number));
            Session::new(parameters, discriminator, rng)
        };
        let [first, second] = parameters;
        let mut link = Self {
            now,
            ends: [end(1, first), end(2, second)],
            under_way: VecDeque::new(),
            loss: [0.0; 2],
            rng: fastrand::Rng::with_seed(seed),
            changes: Vec::new(),
        };
        for end in 0..2 {
            link.tell(end, Input::Start);
        }
        link
    }

    fn tell(&mut self, end: usize, input: Input) {
        self.ends[end].handle(self.now, input);
        self.carry(end);
    }

    fn carry(&mut self, end: usize) {
        while let Some(output) = self.ends[end].poll() {
            match output {
                Output::Send(packet) => {
                    let to = 1 - end;
                    if self.rng.f64() >= self.loss[to] {
                        let at = self.now + DELAY;
                        self.under_way.push_back((at, to, packet.emit()));
                    }
                }
                Output::StateChanged { to, is_failure, .. } => {
                    self.changes.push((self.now, end, to, is_failure));
                }
                Output::Echo(_) | Output::Ended => {}
            }
        }
    }

    /// From event to event until the time has passed.
    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let deadlines = self.ends.iter().filter_map(Session::poll_timeout);
            let deadlines = deadlines.map(|(at, _)| at);
            let arrival = self.under_way.front().map(|(at, ..)| *at);
            let next = deadlines.chain(arrival).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            while let Some((at, to, octets)) = self.under_way.pop_front() {
                if at > self.now {
                    self.under_way.push_front((at, to, octets));
                    break;
                }
                let packet = Control::parse(&octets).unwrap();
                self.tell(to, Input::Received(packet));
            }
            for end in 0..2 {
                self.ends[end].handle_timeout(self.now);
                self.carry(end);
            }
        }
    }

    fn is_up(&self) -> bool {
        self.ends.iter().all(|end| end.state() == State::Up)
    }

    fn up(seed: u64, parameters: [Parameters; 2]) -> Self {
        let mut link = Self::new(seed, parameters);
        link.run(3 * SECOND);
        assert!(link.is_up());
        link.changes.clear();
        link
    }
}

#[test]
fn two_ends_come_up_and_agree_on_the_intervals() {
    let slow = Parameters {
        required_min_rx: 400 * MS,
        ..Parameters::DEFAULT
    };
    let mut link = Link::new(1, [fast(), slow]);
    link.run(4 * DELAY);
    assert!(link.is_up(), "{:?}", link.changes);
    link.run(2 * SECOND);
    let [first, second] = &link.ends;
    assert_eq!(first.transmit_interval(), Some(400 * MS));
    assert_eq!(second.transmit_interval(), Some(300 * MS));
    assert_eq!(first.detection_time(), Some(900 * MS));
    assert_eq!(second.detection_time(), Some(1200 * MS));
}

#[test]
fn two_passive_ends_wait_for_each_other_and_one_is_enough_to_begin() {
    let passive = Parameters {
        is_passive: true,
        ..fast()
    };
    let mut link = Link::new(1, [passive, passive]);
    link.run(20 * SECOND);
    assert_eq!(link.ends[0].state(), State::Down);
    let mut link = Link::new(1, [passive, fast()]);
    link.run(4 * DELAY);
    assert!(link.is_up());
}

/// Three packets in a row are lost at 1 % about once in six hours of packets every 50 ms.
#[test]
fn one_per_cent_of_loss_ends_no_session() {
    for seed in 0..20 {
        let mut link = Link::up(seed, [fast(), fast()]);
        link.loss = [0.01; 2];
        link.run(60 * SECOND);
        assert_eq!(link.changes, [], "seed {seed}");
    }
}

#[test]
fn sessions_come_up_through_heavy_loss() {
    for seed in 0..50 {
        let mut link = Link::new(seed, [fast(), fast()]);
        link.loss = [0.3; 2];
        link.run(60 * SECOND);
        let is_up = |(_, _, state, _): &(Instant, usize, State, bool)| *state == State::Up;
        assert!(link.changes.iter().any(is_up), "seed {seed}");
    }
}

#[test]
fn a_cut_link_is_noticed_at_both_ends_within_the_detection_time_and_a_mended_one_soon() {
    for seed in 0..200 {
        let mut link = Link::up(seed, [fast(), fast()]);
        link.run(MS * (seed as u32 % 50));
        let cut = link.now;
        link.loss = [1.0; 2];
        link.run(SECOND);
        let failures: Vec<_> = link
            .changes
            .iter()
            .filter(|(.., is_failure)| *is_failure)
            .collect();
        assert_eq!(failures.len(), 2, "seed {seed}: {:?}", link.changes);
        for (at, ..) in failures {
            let took = *at - cut;
            // What was under way still arrives; what arrived last was sent up to an interval before.
            assert!(
                (100 * MS..=150 * MS + DELAY).contains(&took),
                "seed {seed}: {took:?}"
            );
        }
        let mended = link.now;
        link.loss = [0.0; 2];
        link.run(2 * SECOND);
        assert!(link.is_up(), "seed {seed}");
        let (at, ..) = link.changes.last().unwrap();
        assert!(
            *at - mended <= SECOND + 4 * DELAY,
            "seed {seed}: {:?}",
            *at - mended
        );
    }
}

#[test]
fn a_link_that_carries_one_way_only_is_down_at_both_ends() {
    for seed in 0..50 {
        let mut link = Link::up(seed, [fast(), fast()]);
        link.loss = [1.0, 0.0];
        link.run(10 * SECOND);
        assert!(!link.is_up());
        let deaf = link.changes.iter().find(|(_, end, ..)| *end == 0).unwrap();
        let told = link.changes.iter().find(|(_, end, ..)| *end == 1).unwrap();
        assert!(deaf.3 && told.3, "seed {seed}: {:?}", link.changes);
        assert_eq!(told.0 - deaf.0, DELAY);
        // And stays so: the end that hears says Init, which the other one never gets.
        assert_eq!(link.ends[1].state(), State::Init, "seed {seed}");
    }
}

/// A profile that is edited, again and again, while packets are lost.
#[test]
fn i8_edits_of_a_profile_end_no_session() {
    for seed in 0..50 {
        let mut link = Link::up(seed, [fast(), fast()]);
        link.loss = [0.01; 2];
        for _ in 0..20 {
            let end = link.rng.usize(..2);
            let parameters = Parameters {
                desired_min_tx: MS * link.rng.u32(20..2000),
                required_min_rx: MS * link.rng.u32(20..2000),
                detect_multiplier: NonZeroU8::new(link.rng.u8(3..6)).unwrap(),
                ..fast()
            };
            link.tell(end, Input::Parameters(parameters));
            let span = MS * link.rng.u32(1..6000);
            link.run(span);
        }
        assert_eq!(link.changes, [], "seed {seed}");
    }
}

#[test]
fn an_end_that_starts_again_is_noticed_and_comes_back() {
    let mut link = Link::up(1, [fast(), fast()]);
    let discriminator = Discriminator(NonZeroU32::new(3).unwrap());
    link.ends[1] = Session::new(fast(), discriminator, fastrand::Rng::with_seed(9));
    link.tell(1, Input::Start);
    link.run(2 * SECOND);
    assert!(link.is_up());
    let failures = link.changes.iter().filter(|(.., is_failure)| *is_failure);
    assert_eq!(failures.count(), 1, "{:?}", link.changes);
}

#[test]
fn an_end_that_is_taken_down_tells_the_other_which_is_no_failure() {
    let mut link = Link::up(1, [fast(), fast()]);
    link.tell(1, Input::Stop);
    link.run(10 * SECOND);
    assert_eq!(link.ends[0].state(), State::Down);
    assert!(
        link.changes.iter().all(|(.., is_failure)| !is_failure),
        "{:?}",
        link.changes
    );
    link.tell(1, Input::Start);
    link.run(2 * SECOND);
    assert!(link.is_up());
}

#[test]
fn one_session_for_two_who_want_it_is_as_fast_as_the_faster_of_them() {
    let slow = Parameters {
        is_passive: true,
        minimum_ttl: 200,
        ..Parameters::DEFAULT
    };
    let echoing = Parameters {
        detect_multiplier: NonZeroU8::new(2).unwrap(),
        echo: Some(100 * MS),
        ..fast()
    };
    let joined = Parameters {
        minimum_ttl: 254,
        ..echoing
    };
    assert_eq!(slow.joined(echoing), joined);
    assert_eq!(echoing.joined(slow), joined);
    assert_eq!(slow.joined(slow), slow);
}
