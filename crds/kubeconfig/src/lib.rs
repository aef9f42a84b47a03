//! Kubeconfigs, and what credential plugins answer, read by the library that reads all other YAML.
//!
//! kube asks for them under the name of `serde-saphyr`, which would be a second parser in both
//! programs, with tables of encodings that no kubeconfig is in. This crate has that name and the three
//! items that kube uses. Merge keys are applied; a key given twice is refused, and so is a number where
//! a string belongs. An error says what was expected, and nothing of what was read: there are secrets in
//! these texts.

use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_yaml::{Deserializer, Mapping, Value};

/// Why a text cannot be read.
#[derive(Debug)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl From<serde_yaml::Error> for Error {
    fn from(error: serde_yaml::Error) -> Self {
        Self(without_value(&error.to_string()))
    }
}

/// Of `invalid type: string "secret", expected …` what was read is left out, but for its kind.
fn without_value(text: &str) -> String {
    let starts = ["invalid type: ", "invalid value: "];
    let found = starts.iter().find_map(|start| {
        let at = text.find(start)? + start.len();
        // What was read can hold the word, what was expected cannot.
        let expected = text.rfind(", expected ")?;
        let kind = text.get(at..expected)?;
        let kind = kind.split(['"', '`']).next()?.trim_end();
        Some(format!(
            "{}{kind}{}",
            text.get(..at)?,
            text.get(expected..)?
        ))
    });
    found.unwrap_or_else(|| text.to_owned())
}

/// Every document of the text in order; those that are empty are left out.
pub fn from_multiple<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, Error> {
    let documents = Deserializer::from_str(text).map(Value::deserialize);
    let documents = documents.filter(|document| !matches!(document, Ok(Value::Null)));
    documents.map(|document| typed(document?)).collect()
}

/// The only document of a text.
pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> Result<T, Error> {
    typed(serde_yaml::from_slice(text)?)
}

fn typed<T: DeserializeOwned>(document: Value) -> Result<T, Error> {
    Ok(serde_yaml::from_value(merged(document)?)?)
}

/// Applies merge keys, from the innermost mapping on, so that what is merged has been merged itself. The
/// parser bounds how deep a text is.
fn merged(value: Value) -> Result<Value, Error> {
    match value {
        Value::Sequence(items) => {
            let items: Result<_, _> = items.into_iter().map(merged).collect();
            Ok(Value::Sequence(items?))
        }
        Value::Mapping(entries) => {
            let mut mapping = Mapping::new();
            for (key, value) in entries {
                mapping.insert(key, merged(value)?);
            }
            let mut value = Value::Mapping(mapping);
            value.apply_merge()?;
            Ok(value)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Tagged(_) => {
            Ok(value)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Words = BTreeMap<String, String>;

    fn words(pairs: &[(&str, &str)]) -> Words {
        let pairs = pairs.iter();
        pairs
            .map(|(key, word)| ((*key).to_owned(), (*word).to_owned()))
            .collect()
    }

    #[test]
    fn documents_are_read_in_order_and_empty_ones_left_out() {
        let text = "---\na: b\n---\n# nothing\n---\nc: \"1\"\n...\n";
        let expected = vec![words(&[("a", "b")]), words(&[("c", "1")])];
        assert_eq!(from_multiple::<Words>(text).unwrap(), expected);
        assert_eq!(from_multiple::<Words>("").unwrap(), []);
    }

    #[test]
    fn json_is_yaml_too() {
        let text = b"{\n\t\"kind\": \"ExecCredential\", \"token\": \"a\\u0062c\"\n}\n";
        let expected = words(&[("kind", "ExecCredential"), ("token", "abc")]);
        assert_eq!(from_slice::<Words>(text).unwrap(), expected);
    }

    #[test]
    fn merge_keys_are_applied_also_those_of_what_is_merged() {
        let text = "\
            one: &one {a: b, c: d}\n\
            two: &two {<<: *one, c: e}\n\
            three: {<<: *two, f: g}\n";
        let maps = from_multiple::<BTreeMap<String, Words>>(text).unwrap();
        assert_eq!(maps[0]["two"], words(&[("a", "b"), ("c", "e")]));
        let three = words(&[("a", "b"), ("c", "e"), ("f", "g")]);
        assert_eq!(maps[0]["three"], three);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let refused = |text: &str| from_multiple::<Words>(text).unwrap_err().to_string();
        assert!(refused("a: b\na: c\n").contains("duplicate entry"));
        assert!(refused("a: 1\n").contains("expected a string"));
        assert!(refused("a: [\n").contains("line 2"));
        assert!(from_slice::<Words>(b"\xff").is_err());
    }

    #[test]
    fn i10_an_error_says_nothing_of_what_was_read() {
        let refused = |text: &str| from_multiple::<Words>(text).unwrap_err().to_string();
        for text in [
            "token",
            "{a: {b: token}}",
            "a: 123456",
            "\"token, expected \\\" b\"",
        ] {
            let error = refused(text);
            assert!(
                !error.contains("token") && !error.contains("123456"),
                "{error}"
            );
            assert!(error.contains("expected"), "{error}");
        }
    }
}
