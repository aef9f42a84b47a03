//! Sockets, clock and thread of layer 2; every decision is the [`Station`]'s.
//!
//! Layer 2 runs on a thread of its own, so that however long the rest of the speaker thinks, an
//! ARP request and a heartbeat do not wait for it.

#![expect(
    clippy::disallowed_methods,
    reason = "driver: reads the clock, starts its thread's work"
)]
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ferrolb_crds::model::Secret;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use crate::layer2::exclusion::Exclusion;
use crate::layer2::heartbeat;
use crate::layer2::interfaces::{InterfacesError, Watch};
use crate::layer2::letterbox::{Letter, Letterbox};
use crate::layer2::socket::{self, Port};
use crate::layer2::station::{Input, Link, Output, Station};
use crate::layer2::tally::Tally;
use crate::layer2::{Counts, Desired, LinkIndex, Report, Rival, Settings};

/// Why layer 2 does not run.
#[derive(Debug, Error)]
pub enum StartError {
    /// A node name that the others would not accept.
    #[error("node name {0:?} is no lower-case DNS name")]
    NodeName(String),
    /// An interval that the others would not accept.
    #[error("heartbeat interval {0:?} is not between 10 ms and 60 s")]
    Interval(Duration),
    /// The thread or its reactor could not be made.
    #[error("failed to start the layer-2 thread")]
    Thread(#[source] io::Error),
    /// The interfaces are not known.
    #[error(transparent)]
    Interfaces(#[from] InterfacesError),
}

/// Whom to tell, in the end, which addresses nobody took.
type Done = oneshot::Sender<BTreeSet<IpAddr>>;

/// Layer 2 at work, on a thread of its own; dropping it ends it without a farewell.
#[derive(Debug)]
pub struct Layer2 {
    desired: watch::Sender<Desired>,
    key: watch::Sender<Option<Secret>>,
    report: watch::Receiver<Report>,
    leave: mpsc::Sender<Done>,
    counters: Counters,
    letterbox: Letterbox,
}

/// What was counted, for whoever asks at any time.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    counts: Arc<Mutex<BTreeMap<IpAddr, Counts>>>,
    tally: Arc<Mutex<Tally>>,
}

impl Counters {
    /// What was done for each address that is held.
    pub fn read(&self) -> BTreeMap<IpAddr, Counts> {
        let counts = self.counts.lock();
        counts.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What else was counted.
    pub fn tally(&self) -> Tally {
        let tally = self.tally.lock();
        tally.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<IpAddr, Counts>)) {
        let counts = self.counts.lock();
        change(&mut counts.unwrap_or_else(PoisonError::into_inner));
    }

    fn add(&self, more: Tally) {
        let tally = self.tally.lock();
        tally.unwrap_or_else(PoisonError::into_inner).add(more);
    }
}

impl Layer2 {
    /// Starts listening and, once wanted, answering in the network namespace of the caller, which
    /// waits until the kernel has listed its interfaces.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        if !heartbeat::is_node_name(&settings.node) {
            return Err(StartError::NodeName(settings.node));
        }
        if !heartbeat::INTERVALS.contains(&settings.interval) {
            return Err(StartError::Interval(settings.interval));
        }
        let (desired, wanted) = watch::channel(Desired::default());
        let (reporter, report) = watch::channel(Report {
            listening: true,
            ..Report::default()
        });
        let (key, keys) = watch::channel(None);
        let (leave, leaving) = mpsc::channel(1);
        let (started, outcome) = std::sync::mpsc::channel();
        let counters = Counters::default();
        let letterbox = Letterbox::default();
        let outside = Outside {
            reporter,
            counters: counters.clone(),
            letterbox: letterbox.clone(),
        };
        let orders = Orders {
            wanted,
            keys,
            leaving,
        };
        let work = move || serve(&settings, orders, outside, &started);
        let thread = thread::Builder::new().name("layer2".to_owned());
        thread.spawn(work).map_err(StartError::Thread)?;
        let gone = |_| StartError::Thread(io::ErrorKind::BrokenPipe.into());
        outcome.recv().map_err(gone)??;
        Ok(Self {
            desired,
            key,
            report,
            leave,
            counters,
            letterbox,
        })
    }

    /// Says what should be true from now on.
    pub fn want(&self, desired: Desired) {
        self.desired.send_if_modified(|current| {
            let differs = *current != desired;
            *current = desired;
            differs
        });
    }

    /// Goes over to another key; for a time the one so far is good, too.
    pub fn rekey(&self, key: Secret) {
        self.key.send_replace(Some(key));
    }

    /// What layer 2 knows; an error of `changed` means that it has ended.
    pub fn report(&self) -> watch::Receiver<Report> {
        self.report.clone()
    }

    /// What was done for each address.
    pub fn counters(&self) -> Counters {
        self.counters.clone()
    }

    /// What was found out since this was last asked.
    pub fn take_letter(&self) -> Letter {
        self.letterbox.take()
    }

    /// Hands over what is held, tells the others and ends; takes less than a second. Which addresses
    /// nobody took is the answer.
    pub async fn leave(self) -> BTreeSet<IpAddr> {
        let (done, is_done) = oneshot::channel();
        let leave = async {
            match self.leave.send(done).await {
                // An error means that the thread has ended, which is what we wait for.
                Ok(()) => is_done.await.unwrap_or_default(),
                Err(_) => BTreeSet::new(),
            }
        };
        let bound = tokio::time::timeout(LEAVE_BOUND, leave).await;
        bound.unwrap_or_else(|_| {
            tracing::warn!("layer 2 did not take its leave in time");
            BTreeSet::new()
        })
    }
}

