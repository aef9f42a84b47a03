//! Attributes and policy as routers see them: who gets which prefix from which node, and with what.
//! Ids such as `f58` are those of the compatibility checklist (`docs/testing.md`).
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::time::Duration;

use ferrolb_tests::lab::Lab;
use ferrolb_tests::objects::{bgp, peer, pool, service, tcp};
use ferrolb_tests::patience;
use ferrolb_tests::peer::Route;
use ferrolb_tests::peer::bird::{self, Bird};
use ferrolb_tests::peer::frr::Frr;

const SOON: Duration = Duration::from_secs(20);
const ROUTER_V4: &str = "192.168.1.1";
const ROUTER_V6: &str = "fd00:1::1";
/// The addresses of `web` and of `api`, in both families.
const WEB: [&str; 2] = ["198.51.100.1/32", "2001:db8:100::1/128"];
const API: [&str; 2] = ["198.51.100.2/32", "2001:db8:100::2/128"];

/// Two nodes, a router with a session for each node and family, and `web` and `api` with addresses of
/// both families.
struct Site {
    lab: Lab,
    router: Bird,
}

impl Site {
    /// The router is AS `asn`, and `node_asns` are what it expects the nodes to be.
    fn new(asn: u32, node_asns: [u32; 2], peers: &[String], advertisements: &str) -> Self {
        let mut lab = Lab::new(2).unwrap();
        let mut neighbours = lab.neighbours(asn, 0);
        for (neighbour, node_asn) in neighbours.iter_mut().zip(node_asns) {
            neighbour.remote_asn = node_asn;
        }
        for (at, node) in lab.segment.nodes.iter().enumerate() {
            let mut session = neighbours[at].clone();
            session.name = format!("{}_v6", node.name);
            session.local = lab.segment.router.v6.into();
            session.remote = node.v6.into();
            neighbours.push(session);
        }
        let router = lab.router(&neighbours).unwrap();
        let pool = pool("routed", &["198.51.100.0/24", "2001:db8:100::/120"]);
        let pool = pool.replace("  name: routed\n", "  name: routed\n  labels: {zone: a}\n");
        lab.manifest("pool.yaml", &pool).unwrap();
        lab.manifest("peers.yaml", &peers.concat()).unwrap();
        lab.manifest("nodes.yaml", &nodes("b")).unwrap();
        lab.manifest("advertisements.yaml", advertisements).unwrap();
        for (name, addresses, port) in [("web", WEB, 30080), ("api", API, 30081)] {
            let manifest = labelled(name, &addresses, port, name);
            lab.manifest(&format!("{name}.yaml"), &manifest).unwrap();
        }
        lab.start_controller().unwrap();
        lab.start_speakers().unwrap();
        Self { lab, router }
    }

    /// External peers over both families.
    fn external(advertisements: &str) -> Self {
        Self::new(64501, [64500; 2], &sessions(64501, ""), advertisements)
    }

    fn advertise(&self, advertisements: &str) {
        self.lab
            .manifest("advertisements.yaml", advertisements)
            .unwrap();
    }

    /// Waits until both prefixes come from exactly these neighbours.
    #[track_caller]
    fn await_from(&self, prefixes: [&str; 2], neighbours: &[&str]) {
        for prefix in prefixes {
            let mut seen = Vec::new();
            let what = format!("{prefix} from {neighbours:?}");
            let found = patience::until(&what, SOON, || {
                let routes = self.router.routes(prefix).unwrap();
                seen = routes.into_iter().map(|route| route.neighbour).collect();
                seen.sort();
                seen == neighbours
            });
            found.unwrap_or_else(|error| panic!("{error}: {seen:?}"));
        }
    }

    /// Waits until all routes of both prefixes are like this.
    #[track_caller]
    fn await_routes(&self, prefixes: [&str; 2], is_so: impl Fn(&Route) -> bool) {
        for prefix in prefixes {
            let mut seen = Vec::new();
            let found = patience::until(&format!("{prefix} as it should be"), SOON, || {
                seen = self.router.routes(prefix).unwrap();
                !seen.is_empty() && seen.iter().all(&is_so)
            });
            found.unwrap_or_else(|error| panic!("{error}: {seen:?}"));
        }
    }
}

