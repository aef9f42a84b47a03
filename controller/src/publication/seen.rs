//! A Service as it was last seen, with what its status says in the form in which it is compared and
//! shared with those who keep it.

use std::sync::Arc;

use ferrolb_crds::model::{Hints, Timestamp};
use ferrolb_crds::source::kubernetes::Observed;

use crate::reconcile::Status;

/// A Service as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its UID.
    pub uid: Box<str>,
    /// Its resourceVersion.
    pub version: Box<str>,
    /// What its status says. One that nobody here would have written is like no other.
    pub status: Arc<Status>,
    /// What the condition says, and since when.
    pub condition: Option<(bool, Timestamp)>,
}

impl Seen {
    /// Of what came through the door; `known` says the same, if it is equal.
    pub fn new(observed: Observed, known: Option<&Arc<Status>>) -> Self {
        let allocated = !observed.ingress.is_empty();
        let condition = observed.condition;
        let since = condition.as_ref().map(|c| (c.allocated, c.since));
        let written = condition.filter(|c| c.allocated == allocated && observed.is_plain);
        let written = written.map(|condition| (condition.reason, condition.message));
        let status = Status::read(observed.pool, observed.ingress, observed.hints, written);
        Self {
            uid: observed.uid.into(),
            version: observed.version.into(),
            status: match known.filter(|known| ***known == status) {
                Some(known) => Arc::clone(known),
                None => Arc::new(status),
            },
            condition: since,
        }
    }

    /// Whether something is in it that is written by a controller alone.
    pub fn is_carrying(&self) -> bool {
        let Status { pool, hints, .. } = &*self.status;
        self.condition.is_some() || pool.is_some() || *hints != Hints::default()
    }

    /// Its resourceVersion as a number, by which those of one object grow; 0 if it is none.
    pub fn number(&self) -> u64 {
        number(&self.version)
    }

    /// Where the resourceVersions are no numbers, nothing is older.
    pub fn is_older(&self, other: &Self) -> bool {
        self.number() < other.number()
    }
}

/// A resourceVersion as a number; 0 if it is none.
pub fn number(version: &str) -> u64 {
    version.parse().unwrap_or_default()
}
