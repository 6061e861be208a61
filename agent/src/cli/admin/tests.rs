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
        r#"{{{},"authorization_details":[],"waits_for":[],"approvals_missing":0}}"#,
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
