//! What the API server would have filled in, for documents that never met one.

use k8s_openapi::api::core::v1::Service;

/// The namespace of an object that names none.
pub(super) const NAMESPACE: &str = "default";

/// Fills in a Service: type, policies, protocol, and `clusterIPs` from the older `clusterIP`.
/// Families follow from these (see [`crate::source::resource::service`]); cluster IPs and NodePorts
/// are not invented.
pub(super) fn service(object: &mut Service) {
    let spec = object.spec.get_or_insert_default();
    let type_ = filled(&mut spec.type_, "ClusterIP");
    let is_external = matches!(type_, "LoadBalancer" | "NodePort");
    if is_external {
        filled(&mut spec.external_traffic_policy, "Cluster");
    }
    filled(&mut spec.ip_family_policy, "SingleStack");
    if spec.cluster_ips.as_ref().is_none_or(Vec::is_empty) {
        spec.cluster_ips = spec.cluster_ip.clone().map(|address| vec![address]);
    }
    for port in spec.ports.iter_mut().flatten() {
        filled(&mut port.protocol, "TCP");
    }
}

fn filled<'a>(field: &'a mut Option<String>, default: &str) -> &'a str {
    if field.as_ref().is_none_or(String::is_empty) {
        *field = Some(default.to_owned());
    }
    field.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn filled_in(spec: Value) -> Value {
        let mut object: Service = serde_json::from_value(json!({ "spec": spec })).unwrap();
        service(&mut object);
        serde_json::to_value(object).unwrap()["spec"].take()
    }

    #[test]
    fn type_policies_and_protocol_are_filled_in_as_the_api_server_would() {
        assert_eq!(
            filled_in(json!({ "ports": [{ "port": 53 }, { "port": 53, "protocol": "UDP" }] })),
            json!({
                "type": "ClusterIP",
                "ipFamilyPolicy": "SingleStack",
                "ports": [{ "port": 53, "protocol": "TCP" }, { "port": 53, "protocol": "UDP" }],
            })
        );
    }

    #[test]
    fn only_services_with_external_traffic_get_a_policy_for_it() {
        let spec = filled_in(json!({ "type": "LoadBalancer" }));
        assert_eq!(spec["externalTrafficPolicy"], "Cluster");
        let spec = filled_in(json!({ "type": "NodePort", "externalTrafficPolicy": "Local" }));
        assert_eq!(spec["externalTrafficPolicy"], "Local");
    }

    #[test]
    fn the_older_cluster_ip_stands_for_the_list() {
        let spec = filled_in(json!({ "clusterIP": "10.0.0.1" }));
        assert_eq!(spec["clusterIPs"], json!(["10.0.0.1"]));
        let spec = filled_in(json!({ "clusterIP": "10.0.0.1", "clusterIPs": ["fd00::1"] }));
        assert_eq!(spec["clusterIPs"], json!(["fd00::1"]));
    }

    #[test]
    fn neither_cluster_ips_nor_node_ports_are_invented() {
        let spec = filled_in(json!({ "type": "LoadBalancer", "ports": [{ "port": 80 }] }));
        assert_eq!(spec.get("clusterIPs"), None);
        assert_eq!(spec["ports"][0].get("nodePort"), None);
    }
}
