//! What is said while the markers of a transaction are on their way.

use super::*;

#[test]
fn the_next_transaction_waits_a_moment_for_the_end_of_the_last() {
    let mut stage = Stage::new();
    let mine = stage.session();
    stage.join(mine, &[0], Protocol::V2);
    stage.settle();
    stage.end(mine, true, Protocol::V2);
    stage.settle();
    stage.take_answers();
    let next = session(100, 1);
    stage.join(next, &[0], Protocol::V2);
    stage.join(mine, &[0], Protocol::V2);
    assert_eq!(stage.take_answers(), [("join", Err(TransactionError::Fenced))], "a zombie waits for nothing");

    stage.mark(0);
    stage.settle();
    assert_eq!(stage.take_answers(), [("join", Ok(next))]);
    stage.end(next, true, Protocol::V2);
    stage.settle();
    stage.join(session(100, 2), &[0], Protocol::V2);
    stage.take_answers();
    stage.pass(500);
    assert_eq!(stage.take_answers(), [("join", Err(TransactionError::Concurrent))]);
}

#[test]
fn a_zombie_is_fenced_while_markers_are_on_their_way() {
    let mut stage = Stage::new();
    let old = stage.session();
    stage.join(old, &[0], Protocol::V1);
    stage.settle();
    // The next session fences it, and makes an end of its transaction.
    stage.begin("new", None);
    stage.settle();
    stage.take_answers();

    stage.join(old, &[1], Protocol::V1);
    stage.end(old, true, Protocol::V1);
    let fenced = || Err(TransactionError::Fenced);
    assert_eq!(stage.take_answers(), [("join", fenced()), ("end", fenced())]);
    // Under version 2 the end of the session before may be a retry of the one under way.
    stage.end(old, false, Protocol::V2);
    assert_eq!(stage.take_answers(), [("end", Err(TransactionError::Concurrent))]);
}
