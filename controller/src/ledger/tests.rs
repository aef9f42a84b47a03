use ferrolb_crds::model::Hints;
use proptest::prelude::*;

use super::*;
use crate::fixture::{ips, key, now};

fn status(addresses: &[&str]) -> Arc<Status> {
    Arc::new(Status {
        pool: None,
        ingress: ips(addresses),
        hints: Hints::default(),
        reason: "IPAllocated".into(),
        message: Arc::default(),
    })
}

fn write(name: &str, addresses: &[&str]) -> Output {
    Output::Write(key(name), status(addresses))
}

fn names(writes: &[Write]) -> Vec<&str> {
    writes.iter().map(|write| write.key.name.as_str()).collect()
}

fn ledger(disk: &[(&str, &[&str])], outputs: impl IntoIterator<Item = Output>) -> Ledger {
    let disk = disk.iter();
    let mut ledger = Ledger::new(disk.map(|(n, a)| (key(n), status(a))).collect());
    outputs.into_iter().for_each(|output| ledger.handle(output));
    ledger
}

fn succeed(ledger: &mut Ledger, writes: Vec<Write>) {
    for write in writes {
        ledger.handle_written(now(), write, Ok(()));
    }
}

#[test]
fn who_gives_an_address_up_is_recorded_before_who_gets_it() {
    let removed = Output::Remove(key("z"));
    let mut ledger = ledger(
        &[("z", &["10.0.0.1"])],
        [write("a", &["10.0.0.1"]), removed],
    );
    let writes = ledger.poll(10);
    assert_eq!(names(&writes), ["z"]);
    assert_eq!(ledger.poll(10), []);
    succeed(&mut ledger, writes);
    assert_eq!(names(&ledger.poll(10)), ["a"]);
}

#[test]
fn an_exchange_begins_with_giving_up() {
    let mut ledger = ledger(
        &[("a", &["10.0.0.1"]), ("b", &["10.0.0.2", "fc00::2"])],
        [
            write("a", &["10.0.0.2"]),
            write("b", &["10.0.0.1", "fc00::2"]),
        ],
    );
    let writes = ledger.poll(10);
    let ingress = |write: &Write| write.status.as_ref().unwrap().ingress.clone();
    let steps: Vec<_> = writes.iter().map(ingress).collect();
    assert_eq!(steps, [ips(&[]), ips(&["fc00::2"])]);
    succeed(&mut ledger, writes);
    let writes = ledger.poll(10);
    let steps: Vec<_> = writes.iter().map(ingress).collect();
    assert_eq!(steps, [ips(&["10.0.0.2"]), ips(&["10.0.0.1", "fc00::2"])]);
    succeed(&mut ledger, writes);
    assert_eq!(ledger.poll(10), []);
}

#[test]
fn an_exchange_of_what_is_in_doubt_begins_with_giving_up() {
    let mut ledger = ledger(
        &[("a", &[]), ("b", &[])],
        [write("a", &["10.0.0.2"]), write("b", &["10.0.0.1"])],
    );
    ledger.doubt(key("a"), ips(&["10.0.0.1"]));
    ledger.doubt(key("b"), ips(&["10.0.0.2"]));
    let writes = ledger.poll(10);
    let ingress = |write: &Write| write.status.as_ref().unwrap().ingress.clone();
    let steps: Vec<_> = writes.iter().map(ingress).collect();
    assert_eq!(steps, [ips(&[]), ips(&[])]);
    succeed(&mut ledger, writes);
    let steps: Vec<_> = ledger.poll(10).iter().map(ingress).collect();
    assert_eq!(steps, [ips(&["10.0.0.2"]), ips(&["10.0.0.1"])]);
}

#[test]
fn those_who_share_do_not_wait_for_each_other() {
    let mut ledger = ledger(&[("a", &["10.0.0.1"])], [write("b", &["10.0.0.1"])]);
    assert_eq!(names(&ledger.poll(10)), ["b"]);
}

