//! What the API server shows of other speakers, for a speaker that does not hear them: their signs,
//! and which Services they announce at layer 2.
//!
//! It is looked at only while somebody is not heard who should be. What follows from it is decided
//! elsewhere.

pub mod driver;

use std::collections::BTreeMap;

use ferrolb_crds::model::ServiceKey;

use crate::reports::Sign;

/// What is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// All signs have been read.
    pub knows_signs: bool,
    /// So has all that is announced.
    pub knows_announced: bool,
    /// The sign that each speaker's ConfigurationState carries, by the name of that object.
    pub signs: BTreeMap<String, Sign>,
    /// By node: the Services that it announces at layer 2, each with the interfaces; none: all.
    pub announced: BTreeMap<String, BTreeMap<ServiceKey, Vec<String>>>,
}

/// How much is to be looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attention {
    /// Nothing: everybody is heard.
    #[default]
    Nothing,
    /// Signs: somebody is missed, who may be on another segment.
    Signs,
    /// Everything: somebody is missed who should be heard.
    Everything,
}
