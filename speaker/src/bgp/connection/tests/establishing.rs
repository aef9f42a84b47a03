//! What is offered, what is accepted, and how long is waited before it is tried again.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ferrolb_crds::model::{PeerAsn, RouterId};

use crate::bgp::GracefulRestart;

use super::super::super::message::{self, ExtendedNextHop, NextHop, Preserved};
use super::super::super::notification::{ExpectedAs, OpenError};
use super::super::super::tests::{asn, hex};
use super::super::negotiation::{negotiate, offer};
use super::*;

fn negotiated(settings: &Settings, open: &Open) -> Result<Negotiated, OpenError> {
    negotiate(settings, endpoint(), open)
}

fn over_v6() -> Endpoint {
    Endpoint {
        local: "fd00::11".parse().unwrap(),
        ..endpoint()
    }
}

#[test]
fn the_families_configured_are_offered_and_nothing_else() {
    let settings = Settings {
        families: BTreeSet::from([Family::V6]),
        local_asn: asn(4_200_000_001),
        ..settings()
    };
    let open = offer(&settings, &over_v6(), false);
    assert_eq!(open.autonomous_system, 23456, "AS_TRANS");
    let expected = [
        Capability::MultiProtocol(AfiSafi::unicast(Family::V6)),
        Capability::RouteRefresh,
        Capability::ExtendedMessage,
        Capability::FourOctetAsn(4_200_000_001),
        Capability::EnhancedRouteRefresh,
    ];
    assert_eq!(open.capabilities, expected);
}

#[test]
fn extended_next_hops_are_offered_and_agreed_on_over_ipv6_only() {
    let extended = Capability::ExtendedNextHop(vec![ExtendedNextHop::IPV4_OVER_IPV6]);
    let over_v4 = offer(&settings(), &endpoint(), false);
    assert!(!over_v4.capabilities.contains(&extended));
    let over_v6_open = offer(&settings(), &over_v6(), false);
    assert!(over_v6_open.capabilities.contains(&extended));

    let mut open = router_open();
    let agreed = |endpoint: Endpoint, open: &Open| {
        let session = negotiate(&settings(), endpoint, open).unwrap();
        session.has_extended_next_hop
    };
    assert!(!agreed(over_v6(), &open));
    open.capabilities.push(extended);
    assert!(agreed(over_v6(), &open));
    assert!(!agreed(endpoint(), &open));
}

#[test]
fn the_families_both_offer_are_agreed_on() {
    let agreed = |capabilities: Vec<Capability>| {
        let open = Open {
            capabilities,
            ..router_open()
        };
        negotiated(&settings(), &open).map(|session| session.families)
    };
    let families = |capabilities| {
        agreed(capabilities)
            .unwrap()
            .into_iter()
            .collect::<Vec<_>>()
    };
    let unicast = |family| Capability::MultiProtocol(AfiSafi::unicast(family));
    let multicast = Capability::MultiProtocol(AfiSafi { afi: 1, safi: 2 });
    assert_eq!(families(vec![unicast(Family::V6)]), [Family::V6]);
    assert_eq!(
        families(vec![unicast(Family::V4), multicast.clone()]),
        [Family::V4]
    );
    let missing = hex("0104 0001 00 01 0104 0002 00 01");
    let error = OpenError::UnsupportedCapability(missing);
    assert_eq!(agreed(vec![multicast]), Err(error), "RFC 5492 §3");
    // RFC 4760 §8: a peer that does not know of families knows IPv4.
    assert_eq!(families(vec![]), [Family::V4]);
}

