//! What a router may do wrong, octet by octet, and what it is told.

use super::*;

/// What becomes of it.
#[derive(Debug, Clone, PartialEq)]
enum Outcome {
    /// NOTIFICATION: code, subcode and data.
    Told(Vec<u8>),
    /// The session goes on.
    Up,
    /// It is over without a word.
    Closed,
}

use Outcome::{Closed, Up};

fn told(digits: &str) -> Outcome {
    Outcome::Told(hex(digits))
}

/// A router's first message, in place of its OPEN.
async fn at_first(octets: &[u8]) -> Outcome {
    let (listener, settings) = listener().await;
    let session = Session::start(settings, routes(&[]));
    let mut router = accept(&listener).await;
    assert_eq!(router.receive().await.0, OPEN);
    router.send(octets).await;
    let outcome = outcome(&mut router).await;
    session.stop(Farewell::Deconfigured).await;
    outcome
}

/// A message in Established.
async fn established(octets: &[u8]) -> Outcome {
    let (listener, settings) = listener().await;
    let session = Session::start(settings, routes(&["192.0.2.10/32"]));
    let mut router = accept(&listener).await;
    router.establish(90).await;
    router.receive_table().await;
    router.send(octets).await;
    // Who is still there answers.
    router.send(&message(5, &hex("0001 00 01"))).await;
    let outcome = outcome(&mut router).await;
    drop(router);
    session.stop(Farewell::Deconfigured).await;
    outcome
}

async fn outcome(router: &mut Router) -> Outcome {
    loop {
        let mut octets = [0; 4096];
        while let Some((kind, message)) = router.next_buffered() {
            match kind {
                NOTIFICATION => return Outcome::Told(message[19..].to_vec()),
                UPDATE => return Up,
                _ => {}
            }
        }
        match router.stream.read(&mut octets).await {
            Ok(size) if size > 0 => router.buffer.extend(&octets[..size]),
            Ok(_) | Err(_) => return Closed,
        }
    }
}

impl Router {
    fn next_buffered(&mut self) -> Option<(u8, Vec<u8>)> {
        let buffer = &self.buffer;
        let length = usize::from(u16::from_be_bytes([*buffer.get(16)?, *buffer.get(17)?]));
        if buffer.len() < length {
            return None;
        }
        let rest = self.buffer.split_off(length);
        let message = mem::replace(&mut self.buffer, rest);
        Some((message[18], message))
    }
}

/// Any header.
fn header(length: u16, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![0xff; 16];
    message.extend(length.to_be_bytes());
    message.push(kind);
    message.extend(body);
    message
}

fn opened(digits: &str) -> Vec<u8> {
    message(OPEN, &hex(digits))
}

