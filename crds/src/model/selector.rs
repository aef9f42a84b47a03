//! Label selectors, evaluated.

use std::collections::{BTreeMap, BTreeSet};

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// A Kubernetes label selector; an empty one selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selector {
    /// Labels that must be present with this value.
    pub match_labels: Labels,
    /// Further requirements, all of which must hold. Sorted, so that equal selectors compare equal.
    pub requirements: BTreeSet<Requirement>,
}

/// One entry of `matchExpressions`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requirement {
    /// Label key.
    pub key: String,
    /// How the label relates to the values.
    pub operator: Operator,
    /// Empty for `Exists` and `DoesNotExist`.
    pub values: BTreeSet<String>,
}

/// The operators of `matchExpressions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    /// The label is there and has one of the values.
    In,
    /// The label is missing or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is missing.
    DoesNotExist,
}

impl Selector {
    /// Whether labels satisfy every part of the selector.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.match_labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
            && self
                .requirements
                .iter()
                .all(|requirement| requirement.matches(labels))
    }

    /// Whether any of the selectors matches; an empty list matches everything.
    pub fn any_or_all(selectors: &[Self], labels: &Labels) -> bool {
        selectors.is_empty() || Self::any(selectors, labels)
    }

    /// Whether any of the selectors matches; an empty list matches nothing.
    pub fn any(selectors: &[Self], labels: &Labels) -> bool {
        selectors.iter().any(|selector| selector.matches(labels))
    }
}

impl Requirement {
    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            Operator::In => value.is_some_and(|value| self.values.contains(value)),
            Operator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn requirement(operator: Operator, values: &[&str]) -> Selector {
        Selector {
            match_labels: Labels::new(),
            requirements: BTreeSet::from([Requirement {
                key: "rack".to_owned(),
                operator,
                values: values.iter().map(|value| (*value).to_owned()).collect(),
            }]),
        }
    }

    #[test]
    fn operators_against_present_other_and_missing_labels() {
        let (a, b, none) = (
            labels(&[("rack", "a")]),
            labels(&[("rack", "b")]),
            Labels::new(),
        );
        for (selector, expected) in [
            (requirement(Operator::In, &["a"]), [true, false, false]),
            (requirement(Operator::NotIn, &["a"]), [false, true, true]),
            (requirement(Operator::Exists, &[]), [true, true, false]),
            (
                requirement(Operator::DoesNotExist, &[]),
                [false, false, true],
            ),
            (Selector::default(), [true, true, true]),
        ] {
            assert_eq!(
                [&a, &b, &none].map(|labels| selector.matches(labels)),
                expected
            );
        }
    }

    #[test]
    fn an_empty_list_means_all_or_nothing_by_the_question() {
        assert!(Selector::any_or_all(&[], &Labels::new()));
        assert!(!Selector::any(&[], &Labels::new()));
    }
}
