//! Traffic in a cluster: requests of a client on the segment and of one behind the router, answered by
//! pods, whatever the traffic policy, the family, the protocol and the mode of kube-proxy; and what
//! becomes of them when nodes, pools and programs come and go.
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::net::IpAddr;
use std::time::Duration;

use ferrolb_crds::api::{Kind, SERVICE_BGP_STATUS, SERVICE_L2_STATUS};
use ferrolb_tests::kubernetes::cluster::ProxyMode;
use ferrolb_tests::kubernetes::site::{PORT, SOON, Site};
use ferrolb_tests::netns::Namespace;
use ferrolb_tests::patience;
use ferrolb_tests::probe::Record;
use serde_json::{Value, json};

const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// Two pools: one of the segment, announced at layer 2, and one that only routes lead to.
fn site(nodes: u8, mode: ProxyMode) -> Site {
    let mut site = Site::start(nodes, mode);
    site.start_router();
    let pools = [
        ("segment", ["192.168.1.240/29", "fd00:1::240/125"]),
        ("routed", ["198.51.100.0/29", "2001:db8:100::/125"]),
    ];
    for (name, addresses) in pools {
        site.put(Kind::IpAddressPool, name, json!({"addresses": addresses}));
    }
    let of = |pool: &str| json!({"ipAddressPools": [pool]});
    site.put(Kind::L2Advertisement, "segment", of("segment"));
    site.put(Kind::BgpAdvertisement, "routed", of("routed"));
    let peer = json!({
        "myASN": 64500, "peerASN": 64501, "peerAddress": "192.168.1.1",
        "holdTime": "3s", "connectTime": "1s", "dualStackAddressFamily": true,
    });
    site.put(Kind::BgpPeer, "router", peer);
    site
}

/// A Service of a pool with an address of each family, without NodePorts, for TCP and UDP.
fn dual(pool: &str, policy: &str) -> Value {
    json!({
        "metadata": {"annotations": {"metallb.io/address-pool": pool}},
        "spec": {
            "ipFamilyPolicy": "RequireDualStack",
            "externalTrafficPolicy": policy,
            "allocateLoadBalancerNodePorts": false,
            "ports": [
                {"name": "t", "protocol": "TCP", "port": 80, "targetPort": PORT},
                {"name": "u", "protocol": "UDP", "port": 81, "targetPort": PORT},
            ],
        },
    })
}

/// A client with its own addresses, in the families of what it asks.
fn seen_as(site: &Site, from: &Namespace, address: IpAddr) -> IpAddr {
    let segment = &site.cluster.lab.segment;
    let host = [&segment.neighbour, &segment.client]
        .into_iter()
        .find(|host| host.namespace.name() == from.name())
        .unwrap();
    match address {
        IpAddr::V4(_) => host.v4.into(),
        IpAddr::V6(_) => host.v6.into(),
    }
}

#[test]
fn with_kube_proxy_in_nftables_mode_every_kind_of_service_is_reached() {
    every_kind_of_service_is_reached(ProxyMode::Nftables);
}

#[test]
fn with_kube_proxy_in_iptables_mode_every_kind_of_service_is_reached() {
    every_kind_of_service_is_reached(ProxyMode::Iptables);
}

fn every_kind_of_service_is_reached(mode: ProxyMode) {
    let site = site(2, mode);
    for pool in ["segment", "routed"] {
        for policy in ["Cluster", "Local"] {
            let name = format!("{pool}-{}", policy.to_lowercase());
            site.service(&name, dual(pool, policy));
        }
    }
    // The client on the segment finds the routed ones through the router, as any host does.
    for from in [site.neighbour(), site.client()] {
        for pool in ["segment", "routed"] {
            every_pod_answers(&site, from, &format!("{pool}-cluster"));
        }
    }
    only_nodes_with_an_endpoint_take_traffic(&site);
    only_the_sources_of_the_list_are_let_in(&site);
}

