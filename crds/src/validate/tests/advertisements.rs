//! L2Advertisement, BGPAdvertisement and Community by themselves.

use serde_json::json;

use super::*;
use crate::model::Community;

#[test]
fn every_rule_of_an_l2_advertisement() {
    check_samples(
        Kind::L2Advertisement,
        &Facts::default(),
        &[
            (json!(null), &[]),
            (
                json!({"ipAddressPools": ["nobody-knows"], "interfaces": ["eth0", "eth0"]}),
                &[],
            ),
            (
                json!({"ipAddressPools": ["a", "b", "a"]}),
                &[(
                    "spec.ipAddressPools[2]",
                    "duplicate definition of ipAddressPools \"a\"",
                )],
            ),
            (
                json!({"ipAddressPoolSelectors": [{}, {}]}),
                &[(
                    "spec.ipAddressPoolSelectors[1]",
                    "duplicate definition of ipAddressPoolSelectors",
                )],
            ),
            (
                json!({"nodeSelectors": [{}, {}]}),
                &[(
                    "spec.nodeSelectors[1]",
                    "duplicate definition of nodeSelectors",
                )],
            ),
            (
                json!({"serviceSelectors": [{}, {}]}),
                &[(
                    "spec.serviceSelectors[1]",
                    "duplicate definition of serviceSelectors",
                )],
            ),
            (
                json!({"ipAddresspools": ["a"]}),
                &[("spec.ipAddresspools", "did you mean ipAddressPools?")],
            ),
            (
                json!({"preferredNodeSelectors": [
                    {"weight": 1, "preference": {}},
                    {"weight": 100, "preference": {"matchLabels": {"rack": "a"}}},
                ]}),
                &[],
            ),
            (
                json!({"preferredNodeSelectors": [{"weight": 101, "preference": {}}]}),
                &[(
                    "spec.preferredNodeSelectors[0].weight",
                    "101 is out of range: use a value from 1 to 100",
                )],
            ),
            (
                json!({"preferredNodeSelectors": [{}]}),
                &[
                    (
                        "spec.preferredNodeSelectors[0].preference",
                        "required and missing",
                    ),
                    (
                        "spec.preferredNodeSelectors[0].weight",
                        "required and missing",
                    ),
                ],
            ),
            (
                json!({"preferredNodeSelectors": [{"weight": 5, "preference": {"matchLabels": {"!": "a"}}}]}),
                &[(
                    "spec.preferredNodeSelectors[0].preference.matchLabels[!]",
                    "not a valid label key",
                )],
            ),
        ],
    );
}

#[test]
fn every_rule_of_a_bgp_advertisement() {
    const EXCLUSIVE: &str = "serviceSelectors and aggregationLength are mutually exclusive";
    check_samples(
        Kind::BgpAdvertisement,
        &Facts::default(),
        &[
            (json!(null), &[]),
            (
                json!({"aggregationLength": 24, "aggregationLengthV6": 64}),
                &[],
            ),
            (
                json!({"aggregationLength": 1, "aggregationLengthV6": 0}),
                &[],
            ),
            (
                json!({"aggregationLength": 0}),
                &[("spec.aggregationLength", "0 is out of range: use 1 or more")],
            ),
            (
                json!({"aggregationLength": 33}),
                &[(
                    "spec.aggregationLength",
                    "invalid aggregation length 33 for IPv4",
                )],
            ),
            (
                json!({"aggregationLength": "24"}),
                &[("spec.aggregationLength", "must be an integer")],
            ),
            (
                json!({"aggregationLengthV6": 129}),
                &[(
                    "spec.aggregationLengthV6",
                    "invalid aggregation length 129 for IPv6",
                )],
            ),
            (
                json!({"aggregationLengthV6": -1}),
                &[("spec.aggregationLengthV6", "invalid aggregation length -1")],
            ),
            (json!({"localPref": 4_294_967_295_u32}), &[]),
            (
                json!({"localPref": -1}),
                &[("spec.localPref", "out of range")],
            ),
            (
                json!({"communities": ["65000:1", "large:4294967295:0:1"]}),
                &[],
            ),
            (
                json!({"communities": ["65000:1", "65000:1"]}),
                &[(
                    "spec.communities[1]",
                    "duplicate definition of community \"65000:1\"",
                )],
            ),
            (
                json!({"communities": ["65536:1"]}),
                &[("spec.communities[0]", "invalid community value")],
            ),
            (
                json!({"communities": ["+1:1"]}),
                &[("spec.communities[0]", "invalid community value")],
            ),
            (
                json!({"communities": ["big:1:2:3"]}),
                &[("spec.communities[0]", "invalid community value")],
            ),
            (
                json!({"communities": ["large:1:2:4294967296"]}),
                &[("spec.communities[0]", "invalid community value")],
            ),
            (
                json!({"communities": ["1:2:3"]}),
                &[("spec.communities[0]", "invalid community format")],
            ),
            (
                json!({"communities": ["nobody-knows"]}),
                &[("spec.communities[0]", "no Community defines that name")],
            ),
            (
                json!({"ipAddressPools": ["a", "a"]}),
                &[(
                    "spec.ipAddressPools[1]",
                    "duplicate definition of ipAddressPools",
                )],
            ),
            (
                json!({"ipAddressPoolSelectors": [{}, {}]}),
                &[(
                    "spec.ipAddressPoolSelectors[1]",
                    "duplicate definition of ipAddressPoolSelectors",
                )],
            ),
            (
                json!({"nodeSelectors": [{}, {}]}),
                &[(
                    "spec.nodeSelectors[1]",
                    "duplicate definition of nodeSelectors",
                )],
            ),
            (json!({"peers": ["nobody-knows"]}), &[]),
            (
                json!({"peers": ["a", "a"]}),
                &[("spec.peers[1]", "duplicate definition of peers")],
            ),
            (json!({"serviceSelectors": [{}]}), &[]),
            (
                json!({"serviceSelectors": [{}, {}]}),
                &[(
                    "spec.serviceSelectors[1]",
                    "duplicate definition of serviceSelectors",
                )],
            ),
            (
                json!({"serviceSelectors": [{}], "aggregationLength": 32, "aggregationLengthV6": 128}),
                &[],
            ),
            (
                json!({"serviceSelectors": [{}], "aggregationLength": 24, "aggregationLengthV6": 64}),
                &[
                    ("spec.aggregationLength", EXCLUSIVE),
                    ("spec.aggregationLengthV6", EXCLUSIVE),
                ],
            ),
        ],
    );
}

