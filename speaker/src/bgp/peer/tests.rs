#![expect(
    clippy::disallowed_methods,
    reason = "an Instant has no other beginning"
)]

mod collision;
mod established;
mod properties;
mod simulation;

use std::time::Duration;

use super::super::Route;
use super::super::message::{AfiSafi, Capability, Message, Open};
use super::super::tests::{Update, endpoint, hex, message, net, settings};
use super::*;
use crate::mutator::mutate;

const SECOND: Duration = Duration::from_secs(1);

fn routes(prefixes: &[&str]) -> Arc<Routes> {
    let routes = prefixes.iter().map(|p| (net(p), Route::default()));
    Arc::new(routes.collect())
}

/// One prefix goes and another comes.
fn instead(gone: &str, new: &str) -> Arc<Changed> {
    let new = (net(new), Some(Route::default()));
    Arc::new(Changed::from([(net(gone), None), new]))
}

fn router_open() -> Vec<u8> {
    codec::encode(&Message::Open(Open {
        autonomous_system: 64500,
        hold_time: 9,
        router_id: "10.0.0.1".parse().unwrap(),
        capabilities: vec![
            Capability::MultiProtocol(AfiSafi::unicast(Family::V4)),
            Capability::MultiProtocol(AfiSafi::unicast(Family::V6)),
        ],
    }))
}

fn keepalive() -> Vec<u8> {
    codec::encode(&Message::Keepalive)
}

fn drain(peer: &mut Peer) -> Vec<Output> {
    std::iter::from_fn(|| peer.poll()).collect()
}

fn updates(peer: &mut Peer, now: Instant) -> Vec<Update> {
    std::iter::from_fn(|| peer.poll_update(now))
        .map(|message| Update::read(&message))
        .collect()
}

fn sent(outputs: &[Output]) -> Vec<Vec<u8>> {
    let mut sent = Vec::new();
    for output in outputs {
        if let Output::Send(_, octets) = output {
            sent.push(octets.clone());
        }
    }
    sent
}

fn connected(desired: Arc<Routes>, now: Instant) -> Peer {
    let mut peer = Peer::new(settings(), desired, fastrand::Rng::with_seed(3));
    peer.handle(now, Input::Start);
    peer.handle(now, Input::Connected(endpoint()));
    drain(&mut peer);
    peer
}

fn established(desired: Arc<Routes>, now: Instant) -> Peer {
    let mut peer = connected(desired, now);
    peer.handle(now, Input::Received(Slot::Main, &router_open()));
    peer.handle(now, Input::Received(Slot::Main, &keepalive()));
    drain(&mut peer);
    assert_eq!(peer.state(), SessionState::Established);
    peer
}

#[test]
fn the_stream_may_come_in_any_pieces() {
    let now = Instant::now();
    let stream = [router_open(), keepalive(), keepalive()].concat();
    for size in [1, 2, 18, 19, 20, 30, stream.len()] {
        let mut peer = connected(routes(&[]), now);
        for piece in stream.chunks(size) {
            peer.handle(now, Input::Received(Slot::Main, piece));
        }
        assert_eq!(peer.state(), SessionState::Established, "pieces of {size}");
        assert_eq!(sent(&drain(&mut peer)), [keepalive()]);
    }
}

#[test]
fn routes_are_sent_when_the_session_is_established_and_not_before() {
    let now = Instant::now();
    let mut peer = connected(routes(&["192.0.2.10/32"]), now);
    assert_eq!(peer.poll_update(now), None);
    peer.handle(now, Input::Received(Slot::Main, &router_open()));
    assert_eq!(peer.poll_update(now), None);
    peer.handle(now, Input::Received(Slot::Main, &keepalive()));
    assert_eq!(updates(&mut peer, now).len(), 3);
    assert_eq!((peer.prefixes(), peer.updates_sent()), (1, 3));
    peer.handle(
        now,
        Input::Changed(instead("192.0.2.10/32", "192.0.2.11/32")),
    );
    assert_eq!(updates(&mut peer, now).len(), 2);
    assert_eq!((peer.prefixes(), peer.updates_sent()), (1, 5));
}

#[test]
fn everything_is_sent_again_to_a_peer_that_comes_back() {
    let mut now = Instant::now();
    let mut peer = established(routes(&["192.0.2.10/32"]), now);
    assert_eq!(updates(&mut peer, now)[0].announced, [net("192.0.2.10/32")]);
    peer.handle(
        now,
        Input::Failed(Slot::Main, "connection reset".to_owned()),
    );
    assert_eq!((peer.prefixes(), peer.families().len()), (0, 0));
    assert_eq!(peer.last_error().as_deref(), Some("connection reset"));
    // Meanwhile something else is wanted.
    peer.handle(
        now,
        Input::Changed(instead("192.0.2.10/32", "192.0.2.11/32")),
    );
    now += 30 * SECOND;
    peer.handle_timeout(now);
    peer.handle(now, Input::Connected(endpoint()));
    let stream = [router_open(), keepalive()].concat();
    peer.handle(now, Input::Received(Slot::Main, &stream));
    assert_eq!(updates(&mut peer, now)[0].announced, [net("192.0.2.11/32")]);
}

