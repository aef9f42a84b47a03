//! The composition root for a cluster: watches, election, decisions, and the writes that follow.
//!
//! ```text
//! watches ─▶ Service statuses seen ──┐
//!    │                               ▼
//!    └─▶ reconcile ─▶ decisions ─▶ publication ─▶ intents in the Lease ─▶ patches of /status
//!            │                                                         └▶ then all reports
//!            └── anew at each election, from what the watches have seen
//! ```
//!
//! Who is not elected keeps the watches warm and decides nothing. Who is elected waits until it has
//! seen everything its predecessor wrote, and counts as taken what that one may yet write.

#![expect(
    clippy::disallowed_methods,
    reason = "composition root: reads the clock, waits, and owns the requests under way"
)]

mod api;
mod pools;

use std::collections::{BTreeMap, BTreeSet};
use std::future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ferrolb_crds::api::Kind as ConfigurationKind;
use ferrolb_crds::model::ServiceKey;
use ferrolb_crds::serve::{self, Pages, Pulse};
use ferrolb_crds::source::Change;
use ferrolb_crds::source::kubernetes::{
    Batch, Kubernetes, Observed, Options, Reached, Role, connect,
};
use ferrolb_crds::validate::Problem;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::events::Events;
use crate::lease::{Election, Input, Lease, Log, Output as Step, Refusal as LeaseRefusal};
use crate::ledger::Report;
use crate::metrics::{self, Snapshot};
use crate::publication::{Patch, Publication, Refusal};
use crate::reconcile::{Output, Reconciler, Settings as Decisions};
use crate::run::Stop;
use api::Server;
use pools::Pools;

/// What `run` in a cluster has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The file that describes the cluster; `None`: this pod's.
    pub kubeconfig: Option<PathBuf>,
    /// The namespace of the metallb.io objects.
    pub namespace: String,
    /// The class of the Services to take.
    pub class: Option<String>,
    /// How long released addresses rest.
    pub quarantine: Duration,
    /// Where it says whether it is well and ready, on every address of its own.
    pub health_port: Option<NonZeroU16>,
    /// Where it tells its metrics, on loopback; `None`: nowhere.
    pub metrics_port: Option<NonZeroU16>,
    /// The pod it runs in.
    pub pod: Option<String>,
    /// The Deployment it belongs to.
    pub deployment: Option<String>,
    /// The Secret with the heartbeat key.
    pub key_secret: String,
}

/// Gives addresses to the Services of a cluster until it is told to stop.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let mut stop = Stop::listen()?;
    let client = connect(settings.kubeconfig.as_deref()).await?;
    let identity = identity(settings.pod.as_deref());
    let options = Options {
        namespace: settings.namespace.clone(),
        role: Role::Controller,
        key_secret: None,
    };
    let server = Server::new(client.clone(), &settings.namespace, &identity);
    let pulse = Pulse::begin();
    let port = settings.health_port;
    let _health = port.map(|port| serve::Server::start(everywhere(port), health(&pulse)));
    let known = Known::default();
    let port = settings.metrics_port;
    let _metrics = port.map(|port| serve::Server::start(here(port), metrics_of(&known)));
    let mut controller = Controller::new(settings, server, identity, pulse, known);
    // Whether there is an active controller is known first: what is listed by then is as new as it
    // has to be.
    while !controller.knows_its_place() {
        tokio::select! {
            () = stop.wait() => return Ok(()),
            () = controller.turn() => {}
        }
    }
    let mut source = Kubernetes::start(client, options);
    loop {
        tokio::select! {
            () = stop.wait() => break,
            batch = source.next() => controller.take(batch),
            () = controller.turn() => {}
        }
        controller.prepare(&source);
        controller.proceed();
    }
    controller.resign().await;
    info!("stopped");
    Ok(())
}

/// Nobody else's: the place first, so that who comes back to it need not wait for itself.
fn identity(pod: Option<&str>) -> String {
    let mut random = fastrand::Rng::with_seed(ring_seed());
    let place = match pod {
        Some(pod) => pod.to_owned(),
        // Several may run on one host: none is the other's past.
        None => format!("{:08x}", random.u32(..)),
    };
    format!("{place}_{:016x}", random.u64(..))
}

fn ring_seed() -> u64 {
    use ring::rand::SecureRandom as _;
    let mut bytes = [0; 8];
    let filled = ring::rand::SystemRandom::new().fill(&mut bytes);
    // Without random numbers the process number has to do.
    filled.map_or_else(
        |_| u64::from(std::process::id()),
        |()| u64::from_le_bytes(bytes),
    )
}

