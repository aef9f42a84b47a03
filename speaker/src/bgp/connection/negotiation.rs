//! Two OPENs to what holds for a session (RFC 4271 §6.2, RFC 5492 and those of the capabilities).
//!
//! Where a peer offers a capability more than once with different values: families and triples add
//! up, of AS numbers the first counts, of graceful restart the last (RFC 4724 §3).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use ferrolb_crds::model::{Asn, Family, HoldTime, PeerAsn};

use super::super::message::{
    AS_TRANS, AfiSafi, Capability, ExtendedNextHop, GracefulRestart, LongLived, Open, Preserved,
};
use super::super::notification::{ExpectedAs, OpenError};
use super::super::{Settings, codec};
use super::endpoint::Endpoint;

/// What both sides agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// Our end.
    pub endpoint: Endpoint,
    /// The peer's AS.
    pub peer_asn: Asn,
    /// The peer's BGP Identifier.
    pub peer_router_id: Ipv4Addr,
    /// Whether it is ours (iBGP).
    pub is_internal: bool,
    /// The lesser of both proposals.
    pub hold_time: HoldTime,
    /// Time between two KEEPALIVEs, before jitter; `None` with a hold time of 0.
    pub keepalive_time: Option<Duration>,
    /// Families both offered.
    pub families: BTreeSet<Family>,
    /// Whether the peer knows AS numbers of four octets.
    pub has_four_octet_asn: bool,
    /// Whether IPv4 routes may have IPv6 next hops.
    pub has_extended_next_hop: bool,
    /// Whether messages may be longer than 4096 octets.
    pub has_extended_message: bool,
    /// Whether the peer may ask for everything anew.
    pub has_route_refresh: bool,
    /// Whether the answer to a refresh request is marked.
    pub has_enhanced_refresh: bool,
    /// What was agreed on for a restart; `None`: nothing, it is the end of the routes.
    pub graceful_restart: Option<RestartTerms>,
    /// Whether the peer keeps routes for longer than the restart time (RFC 9494).
    pub has_long_lived: bool,
}

/// What both sides said of restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartTerms {
    /// RFC 8538: a NOTIFICATION leaves the routes in place, unless it is a Hard Reset.
    pub has_notification: bool,
    /// The peer restarts gracefully itself and does not only wait for us: its next connection may come
    /// before the loss of this one is seen.
    pub is_mutual: bool,
}

impl Negotiated {
    /// Takes over what of the settings needs no agreement; true if the keepalive interval is another one.
    pub(super) fn adjust(&mut self, settings: &Settings) -> bool {
        let keepalive_time = keepalive_time(settings, self.hold_time);
        std::mem::replace(&mut self.keepalive_time, keepalive_time) != keepalive_time
    }

    /// The longest message on this session.
    pub fn message_limit(&self) -> usize {
        if self.has_extended_message {
            codec::MAX_EXTENDED_MESSAGE
        } else {
            codec::MAX_MESSAGE
        }
    }

    /// What was agreed on beside the families, by the names that operators are shown.
    pub fn capabilities(&self) -> Vec<&'static str> {
        let terms = self.graceful_restart;
        let all = [
            ("enhancedRouteRefresh", self.has_enhanced_refresh),
            ("extendedMessage", self.has_extended_message),
            ("extendedNextHop", self.has_extended_next_hop),
            ("fourOctetAsn", self.has_four_octet_asn),
            ("gracefulRestart", terms.is_some()),
            (
                "gracefulRestartNotification",
                terms.is_some_and(|terms| terms.has_notification),
            ),
            ("longLivedGracefulRestart", self.has_long_lived),
            ("routeRefresh", self.has_route_refresh),
        ];
        let agreed = all.into_iter().filter(|(_, is_agreed)| *is_agreed);
        agreed.map(|(name, _)| name).collect()
    }
}