#[test]
fn half_a_message_of_a_lost_connection_is_forgotten() {
    let mut now = Instant::now();
    let mut peer = established(routes(&[]), now);
    peer.handle(now, Input::Received(Slot::Main, &keepalive()[..7]));
    peer.handle(
        now,
        Input::Failed(Slot::Main, "connection reset".to_owned()),
    );
    now += 30 * SECOND;
    peer.handle_timeout(now);
    peer.handle(now, Input::Connected(endpoint()));
    peer.handle(now, Input::Received(Slot::Main, &router_open()));
    assert_eq!(peer.state(), SessionState::OpenConfirm);
}

#[test]
fn a_route_refresh_is_answered() {
    let now = Instant::now();
    let mut peer = established(routes(&["192.0.2.10/32", "2001:db8::/64"]), now);
    updates(&mut peer, now);
    peer.handle(
        now,
        Input::Received(Slot::Main, &message(5, &hex("0002 00 01"))),
    );
    let again = updates(&mut peer, now);
    assert_eq!(again[0].announced, [net("2001:db8::/64")]);
}

#[test]
fn a_header_error_is_answered_with_its_data_and_ends_the_reading() {
    let now = Instant::now();
    let mut peer = established(routes(&[]), now);
    let mut stream = keepalive();
    stream[17] = 18;
    stream.extend(router_open());
    peer.handle(now, Input::Received(Slot::Main, &stream));
    let outputs = drain(&mut peer);
    assert_eq!(sent(&outputs), [message(3, &hex("0102 0012"))]);
    assert!(outputs.contains(&Output::Close(Slot::Main)));
    assert_eq!(peer.state(), SessionState::Idle);
    let error = peer.last_error().unwrap();
    assert_eq!(
        error,
        "the peer sent a bad message header: a message of 18 octets is not possible"
    );
}

#[test]
fn what_is_not_announced_is_said_while_established() {
    let now = Instant::now();
    let mut v4_only = endpoint();
    v4_only.interface = vec!["10.0.0.11".parse().unwrap()];
    let desired = routes(&["2001:db8::/64"]);
    let mut peer = Peer::new(settings(), desired, fastrand::Rng::with_seed(3));
    peer.handle(now, Input::Start);
    peer.handle(now, Input::Connected(v4_only));
    peer.handle(now, Input::Received(Slot::Main, &router_open()));
    peer.handle(now, Input::Received(Slot::Main, &keepalive()));
    let error = peer.last_error().unwrap();
    assert!(
        error.starts_with("IPv6 prefixes are not announced: "),
        "{error}"
    );
    peer.handle(
        now,
        Input::Changed(instead("2001:db8::/64", "192.0.2.10/32")),
    );
    assert_eq!(peer.last_error(), None);
}

#[test]
fn a_received_update_changes_nothing() {
    let now = Instant::now();
    let mut peer = established(routes(&["192.0.2.10/32"]), now);
    updates(&mut peer, now);
    let hang = "0000 0014 40010100 40020702 01fc0040 03040102 0304180a 0000";
    peer.handle(now, Input::Received(Slot::Main, &message(2, &hex(hang))));
    assert_eq!(drain(&mut peer), []);
    assert_eq!(peer.poll_update(now), None);
    assert_eq!(peer.state(), SessionState::Established);
}

#[test]
fn a_new_key_is_tried_at_once_and_only_while_established() {
    let now = Instant::now();
    let mut peer = established(routes(&[]), now);
    let before = peer.messages().keepalives_sent;
    peer.handle(now, Input::Adjusted(settings().live()));
    assert_eq!(drain(&mut peer), [Output::Send(Slot::Main, keepalive())]);
    assert_eq!(peer.messages().keepalives_sent, before + 1);

    let mut peer = connected(routes(&[]), now);
    peer.handle(now, Input::Adjusted(settings().live()));
    assert_eq!(drain(&mut peer), []);
}

#[test]
fn i7_a_stream_of_rubbish_neither_panics_nor_grows() {
    let now = Instant::now();
    let refresh = message(5, &hex("0001 00 01"));
    let update = message(2, &hex("0005 20c000020a 0003 400101 00"));
    let seeds = [
        [router_open(), keepalive(), refresh.clone(), keepalive()].concat(),
        [router_open(), keepalive(), update, refresh].concat(),
        [router_open(), keepalive(), message(3, &hex("0602"))].concat(),
    ];
    mutate(&seeds, |stream| {
        let mut peer = connected(routes(&["192.0.2.10/32", "2001:db8::/64"]), now);
        for piece in stream.chunks(37) {
            peer.handle(now, Input::Received(Slot::Main, piece));
            assert!(peer.main.inbox.len() < codec::MAX_MESSAGE);
            assert!(drain(&mut peer).len() < 16);
            assert!(updates(&mut peer, now).len() < 16);
        }
    });
}
