//! Writes to the API server what the ledger says, in a task of its own, and follows what is there.
//!
//! The loop of the speaker never waits for it: what it wants lies in a box, the latest of each object,
//! until there is time. A server that does not answer is asked again with back-off.

#![expect(
    clippy::disallowed_methods,
    reason = "driver: owns a task, its connections, clock and deadlines"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ferrolb_crds::api;
use ferrolb_crds::model::ServiceKey;
use ferrolb_crds::pace::Pace;
use ferrolb_crds::source::kubernetes::request::{Failed, within};
use ferrolb_crds::source::kubernetes::watch::{Event as Heard, FailureKind, Target, Watch};
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::{DynamicObject, ObjectList, Request, request};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout};
use tracing::{debug, info, warn};

use super::ledger::{Ledger, Task};
use super::outages::Outages;
use super::paths::Paths;
use super::{
    Body, Event, Key, Notice, Seen, Sign, Sort, Wanted, Warning, event, label, metadata, name,
    node_event, seen, signed, status,
};
use crate::backoff::Backoff;

/// What to report, and as whom.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This node.
    pub node: String,
    /// Namespace of the configuration, where the objects are.
    pub namespace: String,
}

/// Reports until dropped.
#[derive(Debug)]
pub struct Reports {
    inbox: Arc<Inbox>,
    earlier: watch::Receiver<Option<BTreeSet<ServiceKey>>>,
    task: JoinHandle<()>,
}

impl Drop for Reports {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the loop wants to have said.
#[derive(Debug, Default)]
struct Inbox {
    letters: Mutex<Letters>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Letters {
    wanted: BTreeMap<Key, Option<Wanted>>,
    uids: BTreeMap<ServiceKey, Option<String>>,
    warnings: BTreeSet<Warning>,
    notices: Vec<Notice>,
    sign: Option<Sign>,
    is_complete: bool,
    /// Nothing is to be said any more but how the sessions stand.
    is_last: bool,
}

impl Reports {
    /// Begins to follow what is there; writes nothing that is not wanted.
    pub fn start(client: Client, settings: Settings) -> Self {
        let inbox = Arc::new(Inbox::default());
        let (reporter, earlier) = watch::channel(None);
        let driver = Driver::new(client, settings, Arc::clone(&inbox), reporter);
        let task = tokio::spawn(driver.run());
        Self {
            inbox,
            earlier,
            task,
        }
    }

    /// The Services that this node announced at layer 2 when it last ran, by its own reports; `None`:
    /// they have not been read yet.
    pub fn earlier(&self) -> watch::Receiver<Option<BTreeSet<ServiceKey>>> {
        self.earlier.clone()
    }

    /// Replaces what should be there.
    pub fn want(&self, wanted: impl IntoIterator<Item = (Key, Option<Wanted>)>) {
        self.put(|letters| letters.wanted.extend(wanted));
    }

    /// Everything that should be there has been said; nothing is written before.
    pub fn complete(&self) {
        self.put(|letters| letters.is_complete = true);
    }

    /// Which object each Service is.
    pub fn know(&self, uids: impl IntoIterator<Item = (ServiceKey, Option<String>)>) {
        self.put(|letters| letters.uids.extend(uids));
    }

    /// Tells somebody to look after a Service.
    pub fn warn(&self, warning: Warning) {
        self.put(|letters| {
            if letters.warnings.len() < WARNINGS {
                letters.warnings.insert(warning);
            }
        });
    }

    /// Tells of something that happened to this node.
    pub fn notice(&self, notice: Notice) {
        self.put(|letters| {
            if letters.notices.len() < NOTICES {
                letters.notices.push(notice);
            }
        });
    }

    /// What the ConfigurationState is to carry from now on.
    pub fn sign(&self, sign: Sign) {
        self.put(|letters| letters.sign = Some(sign));
    }

    /// Says how the sessions stand in the end, and ends; gives up when that takes too long.
    pub async fn finish(mut self, limit: Duration) {
        self.put(|letters| letters.is_last = true);
        if timeout(limit, &mut self.task).await.is_err() {
            debug!("the end of the sessions was not reported in time");
        }
    }

