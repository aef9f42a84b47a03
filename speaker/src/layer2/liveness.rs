//! Which nodes of a segment are up, by their heartbeats: VRRP's way (RFC 9568 §6), once per node.
//!
//! ```text
//!        heartbeat, answer             5/8 of down-after, 6/8, 7/8
//!   Down ───────────────────▶ Up ──▶ probe the speaker by unicast ──▶ Down
//!    ▲                        │ ▲                  │            8/8
//!    │ leaving, link lost     │ └── any heartbeat ─┘
//!    └────────────────────────┘
//! ```
//!
//! Down-after is three of the *sender's* intervals and a quarter of one as skew, and each packet
//! says how long its sender's interval is, so that the intervals can stretch with the number of
//! nodes: a segment carries about 500 heartbeats a second, however many nodes there are.
//!
//! At 5 % independent loss, silence of three intervals alone would be a false alarm every 13
//! minutes and pair of nodes (0.05³ for each of ten windows a second); three probes, each lost
//! with its answer once in ten, make that once in ten days.
//!
//! Nobody is up whom this node has not asked and who has not answered (`challenges.rs`): a recording
//! of another node's heartbeats, played to whoever has just started, would keep that node's addresses
//! from being taken.
//!
//! Silence is counted in time in which this process was awake: what was missed in a stall cannot
//! be held against the others. A stalled process hears, probes and waits again before it judges.

mod challenges;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::layer2::LinkIndex;
use crate::layer2::claims;
use crate::layer2::heartbeat::Heartbeat;
use crate::wire::ethernet::Mac;
use challenges::{Challenges, Question};

/// What the machine is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This node's name: its heartbeats are nobody else's.
    pub node: String,
    /// Least time between two heartbeats of ours.
    pub interval: Duration,
    /// Silence after which a node is down, in place of three intervals and skew.
    pub down_after: Option<Duration>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// An authentic heartbeat came in.
    Heard {
        /// Where.
        link: LinkIndex,
        /// From which hardware address.
        sender: Mac,
        /// What it says.
        heartbeat: Heartbeat,
    },
    /// An interface is gone or has lost its carrier.
    LinkLost {
        /// Which.
        link: LinkIndex,
    },
}

/// From an interface of another node's to one of ours: two nodes can have several on one segment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// Ours.
    pub link: LinkIndex,
    /// Theirs, as they call it.
    pub from: String,
}

/// Why a node is not counted as up on a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DownReason {
    /// It was silent for its down-after time.
    Silence,
    /// It said that it is leaving.
    Leaving,
    /// It lives, but holds nothing: it has started again, or is no candidate any more.
    Listening,
    /// Our own interface is gone.
    LinkLost,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A node is heard on a way.
    Up {
        /// Who.
        node: String,
        /// Where.
        way: Way,
    },
    /// A node is heard no more on a way.
    Down {
        /// Who.
        node: String,
        /// Where.
        way: Way,
        /// Why.
        reason: DownReason,
    },
    /// A node has begun to listen, or has gone without coming up; or it delivers what arrives there, or
    /// does not, other than before.
    Listening,
    /// About so many heartbeats of a node did not come.
    Lost {
        /// Who.
        node: String,
        /// How many.
        count: u64,
    },
    /// What a heartbeat says of claims; a node that comes up by it has done so by then.
    Claims(claims::Heard),
    /// A node does not know what we claim here.
    Asked {
        /// Where.
        link: LinkIndex,
        /// Its hardware address.
        by: Mac,
    },
    /// Send a heartbeat to one node alone.
    Unicast {
        /// Where.
        link: LinkIndex,
        /// Its hardware address.
        to: Mac,
        /// What to say with it.
        why: Unicast,
    },
    /// Others had taken this node for dead on an interface.
    Missed {
        /// Where.
        link: LinkIndex,
    },
    /// A node that is heard does not answer: what is heard is a recording, or it cannot hear us.
    Mute {
        /// Who.
        node: String,
        /// Where.
        way: Way,
    },
    /// What this node said on another of its interfaces is heard.
    Own {
        /// Where.
        link: LinkIndex,
        /// On which it was said.
        from: String,
        /// Which of its packets that is.
        sequence: u64,
    },
    /// Another speaker uses this node's name.
    Namesake {
        /// Where.
        link: LinkIndex,
        /// Its hardware address.
        sender: Mac,
    },
    /// A node was gone for so long that it is not remembered any more.
    Forgotten {
        /// Who.
        node: String,
    },
}

