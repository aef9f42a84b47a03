//! The link to layer 2. It is started off the loop: a key file can lie on a file system that hangs,
//! and the kernel is to list its interfaces first. Until then layer 2 is silent and all else goes on.

use std::collections::BTreeSet;
use std::future::pending;
use std::io::{self, ErrorKind, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ferrolb_crds::api;
use ferrolb_crds::model::Secret;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::{Heartbeat, Settings, Speaker};
use crate::layer2::exclusion::Exclusion;
use crate::layer2::{self, Counters, Desired, Layer2, Letter, Report};
use crate::world;

/// Layer 2, while it runs or is being started.
#[derive(Default)]
pub(super) struct SegmentLink {
    running: Option<(Layer2, watch::Receiver<Report>)>,
    starting: Option<JoinHandle<Result<Started, String>>>,
    secret: Key,
    /// The file that the key is in, if it is in one.
    key_file: Option<KeyFile>,
}

/// Layer 2, and the key that it goes by.
type Started = (Layer2, Option<Secret>);

/// The key, from the objects or a file.
#[derive(Debug, Default)]
struct Key {
    /// As it is at present.
    present: Option<Secret>,
    /// The one that layer 2 goes by.
    used: Option<Secret>,
    /// Whether it is known if there is one.
    is_known: bool,
}

/// A file that is read again and again: nobody says when a key in it is changed.
struct KeyFile {
    path: PathBuf,
    next: Instant,
    /// Off the loop: the file system can hang.
    reading: Option<JoinHandle<Result<Secret, String>>>,
    last: Option<Secret>,
    problem: Option<String>,
}

/// What the link waits for.
pub(super) enum News {
    /// What came of starting layer 2.
    Started(Result<Layer2, String>),
    /// The key in the file is that.
    Key(Secret),
    /// It has something to report.
    Report,
    /// It has ended.
    Ended,
}

impl SegmentLink {
    /// Begins to start it.
    fn start(&mut self, settings: &Settings) {
        let (key_file, key) = match &settings.heartbeat {
            Heartbeat::KeyFile(path) => (Some(path.clone()), None),
            Heartbeat::Secret(_) => (None, self.secret.present.clone()),
            Heartbeat::Insecure | Heartbeat::NoKey => (None, None),
        };
        self.key_file = key_file.clone().map(KeyFile::new);
        let exclusion_file = &settings.layer2_exclusion;
        let mut settings = layer2::Settings {
            node: settings.identity.node.clone(),
            key,
            interval: settings.heartbeat_interval,
            down_after: settings.heartbeat_down_after,
            reannounce: settings.layer2_reannounce,
            exclusion: Exclusion::default(),
        };
        let exclusion = exclusion_file.clone();
        let start = move || {
            if let Some(key_file) = &key_file {
                settings.key = Some(read_key(key_file)?);
            }
            settings.exclusion = read_exclusion(exclusion.as_deref());
            let key = settings.key.clone();
            let started = Layer2::start(settings);
            let started = started.map_err(|error| format!("{:#}", anyhow::Error::from(error)))?;
            Ok((started, key))
        };
        self.starting = Some(tokio::task::spawn_blocking(start));
    }

    /// Waits for news; for ever while it is idle. Cancel-safe.
    pub(super) async fn next(&mut self) -> News {
        if let Some(starting) = &mut self.starting {
            let outcome = starting.await;
            self.starting = None;
            let outcome = outcome.unwrap_or_else(|error| Err(error.to_string()));
            return News::Started(outcome.map(|(layer2, key)| {
                if self.key_file.is_some() {
                    self.secret.present.clone_from(&key);
                }
                self.secret.used = key;
                layer2
            }));
        }
        let Some((_, report)) = &mut self.running else {
            return pending().await;
        };
        let key_file = &mut self.key_file;
        let key = async {
            match key_file {
                Some(key_file) => key_file.next().await,
                None => pending().await,
            }
        };
        tokio::select! {
            changed = report.changed() => match changed {
                Ok(()) => News::Report,
                Err(_) => News::Ended,
            },
            key = key => News::Key(key),
        }
    }

    /// It runs.
    pub(super) fn run(&mut self, layer2: Layer2) {
        let report = layer2.report();
        self.running = Some((layer2, report));
    }

    /// It has ended.
    pub(super) fn forget(&mut self) {
        self.running = None;
    }

    /// It is being started.
    pub(super) fn is_starting(&self) -> bool {
        self.starting.is_some()
    }

    /// It neither runs nor is being started.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_none() && self.starting.is_none()
    }

    /// What it said last, if it runs.
    pub(super) fn report(&self) -> Option<Report> {
        let (_, report) = self.running.as_ref()?;
        Some(report.borrow().clone())
    }

    /// What it did for each address, if it runs.
    pub(super) fn counters(&self) -> Option<Counters> {
        let (layer2, _) = self.running.as_ref()?;
        Some(layer2.counters())
    }

    /// What it has found out lately.
    pub(super) fn take_letter(&self) -> Letter {
        let running = self.running.as_ref();
        running
            .map(|(layer2, _)| layer2.take_letter())
            .unwrap_or_default()
    }

    /// Tells it what should be true, if it runs.
    pub(super) fn want(&self, desired: impl FnOnce() -> Desired) {
        if let Some((layer2, _)) = &self.running {
            layer2.want(desired());
        }
    }

    /// Gives it up, to be stopped.
    pub(super) fn take(&mut self) -> Option<Layer2> {
        self.running.take().map(|(layer2, _)| layer2)
    }
}

