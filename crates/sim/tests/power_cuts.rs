//! Produce, power cut, restart, read: everything acknowledged is there, in order, once.

use ottla_sim::{Plan, Report, run};

fn explain(report: &Report) -> String {
    let anomaly = report.anomaly.as_ref().map(ToString::to_string).unwrap_or_default();
    format!("seed {}: {anomaly}\n{:#?}\n{}", report.seed, Plan::of(report.seed).lives, report.last)
}

/// Runs seeds until one shows something.
fn check(seeds: std::ops::Range<u64>) {
    let (mut acked, mut events) = (0, 0);
    for seed in seeds {
        let report = run(seed);
        assert!(report.anomaly.is_none(), "{}", explain(&report));
        acked += report.acked;
        events += report.events;
    }
    println!("{acked} records acknowledged, {events} events");
    assert!(acked > 0);
}

#[test]
fn nothing_acknowledged_is_lost_in_seeds_0_to_99() {
    check(0..100);
}

#[test]
fn nothing_acknowledged_is_lost_in_seeds_100_to_199() {
    check(100..200);
}

#[test]
fn the_same_seed_is_the_same_story() {
    for seed in 0..10 {
        let (first, second) = (run(seed), run(seed));
        assert_eq!((first.trace, first.events), (second.trace, second.events), "seed {seed}");
    }
}
