//! The composition root for a cluster: watches, election, decisions, and the writes that follow.
//!
//! ```text
//! watches ─▶ office: reconcile ─▶ publication ─▶ intents in the Lease ─▶ patches of /status
//!               │                                                     └▶ then all reports
//!               └── begun anew at each election, from what the watches have seen
//! ```

#![expect(
    clippy::disallowed_methods,
    reason = "composition root: reads the clock, waits, and owns the requests under way"
)]

mod api;
mod follow;
mod pages;

use std::collections::BTreeSet;
use std::future;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ferrolb_crds::api::Kind as ConfigurationKind;
use ferrolb_crds::model::ServiceKey;
use ferrolb_crds::serve::Pulse;
use ferrolb_crds::source::Change;
use ferrolb_crds::source::kubernetes::watch::{Failure, FailureKind};
use ferrolb_crds::source::kubernetes::{Batch, Kubernetes, Misread, Options, Role, connect};
use ferrolb_crds::validate::{Problem, Statement};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::lease;
use crate::ledger::Report;
use crate::office::{Input, Office, Output, Source};
use crate::pools::Pools;
use crate::publication::{Refusal, Remnant};
use crate::reconcile::{Settings as Decisions, Status};
use crate::run::Stop;
use crate::verdict::{Seen, Verdict};
use api::Server;
use follow::Follower;
use pages::Pages;

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
    /// Where it tells its metrics, on loopback.
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
    let client = connect(settings.kubeconfig.as_deref(), AGENT).await?;
    let identity = identity(settings.pod.as_deref());
    let options = Options {
        namespace: settings.namespace.clone(),
        role: Role::Controller,
        key_secret: None,
    };
    let server = Server::new(client.clone(), &settings.namespace, &identity);
    let mut controller = Controller::new(settings, server, identity);
    // Whether there is an active controller is known first: what is listed by then is as new as it
    // has to be.
    while !controller.office.knows_its_place() {
        tokio::select! {
            () = stop.wait() => return Ok(()),
            () = controller.turn() => {}
        }
    }
    let mut verdict = Follower::start(client.clone(), &options.namespace);
    let mut source = Kubernetes::start(client, options);
    loop {
        tokio::select! {
            () = stop.wait() => break,
            batch = source.next() => controller.take(batch),
            seen = verdict.next() => controller.see_verdict(seen),
            () = controller.turn() => {}
        }
        controller.proceed(&source);
    }
    info!("stopping");
    controller.resign().await;
    info!("stopped");
    Ok(())
}

/// Nobody else's: the place first, so that who comes back to it need not wait for itself.
fn identity(pod: Option<&str>) -> String {
    // Without random numbers the process number has to do.
    let random = api::random().unwrap_or_else(|_| format!("{:032x}", std::process::id()));
    let (start, end) = random.split_at(16);
    // Without a pod several may run on one host: none is the other's past.
    let place = pod.unwrap_or(start);
    format!("{place}_{end}")
}

impl Source for Kubernetes {
    fn relist(&self) -> u64 {
        Self::relist(self)
    }

    fn snapshot(&self) -> Vec<Change> {
        Self::snapshot(self)
    }
}

/// What became of a request.
enum Done {
    Office(Input),
    Reported(&'static str, Result<(), String>),
    Cleaned(Remnant, Result<(), Refusal>),
    PoolWritten(String, Result<(), String>),
    VerdictWritten(Result<Seen, String>),
    KeyMade(Result<bool, String>),
}

struct Controller {
    settings: Settings,
    server: Server,
    office: Office,
    requests: JoinSet<Done>,
    has_resigned: bool,
    /// Nothing is reported any more.
    is_ending: bool,
    pools: Pools,
    problems: Vec<Problem>,
    verdict: Verdict,
    misread: BTreeSet<Misread>,
    reports: Reports,
    pages: Pages,
}

/// Reports that are due, each as soon as no address waits.
#[derive(Default)]
struct Reports {
    under_way: usize,
    has_key: bool,
    failing: BTreeSet<&'static str>,
    retry_at: Option<Instant>,
}

impl Controller {
    fn new(settings: Settings, server: Server, identity: String) -> Self {
        let decisions = Decisions {
            class: settings.class.clone(),
            quarantine: settings.quarantine,
        };
        let pages = Pages::start(settings.health_port, settings.metrics_port);
        Self {
            settings,
            server,
            pages,
            office: Office::new(decisions, identity, Instant::now()),
            requests: JoinSet::new(),
            has_resigned: false,
            is_ending: false,
            pools: Pools::default(),
            problems: Vec::new(),
            verdict: Verdict::default(),
            misread: BTreeSet::new(),
            reports: Reports::default(),
        }
    }

    /// Waits for an answer or a deadline, and takes it in. Nothing is lost when the wait is given up.
    async fn turn(&mut self) {
        self.pages.beat();
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
        self.carry_out();
    }

