//! Who gets which address, against a real API server: list A of the compatibility checklist, and what
//! must hold with two controllers.
//!
//! Each proof has a configuration of its own in a namespace of its own, and Services of a class of its
//! own, so that all of them share one server.
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Once;
use std::time::Duration;

use ferrolb_tests::kubernetes::audit::Write;
use ferrolb_tests::kubernetes::history::History;
use ferrolb_tests::kubernetes::tenant::Tenant;
use ferrolb_tests::kubernetes::{ControlPlane, Settings, churn, load, product};
use ferrolb_tests::patience;
use ferrolb_tests::process::Process;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(15);

/// How long a controller that says nothing is the active one still.
const LEASE: Duration = Duration::from_secs(6);

struct Proof {
    controller: Process,
    tenant: Tenant,
}

impl Proof {
    fn new(pools: &[Value]) -> Self {
        static INSTALL: Once = Once::new();
        let tenant = Tenant::new().unwrap();
        INSTALL.call_once(|| product::install(tenant.plane).unwrap());
        let proof = Self {
            controller: start(&tenant, "controller"),
            tenant,
        };
        pools.iter().for_each(|pool| proof.pool(pool));
        proof
    }

    fn pool(&self, pool: &Value) {
        let object = json!({
            "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
            "metadata": {"name": pool["name"], "namespace": self.tenant.namespace},
            "spec": pool["spec"],
        });
        self.put("ipaddresspools", &object);
    }

    /// Makes an object, or lays it over the one that is there.
    fn put(&self, kind: &str, object: &Value) {
        let plane = self.tenant.plane;
        let collection = self.path(kind);
        let answer = plane.request("POST", &collection, Some(object)).unwrap();
        if answer.code == 409 {
            let name = object["metadata"]["name"].as_str().unwrap();
            plane
                .patch(&format!("{collection}/{name}"), object)
                .unwrap();
            return;
        }
        assert_eq!(answer.code, 201, "{}", answer.text);
    }

    fn path(&self, kind: &str) -> String {
        let namespace = &self.tenant.namespace;
        match kind {
            "ipaddresspools" | "l2advertisements" => {
                format!("/apis/metallb.io/v1beta1/namespaces/{namespace}/{kind}")
            }
            core => self.tenant.path(core),
        }
    }

    fn delete(&self, kind: &str, name: &str) {
        let path = format!("{}/{name}", self.path(kind));
        self.tenant.plane.delete(&path).unwrap();
    }

    /// A Service of this proof's class; `more` is laid over its spec and metadata.
    fn service(&self, name: &str, more: &Value) {
        self.put("services", &self.object(name, more));
    }

    fn object(&self, name: &str, more: &Value) -> Value {
        let mut object = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": self.tenant.namespace},
            "spec": {
                "type": "LoadBalancer", "loadBalancerClass": self.tenant.namespace,
                "allocateLoadBalancerNodePorts": false,
                "ports": [{"port": 80}], "selector": {"app": name},
            },
        });
        lay_over(&mut object, more);
        object
    }

    fn addresses(&self, name: &str) -> Vec<String> {
        product::addresses(self.tenant.plane, &self.tenant.namespace, name).unwrap()
    }

    fn given(&self, name: &str, count: usize) -> Vec<String> {
        let namespace = &self.tenant.namespace;
        product::await_addresses(self.tenant.plane, namespace, name, count).unwrap()
    }

    /// Waits until a Service has exactly these.
    fn has(&self, name: &str, expected: &[&str]) {
        let what = format!("{name} to have {expected:?}");
        let holds = || self.addresses(name) == expected;
        if patience::until(&what, SOON, holds).is_err() {
            panic!("{name} has {:?}, not {expected:?}", self.addresses(name));
        }
    }

    fn patch(&self, kind: &str, name: &str, patch: &Value) {
        let path = format!("{}/{name}", self.path(kind));
        self.tenant.plane.patch(&path, patch).unwrap();
    }

    fn restart(&mut self) {
        self.controller.terminate(SOON).unwrap();
        self.controller = start(&self.tenant, "controller");
    }

    fn pool_status(&self, name: &str) -> Value {
        let namespace = &self.tenant.namespace;
        let path = format!("/apis/metallb.io/v1beta1/namespaces/{namespace}/ipaddresspools/{name}");
        let mut status = self.tenant.plane.get(&path).unwrap()["status"].take();
        let known = [
            "assignedIPv4",
            "assignedIPv6",
            "availableIPv4",
            "availableIPv6",
        ];
        json!(known.map(|field| status[field].take()))
    }

    fn reasons(&self, name: &str) -> Vec<String> {
        let events = product::events(self.tenant.plane, &self.tenant.namespace, name).unwrap();
        events.into_iter().map(|(reason, _)| reason).collect()
    }
}

