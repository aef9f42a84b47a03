//! Network namespaces, made and removed by `ip`; freed on drop, also when a proof panics.
#![expect(clippy::disallowed_methods, reason = "threads enter namespaces")]

use std::fs::File;
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Once, mpsc};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::kubernetes::warden::remove_namespace;
use crate::process::output;

const PREFIX: &str = "flb";

/// A prefix for namespace names that nobody else uses: `flb-PID-N-`.
pub fn unique_prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static SWEEP: Once = Once::new();
    SWEEP.call_once(sweep);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}-{}-{number}-", std::process::id())
}

/// One network namespace.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    is_kept: bool,
}

impl Namespace {
    /// Makes it, with its loopback up.
    pub fn new(name: String) -> Result<Self> {
        output(Command::new("ip").args(["netns", "add", &name]))?;
        let namespace = Self {
            name,
            is_kept: false,
        };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Its name for `ip netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Leaves it in place when dropped.
    pub fn keep(&mut self) {
        self.is_kept = true;
    }

    /// A command that will run inside; `ip` replaces itself with it, so the process id is its own.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Does something on a thread inside, whose sockets are then inside for ever.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let door = self.door()?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter(&door)?;
                Ok(work())
            });
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// The same, without waiting for its end; it is not begun if the namespace cannot be entered.
    pub fn spawn_inside(&self, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
        let door = self.door()?;
        let (sender, entered) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let outcome = enter(&door);
            let is_inside = outcome.is_ok();
            if sender.send(outcome).is_ok() && is_inside {
                work();
            }
        });
        entered.recv().context("a thread ended early")??;
        Ok(thread)
    }

    fn door(&self) -> Result<File> {
        let path = Path::new("/run/netns").join(&self.name);
        File::open(&path).with_context(|| format!("opening {}", path.display()))
    }

    /// Runs `ip -n NAME WORDS`.
    pub fn ip(&self, words: &str) -> Result<String> {
        let mut command = Command::new("ip");
        command.args(["-n", &self.name]);
        output(command.args(words.split_whitespace()))
    }

    /// Runs a program with blank-separated words inside.
    pub fn run(&self, words: &str) -> Result<String> {
        let mut words = words.split_whitespace();
        output(self.command(words.next().unwrap_or_default()).args(words))
    }

    /// Sets kernel parameters, given as `path=value` below `/proc/sys` with slashes.
    pub fn sysctl(&self, settings: &[&str]) -> Result<()> {
        let script: Vec<String> = settings
            .iter()
            .filter_map(|setting| setting.split_once('='))
            .map(|(path, value)| format!("echo {value} > /proc/sys/{path}"))
            .collect();
        output(self.command("sh").args(["-ec", &script.join("\n")]))?;
        Ok(())
    }
}

fn enter(door: &File) -> Result<()> {
    let kind = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(door.as_fd(), kind).context("entering a namespace")
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if !self.is_kept {
            // Nothing can be done about a failure here; the next start sweeps.
            let _ = output(Command::new("ip").args(["netns", "del", &self.name]));
        }
    }
}

/// Removes what runs that were killed left behind: namespaces of our prefix whose process is gone.
fn sweep() {
    let Ok(list) = output(Command::new("ip").args(["netns", "list"])) else {
        return;
    };
    for name in list.lines().filter_map(|line| line.split(' ').next()) {
        let mut parts = name.split('-');
        let (prefix, pid) = (parts.next(), parts.next());
        let Some(pid) = pid.filter(|pid| pid.parse::<u32>().is_ok()) else {
            continue;
        };
        if prefix == Some(PREFIX) && !Path::new("/proc").join(pid).exists() {
            remove_namespace(name);
        }
    }
}
