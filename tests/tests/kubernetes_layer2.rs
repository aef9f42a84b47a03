//! List B of the compatibility checklist: layer 2 in a cluster, from objects of the API server to who
//! answers ARP and NDP on the segment and which pod answers the client there.
//!
//! All proofs share one site of three nodes with a pod each; their numbers are those of the list.
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::net::IpAddr;
use std::time::Duration;

use ferrolb_crds::api::{Kind, SERVICE_L2_STATUS};
use ferrolb_tests::kubernetes::product;
use ferrolb_tests::kubernetes::site::{Answer, PORT, SOON, Site, Visit};
use ferrolb_tests::patience;
use ferrolb_tests::process::output;
use serde_json::{Value, json};

const NODES: [&str; 3] = ["n1", "n2", "n3"];
const FOUR: &str = "192.168.1.240-192.168.1.249";
const SIX: &str = "fd00:1::240-fd00:1::249";
const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// A pool of both families, and these L2Advertisements of it.
fn visit(advertisements: &[(&str, Value)]) -> Visit {
    let site = Site::visit();
    site.put(
        Kind::IpAddressPool,
        "pool",
        json!({"addresses": [FOUR, SIX]}),
    );
    for (name, spec) in advertisements {
        site.put(Kind::L2Advertisement, name, spec.clone());
    }
    site
}

fn everywhere() -> [(&'static str, Value); 1] {
    [("all", json!({}))]
}

fn number(node: &str) -> usize {
    node.trim_start_matches('n').parse().unwrap()
}

fn pod_of(node: &str) -> String {
    format!("web-{}", number(node))
}

/// The node that is none of these.
fn third(one: &str, two: &str) -> &'static str {
    let mut nodes = NODES.into_iter();
    nodes.find(|node| ![one, two].contains(node)).unwrap()
}

fn local() -> Value {
    json!({"spec": {"externalTrafficPolicy": "Local"}})
}

fn six() -> Value {
    json!({"spec": {"ipFamilies": ["IPv6"]}})
}

fn labelled(key: &str, value: &str) -> Value {
    json!({"metadata": {"labels": {key: value}}})
}

fn matching(key: &str, value: &str) -> Value {
    json!({"matchLabels": {key: value}})
}

fn preferring(key: &str, value: &str, weight: u32) -> Value {
    json!({"weight": weight, "preference": matching(key, value)})
}

fn host(node: &str) -> Value {
    matching("kubernetes.io/hostname", node)
}

/// The segment's client is answered.
fn await_service(site: &Site, address: IpAddr) -> Answer {
    site.await_answer(site.neighbour(), address, |_| true)
}

/// A Service without anything special, and who came to hold its address.
fn held(site: &Site, name: &str, more: Value) -> (IpAddr, String) {
    site.service(name, more);
    let address = site.address(name);
    let holder = site.the_one_holder(address);
    await_service(site, address);
    (address, holder)
}

/// The node that the only status names, once there is one of a node as wanted.
fn await_status(site: &Site, service: &str, is_wanted: impl Fn(&Value) -> bool) {
    let mut seen = Vec::new();
    let outcome = patience::until("a ServiceL2Status", SOON, || {
        seen = site.reports(SERVICE_L2_STATUS, service);
        matches!(&seen[..], [only] if is_wanted(&only["status"]))
    });
    outcome.unwrap_or_else(|error| panic!("{error:#}: {seen:#?}"));
}

#[test]
fn b1_with_policy_cluster_one_node_answers_and_every_pod_is_reached() {
    let site = visit(&everywhere());
    let (address, _) = held(&site, "b1", json!({}));
    for pod in ["web-1", "web-2", "web-3"] {
        site.await_answer(site.neighbour(), address, |answer| answer.pod == pod);
    }
    site.service("b1-six", six());
    let address = site.address("b1-six");
    site.the_one_holder(address);
    await_service(&site, address);
}

