//! Which prefixes with which attributes to which peers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ferrolb_crds::model::{
    Asn, BfdProfile, BgpAdvertisement, Community, Family, HoldTime, Neighbor, Node, Peer, PeerAsn,
    Pool, Port, RouterId, Service, ServiceKey,
};
use ipnet::IpNet;

use super::AddressPlan;
use super::eligibility::{Claim, Endpoints, Reason, node_is_fit};
use crate::bgp::{Authentication, GracefulRestart, Transport};
use crate::world::{Delivery, Draining, World};

/// One prefix that one advertisement makes of an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Advertised {
    /// The prefix, without host bits.
    pub prefix: IpNet,
    /// How it is announced.
    pub attributes: Attributes,
    /// What the advertisement makes of the Service's endpoints here, if it weighs them.
    pub share: Option<Share>,
    /// To which peers of this node, by name, ascending; never none.
    pub peers: Box<[String]>,
}

impl Advertised {
    fn goes_to(&self, peer: &str) -> bool {
        self.peers.iter().any(|name| name == peer)
    }
}

/// How much traffic one Service can take on this node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share {
    /// Which.
    pub service: ServiceKey,
    /// Octets per second.
    pub bandwidth: u64,
}

/// How a prefix is announced.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attributes {
    /// LOCAL_PREF, toward iBGP peers only.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// How often our AS stands in AS_PATH beside the one time it must, toward eBGP peers only.
    pub as_path_prepend: Option<u8>,
    /// Communities, standard and large.
    pub communities: BTreeSet<Community>,
}

impl Attributes {
    /// RFC 8326 §4: the community for peers of other ASes, the preference for our own.
    fn make_last_resort(&mut self) {
        self.local_pref = Some(0);
        self.communities.insert(GRACEFUL_SHUTDOWN);
    }
}

/// RFC 8326 §3.
const GRACEFUL_SHUTDOWN: Community = Community::Standard(0xffff, 0);

/// What a peer should hold of a prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// How it is announced.
    pub attributes: Attributes,
    /// Octets per second that the Services behind it take on this node, if they are weighed.
    pub link_bandwidth: Option<u64>,
}

/// A session that should run.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// Address to dial, or the interface on which the peer says where that is.
    pub neighbor: Neighbor,
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
    /// How the path to the peer is watched; `None`: it is not.
    pub bfd: Option<BfdProfile>,
    /// What else there is to the connection.
    pub transport: Transport,
    /// Graceful restart, if it is offered.
    pub graceful_restart: Option<GracefulRestart>,
    /// Whether only the peer makes the connection.
    pub passive: bool,
}

/// The sessions of this node, by peer.
pub fn peers(world: &World) -> BTreeMap<String, Session> {
    let (peers, profiles) = (world.peers_here(), &world.config().bfd_profiles);
    let plan = |peer: &Peer| {
        let profile = peer.bfd_profile.as_ref();
        Session {
            bfd: profile.and_then(|name| profiles.get(name).cloned()),
            ..session(peer)
        }
    };
    peers.map(|peer| (peer.name.clone(), plan(peer))).collect()
}

/// What one peer should hold: the union over the addresses. Where several make the same prefix its
/// communities are united, the highest local preference and the least of MED and prepending are taken
/// of those that are set, and bandwidths are added, of each Service once; whatever the order.
///
/// Ascending, each prefix once.
pub fn routes<'a>(
    addresses: impl Iterator<Item = &'a AddressPlan>,
    peer: &str,
) -> Vec<(IpNet, Route)> {
    let advertised = addresses.flat_map(|plan| &plan.advertised);
    let is_its_own = |advertised: &&Advertised| advertised.goes_to(peer);
    let mut advertised: Vec<&Advertised> = advertised.filter(is_its_own).collect();
    // Of addresses that ascend they do almost, too.
    advertised.sort_by_key(|advertised| advertised.prefix);
    let groups = advertised.chunk_by(|one, other| one.prefix == other.prefix);
    let routes = groups.filter_map(|group| Some((group.first()?.prefix, united(group))));
    routes.collect()
}

/// Like peers, and what has become of some prefixes for every one of them.
pub type ChangedFor<'p> = (Vec<&'p String>, Vec<(IpNet, Option<Route>)>);

/// What has become of some prefixes: of each group of like peers what every one of it should hold of
/// them, `None` where that is nothing. `plans` are those of the addresses within a prefix.
///
/// It looks at those addresses and at no other.
pub fn changed<'a, 'p, I: Iterator<Item = &'a AddressPlan>>(
    prefixes: impl Iterator<Item = IpNet>,
    plans: impl Fn(IpNet) -> I,
    peers: impl Iterator<Item = &'p String>,
) -> Vec<ChangedFor<'p>> {
    let made_by = |prefix| {
        let advertised = plans(prefix).flat_map(|plan| &plan.advertised);
        let advertised = advertised.filter(|advertised| advertised.prefix == prefix);
        (prefix, advertised.collect::<Vec<_>>())
    };
    let made: Vec<(IpNet, Vec<&Advertised>)> = prefixes.map(made_by).collect();
    let alike = hearing_alike(made.iter().flat_map(|(_, by)| by).copied(), peers);
    let of_group = |peers: Vec<&'p String>| {
        let one = peers.first().copied();
        let routes = made.iter().map(|(prefix, advertised)| {
            let its_own = advertised.iter().copied();
            let its_own =
                its_own.filter(|advertised| one.is_some_and(|peer| advertised.goes_to(peer)));
            let its_own: Vec<&Advertised> = its_own.collect();
            (*prefix, (!its_own.is_empty()).then(|| united(&its_own)))
        });
        let routes = routes.collect();
        (peers, routes)
    };
    alike.into_iter().map(of_group).collect()
}