/// A session over each family; each carries its own.
fn sessions(asn: u32, spec: &str) -> [String; 2] {
    [
        peer("four", asn, ROUTER_V4, spec),
        peer("six", asn, ROUTER_V6, spec),
    ]
}

/// A Service with these addresses, and one label.
fn labelled(name: &str, addresses: &[&str; 2], node_port: u16, app: &str) -> String {
    let addresses = addresses.map(|prefix| prefix.split('/').next().unwrap_or_default());
    let spec = "ipFamilyPolicy: RequireDualStack\n".to_owned() + &tcp(&[(80, node_port)]);
    service(name, &spec).replace(
        &format!("  name: {name}\n"),
        &format!(
            "  name: {name}\n  labels: {{app: {app}}}\n  annotations:\n    \
             metallb.io/loadBalancerIPs: \"{}\"\n",
            addresses.join(",")
        ),
    )
}

/// A BGPAdvertisement for Services with these labels, with one community.
fn for_apps(name: &str, apps: &[&str], community: &str) -> String {
    let selectors: Vec<String> = apps
        .iter()
        .map(|app| format!("  - matchLabels: {{app: {app}}}\n"))
        .collect();
    let selectors = selectors.concat();
    bgp(
        name,
        &format!("serviceSelectors:\n{selectors}communities: [\"{community}\"]"),
    )
}

/// One for some nodes.
fn on_nodes(name: &str, nodes: &[&str], more: &str) -> String {
    let nodes = nodes.join(", ");
    bgp(
        name,
        &format!(
            "nodeSelectors:\n  - matchExpressions: [{{key: kubernetes.io/hostname, operator: In, \
             values: [{nodes}]}}]\n{more}"
        ),
    )
}

/// Both nodes, the first in rack a.
fn nodes(second: &str) -> String {
    let node = |name: &str, rack: &str| {
        format!(
            "---\napiVersion: v1\nkind: Node\nmetadata:\n  name: {name}\n  \
             labels: {{kubernetes.io/hostname: {name}, rack: {rack}}}\n"
        )
    };
    node("n1", "a") + &node("n2", second)
}

const V4_AND_V6: [&[&str]; 2] = [&["n1", "n2"], &["n1_v6", "n2_v6"]];

#[test]
fn f47_to_f57_communities_and_local_preference_arrive_in_both_families_inside_an_as() {
    let names = "---\napiVersion: metallb.io/v1beta1\nkind: Community\nmetadata:\n  name: names\n  \
                 namespace: metallb-system\nspec:\n  communities:\n    - {name: vip, value: \"64512:7\"}\n";
    let advertisement = bgp(
        "routed",
        "ipAddressPoolSelectors:\n  - matchLabels: {zone: a}\nlocalPref: 150\ncommunities:\n  - vip\n  \
         - 64512:100\n  - large:64512:1:2",
    );
    let text = names.to_owned() + &advertisement;
    let site = Site::new(64500, [64500; 2], &sessions(64500, ""), &text);
    site.await_routes(WEB, |route| {
        route.communities == "(64512,7) (64512,100)"
            && route.large_communities == "(64512, 1, 2)"
            && route.local_pref == "150"
            && route.as_path.is_empty()
    });
}

#[test]
fn f58_to_f60_advertisements_are_united_and_followed_as_they_are_edited() {
    let two = bgp("one", "communities: [\"64512:1\"]") + &bgp("two", "communities: [\"64512:2\"]");
    let site = Site::new(64500, [64500; 2], &sessions(64500, ""), &two);
    site.await_routes(WEB, |route| {
        route.communities == "(64512,1) (64512,2)" && route.local_pref == "100"
    });
    let edited = bgp("one", "communities: [\"64512:3\"]\nlocalPref: 300");
    site.advertise(&edited);
    site.await_routes(WEB, |route| {
        route.communities == "(64512,3)" && route.local_pref == "300"
    });
    let lengths = "aggregationLength: 24\naggregationLengthV6: 124";
    site.advertise(&bgp("one", lengths));
    site.await_routes(["198.51.100.0/24", "2001:db8:100::/124"], |route| {
        route.communities.is_empty()
    });
    site.await_from(WEB, &[]);
}

