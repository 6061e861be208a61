use super::*;
use crate::mock_agent::MockAgent;

const AUTHTYPE: &str = r#"{"authtype":"Daypass","credential":"TOK~KB","expires_at":1790000000}"#;
const BASIC: &str = r#"{"username":"daypass","password":"TOK~KB","expires_at":1790000000}"#;
const NEW_GIT: &str = "capability[]=authtype\ncapability[]=state\nprotocol=https\nhost=g.example:8443\npath=team/app.git\nwwwauth[]=Daypass nonce=\"n\"\n";
const OLD_GIT: &str = "protocol=https\nhost=g.example:8443\npath=team/app.git\n";

struct Ended {
    code: u8,
    out: String,
    err: String,
}

fn run_with(agent: &MockAgent, helpers: &[(Option<&str>, &str)], line: &[&str], input: &str) -> Ended {
    let entries: Vec<HelperEntry> = helpers
        .iter()
        .map(|(pattern, helper)| HelperEntry { pattern: pattern.map(str::to_owned), helper: (*helper).to_owned() })
        .collect();
    let read = || Ok(entries.clone());
    let surroundings = Surroundings { agent: agent.client(), helpers: &read, watched: false };
    let invocation = Invocation::parse(line.iter().map(OsString::from)).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = super::run(&invocation, &surroundings, &mut input.as_bytes(), &mut out, &mut err);
    Ended { code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

fn run(agent: &MockAgent, line: &[&str], input: &str) -> Ended {
    run_with(agent, &[(None, "daypass")], line, input)
}

#[test]
fn a_new_git_gets_a_credential_that_is_not_stored() {
    let agent = MockAgent::start([(200, AUTHTYPE)]);
    let ended = run(&agent, &["get"], NEW_GIT);
    assert_eq!(
        ended.out,
        "capability[]=authtype\nauthtype=Daypass\ncredential=TOK~KB\nephemeral=1\npassword_expiry_utc=1790000000\n\n"
    );
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let asked = agent.requests().remove(0);
    let body = asked.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(body).unwrap(),
        serde_json::json!({"protocol":"https","host":"g.example:8443","path":"team/app.git","wwwauth":["Daypass nonce=\"n\""],"authtype":true,"scoped":false})
    );
}

#[test]
fn a_person_in_front_of_git_hears_what_comes_to_its_end_after_git_has_its_answer() {
    let warnings = r#"{"warnings":[{"grant":"gr-3k7q0x9a1b2c3d4e","what":"soon","message":"grant g ends soon","next_step":"extend it"}]}"#;
    let run = |watched, answers: [(u16, &str); 2]| {
        let agent = MockAgent::start(answers);
        let read = || Ok(Vec::new());
        let surroundings = Surroundings { agent: agent.client(), helpers: &read, watched };
        let invocation = Invocation::parse(["get".into()]).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = super::run(&invocation, &surroundings, &mut NEW_GIT.as_bytes(), &mut out, &mut err);
        assert!(code == 0 && out.starts_with(b"capability[]=authtype\nauthtype=Daypass\n"));
        (String::from_utf8(err).unwrap(), agent.requests())
    };
    let (said, asked) = run(true, [(200, AUTHTYPE), (200, warnings)]);
    assert_eq!(said, "daypass: grant g ends soon\ndaypass: extend it\n");
    assert!(asked[1].ends_with(r#"{"location":"https://g.example:8443/team/app.git"}"#), "{asked:?}");
    // An agent of another version, or one that has gone, is nobody's concern here.
    assert_eq!(run(true, [(200, AUTHTYPE), (404, "{}")]).0, "");
    let (said, asked) = run(false, [(200, AUTHTYPE), (200, warnings)]);
    assert_eq!((said.as_str(), asked.len()), ("", 1), "where nobody sees it, it does not count as said");
}

#[test]
fn a_warning_is_for_a_person_at_a_terminal() {
    let watched = |terminal, prompt: Option<&str>| Surroundings::is_watched(terminal, prompt.map(OsStr::new));
    assert!(watched(true, None) && watched(true, Some("1")) && watched(true, Some("true")));
    for no in ["0", "false", "No", "off", ""] {
        assert!(!watched(true, Some(no)), "{no}");
    }
    assert!(!watched(false, None) && !watched(false, Some("1")));
}

#[test]
fn an_old_git_gets_a_password() {
    let agent = MockAgent::start([(200, BASIC)]);
    let ended = run(&agent, &["get"], OLD_GIT);
    assert_eq!(ended.out, "username=daypass\npassword=TOK~KB\npassword_expiry_utc=1790000000\n\n");
    assert!(agent.requests()[0].contains("\"authtype\":false"));
}

#[test]
fn an_old_git_gets_nothing_while_another_helper_would_store_it() {
    let agent = MockAgent::start([(200, BASIC)]);
    let ended = run_with(&agent, &[(None, "daypass"), (None, "store")], &["get"], OLD_GIT);
    assert_eq!(ended.out, "quit=1\n\n");
    assert!(ended.err.contains("`store`") && ended.err.contains("daypass setup git"), "{}", ended.err);
    assert!(!ended.err.contains("TOK"));
    assert_eq!(ended.code, ErrorCode::Configuration.exit_code());
}

#[test]
fn a_git_configuration_that_cannot_be_read_is_no_permission() {
    let agent = MockAgent::start([(200, BASIC)]);
    let read = || Err(GitConfigError::Failed("bad config line 1".to_owned()));
    let surroundings = Surroundings { agent: agent.client(), helpers: &read, watched: false };
    let invocation = Invocation::parse(["get".into()]).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    super::run(&invocation, &surroundings, &mut OLD_GIT.as_bytes(), &mut out, &mut err);
    assert_eq!(out, b"quit=1\n\n");
    assert!(String::from_utf8(err).unwrap().contains("bad config line 1"));
}

#[test]
fn an_unknown_host_is_left_to_others_without_a_word() {
    for line in [&["get"][..], &["--exclusive", "get"]] {
        let agent =
            MockAgent::start([(404, r#"{"error":"unknown_host","message":"no such host","next_step":"none"}"#)]);
        let ended = run(&agent, line, NEW_GIT);
        assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (0, "", ""));
    }
}

#[test]
fn what_is_no_http_is_not_even_asked() {
    let agent = MockAgent::start([]);
    for input in ["protocol=smtp\nhost=h\n", "protocol=https\n", "host=h\n", "protocol=https\nhost=\n", ""] {
        let ended = run(&agent, &["get"], input);
        assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (0, "", ""), "{input:?}");
    }
}

#[test]
fn a_refusal_names_cause_and_next_step_and_stops_git() {
    let agent = MockAgent::start([(
        403,
        r#"{"error":"device_suspended","message":"device dev-1 is suspended","next_step":"ask an owner"}"#,
    )]);
    let ended = run(&agent, &["get"], NEW_GIT);
    assert_eq!(ended.out, "quit=1\n\n");
    assert_eq!(ended.err, "daypass: device dev-1 is suspended\ndaypass: next step: ask an owner\n");
    assert_eq!(ended.code, 7);
}

#[test]
fn a_scoped_helper_says_that_it_is_one_and_stops_git_over_a_pending_device() {
    let agent = MockAgent::start([(
        403,
        r#"{"error":"device_pending","message":"device dev-1 waits for approval","next_step":"read the code out"}"#,
    )]);
    let ended = run(&agent, &["--exclusive", "get"], NEW_GIT);
    assert!(agent.requests()[0].contains(r#""scoped":true"#));
    assert_eq!(ended.out, "quit=1\n\n");
    assert!(ended.err.contains("waits for approval"), "{}", ended.err);
    assert_eq!(ended.code, 6);
}

#[test]
fn without_an_agent_only_a_scoped_helper_stops_git() {
    let gone = MockAgent::start([]);
    let socket = gone.socket();
    drop(gone);
    for (exclusive, out) in [(false, ""), (true, "quit=1\n\n")] {
        let read = || Ok(Vec::new());
        let surroundings = Surroundings { agent: LocalClient::new(socket.clone()), helpers: &read, watched: false };
        let invocation = Invocation { exclusive, operation: Some("get".to_owned()), socket: None };
        let (mut output, mut err) = (Vec::new(), Vec::new());
        let code = super::run(&invocation, &surroundings, &mut NEW_GIT.as_bytes(), &mut output, &mut err);
        assert_eq!(String::from_utf8(output).unwrap(), out);
        assert_eq!(code, 12);
        assert!(String::from_utf8(err).unwrap().contains("could not reach the agent"));
    }
}

#[test]
fn store_does_nothing_and_erase_names_what_was_refused() {
    let agent = MockAgent::start([(204, "")]);
    let stored = run(&agent, &["store"], "protocol=https\nhost=g.example\nauthtype=Daypass\ncredential=TOK~KB\n");
    assert_eq!((stored.code, stored.out.as_str(), stored.err.as_str()), (0, "", ""));
    assert!(agent.requests().is_empty());
    let erased =
        run(&agent, &["erase"], "protocol=https\nhost=g.example\npath=a/b\nauthtype=Daypass\ncredential=TOK~KB\n");
    assert_eq!((erased.code, erased.out.as_str(), erased.err.as_str()), (0, "", ""));
    let asked = agent.requests().remove(0);
    assert!(asked.starts_with("POST /v1/git-credentials/erase "));
    assert!(asked.contains(r#""secret":"TOK~KB""#) && asked.contains(r#""path":"a/b""#), "{asked}");
    // Nothing was handed out, so there is nothing to drop.
    assert_eq!(run(&agent, &["erase"], "protocol=https\nhost=g.example\n").code, 0);
    assert_eq!(agent.requests().len(), 1);
}

#[test]
fn capabilities_and_operations_to_come() {
    let agent = MockAgent::start([]);
    assert_eq!(run(&agent, &["capability"], "").out, "version 0\ncapability authtype\n");
    let later = run(&agent, &["rotate"], "protocol=https\n");
    assert_eq!((later.code, later.out.as_str()), (0, ""));
}

#[test]
fn a_command_line_that_is_none() {
    let long = "x".repeat(5000);
    let token = "eyJhbGciOiJFUzI1NiIs".repeat(40);
    for (line, told) in [
        (&[][..], "no operation was given"),
        (&[""], "no operation was given"),
        (&["--socket"], "`--socket` needs the path"),
        (&["--socket", "", "get"], "`--socket`: the value is empty"),
        (&["--socket", "a\u{202e}b", "get"], "`--socket`: the value has the character U+202E"),
        (&["--socket", &long, "get"], "`--socket`: the path has 5000 bytes"),
        (&["--what", "get"], "`--what` is no option of this helper"),
        (&["--\u{1b}[2J\n", "get"], "`--\u{fffd}[2J\u{fffd}` is no option"),
        (&["get", "get"], "`get` is one operation too many"),
        (&["get", &token], "`eyJhbGciOiJF...` is one operation too many"),
    ] {
        let refused = Invocation::parse(line.iter().map(OsString::from)).unwrap_err().to_string();
        assert!(refused.starts_with(told) && refused.chars().count() < 200, "{line:?}: {refused}");
    }
    let full = Invocation::parse(["--socket", "/a b", "--exclusive", "get"].map(Into::into)).unwrap();
    assert_eq!(full, Invocation { socket: Some("/a b".into()), exclusive: true, operation: Some("get".to_owned()) });
}
