//! Many nodes on one virtual segment and one virtual clock, with loss, pauses and partitions. A node
//! is what it is in the world: its knowledge, its plan and its station, without sockets.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ferrolb_crds::model::ServiceKey;

use super::*;

mod blocked;
mod objects;
mod scale;
mod scenes;
use crate::layer2::station::{Input, Link, Output, Station};
use crate::layer2::{Desired, LinkIndex, Report, Settings};
use crate::wire::arp::{Operation, Packet};
use crate::wire::ethernet::Mac;
use crate::world::Delivery;
pub(super) use objects::{address, world};
use objects::{services, world_of};

/// Virtual addresses that the nodes share out among themselves.
const ADDRESSES: u32 = 5;

/// One of so many hears, on a large segment, when somebody announces what it does not hold itself.
const OVERHEARD: u8 = 20;

const LINK: LinkIndex = LinkIndex(2);
const PEER: Mac = Mac([2, 0, 0, 0, 0, 0x0b]);

fn milliseconds(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn settings(node: &str) -> Settings {
    Settings {
        node: node.to_owned(),
        key: None,
        interval: milliseconds(100),
        down_after: None,
        reannounce: Some(Duration::from_secs(30)),
        exclusion: Default::default(),
    }
}

fn name(n: usize) -> String {
    format!("node-{n}")
}

/// A frame, as many hear it.
type Frame = Arc<[u8]>;

#[derive(Clone)]
struct Host {
    station: Station,
    world: World,
    plan: Plan,
    mac: Mac,
    is_alive: bool,
    is_candidate: bool,
    is_failing: bool,
    /// What the API server shows it, if there is one.
    cluster: Option<blocked::Cluster>,
    paused_until: Option<Instant>,
    waiting: Vec<Frame>,
    side: u8,
    deadline: Option<Instant>,
    /// When its loop reads what layer 2 has to say, where that is not at once.
    hears_at: Option<Instant>,
}

#[derive(Clone)]
struct Segment {
    start: Instant,
    now: Instant,
    hosts: Vec<Host>,
    rng: fastrand::Rng,
    loss: f64,
    seed: u64,
    /// How many are shared out, and whose they are.
    addresses: u32,
    services: Arc<[Change]>,
    /// How long the loop of a node takes to read what layer 2 has to say: what comes meanwhile it reads
    /// together.
    lag: Option<Duration>,
    /// Frames on their way: when, in which order sent, to whom.
    wire: BTreeMap<(Instant, u64), (usize, Frame)>,
    deadlines: BTreeSet<(Instant, usize)>,
    sent: u64,
    /// What was sent so far, where somebody records it.
    tape: Option<Vec<Frame>>,
    /// When whom took whom for down.
    downs: Vec<(Duration, usize, String)>,
    ups: usize,
}

impl Segment {
    fn new(count: usize, loss: f64, seed: u64) -> Self {
        Self::sized(count, ADDRESSES, None, loss, seed)
    }

    #[expect(clippy::disallowed_methods, reason = "where virtual time begins")]
    fn sized(count: usize, addresses: u32, lag: Option<Duration>, loss: f64, seed: u64) -> Self {
        let start = Instant::now();
        let mut segment = Self {
            start,
            now: start,
            hosts: Vec::new(),
            rng: fastrand::Rng::with_seed(seed),
            loss,
            seed,
            addresses,
            services: services(addresses).collect(),
            lag,
            wire: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            sent: 0,
            tape: None,
            downs: Vec::new(),
            ups: 0,
        };
        for n in 0..count {
            let host = segment.host(n, 1);
            segment.hosts.push(host);
            segment.turn(n, &[]);
        }
        segment
    }

    fn host(&self, n: usize, incarnation: u64) -> Host {
        let [.., high, low] = n.to_be_bytes();
        let mac = Mac([2, 0, 0, 9, high, low]);
        let seed = incarnation * 10_000 + n as u64;
        let mut station = Station::new(&settings(&name(n)), seed, self.now, SystemTime::UNIX_EPOCH);
        let eth0 = Link {
            name: "eth0".to_owned(),
            mac,
            has_carrier: true,
            addresses: Vec::new(),
            path: BTreeMap::new(),
        };
        station.handle(self.now, Input::Links(BTreeMap::from([(LINK, eth0)])));
        let mut host = Host {
            station,
            world: world_of(&name(n), &self.services),
            plan: Plan::default(),
            mac,
            is_alive: true,
            is_candidate: true,
            is_failing: false,
            cluster: None,
            paused_until: None,
            waiting: Vec::new(),
            side: 0,
            deadline: None,
            hears_at: None,
        };
        host.hear(self.now, true);
        host
    }

    /// One turn of a host's driver: frames, what is due, and what follows.
    fn turn(&mut self, n: usize, frames: &[Frame]) {
        let now = self.now;
        let host = &mut self.hosts[n];
        for frame in frames {
            host.station.handle(now, Input::Frame { link: LINK, frame });
        }
        host.station.handle_timeout(now);
        if host.hears_at.is_some_and(|at| at <= now) {
            host.hears_at = None;
            host.hear(now, false);
        }
        let mut has_changed = true;
        let mut said = Vec::new();
        while has_changed {
            has_changed = false;
            while let Some(output) = host.station.poll() {
                has_changed |= output == Output::Changed;
                said.push(output);
            }
            match self.lag {
                Some(lag) if has_changed => {
                    host.hears_at.get_or_insert(now + lag);
                    has_changed = false;
                }
                None if has_changed => host.hear(now, true),
                Some(_) | None => {}
            }
        }
        for output in said {
            if let Output::Send { frame, .. } = output {
                self.send(n, frame.into());
            } else if let Output::Answer { frame, .. } = output {
                self.send(n, frame.as_ref().into());
            } else if let Output::Node { node, down, .. } = output {
                match down {
                    Some(_) => self.downs.push((now - self.start, n, node)),
                    None => self.ups += 1,
                }
            } else if output == Output::Left {
                self.hosts[n].is_alive = false;
            }
        }
        self.plan(n);
    }

    fn plan(&mut self, n: usize) {
        let host = &mut self.hosts[n];
        if let Some(old) = host.deadline.take() {
            self.deadlines.remove(&(old, n));
        }
        let due = host.station.poll_timeout().map(|(at, _)| at);
        let due = due.into_iter().chain(host.hears_at).min();
        host.deadline = match host.paused_until {
            Some(until) => Some(until),
            None => due.filter(|_| host.is_alive),
        };
        self.deadlines.extend(host.deadline.map(|at| (at, n)));
    }

    fn send(&mut self, from: usize, frame: Frame) {
        self.sent += 1;
        if let Some(tape) = &mut self.tape {
            tape.push(frame.clone());
        }
        let to = Mac(frame[..6].try_into().unwrap());
        // Who else hears it learns nothing that heartbeats do not tell: on a large segment few do.
        let announced = self.lag.and_then(|_| Packet::parse(&frame[14..]).ok());
        let announced = announced.map(|packet| IpAddr::V4(packet.sender_ip));
        for n in 0..self.hosts.len() {
            let host = &self.hosts[n];
            let is_for = n != from && (to.is_group() || to == host.mac);
            if !is_for || !host.is_alive || self.rng.f64() < self.loss {
                continue;
            }
            if announced
                .is_some_and(|at| self.rng.u8(..OVERHEARD) > 0 && !host.station.is_owned(at))
            {
                continue;
            }
            let delay = Duration::from_micros(self.rng.u64(200..1000));
            let at = self.now + delay;
            let order = self.sent * 1000 + n as u64;
            self.wire.insert((at, order), (n, frame.clone()));
        }
    }

    /// Somebody plays everything that was recorded, in any order, to everybody.
    fn replay(&mut self, tape: &[Frame], time: Duration) {
        let turns = 2000;
        for _ in 0..turns {
            let frame = self.rng.choice(tape).unwrap().clone();
            for n in 0..self.hosts.len() {
                if self.hosts[n].is_alive && self.hosts[n].paused_until.is_none() {
                    self.turn(n, std::slice::from_ref(&frame));
                }
            }
            self.run_for(time / turns);
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let frame = self.wire.first_key_value().map(|((at, _), _)| *at);
            let timer = self.deadlines.first().map(|(at, _)| *at);
            let Some(next) = frame.into_iter().chain(timer).min().filter(|at| *at <= end) else {
                break;
            };
            self.now = next.max(self.now);
            if frame.is_some_and(|at| at <= next) {
                let (_, (n, frame)) = self.wire.pop_first().unwrap();
                self.deliver(n, frame);
            } else if let Some((_, n)) = self.deadlines.pop_first() {
                self.hosts[n].deadline = None;
                self.wake(n);
            }
        }
        self.now = end;
    }

    fn deliver(&mut self, n: usize, frame: Frame) {
        let sender = usize::from(u16::from_be_bytes([frame[10], frame[11]]));
        if self.hosts[sender].side != self.hosts[n].side {
            return;
        }
        let host = &mut self.hosts[n];
        if host.paused_until.is_some() {
            host.waiting.push(frame);
        } else if host.is_alive {
            self.turn(n, &[frame]);
        }
    }

    fn wake(&mut self, n: usize) {
        let host = &mut self.hosts[n];
        if host.paused_until.is_some_and(|until| until <= self.now) {
            host.paused_until = None;
        }
        let frames = std::mem::take(&mut host.waiting);
        self.turn(n, &frames);
    }

    fn kill(&mut self, n: usize) {
        self.hosts[n].is_alive = false;
        self.plan(n);
    }

    /// The node is no candidate any more; the others are not told otherwise.
    fn retire(&mut self, n: usize) {
        self.hosts[n].is_candidate = false;
        self.hosts[n].hear(self.now, true);
        self.turn(n, &[]);
    }

    /// What arrives at the node is not delivered from now on, or is again.
    fn fail(&mut self, n: usize, is_failing: bool) {
        self.hosts[n].is_failing = is_failing;
        self.hosts[n].hear(self.now, true);
        self.turn(n, &[]);
    }

    /// The node leaves in good order.
    fn leave(&mut self, n: usize) {
        self.hosts[n].station.handle(self.now, Input::Leave);
        self.turn(n, &[]);
    }

    /// A new process in the place of the old one, which remembers what that held.
    fn restart(&mut self, n: usize) {
        let held = self.hosts[n].held();
        let incarnation = 2 + self.elapsed().as_micros() as u64;
        self.hosts[n] = self.host(n, incarnation);
        let _ = self.hosts[n].world.remember(held);
        self.hosts[n].hear(self.now, true);
        self.turn(n, &[]);
    }

    /// Who answers for each address, by number.
    fn holders(&mut self) -> Vec<Vec<usize>> {
        (0..self.addresses).map(|n| self.answering(n)).collect()
    }

    fn pause(&mut self, n: usize, time: Duration) {
        self.hosts[n].paused_until = Some(self.now + time);
        self.plan(n);
    }

    /// Which hosts answer for an address.
    fn answering(&mut self, n: u32) -> Vec<usize> {
        let IpAddr::V4(target_ip) = address(n) else {
            return Vec::new();
        };
        let request = Packet {
            operation: Operation::Request,
            sender_hw: PEER,
            sender_ip: Ipv4Addr::new(10, 0, 0, 9),
            target_hw: Mac::ZERO,
            target_ip,
        }
        .emit(Mac::BROADCAST);
        let mut answering = Vec::new();
        for (n, host) in self
            .hosts
            .iter_mut()
            .enumerate()
            .filter(|(_, host)| host.is_alive)
        {
            let input = Input::Frame {
                link: LINK,
                frame: &request,
            };
            host.station.handle(self.now, input);
            let said: Vec<Output> = std::iter::from_fn(|| host.station.poll()).collect();
            let answers = |output: &Output| matches!(output, Output::Answer { frame, .. } if frame[..6] == PEER.0);
            if said.iter().any(answers) {
                answering.push(n);
            }
        }
        answering
    }

    fn exactly_one_answers_for_each_address(&mut self) {
        for n in 0..self.addresses {
            let answering = self.answering(n);
            assert_eq!(answering.len(), 1, "{} by {answering:?}", address(n));
        }
    }

    /// How long after `since` the others had taken a host for down.
    fn detection(&self, n: usize, since: Duration) -> RangeInclusive<Duration> {
        let downs = self
            .downs
            .iter()
            .filter(|(at, _, node)| *at >= since && *node == name(n));
        let times: Vec<Duration> = downs.map(|(at, ..)| *at - since).collect();
        assert_eq!(times.len(), self.hosts.len() - 1, "all others notice, once");
        *times.iter().min().unwrap()..=*times.iter().max().unwrap()
    }

    fn elapsed(&self) -> Duration {
        self.now - self.start
    }
}

impl Host {
    /// What the composition root does when layer 2 has news: it tells layer 2 what differs, or all.
    fn hear(&mut self, now: Instant, tells_all: bool) {
        let report = self.station.report();
        let claims = translate::claims(self.station.take_claims());
        let Seen {
            segment,
            claims,
            unheard,
        } = self.look_out(now, &report, translate::segment(&report), claims);
        let mut touched = self.world.hear(segment);
        touched.extend(self.world.note_delivery(Delivery {
            is_failing: self.is_failing,
            is_unproven: false,
            failing: translate::failing(&report),
            unheard: unheard.keys().cloned().collect(),
        }));
        touched.extend(self.world.take_claims(claims));
        touched.extend(self.world.find(self.station.take_findings()));
        if self.plan.addresses.is_empty() {
            touched.extend(self.world.addresses());
        }
        let planned = plan::plan_each(&self.world, touched);
        let planned: Vec<(IpAddr, Option<AddressPlan>)> = planned.collect();
        let mut differs = tells_all;
        for (address, plan) in planned {
            let plan = plan.unwrap();
            self.world.note_decision(address, plan.layer2.decision());
            let before = self.plan.addresses.get(&address);
            if before.map(Arc::as_ref) != Some(&plan) {
                differs |= before.is_none_or(|before| before.layer2 != plan.layer2);
                self.plan.addresses.insert(address, Arc::new(plan));
            }
        }
        let heartbeat = plan::heartbeat(&self.world);
        differs |= heartbeat != self.plan.heartbeat;
        self.plan.heartbeat = heartbeat;
        if !differs {
            return;
        }
        let desired = match self.is_candidate {
            true => {
                let addresses = self.plan.each();
                translate::layer2_desired(&self.plan, &self.world, addresses)
            }
            false => Desired::default(),
        };
        self.station.handle(now, Input::Want(desired));
        self.station.handle_timeout(now);
    }

    fn held(&self) -> BTreeSet<IpAddr> {
        let held = self.plan.addresses.iter();
        let held = held.filter(|(_, plan)| plan.layer2.is_held());
        held.map(|(address, _)| *address).collect()
    }
}
