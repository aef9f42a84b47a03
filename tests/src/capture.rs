//! What a `tcpdump` recording says, from the bytes on the wire and not from anybody's counters: the
//! frames, the messages one side of a BGP session sent, and who announced which address when.
#![expect(clippy::disallowed_methods, reason = "recordings are files")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// The type octet of an UPDATE (RFC 4271 §4.1).
pub const UPDATE: u8 = 2;

/// That of a KEEPALIVE.
pub const KEEPALIVE: u8 = 4;

const BGP_HEADER: usize = 19;

/// How many messages of each type the sender put on its newest connection to port 179 until then.
pub fn bgp_messages(
    recording: &Path,
    sender: Ipv4Addr,
    until: Duration,
) -> Result<BTreeMap<u8, usize>> {
    let bytes = std::fs::read(recording)
        .with_context(|| format!("reading the recording {}", recording.display()))?;
    count(&bytes, sender, until)
}

fn count(recording: &[u8], sender: Ipv4Addr, until: Duration) -> Result<BTreeMap<u8, usize>> {
    let mut streams = Vec::new();
    for (_, frame) in frames(recording)?.take_while(|(at, _)| *at <= until) {
        if let Some(segment) = Segment::parse(frame, sender) {
            collect(&mut streams, segment);
        }
    }
    let stream: &Stream = streams.last().context("no connection was recorded")?;
    messages(&stream.bytes())
}

/// Messages of BGP that were sent together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending {
    /// When they were seen.
    pub at: Duration,
    /// To whom they went.
    pub to: Ipv4Addr,
    /// Their types, in order.
    pub kinds: Vec<u8>,
    /// With the message that does not end in it.
    pub octets: Vec<u8>,
}

/// What one side put on its connections to port 179, in order: every segment that begins with a
/// message. What is the middle of one, or sent again, is left out.
pub fn bgp_sendings(recording: &Path, sender: Ipv4Addr) -> Result<Vec<Sending>> {
    let bytes = std::fs::read(recording)
        .with_context(|| format!("reading the recording {}", recording.display()))?;
    let mut seen = BTreeSet::new();
    let mut sendings = Vec::new();
    for (at, frame) in frames(&bytes)? {
        let Some(segment) = Segment::parse(frame, sender) else {
            continue;
        };
        let kinds = kinds(segment.payload);
        let mut is_new = || {
            seen.insert((
                segment.to,
                segment.port,
                segment.sequence,
                segment.payload.len(),
            ))
        };
        if !kinds.is_empty() && is_new() {
            sendings.push(Sending {
                at,
                to: segment.to,
                kinds,
                octets: segment.payload.to_vec(),
            });
        }
    }
    Ok(sendings)
}

/// The types of the messages that begin in a payload.
fn kinds(mut payload: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let Some(header) = payload.first_chunk::<BGP_HEADER>() {
        let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
        if header[..16] != [0xff; 16] || length < BGP_HEADER {
            break;
        }
        kinds.push(header[18]);
        payload = payload.get(length..).unwrap_or_default();
    }
    kinds
}

/// The frames of a recording, each with its time.
pub fn frames(recording: &[u8]) -> Result<impl Iterator<Item = (Duration, &[u8])>> {
    ensure!(
        recording.starts_with(&[0xd4, 0xc3, 0xb2, 0xa1]),
        "no recording of this machine's tcpdump"
    );
    let mut rest = recording.get(24..).unwrap_or_default();
    Ok(std::iter::from_fn(move || {
        let (head, more) = rest.split_first_chunk::<16>()?;
        // Seconds, microseconds, captured length, length.
        let number = |at: usize| head[at..at + 4].try_into().map(u32::from_le_bytes).ok();
        let length = usize::try_from(number(8)?).ok()?;
        // One that is still being written is the end.
        let frame = more.get(..length)?;
        rest = &more[length..];
        let seconds = Duration::from_secs(number(0)?.into());
        Some((seconds + Duration::from_micros(number(4)?.into()), frame))
    }))
}

/// Something said of an address by ARP or Neighbor Discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Saying {
    /// When it was seen.
    pub at: Duration,
    /// Which address it is about.
    pub address: IpAddr,
    /// Who sent it.
    pub mac: [u8; 6],
    /// What it does.
    pub kind: Kind,
}

