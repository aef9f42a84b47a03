//! Connections that the peer makes, and the goodbye of a session that is to come back.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::bgp::GracefulRestart;
use tokio::net::TcpSocket;

use super::super::listener::Listener;
use super::*;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// An address that nobody listens on.
async fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// Dials until somebody listens.
async fn dial(from: &str, to: SocketAddr) -> Router {
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(from.parse().unwrap()).unwrap();
        if let Ok(stream) = socket.connect(to).await {
            let buffer = Vec::new();
            return Router { stream, buffer };
        }
        tokio::task::yield_now().await;
    }
}

async fn is_closed(router: &mut Router) -> bool {
    let mut octets = [0; 64];
    matches!(router.stream.read(&mut octets).await, Ok(0) | Err(_))
}

fn passive(neighbor: IpAddr) -> Settings {
    Settings {
        neighbor,
        passive: true,
        ..settings()
    }
}

fn doors(sessions: &[(IpAddr, Option<IpAddr>, &Session)]) -> Doors {
    let doors = sessions.iter();
    doors
        .map(|(peer, own, session)| {
            let (door, settings) = (session.door(), settings());
            ((*peer, *own), Guest { door, settings })
        })
        .collect()
}

#[tokio::test]
async fn a_peer_that_dials_is_served_and_a_stranger_is_not() {
    let address = free_address().await;
    let listener = Listener::start(&[address]);
    let session = Session::start(passive(LOCALHOST), routes(&["192.0.2.10/32"]));
    listener.admit(doors(&[(LOCALHOST, None, &session)]));
    let mut stranger = dial("127.0.0.2:0", address).await;
    assert!(is_closed(&mut stranger).await);

    for _ in 0..2 {
        reached(&session, SessionState::Active).await;
        let mut router = dial("127.0.0.1:0", address).await;
        router.establish(90).await;
        assert_eq!(router.receive_table().await, [net("192.0.2.10/32")]);
        let status = reached(&session, SessionState::Established).await;
        assert_eq!(status.local_address, Some(LOCALHOST));
    }
    session.stop(Farewell::Deconfigured).await;
    listener.admit(BTreeMap::new());
    let mut router = dial("127.0.0.1:0", address).await;
    assert!(is_closed(&mut router).await);
}

#[tokio::test]
async fn a_peer_reaches_the_session_whose_address_it_dials() {
    let address = free_address().await;
    let listener = Listener::start(&[address]);
    let other = "127.0.0.9".parse().unwrap();
    let sessions = [
        Session::start(passive(LOCALHOST), routes(&["192.0.2.10/32"])),
        Session::start(passive(LOCALHOST), routes(&["192.0.2.11/32"])),
    ];
    listener.admit(doors(&[
        (LOCALHOST, Some(other), &sessions[0]),
        (LOCALHOST, Some(LOCALHOST), &sessions[1]),
    ]));
    reached(&sessions[1], SessionState::Active).await;
    let mut router = dial("127.0.0.1:0", address).await;
    router.establish(90).await;
    assert_eq!(router.receive_table().await, [net("192.0.2.11/32")]);
    for session in sessions {
        session.stop(Farewell::Deconfigured).await;
    }
}

#[tokio::test]
async fn a_second_connection_is_refused_and_the_session_goes_on() {
    let (dialled, settings) = listener().await;
    let session = Session::start(settings, routes(&["192.0.2.10/32"]));
    let mut router = accept(&dialled).await;
    router.establish(90).await;
    assert_eq!(router.receive_table().await.len(), 1);

    let address = free_address().await;
    let listener = Listener::start(&[address]);
    listener.admit(doors(&[(LOCALHOST, None, &session)]));
    for words in [open(90), b"GET / HTTP/1.1\r\n\r\n.".to_vec()] {
        let mut second = dial("127.0.0.1:0", address).await;
        assert_eq!(second.receive().await.0, OPEN);
        second.send(&words).await;
        let (kind, notification) = second.receive().await;
        assert_eq!(kind, NOTIFICATION);
        let expected: &[u8] = if words[0] == 0xff { &[6, 7] } else { &[1, 1] };
        assert_eq!(notification[19..], *expected);
    }
    session.announce(instead("192.0.2.10/32", "192.0.2.11/32"));
    let update = Update::read(&router.receive_news().await.1);
    assert_eq!(update.announced, [net("192.0.2.11/32")]);
    session.stop(Farewell::Deconfigured).await;
}

/// An OPEN with graceful restart for IPv4, and with RFC 8538 if wanted.
fn restarting_open(has_notification: bool) -> Vec<u8> {
    let mut body = hex("04 fbf4 005a 0a000001 0a 02 08 40 06 0078 0001 01 80");
    if has_notification {
        body[14] |= 0x40;
    }
    message(OPEN, &body)
}

