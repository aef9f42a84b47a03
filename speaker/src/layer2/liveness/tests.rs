use super::*;
use crate::layer2::heartbeat::{Flags, answer};

const LINK: LinkIndex = LinkIndex(2);
const SECOND: LinkIndex = LinkIndex(3);
const MAC: Mac = Mac([2, 0, 0, 0, 0, 0x0b]);
const BEAT: Duration = Duration::from_millis(100);

fn milliseconds(n: u64) -> Duration {
    Duration::from_millis(n)
}

struct Bench {
    start: Instant,
    now: Instant,
    liveness: Liveness,
    sequence: u64,
}

#[expect(clippy::disallowed_methods, reason = "where virtual time begins")]
fn bench_with(down_after: Option<Duration>) -> Bench {
    let settings = Settings {
        node: "self".to_owned(),
        interval: BEAT,
        down_after,
    };
    let start = Instant::now();
    Bench {
        start,
        now: start,
        liveness: Liveness::new(settings, 1),
        sequence: 0,
    }
}

fn bench() -> Bench {
    bench_with(None)
}

impl Bench {
    fn beat(&mut self) -> Heartbeat {
        self.sequence += 1;
        Heartbeat {
            flags: Flags::default(),
            incarnation: 1,
            sequence: self.sequence,
            nonce: 0,
            interval: BEAT,
            held: [0; 16],
            node: "other".to_owned(),
            interface: "eth0".to_owned(),
            claims: claims::Message::Nothing,
        }
    }

    fn hear_on(&mut self, link: LinkIndex, heartbeat: Heartbeat) -> Vec<Output> {
        let said = self.hear_recording(link, heartbeat.clone());
        // The other node is really there, and answers.
        let asked = nonces(&said).first().copied();
        let Some(nonce) = asked else {
            return said;
        };
        self.sequence = self.sequence.max(heartbeat.sequence) + 1;
        let sequence = self.sequence;
        let answer = answer(
            Heartbeat {
                sequence,
                ..heartbeat
            },
            nonce,
        );
        let mut said: Vec<Output> = said
            .into_iter()
            .filter(|output| !is_challenge(output))
            .collect();
        said.extend(self.hear_recording(link, answer));
        said
    }

    /// What is heard, and nobody is there.
    fn hear_recording(&mut self, link: LinkIndex, heartbeat: Heartbeat) -> Vec<Output> {
        let sender = MAC;
        let heard = Input::Heard {
            link,
            sender,
            heartbeat,
        };
        self.liveness.handle(self.now, heard);
        self.drain()
    }

    fn hear(&mut self) -> Vec<Output> {
        let heartbeat = self.beat();
        self.hear_on(LINK, heartbeat)
    }

    fn hear_with(&mut self, flags: Flags) -> Vec<Output> {
        let heartbeat = Heartbeat {
            flags,
            ..self.beat()
        };
        self.hear_on(LINK, heartbeat)
    }

    /// What follows for who lives; what is claimed is passed on with every heartbeat.
    fn drain(&mut self) -> Vec<Output> {
        let said = std::iter::from_fn(|| self.liveness.poll());
        said.filter(|output| !matches!(output, Output::Claims(_)))
            .collect()
    }

    /// Runs, always on time, and gives what was said when.
    fn run_for(&mut self, time: Duration) -> Vec<(Duration, Output)> {
        let (begin, end) = (self.now, self.now + time);
        let mut said = Vec::new();
        while let Some(at) = self.liveness.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.liveness.handle_timeout(self.now);
            let outputs = self.drain();
            let at = self.now - begin;
            said.extend(outputs.into_iter().map(|output| (at, output)));
        }
        self.now = end;
        said
    }

    fn stall(&mut self, time: Duration) -> Vec<Output> {
        self.now += time;
        self.liveness.handle_timeout(self.now);
        self.drain()
    }

    fn is_up(&self) -> bool {
        let mut nodes = self.liveness.nodes();
        nodes.any(|(name, node)| name == "other" && node.heard_on().next().is_some())
    }
}

fn way(link: LinkIndex, from: &str) -> Way {
    let from = from.to_owned();
    Way { link, from }
}

fn up(link: LinkIndex) -> Output {
    let (node, way) = ("other".to_owned(), way(link, "eth0"));
    Output::Up { node, way }
}

fn down(link: LinkIndex, reason: DownReason) -> Output {
    let (node, way) = ("other".to_owned(), way(link, "eth0"));
    Output::Down { node, way, reason }
}

