//! What the two programs show of themselves when they run as their manifests start them: metrics, and
//! what they listen on. Ids of the compatibility checklist are in the names.
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ferrolb_tests::kubernetes::cluster::{Cluster, ProxyMode, Workload};
use ferrolb_tests::kubernetes::container::Place;
use ferrolb_tests::kubernetes::{ADDRESS, Settings, product};
use ferrolb_tests::netns::Namespace;
use ferrolb_tests::peer::Bfd;
use ferrolb_tests::peer::frr::{self, Frr};
use ferrolb_tests::process::{Process, output};
use ferrolb_tests::{objects, patience, programs};

const SOON: Duration = Duration::from_secs(15);
const CONTROLLER: &str = "/apis/apps/v1/namespaces/metallb-system/deployments/controller";
const SPEAKER: &str = "/apis/apps/v1/namespaces/metallb-system/daemonsets/speaker";

/// An installation with a pool of ten and sixteen addresses, announced at layer 2.
struct Site {
    // Before the cluster, so that they end first.
    controller: Process,
    speakers: Vec<Process>,
    cluster: Cluster,
}

impl Site {
    fn new(nodes: u8) -> Self {
        let mut cluster = Cluster::start(nodes, ProxyMode::Nftables, Settings::default()).unwrap();
        let file = programs::workspace().join("config/install.yaml");
        let plane = &cluster.plane;
        let kubectl = |words: &[&str]| plane.kubectl(words, None).unwrap();
        kubectl(&["apply", "-f", file.to_str().unwrap()]);
        kubectl(&["wait", "--for=condition=Established", "crd", "--all"]);
        let ranges = ["192.168.1.240-192.168.1.249", "fd00:1::f0-fd00:1::ff"];
        let configuration = [
            objects::pool("pool", &ranges),
            objects::layer2("all", "ipAddressPools: [pool]"),
        ];
        plane.apply(&configuration.concat()).unwrap();
        let place = |network, pod, number: usize| Place {
            network,
            pod,
            node: &cluster.node(number).name,
            host: cluster.node(number).v4.into(),
        };
        let start = |workload: &str, program, place| {
            let manifest = plane.get(workload).unwrap();
            plane.contain(&manifest, program, place).unwrap()
        };
        let program = programs::controller().unwrap();
        let there = place(plane.namespace(), "controller-0", 1);
        let mut controller = start(CONTROLLER, &program, there);
        let program = programs::speaker().unwrap();
        let pods = ["speaker-1", "speaker-2"].iter().take(usize::from(nodes));
        let speakers = pods.enumerate().map(|(index, pod)| {
            let network = &cluster.node(index + 1).namespace;
            start(SPEAKER, &program, place(network, pod, index + 1))
        });
        let mut speakers: Vec<Process> = speakers.collect();
        for process in speakers.iter_mut().chain([&mut controller]) {
            process.await_line("ready", SOON).unwrap();
        }
        let web = Workload {
            namespace: "default",
            name: "web-1",
            app: "web",
            node: 1,
            ports: &[8080],
        };
        cluster.run(&web).unwrap();
        Self {
            controller,
            speakers,
            cluster,
        }
    }

    /// Makes a Service of one family; returns its address.
    fn serve(&self, name: &str, family: &str) -> IpAddr {
        let spec = format!(
            "selector: {{app: web}}\nports: [{{port: 80, targetPort: 8080}}]\nipFamilies: [{family}]"
        );
        let plane = &self.cluster.plane;
        plane.apply(&objects::service(name, &spec)).unwrap();
        let addresses = product::await_addresses(plane, "default", name, 1).unwrap();
        addresses[0].parse().unwrap()
    }

    /// What a node's speaker counts, of a series whose name and labels begin like this.
    fn of_node(&self, number: usize, series: &str) -> Option<f64> {
        let host = self.cluster.node(number);
        let client = &self.cluster.lab.segment.neighbour.namespace;
        value(client, &format!("{}:9120", host.v4), series)
    }

