//! Nodes between which no heartbeat ever passes, and an API server that shows them to each other, late.

use super::*;
use crate::lookout::View;
use crate::reports::{self, Key, Sign};
use crate::run::blocked::peers::{Evidence, Peers};
use crate::world::{self, Claim, Heard};

/// What one node sees of an API server.
pub(super) struct Cluster {
    link: BlockedLink,
    view: View,
    number: usize,
    count: usize,
}

impl Clone for Cluster {
    fn clone(&self) -> Self {
        unreachable!("a segment in a cluster is not forked")
    }
}

/// How late everything is.
const LATE: Duration = Duration::from_millis(200);

impl Host {
    pub(super) fn look_out(
        &mut self,
        now: Instant,
        report: &Report,
        segment: world::Segment,
        claims: BTreeMap<IpAddr, Vec<Claim>>,
    ) -> Seen {
        let Some(cluster) = &mut self.cluster else {
            return Seen {
                segment,
                claims,
                unheard: Heard::new(),
            };
        };
        let others = (0..cluster.count)
            .filter(|n| *n != cluster.number)
            .map(name);
        let evidence = Evidence {
            now,
            wall: SystemTime::UNIX_EPOCH,
            own: &state_of(cluster.number),
            missed: others
                .filter(|other| !report.nodes.contains_key(other))
                .collect(),
            links: BTreeMap::from([(
                "eth0".to_owned(),
                vec![format!("10.0.0.{}/24", cluster.number + 1).parse().unwrap()],
            )]),
            view: &cluster.view,
        };
        let is_settled = report.interfaces.values().any(|link| link.is_settled);
        let link = &mut cluster.link;
        let (seen, _) = link.see(&evidence, is_settled, segment, claims, &self.world);
        seen
    }
}

fn state_of(n: usize) -> String {
    reports::name(&Key::Configuration, &name(n))
}

impl Segment {
    /// All of them are in a cluster, and these cannot hear the others.
    fn blocked(count: usize, apart: &[usize], seed: u64) -> Self {
        let mut segment = Self::new(count, 0.01, seed);
        for n in 0..count {
            segment.join(n);
        }
        for n in apart {
            segment.hosts[*n].side = 1;
        }
        segment
    }

    fn join(&mut self, n: usize) {
        let mut link = BlockedLink::default();
        link.peers = Peers::new(self.elapsed().as_secs() * 1000 + 1);
        self.hosts[n].cluster = Some(Cluster {
            link,
            view: View::default(),
            number: n,
            count: self.hosts.len(),
        });
    }

    fn run_in_cluster(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            let view = self.view();
            self.run_for(LATE);
            for n in 0..self.hosts.len() {
                let host = &mut self.hosts[n];
                if let Some(cluster) = &mut host.cluster {
                    cluster.view = view.clone();
                }
                if host.is_alive {
                    host.hear(self.now, true);
                    self.turn(n, &[]);
                }
            }
        }
    }

    /// What the server shows by now; what the dead have said last stays.
    fn view(&self) -> View {
        let before = self.hosts[0].cluster.as_ref();
        let mut view = before.map(|cluster| cluster.view.clone());
        let view = view.get_or_insert_default();
        (view.knows_signs, view.knows_announced) = (true, true);
        for (n, host) in self
            .hosts
            .iter()
            .enumerate()
            .filter(|(_, host)| host.is_alive)
        {
            let Some(cluster) = &host.cluster else {
                continue;
            };
            let last = view.signs.get(&state_of(n)).and_then(|sign| sign.beat);
            let address = format!("10.0.0.{}", n + 1).parse().unwrap();
            let sign = Sign {
                beat: cluster.link.peers.sign_of_life().or(last),
                interfaces: BTreeMap::from([("eth0".to_owned(), BTreeSet::from([address]))]),
            };
            view.signs.insert(state_of(n), sign);
            let held = (0..ADDRESSES).filter(|at| host.held().contains(&address_of(*at)));
            let held = held.map(|at| (ServiceKey::new("default", format!("web-{at}")), Vec::new()));
            let held: BTreeMap<_, _> = held.collect();
            match held.is_empty() {
                true => view.announced.remove(&name(n)),
                false => view.announced.insert(name(n), held),
            };
        }
        view.clone()
    }
}

fn address_of(n: u32) -> IpAddr {
    address(n)
}

/// Longer than it takes to miss who is never heard.
const JUDGED: Duration = Duration::from_secs(30);

#[test]
fn i6_those_that_never_hear_each_other_share_the_addresses_out_and_take_over_in_time() {
    for seed in 0..10 {
        let mut segment = Segment::blocked(4, &[2, 3], 200 + seed);
        segment.run_in_cluster(Duration::from_secs(10));
        segment.exactly_one_answers_for_each_address();
        let before = segment.holders();
        segment.run_in_cluster(Duration::from_secs(60));
        assert_eq!(segment.holders(), before, "nothing moves");

        let n = before.iter().flatten().copied().find(|n| *n >= 2).unwrap();
        segment.kill(n);
        segment.run_in_cluster(JUDGED);
        segment.exactly_one_answers_for_each_address();
        let after = segment.holders();
        let moved = before.iter().zip(&after).filter(|(old, new)| old != new);
        assert!(
            moved.clone().all(|(old, _)| *old == [n]),
            "{before:?} {after:?}"
        );

        // Who comes back takes nothing, although it remembers.
        segment.restart(n);
        segment.hosts[n].side = 1;
        segment.join(n);
        segment.run_in_cluster(JUDGED);
        assert_eq!(segment.holders(), after);

        // The filter is gone: they hear each other, and whoever holds it keeps it.
        segment.hosts.iter_mut().for_each(|host| host.side = 0);
        segment.run_in_cluster(Duration::from_secs(5));
        assert_eq!(segment.holders(), after);
    }
}

#[test]
fn i6_all_of_one_side_are_gone_and_the_other_has_everything() {
    let mut segment = Segment::blocked(4, &[2, 3], 300);
    segment.run_in_cluster(Duration::from_secs(10));
    segment.kill(0);
    segment.kill(1);
    segment.run_in_cluster(JUDGED);
    segment.exactly_one_answers_for_each_address();
    let holders = segment.holders().concat();
    assert!(holders.iter().all(|n| *n >= 2), "{holders:?}");
}