/// What several make of one prefix.
fn united(group: &[&Advertised]) -> Route {
    let mut route = Route::default();
    let mut shares: BTreeMap<&ServiceKey, u64> = BTreeMap::new();
    for advertised in group {
        let (all, new) = (&mut route.attributes, &advertised.attributes);
        all.local_pref = all.local_pref.max(new.local_pref);
        all.med = least(all.med, new.med);
        all.as_path_prepend = least(all.as_path_prepend, new.as_path_prepend);
        all.communities.extend(new.communities.iter().copied());
        if let Some(Share { service, bandwidth }) = &advertised.share {
            let of_service = shares.entry(service).or_insert(*bandwidth);
            *of_service = (*of_service).min(*bandwidth);
        }
    }
    route.link_bandwidth = shares.into_values().reduce(u64::saturating_add);
    route
}

/// The peers, together with those that should hold the same.
pub fn alike<'a, 'p>(
    addresses: impl Iterator<Item = &'a AddressPlan>,
    peers: impl Iterator<Item = &'p String>,
) -> Vec<Vec<&'p String>> {
    hearing_alike(addresses.flat_map(|plan| &plan.advertised), peers)
}

fn hearing_alike<'a, 'p>(
    advertised: impl Iterator<Item = &'a Advertised>,
    peers: impl Iterator<Item = &'p String>,
) -> Vec<Vec<&'p String>> {
    let mut audiences: BTreeSet<&[String]> = BTreeSet::new();
    let mut last: &[String] = &[];
    for advertised in advertised {
        if *advertised.peers != *last {
            last = &advertised.peers;
            audiences.insert(last);
        }
    }
    let mut alike: BTreeMap<Vec<bool>, Vec<&String>> = BTreeMap::new();
    for peer in peers {
        let hears = audiences.iter().map(|audience| audience.contains(peer));
        alike.entry(hears.collect()).or_default().push(peer);
    }
    alike.into_values().collect()
}

/// Of what is set.
fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
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
    if world.draining() >= Draining::Withdrawn {
        return Err(Reason::NodeDraining);
    }
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
        .filter_map(|ad| advertised(world, address, ad, claim.service))
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
fn advertised(
    world: &World,
    address: IpAddr,
    ad: &BgpAdvertisement,
    service: &Service,
) -> Option<Advertised> {
    let family = Family::of(address);
    let prefix = IpNet::new(address, ad.aggregation_length(family)).ok()?;
    let peers: Box<[String]> = world
        .peers_here()
        .filter(|peer| ad.peers.is_empty() || ad.peers.contains(&peer.name))
        .filter(|peer| takes(peer, family))
        .map(|peer| peer.name.clone())
        .collect();
    let mut attributes = Attributes {
        local_pref: ad.local_pref,
        med: ad.options.med,
        as_path_prepend: ad.options.as_path_prepend,
        communities: ad.communities.clone(),
    };
    if world.draining().is_begun() {
        attributes.make_last_resort();
    }
    let share = ad.options.link_bandwidth.map(|each| Share {
        service: service.key.clone(),
        bandwidth: Endpoints::weight(world, service, family).saturating_mul(each),
    });
    (!peers.is_empty()).then(|| Advertised {
        prefix: prefix.trunc(),
        attributes,
        share,
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

/// Whether the session with the peer carries the family.
fn takes(peer: &Peer, family: Family) -> bool {
    session(peer).families.contains(&family)
}

fn session(peer: &Peer) -> Session {
    Session {
        neighbor: peer.neighbor.clone(),
        port: peer.port,
        source_address: peer.source_address,
        local_asn: peer.local_asn.unwrap_or(peer.my_asn),
        peer_asn: peer.peer_asn,
        router_id: peer.router_id,
        hold_time: peer.hold_time.unwrap_or(HoldTime::DEFAULT),
        keepalive_time: peer.keepalive_time,
        connect_retry_time: peer.connect_time,
        families: peer.families(),
        multi_hop: peer.ebgp_multi_hop,
        bfd: None,
        transport: Transport {
            source_port: peer.options.source_port,
            device: peer.vrf.clone(),
            ttl_security_hops: peer.options.ttl_security_hops,
            authentication: Authentication::new(peer.password.clone(), peer.options.tcp_ao),
        },
        graceful_restart: peer.graceful_restart.then_some(GracefulRestart {
            long_lived: peer.options.long_lived_stale_time,
        }),
        passive: peer.options.passive,
    }
}
