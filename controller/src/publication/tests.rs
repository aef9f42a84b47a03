use ferrolb_crds::model::Hints;

use super::*;
use crate::fixture::{ips, key, now};

fn given(addresses: &[&str]) -> Arc<Status> {
    Arc::new(Status {
        pool: Some("first".to_owned()),
        ingress: ips(addresses),
        hints: Hints::default(),
        reason: "IPAllocated".into(),
        message: Arc::default(),
    })
}

fn refused() -> Arc<Status> {
    Arc::new(Status {
        pool: None,
        reason: "AllocationFailed".into(),
        message: "no available IPs".into(),
        ingress: Vec::new(),
        hints: Hints::default(),
    })
}

fn bare(version: u64) -> Observed {
    Observed {
        uid: "u".to_owned(),
        version: version.to_string(),
        ingress: Vec::new(),
        is_plain: true,
        pool: None,
        hints: Hints::default(),
        condition: None,
    }
}

/// As the API server has it when the status was written.
fn with(status: &Status, version: u64) -> Observed {
    use ferrolb_crds::state::Condition;
    Observed {
        ingress: status.ingress.clone(),
        pool: status.pool.clone(),
        hints: status.hints.clone(),
        condition: Some(Condition {
            allocated: !status.ingress.is_empty(),
            reason: status.reason.to_string(),
            message: status.message.to_string(),
            since: Timestamp(1),
        }),
        ..bare(version)
    }
}

fn publication(seen: &[(&str, Observed)]) -> Publication {
    let seen = seen.iter();
    let seen = seen.map(|(name, observed)| (key(name), Seen::new(observed.clone(), None)));
    Publication::new(seen.collect(), Log::default())
}

fn want(publication: &mut Publication, name: &str, status: &Arc<Status>) {
    publication.want(Output::Write(key(name), status.clone()));
}

/// Logs what has to be, and sends.
fn sent(publication: &mut Publication) -> Vec<Patch> {
    if publication.poll_log(9).is_some() {
        publication.set_number(1);
        publication.handle_logged(1);
    }
    publication.poll(9)
}

#[test]
fn what_gives_an_address_is_logged_before_it_is_sent() {
    let mut publication = publication(&[("s", bare(5))]);
    want(&mut publication, "s", &given(&["10.0.0.1"]));
    let log = publication.poll_log(9).unwrap();
    assert_eq!(
        log.intents[&key("s")],
        Intent {
            version: "5".to_owned(),
            addresses: ips(&["10.0.0.1"]),
        }
    );
    publication.set_number(2);
    assert_eq!(publication.poll(9), []);
    publication.handle_logged(1);
    assert_eq!(publication.poll(9), []);
    publication.handle_logged(3);
    let patches = publication.poll(9);
    assert_eq!(patches[0].version, "5");
    assert_eq!(patches[0].since, None);
    let answer = with(&patches[0].status, 6);
    publication.handle_patched(now(), &patches[0], Ok(answer));
    assert!(publication.is_idle());
    assert_eq!(sent(&mut publication), []);
}

#[test]
fn what_gives_nothing_is_sent_at_once_and_keeps_its_time() {
    let before = refused();
    let mut publication = publication(&[("s", with(&before, 5))]);
    let other = Arc::new(Status {
        message: "another reason".into(),
        ..Status::clone(&before)
    });
    want(&mut publication, "s", &other);
    assert_eq!(publication.poll_log(9), None);
    assert_eq!(publication.poll(9)[0].since, Some(Timestamp(1)));
}

#[test]
fn at_rest_and_after_a_restart_nothing_is_sent() {
    let status = given(&["10.0.0.1"]);
    let mut publication = publication(&[("s", with(&status, 5))]);
    want(&mut publication, "s", &status);
    assert_eq!(sent(&mut publication), []);
    let echo = Some(with(&status, 6));
    publication.observe(now(), key("s"), echo, Some(&status));
    assert_eq!(sent(&mut publication), []);
}

