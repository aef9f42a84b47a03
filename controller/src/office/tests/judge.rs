//! What must hold of every state of the API server.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ferrolb_crds::model::{Pool, Service, ServiceKey};

use super::server::{Object, Server};
use crate::lease::{Draft, Log};

#[derive(Debug)]
pub(super) struct Judge {
    /// The pools there were, and until when.
    pools: Vec<(Instant, Vec<Pool>)>,
    /// When a Service, by UID, last began to ask for something else than it had, or was told so.
    asked_at: BTreeMap<String, Instant>,
    pub(super) patches: usize,
    pub(super) log: Log,
    pub(super) logs: usize,
}

impl Judge {
    pub(super) fn new() -> Self {
        Self {
            pools: Vec::new(),
            asked_at: BTreeMap::new(),
            patches: 0,
            log: Log::default(),
            logs: 0,
        }
    }

    pub(super) fn count_patch(&mut self) {
        self.patches += 1;
    }

    pub(super) fn judge_lease(&mut self, draft: &Draft, is_written: bool) -> Result<(), String> {
        if is_written && self.log != draft.log {
            self.log.clone_from(&draft.log);
            self.logs += 1;
        }
        Ok(())
    }

    /// These pools are no more.
    pub(super) fn note_pools(&mut self, now: Instant, before: Vec<Pool>) {
        self.pools.push((now, before));
    }

    /// A Service has been edited, or the pools have.
    pub(super) fn note_edit(&mut self, now: Instant, server: &Server, object: &Object) {
        let Object { observed, .. } = object;
        if !may_keep(object.spec(), &observed.ingress, &server.pools) {
            self.asked_at.insert(observed.uid.clone(), now);
        }
    }

    /// A controller has patched this Service, which held these addresses before.
    pub(super) fn judge_patch(
        &self,
        now: Instant,
        server: &Server,
        key: &ServiceKey,
        before: &[IpAddr],
    ) -> Result<(), String> {
        let object = &server.services[key];
        let after = &object.observed.ingress;
        let lost = before.iter().find(|address| !after.contains(address));
        if let Some(lost) = lost {
            let asked_at = self.asked_at.get(&object.observed.uid);
            let has_asked = asked_at.is_some_and(|at| *at + MEMORY >= now);
            let recent = self
                .pools
                .iter()
                .filter(|(until, _)| *until + MEMORY >= now);
            let mut all = recent.map(|(_, pools)| pools).chain([&server.pools]);
            if !has_asked && all.all(|pools| may_keep(object.spec(), before, pools)) {
                return Err(format!("I2: {key} loses {lost}"));
            }
        }
        judge_addresses(server)
    }
}

/// I1: no address with two Services unless the sharing rules allow it. In these simulations a Service
/// has the same terms all its life.
fn judge_addresses(server: &Server) -> Result<(), String> {
    let mut holders: BTreeMap<IpAddr, Vec<&Service>> = BTreeMap::new();
    for object in server.services.values() {
        for address in &object.observed.ingress {
            let others = holders.entry(*address).or_default();
            for other in others.iter() {
                if !may_share(object.spec(), other) {
                    let (one, other) = (&object.spec().key, &other.key);
                    return Err(format!("I1: {address} is with {one} and {other}"));
                }
            }
            others.push(object.spec());
        }
    }
    Ok(())
}

fn may_share(one: &Service, other: &Service) -> bool {
    let keys = (&one.requests.sharing_key, &other.requests.sharing_key);
    let ports = |service: &Service| {
        service
            .ports
            .iter()
            .map(|p| p.port)
            .collect::<BTreeSet<_>>()
    };
    keys.0.is_some() && keys.0 == keys.1 && ports(one).is_disjoint(&ports(other))
}

/// Whether a Service may keep these.
fn may_keep(service: &Service, ingress: &[IpAddr], pools: &[Pool]) -> bool {
    let requests = &service.requests;
    let has =
        |pool: &&Pool, address: IpAddr| pool.ranges.iter().any(|range| range.contains(address));
    let is_asked = |owner: &Pool| {
        requests
            .pool
            .as_ref()
            .is_none_or(|pool| *pool == owner.name)
    };
    let mut owners = ingress
        .iter()
        .map(|address| pools.iter().find(|pool| has(pool, *address)));
    let asked = requests.addresses.as_ref();
    let has_asked = |text: &String| ingress.iter().all(|address| address.to_string() == *text);
    owners.all(|owner| owner.is_some_and(is_asked)) && asked.is_none_or(has_asked)
}

/// Long enough for whoever has seen other pools to have given up.
const MEMORY: Duration = Duration::from_secs(120);
