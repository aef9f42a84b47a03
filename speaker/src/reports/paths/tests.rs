use ferrolb_crds::api::BgpSessionBfd;

use super::super::Details;
use super::*;

#[expect(clippy::disallowed_methods, reason = "some moment")]
fn start() -> Instant {
    Instant::now()
}

const SECOND: Duration = Duration::from_secs(1);

fn session(state: SessionState, bfd: Option<&str>) -> Wanted {
    let bfd = bfd.map(|state| BgpSessionBfd {
        state: state.to_owned(),
        ..BgpSessionBfd::default()
    });
    Wanted::This(Body::Session(Box::new(Session {
        state,
        peer_address: Some("192.0.2.1".to_owned()),
        details: Details {
            bfd,
            ..Details::default()
        },
        ..Session::default()
    })))
}

fn up(bfd: &str) -> Wanted {
    session(SessionState::Established, Some(bfd))
}

fn told(paths: &mut Paths, now: Instant) -> Vec<&'static str> {
    let notices = std::iter::from_fn(|| paths.poll(now));
    let reasons = notices.map(|notice| {
        assert_eq!(notice.is_warning, notice.reason == DOWN);
        notice.reason
    });
    reasons.collect()
}

#[test]
fn a_path_that_comes_up_with_its_session_is_never_told_of() {
    let (mut paths, now) = (Paths::default(), start());
    paths.note(
        now,
        "tor",
        Some(&session(SessionState::Active, Some("Down"))),
    );
    paths.note(now, "tor", Some(&up("Down")));
    paths.note(now + 29 * SECOND, "tor", Some(&up("Up")));
    // It fails, and takes the session along.
    paths.note(now + 99 * SECOND, "tor", Some(&up("Down")));
    paths.note(
        now + 99 * SECOND,
        "tor",
        Some(&session(SessionState::Idle, Some("Down"))),
    );
    assert_eq!(paths.poll_timeout(), None);
    assert_eq!(told(&mut paths, now + 999 * SECOND), [""; 0]);
}

#[test]
fn a_router_without_bfd_is_told_of_once_and_when_it_has_it() {
    let (mut paths, now) = (Paths::default(), start());
    for second in 0..60 {
        paths.note(now + second * SECOND, "tor", Some(&up("Down")));
    }
    assert_eq!(paths.poll_timeout(), Some(now + GRACE));
    let notice = paths.poll(now + GRACE).unwrap();
    let said = "BFD session with BGPPeer \"tor\" (192.0.2.1) is down, and its BGP session up: ";
    assert_eq!(notice.message, format!("{said}{UNHEARD}"));
    // It is as it was after the session was lost.
    paths.note(
        now + 60 * SECOND,
        "tor",
        Some(&session(SessionState::Idle, Some("Down"))),
    );
    paths.note(now + 61 * SECOND, "tor", Some(&up("Down")));
    assert_eq!(told(&mut paths, now + 999 * SECOND), [""; 0]);
    paths.note(now + 1000 * SECOND, "tor", Some(&up("Up")));
    assert_eq!(told(&mut paths, now + 1000 * SECOND), [UP]);
}

#[test]
fn one_that_comes_and_goes_is_told_of_twice_in_five_minutes() {
    let (mut paths, now) = (Paths::default(), start());
    let mut all = 0;
    for second in 0..3000 {
        let at = now + second * SECOND;
        let bfd = if second % 60 < 50 { "Down" } else { "Up" };
        paths.note(at, "tor", Some(&up(bfd)));
        all += told(&mut paths, at).len();
    }
    assert!((10..=20).contains(&all), "{all}");
}

#[test]
fn what_is_not_watched_any_more_is_forgotten() {
    let (mut paths, now) = (Paths::default(), start());
    paths.note(now, "tor", Some(&up("Down")));
    assert_eq!(told(&mut paths, now + GRACE), [DOWN]);
    paths.note(
        now + GRACE,
        "tor",
        Some(&session(SessionState::Established, None)),
    );
    paths.note(now + GRACE, "tor", Some(&up("Up")));
    assert_eq!(told(&mut paths, now + GRACE), [""; 0]);
    paths.note(now + GRACE, "tor", None);
    assert_eq!(paths.poll_timeout(), None);
}
