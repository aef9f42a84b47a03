#![expect(
    clippy::disallowed_methods,
    reason = "an Instant has no other beginning"
)]

use std::net::IpAddr;
use std::time::Duration;

use super::super::Reach;
use super::super::demultiplexer::Device;
use super::*;

const MS: Duration = Duration::from_millis(1);

fn key(peer: &str) -> SessionKey {
    SessionKey {
        peer: peer.parse().unwrap(),
        interface: None,
        vrf: None,
        local: None,
        reach: Reach::AsFound,
    }
}

/// That of the session which is Up in the tests.
fn by(device: Option<&Device>) -> SessionKey {
    SessionKey {
        vrf: device.map(|device| device.name.clone()),
        ..key("192.0.2.1")
    }
}

fn wish(hops: Hops) -> Wish {
    let parameters = Parameters {
        echo: Some(50 * MS),
        ..Parameters::DEFAULT
    };
    Wish { parameters, hops }
}

fn wanted(peers: &[(&str, Hops)]) -> Input<'static> {
    let wishes = peers.iter().map(|(peer, hops)| (key(peer), wish(*hops)));
    Input::Want(wishes.collect())
}

fn new() -> Sessions {
    Sessions::new(fastrand::Rng::with_seed(3))
}

fn told(sessions: &mut Sessions, now: Instant, input: Input<'_>) -> Vec<Output> {
    sessions.handle(now, input);
    sessions.handle_timeout(now);
    std::iter::from_fn(|| sessions.poll()).collect()
}

fn sent_to(outputs: &[Output], peer: &str) -> Vec<Control> {
    let packets = outputs.iter().filter_map(|output| match output {
        Output::Send(to, packet) if *to == key(peer) => Some(*packet),
        Output::Send(..) | Output::Echo(..) | Output::StateChanged { .. } | Output::Ended(_) => {
            None
        }
    });
    packets.collect()
}

fn arrived<'a>(peer: &str, hops: Hops, octets: &'a [u8]) -> Input<'a> {
    Input::Arrived(Arrival {
        hops,
        source: peer.parse::<IpAddr>().unwrap(),
        destination: "192.0.2.10".parse().unwrap(),
        interface: 2,
        device: None,
        ttl: 255,
        octets,
    })
}

/// What the peer says, once it has had our packet.
fn reply(to: &Control, state: State) -> Control {
    Control {
        state,
        poll: false,
        is_final: to.poll,
        my_discriminator: Discriminator(NonZeroU32::new(900).unwrap()),
        your_discriminator: Some(to.my_discriminator),
        required_min_echo_rx: 20 * MS,
        ..*to
    }
}

/// One session that is Up.
fn up(now: Instant, hops: Hops) -> (Sessions, Control) {
    up_by(now, hops, None)
}

/// The same by a device.
fn up_by(now: Instant, hops: Hops, device: Option<&Device>) -> (Sessions, Control) {
    let mut sessions = new();
    let key = by(device);
    let wanted = Input::Want(BTreeMap::from([(key.clone(), wish(hops))]));
    let outputs = told(&mut sessions, now, wanted);
    let sent = outputs.iter().find_map(|output| match output {
        Output::Send(to, packet) if *to == key => Some(*packet),
        Output::Send(..) | Output::Echo(..) | Output::StateChanged { .. } | Output::Ended(_) => {
            None
        }
    });
    let packet = sent.unwrap();
    for state in [State::Down, State::Up] {
        let octets = reply(&packet, state).emit();
        let Input::Arrived(arrival) = arrived("192.0.2.1", hops, &octets) else {
            unreachable!("it arrives");
        };
        let arrival = Arrival { device, ..arrival };
        told(&mut sessions, now, Input::Arrived(arrival));
    }
    let (_, session, ..) = sessions.iter().next().unwrap();
    assert_eq!(session.state(), State::Up);
    (sessions, packet)
}

#[test]
fn each_session_has_a_name_of_its_own_and_its_own_deadline() {
    let now = Instant::now();
    let mut sessions = new();
    let peers = [("192.0.2.1", Hops::Single), ("192.0.2.2", Hops::Single)];
    let outputs = told(&mut sessions, now, wanted(&peers));
    let (one, two) = (
        sent_to(&outputs, "192.0.2.1"),
        sent_to(&outputs, "192.0.2.2"),
    );
    assert_eq!((one.len(), two.len()), (1, 1));
    assert_ne!(one[0].my_discriminator, two[0].my_discriminator);
    // Each is due by itself, and the first of them is when there is something to do.
    let mut seen = BTreeSet::new();
    for _ in 0..2 {
        let (at, _) = sessions.poll_timeout().unwrap();
        let outputs = told(&mut sessions, at, Input::EchoReturned(nobodys()));
        assert_eq!(outputs.len(), 1, "{outputs:?}");
        seen.extend(outputs.into_iter().filter_map(|output| match output {
            Output::Send(key, _) => Some(key),
            Output::Echo(..) | Output::StateChanged { .. } | Output::Ended(_) => None,
        }));
    }
    assert_eq!(seen.len(), 2);
}

fn nobodys() -> Echo {
    Echo {
        discriminator: Discriminator(NonZeroU32::MIN),
        nonce: 0,
        number: 0,
    }
}

