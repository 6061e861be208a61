//! pkt-lines (gitprotocol-common(5)): four hexadecimal digits of length, themselves included, and the data.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The most data that one pkt-line holds.
pub const MAX_DATA: usize = 65_516;

/// One pkt-line.
#[derive(Debug, Eq, PartialEq)]
pub enum Packet {
    /// `0000`.
    Flush,
    /// Data, never empty.
    Data(Vec<u8>),
}

/// Reads one. `Ok(None)` where the input ends before its first byte.
///
/// # Errors
/// `InvalidData` for a length that cannot be, `UnexpectedEof` for one that ends inside.
pub async fn read(input: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Packet>> {
    let mut length = [0; 4];
    let mut filled = 0;
    while let Some(rest) = length.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match input.read(rest).await? {
            0 if filled == 0 => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
    }
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "not a pkt-line length");
    // `from_str_radix` would take a sign.
    if !length.iter().all(u8::is_ascii_hexdigit) {
        return Err(invalid());
    }
    let text = std::str::from_utf8(&length).map_err(|_| invalid())?;
    match usize::from_str_radix(text, 16).map_err(|_| invalid())? {
        0 => Ok(Some(Packet::Flush)),
        // 1 to 3 are special in protocol v2 and nothing in a push; 4 is an empty line, which git forbids.
        1..=4 => Err(invalid()),
        total if total - 4 > MAX_DATA => Err(invalid()),
        total => {
            let mut data = vec![0; total - 4];
            input.read_exact(&mut data).await?;
            Ok(Some(Packet::Data(data)))
        }
    }
}

/// Appends a pkt-line; `data` must be 1 to [`MAX_DATA`] bytes, which every caller's limits see to.
pub fn write_data(out: &mut Vec<u8>, data: &[u8]) {
    out.extend_from_slice(format!("{:04x}", data.len() + 4).as_bytes());
    out.extend_from_slice(data);
}

/// Appends `0000`.
pub fn write_flush(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0000");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn read_all(bytes: &[u8]) -> io::Result<Option<Packet>> {
        read(&mut &bytes[..]).await
    }

    #[tokio::test]
    async fn reads_what_is_there_and_nothing_else() {
        assert_eq!(read_all(b"").await.unwrap(), None);
        assert_eq!(read_all(b"0000").await.unwrap(), Some(Packet::Flush));
        assert_eq!(read_all(b"0006ab").await.unwrap(), Some(Packet::Data(b"ab".to_vec())));
        for bad in [&b"0"[..], b"0001", b"0004", b"+006ab", b"fff5", b"zzzz", b"0006a", b"-001"] {
            assert!(read_all(bad).await.is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(data in prop::collection::vec(any::<u8>(), 1..2000)) {
            let mut out = Vec::new();
            write_data(&mut out, &data);
            let back = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(read_all(&out)).unwrap();
            prop_assert_eq!(back, Some(Packet::Data(data)));
        }
    }
}
