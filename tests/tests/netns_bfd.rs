//! BFD with BIRD and with FRR: a path that fails is noticed long before BGP's hold timer would.
#![expect(
    clippy::disallowed_methods,
    reason = "a proof measures time and opens sockets"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

use ferrolb_tests::lab::Lab;
use ferrolb_tests::objects::{bfd_profile, bgp, peer, pool, service, tcp};
use ferrolb_tests::patience;
use ferrolb_tests::peer::bird::{self, Bird};
use ferrolb_tests::peer::frr::{self, Frr};
use ferrolb_tests::peer::{Bfd, Neighbour};

const SOON: Duration = Duration::from_secs(20);
/// Ten times what 50 ms and three packets promise; BGP's hold timer takes six times as long again.
const DETECTED: Duration = Duration::from_millis(1500);
const FOUR: &str = "198.51.100.0/32";
const SIX: &str = "2001:db8:100::/128";
const ROUTER_V6: &str = "fd00:1::1";
const FAST: &str = "receiveInterval: 50\ntransmitInterval: 50\ndetectMultiplier: 3";

/// What runs on the router.
enum Router {
    Bird(Bird),
    Frr(Frr),
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Bird,
    Frr,
}

const BOTH: [Kind; 2] = [Kind::Bird, Kind::Frr];

impl Router {
    fn is_path_up(&self, peer: IpAddr) -> bool {
        match self {
            Self::Bird(bird) => bird.is_path_up(peer),
            Self::Frr(frr) => frr.is_path_up(peer),
        }
    }
}

/// How the two ends meet.
struct Meeting {
    /// AS of the router; 64500 is that of the nodes.
    asn: u32,
    /// Further lines of the BGPPeers.
    peer: &'static str,
    /// Spec of the BFDProfile.
    profile: &'static str,
    /// The router's end; `None`: it runs no BFD.
    bfd: Option<Bfd>,
    /// Echo does not go with pools that have IPv6.
    is_dual: bool,
}

impl Default for Meeting {
    fn default() -> Self {
        Self {
            asn: 64501,
            peer: "",
            profile: FAST,
            bfd: Some(Bfd::FAST),
            is_dual: true,
        }
    }
}

/// One node, with a session to the router over either family.
struct Site {
    lab: Lab,
    router: Option<Router>,
    meeting: Meeting,
}

impl Site {
    fn new(kind: Kind, meeting: Meeting) -> Self {
        let mut lab = Lab::new(1).unwrap();
        let router = start_router(&lab, kind, &meeting);
        let spec = format!("bfdProfile: fast\nholdTime: 9s\n{}", meeting.peer);
        let four = peer_with("four", meeting.asn, "192.168.1.1", &spec);
        let six = peer_with("six", meeting.asn, ROUTER_V6, &spec);
        let (ranges, families, peers) = match meeting.is_dual {
            true => (
                ["198.51.100.0/28", "2001:db8:100::/124"].as_slice(),
                "ipFamilyPolicy: RequireDualStack\n",
                four + &six,
            ),
            false => (["198.51.100.0/28"].as_slice(), "", four),
        };
        let web = service("web", &(families.to_owned() + &tcp(&[(80, 30080)])));
        let routed = pool("routed", ranges) + &bgp("routed", "");
        lab.manifest("routed.yaml", &routed).unwrap();
        lab.manifest("peers.yaml", &peers).unwrap();
        lab.manifest("profile.yaml", &bfd_profile("fast", meeting.profile))
            .unwrap();
        lab.manifest("web.yaml", &web).unwrap();
        lab.start_controller().unwrap();
        lab.start_speakers().unwrap();
        Self {
            lab,
            router: Some(router),
            meeting,
        }
    }

    fn router(&self) -> &Router {
        self.router.as_ref().unwrap()
    }

    fn frr(&self) -> &Frr {
        match self.router() {
            Router::Frr(frr) => frr,
            Router::Bird(_) => panic!("this site has BIRD"),
        }
    }

    /// What a node's status says of the session with a peer.
    fn session(&self, peer: &str) -> serde_json::Value {
        let status = self.lab.status(1).unwrap();
        let sessions = status["sessions"].as_array().unwrap().iter();
        let mut named = sessions.filter(|session| session["peer"] == peer);
        named.next().cloned().unwrap()
    }

