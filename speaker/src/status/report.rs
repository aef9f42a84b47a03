//! From what the speaker knows, plans and hears from its machines to the document.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ferrolb_crds::api;
use ferrolb_crds::model::{self, Neighbor};
use imbl::OrdMap;
use ipnet::IpNet;

use super::document::{
    Bfd, BfdCounters, Blocked, Conflict, Delivery, Document, Draining, ESTABLISHED, HandOff, Held,
    Interface, Layer2, Node, NotHeld, Prefix, RefusedPort, Service, ServiceAddress, Session,
    Source, Station,
};
use crate::bgp::{SessionState, SessionStatus};
use crate::plan::{self, AddressPlan, Holding, Interfaces, Plan, Reason, Route};
use crate::world::{Identity, Others, Segment, Services, Slices, World};
use crate::{bfd, bmp, layer2, nft, radv};

/// Everything the document is made of: a copy, so that whoever makes the document of it delays nobody. To
/// copy costs next to nothing, because what is large is shared.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What the speaker knows.
    pub known: Known,
    /// What should be true.
    pub plan: Plan,
    /// Since when things are as they are.
    pub since: Since,
    /// Problems of the objects.
    pub problems: BTreeSet<String>,
    /// Why the node's file could not be written, if it could not.
    pub state_error: Option<String>,
    /// What layer 2 reports, if it runs.
    pub layer2: Option<layer2::Report>,
    /// What the sessions report, by peer.
    pub sessions: BTreeMap<String, SessionStatus>,
    /// How the paths to those peers stand that have BFD.
    pub bfd: BTreeMap<String, bfd::Standing>,
    /// Who is the router on the interfaces that are peers.
    pub routers: radv::Report,
    /// How the monitoring stations stand.
    pub stations: bmp::Report,
    /// What the hand-off reports; `None`: kube-proxy takes the traffic.
    pub hand_off: Option<nft::Report>,
    /// Nodes that live and are not heard.
    pub blocked: Vec<Blocked>,
    /// Whether what arrives here is delivered, where somebody is asked.
    pub delivery: Option<Delivery>,
    /// How far the node is with leaving, if it is.
    pub draining: Option<Draining>,
}

/// What of the world is told.
#[derive(Debug, Clone)]
pub struct Known {
    identity: Identity,
    segment: Segment,
    remembered: BTreeSet<IpAddr>,
    services: Services,
    slices: Slices,
}

impl Known {
    /// Takes it out of the world.
    pub fn of(world: &World) -> Self {
        Self {
            identity: world.identity().clone(),
            segment: world.segment().clone(),
            remembered: world.remembered().clone(),
            services: world.services().clone(),
            slices: world.slices().clone(),
        }
    }
}

/// Since when things are as they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Since {
    /// The speaker runs.
    pub start: SystemTime,
    /// An address is held at layer 2.
    pub held: OrdMap<IpAddr, SystemTime>,
    /// It is not, and that one holds it as far as is known.
    pub not_held: OrdMap<IpAddr, (Option<String>, SystemTime)>,
    /// A prefix is advertised.
    pub advertised: OrdMap<IpNet, SystemTime>,
}

/// How many problems are told one by one.
const PROBLEMS_TOLD: usize = 200;

/// Makes the document.
pub fn document(facts: &Facts) -> Document {
    Document {
        node: facts.known.identity.node.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        since: time(facts.since.start),
        source: Source {
            problem_count: facts.problems.len(),
            problems: facts.problems.iter().take(PROBLEMS_TOLD).cloned().collect(),
            state_error: facts.state_error.clone(),
        },
        layer2: layer2_part(facts),
        hand_off: hand_off(facts),
        delivery: facts.delivery.clone(),
        draining: facts.draining.clone(),
        sessions: sessions(facts),
        bmp: facts.stations.iter().map(station).collect(),
        advertised: advertised(facts),
        services: services(&facts.known, &facts.plan),
    }
}

