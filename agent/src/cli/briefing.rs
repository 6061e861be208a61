//! `daypass briefing`: what somebody may do, and that they accepted it.

use daypass_proto::{
    briefing::{Briefing, Standing, text_hash},
    enrolment::GrantState,
    local_api::{BriefingAccepted, BriefingAsked, Enrolment, Enrolments, ErrorCode, RefreshRequest},
    words::is_shown,
};
use serde_json::json;

use super::{
    arguments::{BriefingArguments, BriefingCommand, OneBriefing},
    failure::Failure,
    leave::issuer_named,
    terminal::Terminal,
};
use crate::local_client::{LONG, LocalClient};

/// Runs it.
pub(super) fn run(asked: &BriefingArguments, agent: &LocalClient, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    match &asked.command {
        None => show(&asked.of, agent, terminal),
        Some(BriefingCommand::Accept { of, yes }) => accept(of, *yes, agent, terminal),
    }
}

/// A grant that has a briefing, and whose it is.
struct Found {
    issuer: String,
    grant: GrantState,
}

impl Found {
    fn read(&self, agent: &LocalClient) -> Result<Briefing, Failure> {
        let asked = BriefingAsked { issuer: self.issuer.clone(), grant: self.grant.grant.clone() };
        Ok(agent.post("/v1/briefings", &asked, LONG)?)
    }
}

fn find(of: &OneBriefing, agent: &LocalClient) -> Result<Vec<Found>, Failure> {
    let issuer = of.issuer.as_deref().map(issuer_named).transpose()?;
    // Whoever was approved a moment ago reads it now.
    let asked = RefreshRequest { issuer };
    let known: Enrolments = agent.post("/v1/enrolments/refresh", &asked, LONG)?;
    let named = |grant: &GrantState| {
        of.name.as_ref().is_none_or(|name| *name == grant.grant.to_string() || *name == grant.project.to_string())
    };
    let has = |enrolment: &Enrolment| {
        let with = enrolment.grants.iter().filter(|grant| grant.briefing.is_some() && named(grant));
        with.map(|grant| Found { issuer: enrolment.issuer.clone(), grant: grant.clone() }).collect::<Vec<_>>()
    };
    let found: Vec<Found> = known.enrolments.iter().flat_map(has).collect();
    if found.is_empty() {
        if let Some(problem) = known.enrolments.into_iter().find_map(|enrolment| enrolment.problem) {
            return Err(Failure::Problem(problem));
        }
        let what = of
            .name
            .as_ref()
            .map_or_else(|| "with a briefing".to_owned(), |name| format!("`{name}`, or none with a briefing"));
        return Err(Failure::new(
            ErrorCode::NotGranted,
            format!("this machine has no grant {what}"),
            "`daypass status` shows what it has",
        ));
    }
    Ok(found)
}

fn show(of: &OneBriefing, agent: &LocalClient, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let all: Vec<Briefing> = find(of, agent)?.iter().map(|found| found.read(agent)).collect::<Result<_, _>>()?;
    if terminal.json() {
        return terminal.document(&json!({ "briefings": all }));
    }
    all.iter().try_for_each(|briefing| {
        terminal.words(&shown(briefing))?;
        let grant = &briefing.grant;
        terminal.note(&match briefing.standing {
            Standing::Required => {
                format!("there is no token before you accept it: run `daypass briefing accept {grant}`")
            }
            Standing::Accepted => format!("you have accepted it, for grant {grant}"),
            Standing::Offered => format!("you need not accept it, for grant {grant}"),
        });
        Ok(())
    })
}

fn accept(of: &OneBriefing, yes: bool, agent: &LocalClient, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let mut found = find(of, agent)?;
    // Those that nothing waits for are meant only where nothing waits.
    if found.iter().any(|found| found.grant.briefing == Some(Standing::Required)) {
        found.retain(|found| found.grant.briefing == Some(Standing::Required));
    }
    let one = match found.as_slice() {
        [one] => one,
        several => {
            let named =
                |found: &Found| format!("{} ({} as {})", found.grant.grant, found.grant.project, found.grant.role);
            let names: Vec<String> = several.iter().map(named).collect();
            return Err(Failure::new(
                ErrorCode::Malformed,
                format!("there are several briefings: {}", names.join(", ")),
                "name one: `daypass briefing accept GRANT`",
            ));
        }
    };
    let briefing = one.read(agent)?;
    if !terminal.json() {
        terminal.words(&shown(&briefing))?;
    }
    if briefing.standing == Standing::Accepted {
        return done(&briefing, terminal, "you had accepted it already");
    }
    if !yes {
        match terminal.confirm("have you read this, and do you accept it?") {
            Some(true) => {}
            Some(false) => return Err(Failure::Declined),
            None => return Err(Failure::Unconfirmed("accepting asks first")),
        }
    }
    let accepted = BriefingAccepted {
        issuer: one.issuer.clone(),
        grant: briefing.grant.clone(),
        project: briefing.project.clone(),
        briefing: briefing.briefing,
        // Over what was shown here.
        text: text_hash(&briefing.text),
    };
    let answer: Briefing = agent.post("/v1/briefings/accept", &accepted, LONG)?;
    done(&answer, terminal, "accepted: this machine's TPM signed it, and the issuer's ledger has its hash")
}

