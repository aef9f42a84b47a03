//! What TCP is asked for, as BIRD, FRR and the wire see it: keys, TTLs, ports, devices and the class.
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::time::Duration;

use ferrolb_tests::lab::Lab;
use ferrolb_tests::objects::{bgp, peer, pool, service, tcp};
use ferrolb_tests::peer::bird::{self, Bird};
use ferrolb_tests::peer::frr::Frr;
use ferrolb_tests::{capture, patience};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);
/// How long one has to wait for what does not come.
const LATE: Duration = Duration::from_secs(4);
const ROUTER: &str = "192.168.1.1";
const ROUTER_V6: &str = "fd00:1::1";
const KEY: &str = "hunter-two";

/// One session of a node, and what both ends know of it.
struct Session {
    name: String,
    node: usize,
    is_v6: bool,
    /// The router's options in BIRD's words, and in FRR's.
    router: [&'static str; 2],
    /// Annotations and further fields of the BGPPeer.
    annotation: &'static str,
    spec: &'static str,
}

impl Session {
    /// The node's end.
    fn remote(&self) -> String {
        let number = 10 + self.node;
        match self.is_v6 {
            false => format!("192.168.1.{number}"),
            true => format!("fd00:1::{number}"),
        }
    }

    fn manifest(&self) -> String {
        let router = if self.is_v6 { ROUTER_V6 } else { ROUTER };
        let node = self.node;
        let here = format!(
            "{}\nnodeSelectors:\n  - matchLabels:\n      kubernetes.io/hostname: n{node}",
            self.spec
        );
        annotated(&peer(&self.name, 64501, router, &here), self.annotation)
    }
}

fn annotated(manifest: &str, annotation: &str) -> String {
    let metadata = format!("metadata:\n  annotations: {{{annotation}}}\n");
    manifest.replacen("metadata:\n", &metadata, 1)
}

fn named_nodes(count: usize) -> String {
    let mut text = String::new();
    for number in 1..=count {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Node\nmetadata:\n  name: n{number}\n  labels:\n    \
             kubernetes.io/hostname: n{number}\n"
        );
    }
    text
}

/// A laboratory in which every node announces `web` to these peers.
fn lab(nodes: u8, peers: &str) -> Lab {
    let mut lab = Lab::new(nodes).unwrap();
    let families = "ipFamilyPolicy: RequireDualStack\n".to_owned();
    let web = service("web", &(families + &tcp(&[(80, 30080)])));
    let routed = pool("routed", &["198.51.100.0/28", "2001:db8:100::/124"]);
    let nodes = named_nodes(nodes.into());
    lab.manifest("site.yaml", &(nodes + &routed + &bgp("routed", "") + &web))
        .unwrap();
    lab.manifest("peers.yaml", peers).unwrap();
    lab.start_controller().unwrap();
    lab.start_speakers().unwrap();
    lab
}

fn bird_protocol(name: &str, local: &str, remote: &str, options: &str) -> String {
    format!(
        "protocol bgp {name} {{ local {local} as 64501; neighbor {remote} as 64500; hold time 9; \
         connect retry time 1; connect delay time 1; error wait time 1, 2; passive on; {options} \
         ipv4 {{ import all; export none; }}; ipv6 {{ import all; export none; }}; }}\n"
    )
}

fn start_bird(lab: &Lab, protocols: &str) -> Bird {
    let config = bird::router(lab.segment.router.v4, &[]) + protocols;
    Bird::start(&lab.segment.router.namespace, lab.path(), "bird", &config).unwrap()
}

fn frr_router(neighbours: &str) -> String {
    format!(
        "router bgp 64501\nbgp router-id {ROUTER}\nno bgp ebgp-requires-policy\n\
         no bgp default ipv4-unicast\n{neighbours}"
    )
}

fn frr_neighbour(remote: &str, options: &str) -> String {
    let family = if remote.contains(':') { "ipv6" } else { "ipv4" };
    let mut text = format!("neighbor {remote} remote-as 64500\n");
    for option in ["timers 3 9", "timers connect 1", "passive", options] {
        if !option.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "neighbor {remote} {option}");
        }
    }
    text + &format!(
        "address-family {family} unicast\nneighbor {remote} activate\nexit-address-family\n"
    )
}

