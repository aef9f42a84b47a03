//! The thread that follows the directories: inotify says when, the machine decides, the directory is
//! read, what changed is handed over.

#![expect(
    clippy::disallowed_methods,
    reason = "driver: starts a thread and reads the clock"
)]

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::Sender;
use tracing::warn;

use super::Batch;
use super::directory::Directory;
use super::settle::{Input, Output, Settings, Settle};
use super::tree::Identity;

/// People write manifests: what belongs together comes within the quiet.
const MANIFESTS: Settings = Settings {
    quiet: Duration::from_millis(100),
    limit: Duration::from_secs(1),
    look_every: Duration::from_secs(5),
};

/// Records are renamed into place, each a whole: waiting only collects those of one moment.
const STATE: Settings = Settings {
    quiet: Duration::from_millis(10),
    limit: Duration::from_millis(50),
    look_every: Duration::from_secs(3),
};

/// More events than these at once are as good as "look at everything".
const EVENTS: usize = 4096;

/// Ends the thread when dropped.
pub(super) struct Handle {
    wake: SyncSender<Event>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    must_stop: AtomicBool,
    has_lost_events: AtomicBool,
}

enum Event {
    Touched(PathBuf),
    Unsure,
    Wake,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.must_stop.store(true, Ordering::Relaxed);
        // A full queue wakes the thread as well.
        let (Ok(()) | Err(_)) = self.wake.try_send(Event::Wake);
    }
}

/// Starts the thread; the first batch is everything present.
pub(super) fn start(directory: Directory, batches: Sender<Batch>) -> io::Result<Handle> {
    let (wake, events) = mpsc::sync_channel(EVENTS);
    let shared = Arc::new(Shared::default());
    let watcher = watcher(wake.clone(), Arc::clone(&shared));
    let follower = Follower {
        directory,
        batches,
        events,
        shared: Arc::clone(&shared),
        watcher,
        watched: BTreeMap::new(),
    };
    thread::Builder::new()
        .name("manifests".to_owned())
        .spawn(move || follower.run())?;
    Ok(Handle { wake, shared })
}

struct Follower {
    directory: Directory,
    batches: Sender<Batch>,
    events: Receiver<Event>,
    shared: Arc<Shared>,
    /// Without it, looking every few seconds has to do.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeMap<PathBuf, Identity>,
}

/// The receiver of batches is gone.
struct Ended;

impl Follower {
    fn run(mut self) {
        let first = self.directory.first();
        // What changed between reading and watching raised no event: the machines begin unsure.
        self.watch();
        let now = Instant::now();
        let mut manifests = Settle::new(MANIFESTS, now);
        let mut state = Settle::new(STATE, now);
        manifests.handle(now, Input::Unsure);
        state.handle(now, Input::Unsure);
        if self.hand_over(first).is_err() {
            return;
        }
        while !self.shared.must_stop.load(Ordering::Relaxed) {
            self.wait(&mut manifests, &mut state);
            let now = Instant::now();
            manifests.handle_timeout(now);
            state.handle_timeout(now);
            if self.follow_manifests(&mut manifests).is_err()
                || self.follow_state(&mut state).is_err()
            {
                return;
            }
        }
    }

    /// Until something happens or a deadline has come.
    fn wait(&self, manifests: &mut Settle, state: &mut Settle) {
        let (manifests_deadline, _) = manifests.poll_timeout();
        let (state_deadline, _) = state.poll_timeout();
        let deadline = manifests_deadline.min(state_deadline);
        let patience = deadline.saturating_duration_since(Instant::now());
        let first = self.events.recv_timeout(patience).ok();
        let now = Instant::now();
        if self.shared.has_lost_events.swap(false, Ordering::Relaxed) {
            manifests.handle(now, Input::Unsure);
            state.handle(now, Input::Unsure);
        }
        let more = self.events.try_iter().take(EVENTS);
        for event in first.into_iter().chain(more) {
            match event {
                Event::Touched(path) => {
                    let followed = self.directory.followed_state();
                    if followed.is_some_and(|tree| tree.concerns(&path)) {
                        state.handle(now, Input::Touched(path.clone()));
                    }
                    if self.directory.manifests().concerns(&path) {
                        manifests.handle(now, Input::Touched(path));
                    }
                }
                Event::Unsure => {
                    manifests.handle(now, Input::Unsure);
                    state.handle(now, Input::Unsure);
                }
                Event::Wake => {}
            }
        }
    }

