//! Where log lines go.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// Writes log lines to stderr from here on, those of the level and above; RUST_LOG wins.
pub fn init(level: LevelFilter, is_json: bool) {
    let filter = EnvFilter::builder()
        .with_default_directive(level.into())
        .from_env_lossy();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false);
    if is_json {
        lines.json().init();
    } else {
        lines.init();
    }
}
