//! What `nft -j` prints, read back: whether a table is ours and whole, and who else translates here.
//!
//! Both sides become sets of lines, one per set, chain, rule and element, and are compared as such.
//! A rule is known by its comment, because every version of nft prints rules in its own way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ferrolb_crds::model::Protocol;
use serde_json::Value;

use super::render::{self, TABLE, element_text, protocol_text, set_name};
use super::ruleset::{CHAINS, ChainSpec, Element, Ruleset, SETS, SetSpec};

/// nft printed something that is no listing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("nft printed no listing: {0}")]
pub(super) struct NotAListing(String);

/// A table as a set of lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Table {
    lines: BTreeSet<String>,
}

impl Table {
    /// What a table with this ruleset must look like.
    pub(super) fn expected(ruleset: &Ruleset) -> Self {
        let mut lines = BTreeSet::new();
        lines.extend(SETS.iter().map(expected_set));
        lines.extend(CHAINS.iter().flat_map(expected_chain));
        lines.extend(ruleset.elements().iter().map(line));
        Self { lines }
    }

    /// What `nft -j list table` printed.
    pub(super) fn parse(json: &str) -> Result<Self, NotAListing> {
        let mut lines = BTreeSet::new();
        let mut rules: BTreeMap<String, usize> = BTreeMap::new();
        for (kind, object) in objects(json)? {
            match kind.as_str() {
                "metainfo" | "table" => {}
                "set" | "map" => lines.extend(found_set(&object)),
                "chain" => {
                    lines.insert(found_chain(&object));
                }
                "rule" => {
                    let chain = string(&object["chain"]);
                    let index = rules.entry(chain.clone()).or_default();
                    lines.insert(rule_line(&chain, *index, &string(&object["comment"])));
                    *index += 1;
                }
                foreign => {
                    lines.insert(format!("{foreign} {}", string(&object["name"])));
                }
            }
        }
        Ok(Self { lines })
    }

    /// How many lines differ, and one of them, for the log.
    pub(super) fn difference(&self, expected: &Self) -> Option<(usize, String)> {
        let mut missing = expected
            .lines
            .difference(&self.lines)
            .map(|line| format!("missing: {line}"));
        let mut surplus = self
            .lines
            .difference(&expected.lines)
            .map(|line| format!("unexpected: {line}"));
        let first = missing.next().or_else(|| surplus.next())?;
        Some((1 + missing.count() + surplus.count(), first))
    }

    /// The lines that only one of the two has.
    pub(super) fn differing(&self, expected: &Self) -> BTreeSet<String> {
        let lines = self.lines.symmetric_difference(&expected.lines);
        lines.cloned().collect()
    }
}

/// How an element is told from others.
pub(super) fn line(element: &Element) -> String {
    element_line(set_name(element), &element_text(element))
}

/// Whether `nft -j list tables` shows the table this program owns.
pub(super) fn has_table(tables: &str) -> Result<bool, NotAListing> {
    Ok(objects(tables)?.iter().any(|(kind, table)| {
        kind == "table" && table["family"] == "inet" && table["name"] == TABLE
    }))
}

/// Why this program must not translate here, by `nft -j list tables` and `nft -j list chains`.
///
/// A connection is translated once: where kube-proxy has its rules, ours would come first, and then
/// nobody would translate the NodePort. Chains made by the legacy iptables are invisible to nft.
pub(super) fn rival(tables: &str, chains: &str) -> Result<Option<String>, NotAListing> {
    let table = objects(tables)?
        .into_iter()
        .find(|(kind, table)| kind == "table" && table["name"] == "kube-proxy");
    if let Some((_, table)) = table {
        let family = string(&table["family"]);
        return Ok(Some(refusal(&format!(
            "the table {family} kube-proxy exists"
        ))));
    }
    let chain = objects(chains)?
        .into_iter()
        .find(|(kind, chain)| kind == "chain" && string(&chain["name"]).starts_with("KUBE-"));
    Ok(chain.map(|(_, chain)| {
        let [family, table, name] = ["family", "table", "name"].map(|key| string(&chain[key]));
        refusal(&format!(
            "the chain {name} exists in the table {family} {table}"
        ))
    }))
}

