//! BGP messages as plain data (RFC 4271 §4).
//!
//! There is no UPDATE among them: those we send are composed from routes by the codec, and the
//! content of those we receive is dropped once its framing has been checked.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use ferrolb_crds::model::Family;

use super::notification::Notification;

/// Message types (RFC 4271 §4.1, RFC 2918 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageType {
    /// 1
    Open,
    /// 2
    Update,
    /// 3
    Notification,
    /// 4
    Keepalive,
    /// 5
    RouteRefresh,
}

impl MessageType {
    /// Every type.
    pub const ALL: [Self; 5] = [
        Self::Open,
        Self::Update,
        Self::Notification,
        Self::Keepalive,
        Self::RouteRefresh,
    ];

    /// IANA's number.
    pub fn code(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Update => 2,
            Self::Notification => 3,
            Self::Keepalive => 4,
            Self::RouteRefresh => 5,
        }
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "OPEN",
            Self::Update => "UPDATE",
            Self::Notification => "NOTIFICATION",
            Self::Keepalive => "KEEPALIVE",
            Self::RouteRefresh => "ROUTE-REFRESH",
        })
    }
}

/// A message we send, apart from UPDATE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// §4.2
    Open(Open),
    /// §4.5
    Notification(Notification),
    /// §4.4
    Keepalive,
}

/// A message a peer sent, well-formed as far as its receiver cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// §4.2
    Open(Open),
    /// §4.3; also one that RFC 7606 would treat as withdraw: nothing of it is kept in either case.
    Update,
    /// §4.5
    Notification(Notification),
    /// §4.4
    Keepalive,
    /// RFC 2918; `None`: a request we have nothing for (another family, an RFC 7313 marker).
    RouteRefresh(Option<Family>),
}

/// What a ROUTE-REFRESH that we send tells (RFC 7313 §3.2): where the answer to a request lies among
/// the UPDATEs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshMarker {
    /// BoRR: everything of a family follows.
    Begin,
    /// EoRR: that was everything.
    End,
}

/// An OPEN message (RFC 4271 §4.2). Its version is 4: others do not get past the codec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// My Autonomous System: two octets, AS_TRANS where the number does not fit.
    pub autonomous_system: u16,
    /// Hold Time in seconds, as proposed: 1 and 2 are possible here.
    pub hold_time: u16,
    /// BGP Identifier, as sent: 0 is possible here.
    pub router_id: Ipv4Addr,
    /// All capabilities of all optional parameters, in the order they came.
    pub capabilities: Vec<Capability>,
}

/// A capability (RFC 5492).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capability {
    /// RFC 4760: code 1.
    MultiProtocol(AfiSafi),
    /// RFC 2918: code 2.
    RouteRefresh,
    /// RFC 8950: code 5.
    ExtendedNextHop(Vec<ExtendedNextHop>),
    /// RFC 8654: code 6.
    ExtendedMessage,
    /// RFC 4724: code 64.
    GracefulRestart(GracefulRestart),
    /// RFC 6793: code 65.
    FourOctetAsn(u32),
    /// RFC 7313: code 70.
    EnhancedRouteRefresh,
    /// RFC 9494: code 71.
    LongLivedGracefulRestart(Vec<LongLived>),
    /// Any other, and a known one with a value of the wrong length: it counts as not offered.
    Other {
        /// IANA's number.
        code: u8,
        /// As received.
        value: Vec<u8>,
    },
}

/// Address family and subsequent address family, by IANA's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AfiSafi {
    /// Address Family Identifier.
    pub afi: u16,
    /// Subsequent Address Family Identifier.
    pub safi: u8,
}

impl AfiSafi {
    /// Unicast of a family.
    pub fn unicast(family: Family) -> Self {
        let afi = match family {
            Family::V4 => Self::AFI_IPV4,
            Family::V6 => Self::AFI_IPV6,
        };
        Self {
            afi,
            safi: Self::SAFI_UNICAST,
        }
    }

