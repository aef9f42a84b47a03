#![expect(
    clippy::disallowed_methods,
    reason = "an Instant has no other beginning"
)]

use proptest::prelude::*;

use super::*;

const A: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xa);
const B: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xb);

/// A link with a clock of its own, in milliseconds.
struct Bench {
    link: Link,
    start: Instant,
    now: u64,
    /// What was sent, and when.
    sent: Vec<(u64, Packet)>,
}

impl Bench {
    fn new(seed: u64) -> Self {
        Self {
            link: Link::new(fastrand::Rng::with_seed(seed)),
            start: Instant::now(),
            now: 0,
            sent: Vec::new(),
        }
    }

    fn up(seed: u64) -> Self {
        let mut bench = Self::new(seed);
        bench.handle(Input::Up);
        bench
    }

    fn at(&self, now: u64) -> Instant {
        self.start + Duration::from_millis(now)
    }

    fn handle(&mut self, input: Input) {
        self.link.handle(self.at(self.now), input);
        self.settle();
    }

    fn hear(&mut self, from: Ipv6Addr, seconds: u64) {
        let lifetime = Duration::from_secs(seconds);
        self.handle(Input::Advertisement { from, lifetime });
    }

    fn settle(&mut self) {
        self.link.handle_timeout(self.at(self.now));
        while let Some(packet) = self.link.poll() {
            self.sent.push((self.now, packet));
        }
    }

    /// Lets time pass, deadline by deadline.
    fn wait(&mut self, milliseconds: u64) {
        let end = self.now + milliseconds;
        while let Some(due) = self.link.poll_timeout().filter(|due| *due <= self.at(end)) {
            let due = due.duration_since(self.start);
            let due = u64::try_from(due.as_nanos().div_ceil(1_000_000)).unwrap();
            if due > end {
                break;
            }
            self.now = due;
            self.settle();
        }
        self.now = end;
    }

    fn times(&self, of: Packet) -> Vec<u64> {
        let sent = self.sent.iter().filter(|(_, packet)| *packet == of);
        sent.map(|(at, _)| *at).collect()
    }
}

#[test]
fn it_advertises_at_once_and_then_between_a_third_of_ten_seconds_and_ten() {
    let mut bench = Bench::up(7);
    bench.wait(1_000_000);
    let times = bench.times(Packet::Advertisement);
    assert_eq!(times[0], 0);
    let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        gaps.iter().all(|gap| (3300..=10_001).contains(gap)),
        "{gaps:?}"
    );
    assert!(
        gaps.iter().max().unwrap() - gaps.iter().min().unwrap() > 5000,
        "{gaps:?}"
    );
    assert!(times.len() > 100, "{}", times.len());
}

#[test]
fn who_solicits_is_answered_within_half_a_second_but_not_more_often_than_every_three() {
    for seed in 0..50 {
        let mut bench = Bench::up(seed);
        bench.wait(3200);
        bench.handle(Input::Solicitation);
        bench.wait(501);
        let times = bench.times(Packet::Advertisement);
        let answered = *times.last().unwrap();
        assert!((3200..=3701).contains(&answered), "{times:?}");
        bench.handle(Input::Solicitation);
        bench.handle(Input::Solicitation);
        bench.wait(3501);
        let times = bench.times(Packet::Advertisement);
        assert_eq!(times.len(), 3, "{times:?}");
        assert!(times[2] - times[1] >= 3000, "{times:?}");
    }
}

#[test]
fn three_solicitations_go_out_while_no_router_is_heard_and_none_after() {
    let mut bench = Bench::up(1);
    bench.wait(60_000);
    assert_eq!(bench.times(Packet::Solicitation), [0, 4000, 8000]);
    let mut bench = Bench::up(1);
    bench.wait(100);
    bench.hear(A, 0);
    bench.wait(60_000);
    assert_eq!(bench.times(Packet::Solicitation), [0]);
    assert_eq!(bench.link.router(), Some(A));
}

#[test]
fn a_router_is_known_for_as_long_as_it_says_or_as_long_as_one_may_be_silent() {
    for (lifetime, silence) in [(30, 30_000), (0, 1_800_000)] {
        let mut bench = Bench::up(1);
        bench.hear(A, lifetime);
        bench.wait(silence - 1);
        assert_eq!(bench.link.router(), Some(A));
        bench.hear(A, lifetime);
        bench.wait(silence - 1);
        assert_eq!(bench.link.router(), Some(A));
        let before = bench.times(Packet::Solicitation).len();
        bench.wait(10);
        assert_eq!(bench.link.router(), None);
        assert_eq!(bench.times(Packet::Solicitation).len(), before + 1);
        bench.hear(B, lifetime);
        assert_eq!(bench.link.router(), Some(B));
    }
}

