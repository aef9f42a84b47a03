//! Keeps the table as it should be: one task, one nft process at a time.
//!
//! Until the first [`HandOff::want`] nothing is touched, so a restart finds the table of the run
//! before it and, if it is right, writes nothing. After that every difference is one transaction. A
//! table that is there stays while there is nothing to hand off, only emptied: established
//! connections would end with it, and a restart hands off nothing until it knows better.
//! Somebody else's changes are noticed by reading the table back every [`CHECK`], and undone. Reading
//! 10,000 frontends takes a while: it goes on beside, and what is wanted meanwhile does not wait for it. Where
//! changes keep it from ending it is read once while everything waits.

#![expect(
    clippy::disallowed_methods,
    reason = "driver: reads the clock, owns its task and bounds every run of nft"
)]

use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{Instrument as _, debug, error, info, info_span, warn};

use super::interfaces::Interfaces;
use super::listing::{self, NotAListing, Table};
use super::render::{self, TABLE};
use super::ruleset::{Change, Host, Ruleset};
use super::{Desired, Report};

/// The task that owns the table, and the ways to talk to it. Dropped without [`HandOff::stop`], the
/// task ends and the table stays.
#[derive(Debug)]
pub struct HandOff {
    wanted: watch::Sender<Option<Wanted>>,
    report: watch::Receiver<Report>,
    settled: watch::Receiver<u64>,
    stop: oneshot::Sender<bool>,
    task: JoinHandle<()>,
}

/// What should be handed off, and the how-manieth wish that is.
type Wanted = (u64, Desired);

impl HandOff {
    /// Starts the task; it touches nothing until it is told what to want.
    pub fn start() -> Self {
        Self::checking_every(CHECK)
    }

    /// Starts it with another pause between two looks at what others did to the tables.
    pub fn checking_every(check: Duration) -> Self {
        let (wanted, wanted_by_task) = watch::channel(None);
        let (report_by_task, report) = watch::channel(Report::Idle);
        let (settled_by_task, settled) = watch::channel(0);
        let (stop, stopped) = oneshot::channel();
        let driver = Driver::new(wanted_by_task, report_by_task, settled_by_task, check);
        let task = tokio::spawn(run(driver, stopped).instrument(info_span!("hand_off")));
        Self {
            wanted,
            report,
            settled,
            stop,
            task,
        }
    }

    /// Replaces what should be handed off; the latest wins. The number of the first is 1, and
    /// that of each next is one more.
    pub fn want(&self, desired: Desired) -> u64 {
        let mut number = 1;
        self.wanted.send_modify(|wanted| {
            number += wanted.as_ref().map_or(0, |(before, _)| *before);
            *wanted = Some((number, desired));
        });
        number
    }

    /// The number of the last wish that was dealt with, whatever came of it.
    pub fn settled(&self) -> watch::Receiver<u64> {
        self.settled.clone()
    }

    /// How it stands, for as long as the task runs.
    pub fn report(&self) -> watch::Receiver<Report> {
        self.report.clone()
    }

    /// Ends the task, within a few seconds whatever nft does. Kept, the table goes on handing off
    /// without this process; removed, established connections end with it.
    pub async fn stop(mut self, keep: bool) {
        // A task that has ended has nothing left to stop.
        if self.stop.send(keep).is_err() {
            return;
        }
        if tokio::time::timeout(STOP_LIMIT, &mut self.task)
            .await
            .is_err()
        {
            error!(deadline = ?STOP_LIMIT, "hand-off did not stop in time");
            self.task.abort();
        }
    }
}

/// How often the table is read back and other translators are looked for.
const CHECK: Duration = Duration::from_secs(30);
/// A check may use one part in so many of the time: reading back 10,000 frontends takes a while.
const CHECK_SHARE: u32 = 20;
/// The longest pause after failures; the first is a second.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How long one run of nft may take.
const NFT_LIMIT: Duration = Duration::from_secs(10);
/// How long removing the table may take on the way out.
const LEAVE_LIMIT: Duration = Duration::from_secs(4);
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Where nft is looked for; a service manager's PATH need not contain the administrator's commands.
const PROGRAMS: [&str; 3] = ["nft", "/usr/sbin/nft", "/sbin/nft"];

