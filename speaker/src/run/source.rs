//! Where objects come from: a directory or an API server. The loop does not ask which.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use ferrolb_crds::model::ServiceKey;
use ferrolb_crds::source::Change;
use ferrolb_crds::source::kubernetes::{self, Kubernetes, Observed, Role};
use ferrolb_crds::source::manifests::{self, Manifests};
use ferrolb_crds::validate::Statement;
use kube::Client;

use super::{Heartbeat, Origin, Settings};

/// A source that has been started; of a cluster with the name of this node.
pub(super) enum Source {
    Manifests(Manifests),
    Kubernetes(Box<Kubernetes>, String),
}

/// What changed.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) changes: Vec<Change>,
    /// Everything that is wrong with the objects, when that is different from before. In a cluster
    /// other nodes say what concerns them alone.
    pub(super) problems: Option<BTreeSet<String>>,
    /// The same for the API server, if that is where the objects are.
    pub(super) statement: Option<Statement>,
    /// Every object of a cluster that cannot be understood, when that is different from before.
    pub(super) misread: Option<BTreeSet<String>>,
    /// Which object each Service is; `None`: it is no more.
    pub(super) uids: Vec<(ServiceKey, Option<String>)>,
    /// The heartbeat key, when it is different from before.
    pub(super) heartbeat_key: Option<Option<Vec<u8>>>,
}

impl Source {
    /// The one that the settings name, and the client it uses, if it uses one.
    pub(super) async fn start(settings: &Settings) -> anyhow::Result<(Self, Option<Client>)> {
        match &settings.origin {
            Origin::Manifests { manifests, state } => {
                let source = Self::directory(manifests, state, &settings.namespace)?;
                Ok((source, None))
            }
            Origin::Cluster(cluster) => {
                let client = kubernetes::connect(cluster.kubeconfig.as_deref(), AGENT).await?;
                let options = kubernetes::Options {
                    namespace: settings.namespace.clone(),
                    role: Role::Speaker,
                    key_secret: match &settings.heartbeat {
                        Heartbeat::Secret(name) => Some(name.clone()),
                        Heartbeat::KeyFile(_) | Heartbeat::Insecure | Heartbeat::NoKey => None,
                    },
                };
                let source = Kubernetes::start(client.clone(), options);
                let node = settings.identity.node.clone();
                Ok((Self::Kubernetes(Box::new(source), node), Some(client)))
            }
        }
    }

    /// A directory.
    pub(super) fn directory(
        manifests: &Path,
        state: &Path,
        namespace: &str,
    ) -> anyhow::Result<Self> {
        let source = Manifests::start(&manifests::Options {
            dir: manifests.to_owned(),
            state: Some(state.to_owned()),
            namespace: namespace.to_owned(),
            follow_state: true,
        });
        source
            .map(Self::Manifests)
            .context("reading the manifests directory")
    }

    /// Waits for the next change. Cancel-safe.
    pub(super) async fn next(&mut self) -> Batch {
        match self {
            Self::Manifests(source) => {
                let batch = source.next().await;
                Batch {
                    changes: batch.changes,
                    problems: batch.problems.map(words),
                    ..Batch::default()
                }
            }
            Self::Kubernetes(source, node) => {
                let mut batch = source.next().await;
                if let Some(problems) = &mut batch.problems {
                    problems.retain(|problem| problem.concerns(node));
                }
                Batch {
                    changes: batch.changes,
                    statement: batch.problems.as_ref().map(Statement::of),
                    problems: batch.problems.map(words),
                    misread: batch.misread.map(words),
                    uids: batch.services.into_iter().map(uid).collect(),
                    heartbeat_key: batch.heartbeat_key,
                }
            }
        }
    }
}

fn words<P: ToString>(problems: impl IntoIterator<Item = P>) -> BTreeSet<String> {
    let problems = problems.into_iter();
    problems.map(|problem| problem.to_string()).collect()
}

fn uid((service, observed): (ServiceKey, Option<Box<Observed>>)) -> (ServiceKey, Option<String>) {
    (service, observed.map(|observed| observed.uid))
}

/// What it calls itself before the API server.
const AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
