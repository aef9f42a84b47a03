//! A whole cluster on this machine: a real control plane, three nodes with kube-proxy and a speaker,
//! pods, a BIRD router and a client. Addresses are given to a tutorial's Services, announced and
//! answered; then a speaker, the active controller and a node are lost while requests run.
//!
//! It ends with status 0 only if every step held.
#![expect(clippy::print_stdout, reason = "the demo is what it prints")]
#![expect(clippy::disallowed_methods, reason = "the demo measures time")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ferrolb_tests::kubernetes::cluster::{Cluster, ProxyMode, Workload};
use ferrolb_tests::kubernetes::{Settings, product};
use ferrolb_tests::lab::Probe;
use ferrolb_tests::peer::bird::Bird;
use ferrolb_tests::process::{Process, tail};
use ferrolb_tests::{patience, programs};

const SOON: Duration = Duration::from_secs(20);
const NODES: [&str; 3] = ["n1", "n2", "n3"];

/// As tutorials have them: no namespace, no nodePort, no clusterIP.
const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata:
  name: api
  annotations: {metallb.io/address-pool: routed}
spec:
  type: LoadBalancer
  ipFamilyPolicy: PreferDualStack
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata:
  name: wishful
  annotations: {metallb.io/loadBalancerIPs: 203.0.113.7}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
";

