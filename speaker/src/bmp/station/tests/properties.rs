//! Whatever happens in whatever order: what a station has been told is what the peers should hold.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;

const PEERS: [(&str, &str); 2] = [("leaf", "10.0.0.1"), ("tor", "10.0.0.2")];
const PREFIXES: [&str; 4] = [
    "192.0.2.1/32",
    "192.0.2.2/32",
    "2001:db8::1/128",
    "2001:db8::2/128",
];

#[derive(Debug, Clone)]
enum Op {
    /// The session is established, or is another one, with these prefixes and this MED.
    Up(usize, Vec<usize>, u32),
    Down(usize),
    Change(usize, usize, Option<u32>),
    /// Our end has another IPv6 address.
    Relocate(usize, u8),
    Take,
    Connect,
    Lose,
    Poll(usize),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let peer = 0..PEERS.len();
    let prefix = 0..PREFIXES.len();
    let some = prop::collection::vec(prefix.clone(), 0..4);
    prop_oneof![
        2 => (peer.clone(), some, 0..3_u32).prop_map(|(peer, some, med)| Op::Up(peer, some, med)),
        1 => peer.clone().prop_map(Op::Down),
        6 => (peer.clone(), prefix, prop::option::of(0..3_u32))
            .prop_map(|(peer, prefix, med)| Op::Change(peer, prefix, med)),
        1 => (peer, 1..4_u8).prop_map(|(peer, last)| Op::Relocate(peer, last)),
        4 => Just(Op::Take),
        1 => Just(Op::Connect),
        1 => Just(Op::Lose),
        4 => (1..5_usize).prop_map(Op::Poll),
        1 => (1..30_u64).prop_map(Op::Wait),
    ]
}

fn route(med: u32) -> Route {
    Route {
        med: Some(med),
        ..Route::default()
    }
}

/// What is true.
#[derive(Default)]
struct Truth(BTreeMap<usize, (Established, BTreeMap<IpNet, u32>)>);

impl Truth {
    /// What the station is told of it by whoever knows.
    fn apply(&mut self, rig: &mut Rig, count: u64, op: &Op) {
        match op {
            Op::Up(peer, some, med) => {
                self.end(rig, *peer);
                let since = rig.now + Duration::from_nanos(count);
                let session = session(PEERS[*peer].1, since);
                let prefixes = some.iter().map(|prefix| net(PREFIXES[*prefix]));
                let table: BTreeMap<_, _> = prefixes.map(|prefix| (prefix, *med)).collect();
                let routes: Routes = table.keys().map(|p| (*p, route(*med))).collect();
                let up = Up {
                    established: Arc::new(session.clone()),
                    since: UNIX_EPOCH,
                    routes: Arc::new(routes),
                };
                rig.tell(PEERS[*peer].0, Event::Up(up));
                self.0.insert(*peer, (session, table));
            }
            Op::Down(peer) => self.end(rig, *peer),
            Op::Change(peer, prefix, med) => {
                let Some((_, table)) = self.0.get_mut(peer) else {
                    return;
                };
                let prefix = net(PREFIXES[*prefix]);
                match med {
                    Some(med) => table.insert(prefix, *med),
                    None => table.remove(&prefix),
                };
                let changed = Changed::from([(prefix, med.map(route))]);
                rig.tell(PEERS[*peer].0, Event::Changed(Arc::new(changed)));
            }
            Op::Relocate(peer, last) => {
                let Some((session, _)) = self.0.get_mut(peer) else {
                    return;
                };
                let address = Ipv6Addr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(*last)]);
                session.session.endpoint.interface = vec![address.into()];
                let moved = Arc::new(session.clone());
                rig.tell(PEERS[*peer].0, Event::Relocated(moved));
            }
            Op::Take => rig.take(),
            Op::Connect => rig.connect(),
            Op::Lose => rig.lose(),
            Op::Poll(count) => drop(rig.poll(*count)),
            Op::Wait(seconds) if rig.collector.is_some() => {
                rig.wait(Duration::from_secs(*seconds));
            }
            Op::Wait(_) => {}
        }
    }

    fn end(&mut self, rig: &mut Rig, peer: usize) {
        if self.0.remove(&peer).is_some() {
            rig.tell(PEERS[peer].0, down());
        }
    }

    fn check(&self, collector: &Collector) {
        let up: Vec<IpAddr> = collector.peers().map(|(address, _)| *address).collect();
        let sessions = self.0.keys().map(|peer| address(PEERS[*peer].1));
        assert_eq!(up, sessions.collect::<Vec<_>>());
        for (session, table) in self.0.values() {
            let peer = collector.peer(session.neighbor);
            let expected = table.iter().map(|(prefix, med)| {
                let endpoint = &session.session.endpoint;
                let next_hop: Vec<u8> = match prefix {
                    IpNet::V4(_) => vec![10, 0, 0, 11],
                    IpNet::V6(_) => match endpoint.interface.last() {
                        Some(IpAddr::V6(address)) => address.octets().to_vec(),
                        other => panic!("{other:?}"),
                    },
                };
                (*prefix, (Some(*med), next_hop))
            });
            assert_eq!(peer.routes(), expected.collect());
            assert_eq!(peer.ended, BTreeSet::from(Family::ALL));
        }
    }
}

proptest! {
    #[test]
    fn what_a_station_has_been_told_is_what_the_peers_should_hold(
        ops in prop::collection::vec(op(), 0..60)
    ) {
        let (mut rig, mut truth) = (Rig::new(), Truth::default());
        for (count, op) in ops.iter().enumerate() {
            truth.apply(&mut rig, count as u64, op);
        }
        rig.connect();
        rig.settle();
        truth.check(rig.collector());
        prop_assert_eq!(rig.settle(), Vec::<u8>::new());
    }
}
