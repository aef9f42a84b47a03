use std::net::TcpListener as Listener;
use std::time::Duration;

use ferrolb_crds::model::{Asn, Family, HoldTime, PeerAsn, Port, Secret};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::*;
use crate::bgp::{Authentication, Transport};

fn settings(listener: &TcpListener, asn: u32) -> Settings {
    let address = listener.local_addr().unwrap();
    Settings {
        name: "tor".to_owned(),
        neighbor: address.ip(),
        port: Port::new(address.port()).unwrap(),
        source_address: None,
        local_asn: Asn::new(asn).unwrap(),
        peer_asn: PeerAsn::External,
        router_id: None,
        hold_time: HoldTime::DEFAULT,
        keepalive_time: None,
        connect_retry_time: None,
        families: BTreeSet::from([Family::V4]),
        multi_hop: false,
        transport: Transport::default(),
        graceful_restart: None,
        passive: false,
        node: "n1".to_owned(),
    }
}

fn wanted(settings: &Settings) -> BTreeMap<String, Settings> {
    BTreeMap::from([("tor".to_owned(), settings.clone())])
}

fn no_routes(_: &str) -> Arc<Routes> {
    Arc::new(Routes::new())
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let limit = Duration::from_secs(20);
        tokio::time::timeout(limit, future).await.unwrap()
    })
}

async fn listen() -> TcpListener {
    let listener = Listener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    TcpListener::from_std(listener).unwrap()
}

#[test]
fn i8_a_session_is_restarted_only_when_its_settings_differ_and_never_beside_itself() {
    block_on(async {
        let listener = listen().await;
        let (first, second) = (settings(&listener, 64512), settings(&listener, 64600));
        let mut sessions = Sessions::default();
        sessions.want(wanted(&first), no_routes);
        let (connection, _) = listener.accept().await.unwrap();
        sessions.want(wanted(&first), no_routes);
        assert!(sessions.stopping.is_empty(), "the same again");
        sessions.want(wanted(&second), no_routes);
        assert!(sessions.running.is_empty(), "the old one is still stopping");
        drop(connection);
        sessions.stopped().await;
        sessions.want(wanted(&second), no_routes);
        listener.accept().await.unwrap();
        assert_eq!(sessions.running["tor"].settings, second);
        assert_eq!(sessions.statuses().len(), 1);
        sessions.want(BTreeMap::new(), no_routes);
        sessions.stop(Farewell::Restart).await;
        assert!(sessions.running.is_empty() && sessions.stopping.is_empty());
    });
}

#[test]
fn a_session_that_nobody_can_begin_says_so() {
    block_on(async {
        let peer = listen().await;
        let passive = Settings {
            passive: true,
            ..settings(&peer, 64512)
        };
        let mut bound = passive.clone();
        bound.transport.device = Some("lo".to_owned());
        let dials = settings(&peer, 64512);
        let here = ["127.0.0.1:0".parse().unwrap()];
        for (listen, settings, is_shut_out) in [
            (&[][..], &passive, true),
            (&here, &passive, false),
            (&here, &bound, true),
            (&[], &dials, false),
        ] {
            let mut sessions = Sessions::new(listen);
            sessions.want(wanted(settings), no_routes);
            let error = sessions.statuses()["tor"].last_error.clone();
            assert_eq!(error.as_deref() == Some(SHUT_OUT), is_shut_out, "{error:?}");
            sessions.stop(Farewell::Restart).await;
        }
    });
}

#[test]
fn a_peer_that_is_renamed_does_not_see_two_sessions() {
    block_on(async {
        let listener = listen().await;
        let first = settings(&listener, 64512);
        let renamed = Settings {
            name: "spine".to_owned(),
            ..first.clone()
        };
        let renamed = BTreeMap::from([("spine".to_owned(), renamed)]);
        let mut sessions = Sessions::default();
        sessions.want(wanted(&first), no_routes);
        let (connection, _) = listener.accept().await.unwrap();
        sessions.want(renamed.clone(), no_routes);
        assert!(sessions.running.is_empty(), "the old one is still stopping");
        drop(connection);
        sessions.stopped().await;
        sessions.want(renamed, no_routes);
        assert!(sessions.running.contains_key("spine"));
        sessions.stop(Farewell::Restart).await;
    });
}

