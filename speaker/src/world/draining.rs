//! How far a node is with leaving.

/// How far this node is with handing its traffic to others. At layer 2 that begins with the first step
/// and takes as long as the others need; at BGP it is RFC 8326: the routes are made the last resort,
/// then withdrawn, and the sessions end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Draining {
    /// It takes traffic.
    #[default]
    No,
    /// Its routes carry GRACEFUL_SHUTDOWN and the lowest local preference.
    Announced,
    /// Its routes are withdrawn, and its sessions still there.
    Withdrawn,
    /// Its sessions have ended.
    Ended,
}

impl Draining {
    /// Whether it gives away what it holds.
    pub fn is_begun(self) -> bool {
        self != Self::No
    }

    /// The constant that logs, events, status and metrics carry.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "serving",
            Self::Announced => "draining",
            Self::Withdrawn => "withdrawn",
            Self::Ended => "drained",
        }
    }
}
