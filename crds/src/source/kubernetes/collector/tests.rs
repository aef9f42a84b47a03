use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::source::kubernetes::item;
use crate::source::kubernetes::watch::{Failure, FailureKind};

fn services() -> Stream {
    Stream::Kind(Kind::Service)
}

fn peers() -> Stream {
    Stream::Kind(Kind::Configuration(api::Kind::BgpPeer))
}

fn pools() -> Stream {
    Stream::Kind(Kind::Configuration(api::Kind::IpAddressPool))
}

fn collector() -> Collector {
    Collector::new("metallb-system", vec![pools(), peers(), services()])
}

fn service_of(spec: Value, version: &str) -> Item {
    let object = json!({
        "metadata": {"namespace": "default", "name": "web", "uid": "u", "resourceVersion": version},
        "spec": spec,
        "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}},
    });
    item::service(serde_json::from_value(object).unwrap())
}

fn service(version: &str) -> Item {
    service_of(json!({"type": "LoadBalancer"}), version)
}

fn object(kind: api::Kind, name: &str, spec: &Value) -> Item {
    let object = json!({
        "apiVersion": "metallb.io/v1beta1", "kind": kind.name(),
        "metadata": {"namespace": "metallb-system", "name": name},
        "spec": spec,
    });
    item::configuration(serde_json::from_value(object).unwrap(), kind)
}

fn pool() -> Item {
    object(
        api::Kind::IpAddressPool,
        "first",
        &json!({"addresses": ["10.0.0.0/24"]}),
    )
}

fn listed(collector: &mut Collector, stream: Stream, objects: Vec<Item>) {
    let event = Event::Listed {
        objects,
        version: "5".to_owned(),
        round: 0,
    };
    collector.handle(Heard::Objects(stream, Box::new(event)));
}

fn key() -> ServiceKey {
    ServiceKey::new("default", "web")
}

fn synced() -> Collector {
    let mut collector = collector();
    listed(&mut collector, pools(), vec![pool()]);
    listed(&mut collector, peers(), vec![]);
    listed(&mut collector, services(), vec![service("4")]);
    assert!(collector.batch().is_some());
    collector
}

#[test]
fn nothing_is_told_before_everything_has_been_listed() {
    let mut collector = collector();
    listed(&mut collector, services(), vec![service("4")]);
    listed(&mut collector, pools(), vec![pool()]);
    let failure = Failure {
        kind: FailureKind::Missing,
        cause: "no such kind".to_owned(),
    };
    collector.handle(Heard::Objects(peers(), Box::new(Event::Failed(failure))));
    assert!(collector.batch().is_none());
    listed(&mut collector, peers(), vec![]);
    let batch = collector.batch().unwrap();
    assert_eq!(batch.changes.last(), Some(&Change::Synced));
    assert_eq!(batch.services[0].0, key());
    assert_eq!(batch.pools.unwrap()["first"], None);
    assert_eq!(batch.reached.version, 5);
    assert!(collector.batch().is_none());
}

#[test]
fn a_secret_that_a_peer_refers_to_is_awaited() {
    let mut collector = collector();
    listed(&mut collector, services(), vec![]);
    listed(&mut collector, pools(), vec![]);
    let spec = json!({
        "myASN": 64512, "peerASN": 64513, "peerAddress": "10.0.0.9",
        "passwordSecret": {"name": "secret"},
    });
    listed(
        &mut collector,
        peers(),
        vec![object(api::Kind::BgpPeer, "r", &spec)],
    );
    let secret = Stream::Secret("secret".to_owned());
    assert_eq!(collector.secrets(), BTreeSet::from([secret.clone()]));
    assert!(collector.batch().is_none());
    let object = json!({
        "metadata": {"namespace": "metallb-system", "name": "secret"},
        "type": "kubernetes.io/basic-auth",
        "data": {"password": "aHVzaA=="},
    });
    let item = item::secret(serde_json::from_value(object).unwrap());
    listed(&mut collector, secret, vec![item]);
    let batch = collector.batch().unwrap();
    assert_eq!(batch.problems, Some(Vec::new()));
    listed(&mut collector, peers(), vec![]);
    assert!(collector.secrets().is_empty());
}

#[test]
fn the_status_of_a_pool_is_no_configuration() {
    let mut collector = synced();
    let status = json!({
        "assignedIPv4": 1, "assignedIPv6": 0, "availableIPv4": 255, "availableIPv6": 0,
    });
    let object = json!({
        "metadata": {"namespace": "metallb-system", "name": "first"},
        "spec": {"addresses": ["10.0.0.0/24"]},
        "status": status,
    });
    let object = serde_json::from_value(object).unwrap();
    let item = item::configuration(object, api::Kind::IpAddressPool);
    let event = Event::Applied(item, "9".to_owned());
    collector.handle(Heard::Objects(pools(), Box::new(event)));
    let batch = collector.batch().unwrap();
    assert_eq!(batch.changes, []);
    assert_eq!(
        batch.pools.unwrap()["first"]
            .as_ref()
            .unwrap()
            .assigned_ipv4,
        1
    );
}

#[test]
fn what_is_missing_from_a_new_list_is_gone() {
    let mut collector = synced();
    listed(&mut collector, services(), vec![]);
    let batch = collector.batch().unwrap();
    assert!(batch.changes.contains(&Change::Service(key(), None)));
    assert_eq!(batch.services, [(key(), None)]);
}