#[test]
fn a_peer_has_to_be_in_the_as_that_is_expected() {
    let accepts = |expected: PeerAsn, offered: u32| {
        let settings = Settings {
            peer_asn: expected,
            ..settings()
        };
        let open = Open {
            autonomous_system: u16::try_from(offered).unwrap_or(23456),
            capabilities: vec![Capability::FourOctetAsn(offered)],
            ..router_open()
        };
        negotiated(&settings, &open).map(|session| session.is_internal)
    };
    let refused = |offered, expected| Err(OpenError::BadPeerAs { offered, expected });
    let ours = asn(64601);
    let exactly = |number| ExpectedAs::Exactly(asn(number));
    assert_eq!(accepts(PeerAsn::Exact(asn(64500)), 64500), Ok(false));
    assert_eq!(
        accepts(PeerAsn::Exact(asn(64500)), 64501),
        refused(64501, exactly(64500))
    );
    assert_eq!(accepts(PeerAsn::Exact(asn(70000)), 70000), Ok(false));
    assert_eq!(
        accepts(PeerAsn::Exact(asn(70000)), 70001),
        refused(70001, exactly(70000))
    );
    assert_eq!(accepts(PeerAsn::Internal, 64601), Ok(true));
    assert_eq!(
        accepts(PeerAsn::Internal, 64500),
        refused(64500, exactly(64601))
    );
    assert_eq!(accepts(PeerAsn::External, 64500), Ok(false));
    assert_eq!(
        accepts(PeerAsn::External, 64601),
        refused(64601, ExpectedAs::OtherThan(ours))
    );
    assert_eq!(
        accepts(PeerAsn::External, 0),
        refused(0, ExpectedAs::OtherThan(ours))
    );
}

#[test]
fn without_the_capability_the_as_is_the_one_of_two_octets() {
    let open = Open {
        capabilities: vec![],
        ..router_open()
    };
    let session = negotiated(&settings(), &open).unwrap();
    assert_eq!(session.peer_asn, asn(64500));
    assert!(!session.has_four_octet_asn);
}

#[test]
fn an_identifier_must_not_be_zero_nor_within_an_as_our_own() {
    let accepts = |id: &str, peer_asn: u32| {
        let settings = Settings {
            peer_asn: PeerAsn::Exact(asn(peer_asn)),
            ..settings()
        };
        let open = Open {
            router_id: id.parse().unwrap(),
            capabilities: vec![Capability::FourOctetAsn(peer_asn)],
            ..router_open()
        };
        negotiated(&settings, &open).map(|_| ())
    };
    let refused = |id: &str| Err(OpenError::BadBgpIdentifier(id.parse().unwrap()));
    assert_eq!(accepts("0.0.0.0", 64500), refused("0.0.0.0"));
    assert_eq!(accepts("10.0.0.11", 64601), refused("10.0.0.11"));
    // RFC 6286 §2.1: unique within an AS is unique enough.
    assert_eq!(accepts("10.0.0.11", 64500), Ok(()));
    assert_eq!(accepts("10.0.0.1", 64601), Ok(()));
}

#[test]
fn the_hold_time_is_the_lesser_and_never_one_or_two_seconds() {
    let hold_time = |offered: u16| {
        let open = Open {
            hold_time: offered,
            ..router_open()
        };
        negotiated(&settings(), &open).map(|session| session.hold_time.seconds())
    };
    assert_eq!(hold_time(240), Ok(90));
    assert_eq!(hold_time(3), Ok(3));
    assert_eq!(hold_time(0), Ok(0));
    assert_eq!(hold_time(1), Err(OpenError::UnacceptableHoldTime(1)));
    assert_eq!(hold_time(2), Err(OpenError::UnacceptableHoldTime(2)));
}

#[test]
fn an_identifier_is_found_for_every_node() {
    let v6_only = Endpoint {
        local: "fd00::11".parse().unwrap(),
        interface: vec!["fd00::11".parse().unwrap()],
        ports: Ports::default(),
    };
    let configured = Settings {
        router_id: Some(RouterId(Ipv4Addr::new(9, 9, 9, 9))),
        ..settings()
    };
    let id = |text: &str| text.parse::<Ipv4Addr>().unwrap();
    assert_eq!(endpoint().router_id(&configured), id("9.9.9.9"));
    assert_eq!(endpoint().router_id(&settings()), id("10.0.0.11"));
    assert_eq!(over_v6().router_id(&settings()), id("10.0.0.11"));
    let named = |node: &str| {
        v6_only.router_id(&Settings {
            node: node.to_owned(),
            ..settings()
        })
    };
    assert!(!named("n1").is_unspecified());
    assert_ne!(named("n1"), named("n2"));
    assert_eq!(named("n1"), named("n1"));
}

