//! Label selectors and lists of names: what Kubernetes and the parser demand of them.

use std::collections::{BTreeMap, BTreeSet};

use super::fault::Faults;
use super::path::Path;
use crate::api::{LabelSelector, LabelSelectorRequirement};
use crate::model::{Operator, Requirement, Selector};

/// Reads a list of selectors, in which none may occur twice. `what` is the name of the list.
pub(super) fn read_list(
    what: &str,
    path: &Path<'_>,
    list: &[LabelSelector],
    faults: &mut Faults,
) -> Vec<Selector> {
    let mut seen = BTreeSet::new();
    for (index, selector) in list.iter().enumerate() {
        if !seen.insert(canonical(selector)) {
            let message =
                format!("duplicate definition of {what}: remove one of the equal selectors");
            faults.add(path.item(index), message);
        }
    }
    let read = |(index, selector)| read(&path.item(index), selector, faults);
    list.iter().enumerate().map(read).collect()
}

/// Reads one selector; what is wrong with it is left out of the result.
pub(super) fn read(path: &Path<'_>, selector: &LabelSelector, faults: &mut Faults) -> Selector {
    check_labels(path, &selector.match_labels, faults);
    let path = path.field("matchExpressions");
    let mut requirements = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for (index, requirement) in selector.match_expressions.iter().enumerate() {
        let path = path.item(index);
        if !seen.insert(canonical_requirement(requirement)) {
            faults.add(
                path,
                "duplicate definition of match expressions: remove one",
            );
        }
        requirements.extend(read_requirement(&path, requirement, faults));
    }
    Selector {
        match_labels: selector.match_labels.clone(),
        requirements,
    }
}

/// Reports every name that has been there before. `what` is what the list is called in the message.
pub(super) fn no_duplicates(what: &str, path: &Path<'_>, names: &[String], faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for (index, name) in names.iter().enumerate() {
        if !seen.insert(name) {
            faults.add(
                path.item(index),
                format!("duplicate definition {what} {name:?}: remove one"),
            );
        }
    }
}

fn check_labels(path: &Path<'_>, labels: &BTreeMap<String, String>, faults: &mut Faults) {
    let path = path.field("matchLabels");
    for (key, value) in labels {
        check_key(&path.field(key), key, faults);
        check_value(&path.field(key), value, faults);
    }
}

fn read_requirement(
    path: &Path<'_>,
    requirement: &LabelSelectorRequirement,
    faults: &mut Faults,
) -> Option<Requirement> {
    let values = path.field("values");
    check_key(&path.field("key"), &requirement.key, faults);
    no_duplicates(
        "of match expression value in label selector",
        &values,
        &requirement.values,
        faults,
    );
    for (index, value) in requirement.values.iter().enumerate() {
        check_value(&values.item(index), value, faults);
    }
    let Some(operator) = operator(&requirement.operator) else {
        let message = format!(
            "{:?} is not a valid label selector operator: use In, NotIn, Exists or DoesNotExist",
            requirement.operator
        );
        faults.add(path.field("operator"), message);
        return None;
    };
    check_arity(&values, operator, requirement, faults);
    Some(Requirement {
        key: requirement.key.clone(),
        operator,
        values: requirement.values.iter().cloned().collect(),
    })
}

fn check_arity(
    path: &Path<'_>,
    operator: Operator,
    requirement: &LabelSelectorRequirement,
    faults: &mut Faults,
) {
    let name = &requirement.operator;
    match operator {
        Operator::In | Operator::NotIn if requirement.values.is_empty() => {
            faults.add(path, format!("{name} needs values: list at least one"));
        }
        Operator::Exists | Operator::DoesNotExist if !requirement.values.is_empty() => {
            faults.add(path, format!("{name} takes no values: remove them"));
        }
        Operator::In | Operator::NotIn | Operator::Exists | Operator::DoesNotExist => {}
    }
}

fn operator(name: &str) -> Option<Operator> {
    match name {
        "In" => Some(Operator::In),
        "NotIn" => Some(Operator::NotIn),
        "Exists" => Some(Operator::Exists),
        "DoesNotExist" => Some(Operator::DoesNotExist),
        _ => None,
    }
}

fn check_key(path: &Path<'_>, key: &str, faults: &mut Faults) {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if name.is_empty()
        || !is_label_value(name)
        || prefix.is_some_and(|prefix| !is_subdomain(prefix))
    {
        let message =
            format!("{key:?} is not a valid label key: use one such as rack or example.org/rack");
        faults.add(path, message);
    }
}

fn check_value(path: &Path<'_>, value: &str, faults: &mut Faults) {
    if !is_label_value(value) {
        let message = format!(
            "{value:?} is not a valid label value: use at most 63 letters, digits, -, _ and ., the \
             first and last a letter or digit"
        );
        faults.add(path, message);
    }
}

/// Empty, or letters, digits, `-`, `_` and `.`, of which the first and last are alphanumeric.
fn is_label_value(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let outer = |c: char| c.is_ascii_alphanumeric();
    text.is_empty()
        || (text.len() <= 63
            && text.chars().all(inner)
            && text.starts_with(outer)
            && text.ends_with(outer))
}

/// A DNS subdomain (RFC 1123).
fn is_subdomain(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let label = |label: &str| {
        !label.is_empty()
            && label.chars().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// Two selectors are the same when these are equal: the order of values does not count.
type Canonical<'a> = (&'a BTreeMap<String, String>, Vec<CanonicalRequirement<'a>>);
type CanonicalRequirement<'a> = (&'a str, &'a str, Vec<&'a str>);

fn canonical(selector: &LabelSelector) -> Canonical<'_> {
    let requirements = selector.match_expressions.iter().map(canonical_requirement);
    (&selector.match_labels, requirements.collect())
}

fn canonical_requirement(requirement: &LabelSelectorRequirement) -> CanonicalRequirement<'_> {
    let mut values: Vec<&str> = requirement.values.iter().map(String::as_str).collect();
    values.sort_unstable();
    (&requirement.key, &requirement.operator, values)
}
