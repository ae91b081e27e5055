//! The simulation is worth what it finds: each bug planted on purpose has to be noticed within the seeds.

use ottla_rules::planted::{Bug, plant};
use ottla_sim::plan::{Shortage, Want};
use ottla_sim::{Plan, run_plan};

/// Plants a bug on this thread, which runs the whole world, until a seed notices it.
fn check(bug: Bug, seeds: usize) {
    check_where(bug, seeds, |_| true);
}

/// The same with seeds in which there is what the bug is about: so many of them.
fn check_where(bug: Bug, seeds: usize, concerns: impl Fn(&Plan) -> bool) {
    plant(Some(bug));
    let plans = (0..).map(Plan::of).filter(concerns).take(seeds);
    let found = plans.map(run_plan).find(|report| report.anomaly.is_some());
    plant(None);
    let Some(found) = found else { panic!("{bug:?} is not found in {seeds} seeds") };
    println!("{bug:?} is found in seed {}: {:?}", found.seed, found.anomaly);
}

#[test]
fn an_answer_before_the_sync_is_found() {
    check(Bug::AckBeforeSync, 40);
}

#[test]
fn a_torn_tail_that_is_kept_is_found() {
    check(Bug::TornTailAccepted, 40);
}

#[test]
fn entries_of_an_earlier_lap_that_are_replayed_are_found() {
    check(Bug::StaleLapReplayed, 100);
}

#[test]
fn a_producer_that_is_forgotten_is_found() {
    check(Bug::DedupForgotten, 40);
}

#[test]
fn deleted_records_that_come_back_are_found() {
    check(Bug::StartForgotten, 40);
}

#[test]
fn an_answer_after_a_failed_sync_is_found() {
    check(Bug::FailedSyncIgnored, 40);
}

#[test]
fn a_page_cache_that_is_believed_after_a_failed_sync_is_found() {
    check_where(Bug::FailedSyncForgotten, 400, |plan| {
        plan.lives.iter().any(|life| life.fail_sync_at_ms.is_some())
    });
}

#[test]
fn files_of_a_deleted_topic_that_are_read_are_found() {
    check_where(Bug::DeletedTopicRead, 100, |plan| plan.topics() > 1);
}

#[test]
fn a_compacted_segment_that_is_left_halfway_to_its_place_is_found() {
    check_where(Bug::SwapForgotten, 100, |plan| plan.compacted);
}

/// Whether something of a kind is short in one of the lives.
fn lacks(plan: &Plan, what: impl Fn(&Shortage) -> bool) -> bool {
    let wants = plan.lives.iter().flat_map(|life| &life.wants).chain(&plan.last_wants);
    wants.map(|Want { shortage, .. }| shortage).any(what)
}

#[test]
fn a_reader_that_follows_and_skips_a_record_is_found() {
    check_where(Bug::BellSkips, 40, |plan| !plan.compacted);
}

#[test]
fn a_refused_batch_that_is_remembered_as_written_is_found() {
    check_where(Bug::RefusedRemembered, 100, |plan| {
        lacks(plan, |short| matches!(short, Shortage::Space { .. }))
    });
}

#[test]
fn a_log_start_that_is_told_and_not_kept_is_found() {
    check_where(Bug::UnkeptStartTold, 100, |plan| {
        plan.deletes_records && lacks(plan, |short| *short == Shortage::Facts)
    });
}

#[test]
fn a_compacted_segment_that_could_not_be_renamed_and_counts_is_found() {
    check_where(Bug::FailedRenameIgnored, 100, |plan| {
        plan.compacted && lacks(plan, |short| matches!(short, Shortage::Names(_)))
    });
}

#[test]
fn a_tombstone_that_goes_too_early_is_found() {
    check_where(Bug::TombstoneCutShort, 100, |plan| plan.deletes_keys);
}

#[test]
fn a_value_that_outlives_its_tombstone_is_found() {
    check_where(Bug::TombstonePassedOver, 100, |plan| plan.deletes_keys);
}

#[test]
fn names_that_could_not_be_synced_and_are_believed_are_found() {
    check_where(Bug::UnopenedTakenForSynced, 100, |plan| {
        lacks(plan, |short| matches!(short, Shortage::Files(_)))
    });
}
