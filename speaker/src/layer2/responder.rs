//! Answers ARP requests and neighbour solicitations for the addresses this node owns.
//!
//! A frame that deserves no answer is a value too: [`Verdict::Silence`] with its reason. Whether
//! an address is owned is one lookup, however many there are.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::wire::Short;
use crate::wire::arp::{ArpError, Operation, Packet};
use crate::wire::ethernet::{self, Header, Mac};
use crate::wire::ndisc::{self, Advertisement, NdiscError, Solicitation};

/// What to do about a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Send this frame.
    Reply {
        /// The address that was asked for.
        address: IpAddr,
        /// The answer, a whole frame.
        frame: Short,
    },
    /// Do nothing.
    Silence(Reason),
}

/// Why a frame is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Shorter than an Ethernet header.
    Truncated,
    /// We sent it.
    Own,
    /// Sent to somebody else.
    NotForUs,
    /// Neither ARP nor IPv6.
    EtherType(u16),
    /// No ARP packet of ours.
    Arp(ArpError),
    /// An ARP reply.
    NotRequest,
    /// A gratuitous ARP request: it tells, it does not ask (RFC 5227 §2.3).
    Announcement,
    /// A sender hardware address that cannot be answered.
    Sender,
    /// No valid neighbour solicitation.
    Ndisc(NdiscError),
    /// The address asked for is not ours.
    NotOwned(IpAddr),
    /// Another interface of this node on the same segment answers.
    Sibling(IpAddr),
}

impl Reason {
    /// Every word for it, for the documentation to be held against.
    pub const ALL: [&str; 11] = [
        "truncated",
        "own",
        "notForUs",
        "etherType",
        "arp",
        "notRequest",
        "announcement",
        "sender",
        "ndisc",
        "notOwned",
        "sibling",
    ];

    /// In one word, without what the frame said.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Own => "own",
            Self::NotForUs => "notForUs",
            Self::EtherType(_) => "etherType",
            Self::Arp(_) => "arp",
            Self::NotRequest => "notRequest",
            Self::Announcement => "announcement",
            Self::Sender => "sender",
            Self::Ndisc(_) => "ndisc",
            Self::NotOwned(_) => "notOwned",
            Self::Sibling(_) => "sibling",
        }
    }
}

/// Decides about one frame that came in on an interface with hardware address `mac`.
pub fn respond(frame: &[u8], mac: Mac, owned: &BTreeSet<IpAddr>) -> Verdict {
    match answer(frame, mac, owned) {
        Ok((address, frame)) => Verdict::Reply { address, frame },
        Err(reason) => Verdict::Silence(reason),
    }
}

/// The address of ours that a frame says is somebody else's, and whose: an ARP packet that somebody
/// sent from it (RFC 5227 §2.4), or a neighbour advertisement of it.
pub fn rival(frame: &[u8], owned: &BTreeSet<IpAddr>) -> Option<(IpAddr, Mac)> {
    let (header, payload) = Header::parse(frame).ok()?;
    let (address, mac) = match header.ether_type {
        ethernet::ARP => {
            let packet = Packet::parse(payload).ok()?;
            (packet.sender_ip.into(), packet.sender_hw)
        }
        ethernet::IPV6 => {
            let told = Advertisement::parse(payload).ok()?;
            let mac = told.target_link.unwrap_or(header.source);
            (told.target.into(), mac)
        }
        _ => return None,
    };
    owned.contains(&address).then_some((address, mac))
}

fn answer(frame: &[u8], mac: Mac, owned: &BTreeSet<IpAddr>) -> Result<(IpAddr, Short), Reason> {
    let (header, payload) = Header::parse(frame).map_err(|_| Reason::Truncated)?;
    if header.source == mac {
        return Err(Reason::Own);
    }
    match header.ether_type {
        ethernet::ARP => answer_arp(&header, payload, mac, owned),
        ethernet::IPV6 => answer_solicitation(&header, payload, mac, owned),
        other => Err(Reason::EtherType(other)),
    }
}

fn answer_arp(
    header: &Header,
    payload: &[u8],
    mac: Mac,
    owned: &BTreeSet<IpAddr>,
) -> Result<(IpAddr, Short), Reason> {
    if header.destination != mac && header.destination != Mac::BROADCAST {
        return Err(Reason::NotForUs);
    }
    let request = Packet::parse(payload).map_err(Reason::Arp)?;
    if request.operation != Operation::Request {
        return Err(Reason::NotRequest);
    }
    if request.sender_hw.is_group() || request.sender_hw == Mac::ZERO {
        return Err(Reason::Sender);
    }
    if request.sender_ip == request.target_ip {
        return Err(Reason::Announcement);
    }
    let address = own(request.target_ip.into(), owned)?;
    // A probe (RFC 5227 §2.1.1) has an unspecified sender and is answered like any request.
    let reply = Packet {
        operation: Operation::Reply,
        sender_hw: mac,
        sender_ip: request.target_ip,
        target_hw: request.sender_hw,
        target_ip: request.sender_ip,
    };
    Ok((address, reply.emit_as(request.sender_hw)))
}

fn answer_solicitation(
    header: &Header,
    payload: &[u8],
    mac: Mac,
    owned: &BTreeSet<IpAddr>,
) -> Result<(IpAddr, Short), Reason> {
    let asked = Solicitation::parse(payload).map_err(Reason::Ndisc)?;
    let group = ndisc::solicited_node(asked.target);
    // RFC 6085 §3: bridges and access points send packets to a group in frames to one host, too.
    let to_group = asked.destination == group
        && [mac, Mac::of_ipv6_group(group)].contains(&header.destination);
    let to_us = asked.destination == asked.target && header.destination == mac;
    if !to_group && !to_us {
        return Err(Reason::NotForUs);
    }
    // RFC 4861 §4.3: a unicast probe may leave its link-layer address out.
    let asker = asked.source_link.unwrap_or(header.source);
    if asker.is_group() || asker == Mac::ZERO {
        return Err(Reason::Sender);
    }
    let address = own(asked.target.into(), owned)?;
    Ok((address, advertise(&asked, asker, mac)))
}

fn advertise(asked: &Solicitation, asker: Mac, mac: Mac) -> Short {
    let is_detection = asked.source.is_unspecified();
    let (destination, to) = match is_detection {
        true => (ndisc::ALL_NODES, Mac::of_ipv6_group(ndisc::ALL_NODES)),
        false => (asked.source, asker),
    };
    Advertisement {
        // The node has no other address that it can be sure of; the kernel does the same.
        source: asked.target,
        destination,
        target: asked.target,
        router: false,
        // RFC 4861 §7.2.4: S is zero where the solicitation's source was unspecified.
        solicited: !is_detection,
        // RFC 4861 §7.2.4: O is zero for proxies and anycast only. The address is ours alone, and
        // a cache that still has the last holder must move.
        override_: true,
        target_link: Some(mac),
    }
    .emit_as(mac, to)
}

fn own(address: IpAddr, owned: &BTreeSet<IpAddr>) -> Result<IpAddr, Reason> {
    match owned.contains(&address) {
        true => Ok(address),
        false => Err(Reason::NotOwned(address)),
    }
}

#[cfg(test)]
mod tests;
