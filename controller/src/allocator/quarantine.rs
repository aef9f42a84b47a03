//! Released addresses rest for a while, so that stale neighbour and DNS caches do not lead to a new
//! owner.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use ferrolb_crds::model::ServiceKey;

/// The addresses that rest, and whose they were.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    resting: BTreeMap<IpAddr, (Instant, ServiceKey)>,
    by_end: BTreeSet<(Instant, IpAddr)>,
    by_service: BTreeMap<ServiceKey, BTreeSet<IpAddr>>,
}

impl Quarantine {
    /// The address rests until then.
    pub(super) fn rest(&mut self, address: IpAddr, service: &ServiceKey, until: Instant) {
        self.wake(address);
        self.resting.insert(address, (until, service.clone()));
        self.by_end.insert((until, address));
        let addresses = self.by_service.entry(service.clone()).or_default();
        addresses.insert(address);
    }

    /// The address no longer rests.
    pub(super) fn wake(&mut self, address: IpAddr) {
        let Some((until, service)) = self.resting.remove(&address) else {
            return;
        };
        self.by_end.remove(&(until, address));
        if let Some(addresses) = self.by_service.get_mut(&service) {
            addresses.remove(&address);
            if addresses.is_empty() {
                self.by_service.remove(&service);
            }
        }
    }

    /// Takes out one address whose rest is over.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<IpAddr> {
        let (until, address) = *self.by_end.first()?;
        if now < until {
            return None;
        }
        self.wake(address);
        Some(address)
    }

    /// What the Service released, ascending.
    pub(super) fn of(&self, service: &ServiceKey) -> impl Iterator<Item = IpAddr> {
        self.by_service.get(service).into_iter().flatten().copied()
    }

    /// All that rest.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.resting.keys().copied()
    }
}
