//! What the two programs say of a configuration: list C of the compatibility checklist, against a real
//! API server. Each id is in a name, and each summary is to the letter the one that MetalLB's own suite
//! compares with.
//!
//! A controller and the speakers of three nodes run once for all proofs, which take turns: a
//! configuration is everybody's.
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use ferrolb_tests::kubernetes::{ControlPlane, Settings, product};
use ferrolb_tests::process::{Process, output, tail};
use ferrolb_tests::{patience, programs};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(15);

/// In which those who follow the same server have heard the same.
const MOMENT: Duration = Duration::from_millis(500);
const NODES: [&str; 3] = ["n1", "n2", "n3"];
const V1BETA1: &str = "/apis/metallb.io/v1beta1/namespaces/metallb-system";
const PEERS: &str = "/apis/metallb.io/v1beta2/namespaces/metallb-system/bgppeers";
const SECRETS: &str = "/api/v1/namespaces/metallb-system/secrets";
const SESSIONS: &str = "/apis/ferrolb.io/v1alpha1/namespaces/metallb-system/bgpsessions";

/// What a summary says of the profile that most proofs miss.
const MISSING: &str =
    "configuration error: peer bgp-bfd referencing non existing bfd profile bfd-profile";

struct Site {
    plane: ControlPlane,
    programs: Vec<Process>,
}

/// The site, with nothing configured and everybody content.
fn site() -> MutexGuard<'static, Site> {
    static SITE: OnceLock<Mutex<Site>> = OnceLock::new();
    let site = SITE.get_or_init(|| Mutex::new(Site::start()));
    let site = site.lock().unwrap_or_else(PoisonError::into_inner);
    site.clear();
    site
}

impl Site {
    fn start() -> Self {
        let plane = ControlPlane::alone(Settings::default()).unwrap();
        product::install(&plane).unwrap();
        for node in NODES {
            plane.create_node(node, &[]).unwrap();
        }
        let mut programs = vec![product::active_controller(&plane, "controller", &[]).unwrap()];
        let speakers = NODES.map(|node| product::speaker_of_object(&plane, node, &[]).unwrap());
        programs.extend(speakers);
        Self { plane, programs }
    }

    fn clear(&self) {
        let kinds = [
            "bfdprofiles",
            "bgpadvertisements",
            "communities",
            "ipaddresspools",
        ];
        for kind in kinds {
            self.plane.delete(&format!("{V1BETA1}/{kind}")).unwrap();
        }
        self.plane.delete(PEERS).unwrap();
        let passwords = format!("{SECRETS}?fieldSelector=metadata.name%21%3Dmemberlist");
        self.plane.delete(&passwords).unwrap();
        self.all_valid();
    }

    fn put(&self, kind: &str, name: &str, spec: &Value) {
        let path = match kind {
            "bgppeers" => PEERS.to_owned(),
            _ => format!("{V1BETA1}/{kind}"),
        };
        let (version, kind) = match kind {
            "bgppeers" => ("v1beta2", "BGPPeer"),
            "bfdprofiles" => ("v1beta1", "BFDProfile"),
            "bgpadvertisements" => ("v1beta1", "BGPAdvertisement"),
            "communities" => ("v1beta1", "Community"),
            "ipaddresspools" => ("v1beta1", "IPAddressPool"),
            other => panic!("{other} is no kind of these proofs"),
        };
        let object = json!({
            "apiVersion": format!("metallb.io/{version}"), "kind": kind,
            "metadata": {"name": name}, "spec": spec,
        });
        self.plane.post(&path, &object).unwrap();
    }

    fn peer(&self, name: &str, address: &str, more: &Value) {
        let mut spec = json!({"myASN": 64512, "peerASN": 64513, "peerAddress": address});
        let more = more.as_object().unwrap().clone();
        spec.as_object_mut().unwrap().extend(more);
        self.put("bgppeers", name, &spec);
    }

    fn secret(&self, name: &str, type_: &str) {
        let object = json!({
            "metadata": {"name": name}, "type": type_, "stringData": {"password": "hunter2"},
        });
        self.plane.post(SECRETS, &object).unwrap();
    }

    fn delete(&self, collection: &str, name: &str) {
        self.plane.delete(&format!("{collection}/{name}")).unwrap();
    }

    fn states(&self) -> BTreeMap<String, Value> {
        let list = self.plane.get(&format!("{V1BETA1}/configurationstates"));
        let list = list.unwrap()["items"].take();
        let named = |state: &Value| {
            let name = state["metadata"]["name"].as_str().unwrap();
            (name.to_owned(), state.clone())
        };
        list.as_array().unwrap().iter().map(named).collect()
    }

    fn state(&self, name: &str) -> Value {
        self.states().remove(name).unwrap()
    }

