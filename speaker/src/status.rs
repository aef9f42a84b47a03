//! What a person sees: the local socket that tells it, the command that asks, and the node's file in
//! the state directory.
//!
//! The protocol is the simplest there is: connect, say in one line of JSON what is wanted, read one
//! JSON document until the end. Who says nothing is told the status.

#![expect(
    clippy::disallowed_methods,
    reason = "driver: owns the status socket, its directory and the writer's task and clock"
)]

pub mod document;
pub mod explanation;
mod report;
pub mod request;
mod scribe;
mod text;

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use ferrolb_crds::state::StateDir;
use serde::de::DeserializeOwned;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

pub use document::{Blocked, Delivery, Document, Draining};
pub use explanation::{Evidence, Explanation, explanation};
pub(crate) use report::time;
pub use report::{Facts, Known, Since, Whereabouts, document, state, whereabouts};
use request::{Demand, DrainDemand, Rebalancing, Request};
use scribe::Scribe;

/// Where the sockets of this host's speakers are.
const DIRECTORY: &str = "/run/ferrolb";

/// How long one client may take, to be answered or to read its answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a client may take to say what it wants.
const HURRY: Duration = Duration::from_millis(100);

/// How often who waits for something looks whether it is done.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// More than any request.
const LONGEST_REQUEST: u64 = 1024;

/// How many clients are answered at a time; more are turned away.
const CLIENTS: usize = 16;

/// More than any document; what a client reads at most.
const LONGEST_ANSWER: u64 = 1 << 30;

/// The node's file in its folder of the state directory.
const FILE: &str = "status.yaml";

/// How long to wait before writing is tried again, at first.
const RETRY_FIRST: Duration = Duration::from_secs(1);

/// And at most.
const RETRY_LONGEST: Duration = Duration::from_secs(60);

/// Which speaker to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The one behind this socket.
    Socket(PathBuf),
    /// The only one of this host.
    OnlyOne,
}

/// How the answer looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Short sections for people.
    Text,
    /// The document as JSON.
    Json,
}

/// The socket of a node's speaker.
pub fn socket_of(node: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("speaker-{node}.sock"))
}

/// The socket that answers; removed when dropped.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
    slots: Arc<Semaphore>,
    asked: (mpsc::Sender<Asked>, mpsc::Receiver<Asked>),
}

/// A client, and what it wants.
#[derive(Debug)]
pub struct Asked {
    /// What it wants.
    pub request: Request,
    client: UnixStream,
    slot: OwnedSemaphorePermit,
}

impl Listener {
    /// Makes the socket, readable by its owner only. One that nobody answers any more is replaced;
    /// one that another speaker answers is left alone.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        remove_stale(path)?;
        let socket = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self {
            socket,
            path: path.to_owned(),
            slots: Arc::new(Semaphore::new(CLIENTS)),
            asked: mpsc::channel(CLIENTS),
        })
    }

    /// The next client that has said what it wants. Cancel-safe.
    pub async fn next(&mut self) -> io::Result<Asked> {
        loop {
            let (_, asked) = &mut self.asked;
            tokio::select! {
                accepted = self.socket.accept() => {
                    let (client, _) = accepted?;
                    self.hear(client);
                }
                Some(asked) = asked.recv() => return Ok(asked),
            }
        }
    }

    /// Hears the client out, in a task of its own: one that says nothing delays nobody.
    fn hear(&self, mut client: UnixStream) {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            debug!("status client turned away");
            return;
        };
        let asked = self.asked.0.clone();
        tokio::spawn(async move {
            let Some(request) = request(&mut client).await else {
                debug!("status client wants what is not known");
                return;
            };
            let client = Asked {
                request,
                client,
                slot,
            };
            // An error means that nobody answers any more.
            drop(asked.send(client).await);
        });
    }
}

/// What the client wants; `None`: that is not known.
async fn request(client: &mut UnixStream) -> Option<Request> {
    let mut line = Vec::new();
    let mut reader = BufReader::new(client.take(LONGEST_REQUEST));
    let reading = reader.read_until(b'\n', &mut line);
    match tokio::time::timeout(HURRY, reading).await {
        Ok(Ok(length)) if length > 0 => serde_json::from_slice(&line).ok(),
        Ok(Ok(_)) | Err(_) => Some(Request::Status),
        Ok(Err(_)) => None,
    }
}

impl Asked {
    /// Tells the client, in a task of its own: a client that does not read delays nobody.
    pub fn answer(self, answer: Vec<u8>) {
        self.answer_with(async { answer });
    }

    /// Tells the client how things stand; what is to be told of much takes a while to say.
    pub fn answer_status(self, facts: Facts) {
        self.answer_with(async move {
            let say = move || serde_json::to_vec(&document(&facts)).unwrap_or_default();
            tokio::task::spawn_blocking(say).await.unwrap_or_default()
        });
    }

