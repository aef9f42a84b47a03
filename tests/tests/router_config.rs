//! Cases of `cases/router-config`: a directory of manifests, perhaps `arguments`, and what
//! `router-config` prints for BIRD and for FRR, which both have to take. `bird.problems` and
//! `frr.problems` are what stderr says; without them there are none, and the exit status is 0.
//!
//! `UPDATE=1` rewrites what is expected: read the difference before you commit it.
#![expect(clippy::disallowed_methods, reason = "cases are files")]
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ferrolb_tests::programs;

const ROUTERS: [&str; 2] = ["bird", "frr"];

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/router-config");
    let entries = fs::read_dir(root).unwrap();
    let mut cases: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

/// What it prints, what it says on stderr, and the exit status.
fn print(case: &Path, router: &str) -> (String, String, Option<i32>) {
    // The case's own files are no manifests, but for one.
    let manifests = tempfile::tempdir().unwrap();
    fs::copy(
        case.join("cluster.yaml"),
        manifests.path().join("cluster.yaml"),
    )
    .unwrap();
    let mut command = Command::new(programs::speaker().unwrap());
    command.args(["router-config", "--for", router, "--manifests"]);
    command.arg(manifests.path());
    let arguments = fs::read_to_string(case.join("arguments")).unwrap_or_default();
    command.args(arguments.split_whitespace());
    command.env_remove("FERROLB_NAMESPACE");
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        text(output.stdout),
        text(output.stderr),
        output.status.code(),
    )
}

fn compare(path: &Path, actual: &str) -> Option<String> {
    if std::env::var_os("UPDATE").is_some() {
        if actual.is_empty() {
            let _ = fs::remove_file(path);
        } else {
            fs::write(path, actual).unwrap();
        }
        return None;
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    (expected != actual)
        .then(|| format!("{} should be\n{expected}and is\n{actual}", path.display()))
}

#[test]
fn every_case_is_printed_as_expected() {
    let cases = cases();
    assert!(cases.len() >= 10, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        for router in ROUTERS {
            let (text, problems, status) = print(case, router);
            let expected_status = i32::from(!problems.is_empty());
            assert_eq!(
                status,
                Some(expected_status),
                "{}: {problems}",
                case.display()
            );
            wrong.extend(compare(&case.join(format!("{router}.conf")), &text));
            wrong.extend(compare(&case.join(format!("{router}.problems")), &problems));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_same_objects_give_the_same_text() {
    for case in cases() {
        for router in ROUTERS {
            assert_eq!(print(&case, router), print(&case, router));
        }
    }
}

#[test]
fn bird_and_frr_take_every_text_as_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    for case in cases() {
        for router in ROUTERS {
            let (text, ..) = print(&case, router);
            if text.is_empty() {
                continue;
            }
            let path = dir.path().join("router.conf");
            fs::write(&path, &text).unwrap();
            let mut command = match router {
                "bird" => Command::new("bird"),
                _ => Command::new("vtysh"),
            };
            match router {
                "bird" => command.args(["-p", "-c"]),
                _ => command.args(["-C", "-f"]),
            };
            let output = command.arg(&path).output().unwrap();
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(
                output.status.success() && said.is_empty(),
                "{router} of {}: {said}\n{text}",
                case.display()
            );
        }
    }
}

/// That the two judges above judge.
#[test]
fn bird_and_frr_refuse_what_makes_no_sense() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("router.conf");
    fs::write(&path, "router bgp nobody\n").unwrap();
    let bird = Command::new("bird").args(["-p", "-c"]).arg(&path).output();
    assert!(!bird.unwrap().status.success());
    let frr = Command::new("vtysh").args(["-C", "-f"]).arg(&path).output();
    assert!(!frr.unwrap().status.success());
}
