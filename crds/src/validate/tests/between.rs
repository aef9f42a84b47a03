//! What objects may not say together, and who of them is in the wrong.

use serde_json::json;

use super::*;
use crate::model::Community;

#[test]
fn pools_may_not_overlap() {
    let verdict = judge(&[
        pool("a", &["192.0.2.0/25"]),
        pool("b", &["198.51.100.0/24", "192.0.2.127-192.0.2.130"]),
        pool("c", &["192.0.2.128/25"]),
        pool("d", &["0.0.0.0/0"]),
        pool("e", &["::/0"]),
    ]);
    assert_eq!(
        places(&verdict),
        [
            "IPAddressPool/b: spec.addresses[1]",
            "IPAddressPool/b: spec.addresses[1]",
            "IPAddressPool/d: spec.addresses[0]",
            "IPAddressPool/d: spec.addresses[0]",
        ]
    );
    assert!(verdict.problems[0].message.contains(
        "CIDR \"192.0.2.127-192.0.2.130\" in pool \"b\" overlaps with already defined CIDR \"192.0.2.0/25\""
    ));
    assert!(verdict.config.pools.keys().eq(["a", "c", "e"]));
    assert!(verdict.config.pools_incomplete);
}

#[test]
fn a_bad_pool_that_also_overlaps_hears_of_both() {
    let verdict = judge(&[
        pool("a", &["192.0.2.0/24"]),
        pool("b", &["nonsense", "192.0.2.5/32"]),
    ]);
    assert_eq!(
        places(&verdict),
        [
            "IPAddressPool/b: spec.addresses[0]",
            "IPAddressPool/b: spec.addresses[1]"
        ]
    );
}

#[test]
fn what_is_wrong_with_a_peer_concerns_the_nodes_that_it_selects() {
    let facts = nodes(&[("n1", "rack", "a"), ("n2", "rack", "b")]);
    let selecting = |selectors: Value| {
        let more = json!({"bfdProfile": "none", "nodeSelectors": selectors});
        peer_with("tor", more)
    };
    let concerned = |object: Object, facts: &Facts| {
        let problems = judge_with(&[object], facts).problems;
        assert!(!problems.is_empty());
        let all = |node: &&&str| problems.iter().all(|problem| problem.concerns(node));
        ["n1", "n2"].iter().filter(all).copied().collect::<Vec<_>>()
    };
    let rack = |rack: &str| json!([{"matchLabels": {"rack": rack}}]);
    assert_eq!(concerned(selecting(rack("a")), &facts), ["n1"]);
    assert_eq!(concerned(selecting(rack("c")), &facts), [""; 0]);
    assert_eq!(concerned(selecting(json!([])), &facts), ["n1", "n2"]);
    // Where a node may be any, and where it is not known which are meant, it is everybody's.
    assert_eq!(
        concerned(selecting(rack("a")), &Facts::default()),
        ["n1", "n2"]
    );
    for unclear in [
        json!("rack"),
        json!([{"matchLabels": {"rack": 1}}]),
        json!([{"matchExpressions": [{"key": "rack", "operator": "Near", "values": ["a"]}]}]),
    ] {
        assert_eq!(concerned(selecting(unclear), &facts), ["n1", "n2"]);
    }
    let pool = pool("edge", &["nonsense"]);
    assert_eq!(concerned(pool, &facts), ["n1", "n2"]);
}

#[test]
fn community_names_are_unique_across_objects() {
    let names = |name: &str, names: &[&str]| {
        let aliases: Vec<Value> = names
            .iter()
            .map(|n| json!({"name": n, "value": "1:1"}))
            .collect();
        object(Kind::Community, name, json!({"communities": aliases}))
    };
    let verdict = judge(&[names("b", &["y", "x"]), names("a", &["x"])]);
    assert_eq!(places(&verdict), ["Community/b: spec.communities[1].name"]);
    assert!(
        verdict.problems[0]
            .message
            .contains("duplicate definition of community \"x\"")
    );
}

#[test]
fn a_community_name_taken_twice_is_said_once_per_position() {
    let names = |name: &str, names: &[&str]| {
        let alias = |n: &&str| json!({"name": n, "value": "1:1"});
        let aliases: Vec<Value> = names.iter().map(alias).collect();
        object(Kind::Community, name, json!({"communities": aliases}))
    };
    let verdict = judge(&[names("a", &["x"]), names("b", &["x", "x"])]);
    assert_eq!(
        places(&verdict),
        [
            "Community/b: spec.communities[0].name",
            "Community/b: spec.communities[1].name"
        ]
    );
}

