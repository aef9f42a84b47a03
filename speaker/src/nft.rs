//! The hand-off: one nftables table of DNAT maps, and nothing else on the host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::SystemTime;

use ferrolb_crds::model::{Port, Protocol};
use ipnet::IpNet;

/// What a client connects to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Frontend {
    /// The Service's address.
    pub address: IpAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The Service's port.
    pub port: Port,
}

/// Where it is handed to, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Port on this node.
    pub node_port: Port,
    /// Who may connect; empty: everybody.
    pub source_ranges: BTreeSet<IpNet>,
}

/// Everything that should be handed off on this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// Every address this node announces, also those without a port to hand off: what no frontend
    /// takes is rejected, so that it loops nowhere.
    pub addresses: BTreeSet<IpAddr>,
    /// The ports.
    pub frontends: BTreeMap<Frontend, Target>,
}

/// How the hand-off stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// Nothing was asked for yet.
    Idle,
    /// The table holds what it should.
    Programmed {
        /// How many frontends.
        frontends: usize,
        /// Since when.
        since: SystemTime,
    },
    /// It is not done here, and why: kube-proxy's tables exist, nft is missing.
    Refused {
        /// The reason, a sentence.
        reason: String,
    },
    /// It was tried and failed; it is tried again.
    Failed {
        /// The error.
        error: String,
    },
}
