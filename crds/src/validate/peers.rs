//! BGPPeer, in both versions, and BFDProfile.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::fault::Faults;
use super::path::Path;
use super::selectors;
use crate::api::{self, BgpPeerSpec, DynamicAsn, LabelSelector, LabelSelectorRequirement};
use crate::duration;
use crate::model::{
    Asn, BfdProfile, GracefulRestart, HoldTime, Neighbor, Peer, PeerAsn, Port, RouterId, Secret,
    SecretRef, Selector,
};

const SPEC: Path<'static> = Path::Root("spec");
const SECOND: i64 = 1_000_000_000;

/// The v1beta2 form of a v1beta1 peer. Timers that are not given stay not given: they are not 0.
pub(super) fn from_v1beta1(spec: api::BgpPeerSpecV1Beta1) -> BgpPeerSpec {
    BgpPeerSpec {
        my_asn: spec.my_asn,
        peer_asn: Some(spec.peer_asn),
        peer_address: Some(spec.peer_address),
        source_address: spec.source_address,
        peer_port: spec.peer_port,
        hold_time: spec.hold_time,
        keepalive_time: spec.keepalive_time,
        router_id: spec.router_id,
        node_selectors: spec
            .node_selectors
            .into_iter()
            .map(from_node_selector)
            .collect(),
        password: spec.password,
        bfd_profile: spec.bfd_profile,
        ebgp_multi_hop: spec.ebgp_multi_hop,
        ..BgpPeerSpec::default()
    }
}

fn from_node_selector(selector: api::NodeSelector) -> LabelSelector {
    let expressions = selector.match_expressions.into_iter();
    LabelSelector {
        match_labels: selector.match_labels,
        match_expressions: expressions
            .map(|expression| LabelSelectorRequirement {
                key: expression.key,
                operator: expression.operator,
                values: expression.values,
            })
            .collect(),
    }
}

/// What a peer names elsewhere.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Mentions {
    /// A BFD profile.
    pub(super) bfd_profile: Option<String>,
    /// A Secret of the configuration's namespace.
    pub(super) password_secret: Option<SecretRef>,
    /// Nodes; `None`: that cannot be understood.
    pub(super) nodes: Option<Vec<Selector>>,
}

/// Reads what a peer names elsewhere, and the peer; `None` when it does not say who the peer is.
pub(super) fn read(
    name: &str,
    namespace: &str,
    spec: &BgpPeerSpec,
    faults: &mut Faults,
) -> (Mentions, Option<Peer>) {
    let (password, password_secret) = read_password(namespace, spec, faults);
    let before = faults.0.len();
    let nodes = read_nodes(spec, faults);
    let mentions = Mentions {
        bfd_profile: given(spec.bfd_profile.as_ref()).map(str::to_owned),
        password_secret,
        nodes: (faults.0.len() == before).then_some(nodes),
    };
    let peer = read_rest(name, spec, password, &mentions, faults);
    (mentions, peer)
}

fn read_rest(
    name: &str,
    spec: &BgpPeerSpec,
    password: Option<Secret>,
    mentions: &Mentions,
    faults: &mut Faults,
) -> Option<Peer> {
    let asns = read_asns(spec, faults);
    let neighbor = read_neighbor(spec, faults);
    let timers = read_timers(spec, faults);
    let source_address = read_source(spec, faults);
    let router_id = read_router_id(spec, faults);
    let connect_time = read_connect_time(spec, faults);
    let vrf = read_plain("vrf", spec.vrf.as_ref(), faults);
    let (my_asn, peer_asn) = asns?;
    Some(Peer {
        name: name.to_owned(),
        my_asn,
        local_asn: spec.local_asn.and_then(Asn::new),
        peer_asn,
        neighbor: neighbor?,
        port: spec.peer_port.and_then(Port::new).unwrap_or(Port::BGP),
        source_address,
        hold_time: timers.hold,
        keepalive_time: timers.keepalive,
        connect_time,
        router_id,
        nodes: mentions.nodes.clone().unwrap_or_default(),
        password,
        password_secret: mentions.password_secret.clone(),
        bfd_profile: mentions.bfd_profile.clone(),
        graceful_restart: (spec.enable_graceful_restart == Some(true))
            .then(GracefulRestart::default),
        passive: false,
        ebgp_multi_hop: spec.ebgp_multi_hop.unwrap_or(false),
        vrf,
        dual_stack: spec.dual_stack_address_family.unwrap_or(false),
    })
}

