//! Sockets, clock and thread of BFD; every decision is that of [`Sessions`].
//!
//! BFD runs on a thread of its own, before all others where that is allowed: however long the rest of
//! the speaker thinks, and whatever else the node does, no peer waits for a packet of ours. What is
//! read in a while is bounded, so that a flood of packets takes neither memory nor the processor.

#![expect(
    clippy::disallowed_methods,
    reason = "driver: reads the clock, starts its thread's work"
)]

mod flood;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use ferrolb_crds::model::Family;
use thiserror::Error;
use tokio::sync::{oneshot, watch};

use self::report::Since;
use super::allowance::Allowance;
use super::echo::Echo;
use super::packet::{Control, State};
use super::sessions::{Input, Output, Sessions, Wish};
use super::socket::{self, EchoPort, Receiver, Sender, Way};
use super::{Hops, Report, SessionKey, Wanted};

/// Why BFD does not run.
#[derive(Debug, Error)]
pub enum StartError {
    /// The thread or its reactor could not be made.
    #[error("failed to start the bfd thread")]
    Thread(#[source] io::Error),
}

/// BFD at work, on a thread of its own; dropping it ends it, too, without waiting.
#[derive(Debug)]
pub struct Bfd {
    wanted: watch::Sender<Wanted>,
    report: watch::Receiver<Report>,
    failures: Failures,
    stop: oneshot::Sender<oneshot::Sender<()>>,
}

/// How often each path has failed; who wants to know at once waits for it to change.
#[derive(Debug, Clone, Default)]
struct Failures(Arc<Mutex<BTreeMap<SessionKey, watch::Sender<u64>>>>);

impl Failures {
    fn of(&self, key: &SessionKey) -> watch::Receiver<u64> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = all.entry(key.clone());
        sender.or_insert_with(|| watch::channel(0).0).subscribe()
    }

    fn add(&self, key: &SessionKey) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = all.get(key) {
            sender.send_modify(|count| *count += 1);
        }
    }

    /// Forgets whom nobody waits for.
    fn tidy(&self) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, sender| !sender.is_closed());
    }
}

impl Bfd {
    /// Starts in the network namespace of the caller; nothing is opened before a session is wanted.
    pub fn start() -> Result<Self, StartError> {
        let (wanted, orders) = watch::channel(Wanted::new());
        let (reporter, report) = watch::channel(Report::default());
        let (stop, stopped) = oneshot::channel();
        let failures = Failures::default();
        let outside = Outside {
            orders,
            reporter,
            failures: failures.clone(),
        };
        let thread = thread::Builder::new().name("bfd".to_owned());
        let (started, outcome) = std::sync::mpsc::channel();
        let work = move || serve(outside, stopped, &started);
        thread.spawn(work).map_err(StartError::Thread)?;
        let gone = |_| StartError::Thread(io::ErrorKind::BrokenPipe.into());
        outcome.recv().map_err(gone)?.map_err(StartError::Thread)?;
        Ok(Self {
            wanted,
            report,
            failures,
            stop,
        })
    }

    /// Says which sessions should be, and how.
    pub fn want(&self, wanted: Wanted) {
        self.wanted.send_if_modified(|current| {
            let differs = *current != wanted;
            *current = wanted;
            differs
        });
    }

    /// How the sessions stand; an error of `changed` means that BFD has ended.
    pub fn report(&self) -> watch::Receiver<Report> {
        self.report.clone()
    }

    /// Changes as often as the path of a session fails.
    pub fn failures(&self, key: &SessionKey) -> watch::Receiver<u64> {
        self.failures.of(key)
    }

    /// Tells the peers that the sessions are taken down on purpose, and ends.
    pub async fn stop(self) {
        let (done, is_done) = oneshot::channel();
        // An error means that the thread has ended, which is what is wanted.
        if self.stop.send(done).is_ok() && tokio::time::timeout(STOP_BOUND, is_done).await.is_err()
        {
            tracing::warn!("bfd did not end in time");
        }
    }
}

/// What the thread has to do with the rest.
struct Outside {
    orders: watch::Receiver<Wanted>,
    reporter: watch::Sender<Report>,
    failures: Failures,
}

