//! A link that falls silent, until the router's kernel has no route by it any more: BFD at 50 ms
//! three times, with our speaker on the node, and with BIRD and FRR in its place in the same run.
#![expect(clippy::disallowed_methods, reason = "measures time")]

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use ferrolb_tests::lab::Lab;
use ferrolb_tests::objects::{bfd_profile, bgp, peer, pool, service, tcp};
use ferrolb_tests::peer::bird::{self, Bird};
use ferrolb_tests::peer::frr::{self, Frr};
use ferrolb_tests::peer::{Bfd, Neighbour};
use ferrolb_tests::{netns, patience};

use super::{Figure, middle, repeated, spread};

const PREFIX: &str = "198.51.100.0/32";
const SOON: Duration = Duration::from_secs(30);
const RUNS: usize = 20;

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
    let runs = repeated(RUNS);
    [(Who::Bird, "BIRD"), (Who::Frr, "FRR")]
        .into_iter()
        .map(|(router, name)| {
            let ours = measured(router, Who::Ferrolb, runs)?;
            let birds = measured(router, Who::Bird, runs)?;
            let frrs = measured(router, Who::Frr, runs)?;
            let slower = middle(&birds).max(middle(&frrs));
            Ok(Figure {
                what: format!(
                    "BFD 50 ms x 3, a silent link until the kernel of {name} has no route, least / median / most of {runs}"
                ),
                measured: format!(
                    "{} ms (BIRD as the speaker: {}, FRR: {})",
                    spread(&ours),
                    spread(&birds),
                    spread(&frrs)
                ),
                bar: "median at most a quarter above the slower of the two",
                is_held: middle(&ours) <= slower + slower / 4,
            })
        })
        .collect()
}

/// The times of so many cuts, sorted.
fn measured(router: Who, speaker: Who, runs: usize) -> Result<Vec<Duration>> {
    let mut lab = Lab::bare(&netns::unique_prefix(), 1)?;
    let far = start_router(&lab, router)?;
    let near = start_speaker(&mut lab, speaker)?;
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

fn start_speaker(lab: &mut Lab, speaker: Who) -> Result<Daemon> {
    let node = &lab.segment.nodes[0];
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
            lab.start_speaker(1)?;
            Ok(Daemon::Ferrolb)
        }
    }
}
