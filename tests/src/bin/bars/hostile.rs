//! Ten million packets that pretend to be heartbeats, into the machine that a speaker runs: random ones,
//! recorded ones played again, and forged ones without the key, from a thousand senders.
#![expect(clippy::disallowed_methods, reason = "measures time")]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ferrolb_crds::model::Secret;
use ferrolb_speaker::layer2::ClaimsByAddress;
use ferrolb_speaker::layer2::heartbeat::{self, Authenticator, Flags, Heartbeat};
use ferrolb_speaker::layer2::station::Station;
use ferrolb_speaker::wire::ethernet::Mac;
use ferrolb_tests::crowd::{Crowd, Member};

use super::{Figure, repeated};

const PACKETS: usize = 10_000_000;
const SENDERS: u16 = 1_000;
const ADDRESSES: u32 = 1_000;

/// 100,000 packets a second.
const PACE: Duration = Duration::from_micros(10);

/// Two nodes with a key, and somebody without one.
struct Segment {
    now: Instant,
    crowd: Crowd,
    /// What the first of them knows of the other's.
    claims: ClaimsByAddress,
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
        let members = (1..=2).map(|number: u8| {
            let base = u32::from(number) << 16;
            let owned = (0..ADDRESSES).map(|n| Ipv4Addr::from(0x0a00_0000 + base + n).into());
            Member {
                node: format!("n{number}"),
                mac: mac(number.into()),
                v4: Ipv4Addr::new(192, 168, 1, number),
                owned: owned.collect(),
            }
        });
        let key = Secret::new("what the nodes share".to_owned());
        Self {
            now,
            crowd: Crowd::new(now, members, &key, None),
            claims: ClaimsByAddress::new(),
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
            match self.crowd.poll_timeout().filter(|at| *at < end) {
                Some(at) => self.now = self.now.max(at),
                None => break,
            }
        }
        self.now = end;
    }

    /// Everything that is due now, and what follows from it.
    fn settle(&mut self) {
        let said = self.crowd.settle(self.now);
        self.sent += said.len();
        if self.is_recording {
            self.tape.extend(said);
        }
        let claims = self.first().take_claims();
        self.claims.extend(claims);
    }

    /// The first of the two.
    fn first(&mut self) -> &mut Station {
        self.crowd.station(0).expect("there are two")
    }

    /// So many hostile packets, one after the other, while the two go on.
    fn suffer(&mut self, packets: usize, rng: &mut fastrand::Rng) {
        let strangers = Authenticator::new(Some(&Secret::new("a guess".to_owned())));
        for number in 0..packets {
            let frame = self.hostile(number % 5, rng, &strangers);
            self.crowd.hear(self.now, &frame);
            self.now += PACE;
            if self.crowd.poll_timeout().is_some_and(|at| at <= self.now) {
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

    fn standing(&mut self) -> Standing {
        let first = self.first();
        let report = first.report();
        let owned = (0..ADDRESSES)
            .map(|n| IpAddr::from(Ipv4Addr::from(0x0a01_0000 + n)))
            .filter(|address| first.is_owned(*address));
        let nodes = report.nodes.into_iter();
        let owned = owned.count();
        Standing {
            owned,
            nodes: nodes
                .map(|(name, health)| (name, health.heard_on.is_empty()))
                .collect(),
            claims: self.claims.clone(),
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
