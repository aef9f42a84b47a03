//! YAML text → JSON values, as kubectl would make them: one per document, merge keys applied, a key
//! given twice refused. What a text can grow to by its aliases is bounded by its length.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Value};

use super::plain;

/// Why a text is no YAML, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {why}")]
pub(super) struct SyntaxError {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) why: String,
}

/// Every document of the text in order, as the library reads them; an empty one is null.
pub(super) fn whole(text: &str) -> Result<Vec<Value>, SyntaxError> {
    let budget = Cell::new(text.len().saturating_mul(4).saturating_add(SPARE_VALUES));
    serde_yaml::Deserializer::from_str(text)
        .map(|document| Tree { budget: &budget }.deserialize(document))
        .collect::<Result<_, _>>()
        .map_err(|error| SyntaxError::from(&error))
}

/// Cuts a text into its documents, one each, so that they can be read one by one. `None` where that
/// cannot be told from the lines alone.
pub(super) fn pieces(text: &str) -> Option<Vec<&str>> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut at = 0;
    let mut is_document = false;
    for line in text.split_inclusive('\n') {
        match line.as_bytes() {
            // Directives and explicit ends concern their neighbours.
            [b'%' | b'.', ..] => return None,
            // YAML 1.2 §9.1.2: nothing else can begin a line so, not even in a quoted text.
            [b'-', b'-', b'-', b' ' | b'\t' | b'\r' | b'\n', ..] | b"---" => {
                if is_document {
                    pieces.push(&text[start..at]);
                }
                start = at;
                is_document = true;
            }
            _ if is_document => {}
            // Comments before the first document are none.
            _ => {
                let line = line.strip_suffix('\n').unwrap_or(line);
                let words = plain::without_return(line).trim_start_matches(' ');
                // Else it may hold a line break, or an error.
                plain::is_printable(words).then_some(())?;
                is_document = !words.is_empty() && !words.starts_with('#');
            }
        }
        at += line.len();
    }
    pieces.push(&text[start..]);
    Some(pieces)
}

/// The document of a piece; `None`: the whole text must say what is wrong with it.
pub(super) fn one(piece: &str) -> Option<Value> {
    plain::document(piece).or_else(|| {
        let mut documents = whole(piece).ok()?;
        let document = documents.pop()?;
        documents.is_empty().then_some(document)
    })
}

/// Where the text stops being UTF-8.
pub(super) fn not_utf8(bytes: &[u8], valid_up_to: usize) -> SyntaxError {
    let before = String::from_utf8_lossy(bytes.get(..valid_up_to).unwrap_or_default());
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    SyntaxError {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        why: "is not UTF-8: save the file in that encoding".to_owned(),
    }
}

/// What a short text may stand for.
const SPARE_VALUES: usize = 10_000;

impl From<&serde_yaml::Error> for SyntaxError {
    fn from(error: &serde_yaml::Error) -> Self {
        let (line, column) = error
            .location()
            .map_or((1, 1), |place| (place.line(), place.column()));
        let why = error
            .to_string()
            .replacen(&format!(" at line {line} column {column}"), "", 1);
        Self { line, column, why }
    }
}

/// Builds one value.
#[derive(Clone, Copy)]
struct Tree<'a> {
    budget: &'a Cell<usize>,
}

