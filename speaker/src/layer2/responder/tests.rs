use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::mutator::mutate;

const OURS: Mac = Mac([2, 0, 0, 0, 0, 0x0a]);
const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 0x0c]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 0x0d]);
const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 240);
const ASKER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 5);
const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
const ASKER6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x0c);

fn owned() -> BTreeSet<IpAddr> {
    BTreeSet::from([VIP.into(), VIP6.into()])
}

fn verdict(frame: &[u8]) -> Verdict {
    respond(frame, OURS, &owned())
}

fn reason(frame: &[u8]) -> Reason {
    match verdict(frame) {
        Verdict::Silence(reason) => reason,
        Verdict::Reply { address, .. } => panic!("answered for {address}"),
    }
}

fn reply(frame: &[u8]) -> (Header, Vec<u8>) {
    match verdict(frame) {
        Verdict::Reply { frame, .. } => {
            let (header, payload) = Header::parse(&frame).unwrap();
            (header, payload.to_vec())
        }
        Verdict::Silence(reason) => panic!("silent: {reason:?}"),
    }
}

fn request() -> Packet {
    Packet {
        operation: Operation::Request,
        sender_hw: CLIENT,
        sender_ip: ASKER,
        target_hw: Mac::ZERO,
        target_ip: VIP,
    }
}

fn solicitation() -> Solicitation {
    Solicitation {
        source: ASKER6,
        destination: ndisc::solicited_node(VIP6),
        target: VIP6,
        source_link: Some(CLIENT),
    }
}

fn to_group(solicitation: &Solicitation) -> Vec<u8> {
    solicitation.emit(CLIENT, Mac::of_ipv6_group(solicitation.destination))
}

fn advertisement(frame: &[u8]) -> (Header, Advertisement) {
    let (header, payload) = reply(frame);
    (header, Advertisement::parse(&payload).unwrap())
}

#[test]
fn a_request_is_answered_to_the_asker_alone() {
    for destination in [Mac::BROADCAST, OURS] {
        let (header, payload) = reply(&request().emit(destination));
        assert_eq!((header.destination, header.source), (CLIENT, OURS));
        let expected = Packet {
            operation: Operation::Reply,
            sender_hw: OURS,
            sender_ip: VIP,
            target_hw: CLIENT,
            target_ip: ASKER,
        };
        assert_eq!(Packet::parse(&payload), Ok(expected));
    }
}

#[test]
fn a_probe_is_answered() {
    let probe = Packet {
        sender_ip: Ipv4Addr::UNSPECIFIED,
        ..request()
    };
    let (_, payload) = reply(&probe.emit(Mac::BROADCAST));
    let answer = Packet::parse(&payload).unwrap();
    assert_eq!((answer.sender_ip, answer.sender_hw), (VIP, OURS));
    assert_eq!(answer.target_ip, Ipv4Addr::UNSPECIFIED);
}

#[test]
fn a_solicitation_is_answered_solicited_and_overriding() {
    let (header, answer) = advertisement(&to_group(&solicitation()));
    assert_eq!((header.destination, header.source), (CLIENT, OURS));
    let expected = Advertisement {
        source: VIP6,
        destination: ASKER6,
        target: VIP6,
        router: false,
        solicited: true,
        override_: true,
        target_link: Some(OURS),
    };
    assert_eq!(answer, expected);
}

#[test]
fn a_unicast_solicitation_without_an_option_goes_back_where_it_came_from() {
    let unicast = Solicitation {
        destination: VIP6,
        source_link: None,
        ..solicitation()
    };
    let (header, answer) = advertisement(&unicast.emit(CLIENT, OURS));
    assert_eq!(header.destination, CLIENT);
    assert_eq!((answer.destination, answer.solicited), (ASKER6, true));
}

#[test]
fn duplicate_address_detection_is_answered_to_all_nodes() {
    let detection = Solicitation {
        source: Ipv6Addr::UNSPECIFIED,
        source_link: None,
        ..solicitation()
    };
    let (header, answer) = advertisement(&to_group(&detection));
    assert_eq!(header.destination.to_string(), "33:33:00:00:00:01");
    assert_eq!(answer.destination, ndisc::ALL_NODES);
    assert!(!answer.solicited && answer.override_);
}

#[test]
fn a_solicitation_to_the_group_is_answered_in_a_frame_to_us_alone_too() {
    let asked = solicitation();
    let (header, answer) = advertisement(&asked.emit(CLIENT, OURS));
    assert_eq!(header.destination, CLIENT);
    assert_eq!((answer.target, answer.solicited), (VIP6, true));
    assert_eq!(reason(&asked.emit(CLIENT, OTHER)), Reason::NotForUs);
}

