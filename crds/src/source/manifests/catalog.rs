//! Which object of which file is in force.
//!
//! Files claim objects. Of two claims to one name the first path in byte order wins, but one in force
//! stays. A claim that makes no sense, and a file that does not parse, leave in force what was: an
//! error is no deletion. Where nothing was in force, the object is unknown, which is no deletion either.
//!
//! An object that goes from its file is gone, unless it may have moved into one that cannot be
//! understood: one that changed since the object was first seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use super::document::SyntaxError;
use super::entry::{Contents, Entry, Fault, Hides, Place};
use super::located::Located;
use super::marks::{Mark, Marks};
use crate::api;
use crate::source::Unreadable;
use crate::source::resource::FieldError;
use crate::store::{Kind, ObjectKey, Resource};
use crate::validate::Problem;

/// Files and what they claim.
#[derive(Default)]
pub(super) struct Catalog {
    files: Files,
    objects: BTreeMap<ObjectKey, Slot>,
    /// Keys whose claims changed.
    touched: BTreeSet<ObjectKey>,
    /// Claimed, but by nobody in a way that makes sense, now or before.
    unknown: BTreeSet<ObjectKey>,
    /// Claimed more than once.
    contested: BTreeSet<ObjectKey>,
    /// Files with something to report of their own.
    troubled: BTreeSet<Arc<str>>,
    /// Gone, but perhaps into one of those; since when each was in force.
    doubtful: BTreeMap<ObjectKey, u64>,
    /// Counts the decisions.
    revision: u64,
}

#[derive(Default)]
struct Files(BTreeMap<Arc<str>, Record>);

/// One file.
#[derive(Default)]
struct Record {
    /// The text that `entries` and `faults` are of.
    text: Arc<str>,
    marks: OnceLock<Marks>,
    /// Whether it was ever read to its end.
    is_known: bool,
    /// Why the present text could not be read.
    broken: Option<SyntaxError>,
    /// When that was last different.
    changed: u64,
    entries: Vec<Entry>,
    faults: Vec<Fault>,
    /// Objects that it held before documents in it became unrecognisable.
    kept: BTreeSet<ObjectKey>,
}

/// One object.
#[derive(Default)]
struct Slot {
    /// Sorted.
    claims: Vec<Claim>,
    in_force: Option<InForce>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    file: Arc<str>,
    entry: usize,
}

struct InForce {
    file: Arc<str>,
    value: Resource,
    since: u64,
}

/// What to do about an object whose claims changed.
enum Choice {
    /// This claim is in force.
    Take(Resource, Arc<str>),
    /// What was in force stays, if anything was.
    Keep,
    /// It is no more.
    Drop,
}

impl Catalog {
    /// The text that a file was last read as, if the file is in order.
    pub(super) fn text(&self, file: &str) -> Option<&Arc<str>> {
        let record = self.files.0.get(file)?;
        (record.is_known && record.broken.is_none()).then_some(&record.text)
    }

    /// The file says this now.
    pub(super) fn replace(&mut self, file: &str, text: Arc<str>, contents: Contents) {
        let name: Arc<str> = file.into();
        let mut record = self.files.0.remove(file).unwrap_or_default();
        self.withdraw(&name, &record);
        // Any of the objects that are missing may be the one that cannot be recognised.
        let mut faults = contents.faults.iter();
        let may_hide = faults.any(|fault| fault.hides != Hides::Nothing);
        let held = std::mem::take(&mut record.kept);
        let before = record.entries.into_iter().map(|entry| entry.key);
        record.kept = if may_hide {
            before.chain(held).collect()
        } else {
            BTreeSet::new()
        };
        for (entry, Entry { key, .. }) in contents.entries.iter().enumerate() {
            record.kept.remove(key);
            let claim = Claim {
                file: Arc::clone(&name),
                entry,
            };
            self.claim(key, claim);
        }
        record.entries = contents.entries;
        record.faults = contents.faults;
        record.text = text;
        record.marks = OnceLock::new();
        record.is_known = true;
        record.broken = None;
        record.changed = self.revision;
        self.put(name, record);
    }

