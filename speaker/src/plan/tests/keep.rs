//! Who holds an address keeps it.

use std::collections::{BTreeMap, BTreeSet};

use super::fixture::*;
use super::holder;
use crate::plan::{Layer2, misplaced, plan_address};
use crate::world::{Cause, Decision, Heard, LinkState, Segment, Standing, World};

/// A node among n1, n2 and n3, which all hear each other; ranked first for the address is `first`.
fn world_of(this: &str, first: &str) -> World {
    let mut fixture = Fixture::new();
    this.clone_into(&mut fixture.identity.node);
    for name in ["n1", "n2", "n3"] {
        fixture.add_node(name);
    }
    fixture.prefer(first);
    let others = ["n1", "n2", "n3"].into_iter().filter(|name| *name != this);
    let heard: Vec<(&str, &[&str])> = others.map(|name| (name, ["eth0"].as_slice())).collect();
    fixture.hear(&[("eth0", true)], &heard);
    fixture.world()
}

fn claim_it(world: &mut World, claims: &[(&str, Standing)]) {
    let claims = claims.iter().map(|(node, standing)| claim(node, *standing));
    let touched = world.take_claims(BTreeMap::from([(ip(VIP), claims.collect())]));
    assert_eq!(touched, BTreeSet::from([ip(VIP)]));
}

fn held(on: BTreeSet<String>) -> Decision {
    let cause = Cause::Rank;
    Decision::Held { on, cause }
}

/// Decides, and notes what that makes this node hold, as the composition root does.
fn decide(world: &mut World) -> String {
    let plan = plan_address(world, ip(VIP)).unwrap();
    world.note_decision(ip(VIP), plan.layer2.decision());
    holder(world).unwrap()
}

#[test]
fn a_live_holder_keeps_it_from_whoever_comes_before_it_in_rank() {
    let mut world = world_of("n1", "n1");
    claim_it(&mut world, &[("n3", Standing::Holds)]);
    assert_eq!(decide(&mut world), "n3");
    claim_it(&mut world, &[("n3", Standing::Offers)]);
    assert_eq!(decide(&mut world), "n1", "it is offered");
    claim_it(&mut world, &[("n3", Standing::Holds)]);
    assert_eq!(
        decide(&mut world),
        "n1",
        "of two that hold it the first in rank does"
    );
}

#[test]
fn of_two_that_hold_it_the_later_in_rank_yields() {
    let mut world = world_of("n2", "n1");
    let on = names(&["eth0"]);
    world.note_decision(ip(VIP), held(on));
    assert_eq!(decide(&mut world), "n2");
    claim_it(&mut world, &[("n1", Standing::Holds)]);
    assert_eq!(decide(&mut world), "n1");
}

#[test]
fn a_holder_that_is_not_heard_or_may_not_hold_it_does_not_count() {
    let mut world = world_of("n1", "n1");
    claim_it(&mut world, &[("n9", Standing::Holds)]);
    assert_eq!(decide(&mut world), "n1", "no such node");

    let mut fixture = Fixture::new();
    fixture.add_node("n2");
    fixture.node("n2").network_unavailable = true;
    fixture.hear(&[("eth0", true)], &[("n2", &["eth0"])]);
    let mut world = fixture.world();
    claim_it(&mut world, &[("n2", Standing::Holds)]);
    assert_eq!(decide(&mut world), "n1", "not fit");
}

#[test]
fn a_claim_counts_on_the_interface_that_it_is_made_for() {
    let mut fixture = Fixture::new();
    fixture.add_node("n2");
    fixture.prefer("n1");
    fixture.hear_from("n2", "eth0", "ens3");
    let mut world = fixture.world();
    // It says so of its eth0, and is heard here from ens3.
    claim_it(&mut world, &[("n2", Standing::Holds)]);
    assert_eq!(decide(&mut world), "n1");
}

#[test]
fn who_starts_again_together_with_all_others_comes_back_to_what_it_held() {
    let mut world = world_of("n1", "n1");
    claim_it(&mut world, &[("n2", Standing::Remembers)]);
    assert_eq!(
        decide(&mut world),
        "n2",
        "n1 comes first in rank, and leaves it to n2"
    );

    // While it only listens yet, too; but only if it remembers.
    let mut fixture = Fixture::new();
    fixture.add_node("n2");
    fixture.prefer("n2");
    fixture.segment = Segment::Known {
        links: links(&[("eth0", true)]),
        heard: Heard::new(),
        waiting: Heard::from([("n2".to_owned(), same_names(&["eth0"]))]),
        unknown: BTreeSet::new(),
    };
    let mut world = fixture.world();
    assert_eq!(decide(&mut world), "n1");
    let mut world = fixture.world();
    claim_it(&mut world, &[("n2", Standing::Remembers)]);
    assert_eq!(decide(&mut world), "n2");

    // What somebody holds is nobody's to come back to.
    let mut world = world_of("n2", "n2");
    let _ = world.remember(BTreeSet::from([ip(VIP)]));
    claim_it(&mut world, &[("n3", Standing::Holds)]);
    assert_eq!(decide(&mut world), "n3");
    assert!(world.remembered().is_empty());
}

