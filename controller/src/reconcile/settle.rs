//! Settles what has changed, in two halves: first everything that may stay as it is stays and the
//! rest is released, and only then is anything given out, in order.

use std::mem;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use ferrolb_crds::model::{Family, ServiceKey};

use crate::allocator::{Cover, Joining, Terms};
use crate::decide::{Case, Choice, Kept, Review, choose, extend, review};

use super::queue::Turn;
use super::{Loss, Output, Reconciler, Record};

impl Reconciler {
    /// Settles what the changes lead to: first what may stay as it is stays, then what can be given is
    /// given.
    pub(super) fn settle(&mut self, now: Instant) {
        self.allocator.expire(now);
        self.losses.clear();
        if mem::take(&mut self.work.has_new_pools) {
            self.allocator.replace_pools(&self.config.pools);
            self.queue.clear();
            self.work.dirty.extend(self.records.keys().cloned());
        }
        self.adopt_orphans();
        let turns = self.lift(now);
        let is_first = mem::take(&mut self.work.is_first);
        for (is_claim, turn) in turns {
            let joining = if is_claim && !is_first {
                Joining::New
            } else {
                Joining::Adopted
            };
            self.review(turn, joining, now);
        }
        while let Some(next) = self.queue.pop() {
            if self.allocate(&next.turn) {
                self.queue.go_on(next);
            }
        }
        let touched = mem::take(&mut self.work.touched);
        for key in &touched {
            self.displace(key);
        }
        for key in touched {
            self.place(&key);
            self.record(key);
        }
    }

    /// The hints of what the Service does not have any more count no more.
    fn displace(&mut self, key: &ServiceKey) {
        if let Some(record) = self.records.get_mut(key) {
            let gone = record.hints.keep_only(self.allocator.held(record.holder));
            self.placement
                .remove(gone.iter().map(|(address, node)| (*address, node)));
        }
    }

    /// Says where what the Service was given is to be held. What it had before stays as it is hinted,
    /// or not.
    fn place(&mut self, key: &ServiceKey) {
        let Some(record) = self.records.get_mut(key) else {
            return;
        };
        let given = mem::take(&mut record.given);
        let Some(known) = &record.known else {
            return;
        };
        for address in given {
            let is_held = self.allocator.held(record.holder).contains(&address);
            let Cover::Pool(index) = self.allocator.cover(address) else {
                continue;
            };
            if !is_held || record.hints.node(address).is_some() {
                continue;
            }
            let pool = self.allocator.pool(index);
            let (config, service) = (&self.config, &known.service);
            if let Some(node) = self.placement.place(config, pool, service, address) {
                record.hints.set(address, node);
            }
        }
    }

    /// What nothing describes stays as it is, if the description may exist unread.
    fn adopt_orphans(&mut self) {
        if !mem::take(&mut self.work.has_new_ghosts) {
            return;
        }
        for (key, mut addresses) in mem::take(&mut self.orphans) {
            if self.service(&key).is_some() {
                continue;
            }
            if self.unreadable.may_hold(&key) {
                let holders = &mut self.holders;
                let record = self.records.entry(key.clone());
                let record = record.or_insert_with(|| Box::new(Record::new(holders.take())));
                record.is_orphan = true;
                let terms = Arc::new(Terms::unknown(key));
                // After the start somebody may have claimed it already.
                addresses.retain(|address| {
                    let check = self
                        .allocator
                        .check(record.holder, &terms, *address, Joining::New);
                    self.work.is_first || check.is_ok()
                });
                self.allocator.assign(record.holder, &terms, &addresses);
            } else {
                self.outputs.push_back(Output::Remove(key.clone()));
                self.written.remove(&key);
            }
        }
        let is_unknown = |key: &&ServiceKey| self.service(key).is_none();
        let ghosts: Vec<_> = self.records.keys().chain(self.written.keys()).collect();
        let ghosts: Vec<_> = ghosts.into_iter().filter(is_unknown).cloned().collect();
        self.work.dirty.extend(ghosts);
    }

