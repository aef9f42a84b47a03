//! Which network interfaces are fit for announcing, followed by netlink.
//!
//! Fit is an Ethernet interface that is no loopback, has ARP, is not enslaved (but for a VRF) and
//! has a name that is not one of those that container networks and virtual machines use. Events
//! are applied to a table; when the kernel says that events were lost, everything is listed again,
//! over a socket of its own, because a socket has room for one listing at a time and none for one
//! that was given up half-way.
//!
//! What an interface stands on is followed, too, fit or not: ports of a bridge or a bond, and what a
//! VLAN or the like is made on.

#![expect(
    clippy::disallowed_methods,
    reason = "driver: the netlink connection is a task of its own, and listing has an end"
)]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enums of netlink have hundreds of variants and grow"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use ipnet::IpNet;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload, Nla};
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoBond, InfoBridgePort, InfoData, InfoKind, InfoPortData, LinkAttribute, LinkFlags, LinkInfo,
    LinkLayerType, LinkMessage, LinkProtoInfoBridge,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{Handle, MulticastGroup};
use thiserror::Error;
use tokio::task::JoinHandle;

use crate::layer2::LinkIndex;
use crate::layer2::exclusion::Exclusion;
use crate::layer2::station::{Leg, Link};
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
    /// The kernel did not list them in time.
    #[error("interfaces and addresses were not listed in time")]
    Slow,
    /// The netlink connection ended.
    #[error("the netlink connection ended")]
    Ended,
}

type Messages = BoxStream<'static, NetlinkMessage<RouteNetlinkMessage>>;
type Listed = BoxFuture<'static, Result<Table, InterfacesError>>;
type Lister = Box<dyn Fn() -> Listed + Send>;

/// Follows the interfaces of this network namespace.
pub struct Watch {
    connection: JoinHandle<()>,
    messages: Messages,
    lister: Lister,
    /// What was listed, and what has happened since.
    table: Option<Table>,
    /// Nothing was listed, or events were lost: list again.
    is_stale: bool,
    listing: Option<Listing>,
}

/// A listing under way.
struct Listing {
    listed: Listed,
    /// What was said meanwhile, and may be younger than what is listed.
    since: Vec<RouteNetlinkMessage>,
}

