//! Records in the state directory: how the ledger's statuses get there and back.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::Arc;

use ferrolb_crds::model::{ServiceKey, Timestamp};
use ferrolb_crds::state::{Condition, Recorded, ServiceStatus, StateDir, StateError};

use crate::ledger::Write;
use crate::reconcile::Status;

/// What became of a write: the cause when it failed.
pub(crate) type Written = (Write, Result<(), String>);

/// What the records say.
pub(crate) fn recorded(
    records: BTreeMap<ServiceKey, Recorded>,
) -> BTreeMap<ServiceKey, Arc<Status>> {
    let records = records.into_iter();
    let statuses = records.map(|(key, record)| (key, Arc::new(status(record))));
    statuses.collect()
}

fn status(record: Recorded) -> Status {
    let condition = record.condition;
    let condition = condition.map(|condition| (condition.reason, condition.message));
    Status::read(record.pool, record.ingress, record.hints, condition)
}

/// Writes and removes records, each on its own; blocks until they are on the disk.
pub(crate) fn write(state: &StateDir, writes: Vec<Write>, now: Timestamp) -> Vec<Written> {
    let statuses: Vec<_> = writes
        .iter()
        .filter_map(|write| record(write, now))
        .collect();
    let mut written = state.write_services(&statuses).into_iter();
    let result = |write: Write| {
        let result = match &write.status {
            Some(_) => written.next().unwrap_or(Ok(())),
            None => state.remove_service(&write.key),
        };
        (write, result.map_err(|error| cause(&error)))
    };
    writes.into_iter().map(result).collect()
}

fn record(write: &Write, since: Timestamp) -> Option<ServiceStatus> {
    let status = write.status.as_ref()?;
    Some(ServiceStatus {
        key: write.key.clone(),
        pool: status.pool.clone(),
        ingress: status.ingress.clone(),
        hints: status.hints.clone(),
        condition: Some(Condition {
            allocated: !status.ingress.is_empty(),
            reason: status.reason.to_string(),
            message: status.message.to_string(),
            since,
        }),
    })
}

/// Without the path: one cause concerns many files.
fn cause(error: &StateError) -> String {
    match error.source() {
        Some(source) => source.to_string(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use ferrolb_crds::model::Hints;

    use super::*;
    use crate::fixture::{ips, key};

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let status = |addresses: &[&str]| {
            Arc::new(Status {
                pool: Some("a".to_owned()),
                ingress: ips(addresses),
                hints: Hints::parse("10.0.0.1=n1"),
                reason: "IPAllocated".into(),
                message: "has \"everything\": yes".into(),
            })
        };
        let wanted = BTreeMap::from([
            (key("s"), status(&["10.0.0.1", "fc00::1"])),
            (key("other/t"), status(&[])),
        ]);
        let writes = wanted.iter().map(|(key, status)| Write {
            key: key.clone(),
            status: Some(status.clone()),
        });
        let written = write(&state, writes.collect(), Timestamp(1_700_000_000));
        assert!(written.iter().all(|(_, result)| result.is_ok()));
        assert_eq!(recorded(state.read_services().services), wanted);

        let removal = Write {
            key: key("s"),
            status: None,
        };
        let written = write(&state, vec![removal.clone()], Timestamp(0));
        assert_eq!(written, [(removal, Ok(()))]);
        assert_eq!(state.read_services().services.len(), 1);
    }

    #[test]
    fn a_record_that_cannot_be_written_hurts_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        std::fs::create_dir_all(folder.path().join("services/default/bad.yaml/x")).unwrap();
        let writes = ["bad", "good"].map(|name| Write {
            key: key(name),
            status: Some(Arc::new(Status {
                pool: None,
                ingress: Vec::new(),
                hints: Hints::default(),
                reason: "AllocationFailed".into(),
                message: Arc::default(),
            })),
        });
        let written = write(&state, writes.to_vec(), Timestamp(0));
        let cause = written[0].1.as_ref().unwrap_err();
        assert!(!cause.contains("services"), "{cause}");
        assert_eq!(written[1].1, Ok(()));
    }
}
