//! What is in the packages, against the lists in `packaging/contents`; what they depend on; what lintian says.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::{PACKAGES, units};
use crate::{
    failure::Failure,
    packages::is_root,
    tool::{file, fresh_folder, ran, run, tool},
    workspace::Workspace,
};

/// What each package must depend on, whatever the versions: the libraries that `dpkg-shlibdeps` finds, and what nothing computes.
const DEPENDS: [(&str, &[&str]); 3] = [
    (
        "daypass",
        &[
            "libc6",
            "libtss2-esys-3.0.2-0",
            "libtss2-mu0",
            "libtss2-tctildr0",
            "libtss2-tcti-device0",
            "systemd",
            "tpm-udev",
        ],
    ),
    ("daypass-issuer", &["libc6", "systemd"]),
    ("daypass-gate", &["libc6", "systemd"]),
];

/// Every check that needs no root.
pub(super) fn all(workspace: &Workspace, debs: &[PathBuf]) -> Result<(), Failure> {
    let root = workspace.debian().join("extracted");
    fresh_folder(&root)?;
    for package in PACKAGES {
        let deb = of(debs, package)?;
        contents(workspace, package, deb)?;
        depends(package, deb)?;
        run(tool("dpkg-deb", ["--extract"]).args([deb, &root]))?;
    }
    let conffiles = run(tool("dpkg-deb", ["--info"]).arg(of(debs, "daypass")?).arg("conffiles"))?;
    same("configuration files of daypass", &conffiles, "/etc/daypass/agent.toml\n")?;
    lintian(debs)?;
    units::check(&root, &workspace.debian().join("units"))
}

/// The file of a package.
pub(super) fn of<'a>(debs: &'a [PathBuf], package: &str) -> Result<&'a Path, Failure> {
    let begins = format!("{package}_");
    debs.iter()
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&begins)))
        .map(PathBuf::as_path)
        .ok_or_else(|| Failure::Check { what: "a package was not built".to_owned(), faults: vec![package.to_owned()] })
}

fn contents(workspace: &Workspace, package: &str, deb: &Path) -> Result<(), Failure> {
    let list = workspace.root().join("packaging/contents").join(package);
    let expected = fs::read_to_string(&list).map_err(file("read", &list))?;
    let found = listing(&run(tool("dpkg-deb", ["--contents"]).arg(deb))?);
    same(&format!("contents of {package}, against `{}`", list.display()), &found, &expected)
}

/// Mode, owner and path; sizes and times are not the point, and folders of the system are not ours.
fn listing(contents: &str) -> String {
    let mut lines: Vec<String> = contents
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (mode, owner) = (words.next()?, words.next()?);
            // Size, day, time.
            let path = words.nth(3)?.strip_prefix('.')?;
            Some(format!("{mode} {owner} {path}"))
        })
        .filter(|line| !line.starts_with('d') || line.contains("daypass"))
        .collect();
    lines.sort_unstable_by(|a, b| a.rsplit(' ').next().cmp(&b.rsplit(' ').next()));
    lines.into_iter().map(|line| line + "\n").collect()
}

fn depends(package: &str, deb: &Path) -> Result<(), Failure> {
    let field = run(tool("dpkg-deb", ["--field"]).arg(deb).arg("Depends"))?;
    let found: BTreeSet<&str> = field
        .split([',', '|'])
        .filter_map(|dependency| dependency.split_whitespace().next())
        // What debhelper offers in the place of systemd.
        .filter(|name| !name.starts_with("systemd-"))
        .collect();
    let expected: BTreeSet<&str> = DEPENDS
        .iter()
        .find(|(name, _)| *name == package)
        .map(|(_, names)| names.iter().copied().collect())
        .unwrap_or_default();
    let optional = |name: &&str| matches!(*name, "libgcc-s1");
    let text = |names: BTreeSet<&str>| {
        names.into_iter().filter(|name| !optional(name)).map(|name| format!("{name}\n")).collect::<String>()
    };
    same(&format!("dependencies of {package}"), &text(found), &text(expected))
}

fn lintian(debs: &[PathBuf]) -> Result<(), Failure> {
    let mut lintian = tool("lintian", ["--profile", "debian", "--fail-on", "error,warning", "--no-cfg"]);
    // Of uploads to Debian alone, which keeps a bug for each new package.
    lintian.args(["--suppress-tags", "initial-upload-closes-no-bugs"]);
    if is_root() {
        lintian.arg("--allow-root");
    }
    let (output, said) = ran(lintian.args(debs))?;
    print!("{said}");
    if output.status.success() {
        Ok(())
    } else {
        Err(Failure::Check { what: "lintian".to_owned(), faults: said.lines().map(str::to_owned).collect() })
    }
}

/// Line by line the same; else what is there too much and what is missing.
pub(super) fn same(what: &str, found: &str, expected: &str) -> Result<(), Failure> {
    let (f, e): (BTreeSet<&str>, BTreeSet<&str>) = (found.lines().collect(), expected.lines().collect());
    let faults: Vec<String> = f
        .difference(&e)
        .map(|line| format!("not expected: {line}"))
        .chain(e.difference(&f).map(|line| format!("missing: {line}")))
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(Failure::Check { what: what.to_owned(), faults }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_keeps_modes_owners_and_paths() {
        let text = "drwxr-xr-x root/root         0 2026-11-24 12:00 ./usr/\n\
                    drwxr-xr-x root/root         0 2026-11-24 12:00 ./etc/daypass/\n\
                    -rw-r--r-- root/root       961 2026-11-24 12:00 ./etc/daypass/agent.toml\n\
                    lrwxrwxrwx root/root         0 2026-11-24 12:00 ./usr/b -> a\n";
        assert_eq!(
            listing(text),
            "drwxr-xr-x root/root /etc/daypass/\n-rw-r--r-- root/root /etc/daypass/agent.toml\nlrwxrwxrwx root/root /usr/b\n"
        );
    }

    #[test]
    fn what_is_too_much_and_what_is_missing_is_said() {
        assert!(same("x", "a\nb\n", "b\na\n").is_ok());
        let Err(Failure::Check { faults, .. }) = same("x", "a\nc\n", "a\nb\n") else { panic!("not the same") };
        assert_eq!(faults, ["not expected: c", "missing: b"]);
    }
}
