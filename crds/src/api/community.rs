//! Community: names for BGP communities.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ConfigurationStatus;

/// Names for BGP communities.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Community {
    /// The names.
    #[serde(skip_serializing_if = "is_empty")]
    pub spec: CommunitySpec,
    /// What became of the object; written by the controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ConfigurationStatus>,
}

/// The names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommunitySpec {
    /// Names and what they stand for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub communities: Vec<CommunityAlias>,
}

/// A name and what it stands for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommunityAlias {
    /// What BGPAdvertisements call it; no two names may be equal, across all Communities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `65000:100` or `large:65000:1:2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

fn is_empty(spec: &CommunitySpec) -> bool {
    *spec == CommunitySpec::default()
}