/// What somebody does who says something of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Tells everybody unasked where it is (RFC 5227 §2.3, RFC 4861 §7.2.6).
    Announces,
    /// Asks for it without having an address (RFC 5227 §2.1.1, RFC 4862 §5.4.2).
    Probes,
}

/// The announcements and probes of a recording, in order.
pub fn sayings(recording: &Path) -> Result<Vec<Saying>> {
    let bytes = std::fs::read(recording)
        .with_context(|| format!("reading the recording {}", recording.display()))?;
    let sayings = frames(&bytes)?.filter_map(|(at, frame)| {
        let (address, kind) = saying(frame)?;
        let mac = frame.get(6..12)?.try_into().ok()?;
        Some(Saying {
            at,
            address,
            mac,
            kind,
        })
    });
    Ok(sayings.collect())
}

fn saying(frame: &[u8]) -> Option<(IpAddr, Kind)> {
    let four = |at: usize| {
        let octets: [u8; 4] = frame.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets))
    };
    let six = |at: usize| {
        let octets: [u8; 16] = frame.get(at..at + 16)?.try_into().ok()?;
        Some(Ipv6Addr::from(octets))
    };
    match frame.get(12..14)? {
        [8, 6] => {
            let (sender, target) = (four(28)?, four(38)?);
            let kind = match sender {
                _ if sender == target => Kind::Announces,
                Ipv4Addr::UNSPECIFIED => Kind::Probes,
                _ => return None,
            };
            Some((target.into(), kind))
        }
        [0x86, 0xdd] if frame.get(20) == Some(&58) => {
            let kind = match (frame.get(54)?, six(22)?, six(38)?) {
                (136, _, to) if to == ALL_NODES => Kind::Announces,
                (135, Ipv6Addr::UNSPECIFIED, _) => Kind::Probes,
                _ => return None,
            };
            Some((six(62)?.into(), kind))
        }
        _ => None,
    }
}

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A TCP segment to port 179.
struct Segment<'a> {
    to: Ipv4Addr,
    port: u16,
    sequence: u32,
    is_first: bool,
    payload: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Of an Ethernet frame with IPv4 from `sender`.
    fn parse(frame: &'a [u8], sender: Ipv4Addr) -> Option<Self> {
        let packet = frame.get(14..).filter(|_| frame[12..14] == [8, 0])?;
        if *packet.get(9)? != 6 || packet.get(12..16)? != sender.octets() {
            return None;
        }
        let total = usize::from(u16::from_be_bytes(packet.get(2..4)?.try_into().ok()?));
        // With segmentation left to a device that is none, the length may say 0; of a long one not
        // everything may have been recorded.
        let packet = match total {
            0 => packet,
            total => packet.get(..total).unwrap_or(packet),
        };
        let tcp = packet.get(usize::from(packet[0] & 15) * 4..)?;
        let header = usize::from(tcp.get(12)? >> 4) * 4;
        let number = |at: usize| Some(u16::from_be_bytes(tcp.get(at..at + 2)?.try_into().ok()?));
        let to: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
        (number(2)? == 179).then_some(Self {
            to: to.into(),
            port: number(0)?,
            sequence: u32::from_be_bytes(tcp.get(4..8)?.try_into().ok()?),
            is_first: tcp.get(13)? & 2 != 0,
            payload: tcp.get(header..)?,
        })
    }
}

/// One direction of a connection: payloads by their distance from the first octet.
struct Stream {
    port: u16,
    start: u32,
    segments: BTreeMap<u32, Vec<u8>>,
}

impl Stream {
    /// In order, what was sent twice taken once, up to the first gap.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = Vec::new();
        for (at, payload) in &self.segments {
            let Some(known) = bytes.len().checked_sub(*at as usize) else {
                break;
            };
            bytes.extend(payload.get(known..).unwrap_or_default());
        }
        bytes
    }
}

