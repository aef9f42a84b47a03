use super::*;

const LINK: LinkIndex = LinkIndex(2);

fn address(n: u32) -> IpAddr {
    Ipv4Addr::from(0x0a00_0000 + n).into()
}

fn addresses(count: u32) -> BTreeSet<IpAddr> {
    (0..count).map(address).collect()
}

fn milliseconds(n: u64) -> Duration {
    Duration::from_millis(n)
}

struct Bench {
    start: Instant,
    now: Instant,
    announcer: Announcer,
    said: Vec<(Duration, LinkIndex, IpAddr)>,
}

#[expect(clippy::disallowed_methods, reason = "where virtual time begins")]
fn bench() -> Bench {
    let start = Instant::now();
    Bench {
        start,
        now: start,
        announcer: Announcer::new(start, 7),
        said: Vec::new(),
    }
}

impl Bench {
    fn own(&mut self, link: LinkIndex, addresses: BTreeSet<IpAddr>) {
        let own = Input::Own { link, addresses };
        self.announcer.handle(self.now, own);
    }

    fn run_to(&mut self, at: Duration) {
        let end = self.start + at;
        while let Some(deadline) = self.announcer.poll_timeout().filter(|at| *at <= end) {
            assert!(deadline >= self.now || self.announcer.not_before <= self.now);
            self.now = deadline.max(self.now);
            self.announcer.handle_timeout(self.now);
            while let Some(Output::Announce { link, address }) = self.announcer.poll() {
                self.said.push((self.now - self.start, link, address));
            }
        }
        self.now = end;
    }

    fn times(&self) -> Vec<Duration> {
        self.said.iter().map(|(at, ..)| *at).collect()
    }
}

#[test]
fn taking_over_is_a_burst_and_then_a_low_jittered_rate() {
    let mut bench = bench();
    bench.own(LINK, addresses(1));
    bench.run_to(milliseconds(5_000));
    assert_eq!(bench.times(), [0, 200, 1000, 2000, 4000].map(milliseconds));
    bench.run_to(Duration::from_secs(3600));
    let times = bench.times();
    let gaps: Vec<f64> = times[4..]
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs_f64())
        .collect();
    assert!(
        gaps.iter().all(|gap| (48.0..=72.0).contains(gap)),
        "{gaps:?}"
    );
    assert!(gaps.len() > 50 && gaps.len() < 75);
    assert!(gaps.iter().any(|gap| *gap < 55.0) && gaps.iter().any(|gap| *gap > 65.0));
}

#[test]
fn a_lost_address_is_announced_no_more() {
    let mut bench = bench();
    bench.own(LINK, addresses(2));
    bench.run_to(milliseconds(10));
    bench.own(LINK, BTreeSet::from([address(1)]));
    bench.said.clear();
    bench.run_to(milliseconds(10_000));
    assert!(!bench.said.is_empty());
    assert!(bench.said.iter().all(|(_, _, said)| *said == address(1)));
}

#[test]
fn owning_the_same_again_announces_nothing_anew() {
    let mut bench = bench();
    bench.own(LINK, addresses(1));
    bench.run_to(milliseconds(10_000));
    let count = bench.said.len();
    bench.own(LINK, addresses(1));
    bench.run_to(milliseconds(20_000));
    assert_eq!(bench.said.len(), count);
}

#[test]
fn interfaces_do_not_touch_each_other() {
    let mut bench = bench();
    bench.own(LINK, addresses(1));
    bench.own(LinkIndex(3), addresses(1));
    bench.own(LINK, BTreeSet::new());
    bench.run_to(milliseconds(100));
    assert_eq!(bench.said, [(milliseconds(0), LinkIndex(3), address(0))]);
}

#[test]
fn a_refresh_begins_again_after_the_others_could_yield() {
    let mut bench = bench();
    bench.own(LINK, addresses(1));
    bench.run_to(milliseconds(10_000));
    bench.said.clear();
    bench
        .announcer
        .handle(bench.now, Input::Refresh { link: LINK });
    bench.run_to(milliseconds(15_000));
    let expected = [50, 250, 1050, 2050, 4050].map(|at| milliseconds(10_000 + at));
    assert_eq!(bench.times(), expected);
}

#[test]
fn a_burst_that_has_just_begun_is_not_begun_again() {
    let mut bench = bench();
    bench.own(LINK, addresses(1));
    bench.run_to(milliseconds(100));
    bench
        .announcer
        .handle(bench.now, Input::Refresh { link: LINK });
    bench.run_to(milliseconds(5_000));
    assert_eq!(bench.times(), [0, 200, 1000, 2000, 4000].map(milliseconds));
}

#[test]
fn an_address_that_somebody_else_says_is_theirs_is_announced_again_but_not_for_every_packet() {
    let mut bench = bench();
    bench.own(LINK, addresses(2));
    bench.run_to(milliseconds(10_000));
    bench.said.clear();
    let mut defend = |address| {
        let input = Input::Defend {
            link: LINK,
            address,
        };
        bench.announcer.handle(bench.now, input);
    };
    for _ in 0..100 {
        defend(address(1));
    }
    defend(address(9));
    bench.run_to(milliseconds(11_500));
    assert_eq!(bench.said, [(milliseconds(10_050), LINK, address(1))]);
}

#[test]
fn many_addresses_are_spread() {
    let mut bench = bench();
    bench.own(LINK, addresses(10_000));
    bench.run_to(milliseconds(190));
    let mut by_time: BTreeMap<Duration, usize> = BTreeMap::new();
    for at in bench.times() {
        *by_time.entry(at).or_default() += 1;
    }
    assert!(by_time.values().all(|count| *count <= BATCH));
    let times: Vec<Duration> = by_time.into_keys().collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= PACE));
    bench.run_to(milliseconds(60_000));
    let said: BTreeSet<IpAddr> = bench.said.iter().map(|(.., address)| *address).collect();
    assert_eq!(said.len(), 10_000);
}

#[test]
fn the_frames_are_two_for_ipv4_and_one_for_ipv6() {
    let mac = Mac([2, 0, 0, 0, 0, 1]);
    let v4 = frames(address(1), mac);
    assert_eq!(v4, arp::announcements(Ipv4Addr::new(10, 0, 0, 1), mac));
    let v6 = "2001:db8::1".parse().unwrap();
    assert_eq!(frames(IpAddr::V6(v6), mac), [ndisc::announcement(v6, mac)]);
}
