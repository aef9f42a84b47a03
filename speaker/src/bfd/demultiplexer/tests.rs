use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use proptest::prelude::*;

use super::super::packet::{Diagnostic, State};
use super::*;

const PEER: &str = "192.0.2.1";
const OURS: &str = "192.0.2.10";

fn key(peer: &str, reach: Reach) -> SessionKey {
    SessionKey {
        peer: peer.parse().unwrap(),
        interface: None,
        vrf: None,
        local: None,
        reach,
    }
}

fn number(value: u32) -> Discriminator {
    Discriminator(NonZeroU32::new(value).unwrap())
}

fn packet(yours: Option<u32>) -> Control {
    Control {
        diagnostic: Diagnostic::Absent,
        state: State::Down,
        poll: false,
        is_final: false,
        control_plane_independent: false,
        demand: false,
        detect_multiplier: NonZeroU8::new(3).unwrap(),
        my_discriminator: number(77),
        your_discriminator: yours.map(number),
        desired_min_tx: Duration::from_secs(1),
        required_min_rx: Duration::from_secs(1),
        required_min_echo_rx: Duration::ZERO,
    }
}

fn arrival(octets: &[u8]) -> Arrival<'_> {
    Arrival {
        hops: Hops::Single,
        source: PEER.parse().unwrap(),
        destination: OURS.parse().unwrap(),
        interface: 2,
        device: None,
        ttl: 255,
        octets,
    }
}

fn both() -> (Demultiplexer, SessionKey, SessionKey) {
    let mut demultiplexer = Demultiplexer::new();
    let near = key(PEER, Reach::SingleHop);
    let far = key(PEER, Reach::Multihop);
    demultiplexer.insert(&near, number(1), Hops::Single, 254);
    demultiplexer.insert(&far, number(2), Hops::Multiple, 254);
    (demultiplexer, near, far)
}

#[test]
fn the_first_packet_is_told_by_its_addresses_and_the_others_by_their_discriminator() {
    let (demultiplexer, near, far) = both();
    for (hops, name, expected) in [
        (Hops::Single, None, &near),
        (Hops::Single, Some(1), &near),
        (Hops::Multiple, None, &far),
        (Hops::Multiple, Some(2), &far),
    ] {
        let packet = packet(name);
        let octets = packet.emit();
        let sorted = demultiplexer.sort(&Arrival {
            hops,
            ..arrival(&octets)
        });
        assert_eq!(sorted, Ok((expected, packet)), "{hops:?} {name:?}");
    }
}

#[test]
fn what_is_nobody_s_is_dropped_and_said_why() {
    let (demultiplexer, ..) = both();
    let sort = |arrival: &Arrival<'_>| demultiplexer.sort(arrival).map(|(key, _)| key.clone());
    let (first, named) = (packet(None).emit(), packet(Some(1)).emit());
    let unknown = packet(Some(99)).emit();
    let stranger: IpAddr = "192.0.2.99".parse().unwrap();
    assert_eq!(sort(&arrival(&unknown)), Err(Discard::UnknownDiscriminator));
    let from = |source, octets| Arrival {
        source,
        ..arrival(octets)
    };
    assert_eq!(sort(&from(stranger, &first)), Err(Discard::UnknownPeer));
    assert_eq!(sort(&from(stranger, &named)), Err(Discard::OtherPeer));
    // To the other port, a session is another one.
    let far = Arrival {
        hops: Hops::Multiple,
        ..arrival(&named)
    };
    assert_eq!(sort(&far), Err(Discard::OtherPeer));
    assert_eq!(sort(&arrival(&first[..20])), Err(Discard::Malformed));
    let mut authenticated = first;
    authenticated.extend([1, 3, 1, b'x']);
    authenticated[1] |= 4;
    authenticated[3] = 28;
    assert_eq!(sort(&arrival(&authenticated)), Err(Discard::Authentication));
}

