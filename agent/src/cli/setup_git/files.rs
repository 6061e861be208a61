//! The two files, and changing them without ever leaving half of one.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use daypass_proto::local_api::ErrorCode;
use directories::BaseDirs;
use serde::Serialize;

use crate::{
    cli::failure::Failure,
    file_kind::{kind_in_words, read_text},
};

/// Where the two files are.
pub(super) struct Places {
    /// The user's git configuration, as `git config --global` would choose it.
    pub(super) git: PathBuf,
    /// Our own.
    pub(super) ours: PathBuf,
}

impl Places {
    pub(super) fn of_this_user() -> Result<Self, Failure> {
        let folders = BaseDirs::new()
            .ok_or_else(|| Failure::new(ErrorCode::Configuration, "this user has no home folder", "set HOME"))?;
        let named = std::env::var_os("GIT_CONFIG_GLOBAL").filter(|path| !path.is_empty()).map(PathBuf::from);
        Self::within(folders.home_dir(), folders.config_dir(), named)
    }

    pub(super) fn within(home: &Path, config: &Path, named: Option<PathBuf>) -> Result<Self, Failure> {
        // What is written names our file, and is read from other folders than this one.
        for folder in [home, config] {
            if !folder.is_absolute() {
                return Err(Failure::new(
                    ErrorCode::Configuration,
                    format!("this user's folder is `{}`, which is no absolute path", folder.display()),
                    "set HOME to the home folder's full path, then run this again",
                ));
            }
        }
        let usual = home.join(".gitconfig");
        let other = config.join("git/config");
        let git = named.unwrap_or(if !usual.exists() && other.exists() { other } else { usual });
        Ok(Self { git, ours: config.join("daypass/git.config") })
    }

    pub(super) fn read_git(&self) -> Result<Option<String>, Failure> {
        read(&self.git)
    }

    pub(super) fn read_ours(&self) -> Result<Option<String>, Failure> {
        read(&self.ours)
    }
}

/// Refuses what is there and is no file: renaming over a device takes it away from everybody, and reading a pipe waits for ever.
fn must_be_file(path: &Path) -> Result<(), Failure> {
    let kind = match fs::metadata(path) {
        Ok(found) if found.is_file() => return Ok(()),
        // Whatever else is wrong with it, reading or writing it says so.
        Err(_) => return Ok(()),
        Ok(found) => kind_in_words(found.file_type()),
    };
    // git's own way of saying it (git(1), GIT_CONFIG_GLOBAL).
    let (message, next_step) = if path.canonicalize().is_ok_and(|path| path == Path::new("/dev/null")) {
        (
            format!("the git configuration is `{}`: git is told to have no global configuration", path.display()),
            "unset GIT_CONFIG_GLOBAL, or let it name a file, then run this again",
        )
    } else {
        (
            format!("`{}` is {kind}, and no file", path.display()),
            "let GIT_CONFIG_GLOBAL name a file, or unset it; then run this again",
        )
    };
    Err(Failure::new(ErrorCode::Configuration, message, next_step))
}

fn read(path: &Path) -> Result<Option<String>, Failure> {
    must_be_file(path)?;
    match read_text(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::new(
            ErrorCode::Configuration,
            format!("could not read `{}`: {error}", path.display()),
            "make the file readable for you, as UTF-8 text",
        )),
    }
}

/// What is to become of one file.
#[derive(Serialize)]
pub(super) struct Change {
    path: PathBuf,
    #[serde(skip)]
    before: Option<String>,
    /// The text afterwards; `None` where the file goes away.
    after: Option<String>,
    #[serde(skip)]
    shown: String,
}

impl Change {
    pub(super) fn new(path: &Path, before: Option<String>, after: Option<String>, shown: String) -> Self {
        Self { path: path.to_owned(), before, after, shown }
    }

    pub(super) fn changes_something(&self) -> bool {
        self.before != self.after
    }

    /// For the person who is asked.
    pub(super) fn describe(&self, undo: bool) -> String {
        let path = self.path.display();
        let what = match (&self.before, &self.after, undo) {
            (None, None, _) => return format!("{path}: is not there"),
            (Some(_), None, _) => return format!("{path}: is removed; nothing else is in it"),
            (before, after, _) if before == after => format!("{path}: has already"),
            (Some(_), Some(_), true) => format!("{path}: without"),
            (None, Some(_), _) => format!("{path}: new, with"),
            (Some(_), Some(after), false) if *after == self.shown => format!("{path}: becomes"),
            (Some(_), Some(_), false) => format!("{path}: at its end"),
        };
        let lines: Vec<String> = self.shown.lines().map(|line| format!("    {line}").trim_end().to_owned()).collect();
        format!("{what}\n\n{}\n", lines.join("\n"))
    }

    /// Does it: under git's own lock, by renaming a finished file into place. A link stays a link.
    pub(super) fn apply(&self) -> Result<(), Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(
                ErrorCode::Configuration,
                format!("could not change `{}`: {error}", self.path.display()),
                "see to the permissions of the file and its folder, then run this again",
            )
        };
        must_be_file(&self.path)?;
        let target = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        let Some(after) = &self.after else {
            return remove(&self.path).map_err(failed);
        };
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut lock = target.clone().into_os_string();
        lock.push(".lock");
        let lock = PathBuf::from(lock);
        let file = match OpenOptions::new().write(true).create_new(true).open(&lock) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(Failure::new(
                    ErrorCode::Configuration,
                    format!("another program is changing `{}`", target.display()),
                    format!("try again; where no git runs, remove `{}`", lock.display()),
                ));
            }
            Err(error) => return Err(failed(error)),
        };
        let done = finish(file, after, &target, &lock);
        if done.is_err() {
            let _ = fs::remove_file(&lock);
        }
        done.map_err(failed)
    }
}

/// Removes the file, and its folder where that was ours alone; of a link, only the content.
fn remove(path: &Path) -> std::io::Result<()> {
    if path.is_symlink() {
        return fs::write(path, "");
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if let Some(folder) = path.parent().filter(|folder| folder.file_name().is_some_and(|name| name == "daypass")) {
        // Something else may be in it; then it stays.
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}

fn finish(mut file: File, text: &str, target: &Path, lock: &Path) -> std::io::Result<()> {
    if let Ok(existing) = fs::metadata(target) {
        file.set_permissions(existing.permissions())?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(lock, target)
}
