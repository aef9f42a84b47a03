//! A speaker that comes to hold many addresses at once, and what a recorder on the segment sees of its
//! announcements.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::capture::{self, Kind, Saying};
use crate::lab::Lab;
use crate::objects::{assigned, layer2, nodes, pool};
use crate::patience;

/// The address of a Service, by its number.
pub fn address(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 128, 0, 1).to_bits() + number).into()
}

/// Services that have their addresses already, as somebody else gave them.
pub fn services(numbers: Range<u32>) -> String {
    let ports = "ports: [{port: 80, nodePort: 30080}]";
    let service = |number| assigned(&format!("s{number}"), ports, address(number));
    numbers.map(service).collect()
}

/// A node whose speaker is still to be started, and so many Services.
pub fn lab(count: u32, reannounce: &str) -> Result<Lab> {
    let mut lab = Lab::new(1)?;
    let pools = pool("many", &["10.128.0.0/18"]) + &layer2("many", "");
    lab.manifest("nodes.yaml", &nodes(1))?;
    lab.manifest("pools.yaml", &pools)?;
    lab.manifest("many.yaml", &services(0..count))?;
    lab.speaker_arguments = vec![format!("--layer2-reannounce={reannounce}")];
    Ok(lab)
}

/// The announcements of such addresses so far.
pub fn announcements(lab: &Lab) -> Result<Vec<Saying>> {
    let ours = address(0)..=address(MOST);
    let mut said = capture::sayings(&recording(lab))?;
    said.retain(|saying| saying.kind == Kind::Announces && ours.contains(&saying.address));
    Ok(said)
}

/// Waits until so many different addresses have been announced. Looking costs time that the speaker
/// needs: it is done once in a while.
pub fn await_announced(lab: &Lab, count: usize, limit: Duration) -> Result<()> {
    let what = format!("{count} addresses to be announced");
    patience::eventually(&what, limit, || {
        if distinct(&announcements(lab)?).len() >= count {
            return Ok(Some(()));
        }
        patience::pause(Duration::from_millis(500))?;
        Ok(None)
    })?;
    Ok(())
}

/// The addresses that are announced.
pub fn distinct(said: &[Saying]) -> BTreeSet<IpAddr> {
    said.iter().map(|saying| saying.address).collect()
}

/// From the first announcement until each address has been announced once.
pub fn first_round(said: &[Saying]) -> Result<Duration> {
    let mut seen = BTreeSet::new();
    let mut firsts = said.iter().filter(|saying| seen.insert(saying.address));
    let first = firsts.next().context("nothing was announced")?.at;
    Ok(firsts.last().map_or(Duration::ZERO, |last| last.at - first))
}

fn recording(lab: &Lab) -> PathBuf {
    lab.path().join("segment.pcap")
}

/// As many as the pool has, but for the ends.
const MOST: u32 = (1 << 14) - 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_ends_with_the_last_that_was_not_announced_before() {
        let said = [(0, 3), (1, 4), (0, 5), (2, 9), (1, 20)].map(|(number, at)| Saying {
            at: Duration::from_secs(at),
            address: address(number),
            mac: [2, 0, 0, 0, 0, 1],
            kind: Kind::Announces,
        });
        assert_eq!(first_round(&said).unwrap(), Duration::from_secs(6));
        assert_eq!(first_round(&said[..1]).unwrap(), Duration::ZERO);
        assert!(first_round(&[]).is_err());
    }
}