#[test]
fn an_aggregate_stays_until_the_last_address_in_it_is_gone() {
    let site = Site::external(&bgp(
        "wide",
        "aggregationLength: 24\naggregationLengthV6: 120",
    ));
    const WIDE: [&str; 2] = ["198.51.100.0/24", "2001:db8:100::/120"];
    let [four, six] = V4_AND_V6;
    site.await_from([WIDE[0]; 2], four);
    site.await_from([WIDE[1]; 2], six);
    let imports = || {
        four.iter()
            .chain(six)
            .map(|name| site.router.imports(name).unwrap())
            .collect::<Vec<_>>()
    };
    let before = imports();
    site.lab.remove_manifest("web.yaml").unwrap();
    patience::throughout("the aggregate to stay", Duration::from_secs(2), || {
        imports() == before
    })
    .unwrap();
    site.lab.remove_manifest("api.yaml").unwrap();
    site.await_from(WIDE, &[]);
}

#[test]
fn f30_f31_a_local_as_is_all_that_an_external_peer_sees() {
    let local = sessions(64501, "localASN: 4200000001");
    let asns = [4_200_000_001; 2];
    let site = Site::new(64501, asns, &local, &bgp("routed", ""));
    site.await_routes(WEB, |route| route.as_path == "4200000001");
    let said = site.router.ask("show protocols all n1").unwrap();
    assert!(said.contains("Neighbor AS:      4200000001"), "{said}");
}

#[test]
fn f78_to_f81_a_dynamic_as_takes_a_peer_of_its_sort_only() {
    let external = sessions(0, "dynamicASN: external");
    let site = Site::new(64501, [64500; 2], &external, &bgp("routed", ""));
    let [four, six] = V4_AND_V6;
    site.await_from([WEB[0]; 2], four);
    site.await_from([WEB[1]; 2], six);

    let internal = sessions(0, "dynamicASN: internal").concat();
    site.lab.manifest("peers.yaml", &internal).unwrap();
    site.await_from(WEB, &[]);
    patience::throughout("no session", Duration::from_secs(3), || {
        !site.router.is_established("n1") && !site.router.is_established("n1_v6")
    })
    .unwrap();
    patience::until("why", SOON, || {
        let status = site.lab.status(1).unwrap();
        let error = &status["sessions"][0]["lastError"];
        error.as_str().unwrap_or_default().contains("AS")
    })
    .unwrap();
}

#[test]
fn f26_f27_a_router_id_is_shown_to_its_peer() {
    let with_id = sessions(64501, "routerID: 10.9.8.7");
    let site = Site::new(64501, [64500; 2], &with_id[..], &bgp("routed", ""));
    for session in ["n1", "n1_v6"] {
        site.router.await_established(session, SOON).unwrap();
        let said = site.router.ask(&format!("show protocols all {session}"));
        assert!(said.unwrap().contains("Neighbor ID:      10.9.8.7"));
    }
}

