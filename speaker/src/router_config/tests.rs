use std::net::IpAddr;

use ferrolb_crds::model::{
    AddressRange, AdvertisementOptions, BgpAdvertisement, Labels, PeerOptions, Pool, PoolChoice,
    Port, Secret, Selector,
};
use ipnet::IpNet;
use proptest::prelude::*;

use super::filter::{Accepted, Filter};
use super::names::Names;
use super::*;

fn peer(name: &str, address: &str) -> Peer {
    Peer {
        name: name.to_owned(),
        my_asn: Asn::new(64500).unwrap(),
        local_asn: None,
        peer_asn: PeerAsn::Exact(Asn::new(64501).unwrap()),
        neighbor: Neighbor::Address(address.parse().unwrap()),
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
        graceful_restart: false,
        ebgp_multi_hop: false,
        vrf: None,
        dual_stack: false,
        options: PeerOptions::default(),
    }
}

fn node(name: &str, addresses: &[&str]) -> Node {
    Node {
        name: name.to_owned(),
        labels: Labels::from([("name".to_owned(), name.to_owned())]),
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        ..Node::default()
    }
}

fn pool(name: &str, ranges: Vec<AddressRange>) -> Pool {
    Pool {
        name: name.to_owned(),
        labels: Labels::new(),
        ranges,
        auto_assign: true,
        avoid_buggy_ips: false,
        allocation: None,
    }
}

fn advertisement(name: &str, length: u8) -> BgpAdvertisement {
    BgpAdvertisement {
        name: name.to_owned(),
        pools: PoolChoice::default(),
        nodes: Vec::new(),
        services: Vec::new(),
        peers: BTreeSet::new(),
        aggregation_length_v4: length,
        aggregation_length_v6: 128,
        local_pref: None,
        communities: BTreeSet::new(),
        options: AdvertisementOptions::default(),
    }
}

fn known(peers: Vec<Peer>, nodes: Vec<Node>) -> Known {
    let range = AddressRange::from("198.51.100.0/24".parse::<IpNet>().unwrap());
    let config = Config {
        peers: peers.into_iter().map(|p| (p.name.clone(), p)).collect(),
        pools: [("pool".to_owned(), pool("pool", vec![range]))].into(),
        bgp_advertisements: [("ad".to_owned(), advertisement("ad", 32))].into(),
        ..Config::default()
    };
    Known {
        config: Arc::new(config),
        nodes: nodes.into_iter().map(|n| (n.name.clone(), n)).collect(),
    }
}

fn printed(known: &Known, selection: &Selection) -> [Printed; 2] {
    [Dialect::Bird, Dialect::Frr].map(|dialect| print(known, selection, dialect))
}

#[test]
fn without_a_peer_or_a_node_there_is_nothing_and_it_is_said_why() {
    let cases = [
        (
            known(vec![], vec![node("n1", &["10.0.0.11"])]),
            "there is no BGPPeer",
        ),
        (
            known(vec![peer("tor", "10.0.0.1")], vec![]),
            "BGPPeer/tor: no Node is known",
        ),
        (
            known(
                vec![peer("tor", "fd00::1")],
                vec![node("n1", &["10.0.0.11"])],
            ),
            "BGPPeer/tor: no Node that it selects (n1) has an InternalIP of IPv6",
        ),
    ];
    for (known, why) in cases {
        for printed in printed(&known, &Selection::default()) {
            assert_eq!(printed.text, "");
            assert_eq!(printed.problems.len(), 1);
            assert!(printed.problems[0].starts_with(why), "{printed:?}");
        }
    }
}

#[test]
fn what_is_selected_is_printed_and_nobody_else() {
    let nodes = || vec![node("n1", &["10.0.0.11"]), node("n2", &["10.0.0.12"])];
    let mut far = peer("far", "10.0.0.2");
    far.nodes = vec![Selector {
        match_labels: Labels::from([("name".to_owned(), "n2".to_owned())]),
        requirements: BTreeSet::new(),
    }];
    let known = known(vec![peer("tor", "10.0.0.1"), far], nodes());
    let far = Selection {
        peers: ["far".to_owned()].into(),
        ..Selection::default()
    };
    for printed in printed(&known, &far) {
        assert!(!printed.text.contains("10.0.0.11"), "{}", printed.text);
        assert!(printed.text.contains("10.0.0.12") && printed.problems.is_empty());
    }
    let only_n1 = Selection {
        node: Some("n1".to_owned()),
        ..far
    };
    for printed in printed(&known, &only_n1) {
        assert_eq!(printed.problems, ["BGPPeer/far: it selects no Node"]);
    }
    let strangers = Selection {
        peers: ["tor", "nobody"].map(str::to_owned).into(),
        node: Some("n9".to_owned()),
        shows_passwords: false,
    };
    for printed in printed(&known, &strangers) {
        assert_eq!(printed.problems.len(), 3, "{printed:?}");
        assert!(printed.problems[0].starts_with("BGPPeer/nobody: "));
        assert!(printed.problems[1].starts_with("Node/n9: "));
    }
}

