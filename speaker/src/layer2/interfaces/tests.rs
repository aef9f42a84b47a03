use rtnetlink::packet_route::address::AddressHeader;
use rtnetlink::packet_route::link::{LinkHeader, WirelessEvent};
use tokio::sync::{mpsc, oneshot};

use super::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn link(index: u32, name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header = LinkHeader::default();
    message.header.index = index;
    message.header.link_layer_type = LinkLayerType::Ether;
    message.header.flags = LinkFlags::Up | LinkFlags::LowerUp | LinkFlags::Broadcast;
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Address(MAC.to_vec()),
    ];
    message
}

fn address(index: u32, ip: &str, prefix: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header = AddressHeader::default();
    message.header.index = index;
    message.header.prefix_len = prefix;
    message.attributes = vec![AddressAttribute::Address(ip.parse().unwrap())];
    message
}

fn names(table: &Table) -> Vec<String> {
    table.fit().into_values().map(|link| link.name).collect()
}

fn table(links: &[LinkMessage]) -> Table {
    let mut table = Table::default();
    for link in links {
        table.put_link(link);
    }
    table
}

#[test]
fn an_ethernet_interface_is_fit_with_its_addresses() {
    let mut table = table(&[link(2, "eth0")]);
    assert!(table.put_address(&address(2, "10.0.0.1", 24)));
    assert!(table.put_address(&address(2, "fe80::1", 64)));
    let expected = Link {
        name: "eth0".to_owned(),
        mac: Mac(MAC),
        has_carrier: true,
        addresses: vec![
            "10.0.0.1/24".parse().unwrap(),
            "fe80::1/64".parse().unwrap(),
        ],
    };
    assert_eq!(table.fit(), BTreeMap::from([(LinkIndex(2), expected)]));
}

#[test]
fn names_of_container_networks_are_left_out() {
    let excluded = [
        "lo",
        "docker0",
        "cbr0",
        "dummy0",
        "virbr0",
        "lxcbr0",
        "veth12ab",
        "cali1",
        "tunl0",
        "flannel.1",
        "kube-ipvs0",
        "cni0",
        "nodelocaldns",
        "lxc_health",
    ];
    for name in excluded {
        assert_eq!(names(&table(&[link(2, name)])), [""; 0], "{name}");
    }
    for name in ["eth0", "enp3s0", "bond0", "br0", "long", "lo0", "vlan7"] {
        assert_eq!(names(&table(&[link(2, name)])), [name]);
    }
}

#[test]
fn loopbacks_tunnels_and_interfaces_without_arp_are_left_out() {
    for flag in [LinkFlags::Loopback, LinkFlags::Noarp] {
        let mut message = link(2, "x0");
        message.header.flags |= flag;
        assert_eq!(names(&table(&[message])), [""; 0]);
    }
    let mut tunnel = link(2, "x0");
    tunnel.header.link_layer_type = LinkLayerType::Tunnel;
    assert_eq!(names(&table(&[tunnel])), [""; 0]);
}

#[test]
fn the_master_counts_and_not_its_ports_but_for_a_vrf() {
    let mut port = link(2, "eth0");
    port.attributes.push(LinkAttribute::Controller(3));
    assert_eq!(names(&table(&[port.clone(), link(3, "br0")])), ["br0"]);
    let mut vrf = link(3, "red");
    let kind = vec![LinkInfo::Kind(InfoKind::Vrf)];
    vrf.attributes.push(LinkAttribute::LinkInfo(kind));
    assert_eq!(names(&table(&[port, vrf])), ["eth0"]);
}

#[test]
fn carrier_needs_both_the_administrator_and_the_cable() {
    for (flags, has_carrier) in [
        (LinkFlags::Up | LinkFlags::LowerUp, true),
        (LinkFlags::Up, false),
        (LinkFlags::LowerUp, false),
    ] {
        let mut message = link(2, "eth0");
        message.header.flags = flags;
        let fit = table(&[message]).fit();
        assert_eq!(fit[&LinkIndex(2)].has_carrier, has_carrier);
    }
}

#[test]
fn a_port_that_leaves_a_bridge_is_not_gone() {
    let mut table = table(&[link(2, "eth0")]);
    let mut deleted = link(2, "eth0");
    deleted.header.interface_family = AddressFamily::Bridge;
    assert!(!table.apply(&RouteNetlinkMessage::DelLink(deleted.clone())));
    assert!(!table.apply(&RouteNetlinkMessage::NewLink(deleted)));
    assert_eq!(names(&table), ["eth0"]);
    assert!(table.apply(&RouteNetlinkMessage::DelLink(link(2, "eth0"))));
    assert_eq!(names(&table), [""; 0]);
}

#[test]
fn only_what_differs_is_a_change() {
    let mut table = table(&[link(2, "eth0")]);
    assert!(!table.apply(&RouteNetlinkMessage::NewLink(link(2, "eth0"))));
    assert!(table.apply(&RouteNetlinkMessage::NewLink(link(2, "eth1"))));
    let net = || address(2, "10.0.0.1", 24);
    assert!(table.apply(&RouteNetlinkMessage::NewAddress(net())));
    assert!(!table.apply(&RouteNetlinkMessage::NewAddress(net())));
    assert!(table.apply(&RouteNetlinkMessage::DelAddress(net())));
    assert!(!table.apply(&RouteNetlinkMessage::DelAddress(net())));
}

