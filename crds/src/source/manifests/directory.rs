//! The manifests directory and the state directory as one: what they say goes through the catalog into
//! the store, and what that changes comes out. Blocking; whoever calls decides when.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::catalog::Catalog;
use super::document::{self, SyntaxError};
use super::entry::Contents;
use super::tree::{Difference, Tree};
use super::{Batch, Located, Options};
use crate::model::ServiceKey;
use crate::parallel::in_parallel;
use crate::source::Change;
use crate::state::{self, Recorded, StateError};
use crate::store::{Gaps, Holding, ObjectKey, Resource, Store};

/// Everything known of the two directories.
pub(super) struct Directory {
    namespace: String,
    manifests: Tree,
    catalog: Catalog,
    store: Store,
    state: Option<State>,
    /// As they were last told.
    problems: Vec<Located>,
}

/// The records of the state directory.
struct State {
    root: PathBuf,
    tree: Tree,
    /// Records are followed for ever, and not only read at the start and with their manifest.
    is_followed: bool,
    /// Services whose record could never be read.
    withheld: BTreeSet<ServiceKey>,
    /// Folders that cannot be listed: namespaces, or `.` for all.
    hidden: BTreeSet<String>,
    problems: BTreeMap<String, Located>,
}

impl Directory {
    /// Nothing read yet. The paths of the options are absolute.
    pub(super) fn new(options: &Options) -> Self {
        Self {
            namespace: options.namespace.clone(),
            manifests: Tree::new(options.dir.clone(), options.state.clone(), MANIFESTS),
            catalog: Catalog::default(),
            store: Store::new(&options.namespace),
            state: options.state.clone().map(|root| State {
                tree: Tree::new(state::services_folder(&root), None, RECORDS),
                root,
                is_followed: options.follow_state,
                withheld: BTreeSet::new(),
                hidden: BTreeSet::new(),
                problems: BTreeMap::new(),
            }),
            problems: Vec::new(),
        }
    }

    /// Reads everything.
    pub(super) fn first(&mut self) -> Batch {
        let none = BTreeSet::new();
        if let Some(state) = &mut self.state {
            state.update(&none, &mut self.store);
        }
        let changes = self.read_manifests(&none);
        if let Some(state) = &mut self.state {
            state.look_up_hidden(&changes, &mut self.store);
        }
        let mut batch = self.batch();
        batch.changes.push(Change::Synced);
        batch
    }

    /// Reads the manifests that changed.
    pub(super) fn update(&mut self, touched: &BTreeSet<PathBuf>) -> Batch {
        let changes = self.read_manifests(touched);
        if let Some(state) = &mut self.state {
            if !state.is_followed {
                state.look_up(&changes, &mut self.store);
            }
            state.look_up_hidden(&changes, &mut self.store);
        }
        self.batch()
    }

    /// Tries again to read the records that could not be read, if nobody follows them anyway.
    pub(super) fn retry(&mut self) -> Batch {
        match &mut self.state {
            Some(state) if !state.is_followed && state.lacks_records() => {
                state.retry(&mut self.store);
                self.batch()
            }
            Some(_) | None => Batch::default(),
        }
    }

    /// Reads the records that changed.
    pub(super) fn update_state(&mut self, touched: &BTreeSet<PathBuf>) -> Batch {
        if let Some(state) = &mut self.state {
            state.update(touched, &mut self.store);
        }
        self.batch()
    }

    /// The manifests.
    pub(super) fn manifests(&self) -> &Tree {
        &self.manifests
    }

    /// The records, if they are followed.
    pub(super) fn followed_state(&self) -> Option<&Tree> {
        let state = self.state.as_ref().filter(|state| state.is_followed)?;
        Some(&state.tree)
    }

    fn read_manifests(
        &mut self,
        touched: &BTreeSet<PathBuf>,
    ) -> Vec<(ObjectKey, Option<Resource>)> {
        let difference = self.manifests.update(touched);
        for file in difference.removed.iter().chain(&difference.listed) {
            self.catalog.remove(file);
        }
        for (folder, why) in difference.unlisted {
            self.catalog.fail(&folder, whole_file(why));
        }
        let read = in_parallel(&difference.changed, THREADS, SHARE, |file| {
            self.read_file(file)
        });
        for (file, outcome) in difference.changed.iter().zip(read) {
            match outcome {
                Ok(Some((text, contents))) => self.catalog.replace(file, text, contents),
                Ok(None) => {}
                Err(why) => self.catalog.fail(file, why),
            }
        }
        let changes = self.catalog.settle();
        for (key, resource) in &changes {
            match resource {
                Some(resource) => self.store.apply(key.clone(), resource.clone()),
                None => self.store.delete(key),
            }
        }
        changes
    }

