//! Whose business an address is, so that what happens to a node concerns its own addresses only.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::{LinkState, Standing, World};

/// The addresses by the nodes on which the decision on them hangs.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch {
    /// Nothing about them changes unless something happens to one of these, mostly one or none.
    settled: BTreeMap<IpAddr, Box<[Arc<str>]>>,
    /// The same by node.
    by_node: BTreeMap<Arc<str>, BTreeSet<IpAddr>>,
    /// All others: whatever happens to whomever may change who holds them.
    open: BTreeSet<IpAddr>,
}

impl Watch {
    /// The decision hangs on these nodes, or on any.
    pub(super) fn set(&mut self, address: IpAddr, nodes: Option<Box<[Arc<str>]>>) {
        if nodes.is_some() && self.settled.get(&address) == nodes.as_ref() {
            return;
        }
        self.remove(address);
        let Some(nodes) = nodes else {
            self.open.insert(address);
            return;
        };
        for node in &nodes {
            let theirs = self.by_node.entry(node.clone()).or_default();
            theirs.insert(address);
        }
        self.settled.insert(address, nodes);
    }

    /// Forgets what was noted of an address.
    pub(super) fn remove(&mut self, address: IpAddr) {
        self.open.remove(&address);
        for node in self.settled.remove(&address).iter().flatten() {
            if let Some(addresses) = self.by_node.get_mut(node) {
                addresses.remove(&address);
                if addresses.is_empty() {
                    self.by_node.remove(node);
                }
            }
        }
    }

    /// What happens to these nodes concerns these addresses.
    pub(super) fn concerned(&self, nodes: &BTreeSet<&str>) -> BTreeSet<IpAddr> {
        let mut addresses = self.open.clone();
        let theirs = nodes.iter().filter_map(|node| self.by_node.get(*node));
        addresses.extend(theirs.flatten());
        addresses
    }
}

impl World {
    /// Notes on whom the decision on an address hangs.
    pub(super) fn file(&mut self, address: IpAddr) {
        match self.by_address.contains_key(&address) {
            true => self.watch.set(address, self.hangs_on(address)),
            false => self.watch.remove(address),
        }
    }

    /// The nodes on which the decision on an address hangs, as long as the links are as they are and
    /// there is one segment; `None`: on any.
    fn hangs_on(&self, address: IpAddr) -> Option<Box<[Arc<str>]>> {
        let claims = self.claims_at(address);
        let is_settled = if let Some(held) = self.held.get(&address) {
            // What this node holds on the segment it keeps.
            let links = self.segment.links().into_iter().flatten();
            let mut shared = links.filter(|(_, state)| **state == LinkState::Up);
            held.preferences == self.preferences
                && !self.given.contains(&address)
                && shared.all(|(link, _)| held.on.contains(link))
        } else {
            // What another node holds, as it says itself, is that node's business.
            let holder = self.others.get(&address)?;
            let mut claims = claims.iter().filter(|claim| *claim.node == **holder);
            claims.any(|claim| claim.standing == Standing::Holds && self.segment.hears(claim))
        };
        // Unless somebody else claims it.
        let claimants: BTreeSet<&Arc<str>> = claims.iter().map(|claim| &claim.node).collect();
        is_settled.then(|| claimants.into_iter().cloned().collect())
    }
}
