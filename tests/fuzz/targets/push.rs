//! `daypass_fuzz::push` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| daypass_fuzz::push::run(input));