    fn answer_with(self, answer: impl Future<Output = Vec<u8>> + Send + 'static) {
        let Self {
            mut client, slot, ..
        } = self;
        tokio::spawn(async move {
            let answer = answer.await;
            let written = tokio::time::timeout(PATIENCE, client.write_all(&answer)).await;
            if !matches!(written, Ok(Ok(()))) {
                debug!("status client went away");
            }
            drop(slot);
        });
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // What stays behind is replaced by the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        let text = "there is a file in the socket's place";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    if is_answered(path)? {
        let text = "another speaker answers there";
        return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
    }
    std::fs::remove_file(path)
}

/// Whether somebody listens on the socket. Never waits: one who is stopped and whose queue is full is
/// there all the same.
fn is_answered(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let connected = socket.connect(&SockAddr::unix(path)?);
    Ok(connected.map_or_else(|error| error.kind() == io::ErrorKind::WouldBlock, |()| true))
}

/// The node's file in the state directory, kept by a task of its own: neither much to say nor a directory
/// that is slow, full or read-only delays anybody. What cannot be written is tried again with back-off.
#[derive(Debug)]
pub struct NodeFile {
    wanted: watch::Sender<Option<Arc<Facts>>>,
    error: watch::Receiver<Option<String>>,
    task: JoinHandle<()>,
}

impl NodeFile {
    /// Starts the task; nothing is written until there is something to say.
    pub fn start(state: PathBuf, node: String) -> Self {
        let (wanted, facts) = watch::channel(None);
        let (reporter, error) = watch::channel(None);
        let task = tokio::spawn(keep_written(state, node, facts, reporter));
        Self {
            wanted,
            error,
            task,
        }
    }

    /// What the file said when this node last ran, if it did.
    pub fn last(state: &Path, node: &str) -> Document {
        let state = StateDir::open(state).ok();
        let text = state.and_then(|state| state.read_node_file(node, FILE));
        serde_yaml::from_str(&text.unwrap_or_default()).unwrap_or_default()
    }

    /// Replaces what the file should tell of; the latest wins, and what it says already is not written.
    pub fn want(&self, facts: Facts) {
        self.wanted.send_replace(Some(Arc::new(facts)));
    }

    /// Why the file could not be written, if it could not, for as long as the task runs.
    pub fn error(&self) -> watch::Receiver<Option<String>> {
        self.error.clone()
    }

    /// Ends the task once the last document is written, or after so long.
    pub async fn finish(self, limit: Duration) {
        let Self { wanted, task, .. } = self;
        drop(wanted);
        let end = task.abort_handle();
        if tokio::time::timeout(limit, task).await.is_err() {
            end.abort();
        }
    }
}

async fn keep_written(
    state: PathBuf,
    node: String,
    mut facts: watch::Receiver<Option<Arc<Facts>>>,
    reporter: watch::Sender<Option<String>>,
) {
    let mut pause = RETRY_FIRST;
    let (mut scribe, mut written) = (None, None);
    while facts.changed().await.is_ok() {
        while let Err(error) = write(&state, &node, &mut facts, &mut scribe, &mut written).await {
            let error = format!("{error:#}");
            scribe = None;
            note_failure(&reporter, Some(error));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_LONGEST);
        }
        note_failure(&reporter, None);
        pause = RETRY_FIRST;
    }
}

/// Logs and reports a failure when it begins, changes or ends, not every time it repeats.
fn note_failure(reporter: &watch::Sender<Option<String>>, error: Option<String>) {
    let differs = reporter.send_if_modified(|reported| {
        let differs = *reported != error;
        reported.clone_from(&error);
        differs
    });
    match error {
        Some(error) if differs => warn!(error, "status file not written, trying again"),
        None if differs => info!("status file written again"),
        Some(_) | None => {}
    }
}

/// Makes the document of the latest facts and writes it unless that is what was written last, where neither
/// that nor a slow disk holds up anything else.
async fn write(
    state: &Path,
    node: &str,
    facts: &mut watch::Receiver<Option<Arc<Facts>>>,
    scribe: &mut Option<Scribe>,
    written: &mut Option<u64>,
) -> anyhow::Result<()> {
    let Some(facts) = facts.borrow_and_update().clone() else {
        return Ok(());
    };
    let (state, node, last) = (state.to_owned(), node.to_owned(), written.take());
    let scribe = match scribe {
        Some(scribe) => scribe,
        none @ None => none.insert(Scribe::start().context("starting a thread")?),
    };
    let writing = scribe.run(move || {
        let document = document(&facts).at_rest();
        drop(facts);
        let fingerprint = document.fingerprint()?;
        if last != Some(fingerprint) {
            let text = serde_yaml::to_string(&document)?;
            drop(document);
            StateDir::open(&state)?.write_node_file(&node, FILE, &text)?;
        }
        anyhow::Ok(fingerprint)
    });
    *written = Some(writing.await??);
    Ok(())
}

