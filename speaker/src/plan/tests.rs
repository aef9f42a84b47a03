//! Tables of what is announced and why not, and the two properties that planning rests on.

mod alone;
mod bgp;
mod conflict;
mod delivery;
mod draining;
mod explain;
mod fixture;
mod incremental;
mod keep;
mod order;

use std::collections::{BTreeMap, BTreeSet};

use ferrolb_crds::model::{
    Node, Port, Preference, Protocol, Secret, TrafficPolicy, TtlSecurityHops,
};

use super::*;
use crate::bgp::{Authentication, GracefulRestart, Transport};
use crate::world::{LinkState, Segment};
use fixture::*;

/// What this node does with the first Service at the first address.
fn reasons(world: &World) -> (Option<Reason>, Option<Reason>) {
    let plan = plan_address(world, ip(VIP)).unwrap();
    let service = plan.service(&key("web")).unwrap();
    (service.layer2, service.bgp)
}

const ANNOUNCED: (Option<Reason>, Option<Reason>) = (None, None);

fn both(reason: Reason) -> (Option<Reason>, Option<Reason>) {
    (Some(reason), Some(reason))
}

#[test]
fn a_service_with_both_advertisements_is_announced_both_ways() {
    let world = Fixture::new().world();
    assert_eq!(reasons(&world), ANNOUNCED);
    let plan = plan(&world);
    let address = &plan.addresses[&ip(VIP)];
    assert!(address.layer2.is_held());
    let advertised = address.advertised.first().unwrap();
    assert_eq!(advertised.prefix, net("10.0.0.1/32"));
    assert_eq!(*advertised.peers, ["tor"]);
    assert_eq!(plan.heartbeat, Some(Interfaces::All));
}

#[test]
fn each_reason_that_keeps_a_service_from_both_protocols() {
    type Edit = fn(&mut Fixture);
    let cases: [(Reason, Edit); 9] = [
        (Reason::NotLoadBalancer, |f| f.web.is_load_balancer = false),
        (Reason::OtherLoadBalancerClass, |f| {
            f.web.class = Some("other.example/lb".to_owned());
        }),
        (Reason::OtherLoadBalancerClass, |f| {
            f.identity.class = Some("ours.example/lb".to_owned());
        }),
        (Reason::IpNotAllowed, |f| {
            f.pool().ranges = vec![range("10.9.0.0/24")];
        }),
        (Reason::NoMatchingAdvertisement, |f| {
            f.l2().pools.names = names(&["elsewhere"]);
            f.bgp().pools.names = names(&["elsewhere"]);
        }),
        (Reason::NoMatchingAdvertisement, |f| {
            f.l2().nodes = vec![selector("rack", "b")];
            f.bgp().nodes = vec![selector("rack", "b")];
        }),
        (Reason::NodeNetworkUnavailable, |f| {
            f.node("n1").network_unavailable = true;
        }),
        (Reason::NodeLabeledExcludeBalancers, |f| {
            label(f.node("n1"), Node::EXCLUDE_LABEL, "");
        }),
        (Reason::NoEndpoints, |f| f.endpoints(&[])),
    ];
    for (reason, edit) in cases {
        let mut fixture = Fixture::new();
        edit(&mut fixture);
        assert_eq!(reasons(&fixture.world()), both(reason), "{reason}");
    }
}

#[test]
fn each_reason_of_layer_2_alone() {
    type Edit = fn(&mut Fixture);
    let cases: [(Reason, Edit); 6] = [
        (Reason::SharedIpWithServiceSelector, |f| {
            f.web.requests.sharing_key = Some("k".to_owned());
            f.l2().services = vec![selector("app", "web")];
        }),
        (Reason::Layer2Off, |f| {
            f.segment = Segment::Off("no heartbeat key".to_owned());
        }),
        (Reason::Listening, |f| {
            f.segment = Segment::Listening {
                links: links(&[("eth0", true)]),
            };
        }),
        (Reason::AnnounceFailed, |f| {
            f.l2().interfaces = names(&["eth9"]);
        }),
        (Reason::AnnounceFailed, |f| f.hear(&[("eth0", false)], &[])),
        (Reason::NodeUnknown, |f| {
            f.nodes.remove("n1");
            f.add_node("n2");
        }),
    ];
    for (reason, edit) in cases {
        let mut fixture = Fixture::new();
        edit(&mut fixture);
        assert_eq!(reasons(&fixture.world()), (Some(reason), None), "{reason}");
    }
}

