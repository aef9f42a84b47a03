//! What a Service gets: pure functions of the Service, what it holds and what is free.
//!
//! Deciding has two halves, because of many Services that changed together first all those that
//! may keep what they hold do so, and only then is anything new given out. `review` judges what is
//! held; `choose` and [`extend`] pick addresses. Both answer from the whole present state: how it
//! came about does not matter.

mod choose;
mod refusal;
mod review;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use ferrolb_crds::model::{Families, Labels, Selector, Service};

use crate::allocator::{Allocator, Holder, PoolIndex, Port, Request, SharingKey, Terms};

pub use choose::{Choice, choose, extend};
pub use review::{Kept, Review, review};

/// What becomes of a Service: what it held before against what it has now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    /// It has what it held.
    Keep,
    /// It has something new.
    Assign,
    /// It held something and has nothing.
    Clear,
    /// It asks, held nothing and gets nothing.
    Refuse,
    /// It is not ours.
    Ignore,
}

impl Decision {
    /// Of one of our Services.
    pub fn of(held: &[IpAddr], now: &[IpAddr]) -> Self {
        match (held.is_empty(), now.is_empty()) {
            (true, true) => Self::Refuse,
            (false, true) => Self::Clear,
            (_, false) if held == now => Self::Keep,
            (_, false) => Self::Assign,
        }
    }

    /// As it stands in the output of `plan`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "Keep",
            Self::Assign => "Assign",
            Self::Clear => "Clear",
            Self::Refuse => "Refuse",
            Self::Ignore => "Ignore",
        }
    }
}

/// Why things are as they are, in one word. `docs/operating.md` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It has what it asks for.
    IpAllocated,
    /// It has one address; its pool should give it one of the other family but has none left.
    AdditionalAssignFailed,
    /// It keeps what it holds because its request makes no sense.
    LoadBalancerFailed,
    /// It keeps what no valid pool covers because some pool is set aside.
    PoolSetAside,
    /// It gets nothing.
    AllocationFailed,
    /// It lost what it held and gets nothing.
    ClearAssignment,
    /// It insists on two families and has one.
    NotEnoughClusterIps,
    /// Its type is another one.
    NotLoadBalancer,
    /// Its class is another one.
    OtherClass,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::IpAllocated,
        Self::AdditionalAssignFailed,
        Self::LoadBalancerFailed,
        Self::PoolSetAside,
        Self::AllocationFailed,
        Self::ClearAssignment,
        Self::NotEnoughClusterIps,
        Self::NotLoadBalancer,
        Self::OtherClass,
    ];

    /// The constant as others see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IpAllocated => "IPAllocated",
            Self::AdditionalAssignFailed => "AdditionalAssignFailed",
            Self::LoadBalancerFailed => "LoadBalancerFailed",
            Self::PoolSetAside => "PoolSetAside",
            Self::AllocationFailed => "AllocationFailed",
            Self::ClearAssignment => "ClearAssignment",
            Self::NotEnoughClusterIps => "NotEnoughClusterIPs",
            Self::NotLoadBalancer => "NotLoadBalancer",
            Self::OtherClass => "OtherClass",
        }
    }

    /// The constant that was read somewhere, which takes no room if it is one of these.
    pub fn shared(read: String) -> Cow<'static, str> {
        let all = Self::ALL.map(Self::as_str);
        match all.into_iter().find(|reason| *reason == read) {
            Some(reason) => Cow::Borrowed(reason),
            None => Cow::Owned(read),
        }
    }
}

/// A reason and the sentence that goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// In one word.
    pub reason: Reason,
    /// In a sentence, which stands in the Service's status, too.
    pub message: Arc<str>,
}

impl Standing {
    /// From its parts.
    pub fn new(reason: Reason, message: impl Into<Arc<str>>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

/// What may help a Service that did not get (all of) what it wants.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// An address of this pool.
    Pool(PoolIndex, Need),
    /// This very address.
    Address(IpAddr),
}

/// What is wanted of a pool. Services with the same need succeed or fail alike.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// One of the families is enough.
    pub either: bool,
    /// Present: an address in use may do, too.
    pub sharing: Option<Arc<SharingKey>>,
    /// Those that must not be in use there.
    pub ports: Vec<Port>,
    /// Of which families.
    pub families: Families,
}

