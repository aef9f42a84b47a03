//! Whatever happens in whatever order, what must always hold holds.

use proptest::prelude::*;

use super::*;

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

proptest! {
    #[test]
    fn invariants_hold_after_every_operation(
        first in edited(),
        ops in proptest::collection::vec(op(), 0..80),
    ) {
        let mut now = Instant::now();
        let mut session = new(first);
        let is_passive = first.is_passive;
        let mut model = Model { heard: None, is_heard_ever: false, is_passive, state: State::AdminDown };
        session.handle(now, Input::Start);
        drain(&mut session);
        model.state = State::Down;
        for op in ops {
            match op {
                Op::Receive(packet) => {
                    model.heard = Some(now);
                    model.is_heard_ever = true;
                    session.handle(now, Input::Received(packet));
                }
                Op::AdvanceClock(ms) => now += Duration::from_millis(ms),
                Op::NextDeadline => {
                    if let Some((at, _)) = session.poll_timeout() {
                        now = now.max(at.min(now + 10 * SLOW));
                    }
                }
                Op::Edit(parameters) => {
                    model.is_passive = parameters.is_passive;
                    session.handle(now, Input::Parameters(parameters));
                }
                Op::EchoMeans(can) => {
                    session.handle(now, Input::EchoMeans { can_send: can, can_return: can });
                }
                Op::ReturnEcho(number) => session.handle(now, Input::EchoReturned(number)),
                Op::Stop => session.handle(now, Input::Stop),
                Op::Start => session.handle(now, Input::Start),
            }
            session.handle_timeout(now);
            // Nothing that is due is left, so that no driver turns in vain.
            if let Some((at, _)) = session.poll_timeout() {
                prop_assert!(at > now);
            }
            for output in drain(&mut session) {
                match output {
                    Output::Send(packet) => check_packet(&packet, &model, &session),
                    Output::Echo(_) => prop_assert_eq!(model.state, State::Up),
                    Output::StateChanged { from, to, is_failure, .. } => {
                        prop_assert_eq!(from, model.state);
                        prop_assert!(from != to);
                        prop_assert!(!is_failure || (from, to) == (State::Up, State::Down));
                        model.state = to;
                    }
                    Output::Ended => prop_assert_eq!(model.state, State::AdminDown),
                }
            }
            prop_assert_eq!(session.state(), model.state);
            if matches!(model.state, State::Init | State::Up) {
                let silence = now - model.heard.expect("somebody was heard");
                let allowed = session.detection_time().expect("somebody is heard");
                prop_assert!(silence < allowed || allowed.is_zero(), "{:?} of {:?}", silence, allowed);
            }
        }
    }
}
