use super::*;

const PROJECT: &str = r##"owners = ["olga@example.com"]
contact = "#apollo"
[roles.developer]
token_lifetime = "10m"
longest_grant = "90d"
[[roles.developer.authorization_details]]
type = "git_repository"
locations = ["https://h/team/app"]
actions = ["push"]
refs = ["refs/heads/{user}/**"]
"##;
const RULE: &str = r#"@id("rule") @reason("because") @mode("monitor")
forbid (principal, action, resource) when { context.risk > 3 };"#;

/// What is told, a line each, of what becomes of these two files.
fn told(old: (&str, &str), new: (&str, &str)) -> Vec<String> {
    let read = |(project, rules): (&str, &str)| {
        let all = [("projects/apollo.toml", project), ("guardrails/all.cedar", rules)];
        let files: Files = all.into_iter().filter(|(_, text)| !text.is_empty()).collect();
        let policy = Policy::check(&files).unwrap();
        (files, policy)
    };
    let (old, new) = (read(old), read(new));
    differences(Version { files: &old.0, policy: &old.1 }, Version { files: &new.0, policy: &new.1 })
        .iter()
        .map(|difference| {
            let sign = match difference.effect {
                Effect::Gains => '+',
                Effect::Loses => '-',
                Effect::Changes => '~',
            };
            format!("{sign} {:?}: {}", difference.about, difference.text)
        })
        .collect()
}

/// One thing made otherwise each, told in full, and the other way round.
#[test]
fn each_difference_is_told_and_nothing_else() {
    const LOCATION: &str = "`https://h/team/app`";
    for (from, to, forth, back) in [
        (
            "[\"push\"]",
            "[\"push\", \"create\"]",
            vec!["+ `create` of `refs/heads/{user}/**` in LOCATION"],
            vec!["- `create` of `refs/heads/{user}/**` in LOCATION"],
        ),
        // A narrower pattern is only lost, a wider one only gained.
        (
            "{user}/**",
            "{user}/*",
            vec!["- `push` of `refs/heads/{user}/**` in LOCATION"],
            vec!["+ `push` of `refs/heads/{user}/**` in LOCATION"],
        ),
        (
            "{user}/**",
            "main",
            vec!["+ `push` of `refs/heads/main` in LOCATION", "- `push` of `refs/heads/{user}/**` in LOCATION"],
            vec!["+ `push` of `refs/heads/{user}/**` in LOCATION", "- `push` of `refs/heads/main` in LOCATION"],
        ),
        (
            "\"10m\"",
            "\"30m\"",
            vec!["+ tokens live for 30m at most, and did for 10m"],
            vec!["- tokens live for 10m at most, and did for 30m"],
        ),
        (
            "\"90d\"",
            "\"36h\"",
            vec!["- new grants last for 36h at most, and did for 90d; those that stand keep their end"],
            vec!["+ new grants last for 90d at most, and did for 36h; those that stand keep their end"],
        ),
        (
            "longest",
            "protection = \"delegated\"\nlongest",
            vec!["+ proofs by a key in the agent's memory are taken, too"],
            vec!["- proofs are taken from the TPM only, and no longer by a key in the agent's memory"],
        ),
        (
            "longest",
            "longest_total = \"365d\"\nlongest",
            vec!["- with all extensions grants last for 365d at most; before, extensions have no limit together"],
            vec!["+ extensions have no limit together; before, with all extensions grants last for 365d at most"],
        ),
        (
            "longest",
            "renewal = \"none\"\nlongest",
            vec!["- grants are never extended; before, an owner decides on every extension"],
            vec!["+ an owner decides on every extension; before, grants are never extended"],
        ),
        (
            "longest",
            "uses = 1\nlongest",
            vec!["- a grant gives one token; before, tokens are not counted"],
            vec!["+ tokens are not counted; before, a grant gives one token"],
        ),
    ] {
        let other = PROJECT.replacen(from, to, 1);
        assert_ne!(other, PROJECT);
        let expected = |texts: Vec<&str>| -> Vec<String> {
            texts
                .iter()
                .map(|text| {
                    let (sign, text) = text.split_at(1);
                    let text = text.replace("LOCATION", LOCATION);
                    format!("{sign} Role(ProjectName(\"apollo\"), RoleName(\"developer\")):{text}")
                })
                .collect()
        };
        assert_eq!(told((PROJECT, ""), (&other, "")), expected(forth), "{to}");
        assert_eq!(told((&other, ""), (PROJECT, "")), expected(back), "{to}");
    }
    assert_eq!(told((PROJECT, RULE), (PROJECT, RULE)), [""; 0]);
}

