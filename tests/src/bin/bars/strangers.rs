//! A peer that behaves as none should, for a while in each of several ways: what another peer, a client on
//! the segment and the memory notice of it.
#![expect(clippy::disallowed_methods, reason = "plays a peer")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ferrolb_tests::answers::Recorder;
use ferrolb_tests::capture::{self, Sending};
use ferrolb_tests::lab::Lab;
use ferrolb_tests::objects::{assigned, bgp, layer2, nodes, peer, pool};
use ferrolb_tests::peer::bird::Bird;
use ferrolb_tests::segment::Host;
use ferrolb_tests::{netns, patience};

use super::four::at;
use super::tables::unix_time;
use super::{Figure, PORT, SERVICES, address, repeated};

/// Seconds of each way to behave.
const SPAN: usize = 30;

const ASN: u16 = 64502;

const CONNECTIONS: usize = 1_000;

/// Of the layer 2 address that a client asks for.
const NEAR: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 100);

const SOON: Duration = Duration::from_secs(60);

/// A third of the hold time agreed on, and what a busy machine adds.
const KEEPALIVE: Duration = Duration::from_millis(1_100);

const ANSWER: f64 = 5.0;

const MEGABYTE: f64 = 1_000_000.0;

/// What goes on growing is never less again: the least grows by more than this from the first half of a while
/// to the second. What is made and thrown away is in the most, whenever that happens.
const BOUND: f64 = 4.0;

/// How the peer behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// As everybody does.
    Well,
    Deaf,
    Dribbling,
    Babbling,
    Crowding,
}

impl Manner {
    const ALL: [Self; 5] = [
        Self::Well,
        Self::Deaf,
        Self::Dribbling,
        Self::Babbling,
        Self::Crowding,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Well => "behaves, and routes change every second",
            Self::Deaf => "stops reading, and routes change every second",
            Self::Dribbling => "sends an octet a millisecond",
            Self::Babbling => "sends garbage, dialled and dialling again and again",
            Self::Crowding => "opens 1,000 connections, again and again",
        }
    }
}

/// A node with two peers, one of which is played.
struct Site {
    // Before the laboratory, so that they end first.
    router: Bird,
    host: Host,
    lab: Lab,
}

/// A while of one of its manners.
struct Stretch {
    manner: Manner,
    span: Duration,
    from: Duration,
    to: Duration,
    /// The least and the most in the first half and in the second.
    memory: [(u64, u64); 2],
}

pub(crate) fn strangers() -> Result<Vec<Figure>> {
    let span = Duration::from_secs(u64::try_from(repeated(SPAN))?);
    let mut site = Site::begin()?;
    let recording = site.lab.record("96")?;
    let asked = Recorder::start_beside(&mut site.lab, NEAR, recording.clone())?;
    let changes = site.router.changes("n1");
    // What is needed but once has been taken before anybody looks.
    site.suffer(Manner::Well, span)?;
    // Where routes change the memory comes and goes, and takes longer to be at its least again.
    let spans = |manner| {
        if manner == Manner::Well {
            4 * span
        } else {
            span
        }
    };
    let stretches = Manner::ALL.map(|manner| site.suffer(manner, spans(manner)));
    let stretches: Vec<Stretch> = stretches.into_iter().collect::<Result<_>>()?;
    let answers = asked.stop(&mut site.lab)?;
    let (node, router) = (site.lab.segment.nodes[0].v4, site.lab.segment.router.v4);
    let sendings = capture::bgp_sendings(&recording, node)?;
    let is_the_same = site.router.changes("n1") == changes;
    let figures = stretches.into_iter().map(|stretch| {
        let Stretch {
            manner,
            span,
            from,
            to,
            memory,
        } = stretch;
        let mut delays = answers.delays(from, to);
        delays.sort();
        ensure!(delays.len() > 10, "nobody asked while a peer {manner:?}");
        let silence = silence(&sendings, router, from, to);
        let megabytes = |bytes: u64| bytes as f64 / MEGABYTE;
        let [early, later] = memory.map(|(least, most)| (megabytes(least), megabytes(most)));
        let late = at(&delays, 0.99);
        Ok(Figure {
            what: format!(
                "a peer {}, for {} s: longest pause to another peer, a client's ARP answers, least and most memory in either half",
                manner.name(),
                span.as_secs(),
            ),
            measured: format!(
                "{} ms; p50 {:.2}, p99 {late:.2}, worst {:.2} ms of {}; {:.1} to {:.1}, then {:.1} to {:.1} MB",
                silence.as_millis(),
                at(&delays, 0.5),
                at(&delays, 1.0),
                delays.len(),
                early.0,
                early.1,
                later.0,
                later.1
            ),
            bar: "a KEEPALIVE every second; p99 under 5 ms; no growth; no other session ends",
            is_held: silence <= KEEPALIVE && late < ANSWER && later.0 - early.0 < BOUND && is_the_same,
        })
    });
    figures.collect()
}

