use proptest::prelude::*;

use super::*;

#[expect(clippy::disallowed_methods, reason = "some moment")]
fn start() -> Instant {
    Instant::now()
}

const SECOND: Duration = Duration::from_secs(1);

fn session(state: SessionState, cause: Option<&str>) -> Wanted {
    Wanted::This(Body::Session(Box::new(Session {
        state,
        last_error: cause.map(str::to_owned),
        peer_address: Some("192.0.2.1".to_owned()),
        ..Session::default()
    })))
}

fn up(cause: Option<&str>) -> Wanted {
    session(SessionState::Established, cause)
}

fn down(cause: Option<&str>) -> Wanted {
    session(SessionState::Active, cause)
}

/// All that is to be told by then, each as `REASON: what follows the name of the session`.
fn told(outages: &mut Outages, now: Instant) -> Vec<String> {
    let notices = std::iter::from_fn(|| outages.poll(now));
    let words = notices.map(|notice| {
        let of = "BGP session with BGPPeer \"tor\" (192.0.2.1) ";
        let what = notice.message.strip_prefix(of).unwrap().to_owned();
        assert_eq!(notice.is_warning, notice.reason == DOWN);
        format!("{}: {what}", notice.reason)
    });
    words.collect()
}

#[test]
fn i4_a_session_that_comes_up_and_stays_is_never_told_of() {
    let (mut outages, now) = (Outages::default(), start());
    outages.note(now, "tor", Some(&down(None)));
    outages.note(now + SECOND, "tor", Some(&down(Some("refused"))));
    outages.note(now + 2 * SECOND, "tor", Some(&up(Some("refused"))));
    assert_eq!(told(&mut outages, now + 600 * SECOND), [""; 0]);
    assert_eq!(outages.poll_timeout(), None);
}

#[test]
fn a_loss_and_its_end_are_told_at_once() {
    let (mut outages, now) = (Outages::default(), start());
    outages.note(now, "tor", Some(&up(None)));
    outages.note(now, "tor", Some(&down(Some("hold timer expired"))));
    assert_eq!(outages.poll_timeout(), Some(now));
    let lost = ["BGPSessionDown: was lost: hold timer expired"];
    assert_eq!(told(&mut outages, now), lost);
    // Why it does not come back is in the object.
    outages.note(now + SECOND, "tor", Some(&down(Some("refused"))));
    assert_eq!(told(&mut outages, now + 60 * SECOND), [""; 0]);
    outages.note(now + 60 * SECOND, "tor", Some(&up(Some("refused"))));
    assert_eq!(
        told(&mut outages, now + 60 * SECOND),
        ["BGPSessionUp: is up"]
    );
    assert_eq!(outages.poll_timeout(), None);
}

#[test]
fn what_is_told_late_has_the_cause_of_the_loss() {
    let (mut outages, now) = (Outages::default(), start());
    let states = [up(None), down(Some("reset")), up(Some("reset"))];
    for state in &states {
        outages.note(now, "tor", Some(state));
        told(&mut outages, now);
    }
    outages.note(now + SECOND, "tor", Some(&down(Some("cut"))));
    outages.note(now + 2 * SECOND, "tor", Some(&down(Some("refused"))));
    assert_eq!(told(&mut outages, now + 299 * SECOND), [""; 0]);
    let lost = ["BGPSessionDown: was lost: cut"];
    assert_eq!(told(&mut outages, now + 300 * SECOND), lost);
}

#[test]
fn one_that_does_not_come_up_is_told_of_once_it_had_the_time() {
    let (mut outages, now) = (Outages::default(), start());
    outages.note(now, "tor", Some(&down(None)));
    outages.note(now + SECOND, "tor", Some(&down(Some("refused"))));
    assert_eq!(told(&mut outages, now + 29 * SECOND), [""; 0]);
    let refused = ["BGPSessionDown: does not come up: refused"];
    assert_eq!(told(&mut outages, now + GRACE), refused);
    outages.note(now + 40 * SECOND, "tor", Some(&up(Some("refused"))));
    assert_eq!(
        told(&mut outages, now + 40 * SECOND),
        ["BGPSessionUp: is up"]
    );
}

#[test]
fn what_ends_on_purpose_has_no_cause_and_is_not_told() {
    let (mut outages, now) = (Outages::default(), start());
    outages.note(now, "tor", Some(&up(None)));
    outages.note(now, "tor", Some(&down(None)));
    assert_eq!(told(&mut outages, now + 60 * SECOND), [""; 0]);
    // Until it turns out that it cannot come back.
    outages.note(now + 61 * SECOND, "tor", Some(&down(Some("refused"))));
    let refused = ["BGPSessionDown: does not come up: refused"];
    assert_eq!(told(&mut outages, now + 61 * SECOND), [""; 0]);
    assert_eq!(told(&mut outages, now + 91 * SECOND), refused);
    outages.note(now + 92 * SECOND, "tor", None);
    assert_eq!(outages.poll_timeout(), None);
}

#[test]
fn one_that_flaps_is_told_of_with_a_number() {
    let (mut outages, now) = (Outages::default(), start());
    outages.note(now, "tor", Some(&up(None)));
    let mut all = Vec::new();
    for second in 0..900 {
        let at = now + second * SECOND;
        let next = match second % 3 {
            0 => down(Some("reset")),
            _ => up(Some("reset")),
        };
        outages.note(at, "tor", Some(&next));
        all.extend(told(&mut outages, at));
    }
    let expected = [
        "BGPSessionDown: was lost: reset",
        "BGPSessionUp: is up",
        "BGPSessionDown: is up, and was lost 100 times in 5 minutes: reset",
        "BGPSessionDown: is up, and was lost 100 times in 5 minutes: reset",
    ];
    assert_eq!(all, expected);
}

proptest! {
    /// Whatever sessions do, of one no more is told than two things in five minutes, and who reads
    /// the last of them knows how it stands.
    #[test]
    fn what_is_told_is_bounded_and_true_in_the_end(
        steps in proptest::collection::vec((0u32..120, 0usize..4), 1..200)
    ) {
        let (mut outages, start) = (Outages::default(), start());
        let mut now = start;
        let mut times = Vec::new();
        let mut last = None;
        let states = [down(None), down(Some("why")), up(None), up(Some("why"))];
        let tell = |outages: &mut Outages, now, times: &mut Vec<Instant>, last: &mut Option<Notice>| {
            while let Some(notice) = outages.poll(now) {
                times.push(now);
                *last = Some(notice);
            }
        };
        for (pause, state) in &steps {
            let end = now + *pause * SECOND;
            while let Some(due) = outages.poll_timeout().filter(|due| *due <= end) {
                now = now.max(due);
                tell(&mut outages, now, &mut times, &mut last);
            }
            now = end;
            outages.note(now, "tor", Some(&states[*state]));
            tell(&mut outages, now, &mut times, &mut last);
        }
        tell(&mut outages, now + 2 * PAUSE, &mut times, &mut last);
        prop_assert_eq!(outages.poll_timeout(), None);
        for window in times.windows(3) {
            prop_assert!(window[2] - window[0] >= PAUSE);
        }
        let says_up = last.map(|last| last.message.contains(" is up"));
        match steps.last().unwrap() {
            // On purpose.
            (_, 0) => {}
            (_, 1) => prop_assert_eq!(says_up, Some(false)),
            _ => prop_assert_ne!(says_up, Some(false)),
        }
    }
}
