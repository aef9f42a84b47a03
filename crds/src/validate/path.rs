//! Field paths, built on the way down and written only when there is something to say.

use std::fmt;

/// Where in a document: a list of segments, innermost first.
#[derive(Debug, Clone, Copy)]
pub(super) enum Path<'a> {
    /// A field of the object itself.
    Root(&'a str),
    /// A field of, or a key in, what the parent leads to.
    Field(&'a Self, &'a str),
    /// An item of the list that the parent leads to.
    Item(&'a Self, usize),
}

impl<'a> Path<'a> {
    /// The path of a field.
    pub(super) fn field(&'a self, name: &'a str) -> Self {
        Self::Field(self, name)
    }

    /// The path of a list item.
    pub(super) fn item(&'a self, index: usize) -> Self {
        Path::Item(self, index)
    }
}

impl fmt::Display for Path<'_> {
    /// Keys that would read as two segments, such as label keys, stand in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(name) => f.write_str(name),
            Self::Field(parent, name) if is_plain(name) => write!(f, "{parent}.{name}"),
            Self::Field(parent, name) => write!(f, "{parent}[{name}]"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// Whether a key reads as one segment behind a dot.
pub(crate) fn is_plain(name: &str) -> bool {
    let first_is_letter = name.starts_with(|c: char| c.is_ascii_alphabetic());
    first_is_letter && !name.contains(['.', '[', ']'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_users_write_fields() {
        let selectors = Path::Root("spec");
        let selectors = selectors.field("nodeSelectors");
        let first = selectors.item(0);
        let labels = first.field("matchLabels");
        assert_eq!(labels.to_string(), "spec.nodeSelectors[0].matchLabels");
        assert_eq!(
            labels.field("kubernetes.io/hostname").to_string(),
            "spec.nodeSelectors[0].matchLabels[kubernetes.io/hostname]"
        );
        assert_eq!(
            labels.field("rack").to_string(),
            "spec.nodeSelectors[0].matchLabels.rack"
        );
    }
}
