//! What the tests of this module have in common.

use std::net::Ipv4Addr;

use ferrolb_crds::model::{Port, Protocol};
use imbl::OrdSet;

use super::ruleset::{Host, Ruleset};
use super::{Desired, Frontend, Target};

pub(super) fn frontend(address: &str, protocol: Protocol, port: u16) -> Frontend {
    Frontend {
        address: address.parse().unwrap(),
        protocol,
        port: Port::new(port).unwrap(),
    }
}

pub(super) fn target(node_port: u16, ranges: &[&str]) -> Target {
    Target {
        node_port: Port::new(node_port).unwrap(),
        source_ranges: ranges.iter().map(|range| range.parse().unwrap()).collect(),
    }
}

/// On a host that has an address on eth0.
pub(super) fn ruleset(frontends: Vec<(Frontend, Target)>) -> Ruleset {
    let host = Host {
        numbered: ["lo".to_owned(), "eth0".to_owned()].into(),
        address: Some(Ipv4Addr::new(10, 0, 0, 11)),
    };
    on_host(frontends, &host)
}

pub(super) fn on_host(frontends: Vec<(Frontend, Target)>, host: &Host) -> Ruleset {
    let desired = Desired {
        addresses: OrdSet::new(),
        frontends: frontends.into_iter().collect(),
    };
    Ruleset::new(&desired, host)
}

/// What the golden text and the golden listing are of.
pub(super) fn golden() -> Ruleset {
    ruleset(vec![
        (
            frontend("192.0.2.10", Protocol::Tcp, 80),
            target(30080, &[]),
        ),
        (
            frontend("192.0.2.10", Protocol::Udp, 53),
            target(30053, &["10.0.0.0/8", "198.51.100.7/32"]),
        ),
        (
            frontend("192.0.2.11", Protocol::Sctp, 7),
            target(30007, &[]),
        ),
        (
            frontend("2001:db8:1::10", Protocol::Tcp, 80),
            target(30080, &["fd00::/8"]),
        ),
    ])
}
