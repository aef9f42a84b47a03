use std::net::Ipv4Addr;
use std::time::Duration;

use super::*;
use crate::layer2::Interfaces;
use crate::layer2::claims::{self, Message, Source, Standing};
use crate::layer2::heartbeat::{Authenticator, Flags, GROUP};
use crate::mutator::mutate;
use crate::wire::arp::{Operation, Packet};

mod contest;
mod siblings;

pub(super) const LINK: LinkIndex = LinkIndex(2);
const OTHER_LINK: LinkIndex = LinkIndex(3);
pub(super) const PEER: Mac = Mac([2, 0, 0, 0, 0, 0x0b]);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 240);
const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x240);

pub(super) fn milliseconds(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 1, n])
}

pub(super) fn link(name: &str, n: u8) -> Link {
    Link {
        name: name.to_owned(),
        mac: mac(n),
        has_carrier: true,
        addresses: vec!["10.0.0.1/24".parse().unwrap()],
        path: BTreeMap::new(),
    }
}

pub(super) fn settings(node: &str) -> Settings {
    Settings {
        node: node.to_owned(),
        key: None,
        interval: milliseconds(100),
        down_after: None,
        reannounce: Some(Duration::from_secs(30)),
        exclusion: Default::default(),
    }
}

fn wanted(interfaces: &Interfaces) -> Desired {
    let owned = [VIP.into(), VIP6.into()].map(|address: IpAddr| (address, interfaces.clone()));
    Desired {
        owned: owned.into(),
        heartbeat: Some(Interfaces::All),
        ..Desired::default()
    }
}

struct Bench {
    start: Instant,
    now: Instant,
    station: Station,
    sequence: u64,
}

#[expect(clippy::disallowed_methods, reason = "where virtual time begins")]
fn bench_with(settings: &Settings) -> Bench {
    let now = Instant::now();
    Bench {
        start: now,
        now,
        station: Station::new(settings, 1, now, SystemTime::UNIX_EPOCH),
        sequence: 0,
    }
}

/// One interface, and everything wanted on it; nothing has happened yet.
fn bench() -> Bench {
    let mut bench = bench_with(&settings("self"));
    bench.links(&[(LINK, link("eth0", 1))]);
    bench.handle(Input::Want(wanted(&Interfaces::All)));
    bench
}

/// The same, after it has listened.
fn settled_bench() -> Bench {
    let mut bench = bench();
    bench.run_for(milliseconds(400));
    bench
}

impl Bench {
    fn handle(&mut self, input: Input<'_>) -> Vec<Output> {
        self.station.handle(self.now, input);
        self.station.handle_timeout(self.now);
        std::iter::from_fn(|| self.station.poll()).collect()
    }

    fn links(&mut self, links: &[(LinkIndex, Link)]) -> Vec<Output> {
        self.handle(Input::Links(links.iter().cloned().collect()))
    }