/// Why a heartbeat goes to one node alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unicast {
    /// It was not believed so far: it shall answer with this number.
    Challenge(u64),
    /// It has been silent for long: it shall answer.
    Probe,
    /// It probed us, with this number if it does not believe us yet.
    Answer(u64),
    /// It is back, and shall know that it was missed.
    Missed,
}

/// Another node.
#[derive(Debug, Clone)]
pub struct Node {
    incarnation: u64,
    is_leaving: bool,
    is_failing: bool,
    since: Instant,
    presences: BTreeMap<Way, Presence>,
}

/// A node on a way.
#[derive(Debug, Clone)]
struct Presence {
    standing: Standing,
    /// It has answered here, in its present incarnation.
    is_proven: bool,
    sequence: u64,
    sender: Mac,
    interval: Duration,
    heard: Instant,
    probes: u8,
    /// How often it is still to be told that it was missed.
    to_tell: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It lives.
    Up,
    /// It lives, but holds nothing.
    Listening,
    /// It is not there.
    Down(DownReason),
}

/// Follows the nodes of all segments that this node is on.
///
/// After any `handle` or `handle_timeout`: `poll` until `None`, then ask for the next deadline.
/// What has arrived is handled before `handle_timeout` is called.
#[derive(Debug, Clone)]
pub struct Liveness {
    settings: Settings,
    incarnation: u64,
    nodes: BTreeMap<String, Node>,
    challenges: Challenges,
    /// No deadline is earlier.
    wake: Option<Instant>,
    outputs: VecDeque<Output>,
}

impl Liveness {
    /// Knows nobody yet; `incarnation` is that of our own heartbeats.
    pub fn new(settings: Settings, incarnation: u64) -> Self {
        Self {
            settings,
            incarnation,
            nodes: BTreeMap::new(),
            challenges: Challenges::new(incarnation.rotate_left(16)),
            wake: None,
            outputs: VecDeque::new(),
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Heard {
                link,
                sender,
                heartbeat,
            } => self.hear(now, link, sender, heartbeat),
            Input::LinkLost { link } => self.lose_link(now, link),
        }
    }

