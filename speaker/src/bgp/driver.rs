//! One task per session: the sockets, the clock, and nothing to decide.
//!
//! ```text
//!   announce ──▶ news ─┐                     ┌─▶ TCP, main
//!   stop ──────────────┼─▶ Driver ◀─▶ Peer   ├─▶ TCP, contender
//!   door ─▶ accepted ──┤     └────────────────┘
//!   TCP readable, ─────┤
//!   writable, deadline ┘     └─▶ watch ──▶ status
//! ```
//!
//! Reading and writing never wait for each other: what cannot be written stays in the outbox, which
//! no UPDATE enters once it is full.

#![expect(
    clippy::disallowed_methods,
    reason = "driver: reads the clock, starts the session's task"
)]

mod lane;
mod listener;
mod news;
#[cfg(test)]
mod tests;

use std::future::pending;
use std::io;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tracing::Instrument;

use self::lane::{Lane, Link, linger};
pub use self::listener::{Doors, Guest, Listener};
use self::news::News;
use super::connection::Reason;
use super::peer::{Input, Output, Peer, Slot};
use super::socket::{self, ConnectError};
use super::{Changed, Farewell, Live, Routes, SessionState, SessionStatus, Settings};

/// A session that runs until it is stopped. Dropping it stops it too, without waiting.
#[derive(Debug)]
pub struct Session {
    news: Arc<News>,
    live: watch::Sender<Live>,
    status: watch::Receiver<SessionStatus>,
    path: watch::Sender<()>,
    stop: oneshot::Sender<Farewell>,
    door: Door,
    task: JoinHandle<()>,
}

/// Where a session takes connections that its peer has made.
#[derive(Debug, Clone)]
pub struct Door(mpsc::Sender<TcpStream>);

impl Door {
    /// Hands a connection over; it is closed if the one before has not been looked at yet.
    pub fn knock(&self, stream: TcpStream) {
        if self.0.try_send(stream).is_err() {
            tracing::debug!("connection not looked at");
        }
    }
}

impl Session {
    /// Starts to dial, and to announce these routes. Needs a tokio runtime.
    pub fn start(settings: Settings, routes: Arc<Routes>) -> Self {
        let news = Arc::new(News::default());
        let (live, changes) = watch::channel(settings.live());
        let (stop, stopped) = oneshot::channel();
        let (path, failures) = watch::channel(());
        let (door, accepted) = mpsc::channel(1);
        let span = tracing::info_span!("peer", peer = %settings.name, address = %settings.neighbor);
        let arriving = Arc::clone(&news);
        let (driver, status) = Driver::new(settings, routes, arriving, changes, accepted);
        let task = tokio::spawn(driver.run(stopped, failures).instrument(span));
        Self {
            news,
            live,
            status,
            path,
            stop,
            door: Door(door),
            task,
        }
    }

    /// Changes what can be changed while it runs.
    pub fn change(&self, live: Live) {
        self.live.send_replace(live);
    }

    /// Says what has become of some routes that the peer should hold.
    pub fn announce(&self, changed: Arc<Changed>) {
        self.news.put(changed);
    }

    /// How it stands, for as long as the session runs and after.
    pub fn status(&self) -> watch::Receiver<SessionStatus> {
        self.status.clone()
    }

    /// Whom to tell when the path to the peer has failed: what connection there is then ends at once.
    pub fn path(&self) -> watch::Sender<()> {
        self.path.clone()
    }

    /// Where it takes connections that its peer has made.
    pub fn door(&self) -> Door {
        self.door.clone()
    }

    /// Ends the session as that farewell wants it. Takes a second and a half at most, however the
    /// peer behaves.
    pub async fn stop(self, farewell: Farewell) {
        let mut task = self.task;
        // It may have ended: then there is nobody to tell.
        self.stop.send(farewell).ok();
        if tokio::time::timeout(STOP_TIME, &mut task).await.is_err() {
            task.abort();
        }
    }
}

