use ferrolb_crds::model::Protocol;
use imbl::{OrdMap, OrdSet};
use proptest::prelude::*;

use super::*;
use crate::nft::fixture::{self, on_host, target};

fn frontend(address: &str, port: u16) -> Frontend {
    fixture::frontend(address, Protocol::Tcp, port)
}

fn ruleset(frontends: Vec<(Frontend, Target)>) -> Ruleset {
    on_host(frontends, &Host::default())
}

fn sources(ruleset: &Ruleset) -> Vec<String> {
    let texts = ruleset.elements().iter().filter_map(|element| {
        if let Element::Source(_, net) = element {
            return Some(net.to_string());
        }
        None
    });
    texts.collect()
}

#[test]
fn nothing_desired_needs_no_table() {
    let host = Host {
        numbered: ["eth0".to_owned()].into(),
        address: Some(Ipv4Addr::new(10, 0, 0, 1)),
    };
    assert!(Ruleset::new(&Desired::default(), &host).is_empty());
}

#[test]
fn an_address_without_frontends_is_guarded_and_nothing_else() {
    let address: IpAddr = "192.0.2.1".parse().unwrap();
    let desired = Desired {
        addresses: OrdSet::unit(address),
        frontends: OrdMap::new(),
    };
    let host = Host {
        numbered: ["eth0".to_owned()].into(),
        address: None,
    };
    let ruleset = Ruleset::new(&desired, &host);
    assert_eq!(ruleset.elements(), &[Element::Address(address)].into());
}

#[test]
fn the_address_of_a_frontend_is_guarded_also_when_it_is_not_listed() {
    let frontend = frontend("192.0.2.1", 80);
    let ruleset = ruleset(vec![(frontend, target(30080, &[]))]);
    let expected = [
        Element::Address(frontend.address),
        Element::Port(frontend, Port::new(30080).unwrap()),
    ];
    assert_eq!(ruleset.elements(), &expected.into());
}

#[test]
fn source_ranges_are_masked_and_joined() {
    let ranges = ["10.0.0.77/24", "10.0.1.0/24", "10.0.0.0/25", "192.0.2.9/32"];
    let ruleset = ruleset(vec![(frontend("192.0.2.1", 80), target(30080, &ranges))]);
    assert_eq!(sources(&ruleset), ["10.0.0.0/23", "192.0.2.9/32"]);
    assert!(
        ruleset
            .elements()
            .contains(&Element::Limited(frontend("192.0.2.1", 80)))
    );
}

#[test]
fn ranges_count_for_their_own_family_only() {
    let ranges = ["10.0.0.0/8", "fd00::/8"];
    let four = ruleset(vec![(frontend("192.0.2.1", 80), target(30080, &ranges))]);
    let six = ruleset(vec![(frontend("2001:db8::1", 80), target(30080, &ranges))]);
    assert_eq!(sources(&four), ["10.0.0.0/8"]);
    assert_eq!(sources(&six), ["fd00::/8"]);
}

#[test]
fn ranges_of_the_other_family_alone_leave_this_one_open_as_in_kube_proxy() {
    let six = ruleset(vec![(
        frontend("2001:db8::1", 80),
        target(30080, &["10.0.0.0/8"]),
    )]);
    let open = ruleset(vec![(frontend("2001:db8::1", 80), target(30080, &[]))]);
    assert_eq!(six, open);
}

#[test]
fn a_range_of_everything_is_no_limit() {
    let frontend = frontend("192.0.2.1", 80);
    let limited = target(30080, &["0.0.0.0/1", "128.0.0.0/1", "10.0.0.0/8"]);
    let open = ruleset(vec![(frontend, target(30080, &[]))]);
    assert_eq!(ruleset(vec![(frontend, limited)]), open);
}

#[test]
fn interface_names_that_nft_would_misread_are_left_out() {
    let desired = Desired {
        addresses: OrdSet::new(),
        frontends: OrdMap::unit(frontend("192.0.2.1", 80), target(30080, &[])),
    };
    let names = ["eth0", "eth0.100", "x*", "a\"b", "a{b", "br-lan"];
    let host = Host {
        numbered: names.map(str::to_owned).into(),
        address: None,
    };
    let ruleset = Ruleset::new(&desired, &host);
    let numbered: Vec<_> = ruleset
        .elements()
        .iter()
        .filter(|element| matches!(element, Element::Numbered(_)))
        .collect();
    let expected = ["br-lan", "eth0", "eth0.100"].map(|name| Element::Numbered(name.to_owned()));
    assert_eq!(numbered, expected.iter().collect::<Vec<_>>());
}

#[test]
fn a_host_without_ipv4_frontends_lists_no_interfaces() {
    let desired = Desired {
        addresses: OrdSet::new(),
        frontends: OrdMap::unit(frontend("2001:db8::1", 80), target(30080, &[])),
    };
    let host = Host {
        numbered: ["eth0".to_owned()].into(),
        address: Some(Ipv4Addr::new(10, 0, 0, 1)),
    };
    assert_eq!(
        Ruleset::new(&desired, &host),
        Ruleset::new(&desired, &Host::default())
    );
}

