//! UPDATEs that we send (RFC 4271 §4.3), each as full as a message may be.

use ferrolb_crds::model::Family;
use ipnet::IpNet;
use zettabgp::prelude::{
    BgpAddrV4, BgpAddrV6, BgpAttr, BgpAttrOrigin, BgpCommunity, BgpCommunityList,
    BgpLargeCommunity, BgpLargeCommunityList, BgpLocalpref, BgpNextHop, BgpOrigin,
    BgpSessionParams, BgpTransportMode, encode_bgpitems_to,
};

use super::super::message::{
    AS_TRANS, AfiSafi, AsPath, Attributes, LinkBandwidth, MessageType, NextHop,
};
use super::{HEADER, enclose};

/// An UPDATE with as many prefixes as fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The message.
    pub message: Vec<u8>,
    /// How many of the prefixes are in it.
    pub count: usize,
}

/// Announces the first prefixes, all of one family, as many as fit into a message of that size.
///
/// `None` when the attributes leave no room for a prefix, or there is none.
pub fn announce(
    family: Family,
    attributes: &Attributes,
    prefixes: impl IntoIterator<Item = IpNet>,
    limit: usize,
) -> Option<Packed> {
    match (attributes.next_hop, family) {
        (NextHop::V4(_), Family::V4) => announce_classic(attributes, prefixes, limit),
        (NextHop::V6 { .. }, Family::V4 | Family::V6) => {
            announce_multiprotocol(family, attributes, prefixes, limit)
        }
        (NextHop::V4(_), Family::V6) => None,
    }
}

/// Withdraws the first prefixes, as many as fit into a message of that size. `None` when there is
/// none.
///
/// IPv4 prefixes are withdrawn the way they were announced: by MP_UNREACH_NLRI if their next hop
/// was an IPv6 address (RFC 8950 §4).
pub fn withdraw(
    family: Family,
    is_multiprotocol: bool,
    prefixes: impl IntoIterator<Item = IpNet>,
    limit: usize,
) -> Option<Packed> {
    if is_multiprotocol {
        let mut value = afi_safi(family);
        let room = room_beside(&value, ATTRIBUTE_HEADER, limit)?;
        let (prefixes, count) = pack(prefixes, room)?;
        value.extend(prefixes);
        let mut attributes = Vec::new();
        put_attribute(&mut attributes, MP_UNREACH_NLRI, &value);
        let message = update_message(&[], &attributes, &[]);
        return Some(Packed { message, count });
    }
    let (prefixes, count) = pack(prefixes, room_beside(&[], 0, limit)?)?;
    let message = update_message(&prefixes, &[], &[]);
    Some(Packed { message, count })
}

/// The End-of-RIB marker of a family (RFC 4724 §2).
pub fn end_of_rib(family: Family) -> Vec<u8> {
    match family {
        Family::V4 => update_message(&[], &[], &[]),
        Family::V6 => {
            let mut attributes = Vec::new();
            put_attribute(&mut attributes, MP_UNREACH_NLRI, &afi_safi(family));
            update_message(&[], &attributes, &[])
        }
    }
}

fn announce_classic(
    attributes: &Attributes,
    prefixes: impl IntoIterator<Item = IpNet>,
    limit: usize,
) -> Option<Packed> {
    let block = common_attributes(attributes, limit)?;
    let room = room_beside(&block, 0, limit)?;
    let (prefixes, count) = pack(prefixes, room)?;
    let message = update_message(&[], &block, &prefixes);
    Some(Packed { message, count })
}

fn announce_multiprotocol(
    family: Family,
    attributes: &Attributes,
    prefixes: impl IntoIterator<Item = IpNet>,
    limit: usize,
) -> Option<Packed> {
    let common = common_attributes(attributes, limit)?;
    let mut reach = afi_safi(family);
    put_next_hop(&mut reach, attributes.next_hop);
    let room = room_beside(&common, ATTRIBUTE_HEADER, limit)?.checked_sub(reach.len())?;
    let (prefixes, count) = pack(prefixes, room)?;
    reach.extend(prefixes);
    // RFC 7606 §5.1: it shall be the first.
    let mut block = Vec::new();
    put_attribute(&mut block, MP_REACH_NLRI, &reach);
    block.extend(common);
    let message = update_message(&[], &block, &[]);
    Some(Packed { message, count })
}