    fn put(&self, put: impl FnOnce(&mut Letters)) {
        let letters = self.inbox.letters.lock();
        put(&mut letters.unwrap_or_else(PoisonError::into_inner));
        self.inbox.news.notify_one();
    }
}

struct Driver {
    client: Client,
    settings: Settings,
    inbox: Arc<Inbox>,
    earlier: watch::Sender<Option<BTreeSet<ServiceKey>>>,
    ledger: Ledger,
    outages: Outages,
    paths: Paths,
    heard: mpsc::Receiver<(Sort, Heard<Option<Seen>>)>,
    _watches: Vec<Watch>,
    pace: Pace,
    backoff: Backoff,
    rng: fastrand::Rng,
    /// The server did not answer: nothing is asked before this.
    quiet_until: Option<Instant>,
    /// The Node's UID, if it is known.
    owner: Option<String>,
    /// What has been complained about.
    complaints: BTreeSet<(Sort, &'static str)>,
    is_silent: bool,
}

impl Driver {
    fn new(
        client: Client,
        settings: Settings,
        inbox: Arc<Inbox>,
        earlier: watch::Sender<Option<BTreeSet<ServiceKey>>>,
    ) -> Self {
        let (sender, heard) = mpsc::channel(HEARD);
        let watches = Sort::ALL.map(|sort| follow(&client, &settings, sort, &sender));
        Self {
            ledger: Ledger::new(settings.node.clone()),
            outages: Outages::default(),
            paths: Paths::default(),
            client,
            settings,
            inbox,
            earlier,
            heard,
            _watches: watches.into(),
            pace: Pace::new(Instant::now(), RATE),
            backoff: Backoff::new(PAUSES.0, PAUSES.1),
            rng: fastrand::Rng::with_seed(fastrand::u64(..)),
            quiet_until: None,
            owner: None,
            complaints: BTreeSet::new(),
            is_silent: false,
        }
    }

    async fn run(mut self) {
        loop {
            if self.take_letters() {
                return self.end().await;
            }
            let now = Instant::now();
            while let Some(notice) = self.poll_notice(now) {
                self.ledger.notice(notice);
            }
            let is_quiet = self.quiet_until.is_some_and(|until| until > now);
            if !is_quiet
                && self.pace.has_one(now)
                && let Some(task) = self.ledger.poll(now)
            {
                self.pace.spend();
                self.perform(task).await;
                continue;
            }
            let deadline = match is_quiet {
                true => self.quiet_until,
                false if !self.pace.has_one(now) => Some(self.pace.next()),
                false => self.ledger.poll_timeout(),
            };
            let notices = [self.outages.poll_timeout(), self.paths.poll_timeout()];
            let deadline = notices.into_iter().flatten().chain(deadline).min();
            tokio::select! {
                Some((sort, heard)) = self.heard.recv() => self.hear(sort, heard),
                () = self.inbox.news.notified() => {}
                () = until(deadline) => {}
            }
        }
    }

    fn poll_notice(&mut self, now: Instant) -> Option<Notice> {
        self.outages.poll(now).or_else(|| self.paths.poll(now))
    }

    async fn end(mut self) {
        for task in self.ledger.last_words() {
            self.perform(task).await;
            if self.is_silent {
                return;
            }
        }
    }

    /// True when those were the last ones.
    fn take_letters(&mut self) -> bool {
        let letters = self.inbox.letters.lock();
        let letters = std::mem::take(&mut *letters.unwrap_or_else(PoisonError::into_inner));
        for (service, uid) in letters.uids {
            self.ledger.know(service, uid);
        }
        // Routes and addresses change: more of them are on their way.
        if letters.wanted.keys().any(|key| key.service().is_some()) {
            self.pace.work(Instant::now());
        }
        for (key, wanted) in letters.wanted {
            if let Key::Session(peer) = &key {
                let now = Instant::now();
                self.outages.note(now, peer, wanted.as_ref());
                self.paths.note(now, peer, wanted.as_ref());
            }
            self.ledger.want(key, wanted);
        }
        if letters.is_complete {
            self.ledger.complete();
        }
        for warning in letters.warnings {
            let Warning {
                service,
                reason,
                message,
            } = warning;
            let uid = self.ledger.uid(&service).unwrap_or_default().to_owned();
            self.ledger.tell(Event {
                service,
                uid,
                is_warning: true,
                reason,
                message,
            });
        }
        for notice in letters.notices {
            self.ledger.notice(notice);
        }
        if let Some(sign) = letters.sign {
            self.ledger.sign(sign);
        }
        letters.is_last
    }

