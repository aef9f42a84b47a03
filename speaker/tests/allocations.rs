//! Nothing is allocated for a packet, be it answered or not: a segment may carry a hundred thousand a
//! second that are nobody's business, and a node holds ten thousand addresses.
#![expect(
    unsafe_code,
    reason = "an allocator that counts is an allocator, and that is an unsafe trait"
)]
#![expect(clippy::disallowed_methods, reason = "where virtual time begins")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant, SystemTime};

use ferrolb_speaker::layer2::station::{Input, Link, Output, Station};
use ferrolb_speaker::layer2::{Desired, Interfaces, LinkIndex, Settings};
use ferrolb_speaker::wire::arp::{Operation, Packet};
use ferrolb_speaker::wire::ethernet::Mac;
use ferrolb_speaker::wire::ndisc::{Solicitation, solicited_node};

/// Counts what the thread that asks allocates.
struct Counting;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: all of it is the system's allocator; counting changes nothing of what it gives.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.set(ALLOCATED.get() + 1);
        // SAFETY: the caller keeps what `GlobalAlloc` asks of it.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: it came from the system's allocator with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const LINK: LinkIndex = LinkIndex(2);
const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);
const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 2]);
const COUNT: u32 = 5_000;

fn v4(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + number)
}

fn v6(number: u32) -> Ipv6Addr {
    Ipv6Addr::from((0xfd00_u128 << 112) + u128::from(number))
}

/// Holds addresses of both families, and has said so for long enough.
fn station(now: Instant) -> Station {
    let settings = Settings {
        node: "n1".to_owned(),
        key: None,
        interval: Duration::from_millis(100),
        down_after: None,
        reannounce: None,
        exclusion: Default::default(),
    };
    let mut station = Station::new(&settings, 1, now, SystemTime::UNIX_EPOCH);
    let link = Link {
        name: "eth0".to_owned(),
        mac: OURS,
        has_carrier: true,
        addresses: Vec::new(),
        path: BTreeMap::new(),
    };
    station.handle(now, Input::Links(BTreeMap::from([(LINK, link)])));
    let both = |n| [IpAddr::from(v4(n)), IpAddr::from(v6(n))];
    let owned = (0..COUNT).flat_map(both);
    station.handle(
        now,
        Input::Want(Desired {
            owned: owned.map(|address| (address, Interfaces::All)).collect(),
            heartbeat: Some(Interfaces::All),
            ..Desired::default()
        }),
    );
    station
}

fn run(station: &mut Station, mut now: Instant, span: Duration) -> Instant {
    let end = now + span;
    while let Some((at, _)) = station.poll_timeout().filter(|(at, _)| *at <= end) {
        now = at.max(now);
        station.handle_timeout(now);
        while station.poll().is_some() {}
    }
    end
}

fn request(target: Ipv4Addr) -> Vec<u8> {
    Packet {
        operation: Operation::Request,
        sender_hw: CLIENT,
        sender_ip: Ipv4Addr::new(192, 0, 2, 9),
        target_hw: Mac::ZERO,
        target_ip: target,
    }
    .emit(Mac::BROADCAST)
}

fn solicitation(target: Ipv6Addr) -> Vec<u8> {
    let group = solicited_node(target);
    Solicitation {
        source: "fd00::9".parse().expect("an address"),
        destination: group,
        target,
        source_link: Some(CLIENT),
    }
    .emit(CLIENT, Mac::of_ipv6_group(group))
}

#[test]
fn nothing_is_allocated_for_a_packet() {
    let start = Instant::now();
    let mut station = station(start);
    let now = run(&mut station, start, Duration::from_secs(10));
    let packets = |first: u32| {
        let numbers = (0..500).map(move |n| first + n * 7 % COUNT);
        numbers.flat_map(|n| [request(v4(n)), solicitation(v6(n))])
    };
    let mut answers = |frames: &[Vec<u8>]| {
        let before = ALLOCATED.get();
        let mut answers = 0;
        for frame in frames {
            station.handle(now, Input::Frame { link: LINK, frame });
            while let Some(output) = station.poll() {
                answers += usize::from(matches!(output, Output::Answer { .. }));
            }
        }
        let allocated = ALLOCATED.get() - before;
        station.take_counts().for_each(drop);
        (answers, allocated)
    };
    let (ours, others): (Vec<_>, Vec<_>) = (packets(0).collect(), packets(COUNT).collect());
    // What is counted between two tellings needs its room once.
    assert_eq!(answers(&ours).0, 1_000);
    assert_eq!(answers(&others).0, 0);
    assert_eq!(answers(&ours), (1_000, 0));
    assert_eq!(answers(&others), (0, 0));
}
