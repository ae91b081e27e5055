//! The inputs that fuzzing found worth keeping, through the same functions that the fuzzer calls.

use std::{fs, path::Path};

use bytes::Bytes;
use ottla_wire::api::SERVED;

#[allow(dead_code, unreachable_pub)]
#[path = "../../../fuzz/src/lib.rs"]
mod fuzz;

fn run(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "nothing in {}", corpus.display());
    for file in files {
        // Named in the output of a failing test.
        println!("{}", file.display());
        check(&fs::read(&file).unwrap());
    }
}

#[test]
fn frames() {
    run("frames", fuzz::frames::check);
}

#[test]
fn batches() {
    run("batch", fuzz::batch::check);
}

#[test]
fn journals() {
    run("journal", fuzz::journal::check);
}

#[test]
fn requests() {
    run("codec", fuzz::codec::check);
}

#[test]
fn the_fuzzer_knows_every_request_that_is_served() {
    for served in SERVED {
        let is_known = fuzz::codec::read(served.key, served.min, &Bytes::new());
        assert!(is_known, "{:?} is missing in fuzz/src/codec.rs", served.key);
    }
}
