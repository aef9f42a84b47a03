//! Which objects are in force: the good ones as they are, the bad ones as they last were (design
//! invariant I5).
//!
//! Objects are measured by age: creationTimestamp (those without one come last), then what is in
//! force before what is new, then name; so of two that contradict each other the older stays. An
//! edited object is new: what is in force is its last good version, and that is what remains of it
//! when the edit is refused. References (communities, BFD profiles, Secrets) are looked up before
//! that; who refers to nothing is treated like who is wrong.

mod references;

use std::collections::{BTreeMap, BTreeSet, btree_map};

use serde_json::Value;

use super::contradictions::Admitted;
use super::draft::{Body, Draft};
use super::fault::{Fault, Faults};
use super::options;
use super::problem::{ObjectRef, Problem};
use crate::api::{Kind, Object};
use crate::model::{BfdProfile, Config, Labels, Node, Secret, Selector, Timestamp};
use references::References;

/// What a configuration refers to and does not contain.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Secrets by namespace and name.
    pub secrets: BTreeMap<(String, String), SecretFacts>,
    /// Nodes by name; empty: none is known.
    pub nodes: BTreeMap<String, Node>,
}

/// What matters of a Secret.
#[derive(Debug, Clone, PartialEq)]
pub struct SecretFacts {
    /// Its type, such as `kubernetes.io/basic-auth`.
    pub type_: String,
    /// What its key `password` holds, if it has one.
    pub password: Option<Secret>,
}

/// A judgement.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    /// What is in force.
    pub config: Config,
    /// Everything that is wrong, by object and path.
    pub problems: Vec<Problem>,
}

/// Judges configurations, one after the other, and remembers what was good.
#[derive(Debug)]
pub struct Judge {
    namespace: String,
    known: BTreeMap<Id, Known>,
    /// The profiles in force, for peers that outlive theirs.
    bfd_profiles: BTreeMap<String, BfdProfile>,
}

type Id = (Kind, String);

/// The last good version of an object.
struct Known {
    /// As it was written.
    version: String,
    labels: Labels,
    options: BTreeMap<String, Value>,
    spec: Value,
    /// What it meant, references included.
    body: Body,
    /// Whether the last judgement had it.
    in_force: bool,
}

/// One object under judgement.
struct Case<'a> {
    object: &'a Object,
    draft: Draft,
    /// Whether it is as it was when it was good.
    is_unchanged: bool,
    /// Whether the version under judgement came into force.
    has_won: bool,
    /// Whether it was refused for good: only the last good version is left.
    has_lost: bool,
}

/// One version of an object that may come into force.
struct Candidate {
    id: Id,
    seniority: Seniority,
    body: Body,
    /// Whether it is the version under judgement, not the last good one.
    is_current: bool,
}

/// No timestamp, timestamp, not in force, place of the kind, name: the least is the oldest.
type Seniority = (bool, Option<Timestamp>, bool, u8, String);

