//! A link that falls silent, until the router's kernel has no route by it any more: BFD at 50 ms
//! three times, with our speaker on the node, and with BIRD and FRR in its place in the same run. And
//! that nothing of the kind happens on a busy machine.
#![expect(clippy::disallowed_methods, reason = "measures time")]

use std::net::IpAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ferrolb_tests::lab::Lab;
use ferrolb_tests::objects::{bfd_profile, bgp, peer, pool, service, tcp};
use ferrolb_tests::peer::bird::{self, Bird};
use ferrolb_tests::peer::frr::{self, Frr};
use ferrolb_tests::peer::{Bfd, Neighbour};
use ferrolb_tests::process::output;
use ferrolb_tests::{netns, patience};

use super::{Figure, repeated, spread};

const PREFIX: &str = "198.51.100.0/32";
const SOON: Duration = Duration::from_secs(30);
const RUNS: usize = 50;

/// Cuts of the others, to compare.
const THEIRS: usize = 15;

/// How long nothing may happen while the machine is busy.
const LOADED: Duration = Duration::from_secs(600);

/// Who is at one end of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Ferrolb,
    Bird,
    Frr,
}

/// What runs there.
enum Daemon {
    Ferrolb,
    Bird(Bird),
    Frr(Frr),
}

impl Daemon {
    fn is_path_up(&self, peer: IpAddr) -> bool {
        match self {
            Self::Ferrolb => true,
            Self::Bird(bird) => bird.is_path_up(peer),
            Self::Frr(frr) => frr.is_path_up(peer),
        }
    }
}

pub(crate) fn failover() -> Result<Vec<Figure>> {
    let (runs, their_runs) = (repeated(RUNS), repeated(THEIRS));
    [
        (Who::Bird, "BIRD", 200, "worst under 200 ms"),
        (Who::Frr, "FRR", 250, "worst under 250 ms"),
    ]
        .into_iter()
        .map(|(router, name, limit, bar)| {
            let ours = measured(router, Who::Ferrolb, runs)?;
            let birds = measured(router, Who::Bird, their_runs)?;
            let frrs = measured(router, Who::Frr, their_runs)?;
            let worst = ours.last().copied().unwrap_or_default();
            Ok(Figure {
                what: format!(
                    "BFD 50 ms x 3, a silent link until the kernel of {name} has no route, least / median / most of {runs}"
                ),
                measured: format!(
                    "{} ms ({their_runs} times BIRD as the speaker: {}, FRR: {})",
                    spread(&ours),
                    spread(&birds),
                    spread(&frrs)
                ),
                bar,
                is_held: worst < Duration::from_millis(limit),
            })
        })
        .collect()
}

/// Ten minutes with as many busy processes as there are processors: our speaker on one node, and a BIRD in
/// its place on another, with one router.
pub(crate) fn flaps() -> Result<Vec<Figure>> {
    let span = Duration::from_secs(u64::try_from(repeated(LOADED.as_secs() as usize))?);
    let mut lab = Lab::bare(&netns::unique_prefix(), 2)?;
    let router = start_router(&lab, Who::Bird)?;
    let Daemon::Bird(router) = router else {
        bail!("the router is a BIRD");
    };
    let _ours = start_speaker(&mut lab, Who::Ferrolb, 1)?;
    let _theirs = start_speaker(&mut lab, Who::Bird, 2)?;
    let nodes = [0, 1].map(|index| lab.segment.nodes[index].v4);
    patience::until("all to be up", SOON, || {
        let up = nodes.map(|node| router.is_path_up(node.into()));
        up == [true; 2] && ["n1", "n2"].iter().all(|name| router.is_established(name))
    })?;
    patience::pause(Duration::from_secs(3))?;
    let cores = thread::available_parallelism()?.get();
    for number in 0..cores {
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]);
        lab.start(&format!("busy-{number}"), command)?;
    }
    let changes = || ["n1", "n2"].map(|name| router.changes(name));
    let before = changes();
    let stood = standstill(|| patience::pause(span))?;
    let after = changes();
    let lost = [0, 1].map(|node| after[node] - before[node]);
    let is_up = router.is_path_up(nodes[0].into()) && router.is_established("n1");
    Ok(vec![Figure {
        what: format!(
            "BFD 50 ms x 3 with BIRD as the router, for {} s with {cores} busy processes on {cores} cores",
            span.as_secs()
        ),
        measured: format!(
            "{} changes of the session's state (BIRD as the speaker: {}); the machine let nobody run for {} ms at most{}",
            lost[0],
            lost[1],
            stood.as_millis(),
            reasons(&lab.speaker(1)?.log())
        ),
        bar: "no flap in 600 s",
        is_held: lost[0] == 0 && is_up,
    }])
}

