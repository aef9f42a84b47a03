//! What is known of a session while it is established, and why it ended.

use super::*;

fn opens(established: &Established) -> (&[u8], &[u8]) {
    (&established.opens.sent, &established.opens.received)
}

#[test]
fn an_established_session_has_both_opens_as_they_were_on_the_wire() {
    let now = Instant::now();
    let mut peer = Peer::new(settings(), routes(&[]), fastrand::Rng::with_seed(3));
    peer.handle(now, Input::Start);
    peer.handle(now, Input::Connected(endpoint()));
    let ours = sent(&drain(&mut peer)).concat();
    assert_eq!(peer.established(), None);
    peer.handle(now, Input::Received(Slot::Main, &router_open()));
    assert_eq!(peer.established(), None);
    peer.handle(now + SECOND, Input::Received(Slot::Main, &keepalive()));
    let established = peer.established().unwrap();
    assert_eq!(
        opens(&established),
        (ours.as_slice(), router_open().as_slice())
    );
    assert_eq!(established.since, now + SECOND);
    assert_eq!(established.session.peer_router_id.to_string(), "10.0.0.1");
    assert_eq!(established.session.endpoint.ports.remote, 179);

    let moved = Endpoint {
        interface: Vec::new(),
        ..endpoint()
    };
    peer.handle(now, Input::Relocated(moved.clone()));
    let relocated = peer.established().unwrap();
    assert_eq!(relocated.session.endpoint, moved);
    assert_eq!(relocated.since, established.since, "the same session");
}

#[test]
fn the_connection_that_the_peer_dialled_has_opens_of_its_own() {
    let now = Instant::now();
    let passive = Settings {
        passive: true,
        ..settings()
    };
    let mut peer = Peer::new(passive, routes(&[]), fastrand::Rng::with_seed(3));
    peer.handle(now, Input::Start);
    peer.handle(now, Input::Accepted(endpoint()));
    let ours = sent(&drain(&mut peer)).concat();
    peer.handle(now, Input::Received(Slot::Contender, &router_open()));
    peer.handle(now, Input::Received(Slot::Main, &keepalive()));
    let established = peer.established().unwrap();
    assert_eq!(
        opens(&established),
        (ours.as_slice(), router_open().as_slice())
    );
}

#[test]
fn why_a_session_ended_is_known_with_the_notification() {
    let now = Instant::now();
    let cease = hex("ffffffffffffffffffffffffffffffff 0015 03 06 02");
    let failed = || Input::Failed(Slot::Main, "connection reset".to_owned());
    let ended = |input: Input<'_>| {
        let mut peer = established(routes(&[]), now);
        assert_eq!(peer.ended(), None);
        peer.handle(now, input);
        assert_eq!(peer.established(), None);
        let sent = sent(&drain(&mut peer)).concat();
        (peer.ended().unwrap().as_ref().clone(), sent)
    };
    let received = ended(Input::Received(Slot::Main, &cease));
    assert_eq!(received, (Ended::Received(cease), Vec::new()));
    assert_eq!(ended(failed()), (Ended::Lost, Vec::new()));
    for input in [
        Input::BfdDown,
        Input::Stop(Farewell::Deconfigured),
        Input::Received(Slot::Main, &[0; 19]),
    ] {
        let (ended, sent) = ended(input);
        assert_eq!(ended, Ended::Sent(sent));
    }
    // What comes to nothing later is no end of a session.
    let mut peer = established(routes(&[]), now);
    peer.handle(now, failed());
    drain(&mut peer);
    peer.handle(now, Input::Stop(Farewell::Deconfigured));
    assert_eq!(peer.ended().unwrap().as_ref(), &Ended::Lost);
}

#[test]
fn a_session_that_ends_without_a_word_has_the_event() {
    let now = Instant::now();
    let mut peer = established(routes(&[]), now);
    peer.handle(now, Input::SendBlocked(Slot::Main));
    // The hold timer of the peer is as long, and is kept from expiring.
    let at = now + 8 * SECOND;
    peer.handle(at, Input::Received(Slot::Main, &keepalive()));
    peer.handle_timeout(now + 9 * SECOND);
    assert_eq!(peer.ended().unwrap().as_ref(), &Ended::Closed(29));
}
