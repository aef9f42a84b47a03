//! Where peers can dial: what they make is handed to their sessions, and everybody else is turned away.
//!
//! Nothing is read here, and nothing waits here: a connection is given to its session, which has room
//! for one, or closed.

#![expect(
    clippy::disallowed_methods,
    reason = "driver: reads the clock, starts the listener's task"
)]

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::super::socket;
use super::Door;

/// The peers that may dial: their addresses, each with the address that they have to dial, if it is
/// a certain one.
pub type Doors = BTreeMap<(IpAddr, Option<IpAddr>), Door>;

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Listener {
    doors: watch::Sender<Arc<Doors>>,
    _tasks: JoinSet<()>,
}

impl Listener {
    /// Listens on these addresses; where that fails it is tried again. Needs a tokio runtime.
    pub fn start(addresses: &[SocketAddr]) -> Self {
        let (doors, known) = watch::channel(Arc::default());
        let mut tasks = JoinSet::new();
        for address in addresses {
            let place = Place {
                address: *address,
                doors: known.clone(),
                strangers: Strangers::default(),
            };
            tasks.spawn(place.run());
        }
        Self {
            doors,
            _tasks: tasks,
        }
    }

    /// From now on these peers may dial.
    pub fn admit(&self, doors: Doors) {
        self.doors.send_replace(Arc::new(doors));
    }
}

/// One address that is listened on.
struct Place {
    address: SocketAddr,
    doors: watch::Receiver<Arc<Doors>>,
    strangers: Strangers,
}

impl Place {
    async fn run(mut self) {
        let mut is_told = false;
        loop {
            match socket::listen(self.address) {
                Ok(listener) => {
                    info!(address = %self.address, "listening for peers");
                    is_told = false;
                    let error = self.serve(&listener).await;
                    warn!(address = %self.address, %error, "listening for peers again");
                }
                Err(error) if !is_told => {
                    is_told = true;
                    let error = socket::in_words(&error);
                    warn!(address = %self.address, error, "not listening for peers, trying again");
                }
                Err(_) => {}
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Until listening fails.
    async fn serve(&mut self, listener: &TcpListener) -> io::Error {
        loop {
            match listener.accept().await {
                Ok((stream, from)) => self.receive(stream, from),
                // The peer has gone, or there are no descriptors: others may have better luck.
                Err(error) if is_passing(&error) => {}
                Err(error) => return error,
            }
            // Who dials all the time must not keep the sessions waiting.
            tokio::task::yield_now().await;
        }
    }

    fn receive(&mut self, stream: TcpStream, from: SocketAddr) {
        let peer = from.ip().to_canonical();
        let dialled = stream
            .local_addr()
            .map(|address| address.ip().to_canonical());
        let doors = self.doors.borrow().clone();
        let certain = dialled.ok().and_then(|own| doors.get(&(peer, Some(own))));
        match certain.or_else(|| doors.get(&(peer, None))) {
            Some(door) => door.knock(stream),
            None => self.strangers.note(Instant::now(), peer),
        }
    }
}

/// Who dialled and is no peer: one of them is named a minute, and how many there were.
#[derive(Debug, Default)]
struct Strangers {
    untold: u64,
    told: Option<Instant>,
}

impl Strangers {
    fn note(&mut self, now: Instant, address: IpAddr) {
        self.untold += 1;
        if self.told.is_none_or(|at| now >= at + SILENCE) {
            warn!(%address, count = self.untold, "connection of no peer closed");
            self.untold = 0;
            self.told = Some(now);
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// How long to wait before listening is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How long strangers are not spoken of again.
const SILENCE: Duration = Duration::from_secs(60);
