//! Reference BGP speakers: what a router on the other side does and sees.

pub mod bird;
pub mod frr;

use std::net::IpAddr;

/// One of the speaker's sessions as the router is configured for it.
#[derive(Debug, Clone)]
pub struct Neighbour {
    /// Name of the protocol instance.
    pub name: String,
    /// The router's own address.
    pub local: IpAddr,
    /// The router's AS.
    pub local_asn: u32,
    /// The node's address.
    pub remote: IpAddr,
    /// The node's AS; equal to the router's for iBGP.
    pub remote_asn: u32,
    /// Seconds.
    pub hold_time: u16,
}

/// A route as the router received it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// From which neighbour, by name.
    pub neighbour: String,
    /// NEXT_HOP.
    pub next_hop: String,
    /// AS_PATH.
    pub as_path: String,
    /// LOCAL_PREF, as received or as the router assumes it.
    pub local_pref: String,
    /// ORIGIN.
    pub origin: String,
    /// COMMUNITIES, as printed.
    pub communities: String,
    /// Large communities, as printed.
    pub large_communities: String,
}
