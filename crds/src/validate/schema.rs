//! Checks a document against the schema of its kind, as the API server would, and more strictly:
//! a field that the schema does not know is reported where the server drops it silently.
//!
//! The schemas are derived from the wire types, so the two cannot disagree. The walk returns a copy
//! of the document with every fault replaced by something harmless: the rules that follow see all
//! the rest of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::path::Path;
use crate::api::{self, Kind, V1BETA1};

/// Fields of an object beside its `spec`.
const ENVELOPE: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

/// A place where a document does not fit its schema.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Misfit {
    /// Where.
    pub(super) path: String,
    /// In what way.
    pub(super) sort: Sort,
    /// What, and what to do.
    pub(super) message: String,
}

/// The ways not to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// A field nobody knows: it has no effect.
    Unknown,
    /// A field that must be there and is not.
    Missing,
    /// A value that must not stand there.
    Wrong,
}

/// A document against the schema of its kind: the `spec` with every fault made harmless, and the
/// faults.
pub(super) fn check(kind: Kind, version: &str, document: &Value) -> (Value, Vec<Misfit>) {
    let mut misfits = Misfits(Vec::new());
    if let Value::Object(fields) = document {
        for name in fields
            .keys()
            .filter(|name| !ENVELOPE.contains(&name.as_str()))
        {
            misfits.unknown(&Path::Root(name), name, &ENVELOPE);
        }
    }
    let path = Path::Root("spec");
    let schema = Schema::of(kind, version);
    let spec = match document.get("spec") {
        None | Some(Value::Null) if schema.spec_is_required => {
            misfits.missing(&path);
            schema.spec.placeholder()
        }
        None | Some(Value::Null) => schema.spec.placeholder(),
        Some(spec) => schema.spec.walk(spec, &path, &mut misfits),
    };
    (spec, misfits.0)
}

/// What may stand in the `spec` of a kind.
struct Schema {
    spec: Shape,
    spec_is_required: bool,
}

impl Schema {
    fn of(kind: Kind, version: &str) -> &'static Self {
        static SCHEMAS: [OnceLock<Schema>; 7] = [const { OnceLock::new() }; 7];
        match kind {
            Kind::IpAddressPool => SCHEMAS[0].get_or_init(Self::derive::<api::IpAddressPool>),
            Kind::L2Advertisement => SCHEMAS[1].get_or_init(Self::derive::<api::L2Advertisement>),
            Kind::BgpAdvertisement => SCHEMAS[2].get_or_init(Self::derive::<api::BgpAdvertisement>),
            Kind::BgpPeer if version == V1BETA1 => {
                SCHEMAS[3].get_or_init(Self::derive::<api::BgpPeerV1Beta1>)
            }
            Kind::BgpPeer => SCHEMAS[4].get_or_init(Self::derive::<api::BgpPeer>),
            Kind::BfdProfile => SCHEMAS[5].get_or_init(Self::derive::<api::BfdProfile>),
            Kind::Community => SCHEMAS[6].get_or_init(Self::derive::<api::Community>),
        }
    }

    fn derive<T: JsonSchema>() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
        let schema = settings.into_generator().into_root_schema_for::<T>();
        let spec = &schema.as_value()["properties"]["spec"];
        Self {
            spec: Shape::compile(spec),
            spec_is_required: names(schema.as_value(), "required").contains("spec"),
        }
    }
}

/// What may stand in one place, compiled from a JSON schema.
#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Object {
        fields: BTreeMap<String, Self>,
        required: BTreeSet<String>,
    },
    Map(Box<Self>),
    List {
        items: Box<Self>,
        at_least: usize,
    },
    /// With a list of choices, one of them.
    Text(Vec<String>),
    Integer {
        least: i128,
        most: i128,
    },
    Boolean,
}

