//! One node on its segments: responder, announcer, heartbeat and liveness behind one deadline.
//!
//! An interface is used in three steps: it has carrier, and heartbeats are wanted there; it has
//! been *listened to* for one down-after time, while heartbeats already go out, marked as
//! listening; it is settled, and what is owned there is announced and answered for. So a node that
//! starts, or whose carrier returns, knows who is there before it takes anything, and nobody yields
//! to it before it can take. Each interface goes through them by itself.
//!
//! An address that is wanted here no more because another node is to take it, and every address of
//! a node that leaves, is a hand-over: it is answered for until the other says that it holds it, or
//! for [`HAND_OVER`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant, SystemTime};

use ferrolb_crds::model::Secret;

use crate::layer2::announcer::{self, Announcer};
use crate::layer2::claims::{Claims, PATIENCE};
use crate::layer2::conflict::Conflicts;
use crate::layer2::heartbeat::{self, Heartbeat, HeartbeatError};
use crate::layer2::liveness::{self, DownReason, Liveness, Unicast, Way};
use crate::layer2::responder::{self, Reason, Verdict};
use crate::layer2::tally::Tally;
use crate::layer2::{ClaimsByAddress, Counts, Desired, LinkIndex, Settings};
use crate::wire::ethernet::{self, Header, Mac};
use crate::wire::{Short, ndisc};

mod attachment;
mod contest;
mod hand_over;
mod report;
mod siblings;
mod talk;
mod voice;

use attachment::Attachment;
pub use attachment::{Leg, Link};
use contest::Probes;
pub use hand_over::HAND_OVER;
use hand_over::{Offer, is_taken, standings};
use siblings::Siblings;
use voice::{Farewell, Saying, Voice};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input<'a> {
    /// What should be true.
    Want(Desired),
    /// The interfaces fit for announcing; one that is not named is gone.
    Links(BTreeMap<LinkIndex, Link>),
    /// Why an interface cannot be used, or that it can.
    Problem {
        /// Which.
        link: LinkIndex,
        /// Why, if it cannot.
        problem: Option<String>,
    },
    /// A frame came in.
    Frame {
        /// Where.
        link: LinkIndex,
        /// The whole frame.
        frame: &'a [u8],
    },
    /// The key of the heartbeats is another one from now on.
    Key(Secret),
    /// Stop answering, tell the others, and end.
    Leave,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a frame.
    Send {
        /// Where.
        link: LinkIndex,
        /// The whole frame.
        frame: Vec<u8>,
    },
    /// Send an answer.
    Answer {
        /// Where.
        link: LinkIndex,
        /// The whole frame.
        frame: Short,
    },
    /// The report may have changed.
    Changed,
    /// A node is heard, or heard no more; for the log.
    Node {
        /// Who.
        node: String,
        /// On which interface.
        interface: String,
        /// From which of its own.
        from: String,
        /// `None`: it is up.
        down: Option<DownReason>,
    },
    /// Somebody's heartbeats are not believed; said once for each reason.
    Rejected {
        /// On which interface.
        interface: String,
        /// From which hardware address.
        sender: Mac,
        /// Why.
        error: HeartbeatError,
    },
    /// A node is heard and does not answer; said once.
    Mute {
        /// On which interface.
        interface: String,
        /// Who.
        node: String,
    },
    /// Another speaker uses this node's name; said once.
    Namesake {
        /// On which interface.
        interface: String,
        /// Its hardware address.
        sender: Mac,
    },
    /// Somebody else says that an address is theirs which is answered for here; said of each once in a
    /// while.
    Rival {
        /// On which interface.
        interface: String,
        /// Which.
        address: IpAddr,
        /// Its hardware address.
        mac: Mac,
        /// The node, if it is one that was ever heard.
        node: Option<String>,
    },
    /// A frame was not answered; for the trace.
    Silent {
        /// Where.
        link: LinkIndex,
        /// Why.
        reason: Reason,
    },
    /// Leaving is over.
    Left,
}

