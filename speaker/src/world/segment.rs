//! What layer 2 hears and could use.

use std::collections::{BTreeMap, BTreeSet};

use super::Claim;

/// What layer 2 hears and could use, as far as planning depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Layer 2 does not run, and why.
    Off(String),
    /// Layer 2 runs but nothing is known of the others yet: nothing may be taken.
    Listening {
        /// Interfaces fit for announcing, by name.
        links: BTreeMap<String, LinkState>,
    },
    /// Layer 2 runs.
    Known {
        /// Interfaces fit for announcing, by name.
        links: BTreeMap<String, LinkState>,
        /// Live nodes that are not leaving: on which interfaces of ours each is heard, and from which
        /// of its own.
        heard: Heard,
        /// The same of nodes that only listen yet and may have been started together with this one.
        waiting: Heard,
        /// Nodes heard of which it is not known yet what they claim.
        unknown: BTreeSet<String>,
    },
}

/// Nodes, by name: on which interfaces of ours each is heard, and from which of its own.
pub type Heard = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// How far an interface is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkState {
    /// It has no carrier, is switched off, or cannot be used.
    Down,
    /// It could be used, but it is not known who else is there: nothing may be taken on it.
    Listening,
    /// It is used, and no other speaker was ever heard on it: a container's link, say, or a
    /// segment with nobody else on it.
    Alone,
    /// It is used, and its segment is one on which others are or were.
    Up,
}

impl Segment {
    /// The nodes of which something else is heard than before; `None`: that is not all that
    /// differs, or on several segments one node's address can be another's business.
    pub(super) fn nodes_unlike<'a>(&'a self, before: &'a Self) -> Option<BTreeSet<&'a str>> {
        let (
            Self::Known {
                links,
                heard,
                waiting,
                unknown,
            },
            Self::Known {
                links: old_links,
                heard: old_heard,
                waiting: old_waiting,
                unknown: old_unknown,
            },
        ) = (self, before)
        else {
            return None;
        };
        let shared = links.values().filter(|state| **state == LinkState::Up);
        if links != old_links || shared.count() > 1 {
            return None;
        }
        let mut nodes = unlike(heard, old_heard);
        nodes.extend(unlike(waiting, old_waiting));
        nodes.extend(
            unknown
                .symmetric_difference(old_unknown)
                .map(String::as_str),
        );
        Some(nodes)
    }

    /// Whether the node that claims something is heard from the interface that it claims it for, where
    /// this node takes part.
    pub(super) fn hears(&self, claim: &Claim) -> bool {
        let Self::Known { links, heard, .. } = self else {
            return false;
        };
        let ways = heard.get(&*claim.node).into_iter().flatten();
        let ways = ways.filter(|(link, _)| links.get(*link) == Some(&LinkState::Up));
        let mut from = ways.flat_map(|(_, from)| from);
        from.any(|from| **from == *claim.interface)
    }

    /// Interfaces fit for announcing, by name; none while layer 2 is off.
    pub fn links(&self) -> Option<&BTreeMap<String, LinkState>> {
        match self {
            Self::Off(_) => None,
            Self::Listening { links } | Self::Known { links, .. } => Some(links),
        }
    }
}

fn unlike<'a>(heard: &'a Heard, before: &'a Heard) -> BTreeSet<&'a str> {
    let names = heard.keys().chain(before.keys());
    let unlike = names.filter(|name| heard.get(*name) != before.get(*name));
    unlike.map(String::as_str).collect()
}
