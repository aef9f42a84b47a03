//! What a station knows, in the words of those who ask.

use std::collections::{BTreeMap, BTreeSet};

use super::{Link, Station};
use crate::layer2::liveness::Way;
use crate::layer2::{Interface, NodeHealth, Report};

impl Station {
    /// What is known.
    pub fn report(&self) -> Report {
        let interfaces = self.links.values().map(|attachment| {
            let Link {
                name,
                mac,
                addresses,
                ..
            } = &attachment.link;
            let interface = Interface {
                is_up: attachment.is_usable(),
                is_settled: attachment.is_settled,
                is_shared: attachment.is_shared,
                mac: mac.0,
                addresses: addresses.clone(),
                problem: attachment.problem.clone(),
            };
            (name.clone(), interface)
        });
        let nodes = self.liveness.nodes().map(|(name, node)| {
            let (began, wall) = self.epoch;
            let health = NodeHealth {
                heard_on: self.by_name(node.heard_on()),
                listens_on: self.by_name(node.listens_on()),
                is_leaving: node.is_leaving(),
                is_failing: node.is_failing(),
                is_known: node
                    .heard_on()
                    .all(|way| self.claims.is_known(name, &way.from)),
                since: wall + node.since().saturating_duration_since(began),
            };
            (name.to_owned(), health)
        });
        Report {
            listening: self.is_listening(),
            is_new: self.is_new,
            interfaces: interfaces.collect(),
            nodes: nodes.collect(),
            claims: self.claims_taken,
            rivals: self.rivals_told,
        }
    }

    fn is_listening(&self) -> bool {
        let mut beating = self.links.values().filter(|link| link.beats()).peekable();
        beating.peek().is_some() && beating.all(|attachment| !attachment.is_settled)
    }

    fn by_name<'a>(
        &self,
        ways: impl Iterator<Item = &'a Way>,
    ) -> BTreeMap<String, BTreeSet<String>> {
        let mut names = BTreeMap::<String, BTreeSet<String>>::new();
        for way in ways {
            if let Some(ours) = self.name_of(way.link) {
                names.entry(ours).or_default().insert(way.from.clone());
            }
        }
        names
    }
}
