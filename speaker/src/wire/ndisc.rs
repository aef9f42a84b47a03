//! Neighbor Discovery (RFC 4861): solicitations in, advertisements out, each with its IPv6 header.
//!
//! Options are walked by hand: one of length 0 is refused (RFC 4861 §4.6), others are skipped.

use std::net::Ipv6Addr;

use thiserror::Error;

use super::ethernet::{self, Header, Mac};
use super::{Buffer, Reader, Short, Truncated, Writer, checksum};

/// The all-nodes group.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The group in which the owner of `address` is asked for (RFC 4291 §2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// A Neighbor Solicitation that passed the checks of RFC 4861 §7.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Solicitation {
    /// Who asks; unspecified for duplicate address detection (RFC 4862 §5.4).
    pub source: Ipv6Addr,
    /// Solicited-node group, or the target itself.
    pub destination: Ipv6Addr,
    /// Which address is asked for.
    pub target: Ipv6Addr,
    /// Source link-layer address option.
    pub source_link: Option<Mac>,
}

/// A Neighbor Advertisement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advertisement {
    /// Who says so.
    pub source: Ipv6Addr,
    /// To whom.
    pub destination: Ipv6Addr,
    /// Which address it is about.
    pub target: Ipv6Addr,
    /// R flag.
    pub router: bool,
    /// S flag.
    pub solicited: bool,
    /// O flag.
    pub override_: bool,
    /// Target link-layer address option.
    pub target_link: Option<Mac>,
}

/// Why bytes are no valid message of Neighbor Discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NdiscError {
    /// Fewer bytes than a header or an option says.
    #[error("truncated")]
    Truncated,
    /// Not IPv6, or ICMPv6 does not follow the header at once (RFC 6980 §5).
    #[error("not ICMPv6")]
    NotIcmp,
    /// Hop limit below 255: it came through a router.
    #[error("hop limit {0} is not 255")]
    HopLimit(u8),
    /// ICMPv6 checksum.
    #[error("wrong checksum")]
    Checksum,
    /// Another ICMPv6 type.
    #[error("ICMPv6 type {0} is not the one expected")]
    Type(u8),
    /// ICMPv6 code other than 0.
    #[error("code {0} is not 0")]
    Code(u8),
    /// The target is a group.
    #[error("the target is a multicast address")]
    MulticastTarget,
    /// A router speaks from another than a link-local address.
    #[error("not from a link-local address")]
    Source,
    /// An option of length 0, or a link-layer address that cannot be one.
    #[error("invalid option")]
    Option,
    /// A solicitation from the unspecified address with a source link-layer option, or not sent
    /// to a solicited-node group.
    #[error("invalid duplicate address detection")]
    Detection,
}

impl From<Truncated> for NdiscError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

impl Solicitation {
    /// Reads an IPv6 packet.
    pub fn parse(packet: &[u8]) -> Result<Self, NdiscError> {
        let message = Message::parse(packet, SOLICITATION)?;
        let solicitation = Self {
            source: message.source,
            destination: message.destination,
            target: message.target,
            source_link: link_layer_option(message.options, SOURCE_LINK)?,
        };
        match solicitation.is_sound() {
            true => Ok(solicitation),
            false => Err(NdiscError::Detection),
        }
    }

    /// The frame that asks; used by probes and tests.
    pub fn emit(&self, source: Mac, destination: Mac) -> Vec<u8> {
        let mut body = Writer::<Short>::default();
        body.u32(0).bytes(&self.target.octets());
        emit_link_layer_option(&mut body, SOURCE_LINK, self.source_link);
        let body = body.finish();
        let ends = (self.source, self.destination);
        frame(source, destination, ends, SOLICITATION, &body)
    }

    /// The two rules of RFC 4861 §7.1.1 for an unspecified source.
    fn is_sound(&self) -> bool {
        !self.source.is_unspecified()
            || (self.source_link.is_none() && self.destination == solicited_node(self.target))
    }
}

impl Advertisement {
    /// Reads an IPv6 packet.
    pub fn parse(packet: &[u8]) -> Result<Self, NdiscError> {
        let message = Message::parse(packet, ADVERTISEMENT)?;
        Ok(Self {
            source: message.source,
            destination: message.destination,
            target: message.target,
            router: message.flags & ROUTER != 0,
            solicited: message.flags & SOLICITED != 0,
            override_: message.flags & OVERRIDE != 0,
            target_link: link_layer_option(message.options, TARGET_LINK)?,
        })
    }

    /// The frame that tells `destination`.
    pub fn emit(&self, source: Mac, destination: Mac) -> Vec<u8> {
        self.emit_as(source, destination)
    }

    /// The same, in another kind of buffer.
    pub fn emit_as<B: Buffer>(&self, source: Mac, destination: Mac) -> B {
        let flag = |is_set, bit| if is_set { bit } else { 0 };
        let flags = flag(self.router, ROUTER)
            | flag(self.solicited, SOLICITED)
            | flag(self.override_, OVERRIDE);
        let mut body = Writer::<Short>::default();
        body.u32(flags).bytes(&self.target.octets());
        emit_link_layer_option(&mut body, TARGET_LINK, self.target_link);
        let body = body.finish();
        let ends = (self.source, self.destination);
        frame(source, destination, ends, ADVERTISEMENT, &body)
    }
}

