#![expect(clippy::disallowed_methods, reason = "tests write the files to read")]

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::model::{Hints, Namespace, Service};
use crate::source::Unreadable;
use crate::source::manifests::{Listing, read};
use crate::state::{ServiceStatus, StateDir};

const WEB: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: LoadBalancer, ports: [{port: 80}]}
status: {loadBalancer: {ingress: [{ip: 192.0.2.9}]}}
";

struct Fixture {
    folder: TempDir,
    options: Options,
}

impl Fixture {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fixture = Self {
            options: Options {
                dir: folder.path().join("manifests"),
                state: Some(folder.path().join("state")),
                namespace: "metallb-system".to_owned(),
                follow_state: false,
            },
            folder,
        };
        fs::create_dir(&fixture.options.dir).unwrap();
        for (name, text) in files {
            fixture.write(name, text);
        }
        fixture
    }

    fn write(&self, name: &str, text: &str) {
        write(&self.options.dir.join(name), text);
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.options.dir.join(name)).unwrap();
    }

    fn record(&self, name: &str, ingress: &[&str]) {
        let state = StateDir::open(self.folder.path().join("state")).unwrap();
        let status = ServiceStatus {
            key: ServiceKey::new("shop", name),
            pool: Some("edge".to_owned()),
            ingress: ingress.iter().map(|ip| ip.parse().unwrap()).collect(),
            hints: Hints::default(),
            condition: None,
        };
        state.write_service(&status).unwrap();
    }

    fn state_file(&self, name: &str) -> PathBuf {
        self.folder.path().join("state/services/shop").join(name)
    }

    fn listing(&self) -> Listing {
        read(&self.options).unwrap()
    }

    fn directory(&self) -> Directory {
        let mut directory = Directory::new(&self.options);
        directory.first();
        directory
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn again(directory: &mut Directory) -> Batch {
    directory.update(&BTreeSet::new())
}

fn services(changes: &[Change]) -> Vec<(String, Option<Arc<Service>>)> {
    let service = |change: &Change| {
        let Change::Service(key, service) = change else {
            return None;
        };
        Some((key.to_string(), service.clone()))
    };
    changes.iter().filter_map(service).collect()
}

/// The addresses that a listing says a Service holds.
fn held(changes: &[Change]) -> Vec<String> {
    let (_, service) = services(changes).pop().unwrap();
    let ingress = &service.unwrap().ingress;
    ingress.iter().map(ToString::to_string).collect()
}

fn unreadable(changes: &[Change]) -> Option<&Unreadable> {
    changes.iter().find_map(|change| {
        let Change::Unreadable(unreadable) = change else {
            return None;
        };
        Some(unreadable)
    })
}

fn lines(problems: &[Located]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn everything_present_is_listed_and_synced_is_last() {
    let fixture = Fixture::new(&[
        ("a.yaml", WEB),
        (
            "deep/er/b.yml",
            "{apiVersion: v1, kind: Node, metadata: {name: n1}}\n---\n{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: web-1, namespace: shop}, endpoints: [], addressType: IPv4}\n",
        ),
        (
            "pool.json.yaml",
            r#"{"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool", "metadata": {"name": "edge"}, "spec": {"addresses": ["10.0.0.1-10.0.0.9"]}}"#,
        ),
        ("notes.txt", "not: [yaml"),
        (".hidden.yaml", "not: [yaml"),
        (".git/x.yaml", "not: [yaml"),
    ]);
    fixture.record("gone", &["192.0.2.1"]);
    let listing = fixture.listing();
    assert_eq!(lines(&listing.problems), Vec::<String>::new());
    let changes = &listing.changes;
    assert_eq!(changes.len(), 7);
    assert!(matches!(&changes[0], Change::Config(config) if config.pools.contains_key("edge")));
    assert!(matches!(&changes[1], Change::Node(name, Some(_)) if name == "n1"));
    assert_eq!(
        changes[2],
        Change::Namespace("shop".to_owned(), Some(Namespace::implied("shop")))
    );
    assert!(matches!(&changes[3], Change::EndpointSlice(_, Some(_))));
    assert_eq!(services(changes)[0].0, "shop/web");
    let orphans = BTreeMap::from([(
        ServiceKey::new("shop", "gone"),
        vec!["192.0.2.1".parse().unwrap()],
    )]);
    assert_eq!(changes[5], Change::Orphans(orphans));
    assert_eq!(changes[6], Change::Synced);
}

#[test]
fn a_missing_manifests_directory_is_an_error_and_a_missing_state_is_empty() {
    let mut fixture = Fixture::new(&[("a.yaml", WEB)]);
    assert_eq!(held(&fixture.listing().changes), ["192.0.2.9"]);
    assert!(!fixture.folder.path().join("state").exists());
    fixture.options.dir = fixture.folder.path().join("missing");
    let error = read(&fixture.options).err().unwrap().to_string();
    assert!(
        error.ends_with("missing: failed to read the manifests directory"),
        "{error}"
    );
}

#[test]
fn the_record_outranks_the_status_of_the_manifest_also_when_it_is_empty() {
    let fixture = Fixture::new(&[("a.yaml", WEB)]);
    fixture.record("web", &["192.0.2.1", "2001:db8::1"]);
    assert_eq!(
        held(&fixture.listing().changes),
        ["192.0.2.1", "2001:db8::1"]
    );
    fixture.record("web", &[]);
    assert_eq!(held(&fixture.listing().changes), Vec::<String>::new());
}

#[test]
fn i5_a_file_that_never_parsed_counts_as_unknown() {
    let fixture = Fixture::new(&[("a.yaml", WEB), ("b.yaml", "x: 1\ny: [\n")]);
    let listing = fixture.listing();
    assert!(unreadable(&listing.changes).unwrap().any);
    assert!(matches!(&listing.changes[0], Change::Config(config) if config.pools_incomplete));
    assert!(listing.problems[0].to_string().starts_with("b.yaml:3:1: "));
    assert_eq!(services(&listing.changes).len(), 1);
}

#[test]
fn i5_a_record_that_does_not_parse_makes_its_service_unknown() {
    let fixture = Fixture::new(&[("a.yaml", WEB)]);
    write(&fixture.state_file("web.yaml"), "status: [");
    let listing = fixture.listing();
    let web = ServiceKey::new("shop", "web");
    assert!(unreadable(&listing.changes).unwrap().may_hold(&web));
    assert!(services(&listing.changes).is_empty());
    let line = listing.problems[0].to_string();
    assert!(
        line.contains("state/services/shop/web.yaml:1:9: Service/web: "),
        "{line}"
    );
    assert!(fixture.state_file("web.yaml").exists());
}

#[test]
fn i1_a_record_that_could_not_be_read_is_read_again_without_being_followed() {
    let fixture = Fixture::new(&[("a.yaml", WEB)]);
    write(&fixture.state_file("web.yaml"), "status: [");
    let mut directory = fixture.directory();
    assert!(directory.retry().is_empty(), "nothing has changed");
    fs::remove_file(fixture.state_file("web.yaml")).unwrap();
    fixture.record("web", &["192.0.2.1"]);
    let batch = directory.retry();
    assert_eq!(held(&batch.changes), ["192.0.2.1"]);
    assert!(!unreadable(&batch.changes).unwrap().records);
    assert_eq!(batch.problems, Some(Vec::new()));
    fixture.record("web", &["192.0.2.2"]);
    assert!(directory.retry().is_empty(), "the writer needs no echo");
}

#[test]
fn i1_records_that_cannot_be_listed_are_unknown_until_they_can() {
    let fixture = Fixture::new(&[("a.yaml", WEB)]);
    let services_folder = fixture.folder.path().join("state/services");
    write(&services_folder, "in the way");
    let mut directory = Directory::new(&fixture.options);
    let first = directory.first();
    assert!(services(&first.changes).is_empty());
    let unread = unreadable(&first.changes).unwrap();
    assert!(unread.records && unread.may_hold(&ServiceKey::new("shop", "web")));
    let line = first.problems.unwrap()[0].to_string();
    assert!(
        line.contains("state/services:1:1: cannot be listed"),
        "{line}"
    );
    fs::remove_file(&services_folder).unwrap();
    fixture.record("web", &["192.0.2.1"]);
    let batch = directory.retry();
    assert_eq!(held(&batch.changes), ["192.0.2.1"]);
    assert!(!unreadable(&batch.changes).unwrap().records);
}

#[test]
fn i4_nothing_changed_is_nothing_said() {
    let fixture = Fixture::new(&[("a.yaml", WEB), ("b.yaml", "x: [")]);
    let mut directory = fixture.directory();
    assert!(again(&mut directory).is_empty());
    fixture.write("a.yaml", WEB);
    fixture.write("c.yaml", "# only words\n");
    assert!(again(&mut directory).is_empty());
    fixture.write("a.yaml", &format!("# more words\n{WEB}"));
    assert!(again(&mut directory).is_empty());
}

#[test]
fn i5_a_broken_file_keeps_its_objects_and_its_problem_goes_when_it_is_mended() {
    let fixture = Fixture::new(&[("a.yaml", WEB)]);
    let mut directory = fixture.directory();
    fixture.write("a.yaml", "kind: [");
    let batch = again(&mut directory);
    assert_eq!(batch.changes, []);
    assert_eq!(batch.problems.unwrap().len(), 1);
    fixture.write("a.yaml", &WEB.replace("port: 80", "port: 81"));
    let batch = again(&mut directory);
    assert_eq!(services(&batch.changes).len(), 1);
    assert_eq!(batch.problems, Some(Vec::new()));
    fixture.remove("a.yaml");
    assert_eq!(
        services(&again(&mut directory).changes),
        [("shop/web".to_owned(), None)]
    );
}

#[test]
fn i5_a_manifests_directory_that_vanishes_keeps_everything_in_force() {
    let fixture = Fixture::new(&[
        ("a.yaml", WEB),
        (
            "sub/b.yaml",
            "{apiVersion: v1, kind: Node, metadata: {name: n1}}",
        ),
    ]);
    let mut directory = fixture.directory();
    fs::rename(&fixture.options.dir, fixture.folder.path().join("aside")).unwrap();
    let batch = again(&mut directory);
    assert!(services(&batch.changes).is_empty());
    assert!(
        !batch
            .changes
            .iter()
            .any(|change| matches!(change, Change::Node(..)))
    );
    let problems = batch.problems.unwrap();
    assert!(
        problems[0]
            .to_string()
            .starts_with(".:1:1: cannot be listed: "),
        "{problems:?}"
    );
    fs::rename(fixture.folder.path().join("aside"), &fixture.options.dir).unwrap();
    let batch = again(&mut directory);
    assert!(services(&batch.changes).is_empty());
    assert_eq!(batch.problems, Some(Vec::new()));
}

#[test]
fn a_state_directory_below_the_manifests_is_not_read_as_manifests() {
    let mut fixture = Fixture::new(&[("a.yaml", WEB)]);
    let state = fixture.options.dir.join("state");
    fixture.options.state = Some(state.clone());
    write(
        &state.join("services/shop/web.yaml"),
        "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n",
    );
    let listing = fixture.listing();
    assert_eq!(lines(&listing.problems), Vec::<String>::new());
    assert_eq!(held(&listing.changes), Vec::<String>::new());
}

#[test]
fn a_state_directory_is_the_same_by_any_name() {
    let mut fixture = Fixture::new(&[("a.yaml", WEB)]);
    let link = fixture.folder.path().join("link");
    std::os::unix::fs::symlink(&fixture.options.dir, &link).unwrap();
    let record = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n";
    let state = fixture.options.dir.join("state");
    write(&state.join("services/shop/web.yaml"), record);
    fixture.options.state = Some(link.join("state"));
    let listing = fixture.listing();
    assert_eq!(lines(&listing.problems), Vec::<String>::new());
    assert_eq!(services(&listing.changes).len(), 1);
    fixture.options.state = Some(link.join("later"));
    assert!(
        fixture.listing().problems.len() == 1,
        "another directory's records"
    );
}

#[test]
fn without_following_a_record_is_read_with_its_manifest() {
    let fixture = Fixture::new(&[("a.yaml", WEB)]);
    let mut directory = fixture.directory();
    fixture.record("web", &["192.0.2.1"]);
    assert!(again(&mut directory).is_empty(), "the writer needs no echo");
    fixture.write("a.yaml", &WEB.replace("port: 80", "port: 81"));
    assert_eq!(held(&again(&mut directory).changes), ["192.0.2.1"]);
    fixture.remove("a.yaml");
    let changes = again(&mut directory).changes;
    assert_eq!(services(&changes), [("shop/web".to_owned(), None)]);
    let has_orphans = |changes: &[Change]| {
        changes
            .iter()
            .any(|change| matches!(change, Change::Orphans(_)))
    };
    assert!(
        !has_orphans(&changes),
        "its record is its writer's to remove"
    );
    fs::remove_file(fixture.state_file("web.yaml")).unwrap();
    fixture.write("a.yaml", WEB);
    assert_eq!(held(&again(&mut directory).changes), ["192.0.2.9"]);
}

#[test]
fn followed_records_come_change_and_go() {
    let mut fixture = Fixture::new(&[("a.yaml", WEB)]);
    fixture.options.follow_state = true;
    let mut directory = fixture.directory();
    let none = BTreeSet::new();
    fixture.record("web", &["192.0.2.1"]);
    assert_eq!(held(&directory.update_state(&none).changes), ["192.0.2.1"]);
    assert!(directory.update_state(&none).is_empty());
    write(&fixture.state_file("web.yaml"), "status: [");
    let batch = directory.update_state(&none);
    assert_eq!(batch.changes, [], "what was known stays");
    assert_eq!(batch.problems.unwrap().len(), 1);
    fs::remove_file(fixture.state_file("web.yaml")).unwrap();
    let batch = directory.update_state(&none);
    assert_eq!(held(&batch.changes), ["192.0.2.9"]);
    assert_eq!(batch.problems, Some(Vec::new()));
}

/// Ten thousand Services and a hundred pools: prints how long they take.
#[test]
fn a_large_directory_is_read() {
    let mut text = String::new();
    for number in 0..10_000 {
        text.push_str(&format!(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: service-{number}\n  namespace: space-{}\n  labels:\n    app: web\nspec:\n  type: LoadBalancer\n  clusterIPs:\n  - 10.96.0.1\n  ports:\n  - name: http\n    port: 80\n    targetPort: 8080\n    nodePort: 30080\n  selector:\n    app: web\n---\n",
            number % 50
        ));
    }
    for number in 0..100 {
        text.push_str(&format!(
            "apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {{name: pool-{number}}}\nspec: {{addresses: [10.{number}.0.1-10.{number}.0.200]}}\n---\n",
        ));
    }
    let fixture = Fixture::new(&[("all.yaml", &text)]);
    let start = std::time::Instant::now();
    let listing = fixture.listing();
    println!("{} bytes in {:?}", text.len(), start.elapsed());
    assert_eq!(services(&listing.changes).len(), 10_000);
    assert_eq!(listing.problems, []);
}

const SEED: &str = "\
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Service
  metadata: {name: web, annotations: {metallb.io/address-pool: 'x'}}
  spec: &spec
    ports: [{port: 80, protocol: UDP}]
    ipFamilies: [IPv4]
- <<: {apiVersion: v1, kind: Service}
  metadata: {name: web}
  spec: *spec
---
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: edge}
spec:
  addresses:
  - 10.0.0.1-10.0.0.9
";

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn i7_mutated_manifests_never_panic(
        edits in prop::collection::vec((0..SEED.len(), 0..12_usize, any::<u8>()), 1..8),
    ) {
        let mut bytes = SEED.as_bytes().to_vec();
        for (at, length, byte) in edits {
            let at = at.min(bytes.len());
            let end = (at + length).min(bytes.len());
            let interesting = b"-:[]{}&*,'\"|>!%#<\n\t \xff0";
            let byte = interesting.get(usize::from(byte) % 32).copied().unwrap_or(byte);
            bytes.splice(at..end, [byte]);
        }
        let fixture = Fixture::new(&[("a.yaml", WEB)]);
        fs::write(fixture.options.dir.join("b.yaml"), &bytes).unwrap();
        let listing = fixture.listing();
        prop_assert_eq!(listing.changes.last(), Some(&Change::Synced));
        for problem in listing.problems {
            prop_assert!(problem.line >= 1 && problem.column >= 1);
            prop_assert_eq!(problem.to_string().lines().count(), 1);
        }
    }
}

#[test]
fn i5_a_namespace_that_may_be_in_a_file_that_never_parsed_is_unknown() {
    let known = "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {t: x}}}";
    let is_unknown = |files: &[(&str, &str)]| {
        let changes = Fixture::new(files).listing().changes;
        unreadable(&changes).is_some_and(|unreadable| unreadable.may_hide_namespace("shop"))
    };
    assert!(is_unknown(&[("a.yaml", WEB), ("ns.yaml", "{")]));
    assert!(!is_unknown(&[
        ("a.yaml", WEB),
        ("b.yaml", "{"),
        ("ns.yaml", known)
    ]));
    assert!(!is_unknown(&[("a.yaml", WEB)]), "no manifest hides nothing");
}