#[test]
fn after_a_conflict_the_next_try_waits_for_the_new_version() {
    let mut publication = publication(&[("s", bare(5))]);
    let status = given(&["10.0.0.1"]);
    want(&mut publication, "s", &status);
    let patches = sent(&mut publication);
    publication.handle_patched(now(), &patches[0], Err(Refusal::Conflict));
    assert_eq!(sent(&mut publication), []);
    publication.observe(now(), key("s"), Some(bare(7)), Some(&status));
    assert_eq!(sent(&mut publication)[0].version, "7");
}

#[test]
fn a_new_version_that_is_known_before_the_conflict_is_used_at_once() {
    let mut publication = publication(&[("s", bare(5))]);
    let status = given(&["10.0.0.1"]);
    want(&mut publication, "s", &status);
    let patches = sent(&mut publication);
    publication.observe(now(), key("s"), Some(bare(7)), Some(&status));
    publication.handle_patched(now(), &patches[0], Err(Refusal::Conflict));
    assert_eq!(sent(&mut publication)[0].version, "7");
}

#[test]
fn i1_who_gives_an_address_up_is_written_before_who_gets_it() {
    let old = given(&["10.0.0.1"]);
    let mut publication = publication(&[("a", with(&old, 5)), ("b", bare(5))]);
    want(&mut publication, "a", &given(&["10.0.0.2"]));
    want(&mut publication, "b", &old);
    let first = sent(&mut publication);
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].key, key("a"));
    let answer = with(&first[0].status, 6);
    publication.handle_patched(now(), &first[0], Ok(answer));
    assert_eq!(sent(&mut publication)[0].key, key("b"));
}

#[test]
fn i1_an_address_that_may_yet_be_written_is_given_to_nobody_else() {
    let mut publication = publication(&[("a", bare(5)), ("b", bare(5))]);
    let wanted = given(&["10.0.0.1"]);
    want(&mut publication, "a", &wanted);
    let first = sent(&mut publication);
    // The decision changes while the patch is under way.
    want(&mut publication, "a", &refused());
    want(&mut publication, "b", &wanted);
    assert_eq!(sent(&mut publication), []);
    let cut = Refusal::Unknown("connection reset".to_owned());
    publication.handle_patched(now(), &first[0], Err(cut));
    assert_eq!(sent(&mut publication), []);
    // What became of it is found out by sending it again.
    let at = publication.poll_timeout().unwrap();
    publication.handle_timeout(at);
    let again = sent(&mut publication);
    assert_eq!(again, first);
    publication.handle_patched(at, &again[0], Err(Refusal::Conflict));
    let seen = with(&wanted, 6);
    publication.observe(at, key("a"), Some(seen), Some(&refused()));
    let clear = sent(&mut publication);
    assert_eq!(clear[0].key, key("a"));
    assert_eq!(clear[0].status, refused());
    let answer = with(&refused(), 8);
    publication.handle_patched(at, &clear[0], Ok(answer));
    assert_eq!(sent(&mut publication)[0].key, key("b"));
}

#[test]
fn i1_what_the_one_before_may_yet_write_counts_as_taken() {
    let intent = |version: &str| Intent {
        version: version.to_owned(),
        addresses: ips(&["10.0.0.1"]),
    };
    let log = Log {
        through: 4,
        intents: [(key("a"), intent("5")), (key("old"), intent("3"))].into(),
    };
    let seen = [("a", bare(5)), ("b", bare(5)), ("old", bare(4))];
    let seen = seen
        .map(|(name, observed)| (key(name), Seen::new(observed, None)))
        .into();
    let mut publication = Publication::new(seen, log);
    // The other one is for a version that is no more.
    assert_eq!(publication.adopted().len(), 1);
    assert_eq!(publication.forced(), [key("a")]);
    want(&mut publication, "b", &given(&["10.0.0.1"]));
    assert_eq!(sent(&mut publication), []);
    // Nothing changes for this one, and yet it is written over: with a new time, at least.
    let unchanged = Arc::default();
    want(&mut publication, "a", &unchanged);
    let fence = sent(&mut publication);
    assert_eq!(fence[0].key, key("a"));
    assert_eq!(fence[0].since, None);
    publication.handle_patched(now(), &fence[0], Ok(with(&unchanged, 6)));
    assert_eq!(sent(&mut publication)[0].key, key("b"));
}

