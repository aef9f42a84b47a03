//! A cluster as a source: watches into the same store as a directory of manifests.
//!
//! ```text
//! watch (a task for each kind) ─▶ item: what matters ─▶ collector ─▶ store ─▶ changes
//! ```
//!
//! The first batch comes when every kind has been listed. Secrets are followed one by one, those that
//! a BGPPeer refers to.

mod collector;
mod connection;
mod item;
pub mod request;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future;

use kube::Client;
use kube::core::DynamicObject;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::watch as level;
use tracing::{info, warn};

use super::Change;
use super::resource::FieldError;
use crate::api::{self, IpAddressPoolStatus};
use crate::model::ServiceKey;
use crate::store::{Kind, ObjectKey};
use crate::validate::Problem;
use collector::{Collector, Heard};
use watch::{Event, Failure, FailureKind, Target, Watch};

pub use collector::Stream;
pub use connection::{ConnectError, connect};
pub use item::{Observed, observed};

/// What to follow.
#[derive(Debug, Clone)]
pub struct Options {
    /// Namespace of the configuration.
    pub namespace: String,
    /// Who follows.
    pub role: Role,
    /// The Secret with the heartbeat key, if that is to be followed.
    pub key_secret: Option<String>,
}

/// Who follows: each reads no more than it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Has no use for endpoints.
    Controller,
    /// Has no use for namespaces.
    Speaker,
}

/// What changed.
#[derive(Debug, Default)]
pub struct Batch {
    /// Objects; the first batch ends with [`Change::Synced`].
    pub changes: Vec<Change>,
    /// Everything that is wrong with the configuration, when that is different from before.
    pub problems: Option<Vec<Problem>>,
    /// Every object that cannot be understood, when that is different from before.
    pub misread: Option<BTreeSet<Misread>>,
    /// Services as the API server has them; `None`: not there, or no load balancer any more.
    pub services: Vec<(ServiceKey, Option<Box<Observed>>)>,
    /// The status of every pool of the configuration, when one is different from before.
    pub pools: Option<BTreeMap<String, Option<IpAddressPoolStatus>>>,
    /// The heartbeat key, when it is different from before; `None` in it: there is none.
    pub heartbeat_key: Option<Option<Vec<u8>>>,
    /// How much of the Services has been seen.
    pub reached: Reached,
}

/// An object that cannot be understood: it counts as it was before, or as unknown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Misread {
    /// Which.
    pub object: ObjectKey,
    /// Where it makes no sense, and why.
    pub error: FieldError,
}

impl fmt::Display for Misread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ObjectKey {
            kind,
            namespace,
            name,
        } = &self.object;
        write!(f, "{}/{name}", kind.name())?;
        if kind.is_namespaced() {
            write!(f, " in namespace {namespace}")?;
        }
        write!(f, ": {}", self.error)
    }
}

/// How much of the Services has been seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reached {
    /// Every change up to this resourceVersion.
    pub version: u64,
    /// The last [`Kubernetes::relist`] whose list is complete.
    pub round: u64,
}

/// A cluster that is followed until this is dropped.
pub struct Kubernetes {
    client: Client,
    options: Options,
    sender: Sender<Heard>,
    heard: Receiver<Heard>,
    watches: BTreeMap<Stream, Watch>,
    round: level::Sender<u64>,
    collector: Collector,
    failing: BTreeMap<Stream, Failure>,
}

impl Kubernetes {
    /// Begins to follow.
    pub fn start(client: Client, options: Options) -> Self {
        let (sender, heard) = mpsc::channel(CHANNEL);
        let (round, _) = level::channel(0);
        let mut source = Self {
            client,
            sender,
            heard,
            watches: BTreeMap::new(),
            round,
            collector: Collector::new(&options.namespace, streams(&options)),
            failing: BTreeMap::new(),
            options,
        };
        for stream in streams(&source.options) {
            source.follow(stream, Scope::Cluster);
        }
        source
    }

    /// Asks for a list of the Services that is begun now; [`Reached::round`] tells when it is complete.
    pub fn relist(&self) -> u64 {
        self.round.send_modify(|round| *round += 1);
        *self.round.borrow()
    }

    /// Everything there is, for somebody who knows nothing yet.
    pub fn snapshot(&self) -> Vec<Change> {
        self.collector.snapshot()
    }

    /// Waits for the next change. Nothing is lost when the wait is given up.
    pub async fn next(&mut self) -> Batch {
        loop {
            match self.heard.recv().await {
                Some(heard) => self.take(heard),
                // Impossible: there is a sender in `self`.
                None => future::pending().await,
            }
            for _ in 1..BATCH {
                match self.heard.try_recv() {
                    Ok(heard) => self.take(heard),
                    Err(_) => break,
                }
            }
            self.follow_secrets();
            if let Some(batch) = self.collector.batch() {
                return batch;
            }
        }
    }

    fn take(&mut self, heard: Heard) {
        match heard {
            Heard::Objects(stream, event) => match *event {
                Event::Failed(failure) => self.note_failure(stream, failure),
                Event::Recovered => self.note_recovery(&stream),
                event @ (Event::Listed { .. }
                | Event::Applied(..)
                | Event::Deleted(..)
                | Event::Reached(_)) => {
                    let heard = Heard::Objects(stream, Box::new(event));
                    self.collector.handle(heard);
                }
            },
            Heard::Key(Event::Failed(failure)) => {
                if failure.kind == FailureKind::Forbidden {
                    self.collector.do_without(Stream::HeartbeatKey);
                }
                self.note_failure(Stream::HeartbeatKey, failure);
            }
            Heard::Key(Event::Recovered) => self.note_recovery(&Stream::HeartbeatKey),
            heard @ Heard::Key(_) => self.collector.handle(heard),
        }
    }

