//! BGP-4 (RFC 4271): one session per configured peer.
//!
//! It announces what it is told to and believes nothing it hears: received routes are framed,
//! checked and dropped. It dials; it listens only where that is asked for.
//!
//! ```text
//!   Routes ──▶ adj_rib_out ─┐                  ┌─ codec ──▶ octets
//!                           ├─▶ peer ─▶ driver ┤
//!   timers ──▶ connection ──┘                  └─ socket ─▶ TCP
//! ```
//!
//! `message`, `notification` and `codec` are the wire; `connection` is the machine of §8, one for
//! each TCP connection; `peer` has up to two of them; `change` says what a session survives, and
//! `established` what others may want to know of one; only `driver` and `socket` know that there is a network. docs/rfc.md says which sentence of which RFC is
//! obeyed where.

pub mod adj_rib_out;
mod change;
pub mod codec;
pub mod connection;
pub mod driver;
mod established;
pub mod message;
pub mod notification;
pub mod peer;
mod socket;
#[cfg(test)]
pub(crate) mod tests;
mod transport;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ferrolb_crds::model::{Asn, Community, Family, HoldTime, PeerAsn, Port, RouterId};
use ipnet::IpNet;

pub use self::change::{Change, Live};
pub use self::driver::{Doors, Guest, Listener, Session};
pub use self::established::{Ended, Established, Opens};
use self::message::{Message, Received};
use self::notification::Malformed;
pub(crate) use self::socket::{in_words, write_from};
pub use self::transport::{Authentication, Transport};

/// Everything one session is configured with. Two sessions with equal settings are the same session;
/// [`Settings::change_to`] says what becomes of one whose settings are others now.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Name of the BGPPeer.
    pub name: String,
    /// Address to dial.
    pub neighbor: IpAddr,
    /// Port to dial.
    pub port: Port,
    /// TCP source, if it must be a certain one.
    pub source_address: Option<IpAddr>,
    /// Our AS.
    pub local_asn: Asn,
    /// The peer's AS.
    pub peer_asn: PeerAsn,
    /// BGP Identifier; `None`: derived from the local address of the connection.
    pub router_id: Option<RouterId>,
    /// Proposed hold time.
    pub hold_time: HoldTime,
    /// Keepalive interval; `None`: a third of the negotiated hold time.
    pub keepalive_time: Option<Duration>,
    /// ConnectRetryTime; `None`: exponential back-off.
    pub connect_retry_time: Option<Duration>,
    /// Address families to negotiate.
    pub families: BTreeSet<Family>,
    /// An eBGP peer that may be more than one hop away.
    pub multi_hop: bool,
    /// What else there is to the connection.
    pub transport: Transport,
    /// Graceful restart, if it is offered.
    pub graceful_restart: Option<GracefulRestart>,
    /// Whether only the peer makes the connection.
    pub passive: bool,
    /// Name of this node, the last resort for a BGP Identifier.
    pub node: String,
}

/// Why a session is ended from this side, and so in what words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Farewell {
    /// This program goes and comes back: the peer should keep the routes if it can.
    Restart,
    /// This node takes no more traffic; in words for the peer's operator.
    Shutdown(String),
    /// There is to be no such session any more.
    Deconfigured,
    /// Another session with the same peer follows.
    Reconfigured,
}

/// Graceful restart as it is offered to a peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GracefulRestart {
    /// For how long after the restart time the peer should keep the routes (RFC 9494), in whole
    /// seconds; `None`: that is not offered.
    pub long_lived: Option<Duration>,
}

/// How one prefix is announced to one peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// LOCAL_PREF, toward iBGP peers only; `None`: 100.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// How often our AS stands in AS_PATH beside the one time it must, toward eBGP peers only.
    pub as_path_prepend: u8,
    /// Octets per second, for the peer to weigh this path by.
    pub link_bandwidth: Option<u64>,
    /// Communities, standard and large.
    pub communities: BTreeSet<Community>,
}