#[test]
fn a_named_interface_that_does_not_exist_is_named() {
    let mut fixture = Fixture::new();
    fixture.l2().interfaces = names(&["eth9"]);
    let plan = plan_address(&fixture.world(), ip(VIP)).unwrap();
    let Layer2::NotHeld { reason, detail, .. } = plan.layer2 else {
        panic!("held on an interface that does not exist");
    };
    assert_eq!(reason, Reason::AnnounceFailed);
    assert!(detail.unwrap().contains("eth9"));

    fixture.l2().interfaces = names(&["eth0", "eth9"]);
    let plan = plan_address(&fixture.world(), ip(VIP)).unwrap();
    let Layer2::Held(holding) = plan.layer2 else {
        panic!("one of the interfaces is there");
    };
    assert_eq!(holding.missing, names(&["eth9"]));
}

#[test]
fn an_interface_that_can_never_be_listened_on_is_named_and_not_waited_for() {
    let mut fixture = Fixture::new();
    for (chosen, state, expected) in [
        ("eth9", LinkState::Listening, Reason::AnnounceFailed),
        ("eth0", LinkState::Down, Reason::AnnounceFailed),
        ("eth0", LinkState::Listening, Reason::Listening),
    ] {
        fixture.l2().interfaces = names(&[chosen]);
        let links = BTreeMap::from([("eth0".to_owned(), state)]);
        let heard = BTreeMap::new();
        for segment in [
            Segment::Listening {
                links: links.clone(),
            },
            Segment::Known {
                links,
                heard: heard.clone(),
                waiting: heard,
                unknown: BTreeSet::new(),
            },
        ] {
            fixture.segment = segment;
            let plan = plan_address(&fixture.world(), ip(VIP)).unwrap();
            let Layer2::NotHeld { reason, detail, .. } = plan.layer2 else {
                panic!("held where nothing is known of the others");
            };
            assert_eq!(reason, expected, "{chosen} {state:?}");
            let names_it = detail.is_some_and(|detail| detail.contains(chosen));
            assert_eq!(names_it, expected == Reason::AnnounceFailed);
        }
    }
}

#[test]
fn i6_an_interface_that_still_listens_is_not_taken_along_with_the_others() {
    let mut fixture = Fixture::new();
    let states = [("eth0", LinkState::Up), ("eth1", LinkState::Listening)];
    fixture.segment = Segment::Known {
        links: states.map(|(name, state)| (name.to_owned(), state)).into(),
        heard: BTreeMap::new(),
        waiting: BTreeMap::new(),
        unknown: BTreeSet::new(),
    };
    assert_eq!(held_on(&fixture), only(&["eth0"]));
    fixture.hear(&[("eth0", true), ("eth1", true)], &[]);
    assert_eq!(held_on(&fixture), Some(Interfaces::All));
}

#[test]
fn the_interfaces_are_the_union_and_one_advertisement_without_a_list_means_all() {
    let mut fixture = Fixture::new();
    fixture.l2().interfaces = names(&["eth0"]);
    fixture.add_l2("second").interfaces = names(&["eth1"]);
    assert_eq!(held_on(&fixture), only(&["eth0", "eth1"]));
    fixture.add_l2("third");
    assert_eq!(held_on(&fixture), Some(Interfaces::All));
}

/// Where this node answers for the address; `None`: it leaves it to another.
fn held_on(fixture: &Fixture) -> Option<Interfaces> {
    let plan = plan_address(&fixture.world(), ip(VIP)).unwrap();
    match plan.layer2 {
        Layer2::Held(holding) => Some(holding.interfaces),
        Layer2::NotHeld { reason, .. } => {
            assert_eq!(reason, Reason::NotOwner);
            None
        }
        Layer2::Withheld { .. } => panic!("conflicts are not refused"),
    }
}

fn only(links: &[&str]) -> Option<Interfaces> {
    Some(Interfaces::Only(names(links)))
}

/// Who holds the address as this node sees it.
fn holder(world: &World) -> Option<String> {
    match plan_address(world, ip(VIP)).unwrap().layer2 {
        Layer2::Held(_) => Some(world.identity().node.clone()),
        Layer2::NotHeld { holder, .. } => holder,
        Layer2::Withheld { .. } => None,
    }
}

