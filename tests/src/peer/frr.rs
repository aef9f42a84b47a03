//! FRR as the router: zebra and bgpd under a path space of their own.
#![expect(
    clippy::disallowed_methods,
    reason = "daemons keep sockets in directories"
)]

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

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
        for daemon in ["zebra", "bgpd"] {
            let mut command = namespace.command(Path::new("/usr/lib/frr").join(daemon));
            command.args(["-N", &frr.space, "-A", "127.0.0.1", "--log", "stdout"]);
            let process = Process::start(daemon, &mut command, dir)?;
            frr.daemons.insert(0, process);
            frr.await_answer(daemon)?;
        }
        frr.configure(config)?;
        Ok(frr)
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
        for process in daemons.filter(|process| process.name() == daemon) {
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
