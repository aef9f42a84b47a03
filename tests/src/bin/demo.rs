//! Three nodes, a router and a client on this machine: addresses are given, announced and answered,
//! and three ways of losing a node are tried under load.
//!
//! `demo` runs it, `demo remove` takes away what `KEEP=1` left. It ends with status 0 only if every
//! step held.
#![expect(clippy::print_stdout, reason = "the demo is what it prints")]
#![expect(clippy::disallowed_methods, reason = "the demo copies its manifests")]

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ferrolb_tests::lab::{Lab, Probe};
use ferrolb_tests::peer::bird::Bird;
use ferrolb_tests::probe::Record;
use ferrolb_tests::process::{output, tail};
use ferrolb_tests::{patience, programs};

const PREFIX: &str = "ferrolb-";
/// Names the directory of a demo that was kept.
const KEPT: &str = "/run/ferrolb-demo";
const SOON: Duration = Duration::from_secs(15);
const NODES: [&str; 3] = ["n1", "n2", "n3"];

fn main() -> ExitCode {
    patience::interruptible();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nThe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    if std::env::args().nth(1).as_deref() == Some("remove") {
        return remove();
    }
    if !left_over()?.is_empty() {
        bail!("an earlier demo is still up: make demo-remove takes it away");
    }
    let start = Instant::now();
    let mut demo = Demo::new()?;
    let outcome = demo.run();
    if let Err(error) = &outcome {
        println!("\nThe demo failed: {error:#}");
        demo.explain();
    } else {
        println!(
            "\nEvery step held, in {:.0} s.",
            start.elapsed().as_secs_f32()
        );
    }
    if std::env::var_os("KEEP").is_some_and(|value| !value.is_empty() && value != "0") {
        demo.keep();
    }
    outcome
}

struct Demo {
    lab: Lab,
    router: Option<Bird>,
}

/// An address that clients use, and how it is announced.
struct Front {
    title: &'static str,
    address: IpAddr,
    is_routed: bool,
}

/// How a node is lost.
#[derive(Clone, Copy, PartialEq)]
enum Loss {
    Stop,
    Kill,
    Cut,
}

impl Demo {
    fn new() -> Result<Self> {
        heading("Three nodes, a router and a client");
        let lab = Lab::bare(PREFIX, 3)?;
        for host in &lab.segment.nodes {
            println!("  {}      {}  {}", host.name, host.v4, host.v6);
        }
        println!("  router  192.168.1.1  fd00:1::1   BIRD, AS 64501");
        println!("  client  10.9.0.2  fd09::2   behind the router");
        let samples = programs::workspace().join("config/samples/demo");
        for entry in std::fs::read_dir(samples)? {
            let entry = entry?;
            std::fs::copy(entry.path(), lab.manifests().join(entry.file_name()))?;
        }
        Ok(Self { lab, router: None })
    }

    fn run(&mut self) -> Result<()> {
        self.lab.serve_http(&[30080, 30443, 30081, 30090, 30082])?;
        self.start_router()?;
        self.lab.start_controller()?;
        let fronts = self.addresses()?;
        self.lab.start_speakers()?;
        self.layer2(&fronts)?;
        self.bgp(&fronts)?;
        self.answers(&fronts)?;
        heading("Losing a node, with 100 requests a second to each address");
        for loss in [Loss::Stop, Loss::Kill, Loss::Cut] {
            self.lose(loss, &fronts)?;
        }
        Ok(())
    }

    fn start_router(&mut self) -> Result<()> {
        let mut neighbours = self.lab.neighbours(64501, 64500);
        for node in &self.lab.segment.nodes {
            let mut session = neighbours[0].clone();
            session.name = format!("{}_v6", node.name);
            session.local = self.lab.segment.router.v6.into();
            session.remote = node.v6.into();
            neighbours.push(session);
        }
        self.router = Some(self.lab.router(&neighbours)?);
        Ok(())
    }