/// All attributes but MP_REACH_NLRI, in the order of their type codes.
fn common_attributes(attributes: &Attributes, limit: usize) -> Option<Vec<u8>> {
    let standard = attributes.communities.len().checked_mul(4)?;
    let large = attributes.large_communities.len().checked_mul(12)?;
    if standard.checked_add(large)? > limit {
        return None;
    }
    let mut block = Vec::new();
    let origin = BgpOrigin::new(BgpAttrOrigin::Igp);
    put_attribute(&mut block, ORIGIN, &value(&origin, 1));
    let path = as_path(attributes.as_path, attributes.as_path_prepend);
    put_attribute(&mut block, AS_PATH, &path);
    if let NextHop::V4(address) = attributes.next_hop {
        let next_hop = BgpNextHop::new(address.into());
        put_attribute(&mut block, NEXT_HOP, &value(&next_hop, 4));
    }
    if let Some(metric) = attributes.med {
        put_attribute(&mut block, MULTI_EXIT_DISC, &metric.to_be_bytes());
    }
    if let Some(preference) = attributes.local_pref {
        let preference = BgpLocalpref::new(preference);
        put_attribute(&mut block, LOCAL_PREF, &value(&preference, 4));
    }
    if !attributes.communities.is_empty() {
        put_attribute(&mut block, COMMUNITIES, &communities(attributes, standard));
    }
    if let Some(link) = attributes.link_bandwidth {
        put_attribute(&mut block, EXTENDED_COMMUNITIES, &link_bandwidth(link));
    }
    if let Some(path) = as4_path(attributes.as_path, attributes.as_path_prepend) {
        put_attribute(&mut block, AS4_PATH, &path);
    }
    if !attributes.large_communities.is_empty() {
        let communities = large_communities(attributes, large);
        put_attribute(&mut block, LARGE_COMMUNITIES, &communities);
    }
    Some(block)
}

fn communities(attributes: &Attributes, size: usize) -> Vec<u8> {
    let mut list = BgpCommunityList::new();
    let all = &attributes.communities;
    list.value = all
        .iter()
        .map(|(h, l)| BgpCommunity::from(*h, *l))
        .collect();
    value(&list, size)
}

fn large_communities(attributes: &Attributes, size: usize) -> Vec<u8> {
    let mut list = BgpLargeCommunityList::new();
    let all = attributes.large_communities.iter();
    list.value = all
        .map(|(ga, ldp1, ldp2)| BgpLargeCommunity {
            ga: *ga,
            ldp1: *ldp1,
            ldp2: *ldp2,
        })
        .collect();
    value(&list, size)
}

/// Two-octet AS specific, not transitive (RFC 4360 §3.1, RFC 7153), Link Bandwidth; the AS, and a number
/// of single precision.
fn link_bandwidth(link: LinkBandwidth) -> Vec<u8> {
    let [high, low] = link.asn.to_be_bytes();
    let [a, b, c, d] = (link.bandwidth as f32).to_be_bytes();
    vec![0x40, 0x04, high, low, a, b, c, d]
}

/// RFC 4271 §4.3: one segment, AS_SEQUENCE, of one AS, perhaps several times. zettabgp would write
/// AS_SET.
fn as_path(path: AsPath, prepend: u8) -> Vec<u8> {
    match path {
        AsPath::Empty => Vec::new(),
        AsPath::FourOctet(asn) => sequence(&asn.to_be_bytes(), prepend),
        AsPath::TwoOctet(asn) => {
            let asn = u16::try_from(asn).unwrap_or(AS_TRANS);
            sequence(&asn.to_be_bytes(), prepend)
        }
    }
}

/// RFC 6793 §4.2.2: the truth beside AS_TRANS.
fn as4_path(path: AsPath, prepend: u8) -> Option<Vec<u8>> {
    match path {
        AsPath::TwoOctet(asn) if asn > u32::from(u16::MAX) => {
            Some(sequence(&asn.to_be_bytes(), prepend))
        }
        AsPath::Empty | AsPath::FourOctet(_) | AsPath::TwoOctet(_) => None,
    }
}

fn sequence(asn: &[u8], prepend: u8) -> Vec<u8> {
    let count = prepend.saturating_add(1);
    let mut segment = vec![AS_SEQUENCE, count];
    segment.extend(asn.repeat(count.into()));
    segment
}

fn afi_safi(family: Family) -> Vec<u8> {
    let AfiSafi { afi, safi } = AfiSafi::unicast(family);
    let [high, low] = afi.to_be_bytes();
    vec![high, low, safi]
}

/// Length and address or addresses of the next hop, then the reserved octet (RFC 4760 §3).
fn put_next_hop(reach: &mut Vec<u8>, next_hop: NextHop) {
    match next_hop {
        NextHop::V4(address) => {
            reach.push(4);
            reach.extend(address.octets());
        }
        NextHop::V6 {
            global,
            link_local: None,
        } => {
            reach.push(16);
            reach.extend(global.octets());
        }
        NextHop::V6 {
            global,
            link_local: Some(link_local),
        } => {
            reach.push(32);
            reach.extend(global.octets());
            reach.extend(link_local.octets());
        }
    }
    reach.push(0);
}

