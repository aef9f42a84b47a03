//! The two programs as black boxes in a temporary directory: command lines, exit statuses, and a
//! clear message for every bad input while everything else keeps running.
#![expect(clippy::disallowed_methods, reason = "manifests are files")]
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use ferrolb_tests::lab::Lab;
use ferrolb_tests::objects::{bgp, layer2, peer, pool, service, tcp};
use ferrolb_tests::process::Process;
use ferrolb_tests::{patience, programs};
use serde_json::Value;
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(15);

/// Manifests and state of one controller.
struct Site {
    dir: TempDir,
}

impl Site {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("manifests")).unwrap();
        let site = Self { dir };
        for (name, text) in files {
            site.place(name, text);
        }
        site
    }

    fn manifests(&self) -> PathBuf {
        self.dir.path().join("manifests")
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn place(&self, name: &str, text: &str) {
        let new = self.dir.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.manifests().join(name)).unwrap();
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(programs::controller().unwrap());
        command.arg(verb).arg("--manifests").arg(self.manifests());
        command
    }

    fn check(&self) -> Output {
        self.command("check").output().unwrap()
    }

    fn start(&self, state: &Path) -> Process {
        let mut command = self.command("run");
        command.arg("--state").arg(state);
        Process::start("controller", &mut command, self.dir.path()).unwrap()
    }

    fn run(&self) -> Process {
        let mut process = self.start(&self.state());
        process.await_line("ready", SOON).unwrap();
        process
    }

    fn record(&self, name: &str) -> Option<Value> {
        let path = self.state().join(format!("services/default/{name}.yaml"));
        serde_yaml::from_str(&fs::read_to_string(path).ok()?).ok()
    }

    fn address(&self, name: &str) -> Option<String> {
        let record = self.record(name)?;
        let ip = &record["status"]["loadBalancer"]["ingress"][0]["ip"];
        ip.as_str().map(str::to_owned)
    }

    fn await_address(&self, name: &str) -> String {
        let what = format!("an address for {name}");
        let (address, _) = patience::eventually(&what, SOON, || Ok(self.address(name))).unwrap();
        address
    }
}

