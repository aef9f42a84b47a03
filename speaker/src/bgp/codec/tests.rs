#![expect(
    clippy::indexing_slicing,
    reason = "a test may panic on octets that are not there"
)]

mod capabilities;
mod extended;

use std::net::{IpAddr, Ipv4Addr};

use ferrolb_crds::model::Family;
use ipnet::IpNet;

use super::super::message::{
    AfiSafi, AsPath, Attributes, Capability, ExtendedNextHop, GracefulRestart, LinkBandwidth,
    LongLived, NextHop, Open, Preserved, RefreshMarker,
};
use super::super::notification::{Cease, OpenError, RefreshError, UpdateError};
use super::super::tests::{Update, hex, message, net};
use super::*;
use crate::mutator::mutate;

const MARKER: &str = "ffffffffffffffffffffffffffffffff";

// What FRR 8.4.4 sends with `hostname rtr1.lab.example`, captured. zettabgp refuses it for the
// domain name in capability 73.
const FRR_OPEN: &str = "0086 01 04fbf400090a00000169 02060104000100010206010400020001020280000202
    020002024600020641040000fbf402020600020a450800010101000201010213491104727472310b6c61622e6578616d
    706c65020c400ac07800010100000201000210470e0001018000000000020180000000";

// What we send, captured on the way to FRR.
const OUR_OPEN: &str = "0033 01 04 fc59 0009 0a00000b 16
    02 14 01040001 0001 01040002 0001 0200 4104 0000fc59";

fn captured(digits: &str) -> Vec<u8> {
    hex(&format!("{MARKER}{digits}"))
}

fn decoded(stream: &[u8]) -> Result<Received, Malformed> {
    let frame = frame(stream, MAX_MESSAGE)?.expect("a whole message");
    assert_eq!(frame.size(), stream.len());
    decode(frame)
}

fn capability(code: u8, value: &[u8]) -> Capability {
    let value = value.to_vec();
    Capability::Other { code, value }
}

fn unicast(family: Family) -> Capability {
    Capability::MultiProtocol(AfiSafi::unicast(family))
}

fn our_open() -> Open {
    Open {
        autonomous_system: 64601,
        hold_time: 9,
        router_id: Ipv4Addr::new(10, 0, 0, 11),
        capabilities: vec![
            unicast(Family::V4),
            unicast(Family::V6),
            Capability::RouteRefresh,
            Capability::FourOctetAsn(64601),
        ],
    }
}

#[test]
fn an_open_of_frr_with_host_and_domain_name_is_read() {
    let preserved = |family| Preserved {
        afi_safi: AfiSafi::unicast(family),
        is_forwarding: false,
    };
    let long_lived = |family| LongLived {
        afi_safi: AfiSafi::unicast(family),
        is_forwarding: true,
        stale_time: 0,
    };
    let expected = Open {
        autonomous_system: 64500,
        hold_time: 9,
        router_id: Ipv4Addr::new(10, 0, 0, 1),
        capabilities: vec![
            unicast(Family::V4),
            unicast(Family::V6),
            capability(128, &[]),
            Capability::RouteRefresh,
            Capability::EnhancedRouteRefresh,
            Capability::FourOctetAsn(64500),
            Capability::ExtendedMessage,
            capability(69, &[0, 1, 1, 1, 0, 2, 1, 1]),
            capability(73, b"\x04rtr1\x0blab.example"),
            Capability::GracefulRestart(GracefulRestart {
                is_restarting: true,
                has_notification: true,
                restart_time: 120,
                families: Family::ALL.map(preserved).into(),
            }),
            Capability::LongLivedGracefulRestart(Family::ALL.map(long_lived).into()),
        ],
    };
    assert_eq!(decoded(&captured(FRR_OPEN)), Ok(Received::Open(expected)));
}

#[test]
fn our_open_is_written_and_read() {
    let octets = captured(OUR_OPEN);
    assert_eq!(encode(&Message::Open(our_open())), octets);
    assert_eq!(decoded(&octets), Ok(Received::Open(our_open())));
}

