//! Who has which address, and which address comes next.
//!
//! A pure structure: it knows pools, holders and the rules of sharing, and no Service beyond its
//! [`Terms`]. What a Service asks for is a [`Request`]; whether it may have it is decided above.
//! Every operation on one address is O(log n), whatever the size of the pool.

mod free;
mod quarantine;
mod request;
mod room;
mod search;
mod sharing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::mem;
use std::net::IpAddr;
use std::slice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferrolb_crds::model::{Family, Pool, ServiceKey};

pub use request::{Request, RequestError};
pub use sharing::{Conflict, ConflictCause, Joining, Port, SharingKey, Terms};

use quarantine::Quarantine;
use search::Space;
use sharing::Usage;

/// Stands for a Service; the caller numbers them, from low numbers up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder(pub usize);

/// A pool of the configuration in force. Valid until the pools are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PoolIndex(usize);

/// Who may give an address out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cover {
    /// This pool.
    Pool(PoolIndex),
    /// It lies in this pool's ranges, but the pool's `avoidBuggyIPs` takes it out of use.
    Avoided(PoolIndex),
    /// Nobody.
    Nothing,
}

/// Whether addresses that rest may be given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resting {
    /// They are left alone.
    Spared,
    /// They are better than nothing.
    Taken,
}

/// How full a pool is, in one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Distinct addresses in use.
    pub assigned: u128,
    /// Addresses not in use.
    pub available: u128,
}

/// Who has which address.
#[derive(Debug)]
pub struct Allocator {
    /// By name, so that a [`PoolIndex`] orders like the name.
    shelves: Vec<Shelf>,
    names: BTreeMap<String, PoolIndex>,
    pinned: Vec<PoolIndex>,
    general: Vec<PoolIndex>,
    /// Ranges of all pools by family and first value: last value and pool.
    owners: PerFamily<BTreeMap<u128, (u128, PoolIndex)>>,
    used: PerFamily<BTreeMap<u128, Usage>>,
    /// By the number of the holder.
    holdings: Vec<Holding>,
    quarantine: Quarantine,
    rest_for: Duration,
}

/// A pool and its addresses.
#[derive(Debug)]
struct Shelf {
    pool: Pool,
    spaces: PerFamily<Space>,
}

/// What a holder has, in order. Most have one address, and take little room.
#[derive(Debug, Default)]
enum Holding {
    #[default]
    Nothing,
    One(IpAddr),
    Many(Vec<IpAddr>),
}

impl Holding {
    fn addresses(&self) -> &[IpAddr] {
        match self {
            Self::Nothing => &[],
            Self::One(address) => slice::from_ref(address),
            Self::Many(addresses) => addresses,
        }
    }

    fn into_addresses(self) -> Vec<IpAddr> {
        match self {
            Self::Nothing => Vec::new(),
            Self::One(address) => vec![address],
            Self::Many(addresses) => addresses,
        }
    }

    fn add(&mut self, address: IpAddr) {
        if self.addresses().contains(&address) {
            return;
        }
        match self {
            Self::Nothing => *self = Self::One(address),
            Self::One(first) => *self = Self::Many(vec![*first, address]),
            Self::Many(addresses) => addresses.push(address),
        }
    }
}

#[derive(Debug, Default)]
struct PerFamily<T> {
    v4: T,
    v6: T,
}