    fn run_for(&mut self, time: Duration) -> Vec<Output> {
        let end = self.now + time;
        let mut said = Vec::new();
        while let Some((at, _)) = self.station.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = at.max(self.now);
            self.station.handle_timeout(self.now);
            said.extend(std::iter::from_fn(|| self.station.poll()));
        }
        self.now = end;
        said
    }

    fn hear(&mut self, link: LinkIndex, flags: Flags) -> Vec<Output> {
        self.hear_every(link, milliseconds(100), "peer", flags)
    }

    /// A heartbeat of `peer` that says what changed of its claims.
    fn hear_claims(&mut self, theirs: &claims::Holdings, changes: Vec<claims::Change>) {
        let heartbeat = Heartbeat {
            held: theirs.digest(),
            claims: Message::Changes(changes),
            ..beat("peer")
        };
        self.deliver(LINK, heartbeat, &Authenticator::new(None));
    }

    /// A heartbeat of a node with a key.
    fn hear_by(&mut self, node: &str, authenticator: &Authenticator) {
        self.deliver(LINK, beat(node), authenticator);
    }

    /// A heartbeat of a node that sends them at an interval.
    fn hear_every(
        &mut self,
        link: LinkIndex,
        interval: Duration,
        node: &str,
        flags: Flags,
    ) -> Vec<Output> {
        let heartbeat = Heartbeat {
            flags,
            interval,
            ..beat(node)
        };
        self.deliver(link, heartbeat, &Authenticator::new(None))
    }

    /// A heartbeat of somebody who is really there, and answers when asked for that.
    fn deliver(
        &mut self,
        link: LinkIndex,
        heartbeat: Heartbeat,
        authenticator: &Authenticator,
    ) -> Vec<Output> {
        let mut said = self.deliver_alone(link, &heartbeat, authenticator);
        let asked = frames(&said).find_map(|(_, frame)| nonce_of(frame, authenticator));
        let Some(nonce) = asked else {
            return said;
        };
        said.retain(|output| {
            let Output::Send { frame, .. } = output else {
                return true;
            };
            nonce_of(frame, authenticator).is_none()
        });
        let answer = heartbeat::answer(heartbeat, nonce);
        said.extend(self.deliver_alone(link, &answer, authenticator));
        said
    }

    fn deliver_alone(
        &mut self,
        link: LinkIndex,
        heartbeat: &Heartbeat,
        authenticator: &Authenticator,
    ) -> Vec<Output> {
        self.sequence += 1;
        let packet = Heartbeat {
            sequence: self.sequence,
            ..heartbeat.clone()
        }
        .emit(authenticator);
        let frame = heartbeat::frame(&packet, PEER, None, None);
        self.handle(Input::Frame {
            link,
            frame: &frame,
        })
    }

    fn answers(&mut self, link: LinkIndex) -> bool {
        let frame = arp_request();
        let said = self.handle(Input::Frame {
            link,
            frame: &frame,
        });
        frames(&said).any(|(_, frame)| frame[12..14] == [0x08, 0x06] && frame[..6] == PEER.0)
    }

    fn is_settled(&self, name: &str) -> bool {
        self.station.report().interfaces[name].is_settled
    }
}

fn beat(node: &str) -> Heartbeat {
    Heartbeat {
        flags: Flags::default(),
        incarnation: 7,
        sequence: 0,
        nonce: 0,
        interval: milliseconds(100),
        held: [0; 16],
        node: node.to_owned(),
        interface: "eth9".to_owned(),
        claims: Message::Nothing,
    }
}

/// What is to be sent back, if the frame asks for that.
fn nonce_of(frame: &[u8], authenticator: &Authenticator) -> Option<u64> {
    let (_, packet) = heartbeat::unframe(frame, PEER).ok()?;
    let heartbeat = Heartbeat::parse(packet, authenticator).ok()?;
    let is_asked = heartbeat.flags.is_probe && heartbeat.nonce > 0;
    is_asked.then_some(heartbeat.nonce)
}

fn arp_request() -> Vec<u8> {
    Packet {
        operation: Operation::Request,
        sender_hw: PEER,
        sender_ip: Ipv4Addr::new(10, 0, 0, 9),
        target_hw: Mac::ZERO,
        target_ip: VIP,
    }
    .emit(Mac::BROADCAST)
}

pub(super) fn frames(said: &[Output]) -> impl Iterator<Item = (LinkIndex, &[u8])> {
    said.iter().filter_map(|output| match output {
        Output::Send { link, frame } => Some((*link, frame.as_slice())),
        Output::Answer { link, frame } => Some((*link, &**frame)),
        Output::Changed
        | Output::Node { .. }
        | Output::Rejected { .. }
        | Output::Mute { .. }
        | Output::Namesake { .. }
        | Output::Rival { .. }
        | Output::Silent { .. }
        | Output::Left => None,
    })
}

fn heartbeats(said: &[Output]) -> Vec<(LinkIndex, Heartbeat)> {
    let open = Authenticator::new(None);
    let packets = frames(said).filter_map(|(link, frame)| {
        let (_, packet) = heartbeat::unframe(frame, PEER).ok()?;
        Some((link, Heartbeat::parse(packet, &open).ok()?))
    });
    packets.collect()
}

/// Whether a frame asks for an address from none.
fn is_probe(frame: &[u8]) -> bool {
    match frame[12..14] {
        [0x08, 0x06] => frame[28..32] == [0; 4],
        [0x86, 0xdd] => frame[22..38] == [0; 16],
        _ => false,
    }
}

