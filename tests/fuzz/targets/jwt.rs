//! `daypass_fuzz::jwt` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| daypass_fuzz::jwt::run(input));
