//! What is advertised by BGP, to whom and with which attributes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ferrolb_crds::model::{
    AdvertisementOptions, Asn, Community, EndpointSlice, Family, HoldTime, Neighbor, Peer, PeerAsn,
    Port, RouterId, TrafficPolicy,
};
use ferrolb_crds::source::Change;
use ipnet::IpNet;
use proptest::prelude::*;

use super::fixture::*;
use super::reasons;
use crate::plan::{self, AddressPlan, Plan, Reason, Route, Session, peers, plan, plan_address};

fn all(plan: &Plan) -> impl Iterator<Item = &AddressPlan> {
    plan.each().map(|(_, plan)| plan)
}

/// What a peer should hold, to look prefixes up in.
fn routes<'a>(
    addresses: impl Iterator<Item = &'a AddressPlan>,
    peer: &str,
) -> BTreeMap<IpNet, Route> {
    let routes = plan::routes(addresses, peer);
    assert!(routes.is_sorted_by(|(one, _), (other, _)| one < other));
    routes.into_iter().collect()
}

fn session(edit: impl FnOnce(&mut Peer)) -> Session {
    let mut fixture = Fixture::new();
    edit(fixture.peer("tor"));
    peers(&fixture.world()).remove("tor").unwrap()
}

/// Each field by itself, and nothing else changes with it.
#[test]
fn f73_every_field_of_a_bgp_peer_is_in_its_session() {
    type Edit = fn(&mut Peer);
    type Expect = fn(&mut Session);
    let cases: [(&str, Edit, Expect); 15] = [
        ("none", |_| {}, |_| {}),
        (
            "myASN",
            |p| p.my_asn = Asn::new(4_200_000_000).unwrap(),
            |s| s.local_asn = Asn::new(4_200_000_000).unwrap(),
        ),
        (
            "localASN",
            |p| p.local_asn = Asn::new(64999),
            |s| s.local_asn = Asn::new(64999).unwrap(),
        ),
        (
            "peerASN",
            |p| p.peer_asn = PeerAsn::Exact(Asn::new(7).unwrap()),
            |s| s.peer_asn = PeerAsn::Exact(Asn::new(7).unwrap()),
        ),
        (
            "dynamicASN",
            |p| p.peer_asn = PeerAsn::External,
            |s| s.peer_asn = PeerAsn::External,
        ),
        (
            "interface",
            |p| p.neighbor = Neighbor::Interface("eth1".to_owned()),
            |s| {
                s.neighbor = Neighbor::Interface("eth1".to_owned());
                s.families = Family::ALL.into();
            },
        ),
        (
            "peerAddress",
            |p| p.neighbor = Neighbor::Address(ip("fc00::ffff")),
            |s| {
                s.neighbor = Neighbor::Address(ip("fc00::ffff"));
                s.families = BTreeSet::from([Family::V6]);
            },
        ),
        (
            "peerPort",
            |p| p.port = Port::new(1179).unwrap(),
            |s| s.port = Port::new(1179).unwrap(),
        ),
        (
            "sourceAddress",
            |p| p.source_address = Some(ip("10.255.0.2")),
            |s| s.source_address = Some(ip("10.255.0.2")),
        ),
        (
            "holdTime",
            |p| p.hold_time = HoldTime::new(9),
            |s| s.hold_time = HoldTime::new(9).unwrap(),
        ),
        (
            "keepaliveTime",
            |p| p.keepalive_time = Some(Duration::from_secs(2)),
            |s| s.keepalive_time = Some(Duration::from_secs(2)),
        ),
        (
            "connectTime",
            |p| p.connect_time = Some(Duration::from_secs(10)),
            |s| s.connect_retry_time = Some(Duration::from_secs(10)),
        ),
        (
            "routerID",
            |p| p.router_id = Some(RouterId([10, 9, 8, 7].into())),
            |s| s.router_id = Some(RouterId([10, 9, 8, 7].into())),
        ),
        (
            "ebgpMultiHop",
            |p| p.ebgp_multi_hop = true,
            |s| s.multi_hop = true,
        ),
        (
            "dualStackAddressFamily",
            |p| p.dual_stack = true,
            |s| s.families = BTreeSet::from(Family::ALL),
        ),
    ];
    for (field, edit, expect) in cases {
        let mut expected = session(|_| {});
        expect(&mut expected);
        assert_eq!(session(edit), expected, "{field}");
    }
}

