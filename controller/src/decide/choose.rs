//! Which addresses does a Service get?

use std::net::IpAddr;

use ferrolb_crds::model::Family;

use crate::allocator::{Cover, Joining, PoolIndex, Resting};

use super::refusal::{self, Refusal};
use super::review::allocated;
use super::{Case, Need, Reason, Standing, Wait};

/// What a Service that holds nothing gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// These addresses, in this order.
    Assign {
        /// The addresses.
        addresses: Vec<IpAddr>,
        /// How to say so.
        standing: Standing,
        /// The pool that should give one of the other family too, and what to wait for there.
        missing: Option<(PoolIndex, Wait)>,
    },
    /// Nothing.
    Refuse {
        /// Why.
        standing: Standing,
        /// What may help.
        waits: Vec<Wait>,
    },
}

/// Picks addresses for a Service that holds none: those it names, else from the pool it names, else
/// from the first pool that has some.
pub fn choose(case: &Case<'_>) -> Choice {
    let picked = if case.records_unknown {
        Err(Refusal::failed(refusal::RECORDS_UNKNOWN.to_owned()))
    } else if case.request.lacks_family || case.request.families.is_empty() {
        Err(refusal::no_families(case))
    } else {
        match &case.request.addresses {
            Err(error) => Err(Refusal::failed(error.to_string())),
            Ok(wanted) if wanted.is_empty() => pick(case),
            Ok(wanted) => requested(case, wanted),
        }
    };
    match picked {
        Ok(addresses) => complete(case, addresses),
        Err(Refusal { standing, waits }) => Choice::Refuse { standing, waits },
    }
}

/// A Service that got one address where it wants two may find the other in the same pool, although
/// only among those that rest.
fn complete(case: &Case<'_>, addresses: Vec<IpAddr>) -> Choice {
    let whole = Choice::Assign {
        standing: allocated(case, &addresses),
        addresses: addresses.clone(),
        missing: None,
    };
    let Some((first, owner)) = incomplete(case, &addresses) else {
        return whole;
    };
    match extend(case, first, owner) {
        Choice::Assign { addresses, .. } => {
            let mut both = vec![first];
            both.extend(addresses);
            both.sort_unstable();
            Choice::Assign {
                standing: allocated(case, &both),
                addresses: both,
                missing: None,
            }
        }
        Choice::Refuse { standing, waits } => Choice::Assign {
            addresses,
            standing,
            missing: waits.into_iter().next().map(|wait| (owner, wait)),
        },
    }
}

/// The one address of a Service that would like two, and the pool that should give it the other.
pub(super) fn incomplete(case: &Case<'_>, held: &[IpAddr]) -> Option<(IpAddr, PoolIndex)> {
    let ([first], Ok(wanted)) = (held, &case.request.addresses) else {
        return None;
    };
    let would_extend = case.request.prefers_both && wanted.is_empty();
    match case.allocator.cover(*first) {
        Cover::Pool(owner) if would_extend && case.may_give(owner) => {
            let missing = Family::of(*first).other();
            let serves = case.allocator.serves(owner, missing);
            serves.then_some((*first, owner))
        }
        Cover::Pool(_) | Cover::Avoided(_) | Cover::Nothing => None,
    }
}

/// The address to add to the one that a Service holds, so that it has both families.
pub fn extend(case: &Case<'_>, held: IpAddr, owner: PoolIndex) -> Choice {
    let family = Family::of(held).other();
    if case.records_unknown {
        let message = format!("has {held} and {}", refusal::RECORDS_UNKNOWN);
        return Choice::Refuse {
            standing: Standing::new(Reason::AdditionalAssignFailed, message),
            waits: Vec::new(),
        };
    }
    if let Some(address) = next(case, owner, family, Resting::Taken) {
        return Choice::Assign {
            standing: allocated(case, &[held, address]),
            addresses: vec![address],
            missing: None,
        };
    }
    let pool = case.pool_name(owner);
    let message =
        format!("has {held} and no {family} address: pool {pool:?} is exhausted for {family}");
    let need = Need::of(&case.request.terms, family.into(), false);
    Choice::Refuse {
        standing: Standing::new(Reason::AdditionalAssignFailed, message),
        waits: vec![Wait::Pool(owner, need)],
    }
}

