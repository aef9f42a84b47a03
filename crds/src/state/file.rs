//! A record as text: the part of a Service that has its status.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::timestamp;
use super::{Condition, Recorded, ServiceStatus};
use crate::api;
use crate::model::{Hints, ServiceKey};

/// Why a text is no record of the Service, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) why: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    api_version: String,
    kind: String,
    metadata: Metadata,
    #[serde(default)]
    status: Status,
}

#[derive(Serialize, Deserialize)]
struct Metadata {
    name: String,
    namespace: String,
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    annotations: Annotations,
}

#[derive(Default, Serialize, Deserialize)]
struct Annotations {
    #[serde(
        rename = "metallb.io/ip-allocated-from-pool",
        skip_serializing_if = "Option::is_none"
    )]
    pool: Option<String>,
    #[serde(
        rename = "ferrolb.io/layer2-hint",
        skip_serializing_if = "Option::is_none"
    )]
    hints: Option<String>,
}

impl Annotations {
    fn is_empty(&self) -> bool {
        self.pool.is_none() && self.hints.is_none()
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    load_balancer: LoadBalancer,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    conditions: Vec<Entry>,
}

#[derive(Default, Serialize, Deserialize)]
struct LoadBalancer {
    #[serde(default)]
    ingress: Vec<Ingress>,
}

#[derive(Serialize, Deserialize)]
struct Ingress {
    /// Others name a host instead; what is no address is not held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ip: Option<IpAddr>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(rename = "type")]
    type_: String,
    status: String,
    reason: String,
    message: String,
    last_transition_time: String,
}

/// The text of a record; the same status gives the same text.
pub(super) fn render(status: &ServiceStatus) -> String {
    let entry = |condition: &Condition| Entry {
        type_: api::CONDITION_ALLOCATED.to_owned(),
        status: if condition.allocated { "True" } else { "False" }.to_owned(),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        last_transition_time: timestamp::render(condition.since),
    };
    let document = Document {
        api_version: "v1".to_owned(),
        kind: "Service".to_owned(),
        metadata: Metadata {
            name: status.key.name.clone(),
            namespace: status.key.namespace.clone(),
            annotations: Annotations {
                pool: status.pool.clone(),
                hints: status.hints.annotation(),
            },
        },
        status: Status {
            load_balancer: LoadBalancer {
                ingress: status
                    .ingress
                    .iter()
                    .map(|ip| Ingress { ip: Some(*ip) })
                    .collect(),
            },
            conditions: status.condition.iter().map(entry).collect(),
        },
    };
    serde_yaml::to_string(&document).expect("strings and addresses are YAML")
}

/// Reads the text of a record.
pub(super) fn parse(text: &str, key: &ServiceKey) -> Result<Recorded, Fault> {
    let document: Document = serde_yaml::from_str(text).map_err(|error| fault(&error))?;
    let metadata = &document.metadata;
    if metadata.name != key.name || metadata.namespace != key.namespace {
        return Err(at_start(format!(
            "is about {}/{}, which belongs elsewhere",
            metadata.namespace, metadata.name
        )));
    }
    if document.api_version != "v1" || document.kind != "Service" {
        return Err(at_start("is no v1 Service".to_owned()));
    }
    let mut conditions = document.status.conditions.into_iter();
    let condition = conditions
        .find(|entry| entry.type_ == api::CONDITION_ALLOCATED)
        .map(condition)
        .transpose()?;
    let ingress = document.status.load_balancer.ingress;
    let Annotations { pool, hints } = document.metadata.annotations;
    Ok(Recorded {
        ingress: ingress.into_iter().filter_map(|entry| entry.ip).collect(),
        pool,
        hints: hints.map(|text| Hints::parse(&text)).unwrap_or_default(),
        condition,
    })
}

fn condition(entry: Entry) -> Result<Condition, Fault> {
    let since = timestamp::parse(&entry.last_transition_time).ok_or_else(|| {
        at_start(format!(
            "lastTransitionTime {:?} is no time like 2026-01-31T12:00:00Z",
            entry.last_transition_time
        ))
    })?;
    Ok(Condition {
        allocated: entry.status == "True",
        reason: entry.reason,
        message: entry.message,
        since,
    })
}

fn fault(error: &serde_yaml::Error) -> Fault {
    let (line, column) = error
        .location()
        .map_or((1, 1), |place| (place.line(), place.column()));
    Fault {
        line,
        column,
        why: error
            .to_string()
            .replacen(&format!(" at line {line} column {column}"), "", 1),
    }
}

fn at_start(why: String) -> Fault {
    Fault {
        line: 1,
        column: 1,
        why,
    }
}