/// Peers of one node may be different autonomous systems to the outside.
#[test]
fn i16_peers_may_differ_in_my_asn_and_router_id_also_on_one_node() {
    let mut fixture = Fixture::new();
    let spine = fixture.add_peer("spine");
    spine.my_asn = Asn::new(64998).unwrap();
    spine.router_id = Some(RouterId([10, 9, 8, 7].into()));
    spine.neighbor = Neighbor::Address(ip("10.255.0.2"));
    let asns: Vec<u32> = peers(&fixture.world())
        .into_values()
        .map(|session| session.local_asn.get())
        .collect();
    assert_eq!(asns, [64998, 64512]);
}

#[test]
fn local_preferences_conflict_only_where_two_advertisements_meet() {
    type Edit = fn(&mut Fixture);
    let conflict = Some(Reason::ConflictingAdvertisements);
    let cases: [(&str, Option<Reason>, Edit); 6] = [
        ("same prefix, same peers", conflict, |_| {}),
        ("other length in both families", None, |f| {
            f.add_bgp("second").aggregation_length_v4 = 24;
            f.add_bgp("second").aggregation_length_v6 = 120;
        }),
        ("other length in one family of the pool", conflict, |f| {
            f.add_bgp("second").aggregation_length_v4 = 24;
        }),
        ("other node", None, |f| {
            f.add_bgp("second").nodes = vec![selector("rack", "z")];
        }),
        ("one peer list only", conflict, |f| {
            f.add_bgp("second").peers = names(&["tor"]);
        }),
        ("disjoint peers", None, |f| {
            f.add_peer("spine");
            f.bgp().peers = names(&["tor"]);
            f.add_bgp("second").peers = names(&["spine"]);
        }),
    ];
    for (name, expected, edit) in cases {
        let mut fixture = Fixture::new();
        fixture.bgp().local_pref = Some(100);
        fixture.add_bgp("second").local_pref = Some(200);
        edit(&mut fixture);
        assert_eq!(reasons(&fixture.world()).1, expected, "{name}");
    }
}

#[test]
fn addresses_of_one_aggregate_share_a_route_with_all_communities() {
    let mut fixture = Fixture::new();
    fixture.bgp().aggregation_length_v4 = 24;
    fixture.bgp().services = vec![selector("app", "web")];
    fixture.bgp().communities = BTreeSet::from([Community::Standard(65000, 1)]);
    let second = fixture.add_bgp("second");
    second.aggregation_length_v4 = 24;
    second.local_pref = Some(200);
    second.services = vec![selector("app", "api")];
    second.communities = BTreeSet::from([Community::Large(65000, 1, 2)]);
    fixture.add_service("api", 8080).ingress = vec![ip("10.0.0.77")];
    let plan = plan(&fixture.world());
    let routes = routes(all(&plan), "tor");
    assert_eq!(routes.keys().collect::<Vec<_>>(), [&net("10.0.0.0/24")]);
    let route = &routes[&net("10.0.0.0/24")];
    assert_eq!(route.attributes.local_pref, Some(200));
    assert_eq!(route.attributes.communities.len(), 2);
}

#[test]
fn a_session_carries_its_own_family_and_the_other_only_when_dual_stack() {
    let mut fixture = Fixture::new();
    fixture.web.ingress = vec![ip("fc00::1")];
    let at_v6 = |fixture: &Fixture| {
        let plan = plan_address(&fixture.world(), ip("fc00::1")).unwrap();
        plan.service(&key("web")).unwrap().bgp
    };
    assert_eq!(at_v6(&fixture), Some(Reason::NoMatchingPeer));
    fixture.peer("tor").dual_stack = true;
    assert_eq!(at_v6(&fixture), None);
    fixture.peer("tor").dual_stack = false;
    fixture.peer("tor").neighbor = Neighbor::Address(ip("fc00::ffff"));
    assert_eq!(at_v6(&fixture), None);
    let session = peers(&fixture.world()).remove("tor").unwrap();
    assert_eq!(session.families, BTreeSet::from([Family::V6]));
}

#[test]
fn an_advertisement_goes_to_the_peers_it_names_and_peers_of_other_nodes_have_no_session() {
    let mut fixture = Fixture::new();
    fixture.add_peer("spine");
    fixture.add_peer("far").nodes = vec![selector("rack", "z")];
    fixture.bgp().peers = names(&["spine", "far", "nowhere"]);
    let plan = plan(&fixture.world());
    assert_eq!(plan.peers.keys().collect::<Vec<_>>(), ["spine", "tor"]);
    assert!(routes(all(&plan), "tor").is_empty());
    assert_eq!(routes(all(&plan), "spine").len(), 1);
    fixture.bgp().peers = names(&["far"]);
    assert_eq!(reasons(&fixture.world()).1, Some(Reason::NoMatchingPeer));
}

