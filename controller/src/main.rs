//! Reads the command line and does what it says.

use std::process::ExitCode;

use clap::Parser as _;
use ferrolb_controller::cli::{Cli, LogFormat, LogLevel, Settings, Task};
use ferrolb_controller::{cluster, run, telemetry};
use tracing::level_filters::LevelFilter;
use tracing::{error, warn};

fn main() -> ExitCode {
    let settings = Cli::parse().into_settings();
    let level = level(settings.log_level);
    telemetry::init(level, settings.log_format == LogFormat::Json);
    match execute(settings) {
        Ok(code) => code,
        Err(error) => {
            error!(error = format!("{error:#}"), "giving up");
            ExitCode::FAILURE
        }
    }
}

fn execute(settings: Settings) -> anyhow::Result<ExitCode> {
    for flag in settings.ignored {
        warn!(flag, "flag of MetalLB has no meaning here and is ignored");
    }
    match settings.task {
        Task::Run(settings) => {
            runtime()?.block_on(run::run(settings))?;
        }
        Task::RunInCluster(settings) => runtime()?.block_on(cluster::run(settings))?,
        Task::Plan(settings) => run::plan(settings)?,
        Task::Check(settings) => return Ok(ExitCode::from(u8::from(!run::check(settings)?))),
    }
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::All => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::None => LevelFilter::OFF,
    }
}
