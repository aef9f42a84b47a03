//! The addresses of one family in one pool, as one row of positions.
//!
//! A position counts the usable addresses in the order in which they are given out: the ranges as
//! they are listed, each from its lowest address. So the next address is the lowest free position,
//! whatever the ranges are. Addresses that `avoidBuggyIPs` takes out of use have no position: they
//! are skipped by arithmetic, not by looking at each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ferrolb_crds::model::{AddressRange, Family, Pool};

use super::free::FreeRanges;
use super::room::Room;
use super::sharing::{Port, SharingKey, Usage};

/// One family's part of a pool.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// In listed order; starts ascend.
    blocks: Vec<Block>,
    /// Indices of blocks by their lowest number.
    by_number: Vec<usize>,
    avoids: bool,
    free: FreeRanges,
    resting: BTreeSet<u128>,
    /// Positions in use by Services that are willing to share, by what they ask of others.
    rooms: BTreeMap<Arc<SharingKey>, Room>,
    assigned: u128,
    capacity: u128,
}

/// A range, in numbers that count usable addresses only.
#[derive(Debug)]
struct Block {
    start: u128,
    first: u128,
    last: u128,
}

impl Block {
    fn end(&self) -> u128 {
        self.start + (self.last - self.first)
    }
}

impl Space {
    /// The pool's addresses of the family, all free.
    pub(super) fn new(pool: &Pool, family: Family) -> Self {
        let mut space = Self {
            avoids: pool.avoid_buggy_ips && family == Family::V4,
            ..Self::default()
        };
        for range in pool.ranges.iter().filter(|range| range.family() == family) {
            space.append(range);
        }
        space.by_number = (0..space.blocks.len()).collect();
        let blocks = &space.blocks;
        space
            .by_number
            .sort_unstable_by_key(|index| blocks[*index].first);
        space
    }

    fn append(&mut self, range: &AddressRange) {
        let (first, last) = (Family::value(range.first()), Family::value(range.last()));
        let Some((first, last)) = self.usable(first, last) else {
            return;
        };
        let start = self.blocks.last().map_or(0, |block| block.end() + 1);
        let block = Block { start, first, last };
        self.free.append(start, block.end());
        self.capacity = self
            .capacity
            .saturating_add((last - first).saturating_add(1));
        self.blocks.push(block);
    }

    /// The numbers of the first and last usable address between two values.
    fn usable(&self, first: u128, last: u128) -> Option<(u128, u128)> {
        if !self.avoids {
            return Some((first, last));
        }
        let up = match first & 0xff {
            0 => first + 1,
            0xff => first + 2,
            _ => first,
        };
        let down = match last & 0xff {
            0 => last.checked_sub(2)?,
            0xff => last - 1,
            _ => last,
        };
        (up <= down).then(|| (dense(up), dense(down)))
    }

    /// Where an address stands; `None` when it is not the pool's or not in use.
    pub(super) fn position(&self, value: u128) -> Option<u128> {
        let number = if self.avoids {
            if matches!(value & 0xff, 0 | 0xff) {
                return None;
            }
            dense(value)
        } else {
            value
        };
        let after = self
            .by_number
            .partition_point(|index| self.blocks[*index].first <= number);
        let block = &self.blocks[*self.by_number.get(after.checked_sub(1)?)?];
        (number <= block.last).then(|| block.start + (number - block.first))
    }

    /// The address at a position.
    pub(super) fn value(&self, position: u128) -> Option<u128> {
        let after = self.blocks.partition_point(|block| block.start <= position);
        let block = self.blocks.get(after.checked_sub(1)?)?;
        let number = block.first + (position - block.start);
        Some(if self.avoids { sparse(number) } else { number })
    }

    /// Whether the pool has any address of the family.
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The lowest position that nobody has.
    pub(super) fn first_free(&self) -> Option<u128> {
        self.free.first()
    }

    /// The lowest position that rests.
    pub(super) fn first_resting(&self) -> Option<u128> {
        self.resting.first().copied()
    }

    /// The lowest position in use by Services with this key where none of the ports is.
    pub(super) fn first_shared(&self, key: &SharingKey, ports: &[Port]) -> Option<u128> {
        self.rooms.get(key)?.first(ports)
    }

    /// Somebody has the position.
    pub(super) fn occupy(&mut self, position: u128) {
        self.free.take(position);
        self.resting.remove(&position);
        self.assigned += 1;
    }

    /// Nobody has it anymore.
    pub(super) fn vacate(&mut self, position: u128) {
        self.assigned -= 1;
        self.free.give(position);
    }

    /// It is free, but rests.
    pub(super) fn rest(&mut self, position: u128) {
        if self.free.take(position) {
            self.resting.insert(position);
        }
    }

    /// Its rest is over.
    pub(super) fn wake(&mut self, position: u128) {
        if self.resting.remove(&position) {
            self.free.give(position);
        }
    }

    /// Somebody with this key, and others who have it, uses the ports at the position.
    pub(super) fn share(&mut self, position: u128, key: &Arc<SharingKey>, ports: &[Port]) {
        let room = self.rooms.entry(Arc::clone(key)).or_default();
        room.take(position, ports);
    }

    /// He no longer does; the others stay.
    pub(super) fn unshare(&mut self, position: u128, key: &SharingKey, ports: &[Port]) {
        if let Some(room) = self.rooms.get_mut(key) {
            room.give(position, ports);
        }
    }

    /// What a newcomer at the position needs has changed.
    pub(super) fn reindex(
        &mut self,
        position: u128,
        before: Option<&SharingKey>,
        after: Option<&Usage>,
    ) {
        if let Some(key) = before
            && let Some(room) = self.rooms.get_mut(key)
        {
            room.remove(position);
            if room.is_empty() {
                self.rooms.remove(key);
            }
        }
        if let Some(usage) = after
            && let Some(key) = usage.sharing()
        {
            self.share(position, key, &usage.ports());
        }
    }

    /// Distinct addresses in use.
    pub(super) fn assigned(&self) -> u128 {
        self.assigned
    }

    /// Addresses that may be in use at all.
    pub(super) fn capacity(&self) -> u128 {
        self.capacity
    }
}

/// Counts the addresses that end in neither .0 nor .255: 254 of each 256.
fn dense(value: u128) -> u128 {
    (value >> 8) * 254 + (value & 0xff) - 1
}

fn sparse(number: u128) -> u128 {
    ((number / 254) << 8) | (number % 254 + 1)
}
