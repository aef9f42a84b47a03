//! ARP for IPv4 over Ethernet (RFC 826), and the two forms of an announcement (RFC 5227 §3).

use std::net::Ipv4Addr;

use thiserror::Error;

use super::ethernet::{self, Header, Mac};
use super::{Buffer, Reader, Truncated, Writer};

/// ar$op.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// ares_op$REQUEST.
    Request,
    /// ares_op$REPLY.
    Reply,
}

/// An ARP packet for IPv4 over Ethernet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// ar$op.
    pub operation: Operation,
    /// ar$sha.
    pub sender_hw: Mac,
    /// ar$spa; unspecified in a probe (RFC 5227 §2.1.1).
    pub sender_ip: Ipv4Addr,
    /// ar$tha.
    pub target_hw: Mac,
    /// ar$tpa.
    pub target_ip: Ipv4Addr,
}

/// Why bytes are no ARP packet of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ArpError {
    /// Fewer than 28 bytes.
    #[error("truncated")]
    Truncated,
    /// Another hardware or protocol: ar$hrd, ar$pro, ar$hln or ar$pln differ.
    #[error("not IPv4 over Ethernet")]
    Foreign,
    /// Neither request nor reply (RARP, say).
    #[error("operation {0} is neither request nor reply")]
    Operation(u16),
}

impl From<Truncated> for ArpError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

impl Packet {
    /// Reads what follows the Ethernet header; padding is ignored.
    pub fn parse(bytes: &[u8]) -> Result<Self, ArpError> {
        let mut reader = Reader::new(bytes);
        if reader.array()? != HARDWARE_AND_PROTOCOL {
            return Err(ArpError::Foreign);
        }
        let operation = match reader.u16()? {
            1 => Operation::Request,
            2 => Operation::Reply,
            other => return Err(ArpError::Operation(other)),
        };
        Ok(Self {
            operation,
            sender_hw: Mac(reader.array()?),
            sender_ip: Ipv4Addr::from(reader.u32()?),
            target_hw: Mac(reader.array()?),
            target_ip: Ipv4Addr::from(reader.u32()?),
        })
    }

    /// The frame that carries the packet to `destination`; its sender is the packet's.
    pub fn emit(&self, destination: Mac) -> Vec<u8> {
        self.emit_as(destination)
    }

    /// The same, in another kind of buffer.
    pub fn emit_as<B: Buffer>(&self, destination: Mac) -> B {
        let mut writer = Writer::<B>::default();
        Header {
            destination,
            source: self.sender_hw,
            ether_type: ethernet::ARP,
        }
        .emit(&mut writer);
        writer
            .bytes(&HARDWARE_AND_PROTOCOL)
            .u16(match self.operation {
                Operation::Request => 1,
                Operation::Reply => 2,
            })
            .bytes(&self.sender_hw.0)
            .bytes(&self.sender_ip.octets())
            .bytes(&self.target_hw.0)
            .bytes(&self.target_ip.octets());
        writer.finish()
    }
}

/// Says to everybody that `address` is at `mac`, in the form of a request and in that of a reply.
///
/// Some stacks heed only the one, some only the other. The reply's target hardware address is our
/// own: with ff:ff:ff:ff:ff:ff there Linux ignores it for an entry that was confirmed lately.
pub fn announcements(address: Ipv4Addr, mac: Mac) -> [Vec<u8>; 2] {
    let packet = |operation, target_hw| Packet {
        operation,
        sender_hw: mac,
        sender_ip: address,
        target_hw,
        target_ip: address,
    };
    [
        packet(Operation::Request, Mac::ZERO).emit(Mac::BROADCAST),
        packet(Operation::Reply, mac).emit(Mac::BROADCAST),
    ]
}

/// Asks who has `address`, from no address: no cache learns anything (RFC 5227 §2.1.1).
pub fn probe(address: Ipv4Addr, mac: Mac) -> Vec<u8> {
    Packet {
        operation: Operation::Request,
        sender_hw: mac,
        sender_ip: Ipv4Addr::UNSPECIFIED,
        target_hw: Mac::ZERO,
        target_ip: address,
    }
    .emit(Mac::BROADCAST)
}

/// ar$hrd Ethernet, ar$pro IPv4, ar$hln 6, ar$pln 4.
const HARDWARE_AND_PROTOCOL: [u8; 6] = [0, 1, 8, 0, 6, 4];