/// What the thread is told.
struct Orders {
    wanted: watch::Receiver<Desired>,
    keys: watch::Receiver<Option<Secret>>,
    leaving: mpsc::Receiver<Done>,
}

/// Whom the thread tells what it knows.
struct Outside {
    reporter: watch::Sender<Report>,
    counters: Counters,
    letterbox: Letterbox,
}

type Started = std::sync::mpsc::Sender<Result<(), StartError>>;

/// The thread: its own reactor, and one task.
fn serve(settings: &Settings, orders: Orders, outside: Outside, started: &Started) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return report_start(started, Err(StartError::Thread(error))),
    };
    runtime.block_on(async {
        match Driver::open(settings, outside).await {
            Ok(driver) => {
                report_start(started, Ok(()));
                driver.run(orders).await;
            }
            Err(error) => report_start(started, Err(error.into())),
        }
    });
}

fn report_start(started: &Started, outcome: Result<(), StartError>) {
    if started.send(outcome).is_err() {
        tracing::debug!("nobody waits for layer 2 to start");
    }
}

/// The one task.
struct Driver {
    station: Station,
    watch: Option<Watch>,
    ports: BTreeMap<LinkIndex, Port>,
    /// When to open again what could not be opened.
    retry: Option<Instant>,
    outside: Outside,
    exclusion: Exclusion,
    /// Not before that is told again what was counted.
    count_at: Instant,
    has_left: bool,
}

/// What woke the task.
enum Event {
    Wanted(Result<(), watch::error::RecvError>),
    Key(Result<(), watch::error::RecvError>),
    Leave(Option<Done>),
    Links(Result<(), InterfacesError>),
    Frames,
    Deadline,
}

