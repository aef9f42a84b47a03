use ferrolb_crds::model::{Endpoint, Family, FamilyPolicy, Hints, Requests, TrafficPolicy};

use super::*;

fn key(name: &str) -> ServiceKey {
    ServiceKey::new("default", name)
}

fn service(name: &str, ingress: &[&str]) -> Option<Arc<Service>> {
    Some(Arc::new(Service {
        key: key(name),
        labels: Labels::new(),
        created: None,
        is_load_balancer: true,
        class: None,
        families: Family::V4.into(),
        family_policy: FamilyPolicy::Single,
        ports: Vec::new(),
        traffic_policy: TrafficPolicy::Cluster,
        selector: Labels::new(),
        source_ranges: Vec::new(),
        bad_source_ranges: Vec::new(),
        requests: Requests::default(),
        ingress: ingress.iter().map(|a| a.parse().unwrap()).collect(),
        allocated_from: None,
        hints: Hints::default(),
    }))
}

fn slice(name: &str, service: &str) -> Option<Arc<EndpointSlice>> {
    Some(Arc::new(EndpointSlice {
        key: key(name),
        service: service.to_owned(),
        family: None,
        endpoints: vec![Endpoint {
            node: None,
            has_address: true,
            ready: None,
            serving: None,
        }],
    }))
}

fn world() -> World {
    World::new(Identity {
        node: "n1".to_owned(),
        ..Identity::default()
    })
}

fn addresses(list: &[&str]) -> BTreeSet<IpAddr> {
    list.iter().map(|a| a.parse().unwrap()).collect()
}

#[test]
fn i11_a_service_touches_its_old_and_new_addresses_and_no_others() {
    let mut world = world();
    let _ = world.apply(Change::Service(
        key("other"),
        service("other", &["10.0.0.9"]),
    ));
    let web = Change::Service(key("web"), service("web", &["10.0.0.1"]));
    assert_eq!(world.apply(web.clone()), addresses(&["10.0.0.1"]));
    assert_eq!(world.apply(web), addresses(&[]), "the same again");
    let moved = Change::Service(key("web"), service("web", &["10.0.0.2"]));
    assert_eq!(world.apply(moved), addresses(&["10.0.0.1", "10.0.0.2"]));
    let gone = world.apply(Change::Service(key("web"), None));
    assert_eq!(gone, addresses(&["10.0.0.2"]));
    assert_eq!(
        world.addresses().collect::<BTreeSet<_>>(),
        addresses(&["10.0.0.9"])
    );
}

#[test]
fn a_slice_that_changes_its_service_touches_both() {
    let mut world = world();
    let _ = world.apply(Change::Service(key("a"), service("a", &["10.0.0.1"])));
    let _ = world.apply(Change::Service(key("b"), service("b", &["10.0.0.2"])));
    let touched = world.apply(Change::EndpointSlice(key("s"), slice("s", "a")));
    assert_eq!(touched, addresses(&["10.0.0.1"]));
    let touched = world.apply(Change::EndpointSlice(key("s"), slice("s", "b")));
    assert_eq!(touched, addresses(&["10.0.0.1", "10.0.0.2"]));
    assert!(world.slices_of(&key("a")).is_none());
    let touched = world.apply(Change::EndpointSlice(key("s"), None));
    assert_eq!(touched, addresses(&["10.0.0.2"]));
    assert!(world.slices_of(&key("b")).is_none());
}

#[test]
fn a_node_that_only_changes_its_addresses_touches_nothing() {
    let mut world = world();
    let _ = world.apply(Change::Service(key("a"), service("a", &["10.0.0.1"])));
    let mut node = Node {
        name: "n2".to_owned(),
        ..Node::default()
    };
    let appeared = Change::Node("n2".to_owned(), Some(node.clone()));
    assert_eq!(world.apply(appeared), addresses(&["10.0.0.1"]));
    node.addresses = vec!["192.168.1.2".parse().unwrap()];
    let readdressed = Change::Node("n2".to_owned(), Some(node));
    assert_eq!(world.apply(readdressed), addresses(&[]));
}

#[test]
fn without_node_objects_the_candidates_are_this_node_and_those_heard() {
    let mut world = world();
    let names = |world: &World| -> Vec<String> {
        let nodes = world.nodes();
        nodes.iter().map(|node| node.name.clone()).collect()
    };
    let _ = world.hear(Segment::Known {
        links: BTreeMap::new(),
        heard: BTreeMap::from([("n7".to_owned(), BTreeMap::new())]),
        waiting: BTreeMap::new(),
        unknown: BTreeSet::new(),
    });
    assert_eq!(names(&world), ["n1", "n7"]);
    assert_eq!(world.node("n7").labels[HOSTNAME_LABEL], "n7");
    assert!(!world.is_stranger());
    let n2 = Node {
        name: "n2".to_owned(),
        ..Node::default()
    };
    let _ = world.apply(Change::Node("n2".to_owned(), Some(n2)));
    assert_eq!(names(&world), ["n2"]);
    assert!(world.is_stranger());
}

