//! The folder of a story. Short names: a Unix socket's path has 107 bytes.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::{Failure, Who};

/// The longest path of a Unix socket, with room for the names below ours.
const LONGEST_ROOT: usize = 50;

/// A folder that goes away with the story.
#[derive(Debug)]
pub struct Place {
    root: TempDir,
}

impl Place {
    /// A new folder, which everybody can enter.
    pub fn new() -> Result<Self, Failure> {
        Self::of(tempfile::Builder::new().prefix("dp-").tempdir())
    }

    /// The same in `folder`, where it matters which disk that is.
    pub fn within(folder: &Path) -> Result<Self, Failure> {
        Self::of(tempfile::Builder::new().prefix("dp-").tempdir_in(folder))
    }

    fn of(made: io::Result<TempDir>) -> Result<Self, Failure> {
        let root = made.map_err(Failure::machine("make a temporary folder"))?;
        crate::ending::opened(root.path().to_owned());
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755))
            .map_err(Failure::machine(format!("open `{}` to everybody", root.path().display())))?;
        if root.path().as_os_str().len() > LONGEST_ROOT {
            return Err(Failure::unexpected(
                format!(
                    "a temporary folder with a path of at most {LONGEST_ROOT} bytes, for the sockets in it; set `TMPDIR`"
                ),
                root.path().display(),
            ));
        }
        Ok(Self { root })
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// A folder in it that belongs to `who`, with this mode; parents are made as needed, open to everybody.
    pub fn folder(&self, name: &str, who: Who, mode: u32) -> Result<PathBuf, Failure> {
        let path = self.path().join(name);
        folder(&path, who, mode)?;
        Ok(path)
    }
}

/// Makes a folder that belongs to `who`.
pub(crate) fn folder(path: &Path, who: Who, mode: u32) -> Result<(), Failure> {
    let making = || Failure::machine(format!("make the folder `{}`", path.display()));
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(making())?;
    }
    fs::DirBuilder::new().mode(mode).create(path).map_err(making())?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(making())?;
    who.own(path)
}

/// Writes a file that belongs to `who`.
pub(crate) fn write(path: &Path, who: Who, mode: u32, content: impl AsRef<[u8]>) -> Result<(), Failure> {
    let writing = || Failure::machine(format!("write `{}`", path.display()));
    fs::write(path, content).map_err(writing())?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(writing())?;
    who.own(path)
}

/// Reads a text file.
pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(Failure::machine(format!("read `{}`", path.display())))
}

/// Copies a folder with all that is in it, giving it to `who`: what a thief does with a disk.
pub fn copy_folder(from: &Path, to: &Path, who: Who) -> Result<(), Failure> {
    let reading = || Failure::machine(format!("copy `{}`", from.display()));
    if !to.exists() {
        folder(to, who, 0o700)?;
    }
    for entry in fs::read_dir(from).map_err(reading())? {
        let entry = entry.map_err(reading())?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type().map_err(reading())?;
        if kind.is_dir() {
            copy_folder(&entry.path(), &target, who)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &target).map_err(reading())?;
            who.own(&target)?;
        }
    }
    Ok(())
}

/// Every file below a folder, with its content.
pub fn files(folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, Failure> {
    let reading = || Failure::machine(format!("read `{}`", folder.display()));
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(reading())? {
        let entry = entry.map_err(reading())?;
        let kind = entry.file_type().map_err(reading())?;
        if kind.is_dir() {
            found.extend(files(&entry.path())?);
        } else if kind.is_file() {
            let content = fs::read(entry.path()).map_err(reading())?;
            found.push((entry.path(), content));
        }
    }
    Ok(found)
}
