//! The small programs that run inside a laboratory's namespaces.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ferrolb_tests::{kubernetes, patience, probe, served};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["http", node, ports @ ..] => served::http(node, &numbers(ports)?),
        ["echo", node, ports @ ..] => served::echo(node, &numbers(ports)?),
        ["probe-http", address, milliseconds, record] => {
            patience::interruptible();
            probe::http(target(address, milliseconds)?, Path::new(record))
        }
        ["probe-udp", address, milliseconds, record, flows @ ..] => {
            patience::interruptible();
            let flows = flows.first().map_or(Ok(1), |flows| flows.parse())?;
            let target = target(address, milliseconds)?;
            probe::udp(target, flows, Path::new(record))
        }
        ["warden"] => kubernetes::warden::watch(std::io::stdin().lock()),
        _ => bail!(
            "usage: netns-tool http|echo NODE PORT… | probe-http|probe-udp ADDRESS:PORT MILLISECONDS FILE [FLOWS] | warden"
        ),
    }
}

fn numbers(words: &[&str]) -> Result<Vec<u16>> {
    let parse = |word: &&str| word.parse().with_context(|| format!("{word} is no port"));
    words.iter().map(parse).collect()
}

fn target(address: &str, milliseconds: &str) -> Result<probe::Target> {
    let address: SocketAddr = address
        .parse()
        .context("an address and a port are wanted")?;
    let interval = Duration::from_millis(milliseconds.parse()?);
    Ok(probe::Target { address, interval })
}