#[test]
fn a_next_hop_is_an_address_of_the_interface_of_the_session() {
    let v4 = |text: &str| Ok(NextHop::V4(text.parse().unwrap()));
    let v6 = |global: &str, link_local: Option<&str>| {
        Ok(NextHop::V6 {
            global: global.parse().unwrap(),
            link_local: link_local.map(|text| text.parse().unwrap()),
        })
    };
    assert_eq!(endpoint().next_hop(Family::V4, false), v4("10.0.0.11"));
    assert_eq!(endpoint().next_hop(Family::V6, false), v6("fd00::11", None));
    assert_eq!(over_v6().next_hop(Family::V6, false), v6("fd00::11", None));
    assert_eq!(over_v6().next_hop(Family::V4, true), v6("fd00::11", None));
    assert_eq!(over_v6().next_hop(Family::V4, false), v4("10.0.0.11"));
}

#[test]
fn without_a_next_hop_a_family_is_not_announced() {
    let only = |local: &str| {
        let local: IpAddr = local.parse().unwrap();
        Endpoint {
            local,
            interface: vec![local, "fe80::11".parse().unwrap(), "::1".parse().unwrap()],
            ports: Ports::default(),
        }
    };
    assert_eq!(
        only("10.0.0.11").next_hop(Family::V6, true),
        Err(NoNextHop::V6)
    );
    assert_eq!(
        only("fd00::11").next_hop(Family::V4, false),
        Err(NoNextHop::V4)
    );
}

#[test]
fn a_session_over_link_local_addresses_names_both() {
    let local: IpAddr = "fe80::11".parse().unwrap();
    let next_hop = |endpoint: Endpoint| endpoint.next_hop(Family::V6, false).unwrap();
    let both = |global: &str| NextHop::V6 {
        global: global.parse().unwrap(),
        link_local: Some("fe80::11".parse().unwrap()),
    };
    let numbered = Endpoint {
        local,
        ..endpoint()
    };
    assert_eq!(next_hop(numbered.clone()), both("fd00::11"));
    let unnumbered = Endpoint {
        interface: vec![local],
        ..numbered
    };
    assert_eq!(next_hop(unnumbered), both("fe80::11"));
}

/// How long the connection waits in Idle or Active before it dials again.
fn waited(connection: &Connection, now: Instant) -> Duration {
    let (at, timer) = connection.poll_timeout().unwrap();
    assert!(matches!(timer, Timer::IdleHold | Timer::ConnectRetry));
    at - now
}

fn within(waited: Duration, nominal: u32) {
    let nominal = nominal * SECOND;
    assert!(
        (nominal * 3 / 4..=nominal).contains(&waited),
        "{waited:?} of {nominal:?}"
    );
}

#[test]
fn a_peer_that_is_not_there_is_tried_less_and_less_often() {
    let mut now = Instant::now();
    let mut connection = Connection::new(settings(), rng());
    connection.handle(now, Input::ManualStart);
    for nominal in [1, 2, 4, 8, 16, 30, 30] {
        connection.handle(now, Input::TcpFailed("connection refused".to_owned()));
        within(waited(&connection, now), nominal);
        now += waited(&connection, now);
        connection.handle_timeout(now);
        assert_eq!(connection.state(), SessionState::Connect);
    }
}

#[test]
fn a_configured_connect_retry_time_is_kept() {
    let mut now = Instant::now();
    let settings = Settings {
        connect_retry_time: Some(5 * SECOND),
        ..settings()
    };
    let mut connection = Connection::new(settings, rng());
    connection.handle(now, Input::ManualStart);
    for _ in 0..5 {
        connection.handle(now, Input::TcpFailed("connection refused".to_owned()));
        within(waited(&connection, now), 5);
        now += waited(&connection, now);
        connection.handle_timeout(now);
    }
}

