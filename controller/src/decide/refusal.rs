//! Why a Service gets nothing, in sentences that name every pool considered.
//!
//! No counters: they would change with every other Service, and each change would be a write.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;

use ferrolb_crds::model::Families;

use crate::allocator::{Conflict, PoolIndex};

use super::{Case, Reason, Standing, Wait, list};

/// Why not, and what may help.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) standing: Standing,
    pub(super) waits: Vec<Wait>,
}

impl Refusal {
    /// Only a change of the Service or of the configuration helps.
    pub(super) fn failed(message: String) -> Self {
        Self {
            standing: Standing::new(Reason::AllocationFailed, message),
            waits: Vec::new(),
        }
    }

    fn waiting(message: String, waits: Vec<Wait>) -> Self {
        Self {
            waits,
            ..Self::failed(message)
        }
    }
}

pub(super) fn no_families(case: &Case<'_>) -> Refusal {
    let message = match case.request.families.iter().next() {
        None => "it has neither cluster IPs nor IP families".to_owned(),
        Some(family) => format!(
            "it requires two IP families and its cluster IPs are {family} only: give it cluster IPs of both, or the policy PreferDualStack"
        ),
    };
    let standing = Standing::new(Reason::NotEnoughClusterIps, message);
    let waits = Vec::new();
    Refusal { standing, waits }
}

pub(super) fn wrong_families(case: &Case<'_>, wanted: &[IpAddr]) -> Refusal {
    Refusal::failed(format!(
        "it asks for {}, its cluster IPs are {}: ask for one address of each of these families",
        list(wanted),
        families(case.request.families)
    ))
}

pub(super) fn not_covered(case: &Case<'_>, address: IpAddr) -> Refusal {
    let hint = set_aside(case);
    Refusal::failed(format!("it asks for {address}, which is in no pool{hint}"))
}

pub(super) fn avoided(case: &Case<'_>, address: IpAddr, index: PoolIndex) -> Refusal {
    let pool = case.pool_name(index);
    Refusal::failed(format!(
        "it asks for {address}, but pool {pool:?} avoids addresses that end in .0 or .255"
    ))
}

pub(super) fn of_two_pools(wanted: &[IpAddr]) -> Refusal {
    let wanted = list(wanted);
    Refusal::failed(format!(
        "it asks for {wanted}, which are not of one pool: ask for two addresses of the same pool"
    ))
}

pub(super) fn unknown_pool(case: &Case<'_>, name: &str) -> Refusal {
    let hint = set_aside(case);
    Refusal::failed(format!("unknown pool {name:?}{hint}"))
}

pub(super) fn not_of_pool(case: &Case<'_>, wanted: &[IpAddr], name: &str) -> Refusal {
    if case.allocator.find(name).is_none() {
        return unknown_pool(case, name);
    }
    let wanted = list(wanted);
    Refusal::failed(format!(
        "it asks for {wanted} and for pool {name:?}, which does not own that"
    ))
}

pub(super) fn not_admitted(case: &Case<'_>, index: PoolIndex) -> Refusal {
    let pool = case.pool_name(index);
    let why = admission(case, index).unwrap_or(Cow::Borrowed("is not for it"));
    Refusal::failed(format!("no address: pool {pool:?} {why}"))
}

pub(super) fn in_use(wanted: &[IpAddr], address: IpAddr, conflict: &Conflict) -> Refusal {
    let waits = wanted.iter().copied().map(Wait::Address).collect();
    let message = format!("it asks for {address}, but {conflict}");
    Refusal::waiting(message, waits)
}

pub(super) fn exhausted(case: &Case<'_>, index: PoolIndex) -> Refusal {
    let mut text = "no address: ".to_owned();
    describe(case, index, &mut text);
    Refusal::waiting(text, vec![Wait::Pool(index, case.need())])
}

/// Every pool, in the order in which they were considered.
pub(super) fn automatic(case: &Case<'_>) -> Refusal {
    let mut text = "no address: ".to_owned();
    let mut waits = Vec::new();
    let allocator = case.allocator;
    let pools = allocator.pinned().iter().chain(allocator.general());
    for (place, index) in pools.enumerate() {
        if place > 0 {
            text.push_str("; ");
        }
        if describe(case, *index, &mut text) {
            waits.push(Wait::Pool(*index, case.need()));
        }
    }
    if allocator.indices().next().is_none() {
        text.push_str("there is no address pool");
    }
    text.push_str(set_aside(case));
    Refusal::waiting(text, waits)
}

/// Says why the pool gave nothing; true when it might, once an address of it is released.
fn describe(case: &Case<'_>, index: PoolIndex, text: &mut String) -> bool {
    let pool = case.allocator.pool(index);
    let write = |text: &mut String, why: &str| {
        // Writing to a String does not fail.
        let _ = write!(text, "pool {:?} {why}", pool.name);
    };
    if !pool.auto_assign && case.request.pool.is_none() {
        write(text, "is not assigned automatically");
        return false;
    }
    if let Some(why) = admission(case, index) {
        write(text, &why);
        return false;
    }
    let request = case.request;
    let serves = |family| case.allocator.serves(index, family);
    let missing = request.families.filter(|family| !serves(family));
    let has_none = missing.len() == request.families.len();
    if has_none || (!missing.is_empty() && !request.prefers_both) {
        let missing = families(missing);
        write(text, &format!("has no {missing} addresses"));
        return false;
    }
    // Not which of two families it is: that changes while the Service waits.
    let link = if request.prefers_both {
        " and "
    } else {
        " or "
    };
    let served: Vec<_> = request
        .families
        .filter(serves)
        .iter()
        .map(|family| family.to_string())
        .collect();
    write(text, &format!("is exhausted for {}", served.join(link)));
    true
}

fn admission(case: &Case<'_>, index: PoolIndex) -> Option<Cow<'static, str>> {
    let allocation = case.allocator.pool(index).allocation.as_ref()?;
    let namespace = &case.service.key.namespace;
    if case.is_in_doubt(index) {
        return Some(Cow::Owned(format!(
            "selects namespaces by label, and namespace {namespace:?} cannot be read"
        )));
    }
    if !allocation.admits_namespace(namespace, case.namespace_labels) {
        return Some(Cow::Borrowed("is for other namespaces"));
    }
    (!case.admits(index)).then_some(Cow::Borrowed("is for Services with other labels"))
}

pub(super) fn families(families: Families) -> String {
    let texts: Vec<_> = families.iter().map(|family| family.to_string()).collect();
    texts.join(" and ")
}

/// While it is not known what is held, anything may be.
pub(super) const RECORDS_UNKNOWN: &str = "no address is given out while a record in the state \
    directory cannot be read, which may hold any: correct or remove it";

fn set_aside(case: &Case<'_>) -> &'static str {
    if case.pools_incomplete {
        "; some pool is set aside because of an error"
    } else {
        ""
    }
}
