//! The routes of the plan, for the sessions: all of them for one that begins, and what has become of some
//! for those that run.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::bgp;
use crate::plan::{self, AddressPlan};

/// What each peer should hold of these addresses; those that should hold the same share it.
pub(in crate::run) fn tables<'a, 'p, I: Iterator<Item = (&'a IpAddr, &'a AddressPlan)>>(
    peers: impl Iterator<Item = &'p String>,
    addresses: impl Fn() -> I,
) -> BTreeMap<&'p str, Arc<bgp::Routes>> {
    let alike = plan::alike(addresses().map(|(_, plan)| plan), peers);
    let tables = alike.into_iter().map(|alike| {
        let one = alike.first().map_or("", |peer| peer.as_str());
        let routes = plan::routes(addresses().map(|(_, plan)| plan), one);
        let routes = routes.into_iter();
        let table = routes.map(|(prefix, announced)| (prefix, route(announced)));
        (alike, table.collect())
    });
    shared(tables)
}

/// What has become of these prefixes for each peer, where `plans` are those of the addresses within one;
/// peers for which it is the same share it.
pub(in crate::run) fn changed<'a, 'p, I: Iterator<Item = &'a AddressPlan>>(
    peers: impl Iterator<Item = &'p String>,
    prefixes: &BTreeSet<IpNet>,
    plans: impl Fn(IpNet) -> I,
) -> BTreeMap<&'p str, Arc<bgp::Changed>> {
    let groups = plan::changed(prefixes.iter().copied(), plans, peers);
    let changed = groups.into_iter().map(|(alike, routes)| {
        let routes = routes.into_iter();
        let changed = routes.map(|(prefix, announced)| (prefix, announced.map(route)));
        (alike, changed.collect())
    });
    shared(changed)
}

fn shared<'p, T>(groups: impl Iterator<Item = (Vec<&'p String>, T)>) -> BTreeMap<&'p str, Arc<T>> {
    let mut all = BTreeMap::new();
    for (alike, one) in groups {
        let one = Arc::new(one);
        let peers = alike.into_iter();
        all.extend(peers.map(|peer| (peer.as_str(), Arc::clone(&one))));
    }
    all
}

fn route(route: plan::Route) -> bgp::Route {
    let plan::Route {
        attributes,
        link_bandwidth,
    } = route;
    bgp::Route {
        local_pref: attributes.local_pref,
        med: attributes.med,
        as_path_prepend: attributes.as_path_prepend.unwrap_or(0),
        link_bandwidth,
        communities: attributes.communities,
    }
}

#[cfg(test)]
mod tests {
    use ferrolb_crds::model::{Community, ServiceKey};
    use proptest::prelude::*;

    use super::super::super::changes;
    use super::*;
    use crate::plan::{Advertised, Attributes, HandOff, Layer2, Plan, Reason, Share};

    const PEERS: [&str; 3] = ["leaf", "spine", "tor"];

