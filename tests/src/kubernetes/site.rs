//! A cluster that FerroLB runs in: a controller, a speaker on every node, and on every node a pod
//! that answers TCP and UDP, `web-1` on `n1` and so on.
//!
//! [`Site::visit`] is one that the proofs of a file share: each finds it without Services and
//! configuration, all nodes and pods as they were made and all programs running.
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use ferrolb_crds::api::{self, Kind};
use serde_json::{Value, json};

use super::cluster::{Cluster, ProxyMode, Workload};
use super::{ControlPlane, Settings, product};
use crate::netns::Namespace;
use crate::patience;
use crate::peer::bird::Bird;
use crate::probe;
use crate::process::Process;

/// How long anything may take that should take a moment.
pub const SOON: Duration = Duration::from_secs(15);

/// Of no pool, so that heartbeats go on between proofs.
const STANDING: &str = "standing";

/// How long one node may take to answer ARP.
const ANSWER: Duration = Duration::from_millis(400);

/// Where the pods of a site listen.
pub const PORT: u16 = 8080;

const SERVICES: &str = "/api/v1/namespaces/default/services";

/// The cluster and what runs in it; ends when dropped.
#[derive(Debug)]
pub struct Site {
    // Before the cluster, so that they end first.
    controller: Option<Process>,
    speakers: BTreeMap<usize, Process>,
    router: Option<Bird>,
    /// Hardware addresses of second interfaces, by node.
    links: BTreeMap<usize, String>,
    has_own_links: bool,
    /// Segment, control plane, kube-proxies and pods.
    pub cluster: Cluster,
}

/// What a pod answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its name.
    pub pod: String,
    /// Whom it believes to have asked.
    pub client: IpAddr,
}

