//! An interface, and how far a station has come with it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::Farewell;
use crate::layer2::{Desired, Interfaces};
use crate::wire::ethernet::Mac;

/// A network interface fit for announcing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: Mac,
    /// Administratively up, with carrier.
    pub has_carrier: bool,
    /// Its addresses, in order.
    pub addresses: Vec<IpNet>,
}

/// An interface and what we do there.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) link: Link,
    pub(super) problem: Option<String>,
    was_usable: bool,
    /// Heartbeats go out here, and the others are listened to, since then.
    listens_since: Option<Instant>,
    /// It has listened for long enough.
    pub(super) is_settled: bool,
    /// Another speaker has been heard here. Remembered for as long as the interface exists: a cable
    /// pulled out and put in again leads to the same segment, perhaps a part of it without the other.
    pub(super) is_shared: bool,
    pub(super) owned: BTreeSet<IpAddr>,
    pub(super) next_beat: Option<Instant>,
    /// The others are still to be told that nothing is held here any more.
    pub(super) farewell: Option<Farewell>,
}

impl Attachment {
    /// Nothing is known of it yet but what it is.
    pub(super) fn new(link: Link) -> Self {
        Self {
            link,
            problem: None,
            was_usable: false,
            listens_since: None,
            is_settled: false,
            is_shared: false,
            owned: BTreeSet::new(),
            next_beat: None,
            farewell: None,
        }
    }

    pub(super) fn is_usable(&self) -> bool {
        self.link.has_carrier && self.problem.is_none()
    }

    /// Whether heartbeats go out here.
    pub(super) fn beats(&self) -> bool {
        self.listens_since.is_some()
    }

    /// Whether it is still listened to before anything is taken.
    pub(super) fn is_listening(&self) -> bool {
        self.beats() && !self.is_settled
    }

    /// Follows carrier and problem; true if the interface can be used no more.
    pub(super) fn note_usable(&mut self) -> bool {
        let is_usable = self.is_usable();
        self.farewell = self.farewell.filter(|_| is_usable);
        std::mem::replace(&mut self.was_usable, is_usable) && !is_usable
    }

    /// Sends heartbeats and listens from now on, or does neither; true if that is a change.
    ///
    /// Time without heartbeats does not count as listening: where nobody sent any, nobody was
    /// heard.
    pub(super) fn set_beats(&mut self, now: Instant, beats: bool) -> bool {
        if beats == self.beats() {
            return false;
        }
        let is_missed = self.is_settled && self.is_usable() && !beats;
        self.farewell = is_missed.then(|| Farewell::begin(now));
        self.listens_since = beats.then_some(now);
        self.is_settled = false;
        true
    }

    pub(super) fn settles_at(&self, listen_time: Duration) -> Option<Instant> {
        let since = self.listens_since.filter(|_| !self.is_settled)?;
        Some(since + listen_time)
    }
}

impl Link {
    pub(super) fn ipv4(&self) -> Option<Ipv4Addr> {
        self.addresses.iter().find_map(|net| match net {
            IpNet::V4(net) => Some(net.addr()),
            IpNet::V6(_) => None,
        })
    }
}

impl Interfaces {
    fn contains(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(name),
        }
    }
}

impl Desired {
    pub(super) fn owned_on(&self, name: &str) -> BTreeSet<IpAddr> {
        let here = self
            .owned
            .iter()
            .filter(|(_, interfaces)| interfaces.contains(name));
        here.map(|(address, _)| *address).collect()
    }

    pub(super) fn beats_on(&self, name: &str) -> bool {
        self.heartbeat
            .as_ref()
            .is_some_and(|interfaces| interfaces.contains(name))
    }
}