/// The OPEN we send.
pub(super) fn offer(settings: &Settings, endpoint: &Endpoint, is_restarting: bool) -> Open {
    let asn = settings.local_asn.get();
    let mut capabilities = families(settings);
    capabilities.push(Capability::RouteRefresh);
    if offers_extended_next_hop(settings, endpoint) {
        let triples = vec![ExtendedNextHop::IPV4_OVER_IPV6];
        capabilities.push(Capability::ExtendedNextHop(triples));
    }
    capabilities.push(Capability::ExtendedMessage);
    capabilities.extend(graceful_restart(settings, is_restarting));
    capabilities.push(Capability::FourOctetAsn(asn));
    capabilities.push(Capability::EnhancedRouteRefresh);
    capabilities.extend(long_lived(settings));
    Open {
        autonomous_system: u16::try_from(asn).unwrap_or(AS_TRANS),
        hold_time: settings.hold_time.seconds(),
        router_id: endpoint.router_id(settings),
        capabilities,
    }
}

fn families(settings: &Settings) -> Vec<Capability> {
    let families = settings.families.iter();
    families
        .map(|family| Capability::MultiProtocol(AfiSafi::unicast(*family)))
        .collect()
}

/// F is always set: the way of the traffic does not lead through this program.
fn graceful_restart(settings: &Settings, is_restarting: bool) -> Option<Capability> {
    settings.graceful_restart?;
    let families = settings.families.iter().map(|family| Preserved {
        afi_safi: AfiSafi::unicast(*family),
        is_forwarding: true,
    });
    Some(Capability::GracefulRestart(GracefulRestart {
        is_restarting,
        has_notification: true,
        restart_time: RESTART_TIME,
        families: families.collect(),
    }))
}

fn long_lived(settings: &Settings) -> Option<Capability> {
    let stale_time = settings.graceful_restart?.long_lived?.as_secs();
    let families = settings.families.iter().map(|family| LongLived {
        afi_safi: AfiSafi::unicast(*family),
        is_forwarding: true,
        stale_time: u32::try_from(stale_time)
            .map_or(LONGEST_STALE_TIME, |time| time.min(LONGEST_STALE_TIME)),
    });
    Some(Capability::LongLivedGracefulRestart(families.collect()))
}

/// What the peer's OPEN makes of it, or why it cannot be accepted.
pub(super) fn negotiate(
    settings: &Settings,
    endpoint: Endpoint,
    open: &Open,
) -> Result<Negotiated, OpenError> {
    let peer_asn = accepted_asn(settings, open)?;
    let is_internal = peer_asn == settings.local_asn;
    check_router_id(settings, &endpoint, open, is_internal)?;
    let hold_time = HoldTime::new(open.hold_time)
        .ok_or(OpenError::UnacceptableHoldTime(open.hold_time))?
        .min(settings.hold_time);
    let agreed = &settings.families & &offered_families(open);
    // RFC 5492 §3: there is nothing to be said on such a session.
    if agreed.is_empty() {
        let capabilities = codec::encode_capabilities(&families(settings));
        return Err(OpenError::UnsupportedCapability(capabilities));
    }
    let offers = |capability: Capability| open.capabilities.contains(&capability);
    let has_extended_next_hop = offers_extended_next_hop(settings, &endpoint)
        && open.capabilities.iter().any(is_extended_next_hop);
    Ok(Negotiated {
        peer_asn,
        peer_router_id: open.router_id,
        is_internal,
        hold_time,
        keepalive_time: keepalive_time(settings, hold_time),
        families: agreed,
        has_four_octet_asn: four_octet_asn(open).is_some(),
        has_extended_next_hop,
        has_extended_message: offers(Capability::ExtendedMessage),
        has_route_refresh: offers(Capability::RouteRefresh),
        has_enhanced_refresh: offers(Capability::EnhancedRouteRefresh),
        graceful_restart: restart_terms(settings, open),
        has_long_lived: is_long_lived(settings, open),
        endpoint,
    })
}