#[test]
fn whose_addresses_in_a_vrf_are_not_known_is_said() {
    let with = |source: Option<&str>| {
        let mut tor = peer("tor", "10.0.0.1");
        tor.vrf = Some("red".to_owned());
        tor.source_address = source.map(|address| address.parse().unwrap());
        known(vec![tor], vec![node("n1", &["10.0.0.11"])])
    };
    for (source, is_said) in [(None, true), (Some("10.9.0.11"), false)] {
        for printed in printed(&with(source), &Selection::default()) {
            assert_eq!(printed.text.contains("by vrf red"), is_said);
            assert_eq!(printed.problems, [""; 0]);
        }
    }
}

#[test]
fn i10_a_password_is_printed_only_when_that_is_asked_for() {
    let with = |password: &str| {
        let mut tor = peer("tor", "10.0.0.1");
        tor.password = Some(Secret::new(password.to_owned()));
        known(vec![tor], vec![node("n1", &["10.0.0.11"])])
    };
    for printed in printed(&with("hunter2"), &Selection::default()) {
        assert!(!printed.text.contains("hunter2") && printed.text.contains(HIDDEN));
        assert_eq!(printed.problems, [""; 0]);
    }
    let shown = Selection {
        shows_passwords: true,
        ..Selection::default()
    };
    for printed in printed(&with("hunter2"), &shown) {
        assert!(printed.text.contains("hunter2") && !printed.text.contains(HIDDEN));
    }
    // What cannot be written is said, and not shown there either.
    for (password, [bird, frr]) in [("a\"b", [1, 0]), ("x y", [0, 1])] {
        let printed = printed(&with(password), &shown);
        assert_eq!(
            printed.each_ref().map(|one| one.problems.len()),
            [bird, frr]
        );
        for problem in printed.iter().flat_map(|one| &one.problems) {
            assert!(!problem.contains(password));
        }
    }
}

#[test]
fn the_routers_own_as_follows_from_the_peer() {
    let asn = |edit: fn(&mut Peer)| {
        let mut tor = peer("tor", "10.0.0.1");
        edit(&mut tor);
        let known = known(vec![tor], vec![node("n1", &["10.0.0.11"])]);
        let tor = &known.config.peers["tor"];
        let session = Session::of(&known, &Selection::default(), tor).unwrap();
        (
            session.router_asn().get().get(),
            session.node_asn().get(),
            session.is_internal(),
        )
    };
    assert_eq!(asn(|_| {}), (64501, 64500, false));
    assert_eq!(
        asn(|p| p.local_asn = Asn::new(64999)),
        (64501, 64999, false)
    );
    assert_eq!(
        asn(|p| p.peer_asn = PeerAsn::Internal),
        (64500, 64500, true)
    );
    assert_eq!(
        asn(|p| p.peer_asn = PeerAsn::External),
        (64496, 64500, false)
    );
    let own_example = |p: &mut Peer| {
        p.peer_asn = PeerAsn::External;
        p.my_asn = Asn::new(64496).unwrap();
    };
    assert_eq!(asn(own_example), (64497, 64496, false));
}

#[test]
fn what_has_no_place_in_frr_is_left_out_and_said() {
    let mut other = peer("other", "10.0.0.2");
    other.peer_asn = PeerAsn::Exact(Asn::new(64777).unwrap());
    let again = peer("zz", "10.0.0.3");
    let nodes = vec![node("n1", &["10.0.0.11"])];
    let known = known(vec![peer("a", "10.0.0.1"), other, again], nodes);
    let [bird, frr] = printed(&known, &Selection::default());
    assert_eq!(bird.problems, [""; 0]);
    assert_eq!(bird.text.matches("neighbor 10.0.0.11 as").count(), 3);
    assert_eq!(frr.problems.len(), 2, "{:?}", frr.problems);
    assert!(frr.problems[0].starts_with("BGPPeer/other: it leads to a router of another AS"));
    assert!(frr.problems[1].starts_with("BGPPeer/zz: 10.0.0.11 is a neighbour by BGPPeer/a"));
    assert_eq!(frr.text.matches("neighbor 10.0.0.11 peer-group").count(), 1);
}

