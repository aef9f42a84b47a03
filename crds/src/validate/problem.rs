//! What is wrong with an object: one text for every place that reports it.

use std::collections::BTreeSet;
use std::fmt;

use super::rule::Rule;

/// An object by kind and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectRef {
    /// Kind, such as `IPAddressPool`.
    pub kind: String,
    /// Namespace; empty for kinds without one.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// One thing that is wrong: object, field, rule, in that order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The object it is about.
    pub object: ObjectRef,
    /// Field path from the object's root, such as `spec.addresses[0]`. A key that would read as two
    /// segments stands in brackets: `spec.nodeSelectors[0].matchLabels[kubernetes.io/os]`. The path of
    /// a missing field is its own.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
    /// The rule, if it is one that MetalLB has words for.
    pub(super) rule: Option<Rule>,
    /// The nodes that have to do with it; `None`: all.
    pub(super) nodes: Option<BTreeSet<String>>,
}

impl Problem {
    /// A problem of every node, told in these words.
    pub fn new(object: ObjectRef, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            object,
            path: path.into(),
            message: message.into(),
            rule: None,
            nodes: None,
        }
    }

    /// Whether a node has to do with it: a session is that of the nodes which its peer selects.
    pub fn concerns(&self, node: &str) -> bool {
        self.nodes.as_ref().is_none_or(|nodes| nodes.contains(node))
    }

    /// In the words of MetalLB, or in ours where it has none.
    pub(super) fn in_metallbs_words(&self) -> String {
        match &self.rule {
            Some(rule) => rule.in_metallbs_words(),
            None => self.to_string(),
        }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.object, self.path, self.message)
    }
}
