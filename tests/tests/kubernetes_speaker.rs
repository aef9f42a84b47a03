//! A speaker in a cluster: what it announces, what it reports, and what it does without the API
//! server. Nothing gives addresses here but the proof, in the Services' status.
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ferrolb_tests::kubernetes::audit::{Mark, Write};
use ferrolb_tests::kubernetes::cluster::{Cluster, ProxyMode};
use ferrolb_tests::kubernetes::{Part, Settings};
use ferrolb_tests::peer::Bfd;
use ferrolb_tests::peer::bird::{self, Bird};
use ferrolb_tests::process::{Process, output};
use ferrolb_tests::{objects, patience, programs};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(15);
const VIP: &str = "192.168.1.240";
const OTHER: &str = "192.168.1.241";
const L2: &str = "/apis/metallb.io/v1beta1/namespaces/metallb-system/servicel2statuses";
const BGP: &str = "/apis/metallb.io/v1beta1/namespaces/metallb-system/servicebgpstatuses";
const STATES: &str = "/apis/metallb.io/v1beta1/namespaces/metallb-system/configurationstates";
const SESSIONS: &str = "/apis/ferrolb.io/v1alpha1/namespaces/metallb-system/bgpsessions";

/// A cluster with the definitions and a configuration, and speakers on its nodes.
struct Site {
    // Before the cluster, so that they end first.
    speakers: Vec<Process>,
    router: Option<Bird>,
    cluster: Cluster,
}

impl Site {
    fn new(nodes: u8) -> Self {
        let cluster = Cluster::start(nodes, ProxyMode::Nftables, Settings::default()).unwrap();
        let definitions = programs::workspace().join("config/crd");
        let definitions = definitions.to_str().unwrap();
        let kubectl = |words: &[&str]| cluster.plane.kubectl(words, None).unwrap();
        kubectl(&["apply", "--server-side", "-f", definitions]);
        kubectl(&["wait", "--for=condition=Established", "crd", "--all"]);
        kubectl(&["create", "namespace", "metallb-system"]);
        let configuration = [
            objects::pool("pool", &["192.168.1.240-192.168.1.249"]),
            objects::layer2("all", "ipAddressPools: [pool]"),
        ];
        cluster.plane.apply(&configuration.concat()).unwrap();
        Self {
            speakers: Vec::new(),
            router: None,
            cluster,
        }
    }

    fn kubectl(&self, words: &[&str]) -> String {
        self.cluster.plane.kubectl(words, None).unwrap()
    }

    fn key(&self, text: &str) {
        let literal = format!("--from-literal=secretkey={text}");
        let words = ["create", "secret", "generic", "memberlist", &literal];
        let manifest = self.kubectl(
            &[
                &words[..],
                &["-n", "metallb-system", "--dry-run=client", "-o", "yaml"],
            ]
            .concat(),
        );
        self.cluster.plane.apply(&manifest).unwrap();
    }

    fn bgp(&mut self) {
        let configuration = [
            objects::peer("tor", 64501, "192.168.1.1", ""),
            objects::bgp("all", ""),
        ];
        self.cluster.plane.apply(&configuration.concat()).unwrap();
        let neighbours = self.cluster.lab.neighbours(64501, 64500);
        self.router = Some(self.cluster.lab.router(&neighbours).unwrap());
    }

    /// The same, with a path that BFD watches.
    fn watched_bgp(&mut self) {
        let configuration = [
            objects::bfd_profile("calm", "receiveInterval: 300\ntransmitInterval: 300"),
            objects::peer("tor", 64501, "192.168.1.1", "bfdProfile: calm"),
            objects::bgp("all", ""),
        ];
        self.cluster.plane.apply(&configuration.concat()).unwrap();
        self.start_watching_router();
    }

    fn start_watching_router(&mut self) {
        let lab = &self.cluster.lab;
        let neighbours = lab.neighbours(64501, 64500);
        let bfd = Bfd {
            interval: 300,
            ..Bfd::FAST
        };
        let config = bird::watching_router(lab.segment.router.v4, &neighbours, &bfd);
        self.router = Some(lab.bird(&config).unwrap());
    }

    /// Waits until something is told of the node.
    fn await_told(&self, reason: &str, words: &str) {
        let mut described = String::new();
        let outcome = patience::until(reason, SOON, || {
            described = self.kubectl(&["describe", "node", "n1"]);
            let mut lines = described.lines();
            lines.any(|line| line.contains(reason) && line.contains(words))
        });
        outcome.unwrap_or_else(|error| panic!("{error:#}: {described}"));
    }