impl Driver {
    async fn open(settings: &Settings, outside: Outside) -> Result<Self, InterfacesError> {
        let mut watch = Watch::open()?;
        watch.changed().await?;
        let wall = SystemTime::now();
        let since_epoch = wall
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let incarnation = u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX);
        let mut driver = Self {
            station: Station::new(settings, incarnation, Instant::now(), wall),
            watch: Some(watch),
            ports: BTreeMap::new(),
            retry: None,
            outside,
            exclusion: settings.exclusion.clone(),
            count_at: Instant::now(),
            has_left: false,
        };
        driver.follow_links();
        driver.turn();
        Ok(driver)
    }

    async fn run(mut self, mut orders: Orders) {
        let mut farewell = None;
        while !self.has_left {
            match self.next_event(&mut orders).await {
                Event::Wanted(Ok(())) => self.want(&mut orders.wanted),
                Event::Key(Ok(())) => self.rekey(&mut orders.keys),
                // The handle is gone, and with it everybody who could want something.
                Event::Wanted(Err(_)) | Event::Key(Err(_)) | Event::Leave(None) => return,
                Event::Leave(Some(done)) => {
                    farewell = Some(done);
                    self.station.handle(Instant::now(), Input::Leave);
                }
                Event::Links(outcome) => self.note_links(outcome),
                Event::Frames => self.want_if_changed(&mut orders.wanted),
                Event::Deadline => self.retry_if_due(),
            }
            self.turn();
        }
        if let Some(done) = farewell {
            drop(done.send(self.station.left_behind()));
        }
    }

    async fn next_event(&mut self, orders: &mut Orders) -> Event {
        let deadline = self.deadline();
        let (watch, ports, station) = (&mut self.watch, &mut self.ports, &mut self.station);
        let links = async {
            match watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        let mut take = |link, frame: &[u8]| {
            station.handle(Instant::now(), Input::Frame { link, frame });
        };
        let frames = std::future::poll_fn(|cx| socket::poll_frames(cx, ports, &mut take));
        let (links, frames) = (pin!(links), pin!(frames));
        tokio::select! {
            biased;
            changed = orders.wanted.changed() => Event::Wanted(changed),
            changed = orders.keys.changed() => Event::Key(changed),
            done = orders.leaving.recv() => Event::Leave(done),
            outcome = links => Event::Links(outcome),
            () = frames => Event::Frames,
            () = tokio::time::sleep_until(deadline.into()) => Event::Deadline,
        }
    }

    fn deadline(&self) -> Instant {
        let station = self.station.poll_timeout().map(|(at, timer)| {
            tracing::trace!(?timer, "next deadline");
            at
        });
        let idle = Instant::now() + IDLE;
        station
            .into_iter()
            .chain(self.retry)
            .fold(idle, Instant::min)
    }

    fn want(&mut self, wanted: &mut watch::Receiver<Desired>) {
        let desired = wanted.borrow_and_update().clone();
        self.station.handle(Instant::now(), Input::Want(desired));
        let station = &self.station;
        let counters = &self.outside.counters;
        counters.change(|all| all.retain(|address, _| station.is_owned(*address)));
        self.sync_groups();
    }

    fn rekey(&mut self, keys: &mut watch::Receiver<Option<Secret>>) {
        if let Some(key) = keys.borrow_and_update().clone() {
            self.station.handle(Instant::now(), Input::Key(key));
        }
    }

    /// What is owned no more is not answered for, whatever else is waiting.
    fn want_if_changed(&mut self, wanted: &mut watch::Receiver<Desired>) {
        if wanted.has_changed().unwrap_or(false) {
            self.want(wanted);
        }
    }

    /// Does what is due and carries out what the station says.
    fn turn(&mut self) {
        self.close_failed();
        self.station.handle_timeout(Instant::now());
        let mut has_changed = false;
        let mut letter = Letter::default();
        while let Some(output) = self.station.poll() {
            match output {
                Output::Send { link, frame } => self.send(link, &frame),
                Output::Answer { link, frame } => self.send(link, &frame),
                Output::Changed => has_changed = true,
                Output::Left => self.has_left = true,
                Output::Rival {
                    interface,
                    address,
                    mac,
                    node,
                } => letter.rivals.push(Rival {
                    interface,
                    address,
                    mac: mac.to_string(),
                    node,
                }),
                said @ (Output::Node { .. }
                | Output::Rejected { .. }
                | Output::Mute { .. }
                | Output::Namesake { .. }
                | Output::Silent { .. }) => log(said),
            }
        }
        self.count();
        if has_changed {
            letter.claims = self.station.take_claims();
            letter.findings = self.station.take_findings();
        }
        // Before the report that says so.
        self.outside.letterbox.put(letter);
        if has_changed {
            self.sync_groups();
            let report = self.station.report();
            self.outside.reporter.send_if_modified(|current| {
                let differs = *current != report;
                *current = report;
                differs
            });
        }
    }

    /// Tells what was counted, at most so often that it costs nothing beside the packets.
    fn count(&mut self) {
        let now = Instant::now();
        if now < self.count_at {
            return;
        }
        self.count_at = now + COUNT_EVERY;
        let tally = self.station.take_tally();
        if !tally.is_empty() {
            self.outside.counters.add(tally);
        }
        let mut counts: Vec<_> = self.station.take_counts().collect();
        counts.retain(|(address, _)| self.station.is_owned(*address));
        if !counts.is_empty() {
            self.outside.counters.change(|all| {
                for (address, more) in counts {
                    *all.entry(address).or_default() += more;
                }
            });
        }
    }

    fn send(&self, link: LinkIndex, frame: &[u8]) {
        if let Some(port) = self.ports.get(&link)
            && let Err(error) = port.send(frame)
        {
            tracing::debug!(interface = %port.name, error = &error as &dyn std::error::Error, "frame not sent");
        }
    }

    fn note_links(&mut self, outcome: Result<(), InterfacesError>) {
        match outcome {
            Ok(()) => self.follow_links(),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "interfaces not followed"
                );
                self.watch = None;
                self.retry = Some(Instant::now() + RETRY);
            }
        }
    }

    /// Sockets that cannot be read are closed, and opened again later.
    fn close_failed(&mut self) {
        let failed = self.ports.iter().filter(|(_, port)| port.failure.is_some());
        let failed: Vec<LinkIndex> = failed.map(|(link, _)| *link).collect();
        for link in failed {
            let Some(port) = self.ports.remove(&link) else {
                continue;
            };
            let why = port
                .failure
                .map(|error| error.to_string())
                .unwrap_or_default();
            let problem = Some(format!(
                "failed to read a packet socket on {}: {why}",
                port.name
            ));
            self.retry = Some(Instant::now() + RETRY);
            let now = Instant::now();
            self.station.handle(now, Input::Problem { link, problem });
        }
    }

    fn retry_if_due(&mut self) {
        if self.retry.is_none_or(|at| at > Instant::now()) {
            return;
        }
        self.retry = None;
        if self.watch.is_none() {
            match Watch::open() {
                Ok(watch) => self.watch = Some(watch),
                Err(error) => return self.note_links(Err(error)),
            }
        }
        self.follow_links();
    }

    /// Opens and closes sockets so that every interface has its own.
    fn follow_links(&mut self) {
        let watch = self.watch.as_ref();
        let Some(links) = watch.and_then(|watch| watch.links(&self.exclusion)) else {
            return;
        };
        self.forget_deleted(&links);
        self.ports
            .retain(|index, port| links.get(index).is_some_and(|link| link.name == port.name));
        let mut problems = Vec::new();
        for (index, link) in &links {
            if self.ports.contains_key(index) {
                continue;
            }
            match Port::open(*index, &link.name) {
                Ok(port) => {
                    self.ports.insert(*index, port);
                    problems.push((*index, None));
                }
                Err(error) => {
                    tracing::debug!(interface = %link.name, error = &error as &dyn std::error::Error, "sockets not opened");
                    self.retry = Some(Instant::now() + RETRY);
                    let source = std::error::Error::source(&error);
                    let why = source.map(ToString::to_string).unwrap_or_default();
                    problems.push((*index, Some(format!("{error}: {why}"))));
                }
            }
        }
        let now = Instant::now();
        self.station.handle(now, Input::Links(links));
        for (link, problem) in problems {
            self.station.handle(now, Input::Problem { link, problem });
        }
        self.sync_groups();
    }

    /// An interface that was deleted is another one, whatever number and name it has come back with:
    /// its sockets are deaf, and who is there is not known.
    fn forget_deleted(&mut self, links: &BTreeMap<LinkIndex, Link>) {
        let all = self.ports.len();
        self.ports.retain(|index, port| port.is_bound_to(*index));
        if self.ports.len() < all {
            let left = links
                .iter()
                .filter(|(index, _)| self.ports.contains_key(index));
            let left = left.map(|(index, link)| (*index, link.clone())).collect();
            self.station.handle(Instant::now(), Input::Links(left));
        }
    }

    /// Joins and leaves solicited-node groups as addresses come and go.
    fn sync_groups(&mut self) {
        for (index, port) in &mut self.ports {
            let outcome = port.sync_groups(*index, &self.station.groups(*index));
            let had_failed = std::mem::replace(&mut port.groups.has_failed, outcome.is_err());
            if let Err(error) = outcome {
                self.retry = Some(Instant::now() + RETRY);
                if !had_failed {
                    tracing::warn!(interface = %port.name, error = &error as &dyn std::error::Error, "solicited-node group not joined");
                }
            }
        }
    }
}

