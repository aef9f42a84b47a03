//! A router whose whole configuration is what `router-config` printed.
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::process::Command;
use std::time::Duration;

use ferrolb_tests::lab::Lab;
use ferrolb_tests::objects::{bfd_profile, bgp, peer, pool, service, tcp};
use ferrolb_tests::patience;
use ferrolb_tests::peer::bird::Bird;
use ferrolb_tests::peer::frr::Frr;
use ferrolb_tests::process::output;
use ferrolb_tests::programs;

const SOON: Duration = Duration::from_secs(30);
const FOUR: &str = "198.51.100.0/32";
const SIX: &str = "2001:db8:100::/128";

/// What the API server would have of the laboratory's nodes.
fn nodes(lab: &Lab) -> String {
    let nodes = lab.segment.nodes.iter();
    nodes
        .map(|node| {
            format!(
                "---\napiVersion: v1\nkind: Node\nmetadata:\n  name: {}\nstatus:\n  addresses:\n  \
                 - {{type: InternalIP, address: \"{}\"}}\n  - {{type: InternalIP, address: \"{}\"}}\n",
                node.name, node.v4, node.v6
            )
        })
        .collect()
}

/// Two nodes that announce `web` to the peers.
fn site(peers: &[String]) -> Lab {
    let mut lab = Lab::new(2).unwrap();
    let routed = pool("routed", &["198.51.100.0/28", "2001:db8:100::/124"]) + &bgp("routed", "");
    let web = service(
        "web",
        &("ipFamilyPolicy: RequireDualStack\n".to_owned() + &tcp(&[(80, 30080)])),
    );
    lab.manifest("routed.yaml", &routed).unwrap();
    lab.manifest("web.yaml", &web).unwrap();
    lab.manifest("peers.yaml", &peers.concat()).unwrap();
    lab.manifest("nodes.yaml", &nodes(&lab)).unwrap();
    lab.start_controller().unwrap();
    lab.start_speakers().unwrap();
    lab
}

fn printed(lab: &Lab, router: &str) -> String {
    let mut command = Command::new(programs::speaker().unwrap());
    command.args(["router-config", "--for", router, "--show-passwords"]);
    output(command.arg("--manifests").arg(lab.manifests())).unwrap()
}

fn of_both_families() -> [String; 2] {
    [
        peer("four", 64501, "192.168.1.1", ""),
        peer("six", 64501, "fd00:1::1", ""),
    ]
}

const V4: [&str; 2] = ["192.168.1.11", "192.168.1.12"];
const V6: [&str; 2] = ["fd00:1::11", "fd00:1::12"];

fn owned(hops: &[&str]) -> Vec<String> {
    hops.iter().map(|hop| (*hop).to_owned()).collect()
}

fn bird(lab: &Lab) -> Bird {
    let config = printed(lab, "bird");
    Bird::start(&lab.segment.router.namespace, lab.path(), "bird", &config).unwrap()
}

#[test]
fn bird_has_the_sessions_and_all_routes_over_every_node() {
    let mut lab = site(&of_both_families());
    let router = bird(&lab);
    lab.await_next_hops(FOUR, &owned(&V4), SOON).unwrap();
    lab.await_next_hops(SIX, &owned(&V6), SOON).unwrap();
    // It takes what a node can have and no more, and tells nothing, whoever speaks there.
    lab.speaker(1).unwrap().terminate(SOON).unwrap();
    let foreign = Bird::start(
        &lab.segment.nodes[0].namespace,
        lab.path(),
        "foreign",
        "router id 192.168.1.11;\nprotocol device { }\n\
         protocol static { ipv4; route 198.51.100.1/32 blackhole; route 203.0.113.1/32 blackhole; \
         route 198.51.100.0/28 blackhole; }\n\
         protocol bgp r { local 192.168.1.11 as 64500; neighbor 192.168.1.1 as 64501; \
         connect delay time 1; ipv4 { import all; export all; }; }\n",
    );
    let foreign = foreign.unwrap();
    patience::until("the foreign speaker's route", SOON, || {
        !router.routes("198.51.100.1/32").unwrap().is_empty()
    })
    .unwrap();
    assert!(router.routes("203.0.113.1/32").unwrap().is_empty());
    assert!(router.routes("198.51.100.0/28").unwrap().is_empty());
    assert_eq!(foreign.imported("r").unwrap(), 0);
}

#[test]
fn bird_takes_ipv4_routes_over_ipv6_and_routes_of_an_inner_session() {
    let dual = "dualStackAddressFamily: true";
    let lab = site(&[peer("six", 64501, "fd00:1::1", dual)]);
    let router = bird(&lab);
    lab.await_next_hops(FOUR, &owned(&V6), SOON).unwrap();
    lab.await_next_hops(SIX, &owned(&V6), SOON).unwrap();
    drop(router);

    let inner = peer("four", 64500, "192.168.1.1", dual);
    lab.manifest("peers.yaml", &inner).unwrap();
    let _router = bird(&lab);
    lab.await_next_hops(FOUR, &owned(&V4), SOON).unwrap();
    lab.await_next_hops(SIX, &owned(&V6), SOON).unwrap();
}