/// RFC 6793 §4.1: where the capability is present, it holds the number.
fn accepted_asn(settings: &Settings, open: &Open) -> Result<Asn, OpenError> {
    let offered = four_octet_asn(open).unwrap_or_else(|| u32::from(open.autonomous_system));
    let ours = settings.local_asn;
    let expected = match settings.peer_asn {
        PeerAsn::Exact(asn) => ExpectedAs::Exactly(asn),
        PeerAsn::Internal => ExpectedAs::Exactly(ours),
        PeerAsn::External => ExpectedAs::OtherThan(ours),
    };
    // RFC 7607: 0 is nobody's AS.
    Asn::new(offered)
        .filter(|offered| match expected {
            ExpectedAs::Exactly(asn) => *offered == asn,
            ExpectedAs::OtherThan(asn) => *offered != asn,
        })
        .ok_or(OpenError::BadPeerAs { offered, expected })
}

/// RFC 6286 §2.2: zero never, our own not within an AS.
fn check_router_id(
    settings: &Settings,
    endpoint: &Endpoint,
    open: &Open,
    is_internal: bool,
) -> Result<(), OpenError> {
    let is_ours = is_internal && open.router_id == endpoint.router_id(settings);
    if open.router_id.is_unspecified() || is_ours {
        return Err(OpenError::BadBgpIdentifier(open.router_id));
    }
    Ok(())
}

/// A third of the hold time at most (RFC 4271 §4.4), also when more is configured: the peer may
/// have lowered the hold time.
fn keepalive_time(settings: &Settings, hold_time: HoldTime) -> Option<Duration> {
    let third = hold_time.duration()? / 3;
    let configured = settings.keepalive_time.filter(|time| !time.is_zero());
    Some(configured.map_or(third, |time| time.min(third)))
}

/// RFC 4760 §8: a peer without the capability knows IPv4 unicast and nothing else.
fn offered_families(open: &Open) -> BTreeSet<Family> {
    let offered: Vec<AfiSafi> = open
        .capabilities
        .iter()
        .filter_map(multi_protocol)
        .collect();
    if offered.is_empty() {
        return BTreeSet::from([Family::V4]);
    }
    offered.into_iter().filter_map(AfiSafi::family).collect()
}

fn multi_protocol(capability: &Capability) -> Option<AfiSafi> {
    let Capability::MultiProtocol(afi_safi) = capability else {
        return None;
    };
    Some(*afi_safi)
}

fn is_extended_next_hop(capability: &Capability) -> bool {
    let Capability::ExtendedNextHop(triples) = capability else {
        return false;
    };
    triples.contains(&ExtendedNextHop::IPV4_OVER_IPV6)
}

fn four_octet_asn(open: &Open) -> Option<u32> {
    let asn = |capability: &Capability| {
        let Capability::FourOctetAsn(asn) = capability else {
            return None;
        };
        Some(*asn)
    };
    open.capabilities.iter().find_map(asn)
}

fn restart_terms(settings: &Settings, open: &Open) -> Option<RestartTerms> {
    settings.graceful_restart?;
    let terms = |capability: &Capability| {
        let Capability::GracefulRestart(offered) = capability else {
            return None;
        };
        Some(RestartTerms {
            has_notification: offered.has_notification,
            is_mutual: !offered.families.is_empty(),
        })
    };
    open.capabilities.iter().rev().find_map(terms)
}

fn is_long_lived(settings: &Settings, open: &Open) -> bool {
    let is_offered = |capability| matches!(capability, &Capability::LongLivedGracefulRestart(_));
    let ours = settings.graceful_restart.and_then(|ours| ours.long_lived);
    ours.is_some() && open.capabilities.iter().any(is_offered)
}

/// Only where it has a use: IPv4 routes on a session over IPv6.
fn offers_extended_next_hop(settings: &Settings, endpoint: &Endpoint) -> bool {
    endpoint.local.is_ipv6() && settings.families.contains(&Family::V4)
}

/// Seconds until we should be back: what FRR announces, too.
const RESTART_TIME: u16 = 120;
/// 24 bits of seconds (RFC 9494 §3.1).
const LONGEST_STALE_TIME: u32 = 0x00ff_ffff;
