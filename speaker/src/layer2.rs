//! Layer 2: answering ARP and NDP for the addresses this node holds, and knowing which nodes live.
//!
//! ```text
//!           Desired ──▶ ┌──────── station ────────┐ ──▶ Report
//!                       │ responder   announcer   │
//!   netlink ─▶ links ─▶ │ heartbeat   liveness    │
//!                       └────────▲───────┬────────┘
//!                         driver │ frames│
//! ```
//!
//! The station is a pure machine; the driver gives it frames and the time, and sends what it says.
//! An address moves when the composition root, told by the report who is alive, ranks the nodes
//! again ([`rank`]). Telling the others what is held, keeping it, and handing it over is the
//! business of claims (`layer2/claims.rs`, not here yet): the heartbeat has room for it.

pub mod announcer;
pub mod driver;
pub mod filter;
pub mod heartbeat;
pub mod interfaces;
pub mod liveness;
pub mod rank;
pub mod responder;
mod socket;
pub mod station;

pub use driver::{Counters, Layer2, StartError};

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
    /// Where to send heartbeats; `None`: this node is no candidate, says so, and sends none.
    pub heartbeat: Option<Interfaces>,
}

/// Number of a network interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkIndex(pub u32);

/// What layer 2 knows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// True while heartbeats are sent and no interface has been listened to for long enough:
    /// until then nothing is known of the others, and nothing is taken.
    pub listening: bool,
    /// Interfaces that exist and are fit for announcing, by name.
    pub interfaces: BTreeMap<String, Interface>,
    /// Other nodes ever heard, by name.
    pub nodes: BTreeMap<String, NodeHealth>,
}

/// An interface fit for announcing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Administratively up, with carrier, without a problem.
    pub is_up: bool,
    /// Up, and listened to for one down-after time while heartbeats were sent: until then it is
    /// not known who else is there, and nothing is answered or announced on it.
    pub is_settled: bool,
    /// Another speaker has been heard on it, be it silent by now: it is a segment. Carrier that is
    /// lost and returns does not change that.
    pub is_shared: bool,
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
    /// Interfaces of ours on which it is being heard, each with those of its own that it is heard
    /// from; empty: down.
    pub heard_on: BTreeMap<String, BTreeSet<String>>,
    /// Interfaces of ours on which it is heard and holds nothing, perhaps only until it knows who is
    /// there: then it may be the one to take over.
    pub listens_on: BTreeSet<String>,
    /// It said that it is leaving.
    pub is_leaving: bool,
    /// When it last came up or went down.
    pub since: SystemTime,
}

/// What was done for an address since it came to be held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests and solicitations for it.
    pub requests: u64,
    /// Answers to them.
    pub responses: u64,
    /// Frames that announced it unasked.
    pub gratuitous: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.requests += more.requests;
        self.responses += more.responses;
        self.gratuitous += more.gratuitous;
    }
}
