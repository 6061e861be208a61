//! Globs over components: `*` takes any run of bytes within one component, `**` as a whole component takes one or more components.
//! Bytes, case-sensitive. What the components are of, refs or paths, is for the caller.

/// The component that takes one or more.
pub(super) const ACROSS: &[u8] = b"**";

/// Whether `text` matches. Neither has empty components.
pub(super) fn matches(pattern: &[&[u8]], text: &[&[u8]]) -> bool {
    wildcard(pattern, text, |part| *part == ACROSS, 1, |glob, part| component_matches(glob, part))
}

/// Whether everything that matches `inner` evidently matches `outer`: the wildcards of `inner` count as symbols that only the
/// same or a wider wildcard of `outer` takes. Never yes where the truth is no; may be no where the truth is yes.
pub(super) fn is_within(inner: &[&[u8]], outer: &[&[u8]]) -> bool {
    wildcard(outer, inner, |part| *part == ACROSS, 1, |glob, part| *part != ACROSS && component_matches(glob, part))
}

/// Whether `**` stands beside other characters in a component, where it would mean nothing.
pub(super) fn is_mixed(part: &str) -> bool {
    part.contains("**") && part.as_bytes() != ACROSS
}

/// Within one component `*` takes any run of bytes; a `*` in `part` (when patterns are compared) is a byte that only `*` takes,
/// since no glob has it as a literal.
fn component_matches(glob: &[u8], part: &[u8]) -> bool {
    wildcard(glob, part, |symbol| *symbol == b'*', 0, |one, other| one == other && *other != b'*')
}

/// Wildcard matching over any symbols: greedy with one point to return to, so quadratic at worst and without recursion.
/// A wildcard takes at least `least` symbols.
fn wildcard<T>(
    pattern: &[T],
    text: &[T],
    is_wild: impl Fn(&T) -> bool,
    least: usize,
    equal: impl Fn(&T, &T) -> bool,
) -> bool {
    // INVARIANT: `back` is the last wildcard met, and how much of the text it has taken so far.
    let (mut at, mut seen, mut back) = (0, 0, None);
    loop {
        match (pattern.get(at), text.get(seen)) {
            (Some(symbol), _) if is_wild(symbol) => {
                at += 1;
                seen += least;
                if seen > text.len() {
                    return false;
                }
                back = Some((at, seen));
            }
            (Some(symbol), Some(other)) if equal(symbol, other) => {
                at += 1;
                seen += 1;
            }
            (None, None) => return true,
            (_, None) => return false,
            (_, Some(_)) => match back {
                Some((after, taken)) => {
                    at = after;
                    seen = taken + 1;
                    back = Some((after, seen));
                }
                None => return false,
            },
        }
    }
}