/// How many frames announce an address, and from which hardware address.
fn announcements(said: &[Output]) -> BTreeMap<(LinkIndex, Mac), usize> {
    let mut counts = BTreeMap::new();
    for (link, frame) in frames(said) {
        let (header, _) = Header::parse(frame).unwrap();
        let is_ours = header.ether_type != ethernet::IPV4 && !is_probe(frame);
        if is_ours && header.destination.is_group() {
            *counts.entry((link, header.source)).or_default() += 1;
        }
    }
    counts
}

#[test]
fn who_listens_is_reported_until_it_comes_up_or_is_gone() {
    let mut bench = settled_bench();
    let listening = Flags {
        is_listening: true,
        ..Flags::default()
    };
    let listens = |bench: &Bench| -> Vec<String> {
        let report = bench.station.report();
        report.nodes["peer"].listens_on.keys().cloned().collect()
    };
    assert!(bench.hear(LINK, listening).contains(&Output::Changed));
    assert_eq!(listens(&bench), ["eth0"]);
    assert!(!bench.hear(LINK, listening).contains(&Output::Changed));
    assert!(
        bench
            .hear(LINK, Flags::default())
            .contains(&Output::Changed)
    );
    assert!(listens(&bench).is_empty());
    bench.hear(LINK, listening);
    assert_eq!(listens(&bench), ["eth0"]);
    // It falls silent without ever having come up.
    assert!(bench.run_for(milliseconds(400)).contains(&Output::Changed));
    assert!(listens(&bench).is_empty());
}

#[test]
fn listens_before_it_answers_and_says_so() {
    let mut bench = bench();
    assert!(bench.station.report().listening);
    let said = bench.run_for(milliseconds(324));
    let beats = heartbeats(&said);
    assert!(!beats.is_empty() && beats.iter().all(|(_, beat)| beat.flags.is_listening));
    assert!(!bench.answers(LINK) && !bench.is_settled("eth0"));
    let said = bench.run_for(milliseconds(1));
    assert!(!bench.station.report().listening);
    assert!(bench.answers(LINK) && bench.is_settled("eth0"));
    // The others learn it at once, and so do the caches: three frames for two addresses.
    assert!(
        heartbeats(&said)
            .iter()
            .any(|(_, beat)| !beat.flags.is_listening)
    );
    assert_eq!(announcements(&said), BTreeMap::from([((LINK, mac(1)), 3)]));
}

#[test]
fn listens_for_as_long_as_the_slowest_node_it_hears() {
    let mut bench = bench();
    bench.run_for(milliseconds(50));
    bench.hear_every(LINK, milliseconds(500), "slow", Flags::default());
    bench.run_for(milliseconds(1500));
    assert!(bench.station.report().listening);
    bench.run_for(milliseconds(100));
    assert!(!bench.station.report().listening);
}

#[test]
fn where_nobody_is_heard_it_listens_for_as_long_as_on_the_others() {
    let mut bench = bench();
    bench.links(&[(LINK, link("eth0", 1)), (OTHER_LINK, link("eni1", 2))]);
    bench.run_for(milliseconds(50));
    bench.hear_every(LINK, milliseconds(500), "peer", Flags::default());
    bench.run_for(milliseconds(1500));
    assert!(!bench.is_settled("eth0") && !bench.is_settled("eni1"));
    bench.run_for(milliseconds(100));
    assert!(bench.is_settled("eth0") && bench.is_settled("eni1"));
}

#[test]
fn an_interface_is_shared_once_another_was_heard_there_and_for_as_long_as_it_exists() {
    let mut bench = settled_bench();
    let is_shared = |bench: &Bench| bench.station.report().interfaces["eth0"].is_shared;
    let listening = Flags {
        is_listening: true,
        ..Flags::default()
    };
    bench.hear_every(LINK, milliseconds(100), "self", Flags::default());
    assert!(!is_shared(&bench), "a namesake, or what is thrown back");
    let said = bench.hear(LINK, listening);
    assert!(said.contains(&Output::Changed) && is_shared(&bench));
    bench.run_for(Duration::from_secs(10));
    assert!(is_shared(&bench), "silent by now");
    let mut cut = link("eth0", 1);
    cut.has_carrier = false;
    bench.links(&[(LINK, cut)]);
    bench.links(&[(LINK, link("eth0", 1))]);
    assert!(is_shared(&bench), "the same cable");
    bench.links(&[]);
    bench.links(&[(LINK, link("eth0", 1))]);
    assert!(!is_shared(&bench), "another interface");
}

