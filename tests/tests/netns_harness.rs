//! The laboratory itself: what the other proofs take for granted about it.
#![expect(clippy::disallowed_methods, reason = "proofs read files")]

use std::process::Command;
use std::time::Duration;

use ferrolb_tests::capture;
use ferrolb_tests::lab::Lab;
use ferrolb_tests::peer::bird::Bird;
use ferrolb_tests::process::output;

const SOON: Duration = Duration::from_secs(15);

fn announcing(node: &str, address: &str, asn: u32, router: &str, prefix: &str) -> String {
    format!(
        "router id {address}; log stderr all; protocol device {{ }}\n\
         protocol static {{ ipv4; route {prefix} blackhole; }}\n\
         filter marked {{ bgp_community.add((64512,100)); bgp_large_community.add((64512,1,2)); accept; }}\n\
         protocol bgp {node} {{ local {address} as {asn}; neighbor {router} as 64512; hold time 3;\n\
         connect delay time 1; connect retry time 1; error wait time 1, 2; ipv4 {{ import none; export filter marked; next hop self; }}; }}\n"
    )
}

#[test]
fn two_birds_make_an_ecmp_route_and_a_cut_ends_it() {
    let mut lab = Lab::new(2).unwrap();
    let mut neighbours = lab.neighbours(64512, 64600);
    for neighbour in &mut neighbours {
        neighbour.hold_time = 3;
    }
    let router = lab.router(&neighbours).unwrap();
    let start = |lab: &Lab, index: usize| {
        let host = &lab.segment.nodes[index];
        let address = host.v4.to_string();
        let config = announcing(&host.name, &address, 64600, "192.168.1.1", "192.0.2.10/32");
        Bird::start(&host.namespace, lab.path(), &host.name, &config).unwrap()
    };
    let mut nodes = vec![start(&lab, 0), start(&lab, 1)];
    for name in ["n1", "n2"] {
        router.await_established(name, SOON).unwrap();
    }
    let both = ["192.168.1.11".to_owned(), "192.168.1.12".to_owned()];
    lab.await_next_hops("192.0.2.10/32", &both, SOON).unwrap();
    let routes = router.routes("192.0.2.10/32").unwrap();
    assert_eq!(routes.len(), 2);
    assert_eq!(routes[0].communities, "(64512,100)");
    assert_eq!(routes[0].large_communities, "(64512, 1, 2)");
    assert_eq!(routes[0].as_path, "64600");
    assert_eq!(router.imported("n1").unwrap(), 1);
    lab.stop_recording().unwrap();
    let recording = lab.path().join("segment.pcap");
    let sent = capture::bgp_messages(&recording, lab.segment.nodes[0].v4, Duration::MAX).unwrap();
    assert_eq!(sent[&1], 1, "one OPEN: {sent:?}");
    assert!(sent[&capture::UPDATE] >= 1, "{sent:?}");

    lab.segment.silence("n1").unwrap();
    lab.await_next_hops("192.0.2.10/32", &both[1..], SOON)
        .unwrap();
    lab.segment.unsilence("n1").unwrap();
    lab.await_next_hops("192.0.2.10/32", &both, SOON).unwrap();
    nodes.remove(0).kill();
    lab.await_next_hops("192.0.2.10/32", &both[1..], SOON)
        .unwrap();
}

#[test]
fn probes_see_servers_and_how_long_they_were_gone() {
    let mut lab = Lab::new(2).unwrap();
    lab.serve_http(&[30080]).unwrap();
    lab.serve_echo(&[30053]).unwrap();
    let address = lab.segment.nodes[0].v4.into();
    let every = Duration::from_millis(1);
    let udp = lab.probe("probe-udp", address, 30053, every).unwrap();
    let every = Duration::from_millis(10);
    let http = lab.probe("probe-http", address, 30080, every).unwrap();
    let wait = |milliseconds| std::thread::sleep(Duration::from_millis(milliseconds));
    wait(700);
    lab.segment.cut("n1").unwrap();
    wait(300);
    lab.segment.mend("n1").unwrap();
    wait(1500);
    let (udp, http) = (udp.stop().unwrap(), http.stop().unwrap());
    for record in [&udp, &http] {
        assert_eq!(record.answered().keys().collect::<Vec<_>>(), ["n1"]);
        let outage = record.outage().as_millis();
        assert!((200..1200).contains(&outage), "{outage} ms");
    }
    assert!(udp.requests.len() > 1500, "{}", udp.requests.len());
    let client = &lab.segment.client.namespace;
    let body = lab.curl(client, lab.segment.nodes[1].v6.into(), 30080);
    assert_eq!(body.unwrap(), "node=n2 port=30080 client=fd09::2\n");
}

#[test]
fn the_kernel_of_a_node_answers_arping_and_ndisc6() {
    let lab = Lab::new(1).unwrap();
    let node = &lab.segment.nodes[0];
    assert_eq!(
        lab.arping(node.v4.into()).unwrap(),
        std::slice::from_ref(&node.mac)
    );
    assert_eq!(
        lab.ndisc(node.v6.into()).unwrap(),
        std::slice::from_ref(&node.mac)
    );
    assert_eq!(lab.holder_seen(node.v4.into()).as_deref(), Some("n1"));
    assert!(
        lab.arping("192.168.1.77".parse().unwrap())
            .unwrap()
            .is_empty()
    );
    assert!(lab.ndisc("fd00:1::77".parse().unwrap()).unwrap().is_empty());
}

#[test]
fn a_dropped_laboratory_leaves_no_namespace() {
    let lab = Lab::new(1).unwrap();
    let names: Vec<String> = lab
        .segment
        .namespaces()
        .map(|namespace| namespace.name().to_owned())
        .collect();
    drop(lab);
    let left = output(Command::new("ip").args(["netns", "list"])).unwrap();
    for name in names {
        assert!(!left.contains(&name), "{name} is still there");
    }
}

#[test]
fn a_panic_leaves_no_namespace_and_keeps_the_capture() {
    let name = std::sync::Mutex::new(String::new());
    let outcome = std::panic::catch_unwind(|| {
        let lab = Lab::new(1).unwrap();
        *name.lock().unwrap() = lab.segment.switch().name().to_owned();
        let path = lab.path().to_owned();
        std::panic::panic_any(path);
    });
    let path = outcome
        .unwrap_err()
        .downcast::<std::path::PathBuf>()
        .unwrap();
    assert!(path.join("segment.pcap").exists());
    std::fs::remove_dir_all(*path).unwrap();
    let left = output(Command::new("ip").args(["netns", "list"])).unwrap();
    assert!(!left.contains(name.lock().unwrap().as_str()));
}
