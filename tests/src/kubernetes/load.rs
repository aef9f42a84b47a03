//! Many requests at once, and everything that a watch tells: what curl and kubectl are too slow for.

use std::net::IpAddr;
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ferrolb_crds::source::kubernetes::connect;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use kube::Client;
use kube::core::params::WatchParams;
use kube::core::{DynamicObject, Request, WatchEvent};
use serde_json::{Value, json};
use tokio::runtime;
use tokio::sync::oneshot;

use super::ControlPlane;

/// One request that changes something.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// Creates an object below the path of its kind.
    Create(String, Value),
    /// Lays a strategic merge patch over an object, or over its status.
    Patch(String, Value),
    /// Deletes an object.
    Delete(String),
}

/// What a watch told of one object.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// When it arrived.
    pub at: Instant,
    /// Whether it is gone; the object is then as it was last.
    pub is_gone: bool,
    /// The object.
    pub object: DynamicObject,
}

/// A collection that is being watched, from the moment of [`ControlPlane::follow`]; given up when
/// dropped.
#[derive(Debug)]
pub struct Follower {
    told: mpsc::Receiver<Result<Seen>>,
    _stop: oneshot::Sender<()>,
    _thread: JoinHandle<()>,
}

/// A client that keeps its connections.
pub struct Writer<'a> {
    plane: &'a ControlPlane,
    client: Client,
    runtime: runtime::Runtime,
}

impl Writer<'_> {
    /// Performs sequences of calls, so many sequences at a time; returns how long all of them took. A
    /// call that is refused ends it.
    pub fn perform(&self, sequences: Vec<Vec<Call>>, at_once: usize) -> Result<Duration> {
        self.plane.namespace().inside(|| {
            self.runtime.block_on(async {
                let start = Instant::now();
                let sequences = sequences.into_iter();
                let sequences = sequences.map(|calls| one_by_one(&self.client, calls));
                let mut sequences = stream::iter(sequences).buffer_unordered(at_once);
                while sequences.try_next().await?.is_some() {}
                Ok(start.elapsed())
            })
        })?
    }
}

impl ControlPlane {
    /// A client in this process, as the administrator.
    pub fn writer(&self) -> Result<Writer<'_>> {
        let (runtime, kubeconfig) = (runtime()?, self.kubeconfig());
        Ok(Writer {
            client: runtime.block_on(connect(Some(&kubeconfig), AGENT))?,
            plane: self,
            runtime,
        })
    }

    /// [`Writer::perform`] over connections of its own.
    pub fn perform(&self, sequences: Vec<Vec<Call>>, at_once: usize) -> Result<Duration> {
        self.writer()?.perform(sequences, at_once)
    }

    /// Watches a collection: every change from now on is told, none is left out.
    pub fn follow(&self, path: &str) -> Result<Follower> {
        let version = self.get(&format!("{path}?limit=1"))?["metadata"]["resourceVersion"].clone();
        let version = version.as_str().context("a list has a version")?.to_owned();
        let (sender, told) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let (kubeconfig, path) = (self.kubeconfig(), path.to_owned());
        let thread = self.namespace().spawn_inside(move || {
            let outcome = runtime().and_then(|runtime| {
                runtime.block_on(async {
                    tokio::select! {
                        // The end of the watch, or of whoever wants to hear of it.
                        outcome = tell(&kubeconfig, &path, &version, &sender) => outcome,
                        _ = stopped => Ok(()),
                    }
                })
            });
            if let Err(error) = outcome {
                // Nobody listens any more: nobody misses it.
                let _ = sender.send(Err(error));
            }
        })?;
        Ok(Follower {
            told,
            _stop: stop,
            _thread: thread,
        })
    }
}

impl Follower {
    /// The next change; `None` if there is none within the time given.
    pub fn next(&self, limit: Duration) -> Result<Option<Seen>> {
        match self.told.recv_timeout(limit) {
            Ok(seen) => seen.map(Some),
            Err(mpsc::RecvTimeoutError::Timeout) => Ok(None),
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("the watch has ended"),
        }
    }

