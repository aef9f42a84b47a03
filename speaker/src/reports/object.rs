//! The objects as the API server has them.

use std::collections::BTreeMap;

use ferrolb_crds::api;
use ferrolb_crds::model::ServiceKey;
use ferrolb_crds::validate::Statement;
use ring::digest;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Body, Details, Event, Key, Notice, Session, Sign, Sort, boundary};

/// An object that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Which.
    pub key: Key,
    /// Its name: not always the one that it would be given.
    pub name: String,
    /// Its resourceVersion.
    pub version: u64,
    /// What it says, if that is understood.
    pub body: Option<Body>,
    /// The sign that it carries.
    pub sign: Option<Sign>,
}

/// The name of an object that is made.
pub fn name(key: &Key, node: &str) -> String {
    match key {
        Key::Layer2(service) => of_service(api::SERVICE_L2_STATUS_PREFIX, node, service),
        Key::Bgp(service) => of_service(api::SERVICE_BGP_STATUS_PREFIX, node, service),
        Key::Configuration => shortened(&format!("{}-{node}", api::COMPONENT_SPEAKER), NAME),
        Key::Session(peer) => shortened(&format!("{node}-{peer}"), NAME),
    }
}

fn of_service(prefix: &str, node: &str, service: &ServiceKey) -> String {
    // No name has a slash in it.
    format!("{prefix}{}", fingerprint(&format!("{node}/{service}")))
}

/// The labels of an object.
pub fn labels(key: &Key, node: &str) -> BTreeMap<&'static str, String> {
    let about = |service: &ServiceKey| {
        BTreeMap::from([
            (api::LABEL_NODE, label(node)),
            (api::LABEL_SERVICE_NAME, label(&service.name)),
            (api::LABEL_SERVICE_NAMESPACE, label(&service.namespace)),
        ])
    };
    match key {
        Key::Layer2(service) | Key::Bgp(service) => about(service),
        Key::Configuration => BTreeMap::from([
            (api::LABEL_COMPONENT_TYPE, api::COMPONENT_SPEAKER.to_owned()),
            (api::LABEL_NODE_NAME, label(node)),
        ]),
        Key::Session(peer) => BTreeMap::from([
            (api::LABEL_NODE, label(node)),
            (api::LABEL_PEER, label(peer)),
        ]),
    }
}

/// A name as a label's value, which is shorter.
pub fn label(name: &str) -> String {
    shortened(name, LABEL)
}