    /// The file cannot be read; what it said before stays in force.
    pub(super) fn fail(&mut self, file: &str, why: SyntaxError) {
        let mut record = self.files.0.remove(file).unwrap_or_default();
        record.broken = Some(why);
        record.changed = self.revision;
        self.put(file.into(), record);
    }

    /// The file is gone.
    pub(super) fn remove(&mut self, file: &str) {
        if let Some((name, record)) = self.files.0.remove_entry(file) {
            self.withdraw(&name, &record);
            self.troubled.remove(&name);
        }
    }

    /// Decides about every object whose claims changed, and tells what is different.
    pub(super) fn settle(&mut self) -> Vec<(ObjectKey, Option<Resource>)> {
        let mut changes = Vec::new();
        for key in std::mem::take(&mut self.touched) {
            let Some(slot) = self.objects.get_mut(&key) else {
                continue;
            };
            let was = slot.in_force.is_some();
            let told = match self.files.choose(&key, slot) {
                Choice::Take(value, file) => {
                    self.doubtful.remove(&key);
                    let present = slot.in_force.as_ref();
                    let since = present.map_or(self.revision, |present| present.since);
                    let same = |present: &InForce| present.value == value;
                    let is_same = present.is_some_and(same);
                    let told = (!is_same).then(|| Some(value.clone()));
                    slot.in_force = Some(InForce { file, value, since });
                    told
                }
                Choice::Keep => None,
                Choice::Drop => {
                    if let Some(gone) = slot.in_force.take() {
                        self.doubtful.insert(key.clone(), gone.since);
                    }
                    was.then_some(None)
                }
            };
            self.sort(&key);
            changes.extend(told.map(|told| (key, told)));
        }
        let mut doubtful = std::mem::take(&mut self.doubtful);
        doubtful.retain(|key, since| {
            let mut changed = self.troubled().filter(|record| record.changed > *since);
            changed.any(|record| record.broken.is_some() || record.hides(key.kind))
        });
        self.doubtful = doubtful;
        self.revision += 1;
        changes
    }

    /// Services that may exist and are not known, and Namespaces that do.
    pub(super) fn unreadable(&self) -> Unreadable {
        Unreadable {
            any: self.may_hide(Kind::Service),
            services: self
                .unknown
                .iter()
                .chain(self.doubtful.keys())
                .filter_map(ObjectKey::as_service)
                .collect(),
            namespaces: self
                .unknown
                .iter()
                .chain(self.doubtful.keys())
                .filter(|key| key.kind == Kind::Namespace)
                .map(|key| key.name.clone())
                .collect(),
            records: false,
        }
    }

    /// Whether a pool may be among what is not known, or what is known of one may not be what counts.
    pub(super) fn may_lack_a_pool(&self) -> bool {
        let pool = Kind::Configuration(api::Kind::IpAddressPool);
        let in_doubt = self.doubtful.keys();
        let mut in_doubt = in_doubt.chain(&self.unknown).chain(&self.contested);
        self.may_hide(pool) || in_doubt.any(|key| key.kind == pool)
    }

    /// Whether any Namespace that is not known may be in what could not be read.
    pub(super) fn may_lack_a_namespace(&self) -> bool {
        self.may_hide(Kind::Namespace)
    }

    /// Whether an object of the kind may be in a file that was never read, or be a document that
    /// cannot be recognised.
    fn may_hide(&self, kind: Kind) -> bool {
        self.troubled().any(|record| record.hides(kind))
    }

    fn troubled(&self) -> impl Iterator<Item = &Record> {
        self.troubled.iter().map(|file| &self.files.0[file])
    }

