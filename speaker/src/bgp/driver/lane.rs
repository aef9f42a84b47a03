//! One TCP connection of a session, and what it has not been sent yet.

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;

use super::super::Settings;
use super::super::connection::Endpoint;
use super::super::peer::Slot;
use super::super::socket::{self, ConnectError};
use super::{Event, READ_SIZE};

/// A connection with its outbox.
pub(super) struct Lane {
    pub(super) link: Link,
    /// What the peer has not been sent yet.
    pub(super) outbox: Vec<u8>,
    /// Our end of the connection, and when it was looked at last.
    seen: Option<(Endpoint, Instant)>,
}

/// The TCP connection.
pub(super) enum Link {
    Down,
    Dialing(Dialing),
    Up(TcpStream),
    /// Nothing is expected of it any more, but what was written should arrive.
    Closing(Closing),
}

type Dialing = Pin<Box<dyn Future<Output = Result<TcpStream, ConnectError>> + Send>>;
type Closing = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Lane {
    pub(super) fn down() -> Self {
        Self {
            link: Link::Down,
            outbox: Vec::new(),
            seen: None,
        }
    }

    pub(super) fn up(stream: TcpStream, now: Instant, endpoint: Endpoint) -> Self {
        Self {
            link: Link::Up(stream),
            outbox: Vec::new(),
            seen: Some((endpoint, now)),
        }
    }

    pub(super) fn dial(
        &mut self,
        connect: impl Future<Output = Result<TcpStream, ConnectError>> + Send + 'static,
    ) {
        self.outbox.clear();
        self.link = match std::mem::replace(&mut self.link, Link::Down) {
            // What was written last says why the session ended.
            Link::Closing(closing) => Link::Dialing(Box::pin(async move {
                closing.await;
                connect.await
            })),
            Link::Down | Link::Dialing(_) | Link::Up(_) => Link::Dialing(Box::pin(connect)),
        };
    }

    pub(super) fn close(&mut self) {
        let outbox = std::mem::take(&mut self.outbox);
        self.link = match std::mem::replace(&mut self.link, Link::Down) {
            Link::Up(stream) => Link::Closing(Box::pin(linger(stream, outbox))),
            Link::Closing(closing) => Link::Closing(closing),
            Link::Down | Link::Dialing(_) => Link::Down,
        };
    }

    pub(super) async fn event(&mut self, slot: Slot) -> Event {
        let wants_write = !self.outbox.is_empty();
        match &mut self.link {
            Link::Down => pending().await,
            Link::Dialing(dialing) => Event::Dialed(dialing.await),
            Link::Up(stream) => {
                let interest = if wants_write {
                    Interest::READABLE | Interest::WRITABLE
                } else {
                    Interest::READABLE
                };
                Event::Ready(slot, stream.ready(interest).await.map(|_| ()))
            }
            Link::Closing(closing) => {
                closing.await;
                Event::Closed
            }
        }
    }

    /// How much was read; `None`: there is nothing at present.
    pub(super) fn read(&self, octets: &mut [u8]) -> io::Result<Option<usize>> {
        let Link::Up(stream) = &self.link else {
            return Ok(None);
        };
        match stream.try_read(octets) {
            Ok(size) => Ok(Some(size)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes what can be written, and says how much that was.
    pub(super) fn write(&mut self) -> usize {
        let Link::Up(stream) = &self.link else {
            return 0;
        };
        socket::write_from(stream, &mut self.outbox)
    }

    /// When our end is to be looked at again.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.seen.as_ref().map(|(_, at)| *at + LOOK)
    }

    /// Looks at our end again, if it is time, and says if it has changed: an address that comes or goes
    /// may be a next hop.
    pub(super) fn look(&mut self, now: Instant, settings: &Settings) -> Option<Endpoint> {
        let Link::Up(stream) = &self.link else {
            self.seen = None;
            return None;
        };
        let (endpoint, at) = self.seen.as_mut().filter(|(_, at)| now >= *at + LOOK)?;
        *at = now;
        // What cannot be read now is read the next time.
        let present = socket::endpoint(stream, settings).ok();
        let changed = present.filter(|present| present != endpoint)?;
        endpoint.clone_from(&changed);
        Some(changed)
    }
}

/// Sends the last words and waits for the peer to close: closing a socket with unread octets would
/// reset the connection, and the NOTIFICATION with it.
pub(super) async fn linger(mut stream: TcpStream, outbox: Vec<u8>) {
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

/// How often our end of a connection is looked at.
const LOOK: Duration = Duration::from_secs(5);
const LINGER_TIME: Duration = Duration::from_secs(1);