    fn deadline(&self) -> Option<Instant> {
        let reports = match self.reports.retry_at {
            Some(at) => Some(at),
            None => {
                let pools = self.pools.poll_timeout().into_iter();
                let all = pools.chain(self.office.poll_event_timeout());
                all.chain(self.verdict.poll_timeout()).min()
            }
        };
        // Reports wait for the answers of others, not for a time that has passed.
        let reports = reports.filter(|_| self.may_report());
        let beat = Instant::now() + Pulse::INTERVAL;
        let others = self.office.poll_timeout().into_iter().chain([beat]);
        reports.into_iter().chain(others).min()
    }

    fn handle_timeout(&mut self) {
        let now = Instant::now();
        self.office.handle_timeout(now);
        self.reports.retry_at.take_if(|at| *at <= now);
    }

    fn note(&mut self, done: Done) {
        let now = Instant::now();
        match done {
            Done::Office(input) => self.office.handle(now, input),
            Done::Reported(what, result) => self.note_report(now, what, result),
            Done::Cleaned(remnant, result) => {
                let result = match result {
                    // It is gone, or there is another one of that name.
                    Ok(()) | Err(Refusal::Conflict) => Ok(()),
                    Err(Refusal::Refused(cause)) => Err(cause),
                    Err(Refusal::Unknown(cause)) => {
                        self.office.handle(now, Input::Remains(remnant));
                        Err(cause)
                    }
                };
                self.note_report(now, "that a service is no load balancer any more", result);
            }
            Done::PoolWritten(name, result) => {
                self.pools.handle_written(now, &name, result.is_ok());
                self.note_report(now, "the status of a pool", result);
            }
            Done::VerdictWritten(result) => {
                self.verdict.handle_written(result.as_ref().ok().cloned());
                self.note_report(now, "the state of the configuration", result.map(drop));
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
            }
        }
    }

    /// Does what the office says.
    fn carry_out(&mut self) {
        while let Some(output) = self.office.poll() {
            match output {
                Output::Read => self.request(|server| async move {
                    Input::Lease(lease::Input::Read(server.read_lease().await))
                }),
                Output::Write(draft) => self.request(|server| async move {
                    Input::Lease(lease::Input::Written(server.write_lease(draft).await))
                }),
                Output::Patch(term, patch) => self.request(|server| async move {
                    let (patch, result) = server.patch_service(patch).await;
                    Input::Patched(term, Box::new(patch), result.map(Box::new))
                }),
                Output::StandingBy(holder) => {
                    info!(holder, "another controller is active, standing by");
                }
                Output::Ready => self.be_ready(),
                Output::Deposed => {
                    self.pages.note_pools(None);
                    warn!("not the active controller any more");
                }
                Output::Resigned => self.has_resigned = true,
                Output::Failing(cause) => {
                    warn!(
                        error = cause,
                        "failed to read or write the Lease, trying again"
                    );
                }
                Output::Decided(key, status, lost) => tell(&key, &status, lost.as_deref()),
                Output::Report(report) => tell_report(report),
            }
        }
    }

    fn request<F>(&mut self, request: impl FnOnce(Server) -> F)
    where
        F: Future<Output = Input> + Send + 'static,
    {
        let answer = request(self.server.clone());
        begin(
            &mut self.requests,
            async move { Done::Office(answer.await) },
        );
    }

    fn be_ready(&mut self) {
        self.pools.touch(Instant::now());
        info!("ready");
    }

    fn take(&mut self, mut batch: Batch) {
        let now = Instant::now();
        self.pages.count(&batch);
        if batch.changes.last() == Some(&Change::Synced) {
            self.pages.set_ready();
        }
        if let Some(problems) = batch.problems.take() {
            self.note_problems(problems);
        }
        if let Some(misread) = batch.misread.take() {
            self.note_misread(misread);
        }
        if let Some(pools) = batch.pools.take() {
            self.pools.observe(now, pools);
        }
        self.office.take(now, batch);
        if self.office.reconciler().is_some() {
            self.pools.touch(now);
        }
    }

