//! Services, pools, peers and timers as they come and go over BGP. Ids such as `f58` are those of the
//! compatibility checklist (`docs/testing.md`).
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ferrolb_tests::lab::Lab;
use ferrolb_tests::objects::{bgp, layer2, nodes, peer, pool, service, tcp};
use ferrolb_tests::peer::bird::Bird;
use ferrolb_tests::{patience, probe};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);
const ROUTER: &str = "192.168.1.1";
const ROUTER_V6: &str = "fd00:1::1";
const IPV4: &str = "ipFamilies: [IPv4]\n";
const IPV6: &str = "ipFamilies: [IPv6]\n";
const DUAL: &str = "ipFamilyPolicy: RequireDualStack\n";

/// Two nodes, and a router with a session for each node and family.
struct Site {
    lab: Lab,
    router: Bird,
}

impl Site {
    /// Without a pool or a peer; `hold_time` is the router's.
    fn bare(hold_time: u16) -> Self {
        let mut lab = Lab::new(2).unwrap();
        let mut neighbours = lab.neighbours(64501, 64500);
        for node in &lab.segment.nodes {
            let mut session = neighbours[0].clone();
            session.name = format!("{}_v6", node.name);
            session.local = lab.segment.router.v6.into();
            session.remote = node.v6.into();
            neighbours.push(session);
        }
        for neighbour in &mut neighbours {
            neighbour.hold_time = hold_time;
        }
        let router = lab.router(&neighbours).unwrap();
        lab.manifest("nodes.yaml", &nodes(2)).unwrap();
        lab.manifest("bgp.yaml", &bgp("all", "")).unwrap();
        lab.start_controller().unwrap();
        lab.start_speakers().unwrap();
        Self { lab, router }
    }

    /// With a peer for each family, and servers on these NodePorts.
    fn serving(ports: &[u16]) -> Self {
        let mut site = Self::bare(9);
        if !ports.is_empty() {
            site.lab.serve_http(ports).unwrap();
        }
        site.peer("four");
        site.peer("six");
        site
    }

    fn peer(&self, name: &str) {
        let address = if name == "six" { ROUTER_V6 } else { ROUTER };
        let manifest = peer(name, 64501, address, "");
        self.lab
            .manifest(&format!("peer-{name}.yaml"), &manifest)
            .unwrap();
    }

    /// A Service, new or with another spec.
    fn service(&self, name: &str, annotations: &str, spec: &str) {
        let metadata = format!("  name: {name}\n");
        let annotated = format!("{metadata}  annotations: {{{annotations}}}\n");
        let manifest = service(name, spec).replace(&metadata, &annotated);
        self.lab
            .manifest(&format!("{name}.yaml"), &manifest)
            .unwrap();
    }

    /// Waits until exactly these nodes are the next hops of an address.
    #[track_caller]
    fn await_hops(&self, address: IpAddr, numbers: &[usize]) {
        let (length, base) = match address {
            IpAddr::V4(_) => (32, "192.168.1."),
            IpAddr::V6(_) => (128, "fd00:1::"),
        };
        let hops = numbers
            .iter()
            .map(|number| format!("{base}{}", 10 + number));
        let hops: Vec<String> = hops.collect();
        let prefix = format!("{address}/{length}");
        self.lab.await_next_hops(&prefix, &hops, SOON).unwrap();
    }

    /// Who answers the client behind the router.
    fn ask(&self, address: IpAddr, port: u16) -> Option<String> {
        let client = &self.lab.segment.client.namespace;
        probe::node_of(&self.lab.curl(client, address, port)?)
    }

    /// Waits until all of these nodes have answered, and nobody else.
    #[track_caller]
    fn await_answers(&self, address: IpAddr, wanted: &[&str]) {
        let wanted: BTreeSet<String> = wanted.iter().map(|node| (*node).to_owned()).collect();
        let mut seen = BTreeSet::new();
        let what = format!("answers of {address} from {wanted:?}");
        let answered = patience::until(&what, SOON, || {
            seen.extend(self.ask(address, 80));
            seen.len() >= wanted.len()
        });
        answered.unwrap_or_else(|error| panic!("{error:#}: {seen:?}"));
        assert_eq!(seen, wanted, "{address}");
    }

