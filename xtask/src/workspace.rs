//! Where the workspace is, and where cargo puts what it builds.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use crate::failure::Failure;

/// The workspace and its build folder.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    programs: PathBuf,
}

impl Workspace {
    /// By this program's own place: cargo built it into the folder that it builds everything else into, whatever
    /// `CARGO_TARGET_DIR`, `build.target-dir` or `build.target` say.
    pub(crate) fn find() -> Result<Self, Failure> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or(Failure::NoWorkspace)?.to_owned();
        let programs =
            env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned())).ok_or(Failure::NoWorkspace)?;
        Ok(Self { root, programs })
    }

    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A program that cargo has built.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// The folder of the programs of a release build.
    pub(crate) fn release_programs(&self) -> PathBuf {
        self.programs.with_file_name("release")
    }

    /// Where Debian packages, and what is needed to check them, are made.
    pub(crate) fn debian(&self) -> PathBuf {
        self.root.join("target/debian")
    }

    /// The cargo that started us, in the workspace.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.root);
        cargo
    }
}