#[test]
fn a_connection_that_does_not_come_up_is_tried_anew() {
    let now = Instant::now();
    let mut connection = Connection::new(settings(), rng());
    told(&mut connection, now, &[Input::ManualStart]);
    within(waited(&connection, now), 10);
    connection.handle_timeout(now + 10 * SECOND);
    assert_eq!(drain(&mut connection), [Output::Connect]);
    assert_eq!(connection.state(), SessionState::Connect);
    assert_eq!(connection.last_failure(), Some(&Reason::NoAnswer));
    within(waited(&connection, now + 10 * SECOND), 10);
}

#[test]
fn the_back_off_is_forgotten_only_after_a_session_that_lasted() {
    let mut now = Instant::now();
    let mut connection = Connection::new(settings(), rng());
    connection.handle(now, Input::ManualStart);
    let mut session = |now: &mut Instant, lasting: Duration| {
        let up = [
            Input::TcpConfirmed(endpoint()),
            Input::Open(router_open()),
            Input::Keepalive,
        ];
        told(&mut connection, *now, &up);
        *now += lasting;
        connection.handle(*now, Input::TcpFailed("connection reset".to_owned()));
        let waited = waited(&connection, *now);
        *now += waited;
        connection.handle_timeout(*now);
        waited
    };
    for nominal in [1, 2, 4, 8, 16] {
        within(session(&mut now, SECOND), nominal);
    }
    within(session(&mut now, 31 * SECOND), 1);
    within(session(&mut now, SECOND), 2);
}

fn gracefully(settings: Settings, long_lived: Option<Duration>) -> Settings {
    Settings {
        graceful_restart: Some(GracefulRestart { long_lived }),
        ..settings
    }
}

fn offered_restart(families: &[Family], has_notification: bool) -> Capability {
    let preserved = |family: &Family| Preserved {
        afi_safi: AfiSafi::unicast(*family),
        is_forwarding: true,
    };
    Capability::GracefulRestart(message::GracefulRestart {
        is_restarting: false,
        has_notification,
        restart_time: 120,
        families: families.iter().map(preserved).collect(),
    })
}

#[test]
fn graceful_restart_is_offered_for_every_family_when_asked_for() {
    let settings = gracefully(settings(), None);
    let offered = |is_restarting| offer(&settings, &endpoint(), is_restarting).capabilities;
    let expected = offered_restart(&Family::ALL, true);
    assert!(offered(false).contains(&expected));
    let Capability::GracefulRestart(plain) = expected else {
        panic!("graceful restart");
    };
    let restarting = Capability::GracefulRestart(message::GracefulRestart {
        is_restarting: true,
        ..plain
    });
    assert!(offered(true).contains(&restarting));
}

#[test]
fn long_lived_graceful_restart_is_offered_when_asked_for_and_within_its_24_bits() {
    let offered = |long_lived| {
        let settings = gracefully(settings(), long_lived);
        let open = offer(&settings, &endpoint(), false);
        open.capabilities.into_iter().find_map(|capability| {
            let Capability::LongLivedGracefulRestart(families) = capability else {
                return None;
            };
            assert!(families.iter().all(|family| family.is_forwarding));
            Some((families.len(), families[0].stale_time))
        })
    };
    assert_eq!(offered(None), None);
    assert_eq!(offered(Some(3600 * SECOND)), Some((2, 3600)));
    let beyond = Duration::from_secs(1 << 40);
    assert_eq!(offered(Some(beyond)), Some((2, 0x00ff_ffff)));
}

