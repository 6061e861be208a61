//! Git repositories; what is asked of every type stands here too.

mod api;

use proptest::prelude::*;

use super::*;

pub(super) fn details(json: &str) -> AuthorizationDetails {
    serde_json::from_str(json).unwrap()
}

fn pattern(text: &str) -> RefPattern {
    text.parse().unwrap()
}

const APP: &str = r#"[{"type":"git_repository","locations":["https://h/team/app"],"actions":["push","create"],"refs":["refs/heads/alice/**"]}]"#;

#[test]
fn what_is_not_understood_is_refused() {
    for bad in [
        r#"[{"type":"unknown"}]"#,
        r#"[{"locations":["https://h/a"],"actions":["read"]}]"#,
        r#"[{"type":"git_repository","locations":["https://h/a"],"actions":["read"],"extra":1}]"#,
        r#"[{"type":"git_repository","locations":["https://h/a"],"actions":["force"]}]"#,
        r#"[{"type":"git_repository","locations":[],"actions":["read"]}]"#,
        r#"[{"type":"git_repository","locations":["https://h/a"],"actions":[]}]"#,
        r#"[{"type":"git_repository","locations":["https://h/a"],"actions":["push"]}]"#,
        r#"[{"type":"git_repository","locations":["https://h/a"],"actions":["read"],"refs":["refs/heads/x"]}]"#,
        r#"[{"type":"git_repository","locations":["http://h/a"],"actions":["read"]}]"#,
        r#"{"type":"git_repository"}"#,
    ] {
        assert!(serde_json::from_str::<AuthorizationDetails>(bad).is_err(), "{bad}");
    }
    let many = format!(
        "[{}]",
        vec![r#"{"type":"git_repository","locations":["https://h/a"],"actions":["read"]}"#; 65].join(",")
    );
    assert!(serde_json::from_str::<AuthorizationDetails>(&many).is_err());
}

#[test]
fn serializes_as_it_was_written() {
    assert_eq!(serde_json::to_string(&details(APP)).unwrap(), APP);
}

#[test]
fn every_type_is_in_the_list_and_none_else() {
    let error = serde_json::from_str::<AuthorizationDetail>(r#"{"type":"unknown"}"#).unwrap_err().to_string();
    let listed = AuthorizationDetail::TYPES.map(|name| format!("`{name}`"));
    assert!(error.contains(&format!("expected {}", listed.join(" or "))), "{error}");
}

#[test]
fn everything_beyond_is_told_once() {
    let wide = details(
        r#"[{"type":"git_repository","locations":["https://h/team/app","https://h/team/other"],"actions":["push","delete"],"refs":["refs/heads/alice/x"]},
            {"type":"git_repository","locations":["https://h/team/other"],"actions":["read"]},
            {"type":"http_api","locations":["https://api/"],"actions":["POST"],"paths":["/v1/x"]}]"#,
    );
    let beyond: Vec<String> = wide.beyond(&details(APP)).iter().map(|what| what.what().to_owned()).collect();
    assert_eq!(
        beyond,
        [
            "`delete` of `refs/heads/alice/x` in `https://h/team/app`",
            "`read` of `https://h/team/other`",
            "`push` of `refs/heads/alice/x` in `https://h/team/other`",
            "`delete` of `refs/heads/alice/x` in `https://h/team/other`",
            "`POST` of `/v1/x` at `https://api/`",
        ]
    );
    assert_eq!(wide.beyond(&wide), []);
    assert_eq!(wide.is_subset_of(&details(APP)).unwrap_err(), wide.beyond(&details(APP))[0]);
}

#[test]
fn writing_implies_reading_and_nothing_else() {
    let granted = details(APP);
    let app: Repository = "https://h/team/app".parse().unwrap();
    let other: Repository = "https://h/team/other".parse().unwrap();
    let write = |action, reference| GitAccess::Write { repository: &app, action, reference };
    assert!(granted.allows(GitAccess::Read(&app)));
    assert!(!granted.allows(GitAccess::Read(&other)));
    assert!(granted.allows(write(GitAction::Push, b"refs/heads/alice/x")));
    assert!(granted.allows(write(GitAction::Create, b"refs/heads/alice/x/y")));
    assert!(!granted.allows(write(GitAction::Delete, b"refs/heads/alice/x")));
    assert!(!granted.allows(write(GitAction::Read, b"refs/heads/alice/x")));
    for reference in [
        &b"refs/heads/main"[..],
        b"refs/heads/alice",
        b"refs/heads/alice/",
        b"refs/heads/alice//x",
        b"refs/heads/Alice/x",
        b"refs/tags/alice/x",
        b"",
    ] {
        assert!(!granted.allows(write(GitAction::Push, reference)), "{}", String::from_utf8_lossy(reference));
    }
    assert!(!AuthorizationDetails::default().allows(GitAccess::Read(&app)));
}

#[test]
fn subset_names_what_is_beyond() {
    let grant = details(APP);
    assert!(grant.is_subset_of(&grant).is_ok());
    assert!(AuthorizationDetails::default().is_subset_of(&grant).is_ok());
    let narrower = details(
        r#"[{"type":"git_repository","locations":["https://h/team/app"],"actions":["read"]},
            {"type":"git_repository","locations":["https://h/team/app"],"actions":["push"],"refs":["refs/heads/alice/fix-*"]}]"#,
    );
    assert!(narrower.is_subset_of(&grant).is_ok());
    assert!(grant.is_subset_of(&narrower).is_err());
    let wider = details(
        r#"[{"type":"git_repository","locations":["https://h/team/app"],"actions":["push"],"refs":["refs/heads/**"]}]"#,
    );
    let error = wider.is_subset_of(&grant).unwrap_err().to_string();
    assert_eq!(error, "`push` of `refs/heads/**` in `https://h/team/app` is not covered");
}

