//! BGPSession: how the session of one node with one peer is doing, written by that node's speaker.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the BGP session of one node with one BGPPeer is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BgpSession {
    /// The session as the node sees it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<BgpSessionStatus>,
}

/// The session as the node sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BgpSessionStatus {
    /// Node that runs the session.
    pub node: String,
    /// Name of the BGPPeer.
    pub peer: String,
    /// Address the session is with; for a peer given by interface, the one found there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_address: Option<String>,
    /// State of the session, in the words of RFC 4271.
    pub state: SessionState,
    /// When it came into this state.
    #[schemars(extend("format" = "date-time"))]
    pub since: String,
    /// Why the session ended the last time, or could not begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// How many routes the peer holds from this node.
    #[schemars(range(min = 0))]
    pub prefixes: i64,
    /// Hold time agreed on, in seconds, while the session is up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_time: Option<u16>,
    /// Address families agreed on, while the session is up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub families: Vec<String>,
    /// Capabilities that both ends have, while the session is up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// How BFD watches the path to the peer, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd: Option<BgpSessionBfd>,
}

/// How BFD watches the path to a peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BgpSessionBfd {
    /// `Up`, or `Down` for all that is not.
    pub state: String,
    /// When it came up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub since: Option<String>,
    /// Why the path was lost the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
    /// Why BFD cannot be run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The states of RFC 4271 §8.2.2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SessionState {
    /// Not trying: waiting before the next attempt, or unable to begin.
    #[default]
    Idle,
    /// Dialling.
    Connect,
    /// Waiting to dial again.
    Active,
    /// Connected; waiting for the peer's OPEN.
    OpenSent,
    /// Both have sent an OPEN; waiting for the first KEEPALIVE.
    OpenConfirm,
    /// Up: routes are exchanged.
    Established,
}
