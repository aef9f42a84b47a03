use super::*;
use crate::mutator::mutate;
use crate::wire::tests::hex;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 0x0a]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 0x0b]);

fn heartbeat() -> Heartbeat {
    Heartbeat {
        flags: Flags::default(),
        incarnation: 0x0102_0304_0506_0708,
        sequence: 9,
        nonce: 0,
        interval: Duration::from_millis(100),
        held: [0xaa; 16],
        node: "node-1".to_owned(),
        interface: "eth0".to_owned(),
        claims: claims::Message::Nothing,
    }
}

fn with_key(key: &str) -> Authenticator {
    Authenticator::new(Some(&Secret::new(key.to_owned())))
}

fn anybody() -> Authenticator {
    Authenticator::new(None)
}

/// `heartbeat()` with "key": the tag is what Python's hmac and a hand-written HKDF give.
const GOLDEN: &str = "464c4842 04 01 0061 0102030405060708 0000000000000009 0000000000000000 000186a0 \
    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 06 6e6f64652d31 04 65746830 00 \
    24af30669847d58a9af23e13f9d8b7d707760b1c5a638304847304021e87e8ed";

#[test]
fn golden_both_ways() {
    assert_eq!(heartbeat().emit(&with_key("key")), hex(GOLDEN));
    assert_eq!(
        Heartbeat::parse(&hex(GOLDEN), &with_key("key")),
        Ok(heartbeat())
    );
}

#[test]
fn every_flag_survives() {
    for bits in 0..128u8 {
        let flags = Flags {
            is_leaving: bits & 1 != 0,
            is_listening: bits & 2 != 0,
            is_probe: bits & 4 != 0,
            was_missed: bits & 8 != 0,
            asks: bits & 16 != 0,
            is_failing: bits & 64 != 0,
            is_answer: bits & 32 != 0,
        };
        let sent = Heartbeat {
            flags,
            nonce: u64::from(bits) << 40,
            ..heartbeat()
        };
        for authenticator in [anybody(), with_key("key")] {
            let packet = sent.emit(&authenticator);
            assert_eq!(Heartbeat::parse(&packet, &authenticator), Ok(sent.clone()));
        }
    }
}

#[test]
fn every_bit_is_authenticated() {
    let key = with_key("key");
    let packet = heartbeat().emit(&key);
    for bit in 0..packet.len() * 8 {
        let mut forged = packet.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(Heartbeat::parse(&forged, &key).is_err(), "bit {bit}");
    }
}

#[test]
fn another_key_and_no_key_are_refused() {
    let key = with_key("key");
    let foreign = heartbeat().emit(&with_key("other"));
    assert_eq!(
        Heartbeat::parse(&foreign, &key),
        Err(HeartbeatError::Forged)
    );
    let open = heartbeat().emit(&anybody());
    assert_eq!(
        Heartbeat::parse(&open, &key),
        Err(HeartbeatError::Unauthenticated)
    );
}

#[test]
fn while_the_key_is_changed_either_is_believed_and_either_is_used() {
    let (old, new) = (with_key("old"), with_key("new"));
    let mut both = old.clone();
    both.rotate(&Secret::new("new".to_owned()));
    let packet = heartbeat().emit(&both);
    for receiver in [&old, &new, &both, &anybody()] {
        assert_eq!(Heartbeat::parse(&packet, receiver), Ok(heartbeat()));
    }
    for sender in [&old, &new] {
        assert_eq!(
            Heartbeat::parse(&heartbeat().emit(sender), &both),
            Ok(heartbeat())
        );
    }
    let third = with_key("third");
    let forged = Err(HeartbeatError::Forged);
    assert_eq!(Heartbeat::parse(&packet, &third), forged);
    assert_eq!(Heartbeat::parse(&heartbeat().emit(&third), &both), forged);

    // Changed again before everybody has followed.
    let mut thrice = both.clone();
    thrice.rotate(&Secret::new("third".to_owned()));
    for peer in [&old, &both, &third] {
        let heard = Heartbeat::parse(&heartbeat().emit(peer), &thrice);
        assert_eq!(heard, Ok(heartbeat()));
        let heard = Heartbeat::parse(&heartbeat().emit(&thrice), peer);
        assert_eq!(heard, Ok(heartbeat()));
    }

    both.retire();
    assert_eq!(heartbeat().emit(&both), heartbeat().emit(&new));
    assert_eq!(Heartbeat::parse(&heartbeat().emit(&old), &both), forged);
}

#[test]
fn without_a_key_anybody_is_believed() {
    let tagged = heartbeat().emit(&with_key("key"));
    assert_eq!(Heartbeat::parse(&tagged, &anybody()), Ok(heartbeat()));
    let open = heartbeat().emit(&anybody());
    assert_eq!(Heartbeat::parse(&open, &anybody()), Ok(heartbeat()));
}

