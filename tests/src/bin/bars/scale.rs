//! Thousands of Services in a real cluster: FerroLB, MetalLB and a bare loop of the same API calls,
//! each on a control plane of its own.
#![expect(clippy::disallowed_methods, reason = "measures time")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ferrolb_tests::kubernetes::audit::{Mark, Write};
use ferrolb_tests::kubernetes::churn::kill_active_controllers;
use ferrolb_tests::kubernetes::load::{Call, assignment, endpoint, service};
use ferrolb_tests::kubernetes::{ControlPlane, Settings};
use ferrolb_tests::process::Process;
use ferrolb_tests::{patience, programs};

use super::site::{NODES, Site, Who};
use super::{Figure, address};

/// So many creators at a time.
const CREATORS: usize = 16;
const ROUTED: usize = 1_000;
const ADDRESSED: usize = 5_000;
const KILLS: usize = 20;
/// What takes seconds differs by a fifth from run to run.
const RUNS: usize = 3;
/// MetalLB needs minutes for the routes of 5,000 Services on a slow machine.
const LONG: Duration = Duration::from_secs(600);
const MEGABYTE: f64 = 1_000_000.0;

/// Services with one endpoint each, until the router has their routes from every node; then one
/// speaker is killed and started anew.
pub(crate) fn routes() -> Result<Vec<Figure>> {
    let mut bare = Vec::new();
    let mut ours = Vec::new();
    for _ in 0..RUNS {
        bare.push(bare_loop(ROUTED, |name| {
            vec![service("default", name), endpoint("default", name)]
        })?);
        ours.push(routed(Who::Ferrolb)?);
    }
    bare.sort();
    ours.sort();
    let (bare, (ours, our_return)) = (bare[RUNS / 2], ours[RUNS / 2]);
    let (theirs, their_return) = routed(Who::Metallb)?;
    let factor = ours.as_secs_f64() / bare.as_secs_f64();
    let their_factor = theirs.as_secs_f64() / bare.as_secs_f64();
    Ok(vec![
        Figure {
            what: "1,000 Services with one endpoint each, 3 speakers: creation until BIRD has all 3,000 routes".to_owned(),
            measured: format!(
                "{}, {factor:.2} of the bare loop's {}, medians of {RUNS} (MetalLB, once: {}, {their_factor:.1})",
                seconds(ours), seconds(bare), seconds(theirs)
            ),
            bar: "within 1.5 of the bare loop",
            is_held: factor <= 1.5,
        },
        Figure {
            what: "a speaker with 1,000 Services is killed and started anew: until its 1,000 routes are back".to_owned(),
            measured: format!("{} (MetalLB: {})", seconds(our_return), seconds(their_return)),
            bar: "faster than MetalLB",
            is_held: our_return < their_return,
        },
    ])
}

/// Creation until all routes are there, and the return of one speaker's.
fn routed(who: Who) -> Result<(Duration, Duration)> {
    let mut site = Site::bare(who)?;
    site.start_controller()?;
    site.start_speakers()?;
    let calls = each(ROUTED, |name| {
        vec![service("default", name), endpoint("default", name)]
    });
    let start = Instant::now();
    site.cluster.plane.perform(calls, CREATORS)?;
    await_routes(
        "the routes of all nodes",
        ROUTED * usize::from(NODES),
        || site.routes(),
    )?;
    let elapsed = start.elapsed();
    let restart = Instant::now();
    site.restart_speaker(1)?;
    await_routes("the routes of n1", ROUTED, || site.routes_from(1))?;
    Ok((elapsed, restart.elapsed()))
}

fn await_routes(what: &str, wanted: usize, count: impl Fn() -> Result<usize>) -> Result<()> {
    patience::eventually(what, LONG, || {
        if count()? == wanted {
            return Ok(Some(()));
        }
        // Asking costs time that the others need.
        patience::pause(Duration::from_millis(20))?;
        Ok(None)
    })?;
    Ok(())
}

/// What a cluster of many Services costs.
struct Cost {
    elapsed: Duration,
    /// Requests to `services/status`, granted or not.
    writes: usize,
    /// Resident megabytes of the controller, and of the largest speaker.
    memory: [f64; 2],
    restart: Restart,
}

