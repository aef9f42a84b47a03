//! May a Service keep what it holds?

use std::net::IpAddr;

use ferrolb_crds::model::{Families, Family, Service};

use crate::allocator::{Cover, Joining, PoolIndex, Request};

use super::choose::incomplete;
use super::refusal::families;
use super::{Case, Reason, Standing, list};

/// What is to happen with a Service and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Review {
    /// It is not ours: it holds nothing.
    Ignore(Standing),
    /// It keeps what it holds.
    Keep(Kept),
    /// It loses these, for this reason; what becomes of the rest is another question.
    Shed(Vec<IpAddr>, String),
    /// It loses what it holds, for this reason; what it may have instead is another question.
    Evict(String),
    /// It holds nothing.
    Ask,
}

/// A Service that keeps what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Why.
    pub standing: Standing,
    /// The pool that should give it an address of the other family.
    pub extend_from: Option<PoolIndex>,
}

/// Whether the Service is ours: of the type LoadBalancer and of the class this controller is for.
pub(super) fn stranger(service: &Service, class: Option<&str>) -> Option<Standing> {
    if !service.is_load_balancer {
        let message = "its type is not LoadBalancer";
        return Some(Standing::new(Reason::NotLoadBalancer, message));
    }
    let message = match (service.class.as_deref(), class) {
        (ours, class) if ours == class => return None,
        (Some(theirs), None) => format!(
            "its loadBalancerClass {theirs:?} belongs to another implementation: this controller takes Services without a class"
        ),
        (Some(theirs), Some(class)) => {
            format!("its loadBalancerClass is {theirs:?}, this controller's is {class:?}")
        }
        (None, class) => format!(
            "it has no loadBalancerClass, this controller's is {:?}",
            class.unwrap_or_default()
        ),
    };
    Some(Standing::new(Reason::OtherClass, message))
}

/// What the Service holds of a family that is none of its cluster IPs', if the rest is what it needs.
fn surplus(request: &Request, held: &[IpAddr]) -> Vec<IpAddr> {
    let fits = |address: &IpAddr| request.families.contains(Family::of(*address));
    let (rest, surplus): (Vec<_>, Vec<_>) = held.iter().partition(|address| fits(address));
    if !request.lacks_family && request.has_families_of(&rest) {
        surplus
    } else {
        Vec::new()
    }
}

/// Judges what the Service holds, or claims to have held before this program started.
pub fn review(case: &Case<'_>, class: Option<&str>, held: &[IpAddr], joining: Joining) -> Review {
    if let Some(standing) = stranger(case.service, class) {
        return Review::Ignore(standing);
    }
    if held.is_empty() {
        return Review::Ask;
    }
    let surplus = surplus(case.request, held);
    if !surplus.is_empty() {
        let families = families(case.request.families);
        let why = format!(
            "{} is not of its cluster IPs' family, {families}",
            list(&surplus)
        );
        return Review::Shed(surplus, why);
    }
    match judge(case, held, joining) {
        Ok(kept) => Review::Keep(kept),
        Err(why) => Review::Evict(why),
    }
}

fn judge(case: &Case<'_>, held: &[IpAddr], joining: Joining) -> Result<Kept, String> {
    families_fit(case.request, held)?;
    let owners = owners(case, held)?;
    for address in held {
        case.allocator
            .check(case.holder, &case.request.terms, *address, joining)
            .map_err(|conflict| format!("it can no longer have {address}: {conflict}"))?;
    }
    if !owners.is_covered {
        return judge_uncovered(case, held);
    }
    if let Some(standing) = pool_fits(case, &owners.pools)? {
        return Ok(Kept::without_more(standing));
    }
    match &case.request.addresses {
        Err(error) => Ok(keep_despite(held, &error.to_string())),
        Ok(wanted) if wanted.is_empty() || same_set(wanted, held) => {
            Ok(keep(case, held, owners.in_doubt))
        }
        Ok(wanted) => other_wanted(case, held, wanted),
    }
}

/// No address is taken away because of a pool that is set aside; but a Service that asks for another
/// one which is there does get it.
fn judge_uncovered(case: &Case<'_>, held: &[IpAddr]) -> Result<Kept, String> {
    if let Ok(wanted) = &case.request.addresses
        && !wanted.is_empty()
        && !same_set(wanted, held)
    {
        return other_wanted(case, held, wanted);
    }
    let message = format!(
        "keeps {}, which no valid pool covers while a pool is set aside because of an error",
        list(held)
    );
    let standing = Standing::new(Reason::PoolSetAside, message);
    Ok(Kept::without_more(standing))
}

fn other_wanted(case: &Case<'_>, held: &[IpAddr], wanted: &[IpAddr]) -> Result<Kept, String> {
    let in_doubt = |address: &IpAddr| match case.allocator.cover(*address) {
        Cover::Pool(index) => case.is_in_doubt(index).then_some(index),
        Cover::Avoided(_) | Cover::Nothing => None,
    };
    if let Some(index) = wanted.iter().find_map(in_doubt) {
        let why = format!("it asks for {}; {}", list(wanted), doubt(case, index));
        return Ok(keep_despite(held, &why));
    }
    let is_missing = |address: &&IpAddr| case.allocator.cover(**address) == Cover::Nothing;
    match wanted.iter().find(is_missing) {
        Some(missing) if case.pools_incomplete => {
            let why = format!(
                "it asks for {missing}, which no valid pool covers while a pool is set aside because of an error"
            );
            Ok(keep_despite(held, &why))
        }
        Some(_) | None => Err(format!(
            "it asks for {} and held {}",
            list(wanted),
            list(held)
        )),
    }
}