/// Asks a speaker how things stand, or why one address is held where it is, and prints its answer.
pub fn show(place: &Place, view: View, address: Option<IpAddr>) -> anyhow::Result<()> {
    let socket = find(place, Path::new(DIRECTORY))?;
    if let Some(address) = address {
        return explain(&socket, view, address);
    }
    let document: Document = ask(&socket, Request::Status)?;
    print(&match view {
        View::Text => text::render(&document),
        View::Json => serde_json::to_string_pretty(&document)? + "\n",
    })
}

fn explain(socket: &Path, view: View, address: IpAddr) -> anyhow::Result<()> {
    let answer: Explanation = ask(socket, Request::Explain(address))?;
    if answer.services.is_empty() {
        bail!(
            "no Service has {address}, as far as {} knows: see `status` for those that it knows of",
            answer.node
        );
    }
    print(&match view {
        View::Text => answer.render(),
        View::Json => serde_json::to_string_pretty(&answer)? + "\n",
    })
}

/// Has a speaker give away what others are first in rank for, and prints what goes where.
pub fn rebalance(place: &Place, view: View, demand: Demand) -> anyhow::Result<()> {
    let socket = find(place, Path::new(DIRECTORY))?;
    let answer: Rebalancing = ask(&socket, Request::Rebalance(demand))?;
    print(&match view {
        View::Text => answer.render(),
        View::Json => serde_json::to_string_pretty(&answer)? + "\n",
    })
}

/// How a node is to be drained, or no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainOrder {
    /// Which speaker to tell.
    pub place: Place,
    /// How its answer looks.
    pub view: View,
    /// What it is told.
    pub demand: DrainDemand,
    /// Whether to return when the node is drained, not before.
    pub waits: bool,
}

/// Has a speaker drain its node, and prints how far it is.
pub fn drain(order: &DrainOrder) -> anyhow::Result<()> {
    let socket = find(&order.place, Path::new(DIRECTORY))?;
    let mut answer: request::Draining = ask(&socket, Request::Drain(order.demand))?;
    let waits = order.waits && matches!(order.demand, DrainDemand::Begin { .. });
    // The speaker ends it by itself; when it serves again there is nothing to wait for.
    while waits && !answer.is_done && answer.why.is_some() {
        std::thread::sleep(LOOK_AGAIN);
        answer = ask(&socket, Request::Drain(DrainDemand::Look))?;
    }
    print(&match order.view {
        View::Text => answer.render(),
        View::Json => serde_json::to_string_pretty(&answer)? + "\n",
    })
}

fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // `status | head` closes early, which is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing the answer"),
    }
}

/// Tells the caller why the program ends.
pub fn complain(text: &str) {
    // There is nowhere left to report that stderr is gone.
    let _ = writeln!(io::stderr(), "ferrolb-speaker: {text}");
}

fn find(place: &Place, directory: &Path) -> anyhow::Result<PathBuf> {
    match place {
        Place::Socket(path) => Ok(path.clone()),
        Place::OnlyOne => only_one(directory),
    }
}

fn only_one(directory: &Path) -> anyhow::Result<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut sockets: Vec<PathBuf> = entries
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with("speaker-") && name.ends_with(".sock")
        })
        .map(|entry| entry.path())
        .collect();
    sockets.sort();
    match sockets.as_slice() {
        [only] => Ok(only.clone()),
        [] => bail!(
            "no speaker runs on this host: there is no socket in {}; \
             name it with --socket if it is elsewhere",
            directory.display()
        ),
        several => {
            let names: Vec<String> = several.iter().map(|s| s.display().to_string()).collect();
            bail!(
                "several speakers run on this host: choose one with --node-name or --socket ({})",
                names.join(", ")
            )
        }
    }
}

fn ask<T: DeserializeOwned>(socket: &Path, request: Request) -> anyhow::Result<T> {
    let nobody = || format!("no speaker answers at {}", socket.display());
    let mut stream = BlockingStream::connect(socket).with_context(nobody)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    stream.write_all(&line).with_context(nobody)?;
    let mut answer = Vec::new();
    let mut stream = stream.take(LONGEST_ANSWER);
    stream.read_to_end(&mut answer).with_context(nobody)?;
    serde_json::from_slice(&answer).with_context(|| {
        format!(
            "the speaker at {} gave no complete answer: it may be stopping, or too busy",
            socket.display()
        )
    })
}

#[cfg(test)]
mod tests;
