//! `daypass extend`, `daypass request` and `daypass requests`: asking for longer, or for more.

use daypass_proto::{
    access_request::{AccessRequest, Ask, RequestLife, Wanted},
    enrolment::GrantState,
    local_api::{AllRequests, AskIssuer, Enrolment, Enrolments, ErrorCode, RefreshRequest, Status, WithdrawAsked},
    names::RequestId,
    redaction::redacted,
    words::harmless,
};

use super::{
    arguments::{AskedEnd, Extend, RequestRole, RequestsArguments},
    failure::Failure,
    leave::issuer_named,
    terminal::Terminal,
};
use crate::local_client::{LONG, LocalClient, SHORT};

/// States in which a grant can be extended.
const LIVE: [&str; 3] = ["active", "grace", "suspended"];

/// `daypass extend`.
pub(super) fn extend(asked: &Extend, agent: &LocalClient, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let status = status_with(agent, asked.issuer.as_deref(), |grant| match &asked.grant {
        Some(id) => grant.grant == *id,
        None => LIVE.contains(&grant.state.as_str()),
    })?;
    let all = of(&status, asked.issuer.as_deref())?;
    let grants: Vec<(&Enrolment, &GrantState)> =
        all.iter().flat_map(|enrolment| enrolment.grants.iter().map(move |grant| (*enrolment, grant))).collect();
    let found: Vec<_> = match &asked.grant {
        Some(id) => grants.iter().filter(|(_, grant)| grant.grant == *id).collect(),
        None => grants.iter().filter(|(_, grant)| LIVE.contains(&grant.state.as_str())).collect(),
    };
    let (enrolment, grant) = match found.as_slice() {
        [one] => one,
        [] => {
            return Err(Failure::new(
                ErrorCode::NotGranted,
                "this machine has no such grant that could be extended",
                "`daypass status --refresh` shows what it has",
            ));
        }
        several => {
            let names: Vec<String> = several
                .iter()
                .map(|(_, grant)| format!("{} ({} as {})", grant.grant, grant.project, grant.role))
                .collect();
            return Err(Failure::new(
                ErrorCode::Malformed,
                format!("there are several grants: {}", names.join(", ")),
                "name one: `daypass extend GRANT --reason …`",
            ));
        }
    };
    let what = Wanted::Extension { grant: grant.grant.clone() };
    ask(&enrolment.issuer, what, &asked.end, agent, terminal)
}

/// `daypass request`.
pub(super) fn request(asked: &RequestRole, agent: &LocalClient, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let status = status_with(agent, asked.issuer.as_deref(), |grant| grant.project == asked.project)?;
    let all = of(&status, asked.issuer.as_deref())?;
    let has = |enrolment: &&&Enrolment| enrolment.grants.iter().any(|grant| grant.project == asked.project);
    let issuer = match all.iter().filter(has).collect::<Vec<_>>().as_slice() {
        [one] => one.issuer.clone(),
        [] => {
            return Err(Failure::new(
                ErrorCode::NotGranted,
                format!("this machine has nothing in a project `{}`", asked.project),
                "`daypass status --refresh` shows what it has; who has not been invited to a project asks its owners for an invitation",
            ));
        }
        _ => {
            return Err(Failure::new(
                ErrorCode::Malformed,
                format!("several issuers have a project `{}`", asked.project),
                "name one with `--issuer`",
            ));
        }
    };
    let what = Wanted::Scopes { project: asked.project.clone(), role: asked.role.clone() };
    ask(&issuer, what, &asked.end, agent, terminal)
}

/// `daypass requests`.
pub(super) fn requests(
    asked: &RequestsArguments,
    agent: &LocalClient,
    terminal: &mut dyn Terminal,
) -> Result<(), Failure> {
    let all: AllRequests = agent.get("/v1/requests", LONG)?;
    if let Some(id) = &asked.withdraw {
        return withdraw(id, &all, agent, terminal);
    }
    if terminal.json() {
        return terminal.document(&all);
    }
    let mut nothing = true;
    for at in &all.issuers {
        for request in &at.requests {
            terminal.words(&describe(request, &at.issuer))?;
            nothing = false;
        }
        if let Some(problem) = &at.problem {
            terminal.words(&format!(
                "{} does not say: {}\n  next step    {}",
                at.issuer, problem.message, problem.next_step
            ))?;
            nothing = false;
        }
    }
    if nothing {
        terminal
            .words("nothing was asked for; `daypass extend` asks for longer, `daypass request` for another role")?;
    }
    Ok(())
}

