//! Why a task could not be done, sorted by who can help it.

use std::{io, path::PathBuf};

/// Why a task could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A person has to install something.
    #[error("{} system package(s) are missing: {}\ninstall them, without starting the services among them, with\n\n    {command}\n\nor let this task do that: run it again with `--install`", missing.len(), missing.join(" "))]
    Missing { missing: Vec<String>, command: String },
    /// Not Debian: we cannot know the names here.
    #[error(
        "there is no `dpkg-query` here, so this is not Debian; these programs are missing: {}\ninstall what provides them; packaging/debian-packages has the Debian names",
        .0.join(" ")
    )]
    MissingPrograms(Vec<String>),
    /// The package manager said no.
    #[error("`{command}` failed; what it printed stands above")]
    Install { command: String },
    /// The build said no.
    #[error("the build failed; what cargo printed stands above")]
    Build,
    /// No such fuzz target.
    #[error("there is no fuzz target `{unknown}`; there are {}", known.join(", "))]
    FuzzTarget { unknown: String, known: Vec<String> },
    /// A search ended early: most likely it found something.
    #[error(
        "the search with `{target}` ended early; what it printed stands above, and an input that broke something lies in `{}`\nrun that again with `cargo run -p daypass-fuzz --bin fuzz-corpus -- run {target} FILE`; once it is mended, put it into `tests/fuzz/regressions/{target}/`, named after the fault",
        folder.display()
    )]
    FuzzFind { target: String, folder: PathBuf },
    /// A program did not start.
    #[error("could not start {what}: {source}")]
    Start { what: String, source: io::Error },
    /// A file.
    #[error("could not {what} `{}`: {source}", path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },
    /// The list of packages is not as this program expects it.
    #[error("`{}` line {line}: expected a package, one of build, demo, test, package, and what for", path.display())]
    List { path: PathBuf, line: usize },
    /// A program that a task uses said no.
    #[error("`{command}` failed:\n{output}")]
    Tool { command: String, output: String },
    /// What was built is not what it should be.
    #[error("{what}:\n{}", faults.join("\n"))]
    Check { what: String, faults: Vec<String> },
    /// xtask was not started by cargo.
    #[error("could not tell where the workspace is; start this as `cargo xtask`")]
    NoWorkspace,
}
