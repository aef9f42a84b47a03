//! Follows the objects of one kind: a list that is complete, then every change, for ever.
//!
//! ```text
//!          ┌──────────── 410 Gone, or asked to ──────────┐
//!          ▼                                             │
//!       list ──complete──▶ watch from its version ──end──┴─▶ watch from the last version seen
//! ```
//!
//! The list is the most recent there is (what is decided by it may not be older than what an earlier
//! leader wrote), streamed where the server can and in pages where it cannot. A connection on which
//! nothing arrives is replaced: the server sends a bookmark about once a minute.

#![expect(
    clippy::disallowed_methods,
    reason = "driver: owns a task, a connection and its deadlines"
)]

use std::fmt::Debug;
use std::future;
use std::marker::PhantomData;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::{ObjectList, Request, Status};
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::request::{self, Failed};

/// What to follow.
#[derive(Debug, Clone)]
pub struct Target {
    /// Path of the collection, such as `/api/v1/services`.
    pub path: String,
    /// Field selector; empty: every object.
    pub fields: String,
    /// Label selector; empty: every object.
    pub labels: String,
}

impl Target {
    /// Every object of a collection.
    pub fn all(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            fields: String::new(),
            labels: String::new(),
        }
    }
}

/// What is heard of a collection.
#[derive(Debug)]
pub enum Event<T> {
    /// These are all.
    Listed {
        /// The objects.
        objects: Vec<T>,
        /// The resourceVersion they are of.
        version: String,
        /// The round of listing that was asked for when this one began.
        round: u64,
    },
    /// The object is like this.
    Applied(T, String),
    /// The object, as it was last, is no more; or it is not selected any more.
    Deleted(T, String),
    /// Everything up to this resourceVersion has been told.
    Reached(String),
    /// Nothing can be heard at present, and is tried again; said once for each cause.
    Failed(Failure),
    /// It can be heard again.
    Recovered,
}

/// Why nothing can be heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What sort of failure.
    pub kind: FailureKind,
    /// In the words of who refused.
    pub cause: String,
}

/// What sort of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The server does not know the kind.
    Missing,
    /// This account may not list or watch it.
    Forbidden,
    /// The version to go on from is too old.
    Gone,
    /// The server does not take the request; if it was for a streamed list, pages are asked for.
    Refused,
    /// Anything else; the server may be out of reach.
    Other,
}