async fn run(mut driver: Driver, stopped: oneshot::Receiver<bool>) {
    // Leaving the loop in the middle ends a running nft; the kernel has its transaction or has not.
    let keep = tokio::select! {
        keep = stopped => keep.unwrap_or(true),
        () = driver.serve() => true,
    };
    if !keep {
        driver.leave().await;
    }
}

/// What is known of the table in the kernel.
#[derive(Debug)]
enum Known {
    /// It must be read first.
    Unknown,
    /// There is none.
    Absent,
    /// There may be one, and it is not what it should be.
    Differs,
    /// It holds this.
    Holds(Arc<Ruleset>),
}

/// What an attempt came to.
enum Outcome {
    Idle,
    Programmed { frontends: usize, written: bool },
    Refused(String),
}

/// What to write, if anything.
enum Step {
    Nothing,
    Replace(String),
    Update(Change),
}

struct Driver {
    wanted: watch::Receiver<Option<Wanted>>,
    report: watch::Sender<Report>,
    settled: watch::Sender<u64>,
    interfaces: Option<Interfaces>,
    /// The addresses as last read; `None` after they changed.
    host: Option<Host>,
    table: Known,
    /// What this task wrote or found right: a table that differs from it was changed by others.
    programmed: Option<Arc<Ruleset>>,
    /// What that was made of.
    made_of: Option<(Desired, Host)>,
    failures: u32,
    /// Whatever is wanted, it is not done here: that is looked at when it is time for a check.
    is_refused: bool,
    check: Duration,
    check_at: Option<Instant>,
    checking: Option<Checking>,
}

/// The table is being read back.
struct Checking {
    began: Instant,
    /// In which lines it is not as it was when that began; `None`: there is more to look at.
    differing: Pin<Box<dyn Future<Output = Option<BTreeSet<String>>> + Send>>,
    /// Lines of what this task has changed since then.
    touched: BTreeSet<String>,
}

impl Driver {
    fn new(
        wanted: watch::Receiver<Option<Wanted>>,
        report: watch::Sender<Report>,
        settled: watch::Sender<u64>,
        check: Duration,
    ) -> Self {
        Self {
            wanted,
            report,
            settled,
            interfaces: None,
            host: None,
            table: Known::Unknown,
            programmed: None,
            made_of: None,
            failures: 0,
            is_refused: false,
            check,
            check_at: None,
            checking: None,
        }
    }

    /// Runs until the owner is gone.
    async fn serve(&mut self) {
        loop {
            tokio::select! {
                wanted = self.wanted.changed() => if wanted.is_err() { return },
                () = changed(&mut self.interfaces) => self.host = None,
                is_right = checked(&mut self.checking) => self.end_check(is_right),
                () = at(self.check_at) => {
                    self.host = None;
                    if self.begin_check() {
                        continue;
                    }
                    self.table = Known::Unknown;
                }
            }
            let Some((number, desired)) = self.wanted.borrow_and_update().clone() else {
                continue;
            };
            if self.is_refused && !desired.is_empty() && self.check_at.is_some_and(is_ahead) {
                self.settled.send_replace(number);
                continue;
            }
            let outcome = self.attempt(&desired).await;
            self.conclude(outcome);
            self.settled.send_replace(number);
        }
    }

    /// Begins to read the table back beside, if it is known what it should hold.
    fn begin_check(&mut self) -> bool {
        let Known::Holds(ruleset) = &self.table else {
            return false;
        };
        self.check_at = None;
        self.checking = Some(Checking {
            began: Instant::now(),
            differing: Box::pin(differing(Arc::clone(ruleset))),
            touched: BTreeSet::new(),
        });
        true
    }

