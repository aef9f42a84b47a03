//! What is wrong with one object, before it is known which object that is.

use std::fmt;

use super::rule::Rule;

/// One thing that is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fault {
    /// Where.
    pub(super) path: String,
    /// What, and what to do.
    pub(super) message: String,
    /// The rule, if it is one that is told in two wordings.
    pub(super) rule: Option<Rule>,
    /// Whether the object cannot take effect with it.
    pub(super) blocks: bool,
}

/// The faults of one object, in the order they were found.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Faults(pub(super) Vec<Fault>);

impl Faults {
    /// Something the object cannot take effect with.
    pub(super) fn add(&mut self, path: impl fmt::Display, message: impl fmt::Display) {
        self.push(&path, &message, true);
    }

    /// A rule without which the object cannot take effect.
    pub(super) fn breach(&mut self, path: impl fmt::Display, rule: Rule) {
        self.push(&path, &rule, true);
        if let Some(fault) = self.0.last_mut() {
            fault.rule = Some(rule);
        }
    }

    /// Something without effect, which users should know.
    pub(super) fn advise(&mut self, path: impl fmt::Display, message: impl fmt::Display) {
        self.push(&path, &message, false);
    }

    /// Whether the object cannot take effect.
    pub(super) fn block(&self) -> bool {
        self.0.iter().any(|fault| fault.blocks)
    }

    fn push(&mut self, path: &dyn fmt::Display, message: &dyn fmt::Display, blocks: bool) {
        self.0.push(Fault {
            path: path.to_string(),
            message: message.to_string(),
            rule: None,
            blocks,
        });
    }
}

/// Whether `path` is `ancestor` or lies below it.
pub(super) fn is_within(path: &str, ancestor: &str) -> bool {
    path.strip_prefix(ancestor)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
