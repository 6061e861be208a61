//! The programs of a story: those that cargo built, and those that the system has.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use tempfile::TempDir;

use crate::{Failure, Who};

const BUILT: [&str; 4] = ["daypass", "git-credential-daypass", "daypass-issuer", "daypass-gate"];
const SYSTEM_FOLDERS: [&str; 6] = ["/usr/local/bin", "/usr/local/sbin", "/usr/bin", "/usr/sbin", "/bin", "/sbin"];

/// Where the built programs are, reachable by everybody in the story.
#[derive(Clone, Debug)]
pub struct Programs {
    folder: PathBuf,
}

/// A git on this machine.
#[derive(Clone, Debug)]
pub struct Git {
    /// The program.
    pub path: PathBuf,
    /// Its version, major and minor.
    pub version: (u32, u32),
}

impl Programs {
    /// Finds the programs beside this one: cargo puts a binary into the profile's folder and a test into `deps` below it.
    pub fn find() -> Result<Self, Failure> {
        Self::find_these(&BUILT)
    }

    /// The same, where these are all that is needed.
    pub fn find_these(needed: &[&str]) -> Result<Self, Failure> {
        static COPY: OnceLock<Option<(TempDir, PathBuf)>> = OnceLock::new();
        let own = env::current_exe().map_err(Failure::machine("find this program"))?;
        let built = own
            .ancestors()
            .skip(1)
            .take(2)
            .find(|folder| needed.iter().all(|program| folder.join(program).is_file()))
            .ok_or_else(|| Failure::Missing {
                program: "daypass-issuer".to_owned(),
                next_step: "build all programs first: `cargo xtask test` does, or `cargo build --workspace --bins`",
            })?;
        if !Who::can_be_chosen() || reachable_by_others(built) {
            return Ok(Self { folder: built.to_owned() });
        }
        // Root's own folders are closed to the uids of the story. One copy for all stories of this process.
        let copy = COPY.get_or_init(|| copy(built).ok());
        match copy {
            Some((_, folder)) => Ok(Self { folder: folder.clone() }),
            None => Err(Failure::Missing {
                program: "a copy of the programs".to_owned(),
                next_step: "the temporary folder could not take one; free some space there or set `TMPDIR`",
            }),
        }
    }

    /// The folder of the built programs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// One of the built programs.
    pub fn built(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A program of the system.
    pub fn system(name: &str) -> Result<PathBuf, Failure> {
        SYSTEM_FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file()).ok_or_else(|| {
            Failure::Missing { program: name.to_owned(), next_step: "`cargo xtask packages` says what to install" }
        })
    }

    /// Every git on this machine, the newest first.
    pub fn gits() -> Vec<Git> {
        let mut gits: Vec<Git> =
            SYSTEM_FOLDERS.iter().filter_map(|folder| git(&Path::new(folder).join("git"))).collect();
        gits.sort_by_key(|git| std::cmp::Reverse(git.version));
        gits.dedup_by(|a, b| a.version == b.version);
        gits
    }

    /// The newest git.
    pub fn git() -> Result<Git, Failure> {
        Self::gits().into_iter().next().ok_or_else(|| Failure::Missing {
            program: "git".to_owned(),
            next_step: "`cargo xtask packages` says what to install",
        })
    }

    /// A git that is at least, or older than, 2.46: the first that lets a helper choose the authentication scheme.
    pub fn git_with_authtype(with: bool) -> Option<Git> {
        Self::gits().into_iter().find(|git| (git.version >= (2, 46)) == with)
    }
}

impl Git {
    /// `git-http-backend` of this git.
    pub fn http_backend(&self) -> Result<PathBuf, Failure> {
        let folder =
            Command::new(&self.path).arg("--exec-path").output().map_err(Failure::machine("ask git for its folder"))?;
        let path = PathBuf::from(String::from_utf8_lossy(&folder.stdout).trim()).join("git-http-backend");
        if path.is_file() {
            Ok(path)
        } else {
            Err(Failure::Missing { program: path.display().to_string(), next_step: "it comes with git's own package" })
        }
    }
}

fn git(path: &Path) -> Option<Git> {
    let answer = Command::new(path).arg("--version").output().ok()?;
    let text = String::from_utf8(answer.stdout).ok()?;
    let mut numbers = text.strip_prefix("git version ")?.split('.').map(|number| number.trim().parse().ok());
    Some(Git { path: path.to_owned(), version: (numbers.next()??, numbers.next()??) })
}

fn reachable_by_others(folder: &Path) -> bool {
    folder.ancestors().all(|part| fs::metadata(part).is_ok_and(|part| part.permissions().mode() & 0o001 != 0))
}

fn copy(built: &Path) -> Result<(TempDir, PathBuf), std::io::Error> {
    let folder = tempfile::Builder::new().prefix("dp-programs-").tempdir()?;
    // A static is never dropped.
    crate::ending::opened(folder.path().to_owned());
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    for program in BUILT.iter().filter(|program| built.join(program).is_file()) {
        let to = folder.path().join(program);
        fs::copy(built.join(program), &to)?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
    }
    let path = folder.path().to_owned();
    Ok((folder, path))
}