    fn address(number: u8) -> IpAddr {
        match number % 2 {
            0 => IpAddr::from([192, 0, 2, number]),
            _ => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number)]),
        }
    }

    /// One prefix of an address, by the number of bits that it leaves out.
    fn advertised(number: u8) -> impl Strategy<Value = Advertised> {
        let attributes = (
            prop::option::of(0..3_u32),
            prop::option::of(0..3_u32),
            prop::option::of(0..3_u16),
        );
        let peers = prop::sample::subsequence(PEERS.to_vec(), 1..=PEERS.len());
        let share = prop::option::of((0..2_u8, 1..4_u64));
        let wider = prop::sample::select(vec![0, 0, 2, 8]);
        (attributes, peers, share, wider).prop_map(move |(attributes, peers, share, wider)| {
            let (local_pref, med, community) = attributes;
            let host = IpNet::from(address(number));
            let prefix = IpNet::new(host.addr(), host.prefix_len() - wider).unwrap();
            Advertised {
                prefix: prefix.trunc(),
                attributes: Attributes {
                    local_pref,
                    med,
                    as_path_prepend: None,
                    communities: community
                        .map(|low| Community::Standard(64512, low))
                        .into_iter()
                        .collect(),
                },
                share: share.map(|(service, bandwidth)| Share {
                    service: ServiceKey::new("default", format!("web-{service}")),
                    bandwidth,
                }),
                peers: peers.into_iter().map(str::to_owned).collect(),
            }
        })
    }

    /// What becomes of an address.
    #[derive(Debug, Clone)]
    enum Op {
        Planned(u8, Option<Vec<Advertised>>),
        /// It waits for the hand-off, or does not any more.
        Waits(u8, bool),
        /// The sessions are told what they have not been told yet.
        Tell,
    }

    fn op() -> impl Strategy<Value = Op> {
        let number = 0..12_u8;
        let planned = number.clone().prop_flat_map(|number| {
            let advertised = prop::collection::vec(advertised(number), 0..3);
            prop::option::weighted(0.8, advertised)
                .prop_map(move |advertised| Op::Planned(number, advertised))
        });
        prop_oneof![
            4 => planned,
            1 => (number, any::<bool>()).prop_map(|(number, waits)| Op::Waits(number, waits)),
            2 => Just(Op::Tell),
        ]
    }

    fn plan_of(advertised: Vec<Advertised>) -> AddressPlan {
        AddressPlan {
            layer2: Layer2::NotHeld {
                reason: Reason::NoMatchingAdvertisement,
                detail: None,
                holder: None,
                is_at_fault: false,
            },
            advertised: advertised.into(),
            hand_off: HandOff::default(),
            services: Box::default(),
        }
    }

    /// What the peers hold by what they were told, and by what they should.
    #[derive(Default)]
    struct Bench {
        plan: Plan,
        waiting: BTreeSet<IpAddr>,
        untold: BTreeSet<IpNet>,
        held: BTreeMap<String, bgp::Routes>,
    }

    impl Bench {
        fn take(&mut self, op: Op) {
            match op {
                Op::Planned(number, advertised) => {
                    let new = advertised.map(plan_of);
                    let old = self.plan.addresses.get(&address(number)).map(Arc::as_ref);
                    changes::note_moved(&mut self.untold, old, new.as_ref());
                    match new {
                        Some(new) => self.plan.addresses.insert(address(number), Arc::new(new)),
                        None => self.plan.addresses.remove(&address(number)),
                    };
                }
                Op::Waits(number, waits) => {
                    match waits {
                        true => self.waiting.insert(address(number)),
                        false => self.waiting.remove(&address(number)),
                    };
                    let plan = self.plan.addresses.get(&address(number));
                    let advertised = plan.into_iter().flat_map(|plan| &plan.advertised);
                    self.untold.extend(advertised.map(|one| one.prefix));
                }
                Op::Tell => self.tell(),
            }
        }

        fn tell(&mut self) {
            let within = |prefix| {
                let plans = self.plan.within(prefix);
                let plans = plans.filter(|(address, _)| !self.waiting.contains(*address));
                plans.map(|(_, plan)| plan)
            };
            let peers = PEERS.map(str::to_owned);
            for (peer, changed) in changed(peers.iter(), &self.untold, within) {
                let held = self.held.entry(peer.to_owned()).or_default();
                for (prefix, route) in changed.iter() {
                    match route {
                        Some(route) => held.insert(*prefix, route.clone()),
                        None => held.remove(prefix),
                    };
                }
            }
            self.untold.clear();
        }

        fn wanted(&self) -> BTreeMap<String, bgp::Routes> {
            let peers = PEERS.map(str::to_owned);
            let all = || {
                let plans = self.plan.each();
                plans.filter(|(address, _)| !self.waiting.contains(*address))
            };
            let tables = tables(peers.iter(), all);
            tables
                .into_iter()
                .map(|(peer, table)| (peer.to_owned(), Arc::unwrap_or_clone(table)))
                .collect()
        }
    }

    proptest! {
        #[test]
        fn i11_peers_that_are_told_what_has_changed_hold_what_they_should(
            ops in prop::collection::vec(op(), 0..60)
        ) {
            let mut bench = Bench::default();
            for op in ops.into_iter().chain([Op::Tell]) {
                bench.take(op);
                if bench.untold.is_empty() {
                    let wanted = bench.wanted();
                    for (peer, wanted) in wanted {
                        let held = bench.held.get(&peer).cloned().unwrap_or_default();
                        prop_assert_eq!(held, wanted, "{}", peer);
                    }
                }
            }
        }
    }
}
