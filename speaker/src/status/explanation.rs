//! Why an address is held where it is, as data and for people: what the plan explains, with what layer 2
//! knows of the other nodes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::report::{Since, detail, time};
use super::text::{row, table};
use crate::layer2::{NodeHealth, Report};
use crate::plan::{self, Candidacy, Layer2, Presence};
use crate::world::{Cause, Standing, World};

/// The answer to who wants to know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Explanation {
    /// The node that says so.
    pub node: String,
    /// The address.
    pub address: String,
    /// The Services that have it; none: there is nothing to explain.
    pub services: Vec<String>,
    /// Who holds it, as far as this node knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// Since when this node knows it so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// What decides that it is the holder: a cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided: Option<String>,
    /// Why this node came to hold it, if it does: a cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Why this node does not answer, if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What exactly, where the reason alone does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The node that the controller named when it gave the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Every node that there is, by name.
    pub candidates: Vec<Candidate>,
}

/// How a node stands to the address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Candidate {
    /// Its name.
    pub node: String,
    /// Whether it may hold the address, alive or not.
    pub is_eligible: bool,
    /// Why not: reason constants.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// Whether it is there to hold it.
    pub is_alive: bool,
    /// `alive`, `listening`, `leaving`, `down`, `neverHeard`, `elsewhere` or `unable`.
    pub state: String,
    /// What exactly, where the state alone does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When it last came up or went down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// How long ago it was last heard, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_heard_ago: Option<u64>,
    /// The sum of the preferences for it.
    pub preference: u32,
    /// The controller named it.
    pub is_hinted: bool,
    /// What it says of the address, by interface of its own: `holds`, `offers` or `remembers`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, String>,
    /// It is not known yet all that it claims.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_unknown: bool,
    /// Its place among those that could take the address now if nobody held it, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<usize>,
}

/// What is known beside the world.
pub struct Evidence<'a> {
    /// Since when things are as they are.
    pub since: &'a Since,
    /// What layer 2 reports, if it runs.
    pub report: Option<&'a Report>,
    /// When each node was last heard.
    pub heard: &'a BTreeMap<Arc<str>, Instant>,
}

/// Explains one address, as things stand.
pub fn explanation(
    now: Instant,
    world: &World,
    address: IpAddr,
    evidence: &Evidence<'_>,
) -> Explanation {
    let mut told = Explanation {
        node: world.identity().node.clone(),
        address: address.to_string(),
        ..Explanation::default()
    };
    let Some(explained) = plan::explain(world, address) else {
        return told;
    };
    told.services = explained.services.iter().map(ToString::to_string).collect();
    if let Some((holder, cause)) = explained.decided {
        told.holder = Some(holder);
        told.decided = Some(cause.to_string());
    }
    match explained.here {
        Layer2::Held(holding) => {
            told.why = Some(holding.cause.to_string());
            told.since = evidence.since.held.get(&address).copied().map(time);
        }
        layer2 @ (Layer2::Withheld { .. } | Layer2::NotHeld { .. }) => {
            told.reason = layer2.reason().map(|reason| reason.to_string());
            told.detail = detail(&layer2);
            let known = evidence.since.not_held.get(&address);
            let known = known.filter(|(holder, _)| *holder == told.holder);
            told.since = known.map(|(_, since)| time(*since));
        }
    }
    let candidates = explained.nodes.into_iter().map(|(node, candidacy)| {
        let is_this = node == told.node;
        let is_hinted = explained.hint.as_ref() == Some(&node);
        let heard = evidence.heard.get(node.as_str()).filter(|_| !is_this);
        let health = evidence.report.and_then(|report| report.nodes.get(&node));
        let mut one = candidate(node, candidacy, health.filter(|_| !is_this));
        one.is_hinted = is_hinted;
        one.last_heard_ago = heard.map(|at| {
            let ago = now.saturating_duration_since(*at).as_millis();
            u64::try_from(ago).unwrap_or(u64::MAX)
        });
        one
    });
    told.candidates = candidates.collect();
    told.hint = explained.hint;
    told
}

