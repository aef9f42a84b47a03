//! Reference BGP speakers: what a router on the other side does and sees.

pub mod bird;
pub mod exabgp;
pub mod frr;
pub mod gobgp;

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
    /// Extended communities, as printed.
    pub extended_communities: String,
    /// MULTI_EXIT_DISC.
    pub med: String,
}

/// How the router runs BFD with its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bfd {
    /// Milliseconds between two packets, both ways.
    pub interval: u32,
    /// Packets that may be lost.
    pub multiplier: u8,
    /// Whether the neighbours may be more than one hop away; BGP's are, too, then.
    pub is_multihop: bool,
    /// Milliseconds between two echo packets; FRR alone has them.
    pub echo: Option<u32>,
    /// Whether to wait for the other end to begin.
    pub is_passive: bool,
}

impl Bfd {
    /// 50 ms three times, over one hop.
    pub const FAST: Self = Self {
        interval: 50,
        multiplier: 3,
        is_multihop: false,
        echo: None,
        is_passive: false,
    };
}