#[test]
fn frr_has_the_sessions_and_all_routes_over_every_node() {
    let lab = site(&of_both_families());
    let config = printed(&lab, "frr");
    let frr = Frr::start(&lab.segment.router.namespace, lab.path(), &config).unwrap();
    for (prefix, family, hops) in [(FOUR, "-4", V4), (SIX, "-6", V6)] {
        let mut seen = String::new();
        let found = patience::until("every next hop", SOON, || {
            let words = format!("{family} route show proto bgp {prefix}");
            seen = lab.segment.router.namespace.ip(&words).unwrap();
            hops.iter().all(|hop| seen.contains(hop))
        });
        let said = frr.ask("show running-config").unwrap();
        found.unwrap_or_else(|_| panic!("{prefix}: {seen}\n{said}"));
    }
    let sent = frr.ask("show bgp ipv4 unicast neighbors 192.168.1.11 advertised-routes");
    assert!(!sent.unwrap().contains("198.51.100"));
}

/// What runs on the router.
enum Router {
    Bird(Bird),
    Frr(Frr),
}

impl Router {
    /// What it says of the node's sessions and paths.
    fn account(&self) -> String {
        match self {
            Self::Bird(bird) => bird.ask("show protocols all").unwrap(),
            Self::Frr(frr) => {
                frr.ask("show bgp neighbors").unwrap() + &frr.ask("show bfd peers").unwrap()
            }
        }
    }
}

fn is_watched(lab: &Lab, peer: &str) -> bool {
    let status = lab.status(1).unwrap();
    let mut sessions = status["sessions"].as_array().unwrap().iter();
    sessions.any(|session| {
        let states = (&session["state"], &session["bfd"]["state"]);
        session["peer"] == peer && states == (&"Established".into(), &"Up".into())
    })
}

/// One peer that keeps the routes while the speaker is away, although BFD watches the path; another one
/// that may be beyond a router, for BIRD by GTSM.
#[test]
fn as_printed_a_router_watches_paths_and_keeps_the_routes_of_a_speaker_that_restarts() {
    let four = "enableGracefulRestart: true\nbfdProfile: fast\npassword: swordfish";
    let far = "metadata:\n  annotations: {ferrolb.io/bgp-ttl-security-hops: \"2\"}";
    let six = |spec| peer("six", 64501, "fd00:1::1", spec);
    let six = [
        six("bfdProfile: fast").replace("metadata:", far),
        six("bfdProfile: fast\nebgpMultiHop: true"),
    ];
    for (brand, six) in ["bird", "frr"].into_iter().zip(six) {
        let mut lab = site(&[peer("four", 64501, "192.168.1.1", four), six]);
        let router = &lab.segment.router.namespace;
        // BIRD sends with the host's TTL over several hops, and 64 is not what the other end expects.
        router
            .sysctl(&[
                "net/ipv6/conf/all/hop_limit=255",
                "net/ipv6/conf/eth0/hop_limit=255",
            ])
            .unwrap();
        let fast = "receiveInterval: 50\ntransmitInterval: 50\ndetectMultiplier: 3";
        lab.manifest("profile.yaml", &bfd_profile("fast", fast))
            .unwrap();
        let config = printed(&lab, brand);
        let says_so =
            config.contains("sysctl") && config.contains("net.ipv6.conf.all.hop_limit=255");
        assert_eq!(says_so, brand == "bird", "{config}");
        let router = match brand {
            "bird" => Router::Bird(bird(&lab)),
            _ => Router::Frr(Frr::start(router, lab.path(), &config).unwrap()),
        };
        let await_up = |lab: &Lab| {
            for peer in ["four", "six"] {
                patience::until("a session and its path", SOON, || is_watched(lab, peer))
                    .unwrap_or_else(|error| {
                        panic!(
                            "{peer}: {error}\n{config}\n{}\n{}",
                            lab.status(1).unwrap(),
                            router.account()
                        )
                    });
            }
            lab.await_next_hops(FOUR, &owned(&V4), SOON).unwrap();
            lab.await_next_hops(SIX, &owned(&V6), SOON).unwrap();
        };
        await_up(&lab);
        lab.speaker(1).unwrap().terminate(SOON).unwrap();
        let away = Duration::from_secs(3);
        patience::throughout("the route by a node whose speaker is away", away, || {
            lab.next_hops(FOUR).unwrap() == owned(&V4)
        })
        .unwrap_or_else(|error| panic!("{brand}: {error}\n{}", router.account()));
        // Nothing was agreed on with the other one.
        assert_eq!(lab.next_hops(SIX).unwrap(), owned(&V6[1..]), "{brand}");
        lab.start_speaker(1).unwrap();
        await_up(&lab);
    }
}
