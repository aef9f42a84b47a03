//! RFC 4271 §8.2.2 as a table: every state, every input.

use super::super::super::notification::{Cease, HeaderError, OpenError, RefreshError, UpdateError};
use super::*;

const STATES: usize = 7;

/// A connection in each state: Idle (stopped), Idle (waiting), Connect, Active, OpenSent,
/// OpenConfirm, Established.
fn in_state(column: usize, now: Instant) -> Connection {
    let up = Input::TcpConfirmed(endpoint());
    let open = Input::Open(router_open());
    let inputs = match column {
        0 => vec![],
        1 => {
            let cease = Input::Notification(Notification::from(Cease::PeerDeconfigured));
            vec![Input::ManualStart, up, open, cease]
        }
        2 => vec![Input::ManualStart],
        3 => vec![Input::ManualStart, Input::TcpFailed("refused".to_owned())],
        4 => vec![Input::ManualStart, up],
        5 => vec![Input::ManualStart, up, open],
        6 => vec![Input::ManualStart, up, open, Input::Keepalive],
        _ => unreachable!("seven states"),
    };
    let mut connection = Connection::new(settings(), rng());
    told(&mut connection, now, &inputs);
    connection
}

/// What an input does: the state after it and what comes out, or `-` for nothing.
fn effect(column: usize, input: &Input) -> String {
    let now = Instant::now();
    let mut connection = in_state(column, now);
    let before = connection.state();
    let outputs = told(&mut connection, now, std::slice::from_ref(input));
    if outputs.is_empty() {
        assert_eq!(connection.state(), before, "a silent transition");
        return "-".to_owned();
    }
    let mut shown = format!("{:?}", connection.state());
    for output in outputs {
        match output {
            Output::Connect => shown.push_str(" connect"),
            Output::Close => shown.push_str(" close"),
            Output::Refresh(family) => shown.push_str(&format!(" refresh {family}")),
            Output::Send(Message::Open(_)) => shown.push_str(" open"),
            Output::Send(Message::Keepalive) => shown.push_str(" keepalive"),
            Output::Send(Message::Notification(n)) => {
                shown.push_str(&format!(" {}/{}", n.code, n.subcode));
            }
            Output::StateChanged { from, to, .. } => {
                assert_eq!((from, to), (before, connection.state()));
            }
        }
    }
    shown
}

fn check(input: Input, expected: [&str; STATES]) {
    let actual: Vec<String> = (0..STATES).map(|column| effect(column, &input)).collect();
    assert_eq!(actual, expected, "{input:?}");
}

const NOTHING: [&str; STATES] = ["-"; STATES];

#[test]
fn manual_events() {
    check(
        Input::ManualStart,
        ["Connect connect", "-", "-", "-", "-", "-", "-"],
    );
    let cease = "Idle 6/3 close";
    check(
        Input::ManualStop(Farewell::Deconfigured),
        ["-", "Idle", "Idle close", "Idle", cease, cease, cease],
    );
}

/// RFC 9384: what there is to lose is lost; what there is not may still be made.
#[test]
fn bfd_events() {
    let lost = "Idle 6/10 close";
    check(Input::BfdDown, ["-", "-", "-", "-", lost, lost, lost]);
}

#[test]
fn events_of_another_connection() {
    let dump = "Idle 6/7 close";
    check(
        Input::OpenCollisionDump,
        ["-", "-", "-", "-", dump, dump, dump],
    );
    check(
        Input::PeerRestarted,
        ["-", "-", "-", "-", "-", "-", "Idle close"],
    );
    check(
        Input::AcceptedFailed(Reason::NoAnswer),
        ["-", "-", "-", "Idle", "-", "-", "-"],
    );
}

#[test]
fn timer_events() {
    let timer = Input::Timer;
    let dial = "Connect connect";
    check(
        timer(Timer::ConnectRetry),
        ["-", "-", dial, dial, "-", "-", "-"],
    );
    check(timer(Timer::IdleHold), ["-", dial, "-", "-", "-", "-", "-"]);
    let expired = "Idle 4/0 close";
    check(
        timer(Timer::Hold),
        ["-", "-", "-", "-", expired, expired, expired],
    );
    let (confirm, established) = ("OpenConfirm keepalive", "Established keepalive");
    check(
        timer(Timer::Keepalive),
        ["-", "-", "-", "-", "-", confirm, established],
    );
    let lost = "Idle close";
    check(
        timer(Timer::SendHold),
        ["-", "-", "-", "-", "-", lost, lost],
    );
}

