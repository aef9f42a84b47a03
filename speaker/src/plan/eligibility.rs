//! May a node announce a Service? Its type, class and address, the node's state, the endpoints and
//! the traffic policy.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ferrolb_crds::model::{Family, Node, Pool, Service, TrafficPolicy};

use crate::world::World;

/// Why a Service is not announced. The words are what operators know from MetalLB where it has
/// them; the others are FerroLB's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Its type is not LoadBalancer.
    NotLoadBalancer,
    /// Its loadBalancerClass is not the one served.
    OtherLoadBalancerClass,
    /// It holds no address.
    NoIpAllocated,
    /// Its address is in no pool.
    IpNotAllowed,
    /// No advertisement selects its pool, it, and this node.
    NoMatchingAdvertisement,
    /// It may share its address, and an L2Advertisement picks it by serviceSelectors.
    SharedIpWithServiceSelector,
    /// Two of its BGPAdvertisements contradict each other in localPref.
    ConflictingAdvertisements,
    /// The node has the condition NetworkUnavailable.
    NodeNetworkUnavailable,
    /// The node carries the exclude label.
    NodeLabeledExcludeBalancers,
    /// Traffic policy Local, and no usable endpoint on the node.
    NoLocalEndpoints,
    /// No usable endpoint anywhere.
    NoEndpoints,
    /// There are Node objects, but none of this node.
    NodeUnknown,
    /// Layer 2 does not run on this node.
    Layer2Off,
    /// Layer 2 has not yet listened long enough to know who else is alive.
    Listening,
    /// None of the chosen interfaces exists here and is up.
    AnnounceFailed,
    /// Whether somebody else has the address is being found out.
    Probing,
    /// Somebody else has the address, who is no speaker.
    AddressConflict,
    /// Another node holds the address.
    NotOwner,
    /// No BGPPeer of this node takes it.
    NoMatchingPeer,
    /// The node is being drained, and its routes are withdrawn by now.
    NodeDraining,
    /// What arrives at this node is not delivered, and another node announces it that does deliver.
    NotDelivering,
}

impl Reason {
    /// Every reason, for the documentation to be held against.
    pub const ALL: [Self; 21] = [
        Self::NotLoadBalancer,
        Self::OtherLoadBalancerClass,
        Self::NoIpAllocated,
        Self::IpNotAllowed,
        Self::NoMatchingAdvertisement,
        Self::SharedIpWithServiceSelector,
        Self::ConflictingAdvertisements,
        Self::NodeNetworkUnavailable,
        Self::NodeLabeledExcludeBalancers,
        Self::NoLocalEndpoints,
        Self::NoEndpoints,
        Self::NodeUnknown,
        Self::Layer2Off,
        Self::Listening,
        Self::AnnounceFailed,
        Self::Probing,
        Self::AddressConflict,
        Self::NotOwner,
        Self::NoMatchingPeer,
        Self::NodeDraining,
        Self::NotDelivering,
    ];

    /// The constant that logs and status carry.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotLoadBalancer => "notLoadBalancer",
            Self::OtherLoadBalancerClass => "otherLoadBalancerClass",
            Self::NoIpAllocated => "noIPAllocated",
            Self::IpNotAllowed => "ipNotAllowed",
            Self::NoMatchingAdvertisement => "noMatchingAdvertisement",
            Self::SharedIpWithServiceSelector => "sharedIPWithServiceSelector",
            Self::ConflictingAdvertisements => "conflictingAdvertisements",
            Self::NodeNetworkUnavailable => "nodeNetworkUnavailable",
            Self::NodeLabeledExcludeBalancers => "nodeLabeledExcludeBalancers",
            Self::NoLocalEndpoints => "noLocalEndpoints",
            Self::NoEndpoints => "noEndpoints",
            Self::NodeUnknown => "nodeUnknown",
            Self::Layer2Off => "layer2Off",
            Self::Listening => "listening",
            Self::AnnounceFailed => "announceFailed",
            Self::Probing => "probing",
            Self::AddressConflict => "addressConflict",
            Self::NotOwner => "notOwner",
            Self::NoMatchingPeer => "noMatchingPeer",
            Self::NodeDraining => "nodeDraining",
            Self::NotDelivering => "notDelivering",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One Service's claim to one address: what both protocols ask first, answered once.
pub(super) struct Claim<'a> {
    pub(super) service: &'a Service,
    /// The pool of the address, or why nobody may announce it.
    pub(super) pool: Result<Cow<'a, Pool>, Reason>,
}

impl<'a> Claim<'a> {
    pub(super) fn of(world: &'a World, service: &'a Service, address: IpAddr) -> Self {
        let pool = may_be_announced(world, service)
            .and_then(|()| pool(world, service, address).ok_or(Reason::IpNotAllowed));
        Self { service, pool }
    }
}

