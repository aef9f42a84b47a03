#![expect(
    clippy::disallowed_methods,
    reason = "an Instant has no other beginning"
)]

mod echo;
mod polling;
mod properties;
mod table;

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use super::*;

pub(super) const MS: Duration = Duration::from_millis(1);

/// 50 ms three times, as a data centre has it.
pub(super) fn fast() -> Parameters {
    Parameters {
        desired_min_tx: 50 * MS,
        required_min_rx: 50 * MS,
        ..Parameters::DEFAULT
    }
}

pub(super) fn number(value: u32) -> Discriminator {
    Discriminator(NonZeroU32::new(value).unwrap())
}

/// A packet of the peer's, which names us from Init on.
pub(super) fn says(state: State) -> Control {
    Control {
        diagnostic: Diagnostic::Absent,
        state,
        poll: false,
        is_final: false,
        control_plane_independent: false,
        demand: false,
        detect_multiplier: NonZeroU8::new(3).unwrap(),
        my_discriminator: number(9),
        your_discriminator: Some(number(1)),
        desired_min_tx: 50 * MS,
        required_min_rx: 50 * MS,
        required_min_echo_rx: Duration::ZERO,
    }
}

pub(super) fn new(parameters: Parameters) -> Session {
    Session::new(parameters, number(1), fastrand::Rng::with_seed(7))
}

pub(super) fn drain(session: &mut Session) -> Vec<Output> {
    std::iter::from_fn(|| session.poll()).collect()
}

pub(super) fn told(session: &mut Session, now: Instant, input: Input) -> Vec<Output> {
    session.handle(now, input);
    drain(session)
}

pub(super) fn sent(outputs: &[Output]) -> Vec<Control> {
    let packets = outputs.iter().filter_map(|output| match output {
        Output::Send(packet) => Some(*packet),
        Output::Echo(_) | Output::StateChanged { .. } | Output::Ended => None,
    });
    packets.collect()
}

/// A session in a state, with a peer that has been heard.
pub(super) fn in_state(state: State, parameters: Parameters, now: Instant) -> Session {
    let mut session = new(parameters);
    let heard: &[State] = match state {
        State::AdminDown => &[],
        // The peer says Up and does not know yet that we have started again.
        State::Down => &[State::Up],
        State::Init => &[State::Down],
        State::Up => &[State::Down, State::Up],
    };
    if state != State::AdminDown {
        session.handle(now, Input::Start);
    }
    for heard in heard {
        session.handle(now, Input::Received(says(*heard)));
    }
    if session.intervals.is_polling() {
        let is_final = true;
        session.handle(
            now,
            Input::Received(Control {
                is_final,
                ..says(State::Up)
            }),
        );
        session.handle(now, Input::Received(says(State::Up)));
    }
    drain(&mut session);
    assert_eq!(session.state(), state);
    session
}

/// Lets time pass and the peer say something at steady intervals, all of which is answered if asked.
pub(super) fn run(
    session: &mut Session,
    from: Instant,
    span: Duration,
    mut peer: impl FnMut(Instant) -> Option<Control>,
) -> Vec<(Instant, Output)> {
    let mut seen = Vec::new();
    let mut now = from;
    while now <= from + span {
        if let Some(packet) = peer(now) {
            session.handle(now, Input::Received(packet));
        }
        session.handle_timeout(now);
        seen.extend(drain(session).into_iter().map(|output| (now, output)));
        now += MS;
    }
    seen
}

#[test]
fn it_starts_by_saying_down_slowly_to_nobody_in_particular() {
    let now = Instant::now();
    let mut session = new(fast());
    assert_eq!(session.poll_timeout(), None);
    let outputs = told(&mut session, now, Input::Start);
    let first = sent(&outputs)[0];
    assert_eq!((first.state, first.your_discriminator), (State::Down, None));
    assert_eq!(first.my_discriminator, number(1));
    // RFC 5880 §6.8.3.
    assert_eq!(first.desired_min_tx, SLOW);
    assert_eq!(first.required_min_rx, 50 * MS);
    let mut times = Vec::new();
    for (at, output) in run(&mut session, now, Duration::from_secs(60), |_| None) {
        assert!(matches!(output, Output::Send(_)), "{output:?}");
        times.push(at);
    }
    let gaps: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        gaps.iter().all(|gap| (750 * MS..=1001 * MS).contains(gap)),
        "{gaps:?}"
    );
    assert!(gaps.iter().max() > gaps.iter().min());
}

