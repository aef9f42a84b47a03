//! Peers that are interfaces: BIRD and FRR, configured with what `router-config` printed, at the other
//! end of links without addresses.
//!
//! ```text
//!  r (router) up1 ── b-up1 ─ bu1 ─ a-up1 ── up1 n1      bu1, bu2: bridges beside the segment's, so that a link
//!             up2 ── b-up2 ─ bu2 ─ a-up2 ── up2 n2      can be cut with its carrier or without
//! ```
#![expect(
    clippy::disallowed_methods,
    reason = "a proof sends packets that no kernel would"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]
#![expect(clippy::print_stdout, reason = "says how long it took")]

use std::net::{Ipv6Addr, SocketAddrV6};
use std::process::Command;
use std::time::Duration;

use ferrolb_tests::lab::Lab;
use ferrolb_tests::netns::Namespace;
use ferrolb_tests::objects::{bfd_profile, bgp, peer, pool, service, tcp};
use ferrolb_tests::patience;
use ferrolb_tests::peer::bird::Bird;
use ferrolb_tests::peer::frr::Frr;
use ferrolb_tests::peer::gobgp::{self, Gobgp};
use ferrolb_tests::process::output;
use ferrolb_tests::programs;
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

const SOON: Duration = Duration::from_secs(30);
/// One address of each Service: of one family, and of both.
const FOUR: &str = "198.51.100.0/32";
const SIX: &str = "2001:db8:100::/128";
const DUAL: [&str; 2] = ["198.51.100.1/32", "2001:db8:100::1/128"];
const ALL: [&str; 4] = [FOUR, SIX, DUAL[0], DUAL[1]];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Brand {
    Bird,
    Frr,
}

enum Router {
    Bird(Bird),
    Frr(Frr),
}

struct Site {
    lab: Lab,
}

impl Site {
    /// Two nodes, each with a link of its own to the router.
    fn new(has_bfd: bool) -> Self {
        let mut lab = Lab::new(2).unwrap();
        let mut manifests = String::new();
        for number in [1, 2] {
            wire(&lab, number);
            let host = &lab.segment.nodes[number - 1];
            manifests.push_str(&format!(
                "---\napiVersion: v1\nkind: Node\nmetadata:\n  name: {0}\n  labels: \
                 {{kubernetes.io/hostname: {0}}}\n",
                host.name
            ));
            let bfd = if has_bfd { "bfdProfile: fast\n" } else { "" };
            let spec = format!(
                "{bfd}nodeSelectors:\n  - matchLabels:\n      kubernetes.io/hostname: {}",
                host.name
            );
            let name = format!("up{number}");
            let peer = peer(&name, 64501, &name, &spec).replace("holdTime: 3s", "holdTime: 9s");
            let address = format!("peerAddress: \"{name}\"");
            manifests.push_str(&peer.replace(&address, &format!("interface: {name}")));
        }
        manifests += &pool("routed", &["198.51.100.0/28", "2001:db8:100::/124"]);
        manifests += &bgp("routed", "");
        let fast = "receiveInterval: 50\ntransmitInterval: 50\ndetectMultiplier: 3";
        manifests += &bfd_profile("fast", fast);
        let families = [
            ("a-four", "ipFamilies: [IPv4]\n", 30080),
            ("b-six", "ipFamilies: [IPv6]\n", 30081),
            ("c-dual", "ipFamilyPolicy: RequireDualStack\n", 30082),
        ];
        for (name, families, port) in families {
            manifests += &service(name, &(families.to_owned() + &tcp(&[(80, port)])));
        }
        lab.manifest("site.yaml", &manifests).unwrap();
        lab.start_controller().unwrap();
        lab.start_speakers().unwrap();
        Self { lab }
    }

    fn router(&self, brand: Brand) -> Router {
        let words = if brand == Brand::Bird { "bird" } else { "frr" };
        let mut command = Command::new(programs::speaker().unwrap());
        command.args(["router-config", "--for", words, "--manifests"]);
        let config = output(command.arg(self.lab.manifests())).unwrap();
        match brand {
            Brand::Bird => Router::Bird(self.lab.bird(&config).unwrap()),
            Brand::Frr => Router::Frr(self.lab.frr(&config).unwrap()),
        }
    }

    fn node(&self, number: usize) -> &Namespace {
        &self.lab.segment.nodes[number - 1].namespace
    }

    /// The next hops that these nodes are.
    fn hops(&self, nodes: &[usize]) -> Vec<String> {
        let hops = nodes.iter();
        hops.map(|number| link_local(self.node(*number), &format!("up{number}")))
            .collect()
    }

