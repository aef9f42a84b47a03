//! Giving an address up, and leaving: answering until somebody else does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Farewell, Output, Station};
use crate::layer2::claims::{Claims, Message, Standing};
use crate::layer2::heartbeat::Flags;
use crate::layer2::liveness::Liveness;
use crate::layer2::{Interfaces, LinkIndex};

/// An address that somebody else is to take.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) interfaces: Interfaces,
    pub(super) until: Instant,
}

impl Station {
    /// Ends hand-overs that have come to their end.
    pub(super) fn hand_over(&mut self, now: Instant) {
        if self.offers.is_empty() {
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
    }

    pub(super) fn leave(&mut self, now: Instant) {
        if self.leaving.is_some() {
            return;
        }
        self.leaving = Some(Farewell::begin(now));
        self.is_new = false;
        let owned = std::mem::take(&mut self.desired.owned);
        let mut nodes = self.liveness.nodes();
        let is_accompanied = nodes.any(|(_, node)| node.heard_on().next().is_some());
        drop(nodes);
        // Where nobody else is, there is nobody to wait for.
        match is_accompanied {
            true => {
                let offers = owned.into_iter();
                let offers = offers.map(|(address, on)| (address, Offer::of(now, on)));
                self.offers.extend(offers);
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
                self.send(link, None, Flags::default(), Message::Nothing);
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

impl Offer {
    pub(super) fn of(now: Instant, interfaces: Interfaces) -> Self {
        Self {
            interfaces,
            until: now + HAND_OVER,
        }
    }
}

/// Whether somebody who is up there says that it holds the address.
pub(super) fn is_taken(
    claims: &Claims,
    liveness: &Liveness,
    link: LinkIndex,
    address: IpAddr,
) -> bool {
    let mut claimants = claims.at(address).iter();
    claimants.any(|(source, standing)| {
        *standing == Standing::Holds && liveness.is_up(&source.node, link, &source.interface)
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
