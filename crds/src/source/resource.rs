//! Kubernetes objects → our model, for every source.
//!
//! The types of Kubernetes stop here: what leaves keeps only what matters, so that an update that
//! changes nothing of it compares equal and vanishes. Values that the API server would refuse (a port
//! of 0, a protocol nobody knows) are an error that names the field. Names and namespaces are the
//! caller's to check.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use crate::api;
use crate::model::{
    Asked, DrainMark, Endpoint, EndpointSlice, Families, Family, FamilyPolicy, Hints, Namespace,
    Node, Port, Protocol, Requests, Secret, Service, ServiceKey, ServicePort, Timestamp,
    TrafficPolicy,
};
use crate::validate::SecretFacts;

/// A field whose value makes no sense; the object is not converted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{path}: {message}")]
pub struct FieldError {
    /// Field path from the object's root.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl FieldError {
    /// From its two parts.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
        }
    }
}

/// Converts a Service of any type.
pub fn service(object: core::Service) -> Result<Service, FieldError> {
    let spec = object.spec.unwrap_or_default();
    let annotations = object.metadata.annotations.unwrap_or_default();
    let (source_ranges, bad_source_ranges) = source_ranges(&spec, &annotations);
    let family_policy = family_policy(spec.ip_family_policy.as_deref())?;
    Ok(Service {
        created: created(object.metadata.creation_timestamp.as_ref()),
        is_load_balancer: is_load_balancer(spec.type_.as_deref())?,
        families: families(&spec, family_policy)?,
        family_policy,
        ports: ports(spec.ports.unwrap_or_default())?,
        traffic_policy: traffic_policy(spec.external_traffic_policy.as_deref())?,
        ingress: ingress(object.status.and_then(|status| status.load_balancer)),
        allocated_from: annotations.get(api::IP_ALLOCATED_FROM_POOL).cloned(),
        hints: hints(&annotations),
        requests: requests(&annotations, filled(spec.load_balancer_ip)),
        key: ServiceKey::new(
            object.metadata.namespace.unwrap_or_default(),
            object.metadata.name.unwrap_or_default(),
        ),
        labels: object.metadata.labels.unwrap_or_default(),
        class: filled(spec.load_balancer_class),
        selector: spec.selector.unwrap_or_default(),
        source_ranges,
        bad_source_ranges,
    })
}

/// Converts an EndpointSlice; one that belongs to no Service has an empty `service`.
pub fn endpoint_slice(object: discovery::EndpointSlice) -> EndpointSlice {
    let labels = object.metadata.labels.unwrap_or_default();
    EndpointSlice {
        key: ServiceKey::new(
            object.metadata.namespace.unwrap_or_default(),
            object.metadata.name.unwrap_or_default(),
        ),
        service: labels.get(SERVICE_LABEL).cloned().unwrap_or_default(),
        family: match object.address_type.as_str() {
            "IPv4" => Some(Family::V4),
            "IPv6" => Some(Family::V6),
            _ => None,
        },
        endpoints: fitted(object.endpoints.into_iter().map(endpoint).collect()),
    }
}

/// Converts a Node.
pub fn node(object: core::Node) -> Node {
    let draining = drain_mark(&object);
    let status = object.status.unwrap_or_default();
    Node {
        draining,
        name: object.metadata.name.unwrap_or_default(),
        labels: object.metadata.labels.unwrap_or_default(),
        network_unavailable: status
            .conditions
            .iter()
            .flatten()
            .any(|condition| condition.type_ == "NetworkUnavailable" && condition.status == "True"),
        addresses: status
            .addresses
            .iter()
            .flatten()
            .filter(|address| address.type_ == "InternalIP")
            .filter_map(|address| address.address.parse().ok())
            .collect(),
    }
}

/// What says that the node is to be drained; whoever writes `false` means the contrary.
fn drain_mark(object: &core::Node) -> Option<DrainMark> {
    let has = |entries: &Option<BTreeMap<String, String>>| {
        let value = entries.as_ref().and_then(|entries| entries.get(api::DRAIN));
        value.is_some_and(|value| value != "false")
    };
    let taints = object.spec.iter().flat_map(|spec| spec.taints.iter());
    let taints: Vec<&core::Taint> = taints.flatten().collect();
    let is_drained =
        |taint: &&core::Taint| taint.key == api::DRAIN && taint.value.as_deref() != Some("false");
    let is_going = |taint: &&core::Taint| api::REMOVAL_TAINTS.contains(&taint.key.as_str());
    let conditions = object
        .status
        .iter()
        .flat_map(|status| status.conditions.iter());
    let is_stopping = |condition: &core::NodeCondition| {
        let message = condition.message.as_deref().unwrap_or_default();
        condition.type_ == "Ready"
            && condition.status != "True"
            && message.contains(api::SHUTTING_DOWN)
    };
    let marks = [
        (DrainMark::Label, has(&object.metadata.labels)),
        (DrainMark::Annotation, has(&object.metadata.annotations)),
        (DrainMark::Taint, taints.iter().any(is_drained)),
        (DrainMark::Removal, taints.iter().any(is_going)),
        (DrainMark::Shutdown, conditions.flatten().any(is_stopping)),
    ];
    let mut present = marks.into_iter().filter(|(_, is_there)| *is_there);
    present.next().map(|(mark, _)| mark)
}

