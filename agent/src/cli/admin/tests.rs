use clap::Parser as _;
use serde_json::Value;

use crate::{
    cli::{Arguments, failure::Failure, run, terminal::buffer::Buffer},
    mock_agent::MockAgent,
};

const GRANT: &str = r#"{"grant":"gr-0123456789abcdef","state":"active","collaborator":"bob","project":"apollo","role":"reader","until":1790000000,"device":"dev-0123456789abcdef"}"#;
const ENDED: &str = r#"{"ended":false,"invitations":[],"grants":["gr-0123456789abcdef"],"devices":[],"staying":[]}"#;

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
    assert_eq!(asked(&agent, 0)["path"], "/admin/v1/collaborators/bob@example.com/offboard");
    assert_eq!(asked(&agent, 0)["body"], serde_json::json!({"reason": "left", "confirmed": true}));
    assert!(terminal.said().contains("ended of `bob@example.com`: 0 open invitation(s), 1 grant(s), 0 device(s)"));
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
fn a_name_that_would_be_another_path_is_refused_here() {
    for name in ["a/../../grants", "a?b", "..", "a%2F", "a#b"] {
        let agent = MockAgent::start([]);
        let (result, _) = ask(&agent, &["offboard", name, "--reason", "x", "--yes"], Buffer::default());
        assert_eq!(result.unwrap_err().exit_code(), 3, "{name}");
        assert!(agent.requests().is_empty());
    }
}

#[test]
fn a_policy_is_read_from_its_folder_and_what_waits_is_shown_before_it_is_confirmed() {
    let folder = tempfile::TempDir::new().unwrap();
    for (name, text) in [
        ("projects/a.toml", "x"),
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
        serde_json::json!({"method": "POST", "path": "/admin/v1/policy", "body": {"files": {"projects/a.toml": "x", "guardrails/g.cedar": "y"}}})
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
    let invited = r#"{"invitation":null,"code":null,"until":1790000000,"terms":{"not_before":1780000000,"phase":"build","uses":3,"grace":60,"networks":["192.0.2.0/24"],"trust_tiers":["ek_chain"],"secure_boot":true},"authorization_details":[],"approved_by":["olga"],"approvers":1}"#;
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