    /// Drops Services that are gone, and has those that share on other terms than before let go for
    /// a moment: together they may still agree. Returns the others that changed, in order; who holds
    /// an address comes before who only claims it.
    fn lift(&mut self, now: Instant) -> Vec<(bool, Turn)> {
        let mut turns = Vec::new();
        for key in mem::take(&mut self.work.dirty) {
            self.work.touched.insert(key.clone());
            let Some(record) = self.records.get_mut(&key) else {
                continue;
            };
            if let Some(turn) = &record.turn {
                self.queue.forget(turn, &mem::take(&mut record.waits));
            }
            let Some(known) = &record.known else {
                self.lose(key, now);
                continue;
            };
            let is_claim = !record.claim.is_empty();
            let terms = self.allocator.terms(record.holder);
            if terms.is_some_and(|terms| **terms != *known.request.terms) {
                record.claim = self.allocator.lift(record.holder);
            }
            let holds = is_claim || !self.allocator.held(record.holder).is_empty();
            let holds = holds || !record.claim.is_empty();
            turns.push((is_claim, Turn::of(&known.service, holds)));
        }
        turns.sort();
        turns
    }

    /// The Service's description is gone.
    fn lose(&mut self, key: ServiceKey, now: Instant) {
        let Some(record) = self.records.get_mut(&key) else {
            return;
        };
        let may_exist = match record.is_orphan {
            true => self.unreadable.may_hold(&key),
            false => self.unreadable.may_hide(&key),
        };
        if may_exist {
            let addresses = self.allocator.lift(record.holder);
            let terms = Arc::new(Terms::unknown(key));
            self.allocator.assign(record.holder, &terms, &addresses);
        } else if let Some(record) = self.records.remove(&key) {
            self.placement.remove(record.hints.iter());
            let addresses = self.allocator.release(record.holder, &key, now);
            self.holders.give_back(record.holder);
            self.wake(&addresses);
        }
    }

    fn wake(&mut self, addresses: &[IpAddr]) {
        for address in addresses {
            if self.allocator.is_used(*address) {
                self.wake_sharers(*address);
            } else {
                let pool = self.owner(*address);
                let (allocator, other) = (&self.allocator, Family::of(*address).other());
                self.queue.vacated(*address, pool, |need| {
                    let parts = pool.zip(need.sharing.as_ref());
                    parts.is_some_and(|(pool, key)| {
                        allocator.has_room(pool, other, key, &need.ports)
                    })
                });
            }
        }
    }

    /// Others may join those who have the address, or are to be told whom they wait for.
    fn wake_sharers(&mut self, address: IpAddr) {
        let pool = self.owner(address);
        let key = self.allocator.sharing(address);
        self.queue.shared(address, pool, key);
    }

    /// First half: what may stay stays.
    fn review(&mut self, turn: Turn, joining: Joining, now: Instant) {
        let Some((record, case)) = self.case(&turn.key) else {
            return;
        };
        let held = self.held(record);
        let verdict = review(&case, self.settings.class.as_deref(), held, joining);
        let Some(record) = self.records.get_mut(&turn.key) else {
            return;
        };
        let was_ours = record.is_ours;
        record.is_ours = !matches!(verdict, Review::Ignore(_));
        record.extend_from = None;
        match verdict {
            Review::Ignore(standing) => {
                record.standing = standing;
                record.before.clear();
                if !was_ours {
                    // Somebody else's, and never given away here: it need not rest.
                    record.claim.clear();
                }
                self.release(&turn.key, now);
            }
            Review::Keep(kept) => self.keep(turn, kept),
            Review::Shed(surplus, why) => {
                self.note_loss(&turn.key, why);
                self.shed(&turn.key, &surplus, now);
                self.review(turn, joining, now);
            }
            Review::Evict(why) => {
                self.note_loss(&turn.key, why);
                self.release(&turn.key, now);
                self.queue.push(turn);
            }
            Review::Ask => self.queue.push(turn),
        }
    }

    /// What the Service has, or claims.
    fn held<'a>(&'a self, record: &'a Record) -> &'a [IpAddr] {
        match record.claim.as_slice() {
            [] => self.allocator.held(record.holder),
            claim => claim,
        }
    }

