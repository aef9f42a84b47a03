//! The ruleset as text for `nft -f -`; each text is one transaction, applied whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use ferrolb_crds::model::Protocol;
use ipnet::IpNet;

use super::Frontend;
use super::ruleset::{CHAINS, ChainSpec, Change, Element, Hook, Ruleset, SETS, SetSpec};

/// The table's name in the family `inet`.
pub(super) const TABLE: &str = "ferrolb";

/// Makes the table hold exactly this, whatever it held before.
pub(super) fn replace(ruleset: &Ruleset) -> String {
    let mut text = remove();
    text.push_str(&skeleton());
    elements(&mut text, "add", ruleset.elements());
    text
}

/// Applies the difference to a table that is known to hold the rest.
pub(super) fn update(change: &Change) -> String {
    let mut text = String::new();
    elements(&mut text, "delete", &change.removed);
    elements(&mut text, "add", &change.added);
    text
}

/// Removes the table; it need not exist.
pub(super) fn remove() -> String {
    format!("add table inet {TABLE}\ndelete table inet {TABLE}\n")
}

/// The comment by which a rule is known again: it changes with the rule's text, which nft prints
/// differently from version to version.
pub(super) fn comment(rule: &str) -> String {
    format!("FerroLB {:08x}", fnv1a(rule))
}

/// The set or map an element lives in.
pub(super) fn set_name(element: &Element) -> &'static str {
    let (four, six, address) = match element {
        Element::Address(address) => ("addresses4", "addresses6", *address),
        Element::Port(frontend, _) => ("ports4", "ports6", frontend.address),
        Element::Limited(frontend) => ("limited4", "limited6", frontend.address),
        Element::Source(frontend, _) => ("sources4", "sources6", frontend.address),
        Element::Numbered(_) => return "numbered4",
        Element::NodeAddress(_) => return "node4",
    };
    if address.is_ipv4() { four } else { six }
}

/// An element as nft reads and prints it, but for the quotes of a name.
pub(super) fn element_text(element: &Element) -> String {
    match element {
        Element::Address(address) => address.to_string(),
        Element::Port(frontend, port) => format!("{} : {port}", frontend_text(frontend)),
        Element::Limited(frontend) => frontend_text(frontend),
        Element::Source(frontend, net) => {
            format!("{} . {}", frontend_text(frontend), net_text(*net))
        }
        Element::Numbered(name) => name.clone(),
        Element::NodeAddress(address) => format!("ipv4 : {address}"),
    }
}

/// A protocol as nft names it.
pub(super) fn protocol_text(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

fn skeleton() -> String {
    let mut text = format!("table inet {TABLE} {{\n");
    text.push_str("\tcomment \"belongs to FerroLB, which undoes every change by hand\"\n");
    for set in SETS {
        text.push_str(&set_block(set));
    }
    for chain in CHAINS {
        text.push_str(&chain_block(chain));
    }
    text.push_str("}\n");
    text
}

fn set_block(set: &SetSpec) -> String {
    let kind = if set.data.is_some() { "map" } else { "set" };
    let mut text = format!("\t{kind} {} {{\n\t\ttype {}", set.name, set.key.join(" . "));
    if let Some(data) = set.data {
        text.push_str(" : ");
        text.push_str(data);
    }
    if set.interval {
        text.push_str("\n\t\tflags interval");
    }
    text.push_str("\n\t}\n");
    text
}

fn chain_block(chain: &ChainSpec) -> String {
    let mut text = format!("\tchain {} {{\n", chain.name);
    if let Some(Hook { kind, at, priority }) = chain.hook {
        line(
            &mut text,
            format_args!("\t\ttype {kind} hook {at} priority {priority}; policy accept;"),
        );
    }
    for rule in chain.rules {
        line(
            &mut text,
            format_args!("\t\t{rule} comment \"{}\"", comment(rule)),
        );
    }
    text.push_str("\t}\n");
    text
}

/// One command for every set and every [`BATCH`] of its elements.
fn elements(text: &mut String, verb: &str, elements: &BTreeSet<Element>) {
    let mut by_set: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for element in elements {
        by_set
            .entry(set_name(element))
            .or_default()
            .push(input_text(element));
    }
    for (set, members) in by_set {
        for batch in members.chunks(BATCH) {
            line(
                text,
                format_args!(
                    "{verb} element inet {TABLE} {set} {{ {} }}",
                    batch.join(", ")
                ),
            );
        }
    }
}

/// Bounds the lines of a text, and with them nft's error messages, which repeat the line.
const BATCH: usize = 500;

fn input_text(element: &Element) -> String {
    let text = element_text(element);
    if matches!(element, Element::Numbered(_)) {
        return format!("\"{text}\"");
    }
    text
}

fn frontend_text(frontend: &Frontend) -> String {
    format!(
        "{} . {} . {}",
        frontend.address,
        protocol_text(frontend.protocol),
        frontend.port
    )
}

/// A network; nft prints a single host without its length.
fn net_text(net: IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() {
        return IpAddr::to_string(&net.addr());
    }
    net.to_string()
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    writeln!(text, "{content}").expect("writing to a String succeeds");
}

fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests;