/// Why our sessions went down, if they did.
fn reasons(log: &str) -> String {
    let lines = log.lines();
    let down =
        lines.filter(|line| line.contains("bfd session state changed") && line.contains("from=Up"));
    down.map(|line| format!("; {line}")).collect()
}

/// The longest time for which even a thread before all others did not run while that is done.
fn standstill(action: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watch = scope.spawn(|| -> Result<Duration> {
            let own = rustix::thread::gettid().as_raw_nonzero();
            output(Command::new("chrt").args(["-f", "-p", "50", &own.to_string()]))?;
            let (mut longest, mut last) = (Duration::ZERO, Instant::now());
            while !is_over.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(1));
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            Ok(longest)
        });
        let done = action();
        is_over.store(true, Ordering::Relaxed);
        let longest = watch.join().ok().context("the watch has failed")?;
        done?;
        longest
    })
}

/// The times of so many cuts, sorted.
fn measured(router: Who, speaker: Who, runs: usize) -> Result<Vec<Duration>> {
    let mut lab = Lab::bare(&netns::unique_prefix(), 1)?;
    let far = start_router(&lab, router)?;
    let near = start_speaker(&mut lab, speaker, 1)?;
    let (node, gateway) = (lab.segment.nodes[0].v4.into(), lab.segment.router.v4.into());
    let mut times = Vec::new();
    for run in 0..runs {
        let via = [lab.segment.nodes[0].v4.to_string()];
        lab.await_next_hops(PREFIX, &via, SOON)?;
        patience::until("both ends to be up", SOON, || {
            far.is_path_up(node) && near.is_path_up(gateway)
        })?;
        // Not always at the same place between two packets.
        patience::pause(Duration::from_millis(1000 + 7 * run as u64))?;
        lab.segment.silence("n1")?;
        let start = Instant::now();
        lab.await_next_hops(PREFIX, &[], SOON)?;
        times.push(start.elapsed());
        lab.segment.unsilence("n1")?;
        if speaker == Who::Ferrolb {
            // After each session that ended soon it waits longer, which is not what is measured.
            lab.speaker(1)?.kill();
            lab.start_speaker(1)?;
        }
    }
    times.sort();
    Ok(times)
}

fn start_router(lab: &Lab, router: Who) -> Result<Daemon> {
    let neighbours = lab.neighbours(64501, 64500);
    let id = lab.segment.router.v4;
    Ok(match router {
        Who::Frr => Daemon::Frr(lab.frr(&frr::router(id, &neighbours, Some(&Bfd::FAST)))?),
        Who::Bird | Who::Ferrolb => {
            Daemon::Bird(lab.bird(&bird::watching_router(id, &neighbours, &Bfd::FAST))?)
        }
    })
}

fn start_speaker(lab: &mut Lab, speaker: Who, number: usize) -> Result<Daemon> {
    let node = &lab.segment.nodes[number - 1];
    let router = Neighbour {
        name: "r".to_owned(),
        local: node.v4.into(),
        local_asn: 64500,
        remote: lab.segment.router.v4.into(),
        remote_asn: 64501,
        hold_time: 9,
    };
    match speaker {
        Who::Bird => {
            let announced = format!("protocol static {{ ipv4; route {PREFIX} blackhole; }}\n");
            let config = bird::watching_router(node.v4, &[router], &Bfd::FAST)
                // One of the two has to dial.
                .replace("passive on; debug", "passive off; debug")
                .replace(
                    "import all; export none;",
                    "import none; export all; next hop self;",
                );
            let config = config + &announced;
            Ok(Daemon::Bird(Bird::start(
                &node.namespace,
                lab.path(),
                "near",
                &config,
            )?))
        }
        Who::Frr => {
            let config = frr::router(node.v4, &[router], Some(&Bfd::FAST)).replacen(
                " address-family ipv4 unicast\n",
                &format!(" no bgp network import-check\n address-family ipv4 unicast\n  network {PREFIX}\n"),
                1,
            );
            Ok(Daemon::Frr(Frr::start(
                &node.namespace,
                lab.path(),
                &config,
            )?))
        }
        Who::Ferrolb => {
            let profile = "receiveInterval: 50\ntransmitInterval: 50\ndetectMultiplier: 3";
            let setup = pool("routed", &["198.51.100.0/28"])
                + &bgp("routed", "")
                + &bfd_profile("fast", profile)
                + &peer("r", 64501, "192.168.1.1", "bfdProfile: fast")
                + &service("web", &tcp(&[(80, 30080)]));
            lab.manifest("setup.yaml", &setup)?;
            lab.start_controller()?;
            lab.start_speaker(number)?;
            Ok(Daemon::Ferrolb)
        }
    }
}