#[test]
fn what_others_edit_is_put_right_at_once_and_then_ever_later() {
    let status = given(&["10.0.0.1"]);
    let mut publication = publication(&[("s", with(&status, 1))]);
    let start = now();
    let mut version = 2;
    for _ in 1..FREE_EDITS {
        publication.observe(start, key("s"), Some(bare(version)), Some(&status));
        let patches = sent(&mut publication);
        assert_eq!(patches[0].status, status);
        publication.handle_patched(start, &patches[0], Ok(with(&status, version + 1)));
        version += 2;
    }
    for pause in [1, 2, 4] {
        publication.observe(start, key("s"), Some(bare(version)), Some(&status));
        assert_eq!(sent(&mut publication), []);
        let at = publication.poll_timeout().unwrap();
        assert_eq!(at, start + Duration::from_secs(pause));
        publication.handle_timeout(at);
        let patches = sent(&mut publication);
        publication.handle_patched(at, &patches[0], Ok(with(&status, version + 1)));
        version += 2;
    }
}

#[test]
fn an_older_version_that_is_told_late_is_no_news() {
    let status = given(&["10.0.0.1"]);
    let mut publication = publication(&[("s", bare(5))]);
    want(&mut publication, "s", &status);
    let patches = sent(&mut publication);
    publication.handle_patched(now(), &patches[0], Ok(with(&status, 9)));
    publication.observe(now(), key("s"), Some(bare(7)), Some(&status));
    assert_eq!(sent(&mut publication), []);
}

#[test]
fn what_is_gone_holds_nothing() {
    let status = given(&["10.0.0.1"]);
    let mut publication = publication(&[("a", with(&status, 5)), ("b", bare(5))]);
    want(&mut publication, "b", &status);
    // It shares, as far as the decision goes; but it goes.
    publication.observe(now(), key("a"), None, Some(&status));
    assert_eq!(sent(&mut publication)[0].key, key("b"));
}

#[test]
fn what_the_server_does_not_take_is_told_and_holds_up_nobody() {
    let mut publication = publication(&[("a", bare(5)), ("b", bare(5))]);
    want(&mut publication, "a", &given(&["10.0.0.1"]));
    let patches = sent(&mut publication);
    let refusal = Refusal::Refused("denied by a policy".to_owned());
    publication.handle_patched(now(), &patches[0], Err(refusal));
    assert!(matches!(
        publication.poll_report(),
        Some(Report::Failed { cause, .. }) if cause == "denied by a policy"
    ));
    assert!(publication.is_idle());
    want(&mut publication, "b", &given(&["10.0.0.2"]));
    assert_eq!(sent(&mut publication)[0].key, key("b"));
}

/// A patch of `a` that gives an address is sent, and nobody knows what became of it.
fn in_doubt(publication: &mut Publication) -> Patch {
    want(publication, "a", &given(&["10.0.0.1"]));
    let patch = sent(publication).remove(0);
    let cut = Refusal::Unknown("connection reset".to_owned());
    publication.handle_patched(now(), &patch, Err(cut));
    patch
}

fn sent_again(publication: &mut Publication) -> Vec<Patch> {
    let at = publication.poll_timeout().unwrap();
    publication.handle_timeout(at);
    sent(publication)
}

#[test]
fn i1_after_a_conflict_it_is_in_doubt_what_was_written_until_it_is_seen() {
    let mut publication = publication(&[("a", bare(5)), ("b", bare(5))]);
    let patch = in_doubt(&mut publication);
    assert_eq!(sent_again(&mut publication), std::slice::from_ref(&patch));
    // Perhaps because of what was sent first.
    publication.handle_patched(now(), &patch, Err(Refusal::Conflict));
    want(&mut publication, "a", &refused());
    want(&mut publication, "b", &patch.status);
    assert_eq!(sent(&mut publication), [patch]);
    // Who comes next may not have seen it either.
    want(&mut publication, "b", &given(&["10.0.0.2"]));
    let log = publication.poll_log(9).unwrap();
    assert!(log.intents.contains_key(&key("a")));
}

