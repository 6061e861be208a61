//! `daypass admin request`: what collaborators ask for, and an owner's answer.

use daypass_proto::{
    access_request::{AccessRequest, RequestLife},
    admin_api as api,
};

use super::{
    Api, Failure, Query, Terminal,
    arguments::RequestCommand,
    decide, done, list,
    shown::{columns, or_none, plain},
};

pub(super) fn run(command: &RequestCommand, api: &Api<'_>, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let decided: api::RequestDecided = match command {
        RequestCommand::List { which, device } => {
            let query = Query::of(which).with("device", device.as_ref());
            return list::<AccessRequest>(&query.to("requests"), api, terminal);
        }
        RequestCommand::Show { request } => {
            let found: api::RequestShown = api.get(format!("requests/{request}"))?;
            return if terminal.json() { terminal.document(&found) } else { shown(&found, terminal) };
        }
        RequestCommand::Approve { request, why } => api.post(format!("requests/{request}/approve"), &decide(why))?,
        RequestCommand::Narrow { request, until, role, why } => {
            let less = api::NarrowRequest { until: until.clone(), role: role.clone(), reason: why.reason.clone() };
            api.post(format!("requests/{request}/narrow"), &less)?
        }
        RequestCommand::Refuse { request, why } => api.post(format!("requests/{request}/refuse"), &decide(why))?,
    };
    let asked = &decided.request;
    let words = match &decided.granted {
        Some(grant) => format!(
            "{} is now {}: grant {} ({} as {}) is {} until {}",
            asked.request,
            asked.state,
            grant.grant,
            grant.project,
            grant.role,
            plain(&grant.state),
            grant.until
        ),
        None if decided.approvals_missing > 0 => format!(
            "approved: {} waits for {} more, of {}",
            asked.request,
            decided.approvals_missing,
            plain(&asked.waits_for.join(", "))
        ),
        None => format!("{} is now {}", asked.request, asked.state),
    };
    done(&decided, words, terminal)
}

fn shown(found: &api::RequestShown, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let asked = &found.request;
    let mut lines = vec![
        ("request", asked.request.to_string()),
        ("state", asked.state.to_string()),
        ("collaborator", format!("{} at {}", asked.collaborator, asked.device)),
        ("wants", format!("{} of {} as {}", asked.what.as_str(), asked.project, asked.role)),
        ("until", asked.until.to_string()),
        ("reason", plain(&asked.reason)),
        ("asked", asked.asked_at.to_string()),
    ];
    if let Some(less) = &asked.narrowed_to {
        lines.push(("narrowed to", format!("{} until {}", less.role, less.until)));
    }
    lines.extend(asked.answer.as_ref().map(|answer| ("answer", plain(answer))));
    if asked.state == RequestLife::Requested {
        let owners = plain(&asked.waits_for.join(", "));
        lines.push(("waits for", format!("{} of {owners}", found.approvals_missing)));
    }
    for (name, value) in lines {
        terminal.words(&format!("{name:<15} {value}"))?;
    }
    for beside in &found.grants {
        let grant = &beside.grant;
        terminal.words(&format!(
            "\n{} as {}, {} until {}, and what was used of it:",
            grant.grant,
            grant.role,
            plain(&grant.state),
            grant.until
        ))?;
        columns::table(&beside.scopes, terminal)?;
    }
    Ok(())
}

impl columns::Row for AccessRequest {
    const HEADING: &'static [&'static str] =
        &["REQUEST", "STATE", "COLLABORATOR", "PROJECT", "WANTS", "ROLE", "UNTIL", "REASON"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.request.to_string(),
            self.state.to_string(),
            self.collaborator.to_string(),
            self.project.to_string(),
            self.what.as_str().to_owned(),
            self.role.to_string(),
            self.until.to_string(),
            plain(&self.reason),
        ]
    }
}

impl columns::Row for api::ScopeUse {
    const HEADING: &'static [&'static str] =
        &["WHERE", "WHAT", "GRANTED", "IN TOKENS", "LAST TOKEN", "AT GATES", "LAST USE"];

    fn cells(&self) -> Vec<String> {
        vec![
            plain(&self.location),
            plain(&self.action),
            if self.granted { "yes" } else { "no longer" }.to_owned(),
            self.tokens.to_string(),
            or_none(self.last.as_ref()),
            self.gates.map_or_else(|| "not reported".to_owned(), |gates| gates.requests.to_string()),
            self.gates.map_or_else(|| "not reported".to_owned(), |gates| or_none(gates.last.as_ref())),
        ]
    }
}