    fn bfd(&self, peer: &str) -> serde_json::Value {
        self.session(peer)["bfd"].clone()
    }

    /// Waits until the sessions are up at both ends, and the routes are there.
    fn await_up(&self) {
        let node = &self.lab.segment.nodes[0];
        let mut ends = vec![("four", IpAddr::from(node.v4), FOUR, "192.168.1.11")];
        if self.meeting.is_dual {
            ends.push(("six", node.v6.into(), SIX, "fd00:1::11"));
        }
        for (peer, address, prefix, hop) in ends {
            patience::until(&format!("{peer} to be up"), SOON, || {
                self.bfd(peer)["state"] == "Up" && self.router().is_path_up(address)
            })
            .unwrap_or_else(|error| panic!("{error:#}: {}", self.session(peer)));
            self.await_next_hop(prefix, &[hop]);
        }
    }

    fn await_next_hop(&self, prefix: &str, hops: &[&str]) -> Duration {
        let hops: Vec<String> = hops.iter().map(|hop| (*hop).to_owned()).collect();
        self.lab.await_next_hops(prefix, &hops, SOON).unwrap()
    }

    fn downs(&self, peer: &str) -> u64 {
        self.bfd(peer)["counters"]["sessionDowns"].as_u64().unwrap()
    }
}

/// As `objects::peer`, with a hold time of the caller's.
fn peer_with(name: &str, asn: u32, address: &str, spec: &str) -> String {
    peer(name, asn, address, spec).replacen("  holdTime: 3s\n", "", 1)
}

fn start_router(lab: &Lab, kind: Kind, meeting: &Meeting) -> Router {
    let mut neighbours = lab.neighbours(meeting.asn, 64500);
    let six = Neighbour {
        name: "n1_v6".to_owned(),
        local: lab.segment.router.v6.into(),
        remote: lab.segment.nodes[0].v6.into(),
        ..neighbours[0].clone()
    };
    neighbours.push(six);
    // BIRD sends with the host's TTL over several hops, and 64 is not what the other end expects.
    let router = &lab.segment.router.namespace;
    router
        .sysctl(&[
            "net/ipv4/ip_default_ttl=255",
            "net/ipv6/conf/all/hop_limit=255",
            "net/ipv6/conf/eth0/hop_limit=255",
        ])
        .unwrap();
    let id = lab.segment.router.v4;
    match (kind, &meeting.bfd) {
        (Kind::Bird, Some(bfd)) => {
            let config = bird::watching_router(id, &neighbours, bfd);
            Router::Bird(lab.bird(&config).unwrap())
        }
        (Kind::Bird, None) => Router::Bird(lab.router(&neighbours).unwrap()),
        (Kind::Frr, bfd) => {
            let config = frr::router(id, &neighbours, bfd.as_ref());
            Router::Frr(lab.frr(&config).unwrap())
        }
    }
}

/// Cuts the node's link without a word, and checks what both ends make of it.
fn cut_and_mend(site: &Site) {
    site.await_up();
    for peer in ["four", "six"] {
        assert_eq!(site.downs(peer), 0, "{peer}");
    }
    site.lab.segment.silence("n1").unwrap();
    let four = site.await_next_hop(FOUR, &[]);
    let six = site.await_next_hop(SIX, &[]);
    assert!(four + six < DETECTED, "{four:?} and {six:?}");
    // Our end has noticed by itself: nothing gets through.
    for peer in ["four", "six"] {
        patience::until("our end to notice", DETECTED, || {
            let session = site.session(peer);
            session["state"] != "Established" && session["bfd"]["state"] == "Down"
        })
        .unwrap();
        let bfd = site.bfd(peer);
        assert_eq!(
            bfd["lastFailure"], "control detection time expired",
            "{bfd}"
        );
        assert_eq!(site.downs(peer), 1);
    }
    site.lab.segment.unsilence("n1").unwrap();
    site.await_up();
}