    /// What the controller counts.
    fn of_controller(&self, series: &str) -> Option<f64> {
        value(self.cluster.plane.namespace(), "127.0.0.1:9120", series)
    }

    /// Waits until the controller counts so many addresses of the pool, of both families and of each.
    fn counts(&self, name: &str, expected: [f64; 3]) {
        let found = || {
            ["addresses", "ipv4_addresses", "ipv6_addresses"].map(|family| {
                self.of_controller(&format!(
                    "metallb_allocator_{family}_{name}{{pool=\"pool\"}}"
                ))
            })
        };
        let holds = || found() == expected.map(Some);
        if let Err(error) = patience::until(name, SOON, holds) {
            panic!("{error:#}: {:?} and not {expected:?}", found());
        }
    }

    /// Waits until every node counts a peer as it should.
    #[track_caller]
    fn await_of_peer(&self, peer: &str, name: &str, is_wanted: impl Fn(f64) -> bool) {
        let series = format!("metallb_{name}{{peer=\"{peer}\"");
        let mut seen = Vec::new();
        let outcome = patience::until(&series, SOON, || {
            let nodes = 1..=self.speakers.len();
            seen = nodes.map(|number| self.of_node(number, &series)).collect();
            seen.iter().all(|value| value.is_some_and(&is_wanted))
        });
        outcome.unwrap_or_else(|error| panic!("{error:#}: {seen:?}"));
    }

    /// The nodes that count a Service's address as announced.
    fn announcing(&self, service: &str, address: IpAddr, protocol: &str) -> Vec<String> {
        let nodes = (1..=self.speakers.len()).filter(|number| {
            let node = &self.cluster.node(*number).name;
            let labels = format!(
                "ip=\"{address}\",node=\"{node}\",protocol=\"{protocol}\",service=\"default/{service}\""
            );
            self.of_node(*number, &format!("metallb_speaker_announced{{{labels}}}")) == Some(1.0)
        });
        nodes
            .map(|number| self.cluster.node(number).name.clone())
            .collect()
    }
}

