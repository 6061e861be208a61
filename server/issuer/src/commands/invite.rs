//! `daypass-issuer invite`.

use daypass_proto::names::{Collaborator, ProjectName, RoleName};
use serde_json::json;

use super::{
    CommandError, operator,
    output::{json as print_json, line},
};
use crate::{
    invitation::{Invite, invite},
    issuer::Issuer,
    until,
};

/// Options of `invite`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For whom: an e-mail address, or whatever you call them.
    collaborator: Collaborator,
    /// The project.
    #[arg(long)]
    project: ProjectName,
    /// The role in it.
    #[arg(long)]
    role: RoleName,
    /// The hard end: a date (the end of that day), a time, or a duration such as `90d`. Without a zone, such as `2027-01-31[Europe/Berlin]`,
    /// the project's is meant, or this machine's.
    #[arg(long, value_name = "WHEN")]
    until: String,
    /// How long the code can be used; the configured time when left out, and never beyond the grant's end.
    #[arg(long, value_name = "DURATION")]
    code_expires: Option<String>,
    /// The EK hash of the machine, where it is known: no other can use the code, and nobody needs to approve.
    #[arg(long, value_name = "HEX", value_parser = ek_hash)]
    ek_hash: Option<[u8; 32]>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn ek_hash(text: &str) -> Result<[u8; 32], String> {
    hex::decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| "expected 64 hexadecimal digits".to_owned())
}

pub(super) async fn run(issuer: &Issuer, args: Args) -> Result<(), CommandError> {
    let now = issuer.environment.now();
    let policy = issuer.policy();
    let zone = policy.zone(&args.project);
    let until = until::until(&args.until, now, &zone)?;
    let lifetime =
        args.code_expires.as_deref().map(daypass_service::seconds).transpose()?.unwrap_or(issuer.config.code_lifetime);
    let asked = Invite {
        collaborator: args.collaborator,
        project: args.project,
        role: args.role,
        until,
        code_expires_at: now.plus(lifetime),
        ek_hash: args.ek_hash,
        by: operator(),
    };
    let (invitation, code) = invite(
        issuer.store.as_ref(),
        &issuer.environment,
        &policy,
        &issuer.config.issuer_url,
        issuer.keyring().pin(),
        asked,
    )
    .await?;
    let role = policy.role(&invitation.project, &invitation.role);
    let details = role.and_then(|role| role.details_for(&invitation.collaborator).ok()).unwrap_or_default();
    if args.json {
        return print_json(&json!({
            "invitation": invitation.id, "grant": invitation.grant, "code": code.expose().as_str(),
            "expires_at": invitation.expires_at, "until": until, "authorization_details": details,
        }));
    }
    line(format!(
        "invited {} to {} as {}, until {until} ({})",
        invitation.collaborator,
        invitation.project,
        invitation.role,
        until::there(until, &zone)
    ))?;
    for detail in details.iter() {
        line(format!("  allows {}", serde_json::to_string(detail).unwrap_or_default()))?;
    }
    line(match invitation.ek_hash {
        Some(_) => "  only the machine with that EK hash can use it, and it needs no approval",
        None => "  the machine waits for approval: compare its code, then `daypass-issuer device approve`",
    })?;
    if let Some(contact) = policy.project(&invitation.project).and_then(|project| project.contact.as_ref()) {
        line(format!("  questions go to {contact}"))?;
    }
    line(format!("the code works once, until {}; whoever has it can use it", invitation.expires_at))?;
    line("  on the machine: `daypass enroll`, which asks for the code; as an argument every user there would see it")?;
    line("")?;
    line(code.expose().as_str())
}