    /// Everything that is wrong, at its place, sorted; `judged` is what validation found.
    pub(super) fn problems(&self, judged: &[Problem]) -> Vec<Located> {
        let own = self.troubled.iter().flat_map(|file| self.troubles(file));
        let twice = self.contested.iter().flat_map(|key| self.losers(key));
        let judged = judged.iter().map(|problem| self.locate(problem));
        let mut problems: Vec<Located> = own.chain(twice).chain(judged).collect();
        problems.sort();
        problems.dedup();
        problems
    }

    fn put(&mut self, name: Arc<str>, record: Record) {
        let is_bad = |entry: &Entry| entry.value.is_err();
        if record.broken.is_some() || !record.faults.is_empty() || record.entries.iter().any(is_bad)
        {
            self.troubled.insert(Arc::clone(&name));
        } else {
            self.troubled.remove(&name);
        }
        self.files.0.insert(name, record);
    }

    fn claim(&mut self, key: &ObjectKey, claim: Claim) {
        if !self.touched.contains(key) {
            self.touched.insert(key.clone());
        }
        let slot = match self.objects.get_mut(key) {
            Some(slot) => slot,
            None => self.objects.entry(key.clone()).or_default(),
        };
        let at = slot.claims.binary_search(&claim).unwrap_or_else(|at| at);
        slot.claims.insert(at, claim);
    }

    fn withdraw(&mut self, name: &Arc<str>, record: &Record) {
        let claimed = record.entries.iter().map(|entry| &entry.key);
        for key in claimed.chain(&record.kept) {
            if let Some(slot) = self.objects.get_mut(key) {
                slot.claims.retain(|claim| claim.file != *name);
            }
            self.touched.insert(key.clone());
        }
    }

    /// Puts the object among those that it belongs to after a decision.
    fn sort(&mut self, key: &ObjectKey) {
        let Some(slot) = self.objects.get(key) else {
            return;
        };
        let is_claimed = !slot.claims.is_empty();
        let is_in_force = slot.in_force.is_some();
        let is_contested = slot.claims.len() > 1;
        if !is_claimed && !is_in_force {
            self.objects.remove(key);
        }
        for (set, belongs) in [
            (&mut self.unknown, is_claimed && !is_in_force),
            (&mut self.contested, is_contested),
        ] {
            if belongs {
                set.insert(key.clone());
            } else {
                set.remove(key);
            }
        }
    }

    /// What is wrong with a file and with single documents of it.
    fn troubles(&self, file: &Arc<str>) -> Vec<Located> {
        let record = &self.files.0[file];
        if let Some(SyntaxError { line, column, why }) = &record.broken {
            let mark = Mark {
                line: *line,
                column: *column,
            };
            return vec![located(file, mark, None, None, why)];
        }
        let faults = record.faults.iter().map(|fault| {
            let name = fault.name.as_deref().unwrap_or_default();
            let object = fault.kind.as_deref().map(|kind| (kind, "", name));
            let mark = record.mark(fault.place, &fault.error.path);
            located(
                file,
                mark,
                object,
                Some(&fault.error.path),
                &fault.error.message,
            )
        });
        let entries = record.entries.iter().filter_map(|entry| {
            let FieldError { path, message } = entry.value.as_ref().err()?;
            let mark = record.mark(entry.place, path);
            Some(located(
                file,
                mark,
                Some(triple(&entry.key)),
                Some(path),
                message,
            ))
        });
        faults.chain(entries).collect()
    }

    /// Every claim but the one that counts, at its name.
    fn losers(&self, key: &ObjectKey) -> Vec<Located> {
        let Some(slot) = self.objects.get(key) else {
            return Vec::new();
        };
        let Some(winner) = self.files.winner(slot) else {
            return Vec::new();
        };
        let place = self.files.0[&winner.file].mark(self.files.entry(winner).place, NAME);
        let message = format!(
            "defined twice: the one at {}:{} is in force; remove or rename one of them",
            winner.file, place.line
        );
        let others = slot.claims.iter().filter(|claim| *claim != winner);
        others
            .map(|claim| {
                let mark = self.files.0[&claim.file].mark(self.files.entry(claim).place, NAME);
                let object = Some(triple(key));
                located(&claim.file, mark, object, Some(NAME), &message)
            })
            .collect()
    }