#[test]
fn rights_of_two_details_do_not_add_up() {
    let grant = details(
        r#"[{"type":"git_repository","locations":["https://h/a"],"actions":["push"],"refs":["refs/heads/x"]},
            {"type":"git_repository","locations":["https://h/a"],"actions":["delete"],"refs":["refs/heads/y"]}]"#,
    );
    let asked = details(
        r#"[{"type":"git_repository","locations":["https://h/a"],"actions":["delete"],"refs":["refs/heads/x"]}]"#,
    );
    assert!(asked.is_subset_of(&grant).is_err());
}

#[test]
fn narrowing_keeps_what_is_there() {
    let both = details(
        r#"[{"type":"git_repository","locations":["https://h/a","https://h/b","https://i/a"],"actions":["read"]}]"#,
    );
    let a: Repository = "https://h/a".parse().unwrap();
    assert_eq!(both.at_repository(&a).repositories().len(), 1);
    assert_eq!(both.at_resource(&a.resource()).repositories().len(), 2);
    assert!(both.at_repository(&"https://h/c".parse().unwrap()).is_empty());
    assert_eq!(both.resources().len(), 2);
}

#[test]
fn patterns_that_are_refused() {
    for bad in [
        "",
        "main",
        "heads/*",
        "refs/*",
        "refs/**",
        "refs/*/x",
        "refs/heads",
        "refs/heads/",
        "refs//x",
        "refs/heads/a**",
        "refs/heads/***",
        "refs/heads/a b",
        "refs/heads/..",
        "refs/heads/a\n",
        "refs/heads/x.lock",
        "refs/heads/.x",
        "refs/heads/{user}",
        "refs/heads/a~1",
    ] {
        assert!(bad.parse::<RefPattern>().is_err(), "{bad:?}");
    }
    assert!(format!("refs/heads/{}", "a".repeat(300)).parse::<RefPattern>().is_err());
}

#[test]
fn containment_by_table() {
    for (inner, outer, within) in [
        ("refs/heads/a", "refs/heads/*", true),
        ("refs/heads/*", "refs/heads/a", false),
        ("refs/heads/*", "refs/heads/**", true),
        ("refs/heads/**", "refs/heads/*", false),
        ("refs/heads/a/**", "refs/heads/**", true),
        ("refs/heads/**/x", "refs/heads/**", true),
        ("refs/heads/a*b*c", "refs/heads/a*c", true),
        ("refs/heads/a*c", "refs/heads/a*b*c", false),
        ("refs/heads/*", "refs/tags/*", false),
        ("refs/heads/a/b", "refs/heads/*", false),
    ] {
        assert_eq!(pattern(inner).is_within(&pattern(outer)), within, "{inner} in {outer}");
    }
}

