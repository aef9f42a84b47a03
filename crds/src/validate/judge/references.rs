//! What objects name elsewhere: communities, BFD profiles and Secrets.

use std::collections::BTreeMap;

use super::Facts;
use crate::api::{BASIC_AUTH_SECRET, PASSWORD_KEY};
use crate::model::{BfdProfile, BgpAdvertisement, Community, Peer, PeerAsn, Secret, SecretRef};
use crate::validate::advertisements::{NotACommunity, read_community};
use crate::validate::contradictions::Admitted;
use crate::validate::draft::{Body, Draft};
use crate::validate::fault::Faults;
use crate::validate::peers::is_plain;

/// Everything there is to refer to.
pub(super) struct References<'f> {
    pub(super) facts: &'f Facts,
    /// Names of BFD profiles.
    pub(super) profiles: Vec<String>,
    aliases: BTreeMap<String, Community>,
}

impl<'f> References<'f> {
    /// No community is defined yet.
    pub(super) fn new(facts: &'f Facts) -> Self {
        Self {
            facts,
            profiles: Vec::new(),
            aliases: BTreeMap::new(),
        }
    }

    /// Defines communities by name.
    pub(super) fn define(&mut self, communities: &Admitted<'_>) {
        self.aliases = communities.aliases();
    }

    /// What an object means once its references are followed; `None` when one leads nowhere.
    pub(super) fn resolve(&self, draft: &Draft) -> Option<Body> {
        let mut faults = Faults::default();
        let body = match draft.body.as_ref()? {
            Body::Bgp(advertisement) => Body::Bgp(BgpAdvertisement {
                communities: self.communities(&draft.communities, &mut faults).collect(),
                ..advertisement.clone()
            }),
            Body::Peer(peer) => Body::Peer(self.complete(peer, &mut faults)),
            body @ (Body::Pool(_) | Body::L2(_) | Body::Bfd(_) | Body::Communities(_)) => {
                body.clone()
            }
        };
        (!faults.block()).then_some(body)
    }

    /// The references of an object that lead nowhere.
    pub(super) fn faults(&self, draft: &Draft) -> Faults {
        let mut faults = Faults::default();
        match &draft.body {
            Some(Body::Bgp(_)) => self
                .communities(&draft.communities, &mut faults)
                .for_each(drop),
            Some(Body::Peer(peer)) => drop(self.complete(peer, &mut faults)),
            Some(Body::Pool(_) | Body::L2(_) | Body::Bfd(_) | Body::Communities(_)) | None => {}
        }
        faults
    }

    /// A name wins over a value that is written the same.
    fn communities(
        &self,
        texts: &[String],
        faults: &mut Faults,
    ) -> impl Iterator<Item = Community> {
        texts.iter().enumerate().filter_map(|(index, text)| {
            let message = match self
                .aliases
                .get(text)
                .copied()
                .map_or_else(|| read_community(text), Ok)
            {
                Ok(community) => return Some(community),
                Err(error @ NotACommunity::Value) => format!("invalid community {text:?}: {error}"),
                Err(NotACommunity::Format) => format!(
                    "invalid community format: {text:?} is no value, and no Community defines that \
                     name: define it, or write 65000:100 or large:65000:1:2"
                ),
            };
            faults.add(format_args!("spec.communities[{index}]"), message);
            None
        })
    }

    fn complete(&self, peer: &Peer, faults: &mut Faults) -> Peer {
        let mut peer = peer.clone();
        if let Some(name) = peer
            .bfd_profile
            .as_ref()
            .filter(|name| !self.profiles.contains(name))
        {
            let message = format!(
                "peer {} referencing non existing bfd profile {name}: create it, or correct the name",
                peer.name
            );
            faults.add("spec.bfdProfile", message);
        }
        if let Some(reference) = &peer.password_secret {
            peer.password = self.password(reference, faults);
        }
        peer
    }

    fn password(&self, reference: &SecretRef, faults: &mut Faults) -> Option<Secret> {
        let key = (reference.namespace.clone(), reference.name.clone());
        let place = format!("{}/{}", reference.namespace, reference.name);
        let Some(secret) = self.facts.secrets.get(&key) else {
            faults.add(
                "spec.passwordSecret",
                format!("secret ref not found: create Secret {place}"),
            );
            return None;
        };
        if secret.type_ != BASIC_AUTH_SECRET {
            let message = format!(
                "secret type mismatch on {place}, type {BASIC_AUTH_SECRET:?} is expected: create it anew \
                 with that type"
            );
            faults.add("spec.passwordSecret", message);
            return None;
        }
        let Some(password) = &secret.password else {
            let message =
                format!("password not specified in the secret {place}: add the key {PASSWORD_KEY}");
            faults.add("spec.passwordSecret", message);
            return None;
        };
        if !is_plain(password.expose()) {
            let message = format!(
                "password in the secret {place} contains invalid characters: remove line breaks"
            );
            faults.add("spec.passwordSecret", message);
        }
        Some(password.clone())
    }
}

/// What is in force and yet has no effect.
pub(super) fn advice(body: &Body, profiles: &BTreeMap<String, BfdProfile>) -> Faults {
    let mut faults = Faults::default();
    let Body::Peer(peer) = body else {
        return faults;
    };
    let Some(profile) = peer
        .bfd_profile
        .as_ref()
        .and_then(|name| profiles.get(name))
    else {
        return faults;
    };
    if profile.echo_mode && peer.ebgp_multi_hop {
        let message = format!(
            "bfd echo is not possible on a multihop session: turn echoMode of BFDProfile {:?} off",
            profile.name
        );
        faults.advise("spec.bfdProfile", message);
    }
    if profile.minimum_ttl.is_some() && is_single_hop(peer) {
        let message = format!(
            "minimumTtl of BFDProfile {:?} has no effect on a single-hop session: remove it, or set \
             ebgpMultiHop",
            profile.name
        );
        faults.advise("spec.bfdProfile", message);
    }
    faults
}

/// An iBGP peer may be anywhere.
fn is_single_hop(peer: &Peer) -> bool {
    let is_external = match peer.peer_asn {
        PeerAsn::Exact(asn) => asn != peer.my_asn,
        PeerAsn::Internal => false,
        PeerAsn::External => true,
    };
    is_external && !peer.ebgp_multi_hop
}
