//! Adj-RIB-Out (RFC 4271 §3.2): what the peer should hold, against what it was sent.
//!
//! It composes one message at a time, when the transport has room for it. Until then changes replace
//! each other, so a slow peer costs one entry per prefix and never a growing queue; and what was
//! announced and withdrawn again in the meantime is never sent.
//!
//! It alone has the routes of its session: told of a change it looks at that and at nothing else.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ferrolb_crds::model::{Asn, Community, Family};
use ipnet::IpNet;

use super::codec::{self, Packed};
use super::connection::{Endpoint, Negotiated, NoNextHop};
use super::message::{AS_TRANS, AsPath, Attributes, LinkBandwidth, NextHop, RefreshMarker};
use super::{Route, Routes};

/// The routes of one established session.
#[derive(Debug)]
pub struct AdjRibOut {
    as_path: AsPath,
    local_asn: Asn,
    is_internal: bool,
    has_extended_next_hop: bool,
    has_enhanced_refresh: bool,
    message_limit: usize,
    next_hops: BTreeMap<Family, Result<NextHop, NoNextHop>>,
    desired: Routes,
    /// What the peer holds when everything composed so far has reached it, as it gets to see it. Those
    /// that are announced together share it.
    held: BTreeMap<IpNet, Arc<Route>>,
    announce: BTreeMap<(Family, Arc<Route>), BTreeSet<IpNet>>,
    withdraw: BTreeSet<Scattered>,
    refresh: BTreeSet<Family>,
    /// Families of which some routes are still to be sent again.
    refreshing: BTreeSet<Family>,
    end_of_rib: BTreeSet<Family>,
    oversized: BTreeSet<IpNet>,
}

/// A prefix to be withdrawn, in an order in which neighbours are far from each other.
///
/// A router's kernel that loses one end of a trie first shrinks it again and again: 10,000 neighbours in
/// their own order take Linux a tenth longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Scattered {
    family: Family,
    reversed: u128,
    prefix: IpNet,
}

impl From<IpNet> for Scattered {
    fn from(prefix: IpNet) -> Self {
        let reversed = match prefix.network() {
            IpAddr::V4(address) => address.to_bits().reverse_bits().into(),
            IpAddr::V6(address) => address.to_bits().reverse_bits(),
        };
        let family = Family::of(prefix.addr());
        Self {
            family,
            reversed,
            prefix,
        }
    }
}

/// A message for the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Composed {
    /// An UPDATE.
    Update(Vec<u8>),
    /// A ROUTE-REFRESH: where everything of a family begins or ends.
    Marker(Vec<u8>),
}

/// Why some of the routes are not announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unannounced {
    /// There is nothing to send them to.
    #[error(transparent)]
    NoNextHop(#[from] NoNextHop),
    /// The peer would not know what to do with them.
    #[error("{0} prefixes are not announced: the peer does not offer {0} unicast")]
    NotOffered(Family),
    /// They cannot be said in one message.
    #[error("{0} prefixes are not announced: their communities do not fit into a message")]
    Oversized(usize),
}

impl AdjRibOut {
    /// Nothing has been sent; everything desired will be.
    pub fn new(session: &Negotiated, local_asn: Asn, desired: Routes) -> Self {
        let as_path = match (session.is_internal, session.has_four_octet_asn) {
            (true, _) => AsPath::Empty,
            (false, true) => AsPath::FourOctet(local_asn.get()),
            (false, false) => AsPath::TwoOctet(local_asn.get()),
        };
        let has_extended = session.has_extended_next_hop;
        let next_hop =
            |family: &Family| (*family, session.endpoint.next_hop(*family, has_extended));
        let mut rib = Self {
            as_path,
            local_asn,
            is_internal: session.is_internal,
            has_extended_next_hop: has_extended,
            has_enhanced_refresh: session.has_enhanced_refresh,
            message_limit: session.message_limit(),
            next_hops: session.families.iter().map(next_hop).collect(),
            desired: Routes::new(),
            held: BTreeMap::new(),
            announce: BTreeMap::new(),
            withdraw: BTreeSet::new(),
            refresh: BTreeSet::new(),
            refreshing: BTreeSet::new(),
            end_of_rib: session.families.clone(),
            oversized: BTreeSet::new(),
        };
        rib.apply(desired);
        rib
    }

    /// What the peer should hold, once the session is over.
    pub fn into_desired(self) -> Routes {
        self.desired
    }

    /// From now on this is the prefix's route, or it has none; the others' are what they were.
    pub fn change(&mut self, prefix: IpNet, route: Option<&Route>) {
        let family = Family::of(prefix.addr());
        let before = match route {
            Some(route) => self.desired.insert(prefix, route.clone()),
            None => self.desired.remove(&prefix),
        };
        self.oversized.remove(&prefix);
        let was_due = before.is_some_and(|before| self.unschedule(prefix, &before));
        let was_going = self.withdraw.remove(&Scattered::from(prefix));
        // What the answer to a refresh has not said yet it has to say.
        let is_due = (was_due || was_going) && self.refreshing.contains(&family);
        let held = self.held.get(&prefix);
        match route.filter(|_| self.next_hop(family).is_some()) {
            None if held.is_some() => drop(self.withdraw.insert(Scattered::from(prefix))),
            None => {}
            Some(route) if !is_due && held.is_some_and(|held| self.is_same(held, route)) => {}
            Some(route) => {
                let group = (family, Arc::new(self.shown(route)));
                self.announce.entry(group).or_default().insert(prefix);
            }
        }
    }

