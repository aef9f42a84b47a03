//! A UDP datagram over IPv4 (RFC 768, RFC 791) as a whole frame, without options or fragments.

use std::net::Ipv4Addr;

use thiserror::Error;

use super::ethernet::{self, Header, Mac};
use super::{Reader, Truncated, Writer, checksum};

/// A datagram with the parts of its IPv4 header that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// IPv4 source.
    pub source: Ipv4Addr,
    /// IPv4 destination.
    pub destination: Ipv4Addr,
    /// Source and destination port.
    pub ports: (u16, u16),
    /// What it carries.
    pub payload: &'a [u8],
}

/// Why bytes are no datagram of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UdpError {
    /// Fewer bytes than a header says.
    #[error("truncated")]
    Truncated,
    /// Not IPv4 with a plain header, or not UDP.
    #[error("not UDP in a plain IPv4 header")]
    NotUdp,
    /// A fragment.
    #[error("fragmented")]
    Fragment,
    /// TTL below 255: it came through a router.
    #[error("ttl {0} is not 255")]
    Ttl(u8),
    /// IPv4 or UDP checksum.
    #[error("wrong checksum")]
    Checksum,
}

impl From<Truncated> for UdpError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

impl<'a> Datagram<'a> {
    /// Reads an IPv4 packet; one that came through a router is refused (RFC 5082).
    pub fn parse(packet: &'a [u8]) -> Result<Self, UdpError> {
        let mut reader = Reader::new(packet);
        let header = reader.array::<20>()?;
        let mut fields = Reader::new(&header);
        let (version, _tos, length) = (fields.u8()?, fields.u8()?, fields.u16()?);
        let (_id, fragment) = (fields.u16()?, fields.u16()?);
        let (ttl, protocol, _checksum) = (fields.u8()?, fields.u8()?, fields.u16()?);
        if version != 0x45 || protocol != UDP {
            return Err(UdpError::NotUdp);
        }
        if fragment & 0x3fff != 0 {
            return Err(UdpError::Fragment);
        }
        if ttl != 255 {
            return Err(UdpError::Ttl(ttl));
        }
        if checksum(&[&header]) != 0 {
            return Err(UdpError::Checksum);
        }
        let source = Ipv4Addr::from(fields.u32()?);
        let destination = Ipv4Addr::from(fields.u32()?);
        let length = length.checked_sub(20).ok_or(UdpError::Truncated)?;
        let udp = reader.take(usize::from(length))?;
        let (ports, payload) = parse_udp(source, destination, udp)?;
        Ok(Self {
            source,
            destination,
            ports,
            payload,
        })
    }

    /// The frame that carries the datagram; a payload beyond 65,507 bytes is cut off there.
    pub fn emit(&self, source: Mac, destination: Mac) -> Vec<u8> {
        let payload = self.payload.get(..MAX_PAYLOAD).unwrap_or(self.payload);
        let udp_length = u16::try_from(payload.len()).unwrap_or(0).saturating_add(8);
        let mut writer = Writer::with_capacity(usize::from(udp_length).saturating_add(34));
        Header {
            destination,
            source,
            ether_type: ethernet::IPV4,
        }
        .emit(&mut writer);
        let unsummed = self.ip_header(udp_length, 0);
        writer.bytes(&self.ip_header(udp_length, checksum(&[&unsummed])));
        let sum = match self.udp_checksum(udp_length, 0, payload) {
            // RFC 768: zero would mean "no checksum".
            0 => u16::MAX,
            sum => sum,
        };
        writer
            .u16(self.ports.0)
            .u16(self.ports.1)
            .u16(udp_length)
            .u16(sum)
            .bytes(payload);
        writer.finish()
    }

    /// The 20 bytes of the header.
    fn ip_header(&self, udp_length: u16, sum: u16) -> Vec<u8> {
        let mut header = Writer::with_capacity(20);
        // Class selector 6 (RFC 2474), as routing protocols have; don't fragment; TTL 255.
        header
            .u8(0x45)
            .u8(0xc0)
            .u16(udp_length.saturating_add(20))
            .u16(0)
            .u16(0x4000)
            .u8(255)
            .u8(UDP)
            .u16(sum)
            .bytes(&self.source.octets())
            .bytes(&self.destination.octets());
        header.finish()
    }

    fn udp_checksum(&self, length: u16, sum: u16, payload: &[u8]) -> u16 {
        let mut header = Writer::with_capacity(8);
        header.u16(self.ports.0).u16(self.ports.1).u16(length);
        header.u16(sum);
        let pseudo = pseudo_header(self.source, self.destination, length);
        checksum(&[&pseudo, header.as_slice(), payload])
    }
}

fn parse_udp(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    udp: &[u8],
) -> Result<((u16, u16), &[u8]), UdpError> {
    let mut reader = Reader::new(udp);
    let ports = (reader.u16()?, reader.u16()?);
    let (length, sum) = (reader.u16()?, reader.u16()?);
    let inside = length.checked_sub(8).ok_or(UdpError::Truncated)?;
    let payload = reader.take(usize::from(inside))?;
    let covered = udp.get(..usize::from(length)).ok_or(UdpError::Truncated)?;
    let pseudo = pseudo_header(source, destination, length);
    if sum != 0 && checksum(&[&pseudo, covered]) != 0 {
        return Err(UdpError::Checksum);
    }
    Ok((ports, payload))
}

fn pseudo_header(source: Ipv4Addr, destination: Ipv4Addr, length: u16) -> Vec<u8> {
    let mut pseudo = Writer::with_capacity(12);
    pseudo
        .bytes(&source.octets())
        .bytes(&destination.octets())
        .u16(u16::from(UDP))
        .u16(length);
    pseudo.finish()
}

const UDP: u8 = 17;
const MAX_PAYLOAD: usize = 65_507;
