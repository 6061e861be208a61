//! What stands at a path, in words for whoever expected something else there.

use std::{fs::FileType, os::unix::fs::FileTypeExt as _};

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
