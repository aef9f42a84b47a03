#![expect(
    clippy::disallowed_methods,
    reason = "a time budget, and where it comes from"
)]

mod follower;
mod judge;
mod scenario;
mod server;
mod simulation;

use std::time::{Duration, Instant};

use simulation::Simulation;

use super::{GATHERING, Gathering, Input, LONGEST_GATHERING, Office, Output};
use crate::fixture::{key, pool, service};
use crate::lease::{self, DURATION, Lease};
use crate::reconcile::Settings;

/// Has every write of the Lease come to pass, and returns what else there is to do or to tell.
fn carry_out(office: &mut Office, now: Instant) -> Vec<Output> {
    let mut others = Vec::new();
    while let Some(output) = office.poll() {
        let Output::Write(draft) = output else {
            others.push(output);
            continue;
        };
        let written = Lease {
            version: "1".to_owned(),
            holder: draft.holder,
            duration: DURATION,
            transitions: draft.transitions,
            log: draft.log,
        };
        office.handle(now, Input::Lease(lease::Input::Written(Ok(written))));
    }
    others
}

#[test]
fn who_gives_the_lease_up_is_not_deposed() {
    let now = crate::fixture::now();
    let mut office = Office::new(Settings::default(), "a_1".to_owned(), now);
    office.handle_timeout(now);
    assert_eq!(carry_out(&mut office, now), [Output::Read]);
    office.handle(now, Input::Lease(lease::Input::Read(Ok(None))));
    assert_eq!(carry_out(&mut office, now), []);
    assert_eq!(office.election.holder(), Some("a_1"));
    office.handle(now, Input::Resign);
    assert_eq!(carry_out(&mut office, now), [Output::Resigned]);
}

#[test]
fn what_was_written_into_a_service_goes_when_it_is_no_load_balancer_any_more() {
    let mut simulation = Simulation::new(1, false);
    let wait = |simulation: &mut Simulation| {
        let until = simulation.now + Duration::from_secs(10);
        simulation.run(until).unwrap();
        simulation.judge.patches
    };
    simulation.set_pools(vec![pool("one", &["10.0.0.0/30"])]);
    simulation.launch("place");
    let news = simulation.server.apply(service("s"));
    simulation.publish(Some(news));
    assert_eq!(wait(&mut simulation), 1);
    let news = simulation.server.retype(&key("s"));
    simulation.publish(news);
    assert_eq!(simulation.server.remnants().count(), 1);
    assert_eq!(wait(&mut simulation), 2);
    assert_eq!(simulation.server.remnants().count(), 0);
    // It is one again, and then is gone: one request finds nothing.
    let news = simulation.server.apply(service("s"));
    simulation.publish(Some(news));
    assert_eq!(wait(&mut simulation), 3);
    let news = simulation.server.delete(&key("s"));
    simulation.publish(news);
    assert_eq!(wait(&mut simulation), 4);
    assert_eq!(wait(&mut simulation), 4);
}

/// Simulations of these seeds, for `FERROLB_FUZZ_SECONDS` if that is set. For one
/// `FERROLB_FUZZ_SEED` the same ones every time; a failure is told in full.
#[test]
fn i1_i2_i4_whatever_becomes_of_controllers_and_requests() {
    let seconds = std::env::var("FERROLB_FUZZ_SECONDS");
    let seconds: f64 = seconds.map_or(5.0, |text| text.parse().unwrap());
    let first = std::env::var("FERROLB_FUZZ_SEED");
    let first: u64 = first.map_or(1, |text| text.parse().unwrap());
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut seed = first;
    while Instant::now() < end {
        if let Err(cause) = scenario::play(seed, false) {
            let _ = scenario::play(seed, true);
            panic!("seed {seed}: {cause}");
        }
        seed += 1;
    }
    println!("seeds {first} to {}", seed - 1);
}

#[test]
fn logs_that_follow_one_another_gather_longer_and_longer_and_after_a_pause_none_waits() {
    let start = Instant::now();
    let mut gathering = Gathering::new(start);
    let mut now = start;
    let mut pause = |now: Instant| {
        gathering.begin(now);
        gathering.next - now
    };
    for wait in [25, 50, 100, 200, 200, 200] {
        let wait = Duration::from_millis(wait);
        assert_eq!(pause(now), wait);
        now += wait;
    }
    now += LONGEST_GATHERING;
    assert_eq!(pause(now), GATHERING);
    now += 2 * GATHERING;
    assert_eq!(pause(now), GATHERING);
}