    /// The next thing that follows.
    #[must_use]
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call `handle_timeout`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.wake
            .into_iter()
            .chain(self.challenges.deadline())
            .min()
    }

    /// Asks again, probes and judges those who are silent.
    pub fn handle_timeout(&mut self, now: Instant) {
        let (questions, mute) = self.challenges.again(now);
        for question in questions {
            self.ask(question);
        }
        let mute = mute.into_iter();
        self.outputs
            .extend(mute.map(|(node, way, _)| Output::Mute { node, way }));
        let Some(wake) = self.wake.filter(|wake| *wake <= now) else {
            return;
        };
        let late = now.saturating_duration_since(wake);
        if late > PUNCTUAL {
            self.forgive(now, late);
        }
        let names: Vec<String> = self.nodes.keys().cloned().collect();
        for name in names {
            self.judge(now, &name);
        }
        let deadlines = self.nodes.values().flat_map(|node| {
            let presences = node.presences.values();
            presences.filter_map(|presence| presence.deadline(&self.settings))
        });
        self.wake = deadlines.min();
    }

    /// Whether it is not known yet of somebody who is heard on an interface whether it is there.
    pub fn is_asking_on(&self, link: LinkIndex) -> bool {
        self.challenges.is_pending_on(link)
    }

    /// Nodes ever heard, by name.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(name, node)| (name.as_str(), node))
    }

    /// How long our own heartbeats on an interface are apart at most.
    pub fn interval(&self, link: LinkIndex) -> Duration {
        let others = self.alive(link).count();
        let count = u32::try_from(others).unwrap_or(u32::MAX).saturating_add(1);
        let stretched = PER_NODE.saturating_mul(count).min(LONGEST);
        self.settings.interval.max(stretched)
    }

    /// How long to listen on an interface before anything can be said about the others.
    pub fn listen_time(&self, link: LinkIndex) -> Duration {
        let theirs = self.alive(link).map(|(_, _, presence)| presence.interval);
        let theirs = theirs.max();
        let longest = theirs.unwrap_or_default().max(self.interval(link));
        self.settings.down_after(longest)
    }

    /// Whether a node is up, heard from an interface of its own on one of ours, or on any.
    pub fn is_up(&self, node: &str, from: &str, link: Option<LinkIndex>) -> bool {
        let node = self.nodes.get(node);
        let mut ways = node.into_iter().flat_map(Node::heard_on);
        ways.any(|way| link.is_none_or(|link| way.link == link) && way.from == from)
    }

    /// The node behind a hardware address on an interface, and the interface of its own: the last
    /// that was heard from there, alive or not.
    pub fn node_at(&self, link: LinkIndex, mac: Mac) -> Option<(&str, &str)> {
        let mut all = self.nodes.iter().flat_map(|(name, node)| {
            let presences = node.presences.iter();
            presences.map(move |(way, presence)| (name.as_str(), way, presence))
        });
        let (node, way, _) = all.find(|(_, way, at)| way.link == link && at.sender == mac)?;
        Some((node, way.from.as_str()))
    }

    /// The nodes that are alive on an interface, each with those of its own that it is heard from.
    pub fn company(&self, link: LinkIndex) -> impl Iterator<Item = (&str, &str)> {
        let alive = self.alive(link);
        alive.map(|(node, way, _)| (node, way.from.as_str()))
    }

    fn alive(&self, link: LinkIndex) -> impl Iterator<Item = (&str, &Way, &Presence)> {
        let presences = self.nodes.iter().flat_map(|(name, node)| {
            let presences = node.presences.iter();
            presences.map(|(way, presence)| (name.as_str(), way, presence))
        });
        presences.filter(move |(_, way, presence)| way.link == link && presence.is_alive())
    }

    fn hear(&mut self, now: Instant, link: LinkIndex, sender: Mac, heartbeat: Heartbeat) {
        if heartbeat.node == self.settings.node {
            self.outputs
                .push_back(match heartbeat.incarnation == self.incarnation {
                    true => Output::Own {
                        link,
                        from: heartbeat.interface,
                        sequence: heartbeat.sequence,
                    },
                    false => Output::Namesake { link, sender },
                });
            return;
        }
        let way = Way {
            link,
            from: heartbeat.interface.clone(),
        };
        let node = self.nodes.get(&heartbeat.node);
        if node.is_some_and(|node| node.is_old(&way, &heartbeat)) {
            return;
        }
        let is_trusted = node.is_some_and(|node| node.trusts(&way, &heartbeat));
        if !is_trusted && !self.has_answered(&way, &heartbeat) {
            return self.doubt(now, way, sender, &heartbeat);
        }
        if !self.nodes.contains_key(&heartbeat.node) && !self.make_room() {
            return;
        }
        let node = self
            .nodes
            .entry(heartbeat.node.clone())
            .or_insert_with(|| Node::new(now, heartbeat.incarnation));
        if !node.make_room(&way) {
            return;
        }
        let (name, flags) = (heartbeat.node.clone(), heartbeat.flags);
        let lost = node.missing(now, &way, &heartbeat);
        let changes = node.take(now, &way, sender, &heartbeat);
        let deadline = node
            .presences
            .get(&way)
            .and_then(|presence| presence.deadline(&self.settings));
        self.wake = self.wake.into_iter().chain(deadline).min();
        self.announce(&name, changes);
        if lost > 0 {
            let (node, count) = (name.clone(), lost);
            self.outputs.push_back(Output::Lost { node, count });
        }
        if flags.was_missed {
            self.outputs.push_back(Output::Missed { link });
        }
        if flags.is_probe {
            self.unicast(link, sender, Unicast::Answer(heartbeat.nonce));
        }
        if flags.asks {
            self.outputs.push_back(Output::Asked { link, by: sender });
        }
        self.tell_missed(&name, &way);
        self.outputs.push_back(Output::Claims(claims::Heard {
            link,
            sender,
            source: claims::Source::of(&name, &way.from),
            incarnation: heartbeat.incarnation,
            digest: heartbeat.held,
            message: heartbeat.claims,
        }));
    }

    fn has_answered(&mut self, way: &Way, heartbeat: &Heartbeat) -> bool {
        let suspect = (heartbeat.node.clone(), way.clone(), heartbeat.incarnation);
        heartbeat.flags.is_answer && self.challenges.settle(&suspect, heartbeat.nonce)
    }

    /// Asks who it is that is heard, and lets itself be asked.
    fn doubt(&mut self, now: Instant, way: Way, sender: Mac, heartbeat: &Heartbeat) {
        if heartbeat.flags.is_probe && self.challenges.may_send(now) {
            self.unicast(way.link, sender, Unicast::Answer(heartbeat.nonce));
        }
        // Who goes, and was not known, need not be known any more.
        if heartbeat.flags.is_leaving {
            return;
        }
        let suspect = (heartbeat.node.clone(), way, heartbeat.incarnation);
        if let Some(question) = self.challenges.ask(now, suspect, sender) {
            self.ask(question);
        }
    }

    fn ask(&mut self, question: Question) {
        let Question { link, to, nonce } = question;
        self.unicast(link, to, Unicast::Challenge(nonce));
    }

    /// A node that was silent and is back learns that others may have held its addresses.
    fn tell_missed(&mut self, name: &str, way: &Way) {
        let node = self.nodes.get_mut(name);
        let Some(presence) = node.and_then(|node| node.presences.get_mut(way)) else {
            return;
        };
        if presence.to_tell > 0 && presence.is_alive() {
            presence.to_tell -= 1;
            let to = presence.sender;
            self.unicast(way.link, to, Unicast::Missed);
        }
    }

    fn unicast(&mut self, link: LinkIndex, to: Mac, why: Unicast) {
        self.outputs.push_back(Output::Unicast { link, to, why });
    }

    fn lose_link(&mut self, now: Instant, link: LinkIndex) {
        self.challenges.lose_link(link);
        let mut changes = Vec::new();
        for (name, node) in &mut self.nodes {
            let ways: Vec<Way> = node.presences.keys().cloned().collect();
            for way in ways.into_iter().filter(|way| way.link == link) {
                let change = node.stand(now, &way, Standing::Down(DownReason::LinkLost));
                changes.extend(change.map(|change| (name.clone(), change)));
                node.presences.remove(&way);
            }
        }
        for (name, change) in changes {
            self.announce(&name, vec![change]);
        }
    }

    /// What we missed in a stall of our own cannot be held against the others.
    fn forgive(&mut self, now: Instant, late: Duration) {
        for node in self.nodes.values_mut() {
            for presence in node.presences.values_mut() {
                presence.heard = (presence.heard + late).min(now);
            }
        }
    }

    fn judge(&mut self, now: Instant, name: &str) {
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        let (mut silent, mut probed) = (Vec::new(), Vec::new());
        for (way, presence) in &mut node.presences {
            match presence.deadline(&self.settings) {
                Some(deadline) if deadline <= now => {}
                _ => continue,
            }
            if presence.probes < PROBES {
                presence.probes += 1;
                probed.push((way.link, presence.sender));
            } else {
                presence.to_tell = TELL;
                silent.push(way.clone());
            }
        }
        let down = Standing::Down(DownReason::Silence);
        let changes = silent.iter().filter_map(|way| node.stand(now, way, down));
        let changes = changes.collect();
        self.announce(name, changes);
        for (link, to) in probed {
            self.unicast(link, to, Unicast::Probe);
        }
    }

    fn announce(&mut self, name: &str, changes: Vec<Change>) {
        let node = || name.to_owned();
        self.outputs
            .extend(changes.into_iter().map(|change| match change {
                Change::Up(way) => Output::Up { node: node(), way },
                Change::Down(way, reason) => Output::Down {
                    node: node(),
                    way,
                    reason,
                },
                Change::Listening => Output::Listening,
            }));
    }

    /// Names cost memory, and without a key anybody can invent them.
    fn make_room(&mut self) -> bool {
        if self.nodes.len() < MAX_NODES {
            return true;
        }
        let gone = self
            .nodes
            .iter()
            .filter(|(_, node)| node.heard_on().next().is_none());
        let oldest = gone.min_by_key(|(_, node)| node.since);
        let name = oldest.map(|(name, _)| name.clone());
        let Some(node) = name else {
            return false;
        };
        self.nodes.remove(&node);
        self.outputs.push_back(Output::Forgotten { node });
        true
    }
}

