//! BMP (RFC 7854): what BGP peers are sent, told to monitoring stations.
//!
//! It dials the stations that it is given and tells each which sessions there are, why they end, and
//! what their peers hold: Adj-RIB-Out after policy (RFC 8671). What peers send is not told, because
//! nobody here keeps it.
//!
//! ```text
//!   sessions ─┐                                ┌─ codec ──▶ octets
//!             ├─▶ news ──▶ station ──▶ driver ─┤
//!   routes ───┘            (a machine each)    └─▶ TCP, report
//! ```
//!
//! A station is told of each session by an Adj-RIB-Out of its own, which composes what the peer's does.
//! So a station that reads slowly costs one entry per prefix, and delays no peer and no other station.

pub mod codec;
pub mod driver;
pub mod news;
pub mod station;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

pub use self::driver::Export;
use crate::bgp::{Changed, Ended, Established, Routes};

/// What has become of the session with a peer.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It is established.
    Up(Up),
    /// It is the same, and our end has other addresses.
    Relocated(Arc<Established>),
    /// The peer should hold other routes.
    Changed(Arc<Changed>),
    /// It is over.
    Down(Down),
}

/// A session that is established.
#[derive(Debug, Clone, PartialEq)]
pub struct Up {
    /// By what.
    pub established: Arc<Established>,
    /// Since when.
    pub since: SystemTime,
    /// All that the peer should hold.
    pub routes: Arc<Routes>,
}

/// Why a session is over for a station.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Down {
    /// It has ended.
    Ended(Arc<Ended>),
    /// There is to be no such session any more.
    Deconfigured,
}

/// How the stations stand.
pub type Report = BTreeMap<SocketAddr, Standing>;

/// How one station stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whether there is a connection.
    pub is_connected: bool,
    /// Since when that is so.
    pub since: SystemTime,
    /// Why the last connection ended, or why none comes up.
    pub last_error: Option<String>,
}
