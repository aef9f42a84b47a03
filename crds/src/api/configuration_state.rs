//! ConfigurationState: whether the configuration is accepted, as one program sees it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Condition;

/// Whether the controller, or the speaker of one node, accepts the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConfigurationState {
    /// The verdict and its reasons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<ConfigurationStateStatus>,
}

/// The verdict and its reasons.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationStateStatus {
    /// The verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<ConfigurationResult>,
    /// The first thing that is wrong; the conditions name all. Empty when nothing is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error_summary: String,
    /// The verdict of each part of the program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["type"]
    ))]
    pub conditions: Vec<Condition>,
}

/// Whether a configuration is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConfigurationResult {
    /// All of it is in force.
    Valid,
    /// Some of it is not, because it is wrong.
    Invalid,
    /// Nobody has looked yet.
    Unknown,
}
