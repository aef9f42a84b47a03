//! GoBGP and ExaBGP as routers, with everything that they can: both families, large numbers, keys,
//! TTLs, several hops and what is agreed on. `docs/interop.md` has the table.
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ferrolb_tests::lab::Lab;
use ferrolb_tests::objects::{bgp, peer, pool, service, tcp};
use ferrolb_tests::patience;
use ferrolb_tests::peer::Neighbour;
use ferrolb_tests::peer::exabgp::{self, Exabgp};
use ferrolb_tests::peer::gobgp::{self, Gobgp};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
const FOUR: &str = "198.51.100.0/32";
const SIX: &str = "2001:db8:100::/128";
const ROUTER: &str = "192.168.1.1";
const ROUTER_V6: &str = "fd00:1::1";
/// Behind the router.
const FAR: &str = "10.9.0.2";
const FAR_V6: &str = "fd09::2";
const NODES: [&str; 2] = ["192.168.1.11", "192.168.1.12"];
const NODES_V6: [&str; 2] = ["fd00:1::11", "fd00:1::12"];
/// Takes four octets.
const ASN: u32 = 4_200_000_001;
const KEY: &str = "hunter-two";

/// Two nodes. The first has plain sessions with the router and with the client behind it; the second
/// has sessions with a key, only for neighbours on the link: `secured` says over which families.
fn lab(secured: &[&str]) -> Lab {
    let mut lab = Lab::new(2).unwrap();
    let on = |node: u8, spec: &str| {
        format!(
            "enableGracefulRestart: true\nnodeSelectors:\n  - matchLabels: {{name: n{node}}}\n{spec}"
        )
    };
    let keyed = on(2, &format!("password: {KEY}"));
    let far = on(1, "ebgpMultiHop: true");
    let plain = on(1, "");
    let by_ttl = |name: &str, address: &str| {
        let annotation = "  annotations: {ferrolb.io/bgp-ttl-security-hops: \"1\"}\n";
        let metadata = format!("  name: {name}\n");
        let annotation = if secured.contains(&name) {
            annotation
        } else {
            ""
        };
        peer(name, 64501, address, &keyed).replace(&metadata, &(metadata.clone() + annotation))
    };
    let dual = format!("dualStackAddressFamily: true\n{plain}");
    let peers = [
        peer("four", 64501, ROUTER, &plain),
        peer("six", 64501, ROUTER_V6, &dual),
        by_ttl("keyed-four", ROUTER),
        by_ttl("keyed-six", ROUTER_V6),
        peer("far-four", 64501, FAR, &far),
        peer("far-six", 64501, FAR_V6, &far),
    ];
    let peers = peers
        .concat()
        .replace("myASN: 64500", &format!("myASN: {ASN}"));
    let nodes: String = (1..=2)
        .map(|node| {
            format!(
                "---\napiVersion: v1\nkind: Node\nmetadata:\n  name: n{node}\n  labels: {{name: n{node}}}\n"
            )
        })
        .collect();
    let marked = "communities: [\"64512:7\", \"large:64512:1:2\"]";
    let web = "ipFamilyPolicy: RequireDualStack\n".to_owned() + &tcp(&[(80, 30080)]);
    let site = [
        pool("routed", &["198.51.100.0/28", "2001:db8:100::/124"]),
        bgp("routed", marked),
        service("web", &web),
        peers,
        nodes,
    ];
    lab.manifest("site.yaml", &site.concat()).unwrap();
    lab.start_controller().unwrap();
    lab.start_speakers().unwrap();
    lab
}

/// The router's sessions with one node, over each family.
fn neighbours(local: [&str; 2], node: usize) -> [Neighbour; 2] {
    let one = |local: &str, remote: &str| Neighbour {
        name: format!("n{node}"),
        local: local.parse().unwrap(),
        local_asn: 64501,
        remote: remote.parse().unwrap(),
        remote_asn: ASN,
        hold_time: 9,
    };
    let [four, six] = local;
    [one(four, NODES[node]), one(six, NODES_V6[node])]
}

/// A directory for one that runs beside another.
fn beside(lab: &Lab) -> PathBuf {
    let directory = lab.path().join("far");
    std::fs::create_dir(&directory).unwrap();
    directory
}

