//! Which node is hinted at when an address is given: the least loaded of those that may hold it.
//!
//! A node's load is the number of addresses whose hints name it, whoever holds them by now: what
//! fails and moves is the speakers' business, and their order (`speaker/src/plan/layer2.rs`) asks
//! the hint only where nobody holds the address. So this is written once, with the address, and
//! never again. Pods are not looked at: where the traffic policy wants them on the node, the hint
//! counts as soon as there are some.
//!
//! Pure: work is a look at each node for each address that is given, however many Services there are.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ferrolb_crds::model::{Config, Hints, L2Advertisement, Node, Pool, Service};
use ferrolb_crds::rank;

/// Who there is, and how many addresses are hinted at each.
#[derive(Debug, Default)]
pub struct Placement {
    nodes: BTreeMap<Arc<str>, Node>,
    loads: BTreeMap<Arc<str>, usize>,
    hinted: BTreeMap<IpAddr, Hinted>,
}

/// An address, the node that its hints name, and in how many Services they stand.
#[derive(Debug)]
struct Hinted {
    node: Arc<str>,
    services: usize,
}

impl Placement {
    /// A node is like this, or is no more.
    pub fn set_node(&mut self, name: &str, node: Option<Node>) {
        match node {
            Some(node) => drop(self.nodes.insert(name.into(), node)),
            None => drop(self.nodes.remove(name)),
        }
    }

    /// Counts what the hints of a Service say. Who shares an address shares its node: of several
    /// words on it the first is believed.
    pub fn add(&mut self, hints: &Hints) {
        for (address, node) in hints.iter() {
            self.count(address, node);
        }
    }

    /// A Service has lost these.
    pub fn remove<'a>(&mut self, hints: impl IntoIterator<Item = (IpAddr, &'a Arc<str>)>) {
        for (address, _) in hints {
            let Some(hinted) = self.hinted.get_mut(&address) else {
                continue;
            };
            hinted.services -= 1;
            if hinted.services > 0 {
                continue;
            }
            if let Some(Hinted { node, .. }) = self.hinted.remove(&address)
                && let Some(load) = self.loads.get_mut(&node)
            {
                *load -= 1;
                if *load == 0 {
                    self.loads.remove(&node);
                }
            }
        }
    }

    /// Picks the node for an address of this pool that is given to a Service, and counts it.
    pub fn place(
        &mut self,
        config: &Config,
        pool: &Pool,
        service: &Service,
        address: IpAddr,
    ) -> Option<Arc<str>> {
        let node = match self.hinted.get(&address) {
            Some(hinted) => Arc::clone(&hinted.node),
            None => self.pick(&advertisements(config, pool, service), address)?,
        };
        self.count(address, &node);
        Some(node)
    }

    fn pick(&self, advertisements: &[&L2Advertisement], address: IpAddr) -> Option<Arc<str>> {
        let candidates = self.nodes.iter().filter_map(|(name, node)| {
            let weight = weight(advertisements, node)?;
            let load = self.loads.get(name).copied().unwrap_or_default();
            Some((&**name, (Reverse(weight), load)))
        });
        let first = rank::first(address, candidates)?;
        let (name, _) = self.nodes.get_key_value(first)?;
        Some(Arc::clone(name))
    }

    fn count(&mut self, address: IpAddr, node: &Arc<str>) {
        let hinted = self.hinted.entry(address).or_insert_with(|| {
            *self.loads.entry(Arc::clone(node)).or_default() += 1;
            Hinted {
                node: Arc::clone(node),
                services: 0,
            }
        });
        hinted.services += 1;
    }
}

/// Those that speak for the Service. Who may share its address and is picked by label is announced
/// by nobody.
fn advertisements<'a>(
    config: &'a Config,
    pool: &Pool,
    service: &Service,
) -> Vec<&'a L2Advertisement> {
    let all = config.l2_advertisements.values();
    let speaking = all.filter(|ad| ad.pools.selects(pool) && ad.selects_service(&service.labels));
    let speaking: Vec<_> = speaking.collect();
    let is_selective = speaking.iter().any(|ad| !ad.services.is_empty());
    match is_selective && service.requests.sharing_key.is_some() {
        true => Vec::new(),
        false => speaking,
    }
}

/// How much the node is preferred; `None`: it may not hold the address.
fn weight(advertisements: &[&L2Advertisement], node: &Node) -> Option<u32> {
    if node.is_excluded() || node.network_unavailable || node.draining.is_some() {
        return None;
    }
    let selecting = advertisements.iter();
    let selecting = selecting.filter(|ad| ad.selects_node(&node.labels));
    let weights = selecting.map(|ad| ad.preference_for(&node.labels));
    weights.reduce(u32::saturating_add)
}

#[cfg(test)]
mod tests;
