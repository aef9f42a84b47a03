//! What a speaker in a cluster has besides: somebody may ask how it is doing, and the API server is
//! told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use ferrolb_crds::api;
use ferrolb_crds::model::{HoldTime, ServiceKey};
use ferrolb_crds::serve::{Pages, Pulse, Server};
use kube::Client;
use tokio::sync::watch;

use super::memory::Memory;
use super::source::Batch;
use super::{Cluster, Settings, Speaker};
use crate::bgp::{SessionState, SessionStatus};
use crate::layer2::Counters;
use crate::metrics::{self, Announced, Snapshot};
use crate::plan::{self, AddressPlan};
use crate::reports::driver::Reports;
use crate::reports::{self, Body, Key, Notice, Sign, Unsettled, Wanted, driver};
use crate::status::{self, Blocked};
use crate::{bfd, radv};

/// The part of a speaker that only a cluster needs.
pub(super) struct ClusterLink {
    pulse: Pulse,
    known: Arc<Mutex<Known>>,
    _servers: Vec<Server>,
    reports: Option<Reports>,
    /// What was last said of each session, and since when it is up or down.
    sessions: BTreeMap<String, Said>,
}

struct Said {
    wanted: Wanted,
    is_up: bool,
    since: SystemTime,
}

/// What the page of metrics is made of.
#[derive(Default)]
struct Known {
    snapshot: Snapshot,
    counters: Option<Counters>,
    bfd: Option<watch::Receiver<bfd::Report>>,
}

impl ClusterLink {
    /// Begins to serve.
    pub(super) fn start(settings: &Settings, cluster: &Cluster, client: Option<Client>) -> Self {
        let pulse = Pulse::begin();
        let node = &settings.identity.node;
        let reports = driver::Settings {
            node: node.clone(),
            namespace: settings.namespace.clone(),
        };
        let known = Known {
            snapshot: Snapshot {
                node: node.clone(),
                ..Snapshot::default()
            },
            counters: None,
            bfd: None,
        };
        let known = Arc::new(Mutex::new(known));
        Self {
            _servers: serve(cluster, &pulse, &known),
            pulse,
            known,
            reports: client.map(|client| Reports::start(client, reports)),
            sessions: BTreeMap::new(),
        }
    }

    /// What its own reports say that this node announced when it last ran.
    pub(super) fn memory(&self) -> Memory {
        match &self.reports {
            Some(reports) => Memory::Services(reports.earlier()),
            None => Memory::Spent,
        }
    }

    /// The loop turns; it is to turn again at the time returned.
    pub(super) fn beat(&self) -> Instant {
        self.pulse.beat();
        Instant::now() + Pulse::INTERVAL
    }

    /// Everything present has been read and planned.
    pub(super) fn set_ready(&self) {
        self.pulse.set_ready(true);
        self.known().snapshot.source.is_loaded = true;
        if let Some(reports) = &self.reports {
            reports.complete();
        }
    }

    /// The source has brought this.
    pub(super) fn note_batch(&self, batch: &Batch) {
        let source = &mut self.known().snapshot.source;
        source.updates += batch.changes.len() as u64;
        if let Some(problems) = &batch.problems {
            source.is_stale = !problems.is_empty();
            source.errors += u64::from(source.is_stale);
        }
        if let Some(reports) = &self.reports {
            reports.know(batch.uids.iter().cloned());
            let statement = batch.statement.clone();
            let statement = statement.map(|statement| Body::Configuration(Box::new(statement)));
            let wanted = statement.map(Wanted::This);
            reports.want(wanted.map(|wanted| (Key::Configuration, Some(wanted))));
        }
    }

    /// The plan of an address is another one.
    pub(super) fn note_address(
        &self,
        address: IpAddr,
        old: Option<&AddressPlan>,
        new: Option<&AddressPlan>,
    ) {
        let mut known = self.known();
        let held = |plan: Option<&AddressPlan>| plan.and_then(|plan| plan.layer2.cause());
        if let (None, Some(cause)) = (held(old), held(new)) {
            *known.snapshot.takeovers.entry(cause).or_default() += 1;
        }
        let announced = &mut known.snapshot.announced;
        match new.and_then(Announced::of) {
            Some(fate) => announced.insert(address, fate),
            None => announced.remove(&address),
        };
        let conflicts = &mut known.snapshot.conflicts;
        match new.and_then(|plan| plan.layer2.others()) {
            Some(others) => conflicts.insert(address, others.clone()),
            None => conflicts.remove(&address),
        };
        if let Some(reports) = &self.reports {
            for warning in reports::warnings(&known.snapshot.node, address, old, new) {
                reports.warn(warning);
            }
        }
    }

