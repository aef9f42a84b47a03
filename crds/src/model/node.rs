//! Nodes and namespaces.

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
