//! What the definitions look like to an API server that is not there.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use super::*;

#[test]
fn a_definition_has_no_field_that_an_api_server_does_not_know() {
    for definition in all() {
        let written = definition.to_json();
        let read: CustomResourceDefinition = serde_json::from_value(written.clone()).unwrap();
        let rewritten = serde_json::to_value(read).unwrap();
        assert_eq!(plain(&rewritten), plain(&written), "{}", definition.name());
    }
}

/// Bounds are read as fractions, which changes how they are written.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(fields) => fields.iter().map(|(k, v)| (k.clone(), plain(v))).collect(),
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

#[test]
fn exactly_one_version_is_stored() {
    for definition in all() {
        let versions = definition.to_json()["spec"]["versions"].clone();
        let stored = |version: &&Value| version["storage"] == true;
        let versions = versions.as_array().unwrap();
        assert_eq!(versions.iter().filter(stored).count(), 1);
        assert!(versions.iter().all(|version| version["served"] == true));
    }
}

#[test]
fn an_optional_field_does_not_allow_null() {
    let derived = json!({
        "description": "Outer.",
        "anyOf": [
            {"type": "object", "description": "Inner.", "properties": {
                "name": {"type": ["string", "null"], "default": null},
            }},
            {"type": "null"},
        ],
    });
    let expected = json!({
        "type": "object",
        "description": "Outer.",
        "properties": {"name": {"type": "string"}},
    });
    assert_eq!(normalise(&derived), expected);
}

#[test]
fn the_variants_of_an_enum_become_words_that_are_explained() {
    let derived = json!({
        "description": "Which.",
        "oneOf": [
            {"type": "string", "const": "internal", "description": "Ours\nalone."},
            {"type": "string", "const": "external"},
        ],
    });
    let expected = json!({
        "type": "string",
        "enum": ["internal", "external"],
        "description": "Which.\n\ninternal: Ours alone.",
    });
    assert_eq!(normalise(&derived), expected);
}

#[test]
fn an_integer_is_as_wide_as_what_it_may_hold() {
    for (format, maximum, expected) in [
        ("uint32", json!(u32::MAX), "int64"),
        ("uint32", json!(60_000), "int32"),
        ("uint32", Value::Null, "int32"),
        ("uint16", json!(16_384), "int32"),
        ("int32", Value::Null, "int32"),
        ("int64", Value::Null, "int64"),
    ] {
        let derived = json!({"type": "integer", "format": format, "maximum": maximum});
        assert_eq!(normalise(&derived)["format"], expected, "{derived}");
    }
}

#[test]
fn a_description_reads_like_prose() {
    let derived =
        json!({"type": "string", "description": "The name\nof a [`Thing`].\n\nNot `more`."});
    assert_eq!(
        normalise(&derived)["description"],
        "The name of a `Thing`.\n\nNot `more`."
    );
}