/// What the next deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// Send a heartbeat.
    Heartbeat,
    /// An interface has been listened to for long enough.
    Settle,
    /// Who started together with this node has settled, too.
    Grow,
    /// Somebody has been silent for long.
    Liveness,
    /// Somebody's claims are still not known.
    Claims,
    /// Tell those who asked what is claimed here.
    Tell,
    /// A hand-over has taken long enough.
    HandOver,
    /// Ask who else has an address, or nobody has answered.
    Conflict,
    /// Announce something.
    Announce,
    /// The former key of the heartbeats ends.
    Key,
    /// Say again that we are leaving, or hold nothing on an interface any more.
    Leave,
}

/// One node on its segments.
///
/// After any `handle` or `handle_timeout`: `poll` until `None`, then ask for the next deadline.
/// Frames that have arrived are handled before `handle_timeout` is called.
#[derive(Debug, Clone)]
pub struct Station {
    voice: Voice,
    desired: Desired,
    links: BTreeMap<LinkIndex, Attachment>,
    liveness: Liveness,
    claims: Claims,
    /// Addresses of which something else is claimed than was last told.
    claimed: BTreeSet<IpAddr>,
    /// How often there was something to tell.
    claims_taken: u64,
    offers: BTreeMap<IpAddr, Offer>,
    /// No offer ends earlier.
    offers_end: Option<Instant>,
    /// Somebody may have taken what is offered.
    may_hand_over: bool,
    /// Offered to the end, when this node left.
    left_behind: BTreeSet<IpAddr>,
    conflicts: Conflicts,
    probes: Probes,
    /// Addresses of which it was found out lately who else has them.
    found: BTreeSet<IpAddr>,
    /// Those of them that are still to be announced.
    cleared: BTreeSet<IpAddr>,
    announcer: Announcer,
    /// Until when this node has only just settled; `None`: it has not yet.
    new_until: Option<Instant>,
    is_new: bool,
    leaving: Option<Farewell>,
    has_left: bool,
    epoch: (Instant, SystemTime),
    complaints: Vec<(LinkIndex, HeartbeatError)>,
    has_namesake: bool,
    siblings: Siblings,
    /// Who was said not to answer where.
    mute: BTreeSet<(String, LinkIndex)>,
    /// Who else was said to answer for an address, and when.
    rivals: BTreeMap<(IpAddr, Mac), Instant>,
    /// How often that was said.
    rivals_told: u64,
    /// What was done since it was last asked; one that is done again and again takes one entry.
    counts: Vec<(IpAddr, Counts)>,
    tally: Tally,
    outputs: VecDeque<Output>,
}

impl Station {
    /// Knows no interface and wants nothing yet.
    ///
    /// The incarnation differs each time a node starts; `wall` is what the clock on the wall says
    /// `now`.
    pub fn new(settings: &Settings, incarnation: u64, now: Instant, wall: SystemTime) -> Self {
        let liveness = liveness::Settings {
            node: settings.node.clone(),
            interval: settings.interval,
            down_after: settings.down_after,
        };
        Self {
            voice: Voice::new(settings, incarnation),
            desired: Desired::default(),
            links: BTreeMap::new(),
            liveness: Liveness::new(liveness, incarnation),
            claims: Claims::default(),
            claimed: BTreeSet::new(),
            claims_taken: 0,
            offers: BTreeMap::new(),
            offers_end: None,
            may_hand_over: false,
            left_behind: BTreeSet::new(),
            conflicts: Conflicts::new(now),
            probes: Probes::default(),
            found: BTreeSet::new(),
            cleared: BTreeSet::new(),
            announcer: Announcer::new(now, incarnation.rotate_left(32), settings.reannounce),
            new_until: None,
            is_new: true,
            leaving: None,
            has_left: false,
            epoch: (now, wall),
            complaints: Vec::new(),
            has_namesake: false,
            siblings: Siblings::default(),
            mute: BTreeSet::new(),
            rivals: BTreeMap::new(),
            rivals_told: 0,
            counts: Vec::new(),
            tally: Tally::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Want(desired) => self.want(now, desired),
            Input::Links(links) => self.follow(now, links),
            Input::Problem { link, problem } => self.note_problem(now, link, problem),
            Input::Frame { link, frame } => self.receive(now, link, frame),
            Input::Key(secret) => self.voice.rekey(now, &secret),
            Input::Leave => self.leave(now),
        }
        self.drain(now);
        self.hand_over(now);
    }