#[test]
fn who_refers_to_a_faulty_community_waits_without_a_problem_of_his_own() {
    let names =
        |name: &str, aliases: Value| object(Kind::Community, name, json!({"communities": aliases}));
    let good = names("a", json!([{"name": "vip", "value": "1:1"}]));
    let faulty = names(
        "b",
        json!([{"name": "ok", "value": "1:2"}, {"name": "wrong", "value": "1:70000"}]),
    );
    let taken = names(
        "c",
        json!([{"name": "vip", "value": "1:3"}, {"name": "late", "value": "1:4"}]),
    );
    let ad = |name: &str, community: &str| bgp(name, json!({"communities": [community]}));
    let verdict = judge(&[
        good.clone(),
        faulty,
        taken,
        ad("fine", "vip"),
        ad("late", "late"),
        ad("ok", "ok"),
        ad("unknown", "nobody"),
        ad("wrong", "wrong"),
    ]);
    assert_eq!(
        places(&verdict),
        [
            "BGPAdvertisement/unknown: spec.communities[0]",
            "Community/b: spec.communities[1].value",
            "Community/c: spec.communities[0].name",
        ]
    );
    assert!(verdict.config.bgp_advertisements.keys().eq(["fine"]));

    // What was good before stays in force meanwhile.
    let mut judge = Judge::new(NAMESPACE);
    judge.judge(&[good.clone(), ad("fine", "vip")], &Facts::default(), false);
    let new = names("b", json!([{"name": "new", "value": "nonsense"}]));
    let objects = [good, new, ad("fine", "new")];
    let verdict = judge.judge(&objects, &Facts::default(), false);
    assert_eq!(places(&verdict), ["Community/b: spec.communities[0].value"]);
    let communities = &verdict.config.bgp_advertisements["fine"].communities;
    assert_eq!(*communities, [Community::Standard(1, 1)].into());
}

#[test]
fn who_refers_to_a_faulty_bfd_profile_waits_without_a_problem_of_his_own() {
    let profile = object(Kind::BfdProfile, "fast", json!({"detectMultiplier": 1}));
    let with = |name: &str, address: &str, profile: &str| {
        peer_with(name, json!({"peerAddress": address, "bfdProfile": profile}))
    };
    let verdict = judge(&[
        profile.clone(),
        with("a", "192.0.2.1", "fast"),
        with("b", "192.0.2.2", "nope"),
    ]);
    assert_eq!(
        places(&verdict),
        [
            "BFDProfile/fast: spec.detectMultiplier",
            "BGPPeer/b: spec.bfdProfile"
        ]
    );
    assert!(verdict.config.peers.is_empty());

    // One in another namespace is none.
    let mut elsewhere = profile;
    elsewhere.namespace = "default".to_owned();
    let verdict = judge(&[elsewhere, with("a", "192.0.2.1", "fast")]);
    assert_eq!(
        places(&verdict),
        [
            "BFDProfile/fast: metadata.namespace",
            "BGPPeer/a: spec.bfdProfile"
        ]
    );
}

#[test]
fn the_same_session_twice_on_a_node_is_refused() {
    let on = |name: &str, rack: &str| {
        let selectors = json!([{"matchLabels": {"rack": rack}}]);
        peer_with(
            name,
            json!({"peerAddress": "192.0.2.1", "nodeSelectors": selectors}),
        )
    };
    let facts = nodes(&[("n1", "rack", "a"), ("n2", "rack", "b")]);
    let apart = [on("a", "a"), on("b", "b")];
    assert_eq!(places(&judge_with(&apart, &facts)), [""; 0]);
    // While no Node is known, every node is a common one.
    assert_eq!(places(&judge(&apart)), ["BGPPeer/b: spec.peerAddress"]);
    let together = [on("a", "a"), peer("b", "192.0.2.1")];
    let verdict = judge_with(&together, &facts);
    assert_eq!(places(&verdict), ["BGPPeer/b: spec.peerAddress"]);
    assert!(
        verdict.problems[0]
            .message
            .contains("peer 192.0.2.1 already exists")
    );
    assert!(verdict.problems[0].message.contains("node n1"));

    let unnumbered = |name: &str| peer_with(name, json!({"interface": "eth0"}));
    assert_eq!(
        places(&judge(&[unnumbered("a"), unnumbered("b")])),
        ["BGPPeer/b: spec.interface"]
    );
}