#[test]
fn a_message_about_roaming_does_not_take_the_link_apart() {
    let mut table = table(&[link(2, "wlan0")]);
    let mut wireless = link(2, "wlan0");
    wireless.attributes = vec![
        LinkAttribute::IfName("wlan0".to_owned()),
        LinkAttribute::Wireless(WirelessEvent::Other(Vec::new())),
    ];
    assert!(!table.apply(&RouteNetlinkMessage::NewLink(wireless)));
    assert_eq!(names(&table), ["wlan0"]);
}

/// A watch whose messages and listings the test makes.
struct Bench {
    watch: Watch,
    messages: mpsc::UnboundedSender<NetlinkMessage<RouteNetlinkMessage>>,
    /// Listings begun and not yet waited for.
    listings: mpsc::UnboundedReceiver<oneshot::Sender<Result<Table, InterfacesError>>>,
    _runtime: tokio::runtime::Runtime,
}

fn bench() -> Bench {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.unwrap();
    let (messages, mut received) = mpsc::unbounded_channel();
    let received = futures_util::stream::poll_fn(move |cx| received.poll_recv(cx)).boxed();
    let (begin, listings) = mpsc::unbounded_channel();
    let lister = move || {
        let (done, listed) = oneshot::channel();
        begin.send(done).unwrap();
        async { listed.await.unwrap() }.boxed()
    };
    let connection = runtime.spawn(std::future::pending());
    Bench {
        watch: Watch::new(connection, received, Box::new(lister)),
        messages,
        listings,
        _runtime: runtime,
    }
}

impl Bench {
    fn say(&self, payload: NetlinkPayload<RouteNetlinkMessage>) {
        let message = NetlinkMessage::new(Default::default(), payload);
        self.messages.send(message).unwrap();
    }

    fn say_link(&self, index: u32, name: &str) {
        let message = RouteNetlinkMessage::NewLink(link(index, name));
        self.say(NetlinkPayload::InnerMessage(message));
    }

    /// Waits for a change and gives up at once, as a task does that has something else to do.
    fn has_changed(&mut self) -> bool {
        match self.watch.changed().now_or_never() {
            Some(outcome) => {
                outcome.unwrap();
                true
            }
            None => false,
        }
    }

    fn begun(&mut self) -> Option<oneshot::Sender<Result<Table, InterfacesError>>> {
        self.listings.try_recv().ok()
    }

    fn listed(&mut self, links: &[LinkMessage]) {
        assert!(!self.has_changed());
        let done = self.begun().unwrap();
        done.send(Ok(table(links))).unwrap();
        assert!(self.has_changed());
    }

    fn names(&self) -> Vec<String> {
        let links = self.watch.links().unwrap();
        links.into_values().map(|link| link.name).collect()
    }
}

#[test]
fn a_listing_goes_on_however_often_waiting_for_it_is_given_up() {
    let mut bench = bench();
    assert_eq!(bench.watch.links(), None);
    bench.listed(&[link(2, "eth0")]);
    assert_eq!(bench.names(), ["eth0"]);

    bench.say(NetlinkPayload::Overrun(Vec::new()));
    assert!(!bench.has_changed() && !bench.has_changed());
    let done = bench.begun().unwrap();
    assert!(bench.begun().is_none(), "only one is under way");
    assert_eq!(bench.names(), ["eth0"]);

    // Followed at once, and not undone by what was listed before it happened.
    bench.say_link(4, "eth2");
    assert!(bench.has_changed());
    assert_eq!(bench.names(), ["eth0", "eth2"]);
    done.send(Ok(table(&[link(2, "eth0"), link(3, "eth1")])))
        .unwrap();
    assert!(bench.has_changed());
    assert_eq!(bench.names(), ["eth0", "eth1", "eth2"]);
    assert!(!bench.has_changed() && bench.begun().is_none());
}

#[test]
fn what_is_lost_during_a_listing_is_listed_by_the_next() {
    let mut bench = bench();
    assert!(!bench.has_changed());
    let done = bench.begun().unwrap();
    bench.say(NetlinkPayload::Overrun(Vec::new()));
    assert!(!bench.has_changed() && bench.begun().is_none());
    done.send(Ok(Table::default())).unwrap();
    assert!(bench.has_changed());
    bench.listed(&[link(2, "eth0")]);
    assert_eq!(bench.names(), ["eth0"]);
}

#[test]
fn messages_of_a_storm_are_taken_out_and_not_all_kept() {
    let mut bench = bench();
    assert!(!bench.has_changed());
    let done = bench.begun().unwrap();
    for index in 0..10_000 {
        bench.say_link(index, "eth0");
    }
    assert!(!bench.has_changed());
    assert!(bench.watch.messages.next().now_or_never().is_none());
    let kept = bench.watch.listing.as_ref().unwrap().since.len();
    assert_eq!(kept, MAX_SINCE);
    done.send(Ok(Table::default())).unwrap();
    assert!(bench.has_changed());
    bench.listed(&[link(2, "eth0")]);
    assert_eq!(bench.names(), ["eth0"], "and so it is listed again");
}

#[test]
fn a_listing_that_fails_is_an_error_of_the_watch() {
    let mut bench = bench();
    assert!(!bench.has_changed());
    let done = bench.begun().unwrap();
    done.send(Err(InterfacesError::Slow)).unwrap();
    let outcome = bench.watch.changed().now_or_never().unwrap();
    assert!(matches!(outcome, Err(InterfacesError::Slow)));
}
