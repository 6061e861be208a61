//! `daypass_fuzz::issuer_session` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| daypass_fuzz::issuer_session::run(input));
