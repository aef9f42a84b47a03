//! The router's side of the BGPPeers, in the words of a router: what somebody has to write there who
//! has written the cluster's side.
//!
//! ```text
//! objects ──▶ Known ──▶ sessions ──┬──▶ bird ──▶ text
//!                (filter: what a   └──▶ frr  ──▶ text
//!                 peer may hold)
//! ```
//!
//! A pure function of the objects; only `driver` reads them. The text is complete: a router with
//! nothing else in its configuration has the sessions, takes exactly the prefixes that the pools can
//! make, and tells nothing. It is not the node's side, which the plan is for.

mod bird;
pub mod driver;
mod filter;
mod frr;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ferrolb_crds::model::{
    Asn, BfdProfile, Config, Family, HoldTime, Neighbor, Node, Peer, PeerAsn, TtlSecurityHops,
};
use ferrolb_crds::source::Change;

use filter::Filter;

/// In whose words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// BIRD 2.
    Bird,
    /// FRR, as `vtysh` reads it.
    Frr,
}

/// What is wanted of all there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// BGPPeers by name; none: all.
    pub peers: BTreeSet<String>,
    /// Sessions of this node only.
    pub node: Option<String>,
    /// Whether passwords are printed (design invariant I10: not unless that is asked for).
    pub shows_passwords: bool,
}

/// What has been read.
#[derive(Debug, Default)]
pub struct Known {
    config: Arc<Config>,
    nodes: BTreeMap<String, Node>,
}

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Printed {
    /// The router's configuration; empty when there is no session.
    pub text: String,
    /// What is missing in it, and why.
    pub problems: Vec<String>,
}

impl Known {
    /// What these changes leave.
    pub fn of(changes: impl IntoIterator<Item = Change>) -> Self {
        let mut known = Self::default();
        for change in changes {
            match change {
                Change::Config(config) => known.config = config,
                Change::Node(name, Some(node)) => drop(known.nodes.insert(name, node)),
                Change::Node(name, None) => drop(known.nodes.remove(&name)),
                Change::Service(..)
                | Change::EndpointSlice(..)
                | Change::Namespace(..)
                | Change::Unreadable(_)
                | Change::Orphans(_)
                | Change::Synced => {}
            }
        }
        known
    }
}

/// The router's side of what is selected.
pub fn print(known: &Known, selection: &Selection, dialect: Dialect) -> Printed {
    let mut problems = strangers(known, selection);
    let peers = known.config.peers.values();
    let selected =
        peers.filter(|peer| selection.peers.is_empty() || selection.peers.contains(&peer.name));
    let mut sessions = Vec::new();
    for peer in selected {
        match Session::of(known, selection, peer) {
            Ok(session) => {
                if peer.options.tcp_ao.is_some() {
                    problems.push(format!(
                        "BGPPeer/{}: its key of TCP-AO is not printed: give it to the router by hand",
                        peer.name
                    ));
                }
                sessions.push(session);
            }
            Err(why) => problems.push(format!("BGPPeer/{}: {why}", peer.name)),
        }
    }
    if sessions.is_empty() {
        if problems.is_empty() {
            problems.push("there is no BGPPeer".to_owned());
        }
        return Printed {
            text: String::new(),
            problems,
        };
    }
    let text = match dialect {
        Dialect::Bird => bird::render(&sessions, &mut problems),
        Dialect::Frr => frr::render(&sessions, &mut problems),
    };
    Printed { text, problems }
}

/// What was asked for and is not there.
fn strangers(known: &Known, selection: &Selection) -> Vec<String> {
    let peers = selection.peers.iter();
    let peers = peers.filter(|name| !known.config.peers.contains_key(*name));
    let peers = peers.map(|name| format!("BGPPeer/{name}: it is not in force, or not there"));
    let node = selection.node.iter();
    let node = node.filter(|name| !known.nodes.contains_key(*name));
    peers
        .chain(node.map(|name| format!("Node/{name}: it is not there")))
        .collect()
}

/// The sessions of one BGPPeer, as the router is to be configured for them.
#[derive(Debug)]
struct Session<'a> {
    peer: &'a Peer,
    bfd: Option<&'a BfdProfile>,
    /// Where the nodes' connections come from, with the names of the nodes; none where the peer is an
    /// interface.
    neighbours: BTreeMap<IpAddr, BTreeSet<&'a str>>,
    /// What the router accepts, by family of the session.
    filters: BTreeMap<Family, Filter>,
    /// What stands in for the key of TCP MD5, if there is one.
    password: Option<Password<'a>>,
}

/// A password as it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Password<'a> {
    /// Not at all.
    Hidden,
    /// As it is.
    Shown(&'a str),
}

/// The number of the router's own AS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RouterAsn {
    /// This one.
    Known(Asn),
    /// Any other than the nodes' would do: this is one for documentation.
    Placeholder(Asn),
}

impl RouterAsn {
    fn get(self) -> Asn {
        match self {
            Self::Known(asn) | Self::Placeholder(asn) => asn,
        }
    }
}

