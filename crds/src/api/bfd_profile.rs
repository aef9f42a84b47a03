//! BFDProfile: BFD timers and modes for sessions that name it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ConfigurationStatus;

/// BFD timers and modes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BfdProfile {
    /// The timers and modes; intervals are in milliseconds.
    #[serde(skip_serializing_if = "is_empty")]
    pub spec: BfdProfileSpec,
    /// What became of the object; written by the controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ConfigurationStatus>,
}

/// The timers and modes; intervals are in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BfdProfileSpec {
    /// Least time between two packets that this end can take; 300 when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 60000))]
    pub receive_interval: Option<u32>,
    /// Least time between two packets that this end would send; 300 when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 60000))]
    pub transmit_interval: Option<u32>,
    /// How many packets may be lost before the session is down; 3 when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 255))]
    pub detect_multiplier: Option<u32>,
    /// Least time between two echo packets, both ways; 50 when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 60000))]
    pub echo_interval: Option<u32>,
    /// Whether to use the echo function; single-hop IPv4 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo_mode: Option<bool>,
    /// Whether to wait for the peer to begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passive_mode: Option<bool>,
    /// Lowest TTL of a packet that is accepted; multihop only; 254 when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 254))]
    pub minimum_ttl: Option<u32>,
}

fn is_empty(spec: &BfdProfileSpec) -> bool {
    *spec == BfdProfileSpec::default()
}
