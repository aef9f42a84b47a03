use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;

const LINK: LinkIndex = LinkIndex(2);
const OTHER_LINK: LinkIndex = LinkIndex(3);
const STRANGER: Mac = Mac([2, 0, 0, 0, 0, 0x77]);
const US: Mac = Mac([2, 0, 0, 0, 0, 1]);

fn address(n: u32) -> IpAddr {
    Ipv4Addr::from(0x0a00_0000 + n).into()
}

fn milliseconds(n: u64) -> Duration {
    Duration::from_millis(n)
}

struct Bench {
    start: Instant,
    now: Instant,
    conflicts: Conflicts,
    asked: BTreeSet<IpAddr>,
    probes: Vec<(Duration, LinkIndex, IpAddr)>,
    found: Vec<(Duration, IpAddr)>,
}

#[expect(clippy::disallowed_methods, reason = "where virtual time begins")]
fn bench() -> Bench {
    let start = Instant::now();
    Bench {
        start,
        now: start,
        conflicts: Conflicts::new(start),
        asked: BTreeSet::new(),
        probes: Vec::new(),
        found: Vec::new(),
    }
}

impl Bench {
    /// Exactly these are to be asked for.
    fn want(&mut self, addresses: impl IntoIterator<Item = IpAddr>, links: &[LinkIndex]) {
        let links: BTreeSet<LinkIndex> = links.iter().copied().collect();
        let wanted: BTreeSet<IpAddr> = addresses.into_iter().collect();
        let gone = self.asked.difference(&wanted);
        let gone = gone.map(|address| (*address, None));
        let here = wanted.iter().map(|address| (*address, Some(links.clone())));
        let changes = gone.chain(here).collect();
        self.conflicts.handle(self.now, Input::Want(changes));
        self.asked = wanted;
        self.take();
    }

    fn see(&mut self, link: LinkIndex, address: IpAddr, mac: Mac) {
        let seen = Input::Seen { link, address, mac };
        self.conflicts.handle(self.now, seen);
        self.take();
    }

    fn run_to(&mut self, at: Duration) {
        let end = self.start + at;
        let mut turns_left = 1_000_000;
        while let Some(deadline) = self.conflicts.poll_timeout().filter(|at| *at <= end) {
            turns_left -= 1;
            assert!(turns_left > 0, "the clock stands still");
            self.now = deadline.max(self.now);
            self.conflicts.handle_timeout(self.now);
            self.take();
        }
        self.now = end;
    }

    fn take(&mut self) {
        let at = self.now - self.start;
        while let Some(output) = self.conflicts.poll() {
            match output {
                Output::Probe { link, address } => self.probes.push((at, link, address)),
                Output::Found { address } => self.found.push((at, address)),
            }
        }
    }

    fn others(&self, n: u32) -> Option<Vec<(LinkIndex, Mac)>> {
        let found = self.conflicts.found(address(n))?;
        Some(found.iter().map(|(link, mac)| (*link, *mac)).collect())
    }
}

#[test]
fn an_address_that_nobody_answers_for_is_free_and_asked_for_once() {
    let mut bench = bench();
    bench.want([address(1)], &[LINK, OTHER_LINK]);
    bench.run_to(milliseconds(199));
    assert_eq!(bench.others(1), None, "somebody may still answer");
    let links: Vec<LinkIndex> = bench.probes.iter().map(|(_, link, _)| *link).collect();
    assert_eq!(links, [LINK, OTHER_LINK]);
    bench.run_to(milliseconds(300));
    assert_eq!(bench.others(1), Some(vec![]));
    bench.see(LINK, address(1), STRANGER);
    bench.want([address(1)], &[LINK, OTHER_LINK]);
    bench.run_to(Duration::from_secs(3600));
    assert_eq!((bench.probes.len(), bench.found.len()), (2, 1));
    assert_eq!(bench.others(1), Some(vec![]), "what comes later is a rival");
    assert_eq!(bench.conflicts.poll_timeout(), None);
}

