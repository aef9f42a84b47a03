//! A container without a kubelet: what the template of a pod says, as a process.
//!
//! User, capabilities, read-only root, directories, environment, arguments, and the token of the
//! account are the template's. Only the image is not: the program is one that was built here, on the
//! root of this machine.
#![expect(clippy::disallowed_methods, reason = "an account's token is a file")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{ADDRESS, ControlPlane};
use crate::netns::Namespace;
use crate::process::Process;

/// Where a pod is, and what its kubelet would know of it.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Its network.
    pub network: &'a Namespace,
    /// Its name.
    pub pod: &'a str,
    /// The name of its node.
    pub node: &'a str,
    /// The node's own address.
    pub host: IpAddr,
}

/// What is shared out to a process before it begins. The words after the script are the directory of
/// the account and the directories to make; then, behind `--`, the command.
const SCRIPT: &str = "
    mount -t tmpfs tmpfs /run
    account=/run/secrets/kubernetes.io/serviceaccount
    mkdir -p $account
    mount --bind \"$1\" $account
    shift
    while [ \"$1\" != -- ]; do
        mkdir -p \"$1\"
        mount -t tmpfs -o mode=777 tmpfs \"$1\"
        shift
    done
    shift
    mount -o remount,ro /run
    mount -o remount,bind,ro /
    exec \"$@\"
";

impl ControlPlane {
    /// Runs the only container of a Deployment or a DaemonSet, as it was applied.
    pub fn contain(&self, workload: &Value, program: &Path, place: Place<'_>) -> Result<Process> {
        let namespace = text(&workload["metadata"]["namespace"])?;
        let pod = &workload["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let account = self.account(text(&pod["serviceAccountName"])?, namespace)?;
        let environment = environment(container, namespace, place)?;

        let mut command = place.network.command("sh");
        command.args(["-ec", SCRIPT, "sh"]).arg(account);
        command.args(directories(pod, container)?).arg("--");
        command.arg("setpriv").args(privileges(pod, container)?);
        command.arg("--").arg(program);
        for word in arguments(container)? {
            command.arg(expanded(word, &environment));
        }
        command.env_clear().envs(&environment);
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("KUBERNETES_SERVICE_HOST", ADDRESS.to_string());
        command.env("KUBERNETES_SERVICE_PORT", "6443");
        Process::start(place.pod, &mut command, self.path())
    }

    /// The directory that a kubelet would mount for an account.
    fn account(&self, name: &str, namespace: &str) -> Result<PathBuf> {
        let path = self.path.join(format!("account-{namespace}-{name}"));
        std::fs::create_dir_all(&path)?;
        let token = self.token(name, namespace)?;
        std::fs::write(path.join("token"), token).context("writing a token")?;
        std::fs::write(path.join("namespace"), namespace)?;
        std::fs::copy(self.authority.certificate(), path.join("ca.crt"))?;
        Ok(path)
    }
}

fn environment(
    container: &Value,
    namespace: &str,
    place: Place<'_>,
) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for variable in list(&container["env"]) {
        let field = &variable["valueFrom"]["fieldRef"]["fieldPath"];
        let value = match (variable["value"].as_str(), field.as_str()) {
            (Some(value), None) => value.to_owned(),
            (None, Some("metadata.namespace")) => namespace.to_owned(),
            (None, Some("metadata.name")) => place.pod.to_owned(),
            (None, Some("spec.nodeName")) => place.node.to_owned(),
            (None, Some("status.hostIP")) => place.host.to_string(),
            _ => bail!("no kubelet is here to understand {variable}"),
        };
        all.insert(text(&variable["name"])?.to_owned(), value);
    }
    Ok(all)
}

fn directories<'a>(pod: &Value, container: &'a Value) -> Result<Vec<&'a str>> {
    let mut all = Vec::new();
    for mount in list(&container["volumeMounts"]) {
        let mut volumes = list(&pod["volumes"]).iter();
        let volume = volumes.find(|volume| volume["name"] == mount["name"]);
        let is_empty = volume.is_some_and(|volume| volume["emptyDir"].is_object());
        if volume.is_some_and(|volume| volume["configMap"]["optional"] == true) {
            // Nobody has made it: an empty directory, which is as good as none.
            continue;
        }
        let path = text(&mount["mountPath"])?;
        if !is_empty || !path.starts_with("/run/") {
            bail!("no kubelet is here to mount {mount}");
        }
        all.push(path);
    }
    Ok(all)
}

/// Arguments of setpriv. Nobody has a capability but root, and root those that are added.
fn privileges(pod: &Value, container: &Value) -> Result<Vec<String>> {
    let (outer, own) = (&pod["securityContext"], &container["securityContext"]);
    let number = |name: &str| own[name].as_u64().or_else(|| outer[name].as_u64());
    let user = number("runAsUser").context("the manifest says which user it is")?;
    let group = number("runAsGroup").unwrap_or(0);
    let is_confined = own["readOnlyRootFilesystem"] == true
        && own["allowPrivilegeEscalation"] == false
        && own["capabilities"]["drop"] == serde_json::json!(["ALL"])
        && outer["seccompProfile"]["type"] == "RuntimeDefault"
        && (outer["runAsNonRoot"] != true || user != 0);
    if !is_confined {
        bail!("{} is less confined than it could be", own);
    }
    let added = list(&own["capabilities"]["add"]).iter();
    let added = added.filter_map(Value::as_str).map(str::to_lowercase);
    let capabilities: String = added.map(|name| format!(",+{name}")).collect();
    Ok(vec![
        format!("--reuid={user}"),
        format!("--regid={group}"),
        "--clear-groups".to_owned(),
        "--no-new-privs".to_owned(),
        format!("--bounding-set=-all{capabilities}"),
        "--inh-caps=-all".to_owned(),
    ])
}

/// The words of its command, but for the program itself, and its arguments.
fn arguments(container: &Value) -> Result<Vec<&str>> {
    let command = list(&container["command"]).iter().skip(1);
    let words = command.chain(list(&container["args"]));
    words.map(text).collect()
}

fn expanded(word: &str, environment: &BTreeMap<String, String>) -> String {
    let mut word = word.to_owned();
    for (name, value) in environment {
        word = word.replace(&format!("$({name})"), value);
    }
    word
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> Result<&str> {
    let text = value.as_str();
    text.with_context(|| format!("{value} is no text"))
}