impl Tree<'_> {
    fn spend<E: Error>(self) -> Result<(), E> {
        let left = self.budget.get().checked_sub(1);
        self.budget.set(
            left.ok_or_else(|| E::custom("aliases stand for too many values: write them out"))?,
        );
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.spend()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without a tag of its own")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    // An empty text.
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    // JSON has no larger numbers; as text they are refused wherever a number belongs.
    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::String(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(Value::String(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(serde_json::Number::from_f64(value)
            .map_or_else(|| Value::String(value.to_string()), Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key_seed(Key)? {
            match map.entry(key) {
                Entry::Vacant(entry) => {
                    entry.insert(entries.next_value_seed(self)?);
                }
                Entry::Occupied(entry) => {
                    let key = entry.key();
                    return Err(A::Error::custom(format!("key {key:?} is given twice")));
                }
            }
        }
        if let Some(merged) = map.remove(MERGE_KEY) {
            merge(&mut map, merged)?;
        }
        Ok(Value::Object(map))
    }
}

const MERGE_KEY: &str = "<<";

/// YAML's merge key: what the map says itself wins, then the first of several.
fn merge<E: Error>(map: &mut Map<String, Value>, merged: Value) -> Result<(), E> {
    match merged {
        Value::Object(other) => {
            for (key, value) in other {
                map.entry(key).or_insert(value);
            }
            Ok(())
        }
        Value::Array(several) => several.into_iter().try_for_each(|one| merge(map, one)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Err(E::custom("only a mapping can be merged by <<"))
        }
    }
}

/// A key: JSON's are strings, so that other scalars are their text.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        // Not `any`, which would try every form of a number first.
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a plain key")
    }

    fn visit_str<E>(self, value: &str) -> Result<String, E> {
        Ok(value.to_owned())
    }

    fn visit_string<E>(self, value: String) -> Result<String, E> {
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn many_documents_and_empty_ones() {
        assert_eq!(whole("").unwrap(), [Value::Null]);
        assert_eq!(
            whole("# nothing\n---\na: 1\n---\n---\n[x, 2.5, true, null, '3']\n").unwrap(),
            [
                json!({ "a": 1 }),
                Value::Null,
                json!(["x", 2.5, true, null, "3"])
            ]
        );
    }

    #[test]
    fn json_is_yaml() {
        assert_eq!(
            whole("{\"a\": [1, \"b\"],\n\t\"c\": {}}").unwrap(),
            [json!({ "a": [1, "b"], "c": {} })]
        );
    }

    #[test]
    fn a_syntax_error_has_its_line_and_column() {
        let error = whole("a: 1\nb: [1,\nc: }\n").unwrap_err();
        assert_eq!((error.line, error.column), (3, 4), "{error}");
        let error = whole("a: 1\n---\nb: 'x\n").unwrap_err();
        assert!(error.why.contains("quoted scalar"), "{error}");
        assert!(!error.why.contains(" at line 4"), "{error}");
    }

    #[test]
    fn a_key_given_twice_is_refused() {
        let error = whole("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert_eq!(error.why, "key \"a\" is given twice");
    }

    #[test]
    fn keys_that_are_no_strings_become_their_text() {
        assert_eq!(
            whole("{80: web, true: x}").unwrap(),
            [json!({ "80": "web", "true": "x" })]
        );
    }

    #[test]
    fn merge_keys_apply_and_the_map_itself_wins() {
        assert_eq!(
            whole("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\n").unwrap(),
            [json!({ "base": { "x": 1, "y": 2 }, "use": { "x": 1, "y": 3 } })]
        );
        assert!(whole("a:\n  <<: 3\n").is_err());
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let below = format!("*a{}, ", level - 1).repeat(10);
            text.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        assert!(whole(&text).is_err());
    }

    #[track_caller]
    fn assert_pieces(text: &str, expected: usize) {
        let pieces = pieces(text).unwrap();
        assert_eq!(pieces.len(), expected, "{text}");
        let documents: Vec<Value> = pieces.iter().map(|piece| one(piece).unwrap()).collect();
        assert_eq!(documents, whole(text).unwrap(), "{text}");
    }

    #[test]
    fn the_pieces_of_a_text_are_its_documents() {
        for (text, expected) in [
            ("", 1),
            ("# words\n", 1),
            ("a: 1", 1),
            ("# words\n\n  \n  # more\n---\na: 1\n", 1),
            ("---\n---\n", 2),
            ("a: 1\n---\nb: {c: d}\n--- # next\ne: |\n  f\n---", 4),
            ("a: 1\r\n---\r\nb: 2\r\n", 2),
            ("--- 'a'\n--- b\n---x\n", 2),
            ("a: >\n  --- b\n\n  c\n", 1),
        ] {
            assert_pieces(text, expected);
        }
    }

    #[test]
    fn texts_with_directives_and_explicit_ends_are_not_cut() {
        for text in ["%YAML 1.2\n---\na: 1\n", "a: 1\n...\n---\nb: 2\n"] {
            assert_eq!(pieces(text), None);
            assert!(whole(text).is_ok());
        }
    }

    #[test]
    fn what_may_be_more_than_a_comment_before_the_first_document_is_not_dropped() {
        for text in [
            "\t\n---\na: 1\n",
            "#\u{1}\n---\n",
            "# words\rb: 2\n---\na: 1\n",
        ] {
            assert_eq!(pieces(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_piece_that_is_wrong_has_no_document() {
        for text in ["a: [\n", "a: \"b\n---\nc\"\n", "*a\n"] {
            let pieces = pieces(text).unwrap();
            assert!(pieces.iter().any(|piece| one(piece).is_none()), "{text}");
            assert!(whole(text).is_err());
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert!(whole(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn bytes_that_are_not_utf8_have_a_place() {
        let bytes = [b"a: 1\nb: ".as_slice(), &[0xff]].concat();
        let error = std::str::from_utf8(&bytes).unwrap_err();
        let error = not_utf8(&bytes, error.valid_up_to());
        assert_eq!((error.line, error.column), (2, 4));
    }

    proptest! {
        #[test]
        fn any_text_is_the_same_in_pieces_and_as_a_whole(
            text in "([a-c:\\-\\[\\]{}&*,'\"|>!%#<\n\r\t ü\u{1}\u{85}\u{2028}\u{feff}]|---|\n---\n|\na: ){0,40}"
        ) {
            let in_pieces: Option<Vec<Value>> =
                pieces(&text).and_then(|pieces| pieces.into_iter().map(one).collect());
            if let Some(documents) = in_pieces {
                prop_assert_eq!(whole(&text), Ok(documents));
            }
        }
    }
}
