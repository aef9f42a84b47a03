//! From the plan's words to each machine's own, and from what machines report to the world's: the
//! plan knows no machine and no machine knows the plan.

mod hand_off;
mod routes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU8;

use ferrolb_crds::model::{BfdProfile, Neighbor, PeerAsn, TtlSecurityHops};

use crate::plan::{self, AddressPlan, Plan};
use crate::world::{Claim, Heard, LinkState, Segment, Standing, World};
use crate::{bfd, bgp, layer2, radv};
pub(super) use hand_off::hand_off_changed;
pub(super) use routes::{changed, tables};

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
        is_failing: !world.takes_traffic(),
    }
}

fn interfaces(interfaces: &plan::Interfaces) -> layer2::Interfaces {
    match interfaces {
        plan::Interfaces::All => layer2::Interfaces::All,
        plan::Interfaces::Only(names) => layer2::Interfaces::Only(names.clone()),
    }
}

/// The sessions that should run: with a peer that is an interface, once it is known who is there.
pub(super) fn sessions(
    plan: &Plan,
    routers: &radv::Report,
    node: &str,
) -> BTreeMap<String, bgp::Settings> {
    let peers = plan.peers.iter();
    let wanted = peers.filter_map(|(name, session)| {
        let (neighbor, _) = place(session, routers)?;
        let mut settings = settings(name, node, neighbor, session);
        if let Neighbor::Interface(interface) = &session.neighbor {
            settings.transport.device = Some(interface.clone());
        }
        Some((name.clone(), settings))
    });
    wanted.collect()
}

/// Where a peer is, and on which interface that address means something; `None`: it is not known.
fn place(session: &plan::Session, routers: &radv::Report) -> Option<(IpAddr, Option<u32>)> {
    match &session.neighbor {
        Neighbor::Address(address) => Some((*address, None)),
        Neighbor::Interface(name) => {
            let router = routers.get(name)?.as_ref().ok()?;
            Some((router.address.into(), Some(router.interface)))
        }
    }
}

fn settings(name: &str, node: &str, neighbor: IpAddr, session: &plan::Session) -> bgp::Settings {
    bgp::Settings {
        name: name.to_owned(),
        neighbor,
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
        transport: session.transport.clone(),
        graceful_restart: session.graceful_restart,
        passive: session.passive,
        node: node.to_owned(),
    }
}

/// The BFD sessions that should run, and which of them is whose. Peers that are reached by one path
/// have one for all of them.
pub(super) fn bfd_sessions(
    plan: &Plan,
    routers: &radv::Report,
) -> (bfd::Wanted, BTreeMap<String, bfd::SessionKey>) {
    let (mut wanted, mut keys) = (bfd::Wanted::new(), BTreeMap::new());
    for (name, session) in &plan.peers {
        let (Some(profile), Some((neighbor, interface))) = (&session.bfd, place(session, routers))
        else {
            continue;
        };
        let key = bfd::SessionKey {
            peer: neighbor,
            interface,
            // An interface is a place by itself.
            vrf: match interface {
                Some(_) => None,
                None => session.transport.device.clone(),
            },
            local: session.source_address,
            reach: match interface {
                Some(_) => bfd::Reach::SingleHop,
                None => reach(session),
            },
        };
        let parameters = parameters(profile, session.transport.ttl_security_hops);
        wanted
            .entry(key.clone())
            .and_modify(|present| *present = present.joined(parameters))
            .or_insert(parameters);
        keys.insert(name.clone(), key);
    }
    (wanted, keys)
}

/// An external peer is on the link unless it is said not to be; an internal one may be anywhere.
fn reach(session: &plan::Session) -> bfd::Reach {
    let is_internal = match session.peer_asn {
        PeerAsn::Exact(asn) => asn == session.local_asn,
        PeerAsn::Internal => true,
        PeerAsn::External => false,
    };
    let hops = session.transport.ttl_security_hops;
    let is_far = session.multi_hop || hops.is_some_and(TtlSecurityHops::is_multihop);
    match (is_internal, is_far) {
        (true, _) => bfd::Reach::AsFound,
        (false, true) => bfd::Reach::Multihop,
        (false, false) => bfd::Reach::SingleHop,
    }
}