    /// The API server has this of the verdict. The source of the objects says so, too, when it cannot
    /// be reached.
    fn see_verdict(&mut self, seen: Result<Seen, Failure>) {
        match seen {
            Ok(seen) => self.verdict.see(seen),
            Err(failure) => match failure.kind {
                FailureKind::Missing | FailureKind::Forbidden => {
                    let error = failure.cause;
                    warn!(error, "the verdict on the configuration is not written");
                }
                FailureKind::Gone | FailureKind::Refused | FailureKind::Other => {}
            },
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
        self.verdict.want(statement(&problems));
        self.problems = problems;
    }

    fn note_misread(&mut self, misread: BTreeSet<Misread>) {
        for problem in misread.difference(&self.misread) {
            warn!(%problem, "object cannot be understood, going on with what is known of it");
        }
        for problem in self.misread.difference(&misread) {
            info!(%problem, "problem solved");
        }
        self.misread = misread;
    }

    /// Sends what can be sent: addresses first, and reports when no address waits.
    fn proceed(&mut self, source: &Kubernetes) {
        self.office.prepare(Instant::now(), source);
        self.carry_out();
        if self.may_report() {
            self.report();
        }
    }

    fn may_report(&self) -> bool {
        let is_quiet = self.office.is_quiet() && !self.is_ending;
        is_quiet && self.reports.under_way < REPORTS
    }

    fn report(&mut self) {
        let now = Instant::now();
        if self.reports.retry_at.is_some() {
            return;
        }
        while self.reports.under_way < REPORTS {
            let Some((event, uid)) = self.office.poll_event(now) else {
                break;
            };
            let server = self.server.clone();
            self.reports.under_way += 1;
            begin(&mut self.requests, async move {
                Done::Reported("an event", server.write_event(event, uid).await)
            });
        }
        if !self.reports.has_key {
            self.reports.has_key = true;
            self.reports.under_way += 1;
            let (server, settings) = (self.server.clone(), self.settings.clone());
            begin(&mut self.requests, async move {
                let deployment = settings.deployment.as_deref();
                let made = server.make_heartbeat_key(&settings.key_secret, deployment);
                Done::KeyMade(made.await)
            });
        }
        while self.reports.under_way < REPORTS
            && let Some(remnant) = self.office.poll_remnant()
        {
            let server = self.server.clone();
            self.reports.under_way += 1;
            begin(&mut self.requests, async move {
                let cleaned = server.clean(&remnant).await;
                Done::Cleaned(remnant, cleaned)
            });
        }
        let reconciler = self.office.reconciler();
        if self.pools.poll_timeout().is_some_and(|due| due <= now) {
            self.pages.note_pools(reconciler);
        }
        let pools = reconciler.map(|reconciler| self.pools.poll(now, reconciler));
        for (name, status) in pools.into_iter().flatten() {
            let server = self.server.clone();
            self.reports.under_way += 1;
            begin(&mut self.requests, async move {
                let (name, result) = server.write_pool_status(name, status).await;
                Done::PoolWritten(name, result)
            });
        }
        if let Some(step) = self.verdict.poll(now, &api::now_text()) {
            let server = self.server.clone();
            self.reports.under_way += 1;
            begin(&mut self.requests, async move {
                Done::VerdictWritten(server.write_verdict(step).await)
            });
        }
    }

    /// Finishes what is under way and gives the Lease up, so that the next one need not wait.
    async fn resign(&mut self) {
        let limit = Instant::now() + LAST_WORDS;
        self.is_ending = true;
        self.office.handle(Instant::now(), Input::Resign);
        self.carry_out();
        while !self.has_resigned {
            tokio::select! {
                () = self.turn() => {}
                () = until(Some(limit)) => {
                    return warn!("failed to give the Lease up in time: it runs out by itself");
                }
            }
        }
    }
}

/// In a box: a task that holds so much itself is aligned to a cache line, and what it leaves behind in
/// memory fits no other.
fn begin(requests: &mut JoinSet<Done>, request: impl Future<Output = Done> + Send + 'static) {
    requests.spawn(Box::pin(request));
}

fn tell(key: &ServiceKey, status: &Status, lost: Option<&str>) {
    let (pool, reason, detail) = (status.pool.as_deref(), &status.reason, &status.message);
    if status.ingress.is_empty() {
        warn!(service = %key, %reason, %detail, lost, "service has no address");
    } else {
        info!(service = %key, addresses = ?status.ingress, pool, %reason, %detail, lost, "service has addresses");
    }
}

fn tell_report(report: Report) {
    match report {
        Report::Failed { key, cause } => {
            error!(service = %key, error = cause, "failed to write statuses, trying again");
        }
        Report::Recovered => info!("all statuses are written again"),
    }
}

/// What concerns the controller: the speakers report what concerns them.
fn statement(problems: &[Problem]) -> Statement {
    let is_ours = |problem: &&Problem| {
        let ours = [
            ConfigurationKind::IpAddressPool,
            ConfigurationKind::Community,
        ];
        ours.iter().any(|kind| kind.name() == problem.object.kind)
    };
    Statement::of(problems.iter().filter(is_ours))
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => future::pending().await,
    }
}

/// What it calls itself before the API server.
const AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// Reports under way at once.
const REPORTS: usize = 4;

/// How long after one failed any is tried again.
const REPORT_PAUSE: Duration = Duration::from_secs(5);

/// How long the end may take.
const LAST_WORDS: Duration = Duration::from_secs(5);
