//! The simulation is worth what it finds: each bug planted on purpose has to be noticed within the seeds.

use ottla_rules::planted::{Bug, plant};
use ottla_sim::run;

const SEEDS: u64 = 30;

/// Plants a bug on this thread, which runs the whole world, and counts the seeds that notice it.
fn check(bug: Bug) {
    plant(Some(bug));
    let found: Vec<_> = (0..SEEDS).map(run).filter(|report| report.anomaly.is_some()).collect();
    plant(None);
    println!("{bug:?} is found in {} of {SEEDS} seeds", found.len());
    if let Some(first) = found.first() {
        println!("first in seed {}: {:?}", first.seed, first.anomaly);
    }
    assert!(!found.is_empty(), "{bug:?} is not found in {SEEDS} seeds");
}

#[test]
fn an_answer_before_the_sync_is_found() {
    check(Bug::AckBeforeSync);
}

#[test]
fn a_torn_tail_that_is_kept_is_found() {
    check(Bug::TornTailAccepted);
}

#[test]
fn entries_of_an_earlier_lap_that_are_replayed_are_found() {
    check(Bug::StaleLapReplayed);
}

#[test]
fn a_producer_that_is_forgotten_is_found() {
    check(Bug::DedupForgotten);
}
