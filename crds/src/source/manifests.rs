//! A directory of manifests as a source: every `*.yaml` and `*.yml` below it, many documents a file,
//! and what the state directory recorded about the Services in them.
//!
//! ```text
//! tree ─▶ document ─▶ entry ─▶ catalog ─▶ store ─▶ changes
//!  │                              │
//!  └── settle: when to look       └── marks ─▶ problems at their place
//! ```
//!
//! A file that does not parse keeps its last good objects in force, and so does a document that makes
//! no sense; where none are known they count as unknown, which is not the same as deleted.

mod catalog;
mod defaults;
mod directory;
mod document;
mod driver;
mod entry;
mod located;
mod marks;
mod plain;
mod settle;
mod tree;

#[cfg(test)]
mod tests;

use std::future;
use std::io;
use std::path::{Path, PathBuf};

use tokio::sync::mpsc::{self, Receiver};

pub use located::Located;

use super::Change;
use directory::Directory;

/// Which directories to read, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The manifests directory.
    pub dir: PathBuf,
    /// The state directory; one that is missing counts as empty.
    pub state: Option<PathBuf>,
    /// Namespace of the configuration.
    pub namespace: String,
    /// Follow the records of the state directory for ever. Otherwise (their writer needs no echo) they
    /// are read before `Synced`, and that of a Service again when its manifest changes.
    pub follow_state: bool,
}

/// Everything that is there, read once.
pub struct Listing {
    /// The objects; [`Change::Synced`] is the last.
    pub changes: Vec<Change>,
    /// What is wrong with them, sorted by place.
    pub problems: Vec<Located>,
    /// What else was read.
    pub rest: Rest,
}

/// What was read beside what it says: to free it takes a while, which a program that ends may save.
pub struct Rest(#[expect(dead_code, reason = "it is there to be freed")] Directory);

/// What changed.
#[derive(Debug, Default)]
pub struct Batch {
    /// Objects; the first batch ends with [`Change::Synced`].
    pub changes: Vec<Change>,
    /// Everything that is wrong, when that is different from before.
    pub problems: Option<Vec<Located>>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.problems.is_none()
    }
}

/// The manifests cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The directory is missing or cannot be listed.
    #[error("{}: failed to read the manifests directory", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The system gives no thread.
    #[error("failed to start following the manifests directory")]
    Thread(#[source] io::Error),
}

/// Reads everything once; blocks.
pub fn read(options: &Options) -> Result<Listing, ReadError> {
    let mut directory = Directory::new(&checked(options)?);
    let batch = directory.first();
    Ok(Listing {
        changes: batch.changes,
        problems: batch.problems.unwrap_or_default(),
        rest: Rest(directory),
    })
}

/// A manifests directory that is followed until this is dropped.
pub struct Manifests {
    batches: Receiver<Batch>,
    _thread: driver::Handle,
}

impl Manifests {
    /// Begins to read. What is wrong later is among the problems.
    pub fn start(options: &Options) -> Result<Self, ReadError> {
        let directory = Directory::new(&checked(options)?);
        let (sender, batches) = mpsc::channel(BATCHES);
        let thread = driver::start(directory, sender).map_err(ReadError::Thread)?;
        Ok(Self {
            batches,
            _thread: thread,
        })
    }

    /// Waits for the next change. Nothing is lost when the wait is given up.
    pub async fn next(&mut self) -> Batch {
        match self.batches.recv().await {
            Some(batch) => batch,
            // The thread ends only with this value.
            None => future::pending().await,
        }
    }
}

/// Somebody who is slow gets fewer and larger batches: the thread waits.
const BATCHES: usize = 1;

fn checked(options: &Options) -> Result<Options, ReadError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ReadError::Directory { path, source }
    };
    let dir = std::path::absolute(&options.dir).map_err(failed(&options.dir))?;
    dir.read_dir().map_err(failed(&dir))?;
    let state = options.state.as_ref().map(std::path::absolute).transpose();
    Ok(Options {
        dir,
        state: state.map_err(failed(&options.dir))?,
        ..options.clone()
    })
}
