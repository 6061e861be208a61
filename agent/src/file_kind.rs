//! What stands at a path: in words for whoever expected something else there, and read where it is a file.

use std::{
    fs::{self, File, FileType, Metadata},
    io::{self, Read as _},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::Path,
};

use nix::fcntl::OFlag;

/// The largest text file that is read, in bytes; far above what anybody writes.
const MAX_TEXT: u64 = 1024 * 1024;

/// The kind of a file, with its article.
pub fn kind_in_words(kind: FileType) -> &'static str {
    if kind.is_file() {
        "a regular file"
    } else if kind.is_dir() {
        "a folder"
    } else if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_block_device() {
        "a block device"
    } else {
        "a character device"
    }
}

/// Opens a regular file, or what a link to one leads to, for reading. Nothing else is opened: a pipe would wait for somebody to write, a
/// terminal for somebody to type, and a device has no end.
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

/// Reads a regular file of at most [`MAX_TEXT`] bytes of UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = open_file(path)?.take(MAX_TEXT + 1).read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read <= MAX_TEXT) {
        Ok(text)
    } else {
        Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {MAX_TEXT} bytes")))
    }
}

/// What stands where a socket is to be.
pub enum AtSocket {
    /// Nothing.
    Nothing,
    /// A socket, which can be taken away.
    Socket,
    /// Something else, which is somebody's.
    Other(&'static str),
}

/// Looks at the path of a socket; a link there is something else.
pub fn at_socket(path: &Path) -> io::Result<AtSocket> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => Ok(AtSocket::Socket),
        Ok(found) => Ok(AtSocket::Other(kind_in_words(found.file_type()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(AtSocket::Nothing),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_files_are_read_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let refused = |path: &Path, what: &str| {
            let error = read_text(path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{}", path.display());
            assert_eq!(error.to_string(), format!("it is {what}, and no regular file"));
        };
        // Nobody ever writes to it.
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        refused(&at("fifo"), "a named pipe");
        refused(Path::new("/dev/zero"), "a character device");
        refused(folder.path(), "a folder");
        fs::write(at("file"), "text").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        assert_eq!(read_text(&at("link")).unwrap(), "text");
        fs::write(at("file"), vec![b'x'; usize::try_from(MAX_TEXT).unwrap() + 1]).unwrap();
        assert_eq!(read_text(&at("link")).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
