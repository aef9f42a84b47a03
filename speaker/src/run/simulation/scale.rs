//! Random events on segments of any size: `FERROLB_SIMULATION="NODES ADDRESSES SEEDS"` says how large,
//! and what is found is printed; without it they are small.

use super::*;

/// So much may pass after the last event, beside the time until a silent node is down.
const MORE: Duration = Duration::from_millis(300);

/// Events of a seed.
const EVENTS: usize = 8;

/// What was found.
#[derive(Default)]
struct Finding {
    /// Longest time of quiet until everything had one holder.
    worst: Duration,
    /// What was allowed then.
    allowed: Duration,
    /// The most that one node held, over what each would if they held alike.
    spread: f64,
}

fn size() -> (usize, u32, u64) {
    let asked = std::env::var("FERROLB_SIMULATION").unwrap_or_default();
    let numbers: Vec<u32> = asked
        .split(' ')
        .filter_map(|word| word.parse().ok())
        .collect();
    match numbers[..] {
        [nodes, addresses, seeds] => (nodes.try_into().unwrap(), addresses, seeds.into()),
        _ => (12, 60, 4),
    }
}

impl Segment {
    /// Who holds each address.
    fn owners(&self) -> Vec<Vec<usize>> {
        let alive = self.hosts.iter().enumerate();
        let alive: Vec<(usize, &Host)> = alive.filter(|(_, host)| host.is_alive).collect();
        let owns = |at: IpAddr| {
            let owners = alive.iter().filter(|(_, host)| host.station.is_owned(at));
            owners.map(|(n, _)| *n).collect()
        };
        (0..self.addresses).map(|n| owns(address(n))).collect()
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
            assert!(self.now < since + limit, "{:?}", self.unsettled());
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
        let alive = self.hosts.iter().filter(|host| host.is_alive).count();
        match rng.u8(..4) {
            _ if !self.hosts[n].is_alive => self.restart(n),
            0 if alive > 1 => self.kill(n),
            1 if alive > 1 => {
                self.leave(n);
                while self.hosts[n].is_alive {
                    self.run_for(milliseconds(10));
                }
            }
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

#[test]
fn i6_events_at_random_end_with_one_holder_each_and_none_moves_without_a_cause() {
    let (nodes, addresses, seeds) = size();
    let mut found = Finding::default();
    for seed in 0..seeds {
        let mut rng = fastrand::Rng::with_seed(seed);
        let loss = 0.01 + 0.04 * rng.f64();
        let mut segment = Segment::sized(nodes, addresses, loss, 1_000 + seed);
        segment.run_for(2 * segment.master_down());
        segment.settle();
        let mut before = segment.owners();
        for _ in 0..EVENTS {
            let part = segment.event(&mut rng);
            let (took, allowed) = (segment.settle(), segment.master_down() + MORE);
            if took > found.worst {
                (found.worst, found.allowed) = (took, allowed);
            }
            let after = segment.owners();
            assert_caused(seed, &part, &before, &after);
            before = after;
        }
        let mut held = vec![0.0_f64; nodes];
        before.iter().flatten().for_each(|n| held[*n] += 1.0);
        let alive = segment.hosts.iter().filter(|host| host.is_alive).count();
        let alike = f64::from(addresses) / f64::from(u32::try_from(alive).unwrap());
        let most = held.iter().copied().fold(0.0, f64::max);
        found.spread = found.spread.max(most / alike);
    }
    println!(
        "simulated {nodes} nodes, {addresses} addresses, {seeds} seeds of {EVENTS} events: one holder each after {} ms of quiet at most, {} allowed then; the most that one held was {:.1} times its share",
        found.worst.as_millis(),
        found.allowed.as_millis(),
        found.spread
    );
}
