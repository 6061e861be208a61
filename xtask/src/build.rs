//! Building every program of the workspace.

use std::process::Stdio;

use crate::{failure::Failure, workspace::Workspace};

/// Builds all programs; says beforehand how long that takes where it takes long.
pub(crate) fn programs(workspace: &Workspace) -> Result<(), Failure> {
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
        .stdin(Stdio::null())
        .status()
        .map_err(|source| Failure::Start { what: "cargo", source })?;
    if status.success() { Ok(()) } else { Err(Failure::Build) }
}
