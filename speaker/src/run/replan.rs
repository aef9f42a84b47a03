//! Planning what was touched, and what follows from that for the machines.

#![expect(clippy::disallowed_methods, reason = "driver: reads the clock")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ferrolb_crds::model::ServiceKey;
use ipnet::IpNet;

use super::changes::{self, Differences};
use super::{Speaker, announced, translate};
use crate::plan::{self, AddressPlan};

/// What follows from what was planned anew.
#[derive(Default)]
struct Follows {
    differs: Differences,
    /// This node has come to hold an address, or holds one no more.
    has_moved: bool,
    /// Not handed off before.
    fresh: BTreeSet<IpAddr>,
    /// Advertised anew, or no more.
    moved: BTreeSet<IpNet>,
    /// Whose plan is another one.
    services: BTreeSet<ServiceKey>,
}

impl Speaker {
    /// Plans what was touched and gives the machines what differs. Until everything present has
    /// been read, nothing is known well enough to act on.
    pub(super) fn replan(&mut self, touched: BTreeSet<IpAddr>) {
        if !self.is_ready {
            return;
        }
        let now = SystemTime::now();
        let mut follows = Follows::default();
        let remembered = self.world.remembered().len();
        let touched: Vec<IpAddr> = touched.into_iter().collect();
        // Some at once, not all: most plans are as before, and are not kept.
        for some in touched.chunks(TOGETHER) {
            let planned = plan::plan_each(&self.world, some.iter().copied());
            for (address, plan) in planned.collect::<Vec<_>>() {
                self.adopt(now, address, plan, &mut follows);
            }
        }
        let Follows {
            mut differs,
            has_moved,
            fresh,
            moved,
            services,
        } = follows;
        changes::note_advertised(&mut self.since, now, &moved, &self.plan);
        self.report_services(services);
        self.plan.peers = plan::peers(&self.world);
        let heartbeat = plan::heartbeat(&self.world);
        differs.layer2 |= self.plan.heartbeat != heartbeat;
        // What comes to be remembered by a plan was held, which differs anyway.
        differs.layer2 |= self.world.remembered().len() != remembered;
        self.plan.heartbeat = heartbeat;
        let is_handed_off = self.hand_off.is_to_hear(&differs);
        if has_moved || (is_handed_off && !fresh.is_empty()) {
            self.owed.hurry();
        } else if is_handed_off {
            self.owed.give_way(Instant::now(), moved.len());
        }
        self.owed.add(differs, moved);
        self.apply(fresh);
    }

    /// Takes over what was planned of one address, and notes what follows.
    fn adopt(
        &mut self,
        now: SystemTime,
        address: IpAddr,
        new: Option<AddressPlan>,
        follows: &mut Follows,
    ) {
        self.note_decided(address, new.as_ref());
        let old = self.plan.addresses.get(&address).map(Arc::as_ref);
        if old == new.as_ref() {
            return;
        }
        changes::log(address, old, new.as_ref());
        changes::note_held(&mut self.since, now, address, new.as_ref());
        if let Some(cluster) = &self.cluster {
            cluster.note_address(address, old, new.as_ref());
        }
        follows.differs.add(old, new.as_ref());
        self.hand_off.note_change(address, old, new.as_ref());
        changes::note_moved(&mut follows.moved, old, new.as_ref());
        follows.has_moved |= old
            .zip(new.as_ref())
            .is_some_and(|(old, new)| old.layer2.is_held() != new.layer2.is_held());
        let plans = old.into_iter().chain(new.as_ref());
        let services = plans.flat_map(AddressPlan::holders).cloned();
        follows.services.extend(services);
        let was_handed_off = old.is_some_and(AddressPlan::is_handed_off);
        match new.as_ref().is_some_and(AddressPlan::is_handed_off) {
            true if !was_handed_off => drop(follows.fresh.insert(address)),
            true => {}
            false => self.hand_off.forget(address),
        }
        match new {
            Some(new) => self.plan.addresses.insert(address, Arc::new(new)),
            None => self.plan.addresses.remove(&address),
        };
    }

    /// The next plan depends on what this one makes this node hold.
    fn note_decided(&mut self, address: IpAddr, plan: Option<&AddressPlan>) {
        let is_held = plan.is_some_and(|plan| plan.layer2.is_held());
        self.rivals.note_held(Instant::now(), address, is_held);
        match plan.map(|plan| plan.layer2.decision()) {
            Some(decision) => self.world.note_decision(address, decision),
            None => self.world.forget(address),
        }
    }

    /// Tells the machines what differs, if it is time; `fresh` was not handed off before, and waits
    /// for that.
    pub(super) fn apply(&mut self, fresh: BTreeSet<IpAddr>) {
        let now = Instant::now();
        if let Some(differs) = self.owed.take(now, self.plan.addresses.len()) {
            self.apply_everywhere(differs, fresh);
        }
        if let Some(prefixes) = self.owed.take_prefixes(now) {
            let is_any = self.sessions.is_any();
            self.apply_sessions();
            // Who has just been started has everything.
            if is_any {
                self.tell_routes(&prefixes);
            }
        }
        self.hand_off.tell();
    }

    /// Tells layer 2, by a pass over all addresses, and prepares what the hand-off is told.
    fn apply_everywhere(&mut self, differs: Differences, fresh: BTreeSet<IpAddr>) {
        // What an earlier run left stands until it is known what layer 2 may need of it.
        let is_first = !self.hand_off.is_told() && !self.segment.is_starting();
        if self.hand_off.is_to_hear(&differs) || is_first {
            self.hand_off.prepare(Instant::now(), fresh);
        }
        if differs.layer2 {
            self.tell_layer2();
        }
    }

    /// Announces these addresses, which waited for the hand-off.
    pub(super) fn announce(&mut self, ready: &BTreeSet<IpAddr>) {
        if ready.is_empty() {
            return;
        }
        self.apply_sessions();
        let plans = ready
            .iter()
            .filter_map(|address| self.plan.addresses.get(address));
        let advertised = plans.clone().flat_map(|plan| &plan.advertised);
        let prefixes = advertised.map(|advertised| advertised.prefix).collect();
        self.tell_routes(&prefixes);
        if plans.clone().any(|plan| plan.layer2.is_concerned()) {
            self.tell_layer2();
        }
    }

    /// Tells the sessions and the stations what has become of these prefixes. Whoever is to end has been ended: that says
    /// more than a withdrawal.
    fn tell_routes(&self, prefixes: &BTreeSet<IpNet>) {
        if prefixes.is_empty() {
            return;
        }
        let (plan, hand_off) = (&self.plan, &self.hand_off);
        let within = |prefix| {
            let announced = announced(plan.within(prefix), hand_off);
            announced.map(|(_, plan)| plan)
        };
        let changed = translate::changed(plan.peers.keys(), prefixes, within);
        self.sessions.tell(&changed);
        self.bmp.tell(&changed);
    }
}

/// So many addresses are planned together.
const TOGETHER: usize = 256;
