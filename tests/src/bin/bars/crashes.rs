//! The node that holds an address crashes in a real cluster: FerroLB next to MetalLB.
//!
//! Three nodes announce, a fourth has the pod: what is lost on the way to it is the announcer's.
#![expect(clippy::disallowed_methods, reason = "measures time")]

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ferrolb_tests::kubernetes::cluster::Workload;
use ferrolb_tests::kubernetes::product;
use ferrolb_tests::netns::Namespace;
use ferrolb_tests::patience;
use serde_json::json;

use super::site::{NODES, Site, Who};
use super::{Figure, middle, repeated};

/// How often each kind of crash is tried.
const OURS: usize = 10;
const THEIRS: usize = 5;

const PORT: u16 = 53;
const POD_PORT: u16 = 8080;

/// MetalLB's members need a while to find each other again.
const LONG: Duration = Duration::from_secs(180);

/// How long nobody else answers until it counts.
const LASTING: Duration = Duration::from_secs(5);

const ANSWER: Duration = Duration::from_millis(400);

/// How the holder is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// With all that runs on the node: from the API server, too.
    Cut,
    /// Its speaker alone, and whoever asks for the address does so anew: the others' caches go on
    /// leading to the node, which goes on delivering.
    Kill,
}

impl Loss {
    const ALL: [Self; 2] = [Self::Cut, Self::Kill];

    fn name(self) -> &'static str {
        match self {
            Self::Cut => "link cut of the holder",
            Self::Kill => "kill -9 of the holder's speaker, the client asks anew",
        }
    }
}

pub(crate) fn crashes() -> Result<Vec<Figure>> {
    let (ours, theirs) = (repeated(OURS), repeated(THEIRS));
    let our_times = measured(Who::Ferrolb, ours)?;
    let their_times = measured(Who::Metallb, theirs)?;
    let figures = Loss::ALL
        .into_iter()
        .zip(our_times.iter().zip(&their_times));
    let figures = figures.map(|(loss, (our_times, their_times))| Figure {
        what: format!(
            "in Kubernetes, {NODES} nodes, 1 address, {ours} times {}: without an answer at 1 kHz",
            loss.name()
        ),
        measured: format!(
            "{} (MetalLB, {theirs} times: {})",
            told(our_times),
            told(their_times)
        ),
        bar: "told next to MetalLB",
        is_held: true,
    });
    Ok(figures.collect())
}

fn told(sorted: &[Duration]) -> String {
    let worst = sorted.last().copied().unwrap_or_default();
    format!(
        "median {} ms, worst {} ms",
        middle(sorted).as_millis(),
        worst.as_millis()
    )
}

/// The times of each kind of loss, sorted.
fn measured(who: Who, runs: usize) -> Result<Vec<Vec<Duration>>> {
    let mut segment = Segment::begin(who)?;
    let each = Loss::ALL.into_iter().map(|loss| {
        let times = (0..runs).map(|run| {
            let time = segment.lose(loss);
            time.with_context(|| format!("{who:?}, {loss:?}, run {run}"))
        });
        let mut times: Vec<Duration> = times.collect::<Result<_>>()?;
        times.sort();
        Ok(times)
    });
    each.collect()
}

/// A cluster with one address, and a client on its segment.
struct Segment {
    site: Site,
    who: Who,
    address: IpAddr,
}

impl Segment {
    fn begin(who: Who) -> Result<Self> {
        let mut site = Site::whole(who)?;
        site.announce_on_segment()?;
        site.start_controller()?;
        site.start_speakers()?;
        let number = site.cluster.add_node()?;
        let excluded = "node.kubernetes.io/exclude-from-external-load-balancers";
        let path = format!("/api/v1/nodes/{}", site.cluster.node(number).name);
        let label = json!({"metadata": {"labels": {excluded: ""}}});
        site.cluster.plane.patch(&path, &label)?;
        site.cluster.run(&Workload {
            namespace: "default",
            name: "web",
            app: "web",
            node: number,
            ports: &[POD_PORT],
        })?;
        site.cluster.echo("default", "web", &[POD_PORT])?;
        let spec = json!({
            "type": "LoadBalancer",
            "selector": {"app": "web"},
            "externalTrafficPolicy": "Cluster",
            "ports": [{"port": PORT, "protocol": "UDP", "targetPort": POD_PORT}],
        });
        let plane = &site.cluster.plane;
        plane.create_service("default", "web", &spec)?;
        let addresses = product::await_addresses(plane, "default", "web", 1)?;
        let address = addresses.first().context("just waited for")?.parse()?;
        let segment = Self { site, who, address };
        // The address is none of the segment's subnet; a client that is told so asks for it all the
        // same, and every few milliseconds where others wait for a second.
        let client = segment.client();
        client.ip("route add 10.64.0.0/16 dev eth0")?;
        client.sysctl(&["net/ipv4/neigh/eth0/retrans_time_ms=4"])?;
        Ok(segment)
    }

    fn client(&self) -> &Namespace {
        &self.site.cluster.lab.segment.neighbour.namespace
    }

    /// How long the client had no answer.
    fn lose(&mut self, loss: Loss) -> Result<Duration> {
        let number = self.holder()?;
        let (client, lab) = (self.client(), &self.site.cluster.lab);
        patience::until("an answer", LONG, || {
            lab.datagram(client, self.address, PORT).is_some()
        })?;
        let (target, every) = (
            SocketAddr::new(self.address, PORT),
            Duration::from_millis(1),
        );
        let probe = lab.probe_from(client, "probe-udp", target, every)?;
        patience::pause(Duration::from_millis(500))?;
        match loss {
            Loss::Cut => lab.segment.cut(&format!("n{number}"))?,
            Loss::Kill => {
                self.site.speakers[number - 1].kill();
                let flush = format!("neigh flush to {} dev eth0", self.address);
                self.client().ip(&flush)?;
            }
        }
        patience::pause(match self.who {
            Who::Ferrolb => Duration::from_secs(3),
            Who::Metallb => Duration::from_secs(20),
        })?;
        let record = probe.stop()?;
        let last = record.requests.last().context("somebody asked")?;
        ensure!(last.node.is_some(), "nobody has taken over");
        match loss {
            Loss::Cut => self.site.cluster.lab.segment.mend(&format!("n{number}"))?,
            Loss::Kill => self.site.restart_speaker(number)?,
        }
        Ok(record.outage())
    }

    /// The number of the node that alone answers for the address, and goes on to.
    fn holder(&self) -> Result<usize> {
        let mut lasting: Option<(String, Instant)> = None;
        let (holder, _) = patience::eventually("one lasting holder", LONG, || {
            let answers = self.site.cluster.lab.arping_within(self.address, ANSWER)?;
            let now = match answers.as_slice() {
                [mac] => self.site.cluster.lab.node_with(mac),
                _ => None,
            };
            match (now, &lasting) {
                (Some(now), Some((before, since))) if now == *before => {
                    Ok((since.elapsed() > LASTING).then_some(now))
                }
                (now, _) => {
                    lasting = now.map(|now| (now, Instant::now()));
                    Ok(None)
                }
            }
        })?;
        let number = holder.strip_prefix('n').context("nodes have numbers")?;
        number.parse().context("nodes have numbers")
    }
}
