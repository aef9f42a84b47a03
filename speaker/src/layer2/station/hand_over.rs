//! Giving an address up, and leaving: answering until somebody else does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Farewell, Output, Saying, Station};
use crate::layer2::claims::{Claims, Standing};
use crate::layer2::liveness::Liveness;
use crate::layer2::{Interfaces, LinkIndex};

/// An address that somebody else is to take.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    pub(super) interfaces: Interfaces,
    pub(super) until: Instant,
}

impl Station {
    /// Ends hand-overs that have come to their end.
    pub(super) fn hand_over(&mut self, now: Instant) {
        let may_hand_over = std::mem::take(&mut self.may_hand_over);
        if self.offers.is_empty() {
            // What was offered is wanted here again.
            self.offers_end = None;
            return;
        }
        let is_due = self.offers_end.is_some_and(|end| end <= now);
        if !is_due && !may_hand_over {
            return;
        }
        let over = self.offers.iter().filter(|(_, offer)| offer.until <= now);
        if self.leaving.is_some() {
            self.left_behind.extend(over.map(|(address, _)| *address));
        }
        self.offers.retain(|_, offer| now < offer.until);
        self.apply(now);
        let links = &self.links;
        self.offers.retain(|address, _| {
            let mut links = links.values();
            links.any(|attachment| attachment.owned.contains(address))
        });
        self.offers_end = self.offers.values().map(|offer| offer.until).min();
    }

    /// Somebody else is to take this.
    pub(super) fn offer(&mut self, now: Instant, address: IpAddr, interfaces: Interfaces) {
        let until = now + HAND_OVER;
        self.offers.insert(address, Offer { interfaces, until });
        self.offers_end = self.offers_end.into_iter().chain([until]).min();
        self.may_hand_over = true;
    }

    pub(super) fn leave(&mut self, now: Instant) {
        if self.leaving.is_some() {
            return;
        }
        self.leaving = Some(Farewell::begin(now));
        self.is_new = false;
        let owned = std::mem::take(&mut self.desired.owned);
        let probed = std::mem::take(&mut self.desired.probed);
        self.probes.note(&probed, &self.desired.probed);
        let mut nodes = self.liveness.nodes();
        let is_accompanied = nodes.any(|(_, node)| {
            let mut ways = node.heard_on().chain(node.listens_on());
            ways.next().is_some()
        });
        drop(nodes);
        // Where nobody else is, there is nobody to wait for.
        match is_accompanied {
            true => {
                for (address, interfaces) in owned {
                    self.offer(now, address, interfaces);
                }
            }
            false => self.left_behind = owned.into_keys().collect(),
        }
        self.apply(now);
    }

    /// The addresses that nobody took when this node left.
    pub fn left_behind(&self) -> BTreeSet<IpAddr> {
        self.left_behind.clone()
    }

    pub(super) fn say_leaving(&mut self, now: Instant) {
        let Some(farewell) = &mut self.leaving else {
            return;
        };
        if farewell.take(now) {
            let links: Vec<LinkIndex> = self.beating().collect();
            for link in links {
                self.send(link, None, Saying::default());
            }
        }
        let is_said = self
            .leaving
            .is_some_and(|farewell| farewell.due().is_none());
        if is_said && self.offers.is_empty() && !self.has_left {
            self.has_left = true;
            self.outputs.push_back(Output::Left);
        }
    }
}

/// Whether somebody who is up there, or anywhere, says that it holds the address.
pub(super) fn is_taken(
    claims: &Claims,
    liveness: &Liveness,
    link: Option<LinkIndex>,
    address: IpAddr,
) -> bool {
    let mut claimants = claims.at(address).iter();
    claimants.any(|(source, standing)| {
        *standing == Standing::Holds && liveness.is_up(&source.node, &source.interface, link)
    })
}

/// What the others are told of an interface.
pub(super) fn standings(
    owned: &BTreeSet<IpAddr>,
    offers: &BTreeMap<IpAddr, Offer>,
    remembered: &BTreeSet<IpAddr>,
) -> BTreeMap<IpAddr, Standing> {
    let remembered = remembered.difference(owned);
    let remembered = remembered.map(|address| (*address, Standing::Remembers));
    let owned = owned
        .iter()
        .map(|address| match offers.contains_key(address) {
            true => (*address, Standing::Offers),
            false => (*address, Standing::Holds),
        });
    owned.chain(remembered).collect()
}

/// How long a hand-over may take.
pub const HAND_OVER: Duration = Duration::from_millis(500);
