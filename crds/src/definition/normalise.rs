//! Makes of a derived JSON schema the structural one that an API server accepts.
//!
//! What Rust says with an `Option` is said there by not requiring the field, never by allowing
//! null; what it says with an enum is a list of words; and of the formats of integers there are two.

use serde_json::{Map, Value, json};

/// The schema and everything below it.
pub(super) fn normalise(schema: &Value) -> Value {
    let mut object = without_null(schema);
    for key in ["$schema", "title"] {
        object.remove(key);
    }
    let says_nothing = |default: &Value| default.is_null() || *default == json!({});
    if object.get("default").is_some_and(says_nothing) {
        object.remove("default");
    }
    choices(&mut object);
    format(&mut object);
    if let Some(Value::String(text)) = object.get_mut("description") {
        *text = prose(text);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(key) {
            *inner = normalise(inner);
        }
    }
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        for property in properties.values_mut() {
            *property = normalise(property);
        }
    }
    Value::Object(object)
}

/// The one thing that is meant where null is the other. What is said outside counts more: it is the
/// field's and not the type's.
fn without_null(schema: &Value) -> Map<String, Value> {
    let mut outer = schema.as_object().cloned().unwrap_or_default();
    let variants = outer.remove("anyOf");
    let variants = variants.as_ref().and_then(Value::as_array);
    let meant = variants.and_then(|all| all.iter().find(|variant| variant["type"] != "null"));
    let mut object = meant.map(without_null).unwrap_or_default();
    object.append(&mut outer);
    if let Some(Value::Array(types)) = object.get("type") {
        let meant = types.iter().find(|name| *name != "null").cloned();
        object.insert("type".to_owned(), meant.unwrap_or_default());
    }
    object
}

/// An enum whose variants have descriptions is derived as one schema per variant.
fn choices(object: &mut Map<String, Value>) {
    let Some(Value::Array(variants)) = object.remove("oneOf") else {
        return;
    };
    let words: Vec<Value> = variants.iter().map(|v| v["const"].clone()).collect();
    let meanings = variants.iter().filter_map(|variant| {
        let meaning = prose(variant["description"].as_str()?);
        Some(format!("{}: {meaning}", variant["const"].as_str()?))
    });
    let own = object.get("description").and_then(Value::as_str);
    let lines = own.map(prose).into_iter().chain(meanings);
    let text = lines.collect::<Vec<_>>().join("\n\n");
    object.insert("type".to_owned(), json!("string"));
    object.insert("enum".to_owned(), Value::Array(words));
    object.insert("description".to_owned(), Value::String(text));
}

/// 32 bits where all that is allowed fits into them with a sign.
fn format(object: &mut Map<String, Value>) {
    let most = object.get("maximum").and_then(Value::as_u64).unwrap_or(0);
    let format = match object.get("format").and_then(Value::as_str) {
        Some("uint16") => "int32",
        Some("uint32") if most > i32::MAX as u64 => "int64",
        Some("uint32") => "int32",
        Some(_) | None => return,
    };
    object.insert("format".to_owned(), json!(format));
}

/// A doc comment as it reads outside of Rust: one line per paragraph, and no links into the code.
fn prose(text: &str) -> String {
    let paragraphs = text.split("\n\n");
    let words = |paragraph: &str| paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = paragraphs.map(words).collect::<Vec<_>>().join("\n\n");
    text.replace("[`", "`").replace("`]", "`")
}