#[test]
fn sessions_with_one_address_on_two_devices_do_not_wait_for_each_other() {
    block_on(async {
        let listener = listen().await;
        let first = settings(&listener, 64512);
        let mut second = first.clone();
        "blue".clone_into(&mut second.name);
        second.transport.device = Some("lo".to_owned());
        let mut sessions = Sessions::default();
        sessions.want(wanted(&first), no_routes);
        listener.accept().await.unwrap();
        sessions.want(BTreeMap::from([("blue".to_owned(), second)]), no_routes);
        assert!(sessions.running.contains_key("blue"));
        assert_eq!(sessions.stopping.len(), 1);
        sessions.stop(Farewell::Restart).await;
    });
}

/// While it is down a session begins anew with another password, so that it is tried at once; while
/// it is up it goes on.
#[test]
fn i8_another_password_ends_only_a_session_that_is_down() {
    block_on(async {
        let listener = listen().await;
        let first = settings(&listener, 64512);
        let mut second = first.clone();
        let key = Secret::new("hunter2".to_owned());
        second.transport.authentication = Authentication::Md5(key);
        let mut sessions = Sessions::default();
        sessions.want(wanted(&first), no_routes);
        let (status, heard) = watch::channel(sessions.statuses()["tor"].clone());
        sessions.running.get_mut("tor").unwrap().status = heard;

        status.send_modify(|status| status.state = SessionState::Established);
        sessions.want(wanted(&second), no_routes);
        assert_eq!(sessions.running["tor"].settings, second);
        assert!(sessions.stopping.is_empty());

        status.send_modify(|status| status.state = SessionState::Active);
        sessions.want(wanted(&first), no_routes);
        assert!(sessions.running.is_empty());
        assert_eq!(sessions.stopping.len(), 1);
        assert!(!format!("{sessions:?} {second:?}").contains("hunter2"));
        sessions.stop(Farewell::Restart).await;
    });
}

#[test]
fn a_session_is_given_everything_when_it_starts_and_later_what_has_changed() {
    block_on(async {
        let listener = listen().await;
        let first = settings(&listener, 64512);
        let mut sessions = Sessions::default();
        let asked = std::cell::Cell::new(0);
        let routes = |_: &str| {
            asked.set(asked.get() + 1);
            Arc::new(Routes::new())
        };
        assert!(!sessions.is_any());
        sessions.want(wanted(&first), routes);
        sessions.want(wanted(&first), routes);
        assert_eq!(asked.get(), 1, "it has them");
        let one: ipnet::IpNet = "192.0.2.1/32".parse().unwrap();
        let route = Some(crate::bgp::Route::default());
        let changed = Arc::new(Changed::from([(one, route)]));
        let told = [("spine", Arc::default()), ("tor", Arc::clone(&changed))];
        sessions.tell(&BTreeMap::from(told));
        assert!(sessions.is_any());
        let mut status = sessions.running["tor"].session.status();
        let has_it = status.wait_for(|status| status.desired == 1);
        has_it.await.unwrap();
        assert_eq!(asked.get(), 1);
        sessions.stop(Farewell::Restart).await;
    });
}

#[test]
fn news_of_a_session_are_heard() {
    block_on(async {
        let listener = listen().await;
        let mut sessions = Sessions::default();
        sessions.want(wanted(&settings(&listener, 64512)), no_routes);
        // Dialing is news.
        sessions.news().await;
        sessions.stop(Farewell::Restart).await;
    });
}

/// What is said to a peer that has this session, when these are wanted instead.
async fn last_words(wants: impl FnOnce(&Settings) -> BTreeMap<String, Settings>) -> Vec<u8> {
    let listener = listen().await;
    let settings = settings(&listener, 64512);
    let mut sessions = Sessions::default();
    sessions.want(wanted(&settings), no_routes);
    let (mut connection, _) = listener.accept().await.unwrap();
    let mut octets = [0; 19];
    connection.read_exact(&mut octets).await.unwrap();
    sessions.want(wants(&settings), no_routes);
    let mut rest = Vec::new();
    connection.read_to_end(&mut rest).await.unwrap();
    drop(connection);
    sessions.stop(Farewell::Restart).await;
    rest.split_off(rest.len() - 2)
}

