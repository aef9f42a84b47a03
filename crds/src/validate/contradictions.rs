//! What objects may not say together. Objects are admitted one by one, the older first; each is
//! measured against those already in.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::advertisements::{self, Alias};
use super::draft::Body;
use super::fault::Faults;
use super::path::Path;
use super::pools::{self, Entry, PoolBody};
use super::rule::Rule;
use crate::api::Kind;
use crate::model::{
    AddressRange, BfdProfile, BgpAdvertisement, Community, Family, L2Advertisement, Neighbor, Node,
    Peer, PoolChoice, Selector,
};

const SPEC: Path<'static> = Path::Root("spec");

/// How many overlaps of one entry are named: an entry such as 0.0.0.0/0 overlaps with everything.
const MOST_OVERLAPS: usize = 16;

/// The objects admitted so far, and what they occupy.
#[derive(Debug)]
pub(super) struct Admitted<'a> {
    nodes: &'a BTreeMap<String, Node>,
    pub(super) pools: BTreeMap<String, PoolBody>,
    pub(super) l2_advertisements: BTreeMap<String, L2Advertisement>,
    pub(super) bgp_advertisements: BTreeMap<String, BgpAdvertisement>,
    pub(super) peers: BTreeMap<String, Peer>,
    pub(super) bfd_profiles: BTreeMap<String, BfdProfile>,
    pub(super) communities: BTreeMap<String, Vec<Alias>>,
    /// Address space in use, by first address; no two overlap.
    claims: BTreeMap<IpAddr, Claim>,
    /// Community names in use, with the object that defines them.
    aliases: BTreeMap<String, (Community, String)>,
    /// Peers by what tells sessions apart: neighbour and VRF.
    sessions: BTreeMap<(Neighbor, Option<String>), Vec<String>>,
}

#[derive(Debug)]
struct Claim {
    range: AddressRange,
    pool: String,
    text: String,
}

impl<'a> Admitted<'a> {
    /// Nobody yet.
    pub(super) fn new(nodes: &'a BTreeMap<String, Node>) -> Self {
        Self {
            nodes,
            pools: BTreeMap::new(),
            l2_advertisements: BTreeMap::new(),
            bgp_advertisements: BTreeMap::new(),
            peers: BTreeMap::new(),
            bfd_profiles: BTreeMap::new(),
            communities: BTreeMap::new(),
            claims: BTreeMap::new(),
            aliases: BTreeMap::new(),
            sessions: BTreeMap::new(),
        }
    }

    /// What every community name stands for.
    pub(super) fn aliases(&self) -> BTreeMap<String, Community> {
        let aliases = self.aliases.iter();
        aliases
            .map(|(name, (community, _))| (name.clone(), *community))
            .collect()
    }

    /// Everything admitted.
    pub(super) fn bodies(&self) -> impl Iterator<Item = ((Kind, String), Body)> {
        let pools = self
            .pools
            .iter()
            .map(|(name, body)| (name, Body::Pool(body.clone())));
        let l2 = self
            .l2_advertisements
            .iter()
            .map(|(name, body)| (name, Body::L2(body.clone())));
        let bgp = self
            .bgp_advertisements
            .iter()
            .map(|(name, body)| (name, Body::Bgp(body.clone())));
        let peers = self
            .peers
            .iter()
            .map(|(name, body)| (name, Body::Peer(body.clone())));
        let bfd = self
            .bfd_profiles
            .iter()
            .map(|(name, body)| (name, Body::Bfd(body.clone())));
        let communities = self.communities.iter();
        let communities = communities.map(|(name, body)| (name, Body::Communities(body.clone())));
        let bodies = pools
            .chain(l2)
            .chain(bgp)
            .chain(peers)
            .chain(bfd)
            .chain(communities);
        bodies.map(|(name, body)| ((body.kind(), name.clone()), body))
    }