/// One proof's time on the site that a file shares.
#[derive(Debug)]
pub struct Visit(MutexGuard<'static, Site>);

impl Site {
    /// Starts everything but a configuration.
    pub fn start(nodes: u8, mode: ProxyMode) -> Self {
        let cluster = Cluster::start(nodes, mode, Settings::default()).unwrap();
        product::install(&cluster.plane).unwrap();
        let mut site = Self {
            controller: None,
            speakers: BTreeMap::new(),
            router: None,
            links: BTreeMap::new(),
            has_own_links: false,
            cluster,
        };
        site.start_controller();
        for number in 1..=usize::from(nodes) {
            site.run_pod(number);
            site.start_speaker(number);
        }
        site
    }

    /// The site of three nodes that all proofs of a file share.
    pub fn visit() -> Visit {
        static SHARED: OnceLock<Mutex<Site>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| {
            let site = Self::start(3, ProxyMode::Nftables);
            // Speakers who listen anew for each proof may take something before they have heard all
            // the others, and give it back.
            let nothing = json!({"ipAddressPools": ["nothing"]});
            site.put(Kind::L2Advertisement, STANDING, nothing);
            Mutex::new(site)
        });
        let mut site = shared.lock().unwrap_or_else(PoisonError::into_inner);
        site.restore();
        Visit(site)
    }

    /// The API server.
    pub fn plane(&self) -> &ControlPlane {
        &self.cluster.plane
    }

    /// The client on the segment.
    pub fn neighbour(&self) -> &Namespace {
        &self.cluster.lab.segment.neighbour.namespace
    }

    /// The client behind the router.
    pub fn client(&self) -> &Namespace {
        &self.cluster.lab.segment.client.namespace
    }

    /// Starts a controller, which decides when this returns.
    pub fn start_controller(&mut self) {
        let arguments = ["--address-quarantine=0s"];
        let process = product::active_controller(self.plane(), "controller", &arguments);
        self.controller = Some(process.unwrap());
    }

    /// Has the controller leave.
    pub fn stop_controller(&mut self) {
        let mut process = self.controller.take().unwrap();
        assert!(process.terminate(SOON).unwrap().success());
    }

    /// Starts the speaker of a node.
    pub fn start_speaker(&mut self, number: usize) {
        let process = product::speaker(&self.cluster, number, &[]).unwrap();
        self.speakers.insert(number, process);
    }

    /// Waits until the speaker of a node knows who else is there: until then it holds nothing, and
    /// after that it may take something over.
    fn await_candidate(&self, number: usize) {
        let status = || self.cluster.lab.status(number);
        let is_candidate = || status().is_ok_and(|status| status["layer2"]["state"] == "running");
        patience::until("a speaker to have listened", SOON, is_candidate).unwrap();
    }

    /// Has the speaker of a node leave.
    pub fn stop_speaker(&mut self, number: usize) {
        let mut process = self.speakers.remove(&number).unwrap();
        assert!(process.terminate(SOON).unwrap().success());
    }

    /// Ends the speaker of a node as a crash would.
    pub fn kill_speaker(&mut self, number: usize) {
        drop(self.speakers.remove(&number).unwrap());
    }

    /// Starts the pod of a node.
    pub fn run_pod(&mut self, number: usize) {
        let name = format!("web-{number}");
        let workload = Workload {
            namespace: "default",
            name: &name,
            app: "web",
            node: number,
            ports: &[PORT],
        };
        self.cluster.run(&workload).unwrap();
        self.cluster.echo("default", &name, &[PORT]).unwrap();
    }

    /// Has only the pods of these nodes take traffic.
    pub fn serve_from(&self, numbers: &[usize]) {
        for number in 1..=self.cluster.lab.segment.nodes.len() {
            let is_ready = numbers.contains(&number);
            let pod = format!("web-{number}");
            self.plane().mark_pod("default", &pod, is_ready).unwrap();
        }
    }

    /// Starts BIRD on the router, for sessions of AS 64500 with these nodes and up to one more.
    pub fn start_router(&mut self) -> &Bird {
        let mut neighbours = self.cluster.lab.neighbours(64501, 64500);
        let mut next = neighbours[0].clone();
        let number = neighbours.len() + 1;
        next.name = format!("n{number}");
        next.remote = format!("192.168.1.{}", 10 + number).parse().unwrap();
        neighbours.push(next);
        self.router = Some(self.cluster.lab.router(&neighbours).unwrap());
        self.router.as_ref().unwrap()
    }

    /// Gives every node a second interface on the segment, `eth1`.
    pub fn add_links(&mut self) {
        for number in 1..=self.cluster.lab.segment.nodes.len() {
            let mac = self.cluster.lab.segment.add_link(number).unwrap();
            self.links.insert(number, mac);
        }
    }

    /// Gives every node a link that leads nowhere.
    pub fn add_own_links(&mut self) {
        self.has_own_links = true;
        for number in 1..=self.cluster.lab.segment.nodes.len() {
            self.cluster.lab.segment.add_own_link(number).unwrap();
        }
    }

    /// The node and the interface that have a hardware address.
    pub fn place_of(&self, mac: &str) -> (String, &'static str) {
        if let Some(node) = self.cluster.lab.node_with(mac) {
            return (node, "eth0");
        }
        let mut links = self.links.iter();
        let (number, _) = links.find(|(_, own)| *own == mac).unwrap();
        (format!("n{number}"), "eth1")
    }

    /// An object of the configuration, new or with another spec.
    pub fn put(&self, kind: Kind, name: &str, spec: Value) {
        let resource = kind.resource();
        let all = resource.path(Some(api::DEFAULT_NAMESPACE));
        let path = format!("{all}/{name}");
        let there = self.plane().request("GET", &path, None).unwrap();
        let (method, path, mut object) = match there.code {
            200 => ("PUT", path, there.body),
            _ => ("POST", all, json!({"metadata": {"name": name}})),
        };
        object["apiVersion"] = json!(resource.api_version());
        object["kind"] = json!(resource.kind);
        object["spec"] = spec;
        let answer = self.plane().request(method, &path, Some(&object)).unwrap();
        assert!(answer.code < 300, "{kind} {name}: {}", answer.text);
    }

    /// Removes an object of the configuration.
    pub fn remove(&self, kind: Kind, name: &str) {
        let all = kind.resource().path(Some(api::DEFAULT_NAMESPACE));
        self.plane().delete(&format!("{all}/{name}")).unwrap();
    }

    /// A Service in front of the pods, TCP port 80; `more` is laid over it.
    pub fn service(&self, name: &str, more: Value) {
        let mut object = json!({
            "metadata": {"name": name},
            "spec": {
                "type": "LoadBalancer",
                "selector": {"app": "web"},
                "ports": [{"name": "http", "port": 80, "targetPort": PORT}],
            },
        });
        lay_over(&mut object, more);
        self.plane().post(SERVICES, &object).unwrap();
    }

    /// Lays something over a Service that is there.
    pub fn change_service(&self, name: &str, change: &Value) {
        let path = format!("{SERVICES}/{name}");
        self.plane().patch(&path, change).unwrap();
    }

    /// Removes a Service.
    pub fn remove_service(&self, name: &str) {
        self.plane().delete(&format!("{SERVICES}/{name}")).unwrap();
    }

    /// The addresses of a Service, once it has so many.
    pub fn addresses(&self, name: &str, count: usize) -> Vec<IpAddr> {
        let found = product::await_addresses(self.plane(), "default", name, count);
        let found = found.unwrap().into_iter();
        found.map(|address| address.parse().unwrap()).collect()
    }

    /// The address of a Service, once it has one.
    pub fn address(&self, name: &str) -> IpAddr {
        self.addresses(name, 1)[0]
    }

    /// Gives a node a label, or takes it away.
    pub fn label(&self, node: &str, label: &str, value: Option<&str>) {
        let labels = json!({"metadata": {"labels": {label: value}}});
        let path = format!("/api/v1/nodes/{node}");
        self.plane().patch(&path, &labels).unwrap();
    }

    /// Says whether the network of a node is unavailable.
    pub fn mark_network(&self, node: &str, is_unavailable: bool) {
        let status = if is_unavailable { "True" } else { "False" };
        let conditions = [("Ready", "True"), ("NetworkUnavailable", status)]
            .map(|(kind, status)| json!({"type": kind, "status": status}));
        let path = format!("/api/v1/nodes/{node}/status");
        let status = json!({"status": {"conditions": conditions}});
        self.plane().patch(&path, &status).unwrap();
    }

    /// The node that answers first for an address at layer 2.
    pub fn holder(&self, address: IpAddr) -> Option<String> {
        let mac = self.cluster.lab.first_answer(address).unwrap()?;
        Some(self.place_of(&mac).0)
    }

    /// Everybody who answers for an address at layer 2: nodes with the interfaces they answer on.
    pub fn answerers(&self, address: IpAddr) -> Vec<(String, &'static str)> {
        let macs = match address {
            IpAddr::V4(_) => self.cluster.lab.arping_within(address, ANSWER),
            IpAddr::V6(_) => self.cluster.lab.ndisc(address),
        };
        let macs = macs.unwrap();
        let mut places: Vec<_> = macs.iter().map(|mac| self.place_of(mac)).collect();
        places.sort();
        places
    }

    /// The node that alone answers for an address, once it does.
    pub fn the_one_holder(&self, address: IpAddr) -> String {
        let what = format!("one node to answer for {address}");
        let (holder, _) = patience::eventually(&what, SOON, || {
            let mut places = self.answerers(address);
            Ok(places.pop().filter(|_| places.is_empty()))
        })
        .unwrap();
        holder.0
    }

    /// Waits until an address is one node's, whom nobody contradicts.
    pub fn await_holder(&self, address: IpAddr, node: &str) {
        let what = format!("{address} to be held by {node}");
        let is_held = || self.holder(address).as_deref() == Some(node);
        patience::until(&what, SOON, is_held).unwrap();
        assert_eq!(self.the_one_holder(address), node);
    }

    /// Waits until an address is held by another node than this one; returns which.
    pub fn await_other_holder(&self, address: IpAddr, node: &str) -> String {
        let what = format!("{address} to be held by another node than {node}");
        let is_elsewhere = || self.holder(address).is_some_and(|holder| holder != node);
        patience::until(&what, SOON, is_elsewhere).unwrap();
        let holder = self.the_one_holder(address);
        assert_ne!(holder, node);
        holder
    }

    /// Waits until nobody answers for an address at layer 2.
    pub fn await_silence(&self, address: IpAddr) {
        let what = format!("nobody to answer for {address}");
        let is_silent = || self.answerers(address).is_empty();
        patience::until(&what, SOON, is_silent).unwrap();
    }

    /// Waits until the router has exactly these nodes as next hops for an address.
    pub fn await_next_hops(&self, address: IpAddr, numbers: &[usize]) {
        let hops: Vec<String> = numbers
            .iter()
            .map(|number| self.cluster.node(*number))
            .map(|node| match address {
                IpAddr::V4(_) => node.v4.to_string(),
                IpAddr::V6(_) => node.v6.to_string(),
            })
            .collect();
        let length = if address.is_ipv4() { 32 } else { 128 };
        let lab = &self.cluster.lab;
        lab.await_next_hops(&format!("{address}/{length}"), &hops, SOON)
            .unwrap();
    }

    /// What a client gets from port 80 of an address.
    pub fn ask(&self, from: &Namespace, address: IpAddr) -> Option<Answer> {
        let body = self.cluster.lab.curl(from, address, 80)?;
        let mut words = body.split_whitespace();
        let client = words.find_map(|word| word.strip_prefix("client="));
        Some(Answer {
            pod: probe::node_of(&body)?,
            client: client?.parse().unwrap(),
        })
    }

    /// The same, once there is an answer that is as wanted.
    pub fn await_answer(
        &self,
        from: &Namespace,
        address: IpAddr,
        is_wanted: impl Fn(&Answer) -> bool,
    ) -> Answer {
        let mut seen = None;
        let what = format!("an answer of {address}");
        let answer = patience::eventually(&what, SOON, || {
            seen = self.ask(from, address);
            Ok(seen.clone().filter(&is_wanted))
        });
        answer
            .unwrap_or_else(|error| panic!("{error:#}: {seen:?}"))
            .0
    }

    /// Waits until nothing comes back from port 80 of an address.
    pub fn await_refusal(&self, from: &Namespace, address: IpAddr) {
        let place = (address, 80).into();
        let what = format!("{address} to be out of reach");
        let is_refused = || from.inside(|| probe::get(place, probe::PATIENCE)).unwrap();
        patience::until(&what, SOON, || (0..3).all(|_| is_refused().is_none())).unwrap();
    }

    /// The reports of a kind about a Service.
    pub fn reports(&self, resource: api::Resource, service: &str) -> Vec<Value> {
        let mut items = self.list(&resource.path(Some(api::DEFAULT_NAMESPACE)));
        items.retain(|item| item["status"]["serviceName"] == service);
        items
    }

    /// Nodes that said they announce a Service at layer 2, in the order of their saying.
    pub fn announced_by(&self, service: &str) -> Vec<String> {
        let events = product::events(self.plane(), "default", service).unwrap();
        let mut nodes = Vec::new();
        for (_, message) in events.iter().filter(|(reason, _)| reason == "nodeAssigned") {
            let mut words = message.split('"');
            let node = words.nth(1).unwrap();
            if words.nth(1) == Some("layer2") {
                nodes.push(node.to_owned());
            }
        }
        nodes
    }

    fn list(&self, path: &str) -> Vec<Value> {
        let list = self.plane().get(path).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// Makes it as it was in the beginning.
    fn restore(&mut self) {
        for service in self.list(SERVICES) {
            if service["spec"]["type"] == "LoadBalancer" {
                self.remove_service(service["metadata"]["name"].as_str().unwrap());
            }
        }
        for kind in [Kind::IpAddressPool, Kind::L2Advertisement] {
            let path = kind.resource().path(Some(api::DEFAULT_NAMESPACE));
            let others = format!("{path}?fieldSelector=metadata.name%21%3D{STANDING}");
            self.plane().delete(&others).unwrap();
        }
        self.restore_nodes();
        for number in 1..=self.cluster.lab.segment.nodes.len() {
            if !self.speakers.contains_key(&number) {
                self.start_speaker(number);
                self.await_candidate(number);
            }
            if self.links.remove(&number).is_some() {
                self.cluster.lab.segment.remove_link(number).unwrap();
            }
            if self.has_own_links {
                // Not there, if the proof that made them did not get so far.
                drop(self.cluster.lab.segment.remove_own_link(number));
            }
        }
        self.has_own_links = false;
        let statuses = api::SERVICE_L2_STATUS.path(Some(api::DEFAULT_NAMESPACE));
        let is_quiet = || self.list(&statuses).is_empty();
        patience::until("nothing to be announced", SOON, is_quiet).unwrap();
    }

    /// Only what differs: asking and writing takes most of a proof's time.
    fn restore_nodes(&self) {
        for node in self.list("/api/v1/nodes") {
            let name = node["metadata"]["name"].as_str().unwrap();
            let labels = node["metadata"]["labels"].as_object().unwrap().keys();
            for label in labels.filter(|label| *label != "kubernetes.io/hostname") {
                self.label(name, label, None);
            }
            let conditions = node["status"]["conditions"].as_array().unwrap();
            if conditions.len() > 1 {
                self.mark_network(name, false);
            }
        }
        for pod in self.list("/api/v1/namespaces/default/pods") {
            let name = pod["metadata"]["name"].as_str().unwrap();
            if pod["status"]["conditions"][0]["status"] != "True" {
                self.plane().mark_pod("default", name, true).unwrap();
            }
        }
    }
}

impl Deref for Visit {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.0
    }
}

impl DerefMut for Visit {
    fn deref_mut(&mut self) -> &mut Site {
        &mut self.0
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The site is never dropped, so that nobody else would say it.
            self.plane().keep_words();
        }
    }
}

fn lay_over(object: &mut Value, more: Value) {
    match (object, more) {
        (Value::Object(object), Value::Object(more)) => {
            for (key, value) in more {
                lay_over(object.entry(key).or_insert(Value::Null), value);
            }
        }
        (object, more) => *object = more,
    }
}
