//! Which paths that BFD is to watch are not, while a BGP session is up on them: told by events about the
//! node, after half a minute, and when it is over.
//!
//! A path that fails ends the BGP session, and that is told as an outage. This is what nobody would see
//! until a path fails: the router has no BFD, or other settings of it, or has taken its end down.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ferrolb_crds::api::SessionState;

use super::{Body, Notice, Session, Wanted};

/// The sessions whose paths are to be watched, and what has been told of them.
#[derive(Debug, Default)]
pub(super) struct Paths {
    peers: BTreeMap<String, Standing>,
}

#[derive(Debug)]
struct Standing {
    session: Session,
    /// That it is not watched was the last that was told.
    is_told: bool,
    /// When something is to be told, unless it is over by then.
    due: Option<Instant>,
    /// Nothing is told before.
    quiet_until: Instant,
}

/// How the path of a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    Watched,
    Blind,
    /// There is no session that could lose it.
    Idle,
}

impl Paths {
    /// A session is to be reported like this; `None`: there is none any more.
    pub(super) fn note(&mut self, now: Instant, peer: &str, wanted: Option<&Wanted>) {
        let session = match wanted {
            Some(Wanted::This(Body::Session(session))) if session.details.bfd.is_some() => session,
            Some(_) | None => return drop(self.peers.remove(peer)),
        };
        let standing = self.peers.entry(peer.to_owned());
        let standing = standing.or_insert_with(|| Standing {
            session: Session::default(),
            is_told: false,
            due: None,
            quiet_until: now,
        });
        standing.session = session.as_ref().clone();
        let late = standing.quiet_until.max(now + GRACE);
        standing.due = match (sight(session), standing.is_told) {
            (Sight::Blind, false) => standing.due.or(Some(late)),
            (Sight::Watched, true) => Some(now),
            (Sight::Blind, true) | (Sight::Watched, false) | (Sight::Idle, _) => None,
        };
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
            Some(standing.tell(now, peer))
        })
    }
}

impl Standing {
    fn tell(&mut self, now: Instant, peer: &str) -> Notice {
        self.is_told = !self.is_told;
        let address = self.session.peer_address.as_deref().unwrap_or("no address");
        let of = format!("BFD session with BGPPeer \"{peer}\" ({address})");
        if self.is_told {
            let bfd = self.session.details.bfd.as_ref();
            let cause = bfd.and_then(|bfd| bfd.problem.as_ref().or(bfd.last_failure.as_ref()));
            let cause = cause.map_or(UNHEARD, String::as_str);
            Notice {
                is_warning: true,
                reason: DOWN,
                message: format!("{of} is down, and its BGP session up: {cause}"),
            }
        } else {
            self.quiet_until = now + PAUSE;
            Notice {
                is_warning: false,
                reason: UP,
                message: format!("{of} is up"),
            }
        }
    }
}

fn sight(session: &Session) -> Sight {
    let is_up = |state: &str| state == "Up";
    let bfd = session.details.bfd.as_ref();
    match (session.state, bfd.is_some_and(|bfd| is_up(&bfd.state))) {
        (_, true) => Sight::Watched,
        (SessionState::Established, false) => Sight::Blind,
        (_, false) => Sight::Idle,
    }
}

/// What is known of a path that was never up.
const UNHEARD: &str = "the router does not answer as it should, is BFD configured there?";

/// The event reason of a path that is not watched.
const DOWN: &str = "BFDSessionDown";

/// The event reason of one that is watched again.
const UP: &str = "BFDSessionUp";

/// How long BFD may take to come up.
const GRACE: Duration = Duration::from_secs(30);

/// How long nothing is told of a path that is watched again.
const PAUSE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;
