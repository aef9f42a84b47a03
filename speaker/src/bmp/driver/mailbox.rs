//! Where news wait for a station to take them.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::super::Event;
use super::super::news::News;

/// Of one station.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    waiting: Mutex<News>,
    arrived: Notify,
}

impl Mailbox {
    /// Adds what is newer.
    pub(super) fn put(&self, peer: &str, event: Event) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.put(peer, event);
        self.arrived.notify_one();
    }

    /// Takes everything.
    pub(super) fn take(&self) -> impl Iterator<Item = (String, Event)> + use<> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.take()
    }

    /// Waits until there may be something. Cancel-safe.
    pub(super) fn arrived(&self) -> impl Future<Output = ()> {
        self.arrived.notified()
    }
}
