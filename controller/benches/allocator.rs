//! Prints how long a million assignments take, and whether the millionth costs more than the
//! thousandth.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferrolb_controller::allocator::{Allocator, Holder, Resting, Terms};
use ferrolb_crds::model::{
    AddressRange, Families, Family, FamilyPolicy, Hints, Labels, Pool, Port, Protocol, Requests,
    Service, ServiceKey, ServicePort, TrafficPolicy,
};

fn main() {
    for (name, net, family) in [
        ("/12", "10.0.0.0/12", Family::V4),
        ("/64", "fc00::/64", Family::V6),
    ] {
        // Whatever else the machine does only adds, so that the least of some rounds is the cost.
        let least = |round: &dyn Fn() -> Duration| (0..ROUNDS).map(|_| round()).min();
        let many = least(&|| assign(net, family, MANY)).unwrap_or_default();
        println!(
            "assignments out of a {name}: {MANY} in {:.3} s",
            many.as_secs_f64()
        );
        let few = least(&|| (0..REPEATS).map(|_| assign(net, family, FEW)).sum());
        let few = few.unwrap_or_default() / REPEATS;
        let (few, many) = (
            few.as_secs_f64() / f64::from(FEW),
            many.as_secs_f64() / f64::from(MANY),
        );
        println!(
            "cost per assignment out of a {name}: {:.0} ns of {FEW}, {:.0} ns of {MANY}: factor {:.2}",
            few * 1e9,
            many * 1e9,
            many / few
        );
    }
}

const FEW: u32 = 1_000;
const MANY: u32 = 1_000_000;
const ROUNDS: usize = 5;
/// So that a round of few takes about as long as one of many.
const REPEATS: u32 = MANY / FEW;

/// Assigns so many addresses, each to a Service of its own.
fn assign(net: &str, family: Family, count: u32) -> Duration {
    let mut allocator = Allocator::new(Duration::from_secs(60));
    allocator.replace_pools(&BTreeMap::from([("pool".to_owned(), pool(net))]));
    let Some(pool) = allocator.find("pool") else {
        return Duration::ZERO;
    };
    let terms: Vec<_> = (0..count).map(terms).collect();
    let started = Instant::now();
    for (number, terms) in (0..).zip(&terms) {
        let holder = Holder(number);
        let address = allocator.next(pool, family, terms, Resting::Spared);
        allocator.assign(holder, terms, address.as_slice());
    }
    let elapsed = started.elapsed();
    let assigned = allocator.counters(pool, family).assigned;
    assert_eq!(assigned, u128::from(count), "every one has an address");
    elapsed
}

/// Of a Service like most: one port, shared with nobody.
fn terms(number: u32) -> Arc<Terms> {
    let port = ServicePort {
        name: String::new(),
        protocol: Protocol::Tcp,
        port: Port::BGP,
        node_port: None,
    };
    Arc::new(Terms::of(&Service {
        key: ServiceKey::new("default", format!("service-{number}")),
        labels: Labels::new(),
        created: None,
        is_load_balancer: true,
        class: None,
        families: Families::default(),
        family_policy: FamilyPolicy::Single,
        ports: vec![port],
        traffic_policy: TrafficPolicy::Cluster,
        selector: Labels::new(),
        source_ranges: Vec::new(),
        bad_source_ranges: Vec::new(),
        requests: Requests::default(),
        ingress: Vec::new(),
        allocated_from: None,
        hints: Hints::default(),
    }))
}

fn pool(net: &str) -> Pool {
    let net: Result<ipnet::IpNet, _> = net.parse();
    Pool {
        name: "pool".to_owned(),
        labels: Labels::new(),
        ranges: net.map(AddressRange::from).into_iter().collect(),
        auto_assign: true,
        avoid_buggy_ips: false,
        allocation: None,
    }
}
