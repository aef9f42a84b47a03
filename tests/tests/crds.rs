//! The definitions in `config/crd`: that they are what the types say, that an API server would take
//! them, and that they take and refuse what they should. `cases/crds` has the samples.
#![expect(clippy::disallowed_methods, reason = "cases are files")]
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ferrolb_crds::api::{DEFAULT_NAMESPACE, Object, Recognised, recognise};
use ferrolb_crds::definition::{self, Definition};
use ferrolb_crds::validate::{Facts, Judge, Problem};
use ferrolb_tests::programs;
use serde_json::Value;

#[test]
fn the_committed_definitions_are_what_the_types_say() {
    let printed: BTreeMap<String, String> = definition::all()
        .iter()
        .map(|definition| (definition.file_name(), definition.to_yaml()))
        .collect();
    let committed: BTreeMap<String, String> = files(&programs::workspace().join("config/crd"))
        .iter()
        .map(|path| (name(path), read(path)))
        .collect();
    let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&committed), names(&printed));
    for (name, text) in &printed {
        assert_eq!(&committed[name], text, "{name}: run `make generated`");
    }
}

#[test]
fn every_kind_is_defined_in_a_stable_order() {
    let names: Vec<String> = definition::all().iter().map(Definition::name).collect();
    assert_eq!(
        names,
        [
            "ipaddresspools.metallb.io",
            "l2advertisements.metallb.io",
            "bgpadvertisements.metallb.io",
            "bgppeers.metallb.io",
            "bfdprofiles.metallb.io",
            "communities.metallb.io",
            "servicel2statuses.metallb.io",
            "servicebgpstatuses.metallb.io",
            "configurationstates.metallb.io",
            "bgpsessions.ferrolb.io",
        ]
    );
}

