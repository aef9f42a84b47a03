//! Bytes to messages and back (RFC 4271 §4), and the fence around `zettabgp`.
//!
//! This is the only file that names that crate. It is given nothing a peer sent except slices whose
//! length has been checked (a message type, a ROUTE-REFRESH body), and never an UPDATE: its UPDATE
//! decoder can loop for ever, its AS_PATH encoder writes AS_SET, and it splits nothing at 4096
//! octets. What it does for us is to encode the values of single attributes, and prefixes.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod open;
mod reader;
#[cfg(test)]
mod tests;
mod update;

use ferrolb_crds::model::Family;
use ipnet::IpNet;
use zettabgp::prelude::{
    BgpAddrV4, BgpAddrV6, BgpAttr, BgpAttrOrigin, BgpCommunity, BgpCommunityList,
    BgpLargeCommunity, BgpLargeCommunityList, BgpLocalpref, BgpMessage, BgpMessageType, BgpNextHop,
    BgpOrigin, BgpRouterefreshMessage, BgpSessionParams, BgpTransportMode, encode_bgpitems_to,
};

use self::reader::Reader;
use super::message::{
    AS_TRANS, AfiSafi, AsPath, Attributes, LinkBandwidth, Message, NextHop, Received,
};
use super::notification::{HeaderError, Malformed, Notification};

/// The longest message (RFC 4271 §4.1). RFC 8654's longer ones are not negotiated.
pub const MAX_MESSAGE: usize = 4096;

/// A message that has been cut out of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    kind: Kind,
    body: &'a [u8],
}

impl Frame<'_> {
    /// How many octets of the stream it takes.
    pub fn size(&self) -> usize {
        self.body.len().saturating_add(HEADER)
    }
}

/// Cuts the first message out of a stream; `None`: more octets are needed.
pub fn frame(stream: &[u8]) -> Result<Option<Frame<'_>>, HeaderError> {
    let mut reader = Reader::new(stream);
    let (Some(marker), Some(length), Some(kind)) = (reader.take(16), reader.u16(), reader.u8())
    else {
        return Ok(None);
    };
    // RFC 4271 §6.1, in its order. The body need not have arrived for any of this.
    if marker.iter().any(|octet| *octet != 0xff) {
        return Err(HeaderError::ConnectionNotSynchronized);
    }
    if !(HEADER..=MAX_MESSAGE).contains(&usize::from(length)) {
        return Err(HeaderError::BadMessageLength(length));
    }
    let kind = Kind::of(kind)?;
    if !kind.lengths().contains(&length) {
        return Err(HeaderError::BadMessageLength(length));
    }
    let body = reader.take(usize::from(length).saturating_sub(HEADER));
    Ok(body.map(|body| Frame { kind, body }))
}

/// Reads a message; of an UPDATE only whether it is well-formed.
pub fn decode(frame: Frame<'_>) -> Result<Received, Malformed> {
    Ok(match frame.kind {
        Kind::Open => Received::Open(open::decode(frame.body)?),
        Kind::Update => {
            update::check(frame.body)?;
            Received::Update
        }
        Kind::Notification => Received::Notification(decode_notification(frame.body)),
        Kind::Keepalive => Received::Keepalive,
        Kind::RouteRefresh => Received::RouteRefresh(decode_route_refresh(frame.body)),
    })
}

/// Writes a message.
pub fn encode(message: &Message) -> Vec<u8> {
    match message {
        Message::Open(open) => enclose(Kind::Open, &open::encode(open)),
        Message::Notification(notification) => {
            let mut body = vec![notification.code, notification.subcode];
            body.extend(&notification.data);
            body.truncate(MAX_MESSAGE.saturating_sub(HEADER));
            enclose(Kind::Notification, &body)
        }
        Message::Keepalive => enclose(Kind::Keepalive, &[]),
    }
}

/// An UPDATE with as many prefixes as fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The message.
    pub message: Vec<u8>,
    /// How many of the prefixes are in it.
    pub count: usize,
}

/// Announces the first prefixes, as many as fit, all of one family.
///
/// `None` when the attributes leave no room for a prefix, or there is none.
pub fn announce(
    family: Family,
    attributes: &Attributes,
    prefixes: impl IntoIterator<Item = IpNet>,
) -> Option<Packed> {
    match (attributes.next_hop, family) {
        (NextHop::V4(_), Family::V4) => announce_classic(attributes, prefixes),
        (NextHop::V6 { .. }, Family::V4 | Family::V6) => {
            announce_multiprotocol(family, attributes, prefixes)
        }
        (NextHop::V4(_), Family::V6) => None,
    }
}