fn health(pulse: &Pulse) -> Pages {
    Pages {
        metrics: None,
        pulse: Some(pulse.clone()),
    }
}

fn metrics_of(known: &Known) -> Pages {
    let known = Arc::clone(known);
    Pages {
        metrics: Some(Arc::new(move || metrics::render(&lock(&known)))),
        pulse: None,
    }
}

fn lock(known: &Known) -> MutexGuard<'_, Snapshot> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

fn here(port: NonZeroU16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port.get())
}

/// Of both families, unless the kernel has only one.
fn everywhere(port: NonZeroU16) -> SocketAddr {
    let has_v6 = Path::new("/proc/net/if_inet6").exists();
    let address: IpAddr = match has_v6 {
        true => Ipv6Addr::UNSPECIFIED.into(),
        false => Ipv4Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(address, port.get())
}

/// What the page of metrics is made of.
type Known = Arc<Mutex<Snapshot>>;

/// What became of a request.
enum Done {
    Patched(Box<Patch>, Result<Box<Observed>, Refusal>),
    LeaseRead(Result<Option<Lease>, String>),
    LeaseWritten(Result<Lease, LeaseRefusal>),
    Reported(&'static str, Result<(), String>),
    PoolWritten(String, Result<(), String>),
    KeyMade(Result<bool, String>),
}

struct Controller {
    settings: Settings,
    server: Server,
    election: Election,
    requests: JoinSet<Done>,
    /// The Services as they were last seen, while somebody else decides.
    seen: BTreeMap<ServiceKey, Observed>,
    reached: Reached,
    is_synced: bool,
    is_standing_by: bool,
    has_source: bool,
    candidate: Option<Candidate>,
    active: Option<Active>,
    pools: Pools,
    problems: Vec<Problem>,
    reports: Reports,
    pulse: Pulse,
    known: Known,
}

/// Elected, and waiting until it has seen what its predecessor wrote.
struct Candidate {
    log: Log,
    freshness: Freshness,
}

#[derive(Clone, Copy)]
enum Freshness {
    /// Everything was listed after the election.
    Given,
    /// The Services have to be seen up to this resourceVersion.
    Version(u64),
    /// They have to be listed anew; in this round, if that is known already.
    List(Option<u64>),
}

/// The one who decides.
struct Active {
    reconciler: Reconciler,
    publication: Publication,
    events: Events,
    /// Patches under way.
    patching: usize,
}

/// Reports that are due, each as soon as no address waits.
#[derive(Default)]
struct Reports {
    under_way: usize,
    /// The configuration has been judged anew.
    configuration: bool,
    has_key: bool,
    failing: BTreeSet<&'static str>,
    retry_at: Option<Instant>,
}

impl Controller {
    fn new(
        settings: Settings,
        server: Server,
        identity: String,
        pulse: Pulse,
        known: Known,
    ) -> Self {
        Self {
            settings,
            server,
            election: Election::new(identity, Instant::now()),
            requests: JoinSet::new(),
            seen: BTreeMap::new(),
            reached: Reached::default(),
            is_synced: false,
            is_standing_by: false,
            has_source: false,
            candidate: None,
            active: None,
            pools: Pools::default(),
            problems: Vec::new(),
            reports: Reports::default(),
            pulse,
            known,
        }
    }

    fn knows_its_place(&self) -> bool {
        self.candidate.is_some() || self.election.holder().is_some()
    }

    /// Waits for an answer or a deadline, and takes it in. Nothing is lost when the wait is given up.
    async fn turn(&mut self) {
        self.pulse.beat();
        self.elect();
        let deadline = self.deadline();
        let done = async {
            match self.requests.join_next().await {
                Some(done) => done.expect("requests do not panic"),
                None => future::pending().await,
            }
        };
        tokio::select! {
            done = done => self.note(done),
            () = until(deadline) => self.handle_timeout(),
        }
        self.elect();
    }

    fn deadline(&self) -> Option<Instant> {
        let election = self.election.poll_timeout().map(|(at, _)| at);
        let active = self.active.as_ref();
        let publication = active.and_then(|active| active.publication.poll_timeout());
        let events = active.and_then(|active| active.events.poll_timeout());
        let reports = self.reports.retry_at;
        let reports = reports.or_else(|| self.pools.poll_timeout());
        // Reports wait for the answers of others, not for a time that has passed.
        let is_free = self.may_report();
        let reports = reports.into_iter().chain(events).min().filter(|_| is_free);
        let beat = Some(Instant::now() + Pulse::INTERVAL);
        let all = [election, publication, reports, beat];
        all.into_iter().flatten().min()
    }

    fn handle_timeout(&mut self) {
        let now = Instant::now();
        self.election.handle_timeout(now);
        if let Some(active) = &mut self.active {
            active.publication.handle_timeout(now);
            active.events.handle_timeout(now);
        }
        self.reports.retry_at.take_if(|at| *at <= now);
    }

    fn note(&mut self, done: Done) {
        let now = Instant::now();
        match done {
            Done::LeaseRead(result) => self.election.handle(now, Input::Read(result)),
            Done::LeaseWritten(result) => self.election.handle(now, Input::Written(result)),
            Done::Patched(patch, result) => {
                self.note_patched(now, &patch, result.map(|observed| *observed));
            }
            Done::Reported(what, result) => self.note_report(now, what, result),
            Done::PoolWritten(name, result) => {
                self.pools.handle_written(now, &name, result.is_ok());
                self.note_report(now, "the status of a pool", result);
            }
            Done::KeyMade(result) => {
                self.reports.has_key = result.is_ok();
                if result == Ok(true) {
                    info!(secret = self.settings.key_secret, "heartbeat key made");
                }
                self.note_report(now, "the heartbeat key", result.map(drop));
            }
        }
    }

    fn note_patched(&mut self, now: Instant, patch: &Patch, result: Result<Observed, Refusal>) {
        let Some(active) = &mut self.active else {
            return;
        };
        active.patching = active.patching.saturating_sub(1);
        active.publication.handle_patched(now, patch, result);
        while let Some(report) = active.publication.poll_report() {
            match report {
                Report::Failed { key, cause } => {
                    error!(service = %key, error = cause, "failed to write statuses, trying again");
                }
                Report::Recovered => info!("all statuses are written again"),
            }
        }
    }

    /// A failure is said once; everything is tried again a while later.
    fn note_report(&mut self, now: Instant, what: &'static str, result: Result<(), String>) {
        let reports = &mut self.reports;
        reports.under_way = reports.under_way.saturating_sub(1);
        match result {
            Ok(()) => drop(reports.failing.remove(what)),
            Err(cause) => {
                if reports.failing.insert(what) {
                    warn!(what, error = cause, "failed to report, trying again");
                }
                reports.retry_at = Some(now + REPORT_PAUSE);
                reports.configuration |= what == CONFIGURATION;
            }
        }
    }

    fn elect(&mut self) {
        while let Some(step) = self.election.poll() {
            let server = self.server.clone();
            match step {
                Step::Read => {
                    let read = async move { Done::LeaseRead(server.read_lease().await) };
                    self.requests.spawn(read);
                }
                Step::Write(draft) => {
                    let write = async move { Done::LeaseWritten(server.write_lease(draft).await) };
                    self.requests.spawn(write);
                }
                Step::Elected(log) => self.be_candidate(log),
                Step::Deposed => self.stand_by(),
                Step::Logged(number) => {
                    if let Some(active) = &mut self.active {
                        active.publication.handle_logged(number);
                    }
                }
                Step::Failing(cause) => {
                    warn!(
                        error = cause,
                        "failed to read or write the Lease, trying again"
                    );
                }
                Step::Resigned => {}
            }
        }
        let holder = self.election.holder();
        if let Some(holder) = holder.filter(|_| !self.election.is_leading())
            && !std::mem::replace(&mut self.is_standing_by, true)
        {
            info!(holder, "another controller is active, standing by");
        }
    }

    fn be_candidate(&mut self, log: Log) {
        self.is_standing_by = false;
        let freshness = match (self.has_source, log.through) {
            (false, _) => Freshness::Given,
            (true, 0) => Freshness::List(None),
            (true, version) => Freshness::Version(version),
        };
        self.candidate = Some(Candidate { log, freshness });
    }

    fn stand_by(&mut self) {
        lock(&self.known).pools.clear();
        warn!("not the active controller any more");
        self.candidate = None;
        if let Some(active) = self.active.take() {
            self.seen = active.publication.into_seen();
        }
    }

    fn take(&mut self, batch: Batch) {
        let now = Instant::now();
        self.is_synced |= batch.changes.last() == Some(&Change::Synced);
        // Who stands by is ready, too: to take over.
        self.pulse.set_ready(self.is_synced);
        self.count(&batch);
        self.reached = batch.reached;
        if let Some(problems) = batch.problems {
            self.note_problems(problems);
        }
        if let Some(pools) = batch.pools {
            self.pools.observe(now, pools);
        }
        match &mut self.active {
            Some(active) => {
                active.take(now, batch.changes, batch.services);
                self.pools.touch(now);
            }
            None => {
                for (key, observed) in batch.services {
                    match observed {
                        Some(observed) => drop(self.seen.insert(key, observed)),
                        None => drop(self.seen.remove(&key)),
                    }
                }
            }
        }
    }

    fn count(&self, batch: &Batch) {
        let mut known = lock(&self.known);
        known.updates += batch.changes.len() as u64;
        known.is_loaded = self.is_synced;
        if let Some(problems) = &batch.problems {
            known.is_stale = !problems.is_empty();
            known.errors += u64::from(known.is_stale);
        }
    }

    fn note_problems(&mut self, problems: Vec<Problem>) {
        let present: BTreeSet<String> = problems.iter().map(ToString::to_string).collect();
        let told: BTreeSet<String> = self.problems.iter().map(ToString::to_string).collect();
        for problem in present.difference(&told) {
            warn!(problem, "problem in the configuration");
        }
        for problem in told.difference(&present) {
            info!(problem, "problem solved");
        }
        self.problems = problems;
        self.reports.configuration = true;
    }

    /// Who is elected begins to decide as soon as it has seen enough.
    fn prepare(&mut self, source: &Kubernetes) {
        self.has_source = true;
        let Some(candidate) = &mut self.candidate else {
            return;
        };
        let is_fresh = match &mut candidate.freshness {
            Freshness::Given => true,
            Freshness::Version(version) => self.reached.version >= *version,
            Freshness::List(round) => {
                let round = *round.get_or_insert_with(|| source.relist());
                self.reached.round >= round
            }
        };
        if !self.is_synced {
            return;
        }
        if !is_fresh {
            // What carried that version may be gone, and then no watch ever tells of it.
            if let Freshness::Version(_) = candidate.freshness {
                candidate.freshness = Freshness::List(Some(source.relist()));
            }
            return;
        }
        let log = self.candidate.take().map(|candidate| candidate.log);
        let seen = std::mem::take(&mut self.seen);
        let decisions = Decisions {
            class: self.settings.class.clone(),
            quarantine: self.settings.quarantine,
        };
        let now = Instant::now();
        let publication = Publication::new(seen, log.unwrap_or_default());
        let active = Active::new(now, decisions, publication, source.snapshot());
        self.active = Some(active);
        self.reports.configuration = true;
        self.pools.touch(now);
        info!("ready");
    }

    /// Sends what can be sent: addresses first, and reports when no address waits.
    fn proceed(&mut self) {
        self.publish();
        self.elect();
        if self.may_report() {
            self.report();
        }
    }

    fn publish(&mut self) {
        let Some(active) = &mut self.active else {
            return;
        };
        if let Some(log) = active.publication.poll_log(LOGGED) {
            let number = self.election.log(log);
            active.publication.set_number(number);
        }
        let patches = active
            .publication
            .poll(CONCURRENT - active.patching.min(CONCURRENT));
        for patch in patches {
            active.patching += 1;
            let server = self.server.clone();
            self.requests.spawn(async move {
                let (patch, result) = server.patch_service(patch).await;
                Done::Patched(Box::new(patch), result.map(Box::new))
            });
        }
    }

    fn may_report(&self) -> bool {
        let active = self.active.as_ref();
        let is_quiet = active.is_some_and(|a| a.patching == 0 && a.publication.is_idle());
        is_quiet && self.reports.under_way < REPORTS
    }

    fn report(&mut self) {
        let now = Instant::now();
        let Some(active) = &mut self.active else {
            return;
        };
        while self.reports.under_way < REPORTS {
            let Some(event) = active.events.poll(now) else {
                break;
            };
            let Some(uid) = active
                .publication
                .seen(&event.service)
                .map(|s| s.uid.clone())
            else {
                continue;
            };
            let server = self.server.clone();
            self.reports.under_way += 1;
            self.requests.spawn(async move {
                Done::Reported("an event", server.write_event(event, uid).await)
            });
        }
        if self.reports.retry_at.is_some() {
            return;
        }
        if !self.reports.has_key {
            self.reports.has_key = true;
            self.reports.under_way += 1;
            let (server, settings) = (self.server.clone(), self.settings.clone());
            self.requests.spawn(async move {
                let deployment = settings.deployment.as_deref();
                let made = server.make_heartbeat_key(&settings.key_secret, deployment);
                Done::KeyMade(made.await)
            });
        }
        let is_due = self.pools.poll_timeout().is_some_and(|due| due <= now);
        if is_due {
            let pools = active.reconciler.pools();
            let pools = pools.map(|(name, usage)| (name.to_owned(), usage));
            lock(&self.known).pools = pools.collect();
        }
        for (name, status) in self.pools.poll(now, &active.reconciler) {
            let server = self.server.clone();
            self.reports.under_way += 1;
            self.requests.spawn(async move {
                let (name, result) = server.write_pool_status(name, status).await;
                Done::PoolWritten(name, result)
            });
        }
        if std::mem::take(&mut self.reports.configuration) {
            let errors = configuration_errors(&self.problems);
            let server = self.server.clone();
            self.reports.under_way += 1;
            self.requests.spawn(async move {
                let written = server.write_configuration_state(errors).await;
                Done::Reported(CONFIGURATION, written)
            });
        }
    }

    /// Finishes what is under way and gives the Lease up, so that the next one need not wait.
    async fn resign(&mut self) {
        let limit = Instant::now() + LAST_WORDS;
        let is_patching = |active: &Option<Active>| active.as_ref().is_some_and(|a| a.patching > 0);
        while is_patching(&self.active) && Instant::now() < limit {
            tokio::select! {
                () = self.turn() => {}
                () = until(Some(limit)) => {}
            }
        }
        self.election.handle(Instant::now(), Input::Resign);
        while self.election.poll_timeout().is_some() || self.election.is_leading() {
            tokio::select! {
                () = self.turn() => {}
                () = until(Some(limit)) => return,
            }
        }
    }
}

impl Active {
    /// Adopts everything that is held, and what the one before may yet write.
    fn new(now: Instant, decisions: Decisions, publication: Publication, all: Vec<Change>) -> Self {
        let mut active = Self {
            reconciler: Reconciler::new(decisions, publication.statuses()),
            events: Events::new(now),
            publication,
            patching: 0,
        };
        let adopted = active.publication.adopted();
        let mut claims = all;
        for change in &mut claims {
            if let Change::Service(key, Some(service)) = change
                && let Some(intent) = adopted.get(key)
            {
                let service = Arc::make_mut(service);
                service.ingress.clone_from(&intent.addresses);
            }
        }
        for (key, status) in active.publication.statuses() {
            active.events.adopt(now, &key, &status);
        }
        active.decide(now, claims);
        for key in active.publication.forced() {
            if let Some(status) = active.reconciler.status_of(&key).cloned() {
                active.publication.want(Output::Write(key, status));
            }
        }
        active
    }

    fn take(
        &mut self,
        now: Instant,
        changes: Vec<Change>,
        services: Vec<(ServiceKey, Option<Observed>)>,
    ) {
        for (key, observed) in services {
            if observed.is_none() {
                self.events.forget(&key);
            }
            let desired = self.reconciler.status_of(&key);
            self.publication.observe(now, key, observed, desired);
        }
        self.decide(now, changes);
    }

    fn decide(&mut self, now: Instant, changes: Vec<Change>) {
        self.reconciler.apply(now, changes);
        while let Some(output) = self.reconciler.poll() {
            self.tell(now, &output);
            self.publication.want(output);
        }
    }

    fn tell(&mut self, now: Instant, output: &Output) {
        let (key, status) = match output {
            Output::Write(key, status) => (key, status),
            Output::Remove(key) => return self.events.forget(key),
        };
        let (pool, reason, detail) = (status.pool.as_deref(), &status.reason, &status.message);
        let lost = self.reconciler.loss(key);
        if status.ingress.is_empty() {
            warn!(service = %key, %reason, %detail, lost, "service has no address");
        } else {
            info!(service = %key, addresses = ?status.ingress, pool, %reason, %detail, lost, "service has addresses");
        }
        if let Some(service) = self.reconciler.service(key) {
            let before = self.publication.seen(key).map(crate::publication::status);
            self.events
                .handle(now, service, before.as_ref(), status, lost);
        }
    }
}

/// What concerns the controller: the speakers report what concerns them.
fn configuration_errors(problems: &[Problem]) -> Vec<String> {
    let is_ours = |problem: &&Problem| {
        let ours = [
            ConfigurationKind::IpAddressPool,
            ConfigurationKind::Community,
        ];
        ours.iter().any(|kind| kind.name() == problem.object.kind)
    };
    let ours = problems.iter().filter(is_ours);
    ours.map(|problem| format!("configuration error: {problem}"))
        .collect()
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => future::pending().await,
    }
}

const CONFIGURATION: &str = "the state of the configuration";

/// Patches under way at once.
const CONCURRENT: usize = 32;

/// Patches waiting for the log or for their turn: what stands in the Lease has to fit into it.
const LOGGED: usize = 512;

/// Reports under way at once.
const REPORTS: usize = 4;

/// How long after one failed any is tried again.
const REPORT_PAUSE: Duration = Duration::from_secs(5);

/// How long the end may take.
const LAST_WORDS: Duration = Duration::from_secs(5);
