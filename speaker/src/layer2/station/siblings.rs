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
use crate::layer2::{Interfaces, LinkIndex};

/// Where this node has heard itself.
#[derive(Debug, Default)]
pub(super) struct Siblings {
    /// On the first what was sent on the second: until when that counts.
    heard: BTreeMap<(LinkIndex, LinkIndex), Instant>,
}

impl Siblings {
    /// On one interface was heard what was just sent on another; true if that is news.
    pub(super) fn note(&mut self, on: LinkIndex, from: LinkIndex, until: Instant) -> bool {
        self.heard.insert((on, from), until).is_none()
    }

    /// What has not been heard again counts no more; true if there is any.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let before = self.heard.len();
        self.heard.retain(|_, until| *until > now);
        self.heard.len() < before
    }

    /// The others of which something is heard on an interface.
    fn of(&self, link: LinkIndex) -> impl Iterator<Item = LinkIndex> {
        let all = (link, LinkIndex(0))..=(link, LinkIndex(u32::MAX));
        self.heard.range(all).map(|((_, from), _)| *from)
    }
}

impl Station {
    /// This node hears itself.
    pub(super) fn note_own(&mut self, now: Instant, link: LinkIndex, from: &str, sequence: u64) {
        // What was said long ago is a recording.
        if self.voice.has_said_lately(sequence)
            && let Some((other, _)) = self.links.iter().find(|(_, to)| to.link.name == from)
            && *other != link
        {
            let until = now + self.liveness.interval(*other).saturating_mul(MISSED);
            if self.siblings.note(link, *other, until) {
                self.apply(now);
            }
        }
    }

    /// Where nothing is heard any more of another interface, it is not waited for.
    pub(super) fn part_siblings(&mut self, now: Instant) {
        if self.siblings.expire(now) {
            self.apply(now);
        }
    }

    /// Whether another interface of this node on the same segment answers for the address.
    pub(super) fn leaves_to_sibling(&self, link: LinkIndex, address: IpAddr) -> bool {
        let is_named = matches!(self.desired.owned.get(&address), Some(Interfaces::Only(_)));
        let Some(attachment) = self.links.get(&link).filter(|_| !is_named) else {
            return false;
        };
        let own = fitness(link, attachment, address);
        self.siblings.of(link).any(|other| {
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

/// After so many intervals without one another interface is heard no more.
const MISSED: u32 = 4;
