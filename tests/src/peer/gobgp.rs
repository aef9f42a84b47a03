//! GoBGP as the router: it speaks and keeps what it hears to itself, the kernel gets nothing.
#![expect(clippy::disallowed_methods, reason = "configuration is a file")]

use std::fmt::{Display, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Neighbour;
use crate::netns::Namespace;
use crate::patience;
use crate::process::{Process, output};

/// A running GoBGP.
#[derive(Debug)]
pub struct Gobgp {
    namespace: String,
    process: Process,
}

impl Gobgp {
    /// Starts it with a configuration and waits until it answers.
    pub fn start(namespace: &Namespace, dir: &Path, config: &str) -> Result<Self> {
        let path = dir.join("gobgp.toml");
        std::fs::write(&path, config).with_context(|| format!("writing {}", path.display()))?;
        let mut command = namespace.command("gobgpd");
        command.arg("-f").arg(&path);
        // The pprof of every instance would have the same port.
        command.args(["-l", "info", "-p", "--pprof-disable"]);
        command.args(["--api-hosts", API]);
        let process = Process::start("gobgpd", &mut command, dir)?;
        let gobgp = Self {
            namespace: namespace.name().to_owned(),
            process,
        };
        patience::until("GoBGP to answer", Duration::from_secs(10), || {
            gobgp.ask("global -j").is_ok()
        })
        .with_context(|| gobgp.process.log())?;
        Ok(gobgp)
    }

    /// One command of `gobgp`.
    pub fn ask(&self, words: &str) -> Result<String> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, "gobgp"]);
        output(command.args(words.split_whitespace()))
    }

    fn json(&self, words: &str) -> Value {
        let text = self.ask(&format!("{words} -j")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Whether the session with an address is Established.
    pub fn is_established(&self, peer: impl Display) -> bool {
        // The API's number of that state.
        self.json(&format!("neighbor {peer}"))["state"]["session_state"] == 6
    }

    /// Whether it has a route for a prefix from an address.
    pub fn has_route(&self, peer: impl Display, prefix: &str) -> bool {
        self.route(peer, prefix).is_some()
    }

    /// The route for a prefix from an address.
    pub fn route(&self, peer: impl Display, prefix: &str) -> Option<Route> {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let routes = self.json(&format!("neighbor {peer} adj-in -a {family}"));
        routes[prefix].as_array()?.first().map(route)
    }

    /// How many bytes of memory it has resident.
    pub fn resident(&self) -> Result<u64> {
        self.process.resident()
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// A route as it has it from a peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// NEXT_HOP.
    pub next_hop: String,
    /// AS_PATH.
    pub as_path: Vec<u64>,
    /// COMMUNITIES.
    pub communities: Vec<u64>,
    /// LARGE_COMMUNITY.
    pub large_communities: Vec<[u64; 3]>,
    /// Whether the peer is away, and may come back (RFC 4724 §4.2).
    pub is_stale: bool,
}

fn route(shown: &Value) -> Route {
    let mut route = Route {
        is_stale: shown["stale"] == true,
        ..Route::default()
    };
    let numbers = |list: &Value| -> Vec<u64> {
        let numbers = list.as_array().into_iter().flatten();
        numbers.filter_map(Value::as_u64).collect()
    };
    for attribute in shown["attrs"].as_array().into_iter().flatten() {
        match attribute["type"].as_u64() {
            Some(2) => route.as_path = numbers(&attribute["as_paths"][0]["asns"]),
            Some(3 | 14) => {
                let next_hop = attribute["nexthop"].as_str();
                route.next_hop = next_hop.unwrap_or_default().to_owned();
            }
            Some(8) => route.communities = numbers(&attribute["communities"]),
            Some(32) => {
                let list = attribute["value"].as_array().into_iter().flatten();
                let parts = ["ASN", "LocalData1", "LocalData2"];
                let large = |one: &Value| parts.map(|part| one[part].as_u64().unwrap_or_default());
                route.large_communities = list.map(large).collect();
            }
            _ => {}
        }
    }
    route
}

/// What a session is to have beyond the plain one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Whether it only waits for the peer to dial.
    pub is_passive: bool,
    /// Key of TCP MD5.
    pub password: Option<&'static str>,
    /// Whether only packets of neighbours on the link are taken (RFC 5082).
    pub has_ttl_security: bool,
    /// Whether the peer is behind another router.
    pub is_multihop: bool,
}

/// The configuration of a router that takes both families from these neighbours.
pub fn router(id: Ipv4Addr, neighbours: &[Neighbour], options: Options) -> String {
    let asn = neighbours.first().map_or(64501, |one| one.local_asn);
    let global = format!("[global.config]\n  as = {asn}\n  router-id = \"{id}\"\n");
    global + &sessions(neighbours, options)
}

/// The configuration of a router that takes both families from whoever is at the other end of a link.
pub fn unnumbered(id: Ipv4Addr, interface: &str, asn: u32, peer_asn: u32) -> String {
    format!(
        "[global.config]\n  as = {asn}\n  router-id = \"{id}\"\n[[neighbors]]\n  [neighbors.config]\n    \
         neighbor-interface = \"{interface}\"\n    peer-as = {peer_asn}\n  [neighbors.timers.config]\n    \
         connect-retry = 5\n    idle-hold-time-after-reset = 1\n{}",
        families()
    )
}

/// Further sessions of the same router.
pub fn sessions(neighbours: &[Neighbour], options: Options) -> String {
    let mut text = String::new();
    for neighbour in neighbours {
        let Neighbour {
            local,
            remote,
            remote_asn,
            hold_time,
            ..
        } = neighbour;
        let keepalive = hold_time / 3;
        let is_passive = options.is_passive;
        let password = options
            .password
            .map(|key| format!("    auth-password = \"{key}\"\n"));
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "[[neighbors]]\n  [neighbors.config]\n    neighbor-address = \"{remote}\"\n    \
             peer-as = {remote_asn}\n{}  [neighbors.transport.config]\n    \
             local-address = \"{local}\"\n    passive-mode = {is_passive}\n  \
             [neighbors.timers.config]\n    hold-time = {hold_time}\n    \
             keepalive-interval = {keepalive}\n    connect-retry = 5\n    \
             idle-hold-time-after-reset = 1\n  [neighbors.graceful-restart.config]\n    \
             enabled = true\n    restart-time = 120\n",
            password.unwrap_or_default()
        );
        if options.has_ttl_security {
            text.push_str(
                "  [neighbors.ttl-security.config]\n    enabled = true\n    ttl-min = 255\n",
            );
        }
        if options.is_multihop {
            text.push_str(
                "  [neighbors.ebgp-multihop.config]\n    enabled = true\n    multihop-ttl = 2\n",
            );
        }
        text.push_str(&families());
    }
    text
}

