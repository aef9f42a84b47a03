//! The packet by which speakers of one segment know that they live.
//!
//! ```text
//!  0       4         5       6        8             16         24      32         36
//!  "FLHB"  version   flags   length   incarnation   sequence   nonce   interval   digest   node   interface  claims  flags  more…  tags
//!  4       1         1       2        8             8          8       4 (µs)     16       1 + n  1 + n      1 + n   0 or 1        n × 32
//! ```
//!
//! All numbers are big-endian; the length is that of the whole packet. Digest and claims concern
//! the interface that it was sent from (`claims.rs`). Further flags follow if one of them is set; what
//! follows them is for later versions of this program and skipped, as the flags are by earlier ones. A tag is HMAC-SHA256 over all that precedes the
//! tags; the flags say whether there are none, one or, while the key is changed, two. A new version
//! number means that older speakers must not read on.
//!
//! Sent as UDP to an IPv4 group that every switch must flood, in frames of our own making: see
//! `docs/decisions/0002-heartbeat-transport.md`.

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::time::Duration;

use ferrolb_crds::model::Secret;
use ring::{hkdf, hmac};
use thiserror::Error;

use crate::layer2::claims::{self, Digest};
use crate::wire::ethernet::{self, Header, Mac};
use crate::wire::udp::{Datagram, UdpError};
use crate::wire::{Reader, Truncated, Writer};

/// Where heartbeats go: a group for experiments (RFC 4727 §2.4) in the block that is never routed
/// and always flooded (RFC 4541 §2.1.2).
pub const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 254);

/// UDP port, source and destination.
pub const PORT: u16 = 17946;

/// What a heartbeat says beyond "I live".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    /// The sender is leaving: it takes nothing, and what it holds it offers.
    pub is_leaving: bool,
    /// The sender only listens yet: it lives, but holds nothing.
    pub is_listening: bool,
    /// The sender has not heard from you, or does not believe it yet: answer at once.
    pub is_probe: bool,
    /// The answer to a probe, with its number.
    pub is_answer: bool,
    /// The sender had taken you for dead; others may have held your addresses.
    pub was_missed: bool,
    /// The sender does not know all that you hold: tell it.
    pub asks: bool,
    /// What arrives at the sender is not delivered: who can is to take what it holds.
    pub is_failing: bool,
}

/// A heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// What it says beyond "I live".
    pub flags: Flags,
    /// Differs each time the sender starts.
    pub incarnation: u64,
    /// Grows with each packet of an incarnation.
    pub sequence: u64,
    /// Of a probe: what the answer is to bear, if not zero. Of an answer: that.
    pub nonce: u64,
    /// At most so long until the next one.
    pub interval: Duration,
    /// Digest of all that it claims on the interface.
    pub held: Digest,
    /// Name of the sending node.
    pub node: String,
    /// The interface that it was sent from, as that node calls it.
    pub interface: String,
    /// What it tells of its claims there.
    pub claims: claims::Message,
}

/// Why a packet is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeartbeatError {
    /// We sent it.
    #[error("sent by this node")]
    Own,
    /// The frame around it.
    #[error("no datagram")]
    Datagram(#[from] UdpError),
    /// Not sent to our group and port.
    #[error("for another group or port")]
    Elsewhere,
    /// Fewer bytes than the format needs.
    #[error("truncated")]
    Truncated,
    /// It begins with something else.
    #[error("no heartbeat")]
    Magic,
    /// A version that this program does not know.
    #[error("version {0} is unknown")]
    Version(u8),
    /// The length in the packet is not that of the packet.
    #[error("wrong length")]
    Length,
    /// No tag, and we have a key.
    #[error("not authenticated")]
    Unauthenticated,
    /// Made with another key, or changed on the way.
    #[error("made with another key or changed on the way")]
    Forged,
    /// The interval is shorter than 10 ms or longer than a minute.
    #[error("interval out of range")]
    Interval,
    /// The node's name is empty, too long or no text.
    #[error("invalid node name")]
    Node,
    /// The interface's name is empty, too long or no text.
    #[error("invalid interface name")]
    Interface,
}

impl From<Truncated> for HeartbeatError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// Makes and checks tags; without a key anybody is believed.
///
/// The nodes do not learn at the same moment that the key has changed. For a time, therefore, packets
/// bear a tag of either key, and a tag of either is believed.
#[derive(Clone)]
pub struct Authenticator {
    key: Option<hmac::Key>,
    former: Option<hmac::Key>,
}

impl Authenticator {
    /// Derives the key from the shared secret (HKDF, RFC 5869).
    pub fn new(secret: Option<&Secret>) -> Self {
        Self {
            key: secret.map(derive),
            former: None,
        }
    }

    /// Goes over to another key; the present one is good until it is retired. If there is a former
    /// one still, that stays in its place: it is the one that all others have.
    pub fn rotate(&mut self, secret: &Secret) {
        let present = self.key.replace(derive(secret));
        self.former = self.former.take().or(present);
    }