fn web(name: &str) -> String {
    service(name, &tcp(&[(80, 30080)]))
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_wrong_command_line_exits_2() {
    for program in [
        programs::controller().unwrap(),
        programs::speaker().unwrap(),
    ] {
        for arguments in [
            vec!["--no-such-flag"],
            vec!["no-such-verb"],
            vec!["run", "--state"],
        ] {
            let output = Command::new(&program).args(&arguments).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{program:?} {arguments:?}");
            assert!(!stderr(&output).is_empty());
        }
    }
}

#[test]
fn without_manifests_and_outside_of_a_cluster_the_programs_say_what_is_missing() {
    for (program, arguments) in [
        (programs::controller().unwrap(), &["run"][..]),
        (programs::speaker().unwrap(), &["run", "--node-name", "n1"]),
    ] {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_remove("KUBERNETES_SERVICE_HOST");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        let words = stderr(&output);
        assert!(
            words.contains("kubeconfig") && words.contains("cluster"),
            "{words}"
        );
    }
}

#[test]
fn status_without_a_speaker_says_so_and_exits_1() {
    let mut command = Command::new(programs::speaker().unwrap());
    let output = command
        .args(["status", "--socket", "/nowhere/speaker.sock"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("/nowhere/speaker.sock"),
        "{}",
        stderr(&output)
    );
    for (address, code, word) in [
        ("192.0.2.1", 1, "/nowhere/speaker.sock"),
        ("192.0.2", 2, "--explain"),
    ] {
        let mut command = Command::new(programs::speaker().unwrap());
        command.args(["status", "--socket", "/nowhere/speaker.sock"]);
        let output = command.args(["--explain", address]).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{address}");
        assert!(stderr(&output).contains(word), "{}", stderr(&output));
    }
}

/// Every sample is valid, alone and, for the demo, as a whole.
#[test]
fn every_sample_passes_check() {
    let samples = programs::workspace().join("config/samples");
    let mut count = 0;
    for entry in fs::read_dir(&samples).unwrap().map(Result::unwrap) {
        let files: Vec<PathBuf> = match entry.file_type().unwrap().is_dir() {
            true => fs::read_dir(entry.path())
                .unwrap()
                .map(|file| file.unwrap().path())
                .collect(),
            false => vec![entry.path()],
        };
        let site = Site::new(&[]);
        for file in &files {
            fs::copy(file, site.manifests().join(file.file_name().unwrap())).unwrap();
        }
        let output = site.check();
        assert_eq!(stdout(&output), "", "{:?}", entry.path());
        assert_eq!(
            output.status.code(),
            Some(0),
            "{:?}: {}",
            entry.path(),
            stderr(&output)
        );
        count += files.len();
    }
    assert!(count > 15, "only {count} samples");
}

/// File, line, column, what is wrong; the table of every bad object that `check` must find.
#[test]
fn check_names_file_position_object_and_field_of_every_bad_input() {
    let cases: &[(&str, String, &[&str])] = &[
        (
            "no YAML",
            "kind: Service\n  metadata: [\n".to_owned(),
            &["bad.yaml:2:11: "],
        ),
        (
            "overlapping pools",
            pool("a", &["10.0.0.0/24"]) + &pool("b", &["10.0.0.128-10.0.0.130"]),
            &["bad.yaml:18:7: IPAddressPool/b: spec.addresses[0]: ", "overlaps with already defined CIDR"],
        ),
        (
            "a range backwards",
            pool("a", &["10.0.0.9-10.0.0.1"]),
            &["bad.yaml:9:7: IPAddressPool/a: spec.addresses[0]: "],
        ),
        (
            "a peer without an ASN",
            "apiVersion: metallb.io/v1beta2\nkind: BGPPeer\nmetadata:\n  name: r\n  namespace: metallb-system\nspec:\n  peerASN: 64501\n  peerAddress: 10.0.0.1\n".to_owned(),
            // A field that is missing is placed at its parent.
            &["bad.yaml:6:1: BGPPeer/r: spec.myASN: "],
        ),
        (
            "two objects of one name",
            web("web") + &web("web"),
            &["bad.yaml:", "Service/web: metadata.name: "],
        ),
        (
            "an unknown field",
            pool("a", &["10.0.0.0/24"]) + "  autoAsign: false\n",
            &["bad.yaml:10:3: IPAddressPool/a: spec.autoAsign: "],
        ),
        (
            "another namespace than the configuration's",
            pool("a", &["10.0.0.0/24"]).replace("metallb-system", "elsewhere"),
            &["IPAddressPool/a: metadata.namespace: ", "metallb-system"],
        ),
        (
            "a community nobody defined",
            bgp("a", "communities: [nobody]"),
            &["BGPAdvertisement/a: spec.communities[0]: "],
        ),
        (
            "an annotation with a value that makes no sense",
            bgp("a", "").replace(
                "  name: a\n",
                "  name: a\n  annotations:\n    ferrolb.io/bgp-med: \"-1\"\n",
            ),
            &["bad.yaml:7:5: BGPAdvertisement/a: metadata.annotations[ferrolb.io/bgp-med]: "],
        ),
        (
            "an annotation of ours that nobody knows",
            bgp("a", "").replace(
                "  name: a\n",
                "  name: a\n  annotations:\n    ferrolb.io/bgp-prepend: \"1\"\n",
            ),
            &["bad.yaml:7:5: BGPAdvertisement/a: metadata.annotations[ferrolb.io/bgp-prepend]: unknown"],
        ),
        (
            "an annotation of a peer with a value that makes no sense",
            peer("a", 64501, "10.0.0.1", "").replace(
                "  name: a\n",
                "  name: a\n  annotations:\n    ferrolb.io/bgp-source-port: \"0\"\n",
            ),
            &["bad.yaml:7:5: BGPPeer/a: metadata.annotations[ferrolb.io/bgp-source-port]: "],
        ),
        (
            "a Secret that is not there",
            peer("a", 64501, "10.0.0.1", "passwordSecret: {name: gone}"),
            &["BGPPeer/a: spec.passwordSecret"],
        ),
    ];
    for (what, text, expected) in cases {
        let site = Site::new(&[("bad.yaml", text)]);
        let output = site.check();
        assert_eq!(output.status.code(), Some(1), "{what}: {}", stdout(&output));
        for words in *expected {
            assert!(
                stdout(&output).contains(words),
                "{what}: wanted {words}\n{}",
                stdout(&output)
            );
        }
        assert_eq!(
            stdout(&output).lines().count(),
            1,
            "{what}:\n{}",
            stdout(&output)
        );

        let mut command = site.command("check");
        let output = command.args(["-o", "json"]).output().unwrap();
        let problems: Vec<Value> = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(problems[0]["file"], "bad.yaml", "{what}");
        assert!(problems[0]["line"].as_u64() >= Some(1), "{what}");
    }
}

/// I5: beside each of these, an ordinary Service gets its address, and the log names the culprit.
#[test]
fn i5_a_bad_object_stops_nothing_else() {
    let bad: &[(&str, String)] = &[
        ("bad.yaml:2:11", "kind: Service\n  metadata: [\n".to_owned()),
        (
            "IPAddressPool/backwards",
            pool("backwards", &["10.9.0.9-10.9.0.1"]),
        ),
        (
            "IPAddressPool/overlapping",
            pool("overlapping", &["10.0.0.0/30"]),
        ),
        (
            "BGPPeer/incomplete",
            peer("incomplete", 64501, "10.0.0.1", "").replace("myASN: 64500", ""),
        ),
        ("Service/web", web("web")),
    ];
    for (culprit, text) in bad {
        let good = pool("main", &["10.0.0.0/24"]) + &layer2("all", "") + &web("web");
        let good = good.replace(
            "  name: main\n",
            "  name: main\n  creationTimestamp: 2020-01-01T00:00:00Z\n",
        );
        let site = Site::new(&[("a-good.yaml", &good), ("bad.yaml", text)]);
        let mut controller = site.run();
        assert_eq!(site.await_address("web"), "10.0.0.0", "beside {culprit}");
        controller.await_line(culprit, SOON).unwrap();
        assert_eq!(controller.terminate(SOON).unwrap().code(), Some(0));
    }
}

/// I5: a file that is broken while the programs run keeps its last good objects in force.
#[test]
fn i5_a_manifest_broken_by_an_edit_keeps_its_last_good_objects() {
    let site = Site::new(&[
        ("pool.yaml", &pool("main", &["10.0.0.0/24"])),
        ("web.yaml", &web("web")),
    ]);
    let mut controller = site.run();
    assert_eq!(site.await_address("web"), "10.0.0.0");
    site.place("pool.yaml", "spec: {addresses: [\n");
    controller.await_line("pool.yaml:", SOON).unwrap();
    site.place("mail.yaml", &web("mail"));
    assert_eq!(site.await_address("mail"), "10.0.0.1");
    site.place("web.yaml", "spec: {addresses: [\n");
    controller.await_line("web.yaml:", SOON).unwrap();
    patience::throughout("the address of web", Duration::from_secs(1), || {
        site.address("web").as_deref() == Some("10.0.0.0")
    })
    .unwrap();
}

#[test]
fn a_request_that_cannot_be_met_says_why_in_the_record() {
    let asking = |name: &str, address: &str| {
        let annotation =
            format!("  name: {name}\n  annotations: {{metallb.io/loadBalancerIPs: {address}}}\n");
        web(name).replace(&format!("  name: {name}\n"), &annotation)
    };
    let services = web("a") + &asking("outside", "172.16.0.1") + &asking("taken", "10.0.0.0");
    let site = Site::new(&[
        ("pool.yaml", &pool("main", &["10.0.0.0/24"])),
        ("services.yaml", &services),
    ]);
    let _controller = site.run();
    assert_eq!(site.await_address("a"), "10.0.0.0");
    for (name, address) in [("outside", "172.16.0.1"), ("taken", "10.0.0.0")] {
        let what = format!("the reason for {name}");
        let (message, _) = patience::eventually(&what, SOON, || {
            let record = site.record(name).unwrap_or_default();
            let conditions = record["status"]["conditions"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let refused = conditions
                .into_iter()
                .find(|condition| condition["type"] == "ferrolb.io/Allocated");
            Ok(refused.and_then(|condition| condition["message"].as_str().map(str::to_owned)))
        })
        .unwrap();
        assert!(message.contains(address), "{name}: {message}");
        assert_eq!(site.address(name), None);
    }
}

/// I2 and I4: a restart keeps every address and writes nothing.
#[test]
fn i2_a_restart_changes_nothing() {
    let services: String = ["a", "b", "c"].into_iter().map(web).collect();
    let site = Site::new(&[
        ("pool.yaml", &pool("main", &["10.0.0.0/24"])),
        ("services.yaml", &services),
    ]);
    let mut controller = site.run();
    site.await_address("c");
    assert_eq!(controller.terminate(SOON).unwrap().code(), Some(0));
    let path = site.state().join("services/default/b.yaml");
    let before = (
        fs::read(&path).unwrap(),
        fs::metadata(&path).unwrap().modified().unwrap(),
    );

    let again = site.dir.path().join("again");
    fs::create_dir(&again).unwrap();
    let mut command = site.command("run");
    command.arg("--state").arg(site.state());
    let mut controller = Process::start("controller", &mut command, &again).unwrap();
    controller.await_line("ready", SOON).unwrap();
    patience::pause(Duration::from_millis(500)).unwrap();
    let after = (
        fs::read(&path).unwrap(),
        fs::metadata(&path).unwrap().modified().unwrap(),
    );
    assert_eq!(before, after);
}

/// I1: a second controller waits at the lock, and takes over when the first is gone.
#[test]
fn i1_a_second_controller_waits_without_ready_and_then_takes_over() {
    let site = Site::new(&[
        ("pool.yaml", &pool("main", &["10.0.0.0/24"])),
        ("web.yaml", &web("web")),
    ]);
    let mut first = site.run();
    assert_eq!(site.await_address("web"), "10.0.0.0");
    let beside = site.dir.path().join("beside");
    fs::create_dir(&beside).unwrap();
    let mut command = site.command("run");
    command.arg("--state").arg(site.state());
    let mut second = Process::start("controller", &mut command, &beside).unwrap();
    patience::pause(Duration::from_secs(1)).unwrap();
    assert!(!is_ready(&second), "{}", second.log());
    first.kill();
    second.await_line("ready", SOON).unwrap();
    site.place("mail.yaml", &web("mail"));
    assert_eq!(site.await_address("mail"), "10.0.0.1");
    assert_eq!(site.address("web").as_deref(), Some("10.0.0.0"));
}

fn is_ready(process: &Process) -> bool {
    process
        .log()
        .lines()
        .any(|line| line.split_whitespace().any(|word| word == "ready"))
}

/// A file system for the state that is unmounted when dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: &Path, options: &str) -> Self {
        fs::create_dir_all(at).unwrap();
        let mut command = Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(at);
        assert!(command.status().unwrap().success());
        Self(at.to_owned())
    }
}

impl Tmpfs {
    /// The directory mounted over itself, for reading only.
    fn bind_read_only(at: &Path) -> Self {
        let mount = |options: &str| {
            let mut command = Command::new("mount");
            command.args(["-o", options]).arg(at).arg(at);
            assert!(command.status().unwrap().success());
        };
        mount("bind");
        let mounted = Self(at.to_owned());
        mount("remount,bind,ro");
        mounted
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Root ignores modes; what it cannot write is a file system that is read-only. Mounted over the
/// state it is there for everybody who opens a path, and gone when it is unmounted.
#[test]
fn a_read_only_state_is_reported_and_written_when_it_can_be() {
    let site = Site::new(&[
        ("pool.yaml", &pool("main", &["10.0.0.0/24"])),
        ("web.yaml", &web("web")),
    ]);
    let mut controller = site.run();
    assert_eq!(site.await_address("web"), "10.0.0.0");
    let tmpfs = Tmpfs::mount(&site.state(), "ro");
    site.place("mail.yaml", &web("mail"));
    controller
        .await_line("Read-only file system", SOON)
        .unwrap();
    assert_eq!(controller.ended().unwrap(), None, "{}", controller.log());
    let complaints = controller.log().matches("Read-only file system").count();
    assert!(complaints < 5, "{}", controller.log());
    drop(tmpfs);
    assert_eq!(site.await_address("mail"), "10.0.0.1");
}

#[test]
fn a_full_state_is_reported_and_written_when_there_is_room() {
    let site = Site::new(&[
        ("pool.yaml", &pool("main", &["10.0.0.0/24"])),
        ("web.yaml", &web("web")),
    ]);
    let _tmpfs = Tmpfs::mount(&site.state(), "size=64k");
    let mut controller = site.run();
    assert_eq!(site.await_address("web"), "10.0.0.0");
    let ballast = site.state().join("ballast");
    // It fails when the file system is full, which is what is wanted.
    let _ = fs::write(&ballast, vec![0; 128 * 1024]);
    site.place("mail.yaml", &web("mail"));
    controller
        .await_line("No space left on device", SOON)
        .unwrap();
    assert_eq!(controller.ended().unwrap(), None);
    assert_eq!(site.address("web").as_deref(), Some("10.0.0.0"));
    fs::remove_file(ballast).unwrap();
    assert_eq!(site.await_address("mail"), "10.0.0.1");
}

#[test]
fn a_state_that_is_read_only_from_the_start_says_so() {
    let site = Site::new(&[
        ("pool.yaml", &pool("main", &["10.0.0.0/24"])),
        ("web.yaml", &web("web")),
    ]);
    let _tmpfs = Tmpfs::mount(&site.state(), "ro");
    let mut controller = site.start(&site.state());
    controller
        .await_line("Read-only file system", SOON)
        .unwrap();
}

/// The speaker's side of a state it cannot write: announcing goes on.
#[test]
fn a_speaker_that_cannot_write_its_state_announces_all_the_same() {
    let mut lab = Lab::new(1).unwrap();
    let routed = pool("routed", &["198.51.100.0/28"])
        + &bgp("routed", "")
        + &peer("r", 64501, "192.168.1.1", "");
    lab.manifest("routed.yaml", &(routed + &web("web")))
        .unwrap();
    lab.start_controller().unwrap();
    lab.await_addresses("web", 1).unwrap();
    // A read-only view of the real state: what the controller wrote can be read.
    let _view = Tmpfs::bind_read_only(&lab.state());
    let _router = lab.router(&lab.neighbours(64501, 64500)).unwrap();
    lab.start_speakers().unwrap();
    let hop = ["192.168.1.11".to_owned()];
    lab.await_next_hops("198.51.100.0/32", &hop, SOON).unwrap();
    lab.speaker(1)
        .unwrap()
        .await_line("Read-only file system", SOON)
        .unwrap();
}

#[test]
fn the_table_of_plan_names_every_pool_considered_and_unparsed_files_go_to_stderr() {
    let pools =
        pool("closed", &["10.0.1.0/24"]) + "  autoAssign: false\n" + &pool("six", &["fd00::/120"]);
    let site = Site::new(&[
        ("pools.yaml", &pools),
        ("web.yaml", &web("web")),
        ("bad.yaml", "a: [\n"),
    ]);
    let output = site.command("plan").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for words in ["default/web", "closed", "six"] {
        let table = stdout(&output);
        let is_there = table.contains(words) || (words == "default/web" && table.contains("web"));
        assert!(is_there, "{words} is not in\n{table}");
    }
    assert!(stderr(&output).contains("bad.yaml:"), "{}", stderr(&output));
}
