//! The composition root: source, reconciler, ledger and state directory, and when to stop.

#![expect(
    clippy::disallowed_methods,
    reason = "composition root: reads the clock and waits"
)]

use std::collections::BTreeSet;
use std::future;
use std::io::Write as _;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use ferrolb_crds::model::Timestamp;
use ferrolb_crds::source::manifests::{self, Batch, Listing, Located, Manifests, Options};
use ferrolb_crds::state::StateDir;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tracing::{debug, error, info, warn};

use crate::cli::{Check, CheckOutput, Plan, PlanOutput, Run};
use crate::ledger::{Ledger, Report};
use crate::plan;
use crate::reconcile::{Output, Reconciler, Settings};
use crate::status::{self, Written};

/// Gives addresses to the Services of a directory until it is told to stop.
pub async fn run(settings: Run) -> anyhow::Result<()> {
    let mut stop = Stop::listen().context("failed to listen for signals")?;
    let mut state = StateDir::open(&settings.state)?;
    if !lock(&mut state, &mut stop).await? {
        return Ok(());
    }
    let options = Options {
        dir: settings.manifests,
        state: Some(settings.state),
        namespace: settings.namespace,
        follow_state: false,
    };
    let mut source = Manifests::start(&options)?;
    let decisions = Settings {
        class: settings.class,
        quarantine: settings.quarantine,
    };
    let mut controller = Controller::new(decisions, state);
    loop {
        controller.start_writing();
        tokio::select! {
            () = stop.wait() => break,
            batch = source.next() => controller.take(batch),
            written = controller.writer.wait() => controller.handle_written(written),
            () = until(controller.ledger.poll_timeout()) => {
                controller.ledger.handle_timeout(Instant::now());
            }
        }
    }
    // Half-written records help nobody; those not begun will be decided alike at the next start.
    if controller.writer.task.is_some() {
        controller.writer.wait().await;
    }
    info!("stopped");
    Ok(())
}

/// Waits until this is the only controller; false when it is told to stop before.
async fn lock(state: &mut StateDir, stop: &mut Stop) -> anyhow::Result<bool> {
    let mut is_told = false;
    while !state.try_lock()? {
        if !is_told {
            info!(state = %state.path().display(), "another controller is active, waiting");
            is_told = true;
        }
        tokio::select! {
            () = tokio::time::sleep(LOCK_PAUSE) => {}
            () = stop.wait() => return Ok(false),
        }
    }
    Ok(true)
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => future::pending().await,
    }
}

/// The signals that end the program.
pub(crate) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The pure parts, and the writes under way.
struct Controller {
    reconciler: Reconciler,
    ledger: Ledger,
    writer: Writer,
    problems: BTreeSet<Located>,
}

impl Controller {
    fn new(settings: Settings, state: StateDir) -> Self {
        let recorded = status::recorded(state.read_services().services);
        Self {
            reconciler: Reconciler::new(settings, recorded.clone()),
            ledger: Ledger::new(recorded),
            writer: Writer {
                state: Arc::new(state),
                task: None,
            },
            problems: BTreeSet::new(),
        }
    }

    fn take(&mut self, batch: Batch) {
        if let Some(problems) = batch.problems {
            self.report(problems);
        }
        let was_synced = self.reconciler.is_synced();
        self.reconciler.apply(Instant::now(), batch.changes);
        if self.reconciler.is_synced() && !was_synced {
            info!("ready");
        }
        while let Some(output) = self.reconciler.poll() {
            self.log(&output);
            self.ledger.handle(output);
        }
    }

    fn report(&mut self, problems: Vec<Located>) {
        let problems: BTreeSet<_> = problems.into_iter().collect();
        for problem in problems.difference(&self.problems) {
            warn!(%problem, "problem in the manifests");
        }
        for problem in self.problems.difference(&problems) {
            info!(%problem, "problem solved");
        }
        self.problems = problems;
    }

    fn log(&self, output: &Output) {
        let (service, status) = match output {
            Output::Write(service, status) => (service, status),
            Output::Remove(service) => {
                info!(%service, "service holds nothing and is not looked after");
                return;
            }
        };
        let (pool, reason) = (status.pool.as_deref(), &status.reason);
        let (message, lost) = (&status.message, self.reconciler.loss(service));
        if status.ingress.is_empty() {
            warn!(%service, %reason, detail = %message, lost, "service has no address");
        } else {
            info!(%service, addresses = ?status.ingress, pool, %reason, detail = %message, lost, "service has addresses");
        }
        let deprecated = self.reconciler.service(service);
        for annotation in deprecated.iter().flat_map(|s| &s.requests.deprecated) {
            warn!(%service, %annotation, "annotation is deprecated, use the metallb.io prefix");
        }
    }

