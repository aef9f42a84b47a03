//! Who else holds an address that this node holds, by heartbeats or by frames on the wire: each told
//! once, when it begins.
//!
//! Who yields is not decided here: two nodes settle that by hint and rank, and a stranger does not
//! know the rule. Where speakers begin all at once each takes what those have that are still to
//! follow, and all but one yield at once: so who has only just taken an address has no rival yet.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use tracing::warn;

use super::Speaker;
use crate::layer2;
use crate::metrics;
use crate::reports::Warning;
use crate::world::World;

/// The rivals of this node.
#[derive(Debug, Default)]
pub(super) struct Rivals {
    /// What is held, and since when.
    held: BTreeMap<IpAddr, Instant>,
    /// Who else holds it.
    known: BTreeMap<(IpAddr, Who), Trace>,
    counts: metrics::Rivals,
}

/// Who else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    /// A node, by name.
    Node(String),
    /// Somebody with this hardware address who is no node that was ever heard.
    Stranger(String),
}

/// How it is known.
#[derive(Debug, Default)]
struct Trace {
    /// It says so in its heartbeats.
    is_claimed: bool,
    /// When a frame of its own last said so.
    seen: Option<Instant>,
}

impl Trace {
    fn lasts(&self, now: Instant) -> bool {
        let seen = self.seen;
        self.is_claimed || seen.is_some_and(|at| now.duration_since(at) < OVER)
    }
}

/// A rival that was not there before.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rival {
    address: IpAddr,
    interface: String,
    who: Who,
}

impl Rivals {
    /// The address is held from now on, or no more.
    pub(super) fn note_held(&mut self, now: Instant, address: IpAddr, is_held: bool) {
        if is_held {
            self.held.entry(address).or_insert(now);
        } else if self.held.remove(&address).is_some() {
            let gone = self.of(address).map(|(key, _)| key.clone());
            for key in gone.collect::<Vec<_>>() {
                self.known.remove(&key);
            }
        }
    }

    /// These nodes say, each on an interface, that they hold the address.
    fn claim(&mut self, now: Instant, address: IpAddr, claims: &[(&str, &str)]) -> Vec<Rival> {
        let all = (address, LOWEST)..;
        let known = self.known.range_mut(all);
        for ((_, who), trace) in known.take_while(|((of, _), _)| *of == address) {
            if let Who::Node(node) = who {
                trace.is_claimed = claims.iter().any(|(name, _)| name == node);
            }
        }
        self.forget_at(now, address);
        let mut new = Vec::new();
        for (node, interface) in claims {
            let rival = Rival {
                address,
                interface: (*interface).to_owned(),
                who: Who::Node((*node).to_owned()),
            };
            let trace = Trace {
                is_claimed: true,
                seen: None,
            };
            if self.add(now, &rival, trace) {
                self.counts.by_heartbeat += 1;
                new.push(rival);
            }
        }
        new
    }

    /// A frame says that the address is somebody else's.
    fn see(&mut self, now: Instant, rival: Rival) -> Option<Rival> {
        self.forget_at(now, rival.address);
        let key = (rival.address, rival.who.clone());
        if let Some(trace) = self.known.get_mut(&key) {
            trace.seen = Some(now);
            return None;
        }
        let trace = Trace {
            is_claimed: false,
            seen: Some(now),
        };
        let is_new = self.add(now, &rival, trace);
        self.counts.by_frame += u64::from(is_new);
        is_new.then_some(rival)
    }

    /// True if it is one, and was not known.
    fn add(&mut self, now: Instant, rival: &Rival, trace: Trace) -> bool {
        let key = (rival.address, rival.who.clone());
        let since = self.held.get(&rival.address);
        let is_settled = since.is_some_and(|since| now.duration_since(*since) >= SETTLED);
        if !is_settled || self.known.contains_key(&key) || self.known.len() >= MOST {
            return false;
        }
        self.known.insert(key, trace);
        true
    }

    /// Those that neither claim it nor were seen for long are rivals no more.
    fn forget(&mut self, now: Instant) {
        self.known.retain(|_, trace| trace.lasts(now));
    }

    /// The same, of one address.
    fn forget_at(&mut self, now: Instant, address: IpAddr) {
        let over = self.of(address).filter(|(_, trace)| !trace.lasts(now));
        for key in over.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.known.remove(&key);
        }
    }

    /// Who else holds an address.
    fn of(&self, address: IpAddr) -> impl Iterator<Item = (&(IpAddr, Who), &Trace)> {
        let all = self.known.range((address, LOWEST)..);
        all.take_while(move |((of, _), _)| *of == address)
    }

    /// The addresses that somebody else holds, too.
    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.known.keys().map(|(address, _)| *address)
    }
}

/// Nobody sorts before it.
const LOWEST: Who = Who::Node(String::new());

impl Rival {
    fn of(seen: layer2::Rival) -> Self {
        Self {
            address: seen.address,
            interface: seen.interface,
            who: match seen.node {
                Some(node) => Who::Node(node),
                None => Who::Stranger(seen.mac),
            },
        }
    }

    fn message(&self, node: &str) -> String {
        let Self {
            address,
            interface,
            who,
        } = self;
        match who {
            Who::Node(other) => format!(
                "node \"{node}\" and node \"{other}\" both hold {address} on {interface}: one of them yields at \
                 once; after a partition or a stall that is expected, else look for heartbeats that are lost"
            ),
            Who::Stranger(mac) => format!(
                "{mac} answers for {address} on {interface} beside node \"{node}\", and is no node's: look for a \
                 host that has this address, or a gateway that answers for others"
            ),
        }
    }
}

