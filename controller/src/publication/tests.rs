use super::*;
use crate::fixture::{ips, key, now};

fn given(addresses: &[&str]) -> Status {
    Status {
        pool: Some("first".to_owned()),
        ingress: ips(addresses),
        reason: "IPAllocated".to_owned(),
        message: String::new(),
    }
}

fn refused() -> Status {
    Status {
        pool: None,
        reason: "AllocationFailed".to_owned(),
        message: "no available IPs".to_owned(),
        ingress: Vec::new(),
    }
}

fn bare(version: u64) -> Observed {
    Observed {
        uid: "u".to_owned(),
        version: version.to_string(),
        ingress: Vec::new(),
        is_plain: true,
        pool: None,
        condition: None,
    }
}

/// As the API server has it when the status was written.
fn with(status: &Status, version: u64) -> Observed {
    use ferrolb_crds::state::Condition;
    Observed {
        ingress: status.ingress.clone(),
        pool: status.pool.clone(),
        condition: Some(Condition {
            allocated: !status.ingress.is_empty(),
            reason: status.reason.clone(),
            message: status.message.clone(),
            since: Timestamp(1),
        }),
        ..bare(version)
    }
}

fn publication(seen: &[(&str, Observed)]) -> Publication {
    let seen = seen.iter();
    let seen = seen.map(|(name, observed)| (key(name), observed.clone()));
    Publication::new(seen.collect(), Log::default())
}

fn want(publication: &mut Publication, name: &str, status: &Status) {
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
    let other = Status {
        message: "another reason".to_owned(),
        ..before
    };
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
    let seen = seen.map(|(name, observed)| (key(name), observed)).into();
    let mut publication = Publication::new(seen, log);
    // The other one is for a version that is no more.
    assert_eq!(publication.adopted().len(), 1);
    assert_eq!(publication.forced(), [key("a")]);
    want(&mut publication, "b", &given(&["10.0.0.1"]));
    assert_eq!(sent(&mut publication), []);
    // Nothing changes for this one, and yet it is written over: with a new time, at least.
    let unchanged = Status {
        message: String::new(),
        reason: String::new(),
        pool: None,
        ingress: Vec::new(),
    };
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