    /// When the sessions of both nodes with a peer came up.
    fn since(&self, peer: &str) -> [Value; 2] {
        [1, 2].map(|node| self.session(node, peer)["since"].clone())
    }

    fn session(&self, node: usize, peer: &str) -> Value {
        let status = self.lab.status(node).unwrap();
        let mut sessions = status["sessions"].as_array().unwrap().iter();
        let found = sessions.find(|session| session["peer"] == peer);
        found.cloned().unwrap_or_default()
    }

    #[track_caller]
    fn await_sessions(&self, peer: &str) {
        let is_up = |node: usize| self.session(node, peer)["state"] == "Established";
        patience::until("the sessions", SOON, || is_up(1) && is_up(2)).unwrap();
    }
}

/// Endpoints of a Service on one node, in both families.
fn slices(name: &str, node: &str) -> String {
    let slice = |family: &str, address: &str| {
        format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  \
             name: {name}-{family}\n  labels: {{kubernetes.io/service-name: {name}}}\n\
             addressType: IPv{family}\nendpoints:\n  - {{addresses: [\"{address}\"], nodeName: {node}}}\n"
        )
    };
    slice("4", "10.244.0.9") + &slice("6", "fd24::9")
}

#[test]
fn f1_to_f5_f13_to_f15_services_are_reached_over_the_nodes_of_their_traffic_policy() {
    let site = Site::serving(&[30080, 30081, 30082, 30083, 30084]);
    let routed = pool("routed", &["198.51.100.0/24", "2001:db8:100::/120"]);
    site.lab.manifest("pool.yaml", &routed).unwrap();
    let asked = ["198.51.100.77", "2001:db8:100::77"];
    let asked_one = format!("metallb.io/loadBalancerIPs: \"{}\"", asked[0]);
    let asked_both = format!("metallb.io/loadBalancerIPs: \"{}\"", asked.join(","));
    let asked_one = asked_one.replace("77", "66");
    let services = [
        ("four", "", IPV4, 30080, 1),
        ("six", "", IPV6, 30081, 1),
        ("dual", "", DUAL, 30082, 2),
        ("asked-one", asked_one.as_str(), IPV4, 30083, 1),
        ("asked-both", asked_both.as_str(), DUAL, 30084, 2),
    ];
    let spec = |families: &str, port: u16, policy: &str| {
        format!(
            "{families}externalTrafficPolicy: {policy}\n{}",
            tcp(&[(80, port)])
        )
    };
    for (name, annotations, families, port, _) in services {
        site.service(name, annotations, &spec(families, port, "Cluster"));
    }
    let mut all = Vec::new();
    for (name, _, _, _, count) in services {
        for address in site.lab.await_addresses(name, count).unwrap() {
            site.await_hops(address, &[1, 2]);
            site.await_answers(address, &["n1", "n2"]);
            all.push((name, address));
        }
    }
    for wanted in ["198.51.100.66", asked[0], asked[1]] {
        let wanted: IpAddr = wanted.parse().unwrap();
        assert!(all.iter().any(|(_, address)| *address == wanted), "{all:?}");
    }
    for node in [1, 2] {
        let name = format!("n{node}");
        for (service, annotations, families, port, _) in &services[..3] {
            let slices = slices(service, &name);
            let file = format!("{service}-slices.yaml");
            site.lab.manifest(&file, &slices).unwrap();
            site.service(service, annotations, &spec(families, *port, "Local"));
        }
        let local = |service: &str| ["four", "six", "dual"].contains(&service);
        for (_, address) in all.iter().filter(|(service, _)| local(service)) {
            site.await_hops(*address, &[node]);
            for _ in 0..3 {
                site.await_answers(*address, &[&name]);
            }
        }
    }
}

#[test]
fn f18_f19_services_that_share_an_address_are_both_reached_until_the_last_is_gone() {
    let site = Site::serving(&[30080, 30081]);
    let routed = pool("routed", &["198.51.100.0/32", "2001:db8:100::/128"]);
    site.lab.manifest("pool.yaml", &routed).unwrap();
    for family in [IPV4, IPV6] {
        let shared = "metallb.io/allow-shared-ip: k";
        for (name, port, node_port) in [("one", 80, 30080), ("two", 81, 30081)] {
            site.service(
                name,
                shared,
                &(family.to_owned() + &tcp(&[(port, node_port)])),
            );
        }
        let [one, two] = ["one", "two"].map(|name| site.lab.await_addresses(name, 1).unwrap());
        assert_eq!(one, two);
        let address = one[0];
        site.await_hops(address, &[1, 2]);
        for port in [80, 81] {
            let answers = || site.ask(address, port).is_some();
            patience::until("an answer", SOON, answers).unwrap();
        }
        site.lab.remove_manifest("one.yaml").unwrap();
        let refuses = || site.ask(address, 80).is_none();
        patience::until("the port to be closed", SOON, refuses).unwrap();
        assert!(site.ask(address, 81).is_some());
        site.await_hops(address, &[1, 2]);
        site.lab.remove_manifest("two.yaml").unwrap();
        site.await_hops(address, &[]);
    }
}

#[test]
fn f20_to_f25_pools_of_ranges_and_of_prefixes_are_announced_in_every_family() {
    let site = Site::serving(&[]);
    let cases = [
        ("range-4", IPV4, ["198.51.100.5-198.51.100.6"].as_slice()),
        ("range-6", IPV6, &["2001:db8:100::5-2001:db8:100::6"]),
        (
            "range-both",
            DUAL,
            &[
                "198.51.100.9-198.51.100.10",
                "2001:db8:100::9-2001:db8:100::a",
            ],
        ),
        ("prefix-4", IPV4, &["198.51.100.16/31"]),
        ("prefix-6", IPV6, &["2001:db8:100::10/127"]),
        (
            "prefix-both",
            DUAL,
            &["198.51.100.32/31", "2001:db8:100::20/127"],
        ),
    ];
    let pools: String = cases
        .iter()
        .map(|(name, _, ranges)| pool(name, ranges))
        .collect();
    site.lab.manifest("pools.yaml", &pools).unwrap();
    for (at, (name, families, _)) in (30080_u16..).zip(cases) {
        let annotation = format!("metallb.io/address-pool: {name}");
        site.service(
            name,
            &annotation,
            &(families.to_owned() + &tcp(&[(80, at)])),
        );
    }
    for ((name, families, _), first) in cases.into_iter().zip([
        ["198.51.100.5", ""],
        ["", "2001:db8:100::5"],
        ["198.51.100.9", "2001:db8:100::9"],
        ["198.51.100.16", ""],
        ["", "2001:db8:100::10"],
        ["198.51.100.32", "2001:db8:100::20"],
    ]) {
        let count = if families == DUAL { 2 } else { 1 };
        let addresses = site.lab.await_addresses(name, count).unwrap();
        let wanted = first.into_iter().flat_map(str::parse::<IpAddr>);
        assert_eq!(addresses, wanted.collect::<Vec<_>>(), "{name}");
        for address in addresses {
            site.await_hops(address, &[1, 2]);
        }
    }
}

#[test]
fn f43_to_f46_peers_pools_and_services_come_one_by_one_and_disturb_nobody() {
    let site = Site::bare(9);
    site.peer("four");
    site.await_sessions("four");
    let four = site.since("four");
    assert!(!site.router.is_established("n1_v6"));
    site.peer("six");
    site.await_sessions("six");
    for session in ["n1", "n2", "n1_v6", "n2_v6"] {
        site.router.await_established(session, SOON).unwrap();
    }
    let six = site.since("six");
    let mut all = Vec::new();
    for (at, number) in (30080_u16..).zip(0..3) {
        let ranges = [
            format!("198.51.100.{number}/32"),
            format!("2001:db8:100::{number}/128"),
        ];
        let pool = pool(&format!("pool-{number}"), &[&ranges[0], &ranges[1]]);
        site.lab
            .manifest(&format!("pool-{number}.yaml"), &pool)
            .unwrap();
        for (name, family) in [("four", IPV4), ("six", IPV6)] {
            let name = format!("{name}-{number}");
            let port = if family == IPV4 { at } else { at + 10 };
            site.service(&name, "", &(family.to_owned() + &tcp(&[(80, port)])));
            all.extend(site.lab.await_addresses(&name, 1).unwrap());
            for address in &all {
                site.await_hops(*address, &[1, 2]);
            }
        }
    }
    assert_eq!(site.since("four"), four);
    assert_eq!(site.since("six"), six);
}

#[test]
fn f73_f74_f75_timers_are_the_peers_or_the_usual_and_follow_an_edit() {
    let site = Site::bare(240);
    let with = |timers: &str| {
        let peer = peer("four", 64501, ROUTER, "");
        let peer = peer.replace("  holdTime: 3s\n  connectTime: 1s\n", timers);
        site.lab.manifest("four.yaml", &peer).unwrap();
    };
    // What is agreed on is the smaller of both.
    let await_hold_time = |seconds: u16| {
        let mut seen = String::new();
        let is_agreed = || {
            seen = site.router.ask("show protocols all n1").unwrap();
            let session = site.session(1, "four");
            let line = seen.lines().find(|line| line.contains("Hold timer:"));
            session["holdTime"] == seconds
                && line.is_some_and(|line| line.ends_with(&format!("/{seconds}")))
        };
        let agreed = patience::until("the hold time", SOON, is_agreed);
        agreed.unwrap_or_else(|error| panic!("{error:#}: {seen}"));
    };
    with("");
    await_hold_time(90);
    with("  holdTime: 57s\n  keepaliveTime: 13s\n");
    await_hold_time(57);
    with("  holdTime: 180s\n  connectTime: 4s\n");
    await_hold_time(180);
    let before = site.since("four");
    // It is told to the second.
    patience::pause(Duration::from_millis(1100)).unwrap();
    site.router.ask("restart n1").unwrap();
    let is_back = || site.router.is_established("n1") && site.since("four")[0] != before[0];
    let took = patience::until("the session to be back", SOON, is_back).unwrap();
    assert!(
        took < Duration::from_secs(8),
        "{took:?}: twice the connect time"
    );
    assert_eq!(site.since("four")[1], before[1]);
}

#[test]
fn f76_f77_a_service_goes_by_both_protocols_as_advertisements_come_and_go() {
    let site = Site::serving(&[30080]);
    let segment = pool("segment", &["192.168.1.240/32", "fd00:1::240/128"]);
    site.lab.manifest("pool.yaml", &segment).unwrap();
    site.service("web", "", &(DUAL.to_owned() + &tcp(&[(80, 30080)])));
    let addresses = site.lab.await_addresses("web", 2).unwrap();
    let by_bgp = || {
        for address in &addresses {
            site.await_hops(*address, &[1, 2]);
            site.await_answers(*address, &["n1", "n2"]);
        }
    };
    let await_held = |is_held: bool| {
        for address in &addresses {
            let seen = || site.lab.holder_seen(*address).is_some() == is_held;
            patience::until("layer 2", SOON, seen).unwrap();
        }
    };
    by_bgp();
    await_held(false);
    let since = [site.since("four"), site.since("six")];
    let neighbour = &site.lab.segment.neighbour.namespace;
    site.lab
        .manifest("layer2.yaml", &layer2("all", ""))
        .unwrap();
    await_held(true);
    for address in &addresses {
        assert!(
            site.lab.curl(neighbour, *address, 80).is_some(),
            "{address}"
        );
    }
    by_bgp();
    site.lab.remove_manifest("layer2.yaml").unwrap();
    await_held(false);
    by_bgp();
    assert_eq!([site.since("four"), site.since("six")], since);
}