impl Settings {
    /// After how much silence a node is down that sends every `interval`.
    pub fn down_after(&self, interval: Duration) -> Duration {
        match self.down_after {
            // Less than two intervals would take everybody for dead all the time.
            Some(down_after) => down_after.max(interval.saturating_mul(2)),
            None => interval.saturating_mul(3) + interval / 4,
        }
    }
}

/// What changed about a node.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Up(Way),
    Down(Way, DownReason),
    /// It has begun to listen, or to be gone in place of listening; or to deliver, or to fail to.
    Listening,
}

impl Node {
    fn new(now: Instant, incarnation: u64) -> Self {
        Self {
            incarnation,
            is_leaving: false,
            is_failing: false,
            since: now,
            presences: BTreeMap::new(),
        }
    }

    /// On which ways it is up.
    pub fn heard_on(&self) -> impl Iterator<Item = &Way> {
        self.standing(Standing::Up)
    }

    /// On which ways it lives but holds nothing, or does not yet.
    pub fn listens_on(&self) -> impl Iterator<Item = &Way> {
        self.standing(Standing::Listening)
    }

    fn standing(&self, standing: Standing) -> impl Iterator<Item = &Way> {
        let presences = self.presences.iter();
        let standing = presences.filter(move |(_, presence)| presence.standing == standing);
        standing.map(|(way, _)| way)
    }