#[test]
fn a_passive_one_says_nothing_before_the_peer_does_and_then_what_any_says() {
    let now = Instant::now();
    let parameters = Parameters {
        is_passive: true,
        ..fast()
    };
    let mut session = new(parameters);
    assert_eq!(sent(&told(&mut session, now, Input::Start)), []);
    assert_eq!(
        run(&mut session, now, Duration::from_secs(10), |_| None),
        []
    );
    let down = Control {
        your_discriminator: None,
        ..says(State::Down)
    };
    let answer = sent(&told(&mut session, now, Input::Received(down)));
    assert_eq!(answer[0].state, State::Init);
    assert_eq!(answer[0].your_discriminator, Some(number(9)));
    assert!(session.transmit_interval().is_some());
    // Until the peer has not been heard for a Detection Time.
    let later = run(&mut session, now, Duration::from_secs(10), |_| None);
    let last = later.last().unwrap().0;
    assert!(last <= now + 200 * MS, "{:?}", last - now);
    assert_eq!(session.state(), State::Down);
}

#[test]
fn silence_ends_the_session_after_the_detection_time_and_not_before() {
    let start = Instant::now();
    let mut session = in_state(State::Up, fast(), start);
    // RFC 5880 §6.8.4: the peer's multiplier, and the slower of what it sends and we take.
    let slower = Control {
        desired_min_tx: 80 * MS,
        detect_multiplier: NonZeroU8::new(4).unwrap(),
        ..says(State::Up)
    };
    session.handle(start, Input::Received(slower));
    assert_eq!(session.detection_time(), Some(320 * MS));
    let seen = run(&mut session, start, 319 * MS, |_| None);
    assert!(
        seen.iter()
            .all(|(_, output)| matches!(output, Output::Send(_)))
    );
    let at = start + 320 * MS;
    session.handle_timeout(at);
    let outputs = drain(&mut session);
    let lost = Output::StateChanged {
        from: State::Up,
        to: State::Down,
        diagnostic: Diagnostic::ControlDetectionTimeExpired,
        is_failure: true,
    };
    assert!(outputs.contains(&lost), "{outputs:?}");
    let packet = sent(&outputs)[0];
    assert_eq!(packet.diagnostic, Diagnostic::ControlDetectionTimeExpired);
    // RFC 5880 §6.8.1: who is not heard is not named.
    assert_eq!(
        (packet.state, packet.your_discriminator),
        (State::Down, None)
    );
    assert_eq!(packet.desired_min_tx, SLOW);
    assert_eq!(
        session.last_failure(),
        Some(Diagnostic::ControlDetectionTimeExpired)
    );
}

#[test]
fn a_peer_that_takes_its_end_down_on_purpose_is_no_failure() {
    let now = Instant::now();
    let mut session = in_state(State::Up, fast(), now);
    let outputs = told(&mut session, now, Input::Received(says(State::AdminDown)));
    let signaled = Output::StateChanged {
        from: State::Up,
        to: State::Down,
        diagnostic: Diagnostic::NeighborSignaledSessionDown,
        is_failure: false,
    };
    assert!(outputs.contains(&signaled), "{outputs:?}");
    // One that says Down has lost us.
    let mut session = in_state(State::Up, fast(), now);
    let outputs = told(&mut session, now, Input::Received(says(State::Down)));
    let is_failure = |output: &Output| {
        matches!(
            output,
            Output::StateChanged {
                is_failure: true,
                ..
            }
        )
    };
    assert!(outputs.iter().any(is_failure), "{outputs:?}");
}