    fn addresses(&self) -> Result<Vec<Front>> {
        heading("Addresses, as the controller gives them");
        let web = self.lab.await_addresses("web", 1)?;
        let grpc = self.lab.await_addresses("grpc", 2)?;
        let dual = self.lab.await_addresses("dual", 2)?;
        let ports = ["80, 443", "80, 9090", "80"];
        for ((name, addresses), ports) in [("web", &web), ("grpc", &grpc), ("dual", &dual)]
            .into_iter()
            .zip(ports)
        {
            let text: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
            println!("  {name:<9} {}   ports {ports}", text.join("  "));
        }
        self.left_alone()?;
        println!("  wishful   pending: {}", self.pending("wishful")?);
        Ok(vec![
            front("web by layer 2", web[0], false),
            front("dual by layer 2, IPv6", dual[1], false),
            front("grpc by BGP", grpc[0], true),
            front("grpc by BGP, IPv6", grpc[1], true),
        ])
    }

    fn left_alone(&self) -> Result<()> {
        for (name, kind) in [
            ("database", "ClusterIP"),
            ("metrics", "NodePort"),
            ("partner", "ExternalName"),
        ] {
            let status = self.lab.service("default", name);
            ensure!(status.is_none(), "{name} was not left alone: {status:?}");
            println!("  {name:<9} left alone, {kind}");
        }
        Ok(())
    }

    fn pending(&self, name: &str) -> Result<String> {
        let what = format!("the reason why {name} is pending");
        let (message, _) = patience::eventually(&what, SOON, || {
            let status = self.lab.service("default", name).unwrap_or_default();
            let conditions = status["status"]["conditions"].as_array().cloned();
            let refused = conditions
                .unwrap_or_default()
                .into_iter()
                .find(|condition| condition["status"] == "False");
            Ok(refused.and_then(|condition| condition["message"].as_str().map(str::to_owned)))
        })?;
        ensure!(
            self.lab.addresses("default", name).is_empty(),
            "{name} has an address"
        );
        Ok(message)
    }

    fn layer2(&self, fronts: &[Front]) -> Result<()> {
        heading("Layer 2: who answers ARP and NDP on the segment");
        for front in fronts.iter().filter(|front| !front.is_routed) {
            let holder = self.holder(front.address)?;
            println!(
                "  {:<22} {} is held by {holder}",
                front.title, front.address
            );
        }
        Ok(())
    }

    fn bgp(&self, fronts: &[Front]) -> Result<()> {
        heading("BGP: what the router sees");
        let router = self.router.as_ref().context("the router is up")?;
        for node in NODES {
            for name in [node.to_owned(), format!("{node}_v6")] {
                let time = router.await_established(&name, SOON)?;
                println!("  session {name:<6} Established ({} ms)", time.as_millis());
            }
        }
        for front in fronts.iter().filter(|front| front.is_routed) {
            let prefix = prefix(front.address);
            let time = self.await_paths(front.address, &NODES)?;
            println!("  {prefix}, three next hops after {} ms:", time.as_millis());
            let words = match front.address {
                IpAddr::V4(_) => format!("route show {prefix}"),
                IpAddr::V6(_) => format!("-6 route show {prefix}"),
            };
            let routes = self.lab.segment.router.namespace.ip(&words)?;
            routes
                .lines()
                .for_each(|line| println!("    {}", line.trim()));
        }
        Ok(())
    }

    fn answers(&self, fronts: &[Front]) -> Result<()> {
        heading("HTTP, from the client behind the router");
        let client = &self.lab.segment.client.namespace;
        for front in fronts {
            let what = format!("an HTTP answer from {}", front.address);
            let (body, _) =
                patience::eventually(&what, SOON, || Ok(self.lab.curl(client, front.address, 80)))?;
            println!(
                "  {:<22} {:<16} {}",
                front.title,
                front.address,
                body.trim()
            );
        }
        for (front, port) in [(&fronts[0], 443), (&fronts[2], 9090)] {
            let body = self.lab.curl(client, front.address, port);
            let body = body.with_context(|| format!("no answer on port {port}"))?;
            println!("  {:<22} port {port:<11} {}", front.title, body.trim());
        }
        let refused = self.lab.curl(client, fronts[0].address, 81);
        ensure!(
            refused.is_none(),
            "a port that no Service has answered: {refused:?}"
        );
        Ok(())
    }