    /// The summaries by who gives them; nobody else has a state.
    fn summaries(&self) -> BTreeMap<String, String> {
        let say = |(name, state): (String, Value)| {
            let status = &state["status"];
            let summary = status["errorSummary"].as_str().unwrap_or_default();
            let word = match status["result"].as_str() {
                Some("Valid") if summary.is_empty() => "Valid".to_owned(),
                Some("Invalid") => summary.to_owned(),
                other => format!("{other:?} and {summary:?}"),
            };
            (name, word)
        };
        self.states().into_iter().map(say).collect()
    }

    /// Waits until the speakers of these nodes say this, and everybody else is content, and stays so.
    fn says(&self, nodes: &[&str], summary: &str) {
        let mut expected = BTreeMap::from([("controller".to_owned(), "Valid".to_owned())]);
        for node in NODES {
            let word = if nodes.contains(&node) {
                summary
            } else {
                "Valid"
            };
            expected.insert(format!("speaker-{node}"), word.to_owned());
        }
        let mut found = BTreeMap::new();
        let mut holds = || {
            found = self.summaries();
            found == expected
        };
        let outcome = patience::until("the verdicts", SOON, &mut holds)
            .and_then(|_| patience::throughout("the verdicts", MOMENT, holds));
        if let Err(error) = outcome {
            let logs = self.programs.iter().map(|program| tail(&program.log(), 10));
            let logs = logs.collect::<Vec<_>>().join("\n");
            panic!("{error:#}: {found:#?} and not {expected:#?}\n{logs}");
        }
    }

    fn all_valid(&self) {
        self.says(&[], "");
    }

    /// Waits until every speaker has a session with a peer: then it is in force.
    fn is_in_force(&self, peer: &str) {
        let sessions = || {
            let list = self.plane.get(SESSIONS).unwrap();
            let all = list["items"].as_array().unwrap().clone();
            all.iter()
                .filter(|one| one["status"]["peer"] == peer)
                .count()
        };
        patience::until("the sessions", SOON, || sessions() == NODES.len()).unwrap();
    }

    fn message(&self, name: &str) -> String {
        let state = self.state(name);
        let message = state["status"]["conditions"][0]["message"].as_str();
        message.unwrap().to_owned()
    }
}

fn of_node(node: &str) -> Value {
    json!([{"matchLabels": {"kubernetes.io/hostname": node}}])
}

#[test]
fn c1_a_secret_of_the_wrong_type_concerns_the_node_that_its_peer_selects() {
    let site = site();
    site.secret("bgp-password", "Opaque");
    let more = json!({"passwordSecret": {"name": "bgp-password"}, "nodeSelectors": of_node("n1")});
    site.peer("peer1", "192.168.1.1", &more);
    site.says(
        &["n1"],
        "configuration error: parsing peer peer1 secret type mismatch on \"metallb-system\"/\
         \"bgp-password\", type \"kubernetes.io/basic-auth\" is expected \nfailed to parse peer peer1 \
         password secret",
    );
    let message = site.message("speaker-n1");
    assert!(
        message.contains("BGPPeer/peer1: spec.passwordSecret: ")
            && message.contains("create it anew with that type"),
        "{message}"
    );
    site.delete(SECRETS, "bgp-password");
    site.secret("bgp-password", "kubernetes.io/basic-auth");
    site.all_valid();
}

#[test]
fn c2_a_missing_bfd_profile_is_missed_until_it_is_there() {
    let site = site();
    site.peer(
        "bgp-bfd",
        "192.168.1.1",
        &json!({"bfdProfile": "bfd-profile"}),
    );
    site.says(&NODES, MISSING);
    site.put("bfdprofiles", "bfd-profile", &json!({}));
    site.all_valid();
}

/// Nor does the session end (design invariant I5).
#[test]
fn c3_a_bfd_profile_that_a_peer_loses_at_runtime_is_missed_and_the_controller_is_content() {
    let site = site();
    site.put("bfdprofiles", "bfd-profile", &json!({}));
    site.peer(
        "bgp-bfd",
        "192.168.100.3",
        &json!({"bfdProfile": "bfd-profile"}),
    );
    site.is_in_force("bgp-bfd");
    site.all_valid();
    let path = format!("{PEERS}/bgp-bfd");
    let patch = json!({"spec": {"bfdProfile": "new-bfd-profile"}});
    site.plane.patch(&path, &patch).unwrap();
    site.says(
        &NODES,
        "configuration error: peer bgp-bfd referencing non existing bfd profile new-bfd-profile",
    );
    site.is_in_force("bgp-bfd");
}

