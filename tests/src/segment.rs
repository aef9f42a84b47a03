//! The topology of most proofs: nodes on one segment, a router, a client behind it.
//!
//! ```text
//!  sw: br0 ── p-n1 … p-nN, p-r, p-l          nodes  n<i>  eth0  192.168.1.<10+i>  fd00:1::<10+i>
//!  n1 … nN   (nodes)                         router r     eth0  192.168.1.1       fd00:1::1
//!  r (router) ── c (client behind it)                     eth1  10.9.0.1          fd09::1
//!  l (client on the segment)                 c 10.9.0.2 fd09::2   l 192.168.1.200 fd00:1::200
//! ```

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};

use crate::netns::Namespace;

/// A namespace with one interface `eth0`.
#[derive(Debug)]
pub struct Host {
    /// Its name in the drawing.
    pub name: String,
    /// Where its programs run.
    pub namespace: Namespace,
    /// Hardware address of `eth0`.
    pub mac: String,
    /// IPv4 address of `eth0`.
    pub v4: Ipv4Addr,
    /// IPv6 address of `eth0`.
    pub v6: Ipv6Addr,
}

/// Nodes, switch, router and two clients.
#[derive(Debug)]
pub struct Segment {
    /// The nodes n1, n2, ….
    pub nodes: Vec<Host>,
    /// The router; `eth1` leads to the client.
    pub router: Host,
    /// The client behind the router.
    pub client: Host,
    /// The client on the segment.
    pub neighbour: Host,
    switch: Namespace,
    prefix: String,
}

impl Segment {
    /// Builds it; the prefix goes before every namespace's name.
    pub fn new(prefix: &str, nodes: u8) -> Result<Self> {
        let switch = Namespace::new(format!("{prefix}sw"))?;
        switch.ip("link add br0 type bridge")?;
        switch.ip("link set br0 up")?;
        let router = attach(&switch, prefix, "r", 1)?;
        let neighbour = attach(&switch, prefix, "l", 200)?;
        let nodes: Vec<Host> = (1..=nodes)
            .map(|index| attach(&switch, prefix, &format!("n{index}"), 10 + index))
            .collect::<Result<_>>()?;
        for host in nodes.iter().chain([&neighbour]) {
            host.default_route(router.v4, router.v6)?;
        }
        let client = attach_behind(&router, prefix)?;
        Ok(Self {
            nodes,
            router,
            client,
            neighbour,
            switch,
            prefix: prefix.to_owned(),
        })
    }

    /// One more host, which is the caller's: name, and last number of its addresses.
    pub fn attach(&self, name: &str, number: u8) -> Result<Host> {
        let host = attach(&self.switch, &self.prefix, name, number)?;
        host.default_route(self.router.v4, self.router.v6)?;
        Ok(host)
    }

    /// One more node, beside those that are there.
    pub fn add_node(&mut self) -> Result<&Host> {
        let number = u8::try_from(self.nodes.len() + 1).context("a node's number is an octet")?;
        let host = self.attach(&format!("n{number}"), 10 + number)?;
        self.nodes.push(host);
        self.nodes.last().context("just pushed")
    }

    /// Gives a node, numbered from 1, a second interface on the segment, `eth1`, without an address
    /// of its own; returns its hardware address.
    pub fn add_link(&self, number: usize) -> Result<String> {
        let Host {
            name, namespace, ..
        } = &self.nodes[number - 1];
        let (mac, there) = (
            format!("02:00:00:01:01:{:02x}", 10 + number),
            namespace.name(),
        );
        self.switch.ip(&format!(
            "link add q-{name} type veth peer name eth1 address {mac} netns {there}"
        ))?;
        self.switch
            .ip(&format!("link set q-{name} master br0 up"))?;
        // The kernel answers ARP on any interface for the addresses of all: caches would go on using this
        // one for the node's own traffic when it is gone.
        let settings = [
            "6/conf/eth1/accept_dad=0",
            "6/conf/eth1/accept_ra=0",
            "4/conf/eth1/arp_ignore=1",
        ];
        let settings = settings.map(|setting| format!("net/ipv{setting}"));
        namespace.sysctl(&settings.each_ref().map(String::as_str))?;
        namespace.ip("link set eth1 up")?;
        Ok(mac)
    }

    /// Undoes [`Self::add_link`].
    pub fn remove_link(&self, number: usize) -> Result<()> {
        let name = &self.nodes[number - 1].name;
        self.switch.ip(&format!("link del q-{name}")).map(drop)
    }

    /// Gives a node, numbered from 1, a link that leads nowhere, `eni1`, as container networks make
    /// them under names that nobody excludes; its far end is `s-n<number>` beside the switch, on no
    /// bridge, with an address from which to ask. Returns its hardware address.
    pub fn add_own_link(&self, number: usize) -> Result<String> {
        let Host {
            name, namespace, ..
        } = &self.nodes[number - 1];
        let (mac, there) = (
            format!("02:00:00:02:01:{:02x}", 10 + number),
            namespace.name(),
        );
        self.switch.ip(&format!(
            "link add s-{name} type veth peer name eni1 address {mac} netns {there}"
        ))?;
        self.switch.ip(&format!("link set s-{name} up"))?;
        let from = 200 + number;
        self.switch
            .ip(&format!("addr add 192.168.1.{from}/24 dev s-{name}"))?;
        namespace.ip("link set eni1 up")?;
        Ok(mac)
    }

