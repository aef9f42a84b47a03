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
//! rank ([`rank`]). Every node has the same candidates in the same order. Nobody takes it while it is
//! not known what some candidate claims: it may be the one. If several say that they hold it, as after
//! a partition has healed, the first of these in order does. Who holds it gives it to a node that an
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

mod electorate;
mod explain;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;

use ferrolb_crds::model::{L2Advertisement, Labels, Node};
use ferrolb_crds::rank;

use super::eligibility::{Claim, Endpoints, Reason, node_is_fit};
use crate::world::{self, Cause, Decision, LinkState, Others, Segment, Standing, World};

pub(super) use electorate::Electorate;
use electorate::{Voter, Voters, advertisements, weight};
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

/// The question who holds one address. Sharing Services have one holder: a node that may announce
/// any of them is a candidate.
struct Ballot<'a, 'w> {
    world: &'w World,
    electorate: &'a Electorate<'w>,
    address: IpAddr,
    askings: Vec<&'a Asking<'w>>,
    voters: Rc<Voters<'w>>,
    /// The node that the controller named.
    hint: Option<&'w str>,
    /// What others say of the address.
    claims: &'w [world::Claim],
}

impl<'a, 'w> Ballot<'a, 'w> {
    fn new(
        electorate: &'a Electorate<'w>,
        address: IpAddr,
        askings: &'a [Result<Asking<'w>, Reason>],
    ) -> Self {
        let askings: Vec<_> = askings.iter().flatten().collect();
        Self {
            world: electorate.world,
            electorate,
            address,
            voters: electorate.voters(&askings),
            hint: electorate.world.hint(address),
            claims: electorate.world.claims_at(address),
            askings,
        }
    }

    fn outcome(&self, fates: &[Result<(), Reason>]) -> Layer2 {
        let this = &self.electorate.this;
        let outcome = self.vote();
        let refuse = |reason, detail| Layer2::NotHeld {
            reason,
            detail,
            holder: outcome.holder.map(|verdict| verdict.node.to_owned()),
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
            None if outcome.holder.is_none() && matches!(interfaces, Interfaces::Only(_)) => {
                return Layer2::NotHeld {
                    reason: Reason::AnnounceFailed,
                    detail: Some(why_down(&interfaces, links)),
                    holder: None,
                    is_at_fault: self.would_hold(&this.name),
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
        let held = outcome.ours;
        if held.is_empty() && outcome.is_open {
            return refuse(Reason::Listening, None);
        }
        if held.is_empty() {
            let why = match (self.world.takes_traffic(), self.world.delivery().is_failing) {
                (true, _) => None,
                (false, true) => Some("what arrives here is not delivered"),
                (false, false) => Some("this node is being drained"),
            };
            return refuse(Reason::NotOwner, why.map(str::to_owned));
        }
        let missing = interfaces.missing(links);
        // Where it still listens it has to be ranked first, by then with those who are there.
        let is_everywhere = chosen(&interfaces, links)
            .filter(|(_, state)| *state != LinkState::Down)
            .all(|(link, _)| held.contains(link));
        let on: BTreeSet<String> = held.into_iter().map(str::to_owned).collect();
        let known = self.world.cause_of(self.address);
        let known = known.filter(|_| outcome.cause == Cause::Kept);
        let others = self.world.others_with(self.address);
        let holding = Holding {
            cause: known.unwrap_or(outcome.cause),
            is_named: interfaces != Interfaces::All,
            missing,
            interfaces: match is_everywhere {
                true => interfaces,
                false => Interfaces::Only(on.clone()),
            },
            on,
            others: others.cloned().unwrap_or_default(),
        };
        let is_refused = self.world.identity().refuses_conflicts;
        match (is_refused && self.world.is_new(self.address), others) {
            (false, _) => Layer2::Held(holding),
            (true, None) => Layer2::Withheld {
                holding,
                reason: Reason::Probing,
            },
            (true, Some(_)) => Layer2::Withheld {
                holding,
                reason: Reason::AddressConflict,
            },
        }
    }

    /// Who holds the address where.
    fn vote(&self) -> Outcome<'_> {
        let this = &self.electorate.this;
        let Segment::Known { unknown, .. } = self.world.segment() else {
            return Outcome {
                ours: BTreeSet::new(),
                cause: Cause::Kept,
                holder: None,
                is_open: false,
            };
        };
        let voter = self.voter(&this.name);
        let ours = voter
            .into_iter()
            .flat_map(|voter| voter.alive_on.iter().copied());
        // Nobody else can hold it.
        let claimants = self.claimants();
        let claimants = claimants.filter_map(|voter| self.candidate(voter));
        let claimants = Candidates(claimants.collect());
        let is_held = |link: &str| claimants.holders_on(link).next().is_some();
        let is_open = |link: &&str| !is_held(link) && self.is_unknown_on(link, unknown);
        let (open, settled): (Vec<&str>, Vec<&str>) = ours.partition(is_open);
        if settled.is_empty() && !open.is_empty() {
            return Outcome {
                ours: BTreeSet::new(),
                cause: Cause::Kept,
                holder: None,
                is_open: true,
            };
        }
        let mut shared = settled.iter().filter(|link| !self.is_alone_on(link));
        let is_undecided = !shared.all(|link| is_held(link))
            || claimants.holders().next().is_none()
            || self.world.is_given(self.address)
            || self.world.may_prefer_another(self.address)
            || claimants.0.iter().any(Candidate::is_failing);
        // Mostly somebody holds it, and then it does not matter who else could.
        let candidates = match is_undecided {
            true => Candidates(self.candidates().collect()),
            false => claimants,
        };
        let first = self.first_of_all(&candidates, &this.name);
        let verdict_on = |link: &str| match self.is_alone_on(link) || candidates.are_all_on(link) {
            true => first,
            false => self.first_on(&candidates, link, &this.name),
        };
        let verdicts = settled.into_iter().filter_map(|link| {
            let verdict = verdict_on(link)?;
            (verdict.node == this.name).then_some((link, verdict.cause))
        });
        let verdicts: BTreeMap<&str, Cause> = verdicts.collect();
        Outcome {
            // Kept somewhere is kept.
            cause: verdicts.values().min().copied().unwrap_or(Cause::Kept),
            ours: verdicts.into_keys().collect(),
            holder: first.filter(|_| open.is_empty()),
            is_open: !open.is_empty(),
        }
    }

    /// Whether it is not known what some candidate claims that is alive there.
    fn is_unknown_on(&self, link: &str, unknown: &BTreeSet<String>) -> bool {
        let voters = unknown.iter().filter_map(|name| self.voter(name));
        let mut there = voters.filter(|voter| voter.alive_on.contains(link));
        there.any(|voter| self.candidate(voter).is_some())
    }

    fn first_on<'n>(
        &self,
        candidates: &Candidates<'n>,
        link: &str,
        this: &str,
    ) -> Option<Verdict<'n>> {
        let there = |candidate: &&Candidate<'_>| candidate.is_alive_on(link);
        let holders = candidates.holders_on(link);
        self.first(holders, || candidates.0.iter().filter(there), this)
    }

    fn first_of_all<'n>(&self, candidates: &Candidates<'n>, this: &str) -> Option<Verdict<'n>> {
        self.first(candidates.holders(), || candidates.0.iter(), this)
    }

    /// The first of those who hold it, else of those who remember it, else of all.
    fn first<'c, 'n: 'c, I>(
        &self,
        holders: impl Iterator<Item = &'c Candidate<'n>>,
        all: impl Fn() -> I,
        this: &str,
    ) -> Option<Verdict<'n>>
    where
        I: Iterator<Item = &'c Candidate<'n>>,
    {
        // Where somebody delivers, who does not is left out, and of others only those count that are
        // known to: who is not heard may not know that there is something to be taken.
        let is_to_move = is_to_move(&all);
        let may_take = move |candidate: &&Candidate<'_>| !is_to_move || candidate.delivers();
        let holders = holders.filter(|candidate| !(is_to_move && candidate.is_failing()));
        let all = || all().filter(may_take);
        let settled = || all().filter(|candidate| !candidate.is_waiting());
        let because = |candidate: &Candidate<'n>, cause| Verdict {
            node: candidate.name,
            cause,
        };
        if let Some((holder, _)) = self.ranked(holders) {
            let kept = because(holder, Cause::Kept);
            let is_this = holder.name == this;
            let other = if is_this && self.world.is_given(self.address) {
                // Not to somebody who may hold it as well as not.
                self.ranked(settled().filter(|candidate| !self.is_unknown(candidate.name)))
            } else if is_this && self.world.may_prefer_another(self.address) {
                let first = self.ranked(settled());
                first.filter(|(first, _)| first.weight() > holder.weight())
            } else {
                None
            };
            let other = other.filter(|(other, _)| other.name != this);
            return Some(other.map_or(kept, |(other, cause)| because(other, cause)));
        }
        let remembering = self.ranked(all().filter(|candidate| candidate.remembers));
        if let Some((first, _)) = remembering {
            return Some(because(first, Cause::Remembered));
        }
        let (first, cause) = self.ranked(settled())?;
        Some(because(first, cause))
    }

    /// The first in order, and what told it from the others.
    fn ranked<'c, 'n: 'c>(
        &self,
        candidates: impl Iterator<Item = &'c Candidate<'n>>,
    ) -> Option<(&'c Candidate<'n>, Cause)> {
        let candidates: Vec<_> = candidates.collect();
        let keyed = candidates.iter();
        let keyed = keyed.map(|candidate| (candidate.name, candidate.key()));
        let name = rank::first(self.address, keyed)?;
        let first = candidates.iter().find(|candidate| candidate.name == name)?;
        let equals = candidates.iter();
        let equals = equals.filter(|candidate| candidate.weight() == first.weight());
        let cause = match (candidates.len(), equals.count()) {
            (1, _) => Cause::OnlyCandidate,
            (_, 1) => Cause::Preferred,
            (_, _) if first.is_hinted => Cause::Hint,
            (_, _) => Cause::Rank,
        };
        Some((first, cause))
    }

    /// Those that could hold it.
    fn candidates(&self) -> impl Iterator<Item = Candidate<'_>> {
        let voters = self.voters.iter();
        voters.filter_map(|voter| self.candidate(voter))
    }

    /// This node, and those that say something of the address.
    fn claimants(&self) -> impl Iterator<Item = &Voter<'w>> {
        let this = self.world.identity().node.as_str();
        let claims = self.claims.iter();
        let mut names: Vec<&str> = claims.map(|claim| &*claim.node).chain([this]).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().filter_map(|name| self.voter(name))
    }

    fn voter(&self, name: &str) -> Option<&Voter<'w>> {
        let by_name = |voter: &Voter<'w>| voter.name.as_str().cmp(name);
        let at = self.voters.binary_search_by(by_name).ok()?;
        self.voters.get(at)
    }

    /// The node as it stands to this address; `None`: it does not count.
    fn candidate<'n>(&self, voter: &'n Voter<'w>) -> Option<Candidate<'n>> {
        let (world, address) = (self.world, self.address);
        let mut holds_on: Vec<&'n str> = Vec::new();
        let remembers;
        if voter.is_this {
            // On a link of its own nobody contradicts it: that does not make it the holder elsewhere.
            let is_shared = |link: &&str| !self.is_alone_on(link);
            let has_shared = voter.alive_on.iter().any(is_shared);
            let held = voter.alive_on.iter().copied();
            let held = held.filter(|link| !has_shared || is_shared(link));
            holds_on.extend(held.filter(|link| world.holds_on(address, link)));
            remembers = world.remembered().contains(&address);
        } else if self.claims.is_empty() {
            remembers = false;
        } else {
            let says = |standing| {
                let claims = self.claims.iter();
                claims.filter(move |claim| claim.standing == standing && *claim.node == *voter.name)
            };
            remembers = says(Standing::Remembers).next().is_some();
            let answers = |from: &String| {
                voter.interfaces.include(from)
                    && says(Standing::Holds).any(|claim| *claim.interface == **from)
            };
            let held = voter.ways.into_iter().flatten();
            let held = held.filter(|(_, from)| from.iter().any(answers));
            holds_on.extend(held.map(|(link, _)| link.as_str()));
        }
        (remembers || !voter.is_waiting).then(|| Candidate {
            name: &voter.name,
            voter,
            is_hinted: self.is_hinted(&voter.name),
            holds_on,
            remembers,
        })
    }

    /// Whether the node is first of all that may announce the address, alive or not.
    fn would_hold(&self, node: &str) -> bool {
        let may = self.electorate.nodes.iter();
        let may = may.filter(|node| self.interfaces(node).is_some());
        let keyed = may.map(|node| {
            let key = order_key(self.weight(node), self.is_hinted(&node.name));
            (node.name.as_str(), key)
        });
        rank::first(self.address, keyed) == Some(node)
    }

    /// Whether it is the one that the controller named.
    fn is_hinted(&self, node: &str) -> bool {
        self.hint == Some(node)
    }

    /// Whether it is not known yet what a node claims.
    fn is_unknown(&self, node: &str) -> bool {
        match self.world.segment() {
            Segment::Known { unknown, .. } => unknown.contains(node),
            Segment::Listening { .. } | Segment::Off(_) => true,
        }
    }

    /// Whether no other speaker was ever heard on an interface of this node.
    fn is_alone_on(&self, link: &str) -> bool {
        let links = self.world.segment().links();
        links.and_then(|links| links.get(link)) == Some(&LinkState::Alone)
    }

    /// Where the node would announce; `None`: it may not.
    fn interfaces(&self, node: &Node) -> Option<Interfaces> {
        let advertisements = advertisements(self.world, &self.askings, node);
        Interfaces::union(advertisements.into_values())
    }

    /// The sum of the preferences for a node, over the advertisements that have it announce.
    fn weight(&self, node: &Node) -> u32 {
        weight(&advertisements(self.world, &self.askings, node), node)
    }
}

