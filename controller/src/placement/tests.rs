use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use ferrolb_crds::model::{DrainMark, PoolChoice, Preference, Selector};
use proptest::prelude::*;

use super::*;
use crate::fixture::{With, labels, pool, service};

fn selector(key: &str, value: &str) -> Selector {
    Selector {
        match_labels: labels(&[(key, value)]),
        requirements: BTreeSet::new(),
    }
}

fn advertisement(name: &str) -> L2Advertisement {
    L2Advertisement {
        name: name.to_owned(),
        pools: PoolChoice::default(),
        nodes: Vec::new(),
        services: Vec::new(),
        interfaces: BTreeSet::new(),
        preferences: Vec::new(),
    }
}

fn config(advertisements: &[L2Advertisement]) -> Config {
    let all = advertisements.iter();
    Config {
        l2_advertisements: all.map(|ad| (ad.name.clone(), ad.clone())).collect(),
        ..Config::default()
    }
}

fn with_nodes(names: &[&str]) -> Placement {
    let mut placement = Placement::default();
    for name in names {
        add_node(&mut placement, name, &[]);
    }
    placement
}

fn add_node(placement: &mut Placement, name: &str, pairs: &[(&str, &str)]) {
    let node = Node {
        name: name.to_owned(),
        labels: labels(pairs),
        ..Node::default()
    };
    placement.set_node(name, Some(node));
}

fn address(n: u16) -> IpAddr {
    let [high, low] = n.to_be_bytes();
    IpAddr::from([10, 1, high, low])
}

/// Gives these to a Service each, and says which node each is to go to.
fn give(
    placement: &mut Placement,
    config: &Config,
    addresses: RangeInclusive<u16>,
) -> Vec<Option<Arc<str>>> {
    let pool = pool("p", &["10.1.0.0/16"]);
    addresses
        .map(|n| placement.place(config, &pool, &service("s"), address(n)))
        .collect()
}

fn counts(nodes: &[Option<Arc<str>>]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for node in nodes.iter().flatten() {
        *counts.entry(&**node).or_default() += 1;
    }
    counts
}

#[test]
fn where_nobody_may_hold_it_there_is_no_hint() {
    let all = config(&[advertisement("all")]);
    assert_eq!(give(&mut with_nodes(&[]), &all, 1..=1), [None]);
    assert_eq!(give(&mut with_nodes(&["n1"]), &config(&[]), 1..=1), [None]);
    let mut elsewhere = advertisement("elsewhere");
    elsewhere.pools.names = BTreeSet::from(["other".to_owned()]);
    let elsewhere = config(&[elsewhere]);
    assert_eq!(give(&mut with_nodes(&["n1"]), &elsewhere, 1..=1), [None]);

    let mut by_label = advertisement("by-label");
    by_label.services = vec![selector("app", "web")];
    let by_label = config(&[by_label]);
    let pool = pool("p", &["10.1.0.0/16"]);
    let mut web = service("web");
    web.labels = labels(&[("app", "web")]);
    let mut placement = with_nodes(&["n1"]);
    let shared = web.clone().sharing("k");
    assert_eq!(
        placement.place(&by_label, &pool, &service("s"), address(1)),
        None
    );
    assert_eq!(placement.place(&by_label, &pool, &shared, address(1)), None);
    let node = placement.place(&by_label, &pool, &web, address(1));
    assert_eq!(node.as_deref(), Some("n1"));
}

#[test]
fn a_node_that_is_excluded_drained_without_network_not_selected_or_gone_gets_nothing() {
    let mut placement = with_nodes(&["n1", "gone"]);
    add_node(&mut placement, "out", &[(Node::EXCLUDE_LABEL, "")]);
    add_node(&mut placement, "other", &[("rack", "b")]);
    let cut = Node {
        name: "cut".to_owned(),
        network_unavailable: true,
        ..Node::default()
    };
    placement.set_node("cut", Some(cut));
    let drained = Node {
        name: "drained".to_owned(),
        draining: Some(DrainMark::Taint),
        ..Node::default()
    };
    placement.set_node("drained", Some(drained));
    placement.set_node("gone", None);
    let mut some = advertisement("some");
    some.nodes = vec![Selector {
        match_labels: labels(&[]),
        requirements: BTreeSet::new(),
    }];
    let all = config(&[some]);
    assert_eq!(counts(&give(&mut placement, &all, 1..=10)).len(), 2);
    let mut selecting = advertisement("selecting");
    selecting.nodes = vec![selector("rack", "b")];
    let nodes = give(&mut placement, &config(&[selecting]), 11..=20);
    assert_eq!(counts(&nodes), BTreeMap::from([("other", 10)]));
}