#[tokio::test]
async fn a_first_message_that_is_wrong() {
    let mut unsynchronized = open(90);
    unsynchronized[3] = 0;
    let rest = "fbf4 005a 0a000001 00";
    let cases: Vec<(&str, Vec<u8>, Outcome)> = vec![
        ("marker of zeros", unsynchronized, told("0101")),
        ("length 18", header(18, OPEN, &[]), told("0102 0012")),
        ("length 0", header(0, OPEN, &[]), told("0102 0000")),
        (
            "length 4097",
            header(4097, OPEN, &[0; 60]),
            told("0102 1001"),
        ),
        (
            "OPEN of 28 octets",
            header(28, OPEN, &[0; 9]),
            told("0102 001c"),
        ),
        (
            "KEEPALIVE of 20 octets",
            header(20, KEEPALIVE, &[0]),
            told("0102 0014"),
        ),
        ("type 9", header(19, 9, &[]), told("0103 09")),
        ("type 0", header(19, 0, &[]), told("0103 00")),
        (
            "version 3",
            opened(&format!("03 {rest}")),
            told("0201 0004"),
        ),
        (
            "version 5",
            opened(&format!("05 {rest}")),
            told("0201 0004"),
        ),
        (
            "another AS",
            opened("04 fdf3 005a 0a000001 00"),
            told("0202"),
        ),
        ("AS 0", opened("04 0000 005a 0a000001 00"), told("0202")),
        (
            "identifier 0.0.0.0",
            opened("04 fbf4 005a 00000000 00"),
            told("0203"),
        ),
        (
            "an optional parameter that is no capability",
            opened("04 fbf4 005a 0a000001 03 01 01 00"),
            told("0204"),
        ),
        (
            "hold time 1",
            opened("04 fbf4 0001 0a000001 00"),
            told("0206"),
        ),
        (
            "hold time 2",
            opened("04 fbf4 0002 0a000001 00"),
            told("0206"),
        ),
        (
            "another family only",
            opened("04 fbf4 005a 0a000001 08 02 06 0104 0019 00 41"),
            told("0207 0104 0001 0001 0104 0002 0001"),
        ),
        (
            "capabilities that overrun",
            opened("04 fbf4 005a 0a000001 04 02 28 01 04"),
            told("0200"),
        ),
        (
            "an extended length that overruns (RFC 9072)",
            opened("04 fbf4 005a 0a000001 ff ff 0009 02 0002 0200"),
            told("0200"),
        ),
        (
            "UPDATE",
            message(UPDATE, &hex("0000 0000")),
            told("0501 02"),
        ),
        ("KEEPALIVE", message(KEEPALIVE, &[]), told("0501 04")),
        (
            "ROUTE-REFRESH",
            message(5, &hex("0001 00 01")),
            told("0501 05"),
        ),
        ("NOTIFICATION", message(NOTIFICATION, &hex("0602")), Closed),
    ];
    for (what, octets, expected) in cases {
        assert_eq!(at_first(&octets).await, expected, "{what}");
    }
}

/// An UPDATE of these attributes and prefixes.
fn update(attributes: &str, prefixes: &str) -> Vec<u8> {
    let attributes = hex(attributes);
    let mut body = vec![0, 0];
    body.extend(u16::try_from(attributes.len()).unwrap().to_be_bytes());
    body.extend(attributes);
    body.extend(hex(prefixes));
    message(UPDATE, &body)
}

const ORIGIN: &str = "40010100";
const AS_PATH: &str = "40020402 01fbf4";
const NEXT_HOP: &str = "4003047f000001";
const PREFIX: &str = "20cb007107";

#[tokio::test]
async fn an_update_that_is_wrong() {
    let good = format!("{ORIGIN} {AS_PATH} {NEXT_HOP}");
    let with = |more: &str| update(&format!("{good} {more}"), PREFIX);
    let instead = |origin: &str| update(&format!("{origin} {AS_PATH} {NEXT_HOP}"), PREFIX);
    let reach = "800e1b 0002 01 05 3132333435 00 80 01010101010101010101010101010101";
    let cases: Vec<(&str, Vec<u8>, Outcome)> = vec![
        ("nothing", with(""), Up),
        ("no ORIGIN", instead(""), Up),
        (
            "no NEXT_HOP",
            update(&format!("{ORIGIN} {AS_PATH}"), PREFIX),
            Up,
        ),
        ("ORIGIN 9", instead("40010109"), Up),
        ("ORIGIN of two octets", instead("4001020000"), Up),
        ("ORIGIN as optional", instead("c0010100"), Up),
        (
            "a segment of AS_PATH that overruns it",
            update(&format!("{ORIGIN} 40020602 050000fbf4 {NEXT_HOP}"), PREFIX),
            Up,
        ),
        (
            "another AS first",
            update(&format!("{ORIGIN} 40020402 01fde9 {NEXT_HOP}"), PREFIX),
            Up,
        ),
        (
            "an attribute list that overruns the message",
            message(UPDATE, &hex(&format!("0000 00c8 {good}"))),
            told("0301"),
        ),
        (
            "withdrawn routes that overrun the message",
            message(UPDATE, &hex("00c8 0000")),
            told("0301"),
        ),
        (
            "an attribute that overruns the list",
            with("c00828 00000001"),
            Up,
        ),
        ("ORIGIN twice", with(ORIGIN), Up),
        (
            "MP_REACH_NLRI twice",
            with("800f030002 01 800f030002 01"),
            told("0301"),
        ),
        (
            "an unknown well-known attribute",
            with("40630178"),
            told("0302 40630178"),
        ),
        ("an unknown optional attribute", with("c0630178"), Up),
        ("COMMUNITIES of three octets", with("c00803616263"), Up),
        (
            "a prefix of 33 bits",
            update(&good, "21 0102030405"),
            told("030a"),
        ),
        (
            "a prefix that overruns the message",
            update(&good, "20 0102"),
            told("030a"),
        ),
        (
            "next hop 0.0.0.0",
            update(&format!("{ORIGIN} {AS_PATH} 40030400000000"), PREFIX),
            Up,
        ),
        ("a next hop that is ours", with(""), Up),
        (
            "a next hop of five octets in MP_REACH_NLRI",
            update(&format!("{ORIGIN} {AS_PATH} {reach}"), ""),
            told(&format!("0309 {reach}")),
        ),
        ("a prefix of 127/8", update(&good, "20 7f000001"), Up),
    ];
    for (what, octets, expected) in cases {
        assert_eq!(established(&octets).await, expected, "{what}");
    }
}

