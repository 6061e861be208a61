//! Everything that is kept runs through its target once more, on the stable toolchain; and so do its neighbours.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "this is all tests")]

use daypass_fuzz::{TARGETS, Target, corpus::inputs};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

/// An input, shown as a person can read it and write it into a file.
struct Input(Vec<u8>);

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap()
}

/// What is kept, and bytes that are near it: cut, doubled, with bytes put in, taken out or changed, and plain noise.
fn replay(name: &str, cases: u32) {
    let target = target(name);
    let kept = inputs(target).unwrap();
    assert!(!kept.is_empty());
    for input in &kept {
        (target.run)(input);
    }
    let change = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..6_u8, any::<u8>());
    let near = (prop::sample::select(kept), prop::collection::vec(change, 1..4)).prop_map(|(mut input, changes)| {
        for (at, to, what, byte) in changes {
            if input.len() < 2 {
                break;
            }
            // The first byte chooses what is tried.
            let (at, to) = (1 + at.index(input.len() - 1), 1 + to.index(input.len() - 1));
            match what {
                0 => input.truncate(at),
                1 => input.insert(at, byte),
                2 => input[at] = byte,
                3 => drop(input.remove(at)),
                4 => input.swap(at, to),
                _ => input = [&input[..at.max(to)], &input[at.min(to)..]].concat(),
            }
        }
        input
    });
    let noise = prop::collection::vec(any::<u8>(), 0..300);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let inputs = prop_oneof![4 => near, 1 => noise].prop_map(Input);
    let outcome = runner.run(&inputs, |input| {
        (target.run)(&input.0);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
}

macro_rules! replays {
    ($($name:ident: $cases:literal),* $(,)?) => {
        $(#[test] fn $name() { replay(stringify!($name), $cases); })*

        #[test]
        fn every_target_is_replayed() {
            let replayed = [$(stringify!($name)),*];
            assert_eq!(TARGETS.iter().map(|target| target.name).collect::<Vec<_>>(), replayed);
        }
    };
}
// As many as take about a second each.
replays! {
    agent_session: 200,
    config: 1000,
    ek: 1000,
    framing: 1000,
    gate_session: 300,
    helper: 2000,
    issuer_session: 150,
    jwt: 1000,
    message: 2000,
    push: 2000,
    statement: 1000,
    text: 3000,
}
