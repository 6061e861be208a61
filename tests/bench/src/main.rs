//! The bench: figures, each beside a baseline that was measured in the same run, round by round, so that noise meets both.
//!
//! `cargo xtask bench` builds this and the issuer as a release and runs it. It passes and fails nothing; docs/benchmarks.md says how to read it.

mod figures;
mod rounds;
mod scale;
mod store;
mod token;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, ValueEnum};
use daypass_tests::{Failure, Place, Programs, end_on_signal, ending, say};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use crate::{
    figures::{Report, Run},
    scale::Scale,
};

/// Measures the issuer: its store, and what a token costs.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    /// What is measured; both where nothing is named
    what: Option<What>,
    /// Where the figures go as JSON
    #[arg(long, value_name = "FILE", default_value = "target/bench/figures.json")]
    json: PathBuf,
    /// Smaller stores and fewer rounds: a minute or two
    #[arg(long)]
    quick: bool,
    /// Only shows that it works; its figures mean nothing
    #[arg(long, conflicts_with = "quick")]
    trial: bool,
    /// Where the stores lie meanwhile: which disk is measured
    #[arg(long, value_name = "FOLDER", default_value = "/var/tmp")]
    folder: PathBuf,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum What {
    /// Durable decisions a second, and what they cost
    Store,
    /// What one token costs
    Token,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let measured = end_on_signal(|| 130).and_then(|()| measure(&arguments));
    // What a static holds is never dropped.
    ending::everything();
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&format!("bench: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<(), Failure> {
    let scale = match arguments {
        Arguments { trial: true, .. } => Scale::trial(),
        Arguments { quick: true, .. } => Scale::quick(),
        _ => Scale::full(),
    };
    let (programs, folder) = (Programs::find_these(&["daypass-issuer"])?, arguments.folder.as_path());
    if statfs(folder).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC) {
        say(&format!(
            "`{}` is in memory, where nothing waits for a disk; name another with --folder",
            folder.display()
        ));
    }
    let mut reports = Vec::new();
    if arguments.what != Some(What::Token) {
        reports.push(store::bench(&Place::within(folder)?, &programs, &scale)?);
    }
    if arguments.what != Some(What::Store) {
        reports.push(token::bench(&Place::within(folder)?, &programs, &scale)?);
    }
    for report in &reports {
        figures::print(report)?;
    }
    keep(&arguments.json, reports, &scale)
}

fn keep(json: &Path, reports: Vec<Report>, scale: &Scale) -> Result<(), Failure> {
    let writing = || Failure::machine(format!("write `{}`", json.display()));
    let text = Run::new(scale.name, reports).to_json()?;
    if let Some(folder) = json.parent() {
        fs::create_dir_all(folder).map_err(writing())?;
    }
    fs::write(json, text).map_err(writing())?;
    say(&format!("the same as JSON: {}", json.display()));
    Ok(())
}