    /// The former key is good no more.
    pub fn retire(&mut self) {
        self.former = None;
    }

    fn keys(&self) -> impl Iterator<Item = &hmac::Key> {
        self.key.iter().chain(&self.former)
    }

    /// Splits off the tags that the flags announce, and looks for one that is right.
    fn verify<'a>(&self, packet: &'a [u8], tags: usize) -> Result<&'a [u8], HeartbeatError> {
        let split = packet.len().checked_sub(tags * TAG).ok_or(Truncated)?;
        let (message, found) = packet.split_at_checked(split).ok_or(Truncated)?;
        if self.key.is_none() {
            return Ok(message);
        }
        if tags == 0 {
            return Err(HeartbeatError::Unauthenticated);
        }
        let mut found = found.chunks_exact(TAG);
        let is_right = |tag: &[u8]| {
            self.keys()
                .any(|key| hmac::verify(key, message, tag).is_ok())
        };
        match found.any(is_right) {
            true => Ok(message),
            false => Err(HeartbeatError::Forged),
        }
    }
}

fn derive(secret: &Secret) -> hmac::Key {
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"ferrolb heartbeat");
    let material = salt.extract(secret.expose().as_bytes());
    let key = material.expand(&[b"v1"], hmac::HMAC_SHA256).map(Into::into);
    key.expect("the output of HKDF is as long as its hash")
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys().count();
        f.debug_struct("Authenticator")
            .field("keys", &keys)
            .finish()
    }
}

impl Heartbeat {
    /// Reads a packet and checks that it comes from somebody who knows the key.
    pub fn parse(packet: &[u8], authenticator: &Authenticator) -> Result<Self, HeartbeatError> {
        let mut reader = Reader::new(packet);
        if reader.array()? != MAGIC {
            return Err(HeartbeatError::Magic);
        }
        match reader.u8()? {
            VERSION => {}
            other => return Err(HeartbeatError::Version(other)),
        }
        let flags = reader.u8()?;
        if usize::from(reader.u16()?) != packet.len() {
            return Err(HeartbeatError::Length);
        }
        let tags = match (flags & AUTHENTICATED != 0, flags & TWICE != 0) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => 2,
        };
        let message = authenticator.verify(packet, tags)?;
        Self::parse_verified(message, flags)
    }

    /// Writes the packet.
    pub fn emit(&self, authenticator: &Authenticator) -> Vec<u8> {
        let node = at_most(MAX_NODE, &self.node);
        let interface = at_most(MAX_INTERFACE, &self.interface);
        let tags = authenticator.keys().count();
        let mut claims = Writer::default();
        self.claims.emit(&mut claims);
        let claims = claims.finish();
        let names = 1 + node.len() + 1 + interface.len();
        let more = self.flags.more_bits();
        let length = HEADER + names + claims.len() + more.iter().count() + tags * TAG;
        let authenticated = match tags {
            0 => 0,
            1 => AUTHENTICATED,
            _ => AUTHENTICATED | TWICE,
        };
        let mut writer = Writer::with_capacity(length);
        writer
            .bytes(&MAGIC)
            .u8(VERSION)
            .u8(self.flags.to_bits() | authenticated)
            .u16(u16::try_from(length).unwrap_or(u16::MAX))
            .u64(self.incarnation)
            .u64(self.sequence)
            .u64(self.nonce)
            .u32(u32::try_from(self.interval.as_micros()).unwrap_or(u32::MAX))
            .bytes(&self.held);
        for name in [node, interface] {
            let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
            writer.u8(length).bytes(name);
        }
        writer.bytes(&claims);
        if let Some(more) = more {
            writer.u8(more);
        }
        let signed = |key| hmac::sign(key, writer.as_slice());
        for tag in authenticator.keys().map(signed).collect::<Vec<_>>() {
            writer.bytes(tag.as_ref());
        }
        writer.finish()
    }

    fn parse_verified(message: &[u8], flags: u8) -> Result<Self, HeartbeatError> {
        let mut reader = Reader::new(message);
        let _checked = reader.take(8)?;
        let (incarnation, sequence, nonce) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let interval = Duration::from_micros(reader.u32()?.into());
        let held = reader.array()?;
        let length = reader.u8()?;
        let node = reader.take(length.into())?;
        let length = reader.u8()?;
        let interface = reader.take(length.into())?;
        if !INTERVALS.contains(&interval) {
            return Err(HeartbeatError::Interval);
        }
        let text = |name, is_valid: fn(&str) -> bool| {
            let name = str::from_utf8(name).ok();
            name.filter(|name| is_valid(name)).map(str::to_owned)
        };
        let node = text(node, is_node_name).ok_or(HeartbeatError::Node)?;
        let interface = text(interface, is_interface_name).ok_or(HeartbeatError::Interface)?;
        let claims = claims::Message::parse(&mut reader)?;
        let more = reader.rest().first().copied().unwrap_or_default();
        Ok(Self {
            flags: Flags::from_bits(flags, more),
            incarnation,
            sequence,
            nonce,
            interval,
            held,
            node,
            interface,
            claims,
        })
    }
}

