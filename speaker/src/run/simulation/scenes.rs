//! What happens to a few nodes on one segment, one thing at a time and at random.

use super::*;

#[test]
fn nodes_that_start_together_share_the_addresses_out() {
    let mut segment = Segment::new(10, 0.0, 1);
    segment.run_for(milliseconds(600));
    assert_eq!(segment.ups, 90);
    assert_eq!(segment.downs, []);
    segment.exactly_one_answers_for_each_address();
}

#[test]
fn a_crash_is_noticed_in_time_on_segments_of_any_size() {
    // Up to fifty nodes beat every 100 ms; at eighty it is 160 ms.
    for (count, most) in [(2, 325), (10, 325), (50, 325), (80, 520)] {
        let mut segment = Segment::new(count, 0.0, 2);
        segment.run_for(milliseconds(3000));
        let since = segment.elapsed();
        segment.kill(1);
        segment.run_for(milliseconds(2000));
        let times = segment.detection(1, since);
        assert!(
            *times.end() <= milliseconds(most + 1),
            "{count} nodes: {times:?}"
        );
        assert!(
            *times.start() >= milliseconds(200),
            "{count} nodes: {times:?}"
        );
        segment.exactly_one_answers_for_each_address();
    }
}

#[test]
fn a_segment_carries_no_more_than_about_500_heartbeats_a_second() {
    let mut segment = Segment::new(80, 0.0, 3);
    segment.run_for(milliseconds(3000));
    let before = segment.sent;
    segment.run_for(Duration::from_secs(3));
    let rate = (segment.sent - before) / 3;
    assert!((450..=560).contains(&rate), "{rate}");
}

#[test]
fn hardly_a_false_down_at_five_percent_loss() {
    // 380 pairs for 60 s: silence alone would be some 28 false alarms, probes leave less than 0.1.
    let mut downs = 0;
    let mut segment = Segment::new(20, 0.05, 0);
    for seed in 5..9 {
        segment = Segment::new(20, 0.05, seed);
        segment.run_for(Duration::from_secs(60));
        assert_eq!(segment.ups, 380 + segment.downs.len());
        downs += segment.downs.len();
        segment.exactly_one_answers_for_each_address();
    }
    assert!(downs <= 2, "{downs}");
    // And the dead are still found.
    let since = segment.elapsed();
    segment.kill(3);
    segment.run_for(milliseconds(1000));
    assert!(*segment.detection(3, since).end() <= milliseconds(330));
}

#[test]
fn a_stalled_process_takes_nobody_for_dead_and_gets_its_own_back() {
    let mut segment = Segment::new(5, 0.0, 5);
    segment.run_for(milliseconds(1000));
    let held: Vec<Vec<usize>> = (0..ADDRESSES).map(|n| segment.answering(n)).collect();
    segment.pause(2, Duration::from_secs(3));
    segment.run_for(milliseconds(2900));
    let others = segment
        .downs
        .iter()
        .filter(|(_, n, node)| *n != 2 && *node == name(2));
    assert_eq!(others.count(), 4);
    segment.run_for(milliseconds(500));
    let judged: Vec<_> = segment.downs.iter().filter(|(_, n, _)| *n == 2).collect();
    assert_eq!(judged, Vec::<&(Duration, usize, String)>::new());
    let after: Vec<Vec<usize>> = (0..ADDRESSES).map(|n| segment.answering(n)).collect();
    assert_eq!(after, held);
}

#[test]
fn after_a_partition_heals_exactly_one_answers_for_each_address() {
    let mut segment = Segment::new(9, 0.01, 6);
    segment.run_for(milliseconds(1000));
    for host in &mut segment.hosts[..4] {
        host.side = 1;
    }
    segment.run_for(milliseconds(1000));
    // Each side serves everything.
    for n in 0..ADDRESSES {
        let sides: Vec<u8> = segment
            .answering(n)
            .iter()
            .map(|n| segment.hosts[*n].side)
            .collect();
        assert!(sides == [0, 1] || sides == [1, 0], "{sides:?}");
    }
    for host in &mut segment.hosts {
        host.side = 0;
    }
    segment.run_for(milliseconds(325));
    segment.exactly_one_answers_for_each_address();
}

#[test]
fn a_node_that_starts_again_at_once_leaves_no_address_unanswered_for_long() {
    let mut segment = Segment::new(4, 0.0, 7);
    // For so long that it is plain that the others were not started with it.
    segment.run_for(milliseconds(4000));
    segment.restart(1);
    // It listens, says so, and the others take over at once.
    segment.run_for(milliseconds(5));
    segment.exactly_one_answers_for_each_address();
    segment.run_for(milliseconds(400));
    segment.exactly_one_answers_for_each_address();
}

