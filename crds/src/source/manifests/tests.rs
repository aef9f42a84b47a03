#![expect(
    clippy::disallowed_methods,
    reason = "tests write the files to follow, and do not wait for ever"
)]

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::model::{Hints, Service, ServiceKey};
use crate::state::{ServiceStatus, StateDir};

const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than a change may take to settle.
const SILENCE: Duration = Duration::from_millis(1500);

fn service(port: u16) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: web}}, spec: {{type: LoadBalancer, ports: [{{port: {port}}}]}}}}\n"
    )
}

struct Fixture {
    folder: TempDir,
    manifests: Manifests,
}

impl Fixture {
    /// Started, and everything present read.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("manifests");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("a.yaml"), service(80)).unwrap();
        let manifests = Manifests::start(&Options {
            dir,
            state: Some(folder.path().join("state")),
            namespace: "metallb-system".to_owned(),
            follow_state: true,
        });
        let mut fixture = Self {
            folder,
            manifests: manifests.unwrap(),
        };
        let first = fixture.next().await;
        assert_eq!(first.changes.last(), Some(&Change::Synced));
        assert_eq!(port(&first), Some(80));
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("manifests").join(name)
    }

    /// As a whole, in the way of an editor.
    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(".draft"), text).unwrap();
        fs::rename(self.path(".draft"), self.path(name)).unwrap();
    }

    /// Makes a change of two steps, with another port each time until the steps were as close as they
    /// are meant to be (a busy machine may stop us between them); returns that port.
    async fn at_once(&mut self, change: impl Fn(&Self, u16)) -> u16 {
        for attempt in 81..181 {
            let start = Instant::now();
            change(self, attempt);
            if start.elapsed() < Duration::from_millis(50) {
                return attempt;
            }
            self.wait_for(attempt).await;
        }
        panic!("the machine is too busy");
    }

    async fn wait_for(&mut self, expected: u16) {
        while port(&self.next().await) != Some(expected) {}
    }

    async fn next(&mut self) -> Batch {
        timeout(PATIENCE, self.manifests.next()).await.unwrap()
    }

    async fn assert_silent(&mut self) {
        let batch = timeout(SILENCE, self.manifests.next()).await;
        assert!(batch.is_err(), "{batch:?}");
    }
}

/// The port of the Service that the batch speaks of; 0 when it is gone.
fn port(batch: &Batch) -> Option<u16> {
    batch.changes.iter().find_map(|change| {
        let Change::Service(_, service) = change else {
            return None;
        };
        let port = |service: &Arc<Service>| service.ports[0].port.get();
        Some(service.as_ref().map_or(0, port))
    })
}

#[tokio::test]
async fn an_atomic_rename_is_one_change() {
    let mut fixture = Fixture::new().await;
    fixture.write("a.yaml", &service(81));
    assert_eq!(port(&fixture.next().await), Some(81));
    fixture.assert_silent().await;
}

#[tokio::test]
async fn truncating_and_writing_is_one_change() {
    let mut fixture = Fixture::new().await;
    let expected = fixture
        .at_once(|fixture, port| {
            fs::write(fixture.path("a.yaml"), "").unwrap();
            fs::write(fixture.path("a.yaml"), service(port)).unwrap();
        })
        .await;
    assert_eq!(port(&fixture.next().await), Some(expected));
    fixture.assert_silent().await;
}

#[tokio::test]
async fn removing_and_creating_is_one_change_and_removing_is_one() {
    let mut fixture = Fixture::new().await;
    let expected = fixture
        .at_once(|fixture, port| {
            fs::remove_file(fixture.path("a.yaml")).unwrap();
            fs::write(fixture.path("a.yaml"), service(port)).unwrap();
        })
        .await;
    assert_eq!(port(&fixture.next().await), Some(expected));
    fs::remove_file(fixture.path("a.yaml")).unwrap();
    assert_eq!(port(&fixture.next().await), Some(0));
    fixture.assert_silent().await;
}

#[tokio::test]
async fn i4_at_rest_and_after_what_changes_nothing_it_is_silent() {
    let mut fixture = Fixture::new().await;
    fixture.write("a.yaml", &service(80));
    fixture.write("notes.txt", "x");
    fixture.assert_silent().await;
}

#[tokio::test]
async fn files_in_a_directory_made_later_are_found() {
    let mut fixture = Fixture::new().await;
    fs::create_dir_all(fixture.path("new/er")).unwrap();
    fs::remove_file(fixture.path("a.yaml")).unwrap();
    fixture.write("new/er/a.yaml", &service(84));
    fixture.wait_for(84).await;
    fixture.write("new/er/a.yaml", &service(85));
    fixture.wait_for(85).await;
}

#[tokio::test]
async fn i5_a_broken_file_is_reported_and_changes_nothing() {
    let mut fixture = Fixture::new().await;
    fixture.write("a.yaml", "a: [");
    let batch = fixture.next().await;
    assert_eq!(batch.changes, []);
    assert!(
        batch.problems.unwrap()[0]
            .to_string()
            .starts_with("a.yaml:")
    );
    fixture.write("a.yaml", &service(86));
    let batch = fixture.next().await;
    assert_eq!(port(&batch), Some(86));
    assert_eq!(batch.problems, Some(Vec::new()));
}

#[tokio::test]
async fn a_manifests_directory_that_is_replaced_is_followed_again() {
    let mut fixture = Fixture::new().await;
    let root = fixture.folder.path().join("manifests");
    fs::rename(&root, fixture.folder.path().join("old")).unwrap();
    let batch = fixture.next().await;
    assert_eq!(port(&batch), None);
    assert_eq!(batch.problems.unwrap().len(), 1);
    fs::create_dir(fixture.folder.path().join("new")).unwrap();
    fs::write(fixture.folder.path().join("new/a.yaml"), service(87)).unwrap();
    fs::rename(fixture.folder.path().join("new"), &root).unwrap();
    let batch = fixture.next().await;
    assert_eq!(port(&batch), Some(87));
    assert_eq!(batch.problems, Some(Vec::new()));
    fixture.write("a.yaml", &service(88));
    assert_eq!(port(&fixture.next().await), Some(88));
}

#[tokio::test]
async fn records_are_followed_from_before_their_directory_exists() {
    let mut fixture = Fixture::new().await;
    let state = StateDir::open(fixture.folder.path().join("state")).unwrap();
    for address in ["192.0.2.1", "192.0.2.2"] {
        let address = address.parse().unwrap();
        let status = ServiceStatus {
            key: ServiceKey::new("default", "web"),
            pool: None,
            ingress: vec![address],
            hints: Hints::default(),
            condition: None,
        };
        state.write_service(&status).unwrap();
        let batch = fixture.next().await;
        let [Change::Service(_, Some(service))] = &batch.changes[..] else {
            panic!("{batch:?}");
        };
        assert_eq!(service.ingress, [address]);
    }
}

#[tokio::test]
async fn a_wait_that_is_given_up_loses_nothing() {
    let mut fixture = Fixture::new().await;
    fixture.write("a.yaml", &service(89));
    let mut attempts = 0;
    let batch = loop {
        attempts += 1;
        match timeout(Duration::from_millis(5), fixture.manifests.next()).await {
            Ok(batch) => break batch,
            Err(_) => assert!(attempts < 4000),
        }
    };
    assert_eq!(port(&batch), Some(89));
    assert!(attempts > 1);
}
