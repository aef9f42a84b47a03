//! RFC 5880 §6.2 and §6.8.6 as a table: every state, every state of the peer's, and time.

use super::*;

const STATES: [State; 4] = [State::AdminDown, State::Down, State::Init, State::Up];

/// The state after a packet, and the diagnostic if it is another one.
fn after(local: State, heard: State) -> String {
    let now = Instant::now();
    let mut session = in_state(local, fast(), now);
    let outputs = told(&mut session, now, Input::Received(says(heard)));
    shown(&session, local, &outputs)
}

fn shown(session: &Session, before: State, outputs: &[Output]) -> String {
    let changes = outputs
        .iter()
        .filter(|output| matches!(output, Output::StateChanged { .. }));
    let changes: Vec<&Output> = changes.collect();
    match changes.as_slice() {
        [] => {
            assert_eq!(session.state(), before, "a silent transition");
            "-".to_owned()
        }
        [
            Output::StateChanged {
                from,
                to,
                diagnostic,
                ..
            },
        ] => {
            assert_eq!((*from, *to), (before, session.state()));
            // What is new is told at once, and with it why.
            let packet = sent(outputs)[0];
            assert_eq!((packet.state, packet.diagnostic), (*to, *diagnostic));
            match *diagnostic == Diagnostic::Absent {
                true => to.to_string(),
                false => format!("{to}: {diagnostic}"),
            }
        }
        several => panic!("{several:?}"),
    }
}

#[test]
fn every_state_and_every_state_of_the_peer_s() {
    let lost = "Down: neighbor signaled session down";
    let table = [
        // What the peer says: AdminDown, Down, Init, Up.
        (State::AdminDown, ["-", "-", "-", "-"]),
        (State::Down, ["-", "Init", "Up", "-"]),
        (State::Init, [lost, "-", "Up", "Up"]),
        (State::Up, [lost, lost, "-", "-"]),
    ];
    for (local, expected) in table {
        let actual = STATES.map(|heard| after(local, heard));
        assert_eq!(actual, expected, "in {local}");
    }
}

#[test]
fn every_state_when_the_detection_time_has_passed() {
    let lost = "Down: control detection time expired";
    for (local, expected) in STATES.into_iter().zip(["-", "-", lost, lost]) {
        let start = Instant::now();
        let mut session = in_state(local, fast(), start);
        let mut outputs = Vec::new();
        for elapsed in 1..=200 {
            session.handle_timeout(start + elapsed * MS);
            let more = drain(&mut session);
            let is_change = |output: &Output| matches!(output, Output::StateChanged { .. });
            if more.iter().any(is_change) {
                outputs = more;
            }
        }
        assert_eq!(shown(&session, local, &outputs), expected, "in {local}");
        assert_eq!(session.remote.discriminator, None, "in {local}");
    }
}

#[test]
fn every_state_when_it_is_started_and_stopped() {
    let stopped = "AdminDown: administratively down";
    for (local, expected) in STATES.into_iter().zip(["-", stopped, stopped, stopped]) {
        let now = Instant::now();
        let mut session = in_state(local, fast(), now);
        let outputs = told(&mut session, now, Input::Stop);
        assert_eq!(shown(&session, local, &outputs), expected, "in {local}");
    }
    for (local, expected) in STATES.into_iter().zip(["Down", "-", "-", "-"]) {
        let now = Instant::now();
        let mut session = in_state(local, fast(), now);
        let outputs = told(&mut session, now, Input::Start);
        assert_eq!(shown(&session, local, &outputs), expected, "in {local}");
    }
}
