//! What the two ends of a TCP connection decide: our BGP Identifier and our next hops.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ferrolb_crds::model::Family;

use super::super::Settings;
use super::super::message::NextHop;

/// Our end of a connection, as the host sees it: when it comes up, and later when that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Local address of the connection.
    pub local: IpAddr,
    /// All addresses of the interface that carries the local address.
    pub interface: Vec<IpAddr>,
    /// Its TCP ports.
    pub ports: Ports,
}

/// The TCP ports of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ports {
    /// Of our end.
    pub local: u16,
    /// Of the peer's.
    pub remote: u16,
}

/// Why routes of a family cannot be announced on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoNextHop {
    /// Only a link-local one, or none.
    #[error(
        "IPv6 prefixes are not announced: the interface of the session has no global IPv6 address \
         to be their next hop"
    )]
    V6,
    /// And the peer takes no IPv6 next hop for them.
    #[error(
        "IPv4 prefixes are not announced: the interface of the session has no IPv4 address to be \
         their next hop, and the peer does not offer extended next hops (RFC 8950)"
    )]
    V4,
}

impl Endpoint {
    /// The BGP Identifier (RFC 4271 §4.2): configured, of this connection, of its interface, or
    /// made of the node's name. Never 0, and never of another interface: a bridge has the same
    /// address on every node, and RFC 6286 wants the identifier unique within the AS.
    pub fn router_id(&self, settings: &Settings) -> Ipv4Addr {
        let configured = settings.router_id.map(|id| id.0);
        let local = match self.local {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        };
        [configured, local, self.first_v4()]
            .into_iter()
            .flatten()
            .find(|address| !address.is_unspecified())
            .unwrap_or_else(|| Ipv4Addr::from_bits(name_hash(&settings.node)))
    }

    /// The next hop for routes of a family: ourselves, in all cases.
    pub fn next_hop(
        &self,
        family: Family,
        has_extended_next_hop: bool,
    ) -> Result<NextHop, NoNextHop> {
        match (family, self.local) {
            (Family::V4, IpAddr::V4(local)) => Ok(NextHop::V4(local)),
            (Family::V6, IpAddr::V6(local)) => Ok(self.own_v6(local)),
            (Family::V4, IpAddr::V6(local)) if has_extended_next_hop => Ok(self.own_v6(local)),
            (Family::V4, IpAddr::V6(_)) => self.first_v4().map(NextHop::V4).ok_or(NoNextHop::V4),
            (Family::V6, IpAddr::V4(_)) => {
                let global = self.first_global_v6().ok_or(NoNextHop::V6)?;
                let link_local = None;
                Ok(NextHop::V6 { global, link_local })
            }
        }
    }

    /// RFC 2545 §3: the global address; on a session over link-local addresses both, and where
    /// there is no global one the link-local twice, as routers on unnumbered links do.
    fn own_v6(&self, local: Ipv6Addr) -> NextHop {
        let link_local = local.is_unicast_link_local().then_some(local);
        let global = match link_local {
            Some(_) => self.first_global_v6().unwrap_or(local),
            None => local,
        };
        NextHop::V6 { global, link_local }
    }

    fn first_v4(&self) -> Option<Ipv4Addr> {
        self.interface.iter().find_map(|address| match address {
            IpAddr::V4(address) => is_usable_v4(*address).then_some(*address),
            IpAddr::V6(_) => None,
        })
    }

    fn first_global_v6(&self) -> Option<Ipv6Addr> {
        self.interface.iter().find_map(|address| match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => is_global_v6(*address).then_some(*address),
        })
    }
}

fn is_usable_v4(address: Ipv4Addr) -> bool {
    !address.is_loopback() && !address.is_unspecified() && !address.is_link_local()
}

/// Unique local addresses (RFC 4193) are global in scope.
fn is_global_v6(address: Ipv6Addr) -> bool {
    let is_special = address.is_loopback() || address.is_unspecified() || address.is_multicast();
    !is_special && !address.is_unicast_link_local()
}

/// FNV-1a, the same on every machine and in every release; 0 is not an identifier.
fn name_hash(name: &str) -> u32 {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, octet| {
        (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193)
    });
    hash.max(1)
}
