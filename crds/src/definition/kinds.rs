//! Every kind, in the order in which they are printed.

use super::{Column, Definition, Version};
use crate::api::{
    self, BGP_SESSION, CONFIGURATION_STATE, Kind, SERVICE_BGP_STATUS, SERVICE_L2_STATUS, V1ALPHA1,
    V1BETA1, V1BETA2,
};

/// The definitions of all kinds: those of a configuration, those that report, our own.
pub fn all() -> Vec<Definition> {
    let configuration = Kind::ALL.into_iter().map(|kind| Definition {
        resource: kind.resource(),
        versions: versions(kind),
    });
    let reports = [
        Definition {
            resource: SERVICE_L2_STATUS,
            versions: vec![Version::of::<api::ServiceL2Status>(V1BETA1, L2_STATUS)],
        },
        Definition {
            resource: SERVICE_BGP_STATUS,
            versions: vec![Version::of::<api::ServiceBgpStatus>(V1BETA1, BGP_STATUS)],
        },
        Definition {
            resource: CONFIGURATION_STATE,
            versions: vec![Version::of::<api::ConfigurationState>(V1BETA1, STATE)],
        },
        Definition {
            resource: BGP_SESSION,
            versions: vec![Version::of::<api::BgpSession>(V1ALPHA1, SESSION)],
        },
    ];
    configuration.chain(reports).collect()
}

fn versions(kind: Kind) -> Vec<Version> {
    match kind {
        Kind::IpAddressPool => vec![Version::of::<api::IpAddressPool>(V1BETA1, POOL)],
        Kind::L2Advertisement => vec![Version::of::<api::L2Advertisement>(V1BETA1, L2)],
        Kind::BgpAdvertisement => vec![Version::of::<api::BgpAdvertisement>(V1BETA1, BGP)],
        Kind::BgpPeer => vec![
            Version::of::<api::BgpPeerV1Beta1>(V1BETA1, PEER)
                .deprecated("v1beta1 is deprecated, please use v1beta2"),
            Version::of::<api::BgpPeer>(V1BETA2, PEER),
        ],
        Kind::BfdProfile => vec![Version::of::<api::BfdProfile>(V1BETA1, BFD)],
        Kind::Community => vec![Version::of::<api::Community>(V1BETA1, &[])],
    }
}

const POOL: &[Column] = &[
    column("Auto Assign", "boolean", ".spec.autoAssign"),
    column("Avoid Buggy IPs", "boolean", ".spec.avoidBuggyIPs"),
    column("Addresses", "string", ".spec.addresses"),
];

const L2: &[Column] = &[
    column("IPAddressPools", "string", ".spec.ipAddressPools"),
    column(
        "IPAddressPool Selectors",
        "string",
        ".spec.ipAddressPoolSelectors",
    ),
    column("Interfaces", "string", ".spec.interfaces"),
    wide("Node Selectors", "string", ".spec.nodeSelectors"),
];

const BGP: &[Column] = &[
    column("IPAddressPools", "string", ".spec.ipAddressPools"),
    column(
        "IPAddressPool Selectors",
        "string",
        ".spec.ipAddressPoolSelectors",
    ),
    column("Peers", "string", ".spec.peers"),
    wide("Node Selectors", "string", ".spec.nodeSelectors"),
];

const PEER: &[Column] = &[
    column("Address", "string", ".spec.peerAddress"),
    column("ASN", "string", ".spec.peerASN"),
    column("BFD Profile", "string", ".spec.bfdProfile"),
    column("Multi Hops", "string", ".spec.ebgpMultiHop"),
];

const BFD: &[Column] = &[
    column("Passive Mode", "boolean", ".spec.passiveMode"),
    column("Transmit Interval", "integer", ".spec.transmitInterval"),
    column("Receive Interval", "integer", ".spec.receiveInterval"),
    column("Multiplier", "integer", ".spec.detectMultiplier"),
];

const L2_STATUS: &[Column] = &[
    column("Allocated Node", "string", ".status.node"),
    column("Service Name", "string", ".status.serviceName"),
    column("Service Namespace", "string", ".status.serviceNamespace"),
];

const BGP_STATUS: &[Column] = &[
    column("Node", "string", ".status.node"),
    column("Service Name", "string", ".status.serviceName"),
    column("Service Namespace", "string", ".status.serviceNamespace"),
];

const STATE: &[Column] = &[
    column("Result", "string", ".status.result"),
    column("ErrorSummary", "string", ".status.errorSummary"),
    column("Age", "date", ".metadata.creationTimestamp"),
];

const SESSION: &[Column] = &[
    column("Node", "string", ".status.node"),
    column("Peer", "string", ".status.peer"),
    column("State", "string", ".status.state"),
    column("Prefixes", "integer", ".status.prefixes"),
    column("Since", "date", ".status.since"),
];

const fn column(name: &'static str, type_: &'static str, path: &'static str) -> Column {
    Column {
        name,
        type_,
        path,
        priority: 0,
    }
}

const fn wide(name: &'static str, type_: &'static str, path: &'static str) -> Column {
    Column {
        priority: 10,
        ..column(name, type_, path)
    }
}
