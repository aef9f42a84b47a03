//! Bidirectional Forwarding Detection (RFC 5880), single hop (RFC 5881) and multihop (RFC 5883):
//! whether the path to a BGP peer carries packets, known within a fraction of a second.
//!
//! ```text
//!   wanted ──▶ ┌──────── sessions ────────┐ ──▶ Report, failures
//!              │ demultiplexer   session … │
//!              └──────▲───────────┬───────┘
//!              driver │  packets  │
//! ```
//!
//! Asynchronous mode and the echo function; no demand mode of our own, and no authentication.
//! `packet` and `echo` are the wire, `session` is the machine of §6.8, `demultiplexer` says whose a
//! packet is, and `sessions` is all of them as one machine. Only `driver` and `socket` know that
//! there is a network. Who is to hear that a path has failed the composition root decides.

pub mod allowance;
pub mod demultiplexer;
pub mod driver;
pub mod echo;
pub mod filter;
pub mod packet;
pub mod session;
pub mod sessions;
mod socket;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::time::{Duration, SystemTime};

pub use self::demultiplexer::Discard;
pub use self::driver::{Bfd, StartError};
pub use self::packet::{Diagnostic, State};

/// Which session: one for every path, however many want to know of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionKey {
    /// Whom to talk to.
    pub peer: IpAddr,
    /// By which interface, for an address that means something on that one alone.
    pub interface: Option<u32>,
    /// By which VRF, or other device that both ends of the path are bound to.
    pub vrf: Option<String>,
    /// Our own address, if it must be a certain one.
    pub local: Option<IpAddr>,
    /// How far away the peer is.
    pub reach: Reach,
}

/// How far away a peer is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// On the link: RFC 5881.
    SingleHop,
    /// Anywhere: RFC 5883.
    Multihop,
    /// On the link if it is in a network of an interface, anywhere else if not.
    AsFound,
}

/// How far away a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hops {
    /// RFC 5881.
    Single,
    /// RFC 5883.
    Multiple,
}

/// How a session is run. A change of these ends no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// bfd.DesiredMinTxInterval, while Up.
    pub desired_min_tx: Duration,
    /// bfd.RequiredMinRxInterval, while there is no echo.
    pub required_min_rx: Duration,
    /// bfd.DetectMult.
    pub detect_multiplier: NonZeroU8,
    /// Whether to send nothing before the peer does.
    pub is_passive: bool,
    /// Least time between two echo packets, both ways; `None`: there are none.
    pub echo: Option<Duration>,
    /// Lowest TTL of a packet over several hops.
    pub minimum_ttl: u8,
}

impl Parameters {
    /// What holds where a profile says nothing.
    pub const DEFAULT: Self = Self {
        desired_min_tx: Duration::from_millis(300),
        required_min_rx: Duration::from_millis(300),
        detect_multiplier: NonZeroU8::new(3).expect("three"),
        is_passive: false,
        echo: None,
        minimum_ttl: 254,
    };
    /// Time between two echo packets where a profile says nothing.
    pub const ECHO: Duration = Duration::from_millis(50);

    /// One session for two who want it with different parameters: it finds a failure as soon as the
    /// more demanding of them wants to know, and is passive only if both are.
    #[must_use]
    pub fn joined(self, other: Self) -> Self {
        let echoes = self.echo.into_iter().chain(other.echo);
        Self {
            desired_min_tx: self.desired_min_tx.min(other.desired_min_tx),
            required_min_rx: self.required_min_rx.min(other.required_min_rx),
            detect_multiplier: self.detect_multiplier.min(other.detect_multiplier),
            is_passive: self.is_passive && other.is_passive,
            echo: echoes.min(),
            minimum_ttl: self.minimum_ttl.max(other.minimum_ttl),
        }
    }
}

/// The sessions that should be, each with how it should be run.
pub type Wanted = BTreeMap<SessionKey, Parameters>;

/// What can be said about a session.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionStatus {
    /// Where it stands.
    pub state: State,
    /// Since when.
    pub since: SystemTime,
    /// Why it stands there (bfd.LocalDiag).
    pub diagnostic: Diagnostic,
    /// Where the peer says that it stands.
    pub remote_state: State,
    /// And why.
    pub remote_diagnostic: Diagnostic,
    /// Why it was last lost, if it ever was.
    pub last_failure: Option<Diagnostic>,
    /// Whether the peer is one hop away.
    pub hops: Hops,
    /// Time between two control packets of ours, without jitter; `None`: none are sent.
    pub transmit_interval: Option<Duration>,
    /// Silence after which the session is down.
    pub detection_time: Option<Duration>,
    /// Whether echo packets come back.
    pub is_echo_active: bool,
    /// Why it cannot be run, if it cannot.
    pub problem: Option<String>,
}

/// How many packets there were, and how often the session came and went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Control packets, received and believed.
    pub control_in: u64,
    /// Control packets, sent.
    pub control_out: u64,
    /// Echo packets of ours that came back.
    pub echo_in: u64,
    /// Echo packets, sent.
    pub echo_out: u64,
    /// Times that it came up.
    pub ups: u64,
    /// Times that it went down.
    pub downs: u64,
}

/// How the path to one peer stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Standing {
    /// Its session; `None`: BFD has not begun, or does not run.
    pub status: Option<SessionStatus>,
    /// The same, counted.
    pub counts: Counts,
    /// Why BFD does not run.
    pub problem: Option<String>,
}

/// How all of BFD stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// The sessions.
    pub sessions: BTreeMap<SessionKey, SessionStatus>,
    /// The same, counted; at most half a second old.
    pub counts: BTreeMap<SessionKey, Counts>,
    /// Packets that were not believed, by the reason.
    pub dropped: BTreeMap<Discard, u64>,
}

/// Class of every packet: CS6, which is network control (RFC 4594 §3.1).
const CLASS: u8 = 0xc0;
