//! What is said about a Service as events: on a change of decision only, and of a Service that is
//! refused again before the API server forgets it. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ferrolb_crds::api;
use ferrolb_crds::model::{Service, ServiceKey};
use ferrolb_crds::pace::Pace;

use crate::decide::Reason;
use crate::reconcile::Status;

/// Whether something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Nothing is.
    Normal,
    /// Somebody should look.
    Warning,
}

/// An event on a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which Service.
    pub service: ServiceKey,
    /// Whether something is wrong.
    pub severity: Severity,
    /// In one word, as MetalLB has it.
    pub reason: String,
    /// In a sentence.
    pub message: String,
}

/// What to say, when.
#[derive(Debug)]
pub struct Events {
    queue: VecDeque<Event>,
    /// Services that are refused: what was said, and when it is said again.
    refused: BTreeMap<ServiceKey, (Instant, Event)>,
    /// The same by time.
    repeats: BTreeSet<(Instant, ServiceKey)>,
    pace: Pace,
}

impl Events {
    /// With nothing to say.
    pub fn new(now: Instant) -> Self {
        Self {
            queue: VecDeque::new(),
            refused: BTreeMap::new(),
            repeats: BTreeSet::new(),
            pace: Pace::new(now, RATE),
        }
    }

    /// The status of a Service is about to become another one. `loss` says why it lost what it held.
    pub fn handle(
        &mut self,
        now: Instant,
        service: &Service,
        before: Option<&Status>,
        after: &Status,
        loss: Option<&str>,
    ) {
        let key = &service.key;
        let none = Status::default();
        let before = before.unwrap_or(&none);
        if before.ingress != after.ingress {
            for annotation in &service.requests.deprecated {
                self.say(deprecated(key, annotation));
            }
        }
        self.forget(key);
        if let Some(event) = loss.and_then(|why| cleared(key, before, after, why)) {
            self.say(event);
        }
        let said = said(key, before, after);
        if let Some(event) = &said {
            self.say(event.clone());
        }
        self.remember(now, key, after);
    }

    /// A Service that was refused before this program started: it was said then.
    pub fn adopt(&mut self, now: Instant, key: &ServiceKey, status: &Status) {
        self.remember(now, key, status);
    }

    fn remember(&mut self, now: Instant, key: &ServiceKey, status: &Status) {
        if status.ingress.is_empty() && !status.reason.is_empty() {
            let at = now + REPEAT;
            self.refused.insert(key.clone(), (at, refusal(key, status)));
            self.repeats.insert((at, key.clone()));
        }
    }

    /// The Service is gone, or not ours.
    pub fn forget(&mut self, key: &ServiceKey) {
        if let Some((at, _)) = self.refused.remove(key) {
            self.repeats.remove(&(at, key.clone()));
        }
    }

    fn say(&mut self, event: Event) {
        if self.queue.len() < QUEUE {
            self.queue.push_back(event);
        }
    }

    /// The next one to say now.
    #[must_use]
    pub fn poll(&mut self, now: Instant) -> Option<Event> {
        if !self.pace.has_one(now) {
            return None;
        }
        let event = self.queue.pop_front()?;
        self.pace.spend();
        Some(event)
    }

    /// Addresses are being written, which come first.
    pub fn work(&mut self, now: Instant) {
        self.pace.work(now);
    }

    /// When to [wake up](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let next = (!self.queue.is_empty()).then(|| self.pace.next());
        let repeat = self.repeats.first().map(|(at, _)| *at);
        next.into_iter().chain(repeat).min()
    }

    /// Time has passed: what is true still is said again.
    pub fn handle_timeout(&mut self, now: Instant) {
        while self.repeats.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, key)) = self.repeats.pop_first() else {
                return;
            };
            let Some((at, event)) = self.refused.get_mut(&key) else {
                continue;
            };
            *at = now + REPEAT;
            let event = event.clone();
            self.repeats.insert((now + REPEAT, key));
            self.say(event);
        }
    }
}

fn said(key: &ServiceKey, before: &Status, after: &Status) -> Option<Event> {
    if after.ingress.is_empty() {
        let is_same = before.ingress.is_empty()
            && (&before.reason, &before.message) == (&after.reason, &after.message);
        return (!is_same).then(|| refusal(key, after));
    }
    let is_new = |address: &&IpAddr| !before.ingress.contains(address);
    let new: Vec<IpAddr> = after.ingress.iter().filter(is_new).copied().collect();
    let has_kept = new.len() < after.ingress.len();
    let is_good = after.reason == Reason::IpAllocated.as_str();
    match (new.as_slice(), has_kept) {
        ([], _) if is_good || before.reason == after.reason => None,
        ([], _) => Some(event(key, severity(after), &after.reason, &after.message)),
        ([additional], true) => {
            let message = format!("Assigned additional IP {:?}", additional.to_string());
            Some(event(key, Severity::Normal, IP_ALLOCATED, &message))
        }
        (new, _) => {
            let quoted: Vec<String> = new.iter().map(|ip| format!("\"{ip}\"")).collect();
            let message = format!("Assigned IP [{}]", quoted.join(" "));
            Some(event(key, Severity::Normal, IP_ALLOCATED, &message))
        }
    }
}

fn cleared(key: &ServiceKey, before: &Status, after: &Status, why: &str) -> Option<Event> {
    let is_kept = |address| after.ingress.contains(address);
    let has_lost = before.ingress.iter().any(|address| !is_kept(address));
    has_lost.then(|| event(key, Severity::Normal, "ClearAssignment", why))
}