fn is_challenge(output: &Output) -> bool {
    let Output::Unicast { why, .. } = output else {
        return false;
    };
    matches!(why, Unicast::Challenge(_))
}

fn unicast(why: Unicast) -> Output {
    let (link, to) = (LINK, MAC);
    Output::Unicast { link, to, why }
}

const LISTENING: Flags = Flags {
    is_leaving: false,
    is_listening: true,
    is_probe: false,
    is_answer: false,
    was_missed: false,
    asks: false,
    is_failing: false,
};

const LEAVING: Flags = Flags {
    is_leaving: true,
    is_listening: false,
    is_probe: false,
    is_answer: false,
    was_missed: false,
    asks: false,
    is_failing: false,
};

#[test]
fn a_silent_node_is_probed_three_times_and_then_down() {
    let mut bench = bench();
    assert_eq!(bench.hear(), [up(LINK)]);
    let said = bench.run_for(milliseconds(1000));
    let probe = || unicast(Unicast::Probe);
    let expected = [
        (Duration::from_micros(203_125), probe()),
        (Duration::from_micros(243_750), probe()),
        (Duration::from_micros(284_375), probe()),
        (milliseconds(325), down(LINK, DownReason::Silence)),
    ];
    assert_eq!(said, expected);
    assert_eq!(bench.liveness.poll_timeout(), None);
}

#[test]
fn any_heartbeat_ends_the_suspicion() {
    let mut bench = bench();
    bench.hear();
    bench.run_for(milliseconds(300));
    assert_eq!(bench.hear(), []);
    let said = bench.run_for(milliseconds(324));
    assert!(
        said.iter()
            .all(|(_, output)| *output == unicast(Unicast::Probe))
    );
    assert!(bench.is_up());
}

#[test]
fn the_senders_interval_counts_and_not_ours() {
    let mut bench = bench();
    let slow = Heartbeat {
        interval: milliseconds(500),
        ..bench.beat()
    };
    bench.hear_on(LINK, slow);
    let said = bench.run_for(milliseconds(2000));
    assert_eq!(said.last().map(|(at, _)| *at), Some(milliseconds(1625)));
}

#[test]
fn down_after_can_be_set_but_not_below_two_intervals() {
    for (set, real) in [(1000, 1000), (250, 250), (10, 200)] {
        let mut bench = bench_with(Some(milliseconds(set)));
        bench.hear();
        let said = bench.run_for(milliseconds(5000));
        let (at, last) = said.last().unwrap();
        assert_eq!(*last, down(LINK, DownReason::Silence));
        assert_eq!(*at, milliseconds(real));
    }
}

#[test]
fn a_leaving_node_is_down_at_once_and_everywhere() {
    let mut bench = bench();
    bench.hear();
    let heartbeat = bench.beat();
    bench.hear_on(SECOND, heartbeat);
    let said = bench.hear_with(LEAVING);
    let expected = [
        down(SECOND, DownReason::Leaving),
        down(LINK, DownReason::Leaving),
    ];
    assert_eq!(said, expected);
    assert!(bench.liveness.nodes().all(|(_, node)| node.is_leaving()));
    assert_eq!(bench.run_for(milliseconds(1000)), []);
}

#[test]
fn a_listening_node_lives_but_is_not_up() {
    let mut bench = bench();
    assert_eq!(bench.hear_with(LISTENING), [Output::Listening]);
    assert_eq!(bench.hear_with(LISTENING), []);
    assert!(!bench.is_up());
    assert_eq!(bench.liveness.alive(LINK).count(), 1);
    assert_eq!(bench.hear(), [up(LINK)]);
}

#[test]
fn a_node_that_started_again_holds_nothing_yet() {
    let mut bench = bench();
    bench.hear();
    let again = Heartbeat {
        incarnation: 2,
        sequence: 1,
        flags: LISTENING,
        ..bench.beat()
    };
    assert_eq!(
        bench.hear_on(LINK, again),
        [down(LINK, DownReason::Listening)]
    );
}

#[test]
fn a_packet_that_comes_twice_does_not_count() {
    let mut bench = bench();
    let heartbeat = bench.beat();
    bench.hear_on(LINK, heartbeat.clone());
    bench.run_for(milliseconds(300));
    bench.hear_on(LINK, heartbeat);
    bench.run_for(milliseconds(26));
    assert!(!bench.is_up());
}

#[test]
fn a_farewell_that_is_overtaken_is_not_revoked() {
    let mut bench = bench();
    bench.hear();
    let late = bench.beat();
    bench.hear_with(LEAVING);
    assert_eq!(bench.hear_on(LINK, late), []);
    assert!(!bench.is_up());
}