    /// Admits an object that [`Self::faults`] has nothing against.
    pub(super) fn admit(&mut self, name: &str, body: Body) {
        let name = name.to_owned();
        match body {
            Body::Pool(pool) => {
                self.claims.extend(
                    pool.entries
                        .iter()
                        .map(|entry| (entry.range.first(), claim(&name, entry))),
                );
                self.pools.insert(name, pool);
            }
            Body::L2(advertisement) => {
                self.l2_advertisements.insert(name, advertisement);
            }
            Body::Bgp(advertisement) => {
                self.bgp_advertisements.insert(name, advertisement);
            }
            Body::Peer(peer) => {
                self.sessions
                    .entry(session(&peer))
                    .or_default()
                    .push(name.clone());
                self.peers.insert(name, peer);
            }
            Body::Bfd(profile) => {
                self.bfd_profiles.insert(name, profile);
            }
            Body::Communities(aliases) => {
                let names = aliases
                    .iter()
                    .map(|alias| (alias.name.clone(), (alias.value, name.clone())));
                self.aliases.extend(names);
                self.communities.insert(name, aliases);
            }
        }
    }

    /// Everything that contradicts what is admitted, of this name aside.
    pub(super) fn faults(&self, name: &str, body: &Body) -> Faults {
        let mut faults = Faults::default();
        match body {
            Body::Pool(pool) => self.check_pool(pool, &mut faults),
            Body::L2(_) => {}
            Body::Bgp(advertisement) => self.check_advertisement(advertisement, &mut faults),
            Body::Peer(peer) => self.check_peer(peer, &mut faults),
            Body::Bfd(profile) => self.check_profile(profile, &mut faults),
            Body::Communities(aliases) => self.check_aliases(name, aliases, &mut faults),
        }
        faults
    }

    fn check_pool(&self, body: &PoolBody, faults: &mut Faults) {
        for entry in &body.entries {
            self.check_overlap(&body.pool.name, entry, faults);
        }
        let advertisements = self.bgp_advertisements.values();
        let ours: Vec<&BgpAdvertisement> = advertisements
            .filter(|a| a.pools.selects(&body.pool))
            .collect();
        for advertisement in &ours {
            for entry in body
                .entries
                .iter()
                .filter(|entry| is_split(advertisement, entry))
            {
                let message = split(advertisement, &body.pool.name, entry);
                faults.add(at_entry(entry), message);
            }
        }
        for (index, one) in ours.iter().enumerate() {
            let other = ours[..index]
                .iter()
                .find(|other| !self.are_compatible(one, other, body));
            if let Some(other) = other {
                faults.add(
                    SPEC.field("addresses"),
                    incompatible(one, other, &body.pool.name),
                );
            }
        }
        if let Some((echo, entry)) = self
            .echo(&[body], &ours, &self.echoing())
            .zip(first_v6(body))
        {
            faults.add(at_entry(entry), echo);
        }
    }

    /// Claims do not overlap with each other, so those that overlap with one range are neighbours.
    fn check_overlap(&self, pool: &str, entry: &Entry, faults: &mut Faults) {
        let below = self.claims.range(..=entry.range.last()).rev();
        let touching = below.take_while(|(_, claim)| claim.range.overlaps(&entry.range));
        let theirs = touching.filter(|(_, claim)| claim.pool != pool);
        for (_, claim) in theirs.take(MOST_OVERLAPS) {
            faults.add(
                at_entry(entry),
                pools::overlap(pool, &entry.text, &claim.pool, &claim.text),
            );
        }
    }

    fn check_advertisement(&self, advertisement: &BgpAdvertisement, faults: &mut Faults) {
        let pools = self.pools_of(&advertisement.pools);
        for pool in &pools {
            check_lengths(advertisement, pool, faults);
        }
        self.check_preference(advertisement, &pools, faults);
        if let Some(echo) = self.echo(&pools, &[advertisement], &self.echoing()) {
            faults.add(SPEC.field("peers"), echo);
        }
    }

    /// One clash is enough: there is one local preference to change.
    fn check_preference(
        &self,
        advertisement: &BgpAdvertisement,
        pools: &[&PoolBody],
        faults: &mut Faults,
    ) {
        let others = self.bgp_advertisements.values();
        let differing = others.filter(|other| {
            other.name != advertisement.name && other.local_pref != advertisement.local_pref
        });
        for other in differing {
            let mut shared = pools.iter().filter(|pool| other.pools.selects(&pool.pool));
            let clash = shared.find(|pool| !self.are_compatible(advertisement, other, pool));
            if let Some(pool) = clash {
                let message = incompatible(advertisement, other, &pool.pool.name);
                faults.add(SPEC.field("localPref"), message);
                return;
            }
        }
    }