#[test]
fn b2_the_status_and_the_event_name_the_holder_and_the_status_goes_with_the_service() {
    let site = visit(&everywhere());
    let (address, holder) = held(&site, "b2", json!({}));
    await_status(&site, "b2", |status| status["node"] == holder.as_str());
    let is_told = || site.announced_by("b2") == [holder.as_str()];
    patience::until("the event", SOON, is_told).unwrap();
    site.remove_service("b2");
    let is_gone = || site.reports(SERVICE_L2_STATUS, "b2").is_empty();
    patience::until("the status to go", SOON, is_gone).unwrap();
    site.await_silence(address);
}

/// Nodes that count a Service as announced at layer 2.
fn counting(site: &Site, service: &str) -> Vec<&'static str> {
    let labels = format!("protocol=\"layer2\",service=\"default/{service}\"");
    let counts = |node: &&str| {
        let from = &site.cluster.node(number(node)).namespace;
        let mut command = from.command("curl");
        command.args(["-sS", "--max-time", "2", "http://127.0.0.1:9120/metrics"]);
        let text = output(&mut command).unwrap();
        let mut lines = text.lines();
        lines.any(|line| line.starts_with("metallb_speaker_announced{") && line.contains(&labels))
    };
    NODES.into_iter().filter(counts).collect()
}

/// In MetalLB the election is one of nodes, so that it does not matter which links they have.
#[test]
fn b2_b36_a_link_that_leads_nowhere_gives_a_node_no_share_of_an_address() {
    let selecting = |key: &str| json!({"serviceSelectors": [matching(key, "yes")]});
    let mut site = visit(&[("one", selecting("one")), ("two", selecting("two"))]);
    site.add_own_links();
    let labels = json!({"metadata": {"labels": {"one": "yes", "two": "yes"}}});
    let (address, holder) = held(&site, "own", labels);
    let is_one = |site: &Site| {
        let reports = site.reports(SERVICE_L2_STATUS, "own");
        let nodes: Vec<_> = reports.iter().map(|it| &it["status"]["node"]).collect();
        nodes == [holder.as_str()] && counting(site, "own") == [holder.as_str()]
    };
    patience::until("one node to report and count", SOON, || is_one(&site)).unwrap();
    let span = Duration::from_secs(3);
    patience::throughout("one node to report and count", span, || is_one(&site)).unwrap();
    assert_eq!(site.announced_by("own"), [holder.as_str()]);
    site.kill_speaker(number(&holder));
    let second = site.await_other_holder(address, &holder);
    await_status(&site, "own", |status| status["node"] == second.as_str());
    assert_eq!(site.announced_by("own"), [holder, second]);
}

#[test]
fn b3_with_policy_local_the_pod_of_the_holder_answers_and_who_loses_it_hands_over() {
    let site = visit(&everywhere());
    let (address, holder) = held(&site, "b3", local());
    let client: IpAddr = "192.168.1.200".parse().unwrap();
    for _ in 0..5 {
        let answer = await_service(&site, address);
        let pod = pod_of(&holder);
        assert_eq!(answer, Answer { pod, client });
    }
    let (_, others) = split(&holder);
    site.serve_from(&others);
    let next = site.await_other_holder(address, &holder);
    let pod = pod_of(&next);
    let is_its_own = |answer: &Answer| answer.pod == pod && answer.client == client;
    site.await_answer(site.neighbour(), address, is_its_own);
    site.serve_from(&[]);
    site.await_silence(address);
}

/// A node's number, and those of the others.
fn split(node: &str) -> (usize, Vec<usize>) {
    let own = number(node);
    (own, (1..=3).filter(|other| *other != own).collect())
}

#[test]
fn b4_one_service_takes_tcp_and_udp() {
    let site = visit(&everywhere());
    let udp = json!({"name": "u", "protocol": "UDP", "port": 81, "targetPort": PORT});
    let tcp = json!({"name": "t", "protocol": "TCP", "port": 80, "targetPort": PORT});
    let ports = json!({"spec": {"ports": [tcp, udp]}});
    let (address, _) = held(&site, "b4", ports);
    let lab = &site.cluster.lab;
    let (echo, _) = patience::eventually("an echo", SOON, || {
        Ok(lab.datagram(site.neighbour(), address, 81))
    })
    .unwrap();
    assert!(echo.starts_with("web-"), "{echo}");
}

