//! Layer 2 in real network namespaces: three nodes and a client on a bridge with snooping on.
//!
//! The judges are `arping`, `ndisc6` and the client's own neighbour table. A node is this very test
//! binary, started again inside its namespace. Needs root; everything is removed at the end.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test of the world: processes, clocks and sleeping; what fails ends it"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ferrolb_crds::model::Secret;
use ferrolb_crds::rank;
use ferrolb_speaker::layer2::{Desired, Interfaces, Layer2, Report, Settings};

const V4: [&str; 3] = ["10.77.0.240", "10.77.0.241", "10.77.0.242"];
const V6: [&str; 3] = ["fd77::240", "fd77::241", "fd77::242"];
const CLIENT: &str = "fl2-c";
const SWITCH: &str = "fl2-sw";

fn ip(arguments: &str) -> Output {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output();
    output.expect("ip runs")
}

fn must(arguments: &str) {
    let output = ip(arguments);
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {why}");
}

/// A bridge with three nodes and a client; removed when dropped, also on a failure.
struct Lab {
    nodes: BTreeMap<u8, Node>,
}

impl Lab {
    fn up() -> Self {
        Self::remove();
        must(&format!("netns add {SWITCH}"));
        must(&format!(
            "-n {SWITCH} link add br0 type bridge mcast_snooping 1 mcast_querier 1 forward_delay 0"
        ));
        must(&format!("-n {SWITCH} link set br0 up"));
        for n in 1..=4 {
            let name = if n == 4 { CLIENT.to_owned() } else { name(n) };
            must(&format!("netns add {name}"));
            must(&format!(
                "link add p{n} netns {SWITCH} type veth peer name eth0 netns {name}"
            ));
            must(&format!("-n {name} link set eth0 address {} up", mac(n)));
            must(&format!("-n {name} link set lo up"));
            must(&format!("-n {name} addr add 10.77.0.{n}/24 dev eth0"));
            must(&format!("-n {name} addr add fd77::{n}/64 dev eth0 nodad"));
            must(&format!("-n {SWITCH} link set p{n} master br0 up"));
        }
        Self {
            nodes: BTreeMap::new(),
        }
    }

    fn start(&mut self, n: u8) {
        self.nodes.insert(n, Node::start(&name(n)));
    }

    fn remove() {
        let ends = [CLIENT.to_owned(), SWITCH.to_owned()];
        for name in (1..=3).map(name).chain(ends) {
            ip(&format!("netns del {name}"));
        }
    }

    fn settled(&self, live: &[u8]) {
        for n in live {
            self.nodes[n].wait(&live_line(live, *n));
        }
    }

    /// Which nodes answer the client, asked by arping and by ndisc6.
    fn answers(&self, at: usize) -> BTreeSet<String> {
        let arping = format!("netns exec {CLIENT} arping -c 2 -w 2 -I eth0 {}", V4[at]);
        let ndisc = format!("netns exec {CLIENT} ndisc6 -r 1 -w 1000 {} eth0", V6[at]);
        let [v4, v6] = [arping, ndisc].map(|command| {
            let output = ip(&command);
            macs(&String::from_utf8_lossy(&output.stdout).to_lowercase())
        });
        assert_eq!(v4.len(), 1, "one node answers arping for {}", V4[at]);
        assert_eq!(v6.len(), 1, "one node answers ndisc6 for {}", V6[at]);
        v4.union(&v6).cloned().collect()
    }

    /// The client's caches point to this node, and without its having asked.
    fn expect_neighbour(&self, at: usize, n: u8) {
        for address in [V4[at], V6[at]] {
            let output = ip(&format!("-n {CLIENT} neigh show {address} dev eth0"));
            let neighbour = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(
                neighbour.contains(&mac(n)),
                "{address} not at {n}: {neighbour}"
            );
        }
    }
}

fn macs(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_hexdigit() && c != ':');
    let macs = words.filter(|word| word.len() == 17 && word.starts_with("02:00:00:00:77"));
    macs.map(str::to_owned).collect()
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.nodes.clear();
        Self::remove();
    }
}

fn name(n: u8) -> String {
    format!("fl2-n{n}")
}

fn mac(n: u8) -> String {
    format!("02:00:00:00:77:{n:02x}")
}

/// What node `n` says when it knows that these live.
fn live_line(live: &[u8], n: u8) -> String {
    let others: Vec<String> = live.iter().filter(|o| **o != n).map(|o| name(*o)).collect();
    format!("live {}", others.join(","))
}

