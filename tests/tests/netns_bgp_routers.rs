//! BGP with three routers of others: who dials, what is agreed on, and what a restart leaves in place.
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ferrolb_tests::lab::Lab;
use ferrolb_tests::objects::{bgp, peer, pool, service, tcp};
use ferrolb_tests::patience;
use ferrolb_tests::peer::Neighbour;
use ferrolb_tests::peer::bird::{self, Bird};
use ferrolb_tests::peer::exabgp::{self, Exabgp};
use ferrolb_tests::peer::frr::{self, Frr};
use ferrolb_tests::peer::gobgp::{self, Gobgp};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);
/// GoBGP lets nobody in for half a minute after it has reset a session.
const GOBGP_SOON: Duration = Duration::from_secs(50);
const FOUR: &str = "198.51.100.0/32";
const SIX: &str = "2001:db8:100::/128";
const NODE: &str = "192.168.1.11";
const NODE_V6: &str = "fd00:1::11";
const ROUTER: &str = "192.168.1.1";
const ROUTER_V6: &str = "fd00:1::1";

#[derive(Debug, Clone, Copy, PartialEq)]
enum Brand {
    Bird,
    Frr,
    Gobgp,
    Exabgp,
}

const BRANDS: [Brand; 4] = [Brand::Bird, Brand::Frr, Brand::Gobgp, Brand::Exabgp];

enum Router {
    Bird(Bird),
    Frr(Frr),
    Gobgp(Gobgp),
    Exabgp(Exabgp),
}

impl Router {
    /// Sessions with the node; whether it dials, and whether by GTSM (RFC 5082).
    fn start(lab: &Lab, brand: Brand, neighbours: &[Neighbour], dials: bool, gtsm: bool) -> Self {
        let id = lab.segment.router.v4;
        match brand {
            Brand::Bird => {
                let passive = if dials { "passive off" } else { "passive on" };
                let security = if gtsm { "ttl security on; " } else { "" };
                let extended = format!("enable extended messages on; {security}{passive}");
                let config = bird::router(id, neighbours).replace("passive on", &extended);
                Self::Bird(lab.bird(&config).unwrap())
            }
            Brand::Frr => Self::Frr(lab.frr(&frr(id, neighbours, dials, gtsm)).unwrap()),
            Brand::Gobgp => {
                let options = gobgp::Options {
                    is_passive: !dials,
                    has_ttl_security: gtsm,
                    ..gobgp::Options::default()
                };
                let config = gobgp::router(id, neighbours, options);
                let namespace = &lab.segment.router.namespace;
                Self::Gobgp(Gobgp::start(namespace, lab.path(), &config).unwrap())
            }
            Brand::Exabgp => {
                let security = if gtsm {
                    "incoming-ttl 255; outgoing-ttl 255;"
                } else {
                    ""
                };
                let config = exabgp::router(id, neighbours, !dials, security, "");
                let namespace = &lab.segment.router.namespace;
                Self::Exabgp(Exabgp::start(namespace, lab.path(), &config).unwrap())
            }
        }
    }

    fn is_established(&self) -> bool {
        match self {
            Self::Bird(bird) => bird.is_established("n1"),
            Self::Frr(frr) => frr.is_established(address(NODE)),
            Self::Gobgp(gobgp) => gobgp.is_established(address(NODE)),
            Self::Exabgp(exabgp) => exabgp.heard(address(NODE)).is_up,
        }
    }

    fn has_route(&self) -> bool {
        match self {
            Self::Bird(bird) => bird.routes(FOUR).is_ok_and(|routes| !routes.is_empty()),
            Self::Frr(frr) => {
                let shown = frr.ask(&format!("show bgp ipv4 unicast {FOUR} json"));
                shown.is_ok_and(|text| text.contains("\"paths\""))
            }
            Self::Gobgp(gobgp) => gobgp.has_route(address(NODE), FOUR),
            Self::Exabgp(exabgp) => exabgp.heard(address(NODE)).routes.contains_key(FOUR),
        }
    }