#[test]
fn a_user_is_one_literal_component() {
    let substitute = |name: &str| substitute_user("refs/heads/{user}/**", &name.parse().unwrap());
    assert_eq!(substitute("alice@example.com").unwrap(), "refs/heads/alice@example.com/**");
    for bad in ["a/b", "*", "a..b", ".a", "-a", "a.lock", "a.", "@", "{user}", "a\\b"] {
        assert!(substitute(bad).is_err(), "{bad}");
    }
    assert_eq!(substitute_user("refs/heads/x", &"*".parse().unwrap()).unwrap(), "refs/heads/x");
}

/// The model: a pattern matches by trying every split, with no cleverness at all.
pub(super) fn model_matches(pattern: &[&str], name: &[&str]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((&"**", rest)) => (1..=name.len()).any(|taken| model_matches(rest, &name[taken..])),
        Some((first, rest)) => {
            name.split_first().is_some_and(|(part, names)| model_component(first, part) && model_matches(rest, names))
        }
    }
}

fn model_component(glob: &str, part: &str) -> bool {
    match glob.split_once('*') {
        None => glob == part,
        Some((literal, rest)) => {
            part.starts_with(literal) && (literal.len()..=part.len()).any(|at| model_component(rest, &part[at..]))
        }
    }
}

fn some_pattern() -> impl Strategy<Value = String> {
    let part =
        prop_oneof![Just("**".to_owned()), "[ab*]{1,3}".prop_filter("`**` is whole", |part| !part.contains("**"))];
    prop::collection::vec(part, 1..4).prop_map(|parts| format!("refs/heads/{}", parts.join("/")))
}

fn every_name() -> Vec<String> {
    let parts = ["a", "b", "aa", "ab", "ba", "bb", "aba"];
    let mut names: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
    for _ in 0..2 {
        let longer: Vec<String> =
            names.iter().flat_map(|name| parts.iter().map(move |part| format!("{name}/{part}"))).collect();
        names.extend(longer);
    }
    names.into_iter().map(|name| format!("refs/heads/{name}")).collect()
}

proptest! {
    #[test]
    fn matching_agrees_with_the_model(text in some_pattern()) {
        let parsed = pattern(&text);
        let parts: Vec<&str> = text.split('/').collect();
        for name in every_name() {
            let names: Vec<&str> = name.split('/').collect();
            prop_assert_eq!(parsed.matches(name.as_bytes()), model_matches(&parts, &names), "{} {}", text, name);
        }
    }

    #[test]
    fn containment_is_never_wrongly_yes(inner in some_pattern(), outer in some_pattern()) {
        let (inner, outer) = (pattern(&inner), pattern(&outer));
        if inner.is_within(&outer) {
            for name in every_name() {
                prop_assert!(!inner.matches(name.as_bytes()) || outer.matches(name.as_bytes()), "{} {} {}", inner, outer, name);
            }
        }
    }

    #[test]
    fn a_literal_is_within_exactly_what_matches_it(name in "refs/heads/[ab]{1,3}(/[ab]{1,2}){0,2}", outer in some_pattern()) {
        prop_assert_eq!(pattern(&name).is_within(&pattern(&outer)), pattern(&outer).matches(name.as_bytes()));
    }

    #[test]
    fn a_subset_allows_nothing_more(
        asked in prop::collection::vec((some_pattern(), prop::bool::ANY), 1..3),
        given in prop::collection::vec((some_pattern(), prop::bool::ANY), 1..3),
    ) {
        let build = |parts: &[(String, bool)]| {
            let list: Vec<_> = parts.iter().map(|(refs, delete)| serde_json::json!({
                "type": "git_repository", "locations": ["https://h/a"],
                "actions": [if *delete { "delete" } else { "push" }], "refs": [refs],
            })).collect();
            details(&serde_json::Value::from(list).to_string())
        };
        let (asked, given) = (build(&asked), build(&given));
        let repository: Repository = "https://h/a".parse().unwrap();
        if asked.is_subset_of(&given).is_ok() {
            for name in every_name() {
                for action in [GitAction::Push, GitAction::Delete, GitAction::Create] {
                    let access = GitAccess::Write { repository: &repository, action, reference: name.as_bytes() };
                    prop_assert!(!asked.allows(access) || given.allows(access));
                }
            }
        }
    }
}
