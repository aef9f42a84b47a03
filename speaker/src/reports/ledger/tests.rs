use ferrolb_crds::api::SessionState;

use super::*;
use crate::reports::{Details, Session};

fn web() -> ServiceKey {
    ServiceKey::new("default", "web")
}

fn key() -> Key {
    Key::Layer2(web())
}

fn body(interfaces: &[&str]) -> Body {
    Body::Layer2(interfaces.iter().map(|name| (*name).to_owned()).collect())
}

fn this(interfaces: &[&str]) -> Option<Wanted> {
    Some(Wanted::This(body(interfaces)))
}

fn object(name: &str, version: u64, body: Option<Body>) -> Seen {
    Seen {
        key: key(),
        name: name.to_owned(),
        version,
        body,
        sign: None,
    }
}

/// A ledger that has been told that there is nothing, or these.
fn ledger(objects: Vec<Seen>) -> Ledger {
    let mut ledger = Ledger::new("n1".to_owned());
    for sort in Sort::ALL {
        let of_sort = objects.iter().filter(|seen| seen.key.sort() == sort);
        ledger.list(sort, of_sort.cloned().collect(), 10);
    }
    ledger.know(web(), Some("u1".to_owned()));
    ledger.complete();
    ledger
}

#[expect(clippy::disallowed_methods, reason = "where virtual time begins")]
fn start() -> Instant {
    Instant::now()
}

fn delete(name: &str) -> Option<Task> {
    Some(Task::Delete {
        key: key(),
        name: name.to_owned(),
    })
}

#[test]
fn what_is_announced_is_told_made_and_given_its_status_and_then_there_is_silence() {
    let now = start();
    let mut ledger = ledger(Vec::new());
    assert_eq!(ledger.poll(now), None);
    ledger.want(key(), this(&["eth0"]));
    let tasks = [ledger.poll(now), ledger.poll(now)];
    assert!(tasks.contains(&Some(Task::Create(key()))), "{tasks:?}");
    let told = tasks.iter().flatten().find_map(|task| match task {
        Task::Tell(event) => Some(event),
        Task::Create(_)
        | Task::Write { .. }
        | Task::Delete { .. }
        | Task::Sign { .. }
        | Task::Notice(_)
        | Task::Sweep(_) => None,
    });
    let told = told.unwrap();
    assert_eq!((told.reason, told.uid.as_str()), ("nodeAssigned", "u1"));
    let text = "announcing from node \"n1\" with protocol \"layer2\"";
    assert_eq!(told.message, text);
    ledger.see(object("l2-1", 11, None));
    let write = Task::Write {
        key: key(),
        name: "l2-1".to_owned(),
        body: body(&["eth0"]),
        present: None,
    };
    assert_eq!(ledger.poll(now), Some(write));
    ledger.see(object("l2-1", 12, Some(body(&["eth0"]))));
    assert_eq!(ledger.poll(now), None);
    // What the watch tells late is older.
    ledger.see(object("l2-1", 11, None));
    assert_eq!(ledger.poll(now), None);
}

#[test]
fn i4_after_a_restart_what_is_there_already_is_neither_written_nor_told() {
    let now = start();
    let mut ledger = ledger(vec![object("l2-metallbs", 5, Some(body(&[])))]);
    ledger.want(key(), Some(Wanted::AsItIs));
    assert_eq!(ledger.poll(now), None);
    ledger.want(key(), this(&[]));
    assert_eq!(ledger.poll(now), None);
    assert_eq!(ledger.poll_timeout(), None);
}

#[test]
fn nothing_is_written_before_it_is_known_what_is_there() {
    let mut ledger = Ledger::new("n1".to_owned());
    ledger.complete();
    ledger.want(key(), this(&[]));
    assert_eq!(ledger.poll(start()), None);
    ledger.list(Sort::Layer2, Vec::new(), 1);
    assert!(ledger.poll(start()).is_some());
}

#[test]
fn nothing_is_removed_before_it_is_known_what_is_wanted() {
    let mut ledger = Ledger::new("n1".to_owned());
    ledger.list(Sort::Layer2, vec![object("l2-a", 5, Some(body(&[])))], 9);
    assert_eq!(ledger.poll(start()), None);
    ledger.complete();
    assert_eq!(ledger.poll(start()), delete("l2-a"));
}

