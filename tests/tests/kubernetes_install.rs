//! `config/`: that an API server takes all of it, and that the programs do their work as its
//! manifests start them, with the tokens and the roles of `config/rbac` and nothing else.
#![expect(clippy::disallowed_methods, reason = "manifests are files")]
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ferrolb_crds::model::ServiceKey;
use ferrolb_speaker::reports::{self, Key};
use ferrolb_tests::kubernetes::cluster::{Cluster, ProxyMode, Workload};
use ferrolb_tests::kubernetes::container::Place;
use ferrolb_tests::kubernetes::{ControlPlane, Settings};
use ferrolb_tests::netns::Namespace;
use ferrolb_tests::process::{Process, output};
use ferrolb_tests::{objects, patience, programs};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);
const NAMESPACE: &str = "metallb-system";
const CONFIGURATION: &str = "/apis/metallb.io/v1beta1/namespaces/metallb-system";
const CONTROLLER: &str = "/apis/apps/v1/namespaces/metallb-system/deployments/controller";
const SPEAKER: &str = "/apis/apps/v1/namespaces/metallb-system/daemonsets/speaker";

const PEERS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/bgppeers.metallb.io";

/// Verbs of accounts, as `GROUP/RESOURCE VERB`.
type Rights = BTreeSet<String>;

fn config(file: &str) -> PathBuf {
    programs::workspace().join("config").join(file)
}

fn read(file: &str) -> String {
    fs::read_to_string(config(file)).unwrap()
}

fn documents(text: &str) -> Vec<Value> {
    let documents = text.trim_start_matches("---\n").split("\n---\n");
    documents
        .map(|one| serde_yaml::from_str(one).unwrap())
        .collect()
}

/// Kind and name, sorted.
fn names(objects: &[Value]) -> Vec<String> {
    let name = |object: &Value| format!("{} {}", object["kind"], object["metadata"]["name"]);
    let mut names: Vec<String> = objects.iter().map(name).collect();
    names.sort();
    names
}

/// Of a server whose lists do not stream, so that objects are listed, too.
fn unstreamed() -> Settings {
    Settings {
        apiserver_arguments: vec!["--feature-gates=WatchList=false".to_owned()],
        ..Settings::default()
    }
}

/// A server that everything is installed on.
fn plane() -> ControlPlane {
    let plane = ControlPlane::alone(unstreamed()).unwrap();
    install(&plane);
    plane
}

fn install(plane: &ControlPlane) {
    let file = config("install.yaml");
    let words = ["apply", "--validate=strict", "-f", file.to_str().unwrap()];
    plane.kubectl(&words, None).unwrap();
    wait_for_definitions(plane);
}

fn wait_for_definitions(plane: &ControlPlane) {
    let words = ["wait", "--for=condition=Established", "crd", "--all"];
    plane.kubectl(&words, None).unwrap();
}

fn controller(plane: &ControlPlane, pod: &str) -> Process {
    let place = Place {
        network: plane.namespace(),
        pod,
        node: "n1",
        host: "192.168.1.11".parse().unwrap(),
    };
    let deployment = plane.get(CONTROLLER).unwrap();
    let program = programs::controller().unwrap();
    plane.contain(&deployment, &program, place).unwrap()
}

/// What the roles of a file allow.
fn granted(file: &str) -> Rights {
    let words = |list: &Value| -> Vec<String> {
        let words = list.as_array().into_iter().flatten();
        words
            .map(|word| word.as_str().unwrap().to_owned())
            .collect()
    };
    let mut rights = Rights::new();
    for role in documents(&read(file)) {
        for rule in role["rules"].as_array().into_iter().flatten() {
            for group in words(&rule["apiGroups"]) {
                for resource in words(&rule["resources"]) {
                    let verbs = words(&rule["verbs"]);
                    rights.extend(
                        verbs
                            .iter()
                            .map(|verb| format!("{group}/{resource} {verb}")),
                    );
                }
            }
        }
    }
    rights
}

/// What an account has asked for and got; the second is what it was refused.
fn used(plane: &ControlPlane, account: &str) -> (Rights, Rights) {
    let user = format!("system:serviceaccount:{NAMESPACE}:{account}");
    let all = plane.audit().requests(Default::default()).unwrap();
    let (mut used, mut refused) = (Rights::new(), Rights::new());
    for request in all.into_iter().filter(|request| request.user == user) {
        let parts = [request.resource, request.subresource];
        let resource = parts.join("/");
        let right = format!(
            "{}/{} {}",
            request.group,
            resource.trim_end_matches('/'),
            request.verb
        );
        match request.code {
            401 | 403 => refused.insert(right),
            _ => used.insert(right),
        };
    }
    (used, refused)
}

