//! Layer 2 on a real segment: what its neighbours notice of crashes, of leaving, of speakers that come
//! and go, and of one that takes many addresses at once.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ferrolb_tests::answers::{Membership, Recorder};
use ferrolb_tests::lab::{Lab, Probe};
use ferrolb_tests::objects::{assigned, layer2, nodes, pool};
use ferrolb_tests::{announcing, netns, patience};

use super::{Figure, middle, repeated};

const SOON: Duration = Duration::from_secs(60);

/// How often each kind of crash is tried.
const CRASHES: usize = 50;

/// How often a speaker leaves.
const LEAVINGS: usize = 20;

/// Speakers that come or go under the eyes of the recorder.
const EVENTS: usize = 1_000;

/// How often a speaker comes to hold very many addresses.
const ROUNDS: usize = 5;

/// Of many addresses so many are probed: the first, the last, and between them.
const PROBED: usize = 5;

/// What a segment of so many nodes and addresses may take.
const SIZES: [(u8, usize, Duration); 4] = [
    (3, 1, Duration::from_millis(500)),
    (3, 1_000, Duration::from_millis(500)),
    (20, 1, Duration::from_millis(700)),
    (20, 1_000, Duration::from_millis(700)),
];

/// How a holder is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    Kill,
    Cut,
    Freeze,
    Stop,
    Drain,
}

impl Loss {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill -9",
            Self::Cut => "link cut",
            Self::Freeze => "SIGSTOP",
            Self::Stop => "SIGTERM",
            Self::Drain => "node excluded",
        }
    }
}

/// The holder crashes under a probe of 1,000 datagrams a second from behind the router.
pub(crate) fn crashes() -> Result<Vec<Figure>> {
    let runs = repeated(CRASHES);
    let mut figures = Vec::new();
    for (count, addresses, limit) in SIZES {
        let mut lab = site(count, addresses)?;
        for loss in [Loss::Kill, Loss::Cut, Loss::Freeze] {
            let mut times = Vec::new();
            for _ in 0..runs {
                times.push(lost(&mut lab, loss)?.0);
            }
            times.sort();
            let worst = times.last().copied().unwrap_or_default();
            figures.push(Figure {
                what: format!(
                    "{count} nodes, {addresses} addresses, {runs} times {} of a holder: without an answer at 1 kHz",
                    loss.name()
                ),
                measured: format!(
                    "median {} ms, worst {} ms",
                    middle(&times).as_millis(),
                    worst.as_millis()
                ),
                bar: match limit.as_millis() {
                    500 => "worst under 500 ms",
                    _ => "worst under 700 ms",
                },
                is_held: worst < limit,
            });
        }
    }
    Ok(figures)
}

/// The holder leaves, under the same probe.
pub(crate) fn leaving() -> Result<Vec<Figure>> {
    let runs = repeated(LEAVINGS);
    let mut lab = site(3, 1_000)?;
    let mut figures = Vec::new();
    for loss in [Loss::Stop, Loss::Drain] {
        let mut worst = 0;
        for _ in 0..runs {
            worst = worst.max(lost(&mut lab, loss)?.1);
        }
        figures.push(Figure {
            what: format!(
                "3 nodes, 1,000 addresses, {runs} times {} of a holder: probes lost at 1 kHz",
                loss.name()
            ),
            measured: format!("{worst} at most, of one address"),
            bar: "at most 2",
            is_held: worst <= 2,
        });
    }
    Ok(figures)
}

/// A segment on which every node runs a speaker, and so many addresses are held.
fn site(count: u8, addresses: usize) -> Result<Lab> {
    let mut lab = Lab::bare(&netns::unique_prefix(), count)?;
    let setup = nodes(count.into()) + &pool("many", &["10.64.0.0/16"]) + &layer2("all", "");
    lab.manifest("setup.yaml", &setup)?;
    lab.manifest(
        "services.yaml",
        &(0..addresses).map(service).collect::<String>(),
    )?;
    // No node has an address of their subnet; the router asks on the segment for them all.
    lab.segment
        .router
        .namespace
        .ip("route add 10.64.0.0/16 dev eth0")?;
    lab.serve_echo(&[30053])?;
    lab.start_speakers()?;
    // Many speakers read many Services at once, and asking all of them costs time that they need.
    let limit = SOON + Duration::from_millis(u64::from(count) * addresses as u64 / 2);
    patience::eventually("every address to have one holder", limit, || {
        // Who is busy reading does not answer.
        let held = held(&lab).unwrap_or_default();
        if held.values().map(Vec::len).sum::<usize>() == addresses {
            return Ok(Some(()));
        }
        patience::pause(limit / 100)?;
        Ok(None)
    })?;
    settle()?;
    Ok(lab)
}

fn service(number: usize) -> String {
    let spec = "ports:\n  - port: 53\n    protocol: UDP\n    nodePort: 30053\n";
    assigned(&format!("web-{number:05}"), spec, super::address(number))
}

/// What each node's speaker says it holds.
fn held(lab: &Lab) -> Result<BTreeMap<usize, Vec<IpAddr>>> {
    let numbers = 1..=lab.segment.nodes.len();
    let held = numbers.map(|number| {
        let status = lab.status(number)?;
        let entries = status["layer2"]["held"].as_array().cloned();
        let entries = entries.unwrap_or_default();
        let addresses = entries.iter().filter_map(|entry| entry["address"].as_str());
        Ok((
            number,
            addresses.filter_map(|text| text.parse().ok()).collect(),
        ))
    });
    held.collect()
}

/// Until whoever returned has listened, and everybody agrees.
fn settle() -> Result<()> {
    patience::pause(Duration::from_millis(2_500))
}

