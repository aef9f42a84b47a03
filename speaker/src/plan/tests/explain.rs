//! What is explained of each node.

use std::collections::{BTreeMap, BTreeSet};

use ferrolb_crds::model::{Hints, Node, TrafficPolicy};

use super::fixture::*;
use crate::plan::{Candidacy, Explanation, Presence, Reason, explain};
use crate::world::{Cause, Segment, Standing};

fn explained(fixture: &Fixture) -> Explanation {
    explain(&fixture.world(), ip(VIP)).unwrap()
}

fn node<'a>(explained: &'a Explanation, name: &str) -> &'a Candidacy {
    &explained.nodes[name]
}

fn on(link: &str) -> Presence {
    Presence::Alive(names(&[link]))
}

#[test]
fn an_address_that_no_service_has_is_not_explained() {
    assert_eq!(explain(&Fixture::new().world(), ip("10.0.0.77")), None);
}

#[test]
fn each_node_that_may_not_hold_it_is_told_why() {
    let mut fixture = Fixture::new();
    for name in ["n2", "n3", "n4", "n5"] {
        fixture.add_node(name);
        label(fixture.node(name), "edge", "yes");
    }
    label(fixture.node("n1"), "edge", "yes");
    fixture.l2().nodes = vec![selector("edge", "yes")];
    fixture.web.traffic_policy = TrafficPolicy::Local;
    fixture.endpoints(&[
        endpoint("n1"),
        endpoint("n2"),
        endpoint("n3"),
        endpoint("n5"),
    ]);
    label(fixture.node("n2"), Node::EXCLUDE_LABEL, "");
    fixture.node("n3").network_unavailable = true;
    fixture.node("n5").labels.clear();
    let heard = ["n2", "n3", "n4", "n5", "stranger"].map(|name| (name, ["eth0"].as_slice()));
    fixture.hear(&[("eth0", true)], &heard);
    let told = explained(&fixture);
    for (name, reason) in [
        ("n2", Reason::NodeLabeledExcludeBalancers),
        ("n3", Reason::NodeNetworkUnavailable),
        ("n4", Reason::NoLocalEndpoints),
        ("n5", Reason::NoMatchingAdvertisement),
        ("stranger", Reason::NodeUnknown),
    ] {
        let node = node(&told, name);
        assert_eq!(node.refused, BTreeSet::from([reason]), "{name}");
        assert_eq!(node.presence, on("eth0"), "{name} is there all the same");
        assert_eq!(node.place, None, "{name}");
    }
    assert_eq!(node(&told, "n1").refused, BTreeSet::new());
    assert_eq!(node(&told, "n1").place, Some(1));
    assert_eq!(told.decided, Some(("n1".to_owned(), Cause::OnlyCandidate)));
    // One Service of several that share it is enough.
    fixture.web.requests.sharing_key = Some("k".to_owned());
    fixture.add_service("api", 81).requests.sharing_key = Some("k".to_owned());
    let told = explained(&fixture);
    assert_eq!(told.services, [key("api"), key("web")]);
    let no_endpoints = BTreeSet::from([Reason::NoLocalEndpoints, Reason::NoEndpoints]);
    assert!(node(&told, "n4").refused.is_subset(&no_endpoints));
}

#[test]
fn each_node_that_is_not_there_is_told_how() {
    let mut fixture = Fixture::new();
    for name in ["elsewhere", "listening", "silent"] {
        fixture.add_node(name);
    }
    fixture.l2().interfaces = names(&["eth0"]);
    let ways = |from: &str| BTreeMap::from([("eth0".to_owned(), names(&[from]))]);
    fixture.segment = Segment::Known {
        links: links(&[("eth0", true)]),
        heard: BTreeMap::from([("elsewhere".to_owned(), ways("ens9"))]),
        waiting: BTreeMap::from([("listening".to_owned(), ways("eth0"))]),
        unknown: names(&["elsewhere"]),
    };
    let mut world = fixture.world();
    let claims = vec![claim("listening", Standing::Remembers)];
    let _ = world.take_claims(BTreeMap::from([(ip(VIP), claims)]));
    let told = explain(&world, ip(VIP)).unwrap();
    for (name, presence) in [
        ("n1", on("eth0")),
        ("elsewhere", Presence::Elsewhere),
        ("listening", Presence::Waiting),
        ("silent", Presence::Silent),
    ] {
        let node = node(&told, name);
        assert_eq!(node.presence, presence, "{name}");
        assert!(node.refused.is_empty(), "{name}");
        assert_eq!(node.is_unknown, name == "elsewhere");
    }
    let listening = node(&told, "listening");
    let claims = BTreeMap::from([("eth0".to_owned(), Standing::Remembers)]);
    assert_eq!(listening.claims, claims);
    assert_eq!(
        listening.place, None,
        "it would have it by what it remembers alone"
    );
    let remembered = ("listening".to_owned(), Cause::Remembered);
    assert_eq!(told.decided, Some(remembered));

    fixture.hear(&[("eth0", false)], &[]);
    let told = explained(&fixture);
    assert_eq!(
        node(&told, "n1").presence,
        Presence::Unable("down: eth0".to_owned())
    );
    fixture.segment = Segment::Off("no key".to_owned());
    let told = explained(&fixture);
    assert_eq!(
        node(&told, "n1").presence,
        Presence::Unable("no key".to_owned())
    );
    assert_eq!(told.decided, None);
    assert_eq!(told.here.reason(), Some(Reason::Layer2Off));
    fixture.segment = Segment::Listening {
        links: links(&[("eth0", true)]),
    };
    assert_eq!(node(&explained(&fixture), "n1").presence, Presence::Waiting);
}

#[test]
fn what_decides_is_told_with_the_order_of_those_who_come_next() {
    let mut fixture = Fixture::new();
    for name in ["n2", "n3"] {
        fixture.add_node(name);
    }
    fixture.hear(&[("eth0", true)], &[("n2", &["eth0"]), ("n3", &["eth0"])]);
    fixture.web.hints = Hints::parse(&format!("{VIP}=n3"));
    let told = explained(&fixture);
    assert_eq!(told.hint.as_deref(), Some("n3"));
    assert_eq!(told.decided, Some(("n3".to_owned(), Cause::Hint)));
    assert_eq!(node(&told, "n3").place, Some(1));
    let others = ["n1", "n2"].map(|name| node(&told, name).place.unwrap());
    assert!(others == [2, 3] || others == [3, 2], "{others:?}");
    fixture.prefer("n2");
    let told = explained(&fixture);
    let places = ["n2", "n3", "n1"].map(|name| node(&told, name).place);
    assert_eq!(places, [Some(1), Some(2), Some(3)]);
    assert_eq!(node(&told, "n2").preference, 100);

    let mut world = fixture.world();
    let claims = vec![claim("n1", Standing::Holds), claim("n3", Standing::Holds)];
    let _ = world.take_claims(BTreeMap::from([(ip(VIP), claims)]));
    let told = explain(&world, ip(VIP)).unwrap();
    assert_eq!(told.decided, Some(("n3".to_owned(), Cause::Kept)));
}
