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

use super::super::Settings;
use super::super::socket::{self, AuthenticationError};
use super::Door;

/// The peers that may dial: their addresses, each with the address that they have to dial, if it is
/// a certain one.
pub type Doors = BTreeMap<(IpAddr, Option<IpAddr>), Guest>;

/// A peer that may dial.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Who takes what it makes.
    pub door: Door,
    /// What is agreed on with it.
    pub settings: Settings,
}

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
        let mut keys = Keys::default();
        loop {
            let doors = Arc::clone(&self.doors.borrow_and_update());
            keys.follow(listener, self.address.is_ipv4(), &doors);
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Ok(()) = self.doors.changed() => continue,
            };
            match accepted {
                Ok((stream, from)) => self.receive(stream, from, &doors, &keys),
                // The peer has gone, or there are no descriptors: others may have better luck.
                Err(error) if is_passing(&error) => {}
                Err(error) => return error,
            }
            // Who dials all the time must not keep the sessions waiting.
            tokio::task::yield_now().await;
        }
    }

    /// Hands a connection to its session; not while a peer that is to sign could as well not.
    fn receive(&mut self, stream: TcpStream, from: SocketAddr, doors: &Doors, keys: &Keys) {
        let peer = from.ip().to_canonical();
        let dialled = stream
            .local_addr()
            .map(|address| address.ip().to_canonical());
        let certain = dialled.ok().and_then(|own| doors.get(&(peer, Some(own))));
        match certain.or_else(|| doors.get(&(peer, None))) {
            Some(guest) if keys.are_expected_of(peer) => guest.door.knock(stream),
            Some(_) => {}
            None => self.strangers.note(Instant::now(), peer),
        }
    }
}

/// Whose signatures a socket that listens expects. A peer without the right one is not heard at all.
#[derive(Debug, Default)]
struct Keys(BTreeMap<IpAddr, Expected>);

/// What one peer is to sign with, and whether the kernel sees to that.
#[derive(Debug)]
struct Expected {
    settings: Settings,
    is_in_force: bool,
}

impl Keys {
    /// Expects those of these peers, as far as they are of the socket's family, and of nobody else.
    fn follow(&mut self, listener: &TcpListener, is_v4: bool, doors: &Doors) {
        let mut wanted: BTreeMap<IpAddr, &Settings> = BTreeMap::new();
        for ((peer, _), guest) in doors {
            if peer.is_ipv4() == is_v4 {
                wanted.entry(*peer).or_insert(&guest.settings);
            }
        }
        self.0.retain(|peer, expected| {
            let is_wanted = wanted.contains_key(peer);
            if !is_wanted {
                let open = expected.settings.without_authentication();
                tell(&socket::rekey(listener, &open), &open.name);
            }
            is_wanted
        });
        for (peer, settings) in wanted {
            let authentication = &settings.transport.authentication;
            let present = self
                .0
                .get(&peer)
                .map(|expected| &expected.settings.transport);
            if present.map(|transport| &transport.authentication) == Some(authentication) {
                continue;
            }
            // A key takes the place of another, so that there is none without one.
            let outcome = socket::rekey(listener, settings);
            tell(&outcome, &settings.name);
            let expected = Expected {
                settings: settings.clone(),
                is_in_force: outcome.is_ok(),
            };
            self.0.insert(peer, expected);
        }
    }

    fn are_expected_of(&self, peer: IpAddr) -> bool {
        self.0
            .get(&peer)
            .is_some_and(|expected| expected.is_in_force)
    }
}

fn tell(outcome: &Result<(), AuthenticationError>, peer: &str) {
    if let Err(error) = outcome {
        warn!(peer, error = %error, "peer cannot dial");
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