#[test]
fn a_taken_address_is_asked_for_again_ever_more_rarely_until_it_is_free() {
    let mut bench = bench();
    bench.want([address(1)], &[LINK]);
    let mut asked = Vec::new();
    for _ in 0..7 {
        let count = bench.probes.len();
        let mut at = bench.now - bench.start;
        while bench.probes.len() == count {
            at += milliseconds(10);
            bench.run_to(at);
        }
        asked.push(bench.now - bench.start);
        bench.see(LINK, address(1), STRANGER);
    }
    let waits: Vec<u64> = asked
        .windows(2)
        .map(|pair| (pair[1] - pair[0] + milliseconds(100)).as_secs())
        .collect();
    assert_eq!(waits, [30, 60, 120, 240, 300, 300]);
    bench.run_to(bench.now - bench.start + milliseconds(300));
    assert_eq!(bench.others(1), Some(vec![(LINK, STRANGER)]));
    assert_eq!(bench.found.len(), 1, "it is told once");
    // It is gone.
    bench.run_to(bench.now - bench.start + Duration::from_secs(301));
    assert_eq!(bench.others(1), Some(vec![]));
    assert_eq!(bench.found.len(), 2);
    assert_eq!(bench.conflicts.poll_timeout(), None);
}

#[test]
fn the_first_on_each_interface_is_told_and_whoever_joins_on_another() {
    let mut bench = bench();
    let second = Mac([2, 0, 0, 0, 0, 0x78]);
    bench.want([address(1)], &[LINK, OTHER_LINK]);
    bench.run_to(milliseconds(10));
    bench.see(LINK, address(1), STRANGER);
    bench.see(LINK, address(1), second);
    bench.see(LinkIndex(9), address(1), second);
    bench.see(LINK, address(2), second);
    assert_eq!(bench.others(1), None);
    bench.run_to(milliseconds(300));
    assert_eq!(bench.others(1), Some(vec![(LINK, STRANGER)]));
    for _ in 0..100 {
        bench.see(LINK, address(1), second);
        bench.see(LINK, address(1), STRANGER);
    }
    assert_eq!(bench.found.len(), 1);
    bench.see(OTHER_LINK, address(1), second);
    let both = vec![(LINK, STRANGER), (OTHER_LINK, second)];
    assert_eq!((bench.others(1), bench.found.len()), (Some(both), 2));
}

#[test]
fn what_is_wanted_no_more_is_forgotten_wherever_it_was() {
    let mut bench = bench();
    bench.want((0..1_000).map(address), &[LINK]);
    bench.conflicts.handle_timeout(bench.now);
    bench.see(LINK, address(999), STRANGER);
    bench.want([], &[]);
    assert_eq!(bench.conflicts.poll_timeout(), None);
    assert!(bench.conflicts.queue.is_empty() && bench.conflicts.due.is_empty());
    assert!(!bench.conflicts.is_about(address(999)));
    // Wanted again it is asked for again.
    bench.want([address(1)], &[LINK]);
    bench.run_to(milliseconds(300));
    assert_eq!(bench.others(1), Some(vec![]));
}

#[test]
fn it_is_asked_for_when_there_is_somewhere_to_ask_and_not_again_once_it_is_free() {
    let mut bench = bench();
    bench.want([address(1)], &[]);
    bench.run_to(Duration::from_secs(1));
    assert_eq!((bench.probes.len(), bench.others(1)), (0, None));
    bench.want([address(1)], &[LINK]);
    bench.run_to(milliseconds(1_100));
    bench.want([address(1)], &[]);
    bench.run_to(Duration::from_secs(2));
    assert_eq!(bench.others(1), None, "nobody could have answered");
    bench.want([address(1)], &[LINK]);
    bench.run_to(Duration::from_secs(3));
    assert_eq!((bench.probes.len(), bench.others(1)), (2, Some(vec![])));
    for links in [&[][..], &[LINK], &[LINK, OTHER_LINK]] {
        bench.want([address(1)], links);
        bench.run_to(Duration::from_secs(4));
        assert_eq!((bench.probes.len(), bench.others(1)), (2, Some(vec![])));
    }
}

#[test]
fn an_interface_that_is_added_is_asked_on() {
    let mut bench = bench();
    bench.want([address(1)], &[LINK]);
    bench.run_to(milliseconds(100));
    bench.want([address(1)], &[LINK, OTHER_LINK]);
    bench.run_to(milliseconds(150));
    bench.see(OTHER_LINK, address(1), STRANGER);
    bench.run_to(milliseconds(600));
    assert_eq!(bench.others(1), Some(vec![(OTHER_LINK, STRANGER)]));
}

