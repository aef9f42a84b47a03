//! What is done while packets come in a flood.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ferrolb_crds::model::Family;

use super::super::filter;
use super::Driver;

impl Driver {
    /// More packets than all peers together send: those of strangers are dropped before they cost
    /// anything, and before they take the room of others.
    pub(super) fn note_flood(&mut self) {
        if self.allowance.refill().is_none() {
            return;
        }
        let is_new = self.guarded_until.is_none();
        self.guarded_until = Some(Instant::now() + CALM);
        if is_new {
            tracing::warn!("bfd packets come in a flood, dropping those of strangers");
            self.guard();
        }
    }

    /// Takes everybody's packets again once it has been calm for a while.
    pub(super) fn end_flood(&mut self, now: Instant) {
        match self.guarded_until {
            Some(until) if until <= now => {
                self.guarded_until = None;
                tracing::info!("bfd packets come in a flood no more");
                for receiver in self.receivers.values() {
                    // Without a program there is nothing to take away.
                    receiver.guard(None).ok();
                }
            }
            // There may be other peers by now.
            Some(_) => self.guard(),
            None => {}
        }
    }

    fn guard(&self) {
        for ((hops, family, _), receiver) in &self.receivers {
            let sessions = self.sessions.iter();
            let theirs = sessions.filter(|(.., theirs, _)| theirs == hops);
            let peers: BTreeSet<IpAddr> = theirs
                .map(|(key, ..)| key.peer)
                .filter(|peer| Family::of(*peer) == *family)
                .collect();
            let program = filter::senders(*hops, &peers);
            if let Err(error) = receiver.guard(program.as_deref()) {
                let error: &dyn std::error::Error = &error;
                tracing::debug!(error, "bfd packets not filtered");
            }
        }
    }
}

/// So long after the last sign of it a flood is over.
const CALM: Duration = Duration::from_secs(30);
