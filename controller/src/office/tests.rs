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