/// The controller started anew.
struct Restart {
    ready: Duration,
    writes: BTreeMap<String, usize>,
}

/// Services without endpoints until all have an address; then what holding them costs, and a restart
/// of the controller.
pub(crate) fn assignments() -> Result<Vec<Figure>> {
    let bare = bare_loop(ADDRESSED, |name| vec![service("default", name)])?;
    let ours = addressed(Who::Ferrolb)?;
    let theirs = addressed(Who::Metallb)?;
    let factor = ours.elapsed.as_secs_f64() / bare.as_secs_f64();
    let their_factor = theirs.elapsed.as_secs_f64() / bare.as_secs_f64();
    let mut restarted_writes = ours.restart.writes.keys();
    let lease_only = restarted_writes.all(|resource| resource == "leases");
    let ([controller, speaker], [their_controller, their_speaker]) = (ours.memory, theirs.memory);
    Ok(vec![
        Figure {
            what: "5,000 Services: creation until all have an address".to_owned(),
            measured: format!(
                "{}, {factor:.2} of the bare loop's {} (MetalLB: {}, {their_factor:.1})",
                seconds(ours.elapsed),
                seconds(bare),
                seconds(theirs.elapsed)
            ),
            bar: "within 1.3 of the bare loop",
            is_held: factor <= 1.3,
        },
        Figure {
            what: "requests to services/status for them".to_owned(),
            measured: format!("{} (MetalLB: {})", ours.writes, theirs.writes),
            bar: "exactly 5,000",
            is_held: ours.writes == ADDRESSED,
        },
        Figure {
            what: "resident memory with 5,000 Services, each with an endpoint and 3 routes"
                .to_owned(),
            measured: format!(
                "controller {controller:.1} MB, speaker {speaker:.1} MB (MetalLB: {their_controller:.0} and {their_speaker:.0} MB)"
            ),
            bar: "under 20 MB each",
            is_held: controller < 20.0 && speaker < 20.0,
        },
        Figure {
            what: "controller started anew with 5,000 Services in place".to_owned(),
            measured: format!(
                "ready after {}; writes in {} s: {} (MetalLB: {})",
                seconds(ours.restart.ready),
                AT_REST.as_secs(),
                listed(&ours.restart.writes),
                listed(&theirs.restart.writes)
            ),
            bar: "none but the Lease",
            is_held: lease_only,
        },
    ])
}

fn addressed(who: Who) -> Result<Cost> {
    let mut site = Site::bare(who)?;
    site.start_controller()?;
    // What it writes before there are Services is none of theirs.
    patience::pause(Duration::from_secs(2))?;
    let mark = site.cluster.plane.audit().mark();
    let follower = site.cluster.plane.follow("/api/v1/services")?;
    let calls = each(ADDRESSED, |name| vec![service("default", name)]);
    let start = Instant::now();
    let created = std::thread::scope(|scope| {
        let plane = &site.cluster.plane;
        let creating = scope.spawn(|| plane.perform(calls, CREATORS));
        let mut addressed = BTreeSet::new();
        let end = follower.until("all addresses", LONG, |seen| {
            if !seen.addresses().is_empty() {
                addressed.insert(seen.name().to_owned());
            }
            (addressed.len() == ADDRESSED).then_some(seen.at)
        });
        creating.join().expect("creating does not panic")?;
        end
    });
    let elapsed = created?.saturating_duration_since(start);
    // A refused write would come at once; reports take longer and are none.
    patience::pause(Duration::from_secs(1))?;
    let writes = site.cluster.plane.audit().writes(mark)?;
    let writes = writes.iter().filter(|write| write.is_of("services/status"));
    let writes = writes.count();

    let endpoints = each(ADDRESSED, |name| vec![endpoint("default", name)]);
    site.cluster.plane.perform(endpoints, CREATORS)?;
    site.start_speakers()?;
    let all = ADDRESSED * usize::from(NODES);
    await_routes("the routes of all nodes", all, || site.routes())?;
    let controller = site.controller.as_ref().context("a controller runs")?;
    let megabytes = |process: &Process| Ok(process.resident()? as f64 / MEGABYTE);
    let speakers = site.speakers.iter().map(megabytes);
    let speakers: Vec<f64> = speakers.collect::<Result<_>>()?;
    let memory = [
        megabytes(controller)?,
        speakers.into_iter().fold(0.0, f64::max),
    ];
    // Their reports would be counted as the controller's.
    site.speakers.clear();
    let restart = restarted(&mut site)?;
    Ok(Cost {
        elapsed,
        writes,
        memory,
        restart,
    })
}