    /// So often somebody else held what this node holds.
    pub(super) fn note_rivals(&self, rivals: metrics::Rivals) {
        self.known().snapshot.rivals = rivals;
    }

    /// Warns of something that happened to a Service.
    pub(super) fn warn(&self, warning: reports::Warning) {
        if let Some(reports) = &self.reports {
            reports.warn(warning);
        }
    }

    /// What this speaker's ConfigurationState is to carry.
    pub(super) fn sign(&self, sign: Sign) {
        if let Some(reports) = &self.reports {
            reports.sign(sign);
        }
    }

    /// Tells of something that happened to this node.
    pub(super) fn notice(&self, notice: Notice) {
        if let Some(reports) = &self.reports {
            reports.notice(notice);
        }
    }

    /// These nodes live and are not heard.
    pub(super) fn note_blocked(&self, blocked: Vec<Blocked>) {
        let rows = blocked.into_iter().flat_map(
            |Blocked {
                 node, interfaces, ..
             }| {
                let rows = interfaces.into_iter();
                rows.map(move |interface| (node.clone(), interface))
            },
        );
        self.known().snapshot.blocked = rows.collect();
    }

    /// What arrives here is delivered, or is not.
    pub(super) fn note_delivery(&self, delivers: bool) {
        self.known().snapshot.delivers = Some(delivers);
    }

    /// The sessions stand like this, by the peer's address, and the paths are told of there.
    fn note_sessions(
        &self,
        sessions: BTreeMap<metrics::Peer, SessionStatus>,
        bfd: Option<watch::Receiver<bfd::Report>>,
    ) {
        let mut known = self.known();
        known.snapshot.sessions = sessions;
        known.bfd = bfd;
    }

    /// Reports what is different of the sessions.
    fn report_sessions(
        &mut self,
        peers: &BTreeMap<String, plan::Session>,
        statuses: &BTreeMap<String, SessionStatus>,
        paths: &BTreeMap<String, bfd::Standing>,
        routers: &radv::Report,
    ) {
        let Some(reports) = &self.reports else {
            return;
        };
        let mut gone: BTreeSet<String> = self.sessions.keys().cloned().collect();
        for (peer, plan) in peers {
            gone.remove(peer);
            let said = self.sessions.get(peer);
            let status = statuses.get(peer);
            let is_up = status.is_some_and(|status| status.state == SessionState::Established);
            let since = match (said, status) {
                (Some(said), _) if said.is_up == is_up => said.since,
                (_, Some(status)) => status.since,
                (_, None) => SystemTime::now(),
            };
            let session = session(plan, status, paths.get(peer), since, routers);
            let wanted = Wanted::This(Body::Session(Box::new(session)));
            if said.is_none_or(|said| said.wanted != wanted) {
                reports.want([(Key::Session(peer.clone()), Some(wanted.clone()))]);
                let said = Said {
                    wanted,
                    is_up,
                    since,
                };
                self.sessions.insert(peer.clone(), said);
            }
        }
        for peer in gone {
            self.sessions.remove(&peer);
            reports.want([(Key::Session(peer), None)]);
        }
    }

    /// Reports that the sessions have ended, and ends.
    pub(super) async fn stop(mut self, peers: &BTreeMap<String, plan::Session>) {
        let Some(reports) = self.reports.take() else {
            return;
        };
        let (now, nobody) = (SystemTime::now(), radv::Report::new());
        reports.want(peers.iter().map(|(peer, plan)| {
            let said = self.sessions.get(peer).filter(|said| !said.is_up);
            let ended = reports::Session {
                last_error: Some(STOPPED.to_owned()),
                ..session(
                    plan,
                    None,
                    None,
                    said.map_or(now, |said| said.since),
                    &nobody,
                )
            };
            let wanted = Wanted::This(Body::Session(Box::new(ended)));
            (Key::Session(peer.clone()), Some(wanted))
        }));
        reports.finish(LAST_REPORT).await;
    }

