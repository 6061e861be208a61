//! How much is measured.

/// Sizes and rounds of a run.
#[derive(Debug)]
pub(crate) struct Scale {
    /// Its name in the JSON.
    pub(crate) name: &'static str,
    /// How often everything is measured, one after the other.
    pub(crate) rounds: usize,
    /// Decisions of one asker in a round; several askers make four times as many between them.
    pub(crate) decisions: usize,
    /// Seconds of load without a pause.
    pub(crate) sustained: u64,
    /// Grants of the small store and of the large one.
    pub(crate) grants: [u64; 2],
    /// Events of the small store and of the large one.
    pub(crate) events: [u64; 2],
    /// Tokens of one connection in a round; several connections get four times as many between them.
    pub(crate) tokens: usize,
    /// How many askers there are at a time.
    pub(crate) askers: &'static [usize],
    /// How many connections are kept at a time.
    pub(crate) connections: &'static [usize],
}

impl Scale {
    /// What the figures in docs/benchmarks.md are made with.
    pub(crate) const fn full() -> Self {
        Self {
            name: "full",
            rounds: 21,
            decisions: 1_000,
            sustained: 20,
            grants: [1_000, 1_000_000],
            events: [10_000, 10_000_000],
            tokens: 500,
            askers: &[1, 16, 64],
            connections: &[1, 16],
        }
    }

    /// For a look while something is changed.
    pub(crate) const fn quick() -> Self {
        Self {
            name: "quick",
            rounds: 7,
            sustained: 5,
            grants: [1_000, 50_000],
            events: [10_000, 200_000],
            ..Self::full()
        }
    }

    /// For the test that it works.
    pub(crate) const fn trial() -> Self {
        Self {
            name: "trial",
            rounds: 2,
            decisions: 5,
            sustained: 1,
            grants: [5, 20],
            events: [300, 600],
            tokens: 5,
            askers: &[1, 3],
            connections: &[1, 2],
        }
    }
}