/// Who says from how far away BGP may come says that of BFD, too.
fn parameters(profile: &BfdProfile, hops: Option<TtlSecurityHops>) -> bfd::Parameters {
    let default = bfd::Parameters::DEFAULT;
    let least = hops.map_or(default.minimum_ttl, |hops| {
        hops.least_ttl().min(default.minimum_ttl)
    });
    let multiplier = profile.detect_multiplier.and_then(NonZeroU8::new);
    let echo = profile.echo_interval.unwrap_or(bfd::Parameters::ECHO);
    bfd::Parameters {
        desired_min_tx: profile.transmit_interval.unwrap_or(default.desired_min_tx),
        required_min_rx: profile.receive_interval.unwrap_or(default.required_min_rx),
        detect_multiplier: multiplier.unwrap_or(default.detect_multiplier),
        is_passive: profile.passive_mode,
        echo: profile.echo_mode.then_some(echo),
        minimum_ttl: profile.minimum_ttl.unwrap_or(least),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use ferrolb_crds::model::{Asn, HoldTime, Port};

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

    fn watched(peers: &[(&str, plan::Session)]) -> Plan {
        let peers = peers.iter();
        let peers = peers.map(|(name, session)| ((*name).to_owned(), session.clone()));
        Plan {
            peers: peers.collect(),
            ..Plan::default()
        }
    }

    fn session(neighbor: &str, bfd: Option<BfdProfile>) -> plan::Session {
        plan::Session {
            neighbor: match neighbor.parse() {
                Ok(address) => Neighbor::Address(address),
                Err(_) => Neighbor::Interface(neighbor.to_owned()),
            },
            port: Port::BGP,
            source_address: None,
            local_asn: Asn::new(64500).unwrap(),
            peer_asn: PeerAsn::External,
            router_id: None,
            hold_time: HoldTime::DEFAULT,
            keepalive_time: None,
            connect_retry_time: None,
            families: BTreeSet::new(),
            multi_hop: false,
            bfd,
            transport: bgp::Transport::default(),
            graceful_restart: None,
            passive: false,
        }
    }

    #[test]
    fn a_profile_that_says_nothing_means_bfd_s_defaults_and_what_it_says_counts() {
        let said = BfdProfile {
            name: "said".to_owned(),
            receive_interval: Some(Duration::from_millis(50)),
            transmit_interval: Some(Duration::from_millis(60)),
            detect_multiplier: Some(5),
            echo_interval: None,
            echo_mode: true,
            passive_mode: true,
            minimum_ttl: Some(200),
        };
        let default = BfdProfile::default();
        assert_eq!(parameters(&default, None), bfd::Parameters::DEFAULT);
        let least_ttl = |profile, hops| parameters(profile, TtlSecurityHops::new(hops)).minimum_ttl;
        assert_eq!(
            [1, 2, 5].map(|hops| least_ttl(&default, hops)),
            [254, 254, 251]
        );
        assert_eq!(least_ttl(&said, 5), 200);
        let expected = bfd::Parameters {
            desired_min_tx: Duration::from_millis(60),
            required_min_rx: Duration::from_millis(50),
            detect_multiplier: NonZeroU8::new(5).unwrap(),
            is_passive: true,
            echo: Some(Duration::from_millis(50)),
            minimum_ttl: 200,
        };
        assert_eq!(parameters(&said, None), expected);
        let interval = BfdProfile {
            echo_interval: Some(Duration::from_millis(20)),
            echo_mode: false,
            ..said
        };
        assert_eq!(parameters(&interval, None).echo, None);
    }

    #[test]
    fn peers_that_are_reached_by_one_path_share_its_session() {
        let fast = BfdProfile {
            transmit_interval: Some(Duration::from_millis(50)),
            ..BfdProfile::default()
        };
        let plan = watched(&[
            ("a", session("192.0.2.1", Some(BfdProfile::default()))),
            ("b", session("192.0.2.1", Some(fast))),
            ("c", session("192.0.2.1", None)),
            ("d", session("192.0.2.2", Some(BfdProfile::default()))),
        ]);
        let (wanted, keys) = bfd_sessions(&plan, &radv::Report::new());
        assert_eq!(wanted.len(), 2);
        assert_eq!(keys["a"], keys["b"]);
        assert_eq!(keys.keys().collect::<Vec<_>>(), ["a", "b", "d"]);
        let shared = wanted[&keys["a"]];
        assert_eq!(shared.desired_min_tx, Duration::from_millis(50));
        assert_eq!(wanted[&keys["d"]], bfd::Parameters::DEFAULT);
    }

    #[test]
    fn a_peer_on_an_interface_is_where_its_router_is_heard_and_nowhere_until_then() {
        let fast = Some(BfdProfile::default());
        let internal = plan::Session {
            peer_asn: PeerAsn::Internal,
            multi_hop: true,
            ..session("eth1", fast.clone())
        };
        let plan = watched(&[
            ("far", session("192.0.2.1", None)),
            ("first", internal),
            ("second", session("eth2", fast)),
        ]);
        let address = "fe80::1".parse().unwrap();
        let router = |interface| Ok(radv::Router { address, interface });
        let silent = Err("no router advertisement heard on eth2 yet".to_owned());
        let mut routers = radv::Report::from([("eth2".to_owned(), silent)]);
        let known = sessions(&plan, &routers, "n1");
        assert_eq!(known.keys().collect::<Vec<_>>(), ["far"]);
        assert_eq!(known["far"].transport.device, None);
        assert!(bfd_sessions(&plan, &routers).0.is_empty());

        routers.insert("eth1".to_owned(), router(3));
        routers.insert("eth2".to_owned(), router(4));
        let known = sessions(&plan, &routers, "n1");
        for (peer, interface, index) in [("first", "eth1", 3), ("second", "eth2", 4)] {
            assert_eq!(known[peer].neighbor, IpAddr::V6(address));
            assert_eq!(known[peer].transport.device.as_deref(), Some(interface));
            let (wanted, keys) = bfd_sessions(&plan, &routers);
            let key = bfd::SessionKey {
                peer: address.into(),
                interface: Some(index),
                vrf: None,
                local: None,
                reach: bfd::Reach::SingleHop,
            };
            assert_eq!(keys[peer], key);
            assert_eq!(wanted.len(), 2);
        }
    }

    #[test]
    fn how_far_away_a_peer_is_its_kind_says() {
        let asn = PeerAsn::Exact(Asn::new(64500).unwrap());
        let of = |peer_asn, multi_hop| {
            let session = session("192.0.2.1", None);
            reach(&plan::Session {
                peer_asn,
                multi_hop,
                ..session
            })
        };
        let within = |hops| {
            let mut session = session("192.0.2.1", None);
            session.transport.ttl_security_hops = TtlSecurityHops::new(hops);
            reach(&session)
        };
        assert_eq!(within(1), bfd::Reach::SingleHop);
        assert_eq!(within(2), bfd::Reach::Multihop);
        assert_eq!(of(PeerAsn::External, false), bfd::Reach::SingleHop);
        assert_eq!(of(PeerAsn::External, true), bfd::Reach::Multihop);
        assert_eq!(of(PeerAsn::Internal, false), bfd::Reach::AsFound);
        assert_eq!(of(asn, false), bfd::Reach::AsFound);
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