fn read_asns(spec: &BgpPeerSpec, faults: &mut Faults) -> Option<(Asn, PeerAsn)> {
    let my_asn = Asn::new(spec.my_asn);
    if my_asn.is_none() {
        faults.add(
            SPEC.field("myASN"),
            "missing local ASN: set it to the speakers' autonomous system",
        );
    }
    let exact = spec.peer_asn.and_then(Asn::new);
    let peer_asn = match (exact, spec.dynamic_asn) {
        (None, None) => {
            faults.add(
                SPEC.field("peerASN"),
                "missing peer ASN and dynamicASN: set one of them",
            );
            None
        }
        (Some(_), Some(_)) => {
            faults.add(
                SPEC.field("dynamicASN"),
                "both peer ASN and dynamicASN specified: remove one of them",
            );
            None
        }
        (Some(asn), None) => Some(PeerAsn::Exact(asn)),
        (None, Some(DynamicAsn::Internal)) => Some(PeerAsn::Internal),
        (None, Some(DynamicAsn::External)) => Some(PeerAsn::External),
    };
    if exact.is_some() && exact == my_asn && spec.ebgp_multi_hop == Some(true) {
        let message =
            "invalid ebgp-multihop parameter set for an ibgp peer: remove it, or correct an ASN";
        faults.add(SPEC.field("ebgpMultiHop"), message);
    }
    my_asn.zip(peer_asn)
}

fn read_neighbor(spec: &BgpPeerSpec, faults: &mut Faults) -> Option<Neighbor> {
    let path = SPEC.field("peerAddress");
    match (
        given(spec.peer_address.as_ref()),
        given(spec.interface.as_ref()),
    ) {
        (None, None) => {
            faults.add(
                path,
                "peer has no Address or Interface specified: set one of peerAddress and interface",
            );
            None
        }
        (address, Some(_)) => {
            if address.is_some() {
                let message = "peer has both Address and Interface specified: remove one of them";
                faults.add(SPEC.field("interface"), message);
            }
            read_plain("interface", spec.interface.as_ref(), faults).map(Neighbor::Interface)
        }
        (Some(address), None) => match read_address(address) {
            Some(address) => Some(Neighbor::Address(address)),
            None => {
                faults.add(
                    path,
                    format!("invalid BGPPeer address {address:?}: write an IP address"),
                );
                None
            }
        },
    }
}

fn read_source(spec: &BgpPeerSpec, faults: &mut Faults) -> Option<IpAddr> {
    let text = given(spec.source_address.as_ref())?;
    let address = read_address(text);
    if address.is_none() {
        let message = format!("invalid source IP {text:?}: write an IP address");
        faults.add(SPEC.field("sourceAddress"), message);
    }
    address
}

/// RFC 6286: a BGP Identifier is four octets, not all of them 0.
fn read_router_id(spec: &BgpPeerSpec, faults: &mut Faults) -> Option<RouterId> {
    let text = given(spec.router_id.as_ref())?;
    match read_address(text) {
        Some(IpAddr::V4(id)) if id != Ipv4Addr::UNSPECIFIED => Some(RouterId(id)),
        Some(_) | None => {
            let message =
                format!("invalid router ID {text:?}: write an IPv4 address other than 0.0.0.0");
            faults.add(SPEC.field("routerID"), message);
            None
        }
    }
}

fn read_nodes(spec: &BgpPeerSpec, faults: &mut Faults) -> Vec<Selector> {
    let path = SPEC.field("nodeSelectors");
    selectors::read_list("nodeSelectors", &path, &spec.node_selectors, faults)
}

#[derive(Debug, Default)]
struct Timers {
    hold: Option<HoldTime>,
    keepalive: Option<Duration>,
}

fn read_timers(spec: &BgpPeerSpec, faults: &mut Faults) -> Timers {
    let before = faults.0.len();
    let hold = read_duration("holdTime", spec.hold_time.as_ref(), faults);
    let keepalive = read_duration("keepaliveTime", spec.keepalive_time.as_ref(), faults);
    // One that cannot be read must not be taken for one that is not given.
    if faults.0.len() > before {
        return Timers::default();
    }
    let Some(proposed) = hold.or_else(|| keepalive.map(|time| time.saturating_mul(3))) else {
        return Timers::default();
    };
    let at = if hold.is_some() {
        "holdTime"
    } else {
        "keepaliveTime"
    };
    if let Some(keepalive) = keepalive.filter(|keepalive| *keepalive > proposed) {
        let message = format!(
            "invalid keepaliveTime {}, must be lower than holdTime {}",
            seconds(keepalive),
            seconds(proposed)
        );
        faults.add(SPEC.field("keepaliveTime"), message);
    }
    // The wire has whole seconds: a fraction is dropped first.
    let hold = u16::try_from(proposed / SECOND)
        .ok()
        .and_then(HoldTime::new);
    if hold.is_none() {
        let message = format!(
            "invalid hold time {}: must be 0 or >=3s and at most 65535s",
            seconds(proposed)
        );
        faults.add(SPEC.field(at), message);
    }
    let running = hold.is_some_and(|hold| hold.seconds() != 0);
    let keepalive = keepalive
        .filter(|_| running)
        .and_then(|time| u64::try_from(time).ok());
    Timers {
        hold,
        keepalive: keepalive.map(Duration::from_nanos),
    }
}