impl Judge {
    /// A judge of the configuration in a namespace, who knows nothing yet.
    pub fn new(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            known: BTreeMap::new(),
            bfd_profiles: BTreeMap::new(),
        }
    }

    /// Judges all objects there are. `unreadable`: there may be more, which nobody could read.
    pub fn judge(&mut self, objects: &[Object], facts: &Facts, unreadable: bool) -> Verdict {
        let mut problems = Vec::new();
        let mut cases = self.open(objects, &mut problems);
        self.known.retain(|id, _| cases.contains_key(id));

        let drafts = cases.iter().map(|(id, case)| (id, &case.draft));
        let mut references = References::new(facts, drafts);
        let is_community = |kind| kind == Kind::Community;
        let communities = self.settle(&mut cases, is_community, &mut references);
        references.define(&communities);
        let admitted = self.settle(&mut cases, |kind| !is_community(kind), &mut references);

        for case in cases.values_mut() {
            case.report_rest(
                if is_community(case.object.kind) {
                    &communities
                } else {
                    &admitted
                },
                &references,
            );
            if case.draft.faults.0.is_empty() {
                continue;
            }
            let nodes = nodes(&case.draft, facts);
            let faults = case.draft.faults.0.iter();
            problems.extend(faults.map(|fault| problem(case.object, fault, nodes.clone())));
        }
        problems.sort();
        problems.dedup();
        self.remember(&cases, communities.bodies().chain(admitted.bodies()));
        let config = self.configure(
            &cases,
            admitted,
            unreadable || all_pools_elsewhere(&cases, objects),
        );
        self.bfd_profiles.clone_from(&config.bfd_profiles);
        Verdict { config, problems }
    }

    /// Reads every object of the configuration's namespace; the others have no effect.
    fn open<'a>(
        &self,
        objects: &'a [Object],
        problems: &mut Vec<Problem>,
    ) -> BTreeMap<Id, Case<'a>> {
        let mut cases = BTreeMap::new();
        for object in objects {
            let mut refuse = |path: &str, message: String| {
                let mut faults = Faults::default();
                faults.add(path, message);
                problems.extend(faults.0.iter().map(|fault| problem(object, fault, None)));
            };
            if object.namespace != self.namespace {
                let message = format!(
                    "resource must be created in {} namespace: in {:?} it has no effect, move it",
                    self.namespace, object.namespace
                );
                refuse("metadata.namespace", message);
                continue;
            }
            let id = (object.kind, object.name.clone());
            let known = self.known.get(&id);
            match cases.entry(id) {
                btree_map::Entry::Vacant(entry) => {
                    entry.insert(Case::new(object, known));
                }
                btree_map::Entry::Occupied(_) => {
                    let message = format!(
                        "duplicate definition of {} {:?}: rename one",
                        object.kind, object.name
                    );
                    refuse("metadata.name", message);
                }
            }
        }
        cases
    }

    /// Lets the objects of some kinds contend until nothing changes. A new version that loses makes
    /// place for the last good one, which is older and may be in the way of others: so it begins
    /// anew. Every round but the last one settles a case.
    fn settle<'f>(
        &self,
        cases: &mut BTreeMap<Id, Case<'_>>,
        kinds: impl Fn(Kind) -> bool,
        references: &mut References<'f>,
    ) -> Admitted<'f> {
        loop {
            references.profiles = self.profiles(cases);
            let ours = cases.iter().filter(|((kind, _), _)| kinds(*kind));
            let candidates = ours.filter_map(|(id, case)| self.candidate(id, case, references));
            let mut candidates: Vec<Candidate> = candidates.collect();
            candidates.sort_by(|a, b| a.seniority.cmp(&b.seniority));

            let mut admitted = Admitted::new(&references.facts.nodes);
            let mut has_changed = false;
            let ours = cases.iter_mut().filter(|((kind, _), _)| kinds(*kind));
            ours.for_each(|(_, case)| case.has_won = false);
            for candidate in candidates {
                let Some(case) = cases.get_mut(&candidate.id) else {
                    continue;
                };
                let name = &candidate.id.1;
                let faults = admitted.faults(name, &candidate.body);
                case.has_won = candidate.is_current && !faults.block();
                if !faults.block() {
                    admitted.admit(name, candidate.body);
                } else if candidate.is_current && self.has_more_to_lose(&candidate.id, case) {
                    case.has_lost = true;
                    has_changed = true;
                    case.draft.report(faults);
                }
            }
            if !has_changed {
                return admitted;
            }
        }
    }

    /// Whether the refusal of the version under judgement brings up another, or takes away what
    /// others refer to.
    fn has_more_to_lose(&self, id: &Id, case: &Case<'_>) -> bool {
        !case.is_unchanged && (self.known.contains_key(id) || id.0 == Kind::BfdProfile)
    }

    fn candidate(
        &self,
        id: &Id,
        case: &Case<'_>,
        references: &References<'_>,
    ) -> Option<Candidate> {
        let known = self.known.get(id);
        let was_in_force = known.is_some_and(|known| known.in_force);
        let current = Some(case).filter(|case| case.draft.is_sound() && !case.has_lost);
        let current = current.and_then(|case| references.resolve(&case.draft));
        let is_current = current.is_some();
        let in_force = was_in_force && (case.is_unchanged || !is_current);
        let created = case.object.created;
        Some(Candidate {
            id: id.clone(),
            seniority: (
                created.is_none(),
                created,
                !in_force,
                place(id.0),
                id.1.clone(),
            ),
            body: current.or_else(|| Some(known?.body.clone()))?,
            is_current,
        })
    }

    /// The BFD profiles that peers may refer to.
    fn profiles(&self, cases: &BTreeMap<Id, Case<'_>>) -> Vec<String> {
        let profiles = cases
            .iter()
            .filter(|((kind, _), _)| *kind == Kind::BfdProfile);
        let usable = profiles.filter(|(id, case)| {
            self.known.contains_key(*id) || (case.draft.is_sound() && !case.has_lost)
        });
        usable.map(|((_, name), _)| name.clone()).collect()
    }

    fn remember(
        &mut self,
        cases: &BTreeMap<Id, Case<'_>>,
        in_force: impl Iterator<Item = (Id, Body)>,
    ) {
        for known in self.known.values_mut() {
            known.in_force = false;
        }
        for (id, body) in in_force {
            match (self.known.get_mut(&id), cases.get(&id)) {
                (Some(known), Some(case)) if case.is_unchanged || !case.has_won => {
                    known.body = body;
                    known.in_force = true;
                }
                (_, Some(case)) => {
                    self.known.insert(id, Known::new(case.object, body));
                }
                (_, None) => {}
            }
        }
    }

    fn configure(
        &self,
        cases: &BTreeMap<Id, Case<'_>>,
        admitted: Admitted<'_>,
        unreadable: bool,
    ) -> Config {
        let pools = cases
            .keys()
            .filter(|(kind, _)| *kind == Kind::IpAddressPool);
        let is_aside = |(_, name): &Id| !admitted.pools.contains_key(name);
        let pools_incomplete = unreadable || pools.into_iter().any(is_aside);
        let mut bfd_profiles = admitted.bfd_profiles;
        // A peer stays as it last was, also when its profile is gone.
        for name in admitted
            .peers
            .values()
            .filter_map(|peer| peer.bfd_profile.as_ref())
        {
            if let (false, Some(last)) =
                (bfd_profiles.contains_key(name), self.bfd_profiles.get(name))
            {
                bfd_profiles.insert(name.clone(), last.clone());
            }
        }
        let pools = admitted.pools.into_iter();
        Config {
            pools: pools.map(|(name, body)| (name, body.pool)).collect(),
            l2_advertisements: admitted.l2_advertisements,
            bgp_advertisements: admitted.bgp_advertisements,
            peers: admitted.peers,
            bfd_profiles,
            pools_incomplete,
        }
    }
}

