use serde_json::json;

use super::*;
use crate::model::{Family, FamilyPolicy, Requests, TrafficPolicy};

fn key(kind: Kind, namespace: &str, name: &str) -> ObjectKey {
    ObjectKey {
        kind,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

fn service(namespace: &str, name: &str) -> Service {
    Service {
        key: ServiceKey::new(namespace, name),
        labels: BTreeMap::new(),
        created: None,
        is_load_balancer: true,
        class: None,
        families: Family::V4.into(),
        family_policy: FamilyPolicy::Single,
        ports: Vec::new(),
        traffic_policy: TrafficPolicy::Cluster,
        selector: BTreeMap::new(),
        source_ranges: Vec::new(),
        bad_source_ranges: Vec::new(),
        requests: Requests::default(),
        ingress: vec!["192.0.2.9".parse().unwrap()],
        allocated_from: Some("own".to_owned()),
        hints: Hints::parse("192.0.2.9=own"),
    }
}

fn apply(store: &mut Store, service: Service) {
    let key = key(Kind::Service, &service.key.namespace, &service.key.name);
    store.apply(key, Resource::Service(service.into()));
}

fn pool(addresses: &str) -> (ObjectKey, Resource) {
    let kind = api::Kind::IpAddressPool;
    let object = api::Object {
        kind,
        version: "v1beta1".to_owned(),
        namespace: "metallb-system".to_owned(),
        name: "edge".to_owned(),
        labels: BTreeMap::new(),
        created: None,
        document: json!({
            "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
            "metadata": { "name": "edge", "namespace": "metallb-system" },
            "spec": { "addresses": [addresses] },
        }),
    };
    let key = key(Kind::Configuration(kind), "metallb-system", "edge");
    (key, Resource::Configuration(object.into()))
}

/// A store that has told its (empty) configuration.
fn quiet() -> Store {
    let mut store = Store::new("metallb-system");
    let changes = store.changes();
    assert!(matches!(changes[..], [Change::Config(_)]), "{changes:?}");
    store
}

fn gaps(withheld: &BTreeSet<ServiceKey>) -> Gaps<'_> {
    Gaps {
        unreadable: Unreadable::default(),
        withheld,
        pools: false,
        namespaces: false,
    }
}

#[test]
fn a_service_brings_its_namespace_and_takes_it_away() {
    let mut store = quiet();
    apply(&mut store, service("shop", "web"));
    let web = ServiceKey::new("shop", "web");
    assert_eq!(
        store.changes(),
        [
            Change::Namespace("shop".to_owned(), Some(Namespace::implied("shop"))),
            Change::Service(web.clone(), Some(service("shop", "web").into())),
        ]
    );
    apply(&mut store, service("shop", "web2"));
    store.delete(&key(Kind::Service, "shop", "web2"));
    store.delete(&key(Kind::Service, "shop", "web"));
    assert_eq!(
        store.changes(),
        [
            Change::Namespace("shop".to_owned(), None),
            Change::Service(web, None),
        ]
    );
}

#[test]
fn a_written_namespace_outlives_its_services() {
    let mut store = quiet();
    let mut written = Namespace::implied("shop");
    written.labels.insert("team".to_owned(), "a".to_owned());
    let space = key(Kind::Namespace, "", "shop");
    store.apply(space.clone(), Resource::Namespace(written.clone()));
    apply(&mut store, service("shop", "web"));
    let changes = store.changes();
    assert_eq!(
        changes[0],
        Change::Namespace("shop".to_owned(), Some(written))
    );
    assert_eq!(changes.len(), 2);
    store.delete(&space);
    let implied = Namespace::implied("shop");
    assert_eq!(
        store.changes(),
        [Change::Namespace("shop".to_owned(), Some(implied))]
    );
}

#[test]
fn i4_what_is_the_same_is_not_told_again() {
    let mut store = quiet();
    let (pool_key, pool) = pool("10.0.0.1-10.0.0.9");
    let node = Node {
        name: "n1".to_owned(),
        ..Node::default()
    };
    let fill = |store: &mut Store| {
        apply(store, service("shop", "web"));
        store.apply(pool_key.clone(), pool.clone());
        store.apply(key(Kind::Node, "", "n1"), Resource::Node(node.clone()));
        store.record(ServiceKey::new("shop", "web"), Some(Holding::default()));
        store.record(ServiceKey::new("shop", "gone"), Some(Holding::default()));
        store.unreadable(gaps(&BTreeSet::new()));
    };
    fill(&mut store);
    assert_eq!(store.changes().len(), 5);
    fill(&mut store);
    assert_eq!(store.changes(), []);
}

#[test]
fn a_service_that_is_listed_again_is_kept_once() {
    let mut store = quiet();
    apply(&mut store, service("shop", "web"));
    let again = Arc::new(service("shop", "web"));
    let listed = Resource::Service(Arc::clone(&again));
    store.replace_all(
        Kind::Service,
        vec![(key(Kind::Service, "shop", "web"), listed)],
    );
    assert_eq!(Arc::strong_count(&again), 1);
}

#[test]
fn a_record_outranks_the_status_of_the_object_also_when_it_is_empty() {
    let mut store = quiet();
    apply(&mut store, service("shop", "web"));
    let web = ServiceKey::new("shop", "web");
    let shown = |store: &mut Store| match store.changes().pop() {
        Some(Change::Service(_, Some(service))) => {
            (service.ingress.clone(), service.allocated_from.clone())
        }
        other => panic!("{other:?}"),
    };
    let own = vec!["192.0.2.9".parse().unwrap()];
    assert_eq!(shown(&mut store), (own.clone(), Some("own".to_owned())));
    store.record(web.clone(), Some(Holding::default()));
    assert_eq!(shown(&mut store), (Vec::new(), None));
    store.record(web, None);
    assert_eq!(shown(&mut store), (own, Some("own".to_owned())));
}

#[test]
fn records_without_a_service_are_orphans() {
    let mut store = quiet();
    let web = ServiceKey::new("shop", "web");
    let ingress: Vec<IpAddr> = vec!["192.0.2.1".parse().unwrap()];
    let holding = Holding {
        ingress: ingress.clone(),
        ..Holding::default()
    };
    store.record(web.clone(), Some(holding));
    let orphans = BTreeMap::from([(web, ingress.clone())]);
    assert_eq!(store.changes(), [Change::Orphans(orphans)]);
    apply(&mut store, service("shop", "web"));
    let changes = store.changes();
    assert_eq!(changes.last(), Some(&Change::Orphans(BTreeMap::new())));
    let Change::Service(_, Some(service)) = &changes[1] else {
        panic!("{changes:?}");
    };
    assert_eq!(service.ingress, ingress);
}

#[test]
fn a_service_whose_record_cannot_be_read_is_not_spoken_of() {
    let mut store = quiet();
    let web = ServiceKey::new("shop", "web");
    let withheld = BTreeSet::from([web]);
    apply(&mut store, service("shop", "web"));
    store.unreadable(gaps(&withheld));
    let unreadable = Unreadable {
        any: false,
        services: withheld,
        namespaces: BTreeSet::new(),
        records: true,
    };
    let changes = store.changes();
    assert_eq!(changes.last(), Some(&Change::Unreadable(unreadable)));
    let is_service = |change: &Change| matches!(change, Change::Service(..));
    assert!(!changes.iter().any(is_service));
    store.unreadable(gaps(&BTreeSet::new()));
    assert!(store.changes().iter().any(is_service));
}

#[test]
fn a_record_that_cannot_be_read_and_has_no_service_is_an_orphan_that_holds_nothing() {
    let mut store = quiet();
    let withheld = BTreeSet::from([ServiceKey::new("shop", "web")]);
    store.unreadable(gaps(&withheld));
    let orphans = withheld.iter().map(|key| (key.clone(), Vec::new()));
    let changes = store.changes();
    assert_eq!(changes, [Change::Orphans(orphans.collect())]);
    // While its object may be unread, it may hold anything.
    let any = Unreadable {
        any: true,
        ..Unreadable::default()
    };
    store.unreadable(Gaps {
        unreadable: any.clone(),
        ..gaps(&withheld)
    });
    let records = Unreadable {
        records: true,
        ..any
    };
    assert_eq!(store.changes(), [Change::Unreadable(records)]);
}

#[test]
fn the_configuration_is_judged_when_its_objects_change() {
    let mut store = quiet();
    let (key, bad) = pool("nonsense");
    store.apply(key.clone(), bad);
    let (_, good) = pool("10.0.0.1-10.0.0.9");
    store.changes();
    assert_eq!(store.problems().len(), 1);
    store.apply(key.clone(), good);
    let changes = store.changes();
    let [Change::Config(config)] = &changes[..] else {
        panic!("{changes:?}");
    };
    assert_eq!(config.pools["edge"].ranges.len(), 1);
    assert_eq!(store.problems(), []);
    store.delete(&key);
    let changes = store.changes();
    let [Change::Config(config)] = &changes[..] else {
        panic!("{changes:?}");
    };
    assert!(config.pools.is_empty());
}

#[test]
fn i5_while_a_pool_may_be_unread_the_configuration_says_so() {
    let mut store = quiet();
    store.unreadable(Gaps {
        pools: true,
        ..gaps(&BTreeSet::new())
    });
    let changes = store.changes();
    let [Change::Config(config)] = &changes[..] else {
        panic!("{changes:?}");
    };
    assert!(config.pools_incomplete);
}

#[test]
fn what_a_full_list_does_not_name_is_gone() {
    let mut store = quiet();
    for name in ["a", "b"] {
        apply(&mut store, service("shop", name));
    }
    store.changes();
    let listed = service("shop", "b");
    store.replace_all(
        Kind::Service,
        vec![(
            key(Kind::Service, "shop", "b"),
            Resource::Service(listed.into()),
        )],
    );
    let a = ServiceKey::new("shop", "a");
    assert_eq!(store.changes(), [Change::Service(a, None)]);
    for kind in [
        Kind::Node,
        Kind::Namespace,
        Kind::EndpointSlice,
        Kind::Secret,
    ] {
        store.replace_all(kind, Vec::new());
    }
    assert_eq!(store.changes(), []);
    let (pool_key, pool) = pool("10.0.0.1-10.0.0.9");
    store.replace_all(pool_key.kind, vec![(pool_key, pool)]);
    store.changes();
    store.replace_all(Kind::Configuration(api::Kind::IpAddressPool), Vec::new());
    assert_eq!(store.changes().len(), 1);
}