/// Withdraws the first prefixes, as many as fit. `None` when there is none.
///
/// IPv4 prefixes are withdrawn the way they were announced: by MP_UNREACH_NLRI if their next hop
/// was an IPv6 address (RFC 8950 §4).
pub fn withdraw(
    family: Family,
    is_multiprotocol: bool,
    prefixes: impl IntoIterator<Item = IpNet>,
) -> Option<Packed> {
    if is_multiprotocol {
        let mut value = afi_safi(family);
        let room = room_beside(&value, ATTRIBUTE_HEADER)?;
        let (prefixes, count) = pack(prefixes, room)?;
        value.extend(prefixes);
        let mut attributes = Vec::new();
        put_attribute(&mut attributes, MP_UNREACH_NLRI, &value);
        let message = update_message(&[], &attributes, &[]);
        return Some(Packed { message, count });
    }
    let (prefixes, count) = pack(prefixes, room_beside(&[], 0)?)?;
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

/// Message types by RFC name; the numbers are zettabgp's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Open,
    Update,
    Notification,
    Keepalive,
    RouteRefresh,
}

impl Kind {
    fn of(code: u8) -> Result<Self, HeaderError> {
        match BgpMessageType::decode_from(code) {
            Ok(BgpMessageType::Open) => Ok(Self::Open),
            Ok(BgpMessageType::Update) => Ok(Self::Update),
            Ok(BgpMessageType::Notification) => Ok(Self::Notification),
            Ok(BgpMessageType::Keepalive) => Ok(Self::Keepalive),
            Ok(BgpMessageType::Routerefresh) => Ok(Self::RouteRefresh),
            Err(_) => Err(HeaderError::BadMessageType(code)),
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Open => BgpMessageType::Open,
            Self::Update => BgpMessageType::Update,
            Self::Notification => BgpMessageType::Notification,
            Self::Keepalive => BgpMessageType::Keepalive,
            Self::RouteRefresh => BgpMessageType::Routerefresh,
        }
        .encode()
    }

    /// RFC 4271 §6.1 and RFC 2918 §3: how long a message of this type may be.
    fn lengths(self) -> std::ops::RangeInclusive<u16> {
        match self {
            Self::Open => 29..=4096,
            Self::Update => 23..=4096,
            Self::Notification => 21..=4096,
            Self::Keepalive => 19..=19,
            Self::RouteRefresh => 23..=23,
        }
    }
}

fn decode_notification(body: &[u8]) -> Notification {
    let mut reader = Reader::new(body);
    // The frame has made sure of both.
    let code = reader.u8().unwrap_or(0);
    let subcode = reader.u8().unwrap_or(0);
    let data = reader.rest().to_vec();
    Notification {
        code,
        subcode,
        data,
    }
}

fn decode_route_refresh(body: &[u8]) -> Option<Family> {
    let mut request = BgpRouterefreshMessage::new();
    request.decode_from(&params(), body).ok()?;
    // RFC 7313: a subtype other than 0 marks the beginning or the end of a refresh of the peer's.
    let afi_safi = AfiSafi {
        afi: request.afi,
        safi: request.safi,
    };
    afi_safi.family().filter(|_| request.subtype == 0)
}

fn announce_classic(
    attributes: &Attributes,
    prefixes: impl IntoIterator<Item = IpNet>,
) -> Option<Packed> {
    let block = common_attributes(attributes)?;
    let room = room_beside(&block, 0)?;
    let (prefixes, count) = pack(prefixes, room)?;
    let message = update_message(&[], &block, &prefixes);
    Some(Packed { message, count })
}

