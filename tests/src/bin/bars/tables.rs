//! Many prefixes to a BIRD that was just started, and withdrawn again: from our speaker and from a BIRD in
//! its place, by turns.
#![expect(clippy::disallowed_methods, reason = "measures time")]

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use ferrolb_tests::capture::{self, KEEPALIVE, Sending, UPDATE};
use ferrolb_tests::lab::Lab;
use ferrolb_tests::netns::{self, Namespace};
use ferrolb_tests::objects::{assigned, bgp, peer, pool};
use ferrolb_tests::patience;
use ferrolb_tests::peer::Neighbour;
use ferrolb_tests::peer::bird::{self, Bird};
use ferrolb_tests::process::output;

use super::{Figure, PORT, SERVICES, address, middle, repeated, spread};

/// How often each of the two is measured with 10,000 prefixes, and with ten times that.
const ROUNDS: [(usize, usize); 2] = [(SERVICES, 15), (10 * SERVICES, 7)];

/// How often the router's kernel is asked how much it has, at the most: to count takes it a while, which is
/// to be a small share of the time.
const LOOK: Duration = Duration::from_millis(2);
const SHARE: u32 = 20;

/// How long a directory of manifests has to be quiet until it is read.
pub(crate) const SETTLE: Duration = Duration::from_millis(100);

/// Octets of a frame that are recorded. No frame is longer, and the longer they may be the fewer of them
/// there is room for.
const WHOLE: &str = "65600";

const LONG: Duration = Duration::from_secs(120);

const ADVERTISEMENT: &str = "advertisement.yaml";

/// Who announces: our speaker on the first node, a BIRD on the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Ferrolb,
    Bird,
}

/// Both announce so many prefixes to a router that talks to one of them at a time.
struct Tables {
    bird: Bird,
    lab: Lab,
    neighbours: Vec<Neighbour>,
    count: usize,
}

/// What one of them needed.
#[derive(Debug, Default)]
struct Times {
    announced: Vec<Duration>,
    withdrawn: Vec<Duration>,
    /// From the order, of a directory less the time for which it settles.
    ordered: Vec<Duration>,
    updates: usize,
}

pub(crate) fn tables() -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (count, runs) in ROUNDS {
        let runs = repeated(runs);
        let mut tables = Tables::begin(count)?;
        let (mut ours, mut theirs) = (Times::default(), Times::default());
        for run in 0..runs {
            // Neither is always the first.
            let order = match run % 2 {
                0 => [(Who::Ferrolb, &mut ours), (Who::Bird, &mut theirs)],
                _ => [(Who::Bird, &mut theirs), (Who::Ferrolb, &mut ours)],
            };
            for (who, times) in order {
                let run = tables.round(who, times);
                run.with_context(|| format!("{count} prefixes from {who:?}"))?;
            }
        }
        figures.extend(judged(count, runs, ours, theirs));
    }
    Ok(figures)
}

fn judged(count: usize, runs: usize, mut ours: Times, mut theirs: Times) -> Vec<Figure> {
    for times in [&mut ours, &mut theirs] {
        times.announced.sort();
        times.withdrawn.sort();
        times.ordered.sort();
    }
    let mut figures = vec![
        Figure {
            what: format!("{count} /32 to BIRD"),
            measured: format!(
                "{} UPDATEs (BIRD to BIRD: {})",
                ours.updates, theirs.updates
            ),
            bar: "fewer than 20, for 10,000",
            is_held: ours.updates < 20 * count / SERVICES,
        },
        Figure {
            what: format!(
                "{count} prefixes, from Established until BIRD's kernel has them, least / median / most of {runs}"
            ),
            measured: compared(&ours.announced, &theirs.announced),
            bar: "median within 1.2 of BIRD's",
            is_held: is_as_quick(&ours.announced, &theirs.announced),
        },
    ];
    if count == SERVICES {
        figures.push(Figure {
            what: format!(
                "{count} prefixes withdrawn, from the first UPDATE until BIRD's kernel has none, least / median / most of {runs}"
            ),
            measured: format!(
                "{}; from the order, less the time a directory settles: {} ms (BIRD to BIRD: {} ms)",
                compared(&ours.withdrawn, &theirs.withdrawn),
                spread(&ours.ordered),
                spread(&theirs.ordered),
            ),
            bar: "median within 1.2 of BIRD's",
            is_held: is_as_quick(&ours.withdrawn, &theirs.withdrawn),
        });
    }
    figures
}

fn compared(ours: &[Duration], theirs: &[Duration]) -> String {
    let factor = middle(ours).as_secs_f64() / middle(theirs).as_secs_f64();
    let (ours, theirs) = (spread(ours), spread(theirs));
    format!("{ours} ms, {factor:.2} of BIRD to BIRD: {theirs} ms")
}

fn is_as_quick(ours: &[Duration], theirs: &[Duration]) -> bool {
    middle(ours) * 5 <= middle(theirs) * 6
}

impl Tables {
    fn begin(count: usize) -> Result<Self> {
        let mut lab = Lab::bare(&netns::unique_prefix(), 2)?;
        let setup = pool("many", &["10.64.0.0/15"]) + &peer("r", 64501, "192.168.1.1", "");
        let services: String = (0..count)
            .map(|number| assigned(&format!("web-{number:05}"), PORT, address(number)))
            .collect();
        lab.manifest("setup.yaml", &setup)?;
        lab.manifest("services.yaml", &services)?;
        lab.manifest(ADVERTISEMENT, &bgp("many", ""))?;
        lab.start_speaker(1)?;
        let node = &lab.segment.nodes[1];
        let router = [IpAddr::from(lab.segment.router.v4)];
        let config = announcer(node.v4, (0..count).map(address), &router);
        Ok(Self {
            bird: Bird::start(&node.namespace, lab.path(), "announcer", &config)?,
            neighbours: lab.neighbours(64501, 64500),
            lab,
            count,
        })
    }

