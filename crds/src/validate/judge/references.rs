//! What objects name elsewhere: communities, BFD profiles and Secrets.

use std::collections::{BTreeMap, BTreeSet};

use super::{Facts, Id};
use crate::api::{BASIC_AUTH_SECRET, Kind};
use crate::model::{
    BfdProfile, BgpAdvertisement, Community, Peer, PeerAsn, Secret, SecretRef, TtlSecurityHops,
};
use crate::validate::advertisements::{NotACommunity, read_community};
use crate::validate::contradictions::Admitted;
use crate::validate::draft::{Body, Draft};
use crate::validate::fault::Faults;
use crate::validate::peers::is_plain;
use crate::validate::rule::Rule;

/// Everything there is to refer to.
pub(super) struct References<'f> {
    pub(super) facts: &'f Facts,
    /// Names of BFD profiles that can be used.
    pub(super) profiles: Vec<String>,
    aliases: BTreeMap<String, Community>,
    /// Names of all BFD profiles, also of those with faults.
    written_profiles: BTreeSet<String>,
    /// Community names that are written down anywhere, also next to a fault.
    written_aliases: BTreeSet<String>,
}

/// Why a reference cannot be followed.
enum Lost {
    /// It leads nowhere, or not to what it should: that is said where the reference is.
    Nowhere(Rule),
    /// What is there makes no sense: that is said there, too.
    Nonsense(String),
    /// What it leads to is there, and has faults of its own: they are said there.
    Faulty,
}

impl Lost {
    fn report(self, path: impl std::fmt::Display, faults: &mut Faults) {
        match self {
            Self::Nowhere(rule) => faults.breach(path, rule),
            Self::Nonsense(message) => faults.add(path, message),
            Self::Faulty => {}
        }
    }
}

