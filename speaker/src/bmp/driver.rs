//! One task per station: the socket, the clock, and nothing to decide.
//!
//! ```text
//!   tell ──▶ mailbox ─┐
//!   stop ─────────────┼─▶ Driver ◀─▶ Station
//!   TCP readable, ────┤     └─▶ TCP, watch ──▶ status
//!   writable, deadline┘
//! ```
//!
//! What cannot be written stays in the outbox, which no message enters once it is full. What a station
//! says is read and dropped: it has nothing to say (RFC 7854 §3.2).

#![expect(
    clippy::disallowed_methods,
    reason = "driver: reads the clock, starts the stations' tasks"
)]

mod mailbox;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use self::mailbox::Mailbox;
use super::station::{Input, Output, Station};
use super::{Event, Report, Standing};
use crate::bgp::{in_words, write_from};

/// The stations, until they are stopped. Dropping it stops them too, without a word.
#[derive(Debug)]
pub struct Export {
    mailboxes: Vec<Arc<Mailbox>>,
    report: watch::Receiver<Report>,
    stop: watch::Sender<()>,
    tasks: JoinSet<()>,
}

impl Export {
    /// Starts to dial these, as this node. Needs a tokio runtime.
    pub fn start(stations: &BTreeSet<SocketAddr>, node: &str) -> Self {
        let standing = Standing {
            is_connected: false,
            since: SystemTime::now(),
            last_error: None,
        };
        let begin = |address: &SocketAddr| (*address, standing.clone());
        let (reporter, report) = watch::channel(stations.iter().map(begin).collect());
        let (stop, stopped) = watch::channel(());
        let (mut mailboxes, mut tasks) = (Vec::new(), JoinSet::new());
        for address in stations {
            let mailbox = Arc::new(Mailbox::default());
            let rng = fastrand::Rng::with_seed(fastrand::u64(..));
            let driver = Driver {
                address: *address,
                station: Station::new(node.to_owned(), rng),
                link: Link::Down,
                outbox: Vec::new(),
                mailbox: Arc::clone(&mailbox),
                report: reporter.clone(),
                is_told: false,
            };
            mailboxes.push(mailbox);
            tasks.spawn(driver.run(stopped.clone()));
        }
        Self {
            mailboxes,
            report,
            stop,
            tasks,
        }
    }

    /// Tells all of them what has become of the session with a peer.
    pub fn tell(&self, peer: &str, event: &Event) {
        for mailbox in &self.mailboxes {
            mailbox.put(peer, event.clone());
        }
    }

    /// How they stand.
    pub fn report(&self) -> watch::Receiver<Report> {
        self.report.clone()
    }

    /// Says goodbye. Takes a second at most, however the stations behave.
    pub async fn stop(self) {
        let Self {
            stop, mut tasks, ..
        } = self;
        drop(stop);
        while tasks.join_next().await.is_some() {}
    }
}

struct Driver {
    address: SocketAddr,
    station: Station,
    link: Link,
    /// What the station has not been sent yet.
    outbox: Vec<u8>,
    mailbox: Arc<Mailbox>,
    report: watch::Sender<Report>,
    /// An operator knows that there is no connection.
    is_told: bool,
}

/// The TCP connection.
enum Link {
    Down,
    Dialing(Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>),
    Up(TcpStream),
}

/// What the driver waits for.
enum Happening {
    Dialed(io::Result<TcpStream>),
    /// The connection can be read or written, or has an error.
    Ready(io::Result<()>),
    /// Of the sessions.
    News,
    Deadline,
}

impl Driver {
    async fn run(mut self, mut stop: watch::Receiver<()>) {
        self.station.handle(Instant::now(), Input::Start);
        loop {
            self.act();
            self.publish();
            let deadline = self.station.poll_timeout().map(|(at, _)| at);
            let has_more = !self.outbox.is_empty();
            let happening = tokio::select! {
                biased;
                _ = stop.changed() => return self.leave().await,
                happening = self.link.next(has_more) => happening,
                () = self.mailbox.arrived() => Happening::News,
                () = until(deadline) => Happening::Deadline,
            };
            self.handle(happening);
            // They are taken after every event: a station that never pauses must not keep them back.
            self.take_news();
            self.station.handle_timeout(Instant::now());
            // A station that never pauses must not keep the sessions waiting.
            tokio::task::yield_now().await;
        }
    }

    fn handle(&mut self, happening: Happening) {
        match happening {
            Happening::Dialed(Ok(stream)) => {
                prepare(&stream);
                self.link = Link::Up(stream);
                self.station.handle(Instant::now(), Input::Connected);
                self.is_told = false;
                info!(station = %self.address, "bmp station connected");
            }
            Happening::Dialed(Err(error)) | Happening::Ready(Err(error)) => {
                self.fail(in_words(&error));
            }
            Happening::Ready(Ok(())) => self.read(),
            Happening::News | Happening::Deadline => {}
        }
    }

