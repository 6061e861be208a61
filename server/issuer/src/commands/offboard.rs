//! `daypass-issuer offboard`, `project end` and `phase end`: everything of a person, a project or a phase, by one decision.

use daypass_proto::names::{Collaborator, PhaseName, ProjectName};
use serde_json::json;

use super::{
    CommandError,
    arguments::reason,
    on_this_machine,
    output::{confirm, json as print_json, line, untrusted},
};
use crate::{
    ending::{Ending, end_everything, look},
    issuer::Issuer,
    store::Scope,
};

/// Options of `offboard`.
#[derive(Debug, clap::Args)]
pub struct Person {
    /// Whom: a collaborator's name, as in their invitation.
    collaborator: Collaborator,
    #[command(flatten)]
    how: How,
}

/// What can be done with a project.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// End all grants and open invitations of a project, and the devices that are left with nothing.
    End {
        /// Which.
        project: ProjectName,
        #[command(flatten)]
        how: How,
    },
}

/// What can be done with a phase.
#[derive(Debug, clap::Subcommand)]
pub enum PhaseCommand {
    /// End all grants and open invitations that are for a phase, and the devices that are left with nothing.
    End {
        /// Of which project.
        project: ProjectName,
        /// Which.
        phase: PhaseName,
        #[command(flatten)]
        how: How,
    },
}

/// How it is ended.
#[derive(Debug, clap::Args)]
pub struct How {
    /// Why, for the ledger.
    #[arg(long, value_parser = reason)]
    reason: String,
    /// End without asking.
    #[arg(long)]
    yes: bool,
    /// Print JSON. Asks nothing: without `--yes` it shows what would end, and ends nothing.
    #[arg(long)]
    json: bool,
}

pub(super) async fn person(issuer: &Issuer, args: Person) -> Result<(), CommandError> {
    run(issuer, Scope::Collaborator(args.collaborator), &args.how).await
}

pub(super) async fn project(issuer: &Issuer, command: Command) -> Result<(), CommandError> {
    let Command::End { project, how } = command;
    run(issuer, Scope::Project(project), &how).await
}

pub(super) async fn phase(issuer: &Issuer, command: PhaseCommand) -> Result<(), CommandError> {
    let PhaseCommand::End { project, phase, how } = command;
    run(issuer, Scope::Phase(project, phase), &how).await
}

async fn run(issuer: &Issuer, scope: Scope, how: &How) -> Result<(), CommandError> {
    let ending = look(issuer, scope).await?;
    // Nobody can be invited to what the policy in force does not have.
    let policy = issuer.policy();
    let remove = match &ending.scope {
        Scope::Project(name) => policy.project(name).map(|_| format!("`projects/{name}.toml`")),
        Scope::Phase(project, name) => policy
            .project(project)
            .and_then(|rules| rules.phase(name))
            .map(|_| format!("`[phases.{name}]` in `projects/{project}.toml`")),
        Scope::Collaborator(_) => None,
    };
    let alike = match &ending.scope {
        Scope::Collaborator(name) => issuer.store.named_alike(name).await?,
        Scope::Project(_) | Scope::Phase(..) => Vec::new(),
    };
    let nothing = ending.is_empty();
    let told = (!how.json).then(|| shown(&ending));
    let done = told.as_ref().map(|_| counted(&ending));
    let mut report = report(&ending, how.yes && !nothing);
    if let Some(report) = report.as_object_mut() {
        match &ending.scope {
            Scope::Project(_) => report.insert("project_in_policy".to_owned(), json!(remove.is_some())),
            Scope::Phase(..) => report.insert("phase_in_policy".to_owned(), json!(remove.is_some())),
            Scope::Collaborator(_) => report.insert("similar".to_owned(), json!(alike)),
        };
    }
    let others = alike.iter().map(|name| format!("similar: `{name}` is somebody else here, of whom this ends nothing"));
    let scope = ending.scope.to_string();
    if let Some(told) = told {
        others.into_iter().try_for_each(line)?;
        if nothing {
            line(format!("there is nothing to end of {scope}: no open invitation, no live grant, no device"))?;
        } else {
            told.iter().try_for_each(line)?;
            if !how.yes && !confirm("end all of this, for good? [y/N] ")? {
                return Err(CommandError::EndUnconfirmed);
            }
        }
    } else if !how.yes && !nothing {
        print_json(&report)?;
        return Err(CommandError::EndUnconfirmed);
    }
    if !nothing {
        end_everything(issuer, ending, &on_this_machine(), &how.reason).await?;
    }
    if how.json {
        return print_json(&report);
    }
    if let (false, Some(done)) = (nothing, done) {
        line(format!("ended of {scope}: {done}"))?;
    }
    match remove {
        Some(what) => line(format!(
            "the policy still has {scope}, and people can be invited to it anew: remove {what} from the policy folder, then `daypass-issuer policy load`"
        )),
        None => Ok(()),
    }
}