#[test]
fn what_is_there_is_wanted_for_as_long_as_it_may_be_overwritten() {
    let is = with(&refused(), 5);
    let mut publication = publication(&[("a", is)]);
    let patch = in_doubt(&mut publication);
    want(&mut publication, "a", &refused());
    assert_eq!(sent_again(&mut publication), std::slice::from_ref(&patch));
    let written = with(&patch.status, 6);
    publication.handle_patched(now(), &patch, Ok(written));
    let back = sent(&mut publication);
    assert_eq!(back[0].status, refused());
    assert_eq!(back[0].version, "6");
}

#[test]
fn i1_a_refusal_says_nothing_of_what_was_sent_before() {
    let mut publication = publication(&[("a", bare(5)), ("b", bare(5))]);
    let patch = in_doubt(&mut publication);
    assert_eq!(sent_again(&mut publication), std::slice::from_ref(&patch));
    let refusal = Refusal::Refused("denied by a policy".to_owned());
    publication.handle_patched(now(), &patch, Err(refusal));
    want(&mut publication, "a", &refused());
    want(&mut publication, "b", &patch.status);
    assert_eq!(sent(&mut publication), [patch]);
}

#[test]
fn an_answer_that_comes_after_later_news_is_not_the_truth() {
    let status = given(&["10.0.0.1"]);
    let mut publication = publication(&[("a", bare(5)), ("gone", bare(5))]);
    want(&mut publication, "a", &status);
    want(&mut publication, "gone", &given(&["10.0.0.2"]));
    let patches = sent(&mut publication);
    // It was made anew under the same name, and wants the same.
    let mut another = bare(9);
    another.uid = "v".to_owned();
    publication.observe(now(), key("a"), Some(another), Some(&status));
    publication.observe(now(), key("gone"), None, None);
    for (patch, version) in patches.iter().zip([6, 7]) {
        let answer = with(&patch.status, version);
        publication.handle_patched(now(), patch, Ok(answer));
    }
    let again = sent(&mut publication);
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].version, "9");
    assert_eq!(publication.ledger.disk(&key("gone")), None);
}

#[test]
fn what_takes_an_address_away_waits_for_the_log() {
    let mut publication = publication(&[("a", with(&given(&["10.0.0.1"]), 5))]);
    want(&mut publication, "a", &refused());
    let log = publication.poll_log(9).unwrap();
    assert_eq!(log.intents, BTreeMap::new());
    assert_eq!(publication.poll(9), []);
    publication.set_number(1);
    publication.handle_logged(1);
    assert_eq!(publication.poll(9)[0].status, refused());
}

#[test]
fn the_log_says_how_much_has_been_seen_and_nothing_of_what_is_done() {
    let mut publication = publication(&[("a", bare(5)), ("b", bare(6))]);
    want(&mut publication, "a", &given(&["10.0.0.1"]));
    assert_eq!(sent(&mut publication).len(), 1);
    // Whatever has become of the patch: this is later.
    let seen = Some(bare(9));
    publication.observe(now(), key("a"), seen, Some(&given(&["10.0.0.1"])));
    publication.reach(12);
    want(&mut publication, "b", &given(&["10.0.0.2"]));
    let log = publication.poll_log(9).unwrap();
    assert_eq!(log.through, 12);
    assert_eq!(log.intents.into_keys().collect::<Vec<_>>(), [key("b")]);
}

/// After a controller that may yet give `a` an address.
fn successor(observed: Observed) -> Publication {
    let intent = Intent {
        version: observed.version.clone(),
        addresses: ips(&["10.0.0.1"]),
    };
    let log = Log {
        through: 5,
        intents: [(key("a"), intent)].into(),
    };
    Publication::new([(key("a"), Seen::new(observed, None))].into(), log)
}

#[test]
fn i1_what_may_yet_be_written_is_prevented_before_something_else_is_given() {
    let mut publication = successor(bare(5));
    let other = given(&["10.0.0.2"]);
    want(&mut publication, "a", &other);
    assert_eq!(publication.poll_log(9), None);
    let fence = publication.poll(9);
    assert_eq!(fence[0].status.ingress, ips(&[]));
    let fenced = with(&fence[0].status, 6);
    publication.handle_patched(now(), &fence[0], Ok(fenced));
    let log = publication.poll_log(9).unwrap();
    assert_eq!(log.intents[&key("a")].version, "6");
    assert_eq!(log.intents[&key("a")].addresses, other.ingress);
}