#[test]
fn every_capability_we_know_survives_the_way_there_and_back() {
    let mut open = our_open();
    let triple = ExtendedNextHop::IPV4_OVER_IPV6;
    open.capabilities
        .push(Capability::ExtendedNextHop(vec![triple]));
    open.capabilities.push(capability(73, &[1; 200]));
    let long = encode(&Message::Open(open.clone()));
    assert_eq!(decoded(&long), Ok(Received::Open(open.clone())));
    // RFC 9072: beyond 255 octets the lengths have two.
    open.capabilities.push(capability(73, &[2; 200]));
    let longer = encode(&Message::Open(open.clone()));
    assert_eq!(longer[28..30], [255, 255]);
    assert_eq!(decoded(&longer), Ok(Received::Open(open)));
}

#[test]
fn an_extended_open_may_have_any_length_before_its_type() {
    // RFC 9072 §2: the length that is not extended should be 255, and any but 0 will do.
    let body = hex("04 fc59 0009 0a00000b 04 ff 0005 02 0002 0200");
    let expected = Open {
        capabilities: vec![Capability::RouteRefresh],
        ..our_open()
    };
    assert_eq!(decoded(&message(1, &body)), Ok(Received::Open(expected)));
    let overrun = hex("04 fc59 0009 0a00000b ff ff 0005 02 0003 0200");
    let error = Err(OpenError::Unspecific.into());
    assert_eq!(decoded(&message(1, &overrun)), error);
}

#[test]
fn capabilities_of_the_wrong_length_count_as_not_offered() {
    let body = hex("04 fc59 0009 0a00000b 0c 02 0a 0103000101 4103 0000fc");
    let Ok(Received::Open(open)) = decoded(&message(1, &body)) else {
        panic!("an OPEN");
    };
    let expected = [capability(1, &[0, 1, 1]), capability(65, &[0, 0, 0xfc])];
    assert_eq!(open.capabilities, expected);
}

#[test]
fn a_bad_open_is_refused_with_its_subcode() {
    let refused = |digits: &str| match decoded(&message(1, &hex(digits))) {
        Err(Malformed::Open(error)) => error,
        other => panic!("{other:?}"),
    };
    let fixed = "fc59 0009 0a00000b";
    assert_eq!(
        refused(&format!("03 {fixed} 00")),
        OpenError::UnsupportedVersionNumber(3)
    );
    let authentication = refused(&format!("04 {fixed} 03 01 01 00"));
    assert_eq!(authentication, OpenError::UnsupportedOptionalParameter(1));
    for malformed in [
        "05 02 02 0200",
        "03 02 02 0200",
        "02 02 04",
        "04 02 02 0201",
        "01 02",
    ] {
        let error = refused(&format!("04 {fixed} {malformed}"));
        assert_eq!(error, OpenError::Unspecific, "{malformed}");
    }
}

#[test]
fn a_bad_header_is_refused_before_the_body_has_come() {
    let header = |length: &str, kind: &str| {
        frame(&captured(&format!("{length}{kind}")), MAX_MESSAGE).map(|_| ())
    };
    assert_eq!(header("0012", "04"), Err(HeaderError::BadMessageLength(18)));
    assert_eq!(header("0000", "04"), Err(HeaderError::BadMessageLength(0)));
    assert_eq!(
        header("1001", "02"),
        Err(HeaderError::BadMessageLength(4097))
    );
    assert_eq!(header("1000", "02"), Ok(()));
    assert_eq!(header("0013", "00"), Err(HeaderError::BadMessageType(0)));
    assert_eq!(header("0013", "06"), Err(HeaderError::BadMessageType(6)));
    assert_eq!(header("001c", "01"), Err(HeaderError::BadMessageLength(28)));
    assert_eq!(header("0016", "02"), Err(HeaderError::BadMessageLength(22)));
    assert_eq!(header("0014", "03"), Err(HeaderError::BadMessageLength(20)));
    assert_eq!(header("0014", "04"), Err(HeaderError::BadMessageLength(20)));
    let unsynchronized = hex("fffffffffffffffffffffffffffffffe0013 04");
    assert_eq!(
        frame(&unsynchronized, MAX_MESSAGE),
        Err(HeaderError::ConnectionNotSynchronized)
    );
    for short in 0..19 {
        assert_eq!(frame(&captured("0013 04")[..short], MAX_MESSAGE), Ok(None));
    }
}