/// What a node's status says of the session with a peer.
fn status(lab: &Lab, node: usize, peer: &str) -> Value {
    let status = lab.status(node).unwrap();
    let sessions = status["sessions"].as_array().unwrap().iter();
    let mut named = sessions.filter(|session| session["peer"] == peer);
    named.next().cloned().unwrap()
}

fn is_established(lab: &Lab, node: usize, peer: &str) -> bool {
    status(lab, node, peer)["state"] == "Established"
}

fn await_established(lab: &Lab, node: usize, peer: &str) -> Duration {
    patience::until(&format!("the session {peer}"), SOON, || {
        is_established(lab, node, peer)
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", status(lab, node, peer)))
}

/// Which of the sessions come up, with BIRD and with FRR: those of the nodes up to this one and no
/// others.
fn only_those_of_nodes_up_to(last: usize, sessions: &[Session], more: &str) {
    let peers: String = sessions.iter().map(Session::manifest).collect();
    let peers = peers + more;
    let nodes = sessions.iter().map(|session| session.node).max().unwrap();
    let lab = lab(nodes.try_into().unwrap(), &peers);
    // Since when each is up.
    let up = || -> Vec<Option<Value>> {
        let states = sessions.iter().map(|session| {
            let status = status(&lab, session.node, &session.name);
            (status["state"] == "Established").then(|| status["since"].clone())
        });
        states.collect()
    };
    let prove = |router: &str| {
        patience::until("the sessions that are to come up", SOON, || {
            let up = up().into_iter().zip(sessions);
            up.filter(|(_, session)| session.node <= last)
                .all(|(since, _)| since.is_some())
        })
        .unwrap_or_else(|error| panic!("{router}: {error:#}"));
        let before = up();
        patience::pause(LATE).unwrap();
        // What a router reads before it looks at TTLs lets a session be up until the hold timer expires.
        let lasts = before.into_iter().zip(up());
        let lasts = lasts.map(|(before, after)| before.is_some() && before == after);
        let wanted = sessions.iter().map(|session| session.node <= last);
        assert_eq!(
            lasts.collect::<Vec<_>>(),
            wanted.collect::<Vec<_>>(),
            "{router}"
        );
    };

    let protocols = sessions.iter().map(|session| {
        let local = if session.is_v6 { ROUTER_V6 } else { ROUTER };
        let name = session.name.replace('-', "_");
        bird_protocol(&name, local, &session.remote(), session.router[0])
    });
    let mut bird = start_bird(&lab, &protocols.collect::<String>());
    prove("BIRD");
    bird.terminate().unwrap();

    let neighbours = sessions.iter();
    let neighbours = neighbours.map(|session| frr_neighbour(&session.remote(), session.router[1]));
    let config = frr_router(&neighbours.collect::<String>());
    let _frr = Frr::start(&lab.segment.router.namespace, lab.path(), &config).unwrap();
    prove("FRR");
}

/// A session of each family.
fn both(
    name: &str,
    node: usize,
    router: [&'static str; 2],
    annotation: &'static str,
    spec: &'static str,
) -> [Session; 2] {
    [("v4", false), ("v6", true)].map(|(family, is_v6)| Session {
        name: format!("{name}-{family}"),
        node,
        is_v6,
        router,
        annotation,
        spec,
    })
}

const BIRD_KEY: &str = "password \"hunter-two\";";
const FRR_KEY: &str = "password hunter-two";

#[test]
fn f32_f33_a_session_with_a_password_comes_up_if_both_ends_have_the_same_and_only_then() {
    let with = [BIRD_KEY, FRR_KEY];
    let sessions = [
        both("right", 1, with, "", "password: hunter-two"),
        both("secret", 2, with, "", "passwordSecret: {name: tor}"),
        both("wrong", 3, with, "", "password: hunter-three"),
        both("router", 4, with, "", ""),
        both("speaker", 5, ["", ""], "", "password: hunter-two"),
    ];
    let sessions: Vec<_> = sessions.into_iter().flatten().collect();
    only_those_of_nodes_up_to(2, &sessions, &secret(KEY));
}

#[test]
fn ttl_security_comes_up_if_both_ends_have_it_and_only_then() {
    let with = ["ttl security on;", "ttl-security hops 1"];
    let ours = "ferrolb.io/bgp-ttl-security-hops: \"1\"";
    let sessions = [
        both("both", 1, with, ours, ""),
        both("router", 2, with, "", ""),
        both("speaker", 3, ["", ""], ours, ""),
    ];
    let sessions: Vec<_> = sessions.into_iter().flatten().collect();
    only_those_of_nodes_up_to(1, &sessions, "");
}

fn secret(password: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: tor\n  namespace: metallb-system\n\
         type: kubernetes.io/basic-auth\nstringData:\n  password: {password}\n"
    )
}

/// BIRD and FRR end their sessions when their own password changes. Whoever is first, the session is
/// back at once when the other has followed, by the speaker that runs all the while.
#[test]
fn i8_i10_a_password_in_a_secret_is_rotated_by_a_speaker_that_goes_on_running() {
    let by_secret = "passwordSecret: {name: tor}";
    let mut lab = lab(1, &(peer("tor", 64501, ROUTER, by_secret) + &secret(KEY)));
    let pid = lab.speaker(1).unwrap().pid();
    let rotate = |lab: &Lab, key: &str| {
        let peer = peer("tor", 64501, ROUTER, by_secret);
        lab.manifest("peers.yaml", &(peer + &secret(key))).unwrap();
    };
    let prove = |what: &str, change: &dyn Fn(&str)| {
        await_established(&lab, 1, "tor");
        for (round, is_router_first) in [("one", true), ("two", false)] {
            let key = format!("hunter-{what}-{round}");
            if is_router_first {
                change(&key);
                patience::pause(Duration::from_secs(1)).unwrap();
                rotate(&lab, &key);
            } else {
                rotate(&lab, &key);
                patience::pause(Duration::from_secs(1)).unwrap();
                assert!(
                    is_established(&lab, 1, "tor"),
                    "it goes on for the hold time"
                );
                change(&key);
                // Else what follows would see the session that the router has ended.
                patience::pause(Duration::from_millis(1500)).unwrap();
            }
            let back = await_established(&lab, 1, "tor");
            println!("{what}, router first: {is_router_first}: back after {back:?}");
            assert!(back < Duration::from_secs(4), "{what} {round}: {back:?}");
            patience::pause(LATE).unwrap();
            assert!(is_established(&lab, 1, "tor"), "{what} {round}");
        }
    };

    let config = |lab: &Lab, key: &str| {
        let options = format!("password \"{key}\";");
        let protocol = bird_protocol("n1", ROUTER, "192.168.1.11", &options);
        bird::router(lab.segment.router.v4, &[]) + &protocol
    };
    let namespace = &lab.segment.router.namespace;
    let mut bird = Bird::start(namespace, lab.path(), "bird", &config(&lab, KEY)).unwrap();
    prove("bird", &|key| bird.reconfigure(&config(&lab, key)).unwrap());
    bird.terminate().unwrap();

    let last = "password hunter-bird-two";
    let config = frr_router(&frr_neighbour("192.168.1.11", last));
    let frr = Frr::start(namespace, lab.path(), &config).unwrap();
    prove("frr", &|key| {
        let line = format!("router bgp 64501\nneighbor 192.168.1.11 password {key}");
        frr.configure(&line).unwrap();
    });

    assert_eq!(lab.speaker(1).unwrap().pid(), pid);
    assert_eq!(lab.speaker(1).unwrap().ended().unwrap(), None);
    let status = lab.status(1).unwrap().to_string() + &format!("{:?}", lab.node("n1"));
    let log = lab.speaker(1).unwrap().log();
    assert!(
        !status.contains("hunter") && !log.contains("hunter"),
        "{status}\n{log}"
    );
}

/// Whoever ends the session, and also when the speaker is killed.
#[test]
fn a_source_port_is_the_one_that_the_router_sees_time_and_again() {
    let annotation = "ferrolb.io/bgp-source-port: \"1790\"";
    let mut lab = lab(1, &annotated(&peer("tor", 64501, ROUTER, ""), annotation));
    let options = "";
    let bird = start_bird(&lab, &bird_protocol("n1", ROUTER, "192.168.1.11", options));
    let seen = |lab: &Lab| {
        let sockets = lab
            .segment
            .router
            .namespace
            .run("ss -Htn state established");
        assert!(sockets.unwrap().contains("192.168.1.11:1790"));
    };
    await_established(&lab, 1, "tor");
    seen(&lab);
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        let speaker = lab.speaker(1).unwrap();
        speaker.signal(signal);
        speaker.await_end(SOON).unwrap();
        lab.start_speaker(1).unwrap();
        let back = await_established(&lab, 1, "tor");
        assert!(back < Duration::from_secs(5), "{signal}: {back:?}");
        seen(&lab);
    }
    bird.ask("restart n1").unwrap();
    patience::pause(Duration::from_millis(500)).unwrap();
    let back = await_established(&lab, 1, "tor");
    assert!(back < Duration::from_secs(5), "{back:?}");
    seen(&lab);
}

/// Class selector 6, from the first packet to the last, in both families.
#[test]
fn every_packet_of_a_session_is_marked_as_routing_protocols_are() {
    let peers = peer("four", 64501, ROUTER, "") + &peer("six", 64501, ROUTER_V6, "");
    let mut lab = lab(1, &peers);
    let protocols = bird_protocol("four", ROUTER, "192.168.1.11", "")
        + &bird_protocol("six", ROUTER_V6, "fd00:1::11", "");
    let _bird = start_bird(&lab, &protocols);
    await_established(&lab, 1, "four");
    await_established(&lab, 1, "six");
    patience::pause(Duration::from_secs(2)).unwrap();
    lab.stop_recording().unwrap();
    let recording = std::fs::File::open(lab.path().join("segment.pcap")).unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut &recording, &mut bytes).unwrap();
    let classes: Vec<(bool, u8)> = capture::frames(&bytes)
        .unwrap()
        .filter_map(|(_, frame)| class_to_bgp(frame))
        .collect();
    for is_v6 in [false, true] {
        let of = classes.iter().filter(|(family, _)| *family == is_v6);
        let of: Vec<u8> = of.map(|(_, class)| *class).collect();
        assert!(of.len() > 5, "{of:?}");
        assert!(of.iter().all(|class| *class == 0xc0), "{is_v6}: {of:x?}");
    }
}

