use std::time::{Instant, UNIX_EPOCH};

use super::*;
use crate::bgp::Messages;

fn session(state: SessionState) -> SessionStatus {
    SessionStatus {
        state,
        since: UNIX_EPOCH,
        last_error: None,
        prefixes: 1,
        desired: 2,
        updates_sent: 3,
        messages: Messages {
            opens_sent: 4,
            opens_received: 5,
            notifications_sent: 6,
            route_refreshes_sent: 10,
            keepalives_sent: 7,
            keepalives_received: 8,
            updates_received: 9,
            received: 22,
        },
        hold_time: None,
        families: BTreeSet::new(),
        capabilities: Vec::new(),
        local_address: None,
        established: None,
        ended: None,
    }
}

fn peer(host: &str, vrf: Option<&str>) -> Peer {
    Peer {
        host: host.to_owned(),
        port: Some(Port::BGP),
        vrf: vrf.map(str::to_owned),
    }
}

#[expect(clippy::disallowed_methods, reason = "some moment")]
fn now() -> Instant {
    Instant::now()
}

#[test]
fn the_page_has_metallbs_names_and_labels() {
    let web = BTreeSet::from([ServiceKey::new("default", "web")]);
    let snapshot = Snapshot {
        node: "n1".to_owned(),
        takeovers: BTreeMap::from([(Cause::Hint, 3), (Cause::Rank, 1)]),
        announced: BTreeMap::from([(
            "192.0.2.1".parse().unwrap(),
            Announced {
                layer2: web.clone(),
                bgp: web,
            },
        )]),
        conflicts: BTreeMap::from([(
            "192.0.2.1".parse().unwrap(),
            BTreeMap::from([("eth0".to_owned(), "02:00:00:00:00:77".to_owned())]),
        )]),
        sessions: BTreeMap::from([
            (
                peer("192.0.2.254", None),
                session(SessionState::Established),
            ),
            (
                peer("2001:db8::1", Some("red")),
                session(SessionState::Active),
            ),
        ]),
        source: Source {
            updates: 10,
            errors: 1,
            is_loaded: true,
            is_stale: false,
        },
        rivals: Rivals {
            by_heartbeat: 2,
            by_frame: 1,
        },
        blocked: BTreeSet::from([("n2".to_owned(), "eth0".to_owned())]),
        delivers: Some(false),
    };
    let counts = Counts {
        requests: 2,
        responses: 2,
        gratuitous: 10,
    };
    let counts = BTreeMap::from([("192.0.2.1".parse().unwrap(), counts)]);
    let tally = Tally {
        heard: ["n2", "n3"].map(|node| (node.into(), now())).into(),
        lost: BTreeMap::from([("n3".into(), 4)]),
        silences: BTreeMap::from([("notOwned", 7)]),
        ..Tally::default()
    };
    let text = render(&snapshot, &counts, &tally, &paths());
    let rows: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let expected = include_str!("tests/page.txt");
    assert_eq!(rows, expected.lines().collect::<Vec<_>>(), "{text}");
    assert!(text.contains("# TYPE metallb_bgp_updates_total counter\n"));
    assert!(text.contains("# TYPE metallb_speaker_announced gauge\n"));
}

/// One session that is up, one that is not, and packets that nobody wanted.
fn paths() -> bfd::Report {
    let key = |peer: &str, vrf: Option<&str>| bfd::SessionKey {
        peer: peer.parse().unwrap(),
        interface: None,
        vrf: vrf.map(str::to_owned),
        local: None,
        reach: bfd::Reach::SingleHop,
    };
    let status = |state| bfd::SessionStatus {
        state,
        since: UNIX_EPOCH,
        diagnostic: bfd::Diagnostic::Absent,
        remote_state: state,
        remote_diagnostic: bfd::Diagnostic::Absent,
        last_failure: None,
        hops: bfd::Hops::Single,
        transmit_interval: None,
        detection_time: None,
        is_echo_active: false,
        problem: None,
    };
    let counts = bfd::Counts {
        control_in: 100,
        control_out: 101,
        echo_in: 20,
        echo_out: 21,
        ups: 3,
        downs: 2,
    };
    let (up, down) = (key("192.0.2.254", None), key("2001:db8::1", Some("red")));
    bfd::Report {
        sessions: BTreeMap::from([
            (up.clone(), status(bfd::State::Up)),
            (down, status(bfd::State::Init)),
        ]),
        counts: BTreeMap::from([(up, counts)]),
        dropped: BTreeMap::from([(bfd::Discard::Authentication, 5)]),
    }
}

#[test]
fn what_is_not_there_has_no_series() {
    let text = render(
        &Snapshot::default(),
        &BTreeMap::new(),
        &Tally::default(),
        &bfd::Report::default(),
    );
    let rows: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let expected = [
        "ferrolb_layer2_addresses_held 0",
        "ferrolb_layer2_rivals_total{seen=\"frame\"} 0",
        "ferrolb_layer2_rivals_total{seen=\"heartbeat\"} 0",
        "ferrolb_layer2_takeovers_total{cause=\"hint\"} 0",
        "ferrolb_layer2_takeovers_total{cause=\"onlyCandidate\"} 0",
        "ferrolb_layer2_takeovers_total{cause=\"preferred\"} 0",
        "ferrolb_layer2_takeovers_total{cause=\"rank\"} 0",
        "ferrolb_layer2_takeovers_total{cause=\"remembered\"} 0",
        "metallb_k8s_client_config_loaded_bool 0",
        "metallb_k8s_client_config_stale_bool 0",
        "metallb_k8s_client_update_errors_total 0",
        "metallb_k8s_client_updates_total 0",
    ];
    assert_eq!(rows, expected);
}
