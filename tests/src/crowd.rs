//! Candidates of a segment that are no programs: the machines that speakers run, many of them, and
//! all on one interface.
//!
//! ```text
//!         hear ──▶ ┌ station ┐ ┌ station ┐ ┌ station ┐
//!  the segment     │   n2    │ │   n3    │ │   n4    │ …
//!    speak ◀──     └─────────┘ └─────────┘ └─────────┘
//! ```
//!
//! To whoever listens on the segment they are nodes like all others: each has its hardware address and
//! its name, heartbeats, claims and announcements. What each of them is to hold it is told once; nothing
//! is planned here. So nobody misses anything if they do not hear each other, which would cost the
//! square of their number; `settle` lets them.

mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant, SystemTime};

use ferrolb_crds::model::Secret;
use ferrolb_speaker::layer2::station::{Input, Link, Output, Station};
use ferrolb_speaker::layer2::{Desired, Interfaces, LinkIndex, Settings};
use ferrolb_speaker::wire::ethernet::{Header, Mac};
use ipnet::{IpNet, Ipv4Net};

pub use wire::Playing;

/// The one interface of each.
const LINK: LinkIndex = LinkIndex(2);

/// A node to be played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub node: String,
    /// Its hardware address.
    pub mac: Mac,
    /// Its own address.
    pub v4: Ipv4Addr,
    /// What it is to hold.
    pub owned: BTreeSet<IpAddr>,
}

/// The machines.
///
/// After any `hear`: `speak` or `settle`, then ask for the next deadline.
#[derive(Debug)]
pub struct Crowd {
    members: Vec<(Mac, Station)>,
}

impl Crowd {
    /// All begin now; `reannounce` as for a speaker.
    pub fn new(
        now: Instant,
        members: impl IntoIterator<Item = Member>,
        key: &Secret,
        reannounce: Option<Duration>,
    ) -> Self {
        let members = (1..).zip(members).map(|(number, member)| {
            let settings = Settings {
                node: member.node,
                key: Some(key.clone()),
                interval: Duration::from_millis(100),
                down_after: None,
                reannounce,
                exclusion: Default::default(),
            };
            let mut station = Station::new(&settings, number, now, SystemTime::UNIX_EPOCH);
            let link = Link {
                name: "eth0".to_owned(),
                mac: member.mac,
                has_carrier: true,
                addresses: Ipv4Net::new(member.v4, 24)
                    .map(IpNet::from)
                    .into_iter()
                    .collect(),
                path: BTreeMap::new(),
            };
            station.handle(now, Input::Links(BTreeMap::from([(LINK, link)])));
            let owned = member.owned.into_iter();
            let desired = Desired {
                owned: owned.map(|address| (address, Interfaces::All)).collect(),
                heartbeat: Some(Interfaces::All),
                ..Desired::default()
            };
            station.handle(now, Input::Want(desired));
            (member.mac, station)
        });
        Self {
            members: members.collect(),
        }
    }

    /// A frame comes in: each judges for itself whether it is meant.
    pub fn hear(&mut self, now: Instant, frame: &[u8]) {
        self.deliver(now, None, frame);
    }

    /// Does what is due, and gives what they send. They do not hear it of each other.
    #[must_use]
    pub fn speak(&mut self, now: Instant) -> Vec<Vec<u8>> {
        self.handle_timeout(now);
        let said = self.said().into_iter();
        said.map(|(_, frame)| frame).collect()
    }

    /// The same, and lets them hear each other, until nothing more follows from it.
    #[must_use]
    pub fn settle(&mut self, now: Instant) -> Vec<Vec<u8>> {
        self.handle_timeout(now);
        let mut all = Vec::new();
        loop {
            let said = self.said();
            if said.is_empty() {
                return all;
            }
            for (from, frame) in said {
                self.deliver(now, Some(from), &frame);
                all.push(frame);
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        for (_, station) in &mut self.members {
            if station.poll_timeout().is_some_and(|(at, _)| at <= now) {
                station.handle_timeout(now);
            }
        }
    }

    /// When to `speak` or `settle` again.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let stations = self.members.iter();
        let deadlines = stations.filter_map(|(_, station)| station.poll_timeout());
        deadlines.map(|(at, _)| at).min()
    }

    /// The machine of a member, by its place in the list.
    pub fn station(&mut self, index: usize) -> Option<&mut Station> {
        let (_, station) = self.members.get_mut(index)?;
        Some(station)
    }

    /// To one alone if it is for that one, else to all but whoever sent it.
    fn deliver(&mut self, now: Instant, from: Option<usize>, frame: &[u8]) {
        let header = Header::parse(frame).ok();
        let to = header.and_then(|(header, _)| {
            let mut members = self.members.iter();
            members.position(|(mac, _)| *mac == header.destination)
        });
        let link = LINK;
        for (index, (_, station)) in self.members.iter_mut().enumerate() {
            if Some(index) != from && to.is_none_or(|to| to == index) {
                station.handle(now, Input::Frame { link, frame });
            }
        }
    }

    /// What they have to say, and who says it.
    fn said(&mut self) -> Vec<(usize, Vec<u8>)> {
        let mut said = Vec::new();
        for (index, (_, station)) in self.members.iter_mut().enumerate() {
            while let Some(output) = station.poll() {
                match output {
                    Output::Send { frame, .. } => said.push((index, frame)),
                    Output::Answer { frame, .. } => said.push((index, frame.to_vec())),
                    Output::Changed
                    | Output::Node { .. }
                    | Output::Rejected { .. }
                    | Output::Mute { .. }
                    | Output::Namesake { .. }
                    | Output::Rival { .. }
                    | Output::Silent { .. }
                    | Output::Left => {}
                }
            }
            // As a driver does: it is not to grow.
            station.take_counts().for_each(drop);
            drop(station.take_tally());
        }
        said
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "where virtual time begins")]
mod tests {
    use super::*;

    #[test]
    fn they_know_each_other_and_what_each_of_them_holds() {
        let start = Instant::now();
        let members = (1..=3).map(|n: u8| Member {
            node: format!("n{n}"),
            mac: Mac([2, 0, 0, 0, 0, n]),
            v4: Ipv4Addr::new(192, 168, 1, n),
            owned: BTreeSet::from([Ipv4Addr::new(10, 0, 0, n).into()]),
        });
        let key = Secret::new("what the nodes share".to_owned());
        let mut crowd = Crowd::new(start, members, &key, None);
        let mut now = start;
        let mut sent = 0;
        while now < start + Duration::from_secs(2) {
            sent += crowd.settle(now).len();
            now = crowd.poll_timeout().unwrap();
        }
        // Ten heartbeats a second of each, and what is said in the beginning.
        assert!((60..150).contains(&sent), "{sent}");
        let claims: Vec<_> = {
            let station = crowd.station(0).unwrap();
            let report = station.report();
            assert_eq!(report.nodes.len(), 2);
            assert!(report.nodes.values().all(|node| node.is_known));
            station.take_claims().into_iter().collect()
        };
        let holders: Vec<_> = claims
            .iter()
            .map(|(address, claims)| (address.to_string(), claims[0].0.node.to_string()))
            .collect();
        let expected = [2, 3].map(|n| (format!("10.0.0.{n}"), format!("n{n}")));
        assert_eq!(holders, expected);
    }
}