#[test]
fn a_change_of_node_port_takes_the_old_one_out() {
    let frontend = frontend("192.0.2.1", 80);
    let old = ruleset(vec![(frontend, target(30080, &[]))]);
    let new = ruleset(vec![(frontend, target(30081, &[]))]);
    let change = old.change_to(&new);
    assert_eq!(
        change.removed,
        [Element::Port(frontend, Port::new(30080).unwrap())].into()
    );
    assert_eq!(
        change.added,
        [Element::Port(frontend, Port::new(30081).unwrap())].into()
    );
}

/// Few values, so that frontends of two states meet.
fn any_desired() -> impl Strategy<Value = Desired> {
    let address = prop_oneof![
        (0..4_u8).prop_map(|last| IpAddr::from([192, 0, 2, last])),
        (0..4_u16).prop_map(|last| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last])),
    ];
    let protocol = prop_oneof![
        Just(Protocol::Tcp),
        Just(Protocol::Udp),
        Just(Protocol::Sctp)
    ];
    let port = |range: std::ops::Range<u16>| range.prop_map(|port| Port::new(port).unwrap());
    let range = prop_oneof![
        (0..8_u8, 6..=32_u8).prop_map(|(first, len)| IpNet::new(
            IpAddr::from([first << 4, 0, 0, 1]),
            len
        )
        .unwrap()),
        (0..8_u16, 6..=128_u8).prop_map(|(first, len)| {
            let address = IpAddr::from([first << 12, 0, 0, 0, 0, 0, 0, 1]);
            IpNet::new(address, len).unwrap()
        }),
    ];
    let frontend =
        (address.clone(), protocol, port(79..82)).prop_map(|(address, protocol, port)| Frontend {
            address,
            protocol,
            port,
        });
    let ranges = prop::collection::btree_set(range, 0..5);
    let target = (port(30_000..30_003), ranges).prop_map(|(node_port, source_ranges)| Target {
        node_port,
        source_ranges,
    });
    (
        prop::collection::btree_set(address, 0..4),
        prop::collection::btree_map(frontend, target, 0..12),
    )
        .prop_map(|(addresses, frontends)| Desired {
            addresses: addresses.into(),
            frontends: frontends.into(),
        })
}

/// What the kernel does with a transaction: it refuses to remove what is not there, to add a key
/// twice, and to add a range that overlaps another of the same frontend.
fn applied(table: &Ruleset, change: &Change) -> Ruleset {
    let mut elements = table.elements.clone();
    for element in &change.removed {
        assert!(elements.remove(element), "removed what was not there");
    }
    for element in &change.added {
        for present in &elements {
            assert!(
                !clash(present, element),
                "{present:?} clashes with {element:?}"
            );
        }
        elements.insert(element.clone());
    }
    Ruleset { elements }
}

fn clash(left: &Element, right: &Element) -> bool {
    if let (Element::Port(left, _), Element::Port(right, _)) = (left, right) {
        return left == right;
    }
    if let (Element::Source(left, a), Element::Source(right, b)) = (left, right) {
        return left == right && (a.contains(b) || b.contains(a));
    }
    left == right
}

proptest! {
    #[test]
    fn increments_lead_to_what_a_replacement_would(
        states in prop::collection::vec(any_desired(), 1..6)
    ) {
        let mut table = Ruleset::default();
        for desired in &states {
            let wanted = Ruleset::new(desired, &Host::default());
            table = applied(&table, &table.change_to(&wanted));
            prop_assert_eq!(&table, &wanted);
            prop_assert!(table.change_to(&wanted).is_empty());
        }
    }

    #[test]
    fn the_difference_of_two_wishes_is_that_of_their_rulesets(
        old in any_desired(),
        new in any_desired(),
        differs_in in any::<bool>(),
    ) {
        let host = Host {
            numbered: ["eth0".to_owned()].into(),
            address: Some(Ipv4Addr::new(10, 0, 0, 11)),
        };
        // Often most of it is the same.
        let mut new = new;
        if differs_in {
            let kept = old.frontends.iter().skip(1);
            new.frontends.extend(kept.map(|(frontend, target)| (*frontend, target.clone())));
            new.addresses.extend(old.addresses.iter().skip(1).copied());
        }
        let mut ruleset = Ruleset::new(&old, &host);
        let wanted = Ruleset::new(&new, &host);
        let change = Change::between(&old, &new, &host);
        prop_assert_eq!(&change, &ruleset.change_to(&wanted));
        ruleset.apply(change);
        prop_assert_eq!(ruleset, wanted);
    }

    #[test]
    fn a_source_is_let_in_exactly_if_a_range_of_its_family_holds_it(
        desired in any_desired(),
        source in prop_oneof![any::<u32>().prop_map(|v| Family::V4.address(v.into())),
                              any::<u128>().prop_map(|v| Family::V6.address(v))],
    ) {
        let ruleset = Ruleset::new(&desired, &Host::default());
        for (frontend, target) in &desired.frontends {
            let family = Family::of(frontend.address);
            if Family::of(source) != family {
                continue;
            }
            let mut given = target.source_ranges.iter()
                .filter(|net| Family::of(net.addr()) == family).peekable();
            let is_open = given.peek().is_none();
            let allowed = is_open || given.any(|net| net.contains(&source));
            let let_in = !ruleset.elements.contains(&Element::Limited(*frontend))
                || ruleset.elements.iter().any(|element| {
                    matches!(element, Element::Source(f, net) if f == frontend && net.contains(&source))
                });
            prop_assert_eq!(allowed, let_in);
        }
    }
}