    /// Whether the two may give one prefix of the pool different local preferences.
    fn are_compatible(
        &self,
        one: &BgpAdvertisement,
        other: &BgpAdvertisement,
        pool: &PoolBody,
    ) -> bool {
        // Which Services they have in common is only known when they announce.
        let by_service = !one.services.is_empty() || !other.services.is_empty();
        let strangers =
            !one.peers.is_empty() && !other.peers.is_empty() && one.peers.is_disjoint(&other.peers);
        one.local_pref == other.local_pref
            || by_service
            || strangers
            || announce_different_prefixes(one, other, pool)
            || !self.may_share_a_node(one, other)
    }

    /// While no Node is known, advertisements with different selectors get the benefit of the doubt.
    fn may_share_a_node(&self, one: &BgpAdvertisement, other: &BgpAdvertisement) -> bool {
        if self.nodes.is_empty() {
            return one.nodes.is_empty() || other.nodes.is_empty() || one.nodes == other.nodes;
        }
        self.shared_node(&one.nodes, &other.nodes).is_some()
    }

    fn check_peer(&self, peer: &Peer, faults: &mut Faults) {
        let rivals = self.sessions.get(&session(peer)).into_iter().flatten();
        for rival in rivals.filter(|rival| **rival != peer.name) {
            let Some(place) = self
                .peers
                .get(rival)
                .and_then(|rival| self.common_ground(peer, rival))
            else {
                continue;
            };
            let field = match peer.neighbor {
                Neighbor::Address(_) => "peerAddress",
                Neighbor::Interface(_) => "interface",
            };
            let rule = Rule::SameSession {
                neighbor: peer.neighbor.clone(),
                rival: rival.clone(),
                place,
            };
            faults.breach(SPEC.field(field), rule);
        }
        if self.echoes(peer, None) {
            let ads: Vec<&BgpAdvertisement> = self.bgp_advertisements.values().collect();
            let pools: Vec<&PoolBody> = self.pools.values().collect();
            if let Some(echo) = self.echo(&pools, &ads, &[peer]) {
                faults.add(SPEC.field("bfdProfile"), echo);
            }
        }
    }

    fn common_ground(&self, one: &Peer, other: &Peer) -> Option<String> {
        if self.nodes.is_empty() {
            return Some("every node (none is known)".to_owned());
        }
        let node = self.shared_node(&one.nodes, &other.nodes)?;
        Some(format!("node {node}"))
    }

    fn shared_node(&self, one: &[Selector], other: &[Selector]) -> Option<&str> {
        let selects = |selectors, node: &Node| Selector::any_or_all(selectors, &node.labels);
        let mut nodes = self.nodes.iter();
        let (name, _) = nodes.find(|(_, node)| selects(one, node) && selects(other, node))?;
        Some(name)
    }

    fn check_profile(&self, profile: &BfdProfile, faults: &mut Faults) {
        let peers = self.peers.values();
        let echoing: Vec<&Peer> = peers
            .filter(|peer| self.echoes(peer, Some(profile)))
            .collect();
        let ads: Vec<&BgpAdvertisement> = self.bgp_advertisements.values().collect();
        let pools: Vec<&PoolBody> = self.pools.values().collect();
        if let Some(echo) = self.echo(&pools, &ads, &echoing) {
            faults.add(SPEC.field("echoMode"), echo);
        }
    }

    fn check_aliases(&self, object: &str, aliases: &[Alias], faults: &mut Faults) {
        let path = SPEC.field("communities");
        for alias in aliases {
            if let Some((_, owner)) = self
                .aliases
                .get(&alias.name)
                .filter(|(_, owner)| owner != object)
            {
                let message = format!(
                    "{} (Community {owner:?} has it)",
                    advertisements::duplicate(&alias.name)
                );
                faults.add(path.item(alias.index).field("name"), message);
            }
        }
    }

    /// Pools that a choice selects, without a walk over all of them where they are named.
    fn pools_of(&self, choice: &PoolChoice) -> Vec<&PoolBody> {
        if choice.selectors.is_empty() && !choice.names.is_empty() {
            return choice
                .names
                .iter()
                .filter_map(|name| self.pools.get(name))
                .collect();
        }
        self.pools
            .values()
            .filter(|pool| choice.selects(&pool.pool))
            .collect()
    }

    fn echoing(&self) -> Vec<&Peer> {
        self.peers
            .values()
            .filter(|peer| self.echoes(peer, None))
            .collect()
    }