/// The longest time in which another peer was sent nothing.
fn silence(sendings: &[Sending], to: Ipv4Addr, from: Duration, until: Duration) -> Duration {
    let said = sendings.iter().filter(|sending| sending.to == to);
    let times: Vec<Duration> = said
        .map(|sending| sending.at)
        .filter(|at| (from..until).contains(at))
        .collect();
    let starts = [from].into_iter().chain(times.iter().copied());
    let ends = times.iter().copied().chain([until]);
    let pauses = starts.zip(ends).map(|(start, end)| end - start);
    pauses.max().unwrap_or_default()
}

impl Site {
    fn begin() -> Result<Self> {
        let mut lab = Lab::bare(&netns::unique_prefix(), 1)?;
        let host = lab.segment.attach("b", 150)?;
        let (node, router) = (lab.segment.nodes[0].v4, lab.segment.router.v4);
        let listen = format!("--bgp-listen={node}:179");
        lab.speaker_arguments.push(listen);
        let setup = nodes(1)
            + &pool("many", &["10.64.0.0/16"])
            + &pool("near", &["192.168.1.100-192.168.1.110"])
            + &layer2("near", "ipAddressPools: [near]")
            + &peer("good", 64501, &router.to_string(), "")
            + &peer("bad", ASN.into(), &host.v4.to_string(), "")
            + &assigned("near", PORT, NEAR.into());
        let services: String = (0..SERVICES)
            .map(|number| assigned(&format!("web-{number:05}"), PORT, address(number)))
            .collect();
        lab.manifest("setup.yaml", &setup)?;
        lab.manifest("routed.yaml", &routed(0))?;
        lab.manifest("services.yaml", &services)?;
        let router = lab.router(&lab.neighbours(64501, 64500))?;
        lab.start_speaker(1)?;
        patience::until("everything at the other peer", SOON, || {
            router.imported("n1").is_ok_and(|has| has == SERVICES)
        })?;
        patience::until("an answer", SOON, || {
            lab.arping(NEAR.into()).is_ok_and(|macs| !macs.is_empty())
        })?;
        patience::pause(Duration::from_secs(5))?;
        Ok(Self { router, host, lab })
    }

    /// Behaves so for a while.
    fn suffer(&mut self, manner: Manner, span: Duration) -> Result<Stretch> {
        let player = Player::start(&self.host, self.lab.segment.nodes[0].v4, manner)?;
        patience::pause(Duration::from_secs(2))?;
        let from = unix_time();
        let mut memory = [(u64::MAX, 0); 2];
        for second in 0..span.as_secs() {
            if matches!(manner, Manner::Well | Manner::Deaf) {
                let number = 1000 * u64::from(manner == Manner::Deaf) + second + 1;
                self.lab.manifest("routed.yaml", &routed(number))?;
            }
            for _ in 0..10 {
                patience::pause(Duration::from_millis(100))?;
                let half = usize::from(2 * second >= span.as_secs());
                let resident = self.lab.speaker(1)?.resident()?;
                let (least, most) = memory[half];
                memory[half] = (least.min(resident), most.max(resident));
            }
        }
        let to = unix_time();
        player.stop()?;
        // What was begun is over before the next.
        patience::pause(Duration::from_secs(5))?;
        Ok(Stretch {
            manner,
            span,
            from,
            to,
            memory,
        })
    }
}

/// Everything, with another community each time.
fn routed(number: u64) -> String {
    let spec = format!("ipAddressPools: [many]\ncommunities:\n  - 64512:{number}");
    bgp("routed", &spec)
}