fn log(output: Output) {
    match output {
        Output::Node {
            node,
            interface,
            from,
            down: None,
        } => tracing::info!(%node, %interface, %from, "node is up"),
        Output::Node {
            node,
            interface,
            from,
            down: Some(reason),
        } => tracing::info!(%node, %interface, %from, ?reason, "node is down"),
        Output::Rejected {
            interface,
            sender,
            error,
        } => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(%interface, %sender, error, "heartbeat not believed");
        }
        Output::Mute { interface, node } => {
            let reason = "it is heard and does not answer: is unicast between the nodes blocked?";
            tracing::warn!(%interface, %node, reason, "heartbeat not believed");
        }
        Output::Namesake { interface, sender } => {
            tracing::warn!(%interface, %sender, "another speaker uses this node's name");
        }
        Output::Silent { link, reason } => {
            tracing::trace!(link = link.0, ?reason, "frame not answered");
        }
        Output::Send { .. }
        | Output::Answer { .. }
        | Output::Changed
        | Output::Rival { .. }
        | Output::Left => {}
    }
}

/// Time between two tellings of what was counted.
const COUNT_EVERY: Duration = Duration::from_millis(100);

/// Time until what could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// The task looks up at least so often.
const IDLE: Duration = Duration::from_secs(3600);

/// Leaving takes no longer.
const LEAVE_BOUND: Duration = Duration::from_secs(1);
