//! What a station says to the other nodes, and how often it says it for the last time.

use std::time::{Duration, Instant};

use ferrolb_crds::model::Secret;

use crate::layer2::Settings;
use crate::layer2::claims::{Digest, Message};
use crate::layer2::heartbeat::{Authenticator, Flags, Heartbeat};

/// What our heartbeats are made from.
#[derive(Debug, Clone)]
pub(super) struct Voice {
    node: String,
    pub(super) authenticator: Authenticator,
    /// Until when a former key is good.
    former_until: Option<Instant>,
    incarnation: u64,
    sequence: u64,
    rng: fastrand::Rng,
}

impl Voice {
    pub(super) fn new(settings: &Settings, incarnation: u64) -> Self {
        Self {
            node: settings.node.clone(),
            authenticator: Authenticator::new(settings.key.as_ref()),
            former_until: None,
            incarnation,
            sequence: 0,
            rng: fastrand::Rng::with_seed(incarnation),
        }
    }

    /// Goes over to another key; the former one is good until every node has had the time to do the
    /// same.
    pub(super) fn rekey(&mut self, now: Instant, secret: &Secret) {
        self.authenticator.rotate(secret);
        self.former_until = Some(now + ROTATION);
    }

    /// When the former key ends.
    pub(super) fn former_until(&self) -> Option<Instant> {
        self.former_until
    }

    /// Ends the former key if it is time.
    pub(super) fn retire(&mut self, now: Instant) {
        if self.former_until.is_some_and(|until| until <= now) {
            self.former_until = None;
            self.authenticator.retire();
        }
    }

    /// Whether it is of the latest packets, so that it is no recording.
    pub(super) fn has_said_lately(&self, sequence: u64) -> bool {
        sequence <= self.sequence && sequence + LATELY > self.sequence
    }

    pub(super) fn speak(&mut self, interface: &str, interval: Duration, saying: Saying) -> Vec<u8> {
        self.sequence += 1;
        Heartbeat {
            flags: saying.flags,
            incarnation: self.incarnation,
            sequence: self.sequence,
            nonce: saying.nonce,
            interval,
            held: saying.held,
            node: self.node.clone(),
            interface: interface.to_owned(),
            claims: saying.claims,
        }
        .emit(&self.authenticator)
    }

    /// How long to be silent after a heartbeat: jitter keeps the nodes of a segment from beating
    /// in step.
    pub(super) fn pause(&mut self, interval: Duration) -> Duration {
        interval.mul_f64(0.9 + 0.1 * self.rng.f64())
    }
}

/// Packets that are sent within a few seconds.
const LATELY: u64 = 128;

/// What a heartbeat is to say.
#[derive(Debug, Default)]
pub(super) struct Saying {
    pub(super) flags: Flags,
    pub(super) nonce: u64,
    pub(super) held: Digest,
    pub(super) claims: Message,
}

impl From<Message> for Saying {
    fn from(claims: Message) -> Self {
        Self {
            claims,
            ..Self::default()
        }
    }
}

/// So many last heartbeats are still to be sent, the next one then: one could be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Farewell {
    left: u8,
    next: Instant,
}

impl Farewell {
    pub(super) fn begin(now: Instant) -> Self {
        Self {
            left: FAREWELLS,
            next: now,
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        (self.left > 0).then_some(self.next)
    }

    /// True if one is due, which is taken to be sent.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if self.due().is_none_or(|at| now < at) {
            return false;
        }
        self.left -= 1;
        self.next = now + FAREWELL;
        true
    }
}

/// How long a former key is good: the kubelet may take two minutes to bring a changed Secret into a
/// file, and who copies files from node to node is not faster.
pub(super) const ROTATION: Duration = Duration::from_secs(300);

/// How often the others are told that this node leaves, or holds nothing any more.
const FAREWELLS: u8 = 3;

/// Time between two farewells.
const FAREWELL: Duration = Duration::from_millis(5);
