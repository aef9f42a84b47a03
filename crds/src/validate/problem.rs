//! What is wrong with an object: one text for every place that reports it.

use std::fmt;

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