/// The class of a packet to port 179, and whether it is IPv6.
fn class_to_bgp(frame: &[u8]) -> Option<(bool, u8)> {
    let port = |at: usize| frame.get(at..at + 2) == Some(&[0, 179]);
    match frame.get(12..14)? {
        [8, 0] if frame.get(23) == Some(&6) && port(36) => Some((false, *frame.get(15)?)),
        [0x86, 0xdd] if frame.get(20) == Some(&6) && port(56) => {
            Some((true, (frame.get(14)? << 4) | (frame.get(15)? >> 4)))
        }
        _ => None,
    }
}

/// The router behind the router, with a password; and by TTL, which has to be lower by one there.
#[test]
fn a_peer_two_hops_away_with_a_password_and_by_its_ttl() {
    let far = |name: &str, spec: &str| peer(name, 64501, "10.9.0.2", spec);
    let lab = lab(1, &far("far", "ebgpMultiHop: true\npassword: hunter-two"));
    let client = &lab.segment.client;
    let start = |options: &str| {
        let protocol = bird_protocol("n1", "10.9.0.2", "192.168.1.11", options);
        let config = bird::router(client.v4, &[]) + &protocol;
        Bird::start(&client.namespace, lab.path(), "bird", &config).unwrap()
    };
    let mut bird = start(&format!("multihop; {BIRD_KEY}"));
    await_established(&lab, 1, "far");
    bird.terminate().unwrap();

    let by_ttl = |hops: u8| {
        let annotation = format!("ferrolb.io/bgp-ttl-security-hops: \"{hops}\"");
        annotated(&far("far", ""), &annotation)
    };
    lab.manifest("peers.yaml", &by_ttl(1)).unwrap();
    let bird = start("multihop 2; ttl security on;");
    patience::pause(LATE).unwrap();
    assert!(!is_established(&lab, 1, "far"), "one hop too far");
    lab.manifest("peers.yaml", &by_ttl(2)).unwrap();
    await_established(&lab, 1, "far");
    drop(bird);

    let keyed = far("far", "ebgpMultiHop: true\npassword: hunter-two");
    lab.manifest("peers.yaml", &keyed).unwrap();
    let options = format!("ebgp-multihop 2\nneighbor 192.168.1.11 {FRR_KEY}");
    let config = frr_router(&frr_neighbour("192.168.1.11", &options));
    let frr = Frr::start(&client.namespace, lab.path(), &config).unwrap();
    patience::until("the session with FRR", SOON, || {
        frr.is_established("192.168.1.11".parse().unwrap()) && is_established(&lab, 1, "far")
    })
    .unwrap();
}