/// A node that may announce the address and is alive.
struct Candidate<'n> {
    name: &'n str,
    voter: &'n Voter<'n>,
    /// The controller named it.
    is_hinted: bool,
    /// Where it holds the address, of those of ours where it is alive.
    holds_on: Vec<&'n str>,
    /// It held the address before it was started anew.
    remembers: bool,
}

/// Whether those that do not deliver are to leave it to one that does.
fn is_to_move<'c, 'n: 'c, I>(all: impl Fn() -> I) -> bool
where
    I: Iterator<Item = &'c Candidate<'n>>,
{
    let mut delivering = all().filter(|candidate| candidate.delivers());
    delivering.any(|candidate| !candidate.is_waiting()) && all().any(Candidate::is_failing)
}

impl Candidate<'_> {
    fn is_failing(&self) -> bool {
        self.voter.delivers == Some(false)
    }

    fn delivers(&self) -> bool {
        self.voter.delivers == Some(true)
    }

    fn is_waiting(&self) -> bool {
        self.voter.is_waiting
    }

    fn weight(&self) -> u32 {
        self.voter.weight
    }

    fn is_alive_on(&self, link: &str) -> bool {
        self.voter.alive_on.contains(link)
    }

    fn key(&self) -> OrderKey {
        order_key(self.weight(), self.is_hinted)
    }
}