/// What is left in an UPDATE for prefixes: `None` when there is less than nothing.
fn room_beside(attributes: &[u8], more: usize, limit: usize) -> Option<usize> {
    limit
        .checked_sub(UPDATE_HEADER)?
        .checked_sub(attributes.len())?
        .checked_sub(more)
}

/// As many prefixes as fit, and how many that are; `None` when it is none.
fn pack(prefixes: impl IntoIterator<Item = IpNet>, room: usize) -> Option<(Vec<u8>, usize)> {
    let mut packed = Vec::new();
    let mut count: usize = 0;
    for prefix in prefixes {
        let nlri = nlri(prefix);
        if packed.len().saturating_add(nlri.len()) > room {
            break;
        }
        packed.extend(nlri);
        count = count.saturating_add(1);
    }
    (count > 0).then_some((packed, count))
}

fn nlri(prefix: IpNet) -> Vec<u8> {
    // One octet of length, 16 of address.
    let mut buffer = vec![0; 17];
    let size = match prefix.trunc() {
        IpNet::V4(net) => {
            let item = BgpAddrV4::new(net.addr(), net.prefix_len());
            encode_bgpitems_to(&[item], &mut buffer)
        }
        IpNet::V6(net) => {
            let item = BgpAddrV6::new(net.addr(), net.prefix_len());
            encode_bgpitems_to(&[item], &mut buffer)
        }
    };
    buffer.truncate(size.expect("a prefix fits into 17 octets"));
    buffer
}

/// The value of an attribute, of at most that size, without flags, type and length: those are our
/// own, because zettabgp's flags are wrong for LARGE_COMMUNITIES.
fn value(attribute: &impl BgpAttr, size: usize) -> Vec<u8> {
    let mut buffer = vec![0; size];
    let size = attribute
        .encode_to(&params(), &mut buffer)
        .expect("the size of every value is known");
    buffer.truncate(size);
    buffer
}

/// zettabgp wants parameters for everything; what we ask of it depends on the mode alone, which
/// has to be IPv4 also on an IPv6 connection.
fn params() -> BgpSessionParams {
    let unspecified = std::net::Ipv4Addr::UNSPECIFIED;
    BgpSessionParams::new(0, 0, BgpTransportMode::IPv4, unspecified, Vec::new())
}

fn put_attribute(block: &mut Vec<u8>, (flags, code): (u8, u8), value: &[u8]) {
    let length = u16::try_from(value.len()).expect("an attribute is shorter than a message");
    match u8::try_from(length) {
        Ok(short) => block.extend([flags, code, short]),
        Err(_) => {
            block.extend([flags | EXTENDED_LENGTH, code]);
            block.extend(length.to_be_bytes());
        }
    }
    block.extend(value);
}

fn update_message(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    put_sized(&mut body, withdrawn);
    put_sized(&mut body, attributes);
    body.extend(nlri);
    enclose(MessageType::Update, &body)
}

fn put_sized(body: &mut Vec<u8>, part: &[u8]) {
    let length = u16::try_from(part.len()).expect("a part is shorter than a message");
    body.extend(length.to_be_bytes());
    body.extend(part);
}

/// With the two length fields of an UPDATE.
const UPDATE_HEADER: usize = HEADER + 4;
/// Of an attribute with extended length.
const ATTRIBUTE_HEADER: usize = 4;
const AS_SEQUENCE: u8 = 2;

pub(super) const OPTIONAL: u8 = 0x80;
const TRANSITIVE: u8 = 0x40;
pub(super) const EXTENDED_LENGTH: u8 = 0x10;

// Flags and type code of each attribute we send.
const ORIGIN: (u8, u8) = (TRANSITIVE, 1);
const AS_PATH: (u8, u8) = (TRANSITIVE, 2);
const NEXT_HOP: (u8, u8) = (TRANSITIVE, 3);
const MULTI_EXIT_DISC: (u8, u8) = (OPTIONAL, 4);
const LOCAL_PREF: (u8, u8) = (TRANSITIVE, 5);
const COMMUNITIES: (u8, u8) = (OPTIONAL | TRANSITIVE, 8);
pub(super) const EXTENDED_COMMUNITIES: (u8, u8) = (OPTIONAL | TRANSITIVE, 16);
pub(super) const MP_REACH_NLRI: (u8, u8) = (OPTIONAL, 14);
pub(super) const MP_UNREACH_NLRI: (u8, u8) = (OPTIONAL, 15);
const AS4_PATH: (u8, u8) = (OPTIONAL | TRANSITIVE, 17);
const LARGE_COMMUNITIES: (u8, u8) = (OPTIONAL | TRANSITIVE, 32);
