//! Documents → objects: recognised, named, given what the API server would have given, converted.

use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

use super::defaults;
use crate::api::{self, Recognised};
use crate::source::resource::{self, FieldError};
use crate::store::{Kind, ObjectKey, Resource};
use crate::validate::path::is_plain;

/// Where in its file an object stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) document: usize,
    /// Its position in the document's `items`, when that is a list.
    pub(super) item: Option<usize>,
}

impl Place {
    /// A field path of the object, seen from the document.
    pub(super) fn path(self, field: &str) -> String {
        match self.item {
            None => field.to_owned(),
            Some(item) if field.is_empty() => format!("items[{item}]"),
            Some(item) => format!("items[{item}].{field}"),
        }
    }
}

/// A document that is an object of ours, converted or not.
pub(super) struct Entry {
    pub(super) key: ObjectKey,
    pub(super) place: Place,
    pub(super) value: Result<Resource, FieldError>,
}

/// A document that cannot be told to be any object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) place: Place,
    pub(super) kind: Option<String>,
    pub(super) name: Option<String>,
    pub(super) error: FieldError,
    pub(super) hides: Hides,
}

/// What a document may be that cannot be told to be any object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hides {
    /// Any object.
    Anything,
    /// An object of this kind.
    Kind(String),
    /// Any metallb.io object: the kind is none of that group.
    Configuration,
    /// No object at all: it has nothing of one.
    Nothing,
}

impl Fault {
    /// Whether an object of the kind may be what it is.
    pub(super) fn may_be(&self, kind: Kind) -> bool {
        match (&self.hides, kind) {
            (Hides::Anything, _) | (Hides::Configuration, Kind::Configuration(_)) => true,
            (Hides::Kind(written), kind) => written == kind.name(),
            (Hides::Configuration | Hides::Nothing, _) => false,
        }
    }
}

/// What a file says.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) entries: Vec<Entry>,
    pub(super) faults: Vec<Fault>,
}

impl Contents {
    /// Looks at every document; `namespace` is the configuration's.
    pub(super) fn of(documents: Vec<Value>, namespace: &str) -> Self {
        let mut contents = Self::default();
        for (document, value) in documents.into_iter().enumerate() {
            let place = Place {
                document,
                item: None,
            };
            contents.document(place, value, namespace);
        }
        contents
    }

    /// Adds what follows, `documents` further on.
    pub(super) fn append(&mut self, mut more: Self, documents: usize) {
        let entries = more.entries.iter_mut().map(|entry| &mut entry.place);
        let faults = more.faults.iter_mut().map(|fault| &mut fault.place);
        for place in entries.chain(faults) {
            place.document += documents;
        }
        self.entries.append(&mut more.entries);
        self.faults.append(&mut more.faults);
    }

    fn document(&mut self, place: Place, mut value: Value, namespace: &str) {
        let Some((item_kind, version)) = list_of(&value) else {
            self.object(place, value, namespace);
            return;
        };
        let items = match value.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            // As some programs write an empty one.
            Some(Value::Null) => return,
            None => return self.no_items(place, "is missing: a list has items"),
            Some(_) => return self.no_items(place, "is no list: write each item behind a dash"),
        };
        for (item, mut value) in items.into_iter().enumerate() {
            // The server leaves both out of the items of a typed list.
            if let Value::Object(fields) = &mut value
                && !item_kind.is_empty()
                && !fields.contains_key("kind")
            {
                fields.insert("kind".to_owned(), item_kind.clone().into());
                fields
                    .entry("apiVersion")
                    .or_insert_with(|| version.clone().into());
            }
            let item = Some(item);
            self.object(Place { item, ..place }, value, namespace);
        }
    }

    fn object(&mut self, place: Place, value: Value, namespace: &str) {
        if value.is_null() && place.item.is_none() {
            return;
        }
        match Header::of(&value, namespace) {
            Ok(None) if place.item.is_some() && list_of(&value).is_some() => {
                let error = FieldError::new("", "is a list in a list: write its items out");
                self.hiding_anything(place, error);
            }
            Ok(None) => {}
            Ok(Some(header)) => {
                let (key, recognised) = (header.key, header.version);
                let value = convert(&key, recognised, value);
                self.entries.push(Entry { key, place, value });
            }
            Err(error) => {
                let text = |value: Option<&Value>| Some(value?.as_str()?.to_owned());
                self.faults.push(Fault {
                    place,
                    kind: text(value.get("kind")),
                    name: text(value.pointer("/metadata/name")),
                    error,
                    hides: Hides::of(&value),
                });
            }
        }
    }

    fn no_items(&mut self, place: Place, why: &str) {
        self.hiding_anything(place, FieldError::new("items", why));
    }

    fn hiding_anything(&mut self, place: Place, error: FieldError) {
        self.faults.push(Fault {
            place,
            kind: None,
            name: None,
            error,
            hides: Hides::Anything,
        });
    }
}

