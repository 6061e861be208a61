use clap::Parser as _;

use crate::{
    cli::{Arguments, failure::Failure, run, terminal::buffer::Buffer},
    mock_agent::MockAgent,
};

const NOTE: &str = "issuer.test/ledger/a\\n10\\nroot\\n\\n— issuer.test/ledger/a c2ln\\n";

fn ledger(unchecked: &str, findings: &str) -> String {
    format!(
        r#"{{"ledgers":[{{"issuer":"https://issuer.example","origin":"issuer.test/ledger/a","size":10,"checkpoint":"{NOTE}","checked_at":1790000000,
            "outstanding":1,"outstanding_since":1789999999,"unchecked":{unchecked},"findings":[{findings}]}}]}}"#
    )
}

fn finding(number: u64, kind: &str, accepted: &str) -> String {
    format!(
        r#"{{"number":{number},"kind":"{kind}","found_at":1790000000,"accepted_at":{accepted},"message":"what was found","next_step":"do this","evidence":{{"kept":"k","shown":"s"}}}}"#
    )
}

fn ask(answers: &[&str], line: &[&str], mut terminal: Buffer) -> (Result<(), Failure>, Buffer, Vec<String>) {
    let mut answers = answers.iter().map(|answer| (200, *answer)).collect::<Vec<_>>();
    let agent = match answers.len() {
        1 => MockAgent::start([answers.remove(0)]),
        _ => MockAgent::start([answers.remove(0), answers.remove(0)]),
    };
    let socket = agent.socket();
    let full = [&["daypass", "--socket", socket.to_str().unwrap(), "ledger"], line].concat();
    let result = run(&Arguments::try_parse_from(full).unwrap(), &mut terminal);
    (result, terminal, agent.requests())
}

#[test]
fn a_check_ends_with_the_code_of_the_worst() {
    let unreachable =
        r#"{"since":1790000000,"problem":{"error":"issuer_unreachable","message":"no answer","next_step":"wait"}}"#;
    for (unchecked, findings, code, says) in [
        ("null", String::new(), 0, "10 events, checked 2026-09-21T14:13:20Z"),
        ("null", finding(1, "fork", "1790000005"), 0, "one token's event not shown in it yet"),
        (unreachable, String::new(), 10, "cannot be checked since 2026-09-21T14:13:20Z: no answer"),
        ("null", finding(1, "memory_lost", "null"), 13, "FOUND"),
        ("null", finding(1, "restored", "null"), 16, "next step    do this"),
        (unreachable, [finding(1, "leaf_missing", "null"), finding(2, "restored", "null")].join(","), 15, "finding 1"),
        ("null", [finding(1, "leaf_missing", "null"), finding(2, "fork", "null")].join(","), 14, "finding 2"),
        ("null", finding(1, "bad_signature", "null"), 14, "what was found"),
    ] {
        let answer = ledger(unchecked, &findings);
        let (result, terminal, requests) = ask(&[&answer, &answer], &["check"], Buffer::default());
        assert_eq!(result.err().map_or(0, |failure| failure.exit_code()), code, "{}", terminal.said());
        assert!(terminal.said().contains(says), "{}", terminal.said());
        assert!(
            requests[1].starts_with("POST /v1/ledgers/check")
                && requests[1].ends_with(r#"{"issuer":"https://issuer.example"}"#)
        );
        // The same for programs, in one document.
        let (result, terminal, _) = ask(&[&answer, &answer], &["check"], Buffer { json: true, ..Buffer::default() });
        assert_eq!(result.err().map_or(0, |failure| failure.exit_code()), code);
        assert_eq!(terminal.parsed()["ledgers"][0]["size"], 10);
    }
}

#[test]
fn the_kept_checkpoint_stands_alone_on_stdout() {
    let answer = ledger("null", &finding(3, "fork", "null"));
    let (result, terminal, _) = ask(&[&answer], &["show"], Buffer::default());
    result.unwrap();
    assert_eq!(terminal.said(), NOTE.replace("\\n", "\n"));
    assert!(terminal.noted().contains("finding 3") && terminal.noted().contains("--json"), "{}", terminal.noted());
    let (result, terminal, _) = ask(&[&answer], &["show"], Buffer { json: true, ..Buffer::default() });
    result.unwrap();
    assert_eq!(terminal.parsed()["findings"][0]["evidence"]["shown"], "s");
    let (result, _, _) = ask(&[&answer], &["show", "--issuer", "https://other.example"], Buffer::default());
    assert_eq!(result.unwrap_err().exit_code(), 4);
}

#[test]
fn what_is_accepted_is_what_was_shown_and_a_person_says_so() {
    let answer = ledger("null", &[finding(3, "restored", "null"), finding(2, "fork", "1")].join(","));
    for (line, said, code) in [
        (&["accept"][..], None, 2),
        (&["accept"], Some(false), 2),
        (&["accept"], Some(true), 0),
        (&["accept", "--yes"], None, 0),
    ] {
        let (result, terminal, requests) = ask(&[&answer, &answer], line, Buffer { answer: said, ..Buffer::default() });
        assert_eq!(result.err().map_or(0, |failure| failure.exit_code()), code);
        assert!(terminal.noted().contains("finding 3") && !terminal.noted().contains("finding 2"));
        assert_eq!(requests.len(), if code == 0 { 2 } else { 1 });
        if code == 0 {
            assert!(requests[1].ends_with(r#"{"issuer":"https://issuer.example","findings":[3]}"#), "{}", requests[1]);
        }
    }
    let answer = ledger("null", "");
    let (result, terminal, _) = ask(&[&answer], &["accept"], Buffer::default());
    result.unwrap();
    assert!(terminal.said().contains("nothing was found"));
}
