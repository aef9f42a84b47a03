//! BGPPeer: a router to speak BGP with. v1beta2 is the preferred version; v1beta1 is read too.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rule::{immutable, rule, rule_about};
use super::{ConfigurationStatus, LabelSelector};

/// A router to speak BGP with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BgpPeer {
    /// With whom to speak, from which nodes, and how.
    #[serde(skip_serializing_if = "is_empty")]
    pub spec: BgpPeerSpec,
    /// What became of the object; written by the controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ConfigurationStatus>,
}

/// With whom to speak, from which nodes, and how.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = peer_rules()))]
pub struct BgpPeerSpec {
    /// Autonomous system of the speakers.
    #[serde(rename = "myASN")]
    #[schemars(range(min = 0, max = 4_294_967_295_u32))]
    pub my_asn: u32,
    /// Autonomous system of the peer; this or `dynamicASN`.
    #[serde(default, rename = "peerASN", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4_294_967_295_u32))]
    pub peer_asn: Option<u32>,
    /// Autonomous system that this one peer sees in place of `myASN`.
    #[serde(default, rename = "localASN", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub local_asn: Option<u32>,
    /// Take the peer's autonomous system from its OPEN; this or `peerASN`.
    #[serde(
        default,
        rename = "dynamicASN",
        skip_serializing_if = "Option::is_none"
    )]
    pub dynamic_asn: Option<DynamicAsn>,
    /// Address of the peer; this or `interface`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_address: Option<String>,
    /// Interface on which the peer is found by its link-local address; this or `peerAddress`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Address of this end of the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_address: Option<String>,
    /// TCP port of the peer; 179 when not given.
    #[serde(default = "bgp_port", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16384))]
    pub peer_port: Option<u16>,
    /// Hold time to propose, such as `90s`: 0 or at least 3 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = [hold_time_rule()]))]
    pub hold_time: Option<String>,
    /// Time between keepalives, such as `30s`; a third of the hold time when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keepalive_time: Option<String>,
    /// Time between attempts to connect, such as `10s`: whole seconds, 1 to 65535.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = [connect_time_rule()]))]
    pub connect_time: Option<String>,
    /// BGP Identifier of the speakers; each node's own address when not given.
    #[serde(default, rename = "routerID", skip_serializing_if = "Option::is_none")]
    pub router_id: Option<String>,
    /// Nodes that run the session; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_selectors: Vec<LabelSelector>,
    /// TCP MD5 key; this or `passwordSecret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,
    /// Secret of type kubernetes.io/basic-auth that holds the TCP MD5 key; this or `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret: Option<SecretReference>,
    /// Name of a BFDProfile; without one the session runs without BFD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd_profile: Option<String>,
    /// Whether to negotiate graceful restart (RFC 4724); cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = [immutable(
        "EnableGracefulRestart cannot be changed after creation: delete the peer and make it anew",
    )]))]
    pub enable_graceful_restart: Option<bool>,
    /// Whether an eBGP peer may be more than one hop away.
    #[serde(
        default,
        rename = "ebgpMultiHop",
        skip_serializing_if = "Option::is_none"
    )]
    pub ebgp_multi_hop: Option<bool>,
    /// Linux VRF to run the session in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vrf: Option<String>,
    /// Deprecated, without effect.
    #[serde(
        default = "no",
        rename = "disableMP",
        skip_serializing_if = "Option::is_none"
    )]
    pub disable_mp: Option<bool>,
    /// Whether the session carries routes of both families, not only of its own.
    #[serde(default = "no", skip_serializing_if = "Option::is_none")]
    pub dual_stack_address_family: Option<bool>,
}

/// Which autonomous systems are acceptable when the peer's is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DynamicAsn {
    /// The same as ours.
    Internal,
    /// Any but ours.
    External,
}

/// A Secret by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct SecretReference {
    /// Name of the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its namespace: the configuration's own, also when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// A password as written; its `Debug` output is empty of it.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// A router to speak BGP with; use v1beta2.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BgpPeerV1Beta1 {
    /// With whom to speak, from which nodes, and how.
    #[serde(skip_serializing_if = "is_empty_v1beta1")]
    pub spec: BgpPeerSpecV1Beta1,
    /// What became of the object; written by the controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ConfigurationStatus>,
}

