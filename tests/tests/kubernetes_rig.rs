//! The rig itself: what the proofs against a real Kubernetes take for granted about it.
#![expect(clippy::disallowed_methods, reason = "proofs measure time")]
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ferrolb_tests::kubernetes::audit::Write;
use ferrolb_tests::kubernetes::cluster::{Cluster, ProxyMode, Workload};
use ferrolb_tests::kubernetes::objects::Pod;
use ferrolb_tests::kubernetes::tenant::Tenant;
use ferrolb_tests::kubernetes::{ADDRESS, ControlPlane, Part, Settings};
use ferrolb_tests::netns::Namespace;
use ferrolb_tests::process::output;
use ferrolb_tests::{patience, programs};
use serde_json::json;

const SOON: Duration = Duration::from_secs(15);

#[test]
fn a_control_plane_is_ready_in_seconds_and_leaves_nothing_behind() {
    let begin = Instant::now();
    let plane = ControlPlane::alone(Settings::default()).unwrap();
    let elapsed = begin.elapsed();
    // Ten seconds are promised; a machine that does other things meanwhile may take longer.
    assert!(elapsed < Duration::from_secs(100), "{elapsed:?}");
    let (name, path) = (plane.namespace().name().to_owned(), plane.path().to_owned());
    drop(plane);
    assert!(!is_there(&name, &path));
}

