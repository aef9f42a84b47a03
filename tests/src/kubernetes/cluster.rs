//! A whole cluster: the laboratory's segment with a control plane on it, kube-proxy on every node,
//! and pods behind the nodes.
//!
//! ```text
//!  sw: br0 ── n1 … nN, r, l as in a Lab, and k: the control plane, 192.168.1.2 fd00:1::2
//!  n<i> ── pod<j>   10.244.<i>.<j> fd00:244:<i>::<j>   its gateway is the node, 10.244.<i>.1
//! ```
#![expect(clippy::disallowed_methods, reason = "configurations are files")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::objects::Pod;
use super::warden::Warden;
use super::{ControlPlane, START, Settings, command};
use crate::lab::Lab;
use crate::netns::Namespace;
use crate::process::{Process, output, tail};
use crate::segment::Host;
use crate::{patience, programs};

/// From where pods have their addresses; each node hands out a part of it.
pub const PODS: &str = "10.244.0.0/16,fd00:244::/32";

/// How kube-proxy programs the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyMode {
    /// A table of its own.
    Nftables,
    /// Chains in the tables of iptables.
    Iptables,
}

/// A pod to be run: a web server that says the pod's name.
#[derive(Debug, Clone, Copy)]
pub struct Workload<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The value of its label `app`.
    pub app: &'a str,
    /// The number of its node, from 1.
    pub node: usize,
    /// Where it listens.
    pub ports: &'a [u16],
}

/// A pod that runs.
#[derive(Debug)]
pub struct Running {
    // Before the namespace, so that it ends first.
    server: Process,
    echo: Option<Process>,
    /// Where it runs.
    pub namespace: Namespace,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

/// The cluster; what it started ends with it.
#[derive(Debug)]
pub struct Cluster {
    proxies: BTreeMap<usize, Process>,
    pods: BTreeMap<(String, String), Running>,
    started: u8,
    mode: Option<ProxyMode>,
    kubeconfig: PathBuf,
    /// The segment with its router and clients, and everything a proof asks of them.
    pub lab: Lab,
    // After all that its warden knows of.
    /// The API server and what belongs to it.
    pub plane: ControlPlane,
}

impl Cluster {
    /// Starts everything; returns when every node is an object and every kube-proxy has synced.
    pub fn start(nodes: u8, mode: ProxyMode, settings: Settings) -> Result<Self> {
        let settings = Settings {
            controllers: true,
            ..settings
        };
        Self::on(Lab::new(nodes)?, Some(mode), settings)
    }

    /// The same on a laboratory of the caller's, with or without kube-proxy: what takes no traffic
    /// need not pay for it.
    pub fn on(lab: Lab, mode: Option<ProxyMode>, settings: Settings) -> Result<Self> {
        let warden = Warden::start()?;
        warden.directory(lab.path())?;
        for namespace in lab.segment.namespaces() {
            warden.namespace(namespace.name())?;
        }
        let host = lab.segment.attach("k", 2)?;
        warden.namespace(host.namespace.name())?;
        let plane = ControlPlane::start(host.namespace, warden, settings)?;
        let mut cluster = Self {
            proxies: BTreeMap::new(),
            pods: BTreeMap::new(),
            started: 0,
            mode,
            // The name that the API server's own roles know.
            kubeconfig: plane.user_kubeconfig("system:kube-proxy", None)?,
            lab,
            plane,
        };
        let nodes = 1..=cluster.lab.segment.nodes.len();
        for number in nodes.clone() {
            cluster.join(number)?;
        }
        for number in nodes.clone() {
            cluster.spawn_proxy(number)?;
        }
        // All of them start at the same time.
        for number in nodes {
            cluster.await_proxy(number)?;
        }
        Ok(cluster)
    }

    /// A node's host, numbered from 1.
    pub fn node(&self, number: usize) -> &Host {
        &self.lab.segment.nodes[number - 1]
    }

    /// A node's kube-proxy.
    pub fn proxy(&mut self, number: usize) -> Result<&mut Process> {
        let process = self.proxies.get_mut(&number);
        process.with_context(|| format!("no kube-proxy is running on n{number}"))
    }

    /// Runs a pod: its object is ready, and so is its server.
    pub fn run(&mut self, workload: &Workload<'_>) -> Result<&mut Running> {
        self.started += 1;
        let running = self.contain(workload)?;
        let host = self.node(workload.node);
        self.plane.create_pod(&Pod {
            namespace: workload.namespace,
            name: workload.name,
            app: workload.app,
            node: &host.name,
            host: host.v4.into(),
            addresses: &[running.v4.into(), running.v6.into()],
        })?;
        let key = (workload.namespace.to_owned(), workload.name.to_owned());
        self.pods.insert(key, running);
        self.pod(workload.namespace, workload.name)
    }

