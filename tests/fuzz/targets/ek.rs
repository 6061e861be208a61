//! `daypass_fuzz::ek` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| daypass_fuzz::ek::run(input));
