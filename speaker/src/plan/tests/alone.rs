//! Links on which no other speaker was ever heard: they go with the node that is first of all that
//! are alive anywhere.

use super::*;

type Links = BTreeMap<String, LinkState>;

fn states(list: &[(&str, LinkState)]) -> Links {
    let all = list.iter();
    all.map(|(name, state)| ((*name).to_owned(), *state))
        .collect()
}

/// A segment with others, and a link that leads to a container.
fn with_a_link_of_its_own(eth0: LinkState) -> Links {
    states(&[("eni1", LinkState::Alone), ("eth0", eth0)])
}

/// Both of two nodes, of which `n1` comes first, with these links each, hear each other on these.
fn pair(links: &Links, shared: &[&str]) -> [Fixture; 2] {
    [("n1", "n2"), ("n2", "n1")].map(|(this, other)| {
        let mut fixture = one_of_two(this);
        fixture.hear_on(links.clone(), &[(other, shared)]);
        fixture
    })
}

#[test]
fn i6_a_link_where_nobody_was_ever_heard_goes_with_the_node_that_is_first_of_all() {
    let [n1, mut n2] = pair(&with_a_link_of_its_own(LinkState::Up), &["eth0"]);
    assert_eq!(held_on(&n1), Some(Interfaces::All));
    assert_eq!(held_on(&n2), None);
    assert_eq!(holder(&n2.world()).unwrap(), "n1");
    let listening = with_a_link_of_its_own(LinkState::Listening);
    n2.hear_on(listening, &[("n1", &["eth0"])]);
    assert_eq!(held_on(&n2), None, "n1 is known before eth0 can be taken");
}

#[test]
fn i6_where_nobody_is_heard_anywhere_every_link_is_answered_on() {
    let mut fixture = one_of_two("n2");
    for eth0 in [LinkState::Alone, LinkState::Up] {
        fixture.hear_on(with_a_link_of_its_own(eth0), &[]);
        assert_eq!(held_on(&fixture), Some(Interfaces::All), "{eth0:?}");
    }
    fixture.hear_on(with_a_link_of_its_own(LinkState::Down), &[]);
    assert_eq!(held_on(&fixture), Some(Interfaces::All));
}

#[test]
fn i6_a_segment_with_others_decides_by_itself_also_when_they_have_fallen_silent() {
    let links = states(&[
        ("eni1", LinkState::Alone),
        ("eth0", LinkState::Up),
        ("eth1", LinkState::Up),
    ]);
    let [n1, n2] = pair(&links, &["eth0", "eth1"]);
    assert_eq!(held_on(&n1), Some(Interfaces::All));
    assert_eq!(held_on(&n2), None);
    // The second segment falls apart: both sides of it are answered on.
    let [n1, n2] = pair(&links, &["eth0"]);
    assert_eq!(held_on(&n1), Some(Interfaces::All));
    assert_eq!(held_on(&n2), only(&["eth1"]));
}

#[test]
fn i6_a_segment_that_was_dead_from_the_beginning_goes_with_the_holder_on_the_other() {
    let dead = states(&[("eth0", LinkState::Up), ("eth1", LinkState::Alone)]);
    let [n1, mut n2] = pair(&dead, &["eth0"]);
    assert_eq!(held_on(&n1), Some(Interfaces::All));
    assert_eq!(held_on(&n2), None);
    n2.hear_on(dead, &[]);
    assert_eq!(held_on(&n2), Some(Interfaces::All), "nobody else is left");
    // It comes to life, with the other on it or with somebody who does not come up.
    let alive = states(&[("eth0", LinkState::Up), ("eth1", LinkState::Up)]);
    let [n1, n2] = pair(&alive, &["eth0", "eth1"]);
    assert_eq!(held_on(&n1), Some(Interfaces::All));
    assert_eq!(held_on(&n2), None);
    let [_, n2] = pair(&alive, &["eth0"]);
    assert_eq!(held_on(&n2), only(&["eth1"]));
}

#[test]
fn i6_only_who_may_announce_the_address_is_asked() {
    let [mut n1, mut n2] = pair(&with_a_link_of_its_own(LinkState::Up), &["eth0"]);
    for fixture in [&mut n1, &mut n2] {
        fixture.web.traffic_policy = TrafficPolicy::Local;
        fixture.endpoints(&[endpoint("n2")]);
    }
    assert_eq!(reasons(&n1.world()).0, Some(Reason::NoLocalEndpoints));
    assert_eq!(held_on(&n2), Some(Interfaces::All));
    for fixture in [&mut n1, &mut n2] {
        fixture.endpoints(&[endpoint("n1"), endpoint("n2")]);
    }
    assert_eq!(held_on(&n1), Some(Interfaces::All));
    assert_eq!(held_on(&n2), None);
}