#[test]
fn preferred_nodes_come_first_and_share_among_them() {
    let mut placement = with_nodes(&["n1", "n2"]);
    for name in ["n3", "n4"] {
        add_node(&mut placement, name, &[("ssd", "yes")]);
    }
    let mut preferring = advertisement("preferring");
    preferring.preferences = vec![Preference {
        weight: 10,
        nodes: selector("ssd", "yes"),
    }];
    let nodes = give(&mut placement, &config(&[preferring]), 1..=10);
    assert_eq!(counts(&nodes), BTreeMap::from([("n3", 5), ("n4", 5)]));
    // Where nothing is preferred they have enough.
    let nodes = give(&mut placement, &config(&[advertisement("all")]), 11..=20);
    assert_eq!(counts(&nodes), BTreeMap::from([("n1", 5), ("n2", 5)]));
}

#[test]
fn who_shares_an_address_shares_its_node_and_it_counts_once() {
    let all = config(&[advertisement("all")]);
    let mut placement = with_nodes(&["n1", "n2"]);
    let first = give(&mut placement, &all, 1..=1);
    assert_eq!(give(&mut placement, &all, 1..=1), first);
    let other = give(&mut placement, &all, 2..=2);
    assert_ne!(other, first);
    let mut hints = Hints::default();
    hints.set(address(1), first[0].clone().unwrap());
    // One of the two has it still.
    placement.remove(hints.iter());
    give(&mut placement, &all, 3..=3);
    placement.remove(hints.iter());
    assert_eq!(placement.loads.values().sum::<usize>(), 2);
    placement.remove(hints.iter());
    assert_eq!(placement.loads.values().sum::<usize>(), 2, "nothing twice");
}

#[test]
fn without_any_load_it_is_the_first_in_rank_as_for_the_speakers() {
    let all = config(&[advertisement("all")]);
    for n in 0..50 {
        let names = ["n1", "n2", "n3"];
        let node = give(&mut with_nodes(&names), &all, n..=n).remove(0);
        let ranked = rank::first(address(n), names.into_iter().map(|name| (name, 0)));
        assert_eq!(node.as_deref(), ranked);
    }
}

proptest! {
    /// However addresses come and go among equal nodes, giving goes to the least loaded: after as many
    /// have been given as there is difference, there is none of more than one.
    #[test]
    fn addresses_spread_over_equal_nodes(
        count in 1usize..20,
        given in 1u16..300,
        lost in prop::collection::btree_set(0u16..300, 0..100),
    ) {
        let names: Vec<String> = (0..count).map(|n| format!("n{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let all = config(&[advertisement("all")]);
        let mut placement = with_nodes(&names);
        let nodes = give(&mut placement, &all, 1..=given);
        let loads = |placement: &Placement| {
            let loads: Vec<usize> = names
                .iter()
                .map(|name| placement.loads.get(*name).copied().unwrap_or_default())
                .collect();
            (*loads.iter().min().unwrap(), *loads.iter().max().unwrap())
        };
        let (least, most) = loads(&placement);
        prop_assert!(most - least <= 1, "{least} to {most}");

        for n in lost.into_iter().filter(|n| *n < given) {
            let mut hints = Hints::default();
            hints.set(address(n + 1), nodes[usize::from(n)].clone().unwrap());
            placement.remove(hints.iter());
        }
        let (_, most) = loads(&placement);
        let total: usize = placement.loads.values().sum();
        let missing = u16::try_from(most * count - total).unwrap();
        give(&mut placement, &all, 1000..=1000 + missing);
        let (least, most) = loads(&placement);
        prop_assert!(most - least <= 1, "{least} to {most}");
    }

    /// A restart: what the annotations say gives the same loads, in any order.
    #[test]
    fn loads_come_back_from_the_hints(given in 1u16..100, seed in any::<u64>()) {
        let all = config(&[advertisement("all")]);
        let mut placement = with_nodes(&["n1", "n2", "n3"]);
        let nodes = give(&mut placement, &all, 1..=given);
        let mut hints: Vec<Hints> = (1..=given).zip(&nodes).map(|(n, node)| {
            Hints::parse(&format!("{}={}", address(n), node.as_deref().unwrap()))
        }).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut hints);
        let mut again = with_nodes(&["n1", "n2", "n3"]);
        for hints in &hints {
            again.add(hints);
        }
        prop_assert_eq!(&again.loads, &placement.loads);
        prop_assert_eq!(give(&mut again, &all, 200..=220), give(&mut placement, &all, 200..=220));
    }
}
