//! The two programs as they run in a cluster: from a shell, with a kubeconfig.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::ControlPlane;
use super::cluster::Cluster;
use crate::process::{Process, output};
use crate::{patience, programs};

/// How long a program may take until it says `ready`.
const START: Duration = Duration::from_secs(20);

/// Makes the kinds known and the namespace of the configuration, and waits until the kinds are served.
pub fn install(plane: &ControlPlane) -> Result<()> {
    let definitions = programs::workspace().join("config/crd");
    let definitions = definitions.display().to_string();
    plane.kubectl(&["apply", "--server-side", "-f", &definitions], None)?;
    let established = ["wait", "--for=condition=Established", "--timeout=30s"];
    plane.kubectl(&[&established[..], &["-f", &definitions]].concat(), None)?;
    plane.apply("{apiVersion: v1, kind: Namespace, metadata: {name: metallb-system}}")?;
    Ok(())
}

/// Starts a controller where the control plane is; it may have to stand by.
pub fn controller(plane: &ControlPlane, name: &str, arguments: &[&str]) -> Result<Process> {
    let mut command = plane.namespace().command(programs::controller()?);
    command
        .arg("run")
        .arg("--kubeconfig")
        .arg(plane.kubeconfig());
    // Several share the namespace: who asks one of them has to say which.
    command.args(["--port=0", "--health-probe-port=0"]);
    command.args(arguments);
    start(name, &mut command, plane.path())
}

/// Starts a controller that has to decide alone, and waits for its `ready`.
pub fn active_controller(plane: &ControlPlane, name: &str, arguments: &[&str]) -> Result<Process> {
    let mut process = controller(plane, name, arguments)?;
    process.await_line("ready", START)?;
    Ok(process)
}

/// Starts the speaker of a node, numbered from 1, and waits for its `ready`.
pub fn speaker(cluster: &Cluster, number: usize, arguments: &[&str]) -> Result<Process> {
    let host = cluster.node(number);
    let mut command = host.namespace.command(programs::speaker()?);
    command
        .arg("run")
        .arg("--kubeconfig")
        .arg(cluster.plane.kubeconfig());
    command.args(["--node-name", &host.name]);
    command.arg("--socket").arg(cluster.lab.socket(number));
    command.args(arguments);
    let name = format!("speaker-{}", host.name);
    let mut process = start(&name, &mut command, cluster.plane.path())?;
    process.await_line("ready", START)?;
    Ok(process)
}

/// Starts a speaker where the control plane is, of a node that is no more than an object: for what it
/// makes of objects and not of a network.
pub fn speaker_of_object(plane: &ControlPlane, node: &str, arguments: &[&str]) -> Result<Process> {
    let mut command = plane.namespace().command(programs::speaker()?);
    command
        .arg("run")
        .arg("--kubeconfig")
        .arg(plane.kubeconfig());
    command.args(["--node-name", node, "--port=0", "--health-probe-port=0"]);
    let socket = plane.path().join(format!("speaker-{node}.sock"));
    command.arg("--socket").arg(socket).args(arguments);
    let mut process = start(&format!("speaker-{node}"), &mut command, plane.path())?;
    process.await_line("ready", START)?;
    Ok(process)
}

/// What an earlier program of the name said would answer for this one.
fn start(name: &str, command: &mut std::process::Command, directory: &Path) -> Result<Process> {
    let log = directory.join(format!("{name}.log"));
    if log.exists() {
        let earlier = directory.join(format!("{name}.earlier.log"));
        let mut append = std::process::Command::new("sh");
        append.args(["-c", "cat \"$0\" >>\"$1\" && rm \"$0\""]);
        output(append.arg(&log).arg(&earlier))?;
    }
    Process::start(name, command, directory)
}

/// The `EXTERNAL-IP` addresses of a Service, in order.
pub fn addresses(plane: &ControlPlane, namespace: &str, service: &str) -> Result<Vec<String>> {
    let path = format!("/api/v1/namespaces/{namespace}/services/{service}");
    let object = plane.get(&path)?;
    let entries = object["status"]["loadBalancer"]["ingress"].as_array();
    let entries = entries.into_iter().flatten();
    Ok(entries
        .filter_map(|entry| entry["ip"].as_str().map(str::to_owned))
        .collect())
}

/// Waits until a Service has so many addresses.
pub fn await_addresses(
    plane: &ControlPlane,
    namespace: &str,
    service: &str,
    count: usize,
) -> Result<Vec<String>> {
    let what = format!("{count} addresses for {namespace}/{service}");
    let (found, _) = patience::eventually(&what, Duration::from_secs(15), || {
        let found = addresses(plane, namespace, service)?;
        if found.len() == count {
            return Ok(Some(found));
        }
        patience::pause(Duration::from_millis(50))?;
        Ok(None)
    })?;
    Ok(found)
}

/// Reasons and messages of what the two programs said about a Service, in the order of its saying.
pub fn events(
    plane: &ControlPlane,
    namespace: &str,
    service: &str,
) -> Result<Vec<(String, String)>> {
    let list = plane.get(&format!(
        "/api/v1/namespaces/{namespace}/events?fieldSelector=involvedObject.kind%3DService%2C\
         involvedObject.name%3D{service}"
    ))?;
    let items = list["items"].as_array().context("a list of events")?;
    // The API server has words of its own about Services.
    let is_ours = |event: &&serde_json::Value| {
        let component = event["source"]["component"].as_str();
        component.is_some_and(|component| component.starts_with("metallb-"))
    };
    let mut events: Vec<_> = items
        .iter()
        .filter(is_ours)
        .map(|event| {
            let word = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
            let name = event["metadata"]["name"].as_str().unwrap_or_default();
            (name.to_owned(), (word("reason"), word("message")))
        })
        .collect();
    events.sort();
    Ok(events.into_iter().map(|(_, event)| event).collect())
}
