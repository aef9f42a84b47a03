//! What the controller tells over HTTP: whether it is well and ready, and its metrics.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ferrolb_crds::serve::{Pages as Served, Pulse, Server};
use ferrolb_crds::source::kubernetes::Batch;

use crate::metrics::{self, Snapshot};
use crate::reconcile::Reconciler;

/// What is told, while this lives.
pub(super) struct Pages {
    pulse: Pulse,
    known: Arc<Mutex<Snapshot>>,
    _servers: Vec<Server>,
}

impl Pages {
    /// Begins to answer: health on every address, metrics on loopback.
    pub(super) fn start(health: Option<NonZeroU16>, metrics: Option<NonZeroU16>) -> Self {
        let pulse = Pulse::begin();
        let known = Arc::<Mutex<Snapshot>>::default();
        let health = health.map(|port| {
            let pages = Served {
                metrics: None,
                pulse: Some(pulse.clone()),
            };
            Server::start(everywhere(port), pages)
        });
        let page = Arc::clone(&known);
        let metrics = metrics.map(|port| {
            let pages = Served {
                metrics: Some(Arc::new(move || metrics::render(&lock(&page)))),
                pulse: None,
            };
            Server::start((Ipv4Addr::LOCALHOST, port.get()).into(), pages)
        });
        Self {
            pulse,
            known,
            _servers: health.into_iter().chain(metrics).collect(),
        }
    }

    /// The loop turns.
    pub(super) fn beat(&self) {
        self.pulse.beat();
    }

    /// Everything present has been read; who stands by is ready, too: to take over.
    pub(super) fn set_ready(&self) {
        self.pulse.set_ready(true);
        lock(&self.known).is_loaded = true;
    }

    /// The source has brought this.
    pub(super) fn count(&self, batch: &Batch) {
        let mut known = lock(&self.known);
        known.updates += batch.changes.len() as u64;
        if let Some(problems) = &batch.problems {
            known.is_stale = !problems.is_empty();
            known.errors += u64::from(known.is_stale);
        }
    }

    /// The pools are as full as this; who does not decide knows nothing of that.
    pub(super) fn note_pools(&self, reconciler: Option<&Reconciler>) {
        let pools = reconciler.into_iter().flat_map(Reconciler::pools);
        let pools = pools.map(|(name, usage)| (name.to_owned(), usage));
        lock(&self.known).pools = pools.collect();
    }
}

fn lock(known: &Mutex<Snapshot>) -> MutexGuard<'_, Snapshot> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of both families, unless the kernel has only one.
fn everywhere(port: NonZeroU16) -> SocketAddr {
    let has_v6 = Path::new("/proc/net/if_inet6").exists();
    let address: IpAddr = match has_v6 {
        true => Ipv6Addr::UNSPECIFIED.into(),
        false => Ipv4Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(address, port.get())
}