    /// Undoes [`Self::add_own_link`].
    pub fn remove_own_link(&self, number: usize) -> Result<()> {
        let name = &self.nodes[number - 1].name;
        self.switch.ip(&format!("link del s-{name}")).map(drop)
    }

    /// What goes before every namespace's name.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Takes a host's carrier away; the others see nothing.
    pub fn cut(&self, host: &str) -> Result<()> {
        self.switch.ip(&format!("link set p-{host} down")).map(drop)
    }

    /// Undoes [`Self::cut`].
    pub fn mend(&self, host: &str) -> Result<()> {
        self.switch.ip(&format!("link set p-{host} up")).map(drop)
    }

    /// Loses every frame of a host although its carrier stays.
    pub fn silence(&self, host: &str) -> Result<()> {
        let words = format!("link set p-{host} nomaster");
        self.switch.ip(&words).map(drop)
    }

    /// Undoes [`Self::silence`].
    pub fn unsilence(&self, host: &str) -> Result<()> {
        let words = format!("link set p-{host} master br0");
        self.switch.ip(&words).map(drop)
    }

    /// Makes the bridge forward multicast only to ports that asked for it.
    pub fn snoop_multicast(&self) -> Result<()> {
        let words = "link set br0 type bridge mcast_snooping 1 mcast_querier 1";
        self.switch.ip(words).map(drop)
    }

    /// The namespace of the bridge, from where everything on the segment can be seen.
    pub fn switch(&self) -> &Namespace {
        &self.switch
    }

    /// Every namespace, for those who look around.
    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        let hosts = [&self.router, &self.client, &self.neighbour];
        let hosts = self.nodes.iter().chain(hosts);
        hosts
            .map(|host| &host.namespace)
            .chain(std::iter::once(&self.switch))
    }

    /// Leaves everything in place when dropped.
    pub fn keep(&mut self) {
        self.switch.keep();
        for host in [&mut self.router, &mut self.client, &mut self.neighbour] {
            host.namespace.keep();
        }
        for host in &mut self.nodes {
            host.namespace.keep();
        }
    }
}

impl Host {
    fn new(prefix: &str, name: &str, v4: Ipv4Addr, v6: Ipv6Addr) -> Result<Self> {
        let [.., net, host] = v4.octets();
        Ok(Self {
            name: name.to_owned(),
            namespace: Namespace::new(format!("{prefix}{name}"))?,
            mac: format!("02:00:00:00:{net:02x}:{host:02x}"),
            v4,
            v6,
        })
    }

    /// Addresses without duplicate detection, which would cost a second each.
    fn address(&self, interface: &str, v4: Ipv4Addr, v6: Ipv6Addr) -> Result<()> {
        let namespace = &self.namespace;
        let unwatched = format!("net/ipv6/conf/{interface}/accept_dad=0");
        let unadvised = format!("net/ipv6/conf/{interface}/accept_ra=0");
        namespace.sysctl(&[&unwatched, &unadvised])?;
        namespace.ip(&format!("link set {interface} up"))?;
        namespace.ip(&format!("addr add {v4}/24 dev {interface}"))?;
        namespace.ip(&format!("addr add {v6}/64 dev {interface} nodad"))?;
        Ok(())
    }

    fn default_route(&self, v4: Ipv4Addr, v6: Ipv6Addr) -> Result<()> {
        self.namespace.ip(&format!("route add default via {v4}"))?;
        self.namespace
            .ip(&format!("-6 route add default via {v6}"))?;
        Ok(())
    }
}

/// A host on the bridge. Its IPv6 address is written like its IPv4 one: .11 and ::11.
fn attach(switch: &Namespace, prefix: &str, name: &str, number: u8) -> Result<Host> {
    let v4 = Ipv4Addr::new(192, 168, 1, number);
    let v6 = format!("fd00:1::{number}").parse()?;
    let host = Host::new(prefix, name, v4, v6)?;
    let (mac, there) = (&host.mac, host.namespace.name());
    switch.ip(&format!(
        "link add p-{name} type veth peer name eth0 address {mac} netns {there}"
    ))?;
    switch.ip(&format!("link set p-{name} master br0 up"))?;
    host.address("eth0", v4, v6)?;
    Ok(host)
}

fn attach_behind(router: &Host, prefix: &str) -> Result<Host> {
    let (v4, v6) = (Ipv4Addr::new(10, 9, 0, 2), "fd09::2".parse()?);
    let client = Host::new(prefix, "c", v4, v6)?;
    let (mac, there) = (&client.mac, client.namespace.name());
    router.namespace.ip(&format!(
        "link add eth1 type veth peer name eth0 address {mac} netns {there}"
    ))?;
    let near = (Ipv4Addr::new(10, 9, 0, 1), "fd09::1".parse()?);
    router.address("eth1", near.0, near.1)?;
    client.address("eth0", v4, v6)?;
    client.default_route(near.0, near.1)?;
    // Policy 3 with fields 55 hashes addresses, protocol and ports. Policy 1 would trust the
    // sending socket's own hash, which over veth differs for two sockets of one flow.
    router.namespace.sysctl(&[
        "net/ipv4/ip_forward=1",
        "net/ipv6/conf/all/forwarding=1",
        "net/ipv4/fib_multipath_hash_policy=3",
        "net/ipv4/fib_multipath_hash_fields=55",
        "net/ipv6/fib_multipath_hash_policy=3",
        "net/ipv6/fib_multipath_hash_fields=55",
    ])?;
    Ok(client)
}