fn read_connect_time(spec: &BgpPeerSpec, faults: &mut Faults) -> Option<Duration> {
    let time = read_duration("connectTime", spec.connect_time.as_ref(), faults)?;
    let whole = time % SECOND == 0;
    if !whole || !(1..=65_535).contains(&(time / SECOND)) {
        let message = format!(
            "invalid connect time {}: must be whole seconds, from 1s to 65535s",
            seconds(time)
        );
        faults.add(SPEC.field("connectTime"), message);
        return None;
    }
    u64::try_from(time / SECOND).ok().map(Duration::from_secs)
}

/// Nanoseconds, never negative.
fn read_duration(field: &str, text: Option<&String>, faults: &mut Faults) -> Option<i64> {
    let text = text?;
    let parsed = duration::parse(text);
    let message = match parsed {
        Some(nanoseconds) if nanoseconds >= 0 => return parsed,
        Some(_) => format!("invalid duration {text:?}: must not be negative"),
        None => format!("invalid duration {text:?}: write one such as 90s or 1m30s"),
    };
    faults.add(SPEC.field(field), message);
    None
}

fn read_password(
    namespace: &str,
    spec: &BgpPeerSpec,
    faults: &mut Faults,
) -> (Option<Secret>, Option<SecretRef>) {
    let path = SPEC.field("passwordSecret");
    let password = spec.password.as_ref().map(|password| &password.0);
    let password = read_plain("password", password, faults).map(Secret::new);
    let reference = spec.password_secret.as_ref().and_then(|secret| {
        let name = given(secret.name.as_ref())?;
        let theirs = given(secret.namespace.as_ref()).unwrap_or(namespace);
        Some(SecretRef {
            namespace: theirs.to_owned(),
            name: name.to_owned(),
        })
    });
    if password.is_some() && reference.is_some() {
        faults.add(
            path,
            "can not have both password and secret ref set: remove one of them",
        );
    }
    let is_ours = |reference: &SecretRef| reference.namespace == namespace;
    if let Some(reference) = reference.as_ref().filter(|reference| !is_ours(reference)) {
        let message = format!(
            "secret {:?} is in namespace {:?}, but must be in {namespace}: move it there",
            reference.name, reference.namespace
        );
        faults.add(path.field("namespace"), message);
    }
    (password, reference.filter(is_ours))
}

/// Text that ends up in one line of something; never quoted, because it may be a password.
fn read_plain(field: &str, text: Option<&String>, faults: &mut Faults) -> Option<String> {
    let text = given(text)?;
    if is_plain(text) {
        return Some(text.to_owned());
    }
    faults.add(
        SPEC.field(field),
        "contains invalid characters: remove line breaks",
    );
    None
}

/// Whether the text fits in one line.
pub(super) fn is_plain(text: &str) -> bool {
    !text.contains(['\n', '\r', '\0'])
}

/// What stands in a field; the empty string stands for nothing.
fn given(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

fn read_address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>()
        .ok()
        .map(|address| address.to_canonical())
}

fn seconds(nanoseconds: i64) -> String {
    format!("{:?}", Duration::from_nanos(nanoseconds.unsigned_abs()))
}

/// Reads a BFD profile; the schema has every rule.
pub(super) fn read_bfd_profile(name: &str, spec: &api::BfdProfileSpec) -> BfdProfile {
    let interval =
        |milliseconds: Option<u32>| milliseconds.map(|ms| Duration::from_millis(u64::from(ms)));
    let octet = |number: Option<u32>| number.and_then(|number| u8::try_from(number).ok());
    BfdProfile {
        name: name.to_owned(),
        receive_interval: interval(spec.receive_interval),
        transmit_interval: interval(spec.transmit_interval),
        detect_multiplier: octet(spec.detect_multiplier),
        echo_interval: interval(spec.echo_interval),
        echo_mode: spec.echo_mode.unwrap_or(false),
        passive_mode: spec.passive_mode.unwrap_or(false),
        minimum_ttl: octet(spec.minimum_ttl),
    }
}