/// The address need not return with the network: who holds it then may keep it.
#[test]
fn b5_an_address_leaves_a_node_whose_network_is_unavailable() {
    let site = visit(&everywhere());
    let (address, holder) = held(&site, "b5", json!({}));
    site.mark_network(&holder, true);
    let other = site.await_other_holder(address, &holder);
    await_service(&site, address);
    await_status(&site, "b5", |status| status["node"] == other.as_str());
    site.mark_network(&holder, false);
    stays(&site, address, &other);
}

/// Deliberately different from MetalLB: the address does not return when the label is gone.
#[test]
fn b6_an_address_leaves_a_node_that_is_excluded_by_label() {
    let site = visit(&everywhere());
    let (address, holder) = held(&site, "b6", json!({}));
    site.label(&holder, EXCLUDE, Some(""));
    let other = site.await_other_holder(address, &holder);
    await_service(&site, address);
    site.label(&holder, EXCLUDE, None);
    stays(&site, address, &other);
}

/// The address stays with who holds it, whoever returns, and no request is left without an answer.
fn stays(site: &Site, address: IpAddr, holder: &str) {
    patience::throughout("the answers", Duration::from_millis(1500), || {
        site.ask(site.neighbour(), address).is_some()
    })
    .unwrap();
    assert_eq!(site.the_one_holder(address), holder);
}

#[test]
fn b7_b8_a_pool_may_be_a_range_or_a_prefix() {
    let site = visit(&everywhere());
    let pools = [
        ("range", "192.168.1.230-192.168.1.231"),
        ("prefix", "192.168.1.224/30"),
    ];
    for (name, addresses) in pools {
        site.put(Kind::IpAddressPool, name, json!({"addresses": [addresses]}));
        let (address, _) = held(&site, name, of_pool(name));
        let text = address.to_string();
        let first = addresses.split(['-', '/']).next().unwrap();
        assert_eq!(text, first);
    }
}

fn of_pool(pool: &str) -> Value {
    json!({"metadata": {"annotations": {"metallb.io/address-pool": pool}}})
}

#[test]
fn b9_b10_who_shares_an_address_is_announced_from_the_same_node() {
    let site = visit(&everywhere());
    for (family, more) in [("four", json!({})), ("six", six())] {
        let mut addresses = Vec::new();
        for port in [80, 81] {
            let mut more = more.clone();
            more["metadata"]["annotations"] = json!({"metallb.io/allow-shared-ip": family});
            more["spec"]["ports"] = json!([{"port": port, "targetPort": PORT}]);
            let name = format!("{family}-{port}");
            site.service(&name, more);
            addresses.push(site.address(&name));
        }
        assert_eq!(addresses[0], addresses[1]);
        let holder = site.the_one_holder(addresses[0]);
        for port in [80, 81] {
            let name = format!("{family}-{port}");
            let is_told = || site.announced_by(&name) == [holder.as_str()];
            patience::until("the event", SOON, is_told).unwrap();
            let body = || site.cluster.lab.curl(site.neighbour(), addresses[0], port);
            patience::until("an answer", SOON, || body().is_some()).unwrap();
        }
    }
}

