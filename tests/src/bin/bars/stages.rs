//! One Service after the other on a cluster at rest: how long until it has an address, until the
//! segment knows who answers, until the router has a route, and until requests are answered.
#![expect(clippy::disallowed_methods, reason = "measures time")]

use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ferrolb_tests::kubernetes::cluster::Workload;
use ferrolb_tests::kubernetes::load::Call;
use ferrolb_tests::netns::Namespace;
use ferrolb_tests::{patience, probe};
use serde_json::json;

use super::site::{Site, Who};
use super::{Figure, address};

const ROUNDS: usize = 100;
const SOON: Duration = Duration::from_secs(20);

/// What is waited for, in the order of the columns.
const STAGES: [&str; 5] = [
    "address in the status",
    "neighbour entry on the segment",
    "route in BIRD's kernel table",
    "answer to a client on the segment",
    "answer to a client behind the router",
];

/// How long each stage took from the beginning of the request that creates the Service.
type Times = [Duration; STAGES.len()];

pub(crate) fn stages() -> Result<Vec<Figure>> {
    let ours = measured(Who::Ferrolb)?;
    let theirs = measured(Who::Metallb)?;
    let figure = |(stage, name): (usize, &str)| {
        let (median, worst) = spread(&ours, stage);
        let (their_median, their_worst) = spread(&theirs, stage);
        Figure {
            what: format!("one Service at a time, {ROUNDS} in a row: created until {name}"),
            measured: format!(
                "p50 {}, p99 {} ms (MetalLB: {}, {})",
                median.as_millis(),
                worst.as_millis(),
                their_median.as_millis(),
                their_worst.as_millis()
            ),
            bar: "told next to MetalLB",
            is_held: true,
        }
    };
    Ok(STAGES.into_iter().enumerate().map(figure).collect())
}

/// Median and 99th percentile of a stage.
fn spread(times: &[Times], stage: usize) -> (Duration, Duration) {
    let mut column: Vec<Duration> = times.iter().map(|times| times[stage]).collect();
    column.sort();
    // The least that so many percent of them do not exceed.
    let at = |percent: usize| column[(column.len() * percent).div_ceil(100).max(1) - 1];
    (at(50), at(99))
}

fn measured(who: Who) -> Result<Vec<Times>> {
    let mut site = Site::whole(who)?;
    site.announce_on_segment()?;
    for node in 1..=3 {
        site.cluster.run(&Workload {
            namespace: "default",
            name: &format!("web-{node}"),
            app: "web",
            node,
            ports: &[8080],
        })?;
    }
    site.start_controller()?;
    site.start_speakers()?;
    // Elections and first listening are over.
    patience::pause(Duration::from_secs(3))?;
    let segment = &site.cluster.lab.segment;
    let neighbour = &segment.neighbour.namespace;
    // The addresses are none of the segment's subnet; a client that is told so asks for them all the
    // same, and every few milliseconds where others wait for a second.
    neighbour.ip("route add 10.64.0.0/16 dev eth0")?;
    neighbour.sysctl(&["net/ipv4/neigh/eth0/retrans_time_ms=4"])?;
    let watch = Watch {
        neighbours: Monitor::start(neighbour, &["neigh", "dev", "eth0"])?,
        routes: Monitor::start(&segment.router.namespace, &["route"])?,
    };
    (0..ROUNDS)
        .map(|round| one(&site, &watch, round).with_context(|| format!("round {round}")))
        .collect()
}

/// What the kernels tell of what they have learnt.
struct Watch {
    neighbours: Monitor,
    routes: Monitor,
}

fn one(site: &Site, watch: &Watch, round: usize) -> Result<Times> {
    let (plane, segment) = (&site.cluster.plane, &site.cluster.lab.segment);
    let name = format!("web-{round}");
    let address = address(round);
    let call = create(&name, address);
    let writer = plane.writer()?;
    // A connection is made before the clock starts.
    writer.perform(
        vec![vec![Call::Patch(
            "/api/v1/namespaces/default".to_owned(),
            json!({"metadata": {"annotations": {"round": round.to_string()}}}),
        )]],
        1,
    )?;
    let follower = plane.follow("/api/v1/services")?;
    let client = |namespace: &Namespace| -> Result<mpsc::Receiver<Instant>> {
        let (sender, receiver) = mpsc::channel();
        namespace.spawn_inside(move || {
            let _ = sender.send(first_answer(address));
        })?;
        Ok(receiver)
    };
    let clients = [&segment.neighbour, &segment.client].map(|host| client(&host.namespace));
    let start = Instant::now();
    writer.perform(vec![vec![call]], 1)?;
    let addressed = follower.until("an address", SOON, |seen| {
        let is_there = seen.name() == name && !seen.addresses().is_empty();
        is_there.then_some(seen.at)
    })?;
    let text = address.to_string();
    let is_entry = |line: &str| line.starts_with(&format!("{text} ")) && line.contains("lladdr");
    let known = watch.neighbours.await_line(is_entry)?;
    let is_route = |line: &str| line.starts_with(&format!("{text} ")) && line.contains("bird");
    let routed = watch.routes.await_line(is_route)?;
    let [near, far] = clients.map(|answer| -> Result<Instant> {
        answer?.recv_timeout(SOON).context("a client has no answer")
    });
    let times = [addressed, known, routed, near?, far?];
    // What reports it writes is the next one's trouble no more.
    patience::pause(Duration::from_millis(100))?;
    Ok(times.map(|at| at.saturating_duration_since(start)))
}

fn create(name: &str, address: IpAddr) -> Call {
    let service = json!({
        "metadata": {
            "name": name, "annotations": {"metallb.io/loadBalancerIPs": address.to_string()},
        },
        "spec": {
            "type": "LoadBalancer", "selector": {"app": "web"},
            "ports": [{"port": 80, "targetPort": 8080}],
        },
    });
    Call::Create("/api/v1/namespaces/default/services".to_owned(), service)
}

/// Asks until there is an answer, or nobody has to wait any more.
fn first_answer(address: IpAddr) -> Instant {
    let end = Instant::now() + SOON;
    loop {
        let answer = probe::get(SocketAddr::new(address, 80), Duration::from_millis(30));
        let now = Instant::now();
        if answer.is_some() || now > end {
            return now;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A running `ip monitor`.
struct Monitor {
    child: Child,
    lines: mpsc::Receiver<(Instant, String)>,
}

impl Monitor {
    fn start(namespace: &Namespace, words: &[&str]) -> Result<Self> {
        let mut command = Command::new("ip");
        command
            .args(["-n", namespace.name(), "monitor"])
            .args(words);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().context("its output is a pipe")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines })
    }

    fn await_line(&self, is_wanted: impl Fn(&str) -> bool) -> Result<Instant> {
        let end = Instant::now() + SOON;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let (at, line) = self
                .lines
                .recv_timeout(left)
                .context("the kernel tells nothing")?;
            if is_wanted(&line) {
                return Ok(at);
            }
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_hundred_the_worst_but_one_is_the_99th_percentile() {
        let times: Vec<Times> = (1..=100)
            .map(|number| [Duration::from_millis(number); STAGES.len()])
            .collect();
        let expected = (Duration::from_millis(50), Duration::from_millis(99));
        assert_eq!(spread(&times, 0), expected);
    }
}
