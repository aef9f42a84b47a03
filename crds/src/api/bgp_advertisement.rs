//! BGPAdvertisement: which prefixes are advertised by BGP, to whom, and with which attributes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LabelSelector;

/// Addresses to advertise by BGP.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BgpAdvertisement {
    /// Which addresses, to which peers, with which attributes.
    #[serde(skip_serializing_if = "is_empty")]
    pub spec: BgpAdvertisementSpec,
}

/// Which addresses, to which peers, with which attributes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BgpAdvertisementSpec {
    /// Length of the IPv4 prefix that is advertised for an address; 32 when not given.
    #[serde(default = "host_route_v4", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub aggregation_length: Option<i32>,
    /// Length of the IPv6 prefix that is advertised for an address; 128 when not given.
    #[serde(default = "host_route_v6", skip_serializing_if = "Option::is_none")]
    pub aggregation_length_v6: Option<i32>,
    /// LOCAL_PREF toward iBGP peers; 0 leaves it to the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_pref: Option<u32>,
    /// Communities of the prefix: `65000:100`, `large:65000:1:2`, or the name of a Community.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub communities: Vec<String>,
    /// Pools by name; with no pool named and none selected, all pools.
    #[serde(
        default,
        rename = "ipAddressPools",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub ip_address_pools: Vec<String>,
    /// Pools by label; added to those by name.
    #[serde(
        default,
        rename = "ipAddressPoolSelectors",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub ip_address_pool_selectors: Vec<LabelSelector>,
    /// Nodes that advertise, and so become next hops; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_selectors: Vec<LabelSelector>,
    /// BGPPeers, by name, that are told; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<String>,
    /// Services, by label, whose addresses are advertised; empty: all. Needs host routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_selectors: Vec<LabelSelector>,
}

fn host_route_v4() -> Option<i32> {
    Some(32)
}

fn host_route_v6() -> Option<i32> {
    Some(128)
}

fn is_empty(spec: &BgpAdvertisementSpec) -> bool {
    *spec == BgpAdvertisementSpec::default()
}