/// RFC 5881 §5: one hop is TTL 255 and nothing else. Over several it is what the profile says.
#[test]
fn ttl_says_how_far_a_packet_has_come() {
    let (mut demultiplexer, near, far) = both();
    let sort = |demultiplexer: &Demultiplexer, hops, ttl| {
        let octets = packet(None).emit();
        let arrival = Arrival {
            hops,
            ttl,
            ..arrival(&octets)
        };
        demultiplexer.sort(&arrival).map(|(key, _)| key.clone())
    };
    assert_eq!(sort(&demultiplexer, Hops::Single, 255), Ok(near.clone()));
    assert_eq!(sort(&demultiplexer, Hops::Single, 254), Err(Discard::Ttl));
    assert_eq!(sort(&demultiplexer, Hops::Multiple, 254), Ok(far.clone()));
    assert_eq!(sort(&demultiplexer, Hops::Multiple, 253), Err(Discard::Ttl));
    demultiplexer.insert(&far, number(2), Hops::Multiple, 1);
    assert_eq!(sort(&demultiplexer, Hops::Multiple, 2), Ok(far));
    // It has no meaning for one hop.
    demultiplexer.insert(&near, number(1), Hops::Single, 1);
    assert_eq!(sort(&demultiplexer, Hops::Single, 254), Err(Discard::Ttl));
}

#[test]
fn what_comes_by_a_vrf_is_for_those_who_are_there() {
    let mut demultiplexer = Demultiplexer::new();
    let near = key(PEER, Reach::SingleHop);
    let by = |vrf: &str| SessionKey {
        vrf: Some(vrf.to_owned()),
        ..near.clone()
    };
    let (red, eth0) = (by("red"), by("eth0"));
    for (key, value) in [(&near, 1), (&red, 2), (&eth0, 3)] {
        demultiplexer.insert(key, number(value), Hops::Single, 254);
    }
    let device = |name: &str, is_vrf| Device {
        name: name.to_owned(),
        is_vrf,
    };
    let sort = |device: Option<&Device>, yours: Option<u32>| {
        let octets = packet(yours).emit();
        let arrival = Arrival {
            device,
            ..arrival(&octets)
        };
        demultiplexer.sort(&arrival).map(|(key, _)| key.clone())
    };
    let (vrf, blue) = (device("red", true), device("blue", true));
    let link = device("eth0", false);
    assert_eq!(sort(None, None), Ok(near.clone()));
    assert_eq!(sort(Some(&vrf), None), Ok(red.clone()));
    assert_eq!(sort(Some(&link), None), Ok(eth0.clone()));
    assert_eq!(sort(Some(&blue), None), Err(Discard::UnknownPeer));
    assert_eq!(sort(Some(&vrf), Some(2)), Ok(red));
    for device in [Some(&vrf), Some(&blue)] {
        assert_eq!(sort(device, Some(1)), Err(Discard::OtherPeer));
    }
    assert_eq!(sort(None, Some(2)), Err(Discard::OtherPeer));
    // What comes by an interface comes to the port that is bound to it, whoever it is for.
    assert_eq!(sort(Some(&link), Some(1)), Ok(near));
    assert_eq!(sort(Some(&link), Some(3)), Ok(eth0));
}