#[tokio::test]
async fn another_message_that_is_wrong_in_a_session() {
    let long = message(5, &hex("0001 01 01 00"));
    let long_told = [hex("0701"), long.clone()].concat();
    let cases: Vec<(&str, Vec<u8>, Outcome)> = vec![
        (
            "KEEPALIVE with a body",
            message(KEEPALIVE, b"x"),
            told("0102 0014"),
        ),
        ("NOTIFICATION", message(NOTIFICATION, &hex("0604")), Closed),
        (
            "NOTIFICATION of 20 octets",
            header(20, NOTIFICATION, &[6]),
            told("0102 0014"),
        ),
        ("a second OPEN", open(90), told("0503 01")),
        (
            "a second OPEN that is wrong",
            opened("03 fbf4 005a 0a000001 00"),
            told("0503 01"),
        ),
        (
            "ROUTE-REFRESH of one octet",
            message(5, &[0]),
            told("0102 0014"),
        ),
        (
            "ROUTE-REFRESH of five octets",
            message(5, &hex("0001 00 01 00")),
            told("0102 0018"),
        ),
        (
            "a mark of five octets (RFC 7313)",
            long,
            Outcome::Told(long_told),
        ),
        (
            "a mark of the peer's own refresh",
            message(5, &hex("0001 01 01")),
            Up,
        ),
        ("an unknown subtype", message(5, &hex("0001 7f 01")), Up),
        (
            "UPDATE of 4097 octets, not agreed on",
            header(4097, UPDATE, &[0; 40]),
            told("0102 1001"),
        ),
    ];
    for (what, octets, expected) in cases {
        assert_eq!(established(&octets).await, expected, "{what}");
    }
}

#[tokio::test]
async fn i7_a_router_that_dribbles_delays_nobody() {
    let (slow, slow_settings) = listener().await;
    let (quick, settings) = listener().await;
    let dribbling = Session::start(slow_settings, routes(&["192.0.2.10/32"]));
    let mut router = accept(&slow).await;
    let session = Session::start(settings, routes(&["192.0.2.11/32"]));
    let mut other = accept(&quick).await;
    let stream = [open(90), message(KEEPALIVE, &[])].concat();
    let (first, rest) = stream.split_at(20);
    for octet in first {
        router.send(&[*octet]).await;
    }
    other.establish(90).await;
    assert_eq!(other.receive_table().await.len(), 1);
    for octet in rest {
        router.send(&[*octet]).await;
    }
    assert_eq!(router.receive().await.0, OPEN);
    assert_eq!(router.receive_table().await.len(), 1);
    dribbling.stop(Farewell::Deconfigured).await;
    session.stop(Farewell::Deconfigured).await;
}