    /// A router that starts, gets everything, and loses it again.
    fn round(&mut self, who: Who, times: &mut Times) -> Result<()> {
        let recording = self.lab.record(WHOLE)?;
        let (node, neighbour) = match who {
            Who::Ferrolb => (&self.lab.segment.nodes[0], &self.neighbours[..1]),
            Who::Bird => (&self.lab.segment.nodes[1], &self.neighbours[1..]),
        };
        let (router, sender) = (&self.lab.segment.router, node.v4);
        let before = prefixes_of(&router.namespace)?;
        let config = bird::router(router.v4, neighbour);
        let mut bird = Bird::start(&router.namespace, self.lab.path(), "router", &config)?;
        // It stands for another machine, which has nothing to do with what else the node does.
        let mut ahead = Command::new("renice");
        output(ahead.args(["-n", "-15", "-p", &bird.pid().to_string()]))?;
        let announced = self.await_prefixes(before + self.count)?;
        let ordered = unix_time();
        self.order(who, false)?;
        let withdrawn = self.await_prefixes(before)?;
        // Before the next router starts everything is known again.
        self.order(who, true)?;
        self.await_prefixes(before + self.count)?;
        self.lab.stop_recording()?;
        bird.terminate()?;
        self.await_prefixes(before)?;
        let sendings = capture::bgp_sendings(&recording, sender)?;
        let established = establishment(&sendings)?;
        let first = first_update(&sendings, ordered)?;
        times.announced.push(announced.saturating_sub(established));
        times.withdrawn.push(withdrawn.saturating_sub(first));
        let settled = match who {
            Who::Ferrolb => ordered + SETTLE,
            Who::Bird => ordered,
        };
        times.ordered.push(withdrawn.saturating_sub(settled));
        let messages = capture::bgp_messages(&recording, sender, ordered)?;
        times.updates = messages.get(&UPDATE).copied().unwrap_or(0);
        Ok(())
    }

    /// Has it announce everything, or nothing.
    fn order(&self, who: Who, is_to_announce: bool) -> Result<()> {
        match (who, is_to_announce) {
            (Who::Ferrolb, true) => self.lab.manifest(ADVERTISEMENT, &bgp("many", "")),
            (Who::Ferrolb, false) => self.lab.remove_manifest(ADVERTISEMENT),
            (Who::Bird, true) => self.bird.ask("enable announced").map(drop),
            (Who::Bird, false) => self.bird.ask("disable announced").map(drop),
        }
    }

    /// When the router's kernel had so many prefixes.
    fn await_prefixes(&self, wanted: usize) -> Result<Duration> {
        self.lab.segment.router.namespace.inside(|| {
            let end = Instant::now() + LONG;
            loop {
                let begun = Instant::now();
                let present = prefixes()?;
                if present == wanted {
                    return Ok(unix_time());
                }
                let next = begun.elapsed() * SHARE;
                ensure!(
                    Instant::now() < end && !patience::is_interrupted(),
                    "waited for {wanted} prefixes in vain: there are {present}"
                );
                std::thread::sleep(LOOK.max(next));
            }
        })?
    }
}

/// When the session was Established over which everything came.
fn establishment(sendings: &[Sending]) -> Result<Duration> {
    let is = |kind: u8| move |sending: &&Sending| sending.kinds.contains(&kind);
    let first = sendings.iter().find(is(UPDATE));
    let first = first.context("no UPDATE was recorded")?;
    let before = sendings
        .iter()
        .rev()
        .filter(|sending| sending.at <= first.at);
    let established = before.into_iter().find(is(KEEPALIVE));
    Ok(established.context("no KEEPALIVE was recorded")?.at)
}

/// When the first UPDATE after that time was sent.
fn first_update(sendings: &[Sending], ordered: Duration) -> Result<Duration> {
    let mut later = sendings.iter().filter(|sending| sending.at >= ordered);
    let found = later.find(|sending| sending.kinds.contains(&UPDATE));
    Ok(found.context("no withdrawal was recorded")?.at)
}

/// A BIRD that announces these addresses to eBGP peers of AS 64501.
pub(crate) fn announcer(
    own: Ipv4Addr,
    addresses: impl Iterator<Item = IpAddr>,
    peers: &[IpAddr],
) -> String {
    let routes: String = addresses
        .map(|address| format!("route {address}/32 blackhole; "))
        .collect();
    let sessions = peers.iter().enumerate().map(|(number, peer)| {
        format!(
            "protocol bgp r{number} {{ local {own} as 64500; neighbor {peer} as 64501; hold time 9;\n\
             connect delay time 1; connect retry time 1; error wait time 1, 2;\n\
             ipv4 {{ import none; export all; next hop self; }}; }}\n"
        )
    });
    let sessions: String = sessions.collect();
    format!(
        "router id {own}; log stderr all; protocol device {{ }}\n\
         protocol static announced {{ ipv4; {routes} }}\n{sessions}"
    )
}

/// Prefixes in the main table of a namespace's kernel.
fn prefixes_of(namespace: &Namespace) -> Result<usize> {
    namespace.inside(prefixes)?
}

/// The same of this thread's, counted by the kernel: to list them would cost more than to add them.
fn prefixes() -> Result<usize> {
    let text = std::fs::read_to_string(Path::new("/proc/thread-self/net/fib_triestat"))?;
    let (_, main) = text.split_once("Main:").context("there is a main table")?;
    let line = main
        .lines()
        .find_map(|line| line.trim().strip_prefix("Prefixes:"));
    Ok(line.context("a table has prefixes")?.trim().parse()?)
}

/// As recordings have it.
pub(crate) fn unix_time() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}