#[test]
fn a_silent_link_takes_the_routes_within_the_detection_time_and_a_mended_one_brings_them_back() {
    for kind in BOTH {
        let site = Site::new(kind, Meeting::default());
        cut_and_mend(&site);
        // The peer says that it is fast again as soon as it knows that the session is up.
        patience::until("the agreed rate", SOON, || {
            let bfd = site.bfd("four");
            (&bfd["transmitInterval"], &bfd["detectionTime"]) == (&50.0.into(), &150.0.into())
        })
        .unwrap();
        assert_eq!(site.bfd("four")["isMultihop"], false, "{kind:?}");
    }
}

#[test]
fn over_several_hops_the_same() {
    for kind in BOTH {
        let bfd = Bfd {
            is_multihop: true,
            ..Bfd::FAST
        };
        let peer = "ebgpMultiHop: true";
        let site = Site::new(
            kind,
            Meeting {
                peer,
                bfd: Some(bfd),
                ..Meeting::default()
            },
        );
        cut_and_mend(&site);
        assert_eq!(site.bfd("four")["isMultihop"], true, "{kind:?}");
    }
}

/// An internal peer may be anywhere: on the link it is one hop away, as FRR has it.
#[test]
fn an_internal_peer_on_the_link_is_one_hop_away() {
    for kind in BOTH {
        let site = Site::new(
            kind,
            Meeting {
                asn: 64500,
                ..Meeting::default()
            },
        );
        site.await_up();
        assert_eq!(site.bfd("four")["isMultihop"], false, "{kind:?}");
    }
}

#[test]
fn either_end_may_wait_for_the_other_to_begin() {
    let profile = "receiveInterval: 50\ntransmitInterval: 50\npassiveMode: true";
    for kind in BOTH {
        let site = Site::new(
            kind,
            Meeting {
                profile,
                ..Meeting::default()
            },
        );
        site.await_up();
        let bfd = Some(Bfd {
            is_passive: true,
            ..Bfd::FAST
        });
        drop(site);
        let site = Site::new(
            kind,
            Meeting {
                bfd,
                ..Meeting::default()
            },
        );
        site.await_up();
    }
}

/// The same numbers in the same session: an edit is a poll sequence.
#[test]
fn i8_an_edited_profile_takes_no_session_down() {
    for kind in BOTH {
        let site = Site::new(kind, Meeting::default());
        site.await_up();
        let before = site.session("four");
        let edits = [
            (
                "receiveInterval: 400\ntransmitInterval: 300\ndetectMultiplier: 5",
                300.0,
                1200.0,
            ),
            (FAST, 50.0, 150.0),
            ("receiveInterval: 60\ntransmitInterval: 200", 200.0, 180.0),
        ];
        for (spec, transmit, detection) in edits {
            site.lab
                .manifest("profile.yaml", &bfd_profile("fast", spec))
                .unwrap();
            for peer in ["four", "six"] {
                patience::until("the intervals", SOON, || {
                    let bfd = site.bfd(peer);
                    bfd["transmitInterval"] == transmit && bfd["detectionTime"] == detection
                })
                .unwrap_or_else(|error| panic!("{error:#}: {kind:?} {}", site.bfd(peer)));
            }
            patience::pause(Duration::from_secs(1)).unwrap();
        }
        let after = site.session("four");
        assert_eq!(before["since"], after["since"], "{kind:?}");
        assert_eq!(before["bfd"]["since"], after["bfd"]["since"], "{kind:?}");
        assert_eq!((site.downs("four"), site.downs("six")), (0, 0), "{kind:?}");
    }
}

