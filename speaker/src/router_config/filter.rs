//! What a peer may hold from the nodes: the prefixes that pools and advertisements can make.

use std::collections::BTreeSet;

use ferrolb_crds::model::{BgpAdvertisement, Config, Family, Node, Peer};
use ipnet::IpNet;

/// Everything that a peer accepts of one family.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    /// Ascending.
    pub(super) accepted: BTreeSet<Accepted>,
}

/// All prefixes of one length within a net, which may be the only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Accepted {
    pub(super) within: IpNet,
    pub(super) length: u8,
}

impl Filter {
    /// Of what these nodes advertise to the peer.
    pub(super) fn of(config: &Config, peer: &Peer, nodes: &[&Node], family: Family) -> Self {
        let goes_to_it = |ad: &&BgpAdvertisement| {
            (ad.peers.is_empty() || ad.peers.contains(&peer.name))
                && nodes.iter().any(|node| ad.selects_node(&node.labels))
        };
        let ads = config.bgp_advertisements.values().filter(goes_to_it);
        let accepted = ads.flat_map(|ad| {
            let pools = config.pools.values().filter(|pool| ad.pools.selects(pool));
            let ranges = pools.flat_map(|pool| &pool.ranges);
            let ranges = ranges.filter(|range| range.family() == family);
            let length = ad.aggregation_length(family);
            ranges
                .flat_map(|range| range.prefixes())
                .filter_map(move |part| Accepted::of(part, length))
        });
        Self {
            accepted: accepted.collect(),
        }
    }

    /// How many prefixes that are at most, and what a session may bring before it is ended; a router
    /// is protected by no more than that it can bear.
    pub(super) fn limit(&self) -> u32 {
        let counts = self.accepted.iter().map(|accepted| {
            let bits = accepted.length - accepted.within.prefix_len();
            1_u32.checked_shl(u32::from(bits)).unwrap_or(MOST)
        });
        counts.fold(0, u32::saturating_add).min(MOST)
    }
}

impl Accepted {
    /// Of the addresses of one part of a range: the part may be smaller than the aggregate.
    fn of(part: IpNet, length: u8) -> Option<Self> {
        let within = match part.prefix_len() > length {
            true => IpNet::new(part.addr(), length).ok()?.trunc(),
            false => part,
        };
        Some(Self { within, length })
    }

    /// Whether it is one prefix.
    pub(super) fn is_single(&self) -> bool {
        self.within.prefix_len() == self.length
    }
}

/// Ten times what a cluster has that is large.
const MOST: u32 = 100_000;