#[test]
fn sessions_of_one_node_may_differ_in_everything_else() {
    let verdict = judge(&[
        peer("a", "192.0.2.1"),
        peer_with("b", json!({"peerAddress": "192.0.2.1", "vrf": "red"})),
        peer_with(
            "c",
            json!({"peerAddress": "192.0.2.2", "myASN": 64999, "routerID": "192.0.2.9"}),
        ),
        peer_with(
            "d",
            json!({"peerAddress": "192.0.2.3", "routerID": "192.0.2.8"}),
        ),
    ]);
    assert_eq!(places(&verdict), [""; 0]);
    assert_eq!(verdict.config.peers.len(), 4);
}

#[test]
fn an_aggregate_must_not_reach_beyond_an_entry_of_a_pool() {
    let pools = [
        labelled(
            pool("v4", &["192.0.2.0/24", "198.51.100.240-198.51.100.250"]),
            "zone",
            "a",
        ),
        pool("v6", &["2001:db8::/64"]),
    ];
    let samples: [Sample; 7] = [
        (
            json!({"aggregationLength": 29, "aggregationLengthV6": 64}),
            &[],
        ),
        (
            json!({"aggregationLength": 28}),
            &[(
                "spec.aggregationLength",
                "invalid aggregation length 28: prefix 29 in this pool is more specific than the aggregation \
             length for addresses 198.51.100.240-198.51.100.250",
            )],
        ),
        (
            json!({"aggregationLength": 28, "ipAddressPools": ["v6", "none"]}),
            &[],
        ),
        (
            json!({"aggregationLength": 28, "ipAddressPoolSelectors": [{"matchLabels": {"zone": "b"}}]}),
            &[],
        ),
        (
            json!({"aggregationLength": 28, "ipAddressPoolSelectors": [{"matchLabels": {"zone": "a"}}]}),
            &[("spec.aggregationLength", "prefix 29")],
        ),
        (
            json!({"aggregationLengthV6": 63}),
            &[(
                "spec.aggregationLengthV6",
                "invalid aggregation length 63: prefix 64 in this pool",
            )],
        ),
        (
            json!({"aggregationLengthV6": 0}),
            &[("spec.aggregationLengthV6", "invalid aggregation length 0")],
        ),
    ];
    for (spec, expected) in samples {
        let mut objects = pools.to_vec();
        objects.push(bgp("ad", spec));
        let verdict = judge(&objects);
        let found: Vec<_> = verdict
            .problems
            .iter()
            .map(|p| (p.path.as_str(), p.message.as_str()))
            .collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for ((path, message), (expected_path, part)) in found.iter().zip(expected) {
            assert_eq!(path, expected_path);
            assert!(message.contains(part), "{message}");
        }
    }
}

#[test]
fn the_younger_of_a_pool_and_an_advertisement_is_in_the_wrong() {
    let ad = bgp("ad", json!({"aggregationLength": 24}));
    let narrow = pool("narrow", &["192.0.2.0/28"]);
    let of_age = |pool_age, ad_age| {
        judge(&[
            created(narrow.clone(), pool_age),
            created(ad.clone(), ad_age),
        ])
    };
    assert_eq!(
        places(&of_age(1, 2)),
        ["BGPAdvertisement/ad: spec.aggregationLength"]
    );
    assert_eq!(
        places(&of_age(2, 1)),
        ["IPAddressPool/narrow: spec.addresses[0]"]
    );
    assert_eq!(
        places(&of_age(1, 1)),
        ["BGPAdvertisement/ad: spec.aggregationLength"]
    );
}

