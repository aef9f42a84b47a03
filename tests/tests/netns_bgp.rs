//! BGP as BIRD and the kernel behind it see it.
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::time::Duration;

use ferrolb_tests::lab::Lab;
use ferrolb_tests::objects::{bgp, peer, pool, service, tcp};
use ferrolb_tests::patience;
use ferrolb_tests::peer::bird::Bird;

const SOON: Duration = Duration::from_secs(15);
const AT_ONCE: Duration = Duration::from_millis(800);
const FOUR: &str = "198.51.100.0/32";
const SIX: &str = "2001:db8:100::/128";
const ROUTER_V6: &str = "fd00:1::1";

/// Both families, marked, to every peer.
fn routed() -> String {
    let communities = "communities:\n  - 64512:100\n  - large:64512:1:2\nlocalPref: 150";
    pool("routed", &["198.51.100.0/28", "2001:db8:100::/124"]) + &bgp("routed", communities)
}

fn web() -> String {
    let families = "ipFamilyPolicy: RequireDualStack\n".to_owned();
    service("web", &(families + &tcp(&[(80, 30080)])))
}

/// A laboratory of so many nodes, all announcing `web` to the router.
struct Site {
    lab: Lab,
    router: Bird,
}

impl Site {
    /// `asn` is the router's; 64500 makes it iBGP. `over` are the router's addresses to peer with.
    fn new(nodes: u8, asn: u32, peers: &[String]) -> Self {
        let mut lab = Lab::new(nodes).unwrap();
        let mut neighbours = lab.neighbours(asn, 64500);
        for node in &lab.segment.nodes {
            let mut session = neighbours[0].clone();
            session.name = format!("{}_v6", node.name);
            session.local = lab.segment.router.v6.into();
            session.remote = node.v6.into();
            neighbours.push(session);
        }
        let router = lab.router(&neighbours).unwrap();
        lab.manifest("routed.yaml", &routed()).unwrap();
        lab.manifest("peers.yaml", &peers.concat()).unwrap();
        lab.manifest("web.yaml", &web()).unwrap();
        lab.start_controller().unwrap();
        lab.start_speakers().unwrap();
        Self { lab, router }
    }

    /// What a node's status says of the session with a peer.
    fn session(&self, number: usize, peer: &str) -> serde_json::Value {
        let status = self.lab.status(number).unwrap();
        let sessions = status["sessions"].as_array().unwrap().iter();
        let mut named = sessions.filter(|session| session["peer"] == peer);
        named.next().cloned().unwrap()
    }

    fn await_next_hop(&self, prefix: &str, hops: &[&str]) -> Duration {
        let hops: Vec<String> = hops.iter().map(|hop| (*hop).to_owned()).collect();
        self.lab.await_next_hops(prefix, &hops, SOON).unwrap()
    }
}

#[test]
fn both_families_arrive_over_a_session_of_each_with_next_hop_and_communities() {
    let peers = [
        peer("four", 64501, "192.168.1.1", ""),
        peer("six", 64501, ROUTER_V6, ""),
    ];
    let site = Site::new(2, 64501, &peers);
    site.await_next_hop(FOUR, &["192.168.1.11", "192.168.1.12"]);
    site.await_next_hop(SIX, &["fd00:1::11", "fd00:1::12"]);

    let four = site.router.routes(FOUR).unwrap();
    assert_eq!(four.len(), 2, "{four:?}");
    let mut hops: Vec<&str> = four.iter().map(|route| route.next_hop.as_str()).collect();
    hops.sort_unstable();
    assert_eq!(hops, ["192.168.1.11", "192.168.1.12"]);
    for route in four.iter().chain(&site.router.routes(SIX).unwrap()) {
        assert_eq!(route.communities, "(64512,100)");
        assert_eq!(route.large_communities, "(64512, 1, 2)");
        assert_eq!(route.as_path, "64500");
        assert_eq!(route.origin, "IGP");
        // LOCAL_PREF is not for eBGP peers (RFC 4271 §5.1.5): this is BIRD's own default.
        assert_eq!(route.local_pref, "100");
    }
}

#[test]
fn an_ibgp_peer_learns_the_local_preference_and_an_empty_path() {
    let peers = [peer("four", 64500, "192.168.1.1", "")];
    let site = Site::new(1, 64500, &peers);
    site.await_next_hop(FOUR, &["192.168.1.11"]);
    let routes = site.router.routes(FOUR).unwrap();
    assert_eq!(routes[0].local_pref, "150");
    assert_eq!(routes[0].as_path, "");
}