#[test]
fn a_service_that_cannot_be_understood_any_more_stays_as_it_was() {
    let mut collector = synced();
    let item = service_of(json!({"type": "Unheard"}), "6");
    let event = Event::Applied(item, "6".to_owned());
    collector.handle(Heard::Objects(services(), Box::new(event)));
    let batch = collector.batch().unwrap();
    assert_eq!(batch.changes, []);
    assert_eq!(batch.services[0].1.as_ref().unwrap().version, "6");
}

#[test]
fn what_cannot_be_understood_is_told_once_and_again_when_that_has_changed() {
    let mut collector = synced();
    let mut told = |spec: Value, version: &str| {
        let event = Event::Applied(service_of(spec, version), version.to_owned());
        collector.handle(Heard::Objects(services(), Box::new(event)));
        let misread = collector.batch().unwrap().misread;
        misread.map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let unheard = || json!({"type": "Unheard"});
    let first = told(unheard(), "6").unwrap();
    assert_eq!(first.len(), 1);
    assert!(
        first[0].starts_with("Service/web in namespace default: spec.type: "),
        "{first:?}"
    );
    assert!(first[0].contains("\"Unheard\""), "{first:?}");
    assert_eq!(told(unheard(), "7"), None);
    let port = json!({"type": "LoadBalancer", "ports": [{"port": 80, "protocol": "X"}]});
    let second = told(port, "8").unwrap();
    assert!(second[0].contains("spec.ports[0].protocol"), "{second:?}");
    assert_eq!(told(json!({"type": "LoadBalancer"}), "9"), Some(Vec::new()));
    assert_eq!(told(json!({"type": "LoadBalancer"}), "10"), None);
}

#[test]
fn what_was_never_understood_is_forgotten_with_the_object() {
    let mut collector = collector();
    for stream in [pools(), peers()] {
        listed(&mut collector, stream, vec![]);
    }
    let item = || service_of(json!({"type": "Unheard"}), "4");
    listed(&mut collector, services(), vec![item()]);
    assert_eq!(collector.batch().unwrap().misread.unwrap().len(), 1);
    // No watch has told of its end.
    listed(&mut collector, services(), vec![]);
    let batch = collector.batch().unwrap();
    assert_eq!(batch.misread, Some(BTreeSet::new()));
    assert!(
        batch
            .changes
            .contains(&Change::Unreadable(Unreadable::default()))
    );
    assert_eq!(batch.services, [(key(), None)]);
}

#[test]
fn a_service_that_was_never_understood_is_unknown_and_not_absent() {
    let mut collector = collector();
    for stream in [pools(), peers()] {
        listed(&mut collector, stream, vec![]);
    }
    let item = service_of(json!({"type": "Unheard"}), "4");
    listed(&mut collector, services(), vec![item]);
    let batch = collector.batch().unwrap();
    let unreadable = Unreadable {
        services: BTreeSet::from([key()]),
        ..Unreadable::default()
    };
    assert!(batch.changes.contains(&Change::Unreadable(unreadable)));
    let event = Event::Applied(service("7"), "7".to_owned());
    collector.handle(Heard::Objects(services(), Box::new(event)));
    let changes = collector.batch().unwrap().changes;
    assert!(changes.contains(&Change::Unreadable(Unreadable::default())));
}

#[test]
fn how_far_the_services_have_been_read_is_told() {
    let mut collector = synced();
    collector.handle(Heard::Objects(
        services(),
        Box::new(Event::Reached("17".to_owned())),
    ));
    assert_eq!(collector.batch().unwrap().reached.version, 17);
    let event = Event::Listed {
        objects: vec![service("4")],
        version: "16".to_owned(),
        round: 3,
    };
    collector.handle(Heard::Objects(services(), Box::new(event)));
    let reached = collector.batch().unwrap().reached;
    assert_eq!((reached.version, reached.round), (17, 3));
}

#[test]
fn a_snapshot_has_everything_that_was_told() {
    let mut collector = synced();
    let event = Event::Applied(
        service_of(
            json!({"type": "LoadBalancer", "ports": [{"port": 80}]}),
            "8",
        ),
        "8".to_owned(),
    );
    collector.handle(Heard::Objects(services(), Box::new(event)));
    let told = collector.batch().unwrap().changes;
    let snapshot = collector.snapshot();
    let Change::Service(_, Some(service)) = &told[0] else {
        panic!("no service");
    };
    let has_it = |change: &Change| matches!(change, Change::Service(_, Some(other)) if Arc::ptr_eq(other, service));
    assert!(snapshot.iter().any(has_it));
    assert_eq!(snapshot.last(), Some(&Change::Synced));
    assert!(matches!(snapshot[0], Change::Config(_)));
}

#[test]
fn the_heartbeat_key_is_told_when_it_changes() {
    let mut collector = Collector::new("metallb-system", vec![Stream::HeartbeatKey]);
    let key = Some(b"key".to_vec());
    let event = Event::Listed {
        objects: vec![key.clone()],
        version: "1".to_owned(),
        round: 0,
    };
    collector.handle(Heard::Key(event));
    assert_eq!(collector.batch().unwrap().heartbeat_key, Some(key));
    collector.handle(Heard::Key(Event::Deleted(None, "2".to_owned())));
    assert_eq!(collector.batch().unwrap().heartbeat_key, Some(None));
}

#[test]
fn what_may_not_be_read_holds_nothing_up() {
    let streams = vec![services(), Stream::HeartbeatKey];
    let mut collector = Collector::new("metallb-system", streams);
    listed(&mut collector, services(), vec![]);
    assert!(collector.batch().is_none());
    collector.do_without(Stream::HeartbeatKey);
    assert!(collector.batch().is_some());
}
