//! The office of the one who decides: how it is come by, what is done in it, and how it is lost.
//!
//! ```text
//!         elected               has seen what its predecessor wrote
//! Waiting ───────▶ Candidate ──────────────────────────────────────▶ Active
//!    ▲                 │                                               │
//!    └─────────────────┴─────────────────── deposed ───────────────────┘
//! ```
//!
//! Who is not elected keeps what it has seen and decides nothing. Who is elected counts as taken what
//! its predecessor may yet write.
//!
//! Pure. After each `handle`, `take`, `prepare` or `handle_timeout` poll until `None`, then ask for the
//! deadline.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferrolb_crds::model::ServiceKey;
use ferrolb_crds::source::Change;
use ferrolb_crds::source::kubernetes::{Batch, Observed, Reached};

use crate::events::{Event, Events};
use crate::lease::{self, Draft, Election, Log};
use crate::ledger::Report;
use crate::publication::{self, Patch, Publication, Refusal, Remnant, Seen};
use crate::reconcile::{Output as Decision, Reconciler, Settings, Status};

/// Where batches come from.
pub trait Source {
    /// Asks for a list of the Services that is begun now; [`Reached::round`] tells when it is complete.
    fn relist(&self) -> u64;
    /// Everything there is, for somebody who knows nothing yet.
    fn snapshot(&self) -> Vec<Change>;
}

/// How often this controller has been active.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Term(u64);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The Lease was read, or written, or not.
    Lease(lease::Input),
    /// What became of a patch of this term: the Service as it is thereby, or why it is not.
    Patched(Term, Box<Patch>, Result<Box<Observed>, Refusal>),
    /// This could not be taken away, and is to be tried again.
    Remains(Remnant),
    /// The program ends: what is under way is finished, and the Lease given up.
    Resign,
}

/// What to do or to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Read the Lease.
    Read,
    /// Write it.
    Write(Draft),
    /// Patch a Service.
    Patch(Term, Patch),
    /// Another controller is active.
    StandingBy(String),
    /// This one is.
    Ready,
    /// It is not any more, and did not want that.
    Deposed,
    /// The Lease is given up, or was never held.
    Resigned,
    /// The Lease cannot be read or written.
    Failing(String),
    /// What a Service's status is to say, and why it lost what it held.
    Decided(ServiceKey, Arc<Status>, Option<String>),
    /// How the writing fares.
    Report(Report),
}

/// Takes part in the election, and decides when elected.
#[derive(Debug)]
pub struct Office {
    settings: Settings,
    election: Election,
    state: State,
    /// The Services as they were last seen, while somebody else decides.
    seen: BTreeMap<ServiceKey, Seen>,
    reached: Reached,
    /// The highest resourceVersion of a change that was seen.
    through: u64,
    term: Term,
    is_synced: bool,
    has_source: bool,
    is_standing_by: bool,
    is_ending: bool,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
enum State {
    /// Somebody else decides, or nobody.
    Waiting,
    /// Elected, and waiting until it has seen what its predecessor wrote.
    Candidate(Log, Freshness),
    /// The one who decides.
    Active(Box<Active>),
}

#[derive(Debug, Clone, Copy)]
enum Freshness {
    /// Everything was listed after the election.
    Given,
    /// The Services have to be seen up to this resourceVersion.
    Version(u64),
    /// They have to be listed anew; in this round, if that is known already.
    List(Option<u64>),
}

#[derive(Debug)]
struct Active {
    reconciler: Reconciler,
    publication: Publication,
    events: Events,
    /// Patches under way.
    patching: usize,
    gathering: Gathering,
    /// Something waits until the log is written again, and for nothing else.
    is_gathering: bool,
}

/// When the log is written again: what else is decided meanwhile goes along.
///
/// The first Service of many waits for nothing. The longer one log follows on the other the longer
/// they gather: thousands of Services cost few writes, however slowly they come.
#[derive(Debug)]
struct Gathering {
    next: Instant,
    time: Duration,
}

impl Gathering {
    fn new(now: Instant) -> Self {
        Self {
            next: now,
            time: Duration::ZERO,
        }
    }

