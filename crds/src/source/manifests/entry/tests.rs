use serde_json::json;

use super::*;
use crate::source::manifests::document::whole;

fn contents(text: &str) -> Contents {
    Contents::of(whole(text).unwrap(), "metallb-system")
}

fn keys(contents: &Contents) -> Vec<String> {
    let key = |entry: &Entry| {
        let key = &entry.key;
        format!("{} {}/{}", key.kind.name(), key.namespace, key.name)
    };
    contents.entries.iter().map(key).collect()
}

fn faults(contents: &Contents) -> Vec<(usize, Option<usize>, &str)> {
    contents
        .faults
        .iter()
        .map(|fault| {
            (
                fault.place.document,
                fault.place.item,
                fault.error.path.as_str(),
            )
        })
        .collect()
}

const KINDS: &str = "
{apiVersion: v1, kind: Service, metadata: {name: web}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: web-1}, endpoints: [], addressType: IPv4}
---
{apiVersion: v1, kind: Node, metadata: {name: n1.example.com, namespace: ignored}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: Secret, metadata: {name: key, namespace: metallb-system}}
---
{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: edge}}
---
{apiVersion: metallb.io/v1beta2, kind: BGPPeer, metadata: {name: router, namespace: other}}
";

#[test]
fn every_kind_and_the_namespace_of_those_that_name_none() {
    let contents = contents(KINDS);
    assert_eq!(
        keys(&contents),
        [
            "Service default/web",
            "Service shop/web",
            "EndpointSlice default/web-1",
            "Node /n1.example.com",
            "Namespace /shop",
            "Secret metallb-system/key",
            "IPAddressPool metallb-system/edge",
            "BGPPeer other/router",
        ]
    );
    assert!(contents.entries.iter().all(|entry| entry.value.is_ok()));
}

#[test]
fn other_kinds_and_empty_documents_are_passed_over() {
    let contents = contents(
        "# nothing\n---\n---\n{apiVersion: apps/v1, kind: Deployment, metadata: {name: 7}}\n---\n\
         {apiVersion: kustomize.config.k8s.io/v1beta1, kind: Kustomization}\n",
    );
    assert!(contents.entries.is_empty() && contents.faults.is_empty());
}

#[test]
fn lists_are_unpacked() {
    let contents = contents(
        "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {name: a}}
- {apiVersion: apps/v1, kind: Deployment, metadata: {name: b}}
- {apiVersion: v1, kind: Node, metadata: {name: c}}
---
{apiVersion: v1, kind: ServiceList, items: [{metadata: {name: d}}]}
---
{apiVersion: metallb.io/v1beta1, kind: IPAddressPoolList, items: [{metadata: {name: e}}]}
---
{apiVersion: v1, kind: List, items: null}
",
    );
    assert_eq!(
        keys(&contents),
        [
            "Service default/a",
            "Node /c",
            "Service default/d",
            "IPAddressPool metallb-system/e"
        ]
    );
    let places: Vec<String> = contents
        .entries
        .iter()
        .map(|entry| entry.place.path("spec"))
        .collect();
    assert_eq!(
        places,
        [
            "items[0].spec",
            "items[2].spec",
            "items[0].spec",
            "items[0].spec"
        ]
    );
}

#[test]
fn a_list_in_a_list_is_a_problem_that_may_hide_anything() {
    let contents = contents(
        "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {name: a}}
- {apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Service, metadata: {name: b}}]}
",
    );
    assert_eq!(keys(&contents), ["Service default/a"]);
    let [fault] = contents.faults.as_slice() else {
        panic!("{:?}", contents.faults);
    };
    assert_eq!((fault.place.item, &fault.kind), (Some(1), &None));
    assert!(fault.error.to_string().contains("write its items out"));
}

#[test]
fn a_list_without_a_list_of_items_is_a_problem_that_may_hide_anything() {
    for (text, message) in [
        (
            "{apiVersion: v1, kind: List, items: {a: {kind: Service}}}",
            "is no list",
        ),
        (
            "{apiVersion: v1, kind: ServiceList, items: x}",
            "is no list",
        ),
        ("{apiVersion: v1, kind: List}", "is missing"),
    ] {
        let contents = contents(text);
        let [fault] = contents.faults.as_slice() else {
            panic!("{text}: {:?}", contents.faults);
        };
        assert!(fault.error.message.starts_with(message), "{text}");
        assert_eq!(
            (&*fault.error.path, &fault.hides),
            ("items", &Hides::Anything)
        );
    }
}

#[test]
fn kinds_of_others_that_end_like_a_list_are_passed_over() {
    let contents = contents(
        "
{apiVersion: example.org/v1, kind: BlockList, items: [192.0.2.1]}
---
{apiVersion: apps/v1, kind: DeploymentList, items: [{metadata: {name: a}}]}
---
{apiVersion: v1, kind: List, items: [{apiVersion: apps/v1, kind: DeploymentList, items: []}]}
",
    );
    assert!(contents.entries.is_empty());
    assert_eq!(contents.faults, []);
}

