//! Advertisements: which addresses leave this cluster, from which nodes, and how.

use std::collections::BTreeSet;
use std::fmt;

use super::{Family, Labels, Pool, Selector};

/// Which pools an advertisement is about.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PoolChoice {
    /// By name.
    pub names: BTreeSet<String>,
    /// By label; in union with the names.
    pub selectors: Vec<Selector>,
}

impl PoolChoice {
    /// Nothing said means every pool.
    pub fn selects(&self, pool: &Pool) -> bool {
        (self.names.is_empty() && self.selectors.is_empty())
            || self.names.contains(&pool.name)
            || Selector::any(&self.selectors, &pool.labels)
    }
}

/// An L2Advertisement.
#[derive(Debug, Clone, PartialEq)]
pub struct L2Advertisement {
    /// Object name.
    pub name: String,
    /// Which pools.
    pub pools: PoolChoice,
    /// Which nodes may announce; empty: all.
    pub nodes: Vec<Selector>,
    /// Which Services; empty: all.
    pub services: Vec<Selector>,
    /// On which interfaces; empty: all.
    pub interfaces: BTreeSet<String>,
    /// Soft preferences among the nodes.
    pub preferences: Vec<Preference>,
}

/// One entry of `preferredNodeSelectors`.
#[derive(Debug, Clone, PartialEq)]
pub struct Preference {
    /// 1 to 100; summed over all that match.
    pub weight: u32,
    /// Which nodes.
    pub nodes: Selector,
}

impl L2Advertisement {
    /// Whether a Service with these labels is meant.
    pub fn selects_service(&self, labels: &Labels) -> bool {
        Selector::any_or_all(&self.services, labels)
    }

    /// Whether a node with these labels may announce.
    pub fn selects_node(&self, labels: &Labels) -> bool {
        Selector::any_or_all(&self.nodes, labels)
    }

    /// How much a node with these labels is preferred.
    pub fn preference_for(&self, labels: &Labels) -> u32 {
        let matching = self.preferences.iter();
        let matching = matching.filter(|preference| preference.nodes.matches(labels));
        matching.fold(0, |sum, preference| sum.saturating_add(preference.weight))
    }
}

/// A BGPAdvertisement.
#[derive(Debug, Clone, PartialEq)]
pub struct BgpAdvertisement {
    /// Object name.
    pub name: String,
    /// Which pools.
    pub pools: PoolChoice,
    /// Which nodes announce; empty: all.
    pub nodes: Vec<Selector>,
    /// Which Services; empty: all.
    pub services: Vec<Selector>,
    /// To which BGPPeers by name; empty: all.
    pub peers: BTreeSet<String>,
    /// IPv4 prefix length announced, 1 to 32.
    pub aggregation_length_v4: u8,
    /// IPv6 prefix length announced, 0 to 128.
    pub aggregation_length_v6: u8,
    /// LOCAL_PREF toward iBGP peers; `None` when unset or 0.
    pub local_pref: Option<u32>,
    /// Attached to the prefix, aliases resolved.
    pub communities: BTreeSet<Community>,
    /// What its annotations say.
    pub options: AdvertisementOptions,
}

/// What the `ferrolb.io/bgp-…` annotations of a BGPAdvertisement say; what is `None` is not said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AdvertisementOptions {
    /// `bgp-as-path-prepend`: how often our AS stands in AS_PATH beside the one time it must.
    pub as_path_prepend: Option<u8>,
    /// `bgp-link-bandwidth`: octets per second that an endpoint can take.
    pub link_bandwidth: Option<u64>,
    /// `bgp-med`: MULTI_EXIT_DISC.
    pub med: Option<u32>,
}

impl BgpAdvertisement {
    /// The prefix length announced for a family.
    pub fn aggregation_length(&self, family: Family) -> u8 {
        match family {
            Family::V4 => self.aggregation_length_v4,
            Family::V6 => self.aggregation_length_v6,
        }
    }

    /// Whether a Service with these labels is meant.
    pub fn selects_service(&self, labels: &Labels) -> bool {
        Selector::any_or_all(&self.services, labels)
    }

    /// Whether a node with these labels announces.
    pub fn selects_node(&self, labels: &Labels) -> bool {
        Selector::any_or_all(&self.nodes, labels)
    }
}

/// A BGP community value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Community {
    /// RFC 1997, `65000:1`.
    Standard(u16, u16),
    /// RFC 8092, `large:65000:1:2`.
    Large(u32, u32, u32),
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard(a, b) => write!(f, "{a}:{b}"),
            Self::Large(a, b, c) => write!(f, "large:{a}:{b}:{c}"),
        }
    }
}
