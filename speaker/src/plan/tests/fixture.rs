//! One node `n1` with one Service `web`, announced both ways, to be bent by each test.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ferrolb_crds::model::*;
use ferrolb_crds::source::Change;
use ipnet::IpNet;

use crate::world::{Claim, Heard, Identity, LinkState, Segment, Standing, World};

pub(super) const VIP: &str = "10.0.0.1";

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

pub(super) fn range(text: &str) -> AddressRange {
    AddressRange::from(net(text))
}

pub(super) fn key(name: &str) -> ServiceKey {
    ServiceKey::new("default", name)
}

/// What another node says of an address, from its eth0.
pub(super) fn claim(node: &str, standing: Standing) -> Claim {
    Claim {
        node: node.into(),
        interface: "eth0".into(),
        standing,
    }
}

/// Interfaces on which a node is heard that has the same names for its own.
pub(super) fn same_names(on: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let ways = on.iter().map(|name| ((*name).to_owned(), names(&[name])));
    ways.collect()
}

pub(super) fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

pub(super) fn selector(key: &str, value: &str) -> Selector {
    Selector {
        match_labels: Labels::from([(key.to_owned(), value.to_owned())]),
        requirements: BTreeSet::new(),
    }
}

pub(super) fn label(node: &mut Node, key: &str, value: &str) {
    node.labels.insert(key.to_owned(), value.to_owned());
}

pub(super) fn links(list: &[(&str, bool)]) -> BTreeMap<String, LinkState> {
    let state = |is_up| match is_up {
        true => LinkState::Up,
        false => LinkState::Down,
    };
    let all = list.iter();
    all.map(|(name, is_up)| ((*name).to_owned(), state(*is_up)))
        .collect()
}

pub(super) fn endpoint(node: &str) -> Endpoint {
    Endpoint {
        node: Some(node.to_owned()),
        has_address: true,
        ready: Some(true),
        serving: None,
    }
}

pub(super) fn port(protocol: Protocol, port: u16, node_port: Option<u16>) -> ServicePort {
    ServicePort {
        name: String::new(),
        protocol,
        port: Port::new(port).unwrap(),
        node_port: node_port.and_then(Port::new),
    }
}

pub(super) fn service(name: &str, number: u16) -> Service {
    Service {
        key: key(name),
        labels: Labels::from([("app".to_owned(), name.to_owned())]),
        created: None,
        is_load_balancer: true,
        class: None,
        families: Family::V4.into(),
        family_policy: FamilyPolicy::Single,
        ports: vec![port(Protocol::Tcp, number, Some(30000 + number))],
        traffic_policy: TrafficPolicy::Cluster,
        selector: Labels::new(),
        source_ranges: Vec::new(),
        bad_source_ranges: Vec::new(),
        requests: Requests::default(),
        ingress: vec![ip(VIP)],
        allocated_from: None,
        hints: Hints::default(),
    }
}

pub(super) fn l2_advertisement(name: &str) -> L2Advertisement {
    L2Advertisement {
        name: name.to_owned(),
        pools: PoolChoice::default(),
        nodes: Vec::new(),
        services: Vec::new(),
        interfaces: BTreeSet::new(),
        preferences: Vec::new(),
    }
}

pub(super) fn bgp_advertisement(name: &str) -> BgpAdvertisement {
    BgpAdvertisement {
        name: name.to_owned(),
        pools: PoolChoice::default(),
        nodes: Vec::new(),
        services: Vec::new(),
        peers: BTreeSet::new(),
        aggregation_length_v4: 32,
        aggregation_length_v6: 128,
        local_pref: None,
        communities: BTreeSet::new(),
    }
}

pub(super) fn peer(name: &str) -> Peer {
    Peer {
        name: name.to_owned(),
        my_asn: Asn::new(64512).unwrap(),
        local_asn: None,
        peer_asn: PeerAsn::Exact(Asn::new(64513).unwrap()),
        neighbor: Neighbor::Address(ip("10.255.0.1")),
        port: Port::BGP,
        source_address: None,
        hold_time: None,
        keepalive_time: None,
        connect_time: None,
        router_id: None,
        nodes: Vec::new(),
        password: None,
        password_secret: None,
        bfd_profile: None,
        graceful_restart: None,
        passive: false,
        ebgp_multi_hop: false,
        vrf: None,
        dual_stack: false,
    }
}

