//! ExaBGP as the router: it writes down what it hears, word for word, and keeps no routes.
#![expect(
    clippy::disallowed_methods,
    reason = "configuration, commands and records are files"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Neighbour;
use crate::netns::Namespace;
use crate::patience;
use crate::process::Process;

/// A running ExaBGP.
#[derive(Debug)]
pub struct Exabgp {
    commands: PathBuf,
    record: PathBuf,
    process: Process,
}

/// What it knows of one session, from its beginning on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Heard {
    /// Whether it is Established.
    pub is_up: bool,
    /// The peer's OPEN.
    pub open: Value,
    /// What was announced and not withdrawn, with next hops and attributes.
    pub routes: BTreeMap<String, Route>,
    /// How often a route was announced.
    pub announcements: usize,
}

/// One route.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Route {
    /// NEXT_HOP.
    pub next_hop: String,
    /// The others, by ExaBGP's names.
    pub attributes: Value,
}

impl Exabgp {
    /// Starts it with a configuration and waits until it runs.
    pub fn start(namespace: &Namespace, dir: &Path, config: &str) -> Result<Self> {
        let at = |name: &str| dir.join(format!("exabgp.{name}"));
        let (commands, record, path, helper) =
            (at("commands"), at("record"), at("conf"), at("helper"));
        for file in [&commands, &record] {
            fs::write(file, "")?;
        }
        // Takes what it says and says what it is told. Its output has to stay open, or it counts as dead.
        let script = format!(
            "#!/bin/sh\ntail -n +1 -f -s 0.1 --pid=$$ {} &\nexec 3>&1 cat >>{}\n",
            commands.display(),
            record.display()
        );
        fs::write(&helper, script)?;
        fs::set_permissions(&helper, Permissions::from_mode(0o755))?;
        let process = format!(
            "process helper {{\n  run {};\n  encoder json;\n}}\n",
            helper.display()
        );
        fs::write(&path, process + config)?;
        let mut command = namespace.command("exabgp");
        command.arg(&path);
        for (name, value) in [
            ("daemon.user", "root"),
            ("daemon.drop", "false"),
            ("api.cli", "false"),
            ("api.ack", "false"),
        ] {
            command.env(format!("exabgp.{name}"), value);
        }
        let mut process = Process::start("exabgp", &mut command, dir)?;
        process.await_line("loaded new configuration", Duration::from_secs(10))?;
        Ok(Self {
            commands,
            record,
            process,
        })
    }

    /// Gives it a command of its API.
    pub fn say(&self, words: &str) -> Result<()> {
        let file = File::options().append(true).open(&self.commands);
        let mut file = file.context("opening the commands of ExaBGP")?;
        Ok(writeln!(file, "{words}")?)
    }

    /// What it knows of the session with an address.
    pub fn heard(&self, peer: IpAddr) -> Heard {
        let record = fs::read_to_string(&self.record).unwrap_or_default();
        heard(&record, &peer.to_string())
    }

    /// Waits for a session that is as wanted.
    pub fn await_heard(
        &self,
        peer: IpAddr,
        limit: Duration,
        is_wanted: impl Fn(&Heard) -> bool,
    ) -> Result<Heard> {
        let mut seen = Heard::default();
        patience::until("what ExaBGP should hear", limit, || {
            seen = self.heard(peer);
            is_wanted(&seen)
        })
        .with_context(|| format!("{seen:?}\n{}", self.process.log()))?;
        Ok(seen)
    }
}