#[test]
fn a_node_that_returns_from_silence_is_told_that_it_was_missed() {
    let mut bench = bench();
    bench.hear();
    bench.run_for(milliseconds(1000));
    // What came before it was believed again counts as lost.
    let lost = Output::Lost {
        node: "other".to_owned(),
        count: 1,
    };
    assert_eq!(bench.hear(), [up(LINK), lost, unicast(Unicast::Missed)]);
    assert_eq!(bench.hear(), [unicast(Unicast::Missed)]);
    assert_eq!(bench.hear(), [unicast(Unicast::Missed)]);
    assert_eq!(bench.hear(), []);
}

#[test]
fn a_node_that_started_again_was_not_missed() {
    let mut bench = bench();
    bench.hear();
    bench.run_for(milliseconds(1000));
    let again = Heartbeat {
        incarnation: 2,
        ..bench.beat()
    };
    assert_eq!(bench.hear_on(LINK, again), [up(LINK)]);
}

#[test]
fn a_probe_is_answered_and_a_miss_is_passed_on() {
    let mut bench = bench();
    bench.hear();
    let probe = Flags {
        is_probe: true,
        ..Flags::default()
    };
    assert_eq!(bench.hear_with(probe), [unicast(Unicast::Answer(0))]);
    let missed = Flags {
        was_missed: true,
        ..Flags::default()
    };
    assert_eq!(bench.hear_with(missed), [Output::Missed { link: LINK }]);
}

#[test]
fn a_lost_interface_takes_its_nodes_along_and_no_others() {
    let mut bench = bench();
    bench.hear();
    let heartbeat = bench.beat();
    bench.hear_on(SECOND, heartbeat);
    bench
        .liveness
        .handle(bench.now, Input::LinkLost { link: LINK });
    assert_eq!(bench.drain(), [down(LINK, DownReason::LinkLost)]);
    assert!(bench.is_up());
    let (_, node) = bench.liveness.nodes().next().unwrap();
    assert_eq!(node.since(), bench.start);
}

#[test]
fn a_stall_of_our_own_is_held_against_nobody() {
    for stall in [milliseconds(500), Duration::from_secs(60)] {
        let mut bench = bench();
        bench.hear();
        assert_eq!(bench.stall(stall), [unicast(Unicast::Probe)]);
        assert!(bench.is_up());
        // Who is really gone is found out within the rest of down-after.
        let said = bench.run_for(milliseconds(1000));
        let (at, last) = said.last().unwrap();
        assert_eq!(*last, down(LINK, DownReason::Silence));
        assert!(*at <= milliseconds(125), "{at:?}");
    }
}

#[test]
fn being_late_for_ever_does_not_keep_the_dead_alive() {
    let mut bench = bench();
    bench.hear();
    let turns = (0..).take_while(|_| {
        bench.stall(milliseconds(400));
        bench.is_up()
    });
    assert!(turns.take(10).count() <= 4);
}

#[test]
fn our_own_name_is_nobody_else() {
    let mut bench = bench();
    let node = "self".to_owned();
    let own = Heartbeat {
        node,
        ..bench.beat()
    };
    let heard = Output::Own {
        link: LINK,
        from: own.interface.clone(),
        sequence: 1,
    };
    assert_eq!(bench.hear_on(LINK, own.clone()), [heard]);
    let namesake = Heartbeat {
        incarnation: 2,
        ..own
    };
    let said = bench.hear_on(LINK, namesake);
    let (link, sender) = (LINK, MAC);
    assert_eq!(said, [Output::Namesake { link, sender }]);
    assert_eq!(bench.liveness.nodes().count(), 0);
}

#[test]
fn each_of_two_interfaces_on_one_segment_is_heard_and_missed_for_itself() {
    let mut bench = bench();
    bench.hear();
    let second = Heartbeat {
        interface: "eth1".to_owned(),
        ..bench.beat()
    };
    let said = bench.hear_on(LINK, second);
    let (node, by) = ("other".to_owned(), way(LINK, "eth1"));
    assert_eq!(said, [Output::Up { node, way: by }]);
    bench.run_for(milliseconds(200));
    bench.hear();
    let said = bench.run_for(milliseconds(200));
    let (node, by) = ("other".to_owned(), way(LINK, "eth1"));
    let reason = DownReason::Silence;
    let down = Output::Down {
        node,
        way: by,
        reason,
    };
    assert!(said.iter().any(|(_, output)| *output == down));
    let (_, other) = bench.liveness.nodes().next().unwrap();
    assert!(other.heard_on().eq([&way(LINK, "eth0")]));
}

