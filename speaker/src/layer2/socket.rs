//! The packet sockets of an interface, and its multicast groups.
//!
//! Each interface has four AF_PACKET sockets, each for a protocol, because a socket that is bound
//! to a protocol never sees our own frames, and each with a filter in the kernel, because the other
//! frames of a segment must cost nothing.

#![expect(clippy::disallowed_methods, reason = "driver: opens sockets")]
#![expect(
    unsafe_code,
    reason = "binding an AF_PACKET socket and joining its groups have no safe wrapper"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::net::Ipv6Addr;
use std::os::fd::AsRawFd;
use std::task::{Context, Poll};

use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use thiserror::Error;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::layer2::LinkIndex;
use crate::layer2::filter::{self, Instruction};
use crate::layer2::heartbeat::GROUP;
use crate::wire::ethernet::{self, Mac};
use crate::wire::ndisc;

/// Hands out waiting frames: a bounded number from each socket in turn.
pub(super) fn poll_frames(
    cx: &mut Context<'_>,
    ports: &mut BTreeMap<LinkIndex, Port>,
    mut take: impl FnMut(LinkIndex, &[u8]),
) -> Poll<()> {
    let mut has_read = false;
    for (link, port) in ports {
        for socket in &port.sockets {
            if port.failure.is_some() {
                break;
            }
            let read = read_batch(cx, socket, |frame| take(*link, frame));
            has_read |= !matches!(read, Ok(0));
            port.failure = read.err();
        }
    }
    match has_read {
        true => Poll::Ready(()),
        false => Poll::Pending,
    }
}

/// How many frames were read; if none, the socket wakes the task.
fn read_batch(
    cx: &mut Context<'_>,
    socket: &AsyncFd<Socket>,
    mut take: impl FnMut(&[u8]),
) -> io::Result<usize> {
    let mut buffer = [0; MAX_FRAME];
    let mut count = 0;
    while count < MAX_BATCH {
        let Poll::Ready(ready) = socket.poll_read_ready(cx) else {
            break;
        };
        match ready?.try_io(|socket| socket.get_ref().read(&mut buffer)) {
            Ok(Ok(length)) => take(buffer.get(..length).unwrap_or_default()),
            // The interface went down, which is said once; netlink says so too.
            Ok(Err(error)) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
            Ok(Err(error)) => return Err(error),
            Err(_would_block) => continue,
        }
        count += 1;
    }
    Ok(count)
}

/// The sockets of one interface.
pub(super) struct Port {
    pub(super) name: String,
    /// ARP, neighbour solicitations and advertisements, heartbeats; frames leave through the first.
    sockets: [AsyncFd<Socket>; 4],
    pub(super) groups: Groups,
    /// Why a socket cannot be read any more.
    pub(super) failure: Option<io::Error>,
}

/// Why an interface cannot be used.
#[derive(Debug, Error)]
#[error("failed to open a packet socket on {interface}")]
pub(super) struct PortError {
    interface: String,
    #[source]
    source: io::Error,
}

impl Port {
    pub(super) fn open(link: LinkIndex, name: &str) -> Result<Self, PortError> {
        let open = |ether_type, filter: &[Instruction]| {
            packet_socket(link, ether_type, filter).map_err(|source| PortError {
                interface: name.to_owned(),
                source,
            })
        };
        let arp = open(ethernet::ARP, &filter::arp(link))?;
        let solicitations = open(ethernet::IPV6, &filter::solicitations(link))?;
        let advertisements = open(ethernet::IPV6, &filter::advertisements(link))?;
        let heartbeats = open(ethernet::IPV4, &filter::heartbeats(link))?;
        let all_nodes = Mac::of_ipv6_group(ndisc::ALL_NODES);
        for (socket, group) in [
            (&heartbeats, Mac::of_ipv4_group(GROUP)),
            (&advertisements, all_nodes),
        ] {
            let join = packet_membership(socket, link, group, libc::PACKET_ADD_MEMBERSHIP);
            join.map_err(|source| PortError {
                interface: name.to_owned(),
                source,
            })?;
        }
        Ok(Self {
            name: name.to_owned(),
            sockets: [arp, solicitations, advertisements, heartbeats],
            groups: Groups::default(),
            failure: None,
        })
    }

