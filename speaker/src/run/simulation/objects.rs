//! The objects that every node of a segment knows.

use std::net::Ipv4Addr;

use ferrolb_crds::model::{
    AddressRange, Config, Family, FamilyPolicy, Hints, L2Advertisement, Pool, PoolChoice, Requests,
    Service, TrafficPolicy,
};

use super::*;

/// Nodes that hints name.
const HINTED: u32 = 211;

pub(in crate::run) fn address(n: u32) -> IpAddr {
    Ipv4Addr::from(0x0a00_0100 + n).into()
}

/// A world with the addresses in it, each that of a Service, and all of them announced by every node.
pub(in crate::run) fn world(node: &str) -> World {
    world_of(node, &services(ADDRESSES).collect::<Vec<_>>())
}

pub(super) fn world_of(node: &str, services: &[Change]) -> World {
    let mut world = World::new(Identity {
        node: node.to_owned(),
        ..Identity::default()
    });
    let mut config = Config::default();
    let pool = Pool {
        name: "pool".to_owned(),
        labels: BTreeMap::new(),
        ranges: vec![AddressRange::from(
            "10.0.0.0/8".parse::<ipnet::IpNet>().unwrap(),
        )],
        auto_assign: true,
        avoid_buggy_ips: false,
        allocation: None,
    };
    config.pools.insert("pool".to_owned(), pool);
    let advertisement = L2Advertisement {
        name: "all".to_owned(),
        pools: PoolChoice::default(),
        nodes: Vec::new(),
        services: Vec::new(),
        interfaces: BTreeSet::new(),
        preferences: Vec::new(),
    };
    let advertisements = &mut config.l2_advertisements;
    advertisements.insert("all".to_owned(), advertisement);
    let _ = world.apply(Change::Config(Arc::new(config)));
    for service in services {
        let _ = world.apply(service.clone());
    }
    world
}

/// A Service for each address.
pub(super) fn services(addresses: u32) -> impl Iterator<Item = Change> {
    (0..addresses).map(|n| {
        let key = ServiceKey::new("default", format!("web-{n}"));
        let service = Service {
            key: key.clone(),
            labels: BTreeMap::new(),
            created: None,
            is_load_balancer: true,
            class: None,
            families: Family::V4.into(),
            family_policy: FamilyPolicy::Single,
            ports: Vec::new(),
            traffic_policy: TrafficPolicy::Cluster,
            selector: BTreeMap::new(),
            source_ranges: Vec::new(),
            bad_source_ranges: Vec::new(),
            requests: Requests::default(),
            ingress: vec![address(n)],
            allocated_from: None,
            // At some nodes, also such as are not there or gone, and for some addresses at none.
            hints: match n % 4 {
                0 => Hints::default(),
                _ => Hints::parse(&format!(
                    "{}={}",
                    address(n),
                    name(usize::try_from(n % HINTED).unwrap())
                )),
            },
        };
        Change::Service(key, Some(Arc::new(service)))
    })
}