#[test]
fn an_interface_and_an_address_of_ours_that_are_asked_for_must_be_right() {
    let mut demultiplexer = Demultiplexer::new();
    let link = |interface, local: Option<&str>| SessionKey {
        interface,
        local: local.map(|local| local.parse().unwrap()),
        ..key("fe80::1", Reach::SingleHop)
    };
    let (second, third) = (link(Some(2), None), link(Some(3), None));
    demultiplexer.insert(&second, number(2), Hops::Single, 254);
    demultiplexer.insert(&third, number(3), Hops::Single, 254);
    let (first, named) = (packet(None).emit(), packet(Some(3)).emit());
    let from = |interface, octets| Arrival {
        source: "fe80::1".parse().unwrap(),
        destination: "fe80::10".parse().unwrap(),
        interface,
        device: None,
        ..arrival(octets)
    };
    let sort = |demultiplexer: &Demultiplexer, arrival: &Arrival<'_>| {
        demultiplexer.sort(arrival).map(|(key, _)| key.clone())
    };
    assert_eq!(sort(&demultiplexer, &from(2, &first)), Ok(second));
    assert_eq!(sort(&demultiplexer, &from(3, &first)), Ok(third.clone()));
    assert_eq!(
        sort(&demultiplexer, &from(4, &first)),
        Err(Discard::UnknownPeer)
    );
    assert_eq!(
        sort(&demultiplexer, &from(2, &named)),
        Err(Discard::OtherPeer)
    );
    // Who asks for the most wins.
    let exact = link(Some(3), Some("fe80::10"));
    demultiplexer.insert(&exact, number(4), Hops::Single, 254);
    assert_eq!(sort(&demultiplexer, &from(3, &first)), Ok(exact.clone()));
    let other = Arrival {
        destination: "fe80::11".parse().unwrap(),
        ..from(3, &first)
    };
    assert_eq!(sort(&demultiplexer, &other), Ok(third));
}

#[test]
fn a_session_that_is_no_more_is_not_found() {
    let (mut demultiplexer, near, _) = both();
    demultiplexer.remove(&near);
    assert!(!demultiplexer.is_taken(number(1)));
    let octets = packet(Some(1)).emit();
    let sorted = demultiplexer.sort(&arrival(&octets));
    assert_eq!(sorted, Err(Discard::UnknownDiscriminator));
    // Told apart in another way, it has one name only.
    demultiplexer.insert(&near, number(5), Hops::Single, 254);
    demultiplexer.insert(&near, number(6), Hops::Single, 254);
    assert!(!demultiplexer.is_taken(number(5)) && demultiplexer.is_taken(number(6)));
}

#[derive(Debug, Clone)]
enum Op {
    Insert(u8, u32),
    Remove(u8),
    Sort(u8, Option<u32>),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0..5_u8, 1..9_u32).prop_map(|(peer, name)| Op::Insert(peer, name)),
        (0..5_u8).prop_map(Op::Remove),
        (0..5_u8, proptest::option::of(1..9_u32)).prop_map(|(peer, name)| Op::Sort(peer, name)),
    ]
}

proptest! {
    /// Against a list that is walked.
    #[test]
    fn it_finds_what_a_plain_list_finds(ops in proptest::collection::vec(op(), 0..60)) {
        let peer = |number: u8| key(&format!("192.0.2.{number}"), Reach::SingleHop);
        let mut demultiplexer = Demultiplexer::new();
        let mut model: Vec<(u8, u32)> = Vec::new();
        for op in ops {
            match op {
                Op::Insert(at, name) => {
                    // Two sessions never get the same one.
                    if model.iter().all(|(other, taken)| other == &at || *taken != name) {
                        model.retain(|(other, _)| *other != at);
                        model.push((at, name));
                        demultiplexer.insert(&peer(at), number(name), Hops::Single, 254);
                    }
                }
                Op::Remove(at) => {
                    model.retain(|(other, _)| *other != at);
                    demultiplexer.remove(&peer(at));
                }
                Op::Sort(at, name) => {
                    let octets = packet(name).emit();
                    let arrival = Arrival { source: peer(at).peer, ..arrival(&octets) };
                    let found = demultiplexer.sort(&arrival).map(|(key, _)| key.clone());
                    let owner = match name {
                        Some(name) => model.iter().find(|(_, taken)| *taken == name),
                        None => model.iter().find(|(other, _)| *other == at),
                    };
                    let expected = match (owner, name) {
                        (Some((owner, _)), _) if *owner == at => Ok(peer(at)),
                        (Some(_), _) => Err(Discard::OtherPeer),
                        (None, Some(_)) => Err(Discard::UnknownDiscriminator),
                        (None, None) => Err(Discard::UnknownPeer),
                    };
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }
}
