//! What the API server has, as the rest of the program knows it: only what matters passes the door.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition as ServerCondition, ObjectMeta};
use kube::core::DynamicObject;
use serde_json::{Map, Value, json};

use crate::api::{self, IpAddressPoolStatus};
use crate::model::{Hints, Timestamp};
use crate::source::resource::{self, FieldError};
use crate::state::Condition;
use crate::store::{Kind, ObjectKey, Resource};

/// One object at the door.
pub(super) struct Item {
    pub(super) key: ObjectKey,
    pub(super) resource: Result<Resource, FieldError>,
    pub(super) seen: Seen,
}

/// What else is known of it.
pub(super) enum Seen {
    Service(Box<Observed>),
    Pool(Option<IpAddressPoolStatus>),
    Nothing,
}

/// A Service as the API server has it: which object it is, and what its status says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Its UID.
    pub uid: String,
    /// Its resourceVersion.
    pub version: String,
    /// The addresses in its status, in order.
    pub ingress: Vec<IpAddr>,
    /// Whether the ingress is made of such addresses only, each of them kube-proxy's to accept: what
    /// this program would have written.
    pub is_plain: bool,
    /// The annotation with the pool.
    pub pool: Option<String>,
    /// The annotation with the hints.
    pub hints: Hints,
    /// The condition `ferrolb.io/Allocated`.
    pub condition: Option<Condition>,
}

/// Converts a Service.
pub(super) fn service(object: core::Service) -> Item {
    let observed = observed(&object);
    Item {
        key: key(Kind::Service, &object.metadata),
        resource: resource::service(object).map(|service| Resource::Service(Arc::new(service))),
        seen: Seen::Service(Box::new(observed)),
    }
}

/// What the Service's status says.
pub fn observed(object: &core::Service) -> Observed {
    let metadata = &object.metadata;
    let status = object.status.as_ref();
    let balancer = status.and_then(|status| status.load_balancer.as_ref());
    let entries = balancer.and_then(|balancer| balancer.ingress.as_deref());
    let entries = entries.unwrap_or_default();
    let address = |entry: &core::LoadBalancerIngress| entry.ip.as_ref()?.parse().ok();
    let is_plain = |entry: &core::LoadBalancerIngress| {
        let mode = entry.ip_mode.as_deref();
        address(entry).is_some() && entry.hostname.is_none() && matches!(mode, None | Some("VIP"))
    };
    let conditions = status.and_then(|status| status.conditions.as_deref());
    let mut conditions = conditions.unwrap_or_default().iter();
    let annotations = metadata.annotations.as_ref();
    Observed {
        uid: metadata.uid.clone().unwrap_or_default(),
        version: metadata.resource_version.clone().unwrap_or_default(),
        ingress: entries.iter().filter_map(address).collect(),
        is_plain: entries.iter().all(is_plain),
        pool: annotations.and_then(|all| all.get(api::IP_ALLOCATED_FROM_POOL).cloned()),
        hints: annotations.map(resource::hints).unwrap_or_default(),
        condition: conditions
            .find(|condition| condition.type_ == api::CONDITION_ALLOCATED)
            .map(condition),
    }
}

fn condition(condition: &ServerCondition) -> Condition {
    Condition {
        allocated: condition.status == "True",
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        since: Timestamp(condition.last_transition_time.0.as_second()),
    }
}

pub(super) fn endpoint_slice(object: discovery::EndpointSlice) -> Item {
    Item {
        key: key(Kind::EndpointSlice, &object.metadata),
        resource: Ok(Resource::EndpointSlice(Arc::new(resource::endpoint_slice(
            object,
        )))),
        seen: Seen::Nothing,
    }
}

pub(super) fn node(object: core::Node) -> Item {
    Item {
        key: key(Kind::Node, &object.metadata),
        resource: Ok(Resource::Node(resource::node(object))),
        seen: Seen::Nothing,
    }
}

pub(super) fn namespace(object: core::Namespace) -> Item {
    Item {
        key: key(Kind::Namespace, &object.metadata),
        resource: Ok(Resource::Namespace(resource::namespace(object))),
        seen: Seen::Nothing,
    }
}

pub(super) fn secret(object: core::Secret) -> Item {
    Item {
        key: key(Kind::Secret, &object.metadata),
        resource: Ok(Resource::Secret(resource::secret(object))),
        seen: Seen::Nothing,
    }
}

/// The heartbeat key in a Secret, if there is one.
pub(super) fn heartbeat_key(object: core::Secret) -> Option<Vec<u8>> {
    let key = object.data?.remove(api::HEARTBEAT_KEY)?.0;
    (!key.is_empty()).then_some(key)
}

