//! Address pools and who may draw from them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{AddressRange, Family, Labels, Selector};

/// An IPAddressPool.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Object name.
    pub name: String,
    /// Object labels: advertisements select pools by them.
    pub labels: Labels,
    /// The address space, in the order it is listed. No two overlap, within a pool or across pools.
    pub ranges: Vec<AddressRange>,
    /// False: only on explicit request.
    pub auto_assign: bool,
    /// Skip IPv4 addresses that end in .0 or .255.
    pub avoid_buggy_ips: bool,
    /// Present: the pool is pinned to the Services that this admits.
    pub allocation: Option<ServiceAllocation>,
}

/// `spec.serviceAllocation`: which Services a pinned pool is for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServiceAllocation {
    /// Lower is tried first; 0 is unset and comes last.
    pub priority: u32,
    /// Namespaces by name.
    pub namespaces: BTreeSet<String>,
    /// Namespaces by label; in union with the names.
    pub namespace_selectors: Vec<Selector>,
    /// Services by label; any of them, and the namespace too.
    pub service_selectors: Vec<Selector>,
}

impl Pool {
    /// Whether `avoidBuggyIPs` takes the address out of use.
    pub fn avoids(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.avoid_buggy_ips && matches!(v4.octets()[3], 0 | 255),
            IpAddr::V6(_) => false,
        }
    }

    /// Whether the pool has addresses of the family.
    pub fn has_family(&self, family: Family) -> bool {
        self.ranges.iter().any(|range| range.family() == family)
    }

    /// Whether `serviceAllocation` (if any) admits a Service with these labels in this namespace.
    pub fn admits(&self, namespace: &str, namespace_labels: &Labels, labels: &Labels) -> bool {
        self.allocation.as_ref().is_none_or(|allocation| {
            allocation.admits_namespace(namespace, namespace_labels)
                && Selector::any_or_all(&allocation.service_selectors, labels)
        })
    }
}

impl ServiceAllocation {
    /// Whether the namespace is named or selected; true when nothing restricts namespaces.
    pub fn admits_namespace(&self, namespace: &str, labels: &Labels) -> bool {
        let unrestricted = self.namespaces.is_empty() && self.namespace_selectors.is_empty();
        unrestricted
            || self.namespaces.contains(namespace)
            || Selector::any(&self.namespace_selectors, labels)
    }
}