fn counted(ending: &Ending) -> String {
    format!(
        "{} open invitation(s), {} request(s) that wait, {} grant(s), {} device(s)",
        ending.invitations.len(),
        ending.requests.len(),
        ending.grants.len(),
        ending.devices.len()
    )
}

/// What will end, a line each.
fn shown(ending: &Ending) -> Vec<String> {
    let invitations = ending
        .invitations
        .iter()
        .map(|it| format!("  invitation {} of {} to {} as {}: withdrawn", it.id, it.collaborator, it.project, it.role));
    let requests = ending
        .requests
        .iter()
        .map(|it| format!("  request {} of {} to {} as {}: lapses", it.id, it.collaborator, it.project, it.given_role));
    let grants = ending.grants.iter().map(|it| {
        format!(
            "  grant {} of {} to {} as {}, {} until {}: revoked",
            it.id, it.collaborator, it.project, it.role, it.state, it.until
        )
    });
    let devices = ending.devices.iter().map(|it| {
        let host = untrusted(&it.facts.hostname);
        format!(
            "  device {} of {} ({host}), {}: revoked, with its certificates and tokens",
            it.id,
            it.collaborator,
            it.state.as_str()
        )
    });
    let staying = ending.staying.iter().map(|id| format!("  device {id} stays: it has other grants"));
    let first = format!("this will end of {}: {}", ending.scope, counted(ending));
    std::iter::once(first).chain(invitations).chain(requests).chain(grants).chain(devices).chain(staying).collect()
}

fn report(ending: &Ending, ended: bool) -> serde_json::Value {
    let mut report = json!({
        "ended": ended,
        "invitations": ending.invitations.iter().map(|it| &it.id).collect::<Vec<_>>(),
        "requests": ending.requests.iter().map(|it| &it.id).collect::<Vec<_>>(),
        "grants": ending.grants.iter().map(|it| &it.id).collect::<Vec<_>>(),
        "devices": ending.devices.iter().map(|it| &it.id).collect::<Vec<_>>(),
        "staying": ending.staying,
    });
    let (key, name) = match &ending.scope {
        Scope::Collaborator(name) => ("collaborator", name.to_string()),
        Scope::Project(name) => ("project", name.to_string()),
        Scope::Phase(_, name) => ("phase", name.to_string()),
    };
    if let Some(report) = report.as_object_mut() {
        report.insert(key.to_owned(), json!(name));
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixture::Made,
        store::{GrantLife, InvitationLife},
    };

    fn how(yes: bool) -> How {
        How { reason: "left".to_owned(), yes, json: true }
    }

    #[tokio::test]
    async fn nothing_ends_before_somebody_says_yes() {
        let made = Made::new().await;
        let invitation = made.invited("alice").await;
        let scope = || Scope::Collaborator("alice".parse().unwrap());
        let state = async || made.issuer.store.invitation(&invitation.id).await.unwrap().unwrap().state;
        let unsure = run(&made.issuer, scope(), &how(false)).await;
        assert!(matches!(unsure, Err(CommandError::EndUnconfirmed)), "{unsure:?}");
        assert_eq!(state().await, InvitationLife::Open);
        run(&made.issuer, scope(), &how(true)).await.unwrap();
        assert_eq!(state().await, InvitationLife::Withdrawn);
        // Where there is nothing to end, nothing is to be confirmed, and there is no event.
        let events = made.events("invitation_withdrawn").await.len();
        run(&made.issuer, scope(), &how(false)).await.unwrap();
        assert_eq!((events, made.events("invitation_withdrawn").await.len()), (1, 1));
    }

    #[tokio::test]
    async fn what_will_end_is_told_one_by_one() {
        let made = Made::with_software().await;
        let (device, invitation) = (made.client().await, made.invited("alice").await);
        let told = shown(&look(&made.issuer, Scope::Collaborator("alice".parse().unwrap())).await.unwrap());
        assert_eq!(
            told[0],
            "this will end of `alice`: 1 open invitation(s), 0 request(s) that wait, 2 grant(s), 1 device(s)"
        );
        let all = told.join("\n");
        let grants = made.issuer.store.grants_in(GrantLife::Active).await.unwrap();
        for name in [device.id.as_str(), invitation.id.as_str(), invitation.grant.as_str(), grants[0].id.as_str()] {
            assert!(all.contains(name), "{name} in {all}");
        }
    }
}
