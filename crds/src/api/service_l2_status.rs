//! ServiceL2Status: which node answers ARP and NDP for a Service, written by that node's speaker.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Nothing;
use super::rule::immutable;

/// Which node answers ARP and NDP for the addresses of a Service; there while one does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ServiceL2Status {
    /// Empty: nothing can be asked for.
    pub spec: Nothing,
    /// The Service, the node and its interfaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<ServiceL2StatusStatus>,
}

/// The Service, the node and its interfaces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceL2StatusStatus {
    /// Node that answers, and so gets the traffic.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(extend("x-kubernetes-validations" = [immutable(FIXED)]))]
    pub node: String,
    /// Name of the Service.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(extend("x-kubernetes-validations" = [immutable(FIXED)]))]
    pub service_name: String,
    /// Namespace of the Service.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(extend("x-kubernetes-validations" = [immutable(FIXED)]))]
    pub service_namespace: String,
    /// Interfaces that the node answers on; empty: all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<AnnouncingInterface>,
}

/// An interface of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AnnouncingInterface {
    /// Name, such as `eth0`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

const FIXED: &str = "cannot be changed: delete the object and let it be written again";