fn announce_multiprotocol(
    family: Family,
    attributes: &Attributes,
    prefixes: impl IntoIterator<Item = IpNet>,
) -> Option<Packed> {
    let common = common_attributes(attributes)?;
    let mut reach = afi_safi(family);
    put_next_hop(&mut reach, attributes.next_hop);
    let room = room_beside(&common, ATTRIBUTE_HEADER)?.checked_sub(reach.len())?;
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
fn common_attributes(attributes: &Attributes) -> Option<Vec<u8>> {
    let standard = attributes.communities.len().checked_mul(4)?;
    let large = attributes.large_communities.len().checked_mul(12)?;
    if standard.checked_add(large)? > MAX_MESSAGE {
        return None;
    }
    let mut block = Vec::new();
    put_attribute(
        &mut block,
        ORIGIN,
        &value(&BgpOrigin::new(BgpAttrOrigin::Igp)),
    );
    let path = as_path(attributes.as_path, attributes.as_path_prepend);
    put_attribute(&mut block, AS_PATH, &path);
    if let NextHop::V4(address) = attributes.next_hop {
        put_attribute(
            &mut block,
            NEXT_HOP,
            &value(&BgpNextHop::new(address.into())),
        );
    }
    if let Some(metric) = attributes.med {
        put_attribute(&mut block, MULTI_EXIT_DISC, &metric.to_be_bytes());
    }
    if let Some(preference) = attributes.local_pref {
        put_attribute(
            &mut block,
            LOCAL_PREF,
            &value(&BgpLocalpref::new(preference)),
        );
    }
    if !attributes.communities.is_empty() {
        put_attribute(&mut block, COMMUNITIES, &communities(attributes));
    }
    if let Some(link) = attributes.link_bandwidth {
        put_attribute(&mut block, EXTENDED_COMMUNITIES, &link_bandwidth(link));
    }
    if let Some(path) = as4_path(attributes.as_path, attributes.as_path_prepend) {
        put_attribute(&mut block, AS4_PATH, &path);
    }
    if !attributes.large_communities.is_empty() {
        put_attribute(
            &mut block,
            LARGE_COMMUNITIES,
            &large_communities(attributes),
        );
    }
    Some(block)
}

fn communities(attributes: &Attributes) -> Vec<u8> {
    let mut list = BgpCommunityList::new();
    let all = &attributes.communities;
    list.value = all
        .iter()
        .map(|(h, l)| BgpCommunity::from(*h, *l))
        .collect();
    value(&list)
}

fn large_communities(attributes: &Attributes) -> Vec<u8> {
    let mut list = BgpLargeCommunityList::new();
    let all = attributes.large_communities.iter();
    list.value = all
        .map(|(ga, ldp1, ldp2)| BgpLargeCommunity {
            ga: *ga,
            ldp1: *ldp1,
            ldp2: *ldp2,
        })
        .collect();
    value(&list)
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
fn room_beside(attributes: &[u8], more: usize) -> Option<usize> {
    MAX_MESSAGE
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

/// The value of an attribute, without flags, type and length: those are our own, because
/// zettabgp's flags are wrong for LARGE_COMMUNITIES.
fn value(attribute: &impl BgpAttr) -> Vec<u8> {
    let mut buffer = vec![0; 2 * MAX_MESSAGE];
    let size = attribute
        .encode_to(&params(), &mut buffer)
        .expect("communities were counted, and every other value is a few octets");
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
    enclose(Kind::Update, &body)
}

fn put_sized(body: &mut Vec<u8>, part: &[u8]) {
    let length = u16::try_from(part.len()).expect("a part is shorter than a message");
    body.extend(length.to_be_bytes());
    body.extend(part);
}

fn enclose(kind: Kind, body: &[u8]) -> Vec<u8> {
    let length = body.len().saturating_add(HEADER);
    debug_assert!(length <= MAX_MESSAGE, "a message of {length} octets");
    let length = u16::try_from(length).expect("every body was cut to the message size");
    let mut message = vec![0xff; 16];
    message.extend(length.to_be_bytes());
    message.push(kind.code());
    message.extend(body);
    message
}

const HEADER: usize = 19;
/// With the two length fields of an UPDATE.
const UPDATE_HEADER: usize = HEADER + 4;
/// Of an attribute with extended length.
const ATTRIBUTE_HEADER: usize = 4;
const AS_SEQUENCE: u8 = 2;

const OPTIONAL: u8 = 0x80;
const TRANSITIVE: u8 = 0x40;
const EXTENDED_LENGTH: u8 = 0x10;

// Flags and type code of each attribute we send.
const ORIGIN: (u8, u8) = (TRANSITIVE, 1);
const AS_PATH: (u8, u8) = (TRANSITIVE, 2);
const NEXT_HOP: (u8, u8) = (TRANSITIVE, 3);
const MULTI_EXIT_DISC: (u8, u8) = (OPTIONAL, 4);
const LOCAL_PREF: (u8, u8) = (TRANSITIVE, 5);
const COMMUNITIES: (u8, u8) = (OPTIONAL | TRANSITIVE, 8);
const EXTENDED_COMMUNITIES: (u8, u8) = (OPTIONAL | TRANSITIVE, 16);
const MP_REACH_NLRI: (u8, u8) = (OPTIONAL, 14);
const MP_UNREACH_NLRI: (u8, u8) = (OPTIONAL, 15);
const AS4_PATH: (u8, u8) = (OPTIONAL | TRANSITIVE, 17);
const LARGE_COMMUNITIES: (u8, u8) = (OPTIONAL | TRANSITIVE, 32);