fn collect(streams: &mut Vec<Stream>, segment: Segment<'_>) {
    if segment.is_first {
        let is_again = |stream: &Stream| {
            stream.port == segment.port && stream.start == segment.sequence.wrapping_add(1)
        };
        if !streams.last().is_some_and(is_again) {
            streams.push(Stream {
                port: segment.port,
                start: segment.sequence.wrapping_add(1),
                segments: BTreeMap::new(),
            });
        }
        return;
    }
    let mut newest = streams.iter_mut().rev();
    if let Some(stream) = newest.find(|stream| stream.port == segment.port) {
        let at = segment.sequence.wrapping_sub(stream.start);
        let known = stream.segments.entry(at).or_default();
        if known.len() < segment.payload.len() {
            *known = segment.payload.to_vec();
        }
    }
}

fn messages(mut bytes: &[u8]) -> Result<BTreeMap<u8, usize>> {
    let mut counts = BTreeMap::new();
    while bytes.len() >= BGP_HEADER {
        ensure!(bytes[..16] == [0xff; 16], "the stream is out of step");
        let length = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
        ensure!(length >= BGP_HEADER, "a message of length {length}");
        *counts.entry(bytes[18]).or_default() += 1;
        bytes = bytes.get(length..).unwrap_or_default();
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn frame(sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([8, 0]);
        frame.extend([0x45, 0]);
        frame.extend((40 + payload.len() as u16).to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0x80, 0, 0, 179]);
        frame.extend(sequence.to_be_bytes());
        frame.extend([0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
        frame.extend(payload);
        frame
    }

    fn recording(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![0xd4, 0xc3, 0xb2, 0xa1];
        bytes.extend([0; 20]);
        for frame in frames {
            bytes.extend([0; 8]);
            bytes.extend((frame.len() as u32).to_le_bytes());
            bytes.extend((frame.len() as u32).to_le_bytes());
            bytes.extend(frame);
        }
        bytes
    }

    fn message(kind: u8) -> Vec<u8> {
        let mut bytes = vec![0xff; 16];
        bytes.extend([0, 21, kind, 7, 7]);
        bytes
    }

    #[test]
    fn messages_are_counted_across_segments_and_retransmissions() {
        let stream = [message(1), message(UPDATE), message(UPDATE), message(4)].concat();
        // The sequence numbers wrap on the way, and the middle is sent twice.
        let start = u32::MAX - 9;
        let at = |offset: usize| start.wrapping_add(1).wrapping_add(offset as u32);
        let frames = [
            frame(start, 2, &[]),
            frame(at(0), 16, &stream[..30]),
            frame(at(20), 16, &stream[20..50]),
            frame(at(30), 16, &stream[30..50]),
            frame(at(50), 16, &stream[50..]),
        ];
        let counts = count(&recording(&frames), SENDER, Duration::MAX).unwrap();
        assert_eq!(counts, BTreeMap::from([(1, 1), (UPDATE, 2), (4, 1)]));
    }

    #[test]
    fn sendings_are_segments_that_begin_with_a_message_each_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recording");
        let two = [message(4), message(UPDATE)].concat();
        let frames = [
            frame(1, 16, &two),
            frame(1, 16, &two),
            frame(43, 16, &message(UPDATE)[5..]),
            frame(59, 16, &[]),
            frame(59, 16, &message(UPDATE)),
        ];
        std::fs::write(&path, recording(&frames)).unwrap();
        let sendings = bgp_sendings(&path, SENDER).unwrap();
        let kinds: Vec<_> = sendings
            .iter()
            .map(|sending| sending.kinds.clone())
            .collect();
        assert_eq!(kinds, [vec![KEEPALIVE, UPDATE], vec![UPDATE]]);
        assert_eq!(sendings[0].to, Ipv4Addr::new(10, 0, 0, 2));
        assert_eq!(sendings[1].octets, message(UPDATE));
    }

    #[test]
    fn the_newest_connection_counts() {
        let frames = [
            frame(100, 2, &[]),
            frame(101, 16, &message(UPDATE)),
            frame(9000, 2, &[]),
            frame(9001, 16, &message(1)),
        ];
        let counts = count(&recording(&frames), SENDER, Duration::MAX).unwrap();
        assert_eq!(counts, BTreeMap::from([(1, 1)]));
        assert!(count(b"nonsense", SENDER, Duration::MAX).is_err());
    }
}