    /// `None`: it says what it said.
    fn read_file(&self, file: &str) -> Result<Option<(Arc<str>, Contents)>, SyntaxError> {
        let bytes = self.manifests.read(file).map_err(whole_file)?;
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
            Err(error) => return Err(document::not_utf8(&bytes, error.valid_up_to())),
        };
        if self
            .catalog
            .text(file)
            .is_some_and(|known| **known == *text)
        {
            return Ok(None);
        }
        let contents = self.contents(text)?;
        Ok(Some((text.into(), contents)))
    }

    fn contents(&self, text: &str) -> Result<Contents, SyntaxError> {
        if let Some(contents) = self.in_pieces(text) {
            return Ok(contents);
        }
        // What is wrong, and where, is told of the whole.
        let documents = document::whole(text)?;
        Ok(Contents::of(documents, &self.namespace))
    }

    fn in_pieces(&self, text: &str) -> Option<Contents> {
        let pieces = document::pieces(text)?;
        let shares: Vec<&[&str]> = pieces
            .chunks(pieces.len().div_ceil(THREADS).max(PIECES))
            .collect();
        let read = in_parallel(&shares, THREADS, 1, |share| {
            let documents: Option<Vec<_>> =
                share.iter().map(|piece| document::one(piece)).collect();
            Some(Contents::of(documents?, &self.namespace))
        });
        let mut whole = Contents::default();
        let mut before = 0;
        for (share, contents) in shares.iter().zip(read) {
            whole.append(contents?, before);
            before += share.len();
        }
        Some(whole)
    }

    fn batch(&mut self) -> Batch {
        let none = BTreeSet::new();
        let mut unreadable = self.catalog.unreadable();
        unreadable.records = self.state.as_ref().is_some_and(|s| !s.hidden.is_empty());
        self.store.unreadable(Gaps {
            unreadable,
            withheld: self.state.as_ref().map_or(&none, |state| &state.withheld),
            pools: self.catalog.may_lack_a_pool(),
            namespaces: self.catalog.may_lack_a_namespace(),
        });
        let changes = self.store.changes();
        let mut problems = self.catalog.problems(self.store.problems());
        if let Some(state) = &self.state {
            problems.extend(state.problems.values().cloned());
        }
        let is_news = problems != self.problems;
        self.problems.clone_from(&problems);
        Batch {
            changes,
            problems: is_news.then_some(problems),
        }
    }
}

impl State {
    /// Reads what changed.
    fn update(&mut self, touched: &BTreeSet<PathBuf>, store: &mut Store) {
        let mut keys = self.changed(touched);
        keys.extend(self.withheld.iter().cloned());
        self.read(&keys, store);
    }

    /// Reads what could not be read before.
    fn retry(&mut self, store: &mut Store) {
        let before = self.hidden.clone();
        let mut keys = self.changed(&BTreeSet::new());
        keys.retain(|key| is_below(&before, key));
        keys.extend(self.withheld.iter().cloned());
        self.read(&keys, store);
    }

    fn lacks_records(&self) -> bool {
        !self.withheld.is_empty() || !self.hidden.is_empty()
    }

    /// The records that changed; takes note of the folders.
    fn changed(&mut self, touched: &BTreeSet<PathBuf>) -> BTreeSet<ServiceKey> {
        let Difference {
            changed,
            removed,
            listed,
            unlisted,
        } = self.tree.update(touched);
        for folder in listed {
            self.problems.remove(&folder);
        }
        self.hidden.clear();
        for (folder, why) in unlisted {
            // Before anything was ever written there is nothing to list.
            if folder != "." || self.tree.is_there() {
                let place = self.tree.path_of(&folder).display().to_string();
                self.problems
                    .insert(folder.clone(), problem(place, 1, 1, why));
                self.hidden.insert(folder);
            }
        }
        let key_of = |file: &String| state::key_of(file.as_ref());
        changed.iter().chain(&removed).filter_map(key_of).collect()
    }