#[test]
fn f61_f62_routes_of_a_neighbour_are_accepted_by_nobody() {
    let mut lab = Lab::new(1).unwrap();
    let neighbours = lab.neighbours(64501, 64500);
    let config = bird::router(lab.segment.router.v4, &neighbours)
        .replace("export none", "export all")
        + "protocol static { ipv4; route 203.0.113.0/24 blackhole; }\n\
           protocol static { ipv6; route 2001:db8:bad::/48 blackhole; }\n";
    let namespace = &lab.segment.router.namespace;
    let router = Bird::start(namespace, lab.path(), "bird", &config).unwrap();
    let dual = peer("four", 64501, ROUTER_V4, "dualStackAddressFamily: true");
    lab.manifest("peers.yaml", &dual).unwrap();
    lab.manifest("pool.yaml", &pool("routed", &["198.51.100.0/24"]))
        .unwrap();
    lab.start_controller().unwrap();
    lab.start_speakers().unwrap();
    router.await_established("n1", SOON).unwrap();
    let node = &lab.segment.nodes[0].namespace;
    let has_none = || {
        let routes = ["-4 route", "-6 route"].map(|words| node.ip(words).unwrap());
        !routes.concat().contains("203.0.113") && !routes.concat().contains("bad")
    };
    patience::throughout("no foreign route", Duration::from_secs(3), has_none).unwrap();
    let announced = bgp("routed", "") + &service("web", &tcp(&[(80, 30080)]));
    lab.manifest("web.yaml", &announced).unwrap();
    patience::until("our route", SOON, || {
        !router.routes("198.51.100.0/32").unwrap().is_empty()
    })
    .unwrap();
    patience::throughout("no foreign route", Duration::from_secs(3), has_none).unwrap();
    assert!(router.is_established("n1"));
}

#[test]
fn g1_to_g6_a_session_carries_both_families_with_what_is_said_of_them() {
    let dual = sessions(64500, "dualStackAddressFamily: true");
    let [four, six] = dual.clone();
    let said = bgp("routed", "localPref: 150\ncommunities: [\"64512:1\"]");
    let site = Site::new(64500, [64500; 2], &[four], &said);
    let is_so = |route: &Route| route.local_pref == "150" && route.communities == "(64512,1)";
    site.await_from(WEB, &["n1", "n2"]);
    site.await_routes(WEB, is_so);
    site.lab.manifest("peers.yaml", &six).unwrap();
    site.await_from(WEB, &["n1_v6", "n2_v6"]);
    site.await_routes(WEB, is_so);
    // Over both, of a Service of one family.
    site.lab.manifest("peers.yaml", &dual.concat()).unwrap();
    let all = ["n1", "n1_v6", "n2", "n2_v6"];
    site.await_from(WEB, &all);
    for (family, held, other) in [("IPv6", WEB[1], WEB[0]), ("IPv4", WEB[0], WEB[1])] {
        let address = held.split('/').next().unwrap();
        let spec = format!("ipFamilies: [{family}]\n") + &tcp(&[(80, 30080)]);
        let wanted =
            format!("  name: web\n  annotations: {{metallb.io/loadBalancerIPs: \"{address}\"}}\n");
        let only = service("web", &spec).replace("  name: web\n", &wanted);
        site.lab.manifest("web.yaml", &only).unwrap();
        site.await_from([held; 2], &all);
        site.await_from([other; 2], &[]);
    }
}

#[test]
fn h1_to_h8_an_advertisement_goes_to_the_peers_it_names_with_what_it_says() {
    let dual = sessions(64501, "dualStackAddressFamily: true");
    let to = |name: &str, peer: &str, community: &str| {
        bgp(
            name,
            &format!("peers: [{peer}]\ncommunities: [\"{community}\"]"),
        )
    };
    let only_four = to("one", "four", "64512:4");
    let site = Site::new(64501, [64500; 2], &dual, &only_four);
    site.await_from(WEB, &["n1", "n2"]);
    let both = only_four + &to("two", "six", "64512:6");
    site.advertise(&both);
    site.await_from(WEB, &["n1", "n1_v6", "n2", "n2_v6"]);
    site.await_routes(WEB, |route| {
        let is_six = route.neighbour.ends_with("_v6");
        route.communities == if is_six { "(64512,6)" } else { "(64512,4)" }
    });
}

