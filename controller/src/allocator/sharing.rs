//! When Services may share an address.
//!
//! Services share when each carries the same non-empty key, when traffic for either may land on the
//! same backends, and when no two of them want the same port of the same protocol. A Service alone
//! on an address may change all of that freely.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ferrolb_crds::model::{Protocol, Service, ServiceKey, TrafficPolicy};

use super::Holder;

/// What has to be equal for two Services to share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SharingKey {
    text: String,
    backends: Option<Backends>,
}

/// The pods that a Service with the traffic policy Local sends to: the nodes that have one of them
/// are the nodes that may take its traffic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Backends {
    namespace: String,
    selector: BTreeMap<String, String>,
}

/// What sharing depends on, of one Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Whose they are.
    pub service: ServiceKey,
    /// Present: it is willing to share.
    pub sharing: Option<SharingKey>,
    /// What it listens on; sorted, each once.
    ports: Vec<(Protocol, u16)>,
    /// False for a Service whose object could not be read: what it holds is all that is known.
    is_known: bool,
}

impl Terms {
    /// Of a Service.
    pub fn of(service: &Service) -> Self {
        let mut ports: Vec<_> = service
            .ports
            .iter()
            .map(|port| (port.protocol, port.port.get()))
            .collect();
        ports.sort_unstable();
        ports.dedup();
        Self {
            service: service.key.clone(),
            sharing: SharingKey::of(service),
            ports,
            is_known: true,
        }
    }

    /// Of a Service that holds addresses but whose object could not be read.
    pub fn unknown(service: ServiceKey) -> Self {
        Self {
            service,
            sharing: None,
            ports: Vec::new(),
            is_known: false,
        }
    }
}

impl SharingKey {
    fn of(service: &Service) -> Option<Self> {
        let text = service.requests.sharing_key.clone()?;
        // With Local and no selector nothing is known about the backends, as with Cluster.
        let is_local = service.traffic_policy == TrafficPolicy::Local;
        let backends = (is_local && !service.selector.is_empty()).then(|| Backends {
            namespace: service.key.namespace.clone(),
            selector: service.selector.clone(),
        });
        (!text.is_empty()).then_some(Self { text, backends })
    }
}

/// Why a Service may not join those that hold an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// One of those that hold it; the first by name where any would do.
    pub other: ServiceKey,
    /// What stands in the way.
    pub cause: ConflictCause,
}

/// What stands in the way of sharing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictCause {
    /// One of the two does not want to share at all, or the holder could not be read.
    NotShared,
    /// Both want to share, but with others.
    OtherKey,
    /// The keys are equal, but traffic policy or selector are not.
    OtherBackends,
    /// Both want the same port.
    Port(Protocol, u16),
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it is in use by {}, ", self.other)?;
        match self.cause {
            ConflictCause::NotShared => f.write_str("and not both allow sharing"),
            ConflictCause::OtherKey => f.write_str("which has another sharing key"),
            ConflictCause::OtherBackends => {
                f.write_str("which has another traffic policy or selector")
            }
            ConflictCause::Port(protocol, port) => write!(f, "which has port {port}/{protocol}"),
        }
    }
}

/// How strictly those are judged who hold an address already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joining {
    /// Somebody new: an unreadable holder shares with nobody.
    New,
    /// Somebody who has held it before: an unreadable holder was allowed to share with it once, and
    /// its error takes no address away.
    Adopted,
}

/// The Services that hold one address.
#[derive(Debug, Default)]
pub(super) struct Usage {
    sharers: Vec<Sharer>,
    /// Who listens on what; filled while there is more than one sharer.
    ports: BTreeMap<(Protocol, u16), Holder>,
    unknown: usize,
}

#[derive(Debug)]
struct Sharer {
    holder: Holder,
    terms: Arc<Terms>,
}

impl Usage {
    /// One Service alone.
    pub(super) fn sole(holder: Holder, terms: Arc<Terms>) -> Self {
        Self {
            unknown: usize::from(!terms.is_known),
            sharers: vec![Sharer { holder, terms }],
            ports: BTreeMap::new(),
        }
    }

