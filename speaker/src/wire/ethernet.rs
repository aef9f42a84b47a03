//! The Ethernet header, and hardware addresses.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Buffer, Reader, Truncated, Writer};

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;

/// An Ethernet hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Everybody on the segment.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// No address: the target of a question, or an interface without one.
    pub const ZERO: Self = Self([0; 6]);

    /// True for multicast and broadcast: the group bit is set.
    pub fn is_group(self) -> bool {
        let Self([first, ..]) = self;
        first & 1 == 1
    }

    /// Where frames for an IPv4 group go (RFC 1112 §6.4).
    pub fn of_ipv4_group(group: Ipv4Addr) -> Self {
        let [_, b, c, d] = group.octets();
        Self([0x01, 0x00, 0x5e, b & 0x7f, c, d])
    }

    /// Where frames for an IPv6 group go (RFC 2464 §7).
    pub fn of_ipv6_group(group: Ipv6Addr) -> Self {
        let [.., a, b, c, d] = group.octets();
        Self([0x33, 0x33, a, b, c, d])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([a, b, c, d, e, g]) = self;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// An Ethernet II header without a VLAN tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whom the frame is for.
    pub destination: Mac,
    /// Who sent it.
    pub source: Mac,
    /// What it carries.
    pub ether_type: u16,
}

impl Header {
    /// Splits a frame into its header and what it carries.
    pub fn parse(frame: &[u8]) -> Result<(Self, &[u8]), Truncated> {
        let mut reader = Reader::new(frame);
        let header = Self {
            destination: Mac(reader.array()?),
            source: Mac(reader.array()?),
            ether_type: reader.u16()?,
        };
        Ok((header, reader.rest()))
    }

    /// Writes the header; the payload follows.
    pub fn emit<B: Buffer>(&self, writer: &mut Writer<B>) {
        writer
            .bytes(&self.destination.0)
            .bytes(&self.source.0)
            .u16(self.ether_type);
    }
}
