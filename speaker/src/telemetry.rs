//! Logging: lines on stderr, text or JSON. RUST_LOG outranks the command line.

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Starts logging. `level` holds unless RUST_LOG says otherwise.
pub fn start(format: Format, level: &str) {
    let filter = EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| EnvFilter::new(directives(level)));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        Format::Text => lines.init(),
        Format::Json => lines.json().flatten_event(true).init(),
    }
}

/// What the client of the API server says is for who asks for it only: of an answer that it does not
/// understand it logs every word (design invariant I10).
fn directives(level: &str) -> String {
    let mut directives = level.to_owned();
    if !matches!(level, "error" | "off") {
        let quiet = QUIET.map(|target| format!(",{target}=error"));
        directives.extend(quiet);
    }
    directives
}

const QUIET: [&str; 7] = [
    "kube",
    "kube_client",
    "kube_core",
    "hyper",
    "hyper_util",
    "rustls",
    "tower",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i10_the_client_of_the_api_server_says_no_more_than_errors() {
        assert!(directives("info").starts_with("info,kube=error,kube_client=error,"));
        assert_eq!(directives("off"), "off");
        for level in ["trace", "info", "off"] {
            assert!(EnvFilter::try_new(directives(level)).is_ok());
        }
    }
}