    /// Whether the route has so many large communities.
    fn has_large_communities(&self, count: usize) -> bool {
        match self {
            Self::Bird(bird) => {
                // It cuts long lists short when it shows them.
                let words = format!("show route where bgp_large_community.len = {count} all");
                bird.ask(&words).is_ok_and(|shown| shown.contains(FOUR))
            }
            Self::Frr(frr) => {
                let shown = frr.ask(&format!("show bgp ipv4 unicast {FOUR}")).unwrap();
                let words = shown.split_whitespace();
                words.filter(|word| word.starts_with("64512:1:")).count() == count
            }
            Self::Gobgp(gobgp) => {
                let route = gobgp.route(address(NODE), FOUR);
                route.is_some_and(|route| route.large_communities.len() == count)
            }
            Self::Exabgp(exabgp) => {
                let heard = exabgp.heard(address(NODE));
                let large = heard.routes.get(FOUR).map(|route| {
                    let list = route.attributes["large-community"].as_array();
                    list.map_or(0, Vec::len)
                });
                large == Some(count)
            }
        }
    }

    /// Ends the session from its side, so that both sides begin anew.
    fn reset(&self) {
        match self {
            Self::Bird(bird) => drop(bird.ask("restart n1").unwrap()),
            Self::Frr(frr) => drop(frr.ask("clear bgp *").unwrap()),
            Self::Gobgp(gobgp) => drop(gobgp.ask(&format!("neighbor {NODE} reset")).unwrap()),
            Self::Exabgp(exabgp) => {
                // Cease, administrative reset, in its own time.
                let words = format!("neighbor {NODE} teardown 4");
                exabgp.say(&words).unwrap();
                patience::until("the end", SOON, || !self.is_established()).unwrap();
            }
        }
    }
}

/// The configuration of FRR.
fn frr(id: Ipv4Addr, neighbours: &[Neighbour], dials: bool, gtsm: bool) -> String {
    let mut config = frr::router(id, neighbours, None);
    config.push_str(&format!("exit\nrouter bgp {}\n", neighbours[0].local_asn));
    for Neighbour { remote, .. } in neighbours {
        if !dials {
            config.push_str(&format!(" neighbor {remote} passive\n"));
        }
        if gtsm {
            config.push_str(&format!(" neighbor {remote} ttl-security hops 1\n"));
        }
        if remote.is_ipv6() {
            config.push_str(&format!(" neighbor {remote} capability extended-nexthop\n"));
        }
    }
    config
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// One node that announces an address to one router.
struct Site {
    lab: Lab,
    router: Router,
}

/// How the two are set up.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Lines of the BGPPeer's spec.
    spec: &'static str,
    /// Annotations of the BGPPeer.
    annotations: &'static [&'static str],
    listens: bool,
    router_dials: bool,
    gtsm: bool,
    /// Whether there is a session over IPv6, too, for the other address of the Service.
    is_dual: bool,
    own_asn: u32,
}

const PLAIN: Plan = Plan {
    spec: "",
    annotations: &[],
    listens: false,
    router_dials: false,
    gtsm: false,
    is_dual: false,
    own_asn: 64500,
};

impl Site {
    fn new(brand: Brand, plan: Plan) -> Self {
        let mut lab = Lab::new(1).unwrap();
        let mut neighbours = lab.neighbours(64501, plan.own_asn);
        if plan.is_dual {
            let mut six = neighbours[0].clone();
            six.name = "n1_v6".to_owned();
            six.local = address(ROUTER_V6);
            six.remote = address(NODE_V6);
            neighbours.push(six);
        }
        let router = Router::start(&lab, brand, &neighbours, plan.router_dials, plan.gtsm);
        if plan.listens {
            let listen = [format!("--bgp-listen={NODE}:179")];
            lab.speaker_arguments.extend(listen);
        }
        let (ranges, families) = match plan.is_dual {
            true => (
                ["198.51.100.0/28", "2001:db8:100::/124"].as_slice(),
                "ipFamilyPolicy: RequireDualStack\n",
            ),
            false => (["198.51.100.0/28"].as_slice(), ""),
        };
        let routed = pool("routed", ranges) + &bgp("routed", "");
        lab.manifest("routed.yaml", &routed).unwrap();
        let web = service("web", &(families.to_owned() + &tcp(&[(80, 30080)])));
        lab.manifest("web.yaml", &web).unwrap();
        lab.manifest("peer.yaml", &plan.peers()).unwrap();
        lab.start_controller().unwrap();
        lab.start_speakers().unwrap();
        Self { lab, router }
    }