#[test]
fn b13_to_b16_a_pool_that_is_asked_for_gives_the_address_and_nothing_moves_it() {
    let site = visit(&everywhere());
    let families = [
        ("four", "192.168.1.23", json!({})),
        ("six", "fd00:1::23", six()),
    ];
    for (family, prefix, more) in families {
        for (digit, auto_assign) in [(0, true), (1, false)] {
            let pool = format!("{family}-{auto_assign}");
            let first = format!("{prefix}{digit}");
            let spec = json!({
                "addresses": [format!("{first}-{first}")], "autoAssign": auto_assign,
            });
            site.put(Kind::IpAddressPool, &pool, spec);
            let mut more = more.clone();
            more["metadata"] = of_pool(&pool)["metadata"].take();
            let (address, _) = held(&site, &pool, more);
            assert_eq!(address.to_string(), first);
            let path = format!("/api/v1/namespaces/default/services/{pool}");
            let annotations = site.plane().get(&path).unwrap()["metadata"]["annotations"].take();
            assert_eq!(
                annotations["metallb.io/ip-allocated-from-pool"],
                pool.as_str()
            );
        }
    }
    // A later pool and a later Service change nothing for the earlier ones.
    site.put(
        Kind::IpAddressPool,
        "later",
        json!({"addresses": ["192.168.1.220/31"]}),
    );
    held(&site, "later", of_pool("later"));
    for (pool, address) in [
        ("four-true", "192.168.1.230"),
        ("four-false", "192.168.1.231"),
        ("six-true", "fd00:1::230"),
        ("six-false", "fd00:1::231"),
    ] {
        assert_eq!(site.address(pool).to_string(), address);
        await_service(&site, site.address(pool));
    }
}

/// Only these places answer, and the client is served through them.
fn await_places(site: &Site, address: IpAddr, interfaces: &[&str], node: Option<&str>) {
    let what = format!("{address} to be answered for on {interfaces:?} of {node:?}");
    let mut seen = Vec::new();
    let outcome = patience::until(&what, SOON, || {
        seen = site.answerers(address);
        let same_node = |place: &(String, &str)| place.0 == node.unwrap_or(&seen[0].0);
        let names = seen.iter().map(|place| place.1);
        names.eq(interfaces.iter().copied()) && seen.iter().all(same_node)
    });
    outcome.unwrap_or_else(|error| panic!("{error:#}: {seen:?}"));
    if !interfaces.is_empty() {
        await_service(site, address);
    }
}

#[test]
fn b17_b18_b19_the_interfaces_of_an_advertisement_are_those_that_answer_and_are_reported() {
    let mut site = visit(&[("all", json!({"interfaces": ["eth1"]}))]);
    site.add_links();
    site.service("b17", json!({}));
    let address = site.address("b17");
    await_places(&site, address, &["eth1"], None);
    await_status(&site, "b17", |status| {
        status["interfaces"] == json!([{"name": "eth1"}])
    });
    site.put(
        Kind::L2Advertisement,
        "all",
        json!({"interfaces": ["eth0"]}),
    );
    await_places(&site, address, &["eth0"], None);
    await_status(&site, "b17", |status| {
        status["interfaces"] == json!([{"name": "eth0"}])
    });
    site.service("b17-six", six());
    let address = site.address("b17-six");
    await_places(&site, address, &["eth0"], None);
}

#[test]
fn b20_an_interface_that_does_not_exist_is_not_answered_on_and_told_of() {
    let site = visit(&[("all", json!({"interfaces": ["eth7"]}))]);
    site.service("b20", json!({}));
    let address = site.address("b20");
    let is_told = || {
        let events = product::events(site.plane(), "default", "b20").unwrap();
        let mut failed = events
            .iter()
            .filter(|(reason, _)| reason == "announceFailed");
        failed.any(|(_, message)| message.contains("eth7"))
    };
    patience::until("the event", SOON, is_told).unwrap();
    site.await_silence(address);
    assert!(site.reports(SERVICE_L2_STATUS, "b20").is_empty());
}

#[test]
fn b21_two_advertisements_of_a_pool_mean_the_interfaces_of_both() {
    let mut site = visit(&[
        ("one", json!({"interfaces": ["eth0"]})),
        ("two", json!({"interfaces": ["eth1"]})),
    ]);
    site.add_links();
    site.service("b21", json!({}));
    let address = site.address("b21");
    await_places(&site, address, &["eth0", "eth1"], None);
    let both = json!([{"name": "eth0"}, {"name": "eth1"}]);
    await_status(&site, "b21", |status| status["interfaces"] == both);
    site.remove(Kind::L2Advertisement, "one");
    await_places(&site, address, &["eth1"], None);
}