#[test]
fn peers_are_alike_that_hear_the_same() {
    let mut fixture = Fixture::new();
    fixture.add_peer("spine");
    fixture.add_peer("third");
    fixture.add_bgp("more").peers = names(&["spine"]);
    fixture.bgp().peers = names(&["tor", "third"]);
    let plan = plan(&fixture.world());
    let alike = plan::alike(all(&plan), plan.peers.keys());
    assert_eq!(alike, [vec!["third", "tor"], vec!["spine"]]);
    let nobody = plan::alike([].into_iter(), plan.peers.keys());
    assert_eq!(nobody, [vec!["spine", "third", "tor"]]);
}

/// What the advertisements `bgp` and `second` make of one prefix together.
fn united(one: AdvertisementOptions, two: AdvertisementOptions) -> Route {
    let mut fixture = Fixture::new();
    fixture.bgp().options = one;
    fixture.add_bgp("second").options = two;
    let plan = plan(&fixture.world());
    routes(all(&plan), "tor")
        .remove(&net("10.0.0.1/32"))
        .unwrap()
}

fn options(prepend: Option<u8>, med: Option<u32>, bandwidth: Option<u64>) -> AdvertisementOptions {
    AdvertisementOptions {
        as_path_prepend: prepend,
        link_bandwidth: bandwidth,
        med,
    }
}

#[test]
fn of_several_annotations_the_least_is_taken_and_none_says_nothing() {
    let none = options(None, None, None);
    let set = options(Some(3), Some(100), Some(1000));
    let lower = options(Some(1), Some(0), Some(10));
    for (one, two, prepend, med, bandwidth) in [
        (none, none, None, None, None),
        (none, set, Some(3), Some(100), Some(1000)),
        (set, none, Some(3), Some(100), Some(1000)),
        (set, lower, Some(1), Some(0), Some(10)),
        (lower, set, Some(1), Some(0), Some(10)),
    ] {
        let route = united(one, two);
        assert_eq!(route.attributes.as_path_prepend, prepend);
        assert_eq!(route.attributes.med, med);
        assert_eq!(route.link_bandwidth, bandwidth);
    }
}

/// What a peer is to weigh this node by, for the prefix of so many bits.
fn bandwidth(fixture: &Fixture, prefix: &str) -> Option<u64> {
    let plan = plan(&fixture.world());
    let routes = routes(all(&plan), "tor");
    routes[&net(prefix)].link_bandwidth
}

#[test]
fn with_policy_local_the_endpoints_of_this_node_count_and_with_cluster_every_node_the_same() {
    let mut fixture = Fixture::new();
    fixture.bgp().options.link_bandwidth = Some(1000);
    let mut serving = endpoint("n1");
    (serving.ready, serving.serving) = (Some(false), Some(true));
    let mut gone = endpoint("n1");
    gone.ready = Some(false);
    fixture.endpoints(&[
        endpoint("n1"),
        serving,
        gone,
        endpoint("n2"),
        endpoint("n1"),
    ]);
    assert_eq!(bandwidth(&fixture, "10.0.0.1/32"), Some(1000));
    fixture.web.traffic_policy = TrafficPolicy::Local;
    assert_eq!(bandwidth(&fixture, "10.0.0.1/32"), Some(3000));
    fixture.slice = None;
    assert_eq!(
        bandwidth(&fixture, "10.0.0.1/32"),
        Some(1000),
        "nobody knows"
    );
}

#[test]
fn the_pods_of_a_dual_stack_service_count_once_in_each_family() {
    let mut fixture = Fixture::new();
    fixture.bgp().options.link_bandwidth = Some(1000);
    fixture.peer("tor").dual_stack = true;
    fixture.web.traffic_policy = TrafficPolicy::Local;
    fixture.web.ingress.push(ip("fc00::1"));
    fixture.endpoints(&[endpoint("n1"), endpoint("n1")]);
    let mut world = fixture.world();
    for (name, family, count) in [("web-1", Family::V4, 2), ("web-2", Family::V6, 3)] {
        let slice = EndpointSlice {
            key: key(name),
            service: "web".to_owned(),
            family: Some(family),
            endpoints: vec![endpoint("n1"); count],
        };
        let _ = world.apply(Change::EndpointSlice(key(name), Some(Arc::new(slice))));
    }
    let plan = plan(&world);
    let routes = routes(all(&plan), "tor");
    assert_eq!(routes[&net("10.0.0.1/32")].link_bandwidth, Some(2000));
    assert_eq!(routes[&net("fc00::1/128")].link_bandwidth, Some(3000));
}