/// The node that must hold the address with this number while these live.
fn holder(at: usize, live: &[u8]) -> u8 {
    let names: Vec<String> = live.iter().map(|n| name(*n)).collect();
    let address = V4[at].parse().unwrap();
    let first = rank::first(address, names.iter().map(|name| (name.as_str(), 0))).unwrap();
    live[names.iter().position(|name| name == first).unwrap()]
}

/// A process that runs layer 2 and takes what it ranks first for.
struct Node {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<(u64, String)>,
}

impl Node {
    fn start(namespace: &str) -> Self {
        let mut child = Command::new("ip")
            .args(["netns", "exec", namespace])
            .arg(env::current_exe().unwrap())
            .args([
                "--exact",
                "a_node_in_its_namespace",
                "--ignored",
                "--nocapture",
            ])
            .env("FERROLB_LAYER2_TEST_NODE", namespace)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let said = line
                    .split_once("@ ")
                    .and_then(|(_, said)| said.split_once(' '));
                if let Some((at, said)) = said {
                    let said = (at.parse().unwrap(), said.to_owned());
                    if sender.send(said).is_err() {
                        return;
                    }
                }
            }
        });
        Self {
            stdin: child.stdin.take(),
            child,
            lines,
        }
    }

    /// Waits for a line and gives the time at which it was said, in microseconds.
    fn wait(&self, wanted: &str) -> u64 {
        let end = Instant::now() + Duration::from_secs(10);
        let mut seen = Vec::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok((at, said)) if said == wanted => return at,
                Ok((_, said)) => seen.push(said),
                Err(_) => panic!("{wanted:?} was never said, only {seen:?}"),
            }
        }
    }

    fn leave(&mut self) {
        drop(self.stdin.take());
        self.child.wait().unwrap();
    }

    fn signal(&self, name: &str) {
        let process = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &process]).status();
        assert!(sent.unwrap().success());
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.stdin.take());
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.child.kill().unwrap_or_default();
            self.child.wait().map(drop).unwrap_or_default();
        }
    }
}

fn micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_micros()).unwrap()
}

fn say(what: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "@ {} {what}", micros()).unwrap();
    out.flush().unwrap();
}

/// What the composition root does, in a few lines.
fn decide(node: &str, report: &Report) -> (Desired, BTreeSet<String>) {
    let live = report
        .nodes
        .iter()
        .filter(|(_, health)| !health.heard_on.is_empty());
    let live: BTreeSet<String> = live.map(|(name, _)| name.clone()).collect();
    let is_fit = !report.listening
        && report
            .interfaces
            .values()
            .any(|interface| interface.is_settled);
    let mut owned = BTreeMap::new();
    for (v4, v6) in V4.iter().zip(V6) {
        let address: IpAddr = v4.parse().unwrap();
        let own = is_fit.then_some(node);
        let candidates = live.iter().map(String::as_str).chain(own);
        if rank::first(address, candidates.map(|name| (name, 0))) == Some(node) {
            owned.insert(address, Interfaces::All);
            owned.insert(v6.parse().unwrap(), Interfaces::All);
        }
    }
    let heartbeat = Some(Interfaces::All);
    let desired = Desired {
        owned,
        heartbeat,
        ..Desired::default()
    };
    (desired, live)
}

async fn be_a_node(node: String) {
    let settings = Settings {
        node: node.clone(),
        key: Some(Secret::new("a shared key".to_owned())),
        interval: Duration::from_millis(100),
        down_after: None,
        reannounce: Some(Duration::from_secs(30)),
        exclusion: Default::default(),
    };
    let layer2 = Layer2::start(settings).unwrap();
    let mut report = layer2.report();
    let (closed, is_closed) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        std::io::stdin().read_line(&mut String::new()).unwrap();
        closed.send(()).unwrap_or_default();
    });
    let follow = async {
        let mut said = None;
        loop {
            let (desired, live) = decide(&node, &report.borrow_and_update());
            layer2.want(desired);
            let live = live.into_iter().collect::<Vec<_>>().join(",");
            if said.as_ref() != Some(&live) {
                say(&format!("live {live}"));
                said = Some(live);
            }
            report.changed().await.unwrap();
        }
    };
    tokio::select! {
        () = follow => {}
        _ = is_closed => {}
    }
    let began = Instant::now();
    layer2.leave().await;
    assert!(began.elapsed() < Duration::from_millis(500));
}

#[test]
#[ignore = "started by the other tests inside a namespace"]
fn a_node_in_its_namespace() {
    let Ok(node) = env::var("FERROLB_LAYER2_TEST_NODE") else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(be_a_node(node));
}

