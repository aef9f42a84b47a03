//! The hand-off: from an announced address to the NodePort, on real packets.
#![expect(clippy::disallowed_methods, reason = "measures time on the wire")]
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ferrolb_tests::lab::Lab;
use ferrolb_tests::objects::{bgp, peer, pool, service, tcp};
use ferrolb_tests::patience;
use ferrolb_tests::peer::bird::Bird;

const SOON: Duration = Duration::from_secs(15);
const TABLE: &str = "nft list table inet ferrolb";

fn four() -> IpAddr {
    "198.51.100.0".parse().unwrap()
}

fn six() -> IpAddr {
    "2001:db8:100::".parse().unwrap()
}

/// One node that announces by BGP, servers on its NodePorts; `spec` are further lines of `web`.
fn site(spec: &str) -> (Lab, Bird) {
    let mut lab = prepared(spec);
    let router = started(&mut lab);
    (lab, router)
}

fn prepared(spec: &str) -> Lab {
    let mut lab = Lab::new(1).unwrap();
    let routed = pool("routed", &["198.51.100.0/28", "2001:db8:100::/124"]) + &bgp("routed", "");
    let peer = peer("four", 64501, "192.168.1.1", "dualStackAddressFamily: true");
    lab.manifest("routed.yaml", &(routed + &peer)).unwrap();
    let spec = format!("ipFamilyPolicy: RequireDualStack\n{spec}\n");
    lab.manifest("web.yaml", &service("web", &spec)).unwrap();
    lab.serve_http(&[30080, 30081]).unwrap();
    lab.serve_echo(&[30053]).unwrap();
    lab
}

fn started(lab: &mut Lab) -> Bird {
    let router = lab.router(&lab.neighbours(64501, 64500)).unwrap();
    lab.start_controller().unwrap();
    lab.start_speakers().unwrap();
    let hops = [["192.168.1.11".to_owned()], ["fd00:1::11".to_owned()]];
    lab.await_next_hops("198.51.100.0/32", &hops[0], SOON)
        .unwrap();
    lab.await_next_hops("2001:db8:100::/128", &hops[1], SOON)
        .unwrap();
    router
}

fn await_answer(lab: &Lab, address: IpAddr, port: u16) -> String {
    let client = &lab.segment.client.namespace;
    let what = format!("an answer from {address} port {port}");
    let (body, _) =
        patience::eventually(&what, SOON, || Ok(lab.curl(client, address, port))).unwrap();
    body
}

#[test]
fn tcp_and_udp_of_both_families_reach_the_node_port_and_the_client_is_seen() {
    let ports = "ports:\n\
                 - {name: http, port: 80, nodePort: 30080}\n\
                 - {name: alt, port: 8080, nodePort: 30081}\n\
                 - {name: dns, port: 53, protocol: UDP, nodePort: 30053}";
    let (lab, _router) = site(ports);
    assert_eq!(
        await_answer(&lab, four(), 80),
        "node=n1 port=30080 client=10.9.0.2\n"
    );
    assert_eq!(
        await_answer(&lab, six(), 80),
        "node=n1 port=30080 client=fd09::2\n"
    );
    assert_eq!(
        await_answer(&lab, four(), 8080),
        "node=n1 port=30081 client=10.9.0.2\n"
    );
    for address in [four(), six()] {
        let probe = lab
            .probe("probe-udp", address, 53, Duration::from_millis(5))
            .unwrap();
        patience::pause(Duration::from_millis(500)).unwrap();
        let record = probe.stop().unwrap();
        assert_eq!(record.lost(), 0, "{address}");
        assert!(record.answered()["n1"] > 50, "{address}");
    }
}

#[test]
fn a_port_that_no_service_has_is_refused_at_once_and_loops_nowhere() {
    let (lab, _router) = site(&tcp(&[(80, 30080)]));
    await_answer(&lab, four(), 80);
    for address in [four(), six()] {
        let url = format!("http://{}/", std::net::SocketAddr::new(address, 81));
        let start = Instant::now();
        let mut command = lab.segment.client.namespace.command("curl");
        command.args(["-sS", "--max-time", "3", &url]);
        let status = command.output().unwrap();
        let words = String::from_utf8_lossy(&status.stderr).into_owned();
        // curl: 7 is "failed to connect", 28 would be a timeout.
        assert_eq!(status.status.code(), Some(7), "{words}");
        assert!(start.elapsed() < Duration::from_millis(1000), "{words}");
    }
}

