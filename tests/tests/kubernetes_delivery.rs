//! A node whose kube-proxy has died hands its addresses to one that delivers what arrives there; where
//! none does, they stay where they are.
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::net::IpAddr;
use std::time::Duration;

use ferrolb_crds::api::Kind;
use ferrolb_tests::kubernetes::cluster::ProxyMode;
use ferrolb_tests::kubernetes::product;
use ferrolb_tests::kubernetes::site::{SOON, Site};
use ferrolb_tests::patience;
use ferrolb_tests::process::{Process, output};
use serde_json::json;

const CHECK: &str = "--delivery-check=http://127.0.0.1:10256/healthz";

fn number(node: &str) -> usize {
    node.trim_start_matches('n').parse().unwrap()
}

fn state(site: &Site, number: usize) -> String {
    let status = site.cluster.lab.status(number).unwrap();
    let state = status["delivery"]["state"].as_str();
    state.unwrap_or_default().to_owned()
}

fn await_state(site: &Site, number: usize, wanted: &str) {
    let what = format!("n{number} to be {wanted}");
    patience::until(&what, SOON, || state(site, number) == wanted).unwrap();
}

fn gauge(site: &Site, number: usize) -> Option<f64> {
    let mut command = site.cluster.node(number).namespace.command("curl");
    command.args(["-sS", "--max-time", "2", "--noproxy", "*"]);
    let page = output(command.arg("http://127.0.0.1:9120/metrics")).ok()?;
    let mut lines = page.lines();
    let line = lines.find(|line| line.starts_with("ferrolb_delivering"))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

/// Reasons of the events about a Node that this program tells.
fn told(site: &Site, node: &str) -> Vec<String> {
    let fields = format!("involvedObject.kind%3DNode%2CinvolvedObject.name%3D{node}");
    let path = format!("/api/v1/namespaces/default/events?fieldSelector={fields}");
    let list = site.plane().get(&path).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    let reasons = items.filter_map(|event| event["reason"].as_str());
    let ours = reasons.filter(|reason| reason.ends_with("Delivering"));
    ours.map(str::to_owned).collect()
}

/// Two nodes whose speakers ask their kube-proxy, and which announce at layer 2.
fn site() -> (Site, Vec<Process>) {
    let mut site = Site::start(2, ProxyMode::Nftables);
    let mut speakers = Vec::new();
    for number in 1..=2 {
        site.stop_speaker(number);
        speakers.push(product::speaker(&site.cluster, number, &[CHECK]).unwrap());
    }
    let ranges = json!({"addresses": ["192.168.1.240-192.168.1.249"]});
    site.put(Kind::IpAddressPool, "pool", ranges);
    site.put(Kind::L2Advertisement, "all", json!({}));
    for number in 1..=2 {
        await_state(&site, number, "delivering");
        assert_eq!(gauge(&site, number), Some(1.0));
    }
    (site, speakers)
}

#[test]
fn i6_who_does_not_deliver_hands_over_and_the_last_one_is_never_withdrawn() {
    let (mut site, _speakers) = site();
    site.service("web", json!({}));
    let address: IpAddr = site.address("web");
    let holder = site.the_one_holder(address);
    site.await_answer(site.neighbour(), address, |_| true);
    let other = if holder == "n1" { "n2" } else { "n1" };
    // Traffic goes on through the rules that a frozen kube-proxy has left: only the move can lose it.
    let every = Duration::from_millis(20);
    let probe = site
        .cluster
        .lab
        .probe("probe-http", address, 80, every)
        .unwrap();
    patience::pause(Duration::from_secs(1)).unwrap();

    let proxy = site.cluster.proxy(number(&holder)).unwrap();
    proxy.signal(libc::SIGSTOP);
    let is_moved = |site: &Site| site.holder(address).as_deref() == Some(other);
    let moved = patience::until("the address to move", SOON, || is_moved(&site));
    eprintln!("moved {:?} after kube-proxy froze", moved.unwrap());
    assert_eq!(site.the_one_holder(address), other);
    await_state(&site, number(&holder), "notDelivering");
    assert_eq!(gauge(&site, number(&holder)), Some(0.0));
    assert_eq!(told(&site, &holder), ["NotDelivering"]);
    assert_eq!(told(&site, other), Vec::<String>::new());
    patience::pause(Duration::from_secs(1)).unwrap();
    let record = probe.stop().unwrap();
    eprintln!(
        "longest outage {:?}, {} of {} lost",
        record.outage(),
        record.lost(),
        record.requests.len()
    );
    assert!(record.outage() < Duration::from_secs(1));

    // Nobody delivers: who holds it keeps it.
    let proxy = site.cluster.proxy(number(other)).unwrap();
    proxy.signal(libc::SIGSTOP);
    await_state(&site, number(other), "notDelivering");
    patience::throughout("the last one to answer", Duration::from_secs(5), || {
        site.the_one_holder(address) == other
    })
    .unwrap();
    site.await_answer(site.neighbour(), address, |_| true);

    // The first one recovers, and is now the only one that delivers.
    let proxy = site.cluster.proxy(number(&holder)).unwrap();
    proxy.signal(libc::SIGCONT);
    site.await_holder(address, &holder);
    let mut reasons = told(&site, &holder);
    reasons.sort();
    assert_eq!(reasons, ["Delivering", "NotDelivering"]);
    // When both do, nothing moves back.
    site.cluster
        .proxy(number(other))
        .unwrap()
        .signal(libc::SIGCONT);
    await_state(&site, number(other), "delivering");
    assert_eq!(site.the_one_holder(address), holder);
}

#[test]
fn bgp_withdraws_while_another_node_delivers_and_nothing_where_none_does() {
    let (mut site, _speakers) = site();
    site.start_router();
    let peer = json!({
        "myASN": 64500, "peerASN": 64501, "peerAddress": "192.168.1.1",
        "holdTime": "3s", "connectTime": "1s",
    });
    site.put(Kind::BgpPeer, "tor", peer);
    site.put(Kind::BgpAdvertisement, "all", json!({}));
    site.service("web", json!({}));
    let address: IpAddr = site.address("web");
    site.await_next_hops(address, &[1, 2]);
    let freeze = |site: &mut Site, number: usize, signal| {
        site.cluster.proxy(number).unwrap().signal(signal);
    };
    freeze(&mut site, 1, libc::SIGSTOP);
    site.await_next_hops(address, &[2]);
    // The last one is never withdrawn, and neither is the first one any more.
    freeze(&mut site, 2, libc::SIGSTOP);
    site.await_next_hops(address, &[1, 2]);
    freeze(&mut site, 1, libc::SIGCONT);
    site.await_next_hops(address, &[1]);
    freeze(&mut site, 2, libc::SIGCONT);
    site.await_next_hops(address, &[1, 2]);
}
