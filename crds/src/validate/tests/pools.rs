//! IPAddressPool by itself.

use serde_json::json;

use super::*;
use crate::model::{AddressRange, Selector};

#[test]
fn every_rule_of_an_address_pool() {
    let ok: &[(&str, &str)] = &[];
    check_samples(
        Kind::IpAddressPool,
        &Facts::default(),
        &[
            (json!({"addresses": ["192.0.2.0/24"]}), ok),
            (
                json!({"addresses": ["192.0.2.77/24", "2001:db8::5/64"]}),
                ok,
            ),
            (json!({"addresses": ["192.0.2.1-192.0.2.9"]}), ok),
            (
                json!({"addresses": ["192.0.2.1 -  192.0.2.9", " 192.0.3.1-192.0.3.1 "]}),
                ok,
            ),
            (json!({"addresses": ["2001:db8::1-2001:db8::ffff"]}), ok),
            (
                json!({}),
                &[("spec.addresses", "pool has no prefixes defined")],
            ),
            (
                json!({"addresses": null}),
                &[("spec.addresses", "list at least one")],
            ),
            (
                json!({"addresses": []}),
                &[("spec.addresses", "pool has no prefixes defined")],
            ),
            (
                json!({"addresses": "192.0.2.0/24"}),
                &[("spec.addresses", "must be a list, not a string")],
            ),
            (
                json!({"addresses": [5, "192.0.2.0/33"]}),
                &[
                    (
                        "spec.addresses[0]",
                        "must be a string, not an integer: put it in quotes",
                    ),
                    ("spec.addresses[1]", "invalid CIDR \"192.0.2.0/33\""),
                ],
            ),
            (
                json!({"addresses": [null]}),
                &[("spec.addresses[0]", "must be a string, not null")],
            ),
            (
                json!({"addresses": ["192.0.2.1"]}),
                &[("spec.addresses[0]", "write 192.0.2.1/32")],
            ),
            (
                json!({"addresses": ["2001:db8::1"]}),
                &[("spec.addresses[0]", "write 2001:db8::1/128")],
            ),
            (
                json!({"addresses": ["192.0.2.0/24 "]}),
                &[("spec.addresses[0]", "invalid CIDR")],
            ),
            (
                json!({"addresses": ["pool"]}),
                &[("spec.addresses[0]", "write a prefix such as")],
            ),
            (
                json!({"addresses": [""]}),
                &[("spec.addresses[0]", "invalid CIDR")],
            ),
            (
                json!({"addresses": ["192.0.2.0/24-192.0.3.0/24"]}),
                &[("spec.addresses[0]", "invalid start IP")],
            ),
            (
                json!({"addresses": ["192.0.2.1-192.0.2.256"]}),
                &[("spec.addresses[0]", "invalid end IP")],
            ),
            (
                json!({"addresses": ["192.0.2.1-9"]}),
                &[("spec.addresses[0]", "invalid end IP")],
            ),
            (
                json!({"addresses": ["192.0.2.9-192.0.2.1"]}),
                &[(
                    "spec.addresses[0]",
                    "start IP 192.0.2.9 is after the end IP 192.0.2.1: swap them",
                )],
            ),
            (
                json!({"addresses": ["192.0.2.9-fc00::1"]}),
                &[("spec.addresses[0]", "different families")],
            ),
            (
                json!({"addresses": ["192.0.2.0/24", "198.51.100.0/24", "192.0.2.10-192.0.2.20"]}),
                &[(
                    "spec.addresses[2]",
                    "overlaps with already defined CIDR \"192.0.2.0/24\"",
                )],
            ),
            (
                json!({"addresses": ["192.0.2.1-192.0.2.9", "192.0.2.9/32"]}),
                &[("spec.addresses[1]", "overlaps with already defined CIDR")],
            ),
            (json!({"addresses": ["192.0.2.0/25", "192.0.2.128/25"]}), ok),
            (
                json!({"addresses": ["192.0.2.0/24"], "autoAssign": false, "avoidBuggyIPs": true}),
                ok,
            ),
            (
                json!({"addresses": ["192.0.2.0/24"], "autoAssign": "false"}),
                &[(
                    "spec.autoAssign",
                    "must be a boolean, not a string: write it without quotes",
                )],
            ),
            (
                json!({"addresses": ["192.0.2.0/24"], "autoAssign": null}),
                ok,
            ),
            (
                json!({"addresses": ["192.0.2.0/24"], "avoidBuggyIps": true}),
                &[("spec.avoidBuggyIps", "did you mean avoidBuggyIPs?")],
            ),
            (
                json!({"addresses": ["192.0.2.0/24"], "colour": "red"}),
                &[("spec.colour", "unknown field")],
            ),
            (json!([]), &[("spec", "must be a mapping, not a list")]),
            (json!(null), &[("spec", "required and missing")]),
        ],
    );
}

