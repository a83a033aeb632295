#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| decima_fuzz::otlp_repair(input));
