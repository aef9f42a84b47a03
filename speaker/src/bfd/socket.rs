//! UDP for BFD: the ports that packets come to, a socket for each session that they leave from, and
//! the packet socket of the echo function.

#![expect(
    clippy::disallowed_methods,
    reason = "driver: opens sockets, asks the kernel"
)]
#![expect(
    unsafe_code,
    reason = "the address of an AF_PACKET socket and the thread's priority have no safe form in the \
              libraries at hand; each is one function here"
)]

mod echo;

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket as StdSocket};
use std::os::fd::AsRawFd;
use std::task::{Context, Poll};

use ferrolb_crds::model::Family;
use ipnet::{Ipv4Net, Ipv6Net};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};
use tokio::net::UdpSocket;

pub(super) use self::echo::{EchoPort, Way, returns_echo, way_to};
use super::demultiplexer::{Arrival, Device};
use super::filter::Instruction;
use super::{CLASS, Hops, Reach, SessionKey};

/// A port that packets come to.
#[derive(Debug)]
pub(super) struct Receiver {
    socket: UdpSocket,
    hops: Hops,
    /// What it is bound to, and the number that this had then.
    device: Option<(Device, u32)>,
    /// Room for what the kernel says of a datagram.
    control: Vec<u8>,
}

impl Receiver {
    /// The port of RFC 5881 §4, or that of RFC 5883 §5, for all addresses of a family. Shared with
    /// nobody: two of whom each gets some of the packets would both be wrong. Others of ours may have
    /// it by other devices.
    pub(super) fn open(
        hops: Hops,
        family: Family,
        device: Option<&str>,
        others: &[&Self],
    ) -> io::Result<Self> {
        let (domain, any) = match family {
            Family::V4 => (Domain::IPV4, IpAddr::from(Ipv4Addr::UNSPECIFIED)),
            Family::V6 => (Domain::IPV6, IpAddr::from(Ipv6Addr::UNSPECIFIED)),
        };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        match family {
            Family::V4 => {
                setsockopt(&socket, sockopt::Ipv4RecvTtl, &true)?;
                setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
            }
            Family::V6 => {
                socket.set_only_v6(true)?;
                setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true)?;
                setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            }
        }
        socket.set_nonblocking(true)?;
        let device = device.map(bound_to).transpose()?;
        if let Some((device, _)) = &device {
            socket.bind_device(Some(device.name.as_bytes()))?;
        }
        bind_beside(&socket, SocketAddr::new(any, port(hops)), others)?;
        Ok(Self {
            socket: UdpSocket::from_std(socket.into())?,
            hops,
            device,
            control: nix::cmsg_space!(libc::in6_pktinfo, libc::c_int),
        })
    }

    /// Hands out waiting datagrams, at most so many; how many there were. If none, the socket wakes
    /// the task.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
        mut take: impl FnMut(&Arrival<'_>),
    ) -> io::Result<usize> {
        let mut count = 0;
        while count < most {
            let Poll::Ready(ready) = self.socket.poll_recv_ready(cx) else {
                break;
            };
            ready?;
            let Self {
                socket,
                hops,
                device,
                control,
            } = self;
            let fd = socket.as_raw_fd();
            let to = (*hops, device.as_ref().map(|(device, _)| device));
            let read = socket.try_io(tokio::io::Interest::READABLE, || {
                read_one(fd, to, control, &mut take)
            });
            match read {
                Ok(()) => count += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }

    /// Whether what it is bound to is still the same: another device of that name has another number.
    pub(super) fn is_current(&self) -> bool {
        self.device
            .as_ref()
            .is_none_or(|(device, index)| if_nametoindex(device.name.as_str()) == Ok(*index))
    }

    /// Has the kernel drop what a program does not let through; none: nothing.
    pub(super) fn guard(&self, program: Option<&[Instruction]>) -> io::Result<()> {
        let socket = SockRef::from(&self.socket);
        let Some(program) = program else {
            return socket.detach_filter();
        };
        let program = program.iter();
        let program = program.map(|(code, on_true, on_false, value)| {
            SockFilter::new(*code, *on_true, *on_false, *value)
        });
        socket.attach_filter(&program.collect::<Vec<_>>())
    }

    /// As `poll_read` without waiting, whatever the reactor knows: what has arrived counts before a
    /// deadline does.
    pub(super) fn read(&mut self, most: usize, mut take: impl FnMut(&Arrival<'_>)) -> usize {
        let fd = self.socket.as_raw_fd();
        let to = (self.hops, self.device.as_ref().map(|(device, _)| device));
        let mut one = || read_one(fd, to, &mut self.control, &mut take);
        (0..most).take_while(|_| one().is_ok()).count()
    }
}

fn read_one(
    fd: i32,
    (hops, device): (Hops, Option<&Device>),
    control: &mut [u8],
    take: &mut impl FnMut(&Arrival<'_>),
) -> io::Result<()> {
    let mut octets = [0; MAX_DATAGRAM];
    let mut slices = [IoSliceMut::new(&mut octets)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrStorage>(fd, &mut slices, Some(control), flags)?;
    let length = message.bytes;
    let source = message.address.as_ref().and_then(address_of);
    let (mut ttl, mut place) = (None, None);
    for said in message.cmsgs()? {
        if let ControlMessageOwned::Ipv4Ttl(value) | ControlMessageOwned::Ipv6HopLimit(value) = said
        {
            ttl = u8::try_from(value).ok();
        } else if let ControlMessageOwned::Ipv4PacketInfo(info) = said {
            let destination = Ipv4Addr::from_bits(u32::from_be(info.ipi_addr.s_addr));
            let interface = u32::try_from(info.ipi_ifindex).unwrap_or_default();
            place = Some((IpAddr::from(destination), interface));
        } else if let ControlMessageOwned::Ipv6PacketInfo(info) = said {
            let destination = Ipv6Addr::from(info.ipi6_addr.s6_addr);
            place = Some((destination.into(), info.ipi6_ifindex));
        }
    }
    let (Some(source), Some(ttl), Some((destination, interface))) = (source, ttl, place) else {
        // The kernel was asked for all of it: this cannot be, and is nobody's packet.
        return Ok(());
    };
    take(&Arrival {
        hops,
        source,
        destination,
        interface,
        device,
        ttl,
        octets: octets.get(..length).unwrap_or_default(),
    });
    Ok(())
}

/// Where the packets of one session leave from.
#[derive(Debug)]
pub(super) struct Sender {
    socket: StdSocket,
}

impl Sender {
    /// RFC 5881 §4: one source port of the dynamic range for the whole session, and TTL 255. Over several
    /// hops, too (RFC 5883 §5): who has a least TTL counts from there.
    pub(super) fn open(key: &SessionKey, hops: Hops) -> io::Result<Self> {
        let domain = match key.peer {
            IpAddr::V4(_) => Domain::IPV4,
            IpAddr::V6(_) => Domain::IPV6,
        };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        let (any, scope) = match key.peer {
            IpAddr::V4(_) => {
                socket.set_ttl_v4(u32::from(u8::MAX))?;
                socket.set_tos_v4(u32::from(CLASS))?;
                (IpAddr::from(Ipv4Addr::UNSPECIFIED), 0)
            }
            IpAddr::V6(_) => {
                socket.set_unicast_hops_v6(u32::from(u8::MAX))?;
                setsockopt(&socket, sockopt::Ipv6TClass, &i32::from(CLASS))?;
                (
                    Ipv6Addr::UNSPECIFIED.into(),
                    key.interface.unwrap_or_default(),
                )
            }
        };
        socket.set_nonblocking(true)?;
        if let Some(vrf) = &key.vrf {
            socket.bind_device(Some(vrf.as_bytes()))?;
        }
        bind_anywhere(&socket, key.local.unwrap_or(any), scope)?;
        socket.connect(&scoped(key.peer, port(hops), scope).into())?;
        Ok(Self {
            socket: socket.into(),
        })
    }

    /// Nothing waits: what the kernel does not take is lost, as any packet may be.
    pub(super) fn send(&self, packet: &[u8]) -> io::Result<()> {
        match self.socket.send(packet) {
            // Nobody listens there, or the queue is full: the same as a packet that is lost.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionRefused | io::ErrorKind::WouldBlock
                ) =>
            {
                Ok(())
            }
            sent => sent.map(drop),
        }
    }

    /// Our own address and port.
    pub(super) fn local(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// Beside others of ours, and of nobody else's: the kernel looks at this option when one is bound.
fn bind_beside(socket: &Socket, at: SocketAddr, others: &[&Receiver]) -> io::Result<()> {
    let all = || {
        let others = others.iter().map(|other| SockRef::from(&other.socket));
        others.chain([SockRef::from(socket)])
    };
    let share = |is_shared| all().try_for_each(|socket| socket.set_reuse_address(is_shared));
    share(!others.is_empty())?;
    let bound = socket.bind(&at.into());
    share(false)?;
    bound
}

/// A device of this name, and its number.
fn bound_to(name: &str) -> io::Result<(Device, u32)> {
    let index = if_nametoindex(name)?;
    let about = std::fs::read_to_string(format!("/sys/class/net/{name}/uevent"));
    let device = Device {
        name: name.to_owned(),
        // Without a sysfs it is taken for what it is meant to be.
        is_vrf: about.map_or(true, |about| {
            about.lines().any(|line| line == "DEVTYPE=vrf")
        }),
    };
    Ok((device, index))
}

/// To some port of the dynamic range that is free.
fn bind_anywhere(socket: &Socket, address: IpAddr, scope: u32) -> io::Result<()> {
    let mut outcome = Ok(());
    for _ in 0..PORTS_TRIED {
        let port = fastrand::u16(FIRST_DYNAMIC_PORT..);
        outcome = socket.bind(&scoped(address, port, scope).into());
        let is_taken = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
        if !outcome.as_ref().is_err_and(is_taken) {
            break;
        }
    }
    outcome
}

fn scoped(address: IpAddr, port: u16, scope: u32) -> SocketAddr {
    match address {
        IpAddr::V4(_) => SocketAddr::new(address, port),
        IpAddr::V6(address) => SocketAddrV6::new(address, port, 0, scope).into(),
    }
}

/// How far away a peer is, by the networks of this host's interfaces.
pub(super) fn hops(key: &SessionKey) -> io::Result<Hops> {
    Ok(match key.reach {
        Reach::SingleHop => Hops::Single,
        Reach::Multihop => Hops::Multiple,
        Reach::AsFound => match interface_toward(key.peer)? {
            Some(_) => Hops::Single,
            None => Hops::Multiple,
        },
    })
}

/// The interface that has an address in the same network.
pub(super) fn interface_toward(peer: IpAddr) -> io::Result<Option<String>> {
    let mut addresses = getifaddrs()?;
    let found = addresses.find(|entry| {
        let address = entry.address.as_ref().and_then(address_of);
        let mask = entry.netmask.as_ref().and_then(address_of);
        address
            .zip(mask)
            .is_some_and(|(address, mask)| is_in_network(peer, address, mask))
    });
    Ok(found.map(|entry| entry.interface_name))
}

fn is_in_network(peer: IpAddr, address: IpAddr, mask: IpAddr) -> bool {
    match (peer, address, mask) {
        (IpAddr::V4(peer), IpAddr::V4(address), IpAddr::V4(mask)) => {
            let network = Ipv4Net::with_netmask(address, mask);
            network.is_ok_and(|network| network.contains(&peer))
        }
        (IpAddr::V6(peer), IpAddr::V6(address), IpAddr::V6(mask)) => {
            let network = Ipv6Net::with_netmask(address, mask);
            network.is_ok_and(|network| network.contains(&peer))
        }
        (IpAddr::V4(_) | IpAddr::V6(_), _, _) => false,
    }
}

fn address_of(storage: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = storage.as_sockaddr_in().map(|address| address.ip().into());
    v4.or_else(|| storage.as_sockaddr_in6().map(|address| address.ip().into()))
}

/// Lets this thread run before all others that have no such priority. The threads that it starts do
/// not inherit it.
pub(super) fn run_first() -> io::Result<()> {
    let parameters = libc::sched_param {
        sched_priority: PRIORITY,
    };
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: 0 is the calling thread, and the parameters outlive the call.
    match unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// RFC 5881 §4, RFC 5883 §5.
pub(super) fn port(hops: Hops) -> u16 {
    match hops {
        Hops::Single => 3784,
        Hops::Multiple => 4784,
    }
}

const FIRST_DYNAMIC_PORT: u16 = 49_152;
const PORTS_TRIED: usize = 16;
/// Longer than any packet with an authentication section.
const MAX_DATAGRAM: usize = 512;
/// Of 1 to 99: enough to be before everybody else, and behind what the kernel itself runs.
const PRIORITY: libc::c_int = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_one_hop_away_if_it_is_in_a_network_of_an_interface() {
        let key = |peer: &str, reach| SessionKey {
            peer: peer.parse().unwrap(),
            interface: None,
            vrf: None,
            local: None,
            reach,
        };
        let found = |peer| hops(&key(peer, Reach::AsFound)).unwrap();
        assert_eq!(found("127.0.0.9"), Hops::Single);
        assert_eq!(found("198.51.100.1"), Hops::Multiple);
        assert_eq!(
            hops(&key("127.0.0.9", Reach::Multihop)).unwrap(),
            Hops::Multiple
        );
        assert_eq!(
            hops(&key("198.51.100.1", Reach::SingleHop)).unwrap(),
            Hops::Single
        );
    }

    #[test]
    fn a_session_sends_with_ttl_255_and_class_6_from_one_port_of_the_dynamic_range() {
        let key = SessionKey {
            peer: Ipv4Addr::LOCALHOST.into(),
            interface: None,
            vrf: None,
            local: Some(Ipv4Addr::new(127, 0, 0, 7).into()),
            reach: Reach::SingleHop,
        };
        let sender = Sender::open(&key, Hops::Single).unwrap();
        let local = sender.local().unwrap();
        assert_eq!(local.ip(), key.local.unwrap());
        assert!(local.port() >= FIRST_DYNAMIC_PORT);
        let options = SockRef::from(&sender.socket);
        assert_eq!(options.ttl_v4().unwrap(), 255);
        assert_eq!(options.tos_v4().unwrap(), 0xc0);
        // Nobody listens, which is no failure of ours.
        sender.send(&[0]).unwrap();
        sender.send(&[0]).unwrap();
    }
}