    /// The log is written now.
    fn begin(&mut self, now: Instant) {
        let follows = now < self.next + self.time;
        self.time = match follows {
            true => (self.time * 2).min(LONGEST_GATHERING),
            false => GATHERING,
        };
        self.next = now + self.time;
    }
}

impl Office {
    /// Somebody with this identity, which nobody else has: see [`Election::new`].
    pub fn new(settings: Settings, identity: String, now: Instant) -> Self {
        Self {
            settings,
            election: Election::new(identity, now),
            state: State::Waiting,
            seen: BTreeMap::new(),
            reached: Reached::default(),
            through: 0,
            term: Term::default(),
            is_synced: false,
            has_source: false,
            is_standing_by: false,
            is_ending: false,
            outputs: VecDeque::new(),
        }
    }

    /// Whether it is known who is active. What is listed by then is as new as it has to be.
    pub fn knows_its_place(&self) -> bool {
        self.election.holder().is_some()
    }

    /// Something happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Lease(input) => self.election.handle(now, input),
            // What was decided in an earlier term is judged anew in each.
            Input::Patched(term, _, _) if term != self.term => {}
            Input::Patched(_, patch, result) => self.handle_patched(now, &patch, result),
            Input::Remains(remnant) => {
                if let State::Active(active) = &mut self.state {
                    active.publication.keep_remnant(remnant);
                }
            }
            Input::Resign => self.is_ending = true,
        }
        self.go_on(now);
    }

    fn handle_patched(
        &mut self,
        now: Instant,
        patch: &Patch,
        result: Result<Box<Observed>, Refusal>,
    ) {
        let State::Active(active) = &mut self.state else {
            return;
        };
        active.patching = active.patching.saturating_sub(1);
        active
            .publication
            .handle_patched(now, patch, result.map(|observed| *observed));
        let reports = std::iter::from_fn(|| active.publication.poll_report());
        self.outputs.extend(reports.map(Output::Report));
    }

    /// The source told this.
    pub fn take(&mut self, now: Instant, batch: Batch) {
        self.is_synced |= batch.changes.last() == Some(&Change::Synced);
        self.reached = batch.reached;
        let versions = batch.services.iter().map(|(_, observed)| match observed {
            Some(observed) => publication::number(&observed.version),
            None => batch.reached.version,
        });
        self.through = versions.fold(self.through, u64::max);
        match &mut self.state {
            State::Active(active) => {
                active.publication.reach(self.through);
                let decided = active.take(now, batch.changes, batch.services);
                self.outputs.extend(decided);
            }
            State::Waiting | State::Candidate(..) => {
                for (key, observed) in batch.services {
                    match observed {
                        Some(observed) => {
                            let known = self.seen.get(&key).map(|seen| &seen.status);
                            let seen = Seen::new(*observed, known);
                            self.seen.insert(key, seen);
                        }
                        None => drop(self.seen.remove(&key)),
                    }
                }
            }
        }
        self.go_on(now);
    }

    /// Who is elected begins to decide as soon as it has seen enough.
    pub fn prepare(&mut self, now: Instant, source: &impl Source) {
        self.has_source = true;
        let State::Candidate(log, freshness) = &mut self.state else {
            return;
        };
        let is_fresh = match freshness {
            Freshness::Given => true,
            Freshness::Version(version) => self.reached.version >= *version,
            Freshness::List(round) => {
                let round = *round.get_or_insert_with(|| source.relist());
                self.reached.round >= round
            }
        };
        if !self.is_synced || self.is_ending {
            return;
        }
        if !is_fresh {
            // What carried that version may be gone, and then no watch ever tells of it.
            if let Freshness::Version(_) = freshness {
                *freshness = Freshness::List(Some(source.relist()));
            }
            return;
        }
        let seen = std::mem::take(&mut self.seen);
        let mut publication = Publication::new(seen, std::mem::take(log));
        publication.reach(self.through);
        self.term.0 += 1;
        let mut active = Box::new(Active::new(now, self.settings.clone(), publication));
        let decided = active.begin(now, source.snapshot());
        self.outputs.extend(decided);
        self.outputs.push_back(Output::Ready);
        self.state = State::Active(active);
        self.go_on(now);
    }

    /// The next thing to do or to tell.
    #[must_use]
    pub fn poll(&mut self) -> Option<Output> {
        let next = self.outputs.pop_front();
        if next.is_none() {
            // The start leaves room for every Service at once.
            self.outputs.shrink_to(ROOM);
        }
        next
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let election = self.election.poll_timeout().map(|(at, _)| at);
        let active = self.active();
        let publication = active.and_then(|active| active.publication.poll_timeout());
        let gathering = active.filter(|active| active.is_gathering);
        let log = gathering.map(|active| active.gathering.next);
        election.into_iter().chain(publication).chain(log).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.election.handle_timeout(now);
        if let State::Active(active) = &mut self.state {
            active.publication.handle_timeout(now);
            active.events.handle_timeout(now);
            active.is_gathering &= now < active.gathering.next;
        }
        self.go_on(now);
    }

    fn active(&self) -> Option<&Active> {
        match &self.state {
            State::Active(active) => Some(active),
            State::Waiting | State::Candidate(..) => None,
        }
    }

    /// Whether this is the active controller, and no address waits.
    pub fn is_quiet(&self) -> bool {
        let is_quiet = |active: &Active| active.patching == 0 && active.publication.is_idle();
        self.active().is_some_and(is_quiet)
    }

    /// What the active controller has decided.
    pub fn reconciler(&self) -> Option<&Reconciler> {
        self.active().map(|active| &active.reconciler)
    }

    /// The next event to write, with the UID of its Service.
    #[must_use]
    pub fn poll_event(&mut self, now: Instant) -> Option<(Event, String)> {
        let State::Active(active) = &mut self.state else {
            return None;
        };
        loop {
            let event = active.events.poll(now)?;
            if let Some(seen) = active.publication.seen(&event.service) {
                return Some((event, seen.uid.to_string()));
            }
        }
    }

    /// The next thing to take away from a Service that is no load balancer any more. It has no address
    /// and gets none by that, so that it may come late, or be done by nobody.
    #[must_use]
    pub fn poll_remnant(&mut self) -> Option<Remnant> {
        match &mut self.state {
            State::Active(active) => active.publication.poll_remnant(),
            State::Waiting | State::Candidate(..) => None,
        }
    }

    /// When there may be an [event](Self::poll_event).
    #[must_use]
    pub fn poll_event_timeout(&self) -> Option<Instant> {
        self.active()?.events.poll_timeout()
    }

    fn go_on(&mut self, now: Instant) {
        self.elect();
        if let State::Active(active) = &mut self.state
            && let Some(log) = active.publication.poll_revision()
        {
            self.election.revise(log);
        }
        if self.is_ending {
            if self.active().is_none_or(|active| active.patching == 0) {
                self.election.handle(now, lease::Input::Resign);
            }
        } else {
            self.publish(now);
        }
        self.elect();
    }

    fn elect(&mut self) {
        while let Some(step) = self.election.poll() {
            match step {
                lease::Output::Read => self.outputs.push_back(Output::Read),
                lease::Output::Write(draft) => self.outputs.push_back(Output::Write(draft)),
                lease::Output::Elected(log) => self.be_candidate(log),
                lease::Output::Deposed => self.stand_by(),
                lease::Output::Logged(number) => {
                    if let State::Active(active) = &mut self.state {
                        active.publication.handle_logged(number);
                    }
                }
                lease::Output::Failing(cause) => self.outputs.push_back(Output::Failing(cause)),
                lease::Output::Resigned => self.outputs.push_back(Output::Resigned),
            }
        }
        let holder = self.election.holder();
        if let Some(holder) = holder.filter(|_| !self.election.is_leading())
            && !std::mem::replace(&mut self.is_standing_by, true)
        {
            let told = Output::StandingBy(holder.to_owned());
            self.outputs.push_back(told);
        }
    }

    fn be_candidate(&mut self, log: Log) {
        self.is_standing_by = false;
        let freshness = match (self.has_source, log.through) {
            (false, _) => Freshness::Given,
            (true, 0) => Freshness::List(None),
            (true, version) => Freshness::Version(version),
        };
        self.state = State::Candidate(log, freshness);
    }

    fn stand_by(&mut self) {
        if let State::Active(active) = std::mem::replace(&mut self.state, State::Waiting) {
            self.seen = active.publication.into_seen();
        }
        if !self.is_ending {
            self.outputs.push_back(Output::Deposed);
        }
    }

    /// Sends what can be sent, unless somebody else may be active by now.
    fn publish(&mut self, now: Instant) {
        let State::Active(active) = &mut self.state else {
            return;
        };
        if !self.election.is_sure(now) {
            return;
        }
        if active.gathering.next <= now
            && let Some(log) = active.publication.poll_log(LOGGED)
        {
            let number = self.election.log(log);
            active.publication.set_number(number);
            active.gathering.begin(now);
        }
        let room = CONCURRENT - active.patching.min(CONCURRENT);
        let patches = active.publication.poll(room);
        active.is_gathering = now < active.gathering.next && active.publication.awaits_log();
        active.patching += patches.len();
        if !patches.is_empty() {
            active.events.work(now);
        }
        self.outputs.extend(
            patches
                .into_iter()
                .map(|patch| Output::Patch(self.term, patch)),
        );
    }
}

