//! What this node reports to the API server: objects for whoever looks, and events.
//!
//! ```text
//! plan ──▶ Wanted by Key ──▶ ledger ──▶ Task ──▶ driver ──▶ API server
//!                              ▲                               │
//!                              └──────── what is there ◀───────┘
//! ```
//!
//! What should be there and what is there are compared, and only a difference is written: a system
//! at rest writes nothing, and what somebody deletes or edits is restored.

pub mod driver;
pub mod ledger;
mod object;
mod outages;
mod paths;
mod sign;

use std::collections::BTreeSet;
use std::net::IpAddr;

use ferrolb_crds::api::{self, BgpSessionBfd, Resource, SessionState};
use ferrolb_crds::model::ServiceKey;
use ferrolb_crds::validate::Statement;

pub use sign::Sign;

pub use object::{Seen, event, label, labels, metadata, name, node_event, seen, signed, status};

use crate::plan::{AddressPlan, Interfaces, Layer2, Plan, Reason};
use crate::world::World;

/// Which object, in the order of writing: those that are few do not wait for those that are many.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// This speaker's ConfigurationState.
    Configuration,
    /// The BGPSession with a peer.
    Session(String),
    /// The ServiceL2Status of a Service.
    Layer2(ServiceKey),
    /// The ServiceBGPStatus of a Service.
    Bgp(ServiceKey),
}

/// Of which kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// ServiceL2Status.
    Layer2,
    /// ServiceBGPStatus.
    Bgp,
    /// ConfigurationState.
    Configuration,
    /// BGPSession.
    Session,
}

/// What should be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// This.
    This(Body),
    /// Whatever is there: it is not known yet.
    AsItIs,
}

/// What an object says, beside what its key tells. What there are few of is kept elsewhere: there are
/// many of the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// On which interfaces the Service is announced; none: on all.
    Layer2(Vec<String>),
    /// To which peers it is to be advertised.
    Bgp(Vec<String>),
    /// What is wrong with the configuration.
    Configuration(Box<Statement>),
    /// How the session is doing.
    Session(Box<Session>),
}

/// How a session is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Session {
    /// Established, or in one word for all the others that nothing is.
    pub state: SessionState,
    /// Since when, as RFC 3339 writes it.
    pub since: String,
    /// Why it ended or does not come up.
    pub last_error: Option<String>,
    /// Prefixes that the peer holds.
    pub prefixes: i64,
    /// Where the peer is.
    pub peer_address: Option<String>,
    /// What else there is to say.
    pub details: Details,
}

/// What definitions of earlier versions have no room for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// Hold time agreed on, in seconds.
    pub hold_time: Option<u16>,
    /// Families agreed on.
    pub families: Vec<String>,
    /// Capabilities that both ends have.
    pub capabilities: Vec<String>,
    /// How the path to the peer stands, if it is watched.
    pub bfd: Option<BgpSessionBfd>,
}

/// Something that happened to a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which Service.
    pub service: ServiceKey,
    /// Which object that is.
    pub uid: String,
    /// Whether somebody should worry.
    pub is_warning: bool,
    /// Why, in one word.
    pub reason: &'static str,
    /// What, in a sentence.
    pub message: String,
}

/// Something that happened to this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Whether somebody should worry.
    pub is_warning: bool,
    /// Why, in one word.
    pub reason: &'static str,
    /// What, in a sentence.
    pub message: String,
}

impl Key {
    /// The kind of object.
    pub fn sort(&self) -> Sort {
        match self {
            Self::Layer2(_) => Sort::Layer2,
            Self::Bgp(_) => Sort::Bgp,
            Self::Configuration => Sort::Configuration,
            Self::Session(_) => Sort::Session,
        }
    }

    /// The Service it is about, and by which protocol that is announced.
    pub fn service(&self) -> Option<(&ServiceKey, &'static str)> {
        match self {
            Self::Layer2(service) => Some((service, "layer2")),
            Self::Bgp(service) => Some((service, "bgp")),
            Self::Configuration | Self::Session(_) => None,
        }
    }
}

impl Sort {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Layer2, Self::Bgp, Self::Configuration, Self::Session];

    /// How the API server names it.
    pub fn resource(self) -> Resource {
        match self {
            Self::Layer2 => api::SERVICE_L2_STATUS,
            Self::Bgp => api::SERVICE_BGP_STATUS,
            Self::Configuration => api::CONFIGURATION_STATE,
            Self::Session => api::BGP_SESSION,
        }
    }

    /// Where its objects are.
    pub fn path(self, namespace: &str) -> String {
        self.resource().path(Some(namespace))
    }
}

impl Body {
    /// Whether both say the same, whatever the time.
    pub fn says_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Configuration(one), Self::Configuration(two)) => one.says_the_same(two),
            _ => self == other,
        }
    }

    /// The same, without what an older definition has no room for.
    #[must_use]
    pub fn without_details(mut self) -> Self {
        if let Self::Session(session) = &mut self {
            session.details = Details::default();
        }
        self
    }
}

/// Something about a Service that somebody should look after.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// Which Service.
    pub service: ServiceKey,
    /// Why, in one word.
    pub reason: &'static str,
    /// What, in a sentence.
    pub message: String,
}

/// What is not settled yet at layer 2.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unsettled {
    /// It is being started.
    pub is_starting: bool,
    /// Interfaces on which another node listens, and may be about to take over: where all begin at
    /// once, each that has listened takes what those have that are still to follow.
    pub contested: BTreeSet<String>,
}

