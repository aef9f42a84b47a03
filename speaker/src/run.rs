//! The composition root: the one `select!` that feeds the world, plans what was touched and hands
//! the difference to the machines.
//!
//! ```text
//! source ──┐                                          ┌─▶ layer 2 (a thread)
//! layer 2 ─┼─▶ Event ─▶ world ─▶ plan ─▶ translate ─▶ ┼─▶ sessions (a task each), bfd (a thread)
//! deadline ┘                                          ├─▶ hand-off (a task), stations (a task each)
//!                                                     └─▶ status file (a task and a thread), socket
//! ```
//!
//! Nothing in the loop waits for a peer, a client, a disk or a command: whatever can be slow has a
//! task of its own, and the loop reads the latest it reported. Nor does a task wait for the loop: it has
//! the thread that runs it, and a plan of everything delays no KEEPALIVE.

#![expect(
    clippy::disallowed_methods,
    reason = "driver: reads the clock, starts the tasks it owns"
)]

mod bfd;
mod blocked;
mod bmp;
mod changes;
mod cluster;
mod delivery;
mod drain;
mod facts;
mod hand_off;
mod memory;
mod rebalance;
mod replan;
mod rivals;
mod routers;
mod segment;
mod sessions;
mod source;
mod translate;

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use ferrolb_crds::source::Change;
use imbl::OrdMap;
use kube::Client;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::bgp::Farewell;
use crate::delivery::Check;
use crate::drain::Drain;
use crate::layer2::Letter;
use crate::plan::{self, AddressPlan, Plan};
use crate::status::request::{Demand, Move, Rebalancing};
use crate::status::{Asked, Facts, Known, NodeFile, Since};
use crate::world::{Draining, Identity, Segment, World};
use bfd::BfdLink;
use blocked::{BlockedLink, Seen};
use bmp::BmpLink;
use changes::Owed;
use cluster::ClusterLink;
use delivery::DeliveryLink;
use drain::DrainLink;
use facts::StatusLink;
use hand_off::HandOffLink;
use memory::Memory;
use rebalance::{Rebalance, Step};
use rivals::Rivals;
use routers::RouterLink;
use segment::{News, SegmentLink};
use sessions::Sessions;
use source::{Batch, Source};

/// What a speaker is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the objects come from.
    pub origin: Origin,
    /// Namespace of the metallb.io objects.
    pub namespace: String,
    /// Who this speaker is.
    pub identity: Identity,
    /// How heartbeats are authenticated.
    pub heartbeat: Heartbeat,
    /// Least time between two heartbeats.
    pub heartbeat_interval: Duration,
    /// Silence after which a node is down; `None`: three intervals plus skew.
    pub heartbeat_down_after: Option<Duration>,
    /// Mean time between two announcements of a held address; `None`: only a burst when it is taken.
    pub layer2_reannounce: Option<Duration>,
    /// List of interfaces that are left alone; `None`: where MetalLB has it, if there is one.
    pub layer2_exclusion: Option<PathBuf>,
    /// Whom to ask whether what arrives here is delivered; `None`: nobody, it is.
    pub delivery_check: Option<Check>,
    /// How long the routes of a node that is drained stay as the last resort.
    pub drain_time: Duration,
    /// Where BGP peers can dial; none: nowhere.
    pub bgp_listen: Vec<SocketAddr>,
    /// Monitoring stations that are told what BGP peers are sent.
    pub bmp_stations: BTreeSet<SocketAddr>,
    /// Socket for `status`.
    pub socket: PathBuf,
}

/// Where the objects come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// From files.
    Manifests {
        /// Directory with the objects.
        manifests: PathBuf,
        /// State directory.
        state: PathBuf,
    },
    /// From an API server.
    Cluster(Cluster),
}

/// How a speaker takes part in a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    /// How to reach the API server; `None`: as a pod does.
    pub kubeconfig: Option<PathBuf>,
    /// Where `/metrics` is served.
    pub metrics: Option<SocketAddr>,
    /// Where `/healthz` and `/readyz` are served.
    pub health: Option<SocketAddr>,
}

