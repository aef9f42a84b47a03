//! Whether those that are never heard live, by the API server's view.
//!
//! ```text
//!               its sign changes                 4 beats of ours without a change
//!   Unproven ─────────────────────▶ Alive ─────────────────────────────────────▶ Down
//!      │                              ▲                                          ▲ │
//!      │                              └──────────── its sign changes ────────────┼─┘
//!      └─────────────────── 3 beats of ours without a change ────────────────────┘
//! ```
//!
//! A speaker's sign is an annotation; while it misses somebody it puts another number into it every
//! five seconds, its beat. Time is counted in beats of this node's own that the server has shown it: while the
//! server is out of reach nobody is declared down. Who is unproven counts as alive as far as it announces
//! something: a speaker that has just started leaves that to it. Who was heard once is no business of
//! this module.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use ipnet::IpNet;

use crate::lookout::{Attention, View};
use crate::reports::{self, Key, Sign};
use crate::world::Heard;

/// Those that are not heard.
#[derive(Debug, Default)]
pub(in crate::run) struct Peers {
    missed: BTreeMap<String, Peer>,
    beginning: Beginning,
    /// The last beat of this node.
    beat: u64,
    next_beat: Option<Instant>,
    /// Beats of this node that the server has shown, and the last of them.
    shown: (u64, Option<u64>),
}

/// Nothing is taken before it is known what those that are not heard announce.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Beginning {
    #[default]
    NotYet,
    WaitsUntil(Instant),
    Over,
}

/// One that is not heard although it should be: it shares a segment with this node.
#[derive(Debug)]
struct Peer {
    sign: Sign,
    /// Where it should be heard, and from which interfaces of its own.
    ways: BTreeMap<String, BTreeSet<String>>,
    /// How many beats had been shown when its sign last changed.
    changed_at: u64,
    verdict: Verdict,
    /// When people were told.
    told: Option<SystemTime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Unproven,
    Alive(Instant),
    Down(Instant),
}

/// What people should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::run) enum News {
    /// It lives and is not heard on these interfaces.
    Blocked(String, Vec<String>),
    /// That is over: it is heard, or need not be any more.
    Over(String),
    /// It does not live any more, by the API server's view.
    Down(String),
}

/// What it is judged by.
pub(in crate::run) struct Evidence<'a> {
    /// The time.
    pub(in crate::run) now: Instant,
    /// The time on the wall.
    pub(in crate::run) wall: SystemTime,
    /// The name of this node's own ConfigurationState.
    pub(in crate::run) own: &'a str,
    /// The candidates that were never heard.
    pub(in crate::run) missed: BTreeSet<String>,
    /// The interfaces that this node announces on, with their addresses.
    pub(in crate::run) links: BTreeMap<String, Vec<IpNet>>,
    /// What the API server shows.
    pub(in crate::run) view: &'a View,
}

impl Peers {
    /// Knows nobody; `beat` is the last beat.
    pub(in crate::run) fn new(beat: u64) -> Self {
        Self {
            beat,
            ..Self::default()
        }
    }

    /// Takes in what is known, and gives what people should know.
    pub(in crate::run) fn judge(&mut self, evidence: &Evidence<'_>) -> Vec<News> {
        let Evidence {
            now, view, missed, ..
        } = evidence;
        let shown = view.signs.get(evidence.own).and_then(|sign| sign.beat);
        if shown.is_some() && shown != self.shown.1 {
            self.shown = (self.shown.0 + 1, shown);
        }
        let mut news = Vec::new();
        self.missed.retain(|node, peer| {
            let stays = missed.contains(node);
            if !stays && peer.told.is_some() {
                news.push(News::Over(node.clone()));
            }
            stays
        });
        if view.knows_signs {
            for node in missed {
                news.extend(self.judge_one(evidence, node));
            }
        }
        let is_seen = || view.knows_announced || !self.are_any_here(*now);
        self.begin(*now, missed.is_empty() || (view.knows_signs && is_seen()));
        self.beat(*now);
        news
    }

