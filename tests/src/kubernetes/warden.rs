//! Cleaning up after a proof that could not: a process of its own that waits for the end of ours.
//!
//! Statics are never dropped, and a process that is killed drops nothing. The warden reads from a
//! pipe whose other end dies with us, however we die; then it kills what runs in the namespaces it
//! was told, and removes them and the directories. Told the same by an orderly drop, it finds
//! nothing left to do.

use std::collections::BTreeSet;
use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::output;
use crate::{patience, programs};

/// Our end of it. Dropping it has everything removed that was entrusted and not taken back.
#[derive(Debug)]
pub(crate) struct Warden {
    child: Child,
    pipe: Mutex<Option<ChildStdin>>,
}

impl Warden {
    pub(crate) fn start() -> Result<Self> {
        let mut command = Command::new(programs::tool()?);
        // Ctrl-C is for us, and it outlives us.
        let command = command.arg("warden").stdin(Stdio::piped()).process_group(0);
        let mut child = command.spawn().context("starting the warden")?;
        let pipe = Mutex::new(child.stdin.take());
        Ok(Self { child, pipe })
    }

    /// Has a namespace removed in the end, and before that whatever runs in it.
    pub(crate) fn namespace(&self, name: &str) -> Result<()> {
        self.tell("namespace", name)
    }

    /// Has a directory removed in the end.
    pub(crate) fn directory(&self, path: &Path) -> Result<()> {
        self.tell("directory", &path.display().to_string())
    }

    /// Lets a directory stay after all.
    pub(crate) fn spare(&self, path: &Path) -> Result<()> {
        self.tell("spare", &path.display().to_string())
    }

    fn tell(&self, word: &str, what: &str) -> Result<()> {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        let pipe = pipe
            .as_mut()
            .context("the warden has a pipe until it is dropped")?;
        writeln!(pipe, "{word} {what}").context("telling the warden")
    }
}

impl Drop for Warden {
    fn drop(&mut self) {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        drop(pipe.take());
        // Whatever its status is, there is nobody behind it.
        let _ = self.child.wait();
    }
}

/// What the process does: listens until nobody is there any more, and then cleans up.
pub fn watch(words: impl BufRead) -> Result<()> {
    let mut namespaces = BTreeSet::new();
    let mut directories = BTreeSet::new();
    for line in words.lines() {
        let line = line.context("listening to the proof")?;
        match line.split_once(' ') {
            Some(("namespace", name)) => drop(namespaces.insert(name.to_owned())),
            Some(("directory", path)) => drop(directories.insert(PathBuf::from(path))),
            Some(("spare", path)) => drop(directories.remove(Path::new(path))),
            _ => anyhow::bail!("the warden understands no {line:?}"),
        }
    }
    for name in &namespaces {
        remove_namespace(name);
    }
    for directory in directories.iter().filter(|directory| directory.exists()) {
        std::fs::remove_dir_all(directory)
            .with_context(|| format!("removing {}", directory.display()))?;
    }
    Ok(())
}

/// Its processes first: each keeps the namespace alive, and they belong to nobody any more. Whoever
/// takes the name away alone leaves them where nobody finds them.
pub(crate) fn remove_namespace(name: &str) {
    // Whatever fails here fails because it is gone already.
    let _ = patience::until("the end of what runs there", Duration::from_secs(5), || {
        let list = output(Command::new("ip").args(["netns", "pids", name])).unwrap_or_default();
        let inside: Vec<libc::pid_t> = list.lines().flat_map(str::parse).collect();
        inside.iter().copied().for_each(kill);
        inside.is_empty()
    });
    let _ = output(Command::new("ip").args(["netns", "del", name]));
}

#[expect(unsafe_code, reason = "std ends its own children only")]
fn kill(pid: libc::pid_t) {
    // SAFETY: plain system call on a process that has just been seen in a namespace of ours.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}
