//! Interfaces of this node that are on one segment: what it sends on one of them it hears on the other.
//!
//! A question that reaches two of them is answered once, and an address announced once, on the one that
//! suits it best: two answers with two hardware addresses would have caches go to and fro. Where an
//! advertisement names interfaces, those named answer.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use super::{Attachment, Station};
use crate::layer2::LinkIndex;
use crate::layer2::announcer;

/// Where this node has heard itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Siblings {
    /// On the first what was sent on the second: how much has been sent there since.
    heard: BTreeMap<(LinkIndex, LinkIndex), u8>,
}

impl Siblings {
    /// On one interface was heard what was just sent on another; true if that is news.
    pub(super) fn note(&mut self, on: LinkIndex, from: LinkIndex) -> bool {
        self.heard.insert((on, from), 0).is_none()
    }

    /// A heartbeat goes out: where too many were not heard the interface is heard no more; true if that
    /// is news. Counted and not timed, so that a stall parts nobody.
    pub(super) fn beat(&mut self, from: LinkIndex) -> bool {
        let before = self.heard.len();
        self.heard.retain(|(_, of), missed| {
            *missed = missed.saturating_add(u8::from(*of == from));
            *missed <= MISSED
        });
        self.heard.len() < before
    }

    /// An interface is no more, or its carrier.
    pub(super) fn lose(&mut self, link: LinkIndex) {
        self.heard
            .retain(|(on, from), _| *on != link && *from != link);
    }

    /// The others that hear an interface and are heard on it.
    fn of(&self, link: LinkIndex) -> impl Iterator<Item = LinkIndex> {
        let all = (link, LinkIndex(0))..=(link, LinkIndex(u32::MAX));
        let heard = self.heard.range(all).map(|((_, from), _)| *from);
        heard.filter(move |other| self.heard.contains_key(&(*other, link)))
    }
}

impl Station {
    /// This node hears itself.
    pub(super) fn note_own(&mut self, now: Instant, link: LinkIndex, from: &str, sequence: u64) {
        // What was said long ago is a recording.
        let is_fresh = self.voice.has_said_lately(sequence);
        let other = self.links.iter().find(|(_, to)| to.link.name == from);
        let other = other
            .map(|(other, _)| *other)
            .filter(|other| *other != link);
        if let Some(other) = other.filter(|_| is_fresh)
            && self.siblings.note(link, other)
        {
            self.apply(now);
            // What the one that falls silent has said is to be put right by the other.
            for link in [link, other] {
                self.announcer
                    .handle(now, announcer::Input::Refresh { link });
            }
        }
    }

    /// A heartbeat goes out on an interface.
    pub(super) fn beat_siblings(&mut self, now: Instant, link: LinkIndex) {
        if self.siblings.beat(link) {
            self.apply(now);
        }
    }

    /// Whether another interface of this node on the same segment answers for the address.
    pub(super) fn leaves_to_sibling(&self, link: LinkIndex, address: IpAddr) -> bool {
        // Nearly always there is none: nothing else is looked up for a packet then.
        let mut siblings = self.siblings.of(link).peekable();
        if siblings.peek().is_none() || self.desired.named.contains(&address) {
            return false;
        }
        let Some(attachment) = self.links.get(&link) else {
            return false;
        };
        let own = fitness(link, attachment, address);
        siblings.any(|other| {
            let attachment = self.links.get(&other);
            let attachment = attachment.filter(|other| other.is_usable() && other.is_settled);
            attachment
                .is_some_and(|to| to.owned.contains(&address) && fitness(other, to, address) > own)
        })
    }
}

/// An interface in the address's subnet suits it better; of two alike the one that was there first does.
fn fitness(
    link: LinkIndex,
    attachment: &Attachment,
    address: IpAddr,
) -> (bool, Reverse<LinkIndex>) {
    let mut subnets = attachment.link.addresses.iter();
    (subnets.any(|net| net.contains(&address)), Reverse(link))
}

/// After so many heartbeats that were not heard an interface is heard no more.
const MISSED: u8 = 4;
