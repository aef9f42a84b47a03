//! Two connections with one peer (RFC 4271 §6.8, RFC 6286 §2.3, RFC 4724 §4.2).

use ferrolb_crds::model::PeerAsn;

use crate::bgp::GracefulRestart;

use super::super::super::message::{self, Preserved};
use super::super::super::tests::asn;
use super::*;

/// The peer's OPEN: its AS, its BGP Identifier, and whether it restarts gracefully.
fn open_of(number: u16, id: &str, restarts: bool) -> Vec<u8> {
    let preserved = Preserved {
        afi_safi: AfiSafi::unicast(Family::V4),
        is_forwarding: true,
    };
    let restart = Capability::GracefulRestart(message::GracefulRestart {
        is_restarting: false,
        has_notification: true,
        restart_time: 120,
        families: vec![preserved],
    });
    let mut capabilities = vec![Capability::MultiProtocol(AfiSafi::unicast(Family::V4))];
    if restarts {
        capabilities.push(restart);
    }
    codec::encode(&Message::Open(Open {
        autonomous_system: number,
        hold_time: 9,
        router_id: id.parse().unwrap(),
        capabilities,
    }))
}

/// Ours is 10.0.0.11.
const LOWER: &str = "10.0.0.1";
const HIGHER: &str = "10.0.0.99";

fn open(id: &str) -> Vec<u8> {
    open_of(64500, id, false)
}

/// Told in short: which connection was accepted, promoted, closed, and with which NOTIFICATION.
fn told(peer: &mut Peer) -> Vec<String> {
    let mut told = Vec::new();
    for output in drain(peer) {
        told.push(match output {
            Output::Connect => "connect".to_owned(),
            Output::Accept => "accept".to_owned(),
            Output::Refuse(octets) => format!("refuse {}/{}", octets[19], octets[20]),
            Output::Promote => "promote".to_owned(),
            Output::Close(slot) => format!("close {slot:?}"),
            Output::Send(slot, octets) => match octets[18] {
                1 => format!("OPEN {slot:?}"),
                3 => format!("{}/{} {slot:?}", octets[19], octets[20]),
                4 => format!("KEEPALIVE {slot:?}"),
                other => panic!("type {other}"),
            },
            Output::StateChanged { .. } => continue,
        });
    }
    told
}

/// A peer whose dial has not been answered yet, and that has been dialled.
fn dialled(now: Instant) -> Peer {
    let mut peer = Peer::new(settings(), routes(&[]), fastrand::Rng::with_seed(3));
    peer.handle(now, Input::Start);
    peer.handle(now, Input::Accepted(endpoint()));
    assert_eq!(told(&mut peer), ["connect", "accept", "OPEN Contender"]);
    peer
}

/// And whose dial has been answered, too.
fn twice(settings: Settings, now: Instant) -> Peer {
    let mut peer = Peer::new(settings, routes(&[]), fastrand::Rng::with_seed(3));
    peer.handle(now, Input::Start);
    peer.handle(now, Input::Accepted(endpoint()));
    peer.handle(now, Input::Connected(endpoint()));
    drain(&mut peer);
    peer
}

#[test]
fn who_dials_us_while_we_get_no_answer_has_the_session() {
    let now = Instant::now();
    let mut peer = dialled(now);
    assert_eq!(peer.state(), SessionState::OpenSent);
    // All at once, and what belongs to the connection follows it when it is promoted.
    let stream = [open(LOWER), keepalive(), keepalive()[..7].to_vec()].concat();
    peer.handle(now, Input::Received(Slot::Contender, &stream));
    let expected = ["KEEPALIVE Contender", "close Main", "promote"];
    assert_eq!(told(&mut peer), expected);
    assert_eq!(peer.state(), SessionState::Established);
    assert_eq!(peer.main.inbox.len(), 7);
    assert!(peer.contender.is_none());
    assert_eq!(updates(&mut peer, now).len(), 1, "End-of-RIB");
}

#[test]
fn a_session_that_was_dialled_by_the_peer_ends_like_any_other() {
    let now = Instant::now();
    let mut peer = dialled(now);
    let stream = [open(LOWER), keepalive()].concat();
    peer.handle(now, Input::Received(Slot::Contender, &stream));
    drain(&mut peer);
    peer.handle(now, Input::Failed(Slot::Main, "reset".to_owned()));
    assert_eq!(peer.state(), SessionState::Idle);
    let (at, _) = peer.poll_timeout().unwrap();
    peer.handle_timeout(at);
    assert_eq!(told(&mut peer), ["close Main", "connect"]);
}

