//! A real Kubernetes without a kubelet: etcd, the API server and the controllers that matter to a
//! load balancer, in a network namespace.
//!
//! ```text
//!  ControlPlane   etcd ── kube-apiserver (RBAC, audit log) ── kube-controller-manager
//!  Cluster        a ControlPlane as a host of a Segment, kube-proxy on every node, pods behind them
//!  Tenant         one namespace of the API server that the proofs of a file share
//! ```
//!
//! Nodes and Pods are objects that a proof writes; containers are processes in a namespace. Nothing
//! outlives the proof, even one that is killed: see [`warden`].
#![expect(clippy::disallowed_methods, reason = "policies and logs are files")]

mod certificates;

pub mod audit;
pub mod churn;
pub mod cluster;
pub mod container;
pub mod history;
pub mod load;
pub mod metallb;
pub mod objects;
pub mod product;
pub mod site;
pub mod tenant;
pub mod warden;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::netns::{self, Namespace};
use crate::process::{Process, output, output_of, tail};
use crate::{patience, programs};
use audit::Audit;
use certificates::{Authority, Credential, Identity};
use warden::Warden;

/// Where the API server of every control plane listens, in its own namespace or on the segment.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);

/// From where ClusterIPs are given.
pub const SERVICES: &str = "10.112.0.0/16,fd00:96::/108";

/// How long a part may take until it is ready.
pub const START: Duration = Duration::from_secs(60);

/// A program of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Where the API server keeps everything.
    Etcd,
    /// The API server.
    ApiServer,
    /// Endpoint slices, namespaces, garbage collection, service accounts.
    Controllers,
}

/// What differs between control planes.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Whether the controllers run; without them there are no endpoint slices.
    pub controllers: bool,
    /// Whether etcd waits for the disk.
    pub durable: bool,
    /// Further arguments of the API server, such as `--service-node-port-range`.
    pub apiserver_arguments: Vec<String>,
    /// Further arguments of the controllers, such as `--kube-api-qps`.
    pub controllers_arguments: Vec<String>,
}

/// What the API server answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub code: u16,
    /// The object, the list or the `Status`; null if it is no JSON.
    pub body: Value,
    /// The body as it came.
    pub text: String,
}

/// A running control plane; ends when dropped. What its parts said is printed if a proof panics,
/// and their directory stays.
#[derive(Debug)]
pub struct ControlPlane {
    // Before the namespace, so that processes end first.
    processes: BTreeMap<Part, Process>,
    settings: Settings,
    admin: Identity,
    authority: Authority,
    namespace: Namespace,
    dir: Option<TempDir>,
    path: PathBuf,
    // Last: by then nothing should be left for it.
    warden: Warden,
}

impl ControlPlane {
    /// In a namespace of its own, which clients enter.
    pub fn alone(settings: Settings) -> Result<Self> {
        let warden = Warden::start()?;
        let name = format!("{}k", netns::unique_prefix());
        warden.namespace(&name)?;
        let namespace = Namespace::new(name)?;
        namespace.ip(&format!("addr add {ADDRESS}/32 dev lo"))?;
        Self::start(namespace, warden, settings)
    }