    fn hear(&mut self, sort: Sort, heard: Heard<Option<Seen>>) {
        match heard {
            Heard::Listed {
                objects, version, ..
            } => {
                let objects: Vec<Seen> = objects.into_iter().flatten().collect();
                self.note_earlier(sort, &objects);
                self.ledger.list(sort, objects, number(&version));
                self.complaints.retain(|(of, _)| *of != sort);
            }
            Heard::Applied(Some(seen), _) => self.ledger.see(seen),
            Heard::Deleted(Some(seen), version) => {
                // It may have gone with a Node that has come back as another.
                self.owner = None;
                self.ledger.vanish(sort, &seen.name, number(&version));
            }
            Heard::Failed(failure) => match failure.kind {
                FailureKind::Missing => {
                    self.note_earlier(sort, &[]);
                    self.ledger.miss(sort);
                    self.complain(sort, "there is no such kind", &failure.cause);
                }
                FailureKind::Forbidden => {
                    self.note_earlier(sort, &[]);
                    self.complain(sort, "it may not be followed", &failure.cause);
                }
                // The source of the objects says so, too.
                FailureKind::Gone | FailureKind::Refused | FailureKind::Other => {}
            },
            Heard::Applied(None, _) | Heard::Deleted(None, _) => {}
            Heard::Reached(_) | Heard::Recovered => {}
        }
    }

    /// The first list is what an earlier run has left.
    fn note_earlier(&self, sort: Sort, objects: &[Seen]) {
        let services = || {
            let said = objects.iter().filter(|seen| seen.body.is_some());
            let services = said.filter_map(|seen| Some(seen.key.service()?.0.clone()));
            services.collect()
        };
        if sort == Sort::Layer2 {
            self.earlier.send_if_modified(|earlier| {
                let is_first = earlier.is_none();
                earlier.get_or_insert_with(services);
                is_first
            });
        }
    }

    /// Once for each kind and cause, until it is over.
    fn complain(&mut self, sort: Sort, reason: &'static str, error: &str) {
        let kind = sort.resource().kind;
        if self.complaints.insert((sort, reason)) {
            warn!(kind, reason, error, "not reported to the API server");
        }
    }

    async fn perform(&mut self, task: Task) {
        let retry = task.clone();
        let outcome = match task {
            Task::Create(key) => self.create(&key).await,
            Task::Write {
                key,
                name,
                body,
                present,
            } => {
                let patch = status(&key, &self.settings.node, &body, present.as_ref(), &now());
                let request = self.request(&key).patch_subresource(
                    "status",
                    &name,
                    &self.patch(&key),
                    &Patch::Merge(patch),
                );
                let outcome = self.write(&key, Some(&body), request).await;
                // Somebody else may insist on other words: MetalLB's speaker, while both run.
                if key.sort() == Sort::Configuration && outcome.is_ok() {
                    let until = Instant::now() + SESSION_PAUSE;
                    self.ledger.put_off(key, until);
                }
                outcome
            }
            Task::Delete { key, name } => self.delete(&key, &name).await,
            Task::Sign { name, sign } => self.write_sign(&name, &sign).await,
            Task::Tell(event) => self.post(&event).await,
            Task::Notice(notice) => self.post_notice(&notice).await,
            Task::Sweep(services) => self.sweep(services).await,
        };
        match outcome {
            Ok(()) => self.note_answer(),
            Err(failure) => self.note_failure(retry, &failure),
        }
    }

    /// Makes an object; one that is there although it does not look like ours is made to.
    async fn create(&mut self, key: &Key) -> Result<(), Failed> {
        let owner = self.owner().await?;
        let node = &self.settings.node;
        let mut object = metadata(key, node, owner.as_deref());
        if let Some(sign) = self.ledger.sign_of(key) {
            object["metadata"]["annotations"] = signed(sign)["metadata"]["annotations"].take();
        }
        let body = object.to_string().into_bytes();
        let created = self.request(key).create(&PostParams::default(), body);
        match self.write(key, None, created).await {
            Err(failed) if failed.code() == Some(409) => {
                let name = name(key, &self.settings.node);
                let patch = Patch::Merge(object);
                let patched = self.request(key).patch(&name, &self.patch(key), &patch);
                self.write(key, None, patched).await
            }
            outcome => outcome,
        }
    }

    /// Writes an object, and sees what the server made of it and of what it was to say.
    async fn write(
        &mut self,
        key: &Key,
        body: Option<&Body>,
        request: Result<Http, request::Error>,
    ) -> Done {
        let object: Value = self.ask(request).await?;
        // A session's writes are far apart, however much it flaps.
        if key.sort() == Sort::Session {
            let until = Instant::now() + SESSION_PAUSE;
            self.ledger.put_off(key.clone(), until);
        }
        match (seen(key.sort(), object), body) {
            (Some(seen), Some(body)) => self.ledger.wrote(body, seen),
            (Some(seen), None) => self.ledger.see(seen),
            (None, _) => {}
        }
        Ok(())
    }