type Stopped = oneshot::Receiver<oneshot::Sender<()>>;

/// The thread: its own reactor, and one task.
fn serve(
    outside: Outside,
    mut stopped: Stopped,
    started: &std::sync::mpsc::Sender<io::Result<()>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let (runtime, outcome) = match runtime {
        Ok(runtime) => (Some(runtime), Ok(())),
        Err(error) => (None, Err(error)),
    };
    if started.send(outcome).is_err() {
        tracing::debug!("nobody waits for bfd to start");
    }
    let Some(runtime) = runtime else {
        return;
    };
    match socket::run_first() {
        Ok(()) => tracing::info!("bfd runs with real-time priority"),
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::info!(
                error,
                "bfd runs without real-time priority, which takes CAP_SYS_NICE"
            );
        }
    }
    runtime.block_on(async {
        let mut driver = Driver::new(outside);
        let done = driver.run(&mut stopped).await;
        driver.leave();
        if let Some(done) = done {
            // Who does not wait any more does not want to know.
            let _ = done.send(());
        }
    });
}

/// The one task.
struct Driver {
    sessions: Sessions,
    wanted: Wanted,
    receivers: BTreeMap<Port, Receiver>,
    senders: BTreeMap<SessionKey, Place>,
    echo: Option<EchoPort>,
    allowance: Allowance,
    /// Until when the kernel drops what is from strangers.
    guarded_until: Option<Instant>,
    since: Since,
    /// Why the sessions of a port cannot be run.
    problems: BTreeMap<Port, String>,
    /// When to look at the host again: at its addresses, and at what could not be opened.
    look_at: Option<Instant>,
    /// Not before that is told again what was counted.
    publish_at: Instant,
    outside: Outside,
}

/// What packets come to, by a VRF or by none.
type Port = (Hops, Family, Option<String>);

/// Where packets of a session come to.
fn port_of(key: &SessionKey, hops: Hops) -> Port {
    (hops, Family::of(key.peer), key.vrf.clone())
}

/// Where packets of a session leave from.
struct Place {
    sender: Option<Sender>,
    /// When it was last tried to open one.
    tried: Instant,
    /// Why packets do not leave, if they do not.
    problem: Option<String>,
    /// How echo packets leave, and when that was looked up.
    way: Option<(Way, Instant)>,
}

/// What woke the task.
enum Event {
    Wanted(Result<(), watch::error::RecvError>),
    Stop(Option<oneshot::Sender<()>>),
    Packets,
    Deadline,
}

impl Driver {
    fn new(outside: Outside) -> Self {
        let now = Instant::now();
        Self {
            sessions: Sessions::new(fastrand::Rng::with_seed(fastrand::u64(..))),
            wanted: Wanted::new(),
            receivers: BTreeMap::new(),
            senders: BTreeMap::new(),
            echo: None,
            allowance: Allowance::new(now, 0),
            guarded_until: None,
            since: Since::default(),
            problems: BTreeMap::new(),
            look_at: None,
            publish_at: now,
            outside,
        }
    }

    /// Until it is to stop; whom to tell then.
    async fn run(&mut self, stopped: &mut Stopped) -> Option<oneshot::Sender<()>> {
        loop {
            match self.next_event(stopped).await {
                Event::Wanted(Ok(())) => {
                    self.wanted = self.outside.orders.borrow_and_update().clone();
                    self.look();
                }
                Event::Wanted(Err(_)) => return None,
                Event::Stop(done) => return done,
                Event::Packets => {}
                Event::Deadline => {
                    self.read_first();
                    if self.look_at.is_some_and(|at| at <= Instant::now()) {
                        self.look();
                    }
                }
            }
            self.turn();
        }
    }

    async fn next_event(&mut self, stopped: &mut Stopped) -> Event {
        let deadline = self.deadline();
        let Self {
            outside,
            receivers,
            sessions,
            echo,
            allowance,
            ..
        } = self;
        let packets = std::future::poll_fn(|cx| {
            let mut reading = Reading {
                sessions,
                allowance,
                has_read: false,
            };
            reading.poll(cx, receivers, echo)
        });
        tokio::select! {
            biased;
            changed = outside.orders.changed() => Event::Wanted(changed),
            done = stopped => Event::Stop(done.ok()),
            () = packets => Event::Packets,
            () = tokio::time::sleep_until(deadline.into()) => Event::Deadline,
        }
    }