fn layer2_part(facts: &Facts) -> Layer2 {
    let (state, reason) = match &facts.known.segment {
        Segment::Off(why) => ("off", Some(why.clone())),
        Segment::Listening { .. } => ("listening", None),
        Segment::Known { .. } => ("running", None),
    };
    let mut part = Layer2 {
        state: state.to_owned(),
        reason,
        remembered: facts
            .known
            .remembered
            .iter()
            .map(ToString::to_string)
            .collect(),
        blocked: facts.blocked.clone(),
        ..Layer2::default()
    };
    for (address, plan) in &facts.plan.addresses {
        match &plan.layer2 {
            plan::Layer2::Held(holding) => part.held.push(held(facts, *address, plan, holding)),
            // An address that no L2Advertisement is about is not layer 2's to report.
            plan::Layer2::NotHeld { reason, .. } if is_silent(*reason) => {}
            plan::Layer2::Withheld { .. } | plan::Layer2::NotHeld { .. } => {
                part.not_held.push(not_held(facts, *address, plan));
            }
        }
    }
    part.conflicts = conflicts(&facts.plan);
    if let Some(report) = &facts.layer2 {
        part.nodes = report.nodes.iter().map(node).collect();
        part.interfaces = report.interfaces.iter().map(interface).collect();
    }
    part
}

fn not_held(facts: &Facts, address: IpAddr, plan: &AddressPlan) -> NotHeld {
    let known = facts.since.not_held.get(&address);
    NotHeld {
        address: address.to_string(),
        services: plan.holders().map(ToString::to_string).collect(),
        reason: plan
            .layer2
            .reason()
            .map(|reason| reason.to_string())
            .unwrap_or_default(),
        detail: detail(&plan.layer2),
        holder: plan.layer2.other_holder().map(str::to_owned),
        since: time(known.map_or(facts.since.start, |(_, since)| *since)),
    }
}

fn station((address, standing): (&SocketAddr, &bmp::Standing)) -> Station {
    Station {
        station: address.to_string(),
        connected: standing.is_connected,
        since: time(standing.since),
        last_error: standing.last_error.clone(),
    }
}

/// What the reason for being silent does not tell.
pub(super) fn detail(layer2: &plan::Layer2) -> Option<String> {
    match layer2 {
        plan::Layer2::Held(_) => None,
        plan::Layer2::Withheld { holding, .. } => in_words(&holding.others),
        plan::Layer2::NotHeld { detail, .. } => detail.clone(),
    }
}

fn conflicts(plan: &Plan) -> Vec<Conflict> {
    let conflicts = plan.addresses.iter().flat_map(|(address, plan)| {
        let others = plan.layer2.others().into_iter().flatten();
        others.map(|(interface, mac)| Conflict {
            address: address.to_string(),
            interface: interface.clone(),
            mac: mac.clone(),
            is_held: plan.layer2.is_held(),
        })
    });
    conflicts.collect()
}

fn in_words(others: &Others) -> Option<String> {
    let each = others.iter();
    let words: Vec<String> = each
        .map(|(interface, mac)| format!("{mac} on {interface}"))
        .collect();
    (!words.is_empty()).then(|| words.join(", "))
}

fn is_silent(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NotLoadBalancer | Reason::OtherLoadBalancerClass | Reason::NoMatchingAdvertisement
    )
}

fn held(facts: &Facts, address: IpAddr, plan: &AddressPlan, holding: &Holding) -> Held {
    let services = plan.services.iter();
    let announced = services.filter(|(_, service)| service.layer2.is_none());
    Held {
        address: address.to_string(),
        services: announced.map(|(key, _)| key.to_string()).collect(),
        interfaces: match &holding.interfaces {
            Interfaces::All => Vec::new(),
            Interfaces::Only(names) => names.iter().cloned().collect(),
        },
        missing_interfaces: holding.missing.iter().cloned().collect(),
        since: time(*facts.since.held.get(&address).unwrap_or(&facts.since.start)),
        why: holding.cause.to_string(),
    }
}

fn node((name, health): (&String, &layer2::NodeHealth)) -> Node {
    Node {
        name: name.clone(),
        is_alive: !health.heard_on.is_empty(),
        is_leaving: health.is_leaving,
        is_not_delivering: health.is_failing,
        heard_on: health.heard_on.keys().cloned().collect(),
        since: time(health.since),
    }
}

fn interface((name, interface): (&String, &layer2::Interface)) -> Interface {
    let mac: Vec<String> = interface
        .mac
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Interface {
        name: name.clone(),
        is_up: interface.is_up,
        mac: mac.join(":"),
        addresses: interface.addresses.iter().map(IpNet::to_string).collect(),
        problem: interface.problem.clone(),
    }
}