impl Speaker {
    /// Starts it if there is a key, or none is wanted.
    pub(super) fn start_layer2(&mut self) {
        match &self.settings.heartbeat {
            Heartbeat::NoKey => {
                return self.silence_layer2(
                    "neither --heartbeat-key-file nor --heartbeat-insecure was given".to_owned(),
                );
            }
            Heartbeat::Secret(_) if !self.segment.secret.is_known => {
                let reason = "the heartbeat key has not been read yet".to_owned();
                drop(self.world.hear(world::Segment::Off(reason)));
                return;
            }
            Heartbeat::Secret(name) if self.segment.secret.present.is_none() => {
                let namespace = &self.settings.namespace;
                let key = api::HEARTBEAT_KEY;
                return self.silence_layer2(format!(
                    "there is no heartbeat key: Secret {namespace}/{name} has no usable `{key}` yet"
                ));
            }
            Heartbeat::Insecure => warn!("heartbeats are not authenticated"),
            Heartbeat::KeyFile(_) | Heartbeat::Secret(_) => {}
        }
        self.segment.start(&self.settings);
    }

    /// Takes in the key that came with the objects. One that is gone goes on to be used: without it
    /// every address would be withdrawn.
    pub(super) fn take_key(&mut self, key: Option<&[u8]>) {
        self.segment.secret.is_known = true;
        match key.map(secret_of) {
            Some(Ok(key)) => self.segment.secret.present = Some(key),
            Some(Err(reason)) => warn!(reason, "heartbeat key not usable"),
            None if self.segment.secret.present.is_some() => {
                warn!("heartbeat key is gone: going on with the last one");
            }
            None => {}
        }
        // What is being started is looked at when it has been.
        if self.segment.is_idle() {
            self.start_layer2();
        } else {
            self.renew_key();
        }
    }

    /// Takes in what the file of the key says.
    pub(super) fn take_key_file(&mut self, key: Secret) {
        self.segment.secret.present = Some(key);
        self.renew_key();
    }

    /// Has layer 2 go by the present key.
    fn renew_key(&mut self) {
        let SegmentLink {
            running, secret, ..
        } = &mut self.segment;
        let Some((layer2, _)) = running else {
            return;
        };
        if let Some(present) = &secret.present
            && secret.used.as_ref() != Some(present)
        {
            info!("the heartbeat key has changed: the former one is good for some minutes more");
            layer2.rekey(present.clone());
            secret.used = Some(present.clone());
        }
    }

    /// Takes in what came of starting it.
    pub(super) fn begin_layer2(&mut self, outcome: Result<Layer2, String>) {
        match outcome {
            Ok(layer2) => {
                self.segment.run(layer2);
                if let Some(cluster) = &self.cluster {
                    cluster.note_counters(self.segment.counters());
                }
                self.tell_layer2();
                self.hear();
                self.renew_key();
            }
            Err(reason) => {
                self.silence_layer2(reason);
                self.retry_soon();
            }
        }
    }

    /// It has ended by itself.
    pub(super) fn lose_layer2(&mut self) {
        self.segment.forget();
        self.silence_layer2("layer 2 has ended and is started again".to_owned());
        self.retry_soon();
    }

    fn silence_layer2(&mut self, reason: String) {
        let segment = world::Segment::Off(reason.clone());
        if *self.world.segment() != segment {
            warn!(reason, "layer 2 is silent");
        }
        if let Some(cluster) = &self.cluster {
            cluster.note_counters(None);
        }
        // When it runs again, it is to come back to that.
        let held = self.plan.addresses.iter();
        let held = held.filter(|(_, plan)| plan.layer2.is_held());
        let mut memory: BTreeSet<IpAddr> = held.map(|(address, _)| *address).collect();
        memory.extend(self.world.remembered());
        let mut touched = self.world.remember(memory);
        touched.extend(self.world.hear(segment));
        touched.extend(self.world.drop_claims());
        self.replan(touched);
    }
}

