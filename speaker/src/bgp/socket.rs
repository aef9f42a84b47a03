//! TCP for BGP: source, TTL, and what the host says about our end.

#![expect(
    unsafe_code,
    reason = "getifaddrs has no safe form in the libraries at hand; it is one function here"
)]
#![expect(clippy::disallowed_methods, reason = "driver: asks the kernel")]

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ferrolb_crds::model::PeerAsn;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::Settings;
use super::connection::Endpoint;

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// Nothing was sent.
    #[error("failed to use source address {address}: {}", in_words(.source))]
    Bind {
        /// What was asked for.
        address: IpAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// Nothing was sent.
    #[error("failed to prepare a socket: {}", in_words(.0))]
    Prepare(#[source] io::Error),
    /// The peer, or the way to it.
    #[error("{}", in_words(.0))]
    Connect(#[source] io::Error),
}

/// Dials a peer.
pub(super) async fn connect(settings: Settings) -> Result<TcpStream, ConnectError> {
    let socket = prepare(&settings).map_err(ConnectError::Prepare)?;
    if let Some(address) = settings.source_address {
        socket
            .bind(SocketAddr::new(address, 0))
            .map_err(|source| ConnectError::Bind { address, source })?;
    }
    let neighbor = SocketAddr::new(settings.neighbor, settings.port.get());
    let stream = socket.connect(neighbor).await;
    stream.map_err(ConnectError::Connect)
}

/// Waits for peers to dial this address.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // The other family has an address of its own.
    if address.is_ipv6() {
        SockRef::from(&socket).set_only_v6(true)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Treats a connection that a peer has dialled as one that was dialled from here.
pub(super) fn prepare_accepted(stream: &TcpStream, settings: &Settings) -> io::Result<()> {
    stream.set_nodelay(true)?;
    set_time_to_live(&SockRef::from(stream), settings)
}

/// Our end of a connection.
pub(super) fn endpoint(stream: &TcpStream) -> io::Result<Endpoint> {
    let local = stream.local_addr()?.ip().to_canonical();
    let addresses = interface_addresses()?;
    let passing = passing_addresses();
    let carrier = addresses.iter().find(|(_, address)| *address == local);
    let interface = match carrier {
        Some((name, _)) => addresses
            .iter()
            .filter(|(other, address)| other == name && !passing.contains(address))
            .map(|(_, address)| *address)
            .collect(),
        None => Vec::new(),
    };
    Ok(Endpoint { local, interface })
}

/// How long the kernel may wait for the peer to take what we sent: beyond that the connection is
/// lost, also when the peer answers with a closed window for ever.
pub(super) fn set_user_timeout(stream: &TcpStream, timeout: Duration) -> io::Result<()> {
    SockRef::from(stream).set_tcp_user_timeout(Some(timeout))
}

/// An error as it is shown: lower-case, without the kernel's number.
pub(super) fn in_words(error: &io::Error) -> String {
    let kind = error.kind().to_string();
    match kind.as_str() {
        "other error" | "uncategorized error" => error.to_string().to_lowercase(),
        _ => kind,
    }
}

fn prepare(settings: &Settings) -> io::Result<TcpSocket> {
    let socket = match settings.neighbor {
        IpAddr::V4(_) => TcpSocket::new_v4()?,
        IpAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_nodelay(true)?;
    set_time_to_live(&SockRef::from(&socket), settings)?;
    Ok(socket)
}

fn set_time_to_live(options: &SockRef<'_>, settings: &Settings) -> io::Result<()> {
    match (settings.neighbor, time_to_live(settings)) {
        (IpAddr::V4(_), Some(ttl)) => options.set_ttl_v4(ttl)?,
        (IpAddr::V6(_), Some(ttl)) => options.set_unicast_hops_v6(ttl)?,
        (IpAddr::V4(_) | IpAddr::V6(_), None) => {}
    }
    Ok(())
}

/// An external peer is a neighbour on the link unless it is said not to be. `None`: the host's.
fn time_to_live(settings: &Settings) -> Option<u32> {
    let is_external = match settings.peer_asn {
        PeerAsn::Exact(asn) => asn != settings.local_asn,
        PeerAsn::Internal => false,
        PeerAsn::External => true,
    };
    match (is_external, settings.multi_hop) {
        (true, false) => Some(1),
        (true, true) => Some(255),
        (false, true | false) => None,
    }
}

/// Every address of the host with the name of its interface, in the kernel's order.
fn interface_addresses() -> io::Result<Vec<(String, IpAddr)>> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: `list` is a valid place for the pointer that getifaddrs writes.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut addresses = Vec::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: `next` came from getifaddrs and the list is freed after the loop only.
        let entry = unsafe { &*next };
        next = entry.ifa_next;
        // SAFETY: `ifa_addr` is null, or points to an address of the size its family has.
        if let Some(address) = unsafe { address_of(entry.ifa_addr) } {
            // SAFETY: `ifa_name` is a string that ends with 0 and lives as long as the list.
            let name = unsafe { CStr::from_ptr(entry.ifa_name) };
            addresses.push((name.to_string_lossy().into_owned(), address));
        }
    }
    // SAFETY: `list` came from getifaddrs, is freed once, and nothing borrows from it any more.
    unsafe { libc::freeifaddrs(list) };
    Ok(addresses)
}

/// Addresses that may be another host's, or are soon nobody's: no next hop to give away.
fn passing_addresses() -> BTreeSet<IpAddr> {
    // Without IPv6 there is no such file, and no such address.
    let text = std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
    text.lines().filter_map(passing_address).collect()
}

/// A line is the address, the interface's index, the length of the prefix, the scope, and the flags,
/// all hexadecimal, and the interface's name.
fn passing_address(line: &str) -> Option<IpAddr> {
    let mut fields = line.split_whitespace();
    let address = u128::from_str_radix(fields.next()?, 16).ok()?;
    let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
    let passing = libc::IFA_F_TEMPORARY
        | libc::IFA_F_DADFAILED
        | libc::IFA_F_DEPRECATED
        | libc::IFA_F_TENTATIVE;
    (flags & passing != 0).then(|| Ipv6Addr::from_bits(address).into())
}

/// # Safety
///
/// `address` is null or points to a socket address as large as its family demands.
unsafe fn address_of(address: *const libc::sockaddr) -> Option<IpAddr> {
    if address.is_null() {
        return None;
    }
    // SAFETY: not null, and every socket address begins with its family.
    match i32::from(unsafe { (*address).sa_family }) {
        libc::AF_INET => {
            // SAFETY: the family says that it is one of these.
            let v4 = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(Ipv4Addr::from_bits(u32::from_be(v4.sin_addr.s_addr)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that it is one of these.
            let v6 = unsafe { address.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(Ipv6Addr::from(v6.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}

/// How many connections the kernel keeps until they are looked at.
const BACKLOG: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_has_its_address() {
        let addresses = interface_addresses().unwrap();
        assert!(addresses.contains(&("lo".to_owned(), Ipv4Addr::LOCALHOST.into())));
    }

    #[test]
    fn addresses_that_are_not_there_to_stay_are_told_by_their_flags() {
        let line =
            |flags: &str| format!("20010db8000000000000000000000010 02 40 00 {flags}     eth0");
        for flags in ["80", "00"] {
            assert_eq!(passing_address(&line(flags)), None, "permanent or learnt");
        }
        for flags in ["40", "c0", "20", "01", "88"] {
            let address = "2001:db8::10".parse().unwrap();
            assert_eq!(passing_address(&line(flags)), Some(address), "{flags}");
        }
        assert_eq!(passing_address("nonsense"), None);
    }

    #[test]
    fn errors_are_shown_in_words() {
        let shown = |number| in_words(&io::Error::from_raw_os_error(number));
        assert_eq!(shown(libc::ECONNREFUSED), "connection refused");
        assert_eq!(shown(libc::EHOSTUNREACH), "host unreachable");
        assert_eq!(shown(libc::ECONNRESET), "connection reset");
        assert_eq!(shown(libc::ETIMEDOUT), "timed out");
        assert!(shown(libc::EPROTO).starts_with("protocol error"));
    }
}