    fn deadline(&self) -> Instant {
        let session = self.sessions.poll_timeout().map(|(at, timer)| {
            tracing::trace!(?timer, "next deadline");
            at
        });
        let refill = self.allowance.refill();
        let all = [session, self.look_at, refill];
        all.into_iter()
            .flatten()
            .fold(Instant::now() + IDLE, Instant::min)
    }

    /// What has arrived counts before a deadline does, also when this thread was kept from running.
    fn read_first(&mut self) {
        let now = Instant::now();
        let is_due = |(at, _)| at <= now;
        if !self.sessions.poll_timeout().is_some_and(is_due) {
            return;
        }
        let Self {
            receivers,
            sessions,
            allowance,
            ..
        } = self;
        for receiver in receivers.values_mut() {
            let most = allowance.left(now);
            let read = receiver.read(most, |arrival| {
                sessions.handle(now, Input::Arrived(*arrival));
            });
            allowance.take(read);
        }
    }

    /// Does what is due and carries out what the sessions say.
    fn turn(&mut self) {
        self.sessions.handle_timeout(Instant::now());
        self.note_flood();
        let is_news = self.carry_out();
        if is_news {
            // What is known of the host may be another by now: a neighbour has been resolved, say.
            self.tell_echo_means();
            self.carry_out();
        }
        let now = Instant::now();
        if is_news || now >= self.publish_at {
            self.publish(now);
        }
    }

    /// Whether some session is in another state.
    fn carry_out(&mut self) -> bool {
        let mut is_news = false;
        while let Some(output) = self.sessions.poll() {
            match output {
                Output::Send(key, packet) => self.send(&key, &packet),
                Output::Echo(key, echo) => self.send_echo(&key, echo),
                Output::StateChanged {
                    key,
                    from,
                    to,
                    diagnostic,
                    is_failure,
                } => {
                    is_news = true;
                    self.since.note(&key);
                    let peer = key.peer;
                    if from == State::Up || to == State::Up {
                        tracing::info!(%peer, %from, %to, reason = %diagnostic, "bfd session state changed");
                    } else {
                        tracing::debug!(%peer, %from, %to, reason = %diagnostic, "bfd session state changed");
                    }
                    if is_failure {
                        self.outside.failures.add(&key);
                    }
                }
                Output::Ended(key) => {
                    is_news = true;
                    self.senders.remove(&key);
                    self.since.forget(&key);
                }
            }
        }
        is_news
    }

    fn send(&mut self, key: &SessionKey, packet: &Control) {
        let now = Instant::now();
        let hops = self.sessions.hops(key).unwrap_or(Hops::Single);
        let place = self
            .senders
            .entry(key.clone())
            .or_insert_with(|| Place::open(now, key, hops));
        if place.sender.is_none() && now >= place.tried + RETRY_SENDER {
            *place = Place::open(now, key, hops);
        }
        let Some(sender) = &place.sender else {
            return;
        };
        match sender.send(&packet.emit()) {
            Ok(()) => place.problem = None,
            Err(error) => {
                tracing::debug!(peer = %key.peer, error = &error as &dyn std::error::Error, "bfd packet not sent");
                place.fail(now, &error);
            }
        }
    }

    fn send_echo(&mut self, key: &SessionKey, echo: Echo) {
        let Some(place) = self.senders.get_mut(key) else {
            return;
        };
        let local = place.sender.as_ref().and_then(|sender| sender.local().ok());
        let (Some(port), Some(local), IpAddr::V4(peer)) = (&self.echo, local, key.peer) else {
            return;
        };
        let (IpAddr::V4(address), Some(way)) = (local.ip(), place.way_to(peer)) else {
            return;
        };
        if let Err(error) = port.send(way, &echo.emit(address, local.port())) {
            tracing::debug!(peer = %key.peer, error = &error as &dyn std::error::Error, "echo packet not sent");
        }
    }