    async fn write_sign(&mut self, name: &str, sign: &Sign) -> Done {
        let key = Key::Configuration;
        let patch = Patch::Merge(signed(sign));
        let request = self.request(&key).patch(name, &self.patch(&key), &patch);
        self.write(&key, None, request).await
    }

    async fn delete(&mut self, key: &Key, name: &str) -> Done {
        let request = self.request(key).delete(name, &DeleteParams::default());
        match self.ask::<Value>(request).await {
            Ok(_) => {}
            Err(failed) if failed.code() == Some(404) => {}
            Err(failed) => return Err(failed),
        }
        self.ledger.lose(key, name);
        Ok(())
    }

    async fn post(&self, told: &Event) -> Done {
        let object = event(told, &self.settings.node, &now(), instant());
        self.post_event(&object).await
    }

    /// Where it says that it is.
    async fn post_event(&self, event: &Value) -> Done {
        let namespace = event["metadata"]["namespace"].as_str().unwrap_or_default();
        let path = format!("/api/v1/namespaces/{namespace}/events");
        let body = event.to_string().into_bytes();
        let request = Request::new(path).create(&PostParams::default(), body);
        self.ask::<Value>(request).await.map(drop)
    }

    async fn post_notice(&mut self, notice: &Notice) -> Done {
        let uid = self.owner().await?.unwrap_or_default();
        let object = node_event(notice, &self.settings.node, &uid, &now(), instant());
        self.post_event(&object).await
    }

    /// Other nodes that can take back what they said have done so by now; the others are gone.
    async fn sweep(&self, services: BTreeSet<ServiceKey>) -> Done {
        let node = label(&self.settings.node);
        let parameters = ListParams {
            label_selector: Some(format!("{}!={node}", api::LABEL_NODE)),
            ..ListParams::default()
        };
        let path = Sort::Layer2.path(&self.settings.namespace);
        let request = Request::new(path.as_str()).list(&parameters);
        let list: ObjectList<DynamicObject> = self.ask(request).await?;
        let others = list
            .items
            .into_iter()
            .filter_map(|object| read(Sort::Layer2, &object));
        let stale = others.filter(|other| {
            let service = other.key.service().map(|(service, _)| service);
            service.is_some_and(|service| services.contains(service))
        });
        for other in stale {
            let request = Request::new(path.as_str()).delete(&other.name, &DeleteParams::default());
            match self.ask::<Value>(request).await {
                Ok(_) => {}
                Err(failed) if failed.code() == Some(404) => {}
                Err(failed) => return Err(failed),
            }
        }
        Ok(())
    }

    /// The Node that the objects go with; none, if there is no such Node.
    async fn owner(&mut self) -> Result<Option<String>, Failed> {
        if self.owner.is_none() {
            let request = Request::new("/api/v1/nodes");
            let request = request.get(&self.settings.node, &kube::api::GetParams::default());
            match self.ask::<Node>(request).await {
                Ok(node) => self.owner = node.metadata.uid,
                Err(failed) if matches!(failed.code(), Some(403 | 404)) => {}
                Err(failed) => return Err(failed),
            }
        }
        Ok(self.owner.clone())
    }

    fn request(&self, key: &Key) -> Request {
        Request::new(key.sort().path(&self.settings.namespace))
    }