    /// What is wrong is found, told and mended by another look, for which everything waits.
    fn end_check(&mut self, is_right: bool) {
        if let Some(Checking { began, touched, .. }) = self.checking.take() {
            // Each change has nft begin anew: how long that took is not what it costs.
            match touched.is_empty() {
                true => self.check_later(began),
                false => self.check_at = Some(Instant::now() + self.check),
            }
        }
        if !is_right {
            self.table = Known::Unknown;
        }
    }

    /// The table is not what is being read any more.
    fn drop_check(&mut self) {
        if self.checking.take().is_some() {
            self.check_at = Some(Instant::now() + self.check);
        }
    }

    fn check_later(&mut self, began: Instant) {
        self.check_at = Some(began + self.check.max(began.elapsed() * CHECK_SHARE));
    }

    /// What is being read back may have this change or not.
    fn note_touched(&mut self, change: &Change) {
        if let Some(checking) = &mut self.checking {
            let elements = change.removed.iter().chain(&change.added);
            checking.touched.extend(elements.map(listing::line));
        }
    }

    async fn attempt(&mut self, desired: &Desired) -> Result<Outcome, HandOffError> {
        let host = self.host(desired).await?;
        let written = match self.update(desired, &host).await? {
            Some(written) => written,
            None => match self.program(desired, &host).await? {
                ControlFlow::Continue(written) => written,
                ControlFlow::Break(outcome) => return Ok(outcome),
            },
        };
        self.made_of = Some((desired.clone(), host));
        Ok(if desired.is_empty() {
            Outcome::Idle
        } else {
            let frontends = desired.frontends.len();
            Outcome::Programmed { frontends, written }
        })
    }

    /// Where the table is known to hold what was wanted last, applies what differs from that, and says
    /// whether that took a transaction.
    async fn update(
        &mut self,
        desired: &Desired,
        host: &Host,
    ) -> Result<Option<bool>, HandOffError> {
        let made_of = self.made_of.take().filter(|(_, at)| at == host);
        let (Known::Holds(_), Some((before, _))) = (&self.table, made_of) else {
            return Ok(None);
        };
        let (change, text) = {
            let (desired, host) = (desired.clone(), host.clone());
            aside(move || {
                let change = Change::between(&before, &desired, &host);
                let text = (!change.is_empty()).then(|| render::update(&change));
                (change, text)
            })
            .await
        };
        // So it stands if the transaction is cut off.
        let table = std::mem::replace(&mut self.table, Known::Differs);
        self.note_touched(&change);
        if let Some(text) = &text {
            let began = Instant::now();
            nft(&["-f", "-"], text).await?;
            debug!(elapsed = ?began.elapsed(), "hand-off table updated");
        }
        if let Known::Holds(mut ruleset) = table {
            // Unless it is just being read back it is nobody else's now: it is changed, not copied.
            self.programmed = None;
            Arc::make_mut(&mut ruleset).apply(change);
            self.programmed = Some(Arc::clone(&ruleset));
            self.table = Known::Holds(ruleset);
        }
        Ok(Some(text.is_some()))
    }

    /// Makes the table hold what is wanted, whatever it holds; or says why not.
    async fn program(
        &mut self,
        desired: &Desired,
        host: &Host,
    ) -> Result<ControlFlow<Outcome, bool>, HandOffError> {
        let ruleset = {
            let (desired, host) = (desired.clone(), host.clone());
            Arc::new(aside(move || Ruleset::new(&desired, &host)).await)
        };
        if matches!(self.table, Known::Unknown) {
            match self.look(&ruleset).await {
                Ok(None) => {}
                Ok(Some(reason)) => return Ok(ControlFlow::Break(Outcome::Refused(reason))),
                // Without nft there is no table, and nothing to hand off needs none.
                Err(HandOffError::Missing) if ruleset.is_empty() => {
                    return Ok(ControlFlow::Break(Outcome::Idle));
                }
                Err(error) => return Err(error),
            }
        }
        if ruleset.is_empty() && matches!(self.table, Known::Absent) {
            return Ok(ControlFlow::Break(Outcome::Idle));
        }
        self.write(&ruleset).await.map(ControlFlow::Continue)
    }

