//! Inputs that nobody means, counted: into the decoder of messages and the machines of BGP and BFD.

use std::process::Command;

use anyhow::{Context, Result};
use ferrolb_tests::process::words;
use ferrolb_tests::programs;

use super::{Figure, repeated};

/// What is tried, by which test, and how often.
const TRIED: [(&str, &str, usize); 3] = [
    (
        "inputs into the decoder of BGP messages",
        "bgp::codec::tests::i7_no_bytes_panic_or_outgrow_their_message",
        100_000_000,
    ),
    (
        "sequences of operations on the machine of a BGP peer",
        "bgp::peer::tests::properties::i7_no_sequence_asks_for_what_cannot_be",
        10_000_000,
    ),
    (
        "sequences of operations on the machine of a BFD session",
        "bfd::session::tests::properties::i7_invariants_hold_after_any_sequence",
        10_000_000,
    ),
];

pub(crate) fn fuzz() -> Result<Vec<Figure>> {
    let figures = TRIED.map(|(what, test, count)| {
        let count = repeated(count);
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(["test", "--quiet", "--locked", "--workspace", "--lib", "--"]);
        command.args(["--nocapture", "--exact", test]);
        command.env("FERROLB_FUZZ_INPUTS", count.to_string());
        let text = words(command.current_dir(programs::workspace()))?;
        let told = text.lines().find_map(|line| line.strip_prefix("tried "));
        let told = told.with_context(|| format!("it failed: {text}"))?;
        Ok(Figure {
            what: format!("{count} {what}, optimised, with checks of overflow and assertions"),
            measured: format!("no panic, no hang, invariants hold: {told}"),
            bar: "100,000,000 inputs, 10,000,000 sequences of each machine",
            is_held: true,
        })
    });
    figures.into_iter().collect()
}
