//! 1,000 datagrams a second through a router that spreads them over three nodes, while one of the nodes is
//! drained, restarts, or is lost.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use ferrolb_tests::lab::{Lab, Probe};
use ferrolb_tests::objects::{bfd_profile, bgp, nodes, peer, pool, service};
use ferrolb_tests::peer::Bfd;
use ferrolb_tests::peer::bird::{self, Bird};
use ferrolb_tests::probe::Record;
use ferrolb_tests::{netns, patience};

use super::{Figure, middle, repeated};

const NODES: u8 = 3;

const PREFIX: &str = "198.51.100.0/32";

/// Flows, each from a port of its own.
const FLOWS: usize = 64;

const RUNS: usize = 20;

const SOON: Duration = Duration::from_secs(30);

/// How long a node that is drained stays the last resort, and how long a speaker is away.
const WHILE: Duration = Duration::from_secs(2);

/// What becomes of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Drain,
    Restart,
    Kill,
    Silence,
}

impl Event {
    fn name(self) -> &'static str {
        match self {
            Self::Drain => "a node is drained",
            Self::Restart => "a speaker restarts, with graceful restart",
            Self::Kill => "a speaker is killed, with BFD 50 ms x 3",
            Self::Silence => "a node falls silent, with BFD 50 ms x 3",
        }
    }

    /// Whether it is a crash, which a router finds out.
    fn is_crash(self) -> bool {
        match self {
            Self::Drain | Self::Restart => false,
            Self::Kill | Self::Silence => true,
        }
    }
}

/// Three nodes that deliver, and their router.
struct Site {
    // Before the laboratory, so that it ends first.
    _router: Bird,
    lab: Lab,
    hops: Vec<String>,
}

pub(crate) fn ecmp() -> Result<Vec<Figure>> {
    let runs = repeated(RUNS);
    let mut figures = Vec::new();
    for events in [
        [Event::Drain, Event::Restart],
        [Event::Kill, Event::Silence],
    ] {
        let mut site = Site::begin(events[0].is_crash())?;
        for event in events {
            let records = (0..runs).map(|run| site.suffer(event, run));
            let records: Vec<Record> = records.collect::<Result<_>>()?;
            figures.push(judged(event, &records));
        }
    }
    Ok(figures)
}

fn judged(event: Event, records: &[Record]) -> Figure {
    let lost: usize = records.iter().map(Record::lost).sum();
    let asked: usize = records.iter().map(|record| record.requests.len()).sum();
    let mut troubles: Vec<Duration> = records.iter().map(Record::trouble).collect();
    troubles.sort();
    let worst = troubles.last().copied().unwrap_or_default();
    let what = format!(
        "1 kHz of {FLOWS} flows through ECMP over {NODES} nodes, {} times {}",
        records.len(),
        event.name()
    );
    let lost_of = format!("{lost} of {asked} datagrams lost");
    match event.is_crash() {
        false => Figure {
            what,
            measured: lost_of,
            bar: "0 lost",
            is_held: lost == 0,
        },
        true => Figure {
            what,
            measured: format!(
                "{lost_of}; from the first to the last: median {} ms, worst {} ms",
                middle(&troubles).as_millis(),
                worst.as_millis()
            ),
            bar: "worst under 200 ms: detection, and the router's part",
            is_held: worst < Duration::from_millis(200),
        },
    }
}

impl Site {
    /// With BFD, or with graceful restart.
    fn begin(with_bfd: bool) -> Result<Self> {
        let mut lab = Lab::bare(&netns::unique_prefix(), NODES)?;
        // In one AS, so that the router sees a preference.
        let neighbours = lab.neighbours(64500, 64500);
        let id = lab.segment.router.v4;
        let (config, spec) = match with_bfd {
            true => {
                let config = bird::watching_router(id, &neighbours, &Bfd::FAST);
                (config, "bfdProfile: fast")
            }
            false => (bird::router(id, &neighbours), "enableGracefulRestart: true"),
        };
        let profile = "receiveInterval: 50\ntransmitInterval: 50\ndetectMultiplier: 3";
        let setup = nodes(NODES.into())
            + &pool("routed", &["198.51.100.0/28"])
            + &bgp("routed", "")
            + &bfd_profile("fast", profile)
            + &peer("tor", 64500, "192.168.1.1", spec);
        lab.manifest("setup.yaml", &setup)?;
        let ports = "ports:\n  - port: 53\n    protocol: UDP\n    nodePort: 30053\n";
        lab.manifest("web.yaml", &service("web", ports))?;
        lab.serve_echo(&[30053])?;
        let router = lab.bird(&config)?;
        lab.start_controller()?;
        let drain_time = format!("--drain-time={}s", WHILE.as_secs());
        lab.speaker_arguments.push(drain_time);
        lab.start_speakers()?;
        let hops = lab.segment.nodes.iter().map(|node| node.v4.to_string());
        let site = Self {
            _router: router,
            hops: hops.collect(),
            lab,
        };
        site.await_hops()?;
        Ok(site)
    }

    fn await_hops(&self) -> Result<()> {
        self.lab.await_next_hops(PREFIX, &self.hops, SOON).map(drop)
    }

    /// One of them by turns, with all three in use before and after.
    fn suffer(&mut self, event: Event, run: usize) -> Result<Record> {
        let number = 1 + run % usize::from(NODES);
        let name = format!("n{number}");
        // Until BFD is up and quick again.
        patience::pause(if event.is_crash() {
            WHILE
        } else {
            Duration::ZERO
        })?;
        let probe = self.probe()?;
        patience::pause(Duration::from_millis(500))?;
        match event {
            Event::Drain => {
                self.lab.drain(number, &[])?;
                self.await_others(number)?;
                patience::pause(Duration::from_millis(500))?;
                self.lab.drain(number, &["--undo"])?;
            }
            Event::Restart => {
                self.lab.speaker(number)?.terminate(SOON)?;
                patience::pause(WHILE)?;
                self.lab.start_speaker(number)?;
                patience::pause(WHILE)?;
            }
            Event::Kill => {
                self.lab.speaker(number)?.kill();
                self.await_others(number)?;
                patience::pause(WHILE)?;
            }
            Event::Silence => {
                self.lab.segment.silence(&name)?;
                self.await_others(number)?;
                patience::pause(WHILE)?;
            }
        }
        let record = match event {
            // What they come back to is measured, too.
            Event::Drain | Event::Restart => {
                self.await_hops()?;
                patience::pause(Duration::from_millis(500))?;
                probe.stop()?
            }
            Event::Kill => {
                let record = probe.stop()?;
                self.lab.start_speaker(number)?;
                record
            }
            Event::Silence => {
                let record = probe.stop()?;
                self.lab.segment.unsilence(&name)?;
                record
            }
        };
        self.await_hops()?;
        ensure!(
            record.answered().len() == usize::from(NODES),
            "not all nodes are in use: {:?}",
            record.answered()
        );
        Ok(record)
    }

    fn await_others(&self, number: usize) -> Result<()> {
        let mut others = self.hops.clone();
        others.remove(number - 1);
        self.lab.await_next_hops(PREFIX, &others, SOON).map(drop)
    }

    fn probe(&self) -> Result<Probe> {
        let target: SocketAddr = "198.51.100.0:53".parse()?;
        self.lab
            .probe_flows(target, Duration::from_millis(1), FLOWS)
    }
}
