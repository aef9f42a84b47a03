//! The BGP sessions that run: started, stopped and restarted as the plan wants them, and each only
//! when its settings differ in what it cannot change as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ferrolb_crds::model::Port;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tracing::{error, info};

use crate::bfd::SessionKey;
use crate::bgp::{
    Authentication, Change, Changed, Doors, Farewell, Guest, Listener, Routes, Session,
    SessionState, SessionStatus, Settings, Transport,
};
use crate::metrics::Peer;

/// The sessions by peer.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    running: BTreeMap<String, Running>,
    /// A session that is stopping must be gone before another between the same two ends is started,
    /// whatever its name: the peer would see two.
    stopping: JoinSet<Ends>,
    awaited: BTreeSet<Ends>,
    news: Arc<Notify>,
    /// `None`: peers cannot dial.
    listener: Option<Listener>,
}

#[derive(Debug)]
struct Running {
    settings: Settings,
    session: Session,
    status: watch::Receiver<SessionStatus>,
    /// Where it hears that the path has failed, if it does.
    path: Option<Path>,
}

/// Tells one session what BFD says, until it is dropped.
#[derive(Debug)]
struct Path {
    of: SessionKey,
    task: JoinHandle<()>,
}

impl Drop for Path {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    /// Changes to other settings, if it can as it is.
    fn adopt(&mut self, wanted: &Settings) -> bool {
        match self.settings.change_to(wanted) {
            Change::None => return true,
            Change::Live(live) if self.status.borrow().state == SessionState::Established => {
                self.session.change(live);
            }
            // There is nothing to preserve, and a new one does not wait before it tries.
            Change::Live(_) | Change::Reset => return false,
        }
        self.settings = wanted.clone();
        info!(peer = %wanted.name, "session goes on with other settings");
        true
    }
}

impl Sessions {
    /// None yet; peers can dial these addresses.
    pub(super) fn new(listen: &[SocketAddr]) -> Self {
        Self {
            listener: (!listen.is_empty()).then(|| Listener::start(listen)),
            ..Self::default()
        }
    }

    /// Makes the sessions those wanted; `routes` are all that one is to begin with.
    pub(super) fn want(
        &mut self,
        wanted: BTreeMap<String, Settings>,
        mut routes: impl FnMut(&str) -> Arc<Routes>,
    ) {
        let mut running = self.running.iter();
        let mut has_changed =
            running.any(|(peer, running)| wanted.get(peer) != Some(&running.settings));
        let running = self.running.iter_mut();
        let unwanted: Vec<String> = running
            .filter_map(|(peer, running)| {
                let stays = wanted.get(peer).is_some_and(|wanted| running.adopt(wanted));
                (!stays).then(|| peer.clone())
            })
            .collect();
        let all: BTreeSet<Ends> = wanted.values().map(ends).collect();
        for peer in &unwanted {
            let is_to_return = |running: &Running| all.contains(&ends(&running.settings));
            let farewell = match self.running.get(peer).is_some_and(is_to_return) {
                true => Farewell::Reconfigured,
                false => Farewell::Deconfigured,
            };
            self.end(peer, farewell);
        }
        for (peer, settings) in wanted {
            if !self.awaited.contains(&ends(&settings)) {
                has_changed |= self.keep(&peer, settings, &mut routes);
            }
        }
        if has_changed {
            self.admit();
        }
    }

    /// Has peers let in at the sessions that run. Of several with the same ends the first by name has
    /// what is dialled. A socket that listens is no VRF's, and its keys of TCP-AO could not be changed.
    fn admit(&self) {
        let Some(listener) = &self.listener else {
            return;
        };
        let mut doors = Doors::new();
        for Running {
            settings, session, ..
        } in self.running.values()
        {
            if !may_dial(settings) {
                continue;
            }
            let ends = (settings.neighbor, settings.source_address);
            doors.entry(ends).or_insert_with(|| Guest {
                door: session.door(),
                settings: settings.clone(),
            });
        }
        listener.admit(doors);
    }

    /// True when it was not running.
    fn keep(
        &mut self,
        peer: &str,
        settings: Settings,
        mut routes: impl FnMut(&str) -> Arc<Routes>,
    ) -> bool {
        if self.running.contains_key(peer) {
            return false;
        }
        info!(peer, address = %settings.neighbor, "session started");
        let session = Session::start(settings.clone(), routes(peer));
        let status = session.status();
        self.forward(status.clone());
        let running = Running {
            settings,
            session,
            status,
            path: None,
        };
        self.running.insert(peer.to_owned(), running);
        true
    }

    /// Whether some are still saying goodbye.
    pub(super) fn is_stopping(&self) -> bool {
        !self.stopping.is_empty()
    }

    /// Ends those that run, and lets nobody dial.
    pub(super) fn end_all(&mut self, farewell: &Farewell) {
        if self.running.is_empty() {
            return;
        }
        for peer in self.running.keys().cloned().collect::<Vec<_>>() {
            self.end(&peer, farewell.clone());
        }
        self.admit();
    }

    fn end(&mut self, peer: &str, farewell: Farewell) {
        if let Some(running) = self.running.remove(peer) {
            info!(peer, "session stopped");
            let ends = ends(&running.settings);
            self.awaited.insert(ends.clone());
            self.stopping.spawn(async move {
                running.session.stop(farewell).await;
                ends
            });
        }
    }

