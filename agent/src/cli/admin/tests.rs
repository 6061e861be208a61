use clap::Parser as _;
use serde_json::Value;

use crate::{
    cli::{Arguments, failure::Failure, run, terminal::buffer::Buffer},
    mock_agent::MockAgent,
};

const GRANT: &str = r#"{"grant":"gr-0123456789abcdef","state":"active","collaborator":"bob","project":"apollo","role":"reader","until":1790000000,"device":"dev-0123456789abcdef"}"#;
const ENDED: &str = r#"{"ended":false,"invitations":[],"grants":["gr-0123456789abcdef"],"devices":[],"staying":[]}"#;

const GATES: &str =
    r#"{"items":[{"gate":"front","state":"enrolled","resources":["https://git.example.com/"]}],"more":false}"#;

fn device(hostname: &str) -> String {
    format!(
        r#"{{"device":"dev-0123456789abcdef","state":"pending","reason":null,"collaborator":"bob","trust_tier":"ek_chain","comparison_code":"AB12-CD34","hostname":"{hostname}","os":"x","secure_boot":null,"enrolled_at":1790000000,"grants":[{GRANT}]}}"#
    )
}

fn ask(agent: &MockAgent, line: &[&str], terminal: Buffer) -> (Result<(), Failure>, Buffer) {
    let socket = agent.socket();
    let mut full = vec!["daypass", "--socket", socket.to_str().unwrap(), "admin"];
    full.extend_from_slice(line);
    let mut terminal = terminal;
    let result = run(&Arguments::try_parse_from(full).unwrap(), &mut terminal);
    (result, terminal)
}