    /// Has a pod answer UDP, too.
    pub fn echo(&mut self, namespace: &str, name: &str, ports: &[u16]) -> Result<()> {
        let pod = self.pod(namespace, name)?;
        let mut command = pod.namespace.command(programs::tool()?);
        command.args(["echo", name]);
        command.args(ports.iter().map(u16::to_string));
        let log = format!("{}-echo", pod.server.name());
        let path = self.plane.path().to_owned();
        let mut server = Process::start(&log, &mut command, &path)?;
        server.await_line("listening", Duration::from_secs(5))?;
        self.pod(namespace, name)?.echo = Some(server);
        Ok(())
    }

    /// A pod that runs.
    pub fn pod(&mut self, namespace: &str, name: &str) -> Result<&mut Running> {
        let key = (namespace.to_owned(), name.to_owned());
        let pod = self.pods.get_mut(&key);
        pod.with_context(|| format!("no pod {namespace}/{name} is running"))
    }

    /// Ends a pod and deletes its object.
    pub fn remove(&mut self, namespace: &str, name: &str) -> Result<()> {
        let key = (namespace.to_owned(), name.to_owned());
        self.pods.remove(&key);
        self.plane.delete_pod(namespace, name).map(drop)
    }

    /// Makes the segment's client believe that an address is a node's, as an announcement would.
    pub fn point_neighbour(&self, address: IpAddr, number: usize) -> Result<()> {
        let mac = &self.node(number).mac;
        let words = format!("neigh replace {address} lladdr {mac} dev eth0 nud permanent");
        self.lab.segment.neighbour.namespace.ip(&words).map(drop)
    }

    /// One more node while the others run; returns its number once its kube-proxy has synced.
    pub fn add_node(&mut self) -> Result<usize> {
        let host = self.lab.segment.add_node()?;
        self.plane.warden.namespace(host.namespace.name())?;
        let number = self.lab.segment.nodes.len();
        self.join(number)?;
        for other in 1..number {
            self.lead(other, number)?;
        }
        self.spawn_proxy(number)?;
        self.await_proxy(number)?;
        Ok(number)
    }

    /// Starts a node's kube-proxy anew; returns once it has synced.
    pub fn restart_proxy(&mut self, number: usize) -> Result<()> {
        self.proxies.remove(&number);
        self.spawn_proxy(number)?;
        self.await_proxy(number)
    }

    /// Ends a node's kube-proxy and deletes its object. What else runs there is the caller's.
    pub fn remove_node(&mut self, number: usize) -> Result<()> {
        self.proxies.remove(&number);
        let name = &self.node(number).name;
        self.plane
            .delete(&format!("/api/v1/nodes/{name}"))
            .map(drop)
    }

    /// Makes a host a node: an object, a router of its pods, and the way to everybody else's.
    fn join(&self, number: usize) -> Result<()> {
        let host = self.node(number);
        self.plane
            .create_node(&host.name, &[host.v4.into(), host.v6.into()])?;
        let namespace = &host.namespace;
        namespace.sysctl(&["net/ipv4/ip_forward=1", "net/ipv6/conf/all/forwarding=1"])?;
        let mut others = (1..=self.lab.segment.nodes.len()).filter(|other| *other != number);
        others.try_for_each(|other| self.lead(number, other))
    }

    /// The way from a node to the pods of another.
    fn lead(&self, number: usize, other: usize) -> Result<()> {
        let (from, to) = (&self.node(number).namespace, self.node(other));
        from.ip(&format!("route add 10.244.{other}.0/24 via {}", to.v4))?;
        from.ip(&format!("-6 route add fd00:244:{other}::/64 via {}", to.v6))?;
        Ok(())
    }