struct Driver {
    settings: Settings,
    peer: Peer,
    main: Lane,
    contender: Lane,
    /// What the peer has dialled, until the machine has said what becomes of it.
    dialled: Option<TcpStream>,
    /// Connections of which nothing is expected but that what was said last arrives.
    lingering: JoinSet<()>,
    accepted: mpsc::Receiver<TcpStream>,
    news: Arc<News>,
    live: watch::Receiver<Live>,
    status: watch::Sender<SessionStatus>,
    since: SystemTime,
    /// Failures an operator has been told of since the session was last established.
    logged: Vec<Reason>,
}

/// What the driver waits for.
enum Event {
    Dialed(Result<TcpStream, ConnectError>),
    Accepted(TcpStream),
    /// The connection can be read or written, or has an error.
    Ready(Slot, io::Result<()>),
    Closed,
    Lingered,
    Deadline,
    /// Some routes are others.
    News,
    BfdDown,
    Changed,
    Stop(Farewell),
}

impl Driver {
    fn new(
        settings: Settings,
        desired: Arc<Routes>,
        news: Arc<News>,
        live: watch::Receiver<Live>,
        accepted: mpsc::Receiver<TcpStream>,
    ) -> (Self, watch::Receiver<SessionStatus>) {
        let rng = fastrand::Rng::with_seed(fastrand::u64(..));
        let peer = Peer::new(settings.clone(), desired, rng);
        let since = SystemTime::now();
        let (status, watcher) = watch::channel(status(&peer, since));
        let driver = Self {
            settings,
            peer,
            main: Lane::down(),
            contender: Lane::down(),
            dialled: None,
            lingering: JoinSet::new(),
            accepted,
            news,
            live,
            status,
            since,
            logged: Vec::new(),
        };
        (driver, watcher)
    }

    async fn run(mut self, mut stop: oneshot::Receiver<Farewell>, mut path: watch::Receiver<()>) {
        let mut is_stopping = false;
        self.peer.handle(Instant::now(), Input::Start);
        loop {
            self.act();
            self.publish();
            if is_stopping && self.is_silent() {
                return;
            }
            let timeout = self.peer.poll_timeout().map(|(at, _)| at);
            let deadline = timeout.into_iter().chain(self.main.look_at()).min();
            let event = tokio::select! {
                biased;
                // Also when the session was dropped, which says nothing of a return.
                farewell = &mut stop, if !is_stopping => {
                    Event::Stop(farewell.unwrap_or(Farewell::Shutdown(String::new())))
                }
                // Who would say that it has failed may be gone.
                Ok(()) = path.changed() => Event::BfdDown,
                // It is not ready for long: it becomes the main one, or is closed.
                event = self.contender.event(Slot::Contender) => event,
                // What has arrived is read before the hold timer is judged.
                event = self.main.event(Slot::Main) => event,
                Some(stream) = self.accepted.recv() => Event::Accepted(stream),
                () = self.news.arrived() => Event::News,
                Ok(()) = self.live.changed() => Event::Changed,
                Some(_) = self.lingering.join_next() => Event::Lingered,
                () = until(deadline) => Event::Deadline,
            };
            is_stopping |= matches!(event, Event::Stop(_));
            self.handle(event);
            // A peer that never pauses must keep neither our KEEPALIVEs nor our routes back.
            self.peer.handle_timeout(Instant::now());
            self.take_news();
            let now = Instant::now();
            if let Some(endpoint) = self.main.look(now, &self.settings) {
                self.peer.handle(now, Input::Relocated(endpoint));
            }
            // A peer that never pauses must not keep the other sessions waiting.
            tokio::task::yield_now().await;
        }
    }

