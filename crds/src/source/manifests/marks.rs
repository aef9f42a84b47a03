//! Field path → line and column, from the events of a YAML parser that keeps them.
//!
//! Values carry no positions, so they are looked up in the text when there is something to report. A
//! field is where its key stands, an item of a list where its value begins; a field that is missing is
//! placed at its parent, and so is what came by an alias or a merge.

use saphyr_parser::{Event, Parser, Span};

/// A place in a text, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Mark {
    /// Where a text begins.
    pub(super) const START: Self = Self { line: 1, column: 1 };
}

impl From<Span> for Mark {
    fn from(span: Span) -> Self {
        Self {
            line: span.start.line().max(1),
            column: span.start.col() + 1,
        }
    }
}

/// Where everything in a text stands.
#[derive(Debug)]
pub(super) struct Marks {
    documents: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    mark: Mark,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// A scalar, or an alias.
    Leaf,
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug)]
struct Entry {
    key: String,
    mark: Mark,
    value: Node,
}

impl Marks {
    /// Reads the places of a text; what follows an error has none.
    pub(super) fn of(text: &str) -> Self {
        let mut builder = Builder::default();
        for event in Parser::new_from_str(text) {
            let Ok((event, span)) = event else { break };
            if builder.take(event, span.into()).is_none() {
                break;
            }
        }
        builder.finish()
    }

    /// The place of a field of a document, or of the nearest parent that is there.
    pub(super) fn find(&self, document: usize, path: &str) -> Mark {
        let Some(mut node) = self.documents.get(document) else {
            return Mark::START;
        };
        let mut mark = node.mark;
        let mut rest = path;
        while let Some((child, place, left)) = node.step(rest) {
            (node, mark, rest) = (child, place, left);
        }
        mark
    }
}

impl Node {
    /// The child that the path names first, its place, and the path from there.
    fn step<'a>(&self, path: &'a str) -> Option<(&Self, Mark, &'a str)> {
        match &self.content {
            Content::Leaf => None,
            Content::List(items) => {
                let (index, rest) = bracketed(path)?;
                let item = items.get(index.parse::<usize>().ok()?)?;
                Some((item, item.mark, rest))
            }
            Content::Map(entries) => {
                let (entry, rest) = match bracketed(path) {
                    Some((key, rest)) => (entries.iter().find(|entry| entry.key == key)?, rest),
                    None => longest(entries, path.strip_prefix('.').unwrap_or(path))?,
                };
                Some((&entry.value, entry.mark, rest))
            }
        }
    }
}

/// Keys may hold dots themselves (`metadata.labels.example.com/app`): the longest that fits.
fn longest<'n, 'p>(entries: &'n [Entry], path: &'p str) -> Option<(&'n Entry, &'p str)> {
    entries
        .iter()
        .filter_map(|entry| {
            let rest = path.strip_prefix(entry.key.as_str())?;
            let ends = rest.is_empty() || rest.starts_with(['.', '[']);
            (ends && !entry.key.is_empty()).then_some((entry, rest))
        })
        .max_by_key(|(entry, _)| entry.key.len())
}

fn bracketed(path: &str) -> Option<(&str, &str)> {
    let (inside, rest) = path.strip_prefix('[')?.split_once(']')?;
    Some((inside.trim_matches(['"', '\'']), rest))
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Frame>,
}

struct Frame {
    node: Node,
    /// In a map: the key that waits for its value.
    key: Option<(String, Mark)>,
}

/// Deeper texts are refused before anybody asks for their places.
const DEPTH: usize = 200;

impl Builder {
    /// `None` when the text is nested deeper than can be.
    fn take(&mut self, event: Event<'_>, mark: Mark) -> Option<()> {
        let leaf = |mark| Node {
            mark,
            content: Content::Leaf,
        };
        match event {
            Event::Scalar(text, ..) => self.scalar(text.into_owned(), leaf(mark)),
            Event::Alias(_) => self.scalar(String::new(), leaf(mark)),
            Event::MappingStart(..) => self.open(mark, Content::Map(Vec::new()))?,
            Event::SequenceStart(..) => self.open(mark, Content::List(Vec::new()))?,
            Event::MappingEnd | Event::SequenceEnd => self.close(),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
        }
        Some(())
    }

