//! How the API server is reached.

use std::path::Path;

use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

/// Nobody says how.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The file does not say.
    #[error("failed to read the kubeconfig")]
    File(#[source] KubeconfigError),
    /// This is no pod.
    #[error(
        "give --kubeconfig FILE, or --manifests DIR and --state DIR: this is no pod of a cluster"
    )]
    NoCluster(#[source] InClusterError),
    /// Certificates or keys cannot be used.
    #[error("failed to prepare the connection to the API server")]
    Client(#[source] kube::Error),
}

/// A client for the cluster of the file, or without one for that of this pod. Nothing is sent yet.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client, ConnectError> {
    let config = match kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).map_err(ConnectError::File)?;
            let options = KubeConfigOptions::default();
            let config = Config::from_custom_kubeconfig(file, &options).await;
            config.map_err(ConnectError::File)?
        }
        None => Config::incluster().map_err(ConnectError::NoCluster)?,
    };
    Client::try_from(config).map_err(ConnectError::Client)
}