/// The defaults, and every field: what FRR is told, what both agree on, and that what is announced
/// has nothing to do with it.
#[test]
fn f37_f38_f40_to_f42_f72_both_ends_go_by_the_profile_and_one_service_more_flaps_nothing() {
    let site = Site::new(
        Kind::Frr,
        Meeting {
            profile: "",
            ..Meeting::default()
        },
    );
    site.await_up();
    let node = &site.lab.segment.nodes[0];
    let ends = [
        ("four", IpAddr::from(node.v4)),
        ("six", IpAddr::from(node.v6)),
    ];
    let full = "receiveInterval: 60\ntransmitInterval: 61\nechoInterval: 62\ndetectMultiplier: 4\n\
                echoMode: false\npassiveMode: false\nminimumTtl: 253";
    for (spec, [receive, transmit, multiplier]) in [("", [300, 300, 3]), (full, [60, 61, 4])] {
        let profile = bfd_profile("fast", spec);
        site.lab.manifest("profile.yaml", &profile).unwrap();
        for (peer, address) in ends {
            let mut seen = Vec::new();
            let is_so = || {
                let told = site.frr().path(address).unwrap();
                let agreed = site.bfd(peer);
                let is_so = told["remote-receive-interval"] == receive
                    && told["remote-transmit-interval"] == transmit
                    && told["remote-detect-multiplier"] == multiplier
                    // FRR has 50 ms three times.
                    && agreed["transmitInterval"] == f64::from(transmit)
                    && agreed["detectionTime"] == f64::from(3 * receive);
                seen = vec![told, agreed];
                is_so
            };
            let found = patience::until("the profile at both ends", SOON, is_so);
            found.unwrap_or_else(|error| panic!("{error:#}: {spec}: {seen:#?}"));
        }
    }
    let since = ends.map(|(peer, _)| site.bfd(peer)["since"].clone());
    let more = "ipFamilyPolicy: RequireDualStack\n".to_owned() + &tcp(&[(80, 30081)]);
    site.lab
        .manifest("more.yaml", &service("more", &more))
        .unwrap();
    site.await_next_hop("198.51.100.1/32", &["192.168.1.11"]);
    site.await_next_hop("2001:db8:100::1/128", &["fd00:1::11"]);
    // Many times the detection time.
    patience::throughout("both paths", Duration::from_secs(4), || {
        (site.downs("four"), site.downs("six")) == (0, 0)
    })
    .unwrap();
    assert_eq!(ends.map(|(peer, _)| site.bfd(peer)["since"].clone()), since);
}

#[test]
fn a_router_without_bfd_has_its_session_and_the_status_says_that_the_path_is_not_watched() {
    for kind in BOTH {
        let site = Site::new(
            kind,
            Meeting {
                bfd: None,
                ..Meeting::default()
            },
        );
        site.await_next_hop(FOUR, &["192.168.1.11"]);
        site.await_next_hop(SIX, &["fd00:1::11"]);
        patience::throughout("the session", Duration::from_secs(3), || {
            let session = site.session("four");
            session["state"] == "Established" && session["bfd"]["state"] == "Down"
        })
        .unwrap();
    }
}

/// Taken down on purpose is not lost: BGP has means of its own (RFC 5882 §3.2).
#[test]
fn a_router_that_takes_its_bfd_down_on_purpose_keeps_its_routes() {
    let site = Site::new(Kind::Frr, Meeting::default());
    site.await_up();
    let before = site.session("four");
    site.frr()
        .configure("bfd\n profile proof\n  shutdown\n exit\nexit")
        .unwrap();
    patience::until("the path to be down", SOON, || {
        site.bfd("four")["state"] == "Down"
    })
    .unwrap();
    assert_eq!(site.bfd("four")["remoteState"], "AdminDown");
    patience::throughout("the session", Duration::from_secs(3), || {
        let session = site.session("four");
        session["state"] == "Established" && session["since"] == before["since"]
    })
    .unwrap();
    site.await_next_hop(FOUR, &["192.168.1.11"]);
}

/// BFD alone dies: TCP would live on for as long as the hold time.
#[test]
fn bfd_that_dies_at_the_router_ends_the_bgp_session_at_once() {
    let mut site = Site::new(Kind::Frr, Meeting::default());
    site.await_up();
    let Some(Router::Frr(frr)) = &mut site.router else {
        panic!("this site has FRR");
    };
    frr.kill("bfdd");
    let took = patience::until("the session to end", SOON, || {
        let session = site.session("four");
        session["lastError"] == "bfd session went down"
    })
    .unwrap();
    assert!(took < DETECTED, "{took:?}");
    // And BGP comes back without it: the path is what it was.
    patience::until("the session to come back", SOON, || {
        site.session("four")["state"] == "Established"
    })
    .unwrap();
}

