//! Who is to hold an address, and what decides: keep, what was held before, preference, hint, rank.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ferrolb_crds::model::{Hints, Preference};
use ferrolb_crds::rank;
use ferrolb_crds::source::Change;

use super::fixture::*;
use super::holder;
use crate::plan::{Layer2, misplaced, plan_address};
use crate::world::{Cause, Standing, World};

const NODES: [&str; 3] = ["n1", "n2", "n3"];

/// The nodes as rank alone has them.
fn ranked() -> [&'static str; 3] {
    let order = rank::order(ip(VIP), NODES.into_iter().map(|name| (name, 0)));
    order.try_into().unwrap()
}

/// Three nodes that hear each other, seen from one of them.
fn of_three(this: &str) -> Fixture {
    let mut fixture = Fixture::new();
    this.clone_into(&mut fixture.identity.node);
    for name in NODES {
        fixture.add_node(name);
    }
    hear_all(&mut fixture, &NODES);
    fixture
}

fn hear_all(fixture: &mut Fixture, nodes: &[&str]) {
    let this = fixture.identity.node.clone();
    let others = nodes.iter().filter(|name| **name != this);
    let heard: Vec<(&str, &[&str])> = others.map(|name| (*name, ["eth0"].as_slice())).collect();
    fixture.hear(&[("eth0", true)], &heard);
}

fn hint_at(fixture: &mut Fixture, node: &str) {
    fixture.web.hints = Hints::parse(&format!("{VIP}={node}"));
}

fn claims(world: &mut World, claims: &[(&str, Standing)]) {
    let claims = claims.iter().map(|(node, standing)| claim(node, *standing));
    let _ = world.take_claims(BTreeMap::from([(ip(VIP), claims.collect())]));
}

/// Why this node holds it, if it does.
fn cause(world: &World) -> Option<Cause> {
    match plan_address(world, ip(VIP)).unwrap().layer2 {
        Layer2::Held(holding) => Some(holding.cause),
        Layer2::Withheld { .. } | Layer2::NotHeld { .. } => None,
    }
}

/// Every node comes to the same, and the one that holds it knows why.
fn assert_decided(fixture: &mut Fixture, expected: &str, because: Cause) {
    for this in NODES {
        this.clone_into(&mut fixture.identity.node);
        hear_all(fixture, &NODES);
        let world = fixture.world();
        assert_eq!(holder(&world).as_deref(), Some(expected), "{this} says so");
        let expected = (this == expected).then_some(because);
        assert_eq!(cause(&world), expected, "{this}");
    }
}

#[test]
fn preference_comes_before_the_hint_and_the_hint_before_the_rank() {
    let [first, second, third] = ranked();
    let mut fixture = of_three("n1");
    assert_decided(&mut fixture, first, Cause::Rank);
    hint_at(&mut fixture, third);
    assert_decided(&mut fixture, third, Cause::Hint);
    fixture.prefer(second);
    assert_decided(&mut fixture, second, Cause::Preferred);
    // Two are preferred alike: the hint decides between them, else the rank.
    label(fixture.node(third), "preferred", "yes");
    assert_decided(&mut fixture, third, Cause::Hint);
    hint_at(&mut fixture, first);
    assert_decided(&mut fixture, second, Cause::Rank);
}

#[test]
fn a_hint_at_who_cannot_hold_it_counts_for_nothing() {
    let [first, second, third] = ranked();
    let mut fixture = of_three(first);
    for hint in ["elsewhere", "n1,so what", ""] {
        fixture.web.hints = Hints::parse(&format!("{VIP}={hint},10.0.0.2={third}"));
        let expected = if hint.starts_with("n1") { "n1" } else { first };
        assert_eq!(
            holder(&fixture.world()).as_deref(),
            Some(expected),
            "{hint}"
        );
    }
    hint_at(&mut fixture, third);
    fixture.node(third).network_unavailable = true;
    assert_eq!(cause(&fixture.world()), Some(Cause::Rank));
    fixture.node(third).network_unavailable = false;
    hear_all(&mut fixture, &[first, second]);
    assert_eq!(cause(&fixture.world()), Some(Cause::Rank));
    hear_all(&mut fixture, &[first]);
    assert_eq!(cause(&fixture.world()), Some(Cause::OnlyCandidate));
    hear_all(&mut fixture, &[first, third]);
    assert_eq!(holder(&fixture.world()).as_deref(), Some(third));
}

