//! One task per session: the socket, the clock, and nothing to decide.
//!
//! ```text
//!   announce ──▶ watch ─┐                    ┌─▶ TCP
//!   stop ──────────────┼─▶ Driver ◀─▶ Peer   │
//!   TCP readable, ─────┤     └────────────────┘
//!   writable, deadline ┘     └─▶ watch ──▶ status
//! ```
//!
//! Reading and writing never wait for each other: what cannot be written stays in the outbox, which
//! no UPDATE enters once it is full.

#![expect(
    clippy::disallowed_methods,
    reason = "driver: reads the clock, starts the session's task"
)]

#[cfg(test)]
mod tests;

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::connection::{Endpoint, Reason};
use super::peer::{Input, Output, Peer};
use super::socket::{self, ConnectError};
use super::{Live, Routes, SessionState, SessionStatus, Settings};

/// A session that runs until it is stopped. Dropping it stops it too, without waiting.
#[derive(Debug)]
pub struct Session {
    routes: watch::Sender<Arc<Routes>>,
    live: watch::Sender<Live>,
    status: watch::Receiver<SessionStatus>,
    path: watch::Sender<()>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Session {
    /// Starts to dial, and to announce these routes. Needs a tokio runtime.
    pub fn start(settings: Settings, routes: Arc<Routes>) -> Self {
        let (routes, desired) = watch::channel(routes);
        let (live, changes) = watch::channel(settings.live());
        let (stop, stopped) = oneshot::channel();
        let (path, failures) = watch::channel(());
        let span = tracing::info_span!("peer", peer = %settings.name, address = %settings.neighbor);
        let (driver, status) = Driver::new(settings, desired, changes);
        let task = tokio::spawn(driver.run(stopped, failures).instrument(span));
        Self {
            routes,
            live,
            status,
            path,
            stop,
            task,
        }
    }

    /// Changes what can be changed while it runs.
    pub fn change(&self, live: Live) {
        self.live.send_replace(live);
    }

    /// Replaces the routes that the peer should hold.
    pub fn announce(&self, routes: Arc<Routes>) {
        self.routes.send_replace(routes);
    }

    /// How it stands, for as long as the session runs and after.
    pub fn status(&self) -> watch::Receiver<SessionStatus> {
        self.status.clone()
    }

    /// Whom to tell when the path to the peer has failed: what connection there is then ends at once.
    pub fn path(&self) -> watch::Sender<()> {
        self.path.clone()
    }

    /// Ends the session: Cease to the peer, which withdraws everything, then the connection. Takes
    /// a second and a half at most, however the peer behaves.
    pub async fn stop(self) {
        let mut task = self.task;
        // It may have ended: then there is nobody to tell.
        self.stop.send(()).ok();
        if tokio::time::timeout(STOP_TIME, &mut task).await.is_err() {
            task.abort();
        }
    }
}

struct Driver {
    settings: Settings,
    peer: Peer,
    link: Link,
    /// Our end of the connection, and when it was looked at last.
    seen: Option<(Endpoint, Instant)>,
    /// What the peer has not been sent yet.
    outbox: Vec<u8>,
    routes: watch::Receiver<Arc<Routes>>,
    live: watch::Receiver<Live>,
    status: watch::Sender<SessionStatus>,
    since: SystemTime,
    /// Failures an operator has been told of since the session was last established.
    logged: Vec<Reason>,
}

/// The TCP connection.
enum Link {
    Down,
    Dialing(Dialing),
    Up(TcpStream),
    /// Nothing is expected of it any more, but what was written should arrive.
    Closing(Closing),
}

type Dialing = Pin<Box<dyn Future<Output = Result<TcpStream, ConnectError>> + Send>>;
type Closing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the driver waits for.
enum Event {
    Dialed(Result<TcpStream, ConnectError>),
    /// The connection can be read or written, or has an error.
    Ready(io::Result<()>),
    Closed,
    Deadline,
    Routes,
    BfdDown,
    Changed,
    Stop,
}

impl Driver {
    fn new(
        settings: Settings,
        mut routes: watch::Receiver<Arc<Routes>>,
        live: watch::Receiver<Live>,
    ) -> (Self, watch::Receiver<SessionStatus>) {
        let desired = Arc::clone(&routes.borrow_and_update());
        let rng = fastrand::Rng::with_seed(fastrand::u64(..));
        let peer = Peer::new(settings.clone(), desired, rng);
        let since = SystemTime::now();
        let (status, watcher) = watch::channel(status(&peer, since));
        let driver = Self {
            settings,
            peer,
            link: Link::Down,
            seen: None,
            outbox: Vec::new(),
            routes,
            live,
            status,
            since,
            logged: Vec::new(),
        };
        (driver, watcher)
    }

