#![expect(
    clippy::disallowed_methods,
    reason = "an Instant has no other beginning"
)]

mod establishing;
mod simulation;
mod table;

use std::time::{Duration, Instant};

use ferrolb_crds::model::{Family, HoldTime};

use crate::bgp::GracefulRestart;

use super::super::message::{AfiSafi, Capability, Open};
use super::super::tests::{endpoint, settings};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn rng() -> fastrand::Rng {
    fastrand::Rng::with_seed(7)
}

/// What the router at the other end of `tests::settings` says.
fn router_open() -> Open {
    Open {
        autonomous_system: 64500,
        hold_time: 9,
        router_id: "10.0.0.1".parse().unwrap(),
        capabilities: vec![
            Capability::MultiProtocol(AfiSafi::unicast(Family::V4)),
            Capability::MultiProtocol(AfiSafi::unicast(Family::V6)),
            Capability::FourOctetAsn(64500),
        ],
    }
}

fn drain(connection: &mut Connection) -> Vec<Output> {
    std::iter::from_fn(|| connection.poll()).collect()
}

fn told(connection: &mut Connection, now: Instant, inputs: &[Input]) -> Vec<Output> {
    for input in inputs {
        connection.handle(now, input.clone());
    }
    drain(connection)
}

/// A connection in Established, its outputs taken.
fn established(settings: Settings, open: Open, now: Instant) -> Connection {
    let mut connection = Connection::new(settings, rng());
    let inputs = [
        Input::ManualStart,
        Input::TcpConfirmed(endpoint()),
        Input::Open(open),
        Input::Keepalive,
    ];
    told(&mut connection, now, &inputs);
    assert_eq!(connection.state(), SessionState::Established);
    connection
}

fn notifications(outputs: &[Output]) -> Vec<String> {
    let mut shown = Vec::new();
    for output in outputs {
        if let Output::Send(Message::Notification(notification)) = output {
            shown.push(notification.to_string());
        }
    }
    shown
}

/// Lets the time pass up to `until` and collects what comes out.
fn pass(connection: &mut Connection, until: Instant) -> Vec<(Instant, Output)> {
    let mut outputs = Vec::new();
    while let Some((at, _)) = connection.poll_timeout().filter(|(at, _)| *at <= until) {
        connection.handle_timeout(at);
        outputs.extend(drain(connection).into_iter().map(|output| (at, output)));
    }
    outputs
}

fn is_keepalive(output: &Output) -> bool {
    *output == Output::Send(Message::Keepalive)
}

#[test]
fn hold_timer_expiry_sends_notification_4() {
    let now = Instant::now();
    let mut connection = established(settings(), router_open(), now);
    let outputs = pass(&mut connection, now + 9 * SECOND);
    let sent: Vec<Output> = outputs.iter().map(|(_, output)| output.clone()).collect();
    assert_eq!(notifications(&sent), ["Hold Timer Expired"]);
    assert_eq!(connection.state(), SessionState::Idle);
    let (at, _) = outputs.last().unwrap();
    assert_eq!(*at, now + 9 * SECOND, "the peer proposed 9 s, we 90");
    let failure = connection.last_failure().unwrap().to_string();
    assert_eq!(failure, "hold timer expired");
}

#[test]
fn the_hold_timer_is_restarted_by_keepalive_and_update_and_by_nothing_else() {
    let now = Instant::now();
    let hold = |input: Input| {
        let mut connection = established(settings(), router_open(), now);
        connection.handle(now + 5 * SECOND, input);
        connection.timers.deadline(&Timer::Hold).unwrap() - now
    };
    assert_eq!(hold(Input::Keepalive), 14 * SECOND);
    assert_eq!(hold(Input::Update), 14 * SECOND);
    assert_eq!(hold(Input::RouteRefresh(Some(Family::V4))), 9 * SECOND);
    assert_eq!(hold(Input::UpdateSent), 9 * SECOND);
}