/// After its end, when every watch is in the log.
fn assert_uses_its_role(plane: &ControlPlane, account: &str, file: &str) {
    let granted = granted(file);
    let is_all = || used(plane, account).0 == granted;
    let outcome = patience::until("every right to be used", SOON, is_all);
    let (used, refused) = used(plane, account);
    let idle: Vec<_> = granted.difference(&used).collect();
    outcome.unwrap_or_else(|error| panic!("{error:#}: {idle:?} are granted for nothing"));
    assert!(refused.is_empty(), "{refused:?} are needed and not granted");
}

fn address_of(plane: &ControlPlane, service: &str) -> Option<IpAddr> {
    let path = format!("/api/v1/namespaces/default/services/{service}");
    let object = plane.get(&path).unwrap();
    object["status"]["loadBalancer"]["ingress"][0]["ip"]
        .as_str()?
        .parse()
        .ok()
}

/// The HTTP status that is answered inside a network.
fn code(network: &Namespace, place: &str) -> String {
    let mut command = network.command("curl");
    command.args(["-s", "--max-time", "2", "--noproxy", "*", "-o", "/dev/null"]);
    command
        .args(["-w", "%{http_code}"])
        .arg(format!("http://{place}"));
    // A program that does not listen yet is no error.
    output(&mut command).unwrap_or_default()
}

#[test]
fn install_yaml_is_what_the_kustomization_lists_in_that_order() {
    let kustomization = documents(&read("kustomization.yaml")).remove(0);
    let files = kustomization["resources"].as_array().unwrap().iter();
    let parts = files.map(|file| format!("---\n{}", read(file.as_str().unwrap())));
    let whole: String = parts.collect();
    assert_eq!(read("install.yaml"), whole, "run `make generated`");
    let definitions = fs::read_dir(config("crd")).unwrap().count();
    let installed = documents(&whole);
    let is_definition = |object: &&Value| object["kind"] == "CustomResourceDefinition";
    assert_eq!(installed.iter().filter(is_definition).count(), definitions);
}

#[test]
fn the_api_server_takes_every_object_and_knows_every_field() {
    let plane = ControlPlane::alone(Settings::default()).unwrap();
    install(&plane);
    // What it made of them is what they say: there is nothing to change in any.
    let file = config("install.yaml");
    let words = ["apply", "--validate=strict", "-f", file.to_str().unwrap()];
    let again = plane.kubectl(&words, None).unwrap();
    assert!(
        again.lines().all(|line| line.ends_with(" unchanged")),
        "{again}"
    );

    let directory = config("");
    let words = ["kustomize", directory.to_str().unwrap()];
    let built = documents(&plane.kubectl(&words, None).unwrap());
    assert_eq!(names(&built), names(&documents(&read("install.yaml"))));

    // Its namespace lets in what is needed, and another one would let in the controller.
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let strict = json!({"metadata": {"name": "strict", "labels": labels}});
    plane.post("/api/v1/namespaces", &strict).unwrap();
    let admits = |namespace: &str, workload: &str| {
        let template = plane.get(workload).unwrap()["spec"]["template"].clone();
        let pod = json!({"metadata": {"name": "pod"}, "spec": template["spec"]});
        let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
        plane.request("POST", &path, Some(&pod)).unwrap().code
    };
    assert_eq!(
        (admits(NAMESPACE, CONTROLLER), admits(NAMESPACE, SPEAKER)),
        (201, 201)
    );
    assert_eq!(
        (admits("strict", CONTROLLER), admits("strict", SPEAKER)),
        (201, 403)
    );
}

