//! The composition root.

use std::path::PathBuf;
use std::time::Duration;

use crate::world::Identity;

/// What a speaker is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Directory with the objects.
    pub manifests: PathBuf,
    /// State directory.
    pub state: PathBuf,
    /// Namespace of the metallb.io objects.
    pub namespace: String,
    /// Who this speaker is.
    pub identity: Identity,
    /// How heartbeats are authenticated.
    pub heartbeat: Heartbeat,
    /// Least time between two heartbeats.
    pub heartbeat_interval: Duration,
    /// Silence after which a node is down; `None`: three intervals plus skew.
    pub heartbeat_down_after: Option<Duration>,
    /// Socket for `status`.
    pub socket: PathBuf,
}

/// How heartbeats are authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heartbeat {
    /// By the key in this file.
    KeyFile(PathBuf),
    /// Not at all.
    Insecure,
    /// Nothing was said: layer 2 stays silent.
    NoKey,
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let _ = settings;
    Ok(())
}