    /// Whether the peer's profile, which may be the given one, has the echo function on.
    fn echoes(&self, peer: &Peer, profile: Option<&BfdProfile>) -> bool {
        let Some(name) = &peer.bfd_profile else {
            return false;
        };
        profile
            .map_or_else(
                || self.bfd_profiles.get(name),
                |profile| Some(profile).filter(|p| p.name == *name),
            )
            .is_some_and(|profile| profile.echo_mode)
    }

    /// The first pool with IPv6 that is advertised to one of these peers, which use BFD echo.
    fn echo(
        &self,
        pools: &[&PoolBody],
        ads: &[&BgpAdvertisement],
        peers: &[&Peer],
    ) -> Option<String> {
        for ad in ads {
            let told = |peer: &&&Peer| ad.peers.is_empty() || ad.peers.contains(&peer.name);
            let Some(peer) = peers.iter().find(told) else {
                continue;
            };
            let v6 = |pool: &&&PoolBody| first_v6(pool).is_some() && ad.pools.selects(&pool.pool);
            if let Some(pool) = pools.iter().find(v6) {
                return Some(format!(
                    "pool {} has bgpadvertisement {} which references peer {} which has bfd echo \
                     enabled, which is not possible with IPv6 addresses: turn echoMode off, or do \
                     not advertise the pool to that peer",
                    pool.pool.name, ad.name, peer.name
                ));
            }
        }
        None
    }
}

fn claim(pool: &str, entry: &Entry) -> Claim {
    Claim {
        range: entry.range,
        pool: pool.to_owned(),
        text: entry.text.clone(),
    }
}

fn session(peer: &Peer) -> (Neighbor, Option<String>) {
    (peer.neighbor.clone(), peer.vrf.clone())
}

fn at_entry(entry: &Entry) -> String {
    format!("spec.addresses[{}]", entry.index)
}

fn first_v6(pool: &PoolBody) -> Option<&Entry> {
    pool.entries
        .iter()
        .find(|entry| entry.range.family() == Family::V6)
}

/// In each family, the entry that asks for most: who obeys it has obeyed all.
fn check_lengths(advertisement: &BgpAdvertisement, pool: &PoolBody, faults: &mut Faults) {
    let fields = [
        (Family::V4, "aggregationLength"),
        (Family::V6, "aggregationLengthV6"),
    ];
    for (family, field) in fields {
        let entries = pool.entries.iter();
        let ours = entries.filter(|entry| entry.range.family() == family);
        let split_up = ours.filter(|entry| is_split(advertisement, entry));
        if let Some(entry) = split_up.max_by_key(|entry| entry.widest) {
            let message = split(advertisement, &pool.pool.name, entry);
            faults.add(SPEC.field(field), message);
        }
    }
}

/// Whether an aggregate would reach beyond the entry.
fn is_split(advertisement: &BgpAdvertisement, entry: &Entry) -> bool {
    advertisement.aggregation_length(entry.range.family()) < entry.widest
}

fn split(advertisement: &BgpAdvertisement, pool: &str, entry: &Entry) -> String {
    format!(
        "invalid aggregation length {}: prefix {} in this pool is more specific than the aggregation \
         length for addresses {}: pool {pool:?} and BGPAdvertisement {:?} need a length of {} or more",
        advertisement.aggregation_length(entry.range.family()),
        entry.widest,
        entry.text,
        advertisement.name,
        entry.widest,
    )
}

fn incompatible(one: &BgpAdvertisement, other: &BgpAdvertisement, pool: &str) -> String {
    format!(
        "invalid local preference {}: local preference {} was already set for the same type of BGP \
         update by BGPAdvertisement {:?}: in pool {pool:?}, give {:?} the same, or another aggregation \
         length, other peers or other nodes",
        one.local_pref.unwrap_or(0),
        other.local_pref.unwrap_or(0),
        other.name,
        one.name,
    )
}

/// In every family the pool has, the two announce prefixes of different lengths.
fn announce_different_prefixes(
    one: &BgpAdvertisement,
    other: &BgpAdvertisement,
    pool: &PoolBody,
) -> bool {
    let differ = |family| one.aggregation_length(family) != other.aggregation_length(family);
    let mut families = Family::ALL
        .into_iter()
        .filter(|family| pool.pool.has_family(*family));
    families.all(differ)
}
