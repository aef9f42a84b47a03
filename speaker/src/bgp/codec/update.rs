//! What has to be right in an UPDATE whose content nobody wants.
//!
//! RFC 7606 forgives nearly everything by "treat as withdraw" or "discard the attribute", and to a
//! speaker that keeps no routes both are the same as accepting. What is left are the errors that
//! end a session: lengths that leave the prefixes impossible to find, prefixes that cannot be
//! parsed, and well-known attributes nobody knows.

use ferrolb_crds::model::Family;

use super::super::message::AfiSafi;
use super::super::notification::UpdateError;
use super::compose::{EXTENDED_LENGTH, MP_REACH_NLRI, MP_UNREACH_NLRI, OPTIONAL};
use super::reader::Reader;

/// Checks the body of an UPDATE.
pub(super) fn check(body: &[u8]) -> Result<(), UpdateError> {
    let mut reader = Reader::new(body);
    // RFC 4271 §6.3: a length beyond the message is a malformed attribute list.
    let withdrawn = sized(&mut reader).ok_or(UpdateError::MalformedAttributeList)?;
    let attributes = sized(&mut reader).ok_or(UpdateError::MalformedAttributeList)?;
    check_attributes(attributes)?;
    for prefixes in [withdrawn, reader.rest()] {
        if !are_prefixes(prefixes, Family::V4) {
            return Err(UpdateError::InvalidNetworkField);
        }
    }
    Ok(())
}

fn sized<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let length = reader.u16()?;
    reader.take(usize::from(length))
}

fn check_attributes(block: &[u8]) -> Result<(), UpdateError> {
    let mut reader = Reader::new(block);
    let mut has_reach = false;
    let mut has_unreach = false;
    while !reader.is_empty() {
        // RFC 7606 §4: an attribute that overruns the block is treated as withdraw; the block's
        // own length still says where the prefixes are.
        let Some(attribute) = Attribute::read(&mut reader) else {
            return Ok(());
        };
        // RFC 7606 §3 (g): of these two, one each.
        let is_repeated = match attribute.code {
            REACH => std::mem::replace(&mut has_reach, true),
            UNREACH => std::mem::replace(&mut has_unreach, true),
            _ => false,
        };
        if is_repeated {
            return Err(UpdateError::MalformedAttributeList);
        }
        attribute.check()?;
    }
    Ok(())
}

#[derive(Debug, Clone, Copy)]
struct Attribute<'a> {
    flags: u8,
    code: u8,
    value: &'a [u8],
    whole: &'a [u8],
}

impl<'a> Attribute<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let start = reader.rest();
        let flags = reader.u8()?;
        let code = reader.u8()?;
        let length = if flags & EXTENDED_LENGTH == 0 {
            u16::from(reader.u8()?)
        } else {
            reader.u16()?
        };
        let value = reader.take(usize::from(length))?;
        let size = start.len().saturating_sub(reader.rest().len());
        let whole = start.get(..size)?;
        Some(Self {
            flags,
            code,
            value,
            whole,
        })
    }

    fn check(self) -> Result<(), UpdateError> {
        let is_sound = match self.code {
            REACH => is_reach(self.value),
            UNREACH => is_unreach(self.value),
            _ => true,
        };
        if !is_sound {
            // RFC 7606 §5.3: prefixes that cannot be found are not forgiven.
            return Err(UpdateError::OptionalAttributeError(self.whole.to_vec()));
        }
        // RFC 4271 §6.3. Wrong flags on an attribute we do know are forgiven (RFC 7606 §3 (c)).
        if self.flags & OPTIONAL == 0 && !is_known(self.code) {
            let attribute = self.whole.to_vec();
            return Err(UpdateError::UnrecognizedWellKnownAttribute(attribute));
        }
        Ok(())
    }
}

/// RFC 4760 §3.
fn is_reach(value: &[u8]) -> bool {
    let mut reader = Reader::new(value);
    let Some(afi_safi) = reader.afi_safi() else {
        return false;
    };
    let next_hop = reader
        .u8()
        .and_then(|length| reader.take(usize::from(length)));
    let reserved = reader.u8();
    let (Some(next_hop), Some(_)) = (next_hop, reserved) else {
        return false;
    };
    is_next_hop(afi_safi, next_hop) && are_multiprotocol_prefixes(afi_safi, reader.rest())
}

/// RFC 7606 §7.11: a next hop of a length that its family does not have leaves in doubt where the
/// prefixes begin. RFC 2545 §3 and RFC 8950 §3 say which there are.
fn is_next_hop(afi_safi: AfiSafi, next_hop: &[u8]) -> bool {
    match afi_safi.family() {
        Some(Family::V4) => matches!(next_hop.len(), 4 | 16 | 32),
        Some(Family::V6) => matches!(next_hop.len(), 16 | 32),
        None => true,
    }
}

/// RFC 4760 §4.
fn is_unreach(value: &[u8]) -> bool {
    let mut reader = Reader::new(value);
    reader
        .afi_safi()
        .is_some_and(|afi_safi| are_multiprotocol_prefixes(afi_safi, reader.rest()))
}

/// A family that was not negotiated is ignored, whatever its prefixes look like (RFC 4760 §7).
fn are_multiprotocol_prefixes(afi_safi: AfiSafi, prefixes: &[u8]) -> bool {
    afi_safi
        .family()
        .is_none_or(|family| are_prefixes(prefixes, family))
}

/// RFC 7606 §5.3: no prefix longer than its family allows, none that overruns the field.
fn are_prefixes(field: &[u8], family: Family) -> bool {
    let mut reader = Reader::new(field);
    while let Some(bits) = reader.u8() {
        let octets = usize::from(bits).div_ceil(8);
        if bits > family.bits() || reader.take(octets).is_none() {
            return false;
        }
    }
    true
}

/// IANA's "BGP Path Attributes" that are assigned, deprecated ones included.
fn is_known(code: u8) -> bool {
    matches!(code, 1..=40 | 128)
}

const REACH: u8 = MP_REACH_NLRI.1;
const UNREACH: u8 = MP_UNREACH_NLRI.1;
