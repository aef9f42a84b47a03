//! BIRD 2 as the router.
#![expect(clippy::disallowed_methods, reason = "configuration is a file")]

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Bfd, Neighbour, Route};
use crate::netns::Namespace;
use crate::patience;
use crate::process::{Process, output};

/// A running BIRD.
#[derive(Debug)]
pub struct Bird {
    config: PathBuf,
    control: PathBuf,
    process: Process,
}

impl Bird {
    /// Starts it with a configuration and waits until it answers.
    pub fn start(namespace: &Namespace, dir: &Path, name: &str, config: &str) -> Result<Self> {
        let path = dir.join(format!("{name}.conf"));
        let control = dir.join(format!("{name}.ctl"));
        std::fs::write(&path, config).with_context(|| format!("writing {}", path.display()))?;
        let mut command = namespace.command("bird");
        command.arg("-f").arg("-c").arg(&path);
        command.arg("-s").arg(&control);
        command.arg("-P").arg(dir.join(format!("{name}.pid")));
        let process = Process::start(name, &mut command, dir)?;
        let bird = Self {
            config: path,
            control,
            process,
        };
        patience::until("BIRD to answer", Duration::from_secs(10), || {
            let status = bird.ask("show status");
            status.is_ok_and(|status| status.contains("Daemon is up and running"))
        })
        .with_context(|| bird.process.log())?;
        Ok(bird)
    }

    /// One command of `birdc`.
    pub fn ask(&self, words: &str) -> Result<String> {
        let mut command = Command::new("birdc");
        command.arg("-s").arg(&self.control);
        output(command.args(words.split_whitespace()))
    }

    /// Whether a protocol instance is Established.
    pub fn is_established(&self, neighbour: &str) -> bool {
        self.ask(&format!("show protocols {neighbour}"))
            .is_ok_and(|text| text.contains("Established"))
    }

    /// Waits until it is.
    pub fn await_established(&self, neighbour: &str, limit: Duration) -> Result<Duration> {
        let what = format!("session {neighbour} to be Established");
        patience::until(&what, limit, || self.is_established(neighbour))
            .with_context(|| self.ask("show protocols").unwrap_or_default())
    }

    /// Whether a BFD session with an address is Up.
    pub fn is_path_up(&self, peer: std::net::IpAddr) -> bool {
        let text = self.ask("show bfd sessions").unwrap_or_default();
        let peer = peer.to_string();
        let mut lines = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        lines.any(|words| words.first() == Some(&peer.as_str()) && words.contains(&"Up"))
    }

    /// Reads another configuration.
    pub fn reconfigure(&self, config: &str) -> Result<()> {
        std::fs::write(&self.config, config)
            .with_context(|| format!("writing {}", self.config.display()))?;
        self.ask("configure").map(drop)
    }

    /// Everything received for one prefix, and not for a wider one.
    pub fn routes(&self, prefix: &str) -> Result<Vec<Route>> {
        // BIRD answers "Network not found" with a failure; that is an empty list.
        let text = self.ask(&format!("show route {prefix} all"));
        Ok(routes(&text.unwrap_or_default()))
    }

    /// How many routes a neighbour's channel holds, both families together.
    pub fn imported(&self, neighbour: &str) -> Result<usize> {
        let text = self.ask(&format!("show protocols all {neighbour}"))?;
        let counts = text.lines().filter_map(|line| {
            let rest = line.trim().strip_prefix("Routes:")?;
            rest.split_whitespace().next()?.parse::<usize>().ok()
        });
        Ok(counts.sum())
    }

    /// How often the state of a protocol instance has changed. The times that `birdc` prints are not good
    /// for that: they are not the same twice.
    pub fn changes(&self, protocol: &str) -> usize {
        let log = self.log();
        let words = format!("{protocol}: State changed to");
        log.lines().filter(|line| line.contains(&words)).count()
    }

