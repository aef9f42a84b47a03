use std::net::{Ipv4Addr, Ipv6Addr};

use super::arp::{ArpError, Operation, Packet};
use super::ethernet::{self, Header, Mac};
use super::ndisc::{Advertisement, NdiscError, Solicitation};
use super::udp::{Datagram, UdpError};
use super::*;
use crate::mutator::mutate;

/// Bytes written as hexadecimal digits, blanks ignored.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

const A: Mac = Mac([2, 0, 0, 0, 0, 0x0a]);
const C: Mac = Mac([2, 0, 0, 0, 0, 0x0c]);
const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
const CLIENT6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x0c);

const ARP_REQUEST: &str = "ffffffffffff 02000000000c 0806 0001 0800 06 04 0001 \
    02000000000c c0a80105 000000000000 c0a801f0";
const SOLICITED: &str = "3333ff00001002000000000c86dd6000000000203afffe80000000000000000000000000\
    000cff0200000000000000000001ff00001087004b2d0000000020010db8000000000000000000000010010102000000000c";
const ADVERTISED: &str = "02000000000c02000000000a86dd6000000000203aff20010db8000000000000000000\
    000010fe80000000000000000000000000000c8800b97a6000000020010db8000000000000000000000010020102000000000a";
const UNSOLICITED: &str = "33330000000102000000000a86dd6000000000203aff20010db8000000000000000000\
    000010ff0200000000000000000000000000018800f9032000000020010db8000000000000000000000010020102000000000a";
const DETECTION: &str = "3333ff00001002000000000c86dd6000000000183aff000000000000000000000000\
    00000000ff0200000000000000000001ff00001087004ccf0000000020010db8000000000000000000000010";
const DATAGRAM: &str = "01005e0000fe02000000000a080045c0002100004000ff11900c0a000001e00000fe\
    461a461a000d44ce68656c6c6f";

fn payload(frame: &[u8]) -> Vec<u8> {
    Header::parse(frame).unwrap().1.to_vec()
}

fn with_byte(text: &str, at: usize, value: u8) -> Vec<u8> {
    let mut packet = payload(&hex(text));
    packet[at] = value;
    packet
}

#[test]
fn checksum_is_that_of_rfc_1071() {
    assert_eq!(checksum(&[&hex("0001 f203 f4f5 f6f7")]), !0xddf2);
    assert_eq!(checksum(&[&hex("0001 f2")]), !0xf201);
    assert_eq!(checksum(&[]), 0xffff);
}

#[test]
fn reader_ends_where_the_bytes_end() {
    let mut reader = Reader::new(&[1, 2, 3]);
    assert_eq!(reader.u16(), Ok(0x0102));
    assert_eq!(reader.u16(), Err(Truncated));
    assert_eq!(reader.rest(), [3]);
    assert_eq!(reader.take(1), Ok(&[3][..]));
    assert_eq!(reader.u8(), Err(Truncated));
}

#[test]
fn group_addresses_map_to_hardware_addresses() {
    let group = Ipv4Addr::new(224, 128, 0, 254);
    assert_eq!(Mac::of_ipv4_group(group).to_string(), "01:00:5e:00:00:fe");
    let group = ndisc::solicited_node(V6);
    assert_eq!(group.to_string(), "ff02::1:ff00:10");
    assert_eq!(Mac::of_ipv6_group(group).to_string(), "33:33:ff:00:00:10");
}

#[test]
fn arp_request_both_ways() {
    let packet = Packet {
        operation: Operation::Request,
        sender_hw: C,
        sender_ip: Ipv4Addr::new(192, 168, 1, 5),
        target_hw: Mac::ZERO,
        target_ip: Ipv4Addr::new(192, 168, 1, 240),
    };
    assert_eq!(packet.emit(Mac::BROADCAST), hex(ARP_REQUEST));
    let (header, rest) = Header::parse(&packet.emit(Mac::BROADCAST))
        .map(|(h, r)| (h, r.to_vec()))
        .unwrap();
    assert_eq!(header.ether_type, ethernet::ARP);
    assert_eq!(Packet::parse(&rest), Ok(packet));
}