#[test]
fn local_preferences_of_one_prefix_must_agree() {
    let facts = nodes(&[("n1", "rack", "a"), ("n2", "rack", "b")]);
    let rack = |rack: &str| json!([{"matchLabels": {"rack": rack}}]);
    let conflict = vec!["BGPAdvertisement/b: spec.localPref".to_owned()];
    for (a, b, is_fine) in [
        (json!({"localPref": 100}), json!({"localPref": 100}), true),
        (json!({"localPref": 100}), json!({"localPref": 200}), false),
        (json!({}), json!({"localPref": 200}), false),
        (json!({}), json!({"localPref": 0}), true),
        // Both families are there, so both lengths must differ.
        (
            json!({"localPref": 100}),
            json!({"localPref": 200, "aggregationLength": 24}),
            false,
        ),
        (
            json!({"localPref": 100}),
            json!({"localPref": 200, "aggregationLength": 24, "aggregationLengthV6": 64}),
            true,
        ),
        (
            json!({"localPref": 100, "ipAddressPools": ["v4"]}),
            json!({"localPref": 200, "aggregationLength": 24}),
            true,
        ),
        (
            json!({"localPref": 100, "ipAddressPools": ["v4"]}),
            json!({"localPref": 200, "ipAddressPools": ["mixed"]}),
            true,
        ),
        (
            json!({"localPref": 100, "peers": ["x"]}),
            json!({"localPref": 200, "peers": ["y"]}),
            true,
        ),
        (
            json!({"localPref": 100, "peers": ["x", "y"]}),
            json!({"localPref": 200, "peers": ["y"]}),
            false,
        ),
        (
            json!({"localPref": 100, "peers": ["x"]}),
            json!({"localPref": 200}),
            false,
        ),
        (
            json!({"localPref": 100, "nodeSelectors": rack("a")}),
            json!({"localPref": 200, "nodeSelectors": rack("b")}),
            true,
        ),
        (
            json!({"localPref": 100, "nodeSelectors": rack("a")}),
            json!({"localPref": 200}),
            false,
        ),
        (
            json!({"localPref": 100, "serviceSelectors": [{}]}),
            json!({"localPref": 200}),
            true,
        ),
    ] {
        let objects = [
            pool("v4", &["192.0.2.0/24"]),
            pool("mixed", &["198.51.100.0/24", "2001:db8::/64"]),
            bgp("a", a.clone()),
            bgp("b", b.clone()),
        ];
        let verdict = judge_with(&objects, &facts);
        let expected = if is_fine { vec![] } else { conflict.clone() };
        assert_eq!(places(&verdict), expected, "{a} {b} {:?}", verdict.problems);
    }
}

#[test]
fn while_no_node_is_known_only_selectors_can_tell_advertisements_apart() {
    let rack =
        |rack: &str| json!({"localPref": 5, "nodeSelectors": [{"matchLabels": {"rack": rack}}]});
    let all = pool("all", &["192.0.2.0/24"]);
    let pair = |a: Value, b: Value| places(&judge(&[all.clone(), bgp("a", a), bgp("b", b)])).len();
    assert_eq!(
        pair(json!({"localPref": 100}), json!({"localPref": 200})),
        1
    );
    let mut other = rack("b");
    other["localPref"] = json!(6);
    assert_eq!(pair(rack("a"), other), 0);
}

#[test]
fn a_pool_that_joins_two_preferences_is_in_the_wrong_when_it_is_the_youngest() {
    let verdict = judge(&[
        created(bgp("a", json!({"localPref": 100})), 1),
        created(bgp("b", json!({"localPref": 200})), 2),
        created(pool("all", &["192.0.2.0/24"]), 3),
    ]);
    assert_eq!(places(&verdict), ["IPAddressPool/all: spec.addresses"]);
}

#[test]
fn equal_advertisements_of_different_names_are_fine() {
    let objects = [
        pool("all", &["192.0.2.0/24"]),
        bgp("a", json!({})),
        bgp("b", json!({})),
    ];
    assert_eq!(places(&judge(&objects)), [""; 0]);
    let twice = [bgp("a", json!({})), bgp("a", json!({}))];
    let verdict = judge(&twice);
    assert_eq!(places(&verdict), ["BGPAdvertisement/a: metadata.name"]);
    assert_eq!(verdict.config.bgp_advertisements.len(), 1);
}

