//! Every request that is written to the API server.

#![expect(
    clippy::disallowed_methods,
    reason = "driver: requests have deadlines and say when they were made"
)]

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use ferrolb_crds::api::{self, IpAddressPoolStatus, Kind, Resource};
use ferrolb_crds::model::{QualifiedName, ServiceKey, Timestamp};
use ferrolb_crds::source::kubernetes::request::{self, Failed};
use ferrolb_crds::source::kubernetes::{Observed, observed};
use ferrolb_crds::state::{Condition, rfc3339};
use k8s_openapi::api::coordination::v1 as coordination;
use k8s_openapi::api::core::v1 as core;
use kube::Client;
use kube::api::{Api, Patch as Body, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};

use crate::events::{Event, Severity};
use crate::lease::{DURATION, Draft, Intent, Lease, Log, Refusal as LeaseRefusal};
use crate::publication::{Patch, Refusal, Remnant};
use crate::verdict::{Seen, Step};

/// The API server, for what this program writes.
#[derive(Clone)]
pub(super) struct Server {
    client: Client,
    namespace: String,
    identity: String,
}

impl Server {
    pub(super) fn new(client: Client, namespace: &str, identity: &str) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            identity: identity.to_owned(),
        }
    }

    /// One strategic-merge patch of `/status`: ingress, condition and annotations together.
    pub(super) async fn patch_service(&self, patch: Patch) -> (Patch, Result<Observed, Refusal>) {
        let services: Api<core::Service> =
            Api::namespaced(self.client.clone(), &patch.key.namespace);
        let body = Body::Strategic(service_patch(&patch, wall_clock()));
        let parameters = PatchParams::default();
        let answer = services.patch_status(&patch.key.name, &parameters, &body);
        let result = within(answer).await;
        let result = result.map(|service| observed(&service));
        (patch, result.map_err(refusal))
    }

    /// Takes away what was written into a Service that is no load balancer any more.
    pub(super) async fn clean(&self, remnant: &Remnant) -> Result<(), Refusal> {
        let Remnant { key, uid } = remnant;
        let services: Api<core::Service> = Api::namespaced(self.client.clone(), &key.namespace);
        let body = Body::Strategic(remnant_patch(uid));
        let parameters = PatchParams::default();
        match within(services.patch_status(&key.name, &parameters, &body)).await {
            Ok(_) => Ok(()),
            // The UID of a Service cannot be changed into that of another.
            Err(failed) if failed.code() == Some(422) => Err(Refusal::Conflict),
            Err(failed) => Err(refusal(failed)),
        }
    }

    pub(super) async fn read_lease(&self) -> Result<Option<Lease>, String> {
        match within(self.leases().get(LEASE)).await {
            Ok(object) => Ok(Some(lease(&object))),
            Err(failed) if failed.code() == Some(404) => Ok(None),
            Err(failed) => Err(failed.to_string()),
        }
    }

    pub(super) async fn write_lease(&self, draft: Draft) -> Result<Lease, LeaseRefusal> {
        let object = lease_object(&draft, &self.namespace);
        let parameters = PostParams::default();
        let leases = self.leases();
        let written = match draft.version {
            Some(_) => within(leases.replace(LEASE, &parameters, &object)).await,
            None => within(leases.create(&parameters, &object)).await,
        };
        match written {
            Ok(object) => Ok(lease(&object)),
            Err(failed) if matches!(failed.code(), Some(404 | 409)) => Err(LeaseRefusal::Conflict),
            Err(failed) => Err(LeaseRefusal::Failed(failed.to_string())),
        }
    }

    fn leases(&self) -> Api<coordination::Lease> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(super) async fn write_event(&self, event: Event, uid: String) -> Result<(), String> {
        let events: Api<core::Event> =
            Api::namespaced(self.client.clone(), &event.service.namespace);
        let object = event_object(&event, &uid, &self.identity, SystemTime::now());
        let written = within(events.create(&PostParams::default(), &object)).await;
        written.map(drop).map_err(cause)
    }

    pub(super) async fn write_pool_status(
        &self,
        name: String,
        status: IpAddressPoolStatus,
    ) -> (String, Result<(), String>) {
        let pools = self.configuration(&Kind::IpAddressPool.resource());
        let body = Body::Merge(json!({"status": status}));
        let parameters = PatchParams::default();
        let answer = pools.patch_status(&name, &parameters, &body);
        let written = within(answer).await.map(drop).map_err(cause);
        (name, written)
    }

    fn configuration(&self, resource: &Resource) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk(resource.group, resource.version, resource.kind);
        let resource = ApiResource::from_gvk_with_plural(&kind, resource.plural);
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    /// Makes the ConfigurationState, or has it say something; returns what is there then.
    pub(super) async fn write_verdict(&self, step: Step) -> Result<Seen, String> {
        let states = self.configuration(&api::CONFIGURATION_STATE);
        let written = match step {
            Step::Make => {
                let object = json!({
                    "apiVersion": api::CONFIGURATION_STATE.api_version(),
                    "kind": api::CONFIGURATION_STATE.kind,
                    "metadata": {
                        "name": STATE,
                        "labels": {api::LABEL_COMPONENT_TYPE: api::COMPONENT_CONTROLLER},
                    },
                });
                let object = serde_json::from_value(object).map_err(|error| error.to_string())?;
                within(states.create(&PostParams::default(), &object)).await
            }
            Step::Say(status) => {
                let body = Body::Merge(json!({"status": status}));
                // MetalLB's users know the manager of the fields by its name.
                let parameters = PatchParams {
                    field_manager: Some(api::POOLS_FIELD_OWNER.to_owned()),
                    ..PatchParams::default()
                };
                within(states.patch_status(STATE, &parameters, &body)).await
            }
        };
        let object = written.map_err(cause)?;
        let version = object.metadata.resource_version.unwrap_or_default();
        Ok(Seen::object(&version, &object.data["status"]))
    }

    /// Makes the Secret with the heartbeat key, unless there is one. True when it was made.
    pub(super) async fn make_heartbeat_key(
        &self,
        name: &str,
        deployment: Option<&str>,
    ) -> Result<bool, String> {
        let secrets: Api<core::Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let known = within(secrets.get_opt(name)).await.map_err(cause)?;
        if known.is_some() {
            return Ok(false);
        }
        let mut metadata = json!({"name": name});
        if let Some(owner) = self.owner(deployment).await {
            metadata["ownerReferences"] = json!([owner]);
        }
        let object = json!({
            "metadata": metadata,
            "stringData": {api::HEARTBEAT_KEY: random()?},
        });
        let object = serde_json::from_value(object).map_err(|error| error.to_string())?;
        match within(secrets.create(&PostParams::default(), &object)).await {
            Ok(_) => Ok(true),
            // Another controller was faster.
            Err(failed) if failed.code() == Some(409) => Ok(false),
            Err(failed) => Err(failed.to_string()),
        }
    }

    async fn owner(&self, deployment: Option<&str>) -> Option<Value> {
        use k8s_openapi::api::apps::v1::Deployment;
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let object = within(deployments.get_opt(deployment?)).await.ok()??;
        Some(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "name": object.metadata.name, "uid": object.metadata.uid,
        }))
    }
}

