//! Building every program of the workspace.

use std::process::Stdio;

use crate::{failure::Failure, workspace::Workspace};

/// What is built.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum What {
    /// The programs.
    Programs,
    /// The programs, and the tests beside them: in one go, since tests bring features of dependencies along, and what was built
    /// without them would be built again.
    ProgramsAndTests,
}

/// Builds; says beforehand how long that takes where it takes long.
pub(crate) fn build(workspace: &Workspace, what: What) -> Result<(), Failure> {
    let fresh = !workspace.program("daypass-issuer").exists() || !workspace.program("demo").exists();
    if fresh {
        println!(
            "building all programs; the first time takes about six minutes on two cores, and downloads the dependencies"
        );
    } else {
        println!("building what has changed");
    }
    // `--locked`: a build that quietly takes other dependencies than were reviewed is not this program.
    let status = workspace
        .cargo()
        .args(["build", "--locked", "--workspace", "--bins"])
        .args((what == What::ProgramsAndTests).then_some("--tests"))
        .stdin(Stdio::null())
        .status()
        .map_err(|source| Failure::Start { what: "cargo".to_owned(), source })?;
    if status.success() { Ok(()) } else { Err(Failure::Build) }
}