#[test]
fn an_open_that_never_comes_is_waited_for_four_minutes() {
    let now = Instant::now();
    let mut connection = Connection::new(settings(), rng());
    let inputs = [Input::ManualStart, Input::TcpConfirmed(endpoint())];
    told(&mut connection, now, &inputs);
    assert_eq!(
        connection.poll_timeout(),
        Some((now + 240 * SECOND, Timer::Hold))
    );
    connection.handle_timeout(now + 240 * SECOND);
    assert_eq!(
        notifications(&drain(&mut connection)),
        ["Hold Timer Expired"]
    );
}

#[test]
fn keepalives_keep_within_a_third_of_the_hold_time_and_are_not_in_step() {
    let now = Instant::now();
    let mut connection = established(settings(), router_open(), now);
    let mut sent = vec![now];
    for second in 1..60 {
        let until = now + second * SECOND;
        let outputs = pass(&mut connection, until);
        sent.extend(
            outputs
                .iter()
                .filter(|(_, o)| is_keepalive(o))
                .map(|(at, _)| *at),
        );
        connection.handle(until, Input::Keepalive);
    }
    let gaps: Vec<Duration> = sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.len() >= 19, "{gaps:?}");
    let bounds = 3 * SECOND * 3 / 4..=3 * SECOND;
    assert!(gaps.iter().all(|gap| bounds.contains(gap)), "{gaps:?}");
    assert!(gaps.iter().max() > gaps.iter().min(), "jitter");
}

#[test]
fn an_update_is_as_good_as_a_keepalive() {
    let now = Instant::now();
    let mut connection = established(settings(), router_open(), now);
    for tenths in 0..80 {
        connection.handle(now + tenths * SECOND / 10, Input::UpdateSent);
    }
    let outputs = pass(&mut connection, now + 8 * SECOND);
    assert_eq!(outputs, []);
}

#[test]
fn a_configured_keepalive_time_holds_as_far_as_the_hold_time_allows() {
    let now = Instant::now();
    let first = |configured: u32| {
        let settings = Settings {
            keepalive_time: Some(configured * SECOND),
            ..settings()
        };
        let connection = established(settings, router_open(), now);
        connection.timers.deadline(&Timer::Keepalive).unwrap() - now
    };
    assert!((SECOND..=2 * SECOND).contains(&first(2)));
    assert!((2 * SECOND..=3 * SECOND).contains(&first(60)));
    // RFC 4271 §4.4: not more than one a second, jitter included.
    assert_eq!(first(1), SECOND);
}

#[test]
fn a_hold_time_of_zero_means_no_timers() {
    let now = Instant::now();
    let open = Open {
        hold_time: 0,
        ..router_open()
    };
    let mut connection = established(settings(), open, now);
    connection.handle(now, Input::Keepalive);
    connection.handle(now, Input::UpdateSent);
    connection.handle(now, Input::SendBlocked);
    assert_eq!(connection.poll_timeout(), None);
    let negotiated = connection.negotiated().unwrap();
    assert_eq!(negotiated.hold_time, HoldTime::new(0).unwrap());
}

#[test]
fn a_peer_that_reads_nothing_for_the_hold_time_is_given_up() {
    let now = Instant::now();
    let mut connection = established(settings(), router_open(), now);
    connection.handle(now + SECOND, Input::SendBlocked);
    connection.handle(now + 2 * SECOND, Input::SendBlocked);
    connection.handle(now + 9 * SECOND, Input::Keepalive);
    let outputs = pass(&mut connection, now + 10 * SECOND);
    assert!(outputs.iter().any(|(_, output)| *output == Output::Close));
    assert_eq!(
        connection.last_failure(),
        Some(&Reason::SendHoldTimerExpired)
    );
}

