//! Telling the others what is claimed here, and hearing what they claim.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Output, Saying, Station};
use crate::layer2::LinkIndex;
use crate::layer2::announcer;
use crate::layer2::claims::{self, Source};
use crate::wire::ethernet::Mac;

impl Station {
    /// Tells those who asked; several at once, all together.
    pub(super) fn tell(&mut self, now: Instant) {
        let due = self.links.iter_mut().filter_map(|(link, attachment)| {
            attachment.tells_at().filter(|at| *at <= now)?;
            attachment.tells_at = now + TELL_AGAIN;
            let askers = std::mem::take(&mut attachment.askers);
            let to = askers.first().copied().filter(|_| askers.len() == 1);
            let answer = || (*link, to, attachment.holdings.parts());
            attachment.beats().then(answer)
        });
        let due: Vec<_> = due.collect();
        for (link, to, parts) in due {
            for part in parts {
                self.send(link, to, part.into());
            }
        }
    }

    pub(super) fn follow_claims(&mut self) {
        while let Some(output) = self.claims.poll() {
            match output {
                claims::Output::Ask { link, to } => {
                    let mut saying = Saying::default();
                    saying.flags.asks = true;
                    self.send_to(link, to, saying);
                }
                claims::Output::Known => self.outputs.push_back(Output::Changed),
            }
        }
        let changed = self.claims.take_changed();
        if !changed.is_empty() {
            self.claimed.extend(changed);
            self.claims_taken += 1;
            self.may_hand_over = true;
            self.outputs.push_back(Output::Changed);
        }
    }

    /// Whether it is the hardware address of one of this node's interfaces.
    pub(super) fn is_own(&self, mac: Mac) -> bool {
        let mut own = self.links.values().map(|attachment| attachment.link.mac);
        own.any(|own| own == mac)
    }

    /// Another node that answers for an address is asked what it claims; and the caches are to be put
    /// right, unless the address was offered.
    pub(super) fn note_rival(&mut self, now: Instant, link: LinkIndex, address: IpAddr, mac: Mac) {
        if self.is_own(mac) {
            return;
        }
        // It was offered, and is taken.
        let is_offered = self.offers.contains_key(&address);
        let rival = self.liveness.node_at(link, mac);
        let node = rival.map(|(node, _)| node.to_owned());
        if let Some((node, from)) = rival {
            self.claims
                .note_answer(now, &Source::of(node, from), address);
        }
        if is_offered {
            return;
        }
        let defend = announcer::Input::Defend { link, address };
        self.announcer.handle(now, defend);
        let interface = self.name_of(link);
        if let Some(interface) = interface
            && self.may_tell_rival(now, address, mac)
        {
            self.rivals.insert((address, mac), now);
            self.rivals_told += 1;
            self.outputs.push_back(Output::Rival {
                interface,
                address,
                mac,
                node,
            });
            self.outputs.push_back(Output::Changed);
        }
    }

    /// A conflict that was found before it was announced is told as that.
    fn may_tell_rival(&mut self, now: Instant, address: IpAddr, mac: Mac) -> bool {
        let found = self.conflicts.found(address);
        if found.is_some_and(|others| others.values().any(|other| *other == mac)) {
            return false;
        }
        let is_fresh = |told: &Instant| now < *told + RIVAL_AGAIN;
        if self.rivals.len() >= MAX_RIVALS {
            self.rivals.retain(|_, told| is_fresh(told));
        }
        let told = self.rivals.get(&(address, mac));
        self.rivals.len() < MAX_RIVALS && !told.is_some_and(is_fresh)
    }
}

/// Time between two answers to those who ask what is claimed.
const TELL_AGAIN: Duration = Duration::from_millis(50);

/// Time between two words on one rival.
const RIVAL_AGAIN: Duration = Duration::from_secs(10);

/// More are worth no words.
const MAX_RIVALS: usize = 1024;