    fn await_route(&self) {
        let has_it = || self.router.is_established() && self.router.has_route();
        let limit = match self.router {
            Router::Bird(_) | Router::Frr(_) | Router::Exabgp(_) => SOON,
            Router::Gobgp(_) => GOBGP_SOON,
        };
        patience::until("the route", limit, has_it).unwrap();
    }

    /// TCP connections of BGP that the node has.
    fn connections(&self) -> usize {
        let node = &self.lab.segment.nodes[0].namespace;
        let shown = node.run("ss -Htn state established").unwrap();
        let lines = shown.lines();
        lines
            .filter(|line| line.contains(":179 ") || line.trim_end().ends_with(":179"))
            .count()
    }

    /// Whether all sessions are up, by what the node says.
    fn is_established(&self) -> bool {
        let status = self.lab.status(1).unwrap();
        let mut sessions = status["sessions"].as_array().unwrap().iter();
        sessions.all(|session| session["state"] == "Established")
    }

    /// A route with too many communities for a message of 4,096 octets comes (RFC 8654).
    fn long_messages_arrive(&self) {
        const COUNT: usize = 400;
        let all: Vec<String> = (0..COUNT)
            .map(|low| format!("\"large:64512:1:{low}\""))
            .collect();
        let communities = format!("communities: [{}]", all.join(", "));
        let routed = pool("routed", &["198.51.100.0/28"]) + &bgp("routed", &communities);
        self.lab.manifest("routed.yaml", &routed).unwrap();
        let have_come = || self.router.has_large_communities(COUNT);
        patience::until("the communities", SOON, have_come).unwrap();
    }
}

impl Plan {
    fn peers(self) -> String {
        let four = self.peer("router", ROUTER);
        match self.is_dual {
            true => four + &self.peer("router-six", ROUTER_V6),
            false => four,
        }
    }

    fn peer(self, name: &str, address: &str) -> String {
        let text = peer(name, 64501, address, self.spec);
        let text = text.replace("myASN: 64500", &format!("myASN: {}", self.own_asn));
        let annotations: String = self
            .annotations
            .iter()
            .map(|line| format!("    {line}\n"))
            .collect();
        match annotations.is_empty() {
            true => text,
            false => text.replace(
                &format!("  name: {name}\n"),
                &format!("  name: {name}\n  annotations:\n{annotations}"),
            ),
        }
    }
}

/// By GTSM: what answers a router that dials has to have the highest TTL from the first packet on.
#[test]
fn a_router_that_dials_is_served_without_being_dialled() {
    for brand in BRANDS {
        let plan = Plan {
            annotations: &[
                "ferrolb.io/bgp-passive: \"true\"",
                "ferrolb.io/bgp-ttl-security-hops: \"1\"",
            ],
            listens: true,
            router_dials: true,
            gtsm: true,
            ..PLAIN
        };
        let site = Site::new(brand, plan);
        site.await_route();
        let node = &site.lab.segment.nodes[0].namespace;
        let shown = node.run("ss -Htn state established").unwrap();
        assert!(shown.contains(&format!("{NODE}:179")), "{brand:?}: {shown}");
        assert_eq!(site.connections(), 1, "{brand:?}: {shown}");
    }
}