impl Speaker {
    /// Notes who holds one of these addresses beside this node, before it is decided who yields, and who
    /// was seen to answer for a held one.
    pub(super) fn note_rivals(
        &mut self,
        now: Instant,
        touched: impl Iterator<Item = IpAddr>,
        seen: Vec<layer2::Rival>,
    ) {
        self.rivals.forget(now);
        let known: Vec<IpAddr> = self.rivals.addresses().collect();
        let mut new = Vec::new();
        for address in touched.chain(known) {
            let claims = claims(&self.world, address);
            new.extend(self.rivals.claim(now, address, &claims));
        }
        for seen in seen {
            new.extend(self.rivals.see(now, Rival::of(seen)));
        }
        for rival in new {
            self.tell_rival(&rival);
        }
    }

    fn tell_rival(&self, rival: &Rival) {
        let Rival {
            address, interface, ..
        } = rival;
        let (node, mac) = match &rival.who {
            Who::Node(node) => (Some(node.as_str()), None),
            Who::Stranger(mac) => (None, Some(mac.as_str())),
        };
        warn!(%address, interface, node, mac, "somebody else answers for a held address");
        let Some(cluster) = &self.cluster else {
            return;
        };
        cluster.note_rivals(self.rivals.counts);
        let plan = self.plan.addresses.get(address);
        let services = plan.into_iter().flat_map(|plan| &plan.services);
        let announced = services.filter(|(_, fate)| fate.layer2.is_none());
        let message = rival.message(&self.settings.identity.node);
        for (service, _) in announced {
            cluster.warn(Warning {
                service: service.clone(),
                reason: ADDRESS_RIVAL,
                message: message.clone(),
            });
        }
    }
}

/// The nodes that claim what this node holds, each with an interface of this one.
fn claims(world: &World, address: IpAddr) -> Vec<(&str, &str)> {
    world.rivals_at(address).collect()
}

/// How long an address is held before somebody else can be a rival for it.
const SETTLED: Duration = Duration::from_secs(1);

/// A rival that is not seen for so long is gone: an event about it is gone by then, too.
const OVER: Duration = Duration::from_secs(3600);

/// Who invents more is not told of.
const MOST: usize = 1024;

/// The event's reason.
const ADDRESS_RIVAL: &str = "AddressRival";

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        now: Instant,
        rivals: Rivals,
    }

    #[expect(clippy::disallowed_methods, reason = "where virtual time begins")]
    fn bench() -> Bench {
        Bench {
            now: Instant::now(),
            rivals: Rivals::default(),
        }
    }

    fn vip() -> IpAddr {
        "192.0.2.1".parse().unwrap()
    }

    impl Bench {
        fn hold(&mut self, is_held: bool) {
            self.rivals.note_held(self.now, vip(), is_held);
        }

        fn pause(&mut self, time: Duration) {
            self.now += time;
        }

        fn claim(&mut self, nodes: &[&str]) -> usize {
            let claims: Vec<(&str, &str)> = nodes.iter().map(|node| (*node, "eth0")).collect();
            self.rivals.claim(self.now, vip(), &claims).len()
        }

        fn see(&mut self, node: Option<&str>) -> bool {
            let rival = Rival::of(layer2::Rival {
                interface: "eth0".to_owned(),
                address: vip(),
                mac: "02:00:00:00:00:77".to_owned(),
                node: node.map(str::to_owned),
            });
            self.rivals.see(self.now, rival).is_some()
        }
    }

    #[test]
    fn who_has_only_just_taken_an_address_has_no_rival_yet() {
        let mut bench = bench();
        assert!(!bench.see(None), "it is not even held");
        bench.hold(true);
        bench.pause(SETTLED - Duration::from_millis(1));
        assert_eq!((bench.claim(&["n2"]), bench.see(None)), (0, false));
        bench.hold(true);
        bench.pause(Duration::from_millis(1));
        assert_eq!(
            (bench.claim(&["n2"]), bench.see(None)),
            (1, true),
            "it lasts"
        );
    }

    #[test]
    fn a_rival_is_told_once_while_it_lasts_and_again_when_it_comes_back() {
        let mut bench = bench();
        bench.hold(true);
        bench.pause(SETTLED);
        assert_eq!(bench.claim(&["n2"]), 1);
        assert_eq!(bench.claim(&["n2", "n3"]), 1);
        assert!(!bench.see(Some("n2")), "the same, on the wire");
        assert!(bench.see(None));
        bench.pause(OVER - Duration::from_secs(1));
        assert!(!bench.see(None));
        assert_eq!(bench.claim(&["n3"]), 0);
        bench.pause(OVER - Duration::from_secs(1));
        assert!(!bench.see(None), "seen all the while");
        assert_eq!(bench.claim(&["n2", "n3"]), 1, "it was away");
        bench.pause(OVER);
        assert!(bench.see(None));
        let counts = metrics::Rivals {
            by_heartbeat: 3,
            by_frame: 2,
        };
        assert_eq!(bench.rivals.counts, counts);
    }

    #[test]
    fn who_yields_has_no_rivals_and_who_takes_again_has_them_anew() {
        let mut bench = bench();
        bench.hold(true);
        bench.pause(SETTLED);
        assert_eq!(bench.claim(&["n2"]), 1);
        bench.hold(false);
        assert_eq!(bench.rivals.addresses().count(), 0);
        bench.hold(true);
        bench.pause(SETTLED);
        assert_eq!(bench.claim(&["n2"]), 1);
    }

    #[test]
    fn i7_invented_rivals_are_bounded() {
        let mut bench = bench();
        bench.hold(true);
        bench.pause(SETTLED);
        for n in 0..2 * MOST {
            bench.see(Some(&format!("n{n}")));
        }
        assert_eq!(bench.rivals.known.len(), MOST);
        assert_eq!(bench.rivals.counts.by_frame, MOST as u64);
    }
}
