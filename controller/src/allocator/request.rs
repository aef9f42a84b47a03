//! What a Service asks for.

use std::net::IpAddr;
use std::sync::Arc;

use ferrolb_crds::model::{Families, Family, FamilyPolicy, Service};
use thiserror::Error;

use super::Terms;

/// What a Service asks for, read once when it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The families of its cluster IPs, the primary one first.
    pub families: Families,
    /// It has two families and is content with an address of either.
    pub prefers_both: bool,
    /// It insists on two families but has only one.
    pub lacks_family: bool,
    /// The only pool it wants addresses of.
    pub pool: Option<String>,
    /// The very addresses it wants, in the order given; empty: any.
    pub addresses: Result<Vec<IpAddr>, RequestError>,
    /// On what terms it shares.
    pub terms: Arc<Terms>,
}

/// A request for certain addresses that makes no sense. The Service keeps what it has.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// Two places ask.
    #[error(
        "the annotation metallb.io/loadBalancerIPs and spec.loadBalancerIP are both set: remove one of them"
    )]
    Both,
    /// Not an address.
    #[error("{field}: {text:?} is not an IP address: write one, or two separated by a comma")]
    NotAnAddress {
        /// The field or annotation.
        field: &'static str,
        /// What stands there.
        text: String,
    },
    /// More than one per family.
    #[error(
        "metallb.io/loadBalancerIPs: {count} addresses of which two are of one family: write at most one IPv4 and one IPv6 address"
    )]
    SameFamily {
        /// How many there are.
        count: usize,
    },
}

impl Request {
    /// Of a Service.
    pub fn of(service: &Service) -> Self {
        let families = service.families;
        let has_both = families.len() == 2;
        let pool = service.requests.pool.clone();
        Self {
            prefers_both: has_both && service.family_policy == FamilyPolicy::PreferDual,
            lacks_family: !has_both && service.family_policy == FamilyPolicy::RequireDual,
            families,
            pool: pool.filter(|pool| !pool.is_empty()),
            addresses: addresses(service),
            terms: Arc::new(Terms::of(service)),
        }
    }

    /// Whether the addresses are exactly one for each of its families.
    pub fn has_families_of(&self, addresses: &[IpAddr]) -> bool {
        let families: Families = addresses.iter().map(|a| Family::of(*a)).collect();
        families.len() == addresses.len()
            && families.len() == self.families.len()
            && families.iter().all(|family| self.families.contains(family))
    }
}

fn addresses(service: &Service) -> Result<Vec<IpAddr>, RequestError> {
    let requests = &service.requests;
    let annotation = requests
        .addresses
        .as_deref()
        .filter(|text| !text.is_empty());
    let field = requests.load_balancer_ip.as_deref();
    match (annotation, field.filter(|text| !text.is_empty())) {
        (None, None) => Ok(Vec::new()),
        (Some(_), Some(_)) => Err(RequestError::Both),
        (None, Some(text)) => Ok(vec![parse("spec.loadBalancerIP", text)?]),
        (Some(text), None) => parse_pair(text),
    }
}

fn parse_pair(text: &str) -> Result<Vec<IpAddr>, RequestError> {
    let addresses = text
        .split(',')
        .map(|part| parse("metallb.io/loadBalancerIPs", part))
        .collect::<Result<Vec<_>, _>>()?;
    let families: Families = addresses.iter().map(|a| Family::of(*a)).collect();
    if families.len() < addresses.len() {
        let count = addresses.len();
        return Err(RequestError::SameFamily { count });
    }
    Ok(addresses)
}

fn parse(field: &'static str, text: &str) -> Result<IpAddr, RequestError> {
    let text = text.trim();
    match text.parse::<IpAddr>() {
        // An IPv4 address in IPv6 notation is an IPv4 address, as it is to Kubernetes.
        Ok(address) => Ok(address.to_canonical()),
        Err(_) => Err(RequestError::NotAnAddress {
            field,
            text: text.to_owned(),
        }),
    }
}