/// Nobody can know which of the others has such an interface: who is silent for the sake of one
/// that has none leaves the address without an answer, and two that answer on two links that do not
/// meet harm nobody.
#[test]
fn where_only_links_with_nobody_on_them_are_chosen_every_node_that_has_one_answers() {
    for mut fixture in pair(&with_a_link_of_its_own(LinkState::Up), &["eth0"]) {
        fixture.l2().interfaces = names(&["eni1"]);
        assert_eq!(held_on(&fixture), only(&["eni1"]));
    }
    let [mut n1, mut n2] = pair(&with_a_link_of_its_own(LinkState::Up), &["eth0"]);
    for fixture in [&mut n1, &mut n2] {
        fixture.l2().interfaces = names(&["eni1", "eth0"]);
    }
    assert_eq!(held_on(&n1), only(&["eni1", "eth0"]));
    assert_eq!(held_on(&n2), None, "with the segment, the segment decides");
}

#[test]
fn i6_whatever_links_are_lost_a_link_of_its_own_is_the_first_of_those_heard() {
    let all = ["n1", "n2", "n3"];
    let segments = ["eth0", "eth1"];
    for (last_octet, lost) in (1..8).flat_map(|vip| (0..64_u32).map(move |lost| (vip, lost))) {
        let vip = ip(&format!("10.0.0.{last_octet}"));
        let is_up = |node: usize, at: usize| lost & (1 << (2 * node + at)) == 0;
        let hears = |one: usize, other: usize| {
            let both = |at: &usize| is_up(one, *at) && is_up(other, *at);
            [0, 1].into_iter().filter(both).collect::<Vec<_>>()
        };
        let answers = |this: usize| {
            let mut fixture = Fixture::new();
            all[this].clone_into(&mut fixture.identity.node);
            fixture.web.ingress = vec![vip];
            all.iter().for_each(|name| fixture.add_node(name));
            let mut links = links(&[0, 1].map(|at| (segments[at], is_up(this, at))));
            links.insert("eni1".to_owned(), LinkState::Alone);
            let on = [0, 1, 2].map(|other| hears(this, other));
            let on = on.map(|on| on.into_iter().map(|at| segments[at]).collect::<Vec<_>>());
            let heard = (0..3).filter(|other| *other != this && !on[*other].is_empty());
            let heard: Vec<_> = heard.map(|other| (all[other], &*on[other])).collect();
            fixture.hear_on(links, &heard);
            match plan_address(&fixture.world(), vip).unwrap().layer2 {
                Layer2::Held(holding) => {
                    ["eni1", "eth0", "eth1"].map(|link| holding.interfaces.include(link))
                }
                Layer2::NotHeld { .. } | Layer2::Withheld { .. } => [false; 3],
            }
        };
        let answers = [0, 1, 2].map(answers);
        let case = format!("{vip} {lost:06b}");
        for (this, [own, first, second]) in answers.into_iter().enumerate() {
            let hears_nobody = (0..3).all(|other| other == this || hears(this, other).is_empty());
            assert!(own || !hears_nobody, "{case}: n{} is alone", this + 1);
            // Who is first of all it hears is first on each segment.
            let holds_all = (first || !is_up(this, 0)) && (second || !is_up(this, 1));
            assert!(holds_all || !own, "{case}: n{} holds its own", this + 1);
        }
        let everybody_hears = (0..3).all(|one| (0..3).all(|other| !hears(one, other).is_empty()));
        let own = answers.iter().filter(|answers| answers[0]).count();
        assert!(own >= 1, "{case}: somebody is first of all");
        if everybody_hears {
            assert_eq!(own, 1, "{case}");
        }
        // The segments are as they would be without such links.
        for at in [0, 1] {
            let there = (0..3).filter(|node| is_up(*node, at)).count();
            let answering = (0..3).filter(|node| is_up(*node, at) && answers[*node][1 + at]);
            assert_eq!(answering.count(), there.min(1), "{case} {}", segments[at]);
        }
    }
}
