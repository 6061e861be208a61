//! Clients that we did not write: made from a lock file by their language's own package manager, and run as a story's somebody.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use crate::{Act, Failure, Place, Programs, Who, copy_folder};

/// How package managers say that nobody answered. A package that is refused says something else, and is a failure.
const NOBODY_ANSWERED: [&str; 10] = [
    "ENOTFOUND",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "ETIMEDOUT",
    "ENETUNREACH",
    "NewConnectionError",
    "NameResolutionError",
    "ConnectTimeoutError",
    "ProxyError",
];

/// Which language's client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Language {
    /// `tests/interop/openid-client`, by npm.
    JavaScript,
    /// `tests/interop/requests-oauth2client`, by pip.
    Python,
}

/// A client with its libraries, ready to run.
#[derive(Debug)]
pub struct ForeignClient {
    language: Language,
    folder: PathBuf,
}

impl ForeignClient {
    /// Installs the libraries that the lock file names, and no others; no code of theirs runs meanwhile. `None`, said aloud, where the
    /// registry does not answer; under CI that is a failure.
    pub fn install(place: &Place, language: Language) -> Result<Option<Self>, Failure> {
        let (name, registry) = match language {
            Language::JavaScript => ("openid-client", "npm"),
            Language::Python => ("requests-oauth2client", "PyPI"),
        };
        let folder = place.path().join(name);
        copy_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("interop").join(name), &folder, Who::Server)?;
        match language {
            Language::JavaScript => {
                let words = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"];
                let npm = run(Command::new("npm").args(words).current_dir(&folder))?;
                if !npm.status.success() {
                    return unreachable_registry(name, registry, &npm);
                }
            }
            Language::Python => {
                // Debian's, whose folder everybody can reach.
                let made =
                    run(Command::new(Programs::system("python3")?).args(["-m", "venv"]).arg(folder.join("venv")))?;
                if !made.status.success() {
                    return Err(Failure::unexpected("a Python environment", told(&made)));
                }
                let words = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1"];
                let mut pip = Command::new(folder.join("venv/bin/python"));
                pip.args(words).args(["--require-hashes", "--only-binary", ":all:", "--requirement"]);
                let pip = run(pip.arg(folder.join("requirements.txt")))?;
                if !pip.status.success() {
                    return unreachable_registry(name, registry, &pip);
                }
            }
        }
        open_to_everybody(&folder)?;
        Ok(Some(Self { language, folder }))
    }

    /// The client's story, as `who`.
    pub fn act(&self, who: Who) -> Result<Act, Failure> {
        Ok(match self.language {
            // The first flag is for Node 18, where the Web Crypto API has no global name yet.
            Language::JavaScript => Act::new(Programs::system("node")?, who)
                .arg("--experimental-global-webcrypto")
                .arg(self.folder.join("client.mjs")),
            Language::Python => {
                Act::new(self.folder.join("venv/bin/python"), who).args(["-I", "-B"]).arg(self.folder.join("client.py"))
            }
        }
        .within(&self.folder))
    }
}

/// With our own environment: that is where a machine says which registry it uses, and whose certificates.
fn run(command: &mut Command) -> Result<Output, Failure> {
    let shown = format!("{:?}", command.get_program());
    command.stdin(Stdio::null()).output().map_err(Failure::machine(format!("start {shown}")))
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn unreachable_registry<T>(name: &str, registry: &str, output: &Output) -> Result<Option<T>, Failure> {
    let told = told(output);
    if env::var_os("CI").is_none() && NOBODY_ANSWERED.iter().any(|words| told.contains(words)) {
        crate::say(&format!("skipped: the client `{name}`, since the registry of {registry} packages does not answer"));
        return Ok(None);
    }
    Err(Failure::unexpected(format!("the libraries of `{name}`"), told))
}

/// Whoever started the harness may have a narrow umask; the client runs as somebody else.
fn open_to_everybody(folder: &Path) -> Result<(), Failure> {
    let chmod = run(Command::new(Programs::system("chmod")?).args(["-R", "a+rX"]).arg(folder))?;
    if chmod.status.success() { Ok(()) } else { Err(Failure::unexpected("a readable folder", told(&chmod))) }
}
