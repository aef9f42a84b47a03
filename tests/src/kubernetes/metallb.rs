//! The reference MetalLB, native mode, on the same control plane: to compare with, and to come from.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::ControlPlane;
use super::cluster::Cluster;
use super::objects::Pod;
use crate::process::Process;
use crate::programs;

const NAMESPACE: &str = "metallb-system";
/// It looks for its own Pod and Deployment, which here are objects only.
const POD: &str = "metallb-controller";
const LABELS: &str = "app=metallb,component=speaker";

/// Starts its controller where the control plane is. Definitions and namespace must be there.
pub fn controller(plane: &ControlPlane) -> Result<Process> {
    let labels = json!({"app": "metallb", "component": "controller"});
    let template = json!({
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "controller", "image": "none"}]},
    });
    let deployment = json!({
        "metadata": {"name": "controller"},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    });
    let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments");
    make(plane, &path, &deployment)?;
    let pod = json!({"metadata": {"name": POD}, "spec": template["spec"]});
    make(plane, &format!("/api/v1/namespaces/{NAMESPACE}/pods"), &pod)?;
    let mut command = plane.namespace().command(programs::metallb("controller")?);
    command.arg("--kubeconfig").arg(plane.kubeconfig());
    command.args(["--webhook-mode", "disabled", "--disable-cert-rotation"]);
    command.args(["--pod-name", POD, "--deployment", "controller"]);
    command.args(["--namespace", NAMESPACE, "--log-level", "info"]);
    start("metallb-controller", &mut command, plane.path())
}

/// Starts the speaker of a node, numbered from 1, with a Pod object that the others find it by.
pub fn speaker(cluster: &Cluster, number: usize) -> Result<Process> {
    let (plane, host) = (&cluster.plane, cluster.node(number));
    let name = format!("metallb-speaker-{}", host.name);
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}");
    if plane.request("GET", &path, None)?.code == 404 {
        plane.create_pod(&Pod {
            namespace: NAMESPACE,
            name: &name,
            app: "metallb",
            node: &host.name,
            host: host.v4.into(),
            addresses: &[host.v4.into()],
        })?;
        let labels = json!({"metadata": {"labels": {"component": "speaker"}}});
        plane.patch(&path, &labels)?;
    }
    let mut command = host.namespace.command(programs::metallb("speaker")?);
    command.arg("--kubeconfig").arg(plane.kubeconfig());
    command.args(["--namespace", NAMESPACE, "--log-level", "info"]);
    command.args(["--pod-name", &name, "--node-name", &host.name]);
    command.args(["--ml-labels", LABELS, "--ml-bindaddr"]);
    command.arg(host.v4.to_string());
    command.arg("--ml-secret-key-path").arg(key(cluster)?);
    start(&name, &mut command, plane.path())
}

/// The directory with the key of its members.
#[expect(clippy::disallowed_methods, reason = "the key is a file")]
fn key(cluster: &Cluster) -> Result<std::path::PathBuf> {
    let directory = cluster.plane.path().join("memberlist");
    std::fs::create_dir_all(&directory)?;
    std::fs::write(directory.join("secretkey"), "what the nodes share")?;
    Ok(directory)
}

fn make(plane: &ControlPlane, path: &str, object: &Value) -> Result<()> {
    let answer = plane.request("POST", path, Some(object))?;
    anyhow::ensure!(
        matches!(answer.code, 201 | 409),
        "POST {path}: {}: {}",
        answer.code,
        answer.text
    );
    Ok(())
}

fn start(name: &str, command: &mut std::process::Command, directory: &Path) -> Result<Process> {
    command.env("METALLB_BGP_TYPE", "native");
    command.env("NO_PROXY", "*");
    Process::start(name, command, directory)
}
