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

const REST: Duration = Duration::from_secs(60);

fn bench() -> Bench {
    bench_with(Some(REST))
}

#[expect(clippy::disallowed_methods, reason = "where virtual time begins")]
fn bench_with(rest: Option<Duration>) -> Bench {
    let start = Instant::now();
    Bench {
        start,
        now: start,
        announcer: Announcer::new(start, 7, rest),
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
        let mut turns_left = 1_000_000;
        while let Some(deadline) = self.announcer.poll_timeout().filter(|at| *at <= end) {
            turns_left -= 1;
            assert!(turns_left > 0, "the clock stands still");
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
    let first = (times[5] - times[4]).as_secs_f64();
    assert!((12.0..=72.0).contains(&first), "{first}");
    let gaps: Vec<f64> = times[5..]
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
fn one_more_is_announced_and_the_others_are_not_begun_anew() {
    let mut bench = bench();
    bench.own(LINK, addresses(1));
    bench.run_to(milliseconds(10_000));
    bench.said.clear();
    for _ in 0..2 {
        let more = Input::OwnMore {
            link: LINK,
            address: address(1),
        };
        bench.announcer.handle(bench.now, more);
    }
    bench.run_to(milliseconds(10_100));
    assert_eq!(bench.said, [(milliseconds(10_000), LINK, address(1))]);
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

/// Frames that went out in the second that begins with each.
fn frames_by_second(said: &[(Duration, LinkIndex, IpAddr)]) -> Vec<u32> {
    let mut end = 0;
    let mut count = 0;
    let mut counts = Vec::new();
    for (at, _, address) in said {
        while let Some((later, _, address)) = said.get(end)
            && *later < *at + Duration::from_secs(1)
        {
            count += frame_count(*address);
            end += 1;
        }
        counts.push(count);
        count -= frame_count(*address);
    }
    counts
}

#[test]
fn many_addresses_have_their_first_round_within_a_second_and_keep_the_pace() {
    let mut bench = bench_with(Some(Duration::from_secs(1)));
    bench.own(LINK, addresses(5_000));
    bench.own(LinkIndex(3), addresses(5_000));
    bench.run_to(milliseconds(900));
    let first_round = bench.said[..10_000].iter();
    let distinct: BTreeSet<_> = first_round.map(|(_, link, said)| (*link, *said)).collect();
    assert_eq!(
        distinct.len(),
        10_000,
        "nothing twice before everything once"
    );
    assert!(bench.times()[9_999] > milliseconds(700));
    bench.run_to(milliseconds(20_000));
    let most = frames_by_second(&bench.said).into_iter().max().unwrap();
    assert!(most < FRAMES_A_SECOND, "{most}");
    assert!(most > FRAMES_A_SECOND * 9 / 10, "{most}");
    let many = |share: u32| usize::try_from(FRAMES_A_SECOND / 1000 * share / 2).unwrap();
    let mut by_time: BTreeMap<Duration, usize> = BTreeMap::new();
    for at in bench.times() {
        *by_time.entry(at).or_default() += 1;
    }
    assert!(by_time.values().all(|count| *count <= many(50)));
}

#[test]
fn the_latest_taken_is_announced_first_then_bursts_end_then_the_low_rate_goes_on() {
    let mut bench = bench_with(Some(Duration::from_secs(1)));
    let all = |first: u32, last: u32| (first..last).map(address).collect::<BTreeSet<_>>();
    bench.own(LINK, all(0, 10_000));
    // Long enough for all of them to be in the low rate, which alone fills four fifths of the pace.
    bench.run_to(milliseconds(20_000));
    bench.own(LINK, all(0, 15_000));
    bench.run_to(milliseconds(20_100));
    bench.own(LINK, all(0, 20_000));
    bench.said.clear();
    bench.run_to(milliseconds(20_900));
    let number = |address: &IpAddr| match address {
        IpAddr::V4(address) => address.to_bits() - 0x0a00_0000,
        IpAddr::V6(_) => unreachable!(),
    };
    let said: Vec<u32> = bench.said.iter().map(|(.., said)| number(said)).collect();
    let mut latest: Vec<u32> = said[..5_000].to_vec();
    latest.sort_unstable();
    assert!(latest.iter().copied().eq(15_000..20_000));
    let is_earlier = |n: &u32| (10_000..15_000).contains(n);
    assert!(said[5_000..].iter().all(is_earlier));
    assert!(said.len() > 7_000);
    assert!(
        said.iter().all(|n| *n >= 10_000),
        "nothing of the low rate yet"
    );
    bench.run_to(milliseconds(40_000));
    let ends = bench.said.iter().rev().take(20_000);
    assert!(ends.map(|(.., said)| number(said)).any(|n| n < 10_000));
}

#[test]
fn the_low_rate_of_many_is_spread_evenly() {
    let mut bench = bench_with(Some(Duration::from_secs(30)));
    bench.own(LINK, addresses(10_000));
    bench.run_to(milliseconds(200_000));
    for (from, to) in [(45, 75), (170, 200)] {
        let mut seconds = vec![0; to - from];
        for at in bench.times() {
            let second = usize::try_from(at.as_secs()).unwrap();
            if (from..to).contains(&second) {
                seconds[second - from] += 1;
            }
        }
        // On the average 333.
        assert!(
            seconds.iter().all(|n| (150..700).contains(n)),
            "{seconds:?}"
        );
    }
}

#[test]
fn without_a_low_rate_nothing_follows_the_burst_until_there_is_something_to_say() {
    let mut bench = bench_with(None);
    bench.own(LINK, addresses(1));
    bench.run_to(Duration::from_secs(10));
    assert_eq!(bench.said.len(), 5);
    assert_eq!(bench.announcer.poll_timeout(), None);
    let defend = Input::Defend {
        link: LINK,
        address: address(0),
    };
    bench.announcer.handle(bench.now, defend);
    bench.run_to(Duration::from_secs(3600));
    assert_eq!(bench.said.len(), 6);
    bench
        .announcer
        .handle(bench.now, Input::Refresh { link: LINK });
    bench.run_to(Duration::from_secs(7200));
    assert_eq!(bench.said.len(), 11);
    bench.own(LINK, BTreeSet::new());
    assert_eq!(bench.announcer.poll_timeout(), None);
}

#[test]
fn what_is_lost_while_it_waits_for_its_turn_is_not_announced() {
    let mut bench = bench();
    bench.own(LINK, addresses(10_000));
    bench.run_to(milliseconds(100));
    bench.own(LINK, BTreeSet::new());
    let count = bench.said.len();
    assert!(count < 10_000);
    bench.run_to(milliseconds(20_000));
    assert_eq!(bench.said.len(), count);
    assert!(bench.announcer.due.is_empty() && bench.announcer.waiting.is_empty());
}

#[test]
fn the_frames_are_two_for_ipv4_and_one_for_ipv6() {
    let mac = Mac([2, 0, 0, 0, 0, 1]);
    let v4 = frames(address(1), mac);
    assert_eq!(v4, arp::announcements(Ipv4Addr::new(10, 0, 0, 1), mac));
    let v6 = "2001:db8::1".parse().unwrap();
    assert_eq!(frames(IpAddr::V6(v6), mac), [ndisc::announcement(v6, mac)]);
}