impl<T> PerFamily<T> {
    fn of(&self, family: Family) -> &T {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    fn of_mut(&mut self, family: Family) -> &mut T {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

impl Allocator {
    /// Without pools; released addresses will rest for the given time.
    pub fn new(rest_for: Duration) -> Self {
        Self {
            shelves: Vec::new(),
            names: BTreeMap::new(),
            pinned: Vec::new(),
            general: Vec::new(),
            owners: PerFamily::default(),
            used: PerFamily::default(),
            holdings: Vec::new(),
            quarantine: Quarantine::default(),
            rest_for,
        }
    }

    /// Puts other pools in force. Nobody loses an address by it.
    pub fn replace_pools(&mut self, pools: &BTreeMap<String, Pool>) {
        self.shelves = pools.values().map(Shelf::new).collect();
        self.names = (0..).map(PoolIndex).zip(pools.keys()).map(swap).collect();
        self.owners = owners(&self.shelves);
        self.general = self.indices().collect();
        let shelves = &self.shelves;
        let is_pinned = |index: &PoolIndex| shelves[index.0].pool.allocation.is_some();
        self.pinned = self
            .general
            .extract_if(.., |index| is_pinned(index))
            .collect();
        self.pinned.sort_by_key(|index| shelves[index.0].priority());
        self.occupy_all();
    }

    fn occupy_all(&mut self) {
        for family in Family::ALL {
            for (value, usage) in self.used.of(family) {
                if let Some((index, position)) = locate(&self.owners, &self.shelves, family, *value)
                {
                    let space = self.shelves[index.0].spaces.of_mut(family);
                    space.occupy(position);
                    space.reindex(position, None, Some(usage));
                }
            }
        }
        for address in self.quarantine.addresses() {
            let (family, value) = (Family::of(address), Family::value(address));
            if let Some((index, position)) = locate(&self.owners, &self.shelves, family, value) {
                self.shelves[index.0].spaces.of_mut(family).rest(position);
            }
        }
    }

    /// All pools, by name.
    pub fn indices(&self) -> impl Iterator<Item = PoolIndex> + use<> {
        (0..self.shelves.len()).map(PoolIndex)
    }

    /// Pools with a `serviceAllocation`: by priority, those without one last; then by name.
    pub fn pinned(&self) -> &[PoolIndex] {
        &self.pinned
    }

    /// Pools without a `serviceAllocation`, by name.
    pub fn general(&self) -> &[PoolIndex] {
        &self.general
    }

    /// A pool by name.
    pub fn find(&self, name: &str) -> Option<PoolIndex> {
        self.names.get(name).copied()
    }

    /// The pool itself.
    pub fn pool(&self, index: PoolIndex) -> &Pool {
        &self.shelves[index.0].pool
    }

    /// Whether the pool has addresses of the family at all.
    pub fn serves(&self, index: PoolIndex, family: Family) -> bool {
        !self.shelves[index.0].spaces.of(family).is_empty()
    }

    /// Who may give the address out.
    pub fn cover(&self, address: IpAddr) -> Cover {
        let (family, value) = (Family::of(address), Family::value(address));
        match owner(&self.owners, family, value) {
            Some(index) if self.pool(index).avoids(address) => Cover::Avoided(index),
            Some(index) => Cover::Pool(index),
            None => Cover::Nothing,
        }
    }

    /// Whether the Service may have the address as far as those are concerned who have it.
    pub fn check(
        &self,
        holder: Holder,
        terms: &Terms,
        address: IpAddr,
        joining: Joining,
    ) -> Result<(), Conflict> {
        let used = self.used.of(Family::of(address));
        match used.get(&Family::value(address)) {
            Some(usage) => usage.check(holder, terms, joining),
            None => Ok(()),
        }
    }

    /// Whether anybody has the address.
    pub fn is_used(&self, address: IpAddr) -> bool {
        let used = self.used.of(Family::of(address));
        used.contains_key(&Family::value(address))
    }

    /// The key that a Service needs to join those who have the address.
    pub fn sharing(&self, address: IpAddr) -> Option<&Arc<SharingKey>> {
        let used = self.used.of(Family::of(address));
        used.get(&Family::value(address))?.sharing()
    }

    /// Whether a Service with this key may join others on an address of the pool.
    pub fn has_room(
        &self,
        index: PoolIndex,
        family: Family,
        key: &SharingKey,
        ports: &[Port],
    ) -> bool {
        let space = self.shelves[index.0].spaces.of(family);
        space.first_shared(key, ports).is_some()
    }

    /// The address that the Service would get from the pool: one that it released lately, else the
    /// first that is free or may be shared, else one that rests.
    pub fn next(
        &self,
        index: PoolIndex,
        family: Family,
        terms: &Terms,
        resting: Resting,
    ) -> Option<IpAddr> {
        let mut own = self.released(&terms.service, index);
        if let Some(own) = own.find(|own| Family::of(*own) == family) {
            return Some(own);
        }
        let space = self.shelves[index.0].spaces.of(family);
        let free = space.first_free();
        let key = terms.sharing.as_ref();
        let shared = key.and_then(|key| space.first_shared(key, terms.ports()));
        let position = shared
            .filter(|shared| free.is_none_or(|free| *shared < free))
            .or(free)
            .or_else(|| match resting {
                Resting::Spared => None,
                Resting::Taken => space.first_resting(),
            })?;
        space.value(position).map(|value| family.address(value))
    }

    /// Whether anything rests that the Service released.
    pub fn has_released(&self, service: &ServiceKey) -> bool {
        self.quarantine.of(service).next().is_some()
    }

    /// What the Service released to this pool and nobody has taken since.
    pub fn released(&self, service: &ServiceKey, index: PoolIndex) -> impl Iterator<Item = IpAddr> {
        let owns = move |address: &IpAddr| self.cover(*address) == Cover::Pool(index);
        self.quarantine.of(service).filter(owns)
    }

    /// What the holder has, in order.
    pub fn held(&self, holder: Holder) -> &[IpAddr] {
        let holding = self.holdings.get(holder.0);
        holding.map_or(&[], Holding::addresses)
    }

    /// The terms on which the holder has it.
    pub fn terms(&self, holder: Holder) -> Option<&Arc<Terms>> {
        let address = *self.held(holder).first()?;
        let used = self.used.of(Family::of(address));
        used.get(&Family::value(address))?.terms(holder)
    }

    /// Gives the holder these addresses in addition to what it has, on these terms. Whether it may
    /// have them has been [checked](Self::check) before.
    pub fn assign(&mut self, holder: Holder, terms: &Arc<Terms>, addresses: &[IpAddr]) {
        for address in addresses {
            if self.held(holder).contains(address) {
                self.leave(holder, *address);
            }
            self.join(holder, terms, *address);
            if holder.0 >= self.holdings.len() {
                self.holdings.resize_with(holder.0 + 1, Holding::default);
            }
            self.holdings[holder.0].add(*address);
        }
    }

    fn join(&mut self, holder: Holder, terms: &Arc<Terms>, address: IpAddr) {
        let (family, value) = (Family::of(address), Family::value(address));
        let place = locate(&self.owners, &self.shelves, family, value);
        let usage = match self.used.of_mut(family).entry(value) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let usage = entry.insert(Usage::sole(holder, Arc::clone(terms)));
                self.quarantine.wake(address);
                if let Some((index, position)) = place {
                    let space = self.shelves[index.0].spaces.of_mut(family);
                    space.occupy(position);
                    space.reindex(position, None, Some(usage));
                }
                return;
            }
        };
        let before = usage.sharing().cloned();
        usage.join(holder, Arc::clone(terms));
        if let Some((index, position)) = place {
            let space = self.shelves[index.0].spaces.of_mut(family);
            match (before, usage.sharing()) {
                (Some(before), Some(key)) if before == *key => {
                    space.share(position, key, terms.ports());
                }
                (before, _) => space.reindex(position, before.as_deref(), Some(usage)),
            }
        }
    }

    /// Takes everything from the holder; what nobody else has then rests. Returns what it had.
    pub fn release(&mut self, holder: Holder, service: &ServiceKey, now: Instant) -> Vec<IpAddr> {
        let addresses = self.lift(holder);
        self.rest(&addresses, service, now);
        addresses
    }

    /// Takes everything from the holder, for a moment: it will be given back, or laid to
    /// [rest](Self::rest), before anything is searched.
    pub fn lift(&mut self, holder: Holder) -> Vec<IpAddr> {
        let holding = self.holdings.get_mut(holder.0).map(mem::take);
        let addresses = holding.unwrap_or_default().into_addresses();
        for address in &addresses {
            self.leave(holder, *address);
        }
        addresses
    }

    fn leave(&mut self, holder: Holder, address: IpAddr) {
        let (family, value) = (Family::of(address), Family::value(address));
        let place = locate(&self.owners, &self.shelves, family, value);
        let used = self.used.of_mut(family);
        let Some(usage) = used.get_mut(&value) else {
            return;
        };
        let (before, terms) = (usage.sharing().cloned(), usage.terms(holder).cloned());
        let is_vacant = usage.leave(holder);
        if let Some((index, position)) = place {
            let space = self.shelves[index.0].spaces.of_mut(family);
            match (before, usage.sharing(), terms) {
                (before, _, _) if is_vacant => {
                    space.reindex(position, before.as_deref(), None);
                    space.vacate(position);
                }
                (Some(before), Some(key), Some(terms)) if before == *key => {
                    space.unshare(position, key, terms.ports());
                }
                (before, _, _) => space.reindex(position, before.as_deref(), Some(usage)),
            }
        }
        if is_vacant {
            used.remove(&value);
        }
    }

    /// Lets those of the addresses rest that nobody has; the Service released them.
    pub fn rest(&mut self, addresses: &[IpAddr], service: &ServiceKey, now: Instant) {
        if self.rest_for.is_zero() {
            return;
        }
        for address in addresses {
            let (family, value) = (Family::of(*address), Family::value(*address));
            if self.used.of(family).contains_key(&value) {
                continue;
            }
            self.quarantine.rest(*address, service, now + self.rest_for);
            if let Some((index, position)) = locate(&self.owners, &self.shelves, family, value) {
                self.shelves[index.0].spaces.of_mut(family).rest(position);
            }
        }
    }

    /// Ends the rest of those addresses that have rested long enough.
    pub fn expire(&mut self, now: Instant) {
        while let Some(address) = self.quarantine.pop_expired(now) {
            let (family, value) = (Family::of(address), Family::value(address));
            if let Some((index, position)) = locate(&self.owners, &self.shelves, family, value) {
                self.shelves[index.0].spaces.of_mut(family).wake(position);
            }
        }
    }

    /// How full the pool is.
    pub fn counters(&self, index: PoolIndex, family: Family) -> Counters {
        let space = self.shelves[index.0].spaces.of(family);
        let assigned = space.assigned();
        Counters {
            assigned,
            available: space.capacity().saturating_sub(assigned),
        }
    }
}

impl Shelf {
    fn new(pool: &Pool) -> Self {
        Self {
            spaces: PerFamily {
                v4: Space::new(pool, Family::V4),
                v6: Space::new(pool, Family::V6),
            },
            pool: pool.clone(),
        }
    }