fn every_pod_answers(site: &Site, from: &Namespace, service: &str) {
    let spec = site
        .plane()
        .get(&format!("/api/v1/namespaces/default/services/{service}"));
    assert_eq!(spec.unwrap()["spec"]["ports"][0]["nodePort"], Value::Null);
    for address in site.addresses(service, 2) {
        for pod in ["web-1", "web-2"] {
            site.await_answer(from, address, |answer| answer.pod == pod);
            let what = format!("an echo of {pod} from {address}");
            let echo = || site.cluster.lab.datagram(from, address, 81);
            let is_it = |echo: String| echo == format!("{pod} hello");
            patience::until(&what, SOON, || echo().is_some_and(is_it)).unwrap();
        }
    }
}

/// And the pod sees who asks.
fn only_nodes_with_an_endpoint_take_traffic(site: &Site) {
    for number in [1, 2] {
        site.serve_from(&[number]);
        for address in site.addresses("segment-local", 2) {
            site.await_holder(address, &format!("n{number}"));
        }
        for address in site.addresses("routed-local", 2) {
            site.await_next_hops(address, &[number]);
        }
        for address in site.addresses("routed-cluster", 2) {
            site.await_next_hops(address, &[1, 2]);
        }
        for (from, service) in [
            (site.neighbour(), "segment-local"),
            (site.client(), "segment-local"),
            (site.client(), "routed-local"),
        ] {
            for address in site.addresses(service, 2) {
                let client = seen_as(site, from, address);
                let pod = format!("web-{number}");
                for _ in 0..3 {
                    site.await_answer(from, address, |answer| {
                        answer.pod == pod && answer.client == client
                    });
                }
            }
        }
    }
    site.serve_from(&[]);
    for address in site.addresses("segment-local", 2) {
        site.await_silence(address);
    }
    for service in ["routed-local", "routed-cluster"] {
        for address in site.addresses(service, 2) {
            site.await_next_hops(address, &[]);
        }
    }
    site.serve_from(&[1, 2]);
}

fn only_the_sources_of_the_list_are_let_in(site: &Site) {
    let near = json!(["192.168.1.200/32", "fd00:1::200/128"]);
    let far = json!(["10.9.0.0/24", "fd09::/64"]);
    let (neighbour, client) = (site.neighbour(), site.client());
    for service in ["segment-cluster", "segment-local"] {
        let restrict = |ranges: &Value| {
            let spec = json!({"spec": {"loadBalancerSourceRanges": ranges}});
            site.change_service(service, &spec);
        };
        for address in site.addresses(service, 2) {
            site.await_answer(client, address, |_| true);
        }
        for (ranges, in_list, other) in [(&near, neighbour, client), (&far, client, neighbour)] {
            restrict(ranges);
            for address in site.addresses(service, 2) {
                site.await_refusal(other, address);
                site.await_answer(in_list, address, |_| true);
            }
        }
        restrict(&Value::Null);
        for address in site.addresses(service, 2) {
            site.await_answer(neighbour, address, |_| true);
        }
    }
}

/// Every request of both clients is answered.
fn is_well(site: &Site, services: &[&str]) {
    for service in services {
        for address in site.addresses(service, 2) {
            for from in [site.neighbour(), site.client()] {
                site.await_answer(from, address, |_| true);
                for _ in 0..5 {
                    assert!(site.ask(from, address).is_some(), "{service}: {address}");
                }
            }
        }
    }
}

fn await_all_next_hops(site: &Site, service: &str, numbers: &[usize]) {
    for address in site.addresses(service, 2) {
        site.await_next_hops(address, numbers);
    }
}

fn number(node: &str) -> usize {
    node.trim_start_matches('n').parse().unwrap()
}

