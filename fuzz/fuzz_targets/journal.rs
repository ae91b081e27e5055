#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ottla_fuzz::journal::check(bytes));
