use futures_util::FutureExt;

use super::super::ruleset::Element;
use super::*;

#[test]
fn pauses_between_attempts_double_up_to_a_bound() {
    let pauses: Vec<_> = [1, 2, 3, 4, 5, 6, 7, u32::MAX]
        .map(|failures| retry_pause(failures).as_secs())
        .into();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
}

#[test]
fn of_what_nft_says_the_first_line_is_enough() {
    let stderr = b"\n/dev/stdin:1:1-5: Error: no such table\nadd element\n^^^^^\n";
    assert_eq!(first_line(stderr), "/dev/stdin:1:1-5: Error: no such table");
    assert_eq!(first_line(b""), "no message");
    assert_eq!(first_line(&[b'x'; 5000]).len(), 300);
}

#[test]
fn an_error_is_told_with_its_causes() {
    let error = HandOffError::Run(io::Error::other("no memory"));
    assert_eq!(chain(&error), "failed to run nft: no memory");
}

fn driver() -> (Driver, watch::Receiver<Report>) {
    let (_, wanted) = watch::channel(None);
    let (report, reports) = watch::channel(Report::Idle);
    let (settled, _) = watch::channel(0);
    (Driver::new(wanted, report, settled, CHECK), reports)
}

#[test]
fn a_missing_nft_is_a_refusal_that_says_what_to_install() {
    let (mut driver, reports) = driver();
    driver.conclude(Err(HandOffError::Missing));
    let report = reports.borrow().clone();
    let Report::Refused { reason } = report else {
        panic!("{report:?}")
    };
    assert!(reason.starts_with("nft is not installed: install "));
    assert_eq!(driver.failures, 0);
    assert!(driver.check_at.is_some(), "it may be installed any time");
}

#[test]
fn a_failure_is_reported_and_tried_again_from_a_look_at_the_table() {
    let (mut driver, reports) = driver();
    driver.table = Known::Absent;
    driver.conclude(Err(HandOffError::Late(NFT_LIMIT)));
    let error = "nft did not finish within 10s".to_owned();
    assert_eq!(*reports.borrow(), Report::Failed { error });
    assert!(matches!(driver.table, Known::Unknown));
    assert_eq!(driver.failures, 1);
    driver.conclude(Ok(Outcome::Idle));
    assert_eq!(*reports.borrow(), Report::Idle);
    assert_eq!((driver.failures, driver.check_at), (0, None));
}

#[test]
fn the_same_again_is_no_news() {
    let (mut driver, mut reports) = driver();
    let programmed = |written| {
        Ok(Outcome::Programmed {
            frontends: 3,
            written,
        })
    };
    driver.conclude(programmed(true));
    assert!(reports.has_changed().unwrap());
    reports.mark_unchanged();
    driver.conclude(programmed(false));
    assert!(!reports.has_changed().unwrap());
    driver.conclude(programmed(true));
    assert!(reports.has_changed().unwrap());
}

#[test]
fn only_what_this_task_has_changed_since_may_differ_from_what_is_read_back() {
    let [taken, given, other] = [1, 2, 3].map(|last| Element::Address([192, 0, 2, last].into()));
    let change = Change {
        removed: [taken.clone()].into(),
        added: [given.clone()].into(),
    };
    let is_right = |differing: Option<&[&Element]>| {
        let lines: Option<BTreeSet<String>> = differing.map(|elements| {
            elements
                .iter()
                .map(|element| listing::line(element))
                .collect()
        });
        let (mut driver, _reports) = driver();
        driver.checking = Some(Checking {
            began: Instant::now(),
            differing: Box::pin(std::future::ready(lines)),
            touched: BTreeSet::new(),
        });
        driver.note_touched(&change);
        checked(&mut driver.checking).now_or_never()
    };
    assert_eq!(is_right(Some(&[])), Some(true));
    assert_eq!(is_right(Some(&[&taken, &given])), Some(true));
    assert_eq!(is_right(Some(&[&taken, &other])), Some(false));
    assert_eq!(is_right(None), Some(false), "there is more to look at");
}
