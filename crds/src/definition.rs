//! The CustomResourceDefinitions: what an API server has to know about the kinds of `api`.
//!
//! The schemas are derived from the wire types; `normalise` makes of them what an API server
//! accepts. `config/crd` is the committed output, written by `make generated`.

mod kinds;
mod normalise;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::api::Resource;
use normalise::normalise;

pub use kinds::all;

/// Everything an API server has to know about a kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// Its names, and the version that objects are stored in.
    pub resource: Resource,
    /// Its versions, the oldest first.
    pub versions: Vec<Version>,
}

/// A version of a kind; all are served.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    /// Such as `v1beta1`.
    pub name: &'static str,
    /// What clients are told when the version is a deprecated one.
    pub deprecation: Option<&'static str>,
    /// What `kubectl get` prints beside the name.
    pub columns: &'static [Column],
    /// What may stand in an object.
    pub schema: Value,
}

/// A column of `kubectl get`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its heading.
    pub name: &'static str,
    /// The type of what stands in it, in words of OpenAPI.
    pub type_: &'static str,
    /// Where that is in the object.
    pub path: &'static str,
    /// Above 0: only with `-o wide`.
    pub priority: u8,
}

impl Definition {
    /// As the object itself is called.
    pub fn name(&self) -> String {
        format!("{}.{}", self.resource.plural, self.resource.group)
    }

    /// Of its file in `config/crd`.
    pub fn file_name(&self) -> String {
        format!("{}_{}.yaml", self.resource.group, self.resource.plural)
    }

    /// The CustomResourceDefinition.
    pub fn to_json(&self) -> Value {
        let kind = self.resource.kind;
        let versions = self.versions.iter();
        let mut spec = json!({
            "group": self.resource.group,
            "names": {
                "kind": kind,
                "listKind": format!("{kind}List"),
                "plural": self.resource.plural,
                "singular": kind.to_ascii_lowercase(),
            },
            "scope": "Namespaced",
            "versions": versions.map(|version| self.version(version)).collect::<Vec<_>>(),
        });
        // Said aloud, because it takes the place of a webhook where there was one.
        if self.versions.len() > 1 {
            spec["conversion"] = json!({"strategy": "None"});
        }
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": self.name()},
            "spec": spec,
        })
    }

    /// The text of its file.
    pub fn to_yaml(&self) -> String {
        let yaml = serde_yaml::to_string(&self.to_json()).expect("a JSON value is valid YAML");
        format!("# Written by `make generated` from the types in crds/src/api.\n{yaml}")
    }

    fn version(&self, version: &Version) -> Value {
        let mut shape = json!({
            "name": version.name,
            "served": true,
            "storage": version.name == self.resource.version,
            "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": version.schema},
        });
        if !version.columns.is_empty() {
            let columns = version.columns.iter().map(|column| column.to_json());
            shape["additionalPrinterColumns"] = columns.collect();
        }
        if let Some(warning) = version.deprecation {
            shape["deprecated"] = json!(true);
            shape["deprecationWarning"] = json!(warning);
        }
        shape
    }
}

impl Version {
    /// A version of the shape of a wire type.
    fn of<T: JsonSchema>(name: &'static str, columns: &'static [Column]) -> Self {
        Self {
            name,
            deprecation: None,
            columns,
            schema: schema::<T>(),
        }
    }

    fn deprecated(self, warning: &'static str) -> Self {
        Self {
            deprecation: Some(warning),
            ..self
        }
    }
}

impl Column {
    fn to_json(self) -> Value {
        let mut column = json!({"name": self.name, "type": self.type_, "jsonPath": self.path});
        if self.priority > 0 {
            column["priority"] = json!(self.priority);
        }
        column
    }
}

/// The schema of an object: that of its wire type, and what every object has.
fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    let derived = settings.into_generator().into_root_schema_for::<T>();
    let mut schema = normalise(derived.as_value());
    for (name, shape) in envelope() {
        schema["properties"][name] = shape;
    }
    schema
}

fn envelope() -> BTreeMap<&'static str, Value> {
    let text = |description| json!({"type": "string", "description": description});
    BTreeMap::from([
        (
            "apiVersion",
            text("Group and version of the object's kind."),
        ),
        ("kind", text("The object's kind.")),
        ("metadata", json!({"type": "object"})),
    ])
}

#[cfg(test)]
mod tests;
