use serde_json::{Value, json};

use super::*;

fn web() -> ServiceKey {
    ServiceKey::new("default", "web")
}

/// What the API server has once both steps are written.
fn stored(key: &Key, body: &Body, present: Option<&Body>, now: &str) -> Value {
    let mut object = metadata(key, "n1", Some("u1"));
    object["metadata"]["resourceVersion"] = json!("7");
    object["status"] = status(key, "n1", body, present, now)["status"].take();
    object
}

#[test]
fn what_is_written_is_read_back_as_the_same() {
    let session = Session {
        state: SessionState::Established,
        since: "2026-01-01T00:00:00Z".to_owned(),
        last_error: None,
        prefixes: 3,
        peer_address: Some("192.0.2.1".to_owned()),
    };
    for (key, body) in [
        (Key::Layer2(web()), Body::Layer2(vec!["eth0".to_owned()])),
        (Key::Layer2(web()), Body::Layer2(Vec::new())),
        (Key::Bgp(web()), Body::Bgp(vec!["tor".to_owned()])),
        (Key::Session("tor".to_owned()), Body::Session(session)),
        (
            Key::Configuration,
            Body::Configuration(Verdict {
                error: "configuration error: why".to_owned(),
                since: None,
            }),
        ),
    ] {
        let seen = seen(
            key.sort(),
            stored(&key, &body, None, "2026-01-01T00:00:00Z"),
        )
        .unwrap();
        assert_eq!((&seen.key, seen.version), (&key, 7));
        assert_eq!(seen.name, name(&key, "n1"));
        assert!(seen.body.unwrap().says_the_same(&body));
    }
}

#[test]
fn an_object_that_says_nothing_yet_is_seen_and_a_strangers_is_not() {
    let made = metadata(&Key::Layer2(web()), "n1", None);
    assert_eq!(made["metadata"]["ownerReferences"], json!([]));
    let seen = |sort, object| seen(sort, object);
    assert_eq!(seen(Sort::Layer2, made).unwrap().body, None);
    assert_eq!(seen(Sort::Layer2, json!({"metadata": {"name": "x"}})), None);
}

#[test]
fn metallbs_names_labels_and_words_are_kept() {
    let object = stored(
        &Key::Configuration,
        &Body::Configuration(Verdict::default()),
        None,
        "2026-01-01T00:00:00Z",
    );
    assert_eq!(object["metadata"]["name"], "speaker-n1");
    assert_eq!(
        object["metadata"]["labels"],
        json!({"metallb.io/component-type": "speaker", "metallb.io/node-name": "n1"})
    );
    assert_eq!(object["status"]["result"], "Valid");
    let condition = &object["status"]["conditions"][0];
    assert_eq!(condition["type"], "configReconcilerValid");
    assert_eq!(condition["reason"], "Reconciled");
    let object = stored(&Key::Layer2(web()), &Body::Layer2(Vec::new()), None, "");
    assert!(
        object["metadata"]["name"]
            .as_str()
            .unwrap()
            .starts_with("l2-")
    );
    assert_eq!(
        object["metadata"]["labels"],
        json!({
            "metallb.io/node": "n1",
            "metallb.io/service-name": "web",
            "metallb.io/service-namespace": "default",
        })
    );
    assert_eq!(object["metadata"]["ownerReferences"][0]["kind"], "Node");
}

#[test]
fn a_condition_keeps_its_time_until_it_turns() {
    let key = Key::Configuration;
    let wrong = |error: &str, since: Option<&str>| {
        Body::Configuration(Verdict {
            error: error.to_owned(),
            since: since.map(str::to_owned),
        })
    };
    let since = |present: &Body, body: &Body| {
        let status = status(&key, "n1", body, Some(present), "now");
        status["status"]["conditions"][0]["lastTransitionTime"].clone()
    };
    let before = wrong("configuration error: one", Some("then"));
    assert_eq!(
        since(&before, &wrong("configuration error: two", None)),
        "then"
    );
    assert_eq!(since(&before, &wrong("", None)), "now");
}

#[test]
fn a_long_name_is_cut_and_stays_its_own() {
    let node = "n".repeat(253);
    let names: Vec<String> = ["tor-1", "tor-2"]
        .iter()
        .map(|peer| name(&Key::Session((*peer).to_owned()), &node))
        .collect();
    assert!(names.iter().all(|name| name.len() == 253));
    assert_ne!(names[0], names[1]);
    assert_eq!(label(&node).len(), 63);
    assert_eq!(name(&Key::Session("tor".to_owned()), "n1"), "n1-tor");
}

#[test]
fn a_configuration_error_says_so_and_is_bounded() {
    let Wanted::This(Body::Configuration(verdict)) = configuration(&BTreeSet::new()) else {
        panic!("a verdict is wanted");
    };
    assert_eq!(verdict.error, "");
    let problems = (0..500)
        .map(|n| format!("{n}: {}", "é".repeat(400)))
        .collect();
    let Wanted::This(Body::Configuration(verdict)) = configuration(&problems) else {
        panic!("a verdict is wanted");
    };
    assert!(verdict.error.starts_with("configuration error: 0: "));
    assert!(verdict.error.len() <= LONGEST);
}

#[test]
fn an_event_is_found_by_describe() {
    let told = Event {
        service: web(),
        uid: "u1".to_owned(),
        is_warning: false,
        reason: "nodeAssigned",
        message: "announcing".to_owned(),
    };
    let object = event(&told, "n1", "now", 255);
    assert_eq!(object["metadata"]["name"], "web.ff");
    assert_eq!(object["involvedObject"]["uid"], "u1");
    assert_eq!(object["source"]["component"], "metallb-speaker");
    assert_eq!(object["type"], "Normal");
}