fn restarted(site: &mut Site) -> Result<Restart> {
    site.stop_controller()?;
    patience::pause(Duration::from_secs(1))?;
    let audit = site.cluster.plane.audit();
    let mark = audit.mark();
    let start = Instant::now();
    site.start_controller()?;
    let ready = start.elapsed();
    patience::pause(AT_REST)?;
    Ok(Restart {
        ready,
        writes: by_resource(&audit.writes(mark)?),
    })
}

fn by_resource(writes: &[Write]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for write in writes {
        let resource = match write.subresource.as_str() {
            "" => write.resource.clone(),
            sub => format!("{}/{sub}", write.resource),
        };
        *counts.entry(resource).or_default() += 1;
    }
    counts
}

fn listed(writes: &BTreeMap<String, usize>) -> String {
    let parts = writes
        .iter()
        .map(|(resource, count)| format!("{count} {resource}"));
    parts.collect::<Vec<_>>().join(", ")
}

/// The same calls that whoever gives addresses has to make, with nobody else about.
fn bare_loop(count: usize, create: impl Fn(&str) -> Vec<Call>) -> Result<Duration> {
    let plane = ControlPlane::alone(Settings::default())?;
    let mut number = 0;
    let calls = each(count, |name| {
        let mut calls = create(name);
        calls.push(assignment("default", name, address(number)));
        number += 1;
        calls
    });
    let elapsed = plane.perform(calls, CREATORS)?;
    let written = plane.audit().writes(Mark::default())?;
    let written = written
        .iter()
        .filter(|write| write.is_of("services/status"));
    ensure!(
        written.count() == count,
        "the bare loop has written them all"
    );
    Ok(elapsed)
}

fn each(count: usize, mut calls: impl FnMut(&str) -> Vec<Call>) -> Vec<Vec<Call>> {
    let names = (0..count).map(|number| format!("web-{number:05}"));
    names.map(|name| calls(&name)).collect()
}

/// Kills of the active controller while Services come and go.
pub(crate) fn kills() -> Result<Vec<Figure>> {
    let mut outcome = kill_active_controllers(KILLS)?;
    outcome.takeovers.sort();
    let middle = outcome.takeovers[KILLS / 2];
    let history = outcome.history;
    Ok(vec![Figure {
        what: format!("{KILLS} kills of the active controller while Services come and go"),
        measured: format!(
            "{} assignments, {} of an address that another had before, no violation; takeover {} in the median, {} at most",
            history.assigned,
            history.reused,
            seconds(middle),
            seconds(outcome.takeovers[KILLS - 1])
        ),
        bar: "I1 and I2 hold after every change of the watch history",
        is_held: history.reused > 0,
    }])
}

/// Sizes of the programs as they are shipped.
pub(crate) fn sizes() -> Result<Vec<Figure>> {
    let size = |path: std::path::PathBuf| -> Result<f64> {
        let file = std::fs::metadata(&path).with_context(|| path.display().to_string())?;
        Ok(file.len() as f64 / MEGABYTE)
    };
    let ours = [size(programs::controller()?)?, size(programs::speaker()?)?];
    let theirs = [
        size(programs::metallb("controller")?)?,
        size(programs::metallb("speaker")?)?,
    ];
    Ok(vec![Figure {
        what: "static programs".to_owned(),
        measured: format!(
            "controller {:.1} MB, speaker {:.1} MB (MetalLB: {:.0} and {:.0} MB)",
            ours[0], ours[1], theirs[0], theirs[1]
        ),
        bar: "under 12 MB each",
        is_held: ours.iter().all(|size| *size < 12.0),
    }])
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// How long is watched what a controller writes that has just started.
const AT_REST: Duration = Duration::from_secs(25);