/// One report for each node that announces, with the peers that it is configured to announce to.
fn reports_name_the_nodes_and_the_peers(site: &Site) {
    let services = [
        ("four", 1, json!({"ipFamilies": ["IPv4"]})),
        ("six", 1, json!({"ipFamilies": ["IPv6"]})),
        ("both", 2, json!({"ipFamilyPolicy": "RequireDualStack"})),
    ];
    let from_pool = json!({"annotations": {"metallb.io/address-pool": "routed"}});
    for (name, count, spec) in &services {
        site.service(name, json!({"metadata": from_pool, "spec": spec}));
        site.addresses(name, *count);
    }
    // Nobody is there, which no report is about.
    let silent = json!({
        "myASN": 64500, "peerASN": 64501, "peerAddress": "192.168.1.99",
        "dualStackAddressFamily": true,
    });
    site.put(Kind::BgpPeer, "silent", silent);
    let say = |nodes: &[&str], peers: &[&str]| {
        let wanted: Vec<Value> = nodes.iter().map(|node| json!([node, peers])).collect();
        for (name, _, _) in &services {
            let mut seen = Vec::new();
            let outcome = patience::until("the reports", SOON, || {
                let reports = site.reports(SERVICE_BGP_STATUS, name).into_iter();
                let reports = reports.map(|report| report["status"].clone());
                seen = reports
                    .map(|status| json!([status["node"], status["peers"]]))
                    .collect();
                seen.sort_by_key(Value::to_string);
                seen == wanted
            });
            outcome.unwrap_or_else(|error| panic!("{error:#}: {name}: {seen:?}"));
        }
    };
    let all = ["n1", "n2", "n3"];
    say(&all, &["router", "silent"]);
    site.remove(Kind::BgpPeer, "silent");
    say(&all, &["router"]);
    let advertise = |more: Value| {
        let mut spec = json!({"ipAddressPools": ["routed"]});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        site.put(Kind::BgpAdvertisement, "routed", spec);
    };
    advertise(json!({"peers": ["router", "unknown"]}));
    say(&all, &["router"]);
    let one = json!([{"matchLabels": {"kubernetes.io/hostname": "n2"}}]);
    advertise(json!({"nodeSelectors": one}));
    say(&["n2"], &["router"]);
    advertise(json!({"peers": ["unknown"]}));
    say(&[], &[]);
    advertise(json!({}));
    say(&all, &["router"]);
    for (name, _, _) in &services {
        site.remove_service(name);
    }
    say(&[], &[]);
}

#[test]
fn f12_f34_to_f36_nodes_come_and_go_and_are_excluded_and_the_others_take_the_traffic() {
    let mut site = site(3, ProxyMode::Nftables);
    reports_name_the_nodes_and_the_peers(&site);
    let services = ["near", "far"];
    site.service("near", dual("segment", "Cluster"));
    site.service("far", dual("routed", "Cluster"));
    let near = site.addresses("near", 2);
    await_all_next_hops(&site, "far", &[1, 2, 3]);
    is_well(&site, &services);

    // A node is added, and has the only endpoint.
    let added = site.cluster.add_node().unwrap();
    site.run_pod(added);
    site.start_speaker(added);
    await_all_next_hops(&site, "far", &[1, 2, 3, 4]);
    is_well(&site, &services);
    site.change_service("near", &json!({"spec": {"externalTrafficPolicy": "Local"}}));
    site.serve_from(&[added]);
    for address in &near {
        site.await_holder(*address, "n4");
        let answer = site.await_answer(site.neighbour(), *address, |_| true);
        assert_eq!(answer.pod, "web-4");
    }
    site.change_service(
        "near",
        &json!({"spec": {"externalTrafficPolicy": "Cluster"}}),
    );
    site.serve_from(&[1, 2, 3, 4]);
    is_well(&site, &services);

    // Whoever holds the address is to take no traffic, for two reasons.
    let exclude = |site: &Site, node: &str, on: bool| {
        site.label(node, EXCLUDE, on.then_some("true"));
    };
    type Mark = fn(&Site, &str, bool);
    let marks: [Mark; 2] = [exclude, Site::mark_network];
    for mark in marks {
        let holder = site.the_one_holder(near[0]);
        let others: Vec<usize> = (1..=4).filter(|one| *one != number(&holder)).collect();
        mark(&site, &holder, true);
        site.await_other_holder(near[0], &holder);
        await_all_next_hops(&site, "far", &others);
        is_well(&site, &services);
        mark(&site, &holder, false);
        await_all_next_hops(&site, "far", &[1, 2, 3, 4]);
        // It may move back, which a request under way may not outlive.
        near.iter()
            .for_each(|address| drop(site.the_one_holder(*address)));
        is_well(&site, &services);
    }

    // A node is removed, with everything on it.
    let holder = site.the_one_holder(near[0]);
    let removed = number(&holder);
    let pod = format!("web-{removed}");
    site.cluster.remove("default", &pod).unwrap();
    site.kill_speaker(removed);
    site.cluster.remove_node(removed).unwrap();
    let others: Vec<usize> = (1..=4).filter(|one| *one != removed).collect();
    await_all_next_hops(&site, "far", &others);
    for address in &near {
        assert_ne!(site.the_one_holder(*address), holder);
    }
    is_well(&site, &services);
    let reports = || site.reports(SERVICE_L2_STATUS, "near");
    let is_forgotten = || {
        reports()
            .iter()
            .all(|one| one["status"]["node"] != holder.as_str())
    };
    patience::until("its report to go", SOON, is_forgotten).unwrap();
}

