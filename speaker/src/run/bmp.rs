//! Monitoring stations as a part of the speaker: told which sessions there are, and what their peers
//! should hold.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use super::{Speaker, announced, translate};
use crate::bgp::{Changed, Established, Routes, SessionStatus};
use crate::bmp::{Down, Event, Export, Report, Up};

/// The export, if there is any station.
#[derive(Debug, Default)]
pub(super) struct BmpLink(Option<Running>);

#[derive(Debug)]
struct Running {
    export: Export,
    report: watch::Receiver<Report>,
    /// The sessions that the stations have been told of.
    told: BTreeMap<String, Arc<Established>>,
}

impl BmpLink {
    /// Begins to dial the stations, as this node.
    pub(super) fn start(stations: &BTreeSet<SocketAddr>, node: &str) -> Self {
        Self((!stations.is_empty()).then(|| {
            let export = Export::start(stations, node);
            Running {
                report: export.report(),
                export,
                told: BTreeMap::new(),
            }
        }))
    }

    /// Tells what has become of some routes.
    pub(super) fn tell(&self, changed: &BTreeMap<&str, Arc<Changed>>) {
        let Some(running) = &self.0 else {
            return;
        };
        for (peer, changed) in changed {
            if running.told.contains_key(*peer) {
                let changed = Event::Changed(Arc::clone(changed));
                running.export.tell(peer, &changed);
            }
        }
    }

    /// Waits until a station stands otherwise. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        if let Some(running) = &mut self.0
            && running.report.changed().await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }

    /// How the stations stand.
    pub(super) fn report(&self) -> Report {
        let running = self.0.as_ref();
        running.map_or_else(Report::new, |running| running.report.borrow().clone())
    }

    /// Says goodbye to them.
    pub(super) async fn stop(&mut self) {
        if let Some(running) = self.0.take() {
            running.export.stop().await;
        }
    }
}

impl Running {
    /// Tells what differs of the sessions; `routes` are all that the peer of one should hold.
    fn follow(
        &mut self,
        sessions: &BTreeMap<String, SessionStatus>,
        mut routes: impl FnMut(&str) -> Arc<Routes>,
    ) {
        for peer in self.told.keys() {
            if !sessions.contains_key(peer) {
                self.export.tell(peer, &Event::Down(Down::Deconfigured));
            }
        }
        self.told.retain(|peer, _| sessions.contains_key(peer));
        for (peer, status) in sessions {
            let told = self.told.get(peer);
            for event in events(told, status, || routes(peer)) {
                self.export.tell(peer, &event);
            }
            match &status.established {
                Some(established) => self.told.insert(peer.clone(), Arc::clone(established)),
                None => self.told.remove(peer),
            };
        }
    }
}

/// From what was told to what is.
fn events(
    told: Option<&Arc<Established>>,
    status: &SessionStatus,
    routes: impl FnOnce() -> Arc<Routes>,
) -> Vec<Event> {
    let down = || {
        Event::Down(match &status.ended {
            Some(ended) => Down::Ended(Arc::clone(ended)),
            None => Down::Deconfigured,
        })
    };
    let up = |established: &Arc<Established>| {
        Event::Up(Up {
            established: Arc::clone(established),
            since: status.since,
            routes: routes(),
        })
    };
    match (told, &status.established) {
        (None, None) => Vec::new(),
        (None, Some(new)) => vec![up(new)],
        (Some(_), None) => vec![down()],
        (Some(told), Some(new)) if Arc::ptr_eq(told, new) => Vec::new(),
        (Some(told), Some(new)) if told.since == new.since => {
            vec![Event::Relocated(Arc::clone(new))]
        }
        // One has ended and another begun since the sessions were looked at.
        (Some(_), Some(new)) => vec![down(), up(new)],
    }
}

impl Speaker {
    /// Tells the stations, if there are any, of sessions that come and go.
    pub(super) fn tell_stations(&mut self) {
        if let Some(running) = &mut self.bmp.0 {
            let sessions = self.sessions.statuses();
            let (plan, hand_off) = (&self.plan, &self.hand_off);
            // One at a time: it is seldom that several come up at once.
            running.follow(&sessions, |peer| {
                let addresses = || announced(plan.each(), hand_off);
                let tables = translate::tables([&peer.to_owned()].into_iter(), addresses)
                    .into_values()
                    .next();
                tables.unwrap_or_default()
            });
        }
    }
}

#[cfg(test)]
mod tests;