fn start(tenant: &Tenant, name: &str) -> Process {
    let name = format!("{name}-{}", tenant.namespace);
    let arguments = [
        "--namespace",
        &tenant.namespace,
        "--lb-class",
        &tenant.namespace,
        "--address-quarantine=0s",
    ];
    product::active_controller(tenant.plane, &name, &arguments).unwrap()
}

fn lay_over(object: &mut Value, more: &Value) {
    let (Value::Object(object), Value::Object(more)) = (&mut *object, more) else {
        *object = more.clone();
        return;
    };
    for (key, value) in more {
        lay_over(object.entry(key.as_str()).or_insert(Value::Null), value);
    }
}

fn pool(name: &str, addresses: &[&str]) -> Value {
    json!({"name": name, "spec": {"addresses": addresses}})
}

/// A pool for this namespace's Services.
fn pinned(name: &str, addresses: &str, allocation: &Value) -> Value {
    json!({"name": name, "spec": {"addresses": [addresses], "serviceAllocation": allocation}})
}

fn plain() -> Value {
    json!({})
}

fn prefer_dual() -> Value {
    json!({"spec": {"ipFamilyPolicy": "PreferDualStack"}})
}

#[test]
fn a1_an_address_goes_to_who_waits_when_its_holder_becomes_a_cluster_ip() {
    let proof = Proof::new(&[pool("one", &["10.1.0.1-10.1.0.1"])]);
    proof.service("first", &plain());
    proof.has("first", &["10.1.0.1"]);
    proof.service("second", &plain());
    let change = json!({"spec": {"type": "ClusterIP", "loadBalancerClass": null}});
    proof.patch("services", "first", &change);
    proof.has("second", &["10.1.0.1"]);
    proof.has("first", &[]);
}

#[test]
fn a_service_that_is_no_load_balancer_any_more_carries_nothing_of_ours() {
    let proof = Proof::new(&[pool("p", &["10.1.0.0/24"])]);
    let annotated = |more: &Value| json!({"metadata": {"annotations": more}});
    proof.service("s", &annotated(&json!({"theirs": "kept"})));
    proof.has("s", &["10.1.0.0"]);
    let read = |name: &str| {
        let path = format!("{}/{name}", proof.path("services"));
        proof.tenant.plane.get(&path).unwrap()
    };
    let carried = |name: &str| {
        let object = read(name);
        let conditions = object["status"]["conditions"].as_array();
        let pool = &object["metadata"]["annotations"]["metallb.io/ip-allocated-from-pool"];
        (conditions.map_or(0, Vec::len), pool.clone())
    };
    assert_eq!(carried("s"), (1, json!("p")));
    let other = json!({"type": "example.org/theirs", "status": "True", "reason": "Theirs",
        "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let status = json!({"status": {"conditions": [other]}}).to_string();
    let words = [
        "patch",
        "service",
        "s",
        "--subresource=status",
        "-p",
        &status,
    ];
    proof.tenant.kubectl(&words, None).unwrap();
    let change = json!({"spec": {"type": "ClusterIP", "loadBalancerClass": null}});
    proof.patch("services", "s", &change);
    patience::until("ours to be gone", SOON, || carried("s") == (1, Value::Null)).unwrap();
    let object = read("s");
    assert_eq!(
        object["status"]["conditions"][0]["type"],
        "example.org/theirs"
    );
    assert_eq!(object["metadata"]["annotations"]["theirs"], "kept");

    // A Service that is gone costs one request, and another of its name loses nothing.
    proof.service("t", &plain());
    proof.has("t", &["10.1.0.0"]);
    let mark = proof.tenant.plane.audit().mark();
    proof.delete("services", "t");
    let words = annotated(&json!({"metallb.io/ip-allocated-from-pool": "theirs"}));
    let mut object = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "t", "namespace": proof.tenant.namespace},
        "spec": {"type": "ClusterIP", "ports": [{"port": 80}]},
    });
    lay_over(&mut object, &words);
    proof.put("services", &object);
    patience::pause(Duration::from_secs(2)).unwrap();
    assert_eq!(carried("t"), (0, json!("theirs")));
    let namespace = &proof.tenant.namespace;
    let writes = proof.tenant.plane.audit().writes(mark).unwrap();
    let patches: Vec<u16> = writes
        .iter()
        .filter(|write| write.namespace == *namespace && write.is_of("services/status"))
        .map(|write| write.code)
        .collect();
    assert_eq!(patches.len(), 1, "{patches:?}");
    assert!([404, 409, 422].contains(&patches[0]), "{patches:?}");
    assert!(!proof.controller.log().contains("failed to report"));
}