#[test]
fn it_does_not_listen_where_no_heartbeat_can_be_sent() {
    let only = |name: &str| Interfaces::Only(BTreeSet::from([name.to_owned()]));
    let mut bench = bench_with(&settings("self"));
    let heartbeat = Some(only("eth9"));
    bench.handle(Input::Want(Desired {
        heartbeat,
        ..Desired::default()
    }));
    bench.links(&[(LINK, link("eth0", 1))]);
    assert!(!bench.station.report().listening, "no such interface");

    let cut = Link {
        has_carrier: false,
        ..link("eth9", 2)
    };
    bench.links(&[(LINK, link("eth0", 1)), (OTHER_LINK, cut)]);
    assert!(!bench.station.report().listening, "no carrier");
    assert!(!bench.station.report().interfaces["eth9"].is_up);

    bench.links(&[(LINK, link("eth0", 1)), (OTHER_LINK, link("eth9", 2))]);
    assert!(bench.station.report().listening);
    let problem = Some("no socket".to_owned());
    bench.handle(Input::Problem {
        link: OTHER_LINK,
        problem,
    });
    assert!(!bench.station.report().listening, "no socket");
    assert!(!bench.station.report().interfaces["eth9"].is_up);
}

#[test]
fn each_interface_is_listened_to_by_itself_from_the_first_heartbeat_on() {
    let only = |names: &[&str]| Desired {
        owned: BTreeMap::from([(VIP.into(), Interfaces::All)]),
        heartbeat: Some(Interfaces::Only(
            names.iter().map(|name| (*name).to_owned()).collect(),
        )),
        ..Desired::default()
    };
    let mut bench = bench_with(&settings("self"));
    bench.links(&[(LINK, link("eth0", 1)), (OTHER_LINK, link("eth1", 2))]);
    bench.run_for(Duration::from_secs(1));
    let said = bench.handle(Input::Want(only(&["eth0"])));
    assert!(said.contains(&Output::Changed) && bench.station.report().listening);
    bench.run_for(milliseconds(400));
    assert!(bench.answers(LINK) && !bench.answers(OTHER_LINK));

    let said = bench.handle(Input::Want(only(&["eth0", "eth1"])));
    assert!(said.contains(&Output::Changed));
    bench.run_for(milliseconds(324));
    assert!(!bench.station.report().listening, "it knows one segment");
    assert!(bench.answers(LINK) && !bench.answers(OTHER_LINK));
    bench.run_for(milliseconds(1));
    assert!(bench.answers(LINK) && bench.answers(OTHER_LINK));
}

#[test]
fn an_address_that_is_lost_is_not_answered_for_any_more() {
    let mut bench = settled_bench();
    assert!(bench.answers(LINK));
    bench.handle(Input::Want(Desired {
        owned: BTreeMap::new(),
        heartbeat: Some(Interfaces::All),
        ..Desired::default()
    }));
    assert!(!bench.answers(LINK));
    assert_eq!(
        announcements(&bench.run_for(Duration::from_secs(100))),
        BTreeMap::new()
    );
}

#[test]
fn answers_only_on_the_interfaces_that_are_wanted() {
    let mut bench = bench();
    bench.links(&[(LINK, link("eth0", 1)), (OTHER_LINK, link("eth1", 2))]);
    let only = Interfaces::Only(BTreeSet::from(["eth1".to_owned(), "eth9".to_owned()]));
    bench.handle(Input::Want(wanted(&only)));
    bench.run_for(milliseconds(400));
    assert!(!bench.answers(LINK) && bench.answers(OTHER_LINK));
    assert_eq!(bench.station.groups(LINK), BTreeSet::new());
    let groups = bench.station.groups(OTHER_LINK);
    assert_eq!(groups, BTreeSet::from([ndisc::solicited_node(VIP6)]));
}