fn hand_off(facts: &Facts) -> HandOff {
    let mut part = HandOff {
        refused_ports: refused_ports(&facts.plan),
        ..HandOff::default()
    };
    match &facts.hand_off {
        None => {
            part.state = "none".to_owned();
            part.reason = Some("kube-proxy takes the traffic".to_owned());
        }
        Some(nft::Report::Idle) => part.state = "idle".to_owned(),
        Some(nft::Report::Programmed { frontends, since }) => {
            part.state = "programmed".to_owned();
            part.frontends = *frontends;
            part.since = Some(time(*since));
        }
        Some(nft::Report::Refused { reason }) => {
            part.state = "refused".to_owned();
            part.reason = Some(reason.clone());
        }
        Some(nft::Report::Failed { error }) => {
            part.state = "failed".to_owned();
            part.reason = Some(error.clone());
        }
    }
    part
}

fn refused_ports(plan: &Plan) -> Vec<RefusedPort> {
    let addresses = plan.addresses.iter();
    let refused = addresses.flat_map(|(address, plan)| {
        let of_address = plan.hand_off.refused.iter();
        of_address.map(move |refused| (address, refused))
    });
    let refused = refused.map(|(address, refused)| RefusedPort {
        service: refused.service.to_string(),
        address: address.to_string(),
        port: format!("{}/{}", refused.frontend.port, refused.frontend.protocol),
        reason: refused.reason.clone(),
    });
    refused.collect()
}

fn sessions(facts: &Facts) -> Vec<Session> {
    let peers = facts.plan.peers.iter();
    let sessions = peers.map(|(name, session)| Session {
        bfd: session.bfd.as_ref().map(|_| path(facts.bfd.get(name))),
        ..running(
            name,
            &whereabouts(&session.neighbor, &facts.routers),
            facts.sessions.get(name),
        )
    });
    sessions.collect()
}

/// Where a peer is, and in words why its address is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whereabouts {
    /// Its address, with the interface where it means nothing without; or the interface.
    pub name: String,
    /// Why that is no address.
    pub problem: Option<String>,
}

/// Where a peer is.
pub fn whereabouts(neighbor: &Neighbor, routers: &radv::Report) -> Whereabouts {
    let name = neighbor.to_string();
    match routers.get(&name) {
        Some(Ok(router)) => Whereabouts {
            name: format!("{}%{name}", router.address),
            problem: None,
        },
        Some(Err(why)) => Whereabouts {
            name,
            problem: Some(why.clone()),
        },
        None => Whereabouts {
            name,
            problem: None,
        },
    }
}

fn running(name: &str, whereabouts: &Whereabouts, status: Option<&SessionStatus>) -> Session {
    let mut session = Session {
        peer: name.to_owned(),
        address: whereabouts.name.clone(),
        state: state(SessionState::Idle).to_owned(),
        last_error: whereabouts.problem.clone(),
        ..Session::default()
    };
    if let Some(status) = status {
        state(status.state).clone_into(&mut session.state);
        session.since = Some(time(status.since));
        session.last_error.clone_from(&status.last_error);
        session.prefixes = status.prefixes;
        session.updates_sent = Some(status.updates_sent);
        session.hold_time = status.hold_time.map(model::HoldTime::seconds);
        session.families = status.families.iter().map(ToString::to_string).collect();
        let capabilities = status.capabilities.iter();
        session.capabilities = capabilities.map(ToString::to_string).collect();
        session.local_address = status.local_address.map(|address| address.to_string());
    }
    session
}

fn path(standing: Option<&bfd::Standing>) -> Bfd {
    let waiting = bfd::State::Down.to_string();
    let Some(standing) = standing else {
        return Bfd {
            state: waiting,
            ..Bfd::default()
        };
    };
    let Some(status) = &standing.status else {
        return Bfd {
            state: waiting,
            problem: standing.problem.clone(),
            ..Bfd::default()
        };
    };
    let said = |diagnostic: bfd::Diagnostic| {
        let is_one = diagnostic != bfd::Diagnostic::Absent;
        is_one.then(|| diagnostic.to_string())
    };
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    let counts = &standing.counts;
    Bfd {
        state: status.state.to_string(),
        since: Some(time(status.since)),
        diagnostic: said(status.diagnostic),
        last_failure: status.last_failure.and_then(said),
        remote_state: Some(status.remote_state.to_string()),
        remote_diagnostic: said(status.remote_diagnostic),
        is_multihop: status.hops == bfd::Hops::Multiple,
        transmit_interval: status.transmit_interval.map(milliseconds),
        detection_time: status.detection_time.map(milliseconds),
        is_echo_active: status.is_echo_active,
        counters: Some(BfdCounters {
            control_packets_in: counts.control_in,
            control_packets_out: counts.control_out,
            echo_packets_in: counts.echo_in,
            echo_packets_out: counts.echo_out,
            session_ups: counts.ups,
            session_downs: counts.downs,
        }),
        problem: status.problem.clone(),
    }
}