/// A peer that is played until it is stopped.
struct Player {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Player {
    fn start(host: &Host, node: Ipv4Addr, manner: Manner) -> Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&is_over);
        let id = host.v4;
        let listening = host.namespace.spawn_inside(move || {
            // Without it nothing would be measured; the speaker says so in its log.
            if let Ok(listener) = TcpListener::bind((id, 179)) {
                drop(listen(&listener, id, manner, &end));
            }
        })?;
        let mut threads = vec![listening];
        if matches!(manner, Manner::Babbling | Manner::Crowding) {
            let end = Arc::clone(&is_over);
            let speaker = SocketAddr::from((node, 179));
            threads.push(host.namespace.spawn_inside(move || {
                while !end.load(Ordering::Relaxed) {
                    if manner == Manner::Crowding {
                        crowd(speaker, &end);
                    } else {
                        babble_at(speaker);
                    }
                }
            })?);
        }
        Ok(Self { is_over, threads })
    }

    fn stop(self) -> Result<()> {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let ended = thread.join();
            ended.ok().context("a player has failed")?;
        }
        Ok(())
    }
}

/// Takes what is dialled, one connection at a time.
fn listen(
    listener: &TcpListener,
    id: Ipv4Addr,
    manner: Manner,
    end: &AtomicBool,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    while !end.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                // However that ends, there may be another.
                drop(converse(stream, id, manner, end));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn converse(
    mut stream: TcpStream,
    id: Ipv4Addr,
    manner: Manner,
    end: &AtomicBool,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    stream.set_write_timeout(Some(Duration::from_millis(500)))?;
    if manner == Manner::Deaf {
        socket2::SockRef::from(&stream).set_recv_buffer_size(4096)?;
    }
    if manner != Manner::Babbling {
        stream.write_all(&message(1, &open(id)))?;
        stream.write_all(&message(4, &[]))?;
    }
    let mut rng = fastrand::Rng::with_seed(1);
    let mut octets = [0; 65536];
    let begin = unix_time();
    let mut keepalives = 0;
    while !end.load(Ordering::Relaxed) {
        match manner {
            Manner::Well | Manner::Crowding => read(&mut stream, &mut octets)?,
            Manner::Deaf => thread::sleep(Duration::from_millis(50)),
            Manner::Dribbling => {
                // The end of a table, over and over.
                for octet in message(2, &[0; 4]) {
                    stream.write_all(&[octet])?;
                    thread::sleep(Duration::from_millis(1));
                }
                continue;
            }
            Manner::Babbling => {
                octets.iter_mut().for_each(|octet| *octet = rng.u8(..));
                // Sometimes something that begins as it should.
                if rng.bool() {
                    let message = message(1, &open(id));
                    octets[..message.len()].copy_from_slice(&message);
                }
                stream.write_all(&octets)?;
                read(&mut stream, &mut octets)?;
            }
        }
        let due = unix_time().saturating_sub(begin).as_secs();
        if due > keepalives {
            keepalives = due;
            stream.write_all(&message(4, &[]))?;
        }
    }
    Ok(())
}

/// What there is, if there is something.
fn read(stream: &mut TcpStream, octets: &mut [u8]) -> std::io::Result<()> {
    match stream.read(octets) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        other => other.map(drop),
    }
}

/// As many connections as it takes, all at once.
fn crowd(speaker: SocketAddr, end: &AtomicBool) {
    let mut all = Vec::new();
    for _ in 0..CONNECTIONS {
        if end.load(Ordering::Relaxed) {
            return;
        }
        all.extend(TcpStream::connect_timeout(&speaker, Duration::from_secs(1)));
    }
    thread::sleep(Duration::from_millis(500));
}

/// One that says nothing that makes sense.
fn babble_at(speaker: SocketAddr) {
    let Ok(mut stream) = TcpStream::connect_timeout(&speaker, Duration::from_secs(1)) else {
        return;
    };
    let noise = [0x5a; 4096];
    // It is closed as soon as it is read.
    drop(stream.set_write_timeout(Some(Duration::from_millis(100))));
    drop(stream.write_all(&noise));
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(19 + body.len()).unwrap_or(u16::MAX);
    [&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat()
}

/// The body of an OPEN: IPv4 unicast, hold time 9 s.
fn open(id: Ipv4Addr) -> Vec<u8> {
    let head = [&[4][..], &ASN.to_be_bytes(), &[0, 9], &id.octets()].concat();
    [&head[..], &[8, 2, 6, 1, 4, 0, 1, 0, 1]].concat()
}