#[test]
fn a_node_that_is_no_candidate_sends_no_heartbeats() {
    let mut bench = bench_with(&settings("self"));
    bench.links(&[(LINK, link("eth0", 1))]);
    assert_eq!(heartbeats(&bench.run_for(Duration::from_secs(10))), []);
    assert!(!bench.is_settled("eth0"), "nothing is known of the others");
    bench.hear(LINK, Flags::default());
    assert_eq!(heartbeats(&bench.run_for(milliseconds(300))), []);
}

#[test]
fn a_candidate_no_more_says_so_before_it_falls_silent() {
    let mut bench = settled_bench();
    let said = bench.handle(Input::Want(Desired::default()));
    assert!(!bench.answers(LINK));
    let rest = bench.run_for(Duration::from_secs(10));
    let said: Vec<Output> = said.into_iter().chain(rest).collect();
    let listening = Flags {
        is_listening: true,
        ..Flags::default()
    };
    let flags: Vec<Flags> = heartbeats(&said)
        .iter()
        .map(|(_, beat)| beat.flags)
        .collect();
    // What it holds no more, and three times that it is no candidate.
    assert_eq!(flags, [listening; 4]);
    assert_eq!(bench.station.poll_timeout(), None);
}

#[test]
fn farewells_end_with_the_carrier_or_when_heartbeats_go_on() {
    let mut bench = settled_bench();
    bench.handle(Input::Want(Desired::default()));
    bench.handle(Input::Want(wanted(&Interfaces::All)));
    let beats = heartbeats(&bench.run_for(milliseconds(80)));
    assert_eq!(beats, [], "the next heartbeat is as usual");

    let mut bench = settled_bench();
    bench.handle(Input::Want(Desired::default()));
    let mut cut = link("eth0", 1);
    cut.has_carrier = false;
    bench.links(&[(LINK, cut)]);
    assert_eq!(bench.run_for(Duration::from_secs(1)), []);
}

#[test]
fn carrier_lost_and_returned_is_silence_listening_and_a_new_burst() {
    let mut bench = settled_bench();
    bench.hear(LINK, Flags::default());
    bench.run_for(milliseconds(200));
    let mut cut = link("eth0", 1);
    cut.has_carrier = false;
    bench.links(&[(LINK, cut)]);
    assert!(!bench.is_settled("eth0") && !bench.answers(LINK));
    assert!(bench.station.report().nodes["peer"].heard_on.is_empty());
    let said = bench.run_for(Duration::from_secs(10));
    assert_eq!(said, [Output::Changed], "it is not new any more");
    bench.links(&[(LINK, link("eth0", 1))]);
    let said = bench.run_for(milliseconds(324));
    assert!(
        heartbeats(&said)
            .iter()
            .all(|(_, beat)| beat.flags.is_listening)
    );
    assert!(!bench.answers(LINK));
    let said = bench.run_for(milliseconds(20));
    assert!(bench.answers(LINK));
    assert_eq!(announcements(&said), BTreeMap::from([((LINK, mac(1)), 3)]));
}

#[test]
fn an_interface_that_appears_is_announced_on() {
    let mut bench = settled_bench();
    bench.links(&[(LINK, link("eth0", 1)), (OTHER_LINK, link("eth1", 2))]);
    let said = bench.run_for(milliseconds(400));
    assert!(announcements(&said).contains_key(&(OTHER_LINK, mac(2))));
    bench.links(&[(LINK, link("eth0", 1))]);
    assert!(!bench.answers(OTHER_LINK));
    assert_eq!(bench.station.report().interfaces.len(), 1);
}

#[test]
fn a_new_hardware_address_is_announced_and_answered_with() {
    let mut bench = settled_bench();
    bench.run_for(Duration::from_secs(10));
    bench.links(&[(LINK, link("eth0", 9))]);
    let said = bench.run_for(milliseconds(60));
    assert_eq!(announcements(&said), BTreeMap::from([((LINK, mac(9)), 3)]));
    let frame = arp_request();
    let said = bench.handle(Input::Frame {
        link: LINK,
        frame: &frame,
    });
    let (_, reply) = frames(&said).next().unwrap();
    assert_eq!(reply[6..12], mac(9).0);
}

