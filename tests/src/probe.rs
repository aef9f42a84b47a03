//! Asking at a steady rate, and what the answers say about reachability.
//!
//! A probe writes one line per request, `MICROSECONDS NODE` with the start in Unix time, or `-` in
//! the node's place when nobody answered in time.
#![expect(clippy::disallowed_methods, reason = "measures time on the wire")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::netns::Namespace;
use crate::patience::is_interrupted;

/// How long an answer may take.
pub const PATIENCE: Duration = Duration::from_millis(250);

/// What became of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Start, in Unix time.
    pub at: Duration,
    /// Who answered.
    pub node: Option<String>,
}

/// All requests of one probe, by start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// In the order they were sent.
    pub requests: Vec<Request>,
}

impl Record {
    /// Reads what a probe wrote.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("reading the record of a probe, {}", path.display()))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self> {
        let mut requests = Vec::new();
        for line in text.lines() {
            let (at, node) = line.split_once(' ').context("a record without a node")?;
            requests.push(Request {
                at: Duration::from_micros(at.parse()?),
                node: (node != "-").then(|| node.to_owned()),
            });
        }
        requests.sort_by_key(|request| request.at);
        Ok(Self { requests })
    }

    /// How many nobody answered.
    pub fn lost(&self) -> usize {
        let lost = self
            .requests
            .iter()
            .filter(|request| request.node.is_none());
        lost.count()
    }

    /// The longest time without any answer: from the first request of a run that went unanswered to
    /// the first one answered after it.
    pub fn outage(&self) -> Duration {
        let mut longest = Duration::ZERO;
        let mut since = None;
        for request in &self.requests {
            let start = *since.get_or_insert(request.at);
            longest = longest.max(request.at - start);
            if request.node.is_some() {
                since = None;
            }
        }
        longest
    }

    /// From the first unanswered request to the last: how long anything at all went wrong.
    pub fn trouble(&self) -> Duration {
        let mut lost = self
            .requests
            .iter()
            .filter(|request| request.node.is_none());
        let Some(first) = lost.next() else {
            return Duration::ZERO;
        };
        lost.next_back()
            .map_or(Duration::ZERO, |last| last.at - first.at)
    }

    /// How many requests each node answered.
    pub fn answered(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for node in self
            .requests
            .iter()
            .filter_map(|request| request.node.as_ref())
        {
            *counts.entry(node.clone()).or_default() += 1;
        }
        counts
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for request in &self.requests {
            let node = request.node.as_deref().unwrap_or("-");
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{} {node}", request.at.as_micros());
        }
        text
    }
}

/// One thing to ask again and again.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Where.
    pub address: SocketAddr,
    /// How often.
    pub interval: Duration,
}

/// Sends HTTP requests, each on its own connection and none waiting for another, until SIGTERM.
pub fn http(target: Target, record: &Path) -> Result<()> {
    let requests = Arc::new(Mutex::new(Vec::new()));
    every(target.interval, |at| {
        let requests = Arc::clone(&requests);
        thread::spawn(move || {
            let node = get(target.address, PATIENCE).and_then(|body| node_of(&body));
            keep(&requests, Request { at, node });
        });
    });
    thread::sleep(PATIENCE + Duration::from_millis(100));
    let requests = requests.lock().unwrap_or_else(PoisonError::into_inner);
    finish(requests.clone(), record)
}

/// Sends UDP datagrams until SIGTERM, of so many flows by turns.
pub fn udp(target: Target, flows: usize, record: &Path) -> Result<()> {
    let any = any_of(target.address);
    let requests = Arc::new(Mutex::new(Vec::<Request>::new()));
    let mut sockets = Vec::new();
    for _ in 0..flows.max(1) {
        let socket = UdpSocket::bind((any, 0)).context("binding the probe's socket")?;
        let (listening, requests) = (socket.try_clone()?, Arc::clone(&requests));
        // It ends with the process; it holds nothing that must be saved.
        thread::spawn(move || listen(&listening, &requests));
        sockets.push(socket);
    }
    let mut turns = sockets.iter().cycle();
    every(target.interval, |at| {
        let mut requests = requests.lock().unwrap_or_else(PoisonError::into_inner);
        let number = requests.len().to_string();
        requests.push(Request { at, node: None });
        drop(requests);
        if let Some(socket) = turns.next() {
            // What cannot be sent (no route, an ICMP error) counts as unanswered.
            let _ = socket.send_to(number.as_bytes(), target.address);
        }
    });
    thread::sleep(PATIENCE);
    let requests = requests.lock().unwrap_or_else(PoisonError::into_inner);
    finish(requests.clone(), record)
}

/// Datagrams that nobody answers, sent at a steady rate until stopped.
#[derive(Debug)]
pub struct Flood {
    is_over: Arc<AtomicBool>,
    sender: thread::JoinHandle<()>,
    sent: Arc<AtomicU64>,
    began: Instant,
}