    /// Lower comes first; 0 is unset.
    fn priority(&self) -> u32 {
        let allocation = self.pool.allocation.as_ref();
        match allocation.map_or(0, |allocation| allocation.priority) {
            0 => u32::MAX,
            priority => priority,
        }
    }
}

fn swap((index, name): (PoolIndex, &String)) -> (String, PoolIndex) {
    (name.clone(), index)
}

fn owners(shelves: &[Shelf]) -> PerFamily<BTreeMap<u128, (u128, PoolIndex)>> {
    let mut owners = PerFamily::<BTreeMap<_, _>>::default();
    for (index, shelf) in (0..).map(PoolIndex).zip(shelves) {
        for range in &shelf.pool.ranges {
            let (first, last) = (Family::value(range.first()), Family::value(range.last()));
            owners.of_mut(range.family()).insert(first, (last, index));
        }
    }
    owners
}

fn owner(
    owners: &PerFamily<BTreeMap<u128, (u128, PoolIndex)>>,
    family: Family,
    value: u128,
) -> Option<PoolIndex> {
    let (_, (last, index)) = owners.of(family).range(..=value).next_back()?;
    (value <= *last).then_some(*index)
}

fn locate(
    owners: &PerFamily<BTreeMap<u128, (u128, PoolIndex)>>,
    shelves: &[Shelf],
    family: Family,
    value: u128,
) -> Option<(PoolIndex, u128)> {
    let index = owner(owners, family, value)?;
    let position = shelves[index.0].spaces.of(family).position(value)?;
    Some((index, position))
}