#[test]
fn what_is_wanted_in_another_way_is_the_same_session() {
    let now = Instant::now();
    let (mut sessions, packet) = up(now, Hops::Single);
    let parameters = Parameters {
        desired_min_tx: 100 * MS,
        ..Parameters::DEFAULT
    };
    let wishes = BTreeMap::from([(
        key("192.0.2.1"),
        Wish {
            parameters,
            hops: Hops::Single,
        },
    )]);
    told(&mut sessions, now, Input::Want(wishes));
    let octets = reply(&packet, State::Up).emit();
    told(
        &mut sessions,
        now,
        arrived("192.0.2.1", Hops::Single, &octets),
    );
    let (_, session, _, counts) = sessions.iter().next().unwrap();
    assert_eq!(session.state(), State::Up);
    assert_eq!((counts.ups, counts.downs, counts.control_in), (1, 0, 3));
}

#[test]
fn what_is_not_wanted_says_goodbye_and_is_no_more() {
    let now = Instant::now();
    let (mut sessions, _) = up(now, Hops::Single);
    let outputs = told(&mut sessions, now, wanted(&[]));
    assert_eq!(sent_to(&outputs, "192.0.2.1")[0].state, State::AdminDown);
    let mut outputs = Vec::new();
    while let Some((at, _)) = sessions.poll_timeout() {
        assert!(at <= now + Duration::from_secs(3));
        outputs = told(&mut sessions, at, Input::EchoReturned(nobodys()));
    }
    assert_eq!(outputs, [Output::Ended(key("192.0.2.1"))]);
    assert_eq!(sessions.iter().count(), 0);
}

#[test]
fn another_number_of_hops_is_another_session() {
    let now = Instant::now();
    let (mut sessions, packet) = up(now, Hops::Single);
    let outputs = told(&mut sessions, now, wanted(&[("192.0.2.1", Hops::Multiple)]));
    assert_eq!(outputs[0], Output::Ended(key("192.0.2.1")));
    let first = sent_to(&outputs, "192.0.2.1")[0];
    assert_ne!(first.my_discriminator, packet.my_discriminator);
    assert_eq!(sessions.hops(&key("192.0.2.1")), Some(Hops::Multiple));
    let octets = reply(&packet, State::Up).emit();
    told(
        &mut sessions,
        now,
        arrived("192.0.2.1", Hops::Single, &octets),
    );
    assert_eq!(sessions.dropped()[&Discard::UnknownDiscriminator], 1);
}

/// RFC 5883 §4.
#[test]
fn echo_packets_are_for_one_hop_over_ipv4_and_known_by_what_nobody_else_knows() {
    let now = Instant::now();
    let means = |sessions: &mut Sessions| {
        let key = key("192.0.2.1");
        let means = Input::EchoMeans {
            key: &key,
            can_send: true,
            can_return: true,
        };
        told(sessions, now, means)
    };
    let echoes = |outputs: &[Output]| {
        let echoes = outputs.iter().filter_map(|output| match output {
            Output::Echo(_, echo) => Some(*echo),
            Output::Send(..) | Output::StateChanged { .. } | Output::Ended(_) => None,
        });
        echoes.collect::<Vec<_>>()
    };
    let (mut far, _) = up(now, Hops::Multiple);
    assert_eq!(echoes(&means(&mut far)), []);
    let (mut near, _) = up(now, Hops::Single);
    let sent = echoes(&means(&mut near));
    let [echo] = sent.as_slice() else {
        panic!("{sent:?}");
    };
    let is_active = |sessions: &Sessions| {
        sessions
            .iter()
            .any(|(_, session, ..)| session.is_echo_active())
    };
    for forged in [
        nobodys(),
        Echo {
            nonce: echo.nonce ^ 1,
            ..*echo
        },
    ] {
        told(&mut near, now, Input::EchoReturned(forged));
        assert!(!is_active(&near), "{forged:?}");
    }
    told(&mut near, now, Input::EchoReturned(*echo));
    assert!(is_active(&near));
    let (.., counts) = near.iter().next().unwrap();
    assert_eq!((counts.echo_in, counts.echo_out), (1, 1));
}

#[test]
fn there_is_no_echo_by_a_vrf() {
    let now = Instant::now();
    let red = Device {
        name: "red".to_owned(),
        is_vrf: true,
    };
    for (device, echoes) in [(None, 1), (Some(&red), 0)] {
        let (mut sessions, _) = up_by(now, Hops::Single, device);
        let means = Input::EchoMeans {
            key: &by(device),
            can_send: true,
            can_return: true,
        };
        let outputs = told(&mut sessions, now, means);
        let sent = outputs.iter();
        let sent = sent.filter(|output| matches!(output, Output::Echo(..)));
        assert_eq!(sent.count(), echoes, "{device:?}");
    }
}

#[test]
fn i7_what_is_not_believed_is_counted_and_changes_nothing() {
    let now = Instant::now();
    let (mut sessions, packet) = up(now, Hops::Single);
    let before = sessions.poll_timeout();
    let mut authenticated = reply(&packet, State::Down).emit();
    authenticated.extend([1, 3, 1, b'x']);
    authenticated[1] |= 4;
    authenticated[3] = 28;
    for _ in 0..3 {
        let outputs = told(
            &mut sessions,
            now,
            arrived("192.0.2.1", Hops::Single, &authenticated),
        );
        assert_eq!(outputs, []);
    }
    let from_afar = reply(&packet, State::Down).emit();
    let Input::Arrived(arrival) = arrived("192.0.2.1", Hops::Single, &from_afar) else {
        unreachable!();
    };
    told(
        &mut sessions,
        now,
        Input::Arrived(Arrival {
            ttl: 254,
            ..arrival
        }),
    );
    assert_eq!(sessions.dropped()[&Discard::Authentication], 3);
    assert_eq!(sessions.dropped()[&Discard::Ttl], 1);
    assert_eq!(sessions.poll_timeout(), before);
    assert_eq!(sessions.iter().count(), 1);
}