#[test]
fn i1_what_is_written_over_a_version_always_changes_something() {
    let held = given(&["10.0.0.9"]);
    let mut publication = successor(with(&held, 5));
    want(&mut publication, "a", &held);
    let fence = publication.poll(9);
    assert_eq!(fence[0].status, held);
    assert_eq!(fence[0].since, Some(Timestamp(2)));
}

#[test]
fn who_is_to_give_an_address_up_is_waited_for_while_somebody_else_edits_it() {
    let held = given(&["10.0.0.1"]);
    let mut publication = publication(&[("a", with(&held, 1)), ("b", bare(1))]);
    let mut version = 2;
    for _ in 0..FREE_EDITS {
        let edit = Some(with(&held, version));
        publication.observe(now(), key("a"), edit, Some(&refused()));
        for patch in sent(&mut publication) {
            let answer = with(&patch.status, version + 1);
            publication.handle_patched(now(), &patch, Ok(answer));
        }
        version += 2;
    }
    want(&mut publication, "b", &held);
    assert_eq!(sent(&mut publication), []);
    let at = publication.poll_timeout().unwrap();
    publication.handle_timeout(at);
    assert_eq!(sent(&mut publication)[0].key, key("a"));
}

#[test]
fn what_was_refused_does_not_stay_in_the_log() {
    let held = given(&["10.0.0.1"]);
    let mut publication = publication(&[("s", with(&held, 5))]);
    assert_eq!(publication.poll_revision(), None);
    want(&mut publication, "s", &given(&["10.0.0.2"]));
    let patches = sent(&mut publication);
    assert_eq!(publication.poll_revision(), None);
    let refusal = Refusal::Refused("no".to_owned());
    publication.handle_patched(now(), &patches[0], Err(refusal));
    // It is wanted no more, and nothing is logged for another reason.
    want(&mut publication, "s", &held);
    let log = publication.poll_revision().unwrap();
    assert_eq!(log.intents, BTreeMap::new());
    assert_eq!(publication.poll_revision(), None);
}

fn remnant(uid: &str) -> Option<Remnant> {
    Some(Remnant {
        key: key("s"),
        uid: uid.to_owned(),
    })
}

#[test]
fn what_was_written_into_a_service_that_is_lost_is_to_go_once() {
    let status = given(&["10.0.0.1"]);
    let mut publication = publication(&[("s", with(&status, 5))]);
    publication.observe(now(), key("s"), None, Some(&status));
    let first = publication.poll_remnant();
    assert_eq!(first, remnant("u"));
    assert_eq!(publication.poll_remnant(), None);
    publication.keep_remnant(first.unwrap());
    assert_eq!(publication.poll_remnant(), remnant("u"));
    // Seen again as nothing, it is no news.
    publication.observe(now(), key("s"), None, None);
    assert_eq!(publication.poll_remnant(), None);
}

#[test]
fn what_may_have_been_written_is_to_go_too() {
    let status = given(&["10.0.0.1"]);
    let mut publication = publication(&[("s", bare(5))]);
    want(&mut publication, "s", &status);
    assert_eq!(sent(&mut publication).len(), 1);
    publication.observe(now(), key("s"), None, Some(&status));
    assert_eq!(publication.poll_remnant(), remnant("u"));
}

#[test]
fn nothing_is_to_go_that_is_not_ours_or_was_not_written() {
    let status = given(&["10.0.0.1"]);
    let mut publication = publication(&[("s", with(&status, 5)), ("t", bare(5))]);
    publication.observe(now(), key("s"), None, None);
    publication.observe(now(), key("t"), None, Some(&status));
    assert_eq!(publication.poll_remnant(), None);
}

#[test]
fn a_service_that_is_a_load_balancer_again_keeps_what_it_carries() {
    let status = given(&["10.0.0.1"]);
    let mut publication = publication(&[("s", with(&status, 5))]);
    publication.observe(now(), key("s"), None, Some(&status));
    let late = publication.poll_remnant().unwrap();
    publication.keep_remnant(late.clone());
    publication.observe(now(), key("s"), Some(bare(7)), None);
    assert_eq!(publication.poll_remnant(), None);
    publication.keep_remnant(late);
    assert_eq!(publication.poll_remnant(), None);
}
