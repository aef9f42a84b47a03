//! Hints are given with addresses and never again.

use super::*;
use crate::fixture::{announced, node};

fn no_node(name: &str) -> Change {
    Change::Node(name.to_owned(), None)
}

fn a_pool() -> Pool {
    pool("a", &["10.0.0.0/24", "fc00::/120"])
}

/// Three nodes, and what announces the pool from any of them.
fn three() -> impl Iterator<Item = Change> {
    announced(&[a_pool()]).into_iter()
}

impl Bench {
    fn hints(&self, name: &str) -> Hints {
        self.disk[&key(name)].hints.clone()
    }

    /// How many addresses are hinted at each node.
    fn loads(&self) -> Vec<usize> {
        let mut loads = BTreeMap::from(["n1", "n2", "n3"].map(|name| (name, 0)));
        for status in self.disk.values() {
            for (_, node) in status.hints.iter() {
                *loads.get_mut(&**node).unwrap() += 1;
            }
        }
        loads.into_values().collect()
    }
}

#[test]
fn i4_a_hint_comes_with_the_address_stays_whatever_nodes_do_and_goes_with_it() {
    let mut bench = Bench::new(three());
    let outputs = bench.apply([service("s").dual(PreferDual).change()]);
    assert_eq!(outputs.len(), 1, "address and hint at once");
    let hints = bench.hints("s");
    let hinted: Vec<IpAddr> = hints.iter().map(|(address, _)| address).collect();
    assert_eq!(hinted, ips(&["10.0.0.0", "fc00::"]));
    let (_, hinted) = hints.iter().next().unwrap();
    let changes = [no_node(hinted), node("n4"), node("n5")];
    assert_eq!(bench.apply(changes), []);
    assert_eq!(bench.apply([config(&[a_pool()])]), [], "announced no more");

    bench.apply(three());
    bench.apply([service("s").wanting("10.0.0.9").change()]);
    let moved = bench.hints("s");
    let hinted: Vec<IpAddr> = moved.iter().map(|(address, _)| address).collect();
    assert_eq!(hinted, ips(&["10.0.0.9"]), "the others are gone");
    bench.apply([service("s").from_pool("nowhere").change()]);
    bench.assert_holds("s", &[]);
    assert_eq!(bench.hints("s"), Hints::default());
}

#[test]
fn what_is_not_announced_at_layer_2_or_has_no_nodes_has_no_hint() {
    let announced = three().last().unwrap();
    let mut bench = Bench::new([announced, service("a").change()]);
    assert_eq!(bench.hints("a"), Hints::default(), "there are no nodes");
    bench.apply(three());
    assert_eq!(bench.hints("a"), Hints::default(), "it was given before");
    bench.apply([config(&[v4()]), service("b").change()]);
    assert_eq!(bench.hints("b"), Hints::default(), "nothing speaks for it");
}

#[test]
fn i2_after_a_restart_hints_and_loads_are_what_they_were_and_nothing_is_written() {
    let names: Vec<String> = (0..20).map(|n| format!("s{n:02}")).collect();
    let services = names.iter().map(|name| service(name).change());
    let old = service("old").holding(&["10.0.0.99"]);
    let mut bench = Bench::new(three().chain([old.change()]));
    bench.apply(services);
    assert_eq!(bench.hints("old"), Hints::default());
    let mut again = Bench {
        reconciler: Reconciler::new(Settings::default(), bench.disk.clone()),
        now: now(),
        disk: bench.disk.clone(),
    };
    let held = bench.disk.iter().map(|(key, status)| {
        let service = Service {
            ingress: status.ingress.clone(),
            hints: status.hints.clone(),
            ..service(&key.name)
        };
        service.change()
    });
    let held: Vec<Change> = held.collect();
    assert_eq!(again.apply(held.into_iter().chain(three())), []);
    assert_eq!(again.apply([Change::Synced]), []);
    for bench in [&mut bench, &mut again] {
        bench.apply(["t1", "t2"].map(|name| service(name).change()));
        let loads = bench.loads();
        assert!(loads.iter().all(|load| (7..=8).contains(load)), "{loads:?}");
    }
    assert_eq!(again.disk, bench.disk);
}

#[test]
fn what_somebody_writes_into_a_hint_moves_nothing_and_nonsense_is_cleared() {
    let mut bench = Bench::new(three().chain([service("s").change()]));
    let mut edited = service("s").holding(&["10.0.0.0"]);
    edited.hints = Hints::parse("10.0.0.0=elsewhere");
    assert_eq!(bench.apply([edited.change()]), []);

    // Found at the start: what makes sense is kept.
    let mut found = service("t").holding(&["10.0.0.1"]);
    found.hints = Hints::parse("10.0.0.1=n2,10.0.0.7=n1,so what");
    bench.apply([found.change()]);
    assert_eq!(bench.hints("t"), Hints::parse("10.0.0.1=n2"));
}

#[test]
fn who_shares_an_address_shares_its_hint() {
    let sharing = |name: &str, port| service(name).sharing("k").port(port).change();
    let mut bench = Bench::new(three().chain([sharing("a", 1), sharing("b", 2)]));
    bench.assert_holds("b", &["10.0.0.0"]);
    assert_eq!(bench.hints("a"), bench.hints("b"));
    bench.apply([gone("a"), sharing("c", 3)]);
    assert_eq!(bench.hints("b"), bench.hints("c"));
}

#[test]
fn a_service_that_could_not_be_read_for_a_while_keeps_its_hint() {
    let unread = Change::Orphans(BTreeMap::from([(key("u"), ips(&["10.0.0.3"]))]));
    let mut bench = Bench::new(three().chain([any_unreadable(), unread]));
    let mut read = service("u").holding(&["10.0.0.3"]);
    read.hints = Hints::parse("10.0.0.3=n3");
    bench.apply([read.change()]);
    assert_eq!(bench.hints("u"), Hints::parse("10.0.0.3=n3"));
}

proptest! {
    /// Services of equal nodes come and go: whoever is given an address next, it evens out.
    #[test]
    fn addresses_are_hinted_evenly(
        came in 1usize..60,
        went in prop::collection::btree_set(0usize..60, 0..20),
    ) {
        let mut bench = Bench::new(three());
        let name = |n: usize| format!("s{n:03}");
        for n in 0..came {
            bench.apply([service(&name(n)).change()]);
        }
        let loads = bench.loads();
        prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1, "{loads:?}");
        // Half of them go, the others lose their addresses.
        bench.apply(went.iter().map(|n| match n % 2 {
            0 => gone(&name(*n)),
            _ => service(&name(*n)).from_pool("nowhere").change(),
        }));
        let loads = bench.loads();
        let missing: usize = loads.iter().map(|load| loads.iter().max().unwrap() - load).sum();
        for n in 0..missing {
            bench.apply([service(&name(100 + n)).change()]);
        }
        let loads = bench.loads();
        prop_assert!(loads.iter().max().unwrap() == loads.iter().min().unwrap(), "{loads:?}");
    }
}
