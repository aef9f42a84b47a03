//! GoBGP as the router: it speaks and keeps what it hears to itself, the kernel gets nothing.
#![expect(clippy::disallowed_methods, reason = "configuration is a file")]

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
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
    pub fn is_established(&self, peer: IpAddr) -> bool {
        // The API's number of that state.
        self.json(&format!("neighbor {peer}"))["state"]["session_state"] == 6
    }

    /// Whether it has a route for a prefix from an address.
    pub fn has_route(&self, peer: IpAddr, prefix: &str) -> bool {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let routes = self.ask(&format!("neighbor {peer} adj-in -a {family}"));
        routes.is_ok_and(|routes| routes.contains(prefix))
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

/// The configuration of a router that takes both families from these neighbours; whether it only
/// waits for them to dial.
pub fn router(id: Ipv4Addr, neighbours: &[Neighbour], is_passive: bool) -> String {
    let asn = neighbours.first().map_or(64501, |one| one.local_asn);
    let mut text = format!("[global.config]\n  as = {asn}\n  router-id = \"{id}\"\n");
    for neighbour in neighbours {
        let Neighbour {
            local,
            remote,
            remote_asn,
            hold_time,
            ..
        } = neighbour;
        let keepalive = hold_time / 3;
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "[[neighbors]]\n  [neighbors.config]\n    neighbor-address = \"{remote}\"\n    \
             peer-as = {remote_asn}\n  [neighbors.transport.config]\n    \
             local-address = \"{local}\"\n    passive-mode = {is_passive}\n  \
             [neighbors.timers.config]\n    hold-time = {hold_time}\n    \
             keepalive-interval = {keepalive}\n    connect-retry = 5\n    \
             idle-hold-time-after-reset = 1\n"
        );
        for family in ["ipv4-unicast", "ipv6-unicast"] {
            let _ = write!(
                text,
                "  [[neighbors.afi-safis]]\n    [neighbors.afi-safis.config]\n      \
                 afi-safi-name = \"{family}\"\n"
            );
        }
    }
    text
}

const API: &str = "127.0.0.1:50051";
