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
