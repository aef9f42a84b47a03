//! Endpoints: where the pods of a Service are.

use super::{Family, ServiceKey};

/// An EndpointSlice, as far as announcing depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Namespace and name of the slice.
    pub key: ServiceKey,
    /// Name of its Service, from the label `kubernetes.io/service-name`.
    pub service: String,
    /// The family of its addresses: a Service of both has slices of each, with the same pods in them.
    /// `None`: names, or it does not say.
    pub family: Option<Family>,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The node it runs on, if known.
    pub node: Option<String>,
    /// Whether it has an address.
    pub has_address: bool,
    /// `conditions.ready`; unset means ready.
    pub ready: Option<bool>,
    /// `conditions.serving`.
    pub serving: Option<bool>,
}

impl Endpoint {
    /// Ready, or terminating but still serving.
    pub fn is_usable(&self) -> bool {
        self.ready.unwrap_or(true) || self.serving == Some(true)
    }
}