    async fn run(mut self, mut stop: oneshot::Receiver<()>, mut path: watch::Receiver<()>) {
        let mut is_stopping = false;
        self.peer.handle(Instant::now(), Input::Start);
        loop {
            self.act();
            self.publish();
            if is_stopping && matches!(self.link, Link::Down) {
                return;
            }
            let look_at = self.seen.as_ref().map(|(_, at)| *at + LOOK);
            let timeout = self.peer.poll_timeout().map(|(at, _)| at);
            let deadline = timeout.into_iter().chain(look_at).min();
            let wants_write = !self.outbox.is_empty();
            let event = tokio::select! {
                biased;
                // Also when the session was dropped.
                _ = &mut stop, if !is_stopping => Event::Stop,
                // Who would say that it has failed may be gone.
                Ok(()) = path.changed() => Event::BfdDown,
                // What has arrived is read before the hold timer is judged.
                event = self.link.event(wants_write) => event,
                Ok(()) = self.routes.changed() => {
                    self.routes.mark_changed();
                    Event::Routes
                }
                Ok(()) = self.live.changed() => Event::Changed,
                () = until(deadline) => Event::Deadline,
            };
            is_stopping |= matches!(event, Event::Stop);
            self.handle(event);
            // A peer that never pauses must keep neither our KEEPALIVEs nor our routes back.
            self.peer.handle_timeout(Instant::now());
            self.take_routes();
            self.look();
            // A peer that never pauses must not keep the other sessions waiting.
            tokio::task::yield_now().await;
        }
    }

    fn handle(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::Dialed(dialed) => self.dialed(dialed),
            Event::Ready(Ok(())) => self.read(),
            Event::Ready(Err(error)) => self.fail(socket::in_words(&error)),
            Event::Closed => self.link = Link::Down,
            // They are taken after every event, as timers are looked at.
            Event::Routes | Event::Deadline => {}
            Event::BfdDown => self.peer.handle(now, Input::BfdDown),
            Event::Changed => self.change(),
            Event::Stop => self.peer.handle(now, Input::Stop),
        }
    }

    fn dialed(&mut self, dialed: Result<TcpStream, ConnectError>) {
        let stream = match dialed {
            Ok(stream) => stream,
            Err(error) => return self.fail(error.to_string()),
        };
        match socket::endpoint(&stream, &self.settings) {
            Ok(endpoint) => {
                let now = Instant::now();
                self.link = Link::Up(stream);
                self.seen = Some((endpoint.clone(), now));
                self.peer.handle(now, Input::Connected(endpoint));
            }
            Err(error) => self.fail(format!(
                "failed to read the addresses of the host: {}",
                socket::in_words(&error)
            )),
        }
    }

    /// Takes over what does not end the session.
    fn change(&mut self) {
        let live = self.live.borrow_and_update().clone();
        self.settings = self.settings.with(live);
        match &self.link {
            Link::Up(stream) => match socket::rekey(stream, &self.settings) {
                Ok(()) => self.peer.handle(Instant::now(), Input::Rekeyed),
                Err(error) => self.fail(error.to_string()),
            },
            Link::Dialing(_) => self.perform(Output::Connect),
            Link::Down | Link::Closing(_) => {}
        }
    }

    fn take_routes(&mut self) {
        // An error means that there will be no others.
        if self.routes.has_changed().unwrap_or(false) {
            let routes = Arc::clone(&self.routes.borrow_and_update());
            self.peer.handle(Instant::now(), Input::Routes(routes));
        }
    }

    /// Looks at our end again: an address that comes or goes may be a next hop.
    fn look(&mut self) {
        let now = Instant::now();
        let Link::Up(stream) = &self.link else {
            self.seen = None;
            return;
        };
        let Some((endpoint, at)) = &mut self.seen else {
            return;
        };
        if now < *at + LOOK {
            return;
        }
        *at = now;
        // What cannot be read now is read the next time.
        if let Ok(present) = socket::endpoint(stream, &self.settings)
            && present != *endpoint
        {
            endpoint.clone_from(&present);
            self.peer.handle(now, Input::Relocated(present));
        }
    }

    fn fail(&mut self, error: String) {
        self.link = Link::Down;
        self.outbox.clear();
        self.peer.handle(Instant::now(), Input::Failed(error));
    }

