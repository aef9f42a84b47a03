//! What a program says of the configuration in its ConfigurationState.

use serde_json::{Value, json};

use super::problem::Problem;
use crate::api::{
    CONFIGURATION_ERROR_PREFIX, Condition, ConditionStatus, ConfigurationResult,
    ConfigurationStateStatus, REASON_CONFIGURATION_ERROR, REASON_RECONCILED,
};

/// What is wrong with the configuration; unless told otherwise, nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statement {
    /// The first problem in MetalLB's words, if it has any: it stops there.
    summary: String,
    /// All problems in ours.
    message: String,
    /// Since when it is right, or wrong; only the API server knows.
    since: Option<String>,
}

impl Statement {
    /// What there is to say of these problems.
    pub fn of<'p>(problems: impl IntoIterator<Item = &'p Problem>) -> Self {
        let mut problems = problems.into_iter();
        let Some(first) = problems.next() else {
            return Self::default();
        };
        let mut lines = vec![first.to_string()];
        lines.extend(problems.by_ref().take(TOLD - 1).map(ToString::to_string));
        let rest = problems.count();
        if rest > 0 {
            lines.push(format!("and {rest} more"));
        }
        Self {
            summary: error(&first.in_metallbs_words()),
            message: error(&lines.join("\n")),
            since: None,
        }
    }

    /// What a status says under a condition; `None`: what does not fit together says nothing.
    pub fn read(condition: &str, status: ConfigurationStateStatus) -> Option<Self> {
        let [found] = <[Condition; 1]>::try_from(status.conditions.clone()).ok()?;
        let read = Self {
            summary: status.error_summary.clone(),
            message: found.message,
            since: Some(found.last_transition_time),
        };
        (read.object(condition, Some(&read), "") == status).then_some(read)
    }

    /// Whether both say the same, whatever the time.
    pub fn says_the_same(&self, other: &Self) -> bool {
        (&self.summary, &self.message) == (&other.summary, &other.message)
    }

    /// The status that says this, for a merge patch. The time is new when what is there says the
    /// opposite.
    pub fn status(&self, condition: &str, present: Option<&Self>, now: &str) -> Value {
        let mut status = json!(self.object(condition, present, now));
        // What a merge patch leaves out stays as it is.
        status["errorSummary"] = json!(self.summary);
        status
    }

    fn object(
        &self,
        condition: &str,
        present: Option<&Self>,
        now: &str,
    ) -> ConfigurationStateStatus {
        let since = present
            .filter(|present| present.is_valid() == self.is_valid())
            .and_then(|present| present.since.as_deref());
        let (result, status, reason) = match self.is_valid() {
            true => (
                ConfigurationResult::Valid,
                ConditionStatus::True,
                REASON_RECONCILED,
            ),
            false => (
                ConfigurationResult::Invalid,
                ConditionStatus::False,
                REASON_CONFIGURATION_ERROR,
            ),
        };
        ConfigurationStateStatus {
            result: Some(result),
            error_summary: self.summary.clone(),
            conditions: vec![Condition {
                type_: condition.to_owned(),
                status,
                observed_generation: None,
                last_transition_time: since.unwrap_or(now).to_owned(),
                reason: reason.to_owned(),
                message: self.message.clone(),
            }],
        }
    }

    fn is_valid(&self) -> bool {
        self.summary.is_empty()
    }
}

fn error(words: &str) -> String {
    let mut error = format!("{CONFIGURATION_ERROR_PREFIX}{words}");
    let mut ends = (0..=LONGEST.min(error.len())).rev();
    let end = ends.find(|end| error.is_char_boundary(*end));
    error.truncate(end.unwrap_or_default());
    error
}

/// How many problems are told one by one.
const TOLD: usize = 100;

