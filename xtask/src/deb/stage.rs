//! Laying everything side by side, and starting debhelper there.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::PACKAGES;
use crate::{
    failure::Failure,
    tool::{file, fresh_folder, run, tool},
    workspace::Workspace,
};

/// The crate of a package, and its programs.
const CRATES: [(&str, &str, &[&str]); 3] = [
    ("daypass", "daypass-agent", &["daypass", "git-credential-daypass"]),
    ("daypass-issuer", "daypass-issuer", &["daypass-issuer"]),
    ("daypass-gate", "daypass-gate", &["daypass-gate"]),
];
/// Files that go in as they are.
const FILES: [&str; 10] = [
    "README.md",
    "CHANGELOG.md",
    "docs/notifications.md",
    "docs/notifications.schema.json",
    "docs/operations.md",
    "docs/policy.md",
    "docs/threat-model.md",
    "server/issuer/issuer.toml.example",
    "server/issuer/project.toml.example",
    "server/gate/gate.toml.example",
];
const SHELLS: [(&str, &str, &str); 3] = [("bash", "", ""), ("zsh", "_", ""), ("fish", "", ".fish")];

/// Builds the packages; gives their files.
pub(super) fn build(workspace: &Workspace, programs: Option<&Path>) -> Result<Vec<PathBuf>, Failure> {
    let programs = match programs {
        Some(folder) => workspace.root().join(folder),
        None => release(workspace)?,
    };
    let folder = workspace.debian();
    let stage = folder.join("build");
    fresh_folder(&stage)?;
    for old in debs(&folder)? {
        fs::remove_file(&old).map_err(file("remove", &old))?;
    }
    for name in FILES {
        copy(&workspace.root().join(name), &stage.join(name), 0o644)?;
    }
    copy(&workspace.root().join("agent/agent.toml.example"), &stage.join("etc/agent.toml"), 0o644)?;
    copy_folder(&workspace.root().join("packaging"), &stage.join("packaging"))?;
    copy_folder(&workspace.root().join("packaging/debian"), &stage.join("debian"))?;
    for (package, krate, names) in CRATES {
        for name in names {
            copy(&programs.join(name), &stage.join("programs").join(name), 0o755)?;
        }
        generate(&stage, package)?;
        let licences = run(workspace.cargo().args(["tree", "--locked", "--prefix=none", "--edges=normal"]).args([
            "--package",
            krate,
            "--format={p}  {l}  {r}",
        ]))?;
        write(&stage.join("generated/third-party").join(package).join("third-party.txt"), &third_party(&licences))?;
    }
    run(tool("dpkg-buildpackage", ["--build=binary", "--no-sign"])
        .env("DEB_BUILD_OPTIONS", "noautodbgsym")
        .current_dir(&stage))?;
    let built = debs(&folder)?;
    if built.len() == PACKAGES.len() {
        Ok(built)
    } else {
        Err(Failure::Check { what: "other packages were built than expected".to_owned(), faults: names(&built) })
    }
}

/// A release of the three, without what tests bring along; gives the folder.
fn release(workspace: &Workspace) -> Result<PathBuf, Failure> {
    println!("building a release; the first time takes some ten minutes on two cores");
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--locked", "--release", "--bins"]);
    cargo.args(CRATES.iter().flat_map(|(_, krate, _)| ["--package", krate]));
    let status = cargo.status().map_err(|source| Failure::Start { what: "cargo".to_owned(), source })?;
    if status.success() { Ok(workspace.release_programs()) } else { Err(Failure::Build) }
}

/// What a program says about itself.
fn generate(stage: &Path, package: &str) -> Result<(), Failure> {
    let program = stage.join("programs").join(package);
    let man = stage.join("generated/man").join(package);
    fs::create_dir_all(&man).map_err(file("make", &man))?;
    if package == "daypass" {
        run(tool(&program, ["man", "--out"]).arg(&man))?;
    } else {
        write(&man.join(format!("{package}.1")), &run(&mut tool(&program, ["man"]))?)?;
    }
    for (shell, before, after) in SHELLS {
        let script = run(&mut tool(&program, ["completions", shell]))?;
        let at = stage.join("generated/completions").join(package).join(shell);
        write(&at.join(format!("{before}{package}{after}")), &script)?;
    }
    Ok(())
}

/// One line a library; ours are not third parties.
fn third_party(tree: &str) -> String {
    let mut lines: Vec<&str> = tree
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_alphanumeric()) && !line.starts_with("daypass"))
        .map(|line| line.trim_end_matches(" (*)"))
        .collect();
    lines.sort_unstable();
    lines.dedup();
    let mut text =
        "Libraries that are linked into the programs of this package: name and version, licence, source.\n\n"
            .to_owned();
    for line in lines {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn debs(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(file("list", folder))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect();
    found.sort();
    Ok(found)
}

fn names(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.display().to_string()).collect()
}

fn write(path: &Path, content: &str) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(file("make", folder))?;
    fs::write(path, content).map_err(file("write", path))
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<(), Failure> {
    let folder = to.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(file("make", folder))?;
    fs::copy(from, to).map_err(file("copy", from))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).map_err(file("set the mode of", to))
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), Failure> {
    for entry in fs::read_dir(from).map_err(file("list", from))? {
        let path = entry.map_err(file("list", from))?.path();
        let Some(name) = path.file_name() else { continue };
        if path.is_dir() {
            copy_folder(&path, &to.join(name))?;
        } else {
            copy(&path, &to.join(name), if name == "rules" { 0o755 } else { 0o644 })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packages_have_the_version_of_the_programs() {
        let changelog = include_str!("../../../packaging/debian/changelog");
        let expected = format!("daypass ({}-", env!("CARGO_PKG_VERSION"));
        assert!(changelog.starts_with(&expected), "packaging/debian/changelog must begin with `{expected}`");
    }

    #[test]
    fn libraries_are_listed_once_and_our_own_are_none() {
        let tree = "daypass-agent v0.1.0 (/x)    \nserde v1.0.0  MIT  https://a\n\nbytes v1.0.0  MIT  https://b\nserde v1.0.0  MIT  https://a (*)\n";
        let text = third_party(tree);
        assert!(text.ends_with("\n\nbytes v1.0.0  MIT  https://b\nserde v1.0.0  MIT  https://a\n"), "{text}");
    }
}