#[test]
fn c4_a_missing_community_is_missed_by_the_speakers_until_it_is_there() {
    let site = site();
    let spec = json!({
        "ipAddressPools": ["pool-community-test"], "communities": ["my-valid-alias"],
    });
    site.put("bgpadvertisements", "advert-community-test", &spec);
    site.says(
        &NODES,
        "configuration error: invalid community format: my-valid-alias\ninvalid community \
         \"my-valid-alias\" in BGP advertisement",
    );
    let alias = json!({"communities": [{"name": "my-valid-alias", "value": "64512:100"}]});
    site.put("communities", "community-valid", &alias);
    site.all_valid();
}

#[test]
fn c5_errors_go_one_by_one_as_the_wrong_peers_are_deleted() {
    let site = site();
    let secret = json!({"passwordSecret": {"name": "bgp-secret-invalid"}});
    site.peer("bgp-secret-fail", "192.168.200.5", &secret);
    let profile = json!({"bfdProfile": "bfd-profile"});
    site.peer("bgp-bfd", "192.168.100.3", &profile);
    // The first is summed up, and both are told.
    site.says(&NODES, MISSING);
    let message = site.message("speaker-n2");
    assert_eq!(message.lines().count(), 2, "{message}");
    assert!(
        message.contains("create Secret metallb-system/bgp-secret-invalid"),
        "{message}"
    );
    site.delete(PEERS, "bgp-bfd");
    site.says(
        &NODES,
        "configuration error: parsing peer bgp-secret-fail secret ref not found for peer config \
         \"metallb-system\"/\"bgp-secret-fail\"\nfailed to parse peer bgp-secret-fail password secret",
    );
    site.delete(PEERS, "bgp-secret-fail");
    site.all_valid();
}

/// With the labels, the condition types and the managers of fields that MetalLB's users know.
#[test]
fn c6_a_peer_with_its_password_is_valid_for_everybody() {
    let site = site();
    site.secret("bgp-secret-valid", "kubernetes.io/basic-auth");
    let more = json!({"passwordSecret": {"name": "bgp-secret-valid"}});
    site.peer("bgp-valid", "192.168.100.1", &more);
    site.is_in_force("bgp-valid");
    site.all_valid();
    for (name, state) in site.states() {
        let (kind, labels) = match name.strip_prefix("speaker-") {
            Some(node) => (
                "speaker",
                json!({"metallb.io/component-type": "speaker", "metallb.io/node-name": node}),
            ),
            None => (
                "controller",
                json!({"metallb.io/component-type": "controller"}),
            ),
        };
        let (type_, manager) = match kind {
            "speaker" => ("configReconcilerValid", "configReconciler"),
            _ => ("poolReconcilerValid", "poolReconciler"),
        };
        assert_eq!(state["metadata"]["labels"], labels, "{name}");
        let condition = &state["status"]["conditions"][0];
        let words = [
            &condition["type"],
            &condition["status"],
            &condition["reason"],
        ];
        assert_eq!(json!(words), json!([type_, "True", "Reconciled"]), "{name}");
        let managers = state["metadata"]["managedFields"].as_array().unwrap();
        let is_managed = |one: &Value| one["subresource"] == "status" && one["manager"] == manager;
        assert!(managers.iter().any(is_managed), "{name}: {managers:?}");
        // I10: whatever is said, the password is not.
        assert!(!state.to_string().contains("hunter2"), "{name}");
    }
}

/// Peers of one address on different nodes are two sessions; on one node they are the same.
#[test]
fn c7_a_node_that_comes_to_be_selected_by_two_peers_of_one_address_says_so() {
    let site = site();
    let label = |node: &str, label: &str, value: Value| {
        let patch = json!({"metadata": {"labels": {label: value}}});
        let path = format!("/api/v1/nodes/{node}");
        site.plane.patch(&path, &patch).unwrap();
    };
    let (a, b) = ("example.com/peer-a", "example.com/peer-b");
    label("n1", a, json!("true"));
    label("n2", b, json!("true"));
    for (name, label) in [("peer-conflict-1", a), ("peer-conflict-2", b)] {
        let nodes = json!([{"matchLabels": {label: "true"}}]);
        let more = json!({"myASN": 64500, "peerASN": 64500, "nodeSelectors": nodes});
        site.peer(name, "10.200.200.2", &more);
    }
    site.all_valid();
    label("n2", a, json!("true"));
    site.says(
        &["n2"],
        "configuration error: peer 10.200.200.2 already exists, FRR mode doesn't support duplicate \
         BGPPeers selecting the same node",
    );
    label("n2", a, Value::Null);
    site.all_valid();
    label("n1", a, Value::Null);
    label("n2", b, Value::Null);
}

