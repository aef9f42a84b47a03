use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::fixture::{V4, V6, With, ip, ips, now, pool, pools, port, service};

const REST: Duration = Duration::from_secs(60);

fn allocator(these: &[Pool], rest: Duration) -> Allocator {
    let mut allocator = Allocator::new(rest);
    allocator.replace_pools(&pools(these));
    allocator
}

fn terms(name: &str) -> Arc<Terms> {
    Arc::new(Terms::of(&service(name)))
}

fn first() -> PoolIndex {
    PoolIndex(0)
}

fn take_next(allocator: &mut Allocator, holder: usize, terms: &Arc<Terms>) -> Option<IpAddr> {
    let holder = Holder(holder);
    let next = allocator.next(first(), V4, terms, Resting::Spared)?;
    allocator.assign(holder, terms, &[next]);
    Some(next)
}

#[test]
fn a_whole_ipv6_space_is_no_dearer_than_one_address() {
    let all = pool("a", &["::/0"]);
    let mut allocator = allocator(&[all], Duration::ZERO);
    let terms = terms("s");
    let last = ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    allocator.assign(Holder(1), &terms, &[last]);
    let next = allocator.next(first(), V6, &terms, Resting::Spared);
    assert_eq!(next, Some(ip("::")));
    assert_eq!(
        allocator.counters(first(), V6),
        Counters {
            assigned: 1,
            available: u128::MAX - 1
        }
    );
}

#[test]
fn avoided_addresses_are_neither_given_nor_counted() {
    let mut avoiding = pool("a", &["10.0.0.254-10.0.2.1", "10.0.9.255-10.0.10.0"]);
    avoiding.avoid_buggy_ips = true;
    let mut allocator = allocator(&[avoiding], Duration::ZERO);
    assert_eq!(allocator.counters(first(), V4).available, 1 + 254 + 1);
    let mut got = Vec::new();
    for holder in 0..400 {
        got.extend(take_next(&mut allocator, holder, &terms("s")));
    }
    assert_eq!(got.len(), 256);
    assert!(got.is_sorted());
    assert_eq!(got[..2], ips(&["10.0.0.254", "10.0.1.1"]));
    assert_eq!(got[254..], ips(&["10.0.1.254", "10.0.2.1"]));
    assert_eq!(allocator.cover(ip("10.0.1.0")), Cover::Avoided(first()));
    assert_eq!(allocator.counters(first(), V4).available, 0);
}

#[test]
fn the_edges_of_ipv4_are_avoided_too() {
    let mut avoiding = pool("a", &["0.0.0.0/32", "255.255.255.254-255.255.255.255"]);
    avoiding.avoid_buggy_ips = true;
    let mut allocator = allocator(&[avoiding], Duration::ZERO);
    let next = take_next(&mut allocator, 1, &terms("s"));
    assert_eq!(next, Some(ip("255.255.255.254")));
    assert_eq!(take_next(&mut allocator, 2, &terms("s")), None);
}

#[test]
fn a_released_address_rests_unless_nothing_else_is_left_or_its_owner_returns() {
    let start = now();
    let mut allocator = allocator(&[pool("a", &["10.0.0.0/31"])], REST);
    let (a, b) = (terms("a"), terms("b"));
    take_next(&mut allocator, 1, &a);
    allocator.release(Holder(1), &a.service, start);
    let next = |allocator: &Allocator, terms, resting| allocator.next(first(), V4, terms, resting);
    let spared = Resting::Spared;
    assert_eq!(next(&allocator, &b, spared), Some(ip("10.0.0.1")));
    assert_eq!(next(&allocator, &a, spared), Some(ip("10.0.0.0")));
    allocator.assign(Holder(3), &b, &ips(&["10.0.0.1"]));
    assert_eq!(next(&allocator, &b, spared), None);
    assert_eq!(next(&allocator, &b, Resting::Taken), Some(ip("10.0.0.0")));
    allocator.expire(start + REST);
    assert_eq!(next(&allocator, &b, spared), Some(ip("10.0.0.0")));
}