    fn is_silent(&self) -> bool {
        let lanes = [&self.main, &self.contender];
        lanes.iter().all(|lane| matches!(lane.link, Link::Down)) && self.lingering.is_empty()
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Dialed(dialed) => self.dialed(dialed),
            Event::Accepted(stream) => self.accept(stream),
            Event::Ready(slot, Ok(())) => self.read(slot),
            Event::Ready(slot, Err(error)) => self.fail(slot, socket::in_words(&error)),
            Event::Closed => self.main.link = Link::Down,
            // They are taken after every event, as timers are looked at.
            Event::News | Event::Deadline | Event::Lingered => {}
            Event::BfdDown => self.peer.handle(Instant::now(), Input::BfdDown),
            Event::Changed => self.change(),
            Event::Stop(farewell) => self.peer.handle(Instant::now(), Input::Stop(farewell)),
        }
    }

    fn dialed(&mut self, dialed: Result<TcpStream, ConnectError>) {
        let stream = match dialed {
            Ok(stream) => stream,
            Err(error) => return self.fail(Slot::Main, error.to_string()),
        };
        match socket::endpoint(&stream, &self.settings) {
            Ok(endpoint) => {
                let now = Instant::now();
                self.main = Lane::up(stream, now, endpoint.clone());
                self.peer.handle(now, Input::Connected(endpoint));
            }
            Err(error) => self.fail(
                Slot::Main,
                format!(
                    "failed to read the addresses of the host: {}",
                    socket::in_words(&error)
                ),
            ),
        }
    }

    fn accept(&mut self, stream: TcpStream) {
        let endpoint = socket::prepare_accepted(&stream, &self.settings)
            .and_then(|()| socket::endpoint(&stream, &self.settings));
        match endpoint {
            Ok(endpoint) => {
                self.dialled = Some(stream);
                self.peer.handle(Instant::now(), Input::Accepted(endpoint));
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "connection of the peer not taken");
            }
        }
    }

    /// Takes over what does not end the session.
    fn change(&mut self) {
        let live = self.live.borrow_and_update().clone();
        self.settings = self.settings.with(live.clone());
        let adjusted = match &self.main.link {
            Link::Up(stream) => socket::adjust(stream, &self.settings),
            Link::Down | Link::Closing(_) | Link::Dialing(_) => Ok(()),
        };
        // Who is to wait from now on does not dial once more.
        if matches!(self.main.link, Link::Dialing(_)) && !self.settings.passive {
            self.perform(Output::Connect);
        }
        self.peer.handle(Instant::now(), Input::Adjusted(live));
        if let Err(error) = adjusted {
            self.fail(Slot::Main, error.to_string());
        }
        if let Link::Up(stream) = &self.contender.link
            && let Err(error) = socket::adjust(stream, &self.settings)
        {
            self.fail(Slot::Contender, error.to_string());
        }
    }

    fn take_news(&mut self) {
        let changed = self.news.take();
        if !changed.is_empty() {
            self.peer.handle(Instant::now(), Input::Changed(changed));
        }
    }

    fn lane(&mut self, slot: Slot) -> &mut Lane {
        match slot {
            Slot::Main => &mut self.main,
            Slot::Contender => &mut self.contender,
        }
    }

    fn fail(&mut self, slot: Slot, error: String) {
        *self.lane(slot) = Lane::down();
        self.peer.handle(Instant::now(), Input::Failed(slot, error));
    }

    /// Reads once; there is more only if the next wait says so.
    fn read(&mut self, slot: Slot) {
        let mut octets = [0; READ_SIZE];
        match self.lane(slot).read(&mut octets) {
            Ok(Some(0)) => self.fail(slot, "connection closed by the peer".to_owned()),
            Ok(Some(size)) => {
                let received = Input::Received(slot, &octets[..size]);
                self.peer.handle(Instant::now(), received);
            }
            Ok(None) => {}
            Err(error) => self.fail(slot, socket::in_words(&error)),
        }
    }

    /// Does everything that can be done without waiting.
    fn act(&mut self) {
        loop {
            while let Some(output) = self.peer.poll() {
                self.perform(output);
            }
            self.fill();
            let is_through = self.flush(Slot::Main) | self.flush(Slot::Contender);
            if !is_through {
                return;
            }
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Connect => self.main.dial(socket::connect(self.settings.clone())),
            Output::Accept => {
                if let Some(stream) = self.dialled.take()
                    && let Ok(endpoint) = socket::endpoint(&stream, &self.settings)
                {
                    self.contender = Lane::up(stream, Instant::now(), endpoint);
                }
            }
            Output::Refuse(octets) => {
                if let Some(stream) = self.dialled.take() {
                    self.let_go(linger(stream, octets));
                }
            }
            Output::Promote => {
                let contender = mem::replace(&mut self.contender, Lane::down());
                let former = mem::replace(&mut self.main, contender);
                if let Link::Closing(closing) = former.link {
                    self.let_go(closing);
                }
            }
            Output::Send(slot, octets) => self.lane(slot).outbox.extend(octets),
            Output::Close(Slot::Main) => self.main.close(),
            Output::Close(Slot::Contender) => {
                let contender = mem::replace(&mut self.contender, Lane::down());
                if let Link::Up(stream) = contender.link {
                    self.let_go(linger(stream, contender.outbox));
                }
            }
            Output::StateChanged { from, to, reason } => {
                self.since = SystemTime::now();
                self.guard();
                self.log(from, to, reason);
            }
        }
    }

    /// Nothing is expected of a connection any more. A peer that makes one after the other does not
    /// get to hear what was wrong with each.
    fn let_go(&mut self, closing: impl Future<Output = ()> + Send + 'static) {
        if self.lingering.len() < LINGERING {
            self.lingering.spawn(closing.in_current_span());
        }
    }

    /// Takes UPDATEs while there is room for them.
    fn fill(&mut self) {
        while self.main.outbox.len() < OUTBOX_SIZE
            && let Some(update) = self.peer.poll_update(Instant::now())
        {
            self.main.outbox.extend(update);
        }
    }

    /// Writes what can be written; true when that was all, and there may be more to fetch.
    fn flush(&mut self, slot: Slot) -> bool {
        let lane = self.lane(slot);
        if !matches!(lane.link, Link::Up(_)) {
            return false;
        }
        let written = lane.write();
        let is_empty = lane.outbox.is_empty();
        let now = Instant::now();
        if written > 0 {
            self.peer.handle(now, Input::SendResumed(slot));
        }
        if !is_empty {
            self.peer.handle(now, Input::SendBlocked(slot));
        }
        written > 0 && is_empty
    }

    /// The send hold timer sees what the kernel does not take; the kernel sees the rest.
    fn guard(&self) {
        let Link::Up(stream) = &self.main.link else {
            return;
        };
        let Some(hold_time) = self.peer.hold_time().and_then(|time| time.duration()) else {
            return;
        };
        if let Err(error) = socket::set_user_timeout(stream, hold_time) {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "no TCP user timeout"
            );
        }
    }

    fn publish(&self) {
        let status = status(&self.peer, self.since);
        self.status.send_if_modified(|published| {
            let is_news = *published != status;
            *published = status;
            is_news
        });
    }

    /// An operator wants to know of sessions that come and go, and once why one does not come.
    fn log(&mut self, from: SessionState, to: SessionState, reason: Reason) {
        if from == SessionState::Established || to == SessionState::Established {
            tracing::info!(?from, ?to, %reason, "session state changed");
            self.logged.clear();
            return;
        }
        let is_known = self.logged.contains(&reason) || self.logged.len() >= LOGGED_REASONS;
        if reason.is_failure() && !is_known {
            tracing::warn!(?from, ?to, %reason, "session does not come up");
            self.logged.push(reason);
        } else {
            tracing::debug!(?from, ?to, %reason, "session state changed");
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => pending().await,
    }
}

fn status(peer: &Peer, since: SystemTime) -> SessionStatus {
    SessionStatus {
        state: peer.state(),
        since,
        last_error: peer.last_error(),
        prefixes: peer.prefixes(),
        desired: peer.desired(),
        updates_sent: peer.updates_sent(),
        messages: peer.messages(),
        hold_time: peer.hold_time(),
        families: peer.families(),
        capabilities: peer.capabilities(),
        local_address: peer.local_address(),
        established: peer.established(),
        ended: peer.ended(),
    }
}

const READ_SIZE: usize = 16 * 1024;
/// How much may wait to be written before no more UPDATEs are composed.
const OUTBOX_SIZE: usize = 64 * 1024;
/// How many different failures are worth a warning each.
const LOGGED_REASONS: usize = 8;
/// How many connections of a peer may wait to be closed.
const LINGERING: usize = 8;
const STOP_TIME: Duration = Duration::from_millis(1500);