#[test]
fn another_way_below_an_interface_has_everything_announced_again() {
    let port = |carrier_changes| Leg {
        carrier_changes,
        ..Leg::default()
    };
    let on = |ports: &[(u32, u32)]| {
        let ports = ports.iter();
        Link {
            path: ports
                .map(|(index, n)| (LinkIndex(*index), port(*n)))
                .collect(),
            ..link("br0", 1)
        }
    };
    let mut bench = settled_bench();
    let says = |bench: &mut Bench, link: Link| {
        bench.run_for(Duration::from_secs(10));
        bench.links(&[(LINK, link)]);
        announcements(&bench.run_for(milliseconds(60))).len()
    };
    bench.links(&[(LINK, on(&[(7, 1)]))]);
    for (ports, again) in [
        (&[(7, 1)][..], 0),
        (&[(7, 1), (8, 1)], 1),
        (&[(7, 1), (8, 1)], 0),
        (&[(7, 1), (8, 3)], 1),
        (&[(8, 3)], 1),
    ] {
        assert_eq!(says(&mut bench, on(ports)), again, "{ports:?}");
    }
    assert!(bench.answers(LINK), "nothing is given up meanwhile");
}

#[test]
fn an_interface_with_a_problem_is_not_used_and_the_others_are() {
    let mut bench = bench();
    bench.links(&[(LINK, link("eth0", 1)), (OTHER_LINK, link("eth1", 2))]);
    let problem = Some("no socket".to_owned());
    bench.handle(Input::Problem {
        link: LINK,
        problem: problem.clone(),
    });
    bench.run_for(milliseconds(400));
    assert!(!bench.is_settled("eth0") && bench.is_settled("eth1"));
    assert_eq!(bench.station.report().interfaces["eth0"].problem, problem);
    assert!(!bench.answers(LINK) && bench.answers(OTHER_LINK));
    bench.handle(Input::Problem {
        link: LINK,
        problem: None,
    });
    bench.run_for(milliseconds(400));
    assert!(bench.is_settled("eth0") && bench.answers(LINK));
}

#[test]
fn having_been_missed_announces_everything_again() {
    let mut bench = settled_bench();
    bench.run_for(Duration::from_secs(10));
    bench.hear(LINK, Flags::default());
    let missed = Flags {
        was_missed: true,
        ..Flags::default()
    };
    for _ in 0..3 {
        bench.hear(LINK, missed);
    }
    let said = bench.run_for(milliseconds(100));
    assert_eq!(announcements(&said), BTreeMap::from([((LINK, mac(1)), 3)]));
}

#[test]
fn a_probe_is_answered_by_unicast() {
    let mut bench = settled_bench();
    let probe = Flags {
        is_probe: true,
        ..Flags::default()
    };
    let said = bench.hear(LINK, probe);
    let (_, frame) = frames(&said).next().unwrap();
    assert_eq!(frame[..6], PEER.0);
    assert_eq!(frame[30..34], GROUP.octets());
    assert_eq!(heartbeats(&said).len(), 1);
}

#[test]
fn leaving_is_silence_and_three_farewells() {
    let mut bench = settled_bench();
    let said = bench.handle(Input::Leave);
    assert!(!bench.answers(LINK));
    let rest = bench.run_for(milliseconds(100));
    let said: Vec<Output> = said.into_iter().chain(rest).collect();
    let beats = heartbeats(&said);
    assert_eq!(beats.len(), 3);
    assert!(beats.iter().all(|(_, beat)| beat.flags.is_leaving));
    assert_eq!(said.last(), Some(&Output::Left));
    assert_eq!(announcements(&said), BTreeMap::new());
    assert_eq!(bench.station.poll_timeout(), None);
}

#[test]
fn leaving_ends_soon_where_nobody_can_be_told() {
    let mut bench = bench_with(&settings("self"));
    bench.handle(Input::Leave);
    assert_eq!(bench.run_for(milliseconds(10)), [Output::Left]);
}

