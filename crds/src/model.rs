//! What the objects mean: plain values, checked once at the door and trusted from there on.
//!
//! Nothing in here knows YAML, Kubernetes or the network. [`Config`] is the only configuration the
//! rest of the program may hold; `validate` makes it.

mod address;
mod advertisement;
mod endpoint;
mod hints;
mod node;
mod peer;
mod pool;
mod selector;
mod service;

use std::collections::BTreeMap;

pub use address::{AddressRange, Families, Family};
pub use advertisement::{BgpAdvertisement, Community, L2Advertisement, PoolChoice, Preference};
pub use endpoint::{Endpoint, EndpointSlice};
pub use hints::Hints;
pub use node::{Namespace, Node};
pub use peer::{
    Asn, BfdProfile, GracefulRestart, HoldTime, Neighbor, Peer, PeerAsn, Port, RouterId, Secret,
    SecretRef,
};
pub use pool::{Pool, ServiceAllocation};
pub use selector::{Labels, Operator, Requirement, Selector};
pub use service::{
    Asked, FamilyPolicy, Protocol, QualifiedName, Requests, Service, ServiceKey, ServicePort,
    Timestamp, TrafficPolicy,
};

/// Everything the metallb.io objects say, after validation: the only configuration the rest of the
/// program may hold. Keys are object names.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// Address pools.
    pub pools: BTreeMap<String, Pool>,
    /// Who announces what at layer 2.
    pub l2_advertisements: BTreeMap<String, L2Advertisement>,
    /// Who advertises what by BGP, and how.
    pub bgp_advertisements: BTreeMap<String, BgpAdvertisement>,
    /// BGP neighbours.
    pub peers: BTreeMap<String, Peer>,
    /// BFD timer profiles.
    pub bfd_profiles: BTreeMap<String, BfdProfile>,
    /// True while a pool is set aside or unreadable: then an assignment that no pool covers is kept,
    /// because an error never takes an address away (design invariant I5).
    pub pools_incomplete: bool,
}
