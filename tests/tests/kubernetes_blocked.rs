//! Nodes of one segment between which ARP and everything else passes, but no heartbeat: who answers is
//! settled by what the API server shows of the others, and people are told.
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ferrolb_crds::api::Kind;
use ferrolb_tests::kubernetes::audit::Mark;
use ferrolb_tests::kubernetes::cluster::ProxyMode;
use ferrolb_tests::kubernetes::site::Site;
use ferrolb_tests::patience;
use ferrolb_tests::process::output;
use serde_json::json;

/// How many addresses there are.
const COUNT: usize = 4;

/// Longer than the 20 seconds after which a node that is never heard is down.
const TAKEOVER: Duration = Duration::from_secs(40);

/// A site where heartbeats between these nodes are lost from the first one on.
fn site(nodes: u8, blocked: &[(usize, usize)]) -> Site {
    let site = Site::start(nodes, ProxyMode::Nftables);
    let switch = site.cluster.lab.segment.switch();
    switch.run("nft add table bridge filter").unwrap();
    switch
        .run("nft add chain bridge filter forward { type filter hook forward priority 0 ; }")
        .unwrap();
    for (one, two) in blocked {
        for (from, to) in [(one, two), (two, one)] {
            let rule =
                format!("iifname p-n{from} oifname p-n{to} ip protocol udp udp dport 17946 drop");
            switch
                .run(&format!("nft add rule bridge filter forward {rule}"))
                .unwrap();
        }
    }
    let ranges = json!({"addresses": ["192.168.1.240-192.168.1.249"]});
    site.put(Kind::IpAddressPool, "pool", ranges);
    for n in 0..COUNT {
        site.service(&format!("web-{n}"), json!({}));
    }
    for n in 0..COUNT {
        site.address(&format!("web-{n}"));
    }
    // Only now does anybody announce anything, and send heartbeats.
    site.put(Kind::L2Advertisement, "all", json!({}));
    site
}

fn open(site: &Site) {
    let switch = site.cluster.lab.segment.switch();
    switch.run("nft delete table bridge filter").unwrap();
}

fn addresses(site: &Site) -> Vec<IpAddr> {
    let names = (0..COUNT).map(|n| format!("web-{n}"));
    names.map(|name| site.address(&name)).collect()
}

/// Who answers for each address: everybody.
fn answerers(site: &Site) -> BTreeMap<IpAddr, Vec<String>> {
    let addresses = addresses(site).into_iter();
    let answering = addresses.map(|address| {
        let places = site.answerers(address).into_iter();
        (address, places.map(|(node, _)| node).collect())
    });
    answering.collect()
}

fn are_served_once(site: &Site) -> bool {
    answerers(site).values().all(|nodes| nodes.len() == 1)
}

fn await_one_each(site: &Site, limit: Duration) -> Duration {
    let what = "one node to answer for each address";
    patience::until(what, limit, || are_served_once(site))
        .unwrap_or_else(|error| panic!("{error:#}: {:?}", answerers(site)))
}

/// Warnings about blocked heartbeats on a Node.
fn warnings(site: &Site, node: &str) -> Vec<String> {
    let fields = format!("involvedObject.kind%3DNode%2CinvolvedObject.name%3D{node}");
    let path = format!("/api/v1/namespaces/default/events?fieldSelector={fields}");
    let list = site.plane().get(&path).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    let blocked = items.filter(|event| event["reason"] == "HeartbeatBlocked");
    blocked
        .map(|event| {
            assert_eq!(event["type"], "Warning");
            event["message"].as_str().unwrap().to_owned()
        })
        .collect()
}

