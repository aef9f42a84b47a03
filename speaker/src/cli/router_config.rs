//! The command line of `router-config`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ferrolb_crds::api;

use crate::router_config::driver::{Origin, Settings};
use crate::router_config::{Dialect, Selection};

/// The command line of `router-config`.
#[derive(Debug, Args)]
pub struct RouterConfigArguments {
    /// In whose words.
    #[arg(long = "for", value_name = "ROUTER", value_enum)]
    router: Router,
    /// Directory with the objects as *.yaml files.
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,
    /// Kubeconfig of the cluster to ask; without it and without --manifests: the cluster that this
    /// runs in.
    #[arg(long, value_name = "FILE", conflicts_with = "manifests")]
    kubeconfig: Option<PathBuf>,
    /// Namespace of the metallb.io objects; METALLB_NAMESPACE is read, too [default:
    /// metallb-system].
    #[arg(long, value_name = "NS", env = "FERROLB_NAMESPACE")]
    namespace: Option<String>,
    #[arg(long, hide = true, env = "METALLB_NAMESPACE")]
    metallb_namespace: Option<String>,
    /// Only this BGPPeer; can be given several times: the peers that lead to one router.
    #[arg(long, value_name = "NAME")]
    peer: Vec<String>,
    /// Only the sessions of this node.
    #[arg(long, value_name = "NODE", value_parser = super::node_name)]
    node_name: Option<String>,
    /// Print passwords, in place of placeholders.
    #[arg(long)]
    show_passwords: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Router {
    /// BIRD 2.
    Bird,
    /// FRR.
    Frr,
}

impl RouterConfigArguments {
    /// What to print, and of what.
    pub fn settings(self) -> Settings {
        let namespace = self.namespace.or(self.metallb_namespace);
        let namespace = namespace.filter(|namespace| !namespace.is_empty());
        Settings {
            dialect: match self.router {
                Router::Bird => Dialect::Bird,
                Router::Frr => Dialect::Frr,
            },
            origin: match self.manifests {
                Some(dir) => Origin::Manifests(dir),
                None => Origin::Cluster(self.kubeconfig),
            },
            namespace: namespace.unwrap_or_else(|| api::DEFAULT_NAMESPACE.to_owned()),
            selection: Selection {
                peers: self.peer.into_iter().collect(),
                node: self.node_name,
                shows_passwords: self.show_passwords,
            },
        }
    }
}
