//! Prints how long a million assignments take, and whether the millionth costs more than the
//! thousandth.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferrolb_controller::allocator::{Allocator, Holder, Resting, Terms};
use ferrolb_crds::model::{
    AddressRange, Family, FamilyPolicy, Labels, Pool, Port, Protocol, Requests, Service,
    ServiceKey, ServicePort, TrafficPolicy,
};

fn main() {
    for (name, net, family) in [
        ("/12", "10.0.0.0/12", Family::V4),
        ("/64", "fc00::/64", Family::V6),
    ] {
        let mut rounds = [(); ROUNDS].map(|()| assign(net, family, MANY));
        rounds.sort_unstable();
        let many = rounds[ROUNDS / 2];
        println!(
            "assignments out of a {name}: {MANY} in {:.3} s",
            many.as_secs_f64()
        );
        // As many altogether, so that whatever else the machine does weighs alike on both.
        let few: Duration = (0..MANY / FEW).map(|_| assign(net, family, FEW)).sum();
        println!(
            "cost per assignment out of a {name}: {} ns of {FEW}, {} ns of {MANY}: factor {:.2}",
            (few / MANY).as_nanos(),
            (many / MANY).as_nanos(),
            many.as_secs_f64() / few.as_secs_f64()
        );
    }
}

const FEW: u32 = 1_000;
const MANY: u32 = 1_000_000;
const ROUNDS: usize = 3;

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
        families: Vec::new(),
        family_policy: FamilyPolicy::Single,
        ports: vec![port],
        traffic_policy: TrafficPolicy::Cluster,
        selector: Labels::new(),
        source_ranges: Vec::new(),
        bad_source_ranges: Vec::new(),
        requests: Requests::default(),
        ingress: Vec::new(),
        allocated_from: None,
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
