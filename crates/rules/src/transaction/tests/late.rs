//! Records that take longer than anybody waits.

use super::*;

/// As long as anybody waits for a record, milliseconds.
const PATIENCE_MS: u64 = 30_000;

#[test]
fn a_step_that_takes_long_is_answered_in_time_and_counts_once_it_is_safe() {
    let mut stage = Stage::new();
    let late = Err(TransactionError::NotAvailable);
    stage.begin("alice", None);
    stage.pass(PATIENCE_MS - 1);
    assert_eq!(stage.take_answers(), []);
    stage.pass(1);
    assert_eq!(stage.take_answers(), [("alice", late)]);
    stage.begin("alice", None);
    assert_eq!(stage.take_answers(), [("alice", Err(TransactionError::Concurrent))]);
    stage.settle();
    assert_eq!(stage.take_answers(), [], "nobody is answered twice");

    let mine = session(100, 0);
    stage.join(mine, &[0], Protocol::V1);
    stage.pass(PATIENCE_MS);
    assert_eq!(stage.take_answers(), [("join", late)]);
    stage.settle();
    assert_eq!(stage.status(), Status::Ongoing);
    stage.end(mine, true, Protocol::V1);
    stage.pass(PATIENCE_MS);
    assert_eq!(stage.take_answers(), [("end", late)]);
    assert_eq!(stage.status(), Status::Ongoing, "nothing is decided before it is safe");
    stage.settle();
    stage.mark(0);
    stage.settle();
    assert_eq!((stage.status(), stage.take_answers()), (Status::CompleteCommit, vec![]));
    stage.end(mine, true, Protocol::V1);
    assert_eq!(stage.take_answers(), [("end", Ok(mine))]);
}

#[test]
fn a_step_that_failed_after_it_was_late_never_was() {
    let mut stage = Stage::new();
    stage.begin("alice", None);
    stage.pass(PATIENCE_MS);
    stage.take_answers();
    stage.refuse();
    assert_eq!((stage.take_answers(), stage.coordinator.list().count()), (vec![], 0));
}

#[test]
fn a_transaction_times_out_after_its_last_step_was_late() {
    let mut stage = Stage::new();
    let mine = stage.session();
    stage.join(mine, &[0], Protocol::V1);
    stage.pass(PATIENCE_MS);
    stage.settle();
    stage.pass(u64::try_from(MINUTE).unwrap() - PATIENCE_MS);
    stage.settle();
    assert_eq!(stage.status(), Status::PrepareAbort);
}