/// Does something and measures until each observer says that these and only these live.
fn detection(
    lab: &mut Lab,
    observers: &[u8],
    live: &[u8],
    what: &str,
    act: impl FnOnce(&mut Lab),
) -> f64 {
    for node in lab.nodes.values() {
        while node.lines.try_recv().is_ok() {}
    }
    let since = micros();
    act(lab);
    let waits = observers.iter().map(|n| {
        let at = lab.nodes[n].wait(&live_line(live, *n));
        at.saturating_sub(since) as f64 / 1000.0
    });
    let times: Vec<f64> = waits.collect();
    println!("{what}: detected after {times:.0?} ms");
    times.into_iter().fold(0.0, f64::max)
}

fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

#[test]
fn three_nodes_answer_fail_over_and_come_back() {
    let mut lab = Lab::up();
    (1..=3).for_each(|n| lab.start(n));
    lab.settled(&[1, 2, 3]);
    pause(500);

    // Each address is answered for by exactly the node that ranks first, in both families.
    for at in 0..3 {
        let first = holder(at, &[1, 2, 3]);
        assert_eq!(lab.answers(at), BTreeSet::from([mac(first)]));
    }

    let all = [1, 2, 3];
    let victim = holder(0, &all);
    let left: Vec<u8> = (1..=3).filter(|n| *n != victim).collect();
    let heir = holder(0, &left);
    for address in [V4[0], V6[0]] {
        ip(&format!("netns exec {CLIENT} ping -c 1 -W 1 {address}"));
    }
    lab.expect_neighbour(0, victim);

    let time = detection(&mut lab, &left, &left, "killed", |lab| {
        lab.nodes.get_mut(&victim).unwrap().kill();
    });
    assert!(time < 500.0, "{time}");
    pause(50);
    lab.expect_neighbour(0, heir);
    assert_eq!(lab.answers(0), BTreeSet::from([mac(heir)]));

    lab.start(victim);
    lab.settled(&[1, 2, 3]);
    pause(300);
    lab.expect_neighbour(0, victim);

    for (cut, mend) in [("down", "up"), ("nomaster", "master br0")] {
        let time = detection(&mut lab, &left, &left, cut, |_| {
            must(&format!("-n {SWITCH} link set p{victim} {cut}"));
        });
        assert!(time < 500.0, "{time}");
        pause(50);
        lab.expect_neighbour(0, heir);
        lab.nodes[&victim].wait("live ");
        detection(&mut lab, &all, &all, mend, |_| {
            must(&format!("-n {SWITCH} link set p{victim} {mend}"));
        });
        pause(500);
        lab.expect_neighbour(0, victim);
    }

    // Stopped for a while, it takes nobody for dead, and gets its addresses back with the caches.
    let time = detection(&mut lab, &left, &left, "stopped", |lab| {
        lab.nodes[&victim].signal("STOP");
    });
    assert!(time < 500.0, "{time}");
    pause(2000);
    lab.expect_neighbour(0, heir);
    detection(&mut lab, &left, &all, "continued", |lab| {
        lab.nodes[&victim].signal("CONT");
    });
    pause(500);
    lab.expect_neighbour(0, victim);
    assert!(lab.nodes[&victim].lines.try_recv().is_err());

    let time = detection(&mut lab, &left, &left, "left", |lab| {
        lab.nodes.get_mut(&victim).unwrap().leave();
    });
    assert!(time < 100.0, "{time}");
}

/// Two namespaces without a bridge between them; removed when dropped.
struct Pair;

impl Pair {
    const NODE: &str = "fl2-p-node";
    const CLIENT: &str = "fl2-p-client";

    fn up() -> Self {
        Self::remove();
        must(&format!("netns add {}", Self::NODE));
        must(&format!("netns add {}", Self::CLIENT));
        Self::connect("eth0", "02:00:00:00:77:a0", "10.78.0");
        Self
    }

    /// Connects the two; after the name of the link may come the number of the node's end.
    fn connect(link: &str, mac: &str, net: &str) {
        let (node, client) = (Self::NODE, Self::CLIENT);
        let arguments = link;
        let link = arguments.split(' ').next().unwrap();
        must(&format!(
            "link add {arguments} netns {node} type veth peer name {link} netns {client}"
        ));
        must(&format!("-n {node} link set {link} address {mac}"));
        for (namespace, host) in [(node, 1), (client, 9)] {
            must(&format!(
                "-n {namespace} addr add {net}.{host}/24 dev {link}"
            ));
            must(&format!("-n {namespace} link set {link} up"));
        }
    }

