//! The YAML that nearly everybody writes, read fast: block mappings and lists of scalars that stand on
//! one line.
//!
//! Whatever is not obviously that (flow style, anchors, tags, escapes, texts of several lines, numbers
//! with a fraction, anything wrong) is left to the library, by `None`. What is read here is what the
//! library reads; a property test holds the two together.

use serde_json::{Map, Value};

/// The one document of a text that has no other, with or without the `---` before it.
pub(super) fn document(text: &str) -> Option<Value> {
    let text = match text.split_once('\n') {
        Some((first, rest)) if without_return(first).trim_end_matches(' ') == "---" => rest,
        _ => text,
    };
    let mut lines = Lines::of(text);
    let value = match lines.peek()? {
        Some(first) if first.indent == 0 => node(&mut lines, first, 0)?,
        Some(_) => return None,
        None => Value::Null,
    };
    lines.peek()?.is_none().then_some(value)
}

/// Deeper than any object.
const DEPTH_LIMIT: usize = 40;

/// libyaml wants a key and its colon within 1024 characters.
const LINE_LIMIT: usize = 1000;

#[derive(Clone, Copy)]
struct Line<'a> {
    indent: usize,
    /// Neither empty nor a comment; no blanks around it.
    text: &'a str,
}

impl<'a> Line<'a> {
    /// What stands behind the dash of a list item.
    fn item(self) -> Option<&'a str> {
        self.text.strip_prefix("- ")
    }

    fn is_item(self) -> bool {
        self.text == "-" || self.text.starts_with("- ")
    }
}

struct Lines<'a> {
    /// From the line that was peeked at.
    rest: &'a str,
    peeked: Option<Line<'a>>,
    /// Behind that line.
    next: &'a str,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        Self {
            rest: text,
            peeked: None,
            next: text,
        }
    }

    /// The next line that says something; the outer `None` when it is nothing for us.
    fn peek(&mut self) -> Option<Option<Line<'a>>> {
        while self.peeked.is_none() && !self.rest.is_empty() {
            let (line, next) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
            self.next = next;
            let line = without_return(line);
            let text = line.trim_start_matches(' ');
            if text.is_empty() || text.starts_with('#') {
                // Comments may hold anything that can be printed.
                is_printable(text).then(|| self.rest = next)?;
                continue;
            }
            let fits = line.len() < LINE_LIMIT;
            self.peeked = fits.then_some(Some(Line {
                indent: line.len() - text.len(),
                text: text.trim_end_matches(' '),
            }))?;
        }
        Some(self.peeked)
    }

    /// Past the line that was peeked at.
    fn skip(&mut self) {
        self.peeked = None;
        self.rest = self.next;
    }
}

/// The end of a line as Windows writes it.
pub(super) fn without_return(line: &str) -> &str {
    line.strip_suffix('\r').unwrap_or(line)
}

/// In ASCII, where nothing but a blank is a blank and nothing but a newline ends a line.
pub(super) fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// What begins with this line and stands at its indentation.
fn node(lines: &mut Lines<'_>, first: Line<'_>, depth: usize) -> Option<Value> {
    if depth > DEPTH_LIMIT {
        return None;
    }
    if first.is_item() {
        list(lines, first.indent, depth)
    } else {
        mapping(lines, first, depth)
    }
}

fn list(lines: &mut Lines<'_>, indent: usize, depth: usize) -> Option<Value> {
    let mut items = Vec::new();
    while let Some(line) = lines.peek()? {
        if line.indent < indent || line.indent == indent && !line.is_item() {
            break;
        }
        let text = line.item().filter(|_| line.indent == indent)?;
        items.push(if entry(text).is_some() {
            let first = Line {
                indent: indent + 2,
                text,
            };
            mapping(lines, first, depth + 1)?
        } else {
            lines.skip();
            scalar(text)?
        });
    }
    Some(Value::Array(items))
}

/// The first line may stand behind a dash, so that its indentation is not that of the text.
fn mapping(lines: &mut Lines<'_>, first: Line<'_>, depth: usize) -> Option<Value> {
    if depth > DEPTH_LIMIT {
        return None;
    }
    let indent = first.indent;
    let mut map = Map::new();
    let mut next = Some(first);
    while let Some(line) = next {
        if line.indent < indent {
            break;
        }
        let (key, text) = entry(line.text).filter(|_| line.indent == indent)?;
        lines.skip();
        let value = if text.is_empty() {
            match lines.peek()? {
                Some(below) if below.indent > indent => node(lines, below, depth + 1)?,
                Some(below) if below.indent == indent && below.is_item() => {
                    list(lines, indent, depth + 1)?
                }
                Some(_) | None => Value::Null,
            }
        } else {
            scalar(text)?
        };
        if map.insert(key.to_owned(), value).is_some() {
            return None;
        }
        next = lines.peek()?;
    }
    Some(Value::Object(map))
}

/// A key and what stands behind its colon.
fn entry(text: &str) -> Option<(&str, &str)> {
    let is_inner =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'/' | b'-');
    let end = text.bytes().position(|byte| !is_inner(byte))?;
    let (key, rest) = text.split_at(end);
    let rest = rest.strip_prefix(':')?;
    let is_key = key.starts_with(|first: char| first.is_ascii_alphabetic()) && word(key).is_none();
    (is_key && (rest.is_empty() || rest.starts_with(' ')))
        .then(|| (key, rest.trim_start_matches(' ')))
}

