//! ServiceBGPStatus: whom one node is to tell about a Service, written by that node's speaker.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Nothing;
use super::rule::immutable;

/// To which BGPPeers one node is to advertise the addresses of a Service; there while there are any.
/// Whether a session is up is said by BGPSession.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ServiceBgpStatus {
    /// Empty: nothing can be asked for.
    pub spec: Nothing,
    /// The Service, the node and its peers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<ServiceBgpStatusStatus>,
}

/// The Service, the node and its peers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceBgpStatusStatus {
    /// Node that advertises.
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
    /// BGPPeers, by name and sorted, that the configuration says are to be told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<String>,
}

const FIXED: &str = "cannot be changed: delete the object and let it be written again";