#[test]
fn invented_interfaces_do_not_fill_the_memory() {
    let mut bench = bench();
    let hear = |bench: &mut Bench, n: usize| {
        let interface = format!("eth{n}");
        let heartbeat = Heartbeat {
            interface,
            ..bench.beat()
        };
        bench.hear_on(LINK, heartbeat)
    };
    for n in 0..MAX_WAYS + 10 {
        assert_eq!(hear(&mut bench, n).is_empty(), n >= MAX_WAYS);
    }
    bench.run_for(milliseconds(1000));
    assert!(!hear(&mut bench, MAX_WAYS).is_empty());
}

#[test]
fn intervals_stretch_so_that_a_segment_carries_500_a_second() {
    let mut bench = bench();
    assert_eq!(bench.liveness.interval(LINK), BEAT);
    for n in 0..249 {
        let node = format!("node-{n}");
        let heartbeat = Heartbeat {
            node,
            ..bench.beat()
        };
        bench.hear_on(LINK, heartbeat);
    }
    assert_eq!(bench.liveness.interval(LINK), milliseconds(500));
    assert_eq!(bench.liveness.interval(SECOND), BEAT);
    assert_eq!(bench.liveness.listen_time(LINK), milliseconds(1625));
}

#[test]
fn invented_names_do_not_fill_the_memory_and_displace_only_the_gone() {
    let mut bench = bench();
    let hear = |bench: &mut Bench, n: usize| {
        let node = format!("node-{n}");
        let heartbeat = Heartbeat {
            node,
            ..bench.beat()
        };
        bench.hear_on(LINK, heartbeat)
    };
    for n in 0..MAX_NODES + 100 {
        hear(&mut bench, n);
    }
    assert_eq!(bench.liveness.nodes().count(), MAX_NODES);
    assert_eq!(hear(&mut bench, MAX_NODES), []);
    bench.run_for(milliseconds(1000));
    assert!(!hear(&mut bench, MAX_NODES).is_empty());
    assert_eq!(bench.liveness.nodes().count(), MAX_NODES);
}

/// The numbers that somebody was asked for.
fn nonces(said: &[Output]) -> Vec<u64> {
    let asked = said.iter().filter_map(|output| {
        let Output::Unicast {
            why: Unicast::Challenge(nonce),
            to: MAC,
            ..
        } = output
        else {
            return None;
        };
        Some(*nonce)
    });
    asked.collect()
}

#[test]
fn who_does_not_answer_is_a_recording_and_is_asked_three_times_for_one() {
    let mut bench = bench();
    let heartbeat = bench.beat();
    let [nonce] = nonces(&bench.hear_recording(LINK, heartbeat.clone()))[..] else {
        panic!("it is asked once");
    };
    assert_eq!(bench.hear_recording(LINK, heartbeat.clone()), []);
    let said = bench.run_for(milliseconds(1000));
    let again = || unicast(Unicast::Challenge(nonce));
    let (node, by) = ("other".to_owned(), way(LINK, "eth0"));
    let expected = [
        (milliseconds(15), again()),
        (milliseconds(30), again()),
        (milliseconds(45), Output::Mute { node, way: by }),
    ];
    assert_eq!(said, expected);
    assert!(!bench.liveness.is_asking_on(LINK));
    assert_eq!(bench.liveness.poll_timeout(), None);
    assert_eq!(bench.liveness.nodes().count(), 0);

    // Another time the number is another one.
    let [other] = nonces(&bench.hear_recording(LINK, heartbeat))[..] else {
        panic!("it is asked anew");
    };
    assert_ne!(nonce, other);
    let wrong = answer(bench.beat(), nonce);
    assert_eq!(bench.hear_recording(LINK, wrong), []);
    let right = answer(bench.beat(), other);
    assert_eq!(bench.hear_recording(LINK, right), [up(LINK)]);
}

