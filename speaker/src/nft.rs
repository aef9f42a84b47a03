//! The hand-off: one nftables table of DNAT maps, and nothing else on the host.
//!
//! ```text
//! Desired, Host ──▶ ruleset ──▶ render ──▶ driver ──▶ nft -f -
//!                              listing ◀──   │   ◀── nft -j list
//!                              interfaces ◀──┴────── rtnetlink
//! ```
//!
//! For addresses this node announces, a connection to a Service's port is translated to this node's
//! NodePort, for the network's clients and the node's own, in both families, with or without IP
//! forwarding and without the address on any interface. Not handed off: an echo request to the
//! address (no answer; the responder of layer 2 answers ARP and NDP, nobody answers ICMP), and
//! everything for ports that no frontend has (refused).
//!
//! Established connections are conntrack's: they outlive every change of the table, also the removal
//! of their own frontend and a change of its source ranges, and end with the table itself. A UDP
//! flow counts as established for as long as its client keeps sending (`nf_conntrack_udp_timeout`):
//! after a frontend's NodePort changed such a flow goes to the old one until it pauses, and one that
//! was forwarded elsewhere before the table existed is refused until then. The table should therefore
//! stand before an address is announced. A UDP server on the wildcard address of a node with several
//! addresses must answer from the one it was asked at (IP_PKTINFO), as for any NodePort.

mod driver;
#[cfg(test)]
mod fixture;
mod interfaces;
mod listing;
mod render;
mod ruleset;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::SystemTime;

use ferrolb_crds::model::{Port, Protocol};
use imbl::{OrdMap, OrdSet};
use ipnet::IpNet;

pub use driver::HandOff;

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

/// Everything that should be handed off on this node. A copy costs nothing, and two that come from one
/// another are compared in what differs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// Every address this node announces, also those without a port to hand off: what no frontend
    /// takes is rejected, so that it loops nowhere.
    pub addresses: OrdSet<IpAddr>,
    /// The ports.
    pub frontends: OrdMap<Frontend, Target>,
}

impl Desired {
    fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.frontends.is_empty()
    }

    /// Whether there is an IPv4 frontend; those come before the others.
    fn has_ipv4(&self) -> bool {
        let first = self.frontends.get_min();
        first.is_some_and(|(frontend, _)| frontend.address.is_ipv4())
    }

    /// Whether something stands for the address.
    fn has(&self, address: IpAddr) -> bool {
        let least = Port::new(1).map(|port| Frontend {
            address,
            protocol: Protocol::Tcp,
            port,
        });
        let next = least.and_then(|least| self.frontends.get_next(&least));
        self.addresses.contains(&address)
            || next.is_some_and(|(frontend, _)| frontend.address == address)
    }
}

/// How the hand-off stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// There is nothing to hand off.
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