    /// What has become of the routes of a neighbour so far, announced and withdrawn, by family.
    pub fn imports(&self, neighbour: &str) -> Result<Vec<String>> {
        let text = self.ask(&format!("show protocols all {neighbour}"))?;
        let lines = text.lines().map(str::trim).filter(|line| {
            line.starts_with("Import updates:") || line.starts_with("Import withdraws:")
        });
        let counters: Vec<String> = lines.map(str::to_owned).collect();
        ensure!(!counters.is_empty(), "no counters of {neighbour}: {text}");
        Ok(counters)
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Ends it in order.
    pub fn terminate(&mut self) -> Result<()> {
        self.process.terminate(Duration::from_secs(5)).map(drop)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// How many bytes of memory it has resident.
    pub fn resident(&self) -> Result<u64> {
        self.process.resident()
    }
}

/// The configuration of a router that takes everything from these neighbours into its kernel, with
/// all equal paths.
pub fn router(id: std::net::Ipv4Addr, neighbours: &[Neighbour]) -> String {
    with(id, neighbours, "", "")
}

/// The same, with BFD toward all of them.
pub fn watching_router(id: std::net::Ipv4Addr, neighbours: &[Neighbour], bfd: &Bfd) -> String {
    let intervals = format!(
        "min rx interval {0} ms; min tx interval {0} ms; idle tx interval 1000 ms; multiplier {1}; passive {2};",
        bfd.interval,
        bfd.multiplier,
        if bfd.is_passive { "on" } else { "off" },
    );
    let protocol = format!(
        "protocol bfd {{ interface \"*\" {{ {intervals} }}; multihop {{ {intervals} }}; }}\n"
    );
    let session = match bfd.is_multihop {
        true => "multihop 2; bfd on;",
        false => "direct; bfd on;",
    };
    with(id, neighbours, &protocol, session)
}

/// With further protocols, and further words for each neighbour.
fn with(
    id: std::net::Ipv4Addr,
    neighbours: &[Neighbour],
    protocols: &str,
    session: &str,
) -> String {
    let mut text = format!(
        "router id {id};\n\
         log stderr all;\n\
         protocol device {{ scan time 10; }}\n\
         protocol direct {{ ipv4; ipv6; interface \"eth*\"; }}\n\
         protocol kernel k4 {{ ipv4 {{ import none; export where source = RTS_BGP; }}; merge paths on limit 16; }}\n\
         protocol kernel k6 {{ ipv6 {{ import none; export where source = RTS_BGP; }}; merge paths on limit 16; }}\n"
    );
    text.push_str(protocols);
    for neighbour in neighbours {
        text.push_str(&protocol(neighbour, session));
    }
    text
}

fn protocol(neighbour: &Neighbour, words: &str) -> String {
    let mut text = String::new();
    // RFC 8950 lets IPv4 prefixes travel with IPv6 next hops; on an IPv4 session it would only be
    // noise.
    let extended = match neighbour.remote.is_ipv6() {
        true => "extended next hop on;",
        false => "",
    };
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "protocol bgp {} {{ local {} as {}; neighbor {} as {}; hold time {}; \
         connect retry time 1; connect delay time 1; error wait time 1, 2; passive on; debug {{ states }}; {words} \
         ipv4 {{ import all; export none; {extended} }}; ipv6 {{ import all; export none; }}; }}",
        neighbour.name,
        neighbour.local,
        neighbour.local_asn,
        neighbour.remote,
        neighbour.remote_asn,
        neighbour.hold_time,
    );
    text
}

fn routes(text: &str) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    for line in text.lines() {
        if line.contains("unicast [") {
            let neighbour = line
                .split('[')
                .nth(1)
                .and_then(|rest| rest.split(' ').next());
            routes.push(Route {
                neighbour: neighbour.unwrap_or_default().to_owned(),
                ..Route::default()
            });
        }
        let (Some(route), Some((name, value))) = (routes.last_mut(), line.trim().split_once(':'))
        else {
            continue;
        };
        let value = value.trim().to_owned();
        match name {
            "BGP.next_hop" => route.next_hop = value,
            "BGP.as_path" => route.as_path = value,
            "BGP.local_pref" => route.local_pref = value,
            "BGP.origin" => route.origin = value,
            "BGP.community" => route.communities = value,
            "BGP.large_community" => route.large_communities = value,
            "BGP.ext_community" => route.extended_communities = value,
            "BGP.med" => route.med = value,
            _ => {}
        }
    }
    routes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_from_what_birdc_prints() {
        let text = "BIRD 2.0.12 ready.\nTable master4:\n\
            192.0.2.10/32        unicast [n1 15:40:11.230] * (100) [AS64601i]\n\
            \tvia 192.168.1.11 on eth0\n\tType: BGP univ\n\tBGP.origin: IGP\n\
            \tBGP.as_path: 64601\n\tBGP.next_hop: 192.168.1.11\n\tBGP.local_pref: 100\n\
            \tBGP.community: (64512,100)\n\tBGP.large_community: (64512, 1, 2)\n\
            \u{20}                    unicast [n2 15:40:11.230] (100) [AS64602i]\n\
            \tBGP.next_hop: 192.168.1.12\n";
        let routes = routes(text);
        assert_eq!(routes.len(), 2);
        assert_eq!(routes[0].neighbour, "n1");
        assert_eq!(routes[0].communities, "(64512,100)");
        assert_eq!(routes[0].large_communities, "(64512, 1, 2)");
        assert_eq!(routes[1].next_hop, "192.168.1.12");
    }
}