#[test]
fn a2_an_address_goes_to_who_waits_when_its_holder_is_deleted() {
    let proof = Proof::new(&[pool("one", &["10.1.0.1-10.1.0.1"])]);
    proof.service("first", &plain());
    proof.has("first", &["10.1.0.1"]);
    proof.service("second", &plain());
    patience::until("the refusal to be said", SOON, || {
        proof.reasons("second") == ["AllocationFailed"]
    })
    .unwrap();
    proof.delete("services", "first");
    proof.has("second", &["10.1.0.1"]);
    patience::until("the assignment to be said", SOON, || {
        proof.reasons("second") == ["AllocationFailed", "IPAllocated"]
    })
    .unwrap();
}

#[test]
fn a3_addresses_outlive_five_restarts_of_the_controller() {
    let mut proof = Proof::new(&[pool("two", &["10.1.0.1-10.1.0.2"])]);
    for name in ["a", "b", "c", "d"] {
        proof.service(name, &plain());
    }
    proof.given("a", 1);
    proof.given("b", 1);
    let all = |proof: &Proof| ["a", "b", "c", "d"].map(|name| proof.addresses(name));
    let before = all(&proof);
    for _ in 0..5 {
        proof.restart();
        assert_eq!(all(&proof), before);
    }
}

#[test]
fn a4_who_shares_is_looked_at_again_when_the_conditions_change() {
    let proof = Proof::new(&[pool("two", &["10.1.0.1-10.1.0.2"])]);
    let sharing = |port: u16| {
        json!({
            "metadata": {"annotations": {"metallb.io/allow-shared-ip": "k"}},
            "spec": {"ports": [{"port": port}], "selector": {"app": "one"}},
        })
    };
    proof.service("a", &sharing(80));
    proof.has("a", &["10.1.0.1"]);
    proof.service("b", &sharing(81));
    proof.has("b", &["10.1.0.1"]);
    let local = json!({"spec": {"externalTrafficPolicy": "Local"}});
    proof.patch("services", "b", &local);
    proof.has("b", &["10.1.0.2"]);
    assert_eq!(proof.addresses("a"), ["10.1.0.1"]);
    proof.patch("services", "a", &local);
    patience::until("both to have one address", SOON, || {
        let (a, b) = (proof.addresses("a"), proof.addresses("b"));
        a.len() == 1 && b.len() == 1
    })
    .unwrap();
}

/// On a server of its own: a pool of somebody else's configuration, which is set aside here, would
/// keep the address.
#[test]
fn a5_a6_without_a_pool_there_are_no_addresses_and_with_another_there_are() {
    let plane = ControlPlane::alone(Settings::default()).unwrap();
    product::install(&plane).unwrap();
    let _controller = product::active_controller(&plane, "controller", &[]).unwrap();
    let apply = |name: &str, range: &str| {
        let object = json!({
            "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
            "metadata": {"name": name, "namespace": "metallb-system"},
            "spec": {"addresses": [range]},
        });
        plane.apply(&object.to_string()).unwrap();
    };
    let delete = |name: &str| {
        let words = ["-n", "metallb-system", "delete", "ipaddresspool", name];
        plane.kubectl(&words, None).unwrap();
    };
    let has = |expected: &[&str]| {
        let what = format!("the addresses to be {expected:?}");
        let holds = || product::addresses(&plane, "default", "s").unwrap() == expected;
        patience::until(&what, SOON, holds).unwrap();
    };
    apply("first", "10.1.0.0/24");
    let spec = json!({"type": "LoadBalancer", "ports": [{"port": 80}]});
    plane.create_service("default", "s", &spec).unwrap();
    has(&["10.1.0.0"]);
    apply("second", "10.2.0.0/24");
    delete("first");
    has(&["10.2.0.0"]);
    delete("second");
    has(&[]);
    let object = plane.get("/api/v1/namespaces/default/services/s").unwrap();
    let condition = &object["status"]["conditions"][0];
    assert_eq!(condition["type"], "ferrolb.io/Allocated");
    assert_eq!(condition["status"], "False");
    let annotations = &object["metadata"]["annotations"];
    assert_eq!(
        annotations["metallb.io/ip-allocated-from-pool"],
        Value::Null
    );
}

