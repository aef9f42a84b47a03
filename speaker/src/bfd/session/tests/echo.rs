//! The echo function (RFC 5880 §6.4): who sends, what slows down, and what a failure is.

use super::*;

const MEANS: Input = Input::EchoMeans {
    can_send: true,
    can_return: true,
};

fn parameters() -> Parameters {
    Parameters {
        echo: Some(50 * MS),
        ..fast()
    }
}

fn offers(echo: u32) -> Control {
    Control {
        required_min_echo_rx: echo * MS,
        ..says(State::Up)
    }
}

/// Runs a session whose echo packets come back, or do not.
fn play(
    session: &mut Session,
    from: Instant,
    span: Duration,
    mut returns: impl FnMut(u32) -> bool,
) -> Vec<(Instant, Output)> {
    let mut seen = Vec::new();
    let mut now = from;
    while now < from + span {
        session.handle_timeout(now);
        for output in drain(session) {
            if let Output::Echo(number) = output
                && returns(number)
            {
                session.handle(now, Input::EchoReturned(number));
            }
            seen.push((now, output));
        }
        let is_final = session.intervals.is_polling();
        session.handle(
            now,
            Input::Received(Control {
                is_final,
                ..offers(20)
            }),
        );
        now += MS;
    }
    seen
}

fn up(now: Instant) -> Session {
    let mut session = in_state(State::Up, parameters(), now);
    session.handle(now, MEANS);
    session.handle(now, Input::Received(offers(20)));
    session
}

#[test]
fn echo_packets_that_come_back_slow_the_control_packets_down() {
    let start = Instant::now();
    let mut session = up(start);
    let seen = play(&mut session, start, Duration::from_secs(5), |_| true);
    assert!(session.is_echo_active());
    let echoes: Vec<Instant> = seen
        .iter()
        .filter(|(_, output)| matches!(output, Output::Echo(_)))
        .map(|(at, _)| *at)
        .collect();
    let gaps: Vec<Duration> = echoes.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.len() > 90);
    // The slower of what we want and the peer takes, with a quarter of jitter.
    assert!(
        gaps.iter().all(|gap| (37 * MS..=51 * MS).contains(gap)),
        "{gaps:?}"
    );
    // RFC 5880 §6.8.3: the peer is asked for no more than one packet a second.
    assert_eq!(session.intervals.advertised().required_min_rx, SLOW);
    assert_eq!(session.detection_time(), Some(3 * SLOW));
    assert_eq!(session.state(), State::Up);
}

#[test]
fn echo_packets_that_stay_away_end_the_session_with_diagnostic_2() {
    let start = Instant::now();
    let mut session = up(start);
    play(&mut session, start, Duration::from_secs(1), |_| true);
    let seen = play(&mut session, start + SLOW, Duration::from_secs(1), |_| {
        false
    });
    let failed = Output::StateChanged {
        from: State::Up,
        to: State::Down,
        diagnostic: Diagnostic::EchoFunctionFailed,
        is_failure: true,
    };
    let (at, _) = seen.iter().find(|(_, output)| *output == failed).unwrap();
    let took = *at - (start + SLOW);
    assert!((100 * MS..=151 * MS).contains(&took), "{took:?}");
}

#[test]
fn one_lost_echo_packet_is_no_failure_and_an_old_one_no_success() {
    let start = Instant::now();
    let mut session = up(start);
    play(&mut session, start, Duration::from_secs(5), |number| {
        number % 2 == 0
    });
    assert_eq!(session.state(), State::Up);
    let before = session.timers.deadline(&Timer::EchoDetection);
    let old = session.echo.next.wrapping_sub(4);
    session.handle(start + 6 * SLOW, Input::EchoReturned(old));
    session.handle(start + 6 * SLOW, Input::EchoReturned(session.echo.next));
    assert_eq!(session.timers.deadline(&Timer::EchoDetection), before);
}

/// A peer may offer what its forwarding plane does not do.
#[test]
fn echo_that_never_worked_takes_no_session_down() {
    let start = Instant::now();
    let mut session = up(start);
    let seen = play(&mut session, start, Duration::from_secs(5), |_| false);
    let is_change = |output: &Output| matches!(output, Output::StateChanged { .. });
    assert!(
        !seen.iter().any(|(_, output)| is_change(output)),
        "{seen:?}"
    );
    assert!(!session.is_echo_active());
    assert_eq!(session.intervals.advertised().required_min_rx, 50 * MS);
}

#[test]
fn none_are_sent_unless_both_ends_can() {
    let now = Instant::now();
    let echoes = |session: &mut Session| {
        session.handle_timeout(now);
        let outputs = drain(session);
        outputs
            .iter()
            .any(|output| matches!(output, Output::Echo(_)))
    };
    assert!(echoes(&mut up(now)));
    // The peer does not want them.
    let mut session = in_state(State::Up, parameters(), now);
    session.handle(now, MEANS);
    assert!(!echoes(&mut session));
    // The host cannot.
    let mut session = in_state(State::Up, parameters(), now);
    session.handle(now, Input::Received(offers(20)));
    assert!(!echoes(&mut session));
    // They were not asked for.
    let mut session = in_state(State::Up, fast(), now);
    session.handle(now, MEANS);
    session.handle(now, Input::Received(offers(20)));
    assert!(!echoes(&mut session));
    // Not Up.
    let mut session = in_state(State::Init, parameters(), now);
    session.handle(now, MEANS);
    session.handle(
        now,
        Input::Received(Control {
            state: State::Down,
            ..offers(20)
        }),
    );
    assert!(!echoes(&mut session));
}

#[test]
fn a_peer_that_withdraws_its_offer_is_left_alone_and_the_session_stays() {
    let start = Instant::now();
    let mut session = up(start);
    play(&mut session, start, Duration::from_secs(1), |_| true);
    let now = start + SLOW;
    session.handle(now, Input::Received(says(State::Up)));
    session.handle(now, Input::Received(says(State::Up)));
    assert!(!session.is_echo_active());
    drain(&mut session);
    let seen = run(&mut session, now, 500 * MS, |_| Some(says(State::Up)));
    assert!(
        !seen
            .iter()
            .any(|(_, output)| matches!(output, Output::Echo(_)))
    );
    assert_eq!(session.state(), State::Up);
    assert_eq!(session.intervals.advertised().required_min_rx, 50 * MS);
}

#[test]
fn echo_is_offered_only_where_the_host_returns_it() {
    let now = Instant::now();
    let mut session = new(parameters());
    let outputs = told(&mut session, now, Input::Start);
    assert_eq!(sent(&outputs)[0].required_min_echo_rx, Duration::ZERO);
    session.handle(now, MEANS);
    let seen = run(&mut session, now, 1001 * MS, |_| None);
    let all: Vec<Output> = seen.into_iter().map(|(_, output)| output).collect();
    assert_eq!(sent(&all)[0].required_min_echo_rx, 50 * MS);
}
