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

/// Something that was asked for and cannot be done on this machine: a person is told, and a CI, where nobody reads, fails.
fn not_checked(what: &str, why: String) -> Result<(), Failure> {
    not_checked_where(std::env::var_os("CI").is_some(), what, why)
}

fn not_checked_where(nobody_reads: bool, what: &str, why: String) -> Result<(), Failure> {
    if nobody_reads {
        return Err(Failure::Check { what: format!("not checked, and this is a CI: {what}"), faults: vec![why] });
    }
    println!("skipped: {what}: {why}");
    Ok(())
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
            return not_checked("installing in a clean Debian", "it needs root".to_owned());
        }
        let root = root::Root::make(&workspace.debian())?;
        install::story(&root, &debs)?;
        println!("installed, removed and purged in a clean Debian; nothing was started, nothing is left");
        boot::story(&root)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_checked_fails_where_nobody_reads_and_says_why() {
        assert!(not_checked_where(false, "running", "no root".to_owned()).is_ok());
        let failed = not_checked_where(true, "running", "no root".to_owned()).unwrap_err().to_string();
        assert_eq!(failed, "not checked, and this is a CI: running:\nno root");
    }
}
