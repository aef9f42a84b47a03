use super::*;
use crate::fixture::{ips, key, now};

fn lease(version: &str, holder: &str) -> Lease {
    Lease {
        version: version.to_owned(),
        holder: holder.to_owned(),
        duration: DURATION,
        transitions: 3,
        log: some_log(),
    }
}

fn some_log() -> Log {
    let intent = Intent {
        version: "5".to_owned(),
        addresses: ips(&["10.0.0.1"]),
    };
    Log {
        through: 4,
        intents: [(key("s"), intent)].into(),
    }
}

fn outputs(election: &mut Election) -> Vec<Output> {
    std::iter::from_fn(|| election.poll()).collect()
}

fn read(election: &mut Election, now: Instant, lease: Option<Lease>) -> Vec<Output> {
    election.handle_timeout(now);
    assert_eq!(outputs(election), [Output::Read]);
    election.handle(now, Input::Read(Ok(lease)));
    outputs(election)
}

fn draft(outputs: &[Output]) -> &Draft {
    match outputs {
        [.., Output::Write(draft)] => draft,
        other => panic!("no write: {other:?}"),
    }
}

fn written(draft: &Draft, version: &str) -> Input {
    Input::Written(Ok(Lease {
        version: version.to_owned(),
        holder: draft.holder.clone(),
        duration: DURATION,
        transitions: draft.transitions,
        log: draft.log.clone(),
    }))
}

fn leading(start: Instant) -> Election {
    let mut election = Election::new("a_1".to_owned(), start);
    let asked = read(&mut election, start, Some(lease("7", "")));
    let answer = written(draft(&asked), "8");
    election.handle(start, answer);
    assert_eq!(outputs(&mut election), [Output::Elected(some_log())]);
    election
}

#[test]
fn a_free_lease_is_taken_with_what_the_last_holder_left_in_it() {
    let start = now();
    let mut election = Election::new("a_1".to_owned(), start);
    let asked = read(&mut election, start, Some(lease("7", "")));
    assert_eq!(
        *draft(&asked),
        Draft {
            version: Some("7".to_owned()),
            holder: "a_1".to_owned(),
            transitions: 4,
            is_taking: true,
            log: some_log(),
        }
    );
    assert!(leading(start).is_leading());
}

#[test]
fn a_lease_that_is_missing_is_made() {
    let start = now();
    let mut election = Election::new("a_1".to_owned(), start);
    let asked = read(&mut election, start, None);
    assert_eq!(draft(&asked).version, None);
    // Somebody else was faster.
    election.handle(start, Input::Written(Err(Refusal::Conflict)));
    assert_eq!(outputs(&mut election), [Output::Read]);
    election.handle(start, Input::Read(Ok(Some(lease("1", "b_1")))));
    assert_eq!(outputs(&mut election), []);
    assert!(!election.is_leading());
}

#[test]
fn a_lease_that_does_not_change_for_its_duration_is_taken() {
    let start = now();
    let mut election = Election::new("a_1".to_owned(), start);
    let mut at = start;
    for _ in 0..5 {
        assert_eq!(read(&mut election, at, Some(lease("7", "b_1"))), []);
        at = election.poll_timeout().unwrap().0;
    }
    // It was renewed: the time begins again.
    assert_eq!(read(&mut election, at, Some(lease("8", "b_1"))), []);
    let renewed = at;
    loop {
        at = election.poll_timeout().unwrap().0;
        let asked = read(&mut election, at, Some(lease("8", "b_1")));
        if !asked.is_empty() {
            assert_eq!(draft(&asked).version.as_deref(), Some("8"));
            break;
        }
    }
    assert_eq!(at, renewed + DURATION);
}

#[test]
fn who_comes_back_to_its_place_does_not_wait_for_itself() {
    let start = now();
    let mut election = Election::new("pod_2".to_owned(), start);
    let asked = read(&mut election, start, Some(lease("7", "pod_1")));
    assert!(draft(&asked).is_taking);
    // Only at the start: later somebody is really there.
    let mut election = Election::new("pod_2".to_owned(), start);
    assert_eq!(read(&mut election, start, Some(lease("7", "b_1"))), []);
    let at = election.poll_timeout().unwrap().0;
    assert_eq!(read(&mut election, at, Some(lease("9", "pod_1"))), []);
}

#[test]
fn the_lease_is_renewed() {
    let start = now();
    let mut election = leading(start);
    let (at, timer) = election.poll_timeout().unwrap();
    assert_eq!((at, timer), (start + RENEW, Timer::Renew));
    election.handle_timeout(at);
    let asked = outputs(&mut election);
    assert_eq!(draft(&asked).version.as_deref(), Some("8"));
    assert!(!draft(&asked).is_taking);
    assert_eq!(draft(&asked).log, some_log());
}