#[test]
fn f39_echo_packets_come_back_by_way_of_frr_and_their_absence_is_noticed() {
    let profile = "receiveInterval: 100\ntransmitInterval: 100\nechoMode: true\nechoInterval: 50";
    let bfd = Some(Bfd {
        echo: Some(50),
        ..Bfd::FAST
    });
    let site = Site::new(
        Kind::Frr,
        Meeting {
            profile,
            bfd,
            is_dual: false,
            ..Meeting::default()
        },
    );
    site.await_up();
    patience::until("echo to be active", SOON, || {
        site.bfd("four")["isEchoActive"] == true
    })
    .unwrap_or_else(|error| panic!("{error:#}: {}", site.bfd("four")));
    patience::throughout("the session", Duration::from_secs(3), || {
        site.downs("four") == 0
    })
    .unwrap();
    let bfd = site.bfd("four");
    assert!(
        bfd["counters"]["echoPacketsIn"].as_u64() > Some(30),
        "{bfd}"
    );
    // Who does not forward returns none, and offers none.
    let node = &site.lab.segment.nodes[0];
    node.namespace.sysctl(&["net/ipv4/ip_forward=1"]).unwrap();
    patience::until("the offer to return echo packets", SOON, || {
        let told = site.frr().path(node.v4.into()).unwrap();
        told["remote-echo-receive-interval"] == 50
    })
    .unwrap();
    site.lab.segment.silence("n1").unwrap();
    let four = site.await_next_hop(FOUR, &[]);
    assert!(four < Duration::from_millis(3500), "{four:?}");
    patience::until("our end to notice", DETECTED, || site.downs("four") == 1).unwrap();
    let bfd = site.bfd("four");
    assert_eq!(bfd["lastFailure"], "echo function failed", "{bfd}");
    site.lab.segment.unsilence("n1").unwrap();
    site.await_up();
}

/// The kernel of the proofs has no VRF; to be bound to an interface is the same to the sockets. The ports
/// are open twice then, and a session by none comes by the same interface.
#[test]
fn a_peer_by_a_vrf_is_watched_there_and_one_beside_it_by_no_vrf() {
    let mut lab = Lab::new(1).unwrap();
    let bound = lab.neighbours(64501, 64500);
    let (router, beside) = (&lab.segment.router, &lab.segment.neighbour);
    let free = Neighbour {
        local: beside.v4.into(),
        ..bound[0].clone()
    };
    let config = bird::watching_router(router.v4, &bound, &Bfd::FAST);
    let router = Router::Bird(lab.bird(&config).unwrap());
    let config = bird::watching_router(beside.v4, &[free], &Bfd::FAST);
    let _beside = Bird::start(&beside.namespace, lab.path(), "beside", &config).unwrap();
    let spec = "bfdProfile: fast\nholdTime: 9s\n";
    let peers = peer_with("bound", 64501, "192.168.1.1", &format!("{spec}vrf: eth0"))
        + &peer_with("free", 64501, &beside.v4.to_string(), spec);
    let setup = pool("routed", &["198.51.100.0/28"]) + &bgp("routed", "");
    let setup = setup + &bfd_profile("fast", FAST) + &service("web", &tcp(&[(80, 30080)]));
    lab.manifest("peers.yaml", &peers).unwrap();
    lab.manifest("setup.yaml", &setup).unwrap();
    lab.start_controller().unwrap();
    lab.start_speakers().unwrap();
    let site = Site {
        lab,
        router: Some(router),
        meeting: Meeting::default(),
    };
    let are_up = || {
        ["bound", "free"].iter().all(|peer| {
            let session = site.session(peer);
            session["state"] == "Established" && session["bfd"]["state"] == "Up"
        })
    };
    patience::until("both to be up", SOON, are_up).unwrap();
    site.await_next_hop(FOUR, &["192.168.1.11"]);
    assert_eq!((site.downs("bound"), site.downs("free")), (0, 0));
    site.lab.segment.silence("n1").unwrap();
    assert!(site.await_next_hop(FOUR, &[]) < DETECTED);
    for peer in ["bound", "free"] {
        patience::until("our end to notice", DETECTED, || site.downs(peer) == 1).unwrap();
    }
    site.lab.segment.unsilence("n1").unwrap();
    patience::until("both to be up again", SOON, are_up).unwrap();
}