/// Every session of the nodes is up, by what they say.
fn await_sessions(lab: &Lab) {
    let mut seen = Value::Null;
    let are_up = || {
        seen = json!([1, 2].map(|node| lab.status(node).unwrap()["sessions"].clone()));
        let sessions = seen.as_array().unwrap().iter();
        let mut sessions = sessions.flat_map(|of_node| of_node.as_array().unwrap());
        sessions.all(|session| session["state"] == "Established")
    };
    let up = patience::until("every session", SOON, are_up);
    up.unwrap_or_else(|error| panic!("{error:#}: {seen:#}"));
    let counts = [0, 1].map(|node| seen[node].as_array().unwrap().len());
    assert_eq!(counts, [4, 2], "{seen:#}");
}

/// What each session has to bring, and by which next hop.
fn expected() -> [(&'static str, &'static str, &'static str); 5] {
    [
        (NODES[0], FOUR, NODES[0]),
        (NODES_V6[0], SIX, NODES_V6[0]),
        // RFC 8950.
        (NODES_V6[0], FOUR, NODES_V6[0]),
        (NODES[1], FOUR, NODES[1]),
        (NODES_V6[1], SIX, NODES_V6[1]),
    ]
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn gobgp_and_we_do_everything_that_it_can() {
    let lab = lab(&["keyed-four", "keyed-six"]);
    let [router, client] = [&lab.segment.router, &lab.segment.client];
    let passive = gobgp::Options {
        is_passive: true,
        ..gobgp::Options::default()
    };
    let keyed = gobgp::Options {
        password: Some(KEY),
        has_ttl_security: true,
        ..passive
    };
    let far = gobgp::Options {
        is_multihop: true,
        ..passive
    };
    let near = [ROUTER, ROUTER_V6];
    let config = gobgp::router(router.v4, &neighbours(near, 0), passive)
        + &gobgp::sessions(&neighbours(near, 1), keyed);
    let gobgp = Gobgp::start(&router.namespace, lab.path(), &config).unwrap();
    let config = gobgp::router(client.v4, &neighbours([FAR, FAR_V6], 0), far);
    let behind = Gobgp::start(&client.namespace, &beside(&lab), &config).unwrap();
    await_sessions(&lab);

    let await_route = |gobgp: &Gobgp, peer: &str, prefix: &str, hop: &str| {
        let wanted = gobgp::Route {
            next_hop: hop.to_owned(),
            as_path: vec![ASN.into()],
            communities: vec![(64512 << 16) + 7],
            large_communities: vec![[64512, 1, 2]],
            is_stale: false,
        };
        let mut seen = None;
        let what = format!("{prefix} from {peer}");
        let found = patience::until(&what, SOON, || {
            seen = gobgp.route(address(peer), prefix);
            seen.as_ref() == Some(&wanted)
        });
        found.unwrap_or_else(|error| panic!("{error:#}: {seen:?}"));
    };
    for (peer, prefix, hop) in expected() {
        await_route(&gobgp, peer, prefix, hop);
    }
    await_route(&behind, NODES[0], FOUR, NODES[0]);
    await_route(&behind, NODES_V6[0], SIX, NODES_V6[0]);

    let said = gobgp.ask(&format!("neighbor {}", NODES_V6[0])).unwrap();
    let agreed = |name: &str| {
        let mut lines = said.lines().map(str::trim);
        lines.any(|line| line.starts_with(name) && line.ends_with("advertised and received"))
    };
    for name in [
        "ipv4-unicast",
        "ipv6-unicast",
        "route-refresh",
        "extended-nexthop",
        "graceful-restart",
        "4-octet-as",
    ] {
        assert!(agreed(name), "{name}: {said}");
    }
    // Its limits, which docs/interop.md names: once they are gone, there is more to prove.
    assert!(
        said.contains("UnknownCapability(6)"),
        "extended messages: {said}"
    );
    gobgp
        .ask(&format!("neighbor {} softresetin", NODES_V6[0]))
        .unwrap();
    patience::pause(Duration::from_secs(1)).unwrap();
    let said = gobgp.ask(&format!("neighbor {}", NODES_V6[0])).unwrap();
    let mut lines = said.lines().filter(|line| line.contains("Route Refresh:"));
    let counts: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(counts[2..], ["0", "0"], "route refresh: {said}");
}

#[test]
fn exabgp_and_we_do_everything_that_it_can() {
    // Where it waits to be dialled, it leaves the hop limit of IPv6 as it is.
    let lab = lab(&["keyed-four"]);
    let [router, client] = [&lab.segment.router, &lab.segment.client];
    let near = [ROUTER, ROUTER_V6];
    let restart = "graceful-restart 120;";
    let keyed = format!("md5-password {KEY};");
    let secured = format!("{keyed} incoming-ttl 255; outgoing-ttl 255;");
    let [four, six] = neighbours(near, 1);
    let config = exabgp::router(router.v4, &neighbours(near, 0), true, "", restart)
        + &exabgp::router(router.v4, &[four], true, &secured, restart)
        + &exabgp::router(router.v4, &[six], true, &keyed, restart);
    let exabgp = Exabgp::start(&router.namespace, lab.path(), &config).unwrap();
    let config = exabgp::router(
        client.v4,
        &neighbours([FAR, FAR_V6], 0),
        true,
        "outgoing-ttl 2;",
        restart,
    );
    let behind = Exabgp::start(&client.namespace, &beside(&lab), &config).unwrap();
    await_sessions(&lab);

    let await_route = |exabgp: &Exabgp, peer: &str, prefix: &str, hop: &str| {
        let is_so = |heard: &exabgp::Heard| {
            heard.routes.get(prefix).is_some_and(|route| {
                route.next_hop == hop
                    && route.attributes["as-path"] == json!([ASN])
                    && route.attributes["community"] == json!([[64512, 7]])
                    && route.attributes["large-community"] == json!([[64512, 1, 2]])
            })
        };
        exabgp.await_heard(address(peer), SOON, is_so).unwrap()
    };
    for (peer, prefix, hop) in expected() {
        await_route(&exabgp, peer, prefix, hop);
    }
    await_route(&behind, NODES[0], FOUR, NODES[0]);
    await_route(&behind, NODES_V6[0], SIX, NODES_V6[0]);

    let heard = exabgp.heard(address(NODES_V6[0]));
    let capabilities = &heard.open["capabilities"];
    for (code, part, value) in [
        ("1", "families", json!(["ipv4/unicast", "ipv6/unicast"])),
        ("2", "name", json!("route-refresh")),
        ("5", "conversion", json!(["ipv4/unicast/ipv6"])),
        ("6", "size", json!(65535)),
        ("64", "time", json!(120)),
        ("65", "asn4", json!(ASN)),
        ("70", "name", json!("enhanced-route-refresh")),
    ] {
        assert_eq!(capabilities[code][part], value, "{code}: {capabilities:#}");
    }
    let before = exabgp.heard(address(NODES[0])).announcements;
    exabgp.say("announce route-refresh ipv4 unicast").unwrap();
    let is_again = |heard: &exabgp::Heard| heard.is_up && heard.announcements == before + 1;
    exabgp
        .await_heard(address(NODES[0]), SOON, is_again)
        .unwrap();

    // More than fits into a message of 4,096 octets (RFC 8654).
    let many: Vec<String> = (0..400)
        .map(|low| format!("\"large:64512:1:{low}\""))
        .collect();
    let marked = bgp("other", &format!("communities: [{}]", many.join(", ")));
    lab.manifest("other.yaml", &marked).unwrap();
    let has_all = |heard: &exabgp::Heard| {
        heard.routes.get(FOUR).is_some_and(|route| {
            let list = route.attributes["large-community"].as_array();
            list.is_some_and(|list| list.len() == 400)
        })
    };
    exabgp
        .await_heard(address(NODES[0]), SOON, has_all)
        .unwrap();
    lab.remove_manifest("other.yaml").unwrap();

    lab.remove_manifest("site.yaml").unwrap();
    let is_over = |heard: &exabgp::Heard| !heard.is_up && heard.routes.is_empty();
    exabgp
        .await_heard(address(NODES[0]), SOON, is_over)
        .unwrap();
}