#[test]
fn b22_an_advertisement_may_choose_nodes_and_interfaces() {
    let on = |node: &str, interface: &str| json!({"nodeSelectors": [host(node)], "interfaces": [interface]});
    let mut site = visit(&[("one", on("n2", "eth1"))]);
    site.add_links();
    site.service("b22", json!({}));
    let address = site.address("b22");
    await_places(&site, address, &["eth1"], Some("n2"));
    site.put(Kind::L2Advertisement, "one", on("n3", "eth0"));
    await_places(&site, address, &["eth0"], Some("n3"));
}

#[test]
fn b23_a_service_of_another_class_gets_no_address_and_one_that_brings_it_no_answer() {
    let site = visit(&everywhere());
    let class = json!({"spec": {"loadBalancerClass": "somebody.else/lb"}});
    site.service("b23", class);
    let address: IpAddr = "192.168.1.249".parse().unwrap();
    site.plane()
        .write_ingress("default", "b23", &[address])
        .unwrap();
    // One that comes later is served by then.
    held(&site, "b23-own", json!({}));
    assert_eq!(site.addresses("b23", 1), [address]);
    assert!(site.answerers(address).is_empty());
    assert!(
        product::events(site.plane(), "default", "b23")
            .unwrap()
            .is_empty()
    );
}

#[test]
fn b24_an_advertisement_may_select_one_node() {
    let site = visit(&[("one", json!({"nodeSelectors": [host("n1")]}))]);
    site.service("b24", json!({}));
    let address = site.address("b24");
    for node in NODES {
        let selectors = json!({"nodeSelectors": [host(node)]});
        site.put(Kind::L2Advertisement, "one", selectors);
        site.await_holder(address, node);
        await_service(&site, address);
    }
}

#[test]
fn b25_two_advertisements_select_two_nodes_of_which_one_with_an_endpoint_answers() {
    let site = visit(&[
        ("one", json!({"nodeSelectors": [host("n1")]})),
        ("two", json!({"nodeSelectors": [host("n2")]})),
    ]);
    site.service("b25", local());
    let address = site.address("b25");
    let holder = site.the_one_holder(address);
    assert_ne!(holder, "n3");
    for (pods, node) in [([1, 3], "n1"), ([2, 3], "n2")] {
        site.serve_from(&pods);
        site.await_holder(address, node);
        let pod = pod_of(node);
        site.await_answer(site.neighbour(), address, |answer| answer.pod == pod);
    }
    site.serve_from(&[3]);
    site.await_silence(address);
}

#[test]
fn b26_a_node_that_gets_the_label_announces() {
    let racks = json!({"nodeSelectors": [matching("rack", "a")]});
    let site = visit(&[("rack", racks)]);
    site.service("b26", json!({}));
    let address = site.address("b26");
    site.await_silence(address);
    site.label("n3", "rack", Some("a"));
    site.await_holder(address, "n3");
    site.label("n2", "rack", Some("a"));
    site.label("n3", "rack", None);
    site.await_holder(address, "n2");
    await_service(&site, address);
}

fn gold(weight: u32) -> Value {
    json!({"preferredNodeSelectors": [preferring("tier", "gold", weight)]})
}

#[test]
fn b27_b28_a_preferred_node_holds_the_address_and_without_one_it_is_as_if_none_were_preferred() {
    let site = visit(&everywhere());
    let (address, baseline) = held(&site, "b27", json!({}));
    site.put(Kind::L2Advertisement, "all", gold(50));
    // Nobody is preferred yet.
    patience::pause(Duration::from_millis(500)).unwrap();
    site.await_holder(address, &baseline);
    let (_, others) = split(&baseline);
    let preferred = format!("n{}", others[0]);
    site.label(&preferred, "tier", Some("gold"));
    site.await_holder(address, &preferred);
    await_service(&site, address);
    // Deliberately different from MetalLB: there is no reason to move.
    site.label(&preferred, "tier", None);
    stays(&site, address, &preferred);
}

