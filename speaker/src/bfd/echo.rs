//! Echo packets (RFC 5881 §4): our own, sent to the peer's hardware address under our own IP address,
//! so that its forwarding plane returns them without looking inside.
//!
//! ```text
//!    this node ── to the peer's MAC, IP ours → ours ──▶ peer
//!         ▲────────── routed like any packet ────────────┘
//! ```
//!
//! The kernel drops what comes back as martian, because both addresses are its own; a packet socket
//! sees it before. What an echo packet carries is its sender's affair (RFC 5880 §6.4).

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::net::Ipv4Addr;
use std::num::NonZeroU32;

use super::packet::Discriminator;
use crate::wire::{Reader, Writer, checksum};

/// UDP port of echo packets.
pub const PORT: u16 = 3785;

/// Which echo packet of which session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo {
    /// The session.
    pub discriminator: Discriminator,
    /// Something that nobody else knows.
    pub nonce: u64,
    /// Its number.
    pub number: u32,
}

impl Echo {
    /// The IPv4 packet that carries it.
    pub fn emit(&self, address: Ipv4Addr, source_port: u16) -> Vec<u8> {
        let mut payload = Writer::with_capacity(PAYLOAD);
        payload
            .u32(self.discriminator.0.get())
            .u64(self.nonce)
            .u32(self.number);
        let payload = payload.finish();
        let mut udp = Writer::with_capacity(UDP_SIZE);
        udp.u16(source_port).u16(PORT).u16(UDP_SIZE as u16).u16(0);
        let pseudo = [&address.octets()[..], &address.octets()[..]].concat();
        let length = [0, UDP, 0, UDP_SIZE as u8];
        let sum = checksum(&[&pseudo, &length, udp.as_slice(), &payload]);
        // RFC 768: 0 would say that there is none.
        let sum = if sum == 0 { u16::MAX } else { sum };

        let mut writer = header(address, 0);
        let sum_of_header = checksum(&[writer.as_slice()]);
        writer = header(address, sum_of_header);
        writer
            .u16(source_port)
            .u16(PORT)
            .u16(UDP_SIZE as u16)
            .u16(sum);
        writer.bytes(&payload);
        writer.finish()
    }

    /// Reads an IPv4 packet that has come back to where it is from.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(packet);
        let (version, _class) = (reader.u8().ok()?, reader.u8().ok()?);
        let (length, _id) = (reader.u16().ok()?, reader.u16().ok()?);
        let (fragment, _ttl) = (reader.u16().ok()?, reader.u8().ok()?);
        let (protocol, _sum) = (reader.u8().ok()?, reader.u16().ok()?);
        let (source, destination) = (reader.u32().ok()?, reader.u32().ok()?);
        let is_ours = version == 0x45
            && usize::from(length) == SIZE
            && fragment & 0x3fff == 0
            && protocol == UDP
            && source == destination;
        let (_from, to) = (reader.u16().ok()?, reader.u16().ok()?);
        let (udp_length, _sum) = (reader.u16().ok()?, reader.u16().ok()?);
        if !is_ours || to != PORT || usize::from(udp_length) != UDP_SIZE {
            return None;
        }
        Some(Self {
            discriminator: Discriminator(NonZeroU32::new(reader.u32().ok()?)?),
            nonce: reader.u64().ok()?,
            number: reader.u32().ok()?,
        })
    }
}

/// From an address to the same, whoever carries it.
fn header(address: Ipv4Addr, checksum: u16) -> Writer {
    let mut writer = Writer::with_capacity(SIZE);
    writer
        .u8(0x45)
        .u8(super::CLASS)
        .u16(SIZE as u16)
        .u16(0)
        // Don't fragment.
        .u16(0x4000)
        .u8(u8::MAX)
        .u8(UDP)
        .u16(checksum)
        .bytes(&address.octets())
        .bytes(&address.octets());
    writer
}

const UDP: u8 = 17;
const PAYLOAD: usize = 16;
const UDP_SIZE: usize = 24;
const SIZE: usize = 44;

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::mutator::mutate;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    fn echo() -> Echo {
        Echo {
            discriminator: Discriminator(NonZeroU32::new(7).unwrap()),
            nonce: 0x0102_0304_0506_0708,
            number: 9,
        }
    }

    #[test]
    fn an_echo_packet_goes_from_an_address_to_the_same_and_is_read_back() {
        let packet = echo().emit(ADDRESS, 50_000);
        assert_eq!(packet.len(), SIZE);
        assert_eq!(packet[12..20], [192, 0, 2, 1, 192, 0, 2, 1]);
        assert_eq!(checksum(&[&packet[..20]]), 0);
        let pseudo = [&packet[12..20], &[0, UDP, 0, 24]].concat();
        assert_eq!(checksum(&[&pseudo, &packet[20..]]), 0);
        assert_eq!(Echo::parse(&packet), Some(echo()));
        let mut other = packet.clone();
        other[19] = 2;
        assert_eq!(Echo::parse(&other), None, "to somebody else");
        // One hop later, and with the padding of a short Ethernet frame.
        let mut returned = packet;
        returned[8] = 254;
        returned.extend([0; 2]);
        assert_eq!(Echo::parse(&returned), Some(echo()));
    }

    #[test]
    fn i7_no_octets_panic() {
        mutate(&[echo().emit(ADDRESS, 50_000)], |octets| {
            let _ = Echo::parse(octets);
        });
    }
}
