//! Claims as bytes.
//!
//! ```text
//!  kind    after        last         count   entries…
//!  1       1 + 0/4/16   1 + 0/4/16   2       (1 + 4/16) each
//! ```
//!
//! The range (`after`, `last`) stands in a part only. An entry's first octet is its standing, with
//! the highest bit set for IPv6.

use std::net::IpAddr;

use super::{Change, Message, Part, Standing};
use crate::wire::{Reader, Truncated, Writer};

impl Message {
    /// Appends it.
    pub fn emit(&self, writer: &mut Writer) {
        match self {
            Self::Nothing => drop(writer.u8(NOTHING)),
            Self::Changes(changes) => {
                writer.u8(CHANGES);
                emit_entries(writer, changes.iter().copied());
            }
            Self::Part(part) => {
                writer.u8(PART);
                for bound in [part.after, part.last] {
                    emit_bound(writer, bound);
                }
                let entries = part.entries.iter();
                emit_entries(
                    writer,
                    entries.map(|(address, standing)| (*address, Some(*standing))),
                );
            }
        }
    }

    /// Reads it. A kind that this version does not know tells nothing.
    pub fn parse(reader: &mut Reader<'_>) -> Result<Self, Truncated> {
        match reader.u8()? {
            CHANGES => Ok(Self::Changes(parse_entries(reader)?)),
            PART => {
                let (after, last) = (parse_bound(reader)?, parse_bound(reader)?);
                let entries = parse_entries(reader)?.into_iter();
                let entries = entries.filter_map(|(address, standing)| Some((address, standing?)));
                Ok(Self::Part(Part {
                    after,
                    last,
                    entries: entries.collect(),
                }))
            }
            _ => Ok(Self::Nothing),
        }
    }
}

fn emit_entries(writer: &mut Writer, entries: impl ExactSizeIterator<Item = Change>) {
    let count = u16::try_from(entries.len()).unwrap_or(u16::MAX);
    writer.u16(count);
    for (address, standing) in entries.take(count.into()) {
        let standing = match standing {
            None => GONE,
            Some(Standing::Holds) => HOLDS,
            Some(Standing::Offers) => OFFERS,
            Some(Standing::Remembers) => REMEMBERS,
        };
        match address {
            IpAddr::V4(address) => writer.u8(standing).bytes(&address.octets()),
            IpAddr::V6(address) => writer.u8(standing | IS_V6).bytes(&address.octets()),
        };
    }
}

fn parse_entries(reader: &mut Reader<'_>) -> Result<Vec<Change>, Truncated> {
    let count = usize::from(reader.u16()?);
    // No more room than the octets that are there can fill.
    let mut entries = Vec::with_capacity(count.min(reader.rest().len() / SHORTEST_ENTRY));
    for _ in 0..count {
        let kind = reader.u8()?;
        let address = match kind & IS_V6 {
            0 => reader.array::<4>()?.into(),
            _ => reader.array::<16>()?.into(),
        };
        match kind & !IS_V6 {
            GONE => entries.push((address, None)),
            HOLDS => entries.push((address, Some(Standing::Holds))),
            OFFERS => entries.push((address, Some(Standing::Offers))),
            REMEMBERS => entries.push((address, Some(Standing::Remembers))),
            // A later version's.
            _ => {}
        }
    }
    Ok(entries)
}

fn emit_bound(writer: &mut Writer, bound: Option<IpAddr>) {
    match bound {
        None => writer.u8(0),
        Some(IpAddr::V4(address)) => writer.u8(4).bytes(&address.octets()),
        Some(IpAddr::V6(address)) => writer.u8(16).bytes(&address.octets()),
    };
}

fn parse_bound(reader: &mut Reader<'_>) -> Result<Option<IpAddr>, Truncated> {
    Ok(match reader.u8()? {
        0 => None,
        4 => Some(reader.array::<4>()?.into()),
        16 => Some(reader.array::<16>()?.into()),
        _ => return Err(Truncated),
    })
}

/// Octets of an IPv4 entry.
const SHORTEST_ENTRY: usize = 5;

const NOTHING: u8 = 0;
const CHANGES: u8 = 1;
const PART: u8 = 2;

const GONE: u8 = 0;
const HOLDS: u8 = 1;
const OFFERS: u8 = 2;
const REMEMBERS: u8 = 3;
const IS_V6: u8 = 1 << 7;