/// Deliberately different from MetalLB: the preferred node does not reclaim it when it returns.
#[test]
fn b29_an_address_leaves_a_preferred_node_that_takes_no_traffic() {
    let site = visit(&[("all", gold(100))]);
    site.label("n2", "tier", Some("gold"));
    site.service("b29", json!({}));
    let address = site.address("b29");
    site.await_holder(address, "n2");
    await_service(&site, address);
    site.label("n2", EXCLUDE, Some(""));
    let other = site.await_other_holder(address, "n2");
    await_service(&site, address);
    site.label("n2", EXCLUDE, None);
    stays(&site, address, &other);
}

#[test]
fn b30_another_preference_elects_another_node() {
    let prefer = |node: &str| {
        let preference = json!({"weight": 10, "preference": host(node)});
        json!({"preferredNodeSelectors": [preference]})
    };
    let site = visit(&[("all", prefer("n1"))]);
    site.service("b30", json!({}));
    let address = site.address("b30");
    for node in ["n1", "n3", "n2"] {
        site.put(Kind::L2Advertisement, "all", prefer(node));
        site.await_holder(address, node);
        await_service(&site, address);
    }
}

#[test]
fn b31_b32_preference_orders_only_those_that_are_selected() {
    let of = |nodes: &[&str], preferred: &[(&str, u32)]| {
        let selectors: Vec<Value> = nodes.iter().map(|node| host(node)).collect();
        let preferences: Vec<Value> = preferred
            .iter()
            .map(|(node, weight)| json!({"weight": weight, "preference": host(node)}))
            .collect();
        json!({"nodeSelectors": selectors, "preferredNodeSelectors": preferences})
    };
    let site = visit(&[("all", of(&["n1", "n2"], &[("n3", 100), ("n2", 1)]))]);
    site.service("b31", json!({}));
    let address = site.address("b31");
    site.await_holder(address, "n2");
    site.put(
        Kind::L2Advertisement,
        "all",
        of(&["n1", "n2"], &[("n3", 100), ("n1", 1)]),
    );
    site.await_holder(address, "n1");
    // What is selected and what is preferred have nothing in common.
    site.put(
        Kind::L2Advertisement,
        "all",
        of(&["n2"], &[("n1", 100), ("n3", 100)]),
    );
    site.await_holder(address, "n2");
    await_service(&site, address);
}

#[test]
fn b33_the_weights_of_several_advertisements_add_up() {
    let prefer = |node: &str, weight: u32| {
        let preference = json!({"weight": weight, "preference": host(node)});
        json!({"preferredNodeSelectors": [preference]})
    };
    let site = visit(&[("one", prefer("n1", 60)), ("two", prefer("n3", 40))]);
    site.service("b33", json!({}));
    let address = site.address("b33");
    site.await_holder(address, "n1");
    site.put(Kind::L2Advertisement, "three", prefer("n3", 30));
    site.await_holder(address, "n3");
    site.remove(Kind::L2Advertisement, "three");
    site.await_holder(address, "n1");
    await_service(&site, address);
}

#[test]
fn b34_a_preference_is_for_the_services_that_its_advertisement_selects() {
    let site = visit(&everywhere());
    let (one, of_one) = held(&site, "b34-one", labelled("tier", "gold"));
    let (two, of_two) = held(&site, "b34-two", json!({}));
    let preferred = third(&of_one, &of_two);
    let preference = json!({"weight": 100, "preference": host(preferred)});
    let spec = json!({
        "serviceSelectors": [matching("tier", "gold")],
        "preferredNodeSelectors": [preference],
    });
    site.put(Kind::L2Advertisement, "gold", spec);
    site.await_holder(one, preferred);
    assert_eq!(site.the_one_holder(two), of_two);
    await_service(&site, one);
    await_service(&site, two);
}