#[test]
fn rest_and_holdings_survive_other_pools() {
    let start = now();
    let mut allocator = allocator(&[pool("a", &["10.0.0.0/24"])], REST);
    for (holder, name) in [(1, "a"), (2, "b"), (3, "c")] {
        take_next(&mut allocator, holder, &terms(name));
    }
    allocator.release(Holder(2), &terms("b").service, start);
    allocator.replace_pools(&pools(&[
        pool("x", &["10.0.0.2/32"]),
        pool("y", &["10.0.0.0/31"]),
    ]));
    let counters = |index| allocator.counters(PoolIndex(index), V4);
    assert_eq!(counters(0).available, 0);
    assert_eq!(counters(1).assigned, 1);
    let next = |resting| allocator.next(PoolIndex(1), V4, &terms("z"), resting);
    assert_eq!(next(Resting::Spared), None);
    assert_eq!(next(Resting::Taken), Some(ip("10.0.0.1")));
}

#[test]
fn an_unreadable_holder_shares_with_those_who_held_it_before_only() {
    let mut allocator = allocator(&[pool("a", &["10.0.0.0/31"])], REST);
    let address = ip("10.0.0.0");
    let unknown = Arc::new(Terms::unknown(crate::fixture::key("u")));
    allocator.assign(Holder(1), &unknown, &[address]);
    let sharing = Terms::of(&service("s").sharing("k"));
    let check = |joining| allocator.check(Holder(2), &sharing, address, joining);
    assert_eq!(check(Joining::Adopted), Ok(()));
    assert_eq!(
        check(Joining::New).unwrap_err().cause,
        ConflictCause::NotShared
    );
}

#[test]
fn a_million_assignments_take_no_longer_each_than_a_thousand() {
    // Not the bar, which is measured in a release build: that nothing here is quadratic.
    let mut allocator = allocator(&[pool("a", &["10.0.0.0/12"])], Duration::ZERO);
    let terms = terms("s");
    for holder in 0..1_000_000 {
        assert!(take_next(&mut allocator, holder, &terms).is_some());
    }
    assert_eq!(allocator.counters(first(), V4).available, 48_576);
}

#[test]
fn i11_a_search_is_not_paid_for_by_those_who_share_with_others() {
    let mut allocator = allocator(&[pool("a", &["10.0.0.0/14"])], Duration::ZERO);
    let with_port = |port| Arc::new(Terms::of(&service("s").sharing("k").port(port)));
    let (web, mail, alone) = (with_port(80), with_port(25), terms("s"));
    for holder in 0..50_000 {
        // Others have every other address, which is no obstacle either.
        assert!(take_next(&mut allocator, 2 * holder, &alone).is_some());
        assert!(take_next(&mut allocator, 2 * holder + 1, &web).is_some());
    }
    assert_eq!(
        take_next(&mut allocator, 100_000, &mail),
        Some(ip("10.0.0.1"))
    );
    let gone = allocator.release(Holder(2_001), &web.service, now());
    assert_eq!(gone, ips(&["10.0.7.209"]));
    allocator.release(Holder(1), &web.service, now());
    // Where there is still somebody to share with, and where there is nobody.
    assert_eq!(
        take_next(&mut allocator, 100_001, &web),
        Some(ip("10.0.0.1"))
    );
    assert_eq!(take_next(&mut allocator, 100_002, &web), Some(gone[0]));
}