#[test]
fn the_small_messages_are_written_and_read() {
    let keepalive = captured("0013 04");
    assert_eq!(encode(&Message::Keepalive), keepalive);
    assert_eq!(decoded(&keepalive), Ok(Received::Keepalive));

    let cease = Notification::from(Cease::AdministrativeShutdown(String::new()));
    let octets = captured("0015 03 0602");
    assert_eq!(encode(&Message::Notification(cease.clone())), octets);
    assert_eq!(decoded(&octets), Ok(Received::Notification(cease)));

    let version = Notification {
        code: 2,
        subcode: 1,
        data: vec![0, 4],
    };
    let octets = captured("0017 03 0201 0004");
    assert_eq!(encode(&Message::Notification(version.clone())), octets);
    assert_eq!(decoded(&octets), Ok(Received::Notification(version)));
}

#[test]
fn a_notification_never_outgrows_a_message() {
    let notification = Notification {
        code: 3,
        subcode: 9,
        data: vec![7; 5000],
    };
    assert_eq!(
        encode(&Message::Notification(notification)).len(),
        MAX_MESSAGE
    );
}

#[test]
fn a_route_refresh_names_a_family_or_nothing_of_ours() {
    let asked = |body: &str| decoded(&message(5, &hex(body)));
    // Captured from FRR after `clear bgp ipv6 unicast … in`.
    let of = |family| Ok(Received::RouteRefresh(family));
    assert_eq!(asked("0002 00 01"), of(Some(Family::V6)));
    assert_eq!(asked("0001 00 01"), of(Some(Family::V4)));
    assert_eq!(asked("0001 00 02"), of(None), "multicast");
    assert_eq!(asked("0001 01 01"), of(None), "BoRR of the peer's");
    assert_eq!(asked("0001 02 01"), of(None), "EoRR of the peer's");
    assert_eq!(asked("0001 ff 01"), of(None), "a subtype nobody knows");
    assert_eq!(asked("0001 ff 01 00"), of(None), "of any length");
    assert_eq!(asked("0001 ff"), of(None));
}

#[test]
fn a_route_refresh_of_the_wrong_length_is_refused_by_its_subtype() {
    let refused = |body: &str| decoded(&message(5, &hex(body))).unwrap_err();
    let long = |body: &str| RefreshError::InvalidMessageLength(message(5, &hex(body))).into();
    assert_eq!(refused("0001 01 01 00"), long("0001 01 01 00"));
    assert_eq!(refused("0001 02 01 0000"), long("0001 02 01 0000"));
    assert_eq!(refused("0001 01"), long("0001 01"));
    // RFC 7313 §5 is about the markers.
    for (body, size) in [
        ("0001 00 01 00", 24),
        ("0001 00", 22),
        ("0001", 21),
        ("ff", 20),
        ("", 19),
    ] {
        assert_eq!(refused(body), HeaderError::BadMessageLength(size).into());
    }
}

#[test]
fn the_marks_around_a_refresh_are_four_octets() {
    let begin = refresh_marker(Family::V4, RefreshMarker::Begin);
    assert_eq!(begin, captured("0017 05 0001 01 01"));
    let end = refresh_marker(Family::V6, RefreshMarker::End);
    assert_eq!(end, captured("0017 05 0002 02 01"));
}

fn attributes(as_path: AsPath, next_hop: NextHop) -> Attributes {
    Attributes {
        as_path,
        next_hop,
        as_path_prepend: 0,
        med: None,
        local_pref: None,
        link_bandwidth: None,
        communities: vec![(64512, 100)],
        large_communities: vec![(64512, 1, 2)],
    }
}