#[test]
fn only_nodes_heard_on_a_chosen_interface_are_alive() {
    let mut fixture = Fixture::new();
    fixture.add_node("n2");
    fixture.prefer("n2");
    assert_eq!(holder(&fixture.world()).unwrap(), "n1", "never heard: down");
    fixture.hear(&[("eth0", true)], &[("n2", &["eth0"])]);
    assert_eq!(holder(&fixture.world()).unwrap(), "n2");
    assert_eq!(reasons(&fixture.world()).0, Some(Reason::NotOwner));
    fixture.l2().interfaces = names(&["eth0"]);
    fixture.hear(&[("eth0", true), ("eth1", true)], &[("n2", &["eth1"])]);
    assert_eq!(
        holder(&fixture.world()).unwrap(),
        "n1",
        "heard elsewhere only"
    );
}

#[test]
fn i6_interfaces_are_chosen_by_the_names_that_each_node_has_for_its_own() {
    let mut fixture = Fixture::new();
    fixture.add_node("n2");
    fixture.prefer("n2");
    fixture.l2().interfaces = names(&["eth0"]);
    fixture.hear_from("n2", "eth0", "ens3");
    assert_eq!(
        holder(&fixture.world()).unwrap(),
        "n1",
        "n2 has no eth0, and is silent"
    );
    fixture.l2().interfaces = names(&["eth0", "ens3"]);
    fixture.hear_from("n2", "eth0", "ens3");
    assert_eq!(holder(&fixture.world()).unwrap(), "n2");
}

#[test]
fn i6_what_may_be_answered_for_after_listening_is_handed_off_already() {
    let mut fixture = Fixture::new();
    fixture.bgp().peers = names(&["nowhere"]);
    let handed_off = |fixture: &Fixture| {
        let plan = plan_address(&fixture.world(), ip(VIP)).unwrap();
        assert_eq!(plan.is_handed_off(), !plan.hand_off.frontends.is_empty());
        (plan.is_announced(), plan.is_handed_off())
    };
    fixture.segment = Segment::Listening {
        links: links(&[("eth0", true)]),
    };
    assert_eq!(handed_off(&fixture), (false, true));
    fixture.hear(&[("eth0", true)], &[]);
    assert_eq!(handed_off(&fixture), (true, true));
    fixture.add_node("n2");
    fixture.prefer("n2");
    fixture.hear(&[("eth0", true)], &[("n2", &["eth0"])]);
    assert_eq!(handed_off(&fixture), (false, false), "not the owner");
}

#[test]
fn i6_the_only_candidate_never_falls_silent() {
    let mut fixture = Fixture::new();
    fixture.hear(&[("eth0", true)], &[]);
    assert_eq!(reasons(&fixture.world()).0, None);
    fixture.nodes.clear();
    assert_eq!(
        reasons(&fixture.world()).0,
        None,
        "without Node objects too"
    );
}

#[test]
fn i6_all_nodes_that_hear_each_other_agree_on_one_holder() {
    let all = ["n1", "n2", "n3", "n4"];
    for last_octet in 1..50 {
        let vip = format!("10.0.0.{last_octet}");
        let mut holders = BTreeSet::new();
        for this in all {
            let mut fixture = Fixture::new();
            fixture.identity.node = this.to_owned();
            fixture.web.ingress = vec![ip(&vip)];
            let others = all.iter().filter(|name| **name != this);
            let heard: Vec<(&str, &[&str])> =
                others.map(|name| (*name, ["eth0"].as_slice())).collect();
            all.iter().for_each(|name| fixture.add_node(name));
            fixture.hear(&[("eth0", true)], &heard);
            let plan = plan_address(&fixture.world(), ip(&vip)).unwrap();
            match plan.layer2 {
                Layer2::Held(_) => holders.insert((this.to_owned(), true)),
                Layer2::NotHeld { holder, .. } => holders.insert((holder.unwrap(), true)),
                Layer2::Withheld { .. } => panic!("conflicts are not refused"),
            };
        }
        assert_eq!(holders.len(), 1, "{vip}: {holders:?}");
    }
}

/// Two nodes, of which `n1` comes first, as one of them sees it.
fn one_of_two(this: &str) -> Fixture {
    let mut fixture = Fixture::new();
    this.clone_into(&mut fixture.identity.node);
    fixture.add_node("n2");
    fixture.prefer("n1");
    fixture
}