fn withdraw(
    id: &RequestId,
    all: &AllRequests,
    agent: &LocalClient,
    terminal: &mut dyn Terminal,
) -> Result<(), Failure> {
    let at = all.issuers.iter().find(|at| at.requests.iter().any(|request| request.request == *id));
    let Some(at) = at else {
        return Err(Failure::new(
            ErrorCode::Malformed,
            format!("this machine has no request `{id}`"),
            "`daypass requests` shows those that it has",
        ));
    };
    let withdraw = WithdrawAsked { issuer: at.issuer.clone(), request: id.clone() };
    told(&agent.post("/v1/requests/withdraw", &withdraw, LONG)?, &at.issuer, terminal)
}

/// The enrolments that are meant.
/// What the agent knows; where no grant is meant by what it knows, what the issuer says now: one may have been approved since the agent last asked.
fn status_with(
    agent: &LocalClient,
    issuer: Option<&str>,
    meant: impl Fn(&GrantState) -> bool,
) -> Result<Status, Failure> {
    let status: Status = agent.get("/v1/status", SHORT)?;
    if of(&status, issuer)?.iter().any(|enrolment| enrolment.grants.iter().any(&meant)) {
        return Ok(status);
    }
    let asked = RefreshRequest { issuer: issuer.map(issuer_named).transpose()? };
    agent.post::<Enrolments>("/v1/enrolments/refresh", &asked, LONG)?;
    Ok(agent.get("/v1/status", SHORT)?)
}

fn of<'s>(status: &'s Status, issuer: Option<&str>) -> Result<Vec<&'s Enrolment>, Failure> {
    let issuer = issuer.map(issuer_named).transpose()?;
    let meant = |enrolment: &&Enrolment| issuer.as_ref().is_none_or(|issuer| enrolment.issuer == *issuer);
    Ok(status.enrolments.iter().filter(meant).collect())
}

fn ask(
    issuer: &str,
    what: Wanted,
    end: &AskedEnd,
    agent: &LocalClient,
    terminal: &mut dyn Terminal,
) -> Result<(), Failure> {
    let until = end.until.clone().or_else(|| end.length.clone());
    let ask = Ask { what, until, reason: end.reason.clone() };
    told(&agent.post("/v1/requests", &AskIssuer { issuer: issuer.to_owned(), ask }, LONG)?, issuer, terminal)
}

fn told(request: &AccessRequest, issuer: &str, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    if terminal.json() {
        return terminal.document(request);
    }
    terminal.words(&describe(request, issuer))
}

