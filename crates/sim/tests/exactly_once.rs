//! Read, write and commit in transactions, power cuts, restarts, a network that fails: everything is there once, nothing that was
//! aborted is seen, no transaction is torn, no committed offset is lost or goes back.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ottla_rules::planted::{Bug, plant};
use ottla_sim::{Plan, Report, run_all, run_plan};

const SEEDS: u64 = 200;

fn explain(report: &Report) -> String {
    let anomaly = report.anomaly.as_ref().map(ToString::to_string).unwrap_or_default();
    format!("seed {}: {anomaly}\n{:#?}\n{}", report.seed, Plan::of_copiers(report.seed).lives, report.last)
}

#[test]
fn everything_is_copied_once_in_two_hundred_seeds() {
    let events = AtomicU64::new(0);
    let wrong = Mutex::new(Vec::new());
    let begin = Instant::now();
    run_all(0..SEEDS, Plan::of_copiers, |report| {
        events.fetch_add(report.events, Ordering::Relaxed);
        if report.anomaly.is_some() {
            wrong.lock().unwrap().push(explain(&report));
        }
    });
    println!("{SEEDS} seeds in {:.0} s, {} events", begin.elapsed().as_secs_f64(), events.into_inner());
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} seeds show something:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_same_seed_is_the_same_story() {
    for seed in 0..5 {
        let (first, second) = (run_plan(Plan::of_copiers(seed)), run_plan(Plan::of_copiers(seed)));
        assert_eq!((first.trace, first.events), (second.trace, second.events), "seed {seed}");
    }
}

/// Plants a bug on this thread, which runs the whole world, until a seed notices it.
fn check(bug: Bug, seeds: u64) {
    plant(Some(bug));
    let found =
        (0..seeds).map(|seed| run_plan(Plan::of_copiers(seed))).find(|report| report.anomaly.is_some());
    plant(None);
    let Some(found) = found else { panic!("{bug:?} is not found in {seeds} seeds") };
    println!("{bug:?} is found in seed {}: {:?}", found.seed, found.anomaly);
}

#[test]
fn offsets_that_count_before_their_marker_are_found() {
    check(Bug::PendingOffsetsCount, 40);
}

#[test]
fn pending_offsets_that_a_restart_forgets_are_found() {
    check(Bug::PendingOffsetsForgotten, 40);
}

#[test]
fn aborted_records_that_readers_are_not_told_of_are_found() {
    check(Bug::AbortedForgotten, 40);
}

#[test]
fn a_partition_that_is_told_the_other_outcome_is_found() {
    check(Bug::MarkerTurned, 40);
}

#[test]
fn a_batch_that_joins_the_transaction_before_its_own_is_found() {
    check(Bug::LateMarkerIgnored, 40);
}