#[test]
fn a_truncated_packet_is_refused_at_every_length() {
    for authenticator in [anybody(), with_key("key")] {
        let packet = heartbeat().emit(&authenticator);
        for length in 0..packet.len() {
            assert!(Heartbeat::parse(&packet[..length], &authenticator).is_err());
        }
        // Also where the length in the packet agrees.
        for length in 8..packet.len() {
            let mut cut = packet[..length].to_vec();
            cut[7] = u8::try_from(length).unwrap();
            assert!(Heartbeat::parse(&cut, &authenticator).is_err());
        }
    }
}

#[test]
fn other_formats_are_refused_with_their_reason() {
    let packet = heartbeat().emit(&anybody());
    let parse = |at: usize, byte: u8| {
        let mut packet = packet.clone();
        packet[at] = byte;
        Heartbeat::parse(&packet, &anybody())
    };
    assert_eq!(parse(0, b'X'), Err(HeartbeatError::Magic));
    assert_eq!(parse(4, 2), Err(HeartbeatError::Version(2)));
    assert_eq!(parse(7, 0x5b), Err(HeartbeatError::Length));
    assert_eq!(parse(32, 0xff), Err(HeartbeatError::Interval));
    assert_eq!(parse(52, 0), Err(HeartbeatError::Truncated));
    assert_eq!(parse(52, 5), Err(HeartbeatError::Truncated));
    assert_eq!(parse(52, 200), Err(HeartbeatError::Truncated));
    for byte in [b'/', 0xff, b'-'] {
        assert_eq!(parse(53, byte), Err(HeartbeatError::Node));
    }
    assert_eq!(parse(59, 0), Err(HeartbeatError::Interface));
    for byte in [b'/', 0xff, b' ', 0] {
        assert_eq!(parse(60, byte), Err(HeartbeatError::Interface));
    }
}

#[test]
fn what_later_versions_add_after_the_names_is_skipped() {
    let mut packet = heartbeat().emit(&anybody());
    packet.extend([0xfe, 2, 3]);
    packet[7] += 3;
    assert_eq!(Heartbeat::parse(&packet, &anybody()), Ok(heartbeat()));
}

#[test]
fn further_flags_follow_where_earlier_versions_read_no_more() {
    let mut failing = heartbeat();
    failing.flags.is_failing = true;
    let packet = failing.emit(&anybody());
    assert_eq!(Heartbeat::parse(&packet, &anybody()), Ok(failing));
    let plain = heartbeat().emit(&anybody());
    assert_eq!(packet.len(), plain.len() + 1);
    assert_eq!(packet[8..plain.len()], plain[8..]);
}

#[test]
fn frames_go_to_the_group_or_to_one() {
    let frame = frame(b"packet", MAC, Some(Ipv4Addr::new(10, 0, 0, 1)), None);
    assert_eq!(unframe(&frame, OTHER), Ok((MAC, &b"packet"[..])));
    assert_eq!(frame[..6], [0x01, 0x00, 0x5e, 0x00, 0x00, 0xfe]);
    let unicast = super::frame(b"packet", MAC, None, Some(OTHER));
    assert_eq!(unframe(&unicast, OTHER), Ok((MAC, &b"packet"[..])));
}

#[test]
fn frames_of_ours_and_for_others_are_refused() {
    let unicast = frame(b"packet", MAC, None, Some(OTHER));
    assert_eq!(unframe(&unicast, MAC), Err(HeartbeatError::Own));
    assert_eq!(unframe(&unicast, Mac::ZERO), Err(HeartbeatError::Elsewhere));
    let mut arp = unicast.clone();
    arp[13] = 6;
    assert_eq!(unframe(&arp, OTHER), Err(HeartbeatError::Elsewhere));
    let mut routed = unicast;
    routed[22] = 254;
    assert_eq!(
        unframe(&routed, OTHER),
        Err(HeartbeatError::Datagram(UdpError::Ttl(254)))
    );
}

#[test]
fn the_key_is_in_no_debug_output() {
    let shown = format!("{:?}", with_key("correct horse"));
    assert!(!shown.contains("horse"), "{shown}");
}

#[test]
fn no_bytes_panic_the_decoder() {
    let sent = heartbeat();
    let packets = [sent.emit(&anybody()), sent.emit(&with_key("key"))];
    let seeds = packets.map(|packet| frame(&packet, MAC, None, None));
    let open = anybody();
    let mut understood = 0u64;
    mutate(&seeds, |bytes| {
        if let Ok((_, packet)) = unframe(bytes, OTHER) {
            understood += u64::from(Heartbeat::parse(packet, &open).is_ok());
        }
        // Past the checksum, too.
        let inside = bytes.get(42..).unwrap_or_default();
        understood += u64::from(Heartbeat::parse(inside, &open).is_ok());
    });
    assert!(understood > 0);
}
