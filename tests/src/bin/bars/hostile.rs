//! Ten million packets that pretend to be heartbeats, into the machine that a speaker runs: random ones,
//! recorded ones played again, and forged ones without the key, from a thousand senders.
#![expect(clippy::disallowed_methods, reason = "measures time")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use ferrolb_crds::model::Secret;
use ferrolb_speaker::layer2::heartbeat::{self, Authenticator, Flags, Heartbeat};
use ferrolb_speaker::layer2::station::{Input, Link, Output, Station};
use ferrolb_speaker::layer2::{ClaimsByAddress, Desired, Interfaces, LinkIndex, Settings};
use ferrolb_speaker::wire::ethernet::Mac;

use super::{Figure, repeated};

const PACKETS: usize = 10_000_000;
const SENDERS: u16 = 1_000;
const ADDRESSES: u32 = 1_000;

/// 100,000 packets a second.
const PACE: Duration = Duration::from_micros(10);

const LINK: LinkIndex = LinkIndex(2);

/// Two nodes with a key, and somebody without one.
struct Segment {
    now: Instant,
    stations: [Station; 2],
    claims: [ClaimsByAddress; 2],
    /// What the two said, as long as somebody records it.
    tape: Vec<Vec<u8>>,
    is_recording: bool,
    sent: usize,
}

/// What the first of the two knows and does.
#[derive(Debug, PartialEq)]
struct Standing {
    owned: usize,
    nodes: BTreeSet<(String, bool)>,
    claims: ClaimsByAddress,
}

pub(crate) fn heartbeats() -> Result<Vec<Figure>> {
    let packets = repeated(PACKETS);
    let mut segment = Segment::new();
    segment.run(Duration::from_secs(3));
    segment.is_recording = true;
    segment.run(Duration::from_secs(2));
    segment.is_recording = false;
    let before = segment.standing();
    ensure!(
        before.owned == ADDRESSES as usize && before.nodes.len() == 1,
        "the two know each other: {before:?}"
    );
    let mut rng = fastrand::Rng::with_seed(1);
    // What is known of hostile senders is bounded; that much they get.
    segment.suffer(packets / 20, &mut rng);
    let memory = resident()?;
    let (sent, start) = (segment.sent, Instant::now());
    segment.suffer(packets - packets / 20, &mut rng);
    let elapsed = start.elapsed();
    let grown = resident()?.saturating_sub(memory);
    let replies = segment.sent - sent;
    let after = segment.standing();
    Ok(vec![Figure {
        what: format!(
            "{packets} hostile heartbeats from {SENDERS} senders, a fifth each: random, noise in a true one, replayed, replayed by others, forged"
        ),
        measured: format!(
            "{}; memory {:+.1} MB; {:.1} µs each; {replies} frames sent meanwhile",
            match after == before {
                true => "nothing moved",
                false => "SOMETHING MOVED",
            },
            grown as f64 / 1_000_000.0,
            elapsed.as_secs_f64() * 1_000_000.0 / packets as f64,
        ),
        bar: "nothing moves, memory flat",
        is_held: after == before && grown < 1_000_000,
    }])
}

impl Segment {
    fn new() -> Self {
        let now = Instant::now();
        let station = |number: u8| {
            let settings = Settings {
                node: format!("n{number}"),
                key: Some(Secret::new("what the nodes share".to_owned())),
                interval: Duration::from_millis(100),
                down_after: None,
                reannounce: None,
                exclusion: Default::default(),
            };
            let mut station =
                Station::new(&settings, u64::from(number), now, SystemTime::UNIX_EPOCH);
            let link = Link {
                name: "eth0".to_owned(),
                mac: mac(number.into()),
                has_carrier: true,
                addresses: Vec::new(),
                path: BTreeMap::new(),
            };
            station.handle(now, Input::Links(BTreeMap::from([(LINK, link)])));
            let base = u32::from(number) << 16;
            let owned = (0..ADDRESSES).map(|n| {
                (
                    IpAddr::from(Ipv4Addr::from(0x0a00_0000 + base + n)),
                    Interfaces::All,
                )
            });
            let desired = Desired {
                owned: owned.collect(),
                heartbeat: Some(Interfaces::All),
                ..Desired::default()
            };
            station.handle(now, Input::Want(desired));
            station
        };
        Self {
            now,
            stations: [station(1), station(2)],
            claims: Default::default(),
            tape: Vec::new(),
            is_recording: false,
            sent: 0,
        }
    }

