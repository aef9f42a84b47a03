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

/// What no two Services that share may both listen on.
pub type Port = (Protocol, u16);

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
    pub sharing: Option<Arc<SharingKey>>,
    ports: Vec<Port>,
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
            sharing: SharingKey::of(service).map(Arc::new),
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

    /// What the Service listens on; sorted, each once.
    pub fn ports(&self) -> &[Port] {
        &self.ports
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

/// The Services that hold one address. Most are alone, and take little room.
#[derive(Debug)]
pub(super) enum Usage {
    Sole(Sharer),
    Shared(Box<Sharers>),
}

/// Those who hold an address together.
#[derive(Debug, Default)]
pub(super) struct Sharers {
    /// By holder.
    sharers: Vec<Sharer>,
    ports: BTreeMap<Port, Holder>,
    unknown: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Sharer {
    holder: Holder,
    terms: Arc<Terms>,
}

impl Usage {
    /// One Service alone.
    pub(super) fn sole(holder: Holder, terms: Arc<Terms>) -> Self {
        Self::Sole(Sharer { holder, terms })
    }

    /// Whether the Service may be among the sharers.
    pub(super) fn check(
        &self,
        holder: Holder,
        terms: &Terms,
        joining: Joining,
    ) -> Result<(), Conflict> {
        match self {
            Self::Sole(sharer) => sharer.check(holder, terms, joining),
            Self::Shared(sharers) => sharers.check(holder, terms, joining),
        }
    }

    /// Adds the Service, or replaces its terms.
    pub(super) fn join(&mut self, holder: Holder, terms: Arc<Terms>) {
        let newcomer = Sharer { holder, terms };
        match self {
            Self::Sole(sharer) if sharer.holder == holder => *sharer = newcomer,
            Self::Sole(sharer) => {
                let mut sharers = Sharers::default();
                sharers.join(sharer.clone());
                sharers.join(newcomer);
                *self = Self::Shared(Box::new(sharers));
            }
            Self::Shared(sharers) => sharers.join(newcomer),
        }
    }

    /// Takes the Service out; true when nobody is left.
    pub(super) fn leave(&mut self, holder: Holder) -> bool {
        let Self::Shared(sharers) = self else {
            return true;
        };
        sharers.leave(holder);
        if let [last] = sharers.sharers.as_slice() {
            *self = Self::Sole(last.clone());
        }
        false
    }

    /// The terms of one of the sharers.
    pub(super) fn terms(&self, holder: Holder) -> Option<&Arc<Terms>> {
        let sharer = match self {
            Self::Sole(sharer) => sharer,
            Self::Shared(sharers) => sharers.sharers.get(sharers.position(holder).ok()?)?,
        };
        (sharer.holder == holder).then_some(&sharer.terms)
    }

    /// The key that a newcomer would need; `None`: there can be none.
    pub(super) fn sharing(&self) -> Option<&Arc<SharingKey>> {
        let first = match self {
            Self::Sole(sharer) => sharer,
            Self::Shared(sharers) if sharers.unknown > 0 => return None,
            Self::Shared(sharers) => sharers.sharers.first()?,
        };
        first.terms.sharing.as_ref()
    }

    /// What is in use.
    pub(super) fn ports(&self) -> Vec<Port> {
        match self {
            Self::Sole(sharer) => sharer.terms.ports.clone(),
            Self::Shared(sharers) => sharers.ports.keys().copied().collect(),
        }
    }
}

impl Sharer {
    fn check(&self, holder: Holder, terms: &Terms, joining: Joining) -> Result<(), Conflict> {
        if self.holder == holder || (!self.terms.is_known && joining == Joining::Adopted) {
            return Ok(());
        }
        if let Some(cause) = key_conflict(terms.sharing.as_deref(), self.terms.sharing.as_deref()) {
            return Err(self.conflict(cause));
        }
        let is_taken = |port: &&Port| self.terms.ports.binary_search(port).is_ok();
        match terms.ports.iter().find(is_taken) {
            Some((protocol, port)) => Err(self.conflict(ConflictCause::Port(*protocol, *port))),
            None => Ok(()),
        }
    }

    fn conflict(&self, cause: ConflictCause) -> Conflict {
        Conflict {
            other: self.terms.service.clone(),
            cause,
        }
    }
}

impl Sharers {
    fn check(&self, holder: Holder, terms: &Terms, joining: Joining) -> Result<(), Conflict> {
        let others = || self.sharers.iter().filter(|other| other.holder != holder);
        if self.unknown > 0
            && joining == Joining::New
            && let Some(unknown) = others().find(|other| !other.terms.is_known)
        {
            return Err(unknown.conflict(ConflictCause::NotShared));
        }
        let mut known = others().filter(|other| other.terms.is_known);
        let Some(first) = known.next() else {
            return Ok(());
        };
        // All known sharers have the same key, so one stands for all of them.
        if let Some(cause) = key_conflict(terms.sharing.as_deref(), first.terms.sharing.as_deref())
        {
            let least = others().min_by_key(|other| &other.terms.service);
            return Err(least.unwrap_or(first).conflict(cause));
        }
        for (protocol, port) in &terms.ports {
            let owner = self.ports.get(&(*protocol, *port));
            if let Some(owner) = owner.filter(|owner| **owner != holder)
                && let Ok(index) = self.position(*owner)
            {
                let cause = ConflictCause::Port(*protocol, *port);
                return Err(self.sharers[index].conflict(cause));
            }
        }
        Ok(())
    }

    fn position(&self, holder: Holder) -> Result<usize, usize> {
        self.sharers
            .binary_search_by_key(&holder, |sharer| sharer.holder)
    }

    fn join(&mut self, newcomer: Sharer) {
        self.leave(newcomer.holder);
        let ports = newcomer.terms.ports.iter();
        self.ports
            .extend(ports.map(|port| (*port, newcomer.holder)));
        self.unknown += usize::from(!newcomer.terms.is_known);
        if let Err(index) = self.position(newcomer.holder) {
            self.sharers.insert(index, newcomer);
        }
    }

    fn leave(&mut self, holder: Holder) {
        let Ok(index) = self.position(holder) else {
            return;
        };
        let gone = self.sharers.remove(index);
        self.unknown -= usize::from(!gone.terms.is_known);
        for port in &gone.terms.ports {
            if self.ports.get(port) == Some(&holder) {
                self.ports.remove(port);
            }
        }
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