impl KeyFile {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            next: Instant::now() + KEY_FILE_EVERY,
            reading: None,
            last: None,
            problem: None,
        }
    }

    /// What is in it, once that is something new. Cancel-safe.
    async fn next(&mut self) -> Secret {
        loop {
            let reading = match &mut self.reading {
                Some(reading) => reading,
                None => {
                    tokio::time::sleep_until(self.next.into()).await;
                    let path = self.path.clone();
                    let read = tokio::task::spawn_blocking(move || read_key(&path));
                    self.reading.insert(read)
                }
            };
            let outcome = reading.await;
            self.reading = None;
            self.next = Instant::now() + KEY_FILE_EVERY;
            let outcome = outcome.unwrap_or_else(|error| Err(error.to_string()));
            let problem = outcome.as_ref().err().cloned();
            if let Some(reason) = &problem
                && self.problem != problem
            {
                warn!(reason, "going on with the heartbeat key read last");
            }
            self.problem = problem;
            if let Ok(key) = outcome
                && self.last.as_ref() != Some(&key)
            {
                self.last = Some(key.clone());
                return key;
            }
        }
    }
}

/// How often the file is looked at: well within the time that a former key is good.
const KEY_FILE_EVERY: Duration = Duration::from_secs(10);

/// More than any key or list; the rest of a larger file is not read.
const LONGEST_FILE: u64 = 64 * 1024;

/// What is in a file; no more of it than a key or a list can have.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(LONGEST_FILE).read_to_string(&mut text)?;
    Ok(text)
}

/// The key, without the white space that editors leave at the end.
fn read_key(path: &Path) -> Result<Secret, String> {
    let because = |why: String| format!("heartbeat key file {}: {why}", path.display());
    let text = read(path).map_err(|error| because(error.to_string()))?;
    key_of(&text).ok_or_else(|| because("it is empty: put a key into it".to_owned()))
}

/// What the file says that was named, or that lies where MetalLB looks for it. One that cannot be used
/// changes nothing.
fn read_exclusion(named: Option<&Path>) -> Exclusion {
    let path = named.unwrap_or_else(|| Path::new(EXCLUSION_FILE));
    let because = match read(path) {
        Ok(text) => match Exclusion::parse(&text) {
            Ok(exclusion) => return exclusion,
            Err(error) => error.to_string(),
        },
        Err(error) if named.is_none() && error.kind() == ErrorKind::NotFound => {
            return Exclusion::default();
        }
        Err(error) => error.to_string(),
    };
    warn!(file = %path.display(), because, "list of excluded interfaces not used, the default is");
    Exclusion::default()
}

/// Where MetalLB's manifests mount its list of excluded interfaces.
const EXCLUSION_FILE: &str = "/etc/metallb/excludel2.yaml";

/// The same key as a file with these octets has.
fn secret_of(octets: &[u8]) -> Result<Secret, &'static str> {
    let text = std::str::from_utf8(octets).map_err(|_| "it is no text: write it in base64")?;
    key_of(text).ok_or("it is empty")
}

fn key_of(text: &str) -> Option<Secret> {
    let key = text.trim();
    (!key.is_empty()).then(|| Secret::new(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_interfaces_that_cannot_be_used_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("excludel2.yaml");
        assert!(read_exclusion(Some(&path)).excludes("veth0"));
        std::fs::write(&path, "announcedInterfacesToExclude: [\"(\"]").unwrap();
        assert!(read_exclusion(Some(&path)).excludes("veth0"));
        std::fs::write(&path, "announcedInterfacesToExclude: [^eth1$]").unwrap();
        let exclusion = read_exclusion(Some(&path));
        assert!(exclusion.excludes("eth1") && !exclusion.excludes("veth0"));
    }

    #[test]
    fn i10_a_key_is_trimmed_and_one_that_is_missing_or_empty_is_no_key() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("key");
        assert!(read_key(&path).unwrap_err().contains("No such file"));
        for empty in ["", " \n\t\n"] {
            std::fs::write(&path, empty).unwrap();
            assert!(read_key(&path).unwrap_err().contains("it is empty"));
        }
        std::fs::write(&path, "open sesame\n").unwrap();
        let key = read_key(&path).unwrap();
        assert_eq!(key.expose(), "open sesame");
        std::fs::write(&path, b"open \xff sesame").unwrap();
        let error = read_key(&path).unwrap_err();
        assert!(!error.contains("sesame"), "{error}");
    }

    #[test]
    fn a_key_from_a_secret_is_the_same_as_that_of_a_file() {
        assert_eq!(secret_of(b"open sesame\n").unwrap().expose(), "open sesame");
        assert!(secret_of(b" \n").is_err());
        assert!(secret_of(b"\xff").is_err());
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "the file is read for real")]
    async fn a_file_is_read_again_and_one_that_cannot_be_read_changes_nothing() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("key");
        let mut file = KeyFile::new(path.clone());
        let mut soon = async || {
            file.next = Instant::now();
            let next = tokio::time::timeout(Duration::from_secs(2), file.next()).await;
            (next.ok(), file.problem.clone())
        };
        let (key, problem) = soon().await;
        assert_eq!(key, None);
        assert!(problem.is_some_and(|problem| problem.contains("No such file")));
        for text in ["one", "two"] {
            std::fs::write(&path, text).unwrap();
            let key = Some(Secret::new(text.to_owned()));
            assert_eq!(soon().await, (key, None));
        }
    }
}