#[test]
fn a7_a8_pools_are_used_in_the_order_of_their_priority() {
    let proof = Proof::new(&[]);
    let namespaces = json!([proof.tenant.namespace]);
    let of = |name: &str, range: &str, priority: u32| {
        let allocation = json!({"namespaces": namespaces, "priority": priority});
        pinned(name, range, &allocation)
    };
    proof.pool(&of("last", "10.3.0.1-10.3.0.1", 0));
    proof.pool(&of("second", "10.2.0.1-10.2.0.1", 20));
    proof.pool(&of("first", "10.1.0.1-10.1.0.1", 10));
    for (name, address) in [("a", "10.1.0.1"), ("b", "10.2.0.1"), ("c", "10.3.0.1")] {
        proof.service(name, &plain());
        proof.has(name, &[address]);
    }
    proof.pool(&pinned(
        "only",
        "10.4.0.1-10.4.0.1",
        &json!({"priority": 5}),
    ));
    proof.service("d", &plain());
    proof.has("d", &["10.4.0.1"]);
}

#[test]
fn a9_to_a12_pools_are_kept_for_namespaces_and_services_by_name_and_label() {
    let proof = Proof::new(&[pool("general", &["10.9.0.0/24"])]);
    let labels = json!({"matchLabels": {"kubernetes.io/metadata.name": proof.tenant.namespace}});
    let services = json!({"matchLabels": {"tier": "gold"}});
    let by_label = json!({"namespaceSelectors": [labels], "serviceSelectors": [services]});
    proof.pool(&pinned("gold", "10.1.0.0/24", &by_label));
    let elsewhere = json!({"namespaces": ["elsewhere"]});
    proof.pool(&pinned("elsewhere", "10.2.0.0/24", &elsewhere));
    proof.service("plain", &plain());
    proof.has("plain", &["10.9.0.0"]);
    let gold = json!({"metadata": {"labels": {"tier": "gold"}}});
    proof.service("gold", &gold);
    proof.has("gold", &["10.1.0.0"]);
    // A namespace that gets a label of its own.
    let namespace = proof.tenant.namespace.clone();
    let team = json!({"namespaceSelectors": [{"matchLabels": {"team": "red"}}]});
    proof.pool(&pinned("team", "10.3.0.0/24", &team));
    let words = ["label", "namespace", &namespace, "team=red"];
    proof.tenant.plane.kubectl(&words, None).unwrap();
    patience::until("a Service to get of the team's pool", SOON, || {
        proof.service("probe", &plain());
        let address = proof.given("probe", 1);
        if address[0].starts_with("10.3.") {
            return true;
        }
        proof.delete("services", "probe");
        false
    })
    .unwrap();
    assert_eq!(proof.addresses("plain"), ["10.9.0.0"]);
}

#[test]
fn a13_a_dual_stack_pool_is_preferred() {
    let proof = Proof::new(&[
        pool("a", &["10.1.0.0/24"]),
        pool("b", &["fc00:1::/120"]),
        pool("dual", &["10.2.0.0/24", "fc00:2::/120"]),
    ]);
    proof.service("s", &prefer_dual());
    proof.has("s", &["10.2.0.0", "fc00:2::"]);
}

#[test]
fn a14_a15_of_single_stack_pools_that_of_the_first_family_is_used() {
    let proof = Proof::new(&[pool("a", &["10.1.0.0/24"]), pool("b", &["fc00:1::/120"])]);
    proof.service("v4", &prefer_dual());
    proof.has("v4", &["10.1.0.0"]);
    let v6 = json!({"spec": {
        "ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6", "IPv4"],
    }});
    proof.service("v6", &v6);
    proof.has("v6", &["fc00:1::"]);
}

#[test]
fn a16_a_pool_that_gets_a_second_family_gives_the_second_address() {
    let proof = Proof::new(&[pool("a", &["10.1.0.0/24"])]);
    proof.service("s", &prefer_dual());
    proof.has("s", &["10.1.0.0"]);
    proof.pool(&pool("a", &["10.1.0.0/24", "fc00:1::/120"]));
    proof.has("s", &["10.1.0.0", "fc00:1::"]);
    patience::until("it to be said", SOON, || {
        proof
            .reasons("s")
            .iter()
            .filter(|r| *r == "IPAllocated")
            .count()
            == 2
    })
    .unwrap();
}

