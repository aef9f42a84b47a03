//! Whose business an address is, so that what happens to a node concerns its own addresses only.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

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
