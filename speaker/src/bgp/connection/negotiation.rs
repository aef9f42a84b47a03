//! Two OPENs to what holds for a session (RFC 4271 §6.2, RFC 5492, RFC 6793, RFC 8950).

use std::collections::BTreeSet;
use std::time::Duration;

use ferrolb_crds::model::{Asn, Family, HoldTime, PeerAsn};

use super::super::Settings;
use super::super::message::{AS_TRANS, AfiSafi, Capability, ExtendedNextHop, Open};
use super::super::notification::{ExpectedAs, OpenError};
use super::endpoint::Endpoint;

/// What both sides agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// Our end.
    pub endpoint: Endpoint,
    /// The peer's AS.
    pub peer_asn: Asn,
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
}

/// The OPEN we send.
pub(super) fn offer(settings: &Settings, endpoint: &Endpoint) -> Open {
    let asn = settings.local_asn.get();
    let families = settings.families.iter();
    let mut capabilities: Vec<Capability> = families
        .map(|family| Capability::MultiProtocol(AfiSafi::unicast(*family)))
        .collect();
    capabilities.push(Capability::RouteRefresh);
    if offers_extended_next_hop(settings, endpoint) {
        let triples = vec![ExtendedNextHop::IPV4_OVER_IPV6];
        capabilities.push(Capability::ExtendedNextHop(triples));
    }
    capabilities.push(Capability::FourOctetAsn(asn));
    Open {
        autonomous_system: u16::try_from(asn).unwrap_or(AS_TRANS),
        hold_time: settings.hold_time.seconds(),
        router_id: endpoint.router_id(settings),
        capabilities,
    }
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
    let has_extended_next_hop = offers_extended_next_hop(settings, &endpoint)
        && open.capabilities.iter().any(is_extended_next_hop);
    Ok(Negotiated {
        peer_asn,
        is_internal,
        hold_time,
        keepalive_time: keepalive_time(settings, hold_time),
        families: &settings.families & &offered_families(open),
        has_four_octet_asn: four_octet_asn(open).is_some(),
        has_extended_next_hop,
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
    match capability {
        Capability::MultiProtocol(afi_safi) => Some(*afi_safi),
        Capability::RouteRefresh
        | Capability::ExtendedNextHop(_)
        | Capability::FourOctetAsn(_)
        | Capability::Other { .. } => None,
    }
}

fn is_extended_next_hop(capability: &Capability) -> bool {
    match capability {
        Capability::ExtendedNextHop(triples) => triples.contains(&ExtendedNextHop::IPV4_OVER_IPV6),
        Capability::MultiProtocol(_)
        | Capability::RouteRefresh
        | Capability::FourOctetAsn(_)
        | Capability::Other { .. } => false,
    }
}

fn four_octet_asn(open: &Open) -> Option<u32> {
    open.capabilities
        .iter()
        .find_map(|capability| match capability {
            Capability::FourOctetAsn(asn) => Some(*asn),
            Capability::MultiProtocol(_)
            | Capability::RouteRefresh
            | Capability::ExtendedNextHop(_)
            | Capability::Other { .. } => None,
        })
}

/// Only where it has a use: IPv4 routes on a session over IPv6.
fn offers_extended_next_hop(settings: &Settings, endpoint: &Endpoint) -> bool {
    endpoint.local.is_ipv6() && settings.families.contains(&Family::V4)
}