    /// Time passes, and the two talk to each other.
    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            self.settle();
            let next = self
                .stations
                .iter()
                .filter_map(|station| station.poll_timeout());
            match next.map(|(at, _)| at).min().filter(|at| *at < end) {
                Some(at) => self.now = self.now.max(at),
                None => break,
            }
        }
        self.now = end;
    }

    /// Everything that is due now, and what follows from it.
    fn settle(&mut self) {
        for station in &mut self.stations {
            station.handle_timeout(self.now);
        }
        loop {
            let mut frames = Vec::new();
            for (from, station) in self.stations.iter_mut().enumerate() {
                while let Some(output) = station.poll() {
                    if let Output::Send { frame, .. } = output {
                        frames.push((1 - from, frame));
                    }
                }
                self.claims[from].extend(station.take_claims());
                // As the driver does.
                station.take_counts().for_each(drop);
                drop(station.take_tally());
            }
            if frames.is_empty() {
                return;
            }
            for (to, frame) in frames {
                self.sent += 1;
                let input = Input::Frame {
                    link: LINK,
                    frame: &frame,
                };
                self.stations[to].handle(self.now, input);
                if self.is_recording {
                    self.tape.push(frame);
                }
            }
        }
    }

    /// So many hostile packets, one after the other, while the two go on.
    fn suffer(&mut self, packets: usize, rng: &mut fastrand::Rng) {
        let strangers = Authenticator::new(Some(&Secret::new("a guess".to_owned())));
        for number in 0..packets {
            let frame = self.hostile(number % 5, rng, &strangers);
            for station in &mut self.stations {
                let input = Input::Frame {
                    link: LINK,
                    frame: &frame,
                };
                station.handle(self.now, input);
            }
            self.now += PACE;
            let due = self
                .stations
                .iter()
                .filter_map(|station| station.poll_timeout());
            if due.map(|(at, _)| at).min().is_some_and(|at| at <= self.now) {
                self.settle();
            }
        }
        // What was said to be taken back is taken back by now.
        self.run(Duration::from_secs(2));
    }

    fn hostile(&self, kind: usize, rng: &mut fastrand::Rng, strangers: &Authenticator) -> Vec<u8> {
        let sender = mac(100 + rng.u16(..SENDERS));
        let source = Some(Ipv4Addr::from(rng.u32(..)));
        let recorded = &self.tape[rng.usize(..self.tape.len())];
        match kind {
            0 => {
                let packet: Vec<u8> = (0..rng.usize(..200)).map(|_| rng.u8(..)).collect();
                heartbeat::frame(&packet, sender, source, None)
            }
            1 => {
                let mut frame = recorded.clone();
                let at = rng.usize(..frame.len());
                frame[at] ^= rng.u8(1..);
                frame
            }
            2 => recorded.clone(),
            3 => {
                let mut frame = recorded.clone();
                frame[6..12].copy_from_slice(&sender.0);
                frame
            }
            _ => {
                let heartbeat = Heartbeat {
                    flags: Flags {
                        is_leaving: rng.bool(),
                        is_listening: rng.bool(),
                        is_probe: rng.bool(),
                        is_answer: rng.bool(),
                        was_missed: rng.bool(),
                        asks: rng.bool(),
                        is_failing: rng.bool(),
                    },
                    incarnation: rng.u64(..),
                    sequence: rng.u64(..),
                    nonce: rng.u64(..),
                    interval: Duration::from_millis(100),
                    node: format!("n{}", rng.u8(..50)),
                    interface: "eth0".to_owned(),
                    held: Default::default(),
                    claims: Default::default(),
                };
                heartbeat::frame(&heartbeat.emit(strangers), sender, source, None)
            }
        }
    }

    fn standing(&self) -> Standing {
        let report = self.stations[0].report();
        let owned = (0..ADDRESSES)
            .map(|n| IpAddr::from(Ipv4Addr::from(0x0a01_0000 + n)))
            .filter(|address| self.stations[0].is_owned(*address));
        let nodes = report.nodes.into_iter();
        Standing {
            owned: owned.count(),
            nodes: nodes
                .map(|(name, health)| (name, health.heard_on.is_empty()))
                .collect(),
            claims: self.claims[0].clone(),
        }
    }
}

fn mac(number: u16) -> Mac {
    let [high, low] = number.to_be_bytes();
    Mac([2, 0, 0, 7, high, low])
}

/// Bytes of memory that this process has resident.
fn resident() -> Result<usize> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages = text.split(' ').nth(1).context("statm has a second word")?;
    Ok(pages.parse::<usize>()? * 4096)
}
