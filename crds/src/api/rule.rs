//! Rules that the API server checks by itself, in its expression language, beside a field.
//!
//! Such a rule says again what `validate` says, for the objects that can be judged alone and in the
//! same words; it must refuse nothing that a stored configuration may hold. What is empty or 0
//! counts as not given: clients write both.

use serde_json::{Value, json};

/// What must hold, as an expression over `self`, and what is said when it does not.
pub(super) fn rule(expression: &str, message: &str) -> Value {
    json!({"rule": expression, "message": message})
}

/// The same of several fields together; the blame is put on one of them.
pub(super) fn rule_about(field: &str, expression: &str, message: &str) -> Value {
    json!({"rule": expression, "message": message, "fieldPath": format!(".{field}")})
}

/// A field that keeps the value it was made with.
pub(super) fn immutable(message: &str) -> Value {
    rule("self == oldSelf", message)
}
