//! The program itself, on a directory.

#![expect(
    clippy::disallowed_methods,
    reason = "starts programs, writes files and waits for both"
)]
#![expect(clippy::unwrap_used, reason = "everything here is a test or helps one")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ferrolb-controller");

const POOL: &str = "
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: first, namespace: metallb-system}
spec: {addresses: [10.0.0.0-10.0.0.9]}
";

fn service(name: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{type: LoadBalancer, ports: [{{port: 80}}]}}
"
    )
}

/// Two directories and the programs that run on them.
struct Bench {
    folder: tempfile::TempDir,
    running: Vec<Child>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        for child in &mut self.running {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Bench {
    fn new(files: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("manifests")).unwrap();
        let running = Vec::new();
        let bench = Self { folder, running };
        for (name, text) in files {
            bench.put(name, text);
        }
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.path("manifests").join(name), text).unwrap();
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .arg(verb)
            .arg("--manifests")
            .arg(self.path("manifests"));
        command
    }

    fn start(&mut self, log: &str) {
        let log = fs::File::create(self.path(log)).unwrap();
        let mut command = self.command("run");
        command.arg("--state").arg(self.path("state"));
        let command = command.args(["--log-format", "json"]);
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.running.push(child);
    }

    fn stop(&mut self, index: usize) {
        let child = &mut self.running[index];
        let id = child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(sent.success());
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn is_ready(&self, log: &str) -> bool {
        self.log(log).contains("\"message\":\"ready\"")
    }

    fn record(&self, name: &str) -> String {
        let path = format!("state/services/default/{name}.yaml");
        fs::read_to_string(self.path(&path)).unwrap_or_default()
    }
}

#[track_caller]
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Every record with the time it was written.
fn records(folder: &Path) -> Vec<(PathBuf, std::time::SystemTime)> {
    let mut found = Vec::new();
    for namespace in fs::read_dir(folder.join("services")).unwrap() {
        for file in fs::read_dir(namespace.unwrap().path()).unwrap() {
            let file = file.unwrap();
            found.push((file.path(), file.metadata().unwrap().modified().unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn addresses_are_recorded_and_a_restart_writes_nothing() {
    let files = [
        ("pool.yaml", POOL.to_owned()),
        ("web.yaml", service("web")),
        ("api.yaml", service("api")),
    ];
    let mut bench = Bench::new(&files);
    bench.start("log");
    wait_for("an address", || bench.record("web").contains("10.0.0.1"));
    assert!(bench.record("api").contains("10.0.0.0"));
    assert!(bench.is_ready("log"));

    fs::remove_file(bench.path("manifests/api.yaml")).unwrap();
    bench.put("new.yaml", &service("new"));
    wait_for("the next address", || {
        bench.record("new").contains("10.0.0.2")
    });
    wait_for("the removal", || bench.record("api").is_empty());
    bench.stop(0);

    let before = records(&bench.path("state"));
    assert_eq!(before.len(), 2);
    bench.start("again");
    wait_for("ready", || bench.is_ready("again"));
    std::thread::sleep(Duration::from_millis(500));
    bench.stop(1);
    assert_eq!(records(&bench.path("state")), before);
    assert!(!bench.log("again").contains("service has"));
}

#[test]
fn a_second_controller_waits_for_the_first_to_end() {
    let files = [("pool.yaml", POOL.to_owned()), ("web.yaml", service("web"))];
    let mut bench = Bench::new(&files);
    bench.start("first");
    wait_for("ready", || bench.is_ready("first"));
    bench.start("second");
    wait_for("waiting", || {
        bench.log("second").contains("another controller")
    });
    assert!(!bench.is_ready("second"));
    bench.stop(0);
    wait_for("taking over", || bench.is_ready("second"));
    bench.stop(1);
}

#[test]
fn i1_an_address_in_a_record_that_cannot_be_read_is_given_to_nobody() {
    let files = [
        ("pool.yaml", POOL.to_owned()),
        ("api.yaml", service("api")),
        ("web.yaml", service("web")),
    ];
    let mut bench = Bench::new(&files);
    bench.start("log");
    wait_for("an address", || bench.record("api").contains("10.0.0.0"));
    bench.stop(0);
    let good = bench.record("api");
    let place = bench.path("state/services/default/api.yaml");
    fs::write(&place, good.replace("status:", "status: [")).unwrap();
    bench.put("new.yaml", &service("new"));
    bench.start("again");
    wait_for("the refusal", || {
        bench.record("new").contains("cannot be read")
    });
    assert!(bench.record("web").contains("10.0.0.1"));
    assert!(bench.log("again").contains("default/api.yaml"));
    fs::write(&place, &good).unwrap();
    wait_for("the next address", || {
        bench.record("new").contains("10.0.0.2")
    });
    assert_eq!(bench.record("api"), good);
    bench.stop(1);
}

#[test]
fn a_record_that_cannot_be_written_is_told_once_and_stops_nothing() {
    let files = [
        ("pool.yaml", POOL.to_owned()),
        ("bad.yaml", service("bad")),
        ("web.yaml", service("web")),
    ];
    let mut bench = Bench::new(&files);
    // A folder where the temporary file or the record should go.
    fs::create_dir_all(bench.path("state/services")).unwrap();
    fs::write(bench.path("state/services/other"), "in the way").unwrap();
    bench.put(
        "other.yaml",
        &service("x").replace("{name: x}", "{name: x, namespace: other}"),
    );
    bench.start("log");
    wait_for("the others", || bench.record("web").contains("ip:"));
    wait_for("a report", || {
        bench.log("log").contains("failed to write records")
    });
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(
        bench.log("log").matches("failed to write records").count(),
        1
    );
    fs::remove_file(bench.path("state/services/other")).unwrap();
    wait_for("recovery", || bench.log("log").contains("written again"));
    bench.stop(0);
}

#[test]
fn plan_prints_json_and_what_does_not_parse_goes_to_stderr() {
    let files = [
        ("pool.yaml", POOL.to_owned()),
        ("web.yaml", service("web")),
        ("broken.yaml", "a: [".to_owned()),
    ];
    let bench = Bench::new(&files);
    let output = run(bench.command("plan").args(["-o", "json"]));
    assert_eq!(output.status.code(), Some(0));
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rows[0]["decision"], "Assign");
    assert_eq!(rows[0]["ingress"], serde_json::json!(["10.0.0.0"]));
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with("broken.yaml:"), "{stderr}");
    assert!(!bench.path("state").exists());
}

#[test]
fn check_exits_with_1_when_there_is_a_problem() {
    let bench = Bench::new(&[("pool.yaml", POOL.to_owned())]);
    let output = run(&mut bench.command("check"));
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), ""));
    let output = run(bench.command("check").args(["-o", "json"]));
    assert_eq!(text(&output.stdout), "[]\n");

    bench.put("broken.yaml", "a: [");
    let output = run(&mut bench.command("check"));
    assert_eq!(output.status.code(), Some(1));
    let stdout = text(&output.stdout);
    assert!(stdout.starts_with("broken.yaml:"), "{stdout}");
}

#[test]
fn without_a_directory_it_says_what_is_missing() {
    let output = run(Command::new(PROGRAM).arg("run"));
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("give --kubeconfig FILE, or --manifests DIR"),
        "{stderr}"
    );
    let output = run(Command::new(PROGRAM).args(["plan", "--manifests", "/nonexistent"]));
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/nonexistent"));
}