/// Says to everybody that `address` is at `mac`: override, or no cache moves (RFC 4861 §7.2.6).
pub fn announcement(address: Ipv6Addr, mac: Mac) -> Vec<u8> {
    Advertisement {
        source: address,
        destination: ALL_NODES,
        target: address,
        router: false,
        solicited: false,
        override_: true,
        target_link: Some(mac),
    }
    .emit(mac, Mac::of_ipv6_group(ALL_NODES))
}

/// Asks who has `address`, from no address: who has it tells all nodes (RFC 4862 §5.4.2).
pub fn probe(address: Ipv6Addr, mac: Mac) -> Vec<u8> {
    let destination = solicited_node(address);
    Solicitation {
        source: Ipv6Addr::UNSPECIFIED,
        destination,
        target: address,
        source_link: None,
    }
    .emit(mac, Mac::of_ipv6_group(destination))
}

/// What solicitation and advertisement have in common.
struct Message<'a> {
    source: Ipv6Addr,
    destination: Ipv6Addr,
    flags: u32,
    target: Ipv6Addr,
    options: &'a [u8],
}

impl<'a> Message<'a> {
    fn parse(packet: &'a [u8], expected: u8) -> Result<Self, NdiscError> {
        let mut header = Reader::new(packet);
        let version = header.u32()? >> 28;
        let length = header.u16()?;
        let next = header.u8()?;
        let hop_limit = header.u8()?;
        let source = Ipv6Addr::from(header.array::<16>()?);
        let destination = Ipv6Addr::from(header.array::<16>()?);
        if version != 6 || next != ICMPV6 {
            return Err(NdiscError::NotIcmp);
        }
        if hop_limit != 255 {
            return Err(NdiscError::HopLimit(hop_limit));
        }
        // Short frames are padded: only the length in the header counts.
        let icmp = header.take(usize::from(length))?;
        let mut reader = Reader::new(icmp);
        let (kind, code, _checksum) = (reader.u8()?, reader.u8()?, reader.u16()?);
        if kind != expected {
            return Err(NdiscError::Type(kind));
        }
        if code != 0 {
            return Err(NdiscError::Code(code));
        }
        if icmp_checksum(source, destination, icmp) != 0 {
            return Err(NdiscError::Checksum);
        }
        let flags = reader.u32()?;
        let target = Ipv6Addr::from(reader.array::<16>()?);
        if target.is_multicast() {
            return Err(NdiscError::MulticastTarget);
        }
        Ok(Self {
            source,
            destination,
            flags,
            target,
            options: reader.rest(),
        })
    }
}

/// Finds one link-layer address option; all options must be sound (RFC 4861 §4.6).
pub(super) fn link_layer_option(options: &[u8], wanted: u8) -> Result<Option<Mac>, NdiscError> {
    let mut reader = Reader::new(options);
    let mut found = None;
    while !reader.rest().is_empty() {
        let (kind, units) = (reader.u8()?, reader.u8()?);
        let length = usize::from(units)
            .checked_mul(8)
            .and_then(|bytes| bytes.checked_sub(2))
            .ok_or(NdiscError::Option)?;
        let mut value = Reader::new(reader.take(length)?);
        if kind == wanted && found.is_none() {
            found = Some(Mac(value.array()?));
        }
    }
    match found {
        Some(mac) if mac.is_group() || mac == Mac::ZERO => Err(NdiscError::Option),
        other => Ok(other),
    }
}

fn emit_link_layer_option<B: Buffer>(writer: &mut Writer<B>, kind: u8, mac: Option<Mac>) {
    if let Some(mac) = mac {
        writer.u8(kind).u8(1).bytes(&mac.0);
    }
}

/// Ethernet, IPv6 and ICMPv6 headers around a body of at most 32 bytes.
fn frame<B: Buffer>(
    source: Mac,
    destination: Mac,
    (from, to): (Ipv6Addr, Ipv6Addr),
    kind: u8,
    body: &[u8],
) -> B {
    let mut icmp = Writer::<Short>::default();
    icmp.u8(kind).u8(0).u16(0).bytes(body);
    let sum = icmp_checksum(from, to, icmp.as_slice());
    let length = u16::try_from(icmp.as_slice().len()).unwrap_or(u16::MAX);
    let mut writer = Writer::<B>::default();
    Header {
        destination,
        source,
        ether_type: ethernet::IPV6,
    }
    .emit(&mut writer);
    writer
        .u32(6 << 28)
        .u16(length)
        .u8(ICMPV6)
        .u8(255)
        .bytes(&from.octets())
        .bytes(&to.octets())
        .u8(kind)
        .u8(0)
        .u16(sum)
        .bytes(body);
    writer.finish()
}

/// RFC 4443 §2.3: over the pseudo-header of RFC 8200 §8.1 and the message.
fn icmp_checksum(source: Ipv6Addr, destination: Ipv6Addr, icmp: &[u8]) -> u16 {
    let length = u32::try_from(icmp.len()).unwrap_or(u32::MAX).to_be_bytes();
    checksum(&[
        &source.octets(),
        &destination.octets(),
        &length,
        &[0, 0, 0, ICMPV6],
        icmp,
    ])
}

const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Kind of the option that says where a message is from.
pub(super) const SOURCE_LINK: u8 = 1;
const TARGET_LINK: u8 = 2;
const ROUTER: u32 = 1 << 31;
const SOLICITED: u32 = 1 << 30;
const OVERRIDE: u32 = 1 << 29;