#[test]
fn one_ipv4_session_carries_both_families_when_asked_to() {
    let peers = [peer(
        "four",
        64501,
        "192.168.1.1",
        "dualStackAddressFamily: true",
    )];
    let site = Site::new(1, 64501, &peers);
    site.await_next_hop(FOUR, &["192.168.1.11"]);
    site.await_next_hop(SIX, &["fd00:1::11"]);
}

#[test]
fn i8_a_next_hop_that_changes_takes_its_routes_along_without_a_reset() {
    let dual = "dualStackAddressFamily: true";
    let peers = [peer("four", 64501, "192.168.1.1", dual)];
    let site = Site::new(1, 64501, &peers);
    site.await_next_hop(FOUR, &["192.168.1.11"]);
    site.await_next_hop(SIX, &["fd00:1::11"]);
    let changes = site.router.changes("n1");
    assert!(changes > 0, "it has come up");
    let node = &site.lab.segment.nodes[0].namespace;
    node.ip("addr del fd00:1::11/64 dev eth0").unwrap();
    site.await_next_hop(SIX, &[]);
    node.ip("addr add fd00:1::99/64 dev eth0 nodad").unwrap();
    site.await_next_hop(SIX, &["fd00:1::99"]);
    site.await_next_hop(FOUR, &["192.168.1.11"]);
    assert_eq!(site.router.changes("n1"), changes);
}

/// RFC 8950: IPv4 prefixes with an IPv6 next hop.
#[test]
fn one_ipv6_session_carries_both_families_when_asked_to() {
    let peers = [peer(
        "six",
        64501,
        ROUTER_V6,
        "dualStackAddressFamily: true",
    )];
    let site = Site::new(1, 64501, &peers);
    site.await_next_hop(SIX, &["fd00:1::11"]);
    site.await_next_hop(FOUR, &["fd00:1::11"]);
}

#[test]
fn a_session_carries_its_own_family_only_unless_asked_for_both() {
    let peers = [peer("four", 64501, "192.168.1.1", "")];
    let site = Site::new(1, 64501, &peers);
    site.await_next_hop(FOUR, &["192.168.1.11"]);
    assert!(site.router.routes(SIX).unwrap().is_empty());
}

#[test]
fn a_service_that_goes_is_withdrawn_and_the_session_stays() {
    let peers = [peer("four", 64501, "192.168.1.1", "")];
    let site = Site::new(1, 64501, &peers);
    site.await_next_hop(FOUR, &["192.168.1.11"]);
    let changes = site.router.changes("n1");

    site.lab.remove_manifest("web.yaml").unwrap();
    site.await_next_hop(FOUR, &[]);
    site.lab.manifest("web.yaml", &web()).unwrap();
    site.await_next_hop(FOUR, &["192.168.1.11"]);
    assert_eq!(site.router.changes("n1"), changes);
}

/// I8: other communities are other routes and no reason to reset a session.
#[test]
fn i8_an_edited_advertisement_changes_routes_without_a_reset() {
    let peers = [peer("four", 64501, "192.168.1.1", "")];
    let site = Site::new(1, 64501, &peers);
    site.await_next_hop(FOUR, &["192.168.1.11"]);
    let changes = site.router.changes("n1");

    let edited = routed().replace("64512:100", "64512:200");
    site.lab.manifest("routed.yaml", &edited).unwrap();
    patience::until("the other community", SOON, || {
        let routes = site.router.routes(FOUR).unwrap();
        routes
            .iter()
            .any(|route| route.communities == "(64512,200)")
    })
    .unwrap();
    assert_eq!(site.router.changes("n1"), changes);
}

#[test]
fn a_router_that_restarts_gets_everything_again() {
    let peers = [peer("four", 64501, "192.168.1.1", "")];
    let mut site = Site::new(1, 64501, &peers);
    site.await_next_hop(FOUR, &["192.168.1.11"]);
    site.router.kill();
    let neighbours = site.lab.neighbours(64501, 64500);
    site.router = site.lab.router(&neighbours).unwrap();
    site.router.await_established("n1", SOON).unwrap();
    patience::until("the route", SOON, || {
        !site.router.routes(FOUR).unwrap().is_empty()
    })
    .unwrap();
}

