//! What BGP peers are sent, as a BMP collector (pmacct's) is told of it.
#![expect(
    clippy::disallowed_methods,
    reason = "configuration and log of the collector are files"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use ferrolb_tests::lab::Lab;
use ferrolb_tests::objects::{bgp, nodes, peer, pool, service, tcp};
use ferrolb_tests::patience;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
const STATION: &str = "192.168.1.200:1790";
const ROUTER: &str = "192.168.1.1";
const ROUTER_V6: &str = "fd00:1::1";
const V4: &str = "192.0.2.10/32";
const V6: &str = "2001:db8::10/128";

/// pmbmpd, which writes a line of JSON for everything that it is told.
struct Collector {
    log: PathBuf,
}

impl Collector {
    /// On the client of the segment.
    fn start(lab: &mut Lab) -> Self {
        let log = lab.path().join("bmp.json");
        let config = lab.path().join("pmbmpd.conf");
        let (address, port) = STATION.split_once(':').unwrap();
        let text = format!(
            "daemonize: false\nbmp_daemon_ip: {address}\nbmp_daemon_port: {port}\n\
             bmp_daemon_max_peers: 4\nbmp_daemon_msglog_file: {}\n",
            log.display()
        );
        std::fs::write(&config, text).unwrap();
        let namespace = &lab.segment.neighbour.namespace;
        let mut command = namespace.command("pmbmpd");
        command.arg("-f").arg(config);
        let process = lab.start("pmbmpd", command).unwrap();
        process.await_line("waiting for BMP data", SOON).unwrap();
        Self { log }
    }

    /// Waits until it has been told something with these fields, so many times.
    #[track_caller]
    fn await_told(&self, count: usize, wanted: &Value) -> Value {
        let wanted = wanted.as_object().unwrap();
        let has = |entry: &Value| wanted.iter().all(|(field, value)| entry[field] == *value);
        let what = format!("{wanted:?}");
        let told = patience::eventually(&what, SOON, || {
            let told = entries(&self.log).into_iter().filter(has);
            Ok(told.skip(count - 1).last())
        });
        let all = || std::fs::read_to_string(&self.log).unwrap_or_default();
        let (entry, _) = told.unwrap_or_else(|error| panic!("{error:#}\n{}", all()));
        entry
    }
}

fn entries(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    // The last one may not be complete yet.
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines.collect()
}

/// A route as a peer is sent it.
fn route(kind: &str, peer: &str, prefix: &str) -> Value {
    json!({
        "bmp_msg_type": "route_monitor", "log_type": kind, "peer_ip": peer, "ip_prefix": prefix,
        "is_out": 1, "is_post": 1,
    })
}

fn peer_message(kind: &str, peer: &str) -> Value {
    json!({
        "bmp_msg_type": kind, "peer_ip": peer, "peer_asn": 64501, "peer_type": 0,
    })
}

#[track_caller]
fn await_station(lab: &Lab, is_connected: bool) -> Value {
    let what = format!("a station that is connected: {is_connected}");
    let found = patience::eventually(&what, SOON, || {
        let station = lab.status(1)?["bmp"][0].clone();
        let is_so = station["connected"] == is_connected && station["station"] == STATION;
        Ok(is_so.then_some(station))
    });
    found.unwrap().0
}