    /// Whether the Service may be among the sharers.
    pub(super) fn check(
        &self,
        holder: Holder,
        terms: &Terms,
        joining: Joining,
    ) -> Result<(), Conflict> {
        let mut others = self.sharers.iter().filter(|other| other.holder != holder);
        let refuse = |other: &Sharer, cause| {
            let other = other.terms.service.clone();
            Err(Conflict { other, cause })
        };
        let first = if self.unknown == 0 {
            others.next()
        } else if joining == Joining::Adopted {
            others.find(|other| other.terms.is_known)
        } else {
            match others.find(|other| !other.terms.is_known) {
                Some(unknown) => return refuse(unknown, ConflictCause::NotShared),
                None => self.sharers.iter().find(|other| other.holder != holder),
            }
        };
        let Some(first) = first else { return Ok(()) };
        // All known sharers have the same key, so one stands for all of them.
        if let Some(cause) = key_conflict(terms.sharing.as_ref(), first.terms.sharing.as_ref()) {
            let others = self.sharers.iter().filter(|other| other.holder != holder);
            let least = others.min_by_key(|other| &other.terms.service);
            return refuse(least.unwrap_or(first), cause);
        }
        match self.port_conflict(holder, terms, first) {
            Some((other, (protocol, port))) => refuse(other, ConflictCause::Port(protocol, port)),
            None => Ok(()),
        }
    }

    fn port_conflict<'a>(
        &'a self,
        holder: Holder,
        terms: &Terms,
        first: &'a Sharer,
    ) -> Option<(&'a Sharer, (Protocol, u16))> {
        if self.sharers.len() == 1 {
            let taken = &first.terms.ports;
            let port = terms
                .ports
                .iter()
                .find(|port| taken.binary_search(port).is_ok());
            return port.map(|port| (first, *port));
        }
        terms.ports.iter().find_map(|port| {
            let owner = *self.ports.get(port).filter(|owner| **owner != holder)?;
            Some((self.sharer(owner)?, *port))
        })
    }

    fn sharer(&self, holder: Holder) -> Option<&Sharer> {
        let index = self.position(holder).ok()?;
        self.sharers.get(index)
    }

    fn position(&self, holder: Holder) -> Result<usize, usize> {
        self.sharers
            .binary_search_by_key(&holder, |sharer| sharer.holder)
    }

    /// Adds the Service, or replaces its terms.
    pub(super) fn join(&mut self, holder: Holder, terms: Arc<Terms>) {
        self.leave(holder);
        if self.sharers.len() == 1 {
            let first = &self.sharers[0];
            let ports = first.terms.ports.iter();
            self.ports = ports.map(|port| (*port, first.holder)).collect();
        }
        if !self.sharers.is_empty() {
            let ports = terms.ports.iter();
            self.ports.extend(ports.map(|port| (*port, holder)));
        }
        self.unknown += usize::from(!terms.is_known);
        if let Err(index) = self.position(holder) {
            self.sharers.insert(index, Sharer { holder, terms });
        }
    }

    /// Takes the Service out; true when nobody is left.
    pub(super) fn leave(&mut self, holder: Holder) -> bool {
        if let Ok(index) = self.position(holder) {
            let gone = self.sharers.remove(index);
            self.unknown -= usize::from(!gone.terms.is_known);
            if self.sharers.len() < 2 {
                self.ports.clear();
            } else {
                for port in &gone.terms.ports {
                    if self.ports.get(port) == Some(&holder) {
                        self.ports.remove(port);
                    }
                }
            }
        }
        self.sharers.is_empty()
    }

    /// The key that a newcomer would need.
    pub(super) fn sharing(&self) -> Option<&SharingKey> {
        self.sharers.first()?.terms.sharing.as_ref()
    }
}

fn key_conflict(ours: Option<&SharingKey>, theirs: Option<&SharingKey>) -> Option<ConflictCause> {
    let (Some(ours), Some(theirs)) = (ours, theirs) else {
        return Some(ConflictCause::NotShared);
    };
    if ours.text != theirs.text {
        return Some(ConflictCause::OtherKey);
    }
    (ours.backends != theirs.backends).then_some(ConflictCause::OtherBackends)
}
