//! Measuring a release build (docs/benchmarks.md). Figures are printed and kept; nothing passes or fails by them.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::{failure::Failure, workspace::Workspace};

/// What is to be measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What is measured: `store` or `token`; both where nothing is named
    #[arg(value_parser = ["store", "token"])]
    what: Option<String>,
    /// Where the figures go as JSON, beside the table; `target/bench/figures.json` where nothing is named
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Smaller stores and fewer rounds: a minute or two
    #[arg(long)]
    quick: bool,
    /// Where the stores lie meanwhile: which disk is measured. The large ones take up to 5 GB
    #[arg(long, value_name = "FOLDER", default_value = "/var/tmp")]
    folder: PathBuf,
}

/// The bench, built and ready to run.
pub(crate) fn prepared(workspace: &Workspace, options: &Options) -> Result<Command, Failure> {
    // Of what is shipped: with its optimisations, and with what that costs at linking.
    let bench = workspace.release_programs().join("bench");
    let first = if bench.exists() { "" } else { "; the first time takes about eight minutes on two cores" };
    println!("building the issuer and the bench as a release{first}");
    let status = workspace
        .cargo()
        .args(["build", "--locked", "--release", "--package", "daypass-issuer", "--package", "daypass-bench", "--bins"])
        .stdin(Stdio::null())
        .status()
        .map_err(|source| Failure::Start { what: "cargo".to_owned(), source })?;
    if !status.success() {
        return Err(Failure::Build);
    }
    let mut command = Command::new(bench);
    command.args(&options.what).arg("--folder").arg(&options.folder).arg("--json");
    command.arg(options.json.clone().unwrap_or_else(|| workspace.root().join("target/bench/figures.json")));
    command.args(options.quick.then_some("--quick"));
    Ok(command)
}