#[test]
fn a_candidate_no_more_leaves_no_address_unanswered_for_long() {
    let mut segment = Segment::new(4, 0.1, 9);
    segment.run_for(milliseconds(1000));
    for n in 0..3 {
        segment.retire(n);
        segment.run_for(milliseconds(20));
        segment.exactly_one_answers_for_each_address();
        segment.run_for(milliseconds(1000));
    }
    let silence = segment.downs.iter().filter(|(_, n, _)| *n == 3);
    assert_eq!(silence.count(), 3, "and none is taken for dead later");
}

#[test]
fn a_returning_node_takes_nothing_back() {
    let mut segment = Segment::new(4, 0.02, 10);
    segment.run_for(milliseconds(1000));
    segment.kill(1);
    segment.run_for(milliseconds(1000));
    let after = segment.holders();
    assert!(
        after
            .iter()
            .all(|holders| holders.len() == 1 && holders[0] != 1)
    );
    segment.restart(1);
    for _ in 0..20 {
        segment.run_for(milliseconds(100));
        assert_eq!(segment.holders(), after);
    }
}

#[test]
fn a_restart_of_all_at_once_leaves_every_address_where_it_was() {
    let mut segment = Segment::new(6, 0.02, 11);
    segment.run_for(milliseconds(1000));
    // So that it is not the rank that brings them back.
    segment.kill(0);
    segment.run_for(milliseconds(1000));
    segment.restart(0);
    segment.run_for(milliseconds(1000));
    let before = segment.holders();
    for n in 0..6 {
        segment.restart(n);
        segment.run_for(milliseconds(15));
    }
    segment.run_for(milliseconds(1000));
    assert_eq!(segment.holders(), before);
}

#[test]
fn who_leaves_answers_until_somebody_else_does() {
    let mut segment = Segment::new(4, 0.0, 12);
    segment.run_for(milliseconds(1000));
    for n in 0..3 {
        segment.leave(n);
        for _ in 0..100 {
            segment.run_for(Duration::from_micros(500));
            let holders = segment.holders();
            assert!(
                holders.iter().all(|holders| !holders.is_empty()),
                "{holders:?}"
            );
        }
        segment.exactly_one_answers_for_each_address();
        assert!(!segment.hosts[n].is_alive, "it has not waited for longer");
    }
    let start = segment.elapsed();
    segment.leave(3);
    segment.run_for(milliseconds(50));
    assert!(!segment.hosts[3].is_alive, "there is nobody to wait for");
    assert!(segment.elapsed() - start <= milliseconds(50));
    assert_eq!(segment.hosts[3].station.left_behind().len(), 5);
}

#[test]
fn who_does_not_deliver_hands_over_to_who_does_and_answers_until_then() {
    let mut segment = Segment::new(4, 0.0, 15);
    segment.run_for(milliseconds(1000));
    for n in 0..3 {
        segment.fail(n, true);
        for _ in 0..100 {
            segment.run_for(Duration::from_micros(500));
            let holders = segment.holders();
            assert!(
                holders.iter().all(|holders| !holders.is_empty()),
                "{holders:?}"
            );
        }
        segment.exactly_one_answers_for_each_address();
        let holders = segment.holders().concat();
        assert!(holders.iter().all(|holder| *holder > n), "{holders:?}");
    }
    // Who delivers again takes nothing back.
    let before = segment.holders();
    segment.fail(0, false);
    segment.run_for(milliseconds(1000));
    assert_eq!(segment.holders(), before);
    // The one that could is gone: better one of those that may not deliver than nobody.
    segment.fail(0, true);
    segment.kill(3);
    segment.run_for(milliseconds(1000));
    segment.exactly_one_answers_for_each_address();
}

#[test]
fn i6_where_nobody_delivers_nothing_moves_and_nothing_is_withdrawn() {
    let mut segment = Segment::new(5, 0.02, 16);
    segment.run_for(milliseconds(1000));
    let before = segment.holders();
    for n in 0..5 {
        segment.hosts[n].is_failing = true;
    }
    for n in 0..5 {
        segment.fail(n, true);
    }
    for _ in 0..20 {
        segment.run_for(milliseconds(100));
        segment.exactly_one_answers_for_each_address();
    }
    assert_eq!(segment.holders(), before);
    // One comes back to its senses, and gets all.
    segment.fail(2, false);
    segment.run_for(milliseconds(500));
    assert!(segment.holders().iter().all(|holders| *holders == [2]));
    segment.fail(2, true);
    segment.run_for(milliseconds(500));
    segment.exactly_one_answers_for_each_address();
}

#[test]
fn who_leaves_although_nobody_takes_over_ends_all_the_same() {
    let mut segment = Segment::new(2, 0.0, 13);
    segment.run_for(milliseconds(1000));
    // The other is alive, and hears nothing any more.
    segment.hosts[1].side = 1;
    segment.leave(0);
    segment.run_for(milliseconds(510));
    assert!(!segment.hosts[0].is_alive);
}

