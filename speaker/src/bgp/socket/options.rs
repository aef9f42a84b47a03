//! Socket options that no library at hand has: keys of TCP MD5 (RFC 2385) and TCP-AO (RFC 5925), and
//! the least TTL of GTSM (RFC 5082). The layouts are those of `linux/tcp.h`.

#![expect(unsafe_code, reason = "one call of setsockopt")]

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use ferrolb_crds::model::{AoAlgorithm, Secret, TcpAo};
use libc::c_int;

use super::in_words;

/// Why segments cannot be authenticated.
#[derive(Debug, thiserror::Error)]
pub(in crate::bgp) enum AuthenticationError {
    /// It was built without.
    #[error("this kernel has no TCP MD5 signatures (CONFIG_TCP_MD5SIG)")]
    NoMd5,
    /// It was built without, or is older than 6.7.
    #[error("this kernel has no TCP-AO (CONFIG_TCP_AO)")]
    NoAo,
    /// Of TCP-AO.
    #[error("this kernel has no {name}, which the session's TCP-AO key is for")]
    NoAlgorithm {
        /// As the kernel calls it.
        name: &'static str,
    },
    /// Validation lets no such key pass.
    #[error("the key is longer than {} octets", Secret::LONGEST)]
    TooLong,
    /// Anything else.
    #[error("failed to set the key of the session: {}", in_words(.0))]
    Other(#[source] io::Error),
}

/// Has segments from and to a peer signed with a key, from now on; `None`: not any more.
///
/// On a socket before it connects, on a connection, where the peer has to do the same before its hold
/// timer runs out, and for each peer on a socket that listens. The address has the socket's family.
pub(in crate::bgp) fn set_md5_key(
    socket: &impl AsFd,
    peer: IpAddr,
    key: Option<&Secret>,
) -> Result<(), AuthenticationError> {
    let octets = key.map_or("", Secret::expose).as_bytes();
    let (length, padded) = padded(octets)?;
    let option = Md5 {
        address: Address::of(peer),
        flags: 0,
        prefix_length: 0,
        key_length: u16::from(length),
        interface: 0,
        key: padded,
    };
    let set = set(socket, libc::IPPROTO_TCP, libc::TCP_MD5SIG, &option);
    set.or_else(|error| match error.raw_os_error() {
        // There was none to delete.
        Some(libc::ENOENT) if key.is_none() => Ok(()),
        Some(libc::ENOPROTOOPT) if key.is_none() => Ok(()),
        Some(libc::ENOPROTOOPT) => Err(AuthenticationError::NoMd5),
        _ => Err(AuthenticationError::Other(error)),
    })
}

/// The same with a key of TCP-AO, on a socket that is not connected or listens.
pub(in crate::bgp) fn add_ao_key(
    socket: &impl AsFd,
    peer: IpAddr,
    ids: &TcpAo,
    key: &Secret,
) -> Result<(), AuthenticationError> {
    let (length, padded) = padded(key.expose().as_bytes())?;
    let name = match ids.algorithm {
        AoAlgorithm::HmacSha1 => "hmac(sha1)",
        // With this name, and not `cmac(aes)`, the kernel derives the key as RFC 5926 §3.1.2 says.
        AoAlgorithm::AesCmac => "cmac(aes128)",
    };
    let mut algorithm = [0; 64];
    algorithm
        .iter_mut()
        .zip(name.bytes())
        .for_each(|(to, from)| *to = from);
    let option = Ao {
        address: Address::of(peer),
        algorithm,
        interface: 0,
        flags: 0,
        reserved: 0,
        prefix_length: if peer.is_ipv4() { 32 } else { 128 },
        send_id: ids.send_id,
        receive_id: ids.receive_id,
        mac_length: MAC_LENGTH,
        key_flags: 0,
        key_length: length,
        key: padded,
    };
    let set = set(socket, libc::IPPROTO_TCP, TCP_AO_ADD_KEY, &option);
    set.map_err(|error| match error.raw_os_error() {
        Some(libc::ENOPROTOOPT) => AuthenticationError::NoAo,
        Some(libc::ENOENT) => AuthenticationError::NoAlgorithm { name },
        _ => AuthenticationError::Other(error),
    })
}

/// Has packets with a lower TTL, or hop limit, dropped.
pub(in crate::bgp) fn set_least_ttl(socket: &impl AsFd, peer: IpAddr, least: u8) -> io::Result<()> {
    let least = c_int::from(least);
    match peer {
        IpAddr::V4(_) => set(socket, libc::IPPROTO_IP, libc::IP_MINTTL, &least),
        IpAddr::V6(_) => set(socket, libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT, &least),
    }
}

/// A value that is nothing but its octets: every one of them is initialised.
trait Plain {}
impl Plain for c_int {}
impl Plain for Md5 {}
impl Plain for Ao {}

fn set<T: Plain>(socket: &impl AsFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let descriptor = socket.as_fd().as_raw_fd();
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the descriptor is open for as long as it is borrowed, the kernel reads `length` octets
    // from `value`, which has as many, all of them initialised, and keeps no pointer to them.
    let done = unsafe {
        libc::setsockopt(
            descriptor,
            level,
            name,
            std::ptr::from_ref(value).cast(),
            length,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

type Key = [u8; Secret::LONGEST];

fn padded(key: &[u8]) -> Result<(u8, Key), AuthenticationError> {
    let mut padded = [0; Secret::LONGEST];
    let room = padded.get_mut(..key.len());
    room.ok_or(AuthenticationError::TooLong)?
        .copy_from_slice(key);
    // 80 at most.
    Ok((key.len() as u8, padded))
}

/// `struct tcp_md5sig`.
#[repr(C)]
struct Md5 {
    address: Address,
    flags: u8,
    prefix_length: u8,
    key_length: u16,
    interface: c_int,
    key: Key,
}

/// `struct tcp_ao_add`.
#[repr(C)]
struct Ao {
    address: Address,
    algorithm: [u8; 64],
    interface: i32,
    /// `set_current`, `set_rnext`: a new connection takes the only key there is.
    flags: u32,
    reserved: u16,
    prefix_length: u8,
    send_id: u8,
    receive_id: u8,
    mac_length: u8,
    key_flags: u8,
    key_length: u8,
    key: Key,
}

/// `struct __kernel_sockaddr_storage`.
#[repr(C, align(8))]
struct Address([u8; 128]);

impl Address {
    /// Without a port, which keys do not have.
    fn of(address: IpAddr) -> Self {
        let mut octets = [0; 128];
        let mut put = |at: usize, part: &[u8]| octets[at..at + part.len()].copy_from_slice(part);
        match address {
            IpAddr::V4(address) => {
                put(0, &(libc::AF_INET as u16).to_ne_bytes());
                put(4, &address.octets());
            }
            IpAddr::V6(address) => {
                put(0, &(libc::AF_INET6 as u16).to_ne_bytes());
                put(8, &address.octets());
            }
        }
        Self(octets)
    }
}

const TCP_AO_ADD_KEY: c_int = 38;
/// 96 bits (RFC 5926 §3.2).
const MAC_LENGTH: u8 = 12;

#[cfg(test)]
mod tests {
    use std::mem::offset_of;
    use std::net::{Ipv4Addr, Ipv6Addr};

    use socket2::{Domain, Socket, Type};

    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[expect(clippy::disallowed_methods, reason = "asks the kernel")]
    fn socket(domain: Domain) -> Socket {
        Socket::new(domain, Type::STREAM, None).unwrap()
    }

    /// The numbers are those of `linux/tcp.h`, computed by hand.
    #[test]
    fn layouts_are_the_kernels() {
        assert_eq!((size_of::<Md5>(), align_of::<Md5>()), (216, 8));
        assert_eq!(offset_of!(Md5, key_length), 130);
        assert_eq!(offset_of!(Md5, interface), 132);
        assert_eq!(offset_of!(Md5, key), 136);

        assert_eq!((size_of::<Ao>(), align_of::<Ao>()), (288, 8));
        assert_eq!(offset_of!(Ao, algorithm), 128);
        assert_eq!(offset_of!(Ao, interface), 192);
        assert_eq!(offset_of!(Ao, flags), 196);
        assert_eq!(offset_of!(Ao, reserved), 200);
        assert_eq!(offset_of!(Ao, prefix_length), 202);
        assert_eq!(offset_of!(Ao, send_id), 203);
        assert_eq!(offset_of!(Ao, receive_id), 204);
        assert_eq!(offset_of!(Ao, mac_length), 205);
        assert_eq!(offset_of!(Ao, key_flags), 206);
        assert_eq!(offset_of!(Ao, key_length), 207);
        assert_eq!(offset_of!(Ao, key), 208);
    }

    #[test]
    fn addresses_are_written_as_the_kernel_reads_them() {
        let four = Address::of(Ipv4Addr::new(192, 0, 2, 1).into()).0;
        assert_eq!(four[..8], [2, 0, 0, 0, 192, 0, 2, 1]);
        let six = Address::of(Ipv6Addr::LOCALHOST.into()).0;
        assert_eq!(six[..2], [10, 0]);
        assert_eq!(six[8..24], Ipv6Addr::LOCALHOST.octets());
        assert_eq!(six[24..], [0; 104]);
    }

    #[test]
    fn the_kernel_takes_and_gives_up_md5_keys_of_up_to_80_octets() {
        for (domain, peer) in [
            (Domain::IPV4, IpAddr::from(Ipv4Addr::new(192, 0, 2, 1))),
            (Domain::IPV6, IpAddr::from(Ipv6Addr::LOCALHOST)),
        ] {
            let socket = socket(domain);
            for key in [
                Some(secret("one")),
                Some(secret(&"x".repeat(80))),
                None,
                None,
            ] {
                set_md5_key(&socket, peer, key.as_ref()).unwrap();
            }
            let error = set_md5_key(&socket, peer, Some(&secret(&"x".repeat(81)))).unwrap_err();
            assert_eq!(error.to_string(), "the key is longer than 80 octets");
            set_least_ttl(&socket, peer, 255).unwrap();
        }
    }

    /// Where the kernel has TCP-AO it takes the key; where not, it is said, and nothing falls back.
    #[test]
    fn a_kernel_without_tcp_ao_is_named_as_the_cause() {
        for algorithm in [AoAlgorithm::HmacSha1, AoAlgorithm::AesCmac] {
            let socket = socket(Domain::IPV4);
            let ids = TcpAo {
                send_id: 1,
                receive_id: 2,
                algorithm,
            };
            let peer = Ipv4Addr::new(192, 0, 2, 1).into();
            match add_ao_key(&socket, peer, &ids, &secret("hunter2")) {
                Ok(()) => assert!(set_md5_key(&socket, peer, Some(&secret("x"))).is_err()),
                Err(error) => {
                    let shown = format!("{error} {error:?}");
                    assert!(error.to_string().contains("this kernel has no"), "{shown}");
                    assert!(!shown.contains("hunter2"), "{shown}");
                }
            }
        }
    }
}
