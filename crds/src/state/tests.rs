use tempfile::TempDir;

use super::*;

fn status(name: &str, ingress: &[&str]) -> ServiceStatus {
    ServiceStatus {
        key: ServiceKey::new("shop", name),
        pool: Some("edge".to_owned()),
        ingress: ingress.iter().map(|ip| ip.parse().unwrap()).collect(),
        hints: Hints::parse("192.0.2.1=n1"),
        condition: Some(Condition {
            allocated: true,
            reason: "Allocated".to_owned(),
            message: "holds: its address\n\"as asked\"".to_owned(),
            since: Timestamp(1_000_000_000),
        }),
    }
}

fn recorded(status: &ServiceStatus) -> Recorded {
    Recorded {
        ingress: status.ingress.clone(),
        pool: status.pool.clone(),
        hints: status.hints.clone(),
        condition: status.condition.clone(),
    }
}

fn open() -> (TempDir, StateDir) {
    let folder = tempfile::tempdir().unwrap();
    let state = StateDir::open(folder.path().join("made/on/demand")).unwrap();
    (folder, state)
}

fn file(state: &StateDir, name: &str) -> PathBuf {
    state.path().join("services/shop").join(name)
}

fn modified(path: &Path) -> std::time::SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

#[test]
fn a_record_that_names_a_host_holds_no_address() {
    let (_folder, state) = open();
    state.write_service(&status("web", &["192.0.2.1"])).unwrap();
    let path = file(&state, "web.yaml");
    let named = fs::read_to_string(&path).unwrap();
    let named = named.replace("- ip: 192.0.2.1", "- hostname: web.example.org");
    fs::write(&path, named).unwrap();
    let read = state.read_services();
    assert!(read.problems.is_empty(), "{:?}", read.problems);
    assert!(
        read.services[&ServiceKey::new("shop", "web")]
            .ingress
            .is_empty()
    );
}

#[test]
fn a_record_reads_like_a_service() {
    let (_folder, state) = open();
    state
        .write_service(&status("web", &["192.0.2.1", "2001:db8::1"]))
        .unwrap();
    assert_eq!(
        fs::read_to_string(file(&state, "web.yaml")).unwrap(),
        "\
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: shop
  annotations:
    metallb.io/ip-allocated-from-pool: edge
    ferrolb.io/layer2-hint: 192.0.2.1=n1
status:
  loadBalancer:
    ingress:
    - ip: 192.0.2.1
    - ip: 2001:db8::1
  conditions:
  - type: ferrolb.io/Allocated
    status: 'True'
    reason: Allocated
    message: |-
      holds: its address
      \"as asked\"
    lastTransitionTime: 2001-09-09T01:46:40Z
"
    );
}

#[test]
fn what_is_written_is_read_again_after_a_restart() {
    let (_folder, state) = open();
    let mut empty = status("empty", &[]);
    (empty.pool, empty.condition) = (None, None);
    empty.hints = Hints::default();
    let web = status("web", &["192.0.2.1"]);
    for result in state.write_services(&[web.clone(), empty.clone()]) {
        result.unwrap();
    }
    let records = StateDir::open(state.path()).unwrap().read_services();
    assert_eq!(
        records.services,
        BTreeMap::from([
            (web.key.clone(), recorded(&web)),
            (empty.key.clone(), recorded(&empty)),
        ])
    );
    assert!(records.problems.is_empty());
}

#[test]
fn i4_identical_content_is_not_written_again() {
    let (_folder, state) = open();
    let mut web = status("web", &["192.0.2.1"]);
    state.write_service(&web).unwrap();
    let before = modified(&file(&state, "web.yaml"));
    // A controller that starts again does not know since when.
    web.condition.as_mut().unwrap().since = Timestamp(2_000_000_000);
    state.write_service(&web).unwrap();
    assert_eq!(modified(&file(&state, "web.yaml")), before);
    web.condition.as_mut().unwrap().allocated = false;
    state.write_service(&web).unwrap();
    let records = state.read_services();
    assert_eq!(records.services[&web.key], recorded(&web));
}

#[test]
fn a_record_that_does_not_parse_is_reported_and_stays() {
    let (_folder, state) = open();
    state
        .write_service(&status("good", &["192.0.2.1"]))
        .unwrap();
    let texts = [
        ("syntax.yaml", "a: [\n"),
        ("empty.yaml", ""),
        (
            "address.yaml",
            "apiVersion: v1\nkind: Service\nmetadata: {name: address, namespace: shop}\nstatus: {loadBalancer: {ingress: [{ip: 1.2.3}]}}\n",
        ),
        (
            "other.yaml",
            "apiVersion: v1\nkind: Service\nmetadata: {name: good, namespace: shop}\n",
        ),
    ];
    for (name, text) in texts {
        fs::write(file(&state, name), text).unwrap();
    }
    let records = state.read_services();
    assert_eq!(records.services.len(), 1);
    let unreadable: Vec<&str> = records
        .unreadable
        .iter()
        .map(|key| key.name.as_str())
        .collect();
    assert_eq!(unreadable, ["address", "empty", "other", "syntax"]);
    assert_eq!(records.problems.len(), 4);
    assert!(
        records
            .problems
            .iter()
            .all(|problem| problem.path().is_some())
    );
    for (name, text) in texts {
        assert_eq!(fs::read_to_string(file(&state, name)).unwrap(), text);
    }
}

