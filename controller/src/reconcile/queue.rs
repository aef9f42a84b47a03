//! Who is looked at next: Services that changed, and those that wait for what was just released.
//!
//! Services that wait are filed under what may help them. When it comes, they are looked at in
//! order, and the first failure ends it for those who would all fail alike: a release costs as much
//! as it helps, not as many as wait.
//!
//! While turns are taken addresses are given out and none is released, so that a need which was not
//! met once is not met until everything is settled.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use ferrolb_crds::model::{Family, Service, ServiceKey};

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

/// Services that would all fail alike. Those who share are filed twice: among those with the same
/// need, and among all who want as much of the pool, for whom a vacant address is what helps.
type Class = (PoolIndex, Need);

/// Who is looked at next.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pending: BTreeSet<Turn>,
    by_class: BTreeMap<Class, BTreeSet<Turn>>,
    by_address: BTreeMap<IpAddr, BTreeSet<Turn>>,
    /// Classes that may have been helped, by who of them is next.
    woken: BTreeSet<(Turn, Class)>,
    /// Keys whose classes have been woken: once is enough.
    woken_keys: BTreeSet<(PoolIndex, Arc<SharingKey>)>,
    /// Pools with addresses of a family that somebody has given up.
    vacant: BTreeSet<(PoolIndex, Family)>,
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
            match wait {
                Wait::Pool(pool, need) => {
                    for class in classes(*pool, need) {
                        let turns = self.by_class.entry(class).or_default();
                        turns.insert(turn.clone());
                    }
                }
                Wait::Address(address) => {
                    let turns = self.by_address.entry(*address).or_default();
                    turns.insert(turn.clone());
                }
            }
        }
    }

    /// The Service waits no longer, also if it was woken already.
    pub(super) fn forget(&mut self, turn: &Turn, waits: &[Wait]) {
        self.pending.remove(turn);
        for wait in waits {
            match wait {
                Wait::Pool(pool, need) => {
                    for class in classes(*pool, need) {
                        take_out(&mut self.by_class, &class, turn);
                    }
                }
                Wait::Address(address) => take_out(&mut self.by_address, address, turn),
            }
        }
    }

    /// Nobody has the address anymore. Those who need a second one with it may find that among
    /// addresses in use.
    pub(super) fn vacated(
        &mut self,
        address: IpAddr,
        pool: Option<PoolIndex>,
        finds_second: impl Fn(&Need) -> bool,
    ) {
        self.wake_address(address);
        let Some(pool) = pool else {
            return;
        };
        self.wake_alike(pool, None);
        if self.vacant.insert((pool, Family::of(address))) {
            let is_alike = |need: &Need| !need.either;
            self.wake((pool, Need::default()), is_alike, |need| {
                need.sharing.is_some() && finds_second(need)
            });
        }
    }

    /// Others hold the address than before, or on other terms: who shares needs this key.
    pub(super) fn shared(
        &mut self,
        address: IpAddr,
        pool: Option<PoolIndex>,
        key: Option<&Arc<SharingKey>>,
    ) {
        self.wake_address(address);
        if let (Some(pool), Some(key)) = (pool, key)
            && self.woken_keys.insert((pool, Arc::clone(key)))
        {
            self.wake_alike(pool, Some(key));
        }
    }

    /// Somebody was given the address. That helps those who share it with him, if they were not
    /// looked at before because for others it was not to be had.
    pub(super) fn joined(
        &mut self,
        address: IpAddr,
        pool: Option<PoolIndex>,
        key: Option<&Arc<SharingKey>>,
    ) {
        let is_vacant = |pool: &PoolIndex| {
            let mut families = Family::ALL.into_iter();
            families.any(|family| self.vacant.contains(&(*pool, family)))
        };
        self.shared(address, pool.filter(is_vacant), key);
    }

    fn wake_address(&mut self, address: IpAddr) {
        if let Some(turns) = self.by_address.get(&address) {
            self.pending.extend(turns.iter().cloned());
        }
    }

    /// Wakes all who share with this key, or for whom it does not matter whether they share.
    fn wake_alike(&mut self, pool: PoolIndex, key: Option<&Arc<SharingKey>>) {
        for either in [false, true] {
            let sharing = key.cloned();
            let first = Need {
                either,
                sharing,
                ..Need::default()
            };
            let is_alike = |need: &Need| need.either == either && need.sharing.as_ref() == key;
            self.wake((pool, first), is_alike, |_| true);
        }
    }

    /// Wakes those who are helped among the classes from the first to the last that are alike.
    fn wake(
        &mut self,
        first: Class,
        is_alike: impl Fn(&Need) -> bool,
        is_helped: impl Fn(&Need) -> bool,
    ) {
        let pool = first.0;
        let helped = self
            .by_class
            .range(first..)
            .take_while(|((of, need), _)| *of == pool && is_alike(need))
            .filter(|((_, need), _)| is_helped(need));
        let woken =
            helped.filter_map(|(class, turns)| Some((turns.first()?.clone(), class.clone())));
        self.woken.extend(woken);
    }

    /// The Service whose turn it is.
    pub(super) fn pop(&mut self) -> Option<Next> {
        self.skip_gone();
        let is_pending_first = match (self.pending.first(), self.woken.first()) {
            (Some(pending), Some((woken, _))) => pending <= woken,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if is_pending_first {
            let turn = self.pending.pop_first()?;
            return Some(Next { turn, class: None });
        }
        let Some((turn, class)) = self.woken.pop_first() else {
            self.woken_keys.clear();
            self.vacant.clear();
            return None;
        };
        let class = Some(class);
        Some(Next { turn, class })
    }

    /// In the place of who no longer waits comes the next of the class.
    fn skip_gone(&mut self) {
        while let Some((turn, class)) = self.woken.first()
            && !self.by_class.get(class).is_some_and(|c| c.contains(turn))
            && let Some((turn, class)) = self.woken.pop_first()
        {
            self.wake_after(&turn, class);
        }
    }

    fn wake_after(&mut self, turn: &Turn, class: Class) {
        let turns = self.by_class.get(&class);
        let next = turns.and_then(|turns| turns.range((Excluded(turn), Unbounded)).next());
        if let Some(next) = next.cloned() {
            self.woken.insert((next, class));
        }
    }

    /// It got something, so the next of its class may get something too. If it did not, nor would
    /// they.
    pub(super) fn go_on(&mut self, next: Next) {
        if let Some(class) = next.class {
            self.wake_after(&next.turn, class);
        }
    }
}

