//! Which prefixes with which attributes to which peers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ferrolb_crds::model::{
    Asn, BgpAdvertisement, Community, Family, GracefulRestart, HoldTime, Neighbor, Node, Peer,
    PeerAsn, Pool, Port, RouterId,
};
use ipnet::IpNet;

use super::AddressPlan;
use super::eligibility::{Claim, Endpoints, Reason, node_is_fit};
use crate::world::{Delivery, World};

/// One prefix that one advertisement makes of an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Advertised {
    /// The prefix, without host bits.
    pub prefix: IpNet,
    /// How it is announced.
    pub attributes: Attributes,
    /// To which peers of this node, by name, ascending; never none.
    pub peers: Box<[String]>,
}

/// How a prefix is announced.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attributes {
    /// LOCAL_PREF, toward iBGP peers only.
    pub local_pref: Option<u32>,
    /// Communities, standard and large.
    pub communities: BTreeSet<Community>,
}

/// A BGP peer of this node.
#[derive(Debug, Clone, PartialEq)]
pub enum PeerPlan {
    /// There should be a session.
    Run(Session),
    /// There should be one, but it asks for what is not built.
    Refused {
        /// Where the peer is.
        neighbor: Neighbor,
        /// The fields of the BGPPeer that stand in the way, such as `spec.vrf`.
        fields: Vec<&'static str>,
    },
}

/// A session that should run.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// Address to dial.
    pub neighbor: IpAddr,
    /// Port to dial.
    pub port: Port,
    /// TCP source, if it must be a certain one.
    pub source_address: Option<IpAddr>,
    /// The AS shown to this peer.
    pub local_asn: Asn,
    /// The peer's AS.
    pub peer_asn: PeerAsn,
    /// BGP Identifier; `None`: the node's own.
    pub router_id: Option<RouterId>,
    /// Proposed hold time.
    pub hold_time: HoldTime,
    /// Keepalive interval; `None`: a third of the hold time.
    pub keepalive_time: Option<Duration>,
    /// ConnectRetryTime; `None`: exponential back-off.
    pub connect_retry_time: Option<Duration>,
    /// Families to negotiate: that of the session, and the other where it is dual-stack.
    pub families: BTreeSet<Family>,
    /// The peer may be more than one hop away.
    pub multi_hop: bool,
    /// Graceful restart, if it is offered.
    pub graceful_restart: Option<GracefulRestart>,
    /// Whether only the peer makes the connection.
    pub passive: bool,
}

/// The peers of this node.
pub fn peers(world: &World) -> BTreeMap<String, PeerPlan> {
    let peers = world.peers_here();
    peers
        .map(|peer| (peer.name.clone(), peer_plan(peer)))
        .collect()
}

/// What one peer should hold: the union over the addresses. Where several make the same prefix its
/// communities are united and the highest local preference is taken, whatever the order.
pub fn routes<'a>(
    addresses: impl Iterator<Item = &'a AddressPlan>,
    peer: &str,
) -> BTreeMap<IpNet, Attributes> {
    let mut routes: BTreeMap<IpNet, Attributes> = BTreeMap::new();
    let advertised = addresses.flat_map(|plan| &plan.advertised);
    let is_its_own = |advertised: &&Advertised| advertised.peers.iter().any(|name| name == peer);
    for advertised in advertised.filter(is_its_own) {
        let route = routes.entry(advertised.prefix).or_default();
        let new = &advertised.attributes;
        route.local_pref = route.local_pref.max(new.local_pref);
        route.communities.extend(new.communities.iter().copied());
    }
    routes
}

/// The peers that a Service goes to, by name, ascending, or why this node does not announce it.
type Fate = Result<Box<[String]>, Reason>;