    /// Who manages the fields; of a ConfigurationState MetalLB's users know by which name.
    fn patch(&self, key: &Key) -> PatchParams {
        let manager = match key.sort() {
            Sort::Configuration => api::CONFIG_FIELD_OWNER,
            Sort::Layer2 | Sort::Bgp | Sort::Session => FIELD_MANAGER,
        };
        PatchParams {
            field_manager: Some(manager.to_owned()),
            ..PatchParams::default()
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        request: Result<Http, request::Error>,
    ) -> Result<T, Failed> {
        let request = request.map_err(|error| Failed::Unknown(error.to_string()))?;
        within(PATIENCE, self.client.request::<T>(request)).await
    }

    fn note_answer(&mut self) {
        self.backoff.reset();
        self.quiet_until = None;
        if std::mem::take(&mut self.is_silent) {
            info!("reports are written to the API server again");
        }
    }

    fn note_failure(&mut self, task: Task, failure: &Failed) {
        let now = Instant::now();
        let error = failure.to_string();
        match failure.code() {
            Some(code) if !matches!(code, 429 | 500..) => {
                self.note_refusal(task, code, &error);
            }
            Some(_) | None => {
                let pause = self.backoff.next(&mut self.rng).min(self.longest_pause());
                self.quiet_until = Some(now + pause);
                if !std::mem::replace(&mut self.is_silent, true) {
                    warn!(error, "reports not written to the API server, trying again");
                }
                self.again(task, now);
            }
        }
    }

    /// Who is not heard is taken for dead when its sign does not change for three or four beats.
    fn longest_pause(&self) -> Duration {
        match self.ledger.is_beating() {
            true => BEATING,
            false => REFUSED,
        }
    }

    /// Asking again at once would change nothing.
    fn note_refusal(&mut self, task: Task, code: u16, error: &str) {
        let later = Instant::now() + REFUSED;
        match task {
            Task::Write { key, name, .. } if code == 404 => {
                self.ledger.lose(&key, &name);
            }
            Task::Sign { name, .. } if code == 404 => {
                self.ledger.lose(&Key::Configuration, &name);
            }
            Task::Sign { .. } => {
                let later = later.min(Instant::now() + self.longest_pause());
                self.complain(Sort::Configuration, "it is refused", error);
                self.ledger.put_off(Key::Configuration, later);
            }
            Task::Create(key) | Task::Write { key, .. } | Task::Delete { key, .. } => {
                self.complain(key.sort(), "it is refused", error);
                self.ledger.put_off(key, later);
            }
            Task::Sweep(services) => self.ledger.sweep_again(later, services),
            // Its Service, or its namespace, may be gone.
            Task::Tell(_) | Task::Notice(_) => debug!(error, "event not written"),
        }
    }

    fn again(&mut self, task: Task, now: Instant) {
        match task {
            Task::Create(key) | Task::Write { key, .. } | Task::Delete { key, .. } => {
                self.ledger.put_off(key, now);
            }
            Task::Sign { .. } => self.ledger.put_off(Key::Configuration, now),
            Task::Sweep(services) => self.ledger.sweep_again(now, services),
            Task::Tell(event) => self.ledger.tell(event),
            Task::Notice(notice) => self.ledger.notice_again(notice),
        }
    }
}

type Http = http::Request<Vec<u8>>;
type Done = Result<(), Failed>;

fn follow(
    client: &Client,
    settings: &Settings,
    sort: Sort,
    sender: &mpsc::Sender<(Sort, Heard<Option<Seen>>)>,
) -> Watch {
    let all = Target::all(sort.path(&settings.namespace));
    let target = match sort {
        Sort::Configuration => Target {
            fields: format!(
                "metadata.name={}",
                name(&Key::Configuration, &settings.node)
            ),
            ..all
        },
        Sort::Layer2 | Sort::Bgp | Sort::Session => Target {
            labels: format!("{}={}", api::LABEL_NODE, label(&settings.node)),
            ..all
        },
    };
    let sender = sender.clone();
    let sink = move |event| {
        let sender = sender.clone();
        // Nobody listens any more only when everything ends.
        async move { drop(sender.send((sort, event)).await) }
    };
    let convert = move |object: DynamicObject| read(sort, &object);
    Watch::start(client.clone(), target, watch::channel(0).1, convert, sink)
}

fn read(sort: Sort, object: &DynamicObject) -> Option<Seen> {
    seen(sort, serde_json::to_value(object).ok()?)
}

/// The versions of one collection are numbers that grow.
fn number(version: &str) -> u64 {
    version.parse().unwrap_or_default()
}

fn now() -> String {
    crate::status::time(SystemTime::now())
}

/// What makes the name of an event its own.
fn instant() -> u128 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch.unwrap_or_default().as_nanos()
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(at.into()).await,
        None => pending().await,
    }
}

/// How many reports a second, when nothing else is to be done.
const RATE: u32 = 20;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long nothing is asked of a server that does not answer, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// How long to wait before what was refused is tried again.
const REFUSED: Duration = Duration::from_secs(60);

/// The longest pause while others go by what is written.
const BEATING: Duration = Duration::from_secs(5);

/// Least time between two writes about one session, or about the configuration.
const SESSION_PAUSE: Duration = Duration::from_secs(2);

/// How much may wait to be looked at; then the watches wait.
const HEARD: usize = 256;

/// Who manages the fields.
const FIELD_MANAGER: &str = "ferrolb-speaker";

/// How many notices wait for a server that does not answer.
const NOTICES: usize = 256;

/// How many warnings wait for a server that does not answer: they are for people, who read no more.
const WARNINGS: usize = 10_000;
