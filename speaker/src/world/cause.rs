//! What decided that a node is to hold an address.

use std::fmt;

/// What decided who is to hold an address: the first of these that told one node from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// It holds it already.
    Kept,
    /// It held it before its speaker was started anew, or its switch was gone.
    Remembered,
    /// Nobody else can.
    OnlyCandidate,
    /// L2Advertisements prefer it.
    Preferred,
    /// The controller named it when it gave the address.
    Hint,
    /// It comes first by the hash of node and address.
    Rank,
}

impl Cause {
    /// Every cause, for the documentation to be held against.
    pub const ALL: [Self; 6] = [
        Self::Kept,
        Self::Remembered,
        Self::OnlyCandidate,
        Self::Preferred,
        Self::Hint,
        Self::Rank,
    ];

    /// Those for which a node comes to hold an address.
    pub fn of_takeovers() -> impl Iterator<Item = Self> {
        let all = Self::ALL.into_iter();
        all.filter(|cause| *cause != Self::Kept)
    }

    /// The constant that logs, status and metrics carry.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Remembered => "remembered",
            Self::OnlyCandidate => "onlyCandidate",
            Self::Preferred => "preferred",
            Self::Hint => "hint",
            Self::Rank => "rank",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
