//! `daypass_fuzz::framing` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| daypass_fuzz::framing::run(input));
