//! Which outages of BGP sessions somebody is told of, by events about the node.
//!
//! That a session is lost, and is back, is told at once; that one does not come up, after half a minute.
//! After a session is back nothing more is told of it for five minutes: one that flaps is told of
//! once in that time, with how often it was lost. What has no cause is on purpose, and not told.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ferrolb_crds::api::SessionState;

use super::{Body, Notice, Session, Wanted};

/// The sessions, and what has been told of them.
#[derive(Debug, Default)]
pub(super) struct Outages {
    peers: BTreeMap<String, Standing>,
}

#[derive(Debug)]
struct Standing {
    session: Session,
    /// Losses that have not been told of.
    losses: u32,
    /// The cause of the last one.
    cause: Option<String>,
    /// That it is down was the last that was told.
    is_told: bool,
    /// When something is to be told, unless it is over by then.
    due: Option<Instant>,
    /// Nothing is told before.
    quiet_until: Instant,
}

impl Outages {
    /// A session is to be reported like this; `None`: there is none any more.
    pub(super) fn note(&mut self, now: Instant, peer: &str, wanted: Option<&Wanted>) {
        let session = match wanted {
            Some(Wanted::This(Body::Session(session))) => session.as_ref().clone(),
            Some(_) | None => return drop(self.peers.remove(peer)),
        };
        match self.peers.get_mut(peer) {
            Some(standing) => standing.turn(now, session),
            None => {
                let standing = Standing {
                    losses: 0,
                    cause: None,
                    is_told: false,
                    due: (!is_up(&session)).then(|| now + GRACE),
                    quiet_until: now,
                    session,
                };
                self.peers.insert(peer.to_owned(), standing);
            }
        }
    }

    /// When the next is to be told.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.peers.values().filter_map(|peer| peer.due).min()
    }

    /// The next to be told.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Notice> {
        let mut peers = self.peers.iter_mut();
        peers.find_map(|(peer, standing)| {
            standing.due.take_if(|due| *due <= now)?;
            standing.tell(now, peer)
        })
    }
}

impl Standing {
    fn turn(&mut self, now: Instant, session: Session) {
        let (was_up, is_up) = (is_up(&self.session), is_up(&session));
        let had_cause = self.session.last_error.is_some();
        self.session = session;
        let cause = &self.session.last_error;
        match (was_up, is_up, cause) {
            (true, false, Some(_)) => {
                self.losses += 1;
                self.cause.clone_from(cause);
                self.due = Some(now.max(self.quiet_until));
            }
            (true, false, None) => self.due = Some(self.quiet_until.max(now + GRACE)),
            (false, true, _) => {
                let is_news = self.is_told || self.losses > 0;
                self.due = is_news.then(|| now.max(self.quiet_until));
            }
            // It ended on purpose, or nothing was known: what is tried now has its time.
            (false, false, Some(_)) if !had_cause && !self.is_told && self.due.is_none() => {
                self.due = Some(self.quiet_until.max(now + GRACE));
            }
            (false, false, _) | (true, true, _) => {}
        }
    }

    fn tell(&mut self, now: Instant, peer: &str) -> Option<Notice> {
        let losses = std::mem::take(&mut self.losses);
        let address = self.session.peer_address.as_deref().unwrap_or("no address");
        let of = format!("BGP session with BGPPeer \"{peer}\" ({address})");
        let often = match losses {
            0 | 1 => String::new(),
            losses => format!(" {losses} times in {} minutes", PAUSE.as_secs() / 60),
        };
        match (is_up(&self.session), losses) {
            (false, _) if self.is_told => None,
            (false, losses) => {
                let (what, cause) = match losses {
                    0 => ("does not come up", &self.session.last_error),
                    _ => ("was lost", &self.cause),
                };
                let notice = warning(format!("{of} {what}{often}: {}", cause.as_ref()?));
                self.is_told = true;
                Some(notice)
            }
            (true, 0) => {
                self.is_told = false;
                self.quiet_until = now + PAUSE;
                Some(Notice {
                    is_warning: false,
                    reason: UP,
                    message: format!("{of} is up"),
                })
            }
            (true, _) => {
                self.is_told = false;
                self.quiet_until = now + PAUSE;
                let cause = self.cause.as_deref().unwrap_or_default();
                Some(warning(format!("{of} is up, and was lost{often}: {cause}")))
            }
        }
    }
}

fn warning(message: String) -> Notice {
    Notice {
        is_warning: true,
        reason: DOWN,
        message,
    }
}

fn is_up(session: &Session) -> bool {
    session.state == SessionState::Established
}

/// The event reason of a session that is down, or was.
const DOWN: &str = "BGPSessionDown";

/// The event reason of a session that is up again.
const UP: &str = "BGPSessionUp";

/// How long a session may take to come up.
const GRACE: Duration = Duration::from_secs(30);

/// How long nothing is told of a session that has come back.
const PAUSE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;
