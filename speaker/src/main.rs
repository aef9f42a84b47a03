//! The speaker: parse, set up, run, exit code.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use ferrolb_speaker::cli::{
    Cli, Command, DrainArguments, RebalanceArguments, RunArguments, StatusArguments, Unusable,
};
use ferrolb_speaker::{router_config, run, status, telemetry};
use tracing::warn;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(arguments) => speak(*arguments),
        Command::Status(arguments) => show(arguments),
        Command::Rebalance(arguments) => rebalance(arguments),
        Command::Drain(arguments) => drain(arguments),
        Command::RouterConfig(arguments) => router_config::driver::run(&arguments.settings()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            status::complain(&format!("{error:#}"));
            match error.is::<Unusable>() {
                true => WRONG_COMMAND_LINE.into(),
                false => ExitCode::FAILURE,
            }
        }
    }
}

/// As clap has it.
const WRONG_COMMAND_LINE: u8 = 2;

fn speak(arguments: RunArguments) -> anyhow::Result<()> {
    telemetry::start(arguments.log_format(), arguments.log_level());
    for flag in arguments.ignored() {
        warn!(flag, "accepted for MetalLB's sake, without effect");
    }
    let settings = arguments.settings()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let outcome = runtime.block_on(run::run(settings));
    // A thread that waits for a disk must not keep the program from ending.
    runtime.shutdown_background();
    outcome
}

fn show(arguments: StatusArguments) -> anyhow::Result<()> {
    let (view, address) = (arguments.view(), arguments.explain());
    status::show(&arguments.place(), view, address)
}

fn rebalance(arguments: RebalanceArguments) -> anyhow::Result<()> {
    let (view, demand) = (arguments.view(), arguments.demand());
    status::rebalance(&arguments.place(), view, demand)
}

fn drain(arguments: DrainArguments) -> anyhow::Result<()> {
    let (view, demand, is_to_wait) = (arguments.view(), arguments.demand(), arguments.is_to_wait());
    status::drain(&arguments.place(), view, demand, is_to_wait)
}
