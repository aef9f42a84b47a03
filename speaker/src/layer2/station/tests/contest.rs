//! What is done about an address that may be somebody else's.

use super::*;
use crate::layer2::conflict;

/// What is probed, beside being owned or not.
fn probing(is_owned: bool) -> Desired {
    let mut desired = wanted(&Interfaces::All);
    desired.probed = desired.owned.clone();
    if !is_owned {
        desired.owned.clear();
    }
    desired
}

fn probes(said: &[Output]) -> usize {
    frames(said).filter(|(_, frame)| is_probe(frame)).count()
}

#[test]
fn a_new_address_is_answered_for_and_probed_and_announced_after_that() {
    let mut bench = bench();
    bench.run_for(Duration::from_secs(10));
    bench.handle(Input::Want(Desired {
        heartbeat: Some(Interfaces::All),
        ..Desired::default()
    }));
    bench.run_for(Duration::from_secs(1));
    let mut said = bench.handle(Input::Want(probing(true)));
    said.extend(bench.run_for(milliseconds(150)));
    assert!(bench.answers(LINK));
    assert_eq!((probes(&said), announcements(&said)), (2, BTreeMap::new()));
    assert_eq!(bench.station.take_findings(), BTreeMap::new());
    let said = bench.run_for(milliseconds(150));
    assert_eq!(announcements(&said), BTreeMap::from([((LINK, mac(1)), 3)]));
    let nobody = [VIP.into(), VIP6.into()].map(|address: IpAddr| (address, BTreeMap::new()));
    assert_eq!(bench.station.take_findings(), nobody.into());
    // It is probed once, and not at all when nothing is said to be new.
    bench.handle(Input::Want(wanted(&Interfaces::All)));
    let said = bench.run_for(Duration::from_secs(60));
    assert_eq!(probes(&said), 0);
}

#[test]
fn what_is_taken_over_is_announced_at_once_and_not_probed() {
    let mut bench = bench();
    let said = bench.run_for(milliseconds(500));
    assert!(!announcements(&said).is_empty());
    assert_eq!(probes(&said), 0);
}

#[test]
fn what_is_only_probed_is_neither_answered_for_nor_announced_nor_claimed() {
    let mut bench = settled_bench();
    let mut said = bench.handle(Input::Want(probing(false)));
    said.extend(bench.run_for(Duration::from_secs(1)));
    assert!(!bench.answers(LINK));
    assert_eq!((probes(&said), announcements(&said)), (2, BTreeMap::new()));
    let group = ndisc::solicited_node(VIP6);
    assert_eq!(bench.station.groups(LINK), BTreeSet::from([group]));
    assert_eq!(bench.station.take_findings().len(), 2);
    let asking = Flags {
        asks: true,
        ..Flags::default()
    };
    let said = bench.hear(LINK, asking);
    let held = |beat: &Heartbeat| beat.held == claims::Holdings::default().digest();
    assert!(heartbeats(&said).iter().all(|(_, beat)| held(beat)));
}

#[test]
fn somebody_who_has_it_is_found_and_named_and_no_rival() {
    let stranger = Mac([2, 0, 0, 0, 0, 0x77]);
    let [announcement, _] = crate::wire::arp::announcements(VIP, stranger);
    let detection = conflict::probe(VIP6.into(), stranger);
    for is_owned in [true, false] {
        let mut bench = bench();
        bench.handle(Input::Want(probing(is_owned)));
        bench.run_for(milliseconds(400));
        for frame in [&announcement, &detection] {
            let said = bench.handle(Input::Frame { link: LINK, frame });
            let rivals = said
                .iter()
                .filter(|said| matches!(said, Output::Rival { .. }));
            assert_eq!(rivals.count(), 0);
        }
        let said = bench.run_for(milliseconds(300));
        let stranger = BTreeMap::from([("eth0".to_owned(), stranger.to_string())]);
        let expected = [VIP.into(), VIP6.into()].map(|address: IpAddr| (address, stranger.clone()));
        assert_eq!(bench.station.take_findings(), expected.into());
        assert_eq!(announcements(&said).is_empty(), !is_owned);
        // It is asked for again, until it is free.
        let said = bench.run_for(Duration::from_secs(31));
        assert_eq!(probes(&said), 2);
        let free = bench.station.take_findings();
        assert!(
            free.len() == 2 && free.values().all(BTreeMap::is_empty),
            "{free:?}"
        );
    }
}

#[test]
fn another_speaker_and_this_node_itself_are_no_conflict() {
    let mut bench = bench();
    bench.hear(LINK, Flags::default());
    bench.run_for(milliseconds(600));
    bench.hear(LINK, Flags::default());
    bench.handle(Input::Want(probing(true)));
    for sender in [PEER, mac(1)] {
        let frame = conflict::probe(VIP.into(), sender);
        bench.handle(Input::Frame {
            link: LINK,
            frame: &frame,
        });
    }
    bench.run_for(milliseconds(300));
    let found = bench.station.take_findings();
    assert!(found[&VIP.into()].is_empty(), "{found:?}");
}

#[test]
fn what_is_given_away_before_it_was_announced_is_not_announced_here_any_more() {
    let mut bench = bench();
    bench.hear(LINK, Flags::default());
    bench.run_for(milliseconds(400));
    bench.hear(LINK, Flags::default());
    bench.handle(Input::Want(probing(true)));
    bench.run_for(milliseconds(100));
    let mut desired = probing(true);
    desired.offered = desired.owned.keys().copied().collect();
    desired.owned.clear();
    desired.probed.clear();
    let mut said = bench.handle(Input::Want(desired));
    assert!(bench.answers(LINK), "until the other has it");
    said.extend(bench.run_for(Duration::from_secs(10)));
    assert_eq!(announcements(&said), BTreeMap::new());
}

#[test]
fn what_is_said_of_probes_is_what_has_changed_and_all_where_an_interface_has() {
    let address = |n: u32| IpAddr::from(Ipv4Addr::from(0x0a00_0000 + n));
    let probing = |numbers: std::ops::Range<u32>| Desired {
        probed: numbers.map(|n| (address(n), Interfaces::All)).collect(),
        ..wanted(&Interfaces::All)
    };
    let mut bench = settled_bench();
    bench.handle(Input::Want(probing(0..1_000)));
    let here = Some(BTreeSet::from([LINK]));
    // As `want` does, but for what follows.
    let want = |station: &mut Station, desired: Desired| {
        let before = std::mem::replace(&mut station.desired, desired);
        station.probes.note(&before.probed, &station.desired.probed);
        station.changed_probes()
    };
    let expected = BTreeMap::from([(address(0), None), (address(1_000), here)]);
    assert_eq!(want(&mut bench.station, probing(1..1_001)), expected);
    assert_eq!(want(&mut bench.station, probing(1..1_001)), BTreeMap::new());
    let elsewhere = Interfaces::Only(BTreeSet::from(["eth9".to_owned()]));
    let mut desired = probing(1..1_001);
    desired.probed.insert(address(7), elsewhere);
    let expected = BTreeMap::from([(address(7), Some(BTreeSet::new()))]);
    assert_eq!(want(&mut bench.station, desired), expected);

    bench.station.detach(bench.now, LINK);
    let changes = bench.station.changed_probes();
    assert_eq!(changes.len(), 1_000);
    assert!(
        changes
            .values()
            .all(|links| *links == Some(BTreeSet::new()))
    );
}