    /// Waits until the router's kernel sends everything over these nodes and no others.
    fn await_nodes(&self, nodes: &[usize]) -> Duration {
        let hops = self.hops(nodes);
        let started = std::time::Instant::now();
        for prefix in ALL {
            let arrived = self.lab.await_next_hops(prefix, &hops, SOON);
            arrived.unwrap_or_else(|error| panic!("{error:#}\n{:#}", self.session(1)));
        }
        started.elapsed()
    }

    /// What a node says of its session.
    fn session(&self, number: usize) -> Value {
        self.lab.status(number).unwrap()["sessions"][0].clone()
    }

    fn await_session(&self, number: usize, what: &str, holds: impl Fn(&Value) -> bool) -> Duration {
        let mut seen = Value::Null;
        patience::until(what, SOON, || {
            seen = self.session(number);
            holds(&seen)
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{seen:#}"))
    }

    fn await_established(&self, number: usize) -> Duration {
        self.await_session(number, "the session", |session| {
            session["state"] == "Established"
        })
    }

    fn switch(&self, words: &str) {
        self.lab.segment.switch().ip(words).unwrap();
    }
}

/// A link between the router and a node, by a name that both call it.
fn wire(lab: &Lab, number: usize) {
    let switch = lab.segment.switch();
    let ip = |words: String| switch.ip(&words).unwrap();
    ip(format!("link add bu{number} type bridge mcast_snooping 0"));
    // A link with two ends: what is between them has no address.
    let silent = |name: String| {
        let setting = format!("net/ipv6/conf/{name}/disable_ipv6=1");
        switch.sysctl(&[&setting]).unwrap();
    };
    silent(format!("bu{number}"));
    ip(format!("link set bu{number} up"));
    let ends = [
        ("a", &lab.segment.nodes[number - 1].namespace),
        ("b", &lab.segment.router.namespace),
    ];
    for (end, namespace) in ends {
        let name = format!("up{number}");
        let there = namespace.name();
        ip(format!(
            "link add {end}-{name} type veth peer name {name} netns {there}"
        ));
        silent(format!("{end}-{name}"));
        ip(format!("link set {end}-{name} master bu{number} up"));
        let unadvised = format!("net/ipv6/conf/{name}/accept_ra=0");
        namespace.sysctl(&[&unadvised]).unwrap();
        namespace.ip(&format!("link set {name} up")).unwrap();
    }
}

fn link_local(namespace: &Namespace, interface: &str) -> String {
    let words = format!("-j -6 addr show dev {interface} scope link");
    let shown: Value = serde_json::from_str(&namespace.ip(&words).unwrap()).unwrap();
    let address = &shown[0]["addr_info"][0]["local"];
    address
        .as_str()
        .unwrap_or_else(|| panic!("{shown}"))
        .to_owned()
}

/// MetalLB's list: IPv4, IPv6 and both, without BFD and with it; in the kernel of either router, and for
/// a client behind it.
#[test]
fn l1_to_l6_a_session_over_an_interface_is_established_and_routes_are_advertised() {
    for brand in [Brand::Frr, Brand::Bird] {
        for has_bfd in [false, true] {
            let mut site = Site::new(has_bfd);
            site.lab.serve_http(&[30080, 30081, 30082]).unwrap();
            let router = site.router(brand);
            let up = site.await_nodes(&[1, 2]);
            println!(
                "{brand:?}, BFD {has_bfd}: routes over both nodes {up:?} after the router's start"
            );
            for number in [1, 2] {
                site.await_established(number);
                let session = site.session(number);
                let name = format!("up{number}");
                let peer = link_local(&site.lab.segment.router.namespace, &name);
                assert_eq!(session["address"], format!("{peer}%{name}"), "{session:#}");
                assert_eq!(session["families"], serde_json::json!(["IPv4", "IPv6"]));
                assert_eq!(session["prefixes"], 4, "{session:#}");
            }
            if let Router::Frr(frr) = &router {
                for (family, prefix) in [("ipv4", FOUR), ("ipv6", SIX)] {
                    let shown = frr.ask(&format!("show bgp {family} unicast {prefix} json"));
                    let shown: Value = serde_json::from_str(&shown.unwrap()).unwrap();
                    let paths = shown["paths"].as_array().map_or(0, Vec::len);
                    assert_eq!(paths, 2, "{shown:#}");
                }
            }
            let client = &site.lab.segment.client.namespace;
            for address in ["198.51.100.0", "2001:db8:100::1"] {
                let address = address.parse().unwrap();
                patience::until("an answer", SOON, || {
                    site.lab.curl(client, address, 80).is_some()
                })
                .unwrap();
            }
            if has_bfd {
                a_silent_link_is_noticed(&site, brand);
            }
        }
    }
}

/// Within a fraction of what the hold timer takes, on both ends; and it comes back.
fn a_silent_link_is_noticed(site: &Site, brand: Brand) {
    for number in [1, 2] {
        site.await_session(number, "the path", |session| {
            session["bfd"]["state"] == "Up"
        });
        let session = site.session(number);
        assert_eq!(session["bfd"]["isMultihop"], false, "{session:#}");
    }
    site.switch("link set a-up1 nomaster");
    let gone = site.await_nodes(&[2]);
    assert!(gone < Duration::from_millis(1500), "{brand:?}: {gone:?}");
    site.await_session(1, "the end of the session", |session| {
        session["state"] != "Established" && session["bfd"]["state"] != "Up"
    });
    site.switch("link set a-up1 master bu1");
    let back = site.await_nodes(&[1, 2]);
    println!("{brand:?}: silent link noticed after {gone:?}, back {back:?} after it was mended");
    site.await_established(1);
}

#[test]
fn the_session_follows_link_router_and_speaker() {
    for brand in [Brand::Frr, Brand::Bird] {
        let mut site = Site::new(false);
        let mut router = site.router(brand);
        site.await_nodes(&[1, 2]);
        site.await_established(1);

        // The node loses its carrier, the router sees nothing of that.
        site.switch("link set a-up1 down");
        let noticed = site.await_session(1, "the link is down", |session| {
            session["state"] == "Idle" && session["lastError"] == "interface up1 is down"
        });
        assert!(noticed < Duration::from_secs(3), "{noticed:?}");
        assert_eq!(site.session(1)["address"], "up1");
        site.await_nodes(&[2]);
        site.switch("link set a-up1 up");
        let back = site.await_nodes(&[1, 2]);
        println!("{brand:?}: back {back:?} after the link");

        // The router starts anew, and knows nobody.
        match router {
            Router::Bird(mut bird) => bird.terminate().unwrap(),
            Router::Frr(mut frr) => frr.terminate().unwrap(),
        }
        site.await_session(1, "the end of the session", |session| {
            session["state"] != "Established"
        });
        router = site.router(brand);
        let back = site.await_nodes(&[1, 2]);
        println!("{brand:?}: back {back:?} after the router");

        // So does the speaker.
        let speaker = site.lab.speaker(1).unwrap();
        speaker.terminate(SOON).unwrap();
        site.await_nodes(&[2]);
        site.lab.start_speaker(1).unwrap();
        let back = site.await_nodes(&[1, 2]);
        println!("{brand:?}: back {back:?} after the speaker");

        // The same router, or another one at its end of the link, has another address.
        let namespace = &site.lab.segment.router.namespace;
        let old = link_local(namespace, "up1");
        namespace.ip("addr add fe80::77/64 dev up1 nodad").unwrap();
        namespace.ip(&format!("addr del {old}/64 dev up1")).unwrap();
        let moved = site.await_session(1, "the session with the new address", |session| {
            session["address"] == "fe80::77%up1" && session["state"] == "Established"
        });
        println!("{brand:?}: with the new address {moved:?} after the change");
        site.await_nodes(&[1, 2]);
        drop(router);
    }
}

/// GoBGP neither sends router advertisements nor listens to them: it takes the one neighbour that its kernel
/// knows on the link when it starts, and something beside it has to advertise.
#[test]
fn gobgp_has_a_session_over_an_interface_with_something_that_advertises_beside_it() {
    let site = Site::new(false);
    let segment = &site.lab.segment;
    let router = &segment.router.namespace;
    let (own, node) = (link_local(router, "up1"), link_local(site.node(1), "up1"));
    let node = format!("{node}%up1");
    patience::until("the node to be the kernel's neighbour", SOON, || {
        router.run(&format!("ping -6 -c 1 -W 1 {node}")).is_ok()
    })
    .unwrap();
    let config = gobgp::unnumbered(segment.router.v4, "up1", 64501, 64500);
    let gobgp = Gobgp::start(router, site.lab.path(), &config).unwrap();
    send(&site.lab, &own, 255, 0, &ADVERTISEMENT);
    site.await_established(1);
    for prefix in ALL {
        let mut seen = None;
        patience::until(prefix, SOON, || {
            seen = gobgp.route(&node, prefix);
            seen.is_some()
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", gobgp.log()));
        let next_hop = seen.unwrap().next_hop;
        assert_eq!(
            Some(next_hop.as_str()),
            node.strip_suffix("%up1"),
            "{prefix}"
        );
    }
    let session = site.session(1);
    assert_eq!(session["address"], format!("{own}%up1"), "{session:#}");
    assert_eq!(session["prefixes"], 4, "{session:#}");
}

/// ICMPv6 from the router's end of the first link, as it is; the checksum is right unless it is spoilt.
fn send(lab: &Lab, source: &str, hop_limit: u8, spoilt: u16, message: &[u8]) {
    let source: Ipv6Addr = source.parse().unwrap();
    let destination = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    let mut sum = [
        &source.octets()[..],
        &destination.octets(),
        &[0, 0],
        &length,
        &[0, 0, 0, 58],
        message,
    ]
    .concat()
    .chunks(2)
    .map(|pair| {
        u32::from(u16::from_be_bytes([
            pair[0],
            pair.get(1).copied().unwrap_or(0),
        ]))
    })
    .sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = (!u16::try_from(sum).unwrap()) ^ spoilt;
    let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], 58, hop_limit];
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(message);
    packet[42..44].copy_from_slice(&sum.to_be_bytes());
    lab.segment
        .router
        .namespace
        .inside(|| {
            let index = std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap();
            let of_link = index.lines().find(|line| line.ends_with(" up1")).unwrap();
            let index = of_link.split_whitespace().nth(1).unwrap();
            let index = u32::from_str_radix(index, 16).unwrap();
            // 255 is raw IPv6: the header is ours, and the checksum.
            let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(255))).unwrap();
            socket.set_multicast_loop_v6(false).unwrap();
            let to = SocketAddrV6::new(destination, 0, 0, index);
            // Not before the kernel has detected that nobody else has the link-local address.
            patience::until("a link-local address", SOON, || {
                socket.send_to(&packet, &to.into()).is_ok()
            })
            .unwrap();
        })
        .unwrap();
}

const ADVERTISEMENT: [u8; 16] = [134, 0, 0, 0, 64, 0, 0, 30, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn nothing_is_dialled_until_a_router_is_heard_and_only_true_advertisements_count() {
    let site = Site::new(false);
    let lab = &site.lab;
    let is_unheard = |session: &Value| {
        session["state"] == "Idle"
            && session["address"] == "up1"
            && session["lastError"] == "no router advertisement heard on up1 yet"
    };
    site.await_session(1, "that nobody is heard", is_unheard);
    let option_of_length_0 = [&ADVERTISEMENT[..], &[1, 0, 2, 0, 0, 0, 1, 1]].concat();
    let false_ones: [(&str, u8, u16, &[u8]); 7] = [
        ("fe80::bad", 64, 0, &ADVERTISEMENT),
        ("fe80::bad", 254, 0, &ADVERTISEMENT),
        ("fe80::bad", 255, 1, &ADVERTISEMENT),
        ("2001:db8::bad", 255, 0, &ADVERTISEMENT),
        ("fe80::bad", 255, 0, &ADVERTISEMENT[..15]),
        ("fe80::bad", 255, 0, &option_of_length_0),
        ("fe80::bad", 255, 0, &[136, 0, 0, 0, 0, 0, 0, 0]),
    ];
    for (source, hop_limit, spoilt, message) in false_ones {
        send(lab, source, hop_limit, spoilt, message);
    }
    patience::throughout("nobody is heard", Duration::from_secs(1), || {
        is_unheard(&site.session(1))
    })
    .unwrap();
    let dialled = || site.node(1).run("ss -Htan dport = :179").unwrap();
    assert_eq!(dialled(), "");

    // What the speaker says itself: at once, to whoever asks, and that it is nobody's default router.
    let asked = lab.segment.router.namespace.run("rdisc6 -1 -w 4000 up1");
    let said = asked.unwrap();
    assert!(said.contains("Router lifetime"), "{said}");
    let lifetime = said.lines().find(|line| line.contains("Router lifetime"));
    assert!(lifetime.unwrap().contains("0 (0x00000000)"), "{said}");
    assert!(said.contains(&link_local(site.node(1), "up1")), "{said}");

    send(lab, "fe80::900d", 255, 0, &ADVERTISEMENT);
    site.await_session(1, "the router's address", |session| {
        session["address"] == "fe80::900d%up1"
    });
    patience::until("a dial", SOON, || dialled().contains("fe80::900d")).unwrap();
    // Its lifetime is over after 30 s.
    patience::until("the end of the router", Duration::from_secs(40), || {
        is_unheard(&site.session(1))
    })
    .unwrap();
    let links = lab.segment.switch();
    links.ip("link del a-up1").unwrap();
    site.await_session(1, "the link's end", |session| {
        session["lastError"] == "interface up1 does not exist"
    });
}
