//! What the tests of this module have in common: a peer's view of our UPDATEs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ferrolb_crds::model::{Asn, Family, HoldTime, PeerAsn, Port};
use ipnet::IpNet;

use super::connection::{Endpoint, Negotiated, Ports};
use super::{Settings, Transport};

/// An external session of AS 64601 with AS 64500.
pub(crate) fn settings() -> Settings {
    Settings {
        name: "router".to_owned(),
        neighbor: "10.0.0.1".parse().unwrap(),
        port: Port::BGP,
        source_address: None,
        local_asn: asn(64601),
        peer_asn: PeerAsn::Exact(asn(64500)),
        router_id: None,
        hold_time: HoldTime::DEFAULT,
        keepalive_time: None,
        connect_retry_time: None,
        families: BTreeSet::from(Family::ALL),
        multi_hop: false,
        transport: Transport::default(),
        graceful_restart: None,
        passive: false,
        node: "n1".to_owned(),
    }
}

pub(crate) fn endpoint() -> Endpoint {
    Endpoint {
        local: "10.0.0.11".parse().unwrap(),
        interface: vec![
            "10.0.0.11".parse().unwrap(),
            "fe80::11".parse().unwrap(),
            "fd00::11".parse().unwrap(),
        ],
        ports: Ports {
            local: 40_000,
            remote: 179,
        },
    }
}

/// What such a session agrees on with a router that knows little.
pub(crate) fn session() -> Negotiated {
    Negotiated {
        endpoint: endpoint(),
        peer_asn: asn(64500),
        peer_router_id: Ipv4Addr::new(10, 0, 0, 1),
        is_internal: false,
        hold_time: HoldTime::DEFAULT,
        keepalive_time: None,
        families: BTreeSet::from(Family::ALL),
        has_four_octet_asn: true,
        has_extended_next_hop: false,
        has_extended_message: false,
        has_route_refresh: true,
        has_enhanced_refresh: false,
        graceful_restart: None,
        has_long_lived: false,
    }
}

pub(crate) fn asn(number: u32) -> Asn {
    Asn::new(number).unwrap()
}

pub(crate) fn net(prefix: &str) -> IpNet {
    prefix.parse().unwrap()
}

/// Octets from hexadecimal digits; spaces are for the reader.
pub(crate) fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<char> = digits.chars().filter(|c| !c.is_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).unwrap())
        .collect()
}

/// A message of a type, with marker and length put before it.
pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 19).unwrap();
    let mut message = vec![0xff; 16];
    message.extend(length.to_be_bytes());
    message.push(kind);
    message.extend(body);
    message
}

/// An UPDATE as a strict peer reads it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Update {
    pub(crate) withdrawn: Vec<IpNet>,
    pub(crate) announced: Vec<IpNet>,
    /// Flags and value by type code, without the multiprotocol ones' prefixes.
    pub(crate) attributes: BTreeMap<u8, (u8, Vec<u8>)>,
}

impl Update {
    /// Panics on anything but one well-formed UPDATE of at most 4096 octets.
    pub(crate) fn read(message: &[u8]) -> Self {
        assert!(message.len() <= 4096, "{} octets", message.len());
        Self::read_extended(message)
    }

    /// The same of an UPDATE of any length (RFC 8654).
    pub(crate) fn read_extended(message: &[u8]) -> Self {
        assert_eq!(message[..16], [0xff; 16]);
        assert_eq!(usize::from(u16_at(message, 16)), message.len());
        assert_eq!(message[18], 2);
        let body = &message[19..];
        let (withdrawn, rest) = sized(body);
        let (attributes, nlri) = sized(rest);
        let mut update = Self {
            withdrawn: prefixes(Family::V4, withdrawn),
            announced: prefixes(Family::V4, nlri),
            attributes: BTreeMap::new(),
        };
        update.read_attributes(attributes);
        update
    }

    fn read_attributes(&mut self, mut block: &[u8]) {
        while !block.is_empty() {
            let (flags, code) = (block[0], block[1]);
            let (length, start) = match flags & 0x10 {
                0 => (usize::from(block[2]), 3),
                _ => (usize::from(u16_at(block, 2)), 4),
            };
            let value = &block[start..start + length];
            let own = match code {
                14 => {
                    let start = 5 + usize::from(value[3]);
                    assert_eq!(value[2], 1, "unicast");
                    self.announced = prefixes(family(value), &value[start..]);
                    &value[..start]
                }
                15 => {
                    assert_eq!(value[2], 1, "unicast");
                    self.withdrawn = prefixes(family(value), &value[3..]);
                    &value[..3]
                }
                _ => value,
            };
            let former = self.attributes.insert(code, (flags, own.to_vec()));
            assert_eq!(former, None, "attribute {code} twice");
            block = &block[start + length..];
        }
    }
}

fn family(value: &[u8]) -> Family {
    match u16_at(value, 0) {
        1 => Family::V4,
        2 => Family::V6,
        other => panic!("address family {other}"),
    }
}

fn u16_at(octets: &[u8], index: usize) -> u16 {
    u16::from_be_bytes([octets[index], octets[index + 1]])
}

fn sized(octets: &[u8]) -> (&[u8], &[u8]) {
    octets[2..].split_at(usize::from(u16_at(octets, 0)))
}

fn prefixes(family: Family, mut field: &[u8]) -> Vec<IpNet> {
    let mut prefixes = Vec::new();
    while let Some(bits) = field.first() {
        let size = usize::from(*bits).div_ceil(8);
        let mut address = [0; 16];
        address[..size].copy_from_slice(&field[1..=size]);
        let address: IpAddr = match family {
            Family::V4 => Ipv4Addr::from(<[u8; 4]>::try_from(&address[..4]).unwrap()).into(),
            Family::V6 => Ipv6Addr::from(address).into(),
        };
        prefixes.push(IpNet::new(address, *bits).unwrap());
        field = &field[1 + size..];
    }
    prefixes
}
