use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::super::connection::{Endpoint, Ports};
use super::super::tests::{Update, asn, endpoint, net, session};
use super::*;

fn rib(session: &Negotiated, desired: Routes) -> AdjRibOut {
    AdjRibOut::new(session, asn(64601), desired)
}

fn routes(prefixes: &[&str]) -> Routes {
    prefixes
        .iter()
        .map(|p| (net(p), Route::default()))
        .collect()
}

fn tagged(low: u16) -> Route {
    Route {
        communities: BTreeSet::from([Community::Standard(64512, low)]),
        ..Route::default()
    }
}

fn drain(rib: &mut AdjRibOut) -> Vec<Update> {
    std::iter::from_fn(|| poll_update(rib)).collect()
}

/// The next message, from a session on which there are no marks.
fn poll_update(rib: &mut AdjRibOut) -> Option<Update> {
    match rib.poll()? {
        Composed::Update(message) => Some(Update::read_extended(&message)),
        Composed::Marker(message) => panic!("{message:02x?}"),
    }
}

/// A session whose table has been sent.
fn settled(session: &Negotiated, desired: Routes) -> AdjRibOut {
    let mut rib = rib(session, desired);
    drain(&mut rib);
    rib
}

/// What a peer holds: the attributes of each prefix; and what it will forget when a refresh ends that
/// does not bring it again (RFC 7313 §4).
#[derive(Debug, Default)]
struct Table {
    routes: BTreeMap<IpNet, BTreeMap<u8, (u8, Vec<u8>)>>,
    stale: BTreeSet<IpNet>,
}

impl Table {
    fn take(&mut self, message: Composed) {
        let update = match message {
            Composed::Update(message) => Update::read(&message),
            Composed::Marker(message) => return self.mark(&message),
        };
        for prefix in update.withdrawn {
            self.stale.remove(&prefix);
            self.routes.remove(&prefix).expect("withdrawn without need");
        }
        for prefix in update.announced {
            self.stale.remove(&prefix);
            self.routes.insert(prefix, update.attributes.clone());
        }
    }

    fn mark(&mut self, message: &[u8]) {
        let family = if message[20] == 1 {
            Family::V4
        } else {
            Family::V6
        };
        let is_of = |prefix: &&IpNet| Family::of(prefix.addr()) == family;
        if message[21] == 1 {
            self.stale.extend(self.routes.keys().filter(is_of));
            return;
        }
        let gone: Vec<IpNet> = self.stale.iter().filter(is_of).copied().collect();
        for prefix in gone {
            self.stale.remove(&prefix);
            self.routes.remove(&prefix);
        }
    }

    fn communities(&self) -> BTreeMap<IpNet, Vec<u8>> {
        let communities = |attributes: &BTreeMap<u8, (u8, Vec<u8>)>| {
            attributes
                .get(&8)
                .map_or_else(Vec::new, |found| found.1.clone())
        };
        self.routes
            .iter()
            .map(|(p, a)| (*p, communities(a)))
            .collect()
    }
}

#[test]
fn ten_thousand_addresses_take_fewer_than_twenty_updates() {
    let hosts = (0..10_000).map(|n| Ipv4Addr::from_bits(0x0a40_0000 + n));
    let desired: Routes = hosts
        .map(|a| (IpNet::from(IpAddr::from(a)), Route::default()))
        .collect();
    let mut rib = rib(&session(), desired.clone());
    let updates = drain(&mut rib);
    assert!(updates.len() < 20, "{}", updates.len());
    let announced: Vec<IpNet> = updates.into_iter().flat_map(|u| u.announced).collect();
    assert!(announced.iter().eq(desired.keys()), "all of them, in order");
    rib.apply(Routes::new());
    assert!(drain(&mut rib).len() < 20);
    assert_eq!(rib.prefixes(), 0);
}

#[test]
fn the_table_ends_with_end_of_rib_once() {
    let mut rib = rib(&session(), routes(&["192.0.2.10/32"]));
    let updates = drain(&mut rib);
    assert_eq!(updates.len(), 3);
    assert_eq!(updates[0].announced, [net("192.0.2.10/32")]);
    assert_eq!(updates[1], Update::default(), "IPv4");
    assert_eq!(updates[2].attributes[&15].1, [0, 2, 1], "IPv6");
    rib.apply(routes(&["192.0.2.11/32", "192.0.2.10/32"]));
    let updates = drain(&mut rib);
    assert_eq!(updates.len(), 1);
    assert_eq!(updates[0].announced, [net("192.0.2.11/32")]);
}

