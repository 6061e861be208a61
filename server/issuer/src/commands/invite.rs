//! `daypass-issuer invite`.

mod offer;

use daypass_proto::{
    invitation::Code,
    names::{Collaborator, DeviceId, ProjectName, RoleName},
};
use serde_json::json;

use self::offer::{Offer, Offers, offer, replacing};
use super::{
    CommandError,
    arguments::{duration, end, reason},
    on_this_machine, operator,
    output::{confirm, json as print_json, line, somebody_is_there},
    terms::Narrower,
};
use crate::{
    actor::Actor,
    ending::{Told, withdraw},
    invitation::{Invite, invite, judge_grant, nearest},
    issuer::Issuer,
    replacement::{Replace, look, replace},
    store::Invitation,
    until,
};

/// Options of `invite`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For whom: an e-mail address, or whatever you call them. With `--replaces` it is whose device that is.
    #[arg(required_unless_present = "replaces")]
    collaborator: Option<Collaborator>,
    /// The project.
    #[arg(long, required_unless_present = "replaces")]
    project: Option<ProjectName>,
    /// The role in it.
    #[arg(long, required_unless_present = "replaces")]
    role: Option<RoleName>,
    /// Invite whoever has this device to the same grants on another one: for the same time, with what is left of tokens, approved anew. Each grant of the
    /// old device ends when its successor comes into force, and the device with the last of them.
    #[arg(
        long,
        value_name = "DEVICE",
        conflicts_with_all = ["project", "role", "not_before", "phase", "uses", "networks", "trust_tiers", "secure_boot"]
    )]
    replaces: Option<DeviceId>,
    /// The hard end: a date (the end of that day), a time, or a duration such as `90d`. Without a zone, such as `2027-01-31[Europe/Berlin]`,
    /// the project's is meant, or this machine's.
    /// Left out, that of the phase, or of what is replaced.
    #[arg(long, value_name = "WHEN", required_unless_present_any = ["phase", "replaces"], value_parser = end)]
    until: Option<String>,
    #[command(flatten)]
    narrower: Narrower,
    /// How long the code can be used; the configured time when left out, and never beyond the grant's end.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    code_expires: Option<String>,
    /// The EK hash of the machine, where it is known: no other can use the code, and the machine itself needs no approval.
    #[arg(long, value_name = "HEX", value_parser = ek_hash)]
    ek_hash: Option<[u8; 32]>,
    /// Why: kept on the ledger.
    #[arg(long, value_parser = reason)]
    reason: Option<String>,
    /// Show what the invitation would allow, what in it goes beyond the policy, and who would have to approve, and make none. Ends with 3 where it
    /// would be refused.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Do not ask before it is made; nobody is asked where no terminal is.
    #[arg(long)]
    yes: bool,
    /// Print JSON. Asks nothing.
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
    let lifetime = args
        .code_expires
        .as_deref()
        .map(daypass_proto::duration::seconds)
        .transpose()?
        .unwrap_or(issuer.config.code_lifetime);
    let code_expires_at = now.plus(lifetime);
    let how = How { dry_run: args.dry_run, yes: args.yes, json: args.json };
    let by = Actor::account(operator());
    if let Some(device) = &args.replaces {
        let project = issuer.store.grants_of(device).await?.into_iter().next().map(|grant| grant.project);
        let zone = project.map_or_else(jiff::tz::TimeZone::system, |project| issuer.policy().zone(&project));
        let until = args.until.as_deref().map(|text| until::until(text, now, &zone)).transpose()?;
        let found = look(issuer, device, args.collaborator.as_ref(), until).await?;
        let offers = replacing(issuer, &found, args.ek_hash.is_some());
        if !offered(issuer, &offers, &how)? {
            return Ok(());
        }
        let with = Replace { code_expires_at, ek_hash: args.ek_hash, reason: args.reason, by };
        let (invitation, code) = replace(issuer, found, with).await?;
        let printed = made(issuer, &offers, &invitation, &code, &how);
        return or_withdrawn(issuer, &invitation, printed).await;
    }
    let (Some(collaborator), Some(project), Some(role)) = (args.collaborator, args.project, args.role) else {
        // The command line asks for them where nothing is replaced.
        return Err(CommandError::NotInvited);
    };
    let policy = issuer.policy();
    let zone = policy.zone(&project);
    let asked = args.narrower.terms(now, &zone)?;
    if !args.json {
        let times = [&args.until, &args.narrower.not_before];
        times.into_iter().flatten().filter_map(|text| until::moved(text, &zone)).try_for_each(line)?;
    }
    let phase = args.narrower.phase.as_ref();
    let phase_ends = phase.and_then(|phase| Some(policy.project(&project)?.phase(phase)?.ends));
    let until = match (&args.until, phase_ends) {
        (Some(text), _) => Some(until::until(text, now, &zone)?),
        (None, ends) => ends,
    };
    let end = until.unwrap_or(now);
    let mut judged = judge_grant(&policy, (&project, &role), &collaborator, end, &asked, now);
    if args.until.is_none() {
        judged.ends_with_its_phase();
    }
    let nearest = nearest(&policy, (&project, &role), &collaborator, end, &asked, now);
    let mut offer = offer(issuer, &collaborator, (&project, &role), end, judged);
    offer.nearest = nearest;
    offer.has_end = until.is_some();
    let registered = args.ek_hash.is_some();
    let offers = Offers { collaborator: collaborator.clone(), grants: vec![offer], replaces: None, registered };
    if !offered(issuer, &offers, &how)? {
        return Ok(());
    }
    let (ek_hash, reason) = (args.ek_hash, args.reason);
    let asked = Invite { collaborator, project, role, until: end, terms: asked, code_expires_at, ek_hash, reason, by };
    let (store, pin) = (issuer.store.as_ref(), issuer.keyring().pin());
    let (invitation, code) = invite(store, &issuer.environment, &policy, &issuer.config.issuer_url, pin, asked).await?;
    let printed = made(issuer, &offers, &invitation, &code, &how);
    or_withdrawn(issuer, &invitation, printed).await
}