/// What a condition's message may hold.
const LONGEST: usize = 32_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SecretRef;
    use crate::validate::problem::ObjectRef;
    use crate::validate::rule::Rule;

    const CONDITION: &str = "configReconcilerValid";

    fn problem(name: &str, message: &str) -> Problem {
        let object = ObjectRef {
            kind: "BGPPeer".to_owned(),
            namespace: "metallb-system".to_owned(),
            name: name.to_owned(),
        };
        Problem::new(object, "spec.peerAddress", message)
    }

    fn broken(name: &str, rule: Rule) -> Problem {
        Problem {
            message: rule.to_string(),
            rule: Some(rule),
            ..problem(name, "")
        }
    }

    fn profile(peer: &str) -> Rule {
        Rule::MissingProfile {
            peer: peer.to_owned(),
            profile: "fast".to_owned(),
        }
    }

    #[test]
    fn nothing_wrong_is_valid() {
        let status = Statement::of([]).object(CONDITION, None, "now");
        assert_eq!(status.result, Some(ConfigurationResult::Valid));
        assert_eq!(status.error_summary, "");
        let condition = &status.conditions[0];
        assert_eq!(
            (condition.type_.as_str(), condition.message.as_str()),
            (CONDITION, "")
        );
        assert_eq!(condition.status, ConditionStatus::True);
        assert_eq!(condition.reason, "Reconciled");
    }

    #[test]
    fn the_summary_is_the_first_as_metallb_says_it_and_the_condition_says_all() {
        let secret = SecretRef {
            namespace: "metallb-system".to_owned(),
            name: "word".to_owned(),
        };
        let peer = "b".to_owned();
        let problems = [
            broken("a", profile("a")),
            broken("b", Rule::MissingSecret { peer, secret }),
        ];
        let status = Statement::of(&problems).object(CONDITION, None, "now");
        assert_eq!(status.result, Some(ConfigurationResult::Invalid));
        assert_eq!(
            status.error_summary,
            "configuration error: peer a referencing non existing bfd profile fast"
        );
        let condition = &status.conditions[0];
        assert_eq!(condition.reason, "ConfigurationError");
        assert_eq!(
            condition.message,
            "configuration error: BGPPeer/a: spec.peerAddress: peer a referencing non existing bfd \
             profile fast: create it, or correct the name\n\
             BGPPeer/b: spec.peerAddress: secret ref not found: create Secret metallb-system/word"
        );
    }

    /// An empty field is left out of an object, and must not be left out of a patch.
    #[test]
    fn a_patch_takes_away_what_somebody_wrote() {
        let status = Statement::default().status(CONDITION, None, "now");
        assert_eq!(status["errorSummary"], "");
        assert_eq!(status["result"], "Valid");
        assert_eq!(status["conditions"][0]["message"], "");
    }

    #[test]
    fn what_metallb_has_no_words_for_is_said_in_ours() {
        let problems = [problem("a", "why"), problem("b", "why not")];
        let status = Statement::of(&problems).object(CONDITION, None, "now");
        assert_eq!(
            status.error_summary,
            "configuration error: BGPPeer/a: spec.peerAddress: why"
        );
    }

    #[test]
    fn a_thousand_problems_are_not_more_than_a_condition_holds() {
        let problems: Vec<Problem> = (0..1000)
            .map(|n| problem(&format!("{n}"), &"é".repeat(20_000)))
            .collect();
        let statement = Statement::of(&problems);
        assert!(statement.summary.len() <= LONGEST && statement.message.len() <= LONGEST);
        let problems: Vec<Problem> = (0..1000).map(|_| problem("a", "why")).collect();
        let message = Statement::of(&problems).message;
        assert_eq!(message.lines().count(), TOLD + 1);
        assert!(message.ends_with("\nand 900 more"), "{message}");
    }

    #[test]
    fn what_is_written_is_read_back_as_the_same() {
        for problems in [
            vec![],
            vec![problem("a", "why")],
            vec![broken("a", profile("a"))],
        ] {
            let said = Statement::of(&problems);
            let read = Statement::read(CONDITION, said.object(CONDITION, None, "then")).unwrap();
            assert!(read.says_the_same(&said));
            assert_eq!(read.since.as_deref(), Some("then"));
        }
    }

    #[test]
    fn what_somebody_edited_says_nothing() {
        let said = Statement::of(&[problem("a", "why")]).object(CONDITION, None, "then");
        let edits: [fn(&mut ConfigurationStateStatus); 5] = [
            |status| status.result = Some(ConfigurationResult::Valid),
            |status| status.error_summary.clear(),
            |status| status.conditions.clear(),
            |status| status.conditions[0].status = ConditionStatus::True,
            |status| status.conditions.push(Condition::default()),
        ];
        for edit in edits {
            let mut edited = said.clone();
            edit(&mut edited);
            assert_eq!(Statement::read(CONDITION, edited), None);
        }
        assert_eq!(Statement::read("poolReconcilerValid", said), None);
    }

    #[test]
    fn a_condition_keeps_its_time_until_it_turns() {
        let wrong = Statement::of(&[problem("a", "why")]);
        let present = Statement::read(CONDITION, wrong.object(CONDITION, None, "then"));
        let since = |statement: &Statement| {
            let status = statement.object(CONDITION, present.as_ref(), "now");
            status.conditions[0].last_transition_time.clone()
        };
        assert_eq!(since(&Statement::of(&[problem("b", "why")])), "then");
        assert_eq!(since(&Statement::default()), "now");
    }
}