#[test]
fn bfd_echo_does_not_go_with_ipv6_pools() {
    let profile = |echo: bool| object(Kind::BfdProfile, "fast", json!({"echoMode": echo}));
    let router = peer_with(
        "router",
        json!({"peerAddress": "192.0.2.1", "bfdProfile": "fast"}),
    );
    let v6 = pool("v6", &["192.0.2.0/24", "2001:db8::/64"]);
    let ad = |spec: Value| bgp("ad", spec);
    let all = [profile(true), router, v6, ad(json!({}))];
    let verdict = judge(&all);
    assert_eq!(places(&verdict), ["BGPAdvertisement/ad: spec.peers"]);
    assert!(verdict.problems[0].message.contains(
        "pool v6 has bgpadvertisement ad which references peer router which has bfd echo enabled"
    ));
    let without = |index: usize, other: Object| {
        let mut objects = all.clone();
        objects[index] = other;
        places(&judge(&objects))
    };
    assert_eq!(without(0, profile(false)), [""; 0]);
    assert_eq!(without(1, peer("router", "192.0.2.1")), [""; 0]);
    assert_eq!(without(2, pool("v4", &["192.0.2.0/24"])), [""; 0]);
    assert_eq!(without(3, ad(json!({"peers": ["other"]}))), [""; 0]);
    assert_eq!(
        without(3, ad(json!({"ipAddressPools": ["other"]}))),
        [""; 0]
    );
    // Whoever comes last is in the wrong.
    let [profile, router, v6, ad] = all;
    for (youngest, place) in [
        ("fast", "BFDProfile/fast: spec.echoMode"),
        ("router", "BGPPeer/router: spec.bfdProfile"),
        ("v6", "IPAddressPool/v6: spec.addresses[1]"),
        ("ad", "BGPAdvertisement/ad: spec.peers"),
    ] {
        let age =
            |object: &Object| created(object.clone(), if object.name == youngest { 2 } else { 1 });
        let verdict = judge(&[age(&profile), age(&router), age(&v6), age(&ad)]);
        assert!(
            places(&verdict).contains(&place.to_owned()),
            "{:?}",
            verdict.problems
        );
    }
    // A profile that was never in force is none: its peer has nothing to refer to.
    let objects = [
        created(profile, 2),
        created(router, 1),
        created(v6, 1),
        created(ad, 1),
    ];
    let mut judge = Judge::new(NAMESPACE);
    for _ in 0..2 {
        let config = judge.judge(&objects, &Facts::default(), false).config;
        assert!(config.peers.is_empty() && config.bfd_profiles.is_empty());
        assert_eq!(
            (config.pools.len(), config.bgp_advertisements.len()),
            (1, 1)
        );
    }
}

#[test]
fn what_a_bfd_profile_cannot_do_for_a_session_is_said_and_harmless() {
    let sample = |profile: Value, peer: Value| {
        let mut spec = json!({"peerAddress": "192.0.2.1", "bfdProfile": "p"});
        spec.as_object_mut()
            .unwrap()
            .extend(peer.as_object().unwrap().clone());
        let verdict = judge(&[
            object(Kind::BfdProfile, "p", profile),
            peer_with("router", spec),
        ]);
        assert!(verdict.config.peers.contains_key("router"));
        places(&verdict)
    };
    let said = ["BGPPeer/router: spec.bfdProfile"];
    let multihop = json!({"ebgpMultiHop": true});
    assert_eq!(sample(json!({"echoMode": true}), multihop.clone()), said);
    assert_eq!(sample(json!({"echoMode": true}), json!({})), [""; 0]);
    assert_eq!(sample(json!({"minimumTtl": 250}), json!({})), said);
    assert_eq!(sample(json!({"minimumTtl": 250}), multihop), [""; 0]);
    assert_eq!(
        sample(json!({"minimumTtl": 250}), json!({"peerASN": 64500})),
        [""; 0]
    );
}

#[test]
fn objects_elsewhere_are_reported_and_ignored() {
    let mut stray = pool("stray", &["nonsense"]);
    stray.namespace = "default".to_owned();
    let verdict = judge(&[stray, pool("ours", &["192.0.2.0/24"])]);
    assert_eq!(
        places(&verdict),
        ["IPAddressPool/stray: metadata.namespace"]
    );
    assert!(
        verdict.problems[0]
            .message
            .contains("resource must be created in metallb-system namespace")
    );
    assert!(!verdict.config.pools_incomplete);
    assert!(verdict.config.pools.keys().eq(["ours"]));
}

#[test]
fn i5_where_all_pools_are_elsewhere_the_namespace_may_be_the_wrong_one() {
    let mut stray = pool("stray", &["192.0.2.0/24"]);
    stray.namespace = "default".to_owned();
    let verdict = judge(&[stray]);
    assert!(verdict.config.pools_incomplete && verdict.config.pools.is_empty());
    assert!(!judge(&[]).config.pools_incomplete);
}
