//! What the controller's ConfigurationState says, and what it should say. Pure.
//!
//! Somebody else may insist on other words (MetalLB's controller while both run), or the definition
//! may not keep ours: what is said and does not stay is said again later and later.

use std::time::{Duration, Instant};

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
    /// When the same may be said again, and how long was waited for that.
    rest: Option<(Instant, Duration)>,
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
        if self.wanted.as_ref() != Some(&statement) {
            self.rest = None;
        }
        self.wanted = Some(statement);
    }

    /// This is there; what is older than what is known does not count.
    pub(crate) fn see(&mut self, seen: Seen) {
        let known = self.seen.as_ref();
        if known.is_none_or(|known| known.version <= seen.version) {
            self.seen = Some(seen);
        }
    }

    /// What is to be written now; whoever takes it says what came of it. `text` is the time as it is
    /// written into objects.
    #[must_use]
    pub(crate) fn poll(&mut self, now: Instant, text: &str) -> Option<Step> {
        let step = self.step(text)?;
        if let Step::Say(_) = &step {
            let last = self.rest.map_or(Duration::ZERO, |(until, pause)| {
                // Who has let it be for so long again has given in.
                let is_over = now.saturating_duration_since(until) > LONGEST_PAUSE;
                if is_over { Duration::ZERO } else { pause }
            });
            if self.rest.is_some_and(|(until, _)| now < until) {
                return None;
            }
            let pause = (2 * last).clamp(FIRST_PAUSE, LONGEST_PAUSE);
            self.rest = Some((now + pause, pause));
        }
        self.is_in_flight = true;
        Some(step)
    }

    /// When there may be something to write that there is not yet.
    #[must_use]
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let (until, _) = self.rest?;
        self.step("").map(|_| until)
    }

    fn step(&self, text: &str) -> Option<Step> {
        let wanted = self.wanted.as_ref().filter(|_| !self.is_in_flight)?;
        match &self.seen.as_ref()?.there {
            There::Nothing => Some(Step::Make),
            There::Object(Some(said)) if said.says_the_same(wanted) => None,
            There::Object(said) => Some(Step::Say(wanted.status(CONDITION, said.as_ref(), text))),
        }
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

/// How long what was said has to stand before it is said again, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

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
    fn settle(verdict: &mut Verdict, version: &mut u64, text: &str) -> Vec<Step> {
        let mut steps = Vec::new();
        // An hour later each time.
        let now = start() + Duration::from_secs(3600 * *version);
        while let Some(step) = verdict.poll(now, text) {
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

    #[expect(clippy::disallowed_methods, reason = "the start of a virtual clock")]
    fn start() -> Instant {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *START.get_or_init(Instant::now)
    }

    #[test]
    fn who_insists_on_other_words_is_answered_later_and_later() {
        let mut verdict = Verdict::default();
        verdict.want(wrong("why"));
        let mut now = start();
        let mut said = Vec::new();
        for round in 0..100_000 {
            // Somebody else writes at once, each time.
            let other = json!({"result": "Valid", "errorSummary": "all is well"});
            verdict.see(Seen::object(&(3 * round + 1).to_string(), &other));
            if let Some(step) = verdict.poll(now, "now") {
                assert!(matches!(step, Step::Say(_)));
                verdict.handle_written(None);
                said.push(now);
            }
            now = verdict.poll_timeout().unwrap().max(now);
            if now > start() + Duration::from_secs(3600) {
                break;
            }
        }
        assert!(
            (9..25).contains(&said.len()),
            "{} times in an hour",
            said.len()
        );
        assert_eq!(said[1] - said[0], FIRST_PAUSE);
        // Something else is to be said: at once.
        verdict.want(wrong("another reason"));
        assert!(verdict.poll(now, "now").is_some());
    }

    #[test]
    fn nothing_is_written_before_it_is_known_what_is_there_and_what_is_wanted() {
        let mut verdict = Verdict::default();
        verdict.want(Statement::default());
        assert_eq!(verdict.poll(start(), "now"), None);
        let mut verdict = Verdict::default();
        verdict.see(Seen::nothing("1"));
        assert_eq!(verdict.poll(start(), "now"), None);
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
        assert_eq!(verdict.poll(start(), "now"), None);
    }

    #[test]
    fn one_step_at_a_time_and_again_when_it_fails() {
        let mut verdict = Verdict::default();
        verdict.see(Seen::nothing("1"));
        verdict.want(Statement::default());
        assert_eq!(verdict.poll(start(), "now"), Some(Step::Make));
        assert_eq!(verdict.poll(start(), "now"), None);
        verdict.handle_written(None);
        assert_eq!(verdict.poll(start(), "now"), Some(Step::Make));
    }
}
