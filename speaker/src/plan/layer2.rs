//! Which addresses this node answers for, and on which interfaces.
//!
//! Every node plans with what it hears, and ranks the same candidates the same way: that is what
//! makes exactly one of them answer. A candidate is a node that an advertisement selects, that is
//! fit, that has endpoints as the traffic policy wants them, and that is alive: this node while one
//! of its chosen interfaces is up, another while it is heard from one. A node never heard counts as
//! down, so the only candidate never falls silent. Advertisements choose by name, and on each node
//! it is that node's own name for an interface that counts.
//!
//! Each interface is a vote of its own, among those alive there: a node that has lost one of two
//! segments answers on the other, and on the one that it has lost the next in rank does. Where no
//! other speaker was ever heard nobody can tell a segment from a container's link, of which every
//! node has some: such an interface has no vote, and goes with the node that is first of all.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrolb_crds::model::{L2Advertisement, Labels, Node};

use super::eligibility::{Claim, Endpoints, Reason, node_is_fit};
use crate::layer2::rank;
use crate::world::{LinkState, Segment, World};

/// On which interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interfaces {
    /// On all that can.
    All,
    /// On those named, as far as they can.
    Only(BTreeSet<String>),
}

/// What this node does for an address at layer 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layer2 {
    /// It answers.
    Held(Holding),
    /// It is silent.
    NotHeld {
        /// Why.
        reason: Reason,
        /// What exactly, where the reason alone does not tell.
        detail: Option<String>,
        /// Who answers instead, as far as is known.
        holder: Option<String>,
        /// Nobody answers because no chosen interface exists, and this is the node that would.
        is_at_fault: bool,
    },
}

/// How an address is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Where this node answers.
    pub interfaces: Interfaces,
    /// Interfaces that an advertisement names and that this node cannot use.
    pub missing: BTreeSet<String>,
}

impl Holding {
    /// Where this node answers, as far as it can.
    pub fn usable(&self) -> Interfaces {
        match &self.interfaces {
            Interfaces::All => Interfaces::All,
            Interfaces::Only(names) => Interfaces::Only(names - &self.missing),
        }
    }
}

impl Layer2 {
    /// Whether this node answers.
    pub fn is_held(&self) -> bool {
        matches!(self, Self::Held(_))
    }

    /// Why this node is silent, if it is.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Held(_) => None,
            Self::NotHeld { reason, .. } => Some(*reason),
        }
    }

    /// Interfaces that an advertisement names and that cannot be used, where the address is held.
    pub fn missing(&self) -> Option<&BTreeSet<String>> {
        match self {
            Self::Held(holding) => Some(&holding.missing),
            Self::NotHeld { .. } => None,
        }
    }
}

impl Interfaces {
    /// The union of what some advertisements name: one without a list means all.
    fn union<'a>(advertisements: impl Iterator<Item = &'a L2Advertisement>) -> Option<Self> {
        let mut union: Option<BTreeSet<String>> = None;
        for advertisement in advertisements {
            if advertisement.interfaces.is_empty() {
                return Some(Self::All);
            }
            let names = union.get_or_insert_default();
            names.extend(advertisement.interfaces.iter().cloned());
        }
        union.map(Self::Only)
    }

    /// Those that either means.
    pub fn union_with(self, other: Self) -> Self {
        match (self, other) {
            (Self::Only(names), Self::Only(more)) => Self::Only(&names | &more),
            (Self::All, _) | (_, Self::All) => Self::All,
        }
    }

    /// Whether the interface of this name is meant.
    pub fn include(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(name),
        }
    }

    fn missing(&self, links: &Links) -> BTreeSet<String> {
        match self {
            Self::All => BTreeSet::new(),
            Self::Only(names) => {
                let missing = names.iter().filter(|name| !links.contains_key(*name));
                missing.cloned().collect()
            }
        }
    }
}

