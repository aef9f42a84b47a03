//! Random events on segments of any size: `FERROLB_SIMULATION="NODES ADDRESSES SEEDS"` says how large,
//! and what is found is printed; without it they are small.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::*;

/// So much may pass after the last event, beside the time until a silent node is down.
const MORE: Duration = Duration::from_millis(300);

/// How long a loop with so much to do takes to read what layer 2 has to say.
const LAG: Duration = Duration::from_millis(50);

/// Where a segment begins with so many decisions, seeds go on from one that has begun: that takes longer
/// than all that follows.
const LARGE: u64 = 100_000;

/// So many seeds go on from one another there, the first from the beginning: to copy a large segment
/// takes as long as some events. The first has failures alone, after which the addresses are to be
/// spread.
const CHAIN: u64 = 4;

/// What is tried.
#[derive(Clone, Copy)]
struct Size {
    nodes: usize,
    addresses: u32,
    seeds: u64,
    /// Of each seed.
    events: usize,
    /// Of those that have failures alone.
    failures: usize,
    /// All seeds go on from one beginning.
    begins_once: bool,
}

/// What was found.
#[derive(Default)]
struct Finding {
    /// Longest time of quiet until everything had one holder.
    worst: Duration,
    /// What was allowed then.
    allowed: Duration,
    /// The most that one node held after failures alone, over what each would if they held alike.
    spread: f64,
    /// The most that it held, over what is promised.
    filled: f64,
    /// False alarms: somebody was taken for down, by somebody, who both had no part in anything.
    alarms: usize,
}

impl Size {
    fn asked() -> Self {
        let asked = std::env::var("FERROLB_SIMULATION").unwrap_or_default();
        let words = asked.split(' ');
        let numbers: Vec<u32> = words.filter_map(|word| word.parse().ok()).collect();
        let (nodes, addresses, seeds) = match numbers[..] {
            [nodes, addresses, seeds] => (nodes.try_into().unwrap(), addresses, seeds.into()),
            _ => (12, 60, 4),
        };
        let begins_once = nodes as u64 * u64::from(addresses) >= LARGE;
        Self {
            nodes,
            addresses,
            seeds,
            events: if begins_once { 2 } else { 8 },
            failures: if begins_once { 4 } else { 8 },
            begins_once,
        }
    }

    fn tell(self, seeds: u64, found: &Finding) -> String {
        format!(
            "{} nodes, {} addresses, {seeds} seeds of {} events or {} failures alone: one holder each after {} ms of quiet at most, {} allowed then; after failures the most that one held was {:.1} times its share, {:.2} of the bound; {} false alarms",
            self.nodes,
            self.addresses,
            self.events,
            self.failures,
            found.worst.as_millis(),
            found.allowed.as_millis(),
            found.spread,
            found.filled,
            found.alarms,
        )
    }

    fn begin(self, loss: f64, seed: u64) -> Segment {
        let mut segment = Segment::sized(self.nodes, self.addresses, Some(LAG), loss, seed);
        segment.run_for(2 * segment.master_down());
        segment.settle();
        segment
    }
}

impl Finding {
    fn add(&mut self, more: Self) {
        if more.worst > self.worst {
            (self.worst, self.allowed) = (more.worst, more.allowed);
        }
        self.spread = self.spread.max(more.spread);
        self.filled = self.filled.max(more.filled);
        self.alarms += more.alarms;
    }
}

impl Segment {
    /// Who holds each address.
    fn owners(&self) -> Vec<Vec<usize>> {
        let mut owners = vec![Vec::new(); usize::try_from(self.addresses).unwrap()];
        let alive = self.hosts.iter().enumerate();
        for (n, host) in alive.filter(|(_, host)| host.is_alive) {
            for address in host.station.owned() {
                owners[number(address)].push(n);
            }
        }
        owners
    }

    /// The time after which a silent node is down: three intervals and one for its skew and the probe.
    fn master_down(&self) -> Duration {
        let alive = self.hosts.iter().filter(|host| host.is_alive).count();
        let stretched = milliseconds(2) * u32::try_from(alive).unwrap();
        4 * stretched.max(milliseconds(100))
    }