/// Converts a Namespace; the label with its name is always there.
pub fn namespace(object: core::Namespace) -> Namespace {
    let name = object.metadata.name.unwrap_or_default();
    let mut namespace = Namespace::implied(&name);
    let implied = std::mem::take(&mut namespace.labels);
    namespace.labels = object.metadata.labels.unwrap_or_default();
    namespace.labels.extend(implied);
    namespace
}

/// Keeps of a Secret what a BGPPeer may refer to.
pub fn secret(object: core::Secret) -> SecretFacts {
    let plain = object
        .string_data
        .and_then(|mut entries| entries.remove(api::PASSWORD_KEY));
    let encoded = object
        .data
        .and_then(|mut entries| entries.remove(api::PASSWORD_KEY))
        .and_then(|bytes| String::from_utf8(bytes.0).ok());
    SecretFacts {
        type_: object.type_.unwrap_or_else(|| "Opaque".to_owned()),
        // The API server folds stringData into data, where it wins.
        password: plain.or(encoded).map(Secret::new),
    }
}

/// When an object was made.
pub fn created(time: Option<&Time>) -> Option<Timestamp> {
    time.map(|time| Timestamp(time.0.as_second()))
}

/// When the object of this metadata was made.
pub fn created_by(metadata: &ObjectMeta) -> Option<Timestamp> {
    created(metadata.creation_timestamp.as_ref())
}

fn is_load_balancer(type_: Option<&str>) -> Result<bool, FieldError> {
    match type_ {
        Some("LoadBalancer") => Ok(true),
        None | Some("" | "ClusterIP" | "NodePort" | "ExternalName") => Ok(false),
        Some(other) => Err(unknown(
            "spec.type",
            other,
            "ClusterIP, NodePort, LoadBalancer or ExternalName",
        )),
    }
}

fn family_policy(policy: Option<&str>) -> Result<FamilyPolicy, FieldError> {
    match policy {
        None | Some("" | "SingleStack") => Ok(FamilyPolicy::Single),
        Some("PreferDualStack") => Ok(FamilyPolicy::PreferDual),
        Some("RequireDualStack") => Ok(FamilyPolicy::RequireDual),
        Some(other) => Err(unknown(
            "spec.ipFamilyPolicy",
            other,
            "SingleStack, PreferDualStack or RequireDualStack",
        )),
    }
}

fn traffic_policy(policy: Option<&str>) -> Result<TrafficPolicy, FieldError> {
    match policy {
        None | Some("" | "Cluster") => Ok(TrafficPolicy::Cluster),
        Some("Local") => Ok(TrafficPolicy::Local),
        Some(other) => Err(unknown(
            "spec.externalTrafficPolicy",
            other,
            "Cluster or Local",
        )),
    }
}

fn unknown(path: &str, value: &str, known: &str) -> FieldError {
    FieldError::new(path, format!("unknown value {value:?}: use {known}"))
}

/// Those of the cluster IPs where there are any; a headless Service has none.
fn families(spec: &core::ServiceSpec, policy: FamilyPolicy) -> Result<Families, FieldError> {
    let addresses = spec.cluster_ips.as_deref().unwrap_or_default();
    let by_address = addresses
        .iter()
        .enumerate()
        .filter(|(_, address)| !address.is_empty() && *address != "None")
        .map(|(at, address)| family_of_address(at, address))
        .collect::<Result<Families, _>>()?;
    if !by_address.is_empty() {
        return Ok(by_address);
    }
    let named = spec.ip_families.as_deref().unwrap_or_default();
    if !named.is_empty() {
        return named.iter().enumerate().map(family_of_name).collect();
    }
    Ok(match policy {
        FamilyPolicy::Single => Family::V4.into(),
        FamilyPolicy::PreferDual | FamilyPolicy::RequireDual => Families::ALL,
    })
}

fn family_of_address(at: usize, address: &str) -> Result<Family, FieldError> {
    address
        .parse::<IpAddr>()
        .map(Family::of)
        .map_err(|_| FieldError::new(format!("spec.clusterIPs[{at}]"), not_an_address(address)))
}

fn family_of_name((at, name): (usize, &String)) -> Result<Family, FieldError> {
    match name.as_str() {
        "IPv4" => Ok(Family::V4),
        "IPv6" => Ok(Family::V6),
        other => Err(unknown(
            &format!("spec.ipFamilies[{at}]"),
            other,
            "IPv4 or IPv6",
        )),
    }
}

