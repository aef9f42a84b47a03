//! Makes this node answer for the addresses.
//!
//! ```text
//! Change ──▶ world ──▶ plan ──┬──▶ bgp    machine ──▶ driver ──▶ TCP
//!              ▲              │    radv   machine ──▶ driver ──▶ router advertisements
//!              ▲              ├──▶ bfd    machine ──▶ driver ──▶ UDP
//!              │              ├──▶ layer2 machines ─▶ driver ──▶ ARP, NDP, heartbeats
//!              └── reports ◀──┴──▶ nft    ruleset ──▶ driver ──▶ nftables
//! ```
//!
//! `bmp` stands beside `bgp`, whose peers' tables it tells to monitoring stations, and `router_config`
//! beside all that: the same objects, told to the router at the other end.

pub mod backoff;
pub mod bfd;
pub mod bgp;
pub mod bmp;
pub mod cli;
pub mod delivery;
pub mod drain;
pub mod layer2;
pub mod lookout;
pub mod metrics;
#[cfg(test)]
mod mutator;
pub mod nft;
pub mod plan;
pub mod radv;
pub mod reports;
pub mod router_config;
pub mod run;
pub mod status;
pub mod telemetry;
pub mod timer;
pub mod wire;
pub mod world;
