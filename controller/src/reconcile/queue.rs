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

    /// The Service waits no longer.
    pub(super) fn forget(&mut self, turn: &Turn, waits: &[Wait]) {
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
            need.sharing.is_some() && need.sharing.as_ref() == sharing
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