    /// Takes a prefix out of those to be announced with this route; true when it was among them.
    fn unschedule(&mut self, prefix: IpNet, route: &Route) -> bool {
        if self.announce.is_empty() {
            return false;
        }
        let group = (Family::of(prefix.addr()), Arc::new(self.shown(route)));
        let Some(prefixes) = self.announce.get_mut(&group) else {
            return false;
        };
        let was_there = prefixes.remove(&prefix);
        if prefixes.is_empty() {
            self.announce.remove(&group);
        }
        was_there
    }

    /// From now on the peer should hold these.
    fn apply(&mut self, desired: Routes) {
        self.oversized.clear();
        // What a refresh has not sent yet counts as held: it begins anew.
        self.refresh.append(&mut self.refreshing);
        self.announce.clear();
        self.withdraw.clear();
        // Both are in order: to walk along is much less than to look each of many up.
        let held = std::mem::take(&mut self.held);
        let mut rest = held.iter().peekable();
        for (prefix, route) in &desired {
            while let Some((gone, _)) = rest.next_if(|(held, _)| *held < prefix) {
                self.withdraw.insert(Scattered::from(*gone));
            }
            let present = rest.next_if(|(held, _)| *held == prefix);
            let family = Family::of(prefix.addr());
            if self.next_hop(family).is_none() {
                self.withdraw
                    .extend(present.map(|_| Scattered::from(*prefix)));
            } else if !present.is_some_and(|(_, held)| self.is_same(held, route)) {
                let group = (family, Arc::new(self.shown(route)));
                self.announce.entry(group).or_default().insert(*prefix);
            }
        }
        self.withdraw
            .extend(rest.map(|(gone, _)| Scattered::from(*gone)));
        self.held = held;
        self.desired = desired;
    }

    /// Our end has these addresses now: where that changes the next hop, the routes are announced anew,
    /// and where it leaves none they are withdrawn.
    pub fn relocate(&mut self, endpoint: &Endpoint) {
        let mut has_changed = false;
        let held: BTreeSet<Family> = self.held.keys().map(|p| Family::of(p.addr())).collect();
        for (family, next_hop) in &mut self.next_hops {
            let new = endpoint.next_hop(*family, self.has_extended_next_hop);
            if *next_hop == new {
                continue;
            }
            has_changed = true;
            *next_hop = new;
            if new.is_ok() && held.contains(family) {
                self.refresh.insert(*family);
            }
        }
        if has_changed {
            let desired = std::mem::take(&mut self.desired);
            self.apply(desired);
        }
    }

    /// The peer has forgotten what it held of a family, or wants to look at it again (RFC 2918).
    ///
    /// Asking again before it has been answered costs nothing, so that a peer cannot make us work
    /// faster than it reads.
    pub fn refresh(&mut self, family: Family) {
        self.refresh.insert(family);
    }

    /// Composes the next message, as full as it can be; `None`: the peer holds what it should.
    ///
    /// Announcements come first: while an aggregate is replaced by its parts, traffic has a route.
    #[must_use]
    pub fn poll(&mut self) -> Option<Composed> {
        loop {
            let update = self.poll_announcement();
            if let Some(update) = update.or_else(|| self.poll_withdrawal()) {
                return Some(Composed::Update(update));
            }
            let marked = if let Some(family) = self.refreshing.pop_first() {
                (family, RefreshMarker::End)
            } else if let Some(family) = self.end_of_rib.pop_first() {
                // RFC 4724 §2: once the first table has been sent, also when it is empty; and before
                // anything of it is sent again (RFC 7313 §4).
                return Some(Composed::Update(codec::end_of_rib(family)));
            } else {
                let family = self.refresh.pop_first()?;
                self.refreshing.insert(family);
                self.announce_again(family);
                (family, RefreshMarker::Begin)
            };
            if self.has_enhanced_refresh {
                return Some(Composed::Marker(codec::refresh_marker(marked.0, marked.1)));
            }
        }
    }

    /// What the peer should hold.
    pub fn desired(&self) -> &Routes {
        &self.desired
    }

    /// How many prefixes the peer holds.
    pub fn prefixes(&self) -> usize {
        self.held.len()
    }

    /// How many of a family.
    pub fn prefixes_of(&self, family: Family) -> usize {
        let held = self.held.keys();
        held.filter(|prefix| Family::of(prefix.addr()) == family)
            .count()
    }

