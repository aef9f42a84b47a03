//! What ends a session and what does not (design invariant I8): the table of `docs/operating.md`, field by
//! field, by the counters of a real peer.
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use ferrolb_tests::lab::Lab;
use ferrolb_tests::objects::{bfd_profile, bgp, pool, service, tcp};
use ferrolb_tests::patience;
use ferrolb_tests::peer::frr::{self, Frr};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);
const NODE: &str = "192.168.1.11";
const ROUTER: &str = "192.168.1.1";

/// A node with one session, and FRR at its other end, which takes any AS.
struct Site {
    lab: Lab,
    router: Frr,
    peer: Peer,
    markers: u16,
}

/// A BGPPeer as it is written.
#[derive(Clone)]
struct Peer {
    labels: &'static str,
    annotations: BTreeMap<&'static str, &'static str>,
    spec: BTreeMap<&'static str, &'static str>,
}

/// What FRR counts.
#[derive(Debug, Clone, Copy)]
struct Counters {
    is_established: bool,
    /// Sessions that came up.
    ups: u64,
    /// How long the session has been up, in milliseconds.
    uptime: u64,
}

impl Peer {
    fn manifest(&self) -> String {
        let mut text = format!(
            "---\napiVersion: metallb.io/v1beta2\nkind: BGPPeer\nmetadata:\n  name: r\n  \
             namespace: metallb-system\n  labels: {{{}}}\n  annotations:\n    proof: reset\n",
            self.labels
        );
        for (key, value) in &self.annotations {
            text += &format!("    {key}: \"{value}\"\n");
        }
        text += "spec:\n";
        for (field, value) in &self.spec {
            text += &format!("  {field}: {value}\n");
        }
        text
    }
}

impl Site {
    fn new() -> Self {
        let mut lab = Lab::new(1).unwrap();
        // Peers can dial, so that the node can wait to be dialled.
        lab.speaker_arguments = vec![format!("--bgp-listen={NODE}:179")];
        let config = frr::router(lab.segment.router.v4, &lab.neighbours(64501, 64500), None);
        // It takes segments with the highest TTL only, so that it notices what becomes of ours.
        let any = format!("remote-as external\n neighbor {NODE} ttl-security hops 1");
        let config = config.replace("remote-as 64500", &any);
        let router = lab.frr(&config).unwrap();
        let spec = [
            ("myASN", "64500"),
            ("peerASN", "64501"),
            ("peerAddress", ROUTER),
            ("holdTime", "9s"),
            ("connectTime", "1s"),
            ("ebgpMultiHop", "true"),
        ];
        let peer = Peer {
            labels: "",
            annotations: BTreeMap::new(),
            spec: spec.into(),
        };
        lab.manifest("peer.yaml", &peer.manifest()).unwrap();
        let setup = pool("routed", &["198.51.100.0/24"]) + &bgp("routed", "");
        lab.manifest("setup.yaml", &setup).unwrap();
        lab.start_controller().unwrap();
        lab.start_speaker(1).unwrap();
        let site = Self {
            lab,
            router,
            peer,
            markers: 0,
        };
        site.await_up("the first session");
        site
    }

    fn counters(&self) -> Counters {
        let text = self.router.ask(&format!("show bgp neighbors {NODE} json"));
        let all: Value = serde_json::from_str(&text.unwrap()).unwrap();
        let of = &all[NODE];
        let is_established = of["bgpState"] == "Established";
        Counters {
            is_established,
            ups: of["connectionsEstablished"].as_u64().unwrap(),
            uptime: of["bgpTimerUpMsec"].as_u64().unwrap_or(0),
        }
    }

    #[track_caller]
    fn await_up(&self, what: &str) -> Counters {
        patience::until(what, SOON, || self.counters().is_established)
            .unwrap_or_else(|error| panic!("{error}\n{}", self.router.log()));
        self.counters()
    }

    fn write(&self) {
        let manifest = self.peer.manifest();
        self.lab.manifest("peer.yaml", &manifest).unwrap();
    }

    /// Waits until the speaker has read what was written so far: a Service that came after it is announced.
    #[track_caller]
    fn await_read(&mut self) {
        self.markers += 1;
        let address = format!("198.51.100.{}", self.markers);
        let spec = tcp(&[(80, 30_000 + self.markers)]);
        let name = format!("marker-{}", self.markers);
        let annotated =
            format!("  name: {name}\n  annotations: {{metallb.io/loadBalancerIPs: {address}}}\n");
        let marker = service(&name, &spec).replace(&format!("  name: {name}\n"), &annotated);
        self.lab.manifest(&format!("{name}.yaml"), &marker).unwrap();
        self.await_route(&format!("{address}/32"));
    }

