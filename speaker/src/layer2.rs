//! Layer 2: answering ARP and NDP for the addresses this node holds, and knowing which nodes live.
//!
//! ```text
//!           Desired ──▶ ┌──────── station ────────┐ ──▶ Report
//!                       │ responder   announcer   │
//!   netlink ─▶ links ─▶ │ heartbeat   liveness    │
//!                       │ claims      conflict    │
//!                       └────────▲───────┬────────┘
//!                         driver │ frames│
//! ```
//!
//! The station is a pure machine; the driver gives it frames and the time, and sends what it says.
//! Who is to hold an address the composition root decides, told by the report who is alive and by
//! [`claims`] who holds what. What it gives up because another is to take it, the station answers
//! for until the other does.

pub mod announcer;
pub mod claims;
pub mod conflict;
pub mod driver;
pub mod exclusion;
pub mod filter;
pub mod heartbeat;
pub mod interfaces;
pub mod letterbox;
pub mod liveness;
pub mod pace;
pub mod responder;
mod socket;
pub mod station;
pub mod tally;

pub use driver::{Counters, Layer2, StartError};
pub use letterbox::Letter;

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
    /// Mean time between two announcements of what is held, after the burst; `None`: there is none.
    pub reannounce: Option<Duration>,
    /// Interfaces that are left alone.
    pub exclusion: exclusion::Exclusion,
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
    /// Addresses of which nobody is known to have held them: whether somebody else has them is found
    /// out, and told, where this node answers for them or would like to. They are announced after that.
    pub probed: BTreeMap<IpAddr, Interfaces>,
    /// Those of them that are answered for on every interface that is named, also where several are on
    /// one segment.
    pub named: BTreeSet<IpAddr>,
    /// Addresses that another node is to take: what was owned is answered for until it has, or for
    /// as long as a hand-over may take.
    pub offered: BTreeSet<IpAddr>,
    /// Addresses that were held before this speaker was started anew, and of which it is not known
    /// yet who holds them: the others are to leave them to this node.
    pub remembered: BTreeSet<IpAddr>,
    /// Where to send heartbeats; `None`: this node is no candidate, says so, and sends none.
    pub heartbeat: Option<Interfaces>,
    /// What arrives at this node is not delivered: the others are to know.
    pub is_failing: bool,
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
    /// True until it has known for a while who is there: others may have been started with this node,
    /// and be about to come back to what they held.
    pub is_new: bool,
    /// Interfaces that exist and are fit for announcing, by name.
    pub interfaces: BTreeMap<String, Interface>,
    /// Other nodes ever heard, by name.
    pub nodes: BTreeMap<String, NodeHealth>,
    /// Grows when there are claims or findings to be taken.
    pub claims: u64,
    /// Grows when somebody else was seen to answer for a held address.
    pub rivals: u64,
}

/// What the others say of some addresses: all that is said of each.
pub type ClaimsByAddress = BTreeMap<IpAddr, Vec<(claims::Source, claims::Standing)>>;

/// Who else has an address that was asked for: hardware addresses by interface; none: nobody.
pub type Findings = BTreeMap<IpAddr, BTreeMap<String, String>>;
/// Somebody else whose frames say that an address is theirs which is answered for here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rival {
    /// On which interface.
    pub interface: String,
    /// Which address.
    pub address: IpAddr,
    /// Its hardware address.
    pub mac: String,
    /// The node, if it is one that was ever heard.
    pub node: Option<String>,
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
    /// The same where it is heard and holds nothing, perhaps only until it knows who is there: then
    /// it may be the one to take over.
    pub listens_on: BTreeMap<String, BTreeSet<String>>,
    /// It said that it is leaving.
    pub is_leaving: bool,
    /// It said that what arrives there is not delivered.
    pub is_failing: bool,
    /// It is known what it claims where it is heard.
    pub is_known: bool,
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