/// How heartbeats are authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heartbeat {
    /// By the key in this file.
    KeyFile(PathBuf),
    /// By the key in the Secret of this name.
    Secret(String),
    /// Not at all.
    Insecure,
    /// Nothing was said: layer 2 stays silent.
    NoKey,
}

/// How long to wait before what could not be started is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or SIGINT.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let (source, client) = Source::start(&settings).await?;
    let mut speaker = Speaker::start(settings, source, client);
    let mut is_stopping = false;
    // A node that is being drained goes when that is done, or when it is told again.
    while !is_stopping || speaker.drain.is_on_its_way() {
        let event = tokio::select! {
            event = speaker.next_event() => Some(event),
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
        };
        match event {
            Some(event) => speaker.handle(event),
            None if is_stopping => break,
            None => is_stopping = true,
        }
    }
    info!("stopping");
    speaker.stop().await;
    Ok(())
}

/// What the loop waits for.
enum Event {
    Batch(Batch),
    Layer2(News),
    /// It is known what this node held when it last ran.
    Memory,
    /// The API server shows something else of those that are not heard.
    Lookout,
    /// What arrives here is delivered, or is not, other than before.
    Delivery,
    /// Some session has news.
    Session,
    /// A session that was told to stop has stopped.
    SessionStopped,
    /// Some path is in another state.
    Bfd,
    /// Somebody else is the router on some interface, or nobody is.
    Router,
    /// Some monitoring station stands otherwise.
    Station,
    HandOff,
    StatusFile,
    Client(std::io::Result<Asked>),
    Deadline,
}

struct Speaker {
    settings: Settings,
    source: Source,
    problems: BTreeSet<String>,
    misread: BTreeSet<String>,
    /// Everything present has been read.
    is_synced: bool,
    /// And it has been planned.
    is_ready: bool,
    memory: Memory,
    /// What this node held is waited for no longer.
    recall_by: Option<Instant>,
    world: World,
    plan: Plan,
    owed: Owed,
    rebalance: Rebalance,
    since: Since,
    segment: SegmentLink,
    /// Interfaces on which other nodes listen.
    contested: BTreeSet<String>,
    rivals: Rivals,
    /// Those that should be heard and never were.
    blocked: BlockedLink,
    delivery: DeliveryLink,
    drain: DrainLink,
    sessions: Sessions,
    routers: RouterLink,
    bfd: BfdLink,
    bmp: BmpLink,
    hand_off: HandOffLink,
    status: StatusLink,
    cluster: Option<ClusterLink>,
    retry_at: Option<Instant>,
}

impl Speaker {
    fn start(settings: Settings, source: Source, client: Option<Client>) -> Self {
        let mut blocked = BlockedLink::default();
        let (file, hand_off, cluster) = match &settings.origin {
            Origin::Manifests { state, .. } => {
                let node = settings.identity.node.clone();
                let file = NodeFile::start(state.clone(), node);
                (Some(file), HandOffLink::start(), None)
            }
            Origin::Cluster(cluster) => {
                blocked = BlockedLink::start(client.clone(), &settings);
                let cluster = ClusterLink::start(&settings, cluster, client);
                (None, HandOffLink::none(), Some(cluster))
            }
        };
        let mut speaker = Self {
            source,
            problems: BTreeSet::new(),
            misread: BTreeSet::new(),
            is_synced: false,
            is_ready: false,
            memory: match &cluster {
                Some(cluster) => cluster.memory(),
                None => Memory::of_file(&settings),
            },
            recall_by: None,
            world: World::new(settings.identity.clone()),
            plan: Plan::default(),
            owed: Owed::default(),
            rebalance: Rebalance::default(),
            since: Since {
                start: SystemTime::now(),
                held: OrdMap::new(),
                not_held: OrdMap::new(),
                advertised: OrdMap::new(),
            },
            segment: SegmentLink::default(),
            contested: BTreeSet::new(),
            rivals: Rivals::default(),
            blocked,
            delivery: DeliveryLink::start(settings.delivery_check.clone()),
            drain: DrainLink::new(Drain::new(settings.drain_time), SystemTime::now()),
            sessions: Sessions::new(&settings.bgp_listen),
            routers: RouterLink::default(),
            bfd: BfdLink::default(),
            bmp: BmpLink::start(&settings.bmp_stations, &settings.identity.node),
            hand_off,
            cluster,
            status: StatusLink::of(file),
            retry_at: None,
            settings,
        };
        speaker.bind_socket();
        speaker.start_layer2();
        speaker
    }