#[test]
fn arp_announcements_are_a_request_and_a_reply_with_our_own_target() {
    let [request, reply] = arp::announcements(Ipv4Addr::new(192, 168, 1, 240), A);
    assert_eq!(
        request,
        hex("ffffffffffff 02000000000a 0806 0001 0800 06 04 0001 \
             02000000000a c0a801f0 000000000000 c0a801f0")
    );
    assert_eq!(
        reply,
        hex("ffffffffffff 02000000000a 0806 0001 0800 06 04 0002 \
             02000000000a c0a801f0 02000000000a c0a801f0")
    );
}

#[test]
fn arp_of_another_kind_is_refused() {
    assert_eq!(
        Packet::parse(&with_byte(ARP_REQUEST, 1, 6)),
        Err(ArpError::Foreign)
    );
    assert_eq!(
        Packet::parse(&with_byte(ARP_REQUEST, 7, 3)),
        Err(ArpError::Operation(3))
    );
    let packet = payload(&hex(ARP_REQUEST));
    assert_eq!(Packet::parse(&packet[..27]), Err(ArpError::Truncated));
}

#[test]
fn solicitation_both_ways() {
    let solicitation = Solicitation {
        source: CLIENT6,
        destination: ndisc::solicited_node(V6),
        target: V6,
        source_link: Some(C),
    };
    let group = Mac::of_ipv6_group(solicitation.destination);
    assert_eq!(solicitation.emit(C, group), hex(SOLICITED));
    assert_eq!(
        Solicitation::parse(&payload(&hex(SOLICITED))),
        Ok(solicitation)
    );
}

#[test]
fn duplicate_address_detection_both_ways() {
    let solicitation = Solicitation {
        source: Ipv6Addr::UNSPECIFIED,
        destination: ndisc::solicited_node(V6),
        target: V6,
        source_link: None,
    };
    let group = Mac::of_ipv6_group(solicitation.destination);
    assert_eq!(solicitation.emit(C, group), hex(DETECTION));
    assert_eq!(
        Solicitation::parse(&payload(&hex(DETECTION))),
        Ok(solicitation)
    );
}

#[test]
fn advertisements_both_ways() {
    let solicited = Advertisement {
        source: V6,
        destination: CLIENT6,
        target: V6,
        router: false,
        solicited: true,
        override_: true,
        target_link: Some(A),
    };
    assert_eq!(solicited.emit(A, C), hex(ADVERTISED));
    assert_eq!(
        Advertisement::parse(&payload(&hex(ADVERTISED))),
        Ok(solicited)
    );
    assert_eq!(ndisc::announcement(V6, A), hex(UNSOLICITED));
    let announced = Advertisement::parse(&payload(&hex(UNSOLICITED))).unwrap();
    assert!(announced.override_ && !announced.solicited && !announced.router);
    assert_eq!(announced.destination, ndisc::ALL_NODES);
}

#[test]
fn a_broken_solicitation_is_refused_with_its_reason() {
    let parse = |at, value| Solicitation::parse(&with_byte(SOLICITED, at, value));
    assert_eq!(parse(0, 0x40), Err(NdiscError::NotIcmp));
    assert_eq!(parse(6, 17), Err(NdiscError::NotIcmp));
    assert_eq!(parse(7, 64), Err(NdiscError::HopLimit(64)));
    assert_eq!(parse(5, 0x28), Err(NdiscError::Truncated));
    assert_eq!(parse(5, 0x18), Err(NdiscError::Checksum));
    assert_eq!(parse(40, 136), Err(NdiscError::Type(136)));
    assert_eq!(parse(41, 1), Err(NdiscError::Code(1)));
    assert_eq!(parse(71, 9), Err(NdiscError::Checksum));
}

/// A solicitation with a right checksum around any options.
fn solicitation_with(
    destination: Ipv6Addr,
    source: Ipv6Addr,
    target: Ipv6Addr,
    options: &[u8],
) -> Vec<u8> {
    let mut icmp = vec![135, 0, 0, 0, 0, 0, 0, 0];
    icmp.extend(target.octets());
    icmp.extend(options);
    let length = (icmp.len() as u32).to_be_bytes();
    let sum = checksum(&[
        &source.octets(),
        &destination.octets(),
        &length,
        &[0, 0, 0, 58],
        &icmp,
    ]);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut packet = vec![0x60, 0, 0, 0, 0, icmp.len() as u8, 58, 255];
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(icmp);
    packet
}

