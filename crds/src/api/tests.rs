//! Names and shapes that other programs rely on.

use schemars::JsonSchema;
use serde_json::Value;

use super::*;

#[test]
fn configuration_is_told_from_everything_else() {
    for (api_version, kind, expected) in [
        (
            "metallb.io/v1beta1",
            "IPAddressPool",
            Recognised::Ours(Kind::IpAddressPool, "v1beta1"),
        ),
        (
            "metallb.io/v1beta2",
            "BGPPeer",
            Recognised::Ours(Kind::BgpPeer, "v1beta2"),
        ),
        (
            "metallb.io/v1beta1",
            "BGPPeer",
            Recognised::Ours(Kind::BgpPeer, "v1beta1"),
        ),
        (
            "metallb.io/v1beta2",
            "IPAddressPool",
            Recognised::UnknownVersion,
        ),
        (
            "metallb.io/v1beta1",
            "AddressPool",
            Recognised::UnknownVersion,
        ),
        ("metallb.io/v1beta1", "ServiceL2Status", Recognised::Foreign),
        (
            "metallb.io/v1beta1",
            "ServiceBGPStatus",
            Recognised::Foreign,
        ),
        (
            "metallb.io/v1beta1",
            "ConfigurationState",
            Recognised::Foreign,
        ),
        ("v1", "Service", Recognised::Foreign),
        (
            "frrk8s.metallb.io/v1beta1",
            "FRRConfiguration",
            Recognised::Foreign,
        ),
    ] {
        assert_eq!(
            recognise(api_version, kind),
            expected,
            "{api_version} {kind}"
        );
    }
}

#[test]
fn i10_the_debug_output_of_an_object_leaves_the_document_out() {
    let object = Object {
        kind: Kind::BgpPeer,
        version: V1BETA2.to_owned(),
        namespace: "metallb-system".to_owned(),
        name: "router".to_owned(),
        labels: Labels::new(),
        created: None,
        document: serde_json::json!({"spec": {"password": "hunter2"}}),
    };
    assert!(!format!("{object:?}").contains("hunter2"));
}

/// Paths of all fields below `spec`, lists and mappings opened, and of the required ones.
fn fields<T: JsonSchema>() -> (Vec<String>, Vec<String>) {
    let settings = schemars::generate::SchemaSettings::draft2020_12();
    let generator = settings
        .with(|s| s.inline_subschemas = true)
        .into_generator();
    let schema = generator.into_root_schema_for::<T>();
    let (mut all, mut required) = (Vec::new(), Vec::new());
    walk(
        &schema.as_value()["properties"]["spec"],
        "",
        &mut all,
        &mut required,
    );
    (all, required)
}

fn walk(schema: &Value, at: &str, all: &mut Vec<String>, required: &mut Vec<String>) {
    // A label selector looks the same everywhere.
    if at.to_ascii_lowercase().ends_with("selectors") && !at.starts_with("preferred") {
        return;
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        let path = if at.is_empty() {
            name.clone()
        } else {
            format!("{at}.{name}")
        };
        walk(schema, &path, all, required);
        walk(&schema["items"], &path, all, required);
        all.push(path);
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().unwrap();
        required.push(if at.is_empty() {
            name.to_owned()
        } else {
            format!("{at}.{name}")
        });
    }
}

#[track_caller]
fn assert_fields<T: JsonSchema>(expected: &str, expected_required: &str) {
    let (mut all, mut required) = fields::<T>();
    all.sort();
    required.sort();
    let sorted = |text: &str| {
        let mut names: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        names.sort();
        names
    };
    assert_eq!(all, sorted(expected));
    assert_eq!(required, sorted(expected_required));
}

#[test]
fn the_fields_are_those_of_the_reference() {
    assert_fields::<IpAddressPool>(
        "addresses autoAssign avoidBuggyIPs serviceAllocation serviceAllocation.priority \
         serviceAllocation.namespaces serviceAllocation.namespaceSelectors \
         serviceAllocation.serviceSelectors",
        "addresses",
    );
    assert_fields::<L2Advertisement>(
        "ipAddressPools ipAddressPoolSelectors nodeSelectors interfaces serviceSelectors \
         preferredNodeSelectors preferredNodeSelectors.weight preferredNodeSelectors.preference \
         preferredNodeSelectors.preference.matchLabels \
         preferredNodeSelectors.preference.matchExpressions \
         preferredNodeSelectors.preference.matchExpressions.key \
         preferredNodeSelectors.preference.matchExpressions.operator \
         preferredNodeSelectors.preference.matchExpressions.values",
        "preferredNodeSelectors.weight preferredNodeSelectors.preference \
         preferredNodeSelectors.preference.matchExpressions.key \
         preferredNodeSelectors.preference.matchExpressions.operator",
    );
    assert_fields::<BgpAdvertisement>(
        "aggregationLength aggregationLengthV6 localPref communities ipAddressPools \
         ipAddressPoolSelectors nodeSelectors peers serviceSelectors",
        "",
    );
    assert_fields::<BgpPeer>(
        "myASN peerASN localASN dynamicASN peerAddress interface sourceAddress peerPort holdTime \
         keepaliveTime connectTime routerID nodeSelectors password passwordSecret \
         passwordSecret.name passwordSecret.namespace bfdProfile enableGracefulRestart ebgpMultiHop \
         vrf disableMP dualStackAddressFamily",
        "myASN",
    );
    assert_fields::<BgpPeerV1Beta1>(
        "myASN peerASN peerAddress sourceAddress peerPort holdTime keepaliveTime routerID \
         nodeSelectors password bfdProfile ebgpMultiHop",
        "myASN peerASN peerAddress",
    );
    assert_fields::<BfdProfile>(
        "receiveInterval transmitInterval detectMultiplier echoInterval echoMode passiveMode \
         minimumTtl",
        "",
    );
    assert_fields::<Community>("communities communities.name communities.value", "");
}
