//! What would be decided, without doing it.
//!
//! The same [`Reconciler`] as when running, fed once; it knows no quarantine, because nothing was
//! released before it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ferrolb_crds::source::Change;
use serde::Serialize;

use crate::reconcile::{Outcome, Reconciler, Settings};

#[cfg(test)]
mod tests;

/// One Service in the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What becomes of it.
    pub decision: &'static str,
    /// What it has then, in order.
    pub ingress: Vec<IpAddr>,
    /// The pool of that.
    pub pool: Option<String>,
    /// Why, as a PascalCase constant.
    pub reason: &'static str,
    /// Why, as a sentence.
    pub message: String,
}

/// Decides about everything at once.
pub fn decide(now: Instant, class: Option<String>, changes: Vec<Change>) -> Reconciler {
    let quarantine = Duration::ZERO;
    let settings = Settings { class, quarantine };
    let mut decided = Reconciler::new(settings, BTreeMap::new());
    decided.apply(now, changes);
    decided
}

/// One row per Service, by namespace and name.
pub fn rows(decided: &Reconciler) -> Vec<Row> {
    decided.outcomes().map(Row::from).collect()
}

impl From<Outcome<'_>> for Row {
    fn from(outcome: Outcome<'_>) -> Self {
        Self {
            namespace: outcome.key.namespace.clone(),
            name: outcome.key.name.clone(),
            decision: outcome.decision.as_str(),
            ingress: outcome.ingress.to_vec(),
            pool: outcome.pool.map(str::to_owned),
            reason: outcome.reason.as_str(),
            message: outcome.message,
        }
    }
}

/// The plan for people.
pub fn table(rows: &[Row]) -> String {
    let header = ["SERVICE", "DECISION", "ADDRESSES", "POOL", "REASON"].map(str::to_owned);
    let lines: Vec<_> = rows.iter().map(cells).collect();
    let mut widths = header.each_ref().map(String::len);
    for cells in &lines {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let messages = rows.iter().map(|row| row.message.as_str());
    push_line(&mut text, &widths, &header, "MESSAGE");
    for (cells, message) in lines.iter().zip(messages) {
        push_line(&mut text, &widths, cells, message);
    }
    text
}

fn push_line(text: &mut String, widths: &[usize; 5], cells: &[String; 5], message: &str) {
    for (width, cell) in widths.iter().zip(cells) {
        // Writing to a String does not fail.
        let _ = write!(text, "{cell:<width$}  ");
    }
    text.push_str(message);
    text.push('\n');
}

fn cells(row: &Row) -> [String; 5] {
    let ingress: Vec<_> = row.ingress.iter().map(IpAddr::to_string).collect();
    [
        format!("{}/{}", row.namespace, row.name),
        row.decision.to_owned(),
        or_dash(ingress.join(",")),
        or_dash(row.pool.clone().unwrap_or_default()),
        row.reason.to_owned(),
    ]
}

fn or_dash(text: String) -> String {
    if text.is_empty() {
        "-".to_owned()
    } else {
        text
    }
}