#[test]
fn the_same_routes_again_are_no_news() {
    let desired = routes(&["192.0.2.10/32", "2001:db8::/64"]);
    let mut rib = settled(&session(), desired.clone());
    rib.apply(desired);
    assert_eq!(drain(&mut rib), []);
}

#[test]
fn other_attributes_are_announced_again_and_not_withdrawn() {
    let mut rib = settled(&session(), routes(&["192.0.2.10/32", "192.0.2.11/32"]));
    let mut desired = routes(&["192.0.2.10/32"]);
    desired.insert(net("192.0.2.11/32"), tagged(1));
    rib.apply(desired);
    let updates = drain(&mut rib);
    assert_eq!(updates.len(), 1);
    assert_eq!(updates[0].announced, [net("192.0.2.11/32")]);
    assert_eq!(updates[0].attributes[&8].1, [0xfc, 0, 0, 1]);
}

#[test]
fn a_next_hop_that_comes_changes_or_goes_takes_its_routes_along() {
    let endpoint = |six: &[&str]| Endpoint {
        local: "10.0.0.11".parse().unwrap(),
        interface: six.iter().map(|a| a.parse().unwrap()).collect(),
        ports: Ports::default(),
    };
    let mut session = session();
    session.endpoint = endpoint(&[]);
    let mut rib = settled(&session, routes(&["192.0.2.10/32", "2001:db8::/64"]));
    assert_eq!(rib.prefixes(), 1);
    assert!(rib.unannounced().is_some());

    rib.relocate(&endpoint(&["fd00::11"]));
    let updates = drain(&mut rib);
    assert_eq!(updates.len(), 1, "the other family stays as it is");
    assert_eq!(updates[0].announced, [net("2001:db8::/64")]);
    assert_eq!(rib.unannounced(), None);
    rib.relocate(&endpoint(&["fd00::11"]));
    assert_eq!(drain(&mut rib), []);

    rib.relocate(&endpoint(&["fd00::12"]));
    let updates = drain(&mut rib);
    assert_eq!(updates.len(), 1);
    assert_eq!(updates[0].announced, [net("2001:db8::/64")]);

    // Gone and back before the peer could be told: it still holds the one before.
    rib.relocate(&endpoint(&[]));
    rib.relocate(&endpoint(&["fd00::13"]));
    let updates = drain(&mut rib);
    assert_eq!(updates.len(), 1);
    assert_eq!(updates[0].announced, [net("2001:db8::/64")]);

    rib.relocate(&endpoint(&[]));
    let updates = drain(&mut rib);
    assert_eq!(updates.len(), 1);
    assert_eq!(updates[0].withdrawn, [net("2001:db8::/64")]);
    assert_eq!(rib.prefixes(), 1);
}

#[test]
fn what_came_and_went_unsent_is_never_sent() {
    let mut rib = settled(&session(), Routes::new());
    rib.apply(routes(&["192.0.2.10/32"]));
    rib.apply(Routes::new());
    assert_eq!(drain(&mut rib), []);
}

#[test]
fn a_change_is_one_update_and_the_same_again_none() {
    let mut rib = settled(&session(), routes(&["192.0.2.10/32", "192.0.2.11/32"]));
    rib.change(net("192.0.2.11/32"), Some(&tagged(1)));
    rib.change(net("192.0.2.12/32"), None);
    rib.change(net("192.0.2.10/32"), Some(&Route::default()));
    let updates = drain(&mut rib);
    assert_eq!(updates.len(), 1);
    assert_eq!(updates[0].announced, [net("192.0.2.11/32")]);
    rib.change(net("192.0.2.11/32"), Some(&tagged(1)));
    assert_eq!(drain(&mut rib), []);

    // There and back before it could be sent.
    rib.change(net("192.0.2.11/32"), None);
    rib.change(net("192.0.2.11/32"), Some(&tagged(1)));
    rib.change(net("192.0.2.10/32"), Some(&tagged(2)));
    rib.change(net("192.0.2.10/32"), Some(&Route::default()));
    assert_eq!(drain(&mut rib), []);
    rib.change(net("192.0.2.11/32"), None);
    assert_eq!(drain(&mut rib)[0].withdrawn, [net("192.0.2.11/32")]);
}

