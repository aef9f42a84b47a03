//! What a speaker in a cluster has besides: somebody may ask how it is doing.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ferrolb_crds::serve::{Pages, Pulse, Server};
use kube::Client;

use super::Cluster;
use super::source::Batch;
use crate::bgp::SessionStatus;
use crate::layer2::Counters;
use crate::metrics::{self, Announced, Snapshot};
use crate::plan::AddressPlan;

/// The part of a speaker that only a cluster needs.
pub(super) struct ClusterLink {
    pulse: Pulse,
    known: Arc<Mutex<Known>>,
    _servers: Vec<Server>,
}

/// What the page of metrics is made of.
#[derive(Default)]
struct Known {
    snapshot: Snapshot,
    counters: Option<Counters>,
}

impl ClusterLink {
    /// Begins to serve.
    pub(super) fn start(node: &str, settings: &Cluster, _client: Option<Client>) -> Self {
        let pulse = Pulse::begin();
        let known = Known {
            snapshot: Snapshot {
                node: node.to_owned(),
                ..Snapshot::default()
            },
            counters: None,
        };
        let known = Arc::new(Mutex::new(known));
        Self {
            _servers: serve(settings, &pulse, &known),
            pulse,
            known,
        }
    }

    /// The loop turns; it is to turn again at the time returned.
    pub(super) fn beat(&self) -> Instant {
        self.pulse.beat();
        Instant::now() + Pulse::INTERVAL
    }

    /// Everything present has been read.
    pub(super) fn set_ready(&self) {
        self.pulse.set_ready(true);
        self.note(|known| known.snapshot.source.is_loaded = true);
    }

    /// The source has brought this.
    pub(super) fn note_batch(&self, batch: &Batch) {
        self.note(|known| {
            let source = &mut known.snapshot.source;
            source.updates += batch.changes.len() as u64;
            if let Some(problems) = &batch.problems {
                source.is_stale = !problems.is_empty();
                source.errors += u64::from(source.is_stale);
            }
        });
    }

    /// The plan of an address is this one.
    pub(super) fn note_address(&self, address: IpAddr, plan: Option<&AddressPlan>) {
        self.note(|known| {
            let announced = &mut known.snapshot.announced;
            match plan.and_then(Announced::of) {
                Some(fate) => announced.insert(address, fate),
                None => announced.remove(&address),
            };
        });
    }

    /// The sessions stand like this.
    pub(super) fn note_sessions(&self, sessions: BTreeMap<SocketAddr, SessionStatus>) {
        self.note(|known| known.snapshot.sessions = sessions);
    }

    /// Layer 2 counts here.
    pub(super) fn note_counters(&self, counters: Option<Counters>) {
        self.note(|known| known.counters = counters);
    }

    fn note(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn serve(settings: &Cluster, pulse: &Pulse, known: &Arc<Mutex<Known>>) -> Vec<Server> {
    let health = Pages {
        pulse: Some(pulse.clone()),
        metrics: None,
    };
    let known = Arc::clone(known);
    let page = move || {
        let known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = known.counters.as_ref().map(Counters::read);
        metrics::render(&known.snapshot, &counts.unwrap_or_default())
    };
    let metrics = Pages {
        metrics: Some(Arc::new(page)),
        pulse: None,
    };
    let health = settings.health.map(|at| Server::start(at, health));
    let metrics = settings.metrics.map(|at| Server::start(at, metrics));
    health.into_iter().chain(metrics).collect()
}