fn families_fit(request: &Request, held: &[IpAddr]) -> Result<(), String> {
    let families: Families = held.iter().map(|address| Family::of(*address)).collect();
    if families.len() < held.len() {
        return Err(format!("{} are two of one family", list(held)));
    }
    if request.lacks_family {
        return Err("it requires two families and has cluster IPs of one".to_owned());
    }
    if request.prefers_both || request.has_families_of(held) {
        return Ok(());
    }
    Err(format!(
        "the families of {} are not those of its cluster IPs",
        list(held)
    ))
}

struct Owners {
    pools: Vec<PoolIndex>,
    /// Every address is of a pool.
    is_covered: bool,
    /// One that may or may not admit the Service.
    in_doubt: Option<PoolIndex>,
}

/// The pools of the addresses, in their order. A pair stays together when its pool is split.
fn owners(case: &Case<'_>, held: &[IpAddr]) -> Result<Owners, String> {
    let mut owners = Owners {
        pools: Vec::with_capacity(held.len()),
        is_covered: true,
        in_doubt: None,
    };
    for address in held {
        match case.allocator.cover(*address) {
            Cover::Pool(index) if case.admits(index) => owners.pools.push(index),
            Cover::Pool(index) if case.is_in_doubt(index) => {
                owners.pools.push(index);
                owners.in_doubt = Some(index);
            }
            Cover::Pool(index) => {
                let pool = case.pool_name(index);
                return Err(format!(
                    "{address} belongs to pool {pool:?}, which is not for it"
                ));
            }
            Cover::Avoided(index) => {
                let pool = case.pool_name(index);
                return Err(format!(
                    "{address} is out of use: pool {pool:?} avoids .0 and .255"
                ));
            }
            Cover::Nothing if case.pools_incomplete => owners.is_covered = false,
            Cover::Nothing => return Err(format!("{address} is in no pool")),
        }
    }
    Ok(owners)
}

/// Whether the pool that the Service names is one of those it has addresses of.
fn pool_fits(case: &Case<'_>, owners: &[PoolIndex]) -> Result<Option<Standing>, String> {
    let Some(name) = &case.request.pool else {
        return Ok(None);
    };
    match case.allocator.find(name) {
        Some(index) if owners.contains(&index) => Ok(None),
        Some(index) if case.is_in_doubt(index) => {
            let message = format!(
                "keeps what it has: it asks for pool {name:?}; {}",
                doubt(case, index)
            );
            Ok(Some(Standing::new(Reason::PoolSetAside, message)))
        }
        Some(_) => Err(format!("it asks for pool {name:?}")),
        None if case.pools_incomplete => {
            let message = format!(
                "keeps what it has: it asks for pool {name:?}, which is unknown while a pool is set aside because of an error"
            );
            Ok(Some(Standing::new(Reason::PoolSetAside, message)))
        }
        None => Err(format!("it asks for pool {name:?}, which is unknown")),
    }
}

/// Why nobody can tell whether the pool is for the Service.
fn doubt(case: &Case<'_>, index: PoolIndex) -> String {
    format!(
        "whether pool {:?} is for it is unknown because namespace {:?} cannot be read",
        case.pool_name(index),
        case.service.key.namespace
    )
}

fn keep(case: &Case<'_>, held: &[IpAddr], in_doubt: Option<PoolIndex>) -> Kept {
    if let Some(index) = in_doubt {
        let message = format!("keeps {}: {}", list(held), doubt(case, index));
        return Kept::without_more(Standing::new(Reason::PoolSetAside, message));
    }
    Kept {
        standing: allocated(case, held),
        extend_from: incomplete(case, held).map(|(_, owner)| owner),
    }
}

fn keep_despite(held: &[IpAddr], why: &str) -> Kept {
    let message = format!("keeps {}: {why}", list(held));
    Kept::without_more(Standing::new(Reason::LoadBalancerFailed, message))
}

/// The standing of a Service that has what it asks for.
pub(super) fn allocated(case: &Case<'_>, addresses: &[IpAddr]) -> Standing {
    let mut pools: Vec<&str> = addresses
        .iter()
        .filter_map(|address| match case.allocator.cover(*address) {
            Cover::Pool(index) => Some(case.pool_name(index)),
            Cover::Avoided(_) | Cover::Nothing => None,
        })
        .collect();
    pools.dedup();
    let message = match pools.as_slice() {
        [first, second] => format!(
            "has {} from the pools {first:?} and {second:?}",
            list(addresses)
        ),
        [only] => format!("has {} from pool {only:?}", list(addresses)),
        _ => format!("has {}", list(addresses)),
    };
    Standing::new(Reason::IpAllocated, message)
}

impl Kept {
    fn without_more(standing: Standing) -> Self {
        Self {
            standing,
            extend_from: None,
        }
    }
}

fn same_set(a: &[IpAddr], b: &[IpAddr]) -> bool {
    a.len() == b.len() && a.iter().all(|address| b.contains(address))
}
