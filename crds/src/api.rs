//! The wire types of the metallb.io kinds, and every name that other programs see.

use crate::model::{Labels, Timestamp};

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

/// One metallb.io object as a source found it: identified, not yet judged.
#[derive(Debug, Clone, PartialEq)]
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