#[test]
fn silent_about_a_truncated_frame() {
    assert_eq!(reason(&[0xff; 13]), Reason::Truncated);
}

#[test]
fn silent_about_our_own_frames() {
    let own = Packet {
        sender_hw: OURS,
        ..request()
    };
    assert_eq!(reason(&own.emit(Mac::BROADCAST)), Reason::Own);
}

#[test]
fn silent_about_frames_for_somebody_else() {
    assert_eq!(reason(&request().emit(OTHER)), Reason::NotForUs);
    let unicast = Solicitation {
        destination: VIP6,
        ..solicitation()
    };
    assert_eq!(reason(&unicast.emit(CLIENT, OTHER)), Reason::NotForUs);
    let wrong_group = Mac::of_ipv6_group(ndisc::ALL_NODES);
    let frame = solicitation().emit(CLIENT, wrong_group);
    assert_eq!(reason(&frame), Reason::NotForUs);
}

#[test]
fn silent_about_other_protocols() {
    let mut frame = request().emit(Mac::BROADCAST);
    frame[12] = 0x88;
    assert_eq!(reason(&frame), Reason::EtherType(0x8806));
}

#[test]
fn silent_about_broken_arp() {
    let mut frame = request().emit(Mac::BROADCAST);
    frame[21] = 9;
    assert_eq!(reason(&frame), Reason::Arp(ArpError::Operation(9)));
}

#[test]
fn silent_about_a_reply() {
    let reply = Packet {
        operation: Operation::Reply,
        ..request()
    };
    assert_eq!(reason(&reply.emit(OURS)), Reason::NotRequest);
}

#[test]
fn silent_about_an_announcement() {
    let announcement = Packet {
        sender_ip: VIP,
        ..request()
    };
    assert_eq!(
        reason(&announcement.emit(Mac::BROADCAST)),
        Reason::Announcement
    );
}

#[test]
fn silent_towards_a_sender_that_is_a_group() {
    let group = Packet {
        sender_hw: Mac::BROADCAST,
        ..request()
    };
    assert_eq!(reason(&group.emit(Mac::BROADCAST)), Reason::Sender);
    let optionless = Solicitation {
        source_link: None,
        ..solicitation()
    };
    let frame = optionless.emit(Mac::ZERO, Mac::of_ipv6_group(optionless.destination));
    assert_eq!(reason(&frame), Reason::Sender);
}

#[test]
fn silent_about_broken_neighbour_discovery() {
    let mut frame = to_group(&solicitation());
    frame[21] = 254;
    assert_eq!(reason(&frame), Reason::Ndisc(NdiscError::HopLimit(254)));
    let advertisement = ndisc::announcement(VIP6, CLIENT);
    assert_eq!(reason(&advertisement), Reason::Ndisc(NdiscError::Type(136)));
}

#[test]
fn silent_about_addresses_that_are_not_ours() {
    let next = Ipv4Addr::new(192, 168, 1, 241);
    let other = Packet {
        target_ip: next,
        ..request()
    };
    assert_eq!(
        reason(&other.emit(Mac::BROADCAST)),
        Reason::NotOwned(next.into())
    );
    // The same solicited-node group, another address.
    let twin = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x10);
    let other = Solicitation {
        target: twin,
        ..solicitation()
    };
    assert_eq!(reason(&to_group(&other)), Reason::NotOwned(twin.into()));
}

#[test]
fn a_rival_is_who_says_that_an_address_of_ours_is_theirs() {
    let owned = owned();
    let [request, reply] = crate::wire::arp::announcements(VIP, CLIENT);
    for frame in [&request, &reply] {
        assert_eq!(rival(frame, &owned), Some((VIP.into(), CLIENT)));
    }
    let advertisement = ndisc::announcement(VIP6, CLIENT);
    assert_eq!(rival(&advertisement, &owned), Some((VIP6.into(), CLIENT)));
    let [other, _] = crate::wire::arp::announcements(Ipv4Addr::new(10, 0, 0, 9), CLIENT);
    assert_eq!(rival(&other, &owned), None, "not ours");
    let asking = self::request().emit(Mac::BROADCAST);
    assert_eq!(rival(&asking, &owned), None, "asks on its own behalf");
}

#[test]
fn no_bytes_panic_and_only_owned_addresses_are_ever_answered_for() {
    let seeds = [request().emit(Mac::BROADCAST), to_group(&solicitation())];
    let owned = owned();
    mutate(&seeds, |frame| {
        if let Verdict::Reply { address, .. } = respond(frame, OURS, &owned) {
            assert!(owned.contains(&address));
        }
        if let Some((address, _)) = rival(frame, &owned) {
            assert!(owned.contains(&address));
        }
    });
}
