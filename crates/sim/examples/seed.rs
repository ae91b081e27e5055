//! Lives one seed through and says how it went: `cargo run -p ottla-sim --example seed -- 17`.

fn main() {
    env_logger::init();
    for seed in std::env::args().skip(1).filter_map(|word| word.parse().ok()) {
        let report = ottla_sim::run(seed);
        println!("{}", report.last);
        println!("{:#?}", ottla_sim::Plan::of(seed).lives);
        println!("seed {seed}: {:?}, trace {:016x}", report.anomaly, report.trace);
    }
}
