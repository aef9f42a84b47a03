//! Who is looked at next: Services that changed, and those that wait for what was just released.
//!
//! Services that wait are filed under what may help them. When it comes, they are looked at in
//! order, and among those that would all fail alike the first failure ends it: a release costs as
//! much as it helps, not as many as wait.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrolb_crds::model::{Service, ServiceKey};

use crate::allocator::{PoolIndex, SharingKey};
use crate::decide::{Need, Wait};

/// When a Service's turn is: those that hold addresses first, then the older, then by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    holds_nothing: bool,
    created: i64,
    /// Whose turn it is.
    pub(super) key: ServiceKey,
}

impl Turn {
    /// Of a Service.
    pub(super) fn of(service: &Service, holds: bool) -> Self {
        Self {
            holds_nothing: !holds,
            created: service.created.map_or(i64::MAX, |created| created.0),
            key: service.key.clone(),
        }
    }

    /// The same, now that it holds something.
    pub(super) fn with_holding(&self) -> Self {
        Self {
            holds_nothing: false,
            ..self.clone()
        }
    }
}

/// Services that would all fail alike, unless they share.
type Class = (PoolIndex, Need);

/// Who is looked at next.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pending: BTreeSet<Turn>,
    by_pool: BTreeMap<PoolIndex, BTreeMap<Need, BTreeSet<Turn>>>,
    by_address: BTreeMap<IpAddr, BTreeSet<Turn>>,
    /// Classes that may have been helped, and who of them was looked at last.
    woken: BTreeMap<Class, Option<Turn>>,
}

/// A Service to look at.
#[derive(Debug)]
pub(super) struct Next {
    /// The Service.
    pub(super) turn: Turn,
    class: Option<Class>,
}

impl Queue {
    /// The Service has to be looked at.
    pub(super) fn push(&mut self, turn: Turn) {
        self.pending.insert(turn);
    }

    /// Forgets who waits for what: the pools are others.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Files a Service under what may help it.
    pub(super) fn wait(&mut self, turn: &Turn, waits: &[Wait]) {
        for wait in waits {
            let turns = match wait {
                Wait::Pool(pool, need) => self
                    .by_pool
                    .entry(*pool)
                    .or_default()
                    .entry(need.clone())
                    .or_default(),
                Wait::Address(address) => self.by_address.entry(*address).or_default(),
            };
            turns.insert(turn.clone());
        }
    }

    /// The Service waits no longer, also if it was woken already.
    pub(super) fn forget(&mut self, turn: &Turn, waits: &[Wait]) {
        self.pending.remove(turn);
        for wait in waits {
            match wait {
                Wait::Pool(pool, need) => self.forget_in_pool(turn, *pool, need),
                Wait::Address(address) => {
                    if let Some(turns) = self.by_address.get_mut(address) {
                        turns.remove(turn);
                        if turns.is_empty() {
                            self.by_address.remove(address);
                        }
                    }
                }
            }
        }
    }

    fn forget_in_pool(&mut self, turn: &Turn, pool: PoolIndex, need: &Need) {
        let Some(needs) = self.by_pool.get_mut(&pool) else {
            return;
        };
        if let Some(turns) = needs.get_mut(need) {
            turns.remove(turn);
            if turns.is_empty() {
                needs.remove(need);
            }
        }
    }

    /// The address was released, by one of its holders at least.
    pub(super) fn released(&mut self, address: IpAddr, pool: Option<PoolIndex>) {
        self.wake_address(address);
        self.wake_pool(pool, |_| true);
    }

    /// Those who hold the address now share it on these terms.
    pub(super) fn rekeyed(
        &mut self,
        address: IpAddr,
        pool: Option<PoolIndex>,
        sharing: Option<&SharingKey>,
    ) {
        self.wake_address(address);
        self.wake_pool(pool, |need| {
            need.sharing.is_some() && need.sharing.as_deref() == sharing
        });
    }

    /// Somebody has the address, perhaps with others.
    pub(super) fn joined(&mut self, address: IpAddr) {
        self.wake_address(address);
    }

    fn wake_address(&mut self, address: IpAddr) {
        if let Some(turns) = self.by_address.get(&address) {
            self.pending.extend(turns.iter().cloned());
        }
    }

    fn wake_pool(&mut self, pool: Option<PoolIndex>, is_helped: impl Fn(&Need) -> bool) {
        let Some((pool, needs)) = pool.and_then(|pool| Some((pool, self.by_pool.get(&pool)?)))
        else {
            return;
        };
        for need in needs.keys().filter(|need| is_helped(need)) {
            self.woken.insert((pool, need.clone()), None);
        }
    }

