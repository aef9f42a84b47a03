//! The state directory: what was decided and what is, one YAML file per object.
//!
//! `STATE/services/NAMESPACE/NAME.yaml` is written by the controller alone, which holds the lock;
//! `STATE/nodes/NODE/…` by the speaker of that node. A file is written to a temporary one beside it,
//! fsynced and renamed: a crash leaves the old one or the new one, never half. An error concerns the
//! one file that it names.

#![expect(
    clippy::disallowed_methods,
    reason = "this is where state files are read and written"
)]

mod file;
mod timestamp;

pub use timestamp::render as rfc3339;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::model::{Hints, ServiceKey, Timestamp};
use crate::parallel::in_parallel;

/// What is written about a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceStatus {
    /// Which Service.
    pub key: ServiceKey,
    /// The pool its addresses are of.
    pub pool: Option<String>,
    /// Its addresses in order.
    pub ingress: Vec<IpAddr>,
    /// Who is to hold them when nobody does.
    pub hints: Hints,
    /// The condition `ferrolb.io/Allocated`.
    pub condition: Option<Condition>,
}

/// What is recorded about a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Its addresses in order.
    pub ingress: Vec<IpAddr>,
    /// The pool they are of.
    pub pool: Option<String>,
    /// Who is to hold them when nobody does.
    pub hints: Hints,
    /// The condition `ferrolb.io/Allocated`.
    pub condition: Option<Condition>,
}

/// Whether a Service has what it asks for, and why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Its status.
    pub allocated: bool,
    /// A PascalCase constant.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// When `allocated` became what it is. A record that says the same keeps its own.
    pub since: Timestamp,
}

/// What went wrong with one file or directory; nothing else is affected.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The directory is not there and cannot be made.
    #[error("{}: failed to create the state directory", path.display())]
    Create {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The lock can be neither taken nor found taken.
    #[error("{}: failed to lock the state directory", path.display())]
    Lock {
        /// The lock file or the directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is as it was.
    #[error("{}: failed to read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is as it was, or as it should be but perhaps not on the disk yet.
    #[error("{}: failed to write", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is still there, or gone but perhaps not from the disk yet.
    #[error("{}: failed to remove", path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is there and says nothing that makes sense.
    #[error("{}:{line}:{column}: {why}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong and what to do.
        why: String,
    },
    /// The name cannot be part of a path.
    #[error("{name:?} cannot be part of a path of the state directory")]
    Name {
        /// The name.
        name: String,
    },
}

impl StateError {
    /// The file or directory it is about.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Create { path, .. }
            | Self::Lock { path, .. }
            | Self::Read { path, .. }
            | Self::Write { path, .. }
            | Self::Remove { path, .. }
            | Self::Parse { path, .. } => Some(path),
            Self::Name { .. } => None,
        }
    }
}

/// Every record that could be read, and what could not.
#[derive(Debug, Default)]
pub struct Records {
    /// By Service.
    pub services: BTreeMap<ServiceKey, Recorded>,
    /// Services whose record is there but cannot be read: what they hold is unknown.
    pub unreadable: BTreeSet<ServiceKey>,
    /// Why.
    pub problems: Vec<StateError>,
}

/// A state directory.
#[derive(Debug)]
pub struct StateDir {
    root: PathBuf,
    lock: Option<File>,
}