    fn open(&mut self, mark: Mark, content: Content) -> Option<()> {
        let node = Node { mark, content };
        self.open.push(Frame { node, key: None });
        (self.open.len() < DEPTH).then_some(())
    }

    fn close(&mut self) {
        if let Some(frame) = self.open.pop() {
            self.add(frame.node);
        }
    }

    fn scalar(&mut self, text: String, leaf: Node) {
        if let Some(Frame { node, key }) = self.open.last_mut()
            && matches!(node.content, Content::Map(_))
            && key.is_none()
        {
            *key = Some((text, leaf.mark));
        } else {
            self.add(leaf);
        }
    }

    fn add(&mut self, value: Node) {
        let Some(Frame { node, key }) = self.open.last_mut() else {
            self.documents.push(value);
            return;
        };
        match &mut node.content {
            Content::List(items) => items.push(value),
            Content::Map(entries) => match key.take() {
                Some((key, mark)) => entries.push(Entry { key, mark, value }),
                // A key that is a collection itself: nobody can name it.
                None => *key = Some((String::new(), value.mark)),
            },
            Content::Leaf => {}
        }
    }

    fn finish(mut self) -> Marks {
        while !self.open.is_empty() {
            self.close();
        }
        Marks {
            documents: self.documents,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "\
# two documents
apiVersion: v1
spec:
  addresses:
    - 10.0.0.1
    - first: a
      second: [x, {deep: y}]
metadata:
  labels:
    example.com/app: web
    example.com: other
---
{\"kind\": \"List\",
  \"items\": [{\"metadata\": {\"name\": \"web\"}}]}
";

    #[track_caller]
    fn assert_at(document: usize, path: &str, line: usize, column: usize) {
        let mark = Marks::of(TEXT).find(document, path);
        assert_eq!((mark.line, mark.column), (line, column), "{path}");
    }

    #[test]
    fn a_field_is_where_its_key_stands() {
        assert_at(0, "apiVersion", 2, 1);
        assert_at(0, "spec", 3, 1);
        assert_at(0, "spec.addresses", 4, 3);
        assert_at(0, "spec.addresses[1].second", 7, 7);
    }

    #[test]
    fn an_item_is_where_its_value_begins() {
        assert_at(0, "spec.addresses[0]", 5, 7);
        assert_at(0, "spec.addresses[1]", 6, 7);
        assert_at(0, "spec.addresses[1].second[0]", 7, 16);
        assert_at(0, "spec.addresses[1].second[1].deep", 7, 20);
    }

    #[test]
    fn a_missing_field_is_placed_at_its_parent() {
        assert_at(0, "spec.missing.more", 3, 1);
        assert_at(0, "spec.addresses[7].x", 4, 3);
        assert_at(0, "missing", 2, 1);
        assert_at(0, "", 2, 1);
        assert_at(9, "spec", 1, 1);
    }

    #[test]
    fn keys_with_dots_are_found() {
        assert_at(0, "metadata.labels.example.com/app", 10, 5);
        assert_at(0, "metadata.labels.example.com", 11, 5);
        assert_at(0, "metadata.labels[example.com/app]", 10, 5);
    }

    #[test]
    fn items_of_a_list_in_another_document_are_found() {
        assert_at(1, "kind", 13, 2);
        assert_at(1, "items[0].metadata.name", 14, 27);
    }

    #[test]
    fn what_came_by_an_alias_is_placed_where_the_alias_stands() {
        let marks = Marks::of("base: &b {x: {y: 1}}\nspec: *b\nlast: 2\n");
        assert_eq!(marks.find(0, "spec.x.y"), Mark { line: 2, column: 1 });
        assert_eq!(marks.find(0, "last"), Mark { line: 3, column: 1 });
    }

    proptest! {
        #[test]
        fn any_text_and_path_have_a_place(
            text in "[a-c:\\-\\[\\]{}&*,'\"|>!%#?\n ]{0,80}",
            path in "[a-c.0\\[\\]]{0,12}",
        ) {
            let mark = Marks::of(&text).find(0, &path);
            prop_assert!(mark.line >= 1 && mark.column >= 1);
        }
    }
}