#[test]
fn i6_on_a_segment_that_the_holder_has_lost_the_next_in_rank_answers() {
    let both_up = [("eth0", true), ("eth1", true)];
    let (mut n1, mut n2) = (one_of_two("n1"), one_of_two("n2"));
    n1.hear(&both_up, &[("n2", &["eth0", "eth1"])]);
    n2.hear(&both_up, &[("n1", &["eth0", "eth1"])]);
    assert_eq!(held_on(&n1), Some(Interfaces::All));
    assert_eq!(held_on(&n2), None);

    n1.hear(&[("eth0", true), ("eth1", false)], &[("n2", &["eth0"])]);
    n2.hear(&both_up, &[("n1", &["eth0"])]);
    assert_eq!(held_on(&n1), Some(Interfaces::All), "on all that are up");
    assert_eq!(held_on(&n2), only(&["eth1"]));

    n2.l2().interfaces = names(&["eth0", "eth1", "eth9"]);
    let plan = plan_address(&n2.world(), ip(VIP)).unwrap();
    assert_eq!(held_on(&n2), only(&["eth1"]));
    assert_eq!(plan.layer2.missing(), Some(&names(&["eth9"])));

    n2.l2().interfaces = names(&["eth0"]);
    assert_eq!(held_on(&n2), None, "the other segment is not asked for");
    assert_eq!(holder(&n2.world()).unwrap(), "n1");
}

#[test]
fn with_one_link_the_interfaces_stay_as_the_advertisement_has_them() {
    let (mut n1, mut n2) = (one_of_two("n1"), one_of_two("n2"));
    n1.hear(&[("eth0", true)], &[("n2", &["eth0"])]);
    n2.hear(&[("eth0", true)], &[("n1", &["eth0"])]);
    assert_eq!(held_on(&n1), Some(Interfaces::All));
    assert_eq!(held_on(&n2), None);
    assert_eq!(holder(&n2.world()).unwrap(), "n1");
    n1.l2().interfaces = names(&["eth0", "eth9"]);
    assert_eq!(held_on(&n1), only(&["eth0", "eth9"]));
    n2.hear(&[("eth0", true)], &[]);
    assert_eq!(held_on(&n2), Some(Interfaces::All));
}

#[test]
fn i6_whatever_links_are_lost_one_of_the_nodes_on_a_segment_answers_there() {
    let all = ["n1", "n2", "n3"];
    let segments = ["eth0", "eth1"];
    for (last_octet, lost) in (1..8).flat_map(|vip| (0..64_u32).map(move |lost| (vip, lost))) {
        let vip = ip(&format!("10.0.0.{last_octet}"));
        let is_up = |node: usize, segment: usize| lost & (1 << (2 * node + segment)) == 0;
        let answers = |this: usize| {
            let mut fixture = Fixture::new();
            all[this].clone_into(&mut fixture.identity.node);
            fixture.web.ingress = vec![vip];
            all.iter().for_each(|name| fixture.add_node(name));
            let links = [0, 1].map(|at| (segments[at], is_up(this, at)));
            let shared = |other| {
                let mut at = vec![0, 1];
                at.retain(|at| is_up(this, *at) && is_up(other, *at));
                at.iter().map(|at| segments[*at]).collect::<Vec<_>>()
            };
            let heard = [0, 1, 2].map(|other| (all[other], shared(other)));
            let heard = heard.iter().map(|(name, on)| (*name, on.as_slice()));
            let others = heard.filter(|(name, on)| *name != all[this] && !on.is_empty());
            fixture.hear(&links, &others.collect::<Vec<_>>());
            match plan_address(&fixture.world(), vip).unwrap().layer2 {
                Layer2::Held(holding) => {
                    [0, 1].map(|at| is_up(this, at) && holding.interfaces.include(segments[at]))
                }
                Layer2::NotHeld { .. } | Layer2::Withheld { .. } => [false; 2],
            }
        };
        let answers = [0, 1, 2].map(answers);
        for at in [0, 1] {
            let there = (0..3).filter(|node| is_up(*node, at)).count();
            let answering = (0..3).filter(|node| answers[*node][at]).count();
            let segment = segments[at];
            assert_eq!(answering, there.min(1), "{vip} {segment} {lost:06b}");
        }
    }
}

