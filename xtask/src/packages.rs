//! System packages: which there must be, which are missing, and how they come.
//!
//! Debian starts the services of what it installs. Nobody who wants to see a demo wants a web server on port 80, so
//! installing happens under a `policy-rc.d` that forbids it, and that goes away again afterwards.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{failure::Failure, workspace::Workspace};

/// What the packages are for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Need {
    /// To compile.
    Build,
    /// To show the demo.
    Demo,
    /// To run every test.
    Test,
    /// To build `.deb`s, and to check them.
    Package,
}

impl Need {
    /// Whether what is needed for `other` is needed here too.
    fn includes(self, other: Self) -> bool {
        match self {
            Self::Build => other == Self::Build,
            Self::Demo => matches!(other, Self::Build | Self::Demo),
            Self::Test => other != Self::Package,
            Self::Package => matches!(other, Self::Build | Self::Package),
        }
    }
}

const POLICY: &str = "/usr/sbin/policy-rc.d";
/// Exit code 101 of `policy-rc.d`: the action is forbidden.
const FORBID_SERVICES: &[u8] = b"#!/bin/sh\nexit 101\n";

/// Makes sure that everything for `need` is there; installs it when we may.
pub(crate) fn ensure(workspace: &Workspace, need: Need, install: bool) -> Result<(), Failure> {
    let path = workspace.root().join("packaging/debian-packages");
    let text =
        fs::read_to_string(&path).map_err(|source| Failure::File { what: "read", path: path.clone(), source })?;
    let wanted: Vec<String> = parse(&text)
        .map_err(|line| Failure::List { path, line })?
        .into_iter()
        .filter_map(|(package, by)| need.includes(by).then_some(package))
        .collect();
    let missing = match installed()? {
        Some(installed) => wanted.into_iter().filter(|package| !installed.contains(package)).collect::<Vec<_>>(),
        None => return without_dpkg(),
    };
    if missing.is_empty() {
        return Ok(());
    }
    let root = is_root();
    if !root && !install {
        return Err(Failure::Missing { command: as_root(need).join(" "), missing });
    }
    if !root {
        let [sudo, arguments @ ..] = as_root(need);
        return run(Command::new(sudo).args(arguments));
    }
    println!("installing {} (their services are kept from starting)", missing.join(" "));
    install_as_root(&missing)
}

fn parse(text: &str) -> Result<Vec<(String, Need)>, usize> {
    let mut packages = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut words = line.split_whitespace();
        let need = match (words.next(), words.next()) {
            (Some(package), Some("build")) => (package, Need::Build),
            (Some(package), Some("demo")) => (package, Need::Demo),
            (Some(package), Some("test")) => (package, Need::Test),
            (Some(package), Some("package")) => (package, Need::Package),
            _ => return Err(index + 1),
        };
        if words.next().is_none() {
            return Err(index + 1);
        }
        packages.push((need.0.to_owned(), need.1));
    }
    Ok(packages)
}

/// What is installed, with what it provides: a package of another maker may stand for several of Debian's. `None` where there is no dpkg.
fn installed() -> Result<Option<Vec<String>>, Failure> {
    let answer = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Package} ${db:Status-Abbrev}|${Provides}\n"])
        .stderr(Stdio::null())
        .output();
    match answer {
        Ok(answer) => Ok(Some(installed_lines(&String::from_utf8_lossy(&answer.stdout)))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Failure::Start { what: "dpkg-query".to_owned(), source }),
    }
}

fn installed_lines(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| {
            let (package, rest) = line.split_once(' ')?;
            let (status, provided) = rest.split_once('|')?;
            // Removed packages whose configuration stayed are `rc`. What is provided may come with a version in parentheses.
            let provided = provided.split(',').filter_map(|name| name.split_whitespace().next());
            (status.trim_end() == "ii").then(|| std::iter::once(package).chain(provided))
        })
        .flatten()
        .map(str::to_owned)
        .collect()
}

