//! FRR as the router: zebra, bgpd and bfdd under a path space of their own.
#![expect(
    clippy::disallowed_methods,
    reason = "daemons keep sockets in directories"
)]

use std::fmt::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Bfd, Neighbour};
use crate::netns::Namespace;
use crate::patience;
use crate::process::{Process, output, output_of};

/// A running FRR; ended when dropped.
#[derive(Debug)]
pub struct Frr {
    space: String,
    // Zebra last: what is ended before it takes its routes along.
    daemons: Vec<Process>,
    directories: [PathBuf; 2],
}

impl Frr {
    /// Starts it with a configuration and waits until it answers.
    pub fn start(namespace: &Namespace, dir: &Path, config: &str) -> Result<Self> {
        let space = namespace.name().to_owned();
        let directories = ["/var/run/frr", "/etc/frr"].map(|path| Path::new(path).join(&space));
        // A socket that a killed run left behind would answer for the new one.
        let [sockets, _] = &directories;
        let _ = std::fs::remove_dir_all(sockets);
        for directory in &directories {
            let mut install = Command::new("install");
            install.args(["-d", "-o", "frr", "-g", "frr", "-m", "755"]);
            output(install.arg(directory))?;
        }
        let [_, settings] = &directories;
        std::fs::write(settings.join("vtysh.conf"), "")?;
        let mut frr = Self {
            space,
            daemons: Vec::new(),
            directories,
        };
        for daemon in ["zebra", "bgpd", "bfdd"] {
            let mut command = namespace.command(Path::new("/usr/lib/frr").join(daemon));
            command.args(["-N", &frr.space, "-A", "127.0.0.1", "--log", "stdout"]);
            let name = format!("{daemon}-{}", frr.space);
            let process = Process::start(&name, &mut command, dir)?;
            frr.daemons.insert(0, process);
            frr.await_answer(daemon)?;
        }
        frr.configure(config)?;
        Ok(frr)
    }

    /// Ends it in order: what it has put into the kernel it takes out again.
    pub fn terminate(&mut self) -> Result<()> {
        for daemon in &mut self.daemons {
            daemon.terminate(Duration::from_secs(5))?;
        }
        Ok(())
    }

    fn await_answer(&self, daemon: &str) -> Result<()> {
        let what = format!("{daemon} to answer");
        patience::until(&what, Duration::from_secs(10), || {
            let mut command = self.vtysh();
            command.args(["-d", daemon, "-c", "show version"]);
            output(&mut command).is_ok_and(|text| text.contains("FRRouting"))
        })
        .with_context(|| self.log())?;
        Ok(())
    }

    /// Lines of configuration, as if they were typed. Read from a file at the start they would hold
    /// every session up for some seconds.
    pub fn configure(&self, lines: &str) -> Result<()> {
        let script = format!("configure terminal\n{lines}\nend\n");
        output_of(&mut self.vtysh(), &script)
            .map(drop)
            .with_context(|| self.log())
    }

    /// One command of `vtysh`.
    pub fn ask(&self, words: &str) -> Result<String> {
        output(self.vtysh().args(["-c", words]))
    }

    fn vtysh(&self) -> Command {
        let mut command = Command::new("vtysh");
        command.args(["-N", &self.space]);
        command
    }

    /// What it says of the BFD session with an address.
    pub fn path(&self, peer: IpAddr) -> Result<Value> {
        let text = self.ask("show bfd peers json")?;
        let peers: Value = serde_json::from_str(&text).context("FRR speaks JSON")?;
        let mut peers = peers.as_array().into_iter().flatten();
        let found = peers.find(|entry| entry["peer"] == peer.to_string().as_str());
        found
            .cloned()
            .with_context(|| format!("no BFD session with {peer}: {text}"))
    }

    /// Whether that is up.
    pub fn is_path_up(&self, peer: IpAddr) -> bool {
        self.path(peer).is_ok_and(|path| path["status"] == "up")
    }

    /// Whether the BGP session with an address is Established.
    pub fn is_established(&self, peer: IpAddr) -> bool {
        let text = self.ask(&format!("show bgp neighbors {peer} json"));
        let neighbours: Value = text
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        neighbours[peer.to_string()]["bgpState"] == "Established"
    }

    /// What its daemons wrote so far.
    pub fn log(&self) -> String {
        let logs = self.daemons.iter().map(Process::log);
        logs.collect::<Vec<_>>().join("\n")
    }

    /// Ends one of its daemons at once, as a crash would.
    pub fn kill(&mut self, daemon: &str) {
        let daemons = self.daemons.iter_mut();
        for process in daemons.filter(|process| process.name().starts_with(daemon)) {
            process.kill();
        }
    }
}

impl Drop for Frr {
    fn drop(&mut self) {
        self.daemons.clear();
        for directory in &self.directories {
            // The next start removes what this one cannot.
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

/// The configuration of a router that takes everything from these neighbours into its kernel, with
/// all equal paths.
pub fn router(id: std::net::Ipv4Addr, neighbours: &[Neighbour], bfd: Option<&Bfd>) -> String {
    let mut text = bfd.map(profile).unwrap_or_default();
    text.push_str("route-map GLOBAL permit 10\n set ipv6 next-hop prefer-global\nexit\n");
    let asn = neighbours.first().map_or(64501, |one| one.local_asn);
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "router bgp {asn}\n bgp router-id {id}\n no bgp ebgp-requires-policy\n \
         no bgp default ipv4-unicast\n bgp bestpath as-path multipath-relax"
    );
    for neighbour in neighbours {
        let Neighbour {
            remote,
            remote_asn,
            hold_time,
            ..
        } = neighbour;
        let keepalive = hold_time / 3;
        let _ = writeln!(
            text,
            " neighbor {remote} remote-as {remote_asn}\n neighbor {remote} timers {keepalive} {hold_time}\n \
             neighbor {remote} timers connect 1"
        );
        if let Some(bfd) = bfd {
            let _ = writeln!(text, " neighbor {remote} bfd profile proof");
            if bfd.is_multihop && neighbour.local_asn != neighbour.remote_asn {
                let _ = writeln!(text, " neighbor {remote} ebgp-multihop 2");
            }
        }
    }
    for family in ["ipv4", "ipv6"] {
        let _ = writeln!(text, " address-family {family} unicast\n  maximum-paths 16");
        for Neighbour { remote, .. } in neighbours {
            let _ = writeln!(text, "  neighbor {remote} activate");
            if family == "ipv6" {
                let _ = writeln!(text, "  neighbor {remote} route-map GLOBAL in");
            }
        }
        text.push_str(" exit-address-family\n");
    }
    text
}

/// The profile of its neighbours; given again with other numbers it is edited.
pub fn profile(bfd: &Bfd) -> String {
    let Bfd {
        interval,
        multiplier,
        ..
    } = bfd;
    let mut text = format!(
        "bfd\n profile proof\n  receive-interval {interval}\n  transmit-interval {interval}\n  \
         detect-multiplier {multiplier}\n"
    );
    if let Some(echo) = bfd.echo {
        let _ = writeln!(
            text,
            "  echo-mode\n  echo transmit-interval {echo}\n  echo receive-interval {echo}"
        );
    }
    if bfd.is_passive {
        text.push_str("  passive-mode\n");
    }
    text.push_str(" exit\nexit\n");
    text
}
