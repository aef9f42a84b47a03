//! Inputs that nobody means, for the decoders.

#![expect(
    clippy::disallowed_methods,
    reason = "a time budget, and where it comes from"
)]

use std::time::{Duration, Instant};

/// Feeds mutations of the seeds to a decoder, as much as is asked for. For one `FERROLB_FUZZ_SEED` the
/// same inputs in the same order every time; a failure shows the input.
pub(crate) fn mutate(seeds: &[Vec<u8>], mut decode: impl FnMut(&[u8])) {
    let seed = seed();
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut last = Vec::new();
    repeat(|_| {
        let mut input = seeds[rng.usize(..seeds.len())].clone();
        for _ in 0..rng.usize(1..5) {
            mutate_once(&mut rng, &mut input, &last);
        }
        let shown = Shown(&input);
        decode(&input);
        std::mem::forget(shown);
        last = input;
    });
}

/// Runs sequences of operations, each drawn from a generator of its own, as many as are asked for. A
/// failure shows the seed: `FERROLB_FUZZ_SEED=that FERROLB_FUZZ_INPUTS=1` has the sequence alone.
pub(crate) fn sequences(mut run: impl FnMut(fastrand::Rng)) {
    let first = seed();
    println!("seed {first}");
    repeat(|number| {
        let seed = first.wrapping_add(number);
        let shown = ShownSeed(seed);
        run(fastrand::Rng::with_seed(seed));
        std::mem::forget(shown);
    });
}

/// Tries `FERROLB_FUZZ_INPUTS` times and says how fast that was, or for `FERROLB_FUZZ_SECONDS` (2 by
/// default).
fn repeat(mut attempt: impl FnMut(u64)) {
    let start = Instant::now();
    if let Ok(count) = std::env::var("FERROLB_FUZZ_INPUTS") {
        let count: u64 = count.parse().unwrap();
        (0..count).for_each(attempt);
        let seconds = start.elapsed().as_secs_f64();
        let rate = count as f64 / seconds;
        println!("tried {count} in {seconds:.0} s, {rate:.0} a second");
        return;
    }
    let seconds = std::env::var("FERROLB_FUZZ_SECONDS");
    let seconds: f64 = seconds.map_or(2.0, |text| text.parse().unwrap());
    let end = start + Duration::from_secs_f64(seconds);
    let mut number = 0;
    while Instant::now() < end {
        for _ in 0..256 {
            attempt(number);
            number += 1;
        }
    }
}

fn seed() -> u64 {
    let seed = std::env::var("FERROLB_FUZZ_SEED");
    seed.map_or(0xfe44_01b0, |text| text.parse().unwrap())
}

/// Prints the seed when what runs panics.
struct ShownSeed(u64);

impl Drop for ShownSeed {
    fn drop(&mut self) {
        eprintln!("seed of the sequence: {}", self.0);
    }
}

/// Prints the input when the decoder under test panics.
struct Shown<'a>(&'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        eprintln!("input: {:02x?}", self.0);
    }
}

fn mutate_once(rng: &mut fastrand::Rng, input: &mut Vec<u8>, other: &[u8]) {
    let interesting = [0, 1, 2, 4, 0x0f, 0x10, 0x40, 0x7f, 0x80, 0xfe, 0xff];
    if input.is_empty() {
        input.push(rng.u8(..));
    }
    let at = rng.usize(..input.len());
    match rng.u8(..8) {
        0 => input[at] = rng.u8(..),
        1 => input[at] = interesting[rng.usize(..interesting.len())],
        2 => input[at] ^= 1 << rng.u8(..8),
        3 => input[at] = input[at].wrapping_add(rng.u8(..3)).wrapping_sub(1),
        4 => input.insert(at, rng.u8(..)),
        5 => drop(input.remove(at)),
        6 => input.truncate(at),
        _ => {
            let start = rng.usize(..=other.len());
            input.truncate(at);
            input.extend(&other[start..]);
            input.truncate(8192);
        }
    }
}
