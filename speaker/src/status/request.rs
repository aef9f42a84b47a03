//! What a client asks for, and the answer to what is not the status.

use std::fmt::Write;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// One line of JSON; who says nothing wants the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// How things stand.
    Status,
    /// Why an address is held where it is.
    Explain(IpAddr),
    /// Give the addresses away that another node is first in rank for.
    Rebalance(Demand),
    /// Give all traffic away, or no longer.
    Drain(DrainDemand),
}

/// What is wanted of a node that may be drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DrainDemand {
    /// Begin.
    Begin {
        /// How long the routes stay as the last resort; `None`: as the speaker is set.
        seconds: Option<u64>,
    },
    /// Serve again.
    Undo,
    /// Only say how far it is.
    Look,
}

/// How far a node is with leaving.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Draining {
    /// The node.
    pub node: String,
    /// `serving`, `draining`, `withdrawn` or `drained`.
    pub state: String,
    /// What says that it is to be drained; `None`: nothing.
    pub why: Option<String>,
    /// How many addresses it still holds at layer 2, since nobody else has taken them.
    pub held: usize,
    /// There are no steps to come.
    pub is_done: bool,
}

impl Draining {
    /// For people.
    pub fn render(&self) -> String {
        let Self { node, state, .. } = self;
        let why = self.why.as_ref().map(|why| format!(": {why}"));
        let mut text = format!("{node}   {state}{}\n", why.unwrap_or_default());
        if self.why.is_some() && self.held > 0 {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "it holds {} addresses that no other node takes",
                self.held
            );
        }
        text
    }
}

/// How to rebalance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Demand {
    /// At most so many addresses a minute.
    pub per_minute: u32,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// The answer to a demand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rebalancing {
    /// The node that gives.
    pub node: String,
    /// What it was told.
    #[serde(flatten)]
    pub demand: Demand,
    /// What goes to whom.
    pub moves: Vec<Move>,
}

/// An address, and who is first in rank for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Move {
    /// Which.
    pub address: IpAddr,
    /// The node.
    pub to: String,
}

impl Rebalancing {
    /// For people.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for Move { address, to } in &self.moves {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{address}  {} -> {to}", self.node);
        }
        let count = match self.moves.len() {
            0 => format!("{} holds nothing that another node is first for", self.node),
            1 => "1 address".to_owned(),
            count => format!("{count} addresses"),
        };
        let Demand {
            per_minute,
            dry_run,
        } = self.demand;
        let _ = match (self.moves.is_empty(), dry_run) {
            (true, _) => writeln!(text, "{count}"),
            (false, true) => writeln!(text, "{count} would move"),
            (false, false) => writeln!(text, "{count} to move, {per_minute} a minute"),
        };
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_and_its_answer_are_as_documented() {
        for (demand, line) in [
            (
                DrainDemand::Begin { seconds: Some(5) },
                r#"{"drain":{"begin":{"seconds":5}}}"#,
            ),
            (DrainDemand::Undo, r#"{"drain":"undo"}"#),
            (DrainDemand::Look, r#"{"drain":"look"}"#),
        ] {
            let request = Request::Drain(demand);
            assert_eq!(serde_json::to_string(&request).unwrap(), line);
            assert_eq!(serde_json::from_str::<Request>(line).unwrap(), request);
        }
        let mut answer = Draining {
            node: "n1".to_owned(),
            state: "draining".to_owned(),
            why: Some("because".to_owned()),
            held: 2,
            is_done: false,
        };
        let json = r#"{"node":"n1","state":"draining","why":"because","held":2,"isDone":false}"#;
        assert_eq!(serde_json::to_string(&answer).unwrap(), json);
        let text = "n1   draining: because\nit holds 2 addresses that no other node takes\n";
        assert_eq!(answer.render(), text);
        answer.why = None;
        "serving".clone_into(&mut answer.state);
        assert_eq!(answer.render(), "n1   serving\n");
    }

    #[test]
    fn a_demand_and_its_answer_are_as_documented() {
        let demand = Demand {
            per_minute: 10,
            dry_run: true,
        };
        let line = r#"{"rebalance":{"perMinute":10,"dryRun":true}}"#;
        let request = Request::Rebalance(demand);
        assert_eq!(serde_json::to_string(&request).unwrap(), line);
        assert_eq!(serde_json::from_str::<Request>(line).unwrap(), request);
        assert_eq!(
            serde_json::to_string(&Request::Status).unwrap(),
            r#""status""#
        );
        let line = r#"{"explain":"10.0.0.1"}"#;
        let request = Request::Explain("10.0.0.1".parse().unwrap());
        assert_eq!(serde_json::to_string(&request).unwrap(), line);
        assert_eq!(serde_json::from_str::<Request>(line).unwrap(), request);
        let mut answer = Rebalancing {
            node: "n1".to_owned(),
            demand,
            moves: vec![Move {
                address: "10.0.0.1".parse().unwrap(),
                to: "n2".to_owned(),
            }],
        };
        let json = r#"{"node":"n1","perMinute":10,"dryRun":true,"moves":[{"address":"10.0.0.1","to":"n2"}]}"#;
        assert_eq!(serde_json::to_string(&answer).unwrap(), json);
        let text = answer.render();
        assert_eq!(text, "10.0.0.1  n1 -> n2\n1 address would move\n");
        answer.demand.dry_run = false;
        assert!(
            answer
                .render()
                .ends_with("1 address to move, 10 a minute\n")
        );
        answer.moves.clear();
        let text = answer.render();
        assert_eq!(text, "n1 holds nothing that another node is first for\n");
    }
}
