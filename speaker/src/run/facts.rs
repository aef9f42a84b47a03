//! What this node tells of itself: in its file, a while after something has changed, and to whoever asks
//! at its socket.

use std::future::pending;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::warn;

use super::Speaker;
use crate::status::request::Request;
use crate::status::{self, Asked, Evidence, Explanation, Facts, Known, Listener, NodeFile};

/// How long the status file may lag behind, so that a burst of changes is one write.
const STATUS_LAG: Duration = Duration::from_millis(500);

/// How long after it was asked for it is not asked for again, for each address: to make it takes about
/// 20 µs of a processor, which changes that go on and on are not to keep busy.
const STATUS_REST: Duration = Duration::from_micros(200);

/// How long the last write of the status file may take on the way out.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// The file and the socket.
pub(super) struct StatusLink {
    pub(super) listener: Option<Listener>,
    /// `None`: there is no state directory.
    pub(super) file: Option<NodeFile>,
    pub(super) error: Option<watch::Receiver<Option<String>>>,
    pub(super) last_error: Option<String>,
    /// When the file is brought up to date.
    pub(super) due: Option<Instant>,
    /// Not before that.
    rests_until: Option<Instant>,
}

impl StatusLink {
    /// There is no socket yet.
    pub(super) fn of(file: Option<NodeFile>) -> Self {
        Self {
            listener: None,
            error: file.as_ref().map(NodeFile::error),
            file,
            last_error: None,
            due: None,
            rests_until: None,
        }
    }

    /// There is something else to say.
    pub(super) fn note_change(&mut self, now: Instant) {
        let soon = now + STATUS_LAG;
        let at = self.rests_until.map_or(soon, |rested| rested.max(soon));
        self.due.get_or_insert(at);
    }

    pub(super) fn want(&self, facts: Facts) {
        if let Some(file) = &self.file {
            file.want(facts);
        }
    }

    pub(super) async fn finish(self) {
        if let Some(file) = self.file {
            file.finish(LAST_WRITE).await;
        }
    }
}

impl Speaker {
    pub(super) fn bind_socket(&mut self) {
        match Listener::bind(&self.settings.socket) {
            Ok(listener) => self.status.listener = Some(listener),
            Err(error) => {
                // Once is enough: it is tried again until it works.
                if self.retry_at.is_none() {
                    let socket = self.settings.socket.display();
                    warn!(%socket, %error, "status socket not made, trying again");
                }
                self.retry_soon();
            }
        }
    }

    pub(super) fn answer(&mut self, client: std::io::Result<Asked>) {
        match client {
            Ok(asked) => {
                let answer = match asked.request {
                    Request::Status => return asked.answer_status(self.facts()),
                    Request::Explain(address) => serde_json::to_vec(&self.explain(address)),
                    Request::Rebalance(demand) => serde_json::to_vec(&self.rebalance(demand)),
                    Request::Drain(demand) => serde_json::to_vec(&self.demand_drain(demand)),
                };
                asked.answer(answer.unwrap_or_default());
            }
            Err(error) => {
                warn!(%error, "status socket failed, making it again");
                self.status.listener = None;
                self.retry_soon();
            }
        }
    }

    pub(super) fn explain(&self, address: IpAddr) -> Explanation {
        let counters = self.segment.counters();
        let tally = counters.map(|counters| counters.tally());
        let (report, tally) = (self.segment.report(), tally.unwrap_or_default());
        let evidence = Evidence {
            since: &self.since,
            report: report.as_ref(),
            heard: &tally.heard,
        };
        status::explanation(Instant::now(), &self.world, address, &evidence)
    }

    /// Brings the file up to date when it is due.
    pub(super) fn write_status(&mut self, now: Instant) {
        if self.status.due.is_none_or(|due| due > now) {
            return;
        }
        self.status.due = None;
        let addresses = u32::try_from(self.plan.addresses.len()).unwrap_or(u32::MAX);
        self.status.rests_until = Some(now + STATUS_REST.saturating_mul(addresses));
        if self.is_ready && self.status.file.is_some() {
            self.status.want(self.facts());
        }
    }

    pub(super) fn note_status_error(&mut self) {
        if let Some(error) = &mut self.status.error {
            self.status.last_error = error.borrow_and_update().clone();
        }
    }

    pub(super) fn facts(&self) -> Facts {
        Facts {
            known: Known::of(&self.world),
            plan: self.plan.clone(),
            since: self.since.clone(),
            problems: &self.problems | &self.misread,
            state_error: self.status.last_error.clone(),
            layer2: self.segment.report(),
            sessions: self.sessions.statuses(),
            bfd: self.bfd.standings(),
            routers: self.routers.report(),
            stations: self.bmp.report(),
            hand_off: self.hand_off.report().cloned(),
            blocked: self.blocked.status(),
            delivery: self.delivery.status(),
            draining: self.drain.status(),
        }
    }
}

/// The next who asks.
pub(super) async fn next_client(listener: Option<&mut Listener>) -> std::io::Result<Asked> {
    match listener {
        Some(listener) => listener.next().await,
        None => pending().await,
    }
}