    /// Reads once; there is more only if the next wait says so.
    fn read(&mut self) {
        let Link::Up(stream) = &self.link else {
            return;
        };
        let mut octets = [0; READ_SIZE];
        match stream.try_read(&mut octets) {
            Ok(0) => self.fail("connection closed by the peer".to_owned()),
            Ok(size) => {
                let received = Input::Received(&octets[..size]);
                self.peer.handle(Instant::now(), received);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.fail(socket::in_words(&error)),
        }
    }

    /// Does everything that can be done without waiting.
    fn act(&mut self) {
        loop {
            while let Some(output) = self.peer.poll() {
                self.perform(output);
            }
            self.fill();
            let is_through = self.flush();
            if !is_through {
                return;
            }
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Connect => {
                self.outbox.clear();
                let connect = socket::connect(self.settings.clone());
                self.link = match std::mem::replace(&mut self.link, Link::Down) {
                    // What was written last says why the session ended.
                    Link::Closing(closing) => Link::Dialing(Box::pin(async move {
                        closing.await;
                        connect.await
                    })),
                    Link::Down | Link::Dialing(_) | Link::Up(_) => Link::Dialing(Box::pin(connect)),
                };
            }
            Output::Send(octets) => self.outbox.extend(octets),
            Output::Close => self.close(),
            Output::StateChanged { from, to, reason } => {
                self.since = SystemTime::now();
                self.guard();
                self.log(from, to, reason);
            }
        }
    }

    fn close(&mut self) {
        let outbox = std::mem::take(&mut self.outbox);
        self.link = match std::mem::replace(&mut self.link, Link::Down) {
            Link::Up(stream) => Link::Closing(Box::pin(linger(stream, outbox))),
            Link::Closing(closing) => Link::Closing(closing),
            Link::Down | Link::Dialing(_) => Link::Down,
        };
    }

    /// Takes UPDATEs while there is room for them.
    fn fill(&mut self) {
        while self.outbox.len() < OUTBOX_SIZE
            && let Some(update) = self.peer.poll_update(Instant::now())
        {
            self.outbox.extend(update);
        }
    }

    /// Writes what can be written; true when that was all, and there may be more to fetch.
    fn flush(&mut self) -> bool {
        let Link::Up(stream) = &self.link else {
            return false;
        };
        let mut written = 0;
        while written < self.outbox.len() {
            match stream.try_write(&self.outbox[written..]) {
                Ok(size) => written += size,
                // Anything else is reported by the next read, after what the peer said last.
                Err(_) => break,
            }
        }
        self.outbox.drain(..written);
        let now = Instant::now();
        if written > 0 {
            self.peer.handle(now, Input::SendResumed);
        }
        if !self.outbox.is_empty() {
            self.peer.handle(now, Input::SendBlocked);
        }
        written > 0 && self.outbox.is_empty()
    }

    /// The send hold timer sees what the kernel does not take; the kernel sees the rest.
    fn guard(&self) {
        let Link::Up(stream) = &self.link else {
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

impl Link {
    async fn event(&mut self, wants_write: bool) -> Event {
        match self {
            Self::Down => pending().await,
            Self::Dialing(dialing) => Event::Dialed(dialing.await),
            Self::Up(stream) => {
                let interest = if wants_write {
                    Interest::READABLE | Interest::WRITABLE
                } else {
                    Interest::READABLE
                };
                Event::Ready(stream.ready(interest).await.map(|_| ()))
            }
            Self::Closing(closing) => {
                closing.await;
                Event::Closed
            }
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => pending().await,
    }
}

/// Sends the last words and waits for the peer to close: closing a socket with unread octets would
/// reset the connection, and the NOTIFICATION with it.
async fn linger(mut stream: TcpStream, outbox: Vec<u8>) {
    let last_words = async {
        stream.write_all(&outbox).await?;
        stream.shutdown().await?;
        let mut octets = [0; READ_SIZE];
        while stream.read(&mut octets).await? > 0 {}
        io::Result::Ok(())
    };
    match tokio::time::timeout(LINGER_TIME, last_words).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "connection not closed cleanly"
            );
        }
        Err(_) => tracing::debug!("connection not closed by the peer"),
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
        local_address: peer.local_address(),
    }
}

const READ_SIZE: usize = 16 * 1024;
/// How much may wait to be written before no more UPDATEs are composed.
const OUTBOX_SIZE: usize = 64 * 1024;
/// How many different failures are worth a warning each.
const LOGGED_REASONS: usize = 8;
/// How often our end of a connection is looked at.
const LOOK: Duration = Duration::from_secs(5);
const LINGER_TIME: Duration = Duration::from_secs(1);
const STOP_TIME: Duration = Duration::from_millis(1500);