    /// Runs until everything has one holder, and says how long that took.
    fn settle(&mut self) -> Duration {
        let since = self.now;
        // Who has started has to listen before it takes what nobody has.
        let limit = 4 * (self.master_down() + MORE);
        while self.owners().iter().any(|owners| owners.len() != 1) {
            let seed = self.seed;
            assert!(
                self.now < since + limit,
                "seed {seed}: {:?}",
                self.unsettled()
            );
            self.run_for(milliseconds(50));
        }
        self.now - since
    }

    fn unsettled(&self) -> Vec<(IpAddr, Vec<usize>)> {
        let owners = self.owners().into_iter().zip(0..);
        let unsettled = owners.filter(|(owners, _)| owners.len() != 1);
        unsettled
            .map(|(owners, n)| (address(n), owners))
            .take(5)
            .collect()
    }

    /// One node crashes, leaves, stalls, is cut off with some others, or comes back. It is over, and all
    /// is quiet, when this returns; it says who had a part in it.
    fn event(&mut self, rng: &mut fastrand::Rng) -> BTreeSet<usize> {
        let n = rng.usize(..self.hosts.len());
        let mut part = BTreeSet::from([n]);
        match rng.u8(..4) {
            _ if !self.hosts[n].is_alive => self.restart(n),
            0 | 1 if self.alive() > 1 => self.fail_for_good(n, rng),
            2 => {
                let time = milliseconds(rng.u64(100..5_000));
                self.pause(n, time);
                self.run_for(time);
            }
            _ => {
                let others = rng.usize(..self.hosts.len().min(4));
                part.extend((0..others).map(|_| rng.usize(..self.hosts.len())));
                for n in &part {
                    self.hosts[*n].side = 1;
                }
                self.run_for(milliseconds(rng.u64(100..3_000)));
                self.hosts.iter_mut().for_each(|host| host.side = 0);
            }
        }
        part
    }

    /// Somebody crashes or leaves, and does not come back.
    fn failure(&mut self, rng: &mut fastrand::Rng) -> BTreeSet<usize> {
        let alive: Vec<usize> = (0..self.hosts.len())
            .filter(|n| self.hosts[*n].is_alive)
            .collect();
        let n = *rng.choice(&alive).unwrap();
        if alive.len() > 1 {
            self.fail_for_good(n, rng);
        }
        BTreeSet::from([n])
    }

    fn fail_for_good(&mut self, n: usize, rng: &mut fastrand::Rng) {
        if rng.bool() {
            return self.kill(n);
        }
        self.leave(n);
        while self.hosts[n].is_alive {
            self.run_for(milliseconds(10));
        }
    }

    fn alive(&self) -> usize {
        self.hosts.iter().filter(|host| host.is_alive).count()
    }

    /// The same segment, where other frames are lost and come later from now on.
    fn with(self, loss: f64, seed: u64) -> Self {
        Self {
            loss,
            seed,
            rng: fastrand::Rng::with_seed(seed),
            ..self
        }
    }

    /// The most that one node holds, over what each would if they held alike, and over the bound.
    fn spread(&self) -> (f64, f64) {
        let held = self.hosts.iter().filter(|host| host.is_alive);
        let most = held.map(|host| host.station.owned().count()).max();
        let most = f64::from(u32::try_from(most.unwrap()).unwrap());
        let alive = f64::from(u32::try_from(self.alive()).unwrap());
        let share = f64::from(self.addresses) / alive;
        (most / share, most / bound(share, alive))
    }
}

/// What no node holds more of when others have failed, but once in a million times: Bernstein's
/// inequality for addresses that go to each of the others alike, for all the nodes.
fn bound(share: f64, nodes: f64) -> f64 {
    let odds = (1e6 * nodes).ln();
    share + (2.0 * share * odds).sqrt() + 2.0 / 3.0 * odds
}

fn number(address: IpAddr) -> usize {
    let IpAddr::V4(address) = address else {
        panic!("{address} is not ours");
    };
    usize::try_from(u32::from(address) - 0x0a00_0100).unwrap()
}

