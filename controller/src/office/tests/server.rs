//! An API server as far as the controller sees it: one counter of versions, conflicts, and what the
//! watches are to be told.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ferrolb_crds::model::{Hints, Pool, Service, ServiceKey, Timestamp};
use ferrolb_crds::source::kubernetes::Observed;
use ferrolb_crds::state::Condition;

use crate::lease::{self, DURATION, Draft, Lease};
use crate::publication::{Patch, Refusal, Remnant};

/// A Service, as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Object {
    spec: Service,
    pub(super) observed: Observed,
}

impl Object {
    /// As the rest of the program knows it.
    pub(super) fn service(&self) -> Service {
        Service {
            ingress: self.observed.ingress.clone(),
            allocated_from: self.observed.pool.clone(),
            hints: self.observed.hints.clone(),
            ..self.spec.clone()
        }
    }

    pub(super) fn spec(&self) -> &Service {
        &self.spec
    }
}

/// A Service is like this, or is no more; by which version.
#[derive(Debug, Clone)]
pub(super) struct News {
    pub(super) key: ServiceKey,
    pub(super) object: Option<Object>,
    pub(super) version: u64,
}

/// What a patch did.
pub(super) struct Patched {
    pub(super) answer: Result<Box<Observed>, Refusal>,
    /// Absent: nothing has changed.
    pub(super) news: Option<News>,
    pub(super) before: Vec<IpAddr>,
}

#[derive(Debug, Default)]
pub(super) struct Server {
    revision: u64,
    pub(super) services: BTreeMap<ServiceKey, Object>,
    /// Services that were load balancers and are not any more.
    others: BTreeMap<ServiceKey, Object>,
    pub(super) lease: Option<Lease>,
    /// When the Lease was written, by the clock of who wrote it.
    renewed: i64,
    pub(super) pools: Vec<Pool>,
}

impl Server {
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    fn next(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    /// Creates a Service, or edits what users edit of it.
    pub(super) fn apply(&mut self, spec: Service) -> News {
        let version = self.next();
        let key = spec.key.clone();
        let known = self.services.remove(&key);
        let observed = match known.or_else(|| self.others.remove(&key)) {
            Some(object) => object.observed,
            None => Observed {
                uid: format!("u{version}"),
                version: String::new(),
                ingress: Vec::new(),
                is_plain: true,
                pool: None,
                hints: Hints::default(),
                condition: None,
            },
        };
        let object = Object {
            spec,
            observed: Observed {
                version: version.to_string(),
                ..observed
            },
        };
        self.services.insert(key.clone(), object.clone());
        News {
            key,
            object: Some(object),
            version,
        }
    }

    pub(super) fn delete(&mut self, key: &ServiceKey) -> Option<News> {
        self.services.remove(key)?;
        Some(News {
            key: key.clone(),
            object: None,
            version: self.next(),
        })
    }

    /// A Service is no load balancer any more; the server takes its addresses away, and no more.
    pub(super) fn retype(&mut self, key: &ServiceKey) -> Option<News> {
        let mut object = self.services.remove(key)?;
        object.observed.ingress.clear();
        self.others.insert(key.clone(), object);
        Some(News {
            key: key.clone(),
            object: None,
            version: self.next(),
        })
    }

    /// What was written into a Service is taken away, whatever it is by now.
    pub(super) fn clean(&mut self, remnant: &Remnant) -> Option<News> {
        let version = self.revision + 1;
        let (key, others) = (&remnant.key, &mut self.others);
        let services = &mut self.services;
        let object = services.get_mut(key).or_else(|| others.get_mut(key))?;
        let observed = &mut object.observed;
        let has_hints = observed.hints != Hints::default();
        let carries = observed.pool.is_some() || observed.condition.is_some() || has_hints;
        if observed.uid != remnant.uid || !carries {
            return None;
        }
        (observed.pool, observed.condition) = (None, None);
        observed.hints = Hints::default();
        observed.version = version.to_string();
        self.revision = version;
        let object = Some(self.services.get(key)?.clone());
        Some(News {
            key: key.clone(),
            object,
            version,
        })
    }

    /// Who is no load balancer any more and carries something still.
    pub(super) fn remnants(&self) -> impl Iterator<Item = &ServiceKey> {
        let others = self.others.iter();
        let carry = others.filter(|(_, object)| object.observed.condition.is_some());
        carry.map(|(key, _)| key)
    }

    /// Somebody takes a Service's addresses out of its status.
    pub(super) fn wipe(&mut self, key: &ServiceKey) -> Option<News> {
        let version = self.revision + 1;
        let object = self.services.get_mut(key)?;
        if object.observed.ingress.is_empty() {
            return None;
        }
        object.observed.ingress.clear();
        object.observed.version = version.to_string();
        let object = Some(object.clone());
        self.revision = version;
        Some(News {
            key: key.clone(),
            object,
            version,
        })
    }

    /// A patch that changes nothing makes no new version.
    pub(super) fn patch(&mut self, patch: &Patch, now: Timestamp) -> Patched {
        let version = self.revision + 1;
        let refused = Patched {
            answer: Err(Refusal::Conflict),
            news: None,
            before: Vec::new(),
        };
        let Some(object) = self.services.get_mut(&patch.key) else {
            return refused;
        };
        if object.observed.version != patch.version {
            return refused;
        }
        let before = object.observed.clone();
        let status = &patch.status;
        let mut after = Observed {
            ingress: status.ingress.clone(),
            pool: status.pool.clone(),
            hints: status.hints.clone(),
            condition: Some(Condition {
                allocated: !status.ingress.is_empty(),
                reason: status.reason.to_string(),
                message: status.message.to_string(),
                since: patch.since.unwrap_or(now),
            }),
            ..before.clone()
        };
        let mut news = None;
        if after != before {
            after.version = version.to_string();
            self.revision = version;
            object.observed = after.clone();
            news = Some(News {
                key: patch.key.clone(),
                object: Some(object.clone()),
                version,
            });
        }
        Patched {
            answer: Ok(Box::new(after)),
            news,
            before: before.ingress,
        }
    }

    pub(super) fn write_lease(
        &mut self,
        draft: &Draft,
        now: Timestamp,
    ) -> Result<Lease, lease::Refusal> {
        let known = self.lease.as_ref();
        if known.map(|lease| &lease.version) != draft.version.as_ref() {
            return Err(lease::Refusal::Conflict);
        }
        let mut lease = Lease {
            version: draft.version.clone().unwrap_or_default(),
            holder: draft.holder.clone(),
            duration: DURATION,
            transitions: draft.transitions,
            log: draft.log.clone(),
        };
        if known != Some(&lease) || self.renewed != now.0 {
            self.renewed = now.0;
            lease.version = self.next().to_string();
        }
        self.lease = Some(lease.clone());
        Ok(lease)
    }
}
