//! This node's IPv4 addresses, from rtnetlink: read whole, and again after every change.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;

use futures_util::{FutureExt as _, Stream, StreamExt as _, TryStreamExt as _};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::MulticastGroup;
use tokio::task::JoinHandle;

use super::ruleset::Host;

/// A subscription to the node's IPv4 addresses.
pub(super) struct Interfaces {
    handle: rtnetlink::Handle,
    events: Pin<Box<dyn Stream<Item = ()> + Send + Sync>>,
    connection: JoinHandle<()>,
}

impl Interfaces {
    /// Opens the socket; a failure leaves nothing behind.
    #[expect(clippy::disallowed_methods, reason = "driver: owns the socket's task")]
    pub(super) fn open() -> io::Result<Self> {
        let (connection, handle, messages) =
            rtnetlink::new_multicast_connection(&[MulticastGroup::Ipv4Ifaddr])?;
        Ok(Self {
            handle,
            events: Box::pin(messages.map(|_| ())),
            connection: tokio::spawn(connection),
        })
    }

    /// Reads the addresses as they are.
    pub(super) async fn read(&self) -> Result<Host, rtnetlink::Error> {
        let links: Vec<_> = self.handle.link().get().execute().try_collect().await?;
        let addresses: Vec<_> = self.handle.address().get().execute().try_collect().await?;
        let names = links.iter().filter_map(link_name).collect();
        Ok(host(&names, addresses.iter().filter_map(ipv4_address)))
    }

    /// Waits until something changed; all that happened until then counts as one change. Should the
    /// socket end, it waits for ever, and the periodic check reads on.
    pub(super) async fn changed(&mut self) {
        if self.events.next().await.is_none() {
            std::future::pending::<()>().await;
        }
        while let Some(Some(())) = self.events.next().now_or_never() {}
    }
}

impl Drop for Interfaces {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// An IPv4 address and the index of its interface.
#[derive(Debug, Clone, Copy)]
struct Ipv4Address {
    interface: u32,
    address: Ipv4Addr,
    /// Whether it is valid beyond this host and this link.
    is_global: bool,
}

/// The address that stands in is the first in the kernel's order, because the kernel, too, picks
/// the source of a reply in that order where the interface has no address: loopback's first.
fn host(names: &BTreeMap<u32, String>, addresses: impl Iterator<Item = Ipv4Address>) -> Host {
    let mut host = Host::default();
    for found in addresses {
        if let Some(name) = names.get(&found.interface) {
            host.numbered.insert(name.clone());
        }
        if found.is_global && host.address.is_none() {
            host.address = Some(found.address);
        }
    }
    host
}

fn link_name(link: &LinkMessage) -> Option<(u32, String)> {
    let name = link.attributes.iter().find_map(|attribute| {
        if let LinkAttribute::IfName(name) = attribute {
            return Some(name.clone());
        }
        None
    })?;
    Some((link.header.index, name))
}

fn ipv4_address(message: &AddressMessage) -> Option<Ipv4Address> {
    let address = message.attributes.iter().find_map(|attribute| {
        if let AddressAttribute::Local(IpAddr::V4(address)) = attribute {
            return Some(*address);
        }
        None
    })?;
    Some(Ipv4Address {
        interface: message.header.index,
        address,
        is_global: message.header.scope == AddressScope::Universe,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(interface: u32, address: &str, is_global: bool) -> Ipv4Address {
        Ipv4Address {
            interface,
            address: address.parse().unwrap(),
            is_global,
        }
    }

    fn names() -> BTreeMap<u32, String> {
        [(1, "lo"), (2, "eth0"), (3, "eth1")]
            .map(|(index, name)| (index, name.to_owned()))
            .into()
    }

    #[test]
    fn a_loopback_scope_address_numbers_its_interface_but_stands_in_for_none() {
        let found = [on(1, "127.0.0.1", false), on(2, "10.0.0.1", true)];
        let host = host(&names(), found.into_iter());
        assert_eq!(host.numbered, ["lo".to_owned(), "eth0".to_owned()].into());
        assert_eq!(host.address, Some(Ipv4Addr::new(10, 0, 0, 1)));
    }

    #[test]
    fn a_global_address_of_loopback_stands_in_first() {
        let found = [on(1, "10.9.9.9", true), on(2, "10.0.0.1", true)];
        let host = host(&names(), found.into_iter());
        assert_eq!(host.address, Some(Ipv4Addr::new(10, 9, 9, 9)));
    }

    #[test]
    fn a_host_without_ipv4_has_nothing_that_stands_in() {
        assert_eq!(host(&names(), std::iter::empty()), Host::default());
    }
}
