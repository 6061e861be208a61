//! `daypass-issuer invite`.

use daypass_proto::{
    authorization::AuthorizationDetails,
    invitation::Code,
    names::{Collaborator, DeviceId, ProjectName, RoleName},
};
use serde_json::{Value, json};

use super::{
    CommandError,
    arguments::reason,
    operator,
    output::{confirm, json as print_json, line, somebody_is_there},
    terms::{Narrower, told},
};
use crate::{
    actor::Actor,
    approval::bar,
    invitation::{GrantError, Invite, Judged, invite, judge_grant, nearest},
    issuer::Issuer,
    replacement::{Carried, Replace, Replacement, look, replace},
    store::{Grant, Invitation, Terms},
    until,
};
use daypass_proto::time::Timestamp;

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
    #[arg(long, value_name = "WHEN", required_unless_present_any = ["phase", "replaces"])]
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
    /// Show what the invitation would allow, what in it goes beyond the policy, and who would have to approve, and make none. Ends with 3 where it
    /// would be refused.
    #[arg(long)]
    dry_run: bool,
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

/// What one grant would be.
struct Offer {
    project: ProjectName,
    role: RoleName,
    until: Timestamp,
    terms: Terms,
    /// What today's role gives.
    details: AuthorizationDetails,
    /// Those who may approve it.
    owners: Vec<String>,
    /// How many of them must; unknown where today's policy has no such role.
    approvers: Option<u32>,
    excess: Vec<GrantError>,
    /// The most of it that would be allowed, where it goes beyond.
    nearest: Option<(Timestamp, Terms)>,
    /// The grant whose place it takes.
    of: Option<Grant>,
}

/// All that would be sent, and to whom.
struct Offers {
    collaborator: Collaborator,
    grants: Vec<Offer>,
    /// Of a replacement: the device, whether it ends, and what stays on it.
    replaces: Option<(DeviceId, bool, Vec<(Grant, String)>)>,
    /// Whether the machine itself is let on by its EK.
    registered: bool,
}

pub(super) async fn run(issuer: &Issuer, args: Args) -> Result<(), CommandError> {
    let now = issuer.environment.now();
    let lifetime =
        args.code_expires.as_deref().map(daypass_service::seconds).transpose()?.unwrap_or(issuer.config.code_lifetime);
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
        return made(issuer, &offers, &invitation, &code, &how);
    }
    let (Some(collaborator), Some(project), Some(role)) = (args.collaborator, args.project, args.role) else {
        // The command line asks for them where nothing is replaced.
        return Err(CommandError::NotInvited);
    };
    let policy = issuer.policy();
    let zone = policy.zone(&project);
    let asked = args.narrower.terms(now, &zone)?;
    let phase = args.narrower.phase.as_ref();
    let phase_ends = phase.and_then(|phase| Some(policy.project(&project)?.phase(phase)?.ends));
    let until = match (&args.until, phase_ends) {
        (Some(text), _) => Some(until::until(text, now, &zone)?),
        (None, ends) => ends,
    };
    let end = until.unwrap_or(now);
    let mut judged = judge_grant(&policy, (&project, &role), &collaborator, end, &asked, now);
    // There is no such phase, which is what is wrong with it.
    judged.excess.retain(|error| until.is_some() || !matches!(error, GrantError::NoTime { .. }));
    let nearest = nearest(&policy, (&project, &role), &collaborator, end, &asked, now);
    let offer = Offer { nearest, ..offer(issuer, &collaborator, (&project, &role), end, judged) };
    let registered = args.ek_hash.is_some();
    let offers = Offers { collaborator: collaborator.clone(), grants: vec![offer], replaces: None, registered };
    if !offered(issuer, &offers, &how)? {
        return Ok(());
    }
    let (ek_hash, reason) = (args.ek_hash, args.reason);
    let asked = Invite { collaborator, project, role, until: end, terms: asked, code_expires_at, ek_hash, reason, by };
    let (store, pin) = (issuer.store.as_ref(), issuer.keyring().pin());
    let (invitation, code) = invite(store, &issuer.environment, &policy, &issuer.config.issuer_url, pin, asked).await?;
    made(issuer, &offers, &invitation, &code, &how)
}

/// How it is done.
struct How {
    dry_run: bool,
    yes: bool,
    json: bool,
}

fn offer(
    issuer: &Issuer,
    collaborator: &Collaborator,
    (project, role): (&ProjectName, &RoleName),
    until: Timestamp,
    judged: Judged,
) -> Offer {
    let policy = issuer.policy();
    let limits = policy.role(project, role);
    let details = limits.and_then(|role| role.details_for(collaborator).ok()).unwrap_or_default();
    let bar = bar(&policy, project, role).ok();
    let approvers = bar.as_ref().map(|bar| bar.approvers);
    let owners = bar.into_iter().flat_map(|bar| bar.owners);
    Offer {
        project: project.clone(),
        role: role.clone(),
        until,
        terms: judged.terms,
        details,
        owners: owners.filter(|owner| *owner != collaborator.as_str()).collect(),
        approvers,
        excess: judged.excess,
        nearest: None,
        of: None,
    }
}

