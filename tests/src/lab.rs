//! A segment with the two programs on it: manifests in a directory, one controller, a speaker on
//! every node, servers behind the NodePorts.
#![expect(clippy::disallowed_methods, reason = "manifests and keys are files")]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::peer::{Neighbour, bird, frr};
use crate::probe::{self, Record};
use crate::process::{Process, output, tail, words};
use crate::segment::Segment;
use crate::{netns, patience, programs};

/// How long a program may take until it says `ready`.
pub const START: Duration = Duration::from_secs(20);

/// By what the speakers believe each other.
pub const HEARTBEAT_KEY: &str = "what the nodes share";

/// The laboratory. What it started ends with it; what the programs said is printed if a proof
/// panics.
#[derive(Debug)]
pub struct Lab {
    // Before the namespaces, so that processes end first.
    controller: Option<Process>,
    speakers: BTreeMap<usize, Process>,
    others: Vec<Process>,
    capture: Option<Process>,
    /// Namespaces and links.
    pub segment: Segment,
    /// Further arguments for every speaker.
    pub speaker_arguments: Vec<String>,
    dir: Option<TempDir>,
    path: PathBuf,
    // Last, so that the next one begins on a quiet machine.
    _turn: Option<Turn>,
}

/// The right to be one of the few laboratories of this process. Unlike the guard of a lock it may go
/// to another thread.
#[derive(Debug)]
struct Turn;

/// How many there are at a time: proofs measure time, and wait most of it.
const TOGETHER: usize = 2;

static TAKEN: Mutex<usize> = Mutex::new(0);
static GIVEN_BACK: Condvar = Condvar::new();

/// A probe that is running.
#[derive(Debug)]
pub struct Probe {
    process: Process,
    record: PathBuf,
}

impl Lab {
    /// With namespaces nobody else has, and everything on the segment recorded to a pcap. Two at a
    /// time in a process: proofs measure time.
    pub fn new(nodes: u8) -> Result<Self> {
        let turn = Turn::take();
        let mut lab = Self::bare(&netns::unique_prefix(), nodes)?;
        lab._turn = Some(turn);
        lab.record("256")?;
        Ok(lab)
    }

    /// Records so many bytes of every packet on the segment; 0 stands for all. What was recorded before
    /// is gone.
    pub fn record(&mut self, bytes: &str) -> Result<PathBuf> {
        let file = self.path.join("segment.pcap");
        self.capture = None;
        let mut command = self.segment.switch().command("tcpdump");
        // Without immediate mode packets lie in a ring for up to a second, and are lost at the end.
        command.args(["--immediate-mode", "-U", "-B", "65536"]);
        command.args(["-i", "br0", "-s", bytes]);
        command.args(["-Z", "root", "-w"]).arg(&file);
        let mut capture = Process::start("tcpdump", &mut command, &self.path)?;
        capture.await_line("listening on", Duration::from_secs(5))?;
        self.capture = Some(capture);
        Ok(file)
    }

    /// Ends the recording, all of it written.
    pub fn stop_recording(&mut self) -> Result<()> {
        let capture = self.capture.take();
        let mut capture = capture.context("nothing is being recorded")?;
        patience::pause(Duration::from_millis(200))?;
        capture.signal(libc::SIGINT);
        capture.await_end(Duration::from_secs(10)).map(drop)
    }