fn v4(address: &str) -> NextHop {
    NextHop::V4(address.parse().unwrap())
}

fn v6(global: &str, link_local: Option<&str>) -> NextHop {
    NextHop::V6 {
        global: global.parse().unwrap(),
        link_local: link_local.map(|address| address.parse().unwrap()),
    }
}

fn announced(family: Family, attributes: &Attributes, prefixes: &[&str]) -> Vec<u8> {
    let prefixes: Vec<IpNet> = prefixes.iter().copied().map(net).collect();
    let packed = announce(family, attributes, prefixes.iter().copied(), MAX_MESSAGE).unwrap();
    assert_eq!(packed.count, prefixes.len());
    packed.message
}

// The golden UPDATEs below were captured on the way to FRR 8.4.4, which shows them as they were
// meant; BIRD 2.0.12 too.

#[test]
fn an_announcement_of_ipv4_prefixes_is_as_captured() {
    let attributes = attributes(AsPath::FourOctet(64601), v4("10.0.0.11"));
    let prefixes = [
        "10.64.0.0/32",
        "10.64.0.1/32",
        "10.64.0.2/32",
        "192.0.2.10/32",
    ];
    let expected = "0055 02 0000 002a 40010100 40020602010000fc59 4003040a00000b c00804fc000064
        c0200c0000fc000000000100000002 200a400000 200a400001 200a400002 20c000020a";
    let message = announced(Family::V4, &attributes, &prefixes);
    assert_eq!(message, captured(expected));
}

#[test]
fn an_announcement_of_ipv6_prefixes_begins_with_mp_reach_nlri() {
    let attributes = attributes(AsPath::FourOctet(64601), v6("fd00::11", None));
    let expected = "0063 02 0000 004c
        800e26 0002 01 10 fd000000000000000000000000000011 00 8020010db8000100000000000000000010
        40010100 40020602010000fc59 c00804fc000064 c0200c0000fc000000000100000002";
    let message = announced(Family::V6, &attributes, &["2001:db8:1::10/128"]);
    assert_eq!(message, captured(expected));
}

#[test]
fn withdrawals_and_end_of_rib_are_as_captured() {
    let withdrawn = |family, prefix| {
        withdraw(family, family == Family::V6, [net(prefix)], MAX_MESSAGE).unwrap()
    };
    let v4 = withdrawn(Family::V4, "192.0.2.10/32");
    assert_eq!(v4.message, captured("001c 02 0005 20c000020a 0000"));
    let v6 = withdrawn(Family::V6, "2001:db8::/32");
    let expected = "0022 02 0000 000b 800f08 0002 01 20 20010db8";
    assert_eq!(v6.message, captured(expected));
    assert_eq!(end_of_rib(Family::V4), captured("0017 02 0000 0000"));
    let expected = "001d 02 0000 0006 800f03 0002 01";
    assert_eq!(end_of_rib(Family::V6), captured(expected));
}

#[test]
fn an_as_path_is_one_as_sequence() {
    let path = |as_path| {
        let attributes = attributes(as_path, v4("10.0.0.11"));
        Update::read(&announced(Family::V4, &attributes, &["10.0.0.0/8"])).attributes
    };
    assert_eq!(
        path(AsPath::FourOctet(64601))[&2],
        (0x40, hex("0201 0000fc59"))
    );
    assert_eq!(
        path(AsPath::FourOctet(4_200_000_001))[&2],
        (0x40, hex("0201 fa56ea01"))
    );
    let internal = path(AsPath::Empty);
    assert_eq!(internal[&2], (0x40, vec![]));
    let short = path(AsPath::TwoOctet(64601));
    assert_eq!(short[&2], (0x40, hex("0201 fc59")));
    assert_eq!(short.get(&17), None);
    // RFC 6793 §4.2.2: AS_TRANS, and the truth in AS4_PATH.
    let long = path(AsPath::TwoOctet(4_200_000_001));
    assert_eq!(long[&2], (0x40, hex("0201 5ba0")));
    assert_eq!(long[&17], (0xc0, hex("0201 fa56ea01")));
}

