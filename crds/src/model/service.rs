//! A Service as FerroLB sees it: only what matters, so that an update that changes nothing of it
//! compares equal and vanishes.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use ipnet::IpNet;

use super::{Families, Hints, Labels, Port};

/// Namespace and name. A clone is the same one in memory: every Service is named in many places.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey(Arc<QualifiedName>);

/// The two parts of a [`ServiceKey`].
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QualifiedName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ServiceKey {
    /// From its two parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self(Arc::new(QualifiedName {
            namespace: namespace.into(),
            name: name.into(),
        }))
    }
}

impl Deref for ServiceKey {
    type Target = QualifiedName;

    fn deref(&self) -> &QualifiedName {
        &self.0
    }
}

impl fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A creationTimestamp, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

/// A Service.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Namespace and name.
    pub key: ServiceKey,
    /// Object labels.
    pub labels: Labels,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Whether `spec.type` is LoadBalancer.
    pub is_load_balancer: bool,
    /// `spec.loadBalancerClass`.
    pub class: Option<String>,
    /// The families of its cluster IPs: of `clusterIPs` where given, else of `ipFamilies`, else by
    /// policy. The addresses it gets follow them.
    pub families: Families,
    /// How many families it asks for.
    pub family_policy: FamilyPolicy,
    /// Ports, as listed.
    pub ports: Vec<ServicePort>,
    /// `spec.externalTrafficPolicy`.
    pub traffic_policy: TrafficPolicy,
    /// Pod selector.
    pub selector: Labels,
    /// `spec.loadBalancerSourceRanges`, those that parse; empty: everybody.
    pub source_ranges: Vec<IpNet>,
    /// `spec.loadBalancerSourceRanges` entries that do not parse.
    pub bad_source_ranges: Vec<String>,
    /// What its annotations and `loadBalancerIP` ask for.
    pub requests: Requests,
    /// The addresses it holds, in order.
    pub ingress: Vec<IpAddr>,
    /// `metallb.io/ip-allocated-from-pool`, as it stands.
    pub allocated_from: Option<String>,
    /// `ferrolb.io/layer2-hint`: who is to hold its addresses when nobody does.
    pub hints: Hints,
}

/// What a Service asks for, raw: the allocator judges it. Most ask for nothing, and take little room.
#[derive(Debug, Clone, Default, Eq)]
pub struct Requests(Option<Box<Asked>>);

/// What those ask for that ask for something. The current annotation prefix wins over the deprecated
/// one also when its value is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// `address-pool`.
    pub pool: Option<String>,
    /// `loadBalancerIPs`.
    pub addresses: Option<String>,
    /// `allow-shared-ip`.
    pub sharing_key: Option<String>,
    /// `spec.loadBalancerIP`.
    pub load_balancer_ip: Option<String>,
    /// Annotation keys in use that carry the deprecated prefix.
    pub deprecated: BTreeSet<String>,
}

impl From<Asked> for Requests {
    fn from(asked: Asked) -> Self {
        Self((asked != NOTHING).then(|| Box::new(asked)))
    }
}

impl PartialEq for Requests {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Deref for Requests {
    type Target = Asked;

    fn deref(&self) -> &Asked {
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl DerefMut for Requests {
    fn deref_mut(&mut self) -> &mut Asked {
        self.0.get_or_insert_default()
    }
}

/// Asks for nothing.
static NOTHING: Asked = Asked {
    pool: None,
    addresses: None,
    sharing_key: None,
    load_balancer_ip: None,
    deprecated: BTreeSet::new(),
};

/// `spec.ipFamilyPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FamilyPolicy {
    /// One family.
    Single,
    /// Two where there are two.
    PreferDual,
    /// Two or nothing.
    RequireDual,
}

/// `spec.externalTrafficPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TrafficPolicy {
    /// Every node takes traffic.
    Cluster,
    /// Only nodes with a ready endpoint do.
    Local,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServicePort {
    /// Port name; empty when it has none.
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// The port clients use.
    pub port: Port,
    /// The port every node serves it on, if any.
    pub node_port: Option<Port>,
}