#[test]
fn a_router_with_a_session_is_not_forgotten_for_its_silence() {
    let mut bench = Bench::up(1);
    bench.handle(Input::InUse(true));
    bench.hear(A, 30);
    bench.wait(600_000);
    assert_eq!(bench.link.router(), Some(A));
    assert_eq!(bench.times(Packet::Solicitation), [0]);
    bench.handle(Input::InUse(false));
    bench.wait(30_000);
    assert_eq!(bench.link.router(), None);
    bench.handle(Input::InUse(true));
    bench.hear(A, 30);
    bench.handle(Input::Down);
    assert_eq!(bench.link.router(), None);
}

#[test]
fn a_link_that_is_down_has_no_router_says_nothing_and_hears_nothing() {
    let mut bench = Bench::new(1);
    bench.hear(A, 0);
    bench.handle(Input::Solicitation);
    bench.handle(Input::Unsent);
    assert_eq!(bench.link.router(), None);
    assert_eq!(bench.link.poll_timeout(), None);
    bench.handle(Input::Up);
    bench.hear(A, 0);
    bench.hear(B, 0);
    let sent = bench.sent.len();
    bench.handle(Input::Down);
    bench.hear(A, 0);
    bench.wait(60_000);
    assert_eq!(bench.link.router(), None);
    assert!(!bench.link.is_contested());
    assert_eq!(bench.sent.len(), sent);
}

#[test]
fn a_link_that_comes_and_goes_is_not_advertised_on_more_often_than_every_three_seconds() {
    let mut bench = Bench::up(1);
    for _ in 0..50 {
        bench.handle(Input::Down);
        bench.handle(Input::Up);
        bench.wait(100);
    }
    let times = bench.times(Packet::Advertisement);
    assert_eq!(times, [0, 3000]);
}

#[test]
fn what_did_not_leave_is_sent_again_at_once() {
    let mut bench = Bench::up(1);
    bench.wait(1000);
    bench.handle(Input::Unsent);
    assert_eq!(bench.times(Packet::Advertisement), [0, 1000]);
    assert_eq!(bench.times(Packet::Solicitation), [0, 1000]);
}

#[test]
fn a_link_that_comes_and_goes_is_not_solicited_on_more_often_than_every_four_seconds() {
    let mut bench = Bench::up(1);
    for _ in 0..50 {
        bench.handle(Input::Down);
        bench.handle(Input::Up);
        bench.wait(100);
    }
    assert_eq!(bench.times(Packet::Solicitation), [0, 4000]);
}

#[test]
fn a_router_with_a_session_keeps_its_place_whoever_speaks() {
    let mut bench = Bench::up(1);
    bench.hear(A, 30);
    bench.handle(Input::InUse(true));
    for n in 0..1000 {
        bench.wait(1000);
        bench.hear(rotating(n), 0);
        assert_eq!(bench.link.router(), Some(A));
    }
    assert!(bench.link.is_contested());
    assert_eq!(bench.times(Packet::Solicitation), [0]);
}

#[test]
fn the_rival_of_a_router_whose_session_has_ended_is_asked_and_takes_the_place() {
    let mut bench = Bench::up(1);
    bench.hear(A, 30);
    bench.handle(Input::InUse(true));
    bench.wait(60_000);
    bench.hear(B, 30);
    bench.wait(9000);
    bench.handle(Input::InUse(false));
    bench.wait(4000);
    bench.hear(A, 30);
    bench.hear(B, 30);
    assert_eq!(bench.link.router(), Some(A));
    bench.wait(4000);
    assert_eq!(bench.times(Packet::Solicitation), [0, 77_000]);
    assert_eq!(bench.link.router(), Some(A), "nobody has answered");
    bench.hear(B, 40);
    assert_eq!(bench.link.router(), Some(B));
    // For as long as it has said itself.
    bench.wait(39_999);
    assert_eq!(bench.link.router(), Some(B));
    bench.wait(1);
    assert_eq!(bench.link.router(), None);
}

#[test]
fn a_session_that_is_back_in_time_ends_the_search_for_another_router() {
    let mut bench = Bench::up(1);
    bench.hear(A, 0);
    bench.handle(Input::InUse(true));
    bench.hear(B, 0);
    bench.wait(60_000);
    bench.handle(Input::InUse(false));
    bench.wait(5000);
    bench.handle(Input::InUse(true));
    bench.wait(60_000);
    bench.hear(B, 0);
    assert_eq!(bench.times(Packet::Solicitation), [0]);
    assert_eq!(bench.link.router(), Some(A));
}

