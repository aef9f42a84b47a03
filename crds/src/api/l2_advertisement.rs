//! L2Advertisement: which addresses are announced by ARP and NDP, and from where.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConfigurationStatus, LabelSelector};

/// Addresses to announce at layer 2.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct L2Advertisement {
    /// Which addresses, from which nodes, on which interfaces.
    #[serde(skip_serializing_if = "is_empty")]
    pub spec: L2AdvertisementSpec,
    /// What became of the object; written by the controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ConfigurationStatus>,
}

/// Which addresses, from which nodes, on which interfaces.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct L2AdvertisementSpec {
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
    /// Nodes that may announce; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_selectors: Vec<LabelSelector>,
    /// Interfaces to announce on, by name; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
    /// Services, by label, whose addresses are announced; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_selectors: Vec<LabelSelector>,
    /// Nodes that are better than others, among those that may announce.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preferred_node_selectors: Vec<PreferredNodeSelector>,
}

/// A weight for the nodes that a selector matches.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PreferredNodeSelector {
    /// Added to the score of every node that matches.
    #[schemars(range(min = 1, max = 100))]
    pub weight: i32,
    /// The nodes meant; an empty selector matches every node.
    pub preference: LabelSelector,
}

fn is_empty(spec: &L2AdvertisementSpec) -> bool {
    *spec == L2AdvertisementSpec::default()
}
