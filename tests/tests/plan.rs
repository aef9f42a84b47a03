//! Cases of `cases/plan`: a directory of manifests, perhaps a state, and what `plan` must decide.
//!
//! `expected.json` was written from the specification. A field it leaves out is not compared;
//! `mentions` lists what the message must contain. `UPDATE=1` rewrites the fields it has with what
//! the program says: read the difference before you commit it.
#![expect(clippy::disallowed_methods, reason = "cases are files")]
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ferrolb_tests::process::output;
use ferrolb_tests::programs;
use serde_json::{Map, Value};
use tempfile::TempDir;

#[test]
fn every_case_is_decided_as_specified() {
    let cases = cases();
    assert!(cases.len() >= 30, "only {} cases", cases.len());
    let wrong: Vec<String> = cases.iter().filter_map(|case| judge(case).err()).collect();
    assert!(
        wrong.is_empty(),
        "{} of {} cases:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

#[test]
fn plan_writes_nothing() {
    for case in cases() {
        let copy = laid_out(&case);
        let before = contents(copy.path());
        plan(&case, copy.path());
        assert_eq!(before, contents(copy.path()), "{}", case.display());
    }
}

/// I2: what a run of the plan would write is kept by the next one, whatever it was before.
#[test]
fn i2_a_plan_carried_out_is_kept_by_the_next_plan() {
    for case in cases() {
        // Bad requests and set-aside pools stay what they are; only holdings are looked at.
        let copy = laid_out(&case);
        let first = plan(&case, copy.path());
        carry_out(&first, copy.path());
        for (before, after) in first.iter().zip(plan(&case, copy.path())) {
            assert_eq!(before["ingress"], after["ingress"], "{}", case.display());
            let decision = after["decision"].as_str().unwrap();
            let expected = match before["decision"].as_str().unwrap() {
                "Keep" | "Assign" => "Keep",
                "Clear" | "Refuse" => "Refuse",
                other => other,
            };
            assert_eq!(decision, expected, "{}: {after}", case.display());
        }
    }
}

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/plan");
    let entries = fs::read_dir(root).unwrap();
    let mut cases: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

fn judge(case: &Path) -> Result<(), String> {
    let copy = laid_out(case);
    let actual = plan(case, copy.path());
    let path = case.join("expected.json");
    let text = fs::read_to_string(&path).unwrap();
    let mut expected: Vec<Map<String, Value>> = serde_json::from_str(&text).unwrap();
    if std::env::var_os("UPDATE").is_some() {
        rewrite(&mut expected, &actual);
        let text = serde_json::to_string_pretty(&expected).unwrap() + "\n";
        fs::write(path, text).unwrap();
        return Ok(());
    }
    let name = case.file_name().unwrap().to_string_lossy();
    if expected.len() != actual.len() {
        return Err(format!("{name}: {actual:?}"));
    }
    let differences: Vec<String> = expected
        .iter()
        .zip(&actual)
        .filter_map(|(wanted, is)| difference(wanted, is))
        .collect();
    match differences.is_empty() {
        true => Ok(()),
        false => Err(format!("{name}:\n  {}", differences.join("\n  "))),
    }
}

fn difference(wanted: &Map<String, Value>, is: &Value) -> Option<String> {
    let object = format!("{}/{}", wanted["namespace"], wanted["name"]).replace('"', "");
    for (field, value) in wanted.iter().filter(|(field, _)| *field != "mentions") {
        if is[field] != *value {
            return Some(format!("{object}: {field} should be {value}: {is}"));
        }
    }
    let message = is["message"].as_str().unwrap_or_default();
    let words = wanted.get("mentions").and_then(Value::as_array);
    for word in words.into_iter().flatten().filter_map(Value::as_str) {
        if !message.contains(word) {
            return Some(format!("{object}: the message should mention {word}: {is}"));
        }
    }
    let is_constant = |reason: &str| {
        reason.starts_with(|first: char| first.is_ascii_uppercase())
            && reason.chars().all(|letter| letter.is_ascii_alphanumeric())
    };
    (!is["reason"].as_str().is_some_and(is_constant) || message.is_empty())
        .then(|| format!("{object}: a reason in PascalCase and a message are wanted: {is}"))
}

fn rewrite(expected: &mut Vec<Map<String, Value>>, actual: &[Value]) {
    let old = std::mem::take(expected);
    for (index, is) in actual.iter().enumerate() {
        let mut entry = old.get(index).cloned().unwrap_or_default();
        if entry.get("name") != is.get("name") {
            entry = Map::new();
        }
        for field in ["namespace", "name", "decision", "ingress", "pool", "reason"] {
            let is_left_out = !entry.is_empty() && !entry.contains_key(field);
            if !is_left_out || field == "reason" {
                entry.insert(field.to_owned(), is[field].clone());
            }
        }
        expected.push(entry);
    }
}

/// The case's manifests apart from its state, which lies in the same folder.
fn laid_out(case: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    let manifests = copy.path().join("manifests");
    fs::create_dir(&manifests).unwrap();
    for entry in fs::read_dir(case).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            fs::copy(&path, manifests.join(entry.file_name())).unwrap();
        }
    }
    if case.join("state").exists() {
        copy_all(&case.join("state"), &copy.path().join("state"));
    }
    copy
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_all(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(root).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => all.append(&mut contents(&entry.path())),
            false => drop(all.insert(entry.path(), fs::read(entry.path()).unwrap())),
        }
    }
    all
}

fn plan(case: &Path, root: &Path) -> Vec<Value> {
    let mut command = Command::new(programs::controller().unwrap());
    command
        .arg("plan")
        .arg("--manifests")
        .arg(root.join("manifests"));
    command.arg("--state").arg(root.join("state"));
    command.args(["-o", "json"]);
    if let Ok(arguments) = fs::read_to_string(case.join("arguments")) {
        command.args(arguments.split_whitespace());
    }
    serde_json::from_str(&output(&mut command).unwrap()).unwrap()
}

/// Writes what was decided, as the controller would.
fn carry_out(decided: &[Value], root: &Path) {
    for service in decided {
        let (namespace, name) = (&service["namespace"], &service["name"]);
        let directory = root
            .join("state/services")
            .join(namespace.as_str().unwrap());
        let path = directory.join(format!("{}.yaml", name.as_str().unwrap()));
        if service["decision"] == "Ignore" {
            fs::remove_file(path).ok();
            continue;
        }
        let addresses = service["ingress"].as_array().unwrap().iter();
        let ingress: Vec<Value> = addresses
            .map(|ip| serde_json::json!({ "ip": ip }))
            .collect();
        let status = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "namespace": namespace,
                "name": name,
                "annotations": pool_annotation(&service["pool"]),
            },
            "status": { "loadBalancer": { "ingress": ingress } },
        });
        fs::create_dir_all(directory).unwrap();
        fs::write(path, serde_yaml::to_string(&status).unwrap()).unwrap();
    }
}

fn pool_annotation(pool: &Value) -> Value {
    match pool.as_str() {
        Some(pool) => serde_json::json!({ "metallb.io/ip-allocated-from-pool": pool }),
        None => serde_json::json!({}),
    }
}
