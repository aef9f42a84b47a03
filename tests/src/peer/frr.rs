//! FRR as the router: zebra and bgpd, in a pathspace named like the namespace.
#![expect(clippy::disallowed_methods, reason = "pathspaces are directories")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::netns::Namespace;
use crate::patience;
use crate::process::{Process, output, output_of};

/// A running FRR.
#[derive(Debug)]
pub struct Frr {
    name: String,
    daemons: Vec<Process>,
}

impl Frr {
    /// Starts it, waits until it answers, and pastes a configuration.
    ///
    /// Read from a file at the start, bgpd would turn everybody away for some seconds.
    pub fn start(namespace: &Namespace, dir: &Path, config: &str) -> Result<Self> {
        let mut frr = Self {
            name: namespace.name().to_owned(),
            daemons: Vec::new(),
        };
        for directory in frr.directories() {
            let mut install = Command::new("install");
            install.args(["-d", "-o", "frr", "-g", "frr", "-m", "755"]);
            output(install.arg(&directory))?;
            fs::write(directory.join("vtysh.conf"), "")?;
        }
        for daemon in ["zebra", "bgpd"] {
            let mut command = namespace.command(format!("/usr/lib/frr/{daemon}"));
            command.args(["-N", &frr.name, "-A", "127.0.0.1"]);
            frr.daemons.push(Process::start(daemon, &mut command, dir)?);
        }
        patience::until("FRR to answer", Duration::from_secs(20), || {
            let said = frr.ask("show bgp summary");
            said.is_ok_and(|said| !said.contains("not running"))
        })?;
        let mut paste = Command::new("vtysh");
        paste.args(["-N", &frr.name]);
        let said = output_of(&mut paste, &format!("configure terminal\n{config}\nend\n"))?;
        ensure!(!said.contains('%'), "FRR does not take it: {said}");
        Ok(frr)
    }

    /// One command of `vtysh`.
    pub fn ask(&self, words: &str) -> Result<String> {
        let mut command = Command::new("vtysh");
        output(command.args(["-N", &self.name, "-c", words]))
            .with_context(|| format!("asking FRR: {words}"))
    }

    fn directories(&self) -> [PathBuf; 2] {
        ["/var/run/frr", "/etc/frr"].map(|root| Path::new(root).join(&self.name))
    }
}

impl Drop for Frr {
    fn drop(&mut self) {
        self.daemons.clear();
        for directory in self.directories() {
            // Of one that was never made there is nothing to remove.
            let _ = fs::remove_dir_all(directory);
        }
    }
}
