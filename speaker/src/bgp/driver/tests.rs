//! The driver against routers made of a listener on the loopback interface.

mod dialled;
mod negative;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ferrolb_crds::model::{Family, HoldTime, PeerAsn, Port, Secret};
use ipnet::IpNet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::tests::{Update, asn, hex, message, net, settings};
use super::super::{Authentication, Route};
use super::*;

struct Router {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Router {
    /// The next message: its type and its whole.
    async fn receive(&mut self) -> (u8, Vec<u8>) {
        loop {
            let length = |b: &[u8]| usize::from(u16::from_be_bytes([b[16], b[17]]));
            if self.buffer.len() >= 19 && self.buffer.len() >= length(&self.buffer) {
                let rest = self.buffer.split_off(length(&self.buffer));
                let message = mem::replace(&mut self.buffer, rest);
                return (message[18], message);
            }
            let size = self.stream.read_buf(&mut self.buffer).await.unwrap();
            assert!(size > 0, "closed after {:02x?}", self.buffer);
        }
    }

    async fn send(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).await.unwrap();
    }

    /// The next message that is no KEEPALIVE.
    async fn receive_news(&mut self) -> (u8, Vec<u8>) {
        loop {
            let (kind, message) = self.receive().await;
            if kind != KEEPALIVE {
                return (kind, message);
            }
        }
    }

    async fn establish(&mut self, hold_time: u16) {
        assert_eq!(self.receive().await.0, OPEN);
        self.send(&open(hold_time)).await;
        assert_eq!(self.receive().await.0, KEEPALIVE);
        self.send(&message(KEEPALIVE, &[])).await;
    }

    /// Prefixes announced and withdrawn until the End-of-RIB of IPv4.
    async fn receive_table(&mut self) -> Vec<IpNet> {
        let mut announced = Vec::new();
        loop {
            let (kind, message) = self.receive_news().await;
            assert_eq!(kind, UPDATE);
            let update = Update::read(&message);
            if update == Update::default() {
                return announced;
            }
            announced.extend(update.announced);
        }
    }
}

const OPEN: u8 = 1;
const UPDATE: u8 = 2;
const NOTIFICATION: u8 = 3;
const KEEPALIVE: u8 = 4;

fn open(hold_time: u16) -> Vec<u8> {
    let [high, low] = hold_time.to_be_bytes();
    let mut body = hex("04 fbf4 0000 0a000001 00");
    body[3] = high;
    body[4] = low;
    message(OPEN, &body)
}

async fn listener() -> (TcpListener, Settings) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let settings = Settings {
        neighbor: Ipv4Addr::LOCALHOST.into(),
        port: Port::new(port).unwrap(),
        connect_retry_time: Some(Duration::from_millis(50)),
        ..settings()
    };
    (listener, settings)
}

async fn accept(listener: &TcpListener) -> Router {
    let (stream, _) = listener.accept().await.unwrap();
    Router {
        stream,
        buffer: Vec::new(),
    }
}

fn routes(prefixes: &[&str]) -> Arc<Routes> {
    let routes = prefixes.iter().map(|p| (net(p), Route::default()));
    Arc::new(routes.collect())
}

/// One prefix goes and another comes.
fn instead(gone: &str, new: &str) -> Arc<Changed> {
    let new = (net(new), Some(Route::default()));
    Arc::new(Changed::from([(net(gone), None), new]))
}

fn many(count: u32) -> Arc<Routes> {
    let host = |n| IpNet::from(std::net::IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + n)));
    Arc::new((0..count).map(|n| (host(n), Route::default())).collect())
}

async fn reached(session: &Session, state: SessionState) -> SessionStatus {
    let mut status = session.status();
    let reached = status.wait_for(|status| status.state == state);
    let waiting = tokio::time::timeout(Duration::from_secs(20), reached);
    waiting.await.unwrap().unwrap().clone()
}

/// Why it does not go on. How long it is in Idle is a matter of its timers: that can be over when it is looked at.
async fn failed(session: &Session) -> Option<String> {
    let mut status = session.status();
    let failed = status.wait_for(|status| status.last_error.is_some());
    let waiting = tokio::time::timeout(Duration::from_secs(20), failed);
    waiting.await.unwrap().unwrap().last_error.clone()
}

#[tokio::test]
async fn a_session_announces_and_withdraws_and_stops_with_cease() {
    let (listener, settings) = listener().await;
    let session = Session::start(settings, routes(&["192.0.2.10/32"]));
    let mut router = accept(&listener).await;
    router.establish(90).await;
    assert_eq!(router.receive_table().await, [net("192.0.2.10/32")]);
    let status = reached(&session, SessionState::Established).await;
    assert_eq!((status.prefixes, status.updates_sent), (1, 2));
    assert_eq!(status.hold_time, HoldTime::new(90));
    assert_eq!(status.families, BTreeSet::from([Family::V4]));
    assert_eq!(status.local_address, Some(Ipv4Addr::LOCALHOST.into()));
    assert_eq!(status.last_error, None);

    session.announce(instead("192.0.2.10/32", "192.0.2.11/32"));
    let update = Update::read(&router.receive_news().await.1);
    assert_eq!(update.announced, [net("192.0.2.11/32")]);
    let update = Update::read(&router.receive_news().await.1);
    assert_eq!(update.withdrawn, [net("192.0.2.10/32")]);

    let watcher = session.status();
    let stopping = tokio::spawn(session.stop(Farewell::Deconfigured));
    let cease = (NOTIFICATION, message(NOTIFICATION, &[6, 3]));
    assert_eq!(router.receive_news().await, cease);
    drop(router);
    stopping.await.unwrap();
    let status = watcher.borrow().clone();
    assert_eq!(status.state, SessionState::Idle);
    assert_eq!((status.prefixes, status.last_error), (0, None));
}