/// Follows until dropped.
#[derive(Debug)]
pub struct Watch(JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Watch {
    /// Begins to follow. `convert` keeps what matters of an object; `sink` takes what is heard, and may
    /// be slow: the server waits. The list is made anew whenever `round` changes.
    pub fn start<K, T, F>(
        client: Client,
        target: Target,
        round: watch::Receiver<u64>,
        convert: impl Fn(K) -> T + Send + Sync + 'static,
        sink: impl Fn(Event<T>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        K: Resource + DeserializeOwned + Clone + Debug + Send + 'static,
        T: Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let follower = Follower {
            client,
            target,
            round,
            convert,
            sink,
            resume: None,
            pages: false,
            told: None,
            pause: FIRST_PAUSE,
            _objects: PhantomData,
        };
        Self(tokio::spawn(follower.run()))
    }
}

struct Follower<K, C, S> {
    client: Client,
    target: Target,
    round: watch::Receiver<u64>,
    convert: C,
    sink: S,
    /// The version to go on from.
    resume: Option<String>,
    /// The server is asked for pages: it does not stream.
    pages: bool,
    told: Option<Failure>,
    pause: Duration,
    _objects: PhantomData<fn() -> K>,
}

impl<K, C, S, T, F> Follower<K, C, S>
where
    C: Fn(K) -> T + Send + Sync,
    K: Resource + DeserializeOwned + Clone + Debug + Send + 'static,
    T: Send + 'static,
    S: Fn(Event<T>) -> F + Send + Sync,
    F: Future<Output = ()> + Send,
{
    async fn run(mut self) {
        loop {
            let outcome = match &self.resume {
                Some(version) => {
                    let version = version.clone();
                    self.watch(version).await
                }
                None if self.pages => self.list().await,
                None => self.stream_list().await,
            };
            if let Err(failure) = outcome {
                self.fail(failure).await;
            }
        }
    }

    async fn fail(&mut self, failure: Failure) {
        match failure.kind {
            FailureKind::Gone => return self.resume = None,
            FailureKind::Refused if self.resume.is_none() && !self.pages => {
                return self.pages = true;
            }
            FailureKind::Refused
            | FailureKind::Missing
            | FailureKind::Forbidden
            | FailureKind::Other => {}
        }
        // One interruption is no news: a server that restarts ends every watch.
        let is_news = self.pause > FIRST_PAUSE || failure.kind != FailureKind::Other;
        if is_news && self.told.as_ref() != Some(&failure) {
            self.told = Some(failure.clone());
            (self.sink)(Event::Failed(failure)).await;
        }
        let spread = fastrand::u32(50..=100);
        sleep(self.pause * spread / 100).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    async fn hear(&mut self, event: Event<T>) {
        self.pause = FIRST_PAUSE;
        if self.told.take().is_some() {
            (self.sink)(Event::Recovered).await;
        }
        (self.sink)(event).await;
    }

    /// In pages; the server may have changed between them, which the watch makes good.
    async fn list(&mut self) -> Result<(), Failure> {
        let round = *self.round.borrow_and_update();
        let mut objects = Vec::new();
        let mut parameters = ListParams {
            field_selector: selector(&self.target.fields),
            label_selector: selector(&self.target.labels),
            limit: Some(PAGE),
            ..ListParams::default()
        };
        loop {
            let request = Request::new(self.target.path.as_str()).list(&parameters);
            let request = request.map_err(|error| Failure::other(request::deepest(&error)))?;
            let page: ObjectList<K> = within(self.client.request(request)).await?;
            objects.extend(page.items.into_iter().map(&self.convert));
            parameters.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if parameters.continue_token.is_none() {
                let version = page.metadata.resource_version.unwrap_or_default();
                self.listed(objects, version, round).await;
                return Ok(());
            }
        }
    }

    async fn listed(&mut self, objects: Vec<T>, version: String, round: u64) {
        self.resume = Some(version.clone());
        let event = Event::Listed {
            objects,
            version,
            round,
        };
        self.hear(event).await;
    }

    /// As the beginning of a watch, which then goes on.
    async fn stream_list(&mut self) -> Result<(), Failure> {
        let round = *self.round.borrow_and_update();
        let mut parameters = self.watch_parameters();
        parameters.send_initial_events = true;
        // No version: the most recent state, and not just any.
        let request = Request::new(self.target.path.as_str()).watch(&parameters, "");
        let request = request.map_err(|error| Failure::other(request::deepest(&error)))?;
        let events = within(self.client.request_events::<K>(request)).await;
        let mut events = Box::pin(events?);
        let mut objects = Vec::new();
        loop {
            let Some(event) = within(events.try_next()).await? else {
                return Err(Failure::cut());
            };
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    objects.push((self.convert)(object));
                }
                WatchEvent::Deleted(_) => return Err(Failure::cut()),
                WatchEvent::Error(status) => {
                    return Err(Failure::of_status(&status));
                }
                WatchEvent::Bookmark(mark) => {
                    if mark.metadata.annotations.contains_key(INITIAL_END) {
                        self.listed(objects, mark.metadata.resource_version, round)
                            .await;
                        break;
                    }
                }
            }
        }
        self.go_on(&mut events).await
    }

    async fn watch(&mut self, version: String) -> Result<(), Failure> {
        let request =
            Request::new(self.target.path.as_str()).watch(&self.watch_parameters(), &version);
        let request = request.map_err(|error| Failure::other(request::deepest(&error)))?;
        let events = within(self.client.request_events::<K>(request)).await?;
        let mut events = Box::pin(events);
        self.hear(Event::Reached(version)).await;
        self.go_on(&mut events).await
    }

    async fn go_on<E>(&mut self, events: &mut E) -> Result<(), Failure>
    where
        E: futures_util::Stream<Item = kube::Result<WatchEvent<K>>> + Unpin,
    {
        loop {
            let event = tokio::select! {
                event = timeout(IDLE, events.try_next()) => event,
                () = changed(&mut self.round) => {
                    self.resume = None;
                    return Ok(());
                }
            };
            let Ok(event) = event else {
                return Ok(());
            };
            match event.map_err(|error| Failure::from(Failed::from(error)))? {
                None => return Ok(()),
                Some(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    self.tell(object, Event::Applied).await?;
                }
                Some(WatchEvent::Deleted(object)) => self.tell(object, Event::Deleted).await?,
                Some(WatchEvent::Bookmark(mark)) => {
                    let version = mark.metadata.resource_version;
                    self.resume = Some(version.clone());
                    self.hear(Event::Reached(version)).await;
                }
                Some(WatchEvent::Error(status)) => return Err(Failure::of_status(&status)),
            }
        }
    }

    async fn tell(&mut self, object: K, told: fn(T, String) -> Event<T>) -> Result<(), Failure> {
        let version = object.resource_version().unwrap_or_default();
        let event = told((self.convert)(object), version.clone());
        self.resume = Some(version);
        self.hear(event).await;
        Ok(())
    }

    fn watch_parameters(&self) -> WatchParams {
        WatchParams {
            field_selector: selector(&self.target.fields),
            label_selector: selector(&self.target.labels),
            // Not all at once: every follower of every node would come back in the same second.
            timeout: Some(fastrand::u32(240..=480)),
            bookmarks: true,
            send_initial_events: false,
        }
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Status(status) => Self::of_status(&status),
            Failed::Unknown(cause) => Self::other(cause),
        }
    }
}

impl Failure {
    fn of_status(status: &Status) -> Self {
        let kind = match status.code {
            403 => FailureKind::Forbidden,
            404 => FailureKind::Missing,
            410 => FailureKind::Gone,
            400 | 422 => FailureKind::Refused,
            _ => FailureKind::Other,
        };
        let cause = status.message.clone();
        Self { kind, cause }
    }

    fn other(cause: String) -> Self {
        Self {
            kind: FailureKind::Other,
            cause,
        }
    }

    fn cut() -> Self {
        Self::other("the list was cut off".to_owned())
    }
}

async fn within<T>(answer: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    let answer = request::within(PATIENCE, answer).await;
    answer.map_err(Failure::from)
}

async fn changed(round: &mut watch::Receiver<u64>) {
    if round.changed().await.is_err() {
        // Nobody will ever ask.
        future::pending::<()>().await;
    }
}

fn selector(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

const INITIAL_END: &str = "k8s.io/initial-events-end";
const PAGE: u32 = 500;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long an answer may take, and the next part of a list.
const PATIENCE: Duration = Duration::from_secs(20);

/// Longer than the pause between two bookmarks.
const IDLE: Duration = Duration::from_secs(100);
