//! Layer 2: answering ARP and NDP for the addresses this node holds, and knowing which nodes live.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use ferrolb_crds::model::Secret;
use ipnet::IpNet;

/// What the layer-2 part of a speaker is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This node's name.
    pub node: String,
    /// Authenticates heartbeats; `None`: anybody's heartbeat is believed (`--heartbeat-insecure`).
    pub key: Option<Secret>,
    /// Least time between two heartbeats.
    pub interval: Duration,
    /// Silence after which a node is down; `None`: three intervals plus skew.
    pub down_after: Option<Duration>,
}

/// On which interfaces something happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interfaces {
    /// On all that can.
    All,
    /// On those named, as far as they can.
    Only(BTreeSet<String>),
}

/// What should be true at layer 2.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// Addresses this node answers for, and where.
    pub owned: BTreeMap<IpAddr, Interfaces>,
    /// Where to send heartbeats; `None`: this node is no candidate and sends none.
    pub heartbeat: Option<Interfaces>,
}

/// What layer 2 knows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// True until one down-after time has passed since the first heartbeat was sent: until then
    /// nothing is known of the others, and nothing is taken.
    pub listening: bool,
    /// Interfaces that exist and are fit for announcing, by name.
    pub interfaces: BTreeMap<String, Interface>,
    /// Other nodes ever heard, by name.
    pub nodes: BTreeMap<String, NodeHealth>,
}

/// An interface fit for announcing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Administratively up, with carrier.
    pub is_up: bool,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Addresses with their prefix lengths.
    pub addresses: Vec<IpNet>,
    /// Why it cannot be used, if it cannot (a socket that could not be opened, say).
    pub problem: Option<String>,
}

/// Another node, as its heartbeats show it.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeHealth {
    /// Interfaces of ours on which it is being heard; empty: down.
    pub heard_on: BTreeSet<String>,
    /// It said that it is leaving.
    pub is_leaving: bool,
    /// When it last came up or went down.
    pub since: SystemTime,
}