/// What was asked of the admin API.
fn asked(agent: &MockAgent, index: usize) -> Value {
    let requests = agent.requests();
    let (_, body) = requests[index].split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

#[test]
fn a_list_has_its_filters_its_columns_and_says_where_there_is_more() {
    let list = format!(r#"{{"items":[{GRANT}],"more":true}}"#);
    let agent = MockAgent::start([(200, list.as_str()), (200, list.as_str())]);
    let line = [
        "grant",
        "list",
        "--project",
        "apollo",
        "--state",
        "active",
        "--state",
        "suspended",
        "--sort",
        "until",
        "--limit",
        "1",
    ];
    let (result, terminal) = ask(&agent, &line, Buffer::default());
    result.unwrap();
    assert_eq!(
        asked(&agent, 0),
        serde_json::json!({"method": "GET", "path": "/admin/v1/grants?project=apollo&state=active%2Csuspended&sort=until&limit=1"})
    );
    let said = terminal.said();
    assert!(
        said.starts_with("GRANT                STATE   COLLABORATOR  PROJECT  ROLE    UNTIL                 DEVICE\n"),
        "{said}"
    );
    assert!(
        said.contains("gr-0123456789abcdef  active  bob           apollo   reader  2026-09-21T14:13:20Z  dev-"),
        "{said}"
    );
    assert!(terminal.noted().contains("more than these"));
    let (result, terminal) = ask(&agent, &["grant", "list"], Buffer { json: true, ..Buffer::default() });
    result.unwrap();
    assert_eq!(terminal.parsed()["items"][0]["grant"], "gr-0123456789abcdef");
}

#[test]
fn what_ends_for_good_is_shown_and_asked_about_first() {
    let grant = format!(
        r#"{{{},"terms":{{}},"used":0,"authorization_details":[],"waits_for":[],"approvals_missing":0}}"#,
        &GRANT[1..GRANT.len() - 1]
    );
    let machine = device("laptop");
    for (line, first, shown) in [
        (
            &["device", "revoke", "dev-0123456789abcdef"][..],
            Some(machine.as_str()),
            "gr-0123456789abcdef apollo as reader",
        ),
        (&["grant", "revoke", "gr-0123456789abcdef"], Some(grant.as_str()), "apollo as reader"),
        (&["offboard", "bob@example.com", "--reason", "left"], Some(ENDED), "1 grant(s)"),
        (&["project", "end", "apollo", "--reason", "over"], Some(ENDED), "grant gr-0123456789abcdef: revoked"),
        (&["phase", "end", "apollo", "build", "--reason", "over"], Some(ENDED), "of phase `build` of project `apollo`"),
        (&["gate", "remove", "front"], Some(GATES), "guards https://git.example.com/"),
        (&["notification", "drop", "--all"], None, ""),
        (&["invitation", "withdraw", "inv-0123456789abcdef"], None, ""),
    ] {
        for (answer, json) in [(Some(false), false), (None, false), (None, true)] {
            let agent = match first {
                Some(answer) => MockAgent::start([(200, answer)]),
                None => MockAgent::start([]),
            };
            let (result, terminal) = ask(&agent, line, Buffer { answer, json, ..Buffer::default() });
            assert_eq!(result.unwrap_err().exit_code(), 2, "{line:?}");
            assert!(json || terminal.said().contains(shown), "{line:?}: {}", terminal.said());
            assert_eq!(agent.requests().len(), usize::from(first.is_some()), "{line:?}: nothing was ended");
            if first.is_some() {
                let confirmed = asked(&agent, 0)["body"]["confirmed"].clone();
                assert!(confirmed.is_null() || confirmed == false, "{line:?}");
            }
        }
    }
    let done = ENDED.replace("false", "true");
    let agent = MockAgent::start([(200, done.as_str())]);
    let (result, terminal) =
        ask(&agent, &["offboard", "bob@example.com", "--reason", "left", "--yes"], Buffer::default());
    result.unwrap();
    assert_eq!(asked(&agent, 0)["path"], "/admin/v1/offboard");
    let body = serde_json::json!({"collaborator": "bob@example.com", "reason": "left", "confirmed": true});
    assert_eq!(asked(&agent, 0)["body"], body);
    assert!(terminal.said().contains("ended of `bob@example.com`: 0 open invitation(s), 1 grant(s), 0 device(s)"));
}

#[test]
fn a_grant_shows_what_was_accepted_of_its_briefing() {
    let accepted =
        r#"{"briefing":"AAAA","acceptance":"BBBB","device":"dev-0123456789abcdef","at":1790000000,"current":"#;
    let shown = format!(
        r#"{{{},"terms":{{}},"used":0,"authorization_details":[],"waits_for":[],"approvals_missing":0,"acceptances":[{accepted}false}},{accepted}true}}]}}"#,
        &GRANT[1..GRANT.len() - 1]
    );
    let agent = MockAgent::start([(200, shown.as_str())]);
    let (result, terminal) = ask(&agent, &["grant", "show", "gr-0123456789abcdef"], Buffer::default());
    result.unwrap();
    let line = "briefing        AAAA accepted at 2026-09-21T14:13:20Z by dev-0123456789abcdef, ";
    for words in ["which is another by now", "as it is now"] {
        assert!(terminal.said().contains(&format!("{line}{words}")), "{}", terminal.said());
    }
}

#[test]
fn a_machine_does_not_write_over_the_code_that_is_compared() {
    let hostile = device("laptop\\u001b[2Acompare code AAAA-AAAA");
    let list = format!(r#"{{"items":[{hostile}],"more":false}}"#);
    let agent = MockAgent::start([(200, hostile.as_str()), (200, list.as_str())]);
    for line in [&["device", "show", "dev-0123456789abcdef"][..], &["device", "list"]] {
        let (result, terminal) = ask(&agent, line, Buffer::default());
        result.unwrap();
        assert!(terminal.said().contains("AB12-CD34") && !terminal.said().contains('\u{1b}'), "{}", terminal.said());
    }
}

#[test]
fn a_name_is_whole_whatever_stands_in_it() {
    let done = ENDED.replace("false", "true");
    for name in ["a/../../grants", "a?b", "..", "a%2F", "a#b", "a;b"] {
        let agent = MockAgent::start([(200, done.as_str())]);
        let (result, _) = ask(&agent, &["offboard", name, "--reason", "x", "--yes"], Buffer::default());
        result.unwrap();
        assert_eq!(asked(&agent, 0)["path"], "/admin/v1/offboard", "{name}");
        assert_eq!(asked(&agent, 0)["body"]["collaborator"], name);
    }
}

#[test]
fn phases_gates_notifications_and_events_are_asked_for_by_their_filters() {
    let empty = r#"{"items":[],"more":false}"#;
    let phases = r#"{"items":[{"project":"apollo","phase":"build","begins":null,"ends":1790000000,"state":"over"}],"more":false}"#;
    let dead = r#"{"items":[{"message":"msg_1","sink":"webhook","type":"grant.ends","dead":true,"happened_at":1790000000,"attempts":9,"next_attempt_at":1790000000,"error":"no\u001b[2J","payload":{}}],"more":false}"#;
    let count = r#"{"notifications":2}"#;
    let gone = r#"{"gate":"front","state":"removed","resources":[]}"#;
    for (line, answer, path, body, words) in [
        (
            "phase list --project apollo",
            phases,
            "phases?project=apollo",
            Value::Null,
            "apollo   build  over   -       2026-",
        ),
        ("gate list", GATES, "gates", Value::Null, "front  enrolled  https://git.example.com/"),
        (
            "gate remove front --yes --reason moved",
            gone,
            "gates/front/remove",
            serde_json::json!({"reason": "moved"}),
            "front is now removed",
        ),
        (
            "notification list --dead",
            dead,
            "notifications?dead=true&limit=1000",
            Value::Null,
            "msg_1    webhook  grant.ends",
        ),
        (
            "notification retry msg_1",
            count,
            "notifications/retry",
            serde_json::json!({"message": "msg_1", "all": false}),
            "2 notification(s) tried again",
        ),
        (
            "notification drop --all --yes --reason moved",
            count,
            "notifications/drop",
            serde_json::json!({"all": true, "reason": "moved"}),
            "2 notification(s) taken out",
        ),
        (
            "ledger list --since 2h --until 2026-11-24 --limit 5",
            empty,
            "ledger/events?since=2h&until=2026-11-24&limit=5",
            Value::Null,
            "EVENT",
        ),
    ] {
        let agent = MockAgent::start([(200, answer)]);
        let (result, terminal) = ask(&agent, &line.split(' ').collect::<Vec<_>>(), Buffer::default());
        result.unwrap();
        assert_eq!(asked(&agent, 0)["path"], format!("/admin/v1/{path}"), "{line}");
        assert_eq!(asked(&agent, 0)["body"], body, "{line}");
        assert!(terminal.said().contains(words) && !terminal.said().contains('\u{1b}'), "{line}: {}", terminal.said());
    }
    for wrong in ["notification retry", "notification drop msg_1 --all"] {
        let full = format!("daypass admin {wrong}");
        assert!(Arguments::try_parse_from(full.split(' ')).is_err(), "{wrong}");
    }
}

#[test]
fn a_policy_is_read_from_its_folder_and_what_waits_is_shown_before_it_is_confirmed() {
    let folder = tempfile::TempDir::new().unwrap();
    for (name, text) in [
        ("projects/a.toml", "x"),
        ("projects/a.briefing.md", "z"),
        ("projects/notes.md", "no"),
        ("guardrails/g.cedar", "y"),
        ("tests/.hidden.toml", "no"),
    ] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let proposal = r#"{"proposal":"prop-0123456789abcdef","state":"waiting","version":"ab","at":1790000000,"by":"ada","guarded":["`eve` becomes an owner of `a`"],"changes":["project `a`: something"]}"#;
    let loaded = format!(r#"{{"version":"ab","changed":false,"waiting":{proposal}}}"#);
    let agent = MockAgent::start([(200, loaded.as_str())]);
    let (result, terminal) = ask(&agent, &["policy", "load", folder.path().to_str().unwrap()], Buffer::default());
    result.unwrap();
    assert_eq!(
        asked(&agent, 0),
        serde_json::json!({"method": "POST", "path": "/admin/v1/policy", "body": {"files": {"projects/a.toml": "x", "projects/a.briefing.md": "z", "guardrails/g.cedar": "y"}}})
    );
    assert!(
        terminal.said().contains("`eve` becomes an owner") && terminal.said().contains("policy confirm prop-"),
        "{}",
        terminal.said()
    );

    let empty = tempfile::TempDir::new().unwrap();
    let agent = MockAgent::start([]);
    let (result, _) = ask(&agent, &["policy", "load", empty.path().to_str().unwrap()], Buffer::default());
    assert_eq!(result.unwrap_err().exit_code(), 3, "an empty folder would take everything away");

    let list = format!(r#"{{"items":[{proposal}],"more":false}}"#);
    let confirm = ["policy", "confirm", "prop-0123456789abcdef"];
    let agent = MockAgent::start([(200, list.as_str())]);
    let (result, terminal) = ask(&agent, &confirm, Buffer { answer: Some(false), ..Buffer::default() });
    assert_eq!((result.unwrap_err().exit_code(), agent.requests().len()), (2, 1));
    assert!(terminal.said().contains("guards others: `eve`"), "{}", terminal.said());
    let agent = MockAgent::start([(200, list.as_str()), (200, proposal)]);
    let (result, _) = ask(&agent, &confirm, Buffer { answer: Some(true), ..Buffer::default() });
    result.unwrap();
    assert_eq!(asked(&agent, 1)["path"], "/admin/v1/policy/proposals/prop-0123456789abcdef/confirm");
}

#[test]
fn an_invitation_says_what_narrows_it_and_a_phase_is_an_end() {
    let invited = r#"{"invitation":null,"code":null,"until":1790000000,"terms":{"not_before":1780000000,"phase":"build","uses":3,"grace":60,"networks":["192.0.2.0/24"],"trust_tiers":["ek_chain"],"secure_boot":true},"authorization_details":[],"approved_by":["olga"],"approvers":1,"excess":[]}"#;
    let agent = MockAgent::start([(200, invited)]);
    let line = "invite bob --project apollo --role reader --phase build --not-before 1d --uses 3 --from-network 192.0.2.0/24 --trust-tier ek_chain --secure-boot --dry-run";
    let (result, terminal) = ask(&agent, &line.split(' ').collect::<Vec<_>>(), Buffer::default());
    result.unwrap();
    assert_eq!(
        asked(&agent, 0)["body"],
        serde_json::json!({"collaborator": "bob", "project": "apollo", "role": "reader", "dry_run": true, "terms": {
            "not_before": "1d", "phase": "build", "uses": 3, "networks": ["192.0.2.0/24"], "trust_tiers": ["ek_chain"],
            "secure_boot": true,
        }})
    );
    for word in
        ["not before: 2026-", "phase: build", "tokens: 3", "grace:", "from: 192.0.2.0/24", "trust tier: ek_chain"]
    {
        assert!(terminal.said().contains(word), "{word} in {}", terminal.said());
    }
    for wrong in ["", "--until 7d --uses 0", "--until 7d --trust-tier best"] {
        let full = format!("daypass admin invite bob --project apollo --role reader {wrong}");
        assert!(Arguments::try_parse_from(full.split_whitespace()).is_err(), "{wrong}");
    }
}

const OFFER: &str = r#""replaces":"gr-0123456789abcdef","project":"apollo","role":"reader","until":1790000000,"terms":{},"used":2,"authorization_details":[],"approved_by":["olga"],"approvers":1"#;

/// What the issuer says of a replacement, with this for its invitation and in its excess.
fn replacement(made: &str, excess: &str) -> String {
    let left = format!(r#"{{{},"why":"is used up\u001b[2J"}}"#, &GRANT[1..GRANT.len() - 1]);
    format!(
        r#"{{{made},"device":"dev-0123456789abcdef","collaborator":"bob","device_ends":false,"grants":[{{{OFFER},"excess":[{excess}]}}],"left":[{left}]}}"#
    )
}

#[test]
fn a_replacement_is_shown_and_asked_about_before_it_is_made() {
    const INVITATION: &str = r#""invitation":{"invitation":"inv-0123456789abcdef","state":"open","collaborator":"bob","project":"apollo","role":"reader","grant":"gr-0123456789abcdef","expires_at":1790000000,"expired":false,"device":null},"code":"dpinv1_x""#;
    let (would, made) = (replacement(r#""invitation":null,"code":null"#, ""), replacement(INVITATION, ""));
    let line = ["invite", "--replaces", "dev-0123456789abcdef", "--reason", "broken", "--until", "2d"];
    let asks = |dry_run: bool| serde_json::json!({"until": "2d", "reason": "broken", "dry_run": dry_run});
    for (more, json, answer, dry) in [
        (None, false, Some(true), Some(true)),
        (None, false, None, Some(true)),
        (None, false, Some(false), Some(false)),
        (Some("--dry-run"), false, None, Some(false)),
        (Some("--dry-run"), true, None, Some(false)),
        (Some("--yes"), false, None, None),
        (None, true, None, None),
    ] {
        // Whether it is asked what it would be, and whether it is made then.
        let (agent, requests) = match dry {
            Some(true) => (MockAgent::start([(200, would.as_str()), (200, made.as_str())]), 2),
            Some(false) => (MockAgent::start([(200, would.as_str())]), 1),
            None => (MockAgent::start([(200, made.as_str())]), 1),
        };
        let line: Vec<&str> = line.into_iter().chain(more).collect();
        let (result, terminal) = ask(&agent, &line, Buffer { answer, json, ..Buffer::default() });
        let declined = answer == Some(false);
        assert_eq!(result.map_err(|failure| failure.exit_code()), if declined { Err(2) } else { Ok(()) });
        assert_eq!(agent.requests().len(), requests, "{more:?} {answer:?}");
        for index in 0..requests {
            assert_eq!(asked(&agent, index)["path"], "/admin/v1/devices/dev-0123456789abcdef/replace");
            assert_eq!(asked(&agent, index)["body"], asks(dry.is_some() && index == 0));
        }
        let said = terminal.said();
        assert_eq!(said.contains("dpinv1_x"), dry != Some(false), "{said}");
        if !json {
            for words in [
                "invite bob to replace dev-0123456789abcdef, with 1 grant(s)",
                "in place of gr-0123456789abcdef: apollo as reader",
                "tokens given already: 2",
                "waits for 1 of olga",
                "gets no successor: it is used up",
                "the device stays for its others",
            ] {
                assert!(said.replace("invited", "invite").contains(words), "{words} in {said}");
            }
            assert!(!said.contains('\u{1b}'), "{said}");
        }
    }
    let beyond = replacement(r#""invitation":null,"code":null"#, r#""there is no role","too\u001b[2J long""#);
    for json in [false, true] {
        let agent = MockAgent::start([(200, beyond.as_str())]);
        let dry = ["invite", "bob", "--replaces", "dev-0123456789abcdef", "--dry-run"];
        let (result, terminal) = ask(&agent, &dry, Buffer { json, answer: Some(true), ..Buffer::default() });
        let failure = result.unwrap_err();
        assert_eq!((failure.exit_code(), asked(&agent, 0)["body"]["collaborator"].as_str()), (8, Some("bob")));
        assert!(failure.to_string().contains("there is no role; too") && !failure.to_string().contains('\u{1b}'));
        assert!(json || terminal.said().contains("goes beyond the policy: there is no role"), "{}", terminal.said());
    }
    for wrong in ["--project apollo", "--role reader", "--phase build", "--uses 3", "--secure-boot"] {
        let full = format!("daypass admin invite --replaces dev-0123456789abcdef {wrong}");
        assert!(Arguments::try_parse_from(full.split(' ')).is_err(), "{wrong}");
    }
    assert!(Arguments::try_parse_from(["daypass", "admin", "invite", "bob", "--until", "2d"]).is_err());
}

#[test]
fn a_request_is_shown_with_its_use_and_answered() {
    let request = r#""request":"req-0123456789abcdef","what":{"wanted":"extension","grant":"gr-0123456789abcdef"},"collaborator":"bob","device":"dev-0123456789abcdef","project":"apollo","role":"reader","until":1790000000,"reason":"not done\u001b[2J","state":"requested","asked_at":1780000000,"decided_at":null,"answer":null,"narrowed_to":{"role":"reader","until":1789000000},"waits_for":["olga","otto"]"#;
    let used = r#""scopes":[{"location":"https://git.example.com/app","action":"push","granted":false,"tokens":7,"last":1780000000},{"location":"https://git.example.com/app","action":"read","granted":true,"tokens":0,"last":null,"gates":{"requests":3,"last":1780000000,"since":1770000000}}]"#;
    let shown = format!(r#"{{{request},"approvals_missing":2,"grants":[{{{},{used}}}]}}"#, &GRANT[1..GRANT.len() - 1]);
    let agent = MockAgent::start([(200, shown.as_str())]);
    let (result, terminal) = ask(&agent, &["request", "show", "req-0123456789abcdef"], Buffer::default());
    result.unwrap();
    let said = terminal.said();
    for word in [
        "extension of apollo as reader",
        "waits for       2 of olga, otto",
        "narrowed to     reader until",
        "https://git.example.com/app  push  no longer  7          2026-05-28T20:26:40Z  not reported  not reported",
        "https://git.example.com/app  read  yes        0          -                     3             2026-",
    ] {
        assert!(said.contains(word), "{word} in {said}");
    }
    assert!(!said.contains('\u{1b}'), "{said}");

    let answered =
        |missing: u32, grant: &str| format!(r#"{{{request},"approvals_missing":{missing},"granted":{grant}}}"#);
    for (line, path, body, answer, words) in [
        (
            "approve --reason ok",
            "approve",
            serde_json::json!({"reason": "ok"}),
            answered(1, "null"),
            "waits for 1 more, of olga, otto",
        ),
        (
            "narrow --until 3d",
            "narrow",
            serde_json::json!({"until": "3d"}),
            answered(0, GRANT),
            "gr-0123456789abcdef (apollo as reader) is active",
        ),
        ("narrow --role reader", "narrow", serde_json::json!({"role": "reader"}), answered(0, GRANT), "is active"),
        ("refuse --reason no", "refuse", serde_json::json!({"reason": "no"}), answered(0, "null"), "is now requested"),
    ] {
        let agent = MockAgent::start([(200, answer.as_str())]);
        let (verb, more) = line.split_once(' ').unwrap();
        let mut full = vec!["request", verb, "req-0123456789abcdef"];
        full.extend(more.split(' '));
        let (result, terminal) = ask(&agent, &full, Buffer::default());
        result.unwrap();
        assert_eq!(asked(&agent, 0)["path"], format!("/admin/v1/requests/req-0123456789abcdef/{path}"), "{line}");
        assert_eq!(asked(&agent, 0)["body"], body, "{line}");
        assert!(terminal.said().contains(words), "{line}: {}", terminal.said());
    }
    let nothing = ["daypass", "admin", "request", "narrow", "req-0123456789abcdef"];
    assert!(Arguments::try_parse_from(nothing).is_err(), "narrowing says to what");
}
