//! OPEN (RFC 4271 §4.2) with its optional parameters (RFC 5492, RFC 9072).
//!
//! Every capability is accepted: one we do not know, or whose value has the wrong length, is kept
//! as it is and counts as not offered.

use std::net::Ipv4Addr;

use super::super::message::{AfiSafi, Capability, ExtendedNextHop, Open};
use super::super::notification::OpenError;
use super::reader::Reader;

/// Reads the body of an OPEN.
pub(super) fn decode(body: &[u8]) -> Result<Open, OpenError> {
    let mut reader = Reader::new(body);
    let version = reader.u8().ok_or(OpenError::Unspecific)?;
    if version != VERSION {
        return Err(OpenError::UnsupportedVersionNumber(version));
    }
    let fixed = (reader.u16(), reader.u16(), reader.u32(), reader.u8());
    let (Some(autonomous_system), Some(hold_time), Some(router_id), Some(length)) = fixed else {
        return Err(OpenError::Unspecific);
    };
    Ok(Open {
        autonomous_system,
        hold_time,
        router_id: Ipv4Addr::from_bits(router_id),
        capabilities: decode_parameters(length, reader)?,
    })
}

/// Writes the body of an OPEN, with all capabilities in one parameter.
pub(super) fn encode(open: &Open) -> Vec<u8> {
    let mut capabilities = Vec::new();
    for capability in &open.capabilities {
        put_capability(&mut capabilities, capability);
    }
    let mut body = vec![VERSION];
    body.extend(open.autonomous_system.to_be_bytes());
    body.extend(open.hold_time.to_be_bytes());
    body.extend(open.router_id.octets());
    match u8::try_from(capabilities.len()) {
        Ok(0) => body.push(0),
        Ok(length @ ..=253) => {
            body.extend([length.saturating_add(2), CAPABILITIES, length]);
        }
        Ok(_) | Err(_) => put_extended_head(&mut body, capabilities.len()),
    }
    body.extend(capabilities);
    body
}

/// RFC 9072 §2: the form for parameters of more than 255 octets.
fn put_extended_head(body: &mut Vec<u8>, capabilities: usize) {
    let length = u16::try_from(capabilities).expect("our own capabilities are few");
    body.extend([255, EXTENDED]);
    body.extend(length.saturating_add(3).to_be_bytes());
    body.push(CAPABILITIES);
    body.extend(length.to_be_bytes());
}

fn decode_parameters(length: u8, rest: Reader<'_>) -> Result<Vec<Capability>, OpenError> {
    let mut reader = rest;
    // RFC 9072 §2: it is the type octet that decides; the length before it may be anything but 0.
    let is_extended = length != 0 && rest.rest().first() == Some(&EXTENDED);
    let length = if is_extended {
        reader.u8();
        reader.u16().ok_or(OpenError::Unspecific)?
    } else {
        u16::from(length)
    };
    if reader.rest().len() != usize::from(length) {
        return Err(OpenError::Unspecific);
    }
    let mut capabilities = Vec::new();
    while !reader.is_empty() {
        decode_parameter(&mut reader, is_extended, &mut capabilities)?;
    }
    Ok(capabilities)
}

fn decode_parameter(
    reader: &mut Reader<'_>,
    is_extended: bool,
    capabilities: &mut Vec<Capability>,
) -> Result<(), OpenError> {
    let kind = reader.u8().ok_or(OpenError::Unspecific)?;
    let length = if is_extended {
        reader.u16()
    } else {
        reader.u8().map(u16::from)
    };
    let value = length
        .and_then(|length| reader.take(usize::from(length)))
        .ok_or(OpenError::Unspecific)?;
    if kind != CAPABILITIES {
        return Err(OpenError::UnsupportedOptionalParameter(kind));
    }
    let mut values = Reader::new(value);
    while !values.is_empty() {
        capabilities.push(decode_capability(&mut values).ok_or(OpenError::Unspecific)?);
    }
    Ok(())
}

fn decode_capability(reader: &mut Reader<'_>) -> Option<Capability> {
    let code = reader.u8()?;
    let length = reader.u8()?;
    let value = reader.take(usize::from(length))?;
    let known = match code {
        MULTI_PROTOCOL => multi_protocol(value),
        ROUTE_REFRESH => value.is_empty().then_some(Capability::RouteRefresh),
        EXTENDED_NEXT_HOP => extended_next_hop(value),
        FOUR_OCTET_ASN => four_octet_asn(value),
        _ => None,
    };
    Some(known.unwrap_or_else(|| Capability::Other {
        code,
        value: value.to_vec(),
    }))
}

fn multi_protocol(value: &[u8]) -> Option<Capability> {
    let mut reader = Reader::new(value);
    let afi = reader.u16()?;
    let _reserved = reader.u8()?;
    let safi = reader.u8()?;
    reader
        .is_empty()
        .then_some(Capability::MultiProtocol(AfiSafi { afi, safi }))
}

fn extended_next_hop(value: &[u8]) -> Option<Capability> {
    let mut reader = Reader::new(value);
    let mut triples = Vec::new();
    while !reader.is_empty() {
        triples.push(ExtendedNextHop {
            afi: reader.u16()?,
            safi: reader.u16()?,
            next_hop_afi: reader.u16()?,
        });
    }
    Some(Capability::ExtendedNextHop(triples))
}

fn four_octet_asn(value: &[u8]) -> Option<Capability> {
    let mut reader = Reader::new(value);
    let asn = reader.u32()?;
    reader.is_empty().then_some(Capability::FourOctetAsn(asn))
}

fn put_capability(block: &mut Vec<u8>, capability: &Capability) {
    let (code, value) = match capability {
        Capability::MultiProtocol(AfiSafi { afi, safi }) => {
            let [high, low] = afi.to_be_bytes();
            (MULTI_PROTOCOL, vec![high, low, 0, *safi])
        }
        Capability::RouteRefresh => (ROUTE_REFRESH, Vec::new()),
        Capability::ExtendedNextHop(triples) => {
            let numbers = triples.iter().flat_map(|t| [t.afi, t.safi, t.next_hop_afi]);
            (
                EXTENDED_NEXT_HOP,
                numbers.flat_map(u16::to_be_bytes).collect(),
            )
        }
        Capability::FourOctetAsn(asn) => (FOUR_OCTET_ASN, asn.to_be_bytes().to_vec()),
        Capability::Other { code, value } => (*code, value.clone()),
    };
    let length = u8::try_from(value.len()).expect("a capability has at most 255 octets");
    block.extend([code, length]);
    block.extend(value);
}

const VERSION: u8 = 4;

// Optional parameter types.
const CAPABILITIES: u8 = 2;
const EXTENDED: u8 = 255;

// Capability codes.
const MULTI_PROTOCOL: u8 = 1;
const ROUTE_REFRESH: u8 = 2;
const EXTENDED_NEXT_HOP: u8 = 5;
const FOUR_OCTET_ASN: u8 = 65;
