//! Who is being drained gives its addresses away and makes its routes the last resort.

use std::collections::BTreeSet;

use ferrolb_crds::model::{Community, DrainMark, Node};
use ferrolb_crds::source::Change;

use super::fixture::*;
use super::{holder, plan};
use crate::plan::{Reason, plan_address};
use crate::world::{Cause, Decision, Draining, Standing, World};

/// This node is n1, first in rank, and holds the address; n2 is heard, and may announce, too.
fn fixture() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.add_node("n2");
    fixture.prefer("n1");
    fixture.hear(&[("eth0", true)], &[("n2", &["eth0"])]);
    fixture
}

fn holding(fixture: Fixture) -> World {
    let mut world = fixture.world();
    let on = names(&["eth0"]);
    let cause = Cause::Rank;
    world.note_decision(ip(VIP), Decision::Held { on, cause });
    world
}

fn communities(world: &World) -> Option<(Option<u32>, BTreeSet<Community>)> {
    let advertised = plan_address(world, ip(VIP)).unwrap().advertised;
    let first = advertised.first()?;
    Some((
        first.attributes.local_pref,
        first.attributes.communities.clone(),
    ))
}

#[test]
fn i9_routes_become_the_last_resort_and_then_go() {
    let mut fixture = fixture();
    fixture.bgp().local_pref = Some(150);
    fixture.bgp().communities = BTreeSet::from([Community::Standard(64512, 1)]);
    let mut world = holding(fixture);
    let serving = communities(&world);
    let touched = world.set_draining(Draining::Announced);
    assert_eq!(touched, BTreeSet::from([ip(VIP)]));
    assert!(world.set_draining(Draining::Announced).is_empty());
    // RFC 8326 §3: 65535:0, beside what they carry anyway.
    let both = [
        Community::Standard(64512, 1),
        Community::Standard(0xffff, 0),
    ];
    assert_eq!(communities(&world), Some((Some(0), BTreeSet::from(both))));
    for stage in [Draining::Withdrawn, Draining::Ended] {
        let _ = world.set_draining(stage);
        let plan = plan_address(&world, ip(VIP)).unwrap();
        assert_eq!(
            plan.service(&key("web")).unwrap().bgp,
            Some(Reason::NodeDraining)
        );
        assert_eq!(communities(&world), None);
        assert!(plan.is_handed_off(), "routers may not have read it yet");
    }
    let _ = world.set_draining(Draining::No);
    assert_eq!(communities(&world), serving);
}

#[test]
fn i9_who_is_drained_gives_an_address_to_whoever_can_take_it_and_to_nobody_else() {
    let mut world = holding(fixture());
    assert_eq!(holder(&world).unwrap(), "n1");
    let _ = world.set_draining(Draining::Announced);
    assert_eq!(holder(&world).unwrap(), "n2");
    let plan = plan_address(&world, ip(VIP)).unwrap();
    assert_eq!(plan.layer2.reason(), Some(Reason::NotOwner));
    // Nobody else can: better here than nowhere.
    let mut alone = Fixture::new();
    alone.hear(&[("eth0", true)], &[]);
    let mut world = holding(alone);
    let _ = world.set_draining(Draining::Ended);
    assert_eq!(holder(&world).unwrap(), "n1");
}

#[test]
fn another_node_that_its_node_object_says_is_drained_holds_nothing_where_this_one_can() {
    let mut fixture = fixture();
    fixture.prefer("n2");
    let mut world = holding(fixture);
    world.note_decision(ip(VIP), Decision::NotHeld { holder: None });
    let holds = claim("n2", Standing::Holds);
    let _ = world.take_claims([(ip(VIP), vec![holds])].into());
    assert_eq!(holder(&world).unwrap(), "n2");
    let drained = Node {
        name: "n2".to_owned(),
        draining: Some(DrainMark::Taint),
        ..Node::default()
    };
    let touched = world.apply(Change::Node("n2".to_owned(), Some(drained)));
    assert_eq!(touched, BTreeSet::from([ip(VIP)]));
    assert_eq!(holder(&world).unwrap(), "n1");
    assert_eq!(plan(&world).peers.len(), 1);
}