impl<'f> References<'f> {
    /// What these objects write down; no community is defined yet.
    pub(super) fn new<'d>(
        facts: &'f Facts,
        drafts: impl Iterator<Item = (&'d Id, &'d Draft)>,
    ) -> Self {
        let mut references = Self {
            facts,
            profiles: Vec::new(),
            aliases: BTreeMap::new(),
            written_profiles: BTreeSet::new(),
            written_aliases: BTreeSet::new(),
        };
        for ((kind, name), draft) in drafts {
            if *kind == Kind::BfdProfile {
                references.written_profiles.insert(name.clone());
            }
            let aliases = draft.aliases.iter().cloned();
            references.written_aliases.extend(aliases);
        }
        references
    }

    /// Defines communities by name.
    pub(super) fn define(&mut self, communities: &Admitted<'_>) {
        self.aliases = communities.aliases();
    }

    /// What an object means once its references are followed; `None` when one cannot be.
    pub(super) fn resolve(&self, draft: &Draft) -> Option<Body> {
        let body = match draft.body.as_ref()? {
            Body::Bgp(advertisement) => {
                let communities = draft.communities.iter();
                let communities = communities.map(|text| self.community(text).ok());
                Body::Bgp(BgpAdvertisement {
                    communities: communities.collect::<Option<_>>()?,
                    ..advertisement.clone()
                })
            }
            Body::Peer(peer) => Body::Peer(self.complete(peer)?),
            body @ (Body::Pool(_) | Body::L2(_) | Body::Bfd(_) | Body::Communities(_)) => {
                body.clone()
            }
        };
        Some(body)
    }

    /// The references of an object that lead nowhere, whatever else is wrong with it.
    pub(super) fn faults(&self, name: &str, draft: &Draft) -> Faults {
        let mut faults = Faults::default();
        for (index, text) in draft.communities.iter().enumerate() {
            if let Err(lost) = self.community(text) {
                lost.report(format_args!("spec.communities[{index}]"), &mut faults);
            }
        }
        if let Some(profile) = &draft.mentions.bfd_profile
            && let Err(lost) = self.profile(name, profile)
        {
            lost.report("spec.bfdProfile", &mut faults);
        }
        if let Some(reference) = &draft.mentions.password_secret
            && let Err(lost) = self.password(name, reference)
        {
            lost.report("spec.passwordSecret", &mut faults);
        }
        faults
    }

    /// A name wins over a value that is written the same.
    fn community(&self, text: &str) -> Result<Community, Lost> {
        let defined = self.aliases.get(text).copied();
        Err(match defined.map_or_else(|| read_community(text), Ok) {
            Ok(community) => return Ok(community),
            Err(_) if self.written_aliases.contains(text) => Lost::Faulty,
            Err(error @ NotACommunity::Value) => {
                Lost::Nonsense(format!("invalid community {text:?}: {error}"))
            }
            Err(NotACommunity::Format) => Lost::Nowhere(Rule::UnknownCommunity {
                text: text.to_owned(),
            }),
        })
    }

    fn complete(&self, peer: &Peer) -> Option<Peer> {
        let mut peer = peer.clone();
        if let Some(profile) = &peer.bfd_profile {
            self.profile(&peer.name, profile).ok()?;
        }
        if let Some(reference) = &peer.password_secret {
            peer.password = Some(self.password(&peer.name, reference).ok()?);
        }
        Some(peer)
    }

    /// Whether a peer may refer to a profile.
    fn profile(&self, peer: &str, name: &String) -> Result<(), Lost> {
        if self.profiles.contains(name) {
            return Ok(());
        }
        if self.written_profiles.contains(name) {
            return Err(Lost::Faulty);
        }
        Err(Lost::Nowhere(Rule::MissingProfile {
            peer: peer.to_owned(),
            profile: name.clone(),
        }))
    }

    /// The password in a Secret, or what is wrong with it: no other object is there to say so.
    fn password(&self, peer: &str, reference: &SecretRef) -> Result<Secret, Lost> {
        let key = (reference.namespace.clone(), reference.name.clone());
        let (peer, secret) = (peer.to_owned(), reference.clone());
        let Some(found) = self.facts.secrets.get(&key) else {
            return Err(Lost::Nowhere(Rule::MissingSecret { peer, secret }));
        };
        if found.type_ != BASIC_AUTH_SECRET {
            return Err(Lost::Nowhere(Rule::WrongSecretType { peer, secret }));
        }
        let given = found.password.as_ref();
        let Some(password) = given.filter(|password| !password.expose().is_empty()) else {
            return Err(Lost::Nowhere(Rule::MissingPassword { peer, secret }));
        };
        if !is_plain(password.expose()) {
            let SecretRef { namespace, name } = secret;
            return Err(Lost::Nonsense(format!(
                "password in the secret {namespace}/{name} contains invalid characters: remove line breaks"
            )));
        }
        if password.is_too_long() {
            let (SecretRef { namespace, name }, longest) = (secret, Secret::LONGEST);
            return Err(Lost::Nonsense(format!(
                "password in the secret {namespace}/{name} is too long: use at most {longest} octets"
            )));
        }
        Ok(password.clone())
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
    let is_far = |hops: TtlSecurityHops| hops.is_multihop();
    let is_far = peer.ebgp_multi_hop || peer.options.ttl_security_hops.is_some_and(is_far);
    if profile.echo_mode && is_far {
        let message = format!(
            "bfd echo is not possible on a multihop session: turn echoMode of BFDProfile {:?} off",
            profile.name
        );
        faults.advise("spec.bfdProfile", message);
    }
    if profile.minimum_ttl.is_some() && is_single_hop(peer, is_far) {
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
fn is_single_hop(peer: &Peer, is_far: bool) -> bool {
    let is_external = match peer.peer_asn {
        PeerAsn::Exact(asn) => asn != peer.my_asn,
        PeerAsn::Internal => false,
        PeerAsn::External => true,
    };
    is_external && !is_far
}
