//! Child processes that are ended by their handle, and whose words are kept for the failure report.
#![expect(clippy::disallowed_methods, reason = "logs of children are files")]

use std::fs::File;
use std::io::{Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::patience;

/// Milliseconds between two ticks, by which the kernel tells processor time to programs (USER_HZ).
const TICK: u64 = 10;

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts a command in a process group of its own (Ctrl-C is for the caller, who then ends this
    /// one in order), both its outputs going to `DIR/NAME.log`.
    pub fn start(name: &str, command: &mut Command, dir: &Path) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let out = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("opening {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            log,
            child,
        })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How many bytes of memory it has resident.
    pub fn resident(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.pid());
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kibibytes = kibibytes.with_context(|| format!("{path} says nothing of memory"))?;
        Ok(kibibytes.trim().parse::<u64>()? * 1024)
    }

    /// How much time the processors have spent on it.
    pub fn processor_time(&self) -> Result<Duration> {
        let path = format!("/proc/{}/stat", self.pid());
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        processor_time(&text).map(|(_, time)| time)
    }

    /// The same of those of its threads that have a name.
    pub fn thread_time(&self, name: &str) -> Result<Duration> {
        let path = format!("/proc/{}/task", self.pid());
        let threads = std::fs::read_dir(&path).with_context(|| format!("reading {path}"))?;
        let mut sum = Duration::ZERO;
        for thread in threads {
            // One that has ended since is none of them.
            let text = std::fs::read_to_string(thread?.path().join("stat")).unwrap_or_default();
            if let Ok((found, time)) = processor_time(&text)
                && found == name
            {
                sum += time;
            }
        }
        Ok(sum)
    }

    /// Everything it has written; of all runs that shared this name and directory.
    pub fn log(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The file with its words.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Its exit status, once it has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("asking for a child's status")
    }

    /// Waits for a line to be written, failing early when the process ends without it.
    pub fn await_line(&mut self, text: &str, limit: Duration) -> Result<Duration> {
        let what = format!("\"{text}\" from {}", self.name);
        let ((), elapsed) = patience::eventually(&what, limit, || {
            if self.log().contains(text) {
                return Ok(Some(()));
            }
            if let Some(status) = self.ended()? {
                bail!("{} ended with {status}:\n{}", self.name, self.log());
            }
            Ok(None)
        })
        .with_context(|| tail(&self.log(), 30))?;
        Ok(elapsed)
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(libc::SIGTERM);
        self.await_end(limit)
    }

    /// Sends SIGKILL and reaps.
    pub fn kill(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until it ends by itself.
    pub fn await_end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        let (status, _) = patience::eventually(&what, limit, || self.ended())?;
        Ok(status)
    }

    /// Sends a signal, unless it has ended and been reaped.
    #[expect(unsafe_code, reason = "std sends SIGKILL only")]
    pub fn signal(&mut self, signal: libc::c_int) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // SAFETY: plain system call; the child is not reaped yet, so the id is still its own.
            unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Name and time, as the kernel tells them.
fn processor_time(stat: &str) -> Result<(&str, Duration)> {
    // The name, in brackets, may have blanks in it; the state is the field after it.
    let (head, fields) = stat.rsplit_once(')').context("a process has a name")?;
    let (_, name) = head.split_once('(').context("a process has a name")?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(str::parse::<u64>).sum::<Result<_, _>>()?;
    Ok((name, Duration::from_millis(ticks * TICK)))
}

/// The last lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Runs a command to its end; its standard output, or an error with everything it said.
pub fn output(command: &mut Command) -> Result<String> {
    finish(command.stdin(Stdio::null()))
}

/// The same, with a text for the command to read.
pub fn output_of(command: &mut Command, input: &str) -> Result<String> {
    // A file and no pipe, so that neither waits for the other.
    let mut file = tempfile::tempfile().context("making room for a command's input")?;
    file.write_all(input.as_bytes())?;
    file.rewind()?;
    finish(command.stdin(file))
}

fn finish(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("starting {command:?}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}: {stdout}{stderr}", output.status);
    }
    Ok(stdout)
}

/// What a command writes to its standard output, whatever its exit status says.
pub fn words(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {command:?}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
