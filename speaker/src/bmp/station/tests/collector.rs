//! A monitoring station that believes nothing that does not follow from what it was told before.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ferrolb_crds::model::Family;
use ipnet::IpNet;

use super::{INITIATION, MONITORING, PEER_DOWN, PEER_UP, STATISTICS};
use crate::bgp::tests::Update;

/// What it knows.
#[derive(Debug, Default)]
pub(super) struct Collector {
    is_initiated: bool,
    peers: BTreeMap<IpAddr, Peer>,
}

/// A session that is established.
#[derive(Debug, Default)]
pub(super) struct Peer {
    routes: BTreeMap<IpNet, Attributes>,
    /// Families whose first table is complete.
    pub(super) ended: BTreeSet<Family>,
}

type Attributes = BTreeMap<u8, (u8, Vec<u8>)>;

impl Collector {
    /// Takes one message, and says of what type it is.
    pub(super) fn take(&mut self, message: &[u8]) -> u8 {
        assert_eq!(message[0], 3);
        let length = u32::from_be_bytes(message[1..5].try_into().unwrap());
        assert_eq!(usize::try_from(length).unwrap(), message.len());
        let (kind, body) = (message[5], &message[6..]);
        assert_eq!(self.is_initiated, kind != INITIATION, "first, and once");
        if kind == INITIATION {
            self.is_initiated = true;
            return kind;
        }
        let (header, body) = body.split_at(42);
        let address = address(header);
        match kind {
            PEER_UP => {
                assert_eq!(&body[20..], [1, 2], "the OPENs");
                let former = self.peers.insert(address, Peer::default());
                assert!(former.is_none(), "up twice");
            }
            PEER_DOWN => drop(self.peers.remove(&address).expect("down without being up")),
            MONITORING => {
                assert_eq!(header[1] & 0x70, 0x50, "Adj-RIB-Out after policy");
                let peer = self.peers.get_mut(&address);
                peer.expect("a route of nobody").update(Update::read(body));
            }
            STATISTICS => {
                let peer = self.peers.get(&address).expect("counts of nobody");
                peer.compare(body);
            }
            other => panic!("message type {other}"),
        }
        kind
    }

    /// A session that it takes to be established.
    pub(super) fn peer(&self, address: IpAddr) -> &Peer {
        &self.peers[&address]
    }

    /// All of them.
    pub(super) fn peers(&self) -> impl Iterator<Item = (&IpAddr, &Peer)> {
        self.peers.iter()
    }
}

impl Peer {
    fn update(&mut self, update: Update) {
        if update.announced.is_empty() && update.withdrawn.is_empty() {
            let family = match update.attributes.is_empty() {
                true => Family::V4,
                false => Family::V6,
            };
            assert!(self.ended.insert(family), "End-of-RIB twice");
        }
        for prefix in update.withdrawn {
            self.routes.remove(&prefix).expect("withdrawn without need");
        }
        for prefix in update.announced {
            self.routes.insert(prefix, update.attributes.clone());
        }
    }

    /// Three counters: of all, of IPv4, of IPv6.
    fn compare(&self, body: &[u8]) {
        let gauge = |end: usize| u64::from_be_bytes(body[end - 8..end].try_into().unwrap());
        let is_v4 = |prefix: &&IpNet| Family::of(prefix.addr()) == Family::V4;
        let v4 = self.routes.keys().filter(is_v4).count() as u64;
        let all = self.routes.len() as u64;
        assert_eq!([gauge(16), gauge(31), gauge(46)], [all, v4, all - v4]);
    }

    pub(super) fn prefixes(&self) -> Vec<String> {
        self.routes.keys().map(ToString::to_string).collect()
    }

    pub(super) fn next_hop(&self, prefix: &str) -> Vec<u8> {
        let attributes = &self.routes[&prefix.parse().unwrap()];
        match attributes.get(&14) {
            Some((_, reach)) => reach[4..4 + usize::from(reach[3])].to_vec(),
            None => attributes[&3].1.clone(),
        }
    }

    /// MULTI_EXIT_DISC and next hop of each prefix.
    pub(super) fn routes(&self) -> BTreeMap<IpNet, (Option<u32>, Vec<u8>)> {
        let med = |attributes: &Attributes| {
            let (_, value) = attributes.get(&4)?;
            Some(u32::from_be_bytes(value.as_slice().try_into().unwrap()))
        };
        let routes = self.routes.iter();
        routes
            .map(|(prefix, attributes)| {
                let next_hop = self.next_hop(&prefix.to_string());
                (*prefix, (med(attributes), next_hop))
            })
            .collect()
    }
}

fn address(header: &[u8]) -> IpAddr {
    let octets: [u8; 16] = header[10..26].try_into().unwrap();
    match header[1] & 0x80 {
        0 => Ipv4Addr::from(<[u8; 4]>::try_from(&octets[12..]).unwrap()).into(),
        _ => Ipv6Addr::from(octets).into(),
    }
}
