//! MetalLB's own programs on our definitions, and ours in their place afterwards.

use std::net::IpAddr;
use std::time::Duration;

use ferrolb_tests::kubernetes::cluster::{Cluster, ProxyMode, Workload};
use ferrolb_tests::kubernetes::{Settings, metallb, product};
use ferrolb_tests::process::Process;
use ferrolb_tests::{objects, patience};

const SOON: Duration = Duration::from_secs(30);
const NAMESPACE: &str = "metallb-system";

/// Its native mode takes no connectTime, which the proofs' other peers have.
const PEER: &str = "---
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata: {name: tor, namespace: metallb-system}
spec: {myASN: 64500, peerASN: 64501, peerAddress: 192.168.1.1, holdTime: 3s}
";

/// Addresses, answers and routes; and then ours, which keep every address.
#[test]
fn metallbs_own_programs_work_with_our_definitions_and_ours_take_over_from_them() {
    let mut cluster = Cluster::start(2, ProxyMode::Nftables, Settings::default()).unwrap();
    product::install(&cluster.plane).unwrap();
    let configuration = [
        objects::pool("pool", &["192.168.1.240-192.168.1.249"]),
        objects::layer2("all", "ipAddressPools: [pool]"),
        PEER.to_owned(),
        objects::bgp("all", "ipAddressPools: [pool]"),
    ];
    cluster.plane.apply(&configuration.concat()).unwrap();
    let _router = {
        let neighbours = cluster.lab.neighbours(64501, 64500);
        cluster.lab.router(&neighbours).unwrap()
    };
    let web = Workload {
        namespace: "default",
        name: "web-1",
        app: "web",
        node: 1,
        ports: &[8080],
    };
    cluster.run(&web).unwrap();
    let service = "selector: {app: web}\nports: [{port: 80, targetPort: 8080}]";

    let mut theirs = vec![metallb::controller(&cluster.plane).unwrap()];
    theirs.extend((1..=2).map(|number| metallb::speaker(&cluster, number).unwrap()));
    cluster
        .plane
        .apply(&objects::service("web", service))
        .unwrap();
    let addresses = || product::addresses(&cluster.plane, "default", "web").unwrap();
    patience::until("an address of MetalLB's", SOON, || addresses().len() == 1).unwrap();
    let given = addresses();
    let address: IpAddr = given[0].parse().unwrap();
    let is_served = |who: &str| {
        let what = format!("one of {who} to answer");
        let is_held = || cluster.lab.holder_seen(address).is_some();
        patience::until(&what, SOON, is_held).unwrap();
        let hops: Vec<String> = (1..=2).map(|n| cluster.node(n).v4.to_string()).collect();
        let prefix = format!("{address}/32");
        cluster.lab.await_next_hops(&prefix, &hops, SOON).unwrap();
    };
    is_served("MetalLB's speakers");
    // It has written its verdict into an object of our kind.
    let state = format!("/apis/metallb.io/v1beta1/namespaces/{NAMESPACE}/configurationstates");
    let verdicts = |word: &str| {
        let list = cluster.plane.get(&state).unwrap();
        let all = list["items"].as_array().unwrap().clone();
        all.iter()
            .filter(|one| one["status"]["result"] == word)
            .count()
    };
    patience::until("MetalLB's verdicts", SOON, || verdicts("Valid") == 3).unwrap();

    for process in &mut theirs {
        process.terminate(SOON).unwrap();
    }
    let nobody = || cluster.lab.holder_seen(address).is_none();
    patience::until("nobody to answer", SOON, nobody).unwrap();
    let _controller = product::active_controller(&cluster.plane, "controller", &[]).unwrap();
    let speakers = (1..=2).map(|number| product::speaker(&cluster, number, &[]).unwrap());
    let _speakers: Vec<Process> = speakers.collect();
    is_served("ours");
    assert_eq!(addresses(), given);
    // Who comes now gets another.
    cluster
        .plane
        .apply(&objects::service("late", service))
        .unwrap();
    let late = product::await_addresses(&cluster.plane, "default", "late", 1).unwrap();
    assert_ne!(late, given);
    // And the objects that were MetalLB's say what ours have to say.
    let bad = objects::pool("bad", &["nonsense"]);
    cluster.plane.apply(&bad).unwrap();
    patience::until("our verdicts", SOON, || verdicts("Invalid") == 3).unwrap();
}