impl<'a> Session<'a> {
    /// Or why there is none.
    fn of(known: &'a Known, selection: &Selection, peer: &'a Peer) -> Result<Self, String> {
        let is_asked = |node: &&Node| {
            selection
                .node
                .as_ref()
                .is_none_or(|name| *name == node.name)
        };
        let nodes = known.nodes.values().filter(is_asked);
        let nodes: Vec<&Node> = nodes
            .filter(|node| peer.selects_node(&node.labels))
            .collect();
        if nodes.is_empty() {
            return Err(match known.nodes.is_empty() {
                true => "no Node is known, and so not where its sessions come from: give Nodes \
                         with an InternalIP in status.addresses"
                    .to_owned(),
                false => "it selects no Node".to_owned(),
            });
        }
        let families = peer.families().into_iter();
        let profiles = &known.config.bfd_profiles;
        Ok(Self {
            neighbours: neighbours(peer, &nodes)?,
            filters: families
                .map(|family| (family, Filter::of(&known.config, peer, &nodes, family)))
                .collect(),
            bfd: peer
                .bfd_profile
                .as_ref()
                .and_then(|name| profiles.get(name)),
            password: peer
                .password
                .as_ref()
                .filter(|_| peer.options.tcp_ao.is_none())
                .map(|secret| match selection.shows_passwords {
                    true => Password::Shown(secret.expose()),
                    false => Password::Hidden,
                }),
            peer,
        })
    }

    /// The AS that the nodes show.
    fn node_asn(&self) -> Asn {
        self.peer.local_asn.unwrap_or(self.peer.my_asn)
    }

    fn router_asn(&self) -> RouterAsn {
        match self.peer.peer_asn {
            PeerAsn::Exact(asn) => RouterAsn::Known(asn),
            PeerAsn::Internal => RouterAsn::Known(self.node_asn()),
            PeerAsn::External => {
                let mut examples = EXAMPLES.into_iter().filter_map(Asn::new);
                let other = examples.find(|asn| *asn != self.node_asn());
                RouterAsn::Placeholder(other.unwrap_or_else(|| self.node_asn()))
            }
        }
    }

    fn is_internal(&self) -> bool {
        self.router_asn().get() == self.node_asn()
    }

    /// The router's own address, if the peer is one.
    fn router_address(&self) -> Option<IpAddr> {
        match self.peer.neighbor {
            Neighbor::Address(address) => Some(address),
            Neighbor::Interface(_) => None,
        }
    }

    /// Whether IPv4 prefixes arrive with IPv6 next hops (RFC 8950).
    fn has_extended_next_hop(&self) -> bool {
        let is_over_v6 = self
            .router_address()
            .is_none_or(|address| address.is_ipv6());
        is_over_v6 && self.filters.contains_key(&Family::V4)
    }

    /// Hold time and keepalive time in seconds, where they are not left to the router.
    fn timers(&self) -> Option<(u16, u64)> {
        let hold = self.peer.hold_time.map(HoldTime::seconds)?;
        let keepalive = self.peer.keepalive_time.map(|time| time.as_secs().max(1));
        Some((hold, keepalive.unwrap_or_else(|| u64::from(hold) / 3)))
    }

    /// How many hops away a node may be by the TTL of what it sends (RFC 5082), if that is checked.
    fn ttl_security_hops(&self) -> Option<u8> {
        let hops = self.peer.options.ttl_security_hops?;
        Some(TtlSecurityHops::SENT_TTL - hops.least_ttl() + 1)
    }

    /// What it is called in a comment; and what of it the reader knows better.
    fn title(&self) -> String {
        let Peer {
            name,
            vrf,
            source_address,
            ..
        } = self.peer;
        match (vrf, source_address) {
            (Some(vrf), None) => format!(
                "BGPPeer {name}: by vrf {vrf} of the nodes, whose addresses there are taken to be their InternalIPs"
            ),
            (Some(_), Some(_)) | (None, _) => format!("BGPPeer {name}"),
        }
    }
}

/// Where the connections of these nodes come from.
fn neighbours<'a>(
    peer: &Peer,
    nodes: &[&'a Node],
) -> Result<BTreeMap<IpAddr, BTreeSet<&'a str>>, String> {
    let mut neighbours: BTreeMap<IpAddr, BTreeSet<&str>> = BTreeMap::new();
    let Neighbor::Address(router) = peer.neighbor else {
        return Ok(neighbours);
    };
    let family = Family::of(router);
    for node in nodes {
        let mut internal = node.addresses.iter().copied();
        let internal = internal.find(|address| Family::of(*address) == family);
        if let Some(address) = peer.source_address.or(internal) {
            neighbours.entry(address).or_default().insert(&node.name);
        }
    }
    if neighbours.is_empty() {
        let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        return Err(format!(
            "no Node that it selects ({}) has an InternalIP of {family} in status.addresses",
            names.join(", ")
        ));
    }
    Ok(neighbours)
}

/// The router's BGP Identifier: the first IPv4 address that peers have of it.
fn router_id(sessions: &[Session<'_>]) -> Option<Ipv4Addr> {
    let mut addresses = sessions.iter().filter_map(Session::router_address);
    addresses.find_map(|address| match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    })
}

/// The families that any of them carries.
fn families(sessions: &[Session<'_>]) -> BTreeSet<Family> {
    let families = sessions.iter().flat_map(|session| session.filters.keys());
    families.copied().collect()
}

/// As it stands in names.
fn word(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

/// What stands in for a password that is not shown.
const HIDDEN: &str = "PLACEHOLDER";

/// How many paths of one prefix the kernel gets.
const PATHS: u16 = 64;

/// RFC 5398: AS numbers for documentation.
const EXAMPLES: [u32; 2] = [64496, 64497];

#[cfg(test)]
mod tests;