/// Which connection is closed, when both OPENs have come in this order.
fn closed(settings: Settings, open: &[u8], order: [Slot; 2]) -> Vec<String> {
    let now = Instant::now();
    let mut peer = twice(settings, now);
    let ids = order.map(|slot| match slot {
        Slot::Main => peer.main.id,
        Slot::Contender => peer.contender.as_ref().unwrap().id,
    });
    // What is closed says nothing any more.
    for id in ids {
        if let Some((slot, _)) = peer.connected(id) {
            peer.handle(now, Input::Received(slot, open));
        }
    }
    let mut told = told(&mut peer);
    assert!(peer.contender.is_none(), "one is left");
    assert_eq!(peer.state(), SessionState::OpenConfirm);
    peer.handle(now, Input::Received(Slot::Main, &keepalive()));
    assert_eq!(peer.state(), SessionState::Established);
    told.retain(|word| word.contains("6/7") || word == "promote");
    told
}

const MAIN_FIRST: [Slot; 2] = [Slot::Main, Slot::Contender];
const CONTENDER_FIRST: [Slot; 2] = [Slot::Contender, Slot::Main];

#[test]
fn the_side_with_the_higher_identifier_keeps_what_it_has_dialled() {
    let kept_ours = ["6/7 Contender"];
    let kept_theirs = ["6/7 Main", "promote"];
    for order in [MAIN_FIRST, CONTENDER_FIRST] {
        assert_eq!(closed(settings(), &open(LOWER), order), kept_ours);
        assert_eq!(closed(settings(), &open(HIGHER), order), kept_theirs);
        // As numbers, not as texts.
        assert_eq!(closed(settings(), &open("9.255.255.255"), order), kept_ours);
        assert_eq!(closed(settings(), &open("192.0.2.1"), order), kept_theirs);
    }
}

#[test]
fn of_equal_identifiers_the_higher_as_number_decides() {
    let with = |number: u16| Settings {
        peer_asn: PeerAsn::Exact(asn(number.into())),
        ..settings()
    };
    for order in [MAIN_FIRST, CONTENDER_FIRST] {
        let lower = closed(with(64500), &open_of(64500, "10.0.0.11", false), order);
        assert_eq!(lower, ["6/7 Contender"]);
        let higher = closed(with(64700), &open_of(64700, "10.0.0.11", false), order);
        assert_eq!(higher, ["6/7 Main", "promote"]);
    }
}

#[test]
fn the_lesser_connection_is_kept_while_the_other_says_nothing() {
    let now = Instant::now();
    let mut peer = twice(settings(), now);
    // Ours would be kept, but it is not heard of.
    peer.handle(now, Input::Received(Slot::Contender, &open(LOWER)));
    assert_eq!(told(&mut peer), ["KEEPALIVE Contender"]);
    peer.handle(now, Input::Received(Slot::Contender, &keepalive()));
    assert_eq!(told(&mut peer), ["6/7 Main", "close Main", "promote"]);
    assert_eq!(peer.state(), SessionState::Established);
}

#[test]
fn the_lesser_connection_is_kept_when_the_other_is_lost() {
    let now = Instant::now();
    let mut peer = twice(settings(), now);
    peer.handle(now, Input::Received(Slot::Contender, &open(LOWER)));
    peer.handle(now, Input::Failed(Slot::Main, "reset".to_owned()));
    let expected = ["KEEPALIVE Contender", "close Main", "promote"];
    assert_eq!(told(&mut peer), expected);
    assert_eq!(peer.state(), SessionState::OpenConfirm);
}

#[test]
fn an_open_that_is_refused_collides_with_nothing() {
    let now = Instant::now();
    let mut peer = twice(settings(), now);
    peer.handle(now, Input::Received(Slot::Main, &open(HIGHER)));
    drain(&mut peer);
    let stranger = open_of(64999, HIGHER, false);
    peer.handle(now, Input::Received(Slot::Contender, &stranger));
    assert_eq!(told(&mut peer), ["2/2 Contender", "close Contender"]);
    assert_eq!(peer.state(), SessionState::OpenConfirm);
}

#[test]
fn an_established_session_is_not_disturbed() {
    let now = Instant::now();
    for id in [LOWER, HIGHER] {
        let mut peer = established(routes(&["192.0.2.10/32"]), now);
        updates(&mut peer, now);
        for stream in [open(id), b"rubbish of nineteen".to_vec(), keepalive()] {
            peer.handle(now, Input::Accepted(endpoint()));
            peer.handle(now, Input::Received(Slot::Contender, &stream));
            let told = told(&mut peer);
            assert_eq!(told[..2], ["accept", "OPEN Contender"]);
            assert_eq!(told.last().unwrap(), "close Contender");
        }
        peer.handle(now, Input::Accepted(endpoint()));
        peer.handle(now, Input::Failed(Slot::Contender, "reset".to_owned()));
        assert_eq!(
            (peer.state(), peer.prefixes()),
            (SessionState::Established, 1)
        );
        assert_eq!(peer.last_error(), None);
    }
}

