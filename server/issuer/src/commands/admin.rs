//! `daypass-issuer admin …`: who administers this issuer.

use daypass_proto::names::Collaborator;
use serde_json::{Value, json};

use super::{
    CommandError,
    arguments::{end, reason},
    on_this_machine, operator,
    output::{confirm, json as print_json, line, table, untrusted},
};
use crate::{
    actor::Actor,
    admin::{self, Bootstrap, Bootstrapped, administrators},
    issuer::Issuer,
    store::Grant,
    until,
};

/// What can be done.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Invite an administrator, without asking anybody: for the first, and for when there is none left. It is said in the ledger each time.
    Bootstrap {
        /// Whom.
        collaborator: Collaborator,
        /// Until when: a date, a time or a duration; a year at most.
        #[arg(long, value_name = "WHEN", default_value = "365d", value_parser = end)]
        until: String,
        /// Why, for the ledger.
        #[arg(long, value_parser = reason)]
        reason: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the administrators.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take somebody's administration away. The last administrator stays.
    Remove {
        /// Whose.
        collaborator: Collaborator,
        /// Why, for the ledger.
        #[arg(long, value_parser = reason)]
        reason: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Print JSON. Asks nothing: without `--yes` it ends nothing.
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(issuer: &Issuer, command: Command) -> Result<(), CommandError> {
    match command {
        Command::Bootstrap { collaborator, until, reason, json } => {
            bootstrap(issuer, collaborator, &until, reason, json).await
        }
        Command::List { json } => list(issuer, json).await,
        Command::Remove { collaborator, reason, yes, json } => remove(issuer, &collaborator, &reason, yes, json).await,
    }
}

async fn bootstrap(
    issuer: &Issuer,
    collaborator: Collaborator,
    until: &str,
    reason: Option<String>,
    json: bool,
) -> Result<(), CommandError> {
    let now = issuer.environment.now();
    let asked = Bootstrap {
        collaborator,
        until: until::until(until, now, &jiff::tz::TimeZone::system())?,
        code_expires_at: now.plus(issuer.config.code_lifetime),
        reason,
        by: Actor::account(operator()),
    };
    let (invitation, code, there) = admin::bootstrap(issuer, asked).await?;
    if json {
        return print_json(&json!({
            "collaborator": invitation.collaborator, "invitation": invitation.id, "grant": invitation.grant,
            "expires_at": invitation.expires_at, "administrators": there, "code": code.expose().as_str(),
        }));
    }
    line(format!("invited {} as an administrator of this issuer", invitation.collaborator))?;
    if there > 0 {
        line(format!(
            "  warning: there are {there} administrator(s) already, and none of them was asked; the ledger says so"
        ))?;
    }
    line("  their machine waits for approval: compare its code, then `daypass-issuer device approve`")?;
    line(format!("the code works once, until {}; whoever has it can use it", invitation.expires_at))?;
    line("  on the machine: `daypass enroll`, which asks for the code")?;
    line("")?;
    line(code.expose().as_str())
}

fn describe(who: &Collaborator, grants: &[Grant], acting: bool, made: &[Bootstrapped]) -> Value {
    let grants: Vec<Value> = grants
        .iter()
        .map(|grant| json!({"grant": grant.id, "state": grant.state, "until": grant.until, "device": grant.device}))
        .collect();
    let made: Vec<Value> = made
        .iter()
        .map(|it| json!({"invitation": it.invitation, "at": it.at, "by": it.by, "reason": it.why, "administrators": it.administrators}))
        .collect();
    json!({"collaborator": who, "acting": acting, "grants": grants, "bootstraps": made})
}

async fn list(issuer: &Issuer, json: bool) -> Result<(), CommandError> {
    let (all, now) = (administrators(issuer).await?, issuer.environment.now());
    let made = admin::bootstraps(issuer).await?;
    let made = |who: &Collaborator| made.get(who).map(Vec::as_slice).unwrap_or_default();
    let acting = |grants: &[Grant]| grants.iter().any(|grant| admin::is_administrator(grant, now));
    if json {
        let all: Vec<Value> =
            all.iter().map(|(who, grants)| describe(who, grants, acting(grants), made(who))).collect();
        return print_json(&all);
    }
    let rows: Vec<Vec<String>> = all
        .values()
        .flatten()
        .map(|grant| {
            vec![
                grant.collaborator.to_string(),
                grant.state.to_string(),
                grant.until.to_string(),
                grant.device.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
                grant.id.to_string(),
                made(&grant.collaborator).last().map_or_else(
                    || "-".to_owned(),
                    |it| format!("{} by {}", it.at, it.by.as_deref().map_or_else(|| "?".to_owned(), untrusted)),
                ),
            ]
        })
        .collect();
    table(&["COLLABORATOR", "STATE", "UNTIL", "DEVICE", "GRANT", "MADE"], &rows)
}

async fn remove(
    issuer: &Issuer,
    collaborator: &Collaborator,
    reason: &str,
    yes: bool,
    json: bool,
) -> Result<(), CommandError> {
    let question = format!("end the administration of {collaborator}, on every device of theirs? [y/N] ");
    if !yes && (json || !confirm(&question)?) {
        return Err(CommandError::EndUnconfirmed);
    }
    let ended = admin::remove(issuer, collaborator, &on_this_machine(), reason).await?;
    if json {
        return print_json(&describe(collaborator, &ended, false, &[]));
    }
    line(format!("{collaborator} is no administrator any more: {} grant(s) revoked", ended.len()))
}