    /// The next thing to do.
    #[must_use]
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call `handle_timeout`, and what for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        let beats = self
            .links
            .values()
            .filter_map(|attachment| attachment.next_beat);
        let settles = self.settling().into_iter();
        let grows = self.new_until.filter(|_| self.is_new);
        let tells = self.links.values().filter_map(Attachment::tells_at);
        let offers = self.offers_end.into_iter();
        let former_key = self.voice.former_until().into_iter();
        let farewells = self.links.values().map(|attachment| attachment.farewell);
        let farewells = farewells.chain([self.leaving]).flatten();
        beats
            .map(|at| (at, Timer::Heartbeat))
            .chain(settles.map(|(_, at)| (at, Timer::Settle)))
            .chain(self.liveness.poll_timeout().map(|at| (at, Timer::Liveness)))
            .chain(self.claims.poll_timeout().map(|at| (at, Timer::Claims)))
            .chain(grows.map(|at| (at, Timer::Grow)))
            .chain(tells.map(|at| (at, Timer::Tell)))
            .chain(offers.map(|at| (at, Timer::HandOver)))
            .chain(
                self.conflicts
                    .poll_timeout()
                    .map(|at| (at, Timer::Conflict)),
            )
            .chain(former_key.map(|at| (at, Timer::Key)))
            .chain(
                self.announcer
                    .poll_timeout()
                    .map(|at| (at, Timer::Announce)),
            )
            .chain(
                farewells
                    .filter_map(|farewell| farewell.due())
                    .map(|at| (at, Timer::Leave)),
            )
            .min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.voice.retire(now);
        self.liveness.handle_timeout(now);
        self.claims.handle_timeout(now);
        self.drain(now);
        self.hand_over(now);
        self.settle(now);
        self.grow(now);
        self.beat(now);
        self.tell(now);
        self.say_farewell(now);
        self.say_leaving(now);
        self.contest(now);
        self.announcer.handle_timeout(now);
        self.drain(now);
    }

    /// What was done for which address since this was last asked.
    pub fn take_counts(&mut self) -> impl Iterator<Item = (IpAddr, Counts)> {
        self.counts.drain(..)
    }

    /// What else was counted since this was last asked.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// Whether the address is to be answered for somewhere.
    pub fn is_owned(&self, address: IpAddr) -> bool {
        self.desired.owned.contains_key(&address) || self.offers.contains_key(&address)
    }

    /// The addresses that are to be answered for somewhere, each once.
    #[cfg(test)]
    pub(crate) fn owned(&self) -> impl Iterator<Item = IpAddr> {
        let offered = self.offers.keys();
        let offered = offered.filter(|address| !self.desired.owned.contains_key(address));
        self.desired.owned.keys().chain(offered).copied()
    }

    /// What the others claim of those addresses of which that has changed since this was last asked.
    pub fn take_claims(&mut self) -> ClaimsByAddress {
        let claimed = std::mem::take(&mut self.claimed).into_iter();
        claimed
            .map(|address| (address, self.claims.at(address).to_vec()))
            .collect()
    }

    /// The solicited-node groups to be in on an interface: those in which is asked for what is
    /// answered for, and where others ask who are about to take what is probed.
    pub fn groups(&self, link: LinkIndex) -> BTreeSet<Ipv6Addr> {
        let Some(attachment) = self.links.get(&link) else {
            return BTreeSet::new();
        };
        let probed = self.desired.probed_on(&attachment.link.name);
        let addresses = attachment.owned.iter().copied().chain(probed);
        addresses
            .filter_map(|address| match address {
                IpAddr::V6(address) => Some(ndisc::solicited_node(address)),
                IpAddr::V4(_) => None,
            })
            .collect()
    }

    fn want(&mut self, now: Instant, desired: Desired) {
        if desired == self.desired || self.leaving.is_some() {
            return;
        }
        let before = std::mem::replace(&mut self.desired, desired);
        self.probes.note(&before.probed, &self.desired.probed);
        if before.is_failing != self.desired.is_failing {
            // Who is to take over need not wait for the next heartbeat.
            for attachment in self.links.values_mut().filter(|link| link.beats()) {
                attachment.next_beat = attachment.next_beat.map(|at| at.min(now));
            }
        }
        for (address, interfaces) in before.owned {
            if self.desired.offers(address) {
                self.offer(now, address, interfaces);
            }
        }
        let desired = &self.desired;
        self.offers.retain(|address, _| desired.offers(*address));
        self.apply(now);
    }

    fn follow(&mut self, now: Instant, mut links: BTreeMap<LinkIndex, Link>) {
        let gone: Vec<LinkIndex> = self
            .links
            .keys()
            .filter(|link| !links.contains_key(link))
            .copied()
            .collect();
        for link in gone {
            self.detach(now, link);
        }
        while let Some((index, link)) = links.pop_first() {
            self.attach(now, index, link);
        }
        self.apply(now);
        self.outputs.push_back(Output::Changed);
    }

    fn attach(&mut self, now: Instant, index: LinkIndex, link: Link) {
        let attachment = self.links.entry(index);
        let attachment = attachment.or_insert_with(|| Attachment::new(now, link.clone()));
        let before = std::mem::replace(&mut attachment.link, link);
        let link = &attachment.link;
        if before.mac != link.mac || before.path != link.path {
            let refresh = announcer::Input::Refresh { link: index };
            self.announcer.handle(now, refresh);
        }
    }

    fn detach(&mut self, now: Instant, link: LinkIndex) {
        self.liveness
            .handle(now, liveness::Input::LinkLost { link });
        self.drain(now);
        self.links.remove(&link);
        self.siblings.lose(link);
        self.complaints.retain(|(where_, _)| *where_ != link);
        let addresses = BTreeSet::new();
        self.announcer
            .handle(now, announcer::Input::Own { link, addresses });
    }

    fn note_problem(&mut self, now: Instant, link: LinkIndex, problem: Option<String>) {
        let Some(attachment) = self.links.get_mut(&link) else {
            return;
        };
        if attachment.problem != problem {
            attachment.problem = problem;
            self.apply(now);
            self.outputs.push_back(Output::Changed);
        }
    }

    /// Brings every interface in line with what is wanted and what it can do.
    fn apply(&mut self, now: Instant) {
        let is_leaving = self.leaving.is_some();
        let mut news = Vec::new();
        for (index, attachment) in &mut self.links {
            if attachment.note_usable() {
                let lost = liveness::Input::LinkLost { link: *index };
                self.liveness.handle(now, lost);
                self.siblings.lose(*index);
            }
            let name = &attachment.link.name;
            let mut offered = self.offers.iter().filter(|(address, offer)| {
                let is_answered = attachment.owned.contains(address);
                // Nobody else is on a container's link to take it there.
                let at = attachment.is_shared.then_some(*index);
                let is_taken = || is_taken(&self.claims, &self.liveness, at, **address);
                is_answered && offer.interfaces.contains(name) && !is_taken()
            });
            let mut owned: BTreeSet<IpAddr> =
                offered.by_ref().map(|(address, _)| *address).collect();
            let beats = !owned.is_empty() || self.desired.beats_on(name);
            let beats = attachment.is_usable() && beats;
            if attachment.set_beats(now, beats) {
                self.outputs.push_back(Output::Changed);
            }
            match attachment.is_settled {
                true => owned.extend(self.desired.owned_on(&attachment.link.name)),
                false => owned.clear(),
            }
            // Who leaves offers everything, which need not be said of each.
            if !is_leaving {
                let standings = match attachment.beats() {
                    true => standings(&owned, &self.offers, &self.desired.remembered),
                    false => BTreeMap::new(),
                };
                let messages = attachment.claim(&standings);
                news.extend(messages.into_iter().map(|message| (*index, message)));
            }
            attachment.owned = owned;
            attachment.next_beat = match attachment.next_beat {
                _ if !attachment.beats() => None,
                _ if is_leaving && self.offers.is_empty() => None,
                None => Some(now),
                planned => planned,
            };
        }
        self.announce_owned(now);
        for (link, message) in news {
            self.send(link, None, message.into());
        }
        self.want_probes(now);
    }

    /// Tells the announcer what is to be announced where.
    fn announce_owned(&mut self, now: Instant) {
        let indices: Vec<LinkIndex> = self.links.keys().copied().collect();
        for link in indices {
            let announced = self.announced(link);
            if let Some(attachment) = self.links.get_mut(&link)
                && attachment.announced != announced
            {
                attachment.announced.clone_from(&announced);
                let own = announcer::Input::Own {
                    link,
                    addresses: announced,
                };
                self.announcer.handle(now, own);
            }
        }
    }

    fn receive(&mut self, now: Instant, link: LinkIndex, frame: &[u8]) {
        let Some(attachment) = self.links.get(&link) else {
            return;
        };
        match Header::parse(frame) {
            Ok((header, _)) if header.ether_type == ethernet::IPV4 => {
                let mac = attachment.link.mac;
                self.receive_heartbeat(now, link, mac, frame);
            }
            _ => self.receive_question(now, link, frame),
        }
    }

    /// Nothing is allocated for it once there is room for what comes between two takings.
    fn count(&mut self, address: IpAddr, more: Counts) {
        match self.counts.last_mut() {
            Some((last, counts)) if *last == address => *counts += more,
            _ => self.counts.push((address, more)),
        }
    }

    fn receive_question(&mut self, now: Instant, link: LinkIndex, frame: &[u8]) {
        let is_contested = self.note_sighting(now, link, frame);
        let Some(attachment) = self.links.get(&link) else {
            return;
        };
        let rival = responder::rival(frame, &attachment.owned);
        if let Some((address, mac)) = rival.filter(|_| !is_contested) {
            return self.note_rival(now, link, address, mac);
        }
        match responder::respond(frame, attachment.link.mac, &attachment.owned) {
            // Who asks this interface alone knows of no other.
            Verdict::Reply { address, .. }
                if !frame.starts_with(&attachment.link.mac.0)
                    && self.leaves_to_sibling(link, address) =>
            {
                let reason = Reason::Sibling(address);
                self.tally.keep_silent(reason);
                self.outputs.push_back(Output::Silent { link, reason });
            }
            Verdict::Reply { address, frame } => {
                let counts = Counts {
                    requests: 1,
                    responses: 1,
                    gratuitous: 0,
                };
                self.count(address, counts);
                self.outputs.push_back(Output::Answer { link, frame });
            }
            Verdict::Silence(reason) => {
                self.tally.keep_silent(reason);
                self.outputs.push_back(Output::Silent { link, reason });
            }
        }
    }

    fn receive_heartbeat(&mut self, now: Instant, link: LinkIndex, mac: Mac, frame: &[u8]) {
        let Ok((sender, packet)) = heartbeat::unframe(frame, mac) else {
            return;
        };
        match Heartbeat::parse(packet, &self.voice.authenticator) {
            Ok(heartbeat) => {
                let heard = liveness::Input::Heard {
                    link,
                    sender,
                    heartbeat,
                };
                self.liveness.handle(now, heard);
            }
            Err(error) => self.complain(link, sender, error),
        }
    }

    /// Somebody else is, or was, on this segment.
    fn note_company(&mut self, link: LinkIndex) {
        if let Some(attachment) = self.links.get_mut(&link)
            && !attachment.is_shared
        {
            attachment.is_shared = true;
            self.outputs.push_back(Output::Changed);
        }
    }

    /// Says once for each interface and reason that somebody is not believed.
    fn complain(&mut self, link: LinkIndex, sender: Mac, error: HeartbeatError) {
        let is_known = self.complaints.contains(&(link, error));
        if is_known || self.complaints.len() >= MAX_COMPLAINTS {
            return;
        }
        self.complaints.push((link, error));
        if let Some(interface) = self.name_of(link) {
            self.outputs.push_back(Output::Rejected {
                interface,
                sender,
                error,
            });
        }
    }

    /// Where heartbeats end, the others need not wait for the silence to know it.
    fn say_farewell(&mut self, now: Instant) {
        let due = self.links.iter_mut().filter_map(|(link, attachment)| {
            let farewell = attachment.farewell.as_mut()?;
            farewell.take(now).then_some(*link)
        });
        let due: Vec<LinkIndex> = due.collect();
        for link in due {
            self.send(link, None, Saying::default());
        }
    }

    fn beating(&self) -> impl Iterator<Item = LinkIndex> {
        let beating = self.links.iter().filter(|(_, link)| link.beats());
        beating.map(|(link, _)| *link)
    }

    fn beat(&mut self, now: Instant) {
        let due: Vec<LinkIndex> = self
            .links
            .iter()
            .filter(|(_, attachment)| attachment.next_beat.is_some_and(|at| at <= now))
            .map(|(link, _)| *link)
            .collect();
        for link in due {
            let attachment = self.links.get_mut(&link);
            let news = attachment.map(Attachment::retell).unwrap_or_default();
            self.beat_siblings(now, link);
            self.send(link, None, news.into());
            let pause = self.voice.pause(self.liveness.interval(link));
            if let Some(attachment) = self.links.get_mut(&link) {
                attachment.next_beat = Some(now + pause);
            }
        }
    }

    fn send(&mut self, link: LinkIndex, to: Option<Mac>, mut saying: Saying) {
        let Some(attachment) = self.links.get(&link) else {
            return;
        };
        saying.flags.is_leaving = self.leaving.is_some();
        saying.flags.is_listening = !attachment.is_settled;
        saying.flags.is_failing = self.desired.is_failing;
        saying.held = attachment.holdings.digest();
        let interval = self.liveness.interval(link);
        let packet = self.voice.speak(&attachment.link.name, interval, saying);
        let frame = heartbeat::frame(&packet, attachment.link.mac, attachment.link.ipv4(), to);
        self.outputs.push_back(Output::Send { link, frame });
    }

    /// Ends listening where it has lasted long enough, and says so to the others at once.
    fn settle(&mut self, now: Instant) {
        let mut has_settled = false;
        let mut links = self.links.values();
        // After the whole switch was gone all others begin anew, too.
        let was_settled = links.any(|link| link.is_settled && link.is_shared);
        for (link, _) in self.settling().into_iter().filter(|(_, at)| *at <= now) {
            if let Some(attachment) = self.links.get_mut(&link) {
                attachment.is_settled = true;
                attachment.next_beat = attachment.next_beat.map(|at| at.min(now));
                has_settled = true;
            }
        }
        if has_settled {
            if !was_settled {
                self.new_until = Some(now + NEW);
                self.is_new = true;
            }
            self.apply(now);
            self.outputs.push_back(Output::Changed);
        }
    }

    /// Whoever has not settled by now was not started together with this node.
    fn grow(&mut self, now: Instant) {
        if self.is_new && self.new_until.is_some_and(|until| until <= now) {
            self.is_new = false;
            self.outputs.push_back(Output::Changed);
        }
    }

    /// Interfaces that are still listened to, and until when. Where nobody was heard that takes as
    /// long as on any: who holds what there depends on who is heard on the others.
    fn settling(&self) -> Vec<(LinkIndex, Instant)> {
        let listening = || self.links.iter().filter(|(_, link)| link.is_listening());
        if listening().next().is_none() {
            return Vec::new();
        }
        let times: BTreeMap<LinkIndex, Duration> = listening()
            .map(|(link, _)| (*link, self.liveness.listen_time(*link)))
            .collect();
        let longest = times.values().max().copied().unwrap_or_default();
        let settling = listening().filter_map(|(link, attachment)| {
            let time = match attachment.is_shared {
                true => *times.get(link)?,
                false => longest,
            };
            let at = attachment.settles_at(time)?;
            // Somebody may be about to answer that it is there.
            let at = match self.liveness.is_asking_on(*link) {
                true => at + PATIENCE,
                false => at,
            };
            self.is_known(*link).then_some((*link, at))
        });
        settling.collect()
    }

    /// Whether it is known what the others claim on an interface.
    fn is_known(&self, link: LinkIndex) -> bool {
        let mut company = self.liveness.company(link);
        company.all(|(node, from)| self.claims.is_known(node, from))
    }

    /// Moves what the inner machines say to our own outputs.
    fn drain(&mut self, now: Instant) {
        while let Some(output) = self.liveness.poll() {
            self.follow_liveness(now, output);
        }
        self.follow_claims();
        while let Some(announcer::Output::Announce { link, address }) = self.announcer.poll() {
            let Some(attachment) = self.links.get(&link) else {
                continue;
            };
            let frames = announcer::frames(address, attachment.link.mac);
            let counts = Counts {
                gratuitous: frames.len() as u64,
                ..Counts::default()
            };
            self.count(address, counts);
            let sends = frames.into_iter().map(|frame| Output::Send { link, frame });
            self.outputs.extend(sends);
        }
    }

    fn follow_liveness(&mut self, now: Instant, output: liveness::Output) {
        match output {
            liveness::Output::Up { node, way } => {
                self.may_hand_over = true;
                self.claims.expect(now, &node, &way.from);
                self.log_node(node, way, None);
            }
            liveness::Output::Down { node, way, reason } => {
                self.log_node(node, way, Some(reason));
            }
            liveness::Output::Listening => self.outputs.push_back(Output::Changed),
            liveness::Output::Unicast { link, to, why } => self.say_to(link, to, why),
            liveness::Output::Asked { link, by } => {
                if let Some(attachment) = self.links.get_mut(&link)
                    && attachment.askers.len() < MAX_ASKERS
                {
                    attachment.askers.insert(by);
                }
            }
            liveness::Output::Lost { node, count } => self.tally.lose(&node, count),
            liveness::Output::Claims(heard) => {
                self.tally.hear(&heard.source.node, now);
                self.note_company(heard.link);
                self.claims.handle(now, heard);
            }
            liveness::Output::Mute { node, way } => self.note_mute(node, way),
            liveness::Output::Forgotten { node } => {
                self.claims.forget(&node);
                self.tally.forget(&node);
            }
            liveness::Output::Missed { link } => {
                self.announcer
                    .handle(now, announcer::Input::Refresh { link });
            }
            liveness::Output::Own {
                link,
                from,
                sequence,
            } => self.note_own(now, link, &from, sequence),
            liveness::Output::Namesake { link, sender } => self.note_namesake(link, sender),
        }
    }

    /// Says something to one node alone.
    fn say_to(&mut self, link: LinkIndex, to: Mac, why: Unicast) {
        let mut saying = Saying::default();
        match why {
            Unicast::Challenge(nonce) => {
                saying.flags.is_probe = true;
                saying.nonce = nonce;
            }
            Unicast::Probe => saying.flags.is_probe = true,
            Unicast::Answer(nonce) => {
                saying.flags.is_answer = true;
                saying.nonce = nonce;
            }
            Unicast::Missed => saying.flags.was_missed = true,
        }
        match why {
            // Who sends no heartbeats here wants to know all the same who is there.
            Unicast::Challenge(_) => self.send(link, Some(to), saying),
            Unicast::Probe | Unicast::Answer(_) | Unicast::Missed => self.send_to(link, to, saying),
        }
    }

    /// Says something to one node alone, where heartbeats go out.
    fn send_to(&mut self, link: LinkIndex, to: Mac, saying: Saying) {
        if self.links.get(&link).is_some_and(Attachment::beats) {
            self.send(link, Some(to), saying);
        }
    }

    fn log_node(&mut self, node: String, way: Way, down: Option<DownReason>) {
        if let Some(interface) = self.name_of(way.link) {
            self.outputs.push_back(Output::Node {
                node,
                interface,
                from: way.from,
                down,
            });
        }
        self.outputs.push_back(Output::Changed);
    }

    /// Says once of each that it is heard and does not answer.
    fn note_mute(&mut self, node: String, way: Way) {
        if let Some(interface) = self.name_of(way.link)
            && self.mute.len() < MAX_MUTE
            && self.mute.insert((node.clone(), way.link))
        {
            self.outputs.push_back(Output::Mute { interface, node });
        }
    }

    fn note_namesake(&mut self, link: LinkIndex, sender: Mac) {
        let interface = self.name_of(link).filter(|_| !self.has_namesake);
        if let Some(interface) = interface {
            self.has_namesake = true;
            self.outputs
                .push_back(Output::Namesake { interface, sender });
        }
    }

    fn name_of(&self, link: LinkIndex) -> Option<String> {
        self.links
            .get(&link)
            .map(|attachment| attachment.link.name.clone())
    }
}

/// How long a node has only just settled: speakers that are all started anew begin within that time.
const NEW: Duration = Duration::from_secs(3);

/// Who is asked by more tells them all together in any case.
const MAX_ASKERS: usize = 64;

/// More are worth no log lines.
const MAX_MUTE: usize = 64;

/// Complaints are worth a log line, not an open-ended list.
const MAX_COMPLAINTS: usize = 32;

#[cfg(test)]
mod tests;