#[test]
fn b35_only_services_that_an_advertisement_selects_are_announced_whatever_their_labels_become() {
    let selector = json!({
        "ipAddressPools": ["pool"], "serviceSelectors": [matching("tier", "gold")],
    });
    let site = visit(&[("gold", selector)]);
    let (chosen, _) = held(&site, "b35-one", labelled("tier", "gold"));
    site.service("b35-two", labelled("tier", "iron"));
    let other = site.address("b35-two");
    site.put(
        Kind::IpAddressPool,
        "another",
        json!({"addresses": ["192.168.1.230/32"]}),
    );
    let mut elsewhere = of_pool("another");
    elsewhere["metadata"]["labels"] = json!({"tier": "gold"});
    site.service("b35-three", elsewhere);
    let elsewhere = site.address("b35-three");
    assert!(site.answerers(other).is_empty());
    site.change_service("b35-two", &labelled("tier", "gold"));
    site.the_one_holder(other);
    await_service(&site, other);
    assert!(site.answerers(elsewhere).is_empty());
    site.change_service("b35-one", &labelled("tier", "iron"));
    site.await_silence(chosen);
}

#[test]
fn b36_a_service_that_two_advertisements_select_is_announced_from_one_node() {
    let selecting = |key: &str| json!({"serviceSelectors": [matching(key, "yes")]});
    let site = visit(&[("one", selecting("one")), ("two", selecting("two"))]);
    let labels = json!({"metadata": {"labels": {"one": "yes", "two": "yes"}}});
    let (_, holder) = held(&site, "b36", labels);
    await_status(&site, "b36", |status| status["node"] == holder.as_str());
}

#[test]
fn b37_one_advertisement_has_to_select_both_the_service_and_the_node() {
    let of = |tier: &str, node: &str| json!({"serviceSelectors": [matching("tier", tier)], "nodeSelectors": [host(node)]});
    let site = visit(&[("gold", of("gold", "n7")), ("iron", of("iron", "n1"))]);
    site.service("b37", labelled("tier", "gold"));
    site.service("b37-iron", labelled("tier", "iron"));
    site.await_holder(site.address("b37-iron"), "n1");
    let address = site.address("b37");
    assert!(site.answerers(address).is_empty());
    assert!(site.reports(SERVICE_L2_STATUS, "b37").is_empty());
    site.put(Kind::L2Advertisement, "gold", of("gold", "n2"));
    site.await_holder(address, "n2");
}

#[test]
fn b38_of_several_selectors_one_is_enough() {
    let either = json!({
        "serviceSelectors": [matching("tier", "gold"), matching("team", "red")],
    });
    let site = visit(&[("either", either)]);
    held(&site, "b38-one", labelled("tier", "gold"));
    held(&site, "b38-two", labelled("team", "red"));
    site.service("b38-three", labelled("team", "blue"));
    let address = site.address("b38-three");
    // The last of them was told of by now.
    held(&site, "b38-four", labelled("tier", "gold"));
    assert!(site.answerers(address).is_empty());
}

/// Deliberately different from MetalLB: the address does not return with the speaker.
#[test]
fn b39_an_address_leaves_a_node_whose_speaker_ends_or_is_killed() {
    let mut site = visit(&everywhere());
    let (address, holder) = held(&site, "b39", json!({}));
    site.stop_speaker(number(&holder));
    let second = site.await_other_holder(address, &holder);
    await_service(&site, address);
    await_status(&site, "b39", |status| status["node"] == second.as_str());
    site.kill_speaker(number(&second));
    let third = third(&holder, &second);
    site.await_holder(address, third);
    await_service(&site, address);
    await_status(&site, "b39", |status| status["node"] == third);
    site.start_speaker(number(&holder));
    site.start_speaker(number(&second));
    stays(&site, address, third);
}