#[test]
fn one_that_is_killed_leaves_nothing_behind() {
    let own = std::env::current_exe().unwrap();
    let name = "a_control_plane_that_is_never_dropped";
    let mut command = Command::new(own);
    command.args(["--exact", name, "--ignored", "--nocapture"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let words = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut words = words.map(Result::unwrap);
    let line = words.find_map(|line| Some(line.split_once("I am ")?.1.to_owned()));
    let line = line.unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    let [name, path, etcd] = words[..] else {
        panic!("{line}");
    };
    let etcd = Path::new("/proc").join(etcd);
    assert!(is_there(name, Path::new(path)) && etcd.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    patience::until("nothing to be left", SOON, || {
        !is_there(name, Path::new(path)) && !etcd.exists()
    })
    .unwrap();
}

#[test]
#[ignore = "is run, and killed, by the one above"]
fn a_control_plane_that_is_never_dropped() {
    let mut plane = ControlPlane::alone(Settings::default()).unwrap();
    let etcd = plane.process(Part::Etcd).unwrap().pid();
    let (name, path) = (plane.namespace().name(), plane.path());
    println!("I am {name} {} {etcd}", path.display());
    patience::pause(Duration::from_secs(60)).unwrap();
}

#[test]
fn kubectl_creates_reads_changes_and_deletes() {
    let tenant = Tenant::new().unwrap();
    let kubectl = |arguments: &[&str]| tenant.kubectl(arguments, None).unwrap();
    kubectl(&["create", "configmap", "words", "--from-literal=first=one"]);
    let first = ["get", "configmap", "words", "-o", "jsonpath={.data.first}"];
    assert_eq!(kubectl(&first), "one");
    let manifest = "{apiVersion: v1, kind: ConfigMap, metadata: {name: words}, data: {first: two}}";
    let apply = tenant.kubectl(&["apply", "-f", "-"], Some(manifest));
    assert_eq!(apply.unwrap(), "configmap/words configured\n");
    assert_eq!(kubectl(&first), "two");
    kubectl(&["delete", "configmap", "words"]);
    let error = tenant.kubectl(&first, None).unwrap_err();
    assert!(format!("{error:#}").contains("NotFound"), "{error:#}");
    let path = tenant.path("configmaps/words");
    assert_eq!(tenant.plane.request("GET", &path, None).unwrap().code, 404);
}

#[test]
fn a_client_in_the_own_process_reaches_the_server_from_inside_its_namespace() {
    let tenant = Tenant::new().unwrap();
    let namespace = tenant.plane.namespace();
    let stream = namespace.inside(|| TcpStream::connect((ADDRESS, 6443)));
    // The socket stays inside although the thread that made it has ended.
    let peer = stream.unwrap().unwrap().peer_addr().unwrap();
    assert_eq!(peer.to_string(), "192.168.1.2:6443");
}

#[test]
fn a_service_with_a_ready_pod_has_an_endpoint_and_with_an_unready_one_none() {
    let tenant = Tenant::new().unwrap();
    let (plane, namespace) = (tenant.plane, tenant.namespace.as_str());
    let host: IpAddr = "192.168.1.11".parse().unwrap();
    let address: IpAddr = "10.244.1.2".parse().unwrap();
    let node = format!("{namespace}-n1");
    plane.create_node(&node, &[host]).unwrap();
    let pod = Pod {
        namespace,
        name: "web-1",
        app: "web",
        node: &node,
        host,
        addresses: &[address],
    };
    plane.create_pod(&pod).unwrap();
    let expose = ["create", "service", "loadbalancer", "web", "--tcp=80:8080"];
    tenant.kubectl(&expose, None).unwrap();
    let endpoints_are = |wanted: &[IpAddr]| {
        let what = format!("endpoints {wanted:?}");
        let elapsed = patience::until(&what, SOON, || {
            let endpoints = plane.ready_endpoints(namespace, "web");
            endpoints.is_ok_and(|endpoints| endpoints == wanted)
        });
        elapsed.unwrap();
    };
    endpoints_are(&[address]);
    plane.mark_pod(namespace, "web-1", false).unwrap();
    endpoints_are(&[]);
    plane.mark_pod(namespace, "web-1", true).unwrap();
    endpoints_are(&[address]);
    plane.delete_pod(namespace, "web-1").unwrap();
    endpoints_are(&[]);
}

#[test]
fn a_token_may_do_what_its_role_says_and_the_audit_log_knows_who_did_what() {
    let tenant = Tenant::new().unwrap();
    let kubectl = |arguments: &[&str]| tenant.kubectl(arguments, None).unwrap();
    kubectl(&["create", "serviceaccount", "writer"]);
    kubectl(&[
        "create",
        "role",
        "writer",
        "--verb=create",
        "--resource=configmaps",
    ]);
    let account = format!("--serviceaccount={}:writer", tenant.namespace);
    kubectl(&["create", "rolebinding", "writer", "--role=writer", &account]);
    let kubeconfig = tenant
        .plane
        .token_kubeconfig("writer", &tenant.namespace)
        .unwrap();
    let write = |kind: &[&str]| {
        let own = ["--namespace", &tenant.namespace, "create"];
        let words = [&own, kind].concat();
        tenant.plane.kubectl_as(&kubeconfig, &words, None)
    };

    let audit = tenant.plane.audit();
    let mark = audit.mark();
    // The server takes a moment until it knows a new binding.
    let (_, _) = patience::eventually("the role to be known", SOON, || {
        Ok(write(&["configmap", "words"]).ok())
    })
    .unwrap();
    let error = write(&["secret", "generic", "words"]).unwrap_err();
    assert!(format!("{error:#}").contains("forbidden"), "{error:#}");
    let user = format!("system:serviceaccount:{}:writer", tenant.namespace);
    let written = |resource: &str, code: u16| {
        let is_it =
            |write: &Write| write.user == user && write.is_of(resource) && write.code == code;
        let writes = audit.writes(mark).unwrap();
        writes.into_iter().filter(is_it).collect::<Vec<_>>()
    };
    patience::until("both to be logged", SOON, || {
        written("configmaps", 201).len() == 1 && written("secrets", 403).len() == 1
    })
    .unwrap();
    let write = written("configmaps", 201).remove(0);
    assert_eq!(
        (write.verb.as_str(), write.name.as_str()),
        ("create", "words")
    );
    assert_eq!(write.namespace, tenant.namespace);
    assert!(write.agent.starts_with("kubectl/"), "{}", write.agent);
}

#[test]
fn parts_can_be_restarted_and_frozen() {
    let mut plane = ControlPlane::alone(Settings::default()).unwrap();
    let maps = "/api/v1/namespaces/default/configmaps";
    let map = |name: &str| json!({ "metadata": { "name": name } });
    patience::until("the namespace to be made", SOON, || {
        plane.post(maps, &map("before")).is_ok()
    })
    .unwrap();
    plane.restart(Part::ApiServer).unwrap();
    plane.get(&format!("{maps}/before")).unwrap();
    plane.restart(Part::Etcd).unwrap();
    patience::until("a write after etcd's restart", SOON, || {
        plane.post(maps, &map("between")).is_ok()
    })
    .unwrap();

    for part in [Part::ApiServer, Part::Etcd] {
        plane.freeze(part).unwrap();
        let words = ["get", "configmaps", "--request-timeout=1s"];
        assert!(plane.kubectl(&words, None).is_err(), "{part:?} answers");
        plane.thaw(part).unwrap();
        patience::until("an answer", SOON, || plane.kubectl(&words, None).is_ok()).unwrap();
    }
}

#[test]
fn kube_proxy_with_nftables_serves_every_address_of_a_service() {
    serves_every_address_of_a_service(ProxyMode::Nftables);
}

#[test]
fn kube_proxy_with_iptables_serves_every_address_of_a_service() {
    serves_every_address_of_a_service(ProxyMode::Iptables);
}

fn serves_every_address_of_a_service(mode: ProxyMode) {
    let mut cluster = Cluster::start(2, mode, Settings::default()).unwrap();
    for (name, node) in [("web-1", 1), ("web-2", 2)] {
        let workload = Workload {
            namespace: "default",
            name,
            app: "web",
            node,
            ports: &[8080],
        };
        cluster.run(&workload).unwrap();
    }
    let spec = json!({
        "type": "LoadBalancer",
        "selector": { "app": "web" },
        "ipFamilyPolicy": "RequireDualStack",
        "ports": [{ "port": 80, "targetPort": 8080 }],
    });
    let plane = &cluster.plane;
    let service = plane.create_service("default", "web", &spec).unwrap();
    let vips: [IpAddr; 2] = [
        "192.168.1.240".parse().unwrap(),
        "fd00:1::240".parse().unwrap(),
    ];
    plane.write_ingress("default", "web", &vips).unwrap();

    let segment = &cluster.lab.segment;
    let both_answer = |from: &Namespace, address: IpAddr, port: u16| {
        let mut missing = BTreeSet::from(["node=web-1", "node=web-2"]);
        let what = format!("both pods behind {address} port {port}");
        let elapsed = patience::until(&what, SOON, || {
            let body = cluster.lab.curl(from, address, port).unwrap_or_default();
            missing.retain(|pod| !body.contains(pod));
            missing.is_empty()
        });
        elapsed.unwrap();
    };
    let cluster_ips = service["spec"]["clusterIPs"].as_array().unwrap();
    for address in cluster_ips {
        let address = address.as_str().unwrap().parse().unwrap();
        both_answer(&segment.nodes[0].namespace, address, 80);
    }
    let port = u16::try_from(service["spec"]["ports"][0]["nodePort"].as_u64().unwrap()).unwrap();
    for node in &segment.nodes {
        both_answer(&segment.client.namespace, node.v4.into(), port);
        both_answer(&segment.client.namespace, node.v6.into(), port);
    }
    for vip in vips {
        for number in [1, 2] {
            cluster.point_neighbour(vip, number).unwrap();
            both_answer(&segment.neighbour.namespace, vip, 80);
        }
    }

    cluster.remove("default", "web-2").unwrap();
    let (from, vip) = (&cluster.lab.segment.neighbour.namespace, vips[0]);
    let first_alone = || {
        let body = cluster.lab.curl(from, vip, 80);
        body.is_some_and(|body| body.contains("node=web-1"))
    };
    patience::until("the pod that is left", SOON, || {
        (0..10).all(|_| first_alone())
    })
    .unwrap();
}

#[test]
fn an_old_go_is_refused_with_the_sentence_of_the_readme() {
    let dir = tempfile::tempdir().unwrap();
    let go = dir.path().join("go");
    std::fs::write(&go, "#!/bin/sh\necho go1.19.8\n").unwrap();
    output(Command::new("chmod").arg("755").arg(&go)).unwrap();
    let script = programs::workspace().join("tests/kubernetes.sh");
    let mut command = Command::new("sh");
    let command = command.arg(script).env("FERROLB_CACHE", dir.path());
    let path = std::env::var_os("PATH").unwrap();
    let paths = std::env::split_paths(&path);
    let paths = std::iter::once(dir.path().to_owned()).chain(paths);
    let refusal = command
        .env("PATH", std::env::join_paths(paths).unwrap())
        .output()
        .unwrap();
    assert_eq!(refusal.status.code(), Some(1));
    let sentence = String::from_utf8(refusal.stderr).unwrap();
    let readme = std::fs::read_to_string(programs::workspace().join("README.md")).unwrap();
    assert!(readme.contains(sentence.trim()), "{sentence}");
}

fn is_there(namespace: &str, path: &Path) -> bool {
    let list = output(Command::new("ip").args(["netns", "list"])).unwrap();
    list.contains(namespace) || path.exists()
}