fn heard(nodes: &[&str]) -> Segment {
    let ways = BTreeMap::from([("eth0".to_owned(), BTreeSet::from(["eth0".to_owned()]))]);
    let nodes = nodes.iter();
    Segment::Known {
        links: BTreeMap::from([("eth0".to_owned(), LinkState::Up)]),
        heard: nodes
            .map(|node| ((*node).to_owned(), ways.clone()))
            .collect(),
        waiting: Heard::new(),
        unknown: BTreeSet::new(),
    }
}

fn holds(node: &str) -> Vec<Claim> {
    vec![Claim {
        node: node.into(),
        interface: "eth0".into(),
        standing: Standing::Holds,
    }]
}

#[test]
fn i11_what_happens_to_a_node_touches_its_own_addresses_and_those_that_nobody_has() {
    let mut world = world();
    for (name, address) in [
        ("a", "10.0.0.1"),
        ("b", "10.0.0.2"),
        ("c", "10.0.0.3"),
        ("d", "10.0.0.4"),
    ] {
        let _ = world.apply(Change::Service(key(name), service(name, &[address])));
    }
    let at = |address: &str| -> IpAddr { address.parse().unwrap() };
    let _ = world.hear(heard(&["n2", "n3"]));
    let _ = world.take_claims(BTreeMap::from([
        (at("10.0.0.2"), holds("n2")),
        (at("10.0.0.3"), holds("n3")),
    ]));
    let held = || Decision::Held {
        on: BTreeSet::from(["eth0".to_owned()]),
        cause: Cause::Rank,
    };
    let of = |node: &str| Decision::NotHeld {
        holder: Some(node.to_owned()),
    };
    world.note_decision(at("10.0.0.1"), held());
    world.note_decision(at("10.0.0.2"), of("n2"));
    world.note_decision(at("10.0.0.3"), of("n3"));
    world.note_decision(at("10.0.0.4"), of("n3"));
    // It has not said yet that it holds it.
    let all_but_others = addresses(&["10.0.0.3", "10.0.0.4"]);
    assert_eq!(world.hear(heard(&["n2"])), all_but_others);
    world.note_decision(at("10.0.0.3"), of("n2"));
    world.note_decision(at("10.0.0.4"), held());
    // n3 still claims what it held: that is its business again when it is back.
    assert_eq!(world.hear(heard(&["n2", "n3"])), addresses(&["10.0.0.3"]));
    world.note_decision(at("10.0.0.3"), of("n3"));
    // A rival's fate is the business of who holds it, too.
    let _ = world.take_claims(BTreeMap::from([(at("10.0.0.1"), holds("n2"))]));
    world.note_decision(at("10.0.0.1"), held());
    let touched = addresses(&["10.0.0.1", "10.0.0.2"]);
    assert_eq!(world.hear(heard(&["n3"])), touched);
}

fn of_web() -> (World, IpAddr) {
    let mut world = world();
    let _ = world.apply(Change::Service(key("web"), service("web", &["10.0.0.1"])));
    (world, "10.0.0.1".parse().unwrap())
}

fn held_by(node: &str) -> Decision {
    Decision::NotHeld {
        holder: Some(node.to_owned()),
    }
}

#[test]
fn i11_a_third_node_that_claims_what_another_holds_touches_it_when_it_is_back() {
    let (mut world, web) = of_web();
    let _ = world.hear(heard(&["n3"]));
    let both = [holds("n2"), holds("n3")].concat();
    let _ = world.take_claims(BTreeMap::from([(web, both)]));
    world.note_decision(web, held_by("n3"));
    assert_eq!(world.hear(heard(&["n2", "n3"])), BTreeSet::from([web]));
}

#[test]
fn i11_who_is_heard_only_where_this_node_takes_no_part_settles_nothing() {
    let (mut world, web) = of_web();
    let mut only_there = heard(&["n3"]);
    let Segment::Known { links, heard, .. } = &mut only_there else {
        unreachable!("it is known");
    };
    links.insert("eth1".to_owned(), LinkState::Listening);
    let ways = BTreeMap::from([("eth1".to_owned(), BTreeSet::from(["eth0".to_owned()]))]);
    heard.insert("n2".to_owned(), ways);
    let mut without_n3 = only_there.clone();
    if let Segment::Known { heard, .. } = &mut without_n3 {
        heard.remove("n3");
    }
    let _ = world.hear(only_there);
    let _ = world.take_claims(BTreeMap::from([(web, holds("n2"))]));
    world.note_decision(web, held_by("n2"));
    assert_eq!(world.hear(without_n3), BTreeSet::from([web]));
}

#[test]
fn an_address_that_somebody_claimed_meanwhile_is_planned_again() {
    let (mut world, web) = of_web();
    let others = Others::from([("eth0".to_owned(), "02:00:00:00:00:09".to_owned())]);
    let _ = world.find(BTreeMap::from([(web, others)]));
    // The claim came and went between two readings.
    let nothing = BTreeMap::from([(web, Vec::new())]);
    assert_eq!(world.take_claims(nothing), BTreeSet::from([web]));
    assert_eq!(world.others_with(web), None);
}