/// The state in the words of RFC 4271 §8.2.2.
pub fn state(state: SessionState) -> &'static str {
    match state {
        SessionState::Idle => "Idle",
        SessionState::Connect => "Connect",
        SessionState::Active => "Active",
        SessionState::OpenSent => "OpenSent",
        SessionState::OpenConfirm => "OpenConfirm",
        SessionState::Established => ESTABLISHED,
    }
}

fn advertised(facts: &Facts) -> Vec<Prefix> {
    let mut peers: BTreeMap<(IpNet, Route), Vec<String>> = BTreeMap::new();
    let plans = || facts.plan.each().map(|(_, plan)| plan);
    for alike in plan::alike(plans(), facts.plan.peers.keys()) {
        let one = alike.first().map_or("", |peer| peer.as_str());
        for (prefix, route) in plan::routes(plans(), one) {
            let to = peers.entry((prefix, route)).or_default();
            to.extend(alike.iter().copied().cloned());
            to.sort();
        }
    }
    let addresses = addresses_by_prefix(&facts.plan);
    let prefixes = peers.into_iter().map(|((prefix, route), peers)| Prefix {
        prefix: prefix.to_string(),
        peers,
        local_pref: route.attributes.local_pref,
        med: route.attributes.med,
        as_path_prepend: route.attributes.as_path_prepend,
        link_bandwidth: route.link_bandwidth,
        communities: route
            .attributes
            .communities
            .iter()
            .map(ToString::to_string)
            .collect(),
        addresses: addresses.get(&prefix).cloned().unwrap_or_default(),
        since: time(
            *facts
                .since
                .advertised
                .get(&prefix)
                .unwrap_or(&facts.since.start),
        ),
    });
    prefixes.collect()
}

fn addresses_by_prefix(plan: &Plan) -> BTreeMap<IpNet, Vec<String>> {
    let mut addresses: BTreeMap<IpNet, Vec<String>> = BTreeMap::new();
    for (address, plan) in &plan.addresses {
        let prefixes = plan.advertised.iter().map(|advertised| advertised.prefix);
        for prefix in prefixes.collect::<BTreeSet<_>>() {
            addresses
                .entry(prefix)
                .or_default()
                .push(address.to_string());
        }
    }
    addresses
}

fn services(known: &Known, plan: &Plan) -> Vec<Service> {
    let services = known.services.values();
    let told = services.filter(|one| one.is_load_balancer || !one.ingress.is_empty());
    let told = told.map(|one| {
        let is_assumed = known.identity.assumes_endpoints(&known.slices, &one.key);
        service(&known.identity, plan, one, is_assumed)
    });
    told.collect()
}

fn service(
    identity: &Identity,
    plan: &Plan,
    service: &model::Service,
    is_assumed: bool,
) -> Service {
    let addresses = service.ingress.iter().filter_map(|address| {
        let plan = plan.addresses.get(address)?.service(&service.key)?;
        Some(ServiceAddress {
            address: address.to_string(),
            layer2: fate(plan.layer2),
            bgp: fate(plan.bgp),
        })
    });
    let assumed = "no EndpointSlices: counts as ready on every node";
    let no_address = service.ingress.is_empty();
    let bad = service.bad_source_ranges.iter();
    let bad = bad.map(|range| format!("loadBalancerSourceRanges entry `{range}` is not a prefix"));
    let assumed = is_assumed.then(|| assumed.to_owned());
    let hints = service.hints.ignored().iter();
    let hints = hints.map(|why| format!("annotation {}: {why}", api::LAYER2_HINT));
    Service {
        service: service.key.to_string(),
        addresses: addresses.collect(),
        reason: no_address.then(|| no_address_reason(identity, service).to_string()),
        notes: assumed.into_iter().chain(bad).chain(hints).collect(),
    }
}

fn no_address_reason(identity: &Identity, service: &model::Service) -> Reason {
    match service.class == identity.class {
        true => Reason::NoIpAllocated,
        false => Reason::OtherLoadBalancerClass,
    }
}

fn fate(reason: Option<Reason>) -> String {
    reason.map_or_else(|| "announced".to_owned(), |reason| reason.to_string())
}

/// A time as RFC 3339 writes it, in UTC, to the second.
pub(crate) fn time(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a day since 1970, in the proleptic Gregorian calendar. Years are counted
/// from 1 March, which puts the leap day at the end.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests;