    fn judge_one(&mut self, evidence: &Evidence<'_>, node: &str) -> Option<News> {
        let shown = self.shown.0;
        let name = reports::name(&Key::Configuration, node);
        let sign = evidence.view.signs.get(&name).cloned();
        let known = self.missed.entry(node.to_owned());
        let peer = known.or_insert_with(|| Peer {
            sign: sign.clone().unwrap_or_default(),
            ways: BTreeMap::new(),
            changed_at: shown,
            verdict: Verdict::Unproven,
            told: None,
        });
        let before = peer.verdict;
        match sign {
            Some(sign) if sign != peer.sign => {
                peer.sign = sign;
                peer.changed_at = shown;
                if !matches!(before, Verdict::Alive(_)) {
                    peer.verdict = Verdict::Alive(evidence.now);
                }
            }
            Some(_) => {
                let silent = shown - peer.changed_at;
                let patience = match before {
                    Verdict::Unproven => UNPROVEN_BEATS,
                    Verdict::Alive(_) => ALIVE_BEATS,
                    Verdict::Down(_) => u64::MAX,
                };
                if silent >= patience {
                    peer.verdict = Verdict::Down(evidence.now);
                }
            }
            None if matches!(before, Verdict::Down(_)) => {}
            // Its speaker says nothing, or is another one's.
            None => peer.verdict = Verdict::Down(evidence.now),
        }
        peer.ways = ways(&peer.sign, &evidence.links);
        peer.news(evidence, node)
    }

    /// Lets nothing be taken until it is known what is announced, but not for long, and only once.
    fn begin(&mut self, now: Instant, is_known: bool) {
        self.beginning = match self.beginning {
            Beginning::NotYet if !is_known => Beginning::WaitsUntil(now + PATIENCE),
            Beginning::WaitsUntil(until) if !is_known && now < until => self.beginning,
            Beginning::NotYet | Beginning::WaitsUntil(_) | Beginning::Over => Beginning::Over,
        };
    }

    /// Says that this node lives, while somebody may want to know.
    fn beat(&mut self, now: Instant) {
        if !self.are_any_here(now) {
            self.next_beat = None;
        } else if self.next_beat.is_none_or(|at| at <= now) {
            self.beat += 1;
            self.next_beat = Some(now + BEAT);
        }
    }

    /// Somebody who may live should be heard.
    fn are_any_here(&self, now: Instant) -> bool {
        self.missed.values().any(|peer| peer.wants_beats(now))
    }

    /// Nothing is listened to, so that nobody can be missed.
    pub(in crate::run) fn pause(&mut self) -> Vec<News> {
        self.next_beat = None;
        // Nothing is held meanwhile, and what the others hold is to be known before anything is taken.
        self.beginning = Beginning::NotYet;
        let missed = std::mem::take(&mut self.missed).into_iter();
        let told = missed.filter(|(_, peer)| peer.told.is_some());
        told.map(|(node, _)| News::Over(node)).collect()
    }

    /// How much is to be looked at while these are missed.
    pub(in crate::run) fn attention(&self, missed: &BTreeSet<String>) -> Attention {
        if missed.is_empty() {
            return Attention::Nothing;
        }
        match self.next_beat {
            Some(_) => Attention::Everything,
            None => Attention::Signs,
        }
    }

    /// The last beat, while this node beats.
    pub(in crate::run) fn sign_of_life(&self) -> Option<u64> {
        self.next_beat.map(|_| self.beat)
    }

    /// Somebody is missed who may live, and whose claims count.
    pub(in crate::run) fn is_active(&self) -> bool {
        self.next_beat.is_some() || self.is_waiting()
    }

    /// Of whom people were told when, and where they are not heard.
    pub(in crate::run) fn told(
        &self,
    ) -> impl Iterator<Item = (&str, impl Iterator<Item = &String>, SystemTime)> {
        let all = self.missed.iter();
        all.filter_map(|(node, peer)| Some((node.as_str(), peer.ways.keys(), peer.told?)))
    }

    /// Nothing is to be taken yet: it is about to be known what others announce.
    pub(in crate::run) fn is_waiting(&self) -> bool {
        matches!(self.beginning, Beginning::WaitsUntil(_))
    }