#[test]
fn the_controller_does_its_work_with_its_role_and_needs_all_of_it() {
    let plane = plane();
    let configuration = [
        objects::pool("pool", &["192.168.1.240-192.168.1.249"]),
        objects::layer2("all", "ipAddressPools: [pool]"),
        objects::peer("tor", 64501, "192.168.1.1", "passwordSecret: {name: word}"),
        objects::service("web", "ports: [{port: 80}]"),
    ];
    plane.apply(&configuration.concat()).unwrap();
    let mut process = controller(&plane, "controller-0");
    patience::until("an address", SOON, || address_of(&plane, "web").is_some()).unwrap();

    let holds = |what: &str, path: &str, holds: &dyn Fn(&Value) -> bool| {
        let there = || plane.get(path).is_ok_and(|object| holds(&object));
        patience::until(what, SOON, there).unwrap();
    };
    let state = format!("{CONFIGURATION}/configurationstates/controller");
    holds("a verdict", &state, &|state| {
        state["status"]["result"].is_string()
    });
    let pool = format!("{CONFIGURATION}/ipaddresspools/pool");
    holds("a count", &pool, &|pool| {
        pool["status"]["assignedIPv4"] == 1
    });
    let events = "/api/v1/namespaces/default/events";
    holds("an event", events, &|events| {
        events["items"][0]["reason"] == "IPAllocated"
    });
    let secret = format!("/api/v1/namespaces/{NAMESPACE}/secrets/memberlist");
    holds("a key", &secret, &|secret| {
        let owner = &secret["metadata"]["ownerReferences"][0];
        secret["data"]["secretkey"].is_string() && owner["kind"] == "Deployment"
    });
    let lease =
        format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/ferrolb-controller");
    let renewed = || plane.get(&lease).unwrap()["spec"].clone();
    let before = renewed();
    let holder = before["holderIdentity"].as_str().unwrap();
    assert!(holder.starts_with("controller-0_"), "{holder}");
    let is_later = || renewed()["renewTime"] != before["renewTime"];
    patience::until("the Lease to be renewed", SOON, is_later).unwrap();

    assert_eq!(code(plane.namespace(), "127.0.0.1:17472/healthz"), "200");
    assert_eq!(code(plane.namespace(), "[::1]:17472/readyz"), "200");
    // Another one stands by, and goes on where the first leaves.
    let mut second = controller(&plane, "controller-1");
    second.await_line("standing by", SOON).unwrap();
    assert!(process.terminate(SOON).unwrap().success());
    second.await_line("ready", SOON).unwrap();
    assert!(second.terminate(SOON).unwrap().success());
    for log in [process.log(), second.log()] {
        assert!(!log.contains("forbidden"), "{log}");
    }
    assert_uses_its_role(&plane, "controller", "rbac/controller.yaml");
}

/// The whole installation: from a Service to an answer, and to what is said of it.
#[test]
fn a_speaker_does_its_work_with_its_role_and_needs_all_of_it() {
    let mut cluster = Cluster::start(1, ProxyMode::Nftables, unstreamed()).unwrap();
    install(&cluster.plane);
    let peers = [
        objects::peer("tor", 64501, "192.168.1.1", ""),
        objects::peer("top", 64501, "192.168.1.2", "passwordSecret: {name: word}"),
    ];
    let configuration = [
        objects::pool("pool", &["192.168.1.240-192.168.1.249"]),
        objects::layer2("all", "ipAddressPools: [pool]"),
        objects::bgp("all", "ipAddressPools: [pool]"),
        objects::service(
            "web",
            "selector: {app: web}\nports: [{port: 80, targetPort: 8080}]",
        ),
    ];
    cluster.plane.apply(&peers.concat()).unwrap();
    cluster.plane.apply(&configuration.concat()).unwrap();
    // Somebody has made objects with the names of its own.
    let service = ServiceKey::new("default", "web");
    let keys = [
        Key::Layer2(service.clone()),
        Key::Bgp(service),
        Key::Session("tor".to_owned()),
    ];
    for key in &keys {
        let mut object = reports::metadata(key, "n1", None);
        object["metadata"]["labels"].take();
        cluster
            .plane
            .post(&key.sort().path(NAMESPACE), &object)
            .unwrap();
    }
    let web = Workload {
        namespace: "default",
        name: "web-1",
        app: "web",
        node: 1,
        ports: &[8080],
    };
    cluster.run(&web).unwrap();

    let (plane, node) = (&cluster.plane, cluster.node(1));
    let host = node.v4.into();
    let place = |pod| Place {
        network: &node.namespace,
        pod,
        node: "n1",
        host,
    };
    let daemon_set = plane.get(SPEAKER).unwrap();
    let program = programs::speaker().unwrap();
    let mut speaker = plane
        .contain(&daemon_set, &program, place("speaker-0"))
        .unwrap();
    let mut controller = controller(plane, "controller-0");

    patience::until("an address", SOON, || address_of(plane, "web").is_some()).unwrap();
    let address = address_of(plane, "web").unwrap();
    let client = &cluster.lab.segment.neighbour.namespace;
    let answer = || cluster.lab.curl(client, address, 80);
    patience::until("an answer", SOON, || answer().is_some()).unwrap();
    assert!(answer().unwrap().contains("web-1"));
    assert_eq!(code(&node.namespace, "127.0.0.1:17472/readyz"), "200");
    assert_eq!(
        code(&node.namespace, &format!("{host}:9120/metrics")),
        "200"
    );

    for key in &keys {
        let path = format!(
            "{}/{}",
            key.sort().path(NAMESPACE),
            reports::name(key, "n1")
        );
        let is_said = || plane.get(&path).unwrap()["status"]["node"] == "n1";
        patience::until(&path, SOON, is_said).unwrap();
    }
    let state = format!("{CONFIGURATION}/configurationstates/speaker-n1");
    let is_valid = || {
        plane
            .get(&state)
            .is_ok_and(|state| state["status"]["result"].is_string())
    };
    patience::until("a verdict", SOON, is_valid).unwrap();
    plane.kubectl(&["delete", "service", "web"], None).unwrap();
    plane
        .kubectl(&["delete", "bgppeers", "--all", "-n", NAMESPACE], None)
        .unwrap();
    for key in &keys {
        let path = key.sort().path(NAMESPACE);
        let is_empty = || plane.get(&path).unwrap()["items"] == json!([]);
        patience::until(&path, SOON, is_empty).unwrap();
    }

    assert!(speaker.terminate(SOON).unwrap().success());
    assert!(controller.terminate(SOON).unwrap().success());
    assert!(!speaker.log().contains("forbidden"), "{}", speaker.log());
    assert_uses_its_role(plane, "speaker", "rbac/speaker.yaml");
    assert!(used(plane, "controller").1.is_empty());
}

