//! From the plan's words to each machine's own, and from what machines report to the world's: the
//! plan knows no machine and no machine knows the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::plan::{self, AddressPlan, Plan};
use crate::world::{Claim, Heard, LinkState, Segment, Standing, World};
use crate::{bgp, layer2, nft};

/// What layer 2 reports, as far as planning depends on it.
pub(super) fn segment(report: &layer2::Report) -> Segment {
    let interfaces = report.interfaces.iter();
    let links = interfaces
        .map(|(name, link)| (name.clone(), link_state(link)))
        .collect();
    if report.listening {
        return Segment::Listening { links };
    }
    let nodes = report.nodes.iter();
    let staying = nodes.filter(|(_, health)| !health.is_leaving);
    let (mut heard, mut waiting) = (Heard::new(), Heard::new());
    let mut unknown = BTreeSet::new();
    for (name, health) in staying {
        if !health.is_known {
            unknown.insert(name.clone());
        }
        if !health.heard_on.is_empty() {
            heard.insert(name.clone(), health.heard_on.clone());
        } else if !health.listens_on.is_empty() && report.is_new {
            waiting.insert(name.clone(), health.listens_on.clone());
        }
    }
    Segment::Known {
        links,
        heard,
        waiting,
        unknown,
    }
}

/// What layer 2 has heard of claims.
pub(super) fn claims(claims: layer2::ClaimsByAddress) -> BTreeMap<IpAddr, Vec<Claim>> {
    let claims = claims.into_iter().map(|(address, claims)| {
        let claims = claims.into_iter().map(|(source, standing)| Claim {
            node: source.node,
            interface: source.interface,
            standing: match standing {
                layer2::claims::Standing::Holds => Standing::Holds,
                layer2::claims::Standing::Offers => Standing::Offers,
                layer2::claims::Standing::Remembers => Standing::Remembers,
            },
        });
        (address, claims.collect())
    });
    claims.collect()
}

/// The nodes that say that what arrives there is not delivered.
pub(super) fn failing(report: &layer2::Report) -> BTreeSet<String> {
    let failing = report.nodes.iter().filter(|(_, health)| health.is_failing);
    failing.map(|(name, _)| name.clone()).collect()
}

/// The interfaces where somebody listens who may be about to take over.
pub(super) fn contested(report: &layer2::Report) -> BTreeSet<String> {
    let nodes = report.nodes.values();
    let staying = nodes.filter(|health| !health.is_leaving);
    staying
        .flat_map(|health| health.listens_on.keys())
        .cloned()
        .collect()
}

fn link_state(link: &layer2::Interface) -> LinkState {
    match (link.is_up, link.is_settled, link.is_shared) {
        (false, _, _) => LinkState::Down,
        (true, false, _) => LinkState::Listening,
        (true, true, false) => LinkState::Alone,
        (true, true, true) => LinkState::Up,
    }
}

/// What layer 2 should do for these addresses of the plan.
pub(super) fn layer2_desired<'a>(
    plan: &Plan,
    world: &World,
    is_failing: bool,
    addresses: impl Iterator<Item = (&'a IpAddr, &'a AddressPlan)>,
) -> layer2::Desired {
    let (mut owned, mut probed) = (BTreeMap::new(), BTreeMap::new());
    let mut named = BTreeSet::new();
    for (address, plan) in addresses {
        let (plan::Layer2::Held(holding) | plan::Layer2::Withheld { holding, .. }) = &plan.layer2
        else {
            continue;
        };
        if plan.layer2.is_held() {
            owned.insert(*address, interfaces(&holding.interfaces));
            if holding.is_named {
                named.insert(*address);
            }
        }
        if world.is_new(*address) {
            probed.insert(*address, interfaces(&holding.interfaces));
        }
    }
    let all = plan.addresses.iter();
    let offered = all.filter(|(_, plan)| plan.layer2.has_another_holder());
    layer2::Desired {
        owned,
        named,
        probed,
        offered: offered.map(|(address, _)| *address).collect(),
        remembered: world.remembered().clone(),
        heartbeat: plan.heartbeat.as_ref().map(interfaces),
        is_failing,
    }
}

fn interfaces(interfaces: &plan::Interfaces) -> layer2::Interfaces {
    match interfaces {
        plan::Interfaces::All => layer2::Interfaces::All,
        plan::Interfaces::Only(names) => layer2::Interfaces::Only(names.clone()),
    }
}

/// What should be handed off.
pub(super) fn hand_off_desired(plan: &Plan) -> nft::Desired {
    let mut desired = nft::Desired::default();
    let addresses = plan.addresses.iter();
    for (address, plan) in addresses.filter(|(_, plan)| plan.is_handed_off()) {
        desired.addresses.insert(*address);
        desired.frontends.extend(frontends(*address, plan));
    }
    desired
}

