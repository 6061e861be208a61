//! `daypass-issuer request …`.

use daypass_proto::{
    access_request::RequestLife,
    arguments::word,
    names::{DeviceId, RequestId, RoleName},
    time::Timestamp,
};
use serde_json::{Value, json};

use super::{
    CommandError,
    arguments::{Behalf, Which, end},
    output::{json as print_json, line, table, untrusted},
    terms::told,
};
use crate::{
    issuer::Issuer,
    requests::{RequestError, Verdict, beside, decide, describe},
    store::{Find, Request},
    until,
};

/// What can be done.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List requests for longer, or for more.
    List(List),
    /// Show a request, and what was used, at gates and in tokens, beside what is granted.
    Show {
        /// Which.
        request: RequestId,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Approve a request as it was asked for, for an owner of its project who has no enrolled device.
    Approve(Answer),
    /// Approve less: an earlier end, or a role that gives less.
    Narrow {
        #[command(flatten)]
        answer: Answer,
        /// The end: before the one that was asked for.
        #[arg(long, value_name = "WHEN", required_unless_present = "role", value_parser = end)]
        until: Option<String>,
        /// A role that gives less than the one that was asked for.
        #[arg(long)]
        role: Option<RoleName>,
    },
    /// Refuse a request.
    Refuse(Answer),
}

/// Which requests.
#[derive(Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    which: Which,
    /// Only those in this state; can be given again.
    #[arg(long = "state", value_name = "STATE", value_parser = word::<RequestLife>)]
    states: Vec<RequestLife>,
    /// Only those of this device.
    #[arg(long)]
    device: Option<DeviceId>,
}

/// An answer to a request.
#[derive(Debug, clap::Args)]
pub struct Answer {
    /// Which.
    request: RequestId,
    #[command(flatten)]
    behalf: Behalf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(issuer: &Issuer, command: Command) -> Result<(), CommandError> {
    match command {
        Command::List(which) => list(issuer, which).await,
        Command::Show { request, json } => show(issuer, &request, json).await,
        Command::Approve(answer) => say(issuer, Verdict::Approve, &answer).await,
        Command::Narrow { answer, until, role } => {
            let request = find(issuer, &answer.request).await?;
            let zone = issuer.policy().zone(&request.project);
            let until = until.map(|until| until::until(&until, issuer.environment.now(), &zone)).transpose()?;
            say(issuer, Verdict::Narrow { until, role }, &answer).await
        }
        Command::Refuse(answer) => say(issuer, Verdict::Refuse, &answer).await,
    }
}

async fn find(issuer: &Issuer, id: &RequestId) -> Result<Request, CommandError> {
    Ok(issuer.store.request(id).await?.ok_or_else(|| RequestError::NoRequest(id.clone()))?)
}

async fn list(issuer: &Issuer, List { which, states, device }: List) -> Result<(), CommandError> {
    let find = Find { device, ..which.find(states.into_iter().map(RequestLife::as_str).collect()) };
    let mut requests = Vec::new();
    for request in which.cut(issuer.store.find_requests(&find).await?)? {
        requests.push(describe(issuer, request).await?);
    }
    if which.json {
        return print_json(&requests);
    }
    let rows: Vec<Vec<String>> = requests
        .iter()
        .map(|request| {
            vec![
                request.request.to_string(),
                request.state.to_string(),
                request.collaborator.to_string(),
                request.project.to_string(),
                request.what.as_str().to_owned(),
                request.role.to_string(),
                request.until.to_string(),
                untrusted(&request.reason),
            ]
        })
        .collect();
    table(&["REQUEST", "STATE", "COLLABORATOR", "PROJECT", "WANTS", "ROLE", "UNTIL", "REASON"], &rows)
}

async fn show(issuer: &Issuer, id: &RequestId, json: bool) -> Result<(), CommandError> {
    let found = find(issuer, id).await?;
    let grants = beside(issuer, &found).await?;
    let request = describe(issuer, found).await?;
    if json {
        let grants: Vec<Value> = grants
            .iter()
            .map(|(grant, used)| {
                let scopes: Vec<Value> =
                    used.iter().map(|(scope, used)| json!({"scope": scope, "used": used})).collect();
                json!({"grant": grant.id, "role": grant.role, "state": grant.state, "until": grant.until, "terms": grant.terms, "scopes": scopes})
            })
            .collect();
        return print_json(&json!({"request": request, "grants": grants}));
    }
    line(format!("request         {}", request.request))?;
    line(format!("state           {}", request.state))?;
    line(format!("collaborator    {} at {}", request.collaborator, request.device))?;
    line(format!("wants           {} of {} as {}", request.what.as_str(), request.project, request.role))?;
    line(format!("until           {}", request.until))?;
    line(format!("reason          {}", untrusted(&request.reason)))?;
    line(format!("asked           {}", request.asked_at))?;
    if let Some(less) = &request.narrowed_to {
        line(format!("narrowed to     {} until {}", less.role, less.until))?;
    }
    if let Some(answer) = &request.answer {
        line(format!("answer          {}", untrusted(answer)))?;
    }
    if request.state == RequestLife::Requested {
        line(format!("waits for       {}", request.waits_for.join(", ")))?;
    }
    for (grant, used) in &grants {
        line("")?;
        line(format!(
            "{} as {}, {} until {}, and what was used of it:",
            grant.id, grant.role, grant.state, grant.until
        ))?;
        for (name, said) in told(&grant.terms, issuer.policy().project(&grant.project), grant.until, grant.used) {
            line(format!("  {name}: {said}"))?;
        }
        let last = |at: Option<Timestamp>| at.map_or_else(|| "never".to_owned(), |at| at.to_string());
        let rows: Vec<Vec<String>> = used
            .iter()
            .map(|(scope, used)| {
                vec![
                    scope.location.clone(),
                    scope.action.clone(),
                    if used.granted { "yes" } else { "no longer" }.to_owned(),
                    used.tokens.to_string(),
                    last(used.last),
                    used.gates.map_or_else(|| "not reported".to_owned(), |gates| gates.requests.to_string()),
                    used.gates.map_or_else(|| "not reported".to_owned(), |gates| last(gates.last)),
                ]
            })
            .collect();
        table(&["WHERE", "WHAT", "GRANTED", "IN TOKENS", "LAST TOKEN", "AT GATES", "LAST USE"], &rows)?;
    }
    Ok(())
}

async fn say(issuer: &Issuer, verdict: Verdict, answer: &Answer) -> Result<(), CommandError> {
    let reason = answer.behalf.reason.as_deref();
    let decided = decide(issuer, &answer.request, verdict, &answer.behalf.actor(), reason).await?;
    let request = describe(issuer, decided.request).await?;
    if answer.json {
        return print_json(
            &json!({"request": request, "missing": decided.missing, "grant": decided.grant.map(|grant| grant.id)}),
        );
    }
    line(format!("{} is now {}", request.request, request.state))?;
    match decided.grant {
        Some(grant) => line(format!(
            "  grant {} ({} as {}) is {} until {}",
            grant.id, grant.project, grant.role, grant.state, grant.until
        )),
        None if decided.missing > 0 => {
            line(format!("  it waits for {} more approval(s): {}", decided.missing, request.waits_for.join(", ")))
        }
        None => Ok(()),
    }
}