    /// Takes in one change after the other until there is an answer.
    pub fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        mut take: impl FnMut(Seen) -> Option<T>,
    ) -> Result<T> {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let seen = self.next(left)?;
            let seen = seen.with_context(|| format!("waited {limit:?} for {what} in vain"))?;
            if let Some(answer) = take(seen) {
                return Ok(answer);
            }
        }
    }
}

impl Seen {
    /// The name of the object.
    pub fn name(&self) -> &str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }

    /// The addresses in the status of a Service.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let entries = self.object.data["status"]["loadBalancer"]["ingress"].as_array();
        let entries = entries.into_iter().flatten();
        let texts = entries.filter_map(|entry| entry["ip"].as_str());
        texts.filter_map(|text| text.parse().ok()).collect()
    }
}

/// A Service without node ports, which there are too few of; its addresses are the controller's
/// business.
pub fn service(namespace: &str, name: &str) -> Call {
    let path = format!("/api/v1/namespaces/{namespace}/services");
    let spec = json!({
        "type": "LoadBalancer", "allocateLoadBalancerNodePorts": false,
        "ports": [{"name": "http", "port": 80}],
    });
    Call::Create(path, json!({"metadata": {"name": name}, "spec": spec}))
}

/// The one endpoint of such a Service.
pub fn endpoint(namespace: &str, name: &str) -> Call {
    let path = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
    let slice = json!({
        "metadata": {
            "name": format!("{name}-1"), "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{
            "addresses": ["10.244.1.2"], "nodeName": "n1", "conditions": {"ready": true},
        }],
    });
    Call::Create(path, slice)
}

/// Gives a Service an address, as any controller has to.
pub fn assignment(namespace: &str, name: &str, address: IpAddr) -> Call {
    let path = format!("/api/v1/namespaces/{namespace}/services/{name}/status");
    let ingress = json!([{"ip": address}]);
    Call::Patch(
        path,
        json!({"status": {"loadBalancer": {"ingress": ingress}}}),
    )
}

/// All on one thread, which stays in its network namespace.
fn runtime() -> Result<runtime::Runtime> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("starting a runtime")
}

async fn one_by_one(client: &Client, calls: Vec<Call>) -> Result<()> {
    for call in calls {
        let (method, path, kind, body) = match &call {
            Call::Create(path, object) => ("POST", path, "application/json", object.to_string()),
            Call::Patch(path, patch) => {
                let kind = "application/strategic-merge-patch+json";
                ("PATCH", path, kind, patch.to_string())
            }
            Call::Delete(path) => ("DELETE", path, "application/json", String::new()),
        };
        let request = http::Request::builder().method(method).uri(path);
        let request = request.header(http::header::CONTENT_TYPE, kind);
        let answer = client.request_text(request.body(body.into_bytes())?).await;
        answer.with_context(|| format!("{method} {path}"))?;
    }
    Ok(())
}

async fn tell(
    kubeconfig: &Path,
    path: &str,
    version: &str,
    told: &mpsc::Sender<Result<Seen>>,
) -> Result<()> {
    let client = connect(Some(kubeconfig), AGENT).await?;
    let parameters = WatchParams::default().timeout(LONGEST);
    let request = Request::new(path).watch(&parameters, version)?;
    let events = client.request_events::<DynamicObject>(request).await?;
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.try_next().await? {
        let (is_gone, object) = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => (false, object),
            WatchEvent::Deleted(object) => (true, object),
            WatchEvent::Bookmark(_) => continue,
            WatchEvent::Error(status) => bail!("the watch of {path} failed: {}", status.message),
        };
        let at = Instant::now();
        let seen = Seen {
            at,
            is_gone,
            object,
        };
        if told.send(Ok(seen)).is_err() {
            return Ok(());
        }
    }
    bail!("the watch of {path} ended")
}

/// As the administrator's other requests.
const AGENT: &str = "rig";

/// Seconds that a watch may last; nobody measures longer.
const LONGEST: u32 = 294;