    /// The number of the node's end.
    fn index(link: &str) -> String {
        let output = ip(&format!("-n {} -o link show {link}", Self::NODE));
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        shown.split(':').next().unwrap().to_owned()
    }

    /// Changes that netlink tells about.
    fn storm() {
        for mtu in [1400, 1500].repeat(50) {
            must(&format!("-n {} link set eth0 mtu {mtu}", Self::NODE));
        }
    }

    /// How many messages the netlink sockets of the node had no room for.
    fn lost_messages() -> u32 {
        let output = ip(&format!("netns exec {} cat /proc/net/netlink", Self::NODE));
        let table = String::from_utf8_lossy(&output.stdout).into_owned();
        let drops = table.lines().skip(1).map(|line| {
            let column = line.split_whitespace().nth(8).unwrap();
            column.parse::<u32>().unwrap()
        });
        drops.sum()
    }

    fn remove() {
        ip(&format!("netns del {}", Self::NODE));
        ip(&format!("netns del {}", Self::CLIENT));
    }

    fn arping(link: &str) -> BTreeSet<String> {
        let client = Self::CLIENT;
        let command = format!("netns exec {client} arping -c 1 -w 1 -I {link} {}", V4[0]);
        macs(&String::from_utf8_lossy(&ip(&command).stdout).to_lowercase())
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        Self::remove();
    }
}

#[test]
fn a_node_follows_its_interfaces() {
    let pair = Pair::up();
    let none = BTreeSet::new();
    let one = |mac: &str| BTreeSet::from([mac.to_owned()]);
    let node = Node::start(Pair::NODE);
    node.wait("live ");
    pause(500);
    // The only candidate holds everything.
    assert_eq!(Pair::arping("eth0"), one("02:00:00:00:77:a0"));

    must(&format!(
        "-n {} link set eth0 address 02:00:00:00:77:a1",
        Pair::NODE
    ));
    pause(100);
    assert_eq!(Pair::arping("eth0"), one("02:00:00:00:77:a1"));

    Pair::connect("eth1", "02:00:00:00:77:b0", "10.79.0");
    assert_eq!(Pair::arping("eth1"), none, "it listens first");
    assert_eq!(Pair::arping("eth1"), one("02:00:00:00:77:b0"));
    assert_eq!(Pair::arping("eth0"), one("02:00:00:00:77:a1"));

    // A bridge takes the port over: the bridge answers, with the port's address.
    let namespace = Pair::NODE;
    must(&format!(
        "-n {namespace} link add br0 type bridge forward_delay 0"
    ));
    must(&format!("-n {namespace} link set eth1 master br0"));
    must(&format!(
        "-n {namespace} link set br0 address 02:00:00:00:77:bb up"
    ));
    pause(600);
    assert_eq!(Pair::arping("eth1"), one("02:00:00:00:77:bb"));

    must(&format!("-n {namespace} link del br0"));
    pause(600);
    assert_eq!(Pair::arping("eth1"), one("02:00:00:00:77:b0"));

    // Excluded by its name, and fit again.
    must(&format!("-n {namespace} link set eth1 down"));
    must(&format!("-n {namespace} link set eth1 name veth1"));
    must(&format!("-n {namespace} link set veth1 up"));
    pause(600);
    assert_eq!(Pair::arping("eth1"), none);
    must(&format!("-n {namespace} link del veth1"));
    Pair::connect("eth1", "02:00:00:00:77:b1", "10.79.0");
    pause(600);
    assert_eq!(Pair::arping("eth1"), one("02:00:00:00:77:b1"));

    // Deleted and made again with its number, name and address before anybody could look.
    let index = Pair::index("eth1");
    node.signal("STOP");
    must(&format!("-n {namespace} link del eth1"));
    Pair::connect(
        &format!("eth1 index {index}"),
        "02:00:00:00:77:b1",
        "10.79.0",
    );
    node.signal("CONT");
    assert_eq!(Pair::index("eth1"), index);
    assert_eq!(Pair::arping("eth1"), none, "it listens first");
    pause(600);
    assert_eq!(Pair::arping("eth1"), one("02:00:00:00:77:b1"));

    // More happened than the netlink socket holds: everything is listed again.
    node.signal("STOP");
    while Pair::lost_messages() == 0 {
        Pair::storm();
    }
    Pair::connect("eth2", "02:00:00:00:77:c0", "10.80.0");
    must(&format!("-n {namespace} link del eth1"));
    node.signal("CONT");
    pause(600);
    assert_eq!(Pair::arping("eth2"), one("02:00:00:00:77:c0"));
    assert_eq!(Pair::arping("eth0"), one("02:00:00:00:77:a1"));
    drop((node, pair));
}