#[test]
fn a_second_connection_that_is_late_is_closed_when_the_first_is_a_session() {
    let now = Instant::now();
    let mut peer = twice(settings(), now);
    let stream = [open(HIGHER), keepalive()].concat();
    peer.handle(now, Input::Received(Slot::Main, &stream));
    let expected = ["KEEPALIVE Main", "6/7 Contender", "close Contender"];
    assert_eq!(told(&mut peer), expected);
}

#[test]
fn a_peer_that_restarts_gracefully_takes_up_the_session_with_its_new_connection() {
    let now = Instant::now();
    let settings = Settings {
        graceful_restart: Some(GracefulRestart::default()),
        ..settings()
    };
    let desired = routes(&["192.0.2.10/32"]);
    let mut peer = Peer::new(settings, desired, fastrand::Rng::with_seed(3));
    peer.handle(now, Input::Start);
    peer.handle(now, Input::Connected(endpoint()));
    let open = open_of(64500, LOWER, true);
    let stream = [open.clone(), keepalive()].concat();
    peer.handle(now, Input::Received(Slot::Main, &stream));
    updates(&mut peer, now);
    drain(&mut peer);
    // Only when it has said who it is.
    peer.handle(now, Input::Accepted(endpoint()));
    assert_eq!(told(&mut peer), ["accept", "OPEN Contender"]);
    assert_eq!(
        (peer.state(), peer.prefixes()),
        (SessionState::Established, 1)
    );
    peer.handle(now, Input::Received(Slot::Contender, &open));
    let expected = ["close Main", "KEEPALIVE Contender", "promote"];
    assert_eq!(told(&mut peer), expected);
    assert_eq!(peer.prefixes(), 0);
    peer.handle(now, Input::Received(Slot::Main, &keepalive()));
    assert_eq!(updates(&mut peer, now)[0].announced, [net("192.0.2.10/32")]);
}

#[test]
fn nobody_is_let_in_who_is_held_off_or_not_wanted() {
    let now = Instant::now();
    let mut peer = connected(routes(&[]), now);
    peer.handle(now, Input::Received(Slot::Main, &keepalive()));
    assert_eq!(peer.state(), SessionState::Idle);
    drain(&mut peer);
    peer.handle(now, Input::Accepted(endpoint()));
    assert_eq!(told(&mut peer), ["refuse 6/5"]);
    let (at, _) = peer.poll_timeout().unwrap();
    peer.handle_timeout(at);
    peer.handle(at, Input::Accepted(endpoint()));
    assert_eq!(told(&mut peer), ["connect", "accept", "OPEN Contender"]);
    peer.handle(at, Input::Stop(Farewell::Deconfigured));
    let expected = ["6/3 Contender", "close Contender", "close Main"];
    assert_eq!(told(&mut peer), expected);
    peer.handle(at, Input::Accepted(endpoint()));
    assert_eq!(told(&mut peer), ["refuse 6/5"]);
}

#[test]
fn one_that_says_nothing_makes_way_and_one_that_does_stays() {
    let now = Instant::now();
    let mut peer = twice(settings(), now);
    peer.handle(now, Input::Accepted(endpoint()));
    let expected = [
        "6/7 Contender",
        "close Contender",
        "accept",
        "OPEN Contender",
    ];
    assert_eq!(told(&mut peer), expected);
    peer.handle(now, Input::Received(Slot::Contender, &open(LOWER)));
    drain(&mut peer);
    peer.handle(now, Input::Accepted(endpoint()));
    assert_eq!(told(&mut peer), ["refuse 6/5"]);
}

#[test]
fn whom_we_only_wait_for_is_never_dialled() {
    let mut now = Instant::now();
    let passive = Settings {
        passive: true,
        ..settings()
    };
    let mut peer = Peer::new(passive, routes(&[]), fastrand::Rng::with_seed(3));
    peer.handle(now, Input::Start);
    assert_eq!(drain(&mut peer).len(), 1, "a change of state");
    for _ in 0..3 {
        peer.handle(now, Input::Accepted(endpoint()));
        let stream = [open(LOWER), keepalive()].concat();
        peer.handle(now, Input::Received(Slot::Contender, &stream));
        assert_eq!(peer.state(), SessionState::Established);
        peer.handle(now, Input::Failed(Slot::Main, "reset".to_owned()));
        let (at, timer) = peer.poll_timeout().unwrap();
        assert_eq!(timer, Timer::IdleHold);
        now = at;
        peer.handle_timeout(now);
        assert_eq!(peer.state(), SessionState::Active);
        assert!(!told(&mut peer).contains(&"connect".to_owned()));
    }
}