async fn within<T>(answer: impl Future<Output = kube::Result<T>>) -> Result<T, Failed> {
    request::within(PATIENCE, answer).await
}

fn cause(failed: Failed) -> String {
    failed.to_string()
}

fn refusal(failed: Failed) -> Refusal {
    match failed.code() {
        Some(404 | 409) => Refusal::Conflict,
        Some(400..=428 | 430..=499) => Refusal::Refused(failed.to_string()),
        Some(_) | None => Refusal::Unknown(failed.to_string()),
    }
}

fn service_patch(patch: &Patch, now: Timestamp) -> Value {
    let status = &patch.status;
    let entries: Vec<Value> = status.ingress.iter().map(|ip| json!({"ip": ip})).collect();
    // An absent list takes what is there away; an empty one would be left in the object.
    let ingress = if entries.is_empty() {
        Value::Null
    } else {
        json!(entries)
    };
    let condition = Condition {
        allocated: !status.ingress.is_empty(),
        reason: status.reason.to_string(),
        message: status.message.to_string(),
        since: patch.since.unwrap_or(now),
    };
    json!({
        "metadata": {
            "resourceVersion": patch.version,
            "annotations": {
                api::IP_ALLOCATED_FROM_POOL: status.pool,
                api::LAYER2_HINT: status.hints.annotation(),
            },
        },
        "status": {
            "loadBalancer": {"ingress": ingress},
            "conditions": [{
                "type": api::CONDITION_ALLOCATED,
                "status": if condition.allocated { "True" } else { "False" },
                "reason": condition.reason,
                "message": condition.message,
                "lastTransitionTime": rfc3339(condition.since),
            }],
        },
    })
}