/// What can be checked of it without a server.
#[test]
fn every_schema_is_structural_and_explained() {
    let mut wrong = Vec::new();
    for definition in definition::all() {
        for version in &definition.versions {
            let at = format!("{} {}", definition.name(), version.name);
            examine(&version.schema, &at, &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn examine(schema: &Value, at: &str, wrong: &mut Vec<String>) {
    const KNOWN: &[&str] = &[
        "default",
        "description",
        "enum",
        "format",
        "items",
        "maxLength",
        "maximum",
        "minItems",
        "minLength",
        "minimum",
        "pattern",
        "properties",
        "additionalProperties",
        "required",
        "type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-map-type",
        "x-kubernetes-validations",
    ];
    let fields = schema.as_object().unwrap();
    for key in fields.keys().filter(|key| !KNOWN.contains(&key.as_str())) {
        wrong.push(format!("{at}: {key}"));
    }
    if schema["type"] == "array" && !schema["items"].is_object() {
        wrong.push(format!("{at}: a list of what?"));
    }
    let is_open = !schema["properties"].is_object() && !schema["additionalProperties"].is_object();
    let may_be_empty = at.ends_with(".metadata") || at.ends_with(".spec");
    if schema["type"] == "object" && is_open && !may_be_empty {
        wrong.push(format!("{at}: an object of what?"));
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        if name != "metadata" && property["description"].as_str().is_none_or(str::is_empty) {
            wrong.push(format!("{at}: no description"));
        }
        examine(property, &at, wrong);
    }
    for key in ["items", "additionalProperties"] {
        if schema[key].is_object() {
            examine(&schema[key], &format!("{at}[]"), wrong);
        }
    }
}

/// `UPDATE=1` writes the list anew: compare the difference with the reference before you commit it.
#[test]
fn the_fields_are_those_of_the_list() {
    let path = cases().join("fields.txt");
    let mut found = String::new();
    for definition in definition::all() {
        for version in &definition.versions {
            found.push_str(&format!("{} {}\n", definition.name(), version.name));
            for column in version.columns {
                let wide = if column.priority > 0 { ", wide" } else { "" };
                found.push_str(&format!(
                    "  | {} ({}{wide}) {}\n",
                    column.name, column.type_, column.path
                ));
            }
            outline(&version.schema, "", &mut found);
            found.push('\n');
        }
    }
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &found).unwrap();
    }
    let listed = read(&path);
    let difference: Vec<_> = listed
        .lines()
        .zip(found.lines())
        .filter(|(a, b)| a != b)
        .collect();
    assert!(listed == found, "listed, found: {difference:#?}");
}

/// One line for each field: `*` if required, type and format, bounds, words, default.
fn outline(schema: &Value, at: &str, text: &mut String) {
    let required = schema["required"].as_array();
    let is_required = |name: &str| required.is_some_and(|all| all.iter().any(|r| r == name));
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        if at.is_empty() && ["apiVersion", "kind", "metadata"].contains(&name.as_str()) {
            continue;
        }
        let path = format!("{at}{name}");
        let star = if is_required(name) { "*" } else { "" };
        text.push_str(&format!("  {path}{star} {}\n", shape(field)));
        let inner = if field["type"] == "array" {
            &field["items"]
        } else {
            field
        };
        if !is_selector(inner) {
            outline(inner, &format!("{path}."), text);
        }
    }
}

fn shape(field: &Value) -> String {
    let mut words = vec![kind_of(field)];
    for (key, label) in [
        ("minimum", ">="),
        ("maximum", "<="),
        ("minItems", "items >="),
    ] {
        if !field[key].is_null() {
            words.push(format!("{label} {}", field[key]));
        }
    }
    if let Some(choices) = field["enum"].as_array() {
        let choices: Vec<&str> = choices.iter().filter_map(Value::as_str).collect();
        words.push(choices.join("|"));
    }
    if !field["default"].is_null() {
        words.push(format!("= {}", field["default"]));
    }
    for rule in field["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
    {
        words.push(format!("\n    rule: {}", rule["message"].as_str().unwrap()));
    }
    words.join(" ").replace(" \n", "\n")
}

fn kind_of(field: &Value) -> String {
    if is_selector(field) {
        return "selector".to_owned();
    }
    match (field["type"].as_str().unwrap(), field["format"].as_str()) {
        ("array", _) => {
            let keys = &field["x-kubernetes-list-map-keys"][0];
            let by = keys.as_str().map(|key| format!(" by {key}"));
            format!("[]{}{}", kind_of(&field["items"]), by.unwrap_or_default())
        }
        ("object", _) if field["additionalProperties"].is_object() => "map".to_owned(),
        (name, Some(format)) => format!("{name}:{format}"),
        (name, None) => name.to_owned(),
    }
}

/// A label selector looks the same everywhere.
fn is_selector(schema: &Value) -> bool {
    let is_atomic = schema["x-kubernetes-map-type"] == "atomic";
    is_atomic && schema["properties"]["matchLabels"].is_object()
}

#[test]
fn every_sample_fits_its_schema() {
    let samples = programs::workspace().join("config/samples");
    let mut fitted = 0;
    for path in [samples.clone(), samples.join("demo"), cases()]
        .iter()
        .flat_map(|directory| files(directory))
    {
        for document in documents(&path) {
            if let Some(schema) = schema_of(&document) {
                let misfits = misfits(&schema, &document);
                assert!(misfits.is_empty(), "{}: {misfits:?}", path.display());
                fitted += 1;
            }
        }
    }
    assert!(fitted > 50, "only {fitted} objects");
}

/// Field by field: what no sample has was never tried.
#[test]
fn the_samples_have_every_field_of_every_kind() {
    let samples: Vec<Value> = files(&cases())
        .iter()
        .flat_map(|path| documents(path))
        .collect();
    let mut untried = Vec::new();
    for definition in definition::all() {
        for version in &definition.versions {
            let api_version = format!("{}/{}", definition.resource.group, version.name);
            let is_meant = |sample: &&Value| {
                sample["apiVersion"] == api_version && sample["kind"] == definition.resource.kind
            };
            let of_kind: Vec<&Value> = samples.iter().filter(is_meant).collect();
            let at = format!("{} {}", definition.name(), version.name);
            // Only what reports writes a status: elsewhere a client has no business there.
            let is_report = of_kind.iter().any(|sample| !sample["status"].is_null());
            let mut schema = version.schema.clone();
            if !is_report {
                schema["properties"]
                    .as_object_mut()
                    .unwrap()
                    .remove("status");
            }
            tried(&schema, &of_kind, &at, &mut untried);
        }
    }
    assert!(untried.is_empty(), "{}", untried.join("\n"));
}

fn tried(schema: &Value, values: &[&Value], at: &str, untried: &mut Vec<String>) {
    if values.is_empty() {
        untried.push(at.to_owned());
    }
    // All its forms are tried once, with the pools.
    if is_selector(schema) {
        return;
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let given = values.iter().filter_map(|value| value.get(name));
        let given: Vec<&Value> = given.collect();
        let at = format!("{at}.{name}");
        match given.first().and_then(|value| value.as_array()) {
            Some(_) => {
                let items = given.iter().filter_map(|value| value.as_array()).flatten();
                tried(&field["items"], &items.collect::<Vec<_>>(), &at, untried);
            }
            None => tried(field, &given, &at, untried),
        }
    }
}

/// Of each file the last document; by its type or by a rule that says so, and by the program too, in
/// the same words.
#[test]
fn what_a_server_must_refuse_is_refused_here_too() {
    let paths = files(&cases().join("refused"));
    assert!(paths.len() > 40, "only {} files", paths.len());
    for path in paths {
        let text = read(&path);
        let says = text.lines().find_map(|line| line.strip_prefix("# says: "));
        let says = says.unwrap_or_else(|| panic!("{}: no `# says:`", path.display()));
        let mut documents = documents(&path);
        let refused = documents.pop().unwrap();
        for accepted in &documents {
            assert_eq!(misfits(&schema_of(accepted).unwrap(), accepted), [""; 0]);
        }
        let schema = schema_of(&refused).unwrap();
        let misfits = misfits(&schema, &refused);
        let by_type = misfits.iter().any(|misfit| misfit.contains(says));
        let by_rule = rules(&schema).iter().any(|message| message.contains(says));
        assert!(by_type || by_rule, "{}: {misfits:?}", path.display());
        // What depends on the object's past is none of the program's business.
        if documents.is_empty() {
            let problems = problems(&refused);
            assert!(!problems.is_empty(), "{}: judged fine", path.display());
            let is_said = problems.iter().any(|p| p.message.contains(says));
            assert!(by_type || is_said, "{}: {problems:?}", path.display());
        }
    }
}

/// The messages of all rules of a schema.
fn rules(schema: &Value) -> Vec<String> {
    let mut messages = Vec::new();
    let own = schema["x-kubernetes-validations"].as_array();
    for rule in own.into_iter().flatten() {
        messages.push(rule["message"].as_str().unwrap().to_owned());
    }
    let inner = schema["properties"].as_object().into_iter().flatten();
    for (_, field) in inner {
        messages.append(&mut rules(field));
    }
    messages
}

fn problems(document: &Value) -> Vec<Problem> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let recognised = recognise(&text(&document["apiVersion"]), &text(&document["kind"]));
    let Recognised::Ours(kind, version) = recognised else {
        panic!("{recognised:?}");
    };
    let object = Object {
        kind,
        version: version.to_owned(),
        namespace: text(&document["metadata"]["namespace"]),
        name: text(&document["metadata"]["name"]),
        labels: [].into(),
        created: None,
        document: document.clone(),
    };
    let facts = Facts::default();
    Judge::new(DEFAULT_NAMESPACE)
        .judge(&[object], &facts, false)
        .problems
}

/// In what ways a document does not fit, as far as types go.
fn misfits(schema: &Value, document: &Value) -> Vec<String> {
    let mut misfits = Vec::new();
    fit(schema, document, "", &mut misfits);
    misfits
}

fn fit(schema: &Value, value: &Value, at: &str, misfits: &mut Vec<String>) {
    let is_metadata = at == "metadata";
    let fits = match (schema["type"].as_str().unwrap(), value) {
        ("object", Value::Object(given)) => {
            let properties = schema["properties"].as_object();
            for (name, value) in given.iter().filter(|_| !is_metadata) {
                let known = properties.and_then(|all| all.get(name));
                match known.or_else(|| schema.get("additionalProperties")) {
                    Some(schema) => fit(schema, value, &within(at, name), misfits),
                    None => misfits.push(format!("{}: unknown", within(at, name))),
                }
            }
            for name in schema["required"].as_array().into_iter().flatten() {
                let name = name.as_str().unwrap();
                if !given.contains_key(name) {
                    misfits.push(format!("{}: missing", within(at, name)));
                }
            }
            true
        }
        ("array", Value::Array(items)) => {
            for item in items {
                fit(&schema["items"], item, at, misfits);
            }
            schema["minItems"].as_u64().unwrap_or(0) <= items.len() as u64
        }
        ("string", Value::String(_)) => {
            let choices = schema["enum"].as_array();
            choices.is_none_or(|choices| choices.contains(value))
        }
        ("integer", Value::Number(_)) => {
            let bound = |key: &str| schema[key].as_i64();
            let number = value.as_i64().unwrap();
            bound("minimum").is_none_or(|least| least <= number)
                && bound("maximum").is_none_or(|most| number <= most)
        }
        ("boolean", Value::Bool(_)) => true,
        (_, _) => false,
    };
    if !fits {
        misfits.push(format!("{at}: {value}"));
    }
}

fn within(at: &str, name: &str) -> String {
    if at.is_empty() {
        name.to_owned()
    } else {
        format!("{at}.{name}")
    }
}

fn schema_of(document: &Value) -> Option<Value> {
    let api_version = document["apiVersion"].as_str()?;
    definition::all().into_iter().find_map(|definition| {
        let version = definition.versions.iter().find(|version| {
            api_version == format!("{}/{}", definition.resource.group, version.name)
        })?;
        let is_kind = document["kind"] == definition.resource.kind;
        is_kind.then(|| version.schema.clone())
    })
}

fn documents(path: &Path) -> Vec<Value> {
    let text = read(path);
    let documents = text.split("\n---\n").map(serde_yaml::from_str);
    documents.map(|document| document.unwrap()).collect()
}

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/crds")
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|found| found == "yaml"))
        .collect();
    files.sort();
    files
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
