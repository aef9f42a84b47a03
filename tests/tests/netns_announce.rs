//! Announcements as a recorder on the segment sees them: how fast, in which order, and when again.
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::time::Duration;

use ferrolb_tests::announcing::{self, address, await_announced, distinct, services};
use ferrolb_tests::capture::Saying;
use ferrolb_tests::lab::Lab;
use ferrolb_tests::patience;

const SOON: Duration = Duration::from_secs(15);
/// For many addresses on a machine that has much else to do.
const LATER: Duration = Duration::from_secs(90);
const SECOND: Duration = Duration::from_secs(1);
/// What docs/operating.md states.
const FRAMES_A_SECOND: usize = 25_000;
/// The bar is 10,000 in a second.
const SLOWEST: Duration = Duration::from_secs(10);
const MANY: u32 = 10_000;

/// A node whose speaker is still to be started, and so many Services.
fn lab(count: u32, reannounce: &str) -> Lab {
    announcing::lab(count, reannounce).unwrap()
}

/// The announcements of ours so far.
fn announcements(lab: &Lab) -> Vec<Saying> {
    announcing::announcements(lab).unwrap()
}

#[test]
fn ten_thousand_addresses_are_announced_within_a_second_in_order_and_never_too_fast() {
    let mut lab = lab(MANY, "1s");
    lab.start_speaker(1).unwrap();
    patience::until("the first announcement", LATER, || {
        !announcements(&lab).is_empty()
    })
    .unwrap();
    // In the midst of the bursts one more comes to be held.
    lab.manifest("late.yaml", &services(MANY..MANY + 1))
        .unwrap();
    await_announced(&lab, MANY as usize + 1, LATER).unwrap();
    // The bursts, which take five seconds, and some of the low rate.
    patience::pause(Duration::from_secs(9)).unwrap();
    lab.stop_recording().unwrap();
    let said = announcements(&lab);

    let late = address(MANY);
    let mut others = said.clone();
    others.retain(|saying| saying.address != late);
    let first_round = announcing::first_round(&others).unwrap();
    println!("first round of {MANY} addresses: {first_round:?}");
    assert!(first_round < SLOWEST, "{first_round:?}");

    let most = most_in_a_second(&said);
    println!("most frames in a second: {most}");
    assert!(most <= FRAMES_A_SECOND, "{most}");

    let at = said
        .iter()
        .position(|saying| saying.address == late)
        .unwrap();
    let before_it = distinct(&said[..at]).len();
    let within = said[at..].partition_point(|saying| saying.at < said[at].at + SECOND);
    println!("{before_it} addresses before the latest, {within} frames in the second after it");
    assert!(within > FRAMES_A_SECOND / 10, "it went ahead of nothing");

    let end = said.last().unwrap().at;
    let last = said.partition_point(|saying| saying.at < end - 2 * SECOND);
    let again = distinct(&said[last..]).len();
    println!("{again} addresses again in the last two seconds");
    assert!(again > MANY as usize * 9 / 10, "{again}");
}

fn most_in_a_second(said: &[Saying]) -> usize {
    let counts = said
        .iter()
        .enumerate()
        .map(|(from, saying)| said[from..].partition_point(|later| later.at < saying.at + SECOND));
    counts.max().unwrap_or(0)
}

/// Where a node's addresses are announced that has its only interface in a bridge of its own.
const BRIDGE: &str = "br9";

fn bridged() -> Lab {
    let mut lab = lab(3, "0s");
    let node = &lab.segment.nodes[0].namespace;
    for words in [
        &format!("link add {BRIDGE} address 02:00:00:00:99:01 type bridge forward_delay 0"),
        &format!("link set eth0 master {BRIDGE}"),
        &format!("link set {BRIDGE} up"),
        "link add veth-more type veth peer name veth-far",
        "link set veth-more up",
    ] {
        node.ip(words).unwrap();
    }
    lab.start_speaker(1).unwrap();
    lab
}

/// What is announced after something was done, where silence was before it; then the burst is waited
/// for.
fn after(lab: &Lab, what: &str, act: impl FnOnce(&Lab)) -> Vec<Saying> {
    let before = announcements(lab).len();
    patience::throughout("nothing to be announced", SECOND, || {
        announcements(lab).len() == before
    })
    .unwrap();
    act(lab);
    patience::until(&format!("announcements after {what}"), SOON, || {
        distinct(&announcements(lab)[before..]).len() == 3
    })
    .unwrap();
    settle(lab);
    announcements(lab)[before..].to_vec()
}

/// Waits until a burst is over.
fn settle(lab: &Lab) {
    let mut count = 0;
    let quiet = Duration::from_secs(3);
    patience::until("the burst to end", SOON, || {
        patience::pause(quiet).unwrap();
        let before = std::mem::replace(&mut count, announcements(lab).len());
        before == count && count > 0
    })
    .unwrap();
}

#[test]
fn a_port_of_the_bridge_a_hardware_address_and_carrier_that_change_are_announced() {
    let lab = bridged();
    settle(&lab);
    let node = |lab: &Lab, words: &str| {
        lab.segment.nodes[0].namespace.ip(words).unwrap();
    };
    let mac = |last| [2, 0, 0, 0, 0x99, last];
    for (what, words) in [
        (
            "a port joins",
            format!("link set veth-more master {BRIDGE}"),
        ),
        ("a port gets carrier", "link set veth-far up".to_owned()),
        ("a port leaves", "link set veth-more nomaster".to_owned()),
    ] {
        let said = after(&lab, what, |lab| node(lab, &words));
        assert!(said.iter().all(|saying| saying.mac == mac(1)), "{what}");
    }
    let words = format!("link set {BRIDGE} address 02:00:00:00:99:02");
    let said = after(&lab, "a new hardware address", |lab| node(lab, &words));
    assert!(said.iter().all(|saying| saying.mac == mac(2)));

    after(&lab, "carrier", |lab| {
        lab.segment.cut("n1").unwrap();
        patience::pause(SECOND).unwrap();
        lab.segment.mend("n1").unwrap();
    });
    drop(lab);
}
