//! Who does not deliver what arrives there leaves it to who does.

use std::collections::{BTreeMap, BTreeSet};

use super::fixture::*;
use super::holder;
use crate::plan::{Reason, plan_address};
use crate::world::{Cause, Decision, Delivery, Standing, World};

/// This node is n1, first in rank, holds the address and does not deliver; n2 and n3 are heard, and may
/// announce, too.
fn world() -> World {
    let mut fixture = Fixture::new();
    for name in ["n2", "n3"] {
        fixture.add_node(name);
    }
    fixture.prefer("n1");
    fixture.hear(&[("eth0", true)], &[("n2", &["eth0"]), ("n3", &["eth0"])]);
    let mut world = fixture.world();
    let on = names(&["eth0"]);
    let cause = Cause::Rank;
    world.note_decision(ip(VIP), Decision::Held { on, cause });
    world
}

/// Who is to hold it where these do not deliver, and of those it is not known.
fn decided(world: &mut World, failing: &[&str], unheard: &[&str]) -> String {
    let _ = world.note_delivery(Delivery {
        is_failing: failing.contains(&"n1"),
        is_unproven: false,
        failing: names(failing)
            .into_iter()
            .filter(|name| name != "n1")
            .collect(),
        unheard: names(unheard),
    });
    holder(world).unwrap()
}

fn bgp(world: &World) -> Option<Reason> {
    let plan = plan_address(world, ip(VIP)).unwrap();
    plan.service(&key("web")).unwrap().bgp
}

#[test]
fn a_holder_that_does_not_deliver_gives_it_to_one_that_is_heard_and_does() {
    let mut world = world();
    assert_eq!(decided(&mut world, &[], &[]), "n1");
    assert_eq!(decided(&mut world, &["n1", "n3"], &[]), "n2");
    assert_eq!(decided(&mut world, &["n1", "n2"], &[]), "n3");
    let plan = plan_address(&world, ip(VIP)).unwrap();
    assert_eq!(plan.layer2.reason(), Some(Reason::NotOwner));
}

#[test]
fn i6_the_last_one_keeps_it_and_so_does_who_only_knows_of_others_that_are_not_heard() {
    let mut world = world();
    assert_eq!(decided(&mut world, &["n1", "n2", "n3"], &[]), "n1");
    assert_eq!(decided(&mut world, &["n1"], &["n2", "n3"]), "n1");
    assert_eq!(decided(&mut world, &["n1", "n2"], &["n3"]), "n1");
    // Who is not heard may not know that there is something to be taken, whatever its rank.
    assert_eq!(decided(&mut world, &["n1"], &["n3"]), "n2");
    assert_eq!(decided(&mut world, &["n1"], &["n2"]), "n3");
}

#[test]
fn a_holder_elsewhere_that_does_not_deliver_holds_nothing() {
    let mut world = world();
    world.note_decision(ip(VIP), Decision::NotHeld { holder: None });
    let holds = claim("n2", Standing::Holds);
    let _ = world.take_claims(BTreeMap::from([(ip(VIP), vec![holds])]));
    assert_eq!(decided(&mut world, &[], &[]), "n2");
    assert_eq!(decided(&mut world, &["n2"], &[]), "n1");
    assert_eq!(decided(&mut world, &["n2", "n1"], &[]), "n3");
    assert_eq!(decided(&mut world, &["n1", "n2", "n3"], &[]), "n2");
    assert_eq!(
        decided(&mut world, &[], &["n2"]),
        "n2",
        "as far as is known"
    );
}

#[test]
fn bgp_withdraws_only_where_another_that_delivers_is_heard_and_announces_it() {
    let mut world = world();
    for (failing, unheard, expected) in [
        (&["n1"][..], &[][..], Some(Reason::NotDelivering)),
        (&["n1", "n2"], &[], Some(Reason::NotDelivering)),
        (&["n1", "n2", "n3"], &[], None),
        (&["n1"], &["n2", "n3"], None),
        (&["n2", "n3"], &[], None),
    ] {
        decided(&mut world, failing, unheard);
        assert_eq!(bgp(&world), expected, "{failing:?} {unheard:?}");
    }
    let _ = world.note_delivery(Delivery {
        is_failing: true,
        is_unproven: true,
        ..Delivery::default()
    });
    assert_eq!(bgp(&world), None, "it has only just begun to ask");
    // With nobody else whose peer takes it there is nowhere else to go.
    let mut fixture = Fixture::new();
    fixture.add_node("n2");
    label(fixture.node("n1"), "edge", "yes");
    fixture.peer("tor").nodes = vec![selector("edge", "yes")];
    fixture.hear(&[("eth0", true)], &[("n2", &["eth0"])]);
    let mut world = fixture.world();
    decided(&mut world, &["n1"], &[]);
    assert_eq!(bgp(&world), None);
    let touched = world.note_delivery(Delivery::default());
    assert_eq!(touched, BTreeSet::from([ip(VIP)]));
}