impl Flags {
    fn to_bits(self) -> u8 {
        let bit = |is_set, bit| if is_set { bit } else { 0 };
        bit(self.is_leaving, LEAVING)
            | bit(self.is_listening, LISTENING)
            | bit(self.is_probe, PROBE)
            | bit(self.is_answer, ANSWER)
            | bit(self.was_missed, MISSED)
            | bit(self.asks, ASKS)
    }

    /// Those that have no room beside the others, if any of them is set.
    fn more_bits(self) -> Option<u8> {
        self.is_failing.then_some(FAILING)
    }

    /// Bits that this version does not know are ignored.
    fn from_bits(bits: u8, more: u8) -> Self {
        Self {
            is_leaving: bits & LEAVING != 0,
            is_listening: bits & LISTENING != 0,
            is_probe: bits & PROBE != 0,
            is_answer: bits & ANSWER != 0,
            was_missed: bits & MISSED != 0,
            asks: bits & ASKS != 0,
            is_failing: more & FAILING != 0,
        }
    }
}

/// The frame that carries a packet to `destination`, or to all if that is `None`.
///
/// An interface without an IPv4 address sends from 0.0.0.0.
pub fn frame(
    packet: &[u8],
    mac: Mac,
    source: Option<Ipv4Addr>,
    destination: Option<Mac>,
) -> Vec<u8> {
    Datagram {
        source: source.unwrap_or(Ipv4Addr::UNSPECIFIED),
        destination: GROUP,
        ports: (PORT, PORT),
        payload: packet,
    }
    .emit(
        mac,
        destination.unwrap_or_else(|| Mac::of_ipv4_group(GROUP)),
    )
}

/// The packet in a frame that came in on an interface with hardware address `mac`, and its sender.
pub fn unframe(frame: &[u8], mac: Mac) -> Result<(Mac, &[u8]), HeartbeatError> {
    let (header, rest) = Header::parse(frame)?;
    if header.source == mac {
        return Err(HeartbeatError::Own);
    }
    let is_ours = header.destination == mac || header.destination == Mac::of_ipv4_group(GROUP);
    if header.ether_type != ethernet::IPV4 || !is_ours {
        return Err(HeartbeatError::Elsewhere);
    }
    let datagram = Datagram::parse(rest)?;
    if datagram.destination != GROUP || datagram.ports.1 != PORT {
        return Err(HeartbeatError::Elsewhere);
    }
    Ok((header.source, datagram.payload))
}

/// What a Kubernetes node can be called (RFC 1123 subdomain); it becomes a path and a log field.
pub(crate) fn is_node_name(name: &str) -> bool {
    let is_allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'.';
    let ends = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = name.as_bytes();
    bytes.iter().copied().all(is_allowed)
        && bytes.first().copied().is_some_and(ends)
        && bytes.last().copied().is_some_and(ends)
        && bytes.len() <= MAX_NODE
}

/// What Linux lets an interface be called; it becomes a log field.
fn is_interface_name(name: &str) -> bool {
    let is_allowed = |c: char| !c.is_control() && !c.is_whitespace() && c != '/';
    (1..=MAX_INTERFACE).contains(&name.len()) && name.chars().all(is_allowed)
}

fn at_most(length: usize, name: &str) -> &[u8] {
    let name = name.as_bytes();
    name.get(..length).unwrap_or(name)
}

const MAGIC: [u8; 4] = *b"FLHB";
const VERSION: u8 = 4;
/// Bytes before the length of the first name.
const HEADER: usize = 52;
/// Bytes of a tag.
const TAG: usize = 32;
/// A Kubernetes node's name is no longer.
const MAX_NODE: usize = 253;
/// Nor is a Linux interface's.
const MAX_INTERFACE: usize = 15;
/// How far heartbeats can be apart.
pub(crate) const INTERVALS: RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(60);

const AUTHENTICATED: u8 = 1 << 0;
const LEAVING: u8 = 1 << 1;
const LISTENING: u8 = 1 << 2;
const PROBE: u8 = 1 << 3;
const MISSED: u8 = 1 << 4;
const ASKS: u8 = 1 << 5;
const ANSWER: u8 = 1 << 6;
/// A second tag follows the first.
const TWICE: u8 = 1 << 7;

/// Of the further flags.
const FAILING: u8 = 1 << 0;

/// What a node would answer that had sent this and was asked.
#[cfg(test)]
pub(crate) fn answer(heartbeat: Heartbeat, nonce: u64) -> Heartbeat {
    let flags = Flags {
        is_answer: true,
        is_probe: false,
        ..heartbeat.flags
    };
    Heartbeat {
        flags,
        nonce,
        ..heartbeat
    }
}

#[cfg(test)]
mod tests;
