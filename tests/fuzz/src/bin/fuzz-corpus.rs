//! Between the kept corpus and libFuzzer's folders; `cargo xtask fuzz` runs it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this program talks to the person who started it")]

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use daypass_fuzz::{TARGETS, Target, corpus};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Prints the names of all targets
    List,
    /// Writes what is kept into a folder
    Unpack { target: String, folder: PathBuf },
    /// Keeps what is in a folder
    Pack { target: String, folder: PathBuf },
    /// Runs one input
    Run { target: String, input: PathBuf },
}

fn main() -> ExitCode {
    match run(&Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    match task {
        Task::List => TARGETS.iter().for_each(|target| println!("{}", target.name)),
        Task::Unpack { target, folder } => corpus::unpack(find(target)?, folder).map_err(failed)?,
        Task::Pack { target, folder } => {
            println!("{target}: {} inputs are kept", corpus::pack(find(target)?, folder).map_err(failed)?);
        }
        Task::Run { target, input } => (find(target)?.run)(&std::fs::read(input).map_err(failed)?),
    }
    Ok(())
}

fn find(name: &str) -> Result<&'static Target, String> {
    TARGETS.iter().find(|target| target.name == name).ok_or_else(|| {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        format!("there is no target `{name}`; there are {}", names.join(", "))
    })
}