#[test]
fn stopping_says_admin_down_for_a_detection_time_of_the_peer_s() {
    let now = Instant::now();
    let mut session = in_state(State::Up, fast(), now);
    let outputs = told(&mut session, now, Input::Stop);
    let packet = sent(&outputs)[0];
    assert_eq!(packet.state, State::AdminDown);
    assert_eq!(packet.diagnostic, Diagnostic::AdministrativelyDown);
    let is_failure = |output: &Output| {
        matches!(
            output,
            Output::StateChanged {
                is_failure: true,
                ..
            }
        )
    };
    assert!(!outputs.iter().any(is_failure), "{outputs:?}");
    let seen = run(&mut session, now, Duration::from_secs(5), |_| {
        Some(says(State::Down))
    });
    let (end, last) = seen.last().unwrap();
    assert_eq!((*end - now, last), (3000 * MS, &Output::Ended));
    let said = seen.iter().filter_map(|(_, output)| match output {
        Output::Send(packet) => Some(packet.state),
        Output::Echo(_) | Output::StateChanged { .. } | Output::Ended => None,
    });
    assert_eq!(
        said.collect::<BTreeSet<_>>(),
        BTreeSet::from([State::AdminDown])
    );
    // Nobody is told who was never heard.
    let mut session = new(fast());
    session.handle(now, Input::Start);
    session.handle(now, Input::Stop);
    session.handle_timeout(now);
    assert_eq!(drain(&mut session).last(), Some(&Output::Ended));
}

#[test]
fn one_that_is_wanted_again_while_it_says_goodbye_starts_again() {
    let now = Instant::now();
    let mut session = in_state(State::Up, fast(), now);
    session.handle(now, Input::Stop);
    drain(&mut session);
    let outputs = told(&mut session, now, Input::Start);
    assert_eq!(sent(&outputs)[0].state, State::Down);
    let seen = run(&mut session, now, Duration::from_secs(10), |_| None);
    assert!(
        !seen.iter().any(|(_, output)| *output == Output::Ended),
        "{seen:?}"
    );
}

#[test]
fn a_peer_that_wants_no_packets_gets_answers_only() {
    let now = Instant::now();
    let mut session = in_state(State::Up, fast(), now);
    let nothing = Control {
        required_min_rx: Duration::ZERO,
        ..says(State::Up)
    };
    assert_eq!(sent(&told(&mut session, now, Input::Received(nothing))), []);
    assert_eq!(session.transmit_interval(), None);
    let asked = Control {
        poll: true,
        ..nothing
    };
    let answer = sent(&told(&mut session, now, Input::Received(asked)));
    assert_eq!(answer.len(), 1);
    assert!(answer[0].is_final && !answer[0].poll);
    let seen = run(&mut session, now, 500 * MS, |_| Some(nothing));
    assert_eq!(seen, []);
    // The same of one that asks when it wants to know (RFC 5880 §6.6), while both are Up.
    let mut session = in_state(State::Up, fast(), now);
    let on_demand = Control {
        demand: true,
        ..says(State::Up)
    };
    let seen = run(&mut session, now, 500 * MS, |_| Some(on_demand));
    assert_eq!(seen, []);
}

#[test]
fn packets_follow_each_other_by_the_slower_of_both_ends_with_jitter() {
    for (multiplier, most) in [(3, 81), (1, 73)] {
        let start = Instant::now();
        let detect_multiplier = NonZeroU8::new(multiplier).unwrap();
        let mut session = in_state(
            State::Up,
            Parameters {
                detect_multiplier,
                ..fast()
            },
            start,
        );
        let peer = Control {
            required_min_rx: 80 * MS,
            ..says(State::Up)
        };
        let seen = run(&mut session, start, Duration::from_secs(20), |_| Some(peer));
        let times: Vec<Instant> = seen.iter().map(|(at, _)| *at).collect();
        let gaps: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.len() > 200);
        let wide = 60 * MS..=most * MS;
        assert!(gaps.iter().all(|gap| wide.contains(gap)), "{gaps:?}");
        assert!(gaps.iter().max() > Some(&((most - 6) * MS)));
        assert!(gaps.iter().min() < Some(&(64 * MS)));
    }
}
