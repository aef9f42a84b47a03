//! The speaker: parse, set up, run, exit code.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use ferrolb_speaker::cli::{self, Cli, Command, Unusable};
use ferrolb_speaker::{router_config, run, status, telemetry};
use tracing::warn;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(arguments) => speak(*arguments),
        Command::Status(arguments) => show(arguments),
        Command::Rebalance(arguments) => rebalance(arguments),
        Command::Drain(arguments) => status::drain(&arguments.order()),
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

fn speak(arguments: cli::RunArguments) -> anyhow::Result<()> {
    telemetry::start(arguments.log_format(), arguments.log_level());
    for flag in arguments.ignored() {
        warn!(flag, "accepted for MetalLB's sake, without effect");
    }
    let settings = arguments.settings()?;
    // The loop that plans has this thread: meanwhile the sessions keep their peers alive on others.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let outcome = runtime.block_on(run::run(settings));
    // A thread that waits for a disk must not keep the program from ending.
    runtime.shutdown_background();
    outcome
}

fn show(arguments: cli::StatusArguments) -> anyhow::Result<()> {
    let (view, address) = (arguments.view(), arguments.explain());
    status::show(&arguments.place(), view, address)
}

fn rebalance(arguments: cli::RebalanceArguments) -> anyhow::Result<()> {
    let (view, demand) = (arguments.view(), arguments.demand());
    status::rebalance(&arguments.place(), view, demand)
}
