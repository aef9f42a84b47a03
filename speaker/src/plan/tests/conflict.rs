//! An address that nobody is known to have held, and somebody else may have.

use std::collections::{BTreeMap, BTreeSet};

use super::fixture::*;
use crate::plan::{Layer2, Reason, plan_address};
use crate::world::{Decision, Others, Standing, World};

fn others() -> Others {
    Others::from([("eth0".to_owned(), "02:00:00:00:00:77".to_owned())])
}

fn world(refuses_conflicts: bool) -> World {
    let mut fixture = Fixture::new();
    fixture.identity.refuses_conflicts = refuses_conflicts;
    fixture.add_node("n2");
    fixture.hear(&[("eth0", true)], &[]);
    fixture.world()
}

/// What is planned, and noted as the composition root does.
fn decide(world: &mut World) -> Layer2 {
    let plan = plan_address(world, ip(VIP)).unwrap();
    world.note_decision(ip(VIP), plan.layer2.decision());
    let again = plan_address(world, ip(VIP)).unwrap();
    assert_eq!(again.layer2, plan.layer2, "it does not depend on itself");
    plan.layer2
}

fn find(world: &mut World, others: Others) -> bool {
    let touched = world.find(BTreeMap::from([(ip(VIP), others)]));
    touched.contains(&ip(VIP))
}

#[test]
fn a_conflict_is_told_and_changes_nothing_else_unless_it_is_refused() {
    let mut world = world(false);
    let held = decide(&mut world);
    assert!(held.is_held() && held.others().is_none());
    assert!(world.is_new(ip(VIP)));
    assert!(find(&mut world, others()));
    assert!(!find(&mut world, others()));
    let held = decide(&mut world);
    assert!(held.is_held());
    assert_eq!(held.others(), Some(&others()));
    assert!(world.is_new(ip(VIP)), "it is asked for again");
    assert!(find(&mut world, Others::new()));
    assert!(decide(&mut world).others().is_none() && !world.is_new(ip(VIP)));
    assert!(!find(&mut world, others()), "too late");
}

#[test]
fn a_refused_address_is_silent_and_not_claimed_until_it_is_free() {
    let mut world = world(true);
    let probing = decide(&mut world);
    assert_eq!(probing.reason(), Some(Reason::Probing));
    assert!(matches!(probing, Layer2::Withheld { .. }) && world.held().next().is_none());
    assert!(find(&mut world, others()));
    let refused = decide(&mut world);
    assert_eq!(refused.reason(), Some(Reason::AddressConflict));
    assert_eq!(refused.others(), Some(&others()));
    assert_eq!(decide(&mut world), refused);
    assert!(find(&mut world, Others::new()));
    assert!(decide(&mut world).is_held() && !world.is_new(ip(VIP)));
}

#[test]
fn what_somebody_is_known_to_have_held_is_taken_over_unasked() {
    for standing in [Standing::Holds, Standing::Offers, Standing::Remembers] {
        let mut world = world(true);
        let by_n2 = BTreeMap::from([(ip(VIP), vec![claim("n2", standing)])]);
        let _ = world.take_claims(by_n2);
        assert!(!world.is_new(ip(VIP)));
        // It is gone, and what it said is forgotten.
        let _ = world.take_claims(BTreeMap::from([(ip(VIP), Vec::new())]));
        assert!(!world.is_new(ip(VIP)));
        assert!(decide(&mut world).is_held());
    }
    let mut world = world(true);
    let _ = world.remember(BTreeSet::from([ip(VIP)]));
    assert!(decide(&mut world).is_held(), "held before a restart");
}

#[test]
fn of_a_conflict_nothing_is_left_where_somebody_else_holds_it_or_nobody_may() {
    let mut world = world(false);
    decide(&mut world);
    find(&mut world, others());
    world.note_decision(ip(VIP), Decision::NotHeld { holder: None });
    assert!(decide(&mut world).others().is_none() && world.is_new(ip(VIP)));

    find(&mut world, others());
    let _ = world.take_claims(BTreeMap::from([(
        ip(VIP),
        vec![claim("n2", Standing::Holds)],
    )]));
    assert!(world.others_with(ip(VIP)).is_none() && !world.is_new(ip(VIP)));

    // A Service of the same address that comes later has a new one.
    let _ = world.take_claims(BTreeMap::from([(ip(VIP), Vec::new())]));
    world.forget(ip(VIP));
    assert!(world.is_new(ip(VIP)));
}