#[test]
fn every_rule_of_a_service_allocation() {
    let samples: Vec<Sample> = vec![
        (json!({}), &[]),
        (json!({"priority": 50, "namespaces": ["a", "b"]}), &[]),
        (
            json!({"priority": "50"}),
            &[(
                "spec.serviceAllocation.priority",
                "must be an integer, not a string",
            )],
        ),
        (
            json!({"priority": 1.5}),
            &[(
                "spec.serviceAllocation.priority",
                "must be an integer, not a number",
            )],
        ),
        (
            json!({"namespaces": ["a", "b", "a"]}),
            &[(
                "spec.serviceAllocation.namespaces[2]",
                "duplicate definition in namespaces field",
            )],
        ),
        (
            json!({"namespaceSelectors": [{"matchLabels": {"a": "b"}}, {"matchLabels": {"a": "b"}}]}),
            &[(
                "spec.serviceAllocation.namespaceSelectors[1]",
                "duplicate definition of namespaceSelectors",
            )],
        ),
        (
            json!({"serviceSelectors": [{}, {}]}),
            &[(
                "spec.serviceAllocation.serviceSelectors[1]",
                "duplicate definition of serviceSelectors",
            )],
        ),
        (
            json!({"serviceSelectors": {"matchLabels": {}}}),
            &[(
                "spec.serviceAllocation.serviceSelectors",
                "must be a list, not a mapping",
            )],
        ),
        (
            json!({"namespace": ["a"]}),
            &[(
                "spec.serviceAllocation.namespace",
                "did you mean namespaces?",
            )],
        ),
    ];
    for (allocation, expected) in samples {
        let spec = json!({"addresses": ["192.0.2.0/24"], "serviceAllocation": allocation});
        check_sample(
            &object(Kind::IpAddressPool, "sample", spec),
            &Facts::default(),
            expected,
        );
    }
}

#[test]
fn every_rule_of_a_label_selector() {
    let samples: Vec<Sample> = vec![
        (json!({}), &[]),
        (
            json!({"matchLabels": {"example.org/rack": "a", "x": ""}}),
            &[],
        ),
        (
            json!({"matchLabels": {"a b": "c"}}),
            &[("[0].matchLabels.a b", "not a valid label key")],
        ),
        (
            json!({"matchLabels": {"/rack": "c"}}),
            &[("[0].matchLabels[/rack]", "not a valid label key")],
        ),
        (
            json!({"matchLabels": {"example.org/rack": "-"}}),
            &[(
                "[0].matchLabels[example.org/rack]",
                "not a valid label value",
            )],
        ),
        (
            json!({"matchLabels": {"rack": true}}),
            &[("[0].matchLabels.rack", "must be a string, not a boolean")],
        ),
        (
            json!({"matchLabels": ["rack"]}),
            &[("[0].matchLabels", "must be a mapping, not a list")],
        ),
        (
            json!({"matchExpressions": [{"key": "rack", "operator": "In", "values": ["a", "b"]}]}),
            &[],
        ),
        (
            json!({"matchExpressions": [{"key": "rack", "operator": "Exists"}]}),
            &[],
        ),
        (
            json!({"matchExpressions": [{"key": "rack", "operator": "Is", "values": ["a"]}]}),
            &[(
                "[0].matchExpressions[0].operator",
                "\"Is\" is not a valid label selector operator",
            )],
        ),
        (
            json!({"matchExpressions": [{"key": "rack", "operator": "NotIn"}]}),
            &[("[0].matchExpressions[0].values", "needs values")],
        ),
        (
            json!({"matchExpressions": [{"key": "rack", "operator": "DoesNotExist", "values": ["a"]}]}),
            &[("[0].matchExpressions[0].values", "takes no values")],
        ),
        (
            json!({"matchExpressions": [{"operator": "Exists"}]}),
            &[("[0].matchExpressions[0].key", "not a valid label key")],
        ),
        (
            json!({"matchExpressions": [{"key": "rack"}]}),
            &[(
                "[0].matchExpressions[0].operator",
                "not a valid label selector operator",
            )],
        ),
        (
            json!({"matchExpressions": [{"key": "rack", "operator": "In", "values": ["a", "a"]}]}),
            &[(
                "[0].matchExpressions[0].values[1]",
                "duplicate definition of match expression value",
            )],
        ),
        (
            json!({"matchExpressions": [{"key": "rack", "operator": "In", "values": ["a", 1]}]}),
            &[("[0].matchExpressions[0].values[1]", "must be a string")],
        ),
        (
            json!({"matchExpressions": [
                {"key": "rack", "operator": "In", "values": ["a", "b"]},
                {"key": "rack", "operator": "In", "values": ["b", "a"]},
            ]}),
            &[(
                "[0].matchExpressions[1]",
                "duplicate definition of match expressions",
            )],
        ),
        (
            json!({"matchLabel": {}}),
            &[("[0].matchLabel", "did you mean matchLabels?")],
        ),
        (json!("rack"), &[("[0]", "must be a mapping, not a string")]),
    ];
    for (selector, expected) in samples {
        let spec = json!({"nodeSelectors": [selector]});
        let expected: Vec<_> = expected
            .iter()
            .map(|(path, part)| (format!("spec.nodeSelectors{path}"), *part))
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(path, part)| (path.as_str(), *part))
            .collect();
        check_sample(
            &object(Kind::L2Advertisement, "sample", spec),
            &Facts::default(),
            &expected,
        );
    }
}

