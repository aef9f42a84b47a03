//! What the controller's ConfigurationState says, and what it should say. Pure.

use ferrolb_crds::api;
use ferrolb_crds::validate::Statement;
use serde_json::Value;

/// Keeps the controller's ConfigurationState as it should be.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// `None`: the configuration has not been judged.
    wanted: Option<Statement>,
    /// `None`: nobody has looked what is there.
    seen: Option<Seen>,
    is_in_flight: bool,
}

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    version: u64,
    there: There,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum There {
    Nothing,
    /// An object, and what it says, if it says something that is understood.
    Object(Option<Statement>),
}

/// The next step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Make an object that says nothing yet.
    Make,
    /// Have it say something else, by a merge patch of its status.
    Say(Value),
}

impl Seen {
    /// Nothing, as of a version.
    pub(crate) fn nothing(version: &str) -> Self {
        Self {
            version: number(version),
            there: There::Nothing,
        }
    }

    /// An object of a version, with this status.
    pub(crate) fn object(version: &str, status: &Value) -> Self {
        let status = serde_json::from_value(status.clone()).ok();
        let said = status.and_then(|status| Statement::read(CONDITION, status));
        Self {
            version: number(version),
            there: There::Object(said),
        }
    }
}

impl Verdict {
    /// This is what is to be said.
    pub(crate) fn want(&mut self, statement: Statement) {
        self.wanted = Some(statement);
    }

    /// This is there; what is older than what is known does not count.
    pub(crate) fn see(&mut self, seen: Seen) {
        let known = self.seen.as_ref();
        if known.is_none_or(|known| known.version <= seen.version) {
            self.seen = Some(seen);
        }
    }

    /// What is to be written now; whoever takes it says what came of it.
    #[must_use]
    pub(crate) fn poll(&mut self, now: &str) -> Option<Step> {
        let wanted = self.wanted.as_ref().filter(|_| !self.is_in_flight)?;
        let step = match &self.seen.as_ref()?.there {
            There::Nothing => Step::Make,
            There::Object(Some(said)) if said.says_the_same(wanted) => return None,
            There::Object(said) => Step::Say(wanted.status(CONDITION, said.as_ref(), now)),
        };
        self.is_in_flight = true;
        Some(step)
    }

    /// It was written, and this is there; or it was not.
    pub(crate) fn handle_written(&mut self, seen: Option<Seen>) {
        self.is_in_flight = false;
        if let Some(seen) = seen {
            self.see(seen);
        }
    }
}

/// The versions of one collection are numbers that grow.
fn number(version: &str) -> u64 {
    version.parse().unwrap_or_default()
}

const CONDITION: &str = api::CONDITION_POOLS_VALID;

#[cfg(test)]
mod tests {
    use ferrolb_crds::validate::{ObjectRef, Problem};
    use serde_json::json;

    use super::*;

    fn wrong(message: &str) -> Statement {
        let object = ObjectRef {
            kind: "IPAddressPool".to_owned(),
            namespace: "metallb-system".to_owned(),
            name: "pool".to_owned(),
        };
        Statement::of(&[Problem::new(object, "spec.addresses[0]", message)])
    }

    /// Does what the verdict says on a server that does not fail, until there is nothing to do.
    fn settle(verdict: &mut Verdict, version: &mut u64, now: &str) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some(step) = verdict.poll(now) {
            *version += 1;
            let status = match &step {
                Step::Make => Value::Null,
                Step::Say(status) => status.clone(),
            };
            verdict.handle_written(Some(Seen::object(&version.to_string(), &status)));
            steps.push(step);
        }
        steps
    }

    #[test]
    fn nothing_is_written_before_it_is_known_what_is_there_and_what_is_wanted() {
        let mut verdict = Verdict::default();
        verdict.want(Statement::default());
        assert_eq!(verdict.poll("now"), None);
        let mut verdict = Verdict::default();
        verdict.see(Seen::nothing("1"));
        assert_eq!(verdict.poll("now"), None);
    }

    #[test]
    fn it_is_made_and_then_says_what_is_wanted_and_then_nothing_is_written() {
        let mut verdict = Verdict::default();
        let mut version = 1;
        verdict.see(Seen::nothing("1"));
        verdict.want(Statement::default());
        let valid = Statement::default().status(CONDITION, None, "then");
        let steps = settle(&mut verdict, &mut version, "then");
        assert_eq!(steps, [Step::Make, Step::Say(valid)]);
        verdict.want(Statement::default());
        assert_eq!(settle(&mut verdict, &mut version, "now"), []);
        verdict.want(wrong("why"));
        let invalid = wrong("why").status(CONDITION, None, "now");
        assert_eq!(
            settle(&mut verdict, &mut version, "now"),
            [Step::Say(invalid)]
        );
    }

    #[test]
    fn what_somebody_deletes_or_edits_is_restored() {
        let mut verdict = Verdict::default();
        let mut version = 1;
        verdict.see(Seen::nothing("1"));
        verdict.want(wrong("why"));
        settle(&mut verdict, &mut version, "then");
        let said = wrong("why").status(CONDITION, None, "now");
        verdict.see(Seen::nothing("8"));
        let mut version = 8;
        let steps = settle(&mut verdict, &mut version, "now");
        assert_eq!(steps, [Step::Make, Step::Say(said.clone())]);
        let mut edited = said.clone();
        edited["errorSummary"] = json!("all is well");
        verdict.see(Seen::object("20", &edited));
        assert_eq!(settle(&mut verdict, &mut 20, "now"), [Step::Say(said)]);
    }

    #[test]
    fn what_is_heard_late_does_not_count() {
        let mut verdict = Verdict::default();
        verdict.see(Seen::nothing("1"));
        verdict.want(Statement::default());
        let mut version = 5;
        settle(&mut verdict, &mut version, "now");
        verdict.see(Seen::nothing("4"));
        assert_eq!(verdict.poll("now"), None);
    }

    #[test]
    fn one_step_at_a_time_and_again_when_it_fails() {
        let mut verdict = Verdict::default();
        verdict.see(Seen::nothing("1"));
        verdict.want(Statement::default());
        assert_eq!(verdict.poll("now"), Some(Step::Make));
        assert_eq!(verdict.poll("now"), None);
        verdict.handle_written(None);
        assert_eq!(verdict.poll("now"), Some(Step::Make));
    }
}
