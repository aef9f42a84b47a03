//! The driver against stations made of a listener on the loopback interface.

use std::time::UNIX_EPOCH;

use ipnet::IpNet;
use tokio::io::AsyncRead;
use tokio::net::{TcpListener, TcpSocket};

use super::super::Up;
use super::super::station::tests::established;
use super::*;
use crate::bgp::tests::Update;
use crate::bgp::{Route, Routes};

/// Gives the test its runtime, and half a minute.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let limit = Duration::from_secs(30);
        tokio::time::timeout(limit, future).await.unwrap()
    })
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn start(address: SocketAddr) -> Export {
    Export::start(&BTreeSet::from([address]), "n1")
}

/// The next message: its type and what follows the common header; `None`: the end.
async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> Option<(u8, Vec<u8>)> {
    let mut header = [0; 6];
    stream.read_exact(&mut header).await.ok()?;
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
    let mut body = vec![0; usize::try_from(length).unwrap() - header.len()];
    stream.read_exact(&mut body).await.unwrap();
    Some((header[5], body))
}

async fn kinds(stream: &mut (impl AsyncRead + Unpin), count: usize) -> Vec<u8> {
    let mut kinds = Vec::new();
    for _ in 0..count {
        kinds.push(receive(stream).await.unwrap().0);
    }
    kinds
}

fn host(number: u32) -> IpNet {
    let address = std::net::Ipv4Addr::from_bits(0x0a40_0000 + number);
    IpNet::from(std::net::IpAddr::from(address))
}

fn up(count: u32) -> Event {
    let routes: Routes = (0..count).map(|n| (host(n), Route::default())).collect();
    Event::Up(Up {
        established: established(Instant::now()),
        since: UNIX_EPOCH,
        routes: Arc::new(routes),
    })
}

async fn reached(report: &mut watch::Receiver<Report>, is_connected: bool) -> Standing {
    let reached = report.wait_for(|report| {
        let mut stations = report.values();
        stations.all(|standing| standing.is_connected == is_connected)
    });
    let report = reached.await.unwrap();
    report.values().next().unwrap().clone()
}

// Message types.
const MONITORING: u8 = 0;
const PEER_UP: u8 = 3;
const INITIATION: u8 = 4;
const TERMINATION: u8 = 5;

#[test]
fn a_station_is_told_until_the_end_and_what_it_says_is_ignored() {
    block_on(async {
        let (listener, address) = listen().await;
        let export = start(address);
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&[0xff; 10_000]).await.unwrap();
        assert_eq!(kinds(&mut stream, 1).await, [INITIATION]);
        export.tell("tor", &up(1));
        let ends = [PEER_UP, MONITORING, MONITORING, MONITORING];
        assert_eq!(kinds(&mut stream, 4).await, ends);
        let mut report = export.report();
        assert_eq!(reached(&mut report, true).await.last_error, None);
        let stopping = tokio::spawn(export.stop());
        assert_eq!(kinds(&mut stream, 1).await, [TERMINATION]);
        assert_eq!(receive(&mut stream).await, None);
        drop(stream);
        stopping.await.unwrap();
    });
}

#[test]
fn a_station_that_never_pauses_is_told_what_is_new() {
    block_on(async {
        let (listener, address) = listen().await;
        let export = start(address);
        let (stream, _) = listener.accept().await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        let talking =
            tokio::spawn(async move { while writing.write_all(&[0xff; 65_536]).await.is_ok() {} });
        assert_eq!(kinds(&mut reading, 1).await, [INITIATION]);
        export.tell("tor", &up(1));
        assert_eq!(kinds(&mut reading, 2).await, [PEER_UP, MONITORING]);
        talking.abort();
    });
}

#[test]
fn a_station_that_goes_and_comes_back_is_told_everything_again() {
    block_on(async {
        let (listener, address) = listen().await;
        let export = start(address);
        let mut report = export.report();
        let (mut stream, _) = listener.accept().await.unwrap();
        export.tell("tor", &up(1));
        let all = [INITIATION, PEER_UP, MONITORING, MONITORING, MONITORING];
        assert_eq!(kinds(&mut stream, 5).await, all);
        drop(stream);
        let standing = reached(&mut report, false).await;
        let why = standing.last_error.unwrap();
        assert!(why.contains("closed") || why.contains("reset"), "{why}");
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_eq!(kinds(&mut stream, 5).await, all);
        reached(&mut report, true).await;
    });
}

#[test]
fn nobody_there_is_said_in_words() {
    block_on(async {
        let (listener, address) = listen().await;
        drop(listener);
        let export = start(address);
        let mut report = export.report();
        let failed = report.wait_for(|report| report[&address].last_error.is_some());
        let error = failed.await.unwrap()[&address].last_error.clone();
        assert_eq!(error.as_deref(), Some("connection refused"));
        export.stop().await;
    });
}

#[test]
fn i7_a_station_that_does_not_read_costs_an_entry_per_prefix_and_not_a_queue() {
    block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let export = start(listener.local_addr().unwrap());
        let (mut stream, _) = listener.accept().await.unwrap();
        export.tell("tor", &up(PREFIXES));
        change_all(&export).await;
        let (mut octets, mut latest) = (0, 0);
        while latest < PREFIXES {
            let (kind, body) = receive(&mut stream).await.unwrap();
            octets += body.len();
            if kind == MONITORING {
                let update = Update::read(&body[42..]);
                let med = update.attributes.get(&4).map(|(_, med)| med.as_slice());
                let is_latest = med == Some((ROUNDS - 1).to_be_bytes().as_slice());
                latest += u32::from(is_latest) * u32::try_from(update.announced.len()).unwrap();
            }
        }
        assert!(
            octets < 1_000_000,
            "{octets} octets, where all rounds are 2 MB"
        );
        // Who does not read does not hear of the end either, and is not waited for.
        change_all(&export).await;
        let begin = Instant::now();
        export.stop().await;
        assert!(begin.elapsed() < 2 * LINGER_TIME);
    });
}

const PREFIXES: u32 = 2000;
const ROUNDS: u32 = 200;

/// All prefixes, again and again, each time taken in by the station.
async fn change_all(export: &Export) {
    for med in 0..ROUNDS {
        let route = Route {
            med: Some(med),
            ..Route::default()
        };
        let changed = (0..PREFIXES).map(|n| (host(n), Some(route.clone())));
        export.tell("tor", &Event::Changed(Arc::new(changed.collect())));
        tokio::task::yield_now().await;
    }
}
