//! Which of several nodes comes first for an address: the same answer wherever it is asked.
//!
//! What counts is compared first, whatever it is: preferences, hints, or how much a node has
//! already. Among equals the lowest SHA-256 of `NODE#ADDRESS` wins (rendezvous hashing, highest
//! random weight): addresses spread evenly, and a node that is lost moves only its own. The hash is
//! that of MetalLB, so that both agree while one replaces the other.

use std::cmp::Ordering;
use std::net::IpAddr;

use ring::digest;

/// The first node for `address` among candidates given as (name, what counts); the least comes first.
pub fn first<'a, K: Ord>(
    address: IpAddr,
    candidates: impl Iterator<Item = (&'a str, K)>,
) -> Option<&'a str> {
    let mut least = None;
    let mut equals = Vec::new();
    for (node, key) in candidates {
        let order = least
            .as_ref()
            .map_or(Ordering::Less, |least| key.cmp(least));
        match order {
            Ordering::Less => {
                least = Some(key);
                equals.clear();
                equals.push(node);
            }
            Ordering::Equal => equals.push(node),
            Ordering::Greater => {}
        }
    }
    match equals.as_slice() {
        [only] => Some(only),
        several => {
            let mut scores = Scores::of(address);
            let scored = several.iter().map(|node| (scores.of_node(node), *node));
            scored.min().map(|(_, node)| node)
        }
    }
}

/// All of them, the first one first.
pub fn order<'a, K: Ord>(
    address: IpAddr,
    candidates: impl Iterator<Item = (&'a str, K)>,
) -> Vec<&'a str> {
    let mut scores = Scores::of(address);
    let keyed = candidates.map(|(node, key)| (key, scores.of_node(node), node));
    let mut keyed: Vec<_> = keyed.collect();
    keyed.sort();
    keyed.into_iter().map(|(_, _, node)| node).collect()
}

/// What nodes score for one address. Whoever dies leaves all its addresses to be scored with all the
/// other nodes, so that what is hashed is written in one place, and hashed in one go.
struct Scores {
    /// `#ADDRESS`.
    end: String,
    text: Vec<u8>,
}

impl Scores {
    fn of(address: IpAddr) -> Self {
        Self {
            end: format!("#{address}"),
            text: Vec::new(),
        }
    }

    fn of_node(&mut self, node: &str) -> [u8; digest::SHA256_OUTPUT_LEN] {
        self.text.clear();
        self.text.extend_from_slice(node.as_bytes());
        self.text.extend_from_slice(self.end.as_bytes());
        let mut score = [0; digest::SHA256_OUTPUT_LEN];
        score.copy_from_slice(digest::digest(&digest::SHA256, &self.text).as_ref());
        score
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn address(n: u32) -> IpAddr {
        Ipv4Addr::from(0x0a00_0000 + n).into()
    }

    fn first_of(nodes: &BTreeSet<String>, n: u32) -> Option<&str> {
        first(address(n), nodes.iter().map(|node| (node.as_str(), 0)))
    }

    #[test]
    fn nobody_is_first_among_none() {
        assert_eq!(first(address(1), std::iter::empty::<(&str, u8)>()), None);
    }

    #[test]
    fn the_order_is_that_of_the_digests_of_node_and_address() {
        // What `printf a#10.0.0.1 | sha256sum` begins with, and so on.
        let scores = ["a", "b", "c"].map(|node| Scores::of(address(1)).of_node(node)[..2].to_vec());
        assert_eq!(scores, [[0x0b, 0xcf], [0x69, 0x96], [0x5b, 0x58]]);
        let order = [("c", 0), ("b", 0), ("a", 0)];
        assert_eq!(first(address(1), order.into_iter()), Some("a"));
        assert_eq!(first(address(1), order.into_iter().take(2)), Some("c"));
    }

    #[test]
    fn what_counts_beats_any_hash() {
        for n in 0..100 {
            let nodes = [("a", 7), ("b", 1), ("c", 2)];
            assert_eq!(first(address(n), nodes.into_iter()), Some("b"));
        }
    }

    #[test]
    fn addresses_spread_over_the_nodes() {
        let nodes: BTreeSet<String> = (0..10).map(|n| format!("node-{n}")).collect();
        let mut held: BTreeMap<&str, u32> = BTreeMap::new();
        for n in 0..10_000 {
            *held.entry(first_of(&nodes, n).unwrap()).or_default() += 1;
        }
        assert_eq!(held.len(), 10);
        assert!(held.values().all(|count| (850..1150).contains(count)));
    }

    proptest! {
        #[test]
        fn losing_a_node_moves_its_addresses_only(
            nodes in prop::collection::btree_set("[a-z0-9-]{1,12}", 2..20),
            lost in any::<prop::sample::Index>(),
            n in 0u32..1_000_000,
        ) {
            let lost = lost.get(&nodes.iter().collect::<Vec<_>>()).to_string();
            let mut left = nodes.clone();
            left.remove(&lost);
            let before = first_of(&nodes, n);
            if before != Some(lost.as_str()) {
                prop_assert_eq!(first_of(&left, n), before);
            }
        }

        #[test]
        fn the_order_of_candidates_does_not_matter(
            nodes in prop::collection::btree_map("[a-z0-9-]{1,12}", 0u32..3, 1..20),
            n in 0u32..1_000_000,
        ) {
            let forwards = nodes.iter().map(|(node, weight)| (node.as_str(), *weight));
            let backwards = nodes.iter().rev().map(|(node, weight)| (node.as_str(), *weight));
            let found = first(address(n), forwards.clone());
            prop_assert_eq!(found, first(address(n), backwards));
            let order = order(address(n), forwards);
            prop_assert_eq!(found, order.first().copied());
            prop_assert_eq!(order.len(), nodes.len());
            prop_assert!(order.is_sorted_by_key(|node| nodes[*node]));
        }
    }
}