#[test]
fn a_document_that_is_no_object_is_a_problem_and_others_go_on() {
    let contents = contents(
        "
[1, 2]
---
text
---
{apiVersion: v1, metadata: {name: a}}
---
{kind: Service, metadata: {name: a}}
---
{apiVersion: v1, kind: Service}
---
{apiVersion: v1, kind: Service, metadata: {name: 5}}
---
{apiVersion: metallb.io/v1, kind: IPAddressPool, metadata: {name: a}}
---
{apiVersion: v1, kind: Service, metadata: {name: good}}
---
{apiVersion: v1, kind: List, items: [7]}
",
    );
    assert_eq!(keys(&contents), ["Service default/good"]);
    assert_eq!(
        faults(&contents),
        [
            (0, None, ""),
            (1, None, ""),
            (2, None, "kind"),
            (3, None, "apiVersion"),
            (4, None, "metadata.name"),
            (5, None, "metadata.name"),
            (6, None, "apiVersion"),
            (8, Some(0), ""),
        ]
    );
}

#[test]
fn invalid_kubernetes_names_are_refused() {
    let long = "a".repeat(64);
    let refused = [
        ("Service", "1web"),
        ("Service", "Web"),
        ("Service", "web.a"),
        ("Service", "web-"),
        ("Service", "../web"),
        ("Service", ""),
        ("Service", long.as_str()),
        ("Namespace", "a.b"),
        ("Namespace", "-a"),
        ("Node", "n1."),
        ("Node", "n_1"),
        ("Secret", "a..b"),
    ];
    for (kind, name) in refused {
        let contents = Contents::of(
            vec![json!({ "apiVersion": "v1", "kind": kind, "metadata": { "name": name } })],
            "x",
        );
        assert!(contents.entries.is_empty(), "{kind} {name}");
        assert_eq!(faults(&contents), [(0, None, "metadata.name")]);
    }
    for namespace in ["..", "A", "a/b", long.as_str()] {
        let metadata = json!({ "name": "web", "namespace": namespace });
        let contents = Contents::of(
            vec![json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata })],
            "x",
        );
        assert_eq!(faults(&contents), [(0, None, "metadata.namespace")]);
    }
}

fn error(text: &str) -> FieldError {
    match contents(text).entries.remove(0).value {
        Ok(_) => panic!("converted: {text}"),
        Err(error) => error,
    }
}

#[test]
fn a_field_of_the_wrong_type_is_named_by_its_path() {
    for (fields, path) in [
        (
            "spec: {ports: [{port: 80}, {port: '80'}]}",
            "spec.ports[1].port",
        ),
        ("spec: {type: [LoadBalancer]}", "spec.type"),
        (
            "spec: {loadBalancerSourceRanges: 10.0.0.0/8}",
            "spec.loadBalancerSourceRanges",
        ),
        ("spec: {ports: [{port: 0}]}", "spec.ports[0].port"),
        (
            "status: {loadBalancer: {ingress: [{ip: 5}]}}",
            "status.loadBalancer.ingress[0].ip",
        ),
    ] {
        let text = format!("{{apiVersion: v1, kind: Service, metadata: {{name: web}}, {fields}}}");
        assert_eq!(error(&text).path, path);
    }
    let pool = "{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: a, labels: {b: 1}}}";
    assert_eq!(error(pool).path, "metadata.labels.b");
    let annotated = "{apiVersion: v1, kind: Service, metadata: {name: web, annotations: {metallb.io/allow-shared-ip: 5}}}";
    let path = "metadata.annotations[metallb.io/allow-shared-ip]";
    assert_eq!(error(annotated).path, path);
}

#[test]
fn i10_what_a_secret_says_is_not_in_its_problem() {
    for fields in [
        "data: hunter2",
        "stringData: [hunter2]",
        "data: {password: 'hunter2!'}",
        "stringData: {password: {hunter2: hunter2}}",
    ] {
        let text = format!("{{apiVersion: v1, kind: Secret, metadata: {{name: key}}, {fields}}}");
        let error = error(&text);
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn a_metallb_object_keeps_its_document_labels_and_age() {
    let text = "{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: edge, \
                labels: {a: b}, creationTimestamp: '1970-01-01T00:00:09Z'}, spec: {addresses: [x]}}";
    let Some(Ok(Resource::Configuration(object))) =
        contents(text).entries.pop().map(|entry| entry.value)
    else {
        panic!("a pool is configuration");
    };
    assert_eq!(object.version, "v1beta1");
    assert_eq!(object.labels["a"], "b");
    assert_eq!(object.created, Some(crate::model::Timestamp(9)));
    assert_eq!(object.document["spec"]["addresses"][0], "x");
}