/// Those of the addresses that are probed.
fn sample(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let count = PROBED.min(addresses.len());
    let last = addresses.len().saturating_sub(1);
    let places = (0..count).map(|place| place * last / count.saturating_sub(1).max(1));
    places.filter_map(|at| addresses.get(at).copied()).collect()
}

/// One loss of the node that holds the most: the longest time that a probed address was without an
/// answer, and the most probes that one lost.
fn lost(lab: &mut Lab, loss: Loss) -> Result<(Duration, usize)> {
    let holders = held(lab)?;
    let most = holders.iter().max_by_key(|(_, addresses)| addresses.len());
    let (number, addresses) = most.context("there are nodes")?;
    let number = *number;
    let name = format!("n{number}");
    ensure!(!addresses.is_empty(), "nobody holds anything");
    let probes = sample(addresses).into_iter().map(|address| {
        // The router has resolved it before.
        let client = &lab.segment.client.namespace;
        patience::until("an answer", SOON, || {
            lab.datagram(client, address, 53).is_some()
        })?;
        lab.probe("probe-udp", address, 53, Duration::from_millis(1))
    });
    let probes: Vec<Probe> = probes.collect::<Result<_>>()?;
    patience::pause(Duration::from_millis(500))?;
    lose(lab, number, loss)?;
    patience::pause(Duration::from_millis(1_500))?;
    let (mut outage, mut missing) = (Duration::ZERO, 0);
    for probe in probes {
        let record = probe.stop()?;
        ensure!(
            record.answered().len() > 1,
            "nobody took over from {name}: {:?}",
            record.answered()
        );
        outage = outage.max(record.outage());
        missing = missing.max(record.lost());
    }
    match loss {
        Loss::Kill | Loss::Stop => lab.start_speaker(number)?,
        Loss::Cut => lab.segment.mend(&name)?,
        Loss::Freeze => lab.speaker(number)?.signal(libc::SIGCONT),
        Loss::Drain => lab.manifest("setup.yaml", &setup(lab, None))?,
    }
    settle()?;
    Ok((outage, missing))
}

fn lose(lab: &mut Lab, number: usize, loss: Loss) -> Result<()> {
    match loss {
        Loss::Kill => lab.speaker(number)?.kill(),
        Loss::Cut => lab.segment.cut(&format!("n{number}"))?,
        Loss::Freeze => lab.speaker(number)?.signal(libc::SIGSTOP),
        Loss::Stop => drop(lab.speaker(number)?.terminate(SOON)?),
        Loss::Drain => lab.manifest("setup.yaml", &setup(lab, Some(number)))?,
    }
    Ok(())
}

/// Nodes, pool and advertisement; one node may be excluded from load balancing.
fn setup(lab: &Lab, excluded: Option<usize>) -> String {
    let count = lab.segment.nodes.len();
    let mut nodes = nodes(count);
    if let Some(number) = excluded {
        let plain = format!("  name: n{number}\n");
        let label = "  labels: {node.kubernetes.io/exclude-from-external-load-balancers: \"\"}\n";
        nodes = nodes.replace(&plain, &format!("{plain}{label}"));
    }
    nodes + &pool("many", &["10.64.0.0/16"]) + &layer2("all", "")
}

/// Speakers come and go at random; somebody asks for an address 20 times a second, and who answers is
/// recorded on the switch.
pub(crate) fn recorded() -> Result<Vec<Figure>> {
    let events = repeated(EVENTS);
    let mut lab = site(5, 1)?;
    let IpAddr::V4(address) = super::address(0) else {
        bail!("the recorder asks by ARP");
    };
    let recorder = Recorder::start(&mut lab, address)?;
    let mut membership = Membership::new(5, 1);
    for _ in 0..events {
        membership.change(&mut lab)?;
    }
    membership.restore(&mut lab)?;
    let answers = recorder.stop(&mut lab)?;
    let (two, none) = answers.longest();
    Ok(vec![Figure {
        what: format!(
            "{events} times a speaker of 5 starts, leaves, is killed, frozen or thawed: two answer, nobody does"
        ),
        measured: format!(
            "two answered {} of {} requests, for {} ms at most; nobody for {} ms at most",
            answers.doubled(),
            answers.requests(),
            two.as_millis(),
            none.as_millis()
        ),
        bar: "never two for longer than 300 ms",
        is_held: two <= Duration::from_millis(300),
    }])
}

/// A speaker alone on a segment finds that all addresses are its own.
pub(crate) fn announced() -> Result<Vec<Figure>> {
    let runs = repeated(ROUNDS);
    let mut times = Vec::new();
    for _ in 0..runs {
        let mut lab = announcing::lab(super::SERVICES as u32, "30s")?;
        lab.start_speaker(1)?;
        announcing::await_announced(&lab, super::SERVICES, SOON)?;
        lab.stop_recording()?;
        times.push(announcing::first_round(&announcing::announcements(&lab)?)?);
    }
    times.sort();
    let worst = times.last().copied().unwrap_or_default();
    Ok(vec![Figure {
        what: format!(
            "a speaker comes to hold 10,000 addresses, {runs} times: from the first that is announced until all are"
        ),
        measured: format!(
            "median {} ms, worst {} ms",
            middle(&times).as_millis(),
            worst.as_millis()
        ),
        bar: "worst under 1 s",
        is_held: worst < Duration::from_secs(1),
    }])
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_first_the_last_and_some_between_are_probed() {
        let all: Vec<IpAddr> = (0..100).map(|n| Ipv4Addr::from(n).into()).collect();
        let probed = sample(&all);
        assert_eq!(probed.len(), PROBED);
        assert_eq!((probed[0], probed[PROBED - 1]), (all[0], all[99]));
        assert_eq!(sample(&all[..1]), all[..1]);
    }
}
