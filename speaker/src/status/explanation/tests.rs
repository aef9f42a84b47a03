use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::plan::Reason;

fn health(is_leaving: bool, listens: bool) -> NodeHealth {
    let ways = BTreeMap::from([("eth0".to_owned(), BTreeSet::from(["eth0".to_owned()]))]);
    NodeHealth {
        heard_on: BTreeMap::new(),
        listens_on: if listens { ways } else { BTreeMap::new() },
        is_leaving,
        is_failing: false,
        is_known: true,
        since: UNIX_EPOCH + Duration::from_secs(1),
    }
}

fn candidacy(presence: Presence) -> Candidacy {
    Candidacy {
        refused: BTreeSet::new(),
        presence,
        place: None,
        preference: 0,
        claims: BTreeMap::new(),
        is_unknown: false,
    }
}

#[test]
fn the_state_of_a_node_is_what_plan_and_layer_2_know_of_it() {
    let here = || Presence::Alive(BTreeSet::from(["eth0".to_owned()]));
    for (presence, health, state) in [
        (here(), Some(health(false, false)), "alive"),
        (here(), None, "alive"),
        (Presence::Silent, None, "neverHeard"),
        (Presence::Silent, Some(health(false, false)), "down"),
        (Presence::Silent, Some(health(false, true)), "listening"),
        (Presence::Silent, Some(health(true, false)), "leaving"),
        (Presence::Waiting, Some(health(false, true)), "listening"),
        (Presence::Elsewhere, Some(health(false, false)), "elsewhere"),
        (Presence::Unable("down: eth0".to_owned()), None, "unable"),
    ] {
        let told = candidate("n2".to_owned(), candidacy(presence), health.as_ref());
        assert_eq!(told.state, state);
        assert_eq!(told.is_alive, state == "alive");
        assert!(told.is_eligible);
        assert_eq!(told.since.is_some(), health.is_some(), "{state}");
    }
    let mut refused = candidacy(Presence::Silent);
    refused.refused = BTreeSet::from([Reason::NoLocalEndpoints]);
    let told = candidate("n2".to_owned(), refused, None);
    assert!(!told.is_eligible);
    assert_eq!(told.reasons, ["noLocalEndpoints"]);
}

fn told() -> Explanation {
    let node = |node: &str, place| Candidate {
        node: node.to_owned(),
        is_eligible: true,
        is_alive: true,
        state: "alive".to_owned(),
        place,
        ..Candidate::default()
    };
    let other = Candidate {
        last_heard_ago: Some(45),
        since: Some("2026-01-01T00:00:00Z".to_owned()),
        is_hinted: true,
        claims: BTreeMap::from([("eth0".to_owned(), "holds".to_owned())]),
        ..node("n2", Some(1))
    };
    let down = Candidate {
        is_eligible: false,
        is_alive: false,
        reasons: vec!["noLocalEndpoints".to_owned()],
        state: "neverHeard".to_owned(),
        ..node("n3", None)
    };
    Explanation {
        node: "n1".to_owned(),
        address: "10.0.0.1".to_owned(),
        services: vec!["default/web".to_owned()],
        holder: Some("n2".to_owned()),
        since: Some("2026-01-01T00:00:01Z".to_owned()),
        decided: Some("kept".to_owned()),
        reason: Some("notOwner".to_owned()),
        hint: Some("n2".to_owned()),
        candidates: vec![node("n1", Some(2)), other, down],
        ..Explanation::default()
    }
}

#[test]
fn for_people_it_is_a_few_lines() {
    let text = "10.0.0.1   default/web\n\
        held by n2 since 2026-01-01T00:00:01Z: kept, who holds it keeps it\n\
        n1 does not answer: notOwner\n\n\
        candidates, as n1 sees them\n  \
        2.  n1  eligible          alive\n  \
        1.  n2  eligible          alive since 2026-01-01T00:00:00Z  heard 45 ms ago  holds it on eth0, hint\n  \
        -   n3  noLocalEndpoints  neverHeard\n";
    assert_eq!(told().render(), text);
    let held = Explanation {
        holder: Some("n1".to_owned()),
        why: Some("hint".to_owned()),
        reason: None,
        ..told()
    };
    let why = "n1 took it: hint, the controller named it with the address\n";
    assert!(held.render().contains(why), "{}", held.render());
    let open = Explanation {
        holder: None,
        decided: None,
        ..told()
    };
    assert!(
        open.render()
            .contains("held by nobody, as far as n1 knows\n")
    );
}

#[test]
fn for_programs_it_survives_its_own_json() {
    let json = serde_json::to_string(&told()).unwrap();
    assert_eq!(serde_json::from_str::<Explanation>(&json).unwrap(), told());
    assert!(json.contains(r#""lastHeardAgo":45"#), "{json}");
    assert!(json.contains(r#""isEligible":false"#), "{json}");
}

#[test]
fn every_cause_has_a_sentence_and_is_explained_to_operators() {
    let text = include_str!("../../../../docs/operating.md");
    for cause in Cause::ALL {
        assert!(sentence(cause.as_str()).len() > cause.as_str().len() + 2);
        let row = format!("| `{cause}` |");
        assert!(text.contains(&row), "{row}");
    }
    for reason in crate::layer2::responder::Reason::ALL {
        assert!(text.contains(&format!("`{reason}`")), "{reason}");
    }
}
