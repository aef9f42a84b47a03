//! When to say unasked that an address is here: a burst on taking over, then a low jittered rate.
//!
//! ```text
//! own ──▶ 0 ── 0.2 ── 1 ── 2 ── 4 s ──▶ every 60 s ± 20 %, for as long as it is owned
//! ```
//!
//! The burst is repeated because a lost frame would leave caches wrong; the low rate keeps
//! switches and routers from forgetting. Many addresses taken at once are spread: no more than
//! [`BATCH`] in [`PACE`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use crate::layer2::LinkIndex;
use crate::wire::ethernet::Mac;
use crate::wire::{arp, ndisc};

/// Addresses announced in one go.
pub const BATCH: usize = 32;

/// Least time between two goes.
pub const PACE: Duration = Duration::from_millis(5);

/// An address on an interface.
type Place = (LinkIndex, IpAddr);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The addresses that this node owns on an interface from now on.
    Own {
        /// Where.
        link: LinkIndex,
        /// Which; addresses that were owned before and are not named are lost.
        addresses: BTreeSet<IpAddr>,
    },
    /// What others know of this interface may be wrong: its hardware address changed, its carrier
    /// returned, or somebody held our addresses meanwhile.
    Refresh {
        /// Where.
        link: LinkIndex,
    },
    /// Somebody else said that this address is theirs.
    Defend {
        /// Where.
        link: LinkIndex,
        /// Which.
        address: IpAddr,
    },
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Send the [`frames`] for this address.
    Announce {
        /// Where.
        link: LinkIndex,
        /// Which.
        address: IpAddr,
    },
}

/// Schedules announcements.
///
/// After any `handle` or `handle_timeout`: `poll` until `None`, then ask for the next deadline.
#[derive(Debug)]
pub struct Announcer {
    rng: fastrand::Rng,
    schedules: BTreeMap<Place, Schedule>,
    due: BTreeSet<(Instant, Place)>,
    not_before: Instant,
    outputs: VecDeque<Output>,
}

#[derive(Debug, Clone, Copy)]
struct Schedule {
    began: Instant,
    step: usize,
    due: Instant,
    /// When somebody was last told that it is ours after all.
    defended: Option<Instant>,
}

impl Announcer {
    /// Owns nothing yet.
    pub fn new(now: Instant, seed: u64) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            schedules: BTreeMap::new(),
            due: BTreeSet::new(),
            not_before: now,
            outputs: VecDeque::new(),
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Own { link, addresses } => self.own(now, link, &addresses),
            Input::Refresh { link } => self.refresh(now, link),
            Input::Defend { link, address } => self.defend(now, (link, address)),
        }
    }

    /// The next thing to do.
    #[must_use]
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call `handle_timeout`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let (due, _) = self.due.first()?;
        Some(*due.max(&self.not_before))
    }

    /// Announces what is due, at most [`BATCH`] addresses.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now < self.not_before {
            return;
        }
        for _ in 0..BATCH {
            let Some((due, place)) = self.due.first().copied() else {
                return;
            };
            if due > now {
                return;
            }
            self.announce(now, place);
        }
        self.not_before = now + PACE;
    }

    fn own(&mut self, now: Instant, link: LinkIndex, addresses: &BTreeSet<IpAddr>) {
        let lost: Vec<Place> = self
            .places(link)
            .filter(|(_, address)| !addresses.contains(address))
            .collect();
        for place in lost {
            self.unschedule(place);
        }
        for address in addresses {
            let place = (link, *address);
            if !self.schedules.contains_key(&place) {
                self.schedule(place, Schedule::begin(now, now));
            }
        }
    }

    /// Starts the bursts again; one that has only just begun goes on.
    fn refresh(&mut self, now: Instant, link: LinkIndex) {
        let stale: Vec<Place> = self
            .places(link)
            .filter(|place| !self.has_just_begun(now, place))
            .collect();
        for place in stale {
            self.schedule(place, Schedule::begin(now, now + YIELD_FIRST));
        }
    }

    /// What is due anyway is said soon; once in a while at most, or two who defend the same address
    /// would never end (RFC 5227 §2.4).
    fn defend(&mut self, now: Instant, place: Place) {
        let Some(schedule) = self.schedules.get(&place).copied() else {
            return;
        };
        let has_defended = schedule
            .defended
            .is_some_and(|at| now < at + DEFEND_INTERVAL);
        if !has_defended {
            let defence = Schedule {
                due: schedule.due.min(now + YIELD_FIRST),
                defended: Some(now),
                ..schedule
            };
            self.schedule(place, defence);
        }
    }

    fn has_just_begun(&self, now: Instant, place: &Place) -> bool {
        self.schedules
            .get(place)
            .is_some_and(|schedule| now < schedule.began + JUST_BEGUN)
    }

    fn places(&self, link: LinkIndex) -> impl Iterator<Item = Place> {
        let all = (link, LOWEST)..;
        self.schedules
            .range(all)
            .map(|(place, _)| *place)
            .take_while(move |(of, _)| *of == link)
    }

    fn announce(&mut self, now: Instant, place: Place) {
        let Some(schedule) = self.schedules.get(&place).copied() else {
            return;
        };
        let (link, address) = place;
        self.outputs.push_back(Output::Announce { link, address });
        let wait = match BURST.get(schedule.step) {
            Some(wait) => *wait,
            None => REST.mul_f64(0.8 + 0.4 * self.rng.f64()),
        };
        let next = Schedule {
            began: schedule.began,
            step: schedule.step.saturating_add(1),
            due: now + wait,
            defended: schedule.defended,
        };
        self.schedule(place, next);
    }

    fn schedule(&mut self, place: Place, schedule: Schedule) {
        self.unschedule(place);
        self.due.insert((schedule.due, place));
        self.schedules.insert(place, schedule);
    }

    fn unschedule(&mut self, place: Place) {
        if let Some(old) = self.schedules.remove(&place) {
            self.due.remove(&(old.due, place));
        }
    }
}

impl Schedule {
    fn begin(began: Instant, due: Instant) -> Self {
        Self {
            began,
            step: 0,
            due,
            defended: None,
        }
    }
}

/// The frames that announce `address` at `mac`.
pub fn frames(address: IpAddr, mac: Mac) -> Vec<Vec<u8>> {
    match address {
        IpAddr::V4(address) => arp::announcements(address, mac).into(),
        IpAddr::V6(address) => vec![ndisc::announcement(address, mac)],
    }
}

/// Waits between the announcements of a burst: at 0, 0.2, 1, 2 and 4 seconds.
const BURST: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_millis(800),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// Mean wait after the burst.
const REST: Duration = Duration::from_secs(60);

/// On a refresh others are to stop announcing before we begin.
const YIELD_FIRST: Duration = Duration::from_millis(50);

/// Time between two defences of an address (RFC 5227 §1.1).
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

/// How long a burst is too young to begin again.
const JUST_BEGUN: Duration = Duration::from_millis(500);

/// No address sorts before it.
const LOWEST: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

#[cfg(test)]
mod tests;