fn metric(site: &Site, number: usize, series: &str) -> Option<f64> {
    let mut command = site.cluster.node(number).namespace.command("curl");
    command.args(["-sS", "--max-time", "2", "--noproxy", "*"]);
    let page = output(command.arg("http://127.0.0.1:9120/metrics")).ok()?;
    let line = page.lines().find(|line| line.starts_with(series))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

/// The nodes that a node's status and metrics say are not heard; both take a moment to agree.
fn blocked(site: &Site, number: usize) -> Option<Vec<String>> {
    let status = site.cluster.lab.status(number).unwrap();
    let blocked = status["layer2"]["blocked"].as_array().cloned();
    let blocked = blocked.unwrap_or_default().into_iter();
    let nodes: Vec<String> = blocked
        .map(|blocked| {
            assert_eq!(blocked["interfaces"], json!(["eth0"]));
            blocked["node"].as_str().unwrap().to_owned()
        })
        .collect();
    let gauge = "ferrolb_layer2_heartbeat_blocked{interface=\"eth0\",node=";
    let is_counted = nodes.iter().all(|node| {
        let series = format!("{gauge}\"{node}\"}}");
        metric(site, number, &series) == Some(1.0)
    });
    let is_counted = is_counted && nodes.is_empty() == metric(site, number, gauge).is_none();
    is_counted.then_some(nodes)
}

fn await_blocked(site: &Site, number: usize, nodes: &[&str]) {
    let what = format!("n{number} to say that it does not hear {nodes:?}");
    let is_said = || blocked(site, number).is_some_and(|said| said == nodes);
    patience::until(&what, TAKEOVER, is_said).unwrap();
}

#[test]
fn i6_two_nodes_that_never_hear_each_other_share_the_addresses_by_the_api_servers_view() {
    let mut site = site(2, &[(1, 2)]);
    // Neither knows at first that the other lives.
    let settled = await_one_each(&site, TAKEOVER);
    eprintln!("one node for each address after {settled:?}");
    await_blocked(&site, 1, &["n2"]);
    await_blocked(&site, 2, &["n1"]);
    patience::throughout("one node to answer", Duration::from_secs(15), || {
        are_served_once(&site)
    })
    .unwrap();
    for (node, other) in [("n1", "n2"), ("n2", "n1")] {
        let told = warnings(&site, node);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].contains(&format!("\"{other}\" on eth0")),
            "{told:?}"
        );
    }

    // Who is killed is missed after a while.
    site.kill_speaker(1);
    let all_at_n2 = |site: &Site| answerers(site).values().all(|nodes| *nodes == ["n2"]);
    let taken = patience::until("n2 to answer for all", TAKEOVER, || all_at_n2(&site));
    eprintln!("taken over after {:?}", taken.unwrap());
    await_blocked(&site, 2, &[]);

    // Who comes back takes nothing from a node that it does not hear.
    site.start_speaker(1);
    patience::throughout("n2 to keep it all", Duration::from_secs(25), || {
        all_at_n2(&site)
    })
    .unwrap();
    await_blocked(&site, 1, &["n2"]);

    open(&site);
    await_blocked(&site, 1, &[]);
    await_blocked(&site, 2, &[]);
    assert!(all_at_n2(&site));
    // Once they hear each other nothing is written any more.
    patience::pause(Duration::from_secs(2)).unwrap();
    let mark = site.plane().audit().mark();
    patience::pause(Duration::from_secs(12)).unwrap();
    let writes = site.plane().audit().writes(mark).unwrap();
    let signs = writes
        .iter()
        .filter(|write| write.resource == "configurationstates");
    assert_eq!(signs.count(), 0, "{writes:?}");
}

#[test]
fn i6_who_hears_everybody_keeps_one_holder_among_those_who_do_not() {
    let site = site(3, &[(1, 2)]);
    await_one_each(&site, TAKEOVER);
    await_blocked(&site, 1, &["n2"]);
    await_blocked(&site, 2, &["n1"]);
    patience::throughout("one node to answer", Duration::from_secs(15), || {
        are_served_once(&site)
    })
    .unwrap();
    await_blocked(&site, 3, &[]);
    assert_eq!(warnings(&site, "n3"), Vec::<String>::new());
    // Whoever misses nobody writes nothing.
    let writes = site.plane().audit().writes(Mark::default()).unwrap();
    let of_n3 = writes.iter().filter(|write| write.name == "speaker-n3");
    assert!(of_n3.count() <= 4, "{writes:?}");
}