    #[track_caller]
    fn await_route(&self, prefix: &str) {
        let route = format!("show bgp ipv4 unicast {prefix} json");
        let (address, _) = prefix.split_once('/').unwrap();
        patience::until(&format!("the route to {prefix}"), SOON, || {
            let told = self.router.ask(&route);
            told.is_ok_and(|text| text.contains(address))
        })
        .unwrap();
    }

    /// Segments with a TCP MD5 signature that the router's kernel has dropped, because it knows no key.
    fn unexpectedly_signed(&self) -> u64 {
        let router = &self.lab.segment.router.namespace;
        let counters = router.run("cat /proc/net/netstat").unwrap();
        let mut lines = counters.lines().filter(|line| line.starts_with("TcpExt:"));
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let mut pairs = names.split(' ').zip(values.split(' '));
        let (_, value) = pairs.find(|(name, _)| *name == "TCPMD5Unexpected").unwrap();
        value.parse().unwrap()
    }

    /// What is done here leaves the session alone, and is done while it is up.
    #[track_caller]
    fn goes_on(&mut self, what: &str, edit: impl FnOnce(&mut Self)) {
        let before = self.await_up(what);
        edit(self);
        self.await_read();
        let after = self.counters();
        assert!(
            after.is_established && after.ups == before.ups && after.uptime >= before.uptime,
            "{what}: {before:?}, then {after:?}"
        );
    }

    /// What is done here takes a new session, and one only.
    #[track_caller]
    fn resets(&mut self, what: &str, edit: impl FnOnce(&mut Self)) {
        let before = self.await_up(what);
        edit(self);
        let is_new = || {
            let now = self.counters();
            now.is_established && now.ups > before.ups
        };
        patience::until(&format!("a new session after {what}"), SOON, is_new).unwrap();
        self.await_read();
        let after = self.counters();
        assert!(
            after.is_established && after.ups == before.ups + 1,
            "{what}: {before:?}, then {after:?}"
        );
    }

    /// What is done here ends the session, and this router has no other by it.
    #[track_caller]
    fn ends(&mut self, what: &str, edit: impl FnOnce(&mut Self)) {
        let before = self.await_up(what);
        let peer = self.peer.clone();
        edit(self);
        patience::until(&format!("the session to end after {what}"), SOON, || {
            !self.counters().is_established
        })
        .unwrap();
        self.peer = peer;
        self.write();
        let after = self.await_up(&format!("the session after {what} was taken back"));
        assert_eq!(
            after.ups,
            before.ups + 1,
            "{what}: {before:?}, then {after:?}"
        );
    }

    fn set(&mut self, field: &'static str, value: &'static str) {
        self.peer.spec.insert(field, value);
        self.write();
    }

    fn annotate(&mut self, key: &'static str, value: &'static str) {
        self.peer.annotations.insert(key, value);
        self.write();
    }
}

#[test]
fn i8_a_peer_counts_a_new_session_for_these_fields_of_a_bgppeer_and_no_others() {
    let mut site = Site::new();
    for (field, value) in [
        ("holdTime", "30s"),
        ("enableGracefulRestart", "true"),
        ("routerID", "10.9.9.9"),
        ("dualStackAddressFamily", "true"),
        ("myASN", "64499"),
        ("localASN", "64498"),
        ("sourceAddress", NODE),
        ("holdTime", "6s"),
    ] {
        site.resets(field, |site| site.set(field, value));
    }
    site.resets("dynamicASN", |site| {
        site.peer.spec.remove("peerASN");
        site.set("dynamicASN", "external");
    });
    for (key, value) in [
        ("ferrolb.io/bgp-long-lived-stale-time", "1h"),
        ("ferrolb.io/bgp-source-port", "1790"),
    ] {
        site.resets(key, |site| site.annotate(key, value));
    }
    // The name of any interface.
    site.resets("vrf", |site| site.set("vrf", "eth0"));
    site.resets("vrf taken away", |site| {
        site.peer.spec.remove("vrf");
        site.write();
    });
    site.ends("peerASN", |site| {
        site.peer.spec.remove("dynamicASN");
        site.set("peerASN", "64502");
    });
    site.ends("peerPort", |site| site.set("peerPort", "1179"));
    site.ends("peerAddress", |site| {
        site.set("peerAddress", "192.168.1.99");
    });
    site.ends("interface", |site| {
        for field in ["peerAddress", "sourceAddress"] {
            site.peer.spec.remove(field);
        }
        site.set("interface", "eth0");
    });
    // Either the kernel has it and the peer not, or neither has.
    site.ends("bgp-tcp-ao", |site| {
        site.peer.spec.insert("password", "secret");
        site.annotate("ferrolb.io/bgp-tcp-ao", "1/2");
    });
}

