//! `daypass-issuer policy explain`: why something is, or would be, allowed or refused, rule by rule.

use std::path::Path;

use daypass_proto::{
    arguments::text,
    names::{Collaborator, DeviceId, GrantId, ProjectName, RoleName},
};
use serde::Serialize;

use super::{
    super::terms::told,
    CommandError,
    facts::{Circumstances, Request},
    line, print_json,
    version::{Here, IN_FORCE},
};
use crate::{
    caller::{CallerError, may_ask},
    clock::Environment,
    error::Refusal,
    issuer::Issuer,
    policy::{Mode, Policy, limits},
    store::{Device, Grant},
    token::{
        decision::allowed,
        trial::{Trial, cause, word},
    },
};

/// Who would ask for what.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("who").required(true).args(["device", "grant", "collaborator"]))]
pub struct Args {
    /// A device, with all that it is granted.
    #[arg(long)]
    device: Option<DeviceId>,
    /// A grant, with the device that uses it, and all else that it is granted.
    #[arg(long)]
    grant: Option<GrantId>,
    /// Somebody, as if they were granted a role.
    #[arg(long, requires = "project", requires = "role")]
    collaborator: Option<Collaborator>,
    /// The project of that role.
    #[arg(long, requires = "collaborator")]
    project: Option<ProjectName>,
    /// The role.
    #[arg(long, requires = "collaborator")]
    role: Option<RoleName>,
    #[command(flatten)]
    request: Request,
    #[command(flatten)]
    circumstances: Circumstances,
    /// Which policy: a folder, the first characters of a version's hash, or `in-force`
    #[arg(long, value_name = "VERSION", default_value = IN_FORCE, value_parser = text)]
    policy: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(config: &Path, environment: Environment, args: Args) -> Result<(), CommandError> {
    let now = args.circumstances.at().unwrap_or_else(|| environment.now());
    let here = Here::look(config, environment).await;
    let Some(chosen) = here.version(&args.policy).await? else { return here.needed().map(drop) };
    let Subjects { device, grants, meant } = match (args.collaborator, args.project.zip(args.role)) {
        (Some(collaborator), Some((project, role))) => {
            Subjects { device: None, grants: vec![Trial::granted(collaborator, project, role, now)], meant: None }
        }
        _ => match here.issuer() {
            Some(issuer) => stored(issuer, args.device.as_ref(), args.grant.as_ref()).await?,
            None => return here.needed().map(drop),
        },
    };
    let given = grants
        .iter()
        .filter(|grant| meant.as_ref().is_none_or(|meant| *meant == grant.id))
        .filter_map(|grant| chosen.policy.role(&grant.project, &grant.role)?.details_for(&grant.collaborator).ok());
    let mut resources: Vec<_> = given.flat_map(|given| given.resources()).collect();
    resources.sort();
    resources.dedup();
    let only = if resources.len() == 1 { resources.pop() } else { None };
    let (resource, asked) = args.request.read(only)?;
    let Some(first) = grants.first() else { return Err(CommandError::NoGrants) };
    let mut trial = Trial::under(first.clone(), resource, now);
    trial.asked = asked;
    // Nobody was asked to read what is only supposed.
    let supposed = args.device.is_none() && args.grant.is_none();
    trial.briefed = supposed;
    if let Some(device) = &device {
        trial = trial.by(device);
    }
    let trial = args.circumstances.over(trial);
    if let Some(contradiction) = trial.contradiction() {
        return Err(CommandError::Ask(contradiction.to_owned()));
    }
    let software_allowed = here.issuer().is_none_or(|issuer| issuer.config.allow_software_keys);
    let served = match &device {
        Some(device) => may_ask(device, software_allowed),
        None if trial.is_software() && !software_allowed => Err(CallerError::SoftwareOff("as if".to_owned())),
        None => Ok(()),
    };
    let mut told = explain(&chosen.policy, &trial, &grants, served);
    if supposed {
        told.grants.iter_mut().for_each(|says| says.grant = None);
    }
    if args.json { print_json(&told) } else { told.lines().into_iter().try_for_each(line) }
}

/// Who asks, and by what right.
struct Subjects {
    /// The device, where there is one.
    device: Option<Device>,
    /// All that it is granted: so the endpoint decides, whichever grant somebody has in mind.
    grants: Vec<Grant>,
    /// The grant that somebody has in mind.
    meant: Option<GrantId>,
}

/// A device and what it is granted, as they stand.
async fn stored(issuer: &Issuer, device: Option<&DeviceId>, grant: Option<&GrantId>) -> Result<Subjects, CommandError> {
    let known = async |id: &DeviceId| {
        let device = issuer.store.device(id).await?.ok_or_else(|| CommandError::NoSuch(id.to_string()))?;
        Ok::<_, CommandError>((Some(device), issuer.store.grants_of(id).await?))
    };
    if let Some(id) = device {
        let (device, grants) = known(id).await?;
        return Ok(Subjects { device, grants, meant: None });
    }
    let Some(id) = grant else { return Err(CommandError::NoGrants) };
    let grant = issuer.store.grant(id).await?.ok_or_else(|| CommandError::NoSuch(id.to_string()))?;
    let (device, grants) = match &grant.device {
        Some(device) => known(device).await?,
        None => (None, vec![grant]),
    };
    Ok(Subjects { device, grants, meant: Some(id.clone()) })
}

/// What was decided, step by step.
#[derive(Debug, Serialize)]
struct Explained {
    policy: String,
    collaborator: String,
    resource: String,
    /// Why the device is not served, where it is not.
    device: Option<String>,
    grants: Vec<GrantSays>,
    /// Not asked, where grant and role have refused.
    guardrails: Option<Vec<RuleSays>>,
    allowed: bool,
    /// How long a token would live, in seconds.
    lifetime: Option<i64>,
    /// The cause that whoever is refused is told.
    reason: Option<String>,
    why: Option<String>,
}

#[derive(Debug, Serialize)]
struct GrantSays {
    /// None where it is only supposed.
    grant: Option<String>,
    project: String,
    role: String,
    state: &'static str,
    until: String,
    gives: bool,
    why: Option<String>,
    /// What limits it beside what it gives: its role's, and its own.
    limits: Vec<String>,
}

#[derive(Debug, Serialize)]
struct RuleSays {
    guardrail: String,
    mode: &'static str,
    forbids: bool,
    reason: String,
}

/// What a grant is bound to itself.
fn own(grant: &Grant) -> impl Iterator<Item = String> {
    told(&grant.terms, grant.until, grant.used).into_iter().map(|(name, said)| format!("{name}: {said}"))
}

/// Asks, where tokens are decided.
fn explain(policy: &Policy, trial: &Trial, grants: &[Grant], served: Result<(), CallerError>) -> Explained {
    let all: Vec<&Grant> = grants.iter().collect();
    let says = |grant: &&Grant| {
        let alone = [*grant];
        let covered = trial.question(&alone).cover(policy).map(drop);
        GrantSays {
            grant: Some(grant.id.to_string()),
            project: grant.project.to_string(),
            role: grant.role.to_string(),
            state: grant.state.as_str(),
            until: grant.until.to_string(),
            gives: covered.is_ok(),
            why: covered.err().map(|error| error.to_string()),
            limits: policy
                .role(&grant.project, &grant.role)
                .map(limits)
                .into_iter()
                .flatten()
                .chain(own(grant))
                .collect(),
        }
    };
    let mut told = Explained {
        policy: hex::encode(policy.hash()),
        collaborator: trial.asker.collaborator.to_string(),
        resource: trial.resource.to_string(),
        device: served.as_ref().err().map(ToString::to_string),
        grants: all.iter().map(says).collect(),
        guardrails: None,
        allowed: false,
        lifetime: None,
        reason: None,
        why: None,
    };
    let question = trial.question(&all);
    let result = question.cover(policy).and_then(|covered| {
        let verdict = question.guardrails(policy, &covered);
        let rule = |rule: &crate::policy::Rule| RuleSays {
            guardrail: rule.id.clone(),
            mode: match rule.mode {
                Mode::Enforce => "enforce",
                Mode::Monitor => "monitor",
            },
            forbids: verdict.enforced.iter().chain(&verdict.monitored).any(|forbidding| forbidding.id == rule.id),
            reason: rule.reason.clone(),
        };
        told.guardrails = Some(policy.guardrails().rules().map(rule).collect());
        allowed(&verdict)?;
        Ok(covered.lifetime(trial.now))
    });
    // A device that is not served is told so before anything is looked at.
    match (served, result) {
        (Err(error), _) => {
            told.why = Some(error.to_string());
            told.reason = Some(word(Refusal::from(error).reason()));
        }
        (Ok(()), Ok(lifetime)) => (told.allowed, told.lifetime) = (true, Some(lifetime)),
        (Ok(()), Err(error)) => {
            told.why = Some(error.to_string());
            told.reason = Some(word(cause(error)));
        }
    }
    told
}

impl Explained {
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!("policy      version {}", self.policy),
            format!("asks        `{}`, at `{}`", self.collaborator, self.resource),
        ];
        if let Some(device) = &self.device {
            lines.push(format!("device      refused: {device}"));
        }
        for says in &self.grants {
            let GrantSays { grant, project, role, state, until, .. } = says;
            let grant = grant.as_deref().unwrap_or("as if there were one");
            lines.push(format!("grant       {grant}, `{role}` of `{project}`, {state}, until {until}"));
            lines.push(format!(
                "            {}",
                says.why.as_ref().map_or_else(|| "gives it".to_owned(), |why| format!("does not give it: {why}"))
            ));
            lines.extend((!says.limits.is_empty()).then(|| format!("            {}", says.limits.join("; "))));
        }
        match &self.guardrails {
            None => lines.push("guardrails  not asked, since no grant gives it".to_owned()),
            Some(rules) if rules.is_empty() => lines.push("guardrails  none".to_owned()),
            Some(rules) => lines.extend(rules.iter().map(|rule| {
                let says = match (rule.forbids, rule.mode) {
                    (false, _) => "says nothing against it".to_owned(),
                    (true, "enforce") => format!("refuses it: {}", rule.reason),
                    (true, _) => format!("would refuse it, and only watches: {}", rule.reason),
                };
                format!("guardrail   `{}` {says}", rule.guardrail)
            })),
        }
        lines.push(match (&self.reason, &self.why) {
            (Some(reason), Some(why)) => format!("result      refused (`{reason}`): {why}"),
            _ => format!("result      allowed: a token for {} seconds", self.lifetime.unwrap_or_default()),
        });
        lines
    }
}

#[cfg(test)]
mod tests;