/// What is withdrawn and wanted again while everything is being sent again has to be sent again, too:
/// else the peer would forget it at the end.
#[test]
fn a_refresh_says_what_comes_back_while_it_lasts() {
    let session = Negotiated {
        has_enhanced_refresh: true,
        ..session()
    };
    let mut rib = rib(&session, routes(&["192.0.2.10/32", "192.0.2.11/32"]));
    told(&mut rib);
    rib.refresh(Family::V4);
    assert!(matches!(rib.poll(), Some(Composed::Marker(_))));
    rib.change(net("192.0.2.10/32"), None);
    rib.change(net("192.0.2.10/32"), Some(&Route::default()));
    rib.change(net("192.0.2.11/32"), Some(&Route::default()));
    assert_eq!(told(&mut rib), ["2 routes", "EoRR 1"]);
}

#[test]
fn neighbours_are_withdrawn_far_from_each_other() {
    let many = (0..=255).map(|last| net(&format!("192.0.2.{last}/32")));
    let desired: Routes = many.map(|prefix| (prefix, Route::default())).collect();
    let mut rib = settled(&session(), desired.clone());
    for prefix in desired.keys() {
        rib.change(*prefix, None);
    }
    let updates = drain(&mut rib);
    let gone = &updates[0].withdrawn;
    assert_eq!(gone.iter().collect::<BTreeSet<_>>().len(), 256);
    let half = |prefix: &IpNet| prefix.addr() < IpAddr::from([192, 0, 2, 128]);
    assert!(gone.windows(2).all(|pair| half(&pair[0]) != half(&pair[1])));
}

#[test]
fn parts_are_announced_before_their_aggregate_is_withdrawn() {
    let mut rib = settled(&session(), routes(&["192.0.2.0/24"]));
    rib.apply(routes(&["192.0.2.10/32"]));
    let updates = drain(&mut rib);
    assert_eq!(updates[0].announced, [net("192.0.2.10/32")]);
    assert_eq!(updates[1].withdrawn, [net("192.0.2.0/24")]);
}

#[test]
fn local_pref_is_news_for_an_internal_peer_only() {
    let preferring = |local_pref| {
        let route = Route {
            local_pref,
            ..Route::default()
        };
        Routes::from([(net("192.0.2.10/32"), route)])
    };
    let internal = Negotiated {
        is_internal: true,
        ..session()
    };
    let mut inside = rib(&internal, preferring(None));
    let attributes = &drain(&mut inside)[0].attributes;
    assert_eq!(attributes[&5].1, 100_u32.to_be_bytes());
    assert!(attributes[&2].1.is_empty(), "AS_PATH");
    inside.apply(preferring(Some(100)));
    assert_eq!(drain(&mut inside), [], "the default said aloud");
    inside.apply(preferring(Some(200)));
    assert_eq!(
        drain(&mut inside)[0].attributes[&5].1,
        200_u32.to_be_bytes()
    );

    let mut outside = rib(&session(), preferring(Some(200)));
    assert_eq!(drain(&mut outside)[0].attributes.get(&5), None);
    outside.apply(preferring(Some(300)));
    assert_eq!(drain(&mut outside), []);
}

#[test]
fn each_attribute_is_news_for_the_prefix_that_has_it_and_for_no_other() {
    let edits: [fn(&mut Route); 3] = [
        |route| route.med = Some(7),
        |route| route.as_path_prepend = 2,
        |route| route.link_bandwidth = Some(250_000_000),
    ];
    let mut desired = routes(&["192.0.2.10/32", "192.0.2.11/32"]);
    let mut rib = settled(&session(), desired.clone());
    for edit in edits {
        edit(desired.get_mut(&net("192.0.2.11/32")).unwrap());
        rib.apply(desired.clone());
        let updates = drain(&mut rib);
        assert_eq!(updates.len(), 1);
        assert_eq!(updates[0].announced, [net("192.0.2.11/32")]);
        rib.apply(desired.clone());
        assert_eq!(drain(&mut rib), []);
    }
}

#[test]
fn our_number_stands_in_the_path_of_external_peers_only() {
    let route = Route {
        as_path_prepend: 3,
        med: Some(7),
        link_bandwidth: Some(125_000_000),
        ..Route::default()
    };
    let desired = Routes::from([(net("192.0.2.10/32"), route)]);
    let attributes = |session: &Negotiated| {
        let mut rib = rib(session, desired.clone());
        drain(&mut rib)[0].attributes.clone()
    };
    let outside = attributes(&session());
    assert_eq!(outside[&2].1[..2], [2, 4]);
    let internal = Negotiated {
        is_internal: true,
        ..session()
    };
    let inside = attributes(&internal);
    assert!(inside[&2].1.is_empty());
    for attributes in [outside, inside] {
        assert_eq!(attributes[&4].1, [0, 0, 0, 7]);
        assert_eq!(
            attributes[&16].1,
            [0x40, 4, 0xfc, 0x59, 0x4c, 0xee, 0x6b, 0x28]
        );
    }
}