    async fn next_event(&mut self) -> Event {
        let pulse = self.cluster.as_ref().map(ClusterLink::beat);
        let deadlines = [
            pulse,
            self.retry_at,
            self.owed.deadline(),
            self.rebalance.deadline(),
            self.status.due,
            self.hand_off.deadline(),
            self.recall_by,
            self.blocked.deadline(),
            self.drain.deadline(),
            self.bfd.deadline(),
        ];
        let deadline = deadlines.into_iter().flatten().min();
        tokio::select! {
            batch = self.source.next() => Event::Batch(batch),
            news = self.segment.next() => Event::Layer2(news),
            () = self.memory.changed() => Event::Memory,
            () = self.blocked.changed() => Event::Lookout,
            () = self.delivery.changed() => Event::Delivery,
            () = self.sessions.news() => Event::Session,
            () = self.sessions.stopped() => Event::SessionStopped,
            () = self.bfd.changed() => Event::Bfd,
            () = self.routers.changed() => Event::Router,
            () = self.bmp.changed() => Event::Station,
            () = self.hand_off.changed() => Event::HandOff,
            is_alive = changed(self.status.error.as_mut()) => {
                if !is_alive {
                    self.status.error = None;
                }
                Event::StatusFile
            }
            client = facts::next_client(self.status.listener.as_mut()) => Event::Client(client),
            () = until(deadline) => Event::Deadline,
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Batch(batch) => self.take(batch),
            Event::Layer2(News::Started(outcome)) => self.begin_layer2(outcome),
            Event::Layer2(News::Key(key)) => self.take_key_file(key),
            Event::Layer2(News::Report) => self.hear(),
            Event::Layer2(News::Ended) => self.lose_layer2(),
            Event::Memory => self.begin(),
            Event::Lookout => self.hear(),
            Event::Delivery => self.take_verdict(),
            Event::Session | Event::Bfd => {
                self.routers.want(&self.plan, &self.sessions);
                self.note_sessions();
            }
            Event::SessionStopped | Event::Router => self.apply_sessions(),
            Event::HandOff => {
                let ready = self.hand_off.note();
                self.announce(&ready);
            }
            Event::StatusFile => self.note_status_error(),
            // For the file.
            Event::Station => {}
            Event::Client(client) => return self.answer(client),
            Event::Deadline => return self.handle_deadline(),
        }
        // Whatever happened, the file is to say so, soon.
        if self.status.file.is_some() {
            self.status.note_change(Instant::now());
        }
    }

    fn take(&mut self, batch: Batch) {
        if let Some(cluster) = &self.cluster {
            cluster.note_batch(&batch);
        }
        if let Some(problems) = batch.problems {
            tell_problems(&self.problems, &problems);
            self.problems = problems;
        }
        if let Some(misread) = batch.misread {
            tell_problems(&self.misread, &misread);
            self.misread = misread;
        }
        if let Some(key) = batch.heartbeat_key {
            self.take_key(key.as_deref());
        }
        let mut touched = BTreeSet::new();
        let mut is_synced = false;
        let has_nodes = batch
            .changes
            .iter()
            .any(|change| matches!(change, Change::Node(..) | Change::Config(_)));
        for change in batch.changes {
            is_synced |= change == Change::Synced;
            touched.extend(self.world.apply(change));
        }
        self.is_synced |= is_synced;
        if has_nodes {
            self.note_drain_mark();
        }
        match self.is_ready {
            // Who should be heard, and what those hold that are not, may be others by now.
            true if has_nodes || self.blocked.is_active() => {
                self.replan(touched);
                self.hear();
            }
            true => self.replan(touched),
            false => self.begin(),
        }
    }

    /// Plans everything once it is known, and what this node held before.
    fn begin(&mut self) {
        if self.is_ready || !self.is_synced || !self.recall(Instant::now()) {
            return;
        }
        self.is_ready = true;
        info!("ready");
        self.replan(self.world.addresses().collect());
        if let Some(cluster) = &self.cluster {
            cluster.set_ready();
        }
    }

