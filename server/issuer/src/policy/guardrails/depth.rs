//! How deep a rule may be. Cedar's parser, its checks and what frees its trees call themselves for each level, on a stack that a file must not exhaust: it
//! would end the issuer, and with it everybody's access. So what makes levels is counted before anything is parsed.

use crate::policy::fault::Reading;

/// Brackets, and `if`s, within each other. Each is some ten levels of the grammar.
pub(super) const MAX_DEPTH: usize = 24;
/// Signs and words of one rule that make a level each: `&&`, `==`, `.`, an opening bracket, `when`. What stands in a set or a string is none.
pub(super) const MAX_LINKS: usize = 400;

/// Words that make a level.
const WORDS: [&str; 6] = ["has", "in", "is", "like", "when", "unless"];

/// Signs of two characters.
const DOUBLE: [&str; 6] = ["&&", "||", "==", "!=", "<=", ">="];

/// What was counted of the rule that is being read.
#[derive(Default)]
struct Counted {
    depth: usize,
    ifs: usize,
    links: usize,
}

/// Puts down where a rule is too deep; `false` where one is.
pub(super) fn is_bounded(reading: &Reading<'_>) -> bool {
    let mut counted = Counted::default();
    let mut rest = reading.text;
    while let Some(first) = rest.chars().next() {
        let at = reading.text.len() - rest.len();
        let length = match first {
            '"' => string(rest),
            '/' if rest.starts_with("//") => rest.find(['\n', '\r']).unwrap_or(rest.len()),
            '(' | '[' | '{' => {
                counted.depth += 1;
                counted.links += 1;
                1
            }
            ')' | ']' | '}' => {
                counted.depth = counted.depth.saturating_sub(1);
                1
            }
            ';' => {
                counted = Counted { depth: counted.depth, ..Counted::default() };
                1
            }
            '&' | '|' | '=' | '!' | '<' | '>' | '+' | '-' | '*' | '.' => {
                counted.links += 1;
                if DOUBLE.iter().any(|sign| rest.starts_with(sign)) { 2 } else { 1 }
            }
            c if c.is_alphanumeric() || c == '_' => {
                let word = word(rest);
                counted.ifs += usize::from(word == "if");
                counted.links += usize::from(WORDS.contains(&word));
                word.len()
            }
            other => other.len_utf8(),
        };
        if counted.depth + counted.ifs > MAX_DEPTH || counted.links > MAX_LINKS {
            reading.fault(
                &(at..at),
                format!(
                    "the rule is too deep: up to {MAX_DEPTH} brackets and `if`s stand within each other, and a rule has up to {MAX_LINKS} operators; \
                     write several rules, or a set (`[…].contains(…)`)"
                ),
            );
            return false;
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    true
}

/// How long a string is, with its quotes.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::policy::guardrails::{Guardrails, tests::judged};

    /// A rule with this condition.
    fn rule(condition: &str) -> String {
        format!("@id(\"x\")\n@reason(\"x\")\nforbid (principal, action, resource) when {{ {condition} }};\n")
    }

    fn read(text: &str) -> Result<Guardrails, String> {
        let files = [("guardrails/g.cedar", text)].into_iter().collect();
        Guardrails::read(&files).map_err(|faults| faults[0].to_string())
    }

    #[test]
    fn what_would_exhaust_the_stack_is_refused_before_it_is_parsed() {
        const MANY: usize = 100_000;
        for condition in [
            vec!["true"; MANY].join(" && "),
            vec!["true"; MANY].join("||"),
            vec!["1"; MANY].join("+") + " == 1",
            "(".repeat(MANY) + "true" + &")".repeat(MANY),
            "[".repeat(MANY) + &"]".repeat(MANY),
            "{a:".repeat(MANY) + "1" + &"}".repeat(MANY),
            "if true then ".repeat(MANY / 2) + "true",
            format!("principal{}", ".a".repeat(MANY)),
            format!("true {}", "} when { true".repeat(MANY / 2)),
            format!("principal {}", "has a in ".repeat(MANY / 2)),
            // What looks like strings, comments and rules does not hide it.
            format!("\"\\\" // \" == \"\" // \"\n && {}", "(".repeat(MANY)),
            format!("{};", "((;".repeat(MANY)),
        ] {
            let refused = read(&rule(&condition)).unwrap_err();
            assert!(refused.contains("too deep"), "{}: {refused}", &condition[..40]);
        }
    }

    #[test]
    fn as_deep_as_is_allowed_is_read_and_asked_on_a_small_stack() {
        // What stands around a condition in `rule` has links, too.
        const LINKS: usize = MAX_LINKS - 6;
        let asked = "principal.os == \"\"";
        let all = [
            vec![asked; (LINKS + 1) / 3].join(" && "),
            vec![asked; (LINKS + 1) / 3].join(" || "),
            "(".repeat(MAX_DEPTH - 1) + asked + &")".repeat(MAX_DEPTH - 1),
            format!("if {asked} then true else ").repeat(MAX_DEPTH - 1) + asked,
            asked.to_owned() + &format!("}} when {{ {asked} ").repeat((LINKS - 2) / 4),
            vec!["context.risk"; (LINKS - 2) / 2].join("+") + " == 1",
            format!("[\"{}\"].contains(principal.os)", vec!["x"; 20_000].join("\", \"")),
        ];
        for condition in all {
            // Half of what a thread that serves has.
            let small = thread::Builder::new().stack_size(1024 * 1024);
            let thread = small.spawn(move || {
                let start = condition[..20].to_owned();
                judged(&read(&rule(&condition)).unwrap_or_else(|error| panic!("{start}: {error}")));
            });
            thread.unwrap().join().unwrap();
        }
    }

    #[test]
    fn rules_are_counted_each_by_itself() {
        let many: String = (0..500)
            .map(|n| rule("principal.os == \"(((((\"").replace("\"x\")\n@r", &format!("\"x{n}\")\n@r")))
            .collect();
        assert_eq!(read(&many).unwrap().rules().count(), 500);
    }
}
