//! What the table holds: chains and sets that never differ, and the elements in them that do.
//!
//! ```text
//! prerouting ─▶ take4, take6 ─▶ redirect to the NodePort       a packet from the network
//! output ─────▶ own4, own6 ───▶ DNAT to the packet's source    this node's own client
//! behind both ▶ refuse                                         what no frontend took
//! ```
//!
//! Everything that depends on Services or on this node's addresses is an [`Element`], so that two
//! states of the table differ by a set of elements and nothing else. Nothing in here knows nft's
//! process; the text is `render`'s business. Needs Linux 5.9: NAT in `inet` tables (5.2),
//! concatenated ranges (5.6), reject in prerouting (5.9).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ferrolb_crds::model::{Family, Port};
use imbl::{ordmap, ordset};
use ipnet::IpNet;

use super::{Desired, Frontend, Target};

/// One member of one of the table's sets and maps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Element {
    /// An address this node announces.
    Address(IpAddr),
    /// A frontend and its NodePort.
    Port(Frontend, Port),
    /// A frontend that not everybody may use.
    Limited(Frontend),
    /// Who may use a limited frontend.
    Source(Frontend, IpNet),
    /// An interface with an IPv4 address of its own.
    Numbered(String),
    /// Where IPv4 traffic goes that came in by an interface without an address.
    NodeAddress(Ipv4Addr),
}

/// This node's IPv4 addresses, as far as they matter: `redirect` drops silently what arrives by an
/// interface without one. IPv6 needs no such care, a link-local address will do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Host {
    /// Names of the interfaces that have an IPv4 address.
    pub numbered: BTreeSet<String>,
    /// An address that stands in where an interface has none.
    pub address: Option<Ipv4Addr>,
}

/// The elements the table should hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ruleset {
    elements: BTreeSet<Element>,
}

impl Ruleset {
    /// What should be there for these frontends on this host.
    pub(super) fn new(desired: &Desired, host: &Host) -> Self {
        let mut elements: BTreeSet<_> = desired
            .addresses
            .iter()
            .map(|address| Element::Address(*address))
            .collect();
        for (frontend, target) in &desired.frontends {
            elements.extend(frontend_elements(*frontend, target));
        }
        if desired.has_ipv4() {
            elements.extend(host_elements(host));
        }
        Self { elements }
    }

    /// Applies a change of what it is.
    pub(super) fn apply(&mut self, change: Change) {
        for element in &change.removed {
            self.elements.remove(element);
        }
        self.elements.extend(change.added);
    }

    /// The elements, in order.
    pub(super) fn elements(&self) -> &BTreeSet<Element> {
        &self.elements
    }

    /// Whether there is nothing to hand off.
    pub(super) fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// What turns this state into the next.
    pub(super) fn change_to(&self, next: &Self) -> Change {
        Change {
            removed: self.elements.difference(&next.elements).cloned().collect(),
            added: next.elements.difference(&self.elements).cloned().collect(),
        }
    }
}

/// The difference of two rulesets; the removals come first, so that a NodePort can change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Elements to take out.
    pub removed: BTreeSet<Element>,
    /// Elements to put in.
    pub added: BTreeSet<Element>,
}

impl Change {
    /// What turns the ruleset of one wish into that of the next on the same host: to look at what differs
    /// is much less than to make both rulesets.
    pub(super) fn between(old: &Desired, new: &Desired, host: &Host) -> Self {
        let (mut removed, mut added) = (BTreeSet::new(), BTreeSet::new());
        for differing in old.addresses.diff(&new.addresses) {
            match differing {
                ordset::DiffItem::Remove(address) => removed.insert(Element::Address(*address)),
                ordset::DiffItem::Add(address) => added.insert(Element::Address(*address)),
            };
        }
        for differing in old.frontends.diff(&new.frontends) {
            let (before, after) = match differing {
                ordmap::DiffItem::Remove(frontend, target) => (Some((frontend, target)), None),
                ordmap::DiffItem::Add(frontend, target) => (None, Some((frontend, target))),
                ordmap::DiffItem::Update { old, new } => (Some(old), Some(new)),
            };
            let elements =
                |(frontend, target): (&Frontend, &Target)| frontend_elements(*frontend, target);
            removed.extend(before.into_iter().flat_map(elements));
            added.extend(after.into_iter().flat_map(elements));
        }
        if old.has_ipv4() != new.has_ipv4() {
            let which = match old.has_ipv4() {
                true => &mut removed,
                false => &mut added,
            };
            which.extend(host_elements(host));
        }
        // An address is there for as long as something stands for it.
        let stays = |element: &Element| match element {
            Element::Address(address) => old.has(*address) && new.has(*address),
            Element::Port(..)
            | Element::Limited(_)
            | Element::Source(..)
            | Element::Numbered(_)
            | Element::NodeAddress(_) => false,
        };
        let differing = |of: &BTreeSet<Element>, other: &BTreeSet<Element>| {
            let elements = of.difference(other).filter(|element| !stays(element));
            elements.cloned().collect()
        };
        Self {
            removed: differing(&removed, &added),
            added: differing(&added, &removed),
        }
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }
}