    /// It said that it is leaving.
    pub fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// It said that what arrives there is not delivered.
    pub fn is_failing(&self) -> bool {
        self.is_failing
    }

    /// When it last came up or went down.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Whether it has shown that it speaks now, and has not been silent since.
    fn trusts(&self, way: &Way, heartbeat: &Heartbeat) -> bool {
        let is_trusted = |presence: &Presence| match presence.standing {
            Standing::Up | Standing::Listening => true,
            // It says so more than once.
            Standing::Down(DownReason::Leaving) => heartbeat.flags.is_leaving,
            Standing::Down(_) => false,
        };
        let presence = self.presences.get(way);
        self.incarnation == heartbeat.incarnation
            && presence.is_some_and(|presence| presence.is_proven && is_trusted(presence))
    }

    /// A packet that came twice, or was overtaken.
    fn is_old(&self, way: &Way, heartbeat: &Heartbeat) -> bool {
        self.incarnation == heartbeat.incarnation
            && self
                .presences
                .get(way)
                .is_some_and(|presence| heartbeat.sequence <= presence.sequence)
    }

    /// About how many heartbeats did not come since the last one on this way: no more than there are
    /// numbers missing, some of which were for others, and no more than were due.
    fn missing(&self, now: Instant, way: &Way, heartbeat: &Heartbeat) -> u64 {
        let presence = self.presences.get(way);
        let Some(presence) = presence.filter(|_| self.incarnation == heartbeat.incarnation) else {
            return 0;
        };
        let numbers = heartbeat.sequence.saturating_sub(presence.sequence);
        let silence = now.saturating_duration_since(presence.heard) + presence.interval / 2;
        let intervals = silence.as_micros() / presence.interval.as_micros().max(1);
        let due = u64::try_from(intervals).unwrap_or(u64::MAX);
        numbers.min(due).saturating_sub(1)
    }

    /// Interfaces can be renamed, and without a key be invented.
    fn make_room(&mut self, way: &Way) -> bool {
        if self.presences.len() >= MAX_WAYS && !self.presences.contains_key(way) {
            self.presences.retain(|_, presence| presence.is_alive());
        }
        self.presences.len() < MAX_WAYS || self.presences.contains_key(way)
    }

