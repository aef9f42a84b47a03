//! What a speaker costs that has nothing to do: with many addresses and candidates about, and with many
//! frames on its link that are nobody's business.
#![expect(clippy::disallowed_methods, reason = "measures time")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ferrolb_crds::model::Secret;
use ferrolb_crds::rank;
use ferrolb_speaker::wire::ethernet::Mac;
use ferrolb_tests::crowd::{Member, Playing};
use ferrolb_tests::lab::{HEARTBEAT_KEY, Lab};
use ferrolb_tests::objects::{assigned, layer2, nodes, pool};
use ferrolb_tests::process::tail;
use ferrolb_tests::segment::Host;
use ferrolb_tests::{netns, patience, probe};
use serde_json::Value;

use super::{Figure, SERVICES};

const CANDIDATES: u8 = 50;

/// The only node that runs a speaker; all others are played.
const NODE: &str = "n1";

/// Frames a second that are nobody's business.
const FOREIGN: u32 = 150_000;

/// How long is measured.
const SPAN: Duration = Duration::from_secs(30);

/// The mean time between two announcements of an address, which is the speaker's default.
const REANNOUNCE: Duration = Duration::from_secs(30);

/// How long whoever has taken an address announces it in a burst.
const BURST: Duration = Duration::from_secs(10);

const LONG: Duration = Duration::from_secs(180);

/// One speaker, and 49 nodes that are played.
struct Rest {
    // Before the laboratory, so that it ends first.
    crowd: Playing,
    _host: Host,
    lab: Lab,
}

/// What somebody who asks the speaker is told.
#[derive(Debug, PartialEq)]
struct Standing {
    held: BTreeSet<IpAddr>,
    /// Who holds what is not held here.
    others: BTreeMap<IpAddr, String>,
    alive: usize,
}

/// What was measured.
struct Load {
    /// Share of a core.
    core: f64,
    /// Frames that arrived in a second.
    frames: f64,
}

pub(crate) fn at_rest() -> Result<Vec<Figure>> {
    let mut rest = Rest::begin()?;
    let quiet = rest.load()?;
    let holds = rest.standing()?.held.len();
    let memory = rest.lab.speaker(1)?.resident()? as f64 / 1_000_000.0;
    let busy = rest.flooded()?;
    let what = format!(
        "a speaker at rest, 10,000 addresses of which it holds {holds}, {CANDIDATES} candidates"
    );
    Ok(vec![
        Figure {
            what: what.clone(),
            measured: format!(
                "{:.1} % of a core at {:.0} frames/s of the others, {memory:.1} MB resident",
                100.0 * quiet.core,
                quiet.frames
            ),
            bar: "under 3 % of a core",
            is_held: quiet.core < 0.03,
        },
        Figure {
            what: format!("{what}, foreign frames on its link"),
            measured: format!(
                "{:.1} % of a core at {:.0} frames/s",
                100.0 * busy.core,
                busy.frames
            ),
            bar: "under 5 % of a core at 150,000 frames/s",
            is_held: busy.core < 0.05 && busy.frames >= f64::from(FOREIGN),
        },
    ])
}

impl Rest {
    /// Returns when every address has the holder that it should have, and no burst goes on.
    fn begin() -> Result<Self> {
        let mut lab = Lab::bare(&netns::unique_prefix(), 1)?;
        let setup =
            nodes(CANDIDATES.into()) + &pool("many", &["10.64.0.0/16"]) + &layer2("all", "");
        lab.manifest("setup.yaml", &setup)?;
        let ports = "ports:\n  - port: 80\n    nodePort: 30080\n";
        let services = (0..SERVICES)
            .map(|number| assigned(&format!("web-{number:05}"), ports, super::address(number)));
        lab.manifest("services.yaml", &services.collect::<String>())?;
        let host = lab.segment.attach("crowd", 150)?;
        let key = Secret::new(HEARTBEAT_KEY.to_owned());
        let crowd = Playing::start(&host, members(), key, Some(REANNOUNCE))?;
        lab.start_speaker(1)?;
        let rest = Self {
            crowd,
            _host: host,
            lab,
        };
        let expected = expected();
        let mut seen = None;
        let outcome = patience::eventually("every address to have its holder", LONG, || {
            rest.crowd.check()?;
            // Who is busy reading does not answer.
            seen = rest.standing().ok();
            if seen.as_ref() == Some(&expected) {
                return Ok(Some(()));
            }
            patience::pause(Duration::from_secs(1))?;
            Ok(None)
        });
        outcome.with_context(|| {
            let seen = seen.map(|seen| (seen.held.len(), seen.others.len(), seen.alive));
            format!("held here, held by others, alive: {seen:?}")
        })?;
        patience::pause(BURST)?;
        Ok(rest)
    }