#[test]
fn a17_who_insists_on_two_families_has_both_or_none() {
    let proof = Proof::new(&[pool("a", &["10.1.0.0/24"])]);
    proof.service("s", &prefer_dual());
    proof.has("s", &["10.1.0.0"]);
    let policy = |policy: &str| json!({"spec": {"ipFamilyPolicy": policy}});
    proof.patch("services", "s", &policy("RequireDualStack"));
    proof.has("s", &[]);
    proof.patch("services", "s", &policy("PreferDualStack"));
    proof.has("s", &["10.1.0.0"]);
}

#[test]
fn a18_a_dual_stack_pool_that_comes_later_moves_nobody() {
    let proof = Proof::new(&[pool("a", &["10.1.0.0/24"])]);
    proof.service("s", &prefer_dual());
    proof.has("s", &["10.1.0.0"]);
    proof.pool(&pool("dual", &["10.2.0.0/24", "fc00:2::/120"]));
    proof.service("t", &prefer_dual());
    proof.has("t", &["10.2.0.0", "fc00:2::"]);
    assert_eq!(proof.addresses("s"), ["10.1.0.0"]);
}

#[test]
fn a19_when_a_dual_stack_pool_shrinks_to_one_family_another_takes_its_place() {
    let both = |name: &str, number: u8| {
        let ranges = [
            format!("10.{number}.0.0/24"),
            format!("fc00:{number}::/120"),
        ];
        pool(name, &[&ranges[0], &ranges[1]])
    };
    let proof = Proof::new(&[both("a", 1)]);
    proof.service("s", &prefer_dual());
    proof.has("s", &["10.1.0.0", "fc00:1::"]);
    proof.pool(&both("b", 2));
    proof.pool(&pool("a", &["10.1.0.0/24"]));
    proof.has("s", &["10.2.0.0", "fc00:2::"]);
    // If there is none, what is left has to do.
    proof.pool(&pool("b", &["fc00:2::/120"]));
    proof.has("s", &["10.1.0.0"]);
}

#[test]
fn a20_the_pool_counts_and_puts_its_counts_right() {
    let proof = Proof::new(&[pool("p", &["10.1.0.0/28", "fc00:1::/124"])]);
    let counts = |proof: &Proof, expected: [i64; 4]| {
        let what = format!("the counts to be {expected:?}");
        patience::until(&what, SOON, || proof.pool_status("p") == json!(expected)).unwrap();
    };
    counts(&proof, [0, 0, 16, 16]);
    proof.service("s", &prefer_dual());
    counts(&proof, [1, 1, 15, 15]);
    proof.pool(&pool("p", &["10.1.0.0/27", "fc00:1::/124"]));
    counts(&proof, [1, 1, 31, 15]);
    let wrong = json!({"status": {
        "assignedIPv4": 7, "assignedIPv6": 7, "availableIPv4": 7, "availableIPv6": 7,
    }});
    let words = [
        "patch",
        "ipaddresspool",
        "p",
        "--type=merge",
        "--subresource=status",
        "-p",
    ];
    let text = wrong.to_string();
    proof
        .tenant
        .kubectl(&[&words[..], &[text.as_str()]].concat(), None)
        .unwrap();
    counts(&proof, [1, 1, 31, 15]);
    proof.delete("services", "s");
    counts(&proof, [0, 0, 32, 16]);
}

#[test]
fn a_status_that_somebody_edits_is_put_right() {
    let proof = Proof::new(&[pool("p", &["10.1.0.0/24"])]);
    proof.service("s", &plain());
    proof.has("s", &["10.1.0.0"]);
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "10.1.0.77"}]}}});
    let text = status.to_string();
    let words = [
        "patch",
        "service",
        "s",
        "--type=merge",
        "--subresource=status",
        "-p",
        &text,
    ];
    proof.tenant.kubectl(&words, None).unwrap();
    proof.has("s", &["10.1.0.0"]);
}

#[test]
fn what_metallb_gave_is_taken_over_unchanged() {
    let mut proof = Proof::new(&[pool("p", &["10.1.0.0/24"])]);
    proof.controller.terminate(SOON).unwrap();
    proof.service("old", &plain());
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "10.1.0.9"}]}}});
    let text = status.to_string();
    let words = [
        "patch",
        "service",
        "old",
        "--type=merge",
        "--subresource=status",
        "-p",
        &text,
    ];
    proof.tenant.kubectl(&words, None).unwrap();
    proof.service("new", &plain());
    proof.controller = start(&proof.tenant, "controller");
    proof.has("new", &["10.1.0.0"]);
    assert_eq!(proof.addresses("old"), ["10.1.0.9"]);
}