/// What the naive model knows of a holder.
type Held = (IpAddr, Option<&'static str>, [u16; 2]);

#[derive(Debug, Clone)]
enum Op {
    Take {
        holder: usize,
        key: Option<&'static str>,
        ports: [u16; 2],
    },
    Release(usize),
    Wait(u64),
    Split,
    Join,
}

fn op() -> impl Strategy<Value = Op> {
    let key = prop_oneof![Just(None), Just(Some("x")), Just(Some("y"))];
    prop_oneof![
        4 => (0..12_usize, key, [1..4_u16, 1..4_u16])
            .prop_map(|(holder, key, ports)| Op::Take { holder, key, ports }),
        3 => (0..12_usize).prop_map(Op::Release),
        1 => (0..40_u64).prop_map(Op::Wait),
        1 => Just(Op::Split),
        1 => Just(Op::Join),
    ]
}

/// The rules again, by looking at every address.
#[derive(Default)]
struct Model {
    held: BTreeMap<usize, Held>,
    rests: BTreeMap<IpAddr, (Instant, usize)>,
}

impl Model {
    fn may_have(&self, address: IpAddr, key: Option<&str>, ports: [u16; 2]) -> bool {
        self.held
            .values()
            .filter(|held| held.0 == address)
            .all(|(_, theirs, taken)| {
                let is_taken = taken.iter().any(|port| ports.contains(port));
                key.is_some() && *theirs == key && !is_taken
            })
    }

    fn next(
        &self,
        holder: usize,
        order: &[IpAddr],
        key: Option<&str>,
        ports: [u16; 2],
    ) -> Option<IpAddr> {
        let own = self.rests.iter().find(|(_, (_, who))| *who == holder);
        let rests = |address: &IpAddr| self.rests.contains_key(address);
        let fits = |address: &&IpAddr| self.may_have(**address, key, ports);
        own.map(|(address, _)| *address)
            .or_else(|| order.iter().filter(fits).find(|a| !rests(a)).copied())
            .or_else(|| order.iter().find(fits).copied())
    }
}

proptest! {
    #[test]
    fn the_allocator_does_what_a_look_at_every_address_would(ops in prop::collection::vec(op(), 1..120)) {
        let order = ips(&["10.0.1.1", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]);
        let whole = [pool("a", &["10.0.1.1/32", "10.0.0.1-10.0.0.4"])];
        let split = [pool("a", &["10.0.1.1/32", "10.0.0.1/32", "10.0.0.2-10.0.0.4"])];
        let mut allocator = allocator(&whole, REST);
        let mut model = Model::default();
        let mut time = now();
        for op in ops {
            match op {
                Op::Take { holder, key, ports } if !model.held.contains_key(&holder) => {
                    let mut service = service(&format!("s{holder}"));
                    service.ports = ports.map(port).to_vec();
                    service.requests.sharing_key = key.map(str::to_owned);
                    let terms = Arc::new(Terms::of(&service));
                    let next = [Resting::Spared, Resting::Taken].into_iter().find_map(|resting| {
                        allocator.next(first(), V4, &terms, resting)
                    });
                    prop_assert_eq!(next, model.next(holder, &order, key, ports));
                    if let Some(address) = next {
                        let check = allocator.check(Holder(holder), &terms, address, Joining::New);
                        prop_assert_eq!(check, Ok(()));
                        allocator.assign(Holder(holder), &terms, &[address]);
                        model.rests.remove(&address);
                        model.held.insert(holder, (address, key, ports));
                    }
                }
                Op::Take { .. } => {}
                Op::Release(holder) => {
                    let service = crate::fixture::key(&format!("s{holder}"));
                    let released = allocator.release(Holder(holder), &service, time);
                    let held = model.held.remove(&holder).map(|held| held.0);
                    prop_assert_eq!(released.first().copied(), held);
                    let is_used = |address| model.held.values().any(|held| held.0 == address);
                    if let Some(address) = held.filter(|address| !is_used(*address)) {
                        model.rests.insert(address, (time + REST, holder));
                    }
                }
                Op::Wait(seconds) => {
                    time += Duration::from_secs(seconds);
                    allocator.expire(time);
                    model.rests.retain(|_, (until, _)| time < *until);
                }
                Op::Split => allocator.replace_pools(&pools(&split)),
                Op::Join => allocator.replace_pools(&pools(&whole)),
            }
            let used: BTreeSet<_> = model.held.values().map(|held| held.0).collect();
            let counters = allocator.counters(first(), V4);
            prop_assert_eq!(counters.assigned, used.len() as u128);
            prop_assert_eq!(counters.available, (order.len() - used.len()) as u128);
        }
    }
}