    fn lose(&mut self, loss: Loss, fronts: &[Front]) -> Result<()> {
        let victim = self.holder(fronts[0].address)?;
        let number = NODES
            .iter()
            .position(|node| *node == victim)
            .map_or(1, |index| index + 1);
        println!("  {}", loss.title(&victim));
        let probes: Vec<Probe> = fronts
            .iter()
            .map(|front| {
                let every = Duration::from_millis(10);
                self.lab.probe("probe-http", front.address, 80, every)
            })
            .collect::<Result<_>>()?;
        patience::pause(Duration::from_millis(500))?;
        match loss {
            Loss::Stop => drop(
                self.lab
                    .speaker(number)?
                    .terminate(Duration::from_secs(10))?,
            ),
            Loss::Kill => self.lab.speaker(number)?.kill(),
            Loss::Cut => self.lab.segment.cut(&victim)?,
        }
        patience::pause(loss.observation())?;
        for (front, probe) in fronts.iter().zip(probes) {
            verdict(loss, front, &probe.stop()?)?;
        }
        let successor = self.holder(fronts[0].address)?;
        ensure!(
            successor != victim,
            "{victim} still holds {}",
            fronts[0].address
        );
        println!("    {} is held by {successor}", fronts[0].address);
        match loss {
            Loss::Stop | Loss::Kill => self.lab.start_speaker(number)?,
            Loss::Cut => self.lab.segment.mend(&victim)?,
        }
        let mut back = Duration::ZERO;
        for front in fronts.iter().filter(|front| front.is_routed) {
            back = back.max(self.await_paths(front.address, &NODES)?);
        }
        println!(
            "    {victim} is back, all its routes after {} ms",
            back.as_millis()
        );
        // Whoever holds the addresses now, the next loss begins from rest.
        patience::pause(Duration::from_millis(700))
    }

    fn holder(&self, address: IpAddr) -> Result<String> {
        let what = format!("one node to answer for {address}");
        let (holder, _) = patience::eventually(&what, SOON, || Ok(self.lab.holder_seen(address)))?;
        Ok(holder)
    }

    fn await_paths(&self, address: IpAddr, nodes: &[&str]) -> Result<Duration> {
        let segment = self.lab.segment.nodes.iter();
        let hops: Vec<String> = segment
            .filter(|host| nodes.contains(&host.name.as_str()))
            .map(|host| match address {
                IpAddr::V4(_) => host.v4.to_string(),
                IpAddr::V6(_) => host.v6.to_string(),
            })
            .collect();
        self.lab.await_next_hops(&prefix(address), &hops, SOON)
    }

    fn explain(&self) {
        for name in ["controller", "speaker-n1", "speaker-n2", "speaker-n3"] {
            let log = std::fs::read_to_string(self.lab.path().join(format!("{name}.log")));
            if let Ok(log) = log {
                println!("--- {name}\n{}", tail(&log, 15));
            }
        }
    }

    fn keep(mut self) {
        if let Some(router) = self.router.take() {
            std::mem::forget(router);
        }
        let speaker = programs::speaker().unwrap_or_else(|_| PathBuf::from("ferrolb-speaker"));
        let dir = self.lab.keep();
        // Without it the directory stays behind, which is all.
        let _ = std::fs::write(KEPT, dir.as_os_str().as_encoded_bytes());
        let (dir, speaker) = (dir.display(), speaker.display());
        println!(
            "\nIt is still up. To look around:\n\
             \x20 {speaker} status --socket {dir}/speaker-n1.sock\n\
             \x20 ip netns exec {PREFIX}c curl http://192.168.1.240/\n\
             \x20 ip netns exec {PREFIX}l arping -I eth0 -c 3 192.168.1.240\n\
             \x20 birdc -s {dir}/bird.ctl show protocols\n\
             \x20 ip -n {PREFIX}r route\n\
             \x20 ip netns exec {PREFIX}n1 nft list ruleset\n\
             \x20 ls {dir}/manifests {dir}/state   # edit the first, watch the second\n\
             To remove it: make demo-remove"
        );
    }
}

