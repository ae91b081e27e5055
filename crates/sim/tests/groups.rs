//! Members of groups of both protocols that stall, vanish, leave, come again and speak up when they are out, power cuts, restarts, a
//! network that fails: no partition has two owners, nobody who is out is listened to, no committed offset is lost or goes back, and
//! every group comes to rest.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ottla_rules::planted::{Bug, plant};
use ottla_sim::{Plan, Report, run_all, run_plan};

const SEEDS: u64 = 200;

fn explain(report: &Report) -> String {
    let anomaly = report.anomaly.as_ref().map(ToString::to_string).unwrap_or_default();
    let plan = Plan::of_members(report.seed);
    format!("seed {}: {anomaly}\n{:#?}\n{:#?}\n{}", report.seed, plan.lives, plan.groups, report.last)
}

#[test]
fn no_partition_has_two_owners_in_two_hundred_seeds() {
    let events = AtomicU64::new(0);
    let wrong = Mutex::new(Vec::new());
    let begin = Instant::now();
    run_all(0..SEEDS, Plan::of_members, |report| {
        events.fetch_add(report.events, Ordering::Relaxed);
        if report.anomaly.is_some() {
            wrong.lock().unwrap().push(explain(&report));
        }
    });
    let events = events.into_inner();
    println!("{SEEDS} seeds in {:.0} s, {events} events", begin.elapsed().as_secs_f64());
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} seeds show something:\n{}", wrong.len(), wrong.join("\n"));
    assert!(events > SEEDS * 100, "too little happened");
}

#[test]
fn the_same_seed_is_the_same_story() {
    for seed in 0..5 {
        let (first, second) = (run_plan(Plan::of_members(seed)), run_plan(Plan::of_members(seed)));
        assert_eq!((first.trace, first.events), (second.trace, second.events), "seed {seed}");
    }
}

/// Plants a bug on this thread, which runs the whole world, until a seed notices it by the anomaly of this name.
fn check(bug: Bug, name: &str, seeds: u64) {
    plant(Some(bug));
    let found =
        (0..seeds).map(|seed| run_plan(Plan::of_members(seed))).find(|report| report.anomaly.is_some());
    plant(None);
    let Some(found) = found else { panic!("{bug:?} is not found in {seeds} seeds") };
    println!("{bug:?} is found in seed {}: {:?}", found.seed, found.anomaly);
    let anomaly = found.anomaly.as_ref().map(ToString::to_string).unwrap_or_default();
    assert!(anomaly.starts_with(name), "{anomaly}");
}

#[test]
fn a_partition_that_is_given_before_it_was_let_go_of_is_found() {
    check(Bug::GivenBeforeRevoked, "two owners", 40);
}

#[test]
fn a_member_that_is_expelled_too_early_is_found() {
    check(Bug::SessionCutShort, "two owners", 40);
}

#[test]
fn a_commit_of_a_member_that_is_behind_is_found() {
    check(Bug::StaleCommitTaken, "outlived", 40);
}

#[test]
fn an_offset_that_a_restart_forgets_is_found() {
    check(Bug::OffsetForgotten, "went back", 40);
}

#[test]
fn a_heartbeat_from_before_that_counts_is_found() {
    check(Bug::ZombieKept, "outlived", 40);
}

#[test]
fn a_silence_that_is_over_and_still_remembered_is_found() {
    check(Bug::SilenceKept, "two owners", 40);
}