/// Where this node sends heartbeats: wherever some L2Advertisement may ever have it announce, so
/// that who is alive is known before there is anything to announce.
pub fn heartbeat(world: &World) -> Option<Interfaces> {
    let node = world.this_node();
    if world.is_stranger() || node_is_fit(world, &node).is_err() {
        return None;
    }
    let advertisements = world.config().l2_advertisements.values();
    Interfaces::union(advertisements.filter(|ad| ad.selects_node(&node.labels)))
}

type Links = BTreeMap<String, LinkState>;

/// Plans one address, and says for each claim why this node does not announce it, if it does not.
pub(super) fn plan(
    world: &World,
    address: IpAddr,
    claims: &[Claim<'_>],
) -> (Layer2, Vec<Option<Reason>>) {
    let askings: Vec<Result<Asking<'_>, Reason>> = claims
        .iter()
        .map(|claim| Asking::of(world, claim))
        .collect();
    let this = world.this_node();
    let fates: Vec<Result<(), Reason>> = askings
        .iter()
        .map(|asking| match asking {
            Ok(asking) => asking.may_be_announced_by(world, &this),
            Err(reason) => Err(*reason),
        })
        .collect();
    let ballot = Ballot {
        world,
        address,
        askings: askings.iter().flatten().collect(),
    };
    let layer2 = ballot.outcome(&this, &fates);
    let reasons = fates
        .into_iter()
        .map(|fate| match (fate, &layer2) {
            (Err(reason), _) => Some(reason),
            (Ok(()), Layer2::NotHeld { reason, .. }) => Some(*reason),
            (Ok(()), Layer2::Held(_)) => None,
        })
        .collect();
    (layer2, reasons)
}

/// A Service that some L2Advertisement speaks for.
struct Asking<'a> {
    advertisements: Vec<&'a L2Advertisement>,
    endpoints: Endpoints<'a>,
}

impl<'a> Asking<'a> {
    fn of(world: &'a World, claim: &Claim<'a>) -> Result<Self, Reason> {
        let pool = claim.pool.as_deref().map_err(|reason| *reason)?;
        let labels = &claim.service.labels;
        let all = world.config().l2_advertisements.values();
        let advertisements: Vec<_> = all
            .filter(|ad| ad.pools.selects(pool) && ad.selects_service(labels))
            .collect();
        if advertisements.is_empty() {
            return Err(Reason::NoMatchingAdvertisement);
        }
        let is_selective = advertisements.iter().any(|ad| !ad.services.is_empty());
        if is_selective && claim.service.requests.sharing_key.is_some() {
            return Err(Reason::SharedIpWithServiceSelector);
        }
        Ok(Self {
            advertisements,
            endpoints: Endpoints::for_layer2(world, claim.service),
        })
    }

    /// Whether the node may announce the Service, if it is alive.
    fn may_be_announced_by(&self, world: &World, node: &Node) -> Result<(), Reason> {
        node_is_fit(world, node)?;
        if self.on(&node.labels).next().is_none() {
            return Err(Reason::NoMatchingAdvertisement);
        }
        self.endpoints.serve(&node.name)
    }

    /// The advertisements that select a node.
    fn on(&self, labels: &Labels) -> impl Iterator<Item = &'a L2Advertisement> {
        let all = self.advertisements.iter().copied();
        all.filter(|ad| ad.selects_node(labels))
    }
}

/// The question who holds one address. Sharing Services have one holder: a node that may announce
/// any of them is a candidate.
struct Ballot<'a> {
    world: &'a World,
    address: IpAddr,
    askings: Vec<&'a Asking<'a>>,
}

