//! 10,000 prefixes to four peers: how much memory that takes, and how soon a change is on the wire.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ferrolb_tests::capture::{self, Sending, UPDATE};
use ferrolb_tests::lab::Lab;
use ferrolb_tests::objects::{assigned, bgp, nodes, peer, pool};
use ferrolb_tests::peer::Neighbour;
use ferrolb_tests::peer::bird::{self, Bird};
use ferrolb_tests::peer::gobgp::{self, Gobgp};
use ferrolb_tests::process::output;
use ferrolb_tests::segment::Host;
use ferrolb_tests::{netns, patience};

use super::tables::{SETTLE, announcer, unix_time};
use super::{Figure, PORT, SERVICES, address, repeated};

const PEERS: u8 = 4;

const SOON: Duration = Duration::from_secs(60);

/// Until everybody has done what follows from a new session.
const CALM: Duration = Duration::from_secs(5);

/// Changes of each of the two kinds.
const CHANGES: usize = 500;

/// What comes and goes with its Service, and what does with its endpoints.
const CHANGED: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 127, 0, 1), Ipv4Addr::new(10, 127, 0, 2)];

const CHANGE: &str = "change.yaml";

/// A node, and four routers that are each a host of its segment.
struct Four {
    // Before the hosts and the laboratory, so that they end first.
    routers: Vec<Bird>,
    hosts: Vec<Host>,
    lab: Lab,
}

pub(crate) fn memory() -> Result<Vec<Figure>> {
    let mut four = Four::begin()?;
    let ours = four.ours()?;
    four.lab.speaker(1)?.terminate(SOON)?;
    let birds = four.birds()?;
    let gobgps = four.gobgps()?;
    let [ours, birds, gobgps] = [ours, birds, gobgps].map(|bytes| bytes as f64 / 1_000_000.0);
    Ok(vec![Figure {
        what: format!("resident memory, 10,000 prefixes to {PEERS} peers"),
        measured: format!(
            "{ours:.1} MB, Kubernetes' objects included (BIRD: {birds:.1} MB, GoBGP: {gobgps:.1} MB)"
        ),
        bar: "told next to BIRD and GoBGP",
        is_held: true,
    }])
}

impl Four {
    /// The routers run, and nobody announces anything.
    fn begin() -> Result<Self> {
        let lab = Lab::bare(&netns::unique_prefix(), 1)?;
        let hosts =
            (1..=PEERS).map(|number| lab.segment.attach(&format!("p{number}"), 150 + number));
        let hosts: Vec<Host> = hosts.collect::<Result<_>>()?;
        let node = lab.segment.nodes[0].v4;
        let routers = hosts.iter().map(|host| {
            let neighbour = Neighbour {
                name: "n1".to_owned(),
                local: host.v4.into(),
                local_asn: 64501,
                remote: node.into(),
                remote_asn: 64500,
                hold_time: 9,
            };
            let config = bird::router(host.v4, &[neighbour]);
            Bird::start(&host.namespace, lab.path(), &host.name, &config)
        });
        Ok(Self {
            routers: routers.collect::<Result<_>>()?,
            hosts,
            lab,
        })
    }

    fn addresses(&self) -> Vec<IpAddr> {
        self.hosts.iter().map(|host| host.v4.into()).collect()
    }

    /// Our speaker announces everything.
    fn speak(&mut self) -> Result<()> {
        let peers = self.hosts.iter();
        let peers = peers.map(|host| peer(&host.name, 64501, &host.v4.to_string(), ""));
        let setup = nodes(1)
            + &pool("many", &["10.64.0.0/16", "10.127.0.0/24"])
            + &bgp("many", "")
            + &peers.collect::<String>();
        let services: String = (0..SERVICES)
            .map(|number| assigned(&format!("web-{number:05}"), PORT, address(number)))
            .collect();
        self.lab.manifest("setup.yaml", &setup)?;
        self.lab.manifest("services.yaml", &services)?;
        self.lab.start_speaker(1)?;
        self.await_routes(SERVICES)
    }

    /// Until every router has so many, and for a while after.
    fn await_routes(&self, count: usize) -> Result<()> {
        for router in &self.routers {
            patience::until("everything at a router", SOON, || {
                router.imported("n1").is_ok_and(|has| has == count)
            })?;
        }
        patience::pause(CALM)
    }

    fn ours(&mut self) -> Result<u64> {
        self.speak()?;
        self.lab.speaker(1)?.resident()
    }

    fn birds(&self) -> Result<u64> {
        let node = &self.lab.segment.nodes[0];
        let config = announcer(node.v4, (0..SERVICES).map(address), &self.addresses());
        let bird = Bird::start(&node.namespace, self.lab.path(), "announcer", &config)?;
        self.await_routes(SERVICES)?;
        bird.resident()
    }