#[test]
fn what_nobody_wants_is_removed_and_one_of_two_is_enough() {
    let now = start();
    let said = Some(body(&[]));
    let mut ledger = ledger(vec![
        object("l2-a", 5, said.clone()),
        object("l2-b", 6, said.clone()),
    ]);
    ledger.want(key(), this(&[]));
    assert_eq!(ledger.poll(now), delete("l2-b"));
    ledger.lose(&key(), "l2-b");
    assert_eq!(ledger.poll(now), None);
    ledger.want(key(), None);
    assert_eq!(ledger.poll(now), delete("l2-a"));
    ledger.lose(&key(), "l2-a");
    assert_eq!(ledger.poll(now), None);
    // What was written before it was removed is told late.
    ledger.see(object("l2-a", 5, said));
    assert_eq!(ledger.poll(now), None);
    ledger.vanish(Sort::Layer2, "l2-a", 13);
    assert_eq!(ledger.poll(now), None);
    assert!(ledger.present.is_empty() || ledger.present[&key()].len() == 1);
}

#[test]
fn what_somebody_deletes_or_edits_is_restored_without_a_word() {
    let now = start();
    let mut ledger = ledger(vec![object("l2-a", 5, Some(body(&["eth0"])))]);
    ledger.want(key(), this(&["eth0"]));
    assert_eq!(ledger.poll(now), None);
    ledger.see(object("l2-a", 11, Some(body(&["eth9"]))));
    assert!(matches!(ledger.poll(now), Some(Task::Write { .. })));
    ledger.see(object("l2-a", 12, Some(body(&["eth0"]))));
    assert_eq!(ledger.poll(now), None);
    ledger.vanish(Sort::Layer2, "l2-a", 13);
    assert_eq!(ledger.poll(now), Some(Task::Create(key())));
    ledger.see(object("l2-a", 14, None));
    assert!(matches!(ledger.poll(now), Some(Task::Write { .. })));
}

#[test]
fn an_object_that_a_new_list_lacks_is_made_again() {
    let now = start();
    let mut ledger = ledger(vec![object("l2-a", 5, Some(body(&[])))]);
    ledger.want(key(), this(&[]));
    assert_eq!(ledger.poll(now), None);
    ledger.list(Sort::Layer2, Vec::new(), 20);
    assert_eq!(ledger.poll(now), Some(Task::Create(key())));
}

#[test]
fn without_the_kind_the_event_is_all_there_is() {
    let now = start();
    let mut ledger = Ledger::new("n1".to_owned());
    ledger.complete();
    ledger.miss(Sort::Layer2);
    ledger.want(key(), this(&[]));
    assert!(matches!(ledger.poll(now), Some(Task::Tell(_))));
    assert_eq!(ledger.poll(now), None);
    ledger.list(Sort::Layer2, Vec::new(), 1);
    assert_eq!(ledger.poll(now), Some(Task::Create(key())));
}

#[test]
fn what_is_put_off_waits_and_keeps_nobody_else_from_being_written() {
    let now = start();
    let second = Duration::from_secs(1);
    let mut ledger = ledger(Vec::new());
    ledger.want(
        Key::Configuration,
        Some(Wanted::This(Body::Configuration(Box::default()))),
    );
    assert_eq!(ledger.poll(now), Some(Task::Create(Key::Configuration)));
    ledger.put_off(Key::Configuration, now + second);
    assert_eq!(ledger.poll(now), None);
    let session = Key::Session("tor".to_owned());
    ledger.want(session.clone(), Some(Wanted::This(body(&[]))));
    assert_eq!(ledger.poll(now), Some(Task::Create(session)));
    assert_eq!(ledger.poll_timeout(), Some(now + second));
    let later = ledger.poll(now + second);
    assert_eq!(later, Some(Task::Create(Key::Configuration)));
}

#[test]
fn who_takes_an_address_over_sweeps_away_what_others_left_once_they_had_time() {
    let now = start();
    let mut ledger = ledger(Vec::new());
    ledger.want(key(), this(&[]));
    while ledger.poll(now).is_some() {}
    assert_eq!(ledger.poll_timeout(), Some(now + YIELD));
    let swept = Task::Sweep(BTreeSet::from([web()]));
    assert_eq!(ledger.poll(now + YIELD), Some(swept));
    assert_eq!(ledger.poll_timeout(), None);
    // One that has been lost meanwhile is nobody's to sweep.
    ledger.sweep_again(now, BTreeSet::from([web()]));
    ledger.want(key(), None);
    assert_eq!(ledger.poll(now + YIELD), None);
}