#[test]
fn a_preferred_node_takes_it_when_preferences_change_and_not_when_it_returns() {
    let mut fixture = Fixture::new();
    fixture.add_node("n2");
    fixture.prefer("n2");
    fixture.hear(&[("eth0", true)], &[]);
    let mut world = fixture.world();
    assert_eq!(decide(&mut world), "n1", "n2 is not there");
    fixture.hear(&[("eth0", true)], &[("n2", &["eth0"])]);
    let _ = world.hear(fixture.segment.clone());
    assert_eq!(
        decide(&mut world),
        "n1",
        "n2 has returned, which is no reason to move"
    );

    label(fixture.node("n1"), "rack", "b");
    let relabelled = fixture.node("n1").clone();
    let change = ferrolb_crds::source::Change::Node("n1".to_owned(), Some(relabelled));
    let touched = world.apply(change);
    assert_eq!(touched, BTreeSet::from([ip(VIP)]));
    assert_eq!(
        decide(&mut world),
        "n2",
        "what is preferred may have changed"
    );
}

#[test]
fn i11_another_nodes_address_is_not_planned_again_for_what_happens_to_a_third() {
    let mut fixture = Fixture::new();
    for name in ["n2", "n3"] {
        fixture.add_node(name);
    }
    let heard = [("n2", ["eth0"].as_slice()), ("n3", ["eth0"].as_slice())];
    fixture.hear(&[("eth0", true)], &heard);
    let mut world = fixture.world();
    claim_it(&mut world, &[("n2", Standing::Holds)]);
    assert_eq!(decide(&mut world), "n2");
    fixture.hear(&[("eth0", true)], &heard[..1]);
    assert_eq!(world.hear(fixture.segment.clone()), BTreeSet::new());
    fixture.hear(&[("eth0", true)], &[]);
    assert_eq!(
        world.hear(fixture.segment.clone()),
        BTreeSet::from([ip(VIP)])
    );
    assert_eq!(decide(&mut world), "n1");
    let held = plan_address(&world, ip(VIP)).unwrap().layer2;
    assert!(matches!(held, Layer2::Held(_)));
}

#[test]
fn what_a_dead_switch_took_is_remembered_until_it_is_known_who_holds_it() {
    let mut fixture = Fixture::new();
    let mut world = fixture.world();
    assert_eq!(decide(&mut world), "n1");
    for (links, is_remembered) in [
        (links(&[("eth0", false)]), true),
        (links(&[("eth0", true)]), false),
    ] {
        fixture.hear_on(links, &[]);
        let _ = world.hear(fixture.segment.clone());
        let plan = plan_address(&world, ip(VIP)).unwrap();
        world.note_decision(ip(VIP), plan.layer2.decision());
        assert_eq!(world.remembered().contains(&ip(VIP)), is_remembered);
    }
}

#[test]
fn i6_what_is_held_on_a_link_of_its_own_makes_a_node_no_holder_where_others_are() {
    let mut fixture = Fixture::new();
    fixture.add_node("n2");
    fixture.prefer("n1");
    let states = [("eth0", LinkState::Up), ("cni0", LinkState::Alone)];
    let states = states.map(|(name, state)| (name.to_owned(), state));
    fixture.hear_on(states, &[("n2", &["eth0"])]);
    let mut world = fixture.world();
    // While eth0 was gone: n2 has taken it there.
    let on = names(&["cni0"]);
    world.note_decision(ip(VIP), held(on));
    claim_it(&mut world, &[("n2", Standing::Holds)]);
    assert_eq!(decide(&mut world), "n2");
}

/// n2 holds the address, for which n1 is first in rank.
fn misplaced_world() -> World {
    let mut world = world_of("n2", "n1");
    let on = names(&["eth0"]);
    world.note_decision(ip(VIP), held(on));
    assert_eq!(decide(&mut world), "n2");
    world
}

#[test]
fn what_is_given_away_goes_to_the_first_in_rank() {
    let mut world = misplaced_world();
    let moves = BTreeMap::from([(ip(VIP), "n1".to_owned())]);
    assert_eq!(misplaced(&world), moves);
    assert_eq!(decide(&mut world), "n2", "to ask changes nothing");
    let touched = world.give([ip(VIP), ip("10.255.0.1")]);
    assert_eq!(touched, BTreeSet::from([ip(VIP)]));
    assert_eq!(decide(&mut world), "n1");
    assert_eq!(decide(&mut world), "n1", "while it is offered");
    claim_it(&mut world, &[("n1", Standing::Holds)]);
    assert_eq!(decide(&mut world), "n1");
    assert_eq!(misplaced(&world), BTreeMap::new());
    assert_eq!(world.take_back(ip(VIP)), BTreeSet::new());
}

#[test]
fn what_nobody_takes_is_had_again() {
    let mut world = misplaced_world();
    assert_eq!(world.take_back(ip(VIP)), BTreeSet::new(), "it has it");
    let _ = world.give([ip(VIP)]);
    assert_eq!(decide(&mut world), "n1");
    assert_eq!(world.take_back(ip(VIP)), BTreeSet::from([ip(VIP)]));
    assert_eq!(decide(&mut world), "n2");
    assert_eq!(decide(&mut world), "n2");
}

#[test]
fn nothing_is_given_to_who_may_hold_it_as_well_as_not() {
    let mut world = misplaced_world();
    let Segment::Known {
        links,
        heard,
        waiting,
        ..
    } = world.segment().clone()
    else {
        panic!("it hears the others");
    };
    let _ = world.hear(Segment::Known {
        links,
        heard,
        waiting,
        unknown: names(&["n1", "n3"]),
    });
    assert_eq!(misplaced(&world), BTreeMap::new());
    let _ = world.give([ip(VIP)]);
    assert_eq!(decide(&mut world), "n2");
}
