use rtnetlink::packet_core::DefaultNla;
use rtnetlink::packet_route::address::AddressHeader;
use rtnetlink::packet_route::link::{BridgePortState, LinkHeader, WirelessEvent};
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

fn up() -> Leg {
    Leg {
        has_carrier: true,
        ..Leg::default()
    }
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
    table
        .fit(&Exclusion::default())
        .into_values()
        .map(|link| link.name)
        .collect()
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
        path: BTreeMap::from([(LinkIndex(2), up())]),
    };
    assert_eq!(
        table.fit(&Exclusion::default()),
        BTreeMap::from([(LinkIndex(2), expected)])
    );
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
        let fit = table(&[message]).fit(&Exclusion::default());
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

fn port(index: u32, name: &str, master: u32, state: BridgePortState) -> LinkMessage {
    let mut message = link(index, name);
    let data = InfoPortData::BridgePort(vec![InfoBridgePort::State(state)]);
    message.attributes.extend([
        LinkAttribute::Controller(master),
        LinkAttribute::LinkInfo(vec![LinkInfo::PortData(data)]),
    ]);
    message
}

fn path(table: &Table, index: u32) -> BTreeMap<LinkIndex, Leg> {
    table.fit(&Exclusion::default())[&LinkIndex(index)]
        .path
        .clone()
}

/// What the numbers of an interface's path are.
fn passes(table: &Table, index: u32) -> Vec<u32> {
    path(table, index).keys().map(|link| link.0).collect()
}

#[test]
fn the_path_of_a_bridge_is_its_ports_and_follows_them() {
    let forwarding = || port(2, "p2", 9, BridgePortState::Forwarding);
    let mut table = table(&[link(9, "br0"), forwarding(), link(3, "p3")]);
    assert_eq!(passes(&table, 9), [2, 9]);
    assert_eq!(passes(&table, 3), [3]);
    let mut differs = |message: LinkMessage| {
        let before = path(&table, 9);
        let said = table.apply(&RouteNetlinkMessage::NewLink(message));
        let differs = path(&table, 9) != before;
        assert!(said || !differs);
        differs
    };
    assert!(!differs(forwarding()));
    assert!(
        differs(port(3, "p3", 9, BridgePortState::Listening)),
        "a port joins"
    );
    // What the bridge says is in its own family, and it is all that it says.
    let mut bridges = LinkMessage::default();
    bridges.header.index = 3;
    bridges.header.interface_family = AddressFamily::Bridge;
    let state = DefaultNla::new(IFLA_BRPORT_STATE, vec![BridgePortState::Forwarding.into()]);
    let info = LinkProtoInfoBridge::Other(state);
    bridges.attributes = vec![
        LinkAttribute::IfName("p3".to_owned()),
        LinkAttribute::ProtoInfoBridge(vec![info]),
    ];
    assert!(differs(bridges.clone()), "it begins to forward");
    assert!(!differs(bridges));
    let mut down = port(3, "p3", 9, BridgePortState::Forwarding);
    down.header.flags = LinkFlags::Up;
    assert!(differs(down), "it loses its carrier");
    assert!(differs(link(3, "p3")), "it leaves");
}

#[test]
fn carrier_that_was_gone_between_two_looks_makes_another_path() {
    let counted = |count| {
        let mut message = link(2, "eth0");
        message
            .attributes
            .push(LinkAttribute::CarrierChanges(count));
        message
    };
    let mut table = table(&[counted(3)]);
    let before = path(&table, 2);
    assert!(table.put_link(&counted(5)));
    assert_ne!(path(&table, 2), before);
}

#[test]
fn the_path_of_a_vlan_on_a_bond_follows_the_port_that_the_bond_uses() {
    let bond = |active: u32| {
        let mut message = link(9, "bond0");
        let data = InfoData::Bond(vec![InfoBond::ActivePort(active)]);
        let info = vec![LinkInfo::Kind(InfoKind::Bond), LinkInfo::Data(data)];
        message.attributes.push(LinkAttribute::LinkInfo(info));
        message
    };
    let enslaved = |index: u32| {
        let mut message = link(index, &format!("eth{index}"));
        message.attributes.push(LinkAttribute::Controller(9));
        message
    };
    let mut vlan = link(20, "vlan7");
    vlan.attributes.push(LinkAttribute::Link(9));
    let mut table = table(&[vlan, bond(2), enslaved(2), enslaved(3)]);
    assert_eq!(passes(&table, 20), [2, 3, 9, 20]);
    let is_active = |table: &Table, index| path(table, 20)[&LinkIndex(index)].is_active;
    assert!(is_active(&table, 2) && !is_active(&table, 3));
    assert!(table.put_link(&bond(3)));
    assert!(!is_active(&table, 2) && is_active(&table, 3));
}

#[test]
fn the_far_end_of_a_veth_and_what_is_made_on_itself_lead_nowhere() {
    let mut far = link(2, "eth0");
    far.attributes
        .extend([LinkAttribute::Link(3), LinkAttribute::LinkNetNsId(0)]);
    let pair = |index, peer| {
        let mut message = link(index, &format!("v{index}"));
        message.attributes.push(LinkAttribute::Link(peer));
        message
    };
    let table = table(&[far, link(3, "eth1"), pair(4, 5), pair(5, 4)]);
    assert_eq!(passes(&table, 2), [2]);
    assert_eq!(passes(&table, 4), [4, 5]);
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
        let links = self.watch.links(&Exclusion::default()).unwrap();
        links.into_values().map(|link| link.name).collect()
    }
}

#[test]
fn a_listing_goes_on_however_often_waiting_for_it_is_given_up() {
    let mut bench = bench();
    assert_eq!(bench.watch.links(&Exclusion::default()), None);
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