    /// A namespace behind a veth of its node, and the server in it.
    fn contain(&self, workload: &Workload<'_>) -> Result<Running> {
        let (node, index) = (workload.node, self.started);
        // A name by which the links of containers are known.
        let (host, link) = (&self.node(node).namespace, format!("veth{index}"));
        let name = format!("{}pod{index}", self.lab.segment.prefix());
        self.plane.warden.namespace(&name)?;
        let namespace = Namespace::new(name)?;
        let (v4, v6) = (pod_v4(node, index + 1)?, pod_v6(node, index + 1)?);
        let (gateway4, gateway6) = (pod_v4(node, 1)?, pod_v6(node, 1)?);
        let there = namespace.name();
        host.ip(&format!(
            "link add {link} type veth peer name eth0 netns {there}"
        ))?;
        for side in [host, &namespace] {
            let interface = if side.name() == there { "eth0" } else { &link };
            side.sysctl(&[&format!("net/ipv6/conf/{interface}/accept_dad=0")])?;
            side.ip(&format!("link set {interface} up"))?;
        }
        host.ip(&format!("addr add {gateway4} peer {v4} dev {link}"))?;
        host.ip(&format!("addr add {gateway6} peer {v6} dev {link} nodad"))?;
        namespace.ip(&format!("addr add {v4} peer {gateway4} dev eth0"))?;
        namespace.ip(&format!("addr add {v6} peer {gateway6} dev eth0 nodad"))?;
        namespace.ip(&format!("route add default via {gateway4}"))?;
        // On the link by assertion: the kernel adds the route to an IPv6 peer a moment later.
        namespace.ip(&format!(
            "-6 route add default via {gateway6} dev eth0 onlink"
        ))?;

        let mut command = namespace.command(programs::tool()?);
        command.args(["http", workload.name]);
        command.args(workload.ports.iter().map(u16::to_string));
        let mut server = Process::start(&format!("pod{index}"), &mut command, self.plane.path())?;
        server.await_line("listening", Duration::from_secs(5))?;
        Ok(Running {
            server,
            echo: None,
            namespace,
            v4,
            v6,
        })
    }

    fn spawn_proxy(&mut self, number: usize) -> Result<()> {
        let Some(mode) = self.mode else {
            return Ok(());
        };
        let host = self.node(number);
        let mode = match mode {
            ProxyMode::Nftables => "nftables",
            ProxyMode::Iptables => "iptables",
        };
        // Changes come one at a time in a proof: nothing is gained by gathering them for a second.
        let rules = json!({ "minSyncPeriod": "50ms" });
        let config = json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": mode,
            "nftables": rules,
            "iptables": rules,
            "hostnameOverride": host.name,
            "clientConnection": { "kubeconfig": self.kubeconfig },
            "clusterCIDR": PODS,
            "detectLocalMode": "ClusterCIDR",
            // Limits of the machine's own, which a namespace cannot set.
            "conntrack": {
                "maxPerCore": 0,
                "min": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
            "healthzBindAddress": "0.0.0.0:10256",
            "metricsBindAddress": "127.0.0.1:10249",
        });
        let name = format!("kube-proxy-{}", host.name);
        let path = self.plane.path().join(format!("{name}.json"));
        std::fs::write(&path, config.to_string())?;
        let mut command = command(&host.namespace, "kube-proxy")?;
        command.arg("--config").arg(&path);
        let process = Process::start(&name, &mut command, self.plane.path())?;
        self.proxies.insert(number, process);
        Ok(())
    }

    /// It says that it is healthy once it has programmed everything for the first time.
    fn await_proxy(&mut self, number: usize) -> Result<()> {
        if self.mode.is_none() {
            return Ok(());
        }
        let what = format!("kube-proxy of n{number} to have synced");
        patience::eventually(&what, START, || {
            let namespace = &self.node(number).namespace;
            let mut command = namespace.command("curl");
            command.args(["-sSf", "--max-time", "2", "--noproxy", "*"]);
            if output(command.arg("http://127.0.0.1:10256/healthz")).is_ok() {
                return Ok(Some(()));
            }
            let process = self.proxy(number)?;
            if let Some(status) = process.ended()? {
                let log = tail(&process.log(), 30);
                bail!("{} ended with {status}:\n{log}", process.name());
            }
            patience::pause(Duration::from_millis(50))?;
            Ok(None)
        })?;
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The lab keeps it, and only the warden has not heard of that.
            let _ = self.plane.warden.spare(self.lab.path());
        }
    }
}

impl Running {
    /// The process of its server.
    pub fn server(&mut self) -> &mut Process {
        &mut self.server
    }
}

fn pod_v4(node: usize, number: u8) -> Result<Ipv4Addr> {
    let node = u8::try_from(node).context("a node's number is its pods' third octet")?;
    Ok(Ipv4Addr::new(10, 244, node, number))
}

fn pod_v6(node: usize, number: u8) -> Result<Ipv6Addr> {
    let text = format!("fd00:244:{node}::{number}");
    text.parse().context("an address of a pod")
}
