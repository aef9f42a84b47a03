//! Why an address is held where it is, as this node sees it: every candidate, and what decided.
//!
//! There are no rules in here: each answer is asked of what decides ([`Ballot`]).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrolb_crds::model::{Node, ServiceKey};
use ferrolb_crds::rank;

use super::ballot::{Ballot, Candidate, is_to_move};
use super::{Asking, Electorate, Layer2, why_down};
use crate::plan::eligibility::{Claim, Reason};
use crate::world::{Cause, Segment, Standing, World};

/// Why an address is held where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The Services that have it.
    pub services: Vec<ServiceKey>,
    /// What this node does about it.
    pub here: Layer2,
    /// Who is to hold it, if that is decided, and what decided.
    pub decided: Option<(String, Cause)>,
    /// The node that the controller named when it gave the address.
    pub hint: Option<String>,
    /// Every node that there is, by name.
    pub nodes: BTreeMap<String, Candidacy>,
}

/// How a node stands to an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidacy {
    /// Why it may not hold it, for each Service of the address that it may not announce; empty: it may.
    pub refused: BTreeSet<Reason>,
    /// Whether it is there, as far as the address is concerned.
    pub presence: Presence,
    /// Its place among those that could take it now, from 1.
    pub place: Option<usize>,
    /// The sum of the preferences for it.
    pub preference: u32,
    /// What it says of the address, by interface.
    pub claims: BTreeMap<String, Standing>,
    /// It is not known yet all that it claims.
    pub is_unknown: bool,
}

/// Whether a node is there, as far as an address is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// On these interfaces of this node; another one is heard on them.
    Alive(BTreeSet<String>),
    /// It only listens yet, and may come back to what it held.
    Waiting,
    /// This node cannot: why.
    Unable(String),
    /// It is heard, but from no interface that it would answer on.
    Elsewhere,
    /// It is not heard.
    Silent,
}

/// Explains one address; `None` when no Service has it.
pub fn explain(world: &World, address: IpAddr) -> Option<Explanation> {
    let services = world.services_at(address);
    let claims: Vec<Claim<'_>> = services
        .map(|service| Claim::of(world, service, address))
        .collect();
    let askings = claims.iter().map(|claim| Asking::of(world, claim));
    let askings: Vec<Result<Asking<'_>, Reason>> = askings.collect();
    let electorate = Electorate::new(world);
    let ballot = Ballot::new(&electorate, address, &askings);
    let (here, _) = super::plan(&electorate, address, &claims);
    let known = &electorate.nodes;
    let outcome = ballot.vote();
    let decided = outcome
        .holder
        .map(|verdict| (verdict.node.to_owned(), verdict.cause));
    let places = ballot.places();
    let explained = everybody(world, known).into_iter().map(|node| {
        let candidacy = Candidacy {
            refused: match ballot.is_to_leave_it(&node) {
                true => BTreeSet::from([Reason::NotDelivering]),
                false => refusals(world, known, &askings, &node),
            },
            presence: ballot.presence(&node),
            place: places.get(node.name.as_str()).copied(),
            preference: ballot.weight(&node),
            claims: claims_of(world, address, &node.name),
            is_unknown: is_unknown(world, &node.name),
        };
        (node.name.clone(), candidacy)
    });
    (!claims.is_empty()).then(|| Explanation {
        services: claims.iter().map(|it| it.service.key.clone()).collect(),
        here,
        decided,
        hint: world.hint(address).map(str::to_owned),
        nodes: explained.collect(),
    })
}