    /// One cause concerns many kinds and is told once.
    fn note_failure(&mut self, stream: Stream, failure: Failure) {
        let is_wide = self.collector.is_configuration(&stream);
        if failure.kind == FailureKind::Forbidden && is_wide {
            // Roles written for MetalLB allow the configuration's namespace only.
            self.collector.narrow(&stream);
            return self.follow(stream, Scope::Namespace);
        }
        let is_known = self.failing.values().any(|known| *known == failure);
        if !is_known {
            let advice = match failure.kind {
                FailureKind::Missing => "apply the CustomResourceDefinitions of config/crd",
                FailureKind::Forbidden => "apply the roles of config/rbac",
                FailureKind::Gone | FailureKind::Refused | FailureKind::Other => "",
            };
            warn!(kind = %stream, error = failure.cause, advice, "cannot read from the API server, trying again");
        }
        self.failing.insert(stream, failure);
    }

    fn note_recovery(&mut self, stream: &Stream) {
        if self.failing.remove(stream).is_some() && self.failing.is_empty() {
            info!("everything can be read from the API server again");
        }
    }

    fn follow_secrets(&mut self) {
        let wanted = self.collector.secrets();
        for stream in &wanted {
            if !self.watches.contains_key(stream) {
                self.follow(stream.clone(), Scope::Namespace);
            }
        }
        let is_wanted = |stream: &Stream| wanted.contains(stream);
        let unwanted = |stream: &Stream| matches!(stream, Stream::Secret(_)) && !is_wanted(stream);
        let gone: Vec<Stream> = self
            .watches
            .keys()
            .filter(|s| unwanted(s))
            .cloned()
            .collect();
        for stream in gone {
            self.watches.remove(&stream);
            self.failing.remove(&stream);
            self.collector.forget(&stream);
        }
    }

    fn follow(&mut self, stream: Stream, scope: Scope) {
        let target = self.target(&stream, scope);
        let client = self.client.clone();
        // Only the Services are ever listed again on demand.
        let round = match stream {
            Stream::Kind(Kind::Service) => self.round.subscribe(),
            Stream::Kind(_) | Stream::Secret(_) | Stream::HeartbeatKey => level::channel(0).1,
        };
        let sender = self.sender.clone();
        let name = stream.clone();
        let sink = move |event| {
            let (sender, heard) = (
                sender.clone(),
                Heard::Objects(name.clone(), Box::new(event)),
            );
            // Nobody listens any more only when everything ends.
            async move { drop(sender.send(heard).await) }
        };
        let watch = match &stream {
            Stream::Kind(Kind::Service) => Watch::start(client, target, round, item::service, sink),
            Stream::Kind(Kind::EndpointSlice) => {
                Watch::start(client, target, round, item::endpoint_slice, sink)
            }
            Stream::Kind(Kind::Node) => Watch::start(client, target, round, item::node, sink),
            Stream::Kind(Kind::Namespace) => {
                Watch::start(client, target, round, item::namespace, sink)
            }
            Stream::Kind(Kind::Configuration(kind)) => {
                let kind = *kind;
                let convert = move |object: DynamicObject| item::configuration(object, kind);
                Watch::start(client, target, round, convert, sink)
            }
            Stream::Kind(Kind::Secret) | Stream::Secret(_) => {
                Watch::start(client, target, round, item::secret, sink)
            }
            Stream::HeartbeatKey => {
                let sender = self.sender.clone();
                let sink = move |event| {
                    let sender = sender.clone();
                    async move { drop(sender.send(Heard::Key(event)).await) }
                };
                Watch::start(client, target, round, item::heartbeat_key, sink)
            }
        };
        self.watches.insert(stream, watch);
    }

    fn target(&self, stream: &Stream, scope: Scope) -> Target {
        let namespace = &self.options.namespace;
        let secret = |name: &str| Target {
            fields: format!("metadata.name={name}"),
            ..Target::all(format!("/api/v1/namespaces/{namespace}/secrets"))
        };
        match stream {
            Stream::Kind(Kind::Service) => Target {
                fields: "spec.type=LoadBalancer".to_owned(),
                ..Target::all("/api/v1/services")
            },
            Stream::Kind(Kind::EndpointSlice) => {
                Target::all("/apis/discovery.k8s.io/v1/endpointslices")
            }
            Stream::Kind(Kind::Node) => Target::all("/api/v1/nodes"),
            Stream::Kind(Kind::Namespace) => Target::all("/api/v1/namespaces"),
            Stream::Kind(Kind::Configuration(kind)) => {
                let resource = kind.resource();
                Target::all(match scope {
                    Scope::Cluster => resource.path(None),
                    Scope::Namespace => resource.path(Some(namespace)),
                })
            }
            // Followed by name only.
            Stream::Kind(Kind::Secret) => secret(""),
            Stream::Secret(name) => secret(name),
            Stream::HeartbeatKey => secret(self.options.key_secret.as_deref().unwrap_or_default()),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Scope {
    Cluster,
    Namespace,
}

fn streams(options: &Options) -> Vec<Stream> {
    let mut kinds: Vec<Kind> = api::Kind::ALL
        .into_iter()
        .map(Kind::Configuration)
        .collect();
    kinds.extend([Kind::Service, Kind::Node]);
    kinds.push(match options.role {
        Role::Controller => Kind::Namespace,
        Role::Speaker => Kind::EndpointSlice,
    });
    let mut streams: Vec<_> = kinds.into_iter().map(Stream::Kind).collect();
    streams.extend(options.key_secret.as_ref().map(|_| Stream::HeartbeatKey));
    streams
}

/// Who hears more than this at once makes the watches wait.
const CHANNEL: usize = 1024;

/// What is heard at once is decided together, up to so much.
const BATCH: usize = 4096;