    /// This node's addresses, read again when they changed; not read at all without need.
    async fn host(&mut self, desired: &Desired) -> Result<Host, HandOffError> {
        if !desired.frontends.keys().any(|f| f.address.is_ipv4()) {
            return Ok(Host::default());
        }
        if let Some(host) = &self.host {
            return Ok(host.clone());
        }
        let interfaces = match self.interfaces.take() {
            Some(interfaces) => interfaces,
            None => Interfaces::open().map_err(HandOffError::Subscribe)?,
        };
        let host = interfaces.read().await.map_err(HandOffError::Addresses)?;
        // A socket that failed is not kept: the next attempt opens another.
        self.interfaces = Some(interfaces);
        self.host = Some(host.clone());
        Ok(host)
    }

    /// Reads what the kernel has. `Some` is the reason not to hand off here; then the table of ours
    /// is gone as well.
    async fn look(&mut self, wanted: &Arc<Ruleset>) -> Result<Option<String>, HandOffError> {
        let began = Instant::now();
        let tables = nft(&["-j", "list", "tables"], "").await?;
        let is_there = listing::has_table(&tables)?;
        if !wanted.is_empty() {
            let chains = nft(&["-j", "list", "chains"], "").await?;
            if let Some(reason) = listing::rival(&tables, &chains)? {
                if is_there {
                    self.remove().await?;
                }
                return Ok(Some(reason));
            }
        }
        let expected = self.programmed.as_ref().unwrap_or(wanted);
        self.table = match is_there {
            true => read_back(Arc::clone(expected), self.programmed.is_some()).await?,
            false => Known::Absent,
        };
        if matches!(self.table, Known::Absent) && self.programmed.take().is_some() {
            warn!("hand-off table was removed by others");
        }
        self.check_later(began);
        Ok(None)
    }

    /// Makes the table hold the ruleset; true when that took a transaction.
    async fn write(&mut self, ruleset: &Arc<Ruleset>) -> Result<bool, HandOffError> {
        // So it stands if the transaction is cut off.
        let table = std::mem::replace(&mut self.table, Known::Differs);
        let step = {
            let ruleset = Arc::clone(ruleset);
            aside(move || step(&table, &ruleset)).await
        };
        let began = Instant::now();
        let written = match step {
            Step::Nothing => false,
            Step::Replace(text) => {
                nft(&["-f", "-"], &text).await?;
                let count = ruleset.elements().len();
                info!(count, elapsed = ?began.elapsed(), "hand-off table written");
                true
            }
            Step::Update(change) => {
                self.note_touched(&change);
                nft(&["-f", "-"], &render::update(&change)).await?;
                let count = ruleset.elements().len();
                debug!(count, elapsed = ?began.elapsed(), "hand-off table updated");
                true
            }
        };
        self.table = Known::Holds(Arc::clone(ruleset));
        self.programmed = Some(Arc::clone(ruleset));
        Ok(written)
    }

    async fn remove(&mut self) -> Result<(), HandOffError> {
        nft(&["-f", "-"], &render::remove()).await?;
        info!("hand-off table removed");
        self.table = Known::Absent;
        self.programmed = None;
        Ok(())
    }

    /// Removes the table on the way out, if there is one.
    async fn leave(&mut self) {
        let removed = match tokio::time::timeout(LEAVE_LIMIT, self.clear()).await {
            Ok(removed) => removed,
            Err(_) => Err(HandOffError::Late(LEAVE_LIMIT)),
        };
        match removed {
            Ok(()) | Err(HandOffError::Missing) => {}
            Err(error) => {
                error!(
                    error = &error as &dyn Error,
                    "hand-off table could not be removed"
                );
            }
        }
    }