/// `docs/operating.md`, "Coming from MetalLB", step by step.
#[test]
fn coming_from_metallb_leaves_none_of_its_webhooks_and_rights_behind() {
    let plane = ControlPlane::alone(Settings::default()).unwrap();
    let manifest = metallbs_manifest();
    plane.kubectl(&["apply", "-f", &manifest], None).unwrap();
    wait_for_definitions(&plane);
    // Its controller puts a certificate there.
    let mut encode = Command::new("base64");
    encode.arg("--wrap=0").arg(plane.path().join("pki/ca.crt"));
    let bundle = json!({"caBundle": output(&mut encode).unwrap()});
    let webhook = json!({"spec": {"conversion": {"webhook": {"clientConfig": bundle}}}});
    plane.patch(PEERS, &webhook).unwrap();
    let pool = objects::pool("pool", &["192.168.1.240-192.168.1.249"]);
    let refused = plane.apply(&pool).unwrap_err();
    assert!(
        format!("{refused:#}").contains("failed calling webhook"),
        "{refused:#}"
    );

    let webhooks = "validatingwebhookconfiguration/metallb-webhook-configuration";
    plane.kubectl(&["delete", webhooks], None).unwrap();
    let workloads = ["deployment/controller", "daemonset/speaker"];
    let words = ["delete", "-n", NAMESPACE, workloads[0], workloads[1]];
    plane.kubectl(&words, None).unwrap();
    install(&plane);

    let conversion = plane.get(PEERS).unwrap()["spec"]["conversion"].clone();
    assert_eq!(conversion, json!({"strategy": "None"}));
    plane.apply(&pool).unwrap();
    for account in ["controller", "speaker"] {
        let roles = bound(&plane, account);
        let wanted = match account {
            "controller" => ["controller", "metallb-system:controller"],
            _ => ["metallb-system:speaker", "pod-lister"],
        };
        assert_eq!(
            roles,
            BTreeSet::from(wanted.map(str::to_owned)),
            "{account}"
        );
        let file = format!("rbac/{account}.yaml");
        for role in documents(&read(&file))
            .iter()
            .filter(|one| one["rules"].is_array())
        {
            let kind = role["kind"].as_str().unwrap();
            let name = role["metadata"]["name"].as_str().unwrap();
            let words = ["get", kind, name, "-n", NAMESPACE, "-o", "json"];
            let there: Value = serde_json::from_str(&plane.kubectl(&words, None).unwrap()).unwrap();
            assert_eq!(there["rules"], role["rules"], "{kind} {name}");
        }
    }
}