    /// The Service whose turn it is.
    pub(super) fn pop(&mut self) -> Option<Next> {
        let class = self.first_woken();
        let is_pending_first = match (&class, self.pending.first()) {
            (Some((_, turn)), Some(pending)) => pending <= turn,
            (None, _) => true,
            (Some(_), None) => false,
        };
        if is_pending_first {
            let turn = self.pending.pop_first()?;
            return Some(Next { turn, class: None });
        }
        let (class, turn) = class?;
        self.woken.insert(class.clone(), Some(turn.clone()));
        let class = Some(class);
        Some(Next { turn, class })
    }

    fn first_woken(&mut self) -> Option<(Class, Turn)> {
        let by_pool = &self.by_pool;
        let after = |(pool, need): &Class, last: &Option<Turn>| {
            use std::ops::Bound::{Excluded, Unbounded};
            let turns = by_pool.get(pool)?.get(need)?;
            let from = last.as_ref().map_or(Unbounded, Excluded);
            turns.range((from, Unbounded)).next().cloned()
        };
        self.woken
            .retain(|class, last| after(class, last).is_some());
        let turns = self.woken.iter();
        turns
            .filter_map(|(class, last)| Some((class.clone(), after(class, last)?)))
            .min_by(|(_, a), (_, b)| a.cmp(b))
    }

    /// It got nothing: nor will the others of its class, if they do not share.
    pub(super) fn failed(&mut self, next: &Next) {
        if let Some(class) = &next.class
            && class.1.sharing.is_none()
        {
            self.woken.remove(class);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ferrolb_crds::model::Family;

    use super::*;
    use crate::allocator::Allocator;
    use crate::fixture::{With, ip, pool, pools, service};

    fn first_pool() -> PoolIndex {
        let mut allocator = Allocator::new(std::time::Duration::ZERO);
        allocator.replace_pools(&pools(&[pool("a", &["10.0.0.0/24"])]));
        allocator.find("a").unwrap()
    }

    fn need(family: Family, sharing: Option<Arc<SharingKey>>) -> Need {
        Need {
            sharing,
            families: vec![family],
            either: false,
        }
    }

    fn names(queue: &mut Queue) -> Vec<String> {
        let next = std::iter::from_fn(|| queue.pop());
        next.map(|next| next.turn.key.name).collect()
    }

    #[test]
    fn holders_come_first_then_the_older_then_by_name() {
        let mut queue = Queue::default();
        queue.push(Turn::of(&service("c"), false));
        queue.push(Turn::of(&service("b"), false));
        queue.push(Turn::of(&service("d").created(5), false));
        queue.push(Turn::of(&service("e"), true));
        assert_eq!(names(&mut queue), ["e", "d", "b", "c"]);
    }

    #[test]
    fn i11_a_release_costs_what_it_helps_and_not_what_waits() {
        let (mut queue, pool) = (Queue::default(), first_pool());
        for (number, family) in (0..1000).zip([Family::V4, Family::V6].into_iter().cycle()) {
            let turn = Turn::of(&service(&format!("s{number:04}")), false);
            queue.wait(&turn, &[Wait::Pool(pool, need(family, None))]);
        }
        queue.released(ip("10.0.0.1"), Some(pool));
        let mut looked_at = Vec::new();
        while let Some(next) = queue.pop() {
            looked_at.push(next.turn.key.name.clone());
            // The first gets the address, and after it everybody fails.
            if looked_at.len() > 1 {
                queue.failed(&next);
            }
        }
        assert_eq!(looked_at, ["s0000", "s0001", "s0002"]);
    }

    #[test]
    fn those_who_share_are_each_looked_at() {
        let (mut queue, pool) = (Queue::default(), first_pool());
        let sharing = crate::allocator::Terms::of(&service("s").sharing("k")).sharing;
        for name in ["a", "b", "c"] {
            let need = need(Family::V4, sharing.clone());
            queue.wait(&Turn::of(&service(name), false), &[Wait::Pool(pool, need)]);
        }
        queue.rekeyed(ip("10.0.0.1"), Some(pool), sharing.as_deref());
        let mut looked_at = 0;
        while let Some(next) = queue.pop() {
            looked_at += 1;
            queue.failed(&next);
        }
        assert_eq!(looked_at, 3);
        queue.rekeyed(ip("10.0.0.1"), Some(pool), None);
        assert!(queue.pop().is_none());
    }

    #[test]
    fn who_waits_no_longer_is_not_woken() {
        let (mut queue, pool) = (Queue::default(), first_pool());
        let turn = Turn::of(&service("a"), false);
        let waits = [
            Wait::Pool(pool, need(Family::V4, None)),
            Wait::Address(ip("10.0.0.1")),
        ];
        queue.wait(&turn, &waits);
        queue.released(ip("10.0.0.1"), Some(pool));
        queue.forget(&turn, &waits);
        queue.released(ip("10.0.0.1"), Some(pool));
        assert!(queue.pop().is_none());
        assert!(queue.by_address.is_empty());
    }
}
