//! Whether somebody else has an address already that is about to be used for the first time.
//!
//! ```text
//! wanted ──▶ asked ── about 200 ms without an answer ──▶ free
//!              └─────── somebody else has it ──▶ taken ── 30 s, 1, 2, 4 min, then 5 min each ──▶ asked
//! ```
//!
//! One question, as RFC 5227 §2.1 and RFC 4862 §5.4 ask it: from no address, so that no cache
//! learns anything. What is found is told; what follows from it is decided elsewhere. Many questions
//! are paced, those about the latest wanted first, and end in lots, since what ends together is
//! acted on together.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::layer2::LinkIndex;
use crate::layer2::pace::Pace;
use crate::wire::arp::{self, Operation, Packet};
use crate::wire::ethernet::{self, Header, Mac};
use crate::wire::ndisc::{self, Advertisement, Solicitation};

/// Probes sent in a second at most, over all interfaces.
pub const PROBES_A_SECOND: u32 = 12_500;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Of some addresses: where they are to be asked for, as far as that can be done at present; `None`:
    /// they are to be forgotten.
    Want(BTreeMap<IpAddr, Option<BTreeSet<LinkIndex>>>),
    /// Somebody else has an address, or is about to take it.
    Seen {
        /// Where.
        link: LinkIndex,
        /// Which.
        address: IpAddr,
        /// Its hardware address.
        mac: Mac,
    },
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Send the [`probe`] for this address.
    Probe {
        /// Where.
        link: LinkIndex,
        /// Which.
        address: IpAddr,
    },
    /// It is known now, or something else than before, who else has this address.
    Found {
        /// Which.
        address: IpAddr,
    },
}

/// Who else has it, by interface; empty: nobody.
pub type Others = BTreeMap<LinkIndex, Mac>;

/// Asks for addresses and remembers what came of it.
///
/// After any `handle` or `handle_timeout`: `poll` until `None`, then ask for the next deadline.
#[derive(Debug, Clone)]
pub struct Conflicts {
    began: Instant,
    contests: BTreeMap<IpAddr, Contest>,
    /// To be asked for, in order.
    queue: BTreeSet<(Reverse<Instant>, IpAddr)>,
    /// When something is to happen to others.
    due: BTreeSet<(Instant, IpAddr)>,
    pace: Pace,
    outputs: VecDeque<Output>,
}

#[derive(Debug, Clone)]
struct Contest {
    links: BTreeSet<LinkIndex>,
    wanted: Instant,
    step: Step,
    /// What was found when it was last asked for; `None`: it has never been.
    found: Option<Others>,
    /// Who has been seen since it is to be asked for again.
    seen: Others,
    /// How often it was found to be taken.
    conflicts: usize,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It cannot be asked for.
    Idle,
    /// It is asked for when it is its turn.
    Queued,
    /// Somebody may still answer.
    Asked {
        /// Until then.
        until: Instant,
        /// It has been waited for longer already, after a stall.
        is_last: bool,
    },
    /// It is taken, and asked for again.
    Taken {
        /// When.
        again: Instant,
    },
    /// It is nobody else's.
    Free,
}

impl Conflicts {
    /// Asks for nothing yet.
    pub fn new(now: Instant) -> Self {
        Self {
            began: now,
            contests: BTreeMap::new(),
            queue: BTreeSet::new(),
            due: BTreeSet::new(),
            pace: Pace::new(now, PACE),
            outputs: VecDeque::new(),
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Want(wanted) => self.want(now, wanted),
            Input::Seen { link, address, mac } => self.see(link, address, mac),
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
        let due = self.due.first().map(|(at, _)| *at);
        let asks = (!self.queue.is_empty()).then(|| self.pace.poll_timeout());
        due.into_iter().chain(asks).min()
    }

    /// Ends questions, and asks as far as the pace allows, a bounded number.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, address)) = self.due.first().copied()
            && at <= now
        {
            self.due.pop_first();
            self.end_step(now, address);
        }
        for _ in 0..BATCH {
            if !self.pace.is_open(now) {
                return;
            }
            let Some((_, address)) = self.queue.pop_first() else {
                return;
            };
            self.ask(now, address);
        }
    }

    /// Who else has it; `None`: that has not been asked, or not answered yet.
    pub fn found(&self, address: IpAddr) -> Option<&Others> {
        self.contests.get(&address)?.found.as_ref()
    }

    /// Whether it matters who else has it.
    pub fn is_about(&self, address: IpAddr) -> bool {
        self.contests.contains_key(&address)
    }

    fn want(&mut self, now: Instant, wanted: BTreeMap<IpAddr, Option<BTreeSet<LinkIndex>>>) {
        for (address, links) in wanted {
            let Some(links) = links else {
                self.unschedule(address);
                self.contests.remove(&address);
                continue;
            };
            let contest = self.contests.entry(address).or_insert_with(|| Contest {
                links: BTreeSet::new(),
                wanted: now,
                step: Step::Idle,
                found: None,
                seen: Others::new(),
                conflicts: 0,
            });
            // On another interface somebody else may have it.
            let is_more = !links.is_subset(&contest.links);
            contest.links = links;
            let contest_links = &contest.links;
            contest.seen.retain(|link, _| contest_links.contains(link));
            // Who has it where it cannot be used any more is in nobody's way.
            let is_less = matches!(contest.step, Step::Taken { .. })
                && contest
                    .found
                    .as_ref()
                    .is_some_and(|found| found.keys().any(|link| !contest_links.contains(link)));
            match contest.step {
                // Once is enough.
                Step::Free => {}
                _ if contest.links.is_empty() => self.go(address, Step::Idle),
                _ if is_more || is_less => self.go(address, Step::Queued),
                Step::Idle | Step::Queued | Step::Asked { .. } | Step::Taken { .. } => {}
            }
        }
    }

