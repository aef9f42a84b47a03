//! Two interfaces of one node, on one segment or not.

use super::*;

/// Time passes, and what is sent on one of two interfaces arrives on the other.
fn run_bridged(bench: &mut Bench, time: Duration) -> Vec<Output> {
    let end = bench.now + time;
    let mut said = Vec::new();
    while bench.now < end {
        let fresh = bench.run_for(milliseconds(10));
        for (link, frame) in frames(&fresh) {
            let (link, frame) = (other(link), frame.to_vec());
            said.extend(bench.handle(Input::Frame {
                link,
                frame: &frame,
            }));
        }
        said.extend(fresh);
    }
    said
}

fn other(link: LinkIndex) -> LinkIndex {
    match link {
        LINK => OTHER_LINK,
        _ => LINK,
    }
}

/// Two interfaces; the advertisements may name them.
fn two_links(interfaces: &Interfaces, is_named: bool) -> Bench {
    let mut bench = bench_with(&settings("self"));
    bench.links(&[(LINK, link("eth0", 1)), (OTHER_LINK, link("eth1", 2))]);
    let mut wanted = wanted(interfaces);
    if is_named {
        wanted.named = wanted.owned.keys().copied().collect();
    }
    bench.handle(Input::Want(wanted));
    bench
}

fn both() -> Interfaces {
    Interfaces::Only(["eth0", "eth1"].map(str::to_owned).into())
}

fn answering(bench: &mut Bench) -> [bool; 2] {
    [LINK, OTHER_LINK].map(|link| bench.answers(link))
}

#[test]
fn of_two_interfaces_on_one_segment_one_answers_and_announces() {
    let mut bench = two_links(&Interfaces::All, false);
    let said = run_bridged(&mut bench, Duration::from_secs(3));
    assert_eq!(answering(&mut bench), [true, false]);
    let announced = announcements(&said);
    assert!(
        announced.keys().all(|(link, _)| *link == LINK),
        "{announced:?}"
    );
    // The one in the address's subnet is preferred.
    let mut strange = link("eth0", 1);
    strange.addresses = vec!["192.0.2.1/24".parse().unwrap()];
    bench.links(&[(LINK, strange), (OTHER_LINK, link("eth1", 2))]);
    run_bridged(&mut bench, Duration::from_secs(1));
    assert_eq!(answering(&mut bench), [false, true]);
}

#[test]
fn an_interface_stands_in_for_another_that_is_lost_or_heard_no_more() {
    let mut bench = two_links(&Interfaces::All, false);
    run_bridged(&mut bench, Duration::from_secs(3));
    let mut dead = link("eth0", 1);
    dead.has_carrier = false;
    let mut said = bench.links(&[(LINK, dead), (OTHER_LINK, link("eth1", 2))]);
    said.extend(bench.run_for(milliseconds(50)));
    assert_eq!(answering(&mut bench), [false, true]);
    assert!(announcements(&said).contains_key(&(OTHER_LINK, mac(2))));

    let mut bench = two_links(&Interfaces::All, false);
    run_bridged(&mut bench, Duration::from_secs(3));
    // The segment has fallen apart, and each is alone on its part.
    bench.run_for(milliseconds(700));
    assert_eq!(answering(&mut bench), [true, true]);
}

#[test]
fn interfaces_on_segments_of_their_own_and_those_that_are_named_all_answer() {
    let mut bench = two_links(&Interfaces::All, false);
    bench.run_for(Duration::from_secs(3));
    assert_eq!(answering(&mut bench), [true, true]);
    let mut bench = two_links(&both(), true);
    run_bridged(&mut bench, Duration::from_secs(3));
    assert_eq!(answering(&mut bench), [true, true]);
}

#[test]
fn a_recording_of_another_interface_silences_none() {
    let mut bench = two_links(&Interfaces::All, false);
    let said = bench.run_for(Duration::from_secs(1));
    let tape: Vec<Vec<u8>> = frames(&said)
        .filter(|(link, _)| *link == LINK)
        .map(|(_, frame)| frame.to_vec())
        .collect();
    bench.run_for(Duration::from_secs(20));
    for frame in &tape {
        bench.handle(Input::Frame {
            link: OTHER_LINK,
            frame,
        });
    }
    assert_eq!(answering(&mut bench), [true, true]);
}

#[test]
fn where_a_third_interface_is_not_held_on_the_two_answer_once_all_the_same() {
    let mut bench = two_links(&both(), false);
    run_bridged(&mut bench, Duration::from_secs(3));
    assert_eq!(answering(&mut bench), [true, false]);
}

#[test]
fn a_stall_parts_no_siblings() {
    let mut bench = two_links(&Interfaces::All, false);
    run_bridged(&mut bench, Duration::from_secs(3));
    bench.now += Duration::from_secs(5);
    let said = run_bridged(&mut bench, Duration::from_secs(1));
    let announced = announcements(&said);
    assert!(
        announced.keys().all(|(link, _)| *link == LINK),
        "{announced:?}"
    );
    assert_eq!(answering(&mut bench), [true, false]);
}

#[test]
fn an_interface_that_hears_nothing_silences_none() {
    let mut bench = two_links(&Interfaces::All, false);
    for _ in 0..300 {
        let fresh = bench.run_for(milliseconds(10));
        let arriving = frames(&fresh).filter(|(link, _)| *link == LINK);
        let arriving: Vec<Vec<u8>> = arriving.map(|(_, frame)| frame.to_vec()).collect();
        for frame in &arriving {
            bench.handle(Input::Frame {
                link: OTHER_LINK,
                frame,
            });
        }
    }
    assert_eq!(answering(&mut bench), [true, true]);
}

#[test]
fn who_asks_one_interface_alone_is_answered_there() {
    let mut bench = two_links(&Interfaces::All, false);
    run_bridged(&mut bench, Duration::from_secs(3));
    let mut frame = arp_request();
    frame[..6].copy_from_slice(&mac(2).0);
    let said = bench.handle(Input::Frame {
        link: OTHER_LINK,
        frame: &frame,
    });
    assert!(
        matches!(said.as_slice(), [Output::Answer { .. }]),
        "{said:?}"
    );
}
