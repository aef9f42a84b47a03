//! An address that a host on the segment has already, which knows nothing of speakers.
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::net::IpAddr;
use std::time::Duration;

use ferrolb_tests::capture::{self, Kind};
use ferrolb_tests::lab::Lab;
use ferrolb_tests::objects::{layer2, nodes, pool, service, tcp};
use ferrolb_tests::patience;

const SOON: Duration = Duration::from_secs(15);
/// They are asked again after half a minute.
const LATER: Duration = Duration::from_secs(60);
const FOUR: &str = "192.168.1.240";
const SIX: &str = "fd00:1::240";

fn addresses() -> [IpAddr; 2] {
    [FOUR, SIX].map(|text| text.parse().unwrap())
}

/// A Service of both families, the controller, and a host that has its addresses if it is to.
fn lab(count: u8, is_taken: bool, arguments: &[&str]) -> Lab {
    let mut lab = Lab::new(count).unwrap();
    let ranges = ["192.168.1.240-192.168.1.250", "fd00:1::240-fd00:1::250"];
    let pools = pool("first-pool", &ranges) + &layer2("first-pool", "");
    let spec = "ipFamilyPolicy: RequireDualStack\n".to_owned() + &tcp(&[(80, 30080)]);
    lab.manifest("nodes.yaml", &nodes(count.into())).unwrap();
    lab.manifest("pools.yaml", &pools).unwrap();
    lab.manifest("web.yaml", &service("web", &spec)).unwrap();
    if is_taken {
        stranger(&lab, "add");
    }
    lab.speaker_arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
    lab.start_controller().unwrap();
    lab.await_addresses("web", 2).unwrap();
    lab.start_speakers().unwrap();
    lab
}

/// Gives the addresses to a host, or takes them away.
fn stranger(lab: &Lab, what: &str) {
    let host = &lab.segment.neighbour.namespace;
    host.ip(&format!("addr {what} {FOUR}/32 dev eth0")).unwrap();
    let no_detection = if what == "add" { " nodad" } else { "" };
    host.ip(&format!("addr {what} {SIX}/128 dev eth0{no_detection}"))
        .unwrap();
}

/// How often the addresses were announced or probed by nodes.
fn said(lab: &Lab, kind: Kind) -> usize {
    let sayings = capture::sayings(&lab.path().join("segment.pcap")).unwrap();
    let macs = lab.segment.nodes.iter().map(|node| node.mac.clone());
    let macs: Vec<String> = macs.collect();
    let ours = sayings.iter().filter(|saying| {
        let octets = saying.mac.map(|octet| format!("{octet:02x}"));
        let is_ours = macs.contains(&octets.join(":"));
        is_ours && saying.kind == kind && addresses().contains(&saying.address)
    });
    ours.count()
}

/// The part of a node's status that is about layer 2.
fn status(lab: &Lab, part: &str) -> Vec<serde_json::Value> {
    let status = lab.status(1).unwrap();
    status["layer2"][part]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

fn await_conflicts(lab: &Lab, is_held: bool) {
    let mac = &lab.segment.neighbour.mac;
    patience::until("both conflicts in the status", SOON, || {
        status(lab, "conflicts").len() == 2
    })
    .unwrap();
    for (conflict, address) in status(lab, "conflicts").iter().zip(addresses()) {
        assert_eq!(conflict["address"], address.to_string().as_str());
        assert_eq!(conflict["mac"], mac.as_str());
        assert_eq!(conflict["interface"], "eth0");
        assert_eq!(conflict["isHeld"], is_held);
    }
}

fn answering(lab: &Lab) -> [Vec<String>; 2] {
    let [four, six] = addresses();
    [lab.arping(four).unwrap(), lab.ndisc(six).unwrap()]
}

#[test]
fn a_host_that_has_the_address_is_named_and_the_address_announced_all_the_same() {
    let mut lab = lab(1, true, &[]);
    await_conflicts(&lab, true);
    patience::until("announcements", SOON, || said(&lab, Kind::Announces) >= 3).unwrap();
    assert_eq!(said(&lab, Kind::Probes), 2, "one for each");
    assert_eq!(status(&lab, "held").len(), 2);
    let log = lab.speaker(1).unwrap().log();
    let warnings = log
        .lines()
        .filter(|line| line.contains("somebody else has the address"));
    let mac = &lab.segment.neighbour.mac;
    assert_eq!(
        warnings.filter(|line| line.contains(mac)).count(),
        2,
        "once"
    );
    assert!(!log.contains("somebody else answers for a held address"));
}

#[test]
fn a_refused_address_is_left_to_the_host_that_has_it_until_it_is_gone() {
    let lab = lab(1, true, &["--conflict=refuse"]);
    await_conflicts(&lab, false);
    patience::pause(Duration::from_secs(2)).unwrap();
    assert_eq!(said(&lab, Kind::Announces), 0);
    let stranger_alone = vec![lab.segment.neighbour.mac.clone()];
    // Who has an address does not ask for it: the router does.
    let [four, _] = addresses();
    let router = &lab.segment.router.namespace;
    let answers = lab
        .arping_from(router, "eth0", four, Duration::from_secs(1))
        .unwrap();
    assert_eq!(answers, stranger_alone);
    assert_eq!(said(&lab, Kind::Probes), 2, "one for each");
    for not_held in status(&lab, "notHeld") {
        assert_eq!(not_held["reason"], "addressConflict");
        let detail = not_held["detail"].as_str().unwrap();
        assert_eq!(detail, format!("{} on eth0", stranger_alone[0]));
    }

    stranger(&lab, "del");
    patience::until("the addresses to be taken", LATER, || {
        status(&lab, "held").len() == 2
    })
    .unwrap();
    assert_eq!(status(&lab, "conflicts"), Vec::<serde_json::Value>::new());
    let node = vec![lab.segment.nodes[0].mac.clone()];
    let node = [node.clone(), node];
    // Its hand-off comes first.
    patience::until("the node to answer", SOON, || answering(&lab) == node).unwrap();
    assert!(said(&lab, Kind::Announces) > 0);
}

#[test]
fn a_new_address_is_probed_once_and_a_takeover_and_a_restart_probe_nothing() {
    let mut lab = lab(2, false, &["--conflict=refuse"]);
    let await_both = |lab: &Lab| {
        for address in addresses() {
            patience::until("an answer", SOON, || lab.holder_seen(address).is_some()).unwrap();
        }
    };
    await_both(&lab);
    // Both begin at the same time, and each may be about to take it before it knows of the other.
    let probes = said(&lab, Kind::Probes);
    assert!((2..=4).contains(&probes), "{probes}");
    for victim in [1, 2] {
        lab.speaker(victim).unwrap().kill();
        patience::pause(Duration::from_secs(1)).unwrap();
        await_both(&lab);
        lab.start_speaker(victim).unwrap();
        patience::pause(Duration::from_secs(1)).unwrap();
    }
    for number in [1, 2] {
        lab.speaker(number).unwrap().kill();
    }
    lab.start_speakers().unwrap();
    await_both(&lab);
    assert_eq!(said(&lab, Kind::Probes), probes);
}