    fn take_news(&mut self) {
        let now = Instant::now();
        for (peer, event) in self.mailbox.take() {
            self.station.handle(now, Input::Session(peer, event));
        }
    }

    fn fail(&mut self, error: String) {
        self.station.handle(Instant::now(), Input::Failed(error));
    }

    /// Reads once; there is more only if the next wait says so.
    fn read(&mut self) {
        let Link::Up(stream) = &self.link else {
            return;
        };
        match stream.try_read(&mut [0; READ_SIZE]) {
            Ok(0) => self.fail("connection closed by the station".to_owned()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.fail(in_words(&error)),
        }
    }

    /// Does everything that can be done without waiting.
    fn act(&mut self) {
        loop {
            while let Some(output) = self.station.poll() {
                self.perform(output);
            }
            while self.outbox.len() < OUTBOX_SIZE
                && let Some(message) = self.station.poll_message(SystemTime::now())
            {
                self.outbox.extend(message);
            }
            // There may be more to fetch when all that was written.
            if !self.write() || !self.outbox.is_empty() {
                return;
            }
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Connect => {
                self.link = Link::Dialing(Box::pin(TcpStream::connect(self.address)));
            }
            Output::Close => {
                self.link = Link::Down;
                self.outbox.clear();
                self.complain();
            }
        }
    }

    /// Once is enough: it is tried again until it works.
    fn complain(&mut self) {
        let (station, error) = (self.address, self.station.last_error().unwrap_or_default());
        if self.is_told {
            debug!(%station, error, "bmp station not connected");
        } else {
            warn!(%station, error, "bmp station not connected, trying again");
            self.is_told = true;
        }
    }

    /// Writes what can be written; true if that was anything.
    fn write(&mut self) -> bool {
        let Link::Up(stream) = &self.link else {
            return false;
        };
        write_from(stream, &mut self.outbox) > 0
    }

    fn publish(&self) {
        let (station, address) = (&self.station, self.address);
        self.report.send_if_modified(|report| {
            let Some(standing) = report.get_mut(&address) else {
                return false;
            };
            let has_turned = standing.is_connected != station.is_connected();
            if has_turned {
                standing.is_connected = station.is_connected();
                standing.since = SystemTime::now();
            }
            let has_failed = standing.last_error.as_deref() != station.last_error();
            if has_failed {
                standing.last_error = station.last_error().map(str::to_owned);
            }
            has_turned || has_failed
        });
    }

    /// The station is to know that nothing follows; what it was to be told before may have to wait for
    /// ever.
    async fn leave(mut self) {
        let (Some(farewell), Link::Up(stream)) = (self.station.farewell(), self.link) else {
            return;
        };
        self.outbox.extend(farewell);
        let outcome = tokio::time::timeout(LINGER_TIME, last_words(stream, &self.outbox)).await;
        if !matches!(outcome, Ok(Ok(()))) {
            debug!(station = %self.address, "bmp station not told of the end");
        }
    }
}

impl Link {
    async fn next(&mut self, has_more: bool) -> Happening {
        match self {
            Self::Down => pending().await,
            Self::Dialing(dialing) => Happening::Dialed(dialing.await),
            Self::Up(stream) => {
                let interest = match has_more {
                    true => Interest::READABLE | Interest::WRITABLE,
                    false => Interest::READABLE,
                };
                Happening::Ready(stream.ready(interest).await.map(|_| ()))
            }
        }
    }
}

/// A station that is gone without a word is noticed also when there is nothing to tell it, and one that reads
/// nothing is dialled anew. What waits in
/// the kernel is not replaced by what is newer, so that little may wait there.
fn prepare(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    let prepared = stream
        .set_nodelay(true)
        .and_then(|()| socket.set_send_buffer_size(OUTBOX_SIZE))
        .and_then(|()| socket.set_tcp_keepalive(&keepalive))
        .and_then(|()| socket.set_tcp_user_timeout(Some(DEAF_TIME)));
    if let Err(error) = prepared {
        debug!(
            error = &error as &dyn std::error::Error,
            "bmp connection not prepared"
        );
    }
}

/// Closing a socket with unread octets would reset the connection, and what was said last with it.
async fn last_words(mut stream: TcpStream, words: &[u8]) -> io::Result<()> {
    stream.write_all(words).await?;
    stream.shutdown().await?;
    let mut octets = [0; READ_SIZE];
    while stream.read(&mut octets).await? > 0 {}
    Ok(())
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => pending().await,
    }
}

const READ_SIZE: usize = 4096;
/// How much may wait to be written before no more messages are composed.
const OUTBOX_SIZE: usize = 64 * 1024;
/// How long a station may take nothing of what it is sent.
const DEAF_TIME: Duration = Duration::from_secs(120);
const LINGER_TIME: Duration = Duration::from_secs(1);