/// Sends so many datagrams a second to an address, from a namespace.
pub fn flood(from: &Namespace, target: SocketAddr, rate: u32) -> Result<Flood> {
    let (is_over, sent) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let (end, count) = (Arc::clone(&is_over), Arc::clone(&sent));
    let began = Instant::now();
    let sender = from.spawn_inside(move || {
        let Ok(socket) = UdpSocket::bind((any_of(target), 0)) else {
            return;
        };
        while !end.load(Ordering::Relaxed) {
            let due = began.elapsed().as_secs_f64() * f64::from(rate);
            while (count.load(Ordering::Relaxed) as f64) < due && !end.load(Ordering::Relaxed) {
                // What is lost is not counted by whoever should be kept from noticing.
                let _ = socket.send_to(&[0; 18], target);
                count.fetch_add(1, Ordering::Relaxed);
            }
            thread::sleep(Duration::from_micros(200));
        }
    })?;
    Ok(Flood {
        is_over,
        sender,
        sent,
        began,
    })
}

impl Flood {
    /// Ends it, and says how many a second there were.
    pub fn stop(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        let rate = self.sent.load(Ordering::Relaxed) as f64 / self.began.elapsed().as_secs_f64();
        // It sends and counts, and has nothing to tell.
        drop(self.sender.join());
        rate as u64
    }
}

/// The body of an HTTP answer, if one comes in time.
pub fn get(address: SocketAddr, patience: Duration) -> Option<String> {
    let deadline = Instant::now() + patience;
    let mut stream = TcpStream::connect_timeout(&address, patience).ok()?;
    let left = deadline.saturating_duration_since(Instant::now());
    stream
        .set_read_timeout(Some(left.max(Duration::from_millis(1))))
        .ok()?;
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some(body.to_owned())
}

/// What comes back for one datagram, if something does in time.
pub fn datagram(address: SocketAddr) -> Option<String> {
    let socket = UdpSocket::bind((any_of(address), 0)).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    socket.connect(address).ok()?;
    socket.send(b"hello").ok()?;
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// The node that wrote the body of an answer.
pub fn node_of(body: &str) -> Option<String> {
    let mut words = body.split_whitespace();
    let node = words.find_map(|word| word.strip_prefix("node="))?;
    Some(node.to_owned())
}

fn any_of(address: SocketAddr) -> IpAddr {
    match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn every(interval: Duration, mut send: impl FnMut(Duration)) {
    let mut next = Instant::now();
    while !is_interrupted() {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        send(unix_time());
        next += interval;
    }
}

fn listen(socket: &UdpSocket, requests: &Mutex<Vec<Request>>) {
    let mut buffer = [0; 512];
    loop {
        let Ok(length) = socket.recv(&mut buffer) else {
            continue;
        };
        let answer = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let Some((node, number)) = answer.split_once(' ') else {
            continue;
        };
        let mut requests = requests.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = number
            .parse()
            .ok()
            .and_then(|number: usize| requests.get_mut(number));
        if let Some(request) = asked.filter(|request| unix_time() < request.at + PATIENCE) {
            request.node = Some(node.to_owned());
        }
    }
}

fn keep(requests: &Mutex<Vec<Request>>, request: Request) {
    let mut requests = requests.lock().unwrap_or_else(PoisonError::into_inner);
    requests.push(request);
}

fn finish(mut requests: Vec<Request>, record: &Path) -> Result<()> {
    requests.sort_by_key(|request| request.at);
    let text = Record { requests }.text();
    std::fs::write(record, text).with_context(|| format!("writing {}", record.display()))
}

fn unix_time() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(outcomes: &str) -> Record {
        let request = |(number, outcome): (usize, char)| Request {
            at: Duration::from_millis(10 * number as u64),
            node: (outcome != '-').then(|| outcome.to_string()),
        };
        Record {
            requests: outcomes.chars().enumerate().map(request).collect(),
        }
    }

    #[test]
    fn the_outage_is_the_longest_run_up_to_the_next_answer() {
        assert_eq!(record("aaaa").outage(), Duration::ZERO);
        assert_eq!(record("a-a---a").outage(), Duration::from_millis(30));
        assert_eq!(record("a---").outage(), Duration::from_millis(20));
    }

    #[test]
    fn trouble_spans_from_the_first_loss_to_the_last() {
        assert_eq!(record("a-aa-a").trouble(), Duration::from_millis(30));
        assert_eq!(record("a-a-a").lost(), 2);
        assert_eq!(record("aaa").trouble(), Duration::ZERO);
    }

    #[test]
    fn an_answer_names_its_node() {
        let body = "node=n1 port=80 client=::1\n";
        assert_eq!(node_of(body).as_deref(), Some("n1"));
        assert_eq!(node_of("nothing"), None);
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let written = record("ab-a");
        assert_eq!(Record::parse(&written.text()).unwrap(), written);
        assert_eq!(written.answered()["a"], 2);
    }
}