fn classes(pool: PoolIndex, need: &Need) -> impl Iterator<Item = Class> {
    let is_shared = need.sharing.is_some();
    let needs = is_shared.then(|| need.without_sharing());
    let needs = needs.into_iter().chain([need.clone()]);
    needs.map(move |need| (pool, need))
}

fn take_out<K: Ord>(filed: &mut BTreeMap<K, BTreeSet<Turn>>, key: &K, turn: &Turn) {
    if let Some(turns) = filed.get_mut(key) {
        turns.remove(turn);
        if turns.is_empty() {
            filed.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use ferrolb_crds::model::FamilyPolicy;

    use super::*;
    use crate::allocator::{Allocator, Terms};
    use crate::fixture::{With, ip, pool, pools, service};

    fn first_pool() -> PoolIndex {
        let mut allocator = Allocator::new(std::time::Duration::ZERO);
        allocator.replace_pools(&pools(&[pool("a", &["10.0.0.0/24"])]));
        allocator.find("a").unwrap()
    }

    fn need(service: &Service) -> Need {
        let terms = Terms::of(service);
        Need {
            ports: terms
                .sharing
                .iter()
                .flat_map(|_| terms.ports())
                .copied()
                .collect(),
            sharing: terms.sharing,
            families: service.families,
            either: service.families.len() == 1,
        }
    }

    fn wait(queue: &mut Queue, pool: PoolIndex, service: &Service) {
        queue.wait(
            &Turn::of(service, false),
            &[Wait::Pool(pool, need(service))],
        );
    }

    /// Who is looked at, when so many get something and nobody after them.
    fn looked_at(queue: &mut Queue, served: usize) -> Vec<String> {
        let mut looked_at = Vec::new();
        while let Some(next) = queue.pop() {
            looked_at.push(next.turn.key.name.clone());
            if looked_at.len() <= served {
                queue.go_on(next);
            }
        }
        looked_at
    }

    fn names(queue: &mut Queue) -> Vec<String> {
        let next = std::iter::from_fn(|| queue.pop());
        next.map(|next| next.turn.key.name.clone()).collect()
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
            let mut service = service(&format!("s{number:04}"));
            service.families = family.into();
            wait(&mut queue, pool, &service);
        }
        queue.vacated(ip("10.0.0.1"), Some(pool), |_| false);
        assert_eq!(looked_at(&mut queue, 1), ["s0000", "s0001", "s0002"]);
    }

    #[test]
    fn i11_nor_does_it_cost_as_many_sharing_keys_as_wait() {
        let (mut queue, pool) = (Queue::default(), first_pool());
        let sharing =
            |number: u16| service(&format!("s{number:04}")).sharing(&format!("k{number}"));
        for number in 0..1000 {
            wait(&mut queue, pool, &sharing(number));
        }
        let same_key = service("t").sharing("k0");
        wait(&mut queue, pool, &same_key.clone().port(1));
        let address = ip("10.0.0.1");
        queue.vacated(address, Some(pool), |_| false);
        let first = queue.pop().unwrap();
        assert_eq!(first.turn.key.name, "s0000");
        queue.forget(&first.turn, &[Wait::Pool(pool, need(&sharing(0)))]);
        queue.joined(address, Some(pool), need(&same_key).sharing.as_ref());
        queue.go_on(first);
        assert_eq!(looked_at(&mut queue, 0), ["s0001", "t"]);
        // Nothing was released since: who comes helps nobody.
        queue.joined(address, Some(pool), need(&same_key).sharing.as_ref());
        assert!(queue.pop().is_none());
    }

    #[test]
    fn who_needs_two_is_looked_at_where_one_of_them_can_be_shared() {
        let (mut queue, pool) = (Queue::default(), first_pool());
        let pair = |name: &str| service(name).dual(FamilyPolicy::RequireDual);
        for service in [pair("a"), pair("b").sharing("k"), pair("c").sharing("l")] {
            wait(&mut queue, pool, &service);
        }
        let key = need(&pair("b").sharing("k")).sharing;
        queue.vacated(ip("10.0.0.1"), Some(pool), |need| need.sharing == key);
        assert_eq!(looked_at(&mut queue, 0), ["a", "b"]);
    }

    #[test]
    fn of_those_who_share_one_is_looked_at_for_each_set_of_ports() {
        let (mut queue, pool) = (Queue::default(), first_pool());
        let sharing = |name: &str, port| service(name).sharing("k").port(port);
        let key = need(&sharing("a", 1)).sharing;
        for (name, port) in [("a", 1), ("b", 1), ("c", 2), ("d", 2)] {
            wait(&mut queue, pool, &sharing(name, port));
        }
        wait(&mut queue, pool, &service("e").sharing("l"));
        queue.shared(ip("10.0.0.1"), Some(pool), key.as_ref());
        queue.shared(ip("10.0.0.2"), Some(pool), key.as_ref());
        assert_eq!(looked_at(&mut queue, 0), ["a", "c"]);
        queue.shared(ip("10.0.0.1"), Some(pool), None);
        assert!(queue.pop().is_none());
    }

    #[test]
    fn who_needs_two_is_looked_at_when_the_other_came_to_be_shared() {
        let (mut queue, pool) = (Queue::default(), first_pool());
        let pair = service("b").dual(FamilyPolicy::RequireDual).sharing("k");
        wait(
            &mut queue,
            pool,
            &service("a").dual(FamilyPolicy::RequireDual),
        );
        wait(&mut queue, pool, &pair);
        queue.vacated(ip("10.0.0.1"), Some(pool), |_| false);
        queue.joined(ip("fc00::1"), Some(pool), need(&pair).sharing.as_ref());
        assert_eq!(looked_at(&mut queue, 0), ["a", "b"]);
    }

    #[test]
    fn who_waits_no_longer_is_not_woken() {
        let (mut queue, pool) = (Queue::default(), first_pool());
        let service = service("a").sharing("k");
        let turn = Turn::of(&service, false);
        let waits = [
            Wait::Pool(pool, need(&service)),
            Wait::Address(ip("10.0.0.1")),
        ];
        queue.wait(&turn, &waits);
        queue.vacated(ip("10.0.0.1"), Some(pool), |_| false);
        queue.forget(&turn, &waits);
        queue.vacated(ip("10.0.0.1"), Some(pool), |_| false);
        assert!(queue.pop().is_none());
        assert!(queue.by_address.is_empty());
        assert!(queue.by_class.is_empty());
    }
}