/// No address moves that none of those held or came to hold who had a part in what happened.
fn assert_caused(seed: u64, part: &BTreeSet<usize>, before: &[Vec<usize>], after: &[Vec<usize>]) {
    for (number, (old, new)) in before.iter().zip(after).enumerate() {
        let had_part = old.iter().chain(new).any(|n| part.contains(n));
        assert!(
            old == new || had_part,
            "seed {seed}: address {number} went from {old:?} to {new:?} although it was {part:?}"
        );
    }
}

/// What a chain of seeds finds. Without a segment that has begun each begins with one of its own.
fn find_all(size: Size, seeds: Range<u64>, begun: Option<&Segment>) -> Finding {
    let mut found = Finding::default();
    let mut going = begun.cloned().map(|segment| (segment, BTreeSet::new()));
    for seed in seeds {
        let mut rng = fastrand::Rng::with_seed(seed);
        let loss = 0.01 + 0.04 * rng.f64();
        let (mut segment, mut involved) = match going.take() {
            Some((segment, involved)) => (segment.with(loss, seed), involved),
            None => (size.begin(loss, seed), BTreeSet::new()),
        };
        found.add(find(size, &mut rng, &mut segment, &mut involved));
        going = begun.is_some().then_some((segment, involved));
    }
    found
}

/// What one seed finds, with who had a part in what happened so far.
fn find(
    size: Size,
    rng: &mut fastrand::Rng,
    segment: &mut Segment,
    involved: &mut BTreeSet<usize>,
) -> Finding {
    let seed = segment.seed;
    let fails_only = seed.is_multiple_of(CHAIN);
    let mut found = Finding::default();
    let mut before = segment.owners();
    let events = match fails_only {
        true => size.failures,
        false => size.events,
    };
    for _ in 0..events {
        let downs = segment.downs.len();
        let part = match fails_only {
            true => segment.failure(rng),
            false => segment.event(rng),
        };
        let (took, allowed) = (segment.settle(), segment.master_down() + MORE);
        assert!(took <= allowed, "seed {seed}: {took:?} after {part:?}");
        if took > found.worst {
            (found.worst, found.allowed) = (took, allowed);
        }
        involved.extend(&part);
        let names: BTreeSet<String> = involved.iter().map(|n| name(*n)).collect();
        let false_alarms = segment.downs[downs..]
            .iter()
            .filter(|(_, by, of)| !involved.contains(by) && !names.contains(of));
        found.alarms += false_alarms.count();
        let after = segment.owners();
        assert_caused(seed, &part, &before, &after);
        before = after;
    }
    if fails_only {
        (found.spread, found.filled) = segment.spread();
        assert!(found.filled <= 1.0, "seed {seed}: spread {}", found.spread);
    }
    found
}

#[test]
fn i6_events_at_random_end_with_one_holder_each_and_none_moves_without_a_cause() {
    simulate(Size::asked());
}

#[test]
fn i6_so_do_those_that_go_on_from_one_beginning() {
    simulate(Size {
        nodes: 9,
        addresses: 40,
        seeds: 4,
        events: 4,
        failures: 4,
        begins_once: true,
    });
}

fn simulate(size: Size) {
    let begun = size.begins_once.then(|| size.begin(0.03, 0));
    let (next, begun) = (AtomicU64::new(0), begun.as_ref());
    let all = Mutex::new((0, Finding::default()));
    let work = || {
        loop {
            let first = next.fetch_add(CHAIN, Ordering::Relaxed);
            if first >= size.seeds {
                return;
            }
            let seeds = first..size.seeds.min(first + CHAIN);
            let count = seeds.end - seeds.start;
            let found = find_all(size, seeds, begun);
            let mut all = all.lock().unwrap();
            all.0 += count;
            all.1.add(found);
            // For hours nothing else is seen.
            println!("{}", size.tell(all.0, &all.1));
        }
    };
    thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    let (seeds, found) = all.into_inner().unwrap();
    assert_eq!(seeds, size.seeds);
    println!("simulated {}", size.tell(seeds, &found));
}
