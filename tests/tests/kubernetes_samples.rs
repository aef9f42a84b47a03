//! Our definitions as an API server sees them: it takes every sample, refuses every one that it must
//! refuse in the words that the sample names, and explains every kind in ours.
#![expect(clippy::disallowed_methods, reason = "samples are files")]
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::fs;
use std::path::{Path, PathBuf};

use ferrolb_crds::definition;
use ferrolb_tests::kubernetes::{ControlPlane, Settings, product};
use ferrolb_tests::programs;
use serde_json::Value;

/// One server for all of it: nothing here stays, but for what an edit is tried on.
#[test]
fn an_api_server_takes_and_refuses_the_samples_and_explains_every_kind() {
    let plane = ControlPlane::alone(Settings::default()).unwrap();
    product::install(&plane).unwrap();
    takes_every_sample(&plane);
    refuses_what_it_must(&plane);
    explains_every_kind(&plane);
}

fn takes_every_sample(plane: &ControlPlane) {
    let samples = programs::workspace().join("config/samples");
    let directories = [samples.join("demo"), samples, cases()];
    let paths: Vec<PathBuf> = directories.iter().flat_map(|path| files(path)).collect();
    assert!(paths.len() > 20, "only {} files", paths.len());
    let mut words = vec!["apply", "--dry-run=server", "--validate=strict"];
    for path in &paths {
        words.extend(["-f", path.to_str().unwrap()]);
    }
    let answer = plane.kubectl(&words, None).unwrap();
    let objects: usize = paths.iter().map(|path| documents(path).len()).sum();
    let taken = answer
        .lines()
        .filter(|line| line.ends_with(" created (server dry run)"));
    assert_eq!(taken.count(), objects, "{answer}");
}

fn refuses_what_it_must(plane: &ControlPlane) {
    let paths = files(&cases().join("refused"));
    assert!(paths.len() > 40, "only {} files", paths.len());
    let mut wrong = Vec::new();
    for path in &paths {
        let text = fs::read_to_string(path).unwrap();
        let says = text.lines().find_map(|line| line.strip_prefix("# says: "));
        let says = says.unwrap_or_else(|| panic!("{}: no `# says:`", path.display()));
        let mut documents = documents(path);
        let refused = documents.pop().unwrap();
        for accepted in &documents {
            plane.post(&collection(accepted), accepted).unwrap();
        }
        let (method, path_of) = match documents.is_empty() {
            true => ("POST", collection(&refused)),
            false => {
                let name = refused["metadata"]["name"].as_str().unwrap();
                ("PATCH", format!("{}/{name}", collection(&refused)))
            }
        };
        let path_of = format!("{path_of}?dryRun=All&fieldValidation=Strict");
        let answer = plane.request(method, &path_of, Some(&refused)).unwrap();
        let message = answer.body["message"].as_str().unwrap_or_default();
        if !(400..=422).contains(&answer.code) || !message.contains(says) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            wrong.push(format!("{name}: {says}: {} {message}", answer.code));
        }
        for accepted in &documents {
            let name = accepted["metadata"]["name"].as_str().unwrap();
            plane
                .delete(&format!("{}/{name}", collection(accepted)))
                .unwrap();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Of each kind what it is for, and of each of its fields, but for those that every object has.
fn explains_every_kind(plane: &ControlPlane) {
    for definition in definition::all() {
        for version in &definition.versions {
            let group = definition.resource.group;
            let api = format!("--api-version={group}/{}", version.name);
            let words = ["explain", definition.resource.plural, &api];
            let explained = unwrapped(&plane.kubectl(&words, None).unwrap());
            let at = format!("{} {}", definition.name(), version.name);
            assert!(!explained.contains("<empty>"), "{at}: {explained}");
            assert!(!explained.contains("<no description>"), "{at}: {explained}");
            let own = version.schema["description"].as_str().unwrap();
            assert!(
                explained.contains(&unwrapped(own)),
                "{at}: {own}: {explained}"
            );
            let fields = version.schema["properties"].as_object().unwrap();
            let everywhere = ["apiVersion", "kind", "metadata"];
            let own = |(name, _): &(&String, &Value)| !everywhere.contains(&name.as_str());
            for (name, field) in fields.iter().filter(own) {
                let own = unwrapped(field["description"].as_str().unwrap());
                assert!(explained.contains(&own), "{at}.{name}: {own}: {explained}");
            }
        }
    }
}

/// kubectl breaks lines where it likes.
fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn collection(object: &Value) -> String {
    let definitions = definition::all();
    let mut kinds = definitions.iter();
    let definition = kinds
        .find(|one| object["kind"] == one.resource.kind)
        .unwrap();
    let version = object["apiVersion"].as_str().unwrap();
    let namespace = object["metadata"]["namespace"].as_str().unwrap();
    let plural = definition.resource.plural;
    format!("/apis/{version}/namespaces/{namespace}/{plural}")
}

fn documents(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let documents = text.split("\n---\n").map(serde_yaml::from_str);
    let documents = documents.map(|document| document.unwrap());
    documents
        .filter(|document: &Value| !document.is_null())
        .collect()
}

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/crds")
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_yaml = |path: &PathBuf| path.extension().is_some_and(|found| found == "yaml");
    let mut files: Vec<PathBuf> = entries.filter(is_yaml).collect();
    files.sort();
    files
}