    /// False once the interface was deleted: the kernel unbinds its sockets, and for good.
    pub(super) fn is_bound_to(&self, link: LinkIndex) -> bool {
        let [socket, ..] = &self.sockets;
        bound_to(socket.get_ref()).is_ok_and(|bound| bound == Some(link))
    }

    pub(super) fn send(&self, frame: &[u8]) -> io::Result<()> {
        let [socket, ..] = &self.sockets;
        socket.get_ref().send(frame).map(|_sent| ())
    }
}

/// Solicited-node groups joined on one interface, in two ways, each as far as it can be.
///
/// The membership of the packet socket opens the interface's own filter, whatever becomes of IPv6
/// there; that of a UDP socket makes the kernel report to MLD-snooping bridges. A socket has room
/// for some hundreds; then another one is opened.
#[derive(Default)]
pub(super) struct Groups {
    heard: BTreeMap<Ipv6Addr, ()>,
    /// By which of the sockets.
    reported: BTreeMap<Ipv6Addr, usize>,
    sockets: Vec<Socket>,
    /// Something could not be joined, and somebody was told.
    pub(super) has_failed: bool,
}

impl Port {
    /// The first error is returned; what could not be joined is tried again by the next call.
    pub(super) fn sync_groups(
        &mut self,
        link: LinkIndex,
        wanted: &BTreeSet<Ipv6Addr>,
    ) -> io::Result<()> {
        let [_, solicitations, ..] = &self.sockets;
        let Groups {
            heard,
            reported,
            sockets,
            ..
        } = &mut self.groups;
        let membership = |group, option| {
            let mac = Mac::of_ipv6_group(group);
            packet_membership(solicitations, link, mac, option)
        };
        for (group, ()) in take_unwanted(heard, wanted) {
            log_leaving(group, membership(group, libc::PACKET_DROP_MEMBERSHIP));
        }
        for (group, at) in take_unwanted(reported, wanted) {
            if let Some(socket) = sockets.get(at) {
                log_leaving(group, socket.leave_multicast_v6(&group, link.0));
            }
        }
        let add = libc::PACKET_ADD_MEMBERSHIP;
        let is_heard = join_each(heard, wanted, |group| membership(group, add));
        let is_reported = join_each(reported, wanted, |group| report(sockets, link, group));
        is_heard.and(is_reported)
    }
}

fn take_unwanted<T>(
    joined: &mut BTreeMap<Ipv6Addr, T>,
    wanted: &BTreeSet<Ipv6Addr>,
) -> Vec<(Ipv6Addr, T)> {
    let groups = joined.keys().copied();
    let gone: Vec<Ipv6Addr> = groups.filter(|group| !wanted.contains(group)).collect();
    let gone = gone.into_iter();
    gone.filter_map(|group| Some((group, joined.remove(&group)?)))
        .collect()
}

/// One group that cannot be joined keeps no other out.
fn join_each<T>(
    joined: &mut BTreeMap<Ipv6Addr, T>,
    wanted: &BTreeSet<Ipv6Addr>,
    mut join: impl FnMut(Ipv6Addr) -> io::Result<T>,
) -> io::Result<()> {
    let mut outcome = Ok(());
    for group in wanted {
        if joined.contains_key(group) {
            continue;
        }
        match join(*group) {
            Ok(membership) => {
                joined.insert(*group, membership);
            }
            Err(error) => outcome = outcome.and(Err(error)),
        }
    }
    outcome
}

fn log_leaving(group: Ipv6Addr, outcome: io::Result<()>) {
    if let Err(error) = outcome {
        tracing::debug!(%group, error = &error as &dyn std::error::Error, "group not left");
    }
}

/// Joins by the first socket that has room, and says by which.
fn report(sockets: &mut Vec<Socket>, link: LinkIndex, group: Ipv6Addr) -> io::Result<usize> {
    for (at, socket) in sockets.iter().enumerate().rev() {
        if socket.join_multicast_v6(&group, link.0).is_ok() {
            return Ok(at);
        }
    }
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    socket.join_multicast_v6(&group, link.0)?;
    sockets.push(socket);
    Ok(sockets.len() - 1)
}

