//! Poll sequences (RFC 5880 §6.5, §6.8.3): a profile that is edited takes no session down.

use super::*;

fn with(tx: u32, rx: u32) -> Parameters {
    Parameters {
        desired_min_tx: tx * MS,
        required_min_rx: rx * MS,
        ..Parameters::DEFAULT
    }
}

fn edited(session: &mut Session, now: Instant, parameters: Parameters) -> Vec<Control> {
    sent(&told(session, now, Input::Parameters(parameters)))
}

fn answer() -> Control {
    Control {
        is_final: true,
        ..says(State::Up)
    }
}

#[test]
fn coming_up_the_peer_is_told_of_the_faster_interval_by_a_poll() {
    let now = Instant::now();
    let mut session = new(fast());
    session.handle(now, Input::Start);
    session.handle(now, Input::Received(says(State::Down)));
    drain(&mut session);
    let packets = sent(&told(&mut session, now, Input::Received(says(State::Up))));
    let [packet] = packets.as_slice() else {
        panic!("{packets:?}");
    };
    assert!(packet.poll && !packet.is_final);
    assert_eq!((packet.state, packet.desired_min_tx), (State::Up, 50 * MS));
    // Faster is faster at once.
    assert_eq!(session.transmit_interval(), Some(50 * MS));
    // And asked until it is answered.
    let seen = run(&mut session, now, 200 * MS, |_| Some(says(State::Up)));
    let all: Vec<Output> = seen.into_iter().map(|(_, output)| output).collect();
    assert!(sent(&all).iter().all(|packet| packet.poll));
    session.handle(now, Input::Received(answer()));
    let seen = run(&mut session, now + 200 * MS, 200 * MS, |_| {
        Some(says(State::Up))
    });
    let all: Vec<Output> = seen.into_iter().map(|(_, output)| output).collect();
    assert!(!all.is_empty() && sent(&all).iter().all(|packet| !packet.poll));
}

#[test]
fn less_often_and_less_patient_wait_for_the_answer() {
    let now = Instant::now();
    let mut session = in_state(State::Up, with(100, 100), now);
    let packets = edited(&mut session, now, with(400, 60));
    assert!(packets[0].poll);
    assert_eq!(packets[0].desired_min_tx, 400 * MS);
    assert_eq!(packets[0].required_min_rx, 60 * MS);
    assert_eq!(session.transmit_interval(), Some(100 * MS));
    assert_eq!(session.detection_time(), Some(300 * MS));
    session.handle(now, Input::Received(says(State::Up)));
    assert_eq!(session.transmit_interval(), Some(100 * MS));
    session.handle(now, Input::Received(answer()));
    assert_eq!(session.transmit_interval(), Some(400 * MS));
    assert_eq!(session.detection_time(), Some(180 * MS));
}

#[test]
fn more_often_and_more_patient_hold_at_once() {
    let now = Instant::now();
    let mut session = in_state(State::Up, with(400, 60), now);
    edited(&mut session, now, with(100, 100));
    assert_eq!(session.transmit_interval(), Some(100 * MS));
    assert_eq!(session.detection_time(), Some(300 * MS));
}

/// RFC 5880 §6.8.3, the third of its choices: no answer may be taken for the answer to another poll.
#[test]
fn a_second_edit_waits_until_the_first_poll_is_over() {
    let now = Instant::now();
    let mut session = in_state(State::Up, with(100, 100), now);
    edited(&mut session, now, with(200, 100));
    assert_eq!(edited(&mut session, now, with(300, 100)), []);
    assert_eq!(session.intervals.advertised().desired_min_tx, 200 * MS);
    session.handle(now, Input::Received(answer()));
    assert_eq!(sent(&drain(&mut session)), []);
    // An answer that comes twice is no packet of its own.
    session.handle(now, Input::Received(answer()));
    assert_eq!(sent(&drain(&mut session)), []);
    let packets = sent(&told(&mut session, now, Input::Received(says(State::Up))));
    assert!(packets[0].poll);
    assert_eq!(packets[0].desired_min_tx, 300 * MS);
    session.handle(now, Input::Received(answer()));
    assert_eq!(session.transmit_interval(), Some(300 * MS));
}

#[test]
fn a_poll_ends_with_the_session() {
    let now = Instant::now();
    let mut session = in_state(State::Up, with(100, 100), now);
    edited(&mut session, now, with(200, 100));
    let packets = sent(&told(&mut session, now, Input::Received(says(State::Down))));
    assert!(packets.iter().all(|packet| !packet.poll), "{packets:?}");
    assert_eq!(packets[0].desired_min_tx, SLOW);
}

#[test]
fn a_poll_is_answered_at_once_and_never_by_a_poll() {
    let now = Instant::now();
    let mut session = in_state(State::Up, with(100, 100), now);
    edited(&mut session, now, with(200, 100));
    let asked = Control {
        poll: true,
        ..says(State::Up)
    };
    let packets = sent(&told(&mut session, now, Input::Received(asked)));
    let [packet] = packets.as_slice() else {
        panic!("{packets:?}");
    };
    assert!(packet.is_final && !packet.poll);
    for state in [State::Down, State::Init] {
        let mut session = in_state(state, fast(), now);
        let asked = Control {
            poll: true,
            ..says(state)
        };
        let packets = sent(&told(&mut session, now, Input::Received(asked)));
        assert!(
            packets.iter().any(|packet| packet.is_final),
            "{state}: {packets:?}"
        );
    }
}

#[test]
fn a_multiplier_that_is_edited_is_in_the_next_packet_and_needs_no_poll() {
    let now = Instant::now();
    let mut session = in_state(State::Up, fast(), now);
    let detect_multiplier = NonZeroU8::new(5).unwrap();
    assert_eq!(
        edited(
            &mut session,
            now,
            Parameters {
                detect_multiplier,
                ..fast()
            }
        ),
        []
    );
    let seen = run(&mut session, now, 60 * MS, |_| Some(says(State::Up)));
    let all: Vec<Output> = seen.into_iter().map(|(_, output)| output).collect();
    assert!(
        sent(&all)
            .iter()
            .all(|packet| packet.detect_multiplier == detect_multiplier)
    );
    assert_eq!(session.state(), State::Up);
}