    fn gobgps(&self) -> Result<u64> {
        let node = &self.lab.segment.nodes[0];
        let neighbours = self.hosts.iter().map(|host| Neighbour {
            name: host.name.clone(),
            local: node.v4.into(),
            local_asn: 64500,
            remote: host.v4.into(),
            remote_asn: 64501,
            hold_time: 9,
        });
        let config = gobgp::router(
            node.v4,
            &neighbours.collect::<Vec<_>>(),
            gobgp::Options::default(),
        );
        let gobgp = Gobgp::start(&node.namespace, self.lab.path(), &config)?;
        let dump = self.lab.path().join("routes.mrt");
        table_dump(&dump, node.v4)?;
        patience::eventually("GoBGP to have everything", SOON, || {
            gobgp.ask(&format!("mrt inject global {}", dump.display()))?;
            let summary = gobgp.ask("global rib summary")?;
            Ok(summary
                .contains(&format!("Destination: {SERVICES},"))
                .then_some(()))
        })?;
        self.await_routes(SERVICES)?;
        gobgp.resident()
    }
}

/// Everything to announce as GoBGP reads it (RFC 6396 §4.3).
#[expect(clippy::disallowed_methods, reason = "writes a file")]
fn table_dump(path: &Path, own: Ipv4Addr) -> Result<()> {
    let mut octets = Vec::new();
    let mut record = |kind: u16, body: &[u8]| -> Result<()> {
        octets.extend([0; 4]);
        octets.extend(13_u16.to_be_bytes());
        octets.extend(kind.to_be_bytes());
        octets.extend(u32::try_from(body.len())?.to_be_bytes());
        octets.extend(body);
        Ok(())
    };
    let own = own.octets();
    // Identifier, no name, one peer: of four octets each its identifier, address and AS.
    let index = [&own[..], &[0, 0, 0, 1, 2], &own, &own, &[0, 0, 0xfb, 0xf4]].concat();
    record(1, &index)?;
    // The client ends before the last it has read are through: those are the last one, over and over.
    for number in (0..SERVICES + SERVICES / 2).map(|number| number.min(SERVICES - 1)) {
        let IpAddr::V4(prefix) = address(number) else {
            continue;
        };
        // ORIGIN, an AS_PATH that is empty, NEXT_HOP.
        let attributes = [&[0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4][..], &own].concat();
        let body = [
            &u32::try_from(number)?.to_be_bytes()[..],
            &[32],
            &prefix.octets(),
            &[0, 1, 0, 0, 0, 0, 0, 0],
            &u16::try_from(attributes.len())?.to_be_bytes(),
            &attributes,
        ]
        .concat();
        record(2, &body)?;
    }
    std::fs::write(path, octets).with_context(|| format!("writing {}", path.display()))
}

/// Who takes the traffic to NodePorts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taker {
    /// As in a cluster.
    KubeProxy,
    /// A Service that comes is announced when the table of 10,000 ports has its own.
    Nftables,
}

/// A Service comes and goes, and one has an endpoint on this node and has none, one change at a time:
/// until the last of four peers has been sent the UPDATE.
pub(crate) fn updates() -> Result<Vec<Figure>> {
    let changes = repeated(CHANGES);
    let mut figures = updated(Taker::KubeProxy, changes)?;
    figures.extend(updated(Taker::Nftables, changes.div_ceil(5))?);
    Ok(figures)
}

fn updated(taker: Taker, changes: usize) -> Result<Vec<Figure>> {
    let mut four = Four::begin()?;
    if taker == Taker::KubeProxy {
        let node = &four.lab.segment.nodes[0].namespace;
        output(
            node.command("nft")
                .args(["add", "table", "ip", "kube-proxy"]),
        )?;
    }
    four.speak()?;
    four.lab.manifest("local.yaml", &local())?;
    four.change(1, false)?;
    patience::pause(CALM)?;
    let recording = four.lab.record("0")?;
    let mut rng = fastrand::Rng::with_seed(1);
    let mut made: BTreeMap<usize, Vec<Duration>> = BTreeMap::new();
    for number in 0..changes {
        for kind in [0, 1] {
            // Not always at the same place between two things that the speaker does now and then.
            patience::pause(Duration::from_millis(rng.u64(220..500)))?;
            made.entry(kind).or_default().push(unix_time());
            four.change(kind, number % 2 == 0)?;
        }
    }
    patience::pause(Duration::from_secs(1))?;
    four.lab.stop_recording()?;
    let node = four.lab.segment.nodes[0].v4;
    let log = four.lab.speaker(1)?.log();
    ["a Service comes or goes", "its only endpoint here comes or goes"]
        .into_iter()
        .enumerate()
        .map(|(kind, what)| {
            let made = made.remove(&kind).unwrap_or_default();
            let (read, file) = delays(&recording, &log, node, CHANGED[kind], &made)?;
            let told = |times: &[Duration]| {
                let [median, late, worst] = [0.5, 0.99, 1.0].map(|share| at(times, share));
                format!("p50 {median:.1}, p99 {late:.1}, worst {worst:.1} ms")
            };
            let late = at(&read, 0.99);
            let (traffic, bar, is_held) = match taker {
                Taker::KubeProxy => ("kube-proxy takes the traffic", "p99 under 10 ms", late < 10.0),
                Taker::Nftables => (
                    "handed off by nftables, for which a Service waits that comes",
                    "told",
                    true,
                ),
            };
            Ok(Figure {
                what: format!(
                    "10,000 prefixes at {PEERS} peers, {traffic}, {changes} times {what}: from the speaker's log line that it has read and decided to the UPDATE to the last of them"
                ),
                measured: format!(
                    "{}; from the file in place, less the 100 ms a directory settles: {}",
                    told(&read),
                    told(&file)
                ),
                bar,
                is_held,
            })
        })
        .collect()
}