    fn locate(&self, problem: &Problem) -> Located {
        let object = &problem.object;
        let names = Some((
            object.kind.as_str(),
            object.namespace.as_str(),
            object.name.as_str(),
        ));
        let key = api::Kind::ALL
            .into_iter()
            .find(|kind| kind.name() == object.kind)
            .map(|kind| ObjectKey {
                kind: Kind::Configuration(kind),
                namespace: object.namespace.clone(),
                name: object.name.clone(),
            });
        let slot = key.and_then(|key| self.objects.get(&key));
        let (file, mark) = match slot.and_then(|slot| self.files.winner(slot)) {
            Some(claim) => {
                let place = self.files.entry(claim).place;
                let mark = self.files.0[&claim.file].mark(place, &problem.path);
                (&*claim.file, mark)
            }
            // It is in force although no document says it: its file has what is wrong on top.
            None => {
                let present = slot.and_then(|slot| slot.in_force.as_ref());
                (present.map_or("", |present| &*present.file), Mark::START)
            }
        };
        located(file, mark, names, Some(&problem.path), &problem.message)
    }
}

impl Files {
    fn choose(&self, key: &ObjectKey, slot: &Slot) -> Choice {
        let Some(winner) = self.winner(slot) else {
            let is_kept = slot.in_force.as_ref().is_some_and(|present| {
                let record = self.0.get(&present.file);
                record.is_some_and(|record| record.kept.contains(key))
            });
            return if is_kept { Choice::Keep } else { Choice::Drop };
        };
        match &self.entry(winner).value {
            Ok(value) => Choice::Take(value.clone(), Arc::clone(&winner.file)),
            Err(_) => Choice::Keep,
        }
    }

    /// The claim that counts: of the file that is in force (there, what is in force itself), else the
    /// first that makes sense, else the first.
    fn winner<'a>(&self, slot: &'a Slot) -> Option<&'a Claim> {
        let makes_sense = |claim: &&Claim| self.entry(claim).value.is_ok();
        if let Some(present) = &slot.in_force {
            let own = || {
                let claims = slot.claims.iter();
                claims.filter(|claim| claim.file == present.file)
            };
            let same = |claim: &&Claim| {
                let value = &self.entry(claim).value;
                value.as_ref().is_ok_and(|value| *value == present.value)
            };
            let own = own()
                .find(same)
                .or_else(|| own().find(makes_sense))
                .or_else(|| own().next());
            if own.is_some() {
                return own;
            }
        }
        let mut claims = slot.claims.iter();
        claims.find(makes_sense).or_else(|| slot.claims.first())
    }

    fn entry(&self, claim: &Claim) -> &Entry {
        &self.0[&claim.file].entries[claim.entry]
    }
}

impl Record {
    /// Whether an object of the kind that nobody has ever seen may be in it.
    fn hides(&self, kind: Kind) -> bool {
        !self.is_known || self.faults.iter().any(|fault| fault.may_be(kind))
    }

    fn mark(&self, place: Place, field: &str) -> Mark {
        let marks = self.marks.get_or_init(|| Marks::of(&self.text));
        marks.find(place.document, &place.path(field))
    }
}

const NAME: &str = "metadata.name";

fn triple(key: &ObjectKey) -> (&str, &str, &str) {
    (key.kind.name(), &key.namespace, &key.name)
}

fn located(
    file: &str,
    mark: Mark,
    object: Option<(&str, &str, &str)>,
    path: Option<&str>,
    message: &str,
) -> Located {
    let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Located {
        file: file.to_owned(),
        line: mark.line,
        column: mark.column,
        kind: object.map(|(kind, ..)| kind.to_owned()),
        namespace: object.and_then(|(_, namespace, _)| filled(namespace)),
        name: object.and_then(|(.., name)| filled(name)),
        path: path.and_then(filled),
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests;
