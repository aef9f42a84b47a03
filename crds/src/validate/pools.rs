//! IPAddressPool: address entries and who may draw from them.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::fault::Faults;
use super::path::Path;
use super::selectors;
use crate::api;
use crate::model::{AddressRange, Family, Labels, Pool, ServiceAllocation};

const SPEC: Path<'static> = Path::Root("spec");

/// A pool, and its entries as the user wrote them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PoolBody {
    pub(super) pool: Pool,
    pub(super) entries: Vec<Entry>,
}

/// One entry of `spec.addresses`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// Its place in the list.
    pub(super) index: usize,
    /// As written.
    pub(super) text: String,
    /// What it means.
    pub(super) range: AddressRange,
    /// The length of the widest prefix within.
    pub(super) widest: u8,
}

/// Reads a pool. Entries that make no sense are reported and left out.
pub(super) fn read(
    name: &str,
    labels: &Labels,
    spec: &api::IpAddressPoolSpec,
    faults: &mut Faults,
) -> PoolBody {
    let entries = read_entries(name, &spec.addresses, faults);
    let pool = Pool {
        name: name.to_owned(),
        labels: labels.clone(),
        ranges: entries.iter().map(|entry| entry.range).collect(),
        auto_assign: spec.auto_assign,
        avoid_buggy_ips: spec.avoid_buggy_ips,
        allocation: spec
            .service_allocation
            .as_ref()
            .map(|allocation| read_allocation(allocation, faults)),
    };
    PoolBody { pool, entries }
}

fn read_entries(pool: &str, addresses: &[String], faults: &mut Faults) -> Vec<Entry> {
    let path = SPEC.field("addresses");
    if addresses.is_empty() {
        faults.add(
            path,
            "pool has no prefixes defined: list at least one prefix or range",
        );
    }
    let mut entries = Vec::with_capacity(addresses.len());
    for (index, text) in addresses.iter().enumerate() {
        match read_range(text) {
            Ok(range) => entries.push(Entry {
                index,
                text: text.clone(),
                range,
                widest: range.widest_prefix_len(),
            }),
            Err(reason) => {
                let message = format!("invalid CIDR {text:?} in pool {pool:?}: {reason}");
                faults.add(path.item(index), message);
            }
        }
    }
    check_disjoint(pool, &entries, faults);
    entries
}

/// Reports entries that overlap with one listed before them.
fn check_disjoint(pool: &str, entries: &[Entry], faults: &mut Faults) {
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_by_key(|entry| (entry.range.family(), entry.range.first()));
    // The one that reaches furthest so far: whoever begins within it overlaps with it.
    let mut furthest: Option<&Entry> = None;
    for entry in sorted {
        if let Some(other) = furthest.filter(|other| other.range.overlaps(&entry.range)) {
            let (earlier, later) = if other.index < entry.index {
                (other, entry)
            } else {
                (entry, other)
            };
            let path = SPEC.field("addresses");
            faults.add(
                path.item(later.index),
                overlap(pool, &later.text, pool, &earlier.text),
            );
        }
        if furthest.is_none_or(|other| {
            !other.range.overlaps(&entry.range) || other.range.last() < entry.range.last()
        }) {
            furthest = Some(entry);
        }
    }
}

/// The text of an overlap.
pub(super) fn overlap(pool: &str, entry: &str, other_pool: &str, other: &str) -> String {
    format!(
        "CIDR {entry:?} in pool {pool:?} overlaps with already defined CIDR {other:?} of pool \
         {other_pool:?}: give each address to one pool, once"
    )
}

fn read_range(text: &str) -> Result<AddressRange, String> {
    match text.split_once('-') {
        Some((first, last)) => read_first_to_last(text, first, last),
        None => read_prefix(text),
    }
}

fn read_first_to_last(text: &str, first: &str, last: &str) -> Result<AddressRange, String> {
    let end = |which: &str, end: &str| {
        let address = end.trim().parse::<IpAddr>();
        address
            .map(|address| address.to_canonical())
            .map_err(|_error| {
                format!(
                    "invalid IP range {text:?}: invalid {which} IP {end:?}: write an IP address"
                )
            })
    };
    let (first, last) = (end("start", first)?, end("end", last)?);
    AddressRange::new(first, last).ok_or_else(|| {
        if Family::of(first) == Family::of(last) {
            format!("invalid IP range {text:?}: start IP {first} is after the end IP {last}: swap them")
        } else {
            format!("invalid IP range {text:?}: start and end are of different families: write two ranges")
        }
    })
}

fn read_prefix(text: &str) -> Result<AddressRange, String> {
    if text.parse::<IpAddr>().is_ok() {
        let hint = if text.contains(':') { "128" } else { "32" };
        return Err(format!(
            "no prefix length: write {text}/{hint} for the one address"
        ));
    }
    let net: IpNet = text.parse().map_err(|_error| {
        "write a prefix such as 192.0.2.0/24 or a range such as 192.0.2.10-192.0.2.20".to_owned()
    })?;
    Ok(AddressRange::from(unmapped(net)))
}

/// IPv4 written as IPv6 is IPv4.
fn unmapped(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    let v4 = v6.addr().to_ipv4_mapped();
    let length = v6.prefix_len().checked_sub(96);
    v4.zip(length)
        .and_then(|(address, length)| Ipv4Net::new(address, length).ok())
        .map_or(net, IpNet::V4)
}

fn read_allocation(spec: &api::ServiceAllocation, faults: &mut Faults) -> ServiceAllocation {
    let path = SPEC.field("serviceAllocation");
    let namespaces = path.field("namespaces");
    selectors::no_duplicates("in namespaces field", &namespaces, &spec.namespaces, faults);
    ServiceAllocation {
        priority: read_priority(spec.priority),
        namespaces: spec.namespaces.iter().cloned().collect(),
        namespace_selectors: selectors::read_list(
            "namespaceSelectors",
            &path.field("namespaceSelectors"),
            &spec.namespace_selectors,
            faults,
        ),
        service_selectors: selectors::read_list(
            "serviceSelectors",
            &path.field("serviceSelectors"),
            &spec.service_selectors,
            faults,
        ),
    }
}

/// The schema allows any integer. 0 is "not given"; a negative one is still a number, and the lower
/// is tried first.
fn read_priority(priority: i64) -> u32 {
    match priority {
        0 => 0,
        given => u32::try_from(given.max(1)).unwrap_or(u32::MAX),
    }
}