/// FRR's bfdd on the node, say.
#[test]
fn a_port_that_somebody_else_has_is_named_and_bgp_goes_on_without() {
    let mut site = Site::new(Kind::Bird, Meeting::default());
    site.lab.speaker(1).unwrap().terminate(SOON).unwrap();
    let node = &site.lab.segment.nodes[0].namespace;
    let taken = node
        .inside(|| UdpSocket::bind("0.0.0.0:3784"))
        .unwrap()
        .unwrap();
    site.lab.start_speaker(1).unwrap();
    site.await_next_hop(FOUR, &["192.168.1.11"]);
    let bfd = site.bfd("four");
    let problem = bfd["problem"].as_str().unwrap();
    assert!(
        problem.contains("UDP port 3784 for IPv4") && problem.contains("in use"),
        "{problem}"
    );
    assert_eq!(site.session("four")["state"], "Established");
    patience::until("the other family", SOON, || {
        site.bfd("six")["state"] == "Up"
    })
    .unwrap();
    drop(taken);
    patience::until("the port", SOON, || site.bfd("four")["state"] == "Up").unwrap();
    assert_eq!(site.bfd("four")["problem"], serde_json::Value::Null);
}

/// What is taken away on purpose is said to be (RFC 5880 §6.8.16). BIRD and FRR end the BGP session
/// all the same, and then it comes back without BFD.
#[test]
fn a_peer_that_loses_its_profile_goes_on_without_bfd() {
    for kind in BOTH {
        let site = Site::new(kind, Meeting::default());
        site.await_up();
        let peers = [
            peer_with("four", site.meeting.asn, "192.168.1.1", "holdTime: 9s"),
            peer_with(
                "six",
                site.meeting.asn,
                ROUTER_V6,
                "holdTime: 9s\nbfdProfile: fast",
            ),
        ];
        site.lab.manifest("peers.yaml", &peers.concat()).unwrap();
        patience::until("the session without bfd", SOON, || {
            let session = site.session("four");
            session["bfd"].is_null() && session["state"] == "Established"
        })
        .unwrap();
        site.await_next_hop(FOUR, &["192.168.1.11"]);
        assert_eq!(
            (site.bfd("six")["state"].as_str(), site.downs("six")),
            (Some("Up"), 0)
        );
    }
}

/// A stranger on the link sends as fast as he can what any peer might send first.
#[test]
fn i7_a_flood_of_packets_takes_no_session_down_and_no_processor() {
    const FLOOD: Duration = Duration::from_secs(3);
    // Version 1, Down, multiplier 3, discriminator 7, one second each way.
    let packet = [
        [0x20, 0x40, 3, 24],
        [0, 0, 0, 7],
        [0; 4],
        [0, 15, 66, 64],
        [0, 15, 66, 64],
        [0; 4],
    ]
    .concat();
    let mut site = Site::new(Kind::Bird, Meeting::default());
    site.await_up();
    let node = site.lab.segment.nodes[0].v4;
    let before = site.lab.speaker(1).unwrap().thread_time("bfd").unwrap();
    let neighbour = &site.lab.segment.neighbour.namespace;
    let sent = neighbour
        .inside(|| {
            let socket = UdpSocket::bind("0.0.0.0:50000").unwrap();
            socket.set_ttl(255).unwrap();
            let end = Instant::now() + FLOOD;
            let mut sent = 0_u64;
            while Instant::now() < end {
                // A full queue loses some, which is a flood all the same.
                sent += u64::from(socket.send_to(&packet, (node, 3784)).is_ok());
            }
            sent
        })
        .unwrap();
    assert!(sent > 20_000, "that was no flood: {sent}");
    assert_eq!((site.downs("four"), site.downs("six")), (0, 0));
    let speaker = site.lab.speaker(1).unwrap();
    let spent = speaker.thread_time("bfd").unwrap() - before;
    assert!(spent < FLOOD / 10, "{spent:?} of {FLOOD:?}");
    assert!(speaker.log().contains("bfd packets come in a flood"));
    assert_eq!(site.session("four")["state"], "Established");
}