#[test]
fn somebody_with_another_key_is_complained_about_once() {
    let mut bench = bench_with(&Settings {
        key: Some(Secret::new("key".to_owned())),
        ..settings("self")
    });
    bench.links(&[(LINK, link("eth0", 1))]);
    let complaints: Vec<Output> = (0..100)
        .flat_map(|_| bench.hear(LINK, Flags::default()))
        .collect();
    let expected = Output::Rejected {
        interface: "eth0".to_owned(),
        sender: PEER,
        error: HeartbeatError::Unauthenticated,
    };
    assert_eq!(complaints, [expected]);
    assert!(bench.station.report().nodes.is_empty());
}

#[test]
fn a_key_is_changed_without_a_gap_and_the_former_one_ends() {
    let secret = |text: &str| Secret::new(text.to_owned());
    let with = |text: &str| Authenticator::new(Some(&secret(text)));
    let mut bench = bench_with(&Settings {
        key: Some(secret("old")),
        ..settings("self")
    });
    bench.links(&[(LINK, link("eth0", 1))]);
    bench.handle(Input::Want(wanted(&Interfaces::All)));
    bench.run_for(milliseconds(400));
    let speaks = |said: &[Output], key: &str| {
        let packets = said.iter().filter_map(|output| {
            let Output::Send { frame, .. } = output else {
                return None;
            };
            heartbeat::unframe(frame, PEER).ok()
        });
        let mut packets = packets.map(|(_, packet)| Heartbeat::parse(packet, &with(key)).is_ok());
        let first = packets.next().unwrap();
        assert!(packets.all(|is_believed| is_believed == first));
        first
    };
    let said = bench.handle(Input::Key(secret("new")));
    assert_eq!(said, [], "nothing is given up");
    let said = bench.run_for(milliseconds(300));
    assert!(speaks(&said, "old") && speaks(&said, "new"));
    for key in ["old", "new"] {
        bench.hear_by(key, &with(key));
        assert!(bench.station.report().nodes.contains_key(key));
    }
    bench.run_for(voice::ROTATION);
    let said = bench.run_for(milliseconds(300));
    assert!(!speaks(&said, "old") && speaks(&said, "new"));
    bench.hear_by("late", &with("old"));
    assert!(!bench.station.report().nodes.contains_key("late"));
}

#[test]
fn i6_a_rival_that_is_only_seen_on_the_wire_is_asked_what_it_holds() {
    let mut bench = settled_bench();
    bench.hear(LINK, Flags::default());
    bench.run_for(milliseconds(600));
    bench.hear(LINK, Flags::default());
    let [announcement, _] = crate::wire::arp::announcements(VIP, PEER);
    let frame = Input::Frame {
        link: LINK,
        frame: &announcement,
    };
    let rival = |said: &[Output]| {
        let rivals = said.iter().filter_map(|output| {
            let Output::Rival { node, mac, .. } = output else {
                return None;
            };
            Some((node.clone(), *mac))
        });
        rivals.collect::<Vec<_>>()
    };
    let asks = |said: &[Output]| {
        let mut beats = heartbeats(said).into_iter();
        beats.any(|(_, beat)| beat.flags.asks)
    };
    let said = bench.handle(frame.clone());
    assert_eq!(rival(&said), [(Some("peer".to_owned()), PEER)]);
    assert!(asks(&said) && bench.station.take_claims().is_empty());
    let said = bench.handle(frame);
    assert_eq!(rival(&said), [], "once");
    let said = bench.run_for(milliseconds(90));
    assert_eq!(announcements(&said).len(), 1, "it is said whose it is");
    // Asked, it says that it does hold it.
    let mut theirs = claims::Holdings::default();
    theirs.set(VIP.into(), Some(Standing::Holds));
    bench.hear_claims(&theirs, vec![(VIP.into(), Some(Standing::Holds))]);
    let source = Source::of("peer", "eth9");
    let claims = bench.station.take_claims();
    assert_eq!(claims[&VIP.into()], [(source, Standing::Holds)]);

    // Nobody that was ever heard: there is nobody to yield to.
    let stranger = Mac([2, 0, 0, 0, 0, 0x77]);
    let frame = ndisc::announcement(VIP6, stranger);
    let said = bench.handle(Input::Frame {
        link: LINK,
        frame: &frame,
    });
    assert_eq!(rival(&said), [(None, stranger)]);
    assert!(bench.station.take_claims().is_empty());
    // What another interface of this node says is no rival's.
    let frame = ndisc::announcement(VIP6, mac(1));
    let said = bench.handle(Input::Frame {
        link: LINK,
        frame: &frame,
    });
    assert_eq!(rival(&said), []);
}

