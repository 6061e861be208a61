//! Names in angle brackets, and what is put in their place.

/// `input` with each `<name>` that `value` knows replaced.
pub(crate) fn fill(input: &[u8], mut value: impl FnMut(&str) -> Option<Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::with_capacity(input.len());
    let mut rest = input;
    while let Some(open) = rest.iter().position(|byte| *byte == b'<') {
        let (before, behind) = rest.split_at(open);
        out.extend_from_slice(before);
        let close = behind.iter().take(40).position(|byte| *byte == b'>');
        let known = close
            .and_then(|close| std::str::from_utf8(&behind[1..close]).ok().map(|name| (close, name)))
            .and_then(|(close, name)| value(name).map(|value| (close, value)));
        match known {
            Some((close, value)) => {
                out.extend_from_slice(&value);
                rest = &behind[close + 1..];
            }
            None => {
                out.push(b'<');
                rest = &behind[1..];
            }
        }
    }
    out.extend_from_slice(rest);
    out
}