#[test]
fn many_are_asked_for_at_a_pace_the_latest_wanted_first_and_end_in_lots() {
    let mut bench = bench();
    bench.want((0..10_000).map(address), &[LINK]);
    bench.run_to(milliseconds(100));
    bench.want((0..10_001).map(address), &[LINK]);
    let before = bench.probes.len();
    bench.run_to(milliseconds(2_000));
    assert_eq!(bench.probes[before].2, address(10_000));
    assert_eq!((bench.probes.len(), bench.found.len()), (10_001, 10_001));
    let (last, ..) = *bench.probes.last().unwrap();
    assert!(
        last > milliseconds(700) && last < milliseconds(1_000),
        "{last:?}"
    );
    let first_second = bench
        .probes
        .partition_point(|(at, ..)| *at < milliseconds(1_000));
    assert!(first_second <= usize::try_from(PROBES_A_SECOND).unwrap());
    let lots: BTreeSet<Duration> = bench.found.iter().map(|(at, _)| *at).collect();
    assert!(lots.len() < 25, "{lots:?}");
}

#[test]
fn a_sighting_is_whoever_has_it_says_so_or_is_about_to_take_it() {
    let four = Ipv4Addr::new(10, 0, 0, 1);
    let six = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
    let [request, reply] = arp::announcements(four, STRANGER);
    let seen = Some((IpAddr::V4(four), STRANGER));
    let answer = Packet {
        operation: Operation::Reply,
        sender_hw: STRANGER,
        sender_ip: four,
        target_hw: US,
        target_ip: Ipv4Addr::UNSPECIFIED,
    };
    for frame in [
        request,
        reply,
        answer.emit(US),
        probe(four.into(), STRANGER),
    ] {
        assert_eq!(sighting(&frame), seen);
    }
    let seen = Some((IpAddr::V6(six), STRANGER));
    for frame in [
        ndisc::announcement(six, STRANGER),
        probe(six.into(), STRANGER),
    ] {
        assert_eq!(sighting(&frame), seen);
    }
    // Who only asks has another address.
    let asks = Solicitation {
        source: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2),
        destination: ndisc::solicited_node(six),
        target: six,
        source_link: Some(STRANGER),
    };
    let group = Mac::of_ipv6_group(asks.destination);
    assert_eq!(sighting(&asks.emit(STRANGER, group)), None);
    let [from_nobody, _] = arp::announcements(four, Mac::ZERO);
    assert_eq!(sighting(&from_nobody), None);
    assert_eq!(sighting(b"short"), None);
}

#[test]
fn no_cache_learns_anything_from_a_probe() {
    let four = Ipv4Addr::new(10, 0, 0, 1);
    let frame = probe(four.into(), US);
    let (header, payload) = Header::parse(&frame).unwrap();
    let packet = Packet::parse(payload).unwrap();
    assert_eq!(header.destination, Mac::BROADCAST);
    assert_eq!(packet.operation, Operation::Request);
    assert!(packet.sender_ip.is_unspecified());
    assert_eq!((packet.target_ip, packet.target_hw), (four, Mac::ZERO));

    let six = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
    let frame = probe(six.into(), US);
    let (header, payload) = Header::parse(&frame).unwrap();
    let asked = Solicitation::parse(payload).unwrap();
    assert!(asked.source.is_unspecified() && asked.source_link.is_none());
    assert_eq!(asked.destination, ndisc::solicited_node(six));
    assert_eq!(header.destination, Mac::of_ipv6_group(asked.destination));
}

#[test]
fn what_was_answered_during_a_stall_is_read_before_it_is_judged() {
    let mut bench = bench();
    bench.want([address(1)], &[LINK]);
    bench.run_to(milliseconds(1));
    // The process wakes long after the question's end; the answer still lies in the socket.
    bench.now += Duration::from_secs(1);
    bench.conflicts.handle_timeout(bench.now);
    bench.take();
    assert_eq!(bench.others(1), None);
    bench.see(LINK, address(1), STRANGER);
    bench.run_to(milliseconds(1_200));
    assert_eq!(bench.others(1), Some(vec![(LINK, STRANGER)]));
}

#[test]
fn a_conflict_where_the_address_is_wanted_no_more_is_nobodys() {
    let mut bench = bench();
    bench.want([address(1)], &[LINK, OTHER_LINK]);
    bench.run_to(milliseconds(100));
    bench.see(OTHER_LINK, address(1), STRANGER);
    bench.run_to(milliseconds(300));
    assert_eq!(bench.others(1), Some(vec![(OTHER_LINK, STRANGER)]));
    bench.want([address(1)], &[LINK]);
    bench.run_to(milliseconds(600));
    assert_eq!(bench.others(1), Some(vec![]));
}