/// Converts a metallb.io object. Its status is not configuration, and who manages which field of it
/// is nobody's business here.
pub(super) fn configuration(object: DynamicObject, kind: api::Kind) -> Item {
    let DynamicObject {
        metadata, mut data, ..
    } = object;
    let api_version = format!("{}/{}", api::GROUP, kind.versions()[0]);
    let mut document = Map::new();
    document.insert("apiVersion".to_owned(), json!(api_version));
    document.insert("kind".to_owned(), json!(kind.name()));
    let mut described = json!({"name": metadata.name, "namespace": metadata.namespace});
    // Annotations of others, kubectl's say, configure nothing.
    let annotations = metadata.annotations.iter().flatten();
    let ours: Map<_, _> = annotations
        .filter(|(name, _)| name.starts_with(api::ANNOTATION_PREFIX))
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    if !ours.is_empty() {
        described["annotations"] = Value::Object(ours);
    }
    document.insert("metadata".to_owned(), described);
    if let Some(spec) = data.get_mut("spec") {
        document.insert("spec".to_owned(), spec.take());
    }
    let status = || serde_json::from_value(data.get("status")?.clone()).ok();
    let seen = match kind {
        api::Kind::IpAddressPool => Seen::Pool(status()),
        api::Kind::L2Advertisement
        | api::Kind::BgpAdvertisement
        | api::Kind::BgpPeer
        | api::Kind::BfdProfile
        | api::Kind::Community => Seen::Nothing,
    };
    let key = key(Kind::Configuration(kind), &metadata);
    let object = api::Object {
        kind,
        version: kind.versions()[0].to_owned(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        created: resource::created_by(&metadata),
        labels: metadata.labels.unwrap_or_default(),
        document: Value::Object(document),
    };
    Item {
        key,
        resource: Ok(Resource::Configuration(Arc::new(object))),
        seen,
    }
}

fn key(kind: Kind, metadata: &ObjectMeta) -> ObjectKey {
    ObjectKey {
        kind,
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: Value) -> core::Service {
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn what_a_service_holds_is_seen() {
        let seen = observed(&read(json!({
            "metadata": {
                "uid": "u", "resourceVersion": "7",
                "annotations": {
                    "metallb.io/ip-allocated-from-pool": "first",
                    "ferrolb.io/layer2-hint": "10.0.0.1=n1",
                },
            },
            "status": {
                "loadBalancer": {"ingress": [{"ip": "10.0.0.1", "ipMode": "VIP"}]},
                "conditions": [
                    {"type": "other", "status": "True", "reason": "r", "message": "",
                     "lastTransitionTime": "2026-01-01T00:00:00Z"},
                    {"type": "ferrolb.io/Allocated", "status": "True", "reason": "IPAllocated",
                     "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"},
                ],
            },
        })));
        assert_eq!(seen.uid, "u");
        assert_eq!(seen.version, "7");
        assert_eq!(seen.ingress, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        assert!(seen.is_plain);
        assert_eq!(seen.pool.as_deref(), Some("first"));
        assert_eq!(seen.hints, Hints::parse("10.0.0.1=n1"));
        let condition = seen.condition.unwrap();
        assert!(condition.allocated);
        assert_eq!(condition.reason, "IPAllocated");
    }

    #[test]
    fn an_ingress_of_anything_but_plain_addresses_is_told_apart() {
        for entry in [
            json!({"hostname": "example.org"}),
            json!({"ip": "10.0.0.1", "ipMode": "Proxy"}),
            json!({"ip": "10.0.0.1", "hostname": "example.org"}),
        ] {
            let seen = observed(&read(
                json!({"status": {"loadBalancer": {"ingress": [entry]}}}),
            ));
            assert!(!seen.is_plain, "{entry}");
        }
        assert!(observed(&read(json!({}))).is_plain);
    }

    #[test]
    fn of_a_configuration_object_spec_labels_and_our_annotations_count() {
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
            "metadata": {
                "name": "p", "namespace": "metallb-system", "labels": {"a": "b"},
                "managedFields": [{"manager": "kubectl"}], "resourceVersion": "9",
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "annotations": {"ferrolb.io/a": "b", "kubectl.kubernetes.io/c": "d"},
            },
            "spec": {"addresses": ["10.0.0.0/24"]},
            "status": {"assignedIPv4": 1, "assignedIPv6": 0, "availableIPv4": 255, "availableIPv6": 0},
        }))
        .unwrap();
        let item = configuration(object, api::Kind::IpAddressPool);
        let Ok(Resource::Configuration(object)) = &item.resource else {
            panic!("no configuration");
        };
        assert_eq!(
            object.document,
            json!({
                "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
                "metadata": {
                    "name": "p", "namespace": "metallb-system",
                    "annotations": {"ferrolb.io/a": "b"},
                },
                "spec": {"addresses": ["10.0.0.0/24"]},
            })
        );
        assert_eq!(object.labels["a"], "b");
        assert!(object.created.is_some());
        let Seen::Pool(Some(status)) = &item.seen else {
            panic!("no status");
        };
        assert_eq!(status.available_ipv4, 255);
    }
}