/// An AF_PACKET socket that sees one protocol on one interface, through a filter.
fn packet_socket(
    link: LinkIndex,
    ether_type: u16,
    filter: &[Instruction],
) -> io::Result<AsyncFd<Socket>> {
    // Protocol 0 until it is bound: nothing comes in before the filter is there.
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    let filter = filter
        .iter()
        .map(|i| SockFilter::new(i.code, i.on_true, i.on_false, i.value));
    socket.attach_filter(&filter.collect::<Vec<_>>())?;
    socket.set_nonblocking(true)?;
    socket.bind(&packet_address(link, ether_type)?)?;
    // SAFETY: a Socket owns its descriptor, which stays open and the same until it is dropped, and
    // the AsyncFd owns the Socket.
    let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
    Ok(socket)
}

fn packet_address(link: LinkIndex, ether_type: u16) -> io::Result<SockAddr> {
    let size = size_of::<libc::sockaddr_ll>();
    let index = i32::try_from(link.0).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the storage is zeroed, and larger and no less aligned than any socket address; what
    // is written to it is a sockaddr_ll, whose size is put into the length.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            storage
                .cast::<libc::sockaddr_ll>()
                .write(libc::sockaddr_ll {
                    sll_family: libc::AF_PACKET as u16,
                    sll_protocol: ether_type.to_be(),
                    sll_ifindex: index,
                    sll_hatype: 0,
                    sll_pkttype: 0,
                    sll_halen: 0,
                    sll_addr: [0; 8],
                });
            *length = size as libc::socklen_t;
            Ok(())
        })
    }?;
    Ok(address)
}

/// The interface that an AF_PACKET socket is bound to.
fn bound_to(socket: &Socket) -> io::Result<Option<LinkIndex>> {
    let address = socket.local_addr()?;
    // SAFETY: the address has room for any socket address and began as zeroes, and that of an
    // AF_PACKET socket is a sockaddr_ll.
    let index = unsafe { (*address.as_ptr().cast::<libc::sockaddr_ll>()).sll_ifindex };
    Ok(u32::try_from(index).ok().map(LinkIndex))
}

/// Lets frames to a group through the interface's own filter, or no more.
fn packet_membership(
    socket: &AsyncFd<Socket>,
    link: LinkIndex,
    group: Mac,
    option: libc::c_int,
) -> io::Result<()> {
    let Mac(octets) = group;
    let mut address = [0; 8];
    for (to, from) in address.iter_mut().zip(octets) {
        *to = from;
    }
    let request = libc::packet_mreq {
        mr_ifindex: i32::try_from(link.0).map_err(|_| io::ErrorKind::InvalidInput)?,
        mr_type: libc::PACKET_MR_MULTICAST as u16,
        mr_alen: 6,
        mr_address: address,
    };
    // SAFETY: the descriptor is open, and pointer and length are those of a packet_mreq that
    // outlives the call.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            (&raw const request).cast(),
            size_of::<libc::packet_mreq>() as libc::socklen_t,
        )
    };
    match outcome {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Longer than any frame that is answered or believed.
const MAX_FRAME: usize = 2048;

/// Frames read from one socket before the others get their turn.
const MAX_BATCH: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_group_that_cannot_be_joined_keeps_no_other_out_and_is_tried_again() {
        let group = |n| Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, n);
        let wanted = BTreeSet::from([1, 2, 3].map(group));
        let mut joined = BTreeMap::from([(group(3), 0), (group(4), 7)]);
        assert_eq!(take_unwanted(&mut joined, &wanted), [(group(4), 7)]);

        let mut tried = Vec::new();
        let outcome = join_each(&mut joined, &wanted, |group| {
            tried.push(group);
            match tried.len() {
                1 => Err(io::ErrorKind::OutOfMemory.into()),
                n => Ok(n),
            }
        });
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::OutOfMemory);
        assert_eq!(tried, [1, 2].map(group));
        assert_eq!(joined, BTreeMap::from([(group(2), 2), (group(3), 0)]));

        join_each(&mut joined, &wanted, |_| Ok(9)).unwrap();
        assert_eq!(joined[&group(1)], 9);
        assert!(joined.keys().eq(&wanted));
    }
}