/// Every node that there is, and those that are heard although there is no object of theirs.
fn everybody<'n>(world: &'n World, known: &[Cow<'n, Node>]) -> Vec<Cow<'n, Node>> {
    let mut all = known.to_vec();
    let is_new = |name: &&str| known.iter().all(|node| node.name != **name);
    let mut heard: BTreeSet<&str> = BTreeSet::from([world.identity().node.as_str()]);
    if let Segment::Known { heard: others, .. } = world.segment() {
        heard.extend(others.keys().map(String::as_str));
    }
    all.extend(
        heard
            .into_iter()
            .filter(is_new)
            .map(|name| world.node(name)),
    );
    all
}

/// Why a node may not hold the address: no Service of it that the node may announce.
fn refusals(
    world: &World,
    known: &[Cow<'_, Node>],
    askings: &[Result<Asking<'_>, Reason>],
    node: &Node,
) -> BTreeSet<Reason> {
    if known.iter().all(|known| known.name != node.name) {
        return BTreeSet::from([Reason::NodeUnknown]);
    }
    let mut refused = BTreeSet::new();
    for asking in askings {
        let fate = match asking {
            Ok(asking) => asking.may_be_announced_by(world, node),
            Err(reason) => Err(*reason),
        };
        match fate {
            Err(reason) => drop(refused.insert(reason)),
            // One is enough.
            Ok(()) => return BTreeSet::new(),
        }
    }
    refused
}

fn claims_of(world: &World, address: IpAddr, node: &str) -> BTreeMap<String, Standing> {
    let claims = world.claims_at(address).iter();
    claims
        .filter(|claim| *claim.node == *node)
        .map(|claim| (claim.interface.to_string(), claim.standing))
        .collect()
}

fn is_unknown(world: &World, node: &str) -> bool {
    match world.segment() {
        Segment::Known { unknown, .. } => unknown.contains(node),
        Segment::Listening { .. } | Segment::Off(_) => false,
    }
}

impl Ballot<'_, '_> {
    /// The order of those that could take the address if nobody held it.
    fn places(&self) -> BTreeMap<&str, usize> {
        let mut candidates: Vec<Candidate<'_>> = self.candidates().collect();
        candidates.retain(|it| !it.is_waiting());
        if is_to_move(|| candidates.iter()) {
            candidates.retain(Candidate::delivers);
        }
        let keyed = candidates.iter().map(|it| (it.name(), it.key()));
        let order = rank::order(self.address, keyed);
        order.into_iter().zip(1..).collect()
    }

    /// What arrives there is not delivered, and another node delivers.
    fn is_to_leave_it(&self, node: &Node) -> bool {
        let all: Vec<Candidate<'_>> = self.candidates().collect();
        let mut own = all.iter().filter(|it| it.name() == node.name);
        own.any(Candidate::is_failing) && is_to_move(|| all.iter())
    }

    fn presence(&self, node: &Node) -> Presence {
        // One without an object may not hold it, and is no voter.
        let voter = self.electorate.voter(&self.askings, node);
        if let Some(candidate) = voter.as_ref().and_then(|voter| self.candidate(voter)) {
            return match candidate.is_waiting() {
                true => Presence::Waiting,
                false => {
                    let on = candidate.voter.alive_on.iter().copied();
                    Presence::Alive(on.map(str::to_owned).collect())
                }
            };
        }
        let segment = self.world.segment();
        if node.name == self.world.identity().node {
            let interfaces = self.interfaces(node);
            let interfaces = interfaces.unwrap_or(super::Interfaces::All);
            return match segment {
                Segment::Off(why) => Presence::Unable(why.clone()),
                Segment::Listening { .. } => Presence::Waiting,
                Segment::Known { links, .. } => {
                    let on: BTreeSet<String> =
                        super::up(&interfaces, links).map(str::to_owned).collect();
                    match on.is_empty() {
                        true => Presence::Unable(why_down(&interfaces, links)),
                        false => Presence::Alive(on),
                    }
                }
            };
        }
        let Segment::Known { heard, waiting, .. } = segment else {
            return Presence::Silent;
        };
        match (heard.get(&node.name), waiting.contains_key(&node.name)) {
            // Whether it may hold the address is another question.
            (Some(ways), _) if self.interfaces(node).is_none() => {
                Presence::Alive(ways.keys().cloned().collect())
            }
            (Some(_), _) => Presence::Elsewhere,
            (None, true) => Presence::Waiting,
            (None, false) => Presence::Silent,
        }
    }
}