    /// The share of a core that the speaker uses while nothing changes.
    fn load(&mut self) -> Result<Load> {
        let (standing, said) = (self.standing()?, self.lab.speaker(1)?.log());
        // What was asked is answered.
        patience::pause(Duration::from_secs(1))?;
        let frames = self.arrived()?;
        let process = self.lab.speaker(1)?;
        let (start, before) = (Instant::now(), process.processor_time()?);
        patience::pause(SPAN)?;
        let used = process.processor_time()?.saturating_sub(before);
        let elapsed = start.elapsed().as_secs_f64();
        let frames = self.arrived()? - frames;
        self.crowd.check()?;
        let log = self.lab.speaker(1)?.log();
        let news = log.get(said.len()..).unwrap_or_default();
        ensure!(news.is_empty(), "something happened: {}", tail(news, 10));
        ensure!(self.standing()? == standing, "something else is held");
        Ok(Load {
            core: used.as_secs_f64() / elapsed,
            frames: frames / elapsed,
        })
    }

    /// The same with frames on its link that are nobody's business.
    fn flooded(&mut self) -> Result<Load> {
        let node = &self.lab.segment.nodes[0];
        let target = SocketAddr::from((node.v4, 9));
        node.namespace
            .run("iptables -t raw -A PREROUTING -p udp --dport 9 -j DROP")?;
        let from = &self.lab.segment.neighbour.namespace;
        let _flood = probe::flood(from, target, FOREIGN)?;
        self.load()
    }

    /// Frames that have come in on the speaker's link so far.
    fn arrived(&self) -> Result<f64> {
        let text = self.lab.segment.nodes[0]
            .namespace
            .ip("-j -s link show dev eth0")?;
        let links: Value = serde_json::from_str(&text)?;
        let packets = links[0]["stats64"]["rx"]["packets"].as_f64();
        packets.context("a link counts its packets")
    }

    fn standing(&self) -> Result<Standing> {
        let status = self.lab.status(1)?;
        let layer2 = &status["layer2"];
        let list = |name: &str| layer2[name].as_array().cloned().unwrap_or_default();
        let address = |entry: &Value| entry["address"].as_str()?.parse::<IpAddr>().ok();
        let other = |entry: &Value| {
            let holder = entry["holder"].as_str()?;
            Some((address(entry)?, holder.to_owned()))
        };
        let alive = list("nodes").into_iter();
        Ok(Standing {
            held: list("held").iter().filter_map(address).collect(),
            others: list("notHeld").iter().filter_map(other).collect(),
            alive: alive.filter(|node| node["isAlive"] == true).count(),
        })
    }
}

/// Who is first in rank for an address.
fn first(address: IpAddr) -> String {
    let names: Vec<String> = (1..=CANDIDATES)
        .map(|number| format!("n{number}"))
        .collect();
    let first = rank::first(address, names.iter().map(|name| (name.as_str(), ())));
    first.unwrap_or_default().to_owned()
}

/// Each address is held by the node that is first in rank for it.
fn expected() -> Standing {
    let holders = (0..SERVICES).map(super::address);
    let holders = holders.map(|address| (address, first(address)));
    let (ours, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
        holders.partition(|(_, holder)| holder == NODE);
    Standing {
        held: ours.into_keys().collect(),
        others,
        alive: usize::from(CANDIDATES) - 1,
    }
}

fn members() -> Vec<Member> {
    let mut owned = BTreeMap::<String, BTreeSet<IpAddr>>::new();
    for (address, holder) in expected().others {
        owned.entry(holder).or_default().insert(address);
    }
    let members = (2..=CANDIDATES).map(|number| {
        let node = format!("n{number}");
        Member {
            owned: owned.remove(&node).unwrap_or_default(),
            node,
            mac: Mac([2, 0, 0, 0, 9, number]),
            v4: Ipv4Addr::new(192, 168, 1, 10 + number),
        }
    });
    members.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_holds_about_a_fiftieth_and_nobody_what_another_holds() {
        let members = members();
        let expected = expected();
        let played: usize = members.iter().map(|member| member.owned.len()).sum();
        assert_eq!((members.len(), expected.alive), (49, 49));
        assert_eq!(played + expected.held.len(), SERVICES);
        assert!((100..300).contains(&expected.held.len()));
    }
}
