//! Router advertisements (RFC 4861 §6) on the interfaces of BGP peers without an address ("BGP
//! unnumbered"): where such a peer is, and that it learns where we are.
//!
//! ```text
//!   interfaces ──▶ ┌──── driver ────┐ ──▶ Report: who is the router there
//!                  │ link, link, …  │
//!   interfaces of  └─▲───────────┬──┘
//!   the kernel ──────┘  ICMPv6   │
//! ```
//!
//! `link` is the machine, one for each interface: it learns the router from its advertisements, and
//! advertises this node as a router with lifetime 0, which is nobody's default router: routers learn
//! their BGP peers from nothing else. Only `driver` and `socket` know that there is a network. Who is to
//! have a session with the router the composition root decides.

pub mod driver;
pub mod link;
mod socket;

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

pub use self::driver::Radv;

/// The router on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Router {
    /// Its link-local address.
    pub address: Ipv6Addr,
    /// The number of the interface.
    pub interface: u32,
}

/// The interfaces by name, and whether there is a session with the router on each.
pub type Wanted = BTreeMap<String, bool>;

/// The router by the name of the interface, or in words why none is known there.
pub type Report = BTreeMap<String, Result<Router, String>>;
