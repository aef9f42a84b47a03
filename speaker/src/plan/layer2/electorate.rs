//! The nodes as they stand to any address: what is the same for every address that the same
//! advertisements speak for, worked out once.
//!
//! Addresses differ in what is claimed of them and in their hints. With 200 nodes and 10,000
//! addresses nearly all else of a decision would be worked out two million times alike.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ferrolb_crds::model::{L2Advertisement, Node};

use super::{Asking, Interfaces, up};
use crate::world::{Segment, World};

/// A world as it is now, with what its decisions have in common.
pub(in crate::plan) struct Electorate<'w> {
    pub(super) world: &'w World,
    pub(super) this: Cow<'w, Node>,
    pub(super) nodes: Vec<Cow<'w, Node>>,
    /// By the names of the advertisements that speak for an address on every node that they select.
    known: RefCell<BTreeMap<BTreeSet<&'w str>, Rc<Voters<'w>>>>,
}

/// Those that may announce an address and live, by name.
pub(super) type Voters<'w> = Vec<Voter<'w>>;

/// A node that may announce an address and lives.
pub(super) struct Voter<'w> {
    pub(super) name: String,
    pub(super) is_this: bool,
    pub(super) weight: u32,
    /// Interfaces of ours whose segment it would answer on: for this node those that are up, for
    /// another those on which it is heard from one that it would answer on. Never empty.
    pub(super) alive_on: BTreeSet<&'w str>,
    /// Where it would answer, by its own names.
    pub(super) interfaces: Interfaces,
    /// On which of ours it is heard, from which of its own.
    pub(super) ways: Option<&'w BTreeMap<String, BTreeSet<String>>>,
    /// It only listens yet: then it counts as far as it remembers.
    pub(super) is_waiting: bool,
    /// What arrives there is delivered; `None`: it is not known.
    pub(super) delivers: Option<bool>,
}

impl<'w> Electorate<'w> {
    /// That of a world.
    pub(in crate::plan) fn new(world: &'w World) -> Self {
        Self {
            world,
            this: world.this_node(),
            nodes: world.nodes(),
            known: RefCell::default(),
        }
    }

    /// The world.
    pub(in crate::plan) fn world(&self) -> &'w World {
        self.world
    }

    /// Those that may announce what is asked for.
    pub(super) fn voters(&self, askings: &[&Asking<'w>]) -> Rc<Voters<'w>> {
        let Some(advertisements) = alike(askings) else {
            return Rc::new(self.select(askings));
        };
        let mut known = self.known.borrow_mut();
        let voters = known.entry(advertisements);
        voters
            .or_insert_with(|| Rc::new(self.select(askings)))
            .clone()
    }

    fn select(&self, askings: &[&Asking<'w>]) -> Voters<'w> {
        let nodes = self.nodes.iter();
        nodes.filter_map(|node| self.voter(askings, node)).collect()
    }

    /// The node as one that could announce; `None`: it may not, or is not alive.
    pub(super) fn voter(&self, askings: &[&Asking<'w>], node: &Node) -> Option<Voter<'w>> {
        let world = self.world;
        let Segment::Known {
            links,
            heard,
            waiting,
            ..
        } = world.segment()
        else {
            return None;
        };
        let advertisements = advertisements(world, askings, node);
        let interfaces = Interfaces::union(advertisements.values().copied())?;
        let is_this = node.name == world.identity().node;
        let (alive_on, ways, is_waiting) = match (is_this, heard.get(&node.name)) {
            (true, _) => (up(&interfaces, links).collect(), None, false),
            (false, Some(ways)) => (heard_on(ways, &interfaces), Some(ways), false),
            (false, None) => (heard_on(waiting.get(&node.name)?, &interfaces), None, true),
        };
        (!alive_on.is_empty()).then(|| Voter {
            name: node.name.clone(),
            is_this,
            weight: weight(&advertisements, node),
            alive_on,
            interfaces,
            ways,
            is_waiting,
            delivers: world.delivers(&node.name),
        })
    }
}

/// The names of the advertisements that speak for an address, where that alone tells which nodes may
/// announce it; `None`: it depends on the node.
fn alike<'w>(askings: &[&Asking<'w>]) -> Option<BTreeSet<&'w str>> {
    let mut names = BTreeSet::new();
    for asking in askings {
        if asking.endpoints.serve_alike()?.is_ok() {
            names.extend(asking.advertisements.iter().map(|ad| ad.name.as_str()));
        }
    }
    Some(names)
}

/// The advertisements that have a node announce, each once however many Services share it.
pub(super) fn advertisements<'w>(
    world: &World,
    askings: &[&Asking<'w>],
    node: &Node,
) -> BTreeMap<&'w str, &'w L2Advertisement> {
    let may = askings
        .iter()
        .filter(|asking| asking.may_be_announced_by(world, node).is_ok());
    may.flat_map(|asking| asking.on(&node.labels))
        .map(|ad| (ad.name.as_str(), ad))
        .collect()
}

/// The sum of the preferences for a node, over the advertisements that have it announce.
pub(super) fn weight(advertisements: &BTreeMap<&str, &L2Advertisement>, node: &Node) -> u32 {
    let weights = advertisements
        .values()
        .map(|ad| ad.preference_for(&node.labels));
    weights.fold(0, u32::saturating_add)
}

/// Ours on which a node is heard from one of its own that is meant.
fn heard_on<'w>(
    ways: &'w BTreeMap<String, BTreeSet<String>>,
    interfaces: &Interfaces,
) -> BTreeSet<&'w str> {
    let on = ways
        .iter()
        .filter(|(_, from)| from.iter().any(|name| interfaces.include(name)));
    on.map(|(link, _)| link.as_str()).collect()
}
