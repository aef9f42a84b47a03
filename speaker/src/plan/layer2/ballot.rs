//! Who holds one address: the candidates, and what decides between them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;

use ferrolb_crds::model::Node;
use ferrolb_crds::rank;

use super::electorate::{Electorate, Voter, Voters, advertisements, weight};
use super::{Asking, Holding, Interfaces, Layer2, chosen, why_down};
use crate::plan::eligibility::Reason;
use crate::world::{self, Cause, LinkState, Segment, Standing, World};

/// The question who holds one address. Sharing Services have one holder: a node that may announce
/// any of them is a candidate.
pub(super) struct Ballot<'a, 'w> {
    pub(super) world: &'w World,
    pub(super) electorate: &'a Electorate<'w>,
    pub(super) address: IpAddr,
    pub(super) askings: Vec<&'a Asking<'w>>,
    voters: Rc<Voters<'w>>,
    /// The node that the controller named.
    hint: Option<&'w str>,
    /// What others say of the address.
    claims: &'w [world::Claim],
}

impl<'a, 'w> Ballot<'a, 'w> {
    pub(super) fn new(
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

    pub(super) fn outcome(&self, fates: &[Result<(), Reason>]) -> Layer2 {
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
    pub(super) fn vote(&self) -> Outcome<'_> {
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
            node: candidate.name(),
            cause,
        };
        if let Some((holder, _)) = self.ranked(holders) {
            let kept = because(holder, Cause::Kept);
            let is_this = holder.name() == this;
            let other = if is_this && self.world.is_given(self.address) {
                // Not to somebody who may hold it as well as not.
                self.ranked(settled().filter(|candidate| !self.is_unknown(candidate.name())))
            } else if is_this && self.world.may_prefer_another(self.address) {
                let first = self.ranked(settled());
                first.filter(|(first, _)| first.weight() > holder.weight())
            } else {
                None
            };
            let other = other.filter(|(other, _)| other.name() != this);
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
        let keyed = keyed.map(|candidate| (candidate.name(), candidate.key()));
        let name = rank::first(self.address, keyed)?;
        let first = candidates
            .iter()
            .find(|candidate| candidate.name() == name)?;
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
    pub(super) fn candidates(&self) -> impl Iterator<Item = Candidate<'_>> {
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
    pub(super) fn candidate<'n>(&self, voter: &'n Voter<'w>) -> Option<Candidate<'n>> {
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
    pub(super) fn interfaces(&self, node: &Node) -> Option<Interfaces> {
        let advertisements = advertisements(self.world, &self.askings, node);
        Interfaces::union(advertisements.into_values())
    }

    /// The sum of the preferences for a node, over the advertisements that have it announce.
    pub(super) fn weight(&self, node: &Node) -> u32 {
        weight(&advertisements(self.world, &self.askings, node), node)
    }
}

/// A node that may announce the address and is alive.
pub(super) struct Candidate<'n> {
    pub(super) voter: &'n Voter<'n>,
    /// The controller named it.
    is_hinted: bool,
    /// Where it holds the address, of those of ours where it is alive.
    holds_on: Vec<&'n str>,
    /// It held the address before it was started anew.
    remembers: bool,
}

/// Whether those that do not deliver are to leave it to one that does.
pub(super) fn is_to_move<'c, 'n: 'c, I>(all: impl Fn() -> I) -> bool
where
    I: Iterator<Item = &'c Candidate<'n>>,
{
    let mut delivering = all().filter(|candidate| candidate.delivers());
    delivering.any(|candidate| !candidate.is_waiting()) && all().any(Candidate::is_failing)
}

impl<'n> Candidate<'n> {
    pub(super) fn name(&self) -> &'n str {
        &self.voter.name
    }

    pub(super) fn is_failing(&self) -> bool {
        self.voter.delivers == Some(false)
    }

    pub(super) fn delivers(&self) -> bool {
        self.voter.delivers == Some(true)
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.voter.is_waiting
    }

    fn weight(&self) -> u32 {
        self.voter.weight
    }

    fn is_alive_on(&self, link: &str) -> bool {
        self.voter.alive_on.contains(link)
    }

    pub(super) fn key(&self) -> OrderKey {
        order_key(self.weight(), self.is_hinted)
    }
}

/// What comes before the rank: preference, then hint; the least comes first.
pub(super) type OrderKey = (Reverse<u32>, bool);

fn order_key(weight: u32, is_hinted: bool) -> OrderKey {
    (Reverse(weight), !is_hinted)
}

/// Who is to hold an address, and what decided.
#[derive(Clone, Copy)]
pub(super) struct Verdict<'n> {
    pub(super) node: &'n str,
    pub(super) cause: Cause,
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
pub(super) struct Outcome<'n> {
    /// The links of this node on which it is to.
    ours: BTreeSet<&'n str>,
    /// Why, if there are any.
    cause: Cause,
    /// The first of all that do.
    pub(super) holder: Option<Verdict<'n>>,
    /// Somewhere it is not known yet whether somebody does.
    is_open: bool,
}
