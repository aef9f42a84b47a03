//! BGP with three routers of others: who dials, what is agreed on, and what a restart leaves in place.
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::net::IpAddr;
use std::time::Duration;

use ferrolb_tests::lab::Lab;
use ferrolb_tests::objects::{bgp, peer, pool, service, tcp};
use ferrolb_tests::patience;
use ferrolb_tests::peer::Neighbour;
use ferrolb_tests::peer::bird::{self, Bird};
use ferrolb_tests::peer::frr::{self, Frr};
use ferrolb_tests::peer::gobgp::{self, Gobgp};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);
/// GoBGP lets nobody in for half a minute after it has reset a session.
const GOBGP_SOON: Duration = Duration::from_secs(50);
const FOUR: &str = "198.51.100.0/32";
const NODE: &str = "192.168.1.11";
const ROUTER: &str = "192.168.1.1";

#[derive(Debug, Clone, Copy, PartialEq)]
enum Brand {
    Bird,
    Frr,
    Gobgp,
}

const BRANDS: [Brand; 3] = [Brand::Bird, Brand::Frr, Brand::Gobgp];

enum Router {
    Bird(Bird),
    Frr(Frr),
    Gobgp(Gobgp),
}

impl Router {
    /// One session with the node; whether it dials.
    fn start(lab: &Lab, brand: Brand, neighbour: &Neighbour, dials: bool) -> Self {
        let id = lab.segment.router.v4;
        let neighbours = std::slice::from_ref(neighbour);
        match brand {
            Brand::Bird => {
                let passive = if dials { "passive off" } else { "passive on" };
                let extended = format!("enable extended messages on; {passive}");
                let config = bird::router(id, neighbours).replace("passive on", &extended);
                Self::Bird(lab.bird(&config).unwrap())
            }
            Brand::Frr => {
                let mut config = frr::router(id, neighbours, None);
                let asn = neighbour.local_asn;
                let own = neighbour.remote;
                config.push_str(&format!("exit\nrouter bgp {asn}\n"));
                if !dials {
                    config.push_str(&format!(" neighbor {own} passive\n"));
                }
                if own.is_ipv6() {
                    config.push_str(&format!(" neighbor {own} capability extended-nexthop\n"));
                }
                Self::Frr(lab.frr(&config).unwrap())
            }
            Brand::Gobgp => {
                let config = gobgp::router(id, neighbours, !dials);
                let namespace = &lab.segment.router.namespace;
                Self::Gobgp(Gobgp::start(namespace, lab.path(), &config).unwrap())
            }
        }
    }

    fn is_established(&self) -> bool {
        match self {
            Self::Bird(bird) => bird.is_established("n1"),
            Self::Frr(frr) => frr.is_established(address(NODE)),
            Self::Gobgp(gobgp) => gobgp.is_established(address(NODE)),
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
        }
    }

    /// Ends the session from its side, so that both sides begin anew.
    fn reset(&self) {
        match self {
            Self::Bird(bird) => drop(bird.ask("restart n1").unwrap()),
            Self::Frr(frr) => drop(frr.ask("clear bgp *").unwrap()),
            Self::Gobgp(gobgp) => drop(gobgp.ask(&format!("neighbor {NODE} reset")).unwrap()),
        }
    }
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
    own_asn: u32,
}

const PLAIN: Plan = Plan {
    spec: "",
    annotations: &[],
    listens: false,
    router_dials: false,
    own_asn: 64500,
};

impl Site {
    fn new(brand: Brand, plan: Plan) -> Self {
        let mut lab = Lab::new(1).unwrap();
        let mut neighbour = lab.neighbours(64501, plan.own_asn).remove(0);
        neighbour.hold_time = 9;
        let router = Router::start(&lab, brand, &neighbour, plan.router_dials);
        if plan.listens {
            let listen = [format!("--bgp-listen={NODE}:179")];
            lab.speaker_arguments.extend(listen);
        }
        lab.manifest(
            "routed.yaml",
            &(pool("routed", &["198.51.100.0/28"]) + &bgp("routed", "")),
        )
        .unwrap();
        lab.manifest("web.yaml", &service("web", &tcp(&[(80, 30080)])))
            .unwrap();
        lab.manifest("peer.yaml", &plan.peer()).unwrap();
        lab.start_controller().unwrap();
        lab.start_speakers().unwrap();
        Self { lab, router }
    }