/// The roles that an account has.
fn bound(plane: &ControlPlane, account: &str) -> BTreeSet<String> {
    let words = [
        "get",
        "clusterrolebindings,rolebindings",
        "-n",
        NAMESPACE,
        "-o",
        "json",
    ];
    let list: Value = serde_json::from_str(&plane.kubectl(&words, None).unwrap()).unwrap();
    let subject = json!({"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE});
    let bindings = list["items"].as_array().unwrap().iter();
    let own = bindings.filter(|binding| {
        let subjects = binding["subjects"].as_array().into_iter().flatten();
        subjects.into_iter().any(|one| *one == subject)
    });
    own.map(|binding| binding["roleRef"]["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Of the version that the proofs compare with, from where its programs were built.
fn metallbs_manifest() -> String {
    let program = programs::metallb("controller").unwrap();
    let name = program
        .parent()
        .unwrap()
        .file_name()
        .unwrap()
        .to_string_lossy();
    let version = name.strip_prefix("metallb-").unwrap();
    let mut command = Command::new("go");
    command.args(["mod", "download", "-json"]);
    command.arg(format!("go.universe.tf/metallb@{version}"));
    let module: Value = serde_json::from_str(&output(&mut command).unwrap()).unwrap();
    format!(
        "{}/config/manifests/metallb-native.yaml",
        module["Dir"].as_str().unwrap()
    )
}

/// Each is taken away, and is missed.
#[test]
fn a_right_that_is_taken_away_is_missed() {
    const CLUSTER: &str =
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/metallb-system:controller";
    const OWN: &str =
        "/apis/rbac.authorization.k8s.io/v1/namespaces/metallb-system/roles/controller";
    let plane = plane();
    let pool = objects::pool("pool", &["192.168.1.240-192.168.1.249"]);
    plane.apply(&pool).unwrap();
    for (number, (role, resource, verb, words)) in [
        (
            CLUSTER,
            "services/status",
            "patch",
            "failed to write statuses",
        ),
        (CLUSTER, "events", "create", "failed to report"),
        (CLUSTER, "nodes", "watch", "cannot read from the API server"),
        (OWN, "leases", "update", "failed to read or write the Lease"),
    ]
    .into_iter()
    .enumerate()
    {
        let rules = plane.get(role).unwrap()["rules"].clone();
        let all = rules.as_array().unwrap().iter();
        let others = all.filter(|rule| rule["resources"] != json!([resource]));
        let others: Vec<_> = others.collect();
        plane.patch(role, &json!({"rules": others})).unwrap();
        let may = || may(&plane, resource, verb);
        patience::until("the right to be gone", SOON, || !may()).unwrap();

        let service = objects::service(&format!("web{number}"), "ports: [{port: 80}]");
        plane.apply(&service).unwrap();
        let mut process = controller(&plane, &format!("controller-{number}"));
        process.await_line(words, SOON).unwrap();
        assert!(process.log().contains("forbidden"), "{}", process.log());
        process.kill();

        plane.patch(role, &json!({"rules": rules})).unwrap();
        patience::until("the right to be back", SOON, may).unwrap();
    }
}

/// What the API server says to the controller's account.
fn may(plane: &ControlPlane, resource: &str, verb: &str) -> bool {
    let group = match resource {
        "leases" => "coordination.k8s.io",
        _ => "",
    };
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let review = json!({"spec": {
        "user": format!("system:serviceaccount:{NAMESPACE}:controller"),
        "resourceAttributes": {
            "namespace": NAMESPACE, "group": group, "verb": verb, "name": "ferrolb-controller",
            "resource": resource, "subresource": subresource,
        },
    }});
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    plane.post(path, &review).unwrap()["status"]["allowed"] == true
}

/// What its manifests, its chart and its documentation set in version 0.16.1.
#[test]
fn the_controller_takes_every_flag_and_variable_of_metallbs() {
    let flags = [
        "--port=9120",
        "--namespace=metallb-system",
        "--ml-secret-name=memberlist",
        "--deployment=controller",
        "--log-level=info",
        "--pprof-bind-address=127.0.0.1:6060",
        "--health-probe-port=17472",
        "--disable-cert-rotation=false",
        "--cert-dir=/tmp/certificates",
        "--cert-service-name=metallb-webhook-service",
        "--lb-class=",
        "--webhook-mode=enabled",
        "--webhook-secret=metallb-webhook-cert",
        "--pod-name=controller-0",
        "--webhook-http2=false",
        "--tls-min-version=VersionTLS12",
        "--tls-cipher-suites=",
        "--tls-curve-preferences=",
        "--metrics-cert-dir=",
    ];
    let variables = [
        ("METALLB_NAMESPACE", NAMESPACE),
        ("METALLB_ML_SECRET_NAME", "memberlist"),
        ("METALLB_DEPLOYMENT", "controller"),
        ("METALLB_POD_NAME", "controller-0"),
        ("METALLB_BGP_TYPE", "native"),
    ];
    let ignored = [
        "--bgp-type",
        "--pprof-bind-address",
        "--disable-cert-rotation",
        "--cert-dir",
        "--cert-service-name",
        "--webhook-mode",
        "--webhook-secret",
        "--webhook-http2",
        "--tls-min-version",
        "--tls-cipher-suites",
        "--tls-curve-preferences",
        "--metrics-cert-dir",
    ];
    assert_accepts(
        &programs::controller().unwrap(),
        &flags,
        &variables,
        &ignored,
    );
}

#[test]
fn a_speaker_takes_every_flag_and_variable_of_metallbs() {
    let flags = [
        "--bgp-debounce-timeout=3000",
        "--namespace=metallb-system",
        "--host=192.168.1.11",
        "--ml-bindaddr=192.168.1.11",
        "--ml-bindport=7946",
        "--ml-labels=app=metallb,component=speaker",
        "--ml-secret-key-path=/etc/ml_secret_key",
        "--ml-wan-config=false",
        "--node-name=n1",
        "--pod-name=speaker-0",
        "--port=9120",
        "--log-level=info",
        "--pprof-bind-address=127.0.0.1:6060",
        "--health-probe-port=17472",
        "--lb-class=",
        "--ignore-exclude-lb=false",
        "--frrk8s-namespace=frr-k8s-system",
        "--frrk8s-secret-passthrough=false",
        "--tls-min-version=VersionTLS12",
        "--tls-cipher-suites=",
        "--tls-curve-preferences=",
        "--metrics-cert-dir=",
    ];
    let variables = [
        ("METALLB_NODE_NAME", "n1"),
        ("METALLB_POD_NAME", "speaker-0"),
        ("METALLB_HOST", "192.168.1.11"),
        ("METALLB_NAMESPACE", NAMESPACE),
        ("METALLB_BGP_TYPE", "frr-k8s"),
        ("METALLB_BGP_DEBOUNCE_TIMEOUT", "3000"),
        ("METALLB_ML_BIND_ADDR", "192.168.1.11"),
        ("METALLB_ML_BIND_PORT", "7946"),
        ("METALLB_ML_LABELS", "app=metallb,component=speaker"),
        ("METALLB_ML_SECRET_KEY_PATH", "/etc/ml_secret_key"),
        ("METALLB_ML_SECRET_NAME", "memberlist"),
        ("FRRK8S_NAMESPACE", "frr-k8s-system"),
        ("FRR_CONFIG_FILE", "/etc/frr_reloader/frr.conf"),
        ("FRR_RELOADER_PID_FILE", "/etc/frr_reloader/reloader.pid"),
        ("FRR_LOGGING_LEVEL", "informational"),
    ];
    let ignored = [
        "--bgp-debounce-timeout",
        "METALLB_BGP_TYPE",
        "--host",
        "--ml-bindaddr",
        "--ml-bindport",
        "--ml-labels",
        "--ml-wan-config",
        "--pprof-bind-address",
        "--frrk8s-namespace",
        "--frrk8s-secret-passthrough",
        "FRR_CONFIG_FILE",
        "FRR_RELOADER_PID_FILE",
        "FRR_LOGGING_LEVEL",
        "--tls-min-version",
        "--tls-cipher-suites",
        "--tls-curve-preferences",
        "--metrics-cert-dir",
    ];
    assert_accepts(&programs::speaker().unwrap(), &flags, &variables, &ignored);
}

/// As flags and as variables, all at once: it starts, and says which have no meaning.
fn assert_accepts(program: &Path, flags: &[&str], variables: &[(&str, &str)], ignored: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let mut words = String::new();
    for (name, flags, variables) in [("flags", flags, &[][..]), ("variables", &[], variables)] {
        let mut command = Command::new(program);
        command.arg("run").arg("--manifests").arg(dir.path());
        command.arg("--state").arg(dir.path().join("state"));
        command.args(flags).envs(variables.iter().copied());
        if program.ends_with("ferrolb-speaker") {
            command.arg("--socket").arg(dir.path().join("socket"));
        }
        let mut process = Process::start(name, &mut command, dir.path()).unwrap();
        process.await_line("ready", SOON).unwrap();
        assert!(process.terminate(SOON).unwrap().success());
        words.push_str(&process.log());
    }
    for flag in ignored {
        assert!(words.contains(&format!("\"{flag}\"")), "{flag} in {words}");
    }
}