fn not_an_address(text: &str) -> String {
    format!("{text:?} is no IP address: write an IPv4 or IPv6 address")
}

fn ports(listed: Vec<core::ServicePort>) -> Result<Vec<ServicePort>, FieldError> {
    let ports: Result<Vec<_>, _> = listed.into_iter().enumerate().map(port).collect();
    ports.map(fitted)
}

fn port((at, port): (usize, core::ServicePort)) -> Result<ServicePort, FieldError> {
    let path = |field: &str| format!("spec.ports[{at}].{field}");
    let protocol = match port.protocol.as_deref() {
        None | Some("" | "TCP") => Protocol::Tcp,
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        Some(other) => return Err(unknown(&path("protocol"), other, "TCP, UDP or SCTP")),
    };
    Ok(ServicePort {
        name: port.name.unwrap_or_default(),
        protocol,
        port: port_number(port.port)
            .ok_or_else(|| FieldError::new(path("port"), not_a_port(port.port)))?,
        node_port: match port.node_port {
            None | Some(0) => None,
            Some(value) => Some(
                port_number(value)
                    .ok_or_else(|| FieldError::new(path("nodePort"), not_a_port(value)))?,
            ),
        },
    })
}

fn port_number(value: i32) -> Option<Port> {
    u16::try_from(value).ok().and_then(Port::new)
}

fn not_a_port(value: i32) -> String {
    format!("{value} is no port: use 1 to 65535")
}

/// The field where it says something, else the annotation it replaced; host bits do not count.
fn source_ranges(
    spec: &core::ServiceSpec,
    annotations: &BTreeMap<String, String>,
) -> (Vec<IpNet>, Vec<String>) {
    let field = spec.load_balancer_source_ranges.as_deref();
    let written: Vec<&str> = match field.unwrap_or_default() {
        [] => annotations
            .get(SOURCE_RANGES)
            .map(|list| list.split(',').filter(|part| !part.trim().is_empty()))
            .into_iter()
            .flatten()
            .collect(),
        ranges => ranges.iter().map(String::as_str).collect(),
    };
    let mut good = Vec::new();
    let mut bad = Vec::new();
    for text in written {
        match text.trim().parse::<IpNet>() {
            Ok(net) => good.push(net.trunc()),
            Err(_) => bad.push(text.to_owned()),
        }
    }
    (good, bad)
}

/// Host names are not ours to announce, and what is no address holds nothing.
fn ingress(status: Option<core::LoadBalancerStatus>) -> Vec<IpAddr> {
    let entries = status.and_then(|status| status.ingress);
    let entries = entries.into_iter().flatten();
    fitted(entries.filter_map(|entry| entry.ip?.parse().ok()).collect())
}

/// The node that is to take each address when nobody holds it.
pub fn hints(annotations: &BTreeMap<String, String>) -> Hints {
    let text = annotations.get(api::LAYER2_HINT);
    text.map(|text| Hints::parse(text)).unwrap_or_default()
}

fn requests(annotations: &BTreeMap<String, String>, load_balancer_ip: Option<String>) -> Requests {
    Requests::from(Asked {
        pool: request(annotations, POOL),
        addresses: request(annotations, ADDRESSES),
        sharing_key: request(annotations, SHARING_KEY),
        load_balancer_ip,
        deprecated: annotations
            .keys()
            .filter(|key| key.starts_with(api::DEPRECATED_ANNOTATION_PREFIX))
            .cloned()
            .collect(),
    })
}

/// The current prefix, where it is present at all, wins.
fn request(annotations: &BTreeMap<String, String>, keys: [&str; 2]) -> Option<String> {
    keys.iter().find_map(|key| annotations.get(*key)).cloned()
}

fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// Without the room to spare: what is collected from a list may take over that list's room, and an
/// object of Kubernetes is several times as large as what is kept of it.
fn fitted<T>(mut list: Vec<T>) -> Vec<T> {
    list.shrink_to_fit();
    list
}

fn endpoint(endpoint: discovery::Endpoint) -> Endpoint {
    let conditions = endpoint.conditions.unwrap_or_default();
    Endpoint {
        node: filled(endpoint.node_name),
        has_address: !endpoint.addresses.is_empty(),
        ready: conditions.ready,
        serving: conditions.serving,
    }
}

const POOL: [&str; 2] = [api::ADDRESS_POOL, api::DEPRECATED_ADDRESS_POOL];
const ADDRESSES: [&str; 2] = [api::LOAD_BALANCER_IPS, api::DEPRECATED_LOAD_BALANCER_IPS];
const SHARING_KEY: [&str; 2] = [api::ALLOW_SHARED_IP, api::DEPRECATED_ALLOW_SHARED_IP];
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

#[cfg(test)]
mod tests;
