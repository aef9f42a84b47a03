//! What one controller has heard of the API server, as its source would tell it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use ferrolb_crds::model::{Pool, Service, ServiceKey};
use ferrolb_crds::source::Change;
use ferrolb_crds::source::kubernetes::{Batch, Observed, Reached};

use super::server::{News, Object};
use crate::fixture::announced;
use crate::office::Source;

#[derive(Debug, Default)]
pub(super) struct Follower {
    services: BTreeMap<ServiceKey, Service>,
    pools: Option<Vec<Pool>>,
    /// Not told yet.
    changes: Vec<Change>,
    observed: BTreeMap<ServiceKey, Option<Box<Observed>>>,
    reached: Reached,
    is_listed: bool,
    is_synced: bool,
    /// The last list that was asked for.
    asked: Cell<u64>,
}

impl Source for Follower {
    fn relist(&self) -> u64 {
        self.asked.set(self.asked.get() + 1);
        self.asked.get()
    }

    fn snapshot(&self) -> Vec<Change> {
        let mut changes = announced(self.pools.as_deref().unwrap_or_default());
        let services = self.services.values();
        changes.extend(services.map(|service| applied(service.clone())));
        if self.is_synced {
            changes.push(Change::Synced);
        }
        changes
    }
}

impl Follower {
    /// The list that is to be made.
    pub(super) fn round(&self) -> u64 {
        self.asked.get()
    }

    pub(super) fn hear_pools(&mut self, pools: Vec<Pool>) {
        self.changes.extend(announced(&pools));
        self.pools = Some(pools);
    }

    pub(super) fn hear_list(&mut self, all: Vec<Object>, version: u64, round: u64) {
        self.is_listed = true;
        self.reached.round = round;
        let listed: BTreeSet<_> = all.iter().map(|object| &object.spec().key).collect();
        let known: Vec<_> = self.services.keys().cloned().collect();
        for key in known.into_iter().filter(|key| !listed.contains(key)) {
            self.hear(key, None);
        }
        for object in all {
            self.hear(object.spec().key.clone(), Some(object));
        }
        self.reach(version);
    }

    pub(super) fn hear_change(&mut self, news: News) {
        self.hear(news.key, news.object);
        self.reach(news.version);
    }

    fn reach(&mut self, version: u64) {
        self.reached.version = self.reached.version.max(version);
    }

    fn hear(&mut self, key: ServiceKey, object: Option<Object>) {
        let service = object.as_ref().map(Object::service);
        if self.services.get(&key) != service.as_ref() {
            let change = service.clone().map(Into::into);
            self.changes.push(Change::Service(key.clone(), change));
        }
        match service {
            Some(service) => drop(self.services.insert(key.clone(), service)),
            None => drop(self.services.remove(&key)),
        }
        self.observed
            .insert(key, object.map(|object| Box::new(object.observed)));
    }

    /// Nothing is told before everything has been listed; then all of it.
    pub(super) fn batch(&mut self) -> Option<Batch> {
        if !self.is_listed || self.pools.is_none() {
            return None;
        }
        let mut changes = mem::take(&mut self.changes);
        if !mem::replace(&mut self.is_synced, true) {
            changes.push(Change::Synced);
        }
        Some(Batch {
            changes,
            services: mem::take(&mut self.observed).into_iter().collect(),
            reached: self.reached,
            ..Batch::default()
        })
    }
}

fn applied(service: Service) -> Change {
    Change::Service(service.key.clone(), Some(service.into()))
}