    fn await_route(&self) {
        let has_it = || self.router.is_established() && self.router.has_route();
        let limit = match self.router {
            Router::Bird(_) | Router::Frr(_) => SOON,
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

    fn status(&self) -> Value {
        self.lab.status(1).unwrap()["sessions"][0].clone()
    }
}

impl Plan {
    fn peer(self) -> String {
        let text = peer("router", 64501, ROUTER, self.spec);
        let text = text.replace("myASN: 64500", &format!("myASN: {}", self.own_asn));
        let annotations: String = self
            .annotations
            .iter()
            .map(|line| format!("    {line}\n"))
            .collect();
        match annotations.is_empty() {
            true => text,
            false => text.replace(
                "  name: router\n",
                &format!("  name: router\n  annotations:\n{annotations}"),
            ),
        }
    }
}

#[test]
fn a_router_that_dials_is_served_without_being_dialled() {
    for brand in BRANDS {
        let plan = Plan {
            annotations: &["ferrolb.io/bgp-passive: \"true\""],
            listens: true,
            router_dials: true,
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

/// The higher identifier is once ours and once the router's.
#[test]
fn two_sides_that_dial_have_one_session_that_stays() {
    for brand in BRANDS {
        for spec in ["routerID: 10.0.0.1", "routerID: 203.0.113.1"] {
            let plan = Plan {
                spec,
                listens: true,
                router_dials: true,
                ..PLAIN
            };
            let site = Site::new(brand, plan);
            let rounds = if brand == Brand::Gobgp { 1 } else { 4 };
            for _ in 0..rounds {
                site.await_route();
                patience::pause(Duration::from_secs(1)).unwrap();
                patience::throughout("the one session", Duration::from_secs(2), || {
                    site.router.is_established() && site.connections() == 1
                })
                .unwrap();
                site.router.reset();
            }
            site.await_route();
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
    bird.ask("reload in n1").unwrap();
    patience::throughout("the route", Duration::from_secs(2), || {
        site.router.has_route()
    })
    .unwrap();
}

/// RFC 8950 with FRR, over IPv6: the path and its next hop.
#[test]
fn frr_takes_ipv4_routes_with_an_ipv6_next_hop() {
    let mut lab = Lab::new(1).unwrap();
    let mut neighbour = lab.neighbours(64501, 64500).remove(0);
    neighbour.remote = lab.segment.nodes[0].v6.into();
    neighbour.local = lab.segment.router.v6.into();
    let Router::Frr(frr) = Router::start(&lab, Brand::Frr, &neighbour, false) else {
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

/// Requests a second that are answered while the speaker is away, ended in order and killed.
#[test]
fn a_restart_with_graceful_restart_loses_nothing() {
    for brand in [Brand::Bird, Brand::Frr] {
        let plan = Plan {
            spec: "enableGracefulRestart: true",
            ..PLAIN
        };
        let mut site = Site::new(brand, plan);
        site.lab.serve_http(&[30080]).unwrap();
        site.await_route();
        let address = address("198.51.100.0");
        let client = &site.lab.segment.client.namespace;
        patience::until("an answer", SOON, || {
            site.lab.curl(client, address, 80).is_some()
        })
        .unwrap();
        for is_killed in [false, true] {
            let every = Duration::from_millis(10);
            let probe = site.lab.probe("probe-http", address, 80, every).unwrap();
            patience::pause(Duration::from_millis(500)).unwrap();
            match is_killed {
                true => site.lab.speaker(1).unwrap().kill(),
                false => drop(site.lab.speaker(1).unwrap().terminate(SOON).unwrap()),
            }
            let away = Duration::from_secs(3);
            patience::throughout("the route", away, || site.has_next_hop()).unwrap();
            site.lab.start_speaker(1).unwrap();
            patience::until("the session", SOON, || {
                site.router.is_established() && site.status()["state"] == "Established"
            })
            .unwrap();
            let after = Duration::from_secs(3);
            patience::throughout("the route", after, || site.has_next_hop()).unwrap();
            let record = probe.stop().unwrap();
            assert!(record.answered().len() == 1, "{brand:?}");
            assert_eq!(record.lost(), 0, "{brand:?}, killed: {is_killed}");
        }
        // What goes for good goes at once all the same.
        site.lab.remove_manifest("peer.yaml").unwrap();
        let gone = Duration::from_secs(3);
        patience::until("no route", gone, || !site.has_next_hop()).unwrap();
    }
}

impl Site {
    fn has_next_hop(&self) -> bool {
        self.lab
            .next_hops(FOUR)
            .is_ok_and(|hops| hops == [NODE.to_owned()])
    }
}

/// Not only where that was asked for, but where the router agrees.
#[test]
fn without_graceful_restart_a_stop_withdraws_at_once() {
    for brand in [Brand::Bird, Brand::Frr] {
        let mut site = Site::new(brand, PLAIN);
        site.await_route();
        patience::until("the route", SOON, || site.has_next_hop()).unwrap();
        site.lab.speaker(1).unwrap().terminate(SOON).unwrap();
        let gone = Duration::from_secs(2);
        patience::until("no route", gone, || !site.has_next_hop()).unwrap();
    }
}
