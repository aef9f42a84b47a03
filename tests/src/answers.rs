//! Who answers for an address, as a recorder sees it that is none of those who may: somebody asks many
//! times a second, and everything on the segment is recorded.
#![expect(clippy::disallowed_methods, reason = "recordings are files")]

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::capture;
use crate::lab::Lab;
use crate::patience;

/// How many ask, each once a second and one after the other.
const ASKERS: u32 = 20;

/// How long an answer belongs to the request before it.
const ANSWER: Duration = Duration::from_millis(40);

/// Requests between which it is not known who would have answered.
const GAP: Duration = Duration::from_millis(150);

/// An address that is being asked for.
#[derive(Debug)]
pub struct Recorder {
    recording: PathBuf,
    address: Ipv4Addr,
    asker: String,
}

/// A request, and whose answers came.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Request {
    at: Duration,
    answers: BTreeSet<[u8; 6]>,
    /// How long the first of them took.
    delay: Option<Duration>,
}

/// What was recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers(Vec<Request>);

impl Recorder {
    /// Asks from the segment's client until the laboratory ends, and records.
    pub fn start(lab: &mut Lab, address: Ipv4Addr) -> Result<Self> {
        let recording = lab.record("64")?;
        Self::start_beside(lab, address, recording)
    }

    /// The same, beside a recording that goes on already.
    pub fn start_beside(lab: &mut Lab, address: Ipv4Addr, recording: PathBuf) -> Result<Self> {
        for number in 0..ASKERS {
            let mut command = lab.segment.neighbour.namespace.command("arping");
            command.args(["-b", "-q", "-I", "eth0", &address.to_string()]);
            lab.start(&format!("arping-{number}"), command)?;
            patience::pause(Duration::from_secs(1) / ASKERS)?;
        }
        Ok(Self {
            recording,
            address,
            asker: lab.segment.neighbour.mac.clone(),
        })
    }

    /// What was answered until now; nothing more is recorded.
    pub fn stop(self, lab: &mut Lab) -> Result<Answers> {
        lab.stop_recording()?;
        let bytes = std::fs::read(&self.recording)
            .with_context(|| format!("reading {}", self.recording.display()))?;
        let octets = self
            .asker
            .split(':')
            .map(|octet| u8::from_str_radix(octet, 16));
        let octets = octets.collect::<Result<Vec<u8>, _>>()?;
        let asker = octets
            .try_into()
            .ok()
            .context("six octets are a hardware address")?;
        Ok(Answers::of(capture::frames(&bytes)?, self.address, asker))
    }
}

impl Answers {
    fn of<'a>(
        frames: impl Iterator<Item = (Duration, &'a [u8])>,
        address: Ipv4Addr,
        asker: [u8; 6],
    ) -> Self {
        let mut requests: Vec<Request> = Vec::new();
        for (at, frame) in frames {
            let Some(packet) = frame.get(14..42).filter(|_| frame[12..14] == [8, 6]) else {
                continue;
            };
            let sender: [u8; 6] = packet[8..14].try_into().unwrap_or_default();
            let (source, target) = (&packet[14..18], &packet[24..28]);
            match packet[6..8] {
                [0, 1] if sender == asker && target == address.octets() => {
                    requests.push(Request {
                        at,
                        answers: BTreeSet::new(),
                        delay: None,
                    });
                }
                [0, 2] if source == address.octets() => {
                    let last = requests.last_mut();
                    if let Some(last) = last.filter(|last| at < last.at + ANSWER) {
                        last.answers.insert(sender);
                        last.delay.get_or_insert(at - last.at);
                    }
                }
                _ => {}
            }
        }
        Self(requests)
    }

    /// How many requests there were.
    pub fn requests(&self) -> usize {
        self.0.len()
    }

    /// How long it took to answer each that was asked from then to then; one that nobody answered in
    /// time counts as if that had been the answer's time.
    pub fn delays(&self, from: Duration, to: Duration) -> Vec<Duration> {
        let asked = self.0.iter();
        let asked = asked.filter(|request| (from..to).contains(&request.at));
        asked
            .map(|request| request.delay.unwrap_or(ANSWER))
            .collect()
    }

    /// How many of them more than one answered.
    pub fn doubled(&self) -> usize {
        let doubled = self.0.iter().filter(|request| request.answers.len() > 1);
        doubled.count()
    }

    /// The longest time in which more than one answered, and the longest in which nobody did: from the
    /// first such request of a run to the first other one.
    pub fn longest(&self) -> (Duration, Duration) {
        let two = longest(&self.0, |request| request.answers.len() > 1);
        (two, longest(&self.0, |request| request.answers.is_empty()))
    }
}