    /// With a prefix of the caller's, and nothing recorded.
    pub fn bare(prefix: &str, nodes: u8) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("ferrolb-").tempdir()?;
        let path = dir.path().to_owned();
        for name in ["manifests", "state"] {
            std::fs::create_dir(path.join(name))?;
        }
        std::fs::write(path.join("heartbeat.key"), format!("{HEARTBEAT_KEY}\n"))?;
        Ok(Self {
            controller: None,
            speakers: BTreeMap::new(),
            others: Vec::new(),
            capture: None,
            segment: Segment::new(prefix, nodes)?,
            speaker_arguments: Vec::new(),
            dir: Some(dir),
            path,
            _turn: None,
        })
    }

    /// Logs, sockets, keys and everything else of this laboratory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the programs read.
    pub fn manifests(&self) -> PathBuf {
        self.path.join("manifests")
    }

    /// What the controller writes and the speakers read.
    pub fn state(&self) -> PathBuf {
        self.path.join("state")
    }

    /// Puts a manifest in place, atomically, as an editor does.
    pub fn manifest(&self, name: &str, text: &str) -> Result<()> {
        let temporary = self.path.join("manifest.new");
        std::fs::write(&temporary, text)?;
        std::fs::rename(temporary, self.manifests().join(name))
            .with_context(|| format!("placing the manifest {name}"))
    }

    /// Takes a manifest away.
    pub fn remove_manifest(&self, name: &str) -> Result<()> {
        std::fs::remove_file(self.manifests().join(name))
            .with_context(|| format!("removing the manifest {name}"))
    }

    /// Starts the controller and waits for its `ready`.
    pub fn start_controller(&mut self) -> Result<()> {
        // It needs no network; there it can be found when everything is removed.
        let mut command = self.segment.switch().command(programs::controller()?);
        command.arg("run").arg("--manifests").arg(self.manifests());
        command.arg("--state").arg(self.state());
        let mut process = Process::start("controller", &mut command, &self.path)?;
        process.await_line("ready", START)?;
        self.controller = Some(process);
        Ok(())
    }

    /// Starts the speaker of a node, numbered from 1, and waits for its `ready`.
    pub fn start_speaker(&mut self, number: usize) -> Result<()> {
        let key = self.path.join("heartbeat.key");
        let arguments = vec!["--heartbeat-key-file".to_owned(), key.display().to_string()];
        self.start_speaker_with(number, &arguments)
    }

    /// Starts a speaker with arguments in place of the shared heartbeat key.
    pub fn start_speaker_with(&mut self, number: usize, arguments: &[String]) -> Result<()> {
        let node = format!("n{number}");
        let mut command = self.segment.nodes[number - 1]
            .namespace
            .command(programs::speaker()?);
        command.arg("run").arg("--manifests").arg(self.manifests());
        command.arg("--state").arg(self.state());
        command.args(["--node-name", &node]);
        command.arg("--socket").arg(self.socket(number));
        command.args(arguments).args(&self.speaker_arguments);
        let name = format!("speaker-{node}");
        // A log of a previous run of this speaker would answer for the new one.
        let old = self.path.join(format!("{name}.log"));
        if old.exists() {
            let earlier = std::fs::read(&old)?;
            let all = self.path.join(format!("{name}.earlier.log"));
            std::fs::write(all, earlier)?;
            std::fs::remove_file(old)?;
        }
        let mut process = Process::start(&name, &mut command, &self.path)?;
        process.await_line("ready", START)?;
        self.speakers.insert(number, process);
        Ok(())
    }

    /// Starts one on every node.
    pub fn start_speakers(&mut self) -> Result<()> {
        (1..=self.segment.nodes.len()).try_for_each(|number| self.start_speaker(number))
    }

    /// The controller's process.
    pub fn controller(&mut self) -> Result<&mut Process> {
        self.controller.as_mut().context("no controller is running")
    }

    /// A speaker's process.
    pub fn speaker(&mut self, number: usize) -> Result<&mut Process> {
        let process = self.speakers.get_mut(&number);
        process.with_context(|| format!("no speaker is running on n{number}"))
    }

    /// Runs a helper beside the others until the end.
    pub fn start(&mut self, name: &str, mut command: Command) -> Result<&mut Process> {
        let process = Process::start(name, &mut command, &self.path)?;
        self.others.push(process);
        self.others.last_mut().context("just pushed")
    }

    /// Web servers on these NodePorts of every node.
    pub fn serve_http(&mut self, ports: &[u16]) -> Result<()> {
        self.serve("http", ports)
    }

    /// UDP echo servers on these NodePorts of every node.
    pub fn serve_echo(&mut self, ports: &[u16]) -> Result<()> {
        self.serve("echo", ports)
    }

    fn serve(&mut self, what: &str, ports: &[u16]) -> Result<()> {
        for index in 0..self.segment.nodes.len() {
            let host = &self.segment.nodes[index];
            let mut command = host.namespace.command(programs::tool()?);
            command.args([what, &host.name]);
            command.args(ports.iter().map(u16::to_string));
            let name = format!("{what}-{}", host.name);
            self.start(&name, command)?
                .await_line("listening", Duration::from_secs(5))?;
        }
        Ok(())
    }

    /// Asks from the client behind the router, at a steady rate, until stopped.
    pub fn probe(&self, kind: &str, address: IpAddr, port: u16, every: Duration) -> Result<Probe> {
        let target = SocketAddr::new(address, port);
        self.probe_from(&self.segment.client.namespace, kind, target, every)
    }

    /// Datagrams of so many flows by turns, from the client behind the router.
    pub fn probe_flows(&self, target: SocketAddr, every: Duration, flows: usize) -> Result<Probe> {
        let from = &self.segment.client.namespace;
        self.probe_with(from, "probe-udp", target, every, &[flows.to_string()])
    }

    /// The same as [`Self::probe`], from another host.
    pub fn probe_from(
        &self,
        from: &netns::Namespace,
        kind: &str,
        target: SocketAddr,
        every: Duration,
    ) -> Result<Probe> {
        self.probe_with(from, kind, target, every, &[])
    }

    fn probe_with(
        &self,
        from: &netns::Namespace,
        kind: &str,
        target: SocketAddr,
        every: Duration,
        further: &[String],
    ) -> Result<Probe> {
        let address = target.ip();
        let name = format!("{kind}-{}", address.to_string().replace(':', "_"));
        let record = self.path.join(format!("{name}.record"));
        let milliseconds = every.as_millis().to_string();
        let mut command = from.command(programs::tool()?);
        command
            .args([kind, &target.to_string(), &milliseconds])
            .arg(&record)
            .args(further);
        let process = Process::start(&name, &mut command, &self.path)?;
        Ok(Probe { process, record })
    }

    /// The file where the controller wrote a Service's status, parsed.
    pub fn service(&self, namespace: &str, name: &str) -> Option<Value> {
        let path = self.state().join("services").join(namespace);
        let text = std::fs::read_to_string(path.join(format!("{name}.yaml"))).ok()?;
        serde_yaml::from_str(&text).ok()
    }

    /// The file in which a speaker says how it fares, parsed.
    pub fn node(&self, name: &str) -> Option<Value> {
        let path = self.state().join("nodes").join(name).join("status.yaml");
        serde_yaml::from_str(&std::fs::read_to_string(path).ok()?).ok()
    }

    /// The addresses the controller wrote for a Service.
    pub fn addresses(&self, namespace: &str, name: &str) -> Vec<IpAddr> {
        let status = self.service(namespace, name).unwrap_or_default();
        let ingress = status["status"]["loadBalancer"]["ingress"]
            .as_array()
            .cloned();
        let entries = ingress.unwrap_or_default();
        let text = entries.iter().filter_map(|entry| entry["ip"].as_str());
        text.filter_map(|ip| ip.parse().ok()).collect()
    }

    /// Waits until a Service has this many addresses.
    pub fn await_addresses(&self, name: &str, count: usize) -> Result<Vec<IpAddr>> {
        let what = format!("{count} addresses for default/{name}");
        let (addresses, _) = patience::eventually(&what, Duration::from_secs(10), || {
            let addresses = self.addresses("default", name);
            Ok((addresses.len() == count).then_some(addresses))
        })?;
        Ok(addresses)
    }

    /// The socket of a node's speaker.
    pub fn socket(&self, number: usize) -> PathBuf {
        self.path.join(format!("speaker-n{number}.sock"))
    }

    /// What `ferrolb-speaker status -o json` says.
    pub fn status(&self, number: usize) -> Result<Value> {
        self.ask(number, "status", &[])
    }

    /// What `rebalance` says at a node.
    pub fn rebalance(&self, number: usize, arguments: &[&str]) -> Result<Value> {
        self.ask(number, "rebalance", arguments)
    }

    /// What `drain` says at a node.
    pub fn drain(&self, number: usize, arguments: &[&str]) -> Result<Value> {
        self.ask(number, "drain", arguments)
    }

    /// What `status --explain` says at a node.
    pub fn explain(&self, number: usize, address: IpAddr) -> Result<Value> {
        self.ask(number, "status", &["--explain", &address.to_string()])
    }

    fn ask(&self, number: usize, what: &str, arguments: &[&str]) -> Result<Value> {
        let mut command = Command::new(programs::speaker()?);
        command.arg(what).arg("--socket").arg(self.socket(number));
        let text = output(command.args(arguments).args(["-o", "json"]))?;
        serde_json::from_str(&text).with_context(|| format!("{what} is no JSON: {text}"))
    }

    /// How the router is configured for a session with every node, over IPv4.
    pub fn neighbours(&self, local_asn: u32, node_asn: u32) -> Vec<Neighbour> {
        let nodes = self.segment.nodes.iter();
        nodes
            .map(|node| Neighbour {
                name: node.name.clone(),
                local: self.segment.router.v4.into(),
                local_asn,
                remote: node.v4.into(),
                remote_asn: node_asn,
                hold_time: 9,
            })
            .collect()
    }

    /// Starts BIRD on the router.
    pub fn router(&self, neighbours: &[Neighbour]) -> Result<bird::Bird> {
        self.bird(&bird::router(self.segment.router.v4, neighbours))
    }

    /// The same, with a configuration of the caller's.
    pub fn bird(&self, config: &str) -> Result<bird::Bird> {
        let namespace = &self.segment.router.namespace;
        bird::Bird::start(namespace, &self.path, "bird", config)
    }

    /// Starts FRR on the router.
    pub fn frr(&self, config: &str) -> Result<frr::Frr> {
        frr::Frr::start(&self.segment.router.namespace, &self.path, config)
    }

    /// Next hops of the router's kernel for an address, sorted; empty when it has no route of a
    /// routing daemon's.
    pub fn next_hops(&self, prefix: &str) -> Result<Vec<String>> {
        let family = if prefix.contains(':') { "-6" } else { "-4" };
        let words = format!("-j {family} route show {prefix}");
        let text = self.segment.router.namespace.ip(&words)?;
        Ok(next_hops(&text))
    }

    /// Waits until the router's kernel has exactly these next hops for a prefix.
    pub fn await_next_hops(
        &self,
        prefix: &str,
        wanted: &[String],
        limit: Duration,
    ) -> Result<Duration> {
        let mut seen = Vec::new();
        let mut wanted = wanted.to_vec();
        wanted.sort();
        let what = format!("{prefix} via {wanted:?}");
        patience::until(&what, limit, || {
            seen = self.next_hops(prefix).unwrap_or_default();
            seen == wanted
        })
        .with_context(|| format!("next hops of {prefix} are {seen:?}"))
    }

    /// The node whose hardware address the segment's client sees behind an address, after asking
    /// afresh.
    pub fn holder_seen(&self, address: IpAddr) -> Option<String> {
        let mac = match address {
            IpAddr::V4(_) => self.arping(address).ok()?.into_iter().next()?,
            IpAddr::V6(_) => self.ndisc(address).ok()?.into_iter().next()?,
        };
        self.node_with(&mac)
    }

    /// The node that has this hardware address.
    pub fn node_with(&self, mac: &str) -> Option<String> {
        let mut nodes = self.segment.nodes.iter();
        let node = nodes.find(|node| node.mac.eq_ignore_ascii_case(mac))?;
        Some(node.name.clone())
    }

    /// Hardware addresses that answer one ARP request, as `arping` sees them.
    pub fn arping(&self, address: IpAddr) -> Result<Vec<String>> {
        self.arping_within(address, Duration::from_secs(1))
    }

    /// The same, of those that answer in less than a second.
    pub fn arping_within(&self, address: IpAddr, span: Duration) -> Result<Vec<String>> {
        let from = &self.segment.neighbour.namespace;
        self.arping_from(from, "eth0", address, span)
    }

    /// The same, asked from an interface of another host.
    pub fn arping_from(
        &self,
        from: &netns::Namespace,
        interface: &str,
        address: IpAddr,
        span: Duration,
    ) -> Result<Vec<String>> {
        // Interrupted, it still says what it has seen.
        let mut command = from.command("timeout");
        command.args(["--signal=INT", &format!("{}", span.as_secs_f32())]);
        command.args(["arping", "-c", "2", "-w", "1", "-I", interface]);
        command.arg(address.to_string());
        // It fails when fewer answer than were asked, which is no error here.
        let text = words(&mut command)?;
        let mut answers: Vec<String> = text
            .lines()
            .filter(|line| line.contains("reply from"))
            .filter_map(|line| line.split(['[', ']']).nth(1))
            .map(str::to_ascii_lowercase)
            .collect();
        answers.sort();
        answers.dedup();
        Ok(answers)
    }

    /// Hardware addresses that answer a neighbour solicitation, as `ndisc6` sees them.
    pub fn ndisc(&self, address: IpAddr) -> Result<Vec<String>> {
        let mut command = self.segment.neighbour.namespace.command("ndisc6");
        command.args(["-m", "-r", "1", "-w", "500", &address.to_string(), "eth0"]);
        let text = words(&mut command)?;
        let mut answers: Vec<String> = text
            .lines()
            .filter_map(|line| line.split_once("Target link-layer address:"))
            .map(|(_, mac)| mac.trim().to_ascii_lowercase())
            .collect();
        answers.sort();
        answers.dedup();
        Ok(answers)
    }

    /// Hardware address of the first that answers for an address, without waiting for others.
    pub fn first_answer(&self, address: IpAddr) -> Result<Option<String>> {
        let from = &self.segment.neighbour.namespace;
        let text = address.to_string();
        let (program, arguments) = match address {
            IpAddr::V4(_) => ("arping", ["-f", "-w1", "-I", "eth0", &text]),
            IpAddr::V6(_) => ("ndisc6", ["-1", "-r1", "-w300", &text, "eth0"]),
        };
        let text = words(from.command(program).args(arguments))?;
        let mut words = text.split([' ', '[', ']', '\n']);
        let is_mac = |word: &&str| word.len() == 17 && word.matches(':').count() == 5;
        Ok(words.find(is_mac).map(str::to_ascii_lowercase))
    }

    /// What a UDP server answers to one datagram from a host; `None` when it does not in time.
    pub fn datagram(&self, from: &netns::Namespace, address: IpAddr, port: u16) -> Option<String> {
        let exchange = || probe::datagram(SocketAddr::new(address, port));
        from.inside(exchange).ok()?
    }

    /// The body of an HTTP answer as `curl` gets it from a host; `None` when it gets none.
    pub fn curl(&self, from: &netns::Namespace, address: IpAddr, port: u16) -> Option<String> {
        let url = format!("http://{}/", SocketAddr::new(address, port));
        let mut command = from.command("curl");
        command.args(["-sS", "--max-time", "2", "--noproxy", "*", &url]);
        output(&mut command).ok()
    }

    /// Leaves namespaces, processes and files in place for looking around.
    pub fn keep(mut self) -> PathBuf {
        self.segment.keep();
        let processes = std::mem::take(&mut self.others).into_iter();
        let speakers = std::mem::take(&mut self.speakers).into_values();
        let all = processes.chain(speakers).chain(self.controller.take());
        // They live on as children of init.
        all.for_each(std::mem::forget);
        self.dir.take().map_or_else(PathBuf::new, TempDir::keep)
    }

    fn report(&self) -> String {
        let processes = self.controller.iter().chain(self.speakers.values());
        let mut text = String::new();
        for process in processes.chain(&self.others) {
            let log = tail(&process.log(), 40);
            if !log.is_empty() {
                text.push_str(&format!("--- {}\n{log}\n", process.name()));
            }
        }
        text
    }
}

