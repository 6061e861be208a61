//! What somebody writes for others to read: reasons, contacts, answers.
//!
//! They are shown on terminals and in lists of whoever decides, so that they are one line of characters that are what they look like. A control
//! character could move the cursor, and one that turns the direction of writing could make a name or a code read as another (Unicode TR 36).

use thiserror::Error;

/// The longest that somebody reads, in characters.
pub const LONGEST: usize = 1000;

/// Why a text is none to be shown to others.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum WordsError {
    /// Nothing, or white space.
    #[error("is empty; say it in words")]
    Empty,
    /// Too long.
    #[error("has {0} characters, and at most {LONGEST} are kept; say it in fewer words")]
    Long(usize),
    /// Not to be seen, or not what it looks like.
    #[error(
        "has the character U+{:04X}, which is not shown, breaks the line, or turns what stands beside it; write one line of plain words",
        u32::from(*.0)
    )]
    Character(char),
}

/// The words, without white space around them.
pub fn words(text: &str) -> Result<&str, WordsError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(WordsError::Empty);
    }
    match text.chars().count() {
        count if count > LONGEST => return Err(WordsError::Long(count)),
        _ => {}
    }
    match text.chars().find(|c| !is_shown(*c)) {
        Some(character) => Err(WordsError::Character(character)),
        None => Ok(text),
    }
}

/// Whether a character is to be seen where it stands, and is what it looks like: no control, and none that turns the direction of writing.
pub fn is_shown(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// What a machine, or somebody who was not asked for words, says, as it may stand on a terminal: each character that is no letter, digit, space or ASCII
/// sign becomes U+FFFD. It could otherwise move the cursor, and write another comparison code over the one that is shown.
pub fn harmless(text: &str) -> String {
    let is_harmless = |c: char| c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric();
    text.chars().map(|c| if is_harmless(c) { c } else { '\u{fffd}' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_one_line_of_what_it_looks_like() {
        for good in [
            "lost on a train",
            "  für Prüfung №7 – 完了  ",
            "مرحبا",
            "נשבר",
            "\u{1f469}\u{200d}\u{1f4bb} done",
            &"x".repeat(1000),
        ] {
            assert_eq!(words(good), Ok(good.trim()), "{good}");
        }
        for (bad, error) in [
            ("", WordsError::Empty),
            (" \t ", WordsError::Empty),
            (&"ü".repeat(1001)[..], WordsError::Long(1001)),
            ("a\nb", WordsError::Character('\n')),
            ("a\0b", WordsError::Character('\0')),
            ("a\u{1b}[2Ab", WordsError::Character('\u{1b}')),
            ("a\u{9b}b", WordsError::Character('\u{9b}')),
            ("a\u{202e}b", WordsError::Character('\u{202e}')),
            ("a\u{2066}b", WordsError::Character('\u{2066}')),
            ("a\u{200b}b", WordsError::Character('\u{200b}')),
            ("a\u{feff}b", WordsError::Character('\u{feff}')),
        ] {
            assert_eq!(words(bad), Err(error), "{bad:?}");
        }
        assert!(WordsError::Character('\u{202e}').to_string().contains("U+202E"));
    }

    #[test]
    fn what_others_say_moves_no_cursor() {
        for (said, shown) in [
            ("büro-7 (Debian 12)", "büro-7 (Debian 12)"),
            ("laptop\u{1b}[2ACode: AAAA-AAAA", "laptop\u{fffd}[2ACode: AAAA-AAAA"),
            ("a\nb\tc\u{9b}d", "a\u{fffd}b\u{fffd}c\u{fffd}d"),
            ("a\u{202e}b\u{200b}c\u{2066}", "a\u{fffd}b\u{fffd}c\u{fffd}"),
        ] {
            assert_eq!(harmless(said), shown, "{said:?}");
        }
    }
}