    fn take(&mut self, now: Instant, way: &Way, sender: Mac, heartbeat: &Heartbeat) -> Vec<Change> {
        let flags = heartbeat.flags;
        let is_restart = self.incarnation != heartbeat.incarnation;
        if is_restart {
            self.incarnation = heartbeat.incarnation;
            for presence in self.presences.values_mut() {
                presence.is_proven = false;
                presence.sequence = 0;
                presence.to_tell = 0;
            }
        }
        self.is_leaving = flags.is_leaving;
        let presence = self.presences.entry(way.clone()).or_insert(Presence {
            standing: Standing::Down(DownReason::Silence),
            is_proven: true,
            sequence: 0,
            sender,
            interval: heartbeat.interval,
            heard: now,
            probes: 0,
            to_tell: 0,
        });
        presence.is_proven = true;
        presence.sequence = heartbeat.sequence;
        presence.sender = sender;
        presence.interval = heartbeat.interval;
        presence.heard = now;
        presence.probes = 0;
        let standing = match (flags.is_leaving, flags.is_listening) {
            (true, _) => Standing::Down(DownReason::Leaving),
            (false, true) => Standing::Listening,
            (false, false) => Standing::Up,
        };
        let mut changes = Vec::new();
        if std::mem::replace(&mut self.is_failing, flags.is_failing) != flags.is_failing {
            changes.push(Change::Listening);
        }
        if flags.is_leaving || (is_restart && flags.is_listening) {
            // It answers nowhere, whatever was last heard of it elsewhere.
            let others: Vec<Way> = self
                .heard_on()
                .filter(|other| *other != way)
                .cloned()
                .collect();
            changes.extend(
                others
                    .iter()
                    .filter_map(|other| self.stand(now, other, standing)),
            );
        }
        changes.extend(self.stand(now, way, standing));
        changes
    }

    /// The one door between standings.
    fn stand(&mut self, now: Instant, way: &Way, standing: Standing) -> Option<Change> {
        let was_heard = self.heard_on().next().is_some();
        let presence = self.presences.get_mut(way)?;
        let before = presence.standing;
        presence.standing = standing;
        let is_heard = self.heard_on().next().is_some();
        if was_heard != is_heard {
            self.since = now;
        }
        match (before == Standing::Up, standing) {
            (false, Standing::Up) => Some(Change::Up(way.clone())),
            (true, Standing::Listening) => Some(Change::Down(way.clone(), DownReason::Listening)),
            (true, Standing::Down(reason)) => Some(Change::Down(way.clone(), reason)),
            (true, Standing::Up) => None,
            (false, Standing::Listening) => {
                (before != Standing::Listening).then_some(Change::Listening)
            }
            (false, Standing::Down(_)) => {
                (before == Standing::Listening).then_some(Change::Listening)
            }
        }
    }
}

impl Presence {
    fn is_alive(&self) -> bool {
        match self.standing {
            Standing::Up | Standing::Listening => true,
            Standing::Down(_) => false,
        }
    }

    /// When to probe or judge it.
    fn deadline(&self, settings: &Settings) -> Option<Instant> {
        let eighths = u32::from(FIRST_PROBE) + u32::from(self.probes);
        let silence = settings.down_after(self.interval) * eighths / 8;
        self.is_alive().then_some(self.heard + silence)
    }
}

/// Heartbeats of a segment are at least so far apart in the mean: 500 a second.
const PER_NODE: Duration = Duration::from_millis(2);

/// Intervals stretch no further than that.
const LONGEST: Duration = Duration::from_secs(10);

/// Probes before a node is down.
const PROBES: u8 = 3;

/// The first probe goes out after so many eighths of down-after.
const FIRST_PROBE: u8 = 5;

/// A node that was missed is told so often.
const TELL: u8 = 3;

/// Being called later than that is a stall of this process.
const PUNCTUAL: Duration = Duration::from_millis(20);

/// More nodes than a segment can have; the neighbour tables of the kernel end there too.
const MAX_NODES: usize = 1024;

/// More than two nodes have between them.
const MAX_WAYS: usize = 64;

#[cfg(test)]
mod tests;