/// What comes before the rank: preference, then hint; the least comes first.
type OrderKey = (Reverse<u32>, bool);

fn order_key(weight: u32, is_hinted: bool) -> OrderKey {
    (Reverse(weight), !is_hinted)
}

/// Who is to hold an address, and what decided.
#[derive(Clone, Copy)]
struct Verdict<'n> {
    node: &'n str,
    cause: Cause,
}

/// Candidates, in no order.
struct Candidates<'n>(Vec<Candidate<'n>>);

impl<'n> Candidates<'n> {
    fn holders(&self) -> impl Iterator<Item = &Candidate<'n>> {
        self.0
            .iter()
            .filter(|candidate| !candidate.holds_on.is_empty())
    }

    /// Whether where they are alive and what they hold is the same there as everywhere.
    fn are_all_on(&self, link: &str) -> bool {
        let mut all = self.0.iter();
        all.all(|candidate| {
            candidate.is_alive_on(link)
                && (candidate.holds_on.is_empty() || candidate.holds_on.contains(&link))
        })
    }

    fn holders_on<'a>(&'a self, link: &'a str) -> impl Iterator<Item = &'a Candidate<'n>> {
        self.holders()
            .filter(move |candidate| candidate.holds_on.contains(&link))
    }
}

/// Who holds an address.
struct Outcome<'n> {
    /// The links of this node on which it is to.
    ours: BTreeSet<&'n str>,
    /// Why, if there are any.
    cause: Cause,
    /// The first of all that do.
    holder: Option<Verdict<'n>>,
    /// Somewhere it is not known yet whether somebody does.
    is_open: bool,
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
