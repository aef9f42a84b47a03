//! What every source of objects promises.
//!
//! A source hands out batches of [`Change`]s. They are levels, not edges: each carries the whole new
//! value, applying one twice changes nothing, and the order of changes of different objects does not
//! matter. The first batch ends with [`Change::Synced`]: everything present has been read by then.

pub mod kubernetes;
pub mod manifests;
pub mod resource;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::{Config, EndpointSlice, Namespace, Node, Service, ServiceKey};

/// One object is now like this, or (with `None`) is no more.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The configuration as a whole.
    Config(Arc<Config>),
    /// A Service. Its `ingress` is what it holds at present.
    Service(ServiceKey, Option<Arc<Service>>),
    /// An EndpointSlice.
    EndpointSlice(ServiceKey, Option<Arc<EndpointSlice>>),
    /// A Node.
    Node(String, Option<Node>),
    /// A Namespace.
    Namespace(String, Option<Namespace>),
    /// What could not be read.
    Unreadable(Unreadable),
    /// Recorded assignments of Services that no object describes (anymore, or yet: see
    /// [`Unreadable`]).
    Orphans(BTreeMap<ServiceKey, Vec<IpAddr>>),
    /// Everything present has been read.
    Synced,
}

/// Objects that are known to exist, or may exist, but could never be read: unknown, which is not the
/// same as deleted. Their addresses stay taken and nothing recorded about them is removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unreadable {
    /// Some file could not be parsed and nothing is known of its contents: any Service that was never
    /// seen may be in it.
    pub any: bool,
    /// Services whose document is there but does not make sense, or may have gone into such a file.
    pub services: BTreeSet<ServiceKey>,
    /// Namespaces that no Namespace object describes, although one may be there unread: their labels
    /// are unknown.
    pub namespaces: BTreeSet<String>,
    /// Recorded assignments that nobody knows: any address may be among them.
    pub records: bool,
}

impl Unreadable {
    /// Whether a Service that was never seen may exist.
    pub fn may_hold(&self, service: &ServiceKey) -> bool {
        self.any || self.services.contains(service)
    }

    /// Whether a Service that was seen and is gone may exist still.
    pub fn may_hide(&self, service: &ServiceKey) -> bool {
        self.services.contains(service)
    }

    /// Whether the namespace may have labels that nobody knows. Never where a Namespace object says
    /// which it has.
    pub fn may_hide_namespace(&self, namespace: &str) -> bool {
        self.namespaces.contains(namespace)
    }
}