    fn follow_manifests(&mut self, settle: &mut Settle) -> Result<(), Ended> {
        match settle.poll() {
            Some(Output::Look) => {
                if self.directory.manifests().looks_different() {
                    settle.handle(Instant::now(), Input::Unsure);
                }
                let batch = self.directory.retry();
                self.hand_over(batch)?;
            }
            Some(Output::Read(touched)) => {
                let batch = self.directory.update(&touched);
                if self.watch() {
                    settle.handle(Instant::now(), Input::Unsure);
                }
                self.hand_over(batch)?;
            }
            None => {}
        }
        Ok(())
    }

    fn follow_state(&mut self, settle: &mut Settle) -> Result<(), Ended> {
        let Some(tree) = self.directory.followed_state() else {
            return Ok(());
        };
        match settle.poll() {
            Some(Output::Look) if tree.looks_different() => {
                settle.handle(Instant::now(), Input::Unsure);
            }
            Some(Output::Read(touched)) => {
                let batch = self.directory.update_state(&touched);
                if self.watch() {
                    settle.handle(Instant::now(), Input::Unsure);
                }
                self.hand_over(batch)?;
            }
            Some(Output::Look) | None => {}
        }
        Ok(())
    }

    fn hand_over(&self, batch: Batch) -> Result<(), Ended> {
        if batch.is_empty() {
            return Ok(());
        }
        self.batches.blocking_send(batch).map_err(|_| Ended)
    }

    /// Watches the directories there are; true when one is new, because what happened in it before
    /// went unseen.
    fn watch(&mut self) -> bool {
        let Some(watcher) = &mut self.watcher else {
            return false;
        };
        let mut wanted = self.directory.manifests().folders().clone();
        if let Some(tree) = self.directory.followed_state() {
            wanted.extend(tree.folders().clone());
        }
        let gone = |(path, identity): &(&PathBuf, &Identity)| wanted.get(*path) != Some(*identity);
        for (path, _) in self.watched.iter().filter(gone) {
            // The kernel forgets what is deleted by itself, and says so by an error.
            let (Ok(()) | Err(_)) = watcher.unwatch(path);
        }
        let mut has_new = false;
        for (path, identity) in &wanted {
            if self.watched.get(path) == Some(identity) {
                continue;
            }
            match watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => has_new = true,
                Err(error) => {
                    warn!(path = %path.display(), %error, "directory cannot be watched, looking at it every few seconds");
                }
            }
        }
        self.watched = wanted;
        has_new
    }
}

fn watcher(events: SyncSender<Event>, shared: Arc<Shared>) -> Option<RecommendedWatcher> {
    let made = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        for event in translate(event) {
            if let Err(TrySendError::Full(_)) = events.try_send(event) {
                shared.has_lost_events.store(true, Ordering::Relaxed);
            }
        }
    });
    made.inspect_err(|error| {
        warn!(%error, "directories cannot be watched, looking at them every few seconds");
    })
    .ok()
}

/// Opening and reading change nothing, and we do both.
fn translate(event: notify::Result<notify::Event>) -> Vec<Event> {
    let Ok(event) = event else {
        return vec![Event::Unsure];
    };
    if event.need_rescan() {
        return vec![Event::Unsure];
    }
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => event.paths.into_iter().map(Event::Touched).collect(),
        EventKind::Access(_) => Vec::new(),
    }
}