impl Active {
    fn new(now: Instant, settings: Settings, publication: Publication) -> Self {
        Self {
            reconciler: Reconciler::new(settings, publication.statuses().clone()),
            events: Events::new(now),
            publication,
            patching: 0,
            gathering: Gathering::new(now),
            is_gathering: false,
        }
    }

    /// Adopts everything that is held, and what the one before may yet write.
    fn begin(&mut self, now: Instant, mut all: Vec<Change>) -> Vec<Output> {
        let adopted = self.publication.adopted();
        for change in &mut all {
            if let Change::Service(key, Some(service)) = change
                && let Some(intent) = adopted.get(key)
            {
                let service = Arc::make_mut(service);
                service.ingress.clone_from(&intent.addresses);
            }
        }
        for (key, status) in self.publication.statuses() {
            self.events.adopt(now, key, status);
        }
        let decided = self.decide(now, all);
        for key in self.publication.forced() {
            if let Some(status) = self.reconciler.status_of(&key).cloned() {
                self.publication.want(Decision::Write(key, status));
            }
        }
        decided
    }

    fn take(
        &mut self,
        now: Instant,
        changes: Vec<Change>,
        services: Vec<(ServiceKey, Option<Box<Observed>>)>,
    ) -> Vec<Output> {
        for (key, observed) in services {
            if observed.is_none() {
                self.events.forget(&key);
            }
            let desired = self.reconciler.status_of(&key);
            let observed = observed.map(|observed| *observed);
            self.publication.observe(now, key, observed, desired);
        }
        self.decide(now, changes)
    }

