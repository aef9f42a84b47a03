use serde_json::{Value, json};

use super::*;

fn from(document: Value) -> Result<Service, FieldError> {
    service(serde_json::from_value(document).unwrap())
}

fn with_spec(spec: Value) -> Result<Service, FieldError> {
    from(json!({ "metadata": { "name": "web", "namespace": "shop" }, "spec": spec }))
}

fn with_annotations(annotations: Value) -> Service {
    from(json!({ "metadata": { "name": "web", "annotations": annotations } })).unwrap()
}

#[test]
fn a_whole_service_keeps_what_matters() {
    let service = from(json!({
        "metadata": {
            "name": "web", "namespace": "shop", "labels": { "tier": "front" },
            "creationTimestamp": "1970-01-02T00:00:00Z",
            "annotations": {
                "metallb.io/ip-allocated-from-pool": "edge",
                "ferrolb.io/layer2-hint": "10.0.0.1=n1"
            },
        },
        "spec": {
            "type": "LoadBalancer", "loadBalancerClass": "example.com/lb",
            "externalTrafficPolicy": "Local", "selector": { "app": "web" },
            "clusterIPs": ["10.96.0.7"], "loadBalancerIP": "192.0.2.1",
            "ports": [{ "name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP" }],
        },
        "status": { "loadBalancer": { "ingress": [
            { "ip": "192.0.2.1" }, { "hostname": "example.com" }, { "ip": "2001:db8::1" },
        ] } },
    }))
    .unwrap();
    assert_eq!(
        service,
        Service {
            key: ServiceKey::new("shop", "web"),
            labels: BTreeMap::from([("tier".to_owned(), "front".to_owned())]),
            created: Some(Timestamp(86_400)),
            is_load_balancer: true,
            class: Some("example.com/lb".to_owned()),
            families: Family::V4.into(),
            family_policy: FamilyPolicy::Single,
            ports: vec![ServicePort {
                name: "http".to_owned(),
                protocol: Protocol::Tcp,
                port: Port::new(80).unwrap(),
                node_port: Port::new(30080),
            }],
            traffic_policy: TrafficPolicy::Local,
            selector: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
            source_ranges: Vec::new(),
            bad_source_ranges: Vec::new(),
            requests: Requests::from(Asked {
                load_balancer_ip: Some("192.0.2.1".to_owned()),
                ..Asked::default()
            }),
            ingress: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            allocated_from: Some("edge".to_owned()),
            hints: Hints::parse("10.0.0.1=n1"),
        }
    );
}

#[test]
fn families_come_from_cluster_ips_else_ip_families_else_the_policy() {
    use Family::{V4, V6};
    for (spec, expected) in [
        (
            json!({ "clusterIPs": ["fd00::1"], "ipFamilies": ["IPv4"] }),
            vec![V6],
        ),
        (
            json!({ "clusterIPs": ["fd00::1", "10.0.0.1"] }),
            vec![V6, V4],
        ),
        (
            json!({ "clusterIPs": ["None"], "ipFamilies": ["IPv6"] }),
            vec![V6],
        ),
        (
            json!({ "clusterIPs": [], "ipFamilies": ["IPv6", "IPv4"] }),
            vec![V6, V4],
        ),
        (json!({ "ipFamilyPolicy": "SingleStack" }), vec![V4]),
        (json!({}), vec![V4]),
        (json!({ "ipFamilyPolicy": "PreferDualStack" }), vec![V4, V6]),
        (
            json!({ "ipFamilyPolicy": "RequireDualStack" }),
            vec![V4, V6],
        ),
    ] {
        assert_eq!(
            with_spec(spec.clone()).unwrap().families,
            expected.into_iter().collect(),
            "{spec}"
        );
    }
}