/// Then more likely the namespace is the wrong one than that nobody is to keep an address.
fn all_pools_elsewhere(cases: &BTreeMap<Id, Case<'_>>, objects: &[Object]) -> bool {
    let mut ours = cases.keys().map(|(kind, _)| *kind);
    let mut all = objects.iter().map(|object| object.kind);
    all.any(|kind| kind == Kind::IpAddressPool) && !ours.any(|kind| kind == Kind::IpAddressPool)
}

impl Known {
    fn new(object: &Object, body: Body) -> Self {
        Self {
            version: object.version.clone(),
            labels: object.labels.clone(),
            options: options_of(object),
            spec: object.document["spec"].clone(),
            body,
            in_force: true,
        }
    }

    fn is_version_of(&self, object: &Object) -> bool {
        self.version == object.version
            && self.labels == object.labels
            && self.options == options_of(object)
            && self.spec == object.document["spec"]
    }
}

/// What an object's annotations say of it.
fn options_of(object: &Object) -> BTreeMap<String, Value> {
    let written = options::written(&object.document);
    written
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

impl std::fmt::Debug for Known {
    /// The text as written stays out: it may hold a password (design invariant I10).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known")
            .field("body", &self.body)
            .field("in_force", &self.in_force)
            .finish_non_exhaustive()
    }
}

impl<'a> Case<'a> {
    fn new(object: &'a Object, known: Option<&Known>) -> Self {
        Self {
            object,
            draft: Draft::new(object),
            is_unchanged: known.is_some_and(|known| known.is_version_of(object)),
            has_won: false,
            has_lost: false,
        }
    }

    /// What only shows in the light of the others. A version with faults of its own was not in the
    /// contest; what else is against it is said all the same.
    fn report_rest(&mut self, admitted: &Admitted<'_>, references: &References<'_>) {
        let lost = references.faults(&self.object.name, &self.draft);
        self.draft.report(lost);
        let Some(body) = &self.draft.body else { return };
        let faults = match self.has_won {
            true => references::advice(body, &admitted.bfd_profiles),
            false if self.has_lost => Faults::default(),
            false => admitted.faults(&self.object.name, body),
        };
        self.draft.report(faults);
    }
}

/// Between objects of different kinds whose age is the same, who refers to the other is younger.
fn place(kind: Kind) -> u8 {
    match kind {
        Kind::Community | Kind::IpAddressPool => 0,
        Kind::BfdProfile => 1,
        Kind::BgpPeer => 2,
        Kind::L2Advertisement | Kind::BgpAdvertisement => 3,
    }
}

/// The nodes that an object is for, if it is not for all of them: a peer that cannot be understood may
/// be anywhere, and so may be any while no node is known.
fn nodes(draft: &Draft, facts: &Facts) -> Option<BTreeSet<String>> {
    let selectors = draft.mentions.nodes.as_ref()?;
    if !draft.fits("spec.nodeSelectors") || selectors.is_empty() || facts.nodes.is_empty() {
        return None;
    }
    let nodes = facts.nodes.iter();
    let selected = nodes.filter(|(_, node)| Selector::any(selectors, &node.labels));
    Some(selected.map(|(name, _)| name.clone()).collect())
}

fn problem(object: &Object, fault: &Fault, nodes: Option<BTreeSet<String>>) -> Problem {
    let reference = ObjectRef {
        kind: object.kind.name().to_owned(),
        namespace: object.namespace.clone(),
        name: object.name.clone(),
    };
    Problem {
        rule: fault.rule.clone(),
        nodes,
        ..Problem::new(reference, &fault.path, &fault.message)
    }
}