    /// In a namespace that has [`ADDRESS`]; returns when the API server is ready.
    pub(crate) fn start(namespace: Namespace, warden: Warden, settings: Settings) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("ferrolb-").tempdir()?;
        let path = dir.path().to_owned();
        warden.directory(&path)?;
        let authority = Authority::new(&path.join("pki"), &format!("https://{ADDRESS}:6443"))?;
        let admin = authority.client("rig:admin", Some("system:masters"))?;
        authority.kubeconfig("admin", &Credential::Certificate(&admin))?;
        std::fs::write(path.join("audit-policy.yaml"), audit::POLICY)?;
        let mut plane = Self {
            processes: BTreeMap::new(),
            settings,
            admin,
            authority,
            namespace,
            dir: Some(dir),
            path,
            warden,
        };
        plane.spawn(Part::Etcd)?;
        plane.spawn(Part::ApiServer)?;
        plane.await_ready()?;
        if plane.settings.controllers {
            plane.spawn(Part::Controllers)?;
        }
        Ok(plane)
    }

    /// Logs, certificates, data and everything else of this control plane.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it runs.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// A kubeconfig that may do everything.
    pub fn kubeconfig(&self) -> PathBuf {
        self.path.join("pki/admin.kubeconfig")
    }

    /// A kubeconfig of a user of a group, with a certificate.
    pub fn user_kubeconfig(&self, user: &str, group: Option<&str>) -> Result<PathBuf> {
        let identity = self.authority.client(user, group)?;
        let credential = Credential::Certificate(&identity);
        self.authority
            .kubeconfig(&user.replace(':', "-"), &credential)
    }

    /// A kubeconfig with a token of a service account, which must exist: it may do exactly what the
    /// account may.
    pub fn token_kubeconfig(&self, account: &str, namespace: &str) -> Result<PathBuf> {
        let token = self.token(account, namespace)?;
        let name = format!("{namespace}-{account}");
        self.authority.kubeconfig(&name, &Credential::Token(&token))
    }

    fn token(&self, account: &str, namespace: &str) -> Result<String> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": { "expirationSeconds": 86_400 },
        });
        let answer = self.post(&path, &request)?;
        let token = answer["status"]["token"].as_str();
        let token = token.context("a token request is answered with a token")?;
        Ok(token.to_owned())
    }

    /// Who wrote what.
    pub fn audit(&self) -> Audit {
        Audit::new(&self.path.join("audit.log"))
    }

    /// A part's process.
    pub fn process(&mut self, part: Part) -> Result<&mut Process> {
        let process = self.processes.get_mut(&part);
        process.with_context(|| format!("{} is not running", part.name()))
    }

    /// Ends a part at once, as a crash would.
    pub fn stop(&mut self, part: Part) -> Result<()> {
        self.process(part)?.kill();
        self.processes.remove(&part);
        Ok(())
    }

    /// Starts a part that was stopped. The API server is ready when this returns, unless etcd is
    /// not there.
    pub fn resume(&mut self, part: Part) -> Result<()> {
        self.spawn(part)?;
        match part {
            Part::ApiServer => self.await_ready().map(drop),
            Part::Etcd | Part::Controllers => Ok(()),
        }
    }

    /// [`Self::stop`] and [`Self::resume`].
    pub fn restart(&mut self, part: Part) -> Result<()> {
        self.stop(part)?;
        self.resume(part)
    }

    /// Stops the clock of a part: connections stay and nothing answers.
    pub fn freeze(&mut self, part: Part) -> Result<()> {
        self.process(part)?.signal(libc::SIGSTOP);
        Ok(())
    }

    /// Undoes [`Self::freeze`].
    pub fn thaw(&mut self, part: Part) -> Result<()> {
        self.process(part)?.signal(libc::SIGCONT);
        Ok(())
    }

    /// Whether the API server says that it is ready.
    pub fn is_ready(&self) -> bool {
        let answer = self.request("GET", "/readyz", None);
        answer.is_ok_and(|answer| answer.text == "ok")
    }

    /// Waits until it does; returns how long that took.
    pub fn await_ready(&mut self) -> Result<Duration> {
        let ((), elapsed) = patience::eventually("the API server to be ready", START, || {
            if self.is_ready() {
                return Ok(Some(()));
            }
            for process in self.processes.values_mut() {
                if let Some(status) = process.ended()? {
                    bail!("{} ended with {status}", process.name());
                }
            }
            // Asking costs time that the server needs.
            patience::pause(Duration::from_millis(50))?;
            Ok(None)
        })
        .with_context(|| self.report().unwrap_or_default())?;
        Ok(elapsed)
    }

    /// Runs kubectl as the administrator.
    pub fn kubectl(&self, arguments: &[&str], input: Option<&str>) -> Result<String> {
        self.kubectl_as(&self.kubeconfig(), arguments, input)
    }

    /// Runs kubectl as the user of a kubeconfig.
    pub fn kubectl_as(
        &self,
        kubeconfig: &Path,
        arguments: &[&str],
        input: Option<&str>,
    ) -> Result<String> {
        let mut command = self.kubectl_command(kubeconfig)?;
        command.args(arguments);
        match input {
            Some(text) => output_of(&mut command, text),
            None => output(&mut command),
        }
    }

    /// A kubectl to be run by the caller: `get --watch` never ends by itself.
    pub fn kubectl_command(&self, kubeconfig: &Path) -> Result<Command> {
        let mut command = self.command("kubectl")?;
        command.arg("--kubeconfig").arg(kubeconfig);
        command.arg("--cache-dir").arg(self.path.join("kubectl"));
        Ok(command)
    }

    /// `kubectl apply -f -`.
    pub fn apply(&self, manifests: &str) -> Result<String> {
        self.kubectl(&["apply", "-f", "-"], Some(manifests))
    }

    /// One request as the administrator, at a tenth of what kubectl costs. A body is JSON, and in a
    /// PATCH a merge patch.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
        let mut command = self.namespace.command("curl");
        command.args(["-sS", "--max-time", "20", "--noproxy", "*", "-A", "rig"]);
        command.arg("--cacert").arg(self.authority.certificate());
        command.arg("--cert").arg(&self.admin.certificate);
        command.arg("--key").arg(&self.admin.key);
        command.args(["-X", method, "-w", "\n%{http_code}"]);
        command.arg(format!("https://{ADDRESS}:6443{path}"));
        let text = match body {
            Some(body) => {
                let kind = match method {
                    "PATCH" => "Content-Type: application/merge-patch+json",
                    _ => "Content-Type: application/json",
                };
                command.args(["-H", kind, "--data-binary", "@-"]);
                output_of(&mut command, &body.to_string())?
            }
            None => output(&mut command)?,
        };
        let (text, code) = text.rsplit_once('\n').unwrap_or_default();
        Ok(Answer {
            code: code.parse().context("curl prints the HTTP status")?,
            body: serde_json::from_str(text).unwrap_or_default(),
            text: text.to_owned(),
        })
    }

    /// Reads an object or a list; an error unless it is there.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.request("GET", path, None)?.granted("GET", path)
    }

    /// Creates an object below the path of its kind.
    pub fn post(&self, path: &str, object: &Value) -> Result<Value> {
        let answer = self.request("POST", path, Some(object))?;
        answer.granted("POST", path)
    }

    /// Merges into an object, or into its status below `/status`.
    pub fn patch(&self, path: &str, patch: &Value) -> Result<Value> {
        let answer = self.request("PATCH", path, Some(patch))?;
        answer.granted("PATCH", path)
    }

    /// Deletes an object.
    pub fn delete(&self, path: &str) -> Result<Value> {
        self.request("DELETE", path, None)?.granted("DELETE", path)
    }

    fn command(&self, program: &str) -> Result<Command> {
        command(&self.namespace, program)
    }

    fn spawn(&mut self, part: Part) -> Result<()> {
        let mut command = self.command(part.name())?;
        match part {
            Part::Etcd => self.etcd(&mut command),
            Part::ApiServer => self.apiserver(&mut command)?,
            Part::Controllers => self.controllers(&mut command)?,
        }
        let process = Process::start(part.name(), &mut command, &self.path)?;
        self.processes.insert(part, process);
        Ok(())
    }

    fn etcd(&self, command: &mut Command) {
        let (clients, peers) = ("http://127.0.0.1:2379", "http://127.0.0.1:2380");
        command.arg("--data-dir").arg(self.path.join("etcd"));
        command.args(["--listen-client-urls", clients]);
        command.args(["--advertise-client-urls", clients]);
        command.args(["--listen-peer-urls", peers]);
        command.args(["--initial-advertise-peer-urls", peers]);
        command.args(["--initial-cluster", &format!("default={peers}")]);
        command.args(["--log-level", "warn"]);
        if !self.settings.durable {
            command.arg("--unsafe-no-fsync");
        }
    }

    fn apiserver(&self, command: &mut Command) -> Result<()> {
        let address = ADDRESS.to_string();
        let own = ["localhost", "127.0.0.1", &address, "10.112.0.1"];
        let names: Vec<String> = own
            .into_iter()
            .chain(["kubernetes.default", "kubernetes.default.svc"])
            .map(str::to_owned)
            .collect();
        let server = self.authority.server("kube-apiserver", &names)?;
        let tokens = self.path.join("pki/tokens.key");
        if !tokens.exists() {
            self.authority.token_keys()?;
        }
        let files = [
            ("--tls-cert-file", server.certificate),
            ("--tls-private-key-file", server.key),
            ("--client-ca-file", self.authority.certificate()),
            ("--service-account-signing-key-file", tokens),
            (
                "--service-account-key-file",
                self.path.join("pki/tokens.pub"),
            ),
            ("--audit-policy-file", self.path.join("audit-policy.yaml")),
            ("--audit-log-path", self.path.join("audit.log")),
        ];
        for (name, file) in files {
            command.arg(name).arg(file);
        }
        command.args([
            "--etcd-servers=http://127.0.0.1:2379",
            "--secure-port=6443",
            "--service-account-issuer=https://kubernetes.default.svc",
            &format!("--service-cluster-ip-range={SERVICES}"),
            &format!("--advertise-address={address}"),
            "--authorization-mode=RBAC",
            "--allow-privileged",
            "--endpoint-reconciler-type=none",
            // No kubelet lifts the taint of a new node, and pods bring no tokens.
            "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
            // Megabytes: one file is what is read back.
            "--audit-log-maxsize=4096",
        ]);
        command.args(&self.settings.apiserver_arguments);
        Ok(())
    }

    fn controllers(&self, command: &mut Command) -> Result<()> {
        let name = "system:kube-controller-manager";
        let kubeconfig = self.user_kubeconfig(name, Some("system:masters"))?;
        command.arg("--kubeconfig").arg(kubeconfig);
        command.args([
            "--leader-elect=false",
            "--use-service-account-credentials=false",
            "--controllers=endpointslice-controller,namespace-controller,garbage-collector-controller,\
             serviceaccount-controller,root-ca-certificate-publisher-controller",
        ]);
        command.args(&self.settings.controllers_arguments);
        Ok(())
    }

    /// The last words of whatever has written a log there.
    fn report(&self) -> Result<String> {
        let mut text = String::new();
        let files = std::fs::read_dir(&self.path)?.collect::<std::io::Result<Vec<_>>>()?;
        let mut logs: Vec<PathBuf> = files.iter().map(std::fs::DirEntry::path).collect();
        logs.sort();
        logs.retain(|path| path.extension().is_some_and(|end| end == "log"));
        for log in logs.iter().filter(|path| !path.ends_with("audit.log")) {
            let words = String::from_utf8_lossy(&std::fs::read(log)?).into_owned();
            text.push_str(&format!("--- {}\n{}\n", log.display(), tail(&words, 20)));
        }
        Ok(text)
    }

    /// Prints what was said and keeps the directory, for whoever looks into a failure.
    #[expect(clippy::print_stderr, reason = "the report of a proof that failed")]
    pub(crate) fn keep_words(&self) {
        // It is lost only if the warden is, and then nobody removes it.
        let _ = self.warden.spare(&self.path);
        eprintln!("{}", self.report().unwrap_or_default());
        eprintln!("logs are kept in {}", self.path.display());
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep_words();
            self.dir.take().map(TempDir::keep);
        }
    }
}

impl Part {
    /// The name of its program.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::Controllers => "kube-controller-manager",
        }
    }
}

impl Answer {
    fn granted(self, method: &str, path: &str) -> Result<Value> {
        if self.code >= 400 {
            let message = self.body["message"].as_str().unwrap_or(&self.text);
            bail!("{method} {path}: {}: {message}", self.code);
        }
        Ok(self.body)
    }
}

/// One of the programs in a namespace; a proxy of the machine is none of its business.
pub(crate) fn command(namespace: &Namespace, program: &str) -> Result<Command> {
    let mut command = namespace.command(programs::kubernetes()?);
    command.arg(program).env("NO_PROXY", "*");
    Ok(command)
}
