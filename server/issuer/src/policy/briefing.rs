//! The owner's text of a briefing: `projects/<project>.briefing.md`, Markdown with `{{placeholders}}` for what the policy says.
//!
//! The placeholders are a closed set, so that a typing error is a fault of the policy and not a hole in what somebody reads. The numbers come in
//! when it is rendered for somebody ([`crate::briefing`]); what the owner's text leaves out stands behind it there.

use std::ops::Range;

use daypass_proto::{
    encoding::{Fixed, sha256},
    words::is_shown,
};

use super::fault::{Fault, Reading};

/// The longest text of an owner, in bytes: what comes in is read by people.
const MAX_TEXT: usize = 16 * 1024;
/// The most placeholders in it; a section stands once at most. So what comes in stays in bounds.
const MAX_PLACEHOLDERS: usize = 40;
const OPEN: &str = "{{";
const CLOSE: &str = "}}";

macro_rules! placeholders {
    ($($(#[$doc:meta])* $name:ident = $text:literal),+ $(,)?) => {
        /// What a text can have put in.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub enum Placeholder { $($(#[$doc])* $name),+ }

        impl Placeholder {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// Its word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }
        }
    };
}

placeholders! {
    /// A section: what the grant allows.
    Access = "access",
    /// A section: for how long.
    Duration = "duration",
    /// A section: why so little.
    Why = "why",
    /// A section: how to ask for longer or more, with the decision tree.
    Asking = "asking",
    /// A section: common cases, as commands.
    Examples = "examples",
    /// A section: whom to call.
    Whom = "whom",
    /// The collaborator.
    Collaborator = "collaborator",
    /// The project.
    Project = "project",
    /// The role.
    Role = "role",
    /// The grant.
    Grant = "grant",
    /// The hard end.
    Until = "until",
    /// The longest life of a token.
    TokenLifetime = "token_lifetime",
    /// The longest life of a grant.
    LongestGrant = "longest_grant",
    /// The owners.
    Owners = "owners",
    /// The project's contact.
    Contact = "contact",
}

impl Placeholder {
    /// Whether it stands for a whole section.
    pub const fn is_section(self) -> bool {
        use Placeholder::{Access, Asking, Duration, Examples, Whom, Why};
        matches!(self, Access | Duration | Why | Asking | Examples | Whom)
    }
}

/// One piece of a text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Piece {
    /// As it stands.
    Text(String),
    /// What is put in.
    Put(Placeholder),
}

/// An owner's text, read.
#[derive(Clone, Debug)]
pub struct Template {
    pieces: Vec<Piece>,
    hash: Fixed<32>,
}

impl Template {
    /// The pieces, in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// SHA-256 over the text, before anything is put in.
    pub const fn hash(&self) -> Fixed<32> {
        self.hash
    }
}

/// The text in this file; or every fault of it.
pub(super) fn read(file: &str, text: &str) -> Result<Template, Vec<Fault>> {
    let reading = Reading::new(file, text);
    if text.trim().is_empty() {
        reading.fault_of_file("is empty; take it away, or write what its collaborators should read");
    }
    if text.len() > MAX_TEXT {
        reading.fault_of_file(format!("has {} bytes, and a briefing has {MAX_TEXT} at most", text.len()));
    }
    // It is shown on terminals, where these are commands.
    for (at, found) in text.char_indices().filter(|(_, c)| !is_shown(*c) && !matches!(c, '\n' | '\t' | '\r')) {
        reading.fault(&(at..at), format!("the control character U+{:04X} is not taken", u32::from(found)));
    }
    let pieces = pieces(&reading, text);
    reading.finish(Some(Template { pieces, hash: Fixed(sha256(&[text.as_bytes()])) }))
}

fn pieces(reading: &Reading<'_>, text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let (mut rest, mut from) = (text, 0);
    while let Some((before, behind)) = rest.split_once(OPEN) {
        let opened = from + before.len();
        let at: Range<usize> = opened..opened + OPEN.len();
        pieces.push(Piece::Text(before.to_owned()));
        let line = behind.lines().next().unwrap_or_default();
        let Some((name, _)) = line.split_once(CLOSE) else {
            reading.fault(&at, "`{{` begins a placeholder, and no `}}` ends it on this line");
            return pieces;
        };
        match Placeholder::ALL.iter().find(|known| known.as_str() == name.trim()) {
            Some(known) if known.is_section() && pieces.contains(&Piece::Put(*known)) => {
                reading.fault(&at, format!("`{{{{{}}}}}` stands there already", known.as_str()));
            }
            Some(known) => pieces.push(Piece::Put(*known)),
            None => {
                let known: Vec<_> = Placeholder::ALL.iter().map(|known| known.as_str()).collect();
                let message =
                    format!("`{{{{{name}}}}}` is no placeholder; known are `{{{{{}}}}}`", known.join("}}`, `{{"));
                reading.fault(&at, message);
            }
        }
        let end = name.len() + CLOSE.len();
        from = at.end + end;
        rest = behind.get(end..).unwrap_or_default();
    }
    pieces.push(Piece::Text(rest.to_owned()));
    if pieces.iter().filter(|piece| matches!(piece, Piece::Put(_))).count() > MAX_PLACEHOLDERS {
        reading.fault_of_file(format!("has more than {MAX_PLACEHOLDERS} placeholders"));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let found = read("projects/apollo.briefing.md", text).err().unwrap_or_default();
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn text_and_placeholders_come_in_order() {
        let template = read("f", "You are {{collaborator}}.\n{{ until }}{{access}} }} { {x}").unwrap();
        let text = |text: &str| Piece::Text(text.to_owned());
        assert_eq!(
            template.pieces(),
            [
                text("You are "),
                Piece::Put(Placeholder::Collaborator),
                text(".\n"),
                Piece::Put(Placeholder::Until),
                text(""),
                Piece::Put(Placeholder::Access),
                text(" }} { {x}"),
            ]
        );
        assert_ne!(template.hash(), read("f", "You are {{collaborator}}.").unwrap().hash());
    }

    #[test]
    fn every_fault_is_told_at_once_with_its_line_and_the_line_itself() {
        let found = faults("# Apollo\nUntil {{untill}}, {{until}}.\nESC \u{1b}[2J\nOwners: {{owners\n}} {{nothing}}");
        let told = |line: usize, words: &str, text: &str| {
            let begins = format!("projects/apollo.briefing.md:{line}: ");
            let fits = |fault: &&String| fault.starts_with(&begins) && fault.contains(words) && fault.ends_with(text);
            assert_eq!(found.iter().filter(fits).count(), 1, "{line} {words}: {found:#?}");
        };
        told(
            2,
            "`{{untill}}` is no placeholder; known are `{{access}}`, `{{duration}}`",
            "Until {{untill}}, {{until}}.",
        );
        told(3, "U+001B", "ESC \u{fffd}[2J");
        told(4, "no `}}` ends it", "Owners: {{owners");
        assert_eq!(found.len(), 3, "{found:#?}");
        // What would turn words round, or hide between them, on the way to whoever accepts it.
        for hidden in ['\u{202e}', '\u{2066}', '\u{200b}', '\u{2028}', '\u{feff}', '\u{e0041}', '\u{85}', '\u{7f}'] {
            assert_eq!(faults(&format!("a{hidden}b")).len(), 1, "{hidden:?}");
        }
        assert!(faults("Grüße – “soon”, 🦀, 日本\r\n\tend").is_empty());
        assert!(faults(&"{{until}} ".repeat(MAX_PLACEHOLDERS)).is_empty());
        for (text, words) in [
            (String::new(), "is empty"),
            (" \n".to_owned(), "is empty"),
            ("a".repeat(MAX_TEXT + 1), "at most"),
            ("{{{access}}}".to_owned(), "`{{{access}}` is no placeholder"),
            ("{{}}".to_owned(), "is no placeholder"),
            ("{{".to_owned(), "no `}}`"),
            ("{{why}} and {{why}}".to_owned(), "stands there already"),
            ("{{until}} ".repeat(MAX_PLACEHOLDERS + 1), "more than"),
        ] {
            let found = faults(&text);
            assert!(found.len() == 1 && found.iter().all(|fault| fault.contains(words)), "{words}: {found:#?}");
        }
    }

    proptest! {
        /// What is read is what stood there, and nothing else: pieces put together again are the text.
        #[test]
        fn no_character_is_lost(text in "([a-z \n\u{e9}{}]|\\{\\{(access|until|owners)\\}\\}){1,40}") {
            match read("f", &text) {
                Ok(template) => {
                    let whole: String = template.pieces().iter().map(|piece| match piece {
                        Piece::Text(text) => text.clone(),
                        Piece::Put(placeholder) => format!("{{{{{}}}}}", placeholder.as_str()),
                    }).collect();
                    // Spaces within the braces are the one thing that may be written otherwise.
                    let unspaced = |text: &str| text.replace(' ', "");
                    prop_assert_eq!(unspaced(&whole), unspaced(&text));
                }
                Err(faults) => prop_assert!(!faults.is_empty()),
            }
        }
    }
}
