#![expect(
    clippy::disallowed_methods,
    reason = "an Instant has no other beginning"
)]

use std::time::{Duration, Instant, UNIX_EPOCH};

use super::*;
use crate::bgp::{Ended, Messages, SessionState};
use crate::bmp::station::tests::established;

fn status(session: Option<&Arc<Established>>, ended: Option<Ended>) -> SessionStatus {
    SessionStatus {
        state: match session {
            Some(_) => SessionState::Established,
            None => SessionState::Active,
        },
        since: UNIX_EPOCH,
        last_error: None,
        prefixes: 0,
        desired: 0,
        updates_sent: 0,
        messages: Messages::default(),
        hold_time: None,
        families: BTreeSet::new(),
        capabilities: Vec::new(),
        local_address: None,
        established: session.cloned(),
        ended: ended.map(Arc::new),
    }
}

#[test]
fn what_differs_from_what_was_told_is_told() {
    let now = Instant::now();
    let (first, second) = (established(now), established(now + Duration::from_secs(1)));
    let moved = Arc::new(Established::clone(&first));
    let events = |told, status| events(told, &status, Arc::default);
    let up = |session: &Arc<Established>| {
        Event::Up(Up {
            established: Arc::clone(session),
            since: UNIX_EPOCH,
            routes: Arc::default(),
        })
    };
    let lost = || Event::Down(Down::Ended(Arc::new(Ended::Lost)));
    assert_eq!(events(None, status(None, None)), []);
    assert_eq!(events(None, status(Some(&first), None)), [up(&first)]);
    assert_eq!(events(Some(&first), status(Some(&first), None)), []);
    assert_eq!(
        events(Some(&first), status(Some(&moved), None)),
        [Event::Relocated(Arc::clone(&moved))]
    );
    assert_eq!(
        events(Some(&first), status(None, Some(Ended::Lost))),
        [lost()]
    );
    assert_eq!(
        events(Some(&first), status(Some(&second), Some(Ended::Lost))),
        [lost(), up(&second)]
    );
}

#[test]
fn without_a_station_nothing_runs() {
    let link = BmpLink::start(&BTreeSet::new(), "n1");
    assert!(link.0.is_none());
    assert!(link.report().is_empty());
}
