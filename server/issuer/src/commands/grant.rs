//! `daypass-issuer grant …`.

use daypass_proto::names::{DeviceId, GrantId};
use serde_json::{Value, json};

use super::{
    CommandError,
    arguments::{Behalf, Which, Yes, reason},
    on_this_machine,
    output::{ending, json as print_json, line, table},
    terms::told,
};
use crate::{
    approval::{Waiting, approve_grant},
    ending::{EndError, GrantVerb, Told, decide_grant},
    grant::{Among, Pages, Shown},
    issuer::Issuer,
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
    /// Show what its holder was briefed of, and what they accepted.
    Briefing(super::briefing::Args),
    /// Approve a grant that waits, for an owner of its project who has no enrolled device.
    Approve {
        /// Which.
        grant: GrantId,
        #[command(flatten)]
        behalf: Behalf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Hold a grant back: it gives nothing more, and the tokens under it are refused.
    Suspend(Decision),
    /// Let a suspended grant on again.
    Resume(Decision),
    /// End a grant for good: shows it, and asks. A code that still waits for its machine ends with it.
    Revoke {
        #[command(flatten)]
        decision: Decision,
        #[command(flatten)]
        yes: Yes,
    },
}

/// Which grants.
#[derive(Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    which: Which,
    /// Only those in this state; can be given again.
    #[arg(long = "state", value_name = "STATE")]
    states: Vec<Shown>,
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

pub(super) async fn run(issuer: &Issuer, command: Command) -> Result<(), CommandError> {
    match command {
        Command::List(which) => list(issuer, which).await,
        Command::Show { grant, json } => show(issuer, &grant, json).await,
        Command::Briefing(args) => super::briefing::run(issuer, args).await,
        Command::Approve { grant, behalf, json } => {
            let approved = approve_grant(issuer, &grant, &behalf.actor(), behalf.reason.as_deref()).await?;
            if json {
                return print_json(&with_approvals(describe(issuer, &approved.grant), &approved.waiting));
            }
            line(format!("approved {}", approved.grant.id))?;
            line(standing(issuer, &approved.grant).await?)
        }
        Command::Suspend(decision) => decide(issuer, GrantVerb::Suspend, &decision).await,
        Command::Resume(decision) => decide(issuer, GrantVerb::Resume, &decision).await,
        Command::Revoke { decision, yes } => {
            if !yes.yes {
                show(issuer, &decision.grant, decision.json).await?;
                ending("end this grant and the tokens under it, for good? [y/N] ", decision.json)?;
            }
            decide(issuer, GrantVerb::Revoke, &decision).await
        }
    }
}

pub(super) fn describe(issuer: &Issuer, grant: &Grant) -> Value {
    json!({
        "grant": grant.id, "state": shown(issuer, grant), "collaborator": grant.collaborator, "project": grant.project,
        "role": grant.role, "until": grant.until, "device": grant.device,
        "made_at": grant.made_at, "used": grant.used, "terms": grant.terms,
        "replaces": grant.replaces.as_ref().map(|replaces| &replaces.grant),
    })
}

/// Where it is now, whether somebody has marked it yet or not.
pub(super) fn shown(issuer: &Issuer, grant: &Grant) -> Shown {
    grant.shown(&issuer.policy(), issuer.environment.now())
}

/// With who approved it, and what it waits for.
fn with_approvals(mut told: Value, waiting: &Waiting) -> Value {
    if let Some(told) = told.as_object_mut() {
        let given: Vec<Value> = waiting
            .record()
            .given
            .iter()
            .map(|approval| json!({"by": approval.by, "through": approval.through, "at": approval.at}))
            .collect();
        told.insert("approvals".to_owned(), Value::Array(given));
        told.insert("approvers".to_owned(), json!(waiting.approvers()));
        told.insert("asked_by".to_owned(), json!(waiting.record().asked_by));
        told.insert("waits_for".to_owned(), json!({"approvals": waiting.missing(), "from": waiting.open_to()}));
    }
    told
}

/// Where a grant stands, in a line: in force, or what it waits for.
pub(super) async fn standing(issuer: &Issuer, grant: &Grant) -> Result<String, CommandError> {
    let waiting = match grant.state {
        GrantLife::Requested => Waiting::of_grant(issuer, grant).await?,
        _ => None,
    };
    let what = format!("  grant {} ({} as {}) ", grant.id, grant.project, grant.role);
    Ok(match waiting {
        _ if grant.state != GrantLife::Requested => format!("{what}is {} until {}", shown(issuer, grant), grant.until),
        None => what + "gives nothing: the policy in force has no such role",
        Some(waiting) if waiting.missing() == 0 => what + "is approved, and waits for its device",
        Some(waiting) => format!(
            "{what}waits for {} approval(s) by its owners: {}",
            waiting.missing(),
            match waiting.open_to() {
                none if none.is_empty() => "there is nobody left who may; withdraw it, and invite anew".to_owned(),
                owners => owners.join(", "),
            }
        ),
    })
}

async fn list(issuer: &Issuer, List { which, states, device }: List) -> Result<(), CommandError> {
    let (policy, now) = (issuer.policy(), issuer.environment.now());
    let find = Find { device, ..which.find(Vec::new()) };
    // It is one person's, on the issuer's machine: it is gone through to its end.
    let mut pages = Pages::up_to(usize::MAX);
    let mut grants = Vec::new();
    for among in Among::of(&find, &states, now) {
        grants.extend(pages.read(issuer.store.as_ref(), &policy, &among, now).await?);
    }
    grants.sort_by_cached_key(|grant| grant.place(find.sort));
    let grants = which.cut(grants)?;
    if which.json {
        return print_json(&grants.iter().map(|grant| describe(issuer, grant)).collect::<Vec<_>>());
    }
    let rows: Vec<Vec<String>> = grants
        .iter()
        .map(|grant| {
            vec![
                grant.id.to_string(),
                shown(issuer, grant).to_string(),
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
    let waiting = Waiting::of_grant(issuer, &grant).await?;
    if json {
        let mut told = describe(issuer, &grant);
        if let Some(told) = told.as_object_mut() {
            told.insert("authorization_details".to_owned(), json!(details));
        }
        return print_json(&match &waiting {
            Some(waiting) => with_approvals(told, waiting),
            None => told,
        });
    }
    line(format!("grant           {}", grant.id))?;
    line(format!("state           {}", shown(issuer, &grant)))?;
    line(format!("collaborator    {}", grant.collaborator))?;
    line(format!("project         {} as {}", grant.project, grant.role))?;
    line(format!("until           {}", grant.until))?;
    for (name, said) in told(&grant.terms, issuer.policy().project(&grant.project), grant.until, grant.used) {
        line(format!("{name:<15} {said}"))?;
    }
    line(format!("device          {}", grant.device.as_ref().map_or("none yet", DeviceId::as_str)))?;
    if let Some(replaces) = &grant.replaces {
        line(format!("in place of     {} on {}", replaces.grant, replaces.device))?;
    }
    for approval in waiting.iter().flat_map(|waiting| &waiting.record().given) {
        let through = approval.through.as_ref().map(|account| format!(", through {account} on the issuer's machine"));
        line(format!("approved by     {} at {}{}", approval.by, approval.at, through.unwrap_or_default()))?;
    }
    if let (GrantLife::Requested, Some(waiting)) = (grant.state, &waiting) {
        let (missing, owners) = (waiting.missing(), waiting.open_to().join(", "));
        line(format!("waits for       {missing} more of {} approval(s); may approve: {owners}", waiting.approvers()))?;
    }
    if details.is_empty() {
        line("role gives      nothing: the policy in force has no such role for them")?;
    }
    details
        .iter()
        .try_for_each(|detail| line(format!("role gives      {}", serde_json::to_string(detail).unwrap_or_default())))
}

async fn decide(issuer: &Issuer, verb: GrantVerb, decision: &Decision) -> Result<(), CommandError> {
    let source = on_this_machine();
    let told = Told { source: &source, rule: None, reason: decision.reason.as_deref() };
    let grant = decide_grant(issuer, &decision.grant, verb, &told).await?;
    if decision.json {
        return print_json(&describe(issuer, &grant));
    }
    line(format!("{} is now {}", grant.id, grant.state))
}