#[test]
fn bird_has_one_session_that_stays_when_both_dial() {
    two_sides_that_dial(Brand::Bird);
}

#[test]
fn frr_has_one_session_that_stays_when_both_dial() {
    two_sides_that_dial(Brand::Frr);
}

#[test]
fn gobgp_has_one_session_that_stays_when_both_dial() {
    two_sides_that_dial(Brand::Gobgp);
}

#[test]
fn exabgp_has_one_session_that_stays_when_both_dial() {
    two_sides_that_dial(Brand::Exabgp);
}

/// The higher identifier is once ours and once the router's.
fn two_sides_that_dial(brand: Brand) {
    let (lower, higher) = ("routerID: 10.0.0.1", "routerID: 203.0.113.1");
    for spec in [lower, higher] {
        let plan = Plan {
            spec,
            listens: true,
            router_dials: true,
            ..PLAIN
        };
        let site = Site::new(brand, plan);
        let resets = match brand {
            Brand::Bird | Brand::Frr => 2,
            Brand::Exabgp => 1,
            // It takes half a minute to get over one.
            Brand::Gobgp => usize::from(spec == lower),
        };
        for round in 0..=resets {
            site.await_route();
            patience::pause(Duration::from_secs(1)).unwrap();
            patience::throughout("the one session", Duration::from_secs(2), || {
                site.router.is_established() && site.connections() == 1
            })
            .unwrap();
            if round < resets {
                site.router.reset();
            }
        }
    }
}

/// What FRR says of the capabilities of both.
#[test]
fn frr_and_we_agree_on_every_capability_that_both_have() {
    let plan = Plan {
        spec: "enableGracefulRestart: true",
        annotations: &["ferrolb.io/bgp-long-lived-stale-time: 1h"],
        own_asn: 4_200_000_001,
        ..PLAIN
    };
    let site = Site::new(Brand::Frr, plan);
    site.await_route();
    let Router::Frr(frr) = &site.router else {
        panic!("FRR");
    };
    let text = frr.ask(&format!("show bgp neighbors {NODE} json")).unwrap();
    let shown: Value = serde_json::from_str(&text).unwrap();
    let capabilities = &shown[NODE]["neighborCapabilities"];
    let both = |name: &str| {
        let text = capabilities[name].to_string();
        assert!(
            text.contains("dvertisedAndReceived"),
            "{name}: {capabilities:#}"
        );
    };
    for name in [
        "4byteAs",
        "extendedMessage",
        "routeRefresh",
        "enhancedRouteRefresh",
    ] {
        both(name);
    }
    assert_eq!(
        capabilities["longLivedGracefulRestart"],
        "advertisedAndReceived"
    );
    let path = frr
        .ask(&format!("show bgp ipv4 unicast {FOUR} json"))
        .unwrap();
    let path: Value = serde_json::from_str(&path).unwrap();
    assert_eq!(path["paths"][0]["aspath"]["string"], "4200000001");

    let count = |kind: &str| {
        let text = frr.ask(&format!("show bgp neighbors {NODE} json")).unwrap();
        let shown: Value = serde_json::from_str(&text).unwrap();
        shown[NODE]["messageStats"][kind].as_u64().unwrap()
    };
    let (updates, marks) = (count("updatesRecv"), count("routeRefreshRecv"));
    frr.ask(&format!("clear bgp ipv4 unicast {NODE} soft in"))
        .unwrap();
    patience::until("the answer", SOON, || {
        count("routeRefreshRecv") == marks + 2 && count("updatesRecv") > updates
    })
    .unwrap();
    assert!(site.router.has_route());
    site.long_messages_arrive();
}