#[test]
fn a_prepended_path_is_one_as_sequence_of_the_same_as() {
    let path = |as_path| {
        let mut attributes = attributes(as_path, v4("10.0.0.11"));
        attributes.as_path_prepend = 2;
        Update::read(&announced(Family::V4, &attributes, &["10.0.0.0/8"])).attributes
    };
    let four = path(AsPath::FourOctet(64601));
    assert_eq!(four[&2], (0x40, hex("0203 0000fc59 0000fc59 0000fc59")));
    let two = path(AsPath::TwoOctet(4_200_000_001));
    assert_eq!(two[&2], (0x40, hex("0203 5ba0 5ba0 5ba0")));
    assert_eq!(two[&17], (0xc0, hex("0203 fa56ea01 fa56ea01 fa56ea01")));
    assert_eq!(path(AsPath::Empty)[&2], (0x40, vec![]));
}

#[test]
fn metric_and_link_bandwidth_are_written_when_there_are_some() {
    let mut attributes = attributes(AsPath::FourOctet(64601), v4("10.0.0.11"));
    let read = |attributes: &Attributes| {
        Update::read(&announced(Family::V4, attributes, &["10.0.0.0/8"])).attributes
    };
    let none = read(&attributes);
    assert_eq!((none.get(&4), none.get(&16)), (None, None));
    attributes.med = Some(0);
    attributes.link_bandwidth = Some(LinkBandwidth {
        asn: 64601,
        bandwidth: 125_000_000,
    });
    let some = read(&attributes);
    assert_eq!(some[&4], (0x80, hex("00000000")));
    // 0x4cee6b28 is 125,000,000 in single precision: FRR 8.4.4 shows it as 1.000 Gbps.
    assert_eq!(some[&16], (0xc0, hex("4004 fc59 4cee6b28")));
}

#[test]
fn local_pref_is_written_when_there_is_one() {
    let mut attributes = attributes(AsPath::Empty, v4("10.0.0.11"));
    let read = |attributes: &Attributes| {
        Update::read(&announced(Family::V4, attributes, &["10.0.0.0/8"])).attributes
    };
    assert_eq!(read(&attributes).get(&5), None);
    attributes.local_pref = Some(300);
    assert_eq!(read(&attributes)[&5], (0x40, hex("0000012c")));
}

#[test]
fn ipv4_prefixes_with_an_ipv6_next_hop_go_into_mp_reach_nlri() {
    // RFC 8950, with both addresses of RFC 2545.
    let next_hop = v6("fd00::11", Some("fe80::11"));
    let attributes = attributes(AsPath::Empty, next_hop);
    let update = Update::read(&announced(Family::V4, &attributes, &["192.0.2.10/32"]));
    assert_eq!(update.announced, [net("192.0.2.10/32")]);
    assert_eq!(update.attributes.get(&3), None, "no NEXT_HOP");
    let expected = "0001 01 20 fd000000000000000000000000000011
        fe800000000000000000000000000011 00";
    assert_eq!(update.attributes[&14], (0x80, hex(expected)));
    let withdrawn = withdraw(Family::V4, true, [net("192.0.2.10/32")], MAX_MESSAGE).unwrap();
    let update = Update::read(&withdrawn.message);
    assert_eq!(update.withdrawn, [net("192.0.2.10/32")]);
    assert_eq!(update.attributes[&15], (0x80, hex("0001 01")));
}

#[test]
fn many_communities_take_the_extended_length() {
    let mut attributes = attributes(AsPath::Empty, v4("10.0.0.11"));
    attributes.communities = (0..64).map(|low| (64512, low)).collect();
    attributes.large_communities = (0..22).map(|low| (64512, 1, low)).collect();
    let read = Update::read(&announced(Family::V4, &attributes, &["10.0.0.0/8"])).attributes;
    assert_eq!((read[&8].0, read[&8].1.len()), (0xd0, 256));
    assert_eq!((read[&32].0, read[&32].1.len()), (0xd0, 264));
}

