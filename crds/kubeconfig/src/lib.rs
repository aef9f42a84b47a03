//! Kubeconfigs, and what credential plugins answer, read by the library that reads all other YAML.
//!
//! kube asks for them under the name of `serde-saphyr`, which would be a second parser in both
//! programs, with tables of encodings that no kubeconfig is in. This crate has that name and the three
//! items that kube uses. A text means what it means to kubectl: merge keys are applied, a key given
//! twice is refused, and so is a number where a string belongs.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_yaml::{Deserializer, Value};

pub use serde_yaml::Error;

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

fn typed<T: DeserializeOwned>(mut document: Value) -> Result<T, Error> {
    document.apply_merge()?;
    serde_yaml::from_value(document)
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
    fn merge_keys_are_applied() {
        let text = "one: &one {a: b, c: d}\ntwo: {<<: *one, c: e}\n";
        let maps = from_multiple::<BTreeMap<String, Words>>(text).unwrap();
        assert_eq!(maps[0]["two"], words(&[("a", "b"), ("c", "e")]));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let refused = |text: &str| from_multiple::<Words>(text).unwrap_err().to_string();
        assert!(refused("a: b\na: c\n").contains("duplicate entry"));
        assert!(refused("a: 1\n").contains("expected a string"));
        assert!(refused("a: [\n").contains("line 2"));
        assert!(from_slice::<Words>(b"\xff").is_err());
    }
}