    /// Looks at what is wanted and at the host, and has the sessions run that can be.
    fn look(&mut self) {
        let now = Instant::now();
        let mut wishes = BTreeMap::new();
        let mut ports = BTreeSet::new();
        for (key, parameters) in &self.wanted {
            let hops = match socket::hops(key) {
                Ok(hops) => hops,
                // The kernel has no memory for the list: as it was, or the more usual.
                Err(_) => self.sessions.hops(key).unwrap_or(Hops::Single),
            };
            ports.insert(port_of(key, hops));
            let parameters = *parameters;
            wishes.insert(key.clone(), Wish { parameters, hops });
        }
        self.open(&ports);
        wishes.retain(|key, wish| self.receivers.contains_key(&port_of(key, wish.hops)));
        let wants_echo = wishes.values().any(|wish| wish.parameters.echo.is_some());
        self.open_echo(wants_echo);
        self.allowance = Allowance::new(now, wishes.len());
        self.sessions.handle(now, Input::Want(wishes));
        self.tell_echo_means();
        self.outside.failures.tidy();
        self.end_flood(now);
        self.look_at = (!self.wanted.is_empty()).then(|| now + LOOK);
        self.publish_at = now;
    }

    fn open(&mut self, ports: &BTreeSet<Port>) {
        let ending = self
            .sessions
            .iter()
            .map(|(key, _, hops, _)| port_of(key, hops));
        let used: BTreeSet<Port> = ending.chain(ports.iter().cloned()).collect();
        self.receivers
            .retain(|port, receiver| used.contains(port) && receiver.is_current());
        self.problems.retain(|port, _| ports.contains(port));
        for port in ports {
            if self.receivers.contains_key(port) {
                continue;
            }
            let (hops, family, vrf) = port;
            let others = self.receivers.iter();
            let others = others.filter(|((to, of, _), _)| (to, of) == (hops, family));
            let others: Vec<&Receiver> = others.map(|(_, other)| other).collect();
            match Receiver::open(*hops, *family, vrf.as_deref(), &others) {
                Ok(receiver) => {
                    self.receivers.insert(port.clone(), receiver);
                    if self.problems.remove(port).is_some() {
                        let number = socket::port(*hops);
                        tracing::info!(port = number, %family, vrf, "bfd port opened");
                    }
                }
                Err(error) => self.note_problem(port, &error),
            }
        }
    }

    /// Logged once for each cause, not every time it is tried again.
    fn note_problem(&mut self, port: &Port, error: &io::Error) {
        let (hops, family, vrf) = port;
        let number = socket::port(*hops);
        let by = vrf.as_ref().map(|vrf| format!(" by {vrf}"));
        let by = by.unwrap_or_default();
        let why = match error.kind() == io::ErrorKind::AddrInUse {
            true => {
                "it is in use: another BFD daemon, FRR's bfdd, say, runs on this node".to_owned()
            }
            false => error.to_string(),
        };
        let problem = format!("failed to listen on UDP port {number} for {family}{by}: {why}");
        if self.problems.get(port) != Some(&problem) {
            tracing::warn!(problem, "bfd sessions not run, trying again");
            self.problems.insert(port.clone(), problem);
        }
    }

    fn open_echo(&mut self, is_wanted: bool) {
        if !is_wanted {
            self.echo = None;
        } else if self.echo.is_none() {
            match EchoPort::open() {
                Ok(port) => self.echo = Some(port),
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "no echo packets");
                }
            }
        }
    }

    fn tell_echo_means(&mut self) {
        if self.echo.is_none() {
            return;
        }
        let wanted = self
            .wanted
            .iter()
            .filter(|(_, parameters)| parameters.echo.is_some());
        for (key, _) in wanted {
            if let IpAddr::V4(peer) = key.peer {
                let can_send = socket::way_to(peer).is_some();
                let can_return = socket::returns_echo(peer);
                let means = Input::EchoMeans {
                    key,
                    can_send,
                    can_return,
                };
                self.sessions.handle(Instant::now(), means);
            }
        }
    }

    fn publish(&mut self, now: Instant) {
        self.publish_at = now + PUBLISH;
        let report = report::report(self);
        self.outside.reporter.send_if_modified(|current| {
            // What is merely counted is there for who looks, and wakes nobody.
            let is_news = current.sessions != report.sessions;
            *current = report;
            is_news
        });
    }

    /// Takes all sessions down, and says so a few times: a peer that does not hear it takes the path for
    /// failed, and forgets the routes that it was to keep over a restart.
    fn leave(&mut self) {
        self.sessions
            .handle(Instant::now(), Input::Want(BTreeMap::new()));
        while let Some(output) = self.sessions.poll() {
            if let Output::Send(key, packet) = output {
                for _ in 0..FAREWELLS {
                    self.send(&key, &packet);
                }
            }
        }
    }
}