#[test]
fn communities_beyond_a_message_cannot_be_announced() {
    let mut attributes = attributes(AsPath::Empty, v4("10.0.0.11"));
    let prefix = net("10.0.0.0/8");
    attributes.communities = (0..1020).map(|low| (64512, low)).collect();
    assert_eq!(
        announce(Family::V4, &attributes, [prefix], MAX_MESSAGE),
        None
    );
    attributes.communities = (0..u16::MAX).map(|low| (64512, low)).collect();
    assert_eq!(
        announce(Family::V4, &attributes, [prefix], MAX_MESSAGE),
        None
    );
    attributes.communities.truncate(1000);
    assert!(announce(Family::V4, &attributes, [prefix], MAX_MESSAGE).is_some());
}

#[test]
fn a_full_message_is_full() {
    let attributes = attributes(AsPath::FourOctet(64601), v4("10.0.0.11"));
    let hosts = || (0..2000_u32).map(|n| IpNet::from(IpAddr::from(Ipv4Addr::from_bits(n))));
    let packed = announce(Family::V4, &attributes, hosts(), MAX_MESSAGE).unwrap();
    assert!(packed.message.len() > MAX_MESSAGE - 5);
    let expected: Vec<IpNet> = hosts().take(packed.count).collect();
    assert_eq!(Update::read(&packed.message).announced, expected);
    let packed = withdraw(Family::V4, false, hosts(), MAX_MESSAGE).unwrap();
    assert!(packed.message.len() > MAX_MESSAGE - 5);
    let packed = withdraw(Family::V4, true, hosts(), MAX_MESSAGE).unwrap();
    assert!(packed.message.len() > MAX_MESSAGE - 5);
    assert_eq!(Update::read(&packed.message).withdrawn.len(), packed.count);
}

#[test]
fn the_default_routes_are_prefixes_too() {
    let attributes = attributes(AsPath::Empty, v6("fd00::11", None));
    let update = Update::read(&announced(Family::V6, &attributes, &["::/0"]));
    assert_eq!(update.announced, [net("::/0")]);
    let attributes = Attributes {
        next_hop: v4("10.0.0.11"),
        ..attributes
    };
    let update = Update::read(&announced(Family::V4, &attributes, &["0.0.0.0/0"]));
    assert_eq!(update.announced, [net("0.0.0.0/0")]);
}

fn checked(body: &str) -> Result<Received, Malformed> {
    decoded(&message(2, &hex(body)))
}

#[test]
fn an_update_that_rfc_7606_forgives_is_accepted() {
    let forgiven = [
        ("0000 0000", "End-of-RIB"),
        ("0000 0000 08 0a", "no attributes at all"),
        ("0000 0004 40010109 08 0a", "ORIGIN 9"),
        (
            "0000 0006 c00803 fc0000 08 0a",
            "COMMUNITIES of three octets",
        ),
        (
            "0000 000a 400207 02010000fde8 00",
            "AS_PATH with a stray octet",
        ),
        (
            "0000 0003 c00101 08 0a",
            "an attribute that overruns the list",
        ),
        ("0000 0001 07", "an attribute header that ends early"),
        (
            "0000 0004 00010100",
            "a well-known attribute with the flags of an optional one",
        ),
        ("0000 0003 c06300", "an unknown optional attribute"),
        (
            "0000 0009 800e06 0019 41 00 00 ff",
            "a family nobody negotiated",
        ),
    ];
    for (body, what) in forgiven {
        assert_eq!(checked(body), Ok(Received::Update), "{what}");
    }
}

