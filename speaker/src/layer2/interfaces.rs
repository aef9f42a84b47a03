//! Which network interfaces are fit for announcing, followed by netlink.
//!
//! Fit is an Ethernet interface that is no loopback, has ARP, is not enslaved (but for a VRF) and
//! has a name that is not one of those that container networks and virtual machines use. Events
//! are applied to a table; when the kernel says that events were lost, everything is read again.

#![expect(
    clippy::disallowed_methods,
    reason = "driver: the netlink connection is a task of its own"
)]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enums of netlink have hundreds of variants and grow"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use futures_util::{FutureExt, StreamExt, TryStreamExt};
use ipnet::IpNet;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{Handle, MulticastGroup};
use thiserror::Error;

use crate::layer2::LinkIndex;
use crate::layer2::station::Link;
use crate::wire::ethernet::Mac;

/// Why the interfaces are not known.
#[derive(Debug, Error)]
pub enum InterfacesError {
    /// The netlink socket could not be opened or joined to its groups.
    #[error("failed to open a netlink socket")]
    Open(#[source] std::io::Error),
    /// Links or addresses could not be listed.
    #[error("failed to list interfaces and addresses")]
    List(#[source] rtnetlink::Error),
    /// The netlink connection ended.
    #[error("the netlink connection ended")]
    Ended,
}

type Messages = futures_util::stream::BoxStream<'static, NetlinkMessage<RouteNetlinkMessage>>;

/// Follows the interfaces of this network namespace.
pub struct Watch {
    handle: Handle,
    messages: Messages,
    table: Table,
    /// Events were lost: list again.
    is_stale: bool,
}

impl Watch {
    /// Subscribes, then lists, so that nothing falls in between.
    pub async fn open() -> Result<Self, InterfacesError> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
        ];
        let (connection, handle, messages) =
            rtnetlink::new_multicast_connection(&groups).map_err(InterfacesError::Open)?;
        // Ends when handle and messages are dropped.
        tokio::spawn(connection);
        let messages = messages.map(|(message, _)| message).boxed();
        let table = list(&handle).await?;
        Ok(Self {
            handle,
            messages,
            table,
            is_stale: false,
        })
    }

    /// The interfaces fit for announcing.
    pub fn links(&self) -> BTreeMap<LinkIndex, Link> {
        self.table.fit()
    }

    /// Waits until something has changed; what has arrived by then is one change.
    ///
    /// Can be cancelled and called again without losing anything.
    pub async fn changed(&mut self) -> Result<(), InterfacesError> {
        loop {
            if self.is_stale {
                self.table = list(&self.handle).await?;
                self.is_stale = false;
                return Ok(());
            }
            let first = self.messages.next().await;
            let mut has_changed = self.take(first)?;
            while let Some(message) = self.messages.next().now_or_never() {
                has_changed |= self.take(message)?;
            }
            if has_changed {
                return Ok(());
            }
        }
    }

    /// True if the table has changed.
    fn take(
        &mut self,
        message: Option<NetlinkMessage<RouteNetlinkMessage>>,
    ) -> Result<bool, InterfacesError> {
        let message = message.ok_or(InterfacesError::Ended)?;
        match message.payload {
            NetlinkPayload::Overrun(_) => {
                self.is_stale = true;
                Ok(false)
            }
            NetlinkPayload::InnerMessage(inner) => Ok(self.table.apply(&inner)),
            _ => Ok(false),
        }
    }
}

async fn list(handle: &Handle) -> Result<Table, InterfacesError> {
    let mut table = Table::default();
    let mut links = handle.link().get().execute();
    while let Some(link) = links.try_next().await.map_err(InterfacesError::List)? {
        table.put_link(&link);
    }
    let mut addresses = handle.address().get().execute();
    while let Some(address) = addresses.try_next().await.map_err(InterfacesError::List)? {
        table.put_address(&address);
    }
    Ok(table)
}

/// What netlink has said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Table {
    links: BTreeMap<LinkIndex, Entry>,
    addresses: BTreeMap<LinkIndex, BTreeSet<IpNet>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: String,
    mac: Option<Mac>,
    is_ethernet: bool,
    flags: LinkFlags,
    master: Option<LinkIndex>,
    is_vrf: bool,
}

