//! What this node held when it last ran: by its own file in the state directory, or its own reports to
//! the API server. Speakers that all start at once come back to that, and nothing moves.

use std::collections::BTreeSet;
use std::future::pending;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ferrolb_crds::model::ServiceKey;
use tokio::sync::watch;
use tracing::warn;

use super::{Origin, Settings, Speaker};
use crate::status::NodeFile;

/// What is known of it.
pub(super) enum Memory {
    /// These addresses were held.
    Addresses(BTreeSet<IpAddr>),
    /// These Services were announced, once that has been read.
    Services(watch::Receiver<Option<BTreeSet<ServiceKey>>>),
    /// It has been looked at.
    Spent,
}

impl Memory {
    /// From the file in the state directory.
    pub(super) fn of_file(settings: &Settings) -> Self {
        match &settings.origin {
            Origin::Manifests { state, .. } => {
                let last = NodeFile::last(state, &settings.identity.node);
                Self::Addresses(last.memory())
            }
            Origin::Cluster(_) => Self::Spent,
        }
    }

    /// Waits until there is something that has not been looked at.
    pub(super) async fn changed(&mut self) {
        let has_changed = match self {
            Self::Services(services) => services.changed().await.is_ok(),
            Self::Addresses(_) | Self::Spent => false,
        };
        if !has_changed {
            pending::<()>().await;
        }
    }
}

impl Speaker {
    /// Remembers what is known, if it is known; false: it is worth waiting for.
    pub(super) fn recall(&mut self, now: Instant) -> bool {
        let addresses: BTreeSet<IpAddr> = match &self.memory {
            Memory::Addresses(addresses) => addresses.clone(),
            Memory::Services(services) => match &*services.borrow() {
                Some(services) => {
                    let held = services.iter();
                    held.flat_map(|service| self.world.ingress_of(service))
                        .collect()
                }
                None if now < *self.recall_by.get_or_insert(now + PATIENCE) => return false,
                None => {
                    warn!("own reports not read: what this node held before is not known");
                    BTreeSet::new()
                }
            },
            Memory::Spent => BTreeSet::new(),
        };
        self.memory = Memory::Spent;
        self.recall_by = None;
        let known: BTreeSet<IpAddr> = self.world.addresses().collect();
        // Everything is about to be planned anyway.
        drop(self.world.remember(&addresses & &known));
        true
    }
}

/// How long announcing waits for it: the rest has been read from the same server.
const PATIENCE: Duration = Duration::from_secs(2);
