//! What stands at a path, in words for whoever expected something else there.

use std::{
    fs::{self, FileType},
    io,
    os::unix::fs::FileTypeExt as _,
    path::Path,
};

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