fn value(from: &Namespace, place: &str, series: &str) -> Option<f64> {
    let page = page(from, place, "/metrics")?;
    let line = page.lines().find(|line| line.starts_with(series))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

/// What is answered with 200.
fn page(from: &Namespace, place: &str, path: &str) -> Option<String> {
    let mut command = from.command("curl");
    command.args(["-sSf", "--max-time", "2", "--noproxy", "*"]);
    output(command.arg(format!("http://{place}{path}"))).ok()
}

#[test]
fn b11_b12_k1_to_k9_metrics_follow_services_and_sessions_of_both_families_as_they_come_and_go() {
    let site = Site::new(2);
    site.counts("total", [26.0, 10.0, 16.0]);
    site.counts("in_use_total", [0.0, 0.0, 0.0]);
    let (one, none) = (1.0, 0.0);
    for (name, family, in_use) in [
        ("web4", "IPv4", [one, one, none]),
        ("web6", "IPv6", [one, none, one]),
    ] {
        let address = site.serve(name, family);
        site.counts("in_use_total", in_use);
        let lab = &site.cluster.lab;
        let holder = || lab.holder_seen(address).map(|node| vec![node]);
        let is_one = || holder() == Some(site.announcing(name, address, "layer2"));
        patience::until("one node to announce, and to count it", SOON, is_one).unwrap();

        let node = holder().unwrap().remove(0);
        let number: usize = node.trim_start_matches('n').parse().unwrap();
        for counter in ["requests_received", "responses_sent", "gratuitous_sent"] {
            let series = |number| {
                site.of_node(
                    number,
                    &format!("metallb_layer2_{counter}{{ip=\"{address}\"}}"),
                )
            };
            let is_counted = || series(number).is_some_and(|count| count >= 1.0);
            patience::until(counter, SOON, is_counted).unwrap();
            // The two nodes are n1 and n2.
            assert_eq!(series(3 - number), None, "{counter}");
        }

        // FerroLB's own: who holds how many, why it came to, and what else the segment shows.
        let own = |number, series: &str| site.of_node(number, &format!("ferrolb_layer2_{series}"));
        let held = [number, 3 - number].map(|number| own(number, "addresses_held"));
        assert_eq!(held, [Some(1.0), Some(0.0)]);
        let takeovers = |number| -> f64 {
            let causes = ["hint", "onlyCandidate", "preferred", "rank", "remembered"];
            let counts = causes.map(|cause| {
                own(number, &format!("takeovers_total{{cause=\"{cause}\"}}")).unwrap()
            });
            counts.into_iter().sum()
        };
        assert!(takeovers(number) >= 1.0);
        for (number, other) in [(1, 2), (2, 1)] {
            let node = &site.cluster.node(other).name;
            let series = format!("heartbeats_lost_total{{node=\"{node}\"}}");
            let is_known = || own(number, &series).is_some();
            patience::until("the nodes to know each other", SOON, is_known).unwrap();
        }
        let is_silent = || {
            let silences = own(3 - number, "silences_total{reason=\"notOwned\"}");
            lab.holder_seen(address).is_some() && silences.is_some_and(|count| count >= 1.0)
        };
        if family == "IPv4" {
            // NDP asks a group that only the holder is in.
            patience::until("the other node to count its silence", SOON, is_silent).unwrap();
        }

        let words = ["delete", "service", name];
        site.cluster.plane.kubectl(&words, None).unwrap();
        site.counts("in_use_total", [0.0, 0.0, 0.0]);
        let mentions = || {
            (1..=2).any(|number| {
                let place = format!("{}:9120", site.cluster.node(number).v4);
                let client = &lab.segment.neighbour.namespace;
                let page = page(client, &place, "/metrics").unwrap();
                page.contains(&format!("\"{address}\""))
            })
        };
        patience::until("every series to go", SOON, || !mentions()).unwrap();
    }
    sessions_and_paths(&site);
    a_wrong_configuration(&site);
}

const ROUTER: &str = "192.168.1.1";
const ROUTER_V6: &str = "fd00:1::1";

/// BGP and BFD with FRR, over both families.
fn sessions_and_paths(site: &Site) {
    let lab = &site.cluster.lab;
    let mut neighbours = lab.neighbours(64501, 64500);
    for node in &lab.segment.nodes {
        let mut six = neighbours[0].clone();
        six.local = lab.segment.router.v6.into();
        six.remote = node.v6.into();
        neighbours.push(six);
    }
    let bfd = Bfd {
        echo: Some(50),
        ..Bfd::FAST
    };
    let config = frr::router(lab.segment.router.v4, &neighbours, Some(&bfd));
    let frr = lab.frr(&config).unwrap();
    let plane = &site.cluster.plane;
    let configuration = [
        objects::bfd_profile("path", ""),
        objects::bgp("all", "ipAddressPools: [pool]"),
        objects::peer("four", 64501, ROUTER, "bfdProfile: path"),
        objects::peer("six", 64501, ROUTER_V6, "bfdProfile: path"),
    ];
    let configuration = configuration.concat();
    plane
        .apply(&configuration.replace("holdTime: 3s", "holdTime: 9s"))
        .unwrap();
    let (four, six) = (format!("{ROUTER}:179"), format!("{ROUTER_V6}:179"));
    for peer in [&four, &six] {
        site.await_of_peer(peer, "bgp_session_up", |value| value == 1.0);
        site.await_of_peer(peer, "bgp_announced_prefixes_total", |value| value == 0.0);
    }
    for (name, family, peer, other) in
        [("web4", "IPv4", &four, &six), ("web6", "IPv6", &six, &four)]
    {
        let address = site.serve(name, family);
        site.await_of_peer(peer, "bgp_announced_prefixes_total", |value| value == 1.0);
        site.await_of_peer(other, "bgp_announced_prefixes_total", |value| value == 0.0);
        site.await_of_peer(peer, "bgp_updates_total", |value| value >= 1.0);
        let is_everywhere = || site.announcing(name, address, "bgp") == ["n1", "n2"];
        patience::until("both nodes to announce", SOON, is_everywhere).unwrap();
        let words = ["delete", "service", name];
        plane.kubectl(&words, None).unwrap();
        site.await_of_peer(peer, "bgp_announced_prefixes_total", |value| value == 0.0);
    }
    for peer in [&four, &six] {
        for count in [
            "opens_sent",
            "opens_received",
            "keepalives_sent",
            "keepalives_received",
        ] {
            site.await_of_peer(peer, &format!("bgp_{count}"), |value| value >= 1.0);
        }
        for count in ["total_sent", "total_received"] {
            site.await_of_peer(peer, &format!("bgp_{count}"), |value| value >= 3.0);
        }
    }
    paths(site, &frr);
}

/// With the defaults, with every field, with echo; and when the router has none any more.
fn paths(site: &Site, frr: &Frr) {
    let plane = &site.cluster.plane;
    let full = "receiveInterval: 60\ntransmitInterval: 61\nechoInterval: 62\ndetectMultiplier: 4\n\
                minimumTtl: 253";
    for profile in ["", full] {
        plane.apply(&objects::bfd_profile("path", profile)).unwrap();
        for peer in [ROUTER, ROUTER_V6] {
            site.await_of_peer(peer, "bfd_session_up", |value| value == 1.0);
            for count in ["control_packet_input", "control_packet_output"] {
                site.await_of_peer(peer, &format!("bfd_{count}"), |value| value >= 1.0);
            }
            site.await_of_peer(peer, "bfd_session_up_events", |value| value == 1.0);
            site.await_of_peer(peer, "bfd_zebra_notifications", |value| value == 1.0);
            site.await_of_peer(peer, "bfd_session_down_events", |value| value == 0.0);
        }
    }
    // Echo does not go with pools that have IPv6.
    let words = ["-n", "metallb-system", "delete", "bgppeer", "six"];
    plane.kubectl(&words, None).unwrap();
    let echo = [
        objects::pool("pool", &["192.168.1.240-192.168.1.249"]),
        objects::bfd_profile("path", "echoMode: true\nechoInterval: 50"),
    ];
    plane.apply(&echo.concat()).unwrap();
    for count in ["echo_packet_input", "echo_packet_output"] {
        site.await_of_peer(ROUTER, &format!("bfd_{count}"), |value| value >= 1.0);
    }
    let without = "router bgp 64501\n no neighbor 192.168.1.11 bfd\n no neighbor 192.168.1.12 bfd";
    frr.configure(without).unwrap();
    site.await_of_peer(ROUTER, "bfd_session_up", |value| value == 0.0);
    site.await_of_peer(ROUTER, "bfd_session_down_events", |value| value >= 1.0);
}

/// It is told for as long as part of what is in force is older than what is there.
fn a_wrong_configuration(site: &Site) {
    let values = |name: &str| {
        let series = format!("metallb_k8s_client_{name}");
        let nodes = (1..=2).map(|number| site.of_node(number, &series));
        let all: Option<Vec<f64>> = nodes.chain([site.of_controller(&series)]).collect();
        all.unwrap_or_default()
    };
    let await_stale = |value: f64| {
        let is_so = || values("config_stale_bool") == [value; 3];
        patience::until("the sign of a stale configuration", SOON, is_so).unwrap();
        assert_eq!(values("config_loaded_bool"), [1.0; 3]);
    };
    await_stale(0.0);
    let counts = ["updates_total", "update_errors_total"].map(values);
    let plane = &site.cluster.plane;
    plane.apply(&objects::pool("bad", &["nonsense"])).unwrap();
    await_stale(1.0);
    let words = ["-n", "metallb-system", "delete", "ipaddresspool", "bad"];
    plane.kubectl(&words, None).unwrap();
    await_stale(0.0);
    for (name, before) in ["updates_total", "update_errors_total"]
        .into_iter()
        .zip(counts)
    {
        let after = values(name);
        let mut pairs = after.iter().zip(&before);
        assert!(
            pairs.all(|(after, before)| after > before),
            "{name}: {before:?} {after:?}"
        );
    }
}

/// Without an engine for network policies this is what one would have to let through.
#[test]
fn e1_both_programs_listen_on_the_documented_ports_and_the_controller_asks_the_api_server_alone() {
    let site = Site::new(1);
    let lab = &site.cluster.lab;
    let neighbours = lab.neighbours(64501, 64500);
    let _router = lab.router(&neighbours).unwrap();
    let bgp = [
        objects::peer("tor", 64501, "192.168.1.1", ""),
        objects::bgp("all", "ipAddressPools: [pool]"),
    ];
    site.cluster.plane.apply(&bgp.concat()).unwrap();
    let address = site.serve("web", "IPv4");
    let node = site.cluster.node(1);
    let hops = [node.v4.to_string()];
    lab.await_next_hops(&format!("{address}/32"), &hops, SOON)
        .unwrap();
    let is_held = || lab.holder_seen(address).is_some();
    patience::until("the address to be held", SOON, is_held).unwrap();

    let plane = site.cluster.plane.namespace();
    let controller = Sockets::of(plane, &site.controller);
    let wanted = ["tcp *:17472", "tcp 127.0.0.1:9120"];
    assert_eq!(
        controller.listening,
        BTreeSet::from(wanted.map(str::to_owned))
    );
    let server = format!("tcp {ADDRESS}:6443");
    assert_eq!(controller.asked, BTreeSet::from([server.clone()]));

    let speaker = Sockets::of(&node.namespace, &site.speakers[0]);
    let metrics = format!("tcp {}:9120", node.v4);
    // Heartbeats, ARP and NDP are read from the segment itself, through no socket of UDP.
    let wanted = ["tcp 127.0.0.1:17472", &metrics, "packets of eth0"];
    assert_eq!(speaker.listening, BTreeSet::from(wanted.map(str::to_owned)));
    let router = "tcp 192.168.1.1:179".to_owned();
    assert_eq!(speaker.asked, BTreeSet::from([server, router]));

    // And so it is for somebody who asks.
    let client = &lab.segment.neighbour.namespace;
    let answers = |place: &str, path: &str| page(client, place, path).is_some();
    assert!(answers(&format!("{}:9120", node.v4), "/metrics"));
    assert!(answers(&format!("{ADDRESS}:17472"), "/healthz"));
    assert!(!answers(&format!("{}:17472", node.v4), "/healthz"));
    assert!(!answers(&format!("{ADDRESS}:9120"), "/metrics"));
}

/// What a program has open, as `PROTOCOL ADDRESS:PORT`.
struct Sockets {
    /// The own ends.
    listening: BTreeSet<String>,
    /// The others' ends.
    asked: BTreeSet<String>,
}

impl Sockets {
    fn of(network: &Namespace, program: &Process) -> Self {
        let owner = format!("pid={},", program.pid());
        let sockets = |state: &str, column: usize| -> BTreeSet<String> {
            let text = network.run(&format!("ss -Hntup {state}")).unwrap();
            let own = text.lines().filter(|line| line.contains(&owner));
            let end = |line: &str| {
                let words: Vec<&str> = line.split_whitespace().collect();
                format!("{} {}", words[0], words[column])
            };
            own.map(end).collect()
        };
        let packets = network.run("ss -H0p").unwrap();
        let links = packets.lines().filter(|line| line.contains(&owner));
        let links = links.filter_map(|line| line.split_whitespace().nth(3)?.rsplit_once(':'));
        let mut listening = sockets("--listening", 4);
        listening.extend(links.map(|(_, link)| format!("packets of {link}")));
        Self {
            listening,
            asked: sockets("", 5),
        }
    }
}
