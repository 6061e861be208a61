//! What strangers' bytes must never do, as one function for each kind of them: `run(input)` panics where it happened.
//!
//! Each target drives a parser, or a whole session, as the programs do, and holds what comes out against what must be true of it: what was
//! accepted is written as the same again, one reading is the only one, nothing outgrows its limit. A panic anywhere on the way is a find
//! like any other. `cargo xtask fuzz` searches for such inputs with libFuzzer; `cargo xtask test` replays what it kept, on the stable toolchain.
//!
//! An input may hold names in angle brackets, such as `<token>`: what no search could guess, since it hangs on keys, nonces and the time, is put in
//! their place. So a corpus stays good when keys change.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this crate is tests; it is a library so that libFuzzer's programs and cargo's tests share it"
)]

pub mod agent_session;
pub mod config;
pub mod corpus;
pub mod ek;
pub mod framing;
pub mod gate_session;
pub mod helper;
pub mod issuer_session;
pub mod jwt;
mod keys;
pub mod message;
mod places;
pub mod push;
mod requests;
#[path = "../../../proto/tests/scene/mod.rs"]
mod scene;
pub mod statement;
pub mod text;

/// One kind of strangers' bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of the module here, the libFuzzer program, and the corpus.
    pub name: &'static str,
    /// Takes an input; panics where something happened that must not.
    pub run: fn(&[u8]),
    /// Real values of the formats, to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

macro_rules! targets {
    ($($name:ident),* $(,)?) => {
        /// Every target.
        pub const TARGETS: &[Target] = &[$(Target { name: stringify!($name), run: $name::run, seeds: $name::seeds }),*];
    };
}
targets!(agent_session, config, ek, framing, gate_session, helper, issuer_session, jwt, message, push, statement, text);

/// The first byte as a choice among `count`, and the rest.
fn choice(input: &[u8], count: u8) -> Option<(u8, &[u8])> {
    let (first, rest) = input.split_first()?;
    // Letters, so that a person can read a corpus: `a` is the first.
    Some((first.wrapping_sub(b'a') % count, rest))
}

/// A seed for the choice `letter`.
fn seed(letter: u8, rest: impl AsRef<[u8]>) -> Vec<u8> {
    [&[letter][..], rest.as_ref()].concat()
}