impl StateDir {
    /// Opens the directory, making it if it is missing. One that is read-only opens too: writing to it
    /// will say so.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StateError> {
        let root = root.into();
        match fs::create_dir_all(&root) {
            Ok(()) => Ok(Self { root, lock: None }),
            Err(source) => Err(StateError::Create { path: root, source }),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Takes the writer's lock if nobody has it; true also when it is ours already. It is held until
    /// this value is dropped. What a writer that crashed left half-written is removed.
    pub fn try_lock(&mut self) -> Result<bool, StateError> {
        if self.lock.is_some() {
            return Ok(true);
        }
        let path = self.root.join(LOCK);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            // On a read-only file system nobody can make the file, but the directory can be locked.
            .or_else(|_| File::open(&self.root))
            .map_err(|source| StateError::Lock {
                path: path.clone(),
                source,
            })?;
        match file.try_lock() {
            Ok(()) => {
                self.lock = Some(file);
                remove_leftovers(&self.root.join(SERVICES));
                Ok(true)
            }
            Err(fs::TryLockError::WouldBlock) => Ok(false),
            Err(fs::TryLockError::Error(source)) => Err(StateError::Lock { path, source }),
        }
    }

    /// Reads every record.
    pub fn read_services(&self) -> Records {
        let mut records = Records::default();
        let (keys, problems) = service_files(&services_folder(&self.root));
        records.problems = problems;
        let read = in_parallel(&keys, READERS, SHARE, |key| read_record(&self.root, key));
        for (key, record) in keys.iter().zip(read) {
            match record {
                Ok(Some(recorded)) => {
                    records.services.insert(key.clone(), recorded);
                }
                Ok(None) => {}
                Err(error) => {
                    records.unreadable.insert(key.clone());
                    records.problems.push(error);
                }
            }
        }
        records
    }

    /// Writes a record, unless it is there as it should be.
    pub fn write_service(&self, status: &ServiceStatus) -> Result<(), StateError> {
        let folder = self.write_record(status)?;
        sync_folder(&folder)
    }

    /// Writes many records, each on its own; the results are in the same order.
    pub fn write_services(&self, statuses: &[ServiceStatus]) -> Vec<Result<(), StateError>> {
        let written = in_parallel(statuses, WRITERS, SHARE, |status| self.write_record(status));
        let folders: BTreeSet<PathBuf> = written
            .iter()
            .filter_map(|result| result.as_ref().ok().cloned())
            .collect();
        let failed: BTreeMap<PathBuf, io::ErrorKind> = folders
            .into_iter()
            .filter_map(|folder| {
                let error = File::open(&folder).and_then(|folder| folder.sync_all());
                Some((folder, error.err()?.kind()))
            })
            .collect();
        let outcome = |result: Result<PathBuf, StateError>| {
            let folder = result?;
            match failed.get(&folder) {
                None => Ok(()),
                Some(kind) => Err(StateError::Write {
                    path: folder,
                    source: (*kind).into(),
                }),
            }
        };
        written.into_iter().map(outcome).collect()
    }

    /// Removes the record of a Service, if there is one.
    pub fn remove_service(&self, key: &ServiceKey) -> Result<(), StateError> {
        let path = service_path(&self.root, key)?;
        match fs::remove_file(&path) {
            Ok(()) => sync_folder(path.parent().unwrap_or(&self.root)),
            Err(error) if is_missing(&error) => Ok(()),
            Err(source) => Err(StateError::Remove { path, source }),
        }
    }

    /// Writes `STATE/nodes/NODE/NAME`, unless it is there as it should be.
    pub fn write_node_file(&self, node: &str, name: &str, text: &str) -> Result<(), StateError> {
        check_name(node)?;
        check_name(name)?;
        let path = self.root.join(NODES).join(node).join(name);
        if fs::read(&path).is_ok_and(|present| present == text.as_bytes()) {
            return Ok(());
        }
        let folder = replace(&path, text.as_bytes())?;
        sync_folder(&folder)
    }

    /// Reads `STATE/nodes/NODE/NAME`; `None`: it cannot be read.
    pub fn read_node_file(&self, node: &str, name: &str) -> Option<String> {
        check_name(node).ok()?;
        check_name(name).ok()?;
        let file = File::open(self.root.join(NODES).join(node).join(name)).ok()?;
        let mut text = String::new();
        let read = file.take(NODE_FILE_LIMIT).read_to_string(&mut text);
        read.is_ok().then_some(text)
    }

    /// The folder that must reach the disk for the record to.
    fn write_record(&self, status: &ServiceStatus) -> Result<PathBuf, StateError> {
        let path = service_path(&self.root, &status.key)?;
        let present = fs::read_to_string(&path).ok();
        let mut status = status.clone();
        if let Some(condition) = &mut status.condition
            && let Some(text) = &present
            && let Ok(Recorded {
                condition: Some(recorded),
                ..
            }) = file::parse(text, &status.key)
            && recorded.allocated == condition.allocated
        {
            condition.since = recorded.since;
        }
        let text = file::render(&status);
        if present.as_deref() == Some(&text) {
            return Ok(path.parent().unwrap_or(&self.root).to_owned());
        }
        replace(&path, text.as_bytes())
    }
}

/// Reads one record; `None`: there is none.
pub fn read_record(root: &Path, key: &ServiceKey) -> Result<Option<Recorded>, StateError> {
    let path = service_path(root, key)?;
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if is_missing(&error) => return Ok(None),
        Err(source) => return Err(StateError::Read { path, source }),
    };
    let mut text = String::new();
    match file.take(RECORD_LIMIT).read_to_string(&mut text) {
        Ok(_) => {}
        Err(source) => return Err(StateError::Read { path, source }),
    }
    match file::parse(&text, key) {
        Ok(recorded) => Ok(Some(recorded)),
        Err(fault) => Err(StateError::Parse {
            path,
            line: fault.line,
            column: fault.column,
            why: format!(
                "{}: correct the file, or remove it to give up what the Service holds",
                fault.why
            ),
        }),
    }
}