/// What is said to a router at the end.
async fn last_words(farewell: Farewell, has_notification: bool) -> Option<Vec<u8>> {
    let (listener, settings) = listener().await;
    let settings = Settings {
        graceful_restart: Some(GracefulRestart::default()),
        ..settings
    };
    let session = Session::start(settings, routes(&[]));
    let mut router = accept(&listener).await;
    assert_eq!(router.receive().await.0, OPEN);
    router.send(&restarting_open(has_notification)).await;
    router.send(&message(KEEPALIVE, &[])).await;
    router.receive_table().await;
    let stopping = tokio::spawn(session.stop(farewell));
    let mut octets = Vec::new();
    router.stream.read_to_end(&mut octets).await.unwrap();
    drop(router);
    stopping.await.unwrap();
    octets.get(19..).map(<[u8]>::to_vec)
}

#[tokio::test]
async fn a_session_that_comes_back_says_nothing_where_that_was_agreed_on() {
    assert_eq!(last_words(Farewell::Restart, false).await, None);
    assert_eq!(last_words(Farewell::Restart, true).await, None);
    let gone = last_words(Farewell::Deconfigured, false).await;
    assert_eq!(gone, Some(vec![6, 3]));
    let gone = last_words(Farewell::Deconfigured, true).await;
    assert_eq!(gone, Some(vec![6, 9, 6, 3]), "a Hard Reset (RFC 8538)");
}

#[tokio::test]
async fn messages_are_longer_where_both_offer_that() {
    let (listener, settings) = listener().await;
    let session = Session::start(settings, many(20_000));
    let mut router = accept(&listener).await;
    assert_eq!(router.receive().await.0, OPEN);
    let extended = hex("04 fbf4 005a 0a000001 04 02 02 06 00");
    router.send(&message(OPEN, &extended)).await;
    router.send(&message(KEEPALIVE, &[])).await;
    let (mut prefixes, mut updates) = (0, 0);
    while prefixes < 20_000 {
        let (kind, update) = router.receive_news().await;
        assert_eq!(kind, UPDATE);
        prefixes += Update::read_extended(&update).announced.len();
        updates += 1;
    }
    assert_eq!(updates, 2);
    // And read: one UPDATE of 65535 octets, and then a request that is answered.
    let withdrawn = [24, 203, 0, 113].repeat(16_378);
    let mut body = u16::try_from(withdrawn.len())
        .unwrap()
        .to_be_bytes()
        .to_vec();
    body.extend(withdrawn);
    body.extend([0, 0]);
    router.send(&message(UPDATE, &body)).await;
    router.receive_news().await;
    router.send(&message(5, &hex("0001 00 01"))).await;
    assert_eq!(router.receive_news().await.0, UPDATE);
    assert_eq!(session.status().borrow().state, SessionState::Established);
    session.stop(Farewell::Deconfigured).await;
}

/// A socket that signs what it sends to us, and expects the same.
fn signing(settings: &Settings, to: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    let ours = Settings {
        neighbor: to.ip(),
        ..settings.clone()
    };
    socket::authenticate(&socket, &ours).unwrap();
    socket
}

#[tokio::test]
async fn a_peer_with_a_key_is_heard_only_with_it_and_with_another_once_it_has_changed() {
    let address = free_address().await;
    let listener = Listener::start(&[address]);
    let with_key = |key: &str| {
        let mut settings = passive(LOCALHOST);
        let key = Secret::new(key.to_owned());
        settings.transport.authentication = Authentication::new(Some(key), None);
        settings
    };
    let (first, second) = (with_key("first"), with_key("second"));
    let session = Session::start(first.clone(), routes(&[]));
    let admit = |settings: &Settings| {
        let door = session.door();
        let settings = settings.clone();
        listener.admit(BTreeMap::from([(
            (LOCALHOST, None),
            Guest { door, settings },
        )]));
    };
    let hears = async |socket: TcpSocket| {
        let connecting = socket.connect(address);
        tokio::time::timeout(Duration::from_millis(500), connecting).await
    };
    admit(&first);
    // Until it listens nobody is heard; then only who signs.
    let mut stream = None;
    while stream.is_none() {
        stream = hears(signing(&first, address))
            .await
            .ok()
            .and_then(Result::ok);
    }
    let plain = hears(TcpSocket::new_v4().unwrap()).await;
    assert!(plain.is_err(), "without a key: {plain:?}");
    admit(&second);
    while hears(signing(&first, address)).await.is_ok() {}
    assert!(hears(signing(&second, address)).await.unwrap().is_ok());
    session.stop(Farewell::Deconfigured).await;
}
