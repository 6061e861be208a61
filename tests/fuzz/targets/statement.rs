//! `daypass_fuzz::statement` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| daypass_fuzz::statement::run(input));