    /// A table never looked at is looked for first: without one, nothing is written.
    async fn clear(&mut self) -> Result<(), HandOffError> {
        let may_exist = match self.table {
            Known::Absent => false,
            Known::Unknown => listing::has_table(&nft(&["-j", "list", "tables"], "").await?)?,
            Known::Differs | Known::Holds(_) => true,
        };
        if may_exist {
            self.remove().await?;
        }
        Ok(())
    }

    /// Publishes the outcome and sets the next deadline.
    fn conclude(&mut self, outcome: Result<Outcome, HandOffError>) {
        let now = Instant::now();
        let outcome = match outcome {
            Err(HandOffError::Missing) => Ok(Outcome::Refused(chain(&HandOffError::Missing))),
            other => other,
        };
        self.failures = match &outcome {
            Ok(_) => 0,
            Err(_) => self.failures.saturating_add(1),
        };
        self.is_refused = matches!(outcome, Ok(Outcome::Refused(_)));
        if !matches!(outcome, Ok(Outcome::Programmed { .. })) {
            self.drop_check();
        }
        match outcome {
            Ok(Outcome::Idle) => {
                if !matches!(self.table, Known::Holds(_)) {
                    self.check_at = None;
                }
                // Whoever else translates is looked for only where there is something to hand off.
                self.table = Known::Unknown;
                self.publish(Report::Idle);
            }
            Ok(Outcome::Programmed { frontends, written }) => {
                self.publish_programmed(frontends, written);
            }
            Ok(Outcome::Refused(reason)) => {
                self.table = Known::Unknown;
                self.check_at = Some(now + self.check);
                self.publish(Report::Refused { reason });
            }
            Err(error) => {
                self.table = Known::Unknown;
                self.check_at = Some(now + retry_pause(self.failures));
                self.publish(Report::Failed {
                    error: chain(&error),
                });
            }
        }
    }

    fn publish_programmed(&self, frontends: usize, written: bool) {
        self.report.send_if_modified(|report| {
            if !written && matches!(report, Report::Programmed { .. }) {
                return false;
            }
            *report = Report::Programmed {
                frontends,
                since: SystemTime::now(),
            };
            true
        });
    }

    /// Logs and tells what is new; the same again is neither.
    fn publish(&self, next: Report) {
        self.report.send_if_modified(|report| {
            if *report == next {
                return false;
            }
            match &next {
                Report::Refused { reason } => warn!(reason, "hand-off refused"),
                Report::Failed { error } => error!(error, "hand-off failed, trying again"),
                Report::Idle | Report::Programmed { .. } => {}
            }
            *report = next;
            true
        });
    }
}

