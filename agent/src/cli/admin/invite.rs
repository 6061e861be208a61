//! `daypass admin invite`: to a project, or to what a machine that gives way has. Says first what it will be, and asks.

use daypass_proto::{
    admin_api as api,
    authorization::AuthorizationDetails,
    local_api::ErrorCode,
    names::{Collaborator, DeviceId, ProjectName, RoleName},
    words::harmless,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{Api, Failure, Terminal, arguments::Invite, shown};

/// What the issuer says of an invitation, made or not.
trait Offered: DeserializeOwned + Serialize {
    /// What it allows, for how long, and who has to say yes.
    fn show(&self, terminal: &mut dyn Terminal) -> Result<(), Failure>;

    /// What in it goes beyond the policy.
    fn excess(&self) -> Vec<&str>;

    /// The invitation and its code, where it was made.
    fn made(&self) -> Option<(&api::Invitation, &str)>;
}

pub(super) fn run(asked: &Invite, api: &Api<'_>, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    if let Some(device) = &asked.replaces {
        return replace(asked, device, api, terminal);
    }
    let (Some(who), Some(project), Some(role)) = (&asked.collaborator, &asked.project, &asked.role) else {
        // The command line asks for them where nothing is replaced.
        return Err(Failure::new(ErrorCode::Malformed, "nobody was invited", "say whom, to which project, as what"));
    };
    invite(asked, (who, project, role), api, terminal)
}

fn invite(
    asked: &Invite,
    (who, project, role): (&Collaborator, &ProjectName, &RoleName),
    api: &Api<'_>,
    terminal: &mut dyn Terminal,
) -> Result<(), Failure> {
    let body = |dry_run| api::Invite {
        collaborator: who.clone(),
        project: project.clone(),
        role: role.clone(),
        until: asked.until.clone(),
        terms: (&asked.terms).into(),
        code_expires: asked.code_expires.clone(),
        reason: asked.why.reason.clone(),
        dry_run,
    };
    let told = |_: &api::Invited| format!("{who} to {project} as {role}");
    send("invitations", body, told, asked, api, terminal)
}

fn replace(asked: &Invite, device: &DeviceId, api: &Api<'_>, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let body = |dry_run| api::ReplaceDevice {
        collaborator: asked.collaborator.clone(),
        until: asked.until.clone(),
        code_expires: asked.code_expires.clone(),
        reason: asked.why.reason.clone(),
        dry_run,
    };
    let told = |offered: &api::Replacement| {
        format!("{} to replace {device}, with {} grant(s)", offered.collaborator, offered.grants.len())
    };
    send(&format!("devices/{device}/replace"), body, told, asked, api, terminal)
}

/// Says what it would be, asks where somebody is there, and makes it.
fn send<T: Offered, B: Serialize>(
    path: &str,
    body: impl Fn(bool) -> B,
    told: impl Fn(&T) -> String,
    asked: &Invite,
    api: &Api<'_>,
    terminal: &mut dyn Terminal,
) -> Result<(), Failure> {
    if asked.dry_run || !(asked.yes || terminal.json()) {
        let would: T = api.post(path, &body(true))?;
        if terminal.json() {
            terminal.document(&would)?;
        } else {
            terminal.words(&format!("this would invite {}", told(&would)))?;
            would.show(terminal)?;
        }
        let excess = would.excess();
        if !excess.is_empty() {
            let message = format!("nobody was invited: {}", harmless(&excess.join("; ")));
            return Err(Failure::Found { message, error: ErrorCode::RefusedByIssuer });
        }
        if asked.dry_run {
            return if terminal.json() { Ok(()) } else { terminal.words("nothing was made: leave out `--dry-run`") };
        }
        if terminal.confirm("invite?") == Some(false) {
            return Err(Failure::Declined);
        }
    }
    let offered: T = api.post(path, &body(false))?;
    if terminal.json() {
        return terminal.document(&offered);
    }
    terminal.words(&format!("invited {}", told(&offered)))?;
    if asked.yes {
        offered.show(terminal)?;
    }
    let Some((invitation, code)) = offered.made() else { return Ok(()) };
    terminal.words(&format!("the code works once, until {}; whoever has it can use it", invitation.expires_at))?;
    terminal.words("  on the machine: `daypass enroll`, which asks for the code\n")?;
    terminal.words(code)
}

fn details(details: &AuthorizationDetails, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    details.iter().try_for_each(|detail| {
        terminal.words(&format!("  allows {}", serde_json::to_string(detail).unwrap_or_default()))
    })
}

fn beyond(excess: &[String], terminal: &mut dyn Terminal) -> Result<(), Failure> {
    excess.iter().try_for_each(|excess| terminal.words(&format!("  goes beyond the policy: {}", harmless(excess))))
}

impl Offered for api::Invited {
    fn show(&self, terminal: &mut dyn Terminal) -> Result<(), Failure> {
        terminal.words(&format!("  until {}", self.until))?;
        for (name, said) in shown::terms(&self.terms, self.until) {
            terminal.words(&format!("  {name}: {said}"))?;
        }
        details(&self.authorization_details, terminal)?;
        let owners = harmless(&self.approved_by.join(", "));
        terminal.words(&match self.approvers {
            0 => "  their machine waits until its code was compared".to_owned(),
            count => format!("  waits for {count} of {owners}, and until the code of their machine was compared"),
        })?;
        beyond(&self.excess, terminal)
    }

    fn excess(&self) -> Vec<&str> {
        self.excess.iter().map(String::as_str).collect()
    }

    fn made(&self) -> Option<(&api::Invitation, &str)> {
        self.invitation.as_ref().zip(self.code.as_deref())
    }
}

impl Offered for api::Replacement {
    fn show(&self, terminal: &mut dyn Terminal) -> Result<(), Failure> {
        for grant in &self.grants {
            terminal.words(&format!("  in place of {}: {} as {}", grant.replaces, grant.project, grant.role))?;
            terminal.words(&format!("  until {}", grant.until))?;
            for (name, said) in shown::terms(&grant.terms, grant.until) {
                terminal.words(&format!("  {name}: {said}"))?;
            }
            if grant.used > 0 {
                terminal.words(&format!("  tokens given already: {}", grant.used))?;
            }
            details(&grant.authorization_details, terminal)?;
            let owners = harmless(&grant.approved_by.join(", "));
            terminal.words(&match grant.approvers {
                None => "  the policy in force has no such role".to_owned(),
                Some(0) => "  nobody has to approve it beside its machine".to_owned(),
                Some(count) => format!("  waits for {count} of {owners}"),
            })?;
            beyond(&grant.excess, terminal)?;
        }
        terminal.words("  the machine waits until its code was compared")?;
        for left in &self.left {
            let grant = &left.grant;
            let (id, project, role) = (&grant.grant, &grant.project, &grant.role);
            terminal.words(&format!("  {id} ({project} as {role}) gets no successor: it {}", harmless(&left.why)))?;
        }
        let device = &self.device;
        terminal.words(&match self.device_ends {
            true => format!(
                "  each grant of {device} ends when its successor comes into force, and the device with the last"
            ),
            false => format!(
                "  each grant of {device} ends when its successor comes into force; the device stays for its others"
            ),
        })
    }

    fn excess(&self) -> Vec<&str> {
        self.grants.iter().flat_map(|grant| &grant.excess).map(String::as_str).collect()
    }

    fn made(&self) -> Option<(&api::Invitation, &str)> {
        self.invitation.as_ref().zip(self.code.as_deref())
    }
}