fn longest(requests: &[Request], is_it: impl Fn(&Request) -> bool) -> Duration {
    let mut longest = Duration::ZERO;
    let mut since: Option<Duration> = None;
    let mut before = Duration::ZERO;
    for request in requests {
        if request.at > before + GAP {
            since = None;
        }
        before = request.at;
        match (since, is_it(request)) {
            (None, true) => since = Some(request.at),
            (Some(start), is_it) => {
                longest = longest.max(request.at - start);
                since = is_it.then_some(start);
            }
            (None, false) => {}
        }
    }
    longest
}

/// What speakers come, go, fall silent and return, at random.
#[derive(Debug)]
pub struct Membership {
    rng: fastrand::Rng,
    nodes: Vec<State>,
}

/// How a speaker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Frozen,
    Gone,
}

impl Membership {
    /// All speakers run.
    pub fn new(nodes: usize, seed: u64) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            nodes: vec![State::Running; nodes],
        }
    }

    /// One thing that happens to one speaker; one at least goes on running.
    pub fn change(&mut self, lab: &mut Lab) -> Result<()> {
        let running = self.nodes.iter().filter(|state| **state == State::Running);
        let is_last = running.count() == 1;
        let index = self.rng.usize(..self.nodes.len());
        let number = index + 1;
        self.nodes[index] = match (self.nodes[index], self.rng.u8(..3)) {
            (State::Running, _) if is_last => State::Running,
            (State::Running, 0) => {
                lab.speaker(number)?.kill();
                State::Gone
            }
            (State::Running, 1) => {
                lab.speaker(number)?.terminate(LEAVING)?;
                State::Gone
            }
            (State::Running, _) => {
                lab.speaker(number)?.signal(libc::SIGSTOP);
                State::Frozen
            }
            (State::Frozen, _) => {
                lab.speaker(number)?.signal(libc::SIGCONT);
                State::Running
            }
            (State::Gone, _) => {
                lab.start_speaker(number)?;
                State::Running
            }
        };
        patience::pause(Duration::from_millis(self.rng.u64(50..1_500)))
    }

    /// All run again, and have had the time to agree.
    pub fn restore(&mut self, lab: &mut Lab) -> Result<()> {
        for (index, state) in self.nodes.iter_mut().enumerate() {
            match std::mem::replace(state, State::Running) {
                State::Running => {}
                State::Frozen => lab.speaker(index + 1)?.signal(libc::SIGCONT),
                State::Gone => lab.start_speaker(index + 1)?,
            }
        }
        patience::pause(Duration::from_secs(2))
    }
}

/// How long a speaker may take to leave.
const LEAVING: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 240);
    const ASKER: [u8; 6] = [2, 0, 0, 0, 0, 9];

    fn arp(operation: u8, sender: [u8; 6], source: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![0xff; 12];
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
        frame.extend(sender);
        frame.extend(source);
        frame.extend([0; 6]);
        frame.extend(target);
        frame
    }

    /// Requests at 20 a second, and who answers each.
    fn answers(whose: &[&[u8]]) -> Answers {
        let mut frames = Vec::new();
        for (number, senders) in whose.iter().enumerate() {
            let at = Duration::from_millis(50 * number as u64);
            frames.push((at, arp(1, ASKER, [192, 168, 1, 200], ADDRESS.octets())));
            for sender in *senders {
                let answer = arp(2, [*sender; 6], ADDRESS.octets(), [192, 168, 1, 200]);
                frames.push((at + Duration::from_millis(1), answer));
            }
        }
        let frames = frames.iter().map(|(at, frame)| (*at, frame.as_slice()));
        Answers::of(frames, ADDRESS, ASKER)
    }

    #[test]
    fn two_at_once_are_found_and_timed() {
        let heard = answers(&[&[1], &[1, 2], &[2, 1], &[2], &[], &[2], &[1, 2]]);
        assert_eq!((heard.requests(), heard.doubled()), (7, 3));
        let (two, none) = heard.longest();
        assert_eq!(two, Duration::from_millis(100));
        assert_eq!(none, Duration::from_millis(50));
    }

    #[test]
    fn an_answer_takes_as_long_as_the_first_and_none_as_long_as_is_waited() {
        let heard = answers(&[&[1], &[2, 1], &[], &[1]]);
        let (from, to) = (Duration::from_millis(50), Duration::from_millis(150));
        let one = Duration::from_millis(1);
        assert_eq!(heard.delays(from, to), [one, ANSWER]);
    }

    #[test]
    fn what_others_ask_and_say_does_not_count() {
        let other = arp(2, [1; 6], [192, 168, 1, 241], [0; 4]);
        let frames = [(Duration::ZERO, other.as_slice())];
        let heard = Answers::of(frames.into_iter(), ADDRESS, ASKER);
        assert_eq!(heard, Answers::default());
    }
}