#[test]
fn who_plays_a_recording_does_not_get_the_question_in_anothers_place() {
    let mut bench = bench();
    let heartbeat = bench.beat();
    let [nonce] = nonces(&bench.hear_recording(LINK, heartbeat.clone()))[..] else {
        panic!("whoever played it is asked");
    };
    let real = Mac([2, 0, 0, 0, 0, 0x0c]);
    let heard = Input::Heard {
        link: LINK,
        sender: real,
        heartbeat,
    };
    bench.liveness.handle(bench.now, heard.clone());
    let why = Unicast::Challenge(nonce);
    let (link, to) = (LINK, real);
    assert_eq!(bench.drain(), [Output::Unicast { link, to, why }]);
    bench.liveness.handle(bench.now, heard);
    assert_eq!(bench.drain(), [], "once");
    assert!(bench.liveness.is_asking_on(LINK) && !bench.liveness.is_asking_on(SECOND));
}

#[test]
fn who_never_answers_buys_nobody_else_time() {
    let mut bench = bench();
    bench.hear();
    let stranger = Heartbeat {
        node: "stranger".to_owned(),
        ..bench.beat()
    };
    while bench.is_up() {
        bench.hear_recording(LINK, stranger.clone());
        let at = bench.liveness.poll_timeout().unwrap();
        bench.now = bench.now.max(at) + milliseconds(25);
        bench.liveness.handle_timeout(bench.now);
        bench.drain();
        assert!(bench.now - bench.start < milliseconds(600));
    }
}

#[test]
fn who_has_started_again_is_asked_on_each_way() {
    let mut bench = bench();
    bench.hear();
    let second = bench.beat();
    bench.hear_on(SECOND, second);
    let again = Heartbeat {
        incarnation: 2,
        ..bench.beat()
    };
    bench.hear_on(LINK, again.clone());
    let recorded = Heartbeat {
        sequence: again.sequence + 10,
        ..again
    };
    let said = bench.hear_recording(SECOND, recorded.clone());
    assert_eq!(nonces(&said).len(), 1, "{said:?}");
    assert_eq!(
        bench.hear_recording(LINK, recorded),
        [],
        "it was asked there"
    );
}

#[test]
fn no_recording_brings_back_who_is_gone_or_was_there_before() {
    let mut bench = bench();
    let mut tape = vec![bench.beat(), bench.beat()];
    bench.hear();
    let again = Heartbeat {
        incarnation: 2,
        ..bench.beat()
    };
    bench.hear_on(LINK, again.clone());
    // One that never arrived, and one of the first incarnation after the second.
    let unheard = Heartbeat {
        sequence: again.sequence + 100,
        ..again.clone()
    };
    for heartbeat in &tape {
        let said = bench.hear_recording(LINK, heartbeat.clone());
        assert!(said.iter().all(is_challenge), "{said:?}");
    }
    assert!(bench.is_up());
    bench.run_for(milliseconds(1000));
    assert!(!bench.is_up());
    tape.extend([again, unheard]);
    for heartbeat in tape {
        for link in [LINK, SECOND] {
            let said = bench.hear_recording(link, heartbeat.clone());
            assert!(said.iter().all(is_challenge), "{said:?}");
        }
    }
    assert!(!bench.is_up());
}

#[test]
fn a_recording_played_fast_costs_little() {
    let mut bench = bench();
    let probe = Flags {
        is_probe: true,
        ..Flags::default()
    };
    let tape: Vec<Heartbeat> = (0..2 * MAX_NODES)
        .map(|n| Heartbeat {
            flags: probe,
            node: format!("node-{n}"),
            ..bench.beat()
        })
        .collect();
    let mut sent = 0;
    for _ in 0..50 {
        for heartbeat in &tape {
            sent += bench.hear_recording(LINK, heartbeat.clone()).len();
        }
        bench.run_for(milliseconds(1));
    }
    assert_eq!(bench.liveness.nodes().count(), 0);
    assert!(sent < 512 + 3 * MAX_NODES, "{sent} in 50 ms");
}

#[test]
fn heartbeats_that_did_not_come_are_counted_and_not_what_was_for_others_or_never_sent() {
    let mut bench = bench();
    bench.hear();
    let mut after = |intervals: u32, others: u64| -> u64 {
        bench.now += BEAT * intervals;
        bench.sequence += others;
        let mut lost = 0;
        for output in bench.hear() {
            if let Output::Lost { node, count } = output {
                assert_eq!(node, "other");
                lost += count;
            }
        }
        lost
    };
    assert_eq!(after(1, 0), 0);
    assert_eq!(after(1, 5), 0, "what was said to others has numbers, too");
    assert_eq!(after(3, 2), 2, "two did not come");
    assert_eq!(after(3, 9), 2, "no more than were due");
    assert_eq!(after(3, 0), 0, "it was stopped, and sent none");
    assert_eq!(after(50, 49), 49, "while its cable was out");
}
