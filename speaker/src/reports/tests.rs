use std::collections::BTreeSet;

use ferrolb_crds::model::Families;
use ferrolb_crds::validate::{ObjectRef, Problem};
use serde_json::{Value, json};

use super::*;

fn web() -> ServiceKey {
    ServiceKey::new("default", "web")
}

fn problem(message: &str) -> Problem {
    let object = ObjectRef {
        kind: "BGPPeer".to_owned(),
        namespace: "metallb-system".to_owned(),
        name: "tor".to_owned(),
    };
    Problem::new(object, "spec.peerAddress", message)
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
        details: Details {
            hold_time: Some(90),
            families: vec!["ipv4".to_owned()],
            capabilities: vec!["routeRefresh".to_owned()],
            bfd: Some(BgpSessionBfd {
                state: "Up".to_owned(),
                since: Some("2026-01-01T00:00:00Z".to_owned()),
                last_failure: Some("control detection time expired".to_owned()),
                problem: None,
            }),
        },
    };
    for (key, body) in [
        (Key::Layer2(web()), Body::Layer2(vec!["eth0".to_owned()])),
        (Key::Layer2(web()), Body::Layer2(Vec::new())),
        (Key::Bgp(web()), Body::Bgp(vec!["tor".to_owned()])),
        (
            Key::Session("tor".to_owned()),
            Body::Session(Box::new(session)),
        ),
        (
            Key::Configuration,
            Body::Configuration(Box::new(Statement::of(&[problem("why")]))),
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
        &Body::Configuration(Box::default()),
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
    let wrong = |why: &str| Body::Configuration(Box::new(Statement::of(&[problem(why)])));
    let before = stored(&key, &wrong("one"), None, "then");
    let before = seen(Sort::Configuration, before).unwrap().body;
    let since = |body: &Body| {
        let status = status(&key, "n1", body, before.as_ref(), "now");
        status["status"]["conditions"][0]["lastTransitionTime"].clone()
    };
    assert_eq!(since(&wrong("two")), "then");
    assert_eq!(since(&Body::Configuration(Box::default())), "now");
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

mod of_plans {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use ferrolb_crds::model::{Hints, Service, TrafficPolicy};
    use ferrolb_crds::source::Change;

    use super::*;
    use crate::plan::{HandOff, Holding, ServicePlan};
    use crate::world::Cause;
    use crate::world::Identity;

    fn world(addresses: &[&str]) -> World {
        let mut world = World::new(Identity::default());
        let service = Service {
            key: web(),
            labels: BTreeMap::new(),
            created: None,
            is_load_balancer: true,
            class: None,
            families: Families::default(),
            family_policy: ferrolb_crds::model::FamilyPolicy::Single,
            ports: Vec::new(),
            traffic_policy: TrafficPolicy::Cluster,
            selector: BTreeMap::new(),
            source_ranges: Vec::new(),
            bad_source_ranges: Vec::new(),
            requests: Default::default(),
            ingress: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            allocated_from: None,
            hints: Hints::default(),
        };
        let _ = world.apply(Change::Service(web(), Some(Arc::new(service))));
        world
    }

    fn held(interfaces: Interfaces, missing: &[&str]) -> Layer2 {
        Layer2::Held(Holding {
            is_named: interfaces != Interfaces::All,
            interfaces,
            missing: missing.iter().map(|name| (*name).to_owned()).collect(),
            on: BTreeSet::new(),
            others: Default::default(),
            cause: Cause::Rank,
        })
    }

    fn not_held(reason: Reason, is_at_fault: bool) -> Layer2 {
        Layer2::NotHeld {
            reason,
            detail: Some("eth9".to_owned()),
            holder: None,
            is_at_fault,
        }
    }

    fn only(names: &[&str]) -> Interfaces {
        Interfaces::Only(names.iter().map(|name| (*name).to_owned()).collect())
    }

    fn address(layer2: Layer2, peers: &[&str]) -> AddressPlan {
        let fate = ServicePlan {
            layer2: layer2.reason(),
            bgp: peers.is_empty().then_some(Reason::NoMatchingPeer),
            peers: peers.iter().map(|name| (*name).to_owned()).collect(),
        };
        AddressPlan {
            layer2,
            advertised: [].into(),
            hand_off: HandOff::default(),
            services: [(web(), fate)].into(),
        }
    }

    fn plan(addresses: Vec<(&str, AddressPlan)>) -> Plan {
        let addresses = addresses.into_iter();
        Plan {
            addresses: addresses
                .map(|(text, plan)| (text.parse::<IpAddr>().unwrap(), Arc::new(plan)))
                .collect(),
            ..Plan::default()
        }
    }

    #[test]
    fn one_status_stands_for_all_addresses_of_a_service() {
        let world = world(&["192.0.2.1", "2001:db8::1"]);
        let both = |first: Layer2, second: Layer2| {
            let plan = plan(vec![
                ("192.0.2.1", address(first, &["a", "b"])),
                ("2001:db8::1", address(second, &["b", "c"])),
            ]);
            let wanted = layer2(&world, &plan, &web(), &Unsettled::default());
            assert_eq!(
                bgp(&world, &plan, &web()),
                Some(Wanted::This(Body::Bgp(
                    ["a", "b", "c"].map(str::to_owned).into()
                )))
            );
            wanted
        };
        let said = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            Some(Wanted::This(Body::Layer2(names)))
        };
        let one = held(only(&["eth0", "eth9"]), &["eth9"]);
        assert_eq!(
            both(one.clone(), held(only(&["eth1"]), &[])),
            said(&["eth0", "eth1"])
        );
        assert_eq!(both(one.clone(), held(Interfaces::All, &[])), said(&[]));
        assert_eq!(
            both(one, not_held(Reason::NotOwner, false)),
            said(&["eth0"])
        );
        let other = || not_held(Reason::NotOwner, false);
        assert_eq!(both(other(), other()), None);
        let listening = not_held(Reason::Listening, false);
        assert_eq!(both(listening, other()), Some(Wanted::AsItIs));
    }

    #[test]
    fn while_layer_2_is_being_started_what_is_said_stays() {
        let world = world(&["192.0.2.1"]);
        let off = address(not_held(Reason::Layer2Off, false), &[]);
        let plan = plan(vec![("192.0.2.1", off)]);
        let settled = Unsettled::default();
        let unsettled = Unsettled {
            is_starting: true,
            ..Unsettled::default()
        };
        let wanted = layer2(&world, &plan, &web(), &unsettled);
        assert_eq!(wanted, Some(Wanted::AsItIs));
        assert_eq!(layer2(&world, &plan, &web(), &settled), None);
        assert_eq!(bgp(&world, &plan, &web()), None);
    }

    #[test]
    fn while_another_listens_where_this_one_answers_what_is_said_stays() {
        let world = world(&["192.0.2.1"]);
        let wanted = |layer2: Layer2, contested: &str| {
            let plan = plan(vec![("192.0.2.1", address(layer2, &[]))]);
            let unsettled = Unsettled {
                contested: BTreeSet::from([contested.to_owned()]),
                ..Unsettled::default()
            };
            super::layer2(&world, &plan, &web(), &unsettled)
        };
        let on_one = || held(only(&["eth0"]), &[]);
        assert_eq!(wanted(on_one(), "eth0"), Some(Wanted::AsItIs));
        let everywhere = held(Interfaces::All, &[]);
        assert_eq!(wanted(everywhere, "eth0"), Some(Wanted::AsItIs));
        let said = Wanted::This(Body::Layer2(vec!["eth0".to_owned()]));
        assert_eq!(wanted(on_one(), "eth1"), Some(said));
        assert_eq!(wanted(not_held(Reason::NotOwner, false), "eth0"), None);
    }

    #[test]
    fn who_would_announce_and_cannot_warns_once() {
        let failed = address(not_held(Reason::AnnounceFailed, true), &[]);
        let at = "192.0.2.1".parse().unwrap();
        let warned = warnings("n1", at, None, Some(&failed));
        assert_eq!(warned.len(), 1);
        assert_eq!(warned[0].reason, "announceFailed");
        assert!(warned[0].message.contains("eth9"), "{warned:?}");
        assert!(warnings("n1", at, Some(&failed), Some(&failed)).is_empty());
        let other = address(not_held(Reason::AnnounceFailed, false), &[]);
        assert!(warnings("n1", at, None, Some(&other)).is_empty());
    }

    #[test]
    fn an_address_that_somebody_else_has_is_warned_of_on_change_with_their_mac() {
        let at = "192.0.2.1".parse().unwrap();
        let holding = |mac: Option<&str>| {
            let others = mac.map(|mac| ("eth0".to_owned(), mac.to_owned()));
            Holding {
                is_named: false,
                interfaces: Interfaces::All,
                missing: BTreeSet::new(),
                on: BTreeSet::new(),
                others: others.into_iter().collect(),
                cause: Cause::Rank,
            }
        };
        let held = |mac| address(Layer2::Held(holding(mac)), &[]);
        let refused = |mac| {
            let reason = Reason::AddressConflict;
            let holding = holding(mac);
            address(Layer2::Withheld { holding, reason }, &[])
        };
        let (one, two) = (Some("02:00:00:00:00:77"), Some("02:00:00:00:00:78"));
        let warned = |old: &AddressPlan, new: &AddressPlan| {
            let warnings = warnings("n1", at, Some(old), Some(new));
            let mut messages = warnings.into_iter().map(|warning| {
                assert_eq!(
                    (warning.service, warning.reason),
                    (web(), "AddressConflict")
                );
                warning.message
            });
            let message = messages.next();
            assert!(messages.next().is_none());
            message
        };
        let message = warned(&held(None), &held(one)).unwrap();
        for part in [
            "192.0.2.1",
            "02:00:00:00:00:77 on eth0",
            "\"n1\"",
            "all the same",
        ] {
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(warned(&held(one), &held(one)), None);
        assert!(warned(&held(one), &held(two)).unwrap().contains(":78"));
        assert_eq!(warned(&held(two), &held(None)), None);
        let message = warned(&held(None), &refused(one)).unwrap();
        assert!(message.contains("does not announce"), "{message}");
    }
}