impl Shape {
    /// Only what the wire types use; null is left out because it counts as absent.
    fn compile(schema: &Value) -> Self {
        if let Some(variants) = schema["anyOf"].as_array() {
            let meant = variants.iter().find(|variant| variant["type"] != "null");
            return meant.map_or(Self::Boolean, Self::compile);
        }
        if let Some(variants) = schema["oneOf"].as_array() {
            let choices = variants.iter().filter_map(|v| v["const"].as_str());
            return Self::Text(choices.map(str::to_owned).collect());
        }
        match type_name(schema) {
            "object" if schema["additionalProperties"].is_object() => {
                Self::Map(Box::new(Self::compile(&schema["additionalProperties"])))
            }
            "object" => Self::compile_object(schema),
            "array" => Self::List {
                items: Box::new(Self::compile(&schema["items"])),
                at_least: schema["minItems"].as_u64().map_or(0, |n| n as usize),
            },
            "string" => Self::Text(names(schema, "enum").into_iter().collect()),
            "integer" => Self::compile_integer(schema),
            _ => Self::Boolean,
        }
    }

    fn compile_object(schema: &Value) -> Self {
        let fields = schema["properties"].as_object();
        Self::Object {
            fields: fields
                .into_iter()
                .flatten()
                .map(|(name, schema)| (name.clone(), Self::compile(schema)))
                .collect(),
            required: names(schema, "required"),
        }
    }

    fn compile_integer(schema: &Value) -> Self {
        let (least, most) = match schema["format"].as_str() {
            Some("uint16") => (0, i128::from(u16::MAX)),
            Some("uint32") => (0, i128::from(u32::MAX)),
            Some("int32") => (i128::from(i32::MIN), i128::from(i32::MAX)),
            _ => (i128::from(i64::MIN), i128::from(i64::MAX)),
        };
        Self::Integer {
            least: least.max(integer(&schema["minimum"]).unwrap_or(least)),
            most: most.min(integer(&schema["maximum"]).unwrap_or(most)),
        }
    }

    /// A copy of the value with faults made harmless.
    fn walk(&self, value: &Value, path: &Path<'_>, misfits: &mut Misfits) -> Value {
        match (self, value) {
            (Self::Object { fields, required }, Value::Object(given)) => {
                Value::Object(walk_object(fields, required, given, path, misfits))
            }
            (Self::Map(shape), Value::Object(given)) => given
                .iter()
                .map(|(key, value)| (key.clone(), shape.walk(value, &path.field(key), misfits)))
                .collect(),
            (Self::List { items, at_least }, Value::Array(given)) => {
                if given.len() < *at_least {
                    misfits.wrong(path, format!("too short: give at least {at_least}"));
                }
                let walk = |(index, item)| items.walk(item, &path.item(index), misfits);
                given.iter().enumerate().map(walk).collect()
            }
            (Self::Text(choices), Value::String(text)) => {
                self.walk_text(choices, text, path, misfits)
            }
            (Self::Integer { least, most }, Value::Number(_)) if integer(value).is_some() => {
                self.walk_integer(*least, *most, value, path, misfits)
            }
            (Self::Boolean, Value::Bool(_)) => value.clone(),
            (_, _) => {
                misfits.wrong(path, self.type_error(value));
                self.placeholder()
            }
        }
    }

    fn walk_text(
        &self,
        choices: &[String],
        text: &str,
        path: &Path<'_>,
        misfits: &mut Misfits,
    ) -> Value {
        if choices.is_empty() || choices.iter().any(|choice| choice == text) {
            return Value::String(text.to_owned());
        }
        let choices = choices.join(", ");
        misfits.wrong(
            path,
            format!("unsupported value {text:?}: use one of {choices}"),
        );
        self.placeholder()
    }

    fn walk_integer(
        &self,
        least: i128,
        most: i128,
        value: &Value,
        path: &Path<'_>,
        misfits: &mut Misfits,
    ) -> Value {
        if integer(value).is_some_and(|number| (least..=most).contains(&number)) {
            return value.clone();
        }
        misfits.wrong(
            path,
            format!("{value} is out of range: {}", bounds(least, most)),
        );
        self.placeholder()
    }