#[test]
fn the_current_prefix_wins_over_the_deprecated_one_also_when_empty() {
    let requests = with_annotations(json!({
        "metallb.universe.tf/address-pool": "old",
        "metallb.io/address-pool": "",
        "metallb.universe.tf/loadBalancerIPs": "192.0.2.1",
        "metallb.io/allow-shared-ip": "key",
    }))
    .requests;
    assert_eq!(requests.pool.as_deref(), Some(""));
    assert_eq!(requests.addresses.as_deref(), Some("192.0.2.1"));
    assert_eq!(requests.sharing_key.as_deref(), Some("key"));
    let deprecated: Vec<&str> = requests.deprecated.iter().map(String::as_str).collect();
    assert_eq!(
        deprecated,
        [
            "metallb.universe.tf/address-pool",
            "metallb.universe.tf/loadBalancerIPs"
        ]
    );
}

#[test]
fn source_ranges_come_from_the_field_else_from_the_old_annotation() {
    let old =
        json!({ "service.beta.kubernetes.io/load-balancer-source-ranges": "10.0.0.9/8, bad ," });
    let service = with_annotations(old.clone());
    assert_eq!(service.source_ranges, ["10.0.0.0/8".parse().unwrap()]);
    assert_eq!(service.bad_source_ranges, [" bad "]);
    let service = from(json!({
        "metadata": { "annotations": old },
        "spec": { "loadBalancerSourceRanges": ["2001:db8::/32", "192.0.2.1"] },
    }))
    .unwrap();
    assert_eq!(service.source_ranges, ["2001:db8::/32".parse().unwrap()]);
    assert_eq!(service.bad_source_ranges, ["192.0.2.1"]);
}

#[test]
fn values_the_api_server_would_refuse_are_named() {
    for (spec, path) in [
        (json!({ "type": "Balancer" }), "spec.type"),
        (json!({ "ipFamilyPolicy": "Dual" }), "spec.ipFamilyPolicy"),
        (
            json!({ "externalTrafficPolicy": "local" }),
            "spec.externalTrafficPolicy",
        ),
        (
            json!({ "ipFamilies": ["IPv4", "ipv6"] }),
            "spec.ipFamilies[1]",
        ),
        (
            json!({ "clusterIPs": ["10.0.0.300"] }),
            "spec.clusterIPs[0]",
        ),
        (
            json!({ "ports": [{ "port": 1 }, { "port": 0 }] }),
            "spec.ports[1].port",
        ),
        (
            json!({ "ports": [{ "port": 70000 }] }),
            "spec.ports[0].port",
        ),
        (
            json!({ "ports": [{ "port": 1, "nodePort": -1 }] }),
            "spec.ports[0].nodePort",
        ),
        (
            json!({ "ports": [{ "port": 1, "protocol": "tcp" }] }),
            "spec.ports[0].protocol",
        ),
    ] {
        assert_eq!(with_spec(spec).unwrap_err().path, path);
    }
}

#[test]
fn services_of_other_types_are_kept_as_such() {
    for type_ in ["ClusterIP", "NodePort", "ExternalName"] {
        assert!(
            !with_spec(json!({ "type": type_ }))
                .unwrap()
                .is_load_balancer
        );
    }
}

#[test]
fn an_endpoint_slice_names_its_service_and_its_nodes() {
    let slice = endpoint_slice(
        serde_json::from_value(json!({
            "metadata": {
                "name": "web-1", "namespace": "shop",
                "labels": { "kubernetes.io/service-name": "web" },
            },
            "addressType": "IPv4",
            "endpoints": [
                { "addresses": ["10.1.0.1"], "nodeName": "n1", "conditions": { "ready": true } },
                { "addresses": [], "conditions": { "ready": false, "serving": true } },
            ],
        }))
        .unwrap(),
    );
    assert_eq!(slice.service, "web");
    assert_eq!(slice.family, Some(Family::V4));
    assert_eq!(slice.key, ServiceKey::new("shop", "web-1"));
    assert_eq!(
        slice.endpoints,
        [
            Endpoint {
                node: Some("n1".to_owned()),
                has_address: true,
                ready: Some(true),
                serving: None
            },
            Endpoint {
                node: None,
                has_address: false,
                ready: Some(false),
                serving: Some(true)
            },
        ]
    );
}

