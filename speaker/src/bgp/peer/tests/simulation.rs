//! Two of ours that dial each other, on a virtual clock.

use std::collections::BTreeMap;

use ferrolb_crds::model::{HoldTime, PeerAsn};

use crate::bgp::GracefulRestart;

use super::super::super::tests::asn;
use super::*;

/// What is on its way to an end.
#[derive(Debug)]
enum Event {
    /// A dial arrives.
    Dial,
    /// A dial was answered, or not.
    Answer(bool),
    Octets(Vec<u8>),
    Closed,
}

/// A TCP connection: where each end has it.
#[derive(Debug, Default)]
struct Tcp {
    slots: [Option<Slot>; 2],
    /// A stream keeps its order.
    latest: [Option<Instant>; 2],
}

struct World {
    now: Instant,
    ends: [Peer; 2],
    listens: [bool; 2],
    rng: fastrand::Rng,
    delay: Duration,
    /// Of 100 attempts.
    failing: u8,
    connections: BTreeMap<u64, Tcp>,
    /// The dial that each end waits for.
    dials: [Option<u64>; 2],
    /// The connection that has just arrived at each end.
    arrived: [Option<u64>; 2],
    flying: BTreeMap<(Instant, u64), (u64, usize, Event)>,
    sequence: u64,
}

impl World {
    fn new(seed: u64, restarts: bool) -> Self {
        let here = Settings {
            hold_time: HoldTime::new(9).unwrap(),
            graceful_restart: restarts.then(GracefulRestart::default),
            ..settings()
        };
        let there = Settings {
            local_asn: asn(64500),
            peer_asn: PeerAsn::Exact(asn(64601)),
            ..here.clone()
        };
        let rng = |n| fastrand::Rng::with_seed(seed * 3 + n);
        Self {
            now: Instant::now(),
            ends: [
                Peer::new(here, routes(&["192.0.2.10/32"]), rng(0)),
                Peer::new(there, routes(&["192.0.2.11/32"]), rng(1)),
            ],
            listens: [true; 2],
            rng: rng(2),
            delay: Duration::from_millis(20),
            failing: 0,
            connections: BTreeMap::new(),
            dials: [None; 2],
            arrived: [None; 2],
            flying: BTreeMap::new(),
            sequence: 0,
        }
    }

    fn start(&mut self) {
        for end in 0..2 {
            self.tell(end, Input::Start);
        }
    }

    fn endpoint(end: usize) -> Endpoint {
        let mut endpoint = endpoint();
        if end == 1 {
            endpoint.local = "10.0.0.1".parse().unwrap();
        }
        endpoint
    }

    fn tell(&mut self, end: usize, input: Input<'_>) {
        self.ends[end].handle(self.now, input);
        self.act(end);
    }

    fn act(&mut self, end: usize) {
        loop {
            while let Some(output) = self.ends[end].poll() {
                self.perform(end, output);
            }
            let Some(update) = self.ends[end].poll_update(self.now) else {
                break;
            };
            self.send(end, Slot::Main, update);
        }
    }

    fn at(&self, end: usize, slot: Slot) -> Option<u64> {
        let mut connections = self.connections.iter();
        let found = connections.find(|(_, tcp)| tcp.slots[end] == Some(slot));
        found.map(|(id, _)| *id)
    }

    fn send(&mut self, end: usize, slot: Slot, octets: Vec<u8>) {
        let id = self.at(end, slot).expect("a connection");
        self.fly(id, 1 - end, Event::Octets(octets));
    }

    fn close(&mut self, id: u64, end: usize) {
        if let Some(tcp) = self.connections.get_mut(&id) {
            tcp.slots[end] = None;
            self.fly(id, 1 - end, Event::Closed);
        }
    }

    fn perform(&mut self, end: usize, output: Output) {
        match output {
            Output::Connect => {
                self.sequence += 1;
                let id = self.sequence;
                self.connections.insert(id, Tcp::default());
                self.dials[end] = Some(id);
                self.fly(id, 1 - end, Event::Dial);
            }
            Output::Accept => {
                let id = self.arrived[end].take().unwrap();
                self.connections.get_mut(&id).unwrap().slots[end] = Some(Slot::Contender);
            }
            Output::Refuse(octets) => {
                let id = self.arrived[end].take().unwrap();
                self.fly(id, 1 - end, Event::Octets(octets));
                self.close(id, end);
            }
            Output::Promote => {
                let id = self.at(end, Slot::Contender).unwrap();
                self.connections.get_mut(&id).unwrap().slots[end] = Some(Slot::Main);
            }
            Output::Send(slot, octets) => self.send(end, slot, octets),
            Output::Close(slot) => {
                if slot == Slot::Main
                    && let Some(dial) = self.dials[end].take()
                {
                    self.close(dial, end);
                }
                if let Some(id) = self.at(end, slot) {
                    self.close(id, end);
                }
            }
            Output::StateChanged { .. } => {}
        }
    }

