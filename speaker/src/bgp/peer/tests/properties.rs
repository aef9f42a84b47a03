//! Whatever happens in whatever order, the driver is never asked for what cannot be.

use proptest::prelude::*;

use super::*;
use crate::mutator::sequences;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Lane {
    Down,
    Dialing,
    Up,
}

/// What a driver knows of its connections.
#[derive(Debug)]
struct Lanes {
    main: Lane,
    contender: Lane,
    /// Somebody has dialled, and nothing is decided.
    is_waiting: bool,
    state: SessionState,
}

impl Lanes {
    fn new() -> Self {
        Self {
            main: Lane::Down,
            contender: Lane::Down,
            is_waiting: false,
            state: SessionState::Idle,
        }
    }

    fn of(&mut self, slot: Slot) -> &mut Lane {
        match slot {
            Slot::Main => &mut self.main,
            Slot::Contender => &mut self.contender,
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Connect => {
                assert_ne!(self.main, Lane::Up, "dials beside a connection");
                self.main = Lane::Dialing;
            }
            Output::Accept => {
                assert!(mem::take(&mut self.is_waiting));
                assert_eq!(self.contender, Lane::Down, "two contenders");
                self.contender = Lane::Up;
            }
            Output::Refuse(_) => assert!(mem::take(&mut self.is_waiting)),
            Output::Promote => {
                assert_eq!((self.main, self.contender), (Lane::Down, Lane::Up));
                (self.main, self.contender) = (Lane::Up, Lane::Down);
            }
            Output::Send(slot, _) => assert_eq!(*self.of(slot), Lane::Up, "sends into nothing"),
            Output::Close(slot) => *self.of(slot) = Lane::Down,
            Output::StateChanged { from, to, .. } => {
                assert_eq!(self.state, from);
                assert_ne!(from, to);
                self.state = to;
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Op {
    Start,
    Stop,
    Dialed(bool),
    Accepted,
    Lost(Slot),
    Said(Slot, usize),
    Wait,
    Update,
}

fn slot() -> impl Strategy<Value = Slot> {
    prop_oneof![Just(Slot::Main), Just(Slot::Contender)]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => Just(Op::Start),
        1 => Just(Op::Stop),
        4 => prop::bool::weighted(0.8).prop_map(Op::Dialed),
        4 => Just(Op::Accepted),
        2 => slot().prop_map(Op::Lost),
        12 => (slot(), 0..9_usize).prop_map(|(slot, what)| Op::Said(slot, what)),
        3 => Just(Op::Wait),
        1 => Just(Op::Update),
    ]
}

/// Good and bad, from a peer with a lower identifier or a higher one, that restarts gracefully or not.
fn messages() -> Vec<Vec<u8>> {
    let open = |id: &str| {
        codec::encode(&Message::Open(Open {
            autonomous_system: 64500,
            hold_time: 9,
            router_id: id.parse().unwrap(),
            capabilities: vec![],
        }))
    };
    let restarting = hex("04 fbf4 0009 0a000001 0a 02 08 40 06 0078 0001 01 80");
    vec![
        open("10.0.0.1"),
        open("10.0.0.99"),
        message(1, &restarting),
        keepalive(),
        keepalive(),
        message(2, &hex("0000 0000")),
        message(3, &hex("0607")),
        message(5, &hex("0001 00 01")),
        vec![0; 19],
    ]
}

fn drive(peer: &mut Peer, lanes: &mut Lanes, now: Instant) {
    for _ in 0..100 {
        while let Some(output) = peer.poll() {
            lanes.perform(output);
        }
        if peer.poll_update(now).is_none() {
            break;
        }
    }
    assert_eq!(lanes.state, peer.state());
    assert_eq!(peer.contender.is_some(), lanes.contender == Lane::Up);
    let is_connected = peer.main.connection.local_address().is_some();
    assert_eq!(is_connected, lanes.main == Lane::Up);
    if let Some(contender) = &peer.contender {
        let states = (contender.connection.state(), peer.main.connection.state());
        assert!(
            states.0 == SessionState::OpenSent
                || states == (SessionState::OpenConfirm, SessionState::OpenSent),
            "{states:?}"
        );
    }
    assert!(peer.is_started() || peer.state() == SessionState::Idle);
}

impl Op {
    /// One of those that [`op`] may give.
    fn any(rng: &mut fastrand::Rng) -> Self {
        let slot = match rng.bool() {
            true => Slot::Main,
            false => Slot::Contender,
        };
        match rng.u8(..29) {
            0 | 1 => Self::Start,
            2 => Self::Stop,
            3..7 => Self::Dialed(rng.u8(..5) > 0),
            7..11 => Self::Accepted,
            11 | 12 => Self::Lost(slot),
            13..25 => Self::Said(slot, rng.usize(..9)),
            25..28 => Self::Wait,
            _ => Self::Update,
        }
    }
}

/// A peer that is told what happens, and a driver that does what it asks for.
struct Play {
    now: Instant,
    peer: Peer,
    lanes: Lanes,
}

impl Play {
    fn new(now: Instant, restarts: bool, passive: bool) -> Self {
        let settings = Settings {
            passive,
            graceful_restart: restarts.then(Default::default),
            ..settings()
        };
        let desired = routes(&["192.0.2.10/32"]);
        Self {
            now,
            peer: Peer::new(settings, desired, fastrand::Rng::with_seed(3)),
            lanes: Lanes::new(),
        }
    }

    fn perform(&mut self, op: &Op, messages: &[Vec<u8>]) {
        let (peer, lanes) = (&mut self.peer, &mut self.lanes);
        match *op {
            Op::Start => peer.handle(self.now, Input::Start),
            Op::Stop => peer.handle(self.now, Input::Stop(Farewell::Restart)),
            Op::Dialed(is_up) if lanes.main == Lane::Dialing => match is_up {
                true => {
                    lanes.main = Lane::Up;
                    peer.handle(self.now, Input::Connected(endpoint()));
                }
                false => {
                    lanes.main = Lane::Down;
                    peer.handle(self.now, Input::Failed(Slot::Main, "refused".to_owned()));
                }
            },
            Op::Accepted => {
                lanes.is_waiting = true;
                peer.handle(self.now, Input::Accepted(endpoint()));
            }
            Op::Lost(slot) if *lanes.of(slot) == Lane::Up => {
                *lanes.of(slot) = Lane::Down;
                peer.handle(self.now, Input::Failed(slot, "reset".to_owned()));
            }
            Op::Said(slot, what) if *lanes.of(slot) == Lane::Up => {
                peer.handle(self.now, Input::Received(slot, &messages[what]));
            }
            Op::Wait => {
                if let Some((at, _)) = peer.poll_timeout() {
                    self.now = at;
                    peer.handle_timeout(at);
                }
            }
            Op::Update => peer.handle(
                self.now,
                Input::Changed(instead("192.0.2.10/32", "192.0.2.11/32")),
            ),
            Op::Dialed(_) | Op::Lost(_) | Op::Said(..) => {}
        }
        drive(&mut self.peer, &mut self.lanes, self.now);
        assert!(!self.lanes.is_waiting, "somebody is left waiting");
    }
}

proptest! {
    #[test]
    fn the_driver_can_always_do_what_it_is_asked_for(
        restarts in any::<bool>(),
        passive in any::<bool>(),
        ops in proptest::collection::vec(op(), 0..60),
    ) {
        let mut play = Play::new(Instant::now(), restarts, passive);
        let messages = messages();
        for op in &ops {
            play.perform(op, &messages);
        }
    }
}

/// The same many more times, where nothing is made smaller when it fails.
#[test]
fn i7_no_sequence_asks_for_what_cannot_be() {
    let (now, messages) = (Instant::now(), messages());
    sequences(|mut rng| {
        let mut play = Play::new(now, rng.bool(), rng.bool());
        for _ in 0..rng.u8(..60) {
            play.perform(&Op::any(&mut rng), &messages);
        }
    });
}