#[test]
fn a_link_of_an_as_of_four_octets_is_that_of_as_trans() {
    let route = Route {
        link_bandwidth: Some(1),
        ..Route::default()
    };
    let desired = Routes::from([(net("192.0.2.10/32"), route)]);
    let mut rib = AdjRibOut::new(&session(), asn(4_200_000_001), desired);
    assert_eq!(drain(&mut rib)[0].attributes[&16].1[2..4], [0x5b, 0xa0]);
}

#[test]
fn a_route_refresh_brings_the_whole_family_again() {
    let desired = routes(&["192.0.2.10/32", "192.0.2.11/32", "2001:db8::/64"]);
    let mut rib = settled(&session(), desired);
    rib.refresh(Family::V4);
    rib.refresh(Family::V4);
    let updates = drain(&mut rib);
    assert_eq!(updates.len(), 1);
    assert_eq!(
        updates[0].announced,
        [net("192.0.2.10/32"), net("192.0.2.11/32")]
    );
    assert_eq!(rib.prefixes(), 3);
}

#[test]
fn a_change_during_a_refresh_does_not_end_it() {
    let hosts =
        (0..10_000).map(|n| IpNet::from(IpAddr::from(Ipv4Addr::from_bits(0x0a40_0000 + n))));
    let mut desired: Routes = hosts.map(|host| (host, Route::default())).collect();
    let mut rib = settled(&session(), desired.clone());
    rib.refresh(Family::V4);
    assert!(poll_update(&mut rib).is_some(), "a part of it");
    desired.insert(net("192.0.2.10/32"), Route::default());
    rib.apply(desired.clone());
    let again: BTreeSet<IpNet> = drain(&mut rib)
        .into_iter()
        .flat_map(|update| update.announced)
        .collect();
    assert!(again.iter().eq(desired.keys()), "the whole of it");
}

/// What comes out, in words.
fn told(rib: &mut AdjRibOut) -> Vec<String> {
    let messages = std::iter::from_fn(|| rib.poll());
    let words = messages.map(|message| match message {
        Composed::Update(message) => match Update::read(&message) {
            update if update == Update::default() => "End-of-RIB IPv4".to_owned(),
            update if update.attributes.len() == 1 => "End-of-RIB IPv6".to_owned(),
            update => format!("{} routes", update.announced.len()),
        },
        Composed::Marker(message) => match (message[20], message[21]) {
            (family, 1) => format!("BoRR {family}"),
            (family, 2) => format!("EoRR {family}"),
            other => panic!("{other:?}"),
        },
    });
    words.collect()
}

#[test]
fn an_answer_to_a_refresh_is_marked_where_that_is_agreed_on() {
    let session = Negotiated {
        has_enhanced_refresh: true,
        ..session()
    };
    let mut rib = rib(&session, routes(&["192.0.2.10/32", "2001:db8::/64"]));
    // Asked for before the first table is through: RFC 7313 §4 wants End-of-RIB first.
    rib.refresh(Family::V4);
    let expected = [
        "1 routes",
        "1 routes",
        "End-of-RIB IPv4",
        "End-of-RIB IPv6",
        "BoRR 1",
        "1 routes",
        "EoRR 1",
    ];
    assert_eq!(told(&mut rib), expected);
    rib.refresh(Family::V6);
    rib.refresh(Family::V4);
    let both = [
        "BoRR 1", "1 routes", "EoRR 1", "BoRR 2", "1 routes", "EoRR 2",
    ];
    assert_eq!(told(&mut rib), both);
    // A peer that asks for what is not there is told just that.
    rib.apply(routes(&["192.0.2.10/32"]));
    told(&mut rib);
    rib.refresh(Family::V6);
    assert_eq!(told(&mut rib), ["BoRR 2", "EoRR 2"]);
}