    /// Has each session hear when its path fails. A BFD session that a peer gets or loses is no reason to
    /// end the BGP session.
    pub(super) fn watch_paths(
        &mut self,
        keys: &BTreeMap<String, SessionKey>,
        failures: impl Fn(&SessionKey) -> Option<watch::Receiver<u64>>,
    ) {
        for (peer, running) in &mut self.running {
            let key = keys.get(peer);
            let present = running
                .path
                .as_ref()
                .filter(|path| !path.task.is_finished());
            if present.map(|path| &path.of) == key {
                continue;
            }
            running.path = key.and_then(|key| {
                let (mut failures, session) = (failures(key)?, running.session.path());
                let task = tokio::spawn(async move {
                    while failures.changed().await.is_ok() {
                        session.send_replace(());
                    }
                });
                Some(Path {
                    of: key.clone(),
                    task,
                })
            });
        }
    }

    /// Turns the news of many sessions into one thing to wait for; ends with the session.
    fn forward(&self, mut status: watch::Receiver<SessionStatus>) {
        let news = Arc::clone(&self.news);
        tokio::spawn(async move {
            while status.changed().await.is_ok() {
                news.notify_one();
            }
        });
    }

    /// Whether there is a session with this peer that is not being stopped.
    pub(super) fn is_running(&self, peer: &str) -> bool {
        self.running.contains_key(peer)
    }

    /// Whether that is up.
    pub(super) fn is_established(&self, peer: &str) -> bool {
        let running = self.running.get(peer);
        running.is_some_and(|running| running.status.borrow().state == SessionState::Established)
    }

    /// Whether there is any session that is not being stopped.
    pub(super) fn is_any(&self) -> bool {
        !self.running.is_empty()
    }

    /// Tells those that run what has become of some routes; one that was just started may know.
    pub(super) fn tell(&self, changed: &BTreeMap<&str, Arc<Changed>>) {
        for (peer, running) in &self.running {
            if let Some(changed) = changed.get(peer.as_str()) {
                running.session.announce(Arc::clone(changed));
            }
        }
    }

    /// Waits until some session has news. Cancel-safe.
    pub(super) fn news(&self) -> impl Future<Output = ()> + use<> {
        let news = Arc::clone(&self.news);
        async move { news.notified().await }
    }

    /// Waits until a session that was told to stop has stopped. Cancel-safe.
    pub(super) async fn stopped(&mut self) {
        match self.stopping.join_next().await {
            Some(Ok(ends)) => {
                self.awaited.remove(&ends);
            }
            Some(Err(error)) => error!(%error, "session did not stop"),
            None => std::future::pending().await,
        }
        if self.stopping.is_empty() {
            self.awaited.clear();
        }
    }

    /// How they all stand.
    pub(super) fn statuses(&self) -> BTreeMap<String, SessionStatus> {
        let running = self.running.iter();
        running
            .map(|(peer, running)| (peer.clone(), self.status(running)))
            .collect()
    }

    /// How one stands. That nobody can begin it is no error of its own.
    fn status(&self, running: &Running) -> SessionStatus {
        let mut status = running.status.borrow().clone();
        let Running { settings, .. } = running;
        let is_awaited = settings.passive && status.state != SessionState::Established;
        if is_awaited && (self.listener.is_none() || !may_dial(settings)) {
            status.last_error = Some(SHUT_OUT.to_owned());
        }
        status
    }

    /// How they all stand, by the peer's address and port, and the VRF.
    pub(super) fn by_address(&self) -> BTreeMap<Peer, SessionStatus> {
        let running = self.running.values();
        running
            .map(|running| (end(&running.settings), running.status.borrow().clone()))
            .collect()
    }

    /// Stops them all, and listening.
    pub(super) async fn stop(&mut self, farewell: Farewell) {
        self.listener = None;
        self.end_all(&farewell);
        while let Some(stopped) = self.stopping.join_next().await {
            if let Err(error) = stopped {
                error!(%error, "session did not stop");
            }
        }
    }
}

/// The other end of a session: where it is reached, and by which VRF. What a link's own address is bound
/// to is no VRF but that link.
fn end(settings: &Settings) -> Peer {
    let (neighbor, port) = (settings.neighbor, settings.port);
    match (&settings.transport.device, neighbor) {
        (Some(device), IpAddr::V6(peer)) if peer.is_unicast_link_local() => Peer {
            host: format!("{peer}%{device}"),
            port: Some(port),
            vrf: None,
        },
        (device, _) => Peer {
            host: neighbor.to_string(),
            port: Some(port),
            vrf: device.clone(),
        },
    }
}

/// Why a session does not come up that is the peer's to begin.
const SHUT_OUT: &str = "the peer is to dial (bgp-passive), and cannot: give --bgp-listen; a peer with vrf, interface or bgp-tcp-ao is never let in";

/// Whether the peer can be let in.
fn may_dial(settings: &Settings) -> bool {
    let Transport {
        device,
        authentication,
        ..
    } = &settings.transport;
    device.is_none() && !matches!(authentication, Authentication::Ao(..))
}

/// What tells connections apart for the peer: its address and port, and the device and the address of
/// our end if they are set.
type Ends = (IpAddr, Port, Option<String>, Option<IpAddr>);

fn ends(settings: &Settings) -> Ends {
    let device = settings.transport.device.clone();
    (
        settings.neighbor,
        settings.port,
        device,
        settings.source_address,
    )
}

#[cfg(test)]
mod tests;