#[test]
fn at_the_end_only_the_sessions_are_spoken_of_and_at_once() {
    let session = |state| {
        Body::Session(Box::new(Session {
            state,
            ..Session::default()
        }))
    };
    let seen = |name: &str, body| Seen {
        key: Key::Session(name.to_owned()),
        name: format!("n1-{name}"),
        version: 1,
        body: Some(body),
        sign: None,
    };
    let up = session(SessionState::Established);
    let idle = session(SessionState::Idle);
    let mut ledger = ledger(vec![seen("a", up.clone()), seen("b", idle)]);
    for name in ["a", "b", "never-said"] {
        let key = Key::Session(name.to_owned());
        let ended = Wanted::This(session(SessionState::Idle));
        ledger.want(key.clone(), Some(ended));
        ledger.put_off(key, start() + Duration::from_secs(9));
    }
    let expected = Task::Write {
        key: Key::Session("a".to_owned()),
        name: "n1-a".to_owned(),
        body: session(SessionState::Idle),
        present: Some(up),
    };
    assert_eq!(ledger.last_words(), [expected]);
}

#[test]
fn i4_what_an_older_definition_has_no_room_for_is_written_once() {
    let key = Key::Session("tor".to_owned());
    let session = |hold_time| {
        Body::Session(Box::new(Session {
            state: SessionState::Established,
            details: Details {
                hold_time,
                ..Details::default()
            },
            ..Session::default()
        }))
    };
    let seen = |version, body| Seen {
        key: key.clone(),
        name: "n1-tor".to_owned(),
        version,
        body: Some(body),
        sign: None,
    };
    let idle = Body::Session(Box::default());
    let mut ledger = ledger(vec![seen(1, idle)]);
    let wanted = session(Some(90));
    ledger.want(key.clone(), Some(Wanted::This(wanted.clone())));
    let Some(Task::Write { body, .. }) = ledger.poll(start()) else {
        panic!("nothing is written");
    };
    assert_eq!(body, wanted);
    ledger.wrote(&body, seen(2, session(None)));
    assert_eq!(ledger.poll(start()), None);
    // What somebody edits is restored all the same, as far as there is room.
    ledger.see(seen(3, Body::Session(Box::default())));
    let Some(Task::Write { body, .. }) = ledger.poll(start()) else {
        panic!("nothing is restored");
    };
    assert_eq!(body, session(None));
}

#[test]
fn i4_a_sign_is_written_once_the_verdict_is_and_again_only_when_it_says_something_else() {
    let now = start();
    let statement = Body::Configuration(Box::default());
    let seen = |version, sign| Seen {
        key: Key::Configuration,
        name: "speaker-n1".to_owned(),
        version,
        body: Some(statement.clone()),
        sign,
    };
    let sign = |beat| Sign {
        beat,
        interfaces: BTreeMap::from([("eth0".to_owned(), BTreeSet::new())]),
    };
    let write = |sign| {
        let name = "speaker-n1".to_owned();
        Some(Task::Sign { name, sign })
    };
    let mut ledger = ledger(Vec::new());
    ledger.sign(sign(None));
    let wanted = Some(Wanted::This(statement.clone()));
    ledger.want(Key::Configuration, wanted);
    assert_eq!(ledger.poll(now), Some(Task::Create(Key::Configuration)));
    ledger.see(seen(11, None));
    assert_eq!(ledger.poll(now), write(sign(None)));
    ledger.see(seen(12, Some(sign(None))));
    assert_eq!(ledger.poll(now), None);
    for beat in [Some(1), Some(2)] {
        ledger.sign(sign(beat));
        assert_eq!(ledger.poll(now), write(sign(beat)));
        ledger.see(seen(20 + beat.unwrap(), Some(sign(beat))));
        assert_eq!(ledger.poll(now), None);
    }
    ledger.sign(sign(None));
    assert_eq!(ledger.poll(now), None, "the last beat may stay");
    ledger.see(seen(30, None));
    assert_eq!(ledger.poll(now), write(sign(None)), "somebody took it off");
}

#[test]
fn what_could_not_be_told_is_told_before_what_came_after_it() {
    let mut ledger = ledger(Vec::new());
    let notice = |message: &str| Notice {
        is_warning: false,
        reason: "Test",
        message: message.to_owned(),
    };
    ledger.notice(notice("lost"));
    ledger.notice(notice("back"));
    let next = |ledger: &mut Ledger| match ledger.poll(start()) {
        Some(Task::Notice(notice)) => notice,
        other => panic!("{other:?}"),
    };
    let first = next(&mut ledger);
    ledger.notice_again(first);
    assert_eq!(next(&mut ledger), notice("lost"));
    assert_eq!(next(&mut ledger), notice("back"));
}
