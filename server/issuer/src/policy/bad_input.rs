//! Every key of a policy's files is given what it does not take, and says so with its file, its line and the line itself.

use crate::policy::{Files, Policy, PolicyError, fault::Fault};

/// Each key on a line of its own.
const PROJECT: &str = r#"owners = ["olga@example.com", "oskar@example.com"]
contact = "olga, extension 12"
time_zone = "Europe/Berlin"
[phases.build]
begins = 2026-10-01
ends = 2027-01-31
[roles.developer]
token_lifetime = "10m"
longest_grant = "90d"
longest_total = "180d"
protection = "hardware"
renewal = "ask"
uses = 9
sensitivity = "sensitive"
[roles.developer.grace]
for = "7d"
[[roles.developer.grace.authorization_details]]
type = "git_repository"
locations = ["https://h/team/app"]
actions = ["read"]
[[roles.developer.authorization_details]]
type = "git_repository"
locations = ["https://h/team/app"]
actions = ["push"]
refs = ["refs/heads/{user}/**"]
[[roles.developer.authorization_details]]
type = "http_api"
locations = ["https://api.h/"]
actions = ["GET"]
paths = ["/v1/**"]
"#;

const EXAMPLES: &str = r#"[[allow]]
collaborator = "alice"
project = "apollo"
role = "developer"
decision = "issue"
protection = "hardware"
address = "192.0.2.7"
at = 2026-11-02T12:00:00Z
[[allow.ask]]
type = "git_repository"
locations = ["https://h/team/app"]
actions = ["read"]
[allow.device]
trust_tier = "ek_chain"
secure_boot = true
os = "Debian 12"
[[deny]]
collaborator = "alice"
project = "apollo"
role = "developer"
because = "exceeds_grant"
[[deny.ask]]
type = "git_repository"
locations = ["https://h/team/secret"]
actions = ["read"]
"#;

/// What no key takes: nothing, other kinds of values, what is too large, and what is not to be seen.
fn values() -> Vec<String> {
    let fixed = [
        "\"\"",
        "[]",
        "{}",
        "1.5",
        "-1",
        "99999999999999999999999",
        "1979-05-27",
        "\"no such thing\\u0000\"",
        "\"a\\u202eb\"",
        "[\"\"]",
        "[1]",
        "[\"a\\u202eb\"]",
        "[\"a\\nb\"]",
        "[[]]",
        "\"unknown one\"",
        "nothing at all",
    ];
    let long = "x".repeat(6000);
    fixed.into_iter().map(str::to_owned).chain([format!("\"{long}\""), format!("[\"{long}\"]")]).collect()
}

/// What some keys do take of that: words are words, and a day is a day.
fn is_taken(key: &str, value: &str) -> bool {
    match key {
        "contact" | "os" => value == "\"unknown one\"",
        "begins" => value == "1979-05-27",
        _ => false,
    }
}

fn faults(name: &str, text: &str) -> Vec<Fault> {
    let project = if name == "projects/apollo.toml" { text } else { PROJECT };
    let mut files = vec![("projects/apollo.toml", project)];
    if !name.ends_with("apollo.toml") || name.starts_with("tests") {
        files.push((name, text));
    }
    let files: Files = files.into_iter().collect();
    Policy::check(&files).err().map(|error| error.0).unwrap_or_default()
}

/// The file with this line in the place of another.
fn with(text: &str, line: usize, new: &str) -> String {
    text.lines().enumerate().map(|(at, old)| format!("{}\n", if at == line { new } else { old })).collect()
}

fn told(name: &str, text: &str, line: usize, faults: &[Fault]) -> bool {
    let shown: String = text.lines().nth(line).unwrap().chars().take(160).collect();
    let its = |fault: &&Fault| fault.line == Some(line + 1) && fault.text.as_ref() == Some(&shown);
    let plain = |fault: &Fault| fault.to_string().chars().all(|c| c == '\n' || daypass_proto::words::is_shown(c));
    faults.iter().all(|fault| fault.file == name && !fault.message.is_empty() && plain(fault))
        && faults.iter().find(its).is_some()
}

