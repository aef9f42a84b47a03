//! Nodes and namespaces.

use std::fmt;
use std::net::IpAddr;

use super::Labels;

/// A Node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: Labels,
    /// The condition NetworkUnavailable is True.
    pub network_unavailable: bool,
    /// InternalIP addresses.
    pub addresses: Vec<IpAddr>,
    /// It is to be drained of traffic from outside, and what says so.
    pub draining: Option<DrainMark>,
}

/// What says that a node is to be drained of traffic from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrainMark {
    /// The label `ferrolb.io/drain`.
    Label,
    /// The annotation `ferrolb.io/drain`.
    Annotation,
    /// The taint `ferrolb.io/drain`.
    Taint,
    /// A taint of a cloud's node controller or of the cluster autoscaler: the machine is about to go.
    Removal,
    /// The kubelet says that the machine is shutting down.
    Shutdown,
}

impl fmt::Display for DrainMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Label => "the node has the label ferrolb.io/drain",
            Self::Annotation => "the node has the annotation ferrolb.io/drain",
            Self::Taint => "the node has the taint ferrolb.io/drain",
            Self::Removal => "the node has a taint that says that it is about to be removed",
            Self::Shutdown => "the kubelet says that the node is shutting down",
        })
    }
}

impl Node {
    /// The label that takes a node out of announcing.
    pub const EXCLUDE_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

    /// Whether the exclude label is there, with any value.
    pub fn is_excluded(&self) -> bool {
        self.labels.contains_key(Self::EXCLUDE_LABEL)
    }
}

/// A Namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Name.
    pub name: String,
    /// Labels, `kubernetes.io/metadata.name` among them.
    pub labels: Labels,
}

impl Namespace {
    /// The label every namespace has, also without a manifest.
    pub const NAME_LABEL: &str = "kubernetes.io/metadata.name";

    /// A namespace that nobody wrote down.
    pub fn implied(name: &str) -> Self {
        let labels = Labels::from([(Self::NAME_LABEL.to_owned(), name.to_owned())]);
        Self {
            name: name.to_owned(),
            labels,
        }
    }
}
