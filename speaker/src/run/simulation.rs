//! Many nodes on one virtual segment and one virtual clock, with loss, pauses and partitions. A node
//! is what it is in the world: its knowledge, its plan and its station, without sockets.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ferrolb_crds::model::{
    AddressRange, Config, Family, FamilyPolicy, Hints, L2Advertisement, Pool, PoolChoice, Requests,
    Service, ServiceKey, TrafficPolicy,
};

use super::*;

#[cfg(test)]
mod blocked;
mod scale;
use crate::layer2::station::{Input, Link, Output, Station};
use crate::layer2::{Desired, LinkIndex, Report, Settings};
use crate::wire::arp::{Operation, Packet};
use crate::wire::ethernet::Mac;
use crate::world::Delivery;

/// Virtual addresses that the nodes share out among themselves.
const ADDRESSES: u32 = 5;

/// Nodes that hints name.
const HINTED: u32 = 211;

const LINK: LinkIndex = LinkIndex(2);
const PEER: Mac = Mac([2, 0, 0, 0, 0, 0x0b]);

pub(super) fn address(n: u32) -> IpAddr {
    Ipv4Addr::from(0x0a00_0100 + n).into()
}

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
    waiting: Vec<Vec<u8>>,
    side: u8,
    deadline: Option<Instant>,
}

struct Segment {
    start: Instant,
    now: Instant,
    hosts: Vec<Host>,
    rng: fastrand::Rng,
    loss: f64,
    /// How many are shared out.
    addresses: u32,
    /// Frames on their way: when, in which order sent, to whom.
    wire: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    deadlines: BTreeSet<(Instant, usize)>,
    sent: u64,
    /// What was sent so far, where somebody records it.
    tape: Option<Vec<Vec<u8>>>,
    /// When whom took whom for down.
    downs: Vec<(Duration, usize, String)>,
    ups: usize,
}

impl Segment {
    fn new(count: usize, loss: f64, seed: u64) -> Self {
        Self::sized(count, ADDRESSES, loss, seed)
    }

    #[expect(clippy::disallowed_methods, reason = "where virtual time begins")]
    fn sized(count: usize, addresses: u32, loss: f64, seed: u64) -> Self {
        let start = Instant::now();
        let mut segment = Self {
            start,
            now: start,
            hosts: Vec::new(),
            rng: fastrand::Rng::with_seed(seed),
            loss,
            addresses,
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
            world: world_of(&name(n), self.addresses),
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
        };
        host.hear(self.now);
        host
    }

