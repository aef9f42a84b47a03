//! Messages of more than 4096 octets (RFC 8654).

use super::*;

const LIMIT: usize = MAX_EXTENDED_MESSAGE;

fn hosts(count: u32) -> impl Iterator<Item = IpNet> {
    (0..count).map(|n| IpNet::from(IpAddr::from(Ipv4Addr::from_bits(0x0a40_0000 | n))))
}

#[test]
fn only_some_messages_may_be_longer_and_only_where_that_is_agreed_on() {
    let header = |length: &str, kind: &str, limit: usize| {
        frame(&captured(&format!("{length}{kind}")), limit).map(|_| ())
    };
    let refused = |length| Err(HeaderError::BadMessageLength(length));
    for kind in ["02", "03", "05"] {
        assert_eq!(header("1001", kind, LIMIT), Ok(()), "{kind}");
        assert_eq!(header("ffff", kind, LIMIT), Ok(()), "{kind}");
        assert_eq!(header("1001", kind, MAX_MESSAGE), refused(4097), "{kind}");
    }
    // RFC 8654 §4: OPEN and KEEPALIVE stay as they are.
    assert_eq!(header("1000", "01", LIMIT), Ok(()));
    assert_eq!(header("1001", "01", LIMIT), refused(4097));
    assert_eq!(header("1001", "04", LIMIT), refused(4097));
}

#[test]
fn an_extended_update_is_full_and_read_back() {
    let v4 = attributes(AsPath::FourOctet(64601), v4("10.0.0.11"));
    let packed = announce(Family::V4, &v4, hosts(20_000), LIMIT).unwrap();
    assert!((LIMIT - 5..=LIMIT).contains(&packed.message.len()));
    let read = Update::read_extended(&packed.message);
    assert!(read.announced.into_iter().eq(hosts(packed.count as u32)));
    let v6 = attributes(AsPath::FourOctet(64601), v6("fd00::11", None));
    let packed = announce(Family::V4, &v6, hosts(20_000), LIMIT).unwrap();
    assert!((LIMIT - 5..=LIMIT).contains(&packed.message.len()));
    let read = Update::read_extended(&packed.message);
    assert!(read.announced.into_iter().eq(hosts(packed.count as u32)));
    for is_multiprotocol in [false, true] {
        let packed = withdraw(Family::V4, is_multiprotocol, hosts(20_000), LIMIT).unwrap();
        assert!((LIMIT - 5..=LIMIT).contains(&packed.message.len()));
        let frame = frame(&packed.message, LIMIT).unwrap().unwrap();
        assert_eq!(decode(frame), Ok(Received::Update));
    }
}

#[test]
fn communities_that_need_it_fit_into_an_extended_message() {
    let mut attributes = attributes(AsPath::Empty, v4("10.0.0.11"));
    let prefix = net("10.0.0.0/8");
    attributes.communities = (0..16_000).map(|low| (64512, low)).collect();
    attributes.large_communities = Vec::new();
    assert_eq!(
        announce(Family::V4, &attributes, [prefix], MAX_MESSAGE),
        None
    );
    let packed = announce(Family::V4, &attributes, [prefix], LIMIT).unwrap();
    let read = Update::read_extended(&packed.message).attributes;
    assert_eq!((read[&8].0, read[&8].1.len()), (0xd0, 64_000));
    attributes.communities = (0..u16::MAX).map(|low| (64512, low)).collect();
    assert_eq!(announce(Family::V4, &attributes, [prefix], LIMIT), None);
}

#[test]
fn a_notification_never_outgrows_4096_octets() {
    let notification = Notification {
        code: 7,
        subcode: 1,
        data: vec![7; 65_000],
    };
    let octets = encode(&Message::Notification(notification));
    assert_eq!(octets.len(), MAX_MESSAGE);
}

#[test]
fn i7_no_bytes_outgrow_an_extended_message() {
    let attributes = attributes(AsPath::FourOctet(64601), v4("10.0.0.11"));
    let seeds = [
        announce(Family::V4, &attributes, hosts(3000), LIMIT)
            .unwrap()
            .message,
        withdraw(Family::V4, true, hosts(3000), LIMIT)
            .unwrap()
            .message,
        message(5, &[0; 5000]),
    ];
    mutate(&seeds, |octets| {
        if let Ok(Some(frame)) = frame(octets, LIMIT) {
            assert!(frame.size() <= octets.len() && frame.size() <= LIMIT);
            decode(frame).ok();
        }
    });
}