impl Place {
    fn open(now: Instant, key: &SessionKey, hops: Hops) -> Self {
        let mut place = Self {
            sender: None,
            tried: now,
            problem: None,
            way: None,
        };
        match Sender::open(key, hops) {
            Ok(sender) => place.sender = Some(sender),
            Err(error) => place.fail(now, &error),
        }
        place
    }

    /// The kernel may have learnt another hardware address since.
    fn way_to(&mut self, peer: Ipv4Addr) -> Option<Way> {
        let now = Instant::now();
        if self.way.is_none_or(|(_, at)| now >= at + LOOK_AT_NEIGHBOUR) {
            self.way = socket::way_to(peer).map(|way| (way, now));
        }
        self.way.map(|(way, _)| way)
    }

    /// An address or a route may be gone, and another one be there.
    fn fail(&mut self, now: Instant, error: &io::Error) {
        self.sender = None;
        self.tried = now;
        self.problem = Some(format!("failed to send: {error}"));
    }
}

/// One round over all ports.
struct Reading<'a> {
    sessions: &'a mut Sessions,
    allowance: &'a mut Allowance,
    has_read: bool,
}

impl Reading<'_> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        receivers: &mut BTreeMap<Port, Receiver>,
        echo: &mut Option<EchoPort>,
    ) -> Poll<()> {
        let now = Instant::now();
        receivers.retain(|(hops, family, _), receiver| {
            let most = self.allowance.left(now).min(BATCH);
            let sessions = &mut *self.sessions;
            let read = receiver.poll_read(cx, most, |arrival| {
                sessions.handle(now, Input::Arrived(*arrival));
            });
            let port = socket::port(*hops);
            self.note(read, &format!("UDP port {port} for {family}"))
        });
        if let Some(port) = echo {
            let most = self.allowance.left(now).min(BATCH);
            let sessions = &mut *self.sessions;
            let read = port.poll_read(cx, most, |packet| {
                if let Some(echo) = Echo::parse(packet) {
                    sessions.handle(now, Input::EchoReturned(echo));
                }
            });
            if !self.note(read, "the echo port") {
                *echo = None;
            }
        }
        match self.has_read {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Whether the socket is any good; one that is not is opened anew when the host is looked at.
    fn note(&mut self, read: io::Result<usize>, what: &str) -> bool {
        match read {
            Ok(count) => {
                self.allowance.take(count);
                self.has_read |= count > 0;
                true
            }
            Err(error) => {
                tracing::warn!(
                    what,
                    error = &error as &dyn std::error::Error,
                    "bfd socket failed, opening it again"
                );
                false
            }
        }
    }
}

/// How often addresses, neighbours and what could not be opened are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// How often the hardware address of a neighbour is looked up.
const LOOK_AT_NEIGHBOUR: Duration = Duration::from_secs(1);
/// How soon a socket to send from is opened again.
const RETRY_SENDER: Duration = Duration::from_secs(1);
/// Time between two tellings of what was counted.
const PUBLISH: Duration = Duration::from_millis(500);
/// Packets read from one port before the others get their turn.
const BATCH: usize = 64;
/// The task looks up at least so often.
const IDLE: Duration = Duration::from_secs(3600);
/// How often it is said that a session is taken down.
const FAREWELLS: usize = 3;
/// Stopping takes no longer.
const STOP_BOUND: Duration = Duration::from_millis(500);
