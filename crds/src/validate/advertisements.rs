//! L2Advertisement, BGPAdvertisement and Community.

use std::collections::BTreeSet;

use super::fault::Faults;
use super::path::Path;
use super::selectors;
use crate::api;
use crate::model::{
    AdvertisementOptions, BgpAdvertisement, Community, L2Advertisement, PoolChoice, Preference,
};

const SPEC: Path<'static> = Path::Root("spec");

/// A name for a community.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Alias {
    /// Its place in the list.
    pub(super) index: usize,
    /// The name.
    pub(super) name: String,
    /// What it stands for.
    pub(super) value: Community,
}

/// Why a text is no community.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotACommunity {
    /// It has the form of one, but not the numbers.
    #[error(
        "invalid community value: write 65000:100 with two numbers up to 65535, or large:65000:1:2 \
         with three up to 4294967295"
    )]
    Value,
    /// It has not the form: where names are allowed, it may be one.
    #[error("invalid community format: write 65000:100 or large:65000:1:2")]
    Format,
}

/// Reads an L2Advertisement.
pub(super) fn read_l2(
    name: &str,
    spec: &api::L2AdvertisementSpec,
    faults: &mut Faults,
) -> L2Advertisement {
    let list = |field: &str, list, faults: &mut Faults| {
        selectors::read_list(field, &SPEC.field(field), list, faults)
    };
    let preferences = spec.preferred_node_selectors.iter().enumerate();
    L2Advertisement {
        name: name.to_owned(),
        pools: read_pools(
            &spec.ip_address_pools,
            &spec.ip_address_pool_selectors,
            faults,
        ),
        nodes: list("nodeSelectors", &spec.node_selectors, faults),
        services: list("serviceSelectors", &spec.service_selectors, faults),
        interfaces: spec.interfaces.iter().cloned().collect(),
        preferences: preferences
            .map(|(index, preferred)| {
                let path = SPEC.field("preferredNodeSelectors");
                let path = path.item(index);
                Preference {
                    weight: u32::try_from(preferred.weight).unwrap_or_default(),
                    nodes: selectors::read(
                        &path.field("preference"),
                        &preferred.preference,
                        faults,
                    ),
                }
            })
            .collect(),
    }
}

/// Reads a BGPAdvertisement's fields; its communities are looked up later.
pub(super) fn read_bgp(
    name: &str,
    spec: &api::BgpAdvertisementSpec,
    faults: &mut Faults,
) -> BgpAdvertisement {
    let list = |field: &str, list, faults: &mut Faults| {
        selectors::read_list(field, &SPEC.field(field), list, faults)
    };
    let names = |what: &str, field: &str, names, faults: &mut Faults| {
        selectors::no_duplicates(what, &SPEC.field(field), names, faults);
    };
    names("of community", "communities", &spec.communities, faults);
    names("of peers", "peers", &spec.peers, faults);
    check_exclusive(spec, faults);
    let length_v4 = spec.aggregation_length.unwrap_or(32);
    let length_v6 = spec.aggregation_length_v6.unwrap_or(128);
    BgpAdvertisement {
        name: name.to_owned(),
        pools: read_pools(
            &spec.ip_address_pools,
            &spec.ip_address_pool_selectors,
            faults,
        ),
        nodes: list("nodeSelectors", &spec.node_selectors, faults),
        services: list("serviceSelectors", &spec.service_selectors, faults),
        peers: spec.peers.iter().cloned().collect(),
        aggregation_length_v4: read_length("aggregationLength", "IPv4", length_v4, 32, faults),
        aggregation_length_v6: read_length("aggregationLengthV6", "IPv6", length_v6, 128, faults),
        local_pref: spec.local_pref.filter(|value| *value != 0),
        communities: [].into(),
        options: AdvertisementOptions::default(),
    }
}

fn read_length(field: &str, family: &str, length: i32, most: u8, faults: &mut Faults) -> u8 {
    let read = u8::try_from(length).ok().filter(|length| *length <= most);
    if read.is_none() {
        let message =
            format!("invalid aggregation length {length} for {family}: use at most {most}");
        faults.add(SPEC.field(field), message);
    }
    read.unwrap_or(most)
}

/// An aggregate stands for all Services in it, so it cannot be for some of them.
fn check_exclusive(spec: &api::BgpAdvertisementSpec, faults: &mut Faults) {
    if spec.service_selectors.is_empty() {
        return;
    }
    let lengths = [
        ("aggregationLength", spec.aggregation_length, 32),
        ("aggregationLengthV6", spec.aggregation_length_v6, 128),
    ];
    for (field, length, host) in lengths {
        if length.is_some_and(|length| length != host) {
            let message = "serviceSelectors and aggregationLength are mutually exclusive, can only be \
                           used together with default aggregationLength (32) and aggregationLengthV6 \
                           (128): remove one of them";
            faults.add(SPEC.field(field), message);
        }
    }
}

fn read_pools(names: &[String], labels: &[api::LabelSelector], faults: &mut Faults) -> PoolChoice {
    selectors::no_duplicates(
        "of ipAddressPools",
        &SPEC.field("ipAddressPools"),
        names,
        faults,
    );
    let field = "ipAddressPoolSelectors";
    PoolChoice {
        names: names.iter().cloned().collect(),
        selectors: selectors::read_list(field, &SPEC.field(field), labels, faults),
    }
}

/// Reads the names a Community defines; one that makes no sense, or comes again, is reported and
/// left out.
pub(super) fn read_communities(spec: &api::CommunitySpec, faults: &mut Faults) -> Vec<Alias> {
    let list = SPEC.field("communities");
    let mut aliases = Vec::with_capacity(spec.communities.len());
    let mut seen = BTreeSet::new();
    for (index, alias) in spec.communities.iter().enumerate() {
        let path = list.item(index);
        let name = alias.name.clone().unwrap_or_default();
        let is_new = seen.insert(name.clone());
        if !is_new {
            faults.add(path.field("name"), duplicate(&name));
        }
        let value = alias.value.as_deref().unwrap_or_default();
        match read_community(value) {
            Ok(value) if is_new => aliases.push(Alias { index, name, value }),
            Ok(_) => {}
            Err(error) => faults.add(
                path.field("value"),
                format!("community {name:?} is {value:?}: {error}"),
            ),
        }
    }
    aliases
}

/// The text of a name that is taken.
pub(super) fn duplicate(name: &str) -> String {
    format!("duplicate definition of community {name:?}: rename one")
}

/// Reads a community value.
pub(super) fn read_community(text: &str) -> Result<Community, NotACommunity> {
    let parts: Vec<&str> = text.split(':').collect();
    let community = match parts.as_slice() {
        [a, b] => number(a)
            .zip(number(b))
            .map(|(a, b)| Community::Standard(a, b)),
        ["large", a, b, c] => number(a)
            .zip(number(b))
            .zip(number(c))
            .map(|((a, b), c)| Community::Large(a, b, c)),
        [_, _, _, _] => None,
        _ => return Err(NotACommunity::Format),
    };
    community.ok_or(NotACommunity::Value)
}

/// Decimal digits only: a sign is no part of a community.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}