    fn see(&mut self, link: LinkIndex, address: IpAddr, mac: Mac) {
        let Some(contest) = self.contests.get_mut(&address) else {
            return;
        };
        if !contest.links.contains(&link) {
            return;
        }
        // Of several on one interface the first is enough to name.
        contest.seen.entry(link).or_insert(mac);
        if matches!(contest.step, Step::Taken { .. }) {
            let others = contest.seen.clone();
            self.note(address, others);
        }
    }

    /// Whoever has it has answered by now, or it is time to ask again.
    fn end_step(&mut self, now: Instant, address: IpAddr) {
        let Some(contest) = self.contests.get_mut(&address) else {
            return;
        };
        match contest.step {
            // What has been answered meanwhile may still lie unread.
            Step::Asked { until, is_last } if !is_last && now > until + LOT => {
                let until = self.end_of_lot(now);
                self.go(
                    address,
                    Step::Asked {
                        until,
                        is_last: true,
                    },
                );
            }
            Step::Asked { .. } => {
                let others = contest.seen.clone();
                let step = match others.is_empty() {
                    true => Step::Free,
                    false => Step::Taken {
                        again: now + contest.next_wait(),
                    },
                };
                self.note(address, others);
                self.go(address, step);
            }
            Step::Taken { .. } => self.go(address, Step::Queued),
            Step::Idle | Step::Queued | Step::Free => {}
        }
    }

    fn ask(&mut self, now: Instant, address: IpAddr) {
        let until = self.end_of_lot(now + PATIENCE);
        let Some(contest) = self.contests.get(&address) else {
            return;
        };
        for link in &contest.links {
            let link = *link;
            self.outputs.push_back(Output::Probe { link, address });
            self.pace.spend(now, 1);
        }
        let is_last = false;
        self.go(address, Step::Asked { until, is_last });
    }

    fn note(&mut self, address: IpAddr, others: Others) {
        if let Some(contest) = self.contests.get_mut(&address)
            && contest.found.as_ref() != Some(&others)
        {
            contest.found = Some(others);
            self.outputs.push_back(Output::Found { address });
        }
    }

    fn go(&mut self, address: IpAddr, step: Step) {
        self.unschedule(address);
        let Some(contest) = self.contests.get_mut(&address) else {
            return;
        };
        contest.step = step;
        match step {
            Step::Queued => {
                contest.seen.clear();
                self.queue.insert((Reverse(contest.wanted), address));
            }
            Step::Asked { until: at, .. } | Step::Taken { again: at } => {
                self.due.insert((at, address));
            }
            Step::Idle | Step::Free => {}
        }
    }

    fn unschedule(&mut self, address: IpAddr) {
        let Some(contest) = self.contests.get(&address) else {
            return;
        };
        match contest.step {
            Step::Queued => drop(self.queue.remove(&(Reverse(contest.wanted), address))),
            Step::Asked { until: at, .. } | Step::Taken { again: at } => {
                self.due.remove(&(at, address));
            }
            Step::Idle | Step::Free => {}
        }
    }

    /// The first end of a lot that is not earlier.
    fn end_of_lot(&self, at: Instant) -> Instant {
        let since = at.saturating_duration_since(self.began).as_nanos();
        let lots = since.div_ceil(LOT.as_nanos());
        self.began + LOT.saturating_mul(u32::try_from(lots).unwrap_or(u32::MAX))
    }
}

impl Contest {
    fn next_wait(&mut self) -> Duration {
        let wait = WAITS.get(self.conflicts).unwrap_or(&LONGEST_WAIT);
        self.conflicts = self.conflicts.saturating_add(1);
        *wait
    }
}

/// The address that a frame shows to be in use or about to be, and by whom: an ARP packet from it or
/// a neighbour advertisement of it, and what asks for it from no address.
pub fn sighting(frame: &[u8]) -> Option<(IpAddr, Mac)> {
    let (header, payload) = Header::parse(frame).ok()?;
    let (address, mac): (IpAddr, Mac) = match header.ether_type {
        ethernet::ARP => {
            let packet = Packet::parse(payload).ok()?;
            let is_probe =
                packet.operation == Operation::Request && packet.sender_ip.is_unspecified();
            let address = match is_probe {
                true => packet.target_ip,
                false => packet.sender_ip,
            };
            (address.into(), packet.sender_hw)
        }
        ethernet::IPV6 => match Advertisement::parse(payload) {
            Ok(told) => (
                told.target.into(),
                told.target_link.unwrap_or(header.source),
            ),
            Err(_) => {
                let asked = Solicitation::parse(payload).ok()?;
                let is_probe = asked.source.is_unspecified();
                is_probe.then(|| (asked.target.into(), header.source))?
            }
        },
        _ => return None,
    };
    (!mac.is_group() && mac != Mac::ZERO).then_some((address, mac))
}

/// The frame that asks for `address` from no address.
pub fn probe(address: IpAddr, mac: Mac) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => arp::probe(address, mac),
        IpAddr::V6(address) => ndisc::probe(address, mac),
    }
}

/// What is kept of [`PROBES_A_SECOND`].
const PACE: u32 = PROBES_A_SECOND - 700;

/// Addresses asked for in one go.
const BATCH: usize = 64;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_millis(200);

/// Questions that end within so long end together.
const LOT: Duration = Duration::from_millis(50);

/// Waits until a taken address is asked for again.
const WAITS: [Duration; 4] = [
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(120),
    Duration::from_secs(240),
];

/// And after those.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;
