//! Files that people write: configuration and policy.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

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
