//! `daypass token` and `daypass proof`.

use daypass_proto::{
    authorization::AuthorizationDetails,
    local_api::{ErrorCode, ProofAnswer, ProofRequest, TokenAnswer, TokenRequest, Warnings, WarningsRequest},
};
use zeroize::Zeroizing;

use super::{
    arguments::{Proof, Token},
    failure::Failure,
    terminal::Terminal,
};
use crate::local_client::{LONG, LocalClient, SHORT};

pub(super) fn token(asked: &Token, agent: &LocalClient, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let request = TokenRequest {
        resource: asked.resource.clone(),
        authorization_details: asked.details.as_deref().map(details).transpose()?,
        min_ttl: asked.min_ttl,
        protection: asked.protection.map(Into::into),
    };
    let answer: TokenAnswer = agent.post("/v1/tokens", &request, LONG)?;
    if terminal.json() {
        return terminal.document(&answer);
    }
    terminal.words(&answer.access_token)?;
    warn(asked.resource.as_str(), agent, terminal);
    Ok(())
}

/// Says what comes to its end to whoever sits there, at most once a day: the agent counts. Whatever stands in the way, what was asked for is there.
fn warn(location: &str, agent: &LocalClient, terminal: &mut dyn Terminal) {
    if !terminal.watched() {
        return;
    }
    let asked = WarningsRequest { location: location.to_owned() };
    let Ok(Warnings { warnings }) = agent.post("/v1/warnings", &asked, SHORT) else { return };
    for warning in warnings {
        terminal.note(&format!("{}\n  {}", warning.message, warning.next_step));
    }
}

fn details(text: &str) -> Result<AuthorizationDetails, Failure> {
    serde_json::from_str(text).map_err(|error| {
        Failure::new(
            ErrorCode::Malformed,
            format!("`--details` is not a list of authorization details: {error}"),
            r#"write it like `[{"type":"git_repository","locations":["https://git.example.com/team/app"],"actions":["read"]}]`"#,
        )
    })
}

pub(super) fn proof(asked: &Proof, agent: &LocalClient, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let request = ProofRequest {
        method: asked.method.clone(),
        url: asked.url.clone(),
        nonce: asked.nonce.clone(),
        protection: asked.protection.map(Into::into),
    };
    let answer: ProofAnswer = agent.post("/v1/proofs", &request, LONG)?;
    if terminal.json() {
        return terminal.document(&answer);
    }
    let headers = Zeroizing::new(format!("Authorization: DPoP {}\nDPoP: {}", answer.access_token, answer.proof));
    terminal.words(&headers)?;
    warn(&asked.url, agent, terminal);
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::{
        cli::{Arguments, run, terminal::buffer::Buffer},
        mock_agent::MockAgent,
    };

    const TOKEN: &str =
        r#"{"access_token":"TOK","token_type":"DPoP","expires_at":1790000000,"authorization_details":[]}"#;

    fn ask(agent: &MockAgent, line: &[&str], json: bool) -> (Result<(), super::Failure>, Buffer) {
        ask_as(agent, line, Buffer { json, ..Buffer::default() })
    }

    fn ask_as(agent: &MockAgent, line: &[&str], mut terminal: Buffer) -> (Result<(), super::Failure>, Buffer) {
        let socket = agent.socket();
        let mut full = vec!["daypass", "--socket", socket.to_str().unwrap()];
        full.extend_from_slice(line);
        let result = run(&Arguments::try_parse_from(full).unwrap(), &mut terminal);
        (result, terminal)
    }

    #[test]
    fn a_token_alone_on_stdout() {
        let agent = MockAgent::start([(200, TOKEN), (200, TOKEN)]);
        let (result, terminal) = ask(&agent, &["token", "https://git.example.com", "--min-ttl", "60"], false);
        result.unwrap();
        assert_eq!((terminal.said().as_str(), terminal.noted().as_str()), ("TOK\n", ""));
        assert!(agent.requests()[0].ends_with(r#"{"resource":"https://git.example.com/","min_ttl":60}"#));
        let (result, terminal) = ask(&agent, &["token", "https://git.example.com/"], true);
        result.unwrap();
        assert_eq!(terminal.parsed()["token_type"], "DPoP");
    }

    #[test]
    fn whoever_sits_there_hears_what_comes_to_its_end_and_a_program_does_not() {
        let warnings = r#"{"warnings":[{"grant":"gr-3k7q0x9a1b2c3d4e","what":"soon","message":"grant g ends soon","next_step":"extend it"}]}"#;
        let agent = MockAgent::start([(200, TOKEN), (200, warnings), (200, TOKEN)]);
        let line = ["token", "https://git.example.com/"];
        let (result, terminal) = ask_as(&agent, &line, Buffer { watched: true, ..Buffer::default() });
        result.unwrap();
        assert_eq!(
            (terminal.said().as_str(), terminal.noted().as_str()),
            ("TOK\n", "grant g ends soon\n  extend it\n")
        );
        assert!(agent.requests()[1].ends_with(r#"{"location":"https://git.example.com/"}"#));
        ask(&agent, &line, false).0.unwrap();
        assert_eq!(agent.requests().len(), 3, "nobody is there, and nothing counts as said");
    }

    #[test]
    fn bad_details_never_reach_the_agent() {
        let agent = MockAgent::start([]);
        let (result, _) =
            ask(&agent, &["token", "https://git.example.com/", "--details", r#"[{"type":"root"}]"#], false);
        let failure = result.unwrap_err();
        assert!(failure.to_string().contains("`--details`"), "{failure}");
        assert_eq!(failure.exit_code(), 3);
    }

    #[test]
    fn a_proof_is_two_headers_for_curl() {
        let agent = MockAgent::start([(200, r#"{"access_token":"TOK","proof":"PROOF","expires_at":1790000000}"#)]);
        let (result, terminal) = ask(&agent, &["proof", "GET", "https://git.example.com/x", "--nonce", "n"], false);
        result.unwrap();
        assert_eq!(terminal.said(), "Authorization: DPoP TOK\nDPoP: PROOF\n");
        assert!(agent.requests()[0].ends_with(r#"{"method":"GET","url":"https://git.example.com/x","nonce":"n"}"#));
    }

    #[test]
    fn a_refusal_ends_with_the_code_of_its_cause() {
        let agent = MockAgent::start([(
            403,
            r#"{"error":"not_granted","message":"nothing is granted there","next_step":"ask"}"#,
        )]);
        let (result, terminal) = ask(&agent, &["token", "https://git.example.com/"], false);
        assert_eq!(result.unwrap_err().exit_code(), 8);
        assert_eq!(terminal.said(), "");
    }
}