#[test]
fn a_marked_answer_that_is_interrupted_begins_anew() {
    let session = Negotiated {
        has_enhanced_refresh: true,
        ..session()
    };
    let mut rib = rib(&session, routes(&["192.0.2.10/32"]));
    told(&mut rib);
    rib.refresh(Family::V4);
    assert!(matches!(rib.poll(), Some(Composed::Marker(_))));
    rib.apply(routes(&["192.0.2.10/32", "192.0.2.11/32"]));
    assert_eq!(told(&mut rib), ["1 routes", "BoRR 1", "2 routes", "EoRR 1"]);
}

#[test]
fn extended_messages_hold_more_where_that_is_agreed_on() {
    let hosts = (0..10_000).map(|n| Ipv4Addr::from_bits(0x0a40_0000 + n));
    let desired: Routes = hosts
        .map(|a| (IpNet::from(IpAddr::from(a)), Route::default()))
        .collect();
    let session = Negotiated {
        has_extended_message: true,
        ..session()
    };
    let mut rib = rib(&session, desired);
    let updates = drain(&mut rib);
    assert_eq!(updates.len(), 3, "one, and two End-of-RIB");
    assert_eq!(updates[0].announced.len(), 10_000);
}

#[test]
fn a_refresh_of_an_empty_family_does_not_hold_up_the_other() {
    let mut rib = settled(&session(), routes(&["2001:db8::/64"]));
    rib.refresh(Family::V4);
    rib.refresh(Family::V6);
    let updates = drain(&mut rib);
    assert_eq!(updates.len(), 1);
    assert_eq!(updates[0].announced, [net("2001:db8::/64")]);
}

#[test]
fn a_family_that_was_not_offered_is_not_announced() {
    let session = Negotiated {
        families: BTreeSet::from([Family::V4]),
        ..session()
    };
    let mut rib = rib(&session, routes(&["192.0.2.10/32", "2001:db8::/64"]));
    assert_eq!(drain(&mut rib).len(), 2, "one prefix, one End-of-RIB");
    assert_eq!(rib.prefixes(), 1);
    assert_eq!(rib.unannounced(), Some(Unannounced::NotOffered(Family::V6)));
    rib.apply(routes(&["192.0.2.10/32"]));
    assert_eq!(rib.unannounced(), None, "nothing is missing");
}

#[test]
fn a_family_without_a_next_hop_is_not_announced() {
    let endpoint = Endpoint {
        interface: vec!["10.0.0.11".parse().unwrap()],
        ..endpoint()
    };
    let session = Negotiated {
        endpoint,
        ..session()
    };
    let mut rib = settled(&session, routes(&["192.0.2.10/32", "2001:db8::/64"]));
    assert_eq!(rib.prefixes(), 1);
    let expected = Unannounced::NoNextHop(NoNextHop::V6);
    assert_eq!(rib.unannounced(), Some(expected));
    rib.refresh(Family::V6);
    assert_eq!(drain(&mut rib), []);
}

#[test]
fn a_route_too_large_for_a_message_is_withdrawn_and_said_to_be() {
    let communities = (0..2000).map(|low| Community::Standard(64512, low));
    let large = Route {
        communities: communities.collect(),
        ..Route::default()
    };
    let mut rib = settled(&session(), routes(&["192.0.2.10/32", "192.0.2.11/32"]));
    let mut desired = routes(&["192.0.2.10/32"]);
    desired.insert(net("192.0.2.11/32"), large);
    rib.apply(desired);
    let updates = drain(&mut rib);
    assert_eq!(updates.len(), 1);
    assert_eq!(updates[0].withdrawn, [net("192.0.2.11/32")]);
    assert_eq!(rib.unannounced(), Some(Unannounced::Oversized(1)));
    rib.apply(routes(&["192.0.2.10/32", "192.0.2.11/32"]));
    assert_eq!(drain(&mut rib)[0].announced, [net("192.0.2.11/32")]);
    assert_eq!(rib.unannounced(), None);
}

#[derive(Debug, Clone)]
enum Op {
    Desire(Vec<(u8, u8, u16)>),
    Change(Vec<(u8, u8, Option<u16>)>),
    Send(u8),
    Refresh(Family),
}

/// Few prefixes of many lengths, so that they meet again.
fn prefix(number: u8, length: u8) -> IpNet {
    let net = if number.is_multiple_of(2) {
        IpNet::new(Ipv4Addr::new(10, number, 0, 0).into(), length % 33)
    } else {
        let address = std::net::Ipv6Addr::new(0x2001, 0xdb8, number.into(), 0, 0, 0, 0, 0);
        IpNet::new(address.into(), length % 129)
    };
    net.unwrap().trunc()
}