/// The hold timer of both sides: the router loses the routes, the speaker leaves Established and
/// says why, and both find each other again.
#[test]
fn a_dead_link_ends_the_session_on_both_sides_and_a_mended_one_brings_it_back() {
    let peers = [peer("four", 64501, "192.168.1.1", "")];
    let site = Site::new(1, 64501, &peers);
    site.await_next_hop(FOUR, &["192.168.1.11"]);

    site.lab.segment.silence("r").unwrap();
    // Before the attempts to come back fail, which is then the last error.
    let noticed = patience::until("the speaker to notice", SOON, || {
        let session = site.session(1, "four");
        let error = session["lastError"]
            .as_str()
            .unwrap_or_default()
            .to_lowercase();
        session["state"] != "Established" && error.contains("hold timer")
    })
    .unwrap();
    assert!(noticed < Duration::from_millis(4500), "{noticed:?}");

    let lost = site.await_next_hop(FOUR, &[]);
    // BIRD 2.0.12 may sleep for up to 3 s between its hold timer and the flush, when it has nothing
    // else to do.
    assert!(lost < Duration::from_millis(7000), "{lost:?}");
    site.lab.segment.unsilence("r").unwrap();
    site.await_next_hop(FOUR, &["192.168.1.11"]);
}

#[test]
fn sigterm_sends_a_cease_and_the_routes_are_gone_at_once() {
    let peers = [peer("four", 64501, "192.168.1.1", "")];
    let mut site = Site::new(2, 64501, &peers);
    site.await_next_hop(FOUR, &["192.168.1.11", "192.168.1.12"]);
    let status = site.lab.speaker(1).unwrap().terminate(SOON).unwrap();
    assert_eq!(status.code(), Some(0));
    let gone = site.await_next_hop(FOUR, &["192.168.1.12"]);
    assert!(gone < AT_ONCE, "{gone:?}");
    // RFC 4486: Cease, Administrative Shutdown (6/2), or Peer De-configured.
    let error = site.router.ask("show protocols all n1").unwrap();
    assert!(error.contains("Last error"), "{error}");
    assert!(
        error.contains("Received: Administrative shutdown") || error.contains("Received: Cease"),
        "{error}"
    );
}

#[test]
fn a_killed_speaker_takes_its_routes_with_it_and_brings_them_back() {
    let peers = [peer("four", 64501, "192.168.1.1", "")];
    let mut site = Site::new(2, 64501, &peers);
    site.await_next_hop(FOUR, &["192.168.1.11", "192.168.1.12"]);
    site.lab.speaker(2).unwrap().kill();
    let gone = site.await_next_hop(FOUR, &["192.168.1.11"]);
    assert!(gone < AT_ONCE, "{gone:?}");
    site.lab.start_speaker(2).unwrap();
    site.await_next_hop(FOUR, &["192.168.1.11", "192.168.1.12"]);
}

/// I5 and I7: a peer that cannot be reached and an interface where no router is heard hold up nobody, and
/// the status says what is with them.
#[test]
fn i7_a_peer_that_is_not_there_delays_no_other_and_the_status_says_so() {
    let peers = [
        peer("four", 64501, "192.168.1.1", ""),
        peer("nobody", 64501, "192.168.1.99", ""),
        peer("unnumbered", 64501, "192.168.1.98", "")
            .replace("peerAddress: \"192.168.1.98\"", "interface: eth0"),
    ];
    let site = Site::new(1, 64501, &peers);
    site.await_next_hop(FOUR, &["192.168.1.11"]);
    assert_eq!(site.session(1, "four")["state"], "Established");
    assert_eq!(site.session(1, "four")["prefixes"], 1);
    assert_ne!(site.session(1, "nobody")["state"], "Established");
    let unnumbered = site.session(1, "unnumbered");
    assert_eq!(unnumbered["state"], "Idle");
    let why = "no router advertisement heard on eth0 yet";
    assert_eq!(unnumbered["lastError"], why);
}

/// Every announcing node is a next hop, and the router spreads connections over all of them.
#[test]
fn traffic_is_spread_over_the_nodes() {
    let peers = [
        peer("four", 64501, "192.168.1.1", ""),
        peer("six", 64501, ROUTER_V6, ""),
    ];
    let mut site = Site::new(3, 64501, &peers);
    site.lab.serve_http(&[30080]).unwrap();
    site.await_next_hop(FOUR, &["192.168.1.11", "192.168.1.12", "192.168.1.13"]);
    site.await_next_hop(SIX, &["fd00:1::11", "fd00:1::12", "fd00:1::13"]);
    for address in ["198.51.100.0", "2001:db8:100::"] {
        let every = Duration::from_millis(10);
        let address = address.parse().unwrap();
        let client = &site.lab.segment.client.namespace;
        patience::until("an answer", SOON, || {
            site.lab.curl(client, address, 80).is_some()
        })
        .unwrap();
        let probe = site.lab.probe("probe-http", address, 80, every).unwrap();
        patience::pause(Duration::from_secs(1)).unwrap();
        let record = probe.stop().unwrap();
        assert_eq!(
            record.answered().len(),
            3,
            "{address}: {:?}",
            record.answered()
        );
        assert_eq!(record.lost(), 0, "{address}");
    }
}