#[test]
fn preferences_are_summed_over_advertisements_and_never_outweigh_eligibility() {
    let mut fixture = Fixture::new();
    for (name, rack) in [("n1", "a"), ("n2", "b"), ("n3", "c")] {
        fixture.add_node(name);
        label(fixture.node(name), "rack", rack);
    }
    fixture.hear(&[("eth0", true)], &[("n2", &["eth0"]), ("n3", &["eth0"])]);
    let prefer = |rack: &str, weight| Preference {
        weight,
        nodes: selector("rack", rack),
    };
    fixture.l2().preferences = vec![prefer("b", 60), prefer("c", 50)];
    assert_eq!(holder(&fixture.world()).unwrap(), "n2");
    fixture.add_l2("second").preferences = vec![prefer("c", 20)];
    assert_eq!(holder(&fixture.world()).unwrap(), "n3");
    label(fixture.node("n3"), Node::EXCLUDE_LABEL, "true");
    assert_eq!(holder(&fixture.world()).unwrap(), "n2");
}

#[test]
fn with_traffic_policy_local_only_nodes_with_a_usable_endpoint_announce() {
    let mut fixture = Fixture::new();
    fixture.add_node("n2");
    fixture.hear(&[("eth0", true)], &[("n2", &["eth0"])]);
    fixture.web.traffic_policy = TrafficPolicy::Local;
    fixture.endpoints(&[endpoint("n2")]);
    assert_eq!(reasons(&fixture.world()), both(Reason::NoLocalEndpoints));
    assert_eq!(holder(&fixture.world()).unwrap(), "n2");
    fixture.endpoints(&[endpoint("n1")]);
    assert_eq!(reasons(&fixture.world()), ANNOUNCED);
}

#[test]
fn an_endpoint_counts_when_ready_is_unset_or_it_still_serves() {
    for (ready, serving, has_address, expected) in [
        (None, None, true, ANNOUNCED),
        (Some(true), None, true, ANNOUNCED),
        (Some(false), Some(true), true, ANNOUNCED),
        (Some(false), Some(false), true, both(Reason::NoEndpoints)),
        (Some(false), None, true, both(Reason::NoEndpoints)),
        (Some(true), None, false, (None, Some(Reason::NoEndpoints))),
    ] {
        let mut fixture = Fixture::new();
        let mut only = endpoint("n1");
        (only.ready, only.serving, only.has_address) = (ready, serving, has_address);
        fixture.endpoints(&[only]);
        assert_eq!(
            reasons(&fixture.world()),
            expected,
            "{ready:?} {serving:?} {has_address}"
        );
    }
}

#[test]
fn a_service_without_slices_is_ready_on_every_node_also_with_policy_local() {
    let mut fixture = Fixture::new();
    fixture.web.traffic_policy = TrafficPolicy::Local;
    fixture.slice = None;
    assert_eq!(reasons(&fixture.world()), ANNOUNCED);
}

#[test]
fn a_shared_address_is_announced_when_any_of_its_services_may_be() {
    let mut fixture = Fixture::new();
    fixture.endpoints(&[]);
    fixture.add_service("api", 8080);
    let plan = plan_address(&fixture.world(), ip(VIP)).unwrap();
    assert!(plan.layer2.is_held());
    let fate = |name| plan.service(&key(name)).unwrap().layer2;
    assert_eq!(fate("web"), Some(Reason::NoEndpoints));
    assert_eq!(fate("api"), None);
    let ports: Vec<u16> = plan
        .hand_off
        .frontends
        .keys()
        .map(|f| f.port.get())
        .collect();
    assert_eq!(ports, [8080], "only of the Service that is announced");
}

#[test]
fn a_port_is_handed_off_only_where_that_is_possible_and_asked_for() {
    let mut fixture = Fixture::new();
    fixture.web.ports.push(port(Protocol::Tcp, 443, None));
    fixture
        .web
        .ports
        .push(port(Protocol::Sctp, 99, Some(30099)));
    fixture.web.source_ranges = vec![net("192.0.2.0/24"), net("2001:db8::/32")];
    let plan = plan_address(&fixture.world(), ip(VIP)).unwrap();
    let (frontend, target) = plan.hand_off.frontends.first_key_value().unwrap();
    assert_eq!((frontend.port.get(), target.node_port.get()), (80, 30080));
    assert_eq!(target.source_ranges, BTreeSet::from([net("192.0.2.0/24")]));
    let refused: Vec<(u16, &str)> = plan
        .hand_off
        .refused
        .iter()
        .map(|refused| (refused.frontend.port.get(), refused.reason.as_str()))
        .collect();
    assert_eq!(
        refused,
        [
            (443, "it has no nodePort: give it one"),
            (99, "SCTP is not handed off")
        ]
    );
}

