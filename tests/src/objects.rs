//! Manifests in one call each.

use std::fmt::Write;
use std::net::IpAddr;

/// An IPAddressPool with these ranges.
pub fn pool(name: &str, ranges: &[&str]) -> String {
    let mut text = head("metallb.io/v1beta1", "IPAddressPool", name);
    text.push_str("spec:\n  addresses:\n");
    for range in ranges {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "    - {range}");
    }
    text
}

/// An L2Advertisement of everything, with further lines of its spec.
pub fn layer2(name: &str, spec: &str) -> String {
    let head = head("metallb.io/v1beta1", "L2Advertisement", name);
    format!("{head}spec:\n{}", indented(spec))
}

/// A BGPAdvertisement of everything, with further lines of its spec.
pub fn bgp(name: &str, spec: &str) -> String {
    let head = head("metallb.io/v1beta1", "BGPAdvertisement", name);
    format!("{head}spec:\n{}", indented(spec))
}

/// A BGPPeer of AS 64500, quick to notice and to come back, with further lines of its spec.
pub fn peer(name: &str, asn: u32, address: &str, spec: &str) -> String {
    let head = head("metallb.io/v1beta2", "BGPPeer", name);
    let fields = format!(
        "myASN: 64500\npeerASN: {asn}\npeerAddress: \"{address}\"\nholdTime: 3s\nconnectTime: 1s"
    );
    format!("{head}spec:\n{}{}", indented(&fields), indented(spec))
}

/// A BFDProfile, with the lines of its spec.
pub fn bfd_profile(name: &str, spec: &str) -> String {
    let head = head("metallb.io/v1beta1", "BFDProfile", name);
    format!("{head}spec:\n{}", indented(spec))
}

/// A Service of type LoadBalancer in `default`, with further lines of its spec.
pub fn service(name: &str, spec: &str) -> String {
    let ports = "type: LoadBalancer\n";
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n{}{}",
        indented(ports),
        indented(spec)
    )
}

/// The same with an address that it has already, as somebody else gave it.
pub fn assigned(name: &str, spec: &str, address: IpAddr) -> String {
    let status = format!("status: {{loadBalancer: {{ingress: [{{ip: \"{address}\"}}]}}}}\n");
    service(name, spec) + &status
}

/// The lines of a Service's spec for TCP ports with their NodePorts.
pub fn tcp(ports: &[(u16, u16)]) -> String {
    let mut text = "ports:\n".to_owned();
    for (port, node_port) in ports {
        let _ = writeln!(
            text,
            "  - name: p{port}\n    port: {port}\n    nodePort: {node_port}"
        );
    }
    text
}

/// So many nodes, n1 first, which makes them candidates at layer 2.
pub fn nodes(count: usize) -> String {
    (1..=count)
        .map(|number| format!("---\napiVersion: v1\nkind: Node\nmetadata:\n  name: n{number}\n"))
        .collect()
}

fn head(version: &str, kind: &str, name: &str) -> String {
    format!(
        "---\napiVersion: {version}\nkind: {kind}\nmetadata:\n  name: {name}\n  namespace: metallb-system\n"
    )
}

fn indented(lines: &str) -> String {
    lines.lines().map(|line| format!("  {line}\n")).collect()
}