fn done(briefing: &Briefing, terminal: &mut dyn Terminal, words: &str) -> Result<(), Failure> {
    if terminal.json() { terminal.document(briefing) } else { terminal.words(words) }
}

/// The text, as a terminal may see it: what is a command to a terminal is none here.
fn shown(briefing: &Briefing) -> String {
    let plain = |c: char| if is_shown(c) || matches!(c, '\n' | '\t') { c } else { '\u{fffd}' };
    briefing.text.trim_end().chars().map(plain).chain(['\n']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::{status::tests::APPROVED, terminal::buffer::Buffer},
        mock_agent::MockAgent,
    };

    const GRANT: &str = "gr-3k7q0x9a1b2c3d4e";

    /// The enrolments of a machine whose one grant stands so.
    fn enrolments(standing: &str) -> String {
        let status: serde_json::Value = serde_json::from_str(APPROVED).unwrap();
        let mut enrolments = json!({ "enrolments": status["enrolments"] });
        enrolments["enrolments"][0]["grants"][0]["briefing"] = serde_json::from_str(standing).unwrap();
        enrolments.to_string()
    }

    fn briefing(standing: &str) -> String {
        json!({"grant": GRANT, "project": "apollo", "role": "developer", "standing": standing, "briefing": "A".repeat(43),
            "text": "# Apollo\n\nNo \u{1b}[2Jsurprises.\n"})
        .to_string()
    }

    fn of(name: Option<&str>) -> OneBriefing {
        OneBriefing { name: name.map(str::to_owned), issuer: None }
    }

    #[test]
    fn it_is_shown_and_says_what_waits() {
        for (standing, note) in [
            ("required", "there is no token before you accept it: run `daypass briefing accept gr-3k7q0x9a1b2c3d4e`"),
            ("accepted", "you have accepted it"),
            ("offered", "you need not accept it"),
        ] {
            for name in [None, Some(GRANT), Some("apollo")] {
                let agent =
                    MockAgent::start([(200, &*enrolments(&format!("\"{standing}\""))), (200, &briefing(standing))]);
                let mut terminal = Buffer::default();
                show(&of(name), &agent.client(), &mut terminal).unwrap();
                assert_eq!(terminal.said(), "# Apollo\n\nNo \u{fffd}[2Jsurprises.\n\n");
                assert!(terminal.noted().contains(note), "{}", terminal.noted());
                let asked = format!(r#"{{"issuer":"https://issuer.example","grant":"{GRANT}"}}"#);
                assert!(agent.requests()[1].ends_with(&asked), "{:?}", agent.requests());
            }
        }
    }

    #[test]
    fn what_is_accepted_is_what_was_shown() {
        let agent = MockAgent::start([
            (200, &*enrolments("\"required\"")),
            (200, &briefing("required")),
            (200, &briefing("accepted")),
        ]);
        let mut terminal = Buffer { answer: Some(true), ..Buffer::default() };
        accept(&of(None), false, &agent.client(), &mut terminal).unwrap();
        let hash = serde_json::to_value(text_hash("# Apollo\n\nNo \u{1b}[2Jsurprises.\n")).unwrap();
        let sent = agent.requests().remove(2);
        let body: serde_json::Value =
            serde_json::from_str(sent.split("\r\n\r\n").last().unwrap()).unwrap_or_else(|_| panic!("{sent}"));
        assert_eq!(
            body,
            json!({"issuer": "https://issuer.example", "grant": GRANT, "project": "apollo", "briefing": "A".repeat(43), "text": hash})
        );
        assert!(terminal.said().starts_with("# Apollo") && terminal.said().contains("accepted: this machine's TPM"));
        assert!(terminal.noted().contains("have you read this"));
    }

    #[test]
    fn nothing_is_accepted_without_a_yes_or_twice() {
        for (answer, code) in [(None, 2), (Some(false), 2)] {
            let agent = MockAgent::start([(200, &*enrolments("\"required\"")), (200, &briefing("required"))]);
            let mut terminal = Buffer { answer, ..Buffer::default() };
            let failure = accept(&of(None), false, &agent.client(), &mut terminal).unwrap_err();
            assert_eq!((failure.exit_code(), agent.requests().len()), (code, 2));
        }
        let agent = MockAgent::start([(200, &*enrolments("\"accepted\"")), (200, &briefing("accepted"))]);
        let mut terminal = Buffer::default();
        accept(&of(None), true, &agent.client(), &mut terminal).unwrap();
        assert_eq!(agent.requests().len(), 2);
        assert!(terminal.said().contains("accepted it already"));
    }

    #[test]
    fn what_is_not_there_is_told() {
        for (standing, name) in
            [("null", None), ("\"required\"", Some("gemini")), ("\"required\"", Some("gr-0000000000000000"))]
        {
            let agent = MockAgent::start([(200, &*enrolments(standing))]);
            let failure = show(&of(name), &agent.client(), &mut Buffer::default()).unwrap_err();
            assert_eq!((failure.exit_code(), agent.requests().len()), (8, 1), "{failure}");
        }
        let mut down: serde_json::Value = serde_json::from_str(&enrolments("null")).unwrap();
        down["enrolments"][0]["problem"] =
            json!({"error": "issuer_unreachable", "message": "no answer", "next_step": "wait"});
        let agent = MockAgent::start([(200, &*down.to_string())]);
        assert_eq!(show(&of(None), &agent.client(), &mut Buffer::default()).unwrap_err().exit_code(), 10);
    }
}