    fn apply_sessions(&mut self) {
        if self.world.draining() == Draining::Ended {
            self.sessions.end_all(&self.farewell(true));
            // A Cease says more than a path that is given up: it goes first.
            if !self.sessions.is_stopping() {
                self.bfd.want(BTreeMap::new(), BTreeMap::new());
            }
            return self.note_sessions();
        }
        self.routers.want(&self.plan, &self.sessions);
        let routers = self.routers.report();
        let node = &self.settings.identity.node;
        let mut wanted = translate::sessions(&self.plan, &routers, node);
        // A peer that has kept our routes over a restart forgets those that the first table lacks.
        if self.hand_off.is_beginning() {
            wanted.retain(|peer, settings| {
                settings.graceful_restart.is_none() || self.sessions.is_running(peer)
            });
        }
        let (plan, hand_off) = (&self.plan, &self.hand_off);
        let mut tables = None;
        self.sessions.want(wanted, |peer| {
            let addresses = || announced(plan.each(), hand_off);
            let all = || translate::tables(plan.peers.keys(), addresses);
            let tables = tables.get_or_insert_with(all);
            tables.get(peer).cloned().unwrap_or_default()
        });
        // A Cease says more than a path that is given up: it goes first.
        if !self.sessions.is_stopping() {
            let (wanted, keys) = translate::bfd_sessions(&self.plan, &routers);
            self.bfd.want(wanted, keys);
        }
        let bfd = &self.bfd;
        self.sessions
            .watch_paths(bfd.keys(), |key| bfd.failures(key));
        self.note_sessions();
    }

    fn tell_layer2(&self) {
        let (plan, hand_off) = (&self.plan, &self.hand_off);
        let world = &self.world;
        self.segment.want(|| {
            let announced = announced(plan.each(), hand_off);
            translate::layer2_desired(plan, world, announced)
        });
    }

    fn hear(&mut self) {
        if let Some(report) = self.segment.report() {
            let Letter {
                claims,
                findings,
                rivals,
            } = self.segment.take_letter();
            let claims = translate::claims(claims);
            let seen = self.look_out(&report, translate::segment(&report), claims);
            let Seen {
                segment,
                claims,
                unheard,
            } = seen;
            let mut touched = self.world.hear(segment);
            let delivery = self.delivery(&report, &unheard);
            touched.extend(self.world.note_delivery(delivery));
            touched.extend(self.world.take_claims(claims));
            touched.extend(self.world.find(findings));
            let contested = translate::contested(&report);
            let was_contested = std::mem::replace(&mut self.contested, contested);
            self.note_rivals(Instant::now(), touched.iter().copied(), rivals);
            self.replan(touched);
            if self.contested != was_contested {
                self.report_announced();
            }
        } else {
            self.look_away();
        }
    }

    /// Begins to give away what others are first in rank for, and says what that is.
    fn rebalance(&mut self, demand: Demand) -> Rebalancing {
        let moves = plan::misplaced(&self.world);
        if !demand.dry_run {
            let addresses = moves.len();
            info!(
                addresses,
                per_minute = demand.per_minute,
                "giving addresses to who is first in rank"
            );
            let addresses = moves.keys().copied();
            self.rebalance
                .begin(Instant::now(), addresses, demand.per_minute);
        }
        let moves = moves.into_iter().map(|(address, to)| Move { address, to });
        Rebalancing {
            node: self.settings.identity.node.clone(),
            demand,
            moves: moves.collect(),
        }
    }

    fn move_address(&mut self, step: Step) {
        let touched = match step {
            Step::Give(address) => self.world.give([address]),
            Step::Check(address) => {
                let back = self.world.take_back(address);
                if !back.is_empty() {
                    warn!(%address, "nobody took the address that was given away: having it again");
                }
                back
            }
        };
        self.replan(touched);
    }