#[test]
fn what_another_is_to_take_is_answered_for_until_it_has_or_has_had_the_time() {
    for takes in [true, false] {
        let mut bench = settled_bench();
        bench.hear(LINK, Flags::default());
        let mut desired = wanted(&Interfaces::All);
        desired.offered = desired.owned.keys().copied().collect();
        desired.owned.clear();
        bench.handle(Input::Want(desired));
        assert!(bench.answers(LINK));
        if takes {
            let mut theirs = claims::Holdings::default();
            theirs.set(VIP.into(), Some(Standing::Holds));
            bench.hear_claims(&theirs, vec![(VIP.into(), Some(Standing::Holds))]);
            assert!(!bench.answers(LINK), "it has taken it");
        } else {
            bench.run_for(HAND_OVER - milliseconds(1));
            assert!(bench.answers(LINK));
            bench.run_for(milliseconds(1));
            assert!(!bench.answers(LINK));
        }
    }
    // What nobody is to take is given up at once.
    let mut bench = settled_bench();
    bench.hear(LINK, Flags::default());
    let mut desired = wanted(&Interfaces::All);
    desired.owned.clear();
    bench.handle(Input::Want(desired));
    assert!(!bench.answers(LINK));
}

#[test]
fn what_was_offered_and_is_wanted_again_leaves_no_deadline_behind() {
    let mut bench = settled_bench();
    bench.hear(LINK, Flags::default());
    let mut desired = wanted(&Interfaces::All);
    desired.offered = desired.owned.keys().copied().collect();
    desired.owned.clear();
    bench.handle(Input::Want(desired));
    bench.handle(Input::Want(wanted(&Interfaces::All)));
    bench.now += HAND_OVER;
    bench.station.handle_timeout(bench.now);
    let (next, timer) = bench.station.poll_timeout().unwrap();
    assert!(next > bench.now, "{timer:?} would be due for ever");
    assert!(bench.answers(LINK));
}

#[test]
fn who_asks_is_told_where_heartbeats_go_out_and_nowhere_else() {
    let asking = Flags {
        asks: true,
        ..Flags::default()
    };
    let parts = |said: &[Output]| {
        let beats = heartbeats(said);
        let mut beats = beats.iter();
        beats.any(|(_, beat)| matches!(beat.claims, Message::Part(_)))
    };
    let mut bench = settled_bench();
    assert!(parts(&bench.hear(LINK, asking)));

    bench.handle(Input::Want(Desired::default()));
    bench.run_for(milliseconds(100));
    assert!(!parts(&bench.hear(LINK, asking)));
    let next = bench.station.poll_timeout();
    assert!(
        next.is_none_or(|(at, _)| at > bench.now),
        "{next:?} would be due for ever"
    );
}

#[test]
fn the_report_says_since_when() {
    let mut bench = settled_bench();
    bench.hear(LINK, Flags::default());
    bench.run_for(milliseconds(1000));
    let report = bench.station.report();
    let health = &report.nodes["peer"];
    let since = health.since.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(since, milliseconds(400 + 325));
    assert!(health.heard_on.is_empty() && bench.now > bench.start);
}

#[test]
fn no_frame_panics_a_station() {
    let mut bench = settled_bench();
    let packet = beat("peer").emit(&Authenticator::new(None));
    let seeds = [arp_request(), heartbeat::frame(&packet, PEER, None, None)];
    mutate(&seeds, |frame| {
        bench.now += Duration::from_micros(100);
        bench.handle(Input::Frame { link: LINK, frame });
    });
    assert!(bench.station.report().nodes.len() <= 1024);
}