#[test]
fn c8_deleted_states_come_back_with_the_same_verdict_and_then_nothing_is_written() {
    let site = site();
    let collection = format!("{V1BETA1}/configurationstates");
    let ids = || -> BTreeMap<String, Value> {
        let states = site.states().into_iter();
        states
            .map(|(name, state)| (name, state["metadata"]["uid"].clone()))
            .collect()
    };
    let recreated = |check: &dyn Fn()| {
        let before = ids();
        site.plane.delete(&collection).unwrap();
        check();
        let after = ids();
        assert!(
            before.iter().all(|(name, id)| after[name] != *id),
            "{after:?}"
        );
    };
    site.peer(
        "bgp-bfd",
        "192.168.100.3",
        &json!({"bfdProfile": "bfd-profile"}),
    );
    site.says(&NODES, MISSING);
    recreated(&|| site.says(&NODES, MISSING));
    site.put("bfdprofiles", "bfd-profile", &json!({}));
    site.all_valid();
    recreated(&|| site.all_valid());
    // I4: what is as it should be is left alone.
    let mark = site.plane.audit().mark();
    patience::pause(Duration::from_secs(2)).unwrap();
    let mut writes = site.plane.audit().writes(mark).unwrap();
    writes.retain(|write| write.resource == "configurationstates");
    assert!(writes.is_empty(), "{writes:?}");
}

#[test]
fn c9_every_speaker_says_what_concerns_its_node() {
    let site = site();
    site.secret("secret-valid", "kubernetes.io/basic-auth");
    let good = json!({"passwordSecret": {"name": "secret-valid"}, "nodeSelectors": of_node("n1")});
    site.peer("peer-node-valid", "192.168.100.1", &good);
    let bad = json!({"bfdProfile": "bfd-profile", "nodeSelectors": of_node("n2")});
    site.peer("bgp-bfd", "192.168.100.3", &bad);
    site.says(&["n2"], MISSING);
    // Selected anew, it is another's.
    let patch = json!({"spec": {"nodeSelectors": of_node("n3")}});
    site.plane
        .patch(&format!("{PEERS}/bgp-bfd"), &patch)
        .unwrap();
    site.says(&["n3"], MISSING);
}

#[test]
fn c10_a_state_that_is_deleted_or_edited_is_put_right() {
    let site = site();
    let collection = format!("{V1BETA1}/configurationstates");
    for name in ["speaker-n1", "controller"] {
        let id = site.state(name)["metadata"]["uid"].clone();
        site.delete(&collection, name);
        site.all_valid();
        assert_ne!(site.state(name)["metadata"]["uid"], id);
        let path = format!("{collection}/{name}/status");
        let lie = json!({"status": {"result": "Invalid", "errorSummary": "all is lost"}});
        site.plane.patch(&path, &lie).unwrap();
        site.all_valid();
    }
}

/// The controller says what is wrong with pools, and so does every speaker.
#[test]
fn a_pool_that_makes_no_sense_is_everybodys() {
    let site = site();
    site.put("ipaddresspools", "bad", &json!({"addresses": ["nonsense"]}));
    let is_said = || {
        let summaries = site.summaries();
        let says = |words: &String| words.contains("IPAddressPool/bad: spec.addresses[0]: ");
        summaries.len() == 4 && summaries.values().all(says)
    };
    patience::until("everybody to say so", SOON, is_said).unwrap();
    let condition = site.state("controller")["status"]["conditions"][0].take();
    assert_eq!(condition["type"], "poolReconcilerValid");
    assert_eq!(condition["reason"], "ConfigurationError");
}

/// `router-config` asks once, and waits for the Secret, too.
#[test]
fn a_router_is_told_what_the_api_server_has() {
    let site = site();
    site.secret("md5", "kubernetes.io/basic-auth");
    let addresses = json!({"addresses": ["198.51.100.0/28"]});
    site.put("ipaddresspools", "edge", &addresses);
    site.put("bgpadvertisements", "all", &json!({}));
    let more = json!({
        "passwordSecret": {"name": "md5"}, "sourceAddress": "192.0.2.9",
        "nodeSelectors": of_node("n1"),
    });
    site.peer("tor", "192.0.2.1", &more);
    let mut command = site.plane.namespace().command(programs::speaker().unwrap());
    command.args(["router-config", "--for", "frr", "--show-passwords"]);
    command.arg("--kubeconfig").arg(site.plane.kubeconfig());
    let text = output(&mut command).unwrap();
    for line in [
        "router bgp 64513",
        " neighbor ferrolb_tor remote-as 64512",
        " neighbor ferrolb_tor password hunter2",
        " neighbor 192.0.2.9 peer-group ferrolb_tor",
        "ip prefix-list ferrolb_tor_ipv4 seq 5 permit 198.51.100.0/28 ge 32 le 32",
    ] {
        assert!(text.lines().any(|is| is == line), "{line}:\n{text}");
    }
}
