//! Capabilities (RFC 5492 §4), each a code, a length and a value.
//!
//! Every capability is accepted: one we do not know, or whose value has the wrong length, is kept
//! as it is and counts as not offered. Which of several of one code counts, their users say.

use super::super::message::{
    AfiSafi, Capability, ExtendedNextHop, GracefulRestart, LongLived, Preserved,
};
use super::reader::Reader;

/// Reads one; `None` when it overruns what is left of its parameter.
pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Capability> {
    let code = reader.u8()?;
    let length = reader.u8()?;
    let value = reader.take(usize::from(length))?;
    Some(known(code, value).unwrap_or_else(|| Capability::Other {
        code,
        value: value.to_vec(),
    }))
}

/// Writes them one after the other.
pub fn encode(capabilities: &[Capability]) -> Vec<u8> {
    let mut block = Vec::new();
    for capability in capabilities {
        let (code, value) = parts(capability);
        let length = u8::try_from(value.len()).expect("a capability has at most 255 octets");
        block.extend([code, length]);
        block.extend(value);
    }
    block
}

fn known(code: u8, value: &[u8]) -> Option<Capability> {
    let mut reader = Reader::new(value);
    let capability = match code {
        MULTI_PROTOCOL => multi_protocol(&mut reader)?,
        ROUTE_REFRESH => Capability::RouteRefresh,
        EXTENDED_NEXT_HOP => extended_next_hop(&mut reader)?,
        EXTENDED_MESSAGE => Capability::ExtendedMessage,
        GRACEFUL_RESTART => graceful_restart(&mut reader)?,
        FOUR_OCTET_ASN => Capability::FourOctetAsn(reader.u32()?),
        ENHANCED_ROUTE_REFRESH => Capability::EnhancedRouteRefresh,
        LONG_LIVED => long_lived(&mut reader)?,
        _ => return None,
    };
    reader.is_empty().then_some(capability)
}

fn multi_protocol(reader: &mut Reader<'_>) -> Option<Capability> {
    let afi = reader.u16()?;
    let _reserved = reader.u8()?;
    let safi = reader.u8()?;
    Some(Capability::MultiProtocol(AfiSafi { afi, safi }))
}

fn extended_next_hop(reader: &mut Reader<'_>) -> Option<Capability> {
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

fn graceful_restart(reader: &mut Reader<'_>) -> Option<Capability> {
    let head = reader.u16()?;
    let mut families = Vec::new();
    while !reader.is_empty() {
        let afi_safi = reader.afi_safi()?;
        let is_forwarding = reader.u8()? & FORWARDING != 0;
        families.push(Preserved {
            afi_safi,
            is_forwarding,
        });
    }
    Some(Capability::GracefulRestart(GracefulRestart {
        is_restarting: head & RESTARTING != 0,
        has_notification: head & NOTIFICATION != 0,
        restart_time: head & RESTART_TIME,
        families,
    }))
}

fn long_lived(reader: &mut Reader<'_>) -> Option<Capability> {
    let mut families = Vec::new();
    while !reader.is_empty() {
        let afi_safi = reader.afi_safi()?;
        let is_forwarding = reader.u8()? & FORWARDING != 0;
        let (high, low) = (reader.u8()?, reader.u16()?);
        let [second, third] = low.to_be_bytes();
        families.push(LongLived {
            afi_safi,
            is_forwarding,
            stale_time: u32::from_be_bytes([0, high, second, third]),
        });
    }
    Some(Capability::LongLivedGracefulRestart(families))
}

fn parts(capability: &Capability) -> (u8, Vec<u8>) {
    match capability {
        Capability::MultiProtocol(AfiSafi { afi, safi }) => {
            let [high, low] = afi.to_be_bytes();
            (MULTI_PROTOCOL, vec![high, low, 0, *safi])
        }
        Capability::RouteRefresh => (ROUTE_REFRESH, Vec::new()),
        Capability::ExtendedNextHop(triples) => {
            let numbers = triples.iter().flat_map(|t| [t.afi, t.safi, t.next_hop_afi]);
            let value = numbers.flat_map(u16::to_be_bytes).collect();
            (EXTENDED_NEXT_HOP, value)
        }
        Capability::ExtendedMessage => (EXTENDED_MESSAGE, Vec::new()),
        Capability::GracefulRestart(capability) => (GRACEFUL_RESTART, restart_value(capability)),
        Capability::FourOctetAsn(asn) => (FOUR_OCTET_ASN, asn.to_be_bytes().to_vec()),
        Capability::EnhancedRouteRefresh => (ENHANCED_ROUTE_REFRESH, Vec::new()),
        Capability::LongLivedGracefulRestart(families) => {
            let value = families.iter().flat_map(|family| {
                let [afi_high, afi_low] = family.afi_safi.afi.to_be_bytes();
                let [_, high, middle, low] = family.stale_time.to_be_bytes();
                let flags = forwarding(family.is_forwarding);
                [
                    afi_high,
                    afi_low,
                    family.afi_safi.safi,
                    flags,
                    high,
                    middle,
                    low,
                ]
            });
            (LONG_LIVED, value.collect())
        }
        Capability::Other { code, value } => (*code, value.clone()),
    }
}

fn restart_value(capability: &GracefulRestart) -> Vec<u8> {
    let flag = |is_set: bool, flag: u16| if is_set { flag } else { 0 };
    let head = flag(capability.is_restarting, RESTARTING)
        | flag(capability.has_notification, NOTIFICATION)
        | (capability.restart_time & RESTART_TIME);
    let mut value = head.to_be_bytes().to_vec();
    for family in &capability.families {
        value.extend(family.afi_safi.afi.to_be_bytes());
        value.extend([family.afi_safi.safi, forwarding(family.is_forwarding)]);
    }
    value
}

fn forwarding(is_forwarding: bool) -> u8 {
    if is_forwarding { FORWARDING } else { 0 }
}

// IANA's "Capability Codes".
const MULTI_PROTOCOL: u8 = 1;
const ROUTE_REFRESH: u8 = 2;
const EXTENDED_NEXT_HOP: u8 = 5;
const EXTENDED_MESSAGE: u8 = 6;
const GRACEFUL_RESTART: u8 = 64;
const FOUR_OCTET_ASN: u8 = 65;
const ENHANCED_ROUTE_REFRESH: u8 = 70;
const LONG_LIVED: u8 = 71;

// Flags of RFC 4724 §3 and RFC 8538 §2; what is left of the two octets is the restart time.
const RESTARTING: u16 = 0x8000;
const NOTIFICATION: u16 = 0x4000;
const RESTART_TIME: u16 = 0x0fff;
const FORWARDING: u8 = 0x80;
