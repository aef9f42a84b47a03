//! What one interface of a node stands for, and its digest.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Bound;

use ring::digest;

use super::{Change, Message, Part, Standing};

/// A digest of all that is said of an interface.
pub type Digest = [u8; 16];

/// What is said of one interface.
///
/// The digest is the exclusive or of the entries' hashes, so that a change costs what it is, and the
/// order does not matter. Who knows the key is trusted; so nobody gains by looking for two that are
/// alike.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holdings {
    entries: BTreeMap<IpAddr, Standing>,
    digest: u128,
}

impl Holdings {
    /// How it stands to the address.
    pub fn get(&self, address: IpAddr) -> Option<Standing> {
        self.entries.get(&address).copied()
    }

    /// Says how it stands to the address from now on; true if that is a change.
    pub fn set(&mut self, address: IpAddr, standing: Option<Standing>) -> bool {
        let before = match standing {
            Some(standing) => self.entries.insert(address, standing),
            None => self.entries.remove(&address),
        };
        if before == standing {
            return false;
        }
        for standing in before.into_iter().chain(standing) {
            self.digest ^= hash(address, standing);
        }
        true
    }

    /// The digest of everything.
    pub fn digest(&self) -> Digest {
        self.digest.to_be_bytes()
    }

    /// Everything, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, Standing)> {
        self.entries
            .iter()
            .map(|(address, standing)| (*address, *standing))
    }

    /// How many addresses.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Becomes what is given, and says where that is a change.
    pub fn replace_with(&mut self, wanted: &BTreeMap<IpAddr, Standing>) -> Vec<Change> {
        let gone = self
            .entries
            .keys()
            .filter(|address| !wanted.contains_key(address));
        let gone = gone.map(|address| (*address, None));
        let new = wanted
            .iter()
            .filter(|(address, standing)| self.entries.get(address) != Some(standing));
        let new = new.map(|(address, standing)| (*address, Some(*standing)));
        let changes: Vec<Change> = gone.chain(new).collect();
        for (address, standing) in &changes {
            self.set(*address, *standing);
        }
        changes
    }

    /// What is true by now of the addresses where a part differs from this.
    pub(super) fn changes_to(&self, part: Part) -> Vec<Change> {
        let lower = part.after.map_or(Bound::Unbounded, Bound::Excluded);
        let upper = part.last.map_or(Bound::Unbounded, Bound::Included);
        if part
            .after
            .zip(part.last)
            .is_some_and(|(after, last)| last <= after)
        {
            return Vec::new();
        }
        let told: BTreeMap<IpAddr, Standing> = part.entries.into_iter().collect();
        let here = self.entries.range((lower, upper));
        let gone = here.filter(|(address, _)| !told.contains_key(address));
        let gone = gone.map(|(address, _)| (*address, None));
        let new = told.range((lower, upper));
        let new = new.map(|(address, standing)| (*address, Some(*standing)));
        gone.chain(new).collect()
    }

    /// Everything, in parts that each fit into a packet; one that is empty if there is nothing.
    pub fn parts(&self) -> Vec<Message> {
        let entries: Vec<(IpAddr, Standing)> = self.iter().collect();
        let mut parts = Vec::new();
        let mut after = None;
        for entries in packets(&entries, |(address, _)| *address) {
            let last = entries.last().map(|(address, _)| *address);
            parts.push(Part {
                after,
                last,
                entries: entries.to_vec(),
            });
            after = last;
        }
        // What was held beyond is not any more.
        match parts.last_mut() {
            Some(part) => part.last = None,
            None => parts.push(Part {
                after: None,
                last: None,
                entries: Vec::new(),
            }),
        }
        parts.into_iter().map(Message::Part).collect()
    }
}

/// Cuts a list so that each piece fits into a packet.
pub fn packets<T>(list: &[T], address: impl Fn(&T) -> IpAddr) -> Vec<&[T]> {
    let mut pieces = Vec::new();
    let mut rest = list;
    while !rest.is_empty() {
        let mut room = ROOM;
        let fits = rest.iter().take_while(|entry| {
            let size = match address(entry) {
                IpAddr::V4(_) => 5,
                IpAddr::V6(_) => 17,
            };
            let left = room.checked_sub(size);
            room = left.unwrap_or(0);
            left.is_some()
        });
        let (piece, after) = rest.split_at(fits.count());
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Octets of entries in a packet: with the longest names it is shorter than 1,280 octets, so that it
/// passes wherever IPv6 does.
const ROOM: usize = 800;

fn hash(address: IpAddr, standing: Standing) -> u128 {
    let address = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&address.octets());
    context.update(&[standing as u8]);
    let hash = context.finish();
    let first = hash.as_ref().first_chunk();
    first.map_or(0, |first| u128::from_be_bytes(*first))
}
