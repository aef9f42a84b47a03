use std::time::Duration;

use super::*;
use crate::bgp::Messages;
use crate::world::Identity;

#[test]
fn times_are_written_as_rfc_3339() {
    for (seconds, expected) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (951_868_800, "2000-03-01T00:00:00Z"),
        (1_704_067_199, "2023-12-31T23:59:59Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
    ] {
        assert_eq!(time(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
    }
}

#[test]
fn an_idle_speaker_has_a_document_that_survives_its_own_json() {
    let world = World::new(Identity {
        node: "n1".to_owned(),
        ..Identity::default()
    });
    let since = Since {
        start: UNIX_EPOCH,
        held: OrdMap::new(),
        not_held: OrdMap::new(),
        advertised: OrdMap::new(),
    };
    let problems = (0..300).map(|n| format!("a.yaml:{n}:1: why")).collect();
    let document = document(&Facts {
        known: Known::of(&world),
        plan: plan::plan(&world),
        since,
        problems,
        state_error: Some("read-only file system".to_owned()),
        layer2: None,
        sessions: BTreeMap::new(),
        bfd: BTreeMap::new(),
        routers: BTreeMap::new(),
        stations: BTreeMap::new(),
        hand_off: Some(nft::Report::Idle),
        blocked: Vec::new(),
        delivery: None,
        draining: None,
    });
    assert_eq!(document.source.problem_count, 300);
    assert_eq!(document.source.problems.len(), PROBLEMS_TOLD);
    assert_eq!(document.layer2.state, "off");
    let json = serde_json::to_string(&document).unwrap();
    assert_eq!(serde_json::from_str::<Document>(&json).unwrap(), document);
}

#[test]
fn i4_a_session_that_keeps_trying_does_not_change_the_file() {
    let status = |state, since| SessionStatus {
        state,
        since: UNIX_EPOCH + Duration::from_secs(since),
        last_error: Some("connection refused".to_owned()),
        prefixes: 0,
        desired: 0,
        updates_sent: since,
        messages: Messages::default(),
        hold_time: None,
        families: BTreeSet::new(),
        capabilities: Vec::new(),
        local_address: None,
        established: None,
        ended: None,
    };
    let whereabouts = Whereabouts {
        name: "192.0.2.1".to_owned(),
        problem: None,
    };
    let at_rest = |state, since| {
        let sessions = vec![running("tor", &whereabouts, Some(&status(state, since)))];
        Document {
            sessions,
            ..Document::default()
        }
        .at_rest()
    };
    let trying = at_rest(SessionState::Connect, 1);
    assert_eq!(trying, at_rest(SessionState::Active, 2));
    assert_ne!(trying, at_rest(SessionState::Established, 3));
}

fn bfd_status(state: bfd::State, since: u64) -> bfd::SessionStatus {
    let is_up = state == bfd::State::Up;
    let lost = bfd::Diagnostic::ControlDetectionTimeExpired;
    bfd::SessionStatus {
        state,
        since: UNIX_EPOCH + Duration::from_secs(since),
        diagnostic: if is_up { bfd::Diagnostic::Absent } else { lost },
        remote_state: state,
        remote_diagnostic: bfd::Diagnostic::Absent,
        last_failure: Some(lost),
        hops: bfd::Hops::Single,
        transmit_interval: Some(Duration::from_millis(50)),
        detection_time: Some(Duration::from_micros(150_500)),
        is_echo_active: false,
        problem: None,
    }
}

#[test]
fn a_path_is_told_of_in_the_words_of_its_rfc() {
    let standing = |status| bfd::Standing {
        status,
        counts: bfd::Counts {
            control_in: 7,
            ..bfd::Counts::default()
        },
        problem: None,
    };
    let up = path(Some(&standing(Some(bfd_status(bfd::State::Up, 1)))));
    assert_eq!(up.state, "Up");
    assert_eq!(up.since.as_deref(), Some("1970-01-01T00:00:01Z"));
    assert_eq!(
        (up.transmit_interval, up.detection_time),
        (Some(50.0), Some(150.5))
    );
    assert_eq!((&up.diagnostic, &up.remote_diagnostic), (&None, &None));
    assert_eq!(
        up.last_failure.as_deref(),
        Some("control detection time expired")
    );
    assert_eq!(up.counters.unwrap().control_packets_in, 7);
    // What has not begun is down, and says why it cannot.
    let problem = Some("failed to start the bfd thread".to_owned());
    let not_begun = path(Some(&bfd::Standing {
        problem: problem.clone(),
        ..standing(None)
    }));
    assert_eq!(
        (not_begun.state.as_str(), not_begun.problem),
        ("Down", problem)
    );
    assert_eq!(path(None).state, "Down");
}

#[test]
fn i4_a_path_that_stays_as_it_is_does_not_change_the_file() {
    let at_rest = |state, since, sent| {
        let status = bfd_status(state, since);
        let standing = bfd::Standing {
            status: Some(status),
            counts: bfd::Counts {
                control_out: sent,
                ..bfd::Counts::default()
            },
            problem: None,
        };
        let session = Session {
            bfd: Some(path(Some(&standing))),
            ..Session::default()
        };
        Document {
            sessions: vec![session],
            ..Document::default()
        }
        .at_rest()
    };
    let down = at_rest(bfd::State::Down, 1, 1);
    assert_eq!(down, at_rest(bfd::State::Init, 2, 2));
    let up = at_rest(bfd::State::Up, 3, 3);
    assert_ne!(down, up);
    assert_eq!(up, at_rest(bfd::State::Up, 3, 4));
}
