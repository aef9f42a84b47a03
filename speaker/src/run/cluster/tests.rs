use std::time::UNIX_EPOCH;

use super::*;

fn standing(state: bfd::State, since: u64) -> bfd::Standing {
    let status = bfd::SessionStatus {
        state,
        since: UNIX_EPOCH + Duration::from_secs(since),
        diagnostic: bfd::Diagnostic::Absent,
        remote_state: state,
        remote_diagnostic: bfd::Diagnostic::Absent,
        last_failure: Some(bfd::Diagnostic::ControlDetectionTimeExpired),
        hops: bfd::Hops::Single,
        transmit_interval: None,
        detection_time: None,
        is_echo_active: false,
        problem: None,
    };
    bfd::Standing {
        status: Some(status),
        ..bfd::Standing::default()
    }
}

#[test]
fn i4_a_path_that_keeps_trying_is_always_the_same() {
    let down = watched(Some(&standing(bfd::State::Down, 1)));
    assert_eq!(down, watched(Some(&standing(bfd::State::Init, 2))));
    assert_eq!((down.state.as_str(), &down.since), ("Down", &None));
    let up = watched(Some(&standing(bfd::State::Up, 3)));
    assert_eq!(up.state, "Up");
    assert_eq!(up.since.as_deref(), Some("1970-01-01T00:00:03Z"));
    let failure = up.last_failure.as_deref();
    assert_eq!(failure, Some("control detection time expired"));
}

#[test]
fn a_path_that_cannot_be_watched_says_why() {
    let problem = Some("it is in use".to_owned());
    let none = bfd::Standing {
        problem: problem.clone(),
        ..bfd::Standing::default()
    };
    let path = watched(Some(&none));
    assert_eq!(
        (path.state.as_str(), path.problem),
        ("Down", problem.clone())
    );
    let mut one = standing(bfd::State::Down, 1);
    one.status.as_mut().unwrap().problem.clone_from(&problem);
    assert_eq!(watched(Some(&one)).problem, problem);
    assert_eq!(watched(None).state, "Down");
}