#[test]
fn a_peer_is_told_whether_another_session_follows() {
    block_on(async {
        let gone = last_words(|_| BTreeMap::new()).await;
        assert_eq!(gone, [6, 3], "Peer De-configured");
        let changed = |settings: &Settings| {
            let settings = Settings {
                hold_time: HoldTime::new(9).unwrap(),
                ..settings.clone()
            };
            wanted(&settings)
        };
        assert_eq!(
            last_words(changed).await,
            [6, 6],
            "Other Configuration Change"
        );
        let renamed = |settings: &Settings| {
            let settings = Settings {
                name: "spine".to_owned(),
                ..settings.clone()
            };
            BTreeMap::from([("spine".to_owned(), settings)])
        };
        assert_eq!(last_words(renamed).await, [6, 6], "the same two ends");
        let moved = |settings: &Settings| {
            let settings = Settings {
                neighbor: "127.0.0.2".parse().unwrap(),
                ..settings.clone()
            };
            wanted(&settings)
        };
        assert_eq!(last_words(moved).await, [6, 3], "another peer");
    });
}

fn key(peer: &str) -> SessionKey {
    SessionKey {
        peer: peer.parse().unwrap(),
        interface: None,
        vrf: None,
        local: None,
        reach: crate::bfd::Reach::SingleHop,
    }
}

/// RFC 9384: Cease, BFD Down; and then it is tried again.
#[test]
fn a_path_that_fails_ends_the_connection_and_not_the_session() {
    block_on(async {
        let listener = listen().await;
        let wanted = wanted(&settings(&listener, 64512));
        let mut sessions = Sessions::default();
        sessions.want(wanted.clone(), no_routes);
        let (failing, failures) = watch::channel(0);
        let keys = BTreeMap::from([("tor".to_owned(), key("127.0.0.1"))]);
        sessions.watch_paths(&keys, |_| Some(failures.clone()));
        let (mut connection, _) = listener.accept().await.unwrap();
        // The OPEN is under way.
        connection.readable().await.unwrap();
        failing.send_replace(1);
        let mut octets = Vec::new();
        connection.read_to_end(&mut octets).await.unwrap();
        assert!(octets.ends_with(&[0, 21, 3, 6, 10]), "{octets:?}");
        drop(connection);
        listener.accept().await.unwrap();
        assert_eq!(sessions.running.len(), 1);
        sessions.stop(Farewell::Restart).await;
    });
}

#[test]
fn a_session_hears_of_the_path_that_is_its_own_at_present() {
    block_on(async {
        let listener = listen().await;
        let mut sessions = Sessions::default();
        sessions.want(wanted(&settings(&listener, 64512)), no_routes);
        let asked = std::cell::RefCell::new(Vec::new());
        let (failing, failures) = watch::channel(0);
        let of = |key: &SessionKey| {
            asked.borrow_mut().push(key.peer.to_string());
            Some(failures.clone())
        };
        let keys = |peer| BTreeMap::from([("tor".to_owned(), key(peer))]);
        sessions.watch_paths(&keys("192.0.2.1"), of);
        sessions.watch_paths(&keys("192.0.2.1"), of);
        sessions.watch_paths(&keys("192.0.2.2"), of);
        assert_eq!(asked.borrow().as_slice(), ["192.0.2.1", "192.0.2.2"]);
        sessions.watch_paths(&BTreeMap::new(), of);
        assert!(sessions.running["tor"].path.is_none());
        drop(failures);
        while failing.receiver_count() > 0 {
            tokio::task::yield_now().await;
        }
        sessions.stop(Farewell::Restart).await;
    });
}

#[test]
fn what_a_link_s_own_address_is_bound_to_is_no_vrf() {
    block_on(async {
        let mut settings = settings(&listen().await, 64512);
        settings.transport.device = Some("red".to_owned());
        assert_eq!(end(&settings).vrf.as_deref(), Some("red"));
        settings.neighbor = "fe80::1".parse().unwrap();
        settings.port = Port::BGP;
        let expected = Peer {
            host: "fe80::1%red".to_owned(),
            port: Some(Port::BGP),
            vrf: None,
        };
        assert_eq!(end(&settings), expected);
    });
}