/// Milliseconds of that share of sorted times.
pub(crate) fn at(sorted: &[Duration], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let place = (last as f64 * share).ceil() as usize;
    let time = sorted.get(place).copied().unwrap_or_default();
    time.as_secs_f64() * 1000.0
}

impl Four {
    fn change(&self, kind: usize, is_to_come: bool) -> Result<()> {
        let web = || assigned("change", PORT, CHANGED[0].into());
        match (kind, is_to_come) {
            (0, true) => self.lab.manifest(CHANGE, &web()),
            (0, false) => self.lab.remove_manifest(CHANGE),
            (_, is_ready) => self.lab.manifest("slice.yaml", &slice(is_ready)),
        }
    }
}

/// A Service that is announced where its endpoints are.
fn local() -> String {
    let spec = format!("externalTrafficPolicy: Local\n{PORT}");
    assigned("local", &spec, CHANGED[1].into())
}

fn slice(is_ready: bool) -> String {
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: local-1\n  \
         labels: {{kubernetes.io/service-name: local}}\naddressType: IPv4\nendpoints:\n\
         - {{addresses: [\"10.1.0.1\"], nodeName: n1, conditions: {{ready: {is_ready}}}}}\n"
    )
}

/// Of each change the time until the last peer was sent an UPDATE that names the address.
fn delays(
    recording: &Path,
    log: &str,
    sender: Ipv4Addr,
    address: Ipv4Addr,
    made: &[Duration],
) -> Result<(Vec<Duration>, Vec<Duration>)> {
    let sendings = capture::bgp_sendings(recording, sender)?;
    let prefix = [&[32][..], &address.octets()].concat();
    let names = |sending: &&Sending| {
        let mut places = sending.octets.windows(prefix.len());
        sending.kinds.contains(&UPDATE) && places.any(|place| place == prefix)
    };
    let named: Vec<&Sending> = sendings.iter().filter(names).collect();
    let read = times_of(log, &format!("address={address} "));
    let ends = made.iter().skip(1).copied().chain([Duration::MAX]);
    let (mut since_read, mut since_made) = (Vec::new(), Vec::new());
    for (number, (start, end)) in made.iter().copied().zip(ends).enumerate() {
        let due = start..end;
        let said = named.iter().filter(|sending| due.contains(&sending.at));
        let said: BTreeMap<Ipv4Addr, Duration> =
            said.map(|sending| (sending.to, sending.at)).collect();
        ensure!(
            said.len() == usize::from(PEERS),
            "change {number} of {address} was told to {}",
            said.len()
        );
        let last = said.values().max().copied().unwrap_or_default();
        since_made.push(last.saturating_sub(start + SETTLE));
        let (start, last) = (of_day(start), of_day(last));
        let read = read.iter().find(|read| (start..=last).contains(*read));
        let read = read.with_context(|| format!("change {number} of {address} is not logged"))?;
        since_read.push(last - *read);
    }
    since_read.sort();
    since_made.sort();
    Ok((since_read, since_made))
}

/// When the lines of a log with these words were written, in the time of day (UTC).
fn times_of(log: &str, words: &str) -> Vec<Duration> {
    let lines = log.lines().filter(|line| line.contains(words));
    let times = lines.filter_map(|line| {
        let (_, time) = line.split_once('T')?;
        let (time, _) = time.split_once('Z')?;
        let mut parts = time.split([':', '.']).map(str::parse::<u64>);
        let mut next = || parts.next()?.ok();
        let (hours, minutes, seconds, micros) = (next()?, next()?, next()?, next()?);
        let seconds = (hours * 60 + minutes) * 60 + seconds;
        Some(Duration::from_secs(seconds) + Duration::from_micros(micros))
    });
    times.collect()
}

/// The time of day (UTC).
fn of_day(time: Duration) -> Duration {
    Duration::new(time.as_secs() % (24 * 60 * 60), time.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_s_time_is_read() {
        let log = "2026-11-29T23:39:21.576833Z  INFO run: address announced address=10.127.0.1 service=\n\
                   2026-11-29T23:39:22.000001Z  INFO run: address announced address=10.127.0.2 service=\n";
        let micros = 85_161_576_833;
        assert_eq!(
            times_of(log, "address=10.127.0.1 "),
            [Duration::from_micros(micros)]
        );
        let day = Duration::from_secs(3 * 24 * 60 * 60);
        assert_eq!(
            of_day(day + Duration::from_micros(micros)),
            Duration::from_micros(micros)
        );
    }
}