fn main() -> ExitCode {
    patience::interruptible();
    let start = Instant::now();
    let held = Demo::new().and_then(|mut demo| {
        let outcome = demo.run();
        if outcome.is_err() {
            demo.explain();
        }
        outcome
    });
    match held {
        Ok(()) => {
            let seconds = start.elapsed().as_secs_f32();
            println!("\nEvery step held, in {seconds:.0} s.");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("\nThe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

struct Demo {
    // Before the cluster, so that they end first.
    controllers: BTreeMap<&'static str, Process>,
    speakers: BTreeMap<usize, Process>,
    router: Option<Bird>,
    cluster: Cluster,
}

/// An address that clients use.
struct Front {
    title: &'static str,
    address: IpAddr,
}

impl Demo {
    fn new() -> Result<Self> {
        heading("A control plane, three nodes with kube-proxy, a router and a client");
        let begin = Instant::now();
        let cluster = Cluster::start(3, ProxyMode::Nftables, Settings::default())?;
        println!("  up after {:.1} s", begin.elapsed().as_secs_f32());
        println!(
            "{}",
            indented(&kubectl(&cluster, &["get", "nodes", "-o", "wide"])?)
        );
        Ok(Self {
            controllers: BTreeMap::new(),
            speakers: BTreeMap::new(),
            router: None,
            cluster,
        })
    }

    fn run(&mut self) -> Result<()> {
        self.install()?;
        let fronts = self.addresses()?;
        self.layer2(&fronts)?;
        self.bgp(&fronts)?;
        self.answers(&fronts)?;
        heading("Losses, with 100 requests a second to each address");
        self.lose_speaker(&fronts)?;
        self.lose_controller(&fronts)?;
        self.lose_node(&fronts)
    }

    fn install(&mut self) -> Result<()> {
        heading("FerroLB: two controllers, a speaker on every node; pods; the router");
        product::install(&self.cluster.plane)?;
        let neighbours = self.cluster.lab.neighbours(64501, 64500);
        self.router = Some(self.cluster.lab.router(&neighbours)?);
        for node in 1..=NODES.len() {
            self.run_pod(node)?;
        }
        let first = product::active_controller(&self.cluster.plane, "controller-1", &[])?;
        self.controllers.insert("controller-1", first);
        let mut second = product::controller(&self.cluster.plane, "controller-2", &[])?;
        second.await_line("standing by", SOON)?;
        self.controllers.insert("controller-2", second);
        for number in 1..=3 {
            let speaker = product::speaker(&self.cluster, number, &[])?;
            self.speakers.insert(number, speaker);
        }
        println!("  controller-1 decides, controller-2 stands by, three speakers are ready");
        Ok(())
    }

    fn run_pod(&mut self, node: usize) -> Result<()> {
        self.cluster.run(&Workload {
            namespace: "default",
            name: &format!("web-{node}"),
            app: "web",
            node,
            ports: &[8080],
        })?;
        Ok(())
    }

    fn addresses(&self) -> Result<Vec<Front>> {
        heading("kubectl apply: pools, advertisements, a peer, and a tutorial's Services");
        let plane = &self.cluster.plane;
        let samples = programs::workspace().join("config/samples/demo");
        for file in ["layer2.yaml", "bgp.yaml"] {
            let path = samples.join(file).display().to_string();
            print!(
                "{}",
                indented(&plane.kubectl(&["apply", "-f", &path], None)?)
            );
        }
        let begin = Instant::now();
        print!(
            "{}",
            indented(&plane.kubectl(&["apply", "-f", "-"], Some(SERVICES))?)
        );
        let web = product::await_addresses(plane, "default", "web", 1)?;
        let api = product::await_addresses(plane, "default", "api", 2)?;
        println!("  all addressed {} ms after", begin.elapsed().as_millis());
        println!(
            "\n{}",
            indented(&kubectl(&self.cluster, &["get", "services"])?)
        );
        let what = "the event on the pending Service";
        let (event, _) = patience::eventually(what, SOON, || {
            let events = product::events(plane, "default", "wishful")?;
            Ok(events
                .into_iter()
                .find(|(reason, _)| reason == "AllocationFailed"))
        })?;
        println!("  kubectl describe service wishful");
        let described = kubectl(&self.cluster, &["describe", "service", "wishful"])?;
        print!("{}", indented(&described));
        ensure!(
            described.contains(&event.1),
            "kubectl describe does not show why"
        );
        let parse = |text: &String| text.parse().context("an address");
        Ok(vec![
            front("web by layer 2", parse(&web[0])?),
            front("api by BGP", parse(&api[0])?),
        ])
    }

    fn layer2(&self, fronts: &[Front]) -> Result<()> {
        heading("Layer 2: who answers");
        let holder = self.holder(fronts[0].address)?;
        println!("  {} is held by {holder}", fronts[0].address);
        let what = "a ServiceL2Status that names the holder";
        let words = ["get", "servicel2statuses", "-n", "metallb-system"];
        let (table, _) = patience::eventually(what, SOON, || {
            let table = kubectl(&self.cluster, &words)?;
            Ok(table.contains(&holder).then_some(table))
        })?;
        println!("{}", indented(&table));
        Ok(())
    }

    fn bgp(&self, fronts: &[Front]) -> Result<()> {
        heading("BGP: what the router has");
        let router = self.router.as_ref().context("the router is up")?;
        for node in NODES {
            let time = router.await_established(node, SOON)?;
            println!("  session {node} Established ({} ms)", time.as_millis());
        }
        let time = self.await_paths(fronts[1].address)?;
        let address = fronts[1].address;
        println!(
            "  {address}/32 by three next hops ({} ms)",
            time.as_millis()
        );
        Ok(())
    }

    fn answers(&self, fronts: &[Front]) -> Result<()> {
        heading("HTTP, from the client behind the router");
        let lab = &self.cluster.lab;
        for front in fronts {
            let what = format!("an HTTP answer from {}", front.address);
            let client = &lab.segment.client.namespace;
            let ask = || Ok(lab.curl(client, front.address, 80));
            let (body, _) = patience::eventually(&what, SOON, ask)?;
            println!(
                "  {:<16} {:<16} {}",
                front.title,
                front.address,
                body.trim()
            );
        }
        Ok(())
    }

    fn lose_speaker(&mut self, fronts: &[Front]) -> Result<()> {
        let victim = self.holder(fronts[0].address)?;
        let number = number(&victim);
        println!("  {victim}: speaker killed (SIGKILL)");
        let probes = self.probe(fronts)?;
        let speaker = self.speakers.get_mut(&number);
        speaker.context("a speaker runs there")?.kill();
        self.judge(fronts, probes, Duration::from_secs(1))?;
        let speaker = product::speaker(&self.cluster, number, &[])?;
        self.speakers.insert(number, speaker);
        self.await_paths(fronts[1].address).map(drop)
    }

    fn lose_controller(&mut self, fronts: &[Front]) -> Result<()> {
        println!("  controller-1, the active one, killed (SIGKILL)");
        let probes = self.probe(fronts)?;
        let first = self.controllers.get_mut("controller-1");
        first.context("it runs")?.kill();
        let begin = Instant::now();
        let late = SERVICES.replace("name: web}", "name: late}");
        let late = late.split("---").next().unwrap_or_default();
        self.cluster
            .plane
            .kubectl(&["apply", "-f", "-"], Some(late))?;
        let address = product::await_addresses(&self.cluster.plane, "default", "late", 1)?;
        let elapsed = begin.elapsed().as_millis();
        println!(
            "    a new Service has {} from controller-2 after {elapsed} ms",
            address[0]
        );
        self.judge(fronts, probes, Duration::ZERO)
    }

    /// The controllers of this rig do not look after Nodes: that its pod is gone is said here at once,
    /// as a kubelet or the node controller would say it in time.
    fn lose_node(&mut self, fronts: &[Front]) -> Result<()> {
        let victim = self.holder(fronts[0].address)?;
        let number = number(&victim);
        let pod = format!("web-{number}");
        println!(
            "  {victim}: everything on it is lost at once, and its link; its pod marked unready"
        );
        let probes = self.probe(fronts)?;
        self.cluster.lab.segment.cut(&victim)?;
        self.speakers.remove(&number);
        self.cluster.proxy(number)?.kill();
        self.cluster.pod("default", &pod)?.server().kill();
        self.cluster.plane.mark_pod("default", &pod, false)?;
        // The router notices when the hold time of 3 s ends.
        self.judge(fronts, probes, Duration::from_millis(5500))?;
        let successor = self.holder(fronts[0].address)?;
        ensure!(successor != victim, "{victim} still holds its address");
        println!("    {} is held by {successor}", fronts[0].address);
        self.cluster.lab.segment.mend(&victim)?;
        self.cluster.restart_proxy(number)?;
        self.cluster.remove("default", &pod)?;
        self.run_pod(number)?;
        let speaker = product::speaker(&self.cluster, number, &[])?;
        self.speakers.insert(number, speaker);
        let time = self.await_paths(fronts[1].address)?;
        println!(
            "    {victim} is back; {} ms later the router has its path again",
            time.as_millis()
        );
        Ok(())
    }

    fn probe(&self, fronts: &[Front]) -> Result<Vec<Probe>> {
        let every = Duration::from_millis(10);
        let probe = |front: &Front| {
            self.cluster
                .lab
                .probe("probe-http", front.address, 80, every)
        };
        let probes = fronts.iter().map(probe).collect();
        patience::pause(Duration::from_millis(500))?;
        probes
    }

    /// Watches on for a second and says for how long each address was out of reach.
    fn judge(&self, fronts: &[Front], probes: Vec<Probe>, limit: Duration) -> Result<()> {
        patience::pause(limit + Duration::from_secs(1))?;
        for (front, probe) in fronts.iter().zip(probes) {
            let record = probe.stop()?;
            let (outage, trouble) = (record.outage(), record.trouble());
            println!(
                "    {:<16} unreachable {:>4} ms; {:>3} of {} requests lost within {:>4} ms",
                front.title,
                outage.as_millis(),
                record.lost(),
                record.requests.len(),
                trouble.as_millis(),
            );
            let end = record.requests.iter().rev().take(20);
            let is_well = end.filter(|request| request.node.is_some()).count() == 20;
            ensure!(is_well, "{} did not recover", front.title);
            ensure!(
                trouble <= limit,
                "{} was in trouble for too long",
                front.title
            );
        }
        Ok(())
    }

    fn holder(&self, address: IpAddr) -> Result<String> {
        let what = format!("one node to answer for {address}");
        let lab = &self.cluster.lab;
        let (holder, _) = patience::eventually(&what, SOON, || Ok(lab.holder_seen(address)))?;
        Ok(holder)
    }

    fn await_paths(&self, address: IpAddr) -> Result<Duration> {
        let lab = &self.cluster.lab;
        let hops: Vec<String> = lab.segment.nodes.iter().map(|n| n.v4.to_string()).collect();
        lab.await_next_hops(&format!("{address}/32"), &hops, SOON)
    }

    fn explain(&self) {
        let all = self.controllers.values().chain(self.speakers.values());
        for process in all {
            println!("--- {}\n{}", process.name(), tail(&process.log(), 15));
        }
    }
}

fn front(title: &'static str, address: IpAddr) -> Front {
    Front { title, address }
}

fn number(node: &str) -> usize {
    let position = NODES.iter().position(|name| *name == node);
    position.map_or(1, |index| index + 1)
}

fn kubectl(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    cluster.plane.kubectl(arguments, None)
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

fn heading(text: &str) {
    println!("\n{text}");
}
