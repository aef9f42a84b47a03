//! The routes of a peer, whether there is a session or not.

use std::sync::Arc;

use super::super::adj_rib_out::AdjRibOut;
use super::super::{Changed, Routes};

/// What the peer should hold, and while Established what it was sent of it.
#[derive(Debug)]
pub(super) enum Rib {
    /// Those who begin together share it: a session copies it when it needs it to itself.
    Desired(Arc<Routes>),
    Sent(Box<AdjRibOut>),
}

impl Rib {
    pub(super) fn change(&mut self, changed: &Changed) {
        for (prefix, route) in changed {
            match (&mut *self, route) {
                (Self::Sent(adj_rib_out), route) => adj_rib_out.change(*prefix, route.as_ref()),
                (Self::Desired(desired), Some(route)) => {
                    Arc::make_mut(desired).insert(*prefix, route.clone());
                }
                (Self::Desired(desired), None) => {
                    Arc::make_mut(desired).remove(prefix);
                }
            }
        }
    }

    pub(super) fn sent(&self) -> Option<&AdjRibOut> {
        match self {
            Self::Desired(_) => None,
            Self::Sent(adj_rib_out) => Some(adj_rib_out),
        }
    }

    pub(super) fn sent_mut(&mut self) -> Option<&mut AdjRibOut> {
        match self {
            Self::Desired(_) => None,
            Self::Sent(adj_rib_out) => Some(adj_rib_out),
        }
    }
}