#[test]
fn what_is_logged_during_a_write_is_written_after_it() {
    let start = now();
    let mut election = leading(start);
    let first = election.log(Log::default());
    let asked = outputs(&mut election);
    assert_eq!(draft(&asked).log, Log::default());
    let second = election.log(some_log());
    assert_eq!(outputs(&mut election), []);
    election.handle(start, written(draft(&asked), "9"));
    let then = outputs(&mut election);
    assert_eq!(then[0], Output::Logged(first));
    assert_eq!(draft(&then).log, some_log());
    election.handle(start, written(draft(&then), "10"));
    assert_eq!(outputs(&mut election), [Output::Logged(second)]);
}

#[test]
fn who_finds_the_lease_in_other_hands_stops() {
    let start = now();
    let mut election = leading(start);
    election.log(Log::default());
    assert_eq!(outputs(&mut election).len(), 1);
    election.handle(start, Input::Written(Err(Refusal::Conflict)));
    assert_eq!(outputs(&mut election), [Output::Read]);
    election.handle(start, Input::Read(Ok(Some(lease("9", "b_1")))));
    assert_eq!(outputs(&mut election), [Output::Deposed]);
    assert_eq!(election.holder(), Some("b_1"));
}

#[test]
fn a_write_whose_end_is_unknown_is_looked_up_and_made_again() {
    let start = now();
    let mut election = leading(start);
    let number = election.log(Log::default());
    assert_eq!(outputs(&mut election).len(), 1);
    let cut = Refusal::Failed("connection reset".to_owned());
    election.handle(start, Input::Written(Err(cut.clone())));
    assert_eq!(
        outputs(&mut election),
        [Output::Failing("connection reset".to_owned())]
    );
    let at = election.poll_timeout().unwrap().0;
    let asked = read(&mut election, at, Some(lease("9", "a_1")));
    assert_eq!(draft(&asked).version.as_deref(), Some("9"));
    election.handle(at, written(draft(&asked), "10"));
    assert_eq!(outputs(&mut election), [Output::Logged(number)]);
    // What failed once may be said again, once it has worked in between.
    election.log(some_log());
    assert_eq!(outputs(&mut election).len(), 1);
    election.handle(at, Input::Written(Err(cut)));
    assert_eq!(outputs(&mut election).len(), 1);
}

#[test]
fn who_ends_gives_the_lease_up_and_leaves_the_log() {
    let start = now();
    let mut election = leading(start);
    election.handle(start, Input::Resign);
    let asked = outputs(&mut election);
    assert_eq!(draft(&asked).holder, "");
    assert_eq!(draft(&asked).log, some_log());
    election.handle(start, written(draft(&asked), "9"));
    assert_eq!(outputs(&mut election), [Output::Deposed, Output::Resigned]);
    assert_eq!(election.poll_timeout(), None);
}

#[test]
fn who_never_led_ends_without_a_write() {
    let start = now();
    let mut election = Election::new("a_1".to_owned(), start);
    read(&mut election, start, Some(lease("7", "b_1")));
    election.handle(start, Input::Resign);
    assert_eq!(outputs(&mut election), [Output::Resigned]);
}

#[test]
fn who_cannot_renew_the_lease_is_sure_of_it_no_longer_than_it_lasts() {
    let start = now();
    let mut election = leading(start);
    assert!(election.is_sure(start + DURATION - RENEW));
    assert!(!election.is_sure(start + DURATION));
    let at = start + RENEW;
    election.handle_timeout(at);
    let asked = outputs(&mut election);
    election.handle(at, written(draft(&asked), "9"));
    assert!(election.is_sure(start + DURATION));
}

#[test]
fn i1_a_lease_that_is_deleted_is_made_again_with_what_was_in_it() {
    let start = now();
    let mut election = leading(start);
    election.handle_timeout(start + RENEW);
    assert_eq!(outputs(&mut election).len(), 1);
    election.handle(start, Input::Written(Err(Refusal::Conflict)));
    assert_eq!(outputs(&mut election), [Output::Read]);
    election.handle(start, Input::Read(Ok(None)));
    let asked = outputs(&mut election);
    assert_eq!(asked[0], Output::Deposed);
    assert_eq!(draft(&asked).log, some_log());
    // Also by who only looked on.
    let mut election = Election::new("a_1".to_owned(), start);
    assert_eq!(read(&mut election, start, Some(lease("7", "b_1"))), []);
    let at = election.poll_timeout().unwrap().0;
    assert_eq!(draft(&read(&mut election, at, None)).log, some_log());
}