impl Hides {
    /// Of a document in which something that identifies an object is missing or wrong.
    fn of(value: &Value) -> Self {
        let marks = ["apiVersion", "kind", "metadata"];
        if value.is_object() && marks.iter().all(|field| value.get(field).is_none()) {
            return Self::Nothing;
        }
        let text = |field: &str| value.get(field).and_then(Value::as_str);
        let Some(kind) = text("kind") else {
            return Self::Anything;
        };
        let version = text("apiVersion").unwrap_or_default();
        let is_ours = api::recognise(version, kind) == Recognised::UnknownVersion;
        if is_ours && !api::Kind::ALL.iter().any(|known| known.name() == kind) {
            return Self::Configuration;
        }
        Self::Kind(kind.to_owned())
    }
}

/// The kind and the version of the items, if this is a list whose items may matter; of a list that
/// may hold anything both are to be found with the items.
fn list_of(value: &Value) -> Option<(String, String)> {
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    let (version, kind) = (text("apiVersion").unwrap_or_default(), text("kind")?);
    let item_kind = kind.strip_suffix("List")?;
    let matters = item_kind.is_empty() || !matches!(recognise(version, item_kind), Ok(None));
    matters.then(|| (item_kind.to_owned(), version.to_owned()))
}

/// What identifies an object.
struct Header {
    key: ObjectKey,
    /// The version of a metallb.io object.
    version: String,
}

impl Header {
    /// `None`: not of a kind that matters.
    fn of(value: &Value, configured: &str) -> Result<Option<Self>, FieldError> {
        if !value.is_object() {
            return Err(FieldError::new(
                "",
                "is no object: write a mapping with apiVersion, kind and metadata",
            ));
        }
        let api_version = required(value, "apiVersion")?;
        let kind = required(value, "kind")?;
        let Some((kind, version)) = recognise(api_version, kind)? else {
            return Ok(None);
        };
        let name = name(value, kind)?;
        let namespace = if kind.is_namespaced() {
            namespace(value, kind, configured)?
        } else {
            String::new()
        };
        let key = ObjectKey {
            kind,
            namespace,
            name,
        };
        Ok(Some(Self { key, version }))
    }
}

fn recognise(api_version: &str, kind: &str) -> Result<Option<(Kind, String)>, FieldError> {
    let core = match (api_version, kind) {
        ("v1", "Service") => Some(Kind::Service),
        ("discovery.k8s.io/v1", "EndpointSlice") => Some(Kind::EndpointSlice),
        ("v1", "Node") => Some(Kind::Node),
        ("v1", "Namespace") => Some(Kind::Namespace),
        ("v1", "Secret") => Some(Kind::Secret),
        _ => None,
    };
    if let Some(kind) = core {
        return Ok(Some((kind, String::new())));
    }
    match api::recognise(api_version, kind) {
        Recognised::Ours(kind, version) => {
            Ok(Some((Kind::Configuration(kind), version.to_owned())))
        }
        Recognised::Foreign => Ok(None),
        Recognised::UnknownVersion => Err(FieldError::new(
            "apiVersion",
            format!("{api_version:?} has no kind {kind}: use a version that has"),
        )),
    }
}

fn required<'a>(value: &'a Value, field: &str) -> Result<&'a str, FieldError> {
    match value.get(field) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        None | Some(Value::Null | Value::String(_)) => Err(FieldError::new(
            field,
            "is missing: every document needs apiVersion, kind and metadata.name",
        )),
        Some(other) => Err(FieldError::new(field, not_text(other))),
    }
}

fn not_text(value: &Value) -> String {
    format!("{value} is no text: put it in quotes")
}

fn name(value: &Value, kind: Kind) -> Result<String, FieldError> {
    const PATH: &str = "metadata.name";
    match value.pointer("/metadata/name") {
        None | Some(Value::Null) => Err(FieldError::new(PATH, "is missing: name the object")),
        Some(Value::String(name)) => match name_fault(kind, name) {
            None => Ok(name.clone()),
            Some(rule) => Err(FieldError::new(
                PATH,
                format!("{name:?} is no valid name: use {rule}"),
            )),
        },
        Some(other) => Err(FieldError::new(PATH, not_text(other))),
    }
}

