//! `daypass-issuer grant …`.

use daypass_proto::names::{DeviceId, GrantId};
use serde_json::{Value, json};

use super::{
    CommandError,
    arguments::{Which, reason},
    operator,
    output::{json as print_json, line, table},
    terms::told,
};
use crate::{
    ending::{EndError, GrantVerb, Told, decide_grant},
    issuer::Issuer,
    ledger::Source,
    store::{Find, Grant, GrantLife},
};

/// What can be done.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List grants.
    List(List),
    /// Show a grant.
    Show {
        /// Which.
        grant: GrantId,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Hold a grant back: it gives nothing more, and the tokens under it are refused.
    Suspend(Decision),
    /// Let a suspended grant on again.
    Resume(Decision),
    /// End a grant for good. A code that still waits for its machine ends with it.
    Revoke(Decision),
}

/// Which grants.
#[derive(Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    which: Which,
    /// Only those in this state; can be given again.
    #[arg(long = "state", value_name = "STATE", value_parser = state)]
    states: Vec<GrantLife>,
    /// Only those of this device.
    #[arg(long)]
    device: Option<DeviceId>,
}

/// A decision with its reason.
#[derive(Debug, clap::Args)]
pub struct Decision {
    /// Which.
    grant: GrantId,
    /// Why, for the ledger.
    #[arg(long, value_parser = reason)]
    reason: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn state(text: &str) -> Result<GrantLife, String> {
    serde_json::from_value(Value::from(text))
        .map_err(|_| "expected requested, active, grace, suspended, revoked or ended".to_owned())
}

pub(super) async fn run(issuer: &Issuer, command: Command) -> Result<(), CommandError> {
    match command {
        Command::List(which) => list(issuer, which).await,
        Command::Show { grant, json } => show(issuer, &grant, json).await,
        Command::Suspend(decision) => decide(issuer, GrantVerb::Suspend, &decision).await,
        Command::Resume(decision) => decide(issuer, GrantVerb::Resume, &decision).await,
        Command::Revoke(decision) => decide(issuer, GrantVerb::Revoke, &decision).await,
    }
}

pub(super) fn describe(grant: &Grant) -> Value {
    json!({
        "grant": grant.id, "state": grant.state, "collaborator": grant.collaborator, "project": grant.project,
        "role": grant.role, "until": grant.until, "device": grant.device,
        "made_at": grant.made_at, "used": grant.used, "terms": grant.terms,
    })
}

async fn list(issuer: &Issuer, List { which, states, device }: List) -> Result<(), CommandError> {
    let find = Find { device, ..which.find(states.into_iter().map(GrantLife::as_str).collect()) };
    let grants = which.cut(issuer.store.find_grants(&find).await?)?;
    if which.json {
        return print_json(&grants.iter().map(describe).collect::<Vec<_>>());
    }
    let rows: Vec<Vec<String>> = grants
        .iter()
        .map(|grant| {
            vec![
                grant.id.to_string(),
                grant.state.to_string(),
                grant.collaborator.to_string(),
                grant.project.to_string(),
                grant.role.to_string(),
                grant.until.to_string(),
                grant.device.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            ]
        })
        .collect();
    table(&["GRANT", "STATE", "COLLABORATOR", "PROJECT", "ROLE", "UNTIL", "DEVICE"], &rows)
}

async fn show(issuer: &Issuer, id: &GrantId, json: bool) -> Result<(), CommandError> {
    let grant = issuer.store.grant(id).await?.ok_or_else(|| EndError::NoGrant(id.clone()))?;
    let details = issuer
        .policy()
        .role(&grant.project, &grant.role)
        .and_then(|role| role.details_for(&grant.collaborator).ok())
        .unwrap_or_default();
    if json {
        let mut told = describe(&grant);
        if let Some(told) = told.as_object_mut() {
            told.insert("authorization_details".to_owned(), json!(details));
        }
        return print_json(&told);
    }
    line(format!("grant           {}", grant.id))?;
    line(format!("state           {}", grant.state))?;
    line(format!("collaborator    {}", grant.collaborator))?;
    line(format!("project         {} as {}", grant.project, grant.role))?;
    line(format!("until           {}", grant.until))?;
    for (name, said) in told(&grant.terms, grant.until, grant.used) {
        line(format!("{name:<15} {said}"))?;
    }
    line(format!("device          {}", grant.device.as_ref().map_or("none yet", DeviceId::as_str)))?;
    if details.is_empty() {
        line("role gives      nothing: the policy in force has no such role for them")?;
    }
    details
        .iter()
        .try_for_each(|detail| line(format!("role gives      {}", serde_json::to_string(detail).unwrap_or_default())))
}

async fn decide(issuer: &Issuer, verb: GrantVerb, decision: &Decision) -> Result<(), CommandError> {
    let source = Source::Operator(operator());
    let told = Told { source: &source, rule: None, reason: decision.reason.as_deref() };
    let grant = decide_grant(issuer, &decision.grant, verb, &told).await?;
    if decision.json {
        return print_json(&describe(&grant));
    }
    line(format!("{} is now {}", grant.id, grant.state))
}