/// How it is done.
struct How {
    dry_run: bool,
    yes: bool,
    json: bool,
}

/// Shows it, refuses what goes beyond the policy, and asks; gives whether it is to be made.
fn offered(issuer: &Issuer, offers: &Offers, how: &How) -> Result<bool, CommandError> {
    let excess: Vec<String> = offers.grants.iter().flat_map(Offer::beyond).collect();
    let ask = !how.yes && !how.json && somebody_is_there();
    if how.json {
        if how.dry_run || !excess.is_empty() {
            print_json(&offers.json())?;
        }
    } else if how.dry_run || ask || !excess.is_empty() {
        line(format!("this would invite {}", offers.told()))?;
        offers.show(issuer)?;
    }
    if !excess.is_empty() {
        return Err(CommandError::Exceeds(excess.join("; ")));
    }
    if how.dry_run {
        if !how.json {
            line("nothing was made: leave out `--dry-run`")?;
        }
        return Ok(false);
    }
    if ask && !confirm("invite? [y/N] ")? {
        return Err(CommandError::NotInvited);
    }
    Ok(true)
}

/// A code that could not be printed is nowhere: its invitation is taken back.
pub(super) async fn or_withdrawn(
    issuer: &Issuer,
    invitation: &Invitation,
    printed: Result<(), CommandError>,
) -> Result<(), CommandError> {
    let Err(CommandError::Output(source)) = printed else { return printed };
    let by = on_this_machine();
    let told = Told { source: &by, rule: None, reason: Some("its code could not be printed") };
    let id = &invitation.id;
    Err(match withdraw(issuer, id, &told).await {
        Ok(_) => CommandError::CodeLost {
            what: format!("invitation {id}, which was withdrawn again"),
            next: "run the command anew where its output can be written".to_owned(),
            source,
        },
        Err(_) => CommandError::CodeLost {
            what: format!("invitation {id}"),
            next: format!("`daypass-issuer invitation withdraw {id}` takes it back"),
            source,
        },
    })
}

fn made(issuer: &Issuer, offers: &Offers, invitation: &Invitation, code: &Code, how: &How) -> Result<(), CommandError> {
    let code = code.expose();
    if how.json {
        let mut told = offers.json();
        if let Some(told) = told.as_object_mut() {
            told.extend([
                ("invitation".to_owned(), json!(invitation.id)),
                ("grant".to_owned(), json!(invitation.grant)),
                ("code".to_owned(), json!(code.as_str())),
                ("expires_at".to_owned(), json!(invitation.expires_at)),
            ]);
        }
        return print_json(&told);
    }
    line(format!("invited {}", offers.told()))?;
    if how.yes || !somebody_is_there() {
        offers.show(issuer)?;
    }
    if let Some(contact) = issuer.policy().project(&invitation.project).and_then(|project| project.contact.as_ref()) {
        line(format!("  questions go to {contact}"))?;
    }
    line(format!("the code works once, until {}; whoever has it can use it", invitation.expires_at))?;
    line("  on the machine: `daypass enroll`, which asks for the code; as an argument every user there would see it")?;
    line("")?;
    line(code.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixture::Made, store::InvitationLife};

    #[tokio::test]
    async fn a_code_that_could_not_be_printed_is_taken_back() {
        let made = Made::new().await;
        let invitation = made.invited("alice").await;
        let state = async || made.issuer.store.invitation(&invitation.id).await.unwrap().unwrap().state;
        or_withdrawn(&made.issuer, &invitation, Ok(())).await.unwrap();
        assert_eq!(state().await, InvitationLife::Open);
        let full = || Err(CommandError::Output(std::io::ErrorKind::StorageFull.into()));
        let lost = or_withdrawn(&made.issuer, &invitation, full()).await.unwrap_err().to_string();
        assert!(lost.contains(invitation.id.as_str()) && lost.contains("was withdrawn again"), "{lost}");
        assert_eq!(state().await, InvitationLife::Withdrawn);
        assert_eq!(made.reasons("invitation_withdrawn").await, ["its code could not be printed"]);
        // Where it cannot be taken back, the command that does is named.
        let lost = or_withdrawn(&made.issuer, &invitation, full()).await.unwrap_err().to_string();
        assert!(lost.contains(&format!("invitation withdraw {}", invitation.id)), "{lost}");
    }
}