fn remnant_patch(uid: &str) -> Value {
    json!({
        "metadata": {
            "uid": uid,
            "annotations": {api::IP_ALLOCATED_FROM_POOL: null, api::LAYER2_HINT: null},
        },
        "status": {
            "conditions": [{"$patch": "delete", "type": api::CONDITION_ALLOCATED}],
        },
    })
}

fn lease(object: &coordination::Lease) -> Lease {
    let spec = object.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds);
    let seconds = seconds.and_then(|s| u64::try_from(s).ok());
    let annotations = object.metadata.annotations.as_ref();
    let log = annotations.and_then(|all| all.get(INTENTS));
    Lease {
        version: object.metadata.resource_version.clone().unwrap_or_default(),
        holder: spec
            .and_then(|spec| spec.holder_identity.clone())
            .unwrap_or_default(),
        duration: seconds.map_or(DURATION, Duration::from_secs),
        transitions: spec.and_then(|s| s.lease_transitions).unwrap_or_default(),
        log: log.map(|text| parse_log(text)).unwrap_or_default(),
    }
}

fn lease_object(draft: &Draft, namespace: &str) -> coordination::Lease {
    let now = now_text();
    let mut object = json!({
        "metadata": {
            "name": LEASE, "namespace": namespace,
            "resourceVersion": draft.version,
            "annotations": {INTENTS: log_text(&draft.log)},
        },
        "spec": {
            "holderIdentity": draft.holder,
            "leaseDurationSeconds": DURATION.as_secs(),
            "leaseTransitions": draft.transitions,
            "renewTime": now,
        },
    });
    if draft.is_taking {
        object["spec"]["acquireTime"] = json!(now);
    }
    serde_json::from_value(object).expect("it is what a Lease is made of")
}

/// `{"through":7,"intents":{"default/web":["6","10.0.0.1"]}}`
fn log_text(log: &Log) -> String {
    let intents: BTreeMap<String, Vec<String>> = log
        .intents
        .iter()
        .map(|(key, intent)| {
            let addresses = intent.addresses.iter().map(IpAddr::to_string);
            let words = std::iter::once(intent.version.clone()).chain(addresses);
            (key.to_string(), words.collect())
        })
        .collect();
    json!({"through": log.through, "intents": intents}).to_string()
}

/// What is no intent, nobody here wrote.
fn parse_log(text: &str) -> Log {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    let entries = value["intents"].as_object().into_iter().flatten();
    let intents = entries.filter_map(|(key, words)| {
        let (namespace, name) = key.split_once('/')?;
        let mut words = words.as_array()?.iter().filter_map(Value::as_str);
        let intent = Intent {
            version: words.next()?.to_owned(),
            addresses: words.filter_map(|word| word.parse().ok()).collect(),
        };
        Some((ServiceKey::new(namespace, name), intent))
    });
    Log {
        through: value["through"].as_u64().unwrap_or_default(),
        intents: intents.collect(),
    }
}

fn event_object(event: &Event, uid: &str, identity: &str, now: SystemTime) -> core::Event {
    let QualifiedName { namespace, name } = &*event.service;
    let object = api::Event {
        about: api::Subject::Service {
            namespace,
            name,
            uid,
        },
        is_warning: event.severity == Severity::Warning,
        reason: &event.reason,
        message: &event.message,
        component: COMPONENT,
        instance: identity,
        host: None,
    };
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH);
    let instant = since_epoch.unwrap_or_default().as_nanos();
    let object = object.object(&now_text(), instant);
    serde_json::from_value(object).expect("it is what an Event is made of")
}

