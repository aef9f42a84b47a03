//! The link to layer 2. It is started off the loop: a key file can lie on a file system that hangs,
//! and the kernel is to list its interfaces first. Until then layer 2 is silent and all else goes on.

use std::future::pending;
use std::io::Read;
use std::path::Path;

use ferrolb_crds::model::Secret;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Heartbeat, Settings};
use crate::layer2::{self, Desired, Layer2, Report};

/// Layer 2, while it runs or is being started.
#[derive(Default)]
pub(super) struct SegmentLink {
    running: Option<(Layer2, watch::Receiver<Report>)>,
    starting: Option<JoinHandle<Result<Layer2, String>>>,
}

/// What the link waits for.
pub(super) enum News {
    /// What came of starting layer 2.
    Started(Result<Layer2, String>),
    /// It has something to report.
    Report,
    /// It has ended.
    Ended,
}

impl SegmentLink {
    /// Begins to start it.
    pub(super) fn start(&mut self, settings: &Settings) {
        let key_file = match &settings.heartbeat {
            Heartbeat::KeyFile(path) => Some(path.clone()),
            Heartbeat::Insecure | Heartbeat::NoKey => None,
        };
        let mut settings = layer2::Settings {
            node: settings.identity.node.clone(),
            key: None,
            interval: settings.heartbeat_interval,
            down_after: settings.heartbeat_down_after,
        };
        self.starting = Some(tokio::task::spawn_blocking(move || {
            settings.key = key_file.as_deref().map(read_key).transpose()?;
            Layer2::start(settings).map_err(|error| format!("{:#}", anyhow::Error::from(error)))
        }));
    }

    /// Waits for news; for ever while it is idle.
    pub(super) async fn next(&mut self) -> News {
        if let Some(starting) = &mut self.starting {
            let outcome = starting.await;
            self.starting = None;
            return News::Started(outcome.unwrap_or_else(|error| Err(error.to_string())));
        }
        let Some((_, report)) = &mut self.running else {
            return pending().await;
        };
        match report.changed().await {
            Ok(()) => News::Report,
            Err(_) => News::Ended,
        }
    }

    /// It runs.
    pub(super) fn run(&mut self, layer2: Layer2) {
        let report = layer2.report();
        self.running = Some((layer2, report));
    }

    /// It has ended.
    pub(super) fn forget(&mut self) {
        self.running = None;
    }

    /// It is being started.
    pub(super) fn is_starting(&self) -> bool {
        self.starting.is_some()
    }

    /// It neither runs nor is being started.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_none() && self.starting.is_none()
    }

    /// What it said last, if it runs.
    pub(super) fn report(&self) -> Option<Report> {
        let (_, report) = self.running.as_ref()?;
        Some(report.borrow().clone())
    }

    /// Tells it what should be true, if it runs.
    pub(super) fn want(&self, desired: impl FnOnce() -> Desired) {
        if let Some((layer2, _)) = &self.running {
            layer2.want(desired());
        }
    }

    /// Gives it up, to be stopped.
    pub(super) fn take(&mut self) -> Option<Layer2> {
        self.running.take().map(|(layer2, _)| layer2)
    }
}

/// More than any key; the rest of a larger file is not read.
const LONGEST_KEY: u64 = 64 * 1024;

/// The key, without the white space that editors leave at the end.
fn read_key(path: &Path) -> Result<Secret, String> {
    let because = |why: String| format!("heartbeat key file {}: {why}", path.display());
    let file = std::fs::File::open(path).map_err(|error| because(error.to_string()))?;
    let mut text = String::new();
    file.take(LONGEST_KEY)
        .read_to_string(&mut text)
        .map_err(|error| because(error.to_string()))?;
    let key = text.trim();
    if key.is_empty() {
        return Err(because("it is empty: put a key into it".to_owned()));
    }
    Ok(Secret::new(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i10_a_key_is_trimmed_and_one_that_is_missing_or_empty_is_no_key() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("key");
        assert!(read_key(&path).unwrap_err().contains("No such file"));
        for empty in ["", " \n\t\n"] {
            std::fs::write(&path, empty).unwrap();
            assert!(read_key(&path).unwrap_err().contains("it is empty"));
        }
        std::fs::write(&path, "open sesame\n").unwrap();
        let key = read_key(&path).unwrap();
        assert_eq!(key.expose(), "open sesame");
        std::fs::write(&path, b"open \xff sesame").unwrap();
        let error = read_key(&path).unwrap_err();
        assert!(!error.contains("sesame"), "{error}");
    }
}