/// The folder of the records below a state directory.
pub fn services_folder(root: &Path) -> PathBuf {
    root.join(SERVICES)
}

/// The Service that a file below the folder of the records is about, by its path from there.
pub fn key_of(relative: &Path) -> Option<ServiceKey> {
    let mut parts = relative.iter().map(OsStr::to_str);
    let namespace = parts.next()??;
    let name = parts.next()??.strip_suffix(EXTENSION)?;
    let usable = is_name(namespace) && is_name(name) && parts.next().is_none();
    usable.then(|| ServiceKey::new(namespace, name))
}

const SERVICES: &str = "services";
const NODES: &str = "nodes";
const LOCK: &str = ".lock";
const EXTENSION: &str = ".yaml";
const TEMPORARY: &str = ".tmp";

/// Far above anything that is written here.
const RECORD_LIMIT: u64 = 1 << 20;

/// A node's file names every Service; the rest of a longer one is not read.
const NODE_FILE_LIMIT: u64 = 1 << 28;

/// fsync waits for the disk and not for the processor: several at once share a commit.
const WRITERS: usize = 16;
const READERS: usize = 4;
const SHARE: usize = 4;

fn service_path(root: &Path, key: &ServiceKey) -> Result<PathBuf, StateError> {
    check_name(&key.namespace)?;
    check_name(&key.name)?;
    let folder = root.join(SERVICES).join(&key.namespace);
    Ok(folder.join(format!("{}{EXTENSION}", key.name)))
}

fn check_name(name: &str) -> Result<(), StateError> {
    if is_name(name) {
        return Ok(());
    }
    Err(StateError::Name {
        name: name.to_owned(),
    })
}

/// Names were checked at the door; a path is worth a second look.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0'])
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Every record below the folder, sorted, and what cannot be listed; a folder that is missing has none.
fn service_files(folder: &Path) -> (Vec<ServiceKey>, Vec<StateError>) {
    let mut problems = Vec::new();
    let mut list = |folder: &Path| {
        entries(folder).unwrap_or_else(|error| {
            problems.push(error);
            Vec::new()
        })
    };
    let mut keys = Vec::new();
    for namespace in list(folder) {
        let files = list(&folder.join(&namespace)).into_iter();
        keys.extend(files.filter_map(|file| key_of(&Path::new(&namespace).join(file))));
    }
    keys.sort();
    (keys, problems)
}

fn entries(folder: &Path) -> Result<Vec<std::ffi::OsString>, StateError> {
    let failed = |source| StateError::Read {
        path: folder.to_owned(),
        source,
    };
    match fs::read_dir(folder) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<Result<_, _>>()
            .map_err(failed),
        Err(error) if is_missing(&error) => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}

/// Puts the text where the path says, by way of a temporary file; returns the folder.
fn replace(path: &Path, text: &[u8]) -> Result<PathBuf, StateError> {
    let write = || {
        let folder = path.parent().unwrap_or(path);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = folder.join(format!(".{name}{TEMPORARY}"));
        make_folder(folder)?;
        let result = File::create(&temporary)
            .and_then(|mut file| file.write_all(text).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&temporary, path));
        if result.is_err() {
            // A full disk should not hold half a file too; nothing more can be done about it.
            fs::remove_file(&temporary).unwrap_or_default();
        }
        result.map(|()| folder.to_owned())
    };
    write().map_err(|source| StateError::Write {
        path: path.to_owned(),
        source,
    })
}

/// A folder that is new is on the disk only once the folders above it are.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    folder
        .ancestors()
        .skip(1)
        .take(2)
        .try_for_each(|above| File::open(above)?.sync_all())
}

fn sync_folder(folder: &Path) -> Result<(), StateError> {
    File::open(folder)
        .and_then(|file| file.sync_all())
        .map_err(|source| StateError::Write {
            path: folder.to_owned(),
            source,
        })
}

/// Nobody reads them, so what cannot be removed does no harm.
fn remove_leftovers(folder: &Path) {
    for namespace in entries(folder).unwrap_or_default() {
        let folder = folder.join(namespace);
        for file in entries(&folder).unwrap_or_default() {
            let name = file.to_string_lossy();
            if name.starts_with('.') && name.ends_with(TEMPORARY) {
                fs::remove_file(folder.join(&file)).unwrap_or_default();
            }
        }
    }
}

#[cfg(test)]
mod tests;