#[test]
fn i1_to_i12_advertisements_are_for_the_nodes_they_select_and_follow_labels() {
    let dual = [peer(
        "four",
        64501,
        ROUTER_V4,
        "dualStackAddressFamily: true",
    )];
    // Two Services with an advertisement each, on both nodes, one node, none.
    let stages: [[&[&str]; 2]; 3] = [
        [&["n1", "n2"], &["n1", "n2"]],
        [&["n1"], &["n2"]],
        [&[], &["n1"]],
    ];
    let advertisements = |[web, api]: [&[&str]; 2]| {
        let app = |app: &str| format!("serviceSelectors:\n  - matchLabels: {{app: {app}}}");
        let or_nobody = |nodes: &[&str]| match nodes.is_empty() {
            true => vec!["nobody".to_owned()],
            false => nodes.iter().map(|node| (*node).to_owned()).collect(),
        };
        let named = |name: &str, nodes: &[&str]| {
            let nodes = or_nobody(nodes);
            let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
            on_nodes(name, &nodes, &app(name))
        };
        named("web", web) + &named("api", api)
    };
    let site = Site::new(64501, [64500; 2], &dual, &advertisements(stages[0]));
    for stage in stages {
        site.advertise(&advertisements(stage));
        site.await_from(WEB, stage[0]);
        site.await_from(API, stage[1]);
    }
    // One Service, an advertisement for each node.
    let split = on_nodes("one", &["n1"], "communities: [\"64512:1\"]")
        + &on_nodes("two", &["n2"], "communities: [\"64512:2\"]");
    site.advertise(&split);
    site.await_from(WEB, &["n1", "n2"]);
    site.await_routes(WEB, |route| {
        route.communities == format!("(64512,{})", &route.neighbour[1..2])
    });
    // A node that is labelled.
    let in_rack = "nodeSelectors:\n  - matchLabels: {rack: a}";
    site.advertise(&bgp("one", in_rack));
    site.await_from(WEB, &["n1"]);
    site.lab.manifest("nodes.yaml", &nodes("a")).unwrap();
    site.await_from(WEB, &["n1", "n2"]);
}

#[test]
fn i13_to_i16_peers_are_for_the_nodes_they_select_each_with_its_own_as() {
    let on = |node: &str| {
        format!(
            "dualStackAddressFamily: true\nnodeSelectors:\n  - matchLabels: {{kubernetes.io/hostname: {node}}}"
        )
    };
    let first = peer("first", 64501, ROUTER_V4, &on("n1"));
    let second =
        peer("second", 64501, ROUTER_V4, &on("n2")).replace("myASN: 64500", "myASN: 64998");
    let peers = [first.clone(), second];
    let site = Site::new(64501, [64500, 64998], &peers, &bgp("routed", ""));
    site.await_from(WEB, &["n1", "n2"]);
    site.await_routes(WEB, |route| {
        let is_first = route.neighbour == "n1";
        route.as_path == if is_first { "64500" } else { "64998" }
    });
    assert!(!site.router.is_established("n1_v6"));
    // Both to one node, over a family each.
    let also = peer("second", 64501, ROUTER_V6, &on("n1"));
    site.lab.manifest("peers.yaml", &(first + &also)).unwrap();
    site.await_from(WEB, &["n1", "n1_v6"]);
}

#[test]
fn j1_to_j14_services_are_selected_by_label_and_followed() {
    let dual = [peer(
        "four",
        64501,
        ROUTER_V4,
        "dualStackAddressFamily: true",
    )];
    let selective = "ipAddressPools: [routed]\nserviceSelectors:\n  - matchLabels: {app: web}";
    let site = Site::new(64501, [64500; 2], &dual, &bgp("one", selective));
    site.await_from(WEB, &["n1", "n2"]);
    site.await_from(API, &[]);
    // Several selectors; then other ones.
    site.advertise(&for_apps("one", &["web", "api"], "64512:1"));
    site.await_from(API, &["n1", "n2"]);
    site.advertise(&for_apps("one", &["api"], "64512:1"));
    site.await_from(WEB, &[]);
    // A Service with another label.
    let relabelled = labelled("web", &WEB, 30080, "api");
    site.lab.manifest("web.yaml", &relabelled).unwrap();
    site.await_from(WEB, &["n1", "n2"]);
    let back = labelled("web", &WEB, 30080, "web");
    site.lab.manifest("web.yaml", &back).unwrap();
    site.await_from(WEB, &[]);
    // An aggregate for all, and a host route of the selected one.
    let aggregate = bgp("wide", "aggregationLength: 24\naggregationLengthV6: 120");
    site.advertise(&(aggregate + &for_apps("one", &["web"], "64512:1")));
    site.await_from(["198.51.100.0/24", "2001:db8:100::/120"], &["n1", "n2"]);
    site.await_from(WEB, &["n1", "n2"]);
    site.await_from(API, &[]);
    // All get what is for all; the selected one what is for it, too.
    let shared = bgp("shared", "communities: [\"64512:9\"]");
    site.advertise(&(shared + &for_apps("one", &["web"], "64512:1")));
    site.await_routes(WEB, |route| route.communities == "(64512,1) (64512,9)");
    site.await_routes(API, |route| route.communities == "(64512,9)");
    // Each its own.
    let apart = for_apps("one", &["web"], "64512:1") + &for_apps("two", &["api"], "64512:2");
    site.advertise(&apart);
    site.await_routes(WEB, |route| route.communities == "(64512,1)");
    site.await_routes(API, |route| route.communities == "(64512,2)");
}

