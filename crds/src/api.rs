//! The wire types of the metallb.io kinds and of our own, and every name that other programs see.
//!
//! One file per kind, in the shape users write; what a field *means* is in `model`, what may stand
//! in it beyond its type is in `validate`. The doc comments of the fields become the descriptions
//! of the generated schemas.

mod bfd_profile;
mod bgp_advertisement;
mod bgp_peer;
mod bgp_session;
mod community;
mod condition;
mod configuration_state;
mod event;
mod ip_address_pool;
mod l2_advertisement;
mod names;
mod nothing;
mod resource;
mod rule;
mod selector;
mod service_bgp_status;
mod service_l2_status;

use std::fmt;

use crate::model::{Labels, Timestamp};

pub use bfd_profile::{BfdProfile, BfdProfileSpec};
pub use bgp_advertisement::{BgpAdvertisement, BgpAdvertisementSpec};
pub use bgp_peer::{
    BgpPeer, BgpPeerSpec, BgpPeerSpecV1Beta1, BgpPeerV1Beta1, DynamicAsn, MatchExpression,
    NodeSelector, Password, SecretReference,
};
pub use bgp_session::{BgpSession, BgpSessionBfd, BgpSessionStatus, SessionState};
pub use community::{Community, CommunityAlias, CommunitySpec};
pub use condition::{Condition, ConditionStatus, ConfigurationStatus};
pub use configuration_state::{ConfigurationResult, ConfigurationState, ConfigurationStateStatus};
pub use event::{Event, Subject};
pub use ip_address_pool::{
    IpAddressPool, IpAddressPoolSpec, IpAddressPoolStatus, ServiceAllocation,
};
pub use l2_advertisement::{L2Advertisement, L2AdvertisementSpec, PreferredNodeSelector};
pub use names::*;
pub use nothing::Nothing;
pub use resource::{
    BGP_SESSION, CONFIGURATION_STATE, Resource, SERVICE_BGP_STATUS, SERVICE_L2_STATUS,
};
pub use selector::{LabelSelector, LabelSelectorRequirement};
pub use service_bgp_status::{ServiceBgpStatus, ServiceBgpStatusStatus};
pub use service_l2_status::{AnnouncingInterface, ServiceL2Status, ServiceL2StatusStatus};

/// The metallb.io kinds that make up a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// IPAddressPool v1beta1.
    IpAddressPool,
    /// L2Advertisement v1beta1.
    L2Advertisement,
    /// BGPAdvertisement v1beta1.
    BgpAdvertisement,
    /// BGPPeer v1beta1 and v1beta2.
    BgpPeer,
    /// BFDProfile v1beta1.
    BfdProfile,
    /// Community v1beta1.
    Community,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::IpAddressPool,
        Self::L2Advertisement,
        Self::BgpAdvertisement,
        Self::BgpPeer,
        Self::BfdProfile,
        Self::Community,
    ];

    /// As it stands in `kind:`.
    pub fn name(self) -> &'static str {
        self.resource().kind
    }

    /// How the API server names it.
    pub const fn resource(self) -> Resource {
        match self {
            Self::IpAddressPool => Resource::metallb(V1BETA1, "IPAddressPool", "ipaddresspools"),
            Self::L2Advertisement => {
                Resource::metallb(V1BETA1, "L2Advertisement", "l2advertisements")
            }
            Self::BgpAdvertisement => {
                Resource::metallb(V1BETA1, "BGPAdvertisement", "bgpadvertisements")
            }
            Self::BgpPeer => Resource::metallb(V1BETA2, "BGPPeer", "bgppeers"),
            Self::BfdProfile => Resource::metallb(V1BETA1, "BFDProfile", "bfdprofiles"),
            Self::Community => Resource::metallb(V1BETA1, "Community", "communities"),
        }
    }

    /// The versions that can be read, the preferred one first.
    pub fn versions(self) -> &'static [&'static str] {
        match self {
            Self::BgpPeer => &[V1BETA2, V1BETA1],
            Self::IpAddressPool
            | Self::L2Advertisement
            | Self::BgpAdvertisement
            | Self::BfdProfile
            | Self::Community => &[V1BETA1],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an `apiVersion` and a `kind` together say about a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recognised {
    /// Part of a configuration: which kind, in which version.
    Ours(Kind, &'static str),
    /// In the metallb.io group, but of a kind or version that nobody knows.
    UnknownVersion,
    /// Of another group, or a status kind of the metallb.io group: not configuration.
    Foreign,
}

/// Tells configuration from everything else.
pub fn recognise(api_version: &str, kind: &str) -> Recognised {
    match api_version.split_once('/') {
        Some((GROUP, version)) if !STATUS_KINDS.contains(&kind) => ours(kind, version),
        Some(_) | None => Recognised::Foreign,
    }
}

fn ours(kind: &str, version: &str) -> Recognised {
    Kind::ALL
        .into_iter()
        .find(|known| known.name() == kind)
        .and_then(|known| {
            let mut versions = known.versions().iter();
            let version = versions.find(|readable| **readable == version)?;
            Some(Recognised::Ours(known, version))
        })
        .unwrap_or(Recognised::UnknownVersion)
}

/// One metallb.io object as a source found it: identified, not yet judged.
#[derive(Clone, PartialEq)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// `v1beta1` or `v1beta2`.
    pub version: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: Labels,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// The whole document, as written.
    pub document: serde_json::Value,
}

impl fmt::Debug for Object {
    /// The document stays out: a BGPPeer's holds the password (design invariant I10).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("kind", &self.kind)
            .field("version", &self.version)
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("labels", &self.labels)
            .field("created", &self.created)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
