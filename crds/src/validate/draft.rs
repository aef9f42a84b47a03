//! What one object says, and everything it breaks by itself. What it names elsewhere is looked up
//! later, by the judge.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::advertisements::{self, Alias};
use super::annotations;
use super::fault::{Faults, is_within};
use super::peers::{self, Mentions};
use super::pools::{self, PoolBody};
use super::schema::{Misfit, Sort, check};
use crate::api::{self, Kind, Object, V1BETA1};
use crate::model::{BfdProfile, BgpAdvertisement, L2Advertisement, Peer};

/// The meaning of an object of each kind.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Body {
    Pool(PoolBody),
    L2(L2Advertisement),
    Bgp(BgpAdvertisement),
    Peer(Peer),
    Bfd(BfdProfile),
    Communities(Vec<Alias>),
}

impl Body {
    /// The kind of object that means this.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Pool(_) => Kind::IpAddressPool,
            Self::L2(_) => Kind::L2Advertisement,
            Self::Bgp(_) => Kind::BgpAdvertisement,
            Self::Peer(_) => Kind::BgpPeer,
            Self::Bfd(_) => Kind::BfdProfile,
            Self::Communities(_) => Kind::Community,
        }
    }
}

/// One object, read.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    /// What it means; where something is wrong, what can still be said. `None`: nothing.
    pub(super) body: Option<Body>,
    /// A BGPAdvertisement's communities as written: values and names.
    pub(super) communities: Vec<String>,
    /// The names a Community writes down, whether or not they make sense.
    pub(super) aliases: Vec<String>,
    /// What a BGPPeer names, also when it has no body.
    pub(super) mentions: Mentions,
    /// What is wrong with it.
    pub(super) faults: Faults,
    /// Where it did not fit its schema: what is said about these places follows from that.
    misfits: Vec<Misfit>,
}

impl Draft {
    /// Reads an object.
    pub(super) fn new(object: &Object) -> Self {
        let (spec, misfits) = check(object.kind, &object.version, &object.document);
        let mut draft = Self {
            body: None,
            communities: Vec::new(),
            aliases: Vec::new(),
            mentions: Mentions::default(),
            faults: Faults::default(),
            misfits,
        };
        draft.read(object, spec);
        let found = std::mem::take(&mut draft.faults);
        draft.report_misfits(&found);
        draft.report(found);
        draft
    }

    /// Whether the object can take effect, as far as it alone can tell.
    pub(super) fn is_sound(&self) -> bool {
        self.body.is_some() && !self.faults.block()
    }

    /// Adds faults, but not those that only follow from a misfit.
    pub(super) fn report(&mut self, faults: Faults) {
        let news = faults
            .0
            .into_iter()
            .filter(|fault| !self.follows(&fault.path));
        self.faults.0.extend(news.collect::<Vec<_>>());
    }

    /// Whether what is wrong there follows from a misfit. A field that is missing may be explained
    /// better by the rule that misses it than by the schema.
    pub(super) fn follows(&self, path: &str) -> bool {
        self.misfits.iter().any(|misfit| match misfit.sort {
            Sort::Unknown => false,
            Sort::Missing => path != misfit.path && is_within(path, &misfit.path),
            Sort::Wrong => is_within(path, &misfit.path),
        })
    }

    /// Whether all of what stands there, known fields only, fits the schema.
    pub(super) fn fits(&self, path: &str) -> bool {
        let touches =
            |misfit: &Misfit| is_within(path, &misfit.path) || is_within(&misfit.path, path);
        let misfits = self.misfits.iter();
        let mut real = misfits.filter(|misfit| !matches!(misfit.sort, Sort::Unknown));
        !real.any(touches)
    }

    fn report_misfits(&mut self, found: &Faults) {
        for misfit in &self.misfits {
            let explained = found.0.iter().any(|fault| fault.path == misfit.path);
            match misfit.sort {
                Sort::Unknown => self.faults.advise(&misfit.path, &misfit.message),
                Sort::Missing if explained => {}
                Sort::Missing | Sort::Wrong => self.faults.add(&misfit.path, &misfit.message),
            }
        }
    }

    fn read(&mut self, object: &Object, spec: Value) {
        let (name, faults) = (object.name.as_str(), &mut self.faults);
        self.body = match object.kind {
            Kind::IpAddressPool => decode(spec, faults)
                .map(|spec| Body::Pool(pools::read(name, &object.labels, &spec, faults))),
            Kind::L2Advertisement => decode(spec, faults)
                .map(|spec| Body::L2(advertisements::read_l2(name, &spec, faults))),
            Kind::BgpAdvertisement => {
                decode(spec, faults).map(|spec: api::BgpAdvertisementSpec| {
                    let advertisement = advertisements::read_bgp(name, &spec, faults);
                    self.communities = spec.communities;
                    Body::Bgp(advertisement)
                })
            }
            Kind::BgpPeer => read_peer(object, spec, faults).and_then(|(mentions, peer)| {
                self.mentions = mentions;
                peer.map(Body::Peer)
            }),
            Kind::BfdProfile => {
                decode(spec, faults).map(|spec| Body::Bfd(peers::read_bfd_profile(name, &spec)))
            }
            Kind::Community => decode(spec, faults).map(|spec: api::CommunitySpec| {
                let aliases = advertisements::read_communities(&spec, faults);
                let names = spec.communities.into_iter().filter_map(|alias| alias.name);
                self.aliases = names.filter(|name| !name.is_empty()).collect();
                Body::Communities(aliases)
            }),
        };
    }
}

fn read_peer(
    object: &Object,
    spec: Value,
    faults: &mut Faults,
) -> Option<(Mentions, Option<Peer>)> {
    let spec: api::BgpPeerSpec = if object.version == V1BETA1 {
        peers::from_v1beta1(decode(spec, faults)?)
    } else {
        decode(spec, faults)?
    };
    let (mentions, mut peer) = peers::read(&object.name, &object.namespace, &spec, faults);
    if let Some(peer) = &mut peer {
        annotations::apply(&object.document, peer, faults);
    }
    Some((mentions, peer))
}

/// The walk has replaced everything that does not fit, so this only fails if a schema and its type
/// disagree. The error stays out of the text: it may quote a password.
fn decode<T: DeserializeOwned>(spec: Value, faults: &mut Faults) -> Option<T> {
    let decoded = serde_json::from_value(spec).ok();
    if decoded.is_none() {
        faults.add(
            "spec",
            "cannot be read: compare it with the documentation of its kind",
        );
    }
    decoded
}