fn refusal(what: &str) -> String {
    format!(
        "{what}: kube-proxy translates on this node, and a connection can be translated only once; \
         stop kube-proxy and remove its rules, or let it take the Service's addresses"
    )
}

fn objects(json: &str) -> Result<Vec<(String, Value)>, NotAListing> {
    let not_a_listing = |why: &dyn std::fmt::Display| NotAListing(why.to_string());
    let mut document: Value = serde_json::from_str(json).map_err(|error| not_a_listing(&error))?;
    let Some(Value::Array(entries)) = document.get_mut("nftables").map(Value::take) else {
        return Err(not_a_listing(&"it has no list named nftables"));
    };
    let objects = entries.into_iter().filter_map(|entry| match entry {
        Value::Object(object) => object.into_iter().next(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            None
        }
    });
    Ok(objects.collect())
}

fn expected_set(set: &SetSpec) -> String {
    let flags = if set.interval { "interval" } else { "" };
    set_line(
        set.name,
        &set.key.join(" . "),
        set.data.unwrap_or_default(),
        flags,
    )
}

fn expected_chain(chain: &ChainSpec) -> Vec<String> {
    let hook = chain
        .hook
        .map(|hook| format!(" {} {} {} accept", hook.kind, hook.at, hook.priority));
    let mut lines = vec![format!("chain {}{}", chain.name, hook.unwrap_or_default())];
    let rules = chain.rules.iter().enumerate();
    lines.extend(rules.map(|(index, rule)| rule_line(chain.name, index, &render::comment(rule))));
    lines
}

fn found_set(object: &Value) -> Vec<String> {
    let name = string(&object["name"]);
    let mut lines = vec![set_line(
        &name,
        &list(&object["type"]).join(" . "),
        &string(&object["map"]),
        &list(&object["flags"]).join(","),
    )];
    if let Value::Array(elements) = &object["elem"] {
        lines.extend(
            elements
                .iter()
                .map(|element| element_line(&name, &found_element(element))),
        );
    }
    lines
}

fn found_chain(object: &Value) -> String {
    let mut line = format!("chain {}", string(&object["name"]));
    for key in ["type", "hook", "prio", "policy"] {
        if !object[key].is_null() {
            line.push(' ');
            line.push_str(&string(&object[key]));
        }
    }
    line
}

/// A map's element is a list of key and data.
fn found_element(element: &Value) -> String {
    match element.as_array().map(Vec::as_slice) {
        Some([key, data]) => format!("{} : {}", found_key(key), string(data)),
        Some(_) | None => found_key(element),
    }
}

fn found_key(key: &Value) -> String {
    if let Value::Array(parts) = &key["concat"] {
        let parts = parts.iter().enumerate().map(|(index, part)| match index {
            // Every concatenation has the protocol second; a host without a list of protocols
            // prints its number.
            1 => found_protocol(part),
            _ => found_key(part),
        });
        return parts.collect::<Vec<_>>().join(" . ");
    }
    if let Value::Object(prefix) = &key["prefix"] {
        return format!("{}/{}", string(&prefix["addr"]), string(&prefix["len"]));
    }
    string(key)
}

fn found_protocol(part: &Value) -> String {
    match part.as_u64() {
        Some(6) => protocol_text(Protocol::Tcp).to_owned(),
        Some(17) => protocol_text(Protocol::Udp).to_owned(),
        Some(132) => protocol_text(Protocol::Sctp).to_owned(),
        Some(_) | None => string(part),
    }
}

/// A scalar as text, addresses in the one form that `Display` gives them, anything else as JSON.
fn string(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text
            .parse::<IpAddr>()
            .map_or_else(|_| text.clone(), |address| address.to_string()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

fn list(value: &Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.iter().map(string).collect(),
        Value::Null => Vec::new(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            vec![string(value)]
        }
    }
}

fn set_line(name: &str, key: &str, data: &str, flags: &str) -> String {
    format!("set {name} {key} : {data} [{flags}]")
}

fn rule_line(chain: &str, index: usize, comment: &str) -> String {
    format!("rule {chain} {index} {comment}")
}

fn element_line(set: &str, element: &str) -> String {
    format!("element {set} {element}")
}

#[cfg(test)]
mod tests;
