//! The ICMPv6 socket of router discovery, and the kernel's word that an interface is another one now.

#![expect(
    clippy::disallowed_methods,
    reason = "driver: opens sockets, asks the kernel"
)]
#![expect(
    unsafe_code,
    reason = "the reactor wants to be told that a descriptor stays open; it is one function here"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSliceMut, Read};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::task::{Context, Poll};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, NetlinkAddr, SockaddrIn6, bind, recvmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::link::Packet;
use crate::wire::ndisc::ALL_NODES;
use crate::wire::radv::{ADVERTISED, ADVERTISEMENT, ALL_ROUTERS, SOLICITATION, SOLICITED};

/// A message as the kernel tells of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub(super) source: Ipv6Addr,
    pub(super) interface: u32,
    pub(super) hop_limit: u8,
    pub(super) octets: &'a [u8],
}

/// One for all interfaces.
#[derive(Debug)]
pub(super) struct Port {
    icmp: AsyncFd<Socket>,
    /// Tells of links and IPv6 addresses; what it tells is not read, but looked at.
    kernel: AsyncFd<Socket>,
    /// Room for what the kernel says of a message.
    control: Vec<u8>,
}

impl Port {
    /// Needs CAP_NET_RAW.
    pub(super) fn open() -> io::Result<Self> {
        let icmp = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        let filter = FILTER.map(|(code, on_true, on_false, value)| {
            SockFilter::new(code as u16, on_true, on_false, value)
        });
        icmp.attach_filter(&filter)?;
        setsockopt(&icmp, sockopt::Ipv6RecvHopLimit, &true)?;
        setsockopt(&icmp, sockopt::Ipv6RecvPacketInfo, &true)?;
        icmp.set_multicast_hops_v6(255)?;
        icmp.set_multicast_loop_v6(false)?;
        let kernel = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, None)?;
        let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV6_IFADDR;
        bind(
            kernel.as_raw_fd(),
            &NetlinkAddr::new(0, groups.cast_unsigned()),
        )?;
        Ok(Self {
            icmp: watched(icmp)?,
            kernel: watched(kernel)?,
            control: nix::cmsg_space!(libc::in6_pktinfo, libc::c_int),
        })
    }

    /// Hands out waiting messages, a bounded number; whether interfaces may be other ones now.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        mut take: impl FnMut(&Arrival<'_>),
    ) -> Poll<io::Result<bool>> {
        let (fd, control) = (self.icmp.as_raw_fd(), &mut self.control);
        let heard = drain(cx, &self.icmp, || read_one(fd, control, &mut take))?;
        let told = drain(cx, &self.kernel, || {
            let read = self.kernel.get_ref().read(&mut [0; 64]);
            match read {
                // The queue was full: something has been said, too.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(()),
                read => read.map(drop),
            }
        })?;
        match heard | told {
            true => Poll::Ready(Ok(told)),
            false => Poll::Pending,
        }
    }

    /// To everybody on the link whom it is for.
    pub(super) fn send(&self, interface: u32, packet: Packet) -> io::Result<()> {
        let (group, octets) = match packet {
            Packet::Advertisement => (ALL_NODES, &ADVERTISEMENT[..]),
            Packet::Solicitation => (ALL_ROUTERS, &SOLICITATION[..]),
        };
        let to = SocketAddrV6::new(group, 0, 0, interface).into();
        self.icmp.get_ref().send_to(octets, &to).map(drop)
    }

    /// Solicitations are sent to the group of routers.
    pub(super) fn join(&self, interface: u32) -> io::Result<()> {
        let joined = self
            .icmp
            .get_ref()
            .join_multicast_v6(&ALL_ROUTERS, interface);
        match joined {
            // A link that was down has kept it.
            Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) => Ok(()),
            joined => joined,
        }
    }
}

/// An interface as it can be used for router discovery.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) index: u32,
    pub(super) is_up: bool,
    /// Its link-local addresses.
    pub(super) link_local: Vec<Ipv6Addr>,
}

/// Those of these names that there are.
pub(super) fn interfaces(names: &BTreeSet<&str>) -> io::Result<BTreeMap<String, Interface>> {
    let mut found: BTreeMap<String, Interface> = BTreeMap::new();
    for entry in getifaddrs()? {
        if !names.contains(entry.interface_name.as_str()) {
            continue;
        }
        let interface = found.entry(entry.interface_name).or_default();
        interface.is_up = entry
            .flags
            .contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING);
        let address = entry.address.as_ref();
        let address = address.and_then(|address| Some(address.as_sockaddr_in6()?.ip()));
        let link_local = address.filter(Ipv6Addr::is_unicast_link_local);
        interface.link_local.extend(link_local);
    }
    // One may have gone meanwhile.
    found.retain(|name, interface| {
        let index = if_nametoindex(name.as_str());
        index.map(|index| interface.index = index).is_ok()
    });
    Ok(found)
}

/// Reads a bounded number of times; whether there was anything. If not, the socket wakes the task.
fn drain(
    cx: &mut Context<'_>,
    socket: &AsyncFd<Socket>,
    mut read: impl FnMut() -> io::Result<()>,
) -> io::Result<bool> {
    let mut has_read = false;
    for _ in 0..MAX_BATCH {
        let Poll::Ready(ready) = socket.poll_read_ready(cx) else {
            break;
        };
        // An error of `try_io` is that it would block: then the socket is not ready any more.
        if let Ok(outcome) = ready?.try_io(|_| read()) {
            outcome?;
            has_read = true;
        }
    }
    Ok(has_read)
}

fn read_one(fd: i32, control: &mut [u8], take: &mut impl FnMut(&Arrival<'_>)) -> io::Result<()> {
    let mut octets = [0; MAX_MESSAGE];
    let mut slices = [IoSliceMut::new(&mut octets)];
    let message = recvmsg::<SockaddrIn6>(fd, &mut slices, Some(control), MsgFlags::MSG_DONTWAIT)?;
    let length = message.bytes;
    let is_whole = !message.flags.contains(MsgFlags::MSG_TRUNC);
    let source = message.address.map(|address| address.ip());
    let (mut hop_limit, mut interface) = (None, None);
    for said in message.cmsgs()? {
        if let ControlMessageOwned::Ipv6HopLimit(value) = said {
            hop_limit = u8::try_from(value).ok();
        } else if let ControlMessageOwned::Ipv6PacketInfo(info) = said {
            interface = Some(info.ipi6_ifindex);
        }
    }
    if let (Some(source), Some(hop_limit), Some(interface), true) =
        (source, hop_limit, interface, is_whole)
    {
        take(&Arrival {
            source,
            interface,
            hop_limit,
            octets: octets.get(..length).unwrap_or_default(),
        });
    }
    Ok(())
}

fn watched(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    socket.set_nonblocking(true)?;
    // SAFETY: a Socket owns its descriptor, which stays open and the same until it is dropped, and the
    // AsyncFd owns the Socket.
    let watched = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
    Ok(watched?)
}

/// Lets the two types through, by the first octet of a message, and nothing else.
const FILTER: [(u32, u8, u8, u32); 5] = [
    (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, 0),
    (libc::BPF_JMP | libc::BPF_JEQ, 1, 0, SOLICITED as u32),
    (libc::BPF_JMP | libc::BPF_JEQ, 0, 1, ADVERTISED as u32),
    (libc::BPF_RET, 0, 0, u32::MAX),
    (libc::BPF_RET, 0, 0, 0),
];

/// Messages read before something else gets its turn.
const MAX_BATCH: usize = 64;
/// Longer than any advertisement on a link with the usual MTU.
const MAX_MESSAGE: usize = 1500;