#[test]
fn options_are_walked_and_one_of_length_zero_is_refused() {
    let group = ndisc::solicited_node(V6);
    let parse =
        |options: &str| Solicitation::parse(&solicitation_with(group, CLIENT6, V6, &hex(options)));
    assert_eq!(parse("01 00 02000000000c"), Err(NdiscError::Option));
    assert_eq!(parse("01 02 02000000000c"), Err(NdiscError::Truncated));
    assert_eq!(parse("01 20 02000000000c"), Err(NdiscError::Truncated));
    assert_eq!(parse("01 01 ffffffffffff"), Err(NdiscError::Option));
    assert_eq!(
        parse("0e 01 000000000000 01 01 02000000000c")
            .unwrap()
            .source_link,
        Some(C)
    );
    assert_eq!(parse("0e 01 000000000000").unwrap().source_link, None);
}

#[test]
fn detection_and_target_follow_rfc_4861_7_1_1() {
    let any = Ipv6Addr::UNSPECIFIED;
    let group = ndisc::solicited_node(V6);
    let parse = |destination, source, target, options: &str| {
        Solicitation::parse(&solicitation_with(
            destination,
            source,
            target,
            &hex(options),
        ))
    };
    assert_eq!(parse(V6, any, V6, ""), Err(NdiscError::Detection));
    assert_eq!(
        parse(group, any, V6, "01 01 02000000000c"),
        Err(NdiscError::Detection)
    );
    assert_eq!(
        parse(group, CLIENT6, group, ""),
        Err(NdiscError::MulticastTarget)
    );
}

#[test]
fn datagram_both_ways() {
    let datagram = Datagram {
        source: Ipv4Addr::new(10, 0, 0, 1),
        destination: Ipv4Addr::new(224, 0, 0, 254),
        ports: (17946, 17946),
        payload: b"hello",
    };
    let group = Mac::of_ipv4_group(datagram.destination);
    assert_eq!(datagram.emit(A, group), hex(DATAGRAM));
    assert_eq!(Datagram::parse(&payload(&hex(DATAGRAM))), Ok(datagram));
    // Short frames are padded.
    let mut padded = payload(&hex(DATAGRAM));
    padded.extend([0; 13]);
    assert_eq!(Datagram::parse(&padded), Ok(datagram));
}

#[test]
fn a_broken_datagram_is_refused_with_its_reason() {
    let packet = |at, value| with_byte(DATAGRAM, at, value);
    assert_eq!(Datagram::parse(&packet(0, 0x46)), Err(UdpError::NotUdp));
    assert_eq!(Datagram::parse(&packet(9, 6)), Err(UdpError::NotUdp));
    assert_eq!(Datagram::parse(&packet(6, 0x60)), Err(UdpError::Fragment));
    assert_eq!(Datagram::parse(&packet(8, 64)), Err(UdpError::Ttl(64)));
    assert_eq!(Datagram::parse(&packet(15, 2)), Err(UdpError::Checksum));
    assert_eq!(Datagram::parse(&packet(30, 2)), Err(UdpError::Checksum));
    assert_eq!(Datagram::parse(&packet(25, 7)), Err(UdpError::Truncated));
    let whole = payload(&hex(DATAGRAM));
    assert_eq!(Datagram::parse(&whole[..32]), Err(UdpError::Truncated));
}

#[test]
fn no_bytes_panic_a_decoder() {
    let seeds = [ARP_REQUEST, SOLICITED, ADVERTISED, DETECTION, DATAGRAM].map(hex);
    let mut understood = 0u64;
    mutate(&seeds, |bytes| {
        let Ok((_, rest)) = Header::parse(bytes) else {
            return;
        };
        understood += u64::from(Packet::parse(rest).is_ok());
        understood += u64::from(Solicitation::parse(rest).is_ok());
        understood += u64::from(Advertisement::parse(rest).is_ok());
        understood += u64::from(Datagram::parse(rest).is_ok());
    });
    assert!(
        understood > 0,
        "no mutation ever reached the end of a decoder"
    );
}