#[test]
fn grace_and_sensitivity_are_told() {
    const GRACE: &str = "[roles.developer.grace]\nfor = \"7d\"\n[[roles.developer.grace.authorization_details]]\n\
        type = \"git_repository\"\nlocations = [\"https://h/team/app\"]\nactions = [\"read\"]\n";
    let with = format!("{PROJECT}{GRACE}");
    let role =
        |text: &str, rest: &str| format!("{text} Role(ProjectName(\"apollo\"), RoleName(\"developer\")): {rest}");
    assert_eq!(
        told((PROJECT, ""), (&with, "")),
        [
            role("+", "`read` of `https://h/team/app`, in grace"),
            role("+", "narrower rights are left for 7d after the hard end; before, nothing is left after the hard end"),
        ]
    );
    let longer = with.replace("\"7d\"", "\"30d\"");
    assert!(told((&with, ""), (&longer, ""))[0].starts_with("+ "));
    assert!(told((&longer, ""), (&with, ""))[0].starts_with("- "));
    let wider = with.replace("[\"read\"]", "[\"push\"]\nrefs = [\"refs/heads/{user}/**\"]");
    assert_eq!(
        told((&with, ""), (&wider, "")),
        [role("+", "`push` of `refs/heads/{user}/**` in `https://h/team/app`, in grace")]
    );
    let two = PROJECT.replace("[\"olga", "[\"oskar@example.com\", \"olga");
    let sensitive = two.replace("longest", "sensitivity = \"sensitive\"\nlongest");
    assert_eq!(told((&two, ""), (&sensitive, "")), [role("-", "two owners approve; before, one owner approves")]);
    let all = told((&sensitive.replace("developer", "reader"), ""), (&sensitive, ""));
    assert!(all[0].contains("tokens live for 10m at most, grants last for 90d at most, an owner decides on every extension, two owners approve, proofs are by the TPM"), "{all:?}");
}

#[test]
fn phases_come_go_and_move() {
    let with = |phase: &str| PROJECT.replace("[roles.developer]", &format!("{phase}\n[roles.developer]"));
    let phase = |begins: &str, ends: &str| with(&format!("[phases.build]\n{begins}ends = {ends}T00:00:00Z"));
    let first = phase("", "2027-02-01");
    let began = phase("begins = 2027-01-01T00:00:00Z\n", "2027-02-01");
    let other = phase("begins = 2027-01-01T00:00:00Z\n", "2027-03-01");
    for (old, new, sign, word) in [
        (PROJECT.to_owned(), first.clone(), '+', "phase `build` is new, and ends at 2027-02-01T00:00:00Z"),
        (first.clone(), PROJECT.to_owned(), '-', "phase `build` is gone"),
        (first.clone(), phase("", "2027-03-01"), '+', "ends at 2027-03-01T00:00:00Z; before, it ends at 2027-02-01"),
        (phase("", "2027-03-01"), first.clone(), '-', "ends at 2027-02-01"),
        (first.clone(), began.clone(), '-', "begins at 2027-01-01T00:00:00Z and ends at"),
        (began.clone(), first.clone(), '+', "before, it begins at 2027-01-01"),
        (first, other, '~', "before, it ends at 2027-02-01"),
    ] {
        let told = told((&old, ""), (&new, ""));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with(sign) && told[0].contains(word), "{sign} {word}: {told:?}");
    }
}

#[test]
fn projects_roles_and_owners_come_and_go() {
    let project = |text: &str| format!("{text} Project(ProjectName(\"apollo\"))");
    let other = PROJECT.replace("olga@example.com\"", "oskar@example.com\"").replace("#apollo", "#space");
    assert_eq!(
        told((PROJECT, ""), (&other, "")),
        [
            project("~") + ": `oskar@example.com` becomes an owner, and approves",
            project("~") + ": `olga@example.com` is no owner any more",
            project("~") + ": the contact is `#space`, and was `#apollo`",
        ]
    );
    let there = format!("time_zone = \"Europe/Berlin\"\n{PROJECT}");
    assert_eq!(
        told((&there, ""), (PROJECT, "")),
        [project("~") + ": the time zone is the issuer's, and was `Europe/Berlin`"]
    );
    let signs = |told: Vec<String>| -> String { told.iter().filter_map(|line| line.chars().next()).collect() };
    // The project, its owner, the role, reading and pushing.
    assert_eq!(signs(told(("", ""), (PROJECT, ""))), "+~+++");
    assert_eq!(signs(told((PROJECT, ""), ("", ""))), "-~---");
}

#[test]
fn guardrails_come_and_go_and_are_enforced() {
    let enforced = RULE.replace("monitor", "enforce");
    for (old, new, sign, word) in [
        ("", RULE, '~', "new, watching only: because"),
        ("", enforced.as_str(), '-', "new, enforced: because"),
        (RULE, "", '~', "it was watching only"),
        (&enforced, "", '+', "it was enforced"),
        (RULE, &enforced, '-', "is enforced, and was watching only"),
        (&enforced, RULE, '+', "is watching only, and was enforced"),
        (RULE, &RULE.replace("> 3", "> 4"), '~', "asks for something else"),
        (RULE, &RULE.replace("because", "since"), '~', "reads `since`"),
        // Comments and spaces ask nothing; that the text is another one is said all the same.
        (RULE, &RULE.replace("when", "// Why\n  when"), '~', "reads otherwise, in order, comments"),
    ] {
        let told = told((PROJECT, old), (PROJECT, new));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with(sign) && told[0].contains(word), "{word}: {told:?}");
    }
}