#[test]
fn i6_what_holds_is_told_again_to_whoever_missed_it() {
    // Half of everything is lost: no news arrives for sure, and all is known in the end.
    let mut segment = Segment::new(3, 0.0, 14);
    segment.run_for(milliseconds(1000));
    segment.loss = 0.3;
    segment.kill(2);
    segment.run_for(milliseconds(5000));
    segment.loss = 0.0;
    segment.run_for(milliseconds(1000));
    segment.exactly_one_answers_for_each_address();
    for n in 0..2 {
        let other = name(1 - n);
        let told: BTreeSet<IpAddr> = segment.hosts[1 - n].held();
        let world = &segment.hosts[n].world;
        let known = (0..ADDRESSES).map(address).filter(|address| {
            let mut claims = world.claims_at(*address).iter();
            claims.any(|claim| *claim.node == *other)
        });
        assert_eq!(known.collect::<BTreeSet<_>>(), told);
    }
}

/// Whatever happens, in the end one node answers for each address, and no address moves unless its
/// holder failed, was cut off or stalled, or comes back from where it was cut off and is ranked first.
#[test]
fn i6_after_random_events_exactly_one_holds_each_address_and_none_moves_without_a_cause() {
    for seed in 0..40 {
        let mut segment = Segment::new(7, 0.03, 100 + seed);
        segment.run_for(milliseconds(1000));
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut before = segment.holders();
        for _ in 0..12 {
            let n = rng.usize(..7);
            let is_alive = segment.hosts[n].is_alive;
            let what = rng.u8(..4);
            eprintln!(
                "seed {seed} at {:?} node {n} alive {is_alive} what {what} before {before:?}",
                segment.elapsed()
            );
            match what {
                0 if is_alive => segment.kill(n),
                1 if is_alive => segment.leave(n),
                2 if is_alive => segment.pause(n, milliseconds(rng.u64(100..3000))),
                _ if is_alive => segment.hosts[n].side = 1,
                _ => segment.restart(n),
            }
            segment.run_for(milliseconds(rng.u64(500..2500)));
            segment.hosts.iter_mut().for_each(|host| host.side = 0);
            segment.run_for(milliseconds(1500));
            if segment.hosts.iter().any(|host| host.paused_until.is_some()) {
                segment.run_for(milliseconds(3000));
            }
            if !segment.hosts.iter().any(|host| host.is_alive) {
                continue;
            }
            segment.exactly_one_answers_for_each_address();
            let after = segment.holders();
            for (old, new) in before.iter().zip(&after) {
                let has_moved = old != new && !old.is_empty();
                assert!(
                    !has_moved || old == &[n] || new == &[n],
                    "seed {seed}: {n} had no part in {old:?} to {new:?}"
                );
            }
            before = after;
        }
    }
}

#[test]
fn a_segment_at_rest_changes_nothing() {
    let mut segment = Segment::new(5, 0.0, 8);
    segment.run_for(Duration::from_secs(10));
    let (ups, reports) = (segment.ups, reports(&segment));
    segment.run_for(Duration::from_secs(600));
    assert_eq!((segment.ups, segment.downs.len()), (ups, 0));
    assert_eq!(self::reports(&segment), reports);
}

fn reports(segment: &Segment) -> Vec<Report> {
    segment
        .hosts
        .iter()
        .map(|host| host.station.report())
        .collect()
}

#[test]
fn i6_a_recording_of_a_segment_played_to_it_moves_nothing_and_brings_nobody_back() {
    let mut segment = Segment::new(5, 0.0, 77);
    segment.tape = Some(Vec::new());
    segment.run_for(milliseconds(4000));
    segment.leave(4);
    segment.run_for(milliseconds(1000));
    segment.restart(4);
    segment.run_for(milliseconds(4000));
    let before = segment.holders();
    let tape = segment.tape.take().unwrap();
    segment.replay(&tape, milliseconds(2000));
    assert_eq!(segment.holders(), before);
    let downs = segment.downs.len();

    // Who is dead stays dead: its addresses are taken in time, also by one that has just started.
    segment.kill(0);
    segment.replay(&tape, milliseconds(400));
    assert_eq!(segment.downs.len(), downs + 4);
    segment.exactly_one_answers_for_each_address();
    let before = segment.holders();
    segment.restart(1);
    segment.replay(&tape, milliseconds(2000));
    segment.exactly_one_answers_for_each_address();
    assert_eq!(
        segment.downs.len(),
        downs + 4 + 3,
        "the one that started anew"
    );
    let moved = segment.holders().into_iter().zip(before);
    let moved = moved.filter(|(after, before)| before != after && *before != [1]);
    assert_eq!(moved.count(), 0);
}
