//! Values for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use ferrolb_crds::model::{
    AddressRange, Config, Families, Family, FamilyPolicy, Hints, L2Advertisement, Labels, Node,
    Pool, PoolChoice, Port, Protocol, Requests, Service, ServiceAllocation, ServiceKey,
    ServicePort, Timestamp, TrafficPolicy,
};
use ferrolb_crds::source::Change;

pub(crate) use Family::{V4, V6};

#[expect(clippy::disallowed_methods, reason = "somewhere a test's time begins")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| ip(text)).collect()
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    let pairs = pairs.iter();
    pairs
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

/// A range is `first-last` or a prefix.
pub(crate) fn range(text: &str) -> AddressRange {
    match text.split_once('-') {
        Some((first, last)) => AddressRange::new(ip(first), ip(last)).unwrap(),
        None => AddressRange::from(text.parse::<ipnet::IpNet>().unwrap()),
    }
}

pub(crate) fn pool(name: &str, ranges: &[&str]) -> Pool {
    Pool {
        name: name.to_owned(),
        labels: Labels::new(),
        ranges: ranges.iter().map(|text| range(text)).collect(),
        auto_assign: true,
        avoid_buggy_ips: false,
        allocation: None,
    }
}

pub(crate) fn pinned(pool: Pool, priority: u32, namespaces: &[&str]) -> Pool {
    Pool {
        allocation: Some(ServiceAllocation {
            priority,
            namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
            ..ServiceAllocation::default()
        }),
        ..pool
    }
}

pub(crate) fn manual(pool: Pool) -> Pool {
    Pool {
        auto_assign: false,
        ..pool
    }
}

pub(crate) fn pools(pools: &[Pool]) -> BTreeMap<String, Pool> {
    let pools = pools.iter();
    pools
        .map(|pool| (pool.name.clone(), pool.clone()))
        .collect()
}

pub(crate) fn config(these: &[Pool]) -> Change {
    Change::Config(Arc::new(Config {
        pools: pools(these),
        ..Config::default()
    }))
}

/// The same pools, announced at layer 2 by any of three nodes.
pub(crate) fn announced(these: &[Pool]) -> Vec<Change> {
    let advertisement = L2Advertisement {
        name: "all".to_owned(),
        pools: PoolChoice::default(),
        nodes: Vec::new(),
        services: Vec::new(),
        interfaces: BTreeSet::new(),
        preferences: Vec::new(),
    };
    let config = Config {
        pools: pools(these),
        l2_advertisements: BTreeMap::from([("all".to_owned(), advertisement)]),
        ..Config::default()
    };
    let mut changes = ["n1", "n2", "n3"].map(node).to_vec();
    changes.push(Change::Config(Arc::new(config)));
    changes
}

pub(crate) fn node(name: &str) -> Change {
    let node = Node {
        name: name.to_owned(),
        ..Node::default()
    };
    Change::Node(name.to_owned(), Some(node))
}

pub(crate) fn incomplete(these: &[Pool]) -> Change {
    Change::Config(Arc::new(Config {
        pools: pools(these),
        pools_incomplete: true,
        ..Config::default()
    }))
}

/// An IPv4 Service in the namespace `default` with the port 80/TCP.
pub(crate) fn service(name: &str) -> Service {
    Service {
        key: key(name),
        labels: Labels::new(),
        created: None,
        is_load_balancer: true,
        class: None,
        families: V4.into(),
        family_policy: FamilyPolicy::Single,
        ports: vec![port(80)],
        traffic_policy: TrafficPolicy::Cluster,
        selector: labels(&[("app", name)]),
        source_ranges: Vec::new(),
        bad_source_ranges: Vec::new(),
        requests: Requests::default(),
        ingress: Vec::new(),
        allocated_from: None,
        hints: Hints::default(),
    }
}

pub(crate) fn port(number: u16) -> ServicePort {
    ServicePort {
        name: String::new(),
        protocol: Protocol::Tcp,
        port: Port::new(number).unwrap(),
        node_port: None,
    }
}

pub(crate) fn key(name: &str) -> ServiceKey {
    match name.split_once('/') {
        Some((namespace, name)) => ServiceKey::new(namespace, name),
        None => ServiceKey::new("default", name),
    }
}

/// Short ways to say what a Service is like.
pub(crate) trait With: Sized {
    fn holding(self, addresses: &[&str]) -> Self;
    fn created(self, seconds: i64) -> Self;
    fn dual(self, policy: FamilyPolicy) -> Self;
    fn v6(self) -> Self;
    fn wanting(self, addresses: &str) -> Self;
    #[expect(clippy::wrong_self_convention, reason = "it reads as a sentence")]
    fn from_pool(self, pool: &str) -> Self;
    fn sharing(self, key: &str) -> Self;
    fn port(self, number: u16) -> Self;
    fn local(self) -> Self;
    fn change(self) -> Change;
}

impl With for Service {
    fn holding(mut self, addresses: &[&str]) -> Self {
        self.ingress = ips(addresses);
        self
    }

    fn created(mut self, seconds: i64) -> Self {
        self.created = Some(Timestamp(seconds));
        self
    }

    fn dual(mut self, policy: FamilyPolicy) -> Self {
        self.families = Families::ALL;
        self.family_policy = policy;
        self
    }

    fn v6(mut self) -> Self {
        self.families = V6.into();
        self
    }

    fn wanting(mut self, addresses: &str) -> Self {
        self.requests.addresses = Some(addresses.to_owned());
        self
    }

    fn from_pool(mut self, pool: &str) -> Self {
        self.requests.pool = Some(pool.to_owned());
        self
    }

    fn sharing(mut self, key: &str) -> Self {
        self.requests.sharing_key = Some(key.to_owned());
        self
    }

    fn port(mut self, number: u16) -> Self {
        self.ports = vec![port(number)];
        self
    }

    fn local(mut self) -> Self {
        self.traffic_policy = TrafficPolicy::Local;
        self
    }

    fn change(self) -> Change {
        Change::Service(self.key.clone(), Some(Arc::new(self)))
    }
}
