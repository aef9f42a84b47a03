//! BGP neighbours and BFD profiles.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::{Labels, Selector};

/// An autonomous system number, 4 octets, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asn(u32);

impl Asn {
    /// `None` for 0, which RFC 7607 forbids.
    pub fn new(value: u32) -> Option<Self> {
        (value != 0).then_some(Self(value))
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The BGP Identifier (RFC 4271 §4.2), which operators call router ID. Never 0.0.0.0 on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouterId(pub Ipv4Addr);

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A TCP or UDP port, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(u16);

impl Port {
    /// BGP's well-known port.
    pub const BGP: Self = Self(179);

    /// `None` for 0.
    pub fn new(value: u16) -> Option<Self> {
        (value != 0).then_some(Self(value))
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A BGP hold time: 0 (no keepalives, no timer) or 3 to 65535 seconds (RFC 4271 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HoldTime(u16);

impl HoldTime {
    /// What is proposed when nothing is configured.
    pub const DEFAULT: Self = Self(90);

    /// `None` for 1 and 2 seconds.
    pub fn new(seconds: u16) -> Option<Self> {
        (seconds == 0 || seconds >= 3).then_some(Self(seconds))
    }

    /// As it stands on the wire.
    pub fn seconds(self) -> u16 {
        self.0
    }

    /// `None` when the timer is off.
    pub fn duration(self) -> Option<Duration> {
        (self.0 != 0).then(|| Duration::from_secs(u64::from(self.0)))
    }
}

/// A password: never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps the text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A Secret object by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretRef {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// A BGPPeer.
#[derive(Debug, Clone, PartialEq)]
pub struct Peer {
    /// Object name.
    pub name: String,
    /// `myASN`.
    pub my_asn: Asn,
    /// `localASN`: shown to this peer in place of `myASN`.
    pub local_asn: Option<Asn>,
    /// Who the peer is.
    pub peer_asn: PeerAsn,
    /// Where the peer is.
    pub neighbor: Neighbor,
    /// TCP port of the peer.
    pub port: Port,
    /// TCP source.
    pub source_address: Option<IpAddr>,
    /// `None`: the default.
    pub hold_time: Option<HoldTime>,
    /// `None`: a third of the hold time.
    pub keepalive_time: Option<Duration>,
    /// ConnectRetryTime.
    pub connect_time: Option<Duration>,
    /// BGP Identifier; `None`: the node's own.
    pub router_id: Option<RouterId>,
    /// Which nodes run this session; empty: all.
    pub nodes: Vec<Selector>,
    /// TCP MD5 key, given in place or found in the Secret that `password_secret` names.
    pub password: Option<Secret>,
    /// TCP MD5 key by reference.
    pub password_secret: Option<SecretRef>,
    /// Name of a BFDProfile.
    pub bfd_profile: Option<String>,
    /// RFC 4724; `None`: without.
    pub graceful_restart: Option<GracefulRestart>,
    /// The peer makes the connection, and nobody dials it.
    pub passive: bool,
    /// The peer may be more than one hop away.
    pub ebgp_multi_hop: bool,
    /// Linux VRF.
    pub vrf: Option<String>,
    /// Both families on the one session.
    pub dual_stack: bool,
}

/// Graceful restart as it is offered to a peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GracefulRestart {
    /// For how long after the restart time the peer should keep the routes (RFC 9494), in whole
    /// seconds; `None`: that is not offered.
    pub long_lived: Option<Duration>,
}

/// How the peer's ASN is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerAsn {
    /// `peerASN`.
    Exact(Asn),
    /// `dynamicASN: internal`: whatever it is, it equals ours.
    Internal,
    /// `dynamicASN: external`: whatever it is, it differs from ours.
    External,
}

/// How the peer is found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Neighbor {
    /// `peerAddress`.
    Address(IpAddr),
    /// `interface`: BGP unnumbered.
    Interface(String),
}

impl fmt::Display for Neighbor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Interface(name) => name.fmt(f),
        }
    }
}

impl Peer {
    /// Whether a node with these labels runs the session.
    pub fn selects_node(&self, labels: &Labels) -> bool {
        Selector::any_or_all(&self.nodes, labels)
    }
}

/// A BFDProfile. `None`: BFD's default of the field.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BfdProfile {
    /// Object name.
    pub name: String,
    /// RequiredMinRxInterval.
    pub receive_interval: Option<Duration>,
    /// DesiredMinTxInterval.
    pub transmit_interval: Option<Duration>,
    /// DetectMult.
    pub detect_multiplier: Option<u8>,
    /// Echo interval, both ways.
    pub echo_interval: Option<Duration>,
    /// Whether to use the echo function.
    pub echo_mode: bool,
    /// Whether to wait for the peer to begin.
    pub passive_mode: bool,
    /// Lowest TTL accepted, multihop only.
    pub minimum_ttl: Option<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i10_a_secret_is_not_in_the_debug_output() {
        let secret = Secret::new("hunter2".to_owned());
        assert!(!format!("{secret:?} {:?}", Some(&secret)).contains("hunter2"));
    }

    #[test]
    fn hold_times_of_one_and_two_seconds_do_not_exist() {
        let valid: Vec<u16> = (0..6).filter(|s| HoldTime::new(*s).is_some()).collect();
        assert_eq!(valid, [0, 3, 4, 5]);
    }
}