fn requested(case: &Case<'_>, wanted: &[IpAddr]) -> Result<Vec<IpAddr>, Refusal> {
    if !case.request.has_families_of(wanted) {
        return Err(refusal::wrong_families(case, wanted));
    }
    let owner = owner_of_all(case, wanted)?;
    if let Some(name) = &case.request.pool
        && case.allocator.find(name) != Some(owner)
    {
        return Err(refusal::not_of_pool(case, wanted, name));
    }
    if !case.may_give(owner) {
        return Err(refusal::not_admitted(case, owner));
    }
    for address in wanted {
        let terms = &case.request.terms;
        if let Err(conflict) = case
            .allocator
            .check(case.holder, terms, *address, Joining::New)
        {
            return Err(refusal::in_use(wanted, *address, &conflict));
        }
    }
    Ok(wanted.to_vec())
}

fn owner_of_all(case: &Case<'_>, wanted: &[IpAddr]) -> Result<PoolIndex, Refusal> {
    let mut owner = None;
    for address in wanted {
        let index = match case.allocator.cover(*address) {
            Cover::Pool(index) => index,
            Cover::Avoided(index) => return Err(refusal::avoided(case, *address, index)),
            Cover::Nothing => return Err(refusal::not_covered(case, *address)),
        };
        if owner.is_some_and(|owner| owner != index) {
            return Err(refusal::of_two_pools(wanted));
        }
        owner = Some(index);
    }
    owner.ok_or_else(|| refusal::automatic(case))
}

fn pick(case: &Case<'_>) -> Result<Vec<IpAddr>, Refusal> {
    let Some(name) = &case.request.pool else {
        return automatic(case).ok_or_else(|| refusal::automatic(case));
    };
    let Some(index) = case.allocator.find(name) else {
        return Err(refusal::unknown_pool(case, name));
    };
    if !case.may_give(index) {
        return Err(refusal::not_admitted(case, index));
    }
    [Resting::Spared, Resting::Taken]
        .into_iter()
        .find_map(|resting| from_first(case, [index].into_iter(), resting))
        .ok_or_else(|| refusal::exhausted(case, index))
}

/// Pools pinned to Services before those for all; addresses that rest only when no pool has another.
fn automatic(case: &Case<'_>) -> Option<Vec<IpAddr>> {
    let pinned = usable(case, case.allocator.pinned());
    let general = usable(case, case.allocator.general());
    [Resting::Spared, Resting::Taken]
        .into_iter()
        .find_map(|resting| {
            from_first(case, pinned.clone(), resting)
                .or_else(|| from_first(case, general.clone(), resting))
        })
}

/// The pools that may serve the Service unasked, in order. One that comes back finds its address
/// again, wherever it was.
fn usable<'a>(
    case: &'a Case<'_>,
    pools: &'a [PoolIndex],
) -> impl Iterator<Item = PoolIndex> + Clone {
    let allocator = case.allocator;
    let service = &case.service.key;
    let returns = allocator.has_released(service);
    let had = move |index| returns && allocator.released(service, index).next().is_some();
    let known = if returns { pools } else { &[] };
    let known = known.iter().copied().filter(move |index| had(*index));
    let others = pools.iter().copied().filter(move |index| !had(*index));
    let is_automatic = move |index: &PoolIndex| allocator.pool(*index).auto_assign;
    known
        .chain(others)
        .filter(move |index| is_automatic(index) && case.may_give(*index))
}

fn from_first(
    case: &Case<'_>,
    mut pools: impl Iterator<Item = PoolIndex> + Clone,
    resting: Resting,
) -> Option<Vec<IpAddr>> {
    let families = case.request.families;
    let again = pools.clone();
    let whole = pools.find_map(|index| all_families(case, index, resting));
    if whole.is_some() || !case.request.prefers_both {
        return whole;
    }
    // One address then: of the primary family if any pool has it.
    families.iter().find_map(|family| {
        let address = again
            .clone()
            .find_map(|index| next(case, index, family, resting));
        address.map(|address| vec![address])
    })
}

/// One address of each family, IPv4 first.
fn all_families(case: &Case<'_>, index: PoolIndex, resting: Resting) -> Option<Vec<IpAddr>> {
    Family::ALL
        .into_iter()
        .filter(|family| case.request.families.contains(*family))
        .map(|family| next(case, index, family, resting))
        .collect()
}

fn next(case: &Case<'_>, index: PoolIndex, family: Family, resting: Resting) -> Option<IpAddr> {
    let terms = &case.request.terms;
    let allocator = case.allocator;
    allocator.next(index, family, terms, resting)
}