#[test]
fn every_key_refuses_what_it_does_not_take_with_its_line() {
    let mut wrong = Vec::new();
    for (name, text) in [("projects/apollo.toml", PROJECT), ("tests/apollo.toml", EXAMPLES)] {
        assert_eq!(faults(name, text), [], "{name} is good as it is");
        for (line, old) in text.lines().enumerate() {
            let Some((key, _)) = old.split_once(" = ") else { continue };
            for value in values().iter().filter(|value| !is_taken(key, value)) {
                let changed = with(text, line, &format!("{key} = {value}"));
                let found = faults(name, &changed);
                if !told(name, &changed, line, &found) {
                    let value: String = value.chars().take(30).collect();
                    wrong.push(format!("{name}:{}: {key} = {value}: {found:?}", line + 1));
                }
            }
            // Twice the same key, and one that nobody knows.
            let twice = with(text, line, &format!("{old}\n{old}"));
            let found = faults(name, &twice);
            if !found.iter().any(|fault| fault.line == Some(line + 2) && fault.message.contains("duplicate")) {
                wrong.push(format!("{name}:{}: {key} twice: {found:?}", line + 1));
            }
            let unknown = with(text, line, &format!("{old}\ncolour = 1"));
            let found = faults(name, &unknown);
            let names = |fault: &Fault| fault.line.is_some() && fault.message.contains("`colour`");
            if !found.iter().any(names) {
                wrong.push(format!("{name}:{}: a key that nobody knows: {found:?}", line + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn names_files_and_ranges_that_cannot_be_are_refused_where_they_stand() {
    for (from, to, line, words) in [
        ("ends = 2027-01-31", "ends = 2026-09-30", 6, "is not after `begins`"),
        ("[phases.build]", "[phases.\"b u\"]", 4, "the phase's name"),
        ("[phases.build]", "[phases.\"b\\u202eu\"]", 4, "the phase's name"),
        ("[roles.developer]", "[roles.\"\"]", 7, "the role's name"),
        ("\"oskar@example.com\"", "\"olga@example.com\"", 1, "there twice"),
        ("\"oskar@example.com\"", "\"oskar example\"", 1, "is not a collaborator"),
        ("\"90d\"", "\"0d\"", 9, "`longest_grant`"),
        ("\"90d\"", "\"-3d\"", 9, "`longest_grant`"),
        ("\"90d\"", "\"99999999999999d\"", 9, "`longest_grant`"),
        ("\"10m\"", "\"10 parsecs\"", 8, "`token_lifetime`"),
        ("uses = 9", "uses = 4294967296", 13, "from 1 on"),
    ] {
        let text = PROJECT.replacen(from, to, 1);
        assert_ne!(text, PROJECT, "{from}");
        let found = faults("projects/apollo.toml", &text);
        assert!(
            found.iter().any(|fault| fault.line == Some(line) && fault.message.contains(words)),
            "{to}: {words}: {found:?}"
        );
    }
    let long = format!("projects/{}.toml", "x".repeat(64));
    for name in ["projects/A b.toml", "projects/.toml", "projects/a\u{202e}b.toml", &long] {
        let files: Files = [(name, PROJECT)].into_iter().collect();
        let found = Policy::check(&files).unwrap_err().0;
        assert!(found.iter().all(|fault| fault.message.contains("the file name")), "{name}: {found:?}");
    }
}

const RULE: &str = r#"@id("by-day")
@reason("work here is done by day")
@mode("enforce")
@briefing("You work from 8 to 18 o'clock.")
forbid (principal, action, resource)
unless { context.risk < 5 };
"#;

#[test]
fn every_annotation_of_a_guardrail_refuses_what_it_does_not_take_with_its_line() {
    let name = "guardrails/apollo.cedar";
    assert_eq!(faults(name, RULE), [], "it is good as it is");
    let long = "x".repeat(401);
    let values = ["", " ", "a\\u{202e}b", "a\\u{1b}[2Jb", "a\\nb", long.as_str()];
    let mut wrong = Vec::new();
    for (line, annotation, more) in [
        (1, "id", &["By Day", "by_day", "ä"][..]),
        (2, "reason", &[]),
        (3, "mode", &["Enforce", "off"]),
        (4, "briefing", &[]),
    ] {
        for value in values.iter().chain(more) {
            let changed = with(RULE, line - 1, &format!("@{annotation}(\"{value}\")"));
            let found = faults(name, &changed);
            let names = |fault: &Fault| fault.line.is_some() && fault.message.contains(&format!("`@{annotation}("));
            let plain =
                |fault: &Fault| fault.to_string().chars().all(|c| c == '\n' || daypass_proto::words::is_shown(c));
            let short = |fault: &Fault| fault.message.len() < 400;
            if !found.iter().any(names) || !found.iter().all(|fault| plain(fault) && short(fault)) {
                wrong.push(format!("@{annotation}({value:?}): {found:?}"));
            }
        }
        let twice = with(RULE, line - 1, &format!("@{annotation}(\"enforce\") @{annotation}(\"enforce\")"));
        if !faults(name, &twice).iter().any(|fault| fault.line == Some(line) && fault.message.contains("duplicate")) {
            wrong.push(format!("@{annotation} twice: {:?}", faults(name, &twice)));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn files_that_cannot_be_read_or_belong_to_nothing_are_refused_by_their_names() {
    let of = |name: &str, text: &str| faults(name, text);
    let lonely = of("projects/artemis.briefing.md", "Read me.");
    assert!(
        lonely
            .iter()
            .any(|fault| fault.file == "projects/artemis.briefing.md" && fault.message.contains("no file beside")),
        "{lonely:?}"
    );
    let folder = tempfile::tempdir().unwrap();
    for name in ["projects", "guardrails", "tests"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("projects/apollo.toml"), PROJECT).unwrap();
    for name in ["projects/apollo.briefing.md", "guardrails/apollo.cedar", "tests/apollo.toml", "projects/other.toml"] {
        let path = folder.path().join(name);
        std::fs::write(&path, b"read \xff me").unwrap();
        let found = Files::read(folder.path()).unwrap_err().faults;
        assert!(found.len() == 1 && found[0].file == name && found[0].message.contains("UTF-8"), "{name}: {found:?}");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let found = Files::read(folder.path()).unwrap_err().faults;
        assert!(found.len() == 1 && found[0].file == name, "{name}: {found:?}");
        std::fs::remove_dir(&path).unwrap();
    }
}

/// All that is wrong, each as `file:line` and words of what is said of it, in this folder.
fn all_told(folder: &std::path::Path) -> Vec<String> {
    let files = Files::read(folder).map_err(PolicyError::from);
    files.and_then(|files| Policy::check(&files)).unwrap_err().0.iter().map(ToString::to_string).collect()
}

/// Whoever mends a policy mends it once: nothing that is wrong waits for something else to be mended.
#[test]
fn no_fault_hides_another() {
    let project = PROJECT
        .replace("\"olga@example.com\", \"oskar@example.com\"", "\"olga example\", \"oskar example\"")
        .replace("token_lifetime = \"10m\"", "token_lifetime = \"soon\"")
        .replacen("https://h/team/app", "https://h/team/other", 1);
    let details = r#"[[roles.other.authorization_details]]
type = "svn"
locations = ["http://h/team/app", "https://h/team/app", "ftp://h"]
actions = ["fly", "GET", "push"]
[[roles.other.authorization_details]]
type = "git_repository"
locations = ["http://h/a", "http://h/b"]
actions = ["push", "fly"]
refs = ["x/**"]
colour = 1
[[roles.other.authorization_details]]
type = "git_repository"
locations = ["http://h/a"]
actions = ["push"]
[[roles.other.authorization_details]]
type = "http_api"
locations = []
actions = ["FLY"]
"#;
    let guardrails = r#"@reason("no name")
forbid (principal, action == Action::"fly", resource);
@id("a") @reason("b")
forbid (principal, action, resource) when { context.nope == 1 && context.local["No/Where"].hour > 3 };
@id("a") @reason("b")
forbid (principal, action, resource) when { context.neither == 1 };
@id("p") @reason("b")
permit (principal, action, resource) when { principal.nothing };
"#;
    let examples = EXAMPLES
        .replacen("locations = [\"https://h/team/app\"]", "locations = [\"http://h\"]", 1)
        .replace("\"ek_chain\"", "\"ek\"");
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("projects/apollo.toml", project + details),
        ("projects/no.briefing.md", "{{nothing}}".to_owned()),
        ("projects/dead.briefing.md", "of a file that cannot be read".to_owned()),
        ("guardrails/g.cedar", guardrails.to_owned()),
        ("guardrails/no.cedar", "forbid".to_owned()),
        ("tests/apollo.toml", examples),
        ("projects/readme.txt", String::new()),
        ("stray.toml", String::new()),
    ] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    std::fs::create_dir(folder.path().join("projects/dead.toml")).unwrap();
    let told = all_told(folder.path());
    let expected = [
        "stray.toml: ",
        "projects/readme.txt: ",
        "projects/dead.toml: could not be read",
        "projects/no.briefing.md:1: `{{nothing}}`",
        "projects/apollo.toml:1: `owners`: `olga example`",
        "projects/apollo.toml:1: `owners`: `oskar example`",
        "projects/apollo.toml:8: `token_lifetime`",
        "projects/apollo.toml:15: `grace`",
        "projects/apollo.toml:31: `token_lifetime` is missing",
        "projects/apollo.toml:31: `longest_grant` is missing",
        "projects/apollo.toml:32: `type`: expected one of",
        "projects/apollo.toml:33: `locations`: `http://h/team/app`",
        "projects/apollo.toml:33: `locations`: `ftp://h`",
        "projects/apollo.toml:34: `actions`: unknown variant `fly`",
        "projects/apollo.toml:37: `locations`: `http://h/a`",
        "projects/apollo.toml:37: `locations`: `http://h/b`",
        "projects/apollo.toml:38: `actions`: unknown variant `fly`",
        "projects/apollo.toml:39: `refs`: ref pattern `x/**`",
        "projects/apollo.toml:40: `colour`",
        "projects/apollo.toml:41: `refs` is needed",
        "projects/apollo.toml:43: `locations`: `http://h/a`",
        "projects/apollo.toml:45: `paths` is missing",
        "projects/apollo.toml:47: `locations` needs 1 to",
        "projects/apollo.toml:48: `actions`: unknown variant `FLY`",
        "guardrails/g.cedar:1: the rule needs an `@id",
        "guardrails/g.cedar:1: for policy `guardrails/g.cedar, rule 0`",
        "guardrails/g.cedar:2: for policy `guardrails/g.cedar, rule 0`, unrecognized action `Action::\"fly\"`",
        "guardrails/g.cedar:4: `No/Where` is no time zone",
        "guardrails/g.cedar:4: for policy `a`, attribute `nope`",
        "guardrails/g.cedar:5: there is another rule",
        "guardrails/g.cedar:6: for policy `guardrails/g.cedar, rule 2`, attribute `neither`",
        "guardrails/g.cedar:7: a guardrail only narrows",
        "guardrails/g.cedar:8: for policy `guardrails/g.cedar, rule 3`, attribute `nothing`",
        "guardrails/no.cedar:1: unexpected end",
        "tests/apollo.toml:11: `locations`: `http://h`",
        "tests/apollo.toml:14: `trust_tier`",
    ];
    for start in expected {
        assert!(told.iter().any(|told| told.starts_with(start)), "{start}: {told:#?}");
    }
    for told in told {
        assert!(expected.iter().any(|start| told.starts_with(start)), "and this follows from another: {told}");
    }
}
