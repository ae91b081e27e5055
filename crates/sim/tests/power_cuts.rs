//! Produce, power cut, restart, read, over a network that fails: everything acknowledged is there, in order, once.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ottla_sim::{Plan, Report, run, run_all};

const SEEDS: u64 = 1000;

fn explain(report: &Report) -> String {
    let anomaly = report.anomaly.as_ref().map(ToString::to_string).unwrap_or_default();
    format!("seed {}: {anomaly}\n{:#?}\n{}", report.seed, Plan::of(report.seed).lives, report.last)
}

/// All cores, one world a thread.
#[test]
fn nothing_acknowledged_is_lost_in_a_thousand_seeds() {
    let (acked, events, simulated_ms) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let wrong = Mutex::new(Vec::new());
    let begin = Instant::now();
    run_all(0..SEEDS, Plan::of, |report| {
        acked.fetch_add(report.acked, Ordering::Relaxed);
        events.fetch_add(report.events, Ordering::Relaxed);
        simulated_ms.fetch_add(report.simulated_ms, Ordering::Relaxed);
        if report.anomaly.is_some() {
            wrong.lock().unwrap().push(explain(&report));
        }
    });
    let took_s = begin.elapsed().as_secs_f64();
    println!(
        "{SEEDS} seeds in {took_s:.0} s, {:.1} seeds/s: {} s simulated, {} records acknowledged, {} events",
        SEEDS as f64 / took_s,
        simulated_ms.into_inner() / 1000,
        acked.load(Ordering::Relaxed),
        events.into_inner(),
    );
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} seeds show something:\n{}", wrong.len(), wrong.join("\n"));
    assert!(acked.into_inner() > SEEDS * 100, "too little happened");
}

#[test]
fn the_same_seed_is_the_same_story() {
    for seed in 0..20 {
        let (first, second) = (run(seed), run(seed));
        assert_eq!((first.trace, first.events), (second.trace, second.events), "seed {seed}");
    }
}