pub(super) struct Fixture {
    pub(super) identity: Identity,
    pub(super) config: Config,
    pub(super) web: Service,
    pub(super) others: BTreeMap<String, Service>,
    pub(super) slice: Option<EndpointSlice>,
    pub(super) nodes: BTreeMap<String, Node>,
    pub(super) segment: Segment,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let mut fixture = Self {
            identity: Identity {
                node: "n1".to_owned(),
                ..Identity::default()
            },
            config: Config::default(),
            web: service("web", 80),
            others: BTreeMap::new(),
            slice: None,
            nodes: BTreeMap::new(),
            segment: Segment::Off(String::new()),
        };
        fixture.config.pools.insert("pool".to_owned(), pool());
        fixture.add_l2("l2");
        fixture.add_bgp("bgp");
        fixture.add_peer("tor");
        fixture.add_node("n1");
        fixture.endpoints(&[endpoint("n1")]);
        fixture.hear(&[("eth0", true)], &[]);
        fixture
    }

    pub(super) fn pool(&mut self) -> &mut Pool {
        self.config.pools.get_mut("pool").unwrap()
    }

    pub(super) fn l2(&mut self) -> &mut L2Advertisement {
        self.config.l2_advertisements.get_mut("l2").unwrap()
    }

    pub(super) fn bgp(&mut self) -> &mut BgpAdvertisement {
        self.config.bgp_advertisements.get_mut("bgp").unwrap()
    }

    pub(super) fn peer(&mut self, name: &str) -> &mut Peer {
        self.config.peers.get_mut(name).unwrap()
    }

    pub(super) fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.get_mut(name).unwrap()
    }

    pub(super) fn add_l2(&mut self, name: &str) -> &mut L2Advertisement {
        let all = &mut self.config.l2_advertisements;
        all.entry(name.to_owned())
            .or_insert_with(|| l2_advertisement(name))
    }

    pub(super) fn add_bgp(&mut self, name: &str) -> &mut BgpAdvertisement {
        let all = &mut self.config.bgp_advertisements;
        all.entry(name.to_owned())
            .or_insert_with(|| bgp_advertisement(name))
    }

    pub(super) fn add_peer(&mut self, name: &str) -> &mut Peer {
        let all = &mut self.config.peers;
        all.entry(name.to_owned()).or_insert_with(|| peer(name))
    }

    pub(super) fn add_node(&mut self, name: &str) {
        self.nodes.entry(name.to_owned()).or_insert_with(|| Node {
            name: name.to_owned(),
            ..Node::default()
        });
    }

    pub(super) fn add_service(&mut self, name: &str, number: u16) -> &mut Service {
        let all = &mut self.others;
        all.entry(name.to_owned())
            .or_insert_with(|| service(name, number))
    }

    pub(super) fn endpoints(&mut self, endpoints: &[Endpoint]) {
        self.slice = Some(EndpointSlice {
            key: key("web-1"),
            service: "web".to_owned(),
            endpoints: endpoints.to_vec(),
        });
    }

    pub(super) fn hear(&mut self, on: &[(&str, bool)], heard: &[(&str, &[&str])]) {
        self.hear_on(links(on), heard);
    }

    pub(super) fn hear_on(
        &mut self,
        links: impl Into<BTreeMap<String, LinkState>>,
        heard: &[(&str, &[&str])],
    ) {
        let heard = heard.iter();
        self.segment = Segment::Known {
            links: links.into(),
            heard: heard
                .map(|(node, on)| ((*node).to_owned(), same_names(on)))
                .collect(),
            waiting: Heard::new(),
            unknown: BTreeSet::new(),
        };
    }

    /// Another node is heard on one interface, which it calls otherwise.
    pub(super) fn hear_from(&mut self, node: &str, on: &str, from: &str) {
        let way = BTreeMap::from([(on.to_owned(), names(&[from]))]);
        self.segment = Segment::Known {
            links: links(&[(on, true)]),
            heard: BTreeMap::from([(node.to_owned(), way)]),
            waiting: Heard::new(),
            unknown: BTreeSet::new(),
        };
    }

    pub(super) fn prefer(&mut self, node: &str) {
        label(self.node(node), "preferred", "yes");
        self.l2().preferences = vec![Preference {
            weight: 100,
            nodes: selector("preferred", "yes"),
        }];
    }

    pub(super) fn world(&self) -> World {
        let mut world = World::new(self.identity.clone());
        for change in self.changes() {
            let _ = world.apply(change);
        }
        let _ = world.hear(self.segment.clone());
        world
    }

    fn changes(&self) -> Vec<Change> {
        let services = std::iter::once(&self.web).chain(self.others.values());
        let services = services.map(|service| {
            let value = Some(Arc::new(service.clone()));
            Change::Service(service.key.clone(), value)
        });
        let nodes = self.nodes.values();
        let nodes = nodes.map(|node| Change::Node(node.name.clone(), Some(node.clone())));
        let slice = self.slice.clone().map(Arc::new);
        let slice = Change::EndpointSlice(key("web-1"), slice);
        let config = Change::Config(Arc::new(self.config.clone()));
        services.chain(nodes).chain([slice, config]).collect()
    }
}

fn pool() -> Pool {
    Pool {
        name: "pool".to_owned(),
        labels: Labels::new(),
        ranges: vec![range("10.0.0.0/24"), range("fc00::/120")],
        auto_assign: true,
        avoid_buggy_ips: false,
        allocation: None,
    }
}
