//! When to say unasked that an address is here: a burst on taking over, then a low jittered rate.
//!
//! ```text
//! own ──▶ 0 ── 0.2 ── 1 ── 2 ── 4 s ──▶ every 30 s ± 20 %, for as long as it is owned
//! ```
//!
//! The burst is repeated because a lost frame would leave caches wrong; the low rate keeps
//! switches and routers from forgetting. However many addresses are taken at once, no more than
//! [`FRAMES_A_SECOND`] are sent: first those of which nothing has been said yet, the latest taken
//! first, because somebody waits for them; then the rest of the bursts; then the low rate.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use crate::layer2::LinkIndex;
use crate::layer2::pace::Pace;
use crate::wire::ethernet::Mac;
use crate::wire::{arp, ndisc};

/// Frames sent in a second at most, over all interfaces.
pub const FRAMES_A_SECOND: u32 = 25_000;

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
    /// One more address that it owns.
    OwnMore {
        /// Where.
        link: LinkIndex,
        /// Which.
        address: IpAddr,
    },
    /// What others know of this interface may be wrong: its hardware address changed, its frames take
    /// another way, its carrier returned, or somebody held our addresses meanwhile.
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
#[derive(Debug, Clone)]
pub struct Announcer {
    rng: fastrand::Rng,
    /// Mean wait after the burst; `None`: after it nothing is said.
    rest: Option<Duration>,
    schedules: BTreeMap<Place, Schedule>,
    /// What is not due yet.
    waiting: BTreeSet<(Instant, Turn, Place)>,
    /// What is due, in order.
    due: BTreeSet<(Turn, Instant, Place)>,
    pace: Pace,
    outputs: VecDeque<Output>,
}

#[derive(Debug, Clone, Copy)]
struct Schedule {
    began: Instant,
    step: usize,
    turn: Turn,
    /// `None`: nothing more is to be said.
    due: Option<Instant>,
    /// When somebody was last told that it is ours after all.
    defended: Option<Instant>,
}

/// Which of those that are due goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// Others know nothing of it, or something wrong, since then: the latest first.
    First(Reverse<Instant>),
    /// It has been said, and is said again in case that was lost.
    Burst,
    /// It is only to be remembered.
    Rest,
}

impl Announcer {
    /// Owns nothing yet; `rest` is the mean wait after a burst, without which there is nothing after it.
    pub fn new(now: Instant, seed: u64, rest: Option<Duration>) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            rest,
            schedules: BTreeMap::new(),
            waiting: BTreeSet::new(),
            due: BTreeSet::new(),
            pace: Pace::new(now, PACE),
            outputs: VecDeque::new(),
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Own { link, addresses } => self.own(now, link, &addresses),
            Input::OwnMore { link, address } => self.begin(now, (link, address)),
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
        let open = self.pace.poll_timeout();
        if !self.due.is_empty() {
            return Some(open);
        }
        let (due, ..) = self.waiting.first()?;
        Some(*due.max(&open))
    }

    /// Announces what is due, as far as the pace allows, and a bounded number of addresses.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((due, turn, place)) = self.waiting.first().copied()
            && due <= now
        {
            self.waiting.pop_first();
            self.due.insert((turn, due, place));
        }
        for _ in 0..BATCH {
            if !self.pace.is_open(now) {
                return;
            }
            let Some((.., place)) = self.due.first().copied() else {
                return;
            };
            self.announce(now, place);
        }
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
            self.begin(now, (link, *address));
        }
    }

    fn begin(&mut self, now: Instant, place: Place) {
        if !self.schedules.contains_key(&place) {
            self.schedule(place, Schedule::begin(now, now));
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
            let soon = now + YIELD_FIRST;
            let defence = Schedule {
                turn: Turn::First(Reverse(now)),
                due: schedule.due.into_iter().chain([soon]).min(),
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
        self.pace.spend(now, frame_count(address));
        let step = schedule.step.saturating_add(1);
        let next = Schedule {
            step,
            turn: match step < ROUNDS {
                true => Turn::Burst,
                false => Turn::Rest,
            },
            due: self.wait_after(schedule.step).map(|wait| now + wait),
            ..schedule
        };
        self.schedule(place, next);
    }

    /// The wait after an announcement, counted from 0.
    fn wait_after(&mut self, step: usize) -> Option<Duration> {
        if let Some(wait) = BURST.get(step) {
            return Some(*wait);
        }
        let share = self.rng.f64();
        let share = match step < ROUNDS {
            // What was taken together is to part.
            true => 0.2 + share,
            false => 0.8 + 0.4 * share,
        };
        self.rest.map(|rest| rest.mul_f64(share))
    }

    fn schedule(&mut self, place: Place, schedule: Schedule) {
        self.unschedule(place);
        if let Some(due) = schedule.due {
            self.waiting.insert((due, schedule.turn, place));
        }
        self.schedules.insert(place, schedule);
    }

    fn unschedule(&mut self, place: Place) {
        if let Some(Schedule {
            turn,
            due: Some(due),
            ..
        }) = self.schedules.remove(&place)
            && !self.waiting.remove(&(due, turn, place))
        {
            self.due.remove(&(turn, due, place));
        }
    }
}

impl Schedule {
    fn begin(began: Instant, due: Instant) -> Self {
        Self {
            began,
            step: 0,
            turn: Turn::First(Reverse(began)),
            due: Some(due),
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

/// How many of them there are.
fn frame_count(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(_) => 2,
        IpAddr::V6(_) => 1,
    }
}

/// What is kept of [`FRAMES_A_SECOND`]: the rest is for what a late timer makes up for, and for a batch
/// that leaves late.
const PACE: u32 = FRAMES_A_SECOND - 1_400;

/// Addresses announced in one go; between two of them questions are answered.
const BATCH: usize = 64;

/// Waits between the announcements of a burst: at 0, 0.2, 1, 2 and 4 seconds.
const BURST: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_millis(800),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// Announcements of a burst.
const ROUNDS: usize = BURST.len() + 1;

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