#[tokio::test]
async fn dropping_a_session_stops_it() {
    let (listener, settings) = listener().await;
    let session = Session::start(settings, routes(&[]));
    let mut router = accept(&listener).await;
    router.establish(90).await;
    reached(&session, SessionState::Established).await;
    drop(session);
    router.receive_table().await;
    let cease = (NOTIFICATION, message(NOTIFICATION, &[6, 2]));
    assert_eq!(router.receive_news().await, cease);
}

#[tokio::test]
async fn a_router_that_is_not_there_is_tried_again_until_it_is() {
    let (first, settings) = listener().await;
    let address = first.local_addr().unwrap();
    drop(first);
    let session = Session::start(settings, routes(&["192.0.2.10/32"]));
    let status = reached(&session, SessionState::Active).await;
    assert_eq!(status.last_error.as_deref(), Some("connection refused"));
    let listener = TcpListener::bind(address).await.unwrap();
    let mut router = accept(&listener).await;
    router.establish(90).await;
    assert_eq!(router.receive_table().await.len(), 1);
    session.stop(Farewell::Deconfigured).await;
}

#[tokio::test]
async fn a_source_address_of_somebody_else_is_named() {
    let (_listener, settings) = listener().await;
    let settings = Settings {
        source_address: Some("192.0.2.99".parse().unwrap()),
        ..settings
    };
    let session = Session::start(settings, routes(&[]));
    let status = reached(&session, SessionState::Active).await;
    assert_eq!(
        status.last_error.as_deref(),
        Some("failed to use source address 192.0.2.99: address not available")
    );
    session.stop(Farewell::Deconfigured).await;
}

#[tokio::test]
async fn a_device_that_is_not_there_is_named_and_tried_again() {
    let (_listener, mut settings) = listener().await;
    settings.transport.device = Some("red".to_owned());
    let session = Session::start(settings, routes(&[]));
    let missing = Some("device red does not exist");
    for _ in 0..2 {
        let status = reached(&session, SessionState::Active).await;
        assert_eq!(status.last_error.as_deref(), missing);
        reached(&session, SessionState::Connect).await;
    }
    session.stop(Farewell::Shutdown(String::new())).await;
}

#[tokio::test]
async fn a_link_local_address_without_an_interface_is_told_as_such() {
    let (_listener, settings) = listener().await;
    let settings = Settings {
        neighbor: "fe80::1".parse().unwrap(),
        ..settings
    };
    let session = Session::start(settings, routes(&[]));
    let status = reached(&session, SessionState::Active).await;
    let error = status.last_error.unwrap();
    assert!(
        error.starts_with("a link-local address needs an interface"),
        "{error}"
    );
    session.stop(Farewell::Shutdown(String::new())).await;
}

/// What is left of a connection that this end closed first has the port for a minute.
#[tokio::test]
async fn a_source_port_can_be_used_again_at_once_whoever_ended_the_session() {
    let (listener, mut settings) = listener().await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    settings.transport.source_port = Port::new(port);
    for _ in 0..2 {
        let session = Session::start(settings.clone(), routes(&[]));
        let mut router = accept(&listener).await;
        assert_eq!(router.stream.peer_addr().unwrap().port(), port);
        router.establish(90).await;
        reached(&session, SessionState::Established).await;
        let (cease, ()) = tokio::join!(
            async {
                let news = loop {
                    let (kind, message) = router.receive_news().await;
                    if kind != UPDATE {
                        break message;
                    }
                };
                drop(router);
                news
            },
            session.stop(Farewell::Shutdown(String::new()))
        );
        assert_eq!(cease, message(NOTIFICATION, &[6, 2]));
    }
}

fn with_key(settings: &Settings, key: &str) -> Settings {
    let mut settings = settings.clone();
    let key = Secret::new(key.to_owned());
    settings.transport.authentication = Authentication::Md5(key);
    settings
}

