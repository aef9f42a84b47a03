#![expect(
    clippy::disallowed_methods,
    reason = "an Instant has no other beginning"
)]

mod collector;
mod properties;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use ferrolb_crds::model::Family;

use self::collector::Collector;
use super::super::news::News;
use super::super::{Down, Up};
use super::*;
use crate::bgp::connection::{Endpoint, Negotiated};
use crate::bgp::tests::{asn, endpoint, net};
use crate::bgp::{Changed, Ended, Established, Opens, Route, Routes};

const SECOND: Duration = Duration::from_secs(1);

/// A session with the router at 10.0.0.1.
pub(crate) fn established(since: Instant) -> Arc<Established> {
    Arc::new(session("10.0.0.1", since))
}

fn session(neighbor: &str, since: Instant) -> Established {
    Established {
        since,
        session: Negotiated {
            has_enhanced_refresh: true,
            ..crate::bgp::tests::session()
        },
        local_asn: asn(64601),
        neighbor: neighbor.parse().unwrap(),
        device: None,
        opens: Opens {
            sent: vec![1],
            received: vec![2],
        },
    }
}

fn up(established: &Arc<Established>, routes: &[&str]) -> Event {
    let routes = routes.iter().map(|prefix| (net(prefix), Route::default()));
    Event::Up(Up {
        established: Arc::clone(established),
        since: UNIX_EPOCH + SECOND,
        routes: Arc::new(routes.collect()),
    })
}

fn down() -> Event {
    Event::Down(Down::Ended(Arc::new(Ended::Lost)))
}

fn changed(prefix: &str, route: Option<Route>) -> Event {
    Event::Changed(Arc::new(Changed::from([(net(prefix), route)])))
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A machine with its transport.
struct Rig {
    now: Instant,
    station: Station,
    news: News,
    collector: Option<Collector>,
}

impl Rig {
    fn new() -> Self {
        let mut rig = Self {
            now: Instant::now(),
            station: Station::new("n1".to_owned(), fastrand::Rng::with_seed(5)),
            news: News::default(),
            collector: None,
        };
        rig.station.handle(rig.now, Input::Start);
        assert_eq!(rig.outputs(), [Output::Connect]);
        rig
    }

    fn connected() -> Self {
        let mut rig = Self::new();
        rig.connect();
        rig
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.station.poll()).collect()
    }

    /// TCP comes up, after it has been waited for.
    fn connect(&mut self) {
        if self.collector.is_some() {
            return;
        }
        if let Some((at, Timer::Retry)) = self.station.poll_timeout() {
            self.now = at;
            self.station.handle_timeout(at);
            assert_eq!(self.outputs(), [Output::Connect]);
        }
        self.station.handle(self.now, Input::Connected);
        self.collector = Some(Collector::default());
    }

    fn lose(&mut self) {
        if self.collector.take().is_some() {
            let error = "connection reset".to_owned();
            self.station.handle(self.now, Input::Failed(error));
            assert_eq!(self.outputs(), [Output::Close]);
        }
    }

    fn tell(&mut self, peer: &str, event: Event) {
        self.news.put(peer, event);
    }

    /// The station takes what it was told.
    fn take(&mut self) {
        for (peer, event) in self.news.take() {
            self.station.handle(self.now, Input::Session(peer, event));
        }
    }

    /// Room for so many messages.
    fn poll(&mut self, count: usize) -> Vec<u8> {
        let mut kinds = Vec::new();
        for _ in 0..count {
            let Some(message) = self.station.poll_message(UNIX_EPOCH) else {
                break;
            };
            let collector = self.collector.as_mut().expect("there is a connection");
            kinds.push(collector.take(&message));
        }
        kinds
    }

    /// Until the station knows everything: the types of the messages.
    fn settle(&mut self) -> Vec<u8> {
        self.take();
        self.poll(usize::MAX)
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.station.handle_timeout(self.now);
    }

    fn collector(&self) -> &Collector {
        self.collector.as_ref().expect("there is a connection")
    }
}

// Message types.
const MONITORING: u8 = 0;
const STATISTICS: u8 = 1;
const PEER_DOWN: u8 = 2;
const PEER_UP: u8 = 3;
const INITIATION: u8 = 4;
const NOTHING: [u8; 0] = [];

#[test]
fn a_station_is_told_who_speaks_which_sessions_there_are_and_what_their_peers_hold() {
    let mut rig = Rig::connected();
    assert_eq!(rig.settle(), [INITIATION]);
    let session = established(rig.now);
    rig.tell("tor", up(&session, &["192.0.2.10/32", "2001:db8::/64"]));
    // Two tables, and the end of each.
    let table = [MONITORING; 4];
    assert_eq!(rig.settle(), [&[PEER_UP], table.as_slice()].concat());
    let peer = rig.collector().peer(address("10.0.0.1"));
    assert_eq!(peer.prefixes(), ["192.0.2.10/32", "2001:db8::/64"]);
    assert_eq!(peer.ended, BTreeSet::from(Family::ALL));
    rig.tell("tor", changed("192.0.2.10/32", None));
    rig.tell("tor", changed("192.0.2.11/32", Some(Route::default())));
    assert_eq!(rig.settle(), [MONITORING; 2]);
    assert_eq!(
        rig.collector().peer(address("10.0.0.1")).prefixes(),
        ["192.0.2.11/32", "2001:db8::/64"]
    );
    rig.tell("tor", down());
    assert_eq!(rig.settle(), [PEER_DOWN]);
    assert_eq!(rig.settle(), NOTHING, "and no more of it");
}

