//! Lives seeds through and says how they went: `cargo run -p ottla-sim --example seed -- 17`, or `-- 0..1000` for many,
//! of which only those are told that showed something. `copiers` before them has everybody copy in transactions, `members` share
//! partitions in groups.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ottla_sim::{Plan, Report, run_all, run_plan};

fn main() {
    env_logger::init();
    let mut plan: fn(u64) -> Plan = Plan::of;
    for word in std::env::args().skip(1) {
        match (range(&word), word.parse()) {
            (Some(seeds), _) => many(seeds, plan),
            (None, Ok(seed)) => tell(&run_plan(plan(seed)), &plan(seed)),
            (None, Err(_)) if word == "copiers" => plan = Plan::of_copiers,
            (None, Err(_)) if word == "members" => plan = Plan::of_members,
            (None, Err(_)) => eprintln!("{word} is neither a seed nor a range of seeds such as 0..1000"),
        }
    }
}

fn range(word: &str) -> Option<Range<u64>> {
    let (start, end) = word.split_once("..")?;
    Some(start.parse().ok()?..end.parse().ok()?)
}

fn many(seeds: Range<u64>, plan: fn(u64) -> Plan) {
    let (begin, found, simulated_ms) = (Instant::now(), AtomicU64::new(0), AtomicU64::new(0));
    run_all(seeds.clone(), plan, |report| {
        simulated_ms.fetch_add(report.simulated_ms, Ordering::Relaxed);
        if let Some(anomaly) = report.anomaly {
            found.fetch_add(1, Ordering::Relaxed);
            println!("seed {}: {anomaly}", report.seed);
        }
    });
    let (found, simulated_ms) = (found.into_inner(), simulated_ms.into_inner());
    let rate = seeds.clone().count() as f64 / begin.elapsed().as_secs_f64();
    println!(
        "seeds {seeds:?}: {found} show something; {rate:.1} seeds/s, {} s simulated",
        simulated_ms / 1000
    );
}

fn tell(report: &Report, plan: &Plan) {
    println!("{}", report.last);
    println!("{plan:#?}");
    println!("seed {}: {:?}, trace {:016x}", report.seed, report.anomaly, report.trace);
}