impl Ballot<'_> {
    fn outcome(&self, this: &Node, fates: &[Result<(), Reason>]) -> Layer2 {
        let nodes = self.world.nodes();
        let candidates = self.candidates(&nodes);
        let first = self.first(candidates.iter());
        let refuse = |reason, detail| Layer2::NotHeld {
            reason,
            detail,
            holder: first.map(|candidate| candidate.name.to_owned()),
            is_at_fault: false,
        };
        // The first Service's reason stands for the address; each has its own beside it.
        if let Some(Err(reason)) = fates.first()
            && fates.iter().all(Result::is_err)
        {
            return refuse(*reason, None);
        }
        if self.world.is_stranger() {
            let detail = format!("there are Node objects, but none named {}", this.name);
            return refuse(Reason::NodeUnknown, Some(detail));
        }
        let (links, is_known) = match self.world.segment() {
            Segment::Off(why) => return refuse(Reason::Layer2Off, Some(why.clone())),
            Segment::Listening { links } => (links, false),
            Segment::Known { links, .. } => (links, true),
        };
        let interfaces = self.interfaces(this).unwrap_or(Interfaces::All);
        // Listening comes to an end only where there is something to listen on.
        match chosen(&interfaces, links).map(|(_, state)| state).max() {
            None if first.is_none() && matches!(interfaces, Interfaces::Only(_)) => {
                return Layer2::NotHeld {
                    reason: Reason::AnnounceFailed,
                    detail: Some(why_down(&interfaces, links)),
                    holder: None,
                    is_at_fault: self.would_hold(&this.name, &nodes),
                };
            }
            None | Some(LinkState::Down) => {
                let detail = why_down(&interfaces, links);
                return refuse(Reason::AnnounceFailed, Some(detail));
            }
            Some(LinkState::Alone | LinkState::Up) if is_known => {}
            Some(LinkState::Listening | LinkState::Alone | LinkState::Up) => {
                return refuse(Reason::Listening, None);
            }
        }
        let held = self.held_on(&this.name, &candidates, first);
        if held.is_empty() {
            return refuse(Reason::NotOwner, None);
        }
        let missing = interfaces.missing(links);
        // Where it still listens it has to be ranked first, by then with those who are there.
        let is_everywhere = chosen(&interfaces, links)
            .filter(|(_, state)| *state != LinkState::Down)
            .all(|(link, _)| held.contains(link));
        Layer2::Held(Holding {
            missing,
            interfaces: match is_everywhere {
                true => interfaces,
                false => Interfaces::Only(held.into_iter().map(str::to_owned).collect()),
            },
        })
    }

    /// The live among the nodes that may announce; none while it is not known who is alive.
    fn candidates<'n>(&'n self, nodes: &'n [Cow<'n, Node>]) -> Vec<Candidate<'n>> {
        let Segment::Known { links, heard } = self.world.segment() else {
            return Vec::new();
        };
        let candidates = nodes.iter().filter_map(|node| {
            let interfaces = self.interfaces(node)?;
            let alive_on: BTreeSet<&str> = if node.name == self.world.identity().node {
                up(&interfaces, links).collect()
            } else {
                let on = heard.get(&node.name).into_iter().flatten();
                on.filter(|(_, from)| from.iter().any(|name| interfaces.include(name)))
                    .map(|(link, _)| link.as_str())
                    .collect()
            };
            (!alive_on.is_empty()).then(|| Candidate {
                name: &node.name,
                weight: self.weight(node),
                alive_on,
            })
        });
        candidates.collect()
    }

    /// Whether the node is first of all that may announce the address, alive or not.
    fn would_hold(&self, node: &str, nodes: &[Cow<'_, Node>]) -> bool {
        let may = nodes.iter().filter(|node| self.interfaces(node).is_some());
        let ranked = may.map(|node| (node.name.as_str(), self.weight(node)));
        rank::first(self.address, ranked) == Some(node)
    }

    /// The candidate that the others leave the address to.
    fn first<'c, 'n>(
        &self,
        mut candidates: impl Iterator<Item = &'c Candidate<'n>> + Clone,
    ) -> Option<&'c Candidate<'n>> {
        let ranked = candidates.clone();
        let ranked = ranked.map(|candidate| (candidate.name, candidate.weight));
        let name = rank::first(self.address, ranked)?;
        candidates.find(|candidate| candidate.name == name)
    }

    /// The links on which this node is the first of those alive there, given the first of all.
    fn held_on<'n>(
        &self,
        node: &str,
        candidates: &[Candidate<'n>],
        first: Option<&Candidate<'n>>,
    ) -> BTreeSet<&'n str> {
        let own = candidates.iter().find(|candidate| candidate.name == node);
        let mut left = own.map_or_else(BTreeSet::new, |own| own.alive_on.clone());
        let mut first = first;
        // Who is first of all those on some links is first on each of them where it is alive, and
        // where nobody else ever was it is the first of all that counts.
        while let Some(ahead) = first.filter(|first| first.name != node) {
            left.retain(|link| !ahead.alive_on.contains(link) && !self.is_alone_on(link));
            let rest = candidates.iter();
            first = self.first(rest.filter(|other| !other.alive_on.is_disjoint(&left)));
        }
        left
    }

    /// Whether no other speaker was ever heard on an interface of this node.
    fn is_alone_on(&self, link: &str) -> bool {
        let links = self.world.segment().links();
        links.and_then(|links| links.get(link)) == Some(&LinkState::Alone)
    }

    /// Where the node would announce; `None`: it may not.
    fn interfaces(&self, node: &Node) -> Option<Interfaces> {
        Interfaces::union(self.advertisements(node).into_values())
    }

    /// The sum of the preferences for a node, over the advertisements that have it announce.
    fn weight(&self, node: &Node) -> u32 {
        let advertisements = self.advertisements(node).into_values();
        let preferences = advertisements.flat_map(|ad| &ad.preferences);
        preferences
            .filter(|preference| preference.nodes.matches(&node.labels))
            .fold(0, |sum, preference| sum.saturating_add(preference.weight))
    }

    /// The advertisements that have a node announce, each once however many Services share it.
    fn advertisements(&self, node: &Node) -> BTreeMap<&str, &L2Advertisement> {
        let may = self
            .askings
            .iter()
            .filter(|asking| asking.may_be_announced_by(self.world, node).is_ok());
        may.flat_map(|asking| asking.on(&node.labels))
            .map(|ad| (ad.name.as_str(), ad))
            .collect()
    }
}