fn replacing(issuer: &Issuer, found: &Replacement, registered: bool) -> Offers {
    let collaborator = found.device.collaborator.clone();
    let of = |carried: &Carried| {
        let (from, now) = (&carried.from, issuer.environment.now());
        let role = (&from.project, &from.role);
        let nearest = nearest(&issuer.policy(), role, &collaborator, carried.until, &carried.terms, now);
        let judged = Judged { terms: carried.terms.clone(), excess: carried.excess.clone() };
        Offer { nearest, of: Some(from.clone()), ..offer(issuer, &collaborator, role, carried.until, judged) }
    };
    let grants = found.carried.iter().map(of).collect();
    let replaces = Some((found.device.id.clone(), found.ends, found.left.clone()));
    Offers { collaborator: collaborator.clone(), grants, replaces, registered }
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

impl Offer {
    /// What goes beyond the policy, a text each.
    fn beyond(&self) -> Vec<String> {
        let named = |error: &GrantError| match &self.of {
            Some(from) => format!("`{}`: {error}", from.id),
            None => error.to_string(),
        };
        self.excess.iter().map(named).collect()
    }

    /// What would be allowed instead, as one says it to `invite`.
    fn instead(&self) -> Option<String> {
        let (until, terms) = self.nearest.as_ref().filter(|_| !self.excess.is_empty())?;
        let uses = terms.uses.filter(|uses| Some(*uses) != self.terms.uses).map(|uses| format!("--uses {uses}"));
        let until = (*until != self.until).then(|| format!("--until {until}"));
        Some([until, uses].into_iter().flatten().collect::<Vec<_>>().join(" "))
    }

    fn json(&self, collaborator: &Collaborator, registered: bool) -> Value {
        let mut told = json!({
            "collaborator": collaborator, "project": self.project, "role": self.role, "until": self.until,
            "terms": self.terms, "authorization_details": self.details, "approved_by": self.owners,
            "approvers": self.approvers, "device_approved_by_ek": registered,
            "excess": self.excess.iter().map(ToString::to_string).collect::<Vec<_>>(), "nearest": self.instead(),
        });
        if let (Some(from), Some(told)) = (&self.of, told.as_object_mut()) {
            told.insert("replaces".to_owned(), json!(from.id));
            told.insert("used".to_owned(), json!(from.used));
        }
        told
    }

    /// What the grant allows, for how long, who has to say yes before it does, and what in it nobody may say yes to.
    fn show(&self, issuer: &Issuer) -> Result<(), CommandError> {
        let zone = issuer.policy().zone(&self.project);
        let used = self.of.as_ref().map_or(0, |from| from.used);
        if let Some(from) = &self.of {
            line(format!("  in place of {}: {} as {}", from.id, self.project, self.role))?;
        }
        line(format!("  until {} ({})", self.until, until::there(self.until, &zone)))?;
        for (name, said) in told(&self.terms, self.until, used) {
            line(format!("  {name}: {said}"))?;
        }
        for detail in self.details.iter() {
            line(format!("  allows {}", serde_json::to_string(detail).unwrap_or_default()))?;
        }
        self.approvers.map_or(Ok(()), |approvers| line(told_approval(&self.owners, approvers)))?;
        for error in &self.excess {
            line(format!("  goes beyond the policy: {error}"))?;
        }
        self.instead().map_or(Ok(()), |instead| line(format!("  would be allowed: `{instead}`")))
    }
}

impl Offers {
    fn told(&self) -> String {
        match (&self.replaces, self.grants.first()) {
            (Some((device, ..)), _) => {
                let count = self.grants.len();
                format!("{} to replace {device}, with {count} grant(s)", self.collaborator)
            }
            (None, Some(offer)) => format!("{} to {} as {}", self.collaborator, offer.project, offer.role),
            (None, None) => self.collaborator.to_string(),
        }
    }

    fn json(&self) -> Value {
        let each = |offer: &Offer| offer.json(&self.collaborator, self.registered);
        let Some((device, ends, left)) = &self.replaces else {
            return self.grants.first().map(each).unwrap_or_default();
        };
        let left: Vec<Value> =
            left.iter().map(|(grant, why)| json!({"grant": grant.id, "state": grant.state, "why": why})).collect();
        json!({
            "collaborator": self.collaborator, "replaces": device, "device_ends": ends,
            "grants": self.grants.iter().map(each).collect::<Vec<_>>(), "left": left,
            "device_approved_by_ek": self.registered,
        })
    }

    fn show(&self, issuer: &Issuer) -> Result<(), CommandError> {
        self.grants.iter().try_for_each(|offer| offer.show(issuer))?;
        line(told_device(self.registered))?;
        let Some((device, ends, left)) = &self.replaces else { return Ok(()) };
        for (grant, why) in left {
            line(format!("  {} ({} as {}) gets no successor: it {why}", grant.id, grant.project, grant.role))?;
        }
        line(match ends {
            true => format!(
                "  each grant of {device} ends when its successor comes into force, and the device with the last"
            ),
            false => format!(
                "  each grant of {device} ends when its successor comes into force; the device stays for its others"
            ),
        })
    }
}

/// Who has to say yes to the grant.
fn told_approval(owners: &[String], approvers: u32) -> String {
    if owners.len() < usize::try_from(approvers).unwrap_or(usize::MAX) {
        return format!(
            "  it needs {approvers} approval(s), and there are not so many owners who are not invited themselves: nobody can give them"
        );
    }
    match approvers {
        0 => "  nobody has to approve it beside its machine".to_owned(),
        1 => format!("  it waits for approval by {}", owners.join(" or ")),
        more => format!("  it waits for approval by {more} of {}", owners.join(", ")),
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