fn refusal(key: &ServiceKey, status: &Status) -> Event {
    if status.reason == Reason::NotEnoughClusterIps.as_str() {
        return event(
            key,
            Severity::Warning,
            "not enough clusterips",
            &status.message,
        );
    }
    let message = format!("Failed to allocate IP for \"{key}\": {}", status.message);
    event(key, Severity::Warning, "AllocationFailed", &message)
}

fn deprecated(key: &ServiceKey, annotation: &str) -> Event {
    let current = format!("{}/", api::GROUP);
    let current = annotation.replace(api::DEPRECATED_ANNOTATION_PREFIX, &current);
    let message = format!("annotation {annotation} is deprecated: use {current}");
    event(key, Severity::Warning, "deprecatedAnnotation", &message)
}

fn severity(status: &Status) -> Severity {
    if status.reason == Reason::LoadBalancerFailed.as_str() {
        Severity::Warning
    } else {
        Severity::Normal
    }
}

fn event(key: &ServiceKey, severity: Severity, reason: &str, message: &str) -> Event {
    Event {
        service: key.clone(),
        severity,
        reason: reason.to_owned(),
        message: message.to_owned(),
    }
}

const IP_ALLOCATED: &str = "IPAllocated";

/// The API server forgets an event after an hour.
const REPEAT: Duration = Duration::from_secs(50 * 60);

/// Events a second in the long run, and at once.
const RATE: u32 = 50;

/// More than these would be about things long past.
const QUEUE: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{ips, now, service};
    use ferrolb_crds::model::Hints;

    fn status(addresses: &[&str], reason: &str, message: &str) -> Status {
        Status {
            pool: None,
            ingress: ips(addresses),
            hints: Hints::default(),
            reason: reason.to_owned().into(),
            message: message.into(),
        }
    }

    /// Reasons and messages of what is said at a change.
    fn change(
        before: Option<&Status>,
        after: &Status,
        loss: Option<&str>,
    ) -> Vec<(String, String)> {
        let now = now();
        let mut events = Events::new(now);
        events.handle(now, &service("s"), before, after, loss);
        std::iter::from_fn(|| events.poll(now))
            .map(|event| (event.reason, event.message))
            .collect()
    }

    fn pair(reason: &str, message: &str) -> (String, String) {
        (reason.to_owned(), message.to_owned())
    }

    #[test]
    fn what_is_given_is_said_in_the_words_of_metallb() {
        let one = status(&["10.0.0.1"], "IPAllocated", "");
        let two = status(&["10.0.0.1", "fc00::1"], "IPAllocated", "");
        assert_eq!(
            change(None, &one, None),
            [pair("IPAllocated", "Assigned IP [\"10.0.0.1\"]")]
        );
        assert_eq!(
            change(None, &two, None),
            [pair(
                "IPAllocated",
                "Assigned IP [\"10.0.0.1\" \"fc00::1\"]"
            )]
        );
        assert_eq!(
            change(Some(&one), &two, None),
            [pair("IPAllocated", "Assigned additional IP \"fc00::1\"")]
        );
        assert_eq!(change(Some(&one), &one, None), []);
    }

    #[test]
    fn what_is_taken_is_said_with_the_reason() {
        let before = status(&["10.0.0.1"], "IPAllocated", "");
        let after = status(&["10.0.9.1"], "IPAllocated", "");
        assert_eq!(
            change(Some(&before), &after, Some("10.0.0.1 is in no pool")),
            [
                pair("ClearAssignment", "10.0.0.1 is in no pool"),
                pair("IPAllocated", "Assigned IP [\"10.0.9.1\"]"),
            ]
        );
    }

    #[test]
    fn a_refusal_is_said_once_and_again_before_it_is_forgotten() {
        let start = now();
        let mut events = Events::new(start);
        let refused = status(&[], "AllocationFailed", "no available IPs");
        let service = service("s");
        events.handle(start, &service, None, &refused, None);
        let event = events.poll(start).unwrap();
        assert_eq!(event.severity, Severity::Warning);
        assert_eq!(
            event.message,
            "Failed to allocate IP for \"default/s\": no available IPs"
        );
        events.handle(start, &service, Some(&refused), &refused, None);
        assert_eq!(events.poll(start), None);
        let later = events.poll_timeout().unwrap();
        assert_eq!(later, start + REPEAT);
        events.handle_timeout(later);
        assert_eq!(events.poll(later), Some(event));
        events.forget(&service.key);
        assert_eq!(events.poll_timeout(), None);
    }

    #[test]
    fn too_many_at_once_take_their_time() {
        let start = now();
        let mut events = Events::new(start);
        for number in 0..200 {
            let service = service(&format!("s{number}"));
            let given = status(&["10.0.0.1"], "IPAllocated", "");
            events.handle(start, &service, None, &given, None);
        }
        assert_eq!(std::iter::from_fn(|| events.poll(start)).count(), 20);
        let next = events.poll_timeout().unwrap();
        assert!(next > start && next <= start + Duration::from_millis(21));
        let later = start + Duration::from_millis(200);
        assert_eq!(std::iter::from_fn(|| events.poll(later)).count(), 10);
    }

    #[test]
    fn a_deprecated_annotation_is_named_when_the_service_changes() {
        let mut service = service("s");
        let annotation = "metallb.universe.tf/address-pool".to_owned();
        service.requests.deprecated.insert(annotation);
        let now = now();
        let mut events = Events::new(now);
        let given = status(&["10.0.0.1"], "IPAllocated", "");
        events.handle(now, &service, None, &given, None);
        let event = events.poll(now).unwrap();
        assert_eq!(event.reason, "deprecatedAnnotation");
        assert!(event.message.contains("metallb.io/address-pool"));
    }
}
