//! What it costs to look into packed batches: `cargo run --release -p ottla-rules --example unpack_cost`.
//!
//! Prints, for each codec and size of batch, how many megabytes of records (unpacked) and of batches (packed) one core
//! checks in a second, and how long one batch takes. Records are lines like those of an access log, about 200 bytes.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use ottla_rules::batch::{Batch, BatchRules, Codec, Packing, build::BatchBuilder};
use ottla_rules::time::Now;

const NOW: Now = Now { mono_ms: 0, wall_ms: 1_800_000_000_000 };
const LONG_ENOUGH: Duration = Duration::from_millis(300);

fn main() {
    println!(
        "{:<8} {:>9} {:>9} {:>6}  {:>13} {:>13} {:>11}",
        "codec", "records", "batch", "ratio", "records MB/s", "batch MB/s", "us a batch"
    );
    for size in [1_000, 16_000, 64_000, 1_000_000] {
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            row(
                &format!("{codec:?}"),
                size,
                codec,
                &BatchRules { bytes_max: 1 << 22, ..BatchRules::default() },
            );
        }
    }
    println!("packed anew from lz4:");
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Zstd] {
        let packing = Some(Packing::of(codec));
        let rules = BatchRules { bytes_max: 1 << 22, packing, ..BatchRules::default() };
        row(&format!("{codec:?}"), 64_000, Codec::Lz4, &rules);
    }
}

fn row(name: &str, size: usize, codec: Codec, rules: &BatchRules) {
    let plain = batch(size, Codec::None).len();
    let packed = batch(size, codec);
    // The fastest of many: other work on the machine only adds.
    let (began, mut best) = (Instant::now(), Duration::MAX);
    while began.elapsed() < LONG_ENOUGH {
        let copy = BytesMut::from(&packed[..]);
        let began = Instant::now();
        let taken = Batch::parse(copy, rules, NOW);
        best = best.min(began.elapsed());
        taken.expect("a good batch");
    }
    let rate = |bytes: usize| bytes as f64 / best.as_secs_f64() / 1e6;
    println!(
        "{name:<8} {plain:>9} {:>9} {:>6.1}  {:>13.0} {:>13.0} {:>11.1}",
        packed.len(),
        plain as f64 / packed.len() as f64,
        rate(plain),
        rate(packed.len()),
        best.as_secs_f64() * 1e6
    );
}

fn batch(size: usize, codec: Codec) -> BytesMut {
    let mut dice = 42u64;
    let mut draw = |of: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % of
    };
    let mut builder = BatchBuilder::new().codec(codec);
    let mut bytes = 0;
    while bytes < size {
        let line = format!(
            "10.{}.{}.{} - user{:06} [14/Nov/2026:13:{:02}:{:02} +0000] \"GET /articles/{}/comments?page={} HTTP/1.1\" 200 {} \
             \"https://example.org/index/{}\" \"Mozilla/5.0 (X11; Linux x86_64) id={:016x}\"",
            draw(256),
            draw(256),
            draw(256),
            draw(1_000_000),
            draw(60),
            draw(60),
            draw(5_000),
            draw(20),
            draw(90_000),
            draw(300),
            draw(1 << 31)
        );
        bytes += line.len();
        builder = builder.record(format!("user{:06}", draw(1_000_000)), line, NOW.wall_ms);
    }
    builder.build()
}