    fn fly(&mut self, id: u64, to: usize, event: Event) {
        let delay = self.delay.mul_f64(self.rng.f64());
        let latest = &mut self.connections.get_mut(&id).unwrap().latest[to];
        let at = (self.now + delay).max(latest.unwrap_or(self.now));
        *latest = Some(at);
        self.sequence += 1;
        self.flying.insert((at, self.sequence), (id, to, event));
    }

    fn arrive(&mut self, id: u64, end: usize, event: Event) {
        match event {
            Event::Dial => {
                let is_up = self.listens[end] && self.rng.u8(..100) >= self.failing;
                self.fly(id, 1 - end, Event::Answer(is_up));
                if is_up {
                    self.arrived[end] = Some(id);
                    self.tell(end, Input::Accepted(Self::endpoint(end)));
                }
            }
            Event::Answer(is_up) if self.dials[end] == Some(id) => {
                self.dials[end] = None;
                if is_up {
                    self.connections.get_mut(&id).unwrap().slots[end] = Some(Slot::Main);
                    self.tell(end, Input::Connected(Self::endpoint(end)));
                } else {
                    self.tell(end, Input::Failed(Slot::Main, "refused".to_owned()));
                }
            }
            Event::Answer(_) => {}
            Event::Octets(octets) => {
                if let Some(slot) = self.connections[&id].slots[end] {
                    self.tell(end, Input::Received(slot, &octets));
                }
            }
            Event::Closed => {
                let slot = &mut self.connections.get_mut(&id).unwrap().slots[end];
                if let Some(slot) = slot.take() {
                    self.tell(end, Input::Failed(slot, "closed".to_owned()));
                }
            }
        }
    }

    /// Runs until `until`, or until the condition holds.
    fn run(&mut self, until: Instant, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            let arrival = self.flying.keys().next().map(|(at, _)| *at);
            let ends = self.ends.iter();
            let deadlines = ends.filter_map(|end| Some(end.poll_timeout()?.0));
            let Some(next) = deadlines.chain(arrival).min().filter(|at| *at <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(next);
            match self.flying.first_entry() {
                Some(first) if first.key().0 <= self.now => {
                    let (id, end, event) = first.remove();
                    self.arrive(id, end, event);
                }
                Some(_) | None => {
                    for end in 0..2 {
                        self.ends[end].handle_timeout(self.now);
                        self.act(end);
                    }
                }
            }
        }
    }

    /// Whether both have the session, on one connection, and no other is left.
    fn is_up(&self) -> bool {
        let is_up = |end: &Peer| end.state() == SessionState::Established && end.prefixes() == 1;
        let open = self
            .connections
            .values()
            .filter(|tcp| tcp.slots != [None; 2]);
        let shared = open.map(|tcp| tcp.slots == [Some(Slot::Main); 2]);
        self.ends.iter().all(is_up) && shared.collect::<Vec<_>>() == [true]
    }
}

fn for_every_seed(check: impl Fn(World)) {
    for seed in 0..100 {
        for restarts in [false, true] {
            let mut world = World::new(seed, restarts);
            world.start();
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(world)));
            assert!(outcome.is_ok(), "seed {seed}, restarts {restarts}");
        }
    }
}

/// One that is up stays so.
fn stays_up(world: &mut World) {
    assert!(world.is_up());
    let up = world.now;
    world.run(up + 600 * SECOND, |world| !world.is_up());
    assert!(world.is_up(), "down after {:?}", world.now - up);
}

#[test]
fn two_that_dial_each_other_have_one_session_soon_and_for_good() {
    for_every_seed(|mut world| {
        let start = world.now;
        world.run(start + 30 * SECOND, World::is_up);
        assert!(world.is_up());
        assert!(world.now - start < 8 * SECOND, "{:?}", world.now - start);
        stays_up(&mut world);
    });
}

#[test]
fn so_do_two_that_are_far_apart_and_often_do_not_get_through() {
    for_every_seed(|mut world| {
        world.delay = SECOND;
        world.failing = 40;
        world.run(world.now + 300 * SECOND, World::is_up);
        stays_up(&mut world);
    });
}

#[test]
fn one_that_listens_is_enough() {
    for listening in 0..2 {
        for_every_seed(|mut world| {
            world.listens[1 - listening] = false;
            world.run(world.now + 30 * SECOND, World::is_up);
            stays_up(&mut world);
        });
    }
}

#[test]
fn a_session_that_is_lost_is_there_again_soon() {
    for_every_seed(|mut world| {
        world.run(world.now + 30 * SECOND, World::is_up);
        stays_up(&mut world);
        for end in 0..2 {
            let id = world.at(end, Slot::Main).unwrap();
            world.connections.get_mut(&id).unwrap().slots[end] = None;
            world.close(id, end);
            world.tell(end, Input::Failed(Slot::Main, "reset".to_owned()));
            let lost = world.now;
            world.run(lost + 60 * SECOND, World::is_up);
            assert!(world.now - lost < 20 * SECOND, "{:?}", world.now - lost);
            stays_up(&mut world);
        }
    });
}