impl Loss {
    fn title(self, victim: &str) -> String {
        match self {
            Self::Stop => format!("{victim}: speaker stopped (SIGTERM)"),
            Self::Kill => format!("{victim}: speaker killed (SIGKILL)"),
            Self::Cut => format!("{victim}: link cut"),
        }
    }

    /// A cut link is noticed by the router when the hold time of 3 s ends.
    fn observation(self) -> Duration {
        match self {
            Self::Stop | Self::Kill => Duration::from_secs(2),
            Self::Cut => Duration::from_millis(5000),
        }
    }

    /// How long an address may go wrong.
    fn limit(self, front: &Front) -> Duration {
        match self {
            Self::Cut if front.is_routed => Duration::from_millis(4500),
            Self::Stop | Self::Kill | Self::Cut => Duration::from_millis(1000),
        }
    }
}

fn front(title: &'static str, address: IpAddr, is_routed: bool) -> Front {
    Front {
        title,
        address,
        is_routed,
    }
}

fn verdict(loss: Loss, front: &Front, record: &Record) -> Result<()> {
    let (outage, trouble) = (record.outage(), record.trouble());
    let answered = record.answered();
    let nodes: Vec<String> = answered
        .iter()
        .map(|(node, count)| format!("{node} {count}"))
        .collect();
    println!(
        "    {:<22} unreachable {:>4} ms; {:>3} of {} requests lost within {:>4} ms; answered by {}",
        front.title,
        outage.as_millis(),
        record.lost(),
        record.requests.len(),
        trouble.as_millis(),
        nodes.join(", "),
    );
    let end = record.requests.iter().rev().take(20);
    let is_well =
        end.clone().count() == 20 && end.into_iter().all(|request| request.node.is_some());
    ensure!(is_well, "{} did not recover", front.title);
    let limit = loss.limit(front);
    ensure!(
        trouble <= limit,
        "{} was in trouble for longer than {limit:?}",
        front.title
    );
    Ok(())
}

fn prefix(address: IpAddr) -> String {
    match address {
        IpAddr::V4(_) => format!("{address}/32"),
        IpAddr::V6(_) => format!("{address}/128"),
    }
}

fn heading(text: &str) {
    println!("\n{text}");
}

fn left_over() -> Result<Vec<String>> {
    let list = output(Command::new("ip").args(["netns", "list"]))?;
    let names = list.lines().filter_map(|line| line.split(' ').next());
    let names = names.filter(|name| name.starts_with(PREFIX));
    Ok(names.map(str::to_owned).collect())
}

/// Ends what runs inside the namespaces of a demo that was kept, and removes them.
fn remove() -> Result<()> {
    let names = left_over()?;
    for name in &names {
        let pids = output(Command::new("ip").args(["netns", "pids", name]))?;
        for pid in pids.split_whitespace() {
            // One that has just ended is as good.
            let _ = output(Command::new("kill").args(["-KILL", pid]));
        }
        output(Command::new("ip").args(["netns", "del", name]))?;
    }
    if let Ok(dir) = std::fs::read_to_string(KEPT) {
        let is_ours = Path::new(&dir).starts_with(std::env::temp_dir());
        if is_ours && Path::new(&dir).join("heartbeat.key").exists() {
            std::fs::remove_dir_all(dir)?;
        }
        std::fs::remove_file(KEPT)?;
    }
    println!("removed {} namespaces", names.len());
    Ok(())
}
