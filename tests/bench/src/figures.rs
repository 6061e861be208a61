//! What comes out: medians with their spread, as a table and as JSON.

use std::{io, thread};

use daypass_tests::Failure;
use serde::Serialize;

use crate::rounds::Sample;

/// Median, 5th and 95th percentile over the rounds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    median: f64,
    p5: f64,
    p95: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        // The nearest of the values that there are: none is made up.
        let at = |part: f64| {
            let last = values.len().saturating_sub(1);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the last index")]
            let index = (part * last as f64).round() as usize;
            values.get(index).copied().unwrap_or_default()
        };
        Self { median: at(0.5), p5: at(0.05), p95: at(0.95) }
    }

    fn shown(&self, digits: usize) -> String {
        let Self { median, p5, p95 } = self;
        format!("{median:.digits$} ({p5:.digits$}–{p95:.digits$})")
    }
}

/// One thing that was measured in every round.
#[derive(Debug)]
pub(crate) struct Series {
    what: String,
    samples: Vec<Sample>,
}

impl Series {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), samples: Vec::new() }
    }

    pub(crate) fn push(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    fn per_second(sample: &Sample) -> f64 {
        sample.done as f64 / sample.took.as_secs_f64()
    }

    fn busy_us(sample: &Sample) -> f64 {
        sample.busy.as_secs_f64() * 1e6 / sample.done as f64
    }

    /// The line of this series, beside `baselines`: ratios are made within each round, and only then put in order.
    pub(crate) fn line(&self, baselines: &[&Self]) -> Line {
        let beside = baselines.iter().map(|baseline| {
            let ratios = |of: fn(&Sample) -> f64| {
                Spread::of(self.samples.iter().zip(&baseline.samples).map(|(own, other)| of(own) / of(other)))
            };
            Beside {
                baseline: baseline.what.clone(),
                per_second: ratios(Self::per_second),
                busy_us: ratios(Self::busy_us),
            }
        });
        Line {
            what: self.what.clone(),
            per_second: Spread::of(self.samples.iter().map(Self::per_second)),
            busy_us: Spread::of(self.samples.iter().map(Self::busy_us)),
            beside: beside.collect(),
        }
    }
}

/// One line of the table.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    what: String,
    per_second: Spread,
    /// Processor time for each, in microseconds.
    busy_us: Spread,
    beside: Vec<Beside>,
}

/// How a line stands to another one: its figures divided by the other's.
#[derive(Debug, Serialize)]
pub(crate) struct Beside {
    baseline: String,
    per_second: Spread,
    busy_us: Spread,
}

/// One figure that is neither a rate nor processor time.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
}

impl Figure {
    pub(crate) fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { what: what.into(), value, unit }
    }
}

/// What one bench found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) bench: &'static str,
    pub(crate) rounds: usize,
    pub(crate) lines: Vec<Line>,
    pub(crate) figures: Vec<Figure>,
}

/// All of it.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    version: &'static str,
    scale: &'static str,
    cores: usize,
    debug_build: bool,
    reports: Vec<Report>,
}

impl Run {
    pub(crate) fn new(scale: &'static str, reports: Vec<Report>) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            scale,
            cores: thread::available_parallelism().map_or(0, usize::from),
            debug_build: cfg!(debug_assertions),
            reports,
        }
    }

    pub(crate) fn to_json(&self) -> Result<String, Failure> {
        serde_json::to_string_pretty(self).map_err(|error| Failure::unexpected("figures as JSON", error))
    }
}

/// Prints a report as a table.
pub(crate) fn print(report: &Report) -> Result<(), Failure> {
    table(report, &mut io::stdout().lock()).map_err(Failure::machine("print the figures"))
}

fn table(report: &Report, out: &mut impl io::Write) -> io::Result<()> {
    let width = report.lines.iter().map(|line| line.what.chars().count()).max().unwrap_or_default();
    writeln!(out, "\nbench {}: {} rounds; median (5th–95th percentile)", report.bench, report.rounds)?;
    if cfg!(debug_assertions) {
        writeln!(out, "this is a debug build: the figures say nothing about a release")?;
    }
    writeln!(out, "\n{:width$}  {:>24}  {:>24}", "", "per second", "CPU each, µs")?;
    for line in &report.lines {
        let (speed, busy) = (line.per_second.shown(0), line.busy_us.shown(1));
        writeln!(out, "{:width$}  {speed:>24}  {busy:>24}", line.what)?;
        for beside in &line.beside {
            let (speed, busy) = (beside.per_second.shown(2), beside.busy_us.shown(2));
            let what = format!("  ÷ {}", beside.baseline);
            writeln!(out, "{what:width$}  {speed:>24}  {busy:>24}")?;
        }
    }
    for figure in &report.figures {
        writeln!(out, "{}: {:.1} {}", figure.what, figure.value, figure.unit)?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn series(what: &str, samples: &[(usize, u64, u64)]) -> Series {
        let mut series = Series::new(what);
        for (done, took, busy) in samples {
            let (took, busy) = (Duration::from_millis(*took), Duration::from_millis(*busy));
            series.push(Sample { done: *done, took, busy });
        }
        series
    }

    #[test]
    fn ratios_are_made_within_a_round() {
        // The machine is half as fast in the second round, for both.
        let ours = series("ours", &[(100, 1000, 10), (100, 2000, 20), (100, 1000, 10)]);
        let theirs = series("theirs", &[(100, 500, 20), (100, 1000, 40), (100, 500, 20)]);
        let line = ours.line(&[&theirs]);
        let beside = line.beside.first().unwrap();
        assert_eq!((beside.per_second.p5, beside.per_second.p95), (0.5, 0.5));
        assert_eq!((beside.busy_us.p5, beside.busy_us.p95), (0.5, 0.5));
        assert_eq!((line.per_second.median, line.per_second.p5), (100.0, 50.0));
        assert_eq!((line.busy_us.median, line.busy_us.p95), (100.0, 200.0));
    }

    #[test]
    fn the_table_names_each_line_and_its_baseline() {
        let (ours, theirs) = (series("ours", &[(1, 1, 1)]), series("theirs", &[(1, 1, 1)]));
        let report = Report {
            bench: "x",
            rounds: 1,
            lines: vec![theirs.line(&[]), ours.line(&[&theirs])],
            figures: vec![Figure::new("lag", 1.25, "s")],
        };
        let mut text = Vec::new();
        table(&report, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        for words in
            ["ours", "÷ theirs", "1000 (1000–1000)", "1000.0 (1000.0–1000.0)", "1.00 (1.00–1.00)", "lag: 1.2 s"]
        {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}