/// Whether the Service is one for this program at all.
fn may_be_announced(world: &World, service: &Service) -> Result<(), Reason> {
    if !service.is_load_balancer {
        return Err(Reason::NotLoadBalancer);
    }
    if service.class != world.identity().class {
        return Err(Reason::OtherLoadBalancerClass);
    }
    Ok(())
}

/// The pool the address belongs to. While a pool is set aside, an address that no valid pool covers
/// is kept (design invariant I5): then the pool it was taken from is known by name only.
fn pool<'a>(world: &'a World, service: &Service, address: IpAddr) -> Option<Cow<'a, Pool>> {
    if let Some(pool) = world.pool_of(address) {
        return Some(Cow::Borrowed(pool));
    }
    world.config().pools_incomplete.then(|| {
        Cow::Owned(Pool {
            name: service.allocated_from.clone().unwrap_or_default(),
            labels: Default::default(),
            ranges: Vec::new(),
            auto_assign: false,
            avoid_buggy_ips: false,
            allocation: None,
        })
    })
}

/// Whether the node is fit to take traffic from outside.
pub(super) fn node_is_fit(world: &World, node: &Node) -> Result<(), Reason> {
    if world.excludes(node) {
        return Err(Reason::NodeLabeledExcludeBalancers);
    }
    if node.network_unavailable {
        return Err(Reason::NodeNetworkUnavailable);
    }
    Ok(())
}

/// Where a Service's usable endpoints are.
pub(super) struct Endpoints<'a> {
    policy: TrafficPolicy,
    is_assumed: bool,
    exist: bool,
    nodes: BTreeSet<&'a str>,
}

impl<'a> Endpoints<'a> {
    /// Those that layer 2 counts.
    pub(super) fn for_layer2(world: &'a World, service: &Service) -> Self {
        Self::of(world, service, false)
    }

    /// Those that BGP counts: with an address.
    pub(super) fn for_bgp(world: &'a World, service: &Service) -> Self {
        Self::of(world, service, true)
    }

    fn of(world: &'a World, service: &Service, need_address: bool) -> Self {
        let mut found = Self {
            policy: service.traffic_policy,
            is_assumed: world.assumes_endpoints(&service.key),
            exist: false,
            nodes: BTreeSet::new(),
        };
        if let Some(slices) = world.slices_of(&service.key) {
            let endpoints = slices.flat_map(|slice| &slice.endpoints);
            let usable = endpoints
                .filter(|endpoint| endpoint.is_usable() && (endpoint.has_address || !need_address));
            for endpoint in usable {
                found.exist = true;
                found.nodes.extend(endpoint.node.as_deref());
            }
        }
        found
    }

    /// How many endpoints take the traffic of a family that reaches this node, for routers to weigh the
    /// nodes by. With traffic policy Cluster every node leads to all of them, and so counts the same.
    pub(super) fn weight(world: &World, service: &Service, family: Family) -> u64 {
        let Some(slices) = world.slices_of(&service.key) else {
            return 1;
        };
        if service.traffic_policy == TrafficPolicy::Cluster {
            return 1;
        }
        let here = world.identity().node.as_str();
        let (mut of_family, mut of_any) = (0, 0);
        for slice in slices {
            let usable = slice.endpoints.iter().filter(|endpoint| {
                endpoint.is_usable()
                    && endpoint.has_address
                    && endpoint.node.as_deref() == Some(here)
            });
            let count = u64::try_from(usable.count()).unwrap_or(u64::MAX);
            of_any += count;
            // The same pods stand in a slice of each family.
            if slice.family.is_none_or(|of| of == family) {
                of_family += count;
            }
        }
        if of_family > 0 {
            of_family
        } else {
            of_any.max(1)
        }
    }

    /// Whether traffic that reaches a node gets to an endpoint, where that is the same of every node;
    /// `None`: it is not.
    pub(super) fn serve_alike(&self) -> Option<Result<(), Reason>> {
        match self.policy {
            _ if self.is_assumed => Some(Ok(())),
            TrafficPolicy::Cluster if self.exist => Some(Ok(())),
            TrafficPolicy::Cluster => Some(Err(Reason::NoEndpoints)),
            TrafficPolicy::Local => None,
        }
    }

    /// Whether traffic that reaches the node gets to an endpoint.
    pub(super) fn serve(&self, node: &str) -> Result<(), Reason> {
        match self.serve_alike() {
            Some(fate) => fate,
            None if self.nodes.contains(node) => Ok(()),
            None => Err(Reason::NoLocalEndpoints),
        }
    }
}