#[test]
fn i4_a_restart_and_a_system_at_rest_write_nothing_but_the_lease() {
    let mut proof = Proof::new(&[pool("p", &["10.1.0.0/24"])]);
    for number in 0..20 {
        proof.service(&format!("s{number}"), &plain());
    }
    for number in 0..20 {
        proof.given(&format!("s{number}"), 1);
    }
    // Reports come after addresses.
    patience::until("the counts to be written", SOON, || {
        proof.pool_status("p") == json!([20, 0, 236, 0])
    })
    .unwrap();
    patience::until("every event to be written", SOON, || {
        (0..20).all(|number| proof.reasons(&format!("s{number}")) == ["IPAllocated"])
    })
    .unwrap();
    patience::pause(Duration::from_secs(1)).unwrap();
    let mark = proof.tenant.plane.audit().mark();
    proof.restart();
    patience::pause(Duration::from_secs(3)).unwrap();
    let namespace = proof.tenant.namespace.clone();
    let writes = proof.tenant.plane.audit().writes(mark).unwrap();
    let ours: BTreeSet<String> = writes
        .iter()
        // The other proofs' pools are problems here, and come and go.
        .filter(|write| write.namespace == namespace && write.resource != "configurationstates")
        .map(|write| {
            format!(
                "{} {}/{} {}",
                write.verb, write.resource, write.subresource, write.name
            )
        })
        .collect();
    let only = BTreeSet::from(["update leases/ ferrolb-controller".to_owned()]);
    assert_eq!(ours, only);
}

#[test]
fn one_patch_for_each_service_is_all_that_an_address_costs() {
    let proof = Proof::new(&[pool("p", &["10.1.0.0/24"])]);
    let mark = proof.tenant.plane.audit().mark();
    for number in 0..10 {
        proof.service(&format!("s{number}"), &plain());
    }
    for number in 0..10 {
        proof.given(&format!("s{number}"), 1);
    }
    let writes = proof.tenant.plane.audit().writes(mark).unwrap();
    let namespace = &proof.tenant.namespace;
    let patches: Vec<_> = writes
        .iter()
        .filter(|write| write.namespace == *namespace && write.is_of("services/status"))
        .collect();
    assert_eq!(patches.len(), 10);
    for patch in patches {
        let (name, version) = patch.agent.split_once('/').unwrap_or_default();
        assert_eq!(name, "ferrolb-controller");
        assert!(version.contains('.'), "{}", patch.agent);
    }
}

/// The hint in a Service's annotation: address and node.
fn hint(proof: &Proof, name: &str) -> Option<(String, String)> {
    let path = format!("{}/{name}", proof.path("services"));
    let object = proof.tenant.plane.get(&path).unwrap();
    let text = object["metadata"]["annotations"]["ferrolb.io/layer2-hint"].as_str()?;
    let (address, node) = text.split_once('=')?;
    Some((address.to_owned(), node.to_owned()))
}

/// Hints of these Services, by node.
fn hinted(proof: &Proof, names: &[String]) -> Vec<usize> {
    let mut counts = BTreeMap::new();
    for name in names {
        let (address, node) = hint(proof, name).unwrap();
        assert_eq!(proof.addresses(name), [address]);
        *counts.entry(node).or_default() += 1;
    }
    counts.into_values().collect()
}