#[test]
fn names_are_short_and_each_is_used_once() {
    let mut names = Names::default();
    let long = "x".repeat(300);
    let taken = [
        names.take(&["tor-a", "n.1"]),
        names.take(&["tor_a", "n-1"]),
        names.take(&[&long, "ipv4"]),
        names.take(&[&long, "ipv6"]),
    ];
    assert_eq!(taken[0], "ferrolb_tor_a_n_1");
    assert_eq!(taken[1], "ferrolb_tor_a_n_1_2");
    assert!(taken.iter().all(|name| name.len() < 60), "{taken:?}");
    assert_eq!(taken.iter().collect::<BTreeSet<_>>().len(), 4);
}

/// Whether a prefix gets past a filter, as a router would decide.
fn accepts(filter: &Filter, prefix: IpNet) -> bool {
    let matches = |accepted: &Accepted| {
        accepted.within.contains(&prefix) && accepted.length == prefix.prefix_len()
    };
    filter.accepted.iter().any(matches)
}

#[test]
fn an_advertisement_for_others_opens_nothing() {
    let filter = |edit: fn(&mut BgpAdvertisement)| {
        let mut known = known(vec![], vec![]);
        let mut config = Config::clone(&known.config);
        edit(config.bgp_advertisements.get_mut("ad").unwrap());
        known.config = Arc::new(config);
        let (tor, n1) = (peer("tor", "10.0.0.1"), node("n1", &[]));
        Filter::of(&known.config, &tor, &[&n1], Family::V4)
    };
    assert_eq!(filter(|_| {}).accepted.len(), 1);
    assert_eq!(filter(|_| {}).limit(), 256);
    assert_eq!(filter(|ad| ad.aggregation_length_v4 = 24).limit(), 1);
    let to_others = |ad: &mut BgpAdvertisement| ad.peers = ["spine".to_owned()].into();
    assert_eq!(filter(to_others).limit(), 0);
    let of_others = |ad: &mut BgpAdvertisement| ad.pools.names = ["b".to_owned()].into();
    assert_eq!(filter(of_others).limit(), 0);
    let elsewhere = |ad: &mut BgpAdvertisement| {
        ad.nodes = vec![Selector {
            match_labels: Labels::from([("name".to_owned(), "n2".to_owned())]),
            requirements: BTreeSet::new(),
        }];
    };
    assert_eq!(filter(elsewhere).limit(), 0);
}

proptest! {
    /// Every prefix that an address of the pool can be in gets in, and of the same length no other.
    #[test]
    fn a_filter_accepts_exactly_what_the_pools_can_make(
        first in 0..400_u32, count in 0..80_u32, shorter in 0..4_u8, probe in 0..600_u32,
    ) {
        let at = |n: u32| -> IpAddr { Ipv4Addr::from_bits(0x0a00_0000 + n).into() };
        let range = AddressRange::new(at(first), at(first + count)).unwrap();
        // No shorter than the widest part of a range, or it would not be in force.
        let length = range.widest_prefix_len().max(32 - shorter);
        let config = Config {
            pools: [("pool".to_owned(), pool("pool", vec![range]))].into(),
            bgp_advertisements: [("ad".to_owned(), advertisement("ad", length))].into(),
            ..Config::default()
        };
        let (tor, n1) = (peer("tor", "10.0.0.1"), node("n1", &[]));
        let filter = Filter::of(&config, &tor, &[&n1], Family::V4);
        let aggregate = |address| IpNet::new(address, length).unwrap().trunc();
        let made: BTreeSet<IpNet> = (first..=first + count).map(|n| aggregate(at(n))).collect();
        for prefix in &made {
            prop_assert!(accepts(&filter, *prefix), "{} {:?}", prefix, filter);
        }
        prop_assert_eq!(made.contains(&aggregate(at(probe))), accepts(&filter, aggregate(at(probe))));
        let longer = IpNet::new(at(first), 32).unwrap();
        prop_assert!(length == 32 || !accepts(&filter, longer));
        prop_assert!(filter.limit() as usize >= made.len());
    }
}