/// A set, or a map when it has data.
#[derive(Debug, Clone, Copy)]
pub(super) struct SetSpec {
    pub(super) name: &'static str,
    pub(super) key: &'static [&'static str],
    pub(super) data: Option<&'static str>,
    /// Whether its elements are ranges.
    pub(super) interval: bool,
}

/// A chain and its rules; one with a hook is where packets enter.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChainSpec {
    pub(super) name: &'static str,
    pub(super) hook: Option<Hook>,
    pub(super) rules: &'static [&'static str],
}

/// Where a chain is hooked in; its policy is accept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hook {
    pub(super) kind: &'static str,
    pub(super) at: &'static str,
    pub(super) priority: i32,
}

/// The sets and maps of the table.
pub(super) const SETS: &[SetSpec] = &[
    set("addresses4", &["ipv4_addr"]),
    set("addresses6", &["ipv6_addr"]),
    map("ports4", FRONTEND4, "inet_service"),
    map("ports6", FRONTEND6, "inet_service"),
    set("limited4", FRONTEND4),
    set("limited6", FRONTEND6),
    ranges(
        "sources4",
        &["ipv4_addr", "inet_proto", "inet_service", "ipv4_addr"],
    ),
    ranges(
        "sources6",
        &["ipv6_addr", "inet_proto", "inet_service", "ipv6_addr"],
    ),
    set("numbered4", &["ifname"]),
    map("node4", &["nf_proto"], "ipv4_addr"),
];

/// The chains of the table.
pub(super) const CHAINS: &[ChainSpec] = &[
    hooked(
        "prerouting",
        ("nat", "prerouting", DSTNAT),
        &[
            "ip daddr @addresses4 goto take4",
            "ip6 daddr @addresses6 goto take6",
        ],
    ),
    hooked(
        "output",
        ("nat", "output", DSTNAT),
        &[
            "ip daddr @addresses4 goto own4",
            "ip6 daddr @addresses6 goto own6",
        ],
    ),
    hooked("rest", ("filter", "prerouting", BEHIND_DSTNAT), REST),
    hooked("own_rest", ("filter", "output", BEHIND_DSTNAT), REST),
    // Redirect means the first address of the interface the packet came in by: right also while
    // addresses change. Without one the kernel drops, so those interfaces get the node's.
    chain(
        "take4",
        &[
            LIMIT4,
            "iifname @numbered4 meta l4proto { tcp, udp, sctp } redirect to : ip daddr . meta l4proto . th dport map @ports4",
            "meta l4proto { tcp, udp, sctp } dnat ip to meta nfproto map @node4 : ip daddr . meta l4proto . th dport map @ports4",
        ],
    ),
    chain(
        "take6",
        &[
            LIMIT6,
            "meta l4proto { tcp, udp, sctp } redirect to : ip6 daddr . meta l4proto . th dport map @ports6",
        ],
    ),
    // The client's own source, not the loopback address that redirect means here: a UDP server on
    // the wildcard address answers from the address the kernel picks, which must be the one asked.
    chain(
        "own4",
        &[
            LIMIT4,
            "meta l4proto { tcp, udp, sctp } dnat ip to ip saddr : ip daddr . meta l4proto . th dport map @ports4",
        ],
    ),
    chain(
        "own6",
        &[
            LIMIT6,
            "meta l4proto { tcp, udp, sctp } dnat ip6 to ip6 saddr : ip6 daddr . meta l4proto . th dport map @ports6",
        ],
    ),
    // Let through, it would follow the default route and loop with the router that sent it here.
    // A stray segment of a live connection must not reset it, and answering Neighbor Solicitations
    // for a VIP is layer 2's business: both vanish, and so does an echo request. A client takes a
    // reset at once in both families, an ICMPv6 error only at its next retransmission.
    chain(
        "refuse",
        &[
            "ct state invalid drop",
            "meta l4proto { icmp, ipv6-icmp } drop",
            "meta l4proto tcp reject with tcp reset",
            "reject with icmpx port-unreachable",
        ],
    ),
];

