//! Installing, removing and purging, where no systemd runs: in an image, a container, an installer.

use std::{fs, os::unix::fs::MetadataExt as _, path::PathBuf};

use super::{
    PACKAGES,
    check::{of, same},
    root::Root,
};
use crate::{
    failure::Failure,
    tool::{file, ran, run},
};

/// What stays when the packages are removed: configuration, which units somebody enabled, the servers' folders, and what dpkg knows.
const AFTER_REMOVE: &str = "/etc/daypass
/etc/daypass/agent.toml
/etc/daypass/gate.toml
/etc/systemd/system/multi-user.target.wants/daypass-gate.service
/etc/systemd/system/multi-user.target.wants/daypass-issuer.service
/etc/systemd/system/multi-user.target.wants/daypass.service
/etc/systemd/system/sockets.target.wants/daypass.socket
/var/lib/daypass-gate
/var/lib/daypass-issuer
";

/// What stays of an issuer that was purged after it had been used.
const KEPT: &str = "/var/lib/daypass-issuer\n/var/lib/daypass-issuer/issuer.db\n";

/// The whole life of the packages.
pub(super) fn story(root: &Root, debs: &[PathBuf]) -> Result<(), Failure> {
    let mut files = Vec::new();
    for package in PACKAGES {
        let to = format!("/opt/{package}.deb");
        root.put(of(debs, package)?, &to)?;
        files.push(to);
    }
    run(&mut root.chroot(&["apt-get", "update", "--quiet"]))?;
    let install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends"];
    run(root.chroot(&install).args(&files))?;
    nothing_runs(root)?;
    installed(root)?;
    // Again: an upgrade to the same version.
    run(root.chroot(&["dpkg", "--install"]).args(&files))?;
    nothing_runs(root)?;

    // What a package's own command has written goes with the package.
    run(&mut root.chroot(&["daypass-gate", "init"]))?;
    run(root.chroot(&["apt-get", "remove", "--yes", "--quiet"]).args(PACKAGES))?;
    same("what is left after `remove`", &without_dpkg(&root.ours()?), AFTER_REMOVE)?;
    run(root.chroot(&["apt-get", "purge", "--yes", "--quiet"]).args(PACKAGES))?;
    same("what is left after `purge`", &root.ours()?, "")?;

    // What the issuer has kept is not thrown away with its programs.
    run(root.chroot(&["dpkg", "--install"]).args(&files))?;
    let store = root.inside("/var/lib/daypass-issuer/issuer.db");
    fs::write(&store, "kept").map_err(file("write", &store))?;
    run(root.chroot(&["dpkg", "--purge"]).args(PACKAGES))?;
    same("what is left after `purge` of an issuer with a store", &root.ours()?, KEPT)?;
    fs::remove_dir_all(root.inside("/var/lib/daypass-issuer")).map_err(file("remove", &store))
}

/// What dpkg and deb-systemd-helper remember of a removed package.
fn without_dpkg(paths: &str) -> String {
    let memory = ["/var/lib/dpkg/info/", "/var/lib/systemd/deb-systemd-helper-"];
    paths
        .lines()
        .filter(|line| !memory.iter().any(|start| line.starts_with(start)))
        .map(|line| format!("{line}\n"))
        .collect()
}

fn installed(root: &Root) -> Result<(), Failure> {
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    for program in PACKAGES {
        let said = run(root.chroot(&nobody).args([program, "--version"]))?;
        same("a version", &said, &format!("{program} {}\n", env!("CARGO_PKG_VERSION")))?;
    }
    // No agent runs here, and the machine may have no TPM: both are said, with a way out.
    let (output, said) = ran(root.chroot(&nobody).args(["daypass", "doctor"]))?;
    let words =
        ["could not reach the agent at `/run/daypass/agent.sock`", "there is no such socket", "start the agent"];
    let missing: Vec<String> =
        words.iter().filter(|word| !said.contains(**word)).map(|word| (*word).to_owned()).collect();
    if output.status.code() != Some(12) || !missing.is_empty() {
        return Err(Failure::Check {
            what: format!("`daypass doctor` ended with {}:\n{said}", output.status),
            faults: missing,
        });
    }
    let enabled = |unit: &str| Ok::<_, Failure>(ran(&mut root.chroot(&["systemctl", "is-enabled", unit]))?.1);
    for (unit, expected) in [
        ("daypass.socket", "enabled\n"),
        ("daypass.service", "enabled\n"),
        ("daypass-inspector.socket", "disabled\n"),
        ("daypass-issuer.service", "enabled\n"),
        ("daypass-gate.service", "enabled\n"),
    ] {
        same(unit, &enabled(unit)?, expected)?;
    }
    let agents = root.inside("/run/daypass");
    let mode = fs::metadata(&agents).map_err(file("look at", &agents))?.mode() & 0o7777;
    same("the mode of /run/daypass", &format!("{mode:o}"), "755")?;
    udev(root)
}

/// udev reads our rule without a complaint. It reads all rules for any device; this one is there everywhere.
fn udev(root: &Root) -> Result<(), Failure> {
    let test = ["sh", "-c", "mount -t sysfs sysfs /sys && udevadm test /devices/virtual/mem/null"];
    let (_, said) = ran(&mut root.chroot(&test))?;
    let about: Vec<&str> = said.lines().filter(|line| line.contains("70-daypass.rules")).collect();
    match about[..] {
        [line] if line.contains("Reading rules file") => Ok(()),
        _ => Err(Failure::Check { what: "udev and its rule".to_owned(), faults: vec![said] }),
    }
}

/// No process has this root.
fn nothing_runs(root: &Root) -> Result<(), Failure> {
    let proc = PathBuf::from("/proc");
    let running: Vec<String> = fs::read_dir(&proc)
        .map_err(file("list", &proc))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|process| fs::read_link(process.join("root")).is_ok_and(|at| at == root.path()))
        .filter_map(|process| fs::read_to_string(process.join("comm")).ok())
        .collect();
    if running.is_empty() {
        Ok(())
    } else {
        Err(Failure::Check { what: "installing started something".to_owned(), faults: running })
    }
}
