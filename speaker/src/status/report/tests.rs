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
        held: BTreeMap::new(),
        not_held: BTreeMap::new(),
        advertised: BTreeMap::new(),
    };
    let problems = (0..300).map(|n| format!("a.yaml:{n}:1: why")).collect();
    let document = document(&Facts {
        world: &world,
        plan: &plan::plan(&world),
        since: &since,
        problems: &problems,
        state_error: Some("read-only file system"),
        layer2: None,
        sessions: &BTreeMap::new(),
        hand_off: Some(&nft::Report::Idle),
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
        local_address: None,
    };
    let neighbor = "192.0.2.1".parse().unwrap();
    let at_rest = |state, since| {
        let sessions = vec![running("tor", neighbor, Some(&status(state, since)))];
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