    /// With no capability but the one to open a packet socket.
    fn speaker(&mut self, number: usize) {
        let node = self.cluster.node(number);
        let mut command = node.namespace.command("setpriv");
        command.arg("--bounding-set=-all,+net_raw");
        command.arg(programs::speaker().unwrap()).arg("run");
        command
            .arg("--kubeconfig")
            .arg(self.cluster.plane.kubeconfig());
        command.args(["--node-name", &node.name]);
        command.arg("--socket").arg(self.cluster.lab.socket(number));
        command.env("NO_PROXY", "*");
        command.env("FERROLB_DRAIN_TIME", "1s");
        let name = format!("speaker-{}", node.name);
        let process = Process::start(&name, &mut command, self.cluster.lab.path()).unwrap();
        self.speakers.push(process);
    }

    /// A Service that has endpoints, and these addresses.
    fn service(&self, name: &str, address: &str) {
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{name}-1"), "namespace": "default",
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "ports": [{"name": "p80", "port": 80}],
            "endpoints": [{"addresses": ["10.244.1.9"], "conditions": {"ready": true}}],
        });
        let service = objects::service(name, "ports: [{name: p80, port: 80}]");
        let manifests = format!("{service}---\n{slice}\n");
        self.cluster.plane.apply(&manifests).unwrap();
        self.give(name, address);
    }

    fn give(&self, name: &str, address: &str) {
        let path = format!("/api/v1/namespaces/default/services/{name}/status");
        let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": address}]}}});
        self.cluster.plane.patch(&path, &status).unwrap();
    }

    fn holder(&self, address: &str) -> Option<String> {
        let address: IpAddr = address.parse().unwrap();
        self.cluster.lab.holder_seen(address)
    }

    fn await_holder(&self, address: &str, node: Option<&str>) {
        let what = format!("{address} to be held by {node:?}");
        patience::until(&what, SOON, || self.holder(address).as_deref() == node).unwrap();
    }

    fn items(&self, path: &str) -> Vec<Value> {
        let list = self.cluster.plane.get(path).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// The only object of a kind, once it says what is wanted.
    fn await_object(&self, path: &str, says: impl Fn(&Value) -> bool) -> Value {
        let mut seen = Vec::new();
        let outcome = patience::until(path, SOON, || {
            seen = self.items(path);
            seen.len() == 1 && says(&seen[0])
        });
        outcome.unwrap_or_else(|error| panic!("{error:#}: {seen:#?}"));
        seen.remove(0)
    }

    fn await_none(&self, path: &str) {
        let outcome = patience::until("nothing to be left", SOON, || self.items(path).is_empty());
        outcome.unwrap();
    }

    /// What a speaker answers over HTTP, with its status.
    fn ask(&self, number: usize, place: &str) -> (String, u16) {
        let mut command = self.cluster.node(number).namespace.command("curl");
        command.args([
            "-sS",
            "--max-time",
            "2",
            "--noproxy",
            "*",
            "-w",
            "\n%{http_code}",
        ]);
        let text = output(command.arg(format!("http://127.0.0.1:{place}")));
        let text = text.unwrap_or_default();
        let (text, code) = text.rsplit_once('\n').unwrap_or_default();
        (text.to_owned(), code.parse().unwrap_or(0))
    }

    fn await_ready(&self, number: usize) {
        let ready = || self.ask(number, "17472/readyz").1 == 200;
        patience::until("the speaker to be ready", SOON, ready).unwrap();
    }

    fn metric(&self, number: usize, series: &str) -> Option<f64> {
        let (page, _) = self.ask(number, "9120/metrics");
        let line = page.lines().find(|line| line.starts_with(series))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    fn await_route(&self, address: &str, is_there: bool) {
        let hops = if is_there {
            vec!["192.168.1.11".to_owned()]
        } else {
            Vec::new()
        };
        let lab = &self.cluster.lab;
        lab.await_next_hops(&format!("{address}/32"), &hops, SOON)
            .unwrap();
    }

    /// Events about a Service, as `kubectl describe` shows them.
    fn described(&self, name: &str) -> String {
        self.kubectl(&["describe", "service", name])
    }
}

fn of_speaker(write: &Write) -> bool {
    let resources = [
        "servicel2statuses",
        "servicebgpstatuses",
        "configurationstates",
        "bgpsessions",
        "events",
    ];
    resources.contains(&write.resource.as_str())
}

#[test]
fn what_a_status_says_is_announced_reported_told_and_counted_with_net_raw_alone() {
    let mut site = Site::new(1);
    site.watched_bgp();
    site.speaker(1);
    site.await_ready(1);
    assert_eq!(site.ask(1, "17472/healthz").1, 200);
    site.service("web", VIP);
    // There is no key yet.
    site.await_route(VIP, true);
    assert_eq!(site.holder(VIP), None);
    assert!(site.items(L2).is_empty());
    site.key("open sesame");
    site.await_holder(VIP, Some("n1"));

    let status = site.await_object(L2, |object| object["status"]["node"] == "n1");
    assert_eq!(status["status"]["serviceName"], "web");
    assert_eq!(status["status"]["serviceNamespace"], "default");
    assert_eq!(status["metadata"]["labels"]["metallb.io/node"], "n1");
    assert_eq!(status["metadata"]["ownerReferences"][0]["kind"], "Node");
    let status = site.await_object(BGP, |object| object["status"]["node"] == "n1");
    assert_eq!(status["status"]["peers"], json!(["tor"]));
    let session = site.await_object(SESSIONS, |object| {
        object["status"]["prefixes"] == 1 && object["status"]["bfd"]["state"] == "Up"
    });
    assert_eq!(session["metadata"]["name"], "n1-tor");
    let said = &session["status"];
    assert_eq!(said["state"], "Established");
    assert_eq!(said["peerAddress"], "192.168.1.1");
    assert_eq!(
        (&said["holdTime"], &said["families"]),
        (&json!(3), &json!(["IPv4"]))
    );
    let capabilities = said["capabilities"].as_array().unwrap();
    for capability in ["fourOctetAsn", "routeRefresh"] {
        assert!(capabilities.contains(&json!(capability)), "{said}");
    }
    assert!(said["bfd"]["since"].is_string(), "{said}");
    let state = site.await_object(STATES, |object| object["status"]["result"] == "Valid");
    assert_eq!(state["metadata"]["name"], "speaker-n1");
    let described = site.described("web");
    for protocol in ["layer2", "bgp"] {
        let text = format!("announcing from node \"n1\" with protocol \"{protocol}\"");
        assert_eq!(described.matches(&text).count(), 1, "{described}");
    }
    assert!(described.contains("metallb-speaker"), "{described}");

    let announced = |protocol: &str| {
        let labels =
            format!("ip=\"{VIP}\",node=\"n1\",protocol=\"{protocol}\",service=\"default/web\"");
        site.metric(1, &format!("metallb_speaker_announced{{{labels}}}"))
    };
    assert_eq!(
        (announced("layer2"), announced("bgp")),
        (Some(1.0), Some(1.0))
    );
    let count = |name: &str| site.metric(1, &format!("metallb_layer2_{name}{{ip=\"{VIP}\"}}"));
    let asked = count("requests_received").unwrap();
    site.await_holder(VIP, Some("n1"));
    assert!(count("requests_received").unwrap() > asked);
    assert!(count("responses_sent").unwrap() > asked);
    assert!(count("gratuitous_sent").unwrap() >= 2.0);
    let peer = "metallb_bgp_session_up{peer=\"192.168.1.1:179\",vrf=\"default\"}";
    assert_eq!(site.metric(1, peer), Some(1.0));
    let loaded = "metallb_k8s_client_config_loaded_bool";
    assert_eq!(site.metric(1, loaded), Some(1.0));
    let node = &site.cluster.node(1).namespace;
    let tables = node.run("nft list tables").unwrap();
    assert!(!tables.contains("ferrolb"), "{tables}");

    let writes = site.cluster.plane.audit().writes(Mark::default()).unwrap();
    // Others write events, too.
    let is_ours = |write: &&Write| of_speaker(write) && write.resource != "events";
    let ours = writes.iter().filter(is_ours);
    let agents: BTreeSet<&str> = ours.map(|write| write.agent.as_str()).collect();
    assert_eq!(agents.len(), 1, "{agents:?}");
    let agent = agents.first().unwrap();
    assert!(agent.starts_with("ferrolb-speaker/"), "{agent}");

    // At rest nothing is written; what somebody deletes is restored, and not told again.
    let mark = site.cluster.plane.audit().mark();
    patience::pause(Duration::from_secs(3)).unwrap();
    let writes = site.cluster.plane.audit().writes(mark).unwrap();
    let writes: Vec<_> = writes.into_iter().filter(of_speaker).collect();
    assert!(writes.is_empty(), "{writes:?}");
    site.kubectl(&[
        "delete",
        "-n",
        "metallb-system",
        "servicel2statuses",
        "--all",
    ]);
    site.await_object(L2, |object| object["status"]["node"] == "n1");
    site.kubectl(&[
        "delete",
        "-n",
        "metallb-system",
        "configurationstates",
        "--all",
    ]);
    site.await_object(STATES, |object| object["status"]["result"] == "Valid");
    let bad = objects::pool("bad", &["nonsense"]);
    site.cluster.plane.apply(&bad).unwrap();
    site.await_object(STATES, |object| object["status"]["result"] == "Invalid");

    // A session that is lost is told of, and that it is back.
    let described = site.kubectl(&["describe", "node", "n1"]);
    assert!(!described.contains("BGPSession"), "{described}");
    let mut router = site.router.take().unwrap();
    router.kill();
    let of = "BGP session with BGPPeer \"tor\" (192.168.1.1)";
    site.await_told("BGPSessionDown", &format!("{of} was lost: "));
    site.await_object(SESSIONS, |object| {
        object["status"]["bfd"]["state"] == "Down" && object["status"].get("capabilities").is_none()
    });
    drop(router);
    site.start_watching_router();
    site.await_told("BGPSessionUp", &format!("{of} is up"));
    site.await_object(SESSIONS, |object| {
        object["status"]["prefixes"] == 1 && object["status"]["bfd"]["state"] == "Up"
    });

    // A mark of the Node drains it, and what it says is told of the Node.
    let taint = "ferrolb.io/drain=:PreferNoSchedule";
    site.kubectl(&["taint", "node", "n1", taint]);
    site.await_told("Draining", "the node has the taint ferrolb.io/drain");
    site.await_told("Drained", "");
    site.await_route(VIP, false);
    site.kubectl(&["taint", "node", "n1", &format!("{taint}-")]);
    site.await_told("Serving", "");
    site.await_route(VIP, true);
    site.await_object(SESSIONS, |object| object["status"]["prefixes"] == 1);

    // Another process with the same things to say says nothing. What was written before is in the
    // log by then.
    patience::pause(Duration::from_secs(1)).unwrap();
    let mark = site.cluster.plane.audit().mark();
    let ended = site.speakers.remove(0).terminate(SOON).unwrap();
    assert!(ended.success(), "{ended}");
    let session = &site.items(SESSIONS)[0]["status"];
    assert_eq!(session["state"], "Idle", "{session}");
    assert_eq!(session["prefixes"], 0);
    assert_eq!(session["lastError"], "this speaker has stopped");
    site.speaker(1);
    site.await_ready(1);
    site.await_holder(VIP, Some("n1"));
    patience::pause(Duration::from_secs(2)).unwrap();
    let writes = site.cluster.plane.audit().writes(mark).unwrap();
    let writes: Vec<_> = writes
        .into_iter()
        .filter(|write| of_speaker(write) && write.resource != "bgpsessions")
        .collect();
    assert!(writes.is_empty(), "{writes:?}");

    site.kubectl(&["delete", "service", "web"]);
    site.await_none(L2);
    site.await_none(BGP);
    site.await_route(VIP, false);
    assert_eq!(site.holder(VIP), None);
    let announced = || site.metric(1, "metallb_speaker_announced");
    patience::until("the series to go", SOON, || announced().is_none()).unwrap();
}

/// A host of the segment, which is no speaker, has the address before it is given.
#[test]
fn an_address_that_a_host_has_already_is_told_with_its_mac() {
    let mut site = Site::new(1);
    site.key("open sesame");
    let host = &site.cluster.lab.segment.neighbour;
    let mac = host.mac.clone();
    let words = format!("addr add {VIP}/32 dev eth0");
    host.namespace.ip(&words).unwrap();
    site.speaker(1);
    site.await_ready(1);
    site.service("web", VIP);
    let told = || {
        let said = site.described("web");
        let mut lines = said.lines().filter(|line| line.contains("AddressConflict"));
        lines.any(|line| line.contains("Warning") && line.contains(&mac))
    };
    patience::until("the event", SOON, told).unwrap();
    let series = format!(
        "ferrolb_layer2_address_conflicts{{interface=\"eth0\",ip=\"{VIP}\",mac=\"{mac}\"}}"
    );
    assert_eq!(site.metric(1, &series), Some(1.0));
    site.await_object(L2, |object| object["status"]["node"] == "n1");
}

#[test]
fn without_the_api_server_it_waits_or_goes_on_and_then_catches_up() {
    let mut site = Site::new(1);
    site.bgp();
    site.key("open sesame");
    site.service("web", VIP);
    site.cluster.plane.stop(Part::ApiServer).unwrap();
    site.speaker(1);
    let is_alive = || site.ask(1, "17472/healthz").1 == 200;
    patience::until("the speaker to live", SOON, is_alive).unwrap();
    patience::pause(Duration::from_secs(1)).unwrap();
    assert_eq!(site.ask(1, "17472/readyz").1, 503);
    site.cluster.plane.resume(Part::ApiServer).unwrap();
    site.await_holder(VIP, Some("n1"));
    site.await_route(VIP, true);
    assert_eq!(site.ask(1, "17472/readyz").1, 200);

    let routes = |site: &Site| site.cluster.lab.next_hops(&format!("{VIP}/32")).unwrap();
    site.cluster.plane.freeze(Part::ApiServer).unwrap();
    // Longer than the hold time of three seconds, and than any heartbeat.
    patience::throughout("the address to be served", Duration::from_secs(6), || {
        site.holder(VIP).as_deref() == Some("n1") && !routes(&site).is_empty()
    })
    .unwrap();
    assert_eq!(site.ask(1, "17472/healthz").1, 200);
    site.cluster.plane.thaw(Part::ApiServer).unwrap();
    site.cluster.plane.await_ready().unwrap();
    site.service("late", OTHER);
    site.await_holder(OTHER, Some("n1"));

    site.cluster.plane.stop(Part::ApiServer).unwrap();
    patience::throughout("the address to be served", Duration::from_secs(4), || {
        site.holder(VIP).as_deref() == Some("n1") && !routes(&site).is_empty()
    })
    .unwrap();
    site.cluster.plane.resume(Part::ApiServer).unwrap();
    site.kubectl(&["delete", "service", "late"]);
    site.await_holder(OTHER, None);
    assert_eq!(site.holder(VIP).as_deref(), Some("n1"));
    site.await_object(L2, |object| object["status"]["serviceName"] == "web");
    let up = site.cluster.lab.status(1).unwrap()["sessions"][0]["updatesSent"].clone();
    assert!(up.as_u64().is_some_and(|sent| sent < 10), "{up}");
}

/// Longer than it takes to declare a node dead whose heartbeats are not believed.
const SOME_TIME: Duration = Duration::from_secs(2);

#[test]
fn who_takes_an_address_over_says_so_in_place_of_a_node_that_is_gone() {
    let mut site = Site::new(2);
    site.key("open sesame");
    site.speaker(1);
    site.speaker(2);
    site.await_ready(1);
    site.await_ready(2);
    site.service("web", VIP);
    let status = site.await_object(L2, |object| object["status"]["node"].is_string());
    let first = status["status"]["node"].as_str().unwrap().to_owned();
    let (number, second) = if first == "n1" { (1, "n2") } else { (2, "n1") };
    site.await_holder(VIP, Some(&first));
    // Both hear of it, one sooner than the other, and nobody else notices.
    site.key("another word");
    patience::throughout("the address to be answered for", SOME_TIME, || {
        site.holder(VIP).as_deref() == Some(first.as_str())
    })
    .unwrap();

    site.speakers[number - 1].kill();
    site.await_holder(VIP, Some(second));
    site.await_object(L2, |object| object["status"]["node"] == second);
    let text = format!("announcing from node \"{second}\" with protocol \"layer2\"");
    assert!(site.described("web").contains(&text));
}

#[test]
fn where_all_begin_at_once_only_who_stays_the_holder_says_that_it_is() {
    let mut site = Site::new(3);
    let delete = ["delete", "-n", "metallb-system", "l2advertisement", "all"];
    site.kubectl(&delete);
    site.key("open sesame");
    for number in 1..=3 {
        site.speaker(number);
    }
    for number in 1..=3 {
        site.await_ready(number);
    }
    for (name, address) in [("a", VIP), ("b", OTHER), ("c", "192.168.1.242")] {
        site.service(name, address);
    }
    patience::pause(Duration::from_secs(1)).unwrap();
    let mark = site.cluster.plane.audit().mark();
    let advertisement = objects::layer2("all", "ipAddressPools: [pool]");
    site.cluster.plane.apply(&advertisement).unwrap();
    patience::until("every Service to be reported", SOON, || {
        let items = site.items(L2);
        items.len() == 3 && items.iter().all(|item| item["status"]["node"].is_string())
    })
    .unwrap();
    // Longer than it takes to put right what was said too early.
    patience::pause(Duration::from_secs(3)).unwrap();
    let writes = site.cluster.plane.audit().writes(mark).unwrap();
    let said: Vec<String> = writes
        .iter()
        .filter(|write| write.verb == "create" || write.verb == "delete")
        .filter(|write| ["servicel2statuses", "events"].contains(&write.resource.as_str()))
        .map(|write| format!("{} {}", write.verb, write.resource))
        .collect();
    let count = |what: &str| said.iter().filter(|said| *said == what).count();
    assert_eq!(count("create servicel2statuses"), 3, "{said:?}");
    assert_eq!(count("create events"), 3, "{said:?}");
    assert_eq!(said.len(), 6, "{said:?}");
}

#[test]
fn i6_who_else_holds_an_address_is_told_and_counted_once() {
    let mut site = Site::new(2);
    site.key("open sesame");
    site.speaker(1);
    site.speaker(2);
    site.await_ready(1);
    site.await_ready(2);
    site.service("web", VIP);
    let status = site.await_object(L2, |object| object["status"]["node"].is_string());
    let holder = status["status"]["node"].as_str().unwrap().to_owned();
    let number = if holder == "n1" { 1 } else { 2 };
    let mut sleeper = site.speakers.remove(number - 1);
    site.await_holder(VIP, Some(&holder));
    assert!(!site.described("web").contains("AddressRival"));
    let seen = |number: usize, by: &str| {
        let series = format!("ferrolb_layer2_rivals_total{{seen=\"{by}\"}}");
        site.metric(number, &series).unwrap()
    };
    assert_eq!(
        (seen(number, "frame"), seen(number, "heartbeat")),
        (0.0, 0.0)
    );
    // Longer than who has only just taken it has no rivals.
    patience::pause(Duration::from_secs(2)).unwrap();

    // A host that was given the address by hand, and says so more than once.
    let stranger = &site.cluster.lab.segment.neighbour;
    for _ in 0..3 {
        let say = format!("arping -U -c 2 -I eth0 -s {VIP} {VIP}");
        let add =
            format!("ip address add {VIP}/32 dev eth0; {say}; ip address del {VIP}/32 dev eth0");
        let mut command = stranger.namespace.command("sh");
        output(command.args(["-c", &add])).unwrap();
    }
    let told = |needle: &str| {
        let described = site.described("web");
        let mut lines = described
            .lines()
            .filter(|line| line.contains("AddressRival"));
        lines.any(|line| line.contains("Warning") && line.contains(needle))
    };
    patience::until("the stranger to be told of", SOON, || told("is no node's")).unwrap();
    assert_eq!(seen(number, "frame"), 1.0);

    // A node that slept through the takeover wakes up as a holder among holders.
    sleeper.signal(libc::SIGSTOP);
    let other = if number == 1 { "n2" } else { "n1" };
    site.await_holder(VIP, Some(other));
    patience::pause(Duration::from_secs(2)).unwrap();
    sleeper.signal(libc::SIGCONT);
    patience::until("the other node to be told of", SOON, || told("both hold")).unwrap();
    assert!(seen(1, "heartbeat") + seen(2, "heartbeat") >= 1.0);
    let address: IpAddr = VIP.parse().unwrap();
    let one = || site.cluster.lab.arping(address).unwrap().len() == 1;
    patience::until("one holder to be left", SOON, one).unwrap();
    let writes = site.cluster.plane.audit().writes(Mark::default()).unwrap();
    let is_ours = |write: &&Write| write.agent.starts_with("ferrolb-speaker/");
    let ours = writes.iter().filter(is_ours);
    let events: Vec<&Write> = ours.filter(|write| write.resource == "events").collect();
    // Of assignment by each node, of the stranger, and of each node by the other.
    assert!(events.len() <= 5, "{events:?}");
}

#[test]
fn a_kubeconfig_that_cannot_be_used_ends_it() {
    let speaker = programs::speaker().unwrap();
    let run = |kubeconfig: &str| {
        let mut command = std::process::Command::new(&speaker);
        command.args(["run", "--node-name=n1", "--kubeconfig", kubeconfig]);
        command
            .env_remove("KUBERNETES_SERVICE_HOST")
            .output()
            .unwrap()
    };
    let ended = run("/nonexistent/kubeconfig");
    assert_eq!(ended.status.code(), Some(1));
    let words = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(words.contains("/nonexistent/kubeconfig"), "{words}");
}