fn describe(request: &AccessRequest, issuer: &str) -> String {
    let what = match &request.what {
        Wanted::Extension { grant } => {
            format!("{grant}, {} as {}, until {}", request.project, request.role, request.until)
        }
        Wanted::Scopes { project, role } => format!("{project} as {role} until {}", request.until),
    };
    let mut text = format!("{} is {}\n  asks for     {what}\n  at           {issuer}", request.request, request.state);
    let mut line = |name: &str, value: &str| text += &format!("\n  {name:<12} {}", redacted(&harmless(value)));
    line("because", &request.reason);
    if let Some(less) = &request.narrowed_to {
        line("narrowed to", &format!("{} until {}", less.role, less.until));
    }
    if let Some(answer) = &request.answer {
        line("answer", answer);
    }
    if request.state == RequestLife::Requested {
        let owners = request.waits_for.join(", ");
        line(
            "waits for",
            if owners.is_empty() { "nobody who could approve it; ask an owner of the project" } else { &owners },
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::{status::tests::APPROVED, terminal::buffer::Buffer},
        mock_agent::MockAgent,
    };

    fn answer(state: &str, more: &str) -> String {
        format!(
            r#"{{"request":"req-3k7q0x9a1b2c3d4e","what":{{"wanted":"extension","grant":"gr-3k7q0x9a1b2c3d4e"}},"collaborator":"alice@example.com",
               "device":"dev-3k7q0x9a1b2c3d4e","project":"apollo","role":"developer","until":1800000000,"reason":"not done","state":"{state}",
               "asked_at":1790000000,"decided_at":null,"answer":null,"narrowed_to":null,"waits_for":["olga@example.com"]{more}}}"#
        )
    }

    fn end(until: Option<&str>) -> AskedEnd {
        AskedEnd { until: until.map(str::to_owned), length: None, reason: "not done".to_owned() }
    }

    #[test]
    fn the_only_grant_is_meant_and_whom_it_waits_for_is_said() {
        let agent = MockAgent::start([(200, APPROVED), (200, &answer("requested", ""))]);
        let mut terminal = Buffer::default();
        let asked = Extend { grant: None, issuer: None, end: end(Some("30d")) };
        extend(&asked, &agent.client(), &mut terminal).unwrap();
        let sent = agent.requests().remove(1);
        assert!(
            sent.contains(r#""what":{"wanted":"extension","grant":"gr-3k7q0x9a1b2c3d4e"},"until":"30d""#),
            "{sent}"
        );
        let said = terminal.said();
        assert!(said.contains("is requested") && said.contains("waits for    olga@example.com"), "{said}");
    }

    #[test]
    fn what_is_not_there_is_told_before_anybody_is_asked() {
        for (grant, status) in [
            (Some("gr-0000000000000000"), APPROVED.to_owned()),
            (None, APPROVED.replace(r#""state":"active""#, r#""state":"ended""#)),
        ] {
            // Where nothing could be meant, the issuer is asked what there is by now.
            let answers = [(200, status.as_str()), (200, r#"{"enrolments":[]}"#), (200, status.as_str())];
            let agent = MockAgent::start(answers);
            let asked = Extend { grant: grant.map(|grant| grant.parse().unwrap()), issuer: None, end: end(None) };
            let failure = extend(&asked, &agent.client(), &mut Buffer::default()).unwrap_err();
            assert_eq!(failure.exit_code(), 8, "{failure}");
        }
        let agent = MockAgent::start([(200, APPROVED), (200, r#"{"enrolments":[]}"#), (200, APPROVED)]);
        let asked = RequestRole {
            project: "gemini".parse().unwrap(),
            role: "reader".parse().unwrap(),
            issuer: None,
            end: end(None),
        };
        let failure = request(&asked, &agent.client(), &mut Buffer::default()).unwrap_err();
        assert!(failure.to_string().contains("nothing in a project `gemini`"), "{failure}");
    }

    #[test]
    fn a_list_says_what_became_of_each_and_which_issuer_is_silent() {
        let narrowed = answer("narrowed", "")
            .replace(r#""narrowed_to":null"#, r#""narrowed_to":{"role":"developer","until":1795000000}"#);
        let all = format!(
            r#"{{"issuers":[{{"issuer":"https://issuer.example","requests":[{narrowed}],"problem":null}},
               {{"issuer":"https://away.example","requests":[],"problem":{{"error":"issuer_unreachable","message":"no answer","next_step":"wait"}}}}]}}"#
        );
        let agent = MockAgent::start([(200, all.as_str())]);
        let mut terminal = Buffer::default();
        requests(&RequestsArguments { withdraw: None }, &agent.client(), &mut terminal).unwrap();
        let said = terminal.said();
        assert!(
            said.contains("narrowed to  developer until")
                && said.contains("https://away.example does not say: no answer"),
            "{said}"
        );
    }

    #[test]
    fn a_request_is_taken_back_where_it_was_made() {
        let all = format!(
            r#"{{"issuers":[{{"issuer":"https://issuer.example","requests":[{}],"problem":null}}]}}"#,
            answer("requested", "")
        );
        let agent = MockAgent::start([(200, all.as_str()), (200, &answer("withdrawn", ""))]);
        let mut terminal = Buffer::default();
        let asked = RequestsArguments { withdraw: Some("req-3k7q0x9a1b2c3d4e".parse().unwrap()) };
        requests(&asked, &agent.client(), &mut terminal).unwrap();
        assert!(
            agent.requests()[1].ends_with(r#"{"issuer":"https://issuer.example","request":"req-3k7q0x9a1b2c3d4e"}"#)
        );
        assert!(terminal.said().contains("is withdrawn"));
    }
}
