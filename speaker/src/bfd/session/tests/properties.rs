//! Whatever happens in whatever order, what must always hold holds.

use proptest::prelude::*;

use super::*;
use crate::mutator::sequences;

#[derive(Debug, Clone)]
enum Op {
    Receive(Control),
    AdvanceClock(u64),
    /// To the next deadline, if it is near.
    NextDeadline,
    Edit(Parameters),
    EchoMeans(bool),
    ReturnEcho(u32),
    Stop,
    Start,
}

fn interval() -> impl Strategy<Value = Duration> {
    (10..2000_u32).prop_map(|ms| ms * MS)
}

fn edited() -> impl Strategy<Value = Parameters> {
    let multiplier = (1..6_u8).prop_map(|value| NonZeroU8::new(value).unwrap());
    let echo = proptest::option::of(interval());
    let parts = (interval(), interval(), multiplier, any::<bool>(), echo);
    parts.prop_map(
        |(desired_min_tx, required_min_rx, detect_multiplier, is_passive, echo)| Parameters {
            desired_min_tx,
            required_min_rx,
            detect_multiplier,
            is_passive,
            echo,
            minimum_ttl: 254,
        },
    )
}

fn packet() -> impl Strategy<Value = Control> {
    let state = prop_oneof![
        Just(State::AdminDown),
        Just(State::Down),
        Just(State::Init),
        Just(State::Up),
        Just(State::Up),
    ];
    let bits = (any::<bool>(), any::<bool>(), proptest::bool::weighted(0.1));
    let zero_or = |strategy| prop_oneof![1 => Just(Duration::ZERO), 5 => strategy];
    let intervals = (
        zero_or(interval().boxed()),
        zero_or(interval().boxed()),
        zero_or(interval().boxed()),
    );
    (state, bits, intervals, 1..5_u32).prop_map(
        |(state, (poll, is_final, demand), intervals, mine)| {
            let (desired_min_tx, required_min_rx, required_min_echo_rx) = intervals;
            Control {
                poll,
                is_final,
                demand,
                my_discriminator: number(mine),
                desired_min_tx,
                required_min_rx,
                required_min_echo_rx,
                ..says(state)
            }
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => packet().prop_map(Op::Receive),
        6 => (0..700_u64).prop_map(Op::AdvanceClock),
        6 => Just(Op::NextDeadline),
        2 => edited().prop_map(Op::Edit),
        2 => any::<bool>().prop_map(Op::EchoMeans),
        3 => (0..20_u32).prop_map(Op::ReturnEcho),
        1 => Just(Op::Stop),
        2 => Just(Op::Start),
    ]
}

/// What the test knows of the session by what it was told.
struct Model {
    heard: Option<Instant>,
    is_heard_ever: bool,
    is_passive: bool,
    state: State,
}

fn check_packet(packet: &Control, model: &Model, session: &Session) {
    assert!(
        !(packet.poll && packet.is_final),
        "RFC 5880 §6.5: {packet:?}"
    );
    assert_eq!(packet.my_discriminator, number(1));
    if packet.state != State::Up {
        assert!(packet.desired_min_tx >= SLOW, "RFC 5880 §6.8.3: {packet:?}");
        assert!(!packet.poll, "{packet:?}");
    }
    let is_named = packet.your_discriminator.is_some();
    assert!(
        is_named || matches!(packet.state, State::Down | State::AdminDown),
        "{packet:?}"
    );
    assert!(model.is_heard_ever || !is_named);
    if model.is_passive && !is_named {
        panic!("RFC 5880 §6.8.7: {packet:?} in {session:?}");
    }
    // Whatever we say, the peer can read.
    assert_eq!(Control::parse(&packet.emit()).as_ref(), Ok(packet));
}

impl Op {
    /// One of those that [`op`] may give.
    fn any(rng: &mut fastrand::Rng) -> Self {
        match rng.u8(..30) {
            0..8 => Self::Receive(any_packet(rng)),
            8..14 => Self::AdvanceClock(rng.u64(..700)),
            14..20 => Self::NextDeadline,
            20 | 21 => Self::Edit(any_parameters(rng)),
            22 | 23 => Self::EchoMeans(rng.bool()),
            24..27 => Self::ReturnEcho(rng.u32(..20)),
            27 => Self::Stop,
            _ => Self::Start,
        }
    }
}

fn any_interval(rng: &mut fastrand::Rng) -> Duration {
    rng.u32(10..2000) * MS
}

fn any_parameters(rng: &mut fastrand::Rng) -> Parameters {
    Parameters {
        desired_min_tx: any_interval(rng),
        required_min_rx: any_interval(rng),
        detect_multiplier: NonZeroU8::new(rng.u8(1..6)).unwrap(),
        is_passive: rng.bool(),
        echo: rng.bool().then(|| any_interval(rng)),
        minimum_ttl: 254,
    }
}

fn any_packet(rng: &mut fastrand::Rng) -> Control {
    let states = [
        State::AdminDown,
        State::Down,
        State::Init,
        State::Up,
        State::Up,
    ];
    let zero_or = |rng: &mut fastrand::Rng| match rng.u8(..6) {
        0 => Duration::ZERO,
        _ => any_interval(rng),
    };
    Control {
        poll: rng.bool(),
        is_final: rng.bool(),
        demand: rng.u8(..10) == 0,
        my_discriminator: number(rng.u32(1..5)),
        desired_min_tx: zero_or(rng),
        required_min_rx: zero_or(rng),
        required_min_echo_rx: zero_or(rng),
        ..says(states[rng.usize(..states.len())])
    }
}

/// A session that is told what happens, and what is known of it from outside.
struct Play {
    now: Instant,
    session: Session,
    model: Model,
}

impl Play {
    fn new(now: Instant, first: Parameters) -> Self {
        let mut session = new(first);
        session.handle(now, Input::Start);
        drain(&mut session);
        let model = Model {
            heard: None,
            is_heard_ever: false,
            is_passive: first.is_passive,
            state: State::Down,
        };
        Self {
            now,
            session,
            model,
        }
    }

    fn perform(&mut self, op: Op) {
        let (session, model) = (&mut self.session, &mut self.model);
        match op {
            Op::Receive(packet) => {
                model.heard = Some(self.now);
                model.is_heard_ever = true;
                session.handle(self.now, Input::Received(packet));
            }
            Op::AdvanceClock(ms) => self.now += Duration::from_millis(ms),
            Op::NextDeadline => {
                if let Some((at, _)) = session.poll_timeout() {
                    self.now = self.now.max(at.min(self.now + 10 * SLOW));
                }
            }
            Op::Edit(parameters) => {
                model.is_passive = parameters.is_passive;
                session.handle(self.now, Input::Parameters(parameters));
            }
            Op::EchoMeans(can) => {
                let means = Input::EchoMeans {
                    can_send: can,
                    can_return: can,
                };
                session.handle(self.now, means);
            }
            Op::ReturnEcho(number) => session.handle(self.now, Input::EchoReturned(number)),
            Op::Stop => session.handle(self.now, Input::Stop),
            Op::Start => session.handle(self.now, Input::Start),
        }
        session.handle_timeout(self.now);
        // Nothing that is due is left, so that no driver turns in vain.
        if let Some((at, _)) = session.poll_timeout() {
            assert!(at > self.now);
        }
        self.check();
    }

    fn check(&mut self) {
        let (session, model) = (&mut self.session, &mut self.model);
        for output in drain(session) {
            match output {
                Output::Send(packet) => check_packet(&packet, model, session),
                Output::Echo(_) => assert_eq!(model.state, State::Up),
                Output::StateChanged {
                    from,
                    to,
                    is_failure,
                    ..
                } => {
                    assert_eq!(from, model.state);
                    assert_ne!(from, to);
                    assert!(!is_failure || (from, to) == (State::Up, State::Down));
                    model.state = to;
                }
                Output::Ended => assert_eq!(model.state, State::AdminDown),
            }
        }
        assert_eq!(session.state(), model.state);
        if matches!(model.state, State::Init | State::Up) {
            let silence = self.now - model.heard.expect("somebody was heard");
            let allowed = session.detection_time().expect("somebody is heard");
            assert!(
                silence < allowed || allowed.is_zero(),
                "{silence:?} of {allowed:?}"
            );
        }
    }
}

proptest! {
    #[test]
    fn invariants_hold_after_every_operation(
        first in edited(),
        ops in proptest::collection::vec(op(), 0..80),
    ) {
        let mut play = Play::new(Instant::now(), first);
        for op in ops {
            play.perform(op);
        }
    }
}

/// The same many more times, where nothing is made smaller when it fails.
#[test]
fn i7_invariants_hold_after_any_sequence() {
    let now = Instant::now();
    sequences(|mut rng| {
        let mut play = Play::new(now, any_parameters(&mut rng));
        for _ in 0..rng.u8(..80) {
            play.perform(Op::any(&mut rng));
        }
    });
}