const FRONTEND4: &[&str] = &["ipv4_addr", "inet_proto", "inet_service"];
const FRONTEND6: &[&str] = &["ipv6_addr", "inet_proto", "inet_service"];

// As kube-proxy: a source that is not allowed gets no answer, and the node's own clients are no
// exception.
const LIMIT4: &str = "ip daddr . meta l4proto . th dport @limited4 ip daddr . meta l4proto . th dport . ip saddr != @sources4 drop";
const LIMIT6: &str = "ip6 daddr . meta l4proto . th dport @limited6 ip6 daddr . meta l4proto . th dport . ip6 saddr != @sources6 drop";

// What is still addressed to one of ours behind the NAT was taken by no frontend.
const REST: &[&str] = &[
    "ip daddr @addresses4 goto refuse",
    "ip6 daddr @addresses6 goto refuse",
];

/// NF_IP_PRI_NAT_DST.
const DSTNAT: i32 = -100;
const BEHIND_DSTNAT: i32 = -90;

const fn set(name: &'static str, key: &'static [&'static str]) -> SetSpec {
    SetSpec {
        name,
        key,
        data: None,
        interval: false,
    }
}

const fn ranges(name: &'static str, key: &'static [&'static str]) -> SetSpec {
    SetSpec {
        name,
        key,
        data: None,
        interval: true,
    }
}

const fn map(name: &'static str, key: &'static [&'static str], data: &'static str) -> SetSpec {
    SetSpec {
        name,
        key,
        data: Some(data),
        interval: false,
    }
}

const fn chain(name: &'static str, rules: &'static [&'static str]) -> ChainSpec {
    ChainSpec {
        name,
        hook: None,
        rules,
    }
}

const fn hooked(
    name: &'static str,
    (kind, at, priority): (&'static str, &'static str, i32),
    rules: &'static [&'static str],
) -> ChainSpec {
    ChainSpec {
        name,
        hook: Some(Hook { kind, at, priority }),
        rules,
    }
}

fn frontend_elements(frontend: Frontend, target: &Target) -> Vec<Element> {
    let mut elements = vec![
        Element::Address(frontend.address),
        Element::Port(frontend, target.node_port),
    ];
    let sources = sources_of(Family::of(frontend.address), &target.source_ranges);
    if !sources.is_empty() {
        elements.push(Element::Limited(frontend));
        elements.extend(
            sources
                .into_iter()
                .map(|net| Element::Source(frontend, net)),
        );
    }
    elements
}

/// The ranges that limit a family, none overlapping another (nftables refuses those); none at all
/// means everybody. Ranges of the other family count for nothing, and where no others are given
/// this family is open: so kube-proxy does it (`newBaseServiceInfo` in pkg/proxy/serviceport.go
/// keeps the ranges of its family, and only a non-empty rest makes a firewall chain).
fn sources_of(family: Family, given: &BTreeSet<IpNet>) -> Vec<IpNet> {
    let of_family: Vec<IpNet> = given
        .iter()
        .filter(|net| Family::of(net.addr()) == family)
        .map(IpNet::trunc)
        .collect();
    let sources = IpNet::aggregate(&of_family);
    if sources.iter().any(|net| net.prefix_len() == 0) {
        return Vec::new();
    }
    sources
}

fn host_elements(host: &Host) -> impl Iterator<Item = Element> {
    let numbered = host
        .numbered
        .iter()
        .filter(|name| is_plain(name))
        .map(|name| Element::Numbered(name.clone()));
    numbered.chain(host.address.map(Element::NodeAddress))
}

/// Whether nft reads an interface's name as it stands: a quote would end it and an asterisk is a
/// wildcard. What is left out goes the way of the interfaces without an address.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    !name.is_empty() && name.len() < 16 && name.chars().all(plain)
}

#[cfg(test)]
mod tests;