/// What a peer should hold from us. Prefixes have no host bits.
pub type Routes = BTreeMap<IpNet, Route>;

/// What has become of some of that: the prefix's route, or `None` where it has none any more. It says
/// what is, not what was before: told twice, or of what is known, it changes nothing, and of two about
/// one prefix the later counts.
pub type Changed = BTreeMap<IpNet, Option<Route>>;

/// Adds what is newer to what nobody has taken yet. Mostly nothing waits, and what comes is shared with
/// others as it is.
pub fn supersede(waiting: &mut Arc<Changed>, newer: Arc<Changed>) {
    if waiting.is_empty() {
        *waiting = newer;
    } else {
        let newer = newer.iter().map(|(prefix, route)| (*prefix, route.clone()));
        Arc::make_mut(waiting).extend(newer);
    }
}

/// States of RFC 4271 §8.2.2, as reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SessionState {
    /// Not trying.
    Idle,
    /// Waiting for TCP.
    Connect,
    /// Waiting to try again.
    Active,
    /// OPEN sent.
    OpenSent,
    /// OPEN received and accepted.
    OpenConfirm,
    /// Routes are exchanged.
    Established,
}

/// What can be said about a session.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionStatus {
    /// Where it stands.
    pub state: SessionState,
    /// Since when.
    pub since: SystemTime,
    /// Why the last connection ended, or why none comes up.
    pub last_error: Option<String>,
    /// Prefixes the peer holds from us.
    pub prefixes: usize,
    /// Prefixes the peer should hold from us.
    pub desired: usize,
    /// UPDATE messages sent since the session was started.
    pub updates_sent: u64,
    /// Other messages since then.
    pub messages: Messages,
    /// Hold time agreed on, while Established.
    pub hold_time: Option<HoldTime>,
    /// Families agreed on, while Established.
    pub families: BTreeSet<Family>,
    /// Capabilities that both ends have, by name, while Established.
    pub capabilities: Vec<&'static str>,
    /// Local address of the connection, while there is one.
    pub local_address: Option<IpAddr>,
    /// What it has come to be by, while Established.
    pub established: Option<Arc<Established>>,
    /// What the one before ended by, if there was one.
    pub ended: Option<Arc<Ended>>,
}

/// How many messages there were, beside the UPDATEs sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Messages {
    /// OPEN, sent.
    pub opens_sent: u64,
    /// OPEN, received.
    pub opens_received: u64,
    /// NOTIFICATION, sent.
    pub notifications_sent: u64,
    /// ROUTE-REFRESH, sent: the marks around an answer (RFC 7313).
    pub route_refreshes_sent: u64,
    /// KEEPALIVE, sent.
    pub keepalives_sent: u64,
    /// KEEPALIVE, received.
    pub keepalives_received: u64,
    /// UPDATE, received.
    pub updates_received: u64,
    /// All that were received, whatever became of them.
    pub received: u64,
}

impl Messages {
    /// All that were sent, UPDATEs aside.
    pub fn sent(&self) -> u64 {
        let ends = self.opens_sent + self.notifications_sent;
        ends + self.keepalives_sent + self.route_refreshes_sent
    }

    fn count_sent(&mut self, message: &Message) {
        match message {
            Message::Open(_) => self.opens_sent += 1,
            Message::Notification(_) => self.notifications_sent += 1,
            Message::Keepalive => self.keepalives_sent += 1,
        }
    }

    fn count_received(&mut self, message: &Result<Received, Malformed>) {
        self.received += 1;
        match message {
            Ok(Received::Open(_)) => self.opens_received += 1,
            Ok(Received::Update) => self.updates_received += 1,
            Ok(Received::Keepalive) => self.keepalives_received += 1,
            Ok(Received::Notification(_) | Received::RouteRefresh(_)) | Err(_) => {}
        }
    }
}