#[test]
fn tcp_events() {
    let (unwanted, open) = ("Idle close", "OpenSent open");
    check(
        Input::TcpConfirmed(endpoint()),
        [unwanted, unwanted, open, open, "-", "-", "-"],
    );
    let lost = "Idle close";
    check(
        Input::TcpFailed("reset".to_owned()),
        ["-", "-", "Active", "-", "Active close", lost, lost],
    );
    check(Input::UpdateSent, NOTHING);
    check(Input::SendBlocked, NOTHING);
    check(Input::SendResumed, NOTHING);
}

#[test]
fn messages() {
    let (sent, confirm, established) = ("Idle 5/1 close", "Idle 5/2 close", "Idle 5/3 close");
    let accepted = "OpenConfirm keepalive";
    check(
        Input::Open(router_open()),
        ["-", "-", "-", "-", accepted, confirm, established],
    );
    let stranger = Open {
        capabilities: vec![],
        autonomous_system: 64999,
        ..router_open()
    };
    check(
        Input::Open(stranger),
        ["-", "-", "-", "-", "Idle 2/2 close", confirm, established],
    );
    check(
        Input::Keepalive,
        ["-", "-", "-", "-", sent, "Established", "-"],
    );
    check(Input::Update, ["-", "-", "-", "-", sent, confirm, "-"]);
    let refresh = "Established refresh IPv4";
    check(
        Input::RouteRefresh(Some(Family::V4)),
        ["-", "-", "-", "-", sent, confirm, refresh],
    );
    check(
        Input::RouteRefresh(None),
        ["-", "-", "-", "-", sent, confirm, "-"],
    );
    check(
        Input::RouteRefreshError(RefreshError::InvalidMessageLength(vec![])),
        ["-", "-", "-", "-", sent, confirm, "Idle 7/1 close"],
    );
    let lost = "Idle close";
    check(
        Input::Notification(Notification::from(Cease::PeerDeconfigured)),
        ["-", "-", "-", "-", lost, lost, lost],
    );
    check(
        Input::Notification(Notification::from(Cease::ConnectionRejected)),
        ["-", "-", "-", "-", "Active close", lost, lost],
    );
}

#[test]
fn malformed_messages() {
    let header = "Idle 1/1 close";
    check(
        Input::HeaderError(HeaderError::ConnectionNotSynchronized),
        ["-", "-", "-", "-", header, header, header],
    );
    let open = "Idle 2/0 close";
    check(
        Input::OpenError(OpenError::Unspecific),
        ["-", "-", "-", "-", open, open, "Idle 5/3 close"],
    );
    let (sent, confirm) = ("Idle 5/1 close", "Idle 5/2 close");
    check(
        Input::UpdateError(UpdateError::InvalidNetworkField),
        ["-", "-", "-", "-", sent, confirm, "Idle 3/10 close"],
    );
}

#[test]
fn every_state_has_its_timers_and_no_others() {
    let now = Instant::now();
    let running = |column: usize| {
        let connection = in_state(column, now);
        let timers = [
            Timer::ConnectRetry,
            Timer::Hold,
            Timer::Keepalive,
            Timer::IdleHold,
            Timer::SendHold,
        ];
        let is_running = |timer: &Timer| connection.timers.deadline(timer).is_some();
        timers.into_iter().filter(is_running).collect::<Vec<_>>()
    };
    assert_eq!(running(0), []);
    assert_eq!(running(1), [Timer::IdleHold]);
    assert_eq!(running(2), [Timer::ConnectRetry]);
    assert_eq!(running(3), [Timer::ConnectRetry]);
    assert_eq!(running(4), [Timer::Hold]);
    assert_eq!(running(5), [Timer::Hold, Timer::Keepalive]);
    assert_eq!(running(6), [Timer::Hold, Timer::Keepalive]);
}