#[test]
fn everything_is_said_again_on_a_new_connection() {
    let mut rig = Rig::connected();
    let session = established(rig.now);
    rig.tell("tor", up(&session, &["192.0.2.10/32"]));
    let all = rig.settle();
    assert_eq!(all.len(), 5);
    rig.lose();
    rig.tell("tor", changed("192.0.2.11/32", Some(Route::default())));
    rig.take();
    assert_eq!(rig.station.poll_message(UNIX_EPOCH), None);
    rig.connect();
    assert_eq!(rig.settle(), all, "both in one UPDATE");
    assert_eq!(
        rig.collector().peer(address("10.0.0.1")).prefixes(),
        ["192.0.2.10/32", "192.0.2.11/32"]
    );
}

#[test]
fn a_session_that_comes_and_goes_unseen_is_not_told_of() {
    let mut rig = Rig::connected();
    let first = established(rig.now);
    rig.tell("tor", up(&first, &[]));
    rig.settle();
    rig.lose();
    rig.tell("tor", down());
    rig.take();
    rig.connect();
    assert_eq!(rig.settle(), [INITIATION]);
    let sessions = [1, 2].map(|n| established(rig.now + n * SECOND));
    rig.tell("tor", up(&sessions[0], &[]));
    rig.take();
    rig.tell("tor", down());
    rig.take();
    assert_eq!(rig.settle(), NOTHING);
    // Of one that it knows it is told that it is over, and of the next at once.
    rig.tell("tor", up(&sessions[0], &[]));
    rig.settle();
    rig.tell("tor", down());
    rig.take();
    rig.tell("tor", up(&sessions[1], &[]));
    let ends = [MONITORING; 2];
    assert_eq!(
        rig.settle(),
        [&[PEER_DOWN, PEER_UP], ends.as_slice()].concat()
    );
}

#[test]
fn a_next_hop_that_changes_is_told() {
    let mut rig = Rig::connected();
    let first = established(rig.now);
    rig.tell("tor", up(&first, &["192.0.2.10/32", "2001:db8::/64"]));
    rig.settle();
    let mut moved = Established::clone(&first);
    moved.session.endpoint = Endpoint {
        interface: vec![address("fd00::12")],
        ..endpoint()
    };
    rig.tell("tor", Event::Relocated(Arc::new(moved)));
    assert_eq!(rig.settle(), [MONITORING], "without the marks of a refresh");
    let peer = rig.collector().peer(address("10.0.0.1"));
    let next_hop = peer.next_hop("2001:db8::/64");
    assert_eq!(
        next_hop,
        "fd00::12".parse::<std::net::Ipv6Addr>().unwrap().octets()
    );
}

#[test]
fn i4_counts_are_told_when_they_have_changed() {
    let mut rig = Rig::connected();
    let session = established(rig.now);
    rig.tell("tor", up(&session, &["192.0.2.10/32", "2001:db8::/64"]));
    rig.settle();
    rig.wait(10 * SECOND);
    assert_eq!(rig.settle(), [STATISTICS]);
    rig.wait(3600 * SECOND);
    assert_eq!(rig.settle(), NOTHING, "a system at rest is silent");
    rig.tell("tor", changed("192.0.2.10/32", None));
    assert_eq!(rig.settle(), [MONITORING]);
    rig.wait(10 * SECOND);
    assert_eq!(rig.settle(), [STATISTICS]);
}

#[test]
fn no_session_keeps_the_others_waiting() {
    let mut rig = Rig::connected();
    for (peer, neighbor) in [("leaf", "10.0.0.1"), ("tor", "10.0.0.2")] {
        let session = Arc::new(session(neighbor, rig.now));
        rig.tell(peer, up(&session, &["192.0.2.10/32"]));
    }
    rig.take();
    rig.poll(1);
    for med in 0..10 {
        let route = Route {
            med: Some(med),
            ..Route::default()
        };
        rig.tell("leaf", changed("192.0.2.10/32", Some(route)));
        rig.take();
        rig.poll(1);
    }
    let peer = rig.collector().peer(address("10.0.0.2"));
    assert_eq!(peer.ended, BTreeSet::from(Family::ALL));
}

#[test]
fn i7_who_does_not_answer_is_dialled_more_and_more_rarely() {
    let mut rig = Rig::new();
    let mut waits = Vec::new();
    for _ in 0..8 {
        rig.wait(10 * SECOND);
        assert_eq!(rig.outputs(), [Output::Close], "no answer");
        let (at, timer) = rig.station.poll_timeout().unwrap();
        assert_eq!(timer, Timer::Retry);
        waits.push((at - rig.now).as_secs_f32().round());
        rig.wait(at - rig.now);
        assert_eq!(rig.outputs(), [Output::Connect]);
    }
    let error = "no answer to the connection attempt";
    assert_eq!(rig.station.last_error(), Some(error));
    assert!(waits.is_sorted_by(|a, b| a <= b || *b >= 45.0), "{waits:?}");
    assert!(waits[0] <= 1.0 && waits[7] <= 60.0, "{waits:?}");
    // One that has lasted is missed at once.
    rig.connect();
    rig.wait(60 * SECOND);
    rig.lose();
    let (at, _) = rig.station.poll_timeout().unwrap();
    assert!(at - rig.now <= SECOND);
}

#[test]
fn goodbye_is_said_to_whoever_hears_it() {
    let mut rig = Rig::new();
    assert_eq!(rig.station.farewell(), None);
    rig.connect();
    assert_eq!(rig.station.farewell(), Some(codec::termination()));
    rig.lose();
    assert_eq!(rig.station.farewell(), None);
}