#[test]
fn i8_a_peer_counts_no_new_session_for_anything_else() {
    let mut site = Site::new();
    for (field, value) in [("keepaliveTime", "1s"), ("connectTime", "2s")] {
        site.goes_on(field, |site| site.set(field, value));
    }
    site.goes_on("bgp-ttl-security-hops in place of ebgpMultiHop", |site| {
        site.peer.spec.remove("ebgpMultiHop");
        site.annotate("ferrolb.io/bgp-ttl-security-hops", "1");
    });
    site.goes_on("ebgpMultiHop in place of that", |site| {
        site.peer
            .annotations
            .remove("ferrolb.io/bgp-ttl-security-hops");
        site.set("ebgpMultiHop", "true");
    });
    for passive in ["true", "false"] {
        site.goes_on("bgp-passive", |site| {
            site.annotate("ferrolb.io/bgp-passive", passive);
        });
    }
    site.goes_on("nodeSelectors that still select", |site| {
        let here = "[{matchLabels: {kubernetes.io/hostname: n1}}]";
        site.set("nodeSelectors", here);
    });
    site.goes_on("labels", |site| {
        site.peer.labels = "team: red";
        site.write();
    });
    site.goes_on("another annotation", |site| {
        site.annotate("example.com/note", "anything");
    });
    for (what, spec) in [
        ("a BFDProfile", "receiveInterval: 300"),
        ("receiveInterval", "receiveInterval: 400"),
        ("transmitInterval", "transmitInterval: 400"),
        ("detectMultiplier", "detectMultiplier: 5"),
        ("echoInterval", "echoInterval: 60"),
        ("echoMode", "echoMode: true"),
        ("passiveMode", "passiveMode: true"),
        ("minimumTtl", "minimumTtl: 200"),
    ] {
        site.goes_on(what, |site| {
            let profile = bfd_profile("slow", spec);
            site.lab.manifest("profile.yaml", &profile).unwrap();
            site.set("bfdProfile", "slow");
        });
    }
    site.goes_on("bfdProfile taken away", |site| {
        site.peer.spec.remove("bfdProfile");
        site.write();
    });
    for (what, advertisement) in [
        ("localPref", "localPref: 200"),
        ("communities", "communities: [\"64500:1\", \"large:1:2:3\"]"),
        ("aggregationLength", "aggregationLength: 32"),
        ("peers", "peers: [r]"),
        ("ipAddressPools", "ipAddressPools: [routed]"),
    ] {
        site.goes_on(what, |site| {
            let pool = pool("routed", &["198.51.100.0/24"]);
            let setup = pool + &bgp("routed", advertisement);
            site.lab.manifest("setup.yaml", &setup).unwrap();
        });
    }
    site.goes_on("aggregationLength, to and fro", |site| {
        let aggregated = pool("routed", &["198.51.100.0/24"]);
        let setup = aggregated.clone() + &bgp("routed", "aggregationLength: 24");
        site.lab.manifest("setup.yaml", &setup).unwrap();
        site.await_route("198.51.100.0/24");
        let setup = aggregated + &bgp("routed", "");
        site.lab.manifest("setup.yaml", &setup).unwrap();
    });
    for annotation in [
        "ferrolb.io/bgp-as-path-prepend: \"2\"",
        "ferrolb.io/bgp-med: \"7\"",
        "ferrolb.io/bgp-link-bandwidth: endpoints",
    ] {
        site.goes_on(annotation, |site| {
            let name = "  name: routed\n";
            let annotated = format!("{name}  annotations: {{{annotation}}}\n");
            let advertisement = bgp("routed", "").replace(name, &annotated);
            let setup = pool("routed", &["198.51.100.0/24"]) + &advertisement;
            site.lab.manifest("setup.yaml", &setup).unwrap();
        });
    }
    // The router knows no password, and hears nothing until it is taken back.
    site.goes_on(
        "a first password, taken back within the hold time",
        |site| {
            let before = site.unexpectedly_signed();
            site.set("password", "secret");
            patience::until("something signed", SOON, || {
                site.unexpectedly_signed() > before
            })
            .unwrap();
            site.peer.spec.remove("password");
            site.write();
        },
    );
    site.goes_on("a pool", |site| {
        let more = pool("more", &["203.0.113.0/24"]);
        site.lab.manifest("more.yaml", &more).unwrap();
    });
    site.goes_on("a Service that goes", |site| {
        site.lab.remove_manifest("marker-1.yaml").unwrap();
    });
    site.goes_on("endpoints that go", |site| {
        let none = "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: marker-2-a\n  \
                    labels: {kubernetes.io/service-name: marker-2}\naddressType: IPv4\nendpoints: []\n";
        site.lab.manifest("slice.yaml", none).unwrap();
    });
    site.goes_on("a Node's labels", |site| {
        let node = "---\napiVersion: v1\nkind: Node\nmetadata:\n  name: n1\n  \
                    labels: {kubernetes.io/hostname: n1, rack: a}\n";
        site.lab.manifest("nodes.yaml", node).unwrap();
    });
}