/// FRR as the router of two nodes of AS 64500, before anything is announced.
fn frr(lab: &Lab) -> Frr {
    let neighbours: String = (11..13)
        .map(|number| {
            let address = format!("192.168.1.{number}");
            format!(" neighbor {address} remote-as 64500\n neighbor {address} passive\n")
        })
        .collect();
    let config = format!(
        "router bgp 64501\n no bgp ebgp-requires-policy\n{neighbours} address-family ipv4 unicast\n  \
         maximum-paths 8\n exit-address-family\nexit"
    );
    let namespace = &lab.segment.router.namespace;
    let frr = Frr::start(namespace, lab.path(), &config).unwrap();
    let pool = pool("routed", &["198.51.100.0/24", "2001:db8:100::/120"]);
    lab.manifest("pool.yaml", &pool).unwrap();
    lab.manifest("peers.yaml", &peer("four", 64501, ROUTER_V4, ""))
        .unwrap();
    frr
}

/// BIRD would cut such a list short when it shows it.
#[test]
fn a_hundred_communities_are_no_error() {
    let mut lab = Lab::new(1).unwrap();
    let frr = frr(&lab);
    let many: Vec<String> = (0..100).map(|low| format!("\"64512:{low}\"")).collect();
    let large: Vec<String> = (0..100)
        .map(|low| format!("\"large:64512:1:{low}\""))
        .collect();
    let all = [many, large].concat().join(", ");
    let advertisement = bgp("routed", &format!("communities: [{all}]"));
    lab.manifest("advertisements.yaml", &advertisement).unwrap();
    lab.manifest("web.yaml", &labelled("web", &WEB, 30080, "web"))
        .unwrap();
    lab.start_controller().unwrap();
    lab.start_speakers().unwrap();
    let mut shown = String::new();
    let found = patience::until("all of them", SOON, || {
        shown = frr.ask("show bgp ipv4 unicast 198.51.100.1/32").unwrap();
        let words: Vec<&str> = shown.split_whitespace().collect();
        let parts = |count| {
            let words = words.iter().filter(|word| word.starts_with("64512:"));
            words
                .filter(|word| word.split(':').count() == count)
                .count()
        };
        parts(2) == 100 && parts(3) == 100
    });
    found.unwrap_or_else(|error| panic!("{error}: {shown}"));
}

/// An advertisement with our annotations.
fn annotated(annotations: &[(&str, &str)]) -> String {
    let lines: Vec<String> = annotations
        .iter()
        .map(|(key, value)| format!("    ferrolb.io/bgp-{key}: \"{value}\"\n"))
        .collect();
    let text = format!("  name: routed\n  annotations:\n{}", lines.concat());
    bgp("routed", "").replace("  name: routed\n", &text)
}

