//! A node that is drained, as a router and clients on the segment see it.
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]
#![expect(clippy::disallowed_methods, reason = "measures time")]

use std::net::IpAddr;
use std::time::Duration;

use ferrolb_tests::lab::Lab;
use ferrolb_tests::objects::{bgp, layer2, nodes, peer, pool, service};
use ferrolb_tests::patience;
use ferrolb_tests::peer::bird::Bird;

const SOON: Duration = Duration::from_secs(20);
const ROUTED: &str = "198.51.100.0/32";
const HOPS: [&str; 2] = ["192.168.1.11", "192.168.1.12"];

/// Two nodes, a router that speaks BGP with both (iBGP, so that the preference is seen), `web` with an
/// address by BGP and one at layer 2 each.
fn site() -> (Lab, Bird) {
    let mut lab = Lab::new(2).unwrap();
    let router = lab.router(&lab.neighbours(64500, 64500)).unwrap();
    let setup = pool("routed", &["198.51.100.0/28"])
        + &pool("segment", &["192.168.1.100-192.168.1.110"])
        + &bgp("routed", "ipAddressPools: [routed]")
        + &layer2("segment", "ipAddressPools: [segment]")
        + &peer("tor", 64500, "192.168.1.1", "");
    lab.manifest("setup.yaml", &setup).unwrap();
    lab.manifest("nodes.yaml", &nodes(2)).unwrap();
    for (name, pool) in [("far", "routed"), ("near", "segment")] {
        let spec = "ports:\n  - port: 53\n    protocol: UDP\n    nodePort: 30053\n";
        let annotation =
            format!("  name: {name}\n  annotations: {{metallb.io/address-pool: {pool}}}\n");
        let text = service(name, spec).replace(&format!("  name: {name}\n"), &annotation);
        lab.manifest(&format!("{name}.yaml"), &text).unwrap();
    }
    lab.serve_echo(&[30053]).unwrap();
    lab.start_controller().unwrap();
    let quickly = ["--drain-time", "2s", "--heartbeat-insecure"].map(str::to_owned);
    for number in [1, 2] {
        lab.start_speaker_with(number, &quickly).unwrap();
    }
    await_hops(&lab, &HOPS);
    (lab, router)
}

fn await_hops(lab: &Lab, hops: &[&str]) {
    let hops: Vec<String> = hops.iter().map(|hop| (*hop).to_owned()).collect();
    lab.await_next_hops(ROUTED, &hops, SOON).unwrap();
}

fn draining(lab: &Lab, number: usize) -> Option<String> {
    let status = lab.status(number).unwrap();
    status["draining"]["state"].as_str().map(str::to_owned)
}

fn await_stage(lab: &Lab, number: usize, stage: Option<&str>) {
    patience::until("the stage", SOON, || {
        draining(lab, number).as_deref() == stage
    })
    .unwrap();
}

/// The node that holds the address at layer 2, and the address.
fn holder(lab: &Lab) -> (usize, IpAddr) {
    let address = lab.await_addresses("near", 1).unwrap()[0];
    let mut holder = 0;
    patience::until("a holder", SOON, || {
        holder = [1, 2]
            .into_iter()
            .find(|number| holds(lab, *number))
            .unwrap_or(0);
        holder > 0
    })
    .unwrap();
    (holder, address)
}

fn holds(lab: &Lab, number: usize) -> bool {
    let status = lab.status(number).unwrap();
    !status["layer2"]["held"].as_array().unwrap().is_empty()
}

/// What BIRD has from each node of the local preference and the communities.
fn seen(router: &Bird, hop: &str) -> Option<(String, String)> {
    let routes = router.routes(ROUTED).unwrap();
    let mut from = routes.into_iter().filter(|route| route.next_hop == hop);
    from.next()
        .map(|route| (route.local_pref, route.communities))
}

