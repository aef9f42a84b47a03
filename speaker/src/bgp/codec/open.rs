//! OPEN (RFC 4271 §4.2) with its optional parameters (RFC 5492, RFC 9072).

use std::net::Ipv4Addr;

use super::super::message::{Capability, Open};
use super::super::notification::OpenError;
use super::capabilities;
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
    let capabilities = capabilities::encode(&open.capabilities);
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
        capabilities.push(capabilities::decode(&mut values).ok_or(OpenError::Unspecific)?);
    }
    Ok(())
}

const VERSION: u8 = 4;

// Optional parameter types.
const CAPABILITIES: u8 = 2;
const EXTENDED: u8 = 255;