fn frontends(
    address: IpAddr,
    plan: &AddressPlan,
) -> impl Iterator<Item = (nft::Frontend, nft::Target)> {
    let frontends = plan.hand_off.frontends.iter();
    frontends.map(move |(frontend, target)| {
        let frontend = nft::Frontend {
            address,
            protocol: frontend.protocol,
            port: frontend.port,
        };
        let target = nft::Target {
            node_port: target.node_port,
            source_ranges: target.source_ranges.clone(),
        };
        (frontend, target)
    })
}

/// The sessions that should run.
pub(super) fn sessions(plan: &Plan, node: &str) -> BTreeMap<String, bgp::Settings> {
    let peers = plan.peers.iter();
    let wanted = peers.filter_map(|(name, peer)| match peer {
        plan::PeerPlan::Run(session) => Some((name.clone(), settings(name, node, session))),
        plan::PeerPlan::Refused { .. } => None,
    });
    wanted.collect()
}

fn settings(name: &str, node: &str, session: &plan::Session) -> bgp::Settings {
    bgp::Settings {
        name: name.to_owned(),
        neighbor: session.neighbor,
        port: session.port,
        source_address: session.source_address,
        local_asn: session.local_asn,
        peer_asn: session.peer_asn,
        router_id: session.router_id,
        hold_time: session.hold_time,
        keepalive_time: session.keepalive_time,
        connect_retry_time: session.connect_retry_time,
        families: session.families.clone(),
        multi_hop: session.multi_hop,
        graceful_restart: session.graceful_restart,
        passive: session.passive,
        node: node.to_owned(),
    }
}

/// What one peer should hold of these addresses.
pub(super) fn routes<'a>(
    addresses: impl Iterator<Item = (&'a IpAddr, &'a AddressPlan)>,
    peer: &str,
) -> bgp::Routes {
    let plans = addresses.map(|(_, plan)| plan);
    let routes = plan::routes(plans, peer).into_iter();
    routes
        .map(|(prefix, attributes)| {
            let route = bgp::Route {
                local_pref: attributes.local_pref,
                communities: attributes.communities,
            };
            (prefix, route)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn way(on: &str) -> (String, BTreeSet<String>) {
        (on.to_owned(), BTreeSet::from(["ens3".to_owned()]))
    }

    fn report(listening: bool) -> layer2::Report {
        let interface = |is_up, is_settled, is_shared, problem: Option<&str>| layer2::Interface {
            is_up,
            is_settled,
            is_shared,
            mac: [2, 0, 0, 0, 0, 1],
            addresses: Vec::new(),
            problem: problem.map(str::to_owned),
        };
        let health = |on: &[&str], is_leaving| layer2::NodeHealth {
            heard_on: on.iter().copied().map(way).collect(),
            listens_on: BTreeMap::new(),
            is_leaving,
            is_failing: false,
            is_known: true,
            since: UNIX_EPOCH,
        };
        layer2::Report {
            listening,
            is_new: false,
            interfaces: BTreeMap::from([
                ("eth0".to_owned(), interface(true, true, true, None)),
                (
                    "eth1".to_owned(),
                    interface(false, false, true, Some("no socket")),
                ),
                ("eth2".to_owned(), interface(true, false, true, None)),
                ("eth3".to_owned(), interface(true, true, false, None)),
            ]),
            nodes: BTreeMap::from([
                ("alive".to_owned(), health(&["eth0"], false)),
                ("down".to_owned(), health(&[], false)),
                ("leaving".to_owned(), health(&["eth0"], true)),
            ]),
            claims: 0,
            rivals: 0,
        }
    }

    #[test]
    fn only_nodes_that_are_heard_and_stay_count_and_only_links_that_work() {
        let links: BTreeMap<String, LinkState> = [
            ("eth0", LinkState::Up),
            ("eth1", LinkState::Down),
            ("eth2", LinkState::Listening),
            ("eth3", LinkState::Alone),
        ]
        .map(|(name, state)| (name.to_owned(), state))
        .into();
        assert_eq!(
            segment(&report(false)),
            Segment::Known {
                links: links.clone(),
                heard: BTreeMap::from([("alive".to_owned(), BTreeMap::from([way("eth0")]))]),
                waiting: BTreeMap::new(),
                unknown: BTreeSet::new(),
            }
        );
        assert_eq!(segment(&report(true)), Segment::Listening { links });
    }

    #[test]
    fn an_interface_is_contested_while_somebody_listens_there_who_stays() {
        let mut report = report(false);
        assert_eq!(contested(&report), BTreeSet::new());
        let mut listen = |node: &str| {
            let health = report.nodes.get_mut(node).unwrap();
            health.listens_on = BTreeMap::from([way("eth1")]);
            contested(&report)
        };
        assert_eq!(listen("leaving"), BTreeSet::new());
        assert_eq!(listen("down"), BTreeSet::from(["eth1".to_owned()]));
    }
}