#[test]
fn a_peer_that_reads_slowly_is_not() {
    let now = Instant::now();
    let mut connection = established(settings(), router_open(), now);
    for second in 1..60 {
        let now = now + second * SECOND;
        let inputs = [Input::SendResumed, Input::SendBlocked, Input::Keepalive];
        told(&mut connection, now, &inputs);
        connection.handle_timeout(now);
    }
    assert_eq!(connection.state(), SessionState::Established);
}

/// A session with these terms of restart.
fn with_terms(terms: Option<bool>, now: Instant) -> Connection {
    let settings = Settings {
        graceful_restart: Some(GracefulRestart::default()),
        ..settings()
    };
    let mut open = router_open();
    let offered = terms.map(|has_notification| {
        Capability::GracefulRestart(super::super::message::GracefulRestart {
            is_restarting: false,
            has_notification,
            restart_time: 120,
            families: vec![],
        })
    });
    open.capabilities.extend(offered);
    established(settings, open, now)
}

#[test]
fn every_farewell_has_its_words_and_stays_farewell() {
    let now = Instant::now();
    let said = |terms: Option<bool>, farewell: Farewell| {
        let mut connection = with_terms(terms, now);
        let outputs = told(&mut connection, now, &[Input::ManualStop(farewell)]);
        assert!(outputs.contains(&Output::Close));
        assert_eq!(connection.poll_timeout(), None);
        assert!(!connection.is_started());
        assert_eq!(connection.last_failure(), None, "nothing went wrong");
        notifications(&outputs).concat()
    };
    let leave = || Farewell::Shutdown("n1 leaves".to_owned());
    let stopped = "Cease/Administrative Shutdown (the speaker on n1 is being stopped)";
    assert_eq!(said(None, Farewell::Restart), stopped);
    assert_eq!(said(Some(false), Farewell::Restart), "");
    assert_eq!(said(Some(true), Farewell::Restart), "");
    let left = "Cease/Administrative Shutdown (n1 leaves)";
    assert_eq!(said(None, leave()), left);
    assert_eq!(said(Some(false), leave()), left);
    let hard = format!("Cease/Hard Reset: {left}");
    assert_eq!(said(Some(true), leave()), hard);
    let gone = "Cease/Peer De-configured";
    assert_eq!(said(None, Farewell::Deconfigured), gone);
    assert_eq!(said(Some(false), Farewell::Deconfigured), gone);
    let hard = format!("Cease/Hard Reset: {gone}");
    assert_eq!(said(Some(true), Farewell::Deconfigured), hard);
    let other = "Cease/Other Configuration Change";
    assert_eq!(said(None, Farewell::Reconfigured), other);
    assert_eq!(said(Some(false), Farewell::Reconfigured), "");
    assert_eq!(said(Some(true), Farewell::Reconfigured), other);
}

#[test]
fn before_there_are_terms_every_farewell_is_said() {
    let now = Instant::now();
    let settings = Settings {
        graceful_restart: Some(GracefulRestart::default()),
        ..settings()
    };
    let mut connection = Connection::new(settings, rng());
    let inputs = [
        Input::ManualStart,
        Input::TcpConfirmed(endpoint()),
        Input::ManualStop(Farewell::Restart),
    ];
    assert_eq!(notifications(&told(&mut connection, now, &inputs)).len(), 1);
}

#[test]
fn who_dials_us_has_a_minute_to_say_something() {
    let now = Instant::now();
    let mut dialing = Connection::new(settings(), rng());
    dialing.handle(now, Input::ManualStart);
    let mut accepted = dialing.accept(now, endpoint());
    assert!(matches!(
        drain(&mut accepted)[0],
        Output::Send(Message::Open(_))
    ));
    let at = now + 60 * SECOND;
    assert_eq!(accepted.poll_timeout(), Some((at, Timer::Hold)));
    accepted.handle_timeout(at);
    assert_eq!(notifications(&drain(&mut accepted)), ["Hold Timer Expired"]);
}