/// Both, of a session, and kept while the peer restarts.
fn families() -> String {
    let family = |name: &str| {
        format!(
            "  [[neighbors.afi-safis]]\n    [neighbors.afi-safis.config]\n      \
             afi-safi-name = \"{name}\"\n    \
             [neighbors.afi-safis.mp-graceful-restart.config]\n      enabled = true\n"
        )
    };
    ["ipv4-unicast", "ipv6-unicast"].map(family).concat()
}

const API: &str = "127.0.0.1:50051";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_read_from_what_gobgp_prints() {
        let text = r#"{"stale": true, "attrs": [{"type": 1, "value": 0},
            {"type": 2, "as_paths": [{"segment_type": 2, "num": 1, "asns": [4200000001]}]},
            {"type": 8, "communities": [4227858439]},
            {"type": 32, "value": [{"ASN": 64512, "LocalData1": 1, "LocalData2": 2}]},
            {"type": 14, "nexthop": "fd77::2", "value": [{"prefix": "198.51.100.0/32"}]}]}"#;
        let expected = Route {
            next_hop: "fd77::2".to_owned(),
            as_path: vec![4_200_000_001],
            communities: vec![(64512 << 16) + 7],
            large_communities: vec![[64512, 1, 2]],
            is_stale: true,
        };
        assert_eq!(route(&serde_json::from_str(text).unwrap()), expected);
    }
}
