//! BMP messages to octets (RFC 7854 §4, RFC 8671): what a monitored router says. What a station says
//! is nothing.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{SystemTime, UNIX_EPOCH};

use ferrolb_crds::model::{Asn, Family};

use crate::bgp::message::AfiSafi;
use crate::bgp::{Ended, Opens};

/// The peer that a message is about (§4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// What tells it from others of the same address, where it is not a peer of the global instance.
    pub instance: Option<u64>,
    /// Its AS.
    pub asn: Asn,
    /// Its BGP Identifier.
    pub router_id: Ipv4Addr,
    /// Whether AS numbers have two octets in what it is sent.
    pub is_legacy: bool,
}

/// The two ends of a session, and what they said (§4.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session<'a> {
    /// Our address.
    pub local: IpAddr,
    /// Our TCP port.
    pub local_port: u16,
    /// The peer's.
    pub remote_port: u16,
    /// The OPENs.
    pub opens: &'a Opens,
}

/// §4.3: who speaks.
pub fn initiation(description: &str, name: &str) -> Vec<u8> {
    let mut body = Vec::new();
    information(&mut body, SYS_DESCR, description.as_bytes());
    information(&mut body, SYS_NAME, name.as_bytes());
    message(Kind::Initiation, &[&body])
}

/// §4.5: that nothing follows.
pub fn termination() -> Vec<u8> {
    let mut body = Vec::new();
    information(&mut body, REASON, &ADMINISTRATIVELY_CLOSED.to_be_bytes());
    message(Kind::Termination, &[&body])
}

/// §4.10: a session is established.
pub fn peer_up(peer: &Peer, since: SystemTime, session: Session<'_>) -> Vec<u8> {
    let mut ends = address(session.local).to_vec();
    ends.extend(session.local_port.to_be_bytes());
    ends.extend(session.remote_port.to_be_bytes());
    let Opens { sent, received } = session.opens;
    let header = header(peer, Subject::Session, since);
    message(Kind::PeerUp, &[&header, &ends, sent, received])
}

/// §4.9: a session is over; `None`: it is not told of any more.
pub fn peer_down(peer: &Peer, at: SystemTime, ended: Option<&Ended>) -> Vec<u8> {
    let (reason, data) = match ended {
        Some(Ended::Sent(notification)) => (1, notification.clone()),
        Some(Ended::Closed(event)) => (2, event.to_be_bytes().to_vec()),
        Some(Ended::Received(notification)) => (3, notification.clone()),
        Some(Ended::Lost) => (4, Vec::new()),
        None => (5, Vec::new()),
    };
    let header = header(peer, Subject::Session, at);
    message(Kind::PeerDown, &[&header, &[reason], &data])
}

/// §4.6, RFC 8671 §6.1: an UPDATE, composed as those are that the peer gets.
pub fn route_monitoring(peer: &Peer, at: SystemTime, update: &[u8]) -> Vec<u8> {
    let header = header(peer, Subject::AdjRibOut, at);
    message(Kind::RouteMonitoring, &[&header, update])
}

/// §4.8, RFC 8671 §6.2: how many routes the peer should hold, of each family and of all.
pub fn statistics(peer: &Peer, at: SystemTime, routes: &BTreeMap<Family, u64>) -> Vec<u8> {
    let total = routes.values().fold(0_u64, |sum, n| sum.saturating_add(*n));
    let mut counters = Vec::new();
    information(&mut counters, ADJ_RIB_OUT, &total.to_be_bytes());
    for (family, count) in routes {
        let AfiSafi { afi, safi } = AfiSafi::unicast(*family);
        let mut gauge = afi.to_be_bytes().to_vec();
        gauge.push(safi);
        gauge.extend(count.to_be_bytes());
        information(&mut counters, ADJ_RIB_OUT_OF_FAMILY, &gauge);
    }
    let count = u32::try_from(routes.len())
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    let header = header(peer, Subject::Session, at);
    let count = count.to_be_bytes();
    message(Kind::StatisticsReport, &[&header, &count, &counters])
}

/// Message types (§4.1).
#[derive(Clone, Copy)]
enum Kind {
    RouteMonitoring,
    StatisticsReport,
    PeerDown,
    PeerUp,
    Initiation,
    Termination,
}

/// What a message is about beside the peer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Subject {
    /// RFC 8671 §6.2, §6.3: neither table.
    Session,
    /// What the peer is sent, after policy.
    AdjRibOut,
}

/// §4.1: the common header before everything.
fn message(kind: Kind, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = u32::try_from(body.len().saturating_add(COMMON_HEADER));
    let length = length.expect("a message holds two BGP messages at most");
    let mut message = vec![VERSION];
    message.extend(length.to_be_bytes());
    message.push(match kind {
        Kind::RouteMonitoring => 0,
        Kind::StatisticsReport => 1,
        Kind::PeerDown => 2,
        Kind::PeerUp => 3,
        Kind::Initiation => 4,
        Kind::Termination => 5,
    });
    message.extend(body);
    message
}

/// §4.2: the per-peer header.
fn header(peer: &Peer, about: Subject, at: SystemTime) -> Vec<u8> {
    let mut flags = match peer.address {
        IpAddr::V4(_) => 0,
        IpAddr::V6(_) => FLAG_V,
    };
    if about == Subject::AdjRibOut {
        flags |= FLAG_L | FLAG_O;
        if peer.is_legacy {
            flags |= FLAG_A;
        }
    }
    let kind = match peer.instance {
        None => GLOBAL_INSTANCE_PEER,
        Some(_) => LOCAL_INSTANCE_PEER,
    };
    let (seconds, micros) = timestamp(at);
    let mut header = vec![kind, flags];
    header.extend(peer.instance.unwrap_or(0).to_be_bytes());
    header.extend(address(peer.address));
    header.extend(peer.asn.get().to_be_bytes());
    header.extend(peer.router_id.octets());
    header.extend(seconds.to_be_bytes());
    header.extend(micros.to_be_bytes());
    header
}

/// §4.2: seconds, which end in 2106, and microseconds; 0 says that the time is not known.
fn timestamp(at: SystemTime) -> (u32, u32) {
    let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    match u32::try_from(at.as_secs()) {
        Ok(seconds) => (seconds, at.subsec_micros()),
        Err(_) => (0, 0),
    }
}

/// §4.2: 16 octets, of which an IPv4 address has the last four.
fn address(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()).to_be_bytes(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// §4.4: type, length, value.
fn information(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    body.extend(kind.to_be_bytes());
    body.extend(length.to_be_bytes());
    body.extend(value.iter().take(length.into()));
}

const VERSION: u8 = 3;
const COMMON_HEADER: usize = 6;
const GLOBAL_INSTANCE_PEER: u8 = 0;
const LOCAL_INSTANCE_PEER: u8 = 2;
// Peer flags of §4.2 and RFC 8671 §4.
const FLAG_V: u8 = 0x80;
const FLAG_L: u8 = 0x40;
const FLAG_A: u8 = 0x20;
const FLAG_O: u8 = 0x10;
// Information TLVs of Initiation (§4.4) and Termination (§4.5).
const SYS_DESCR: u16 = 1;
const SYS_NAME: u16 = 2;
const REASON: u16 = 1;
const ADMINISTRATIVELY_CLOSED: u16 = 0;
// Statistics types of RFC 8671 §6.2.
const ADJ_RIB_OUT: u16 = 15;
const ADJ_RIB_OUT_OF_FAMILY: u16 = 17;
