//! `daypass leave`.

use daypass_proto::{
    invitation::canonical_issuer,
    local_api::{ErrorCode, LeaveAnswer, LeaveRequest, Status, Told},
};

use super::{arguments::Leave, failure::Failure, terminal::Terminal};
use crate::local_client::{LONG, LocalClient, SHORT};

pub(super) fn run(asked: &Leave, agent: &LocalClient, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let issuer = match &asked.issuer {
        Some(issuer) => issuer_named(issuer)?,
        None => only_issuer(&agent.get::<Status>("/v1/status", SHORT)?)?,
    };
    if !asked.yes {
        let question = format!(
            "leave {issuer} and erase this machine's keys for it? access ends at once, and only a new invitation brings it back"
        );
        match terminal.confirm(&question) {
            Some(true) => {}
            Some(false) => return Err(Failure::Declined),
            None => return Err(Failure::Unconfirmed("leaving asks first")),
        }
    }
    let answer: LeaveAnswer = agent.post("/v1/leave", &LeaveRequest { issuer }, LONG)?;
    if terminal.json() {
        return terminal.document(&answer);
    }
    terminal.words(&format!("left {}: this machine's keys for it are erased", answer.issuer))?;
    match answer.told {
        Told::Told => terminal.words("the issuer has ended this device's access")?,
        Told::NothingToTell => terminal.words(
            "the issuer was not told: the enrolment was never complete here; should an owner see the device on the list all the same, they can revoke it",
        )?,
        Told::CouldNotTell => {
            let cause = answer.problem.as_ref().map_or(String::new(), |problem| format!(": {}", problem.message));
            terminal.words(&format!("the issuer could not be told{cause}"))?;
            terminal.words("nobody can use the keys any more; ask an owner of the project to revoke the device, so that it does not stay on the list")?;
        }
    }
    terminal.words(
        "if git was set up for it, run `daypass setup git` again, or `daypass setup git --undo` when nothing is left",
    )
}

/// An issuer, as somebody typed it.
pub(super) fn issuer_named(issuer: &str) -> Result<String, Failure> {
    canonical_issuer(issuer).ok_or_else(|| {
        Failure::new(
            ErrorCode::Malformed,
            format!("`{issuer}` is not an issuer's address"),
            "give it as `daypass status` shows it",
        )
    })
}

fn only_issuer(status: &Status) -> Result<String, Failure> {
    match status.enrolments.as_slice() {
        [one] => Ok(one.issuer.clone()),
        [] => Err(Failure::new(
            ErrorCode::NotEnrolled,
            "there is no enrolment to leave",
            "`daypass status` shows what there is",
        )),
        several => {
            let issuers: Vec<&str> = several.iter().map(|enrolment| enrolment.issuer.as_str()).collect();
            Err(Failure::new(
                ErrorCode::Malformed,
                format!("there are several enrolments: {}", issuers.join(", ")),
                "name one with `--issuer`",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::{status::tests::APPROVED, terminal::buffer::Buffer},
        mock_agent::MockAgent,
    };

    const LEFT: &str = r#"{"issuer":"https://issuer.example","told":"told","problem":null}"#;

    #[test]
    fn the_only_enrolment_is_meant_and_a_person_confirms() {
        let agent = MockAgent::start([(200, APPROVED), (200, LEFT)]);
        let mut terminal = Buffer { answer: Some(true), ..Buffer::default() };
        run(&Leave { issuer: None, yes: false }, &agent.client(), &mut terminal).unwrap();
        assert!(agent.requests()[1].ends_with(r#"{"issuer":"https://issuer.example"}"#));
        assert!(terminal.said().contains("the issuer has ended this device's access"));
    }

    #[test]
    fn without_a_yes_nothing_is_left() {
        for (answer, code) in [(Some(false), 2), (None, 2)] {
            let agent = MockAgent::start([(200, APPROVED)]);
            let mut terminal = Buffer { answer, ..Buffer::default() };
            let failure = run(&Leave { issuer: None, yes: false }, &agent.client(), &mut terminal).unwrap_err();
            assert_eq!(failure.exit_code(), code);
            assert_eq!(agent.requests().len(), 1);
        }
    }

    #[test]
    fn an_issuer_that_was_not_told_is_said() {
        let agent = MockAgent::start([(
            200,
            r#"{"issuer":"https://issuer.example","told":"could_not_tell","problem":{"error":"issuer_unreachable","message":"no answer","next_step":"x"}}"#,
        )]);
        let mut terminal = Buffer::default();
        run(&Leave { issuer: Some("https://issuer.example/".to_owned()), yes: true }, &agent.client(), &mut terminal)
            .unwrap();
        assert!(agent.requests()[0].ends_with(r#"{"issuer":"https://issuer.example"}"#));
        assert!(terminal.said().contains("could not be told: no answer"));
    }

    #[test]
    fn where_nobody_was_told_nobody_is_said_to_be() {
        let agent =
            MockAgent::start([(200, r#"{"issuer":"https://issuer.example","told":"nothing_to_tell","problem":null}"#)]);
        let mut terminal = Buffer::default();
        run(&Leave { issuer: Some("https://issuer.example/".to_owned()), yes: true }, &agent.client(), &mut terminal)
            .unwrap();
        assert!(terminal.said().contains("the issuer was not told"), "{}", terminal.said());
        assert!(!terminal.said().contains("has ended"), "{}", terminal.said());
    }

    #[test]
    fn nothing_to_leave() {
        let nothing = r#"{"version":"0","now":1,"tpm":{"tcti":"x","available":true,"description":null,"problem":null},"enrolments":[]}"#;
        let agent = MockAgent::start([(200, nothing)]);
        let failure = run(&Leave { issuer: None, yes: true }, &agent.client(), &mut Buffer::default()).unwrap_err();
        assert_eq!(failure.exit_code(), 4);
    }
}