fn length() -> impl Strategy<Value = u8> {
    prop_oneof![1 => any::<u8>(), 2 => Just(16), 2 => Just(32)]
}

fn op() -> impl Strategy<Value = Op> {
    let route = (0..12_u8, length(), 0..3_u16);
    let changed = (0..12_u8, length(), proptest::option::of(0..3_u16));
    prop_oneof![
        1 => proptest::collection::vec(route, 0..20).prop_map(Op::Desire),
        3 => proptest::collection::vec(changed, 0..6).prop_map(Op::Change),
        3 => (0..4_u8).prop_map(Op::Send),
        1 => Just(Op::Refresh(Family::V4)),
        1 => Just(Op::Refresh(Family::V6)),
    ]
}

/// Tells it, and notes that.
fn change(rib: &mut AdjRibOut, desired: &mut Routes, prefix: IpNet, route: Option<Route>) {
    rib.change(prefix, route.as_ref());
    match route {
        Some(route) => desired.insert(prefix, route),
        None => desired.remove(&prefix),
    };
}

proptest! {
    #[test]
    fn the_peer_ends_up_with_what_is_desired(ops in proptest::collection::vec(op(), 0..30)) {
        for (is_over_v6, is_marked) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut session = session();
            session.has_enhanced_refresh = is_marked;
            if is_over_v6 {
                session.endpoint.local = "fd00::11".parse().unwrap();
                session.has_extended_next_hop = true;
            }
            let mut rib = rib(&session, Routes::new());
            let mut table = Table::default();
            let mut desired = Routes::new();
            for op in &ops {
                match op {
                    Op::Desire(list) => {
                        desired = list.iter().map(|(n, l, tag)| (prefix(*n, *l), tagged(*tag))).collect();
                        rib.apply(desired.clone());
                    }
                    Op::Change(list) => {
                        for (n, l, tag) in list {
                            change(&mut rib, &mut desired, prefix(*n, *l), tag.map(tagged));
                        }
                    }
                    Op::Send(count) => {
                        for _ in 0..*count {
                            if let Some(message) = rib.poll() {
                                table.take(message);
                            }
                        }
                    }
                    Op::Refresh(family) => rib.refresh(*family),
                }
                prop_assert_eq!(rib.prefixes(), table.routes.len());
                prop_assert_eq!(rib.desired(), &desired);
            }
            while let Some(message) = rib.poll() {
                table.take(message);
            }
            let expected: BTreeMap<IpNet, Vec<u8>> = desired
                .iter()
                .map(|(prefix, route)| {
                    let Some(Community::Standard(_, low)) = route.communities.first() else {
                        panic!("tagged");
                    };
                    (*prefix, vec![0xfc, 0, 0, *low as u8])
                })
                .collect();
            prop_assert_eq!(table.communities(), expected);
            prop_assert_eq!(rib.poll(), None);
        }
    }

    /// Told the changes, of several about one prefix the last, in whatever order: the messages are the
    /// same.
    #[test]
    fn i11_told_what_has_changed_it_says_what_it_would_if_told_everything(
        changes in proptest::collection::vec(
            (proptest::collection::vec((0..12_u8, length(), proptest::option::of(0..3_u16)), 0..8), 0..4_u8),
            0..20,
        ),
        seed in any::<u64>(),
    ) {
        let (mut whole, mut parts) = (rib(&session(), Routes::new()), rib(&session(), Routes::new()));
        let mut desired = Routes::new();
        let mut rng = fastrand::Rng::with_seed(seed);
        for (changed, sent) in changes {
            let changed: BTreeMap<IpNet, Option<Route>> =
                changed.iter().map(|(n, l, tag)| (prefix(*n, *l), tag.map(tagged))).collect();
            let mut changed = Vec::from_iter(changed);
            rng.shuffle(&mut changed);
            // What stays as it is may be told as well.
            changed.extend(desired.first_key_value().map(|(prefix, route)| (*prefix, Some(route.clone()))).filter(|(first, _)| changed.iter().all(|(prefix, _)| prefix != first)));
            for (prefix, route) in changed {
                change(&mut parts, &mut desired, prefix, route);
            }
            whole.apply(desired.clone());
            for _ in 0..sent {
                prop_assert_eq!(parts.poll(), whole.poll());
            }
        }
        prop_assert_eq!(drain(&mut parts), drain(&mut whole));
        prop_assert_eq!(parts.unannounced(), whole.unannounced());
    }
}