/// One node with a session for each family, and a Service with an address of each.
fn announcing() -> (Lab, ferrolb_tests::peer::bird::Bird) {
    let mut lab = Lab::new(1).unwrap();
    let mut neighbours = lab.neighbours(64501, 64500);
    let mut six = neighbours[0].clone();
    six.name = "six".to_owned();
    six.local = lab.segment.router.v6.into();
    six.remote = lab.segment.nodes[0].v6.into();
    neighbours.push(six);
    let router = lab.router(&neighbours).unwrap();
    let dual = "ipFamilyPolicy: RequireDualStack\n";
    let web = service("web", &(dual.to_owned() + &tcp(&[(80, 30080)])));
    for (name, text) in [
        ("nodes", nodes(1)),
        ("bgp", bgp("all", "")),
        ("pool", pool("pool", &[V4, V6])),
        ("four", peer("four", 64501, ROUTER, "")),
        ("six", peer("six", 64501, ROUTER_V6, "")),
        ("web", web),
    ] {
        lab.manifest(&format!("{name}.yaml"), &text).unwrap();
    }
    lab.start_controller().unwrap();
    lab.speaker_arguments
        .extend(["--bmp-station".to_owned(), STATION.to_owned()]);
    lab.start_speakers().unwrap();
    for session in ["n1", "six"] {
        router.await_established(session, SOON).unwrap();
    }
    (lab, router)
}

#[test]
fn a_collector_is_told_of_sessions_and_of_what_their_peers_are_sent() {
    let (mut lab, mut router) = announcing();
    // Nobody is there yet, which disturbs nothing and is tried again.
    let station = await_station(&lab, false);
    assert_eq!(station["lastError"], "connection refused");
    lab.await_next_hops(V4, &["192.168.1.11".to_owned()], SOON)
        .unwrap();

    let collector = Collector::start(&mut lab);
    let init = collector.await_told(1, &json!({"bmp_msg_type": "init"}));
    assert_eq!(init["bmp_init_info_sysname"], "n1");
    let description = init["bmp_init_info_sysdescr"].as_str().unwrap();
    assert!(description.starts_with("FerroLB "), "{description}");
    let up = collector.await_told(1, &peer_message("peer_up", ROUTER));
    assert_eq!(up["local_ip"], "192.168.1.11");
    assert_eq!(up["bgp_id"], ROUTER);
    assert_eq!(up["remote_port"], 179, "we have dialled");
    let up = collector.await_told(1, &peer_message("peer_up", ROUTER_V6));
    assert_eq!(up["local_ip"], "fd00:1::11");
    let four = collector.await_told(1, &route("update", ROUTER, V4));
    assert_eq!(four["bgp_nexthop"], "192.168.1.11");
    assert_eq!(four["as_path"], "64500");
    let six = collector.await_told(1, &route("update", ROUTER_V6, V6));
    assert_eq!(six["bgp_nexthop"], "fd00:1::11");
    await_station(&lab, true);
    let counted = json!({
        "bmp_msg_type": "stats", "peer_ip": ROUTER, "counter_type": 15, "counter_value": 1,
    });
    collector.await_told(1, &counted);

    lab.remove_manifest("web.yaml").unwrap();
    collector.await_told(1, &route("withdraw", ROUTER, V4));
    collector.await_told(1, &route("withdraw", ROUTER_V6, V6));

    router.terminate().unwrap();
    for peer in [ROUTER, ROUTER_V6] {
        let down = collector.await_told(1, &peer_message("peer_down", peer));
        assert_eq!(down["reason_type"], 3, "the router has said why: {down}");
    }
    let neighbours = lab.neighbours(64501, 64500);
    let _router = lab.router(&neighbours).unwrap();
    collector.await_told(2, &peer_message("peer_up", ROUTER));
    lab.remove_manifest("four.yaml").unwrap();
    let down = collector.await_told(2, &peer_message("peer_down", ROUTER));
    assert_eq!(down["reason_type"], 5, "{down}");

    let status = lab.speaker(1).unwrap().terminate(SOON).unwrap();
    assert!(status.success());
    let term = collector.await_told(1, &json!({"bmp_msg_type": "term"}));
    let reason = "Session administratively closed";
    assert_eq!(term["bmp_term_info_reason"], reason);
    let log = lab.speaker(1).unwrap().log();
    for line in [
        "bmp station not connected, trying again",
        "bmp station connected",
    ] {
        assert_eq!(log.matches(line).count(), 1, "{line}");
    }
}