#[test]
fn a_node_keeps_internal_addresses_and_the_network_condition() {
    let node = node(
        serde_json::from_value(json!({
            "metadata": { "name": "n1", "labels": { "rack": "a" } },
            "status": {
                "addresses": [
                    { "type": "Hostname", "address": "n1" },
                    { "type": "InternalIP", "address": "10.0.0.1" },
                    { "type": "ExternalIP", "address": "192.0.2.9" },
                ],
                "conditions": [{ "type": "NetworkUnavailable", "status": "True" }],
            },
        }))
        .unwrap(),
    );
    assert!(node.network_unavailable);
    assert_eq!(node.addresses, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
}

#[test]
fn a_node_is_to_be_drained_where_something_says_so() {
    let mark = |object: Value| node(serde_json::from_value(object).unwrap()).draining;
    let drain = |value: &str| json!({ "ferrolb.io/drain": value });
    let tainted = |key: &str, value: &str| {
        json!({ "spec": { "taints": [
            { "key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule" },
            { "key": key, "value": value, "effect": "PreferNoSchedule" },
        ] } })
    };
    let ready = |status: &str, message: &str| {
        json!({ "status": { "conditions": [
            { "type": "Ready", "status": status, "reason": "KubeletNotReady", "message": message },
        ] } })
    };
    for (object, expected) in [
        (
            json!({ "metadata": { "labels": drain("") } }),
            Some(DrainMark::Label),
        ),
        (json!({ "metadata": { "labels": drain("false") } }), None),
        (
            json!({ "metadata": { "annotations": drain("maintenance") } }),
            Some(DrainMark::Annotation),
        ),
        (
            json!({ "metadata": { "annotations": drain("false") } }),
            None,
        ),
        (tainted("ferrolb.io/drain", ""), Some(DrainMark::Taint)),
        (tainted("ferrolb.io/drain", "false"), None),
        // Cordoned is not drained: MetalLB's users would lose their addresses.
        (tainted("node.kubernetes.io/not-ready", ""), None),
        (
            tainted("ToBeDeletedByClusterAutoscaler", "1700000000"),
            Some(DrainMark::Removal),
        ),
        (
            tainted("node.cloudprovider.kubernetes.io/shutdown", ""),
            Some(DrainMark::Removal),
        ),
        (
            ready("False", "node is shutting down"),
            Some(DrainMark::Shutdown),
        ),
        (ready("False", "PLEG is not healthy"), None),
        (ready("True", "kubelet is posting ready status"), None),
    ] {
        assert_eq!(mark(object.clone()), expected, "{object}");
    }
}

#[test]
fn a_written_namespace_has_the_label_with_its_name() {
    let namespace = namespace(
        serde_json::from_value(json!({ "metadata": {
            "name": "shop",
            "labels": { "team": "a", "kubernetes.io/metadata.name": "lie" },
        } }))
        .unwrap(),
    );
    assert_eq!(namespace.labels[Namespace::NAME_LABEL], "shop");
    assert_eq!(namespace.labels["team"], "a");
}

#[test]
fn string_data_of_a_secret_wins_over_data() {
    let facts = |document: Value| secret(serde_json::from_value(document).unwrap());
    let encoded =
        facts(json!({ "type": "kubernetes.io/basic-auth", "data": { "password": "YQ==" } }));
    assert_eq!(encoded.type_, "kubernetes.io/basic-auth");
    assert_eq!(encoded.password, Some(Secret::new("a".to_owned())));
    let both = facts(json!({ "stringData": { "password": "b" }, "data": { "password": "YQ==" } }));
    assert_eq!(both.password, Some(Secret::new("b".to_owned())));
    assert_eq!(facts(json!({})).password, None);
}

#[test]
fn what_is_kept_of_a_list_takes_no_more_room_than_it_needs() {
    let service = from(json!({
        "spec": { "ports": [{ "port": 80 }] },
        "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }] } },
    }))
    .unwrap();
    assert_eq!((service.ports.len(), service.ports.capacity()), (1, 1));
    assert_eq!((service.ingress.len(), service.ingress.capacity()), (1, 1));
    let slice = json!({ "addressType": "IPv4", "endpoints": [{ "addresses": ["10.0.0.1"] }] });
    let slice = endpoint_slice(serde_json::from_value(slice).unwrap());
    assert_eq!((slice.endpoints.len(), slice.endpoints.capacity()), (1, 1));
}