#[test]
fn graceful_restart_takes_two_and_of_several_capabilities_the_last_counts() {
    let terms = |settings: Settings, capabilities: &[Capability]| {
        let mut open = router_open();
        open.capabilities.extend_from_slice(capabilities);
        negotiated(&settings, &open).unwrap().graceful_restart
    };
    let ours = || gracefully(settings(), None);
    let terms_of = |has_notification, is_mutual| {
        Some(RestartTerms {
            has_notification,
            is_mutual,
        })
    };
    let helper = offered_restart(&[], false);
    let full = offered_restart(&[Family::V4], true);
    assert_eq!(terms(ours(), &[]), None);
    assert_eq!(terms(settings(), std::slice::from_ref(&full)), None);
    assert_eq!(
        terms(ours(), std::slice::from_ref(&helper)),
        terms_of(false, false)
    );
    assert_eq!(
        terms(ours(), std::slice::from_ref(&full)),
        terms_of(true, true)
    );
    // RFC 4724 §3.
    assert_eq!(terms(ours(), &[full, helper]), terms_of(false, false));
}

#[test]
fn what_only_one_side_offers_is_not_used() {
    let agreed = |capabilities: &[Capability]| {
        let mut open = router_open();
        open.capabilities.extend_from_slice(capabilities);
        let session = negotiated(&settings(), &open).unwrap();
        (session.message_limit(), session.has_enhanced_refresh)
    };
    assert_eq!(agreed(&[]), (4096, false));
    assert_eq!(agreed(&[Capability::ExtendedMessage]), (65535, false));
    assert_eq!(agreed(&[Capability::EnhancedRouteRefresh]), (4096, true));
}

#[test]
fn what_both_sides_can_do_is_named() {
    let names = |settings: &Settings, capabilities: &[Capability]| {
        let mut open = router_open();
        open.capabilities.extend_from_slice(capabilities);
        negotiated(settings, &open).unwrap().capabilities()
    };
    let most = [
        Capability::RouteRefresh,
        Capability::EnhancedRouteRefresh,
        Capability::ExtendedMessage,
        offered_restart(&[Family::V4], true),
        Capability::LongLivedGracefulRestart(Vec::new()),
    ];
    assert_eq!(names(&settings(), &[]), ["fourOctetAsn"]);
    // Of restarts nothing is agreed on that only the peer offers.
    let without = [
        "enhancedRouteRefresh",
        "extendedMessage",
        "fourOctetAsn",
        "routeRefresh",
    ];
    assert_eq!(names(&settings(), &most), without);
    let short = names(&gracefully(settings(), None), &most);
    assert!(short.contains(&"gracefulRestartNotification"), "{short:?}");
    assert!(!short.contains(&"longLivedGracefulRestart"), "{short:?}");
    let long = names(&gracefully(settings(), Some(3600 * SECOND)), &most);
    assert!(long.contains(&"longLivedGracefulRestart"), "{long:?}");
}

#[test]
fn it_is_a_restart_until_there_has_been_a_session() {
    let now = Instant::now();
    let mut connection = Connection::new(gracefully(settings(), None), rng());
    let is_restarting = |outputs: &[Output]| {
        outputs.iter().find_map(|output| {
            let Output::Send(Message::Open(open)) = output else {
                return None;
            };
            open.capabilities.iter().find_map(|capability| {
                let Capability::GracefulRestart(restart) = capability else {
                    return None;
                };
                Some(restart.is_restarting)
            })
        })
    };
    let up = Input::TcpConfirmed(endpoint());
    let outputs = told(&mut connection, now, &[Input::ManualStart, up.clone()]);
    assert_eq!(is_restarting(&outputs), Some(true));
    let lost = Input::TcpFailed("reset".to_owned());
    let retry = Input::Timer(Timer::ConnectRetry);
    let outputs = told(&mut connection, now, &[lost.clone(), retry, up.clone()]);
    assert_eq!(is_restarting(&outputs), Some(true), "there was no session");
    let session = [Input::Open(router_open()), Input::Keepalive, lost];
    told(&mut connection, now, &session);
    let outputs = told(&mut connection, now, &[Input::Timer(Timer::IdleHold), up]);
    assert_eq!(is_restarting(&outputs), Some(false));
}