#[test]
fn a_service_that_goes_takes_its_record_with_it() {
    let (_folder, state) = open();
    let web = status("web", &["192.0.2.1"]);
    state.write_service(&web).unwrap();
    state.remove_service(&web.key).unwrap();
    assert!(!file(&state, "web.yaml").exists());
    state.remove_service(&web.key).unwrap();
}

#[test]
fn a_second_writer_waits_at_the_lock() {
    let (_folder, mut first) = open();
    let mut second = StateDir::open(first.path()).unwrap();
    assert!(first.try_lock().unwrap());
    assert!(first.try_lock().unwrap());
    assert!(!second.try_lock().unwrap());
    drop(first);
    assert!(second.try_lock().unwrap());
}

#[test]
fn what_a_crash_left_is_no_record_and_is_removed_by_the_next_writer() {
    let (_folder, mut state) = open();
    state.write_service(&status("web", &["192.0.2.1"])).unwrap();
    let leftover = file(&state, ".web.yaml.tmp");
    fs::write(&leftover, "apiVersion: v1\nkind: Serv").unwrap();
    assert_eq!(state.read_services().services.len(), 1);
    assert!(state.try_lock().unwrap());
    assert!(!leftover.exists());
}

#[test]
fn one_record_that_cannot_be_written_leaves_the_others_alone() {
    let (_folder, state) = open();
    // A directory in the place of the file stands for whatever may be wrong with it.
    fs::create_dir_all(file(&state, "b.yaml").join("x")).unwrap();
    let statuses = ["a", "b", "c"].map(|name| status(name, &["192.0.2.1"]));
    let results = state.write_services(&statuses);
    let failed: Vec<bool> = results.iter().map(Result::is_err).collect();
    assert_eq!(failed, [false, true, false]);
    let error = results[1].as_ref().unwrap_err();
    assert_eq!(error.path(), Some(file(&state, "b.yaml").as_path()));
    let names = fs::read_dir(state.path().join("services/shop")).unwrap();
    assert_eq!(names.count(), 3, "no temporary file is left");
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let (folder, state) = open();
    for name in ["../escape", ".hidden", "", "a/b"] {
        let status = status(name, &[]);
        assert!(matches!(
            state.write_service(&status),
            Err(StateError::Name { .. })
        ));
        assert!(state.write_node_file(name, "status.yaml", "").is_err());
        assert!(state.write_node_file("n1", name, "").is_err());
    }
    assert!(!folder.path().join("escape.yaml").exists());
}

#[test]
fn node_files_are_replaced_as_a_whole_and_only_when_they_differ() {
    let (_folder, state) = open();
    let path = state.path().join("nodes/n1/status.yaml");
    state
        .write_node_file("n1", "status.yaml", "a: 1\n")
        .unwrap();
    let before = modified(&path);
    state
        .write_node_file("n1", "status.yaml", "a: 1\n")
        .unwrap();
    assert_eq!(modified(&path), before);
    state
        .write_node_file("n1", "status.yaml", "a: 2\n")
        .unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "a: 2\n");
}

#[test]
fn a_path_that_cannot_be_made_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = StateDir::open(file.join("state")).unwrap_err();
    assert!(matches!(error, StateError::Create { .. }), "{error}");
}

#[test]
fn many_records_are_written_at_once() {
    let (_folder, state) = open();
    let statuses: Vec<ServiceStatus> = (0..500)
        .map(|number| status(&format!("s{number}"), &["192.0.2.1"]))
        .collect();
    assert!(state.write_services(&statuses).iter().all(Result::is_ok));
    assert_eq!(state.read_services().services.len(), 500);
}

#[test]
fn a_directory_that_takes_no_writes_opens_and_says_so_for_every_record() {
    // Nobody can make files there, not even root.
    let state = StateDir::open("/proc").unwrap();
    let results = state.write_services(&["a", "b"].map(|name| status(name, &[])));
    assert_eq!(results.len(), 2);
    for result in results {
        let error = result.unwrap_err();
        assert!(matches!(error, StateError::Write { .. }), "{error}");
        assert!(error.path().unwrap().starts_with("/proc/services/shop"));
    }
    assert!(state.write_node_file("n1", "status.yaml", "").is_err());
    assert!(state.read_services().problems.is_empty());
}