#[test]
fn every_rule_of_a_community() {
    let ok: &[(&str, &str)] = &[];
    check_samples(
        Kind::Community,
        &Facts::default(),
        &[
            (json!(null), ok),
            (
                json!({"communities": [{"name": "a", "value": "65000:1"}, {"name": "b", "value": "large:1:2:3"}]}),
                ok,
            ),
            (
                json!({"communities": [{"name": "a", "value": "65000"}]}),
                &[("spec.communities[0].value", "invalid community format")],
            ),
            (
                json!({"communities": [{"name": "a", "value": "65000:65536"}]}),
                &[("spec.communities[0].value", "invalid community value")],
            ),
            (
                json!({"communities": [{"name": "a", "value": 65000}]}),
                &[("spec.communities[0].value", "must be a string")],
            ),
            (
                json!({"communities": [{"name": "a"}]}),
                &[("spec.communities[0].value", "invalid community format")],
            ),
            (
                json!({"communities": [{"name": "a", "value": "1:1"}, {"name": "a", "value": "1:2"}]}),
                &[(
                    "spec.communities[1].name",
                    "duplicate definition of community \"a\"",
                )],
            ),
        ],
    );
}

#[test]
fn a_bgp_advertisement_means_what_it_says() {
    let objects = [
        object(
            Kind::Community,
            "names",
            json!({"communities": [{"name": "vip", "value": "65000:7"}]}),
        ),
        bgp(
            "sample",
            json!({"communities": ["vip", "large:1:2:3"], "localPref": 0, "aggregationLength": 28}),
        ),
    ];
    let verdict = judge(&objects);
    assert_eq!(verdict.problems, []);
    let advertisement = &verdict.config.bgp_advertisements["sample"];
    assert_eq!(
        advertisement.communities,
        [Community::Standard(65000, 7), Community::Large(1, 2, 3)].into()
    );
    assert_eq!(advertisement.local_pref, None);
    assert_eq!(
        (
            advertisement.aggregation_length_v4,
            advertisement.aggregation_length_v6
        ),
        (28, 128)
    );
}

#[test]
fn every_field_of_a_bgp_advertisement_is_in_its_meaning() {
    let spec = json!({
        "aggregationLengthV6": 64, "localPref": 4_294_967_295_u32, "communities": ["1:2"],
        "ipAddressPools": ["edge"], "peers": ["tor", "nobody-knows"],
        "ipAddressPoolSelectors": [{"matchLabels": {"zone": "a"}}],
        "nodeSelectors": [{"matchLabels": {"rack": "a"}}, {"matchLabels": {"rack": "b"}}],
    });
    let verdict = judge(&[bgp("sample", spec)]);
    assert_eq!(verdict.problems, []);
    let ad = &verdict.config.bgp_advertisements["sample"];
    assert_eq!(
        (ad.aggregation_length_v4, ad.aggregation_length_v6),
        (32, 64)
    );
    assert_eq!(ad.local_pref, Some(u32::MAX));
    assert!(ad.peers.contains("tor") && ad.peers.len() == 2);
    assert!(ad.pools.names.contains("edge") && ad.pools.selectors.len() == 1);
    assert!(ad.selects_node(&labels("rack", "b")) && !ad.selects_node(&labels("rack", "c")));

    let spec = json!({"serviceSelectors": [{"matchLabels": {"app": "a"}}]});
    let verdict = judge(&[bgp("sample", spec)]);
    let ad = &verdict.config.bgp_advertisements["sample"];
    assert!(ad.selects_service(&labels("app", "a")) && !ad.selects_service(&labels("app", "b")));
}

