//! What is counted beside what is done for each address: who was last heard when, how many heartbeats
//! did not come, and why frames were not answered.
//!
//! The station gathers what is new, and the driver adds it to what whoever asks can read at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use crate::layer2::responder::Reason;

/// What was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// When each node was last heard that is believed, on any interface.
    pub heard: BTreeMap<Arc<str>, Instant>,
    /// About how many of a node's heartbeats did not come.
    pub lost: BTreeMap<Arc<str>, u64>,
    /// Frames that were not answered, by the reason.
    pub silences: BTreeMap<&'static str, u64>,
    /// Nodes that are forgotten since; of a sum: none.
    pub forgotten: BTreeSet<Arc<str>>,
}

impl Tally {
    /// A node was heard.
    pub(super) fn hear(&mut self, node: &Arc<str>, now: Instant) {
        match self.heard.get_mut(node) {
            Some(heard) => *heard = now,
            None => drop(self.heard.insert(Arc::clone(node), now)),
        }
    }

    /// Heartbeats of a node did not come.
    pub(super) fn lose(&mut self, node: &str, count: u64) {
        *self.lost.entry(node.into()).or_default() += count;
    }

    /// A frame was not answered.
    pub(super) fn keep_silent(&mut self, reason: Reason) {
        *self.silences.entry(reason.as_str()).or_default() += 1;
    }

    /// A node is remembered no more.
    pub(super) fn forget(&mut self, node: &str) {
        self.heard.remove(node);
        self.lost.remove(node);
        self.forgotten.insert(node.into());
    }

    /// Whether there is nothing new.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Takes in what was counted since.
    pub(super) fn add(&mut self, more: Self) {
        for node in more.forgotten {
            self.heard.remove(&node);
            self.lost.remove(&node);
        }
        self.heard.extend(more.heard);
        for (node, count) in more.lost {
            *self.lost.entry(node).or_default() += count;
        }
        for (reason, count) in more.silences {
            *self.silences.entry(reason).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "where virtual time begins")]
    fn what_is_new_is_added_and_who_is_forgotten_leaves_nothing() {
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut all = Tally::default();
        for now in [start, later] {
            let mut more = Tally::default();
            assert!(more.is_empty());
            more.hear(&a, now);
            more.lose("a", 2);
            more.keep_silent(Reason::NotForUs);
            all.add(more);
        }
        assert_eq!(all.heard, BTreeMap::from([(Arc::clone(&a), later)]));
        assert_eq!(all.lost, BTreeMap::from([(Arc::clone(&a), 4)]));
        assert_eq!(all.silences, BTreeMap::from([("notForUs", 2)]));
        let mut more = Tally::default();
        more.hear(&a, later);
        more.forget("a");
        more.hear(&b, later);
        all.add(more);
        assert_eq!(all.heard, BTreeMap::from([(b, later)]));
        assert_eq!(all.lost, BTreeMap::new());
    }
}
