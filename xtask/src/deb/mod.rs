//! `cargo xtask deb`: the Debian packages, and whether they are right.
//!
//! `packaging/debian` says what goes into them and debhelper does it; here the programs are built, what they generate is written (manual
//! pages, completions), and everything is laid side by side for it.

mod boot;
mod check;
mod install;
mod root;
mod stage;
mod units;

use std::path::PathBuf;

use crate::{failure::Failure, packages::is_root, workspace::Workspace};

/// The packages.
pub(crate) const PACKAGES: [&str; 3] = ["daypass", "daypass-issuer", "daypass-gate"];

/// What to do.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Takes programs that are built already from this folder, rather than building a release: for checks
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// Checks contents, dependencies, maintainer scripts and units
    #[arg(long)]
    check: bool,
    /// Installs them in a clean Debian, runs them there as services, and removes them; needs root
    #[arg(long)]
    check_install: bool,
}

/// Everything that was asked for.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), Failure> {
    let debs = stage::build(workspace, options.programs.as_deref())?;
    for deb in &debs {
        println!("built {}", deb.display());
    }
    if options.check {
        check::all(workspace, &debs)?;
        println!("contents, dependencies, scripts and units are as they should be");
    }
    if options.check_install {
        if !is_root() {
            println!("skipped: installing in a clean Debian needs root");
            return Ok(());
        }
        let root = root::Root::make(&workspace.debian())?;
        install::story(&root, &debs)?;
        println!("installed, removed and purged in a clean Debian; nothing was started, nothing is left");
        boot::story(&root)?;
    }
    Ok(())
}
