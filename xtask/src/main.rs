//! `cargo xtask`: the one way to build, show and check Daypass. CI calls the same commands that a person does.
//!
//! Nothing here may need a system library: this program looks for them, so it builds before any of them is there.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this program talks to the person who started it")]

mod bench;
mod build;
mod deb;
mod failure;
mod fuzz;
mod packages;
mod tool;
mod workspace;

use std::{
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use clap::{Args, Parser, Subcommand};

use crate::{
    build::{What, build},
    failure::Failure,
    fuzz::{Search, fuzz},
    packages::Need,
    workspace::Workspace,
};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Builds, shows and checks Daypass")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Shows the whole path on this machine: two machines with TPMs, issuer, gate, a git server, a user and a thief
    Demo {
        /// Leaves everything running until Ctrl-C, and writes `target/demo/env` for a second terminal
        #[arg(long)]
        serve: bool,
        #[command(flatten)]
        packages: Install,
    },
    /// Builds the programs and runs every test
    Test {
        #[command(flatten)]
        packages: Install,
        /// Arguments for `cargo test`, such as `-p daypass-proto` or `-- revoked`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Builds the Debian packages into `target/debian`, and checks them
    Deb {
        #[command(flatten)]
        options: deb::Options,
        #[command(flatten)]
        packages: Install,
    },
    /// Measures the issuer's store and what a token costs, each beside a baseline from the same run (docs/benchmarks.md)
    Bench {
        #[command(flatten)]
        options: bench::Options,
        #[command(flatten)]
        packages: Install,
    },
    /// Searches for inputs that break what reads strangers' bytes (docs/fuzzing.md)
    Fuzz {
        #[command(flatten)]
        search: Search,
        #[command(flatten)]
        packages: Install,
    },
    /// Says which system packages are missing, or installs them
    Packages {
        /// For what
        #[arg(long, value_enum, default_value = "test")]
        need: Need,
        #[command(flatten)]
        packages: Install,
    },
}

#[derive(Args, Debug)]
struct Install {
    /// Installs missing system packages with `sudo apt-get` (as root they are installed without being asked for)
    #[arg(long)]
    install: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse().task) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> Result<ExitCode, Failure> {
    let workspace = Workspace::find()?;
    match task {
        Task::Packages { need, packages } => {
            packages::ensure(&workspace, *need, packages.install)?;
            println!("all system packages are there");
            Ok(ExitCode::SUCCESS)
        }
        Task::Deb { options, packages } => {
            packages::ensure(&workspace, Need::Package, packages.install)?;
            deb::run(&workspace, options)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Demo { serve, packages } => {
            packages::ensure(&workspace, Need::Demo, packages.install)?;
            build(&workspace, What::Programs)?;
            let mut demo = Command::new(workspace.program("demo"));
            demo.arg("--env-file").arg(workspace.root().join("target/demo/env"));
            if *serve {
                demo.arg("--serve");
            }
            Err(become_program("the demo", &mut demo))
        }
        Task::Bench { options, packages } => {
            packages::ensure(&workspace, Need::Build, packages.install)?;
            Err(become_program("the bench", &mut bench::prepared(&workspace, options)?))
        }
        Task::Fuzz { search, packages } => {
            packages::ensure(&workspace, Need::Build, packages.install)?;
            fuzz(&workspace, search)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Test { packages, arguments } => {
            packages::ensure(&workspace, Need::Test, packages.install)?;
            build(&workspace, What::ProgramsAndTests)?;
            let mut test = workspace.cargo();
            test.arg("test");
            if !arguments.iter().any(|argument| argument == "-p" || argument.starts_with("--package")) {
                test.arg("--workspace");
            }
            Err(become_program("the tests", test.args(arguments)))
        }
    }
}

/// Becomes this program: its exit code is ours, and a signal to us is one to it.
fn become_program(what: &'static str, command: &mut Command) -> Failure {
    Failure::Start { what: what.to_owned(), source: command.exec() }
}