    fn decide(&mut self, now: Instant, changes: Vec<Change>) -> Vec<Output> {
        self.reconciler.apply(now, changes);
        let mut decided = Vec::new();
        while let Some(decision) = self.reconciler.poll() {
            decided.extend(self.tell(now, &decision));
            self.publication.want(decision);
        }
        decided
    }

    fn tell(&mut self, now: Instant, decision: &Decision) -> Option<Output> {
        let (key, status) = match decision {
            Decision::Write(key, status) => (key, status),
            Decision::Remove(key) => {
                self.events.forget(key);
                return None;
            }
        };
        let lost = self.reconciler.loss(key);
        if let Some(service) = self.reconciler.service(key) {
            let before = self.publication.seen(key).map(|seen| &*seen.status);
            self.events.handle(now, service, before, status, lost);
        }
        let lost = lost.map(str::to_owned);
        Some(Output::Decided(key.clone(), status.clone(), lost))
    }
}

/// How long after a log that followed on none the next is written at the earliest.
const GATHERING: Duration = Duration::from_millis(25);

/// The same after many: five writes a second.
const LONGEST_GATHERING: Duration = Duration::from_millis(200);

/// Outputs that there is always room for.
const ROOM: usize = 256;

/// Patches under way at once.
const CONCURRENT: usize = 32;

/// Patches waiting for the log or for their turn: what stands in the Lease has to fit into it.
const LOGGED: usize = 512;

#[cfg(test)]
mod tests;