#[test]
fn an_update_that_cannot_be_parsed_is_refused_with_its_subcode() {
    use UpdateError::*;
    let attribute = |digits: &str| hex(digits);
    let refused = [
        (
            "0001 0000",
            MalformedAttributeList,
            "withdrawn routes beyond the message",
        ),
        (
            "0000 0001",
            MalformedAttributeList,
            "attributes beyond the message",
        ),
        (
            "0000 0012 800f03 000201 800f03 000201 40010100 0000",
            MalformedAttributeList,
            "MP_UNREACH_NLRI twice",
        ),
        ("0000 0000 21 0a000000 00", InvalidNetworkField, "/33"),
        (
            "0000 0000 20 0a0000",
            InvalidNetworkField,
            "a prefix that overruns the message",
        ),
        (
            "0002 18 0a 0000",
            InvalidNetworkField,
            "a withdrawn one that overruns its field",
        ),
        (
            "0000 0003 406300",
            UnrecognizedWellKnownAttribute(attribute("406300")),
            "a well-known attribute nobody knows",
        ),
        (
            "0000 000a 800e07 0002 01 00 00 81 ff",
            OptionalAttributeError(attribute("800e07 000201 0000 81ff")),
            "/129 in MP_REACH_NLRI",
        ),
        (
            "0000 0007 800e04 0002 01 10",
            OptionalAttributeError(attribute("800e04 00020110")),
            "MP_REACH_NLRI without its next hop",
        ),
        (
            "0000 000c 800e09 0001 01 05 0102030405",
            OptionalAttributeError(attribute("800e09 000101 05 0102030405")),
            "MP_REACH_NLRI that ends with its next hop",
        ),
        (
            "0000 000d 800e0a 0002 01 05 0102030405 00",
            OptionalAttributeError(attribute("800e0a 000201 05 0102030405 00")),
            "MP_REACH_NLRI with a next hop of five octets",
        ),
        (
            "0000 000c 800e09 0002 01 04 01020304 00",
            OptionalAttributeError(attribute("800e09 000201 04 01020304 00")),
            "IPv6 prefixes with an IPv4 next hop",
        ),
        (
            "0000 0005 800f02 0002",
            OptionalAttributeError(attribute("800f02 0002")),
            "MP_UNREACH_NLRI without SAFI",
        ),
    ];
    for (body, error, what) in refused {
        assert_eq!(checked(body), Err(error.into()), "{what}");
    }
}

#[test]
fn i7_no_bytes_panic_or_outgrow_their_message() {
    let attributes = attributes(AsPath::FourOctet(64601), v6("fd00::11", None));
    let seeds = [
        captured(FRR_OPEN),
        captured(OUR_OPEN),
        captured("0013 04"),
        captured("0017 03 0201 0004"),
        captured("0017 05 0002 0001"),
        announced(Family::V6, &attributes, &["2001:db8::/32", "::/0"]),
        message(2, &hex("0005 20c000020a 000a 400207 02010000fde8 00 08 0a")),
        message(1, &hex("04 fc59 0009 0a00000b 04 ff 0005 02 0002 0200")),
    ];
    mutate(&seeds, |octets| {
        let Ok(Some(frame)) = frame(octets, MAX_MESSAGE) else {
            return;
        };
        assert!(frame.size() <= octets.len() && frame.size() <= MAX_MESSAGE);
        if let Ok(Received::Open(open)) = decode(frame) {
            assert!(open.capabilities.len() * 2 <= octets.len());
        }
    });
}

#[test]
fn i7_no_update_body_panics() {
    let seeds = [
        hex("0000 0004 40010100 18 c00002"),
        hex("0000 0014 40010100 40020702 01fc0040 03040102 0304180a 0000"),
        hex(
            "0000 0026 800e1f 0002 01 10 fd000000000000000000000000000011 00 20 20010db8 00 40010100",
        ),
        hex("0004 18c00002 0006 800f03 000201"),
    ];
    mutate(&seeds, |body| {
        update::check(body).ok();
    });
}

#[test]
fn i7_no_open_body_panics() {
    let seeds = [
        captured(FRR_OPEN)[19..].to_vec(),
        captured(OUR_OPEN)[19..].to_vec(),
    ];
    mutate(&seeds, |body| {
        // What was read can be written, and reads the same again.
        if let Ok(read) = open::decode(body) {
            assert_eq!(open::decode(&open::encode(&read)), Ok(read));
        }
    });
}