impl Table {
    /// True if it made a difference.
    fn apply(&mut self, message: &RouteNetlinkMessage) -> bool {
        match message {
            RouteNetlinkMessage::NewLink(link) => self.put_link(link),
            RouteNetlinkMessage::DelLink(link) => self.remove_link(link),
            RouteNetlinkMessage::NewAddress(address) => self.put_address(address),
            RouteNetlinkMessage::DelAddress(address) => self.remove_address(address),
            _ => false,
        }
    }

    fn put_link(&mut self, message: &LinkMessage) -> bool {
        let Some(entry) = Entry::from_message(message) else {
            return false;
        };
        let index = LinkIndex(message.header.index);
        self.links.insert(index, entry.clone()) != Some(entry)
    }

    fn remove_link(&mut self, message: &LinkMessage) -> bool {
        // A port that leaves a bridge is "deleted" in the bridge's family, and lives on.
        if message.header.interface_family != AddressFamily::Unspec {
            return false;
        }
        let index = LinkIndex(message.header.index);
        self.addresses.remove(&index);
        self.links.remove(&index).is_some()
    }

    fn put_address(&mut self, message: &AddressMessage) -> bool {
        let index = LinkIndex(message.header.index);
        address_of(message).is_some_and(|net| self.addresses.entry(index).or_default().insert(net))
    }

    fn remove_address(&mut self, message: &AddressMessage) -> bool {
        let index = LinkIndex(message.header.index);
        let addresses = self.addresses.get_mut(&index);
        let removed = addresses.zip(address_of(message));
        removed.is_some_and(|(addresses, net)| addresses.remove(&net))
    }

    fn fit(&self) -> BTreeMap<LinkIndex, Link> {
        let fit = self.links.iter().filter(|(_, entry)| self.is_fit(entry));
        fit.filter_map(|(index, entry)| {
            let addresses = self.addresses.get(index).into_iter().flatten();
            let link = Link {
                name: entry.name.clone(),
                mac: entry.mac?,
                has_carrier: entry.flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
                addresses: addresses.copied().collect(),
            };
            Some((*index, link))
        })
        .collect()
    }

    fn is_fit(&self, entry: &Entry) -> bool {
        let is_enslaved = entry.master.is_some_and(|master| {
            let master = self.links.get(&master);
            !master.is_some_and(|master| master.is_vrf)
        });
        entry.is_ethernet
            && !entry.is_vrf
            && !is_enslaved
            && !entry
                .flags
                .intersects(LinkFlags::Loopback | LinkFlags::Noarp)
            && !is_excluded(&entry.name)
    }
}

impl Entry {
    /// Nothing for messages of another family, or without a name.
    fn from_message(message: &LinkMessage) -> Option<Self> {
        if message.header.interface_family != AddressFamily::Unspec {
            return None;
        }
        let mut entry = Self {
            name: String::new(),
            mac: None,
            is_ethernet: message.header.link_layer_type == LinkLayerType::Ether,
            flags: message.header.flags,
            master: None,
            is_vrf: false,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => entry.name.clone_from(name),
                LinkAttribute::Address(bytes) => {
                    entry.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac);
                }
                LinkAttribute::Controller(index) if *index != 0 => {
                    entry.master = Some(LinkIndex(*index));
                }
                LinkAttribute::LinkInfo(infos) => {
                    entry.is_vrf = infos.contains(&LinkInfo::Kind(InfoKind::Vrf));
                }
                // Tells of scanning and roaming, and not of the link itself.
                LinkAttribute::Wireless(_) => return None,
                _ => {}
            }
        }
        Some(entry).filter(|entry| !entry.name.is_empty())
    }
}

fn address_of(message: &AddressMessage) -> Option<IpNet> {
    let (mut local, mut address): (Option<IpAddr>, Option<IpAddr>) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => address = Some(*ip),
            _ => {}
        }
    }
    IpNet::new(local.or(address)?, message.header.prefix_len).ok()
}

/// The names that MetalLB leaves out by default: links of containers and virtual machines.
fn is_excluded(name: &str) -> bool {
    const PREFIXES: [&str; 13] = [
        "docker",
        "cbr",
        "dummy",
        "virbr",
        "lxcbr",
        "veth",
        "cali",
        "tunl",
        "flannel",
        "kube-ipvs",
        "cni",
        "nodelocaldns",
        "lxc",
    ];
    name == "lo" || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests;
