//! Everything that should be true on this node.
//!
//! The unit is the address: [`plan_address`] decides one address with all the Services that share
//! it, [`plan`] is the loop over them. Both are pure functions of the [`World`]; planning again only
//! what a change touched gives the same as planning everything.

mod bgp;
mod eligibility;
mod layer2;
mod nat;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ferrolb_crds::model::ServiceKey;
use imbl::OrdMap;
use ipnet::IpNet;

pub use bgp::{
    Advertised, Attributes, ChangedFor, Route, Session, Share, alike, changed, peers, routes,
};
pub use eligibility::Reason;
pub use layer2::{
    Candidacy, Explanation, Holding, Interfaces, Layer2, Presence, candidates, explain, heartbeat,
};
pub use nat::{Frontend, HandOff, RefusedPort, Target};

use crate::world::World;
use eligibility::Claim;
use layer2::Electorate;

/// Everything that should be true on this node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Every address that some Service holds. A copy of all of them costs nothing.
    pub addresses: OrdMap<IpAddr, Arc<AddressPlan>>,
    /// The sessions with the BGP peers of this node, by the peer's name.
    pub peers: BTreeMap<String, Session>,
    /// Where to send heartbeats; `None`: this node is no layer-2 candidate.
    pub heartbeat: Option<Interfaces>,
}

impl Plan {
    /// The addresses within a prefix that some Service holds.
    pub fn within(&self, prefix: IpNet) -> impl Iterator<Item = (&IpAddr, &AddressPlan)> {
        let within = prefix.network()..=prefix.broadcast();
        let plans = self.addresses.range(within);
        plans.map(|(address, plan)| (address, plan.as_ref()))
    }

    /// All of them.
    pub fn each(&self) -> impl Iterator<Item = (&IpAddr, &AddressPlan)> {
        let plans = self.addresses.iter();
        plans.map(|(address, plan)| (address, plan.as_ref()))
    }
}

/// What should be true of one address. There is one of these for each, and mostly one of everything
/// in it: hence lists.
#[derive(Debug, Clone, PartialEq)]
pub struct AddressPlan {
    /// At layer 2.
    pub layer2: Layer2,
    /// By BGP: the prefixes that stand for it, ascending.
    pub advertised: Box<[Advertised]>,
    /// Which ports are handed to which NodePort.
    pub hand_off: HandOff,
    /// How each Service that holds it fares, by key.
    pub services: Box<[(ServiceKey, ServicePlan)]>,
}

/// How one Service fares at one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePlan {
    /// Layer 2: `None` when this node announces it, else why not.
    pub layer2: Option<Reason>,
    /// BGP: `None` when this node announces it, else why not.
    pub bgp: Option<Reason>,
    /// The peers that it is to go to, ascending.
    pub peers: Box<[String]>,
}

impl AddressPlan {
    /// How the Service fares; `None`: it does not hold the address.
    pub fn service(&self, key: &ServiceKey) -> Option<&ServicePlan> {
        let mut services = self.services.iter();
        Some(&services.find(|(held, _)| held == key)?.1)
    }

    /// The Services that hold it, by key.
    pub fn holders(&self) -> impl Iterator<Item = &ServiceKey> {
        self.services.iter().map(|(key, _)| key)
    }

    /// Whether this node announces the address in any way.
    pub fn is_announced(&self) -> bool {
        self.layer2.is_held() || !self.advertised.is_empty()
    }

    /// Whether its traffic is handed off here: also while it is not known yet who is to answer, so
    /// that who was silent for a while need not wait for the hand-off as well.
    pub fn is_handed_off(&self) -> bool {
        let is_any = || {
            self.services
                .iter()
                .any(|(_, service)| service.is_leaving())
        };
        self.is_announced() || self.layer2.reason() == Some(Reason::Listening) || is_any()
    }
}

impl ServicePlan {
    /// Whether this node announces the Service in any way.
    pub fn is_announced(&self) -> bool {
        self.layer2.is_none() || self.bgp.is_none()
    }

    /// Whether its traffic is handed off here.
    fn is_handed_off(&self) -> bool {
        self.is_announced() || self.layer2 == Some(Reason::Listening) || self.is_leaving()
    }

    /// Whether its route is withdrawn because the node is drained: routers may not have read that yet.
    fn is_leaving(&self) -> bool {
        self.bgp == Some(Reason::NodeDraining)
    }
}

/// Plans everything.
pub fn plan(world: &World) -> Plan {
    let addresses = world.addresses();
    Plan {
        addresses: plan_each(world, addresses)
            .filter_map(|(address, plan)| Some((address, Arc::new(plan?))))
            .collect(),
        peers: peers(world),
        heartbeat: heartbeat(world),
    }
}

/// What this node holds and another is first in rank for, and that one: who it would go to if this
/// node gave it away.
pub fn misplaced(world: &World) -> BTreeMap<IpAddr, String> {
    let mut world = world.clone();
    let held: Vec<IpAddr> = world.held().collect();
    let given = world.give(held);
    let moves = plan_each(&world, given)
        .filter_map(|(address, plan)| Some((address, plan?.layer2.other_holder()?.to_owned())));
    moves.collect()
}

/// Plans some addresses; `None` stands for one that no Service holds. What is decided of one depends
/// on no other, so that what they have in common is worked out once.
pub fn plan_each(
    world: &World,
    addresses: impl IntoIterator<Item = IpAddr>,
) -> impl Iterator<Item = (IpAddr, Option<AddressPlan>)> {
    let electorate = Electorate::new(world);
    let addresses = addresses.into_iter();
    addresses.map(move |address| (address, plan_one(&electorate, address)))
}

/// Plans one address; `None` when no Service holds it.
pub fn plan_address(world: &World, address: IpAddr) -> Option<AddressPlan> {
    plan_one(&Electorate::new(world), address)
}

fn plan_one(electorate: &Electorate<'_>, address: IpAddr) -> Option<AddressPlan> {
    let world = electorate.world();
    let claims: Vec<Claim<'_>> = world
        .services_at(address)
        .map(|service| Claim::of(world, service, address))
        .collect();
    if claims.is_empty() {
        return None;
    }
    let (layer2, by_layer2) = layer2::plan(electorate, address, &claims);
    let (advertised, by_bgp) = bgp::plan(world, address, &claims);
    let keys = claims.iter().map(|claim| claim.service.key.clone());
    let fates = by_layer2.into_iter().zip(by_bgp);
    let services: Box<[_]> = keys
        .zip(fates.map(|(layer2, bgp)| ServicePlan {
            layer2,
            bgp: bgp.as_ref().err().copied(),
            peers: bgp.unwrap_or_default(),
        }))
        .collect();
    let handed_off = claims.iter().zip(&services);
    let handed_off = handed_off.filter(|(_, (_, fate))| fate.is_handed_off());
    let handed_off = handed_off.map(|(claim, _)| claim.service);
    Some(AddressPlan {
        hand_off: match world.identity().is_in_cluster {
            true => HandOff::default(),
            false => nat::plan(address, handed_off),
        },
        layer2,
        advertised,
        services,
    })
}

#[cfg(test)]
mod tests;
