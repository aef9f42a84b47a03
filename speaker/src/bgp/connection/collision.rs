//! Two connections with one peer, of which one may stay (RFC 4271 §6.8, RFC 6286 §2.3, RFC 4724 §4.2).
//!
//! The one that is kept was made by the side with the higher BGP Identifier, or, where both have the
//! same, with the higher AS number. Both sides judge by the same numbers, so that they agree.

use std::net::Ipv4Addr;

use ferrolb_crds::model::Asn;

use super::negotiation::negotiate;
use super::{Connection, Open, Role, SessionState, State};

/// What an OPEN leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is decided yet, or there is nothing to decide.
    Proceed,
    /// The other connection is to be closed.
    CloseOther,
    /// This one is to be closed.
    CloseThis,
    /// The other is what is left of a session that the peer has forgotten.
    PeerRestarted,
}

impl Connection {
    /// Judges an OPEN that has come on this connection, while there is another.
    pub fn judge(&self, open: &Open, other: &Self) -> Verdict {
        // What will be refused, or is no beginning, collides with nothing.
        let Some(kept) = self.would_keep(open) else {
            return Verdict::Proceed;
        };
        match other.state() {
            SessionState::Established if other.is_forgotten() => Verdict::PeerRestarted,
            SessionState::Established => Verdict::CloseThis,
            SessionState::OpenSent | SessionState::OpenConfirm if kept == self.role => {
                Verdict::CloseOther
            }
            SessionState::OpenConfirm => Verdict::CloseThis,
            // §6.8 has it examined only where the peer is known by other means, as it is here. But it
            // may never say anything, and then this one is all that there is.
            SessionState::OpenSent
            | SessionState::Idle
            | SessionState::Connect
            | SessionState::Active => Verdict::Proceed,
        }
    }

    /// Whose connection is kept if this OPEN is accepted; `None`: it is not.
    fn would_keep(&self, open: &Open) -> Option<Role> {
        let State::OpenSent { endpoint } = &self.state else {
            return None;
        };
        let session = negotiate(&self.settings, endpoint.clone(), open).ok()?;
        let ours = (endpoint.router_id(&self.settings), self.settings.local_asn);
        Some(kept(ours, (open.router_id, session.peer_asn)))
    }

    /// Whether the peer restarts gracefully, so that another connection of it tells of its restart.
    fn is_forgotten(&self) -> bool {
        let terms = self.agreed().and_then(|session| session.graceful_restart);
        terms.is_some_and(|terms| terms.is_mutual)
    }
}

/// Identifiers are compared as numbers.
fn kept(ours: (Ipv4Addr, Asn), theirs: (Ipv4Addr, Asn)) -> Role {
    if ours > theirs {
        Role::Dialed
    } else {
        Role::Accepted
    }
}
