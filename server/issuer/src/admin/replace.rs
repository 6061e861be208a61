//! A replacement that an owner makes from their own device: for what is theirs alone.
//!
//! Everything that lives on the device has to be in projects of theirs. Of what is not, nothing is said but that there is some.

use daypass_proto::{
    admin_api as api,
    names::{Collaborator, DeviceId, ProjectName},
};
use jiff::tz::TimeZone;

use super::{
    Operation, Standing,
    authority::Forbidden,
    caller::Decider,
    error::AdminError,
    invite::{lifetime, malformed},
    perform::{Asked, reason},
    shown::{grant, invitation, terms},
};
use crate::{
    approval::Offered,
    issuer::Issuer,
    replacement::{Carried, Replace, ReplaceError, look, replace},
    store::Grant,
    until,
};

const THIS: Operation = Operation::DeviceReplace;

const fn lives(grant: &Grant) -> bool {
    !grant.state.is_over()
}

/// Whether it is theirs to replace a device with these grants. Where nothing lives on it, whoever may see it is told so.
fn theirs(standing: &Standing, grants: &[Grant]) -> Result<(), Forbidden> {
    let projects = |of: fn(&Grant) -> bool| grants.iter().filter(move |it| of(it)).map(|it| &it.project);
    match grants.iter().any(lives) {
        true => standing.may_about(THIS, projects(lives)),
        false => standing.may_about(Operation::DeviceShow, projects(|_| true)),
    }
}

/// What gets no successor, as far as it is theirs to see.
fn seen(standing: &Standing, left: Vec<(Grant, String)>) -> Vec<(Grant, String)> {
    let seen = |(grant, _): &(Grant, String)| standing.may_in(Operation::GrantShow, &grant.project).is_ok();
    left.into_iter().filter(seen).collect()
}

fn successor(issuer: &Issuer, asked_by: Option<&Collaborator>, carried: &Carried) -> api::Successor {
    let (policy, from) = (issuer.policy(), &carried.from);
    let offered = Offered::of(&policy, (&from.project, &from.role), &from.collaborator, asked_by).ok();
    let approvers = offered.as_ref().map(|offered| offered.approvers);
    let nobody = offered.as_ref().and_then(|offered| offered.nobody.as_ref());
    let excess = carried.excess.iter().chain(nobody).map(ToString::to_string).collect();
    let (authorization_details, approved_by) =
        offered.map(|offered| (offered.details, offered.owners)).unwrap_or_default();
    api::Successor {
        replaces: from.id.clone(),
        project: from.project.clone(),
        role: from.role.clone(),
        until: carried.until,
        terms: terms(&carried.terms, policy.project(&from.project), carried.until),
        used: from.used,
        authorization_details,
        approved_by,
        approvers,
        excess,
    }
}

/// Where a time is read that somebody writes: in the first of these projects.
fn zone(issuer: &Issuer, projects: &[Grant]) -> TimeZone {
    let first: Option<&ProjectName> = projects.iter().find(|grant| lives(grant)).map(|grant| &grant.project);
    first.map_or_else(TimeZone::system, |project| issuer.policy().zone(project))
}

pub(super) async fn make(issuer: &Issuer, decider: &Decider, asked: &Asked) -> Result<api::Replacement, AdminError> {
    let id: DeviceId = asked.named("device", "device")?;
    issuer.store.device(&id).await?.ok_or(AdminError::NotFound("device"))?;
    let (standing, grants) = (&decider.standing, issuer.store.grants_of(&id).await?);
    theirs(standing, &grants)?;
    let body: api::ReplaceDevice = asked.body()?;
    let now = issuer.environment.now();
    let until = body.until.as_deref().map(|text| until::until(text, now, &zone(issuer, &grants))).transpose();
    let until = until.map_err(|error| malformed("until", error))?;
    let lifetime = lifetime(issuer, body.code_expires.as_deref())?;
    let reason = body.reason.as_deref().map(reason).transpose()?;
    let found = look(issuer, &id, body.collaborator.as_ref(), until).await.map_err(|error| match error {
        ReplaceError::Nothing { device, left } => ReplaceError::Nothing { device, left: seen(standing, left) },
        other => other,
    })?;
    // As it was found, whatever came to the device meanwhile.
    let all: Vec<Grant> =
        found.carried.iter().map(|carried| &carried.from).chain(found.left.iter().map(|(it, _)| it)).cloned().collect();
    theirs(standing, &all)?;
    let (device, collaborator, device_ends) = (id, found.device.collaborator.clone(), found.ends);
    let grants = found.carried.iter().map(|carried| successor(issuer, decider.actor.person(), carried)).collect();
    let left = seen(standing, found.left.clone());
    let left = left.into_iter().map(|(left, why)| api::LeftGrant { grant: grant(issuer, &left), why }).collect();
    let (made, code) = match body.dry_run {
        true => (None, None),
        false => {
            let by = decider.actor.clone();
            let how = Replace { code_expires_at: now.plus(lifetime), ek_hash: None, reason, by };
            let (made, code) = replace(issuer, found, how).await?;
            (Some(invitation(&made, now)), Some(code.expose().as_str().to_owned()))
        }
    };
    Ok(api::Replacement { invitation: made, code, device, collaborator, device_ends, grants, left })
}
