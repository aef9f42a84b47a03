//! Planning what a change touched equals planning everything, and the order of changes of different
//! objects does not matter.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ferrolb_crds::model::{Config, EndpointSlice, TrafficPolicy};
use ferrolb_crds::source::Change;
use proptest::prelude::*;

use super::fixture::*;
use crate::plan::{Layer2, Plan, Presence, explain, heartbeat, peers, plan, plan_address};
use crate::world::{Claim, Delivery, Heard, Identity, LinkState, Segment, Standing, World};

/// A change of the world, small enough that changes meet each other.
#[derive(Debug, Clone)]
enum Op {
    Objects(Change),
    Segment(Segment),
    Delivery(Delivery),
    /// Somebody else may have an address.
    Finding(&'static str, bool),
    /// All that is claimed of an address.
    Claims(&'static str, Vec<Claim>),
}

const ADDRESSES: [&str; 4] = ["10.0.0.1", "10.0.0.2", "fc00::1", "10.0.1.1"];

fn service_change() -> impl Strategy<Value = Change> {
    let shape = (0..3u8, 0..4u8, any::<bool>(), any::<bool>(), any::<bool>());
    (shape, any::<bool>()).prop_map(|((which, at, is_local, shares, is_ours), exists)| {
        let name = ["web", "api", "dns"][usize::from(which)];
        let mut value = service(name, 80 + u16::from(which));
        value.ingress = match at {
            0 => Vec::new(),
            1 => vec![ip("10.0.0.1")],
            2 => vec![ip("10.0.0.2"), ip("fc00::1")],
            _ => vec![ip("10.0.1.1"), ip("10.0.0.1")],
        };
        value.is_load_balancer = is_ours;
        value.requests.sharing_key = shares.then(|| "k".to_owned());
        if is_local {
            value.traffic_policy = TrafficPolicy::Local;
        }
        Change::Service(key(name), exists.then(|| Arc::new(value)))
    })
}

fn slice_change() -> impl Strategy<Value = Change> {
    let shape = (0..2u8, 0..2u8, 0..3u8, any::<bool>(), any::<bool>());
    shape.prop_map(|(which, owner, node, is_usable, exists)| {
        let name = ["s1", "s2"][usize::from(which)];
        let mut only = endpoint(["n1", "n2", "n3"][usize::from(node)]);
        only.ready = Some(is_usable);
        let slice = EndpointSlice {
            key: key(name),
            service: ["web", "api"][usize::from(owner)].to_owned(),
            family: None,
            endpoints: vec![only],
        };
        Change::EndpointSlice(key(name), exists.then(|| Arc::new(slice)))
    })
}

fn node_change() -> impl Strategy<Value = Change> {
    (0..3u8, 0..3u8, any::<bool>()).prop_map(|(which, state, exists)| {
        let name = ["n1", "n2", "n3"][usize::from(which)];
        let mut fixture = Fixture::new();
        fixture.add_node(name);
        let mut node = fixture.node(name).clone();
        node.network_unavailable = state == 1;
        if state == 2 {
            label(&mut node, "rack", "b");
        }
        Change::Node(name.to_owned(), exists.then_some(node))
    })
}

fn config_change() -> impl Strategy<Value = Change> {
    any::<[bool; 6]>().prop_map(|[by_service, by_node, wide, prefers, other_pool, dual]| {
        let mut fixture = Fixture::new();
        if by_service {
            fixture.l2().services = vec![selector("app", "web")];
        }
        if by_node {
            fixture.peer("tor").nodes = vec![selector("rack", "b")];
            fixture.bgp().nodes = vec![selector("rack", "b")];
        }
        if wide {
            fixture.add_bgp("wide").aggregation_length_v4 = 24;
            fixture.bgp().options.link_bandwidth = Some(1000);
        }
        if prefers {
            fixture.add_node("n2");
            fixture.prefer("n2");
        }
        if other_pool {
            fixture.pool().ranges = vec![range("10.0.1.0/24")];
        }
        fixture.peer("tor").dual_stack = dual;
        Change::Config(Arc::new(fixture.config))
    })
}

/// Mostly there is one link that is up, and little differs from one time to the next.
fn segment() -> impl Strategy<Value = Op> {
    let second = prop::sample::select(vec![
        None,
        None,
        Some(LinkState::Down),
        Some(LinkState::Listening),
        Some(LinkState::Alone),
        Some(LinkState::Up),
    ]);
    let other = || {
        prop::sample::select(vec![
            Other::Silent,
            Other::Waits,
            Other::Unknown,
            Other::Heard,
        ])
    };
    let on = || prop::sample::select(vec![&["eth0"][..], &["eth0", "eth1"], &["eth1"]]);
    let others = ((other(), on()), (other(), on()));
    (0..6u8, 0..8u8, second, others).prop_map(|(state, down, second, (n2, n3))| {
        let mut links = links(&[("eth0", down > 0)]);
        links.extend(second.map(|second| ("eth1".to_owned(), second)));
        let (mut heard, mut waiting) = (Heard::new(), Heard::new());
        let mut unknown = BTreeSet::new();
        for (name, (other, on)) in [("n2", n2), ("n3", n3)] {
            // Where nobody was ever heard nobody is.
            let on = on.iter().filter(|link| {
                let state = links.get(**link);
                state.is_some_and(|state| *state != LinkState::Alone)
            });
            let ways = same_names(&on.copied().collect::<Vec<_>>());
            match other {
                _ if ways.is_empty() => {}
                Other::Silent => {}
                Other::Waits => drop(waiting.insert(name.to_owned(), ways)),
                Other::Unknown => {
                    unknown.insert(name.to_owned());
                    heard.insert(name.to_owned(), ways);
                }
                Other::Heard => drop(heard.insert(name.to_owned(), ways)),
            }
        }
        Op::Segment(match state {
            0 => Segment::Off("off".to_owned()),
            1 => Segment::Listening { links },
            _ => Segment::Known {
                links,
                heard,
                waiting,
                unknown,
            },
        })
    })
}

/// How another node is heard.
#[derive(Debug, Clone, Copy)]
enum Other {
    Silent,
    Waits,
    Unknown,
    Heard,
}

fn delivery() -> impl Strategy<Value = Op> {
    let sets = any::<[bool; 4]>();
    (0..4u8, sets).prop_map(|(state, [n2_fails, n3_fails, n2_unheard, n3_unheard])| {
        let set = |n2, n3| {
            let nodes = [("n2", n2), ("n3", n3)].into_iter();
            let nodes = nodes.filter(|(_, is_in)| *is_in);
            nodes.map(|(name, _)| name.to_owned()).collect()
        };
        Op::Delivery(Delivery {
            is_failing: state == 0,
            is_unproven: false,
            failing: set(n2_fails, n3_fails),
            unheard: set(n2_unheard, n3_unheard),
        })
    })
}

fn claims() -> impl Strategy<Value = Op> {
    let address = prop::sample::select(ADDRESSES.to_vec());
    let standing = || {
        prop::option::of(prop::sample::select(vec![
            Standing::Holds,
            Standing::Offers,
            Standing::Remembers,
        ]))
    };
    let interface = || prop::sample::select(vec!["eth0", "eth0", "eth1", "old0"]);
    let interfaces = [interface(), interface()];
    (address, [standing(), standing()], interfaces).prop_map(|(address, standings, interfaces)| {
        let claims = ["n2", "n3"].into_iter().zip(standings);
        let claims = claims.filter_map(|(node, standing)| Some(claim(node, standing?)));
        let claims = claims.zip(interfaces).map(|(mut claim, interface)| {
            claim.interface = interface.into();
            claim
        });
        Op::Claims(address, claims.collect())
    })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => service_change().prop_map(Op::Objects),
        2 => slice_change().prop_map(Op::Objects),
        1 => node_change().prop_map(Op::Objects),
        1 => config_change().prop_map(Op::Objects),
        3 => segment(),
        2 => claims(),
        1 => delivery(),
        1 => (prop::sample::select(ADDRESSES.to_vec()), any::<bool>())
            .prop_map(|(address, is_taken)| Op::Finding(address, is_taken)),
    ]
}

fn empty() -> World {
    World::new(Identity {
        node: "n1".to_owned(),
        ..Identity::default()
    })
}

/// Feeds one change and plans only what it touched; `keeps` what that makes this node hold.
fn step(world: &mut World, held: &mut Plan, op: Op, keeps: bool) {
    let touched = match op {
        Op::Objects(change) => world.apply(change),
        Op::Segment(segment) => world.hear(segment),
        Op::Claims(address, claims) => world.take_claims(BTreeMap::from([(ip(address), claims)])),
        Op::Delivery(delivery) => world.note_delivery(delivery),
        Op::Finding(address, is_taken) => {
            let others = [("eth0".to_owned(), "02:00:00:00:00:09".to_owned())];
            let others = others.into_iter().filter(|_| is_taken).collect();
            world.find(BTreeMap::from([(ip(address), others)]))
        }
    };
    for address in touched {
        let mut plan = plan_address(world, address);
        // Who has given an address up may not know yet who has it.
        for _ in 0..2 {
            match &plan {
                Some(plan) if keeps => world.note_decision(address, plan.layer2.decision()),
                Some(_) => {}
                None => world.forget(address),
            }
            plan = plan_address(world, address);
        }
        match plan {
            Some(plan) => held.addresses.insert(address, Arc::new(plan)),
            None => held.addresses.remove(&address),
        };
    }
    held.peers = peers(world);
    held.heartbeat = heartbeat(world);
}

/// Names the object of a change: only the last change of each counts.
fn object(op: &Op) -> String {
    match op {
        Op::Objects(Change::Service(key, _)) => format!("service {key}"),
        Op::Objects(Change::EndpointSlice(key, _)) => format!("slice {key}"),
        Op::Objects(Change::Node(name, _)) => format!("node {name}"),
        Op::Objects(_) => "config".to_owned(),
        Op::Segment(_) => "segment".to_owned(),
        Op::Delivery(_) => "delivery".to_owned(),
        Op::Finding(address, _) => format!("finding {address}"),
        Op::Claims(address, _) => format!("claims {address}"),
    }
}

proptest! {
    #[test]
    fn i11_planning_what_was_touched_equals_planning_everything(
        ops in prop::collection::vec(op(), 1..40)
    ) {
        let mut world = empty();
        let mut held = plan(&world);
        for op in ops {
            step(&mut world, &mut held, op, true);
            prop_assert_eq!(&held, &plan(&world));
        }
    }

    #[test]
    fn an_explanation_says_what_the_plan_does(ops in prop::collection::vec(op(), 1..40)) {
        let mut world = empty();
        let mut held = plan(&world);
        for op in ops {
            step(&mut world, &mut held, op, true);
        }
        // On several somebody else can be the first of all, or it is not known somewhere.
        let links = world.segment().links();
        let is_one = links.is_none_or(|links| links.len() == 1);
        for (address, plan) in held.addresses {
            let explained = explain(&world, address).unwrap();
            prop_assert_eq!(&explained.here, &plan.layer2);
            let holder = explained.decided.map(|(holder, _)| holder);
            match &plan.layer2 {
                Layer2::Held(_) | Layer2::Withheld { .. } if !is_one => {}
                Layer2::Held(_) | Layer2::Withheld { .. } => {
                    prop_assert_eq!(holder.as_deref(), Some("n1"));
                }
                Layer2::NotHeld { holder: told, .. } => prop_assert_eq!(&holder, told),
            }
            if let Some(holder) = holder {
                let holder = &explained.nodes[&holder];
                prop_assert!(holder.refused.is_empty());
                prop_assert!(matches!(holder.presence, Presence::Alive(_) | Presence::Waiting));
            }
        }
    }

    #[test]
    fn the_order_of_changes_of_different_objects_does_not_matter(
        ops in prop::collection::vec(op(), 1..20),
        seed in any::<u64>(),
    ) {
        let mut last = BTreeMap::new();
        // What is found is of those addresses that there are by then.
        let ops = ops.into_iter().filter(|op| !matches!(op, Op::Finding(..)));
        for op in ops {
            last.insert(object(&op), op);
        }
        let sorted: Vec<Op> = last.into_values().collect();
        let mut shuffled = sorted.clone();
        fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
        let plans = [sorted, shuffled].map(|ops| {
            let (mut world, mut held) = (empty(), Plan::default());
            for op in ops {
                step(&mut world, &mut held, op, false);
            }
            held
        });
        prop_assert_eq!(&plans[0], &plans[1]);
    }
}

#[test]
fn an_empty_world_has_an_empty_plan() {
    let mut world = empty();
    assert_eq!(plan(&world), Plan::default());
    let _ = world.apply(Change::Config(Arc::new(Config::default())));
    assert_eq!(plan(&world), Plan::default());
}
