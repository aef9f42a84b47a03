//! Announcements as a recorder on the segment sees them: how fast, in which order, and when again.
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use ferrolb_tests::capture::{self, Kind, Saying};
use ferrolb_tests::lab::Lab;
use ferrolb_tests::objects::{layer2, nodes, pool};
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

fn address(n: u32) -> IpAddr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 128, 0, 1).to_bits() + n).into()
}

/// Services that have their addresses already, as somebody else gave them.
fn services(numbers: std::ops::Range<u32>) -> String {
    let mut text = String::new();
    for n in numbers {
        let ports = "ports: [{port: 80, nodePort: 30080}]";
        let status = format!(
            "status: {{loadBalancer: {{ingress: [{{ip: {}}}]}}}}",
            address(n)
        );
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{n}}}\n\
             spec: {{type: LoadBalancer, {ports}}}\n{status}"
        );
    }
    text
}

/// A node whose speaker is still to be started, and so many Services.
fn lab(count: u32, reannounce: &str) -> Lab {
    let mut lab = Lab::new(1).unwrap();
    let pools = pool("many", &["10.128.0.0/18"]) + &layer2("many", "");
    lab.manifest("nodes.yaml", &nodes(1)).unwrap();
    lab.manifest("pools.yaml", &pools).unwrap();
    lab.manifest("many.yaml", &services(0..count)).unwrap();
    lab.speaker_arguments = vec![format!("--layer2-reannounce={reannounce}")];
    lab
}

fn recording(lab: &Lab) -> PathBuf {
    lab.path().join("segment.pcap")
}

/// The announcements of ours so far.
fn announcements(lab: &Lab) -> Vec<Saying> {
    let ours = address(0)..=address(MANY);
    let mut said = capture::sayings(&recording(lab)).unwrap();
    said.retain(|saying| saying.kind == Kind::Announces && ours.contains(&saying.address));
    said
}

fn distinct(said: &[Saying]) -> BTreeSet<IpAddr> {
    said.iter().map(|saying| saying.address).collect()
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
    patience::until("all to be announced", LATER, || {
        distinct(&announcements(&lab)).len() > MANY as usize
    })
    .unwrap();
    // The bursts, which take five seconds, and some of the low rate.
    patience::pause(Duration::from_secs(9)).unwrap();
    lab.stop_recording().unwrap();
    let said = announcements(&lab);

    let late = address(MANY);
    let first_round = first_round(&said, late);
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

/// From the first announcement until each has been announced once.
fn first_round(said: &[Saying], late: IpAddr) -> Duration {
    let mut seen = BTreeSet::new();
    let mut firsts = said
        .iter()
        .filter(|saying| saying.address != late && seen.insert(saying.address));
    let first = firsts.next().unwrap().at;
    firsts.last().unwrap().at - first
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
