//! How a session is ended from this side: by which NOTIFICATION, or by none.
//!
//! ```text
//!                   no graceful restart   with it                 with RFC 8538, too
//! Restart           6/2 and a sentence    TCP is closed           TCP is closed
//! Shutdown          6/2 and a sentence    6/2 and a sentence      6/9 around 6/2
//! Deconfigured      6/3                   6/3                     6/9 around 6/3
//! Reconfigured      6/6                   TCP is closed           6/6
//! BFD is down       6/10                  6/10                    6/9 around 6/10
//! ```
//!
//! The routes are to stay in the first row and the fourth, as far as the peer can; in the others they
//! are to go.

use super::super::Farewell;
use super::super::notification::{Cease, Notification};
use super::negotiation::RestartTerms;

/// What is said; `None`: nothing, so that the peer takes it for a restart.
pub(super) fn notification(
    farewell: Farewell,
    terms: Option<RestartTerms>,
    node: &str,
) -> Option<Notification> {
    let has_notification = terms.is_some_and(|terms| terms.has_notification);
    match farewell {
        Farewell::Restart if terms.is_some() => None,
        Farewell::Reconfigured if terms.is_some() && !has_notification => None,
        Farewell::Restart => {
            let text = format!("the speaker on {node} is being stopped");
            Some(Cease::AdministrativeShutdown(text).into())
        }
        Farewell::Reconfigured => Some(Cease::OtherConfigurationChange.into()),
        Farewell::Shutdown(text) => Some(for_good(Cease::AdministrativeShutdown(text), terms)),
        Farewell::Deconfigured => Some(for_good(Cease::PeerDeconfigured, terms)),
    }
}

/// RFC 8538 §4: a Cease after which no route is to stay.
pub(super) fn for_good(cease: Cease, terms: Option<RestartTerms>) -> Notification {
    let notification = Notification::from(cease);
    if terms.is_some_and(|terms| terms.has_notification) {
        notification.into_hard_reset()
    } else {
        notification
    }
}
