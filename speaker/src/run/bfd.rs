//! BFD as a part of the speaker: started when some peer wants it, started again when it ends.

use std::collections::BTreeMap;
use std::time::Instant;

use tokio::sync::watch;
use tracing::{error, warn};

use super::RETRY;
use crate::bfd::{Bfd, Report, SessionKey, Standing, Wanted};

/// BFD, if it runs, and what it is to do.
#[derive(Debug, Default)]
pub(super) struct BfdLink {
    bfd: Option<Bfd>,
    report: Option<watch::Receiver<Report>>,
    wanted: Wanted,
    keys: BTreeMap<String, SessionKey>,
    /// Why it does not run, if it does not.
    problem: Option<String>,
    retry_at: Option<Instant>,
}

impl BfdLink {
    /// These sessions should run, for these peers.
    pub(super) fn want(&mut self, wanted: Wanted, keys: BTreeMap<String, SessionKey>) {
        self.keys = keys;
        self.wanted = wanted;
        if self.bfd.is_none() && self.retry_at.is_none() && !self.wanted.is_empty() {
            self.start();
        }
        if let Some(bfd) = &self.bfd {
            bfd.want(self.wanted.clone());
        }
    }

    fn start(&mut self) {
        match Bfd::start() {
            Ok(bfd) => {
                self.report = Some(bfd.report());
                self.bfd = Some(bfd);
                self.problem = None;
            }
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "bfd not started, trying again"
                );
                self.problem = Some(error.to_string());
                self.retry_at = Some(Instant::now() + RETRY);
            }
        }
    }

    /// Which session is whose.
    pub(super) fn keys(&self) -> &BTreeMap<String, SessionKey> {
        &self.keys
    }

    /// Changes as often as a path fails.
    pub(super) fn failures(&self, key: &SessionKey) -> Option<watch::Receiver<u64>> {
        self.bfd.as_ref().map(|bfd| bfd.failures(key))
    }

    /// Waits until some session is in another state. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        match &mut self.report {
            Some(report) => {
                if report.changed().await.is_err() {
                    error!("bfd has ended, starting it again");
                    self.bfd = None;
                    self.report = None;
                    self.retry_at = Some(Instant::now() + RETRY);
                }
            }
            None => std::future::pending().await,
        }
    }

    /// When it is tried again to start it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Tries that, if it is time; whether it runs again.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        if self.retry_at.is_none_or(|at| at > now) {
            return false;
        }
        self.retry_at = None;
        self.want(self.wanted.clone(), self.keys.clone());
        self.bfd.is_some()
    }

    /// How the paths to the peers that have BFD stand.
    pub(super) fn standings(&self) -> BTreeMap<String, Standing> {
        let report = self.report.as_ref().map(|report| report.borrow().clone());
        let report = report.unwrap_or_default();
        let standing = |key: &SessionKey| Standing {
            status: report.sessions.get(key).cloned(),
            counts: report.counts.get(key).copied().unwrap_or_default(),
            problem: self.problem.clone(),
        };
        let keys = self.keys.iter();
        keys.map(|(peer, key)| (peer.clone(), standing(key)))
            .collect()
    }

    /// The report itself, for whoever counts.
    pub(super) fn report(&self) -> Option<watch::Receiver<Report>> {
        self.report.clone()
    }

    /// Tells the peers that the sessions end on purpose.
    pub(super) async fn stop(&mut self) {
        self.report = None;
        if let Some(bfd) = self.bfd.take() {
            bfd.stop().await;
        }
    }
}