/// Plans one address, and says how each claim fares.
pub(super) fn plan(
    world: &World,
    address: IpAddr,
    claims: &[Claim<'_>],
) -> (Box<[Advertised]>, Vec<Fate>) {
    let mut advertised: BTreeSet<Advertised> = BTreeSet::new();
    let mut fates = Vec::with_capacity(claims.len());
    for claim in claims {
        fates.push(advertise(world, address, claim).map(|more| {
            let peers: BTreeSet<&String> = more.iter().flat_map(|one| &one.peers).collect();
            let peers = peers.into_iter().cloned().collect();
            advertised.extend(more);
            peers
        }));
    }
    (advertised.into_iter().collect(), fates)
}

fn advertise(
    world: &World,
    address: IpAddr,
    claim: &Claim<'_>,
) -> Result<BTreeSet<Advertised>, Reason> {
    let pool = claim.pool.as_deref().map_err(|reason| *reason)?;
    let node = world.this_node();
    node_is_fit(world, &node)?;
    let all = world.config().bgp_advertisements.values();
    let advertisements: Vec<&BgpAdvertisement> = all
        .filter(|ad| ad.pools.selects(pool) && ad.selects_service(&claim.service.labels))
        .filter(|ad| ad.selects_node(&node.labels))
        .collect();
    if advertisements.is_empty() {
        return Err(Reason::NoMatchingAdvertisement);
    }
    if !agree(&advertisements, pool, address) {
        return Err(Reason::ConflictingAdvertisements);
    }
    let endpoints = Endpoints::for_bgp(world, claim.service);
    endpoints.serve(&node.name)?;
    let Delivery {
        is_failing,
        is_unproven,
        ..
    } = world.delivery();
    if *is_failing && !is_unproven && another_delivers(world, claim, pool, &endpoints) {
        return Err(Reason::NotDelivering);
    }
    let advertised: BTreeSet<Advertised> = advertisements
        .iter()
        .filter_map(|ad| advertised(world, address, ad))
        .collect();
    if advertised.is_empty() {
        return Err(Reason::NoMatchingPeer);
    }
    Ok(advertised)
}

/// Whether another node that delivers is heard and advertises the Service, too, as far as is known here:
/// then traffic has somewhere else to go.
fn another_delivers(
    world: &World,
    claim: &Claim<'_>,
    pool: &Pool,
    endpoints: &Endpoints<'_>,
) -> bool {
    let advertises = |node: &Node| {
        let mut all = world.config().bgp_advertisements.values();
        let has_peer = || {
            let mut peers = world.config().peers.values();
            peers.any(|peer| peer.selects_node(&node.labels))
        };
        all.any(|ad| {
            ad.pools.selects(pool)
                && ad.selects_service(&claim.service.labels)
                && ad.selects_node(&node.labels)
        }) && has_peer()
    };
    let nodes = world.nodes().into_iter();
    let mut delivering = nodes.filter(|node| world.is_heard_to_deliver(&node.name));
    delivering.any(|node| {
        node_is_fit(world, &node).is_ok()
            && endpoints.serve(&node.name).is_ok()
            && advertises(&node)
    })
}

/// One advertisement applied to an address; `None`: no peer of this node takes it.
fn advertised(world: &World, address: IpAddr, ad: &BgpAdvertisement) -> Option<Advertised> {
    let family = Family::of(address);
    let prefix = IpNet::new(address, ad.aggregation_length(family)).ok()?;
    let peers: Box<[String]> = world
        .peers_here()
        .filter(|peer| ad.peers.is_empty() || ad.peers.contains(&peer.name))
        .filter(|peer| takes(peer, family))
        .map(|peer| peer.name.clone())
        .collect();
    let attributes = Attributes {
        local_pref: ad.local_pref,
        communities: ad.communities.clone(),
    };
    (!peers.is_empty()).then(|| Advertised {
        prefix: prefix.trunc(),
        attributes,
        peers,
    })
}

/// Whether no two advertisements contradict each other in localPref. Two may differ in it where
/// they never meet: by prefix length, or by peers. Those of other nodes are not among them.
fn agree(advertisements: &[&BgpAdvertisement], pool: &Pool, address: IpAddr) -> bool {
    let pairs = advertisements.iter().enumerate();
    pairs
        .flat_map(|(at, one)| advertisements[at + 1..].iter().map(move |two| (one, two)))
        .all(|(one, two)| {
            one.local_pref == two.local_pref
                || lengths_differ(one, two, pool, address)
                || peers_differ(one, two)
        })
}

fn lengths_differ(
    one: &BgpAdvertisement,
    two: &BgpAdvertisement,
    pool: &Pool,
    address: IpAddr,
) -> bool {
    let of = Family::of(address);
    Family::ALL
        .iter()
        .filter(|family| **family == of || pool.has_family(**family))
        .all(|family| one.aggregation_length(*family) != two.aggregation_length(*family))
}

fn peers_differ(one: &BgpAdvertisement, two: &BgpAdvertisement) -> bool {
    !one.peers.is_empty() && !two.peers.is_empty() && one.peers.is_disjoint(&two.peers)
}

/// Whether there is a session with the peer that carries the family.
fn takes(peer: &Peer, family: Family) -> bool {
    match peer_plan(peer) {
        PeerPlan::Run(session) => session.families.contains(&family),
        PeerPlan::Refused { .. } => false,
    }
}

fn peer_plan(peer: &Peer) -> PeerPlan {
    let fields = unbuilt_fields(peer);
    match peer.neighbor {
        Neighbor::Address(neighbor) if fields.is_empty() => PeerPlan::Run(session(peer, neighbor)),
        Neighbor::Address(_) | Neighbor::Interface(_) => PeerPlan::Refused {
            neighbor: peer.neighbor.clone(),
            fields,
        },
    }
}

fn session(peer: &Peer, neighbor: IpAddr) -> Session {
    let own = Family::of(neighbor);
    let other = peer.dual_stack.then(|| own.other());
    Session {
        neighbor,
        port: peer.port,
        source_address: peer.source_address,
        local_asn: peer.local_asn.unwrap_or(peer.my_asn),
        peer_asn: peer.peer_asn,
        router_id: peer.router_id,
        hold_time: peer.hold_time.unwrap_or(HoldTime::DEFAULT),
        keepalive_time: peer.keepalive_time,
        connect_retry_time: peer.connect_time,
        families: [own].into_iter().chain(other).collect(),
        multi_hop: peer.ebgp_multi_hop,
        graceful_restart: peer.graceful_restart,
        passive: peer.passive,
    }
}

/// The fields that ask for something this program does not do. To leave one out silently would be a
/// session that is not what its owner asked for.
fn unbuilt_fields(peer: &Peer) -> Vec<&'static str> {
    let fields = [
        ("spec.password", peer.password.is_some()),
        ("spec.passwordSecret", peer.password_secret.is_some()),
        ("spec.bfdProfile", peer.bfd_profile.is_some()),
        ("spec.vrf", peer.vrf.is_some()),
        (
            "spec.interface",
            matches!(peer.neighbor, Neighbor::Interface(_)),
        ),
        ("spec.localASN", local_asn_is_internal(peer)),
    ];
    let set = fields.into_iter().filter(|(_, is_set)| *is_set);
    set.map(|(field, _)| field).collect()
}

/// `localASN` stands in for `myASN` toward an external peer. Toward an internal one it would make
/// the session external or the AS ambiguous, which is why FRR refuses it there, too.
fn local_asn_is_internal(peer: &Peer) -> bool {
    peer.local_asn.is_some_and(|local| match peer.peer_asn {
        PeerAsn::Exact(asn) => asn == local || asn == peer.my_asn,
        PeerAsn::Internal => true,
        PeerAsn::External => false,
    })
}
