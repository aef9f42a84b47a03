//! TCP for BGP: source, device, TTL, class, keys, and what the host says about our end.

#![expect(
    unsafe_code,
    reason = "getifaddrs has no safe form in the libraries at hand; it is one function here"
)]
#![expect(clippy::disallowed_methods, reason = "driver: asks the kernel")]

mod options;

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use ferrolb_crds::model::{PeerAsn, Port, TtlSecurityHops};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

pub(super) use self::options::AuthenticationError;
use super::connection::{Endpoint, Ports};
use super::{Authentication, Settings};

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// Nothing was sent.
    #[error("failed to use source {source_end}: {}", in_words(.source))]
    Bind {
        /// What was asked for.
        source_end: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Nothing was sent.
    #[error("failed to use device {name}: {}", in_words(.source))]
    Device {
        /// Its name.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Nothing was sent.
    #[error("device {name} does not exist")]
    NoDevice {
        /// Its name.
        name: String,
    },
    /// Nothing was sent.
    #[error("a link-local address needs an interface: set spec.interface in its place")]
    NoScope,
    /// Nothing was sent.
    #[error(transparent)]
    Authentication(#[from] AuthenticationError),
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
    attach(&socket, &settings)?;
    bind(&socket, &settings)?;
    authenticate(&socket, &settings)?;
    let neighbor = SocketAddr::new(settings.neighbor, settings.port.get());
    let stream = socket.connect(neighbor).await;
    stream.map_err(ConnectError::Connect)
}

/// Has the key of a session used on a socket that is not connected, or that listens. Where the kernel
/// cannot there is no session, and none in cleartext.
pub(super) fn authenticate(
    socket: &impl AsFd,
    settings: &Settings,
) -> Result<(), AuthenticationError> {
    let peer = settings.neighbor;
    match &settings.transport.authentication {
        Authentication::None => Ok(()),
        Authentication::Md5(key) => options::set_md5_key(socket, peer, Some(key)),
        Authentication::Ao(ids, key) => options::add_ao_key(socket, peer, ids, key),
    }
}

/// Has the TCP MD5 key of a connection replaced by that of the settings, or taken away if they have
/// none: what is sent from now on has it, again what the peer has not acknowledged. On a socket that
/// listens it is the one of this peer.
pub(super) fn rekey(socket: &impl AsFd, settings: &Settings) -> Result<(), AuthenticationError> {
    let live = settings.live();
    match &settings.transport.authentication {
        Authentication::None | Authentication::Md5(_) => {
            options::set_md5_key(socket, settings.neighbor, live.md5_key.as_ref())
        }
        Authentication::Ao(..) => Ok(()),
    }
}

/// Has a connection go on with other settings of its session, as far as they are the socket's.
pub(super) fn adjust(stream: &TcpStream, settings: &Settings) -> Result<(), ConnectError> {
    rekey(stream, settings)?;
    mark(stream, settings)
        .and_then(|()| match settings.transport.ttl_security_hops {
            Some(_) => Ok(()),
            // There may have been one.
            None => options::set_least_ttl(stream, settings.neighbor, 0),
        })
        .map_err(ConnectError::Prepare)
}

/// TTL and class of what is sent, and the TTL of what is taken; for connections that were accepted, too.
pub(super) fn mark(socket: &impl AsFd, settings: &Settings) -> io::Result<()> {
    let options = SockRef::from(socket);
    match settings.neighbor {
        IpAddr::V4(_) => options.set_tos_v4(CLASS)?,
        IpAddr::V6(_) => options.set_tclass_v6(CLASS)?,
    }
    match (settings.neighbor, time_to_live(settings)) {
        (IpAddr::V4(_), Some(ttl)) => options.set_ttl_v4(ttl)?,
        (IpAddr::V6(_), Some(ttl)) => options.set_unicast_hops_v6(ttl)?,
        (IpAddr::V4(_) | IpAddr::V6(_), None) => {}
    }
    match settings.transport.ttl_security_hops {
        Some(hops) => options::set_least_ttl(socket, settings.neighbor, hops.least_ttl()),
        None => Ok(()),
    }
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
    // What answers the first packet of a peer with GTSM has to have the highest TTL (RFC 5082 §3).
    let options = SockRef::from(&socket);
    match address {
        SocketAddr::V4(_) => {
            options.set_ttl_v4(HIGHEST_TTL)?;
            options.set_tos_v4(CLASS)?;
        }
        SocketAddr::V6(_) => {
            options.set_unicast_hops_v6(HIGHEST_TTL)?;
            options.set_tclass_v6(CLASS)?;
        }
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Treats a connection that a peer has dialled as one that was dialled from here.
pub(super) fn prepare_accepted(stream: &TcpStream, settings: &Settings) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // Also of one that waited to be accepted when the key came.
    rekey(stream, settings).map_err(io::Error::other)?;
    mark(stream, settings)
}

/// Our end of a connection.
pub(super) fn endpoint(stream: &TcpStream, settings: &Settings) -> io::Result<Endpoint> {
    let own = stream.local_addr()?;
    let local = own.ip().to_canonical();
    let addresses = interface_addresses()?;
    let passing = passing_addresses();
    let interface = match carrier(&addresses, local, settings.transport.device.as_deref()) {
        Some(name) => addresses
            .iter()
            .filter(|(other, address)| other == name && !passing.contains(address))
            .map(|(_, address)| *address)
            .collect(),
        None => Vec::new(),
    };
    let ports = Ports {
        local: own.port(),
        // Of one that is lost already nobody asks.
        remote: stream.peer_addr().map_or(0, |peer| peer.port()),
    };
    Ok(Endpoint {
        local,
        interface,
        ports,
    })
}

/// How long the kernel may wait for the peer to take what we sent: beyond that the connection is
/// lost, also when the peer answers with a closed window for ever.
pub(super) fn set_user_timeout(stream: &TcpStream, timeout: Duration) -> io::Result<()> {
    SockRef::from(stream).set_tcp_user_timeout(Some(timeout))
}

/// Takes out of the outbox what can be written without waiting, and says how much that was.
pub(crate) fn write_from(stream: &TcpStream, outbox: &mut Vec<u8>) -> usize {
    let mut written = 0;
    while written < outbox.len() {
        match stream.try_write(&outbox[written..]) {
            Ok(size) => written += size,
            // Anything but that there is no room is reported by the next read, after what was said last.
            Err(_) => break,
        }
    }
    outbox.drain(..written);
    written
}

/// An error as it is shown: lower-case, without the kernel's number.
pub(crate) fn in_words(error: &io::Error) -> String {
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
    mark(&socket, settings)?;
    Ok(socket)
}

/// Binds to the device of the session: routes, addresses and packets are its own, or its VRF's.
fn attach(socket: &TcpSocket, settings: &Settings) -> Result<(), ConnectError> {
    let Some(name) = &settings.transport.device else {
        return match settings.neighbor {
            IpAddr::V6(peer) if peer.is_unicast_link_local() => Err(ConnectError::NoScope),
            IpAddr::V6(_) | IpAddr::V4(_) => Ok(()),
        };
    };
    let bound = socket.bind_device(Some(name.as_bytes()));
    bound.map_err(|source| match source.raw_os_error() {
        Some(libc::ENODEV) => ConnectError::NoDevice { name: name.clone() },
        _ => ConnectError::Device {
            name: name.clone(),
            source,
        },
    })
}

/// Takes the end that the session is to have.
fn bind(socket: &TcpSocket, settings: &Settings) -> Result<(), ConnectError> {
    let (address, port) = (settings.source_address, settings.transport.source_port);
    if address.is_none() && port.is_none() {
        return Ok(());
    }
    let unspecified = match settings.neighbor {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let end = SocketAddr::new(address.unwrap_or(unspecified), port.map_or(0, Port::get));
    // What is left of the last connection (TIME-WAIT) does not keep the port from the next one.
    let prepared = socket.set_reuseaddr(port.is_some());
    let bound = prepared.and_then(|()| socket.bind(end));
    bound.map_err(|source| ConnectError::Bind {
        source_end: match (address, port) {
            (Some(address), None) => format!("address {address}"),
            (None, Some(port)) => format!("port {port}"),
            (Some(_), Some(_)) | (None, None) => end.to_string(),
        },
        source,
    })
}

/// An external peer is a neighbour on the link unless it is said not to be. `None`: the host's.
fn time_to_live(settings: &Settings) -> Option<u32> {
    if settings.transport.ttl_security_hops.is_some() {
        return Some(TtlSecurityHops::SENT_TTL.into());
    }
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

/// The interface that carries an address: of a session with a device that one, or one of the VRF that
/// it is.
fn carrier<'a>(
    addresses: &'a [(String, IpAddr)],
    local: IpAddr,
    device: Option<&str>,
) -> Option<&'a str> {
    let carries = addresses.iter().filter(|(_, address)| *address == local);
    let names: Vec<&str> = carries.map(|(name, _)| name.as_str()).collect();
    let belongs = |name: &&str| device == Some(*name) || device == vrf_of(name).as_deref();
    // Two VRFs may have one address each.
    let own = device.and_then(|_| names.iter().copied().find(belongs));
    own.or_else(|| names.first().copied())
}

/// What an interface is enslaved to.
fn vrf_of(interface: &str) -> Option<String> {
    let link = std::fs::read_link(format!("/sys/class/net/{interface}/master")).ok()?;
    Some(link.file_name()?.to_string_lossy().into_owned())
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

/// Class selector 6 (RFC 2474 §4.2.2.2), as routing protocols have it.
const CLASS: u32 = 0xc0;
const HIGHEST_TTL: u32 = 255;
/// How many connections the kernel keeps until they are looked at.
const BACKLOG: u32 = 16;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[test]
    fn of_two_interfaces_with_an_address_that_of_the_device_carries_it() {
        let local = Ipv4Addr::new(192, 0, 2, 1).into();
        let addresses = [("eth0".to_owned(), local), ("eth1".to_owned(), local)];
        assert_eq!(carrier(&addresses, local, Some("eth1")), Some("eth1"));
        assert_eq!(carrier(&addresses, local, Some("eth2")), Some("eth0"));
        assert_eq!(carrier(&addresses, local, None), Some("eth0"));
        assert_eq!(carrier(&addresses[..0], local, Some("eth0")), None);
    }

    #[test]
    fn gtsm_sends_with_the_highest_ttl_whoever_the_peer_is() {
        let mut settings = crate::bgp::tests::settings();
        assert_eq!(time_to_live(&settings), Some(1));
        settings.transport.ttl_security_hops = TtlSecurityHops::new(3);
        assert_eq!(time_to_live(&settings), Some(255));
        settings.peer_asn = PeerAsn::Internal;
        assert_eq!(time_to_live(&settings), Some(255));
    }

    #[tokio::test]
    async fn i8_a_running_connection_sends_with_the_ttl_of_other_settings() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let near = crate::bgp::tests::settings();
        let far = Settings {
            multi_hop: true,
            ..near.clone()
        };
        let mut guarded = near.clone();
        guarded.transport.ttl_security_hops = TtlSecurityHops::new(1);
        for (settings, ttl) in [
            (&near, 1),
            (&far, 255),
            (&near, 1),
            (&guarded, 255),
            (&near, 1),
        ] {
            adjust(&stream, settings).unwrap();
            assert_eq!(SockRef::from(&stream).ttl_v4().unwrap(), ttl);
        }
    }

    /// What comes from too far is dropped, and accepted when it comes again from where it should.
    #[tokio::test]
    async fn i8_a_running_connection_takes_what_other_settings_let_through() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        let mut settings = crate::bgp::tests::settings();
        settings.neighbor = address.ip();
        settings.transport.ttl_security_hops = TtlSecurityHops::new(1);
        adjust(&stream, &settings).unwrap();
        let arrives = async |within: u64| {
            let within = Duration::from_millis(within);
            let is_readable = tokio::time::timeout(within, stream.readable()).await;
            is_readable.is_ok() && stream.try_read(&mut [0; 8]).is_ok()
        };
        SockRef::from(&peer).set_ttl_v4(254).unwrap();
        peer.write_all(b"far").await.unwrap();
        assert!(!arrives(500).await);
        settings.transport.ttl_security_hops = TtlSecurityHops::new(2);
        adjust(&stream, &settings).unwrap();
        assert!(arrives(10_000).await);
    }

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
