//! `daypass notices`: what was decided, and what comes to its end.

use daypass_proto::{
    enrolment::DeviceLife,
    local_api::{AllNotices, KeptNotice, NoticesAt, ReadNotices},
    notice::{About, Notice},
    redaction::redacted,
    words::harmless,
};

use super::{arguments::NoticesArguments, failure::Failure, terminal::Terminal};
use crate::local_client::{LONG, LocalClient, SHORT};

pub(super) fn run(asked: &NoticesArguments, agent: &LocalClient, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let all: AllNotices = agent.get("/v1/notices", LONG)?;
    if terminal.json() {
        terminal.document(&all)?;
    } else {
        let mut said = false;
        for at in &all.issuers {
            let lines = describe(at, asked.all);
            if !lines.is_empty() {
                terminal.words(&format!("{}\n{}", at.issuer, lines.join("\n")))?;
                said = true;
            }
        }
        if !said {
            terminal.words("nothing new; `daypass notices --all` shows what was read before")?;
        }
    }
    // Only what was shown counts as read.
    for at in &all.issuers {
        let events: Vec<u64> = at.notices.iter().filter(|kept| !kept.read).map(|kept| kept.notice.event).collect();
        if !events.is_empty() {
            agent.post_only("/v1/notices/read", &ReadNotices { issuer: at.issuer.clone(), events }, SHORT)?;
        }
    }
    Ok(())
}

fn describe(at: &NoticesAt, all: bool) -> Vec<String> {
    let mut lines: Vec<String> = at
        .notices
        .iter()
        .filter(|kept| all || !kept.read)
        .map(|kept: &KeptNotice| {
            let new = if all && !kept.read { " (new)" } else { "" };
            format!("  {}  {}{new}", kept.notice.at, in_words(&kept.notice))
        })
        .collect();
    match at.state {
        DeviceLife::Approved => {}
        DeviceLife::Pending => lines.push("  this machine waits for approval".to_owned()),
        DeviceLife::Suspended => lines.push("  this machine is suspended; ask an owner of the project why".to_owned()),
        DeviceLife::Revoked => lines.push("  this machine is revoked; only a new invitation brings it back".to_owned()),
    }
    for warning in &at.warnings {
        lines.push(format!("  {}\n    {}", warning.message, warning.next_step));
    }
    if let Some(problem) = &at.problem {
        lines.push(format!("  there may be more: {}\n    next step: {}", problem.message, problem.next_step));
    }
    lines
}

fn in_words(notice: &Notice) -> String {
    let grant = || {
        let name = notice.grant.as_ref().map_or_else(|| "a grant".to_owned(), |grant| format!("grant {grant}"));
        let role = notice.project.as_ref().zip(notice.role.as_ref());
        role.map_or_else(|| name.clone(), |(project, role)| format!("{name} ({project} as {role})"))
    };
    let request =
        || notice.request.as_ref().map_or_else(|| "a request".to_owned(), |request| format!("request {request}"));
    let until = || notice.until.map_or_else(String::new, |until| format!(" until {until}"));
    let said = match notice.about {
        About::DeviceApproved => "this machine was approved".to_owned(),
        About::DeviceSuspended => "this machine was suspended".to_owned(),
        About::DeviceResumed => "this machine was resumed".to_owned(),
        About::RequestApproved => format!("{} was approved{}", request(), until()),
        About::RequestNarrowed => format!("{} was narrowed: less is given,{}", request(), until()),
        About::RequestRefused => format!("{} was refused", request()),
        About::RequestLapsed => format!("{} lapsed: there was nothing left to decide", request()),
        About::GrantActivated => format!("{} is active{}", grant(), until()),
        About::GrantExtended => format!("{} is extended{}", grant(), until()),
        About::GrantSuspended => format!("{} was suspended; ask an owner of the project why", grant()),
        About::GrantResumed => format!("{} was resumed", grant()),
        About::GrantGrace => format!("{} is in grace: it gives less than before", grant()),
        About::GrantEnded => format!("{} has ended", grant()),
        About::GrantRevoked => format!("{} was revoked; ask an owner of the project why", grant()),
        About::Other => "something that this version cannot say".to_owned(),
    };
    match &notice.answer {
        Some(answer) => format!("{said}: {}", redacted(&harmless(answer))),
        None => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::terminal::buffer::Buffer, mock_agent::MockAgent};

    const ALL: &str = r#"{"issuers":[{"issuer":"https://issuer.example","state":"approved","problem":null,
        "notices":[
          {"event":3,"at":1790000000,"about":"grant_activated","grant":"gr-3k7q0x9a1b2c3d4e","project":"apollo","role":"developer","until":1797776000,"read":true},
          {"event":7,"at":1790000600,"about":"request_narrowed","request":"req-3k7q0x9a1b2c3d4e","until":1797776000,"answer":"two weeks will do","read":false}],
        "warnings":[{"grant":"gr-3k7q0x9a1b2c3d4e","what":"soon","message":"grant g ends soon","next_step":"extend it"}]},
      {"issuer":"https://away.example","state":"suspended","notices":[],"warnings":[],
        "problem":{"error":"issuer_unreachable","message":"no answer","next_step":"wait"}}]}"#;

    fn shown(all: bool, json: bool) -> (Buffer, Vec<String>) {
        let agent = MockAgent::start([(200, ALL), (204, "")]);
        let mut terminal = Buffer { json, ..Buffer::default() };
        run(&NoticesArguments { all }, &agent.client(), &mut terminal).unwrap();
        (terminal, agent.requests())
    }

    #[test]
    fn what_is_new_is_shown_and_counts_as_read() {
        let (terminal, asked) = shown(false, false);
        assert_eq!(
            terminal.said(),
            "https://issuer.example
  2026-09-21T14:23:20Z  request req-3k7q0x9a1b2c3d4e was narrowed: less is given, until 2026-12-20T14:13:20Z: two weeks will do
  grant g ends soon
    extend it
https://away.example
  this machine is suspended; ask an owner of the project why
  there may be more: no answer
    next step: wait
"
        );
        assert_eq!(asked.len(), 2, "of the issuer without new ones nothing is said");
        assert!(asked[1].ends_with(r#"{"issuer":"https://issuer.example","events":[7]}"#), "{asked:?}");
    }

    #[test]
    fn what_was_read_is_kept_and_programs_get_all() {
        let said = shown(true, false).0.said();
        assert!(said.contains("grant gr-3k7q0x9a1b2c3d4e (apollo as developer) is active until"), "{said}");
        assert!(said.contains("two weeks will do (new)") && said.matches("(new)").count() == 1, "{said}");
        let (terminal, asked) = shown(false, true);
        assert_eq!(terminal.parsed()["issuers"][0]["notices"][1]["about"], "request_narrowed");
        assert_eq!(asked.len(), 2);
    }

    #[test]
    fn nothing_new_is_said_to_be_nothing() {
        let agent = MockAgent::start([(200, r#"{"issuers":[]}"#)]);
        let mut terminal = Buffer::default();
        run(&NoticesArguments { all: false }, &agent.client(), &mut terminal).unwrap();
        assert!(terminal.said().starts_with("nothing new"));
    }
}