    fn start_writing(&mut self) {
        if self.writer.task.is_some() {
            return;
        }
        let writes = self.ledger.poll(BATCH);
        if writes.is_empty() {
            return;
        }
        debug!(count = writes.len(), "writing records");
        let state = Arc::clone(&self.writer.state);
        let now = wall_clock();
        let task = move || status::write(&state, writes, now);
        self.writer.task = Some(tokio::task::spawn_blocking(task));
    }

    fn handle_written(&mut self, written: Vec<Written>) {
        let now = Instant::now();
        for (write, result) in written {
            self.ledger.handle_written(now, write, result);
        }
        while let Some(report) = self.ledger.poll_report() {
            let state = self.writer.state.path().display();
            match report {
                Report::Failed { key, cause } => {
                    error!(service = %key, %state, error = %cause, "failed to write records, trying again");
                }
                Report::Recovered => info!(%state, "all records are written again"),
            }
        }
    }
}

/// Writes one batch at a time, beside everything else.
struct Writer {
    state: Arc<StateDir>,
    task: Option<JoinHandle<Vec<Written>>>,
}

impl Writer {
    /// Waits for the batch under way, if there is one. Nothing is lost when the wait is given up.
    async fn wait(&mut self) -> Vec<Written> {
        let Some(task) = &mut self.task else {
            return future::pending().await;
        };
        let written = task.await.expect("writing does not panic");
        self.task = None;
        written
    }
}

fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = since.unwrap_or_default().as_secs();
    Timestamp(i64::try_from(seconds).unwrap_or(i64::MAX))
}

/// Prints what would be decided, and to stderr what could not be read.
pub fn plan(settings: Plan) -> anyhow::Result<()> {
    let options = Options {
        dir: settings.manifests,
        state: settings.state,
        namespace: settings.namespace,
        follow_state: false,
    };
    let Listing {
        changes,
        problems,
        rest,
    } = manifests::read(&options)?;
    let mut stderr = std::io::stderr().lock();
    for problem in &problems {
        writeln!(stderr, "{problem}").context("failed to write to stderr")?;
    }
    let decided = plan::decide(Instant::now(), settings.class, changes);
    let rows = plan::rows(&decided);
    // The program ends with this: to free what was read and decided would take as long again.
    mem::forget((rest, decided));
    let text = match settings.output {
        PlanOutput::Table => plan::table(&rows),
        PlanOutput::Json => serde_json::to_string_pretty(&rows)? + "\n",
    };
    print(&text)
}

/// Prints what is wrong; true when nothing is.
pub fn check(settings: Check) -> anyhow::Result<bool> {
    let options = Options {
        dir: settings.manifests,
        state: None,
        namespace: settings.namespace,
        follow_state: false,
    };
    let problems = manifests::read(&options)?.problems;
    let text = match settings.output {
        CheckOutput::Text => problems.iter().map(|p| format!("{p}\n")).collect(),
        CheckOutput::Json => serde_json::to_string_pretty(&problems)? + "\n",
    };
    print(&text)?;
    Ok(problems.is_empty())
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    let printed = stdout.write_all(text.as_bytes());
    printed
        .and_then(|()| stdout.flush())
        .context("failed to write to stdout")
}

const LOCK_PAUSE: Duration = Duration::from_millis(500);

/// Records written at once.
const BATCH: usize = 256;

#[cfg(test)]
mod tests {
    use std::io;

    use ferrolb_crds::source::Change;

    use super::*;
    use crate::fixture::{With, config, pool, service};

    /// What is logged meanwhile.
    fn logged(work: impl FnOnce()) -> String {
        let (lines, writer) = io::pipe().unwrap();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(Arc::new(writer))
            .with_ansi(false)
            .finish();
        tracing::subscriber::with_default(subscriber, work);
        io::read_to_string(lines).unwrap()
    }

    #[test]
    fn who_loses_an_address_is_logged_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let mut controller = Controller::new(Settings::default(), state);
        let mut take = |changes: Vec<Change>| {
            let batch = Batch {
                changes,
                problems: None,
            };
            logged(|| controller.take(batch))
        };
        let pools = [pool("a", &["10.0.0.0/30"]), pool("b", &["10.0.9.0/30"])];
        let first = take(vec![config(&pools), service("s").change(), Change::Synced]);
        assert!(first.contains("service has addresses"), "{first}");
        assert!(!first.contains("lost"), "{first}");
        let moved = take(vec![service("s").from_pool("b").change()]);
        assert!(moved.contains("10.0.9.0"), "{moved}");
        assert!(
            moved.contains(r#"lost="it asks for pool \"b\"""#),
            "{moved}"
        );
        let cleared = take(vec![config(&[])]);
        assert!(cleared.contains("service has no address"), "{cleared}");
        assert!(
            cleared.contains(r#"lost="10.0.9.0 is in no pool""#),
            "{cleared}"
        );
    }
}
