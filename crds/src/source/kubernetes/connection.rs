//! How to reach the API server, and as whom.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::header::{HeaderValue, USER_AGENT};
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use thiserror::Error;

/// Why there is no client. None of this has to do with whether the server is there. The causes are
/// part of the text and no sources, because each says already what is behind it.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The file is missing, or makes no sense.
    #[error("kubeconfig {path} cannot be used: {error}", path = .0.display(), error = .1)]
    Kubeconfig(PathBuf, KubeconfigError),
    /// Nobody said where the API server is, and this is no pod.
    #[error(
        "give --kubeconfig FILE, or --manifests DIR and --state DIR: this does not run in a cluster: {0}"
    )]
    NoCluster(InClusterError),
    /// The credentials cannot be used.
    #[error("the credentials for the API server cannot be used: {0}")]
    Credentials(kube::Error),
}

/// A client as the kubeconfig has it, or as a pod in the cluster has it, that calls itself `agent`.
/// Needs a tokio runtime; sends nothing yet.
pub async fn connect(
    kubeconfig: Option<&Path>,
    agent: &'static str,
) -> Result<Client, ConnectError> {
    let mut config = match kubeconfig {
        Some(path) => {
            let unusable = |error| ConnectError::Kubeconfig(path.to_owned(), error);
            let file = Kubeconfig::read_from(path).map_err(unusable)?;
            let options = KubeConfigOptions::default();
            let config = Config::from_custom_kubeconfig(file, &options).await;
            config.map_err(unusable)?
        }
        None => Config::incluster().map_err(ConnectError::NoCluster)?,
    };
    // Who asks also decides when to ask again.
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT);
    let agent = HeaderValue::from_static(agent);
    config.headers.push((USER_AGENT, agent));
    Client::try_from(config).map_err(ConnectError::Credentials)
}

/// How long it may take to connect: a server that has moved is to be found soon.
const CONNECT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
