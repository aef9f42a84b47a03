//! What the driver tells of the sessions.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::super::packet::{Diagnostic, State};
use super::super::session::Session;
use super::super::socket;
use super::super::{Hops, Report, SessionKey, SessionStatus};
use super::{Driver, port_of};

/// Since when sessions are in the state they are in.
#[derive(Debug, Default)]
pub(super) struct Since(BTreeMap<SessionKey, SystemTime>);

impl Since {
    /// A session has just entered its state.
    pub(super) fn note(&mut self, key: &SessionKey) {
        self.0.insert(key.clone(), SystemTime::now());
    }

    /// It is no more.
    pub(super) fn forget(&mut self, key: &SessionKey) {
        self.0.remove(key);
    }

    fn of(&mut self, key: &SessionKey) -> SystemTime {
        *self.0.entry(key.clone()).or_insert_with(SystemTime::now)
    }
}

/// How all of it stands.
pub(super) fn report(driver: &mut Driver) -> Report {
    let mut report = Report {
        dropped: driver.sessions.dropped().clone(),
        ..Report::default()
    };
    for (key, session, hops, counts) in driver.sessions.iter() {
        if driver.wanted.contains_key(key) {
            let mut status = status(session, hops, driver.since.of(key));
            let place = driver.senders.get(key);
            status.problem = place.and_then(|place| place.problem.clone());
            report.sessions.insert(key.clone(), status);
            report.counts.insert(key.clone(), counts);
        }
    }
    for key in driver.wanted.keys() {
        if !report.sessions.contains_key(key) {
            let hops = socket::hops(key).unwrap_or(Hops::Single);
            let problem = driver.problems.get(&port_of(key, hops));
            let waiting = waiting(hops, driver.since.of(key), problem.cloned());
            report.sessions.insert(key.clone(), waiting);
        }
    }
    report
}

fn status(session: &Session, hops: Hops, since: SystemTime) -> SessionStatus {
    let (remote_state, remote_diagnostic) = session.remote();
    SessionStatus {
        state: session.state(),
        since,
        diagnostic: session.diagnostic(),
        remote_state,
        remote_diagnostic,
        last_failure: session.last_failure(),
        hops,
        transmit_interval: session.transmit_interval(),
        detection_time: session.detection_time(),
        is_echo_active: session.is_echo_active(),
        problem: None,
    }
}

/// One that cannot be run yet.
fn waiting(hops: Hops, since: SystemTime, problem: Option<String>) -> SessionStatus {
    SessionStatus {
        state: State::Down,
        since,
        diagnostic: Diagnostic::Absent,
        remote_state: State::Down,
        remote_diagnostic: Diagnostic::Absent,
        last_failure: None,
        hops,
        transmit_interval: None,
        detection_time: None,
        is_echo_active: false,
        problem,
    }
}