    /// Records in a folder that cannot be listed may be read by their name.
    fn look_up_hidden(&mut self, changes: &[(ObjectKey, Option<Resource>)], store: &mut Store) {
        if self.hidden.is_empty() {
            return;
        }
        let present = changes.iter().filter(|(_, resource)| resource.is_some());
        let keys = present.filter_map(|(key, _)| key.as_service());
        let keys = keys.filter(|key| is_below(&self.hidden, key) && store.holding(key).is_none());
        self.read(&keys.collect(), store);
    }

    /// Where records are not followed, those are read again whose Service changed: what a Service
    /// holds is what its record says then, and one that is deleted leaves its record to the writer.
    fn look_up(&mut self, changes: &[(ObjectKey, Option<Resource>)], store: &mut Store) {
        let mut keys: BTreeSet<ServiceKey> = store.orphans().cloned().collect();
        for (key, resource) in changes {
            let Some(key) = key.as_service() else {
                continue;
            };
            match resource {
                Some(_) => drop(keys.insert(key)),
                None => {
                    keys.remove(&key);
                    store.record(key, None);
                }
            }
        }
        self.read(&keys, store);
    }

    fn read(&mut self, keys: &BTreeSet<ServiceKey>, store: &mut Store) {
        let keys: Vec<&ServiceKey> = keys.iter().collect();
        let read = in_parallel(&keys, THREADS, SHARE, |key| {
            state::read_record(&self.root, key)
        });
        for (key, record) in keys.into_iter().zip(read) {
            self.take(key, record, store);
        }
    }

    /// A record that cannot be read leaves what was known of it; if nothing was, the Service is not
    /// spoken of.
    fn take(
        &mut self,
        key: &ServiceKey,
        record: Result<Option<Recorded>, StateError>,
        store: &mut Store,
    ) {
        let name = key.to_string();
        match record {
            // Where nothing can be listed, what cannot be found may be there.
            Ok(None) if is_below(&self.hidden, key) => {
                if store.holding(key).is_none() {
                    self.withheld.insert(key.clone());
                }
            }
            Ok(recorded) => {
                self.problems.remove(&name);
                self.withheld.remove(key);
                let holding = recorded.map(|recorded| Holding {
                    ingress: recorded.ingress,
                    pool: recorded.pool,
                    hints: recorded.hints,
                });
                store.record(key.clone(), holding);
            }
            Err(error) => {
                self.problems.insert(name, of_record(key, &error));
                if store.holding(key).is_none() {
                    self.withheld.insert(key.clone());
                }
            }
        }
    }
}

/// Whether the Service's record is in one of the folders.
fn is_below(folders: &BTreeSet<String>, key: &ServiceKey) -> bool {
    folders.contains(".") || folders.contains(&key.namespace)
}

const MANIFESTS: &[&str] = &["yaml", "yml"];
const RECORDS: &[&str] = &["yaml"];

/// Reading is as much waiting as working.
const THREADS: usize = 4;

/// Files that are worth a thread.
const SHARE: usize = 4;

/// Documents that are worth a thread.
const PIECES: usize = 100;

fn whole_file(why: String) -> SyntaxError {
    SyntaxError {
        line: 1,
        column: 1,
        why,
    }
}

fn of_record(key: &ServiceKey, error: &StateError) -> Located {
    let path = error
        .path()
        .map_or_else(String::new, |path| path.display().to_string());
    let mut located = match error {
        StateError::Parse {
            line, column, why, ..
        } => problem(path, *line, *column, why.clone()),
        StateError::Read { source, .. } => problem(path, 1, 1, format!("cannot be read: {source}")),
        StateError::Create { .. }
        | StateError::Lock { .. }
        | StateError::Write { .. }
        | StateError::Remove { .. }
        | StateError::Name { .. } => problem(path, 1, 1, error.to_string()),
    };
    located.kind = Some("Service".to_owned());
    located.namespace = Some(key.namespace.clone());
    located.name = Some(key.name.clone());
    located
}

fn problem(file: String, line: usize, column: usize, message: String) -> Located {
    Located {
        file,
        line,
        column,
        kind: None,
        namespace: None,
        name: None,
        path: None,
        message,
    }
}

#[cfg(test)]
mod tests;
