//! How the API server names a kind.

use super::{FERROLB_GROUP, GROUP, V1ALPHA1, V1BETA1};

/// A kind with its group, its preferred version and its place in a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource {
    /// API group.
    pub group: &'static str,
    /// The version that objects are stored in.
    pub version: &'static str,
    /// As it stands in `kind:`.
    pub kind: &'static str,
    /// As it stands in URLs.
    pub plural: &'static str,
}

/// Which node answers for a Service at layer 2.
pub const SERVICE_L2_STATUS: Resource =
    Resource::metallb(V1BETA1, "ServiceL2Status", "servicel2statuses");

/// Whom a node is to tell about a Service by BGP.
pub const SERVICE_BGP_STATUS: Resource =
    Resource::metallb(V1BETA1, "ServiceBGPStatus", "servicebgpstatuses");

/// Whether the configuration is accepted.
pub const CONFIGURATION_STATE: Resource =
    Resource::metallb(V1BETA1, "ConfigurationState", "configurationstates");

/// How a BGP session is doing.
pub const BGP_SESSION: Resource = Resource {
    group: FERROLB_GROUP,
    version: V1ALPHA1,
    kind: "BGPSession",
    plural: "bgpsessions",
};

impl Resource {
    /// As it stands in `apiVersion:`.
    pub fn api_version(&self) -> String {
        format!("{}/{}", self.group, self.version)
    }

    /// The path of its objects: of one namespace, or of all.
    pub fn path(&self, namespace: Option<&str>) -> String {
        let (version, plural) = (self.api_version(), self.plural);
        match namespace {
            Some(namespace) => format!("/apis/{version}/namespaces/{namespace}/{plural}"),
            None => format!("/apis/{version}/{plural}"),
        }
    }

    pub(super) const fn metallb(
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
    ) -> Self {
        Self {
            group: GROUP,
            version,
            kind,
            plural,
        }
    }
}