/// A node that may announce the address and is alive.
struct Candidate<'n> {
    name: &'n str,
    weight: u32,
    /// Interfaces of ours whose segment it would answer on: for this node those that are up, for
    /// another those on which it is heard from one that it would answer on. Never empty.
    alive_on: BTreeSet<&'n str>,
}

/// The links that are meant.
fn chosen<'l>(
    interfaces: &Interfaces,
    links: &'l Links,
) -> impl Iterator<Item = (&'l str, LinkState)> {
    let all = links.iter().map(|(name, state)| (name.as_str(), *state));
    all.filter(|(name, _)| interfaces.include(name))
}

/// The links that are meant and used.
fn up<'l>(interfaces: &Interfaces, links: &'l Links) -> impl Iterator<Item = &'l str> {
    chosen(interfaces, links)
        .filter(|(_, state)| matches!(state, LinkState::Alone | LinkState::Up))
        .map(|(name, _)| name)
}

fn why_down(interfaces: &Interfaces, links: &Links) -> String {
    let names = |names: &[&String]| {
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        names.join(", ")
    };
    let missing = interfaces.missing(links);
    let missing: Vec<&String> = missing.iter().collect();
    let down: Vec<&String> = links
        .keys()
        .filter(|name| interfaces.include(name))
        .collect();
    match (missing.is_empty(), down.is_empty()) {
        (true, true) => "this node has no interface fit for announcing".to_owned(),
        (true, false) => format!("down: {}", names(&down)),
        (false, true) => format!(
            "not on this node, or not fit for announcing: {}",
            names(&missing)
        ),
        (false, false) => format!(
            "down: {}; not on this node, or not fit for announcing: {}",
            names(&down),
            names(&missing)
        ),
    }
}