#[test]
fn source_ranges_let_in_whom_they_name() {
    let ranges = "loadBalancerSourceRanges: [10.9.0.0/24, \"fd09::/64\"]\n";
    let (lab, _router) = site(&(ranges.to_owned() + &tcp(&[(80, 30080)])));
    for address in [four(), six()] {
        await_answer(&lab, address, 80);
        // The client on the segment is in none of the ranges.
        let neighbour = &lab.segment.neighbour.namespace;
        assert_eq!(lab.curl(neighbour, address, 80), None);
    }
}

#[test]
fn a_port_without_a_node_port_is_announced_and_the_reason_given() {
    let ports = "ports:\n- {name: a, port: 80, nodePort: 30080}\n- {name: b, port: 443}";
    let (lab, _router) = site(ports);
    await_answer(&lab, four(), 80);
    let status = lab.status(1).unwrap();
    let refused = status["handOff"]["refusedPorts"].as_array().unwrap();
    // One entry for each of the two addresses.
    assert_eq!(refused.len(), 2, "{refused:?}");
    for port in refused {
        assert_eq!(port["port"], "443/TCP");
        assert_eq!(port["service"], "default/web");
        let reason = port["reason"].as_str().unwrap().to_lowercase();
        assert!(reason.contains("nodeport"), "{reason}");
    }
}

#[test]
fn beside_kube_proxy_nothing_is_handed_over_and_the_reason_given() {
    let mut lab = prepared(&tcp(&[(80, 30080)]));
    let node = &lab.segment.nodes[0].namespace;
    node.run("nft add table ip kube-proxy").unwrap();
    let _router = started(&mut lab);
    patience::until("the reason in the status", SOON, || {
        let status = lab.status(1).unwrap();
        let reason = status["handOff"]["reason"].as_str().unwrap_or_default();
        status["handOff"]["state"] == "refused" && reason.contains("kube-proxy")
    })
    .unwrap();
    let node = &lab.segment.nodes[0].namespace;
    assert!(node.run(TABLE).is_err());
    assert_eq!(
        node.run("nft list tables").unwrap().trim(),
        "table ip kube-proxy"
    );
}

#[test]
fn a_restart_keeps_the_table_serving_and_foreign_tables_are_not_touched() {
    let mut lab = prepared(&tcp(&[(80, 30080)]));
    let node = &lab.segment.nodes[0].namespace;
    node.run("nft add table inet somebody").unwrap();
    node.run("nft add chain inet somebody else").unwrap();
    let foreign = node.run("nft list table inet somebody").unwrap();
    let _router = started(&mut lab);
    await_answer(&lab, four(), 80);

    lab.speaker(1).unwrap().terminate(SOON).unwrap();
    let node = &lab.segment.nodes[0].namespace;
    assert!(node.run(TABLE).unwrap().contains("198.51.100.0"));
    lab.start_speaker(1).unwrap();
    await_answer(&lab, four(), 80);
    let node = &lab.segment.nodes[0].namespace;
    assert_eq!(node.run("nft list table inet somebody").unwrap(), foreign);
}

#[test]
fn i9_a_node_that_is_excluded_takes_its_table_along_when_its_speaker_stops() {
    let (mut lab, _router) = site(&tcp(&[(80, 30080)]));
    await_answer(&lab, four(), 80);
    let label = "labels: {node.kubernetes.io/exclude-from-external-load-balancers: \"\"}";
    let node = format!("apiVersion: v1\nkind: Node\nmetadata:\n  name: n1\n  {label}\n");
    lab.manifest("node.yaml", &node).unwrap();
    let node = &lab.segment.nodes[0].namespace;
    patience::until("an empty hand-off", SOON, || {
        !node.run(TABLE).unwrap_or_default().contains("198.51.100.0")
    })
    .unwrap();
    lab.speaker(1).unwrap().terminate(SOON).unwrap();
    let node = &lab.segment.nodes[0].namespace;
    assert_eq!(node.run("nft list tables").unwrap(), "");
}

#[test]
fn a_service_that_changes_or_goes_takes_its_ports_with_it() {
    let (lab, _router) = site(&tcp(&[(80, 30080)]));
    await_answer(&lab, four(), 80);
    let moved = "ipFamilyPolicy: RequireDualStack\n".to_owned() + &tcp(&[(8080, 30081)]);
    lab.manifest("web.yaml", &service("web", &moved)).unwrap();
    assert!(await_answer(&lab, four(), 8080).contains("port=30081"));
    let client = &lab.segment.client.namespace;
    patience::until("port 80 to close", SOON, || {
        lab.curl(client, four(), 80).is_none()
    })
    .unwrap();

    lab.remove_manifest("web.yaml").unwrap();
    let node = &lab.segment.nodes[0].namespace;
    patience::until("an empty hand-off", SOON, || {
        !node.run(TABLE).unwrap_or_default().contains("198.51.100.0")
    })
    .unwrap();
}
