//! BGPAdvertisement: which prefixes are advertised by BGP, to whom, and with which attributes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rule::rule;
use super::{ConfigurationStatus, LabelSelector};

/// Addresses to advertise by BGP.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BgpAdvertisement {
    /// Which addresses, to which peers, with which attributes.
    #[serde(skip_serializing_if = "is_empty")]
    pub spec: BgpAdvertisementSpec,
    /// What became of the object; written by the controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ConfigurationStatus>,
}

/// Which addresses, to which peers, with which attributes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [only_host_routes_are_selective()]))]
pub struct BgpAdvertisementSpec {
    /// Length of the IPv4 prefix that is advertised for an address; 32 when not given.
    #[serde(default = "host_route_v4", skip_serializing_if = "Option::is_none")]
    #[schemars(
        range(min = 1),
        extend("x-kubernetes-validations" = [rule("self <= 32", "invalid aggregation length for IPv4: use at most 32")])
    )]
    pub aggregation_length: Option<i32>,
    /// Length of the IPv6 prefix that is advertised for an address; 128 when not given.
    #[serde(default = "host_route_v6", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = [
        rule("self <= 128", "invalid aggregation length for IPv6: use at most 128")
    ]))]
    pub aggregation_length_v6: Option<i32>,
    /// LOCAL_PREF toward iBGP peers; 0 leaves it to the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4_294_967_295_u32))]
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

/// An aggregate stands for all Services in it, so it cannot be for some of them.
fn only_host_routes_are_selective() -> Value {
    rule(
        "!has(self.serviceSelectors) || self.serviceSelectors.size() == 0 || \
         ((!has(self.aggregationLength) || self.aggregationLength == 32) && \
         (!has(self.aggregationLengthV6) || self.aggregationLengthV6 == 128))",
        "serviceSelectors and aggregationLength are mutually exclusive, can only be used together \
         with default aggregationLength (32) and aggregationLengthV6 (128)",
    )
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