#[test]
fn whom_we_do_not_dial_is_waited_for_without_end_and_held_off_after_a_failure() {
    let now = Instant::now();
    let passive = Settings {
        passive: true,
        ..settings()
    };
    let mut connection = Connection::new(passive, rng());
    connection.handle(now, Input::ManualStart);
    assert_eq!(connection.state(), SessionState::Active);
    assert_eq!(connection.poll_timeout(), None);
    let failure = Reason::TcpFailed("reset".to_owned());
    connection.handle(now, Input::AcceptedFailed(failure.clone()));
    assert_eq!(connection.state(), SessionState::Idle);
    assert_eq!(connection.last_failure(), Some(&failure));
    let (at, timer) = connection.poll_timeout().unwrap();
    assert_eq!(timer, Timer::IdleHold);
    connection.handle_timeout(at);
    assert_eq!(connection.state(), SessionState::Active);
    assert!(!drain(&mut connection).contains(&Output::Connect));
}

#[test]
fn a_path_that_has_failed_takes_the_routes_along_also_where_a_notification_would_keep_them() {
    let now = Instant::now();
    let said = |terms| {
        let mut connection = with_terms(terms, now);
        notifications(&told(&mut connection, now, &[Input::BfdDown])).concat()
    };
    assert_eq!(said(None), "Cease/BFD Down");
    assert_eq!(said(Some(false)), "Cease/BFD Down");
    assert_eq!(said(Some(true)), "Cease/Hard Reset: Cease/BFD Down");
}

#[test]
fn who_says_how_long_to_wait_between_two_attempts_waits_no_longer_after_a_session_either() {
    let now = Instant::now();
    let quick = Settings {
        connect_retry_time: Some(SECOND),
        ..settings()
    };
    let mut connection = established(quick, router_open(), now);
    for _ in 0..5 {
        connection.handle(now, Input::TcpFailed("reset".to_owned()));
        let (at, timer) = connection.poll_timeout().unwrap();
        assert_eq!(timer, Timer::IdleHold);
        assert!(at <= now + SECOND, "{:?}", at - now);
        connection.handle_timeout(at);
        let up = [
            Input::TcpConfirmed(endpoint()),
            Input::Open(router_open()),
            Input::Keepalive,
        ];
        told(&mut connection, now, &up);
        assert_eq!(connection.state(), SessionState::Established);
    }
}

#[test]
fn a_session_goes_on_with_another_keepalive_interval_but_not_beyond_a_third_of_the_hold_time() {
    let now = Instant::now();
    let mut connection = established(settings(), router_open(), now);
    let next = |connection: &mut Connection, keepalive: Option<Duration>| {
        let live = Settings {
            keepalive_time: keepalive,
            ..settings()
        };
        connection.adjust(now, live.live());
        assert_eq!(drain(connection), []);
        let (at, timer) = connection.poll_timeout().unwrap();
        assert_eq!(timer, Timer::Keepalive);
        at - now
    };
    assert!(next(&mut connection, Some(SECOND)) <= SECOND);
    let third = next(&mut connection, Some(20 * SECOND));
    assert!((2 * SECOND..=3 * SECOND).contains(&third), "{third:?}");
    assert_eq!(connection.state(), SessionState::Established);
}

#[test]
fn who_is_to_dial_after_all_does_and_who_is_to_wait_does_not() {
    let now = Instant::now();
    let with = |passive| Settings {
        passive,
        ..settings()
    };
    let mut connection = Connection::new(with(true), rng());
    connection.handle(now, Input::ManualStart);
    assert_eq!(connection.poll_timeout(), None);
    connection.adjust(now, with(false).live());
    let (at, timer) = connection.poll_timeout().unwrap();
    assert_eq!(timer, Timer::ConnectRetry);
    connection.adjust(now, with(true).live());
    assert_eq!(connection.poll_timeout(), None);
    connection.adjust(now, with(false).live());
    connection.handle_timeout(at + SECOND * 60);
    assert!(drain(&mut connection).contains(&Output::Connect));
}