impl Watch {
    /// Subscribes; the first change is that everything is listed, so that nothing falls in between.
    pub fn open() -> Result<Self, InterfacesError> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
        ];
        let (connection, _handle, messages) =
            rtnetlink::new_multicast_connection(&groups).map_err(InterfacesError::Open)?;
        let connection = tokio::spawn(connection);
        let messages = messages.map(|(message, _)| message).boxed();
        Ok(Self::new(connection, messages, Box::new(list)))
    }

    fn new(connection: JoinHandle<()>, messages: Messages, lister: Lister) -> Self {
        Self {
            connection,
            messages,
            lister,
            table: None,
            is_stale: true,
            listing: None,
        }
    }

    /// The interfaces fit for announcing, but for those excluded; `None`: they have not been listed yet.
    pub fn links(&self, exclusion: &Exclusion) -> Option<BTreeMap<LinkIndex, Link>> {
        self.table.as_ref().map(|table| table.fit(exclusion))
    }

    /// Waits until something has changed; what has arrived by then is one change.
    ///
    /// Can be cancelled and called again without losing anything.
    pub async fn changed(&mut self) -> Result<(), InterfacesError> {
        loop {
            self.list_if_stale();
            let first = tokio::select! {
                biased;
                table = listed(&mut self.listing) => return self.finish_listing(table),
                first = self.messages.next() => first,
            };
            let mut has_changed = self.take(first)?;
            while let Some(message) = self.messages.next().now_or_never() {
                has_changed |= self.take(message)?;
            }
            if has_changed {
                return Ok(());
            }
        }
    }

    /// One listing at a time: what is lost during one is listed by the next.
    fn list_if_stale(&mut self) {
        if self.is_stale && self.listing.is_none() {
            self.is_stale = false;
            self.listing = Some(Listing {
                listed: (self.lister)(),
                since: Vec::new(),
            });
        }
    }

    fn finish_listing(
        &mut self,
        listed: Result<Table, InterfacesError>,
    ) -> Result<(), InterfacesError> {
        let since = self.listing.take().map(|listing| listing.since);
        let mut table = listed?;
        for message in since.into_iter().flatten() {
            table.apply(&message);
        }
        self.table = Some(table);
        Ok(())
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
            NetlinkPayload::InnerMessage(inner) => {
                let table = self.table.as_mut();
                let has_changed = table.is_some_and(|table| table.apply(&inner));
                self.keep(inner);
                Ok(has_changed)
            }
            _ => Ok(false),
        }
    }

    /// Keeps a message for the end of the listing, as far as there is room.
    fn keep(&mut self, message: RouteNetlinkMessage) {
        let Some(listing) = &mut self.listing else {
            return;
        };
        match listing.since.len() < MAX_SINCE {
            true => listing.since.push(message),
            false => self.is_stale = true,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Waits for the listing under way; it goes on when it is waited for again.
async fn listed(listing: &mut Option<Listing>) -> Result<Table, InterfacesError> {
    match listing {
        Some(listing) => listing.listed.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Lists everything, within a bounded time.
fn list() -> Listed {
    let listed = async {
        let (connection, handle, _messages) =
            rtnetlink::new_connection().map_err(InterfacesError::Open)?;
        tokio::select! {
            table = dump(&handle) => table,
            () = connection => Err(InterfacesError::Ended),
        }
    };
    let bound = tokio::time::timeout(LIST_BOUND, listed);
    bound
        .map(|table| table.unwrap_or(Err(InterfacesError::Slow)))
        .boxed()
}

async fn dump(handle: &Handle) -> Result<Table, InterfacesError> {
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
    /// What a VLAN or the like is made on.
    parent: Option<LinkIndex>,
    carrier_changes: u32,
    /// As the bridge says whose port it is.
    port_state: Option<u8>,
    /// The port that a bond uses.
    active_port: Option<LinkIndex>,
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
        if message.header.interface_family == AddressFamily::Bridge {
            return self.put_port_state(message);
        }
        let Some(entry) = Entry::from_message(message) else {
            return false;
        };
        let index = LinkIndex(message.header.index);
        self.links.insert(index, entry.clone()) != Some(entry)
    }

    /// A bridge says itself when a port begins or ceases to forward.
    fn put_port_state(&mut self, message: &LinkMessage) -> bool {
        let state = message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                LinkAttribute::ProtoInfoBridge(infos) => infos.iter().find_map(port_state),
                _ => None,
            });
        let port = self.links.get_mut(&LinkIndex(message.header.index));
        let Some((port, state)) = port.zip(state) else {
            return false;
        };
        port.port_state.replace(state) != Some(state)
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

    fn fit(&self, exclusion: &Exclusion) -> BTreeMap<LinkIndex, Link> {
        let ports = self.ports();
        let fit = self.links.iter();
        let fit = fit.filter(|(_, entry)| self.is_fit(entry, exclusion));
        fit.filter_map(|(index, entry)| {
            let addresses = self.addresses.get(index).into_iter().flatten();
            let link = Link {
                name: entry.name.clone(),
                mac: entry.mac?,
                has_carrier: entry.has_carrier(),
                addresses: addresses.copied().collect(),
                path: self.path(*index, &ports),
            };
            Some((*index, link))
        })
        .collect()
    }

    /// The ports of each bridge and bond.
    fn ports(&self) -> BTreeMap<LinkIndex, Vec<LinkIndex>> {
        let mut ports: BTreeMap<LinkIndex, Vec<LinkIndex>> = BTreeMap::new();
        for (index, entry) in &self.links {
            if let Some(master) = entry.master {
                ports.entry(master).or_default().push(*index);
            }
        }
        ports
    }

    /// What frames of an interface pass: itself, its ports or what it is made on, and so on.
    fn path(
        &self,
        index: LinkIndex,
        ports: &BTreeMap<LinkIndex, Vec<LinkIndex>>,
    ) -> BTreeMap<LinkIndex, Leg> {
        let mut path = BTreeMap::new();
        let mut active = BTreeSet::new();
        let mut left = vec![index];
        while let Some(index) = left.pop() {
            let Some(entry) = self.links.get(&index) else {
                continue;
            };
            active.extend(entry.active_port);
            let leg = Leg {
                has_carrier: entry.has_carrier(),
                carrier_changes: entry.carrier_changes,
                port_state: entry.port_state,
                is_active: active.contains(&index),
            };
            // Two can be made on each other.
            if path.insert(index, leg).is_none() {
                left.extend(ports.get(&index).into_iter().flatten());
                left.extend(entry.parent);
            }
        }
        path
    }

    fn is_fit(&self, entry: &Entry, exclusion: &Exclusion) -> bool {
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
            && !exclusion.excludes(&entry.name)
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
            parent: None,
            carrier_changes: 0,
            port_state: None,
            active_port: None,
        };
        let mut is_elsewhere = false;
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
                    entry.port_state = infos.iter().find_map(port_state_of);
                    entry.active_port = infos.iter().find_map(active_port_of);
                }
                LinkAttribute::Link(index) if *index != 0 => {
                    entry.parent = Some(LinkIndex(*index));
                }
                // Its number is another namespace's.
                LinkAttribute::LinkNetNsId(_) => is_elsewhere = true,
                LinkAttribute::CarrierChanges(count) => entry.carrier_changes = *count,
                // Tells of scanning and roaming, and not of the link itself.
                LinkAttribute::Wireless(_) => return None,
                _ => {}
            }
        }
        entry.parent = entry.parent.filter(|_| !is_elsewhere);
        Some(entry).filter(|entry| !entry.name.is_empty())
    }

    fn has_carrier(&self) -> bool {
        self.flags.contains(LinkFlags::Up | LinkFlags::LowerUp)
    }
}

fn port_state_of(info: &LinkInfo) -> Option<u8> {
    let LinkInfo::PortData(InfoPortData::BridgePort(infos)) = info else {
        return None;
    };
    infos.iter().find_map(|info| match info {
        InfoBridgePort::State(state) => Some(u8::from(*state)),
        _ => None,
    })
}

fn active_port_of(info: &LinkInfo) -> Option<LinkIndex> {
    let LinkInfo::Data(InfoData::Bond(infos)) = info else {
        return None;
    };
    infos.iter().find_map(|info| match info {
        InfoBond::ActivePort(index) if *index != 0 => Some(LinkIndex(*index)),
        _ => None,
    })
}

/// The state of a port in its bridge's own message.
fn port_state(info: &LinkProtoInfoBridge) -> Option<u8> {
    match info {
        LinkProtoInfoBridge::Other(attribute) if attribute.kind() == IFLA_BRPORT_STATE => {
            let mut value = vec![0; attribute.value_len()];
            attribute.emit_value(&mut value);
            value.first().copied()
        }
        _ => None,
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

/// Of the attributes of a bridge port in `linux/if_link.h`.
const IFLA_BRPORT_STATE: u16 = 1;

/// Listing takes milliseconds, with thousands of interfaces some hundred.
const LIST_BOUND: Duration = Duration::from_secs(5);

/// More messages than that in the time of a listing, and listing again is cheaper than keeping them.
const MAX_SINCE: usize = 4096;

#[cfg(test)]
mod tests;