/// What should be said of a Service at layer 2. While layer 2 is being started, this node listens, or
/// another does where this one answers, nothing is known that would be worth a change.
pub fn layer2(
    world: &World,
    plan: &Plan,
    service: &ServiceKey,
    unsettled: &Unsettled,
) -> Option<Wanted> {
    let mut interfaces: Option<Interfaces> = None;
    let (mut is_open, mut is_contested) = (false, false);
    for address in world.ingress_of(service) {
        let Some(plan) = plan.addresses.get(&address) else {
            continue;
        };
        let reason = match plan.service(service) {
            Some(fate) => fate.layer2,
            None => continue,
        };
        match (reason, &plan.layer2) {
            (None, Layer2::Held(holding)) => {
                let held = holding.usable();
                is_contested |= unsettled.contested.iter().any(|link| held.include(link));
                interfaces = Some(match interfaces {
                    Some(more) => more.union_with(held),
                    None => held,
                });
            }
            (Some(Reason::Listening), _) => is_open = true,
            (Some(Reason::Layer2Off), _) => is_open |= unsettled.is_starting,
            (Some(_), _) | (None, Layer2::Withheld { .. } | Layer2::NotHeld { .. }) => {}
        }
    }
    match interfaces {
        Some(_) if is_contested => Some(Wanted::AsItIs),
        Some(Interfaces::All) => Some(Wanted::This(Body::Layer2(Vec::new()))),
        Some(Interfaces::Only(names)) => {
            Some(Wanted::This(Body::Layer2(names.into_iter().collect())))
        }
        None => is_open.then_some(Wanted::AsItIs),
    }
}

/// What should be said of a Service by BGP: to whom it is to go. How the sessions are doing changes
/// nothing.
pub fn bgp(world: &World, plan: &Plan, service: &ServiceKey) -> Option<Wanted> {
    let plans = world.ingress_of(service);
    let plans = plans.filter_map(|address| plan.addresses.get(&address)?.service(service));
    let peers: BTreeSet<&String> = plans.flat_map(|fate| &fate.peers).collect();
    let peers: Vec<String> = peers.into_iter().cloned().collect();
    (!peers.is_empty()).then_some(Wanted::This(Body::Bgp(peers)))
}

/// Of which Services to warn, and how, now that the plan of an address is another one.
pub fn warnings(
    node: &str,
    address: IpAddr,
    old: Option<&AddressPlan>,
    new: Option<&AddressPlan>,
) -> Vec<Warning> {
    let mut warnings = failures(node, old, new);
    warnings.extend(conflicts(node, address, old, new));
    warnings
}

/// An address came to be announced by nobody because this node, which would, lacks every interface
/// chosen.
fn failures(node: &str, old: Option<&AddressPlan>, new: Option<&AddressPlan>) -> Vec<Warning> {
    let fault = |plan: &AddressPlan| match &plan.layer2 {
        Layer2::NotHeld {
            is_at_fault: true,
            detail,
            ..
        } => Some(detail.clone().unwrap_or_default()),
        Layer2::NotHeld { .. } | Layer2::Withheld { .. } | Layer2::Held(_) => None,
    };
    let (Some(new), None) = (new, old.and_then(fault)) else {
        return Vec::new();
    };
    let Some(detail) = fault(new) else {
        return Vec::new();
    };
    let message = format!(
        "no interface of the L2Advertisements can be used on node \"{node}\", which would announce: {detail}"
    );
    let failed = new.services.iter();
    failed
        .filter(|(_, fate)| fate.layer2 == Some(Reason::AnnounceFailed))
        .map(|(service, _)| Warning {
            service: service.clone(),
            reason: ANNOUNCE_FAILED,
            message: message.clone(),
        })
        .collect()
}

/// Somebody else has an address that this node announces or would, or another one than before.
fn conflicts(
    node: &str,
    address: IpAddr,
    old: Option<&AddressPlan>,
    new: Option<&AddressPlan>,
) -> Vec<Warning> {
    let others = |plan: Option<&AddressPlan>| plan.and_then(|plan| plan.layer2.others().cloned());
    let (Some(new), Some(present)) = (new, others(new)) else {
        return Vec::new();
    };
    if others(old).as_ref() == Some(&present) {
        return Vec::new();
    }
    let present: Vec<String> = present
        .iter()
        .map(|(interface, mac)| format!("{mac} on {interface}"))
        .collect();
    let what = match new.layer2.is_held() {
        true => "which announces it all the same",
        false => "which does not announce it while that is so",
    };
    let message = format!(
        "address {address} is in use already by {}, as seen from node \"{node}\", {what}",
        present.join(", ")
    );
    let concerned = new
        .services
        .iter()
        .filter(|(_, fate)| matches!(fate.layer2, None | Some(Reason::AddressConflict)));
    concerned
        .map(|(service, _)| Warning {
            service: service.clone(),
            reason: ADDRESS_CONFLICT,
            message: message.clone(),
        })
        .collect()
}

/// The event reason of an address that somebody else has.
const ADDRESS_CONFLICT: &str = "AddressConflict";

/// The event reason that operators know from MetalLB.
const ANNOUNCE_FAILED: &str = "announceFailed";

/// The end of the longest whole beginning within so many octets.
fn boundary(text: &str, longest: usize) -> usize {
    let mut ends = (0..=longest.min(text.len())).rev();
    ends.find(|end| text.is_char_boundary(*end)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