/// A plain interface in the place of a VRF, which the kernel of the proofs does not have.
#[test]
fn a_session_is_bound_to_its_device_and_waits_for_it() {
    let peers =
        peer("plain", 64501, ROUTER, "") + &peer("bound", 64501, "192.168.2.1", "vrf: eth1");
    let lab = lab(1, &peers);
    let router = &lab.segment.router.namespace;
    router.ip("addr add 192.168.2.1/24 dev eth0").unwrap();
    let protocols = bird_protocol("plain", ROUTER, "192.168.1.11", "")
        + &bird_protocol("bound", "192.168.2.1", "192.168.2.11", "");
    let bird = start_bird(&lab, &protocols);
    await_established(&lab, 1, "plain");
    let bound = status(&lab, 1, "bound");
    assert_eq!(bound["lastError"], "device eth1 does not exist", "{bound}");

    lab.segment.add_link(1).unwrap();
    let node = &lab.segment.nodes[0].namespace;
    node.ip("addr add 192.168.2.11/24 dev eth1").unwrap();
    await_established(&lab, 1, "bound");
    patience::until("the route of both", SOON, || {
        bird.routes("198.51.100.0/32").unwrap().len() == 2
    })
    .unwrap();
    let routes = bird.routes("198.51.100.0/32").unwrap();
    let mut hops: Vec<&str> = routes.iter().map(|route| route.next_hop.as_str()).collect();
    hops.sort_unstable();
    assert_eq!(hops, ["192.168.1.11", "192.168.2.11"]);
    assert!(is_established(&lab, 1, "plain"));
}

/// And nothing is sent without it. Where the kernel has TCP-AO this peer, which has not, hears no more.
#[test]
fn a_peer_with_tcp_ao_has_no_session_without_it() {
    let annotation = "ferrolb.io/bgp-tcp-ao: 1/2 aes-128-cmac-96";
    let tcp_ao = annotated(
        &peer("tor", 64501, ROUTER, "password: hunter-two"),
        annotation,
    );
    let mut lab = lab(1, &tcp_ao);
    let _bird = start_bird(&lab, &bird_protocol("n1", ROUTER, "192.168.1.11", ""));
    patience::pause(LATE).unwrap();
    let session = status(&lab, 1, "tor");
    assert_ne!(session["state"], "Established");
    let error = session["lastError"].as_str().unwrap_or_default().to_owned();
    lab.stop_recording().unwrap();
    let recording = lab.path().join("segment.pcap");
    let node = Ipv4Addr::new(192, 168, 1, 11);
    let connections = capture::bgp_messages(&recording, node, Duration::MAX);
    if error == "this kernel has no TCP-AO (CONFIG_TCP_AO)" {
        assert!(connections.is_err(), "not even a SYN: {connections:?}");
    } else {
        assert!(connections.is_ok(), "{error}");
    }
}