/// Another system: packages have other names there, so look for the programs themselves.
fn without_dpkg() -> Result<(), Failure> {
    const PROGRAMS: [&str; 7] = ["pkg-config", "git", "swtpm", "swtpm_setup", "nginx", "fcgiwrap", "curl"];
    let folders: Vec<PathBuf> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    let there = |program: &&str| {
        folders.iter().map(PathBuf::as_path).chain([Path::new("/usr/sbin")]).any(|folder| folder.join(program).exists())
    };
    let missing: Vec<String> =
        PROGRAMS.iter().filter(|program| !there(program)).map(|program| (*program).to_owned()).collect();
    if missing.is_empty() { Ok(()) } else { Err(Failure::MissingPrograms(missing)) }
}

/// This very program as root, which does it the same way whoever starts it.
fn as_root(need: Need) -> [String; 5] {
    let program = std::env::current_exe().unwrap_or_else(|_| "cargo xtask".into()).display().to_string();
    let need = format!("{need:?}").to_lowercase();
    ["sudo".to_owned(), program, "packages".to_owned(), "--need".to_owned(), need]
}

fn install_as_root(packages: &[String]) -> Result<(), Failure> {
    let _policy = ServicesForbidden::begin(Path::new(POLICY))?;
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
        command
    };
    run(&mut apt(&["update", "--quiet"]))?;
    run(apt(&["install", "--yes", "--quiet"]).args(packages))
}

fn run(command: &mut Command) -> Result<(), Failure> {
    let status =
        command.status().map_err(|source| Failure::Start { what: "the package manager".to_owned(), source })?;
    if status.success() { Ok(()) } else { Err(Failure::Install { command: format!("{command:?}") }) }
}

/// While this lives, installing a package starts no service. A policy that was there before is left as it is.
struct ServicesForbidden<'a>(Option<&'a Path>);

impl<'a> ServicesForbidden<'a> {
    fn begin(path: &'a Path) -> Result<Self, Failure> {
        match fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(path) {
            Ok(mut file) => {
                let policy = Self(Some(path));
                file.write_all(FORBID_SERVICES).map_err(|source| Failure::File {
                    what: "write",
                    path: path.to_owned(),
                    source,
                })?;
                Ok(policy)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Self(None)),
            Err(source) => Err(Failure::File { what: "create", path: path.to_owned(), source }),
        }
    }
}

impl Drop for ServicesForbidden<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.0
            && let Err(error) = fs::remove_file(path)
        {
            eprintln!("could not remove `{}`: {error}; remove it, or no service will start on install", path.display());
        }
    }
}

pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    // /proc/self belongs to the effective uid; no dependency is worth this one number.
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_parses_and_has_every_kind() {
        let packages = parse(include_str!("../../packaging/debian-packages")).unwrap();
        for need in [Need::Build, Need::Demo, Need::Test, Need::Package] {
            assert!(packages.iter().any(|(_, by)| *by == need), "{need:?}");
        }
    }

    #[test]
    fn packaging_needs_no_demo_and_a_demo_no_packaging() {
        assert!(Need::Package.includes(Need::Build) && !Need::Package.includes(Need::Demo));
        assert!(Need::Test.includes(Need::Demo) && !Need::Test.includes(Need::Package));
        assert!(!Need::Build.includes(Need::Test));
    }

    #[test]
    fn a_line_without_a_reason_is_refused() {
        assert_eq!(parse("# comment\n\ngit demo the client\nnginx demo\n"), Err(4));
        assert_eq!(parse("git sometimes the client\n"), Err(1));
    }

    #[test]
    fn a_removed_package_is_not_installed() {
        assert_eq!(installed_lines("git ii |\nnginx rc |httpd\ncurl un |\n"), ["git"]);
    }

    #[test]
    fn what_another_package_provides_is_there() {
        assert_eq!(installed_lines("nodejs ii |nodejs-dev, npm (= 10.8)\n"), ["nodejs", "nodejs-dev", "npm"]);
    }

    #[test]
    fn the_services_policy_goes_away_and_another_s_stays() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy-rc.d");
        {
            let _policy = ServicesForbidden::begin(&path).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        }
        assert!(!path.exists());
        fs::write(&path, "theirs").unwrap();
        drop(ServicesForbidden::begin(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
    }
}