fn candidate(node: String, candidacy: Candidacy, health: Option<&NodeHealth>) -> Candidate {
    let is_leaving = health.is_some_and(|health| health.is_leaving);
    let listens = health.is_some_and(|health| !health.listens_on.is_empty());
    let (state, detail) = match (candidacy.presence, health) {
        (Presence::Alive(_), _) => ("alive", None),
        (Presence::Unable(why), _) => ("unable", Some(why)),
        (Presence::Elsewhere, _) => ("elsewhere", Some(ELSEWHERE.to_owned())),
        (Presence::Waiting, _) => ("listening", None),
        (Presence::Silent, Some(_)) if is_leaving => ("leaving", None),
        (Presence::Silent, Some(_)) if listens => ("listening", None),
        (Presence::Silent, Some(_)) => ("down", None),
        (Presence::Silent, None) => ("neverHeard", None),
    };
    let claims = candidacy.claims.into_iter();
    Candidate {
        is_eligible: candidacy.refused.is_empty(),
        reasons: candidacy.refused.iter().map(ToString::to_string).collect(),
        is_alive: state == "alive",
        state: state.to_owned(),
        detail,
        since: health.map(|health| time(health.since)),
        last_heard_ago: None,
        preference: candidacy.preference,
        is_hinted: false,
        claims: claims
            .map(|(interface, standing)| (interface, word(standing).to_owned()))
            .collect(),
        is_unknown: candidacy.is_unknown,
        place: candidacy.place,
        node,
    }
}

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Holds => "holds",
        Standing::Offers => "offers",
        Standing::Remembers => "remembers",
    }
}

impl Explanation {
    /// For people.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let services = self.services.join(", ");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}   {services}", self.address);
        let since = self.since.as_ref().map(|since| format!(" since {since}"));
        let since = since.unwrap_or_default();
        let _ = match (&self.holder, &self.decided) {
            (Some(holder), Some(cause)) => {
                writeln!(text, "held by {holder}{since}: {}", sentence(cause))
            }
            (_, _) => writeln!(text, "held by nobody, as far as {} knows", self.node),
        };
        if let Some(why) = self
            .why
            .as_deref()
            .filter(|why| Some(*why) != self.decided.as_deref())
        {
            let _ = writeln!(text, "{} took it: {}", self.node, sentence(why));
        }
        if let Some(reason) = &self.reason {
            let detail = self.detail.as_ref().map(|detail| format!(": {detail}"));
            let detail = detail.unwrap_or_default();
            let _ = writeln!(text, "{} does not answer: {reason}{detail}", self.node);
        }
        let _ = writeln!(text, "\ncandidates, as {} sees them", self.node);
        table(
            &mut text,
            self.candidates.iter().map(Candidate::row).collect(),
        );
        text
    }
}

impl Candidate {
    fn row(&self) -> Vec<String> {
        let place = self.place.map(|place| format!("{place}."));
        let eligible = match self.is_eligible {
            true => "eligible".to_owned(),
            false => self.reasons.join(", "),
        };
        let since = self.since.as_ref().map(|since| format!(" since {since}"));
        let detail = self.detail.as_ref().map(|detail| format!(": {detail}"));
        let state = format!(
            "{}{}{}",
            self.state,
            since.unwrap_or_default(),
            detail.unwrap_or_default()
        );
        let heard = self.last_heard_ago;
        let heard = heard.map(|ago| format!("heard {ago} ms ago"));
        let claims = self.claims.iter();
        let claims = claims.map(|(interface, word)| format!("{word} it on {interface}"));
        let mut notes: Vec<String> = claims.collect();
        if self.is_unknown {
            notes.push("may claim more than is known".to_owned());
        }
        if self.preference > 0 {
            notes.push(format!("preference {}", self.preference));
        }
        if self.is_hinted {
            notes.push("hint".to_owned());
        }
        row([
            &place.unwrap_or_else(|| "-".to_owned()),
            &self.node,
            &eligible,
            &state,
            &heard.unwrap_or_default(),
            &notes.join(", "),
        ])
    }
}

/// A cause in a sentence.
fn sentence(cause: &str) -> String {
    let known = Cause::ALL.into_iter().find(|known| known.as_str() == cause);
    let why = match known {
        Some(Cause::Kept) => "who holds it keeps it",
        Some(Cause::Remembered) => "it held it before its speaker was started anew",
        Some(Cause::OnlyCandidate) => "nobody else could",
        Some(Cause::Preferred) => "advertisements prefer it",
        Some(Cause::Hint) => "the controller named it with the address",
        Some(Cause::Rank) => "it comes first by the hash of node and address",
        None => return cause.to_owned(),
    };
    format!("{cause}, {why}")
}

const ELSEWHERE: &str = "heard from none of the interfaces that it would answer on";

#[cfg(test)]
mod tests;
