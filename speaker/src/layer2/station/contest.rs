//! Finding out, before an address is announced for the first time, whether somebody else has it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use super::{Attachment, Output, Station};
use crate::layer2::announcer;
use crate::layer2::conflict::{self, Input};
use crate::layer2::{Findings, Interfaces, LinkIndex};

/// What is to be asked for, as far as it has not been said yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Probes {
    /// Of which something else is wanted.
    changed: BTreeSet<IpAddr>,
    /// Where it can be done.
    settled: BTreeMap<LinkIndex, String>,
}

impl Probes {
    /// Something else is wanted.
    pub(super) fn note(
        &mut self,
        before: &BTreeMap<IpAddr, Interfaces>,
        now: &BTreeMap<IpAddr, Interfaces>,
    ) {
        let gone = before.keys().filter(|address| !now.contains_key(address));
        let here = now.iter();
        let here = here.filter(|(address, interfaces)| before.get(address) != Some(interfaces));
        let here = here.map(|(address, _)| address);
        self.changed.extend(gone.chain(here));
    }
}

impl Station {
    /// What is to be announced of that which is answered for: nothing of which it is not known yet
    /// whether it is somebody else's, of what another is to take nothing that was not announced before,
    /// and nothing that another interface on the segment announces.
    pub(super) fn announced(&self, link: LinkIndex) -> BTreeSet<IpAddr> {
        let Some(attachment) = self.links.get(&link) else {
            return BTreeSet::new();
        };
        let is_to_be = |address: &&IpAddr| {
            let is_known = match self.offers.contains_key(address) {
                true => attachment.announced.contains(address),
                false => {
                    let is_probed = self.desired.probed.contains_key(address);
                    !is_probed || self.conflicts.found(**address).is_some()
                }
            };
            is_known && !self.leaves_to_sibling(link, **address)
        };
        attachment.owned.iter().filter(is_to_be).copied().collect()
    }

    /// Has it found out who else has what is to be asked for: those addresses of which something else
    /// than before is wanted, or all if they can be asked for elsewhere.
    pub(super) fn want_probes(&mut self, now: Instant) {
        let wanted = self.changed_probes();
        if !wanted.is_empty() {
            self.conflicts.handle(now, Input::Want(wanted));
        }
    }

    /// Where they can be asked for: on an interface that has settled, since who is another speaker is
    /// known there.
    pub(super) fn changed_probes(&mut self) -> BTreeMap<IpAddr, Option<BTreeSet<LinkIndex>>> {
        let settled = self.links.iter().filter(|(_, link)| link.is_settled);
        let settled = settled.map(|(index, at)| (*index, at.link.name.clone()));
        let settled: BTreeMap<LinkIndex, String> = settled.collect();
        if settled != self.probes.settled {
            let all = self.desired.probed.keys();
            self.probes.changed.extend(all);
            self.probes.settled = settled;
        }
        let changed = std::mem::take(&mut self.probes.changed).into_iter();
        let wanted = changed.map(|address| {
            let interfaces = self.desired.probed.get(&address);
            let links = interfaces.map(|interfaces| {
                let settled = self.probes.settled.iter();
                let here = settled.filter(|(_, name)| interfaces.contains(name));
                here.map(|(link, _)| *link).collect()
            });
            (address, links)
        });
        wanted.collect()
    }

    /// Asks what is to be asked, and announces what waited for an answer.
    pub(super) fn contest(&mut self, now: Instant) {
        self.conflicts.handle_timeout(now);
        self.follow_conflicts();
        for address in std::mem::take(&mut self.cleared) {
            self.announce(now, address);
        }
    }

    /// Announces it where it is answered for: to look at all of them for each would take too long.
    fn announce(&mut self, now: Instant, address: IpAddr) {
        if self.offers.contains_key(&address) {
            return;
        }
        let answers = |(link, attachment): (&LinkIndex, &Attachment)| {
            let is_owned = attachment.owned.contains(&address);
            (is_owned && !self.leaves_to_sibling(*link, address)).then_some(*link)
        };
        let links: Vec<LinkIndex> = self.links.iter().filter_map(answers).collect();
        for link in links {
            let attachment = self.links.get_mut(&link);
            if attachment.is_some_and(|attachment| attachment.announced.insert(address)) {
                let more = announcer::Input::OwnMore { link, address };
                self.announcer.handle(now, more);
            }
        }
    }

    fn follow_conflicts(&mut self) {
        let count = self.found.len();
        while let Some(output) = self.conflicts.poll() {
            match output {
                conflict::Output::Probe { link, address } => {
                    if let Some(attachment) = self.links.get(&link) {
                        let frame = conflict::probe(address, attachment.link.mac);
                        self.outputs.push_back(Output::Send { link, frame });
                    }
                }
                conflict::Output::Found { address } => {
                    self.found.insert(address);
                    self.cleared.insert(address);
                }
            }
        }
        if self.found.len() > count {
            self.claims_taken += 1;
            self.outputs.push_back(Output::Changed);
        }
    }

    /// Notes that somebody who is no speaker has an address, or is about to take it; true while it is
    /// being found out who has it.
    pub(super) fn note_sighting(&mut self, now: Instant, link: LinkIndex, frame: &[u8]) -> bool {
        if self.desired.probed.is_empty() {
            return false;
        }
        let Some((address, mac)) = conflict::sighting(frame) else {
            return false;
        };
        let is_speaker = || self.liveness.node_at(link, mac).is_some();
        if !self.conflicts.is_about(address) || self.is_own(mac) || is_speaker() {
            return false;
        }
        let is_open = self.conflicts.found(address).is_none();
        let seen = Input::Seen { link, address, mac };
        self.conflicts.handle(now, seen);
        self.follow_conflicts();
        is_open
    }

    /// Who else has those addresses of which that was found out since this was last asked.
    pub fn take_findings(&mut self) -> Findings {
        let found = std::mem::take(&mut self.found).into_iter();
        let findings = found.filter_map(|address| {
            let others = self.conflicts.found(address)?.iter();
            let others =
                others.filter_map(|(link, mac)| Some((self.name_of(*link)?, mac.to_string())));
            Some((address, others.collect()))
        });
        findings.collect()
    }
}
