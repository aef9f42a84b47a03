#![expect(
    clippy::arithmetic_side_effects,
    reason = "of moments that are written here"
)]

use std::time::Duration;

use super::*;
use crate::bgp::tests::{asn, hex};

/// 1 s and 2 µs after the beginning of 1970.
fn at() -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(1_000_002)
}

fn v4() -> Peer {
    Peer {
        address: "10.0.0.1".parse().unwrap(),
        instance: None,
        asn: asn(64500),
        router_id: Ipv4Addr::new(10, 0, 0, 1),
        is_legacy: false,
    }
}

/// On an interface, and with AS numbers of two octets.
fn v6() -> Peer {
    Peer {
        address: "fe80::1".parse().unwrap(),
        instance: Some(0x0102_0304_0506_0708),
        is_legacy: true,
        ..v4()
    }
}

/// Common header, per-peer header and the rest, in hexadecimal digits.
fn expected(length: &str, kind: &str, peer: &str, rest: &str) -> Vec<u8> {
    hex(&[
        "03",
        length,
        kind,
        peer,
        "0000fbf4 0a000001 00000001 00000002",
        rest,
    ]
    .concat())
}

/// The beginning of the per-peer header where it is of no table.
const V4: &str = "00 00 0000000000000000 000000000000000000000000 0a000001";

#[test]
fn an_initiation_says_what_and_who() {
    let octets = initiation("FerroLB 1", "n1");
    let description = "0001 0009 466572726f4c422031";
    let name = "0002 0002 6e31";
    let message = hex(&["03 00000019 04", description, name].concat());
    assert_eq!(octets, message);
}

#[test]
fn a_termination_is_administrative() {
    assert_eq!(termination(), hex("03 0000000c 05 0001 0002 0000"));
}

#[test]
fn peer_up_has_both_ends_and_both_opens() {
    let opens = Opens {
        sent: vec![0xaa; 3],
        received: vec![0xbb; 2],
    };
    let session = |local: &str| Session {
        local: local.parse().unwrap(),
        local_port: 40_000,
        remote_port: 179,
        opens: &opens,
    };
    let ends = "000000000000000000000000 0a00000b 9c40 00b3";
    let opens = "aaaaaa bbbb";
    let rest = [ends, opens].concat();
    assert_eq!(
        peer_up(&v4(), at(), session("10.0.0.11")),
        expected("00000049", "03", V4, &rest)
    );
    // RFC 8671 §6.3: it is of no table, so that only V is set.
    let v6_header = "02 80 0102030405060708 fe80000000000000 0000000000000001";
    let ends = "fe80000000000000 0000000000000011 9c40 00b3";
    let rest = [ends, "aaaaaa bbbb"].concat();
    assert_eq!(
        peer_up(&v6(), at(), session("fe80::11")),
        expected("00000049", "03", v6_header, &rest)
    );
}

#[test]
fn peer_down_has_the_notification_or_the_event_or_nothing() {
    let word = "ffffffffffffffffffffffffffffffff 0015 03 06 02";
    let notification = hex(word);
    for (ended, length, rest) in [
        (
            Some(Ended::Sent(notification.clone())),
            "00000046",
            format!("01 {word}"),
        ),
        (Some(Ended::Closed(29)), "00000033", "02 001d".to_owned()),
        (
            Some(Ended::Received(notification)),
            "00000046",
            format!("03 {word}"),
        ),
        (Some(Ended::Lost), "00000031", "04".to_owned()),
        (None, "00000031", "05".to_owned()),
    ] {
        assert_eq!(
            peer_down(&v4(), at(), ended.as_ref()),
            expected(length, "02", V4, &rest),
            "{ended:?}"
        );
    }
}

#[test]
fn route_monitoring_is_of_what_the_peer_is_sent_after_policy() {
    let update = [0xcc; 4];
    let header = "00 50 0000000000000000 000000000000000000000000 0a000001";
    assert_eq!(
        route_monitoring(&v4(), at(), &update),
        expected("00000034", "00", header, "cccccccc")
    );
    let header = "02 f0 0102030405060708 fe80000000000000 0000000000000001";
    assert_eq!(
        route_monitoring(&v6(), at(), &update),
        expected("00000034", "00", header, "cccccccc"),
        "an IPv6 peer whose AS_PATH has two octets a number"
    );
}

#[test]
fn statistics_count_routes_by_family_and_together() {
    let routes = BTreeMap::from([(Family::V4, 2), (Family::V6, 3)]);
    let counters = [
        "00000003",
        "000f 0008 0000000000000005",
        "0011 000b 0001 01 0000000000000002",
        "0011 000b 0002 01 0000000000000003",
    ];
    assert_eq!(
        statistics(&v4(), at(), &routes),
        expected("0000005e", "01", V4, &counters.concat())
    );
}

#[test]
fn a_time_that_cannot_be_said_is_not_known() {
    let late = UNIX_EPOCH + Duration::from_secs(1 << 32);
    for at in [late, UNIX_EPOCH - Duration::from_secs(1)] {
        assert_eq!(timestamp(at).0, 0);
    }
}