/// 16 random bytes as hexadecimal digits.
pub(super) fn random() -> Result<String, String> {
    use ring::rand::SecureRandom as _;
    let mut bytes = [0; 16];
    let random = ring::rand::SystemRandom::new();
    random
        .fill(&mut bytes)
        .map_err(|_| "the system gives no random numbers".to_owned())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

pub(super) fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = since.unwrap_or_default().as_secs();
    Timestamp(i64::try_from(seconds).unwrap_or(i64::MAX))
}

pub(super) fn now_text() -> String {
    rfc3339(wall_clock())
}

const STATE: &str = api::COMPONENT_CONTROLLER;
const LEASE: &str = "ferrolb-controller";
const INTENTS: &str = "ferrolb.io/intents";
const COMPONENT: &str = "metallb-controller";

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ferrolb_crds::model::Hints;

    use super::*;
    use crate::fixture::{ips, key};
    use crate::reconcile::Status;

    #[test]
    fn the_log_is_read_as_it_was_written() {
        let log = Log {
            through: 7,
            intents: BTreeMap::from([(
                key("s"),
                Intent {
                    version: "6".to_owned(),
                    addresses: ips(&["10.0.0.1", "fc00::1"]),
                },
            )]),
        };
        assert_eq!(parse_log(&log_text(&log)), log);
        for text in ["", "[]", "{\"intents\":{\"s\":[\"1\"],\"a/b\":[]}}"] {
            assert_eq!(parse_log(text), Log::default(), "{text}");
        }
    }

    #[test]
    fn one_patch_says_everything() {
        let patch = Patch {
            key: key("s"),
            version: "6".to_owned(),
            since: Some(Timestamp(0)),
            status: Arc::new(Status {
                pool: Some("first".to_owned()),
                ingress: ips(&["10.0.0.1"]),
                hints: Hints::parse("10.0.0.1=n1"),
                reason: "IPAllocated".into(),
                message: "it has what it asks for".into(),
            }),
        };
        let body = service_patch(&patch, Timestamp(9));
        assert_eq!(
            body,
            json!({
                "metadata": {
                    "resourceVersion": "6",
                    "annotations": {
                        "metallb.io/ip-allocated-from-pool": "first",
                        "ferrolb.io/layer2-hint": "10.0.0.1=n1",
                    },
                },
                "status": {
                    "loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]},
                    "conditions": [{
                        "type": "ferrolb.io/Allocated", "status": "True",
                        "reason": "IPAllocated", "message": "it has what it asks for",
                        "lastTransitionTime": "1970-01-01T00:00:00Z",
                    }],
                },
            })
        );
        let nothing = Patch {
            status: Arc::default(),
            since: None,
            ..patch
        };
        let body = service_patch(&nothing, Timestamp(9));
        assert_eq!(body["status"]["loadBalancer"]["ingress"], Value::Null);
        for annotation in [
            "metallb.io/ip-allocated-from-pool",
            "ferrolb.io/layer2-hint",
        ] {
            let annotations = body["metadata"]["annotations"].as_object().unwrap();
            assert_eq!(annotations.get(annotation), Some(&Value::Null));
        }
        assert_eq!(body["status"]["conditions"][0]["status"], "False");
    }

    #[test]
    fn of_a_service_that_is_no_load_balancer_only_ours_is_taken_away() {
        assert_eq!(
            remnant_patch("u"),
            json!({
                "metadata": {
                    "uid": "u",
                    "annotations": {
                        "metallb.io/ip-allocated-from-pool": null,
                        "ferrolb.io/layer2-hint": null,
                    },
                },
                "status": {
                    "conditions": [{"$patch": "delete", "type": "ferrolb.io/Allocated"}],
                },
            })
        );
    }

    #[test]
    fn a_lease_comes_back_as_it_was_written() {
        let draft = Draft {
            version: Some("3".to_owned()),
            holder: "a_1".to_owned(),
            transitions: 2,
            is_taking: true,
            log: Log::default(),
        };
        let read = lease(&lease_object(&draft, "metallb-system"));
        let expected = Lease {
            version: "3".to_owned(),
            holder: "a_1".to_owned(),
            duration: DURATION,
            transitions: 2,
            log: Log::default(),
        };
        assert_eq!(read, expected);
    }
}
