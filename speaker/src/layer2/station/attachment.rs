//! An interface, and how far a station has come with it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::Farewell;
use crate::layer2::claims::{Change, Holdings, Message, Standing, packets};
use crate::layer2::{Desired, Interfaces, LinkIndex};
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
    /// The interfaces that its frames pass, itself among them: where one is new, gone or not as it
    /// was, they may take another way, and switches are to learn it.
    pub path: BTreeMap<LinkIndex, Leg>,
}

/// An interface that frames pass, as far as their way depends on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Leg {
    /// Administratively up, with carrier.
    pub has_carrier: bool,
    /// How often carrier came or went: it may have been gone between two looks.
    pub carrier_changes: u32,
    /// The state of a bridge's port, as the bridge numbers them.
    pub port_state: Option<u8>,
    /// It is the port that a bond uses at present.
    pub is_active: bool,
}

/// An interface and what we do there.
#[derive(Debug, Clone)]
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
    /// What is answered for here.
    pub(super) owned: BTreeSet<IpAddr>,
    /// What of it is announced.
    pub(super) announced: BTreeSet<IpAddr>,
    /// What the others are told of it.
    pub(super) holdings: Holdings,
    /// What changed of it lately, to be said again with so many heartbeats.
    pub(super) news: (Vec<IpAddr>, u8),
    /// Who asked for all of it.
    pub(super) askers: BTreeSet<Mac>,
    /// When they may be told.
    pub(super) tells_at: Instant,
    pub(super) next_beat: Option<Instant>,
    /// The others are still to be told that nothing is held here any more.
    pub(super) farewell: Option<Farewell>,
}

impl Attachment {
    /// Nothing is known of it yet but what it is.
    pub(super) fn new(now: Instant, link: Link) -> Self {
        Self {
            link,
            problem: None,
            was_usable: false,
            listens_since: None,
            is_settled: false,
            is_shared: false,
            owned: BTreeSet::new(),
            announced: BTreeSet::new(),
            holdings: Holdings::default(),
            news: (Vec::new(), 0),
            askers: BTreeSet::new(),
            tells_at: now,
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

    /// Takes what is to be said of this interface, and gives the messages that say what changed.
    pub(super) fn claim(&mut self, wanted: &BTreeMap<IpAddr, Standing>) -> Vec<Message> {
        let changes = self.holdings.replace_with(wanted);
        let pieces = packets(&changes, |(address, _)| *address);
        // A loss among many is found by the digest.
        if let [only] = pieces.as_slice() {
            let addresses = only.iter().map(|(address, _)| *address);
            self.news = (addresses.collect(), REPEATS);
        }
        let messages = pieces
            .into_iter()
            .map(|piece| Message::Changes(piece.to_vec()));
        messages.collect()
    }

    /// What a heartbeat that is due anyway tells.
    pub(super) fn retell(&mut self) -> Message {
        let (addresses, left) = &mut self.news;
        *left = left.saturating_sub(1);
        if addresses.is_empty() {
            return Message::Nothing;
        }
        let changes: Vec<Change> = addresses
            .iter()
            .map(|address| (*address, self.holdings.get(*address)))
            .collect();
        if *left == 0 {
            addresses.clear();
        }
        Message::Changes(changes)
    }

    /// When those who asked may be told.
    pub(super) fn tells_at(&self) -> Option<Instant> {
        (!self.askers.is_empty()).then_some(self.tells_at)
    }

    pub(super) fn settles_at(&self, listen_time: Duration) -> Option<Instant> {
        let since = self.listens_since.filter(|_| !self.is_settled)?;
        Some(since + listen_time)
    }
}

/// How often what changed is said again.
const REPEATS: u8 = 2;

impl Link {
    pub(super) fn ipv4(&self) -> Option<Ipv4Addr> {
        self.addresses.iter().find_map(|net| match net {
            IpNet::V4(net) => Some(net.addr()),
            IpNet::V6(_) => None,
        })
    }
}

impl Interfaces {
    pub(super) fn contains(&self, name: &str) -> bool {
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

    /// What is probed on an interface.
    pub(super) fn probed_on(&self, name: &str) -> impl Iterator<Item = IpAddr> {
        let probed = self.probed.iter();
        let here = probed.filter(move |(_, interfaces)| interfaces.contains(name));
        here.map(|(address, _)| *address)
    }

    /// Whether somebody else is to take the address.
    pub(super) fn offers(&self, address: IpAddr) -> bool {
        self.offered.contains(&address) && !self.owned.contains_key(&address)
    }

    pub(super) fn beats_on(&self, name: &str) -> bool {
        self.heartbeat
            .as_ref()
            .is_some_and(|interfaces| interfaces.contains(name))
    }
}