#[test]
fn source_ranges_that_leave_nobody_do_not_admit_everybody() {
    for (good, bad) in [
        (vec![net("2001:db8::/32")], vec![]),
        (vec![], vec!["x".to_owned()]),
    ] {
        let mut fixture = Fixture::new();
        (fixture.web.source_ranges, fixture.web.bad_source_ranges) = (good, bad);
        let plan = plan_address(&fixture.world(), ip(VIP)).unwrap();
        assert!(plan.hand_off.frontends.is_empty());
        assert_eq!(plan.hand_off.refused.len(), 1);
    }
}

#[test]
fn i5_while_a_pool_is_set_aside_what_no_pool_covers_stays_announced() {
    let mut fixture = Fixture::new();
    fixture.web.allocated_from = Some("pool".to_owned());
    fixture.l2().pools.names = names(&["pool"]);
    fixture.config.pools.clear();
    assert_eq!(reasons(&fixture.world()), both(Reason::IpNotAllowed));
    fixture.config.pools_incomplete = true;
    assert_eq!(reasons(&fixture.world()), ANNOUNCED);
    fixture.l2().pools.names = names(&["other"]);
    assert_eq!(
        reasons(&fixture.world()).0,
        Some(Reason::NoMatchingAdvertisement)
    );
}

#[test]
fn i10_what_a_peer_asks_of_tcp_is_planned_and_its_password_not_shown() {
    let mut fixture = Fixture::new();
    let peer = fixture.peer("tor");
    peer.password = Some(Secret::new("hunter2".to_owned()));
    peer.vrf = Some("red".to_owned());
    peer.options.source_port = Port::new(1790);
    peer.options.ttl_security_hops = TtlSecurityHops::new(2);
    let plan = plan(&fixture.world());
    let session = &plan.peers["tor"];
    let transport = Transport {
        source_port: Port::new(1790),
        device: Some("red".to_owned()),
        ttl_security_hops: TtlSecurityHops::new(2),
        authentication: Authentication::Md5(Secret::new("hunter2".to_owned())),
    };
    assert_eq!(session.transport, transport);
    let shown = format!("{plan:?} {:?}", fixture.world().config());
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn graceful_restart_and_waiting_for_the_peer_reach_the_session() {
    let mut fixture = Fixture::new();
    let session = peers(&fixture.world()).remove("tor").unwrap();
    assert_eq!((session.graceful_restart, session.passive), (None, false));
    let restart = GracefulRestart {
        long_lived: Some(std::time::Duration::from_secs(3600)),
    };
    let peer = fixture.peer("tor");
    peer.graceful_restart = true;
    peer.options.long_lived_stale_time = restart.long_lived;
    peer.options.passive = true;
    let session = peers(&fixture.world()).remove("tor").unwrap();
    assert_eq!(session.graceful_restart, Some(restart));
    assert!(session.passive);
}

#[test]
fn a_peer_that_names_a_bfd_profile_is_watched_as_the_profile_says() {
    let mut fixture = Fixture::new();
    fixture.peer("tor").bfd_profile = Some("fast".to_owned());
    let profile = ferrolb_crds::model::BfdProfile {
        name: "fast".to_owned(),
        detect_multiplier: Some(5),
        ..Default::default()
    };
    let profiles = &mut fixture.config.bfd_profiles;
    profiles.insert("fast".to_owned(), profile.clone());
    let world = fixture.world();
    let session = peers(&world).remove("tor").unwrap();
    assert_eq!(session.bfd.as_ref(), Some(&profile));
    assert_eq!(reasons(&world), ANNOUNCED);
    fixture.peer("tor").bfd_profile = None;
    let session = peers(&fixture.world()).remove("tor").unwrap();
    assert_eq!(session.bfd, None);
}

#[test]
fn the_exclude_label_can_be_disregarded() {
    let mut fixture = Fixture::new();
    label(fixture.node("n1"), Node::EXCLUDE_LABEL, "");
    assert_eq!(plan(&fixture.world()).heartbeat, None);
    fixture.identity.ignore_exclude_label = true;
    assert_eq!(reasons(&fixture.world()), ANNOUNCED);
}

#[test]
fn reasons_are_distinct_words() {
    let words: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(words.len(), Reason::ALL.len());
}