impl Drop for Lab {
    #[expect(clippy::print_stderr, reason = "the report of a proof that failed")]
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let kept = self.dir.take().map(TempDir::keep).unwrap_or_default();
        eprintln!("{}", self.report());
        eprintln!("logs and segment.pcap are kept in {}", kept.display());
    }
}

impl Turn {
    fn take() -> Self {
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = GIVEN_BACK.wait_while(taken, |taken| *taken >= TOGETHER);
        *taken.unwrap_or_else(PoisonError::into_inner) += 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        GIVEN_BACK.notify_one();
    }
}

impl Probe {
    /// Ends it and reads what it saw.
    pub fn stop(mut self) -> Result<Record> {
        self.process.terminate(Duration::from_secs(5))?;
        Record::read(&self.record)
    }
}

fn next_hops(json: &str) -> Vec<String> {
    let routes: Value = serde_json::from_str(json).unwrap_or_default();
    let mut hops: Vec<String> = Vec::new();
    // BIRD's are called so, FRR's by where it has them from.
    let is_routers = |route: &&Value| route["protocol"] == "bird" || route["protocol"] == "bgp";
    for route in routes.as_array().into_iter().flatten().filter(is_routers) {
        match route["nexthops"].as_array() {
            Some(several) => hops.extend(several.iter().filter_map(gateway)),
            None => hops.extend(gateway(route)),
        }
    }
    hops.sort();
    hops
}

/// A next hop of the other family is printed as `via` and not as `gateway`.
fn gateway(hop: &Value) -> Option<String> {
    let text = hop["gateway"]
        .as_str()
        .or_else(|| hop["via"]["host"].as_str());
    text.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_hops_are_read_from_single_and_multipath_routes() {
        let one = r#"[{"dst":"10.1.1.1","gateway":"192.168.1.11","dev":"eth0","protocol":"bird"}]"#;
        assert_eq!(next_hops(one), ["192.168.1.11"]);
        let two = r#"[{"dst":"10.1.1.1","protocol":"bgp","nexthops":[{"gateway":"192.168.1.12"},
            {"via":{"family":"inet6","host":"fd00:1::11"}}]}]"#;
        assert_eq!(next_hops(two), ["192.168.1.12", "fd00:1::11"]);
        assert!(next_hops("[]").is_empty());
        let kernel = one.replace("bird", "kernel");
        assert!(next_hops(&kernel).is_empty(), "of the host's own");
    }
}
