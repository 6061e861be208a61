//! `daypass-issuer invitation …`.

use daypass_proto::{
    arguments::word,
    names::{GrantId, InvitationId},
    time::Timestamp,
};
use serde_json::{Value, json};

use super::{
    CommandError,
    arguments::{Which, Yes, reason},
    on_this_machine,
    output::{ending, json as print_json, line, table},
};
use crate::{
    ending::{EndError, Told, withdraw},
    issuer::Issuer,
    store::{Invitation, InvitationLife},
};

/// What can be done.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List invitations.
    List(List),
    /// Take an open invitation back, and the grant that it carries: shows it, and asks. A device that it would replace keeps what it has.
    Withdraw {
        /// Which.
        invitation: InvitationId,
        /// Why, for the ledger.
        #[arg(long, value_parser = reason)]
        reason: Option<String>,
        #[command(flatten)]
        yes: Yes,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Which invitations.
#[derive(Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    which: Which,
    /// Only those in this state; can be given again. An open one may have a code whose time is over.
    #[arg(long = "state", value_name = "STATE", value_parser = word::<InvitationLife>)]
    states: Vec<InvitationLife>,
}

pub(super) async fn run(issuer: &Issuer, command: Command) -> Result<(), CommandError> {
    match command {
        Command::List(which) => list(issuer, which).await,
        Command::Withdraw { invitation, reason, yes, json } => {
            if !yes.yes {
                show(issuer, &invitation, json).await?;
                ending("take this invitation back with what it carries, for good? [y/N] ", json)?;
            }
            let source = on_this_machine();
            let told = Told { source: &source, rule: None, reason: reason.as_deref() };
            let invitation = withdraw(issuer, &invitation, &told).await?;
            if json {
                return print_json(&describe(&invitation, issuer.environment.now()));
            }
            let grants: Vec<&str> = invitation.grants().map(GrantId::as_str).collect();
            let grants = match grants.as_slice() {
                [one] => format!("its grant {one} is revoked"),
                all => format!("its grants {} are revoked", all.join(", ")),
            };
            line(format!("{} is now {}, and {grants}", invitation.id, invitation.state))
        }
    }
}

/// What would be taken back.
async fn show(issuer: &Issuer, id: &InvitationId, json: bool) -> Result<(), CommandError> {
    let found = issuer.store.invitation(id).await?.ok_or_else(|| EndError::NoInvitation(id.clone()))?;
    if json {
        return print_json(&describe(&found, issuer.environment.now()));
    }
    let Invitation { collaborator, project, role, state, expires_at, .. } = &found;
    line(format!(
        "invitation      {id} of {collaborator} to {project} as {role}, {state}, its code until {expires_at}"
    ))?;
    for grant in found.grants() {
        line(format!("grant           {grant}"))?;
    }
    Ok(())
}

pub(super) fn describe(invitation: &Invitation, now: Timestamp) -> Value {
    json!({
        "invitation": invitation.id, "state": invitation.state, "collaborator": invitation.collaborator,
        "project": invitation.project, "role": invitation.role, "grant": invitation.grant,
        "expires_at": invitation.expires_at, "expired": invitation.expires_at < now, "device": invitation.device,
        "ek_registered": invitation.ek_hash.is_some(),
        "grants": invitation.grants().collect::<Vec<_>>(), "replaces": invitation.replaces,
    })
}

async fn list(issuer: &Issuer, List { which, states }: List) -> Result<(), CommandError> {
    let find = which.find(states.into_iter().map(InvitationLife::as_str).collect());
    let invitations = which.cut(issuer.store.find_invitations(&find).await?)?;
    let now = issuer.environment.now();
    if which.json {
        return print_json(&invitations.iter().map(|invitation| describe(invitation, now)).collect::<Vec<_>>());
    }
    let rows: Vec<Vec<String>> = invitations
        .iter()
        .map(|invitation| {
            let over = invitation.state == InvitationLife::Open && invitation.expires_at < now;
            vec![
                invitation.id.to_string(),
                format!("{}{}", invitation.state, if over { " (expired)" } else { "" }),
                invitation.collaborator.to_string(),
                invitation.project.to_string(),
                invitation.role.to_string(),
                invitation.expires_at.to_string(),
                invitation.grant.to_string(),
                invitation.device.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            ]
        })
        .collect();
    table(&["INVITATION", "STATE", "COLLABORATOR", "PROJECT", "ROLE", "CODE UNTIL", "GRANT", "DEVICE"], &rows)
}
