//! Files: those that people name, and where files are. Whatever a person names is read here.

use std::{
    fs::{self, File, FileType, Metadata},
    io::{self, Read},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nix::fcntl::OFlag;

/// The largest configuration or policy file that is read, in bytes; far above what anybody writes.
pub const MAX_TEXT: u64 = 1024 * 1024;

/// Opens a regular file, or what a link to one leads to, for reading. Nothing else is opened: a pipe would wait for somebody to write, a
/// terminal for somebody to type, and a device has no end.
///
/// # Errors
/// The system's, `InvalidInput` where something else is there.
pub fn open_file(path: &Path) -> io::Result<File> {
    let must_be_file = |found: Metadata| match found.is_file() {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("it is {}, and no regular file", kind_in_words(found.file_type())),
        )),
    };
    must_be_file(fs::metadata(path)?)?;
    // Whatever has taken its place since is not waited for either.
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    must_be_file(file.metadata()?)?;
    Ok(file)
}

/// Reads a regular file; one that is larger than `most` bytes is not read to its end.
///
/// # Errors
/// As [`open_file`], and `FileTooLarge`.
pub fn read_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    read_up_to(open_file(path)?, most)
}

/// Reads to the end; what goes on behind `most` bytes is an error.
///
/// # Errors
/// The reader's, `FileTooLarge`.
pub fn read_up_to(from: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|read| read <= most) {
        Ok(bytes)
    } else {
        Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {most} bytes")))
    }
}

/// Reads a regular file of UTF-8 text, of at most [`MAX_TEXT`] bytes.
///
/// # Errors
/// As [`read_file`], and `InvalidData` where the content is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read_file(path, MAX_TEXT)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

fn kind_in_words(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
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
    use std::os::unix::net::UnixListener;

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
    }

    #[test]
    fn regular_files_are_read_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let refused = |path: &Path, what: &str| {
            let error = read_file(path, 10).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{}", path.display());
            assert_eq!(error.to_string(), format!("it is {what}, and no regular file"));
        };
        // Nobody ever writes to it.
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        refused(&at("fifo"), "a pipe");
        refused(Path::new("/dev/zero"), "a device");
        refused(folder.path(), "a folder");
        let _listener = UnixListener::bind(at("socket")).unwrap();
        refused(&at("socket"), "a socket");
        std::os::unix::fs::symlink(at("fifo"), at("link-to-fifo")).unwrap();
        refused(&at("link-to-fifo"), "a pipe");
        fs::write(at("file"), b"0123456789").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        assert_eq!(read_file(&at("link"), 10).unwrap(), b"0123456789");
        assert_eq!(read_file(&at("file"), 9).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read_file(&at("none"), 9).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(read_up_to(io::repeat(0), 9).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