    /// Why some of what is desired is not announced, if so.
    pub fn unannounced(&self) -> Option<Unannounced> {
        // One family's prefixes come before the other's.
        let ends = [
            self.desired.first_key_value(),
            self.desired.last_key_value(),
        ];
        let families = ends.into_iter().flatten();
        families
            .map(|(prefix, _)| Family::of(prefix.addr()))
            .find_map(|family| match self.next_hops.get(&family) {
                None => Some(Unannounced::NotOffered(family)),
                Some(Err(error)) => Some(Unannounced::NoNextHop(*error)),
                Some(Ok(_)) => None,
            })
            .or_else(|| {
                let count = self.oversized.len();
                (count > 0).then_some(Unannounced::Oversized(count))
            })
    }

    fn announce_again(&mut self, family: Family) {
        if self.next_hop(family).is_none() {
            return;
        }
        for (prefix, route) in &self.desired {
            if Family::of(prefix.addr()) == family && !self.oversized.contains(prefix) {
                let group = (family, Arc::new(self.shown(route)));
                self.announce.entry(group).or_default().insert(*prefix);
            }
        }
    }

    fn poll_announcement(&mut self) -> Option<Vec<u8>> {
        while let Some(((family, route), mut prefixes)) = self.announce.pop_first() {
            let attributes = self.attributes(family, &route);
            let packed = attributes.and_then(|attributes| {
                let prefixes = prefixes.iter().copied();
                codec::announce(family, &attributes, prefixes, self.message_limit)
            });
            let Some(Packed { message, count }) = packed else {
                self.give_up(prefixes);
                continue;
            };
            for _ in 0..count {
                if let Some(prefix) = prefixes.pop_first() {
                    self.held.insert(prefix, Arc::clone(&route));
                }
            }
            if !prefixes.is_empty() {
                self.announce.insert((family, route), prefixes);
            }
            return Some(message);
        }
        None
    }

    /// What the peer holds of these is out of date, and cannot be replaced.
    fn give_up(&mut self, prefixes: BTreeSet<IpNet>) {
        let held = prefixes
            .iter()
            .filter(|prefix| self.held.contains_key(*prefix));
        self.withdraw.extend(held.copied().map(Scattered::from));
        self.oversized.extend(prefixes);
    }

    fn poll_withdrawal(&mut self) -> Option<Vec<u8>> {
        let family = self.withdraw.first()?.family;
        // IPv4 routes lose their next hop only where it is an address of that family.
        let is_multiprotocol = match (self.next_hop(family), family) {
            (Some(NextHop::V6 { .. }), _) | (None, Family::V6) => true,
            (Some(NextHop::V4(_)), _) | (None, Family::V4) => false,
        };
        let first = self.withdraw.iter();
        let first = first.take_while(|scattered| scattered.family == family);
        let prefixes = first.map(|scattered| scattered.prefix);
        let Packed { message, count } =
            codec::withdraw(family, is_multiprotocol, prefixes, self.message_limit)?;
        for _ in 0..count {
            if let Some(scattered) = self.withdraw.pop_first() {
                self.held.remove(&scattered.prefix);
            }
        }
        Some(message)
    }

    fn next_hop(&self, family: Family) -> Option<NextHop> {
        self.next_hops.get(&family).and_then(|found| found.ok())
    }

    /// The route as this peer gets to see it: LOCAL_PREF stays within the AS (RFC 4271 §5.1.5), and
    /// our number outside it (§5.1.2).
    fn shown(&self, route: &Route) -> Route {
        Route {
            local_pref: self.shown_local_pref(route),
            as_path_prepend: self.shown_prepend(route),
            ..route.clone()
        }
    }

    fn shown_prepend(&self, route: &Route) -> u8 {
        match self.is_internal {
            true => 0,
            false => route.as_path_prepend,
        }
    }

    fn shown_local_pref(&self, route: &Route) -> Option<u32> {
        self.is_internal
            .then(|| route.local_pref.unwrap_or(DEFAULT_LOCAL_PREF))
    }

    fn is_same(&self, held: &Route, desired: &Route) -> bool {
        held.local_pref == self.shown_local_pref(desired)
            && held.as_path_prepend == self.shown_prepend(desired)
            && held.med == desired.med
            && held.link_bandwidth == desired.link_bandwidth
            && held.communities == desired.communities
    }

    fn attributes(&self, family: Family, route: &Route) -> Option<Attributes> {
        let mut communities = Vec::new();
        let mut large_communities = Vec::new();
        for community in &route.communities {
            match community {
                Community::Standard(high, low) => communities.push((*high, *low)),
                Community::Large(global, first, second) => {
                    large_communities.push((*global, *first, *second));
                }
            }
        }
        Some(Attributes {
            as_path: self.as_path,
            next_hop: self.next_hop(family)?,
            as_path_prepend: route.as_path_prepend,
            med: route.med,
            local_pref: route.local_pref,
            communities,
            link_bandwidth: route.link_bandwidth.map(|bandwidth| LinkBandwidth {
                asn: u16::try_from(self.local_asn.get()).unwrap_or(AS_TRANS),
                bandwidth,
            }),
            large_communities,
        })
    }
}

/// What most implementations take a route without LOCAL_PREF for.
const DEFAULT_LOCAL_PREF: u32 = 100;
