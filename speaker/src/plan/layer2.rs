//! Which addresses this node answers for, and on which interfaces.
//!
//! A candidate is a node that an advertisement selects, that is fit, that has endpoints as the
//! traffic policy wants them, and that is alive: this node while one of its chosen interfaces is up,
//! another while it is heard from one. A node never heard counts as down, so the only candidate never
//! falls silent. Advertisements choose by name, and on each node it is that node's own name for an
//! interface that counts.
//!
//! **Keep, hint, rank.** The candidate that says it holds the address keeps it. If there is none, the
//! one that held it before it was started anew takes it; else the first in order: those that
//! advertisements prefer most, among them the node that the controller's hint names, else the first in
//! rank ([`ferrolb_crds::rank`]). Every node has the same candidates in the same order. Nobody takes it
//! while it is not known what some candidate claims: it may be the one. If several say that they hold it,
//! as after a partition has healed, the first of these in order does. Who holds it gives it to a node that an
//! advertisement prefers once, when what is preferred has changed, and not when that node returns; and
//! to the first in order when it is told to give it away.
//!
//! An address that nobody is known to have held is asked for before it is announced. Who else has
//! it is only said, unless conflicts are refused: then this node is silent and claims nothing, and so
//! is everybody, because in the eyes of the others it is the one to take it.
//!
//! A node that does not deliver what arrives there is no candidate while one that is heard does. Where none
//! does they count as if all did: the last one never falls silent.
//!
//! Each interface is a vote of its own, among those alive there: a node that has lost one of two
//! segments answers on the other, and on the one that it has lost the next in rank does. Where no
//! other speaker was ever heard nobody can tell a segment from a container's link, of which every
//! node has some: such an interface has no vote, and goes with the node that is first of all.

mod ballot;
mod electorate;
mod explain;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrolb_crds::model::{L2Advertisement, Labels, Node};

use super::eligibility::{Claim, Endpoints, Reason, node_is_fit};
use crate::world::{Cause, Decision, LinkState, Others, World};

use ballot::Ballot;
pub(super) use electorate::Electorate;
pub use explain::{Candidacy, Explanation, Presence, explain};

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
    /// It would, but is silent because somebody else has the address, or may have it.
    Withheld {
        /// How it would be held.
        holding: Holding,
        /// Why it is not.
        reason: Reason,
    },
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
    /// The advertisements name interfaces.
    pub is_named: bool,
    /// Interfaces that an advertisement names and that this node cannot use.
    pub missing: BTreeSet<String>,
    /// The interfaces in use on which it is this node's.
    pub on: BTreeSet<String>,
    /// Who else has it, and is no speaker.
    pub others: Others,
    /// Why it came to be this node's.
    pub cause: Cause,
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

    /// Why this node came to answer, if it does.
    pub fn cause(&self) -> Option<Cause> {
        match self {
            Self::Held(holding) => Some(holding.cause),
            Self::Withheld { .. } | Self::NotHeld { .. } => None,
        }
    }

    /// Why this node is silent, if it is.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Held(_) => None,
            Self::Withheld { reason, .. } | Self::NotHeld { reason, .. } => Some(*reason),
        }
    }

    /// What the next decision depends on.
    pub fn decision(&self) -> Decision {
        match self {
            Self::Held(holding) => Decision::Held {
                on: holding.on.clone(),
                cause: holding.cause,
            },
            Self::Withheld { .. } => Decision::Withheld,
            Self::NotHeld {
                reason: Reason::Listening | Reason::Layer2Off,
                ..
            } => Decision::Open,
            Self::NotHeld {
                reason: Reason::AnnounceFailed,
                ..
            } => Decision::Failed,
            Self::NotHeld { holder, .. } => Decision::NotHeld {
                holder: holder.clone(),
            },
        }
    }

    /// Whether there is something to do at layer 2: this node answers, would, or another is to.
    pub fn is_concerned(&self) -> bool {
        match self {
            Self::Held(_) | Self::Withheld { .. } => true,
            Self::NotHeld { holder, .. } => holder.is_some(),
        }
    }

    /// Whether this node is silent and another is to answer.
    pub fn has_another_holder(&self) -> bool {
        self.other_holder().is_some()
    }

    /// Who is to answer in this node's place.
    pub fn other_holder(&self) -> Option<&str> {
        match self {
            Self::Held(_) | Self::Withheld { .. } => None,
            Self::NotHeld { holder, .. } => holder.as_deref(),
        }
    }

    /// Interfaces that an advertisement names and that cannot be used, where the address is held.
    pub fn missing(&self) -> Option<&BTreeSet<String>> {
        match self {
            Self::Held(holding) => Some(&holding.missing),
            Self::Withheld { .. } | Self::NotHeld { .. } => None,
        }
    }

    /// Who else has the address and is no speaker, where this node answers or would.
    pub fn others(&self) -> Option<&Others> {
        let (Self::Held(holding) | Self::Withheld { holding, .. }) = self else {
            return None;
        };
        Some(&holding.others).filter(|others| !others.is_empty())
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

/// The other nodes that some L2Advertisement may ever have announce, but for those excepted.
pub fn candidates(world: &World, is_excepted: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let this = &world.identity().node;
    let others = world.nodes().into_iter();
    let others = others.filter(|node| node.name != *this && !is_excepted(&node.name));
    let may_announce = |node: &Cow<'_, Node>| {
        let mut advertisements = world.config().l2_advertisements.values();
        node_is_fit(world, node).is_ok() && advertisements.any(|ad| ad.selects_node(&node.labels))
    };
    let candidates = others.filter(may_announce);
    candidates.map(|node| node.name.clone()).collect()
}

type Links = BTreeMap<String, LinkState>;

/// Plans one address, and says for each claim why this node does not announce it, if it does not.
pub(super) fn plan<'w>(
    electorate: &Electorate<'w>,
    address: IpAddr,
    claims: &[Claim<'w>],
) -> (Layer2, Vec<Option<Reason>>) {
    let (world, this) = (electorate.world, &electorate.this);
    let askings: Vec<Result<Asking<'w>, Reason>> = claims
        .iter()
        .map(|claim| Asking::of(world, claim))
        .collect();
    let fates: Vec<Result<(), Reason>> = askings
        .iter()
        .map(|asking| match asking {
            Ok(asking) => asking.may_be_announced_by(world, this),
            Err(reason) => Err(*reason),
        })
        .collect();
    let ballot = Ballot::new(electorate, address, &askings);
    let layer2 = ballot.outcome(&fates);
    let reasons = fates
        .into_iter()
        .map(|fate| match (fate, &layer2) {
            (Err(reason), _) => Some(reason),
            (Ok(()), layer2) => layer2.reason(),
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
