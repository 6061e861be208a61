//! Searching for inputs that break what reads strangers' bytes, with libFuzzer (docs/fuzzing.md).
//!
//! The targets and what is kept of earlier searches are in `tests/fuzz/`; what a search finds stays below `target/fuzz/` until somebody keeps it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{failure::Failure, tool::fresh_folder, workspace::Workspace};

/// Built once, and kept beside what `.ci/run` builds.
const CARGO_FUZZ: &str = "cargo-fuzz@0.13.2";
/// No input is longer, no allocation larger, and none may take longer.
const LIMITS: [&str; 5] =
    ["-max_len=4096", "-malloc_limit_mb=64", "-rss_limit_mb=2048", "-timeout=20", "-detect_leaks=0"];

/// What is to be searched, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Search {
    /// Targets; all of them where none is named
    targets: Vec<String>,
    /// Seconds for each target
    #[arg(long, default_value = "60")]
    seconds: u32,
    /// Keeps what was found in `tests/fuzz/corpus`, reduced to what adds to it
    #[arg(long)]
    keep: bool,
}

/// Searches one target after another; ends at the first find.
pub(crate) fn fuzz(workspace: &Workspace, search: &Search) -> Result<(), Failure> {
    let tool = install(workspace)?;
    let known = targets(workspace)?;
    if let Some(unknown) = search.targets.iter().find(|name| !known.contains(name)) {
        return Err(Failure::FuzzTarget { unknown: unknown.clone(), known });
    }
    let targets = if search.targets.is_empty() { &known } else { &search.targets };
    for target in targets {
        let folders = Folders::new(workspace, target)?;
        run(corpus(workspace).args(["unpack", target]).arg(&folders.kept))?;
        println!("searching with `{target}` for {} s", search.seconds);
        let time = format!("-max_total_time={}", search.seconds);
        let artifacts = format!("-artifact_prefix={}/", folders.finds.display());
        let mut command = libfuzzer(workspace, &tool, target);
        command.args([&folders.found, &folders.kept]).arg("--").args(LIMITS).args([&time, &artifacts]);
        if run(&mut command).is_err() {
            return Err(Failure::FuzzFind { target: target.clone(), folder: folders.finds });
        }
        if search.keep {
            // Empty at first: libFuzzer puts in what adds to it, the shortest first.
            fresh_folder(&folders.merged)?;
            let mut command = libfuzzer(workspace, &tool, target);
            command.args([&folders.merged, &folders.found, &folders.kept]).args(["--", "-merge=1"]).args(LIMITS);
            run(&mut command)?;
            run(corpus(workspace).args(["pack", target]).arg(&folders.merged))?;
        }
    }
    Ok(())
}

/// Where libFuzzer reads and writes.
struct Folders {
    /// What is kept in git, and the seeds.
    kept: PathBuf,
    /// What searches on this machine have added.
    found: PathBuf,
    merged: PathBuf,
    /// Inputs that broke something.
    finds: PathBuf,
}

impl Folders {
    fn new(workspace: &Workspace, target: &str) -> Result<Self, Failure> {
        let below = |name: &str| workspace.root().join("target/fuzz").join(name).join(target);
        let folders =
            Self { kept: below("kept"), found: below("found"), merged: below("merged"), finds: below("finds") };
        fresh_folder(&folders.kept)?;
        for folder in [&folders.found, &folders.finds] {
            make(folder)?;
        }
        Ok(folders)
    }
}

fn make(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|source| Failure::File { what: "make", path: folder.to_owned(), source })
}

/// `cargo-fuzz`: the one that is installed, else our own.
fn install(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let tools = workspace.root().join("target/tools");
    let tool = tools.join("bin/cargo-fuzz");
    if !tool.exists() {
        println!("building {CARGO_FUZZ}, once");
        run(workspace.cargo().args(["install", "--locked", "--quiet", CARGO_FUZZ, "--root"]).arg(&tools))?;
    }
    Ok(tool)
}

fn targets(workspace: &Workspace) -> Result<Vec<String>, Failure> {
    let output = corpus(workspace)
        .arg("list")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| Failure::Start { what: "cargo".to_owned(), source })?;
    if !output.status.success() {
        return Err(Failure::Build);
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// Our own program between the kept corpus and libFuzzer's folders.
fn corpus(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo();
    command.args(["run", "--locked", "--quiet", "--package", "daypass-fuzz", "--bin", "fuzz-corpus", "--"]);
    command
}

fn libfuzzer(workspace: &Workspace, tool: &Path, target: &str) -> Command {
    let mut command = Command::new(tool);
    command
        .current_dir(workspace.root())
        .args(["fuzz", "run", target, "--fuzz-dir", "tests/fuzz", "--target-dir", "target/fuzz"])
        .args(["--features", "libfuzzer", "--codegen-units", "8"])
        // Instrumentation is not stable; this lets the stable compiler do it, so that what is searched is what is shipped.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only");
    command
}

fn run(command: &mut Command) -> Result<(), Failure> {
    let status = command.status().map_err(|source| Failure::Start { what: "cargo".to_owned(), source })?;
    if status.success() { Ok(()) } else { Err(Failure::Build) }
}
