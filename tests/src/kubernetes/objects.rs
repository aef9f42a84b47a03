//! What a kubelet would have written: Nodes and Pods with their status.

use std::net::IpAddr;

use anyhow::Result;
use serde_json::{Value, json};

use super::ControlPlane;

/// A pod that runs on a node.
#[derive(Debug, Clone)]
pub struct Pod<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The value of its label `app`, for selectors.
    pub app: &'a str,
    /// The Node's name.
    pub node: &'a str,
    /// The node's own address.
    pub host: IpAddr,
    /// Its addresses, one of each family at most.
    pub addresses: &'a [IpAddr],
}

impl ControlPlane {
    /// A Node that is ready, with these internal addresses.
    pub fn create_node(&self, name: &str, addresses: &[IpAddr]) -> Result<Value> {
        let internal = addresses
            .iter()
            .map(|address| json!({ "type": "InternalIP", "address": address }));
        let hostname = json!({ "type": "Hostname", "address": name });
        let node = json!({
            "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } },
            "status": {
                "addresses": internal.chain([hostname]).collect::<Vec<_>>(),
                "conditions": [ready(true)],
            },
        });
        self.post("/api/v1/nodes", &node)
    }

    /// A Pod that runs and is ready.
    pub fn create_pod(&self, pod: &Pod<'_>) -> Result<Value> {
        let pods = format!("/api/v1/namespaces/{}/pods", pod.namespace);
        let object = json!({
            "metadata": { "name": pod.name, "labels": { "app": pod.app } },
            "spec": {
                "nodeName": pod.node,
                "containers": [{ "name": "main", "image": "none" }],
            },
        });
        self.post(&pods, &object)?;
        let addresses = pod.addresses.iter();
        let status = json!({
            "phase": "Running",
            "hostIP": pod.host,
            "hostIPs": [{ "ip": pod.host }],
            "podIP": pod.addresses.first(),
            "podIPs": addresses.map(|address| json!({ "ip": address })).collect::<Vec<_>>(),
            "conditions": [ready(true)],
        });
        let path = format!("{pods}/{}/status", pod.name);
        self.patch(&path, &json!({ "status": status }))
    }

    /// Says whether a Pod is ready.
    pub fn mark_pod(&self, namespace: &str, name: &str, is_ready: bool) -> Result<Value> {
        let status = json!({ "status": { "conditions": [ready(is_ready)] } });
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/status");
        self.patch(&path, &status)
    }

    /// Deletes a Pod without the time a kubelet would take for it.
    pub fn delete_pod(&self, namespace: &str, name: &str) -> Result<Value> {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}?gracePeriodSeconds=0");
        self.delete(&path)
    }

    /// A Service with this spec.
    pub fn create_service(&self, namespace: &str, name: &str, spec: &Value) -> Result<Value> {
        let object = json!({ "metadata": { "name": name }, "spec": spec });
        let path = format!("/api/v1/namespaces/{namespace}/services");
        self.post(&path, &object)
    }

    /// Writes what a controller would into `status.loadBalancer`.
    pub fn write_ingress(
        &self,
        namespace: &str,
        service: &str,
        addresses: &[IpAddr],
    ) -> Result<Value> {
        let entries = addresses.iter().map(|address| json!({ "ip": address }));
        let ingress = entries.collect::<Vec<_>>();
        let status = json!({ "status": { "loadBalancer": { "ingress": ingress } } });
        let path = format!("/api/v1/namespaces/{namespace}/services/{service}/status");
        self.patch(&path, &status)
    }

    /// The addresses of a Service's endpoints that are ready, sorted.
    pub fn ready_endpoints(&self, namespace: &str, service: &str) -> Result<Vec<IpAddr>> {
        let list = self.get(&format!(
            "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices\
             ?labelSelector=kubernetes.io/service-name%3D{service}"
        ))?;
        let slices = list["items"].as_array().into_iter().flatten();
        let endpoints =
            slices.flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
        let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true);
        let addresses =
            ready.flat_map(|endpoint| endpoint["addresses"].as_array().into_iter().flatten());
        let mut addresses: Vec<IpAddr> = addresses
            .filter_map(|address| address.as_str()?.parse().ok())
            .collect();
        addresses.sort();
        Ok(addresses)
    }
}

fn ready(is_ready: bool) -> Value {
    let status = if is_ready { "True" } else { "False" };
    json!({ "type": "Ready", "status": status })
}