    fn handle_deadline(&mut self) {
        let now = Instant::now();
        let late = self.hand_off.handle_timeout(now);
        self.announce(&late);
        self.write_status(now);
        if self.recall_by.is_some_and(|at| at <= now) {
            self.begin();
        }
        if self.blocked.deadline().is_some_and(|at| at <= now) {
            self.hear();
        }
        self.handle_drain_timeout(now);
        if self.bfd.handle_timeout(now) {
            self.apply_sessions();
        }
        if let Some(step) = self.rebalance.handle_timeout(now) {
            self.move_address(step);
        }
        if self.owed.deadline().is_some_and(|at| at <= now) {
            self.apply(BTreeSet::new());
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry();
        }
    }

    fn retry(&mut self) {
        if self.status.listener.is_none() {
            self.bind_socket();
        }
        self.retry_at = None;
        if self.status.listener.is_none() {
            self.retry_soon();
        }
        if self.segment.is_idle() {
            self.start_layer2();
        }
    }

    fn retry_soon(&mut self) {
        self.retry_at.get_or_insert_with(|| Instant::now() + RETRY);
    }

    /// A stop is a restart unless this node is to take no traffic any more.
    fn farewell(&self, is_leaving: bool) -> Farewell {
        let node = &self.settings.identity.node;
        match is_leaving {
            true => Farewell::Shutdown(format!("{node} takes no more traffic")),
            false => Farewell::Restart,
        }
    }

    /// Leaves: the others are told to take the addresses, the peers that the routes are gone or, where
    /// that was agreed on, nothing, so that they wait for a return. The hand-off stays, so that connections through it outlive a restart, unless this node is to take
    /// no traffic any more.
    async fn stop(mut self) {
        let layer2 = self.segment.take();
        let leave = async {
            match layer2 {
                Some(layer2) => layer2.leave().await,
                None => BTreeSet::new(),
            }
        };
        let is_excluded = self.world.excludes(&self.world.this_node());
        let is_leaving = is_excluded || self.world.draining().is_begun();
        let farewell = self.farewell(is_leaving);
        let hand_off = self.hand_off.stop(!is_leaving);
        let sessions = self.sessions.stop(farewell);
        let (left_behind, (), (), hand_off) =
            tokio::join!(leave, self.bmp.stop(), sessions, hand_off);
        // A Cease says more than a path that has failed, so it goes first.
        self.bfd.stop().await;
        // Nobody waits for this node any more.
        if let Some(cluster) = self.cluster.take() {
            cluster.stop(&self.plan.peers).await;
        }
        self.plan = Plan::default();
        // Whoever takes an address remembers it; what nobody took this node comes back to.
        let _ = self.world.remember(&left_behind | self.world.remembered());
        let _ = self
            .world
            .hear(Segment::Off("this speaker has stopped".to_owned()));
        if self.is_ready {
            self.status.want(Facts {
                known: Known::of(&self.world),
                plan: self.plan,
                since: self.since,
                problems: &self.problems | &self.misread,
                state_error: None,
                layer2: None,
                sessions: BTreeMap::new(),
                bfd: BTreeMap::new(),
                routers: BTreeMap::new(),
                stations: BTreeMap::new(),
                hand_off,
                blocked: Vec::new(),
                delivery: None,
                draining: self.drain.status(),
            });
        }
        self.status.finish().await;
        info!("stopped");
    }
}

fn tell_problems(told: &BTreeSet<String>, present: &BTreeSet<String>) {
    for problem in present.difference(told) {
        warn!(problem, "problem in the objects");
    }
    for problem in told.difference(present) {
        info!(problem, "problem in the objects is gone");
    }
}

/// Those of some addresses of the plan that are announced already.
fn announced<'a>(
    addresses: impl Iterator<Item = (&'a IpAddr, &'a AddressPlan)>,
    hand_off: &HandOffLink,
) -> impl Iterator<Item = (&'a IpAddr, &'a AddressPlan)> {
    addresses.filter(|(address, _)| !hand_off.is_waited_for(**address))
}

/// Whether there is news (true) or will never be any again (false); waits for ever for nothing.
async fn changed<T>(receiver: Option<&mut watch::Receiver<T>>) -> bool {
    match receiver {
        Some(receiver) => receiver.changed().await.is_ok(),
        None => pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
