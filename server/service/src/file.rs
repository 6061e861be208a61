//! Files: those that people write (configuration and policy), and where files are.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

/// The largest configuration or policy file that is read, in bytes; far above what anybody writes.
pub const MAX_TEXT: u64 = 1024 * 1024;

/// Reads a file of UTF-8 text; one that is larger than [`MAX_TEXT`] is not read to its end.
///
/// # Errors
/// The system's, `InvalidData` where the content is not UTF-8, `FileTooLarge`.
pub fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(MAX_TEXT + 1).read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read <= MAX_TEXT) {
        Ok(text)
    } else {
        Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {MAX_TEXT} bytes")))
    }
}

/// The folder that a file is in. A bare name is in the working folder, which `Path::parent` gives as a path that cannot be opened.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes durable what was made, renamed or removed in the folder of `path`.
///
/// # Errors
/// The system's.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

/// The file beside `path` whose name goes on with `suffix`.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_bare_name_is_in_the_working_folder() {
        let cases = [("issuer.db", "."), ("x/issuer.db", "x"), ("/issuer.db", "/"), ("./issuer.db", ".")];
        for (path, folder) in cases {
            assert_eq!(folder_of(Path::new(path)), Path::new(folder), "{path}");
        }
        sync_folder(Path::new("issuer.db")).unwrap();
        assert_eq!(beside(Path::new("x/issuer.db"), "-wal"), Path::new("x/issuer.db-wal"));
    }

    #[test]
    fn text_is_read_within_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let read = |content: &[u8]| {
            fs::write(&path, content).unwrap();
            read_text(&path).map_err(|error| error.kind())
        };
        let most = "x".repeat(usize::try_from(MAX_TEXT).unwrap());
        assert_eq!(read(most.as_bytes()), Ok(most.clone()));
        assert_eq!(read(format!("{most}x").as_bytes()), Err(io::ErrorKind::FileTooLarge));
        assert_eq!(read(b"a = \"\xff\""), Err(io::ErrorKind::InvalidData));
        assert_eq!(read_text(Path::new("/dev/zero")).map_err(|error| error.kind()), Err(io::ErrorKind::FileTooLarge));
    }
}