#[test]
fn i9_a_drained_node_loses_no_packet_at_layer_2_nor_at_bgp_and_comes_back() {
    let (lab, router) = site();
    let (number, near) = holder(&lab);
    let hop = HOPS[number - 1];
    let other = HOPS[2 - number];
    let far = ROUTED.trim_end_matches("/32").parse().unwrap();
    let probes = [near, far].map(|address| {
        lab.probe("probe-udp", address, 53, Duration::from_millis(2))
            .unwrap()
    });
    patience::pause(Duration::from_millis(500)).unwrap();
    let answer = lab.drain(number, &["--no-wait"]).unwrap();
    assert_eq!(answer["state"], "draining", "{answer}");
    patience::until("the last resort", SOON, || {
        seen(&router, hop) == Some(("0".to_owned(), "(65535,0)".to_owned()))
    })
    .unwrap();
    assert_eq!(seen(&router, other).unwrap().0, "100");
    await_hops(&lab, &[other]);
    // It returns when all is done.
    let answer = lab.drain(number, &[]).unwrap();
    assert_eq!(
        (&answer["state"], &answer["held"]),
        (&"drained".into(), &0.into()),
        "{answer}"
    );
    let protocol = router
        .ask(&format!("show protocols all n{number}"))
        .unwrap();
    assert!(protocol.contains("Administrative shutdown"), "{protocol}");
    assert!(!holds(&lab, number) && holds(&lab, 3 - number));
    let answer = lab.drain(number, &["--undo"]).unwrap();
    assert_eq!(answer["state"], "serving", "{answer}");
    await_hops(&lab, &HOPS);
    assert_eq!(seen(&router, hop).unwrap().0, "100");
    assert!(!holds(&lab, number), "who comes back takes nothing back");
    for probe in probes {
        let record = probe.stop().unwrap();
        // A datagram on its way while the way changes is the kernel's.
        assert!(record.lost() <= 2, "lost {}", record.lost());
    }
}

#[test]
fn i9_a_node_is_drained_by_its_label_and_told_to_stop_it_goes_when_that_is_done() {
    let (mut lab, router) = site();
    let labelled = nodes(2).replace(
        "  name: n1\n",
        "  name: n1\n  labels: {ferrolb.io/drain: \"\"}\n",
    );
    lab.manifest("nodes.yaml", &labelled).unwrap();
    await_stage(&lab, 1, Some("draining"));
    // Told to stop on the way it still makes its routes the last resort, and withdraws them.
    assert_eq!(
        seen(&router, HOPS[0]).map(|seen| seen.0).as_deref(),
        Some("0")
    );
    let begun = std::time::Instant::now();
    lab.speaker(1).unwrap().terminate(SOON).unwrap();
    assert!(begun.elapsed() > Duration::from_secs(1), "it did not wait");
    await_hops(&lab, &HOPS[1..]);
    // As long as the label is there, a speaker that is started anew is drained, too.
    lab.start_speaker_with(1, &["--drain-time".to_owned(), "1s".to_owned()])
        .unwrap();
    await_stage(&lab, 1, Some("drained"));
    await_hops(&lab, &HOPS[1..]);
    lab.manifest("nodes.yaml", &nodes(2)).unwrap();
    await_stage(&lab, 1, None);
    await_hops(&lab, &HOPS);
}

/// Whoever it is that says so.
#[test]
fn i9_every_mark_of_a_node_drains_it_for_as_long_as_it_is_there() {
    let (lab, _router) = site();
    let marks = [
        (
            "annotation",
            r#"metadata: {name: n1, annotations: {ferrolb.io/drain: "maintenance"}}"#,
        ),
        (
            "taint",
            "metadata: {name: n1}\nspec: {taints: [{key: ferrolb.io/drain, effect: PreferNoSchedule}]}",
        ),
        (
            "removed",
            "metadata: {name: n1}\nspec: {taints: [{key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}]}",
        ),
        (
            "kubelet",
            "metadata: {name: n1}\nstatus:\n  conditions:\n    - {type: Ready, status: \"False\", message: node is shutting down}",
        ),
    ];
    for (cause, rest) in marks {
        let marked = nodes(2).replacen("metadata:\n  name: n1", rest, 1);
        lab.manifest("nodes.yaml", &marked).unwrap();
        await_stage(&lab, 1, Some("drained"));
        await_hops(&lab, &HOPS[1..]);
        let status = lab.status(1).unwrap();
        let said = status["draining"]["why"].as_str();
        assert!(said.is_some_and(|said| said.contains(cause)), "{status:#}");
        lab.manifest("nodes.yaml", &nodes(2)).unwrap();
        await_stage(&lab, 1, None);
        await_hops(&lab, &HOPS);
    }
}
