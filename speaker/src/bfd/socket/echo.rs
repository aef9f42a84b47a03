//! The packet socket of the echo function, and what is to be known for it.

use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::task::{Context, Poll};

use nix::net::if_::if_nametoindex;
use socket2::{Domain, SockAddr, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::super::echo::PORT;
use super::interface_toward;

/// Where echo packets leave, and come back to before the kernel looks at them.
#[derive(Debug)]
pub(in super::super) struct EchoPort {
    socket: AsyncFd<Socket>,
}

/// How an echo packet gets to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Way {
    interface: u32,
    mac: [u8; 6],
}

impl EchoPort {
    /// Needs CAP_NET_RAW.
    pub(in super::super) fn open() -> io::Result<Self> {
        // Protocol 0 until it is bound: nothing comes in before the filter is there.
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
        let filter = FILTER.map(|(code, on_true, on_false, value)| {
            SockFilter::new(code as u16, on_true, on_false, value)
        });
        socket.attach_filter(&filter)?;
        socket.set_nonblocking(true)?;
        socket.bind(&link_address(0, [0; 6])?)?;
        // SAFETY: a Socket owns its descriptor, which stays open and the same until it is dropped, and
        // the AsyncFd owns the Socket.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        Ok(Self { socket })
    }

    /// Sends an IPv4 packet to a neighbour, whatever its destination is.
    pub(in super::super) fn send(&self, way: Way, packet: &[u8]) -> io::Result<()> {
        let to = link_address(way.interface, way.mac)?;
        self.socket.get_ref().send_to(packet, &to).map(drop)
    }

    /// Hands out waiting packets, at most so many; how many there were. If none, the socket wakes the
    /// task.
    pub(in super::super) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        most: usize,
        mut take: impl FnMut(&[u8]),
    ) -> io::Result<usize> {
        let mut octets = [0; 128];
        let mut count = 0;
        while count < most {
            let Poll::Ready(ready) = self.socket.poll_read_ready(cx) else {
                break;
            };
            match ready?.try_io(|socket| socket.get_ref().read(&mut octets)) {
                Ok(Ok(length)) => take(octets.get(..length).unwrap_or_default()),
                // The interface went down, which is said once.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => continue,
            }
            count += 1;
        }
        Ok(count)
    }
}

/// How to get to a neighbour, once the kernel knows its hardware address.
pub(in super::super) fn way_to(peer: Ipv4Addr) -> Option<Way> {
    let interface = interface_toward(peer.into()).ok()??;
    let table = std::fs::read_to_string("/proc/thread-self/net/arp").ok()?;
    let mac = table
        .lines()
        .find_map(|line| mac_of(line, peer, &interface))?;
    let interface = if_nametoindex(interface.as_str()).ok()?;
    Some(Way { interface, mac })
}

/// Whether this host sends back what a neighbour sends to itself by way of it.
pub(in super::super) fn returns_echo(peer: Ipv4Addr) -> bool {
    let interface = interface_toward(peer.into()).ok().flatten();
    interface.is_some_and(|interface| {
        let path = format!("/proc/sys/net/ipv4/conf/{interface}/forwarding");
        std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "1")
    })
}

/// A line is the address, the hardware type, the flags, the hardware address, a mask and the
/// interface. Bit 2 of the flags: it is complete.
fn mac_of(line: &str, peer: Ipv4Addr, interface: &str) -> Option<[u8; 6]> {
    let mut fields = line.split_whitespace();
    let (address, _kind, flags) = (fields.next()?, fields.next()?, fields.next()?);
    let (mac, _mask, there) = (fields.next()?, fields.next()?, fields.next()?);
    let flags = u32::from_str_radix(flags.strip_prefix("0x")?, 16).ok()?;
    if address.parse() != Ok(peer) || there != interface || flags & 2 == 0 {
        return None;
    }
    let octets = mac
        .split(':')
        .map(|octet| u8::from_str_radix(octet, 16).ok());
    octets.collect::<Option<Vec<u8>>>()?.try_into().ok()
}

/// IPv4 to or from a hardware address; interface 0 is any.
fn link_address(interface: u32, mac: [u8; 6]) -> io::Result<SockAddr> {
    let [a, b, c, d, e, f] = mac;
    let index = i32::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the storage is zeroed, and larger and no less aligned than any socket address; what
    // is written to it is a sockaddr_ll, whose size is put into the length.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            storage
                .cast::<libc::sockaddr_ll>()
                .write(libc::sockaddr_ll {
                    sll_family: libc::AF_PACKET as u16,
                    sll_protocol: (libc::ETH_P_IP as u16).to_be(),
                    sll_ifindex: index,
                    sll_hatype: 0,
                    sll_pkttype: 0,
                    sll_halen: 6,
                    sll_addr: [a, b, c, d, e, f, 0, 0],
                });
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })
    }?;
    Ok(address)
}

/// A plain IPv4 header, UDP, no fragment, to the port of echo packets, for this host; the rest of the
/// host's traffic costs a few instructions of the kernel's.
const FILTER: [(u32, u8, u8, u32); 12] = [
    (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, 0),
    (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 9, 0x45),
    (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, 9),
    (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 7, 17),
    (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0, 6),
    (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 5, 0, 0x3fff),
    (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0, 22),
    (
        libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
        0,
        3,
        PORT as u32,
    ),
    (
        libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
        0,
        0,
        PACKET_TYPE,
    ),
    (
        libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
        0,
        1,
        FOR_THIS_HOST,
    ),
    (libc::BPF_RET | libc::BPF_K, 0, 0, 0xffff),
    (libc::BPF_RET | libc::BPF_K, 0, 0, 0),
];

/// SKF_AD_OFF + SKF_AD_PKTTYPE.
const PACKET_TYPE: u32 = (-0x1000_i32 + 4) as u32;
/// PACKET_HOST.
const FOR_THIS_HOST: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hardware_address_is_read_from_the_kernel_s_table() {
        let line = "192.0.2.1        0x1         0x2         02:00:00:00:01:01     *        eth0";
        let peer = Ipv4Addr::new(192, 0, 2, 1);
        assert_eq!(mac_of(line, peer, "eth0"), Some([2, 0, 0, 0, 1, 1]));
        assert_eq!(mac_of(line, peer, "eth1"), None);
        assert_eq!(mac_of(line, Ipv4Addr::new(192, 0, 2, 2), "eth0"), None);
        let incomplete = line.replace("0x2 ", "0x0 ");
        assert_eq!(mac_of(&incomplete, peer, "eth0"), None);
        let head = "IP address       HW type     Flags       HW address            Mask     Device";
        assert_eq!(mac_of(head, peer, "eth0"), None);
    }

    #[test]
    fn every_jump_of_the_filter_leads_to_its_end() {
        let ends = FILTER.len() - 1;
        for (at, (code, on_true, on_false, _)) in FILTER.iter().enumerate() {
            if code & 7 == libc::BPF_JMP {
                let (holds, fails) = (
                    at + 1 + usize::from(*on_true),
                    at + 1 + usize::from(*on_false),
                );
                let is_clear = code & 0x40 != 0;
                assert_eq!(
                    if is_clear { holds } else { fails },
                    ends,
                    "instruction {at}"
                );
            }
        }
    }
}