#[test]
fn an_aggregate_has_the_bandwidth_of_all_services_in_it_each_once() {
    let mut fixture = Fixture::new();
    fixture.bgp().aggregation_length_v4 = 24;
    fixture.bgp().options.link_bandwidth = Some(1000);
    fixture.web.traffic_policy = TrafficPolicy::Local;
    fixture.endpoints(&[endpoint("n1"), endpoint("n1")]);
    fixture.web.ingress.push(ip("10.0.0.2"));
    assert_eq!(
        bandwidth(&fixture, "10.0.0.0/24"),
        Some(2000),
        "two addresses"
    );
    fixture.add_service("api", 8080).ingress = vec![ip("10.0.0.77")];
    fixture.add_service("dns", 53).ingress = vec![ip(VIP)];
    assert_eq!(bandwidth(&fixture, "10.0.0.0/24"), Some(4000));
}

/// I11: an endpoint more is one other route.
#[test]
fn i11_an_endpoint_more_touches_the_addresses_of_its_service_and_one_route() {
    let mut fixture = Fixture::new();
    fixture.bgp().options.link_bandwidth = Some(1000);
    fixture.web.traffic_policy = TrafficPolicy::Local;
    fixture.add_service("api", 8080).ingress = vec![ip("10.0.0.77")];
    fixture.endpoints(&[endpoint("n1")]);
    let mut world = fixture.world();
    let before = routes(all(&plan(&world)), "tor");
    fixture.endpoints(&[endpoint("n1"), endpoint("n1")]);
    let slice = fixture.slice.clone().map(Arc::new);
    let touched = world.apply(Change::EndpointSlice(key("web-1"), slice));
    assert_eq!(touched, BTreeSet::from([ip(VIP)]));
    let after = routes(all(&plan(&world)), "tor");
    let differing = after
        .iter()
        .filter(|(prefix, route)| before[*prefix] != **route);
    let differing: Vec<&IpNet> = differing.map(|(prefix, _)| prefix).collect();
    assert_eq!(differing, [&net("10.0.0.1/32")]);
}

/// What counts the references to each prefix, as MetalLB does: the naive model.
#[derive(Debug, Default)]
struct Counted {
    references: BTreeMap<IpNet, usize>,
    held: BTreeMap<u8, IpAddr>,
}

impl Counted {
    const LENGTHS: [u8; 2] = [28, 32];

    fn hold(&mut self, service: u8, address: Option<IpAddr>) {
        if let Some(address) = self.held.remove(&service) {
            for prefix in Self::prefixes(address) {
                let count = self.references.get_mut(&prefix).unwrap();
                *count -= 1;
                if *count == 0 {
                    self.references.remove(&prefix);
                }
            }
        }
        if let Some(address) = address {
            self.held.insert(service, address);
            for prefix in Self::prefixes(address) {
                *self.references.entry(prefix).or_default() += 1;
            }
        }
    }

    fn prefixes(address: IpAddr) -> [IpNet; 2] {
        Self::LENGTHS.map(|length| IpNet::new(address, length).unwrap().trunc())
    }
}

proptest! {
    /// A prefix stays until the last address in it goes, whoever goes first.
    #[test]
    fn a_prefix_lives_as_long_as_an_address_in_it(
        ops in prop::collection::vec((0..4_u8, prop::option::of(0..40_u8)), 1..40)
    ) {
        let mut fixture = Fixture::new();
        fixture.bgp().aggregation_length_v4 = 28;
        fixture.add_bgp("hosts");
        fixture.web.ingress.clear();
        fixture.identity.is_in_cluster = false;
        let mut world = fixture.world();
        let mut addresses = BTreeMap::new();
        let mut counted = Counted::default();
        for (which, octet) in ops {
            let address = octet.map(|octet| ip(&format!("10.0.0.{octet}")));
            counted.hold(which, address);
            let mut value = service(&format!("s{which}"), 80 + u16::from(which));
            value.ingress = address.into_iter().collect();
            let change = Change::Service(value.key.clone(), Some(Arc::new(value)));
            for touched in world.apply(change) {
                match plan_address(&world, touched) {
                    Some(plan) => drop(addresses.insert(touched, plan)),
                    None => drop(addresses.remove(&touched)),
                }
            }
            let routes = routes(addresses.values(), "tor");
            prop_assert!(routes.keys().eq(counted.references.keys()), "{:?} {:?}", routes, counted);
        }
    }
}