    /// Layer 2 counts here.
    pub(super) fn note_counters(&self, counters: Option<Counters>) {
        self.known().counters = counters;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Speaker {
    /// Tells whoever wants to know how the sessions stand.
    pub(super) fn note_sessions(&mut self) {
        self.tell_stations();
        if let Some(cluster) = &mut self.cluster
            && self.is_ready
        {
            cluster.note_sessions(self.sessions.by_address(), self.bfd.report());
            let routers = self.routers.report();
            let (statuses, paths) = (self.sessions.statuses(), self.bfd.standings());
            cluster.report_sessions(&self.plan.peers, &statuses, &paths, &routers);
        }
    }

    /// Tells the API server how these Services fare here.
    pub(super) fn report_services(&self, services: BTreeSet<ServiceKey>) {
        let reports = self.cluster.as_ref().and_then(|link| link.reports.as_ref());
        let Some(reports) = reports else {
            return;
        };
        let (world, plan) = (&self.world, &self.plan);
        let unsettled = Unsettled {
            is_starting: self.segment.is_starting(),
            contested: self.contested.clone(),
        };
        reports.want(services.into_iter().flat_map(|service| {
            let layer2 = reports::layer2(world, plan, &service, &unsettled);
            let bgp = reports::bgp(world, plan, &service);
            [
                (Key::Layer2(service.clone()), layer2),
                (Key::Bgp(service), bgp),
            ]
        }));
    }

    /// The same for those that it announces at layer 2.
    pub(super) fn report_announced(&self) {
        let plans = self.plan.each();
        let held = plans.filter(|(_, plan)| plan.layer2.is_held());
        let services = held.flat_map(|(_, plan)| plan.holders());
        self.report_services(services.cloned().collect());
    }
}

/// What there is to say of a session. One that tries again and again is always the same.
fn session(
    plan: &plan::Session,
    status: Option<&SessionStatus>,
    path: Option<&bfd::Standing>,
    since: SystemTime,
    routers: &radv::Report,
) -> reports::Session {
    let since = status::time(since);
    let place = status::whereabouts(&plan.neighbor, routers);
    let mut session = reports::Session {
        since,
        last_error: place.problem,
        peer_address: Some(place.name),
        ..reports::Session::default()
    };
    session.details.bfd = plan.bfd.as_ref().map(|_| watched(path));
    if let Some(status) = status {
        session.state = match status.state {
            SessionState::Established => api::SessionState::Established,
            SessionState::Idle
            | SessionState::Connect
            | SessionState::Active
            | SessionState::OpenSent
            | SessionState::OpenConfirm => api::SessionState::Active,
        };
        session.last_error.clone_from(&status.last_error);
        session.prefixes = i64::try_from(status.prefixes).unwrap_or(i64::MAX);
        session.details.hold_time = status.hold_time.map(HoldTime::seconds);
        let families = status.families.iter();
        session.details.families = families.map(ToString::to_string).collect();
        let capabilities = status.capabilities.iter();
        session.details.capabilities = capabilities.map(ToString::to_string).collect();
    }
    session
}

/// What there is to say of a path, without what changes while nothing happens.
fn watched(standing: Option<&bfd::Standing>) -> api::BgpSessionBfd {
    let status = standing.and_then(|standing| standing.status.as_ref());
    let up = status.filter(|status| status.state == bfd::State::Up);
    let failure = status.and_then(|status| status.last_failure);
    let failure = failure.filter(|failure| *failure != bfd::Diagnostic::Absent);
    let problem = status.and_then(|status| status.problem.clone());
    let of_all = || standing.and_then(|standing| standing.problem.clone());
    api::BgpSessionBfd {
        state: if up.is_some() { "Up" } else { "Down" }.to_owned(),
        since: up.map(|status| status::time(status.since)),
        last_failure: failure.map(|failure| failure.to_string()),
        problem: problem.or_else(of_all),
    }
}

fn serve(settings: &Cluster, pulse: &Pulse, known: &Arc<Mutex<Known>>) -> Vec<Server> {
    let health = Pages {
        pulse: Some(pulse.clone()),
        metrics: None,
    };
    let known = Arc::clone(known);
    let page = move || {
        let known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let counters = known.counters.as_ref();
        let counts = counters.map(Counters::read).unwrap_or_default();
        let tally = counters.map(Counters::tally).unwrap_or_default();
        let paths = known.bfd.as_ref().map(|report| report.borrow().clone());
        metrics::render(&known.snapshot, &counts, &tally, &paths.unwrap_or_default())
    };
    let metrics = Pages {
        metrics: Some(Arc::new(page)),
        pulse: None,
    };
    let health = settings.health.map(|at| Server::start(at, health));
    let metrics = settings.metrics.map(|at| Server::start(at, metrics));
    health.into_iter().chain(metrics).collect()
}

/// Why no session is up when the speaker has left.
const STOPPED: &str = "this speaker has stopped";

/// How long the last report may take on the way out.
const LAST_REPORT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