#[test]
fn a_name_in_the_policy_is_not_taken_for_everybody_s() {
    let fixed = PROJECT.replace("{user}", "somebody");
    let told = told((PROJECT, ""), (&fixed, ""));
    assert!(told[0].starts_with('+') && told[0].contains("`refs/heads/somebody/**`"), "{told:?}");
    assert!(told[1].starts_with('-') && told[1].contains("`refs/heads/{user}/**`"), "{told:?}");
}

#[test]
fn no_pattern_is_taken_for_everybodys() {
    let with = |refs: &str| PROJECT.replace("refs/heads/{user}/**", refs);
    assert_ne!(with("refs/heads/s*/**"), PROJECT);
    // Somebody gains what was only for names that begin with some letter, whatever the letter.
    for letter in ('a'..='z').chain('0'..='9') {
        let old = with(&format!("refs/heads/{letter}*/**"));
        let signs: Vec<_> = told((&old, ""), (PROJECT, "")).iter().filter_map(|line| line.chars().next()).collect();
        assert!(signs.contains(&'+') && signs.contains(&'-'), "{letter}: {signs:?}");
    }
    // A name that takes up every letter leaves none to stand for everybody: that is said.
    let all: String = ('a'..='z').chain('0'..='9').collect();
    let told = told((PROJECT, ""), (&with(&format!("refs/heads/{all}")), ""));
    assert!(told.iter().any(|line| line.contains("cannot be compared")), "{told:?}");
}

#[test]
fn another_text_of_the_briefing_is_told_once_and_whether_it_is_accepted_anew() {
    let read = |project: &str, text: Option<&str>| {
        let all = [("projects/apollo.toml", Some(project)), ("projects/apollo.briefing.md", text)];
        let files: Files = all.into_iter().filter_map(|(name, text)| Some((name, text?))).collect();
        let policy = Policy::check(&files).unwrap();
        (files, policy)
    };
    let became = |project: &str, old: Option<&str>, new: Option<&str>| -> Vec<String> {
        let (old, new) = (read(project, old), read(project, new));
        let all = differences(Version { files: &old.0, policy: &old.1 }, Version { files: &new.0, policy: &new.1 });
        all.into_iter().map(|difference| difference.text).collect()
    };
    let required = PROJECT.replace("[roles.developer]", "briefing = \"required\"\n[roles.developer]");
    for (old, new) in [(None, Some("Hello")), (Some("Hello"), Some("Hello.")), (Some("Hello"), None)] {
        assert_eq!(became(PROJECT, old, new), ["the owners' text of the briefing is another"]);
        assert_eq!(became(&required, old, new), ["the owners' text of the briefing is another, and is accepted anew"]);
    }
    assert_eq!(became(&required, Some("Hello"), Some("Hello")), [""; 0]);
    let about = "Project(ProjectName(\"apollo\"))";
    let (forth, back) = (told((PROJECT, ""), (&required, "")), told((&required, ""), (PROJECT, "")));
    assert_eq!(forth, [format!("- {about}: there is no token before the briefing was read and accepted")]);
    assert_eq!(back, [format!("+ {about}: nobody must accept the briefing any more")]);
}

#[test]
fn a_briefing_belongs_to_a_project_and_its_faults_are_the_policy_s() {
    let faults = |files: &[(&str, &str)]| -> Vec<String> {
        let checked = Policy::check(&files.iter().copied().collect::<Files>());
        checked.err().map(|error| error.0.iter().map(ToString::to_string).collect()).unwrap_or_default()
    };
    let (project, broken) = (("projects/apollo.toml", PROJECT), ("projects/apollo.toml", "owners = 1"));
    assert!(faults(&[project, ("projects/apollo.briefing.md", "{{until}}")]).is_empty());
    let found = faults(&[project, ("projects/gemini.briefing.md", "{{until}}")]);
    assert!(
        found.len() == 1 && found[0].contains("projects/gemini.briefing.md: is the briefing of a project"),
        "{found:?}"
    );
    let found = faults(&[project, ("projects/apollo.briefing.md", "x\n{{untill}}")]);
    assert!(found.len() == 1 && found[0].starts_with("projects/apollo.briefing.md:2: "), "{found:?}");
    // A project with faults of its own is there all the same, and all faults are told at once.
    let found = faults(&[broken, ("projects/apollo.briefing.md", "{{untill}}")]);
    assert!(
        found.iter().any(|fault| fault.contains("untill")) && found.iter().any(|fault| fault.contains("owners")),
        "{found:?}"
    );
    let found = faults(&[broken, ("projects/apollo.briefing.md", "{{until}}")]);
    assert!(!found.iter().any(|fault| fault.contains("is the briefing of")), "{found:?}");
}