#[test]
fn routers_without_a_session_take_turns_until_there_is_one() {
    let mut bench = Bench::up(1);
    bench.hear(A, 0);
    bench.wait(7999);
    bench.hear(B, 0);
    assert_eq!(bench.link.router(), Some(A));
    bench.wait(1);
    bench.hear(B, 0);
    assert_eq!(bench.link.router(), Some(B));
    bench.wait(7999);
    bench.hear(A, 0);
    assert_eq!(bench.link.router(), Some(B));
    bench.wait(1);
    bench.hear(A, 0);
    assert_eq!(bench.link.router(), Some(A));
    bench.handle(Input::InUse(true));
    bench.wait(100_000);
    bench.hear(B, 0);
    assert_eq!(bench.link.router(), Some(A));
}

#[test]
fn rivals_are_asked_once_in_eight_seconds_however_many_there_are() {
    let mut bench = Bench::up(1);
    for n in 0..600 {
        // Each router that gets the place has a session, and loses it.
        bench.handle(Input::InUse(n % 20 < 10));
        bench.hear(rotating(n), 0);
        bench.wait(1000);
    }
    let times = bench.times(Packet::Solicitation);
    assert!(times.len() > 2, "{times:?}");
    assert!(
        times.windows(2).all(|pair| pair[1] - pair[0] >= 8000),
        "{times:?}"
    );
}

#[test]
fn a_link_is_contested_until_no_rival_was_heard_for_half_an_hour() {
    let mut bench = Bench::up(1);
    for n in 0..100 {
        bench.hear(rotating(n), 1);
        bench.hear(rotating(n + 1), 1);
        assert!(bench.link.is_contested());
        bench.wait(60_000);
        // Whoever was the router is not any more: that does not make it news.
        assert_eq!(bench.link.router(), None);
        assert!(bench.link.is_contested());
    }
    bench.wait(1_739_999);
    assert!(bench.link.is_contested());
    bench.wait(1);
    assert!(!bench.link.is_contested());
}

/// Somebody who has another address each time.
fn rotating(n: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, n)
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Handle(Input),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let from = prop_oneof![Just(A), Just(B), any::<u16>().prop_map(rotating)];
    let lifetime = prop_oneof![Just(0), 1u64..65_536].prop_map(Duration::from_secs);
    let heard =
        (from, lifetime).prop_map(|(from, lifetime)| Input::Advertisement { from, lifetime });
    prop_oneof![
        1 => Just(Op::Handle(Input::Up)),
        1 => Just(Op::Handle(Input::Down)),
        1 => any::<bool>().prop_map(|is_in_use| Op::Handle(Input::InUse(is_in_use))),
        3 => Just(Op::Handle(Input::Solicitation)),
        5 => heard.prop_map(Op::Handle),
        5 => (0u64..20_000).prop_map(Op::Wait),
    ]
}

proptest! {
    /// What is sent keeps its distance, a router with a session keeps its place, time goes on, and of a link
    /// that is down nothing is known.
    #[test]
    fn whatever_happens_the_link_stays_quiet_and_honest(
        seed: u64,
        ops in prop::collection::vec(op(), 0..200),
    ) {
        let mut bench = Bench::new(seed);
        let (mut is_up, mut is_in_use) = (false, false);
        for op in ops {
            let router = bench.link.router();
            match op {
                Op::Handle(input) => bench.handle(input),
                Op::Wait(milliseconds) => bench.wait(milliseconds),
            }
            match op {
                Op::Handle(Input::Up) => is_up = true,
                Op::Handle(Input::Down) => is_up = false,
                Op::Handle(Input::InUse(value)) => is_in_use = value,
                Op::Handle(_) | Op::Wait(_) => {}
            }
            let due = bench.link.poll_timeout();
            prop_assert!(due.is_none_or(|due| due > bench.at(bench.now)));
            prop_assert_eq!(due.is_some(), is_up);
            prop_assert!(is_up || bench.link.router().is_none());
            prop_assert!(is_up || !bench.link.is_contested());
            let keeps = is_up && is_in_use && router.is_some();
            prop_assert!(!keeps || bench.link.router() == router);
        }
        let times = bench.times(Packet::Advertisement);
        prop_assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 2999), "{:?}", times);
        let times = bench.times(Packet::Solicitation);
        prop_assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 4000), "{:?}", times);
    }
}
