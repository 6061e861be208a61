//! `daypass-issuer invite`.

use daypass_proto::{
    authorization::AuthorizationDetails,
    names::{Collaborator, ProjectName, RoleName},
    time::Timestamp,
};
use jiff::tz::TimeZone;
use serde_json::json;

use super::{
    CommandError,
    arguments::reason,
    operator,
    output::{json as print_json, line},
    terms::{Narrower, told},
};
use crate::{
    actor::Actor,
    approval::bar,
    invitation::{Invite, InviteError, check_grant, invite},
    issuer::Issuer,
    store::Terms,
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
    /// Left out, that of the phase.
    #[arg(long, value_name = "WHEN", required_unless_present = "phase")]
    until: Option<String>,
    #[command(flatten)]
    narrower: Narrower,
    /// How long the code can be used; the configured time when left out, and never beyond the grant's end.
    #[arg(long, value_name = "DURATION")]
    code_expires: Option<String>,
    /// The EK hash of the machine, where it is known: no other can use the code, and the machine itself needs no approval.
    #[arg(long, value_name = "HEX", value_parser = ek_hash)]
    ek_hash: Option<[u8; 32]>,
    /// Why: kept on the ledger.
    #[arg(long, value_parser = reason)]
    reason: Option<String>,
    /// Show what the invitation would allow and who would have to approve, and make none.
    #[arg(long)]
    dry_run: bool,
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
    let asked = args.narrower.terms(now, &zone)?;
    let phase = args.narrower.phase.as_ref();
    let phase_ends = phase.and_then(|phase| Some(policy.project(&args.project)?.phase(phase)?.ends));
    let until = match (&args.until, phase_ends) {
        (Some(text), _) => until::until(text, now, &zone)?,
        (None, Some(ends)) => ends,
        // There is no such phase, which is said below.
        (None, None) => now,
    };
    let lifetime = args
        .code_expires
        .as_deref()
        .map(daypass_proto::duration::seconds)
        .transpose()?
        .unwrap_or(issuer.config.code_lifetime);
    let checked = check_grant(&policy, (&args.project, &args.role), &args.collaborator, until, &asked, now);
    let granted = checked.as_ref().unwrap_or(&asked);
    let limits = policy.role(&args.project, &args.role);
    let details = limits.and_then(|role| role.details_for(&args.collaborator).ok()).unwrap_or_default();
    let bar = bar(&policy, &args.project, &args.role).map_err(InviteError::from)?;
    let owners: Vec<&String> = bar.owners.iter().filter(|owner| **owner != args.collaborator.as_str()).collect();
    let terms = json!({
        "collaborator": args.collaborator, "project": args.project, "role": args.role, "until": until, "terms": granted,
        "authorization_details": details, "approved_by": owners, "approvers": bar.approvers,
        "device_approved_by_ek": args.ek_hash.is_some(),
    });
    let approval = [told_approval(&owners, bar.approvers), told_device(args.ek_hash.is_some())];
    if args.dry_run {
        let granted = checked.map_err(InviteError::from)?;
        if args.json {
            return print_json(&terms);
        }
        line(format!("this would invite {} to {} as {}", args.collaborator, args.project, args.role))?;
        show(&details, (until, &zone), &granted, &approval)?;
        return line("nothing was made: leave out `--dry-run`");
    }
    let asked = Invite {
        collaborator: args.collaborator,
        project: args.project,
        role: args.role,
        until,
        terms: asked,
        code_expires_at: now.plus(lifetime),
        ek_hash: args.ek_hash,
        reason: args.reason,
        by: Actor::account(operator()),
    };
    let pin = issuer.keyring().pin();
    let store = issuer.store.as_ref();
    let (invitation, code) = invite(store, &issuer.environment, &policy, &issuer.config.issuer_url, pin, asked).await?;
    if args.json {
        let mut made = terms;
        if let Some(made) = made.as_object_mut() {
            made.extend([
                ("invitation".to_owned(), json!(invitation.id)),
                ("grant".to_owned(), json!(invitation.grant)),
                ("code".to_owned(), json!(code.expose().as_str())),
                ("expires_at".to_owned(), json!(invitation.expires_at)),
            ]);
        }
        return print_json(&made);
    }
    line(format!("invited {} to {} as {}", invitation.collaborator, invitation.project, invitation.role))?;
    let granted = issuer.store.grant(&invitation.grant).await?.map(|grant| grant.terms).unwrap_or_default();
    show(&details, (until, &zone), &granted, &approval)?;
    if let Some(contact) = policy.project(&invitation.project).and_then(|project| project.contact.as_ref()) {
        line(format!("  questions go to {contact}"))?;
    }
    line(format!("the code works once, until {}; whoever has it can use it", invitation.expires_at))?;
    line("  on the machine: `daypass enroll`, which asks for the code; as an argument every user there would see it")?;
    line("")?;
    line(code.expose().as_str())
}

/// What the grant allows, for how long, and who has to say yes before it does.
fn show(
    details: &AuthorizationDetails,
    (until, zone): (Timestamp, &TimeZone),
    terms: &Terms,
    approval: &[String],
) -> Result<(), CommandError> {
    line(format!("  until {until} ({})", until::there(until, zone)))?;
    for (name, said) in told(terms, until, 0) {
        line(format!("  {name}: {said}"))?;
    }
    for detail in details.iter() {
        line(format!("  allows {}", serde_json::to_string(detail).unwrap_or_default()))?;
    }
    approval.iter().try_for_each(line)
}

/// Who has to say yes to the grant.
fn told_approval(owners: &[&String], approvers: u32) -> String {
    let names = owners.iter().map(|owner| owner.as_str()).collect::<Vec<_>>();
    if names.len() < usize::try_from(approvers).unwrap_or(usize::MAX) {
        return format!(
            "  it needs {approvers} approval(s), and there are not so many owners who are not invited themselves: nobody can give them"
        );
    }
    match approvers {
        1 => format!("  it waits for approval by {}", names.join(" or ")),
        more => format!("  it waits for approval by {more} of {}", names.join(", ")),
    }
}

/// Who has to say yes to the machine.
fn told_device(registered: bool) -> String {
    match registered {
        true => "  only the machine with that EK hash can use the code, and the machine itself needs no approval",
        false => "  the machine waits for approval, too: compare its code, then `daypass-issuer device approve`",
    }
    .to_owned()
}