/// What is there before it says anything. It belongs to the Node, so that it goes with it, and so
/// that a rollout of speakers takes nothing away.
pub fn metadata(key: &Key, node: &str, uid: Option<&str>) -> Value {
    let resource = key.sort().resource();
    let owner =
        uid.map(|uid| json!({"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid}));
    json!({
        "apiVersion": resource.api_version(),
        "kind": resource.kind,
        "metadata": {
            "name": name(key, node),
            "labels": labels(key, node),
            "ownerReferences": owner.into_iter().collect::<Vec<_>>(),
        },
    })
}

/// A merge patch that has an object say this; `present` is what it says.
pub fn status(key: &Key, node: &str, body: &Body, present: Option<&Body>, now: &str) -> Value {
    let status = match (key, body) {
        (Key::Layer2(service), Body::Layer2(interfaces)) => {
            let interfaces = interfaces.iter().map(|name| json!({"name": name}));
            let interfaces = interfaces.collect::<Vec<_>>();
            service_status(service, node, "interfaces", json!(interfaces))
        }
        (Key::Bgp(service), Body::Bgp(peers)) => {
            service_status(service, node, "peers", json!(peers))
        }
        (_, Body::Configuration(statement)) => {
            let present = match present {
                Some(Body::Configuration(present)) => Some(present.as_ref()),
                _ => None,
            };
            statement.status(api::CONDITION_CONFIG_VALID, present, now)
        }
        (Key::Session(peer), Body::Session(session)) => session_status(peer, node, session),
        // No key is ever given the body of another kind.
        (_, Body::Layer2(_) | Body::Bgp(_) | Body::Session(_)) => json!({}),
    };
    json!({ "status": status })
}

fn service_status(service: &ServiceKey, node: &str, field: &str, list: Value) -> Value {
    json!({
        "node": node,
        "serviceName": service.name,
        "serviceNamespace": service.namespace,
        field: list,
    })
}

/// `null` takes away what was said before.
fn session_status(peer: &str, node: &str, session: &Session) -> Value {
    let Details {
        hold_time,
        families,
        capabilities,
        bfd,
    } = &session.details;
    let bfd = bfd.as_ref().map(|bfd| {
        json!({
            "state": bfd.state,
            "since": bfd.since,
            "lastFailure": bfd.last_failure,
            "problem": bfd.problem,
        })
    });
    json!({
        "node": node,
        "peer": peer,
        "peerAddress": session.peer_address,
        "state": session.state,
        "since": session.since,
        "lastError": session.last_error,
        "prefixes": session.prefixes,
        "holdTime": hold_time,
        "families": (!families.is_empty()).then_some(families),
        "capabilities": (!capabilities.is_empty()).then_some(capabilities),
        "bfd": bfd,
    })
}

/// A merge patch that has an object carry a sign.
pub fn signed(sign: &Sign) -> Value {
    json!({"metadata": {"annotations": {api::LAYER2_SIGN: sign.text()}}})
}

/// Reads an object; `None`: it is not one of ours.
pub fn seen(sort: Sort, mut object: Value) -> Option<Seen> {
    let metadata = object["metadata"].take();
    let status = object["status"].take();
    let name = metadata["name"].as_str()?.to_owned();
    let version = metadata["resourceVersion"].as_str().unwrap_or_default();
    let version = version.parse().unwrap_or_default();
    let of = |label: &str| metadata["labels"][label].as_str();
    let sign = metadata["annotations"][api::LAYER2_SIGN].as_str();
    let sign = sign.and_then(Sign::parse);
    let service = || {
        let namespace = of(api::LABEL_SERVICE_NAMESPACE)?;
        Some(ServiceKey::new(namespace, of(api::LABEL_SERVICE_NAME)?))
    };
    let (key, body) = match sort {
        Sort::Layer2 => (Key::Layer2(service()?), layer2(status)),
        Sort::Bgp => (Key::Bgp(service()?), bgp(status)),
        Sort::Configuration => (Key::Configuration, statement(status)),
        Sort::Session => {
            let peer = status["peer"].as_str().or_else(|| of(api::LABEL_PEER))?;
            (Key::Session(peer.to_owned()), session(status))
        }
    };
    Some(Seen {
        key,
        name,
        version,
        body,
        sign,
    })
}

fn layer2(status: Value) -> Option<Body> {
    let status: api::ServiceL2StatusStatus = read(status)?;
    let interfaces = status.interfaces.into_iter();
    Some(Body::Layer2(interfaces.map(|one| one.name).collect()))
}

fn bgp(status: Value) -> Option<Body> {
    let status: api::ServiceBgpStatusStatus = read(status)?;
    Some(Body::Bgp(status.peers))
}

fn statement(status: Value) -> Option<Body> {
    let statement = Statement::read(api::CONDITION_CONFIG_VALID, read(status)?)?;
    Some(Body::Configuration(Box::new(statement)))
}

fn session(status: Value) -> Option<Body> {
    let status: api::BgpSessionStatus = read(status)?;
    Some(Body::Session(Box::new(Session {
        state: status.state,
        since: status.since,
        last_error: status.last_error,
        prefixes: status.prefixes,
        peer_address: status.peer_address,
        details: Details {
            hold_time: status.hold_time,
            families: status.families,
            capabilities: status.capabilities,
            bfd: status.bfd,
        },
    })))
}

fn read<T: DeserializeOwned>(status: Value) -> Option<T> {
    serde_json::from_value(status).ok()
}

/// An event as it is posted; `instant` makes its name its own.
pub fn event(event: &Event, node: &str, now: &str, instant: u128) -> Value {
    let Event { service, uid, .. } = event;
    let object = api::Event {
        about: api::Subject::Service {
            namespace: &service.namespace,
            name: &service.name,
            uid,
        },
        is_warning: event.is_warning,
        reason: event.reason,
        message: &event.message,
        component: COMPONENT,
        instance: node,
        host: Some(node),
    };
    object.object(now, instant)
}

/// An event about this node as it is posted.
pub fn node_event(notice: &Notice, node: &str, uid: &str, now: &str, instant: u128) -> Value {
    let object = api::Event {
        about: api::Subject::Node { name: node, uid },
        is_warning: notice.is_warning,
        reason: notice.reason,
        message: &notice.message,
        component: COMPONENT,
        instance: node,
        host: Some(node),
    };
    object.object(now, instant)
}

/// What fits is left as it is; of the rest the end becomes a fingerprint of the whole.
fn shortened(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    let fingerprint = fingerprint(text);
    let room = boundary(text, longest - fingerprint.len() - 1);
    let head = text[..room].trim_end_matches(['-', '.', '_']);
    format!("{head}-{fingerprint}")
}

fn fingerprint(text: &str) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    let octets = digest.as_ref().iter().take(8);
    octets.map(|octet| format!("{octet:02x}")).collect()
}

/// How long the name of an object may be.
const NAME: usize = 253;

/// How long the value of a label may be.
const LABEL: usize = 63;

/// Who says so, in the words that MetalLB's users look for.
const COMPONENT: &str = "metallb-speaker";