#[test]
fn a_hint_is_in_the_one_patch_with_the_address_and_outlives_restarts_and_nodes() {
    let mut proof = Proof::new(&[pool("p", &["10.1.0.0/24"])]);
    let namespace = proof.tenant.namespace.clone();
    let plane = proof.tenant.plane;
    let node = |number: usize| format!("{namespace}-n{number}");
    for number in 1..=3 {
        let object = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": node(number), "labels": {"proof": namespace}},
        });
        plane.post("/api/v1/nodes", &object).unwrap();
    }
    let advertisement = json!({
        "apiVersion": "metallb.io/v1beta1", "kind": "L2Advertisement",
        "metadata": {"name": "all", "namespace": namespace},
        "spec": {"nodeSelectors": [{"matchLabels": {"proof": namespace}}]},
    });
    proof.put("l2advertisements", &advertisement);
    patience::until("the controller to know of the nodes", SOON, || {
        proof.service("probe", &plain());
        proof.given("probe", 1);
        let is_hinted = hint(&proof, "probe").is_some();
        proof.delete("services", "probe");
        is_hinted
    })
    .unwrap();

    let names = |numbers: std::ops::Range<usize>| -> Vec<String> {
        numbers.map(|number| format!("s{number}")).collect()
    };
    let mark = plane.audit().mark();
    for name in names(0..9) {
        proof.service(&name, &plain());
    }
    names(0..9)
        .iter()
        .for_each(|name| drop(proof.given(name, 1)));
    assert_eq!(hinted(&proof, &names(0..9)), [3, 3, 3]);
    let writes = plane.audit().writes(mark).unwrap();
    let of_services = |writes: &[Write]| {
        let ours = writes.iter().filter(|write| write.namespace == namespace);
        let written = ours.filter(|write| write.is_of("services/status"));
        written.filter(|write| write.name.starts_with('s')).count()
    };
    assert_eq!(of_services(&writes), 9);

    let before: Vec<_> = names(0..9).iter().map(|name| hint(&proof, name)).collect();
    let mark = plane.audit().mark();
    proof.restart();
    plane.delete(&format!("/api/v1/nodes/{}", node(3))).unwrap();
    patience::pause(Duration::from_secs(2)).unwrap();
    let writes = plane.audit().writes(mark).unwrap();
    assert_eq!(
        of_services(&writes),
        0,
        "neither the restart nor a node that goes"
    );
    let after: Vec<_> = names(0..9).iter().map(|name| hint(&proof, name)).collect();
    assert_eq!(after, before);
    let words = json!({"metadata": {"annotations": {"ferrolb.io/layer2-hint": "so what"}}});
    proof.patch("services", "s1", &words);
    let is_mended = || hint(&proof, "s1") == before[1];
    patience::until("what somebody edits to be put right", SOON, is_mended).unwrap();
    // What is given from now on goes to those that are there, by the loads that were found.
    for name in names(9..13) {
        proof.service(&name, &plain());
    }
    names(9..13)
        .iter()
        .for_each(|name| drop(proof.given(name, 1)));
    assert_eq!(hinted(&proof, &names(9..13)), [2, 2]);

    let change = json!({"spec": {"type": "ClusterIP", "loadBalancerClass": null}});
    proof.patch("services", "s0", &change);
    let is_clear = || hint(&proof, "s0").is_none();
    patience::until("the hint to go with the address", SOON, is_clear).unwrap();
    for number in 1..=2 {
        plane
            .delete(&format!("/api/v1/nodes/{}", node(number)))
            .unwrap();
    }
}

#[test]
fn who_stands_by_takes_over_when_the_active_controller_dies_or_leaves() {
    let mut proof = Proof::new(&[pool("p", &["10.1.0.0/24"])]);
    proof.service("a", &plain());
    proof.has("a", &["10.1.0.0"]);
    let namespace = proof.tenant.namespace.clone();
    let arguments = ["--namespace", &namespace, "--lb-class", &namespace];
    let name = format!("second-{namespace}");
    let mut second = product::controller(proof.tenant.plane, &name, &arguments).unwrap();
    second.await_line("standing by", SOON).unwrap();
    proof.controller.kill();
    proof.service("b", &plain());
    proof.has("b", &["10.1.0.1"]);
    assert_eq!(proof.addresses("a"), ["10.1.0.0"]);
    assert!(second.log().contains("ready"));
    // A graceful end hands over: nobody waits until the Lease runs out.
    let name = format!("third-{namespace}");
    let mut third = product::controller(proof.tenant.plane, &name, &arguments).unwrap();
    third.await_line("standing by", SOON).unwrap();
    second.signal(libc::SIGTERM);
    let waited = third.await_line("ready", SOON).unwrap();
    assert!(waited < LEASE / 2, "{waited:?}");
    proof.service("c", &plain());
    proof.has("c", &["10.1.0.2"]);
    assert!(second.await_end(SOON).unwrap().success());
    let words = second.log();
    assert!(words.contains("stopped"), "{words}");
    assert!(!words.contains("not the active controller"), "{words}");
}