#[test]
fn who_holds_it_or_held_it_before_comes_before_every_preference_and_hint() {
    let [first, second, third] = ranked();
    let mut fixture = of_three(first);
    fixture.prefer(second);
    hint_at(&mut fixture, second);
    let mut world = fixture.world();
    claims(&mut world, &[(third, Standing::Holds)]);
    assert_eq!(holder(&world).as_deref(), Some(third));
    claims(&mut world, &[(third, Standing::Remembers)]);
    assert_eq!(holder(&world).as_deref(), Some(third));
    claims(&mut world, &[]);
    let _ = world.remember(BTreeSet::from([ip(VIP)]));
    assert_eq!(cause(&world), Some(Cause::Remembered));
}

#[test]
fn of_two_that_hold_it_the_hinted_one_keeps_it() {
    let [first, _, third] = ranked();
    let mut fixture = of_three(third);
    hint_at(&mut fixture, third);
    let mut world = fixture.world();
    decide(&mut world);
    claims(&mut world, &[(first, Standing::Holds)]);
    assert_eq!(cause(&world), Some(Cause::Hint));
    let mut fixture = of_three(first);
    let mut world = fixture.world();
    decide(&mut world);
    hint_at(&mut fixture, third);
    let service = Some(Arc::new(fixture.web.clone()));
    let _ = world.apply(Change::Service(key("web"), service));
    assert_eq!(cause(&world), Some(Cause::Rank), "a hint moves nothing");
    claims(&mut world, &[(third, Standing::Holds)]);
    assert_eq!(holder(&world).as_deref(), Some(third), "it yields");
}

fn decide(world: &mut World) {
    let plan = plan_address(world, ip(VIP)).unwrap();
    world.note_decision(ip(VIP), plan.layer2.decision());
}

#[test]
fn why_it_came_to_hold_it_is_known_for_as_long_as_it_holds_it() {
    let [first, second, third] = ranked();
    let mut fixture = of_three(third);
    hint_at(&mut fixture, third);
    let mut world = fixture.world();
    decide(&mut world);
    hear_all(&mut fixture, &[third]);
    let _ = world.hear(fixture.segment.clone());
    for _ in 0..2 {
        assert_eq!(cause(&world), Some(Cause::Hint), "alone by now");
        decide(&mut world);
    }
    claims(
        &mut world,
        &[(first, Standing::Holds), (second, Standing::Offers)],
    );
    hear_all(&mut fixture, &[first, second]);
    fixture.node(third).network_unavailable = true;
    let mut world = fixture.world();
    assert_eq!(cause(&world), None);
    decide(&mut world);
    assert_eq!(world.cause_of(ip(VIP)), None);
}

#[test]
fn rebalancing_goes_by_the_hint_too() {
    let [first, _, third] = ranked();
    let mut fixture = of_three(first);
    let mut world = fixture.world();
    decide(&mut world);
    assert_eq!(misplaced(&world), BTreeMap::new());
    hint_at(&mut fixture, third);
    let service = Some(Arc::new(fixture.web.clone()));
    let _ = world.apply(Change::Service(key("web"), service));
    let moves = BTreeMap::from([(ip(VIP), third.to_owned())]);
    assert_eq!(misplaced(&world), moves);
    let _ = world.give([ip(VIP)]);
    assert_eq!(holder(&world).as_deref(), Some(third));
}

/// The preferred node fails, comes back and takes nothing back; when the advertisement changes so
/// that its holder is no longer preferred over it, or no longer selected, the address moves.
#[test]
fn a_preferred_node_that_blinks_moves_nothing_and_a_configuration_that_changes_does() {
    let [first, second, third] = ranked();
    let mut fixture = of_three(second);
    hint_at(&mut fixture, third);
    fixture.prefer(first);
    hear_all(&mut fixture, &[second]);
    let mut world = fixture.world();
    decide(&mut world);
    assert_eq!(cause(&world), Some(Cause::OnlyCandidate));
    hear_all(&mut fixture, &NODES);
    let _ = world.hear(fixture.segment.clone());
    decide(&mut world);
    assert_eq!(holder(&world).as_deref(), Some(second), "they are back");

    let more = Preference {
        weight: 1,
        nodes: selector("rack", "b"),
    };
    fixture.l2().preferences.push(more);
    let config = Arc::new(fixture.config.clone());
    let _ = world.apply(Change::Config(config));
    assert_eq!(holder(&world).as_deref(), Some(first));

    let mut world = fixture.world();
    fixture.l2().preferences.clear();
    label(fixture.node(third), "edge", "yes");
    fixture.l2().nodes = vec![selector("edge", "yes")];
    for change in [
        Change::Node(third.to_owned(), Some(fixture.node(third).clone())),
        Change::Config(Arc::new(fixture.config.clone())),
    ] {
        let _ = world.apply(change);
    }
    assert_eq!(
        holder(&world).as_deref(),
        Some(third),
        "only it is selected"
    );
}