    /// When to judge again.
    pub(in crate::run) fn deadline(&self) -> Option<Instant> {
        let begins = match self.beginning {
            Beginning::WaitsUntil(until) => Some(until),
            Beginning::NotYet | Beginning::Over => None,
        };
        let tells = self.missed.values().filter_map(Peer::tells_at);
        tells.chain(begins).chain(self.next_beat).min()
    }

    /// Who counts as alive although it is not heard.
    pub(in crate::run) fn alive(&self, view: &View) -> Heard {
        let counts = |(node, peer): &(&String, &Peer)| match peer.verdict {
            Verdict::Alive(_) => !peer.ways.is_empty(),
            Verdict::Unproven => !peer.ways.is_empty() && view.announced.contains_key(*node),
            Verdict::Down(_) => false,
        };
        let alive = self.missed.iter().filter(counts);
        alive
            .map(|(node, peer)| (node.clone(), peer.ways.clone()))
            .collect()
    }
}

impl Peer {
    fn news(&mut self, evidence: &Evidence<'_>, node: &str) -> Option<News> {
        let is_over = match self.verdict {
            Verdict::Alive(_) => self.ways.is_empty(),
            Verdict::Unproven | Verdict::Down(_) => true,
        };
        if is_over && self.told.take().is_some() {
            return Some(match self.verdict {
                Verdict::Down(_) => News::Down(node.to_owned()),
                Verdict::Unproven | Verdict::Alive(_) => News::Over(node.to_owned()),
            });
        }
        let is_due = self.tells_at().is_some_and(|at| at <= evidence.now);
        is_due.then(|| {
            self.told = Some(evidence.wall);
            News::Blocked(node.to_owned(), self.ways.keys().cloned().collect())
        })
    }

    /// Who has only just started is heard in a moment.
    fn tells_at(&self) -> Option<Instant> {
        match self.verdict {
            Verdict::Alive(since) if self.told.is_none() && !self.ways.is_empty() => {
                Some(since + TELL_AFTER)
            }
            Verdict::Alive(_) | Verdict::Unproven | Verdict::Down(_) => None,
        }
    }

    /// Who is down needs no beats; one that comes back says so itself.
    fn wants_beats(&self, now: Instant) -> bool {
        let is_here = !self.ways.is_empty();
        match self.verdict {
            Verdict::Unproven | Verdict::Alive(_) => is_here,
            Verdict::Down(since) => is_here && now < since + LINGER,
        }
    }
}

/// Where a node with this sign should be heard: it has an address of its own in a network of ours. The
/// same address on both is a bridge for containers, say, which every node has to itself.
fn ways(sign: &Sign, links: &BTreeMap<String, Vec<IpNet>>) -> BTreeMap<String, BTreeSet<String>> {
    let shares = |nets: &[IpNet], addresses: &BTreeSet<IpAddr>| {
        let mut addresses = addresses.iter();
        addresses.any(|address| {
            let mut nets = nets.iter();
            nets.any(|net| net.contains(address) && net.addr() != *address)
        })
    };
    let mut ways = BTreeMap::<String, BTreeSet<String>>::new();
    for (link, nets) in links {
        let there = sign.interfaces.iter();
        let from = there.filter(|(_, addresses)| shares(nets, addresses));
        let from: BTreeSet<String> = from.map(|(name, _)| name.clone()).collect();
        if !from.is_empty() {
            ways.insert(link.clone(), from);
        }
    }
    ways
}

/// Time between two beats.
const BEAT: Duration = Duration::from_secs(5);

/// A node is down when its sign has not changed for so many beats of ours: 15 to 20 seconds.
const ALIVE_BEATS: u64 = 4;

/// The same while it was never seen to change: who lives has changed it by then.
const UNPROVEN_BEATS: u64 = 3;

/// How long a node that is down is still told that we live: it may not know yet.
const LINGER: Duration = Duration::from_secs(60);

/// How long a node lives before people are told that it is not heard.
const TELL_AFTER: Duration = Duration::from_secs(10);

/// How long a speaker that begins waits for what the others announce.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