#[test]
fn a_pool_means_what_it_says() {
    let spec = json!({
        "addresses": ["192.0.2.77/24", "10.0.0.5 - 10.0.0.9", "::ffff:198.51.100.0/120"],
        "avoidBuggyIPs": true,
        "serviceAllocation": {
            "priority": 7,
            "namespaces": ["shop"],
            "namespaceSelectors": [{"matchLabels": {"tier": "web"}}],
        },
    });
    let sample = labelled(object(Kind::IpAddressPool, "sample", spec), "zone", "a");
    let pool = judge(&[sample]).config.pools.remove("sample").unwrap();
    let range = |first: &str, last: &str| {
        AddressRange::new(first.parse().unwrap(), last.parse().unwrap()).unwrap()
    };
    assert_eq!(
        pool.ranges,
        [
            range("192.0.2.0", "192.0.2.255"),
            range("10.0.0.5", "10.0.0.9"),
            range("198.51.100.0", "198.51.100.255"),
        ]
    );
    assert!(pool.auto_assign && pool.avoid_buggy_ips);
    assert_eq!(pool.labels, labels("zone", "a"));
    let allocation = pool.allocation.unwrap();
    assert_eq!(allocation.priority, 7);
    assert!(allocation.namespaces.contains("shop"));
    let web = Selector {
        match_labels: labels("tier", "web"),
        ..Selector::default()
    };
    assert_eq!(allocation.namespace_selectors, [web]);
}

#[test]
fn a_pool_for_selected_namespaces_is_closed_while_none_is_selected() {
    let spec = json!({
        "addresses": ["192.0.2.0/24"],
        "serviceAllocation": {"namespaceSelectors": [{"matchLabels": {"tier": "web"}}]},
    });
    let verdict = judge(&[object(Kind::IpAddressPool, "sample", spec)]);
    let pool = &verdict.config.pools["sample"];
    assert!(!pool.admits("shop", &Labels::new(), &Labels::new()));
    assert!(pool.admits("shop", &labels("tier", "web"), &Labels::new()));
}

#[test]
fn any_integer_is_a_priority() {
    for (given, expected) in [(0, 0), (3, 3), (-3, 1), (i64::MAX, u32::MAX), (i64::MIN, 1)] {
        let spec = json!({"addresses": ["192.0.2.0/24"], "serviceAllocation": {"priority": given}});
        let verdict = judge(&[object(Kind::IpAddressPool, "sample", spec)]);
        let allocation = verdict.config.pools["sample"].allocation.as_ref();
        assert_eq!(allocation.unwrap().priority, expected);
    }
}

#[test]
fn an_unknown_field_leaves_the_object_in_force() {
    let mut sample = object(
        Kind::IpAddressPool,
        "sample",
        json!({"addresses": ["192.0.2.0/24"], "protocol": "layer2"}),
    );
    sample.document["specs"] = json!({});
    sample.document["status"] = json!({"anything": "goes"});
    let verdict = judge(&[sample]);
    assert_eq!(
        places(&verdict),
        [
            "IPAddressPool/sample: spec.protocol",
            "IPAddressPool/sample: specs"
        ]
    );
    assert!(verdict.config.pools.contains_key("sample"));
    assert!(!verdict.config.pools_incomplete);
}