#[test]
fn i1_a_controller_that_was_frozen_gives_nothing_out_when_it_wakes() {
    let mut proof = Proof::new(&[pool("p", &["10.1.0.0/26"])]);
    let namespace = proof.tenant.namespace.clone();
    let arguments = ["--namespace", &namespace, "--lb-class", &namespace];
    let name = format!("second-{namespace}");
    let mut second = product::controller(proof.tenant.plane, &name, &arguments).unwrap();
    second.await_line("standing by", SOON).unwrap();
    // In the middle of its work.
    for number in 0..30 {
        proof.service(&format!("s{number}"), &plain());
        if number == 15 {
            proof.controller.signal(libc::SIGSTOP);
        }
    }
    second.await_line("ready", SOON).unwrap();
    for number in 0..30 {
        proof.given(&format!("s{number}"), 1);
    }
    let all = |proof: &Proof| -> Vec<String> {
        let numbers = 0..30;
        numbers
            .flat_map(|number| proof.addresses(&format!("s{number}")))
            .collect()
    };
    let before = all(&proof);
    proof.controller.signal(libc::SIGCONT);
    proof
        .controller
        .await_line("not the active controller", SOON)
        .unwrap();
    proof.service("last", &plain());
    proof.given("last", 1);
    let after = all(&proof);
    assert_eq!(after, before);
    let distinct: BTreeSet<&String> = after.iter().collect();
    assert_eq!(distinct.len(), 30);
}

/// Frozen at some moment after a Service has come, again and again, until that is the moment: what is
/// about to be written stands in the Lease, and not in the Service.
#[test]
fn i1_who_is_frozen_between_intent_and_patch_can_write_only_what_its_successor_counts_as_taken() {
    let mut proof = Proof::new(&[pool("p", &["10.1.0.0/22"])]);
    let (plane, namespace) = (proof.tenant.plane, proof.tenant.namespace.clone());
    let arguments = ["--namespace", &namespace, "--lb-class", &namespace];
    let name = format!("second-{namespace}");
    let mut second = product::controller(plane, &name, &arguments).unwrap();
    second.await_line("standing by", SOON).unwrap();
    let services = proof.tenant.path("services");
    let follower = plane.follow(&services).unwrap();
    let writer = plane.writer().unwrap();
    let intents = || -> Vec<(String, String)> {
        let lease = format!(
            "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/ferrolb-controller"
        );
        let lease = plane.get(&lease).unwrap();
        let log = lease["metadata"]["annotations"]["ferrolb.io/intents"].as_str();
        let log: Value = log.map_or(Value::Null, |log| serde_json::from_str(log).unwrap());
        let intents = log["intents"].as_object().into_iter().flatten();
        let name = |key: &String| key.rsplit('/').next().unwrap_or_default().to_owned();
        intents
            .filter_map(|(key, intent)| Some((name(key), intent[1].as_str()?.to_owned())))
            .collect()
    };
    let caught = (0..100_u32).find_map(|round| {
        let names: Vec<String> = (0..8).map(|number| format!("s{round}-{number}")).collect();
        let calls = names.iter().map(|name| {
            let object = proof.object(name, &plain());
            vec![load::Call::Create(services.clone(), object)]
        });
        writer.perform(calls.collect(), names.len()).unwrap();
        // The first of them is logged at once, the others together a while later.
        let delay = 8 + 2 * (round % 10);
        patience::pause(Duration::from_millis(delay.into())).unwrap();
        proof.controller.signal(libc::SIGSTOP);
        // What was on its way has arrived by then.
        patience::pause(Duration::from_millis(50)).unwrap();
        let is_unwritten = |(name, _): &(String, String)| proof.addresses(name).is_empty();
        let caught = intents().into_iter().find(is_unwritten);
        if caught.is_none() {
            proof.controller.signal(libc::SIGCONT);
            names.iter().for_each(|name| drop(proof.given(name, 1)));
        }
        caught
    });
    let (name, address) = caught.expect("a moment in between");
    proof.service("other", &plain());
    second.await_line("ready", SOON).unwrap();
    proof.has(&name, &[&address]);
    assert_ne!(proof.given("other", 1)[0], address);
    proof.controller.signal(libc::SIGCONT);
    let woken = proof
        .controller
        .await_line("not the active controller", SOON);
    woken.unwrap();
    proof.service("last", &plain());
    proof.given("last", 1);
    let mut history = History::default();
    while let Some(seen) = follower.next(Duration::from_millis(500)).unwrap() {
        history.apply(&seen).unwrap();
    }
    assert_eq!(history.waiting(), 0);
    assert_eq!(proof.addresses(&name), [address]);
}

/// `make bars` does it twenty times.
#[test]
fn i1_i2_hold_at_all_times_while_active_controllers_are_killed_under_churn() {
    let outcome = churn::kill_active_controllers(2).unwrap();
    let history = outcome.history;
    assert_eq!(outcome.takeovers.len(), 2);
    // Otherwise it would prove nothing.
    assert!(history.assigned > 200, "{}", history.assigned);
    assert!(history.reused > 0, "{}", history.reused);
}
