//! `daypass_fuzz::helper` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| daypass_fuzz::helper::run(input));
