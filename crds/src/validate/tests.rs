//! The rules, each with a good and a bad sample and the exact path; then what holds between objects.

mod advertisements;
mod between;
mod invariants;
mod peer_options;
mod peers;
mod pools;
mod speed;

use serde_json::{Value, json};

use super::{Facts, Judge, SecretFacts, Verdict};
use crate::api::{Kind, Object, V1BETA1, V1BETA2};
use crate::model::{Labels, Node, Secret, Timestamp};

const NAMESPACE: &str = "metallb-system";

/// An object without labels and creationTimestamp, in the preferred version.
fn object(kind: Kind, name: &str, spec: Value) -> Object {
    let version = if kind == Kind::BgpPeer {
        V1BETA2
    } else {
        V1BETA1
    };
    Object {
        kind,
        version: version.to_owned(),
        namespace: NAMESPACE.to_owned(),
        name: name.to_owned(),
        labels: Labels::new(),
        created: None,
        document: json!({
            "apiVersion": format!("metallb.io/{version}"),
            "kind": kind.name(),
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": spec,
        }),
    }
}

fn pool(name: &str, addresses: &[&str]) -> Object {
    object(Kind::IpAddressPool, name, json!({"addresses": addresses}))
}

fn bgp(name: &str, spec: Value) -> Object {
    object(Kind::BgpAdvertisement, name, spec)
}

/// The object with an annotation.
fn annotated(mut object: Object, key: &str, value: Value) -> Object {
    object.document["metadata"]["annotations"][key] = value;
    object
}

fn peer(name: &str, address: &str) -> Object {
    peer_with(name, json!({"peerAddress": address}))
}

/// A peer with what every peer needs, and more.
fn peer_with(name: &str, more: Value) -> Object {
    let mut spec = json!({"myASN": 64500, "peerASN": 64501});
    let fields = spec.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    object(Kind::BgpPeer, name, spec)
}

fn created(mut object: Object, seconds: i64) -> Object {
    object.created = Some(Timestamp(seconds));
    object
}

fn labelled(mut object: Object, key: &str, value: &str) -> Object {
    object.labels.insert(key.to_owned(), value.to_owned());
    object
}

fn labels(key: &str, value: &str) -> Labels {
    Labels::from([(key.to_owned(), value.to_owned())])
}

/// Facts with Nodes, each with one label.
fn nodes(nodes: &[(&str, &str, &str)]) -> Facts {
    let node = |(name, key, value): &(&str, &str, &str)| Node {
        name: (*name).to_owned(),
        labels: labels(key, value),
        ..Node::default()
    };
    Facts {
        nodes: nodes.iter().map(|n| (n.0.to_owned(), node(n))).collect(),
        ..Facts::default()
    }
}

/// Facts with one Secret in the configuration's namespace.
fn secret(name: &str, type_: &str, password: Option<&str>) -> Facts {
    let facts = SecretFacts {
        type_: type_.to_owned(),
        password: password.map(|text| Secret::new(text.to_owned())),
    };
    Facts {
        secrets: [((NAMESPACE.to_owned(), name.to_owned()), facts)].into(),
        ..Facts::default()
    }
}

/// The judgement of somebody who has never seen any of it.
fn judge(objects: &[Object]) -> Verdict {
    judge_with(objects, &Facts::default())
}

fn judge_with(objects: &[Object], facts: &Facts) -> Verdict {
    Judge::new(NAMESPACE).judge(objects, facts, false)
}

/// The problems, as `Kind/name: path`.
fn places(verdict: &Verdict) -> Vec<String> {
    let place = |problem: &super::Problem| format!("{}: {}", problem.object, problem.path);
    verdict.problems.iter().map(place).collect()
}

/// One sample of a `spec` and what is wrong with it: paths, and a part of each message.
type Sample = (Value, &'static [(&'static str, &'static str)]);

/// Judges each sample alone; all faults must be found, and no others.
#[track_caller]
fn check_samples(kind: Kind, facts: &Facts, samples: &[Sample]) {
    for (spec, expected) in samples {
        check_sample(&object(kind, "sample", spec.clone()), facts, expected);
    }
}

#[track_caller]
fn check_sample(object: &Object, facts: &Facts, expected: &[(&str, &str)]) {
    let verdict = judge_with(std::slice::from_ref(object), facts);
    let found: Vec<_> = verdict.problems.iter().map(|p| p.path.as_str()).collect();
    let paths: Vec<_> = expected.iter().map(|(path, _)| *path).collect();
    assert_eq!(found, paths, "{}\n{:#?}", object.document, verdict.problems);
    for (problem, (_, part)) in verdict.problems.iter().zip(expected) {
        assert!(problem.message.contains(part), "{:?} in {problem}", part);
    }
}