#[test]
fn bird_and_we_agree_on_every_capability_that_both_have() {
    let plan = Plan {
        spec: "enableGracefulRestart: true",
        annotations: &["ferrolb.io/bgp-long-lived-stale-time: 1h"],
        own_asn: 4_200_000_001,
        ..PLAIN
    };
    let site = Site::new(Brand::Bird, plan);
    site.await_route();
    let Router::Bird(bird) = &site.router else {
        panic!("BIRD");
    };
    let shown = bird.ask("show protocols all n1").unwrap();
    let (_, neighbour) = shown.split_once("Neighbor caps:").unwrap_or_else(|| {
        shown
            .split_once("Neighbor capabilities")
            .unwrap_or_else(|| panic!("{shown}"))
    });
    let (session, _) = neighbour.split_once("Session:").unwrap();
    for name in ["xtended message", "refresh", "estart", "4-octet AS", "LLGR"] {
        let is_there = session.contains(name) || session.contains("Long-lived") && name == "LLGR";
        assert!(is_there, "{name}: {session}");
    }
    assert_eq!(bird.routes(FOUR).unwrap()[0].as_path, "4200000001");
    let count = || {
        let shown = bird.ask("show protocols all n1").unwrap();
        let line = shown.lines().find(|line| line.contains("Import updates:"));
        let words = line.unwrap().split_whitespace();
        words.flat_map(str::parse::<u64>).next().unwrap()
    };
    let updates = count();
    bird.ask("reload in n1").unwrap();
    patience::until("the answer", SOON, || count() > updates).unwrap();
    patience::throughout("the route", Duration::from_secs(2), || {
        site.router.has_route()
    })
    .unwrap();
    site.long_messages_arrive();
}

/// RFC 8950 with FRR, over IPv6: the path and its next hop.
#[test]
fn frr_takes_ipv4_routes_with_an_ipv6_next_hop() {
    let mut lab = Lab::new(1).unwrap();
    let mut neighbour = lab.neighbours(64501, 64500).remove(0);
    neighbour.remote = lab.segment.nodes[0].v6.into();
    neighbour.local = lab.segment.router.v6.into();
    let Router::Frr(frr) = Router::start(&lab, Brand::Frr, &[neighbour], false, false) else {
        panic!("FRR");
    };
    lab.manifest(
        "routed.yaml",
        &(pool("routed", &["198.51.100.0/28"]) + &bgp("routed", "")),
    )
    .unwrap();
    lab.manifest("web.yaml", &service("web", &tcp(&[(80, 30080)])))
        .unwrap();
    let router = lab.segment.router.v6.to_string();
    let dual = "dualStackAddressFamily: true";
    lab.manifest("peer.yaml", &peer("router", 64501, &router, dual))
        .unwrap();
    lab.start_controller().unwrap();
    lab.start_speakers().unwrap();
    patience::until("the route", SOON, || {
        let text = frr.ask(&format!("show bgp ipv4 unicast {FOUR} json"));
        text.is_ok_and(|text| text.contains("fd00:1::11"))
    })
    .unwrap();
    lab.await_next_hops(FOUR, &["fd00:1::11".to_owned()], SOON)
        .unwrap();
}

/// Requests that are answered while the speaker is away, ended in order and killed, over both families.
#[test]
fn f6_to_f8_f28_f29_a_restart_with_graceful_restart_loses_nothing() {
    for brand in [Brand::Bird, Brand::Frr] {
        let plan = Plan {
            spec: "enableGracefulRestart: true",
            is_dual: true,
            ..PLAIN
        };
        let mut site = Site::new(brand, plan);
        site.lab.serve_http(&[30080]).unwrap();
        site.await_route();
        let addresses = ["198.51.100.0", "2001:db8:100::"].map(address);
        let client = &site.lab.segment.client.namespace;
        for address in addresses {
            patience::until("an answer", SOON, || {
                site.lab.curl(client, address, 80).is_some()
            })
            .unwrap();
        }
        for is_killed in [false, true] {
            let every = Duration::from_millis(10);
            let probe = |address| site.lab.probe("probe-http", address, 80, every).unwrap();
            let probes = addresses.map(probe);
            patience::pause(Duration::from_millis(500)).unwrap();
            match is_killed {
                true => site.lab.speaker(1).unwrap().kill(),
                false => drop(site.lab.speaker(1).unwrap().terminate(SOON).unwrap()),
            }
            let away = Duration::from_secs(3);
            patience::throughout("the routes", away, || site.has_next_hops()).unwrap();
            site.lab.start_speaker(1).unwrap();
            patience::until("the sessions", SOON, || {
                site.router.is_established() && site.is_established()
            })
            .unwrap();
            let after = Duration::from_secs(3);
            patience::throughout("the routes", after, || site.has_next_hops()).unwrap();
            for probe in probes {
                let record = probe.stop().unwrap();
                assert!(record.answered().len() == 1, "{brand:?}");
                assert_eq!(record.lost(), 0, "{brand:?}, killed: {is_killed}");
            }
        }
        // What goes for good goes at once all the same.
        site.lab.remove_manifest("peer.yaml").unwrap();
        let gone = Duration::from_secs(3);
        patience::until("no route", gone, || site.has_none()).unwrap();
    }
}