/// Why the table could not be made what it should be; except for `Late` it is unchanged.
#[derive(Debug, thiserror::Error)]
enum HandOffError {
    #[error("nft is not installed: install the package nftables to hand traffic to NodePorts")]
    Missing,
    #[error("failed to run nft")]
    Run(#[source] io::Error),
    #[error("nft did not finish within {0:?}")]
    Late(Duration),
    #[error("nft failed ({status}): {message}")]
    Failed {
        status: std::process::ExitStatus,
        message: String,
    },
    #[error(transparent)]
    NotAListing(#[from] NotAListing),
    #[error("failed to subscribe to this node's addresses")]
    Subscribe(#[source] io::Error),
    #[error("failed to read this node's addresses")]
    Addresses(#[source] rtnetlink::Error),
}

/// Compares the table with what it should hold.
async fn read_back(expected: Arc<Ruleset>, is_programmed: bool) -> Result<Known, HandOffError> {
    let json = nft(&["-j", "list", "table", "inet", TABLE], "").await?;
    let ruleset = Arc::clone(&expected);
    let difference = aside(move || -> Result<_, NotAListing> {
        Ok(Table::parse(&json)?.difference(&Table::expected(&ruleset)))
    });
    let Some((count, difference)) = difference.await? else {
        debug!("hand-off table is as it should be");
        return Ok(Known::Holds(expected));
    };
    if is_programmed {
        warn!(count, difference, "hand-off table was changed by others");
    } else {
        info!(
            count,
            difference, "hand-off table of an earlier run differs"
        );
    }
    Ok(Known::Differs)
}

/// The lines in which the table is not what it should be. Of what is no line of it nothing is said: it is
/// for a look that says what it finds.
async fn differing(expected: Arc<Ruleset>) -> Option<BTreeSet<String>> {
    let tables = nft(&["-j", "list", "tables"], "").await.ok()?;
    let chains = nft(&["-j", "list", "chains"], "").await.ok()?;
    let is_rivalled = listing::rival(&tables, &chains).ok()?.is_some();
    if is_rivalled || !listing::has_table(&tables).ok()? {
        return None;
    }
    let json = nft(&["-j", "list", "table", "inet", TABLE], "")
        .await
        .ok()?;
    aside(move || {
        let table = Table::parse(&json).ok()?;
        Some(table.differing(&Table::expected(&expected)))
    })
    .await
}

/// Whether the table that was read back is as it should be; waits for ever for nothing. Cancel-safe.
async fn checked(checking: &mut Option<Checking>) -> bool {
    let Some(Checking {
        differing, touched, ..
    }) = checking
    else {
        return std::future::pending().await;
    };
    let differing = differing.await;
    differing.is_some_and(|lines| lines.is_subset(touched))
}

fn step(table: &Known, wanted: &Ruleset) -> Step {
    match table {
        Known::Unknown | Known::Absent | Known::Differs => Step::Replace(render::replace(wanted)),
        Known::Holds(now) => {
            let change = now.change_to(wanted);
            if change.is_empty() {
                return Step::Nothing;
            }
            Step::Update(change)
        }
    }
}

/// Doubles from a second.
fn retry_pause(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(8);
    RETRY_MAX.min(Duration::from_secs(1) * 2_u32.pow(doublings))
}

/// Runs nft with the arguments and the input; its output.
async fn nft(arguments: &[&str], input: &str) -> Result<String, HandOffError> {
    let run = async {
        for program in PROGRAMS {
            match output(program, arguments, input).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => return other.map_err(HandOffError::Run),
            }
        }
        Err(HandOffError::Missing)
    };
    let output = tokio::time::timeout(NFT_LIMIT, run)
        .await
        .map_err(|_| HandOffError::Late(NFT_LIMIT))??;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(HandOffError::Failed {
        status: output.status,
        message: first_line(&output.stderr),
    })
}

async fn output(program: &str, arguments: &[&str], input: &str) -> io::Result<Output> {
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdin = child.stdin.take();
    let write = async move {
        match stdin {
            Some(mut stdin) => stdin.write_all(input.as_bytes()).await,
            None => Ok(()),
        }
    };
    let (written, output) = tokio::join!(write, child.wait_with_output());
    let output = output?;
    // An nft that gives up does not read to the end; what it says is worth more than that.
    if output.status.success() {
        written?;
    }
    Ok(output)
}

/// nft repeats the offending command after its message: only the message, and not all of a long one.
fn first_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().find(|line| !line.trim().is_empty());
    line.unwrap_or("no message").chars().take(300).collect()
}

/// An error and what caused it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Computes beside the runtime: thousands of frontends must not delay others' heartbeats.
async fn aside<T: Send + 'static>(compute: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(compute)
        .await
        .expect("pure functions do not panic and are never cancelled")
}

async fn changed(interfaces: &mut Option<Interfaces>) {
    match interfaces {
        Some(interfaces) => interfaces.changed().await,
        None => std::future::pending().await,
    }
}

fn is_ahead(at: Instant) -> bool {
    Instant::now() < at
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