    /// One turn of a host's driver: frames, what is due, and what follows.
    fn turn(&mut self, n: usize, frames: &[Vec<u8>]) {
        let now = self.now;
        let host = &mut self.hosts[n];
        for frame in frames {
            host.station.handle(now, Input::Frame { link: LINK, frame });
        }
        host.station.handle_timeout(now);
        let mut has_changed = true;
        let mut said = Vec::new();
        while has_changed {
            has_changed = false;
            while let Some(output) = self.hosts[n].station.poll() {
                has_changed |= output == Output::Changed;
                said.push(output);
            }
            if has_changed {
                self.hosts[n].hear(now);
            }
        }
        for output in said {
            if let Output::Send { frame, .. } = output {
                self.send(n, frame);
            } else if let Output::Answer { frame, .. } = output {
                self.send(n, frame.to_vec());
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
        host.deadline = match host.paused_until {
            Some(until) => Some(until),
            None => due.filter(|_| host.is_alive),
        };
        self.deadlines.extend(host.deadline.map(|at| (at, n)));
    }

    fn send(&mut self, from: usize, frame: Vec<u8>) {
        self.sent += 1;
        if let Some(tape) = &mut self.tape {
            tape.push(frame.clone());
        }
        let to = Mac(frame[..6].try_into().unwrap());
        for n in 0..self.hosts.len() {
            let host = &self.hosts[n];
            let is_for = n != from && (to.is_group() || to == host.mac);
            if !is_for || !host.is_alive || self.rng.f64() < self.loss {
                continue;
            }
            let delay = Duration::from_micros(self.rng.u64(200..1000));
            let at = self.now + delay;
            let order = self.sent * 1000 + n as u64;
            self.wire.insert((at, order), (n, frame.clone()));
        }
    }

    /// Somebody plays everything that was recorded, in any order, to everybody.
    fn replay(&mut self, tape: &[Vec<u8>], time: Duration) {
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

    fn deliver(&mut self, n: usize, frame: Vec<u8>) {
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
        self.hosts[n].hear(self.now);
        self.turn(n, &[]);
    }

    /// What arrives at the node is not delivered from now on, or is again.
    fn fail(&mut self, n: usize, is_failing: bool) {
        self.hosts[n].is_failing = is_failing;
        self.hosts[n].hear(self.now);
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
        self.hosts[n].hear(self.now);
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
    /// What the composition root does when layer 2 has news.
    fn hear(&mut self, now: Instant) {
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
        let is_new = |at: &IpAddr| !self.plan.addresses.contains_key(at);
        touched.extend(self.world.addresses().filter(is_new));
        for address in touched {
            let plan = plan::plan_address(&self.world, address).unwrap();
            self.world.note_decision(address, plan.layer2.decision());
            self.plan.addresses.insert(address, plan);
        }
        self.plan.heartbeat = plan::heartbeat(&self.world);
        let desired = match self.is_candidate {
            true => {
                let addresses = self.plan.addresses.iter();
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

/// A world with the addresses in it, each that of a Service, and all of them announced by every node.
pub(super) fn world(node: &str) -> World {
    world_of(node, ADDRESSES)
}

fn world_of(node: &str, addresses: u32) -> World {
    let mut world = World::new(Identity {
        node: node.to_owned(),
        ..Identity::default()
    });
    let mut config = Config::default();
    let pool = Pool {
        name: "pool".to_owned(),
        labels: BTreeMap::new(),
        ranges: vec![AddressRange::from(
            "10.0.0.0/8".parse::<ipnet::IpNet>().unwrap(),
        )],
        auto_assign: true,
        avoid_buggy_ips: false,
        allocation: None,
    };
    config.pools.insert("pool".to_owned(), pool);
    let advertisement = L2Advertisement {
        name: "all".to_owned(),
        pools: PoolChoice::default(),
        nodes: Vec::new(),
        services: Vec::new(),
        interfaces: BTreeSet::new(),
        preferences: Vec::new(),
    };
    let advertisements = &mut config.l2_advertisements;
    advertisements.insert("all".to_owned(), advertisement);
    let _ = world.apply(Change::Config(Arc::new(config)));
    for n in 0..addresses {
        let key = ServiceKey::new("default", format!("web-{n}"));
        let service = Service {
            key: key.clone(),
            labels: BTreeMap::new(),
            created: None,
            is_load_balancer: true,
            class: None,
            families: Family::V4.into(),
            family_policy: FamilyPolicy::Single,
            ports: Vec::new(),
            traffic_policy: TrafficPolicy::Cluster,
            selector: BTreeMap::new(),
            source_ranges: Vec::new(),
            bad_source_ranges: Vec::new(),
            requests: Requests::default(),
            ingress: vec![address(n)],
            allocated_from: None,
            // At some nodes, also such as are not there or gone, and for some addresses at none.
            hints: match n % 4 {
                0 => Hints::default(),
                _ => Hints::parse(&format!(
                    "{}={}",
                    address(n),
                    name(usize::try_from(n % HINTED).unwrap())
                )),
            },
        };
        let _ = world.apply(Change::Service(key, Some(Arc::new(service))));
    }
    world
}

#[test]
fn nodes_that_start_together_share_the_addresses_out() {
    let mut segment = Segment::new(10, 0.0, 1);
    segment.run_for(milliseconds(600));
    assert_eq!(segment.ups, 90);
    assert_eq!(segment.downs, []);
    segment.exactly_one_answers_for_each_address();
}

#[test]
fn a_crash_is_noticed_in_time_on_segments_of_any_size() {
    // Up to fifty nodes beat every 100 ms; at eighty it is 160 ms.
    for (count, most) in [(2, 325), (10, 325), (50, 325), (80, 520)] {
        let mut segment = Segment::new(count, 0.0, 2);
        segment.run_for(milliseconds(3000));
        let since = segment.elapsed();
        segment.kill(1);
        segment.run_for(milliseconds(2000));
        let times = segment.detection(1, since);
        assert!(
            *times.end() <= milliseconds(most + 1),
            "{count} nodes: {times:?}"
        );
        assert!(
            *times.start() >= milliseconds(200),
            "{count} nodes: {times:?}"
        );
        segment.exactly_one_answers_for_each_address();
    }
}

#[test]
fn a_segment_carries_no_more_than_about_500_heartbeats_a_second() {
    let mut segment = Segment::new(80, 0.0, 3);
    segment.run_for(milliseconds(3000));
    let before = segment.sent;
    segment.run_for(Duration::from_secs(3));
    let rate = (segment.sent - before) / 3;
    assert!((450..=560).contains(&rate), "{rate}");
}

#[test]
fn hardly_a_false_down_at_five_percent_loss() {
    // 380 pairs for 60 s: silence alone would be some 28 false alarms, probes leave less than 0.1.
    let mut downs = 0;
    let mut segment = Segment::new(20, 0.05, 0);
    for seed in 5..9 {
        segment = Segment::new(20, 0.05, seed);
        segment.run_for(Duration::from_secs(60));
        assert_eq!(segment.ups, 380 + segment.downs.len());
        downs += segment.downs.len();
        segment.exactly_one_answers_for_each_address();
    }
    assert!(downs <= 2, "{downs}");
    // And the dead are still found.
    let since = segment.elapsed();
    segment.kill(3);
    segment.run_for(milliseconds(1000));
    assert!(*segment.detection(3, since).end() <= milliseconds(330));
}

#[test]
fn a_stalled_process_takes_nobody_for_dead_and_gets_its_own_back() {
    let mut segment = Segment::new(5, 0.0, 5);
    segment.run_for(milliseconds(1000));
    let held: Vec<Vec<usize>> = (0..ADDRESSES).map(|n| segment.answering(n)).collect();
    segment.pause(2, Duration::from_secs(3));
    segment.run_for(milliseconds(2900));
    let others = segment
        .downs
        .iter()
        .filter(|(_, n, node)| *n != 2 && *node == name(2));
    assert_eq!(others.count(), 4);
    segment.run_for(milliseconds(500));
    let judged: Vec<_> = segment.downs.iter().filter(|(_, n, _)| *n == 2).collect();
    assert_eq!(judged, Vec::<&(Duration, usize, String)>::new());
    let after: Vec<Vec<usize>> = (0..ADDRESSES).map(|n| segment.answering(n)).collect();
    assert_eq!(after, held);
}

#[test]
fn after_a_partition_heals_exactly_one_answers_for_each_address() {
    let mut segment = Segment::new(9, 0.01, 6);
    segment.run_for(milliseconds(1000));
    for host in &mut segment.hosts[..4] {
        host.side = 1;
    }
    segment.run_for(milliseconds(1000));
    // Each side serves everything.
    for n in 0..ADDRESSES {
        let sides: Vec<u8> = segment
            .answering(n)
            .iter()
            .map(|n| segment.hosts[*n].side)
            .collect();
        assert!(sides == [0, 1] || sides == [1, 0], "{sides:?}");
    }
    for host in &mut segment.hosts {
        host.side = 0;
    }
    segment.run_for(milliseconds(325));
    segment.exactly_one_answers_for_each_address();
}

#[test]
fn a_node_that_starts_again_at_once_leaves_no_address_unanswered_for_long() {
    let mut segment = Segment::new(4, 0.0, 7);
    // For so long that it is plain that the others were not started with it.
    segment.run_for(milliseconds(4000));
    segment.restart(1);
    // It listens, says so, and the others take over at once.
    segment.run_for(milliseconds(5));
    segment.exactly_one_answers_for_each_address();
    segment.run_for(milliseconds(400));
    segment.exactly_one_answers_for_each_address();
}

#[test]
fn a_candidate_no_more_leaves_no_address_unanswered_for_long() {
    let mut segment = Segment::new(4, 0.1, 9);
    segment.run_for(milliseconds(1000));
    for n in 0..3 {
        segment.retire(n);
        segment.run_for(milliseconds(20));
        segment.exactly_one_answers_for_each_address();
        segment.run_for(milliseconds(1000));
    }
    let silence = segment.downs.iter().filter(|(_, n, _)| *n == 3);
    assert_eq!(silence.count(), 3, "and none is taken for dead later");
}

#[test]
fn a_returning_node_takes_nothing_back() {
    let mut segment = Segment::new(4, 0.02, 10);
    segment.run_for(milliseconds(1000));
    segment.kill(1);
    segment.run_for(milliseconds(1000));
    let after = segment.holders();
    assert!(
        after
            .iter()
            .all(|holders| holders.len() == 1 && holders[0] != 1)
    );
    segment.restart(1);
    for _ in 0..20 {
        segment.run_for(milliseconds(100));
        assert_eq!(segment.holders(), after);
    }
}

#[test]
fn a_restart_of_all_at_once_leaves_every_address_where_it_was() {
    let mut segment = Segment::new(6, 0.02, 11);
    segment.run_for(milliseconds(1000));
    // So that it is not the rank that brings them back.
    segment.kill(0);
    segment.run_for(milliseconds(1000));
    segment.restart(0);
    segment.run_for(milliseconds(1000));
    let before = segment.holders();
    for n in 0..6 {
        segment.restart(n);
        segment.run_for(milliseconds(15));
    }
    segment.run_for(milliseconds(1000));
    assert_eq!(segment.holders(), before);
}

#[test]
fn who_leaves_answers_until_somebody_else_does() {
    let mut segment = Segment::new(4, 0.0, 12);
    segment.run_for(milliseconds(1000));
    for n in 0..3 {
        segment.leave(n);
        for _ in 0..100 {
            segment.run_for(Duration::from_micros(500));
            let holders = segment.holders();
            assert!(
                holders.iter().all(|holders| !holders.is_empty()),
                "{holders:?}"
            );
        }
        segment.exactly_one_answers_for_each_address();
        assert!(!segment.hosts[n].is_alive, "it has not waited for longer");
    }
    let start = segment.elapsed();
    segment.leave(3);
    segment.run_for(milliseconds(50));
    assert!(!segment.hosts[3].is_alive, "there is nobody to wait for");
    assert!(segment.elapsed() - start <= milliseconds(50));
    assert_eq!(segment.hosts[3].station.left_behind().len(), 5);
}

#[test]
fn who_does_not_deliver_hands_over_to_who_does_and_answers_until_then() {
    let mut segment = Segment::new(4, 0.0, 15);
    segment.run_for(milliseconds(1000));
    for n in 0..3 {
        segment.fail(n, true);
        for _ in 0..100 {
            segment.run_for(Duration::from_micros(500));
            let holders = segment.holders();
            assert!(
                holders.iter().all(|holders| !holders.is_empty()),
                "{holders:?}"
            );
        }
        segment.exactly_one_answers_for_each_address();
        let holders = segment.holders().concat();
        assert!(holders.iter().all(|holder| *holder > n), "{holders:?}");
    }
    // Who delivers again takes nothing back.
    let before = segment.holders();
    segment.fail(0, false);
    segment.run_for(milliseconds(1000));
    assert_eq!(segment.holders(), before);
    // The one that could is gone: better one of those that may not deliver than nobody.
    segment.fail(0, true);
    segment.kill(3);
    segment.run_for(milliseconds(1000));
    segment.exactly_one_answers_for_each_address();
}

#[test]
fn i6_where_nobody_delivers_nothing_moves_and_nothing_is_withdrawn() {
    let mut segment = Segment::new(5, 0.02, 16);
    segment.run_for(milliseconds(1000));
    let before = segment.holders();
    for n in 0..5 {
        segment.hosts[n].is_failing = true;
    }
    for n in 0..5 {
        segment.fail(n, true);
    }
    for _ in 0..20 {
        segment.run_for(milliseconds(100));
        segment.exactly_one_answers_for_each_address();
    }
    assert_eq!(segment.holders(), before);
    // One comes back to its senses, and gets all.
    segment.fail(2, false);
    segment.run_for(milliseconds(500));
    assert!(segment.holders().iter().all(|holders| *holders == [2]));
    segment.fail(2, true);
    segment.run_for(milliseconds(500));
    segment.exactly_one_answers_for_each_address();
}

#[test]
fn who_leaves_although_nobody_takes_over_ends_all_the_same() {
    let mut segment = Segment::new(2, 0.0, 13);
    segment.run_for(milliseconds(1000));
    // The other is alive, and hears nothing any more.
    segment.hosts[1].side = 1;
    segment.leave(0);
    segment.run_for(milliseconds(510));
    assert!(!segment.hosts[0].is_alive);
}

#[test]
fn i6_what_holds_is_told_again_to_whoever_missed_it() {
    // Half of everything is lost: no news arrives for sure, and all is known in the end.
    let mut segment = Segment::new(3, 0.0, 14);
    segment.run_for(milliseconds(1000));
    segment.loss = 0.3;
    segment.kill(2);
    segment.run_for(milliseconds(5000));
    segment.loss = 0.0;
    segment.run_for(milliseconds(1000));
    segment.exactly_one_answers_for_each_address();
    for n in 0..2 {
        let other = name(1 - n);
        let told: BTreeSet<IpAddr> = segment.hosts[1 - n].held();
        let world = &segment.hosts[n].world;
        let known = (0..ADDRESSES).map(address).filter(|address| {
            let mut claims = world.claims_at(*address).iter();
            claims.any(|claim| *claim.node == *other)
        });
        assert_eq!(known.collect::<BTreeSet<_>>(), told);
    }
}

/// Whatever happens, in the end one node answers for each address, and no address moves unless its
/// holder failed, was cut off or stalled, or comes back from where it was cut off and is ranked first.
#[test]
fn i6_after_random_events_exactly_one_holds_each_address_and_none_moves_without_a_cause() {
    for seed in 0..40 {
        let mut segment = Segment::new(7, 0.03, 100 + seed);
        segment.run_for(milliseconds(1000));
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut before = segment.holders();
        for _ in 0..12 {
            let n = rng.usize(..7);
            let is_alive = segment.hosts[n].is_alive;
            let what = rng.u8(..4);
            eprintln!(
                "seed {seed} at {:?} node {n} alive {is_alive} what {what} before {before:?}",
                segment.elapsed()
            );
            match what {
                0 if is_alive => segment.kill(n),
                1 if is_alive => segment.leave(n),
                2 if is_alive => segment.pause(n, milliseconds(rng.u64(100..3000))),
                _ if is_alive => segment.hosts[n].side = 1,
                _ => segment.restart(n),
            }
            segment.run_for(milliseconds(rng.u64(500..2500)));
            segment.hosts.iter_mut().for_each(|host| host.side = 0);
            segment.run_for(milliseconds(1500));
            if segment.hosts.iter().any(|host| host.paused_until.is_some()) {
                segment.run_for(milliseconds(3000));
            }
            if !segment.hosts.iter().any(|host| host.is_alive) {
                continue;
            }
            segment.exactly_one_answers_for_each_address();
            let after = segment.holders();
            for (old, new) in before.iter().zip(&after) {
                let has_moved = old != new && !old.is_empty();
                assert!(
                    !has_moved || old == &[n] || new == &[n],
                    "seed {seed}: {n} had no part in {old:?} to {new:?}"
                );
            }
            before = after;
        }
    }
}

#[test]
fn a_segment_at_rest_changes_nothing() {
    let mut segment = Segment::new(5, 0.0, 8);
    segment.run_for(Duration::from_secs(10));
    let (ups, reports) = (segment.ups, reports(&segment));
    segment.run_for(Duration::from_secs(600));
    assert_eq!((segment.ups, segment.downs.len()), (ups, 0));
    assert_eq!(self::reports(&segment), reports);
}

fn reports(segment: &Segment) -> Vec<Report> {
    segment
        .hosts
        .iter()
        .map(|host| host.station.report())
        .collect()
}

#[test]
fn i6_a_recording_of_a_segment_played_to_it_moves_nothing_and_brings_nobody_back() {
    let mut segment = Segment::new(5, 0.0, 77);
    segment.tape = Some(Vec::new());
    segment.run_for(milliseconds(4000));
    segment.leave(4);
    segment.run_for(milliseconds(1000));
    segment.restart(4);
    segment.run_for(milliseconds(4000));
    let before = segment.holders();
    let tape = segment.tape.take().unwrap();
    segment.replay(&tape, milliseconds(2000));
    assert_eq!(segment.holders(), before);
    let downs = segment.downs.len();

    // Who is dead stays dead: its addresses are taken in time, also by one that has just started.
    segment.kill(0);
    segment.replay(&tape, milliseconds(400));
    assert_eq!(segment.downs.len(), downs + 4);
    segment.exactly_one_answers_for_each_address();
    let before = segment.holders();
    segment.restart(1);
    segment.replay(&tape, milliseconds(2000));
    segment.exactly_one_answers_for_each_address();
    assert_eq!(
        segment.downs.len(),
        downs + 4 + 3,
        "the one that started anew"
    );
    let moved = segment.holders().into_iter().zip(before);
    let moved = moved.filter(|(after, before)| before != after && *before != [1]);
    assert_eq!(moved.count(), 0);
}