    fn note_loss(&mut self, key: &ServiceKey, why: String) {
        let Some(record) = self.records.get(key) else {
            return;
        };
        let held = self.held(record).to_vec();
        match self.losses.get_mut(key) {
            Some(loss) => loss.why = format!("{}; {why}", loss.why),
            None => drop(self.losses.insert(key.clone(), Loss { held, why })),
        }
    }

    fn keep(&mut self, turn: Turn, kept: Kept) {
        let Some(record) = self.records.get_mut(&turn.key) else {
            return;
        };
        record.standing = kept.standing;
        record.extend_from = kept.extend_from;
        let claim = mem::take(&mut record.claim);
        if let Some(known) = &record.known {
            let terms = &known.request.terms;
            self.allocator.assign(record.holder, terms, &claim);
        }
        if record.extend_from.is_some() {
            self.queue.push(turn);
        }
        for address in claim {
            self.wake_sharers(address);
        }
    }

    /// Takes from the Service some of what it has, or claims. The rest is a claim then.
    fn shed(&mut self, key: &ServiceKey, surplus: &[IpAddr], now: Instant) {
        let Some(record) = self.records.get_mut(key) else {
            return;
        };
        if record.claim.is_empty() {
            record.claim = self.allocator.lift(record.holder);
        }
        record.claim.retain(|address| !surplus.contains(address));
        self.allocator.rest(surplus, key, now);
        self.wake(surplus);
    }

    /// Takes from the Service what it has, or claims.
    fn release(&mut self, key: &ServiceKey, now: Instant) {
        let Some(record) = self.records.get_mut(key) else {
            return;
        };
        let mut addresses = mem::take(&mut record.claim);
        if addresses.is_empty() {
            addresses = self.allocator.release(record.holder, key, now);
        } else {
            self.allocator.rest(&addresses, key, now);
        }
        self.wake(&addresses);
    }

    /// Second half: what can be given is given. False when it is refused.
    fn allocate(&mut self, turn: &Turn) -> bool {
        let Some((record, case)) = self.case(&turn.key) else {
            return true;
        };
        let held = self.allocator.held(record.holder);
        let given = match (held, record.extend_from) {
            ([], _) => choose(&case),
            ([held], Some(owner)) => extend(&case, *held, owner),
            // It has been given everything since it was woken.
            (_, _) => return true,
        };
        let terms = Arc::clone(&case.request.terms);
        self.work.touched.insert(turn.key.clone());
        let Some(record) = self.records.get_mut(&turn.key) else {
            return true;
        };
        if let Some(turn) = &record.turn {
            self.queue.forget(turn, &mem::take(&mut record.waits));
        }
        match given {
            Choice::Assign {
                addresses,
                standing,
                missing,
            } => {
                self.allocator.assign(record.holder, &terms, &addresses);
                record.given.extend(&addresses);
                record.standing = standing;
                record.extend_from = missing.as_ref().map(|(owner, _)| *owner);
                if let Some((_, wait)) = missing {
                    record.wait(&mut self.queue, turn.with_holding(), vec![wait]);
                }
                for address in addresses {
                    let pool = self.owner(address);
                    let key = self.allocator.sharing(address);
                    self.queue.joined(address, pool, key);
                }
                true
            }
            Choice::Refuse { standing, waits } => {
                record.standing = standing;
                record.wait(&mut self.queue, turn.clone(), waits);
                false
            }
        }
    }

    fn case(&self, key: &ServiceKey) -> Option<(&Record, Case<'_>)> {
        let record = self.records.get(key)?;
        let known = record.known.as_ref()?;
        let case = Case {
            service: &known.service,
            request: &known.request,
            namespace_labels: self.namespaces.get(&key.namespace)?,
            holder: record.holder,
            allocator: &self.allocator,
            pools_incomplete: self.config.pools_incomplete,
            namespace_unknown: self.unreadable.may_hide_namespace(&key.namespace),
            records_unknown: self.unreadable.records,
        };
        Some((record, case))
    }
}