/// `web` with policy Local, and so many endpoints on each node.
fn local_endpoints(site: &Lab, counts: [usize; 2]) {
    let manifest = labelled("web", &WEB, 30080, "web") + "  externalTrafficPolicy: Local\n";
    site.manifest("web.yaml", &manifest).unwrap();
    let mut endpoints = String::new();
    for (node, count) in ["n1", "n2"].into_iter().zip(counts) {
        for number in 0..count {
            endpoints += &format!("  - {{addresses: [\"10.1.0.{number}\"], nodeName: {node}}}\n");
        }
    }
    let slice = format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: web-1\n  \
         labels: {{kubernetes.io/service-name: web}}\naddressType: IPv4\nendpoints:\n{endpoints}"
    );
    site.manifest("slices.yaml", &slice).unwrap();
}

const ALL_THREE: [(&str, &str); 3] = [
    ("as-path-prepend", "3"),
    ("med", "100"),
    ("link-bandwidth", "endpoints"),
];

#[test]
fn annotations_prepend_set_the_metric_and_weigh_nodes_by_their_endpoints() {
    let site = Site::external(&annotated(&ALL_THREE));
    local_endpoints(&site.lab, [2, 1]);
    // Which BIRD shows as two numbers: 125,000,000 octets per second, twice and three times that.
    let [once, twice, thrice] = ["1290693416", "1299082024", "1303564382"];
    let weighed = |route: &Route, counts: [&str; 2]| {
        let number = counts[usize::from(route.neighbour.starts_with("n2"))];
        route.extended_communities == format!("(unknown 0x4004, 64500, {number})")
    };
    site.await_routes(WEB, |route| {
        route.as_path == "64500 64500 64500 64500"
            && route.med == "100"
            && weighed(route, [twice, once])
    });
    let sent = |node: usize| {
        let status = site.lab.status(node).unwrap();
        status["sessions"][0]["updatesSent"].as_u64().unwrap()
    };
    let before = [sent(1), sent(2)];
    local_endpoints(&site.lab, [3, 1]);
    site.await_routes(WEB, |route| weighed(route, [thrice, once]));
    // One UPDATE, and the other node has nothing to say.
    patience::until("the count", SOON, || sent(1) == before[0] + 1).unwrap();
    assert_eq!(sent(2), before[1]);
    // Without them, it is as before; the session stays.
    let changes = site.router.changes("n1");
    site.advertise(&bgp("routed", ""));
    site.await_routes(WEB, |route| {
        route.as_path == "64500" && route.med.is_empty() && route.extended_communities.is_empty()
    });
    assert_eq!(site.router.changes("n1"), changes);
}

#[test]
fn frr_weighs_the_nodes_in_its_kernel_by_their_endpoints() {
    let mut lab = Lab::new(2).unwrap();
    let frr = frr(&lab);
    lab.manifest("advertisements.yaml", &annotated(&ALL_THREE))
        .unwrap();
    local_endpoints(&lab, [3, 1]);
    lab.start_controller().unwrap();
    lab.start_speakers().unwrap();
    let mut kernel = String::new();
    let weights = patience::until("weights in the kernel", SOON, || {
        let words = "route show 198.51.100.1";
        kernel = lab.segment.router.namespace.ip(words).unwrap();
        let weight = |hop: &str| {
            let (_, rest) = kernel.split_once(&format!("via {hop} "))?;
            let (_, rest) = rest.split_once("weight ")?;
            rest.split_whitespace().next()?.parse::<u32>().ok()
        };
        let weights = weight("192.168.1.11").zip(weight("192.168.1.12"));
        weights.is_some_and(|(first, second)| first == 3 * second)
    });
    let shown = frr.ask("show bgp ipv4 unicast 198.51.100.1/32").unwrap();
    weights.unwrap_or_else(|error| panic!("{error}\n{kernel}\n{shown}"));
    assert!(shown.contains("LB:64500:375000000 (3.000 Gbps)"), "{shown}");
    assert!(shown.contains("LB:64500:125000000 (1.000 Gbps)"), "{shown}");
    assert!(shown.contains("64500 64500 64500 64500"), "{shown}");
    assert!(shown.contains("metric 100"), "{shown}");
}