impl Need {
    /// Of a Service with these terms.
    fn of(terms: &Terms, families: Families, prefers_both: bool) -> Self {
        let sharing = terms.sharing.clone();
        let ports = sharing.as_ref().map_or(&[][..], |_| terms.ports());
        Self {
            either: prefers_both || families.len() == 1,
            ports: ports.to_vec(),
            sharing,
            families,
        }
    }

    /// What only addresses that nobody has can meet.
    pub(crate) fn without_sharing(&self) -> Self {
        Self {
            sharing: None,
            ports: Vec::new(),
            families: self.families,
            either: self.either,
        }
    }
}

/// A Service and all that matters about it here.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The Service.
    pub service: &'a Service,
    /// What it asks for.
    pub request: &'a Request,
    /// The labels of its namespace.
    pub namespace_labels: &'a Labels,
    /// Its number with the allocator.
    pub holder: Holder,
    /// Who has what.
    pub allocator: &'a Allocator,
    /// Some pool is set aside: then nothing is taken away because no pool covers it.
    pub pools_incomplete: bool,
    /// Its namespace could not be read: then nothing is taken away because of the labels it lacks,
    /// and nothing given.
    pub namespace_unknown: bool,
    /// What some Service holds could not be read: it may be any address, so that none is given.
    pub records_unknown: bool,
}

impl Case<'_> {
    /// Whether the pool's `serviceAllocation` admits the Service, as far as anybody knows: what it
    /// holds is judged by that.
    fn admits(&self, index: PoolIndex) -> bool {
        let Service { key, labels, .. } = self.service;
        let pool = self.allocator.pool(index);
        pool.admits(&key.namespace, self.namespace_labels, labels)
    }

    /// Whether the pool may give the Service anything new.
    fn may_give(&self, index: PoolIndex) -> bool {
        self.admits(index) && !self.is_in_doubt(index)
    }

    /// Whether the labels of its namespace, if only they were known, would say whether the pool
    /// admits the Service. A selector can match for want of a label, too.
    fn is_in_doubt(&self, index: PoolIndex) -> bool {
        let Service { key, labels, .. } = self.service;
        let allocation = self.allocator.pool(index).allocation.as_ref();
        self.namespace_unknown
            && allocation.is_some_and(|allocation| {
                !allocation.namespace_selectors.is_empty()
                    && !allocation.namespaces.contains(&key.namespace)
                    && Selector::any_or_all(&allocation.service_selectors, labels)
            })
    }

    fn pool_name(&self, index: PoolIndex) -> &str {
        &self.allocator.pool(index).name
    }

    fn need(&self) -> Need {
        let Request {
            terms, families, ..
        } = self.request;
        Need::of(terms, *families, self.request.prefers_both)
    }
}

/// Addresses as they stand in a message.
fn list(addresses: &[IpAddr]) -> String {
    let texts: Vec<_> = addresses.iter().map(IpAddr::to_string).collect();
    texts.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::ips;

    #[test]
    fn a_decision_compares_before_and_after() {
        let (none, a, b) = (ips(&[]), ips(&["10.0.0.1"]), ips(&["10.0.0.2"]));
        for (before, after, decision) in [
            (&none, &none, Decision::Refuse),
            (&none, &a, Decision::Assign),
            (&a, &a, Decision::Keep),
            (&a, &b, Decision::Assign),
            (&a, &none, Decision::Clear),
        ] {
            assert_eq!(Decision::of(before, after), decision);
        }
    }

    #[test]
    fn every_reason_is_explained_to_operators() {
        let text = include_str!("../../docs/operating.md");
        for reason in Reason::ALL {
            let row = format!("| `{}` |", reason.as_str());
            assert!(text.contains(&row), "{row}");
        }
    }
}