fn namespace(value: &Value, kind: Kind, configured: &str) -> Result<String, FieldError> {
    const PATH: &str = "metadata.namespace";
    let default = match kind {
        Kind::Configuration(_) => configured,
        Kind::Service | Kind::EndpointSlice | Kind::Node | Kind::Namespace | Kind::Secret => {
            defaults::NAMESPACE
        }
    };
    match value.pointer("/metadata/namespace") {
        None | Some(Value::Null) => Ok(default.to_owned()),
        Some(Value::String(name)) if name.is_empty() => Ok(default.to_owned()),
        Some(Value::String(name)) => match name_fault(Kind::Namespace, name) {
            None => Ok(name.clone()),
            Some(rule) => Err(FieldError::new(
                PATH,
                format!("{name:?} is no valid namespace: use {rule}"),
            )),
        },
        Some(other) => Err(FieldError::new(PATH, not_text(other))),
    }
}

/// The rule that a name breaks, if any: Services are RFC 1035 labels, Namespaces RFC 1123 labels, the
/// rest RFC 1123 subdomains.
fn name_fault(kind: Kind, name: &str) -> Option<&'static str> {
    let is_label = |label: &str| {
        let edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let inner = |byte: u8| edge(byte) || byte == b'-';
        let bytes = label.as_bytes();
        bytes.first().copied().is_some_and(edge)
            && bytes.last().copied().is_some_and(edge)
            && bytes.iter().copied().all(inner)
    };
    match kind {
        Kind::Service => {
            let begins = name.starts_with(|first: char| first.is_ascii_lowercase());
            (!begins || !is_label(name) || name.len() > LABEL_LIMIT)
                .then_some("at most 63 of a-z, 0-9 and -, first a letter, last no -")
        }
        Kind::Namespace => (!is_label(name) || name.len() > LABEL_LIMIT)
            .then_some("at most 63 of a-z, 0-9 and -, first and last no -"),
        Kind::Configuration(_) | Kind::EndpointSlice | Kind::Node | Kind::Secret => {
            (!name.split('.').all(is_label) || name.len() > SUBDOMAIN_LIMIT)
                .then_some("at most 253 of a-z, 0-9, - and ., parts not beginning or ending with -")
        }
    }
}

const LABEL_LIMIT: usize = 63;
const SUBDOMAIN_LIMIT: usize = 253;

fn convert(key: &ObjectKey, version: String, value: Value) -> Result<Resource, FieldError> {
    match key.kind {
        Kind::Configuration(kind) => configuration(key, kind, version, value),
        Kind::Service => {
            // There are many, and most are in order: only for the others it pays to follow the path.
            let mut object = core::Service::deserialize(&value).or_else(|_| typed(&value))?;
            defaults::service(&mut object);
            object.metadata.namespace = Some(key.namespace.clone());
            resource::service(object).map(|service| Resource::Service(service.into()))
        }
        Kind::EndpointSlice => {
            let mut object: discovery::EndpointSlice = typed(&value)?;
            object.metadata.namespace = Some(key.namespace.clone());
            let slice = resource::endpoint_slice(object);
            Ok(Resource::EndpointSlice(Arc::new(slice)))
        }
        Kind::Node => typed(&value).map(|object| Resource::Node(resource::node(object))),
        Kind::Namespace => {
            typed(&value).map(|object| Resource::Namespace(resource::namespace(object)))
        }
        Kind::Secret => typed(&value)
            .map(|object| Resource::Secret(resource::secret(object)))
            // What it says must not be seen anywhere, and errors quote what they refuse.
            .map_err(|error| FieldError::new(error.path, "is not as a Secret has it")),
    }
}

fn configuration(
    key: &ObjectKey,
    kind: api::Kind,
    version: String,
    document: Value,
) -> Result<Resource, FieldError> {
    #[derive(Default, Deserialize)]
    struct Envelope {
        #[serde(default)]
        metadata: ObjectMeta,
    }
    let metadata = typed::<Envelope>(&document)?.metadata;
    Ok(Resource::Configuration(
        api::Object {
            kind,
            version,
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            created: resource::created_by(&metadata),
            labels: metadata.labels.unwrap_or_default(),
            document,
        }
        .into(),
    ))
}

/// Reads the value as the type.
fn typed<T: DeserializeOwned>(value: &Value) -> Result<T, FieldError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = written(error.path());
        FieldError::new(path, error.into_inner().to_string())
    })
}

/// The path as validation writes it, with keys that would read as two segments in brackets.
fn written(path: &serde_path_to_error::Path) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => text.push_str(&format!("[{index}]")),
            Segment::Map { key } | Segment::Enum { variant: key } if is_plain(key) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(key);
            }
            Segment::Map { key } | Segment::Enum { variant: key } => {
                text.push_str(&format!("[{key}]"));
            }
            Segment::Unknown => {}
        }
    }
    text
}

#[cfg(test)]
mod tests;
