//! What a replacement would carry over, and what it would leave.

use daypass_proto::{
    enrolment::DeviceLife,
    names::{Collaborator, DeviceId, GrantId},
    time::Timestamp,
};

use super::ReplaceError;
use crate::{
    ending::standing,
    grant::Standing,
    invitation::{GrantError, judge_grant},
    issuer::Issuer,
    policy::is_administration,
    store::{Device, Find, Grant, GrantLife, Invitation, InvitationLife, Replaces, Terms},
};

/// More than anybody has.
const MOST: u32 = 10_000;

/// A device, and what would become of its grants.
#[derive(Debug)]
pub struct Replacement {
    /// The device that gives way.
    pub device: Device,
    /// The grants that get a successor.
    pub carried: Vec<Carried>,
    /// Those that get none, each with why.
    pub left: Vec<(Grant, String)>,
    /// Whether the device ends when the last successor has come into force.
    pub ends: bool,
    /// Codes for this that nobody used in time, with the grants that waited for them.
    pub(super) expired: Vec<(Invitation, Vec<Grant>)>,
}

/// A grant that gets a successor.
#[derive(Debug)]
pub struct Carried {
    /// As it is.
    pub from: Grant,
    /// The successor's end: its own, or an earlier one that was asked for.
    pub until: Timestamp,
    /// The successor's terms.
    pub terms: Terms,
    /// When the first of them was made.
    pub made_at: Timestamp,
    /// What in it goes beyond today's policy: with anything here nobody is invited.
    pub excess: Vec<GrantError>,
}

impl Carried {
    pub(super) fn first_excess(&self) -> Option<GrantError> {
        self.excess.first().cloned()
    }

    pub(super) fn successor(&self, issuer: &Issuer, reason: Option<&str>) -> Grant {
        let from = &self.from;
        // No device is known that it could be carried over from where there is none; `look` gives none of those.
        let replaces = from.device.clone().map(|device| Replaces {
            grant: from.id.clone(),
            device,
            reason: reason.map(str::to_owned),
        });
        Grant {
            id: GrantId::from_random(issuer.environment.random()),
            until: self.until,
            state: GrantLife::Requested,
            device: None,
            made_at: Some(self.made_at),
            terms: self.terms.clone(),
            replaces,
            // Whoever has the new machine accepts with its key.
            briefed: None,
            ..from.clone()
        }
    }
}

/// What replacing this device would carry over: judged by today's policy, as any grant is that somebody is invited to.
pub async fn look(
    issuer: &Issuer,
    id: &DeviceId,
    whose: Option<&Collaborator>,
    until: Option<Timestamp>,
) -> Result<Replacement, ReplaceError> {
    let device = issuer.store.device(id).await?.ok_or_else(|| ReplaceError::NoDevice(id.clone()))?;
    if whose.is_some_and(|whose| *whose != device.collaborator) {
        return Err(ReplaceError::Whose { device: id.clone(), theirs: device.collaborator });
    }
    if device.state != DeviceLife::Approved {
        return Err(ReplaceError::State { device: id.clone(), state: device.state });
    }
    let (mut carried, mut left) = (Vec::new(), Vec::new());
    for grant in issuer.store.grants_of(id).await? {
        match why_not(issuer, &grant) {
            Some(why) => left.push((grant, why)),
            None => carried.push(carry(issuer, grant, until)),
        }
    }
    if carried.is_empty() {
        return Err(ReplaceError::Nothing { device: id.clone(), left });
    }
    let latest = carried.iter().map(|carried| carried.from.until).max();
    if let (Some(until), Some(latest)) = (until, latest)
        && until > latest
    {
        return Err(ReplaceError::Later { until, latest });
    }
    let expired = under_way(issuer, &device, &carried).await?;
    let ends = left.iter().all(|(grant, _)| grant.state.is_over());
    Ok(Replacement { device, carried, left, ends, expired })
}

/// Why a grant gets no successor.
fn why_not(issuer: &Issuer, grant: &Grant) -> Option<String> {
    let why = match grant.state {
        GrantLife::Active => match standing(issuer, grant) {
            _ if is_administration(&grant.project) => {
                "makes an administrator: `daypass-issuer admin bootstrap` invites one"
            }
            Standing::Grace | Standing::Over => "has come to its hard end, and what is over is not carried on",
            Standing::NotYet(_) | Standing::Full => {
                let policy = issuer.policy();
                let role = policy.role(&grant.project, &grant.role);
                match role.and_then(|role| grant.uses_left(role)) {
                    Some(0) => "is used up",
                    Some(_) | None => return None,
                }
            }
        },
        GrantLife::Requested => "waits for approval itself",
        GrantLife::Grace => "has come to its hard end, and what is over is not carried on",
        GrantLife::Suspended => "is suspended: `grant resume` it first where it is to go on",
        GrantLife::Revoked => "is revoked",
        GrantLife::Ended => "is ended",
    };
    Some(why.to_owned())
}

fn carry(issuer: &Issuer, from: Grant, until: Option<Timestamp>) -> Carried {
    let (policy, now) = (issuer.policy(), issuer.environment.now());
    let until = until.map_or(from.until, |until| until.min(from.until));
    let judged = judge_grant(&policy, (&from.project, &from.role), &from.collaborator, until, &from.terms, now);
    // Whichever is less: what was granted, or what the role leaves today.
    let terms = Terms { grace: judged.terms.grace.min(from.terms.grace), ..judged.terms };
    let longest = policy.role(&from.project, &from.role).map_or(0, |role| role.longest_grant);
    // Of a grant from before this was kept, the earliest that it can have been made.
    let made_at = from.made_at.unwrap_or_else(|| from.until.plus(-longest));
    Carried { until, terms, made_at, excess: judged.excess, from }
}

/// Whoever is to take its place already keeps others from it, but for codes that expired: those are given.
async fn under_way(
    issuer: &Issuer,
    device: &Device,
    carried: &[Carried],
) -> Result<Vec<(Invitation, Vec<Grant>)>, ReplaceError> {
    let theirs = || Find { collaborator: Some(device.collaborator.clone()), ..Find::up_to(MOST) };
    let waits = Find { states: vec![GrantLife::Requested.as_str()], ..theirs() };
    let mut waiting = issuer.store.find_grants(&waits).await?;
    waiting.retain(|grant| grant.replaces.as_ref().is_some_and(|replaces| replaces.device == device.id));
    let bound = waiting.iter().filter(|grant| {
        grant.replaces.as_ref().is_some_and(|it| carried.iter().any(|carried| carried.from.id == it.grant))
    });
    if let Some((successor, grant)) = bound.filter_map(|grant| Some((grant.device.clone()?, grant.id.clone()))).next() {
        return Err(ReplaceError::Enrolled { device: device.id.clone(), successor, grant });
    }
    let open = Find { states: vec![InvitationLife::Open.as_str()], ..theirs() };
    let mut expired = Vec::new();
    for invitation in issuer.store.find_invitations(&open).await? {
        if invitation.replaces.as_ref() != Some(&device.id) {
            continue;
        }
        if invitation.expires_at >= issuer.environment.now() {
            return Err(ReplaceError::Invited { device: device.id.clone(), invitation: invitation.id });
        }
        let carries = |grant: &&Grant| invitation.grants().any(|carried| *carried == grant.id);
        let its = waiting.iter().filter(carries).cloned().collect();
        expired.push((invitation, its));
    }
    Ok(expired)
}
