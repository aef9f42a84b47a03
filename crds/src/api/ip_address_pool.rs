//! IPAddressPool: addresses to give out, and to whom.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rule::rule;
use super::{Condition, LabelSelector};

/// Addresses that Services of type LoadBalancer may be given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IpAddressPool {
    /// What the pool offers.
    pub spec: IpAddressPoolSpec,
    /// How full the pool is; written by the controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<IpAddressPoolStatus>,
}

/// What the pool offers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IpAddressPoolSpec {
    /// The address space: prefixes such as `192.0.2.0/24` and ranges such as `192.0.2.10-192.0.2.20`.
    #[schemars(extend("x-kubernetes-validations" = [rule(
        "self.size() > 0",
        "pool has no prefixes defined: list at least one prefix or range",
    )]))]
    pub addresses: Vec<String>,
    /// Whether Services that ask for nothing in particular may draw from the pool; true when not
    /// given.
    #[serde(default = "yes")]
    pub auto_assign: bool,
    /// Whether to leave out IPv4 addresses that end in .0 or .255, which some old devices drop.
    #[serde(default, rename = "avoidBuggyIPs")]
    pub avoid_buggy_ips: bool,
    /// Which Services the pool is kept for; without it every Service may use the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_allocation: Option<ServiceAllocation>,
}

/// Which Services a pool is kept for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAllocation {
    /// Order among the pools kept for a Service: the lower is tried first, 0 last.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i64,
    /// Namespaces, by name, whose Services may use the pool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Namespaces, by label, whose Services may use the pool; added to those by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespace_selectors: Vec<LabelSelector>,
    /// Services, by label, that may use the pool, within the namespaces that may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_selectors: Vec<LabelSelector>,
}

/// How full a pool is; written by the controller.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IpAddressPoolStatus {
    /// IPv4 addresses given out.
    #[serde(rename = "assignedIPv4")]
    pub assigned_ipv4: i64,
    /// IPv6 addresses given out.
    #[serde(rename = "assignedIPv6")]
    pub assigned_ipv6: i64,
    /// IPv4 addresses left.
    #[serde(rename = "availableIPv4")]
    pub available_ipv4: i64,
    /// IPv6 addresses left.
    #[serde(rename = "availableIPv6")]
    pub available_ipv6: i64,
    /// Whether the pool is in force, and if not why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["type"]
    ))]
    pub conditions: Vec<Condition>,
}

fn yes() -> bool {
    true
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}