/// As with a router that changes keys without ending sessions.
#[tokio::test]
async fn i8_a_password_that_both_ends_change_ends_no_session() {
    let (listener, settings) = listener().await;
    let (old, new) = (with_key(&settings, "old"), with_key(&settings, "new"));
    // The router's peer has its address, too.
    socket::authenticate(&listener, &old).unwrap();
    let session = Session::start(old, routes(&["192.0.2.10/32"]));
    let mut router = accept(&listener).await;
    router.establish(90).await;
    router.receive_table().await;
    let before = reached(&session, SessionState::Established).await;

    session.change(new.live());
    let unheard = tokio::time::timeout(Duration::from_millis(300), router.receive());
    assert!(unheard.await.is_err(), "the router knows the old key only");
    session.announce(instead("192.0.2.10/32", "192.0.2.11/32"));
    socket::rekey(&router.stream, &new).unwrap();
    // What was said meanwhile is said again.
    assert_eq!(router.receive().await.0, KEEPALIVE);
    let update = Update::read(&router.receive_news().await.1);
    assert_eq!(update.announced, [net("192.0.2.11/32")]);
    let after = session.status().borrow().clone();
    assert_eq!((after.state, after.since), (before.state, before.since));
    session.stop(Farewell::Shutdown(String::new())).await;
}

#[tokio::test]
async fn a_password_that_only_one_end_has_makes_no_session() {
    let (_, settings) = listener().await;
    let with = with_key(&settings, "hunter2");
    for (router, speaker) in [(&settings, &with), (&with, &settings)] {
        let (listener, Settings { port, .. }) = listener().await;
        socket::authenticate(&listener, router).unwrap();
        let settings = Settings {
            port,
            ..speaker.clone()
        };
        let session = Session::start(settings, routes(&[]));
        let accepted = tokio::time::timeout(Duration::from_millis(300), listener.accept());
        assert!(accepted.await.is_err());
        session.stop(Farewell::Shutdown(String::new())).await;
    }
}

#[tokio::test]
async fn a_refusal_reaches_a_router_that_keeps_talking() {
    let (listener, settings) = listener().await;
    let settings = Settings {
        peer_asn: PeerAsn::Exact(asn(64999)),
        ..settings
    };
    let session = Session::start(settings, routes(&[]));
    let mut router = accept(&listener).await;
    assert_eq!(router.receive().await.0, OPEN);
    let talk = [open(90), message(KEEPALIVE, &[]).repeat(2000)].concat();
    router.send(&talk).await;
    let bad_peer_as = (NOTIFICATION, message(NOTIFICATION, &[2, 2]));
    assert_eq!(router.receive_news().await, bad_peer_as);
    assert_eq!(
        failed(&session).await.as_deref(),
        Some("the peer's OPEN was refused: its AS is 64500, expected is 64999")
    );
    session.stop(Farewell::Deconfigured).await;
}

#[tokio::test]
async fn what_a_router_says_last_is_kept() {
    let (listener, settings) = listener().await;
    let session = Session::start(settings, routes(&[]));
    let mut router = accept(&listener).await;
    router.establish(90).await;
    reached(&session, SessionState::Established).await;
    router.send(&message(NOTIFICATION, &[6, 4])).await;
    drop(router);
    assert_eq!(
        failed(&session).await.as_deref(),
        Some("peer sent NOTIFICATION Cease/Administrative Reset")
    );
    session.stop(Farewell::Deconfigured).await;
}

/// More than the kernel buffers for a connection that is not read.
const TOO_MANY: u32 = 600_000;

async fn keep_talking(mut stream: tokio::net::tcp::OwnedWriteHalf) {
    while stream.write_all(&message(KEEPALIVE, &[])).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test]
async fn i7_a_router_that_reads_nothing_is_given_up_and_delays_nobody() {
    let (deaf, deaf_settings) = listener().await;
    let (hearing, settings) = listener().await;
    let hold_time = HoldTime::new(4).unwrap();
    let deaf_settings = Settings {
        hold_time,
        ..deaf_settings
    };
    let stuck = Session::start(deaf_settings, many(TOO_MANY));
    let mut silent = accept(&deaf).await;
    silent.establish(4).await;
    // It talks all the same: it is not the hold timer that is to end this.
    let (_unread, talking) = silent.stream.into_split();
    let talking = tokio::spawn(keep_talking(talking));
    reached(&stuck, SessionState::Established).await;

    let session = Session::start(settings, routes(&["192.0.2.10/32"]));
    let mut router = accept(&hearing).await;
    let begun = Instant::now();
    router.establish(90).await;
    assert_eq!(router.receive_table().await.len(), 1);
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(stuck.status().borrow().state, SessionState::Established);

    let error = failed(&stuck).await.unwrap();
    // Whichever of the two watches saw it first: ours, or the kernel's.
    let seen = [
        "send hold timer expired: the peer reads nothing",
        "timed out",
    ];
    assert!(seen.contains(&error.as_str()), "{error}");
    talking.abort();
    stuck.stop(Farewell::Deconfigured).await;
    session.stop(Farewell::Deconfigured).await;
}

#[tokio::test]
async fn stopping_takes_no_longer_than_promised_with_a_router_that_reads_nothing() {
    let (listener, settings) = listener().await;
    let session = Session::start(settings, many(TOO_MANY));
    let mut router = accept(&listener).await;
    router.establish(90).await;
    reached(&session, SessionState::Established).await;
    let begun = Instant::now();
    session.stop(Farewell::Deconfigured).await;
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
}