    /// The family, if this is its unicast.
    pub fn family(self) -> Option<Family> {
        Family::ALL
            .into_iter()
            .find(|family| Self::unicast(*family) == self)
    }

    /// IANA's number of IPv4.
    pub const AFI_IPV4: u16 = 1;
    /// IANA's number of IPv6.
    pub const AFI_IPV6: u16 = 2;
    const SAFI_UNICAST: u8 = 1;
}

/// One triple of the extended next hop capability (RFC 8950 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtendedNextHop {
    /// NLRI AFI.
    pub afi: u16,
    /// NLRI SAFI, two octets in this capability.
    pub safi: u16,
    /// Nexthop AFI.
    pub next_hop_afi: u16,
}

impl ExtendedNextHop {
    /// IPv4 unicast by way of an IPv6 next hop: the only one we know.
    pub const IPV4_OVER_IPV6: Self = Self {
        afi: AfiSafi::AFI_IPV4,
        safi: AfiSafi::SAFI_UNICAST as u16,
        next_hop_afi: AfiSafi::AFI_IPV6,
    };
}

/// The graceful restart capability (RFC 4724 §3, RFC 8538 §2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GracefulRestart {
    /// R: the sender has restarted, and its routes need not be waited for.
    pub is_restarting: bool,
    /// N: a NOTIFICATION, too, leaves routes in place, unless it is a Hard Reset.
    pub has_notification: bool,
    /// Seconds until the sender should be back; 12 bits.
    pub restart_time: u16,
    /// Families it takes part with; none: it only keeps the routes of others.
    pub families: Vec<Preserved>,
}

/// One family of the graceful restart capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preserved {
    /// Which.
    pub afi_safi: AfiSafi,
    /// F: traffic was forwarded all the while.
    pub is_forwarding: bool,
}

/// One family of the long-lived graceful restart capability (RFC 9494 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongLived {
    /// Which.
    pub afi_safi: AfiSafi,
    /// F: traffic was forwarded all the while.
    pub is_forwarding: bool,
    /// Seconds for which routes are kept after the restart time; 24 bits.
    pub stale_time: u32,
}

/// What stands in for an AS number that does not fit into two octets (RFC 6793).
pub const AS_TRANS: u16 = 23456;

/// The next hop of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NextHop {
    /// For IPv4 routes.
    V4(Ipv4Addr),
    /// For IPv6 routes, and by RFC 8950 for IPv4 routes.
    V6 {
        /// The address proper.
        global: Ipv6Addr,
        /// RFC 2545 §3: in addition, toward a peer that is reached by its link-local address.
        link_local: Option<Ipv6Addr>,
    },
}

/// The path attributes of one UPDATE (RFC 4271 §5); ORIGIN is always IGP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// AS_PATH.
    pub as_path: AsPath,
    /// NEXT_HOP, or the next hop in MP_REACH_NLRI.
    pub next_hop: NextHop,
    /// How often our AS stands in AS_PATH beside the one time it must.
    pub as_path_prepend: u8,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF, toward internal peers only.
    pub local_pref: Option<u32>,
    /// COMMUNITIES (RFC 1997).
    pub communities: Vec<(u16, u16)>,
    /// EXTENDED COMMUNITIES (RFC 4360), of which we have one.
    pub link_bandwidth: Option<LinkBandwidth>,
    /// LARGE_COMMUNITIES (RFC 8092).
    pub large_communities: Vec<(u32, u32, u32)>,
}

/// The link bandwidth extended community (draft-ietf-idr-link-bandwidth §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkBandwidth {
    /// Whose link it is: our AS, or AS_TRANS.
    pub asn: u16,
    /// Octets per second; on the wire as the nearest number of single precision (IEEE 754).
    pub bandwidth: u64,
}

/// An AS_PATH as the originator of a route writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsPath {
    /// Toward an internal peer.
    Empty,
    /// Our AS in four octets.
    FourOctet(u32),
    /// Our AS for a peer that knows two octets only: AS_TRANS and AS4_PATH where it does not fit.
    TwoOctet(u32),
}