    /// The value itself stays out of the text: it may be a password.
    fn type_error(&self, value: &Value) -> String {
        let (wanted, given) = (self.noun(), noun(value));
        match (self, value) {
            (Self::Text(_), Value::Number(_) | Value::Bool(_)) => {
                format!("must be {wanted}, not {given}: put it in quotes")
            }
            (Self::Integer { .. } | Self::Boolean, Value::String(_)) => {
                format!("must be {wanted}, not {given}: write it without quotes")
            }
            (_, _) => format!("must be {wanted}, not {given}"),
        }
    }

    fn noun(&self) -> &'static str {
        match self {
            Self::Object { .. } | Self::Map(_) => "a mapping",
            Self::List { .. } => "a list",
            Self::Text(_) => "a string",
            Self::Integer { .. } => "an integer",
            Self::Boolean => "a boolean",
        }
    }

    /// Something of the right shape that says nothing.
    fn placeholder(&self) -> Value {
        match self {
            Self::Object { fields, required } => required
                .iter()
                .filter_map(|name| Some((name.clone(), fields.get(name)?.placeholder())))
                .collect(),
            Self::Map(_) => json!({}),
            Self::List { .. } => json!([]),
            Self::Text(choices) => json!(choices.first().map_or("", String::as_str)),
            Self::Integer { least, most } => json!(0.clamp(*least, *most) as i64),
            Self::Boolean => json!(false),
        }
    }
}

fn walk_object(
    fields: &BTreeMap<String, Shape>,
    required: &BTreeSet<String>,
    given: &Map<String, Value>,
    path: &Path<'_>,
    misfits: &mut Misfits,
) -> Map<String, Value> {
    let mut walked = Map::new();
    for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
        let path = path.field(name);
        let Some(shape) = fields.get(name) else {
            let known: Vec<&str> = fields.keys().map(String::as_str).collect();
            misfits.unknown(&path, name, &known);
            continue;
        };
        walked.insert(name.clone(), shape.walk(value, &path, misfits));
    }
    for name in required {
        if !walked.contains_key(name) {
            misfits.missing(&path.field(name));
            walked.insert(name.clone(), fields[name].placeholder());
        }
    }
    walked
}

struct Misfits(Vec<Misfit>);

impl Misfits {
    fn wrong(&mut self, path: &Path<'_>, message: String) {
        self.push(path, Sort::Wrong, message);
    }

    fn missing(&mut self, path: &Path<'_>) {
        self.push(
            path,
            Sort::Missing,
            "required and missing: add it".to_owned(),
        );
    }

    fn unknown(&mut self, path: &Path<'_>, name: &str, known: &[&str]) {
        let message = match nearest(name, known) {
            Some(meant) => format!("unknown field, without effect: did you mean {meant}?"),
            None => "unknown field, without effect: remove it".to_owned(),
        };
        self.push(path, Sort::Unknown, message);
    }

    fn push(&mut self, path: &Path<'_>, sort: Sort, message: String) {
        self.0.push(Misfit {
            path: path.to_string(),
            sort,
            message,
        });
    }
}

/// The known name that differs in case or by little at the end.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |text: &str| text.to_ascii_lowercase().trim_end_matches('s').to_owned();
    known
        .iter()
        .copied()
        .find(|known| plain(known) == plain(name))
}

fn noun(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) if integer(value).is_some() => "an integer",
        Value::Number(_) => "a number with a fraction or too many digits",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

fn bounds(least: i128, most: i128) -> String {
    if most >= i128::from(i32::MAX) && most != i128::from(u32::MAX) {
        format!("use {least} or more")
    } else {
        format!("use a value from {least} to {most}")
    }
}

fn integer(value: &Value) -> Option<i128> {
    let signed = value.as_i64().map(i128::from);
    signed.or_else(|| value.as_u64().map(i128::from))
}

/// The type of a schema, null aside.
fn type_name(schema: &Value) -> &str {
    let several = schema["type"].as_array().into_iter().flatten();
    let one = schema["type"].as_str();
    one.or_else(|| {
        several
            .filter_map(Value::as_str)
            .find(|name| *name != "null")
    })
    .unwrap_or_default()
}

fn names(schema: &Value, key: &str) -> BTreeSet<String> {
    let names = schema[key].as_array().into_iter().flatten();
    names.filter_map(Value::as_str).map(str::to_owned).collect()
}
