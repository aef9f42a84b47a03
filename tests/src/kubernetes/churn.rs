//! Services that come and go all the time while whoever decides is killed, and the whole history of
//! it judged: I1 and I2.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::history::History;
use super::load::{Call, Follower, service};
use super::{ControlPlane, Settings, product};
use crate::objects::pool;
use crate::patience;
use crate::process::Process;

const SOON: Duration = Duration::from_secs(30);

/// How many Services there are at a time, out of a pool of 256 addresses.
const PRESENT: usize = 200;

/// How many come or go at a time.
const BATCH: usize = 10;

/// What was seen.
#[derive(Debug)]
pub struct Outcome {
    /// The history, which nothing in violates what must hold.
    pub history: History,
    /// For each kill, how long until another decided.
    pub takeovers: Vec<Duration>,
}

/// Kills the active of two controllers so many times while Services come and go. An error is a
/// violation, or a Service that never got an address.
pub fn kill_active_controllers(kills: usize) -> Result<Outcome> {
    let plane = ControlPlane::alone(Settings::default())?;
    product::install(&plane)?;
    plane.apply(&pool("pool", &["10.1.0.0/24"]))?;
    let follower = plane.follow("/api/v1/services")?;
    let mut history = History::default();
    let is_over = AtomicBool::new(false);
    let (takeovers, _active) = std::thread::scope(|scope| {
        let coming_and_going = scope.spawn(|| come_and_go(&plane, &is_over));
        let outcome = take_over(&plane, kills, || drain(&follower, &mut history));
        is_over.store(true, Ordering::SeqCst);
        coming_and_going.join().expect("creating does not panic")?;
        outcome
    })?;
    patience::eventually("an address for everybody", SOON, || {
        drain(&follower, &mut history)?;
        let is_settled = history.waiting() == 0;
        patience::pause(Duration::from_millis(100))?;
        Ok(is_settled.then_some(()))
    })?;
    ensure!(history.present() >= PRESENT, "not all have come");
    Ok(Outcome { history, takeovers })
}

/// Takes in what has been told meanwhile.
fn drain(follower: &Follower, history: &mut History) -> Result<()> {
    while let Some(seen) = follower.next(Duration::ZERO)? {
        history.apply(&seen)?;
    }
    Ok(())
}

/// How long each takeover took, and the controller that is left.
fn take_over(
    plane: &ControlPlane,
    kills: usize,
    mut look: impl FnMut() -> Result<()>,
) -> Result<(Vec<Duration>, Process)> {
    let arguments = ["--address-quarantine=1s"];
    let mut active = product::active_controller(plane, "controller-0", &arguments)?;
    let mut takeovers = Vec::new();
    for number in 1..=kills {
        let name = format!("controller-{number}");
        let mut standby = product::controller(plane, &name, &arguments)?;
        standby.await_line("standing by", SOON)?;
        // In the middle of whatever it does.
        patience::pause(Duration::from_millis(300 + 137 * number as u64 % 700))?;
        look()?;
        active.kill();
        takeovers.push(standby.await_line("ready", SOON)?);
        look()?;
        active = standby;
    }
    Ok((takeovers, active))
}

/// Some come, and those that have been there longest go.
fn come_and_go(plane: &ControlPlane, is_over: &AtomicBool) -> Result<()> {
    let writer = plane.writer()?;
    let mut present = VecDeque::new();
    let mut next = 0_u64;
    while !is_over.load(Ordering::SeqCst) {
        let mut calls = Vec::new();
        for _ in 0..BATCH {
            let name = format!("web-{next}");
            next += 1;
            calls.push(vec![service("default", &name)]);
            present.push_back(name);
        }
        while present.len() > PRESENT {
            let name = present.pop_front().context("there are more than none")?;
            let path = format!("/api/v1/namespaces/default/services/{name}");
            calls.push(vec![Call::Delete(path)]);
        }
        writer.perform(calls, 4)?;
        patience::pause(Duration::from_millis(200))?;
    }
    Ok(())
}