/// It has no kernel behind it: its table is what is looked at.
#[test]
fn gobgp_keeps_the_routes_of_a_speaker_that_restarts() {
    let plan = Plan {
        spec: "enableGracefulRestart: true",
        ..PLAIN
    };
    let mut site = Site::new(Brand::Gobgp, plan);
    site.await_route();
    let is_stale = |site: &Site| {
        let Router::Gobgp(gobgp) = &site.router else {
            panic!("GoBGP");
        };
        gobgp.route(address(NODE), FOUR).map(|route| route.is_stale)
    };
    assert_eq!(is_stale(&site), Some(false));
    for is_killed in [false, true] {
        match is_killed {
            true => site.lab.speaker(1).unwrap().kill(),
            false => drop(site.lab.speaker(1).unwrap().terminate(SOON).unwrap()),
        }
        let kept = || is_stale(&site) == Some(true);
        patience::until("the route to be stale", SOON, kept).unwrap();
        patience::throughout("the route", Duration::from_secs(2), kept).unwrap();
        site.lab.start_speaker(1).unwrap();
        patience::until("the route to be fresh", GOBGP_SOON, || {
            assert!(is_stale(&site).is_some(), "killed: {is_killed}");
            is_stale(&site) == Some(false)
        })
        .unwrap();
    }
    site.lab.remove_manifest("peer.yaml").unwrap();
    let is_gone = || is_stale(&site).is_none();
    patience::until("no route", Duration::from_secs(3), is_gone).unwrap();
}

impl Site {
    fn has_next_hops(&self) -> bool {
        [(FOUR, NODE), (SIX, NODE_V6)].iter().all(|(prefix, hop)| {
            let hops = self.lab.next_hops(prefix);
            hops.is_ok_and(|hops| hops == [(*hop).to_owned()])
        })
    }

    fn has_none(&self) -> bool {
        let mut hops = [FOUR, SIX].iter().map(|prefix| self.lab.next_hops(prefix));
        hops.all(|hops| hops.is_ok_and(|hops| hops.is_empty()))
    }
}

/// Not only where that was asked for, but where the router agrees.
#[test]
fn f9_to_f11_without_graceful_restart_a_stop_withdraws_at_once() {
    for brand in [Brand::Bird, Brand::Frr] {
        let plan = Plan {
            is_dual: true,
            ..PLAIN
        };
        let mut site = Site::new(brand, plan);
        site.lab.serve_http(&[30080]).unwrap();
        site.await_route();
        patience::until("the routes", SOON, || site.has_next_hops()).unwrap();
        site.lab.speaker(1).unwrap().terminate(SOON).unwrap();
        let gone = Duration::from_secs(2);
        patience::until("no route", gone, || site.has_none()).unwrap();
        let client = &site.lab.segment.client.namespace;
        for text in ["198.51.100.0", "2001:db8:100::"] {
            assert_eq!(site.lab.curl(client, address(text), 80), None, "{brand:?}");
        }
    }
}