/// Requests of the client behind the router to both addresses of both Services, 50 a second each,
/// while something happens.
fn watched(site: &mut Site, event: impl FnOnce(&mut Site)) -> Vec<(IpAddr, Record)> {
    let every = Duration::from_millis(20);
    let services = ["near", "far"];
    let addresses: Vec<IpAddr> = services
        .iter()
        .flat_map(|service| site.addresses(service, 2))
        .collect();
    is_well(site, &services);
    let lab = &site.cluster.lab;
    let probes: Vec<_> = addresses
        .iter()
        .map(|address| lab.probe("probe-http", *address, 80, every).unwrap())
        .collect();
    patience::pause(Duration::from_millis(500)).unwrap();
    event(site);
    patience::pause(Duration::from_secs(1)).unwrap();
    let records = probes.into_iter().map(|probe| probe.stop().unwrap());
    let records: Vec<_> = addresses.into_iter().zip(records).collect();
    for (address, record) in &records {
        assert!(record.requests.len() > 50, "{address} was hardly asked");
    }
    records
}

#[test]
fn requests_outlive_restarts_of_the_controller_and_the_speakers_and_a_pool_that_moves() {
    let mut site = site(2, ProxyMode::Nftables);
    site.service("near", dual("segment", "Cluster"));
    site.service("far", dual("routed", "Cluster"));
    await_all_next_hops(&site, "far", &[1, 2]);

    let records = watched(&mut site, |site| {
        site.stop_controller();
        patience::pause(Duration::from_millis(500)).unwrap();
        site.start_controller();
        site.service("later", dual("segment", "Cluster"));
        site.addresses("later", 2);
    });
    for (address, record) in records {
        assert_eq!(record.lost(), 0, "{address}: {record:?}");
    }

    // Each in turn hands over, and takes part again.
    for node in [1, 2] {
        let records = watched(&mut site, |site| {
            site.stop_speaker(node);
            patience::pause(Duration::from_millis(500)).unwrap();
            site.start_speaker(node);
            await_all_next_hops(site, "far", &[1, 2]);
        });
        for (address, record) in records {
            let (lost, outage) = (record.lost(), record.outage());
            assert!(
                outage <= HAND_OVER && lost <= LOST,
                "n{node}: {address}: {lost} lost, {outage:?} without an answer"
            );
        }
    }

    a_pool_that_moves(&site);
}

/// The addresses of both pools change, and the old ones are nobody's.
fn a_pool_that_moves(site: &Site) {
    let old: Vec<IpAddr> = ["near", "far"]
        .iter()
        .flat_map(|service| site.addresses(service, 2))
        .collect();
    let pools = [
        ("segment", ["192.168.1.224/29", "fd00:1::220/125"]),
        ("routed", ["198.51.100.128/29", "2001:db8:100::80/125"]),
    ];
    for (name, addresses) in pools {
        site.put(Kind::IpAddressPool, name, json!({"addresses": addresses}));
    }
    patience::until("other addresses", SOON, || {
        ["near", "far"].iter().all(|service| {
            let addresses = site.addresses(service, 2);
            addresses.iter().all(|address| !old.contains(address))
        })
    })
    .unwrap();
    is_well(site, &["near", "far"]);
    await_all_next_hops(site, "far", &[1, 2]);
    for address in &old[..2] {
        site.await_silence(*address);
    }
    for address in &old[2..] {
        site.await_next_hops(*address, &[]);
    }
    for address in old {
        site.await_refusal(site.client(), address);
    }
}

/// How long an address may go unanswered when a speaker hands over.
const HAND_OVER: Duration = Duration::from_millis(100);

/// How many of some hundred requests may be lost then: those under way when the path changes.
const LOST: usize = 5;
