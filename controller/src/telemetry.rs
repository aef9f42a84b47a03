//! Where log lines go.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// Writes log lines to stderr from here on, those of the level and above; RUST_LOG wins.
pub fn init(level: LevelFilter, is_json: bool) {
    let mut filter = EnvFilter::builder()
        .with_default_directive(level.into())
        .from_env_lossy();
    if std::env::var_os(EnvFilter::DEFAULT_ENV).is_none() && level > LevelFilter::ERROR {
        // The client would log whole answers that it cannot read; what matters of it is told here.
        let quiet = |target: &str| format!("{target}=error").parse().ok();
        for target in ["kube_client", "hyper", "hyper_util", "rustls", "tower"] {
            filter = quiet(target)
                .into_iter()
                .fold(filter, EnvFilter::add_directive);
        }
    }
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
