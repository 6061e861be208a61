//! A person with a home folder and a git: what they have configured is what stands in their home, and nothing else.

use std::path::{Path, PathBuf};

use crate::{Act, Failure, Git, Place, Programs, Who, place};

/// Somebody at a machine.
#[derive(Clone, Debug)]
pub struct Person {
    who: Who,
    name: String,
    home: PathBuf,
    git: Git,
    environment: Vec<(String, String)>,
}

impl Person {
    /// Somebody with an empty home in `home`, and the newest git.
    pub fn new(place: &Place, home: &str, who: Who) -> Result<Self, Failure> {
        let home = place.folder(home, who, 0o700)?;
        let name = format!("{who:?}");
        let programs = Programs::find()?;
        // git looks for `git-credential-daypass` on the path.
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", programs.folder().display());
        Ok(Self { who, name, home, git: Programs::git()?, environment: vec![("PATH".to_owned(), path)] })
    }

    /// The same person with another git.
    #[must_use]
    pub fn with_git(&self, git: Git) -> Self {
        Self { git, ..self.clone() }
    }

    /// The same person with one more variable.
    #[must_use]
    pub fn with_env(&self, name: &str, value: impl AsRef<Path>) -> Self {
        let mut person = self.clone();
        person.environment.push((name.to_owned(), value.as_ref().display().to_string()));
        person
    }

    /// Their home folder.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Who they are.
    pub fn who(&self) -> Who {
        self.who
    }

    /// A program that they start in their home.
    pub fn act(&self, program: impl Into<PathBuf>) -> Act {
        let act = Act::new(program, self.who)
            .env("HOME", &self.home)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            // Nobody sits there to type a password.
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_AUTHOR_NAME", &self.name)
            .env("GIT_AUTHOR_EMAIL", format!("{}@example.com", self.name.to_lowercase()))
            .env("GIT_COMMITTER_NAME", &self.name)
            .env("GIT_COMMITTER_EMAIL", format!("{}@example.com", self.name.to_lowercase()))
            .within(&self.home);
        self.environment.iter().fold(act, |act, (name, value)| act.env(name, value))
    }

    /// git, in a folder below their home; `""` is the home.
    pub fn git<I: IntoIterator<Item = S>, S: AsRef<std::ffi::OsStr>>(&self, folder: &str, arguments: I) -> Act {
        self.act(&self.git.path).args(arguments).within(self.home.join(folder))
    }

    /// A clone, in `folder` below their home.
    pub fn clones(&self, url: &str, folder: &str, options: &[&str]) -> Act {
        self.git("", ["clone", "--quiet"]).args(options).args([url, folder])
    }

    /// A clone with git pointed at Daypass for this resource by hand: before an approval `setup git` does not know it.
    pub fn clones_with_helper(&self, resource: &str, authority: &Path, url: &str, folder: &str) -> Act {
        let settings = [
            format!("credential.{resource}.helper="),
            format!("credential.{resource}.helper=daypass --exclusive"),
            format!("credential.{resource}.useHttpPath=true"),
            format!("http.{resource}.sslCAInfo={}", authority.display()),
        ];
        let settings = settings.iter().flat_map(|setting| ["-c", setting.as_str()]);
        self.git("", settings.chain(["clone", "--quiet", url, folder]))
    }

    /// Writes a file and commits it.
    pub fn commits(&self, folder: &str, file: &str, content: impl AsRef<[u8]>) -> Result<(), Failure> {
        place::write(&self.home.join(folder).join(file), self.who, 0o644, content)?;
        self.git(folder, ["add", file]).run()?.succeeded()?;
        self.git(folder, ["commit", "--quiet", "--message", file]).run()?.succeeded()?;
        Ok(())
    }

    /// Reads a file below their home.
    pub fn reads(&self, file: &str) -> Result<String, Failure> {
        place::read(&self.home.join(file))
    }

    /// Every file below their home, with what stands in it: for looking for what must not stand there.
    pub fn everything(&self) -> Result<Vec<(PathBuf, Vec<u8>)>, Failure> {
        place::files(&self.home)
    }
}