/// The configuration of one that serves both families to these neighbours. `capabilities` and
/// `session` are further lines of each; whether it only waits for them to dial.
pub fn router(
    id: Ipv4Addr,
    neighbours: &[Neighbour],
    is_passive: bool,
    session: &str,
    capabilities: &str,
) -> String {
    let mut text = String::new();
    for neighbour in neighbours {
        let Neighbour {
            local,
            local_asn,
            remote,
            remote_asn,
            hold_time,
            ..
        } = neighbour;
        // RFC 8950, where the session is IPv6.
        let (nexthop, capability) = match remote {
            IpAddr::V4(_) => ("", ""),
            IpAddr::V6(_) => ("nexthop { ipv4 unicast ipv6; }", "nexthop enable;"),
        };
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "neighbor {remote} {{\n  router-id {id};\n  local-address {local};\n  local-as {local_asn};\n  \
             peer-as {remote_asn};\n  hold-time {hold_time};\n  passive {is_passive};\n  listen 179;\n  \
             {session}\n  family {{ ipv4 unicast; ipv6 unicast; }}\n  {nexthop}\n  capability {{ \
             asn4 enable; route-refresh enable; extended-message enable; {capability} {capabilities} }}\n  \
             api {{ processes [ helper ]; neighbor-changes; receive {{ parsed; open; update; }} }}\n}}\n"
        );
    }
    text
}

fn heard(record: &str, peer: &str) -> Heard {
    let mut heard = Heard::default();
    // What it says of route refresh is no JSON, and its last line may be half a one.
    let lines = record
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    for line in lines.filter(|line: &Value| line["neighbor"]["address"]["peer"] == peer) {
        let neighbour = &line["neighbor"];
        match line["type"].as_str() {
            Some("state") => match neighbour["state"].as_str() {
                Some("up") => heard.is_up = true,
                Some("down") => heard = Heard::default(),
                _ => {}
            },
            Some("open") => heard.open = neighbour["open"].clone(),
            Some("update") => heard.update(&neighbour["message"]["update"]),
            _ => {}
        }
    }
    heard
}

impl Heard {
    fn update(&mut self, update: &Value) {
        for (_, prefixes) in entries(&update["withdraw"]) {
            for entry in prefixes.as_array().into_iter().flatten() {
                self.routes.remove(&prefix(entry));
            }
        }
        for (_, by_next_hop) in entries(&update["announce"]) {
            for (next_hop, prefixes) in entries(by_next_hop) {
                for entry in prefixes.as_array().into_iter().flatten() {
                    let route = Route {
                        next_hop: next_hop.clone(),
                        attributes: update["attribute"].clone(),
                    };
                    self.announcements += 1;
                    self.routes.insert(prefix(entry), route);
                }
            }
        }
    }
}

fn entries(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

fn prefix(entry: &Value) -> String {
    entry["nlri"].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_read_from_what_exabgp_writes() {
        let of = |kind: &str, more: &str| {
            let peer = "\"address\": {\"peer\": \"192.168.1.11\"}";
            format!("{{\"type\": \"{kind}\", \"neighbor\": {{{peer}, {more}}}}}\n")
        };
        let open = of("open", "\"open\": {\"hold_time\": 9}");
        let up = of("state", "\"state\": \"up\"");
        let announce = of(
            "update",
            "\"message\": {\"update\": {\"attribute\": {\"origin\": \"igp\"}, \"announce\": \
             {\"ipv4 unicast\": {\"192.168.1.11\": [{\"nlri\": \"198.51.100.0/32\"}]}}}}",
        );
        let withdraw = of(
            "update",
            "\"message\": {\"update\": {\"withdraw\": {\"ipv4 unicast\": [{\"nlri\": \
             \"198.51.100.0/32\"}]}}}",
        );
        let down = of("state", "\"state\": \"down\"");
        let read = |lines: &[&String]| {
            let lines: Vec<&str> = lines.iter().map(|line| line.as_str()).collect();
            heard(&lines.concat(), "192.168.1.11")
        };
        let one = read(&[&open, &up, &announce]);
        assert!(one.is_up);
        assert_eq!(one.open["hold_time"], 9);
        let route = &one.routes["198.51.100.0/32"];
        assert_eq!(route.next_hop, "192.168.1.11");
        assert_eq!(route.attributes["origin"], "igp");
        let none = read(&[&open, &up, &announce, &withdraw]);
        assert!(none.is_up && none.routes.is_empty() && none.announcements == 1);
        assert_eq!(read(&[&open, &up, &announce, &down]), Heard::default());
        assert_eq!(heard(&announce, "192.168.1.12"), Heard::default());
    }
}