/// A value on one line.
fn scalar(text: &str) -> Option<Value> {
    let bytes = text.as_bytes();
    match bytes.first()? {
        b'"' | b'\'' => quoted(text),
        b'{' | b'[' if bytes == b"{}" => Some(Value::Object(Map::new())),
        b'{' | b'[' if bytes == b"[]" => Some(Value::Array(Vec::new())),
        first if first.is_ascii_alphanumeric() || *first == b'/' => plain(text),
        _ => None,
    }
}

fn quoted(text: &str) -> Option<Value> {
    let quote = text.chars().next()?;
    let inside = text.strip_prefix(quote)?.strip_suffix(quote)?;
    let is_simple = is_printable(inside) && !inside.contains([quote, '\\']);
    is_simple.then(|| Value::String(inside.to_owned()))
}

fn plain(text: &str) -> Option<Value> {
    let is_plain = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b' ' | b'_' | b'.' | b'/' | b'-' | b':' | b',' | b'+' | b'='
            )
    };
    let ends_a_key = text.ends_with(':') || text.contains(": ");
    if ends_a_key || !text.bytes().all(is_plain) {
        return None;
    }
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return number_or_text(text);
    }
    Some(word(text).unwrap_or_else(|| Value::String(text.to_owned())))
}

/// The plain texts that stand for something else.
fn word(text: &str) -> Option<Value> {
    match text {
        "null" | "Null" | "NULL" => Some(Value::Null),
        "true" | "True" | "TRUE" => Some(Value::Bool(true)),
        "false" | "False" | "FALSE" => Some(Value::Bool(false)),
        _ => None,
    }
}

/// Whole numbers, and what cannot be a number: it has a slash, a colon or a second dot.
fn number_or_text(text: &str) -> Option<Value> {
    if text.contains(['/', ':']) || text.matches('.').count() > 1 {
        return Some(Value::String(text.to_owned()));
    }
    let is_whole = text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit());
    let has_no_zero = text == "0" || !text.starts_with('0');
    (is_whole && has_no_zero).then(|| text.parse::<u64>().ok().map(Value::from))?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::source::manifests::document::whole;

    #[track_caller]
    fn assert_same(text: &str) {
        let library = whole(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(library, [document(text).expect(text)], "{text}");
    }

    #[test]
    fn what_people_write_is_read_here_and_as_the_library_reads_it() {
        for text in [
            "",
            "# words\n\n",
            "---\n",
            "a:\n",
            "a: 1\nb: x y\nc: \"q: #\"\nd: 'z'\n",
            "a:\n- x\n- y: 1\n  z:\n  - 1\n  - 2\nb: {}\n",
            "a:\n    - x\n    - b: []\n      c:\n         d: e\n# end\n",
            "- a\n- b: c\n- \"d\"\n",
            "---\r\na: b\r\nc:\r\n- d\r\n",
            "---\nmetadata:\n  annotations:\n    metallb.io/address-pool: edge\nspec:\n  addresses:\n  - 10.0.0.1 - 10.0.0.9\n  - 10.0.0.0/24\n  - fc00::1\n  time: 2026-01-31T12:00:00Z\n  big: 123456789012345678\n  on: true\n  none: null\n  empty:\n  after: 0\n",
        ] {
            assert_same(text);
        }
    }

    #[test]
    fn everything_else_is_left_to_the_library() {
        for text in [
            "a: {b: c}",
            "a: &x 1",
            "a: !!str 1",
            "a: |\n  b\n",
            "a: b\n  c\n",
            "a: 1.5",
            "a: 010",
            "a: -1",
            "a: 0x10",
            "a: ~",
            "a: \"x\\n\"",
            "a: b # c",
            "a: b: c",
            "a: b:",
            "a:\n\tb: c",
            "a: b\rc: d\n",
            "1: a",
            "null: a",
            "<<: a",
            "a: 1\na: 2",
            "a:\n  b: 1\n c: 2",
            "a\n",
            "- - a",
            "-\n  a: b",
            "a: ü",
            "? a\n: b",
            "--- a",
            "...\n",
            " a: b",
        ] {
            assert_eq!(document(text), None, "{text}");
        }
    }

    fn lines() -> impl Strategy<Value = String> {
        let indent = (0..4_usize).prop_map(|steps| " ".repeat(steps));
        let dash = prop_oneof![3 => Just(""), 1 => Just("- "), 1 => Just("-")];
        let key = prop_oneof![
            "[a-c]{1,2}: ?",
            "[a-c]:",
            "true: ",
            "'a': ",
            "[0-9]: ",
            Just(String::new())
        ];
        let value = prop_oneof![
            "[a-z0-9./:,+= -]{0,8}",
            "[0-9.:/_e+-]{1,6}",
            "(null|True|false|yes|~|\\{\\}|\\[\\]|\"a\"|'b c'|\"\"|''|#|&a|\\*a|!|\\||>|x #y|--- ?|0x1f|1_0|\\.5|\\.inf|nan|inf)",
            Just(String::new()),
        ];
        let end = prop_oneof![
            8 => "\n",
            1 => "( |\t|\r|é|\u{1}|\u{85}|\u{2028}| #|\t#)\n",
            1 => "(\r|\u{85}|\t)",
        ];
        let line = (indent, dash, key, value, end)
            .prop_map(|(indent, dash, key, value, end)| format!("{indent}{dash}{key}{value}{end}"));
        prop::collection::vec(line, 0..7).prop_map(|lines| lines.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

        #[test]
        fn what_is_read_here_is_what_the_library_reads(text in lines()) {
            if let Some(value) = document(&text) {
                prop_assert_eq!(whole(&text), Ok(vec![value]));
            }
        }
    }
}