/// With whom to speak, from which nodes, and how, as v1beta1 had it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = peer_rules_v1beta1()))]
pub struct BgpPeerSpecV1Beta1 {
    /// Autonomous system of the speakers.
    #[serde(rename = "myASN")]
    #[schemars(range(min = 0, max = 4_294_967_295_u32))]
    pub my_asn: u32,
    /// Autonomous system of the peer.
    #[serde(rename = "peerASN")]
    #[schemars(range(min = 0, max = 4_294_967_295_u32))]
    pub peer_asn: u32,
    /// Address of the peer.
    pub peer_address: String,
    /// Address of this end of the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_address: Option<String>,
    /// TCP port of the peer; 179 when not given or 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 16384))]
    pub peer_port: Option<u16>,
    /// Hold time to propose, such as `90s`: 0 or at least 3 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = [hold_time_rule()]))]
    pub hold_time: Option<String>,
    /// Time between keepalives, such as `30s`; a third of the hold time when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keepalive_time: Option<String>,
    /// BGP Identifier of the speakers; each node's own address when not given.
    #[serde(default, rename = "routerID", skip_serializing_if = "Option::is_none")]
    pub router_id: Option<String>,
    /// Nodes that run the session; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_selectors: Vec<NodeSelector>,
    /// TCP MD5 key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,
    /// Name of a BFDProfile; without one the session runs without BFD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd_profile: Option<String>,
    /// Whether an eBGP peer may be more than one hop away.
    #[serde(
        default,
        rename = "ebgpMultiHop",
        skip_serializing_if = "Option::is_none"
    )]
    pub ebgp_multi_hop: Option<bool>,
}

/// The node selector of v1beta1.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeSelector {
    /// Labels that must be there with exactly this value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Requirements beyond equality, all of which must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<MatchExpression>,
}

/// One requirement of a v1beta1 node selector.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MatchExpression {
    /// Label key.
    pub key: String,
    /// `In` or `NotIn`.
    pub operator: String,
    /// The values meant, at least one.
    #[schemars(length(min = 1))]
    pub values: Vec<String>,
}

fn peer_rules() -> Vec<Value> {
    vec![
        has_local_asn(),
        rule_about(
            "peerASN",
            "(has(self.peerASN) && self.peerASN != 0) || has(self.dynamicASN)",
            "missing peer ASN and dynamicASN: set one of them",
        ),
        rule_about(
            "dynamicASN",
            "!has(self.dynamicASN) || !has(self.peerASN) || self.peerASN == 0",
            "both peer ASN and dynamicASN specified: remove one of them",
        ),
        rule_about(
            "ebgpMultiHop",
            "!has(self.ebgpMultiHop) || !self.ebgpMultiHop || !has(self.peerASN) || \
             self.peerASN != self.myASN",
            "invalid ebgp-multihop parameter set for an ibgp peer: remove it, or correct an ASN",
        ),
        rule_about(
            "peerAddress",
            "(has(self.peerAddress) && self.peerAddress != '') || \
             (has(self.interface) && self.interface != '')",
            "peer has no Address or Interface specified: set one of peerAddress and interface",
        ),
        rule_about(
            "interface",
            "!has(self.peerAddress) || self.peerAddress == '' || \
             !has(self.interface) || self.interface == ''",
            "peer has both Address and Interface specified: remove one of them",
        ),
        rule_about(
            "passwordSecret",
            "!has(self.password) || self.password == '' || !has(self.passwordSecret) || \
             !has(self.passwordSecret.name) || self.passwordSecret.name == ''",
            "can not have both password and secret ref set: remove one of them",
        ),
        keepalive_rule(),
    ]
}

fn peer_rules_v1beta1() -> Vec<Value> {
    vec![
        has_local_asn(),
        rule_about(
            "peerASN",
            "self.peerASN != 0",
            "missing peer ASN: set it to the peer's autonomous system",
        ),
        rule_about(
            "ebgpMultiHop",
            "!has(self.ebgpMultiHop) || !self.ebgpMultiHop || self.peerASN != self.myASN",
            "invalid ebgp-multihop parameter set for an ibgp peer: remove it, or correct an ASN",
        ),
        rule_about(
            "peerAddress",
            "self.peerAddress != ''",
            "peer has no Address specified: set peerAddress",
        ),
        keepalive_rule(),
    ]
}

fn has_local_asn() -> Value {
    rule_about(
        "myASN",
        "self.myASN != 0",
        "missing local ASN: set it to the speakers' autonomous system",
    )
}

/// The wire has whole seconds: a fraction is dropped first.
fn hold_time_rule() -> Value {
    rule(
        "duration(self).getSeconds() == 0 || duration(self).getSeconds() >= 3",
        "invalid hold time: must be 0 or >=3s",
    )
}

fn keepalive_rule() -> Value {
    rule_about(
        "keepaliveTime",
        "!has(self.holdTime) || !has(self.keepaliveTime) || \
         duration(self.keepaliveTime) <= duration(self.holdTime)",
        "invalid keepaliveTime, must be lower than holdTime",
    )
}

fn connect_time_rule() -> Value {
    rule(
        "duration(self).getSeconds() >= 1 && duration(self).getSeconds() <= 65535 && \
         duration(self).getMilliseconds() % 1000 == 0",
        "invalid connect time: must be whole seconds, from 1s to 65535s",
    )
}

fn bgp_port() -> Option<u16> {
    Some(179)
}

fn no() -> Option<bool> {
    Some(false)
}

fn is_empty(spec: &BgpPeerSpec) -> bool {
    *spec == BgpPeerSpec::default()
}

fn is_empty_v1beta1(spec: &BgpPeerSpecV1Beta1) -> bool {
    *spec == BgpPeerSpecV1Beta1::default()
}