#[test]
fn any_number_of_communities_is_no_error() {
    let communities: Vec<String> = (0..1000).map(|low| format!("64512:{low}")).collect();
    let verdict = judge(&[bgp("sample", json!({"communities": communities}))]);
    assert_eq!(verdict.problems, []);
    assert_eq!(
        verdict.config.bgp_advertisements["sample"]
            .communities
            .len(),
        1000
    );
}

#[test]
fn every_rule_of_the_annotations_of_a_bgp_advertisement() {
    let (prepend, med, bandwidth) = (
        "ferrolb.io/bgp-as-path-prepend",
        "ferrolb.io/bgp-med",
        "ferrolb.io/bgp-link-bandwidth",
    );
    let options = |key: &str, value: Value| {
        let verdict = judge(&[annotated(bgp("sample", json!({})), key, value)]);
        assert_eq!(verdict.problems, [], "{key}");
        verdict.config.bgp_advertisements["sample"].options
    };
    assert_eq!(options(prepend, json!("1")).as_path_prepend, Some(1));
    assert_eq!(options(prepend, json!("10")).as_path_prepend, Some(10));
    assert_eq!(options(med, json!("0")).med, Some(0));
    assert_eq!(options(med, json!("4294967295")).med, Some(u32::MAX));
    let of = |text: &str| options(bandwidth, json!(text)).link_bandwidth;
    assert_eq!(of("endpoints"), Some(125_000_000));
    assert_eq!(of("endpoints:1"), Some(1));
    assert_eq!(of("endpoints:1000000000000"), Some(1_000_000_000_000));
    assert_eq!(
        options("example.org/bgp-med", json!("x")),
        Default::default()
    );

    let cases = [
        (prepend, json!("0"), "\"0\": write a number from 1 to 10"),
        (prepend, json!("11"), "write a number from 1 to 10"),
        (prepend, json!("+3"), "write a number from 1 to 10"),
        (
            prepend,
            json!(3),
            "invalid value 3: write a number from 1 to 10",
        ),
        (med, json!("-1"), "write a number from 0 to 4294967295"),
        (med, json!("4294967296"), "write a number from 0 to"),
        (bandwidth, json!("nodes"), "write endpoints, or endpoints:N"),
        (bandwidth, json!("endpoints:0"), "from 1 to 1000000000000"),
        (
            bandwidth,
            json!("endpoints:1000000000001"),
            "from 1 to 1000000000000",
        ),
        (bandwidth, json!(""), "write endpoints"),
    ];
    for (key, value, message) in cases {
        let path = format!("metadata.annotations[{key}]");
        let object = annotated(bgp("sample", json!({})), key, value);
        check_sample(&object, &Facts::default(), &[(&path, message)]);
    }
}

#[test]
fn an_unknown_annotation_of_ours_is_named_with_those_that_are_known_and_harmless() {
    let object = annotated(
        bgp("sample", json!({})),
        "ferrolb.io/bgp-prepend",
        json!("3"),
    );
    let path = "metadata.annotations[ferrolb.io/bgp-prepend]";
    let known = "known are ferrolb.io/bgp-as-path-prepend, ferrolb.io/bgp-link-bandwidth, ferrolb.io/bgp-med";
    let expected = [(path, known)];
    check_sample(&object, &Facts::default(), &expected);
    assert!(
        judge(&[object])
            .config
            .bgp_advertisements
            .contains_key("sample")
    );
}

#[test]
fn i5_an_annotation_edited_into_nonsense_leaves_the_advertisement_as_it_last_was() {
    let mut judge = Judge::new(NAMESPACE);
    let mut med = |text: &str| {
        let object = annotated(bgp("sample", json!({})), "ferrolb.io/bgp-med", json!(text));
        let verdict = judge.judge(&[object], &Facts::default(), false);
        let config = verdict.config;
        (
            config.bgp_advertisements["sample"].options.med,
            verdict.problems.len(),
        )
    };
    assert_eq!(med("5"), (Some(5), 0));
    assert_eq!(med("five"), (Some(5), 1));
    assert_eq!(med("6"), (Some(6), 0));
}
