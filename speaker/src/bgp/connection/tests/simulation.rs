//! Two machines on a virtual clock, and a network between them that delays and fails.
//!
//! TCP loses no message; what a lossy network does to it is delay, and at worst silence until it
//! gives up. So a link has a delay that varies, a share of connection attempts that fail, and cuts.

use std::collections::BTreeMap;

use ferrolb_crds::model::PeerAsn;

use super::super::super::tests::asn;
use super::*;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Link {
    Up,
    /// What is sent gets lost, and neither side is told.
    Cut,
}

struct World {
    now: Instant,
    ends: [Connection; 2],
    rng: fastrand::Rng,
    link: Link,
    delay: Duration,
    /// Of 100 connection attempts.
    failing: u8,
    is_connected: bool,
    /// In the order they arrive; a stream keeps its order.
    flying: BTreeMap<(Instant, u64), (usize, Input)>,
    latest: [Instant; 2],
    sequence: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let now = Instant::now();
        let there = Settings {
            local_asn: asn(64500),
            peer_asn: PeerAsn::Exact(asn(64601)),
            hold_time: HoldTime::new(9).unwrap(),
            ..settings()
        };
        let rng = |n| fastrand::Rng::with_seed(seed * 3 + n);
        Self {
            now,
            ends: [
                Connection::new(settings(), rng(0)),
                Connection::new(there, rng(1)),
            ],
            rng: rng(2),
            link: Link::Up,
            delay: Duration::from_millis(20),
            failing: 0,
            is_connected: false,
            flying: BTreeMap::new(),
            latest: [now; 2],
            sequence: 0,
        }
    }

    fn start(&mut self) {
        for end in 0..2 {
            self.tell(end, Input::ManualStart);
        }
    }

    fn tell(&mut self, end: usize, input: Input) {
        self.ends[end].handle(self.now, input);
        while let Some(output) = self.ends[end].poll() {
            self.perform(end, output);
        }
    }

    fn perform(&mut self, end: usize, output: Output) {
        match output {
            Output::Send(message) => {
                let input = match message {
                    Message::Open(open) => Input::Open(open),
                    Message::Notification(notification) => Input::Notification(notification),
                    Message::Keepalive => Input::Keepalive,
                };
                self.fly(1 - end, input);
            }
            Output::Close => {
                if self.is_connected {
                    self.fly(1 - end, Input::TcpFailed("closed".to_owned()));
                }
                self.is_connected = false;
                // Nobody reads any more what was on its way here.
                self.flying.retain(|_, (to, _)| *to != end);
            }
            Output::Connect => self.connect(end),
            Output::Refresh(_) | Output::StateChanged { .. } => {}
        }
    }

    /// Either both ends learn of a new connection, or the one that dialled of a failure, or,
    /// behind a cut, nobody of anything.
    fn connect(&mut self, end: usize) {
        let can_answer = |state| matches!(state, SessionState::Connect | SessionState::Active);
        if self.link == Link::Cut {
            return;
        }
        let is_refused = self.rng.u8(..100) < self.failing;
        if is_refused || self.is_connected || !can_answer(self.ends[1 - end].state()) {
            return self.fly(end, Input::TcpFailed("refused".to_owned()));
        }
        self.is_connected = true;
        self.flying.clear();
        for end in [end, 1 - end] {
            let mut endpoint = endpoint();
            if end == 1 {
                endpoint.local = "10.0.0.1".parse().unwrap();
            }
            self.fly(end, Input::TcpConfirmed(endpoint));
        }
    }

    fn fly(&mut self, to: usize, input: Input) {
        if self.link == Link::Cut {
            return;
        }
        let delay = self.delay.mul_f64(self.rng.f64());
        let at = (self.now + delay).max(self.latest[to]);
        self.latest[to] = at;
        self.sequence += 1;
        self.flying.insert((at, self.sequence), (to, input));
    }

    /// Runs until `until`, or until the condition holds.
    fn run(&mut self, until: Instant, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            let arrival = self.flying.keys().next().map(|(at, _)| *at);
            let deadlines = self
                .ends
                .iter()
                .filter_map(|end| Some(end.poll_timeout()?.0));
            let Some(next) = deadlines.chain(arrival).min().filter(|at| *at <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(next);
            match self.flying.first_entry() {
                Some(first) if first.key().0 <= self.now => {
                    let (to, input) = first.remove();
                    self.tell(to, input);
                }
                Some(_) | None => self.expire(),
            }
        }
    }

    fn expire(&mut self) {
        for end in 0..2 {
            self.ends[end].handle_timeout(self.now);
            while let Some(output) = self.ends[end].poll() {
                self.perform(end, output);
            }
        }
    }

    fn is_up(&self) -> bool {
        let is_up = |end: &Connection| end.state() == SessionState::Established;
        self.ends.iter().all(is_up)
    }

    fn is_down(&self) -> bool {
        self.ends.iter().all(|end| end.negotiated().is_none())
    }
}

fn for_every_seed(check: impl Fn(World)) {
    for seed in 0..100 {
        let mut world = World::new(seed);
        world.start();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(world)));
        assert!(outcome.is_ok(), "seed {seed}");
    }
}

#[test]
fn a_session_comes_up_and_stays_up_for_an_hour() {
    for_every_seed(|mut world| {
        let start = world.now;
        world.run(start + 30 * SECOND, World::is_up);
        assert!(world.is_up());
        world.run(start + 3600 * SECOND, |world| !world.is_up());
        assert!(world.is_up());
    });
}

#[test]
fn a_session_comes_up_though_half_the_attempts_fail_and_the_delay_is_long() {
    for_every_seed(|mut world| {
        world.failing = 50;
        world.delay = 2 * SECOND;
        let start = world.now;
        world.run(start + 600 * SECOND, World::is_up);
        assert!(world.is_up());
        // 2 s of delay on keepalives every 3 s never add up to 9 s of silence.
        world.run(world.now + 1800 * SECOND, |world| !world.is_up());
        assert!(world.is_up());
    });
}

#[test]
fn a_cut_is_noticed_by_both_sides_within_the_hold_time_and_mended_after() {
    for_every_seed(|mut world| {
        world.run(world.now + 30 * SECOND, World::is_up);
        world.run(world.now + 60 * SECOND, |_| false);
        world.link = Link::Cut;
        let cut = world.now;
        world.run(cut + 10 * SECOND, World::is_down);
        assert!(world.is_down());
        // What was on its way when it was cut still arrives.
        let noticed = world.now - cut;
        assert!(noticed <= 9 * SECOND + world.delay, "{noticed:?}");
        for end in &world.ends {
            let failure = end.last_failure().unwrap().to_string();
            assert_eq!(failure, "hold timer expired");
        }
        // Neither could tell the other: both start over.
        world.is_connected = false;
        world.run(cut + 60 * SECOND, |_| false);
        world.link = Link::Up;
        world.run(world.now + 60 * SECOND, World::is_up);
        assert!(world.is_up());
    });
}

#[test]
fn a_session_that_is_stopped_ends_at_once_on_both_sides() {
    for_every_seed(|mut world| {
        world.run(world.now + 30 * SECOND, World::is_up);
        world.tell(0, Input::ManualStop(Farewell::Deconfigured));
        let stopped = world.now;
        world.run(stopped + SECOND, World::is_down);
        assert!(world.is_down());
        let failure = world.ends[1].last_failure().unwrap().to_string();
        assert_eq!(failure, "peer sent NOTIFICATION Cease/Peer De-configured");
        world.run(stopped + 600 * SECOND, World::is_up);
        assert!(!world.is_up(), "stopped is stopped");
    });
}