#[test]
fn a_failure_is_told_once_and_tried_again_with_growing_pauses() {
    let start = now();
    let mut ledger = ledger(
        &[("a", &["10.0.0.1"])],
        [write("a", &[]), write("b", &["10.0.0.1"]), write("c", &[])],
    );
    let writes = ledger.poll(10);
    assert_eq!(names(&writes), ["a", "c"]);
    for write in writes {
        ledger.handle_written(start, write, Err("disk full".to_owned()));
    }
    let told = Report::Failed {
        key: key("a"),
        cause: "disk full".to_owned(),
    };
    assert_eq!(ledger.poll_report(), Some(told));
    assert_eq!(ledger.poll_report(), None);
    assert_eq!(ledger.poll(10), []);
    // Others do not wait.
    ledger.handle(write("d", &["10.0.0.4"]));
    let writes = ledger.poll(10);
    assert_eq!(names(&writes), ["d"]);
    succeed(&mut ledger, writes);

    let first = ledger.poll_timeout().unwrap();
    assert_eq!(first, start + FIRST_PAUSE);
    ledger.handle_timeout(first);
    for write in ledger.poll(10) {
        ledger.handle_written(first, write, Err("disk full".to_owned()));
    }
    assert_eq!(ledger.poll_report(), None);
    let second = ledger.poll_timeout().unwrap();
    assert_eq!(second, first + 2 * FIRST_PAUSE);
    ledger.handle_timeout(second);
    let writes = ledger.poll(10);
    succeed(&mut ledger, writes);
    assert_eq!(ledger.poll_report(), None, "b still has to be written");
    let writes = ledger.poll(10);
    assert_eq!(names(&writes), ["b"]);
    succeed(&mut ledger, writes);
    assert_eq!(ledger.poll_report(), Some(Report::Recovered));
    assert_eq!(ledger.poll_timeout(), None);
}

#[test]
fn a_record_that_changes_while_it_is_written_is_written_again() {
    let mut ledger = ledger(&[], [write("a", &["10.0.0.1"])]);
    let writes = ledger.poll(10);
    ledger.handle(write("a", &["10.0.0.2"]));
    assert_eq!(ledger.poll(10), []);
    succeed(&mut ledger, writes);
    assert_eq!(names(&ledger.poll(10)), ["a"]);
}

proptest! {
    /// Who has which of four addresses, before and after; nobody shares.
    #[test]
    fn i1_no_crash_leaves_an_address_in_two_records(
        steps in prop::collection::vec(prop::collection::vec(0..6_usize, 4), 1..5),
        fails in prop::collection::vec(any::<bool>(), 0..30),
    ) {
        let addresses = ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3"];
        let mut fails = fails.into_iter();
        let mut time = now();
        let mut ledger = Ledger::new(BTreeMap::new());
        for owners in &steps {
            for service in 0..6 {
                let held = (0..4).filter(|address| owners[*address] == service);
                let held: Vec<_> = held.map(|address| addresses[address]).collect();
                ledger.handle(write(&format!("s{service}"), &held));
            }
            // A few rounds only: the next change may come before all is written.
            for _ in 0..2 {
                for write in ledger.poll(3) {
                    let result = fails.next().filter(|fails| *fails).map_or(Ok(()), |_| Err(String::new()));
                    ledger.handle_written(time, write, result);
                    prop_assert!(ledger.holders.values().all(|holders| holders.len() == 1));
                }
            }
        }
        for _ in 0..100 {
            time += LONGEST_PAUSE;
            ledger.handle_timeout(time);
            for write in ledger.poll(3) {
                ledger.handle_written(time, write, Ok(()));
                prop_assert!(ledger.holders.values().all(|holders| holders.len() == 1));
            }
        }
        for (address, owner) in addresses.iter().zip(steps.last().unwrap()) {
            let holders = &ledger.holders[&address.parse().unwrap()];
            prop_assert_eq!(holders, &[key(&format!("s{owner}"))]);
        }
    }
}
